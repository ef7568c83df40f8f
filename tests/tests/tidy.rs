//! Habits of this code base that a machine can check, each with what to do instead.
//!
//! Reads the files of the repository; compiles and changes nothing.

use satchel_tests::repository::{self, File, files, rust_files};
use satchel_tests::source;

/// The longest source file so far is well below; beyond this one it holds a second idea.
const MAX_LINES: usize = 700;

/// This file spells out what it looks for.
const SELF: &str = "tests/tests/tidy.rs";

#[test]
fn every_source_file_says_first_what_it_is() {
    let silent = rust_files()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(file, _)| file.path.clone());
    assert_none(
        silent,
        "files that do not begin with `//! `: what it is, what it never does, where to start",
    );
}

#[test]
fn no_file_holds_a_second_idea() {
    let long = rust_files()
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES);
    assert_none(
        long.map(|(file, lines)| format!("{}: {lines} lines", file.path)),
        "files over 700 lines: move the second idea into a file of its own",
    );
}

#[test]
fn nothing_is_left_unfinished() {
    let words = ["todo!", "unimplemented!", "dbg!", "#[ignore"];
    let found = rust_files().flat_map(|(file, text)| lines_with(file, &source::code(text), &words));
    assert_none(
        found,
        "unfinished or silenced code: finish it, or leave it out and say so in an issue",
    );
}

#[test]
fn product_code_never_unwraps() {
    let tests = source::test_modules();
    let product = rust_files().filter(|(file, _)| !file.is_test() && !tests.contains(&file.path));
    let found = product.flat_map(|(file, text)| {
        lines_with(
            file,
            &source::product_code(text),
            &[".unwrap()", ".unwrap_err()"],
        )
    });
    assert_none(
        found,
        "`unwrap` outside tests: return the error, or `expect(\"why this cannot happen\")`",
    );
}

#[test]
fn every_crate_root_tells_clones_apart() {
    let is_root = |file: &File| {
        ["src/lib.rs", "build.rs"]
            .iter()
            .any(|root| file.path.ends_with(root))
    };
    let is_mixed_up = |text: &str| !text.contains("option_env!(\"SATCHEL_CHECKOUT\")");
    let found = rust_files()
        .filter(|(file, text)| is_root(file) && is_mixed_up(text))
        .map(|(file, _)| file.path.clone());
    // A `main.rs` needs none: it is built again whenever its library is.
    assert_none(
        found,
        "crate roots without `const _: Option<&str> = option_env!(\"SATCHEL_CHECKOUT\");`: see .cargo/config.toml for why",
    );
}

#[test]
fn nothing_names_a_place_on_one_machine() {
    let found = text_files()
        .flat_map(|(file, text)| numbered(file, text, |line| names_a_machine(line).then_some("")));
    assert_none(
        found,
        "absolute paths of one machine: nobody else has them; take a relative path, `~` or a placeholder",
    );
}

#[test]
fn nothing_names_the_host_of_a_registry() {
    // In two halves: no file of the project holds one whole, this one included.
    const HOSTS: [&str; 8] = [
        concat!("index.", "crates.io"),
        concat!("static.", "crates.io"),
        concat!("pypi", ".org"),
        concat!("python", "hosted.org"),
        concat!("registry.", "npmjs"),
        concat!("deb.", "debian.org"),
        concat!("archive.", "ubuntu.com"),
        concat!("proxy.", "golang.org"),
    ];
    let host = |line: &str| HOSTS.into_iter().find(|host| line.contains(host));
    let found = text_files().flat_map(|(file, text)| numbered(file, text, host));
    assert_none(
        found,
        "hosts of package registries: name the package, and let the user's own tool know where it is",
    );
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for (file, text) in text_files()
        .filter(|(file, _)| file.path.ends_with(".md") && !file.path.contains("/fixtures/"))
    {
        let folder = file
            .full_path()
            .parent()
            .expect("a file has a folder")
            .to_path_buf();
        for target in local_links(text) {
            if !folder.join(target).exists() {
                broken.push(format!("{}: {target}", file.path));
            }
        }
    }
    assert_none(broken, "Markdown links to files that do not exist");
}

#[test]
fn licences_are_there_in_full() {
    for (name, sentence) in [
        (
            "LICENSE-MIT",
            "Permission is hereby granted, free of charge",
        ),
        ("LICENSE-APACHE", "END OF TERMS AND CONDITIONS"),
    ] {
        let text = files()
            .iter()
            .find(|file| file.path == name)
            .and_then(|file| file.text.as_deref());
        assert!(
            text.is_some_and(|text| text.contains(sentence)),
            "{name} is missing or cut off"
        );
    }
}

#[test]
fn the_sample_documents_are_there() {
    let documents = files().iter().filter(|file| {
        file.path.starts_with("app/sample/")
            && file.text.as_ref().is_none_or(|text| text.len() > 200)
    });
    assert!(
        documents.count() >= 2,
        "app/sample needs at least two real documents: `satchel try` imports them and asks about them"
    );
}

#[test]
fn scripts_can_be_started() {
    use std::os::unix::fs::PermissionsExt;
    let scripts = files().iter().filter(|file| {
        file.text
            .as_ref()
            .is_some_and(|text| text.starts_with("#!/"))
    });
    let mode = |file: &File| {
        std::fs::metadata(file.full_path())
            .expect("the file was just read")
            .permissions()
            .mode()
    };
    assert_none(
        scripts
            .filter(|file| mode(file) & 0o111 == 0)
            .map(|file| file.path.clone()),
        "scripts that are not executable: chmod +x",
    );
}

#[test]
fn a_search_for_code_skips_comments_literals_and_tests() {
    let text = r##"
        // a.unwrap() in a comment
        /* nested /* a.unwrap() */ still */
        let s = "a.unwrap() \" quoted"; let r = r#"a.unwrap() " raw"#; let b = br"\";
        let c = '"'; let e = '\''; fn f<'a>(x: &'a str) { x.unwrap() }
        #[cfg(test)]
        mod tests { fn g() -> [u8; 2] { { a.unwrap() } } }
        #[cfg(test)] use std::fs; let kept = a.unwrap();
    "##;
    let product = source::product_code(text);
    assert_eq!(source::lines_with_word(&product, ".unwrap()"), [5, 8]);
    assert_eq!(product.lines().count(), text.lines().count());
    assert!(
        product.contains("let kept"),
        "code after a test item stays: {product}"
    );
    assert_eq!(source::lines_with_word("use begui; egui::Ui", "egui"), [1]);
    assert!(source::lines_with_word("use begui; egui_x", "egui").is_empty());
}

#[test]
fn a_machines_path_is_told_from_a_relative_one() {
    for line in [
        "open /home/jsmith/x",
        concat!("\"/root", "/.cargo\""),
        "=/Users/jsmith/x",
        concat!("(/work", "/main)"),
    ] {
        assert!(names_a_machine(line), "{line}");
    }
    for line in [
        "../reports/home/jsmith",
        "~/home/jsmith",
        "https://example.com/home/jsmith",
        "$HOME/home/jsmith",
        "/home/ann/notes.md",
        "the /home/ folder",
        "/workspaces/x",
    ] {
        assert!(!names_a_machine(line), "{line}");
    }
}

#[test]
fn links_are_found_outside_code_alone() {
    let text = "[a](b.md#part) ![i](c.png) [w](https://x.y) [h](#here) `[no](no.md)`\n```\n[no](no.md)\n```\n[t](d.md \"title\")";
    assert_eq!(local_links(text), ["b.md", "c.png", "d.md"]);
}

/// Text written here: no lock file, no licences, no test data, not this file.
fn text_files() -> impl Iterator<Item = (&'static File, &'static str)> {
    let written = |file: &&File| {
        file.path != SELF
            && file.path != "Cargo.lock"
            && !file.path.starts_with("LICENSE")
            && !file.path.contains("fixtures/")
    };
    files()
        .iter()
        .filter(written)
        .filter_map(|file| Some((file, file.text.as_deref()?)))
}

/// A home or project folder with something in it, at the beginning of a path.
fn names_a_machine(line: &str) -> bool {
    // People who live in examples.
    const NOBODY: [&str; 9] = [
        "somebody", "x", "me", "you", "user", "alice", "ann", "bob", "carol",
    ];
    const FOLDERS: [&str; 4] = ["/home/", "/root/", "/Users/", "/work/"];
    FOLDERS.iter().any(|folder| {
        line.match_indices(folder).any(|(start, _)| {
            let begins_path =
                !line[..start].ends_with(|c: char| c.is_alphanumeric() || "._-~}*".contains(c));
            let rest = &line[start + folder.len()..];
            let content = rest
                .split(|c: char| !c.is_alphanumeric() && c != '.')
                .next()
                .unwrap_or_default();
            begins_path && !content.is_empty() && !NOBODY.contains(&content)
        })
    })
}

/// Targets of the Markdown links of a text that name a file, without their `#part`.
fn local_links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_fence = false;
    for line in text.lines() {
        in_fence ^= line.trim_start().starts_with("```");
        if in_fence {
            continue;
        }
        // Every second part between backticks is code.
        for part in line.split('`').step_by(2) {
            let targets = part
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split([')', ' ']).next());
            found.extend(
                targets
                    .map(|target| target.split('#').next().unwrap_or(target))
                    .filter(|target| is_local(target)),
            );
        }
    }
    found
}

fn is_local(target: &str) -> bool {
    !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")
}

fn lines_with(file: &File, code: &str, words: &[&str]) -> Vec<String> {
    words
        .iter()
        .flat_map(|word| {
            source::lines_with_word(code, word)
                .into_iter()
                .map(move |line| format!("{}:{line}: {word}", file.path))
        })
        .collect()
}

/// The lines of a file for which `judge` has something to say, with their numbers.
fn numbered(file: &File, text: &str, judge: impl Fn(&str) -> Option<&'static str>) -> Vec<String> {
    let lines = text
        .lines()
        .enumerate()
        .filter_map(|(index, line)| Some((index + 1, line, judge(line)?)));
    lines
        .map(|(number, line, said)| format!("{}:{number}: {said} {}", file.path, line.trim()))
        .collect()
}

fn assert_none(found: impl IntoIterator<Item = String>, what: &str) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn the_repository_is_found() {
    assert!(
        repository::root().join("Cargo.toml").is_file() && files().len() > 20,
        "the walls check {} files only",
        files().len()
    );
}
