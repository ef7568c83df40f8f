//! A device and a real edge node over real QUIC on 127.0.0.1, both in this process.
//!
//! Start at [`Node`], the rig.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use satchel_edge_node::config::{Config, Limits};
use satchel_edge_node::metrics::Counters;
use satchel_edge_node::{ServeError, Server};
use satchel_protocol::capability;
use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::{Aead, EncryptedFragment, FragmentHeader, FragmentKind};
use satchel_protocol::frame::{Answer, Capabilities, Request, Role};
use satchel_protocol::id::{MailboxId, NodeFingerprint, Offset};
use satchel_sync::net::{ConnectError, EdgeClient, RequestError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The keys of one mailbox.
#[derive(Clone, Copy)]
struct Keys(u8);

const KEYS: Keys = Keys(1);

impl Keys {
    fn pair(self, role: Role) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[self.0 * 4 + role as u8; 32]).unwrap()
    }

    fn public(self, role: Role) -> [u8; 32] {
        self.pair(role).public_key().as_ref().try_into().unwrap()
    }

    fn sign(self, role: Role, message: &[u8]) -> [u8; 64] {
        self.pair(role).sign(message).as_ref().try_into().unwrap()
    }

    fn mailbox(self) -> MailboxId {
        MailboxId::of_policy_key(&self.public(Role::Policy))
    }

    /// Makes the mailbox where it is not, and opens it as a writer.
    async fn enter(self, client: &EdgeClient) {
        let binding = client.binding(self.mailbox());
        let capabilities = Capabilities {
            cap_epoch: 1,
            reader_key: self.public(Role::Reader),
            writer_key: self.public(Role::Writer),
        };
        let message = capability::create_message(&binding, self.mailbox(), &capabilities, b"");
        let create = Request::Create {
            policy_key: self.public(Role::Policy),
            capabilities,
            token: Vec::new(),
            signature: self.sign(Role::Policy, &message),
        };
        assert_eq!(one(client, &create).await.unwrap(), Answer::Ok);
        let message = capability::open_message(&binding, self.mailbox(), Role::Writer, 1);
        let open = Request::Open {
            mailbox: self.mailbox(),
            role: Role::Writer,
            cap_epoch: 1,
            signature: self.sign(Role::Writer, &message),
        };
        let answer = one(client, &open).await.unwrap();
        assert!(matches!(answer, Answer::Opened { .. }), "{answer:?}");
    }
}

/// The one answer to a request; a refusal in words.
async fn one(client: &EdgeClient, request: &Request) -> Result<Answer, RequestError> {
    let mut answers = client.ask(request).await?;
    match answers.next().await?.unwrap() {
        Answer::Error(error) => Err(RequestError::from_answer(error, 0)),
        answer => Ok(answer),
    }
}

async fn append(client: &EdgeClient, fragment: &EncryptedFragment) -> Result<Offset, RequestError> {
    append_to(client, KEYS, fragment).await
}

async fn append_to(
    client: &EdgeClient,
    keys: Keys,
    fragment: &EncryptedFragment,
) -> Result<Offset, RequestError> {
    let request = Request::Append {
        mailbox: keys.mailbox(),
        fragment: fragment.clone(),
    };
    match one(client, &request).await? {
        Answer::Ack { offset, .. } => Ok(offset),
        other => panic!("{other:?}"),
    }
}

/// Limits that do not hinder a test.
fn generous() -> Limits {
    Limits {
        request_burst: 10_000,
        disk_reserve_bytes: 0,
        disk_reserve_percent: 0,
        ..Limits::default()
    }
}

/// A running edge node.
struct Node {
    address: SocketAddr,
    fingerprint: NodeFingerprint,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Counters, ServeError>>,
}

impl Node {
    fn start(dir: &Path, limits: Limits) -> Self {
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: Some(dir.to_owned()),
            limits,
            ..Config::default()
        };
        let server = Server::bind(&config).unwrap();
        let (address, fingerprint) = (server.local_addr(), server.fingerprint());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.serve(async {
            stopped.await.ok();
        }));
        Self {
            address,
            fingerprint,
            stop,
            task,
        }
    }

    /// A device which has the mailbox open as a writer.
    async fn client(&self) -> EdgeClient {
        let client = EdgeClient::connect(self.address, self.fingerprint)
            .await
            .unwrap();
        KEYS.enter(&client).await;
        client
    }

    async fn stop(self) -> Counters {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap()
    }
}

fn fragment(number: u16, segment_bytes: usize) -> EncryptedFragment {
    let mut salt = [0; 24];
    salt[..2].copy_from_slice(&number.to_be_bytes());
    let header = FragmentHeader {
        aead: Aead::Aes256GcmSiv,
        kind: FragmentKind::Entry,
        epoch_id: [1; 12],
        salt,
        commit: [2; 32],
    };
    let segments: Vec<u8> = (0..segment_bytes)
        .map(|index| (index * 31 + usize::from(number)) as u8)
        .collect();
    EncryptedFragment::new(header, &segments).unwrap()
}

/// Everything in a mailbox, its chain checked.
async fn read_all(client: &EdgeClient, keys: Keys) -> Vec<EncryptedFragment> {
    let (mut fragments, mut place, mut before) = (Vec::new(), Offset(0), Chain::START);
    loop {
        let request = Request::Read {
            mailbox: keys.mailbox(),
            from: place,
            max_entries: 1000,
            compact: false,
        };
        let mut answers = client.ask(&request).await.unwrap();
        loop {
            match answers.next().await.unwrap().unwrap() {
                Answer::Entry {
                    offset, fragment, ..
                } => {
                    before = before.after(offset, fragment.len_bytes(), fragment.id());
                    fragments.push(fragment);
                }
                Answer::End {
                    next,
                    log_end,
                    chain,
                    ..
                } => {
                    assert_eq!(before, chain, "the chain breaks before {next}");
                    assert_eq!(answers.next().await.unwrap(), None);
                    if next == log_end {
                        return fragments;
                    }
                    place = next;
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_was_appended_reads_back_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let client = node.client().await;
    let sent: Vec<_> = [16, 17, 5_000, 300_000]
        .iter()
        .zip(0..)
        .map(|(len, number)| fragment(number, *len))
        .collect();
    for (fragment, expected) in sent.iter().zip(0..) {
        assert_eq!(append(&client, fragment).await.unwrap(), Offset(expected));
    }
    assert_eq!(read_all(&client, KEYS).await, sent);
    Keys(2).enter(&client).await;
    assert_eq!(
        read_all(&client, Keys(2)).await,
        [],
        "another mailbox is empty"
    );
    client.close().await;
    let counters = node.stop().await;
    assert_eq!(
        (
            counters.fragments_stored,
            counters.fragments_sent,
            counters.requests_refused
        ),
        (4, 4, 0)
    );
}

#[tokio::test]
async fn a_long_log_comes_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(
        dir.path(),
        Limits {
            bytes_per_s: 1 << 30,
            ..generous()
        },
    );
    let client = node.client().await;
    let longest =
        satchel_protocol::limits::MAX_FRAGMENT_BYTES - satchel_protocol::fragment::HEADER_BYTES;
    let sent = [
        fragment(0, 600_000),
        fragment(1, longest),
        fragment(2, 600_000),
        fragment(3, 100),
    ];
    for fragment in &sent {
        append(&client, fragment).await.unwrap();
    }
    assert_eq!(read_all(&client, KEYS).await, sent);
}

/// One device writes, the other has a stream open on which it comes; at the end it lets go, and the
/// first one sees that it is alone.
#[tokio::test]
async fn a_follower_gets_what_another_device_appends() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let (writer, reader) = (node.client().await, node.client().await);
    let follow = Request::Follow {
        mailbox: KEYS.mailbox(),
        from: Offset(0),
        compact: true,
    };
    let mut entries = reader.ask(&follow).await.unwrap();
    let end = entries.next().await.unwrap().unwrap();
    assert!(
        matches!(end, Answer::End { sessions: 2, .. }),
        "caught up with nothing: {end:?}"
    );
    for number in 0..3 {
        let sent = fragment(number, 100_000);
        append(&writer, &sent).await.unwrap();
        let entry = entries.next().await.unwrap().unwrap();
        assert!(
            matches!(&entry, Answer::Entry { fragment, superseded: false, .. } if *fragment == sent),
            "{entry:?}"
        );
        let end = entries.next().await.unwrap().unwrap();
        assert!(matches!(end, Answer::End { .. }), "{end:?}");
    }
    drop(entries);
    let mut alone = writer.ask(&follow).await.unwrap();
    reader.close().await;
    loop {
        if let Answer::End { sessions: 1, .. } = alone.next().await.unwrap().unwrap() {
            break;
        }
    }
    node.stop().await;
    let lost = writer.closed().await;
    assert!(lost.to_string().contains("stopping"), "{lost}");
}

#[tokio::test]
async fn two_devices_that_share_nothing_meet_at_a_nameplate() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let (a, b) = (node.client().await, node.client().await);
    let Answer::RvPlace { nameplate, token } = one(&a, &Request::RvAllocate).await.unwrap() else {
        panic!("no place")
    };
    // Asked before there is a message: the node waits for it.
    let next = Request::RvNext {
        nameplate,
        token,
        index: 0,
    };
    let mut waiting = a.ask(&next).await.unwrap();
    let claim = Request::RvClaim { nameplate };
    let Answer::RvPlace { token: other, .. } = one(&b, &claim).await.unwrap() else {
        panic!("not joined")
    };
    let post = Request::RvPost {
        nameplate,
        token: other,
        body: b"hello".to_vec(),
    };
    assert_eq!(one(&b, &post).await.unwrap(), Answer::Ok);
    assert_eq!(
        waiting.next().await.unwrap(),
        Some(Answer::RvMessage {
            body: b"hello".to_vec()
        })
    );
    let error = one(&b, &claim).await.unwrap_err();
    assert!(matches!(error, RequestError::NoNameplate), "{error:?}");
    assert!(error.to_string().contains("new code"));
}

#[tokio::test]
async fn a_restarted_node_has_everything_and_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let client = node.client().await;
    let sent = [fragment(0, 1000), fragment(1, 2000)];
    append(&client, &sent[0]).await.unwrap();
    append(&client, &sent[1]).await.unwrap();
    let fingerprint = node.fingerprint;
    node.stop().await;
    let error = append(&client, &fragment(2, 20)).await.unwrap_err();
    assert!(
        matches!(error, RequestError::ConnectionLost(_)) && error.is_retryable(),
        "{error:?}"
    );

    let node = Node::start(dir.path(), generous());
    assert_eq!(node.fingerprint, fingerprint);
    let client = node.client().await;
    assert_eq!(read_all(&client, KEYS).await, sent);
    let again = append(&client, &sent[1]).await.unwrap();
    assert_eq!(
        again,
        Offset(1),
        "an append without an answer may be repeated"
    );
    assert_eq!(append(&client, &fragment(2, 20)).await.unwrap(), Offset(2));
}

#[tokio::test]
async fn a_node_with_another_key_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let expected = NodeFingerprint([7; 32]);
    let error = EdgeClient::connect(node.address, expected)
        .await
        .unwrap_err();
    match error {
        ConnectError::WrongFingerprint {
            expected: wanted,
            found,
        } => {
            assert_eq!((wanted, found), (expected, node.fingerprint));
        }
        other => panic!("{other:?}"),
    }
    append(&node.client().await, &fragment(0, 10 + 16))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_fragment_too_long_for_the_node_is_refused_and_the_next_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(
        dir.path(),
        Limits {
            max_fragment_bytes: 1000,
            ..generous()
        },
    );
    let client = node.client().await;
    assert_eq!(client.limits().max_fragment_bytes, 1000);
    let error = append(&client, &fragment(0, 1000)).await.unwrap_err();
    assert!(
        matches!(
            error,
            RequestError::TooBig {
                fragment_bytes: 1071,
                max_bytes: 1000
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("split it"));
    assert_eq!(append(&client, &fragment(1, 900)).await.unwrap(), Offset(0));
}

#[tokio::test]
async fn a_full_mailbox_says_so_and_stays_readable() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        max_fragment_bytes: 2000,
        mailbox_quota_bytes: 4000,
        ..generous()
    };
    let node = Node::start(dir.path(), limits);
    let client = node.client().await;
    let sent = [fragment(0, 1500), fragment(1, 1500)];
    for fragment in &sent {
        append(&client, fragment).await.unwrap();
    }
    let error = append(&client, &fragment(2, 1500)).await.unwrap_err();
    assert!(
        matches!(error, RequestError::QuotaExceeded { quota_bytes: 4000 }),
        "{error:?}"
    );
    assert!(!error.is_retryable());
    assert_eq!(read_all(&client, KEYS).await, sent);
    Keys(2).enter(&client).await;
    append_to(&client, Keys(2), &fragment(3, 1500))
        .await
        .unwrap();
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(
        dir.path(),
        Limits {
            requests_per_s: 5,
            request_burst: 4,
            ..generous()
        },
    );
    let client = node.client().await;
    let mut refused = None;
    for number in 0..10 {
        if let Err(error) = append(&client, &fragment(number, 100)).await {
            refused = Some(error);
            break;
        }
    }
    let Some(RequestError::RateLimited { retry_after }) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        retry_after > Duration::ZERO && retry_after <= Duration::from_millis(200),
        "{retry_after:?}"
    );
    tokio::time::sleep(retry_after).await;
    append(&client, &fragment(99, 100)).await.unwrap();
}

#[tokio::test]
async fn a_device_that_remembers_more_than_the_node_has_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let client = node.client().await;
    append(&client, &fragment(0, 100)).await.unwrap();
    let read = Request::Read {
        mailbox: KEYS.mailbox(),
        from: Offset(7),
        max_entries: 10,
        compact: false,
    };
    let error = one(&client, &read).await.unwrap_err();
    assert!(
        matches!(error, RequestError::BehindEnd { log_end: Offset(1) }),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_that_append_at_once_share_commits_and_lose_nothing() {
    const DEVICES: u16 = 8;
    const EACH: u16 = 25;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let mut devices = tokio::task::JoinSet::new();
    for device in 0..DEVICES {
        let client = node.client().await;
        devices.spawn(async move {
            for number in 0..EACH {
                append(&client, &fragment(device * EACH + number, 500))
                    .await
                    .unwrap();
            }
            client.close().await;
        });
    }
    devices.join_all().await;
    let client = node.client().await;
    let mut numbers: Vec<_> = read_all(&client, KEYS)
        .await
        .iter()
        .map(|f| f.header().salt)
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), usize::from(DEVICES * EACH));
    client.close().await;
    let counters = node.stop().await;
    assert!(counters.commits < counters.fragments_stored, "{counters:?}");
}

#[tokio::test]
async fn an_address_where_nobody_answers_says_what_to_check() {
    // Bound, so that nobody else answers there; never read.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = EdgeClient::connect(silent.local_addr().unwrap(), NodeFingerprint([0; 32]))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::NoAnswer { .. }), "{error:?}");
    assert!(error.to_string().contains("check that it runs"));
}
