//! Disks that refuse: full, read-only, and texts that are too long.

#[cfg(target_os = "linux")]
use std::io::Write as _;

use super::*;

#[test]
fn texts_and_originals_that_are_too_long_are_refused_alone() {
    let rig = Rig::new();
    let workspace = rig.create();
    let long = NewDocument::plain("long", "a".repeat(crate::document::MAX_TEXT_BYTES + 1));
    assert!(matches!(
        workspace.put(vec![long]),
        Err(SaveError::TooLarge { .. })
    ));
    assert_eq!(workspace.document_count(), 0);
    assert!(all_files(&rig.dir().join(DOCUMENTS)).is_empty());
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_named_and_nothing_is_lost() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::new();
    let workspace = rig.create();
    let id = workspace.put(vec![imported("/a", "kept")]).unwrap()[0].id;
    let folder = rig.dir().join(DOCUMENTS);
    let set = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    set(0o500);
    let refused = fs::write(folder.join("probe"), b"").is_err();
    let failed = workspace.put(vec![imported("/b", "new")]);
    set(0o700);
    if !refused {
        eprintln!("skipped: this user may write everywhere");
        return;
    }
    let message = failed.unwrap_err().to_string();
    assert!(message.contains(rig.dir().to_str().unwrap()), "{message}");
    assert_eq!(
        (
            workspace.document_count(),
            workspace.text(id).unwrap().as_str()
        ),
        (1, "kept")
    );
    workspace.put(vec![imported("/b", "new")]).unwrap();
}

/// A small file system of its own; `None` (with a message) where the test may not mount one.
#[cfg(target_os = "linux")]
struct SmallDisk(TempDir);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(folder.path())
            .stderr(std::process::Stdio::null())
            .status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        eprintln!("skipped: not root, so no small disk can be mounted");
        None
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount")
            .arg(self.0.path())
            .status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "the small disk stays mounted"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_with_numbers_loses_nothing_and_ends_with_space() {
    let Some(disk) = SmallDisk::mount(6 << 20) else {
        return;
    };
    let dir = disk.0.path().join("workspace");
    let key = DataKey::from_bytes([5; 32]);
    let workspace = Workspace::create(&dir, &key, "Small").unwrap();
    let noise = |n: u32| -> String {
        (0..3000u32)
            .map(|i| {
                format!(
                    "{:x}",
                    blake3::hash(&(n * 4000 + i).to_le_bytes()).as_bytes()[0]
                )
            })
            .collect()
    };
    let mut saved = Vec::new();
    let failed = loop {
        let n = saved.len() as u32;
        let mut document = imported(&format!("/{n}"), &noise(n));
        document.original = Some(vec![n as u8; 200_000]);
        match workspace.put(vec![document]) {
            Ok(entries) => saved.push(entries[0].clone()),
            Err(error) => break error,
        }
        assert!(saved.len() < 1000);
    };
    assert!(
        matches!(failed, SaveError::NoSpace { needed_bytes, .. } if needed_bytes > 200_000),
        "{failed}"
    );
    assert!(saved.len() > 5);

    // Now really full, under the feet of the check for free space: the writes themselves fail.
    let ballast = dir.join("ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    let first = saved[0].id;
    let text = workspace.text(first).unwrap();
    let change = NewDocument {
        existing: Some(first),
        ..imported("/0", "changed")
    };
    assert!(matches!(
        workspace.put(vec![change.clone()]),
        Err(SaveError::NoSpace { .. })
    ));
    assert!(matches!(
        workspace.create_thread("Chat"),
        Err(SaveError::NoSpace { .. })
    ));
    let long_path = format!("/{}{}{}", noise(1), noise(2), noise(3));
    assert!(matches!(
        workspace.record_path_seen(first, &long_path, 1),
        Err(SaveError::NoSpace { .. })
    ));
    assert_eq!(workspace.text(first).unwrap(), text);
    assert_eq!(workspace.entry(first).unwrap(), saved[0]);
    for entry in &saved {
        workspace.original(entry.id).unwrap().unwrap();
    }

    fs::remove_file(&ballast).unwrap();
    workspace
        .remove(&[saved[1].id, saved[2].id, saved[3].id, saved[4].id])
        .unwrap();
    workspace.put(vec![change]).unwrap();
    assert_eq!(workspace.text(first).unwrap(), "changed");
    drop(workspace);
    let (workspace, report) = Workspace::open(&dir, &key).unwrap();
    assert!(report.words().is_empty(), "{report:?}");
    assert_eq!(workspace.document_count(), saved.len() - 4);
    assert_eq!(workspace.text(first).unwrap(), "changed");
}
