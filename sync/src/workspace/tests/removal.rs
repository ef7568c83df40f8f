//! Removing a workspace: all of it or none of it, whatever comes in between.

use super::*;

#[test]
fn a_removed_workspace_is_neither_listed_nor_opened_and_its_files_go() {
    let rig = Rig::new();
    rig.create().put(vec![imported("/a", "text")]).unwrap();
    let id = list(rig.folder.path()).unwrap()[0].id;
    let gone = remove(&rig.dir()).unwrap();
    assert_eq!(gone.id(), id);
    assert_eq!(list(rig.folder.path()).unwrap(), []);
    assert!(matches!(
        Workspace::open(&rig.dir(), &rig.key),
        Err(OpenError::NotFound { .. })
    ));
    gone.delete().unwrap();
    assert_eq!(fs::read_dir(rig.folder.path()).unwrap().count(), 0);
}

#[test]
fn an_open_workspace_is_not_removed() {
    let rig = Rig::new();
    let workspace = rig.create();
    assert!(matches!(remove(&rig.dir()), Err(OpenError::Locked { .. })));
    let id = workspace.put(vec![imported("/a", "kept")]).unwrap()[0].id;
    assert_eq!(workspace.text(id).unwrap(), "kept");
    let nothing = rig.folder.path().join("nothing");
    assert!(matches!(remove(&nothing), Err(OpenError::NotFound { .. })));
}

/// A crash while files are deleted: some are gone, perhaps the lock file as well.
#[test]
fn a_removal_that_was_interrupted_is_found_and_finished() {
    for lost in [INDEX_FILE, LOCK_FILE] {
        let rig = Rig::new();
        rig.create().put(vec![imported("/a", "text")]).unwrap();
        let interrupted = remove(&rig.dir()).unwrap();
        assert!(
            removed(rig.folder.path()).is_empty(),
            "another process is at it"
        );
        let id = interrupted.id();
        let folder = rig.folder.path().join(format!(".removed-{id}"));
        fs::remove_file(folder.join(lost)).unwrap();
        drop(interrupted);

        assert_eq!(list(rig.folder.path()).unwrap(), []);
        let left = removed(rig.folder.path());
        assert_eq!(
            left.iter().map(RemovedWorkspace::id).collect::<Vec<_>>(),
            [id]
        );
        for workspace in left {
            workspace.delete().unwrap();
        }
        assert_eq!(fs::read_dir(rig.folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_workspace_can_be_removed_over_the_remains_of_a_copy() {
    let rig = Rig::new();
    drop(rig.create());
    drop(remove(&rig.dir()).unwrap());
    drop(rig.create());
    remove(&rig.dir()).unwrap().delete().unwrap();
    assert_eq!(fs::read_dir(rig.folder.path()).unwrap().count(), 0);
}
