//! Everyday use: documents, chats, names and locks survive a restart.

use super::*;
use crate::chat::{CitationRecord, Message, MessageId, Role};

#[test]
fn documents_come_back_after_a_restart() {
    let rig = Rig::new();
    let workspace = rig.create();
    let saved = workspace
        .put(vec![
            imported("/a.txt", "Text of a, é."),
            imported("/b.txt", "Text of b."),
        ])
        .unwrap();
    assert_eq!(workspace.documents().len(), 2);
    drop(workspace);

    let (workspace, report) = rig.open();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(workspace.name(), "My papers");
    assert_eq!(
        workspace.id().to_string(),
        "0123456789abcdef0123456789abcdef"
    );
    for (entry, letter) in saved.iter().zip(["a", "b"]) {
        assert_eq!(workspace.entry(entry.id).as_ref(), Some(entry));
        assert!(
            workspace
                .text(entry.id)
                .unwrap()
                .starts_with(&format!("Text of {letter}"))
        );
        let original = workspace.original(entry.id).unwrap().unwrap();
        assert_eq!(original.len() as u64, entry.original_bytes);
        assert_eq!(
            workspace.find_original(&ContentHash::of(&original)),
            Some(entry.id)
        );
    }
    assert_eq!(workspace.document_count(), 2);
}

#[test]
fn a_changed_file_updates_its_document_and_replaces_its_original() {
    let rig = Rig::new();
    let workspace = rig.create();
    let first = workspace
        .put(vec![imported("/a.txt", "old text")])
        .unwrap()
        .remove(0);
    let second = NewDocument {
        existing: Some(first.id),
        ..imported("/a.txt", "new text")
    };
    let second = workspace.put(vec![second]).unwrap().remove(0);
    assert_eq!(
        (second.id, second.imported_at_ms),
        (first.id, first.imported_at_ms)
    );
    assert_ne!(second.version, first.version);
    assert_eq!(workspace.text(first.id).unwrap(), "new text");
    assert_eq!(
        workspace.original(first.id).unwrap().unwrap(),
        b"original of new text"
    );
    assert_eq!(workspace.find_original(&first.original.unwrap()), None);
    let originals = all_files(&rig.dir().join(ORIGINALS));
    assert_eq!(originals.len(), 1, "the old original is removed");
    drop(workspace);
    assert_eq!(rig.open().0.text(first.id).unwrap(), "new text");
}

#[test]
fn two_states_of_one_document_in_a_batch_end_in_the_second() {
    let rig = Rig::new();
    let workspace = rig.create();
    let id = workspace.put(vec![imported("/a", "one")]).unwrap()[0].id;
    let state = |text| NewDocument {
        existing: Some(id),
        ..imported("/a", text)
    };
    workspace.put(vec![state("two"), state("three")]).unwrap();
    assert_eq!(workspace.text(id).unwrap(), "three");
}

#[test]
fn removed_documents_leave_nothing_behind_and_shared_originals_stay() {
    let rig = Rig::new();
    let workspace = rig.create();
    let saved = workspace
        .put(vec![
            imported("/a", "same"),
            imported("/b", "same"),
            imported("/c", "other"),
        ])
        .unwrap();
    workspace
        .remove(&[saved[0].id, saved[2].id, DocumentId::random()])
        .unwrap();
    assert!(matches!(
        workspace.text(saved[0].id),
        Err(SaveError::UnknownDocument { .. })
    ));
    assert_eq!(
        workspace.original(saved[1].id).unwrap().unwrap(),
        b"original of same"
    );
    assert_eq!(
        workspace.find_original(&saved[0].original.unwrap()),
        Some(saved[1].id)
    );
    assert_eq!(all_files(&rig.dir().join(DOCUMENTS)).len(), 1);
    assert_eq!(all_files(&rig.dir().join(ORIGINALS)).len(), 1);
    drop(workspace);
    assert!(rig.open().1.is_clean());
}

#[test]
fn paths_and_failed_imports_are_remembered() {
    let rig = Rig::new();
    let workspace = rig.create();
    let entry = workspace
        .put(vec![imported("/a", "text")])
        .unwrap()
        .remove(0);
    workspace.record_path_seen(entry.id, "/moved", 99).unwrap();
    let failure = |path: &str| ImportFailure {
        path: path.into(),
        reason: "locked".into(),
    };
    workspace
        .record_import_failures(vec![failure("/x"), failure("/y")], &[])
        .unwrap();
    workspace
        .record_import_failures(vec![failure("/y")], &["/x".into(), "/never failed".into()])
        .unwrap();
    drop(workspace);
    let (workspace, _) = rig.open();
    let now = workspace.entry(entry.id).unwrap();
    assert_eq!(
        (now.path.as_deref(), now.source_mtime_ms),
        (Some("/moved"), 99)
    );
    assert_eq!(now.version, entry.version);
    assert_eq!(workspace.import_failures(), [failure("/y")]);
}

#[test]
fn chats_keep_their_tree_and_their_citations() {
    let rig = Rig::new();
    let workspace = rig.create();
    let document = workspace
        .put(vec![imported("/a", "The answer is 42.")])
        .unwrap()[0]
        .id;
    let thread = workspace.create_thread("Numbers").unwrap();
    let asked = workspace
        .append_message(thread, None, Message::new(Role::User, "What?", 1))
        .unwrap();
    let mut answer = Message::new(Role::Assistant, "42 [1]", 2);
    answer.citations = vec![CitationRecord {
        mark: "1".into(),
        anchor: workspace.anchor(document, 4..16).unwrap(),
    }];
    let answered = workspace
        .append_message(thread, Some(asked), answer)
        .unwrap();
    workspace
        .append_message(
            thread,
            Some(asked),
            Message::new(Role::Assistant, "Other", 3),
        )
        .unwrap();
    let unknown = workspace.append_message(
        thread,
        Some(MessageId::random()),
        Message::new(Role::User, "", 3),
    );
    assert!(matches!(unknown, Err(SaveError::UnknownMessage { .. })));
    drop(workspace);

    let (workspace, _) = rig.open();
    let stored = workspace.thread(thread).unwrap();
    assert_eq!(stored.entry.title, "Numbers");
    assert_eq!(stored.messages.len(), 3);
    assert_eq!(stored.path_to_latest().last().unwrap().text, "Other");
    let citation = &stored
        .messages
        .iter()
        .find(|message| message.id == answered)
        .unwrap()
        .citations[0];
    let state = NewDocument {
        existing: Some(document),
        ..imported("/a", "Now: The answer was 42, yes.")
    };
    workspace.put(vec![state]).unwrap();
    let now = workspace.resolve(&citation.anchor).unwrap();
    assert_eq!((now.text.as_str(), now.changed), ("answer was 42", true));

    workspace.rename_thread(thread, "More numbers").unwrap();
    assert_eq!(workspace.threads()[0].title, "More numbers");
    workspace.remove_thread(thread).unwrap();
    assert!(matches!(
        workspace.thread(thread),
        Err(SaveError::UnknownThread { .. })
    ));
    assert!(all_files(&rig.dir().join(CHATS)).is_empty());
}

#[test]
fn only_one_process_has_it_open() {
    let rig = Rig::new();
    let workspace = rig.create();
    assert!(matches!(
        Workspace::open(&rig.dir(), &rig.key),
        Err(OpenError::Locked { .. })
    ));
    drop(workspace);
    rig.open();
}

#[test]
fn wrong_keys_and_wrong_folders_are_refused_and_nothing_changes() {
    let rig = Rig::new();
    rig.create().put(vec![imported("/a", "text")]).unwrap();
    let contents = || {
        all_files(&rig.dir())
            .into_iter()
            .map(|path| fs::read(path).unwrap())
            .collect::<Vec<_>>()
    };
    let before = contents();
    let wrong = DataKey::from_bytes([6; 32]);
    assert!(matches!(
        Workspace::open(&rig.dir(), &wrong),
        Err(OpenError::WrongKey { .. })
    ));
    assert!(matches!(
        glance(&rig.dir(), &wrong),
        Err(OpenError::WrongKey { .. })
    ));
    assert_eq!(contents(), before);
    fs::remove_file(rig.index_file()).unwrap();
    assert!(matches!(
        Workspace::open(&rig.dir(), &wrong),
        Err(OpenError::WrongKey { .. })
    ));

    let nothing = rig.folder.path().join("nothing");
    assert!(matches!(
        Workspace::open(&nothing, &rig.key),
        Err(OpenError::NotFound { .. })
    ));
}

#[test]
fn a_workspace_is_never_made_over_another() {
    let rig = Rig::new();
    drop(rig.create());
    let again = Workspace::create(&rig.dir(), &rig.key, "again");
    assert!(matches!(again, Err(OpenError::AlreadyExists { .. })));
}

#[test]
fn workspaces_are_listed_and_named() {
    let rig = Rig::new();
    assert_eq!(list(&rig.folder.path().join("none")).unwrap(), []);
    let first = Workspace::create_in(rig.folder.path(), &rig.key, "First").unwrap();
    fs::create_dir(rig.folder.path().join("something else")).unwrap();
    first.rename("Erste").unwrap();
    first.put(vec![imported("/a", "text")]).unwrap();
    let listed = list(rig.folder.path()).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, first.id());
    assert_eq!(
        glance(&listed[0].path, &rig.key).unwrap(),
        WorkspaceGlance {
            name: "Erste".to_owned(),
            documents: 1
        },
        "beside the running one"
    );
}

/// Renderings and Automerge are two ways to the same index; if they part, the next device sees another one.
#[test]
fn the_renderings_say_what_automerge_says() {
    let rig = Rig::new();
    let workspace = rig.create();
    let mut ids = Vec::new();
    // More changes than a log holds before it is rewritten, so that a rewritten one is read as well.
    for round in 0..150 {
        let text = format!("text {round}");
        match round % 10 {
            0..4 => ids.push(
                workspace
                    .put(vec![imported(&format!("/{round}"), &text)])
                    .unwrap()[0]
                    .id,
            ),
            4 => {
                let existing = Some(ids[round % ids.len()]);
                let note = (round % 20 == 4).then(|| "a note".to_owned());
                let state = NewDocument {
                    existing,
                    note,
                    ..imported("/again", &text)
                };
                workspace.put(vec![state]).unwrap();
            }
            5 => workspace.remove(&[ids.remove(0)]).unwrap(),
            6 => workspace
                .record_path_seen(ids[0], &text, round as i64)
                .unwrap(),
            7 => {
                let failure = ImportFailure {
                    path: text,
                    reason: "locked".into(),
                };
                let well = format!("text {}", round.saturating_sub(20));
                workspace
                    .record_import_failures(vec![failure], &[well])
                    .unwrap();
            }
            8 => drop(workspace.create_thread(&text).unwrap()),
            _ => {
                let thread = workspace.threads()[0].id;
                workspace.rename_thread(thread, "renamed").unwrap();
                if round % 20 == 9 {
                    workspace.remove_thread(thread).unwrap();
                }
                workspace.rename(&text).unwrap();
            }
        }
        if round % 29 == 0 || round == 149 {
            let place = index_place(&rig.dir());
            let scan = journal::scan(&workspace.keys, &place).unwrap().unwrap();
            let mut read_again = Index::open(place, &scan).unwrap();
            let by_automerge = read_again.contents_of_automerge(&workspace.keys);
            assert_eq!(read_again.contents(), &by_automerge, "round {round}");
            assert_eq!(workspace.index().contents(), &by_automerge, "round {round}");
        }
    }
}

#[test]
fn earlier_versions_are_listed_read_and_brought_back() {
    let rig = Rig::new();
    let workspace = rig.create();
    let id = workspace
        .put(vec![NewDocument::plain("Note", "one")])
        .unwrap()[0]
        .id;
    workspace.become_device(DeviceId([7; 16]));
    let edit = |text: &str| NewDocument {
        existing: Some(id),
        ..NewDocument::plain("Note", text)
    };
    workspace.put(vec![edit("one two")]).unwrap();
    let versions = workspace.history(id).unwrap();
    assert_eq!(versions.len(), 2, "{versions:?}");
    assert_eq!(
        (&versions[0].authors, &versions[1].authors),
        (&vec![None], &vec![Some(DeviceId([7; 16]))])
    );
    assert!(versions.iter().all(|version| version.at_ms.is_some()));
    let text_of = |version: &Version| workspace.text_of(id, &version.heads).unwrap();
    assert_eq!(text_of(&versions[0]), "one");
    workspace.restore(id, &versions[0]).unwrap();
    assert_eq!(workspace.text(id).unwrap(), "one");
    assert_eq!(text_of(&versions[1]), "one two");

    // Bringing back is a version of its own, however soon it comes.
    let all = workspace.history(id).unwrap();
    assert_eq!(all[..2], versions);
    assert_eq!((all.len(), all[2].from.as_slice()), (3, &[2][..]));
    let sizes = workspace.version_sizes(id, &all, 1..3).unwrap();
    let sizes: Vec<(u64, u64)> = sizes
        .iter()
        .map(|size| (size.before_bytes, size.text_bytes))
        .collect();
    assert_eq!(sizes, [(3, 7), (7, 3)]);
}

#[test]
fn bringing_back_leaves_the_file_whose_it_is() {
    let rig = Rig::new();
    let workspace = rig.create();
    let there = DeviceId([9; 16]);
    workspace.become_device(there);
    let saved = workspace
        .put(vec![imported("/papers/a.txt", "one")])
        .unwrap();
    let id = saved[0].id;
    let again = NewDocument {
        existing: Some(id),
        ..imported("/papers/a.txt", "two")
    };
    workspace.put(vec![again]).unwrap();
    drop(workspace);
    let (workspace, _) = rig.open();
    workspace.become_device(DeviceId([7; 16]));
    let first = workspace.history(id).unwrap().remove(0);
    let entry = workspace.restore(id, &first).unwrap();
    assert_eq!(entry.origin, Some(there), "this path is no file here");
    assert_eq!(workspace.local_path(&entry), None);
    assert_eq!(workspace.text(id).unwrap(), "one");
}
