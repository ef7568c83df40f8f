//! Measures the storage on this machine: saving batches, opening, reading, large texts.
//!
//! `cargo run --locked -p satchel-sync --example measure_storage [FOLDER]` works in a temporary folder inside
//! FOLDER (default: the current one, so that it is a real disk and not one in memory).

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use satchel_sync::DataKey;
use satchel_sync::durable;
use satchel_sync::workspace::{NewDocument, Workspace};

/// Documents saved together, as the import does.
const BATCH: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from("."), PathBuf::from);
    let folder = tempfile::tempdir_in(folder)?;
    measure_fsync(folder.path())?;
    for documents in [1_000, 5_000] {
        measure_workspace(&folder.path().join(documents.to_string()), documents)?;
    }
    measure_large_text(&folder.path().join("large"))
}

fn measure_fsync(folder: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    for n in 0..50 {
        durable::write(&folder.join(format!("{n}")), &[7; 20_000])?;
    }
    println!("durable write of 20 kB: {:.2} ms", millis(begun) / 50.0);
    let files: Vec<_> = (0..128)
        .map(|n| (folder.join(format!("all {n}")), vec![7; 20_000]))
        .collect();
    let begun = Instant::now();
    durable::write_all(&files)?;
    println!("128 files of 20 kB together: {:.1} ms", millis(begun));
    Ok(())
}

fn measure_workspace(dir: &std::path::Path, documents: usize) -> Result<(), Box<dyn Error>> {
    let key = DataKey::random();
    let workspace = Workspace::create(dir, &key, "Measured")?;
    let begun = Instant::now();
    let mut ids = Vec::new();
    for first in (0..documents).step_by(BATCH) {
        let batch = (first..documents.min(first + BATCH))
            .map(document)
            .collect();
        ids.extend(workspace.put(batch)?.into_iter().map(|entry| entry.id));
    }
    let rate = documents as f64 / begun.elapsed().as_secs_f64();
    println!("{documents} documents of 3 kB with originals of 20 kB: {rate:.0} documents/s");
    drop(workspace);
    let begun = Instant::now();
    let (workspace, _) = Workspace::open(dir, &key)?;
    println!("{documents} documents: opened in {:.1} ms", millis(begun));
    drop(workspace);
    let begun = Instant::now();
    let (workspace, _) = Workspace::open(dir, &key)?;
    println!(
        "{documents} documents: opened again in {:.1} ms",
        millis(begun)
    );
    let begun = Instant::now();
    for id in ids.iter().take(200) {
        workspace.text(*id)?;
    }
    println!("text of a document: {:.2} ms", millis(begun) / 200.0);
    let begun = Instant::now();
    for (n, id) in ids.iter().take(20).enumerate() {
        workspace.record_path_seen(*id, "/moved", n as i64)?;
    }
    println!("one change of the index: {:.2} ms", millis(begun) / 20.0);
    Ok(())
}

fn measure_large_text(dir: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let workspace = Workspace::create(dir, &DataKey::random(), "Large")?;
    let text: String = (0..100_000)
        .map(|n| format!("Line {n} of a long text with {} words.\n", n % 83))
        .collect();
    let mut large = NewDocument::plain("large", text.clone());
    let begun = Instant::now();
    let id = workspace.put(vec![large.clone()])?[0].id;
    println!(
        "text of {} bytes: saved in {:.0} ms",
        text.len(),
        millis(begun)
    );
    let begun = Instant::now();
    assert_eq!(workspace.text(id)?.len(), text.len());
    println!(
        "text of {} bytes: read in {:.0} ms",
        text.len(),
        millis(begun)
    );
    large.existing = Some(id);
    large.text = text.replace("with 7 words", "with seven words");
    let begun = Instant::now();
    workspace.put(vec![large])?;
    println!(
        "text of {} bytes: changed in 1,204 places in {:.0} ms",
        text.len(),
        millis(begun)
    );
    Ok(())
}

fn document(n: usize) -> NewDocument {
    let original: Vec<u8> = (0..20_000usize)
        .map(|i| (i * (n + 3) % 251) as u8)
        .collect();
    NewDocument {
        path: Some(format!(
            "/home/somebody/papers/folder {}/file {n}.txt",
            n % 40
        )),
        source_mtime_ms: 1_700_000_000_000 + n as i64,
        original: Some([n.to_le_bytes().to_vec(), original].concat()),
        ..NewDocument::plain(
            format!("Title of the document {n}"),
            format!("Document {n} has sentences about subject {}. ", n % 97).repeat(60),
        )
    }
}

fn millis(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}
