//! Earlier versions of documents on the command line, and what two laptops changed at once.

use satchel_tests::Laptop;
use satchel_tests::pairing::{exchange, pair};
use satchel_tests::window::EdgeNode;
use serde_json::Value;

const LEASE: &str = "# Lease\n\nIt ends in September.\n\nThe deposit is 900.\n";

fn history(laptop: &Laptop, name: &str) -> Vec<Value> {
    let listed = laptop
        .run(["documents", "history", name, "--json"])
        .expect_success()
        .json();
    listed["versions"].as_array().expect("a list").clone()
}

fn authors(version: &Value) -> Vec<&str> {
    let all = version["authors"].as_array().expect("a list").iter();
    all.filter_map(|author| author["label"].as_str()).collect()
}

fn text(laptop: &Laptop, name: &str) -> String {
    let shown = laptop.run(["show", "--whole", name]).expect_success();
    shown.stdout.trim_end().to_owned() + "\n"
}

fn finds(laptop: &Laptop, word: &str) -> bool {
    let found = laptop
        .run(["search", "--json", "--mode", "lexical", word])
        .expect_success()
        .json();
    found["hits"]
        .as_array()
        .is_some_and(|hits| !hits.is_empty())
}

#[test]
fn versions_are_listed_compared_and_brought_back() {
    let laptop = Laptop::new();
    laptop.write("lease.md", LEASE);
    laptop.run(["import", "lease.md"]).expect_success();
    laptop.write("lease.md", LEASE.replace("September", "October"));
    laptop.run(["import", "lease.md"]).expect_success();

    let listed = laptop
        .run(["documents", "history", "lease.md"])
        .expect_success();
    let lines: Vec<&str> = listed.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", listed.stdout);
    assert!(lines[0] == "Lease" && lines[1].ends_with("this laptop  (now)"));
    assert!(lines[1].contains("−2 B") && lines[2].contains(&format!("+{} B", LEASE.len())));

    // By path and by title; the versions by number and by name.
    let expected = "@@ -1,5 +1,5 @@\n # Lease\n \n-It ends in September.\n+It ends in October.\n \n The deposit is 900.\n";
    let first = history(&laptop, "Lease")[1]["id"]
        .as_str()
        .expect("a name")
        .to_owned();
    for from in [vec![], vec!["--from", "1"], vec!["--from", &first]] {
        let compared = laptop
            .run([vec!["documents", "diff", "Lease"], from].concat())
            .expect_success();
        assert!(compared.stdout.ends_with(expected), "{}", compared.stdout);
    }

    let back = laptop
        .run(["documents", "restore", "lease.md", "1"])
        .expect_success();
    assert!(
        back.stderr.contains("as version 3. Nothing is lost"),
        "{}",
        back.stderr
    );
    assert_eq!(text(&laptop, "lease.md"), LEASE);
    assert!(finds(&laptop, "September") && !finds(&laptop, "October"));
    let all = history(&laptop, "lease.md");
    assert_eq!(all.len(), 3);
    assert_eq!(
        (&all[0]["is_now"], &all[0]["from"][0]),
        (&true.into(), &2.into())
    );
    // The file says something else, and is not read again before it changes.
    let again = laptop.run(["import", "lease.md"]).expect_success();
    assert!(again.stderr.contains("1 unchanged"), "{}", again.stderr);
    assert_eq!(text(&laptop, "lease.md"), LEASE);

    let same = laptop
        .run(["documents", "restore", "lease.md", "3"])
        .expect_code(2);
    assert!(
        same.stderr.contains("nothing was changed"),
        "{}",
        same.stderr
    );
    let none = laptop
        .run(["documents", "diff", "lease.md", "--from", "9"])
        .expect_code(3);
    assert!(
        none.stderr.contains("the document has 3"),
        "{}",
        none.stderr
    );
    laptop
        .run(["documents", "history", "bridge.md"])
        .expect_code(3);
}

#[test]
fn what_two_laptops_changed_at_once_is_told_on_both_and_either_side_comes_back() {
    let node = EdgeNode::start();
    let (anna, bo) = (Laptop::new(), Laptop::new());
    anna.write("lease.md", LEASE);
    anna.run(["import", "lease.md"]).expect_success();
    pair(&anna, &bo, &node);
    let status = |laptop: &Laptop| laptop.run(["sync", "status"]).expect_success().stdout;
    assert!(status(&bo).contains("Nothing was changed on two laptops at once"));

    // Two states by Anna, so that Bo has something to bring back; then both change the same line.
    anna.write("lease.md", LEASE.replace("900", "950"));
    anna.run(["import", "lease.md"]).expect_success();
    exchange(&bo);
    assert!(
        status(&bo).contains("Nothing was changed"),
        "one after the other is no conflict"
    );
    anna.write("lease.md", LEASE.replace("900", "1000"));
    anna.run(["--offline", "import", "lease.md"])
        .expect_success();
    bo.run(["--offline", "documents", "restore", "lease.md", "1"])
        .expect_success();
    for laptop in [&anna, &bo, &anna] {
        exchange(laptop);
    }

    let told = status(&bo);
    assert!(told.contains("“Lease”: the same lines"), "{told}");
    let reported = bo.run(["sync", "status", "--json"]).expect_success().json();
    let met = &reported["conflicts"]["documents"][0];
    let side = |of: &str| {
        let sides = met["sides"].as_array().expect("a list").iter();
        let mut sides = sides.filter(|side| authors(side) == [of]);
        sides
            .next()
            .unwrap_or_else(|| panic!("{of}: {met}"))
            .clone()
    };
    assert!(side("desk")["at_ms"].as_i64() > Some(0) && side("travel")["at_ms"].is_number());
    assert_eq!(history(&anna, "lease.md").len(), 5);
    let labels: Vec<Vec<String>> = history(&anna, "lease.md")
        .iter()
        .map(|version| authors(version).into_iter().map(str::to_owned).collect())
        .collect();
    let mut written = labels[1..3].concat();
    written.sort();
    assert!(
        labels[0].is_empty() && written == ["desk", "travel"],
        "{labels:?}"
    );

    let wanted = side("desk")["version_id"]
        .as_str()
        .expect("a name")
        .to_owned();
    bo.run(["documents", "restore", "lease.md", &wanted])
        .expect_success();
    exchange(&bo);
    exchange(&anna);
    assert_eq!(text(&anna, "lease.md"), LEASE.replace("900", "1000"));
}

#[test]
fn a_chat_that_two_laptops_continued_shows_every_branch() {
    let node = EdgeNode::start();
    let (anna, bo) = (Laptop::with_starter_models(), Laptop::with_starter_models());
    anna.write("lease.md", LEASE);
    anna.run(["import", "lease.md"]).expect_success();
    let asked = anna
        .run(["ask", "--json", "What is the capital of Mongolia?"])
        .expect_success()
        .json();
    let chat = asked["thread"].as_str().expect("a chat").to_owned();
    pair(&anna, &bo, &node);
    for (laptop, question) in [
        (&anna, "Who invented the sewing machine?"),
        (&bo, "Which planet has the most moons?"),
    ] {
        laptop
            .run(["--offline", "ask", "--chat", &chat, question])
            .expect_success();
    }
    for laptop in [&anna, &bo, &anna] {
        exchange(laptop);
    }
    let newest = anna.run(["chat", "--show", &chat]).expect_success();
    assert!(newest.stderr.contains("branch 1 of 2"), "{}", newest.stderr);
    let shown = |branch: &str| {
        let shown = anna.run(["chat", "--show", &chat, "--branch", branch]);
        shown.expect_success().stdout
    };
    let (first, second) = (shown("1"), shown("2"));
    assert_eq!(first, newest.stdout);
    let (by_anna, by_bo) = if first.contains("sewing") {
        (first, second)
    } else {
        (second, first)
    };
    assert!(
        by_anna.contains("You (this laptop): Who invented"),
        "{by_anna}"
    );
    assert!(by_bo.contains("You (travel): Which planet"), "{by_bo}");
    assert!(by_anna.contains("Mongolia") && by_bo.contains("Mongolia"));
    assert!(!by_anna.contains("planet") && !by_bo.contains("sewing"));
    anna.run(["chat", "--show", &chat, "--branch", "3"])
        .expect_code(3);
    let told = anna.run(["sync", "status"]).expect_success().stdout;
    assert!(told.contains("2 branches"), "{told}");
}
