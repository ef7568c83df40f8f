//! Crashes at any byte: what was reported is there, what was not does no harm.

use super::*;

/// A crash may stop the last write to the index at any byte. What was reported before must be there.
#[test]
fn an_index_cut_anywhere_in_its_last_frame_keeps_what_was_reported_before() {
    let rig = Rig::new();
    let workspace = rig.create();
    let kept = workspace.put(vec![imported("/kept", "kept text")]).unwrap()[0].id;
    let before_bytes = fs::metadata(rig.index_file()).unwrap().len() as usize;
    let lost = workspace.put(vec![imported("/lost", "lost text")]).unwrap()[0].id;
    drop(workspace);
    let whole = fs::read(rig.index_file()).unwrap();
    // Every offset is tried in `log`; here each try opens a workspace, so every fifth has to do.
    for end in (before_bytes..whole.len()).step_by(5) {
        fs::write(rig.index_file(), &whole[..end]).unwrap();
        let (workspace, report) = rig.open();
        assert!(report.words().is_empty(), "cut at {end}: {report:?}");
        assert_eq!(workspace.text(kept).unwrap(), "kept text", "cut at {end}");
        assert_eq!(
            workspace.text(lost).unwrap(),
            "lost text",
            "its file was complete, so it is listed"
        );
        assert_eq!(report.adopted_documents, 1, "cut at {end}");
    }
    fs::write(rig.index_file(), &whole).unwrap();
    assert!(rig.open().1.is_clean());
}

/// A crash between the index and the files of a removal must not bring the removed back.
#[test]
fn what_was_removed_stays_removed_when_its_file_was_not() {
    let rig = Rig::new();
    let workspace = rig.create();
    let id = workspace.put(vec![imported("/a", "text")]).unwrap()[0].id;
    let thread = workspace.create_thread("Chat").unwrap();
    let files = [rig.document_file(id), chat_place(&rig.dir(), thread).path];
    let contents = files.clone().map(|path| fs::read(path).unwrap());
    workspace.remove(&[id]).unwrap();
    workspace.remove_thread(thread).unwrap();
    drop(workspace);
    for (path, bytes) in files.iter().zip(contents) {
        fs::write(path, bytes).unwrap();
    }
    let (workspace, report) = rig.open();
    assert_eq!(
        (
            report.removed_files,
            report.adopted_documents,
            report.adopted_threads
        ),
        (2, 0, 0)
    );
    assert_eq!(
        (workspace.document_count(), workspace.threads().len()),
        (0, 0)
    );
    assert!(files.iter().all(|path| !path.exists()));
    drop(workspace);
    assert!(rig.open().1.is_clean());
}

/// A crash may stop the last write to a document at any byte, or come before the index was written.
#[test]
fn a_document_cut_anywhere_in_its_last_frame_keeps_its_earlier_text() {
    let rig = Rig::new();
    let workspace = rig.create();
    let id = workspace.put(vec![imported("/a", "first text")]).unwrap()[0].id;
    let before_bytes = fs::metadata(rig.document_file(id)).unwrap().len() as usize;
    let index_before = fs::read(rig.index_file()).unwrap();
    workspace
        .put(vec![NewDocument {
            existing: Some(id),
            ..imported("/a", "second text")
        }])
        .unwrap();
    drop(workspace);
    let whole = fs::read(rig.document_file(id)).unwrap();
    for end in (before_bytes..whole.len()).step_by(5).chain([whole.len()]) {
        fs::write(rig.index_file(), &index_before).unwrap();
        fs::write(rig.document_file(id), &whole[..end]).unwrap();
        let (workspace, _) = rig.open();
        let expected = if end == whole.len() {
            "second text"
        } else {
            "first text"
        };
        assert_eq!(workspace.text(id).unwrap(), expected, "cut at {end}");
        let entry = workspace.entry(id).unwrap();
        assert_eq!(
            entry.version,
            version_of(entry.kind, expected),
            "cut at {end}"
        );
        let torn = end > before_bytes && end < whole.len();
        assert_eq!(
            workspace.take_damages().len(),
            usize::from(torn),
            "cut at {end}"
        );
        assert_eq!(workspace.text(id).unwrap(), expected, "and it stays so");
        drop(workspace);
        for path in all_files(&rig.dir())
            .iter()
            .filter(|path| path.to_str().unwrap().contains(".damaged"))
        {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn leftovers_of_a_crash_are_cleared_away() {
    let rig = Rig::new();
    let workspace = rig.create();
    let entry = workspace
        .put(vec![imported("/a", "text a")])
        .unwrap()
        .remove(0);
    let original = originals::path(&workspace.keys, &rig.dir(), &entry.original.unwrap());
    drop(workspace);
    let before = all_files(&rig.dir());
    let mut unlisted = original.clone();
    unlisted.set_file_name(format!("{}.sealed", "0".repeat(64)));
    fs::copy(&original, &unlisted).unwrap();
    fs::write(rig.dir().join("documents/x.log.unfinished"), b"half").unwrap();
    let (workspace, report) = rig.open();
    assert_eq!(report.removed_files, 2);
    assert!(report.words().is_empty());
    assert_eq!(all_files(&rig.dir()), before);
    drop(workspace);

    // A file that cannot be read may be a document that lost its entry: nothing is deleted then.
    fs::copy(&original, &unlisted).unwrap();
    let strange = rig.document_file(DocumentId::random());
    fs::copy(rig.document_file(entry.id), &strange).unwrap();
    let (_, report) = rig.open();
    assert_eq!((report.removed_files, report.unreadable_files), (0, 1));
    assert!(strange.exists() && unlisted.exists());
}

#[test]
fn a_log_that_has_grown_is_compacted_and_says_the_same() {
    let rig = Rig::new();
    let workspace = rig.create();
    let id = workspace.put(vec![imported("/a", "start")]).unwrap()[0].id;
    let mut largest_bytes = 0;
    for round in 0..140 {
        let text = format!("state {round} of a text that is written again and again");
        workspace
            .put(vec![NewDocument {
                existing: Some(id),
                ..imported("/a", &text)
            }])
            .unwrap();
        assert_eq!(workspace.text(id).unwrap(), text);
        let bytes = fs::metadata(rig.document_file(id)).unwrap().len();
        if bytes < largest_bytes {
            largest_bytes = u64::MAX;
        }
        largest_bytes = largest_bytes.max(bytes);
    }
    assert_eq!(
        largest_bytes,
        u64::MAX,
        "the log was rewritten at least once"
    );
    drop(workspace);
    let (workspace, report) = rig.open();
    assert!(report.is_clean());
    assert!(workspace.text(id).unwrap().starts_with("state 139 "));
    assert!(workspace.take_damages().is_empty());
}
