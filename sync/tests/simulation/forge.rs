//! Entries that no engine would make: what a malicious edge or member seals by hand.
//!
//! Start at [`Forged::new`].

use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, ROOT};
use satchel_protocol::fragment::{EncryptedFragment, FragmentKind};
use satchel_sync::WorkspaceId;
use satchel_sync::entry::{DocKey, Encoding, Inner, Part, PartBody, inner_hash};
use satchel_sync::member::{DeviceKeys, EpochSecrets, Role};
use satchel_sync::sealing::{self, Padding};

use crate::world::{World, doc};

/// Seeds per trick.
pub const SEEDS: u64 = 6;

/// An entry that follows the newest one of a device, ready to be changed and sealed.
pub struct Forged {
    pub inner: Inner,
    pub kind: FragmentKind,
    keys: DeviceKeys,
    stranger: DeviceKeys,
    readers: Vec<DeviceKeys>,
    secrets: EpochSecrets,
    workspace: WorkspaceId,
    claims: Option<satchel_sync::DeviceId>,
    strip: bool,
}

fn copy(keys: &DeviceKeys) -> DeviceKeys {
    DeviceKeys::from_secret_bytes(&keys.to_secret_bytes()).unwrap()
}

/// One change that puts a word into a document, and the heads after it.
pub fn change(actor: ActorId, word: &str) -> (Vec<u8>, Vec<[u8; 32]>) {
    let mut document = Automerge::new().with_actor(actor);
    document
        .transact::<_, _, automerge::AutomergeError>(|tx| tx.put(ROOT, word, true))
        .map_err(|failure| failure.error)
        .unwrap();
    let changes = document.get_changes(&[]);
    let bytes = changes
        .iter()
        .flat_map(automerge::Change::raw_bytes)
        .copied()
        .collect();
    (
        bytes,
        document.get_heads().iter().map(|head| head.0).collect(),
    )
}

/// The newest entry of a device in the log of an edge, and its hash.
pub fn newest(world: &World, device: usize) -> (Inner, [u8; 32]) {
    let id = world.devices[device].keys.id();
    let keyring = world.keyring(0);
    let log = world.log(world.links[0].fingerprint);
    let entries = log
        .iter()
        .filter_map(|fragment| open(&keyring, world, fragment));
    let newest = entries
        .filter(|(inner, _)| inner.device == id)
        .max_by_key(|(inner, _)| inner.sequence);
    newest.expect("a device that has written")
}

pub fn open(
    keyring: &satchel_sync::member::Keyring,
    world: &World,
    fragment: &EncryptedFragment,
) -> Option<(Inner, [u8; 32])> {
    let header = fragment.header();
    let secrets = keyring.find(&header.epoch_id)?;
    let bytes = sealing::open(secrets, world.names.workspace, header.kind, fragment).ok()?;
    let (inner, _) = Inner::decode(&bytes).ok()?;
    Some((inner, inner_hash(&bytes)))
}

impl Forged {
    /// As the next entry of a device, with a word that it did not write, under the keys that are in force.
    pub fn new(world: &mut World, device: usize) -> Self {
        let (before, hash) = newest(world, device);
        let keyring = world.keyring(device);
        let keys = copy(&world.devices[device].keys);
        let stranger = world.random.device_keys();
        let actor = ActorId::from([&keys.id().0[..], &[0xee; 8]].concat());
        let (bytes, heads) = change(actor, "forged");
        let inner = Inner {
            sequence: before.sequence + 1,
            control_head: world
                .engine(device)
                .welcome(Role::Writer, String::new())
                .control_head,
            previous: hash,
            seen: Vec::new(),
            observed: Vec::new(),
            covers: Vec::new(),
            supersedes: Vec::new(),
            parts: vec![part(doc(1), bytes, heads)],
            ..before
        };
        Self {
            inner,
            kind: FragmentKind::Entry,
            stranger,
            readers: world
                .devices
                .iter()
                .map(|device| copy(&device.keys))
                .collect(),
            secrets: keyring.newest().unwrap().duplicate(),
            workspace: world.names.workspace,
            keys,
            claims: None,
            strip: false,
        }
    }

    /// With the keys of the device itself: only what is inside is wrong.
    pub fn unchanged(self) -> Self {
        self
    }

    pub fn with_random_keys(mut self) -> Self {
        self.secrets = EpochSecrets::random(self.secrets.id());
        self
    }

    /// By a device that is no member.
    pub fn by_stranger(mut self) -> Self {
        self.keys = copy(&self.stranger);
        self.inner.device = self.keys.id();
        (self.inner.sequence, self.inner.previous) = (1, [0; 32]);
        self
    }

    /// In the name of the device, by another one that knows the keys of the epoch.
    pub fn signed_by(mut self, device: usize) -> Self {
        self.claims = Some(self.inner.device);
        self.keys = copy(&self.readers[device]);
        self.inner.device = self.keys.id();
        self
    }

    /// By another member, in its own name, as its first entry.
    pub fn by(mut self, device: usize) -> Self {
        self.keys = copy(&self.readers[device]);
        self.inner.device = self.keys.id();
        (self.inner.sequence, self.inner.previous) = (1, [0; 32]);
        self
    }

    pub fn for_workspace(mut self, id: [u8; 16]) -> Self {
        self.workspace = WorkspaceId(id);
        self
    }

    pub fn without_signature(mut self) -> Self {
        self.strip = true;
        self
    }

    pub fn seal(self) -> EncryptedFragment {
        self.seal_with_hash().0
    }

    /// The fragment, and the hash that the next entry of the device would name.
    pub fn seal_with_hash(self) -> (EncryptedFragment, [u8; 32]) {
        let mut bytes = self
            .inner
            .encode_signed(&self.keys, self.workspace, self.secrets.id(), self.kind)
            .unwrap();
        if let Some(claimed) = self.claims {
            // The device stands behind the version.
            bytes[1..17].copy_from_slice(&claimed.0);
        }
        if self.strip {
            let end = bytes.len() - 64;
            bytes[end..].fill(0);
        }
        let fragment = sealing::seal(
            &self.secrets,
            self.workspace,
            self.kind,
            &bytes,
            Padding::Padme,
        );
        (fragment.unwrap(), inner_hash(&bytes))
    }
}

pub fn part(key: DocKey, bytes: Vec<u8>, heads: Vec<[u8; 32]>) -> Part {
    Part {
        key,
        encoding: Encoding::Changes,
        heads,
        body: PartBody::Inline(bytes),
    }
}
