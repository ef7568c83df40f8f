//! Messages of joining that come back, and those that are refused.

use proptest::prelude::*;

use super::*;

fn welcome(role: Role) -> Welcome {
    let policy = PolicyKey::from_bytes([7; 32]);
    let epoch = EpochId {
        number: 3,
        record: [4; 8],
    };
    Welcome {
        workspace: WorkspaceId([1; 16]),
        name: "Müllers Papiere".to_owned(),
        genesis_hash: [2; 32],
        control_index: 9,
        control_head: [3; 32],
        policy_public: policy.public(),
        mailbox: policy.mailbox(),
        role,
        secrets: EpochSecrets::new(epoch, [5; 32], Some([6; 32])),
        policy: Some(policy),
        edges: vec!["satchel-edge://one".to_owned(), "two".to_owned()],
    }
}

#[test]
fn a_device_says_who_it_is() {
    let keys = DeviceKeys::random();
    let info = DeviceInfo::new(&keys, "Åsa", "Laptop").unwrap();
    let again = DeviceInfo::decode(&info.encode()).unwrap();
    assert_eq!(again, info);
    assert_eq!(again.public, keys.public());
}

#[test]
fn every_bit_of_what_a_device_says_matters() {
    let bytes = DeviceInfo::new(&DeviceKeys::random(), "Åsa", "Laptop")
        .unwrap()
        .encode();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(DeviceInfo::decode(&changed).is_err(), "bit {bit}");
    }
    for end in 0..bytes.len() {
        assert!(DeviceInfo::decode(&bytes[..end]).is_err());
    }
}

#[test]
fn the_longest_messages_fit_their_limits() {
    let name = "ä".repeat(MAX_NAME_BYTES / 2);
    let info = DeviceInfo::new(&DeviceKeys::random(), &name, &name).unwrap();
    assert!(info.encode().len() <= MAX_DEVICE_INFO_BYTES);
    let longest = Welcome {
        name,
        edges: vec!["x".repeat(MAX_EDGE_LINK_BYTES); MAX_EDGES],
        ..welcome(Role::Owner)
    };
    let bytes = longest.encode().unwrap();
    assert!(bytes.len() <= MAX_WELCOME_BYTES, "{}", bytes.len());
    assert!(Welcome::decode(&bytes).is_ok());
}

#[test]
fn names_that_cannot_be_shown_are_refused() {
    let keys = DeviceKeys::random();
    for name in ["", "two\nlines", "\u{7}", &"a".repeat(MAX_NAME_BYTES + 1)] {
        assert_eq!(
            DeviceInfo::new(&keys, name, "Laptop"),
            Err(WelcomeError::BadName)
        );
        assert_eq!(
            DeviceInfo::new(&keys, "Åsa", name),
            Err(WelcomeError::BadName)
        );
        let welcome = Welcome {
            name: name.to_owned(),
            ..welcome(Role::Reader)
        };
        assert_eq!(welcome.encode().unwrap_err(), WelcomeError::BadName);
    }
}

#[test]
fn a_welcome_holds_what_the_role_may_know() {
    for role in [Role::Owner, Role::Writer, Role::Reader] {
        let given = welcome(role);
        let taken = Welcome::decode(&given.encode().unwrap()).unwrap();
        assert_eq!(taken.workspace, given.workspace);
        assert_eq!(taken.name, given.name);
        assert_eq!(taken.genesis_hash, given.genesis_hash);
        assert_eq!(taken.control_index, given.control_index);
        assert_eq!(taken.control_head, given.control_head);
        assert_eq!(taken.policy_public, given.policy_public);
        assert_eq!(taken.mailbox, given.mailbox);
        assert_eq!(taken.role, role);
        assert_eq!(taken.edges, given.edges);
        assert_eq!(taken.secrets.id(), given.secrets.id());
        assert_eq!(taken.secrets.expose_secret(), &[5; 32]);
        let writer = role.may_write().then_some(&[6; 32]);
        assert_eq!(taken.secrets.expose_writer_secret(), writer);
        let policy = taken.policy.map(|policy| *policy.expose_secret());
        assert_eq!(policy, (role == Role::Owner).then_some([7; 32]));
    }
}

#[test]
fn what_the_welcomer_does_not_know_cannot_be_given() {
    let without = Welcome {
        policy: None,
        ..welcome(Role::Owner)
    };
    assert_eq!(
        without.encode().unwrap_err(),
        WelcomeError::Wrap(WrapError::Missing { role: Role::Owner })
    );
    let other = Welcome {
        policy_public: [8; 32],
        ..welcome(Role::Owner)
    };
    assert!(Welcome::decode(&other.encode().unwrap()).is_err());
}

#[test]
fn a_welcome_of_a_newer_program_is_told_from_a_damaged_one() {
    let mut bytes = welcome(Role::Writer).encode().unwrap().to_vec();
    for end in 1..bytes.len() {
        assert!(Welcome::decode(&bytes[..end]).is_err());
    }
    bytes[0] = 2;
    assert_eq!(Welcome::decode(&bytes).unwrap_err(), WelcomeError::Newer);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        starts_right in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if let (true, Some(first)) = (starts_right, bytes.first_mut()) {
            *first = VERSION;
        }
        prop_assert!(DeviceInfo::decode(&bytes).is_err());
        if let Ok(welcome) = Welcome::decode(&bytes) {
            prop_assert_eq!(welcome.encode().unwrap().to_vec(), bytes);
        }
    }
}
