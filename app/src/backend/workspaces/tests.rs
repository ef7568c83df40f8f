//! Which workspace is current, whatever happened to the note; what removals leave.

// Nothing here outlives a test.
#![allow(clippy::disallowed_methods)]

use std::path::PathBuf;

use satchel_sync::keys::DataKey;
use tempfile::TempDir;

use super::*;
use crate::backend::unlock::NewKey;
use crate::message::FailureKind;

/// A data folder as one process after the other sees it.
struct Rig {
    folder: TempDir,
}

impl Rig {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn workspaces(&self) -> Workspaces {
        let mut dirs = DataDirs::find(Some(self.folder.path()));
        dirs.sockets = self.folder.path().join("run");
        Workspaces::new(dirs, Unlock::new(Arc::new(|_| None), NewKey::PlainFile))
    }

    fn make(&self, name: &str) -> WorkspaceId {
        let made = self.workspaces().create(name, &mut Vec::new()).unwrap();
        made.workspace.id.parse().unwrap()
    }

    /// Opens the current workspace and closes it: its name and the words for the user.
    fn open(&self) -> (String, Vec<String>) {
        let opened = self.workspaces().open(&WorkspaceChoice::Current);
        let (opened, notices) = opened.unwrap();
        (opened.name(), notices)
    }

    fn note(&self) -> PathBuf {
        self.folder.path().join("current-workspace")
    }
}

#[test]
fn the_first_start_makes_a_workspace_and_the_next_opens_it() {
    let rig = Rig::new();
    assert_eq!(rig.workspaces().current().unwrap(), None);
    assert_eq!(rig.workspaces().list().unwrap(), [], "listing makes no key");
    assert!(!rig.folder.path().join("keys").exists());
    for _ in 0..2 {
        assert_eq!(rig.open(), (FIRST_NAME.to_owned(), Vec::new()));
    }
    assert_eq!(rig.workspaces().list().unwrap().len(), 1);
}

#[test]
fn the_first_one_made_by_name_is_current_and_stays_so() {
    let rig = Rig::new();
    let first = rig.make("Taxes");
    // Ids are random: among these, some come before the first.
    for number in 0..6 {
        rig.make(&format!("Number {number}"));
    }
    assert_eq!(rig.workspaces().current().unwrap().unwrap().id, first);
    assert_eq!(rig.open().0, "Taxes");
}

#[test]
fn a_workspace_from_before_there_were_several_stays_the_current_one() {
    let rig = Rig::new();
    rig.open();
    fs::remove_file(rig.note()).unwrap();
    for number in 0..6 {
        rig.make(&format!("Number {number}"));
    }
    assert_eq!(rig.open(), (FIRST_NAME.to_owned(), Vec::new()));
}

#[test]
fn a_note_that_cannot_be_followed_is_said_once_and_written_anew() {
    let gone = format!("{}\n", WorkspaceId([7; 16]));
    for note in ["", "nonsense", "\u{0}\u{0}", &gone] {
        let rig = Rig::new();
        let (one, other) = (rig.make("One"), rig.make("Other"));
        fs::write(rig.note(), note).unwrap();
        let (opened, notices) = rig.open();
        assert!(notices[0].contains(&opened), "{notices:?}");
        assert!(notices[0].contains("workspace switch"), "{notices:?}");
        let current = rig.workspaces().current().unwrap().unwrap().id;
        assert_eq!(current, one.min(other));
        assert_eq!(rig.open(), (opened, Vec::new()));
    }
}

#[test]
fn without_a_choice_nothing_is_said_about_the_note() {
    let rig = Rig::new();
    rig.make("One");
    fs::write(rig.note(), [0xff, 0xfe]).unwrap();
    assert_eq!(rig.open(), ("One".to_owned(), Vec::new()));
}

#[test]
fn a_whole_id_needs_no_key() {
    let rig = Rig::new();
    let id = rig.make("One");
    fs::remove_dir_all(rig.folder.path().join("keys")).unwrap();
    let find = |named: &str| {
        rig.workspaces()
            .find(&WorkspaceChoice::Named(named.to_owned()))
    };
    assert_eq!(find(&id.to_string()).unwrap().unwrap().id, id);
    assert_eq!(find("One").unwrap_err().kind, FailureKind::Locked);
    let current = rig.workspaces().find(&WorkspaceChoice::Current);
    assert_eq!(current.unwrap().unwrap().id, id);
}

#[test]
fn a_workspace_without_a_readable_name_is_listed_with_the_reason_and_can_be_removed() {
    let rig = Rig::new();
    rig.make("One");
    let foreign = rig.workspaces().dirs.workspaces();
    let foreign = Workspace::create_in(&foreign, &DataKey::from_bytes([9; 32]), "Foreign").unwrap();
    let id = foreign.id().to_string();
    drop(foreign);
    let all = rig.workspaces().list().unwrap();
    let unreadable = all.iter().find(|one| one.id == id).unwrap();
    assert_eq!((unreadable.name.as_str(), unreadable.documents), ("", None));
    assert!(unreadable.problem.as_ref().unwrap().contains("key"));
    let mut notices = Vec::new();
    rig.workspaces().remove(&id[..8], &mut notices).unwrap();
    assert_eq!(notices, [""; 0]);
    assert_eq!(rig.workspaces().list().unwrap().len(), 1);
}

#[test]
fn an_interrupted_removal_is_finished_but_spares_the_index_of_a_copy_that_came_back() {
    let rig = Rig::new();
    rig.make("One");
    let id = rig.make("Other");
    let dirs = rig.workspaces().dirs;
    let folder = dirs.workspaces().join(id.to_string());
    for index in [
        dirs.index_of(id),
        dirs.index.join(format!("{id}.damaged-1")),
    ] {
        fs::create_dir_all(index).unwrap();
    }
    // The crash comes after the renaming.
    drop(workspace::remove(&folder).unwrap());
    fs::create_dir_all(folder.join("documents")).unwrap();
    rig.open();
    assert!(dirs.index_of(id).exists(), "its copy uses it");

    drop(workspace::remove(&folder).unwrap());
    rig.open();
    assert_eq!(fs::read_dir(&dirs.index).unwrap().count(), 0);
    let left = fs::read_dir(dirs.workspaces()).unwrap().count();
    assert_eq!(left, 1, "nothing but the other one");
}
