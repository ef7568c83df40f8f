//! What the window costs: time to the first frame that takes input, and the processor's time in a frame's
//! `logic` and `ui` while an answer streams and an import runs.
//!
//! `make bench BENCH=window`. Real backend, index and models; painting is not part of it (it belongs to the
//! graphics driver). The first frame is measured on the real program where a display answers.

use std::path::Path;
use std::process::Command as Process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use satchel_app::backend::runtime;
use satchel_app::backend::unlock::{NewKey, Unlock};
use satchel_app::config::{DataDirs, Settings};
use satchel_app::ui::Window;
use satchel_tests::bench::{Row, invented_text, print};
use satchel_tests::{models_dir, satchel_bin};

/// Documents in the workspace.
const DOCUMENTS: usize = 1000;
/// Documents of the import that runs beside the answer.
const MORE: usize = 300;

fn main() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let papers = data.path().join("papers");
    write_files(&papers, DOCUMENTS, 0);
    let more = data.path().join("more");
    write_files(&more, MORE, 90_000);
    let root = data.path().join("data");
    let imported = Process::new(satchel_bin())
        .arg("--data-dir")
        .arg(&root)
        .args(["import", "--no-embeddings"])
        .arg(&papers)
        .status();
    assert!(imported.is_ok_and(|status| status.success()), "the import");
    let mut rows = first_frames(&root);
    rows.extend(frame_work(&root, &more));
    print(&format!("Window, {DOCUMENTS} documents"), &rows);
}

fn write_files(folder: &Path, count: usize, seed: u64) {
    std::fs::create_dir_all(folder).expect("a folder");
    for index in 0..count {
        let text = invented_text(seed + index as u64, 250);
        std::fs::write(folder.join(format!("note-{index:04}.txt")), text).expect("a file");
    }
}

/// Starts the program and reads its log until the window takes input.
fn first_frames(root: &Path) -> Vec<Row> {
    if std::env::var_os("DISPLAY").is_none() && std::env::var_os("WAYLAND_DISPLAY").is_none() {
        println!("no display: the time to the first frame is not measured (Xvfb gives one)");
        return Vec::new();
    }
    let mut times = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        let mut child = Process::new(satchel_bin())
            .arg("--data-dir")
            .arg(root)
            .args(["-v", "open"])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = std::io::BufReader::new(child.stderr.take().expect("a pipe"));
        let seen = std::io::BufRead::lines(log)
            .map_while(Result::ok)
            .any(|line| line.contains("the window takes input"));
        times.push(started.elapsed().as_secs_f64() * 1000.0);
        drop(child.kill());
        drop(child.wait());
        if !seen {
            println!("the window did not open");
            return Vec::new();
        }
    }
    vec![Row::new("start to a window that takes input [ms]", times).at_most(1000.0)]
}

/// Frames of the window itself, driven without a display.
fn frame_work(root: &Path, more: &Path) -> Vec<Row> {
    let runtime = runtime::build().expect("threads");
    let mut dirs = DataDirs::find(Some(root));
    dirs.program = satchel_bin();
    dirs.models = models_dir();
    let unlock = Unlock {
        ask: Arc::new(|_| None),
        new_key: NewKey::PlainFile,
    };
    let handle = runtime.handle().clone();
    let mut harness = Harness::builder()
        .with_size([1180.0, 780.0])
        .with_accessibility_check(false)
        .build_eframe(move |creation| {
            Window::open(
                &creation.egui_ctx,
                handle,
                dirs,
                Settings::default(),
                unlock,
            )
        });
    until(&mut harness, |harness| harness.state().is_idle());
    harness.get_by_label("Documents").click();
    harness.run_steps(4);
    harness.get_by_label("Path to import").focus();
    harness.step();
    harness
        .get_by_label("Path to import")
        .type_text(&more.display().to_string());
    harness.run_steps(2);
    harness.get_by_label("Import").click();
    harness.run_steps(2);
    let mut rows = vec![frames(
        &mut harness,
        "list of documents while an import runs",
        300,
    )];
    harness.get_by_label("Chat").click();
    harness.run_steps(2);
    harness.get_by_label("Question").focus();
    harness.step();
    harness
        .get_by_label("Question")
        .type_text("What was signed in the meeting about the payment of the river tax?");
    harness.run_steps(2);
    harness.get_by_label("Ask").click();
    harness.run_steps(2);
    rows.push(frames(
        &mut harness,
        "chat while an answer streams and an import runs",
        600,
    ));
    rows
}

/// Draws up to `count` frames, thirty a second, while something is going on.
fn frames(harness: &mut Harness<'_, Window>, what: &str, count: usize) -> Row {
    harness.state_mut().frame_work().clear();
    for _ in 0..count {
        harness.step();
        std::thread::sleep(Duration::from_millis(33));
        if harness.state().is_idle() {
            break;
        }
    }
    let work = harness.state_mut().frame_work();
    let cost = work.quantile(0.99).unwrap_or_default();
    println!(
        "{what}: {} frames, median {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        work.len(),
        ms(work.quantile(0.5).unwrap_or_default()),
        ms(cost),
        ms(work.quantile(1.0).unwrap_or_default())
    );
    Row::new(format!("{what}, p99 [ms]"), vec![ms(cost)]).at_most(8.0)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn until(harness: &mut Harness<'_, Window>, holds: impl Fn(&Harness<'_, Window>) -> bool) {
    let started = Instant::now();
    while !holds(harness) {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it takes too long"
        );
        harness.step();
        std::thread::sleep(Duration::from_millis(10));
    }
}
