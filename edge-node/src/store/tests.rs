//! The store on a real folder: restarts, files, damage. What requests do is tested with the mailboxes.

use std::path::{Path, PathBuf};

use satchel_protocol::fragment::{Aead, EncryptedFragment, FragmentHeader, FragmentKind};
use satchel_protocol::frame::{Answer, Capabilities};
use satchel_protocol::id::{MailboxId, Offset};

use super::*;

const MAILBOX: MailboxId = MailboxId([1; 16]);
const RULES: Rules = Rules {
    quota_bytes: 1 << 24,
    grace_ms: 1000,
    unopened_ms: 1_000_000,
};
const NOW_MS: u64 = 5_000_000;

fn fragment(number: u8, len: usize) -> EncryptedFragment {
    let header = FragmentHeader {
        aead: Aead::Aes256GcmSiv,
        kind: FragmentKind::Entry,
        epoch_id: [0; 12],
        salt: [number; 24],
        commit: [0; 32],
    };
    EncryptedFragment::new(header, &vec![number; len]).unwrap()
}

fn create(store: &Store, mailbox: MailboxId) {
    let capabilities = Capabilities {
        cap_epoch: 1,
        reader_key: [2; 32],
        writer_key: [3; 32],
    };
    let change = Change::Create {
        policy_key: [4; 32],
        capabilities,
    };
    let write = Write {
        mailbox,
        grant: None,
        change,
    };
    store.commit(&[write], NOW_MS).unwrap();
}

fn grant(store: &Store, mailbox: MailboxId) -> Option<Grant> {
    store.head(mailbox).unwrap().map(|head| Grant {
        level: Level::Policy,
        cap_epoch: 1,
        policy_counter: 0,
        created_ms: head.created_ms,
    })
}

fn apply(store: &Store, mailbox: MailboxId, change: Change) -> Answer {
    let write = Write {
        mailbox,
        grant: grant(store, mailbox),
        change,
    };
    store.commit(&[write], NOW_MS).unwrap().remove(0).answer
}

fn numbers(store: &Store, mailbox: MailboxId) -> Vec<(u64, u8)> {
    let bounds = Bounds {
        max_entries: 100,
        max_bytes: 1 << 30,
        compact: false,
    };
    let grant = grant(store, mailbox);
    let page = store
        .read_log(mailbox, grant.as_ref(), Offset(0), bounds)
        .unwrap()
        .unwrap();
    page.entries
        .iter()
        .map(|(offset, _, fragment)| (offset.0, fragment.header().salt[0]))
        .collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    Files::in_folder(dir)
        .list()
        .unwrap()
        .into_iter()
        .map(|(path, _)| path)
        .collect()
}

#[test]
fn short_and_long_fragments_come_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), RULES).unwrap();
    create(&store, MAILBOX);
    for (number, len) in [(0, 100), (1, 100_000), (2, 100)] {
        apply(&store, MAILBOX, Change::Append(fragment(number, len)));
    }
    assert_eq!(files(dir.path()).len(), 1);
    assert!(matches!(
        Store::open(dir.path(), RULES),
        Err(StoreError::InUse { .. })
    ));
    drop(store);
    let store = Store::open(dir.path(), RULES).unwrap();
    assert_eq!(numbers(&store, MAILBOX), [(0, 0), (1, 1), (2, 2)]);
}

#[test]
fn a_file_lives_as_long_as_one_mailbox_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), RULES).unwrap();
    let other = MailboxId([2; 16]);
    for mailbox in [MAILBOX, other] {
        create(&store, mailbox);
        apply(&store, mailbox, Change::Append(fragment(1, 50_000)));
    }
    assert_eq!(files(dir.path()).len(), 1, "one content, one file");
    apply(&store, MAILBOX, Change::Drop);
    assert_eq!(numbers(&store, other), [(0, 1)]);
    apply(&store, other, Change::Drop);
    assert!(files(dir.path()).is_empty());
}

/// A crash between the rename of a file and the commit that names it leaves a file that nobody names.
#[test]
fn gc_removes_orphans_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), RULES).unwrap();
    create(&store, MAILBOX);
    apply(&store, MAILBOX, Change::Append(fragment(1, 50_000)));
    let orphan = fragment(2, 50_000);
    store.files.write(orphan.id(), &orphan).unwrap();
    let half = files(dir.path())[0].with_extension("part");
    std::fs::write(&half, b"half").unwrap();
    assert_eq!(store.gc(NOW_MS, true, true).unwrap().orphan_files, 2);
    assert_eq!(files(dir.path()).len(), 3);
    assert_eq!(store.gc(NOW_MS, false, true).unwrap().orphan_files, 2);
    assert_eq!(numbers(&store, MAILBOX), [(0, 1)]);
}

#[test]
fn a_damaged_file_is_a_gap_which_the_next_append_mends() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), RULES).unwrap();
    create(&store, MAILBOX);
    apply(&store, MAILBOX, Change::Append(fragment(1, 50_000)));
    apply(&store, MAILBOX, Change::Append(fragment(2, 100)));
    let path = files(dir.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(numbers(&store, MAILBOX), [(1, 2)]);
    let grant = grant(&store, MAILBOX);
    let has = store.has(MAILBOX, grant.as_ref(), &[fragment(1, 50_000).id()]);
    assert_eq!(has.unwrap().unwrap(), Answer::HasBits { bits: vec![0] });
    apply(&store, MAILBOX, Change::Append(fragment(1, 50_000)));
    assert_eq!(numbers(&store, MAILBOX), [(0, 1), (1, 2)]);
}

#[test]
fn a_batch_shares_one_commit_and_a_refusal_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), RULES).unwrap();
    create(&store, MAILBOX);
    let grant = grant(&store, MAILBOX);
    let append = |mailbox, number| Write {
        mailbox,
        grant,
        change: Change::Append(fragment(number, 50)),
    };
    let stranger = MailboxId([9; 16]);
    let batch = [append(MAILBOX, 1), append(stranger, 2), append(MAILBOX, 3)];
    let new: Vec<_> = store
        .commit(&batch, NOW_MS)
        .unwrap()
        .iter()
        .map(|done| done.is_new)
        .collect();
    assert_eq!(new, [true, false, true]);
    assert_eq!(numbers(&store, MAILBOX), [(0, 1), (1, 3)]);
}

#[test]
fn stores_of_other_versions_are_left_alone() {
    for (format, is_old) in [(1, true), (3, false)] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), RULES).unwrap();
        let write = store.database.begin_write().unwrap();
        write
            .open_table(tables::META)
            .unwrap()
            .insert("format", format)
            .unwrap();
        write.commit().unwrap();
        drop(store);
        let error = Store::open(dir.path(), RULES).err().unwrap();
        assert_eq!(matches!(error, StoreError::OldFormat { .. }), is_old);
        assert_eq!(matches!(error, StoreError::Format { .. }), !is_old);
    }
}
