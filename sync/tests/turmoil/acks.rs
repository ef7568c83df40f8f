//! Devices that append without rest to a node that is killed again and again: what was acknowledged is there.
//!
//! Below the engine: `EdgeClient` alone, whose caller must repeat what was not answered. Start at
//! [`what_was_acknowledged_is_there_after_every_crash`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use satchel_protocol::capability;
use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::{Aead, EncryptedFragment, FragmentHeader, FragmentKind};
use satchel_protocol::frame::{Answer, Capabilities, Request, Role};
use satchel_protocol::id::{FragmentId, MailboxId, NodeFingerprint, Offset};
use satchel_sync::net::EdgeClient;

use crate::line::Line;
use crate::world::{EDGE, World};
use crate::{each_seed, seconds};

const EACH: u16 = 40;

/// Offsets that the node told, by fragment.
type Acks = Arc<Mutex<BTreeMap<FragmentId, Offset>>>;
type Wrong = Box<dyn std::error::Error>;

#[test]
fn what_was_acknowledged_is_there_after_every_crash() {
    each_seed(12, |seed| {
        let mut world = World::new(seed);
        let acks: Acks = Arc::default();
        let names = ["ada", "bob", "cyd"];
        for (device, name) in (0..).zip(names) {
            let place = Place::of(&world);
            let acks = Arc::clone(&acks);
            world.sim.client(name, async move {
                let mut client = None;
                for number in device * EACH..(device + 1) * EACH {
                    let (fragment, offset) =
                        place.append_until_acknowledged(&mut client, number).await;
                    acks.lock().unwrap().insert(fragment, offset);
                }
                Ok(())
            });
        }
        let all = names.len() * usize::from(EACH);
        let (mut crashes, mut told) = (0, 0);
        while acks.lock().unwrap().len() < all {
            misfortune(&mut world, &names);
            // While they append: some of it was acknowledged since the last crash, and more is under way.
            let now = acks.lock().unwrap().len();
            if world.edge_runs && now >= told + 8 {
                (told, crashes) = (now, crashes + 1);
                world.crash_edge();
            }
            let pause = 50 + world.random.number(1500);
            world.run(Duration::from_millis(pause));
            assert!(world.sim.elapsed() < seconds(3600), "{}", world.describe());
        }
        assert!(crashes >= 4, "{crashes} crashes only");
        world.start_edge();
        let (place, acks) = (Place::of(&world), Arc::clone(&acks));
        world.sim.client("reader", async move {
            let log = place.read_all().await.unwrap();
            // Every fragment once, where its device was told.
            let found: BTreeMap<FragmentId, Offset> = log.iter().copied().collect();
            assert_eq!(found, *acks.lock().unwrap());
            assert_eq!(found.len(), log.len(), "a fragment is there twice");
            Ok(())
        });
        let end = world.sim.elapsed() + seconds(300);
        while !world.sim.step().unwrap() {
            assert!(world.sim.elapsed() < end, "{}", world.describe());
        }
    });
}

fn misfortune(world: &mut World, names: &[&str]) {
    let name = names[world.random.below(names.len())];
    match world.random.number(6) {
        0 => world.sim.partition(name, EDGE),
        1 => names.iter().for_each(|name| world.sim.repair(*name, EDGE)),
        2 | 3 => world.start_edge(),
        4 => {
            let loss = world.random.number(15);
            world.line.faults().loss_percent = loss;
        }
        _ => world.line.faults().duplicates_percent = 10,
    }
}

/// How a device reaches the node.
#[derive(Clone)]
struct Place {
    line: Arc<Line>,
    address: std::net::SocketAddr,
    fingerprint: NodeFingerprint,
}

impl Place {
    fn of(world: &World) -> Self {
        Self {
            line: Arc::clone(&world.line),
            address: world.link.address.parse().unwrap(),
            fingerprint: world.link.fingerprint,
        }
    }

    /// A connection on which the mailbox is open; made where it was not.
    async fn connect(&self) -> Result<EdgeClient, Wrong> {
        let endpoint = self
            .line
            .endpoint(0, quinn::EndpointConfig::default(), None)?;
        let client = EdgeClient::connect_with(endpoint, self.address, self.fingerprint).await?;
        let binding = client.binding(mailbox());
        let capabilities = Capabilities {
            cap_epoch: 1,
            reader_key: public(Role::Reader),
            writer_key: public(Role::Writer),
        };
        let message = capability::create_message(&binding, mailbox(), &capabilities, b"");
        let create = Request::Create {
            policy_key: public(Role::Policy),
            capabilities,
            token: Vec::new(),
            signature: sign(Role::Policy, &message),
        };
        let message = capability::open_message(&binding, mailbox(), Role::Writer, 1);
        let open = Request::Open {
            mailbox: mailbox(),
            role: Role::Writer,
            cap_epoch: 1,
            signature: sign(Role::Writer, &message),
        };
        for request in [create, open] {
            match client.ask(&request).await?.next().await? {
                Some(Answer::Ok | Answer::Opened { .. }) => {}
                other => return Err(format!("{other:?}").into()),
            }
        }
        Ok(client)
    }

    /// Appends, on a new connection whenever the last one broke.
    async fn append_until_acknowledged(
        &self,
        client: &mut Option<EdgeClient>,
        number: u16,
    ) -> (FragmentId, Offset) {
        let fragment = fragment(number);
        let request = Request::Append {
            mailbox: mailbox(),
            fragment: fragment.clone(),
        };
        loop {
            if client.is_none() {
                *client = self.connect().await.ok();
            }
            if let Some(open) = client {
                let answer = async { open.ask(&request).await?.next().await };
                match answer.await {
                    Ok(Some(Answer::Ack { offset, .. })) => return (fragment.id(), offset),
                    _ => *client = None,
                }
            }
            tokio::time::sleep(seconds(1)).await;
        }
    }

    async fn read_all(&self) -> Result<Vec<(FragmentId, Offset)>, Wrong> {
        let client = self.connect().await?;
        let (mut log, mut place, mut computed) = (Vec::new(), Offset(0), Chain::START);
        loop {
            let request = Request::Read {
                mailbox: mailbox(),
                from: place,
                max_entries: 1000,
                compact: false,
            };
            let mut answers = client.ask(&request).await?;
            while let Some(answer) = answers.next().await? {
                match answer {
                    Answer::Entry {
                        offset, fragment, ..
                    } => {
                        computed = computed.after(offset, fragment.len_bytes(), fragment.id());
                        log.push((fragment.id(), offset));
                    }
                    Answer::End {
                        next,
                        log_end,
                        chain,
                        ..
                    } => {
                        assert_eq!(computed, chain, "the chain breaks before {next}");
                        if next == log_end {
                            return Ok(log);
                        }
                        place = next;
                    }
                    other => return Err(format!("{other:?}").into()),
                }
            }
        }
    }
}

fn pair(role: Role) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[role as u8 + 1; 32]).unwrap()
}

fn public(role: Role) -> [u8; 32] {
    pair(role).public_key().as_ref().try_into().unwrap()
}

fn sign(role: Role, message: &[u8]) -> [u8; 64] {
    pair(role).sign(message).as_ref().try_into().unwrap()
}

fn mailbox() -> MailboxId {
    MailboxId::of_policy_key(&public(Role::Policy))
}

/// 200 bytes to 5 KB: some fit into one packet, most do not.
fn fragment(number: u16) -> EncryptedFragment {
    let mut salt = [0; 24];
    salt[..2].copy_from_slice(&number.to_be_bytes());
    let header = FragmentHeader {
        aead: Aead::Aes256GcmSiv,
        kind: FragmentKind::Entry,
        epoch_id: [1; 12],
        salt,
        commit: [2; 32],
    };
    let segments = vec![number as u8; 200 + usize::from(number) * 64];
    EncryptedFragment::new(header, &segments).unwrap()
}
