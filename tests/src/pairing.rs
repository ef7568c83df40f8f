//! Two laptops become a pair, on the command line and in windows, for tests that begin where that has happened.
//!
//! What pairing itself shows and refuses is tested in `two_laptops.rs` and `window.rs`. Start at [`pair`].

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::Laptop;
use crate::window::{EdgeNode, OpenWindow};

/// Longer than pairing takes on two busy cores.
const PATIENCE: Duration = Duration::from_secs(90);

/// Shares the workspace of `desk`, and lets `travel` in, which is called so.
///
/// # Panics
/// When it does not work.
pub fn pair(desk: &Laptop, travel: &Laptop, node: &EdgeNode) {
    desk.run([
        "sync", "share", &node.link, "--label", "desk", "--user", "Anna",
    ])
    .expect_success();
    let mut joining = travel
        .command(["devices", "pair", &node.link])
        .args(["--label", "travel", "--user", "Bo"])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the program starts");
    let said = BufReader::new(joining.stdout.take().expect("the pipe was asked for"));
    let mut lines = said.lines().map_while(Result::ok);
    let code = lines
        .by_ref()
        .find(|line| is_code(line.trim()))
        .expect("it shows a code");
    desk.run(["devices", "approve", code.trim(), "--yes"])
        .expect_success();
    lines.for_each(drop);
    assert!(joining.wait().expect("it ends").success());
    exchange(travel);
}

/// Sends and receives everything.
///
/// # Panics
/// When that is not possible.
pub fn exchange(laptop: &Laptop) {
    let done = laptop.run(["sync", "now", "--json"]).expect_success();
    assert_eq!(done.json()["state"], "equal", "{}", done.stdout);
}

/// As [`pair`], by clicking.
///
/// # Panics
/// When it does not work.
pub fn pair_windows(desk: &mut OpenWindow, travel: &mut OpenWindow, node: &EdgeNode) {
    for (window, label, user) in [(&mut *desk, "desk", "Anna"), (&mut *travel, "travel", "Bo")] {
        window.click("Laptops & sync");
        window.type_into("Link of the edge node", &node.link);
        window.type_into("Name of this laptop", label);
        window.type_into("Your name", user);
    }
    desk.click("Share");
    desk.wait("everything to be sent", |window| {
        window.shows("everything sent") && window.shows("Synced just now")
    });
    travel.click("Show a code");
    travel.wait("a code", |window| code(window).is_some());
    desk.type_into("Code shown there", &code(travel).unwrap_or_default());
    desk.click("Add");
    wait_both(desk, travel, "the pictures", |desk, _| {
        desk.shows("They match: add")
    });
    desk.click("They match: add");
    wait_both(desk, travel, "both to be a pair", |desk, travel| {
        desk.shows("2 laptops")
            && travel.shows("2 laptops")
            && travel.harness.state().is_idle()
            && travel.shows("1 document")
    });
}

/// Draws frames of two windows until something holds.
///
/// # Panics
/// When it never does.
pub fn wait_both(
    here: &mut OpenWindow,
    there: &mut OpenWindow,
    what: &str,
    holds: impl Fn(&OpenWindow, &OpenWindow) -> bool,
) {
    let started = Instant::now();
    loop {
        here.harness.step();
        there.harness.step();
        if holds(here, there) {
            here.settle();
            there.settle();
            return;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "waited in vain for {what}: {}\n----\n{}",
            here.words(),
            there.words()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What looks like a code in a window: a number and three words.
#[must_use]
pub fn code(window: &OpenWindow) -> Option<String> {
    let words = window.words();
    words.lines().find(|line| is_code(line)).map(str::to_owned)
}

/// A number and three words.
fn is_code(line: &str) -> bool {
    line.split('-').count() == 4 && line.starts_with(|first: char| first.is_ascii_digit())
}
