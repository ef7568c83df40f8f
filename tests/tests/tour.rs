//! The tour of the README, command by command, as a new user types it.

use satchel_tests::{Laptop, repository};

#[test]
fn the_tour_of_the_readme_works_as_it_is_written() {
    let laptop = Laptop::with_starter_models();
    laptop.write(
        "Documents/contracts/lease.md",
        "# Lease\n\nThe lease of the flat in Kiel ends on 30 September 2027. The rent is 940 euros a month.\n",
    );
    let commands = tour();
    assert!(
        commands.len() >= 8,
        "the tour of the README was not found: {commands:?}"
    );
    let mut said = String::new();
    for command in &commands {
        let outcome = laptop.run(words(command, &laptop));
        said += &format!("$ {command}\n{}{}\n", outcome.stdout, outcome.stderr);
        assert_eq!(outcome.code, Some(0), "`{command}` failed:\n{said}");
    }
    for expected in ["hazelnuts", "deposit", "30 September 2027", "Contracts"] {
        assert!(
            said.contains(expected),
            "nothing said “{expected}”:\n{said}"
        );
    }
}

/// The commands in the block of the README that begins with `satchel try`.
fn tour() -> Vec<String> {
    let readme = std::fs::read_to_string(repository::root().join("README.md")).expect("a README");
    readme
        .split("```")
        .find(|block| block.contains("\nsatchel try"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.strip_prefix("satchel "))
        .map(|line| line.split(" #").next().unwrap_or(line).trim().to_owned())
        .collect()
}

/// A command's words as a shell takes them: quotation marks hold words together, `~` is the home folder.
fn words(command: &str, laptop: &Laptop) -> Vec<String> {
    let home = laptop.home().display().to_string();
    command
        .split('"')
        .enumerate()
        .flat_map(|(index, part)| match index % 2 {
            1 => vec![part.to_owned()],
            _ => part
                .split_whitespace()
                .map(|word| word.replacen('~', &home, 1))
                .collect(),
        })
        .collect()
}
