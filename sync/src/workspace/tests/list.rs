//! What the shared list says of the texts, and what the entries here say.

use std::sync::Arc;

use super::two::{Two, edit, give};
use super::*;
use crate::entry::DocKey;
use crate::workspace::contents::IndexedDocument;

/// The entry as another device would read it from the shared list.
fn listed(workspace: &Workspace, id: DocumentId) -> IndexedDocument {
    let contents = workspace.index().contents_of_automerge(&workspace.keys);
    contents.documents[&id].clone()
}

fn here(workspace: &Workspace, id: DocumentId) -> IndexedDocument {
    workspace.index().contents().documents[&id].clone()
}

/// Asserts that the entry is true of the text, as after reading the document itself.
fn check_true(workspace: &Workspace, id: DocumentId) {
    let text = workspace.text(id).unwrap();
    let entry = here(workspace, id).entry;
    assert_eq!(entry, entry.clone().with_text(&text));
    assert!(workspace.take_damages().is_empty());
}

#[test]
fn edits_of_a_text_stay_out_of_the_shared_list_and_survive_a_restart() {
    let rig = Rig::new();
    let workspace = Arc::new(rig.create());
    let note = NewDocument::plain("Note", "one");
    let id = workspace.put(vec![note]).unwrap()[0].id;
    workspace.become_device(two::DESK);
    let before = (listed(&workspace, id), workspace.index().heads().to_vec());
    workspace.dirty.take();
    // More than a log takes before it is rewritten.
    for round in 0..150 {
        let text = format!("one {round}");
        let edit = NewDocument {
            existing: Some(id),
            ..NewDocument::plain("Note", text)
        };
        workspace.put(vec![edit]).unwrap();
    }
    let mut editor = workspace.edit(id).unwrap();
    editor.splice(0, 3, "three").unwrap();
    let entry = editor.flush().unwrap().entry;
    drop(editor);
    let now = (listed(&workspace, id), workspace.index().heads().to_vec());
    assert_eq!(now, before);
    assert_eq!(workspace.dirty.take(), [DocKey::document(id)].into());
    assert_eq!(here(&workspace, id).entry, entry);
    drop(workspace);

    let (workspace, report) = rig.open();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(here(&workspace, id).entry, entry);
    assert_eq!(workspace.text(id).unwrap(), "three 149");
    check_true(&workspace, id);
    // Another change of the entry takes along what is true of the text.
    workspace.record_path_seen(id, "/note", 1).unwrap();
    assert_eq!(listed(&workspace, id), here(&workspace, id));
}

/// A crash after the last edit: the index has it in a rendering only.
#[test]
fn an_index_that_lost_its_renderings_is_put_right_from_the_documents() {
    let rig = Rig::new();
    let workspace = rig.create();
    let note = NewDocument::plain("Note", "one");
    let id = workspace.put(vec![note]).unwrap()[0].id;
    edit(&workspace, id, "one two");
    let place = index_place(&rig.dir());
    let doc = journal::read(&workspace.keys, &place).unwrap().unwrap().doc;
    let bare = journal::encode_new(&workspace.keys, place.name, &doc, None).unwrap();
    drop(workspace);
    fs::write(&place.path, bare).unwrap();
    let (workspace, _) = rig.open();
    assert_eq!(workspace.text(id).unwrap(), "one two");
    check_true(&workspace, id);
}

#[test]
fn entries_follow_the_texts_that_arrive() {
    let two = Two::new(|desk| drop(desk.put(vec![NewDocument::plain("Note", "one\n")]).unwrap()));
    let id = two.desk.documents()[0].id;
    edit(&two.desk, id, "one\ntwo\n");
    give(&two.desk, &two.travel);
    assert_eq!(here(&two.travel, id), here(&two.desk, id));
    check_true(&two.travel, id);
    // Both edit, and one renames: the list is changed by one of them and says what that one knew.
    edit(&two.desk, id, "one\ntwo\nthree\n");
    edit(&two.travel, id, "zero\none\ntwo\n");
    two.travel.record_path_seen(id, "/note", 1).unwrap();
    two.exchange();
    assert_eq!(two.desk.text(id).unwrap(), "zero\none\ntwo\nthree\n");
    assert_eq!(here(&two.travel, id), here(&two.desk, id));
    assert_eq!(listed(&two.travel, id), listed(&two.desk, id));
    assert_ne!(listed(&two.travel, id).heads, here(&two.travel, id).heads);
    check_true(&two.desk, id);
    check_true(&two.travel, id);
    // Whoever makes a pack makes the list true for those who start from it.
    assert!(two.desk.index().list_texts(&two.desk.keys).unwrap());
    assert_eq!(listed(&two.desk, id), here(&two.desk, id));
    assert!(!two.desk.index().list_texts(&two.desk.keys).unwrap());
}

#[test]
fn a_new_laptop_reads_the_documents_that_its_list_does_not_know() {
    let two = Two::new(|desk| {
        desk.put(vec![NewDocument::plain("Note", "one")]).unwrap();
        let id = desk.documents()[0].id;
        edit(desk, id, "one two");
        assert_ne!(listed(desk, id), here(desk, id));
    });
    let id = two.desk.documents()[0].id;
    assert_eq!(here(&two.travel, id), here(&two.desk, id));
    check_true(&two.travel, id);
}

#[test]
fn an_edit_that_the_list_does_not_know_keeps_its_document_from_being_removed() {
    let two = Two::new(|desk| drop(desk.put(vec![NewDocument::plain("Note", "one")]).unwrap()));
    let id = two.desk.documents()[0].id;
    edit(&two.desk, id, "one two");
    two.travel.remove(&[id]).unwrap();
    give(&two.travel, &two.desk);
    give(&two.desk, &two.travel);
    for workspace in [&two.desk, &two.travel] {
        assert_eq!(workspace.text(id).unwrap(), "one two");
        check_true(workspace, id);
    }
}
