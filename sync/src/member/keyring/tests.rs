//! Keyrings that are kept, and the way back from the newest epoch to the first.

use proptest::prelude::*;

use super::*;

const WORKSPACE: WorkspaceId = WorkspaceId([1; 16]);

fn id(number: u32) -> EpochId {
    EpochId {
        number,
        record: [number as u8; 8],
    }
}

/// Epochs 0 to `last`, and what seals each under its successor.
fn chain(last: u32) -> (Vec<EpochSecrets>, Vec<EncryptedFragment>) {
    let epochs: Vec<_> = (0..=last)
        .map(|number| EpochSecrets::random(id(number)))
        .collect();
    let links = epochs
        .windows(2)
        .map(|pair| previous::seal(&pair[1], &pair[0], WORKSPACE))
        .collect();
    (epochs, links)
}

fn knows(keyring: &Keyring, epochs: &[EpochSecrets], with_writer: bool) -> bool {
    keyring.len() == epochs.len()
        && epochs.iter().zip(keyring.iter()).all(|(secrets, known)| {
            let writer = secrets.expose_writer_secret().filter(|_| with_writer);
            (
                known.id(),
                known.expose_secret(),
                known.expose_writer_secret(),
            ) == (secrets.id(), secrets.expose_secret(), writer)
        })
}

#[test]
fn a_keyring_finds_epochs_and_survives_its_bytes() {
    let (epochs, _) = chain(3);
    let mut keyring = Keyring::new();
    for secrets in &epochs {
        keyring.insert(secrets.duplicate());
    }
    keyring.insert(EpochSecrets::new(id(4), [4; 32], None));
    let again = Keyring::from_secret_bytes(&keyring.to_secret_bytes()).unwrap();
    assert_eq!(again.to_secret_bytes(), keyring.to_secret_bytes());
    assert_eq!(again.newest().unwrap().id(), id(4));
    let found = again.find(&id(2).to_bytes()).unwrap();
    assert_eq!(found.expose_secret(), epochs[2].expose_secret());
    let other_record = EpochId {
        number: 2,
        record: [9; 8],
    };
    assert!(again.find(&other_record.to_bytes()).is_none());
    for end in 0..keyring.to_secret_bytes().len() {
        assert!(Keyring::from_secret_bytes(&keyring.to_secret_bytes()[..end]).is_none());
    }
}

#[test]
fn a_writers_secret_is_not_forgotten_for_one_without() {
    let mut keyring = Keyring::new();
    let secrets = EpochSecrets::random(id(1));
    keyring.insert(secrets.duplicate());
    keyring.insert(EpochSecrets::new(id(1), *secrets.expose_secret(), None));
    assert_eq!(
        keyring.newest().unwrap().expose_writer_secret(),
        secrets.expose_writer_secret()
    );
}

#[test]
fn a_new_writer_walks_back_through_five_rotations() {
    let (epochs, links) = chain(5);
    let mut keyring = Keyring::new();
    keyring.insert(epochs[5].duplicate());
    assert_eq!(keyring.walk_back(WORKSPACE, links.iter().rev()).unwrap(), 5);
    assert!(knows(&keyring, &epochs, true));
    // Known epochs need no way back.
    assert_eq!(keyring.walk_back(WORKSPACE, &[]).unwrap(), 0);
}

#[test]
fn a_new_reader_walks_back_without_any_writers_secret() {
    let (epochs, links) = chain(5);
    let mut keyring = Keyring::new();
    keyring.insert(EpochSecrets::new(id(5), *epochs[5].expose_secret(), None));
    assert_eq!(keyring.walk_back(WORKSPACE, &links).unwrap(), 5);
    assert!(knows(&keyring, &epochs, false));
}

#[test]
fn a_missing_or_forged_link_stops_the_walk() {
    let (epochs, mut links) = chain(5);
    let removed = links.remove(2);
    let mut keyring = Keyring::new();
    keyring.insert(epochs[5].duplicate());
    let error = keyring.walk_back(WORKSPACE, &links).unwrap_err();
    assert!(
        matches!(error, WalkBackError::Missing { epoch: 3 }),
        "{error}"
    );
    // Nothing is lost: with the link the walk goes on.
    links.push(previous::seal(&epochs[3], &epochs[1], WORKSPACE));
    let error = keyring.walk_back(WORKSPACE, &links).unwrap_err();
    assert!(
        matches!(error, WalkBackError::Broken { epoch: 3 }),
        "{error}"
    );
    links.push(removed);
    assert_eq!(keyring.walk_back(WORKSPACE, &links).unwrap(), 3);
    assert!(knows(&keyring, &epochs, true));
}

#[test]
fn a_reader_who_became_a_writer_keeps_what_a_forged_link_contradicts() {
    let (epochs, _) = chain(2);
    let mut keyring = Keyring::new();
    keyring.insert(EpochSecrets::new(id(1), *epochs[1].expose_secret(), None));
    keyring.insert(epochs[2].duplicate());
    let forged = EpochSecrets::random(id(1));
    let link = previous::seal(&epochs[2], &forged, WORKSPACE);
    assert!(keyring.walk_back(WORKSPACE, [&link]).is_err());
    assert_eq!(
        keyring.of(id(1)).unwrap().expose_secret(),
        epochs[1].expose_secret()
    );
}

#[test]
fn debug_output_shows_no_secret() {
    let mut keyring = Keyring::new();
    keyring.insert(EpochSecrets::new(id(1), [0xab; 32], Some([0xcd; 32])));
    let shown = format!("{keyring:?} {:?}", keyring.newest());
    assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_as_a_keyring_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = KEYRING_VERSION;
        }
        if let Some(keyring) = Keyring::from_secret_bytes(&bytes) {
            prop_assert!(keyring.len() * 45 <= bytes.len());
        }
    }
}
