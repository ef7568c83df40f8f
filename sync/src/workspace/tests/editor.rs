//! Writing key by key: what a crash at any byte takes, and others who write at the same time.

use super::*;
use std::sync::Arc;

impl Rig {
    /// A document with `text` in an open workspace.
    fn writing(&self, text: &str) -> (Arc<Workspace>, DocumentId) {
        let workspace = Arc::new(self.create());
        let id = workspace
            .put(vec![NewDocument::plain("Note", text)])
            .unwrap()[0]
            .id;
        (workspace, id)
    }

    /// The folder as a crash would leave it now.
    fn crashed(&self) -> Rig {
        let copy = Rig::new();
        for path in all_files(&self.dir()) {
            let to = copy.dir().join(path.strip_prefix(self.dir()).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(path, to).unwrap();
        }
        copy
    }

    fn keystrokes_file(&self) -> PathBuf {
        keystrokes_place(&self.dir()).path
    }
}

fn type_at_end(editor: &mut Editor, words: &str) {
    for letter in words.chars() {
        let at = editor.text_bytes();
        editor
            .splice(at, 0, letter.encode_utf8(&mut [0; 4]))
            .unwrap();
    }
}

fn changes(workspace: &Workspace, id: DocumentId) -> usize {
    let place = document_place(&workspace.dir, id);
    let loaded = journal::read(&workspace.keys, &place).unwrap().unwrap();
    loaded.doc.get_changes_meta(&[]).len()
}

#[test]
fn what_is_typed_between_two_flushes_is_one_change_and_survives_a_restart() {
    let rig = Rig::new();
    let (workspace, id) = rig.writing("one");
    let before = changes(&workspace, id);
    let mut editor = workspace.edit(id).unwrap();
    type_at_end(&mut editor, " zwölf");
    editor.splice(0, 3, "two").unwrap();
    assert_eq!(editor.text().unwrap(), "two zwölf");
    assert_eq!(workspace.text(id).unwrap(), "one", "not flushed yet");
    let flushed = editor.flush().unwrap();
    assert!(!flushed.is_merged);
    assert_eq!(workspace.entry(id), Some(flushed.entry));
    assert_eq!(changes(&workspace, id), before + 1);
    type_at_end(&mut editor, "!");
    drop(editor);
    assert_eq!(
        fs::metadata(rig.keystrokes_file()).unwrap().len(),
        crate::log::HEADER_BYTES as u64
    );
    drop(workspace);
    let (workspace, report) = rig.open();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(workspace.text(id).unwrap(), "two zwölf!");
}

/// The end of the process takes no key, wherever the last write to the log of keystrokes was cut.
#[test]
fn a_crash_while_typing_takes_at_most_the_last_key() {
    let rig = Rig::new();
    let (workspace, id) = rig.writing("start");
    let mut editor = workspace.edit(id).unwrap();
    let mut ends = Vec::new();
    for (typed, letter) in "abcé".char_indices() {
        type_at_end(&mut editor, &letter.to_string());
        let bytes = fs::metadata(rig.keystrokes_file()).unwrap().len() as usize;
        ends.push((
            bytes,
            format!("start{}", &"abcé"[..typed + letter.len_utf8()]),
        ));
    }
    let whole = fs::read(rig.keystrokes_file()).unwrap();
    for end in (0..=whole.len()).rev() {
        let crashed = rig.crashed();
        fs::write(crashed.keystrokes_file(), &whole[..end]).unwrap();
        let (workspace, report) = crashed.open();
        let noted = ends.iter().rev().find(|(bytes, _)| *bytes <= end);
        let expected = noted.map_or("start", |(_, text)| text);
        assert_eq!(workspace.text(id).unwrap(), expected, "cut at {end}");
        assert_eq!(report.rescued_documents, usize::from(noted.is_some()));
        if end >= crate::log::HEADER_BYTES {
            assert!(report.damages.is_empty(), "cut at {end}: {report:?}");
        }
        drop(workspace);
        let (workspace, report) = crashed.open();
        assert!(report.is_clean(), "cut at {end}: {report:?}");
        assert_eq!(workspace.text(id).unwrap(), expected, "cut at {end}");
    }
}

/// A crash between the document and the emptying of the log: nothing is put in twice.
#[test]
fn keystrokes_that_are_in_their_document_already_are_passed_over() {
    let rig = Rig::new();
    let (workspace, id) = rig.writing("");
    let mut editor = workspace.edit(id).unwrap();
    type_at_end(&mut editor, "once");
    let keystrokes = fs::read(rig.keystrokes_file()).unwrap();
    editor.flush().unwrap();
    let crashed = rig.crashed();
    fs::write(crashed.keystrokes_file(), keystrokes).unwrap();
    let (workspace, report) = crashed.open();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(workspace.text(id).unwrap(), "once");
}

/// A changed bit is no torn tail: the user is told, and the log is kept.
#[test]
fn a_damaged_log_of_keystrokes_is_kept_and_told() {
    let rig = Rig::new();
    let (workspace, id) = rig.writing("");
    let mut editor = workspace.edit(id).unwrap();
    type_at_end(&mut editor, "abc");
    let crashed = rig.crashed();
    let mut bytes = fs::read(crashed.keystrokes_file()).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    fs::write(crashed.keystrokes_file(), &bytes).unwrap();
    let (workspace, report) = crashed.open();
    assert_eq!(workspace.text(id).unwrap(), "ab");
    assert_eq!(report.damages.len(), 1);
    let kept = report.damages[0].kept_as.as_ref().unwrap();
    assert_eq!(fs::read(kept).unwrap(), bytes);
    assert!(!crashed.keystrokes_file().exists());
}

#[test]
fn two_editors_and_an_import_change_one_document_at_a_time() {
    let rig = Rig::new();
    let (workspace, id) = rig.writing("middle");
    let mut one = workspace.edit(id).unwrap();
    let mut other = workspace.edit(id).unwrap();
    type_at_end(&mut one, " end");
    other.splice(0, 0, "begin ").unwrap();
    assert!(!one.flush().unwrap().is_merged);
    let merged = other.flush().unwrap();
    assert!(merged.is_merged);
    assert_eq!(other.text().unwrap(), "begin middle end");
    assert_eq!(merged.entry.text_bytes as usize, other.text_bytes());

    let imported = NewDocument {
        existing: Some(id),
        ..NewDocument::plain("Note", "begin centre end")
    };
    workspace.put(vec![imported]).unwrap();
    one.splice(0, 0, "> ").unwrap();
    other.splice(other.text_bytes(), 0, ".").unwrap();
    assert!(one.flush().unwrap().is_merged);
    assert!(other.flush().unwrap().is_merged);
    assert_eq!(other.text().unwrap(), "> begin centre end.");
    assert!(one.flush().unwrap().is_merged);
    assert_eq!(one.text().unwrap(), other.text().unwrap());
    assert_eq!(workspace.text(id).unwrap(), other.text().unwrap());
    assert!(!other.flush().unwrap().is_merged, "nothing new");
}

#[test]
fn a_document_that_is_removed_while_somebody_writes_in_it_comes_back() {
    let rig = Rig::new();
    let (workspace, id) = rig.writing("kept");
    let mut editor = workspace.edit(id).unwrap();
    workspace.remove(&[id]).unwrap();
    assert!(matches!(
        editor.flush(),
        Err(SaveError::UnknownDocument { .. })
    ));
    type_at_end(&mut editor, "!");
    editor.flush().unwrap();
    assert_eq!(workspace.text(id).unwrap(), "kept!");
    drop((editor, workspace));
    assert_eq!(rig.open().0.text(id).unwrap(), "kept!");
}

#[test]
fn what_lies_outside_the_text_is_refused_and_changes_nothing() {
    let rig = Rig::new();
    let (workspace, id) = rig.writing("abc");
    let mut editor = workspace.edit(id).unwrap();
    for (at, delete) in [(4, 0), (0, 4), (3, 1), (usize::MAX, 1), (1, usize::MAX)] {
        assert!(matches!(
            editor.splice(at, delete, "x"),
            Err(SaveError::OutsideText { text_bytes: 3, .. })
        ));
    }
    assert_eq!(editor.text().unwrap(), "abc");
    editor.splice(1, 1, "").unwrap();
    editor.sync().unwrap();
    assert_eq!(editor.flush().unwrap().entry.text_bytes, 2);
    assert_eq!(workspace.text(id).unwrap(), "ac");
}
