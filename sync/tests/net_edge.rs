//! A device and a real edge node over real QUIC on 127.0.0.1, both in this process.
//!
//! Start at [`Node`], the rig.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use satchel_edge_node::config::{Config, Limits};
use satchel_edge_node::metrics::Counters;
use satchel_edge_node::{ServeError, Server};
use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::{Aead, EncryptedFragment, FragmentHeader, FragmentKind};
use satchel_protocol::id::{MailboxId, NodeFingerprint, Offset};
use satchel_sync::net::{ConnectError, EdgeClient, RequestError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const MAILBOX: MailboxId = MailboxId([0x5a; 16]);

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

    async fn client(&self) -> EdgeClient {
        EdgeClient::connect(self.address, self.fingerprint)
            .await
            .unwrap()
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

async fn read_all(client: &EdgeClient, mailbox: MailboxId) -> Vec<EncryptedFragment> {
    let (mut fragments, mut next, mut chain) = (Vec::new(), Offset(0), Chain::START);
    loop {
        let page = client.read(mailbox, next, 1000).await.unwrap();
        assert!(page.continues(chain), "the chain breaks at {next}");
        fragments.extend(page.entries.into_iter().map(|entry| entry.fragment));
        (next, chain) = (page.next, page.chain);
        if page.next == page.log_end {
            return fragments;
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
        assert_eq!(
            client.append(MAILBOX, fragment).await.unwrap().offset,
            Offset(expected)
        );
    }
    assert_eq!(read_all(&client, MAILBOX).await, sent);
    assert_eq!(
        read_all(&client, MailboxId([1; 16])).await,
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
        client.append(MAILBOX, fragment).await.unwrap();
    }
    let first = client.read(MAILBOX, Offset(0), 1000).await.unwrap();
    assert_eq!(
        (first.entries.len(), first.next, first.log_end),
        (1, Offset(1), Offset(4))
    );
    assert_eq!(read_all(&client, MAILBOX).await, sent);
    let two = client.read(MAILBOX, Offset(2), 1).await.unwrap();
    assert_eq!(
        (two.entries.len(), two.next),
        (1, Offset(3)),
        "the limit of entries holds"
    );
}

#[tokio::test]
async fn a_restarted_node_has_everything_and_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let client = node.client().await;
    let sent = [fragment(0, 1000), fragment(1, 2000)];
    client.append(MAILBOX, &sent[0]).await.unwrap();
    client.append(MAILBOX, &sent[1]).await.unwrap();
    let fingerprint = node.fingerprint;
    node.stop().await;
    let error = client.append(MAILBOX, &fragment(2, 20)).await.unwrap_err();
    assert!(
        matches!(error, RequestError::ConnectionLost(_)) && error.is_retryable(),
        "{error:?}"
    );

    let node = Node::start(dir.path(), generous());
    assert_eq!(node.fingerprint, fingerprint);
    let client = node.client().await;
    assert_eq!(read_all(&client, MAILBOX).await, sent);
    let again = client.append(MAILBOX, &sent[1]).await.unwrap();
    assert_eq!(
        again.offset,
        Offset(1),
        "an append without an answer may be repeated"
    );
    assert_eq!(
        client
            .append(MAILBOX, &fragment(2, 20))
            .await
            .unwrap()
            .offset,
        Offset(2)
    );
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
    node.client()
        .await
        .append(MAILBOX, &fragment(0, 10 + 16))
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
    let error = client
        .append(MAILBOX, &fragment(0, 1000))
        .await
        .unwrap_err();
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
    assert_eq!(
        client
            .append(MAILBOX, &fragment(1, 900))
            .await
            .unwrap()
            .offset,
        Offset(0)
    );
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
        client.append(MAILBOX, fragment).await.unwrap();
    }
    let error = client
        .append(MAILBOX, &fragment(2, 1500))
        .await
        .unwrap_err();
    assert!(
        matches!(error, RequestError::QuotaExceeded { quota_bytes: 4000 }),
        "{error:?}"
    );
    assert!(!error.is_retryable());
    assert_eq!(read_all(&client, MAILBOX).await, sent);
    client
        .append(MailboxId([9; 16]), &fragment(3, 1500))
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
            request_burst: 2,
            ..generous()
        },
    );
    let client = node.client().await;
    let mut refused = None;
    for number in 0..10 {
        if let Err(error) = client.append(MAILBOX, &fragment(number, 100)).await {
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
    client.append(MAILBOX, &fragment(99, 100)).await.unwrap();
}

#[tokio::test]
async fn a_device_that_remembers_more_than_the_node_has_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let client = node.client().await;
    client.append(MAILBOX, &fragment(0, 100)).await.unwrap();
    let error = client.read(MAILBOX, Offset(7), 10).await.unwrap_err();
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
                client
                    .append(MAILBOX, &fragment(device * EACH + number, 500))
                    .await
                    .unwrap();
            }
            client.close().await;
        });
    }
    devices.join_all().await;
    let client = node.client().await;
    let mut numbers: Vec<_> = read_all(&client, MAILBOX)
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
