//! The window lives when a worker dies. Apart from the other journeys because it kills every worker of its process.

use satchel_tests::window::OpenWindow;

#[test]
fn a_worker_that_dies_is_one_failed_answer() {
    let mut window = OpenWindow::with_models([1180.0, 780.0]);
    window.import_sample();
    window.ask("Which nuts must Tom avoid?");
    window.wait("the model to be loaded", |_| !workers().is_empty());
    window.wait("the answer to begin or the worker to be killed", |window| {
        for worker in workers() {
            let _gone = rustix::process::kill_process(worker, rustix::process::Signal::KILL);
        }
        window.shows("Ask again") || window.harness.state().is_idle()
    });
    window.wait_idle();
    assert!(window.shows("Ask again"), "{}", window.words());
    window.click("Ask again");
    window.wait_idle();
    assert!(
        window.shows("Searched 21 of 21 documents"),
        "{}",
        window.words()
    );
}

/// The workers of this process that run a model.
fn workers() -> Vec<rustix::process::Pid> {
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").expect("Linux");
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let read =
            |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let parent = read("stat")
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if parent == Some(own) && read("cmdline").contains("inference") {
            found.extend(rustix::process::Pid::from_raw(pid));
        }
    }
    found
}
