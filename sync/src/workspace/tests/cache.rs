//! Cache files: whole or not at all, and nothing readable.

use super::*;

#[test]
fn a_cache_file_comes_back_whole_or_not_at_all() {
    let rig = Rig::new();
    let workspace = rig.create();
    let path = rig.folder.path().join("cache/one");
    let body: Vec<u8> = (0..9_000_000u32)
        .map(|i| (i / 7).to_le_bytes()[0])
        .collect();
    let head = b"who reads it, and what was said";
    workspace.write_cache(&path, [1; 16], head, &body).unwrap();
    let sealed = fs::read(&path).unwrap();
    assert!(!sealed.windows(12).any(|window| window == &head[..12]));
    let read = |id| workspace.read_cache(&path, [id; 16]);
    assert!(read(1) == Some((head.to_vec(), body.clone())));
    assert!(read(2).is_none(), "it belongs to another one");

    for cut in [0, 63, 64, 100, sealed.len() / 2, sealed.len() - 1] {
        fs::write(&path, &sealed[..cut]).unwrap();
        assert!(read(1).is_none(), "cut at {cut}");
    }
    // A log may end after any frame; a cache file may not: 36 bytes go around each.
    let first_part = 64 + (36 + 8 + head.len()) + (36 + (4 << 20));
    fs::write(&path, &sealed[..first_part]).unwrap();
    assert!(read(1).is_none(), "a part is missing");
    for at in [8, 70, 200, sealed.len() - 1] {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        assert!(read(1).is_none(), "changed at {at}");
    }
    fs::remove_file(&path).unwrap();
    assert!(read(1).is_none());
}
