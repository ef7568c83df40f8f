//! What goes wrong between laptops and their edge node: each is told in words, and nothing is lost.
//!
//! Real processes. Needs no models: words are found without them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use satchel_tests::Laptop;
use satchel_tests::disk::SmallDisk;
use satchel_tests::edge::{EdgeNode, link_to, pair, silent_link};
use serde_json::Value;

fn share(laptop: &Laptop, link: &str) {
    laptop
        .run(["sync", "share", link, "--label", "desk", "--user", "Anna"])
        .expect_success();
}

fn exchange(laptop: &Laptop) -> Value {
    let done = laptop
        .run(["sync", "now", "--json"])
        .expect_success()
        .json();
    assert_eq!(done["state"], "equal", "{done}");
    done
}

fn status(laptop: &Laptop) -> Value {
    laptop
        .run(["sync", "status", "--json"])
        .expect_success()
        .json()
}

fn import(laptop: &Laptop, name: &str, text: &str) {
    laptop.write(name, text);
    laptop.run(["import", name]).expect_success();
}

fn hits(laptop: &Laptop, word: &str) -> usize {
    let found = laptop
        .run(["search", "--json", "--mode", "lexical", word])
        .expect_success()
        .json();
    found["hits"].as_array().map_or(0, Vec::len)
}

/// Text that does not become much smaller by packing.
fn noise(words: usize, seed: u64) -> String {
    let mut state = seed | 1;
    let mut text = String::new();
    for number in 0..words {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text += &format!("{:010x}", state & 0xff_ffff_ffff);
        text.push(if number % 10 == 9 { '\n' } else { ' ' });
    }
    text
}

fn sync_file(laptop: &Laptop) -> PathBuf {
    let workspaces = std::fs::read_dir(laptop.data_dir().join("workspaces")).unwrap();
    let mut found = workspaces
        .flatten()
        .map(|entry| entry.path().join("sync.redb"))
        .filter(|path| path.parent().unwrap().join("shared.json").exists());
    let file = found.next().expect("a shared workspace");
    assert_eq!(found.next(), None, "one is shared");
    file
}

#[test]
fn an_edge_node_that_does_not_answer_stops_no_work() {
    let (_socket, silent) = silent_link();
    let closed = {
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        link_to(free.local_addr().unwrap())
    };
    // Each is waited for until it is given up: side by side.
    std::thread::scope(|scope| {
        for link in [&silent, &closed] {
            scope.spawn(|| work_goes_on_without(link));
        }
    });
}

fn work_goes_on_without(link: &str) {
    let laptop = Laptop::new();
    import(&laptop, "a.txt", "The lighthouse has 214 steps.");
    share(&laptop, link);
    let said = laptop
        .run_with(["sync", "now"], "", Duration::from_secs(60))
        .expect_code(4);
    assert!(
        said.stderr.contains("UDP") && said.stderr.contains("is kept and sent when"),
        "{}",
        said.stderr
    );
    let line = status(&laptop)["line"].as_str().unwrap().to_owned();
    assert!(
        line.contains("The last attempt failed: no edge node answers"),
        "{line}"
    );
    // A connection is given up after ten seconds: work that waited for it would take longer than that.
    laptop.write("b.txt", "The ferry leaves at seven.");
    let imported = laptop.run(["import", "b.txt"]).expect_success();
    assert!(
        imported.took < Duration::from_secs(9),
        "{:?}",
        imported.took
    );
    assert_eq!(hits(&laptop, "ferry"), 1);
    let ledger = laptop.run(["sync", "ledger"]).expect_success();
    assert!(
        ledger.stdout.contains("no edge node answers"),
        "{}",
        ledger.stdout
    );
}

#[test]
fn a_clock_that_is_off_by_a_year_loses_nothing_and_is_told() {
    let library = ["x86_64-linux-gnu", "aarch64-linux-gnu", "faketime"]
        .iter()
        .flat_map(|folder| {
            let folder = Path::new("/usr/lib").join(folder);
            [
                folder.join("faketime/libfaketimeMT.so.1"),
                folder.join("libfaketimeMT.so.1"),
            ]
        })
        .find(|path| path.exists());
    let Some(library) = library else {
        eprintln!("skipped: there is no libfaketime (Debian: apt-get install faketime)");
        return;
    };
    let edge = EdgeNode::start();
    let (anna, bo) = (Laptop::new(), Laptop::new());
    import(&anna, "a.txt", "The lighthouse has 214 steps.");
    share(&anna, edge.link());
    exchange(&anna);
    pair(&anna, &bo, edge.link());
    for (off, way, word, answer) in [
        ("+1y", "ahead of", "marmot", "ferry"),
        ("-1y", "behind", "otter", "bridge"),
    ] {
        let run = |args: &[&str]| {
            let mut command = bo.command(args);
            command.env("LD_PRELOAD", &library).env("FAKETIME", off);
            satchel_tests::laptop::finish(command, "", Duration::from_secs(120)).expect_success()
        };
        bo.write(format!("{word}.txt"), format!("A {word} was seen."));
        run(&["import", &format!("{word}.txt")]);
        let done = run(&["sync", "now", "--json"]).json();
        assert_eq!(done["state"], "equal", "{done}");
        let warnings = done["status"]["warnings"].to_string();
        assert!(
            warnings.contains("days") && warnings.contains(way),
            "{warnings}"
        );
        exchange(&anna);
        assert_eq!(hits(&anna, word), 1);
        // And the other way.
        import(
            &anna,
            &format!("re-{word}.txt"),
            &format!("A letter about the {answer} came."),
        );
        exchange(&anna);
        run(&["sync", "now"]);
        assert_eq!(hits(&bo, answer), 1);
    }
    let right_again = exchange(&bo);
    assert_eq!(right_again["status"]["warnings"], serde_json::json!([]));
}

#[test]
fn a_full_mailbox_is_told_with_its_limit_and_all_arrives_when_there_is_more_room() {
    let limits = |bytes: u32| format!("[limits]\nmailbox_quota_bytes = {bytes}\n");
    let mut edge = EdgeNode::with_config(&limits(1_060_000));
    let (anna, bo) = (Laptop::new(), Laptop::new());
    import(&anna, "a.txt", "The lighthouse has 214 steps.");
    share(&anna, edge.link());
    exchange(&anna);
    pair(&anna, &bo, edge.link());
    for (number, words) in [(11, 48_000), (13, 48_000)] {
        import(&anna, &format!("{number}.txt"), &noise(words, number));
    }
    let full = anna.run(["sync", "now"]).expect_code(1);
    for words in [
        "1.0 MiB",
        "mailbox_quota_bytes",
        "operator",
        "waits on this laptop",
    ] {
        assert!(full.stderr.contains(words), "{words}: {}", full.stderr);
    }
    let line = anna.run(["sync", "status"]).expect_success().stdout;
    assert!(!line.contains("Everything is sent"), "{line}");
    edge.kill();
    edge.configure(&limits(100_000_000));
    edge.start_again();
    exchange(&anna);
    exchange(&bo);
    let sizes = |laptop: &Laptop| {
        let listed = laptop.run(["documents", "--json"]).expect_success().json();
        let mut ids: Vec<String> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|document| {
                let id = document["id"].as_str().unwrap();
                laptop.run(["show", "--whole", id]).expect_success().stdout
            })
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(sizes(&anna).len(), 3);
    assert_eq!(sizes(&anna), sizes(&bo));
    let originals = |laptop: &Laptop| {
        let folder = sync_file(laptop).parent().unwrap().join("originals");
        files_below(&folder)
    };
    assert_eq!(originals(&anna), originals(&bo), "and the files themselves");
}

/// How long the files in a folder are; their names differ from laptop to laptop.
fn files_below(folder: &Path) -> Vec<u64> {
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            sizes.extend(files_below(&entry.path()));
        } else {
            sizes.push(entry.metadata().unwrap().len());
        }
    }
    sizes.sort_unstable();
    sizes
}

#[test]
fn an_edge_node_whose_disk_is_almost_full_still_gives_what_it_has() {
    let reserve =
        |bytes: u64| format!("[limits]\ndisk_reserve_bytes = {bytes}\ndisk_reserve_percent = 0\n");
    let mut edge = EdgeNode::with_config(&reserve(0));
    let (anna, bo) = (Laptop::new(), Laptop::new());
    import(&anna, "a.txt", "The lighthouse has 214 steps.");
    share(&anna, edge.link());
    exchange(&anna);
    pair(&anna, &bo, edge.link());
    import(&anna, "b.txt", "The ferry leaves at seven.");
    exchange(&anna);
    edge.kill();
    // No disk has so much free.
    edge.configure(&reserve(1 << 60));
    edge.start_again();
    import(&bo, "c.txt", "A marmot was seen.");
    let full = bo.run(["sync", "now"]).expect_code(1);
    assert!(
        full.stderr.contains("disk of the edge node is almost full")
            && full.stderr.contains("operator must make room"),
        "{}",
        full.stderr
    );
    assert_eq!(hits(&bo, "ferry"), 1, "what was there has come");
    edge.kill();
    edge.configure(&reserve(0));
    edge.start_again();
    exchange(&bo);
    exchange(&anna);
    assert_eq!(hits(&anna, "marmot"), 1);
}

#[test]
fn an_edge_node_on_a_full_disk_loses_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::over(folder.path(), 32) else {
        return;
    };
    let config = "[limits]\ndisk_reserve_bytes = 0\ndisk_reserve_percent = 0\n";
    let data = folder.path().join("data");
    let mut edge = EdgeNode::with_data_in(&data, config);
    let (anna, bo) = (Laptop::new(), Laptop::new());
    import(&anna, "a.txt", "The lighthouse has 214 steps.");
    share(&anna, edge.link());
    exchange(&anna);
    pair(&anna, &bo, edge.link());
    disk.fill();
    import(&anna, "big.txt", &noise(4_000, 9));
    let failed = anna.run(["sync", "now", "--timeout", "30"]);
    assert!(matches!(failed.code, Some(1 | 4)), "{failed:?}");
    disk.clear();
    edge.start_again();
    exchange(&anna);
    exchange(&bo);
    for word in ["lighthouse", "steps"] {
        assert_eq!(hits(&bo, word), 1);
    }
    assert_eq!(
        bo.run(["documents", "--json"])
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
    edge.kill();
}

#[test]
fn a_laptop_with_a_full_disk_goes_on_when_there_is_room() {
    let edge = EdgeNode::start();
    let (anna, bo) = (Laptop::new(), Laptop::new());
    let Some(disk) = SmallDisk::over(&bo.data_dir(), 48) else {
        return;
    };
    import(&anna, "a.txt", "The lighthouse has 214 steps.");
    share(&anna, edge.link());
    exchange(&anna);
    pair(&anna, &bo, edge.link());
    exchange(&bo);
    import(&anna, "big.txt", &noise(20_000, 3));
    import(&anna, "b.txt", "The ferry leaves at seven.");
    exchange(&anna);
    disk.fill();
    let full = bo.run(["sync", "now", "--timeout", "30"]);
    assert_ne!(full.code, Some(0), "{full:?}");
    assert!(
        full.stderr.to_lowercase().contains("disk") || full.stderr.contains("No space"),
        "{}",
        full.stderr
    );
    disk.clear();
    exchange(&bo);
    assert_eq!((hits(&bo, "ferry"), hits(&bo, "lighthouse")), (1, 1));
    import(&bo, "c.txt", "A marmot was seen.");
    exchange(&bo);
    exchange(&anna);
    assert_eq!(hits(&anna, "marmot"), 1);
    drop(disk);
}

#[test]
fn a_laptop_whose_sync_file_is_damaged_says_so_and_is_paired_anew_with_its_documents() {
    let edge = EdgeNode::start();
    let anna = Laptop::new();
    import(&anna, "a.txt", "The lighthouse has 214 steps.");
    share(&anna, edge.link());
    exchange(&anna);
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("flipped", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            for byte in bytes.iter_mut().skip(4096).step_by(97) {
                *byte ^= 0x5a;
            }
            std::fs::write(path, bytes).unwrap();
        }),
        ("truncated", |path| {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_len(20_000).unwrap();
        }),
        ("emptied", |path| std::fs::write(path, "").unwrap()),
        ("deleted", |path| std::fs::remove_file(path).unwrap()),
    ];
    for (name, damage) in damages {
        let bo = Laptop::new();
        pair(&anna, &bo, edge.link());
        exchange(&bo);
        damage(&sync_file(&bo));
        import(
            &bo,
            &format!("{name}.txt"),
            &format!("This was written {name} and alone."),
        );
        let said = bo.run(["sync", "now"]).expect_code(1);
        for words in [
            "damaged",
            "documents are all on this laptop",
            "satchel devices pair",
        ] {
            assert!(said.stderr.contains(words), "{name}: {}", said.stderr);
        }
        let again = bo.run(["sync", "share", edge.link()]).expect_code(2);
        assert!(again.stderr.contains("shared already"), "{}", again.stderr);
        assert_eq!(
            hits(&bo, "lighthouse"),
            1,
            "{name}: documents are there as before"
        );
        pair(&anna, &bo, edge.link());
        exchange(&bo);
        exchange(&anna);
        assert_eq!(hits(&anna, name), 1, "what was written alone has come");
        assert_eq!(hits(&bo, "lighthouse"), 1);
    }
}

#[test]
fn a_laptop_restored_from_an_older_copy_uses_no_number_twice() {
    let edge = EdgeNode::start();
    let (anna, bo) = (Laptop::new(), Laptop::new());
    import(&anna, "a.txt", "The lighthouse has 214 steps.");
    share(&anna, edge.link());
    exchange(&anna);
    pair(&anna, &bo, edge.link());
    import(&bo, "b.txt", "The ferry leaves at seven.");
    exchange(&bo);
    let old = std::fs::read(sync_file(&bo)).unwrap();
    import(&bo, "c.txt", "A marmot was seen.");
    exchange(&bo);
    std::fs::write(sync_file(&bo), old).unwrap();
    import(&bo, "d.txt", "An otter was seen.");
    for _ in 0..2 {
        let said = bo.run(["sync", "now"]).expect_code(1);
        assert!(said.stderr.contains("older copy"), "{}", said.stderr);
    }
    exchange(&anna);
    assert_eq!((hits(&anna, "marmot"), hits(&anna, "otter")), (1, 0));
    assert_eq!(status(&anna)["status"]["warnings"], serde_json::json!([]));
    pair(&anna, &bo, edge.link());
    exchange(&bo);
    exchange(&anna);
    for word in ["lighthouse", "ferry", "marmot", "otter"] {
        assert_eq!((hits(&anna, word), hits(&bo, word)), (1, 1), "{word}");
    }
}

#[test]
fn a_workspace_without_other_laptops_is_shared_anew_after_leaving() {
    let edge = EdgeNode::start();
    let laptop = Laptop::new();
    import(&laptop, "a.txt", "The lighthouse has 214 steps.");
    share(&laptop, edge.link());
    exchange(&laptop);
    std::fs::remove_file(sync_file(&laptop)).unwrap();
    let unsure = laptop.run(["sync", "leave"]).expect_code(2);
    assert!(unsure.stderr.contains("--yes"), "{}", unsure.stderr);
    laptop.run(["sync", "leave", "--yes"]).expect_success();
    assert_eq!(status(&laptop)["state"], "not_shared");
    share(&laptop, edge.link());
    exchange(&laptop);
    let other = Laptop::new();
    pair(&laptop, &other, edge.link());
    exchange(&other);
    assert_eq!(hits(&other, "lighthouse"), 1);
}

#[test]
fn an_edge_node_with_another_key_is_refused_until_the_user_goes_on_with_it() {
    let mut edge = EdgeNode::start();
    let (anna, bo) = (Laptop::new(), Laptop::new());
    import(&anna, "a.txt", "The lighthouse has 214 steps.");
    share(&anna, edge.link());
    exchange(&anna);
    pair(&anna, &bo, edge.link());
    exchange(&bo);
    import(&bo, "b.txt", "The ferry leaves at seven.");
    exchange(&bo);
    let old = edge.link().to_owned();
    edge.kill();
    // Without its key the node does not start on a store that belongs to it.
    std::fs::remove_file(edge.data().join("node-key.pem")).unwrap();
    let data = edge.data().to_str().unwrap().to_owned();
    let said = std::process::Command::new(satchel_tests::satchel_edge_bin())
        .args(["run", "--listen", "127.0.0.1:0", "--data-dir", &data])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        !said.status.success() && words.contains("put it back from a backup"),
        "{words}"
    );
    std::fs::remove_dir_all(edge.data()).unwrap();
    edge.start_again();
    assert_ne!(edge.link(), old);

    let refused = bo.run(["sync", "now"]).expect_code(1);
    assert!(
        refused.stderr.contains("not the expected edge node")
            && refused.stderr.contains("satchel sync meet-at"),
        "{}",
        refused.stderr
    );
    // The old link is refused for a new laptop, too, and differently from a node that is not there.
    let new = Laptop::new();
    let refused = new.run(["devices", "pair", &old]).expect_code(1);
    assert!(
        refused.stderr.contains("not the expected"),
        "{}",
        refused.stderr
    );
    let unsure = bo.run(["sync", "meet-at", edge.link()]).expect_code(2);
    assert!(unsure.stderr.contains("--yes"), "{}", unsure.stderr);

    import(&anna, "c.txt", "A marmot was seen.");
    for laptop in [&anna, &bo] {
        laptop
            .run(["sync", "meet-at", edge.link(), "--yes"])
            .expect_success();
    }
    for laptop in [&anna, &bo, &anna] {
        exchange(laptop);
    }
    for word in ["lighthouse", "ferry", "marmot"] {
        assert_eq!((hits(&anna, word), hits(&bo, word)), (1, 1), "{word}");
    }
    pair(&anna, &new, edge.link());
    exchange(&new);
    assert_eq!(hits(&new, "ferry"), 1);
}
