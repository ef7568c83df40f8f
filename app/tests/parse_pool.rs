//! Documents through real parse workers: good ones are read well, hostile ones do no harm.
//!
//! Uses the evaluation data beside the repository where it is present, and says so where it is not.
//! Generates every bomb itself. Never needs a network.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use satchel_app::parse::{
    Extracted, ParseError, ParsePool, Sandbox, TextKind, WorkerProgram, limits, read_file,
};

fn worker() -> WorkerProgram {
    WorkerProgram {
        program: env!("CARGO_BIN_EXE_satchel").into(),
        args: vec!["worker".into(), "parse".into()],
    }
}

fn pool() -> ParsePool {
    ParsePool::new(worker(), 2)
}

/// The folder of evaluation data: `$SATCHEL_DATA`, else `shared/data` beside a folder above.
fn data(folder: &str) -> Option<PathBuf> {
    let from_environment = std::env::var_os("SATCHEL_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|above| above.join("shared/data"));
    let found = from_environment
        .into_iter()
        .chain(beside)
        .map(|data| data.join(folder))
        .find(|folder| folder.is_dir());
    if found.is_none() {
        println!("skipped: no evaluation data; set SATCHEL_DATA to a folder that holds {folder}");
    }
    found
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

async fn parse_file(pool: &ParsePool, path: &Path) -> Result<Extracted, ParseError> {
    let (bytes, _) = read_file(path)?;
    let name = path.file_name().unwrap().to_string_lossy();
    pool.parse(&name, Arc::new(bytes)).await
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Harmonic mean of precision and recall over the words of two texts, regardless of their order.
fn word_f1(expected: &str, found: &str) -> f64 {
    let (expected, found) = (words(expected), words(found));
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in &expected {
        *left.entry(word).or_default() += 1;
    }
    let common = found
        .iter()
        .filter(|word| match left.get_mut(word.as_str()) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        })
        .count();
    2.0 * common as f64 / (expected.len() + found.len()).max(1) as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn pdfs_have_the_words_that_poppler_finds() {
    let Some(folder) = data("documents/pdf") else {
        return;
    };
    if std::process::Command::new("pdftotext")
        .arg("-v")
        .output()
        .is_err()
    {
        println!("skipped: pdftotext (package poppler-utils) is not installed");
        return;
    }
    let pool = pool();
    let mut sum = 0.0;
    let files = files_in(&folder);
    for path in &files {
        let started = Instant::now();
        let out = parse_file(&pool, path).await.unwrap();
        let elapsed = started.elapsed();
        let oracle = std::process::Command::new("pdftotext")
            .arg(path)
            .arg("-")
            .output()
            .unwrap();
        let oracle = String::from_utf8_lossy(&oracle.stdout);
        let f1 = word_f1(&oracle, &out.text);
        let headings = out
            .text
            .lines()
            .filter(|line| line.starts_with('#'))
            .count();
        println!(
            "{:28} F1 {f1:.4}  {:3} pages  {headings:3} headings  {elapsed:.1?}  {:?} {:?}",
            path.file_name().unwrap().to_string_lossy(),
            out.pages.unwrap(),
            out.title,
            out.notes,
        );
        assert!(f1 > 0.97, "{}: {f1}", path.display());
        assert_eq!(
            out.text.matches('\u{C}').count() + 1,
            out.pages.unwrap() as usize
        );
        assert!(out.paged && out.kind == TextKind::Markdown);
        // Page n of the text is page n of the original: the oracle ends each page with a form feed.
        let pages = out.text.split('\u{C}').zip(oracle.split('\u{C}'));
        for (number, (ours, theirs)) in pages.enumerate() {
            let enough = words(theirs).len() >= 50;
            assert!(
                !enough || word_f1(theirs, ours) > 0.85,
                "{} page {}",
                path.display(),
                number + 1
            );
        }
        sum += f1;
    }
    let mean = sum / files.len() as f64;
    println!("mean F1 {mean:.4} over {} documents", files.len());
    assert!(mean > 0.99, "mean word F1 {mean}");
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_give_their_article() {
    let Some(folder) = data("documents/html") else {
        return;
    };
    let pool = pool();
    let mut scores = Vec::new();
    let mut pages: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    pages.sort();
    for page in &pages {
        let out = parse_file(&pool, &page.join("source.html")).await.unwrap();
        let expected = visible_text(&std::fs::read_to_string(page.join("expected.html")).unwrap());
        let f1 = word_f1(&expected, &out.text);
        println!(
            "{:28} F1 {f1:.4}  {:?}",
            page.file_name().unwrap().to_string_lossy(),
            out.title
        );
        scores.push(f1);
    }
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    println!("mean F1 {mean:.4} over {} pages", scores.len());
    assert!(mean > 0.9, "mean word F1 {mean}");
}

/// The text of a small, clean page: enough of an HTML reader for the expected articles.
fn visible_text(html: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in html.chars() {
        match c {
            '<' => inside = true,
            '>' if inside => {
                inside = false;
                out.push(' ');
            }
            c if !inside => out.push(c),
            _ => {}
        }
    }
    for (entity, character) in [
        ("&nbsp;", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ] {
        out = out.replace(entity, character);
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_files_give_text_or_a_clear_error_in_time() {
    let Some(folder) = data("hostile") else {
        return;
    };
    let pool = pool();
    let mut files = files_in(&folder.join("pdf"));
    files.extend(files_in(&folder.join("office")));
    for path in &files {
        let started = Instant::now();
        let outcome = parse_file(&pool, path).await;
        let elapsed = started.elapsed();
        let shown = match &outcome {
            Ok(out) => format!("ok: {} bytes of text {:?}", out.text.len(), out.notes),
            Err(error) => error.to_string(),
        };
        println!(
            "{:60} {elapsed:>8.1?}  {shown}",
            path.file_name().unwrap().to_string_lossy()
        );
        assert!(elapsed < longest(), "{}: {elapsed:?}", path.display());
        assert!(
            !matches!(outcome, Err(ParseError::NoWorker { .. })),
            "{shown}"
        );
    }
    // The pool still works.
    let out = pool
        .parse("a.csv", Arc::new(b"a,b\n1,2\n".to_vec()))
        .await
        .unwrap();
    assert!(out.text.contains("| 1 | 2 |"));
}

#[tokio::test(flavor = "multi_thread")]
async fn password_protected_files_are_named_as_such() {
    let Some(folder) = data("hostile") else {
        return;
    };
    let error = parse_file(&pool(), &folder.join("office/protected_agile.docx"))
        .await
        .unwrap_err();
    assert_eq!(error, ParseError::PasswordProtected);
}

/// 35 s on an idle machine; other work on the processor may stretch it, as the limits allow.
fn longest() -> Duration {
    limits::CPU_TIME * limits::WALL_TIME_FACTOR + Duration::from_secs(5)
}

/// A ZIP file with these entries.
fn zip_of(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A PDF of the given objects (numbered from 1; 1 is the catalogue), with a correct index.
fn pdf_of(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"%PDF-1.7\n".to_vec();
    let mut offsets = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        offsets.push(out.len());
        out.extend(format!("{} 0 obj\n", index + 1).bytes());
        out.extend(object);
        out.extend(b"\nendobj\n");
    }
    let start = out.len();
    out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    for offset in offsets {
        out.extend(format!("{offset:010} 00000 n \n").bytes());
    }
    let size = objects.len() + 1;
    out.extend(
        format!("trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n").bytes(),
    );
    out
}

/// A PDF with one page that shows `content`.
fn pdf_page(dictionary: &str, content: &[u8]) -> Vec<u8> {
    let mut stream = format!("<</Length {}{dictionary}>>stream\n", content.len()).into_bytes();
    stream.extend(content);
    stream.extend(b"\nendstream");
    pdf_of(&[
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>"
            .to_vec(),
        stream,
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>".to_vec(),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_pdf_is_read() {
    let pdf = pdf_page("", b"BT /F 12 Tf 50 700 Td (Hello from a page) Tj ET");
    let out = pool()
        .parse("letter.pdf", Arc::new(pdf.clone()))
        .await
        .unwrap();
    assert_eq!(out.text.trim(), "Hello from a page");
    assert_eq!(
        (out.title.as_str(), out.pages, out.paged),
        ("letter", Some(1), true)
    );
    let pool = pool();
    // Cut anywhere, it is read or refused, and the pool lives on.
    for cut in (0..pdf.len()).step_by(pdf.len() / 50) {
        let outcome = pool
            .parse("letter.pdf", Arc::new(pdf[..cut].to_vec()))
            .await;
        assert!(
            !matches!(outcome, Err(ParseError::NoWorker { .. })),
            "cut at {cut}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_text_is_said_to_be_scanned() {
    let error = pool()
        .parse("scan.pdf", Arc::new(pdf_page("", b"0 0 100 100 re f")))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("scanned"), "{error}");
}

/// Name, bytes, and whether text is an acceptable outcome.
fn bombs() -> Vec<(&'static str, Vec<u8>, bool)> {
    let deep_array = format!("<</Type/Catalog/Pages 2 0 R/X {}>>", "[".repeat(10_000)).into_bytes();
    let cycle = vec![
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[2 0 R 2 0 R 2 0 R]/Count 1000000>>".to_vec(),
    ];
    let form = vec![
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R/Resources<</XObject<</A 4 0 R/B 4 0 R>>>>>>".to_vec(),
        b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</A 4 0 R/B 4 0 R>>>>/Length 15>>stream\n/A Do /B Do /A Do\nendstream".to_vec(),
    ];
    let repeated = b"BT /F 12 Tf 50 700 Td (word ) Tj ET\n".repeat(400_000);
    let entity =
        b"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"xxxxxxxxxx\">]><a>&b;</a>".to_vec();
    let nested = "<w:tbl>".repeat(100_000).into_bytes();
    vec![
        (
            "deep.pdf",
            pdf_of(&[deep_array, b"<</Type/Pages/Kids[]/Count 0>>".to_vec()]),
            true,
        ),
        ("cycle.pdf", pdf_of(&cycle), true),
        ("form.pdf", pdf_of(&form), true),
        (
            "length.pdf",
            pdf_page("/Length 9223372036854775807", b"BT (x) Tj ET"),
            true,
        ),
        ("repeated.pdf", pdf_page("", &repeated), true),
        (
            "bomb.docx",
            zip_of(&[("word/document.xml", vec![b' '; 300 << 20])]),
            false,
        ),
        (
            "entity.docx",
            zip_of(&[("word/document.xml", entity)]),
            false,
        ),
        (
            "nested.docx",
            zip_of(&[("word/document.xml", nested)]),
            false,
        ),
        (
            "deep.html",
            "<div><b><table><tr><td>".repeat(100_000).into_bytes(),
            false,
        ),
        (
            "attributes.html",
            format!(
                "<p {}>x",
                "a".repeat(7000)
                    .chars()
                    .enumerate()
                    .map(|(i, _)| format!("a{i}=1 "))
                    .collect::<String>()
            )
            .into_bytes(),
            true,
        ),
        ("line.csv", "a,".repeat(20 << 20).into_bytes(), true),
        ("line.txt", vec![b'x'; 150 << 20], false),
        ("quotes.csv", b"\"\n".repeat(5 << 20), true),
        (
            "noise.pdf",
            [b"%PDF-1.7\n".as_slice(), &noise(1 << 20)].concat(),
            false,
        ),
    ]
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(length)
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_cost_an_error_message() {
    // Less time than usual, so that those which only a stopwatch ends do not hold up the tests.
    let cpu_time = Duration::from_secs(8);
    let pool = ParsePool::with_cpu_time(worker(), 2, cpu_time);
    for (name, bytes, may_hold_text) in bombs() {
        let started = Instant::now();
        let outcome = pool.parse(name, Arc::new(bytes)).await;
        let elapsed = started.elapsed();
        match &outcome {
            Ok(out) => println!(
                "{name:20} {elapsed:>8.1?}  ok: {} bytes {:?}",
                out.text.len(),
                out.notes
            ),
            Err(error) => println!("{name:20} {elapsed:>8.1?}  {error}"),
        }
        let longest = cpu_time * limits::WALL_TIME_FACTOR + Duration::from_secs(5);
        assert!(elapsed < longest, "{name}: {elapsed:?}");
        assert!(may_hold_text || outcome.is_err(), "{name}");
        assert!(
            !matches!(outcome, Err(ParseError::NoWorker { .. })),
            "{name}"
        );
        if let Ok(out) = outcome {
            assert!(out.text.len() <= limits::TEXT_BYTES, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_next_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("crashed");
    // The first worker dies when it sees a file, the second is the real one.
    let script = "if [ -e \"$1\" ]; then exec \"$2\" worker parse; fi; : > \"$1\"; \
                  printf '\\041\\0\\0\\0{\"type\":\"ready\",\"sandbox\":\"full\"}'; read -r x; kill -9 $$";
    let program = WorkerProgram {
        program: "/bin/sh".into(),
        args: vec![
            "-c".into(),
            script.into(),
            "sh".into(),
            marker.into(),
            env!("CARGO_BIN_EXE_satchel").into(),
        ],
    };
    let pool = ParsePool::new(program, 1);
    let table = Arc::new(b"a,b\n1,2\n".to_vec());
    let first = pool.parse("a.csv", Arc::clone(&table)).await;
    assert_eq!(
        first.unwrap_err(),
        ParseError::OutOfMemory,
        "a worker killed from outside"
    );
    assert!(
        pool.parse("a.csv", table)
            .await
            .unwrap()
            .text
            .contains("| 1 | 2 |")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_parse_leaves_the_pool_usable() {
    let pool = ParsePool::new(worker(), 1);
    let large = Arc::new("a,b\n1,2\n".repeat(1 << 20).into_bytes());
    for wait_ms in [0, 5, 50, 200] {
        let parse = pool.parse("a.csv", Arc::clone(&large));
        assert!(
            tokio::time::timeout(Duration::from_millis(wait_ms), parse)
                .await
                .is_err()
        );
    }
    let out = pool
        .parse("b.csv", Arc::new(b"x,y\n3,4\n".to_vec()))
        .await
        .unwrap();
    assert!(out.text.contains("| 3 | 4 |"));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_can_open_nothing_and_ends_with_its_pool() {
    let pool = ParsePool::new(worker(), 1);
    let sandbox = pool.sandbox().await.unwrap();
    println!("sandbox: {sandbox:?}");
    // Of all children of this test program, those in which no file can be opened are parse workers.
    let sealed = children_with_limits();
    assert!(!sealed.is_empty(), "a worker with lowered limits");
    for (pid, limits) in &sealed {
        assert!(limit_of(limits, "Max address space") < 64 << 30, "{limits}");
        assert_eq!(limit_of(limits, "Max core file size"), 0);
        assert_eq!(limit_of(limits, "Max file size"), 0);
        // A worker of another test may have ended meanwhile.
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
            continue;
        };
        assert!(
            sandbox == Sandbox::LimitsOnly || status.contains("NoNewPrivs:\t1"),
            "{status}"
        );
    }
    drop(pool);
    let deadline = Instant::now() + Duration::from_secs(20);
    while sealed.iter().any(|(pid, _)| is_running(*pid)) {
        assert!(Instant::now() < deadline, "a worker outlives its pool");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Neither gone nor waiting to be buried.
#[cfg(target_os = "linux")]
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, fields)| !fields.starts_with('Z'))
}

#[cfg(target_os = "linux")]
fn children_with_limits() -> Vec<(u32, String)> {
    let own = std::process::id().to_string();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after_name = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
            after_name.split(' ').nth(1) == Some(&own)
        })
        .filter_map(|pid| {
            Some((
                pid,
                std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?,
            ))
        })
        .filter(|(_, limits)| limit_of(limits, "Max open files") == 0)
        .collect()
}

#[cfg(target_os = "linux")]
/// The soft limit of a line such as `Max open files            0                    0       files`.
fn limit_of(limits: &str, name: &str) -> u64 {
    limits
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|values| values.split_whitespace().next())
        .and_then(|value| value.parse().ok())
        .unwrap_or(u64::MAX)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_notes_are_read_quickly() {
    let pool = pool();
    let note = Arc::new(
        "# Note\n\nSome words about beans, Größe and rain.\n"
            .repeat(40)
            .into_bytes(),
    );
    let started = Instant::now();
    for index in 0..1000 {
        pool.parse(&format!("note {index}.md"), Arc::clone(&note))
            .await
            .unwrap();
    }
    println!("1000 notes in {:.1?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(5));
}
