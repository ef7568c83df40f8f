//! What the window costs: time to the first frame that takes input, and the processor's time in a frame's
//! `logic` and `ui` while an answer streams and an import runs.
//!
//! `make bench BENCH=window`. Real backend, index and models; painting is not part of it (it belongs to the
//! graphics driver). The first frame is measured on the real program where a display answers.

use std::path::Path;
use std::time::{Duration, Instant};

use satchel_tests::Laptop;
use satchel_tests::bench::{Row, invented_text, print};
use satchel_tests::window::OpenWindow;

/// Documents in the workspace.
const DOCUMENTS: usize = 1000;
/// Documents of the import that runs beside the answer.
const MORE: usize = 300;

fn main() {
    let laptop = Laptop::new();
    write_files(&laptop, "papers", DOCUMENTS, 0);
    write_files(&laptop, "more", MORE, 90_000);
    laptop
        .run(["import", "--no-embeddings", "papers"])
        .expect_success();
    let mut rows = first_frames(&laptop);
    rows.extend(frame_work(laptop));
    print(&format!("Window, {DOCUMENTS} documents"), &rows);
}

fn write_files(laptop: &Laptop, folder: &str, count: usize, seed: u64) {
    for index in 0..count {
        let text = invented_text(seed + index as u64, 250);
        laptop.write(format!("{folder}/note-{index:04}.txt"), text);
    }
}

/// Starts the program and reads its log until the window takes input.
fn first_frames(laptop: &Laptop) -> Vec<Row> {
    if std::env::var_os("DISPLAY").is_none() && std::env::var_os("WAYLAND_DISPLAY").is_none() {
        println!("no display: the time to the first frame is not measured (Xvfb gives one)");
        return Vec::new();
    }
    let mut times = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        let mut child = laptop
            .command(["-v", "open"])
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
fn frame_work(laptop: Laptop) -> Vec<Row> {
    let more: &Path = &laptop.home().join("more");
    let mut window = OpenWindow::new([1180.0, 780.0], true, laptop);
    window.start_import(more);
    let list = frames(&mut window, "list of documents while an import runs", 300);
    window.click("Chat");
    window.ask("What was signed in the meeting about the payment of the river tax?");
    let what = "chat while an answer streams and an import runs";
    vec![list, frames(&mut window, what, 600)]
}

/// Draws up to `count` frames, thirty a second, while something is going on.
fn frames(window: &mut OpenWindow, what: &str, count: usize) -> Row {
    window.harness.state_mut().frame_work().clear();
    for _ in 0..count {
        window.harness.step();
        std::thread::sleep(Duration::from_millis(33));
        if window.harness.state().is_idle() {
            break;
        }
    }
    let work = window.harness.state_mut().frame_work();
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
