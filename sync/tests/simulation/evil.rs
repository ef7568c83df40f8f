//! A malicious edge: every trick that one can play, each found out or without effect.
//!
//! A scene has an honest beginning, a time of tricks, and an honest end. Afterwards every word that a member wrote
//! is on every device, nothing forged is, and where a trick can be noticed it was. Start at [`play`].

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::{EncryptedFragment, HEADER_BYTES};
use satchel_protocol::frame::{Answer, Request};
use satchel_protocol::id::{FragmentId, NodeFingerprint, Offset};

use crate::edge::SimEdge;
use crate::forge::{self, Forged};
use crate::random::Random;
use crate::world::{DOCS, World, doc};
use satchel_sync::member::Role;

/// What a malicious edge does. The sum of it is the table of tricks in the threat model, and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    WithholdOne,
    WithholdDevice,
    FreezeAll,
    Replay,
    Reorder,
    ReorderStored,
    Duplicate,
    Truncate,
    FlipHeader,
    FlipCommitment,
    FlipCiphertext,
    FlipStored,
    SwapPlaces,
    RollBack,
    RollBackUnderway,
    Fork,
    MarkSuperseded,
    DropSupersede,
    DeleteEarly,
    InventWithRandomKeys,
    InventAsStranger,
    InventAsRemoved,
    OtherWorkspace,
    StripSignature,
    ForgeAsWriter,
    DowngradeCipher,
    DowngradeVersion,
    OldControl,
    ForeignControl,
    NeverAck,
    AckWithoutStoring,
    WrongOffsets,
    WrongAcks,
    WrongChain,
    Garbage,
    RefuseAgainAndAgain,
    EndlessControl,
}

impl Trick {
    pub const ALL: [Self; 37] = [
        Self::WithholdOne,
        Self::WithholdDevice,
        Self::FreezeAll,
        Self::Replay,
        Self::Reorder,
        Self::ReorderStored,
        Self::Duplicate,
        Self::Truncate,
        Self::FlipHeader,
        Self::FlipCommitment,
        Self::FlipCiphertext,
        Self::FlipStored,
        Self::SwapPlaces,
        Self::RollBack,
        Self::RollBackUnderway,
        Self::Fork,
        Self::MarkSuperseded,
        Self::DropSupersede,
        Self::DeleteEarly,
        Self::InventWithRandomKeys,
        Self::InventAsStranger,
        Self::InventAsRemoved,
        Self::OtherWorkspace,
        Self::StripSignature,
        Self::ForgeAsWriter,
        Self::DowngradeCipher,
        Self::DowngradeVersion,
        Self::OldControl,
        Self::ForeignControl,
        Self::NeverAck,
        Self::AckWithoutStoring,
        Self::WrongOffsets,
        Self::WrongAcks,
        Self::WrongChain,
        Self::Garbage,
        Self::RefuseAgainAndAgain,
        Self::EndlessControl,
    ];

    /// Whether some device must say that something is wrong. The others have no effect that anybody could see, or
    /// look like a slow network.
    fn is_noticed(self) -> bool {
        !matches!(
            self,
            Self::FreezeAll
                | Self::Replay
                | Self::Duplicate
                | Self::Reorder
                | Self::MarkSuperseded
                | Self::DropSupersede
                | Self::NeverAck
                | Self::RefuseAgainAndAgain
                | Self::EndlessControl
        )
    }
}

/// Three devices at one edge, and what was written on them.
struct Scene {
    world: World,
    edge: NodeFingerprint,
    written: Vec<(u8, String)>,
    noticed: bool,
}

/// A word that no member ever wrote.
const FORGED_WORD: &str = "forged";

fn play(trick: Trick, seed: u64) {
    let mut scene = Scene::begin(seed);
    scene.play(trick);
    scene.look();
    scene.become_honest(trick);
    scene.check(trick);
}

impl Scene {
    fn begin(seed: u64) -> Self {
        let mut world = World::new(seed, 3, 1);
        let edge = world.links[0].fingerprint;
        world.settle();
        let mut scene = Self {
            world,
            edge,
            written: Vec::new(),
            noticed: false,
        };
        for round in 0..3 {
            for number in 0..3 {
                scene.write(number, &format!("begin {round} {number}"));
            }
            scene.world.run(3);
        }
        scene.world.settle();
        scene.look();
        assert!(
            !scene.noticed,
            "a warning before anything was wrong: {:#?}",
            scene.world.engine(0).status()
        );
        scene
    }

    fn write(&mut self, number: usize, word: &str) {
        let which = self.world.random.below(DOCS as usize + 1) as u8;
        self.world.write(number, doc(which), word);
        self.written.push((which, word.to_owned()));
    }

    /// Everybody writes something and so has something to send.
    fn write_everywhere(&mut self, when: &str) {
        for number in 0..self.world.devices.len() {
            let may = self
                .world
                .engine(number)
                .status()
                .role
                .is_some_and(|role| role != Role::Reader);
            if may {
                self.write(number, &format!("{when} {number}"));
                self.world.run(2);
            }
        }
    }

    /// Remembers whether anybody has noticed anything, and that nothing forged is anywhere.
    fn look(&mut self) {
        for device in &self.world.devices {
            let engine = device.engine.as_ref().unwrap();
            self.noticed |=
                !engine.status().warnings.is_empty() || !engine.missing_entries().is_empty();
            for which in 0..=DOCS {
                let words = device.documents.words(doc(which));
                assert!(!words.contains(FORGED_WORD), "a forged word was taken in");
            }
        }
    }

    fn twist(&mut self, twist: impl FnMut(usize, Answer) -> Vec<Answer> + 'static) {
        self.world.tricks.twist = Some(Box::new(twist));
    }

    /// Changes the bytes of the first few entries that device 2 is to get.
    fn alter(
        &mut self,
        mut change: impl FnMut(EncryptedFragment) -> Option<EncryptedFragment> + 'static,
    ) {
        let mut left = 2;
        self.twist(move |number, answer| match answer {
            Answer::Entry {
                offset,
                superseded,
                fragment,
            } if number == 2 && left > 0 => {
                left -= 1;
                let changed = change(fragment);
                changed
                    .map(|fragment| Answer::Entry {
                        offset,
                        superseded,
                        fragment,
                    })
                    .into_iter()
                    .collect()
            }
            answer => vec![answer],
        });
    }

    fn instead(
        &mut self,
        instead: impl FnMut(usize, &Request) -> Option<(Vec<Answer>, bool)> + 'static,
    ) {
        self.world.tricks.instead = Some(Box::new(instead));
    }

    fn store(&self) -> SimEdge {
        self.world.edges[&self.edge].clone()
    }

    /// Changes what the edge has stored, between two connections.
    fn change_log(&mut self, change: impl FnOnce(&mut Vec<(EncryptedFragment, bool)>)) {
        self.world.break_lines(self.edge);
        change(&mut self.world.mailbox(self.edge).log);
    }

    /// Puts a fragment into the log, as if somebody had sent it.
    fn plant(&mut self, fragment: EncryptedFragment) {
        self.world.mailbox(self.edge).log.push((fragment, false));
    }

    fn play(&mut self, trick: Trick) {
        let seed = self.world.random.next();
        let old = self.world.log(self.edge);
        match trick {
            Trick::WithholdOne => {
                let mut victim: Option<FragmentId> = None;
                self.twist(move |number, answer| match &answer {
                    Answer::Entry { fragment, .. }
                        if number == 2 && *victim.get_or_insert(fragment.id()) == fragment.id() =>
                    {
                        Vec::new()
                    }
                    _ => vec![answer],
                });
            }
            Trick::WithholdDevice => {
                let hidden: Rc<RefCell<BTreeSet<FragmentId>>> = Rc::default();
                let from_one = hidden.clone();
                self.instead(move |number, request| {
                    if let Request::Append { fragment, .. } | Request::Pack { fragment, .. } =
                        request
                        && number == 1
                    {
                        from_one.borrow_mut().insert(fragment.id());
                    }
                    None
                });
                self.twist(move |number, answer| match &answer {
                    Answer::Entry { fragment, .. }
                        if number == 2 && hidden.borrow().contains(&fragment.id()) =>
                    {
                        Vec::new()
                    }
                    _ => vec![answer],
                });
            }
            Trick::FreezeAll => self.twist(|_, answer| match answer {
                Answer::Entry { .. } | Answer::End { .. } => Vec::new(),
                answer => vec![answer],
            }),
            Trick::Replay => {
                let entry = old[self.world.random.below(old.len())].clone();
                self.change_log(|log| log.push((entry, false)));
            }
            Trick::Reorder => {
                let mut held: Option<Answer> = None;
                self.twist(move |_, answer| match answer {
                    Answer::Entry { .. } => match held.take() {
                        None => {
                            held = Some(answer);
                            Vec::new()
                        }
                        Some(before) => vec![answer, before],
                    },
                    answer => held.take().into_iter().chain([answer]).collect(),
                });
            }
            Trick::ReorderStored => {
                let mut random = Random(seed);
                self.change_log(|log| {
                    for at in (1..log.len()).rev() {
                        log.swap(at, random.below(at + 1));
                    }
                    let last = log.len() - 1;
                    log.swap(0, last);
                });
            }
            Trick::Duplicate => self.twist(|_, answer| match &answer {
                Answer::Entry { .. } => vec![answer.clone(), answer],
                _ => vec![answer],
            }),
            // What is too short is no fragment, so that no frame can hold it: it never comes.
            Trick::Truncate => self.alter(|fragment| {
                let bytes = fragment.as_bytes();
                EncryptedFragment::from_bytes(bytes[..bytes.len() * 2 / 3].to_vec()).ok()
            }),
            Trick::FlipHeader => self.flip(3..39, seed),
            Trick::FlipCommitment => self.flip(39..HEADER_BYTES, seed),
            Trick::FlipCiphertext => self.flip(HEADER_BYTES..HEADER_BYTES + 256, seed),
            Trick::FlipStored => self.change_log(|log| {
                for (fragment, _) in log.iter_mut().rev().take(3) {
                    let mut bytes = fragment.as_bytes().to_vec();
                    bytes[100] ^= 4;
                    *fragment = EncryptedFragment::from_bytes(bytes).unwrap();
                }
            }),
            Trick::SwapPlaces => {
                let mut last: Option<EncryptedFragment> = None;
                self.twist(move |_, answer| match answer {
                    Answer::Entry {
                        offset,
                        superseded,
                        fragment,
                    } => {
                        let shown = last.replace(fragment.clone()).unwrap_or(fragment);
                        vec![Answer::Entry {
                            offset,
                            superseded,
                            fragment: shown,
                        }]
                    }
                    answer => vec![answer],
                });
            }
            Trick::RollBack | Trick::RollBackUnderway => {
                let before = self.store();
                self.write_everywhere("soon rolled back");
                self.world.run(4);
                if trick == Trick::RollBack {
                    self.world.break_lines(self.edge);
                }
                self.world.edges.insert(self.edge, before);
            }
            Trick::Fork => {
                self.world.break_lines(self.edge);
                let other = self.store();
                self.world.tricks.forks.insert((2, self.edge), other);
            }
            Trick::MarkSuperseded => {
                self.change_log(|log| log.iter_mut().for_each(|entry| entry.1 = true));
            }
            Trick::DropSupersede | Trick::DeleteEarly => {
                self.world.devices[0]
                    .engine
                    .as_mut()
                    .unwrap()
                    .pack()
                    .unwrap();
                self.world.run(5);
                self.change_log(|log| {
                    for entry in log.iter_mut() {
                        entry.1 &= trick == Trick::DeleteEarly;
                    }
                    if trick == Trick::DeleteEarly {
                        // As if the whole log ended with the entries before the pack: packs are deleted, too.
                        log.retain(|entry| !entry.1);
                    }
                });
            }
            Trick::InventWithRandomKeys => {
                let forged = Forged::new(&mut self.world, 1).with_random_keys().seal();
                self.plant(forged);
            }
            Trick::InventAsStranger => {
                let forged = Forged::new(&mut self.world, 1).by_stranger().seal();
                self.plant(forged);
            }
            Trick::InventAsRemoved => {
                // What a removed device knows: its own keys, and the keys of the epoch until then.
                let mut forged = Forged::new(&mut self.world, 1).unchanged();
                let removed = self.world.devices[1].keys.id();
                let change = satchel_sync::engine::Change::Remove(removed);
                self.world.change(0, change).unwrap();
                self.world.settle();
                forged.inner.sequence += 5;
                let forged = forged.seal();
                self.plant(forged);
            }
            Trick::OtherWorkspace => {
                let mut other = World::new(seed, 1, 1);
                other.settle();
                let foreign = other.log(self.edge);
                self.change_log(|log| {
                    log.extend(foreign.into_iter().map(|fragment| (fragment, false)));
                });
                let forged = Forged::new(&mut self.world, 1)
                    .unchanged()
                    .for_workspace([8; 16])
                    .seal();
                self.plant(forged);
            }
            Trick::StripSignature => {
                let forged = Forged::new(&mut self.world, 1)
                    .unchanged()
                    .without_signature()
                    .seal();
                self.plant(forged);
            }
            Trick::ForgeAsWriter => {
                let reader = self.world.join(Role::Reader);
                self.world.settle();
                let forged = Forged::new(&mut self.world, 1).signed_by(reader).seal();
                self.plant(forged);
            }
            Trick::DowngradeCipher => self.alter(|fragment| {
                let mut bytes = fragment.into_bytes();
                bytes[1] = 2;
                EncryptedFragment::from_bytes(bytes).ok()
            }),
            // An unknown version is no fragment: it never comes.
            Trick::DowngradeVersion => self.alter(|fragment| {
                let mut bytes = fragment.into_bytes();
                bytes[0] = 0;
                EncryptedFragment::from_bytes(bytes).ok()
            }),
            Trick::OldControl => {
                let change = satchel_sync::engine::Change::Rename(
                    self.world.devices[0].keys.id(),
                    "Other".into(),
                );
                let known = self.world.mailbox(self.edge).control.len() as u32;
                self.twist(move |number, mut answer| {
                    if number == 2 {
                        match &mut answer {
                            Answer::CtlEntry { index, .. } if *index >= known => return Vec::new(),
                            Answer::CtlEnd { next } => *next = known,
                            Answer::Opened { ctl_next, .. } | Answer::End { ctl_next, .. } => {
                                *ctl_next = known;
                            }
                            _ => {}
                        }
                    }
                    vec![answer]
                });
                self.world.change(0, change).unwrap();
            }
            Trick::ForeignControl => {
                let mut other = World::new(seed, 2, 1);
                other.settle();
                let foreign = other.mailbox(self.edge).control.clone();
                let known = self.world.mailbox(self.edge).control.len();
                let (record, previous_epoch) = foreign[foreign.len() - 1].clone();
                self.world
                    .mailbox(self.edge)
                    .control
                    .push((record, previous_epoch));
                self.write_everywhere("foreign control");
                self.look();
                self.world.mailbox(self.edge).control.truncate(known);
            }
            Trick::NeverAck => self.instead(|_, request| {
                let silent = matches!(request, Request::Append { .. } | Request::Pack { .. });
                silent.then(|| (Vec::new(), false))
            }),
            Trick::AckWithoutStoring => {
                let next = old.len() as u64;
                self.instead(move |number, request| {
                    let thrown = matches!(request, Request::Append { .. } | Request::Pack { .. })
                        && number == 1;
                    let ack = Answer::Ack {
                        offset: Offset(next),
                        chain: Chain([3; 32]),
                    };
                    thrown.then(|| (vec![ack], true))
                });
            }
            Trick::WrongOffsets => {
                let mut random = Random(seed);
                let offsets = [0, 1, 7, 1 << 40, u64::MAX - 1, u64::MAX];
                self.twist(move |_, mut answer| {
                    let wrong = Offset(offsets[random.below(offsets.len())]);
                    match &mut answer {
                        Answer::Entry { offset, .. } => *offset = wrong,
                        Answer::End { next, log_end, .. } => (*next, *log_end) = (wrong, wrong),
                        _ => {}
                    }
                    vec![answer]
                });
            }
            Trick::WrongAcks => {
                let mut random = Random(seed);
                let offsets = [0, 1, 7, 1 << 40, u64::MAX - 1, u64::MAX];
                self.twist(move |_, mut answer| {
                    if let Answer::Ack { offset, chain } = &mut answer {
                        *offset = Offset(offsets[random.below(offsets.len())]);
                        *chain = Chain(random.bytes());
                    }
                    vec![answer]
                });
            }
            Trick::WrongChain => {
                let mut random = Random(seed);
                self.twist(move |_, mut answer| {
                    if let Answer::End { chain, .. } | Answer::Opened { chain, .. } = &mut answer {
                        *chain = Chain(random.bytes());
                    }
                    vec![answer]
                });
            }
            Trick::Garbage => {
                let right = old[0].header().encode();
                let mut random = Random(seed);
                for number in 0..40 {
                    let mut bytes = right.to_vec();
                    if number % 2 == 0 {
                        // Of an epoch that nobody knows.
                        bytes[3..15].copy_from_slice(&random.bytes::<12>());
                    }
                    let block = random.bytes::<64>();
                    bytes.extend(block.iter().cycle().take(1_040_000));
                    self.plant(EncryptedFragment::from_bytes(bytes).unwrap());
                }
            }
            Trick::RefuseAgainAndAgain => self.instead(|_, request| {
                let refused = matches!(request, Request::Follow { .. } | Request::CtlRead { .. });
                let denied = Answer::Error(satchel_protocol::frame::ErrorAnswer {
                    code: satchel_protocol::frame::ErrorCode::Denied,
                    limit: 0,
                    retry_after_ms: 0,
                });
                refused.then(|| (vec![denied], true))
            }),
            Trick::EndlessControl => {
                let (record, _) = self.world.mailbox(self.edge).control[0].clone();
                self.twist(move |_, answer| match answer {
                    Answer::Opened {
                        access,
                        next,
                        chain,
                        ctl_next,
                        used_bytes,
                        quota_bytes,
                    } => {
                        vec![Answer::Opened {
                            access,
                            next,
                            chain,
                            ctl_next: ctl_next + 1,
                            used_bytes,
                            quota_bytes,
                        }]
                    }
                    Answer::CtlEnd { .. } => (0..500)
                        .map(|index| Answer::CtlEntry {
                            index,
                            record: record.clone(),
                            previous_epoch: None,
                        })
                        .collect(),
                    answer => vec![answer],
                });
                self.world.break_lines(self.edge);
            }
        }
        self.write_everywhere("trick");
        self.world.run(6);
        self.world.break_lines(self.edge);
        self.write_everywhere("trick again");
        self.world.run(45);
    }

    fn flip(&mut self, bytes: std::ops::Range<usize>, seed: u64) {
        let mut random = Random(seed);
        self.alter(move |fragment| {
            let mut altered = fragment.into_bytes();
            let at = bytes.start + random.below(bytes.len());
            altered[at] ^= 1 << random.below(8);
            EncryptedFragment::from_bytes(altered).ok()
        });
    }

    /// The edge serves everybody as it should, from whatever its store has become.
    fn become_honest(&mut self, trick: Trick) {
        self.world.tricks = crate::world::Tricks::default();
        self.world.break_lines(self.edge);
        self.world.settle();
        self.look();
        let when = if trick.is_noticed() {
            "noticed"
        } else {
            "not noticed"
        };
        self.write_everywhere(&format!("honest, {when}"));
        self.world.settle();
        self.look();
    }

    fn check(&self, trick: Trick) {
        let members = self.world.devices.iter().filter(|device| {
            let status = device.engine.as_ref().unwrap().status();
            status.role.is_some()
        });
        let first = self.world.devices[0].documents.heads();
        for device in members {
            let status = device.engine.as_ref().unwrap().status();
            for (which, word) in &self.written {
                let late = trick == Trick::InventAsRemoved && word.ends_with('1');
                assert!(
                    late || device.documents.words(doc(*which)).contains(word),
                    "“{word}” of document {which} is lost: {status:#?}"
                );
            }
            assert_eq!(device.documents.heads(), first, "{status:#?}");
        }
        if trick.is_noticed() {
            assert!(
                self.noticed,
                "nobody noticed: {:#?}",
                self.world.engine(2).status()
            );
        }
    }
}

#[test]
fn no_trick_of_an_edge_loses_or_forges_a_word() {
    let only = std::env::var("SATCHEL_TRICK").ok();
    let mut failed = Vec::new();
    for trick in Trick::ALL {
        if only
            .as_ref()
            .is_some_and(|only| *only != format!("{trick:?}"))
        {
            continue;
        }
        for seed in crate::seeds(forge::SEEDS) {
            if std::panic::catch_unwind(|| play(trick, seed)).is_err() {
                eprintln!("SATCHEL_TRICK={trick:?} SATCHEL_SEED={seed}");
                failed.push((trick, seed));
                break;
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
