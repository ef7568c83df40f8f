//! Damaged, lost, swapped and stolen files.

use super::*;
use crate::chat::{Message, Role};
use crate::log::DamageKind;

#[test]
fn a_document_that_lost_its_last_change_says_so_and_is_imported_again() {
    let rig = Rig::new();
    let workspace = rig.create();
    let id = workspace.put(vec![imported("/a", "first text")]).unwrap()[0].id;
    let old_file = fs::read(rig.document_file(id)).unwrap();
    workspace
        .put(vec![NewDocument {
            existing: Some(id),
            ..imported("/a", "second text")
        }])
        .unwrap();
    fs::write(rig.document_file(id), &old_file).unwrap();
    assert_eq!(workspace.text(id).unwrap(), "first text");
    assert_eq!(workspace.take_damages()[0].kind, DamageKind::RolledBack);
    let entry = workspace.entry(id).unwrap();
    assert_eq!(entry.version, version_of(entry.kind, "first text"));
    assert_eq!(entry.source_mtime_ms, 0, "so that the source is read again");
    workspace
        .put(vec![NewDocument {
            existing: Some(id),
            ..imported("/a", "second text")
        }])
        .unwrap();
    assert_eq!(workspace.text(id).unwrap(), "second text");
}

#[test]
fn a_lost_or_damaged_index_is_rebuilt_from_the_documents() {
    for damage in [
        "removed",
        "emptied",
        "garbage",
        "changed in its first frame",
        "changed in its last frame",
    ] {
        let rig = Rig::new();
        let workspace = rig.create();
        let saved = workspace
            .put(vec![imported("/a", "text a"), imported("/b", "text b")])
            .unwrap();
        let thread = workspace.create_thread("Chat").unwrap();
        workspace
            .append_message(thread, None, Message::new(Role::User, "hello", 5))
            .unwrap();
        drop(workspace);
        let file = rig.index_file();
        let mut bytes = fs::read(&file).unwrap();
        match damage {
            "removed" => fs::remove_file(&file).unwrap(),
            "emptied" => fs::write(&file, b"").unwrap(),
            "garbage" => fs::write(&file, vec![7; 3000]).unwrap(),
            other => {
                let at = if other.ends_with("first frame") {
                    100
                } else {
                    bytes.len() - 5
                };
                bytes[at] ^= 1;
                fs::write(&file, &bytes).unwrap();
            }
        }
        let (workspace, report) = rig.open();
        assert!(!report.words().is_empty(), "{damage}: {report:?}");
        assert_eq!(workspace.documents().len(), 2, "{damage}");
        for entry in &saved {
            assert_eq!(workspace.entry(entry.id).as_ref(), Some(entry), "{damage}");
            assert!(
                workspace.text(entry.id).unwrap().starts_with("text"),
                "{damage}"
            );
            workspace.original(entry.id).unwrap().unwrap();
        }
        assert_eq!(
            workspace.thread(thread).unwrap().messages.len(),
            1,
            "{damage}"
        );
        drop(workspace);
        assert!(
            rig.open().1.is_clean(),
            "{damage}: the second start is clean"
        );
    }
}

#[test]
fn every_kind_of_damage_to_every_file_is_noticed() {
    let rig = Rig::new();
    let workspace = rig.create();
    let id = workspace.put(vec![imported("/a", "text a")]).unwrap()[0].id;
    let other = workspace.put(vec![imported("/b", "text b")]).unwrap()[0].id;
    let thread = workspace.create_thread("Chat").unwrap();
    workspace
        .append_message(thread, None, Message::new(Role::User, "hello", 5))
        .unwrap();
    let original = originals::path(
        &workspace.keys,
        &rig.dir(),
        &workspace.entry(id).unwrap().original.unwrap(),
    );
    let chat = chat_place(&rig.dir(), thread).path;
    for path in [rig.document_file(id), original, chat] {
        let whole = fs::read(&path).unwrap();
        let mut cases: Vec<Vec<u8>> = vec![Vec::new(), vec![0; whole.len()], vec![9; 50]];
        cases.extend((0..whole.len()).step_by(7).map(|end| whole[..end].to_vec()));
        cases.extend((0..whole.len()).step_by(5).map(|at| {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            flipped
        }));
        cases.push(fs::read(rig.document_file(other)).unwrap());
        for bytes in cases {
            fs::write(&path, &bytes).unwrap();
            let noticed = workspace
                .text(id)
                .map(|text| assert_eq!(text, "text a"))
                .is_err()
                | workspace
                    .original(id)
                    .map(|found| assert_eq!(found.unwrap(), b"original of text a"))
                    .is_err()
                | workspace
                    .thread(thread)
                    .map(|thread| assert!(thread.messages.len() <= 1))
                    .is_err()
                | !workspace.take_damages().is_empty();
            // Cut exactly between two frames of the chat, the file is an older, shorter one.
            let shorter = workspace
                .thread(thread)
                .is_ok_and(|thread| thread.messages.is_empty());
            assert!(
                noticed || shorter,
                "{} bytes in {}",
                bytes.len(),
                path.display()
            );
        }
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn files_that_were_swapped_are_not_taken_for_each_other() {
    let rig = Rig::new();
    let workspace = rig.create();
    let saved = workspace
        .put(vec![imported("/a", "text a"), imported("/b", "text b")])
        .unwrap();
    let [a, b] = [
        rig.document_file(saved[0].id),
        rig.document_file(saved[1].id),
    ];
    let bytes = [fs::read(&a).unwrap(), fs::read(&b).unwrap()];
    fs::write(&a, &bytes[1]).unwrap();
    fs::write(&b, &bytes[0]).unwrap();
    for entry in &saved {
        assert!(matches!(
            workspace.text(entry.id),
            Err(SaveError::Damaged { .. })
        ));
        assert_eq!(workspace.take_damages()[0].kind, DamageKind::Changed);
    }
    let again = NewDocument {
        existing: Some(saved[0].id),
        ..imported("/a", "text a")
    };
    workspace.put(vec![again]).unwrap();
    assert_eq!(
        workspace.text(saved[0].id).unwrap(),
        "text a",
        "importing again heals it"
    );
}

/// A thief with the disk sees sizes, numbers and times, and nothing else.
#[test]
fn no_word_of_the_user_is_in_any_file_or_name() {
    let rig = Rig::new();
    let canaries = [
        "KanarieTitel",
        "KanariePfad",
        "KanarieText",
        "KanarieOriginal",
        "KanarieChat",
        "KanarieFrage",
        "KanarieNotiz",
        "KanarieGrund",
        "KanarieName",
    ];
    let workspace = Workspace::create(&rig.dir(), &rig.key, "KanarieName").unwrap();
    let document = NewDocument {
        title: "KanarieTitel".into(),
        path: Some("/KanariePfad/a.txt".into()),
        original: Some(b"KanarieOriginal".to_vec()),
        note: Some("KanarieNotiz".into()),
        ..NewDocument::plain("", "KanarieText ".repeat(40))
    };
    let id = workspace.put(vec![document.clone()]).unwrap()[0].id;
    workspace
        .put(vec![NewDocument {
            existing: Some(id),
            text: "KanarieText".into(),
            ..document
        }])
        .unwrap();
    let thread = workspace.create_thread("KanarieChat").unwrap();
    workspace
        .append_message(thread, None, Message::new(Role::User, "KanarieFrage", 1))
        .unwrap();
    let failure = ImportFailure {
        path: "/KanariePfad".into(),
        reason: "KanarieGrund".into(),
    };
    workspace
        .record_import_failures(vec![failure], &[])
        .unwrap();
    let hash = ContentHash::of(b"KanarieOriginal");
    let files = all_files(&rig.dir());
    assert!(files.len() >= 4);
    for path in files {
        let bytes = fs::read(&path).unwrap();
        let name = path.to_string_lossy().into_owned();
        for canary in canaries {
            let found = bytes
                .windows(canary.len())
                .any(|window| window.eq_ignore_ascii_case(canary.as_bytes()));
            assert!(!found && !name.contains(canary), "{canary} in {name}");
        }
        assert!(
            !bytes.windows(32).any(|window| window == hash.0) && !name.contains(&hash.to_string())
        );
    }
}
