//! Devices that send garbage, too much, too little or nothing: the node answers or drops that one
//! request, stores nothing of it, and serves the next device.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Node, RawClient, fragment, generous, mailbox, read_answer, rotate};
use satchel_edge_node::config::Limits;
use satchel_protocol::frame::{Answer, ErrorAnswer, ErrorCode, Request, Role};
use satchel_protocol::id::Offset;

fn refused_with(answer: Option<Answer>, expected: ErrorCode) -> ErrorAnswer {
    match answer {
        Some(Answer::Error(error)) if error.code == expected => error,
        other => panic!("expected {expected:?}, got {other:?}"),
    }
}

fn append_bytes(number: u32, segment_bytes: usize) -> Vec<u8> {
    Request::Append {
        mailbox: mailbox(),
        fragment: fragment(number, segment_bytes),
    }
    .encode()
}

/// Random bytes from a printed seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

#[tokio::test]
async fn garbage_harms_neither_the_next_request_nor_the_next_device() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    println!("SEED={seed}");
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(
        dir.path(),
        Limits {
            handshakes_per_ip_per_s: 1000,
            ..generous()
        },
    );
    let honest = RawClient::welcome(node.address).await;
    let mut stored = Vec::new();
    for round in 0..30 {
        let rude = RawClient::welcome(node.address).await;
        for _ in 0..8 {
            let len = random.next() as usize % 300;
            let mut bytes = if random.next().is_multiple_of(2) {
                random.bytes(len)
            } else {
                append_bytes(round, 200)
            };
            // A valid frame with one byte of its header or envelope wrong, or pure noise.
            let at = random.next() as usize % 6;
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 | random.next() as u8;
            }
            match rude.ask(&bytes).await {
                None => {}
                Some(Answer::Error(error)) => {
                    assert!(
                        matches!(
                            error.code,
                            ErrorCode::Malformed | ErrorCode::TooBig | ErrorCode::Denied
                        ),
                        "{error:?}"
                    );
                }
                Some(other) => panic!("{other:?}"),
            }
        }
        let fragment = fragment(1000 + round, 100);
        honest.append(&fragment).await.unwrap();
        stored.push(fragment);
    }
    assert_eq!(honest.read_all().await, stored);
    assert!(node.stop().await.malformed > 0);
}

#[tokio::test]
async fn a_fragment_too_long_is_refused_before_it_is_sent_and_the_connection_lives() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(
        dir.path(),
        Limits {
            max_fragment_bytes: 1000,
            ..generous()
        },
    );
    let client = RawClient::welcome(node.address).await;
    let error = refused_with(client.ask(&append_bytes(1, 1000)).await, ErrorCode::TooBig);
    assert_eq!(error.limit, 1000);
    // Only the header of a frame longer than the protocol allows: the answer comes without a body.
    let (_send, mut recv) = client.open(&[0x7f, 0xff, 0xff, 0xff, 0x03]).await;
    refused_with(read_answer(&mut recv).await, ErrorCode::TooBig);
    assert_eq!(client.append(&fragment(2, 900)).await.unwrap().0, 0);
    assert_eq!(node.stop().await.fragments_stored, 1);
}

#[tokio::test]
async fn a_device_that_leaves_in_the_middle_of_a_frame_stores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let whole = append_bytes(1, 50_000);
    // Cut in the header, in the body, one byte before the end, and whole but without the stream's end.
    for cut in [3, 20, 30_000, whole.len() - 1, whole.len()] {
        let client = RawClient::welcome(node.address).await;
        let (send, _recv) = client.open(&whole[..cut]).await;
        client.connection.close(0u32.into(), b"gone");
        drop(send);
    }
    // Cut by a reset of the stream alone, and by an early end of it.
    let client = RawClient::welcome(node.address).await;
    let (mut send, _recv) = client.open(&whole[..30_000]).await;
    send.reset(1u32.into()).unwrap();
    refused_with(
        client.ask(&whole[..whole.len() - 1]).await,
        ErrorCode::Malformed,
    );
    let mut longer = whole.clone();
    longer.push(0);
    refused_with(client.ask(&longer).await, ErrorCode::Malformed);

    assert_eq!(client.read_all().await, []);
    assert_eq!(client.append(&fragment(2, 100)).await.unwrap().0, 0);
    client.close().await;
    let counters = node.stop().await;
    assert_eq!(counters.fragments_stored, 1, "{counters:?}");
}

#[tokio::test]
async fn nothing_is_served_before_a_hello_of_a_known_version() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());

    let hasty = RawClient::connect(node.address).await;
    refused_with(
        hasty.ask(&append_bytes(1, 100)).await,
        ErrorCode::HelloFirst,
    );
    assert!(
        hasty.ask(&append_bytes(1, 100)).await.is_none(),
        "the connection is closed"
    );

    let future = RawClient::connect(node.address).await;
    let hello = Request::Hello {
        min_version: 7,
        max_version: 9,
    };
    assert_eq!(
        refused_with(future.ask(&hello.encode()).await, ErrorCode::Version).limit,
        1
    );

    let able = RawClient::connect(node.address).await;
    let hello = Request::Hello {
        min_version: 0,
        max_version: 9,
    };
    assert!(matches!(
        able.ask(&hello.encode()).await,
        Some(Answer::HelloAck { version: 1, .. })
    ));
    refused_with(able.ask(&hello.encode()).await, ErrorCode::HelloFirst);
    able.enter(Role::Reader).await;
    assert_eq!(able.read_all().await, []);
}

#[tokio::test]
async fn a_device_that_only_sends_garbage_loses_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let rude = RawClient::welcome(node.address).await;
    let mut refused = 0;
    while rude.ask(b"GET / HTTP/1.1\r\n\r\n").await.is_some() {
        refused += 1;
        assert!(refused < 100, "the node never had enough");
    }
    assert!(
        rude.connection
            .closed()
            .await
            .to_string()
            .contains("malformed")
    );
    assert_eq!(
        RawClient::welcome(node.address)
            .await
            .append(&fragment(1, 100))
            .await
            .unwrap()
            .0,
        0
    );
}

#[tokio::test]
async fn a_silent_device_is_dropped_and_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let start = Instant::now();
    let mute = RawClient::connect(node.address).await;
    let slow = RawClient::welcome(node.address).await;
    let (_send, mut recv) = slow.open(&[0]).await;
    assert_eq!(
        slow.append(&fragment(1, 100)).await.unwrap().0,
        0,
        "other requests of the same device go on"
    );

    assert!(mute.connection.closed().await.to_string().contains("hello"));
    assert!(
        read_answer(&mut recv).await.is_none(),
        "the request that never came is given up"
    );
    let waited = start.elapsed();
    assert!(
        (Duration::from_secs(4)..Duration::from_secs(20)).contains(&waited),
        "{waited:?}"
    );
    assert_eq!(slow.read_all().await.len(), 1);
}

#[tokio::test]
async fn connections_above_the_limit_are_refused_and_come_in_when_one_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(
        dir.path(),
        Limits {
            max_connections_per_ip: 2,
            ..generous()
        },
    );
    let first = RawClient::welcome(node.address).await;
    let _second = RawClient::welcome(node.address).await;
    let third = tokio::time::timeout(
        Duration::from_secs(20),
        RawClient::try_connect(node.address),
    )
    .await
    .unwrap();
    assert!(third.is_err(), "a third connection came in");
    first.close().await;
    while RawClient::try_connect(node.address).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(node.stop().await.connections_refused > 0);
}

/// A signature is bound to its connection, a role to its bounds, and a stranger learns nothing.
#[tokio::test]
async fn a_stranger_and_a_reader_are_denied() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let stranger = RawClient::greet(node.address).await;
    refused_with(stranger.ask(&append_bytes(1, 100)).await, ErrorCode::Denied);
    let open = Request::Open {
        mailbox: mailbox(),
        role: Role::Reader,
        cap_epoch: 1,
        signature: [7; 64],
    };
    refused_with(stranger.ask(&open.encode()).await, ErrorCode::Denied);
    stranger.enter(Role::Reader).await;
    refused_with(stranger.ask(&append_bytes(1, 100)).await, ErrorCode::Denied);
    assert_eq!(stranger.read_all().await, []);
}

/// Thirty streams of one device that follow, and one that never reads, hold up nobody; all end when the
/// device stops them.
#[tokio::test]
async fn followers_are_woken_and_hold_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let client = RawClient::welcome(node.address).await;
    let follow = Request::Follow {
        mailbox: mailbox(),
        from: Offset(0),
        compact: false,
    };
    let mut streams = Vec::new();
    for _ in 0..30 {
        let (mut send, mut recv) = client.open(&follow.encode()).await;
        send.finish().unwrap();
        assert!(matches!(
            read_answer(&mut recv).await,
            Some(Answer::End { .. })
        ));
        streams.push(recv);
    }
    let (mut send, deaf) = client.open(&follow.encode()).await;
    send.finish().unwrap();
    assert_eq!(client.append(&fragment(1, 100)).await.unwrap().0, 0);
    for recv in &mut streams {
        let entry = read_answer(recv).await;
        assert!(matches!(entry, Some(Answer::Entry { .. })), "{entry:?}");
        let end = read_answer(recv).await;
        assert!(matches!(end, Some(Answer::End { .. })), "{end:?}");
        recv.stop(0u32.into()).unwrap();
    }
    drop((streams, deaf));
    // More requests than streams are allowed at a time: stopped ones were given back.
    for number in 2..80 {
        client.append(&fragment(number, 100)).await.unwrap();
    }
    node.stop().await;
}

/// A removed device has a stream open on which everything comes: the rotation ends it at once.
#[tokio::test]
async fn a_rotation_ends_the_stream_of_who_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), generous());
    let removed = RawClient::welcome(node.address).await;
    let owner = RawClient::greet(node.address).await;
    owner.enter(Role::Policy).await;
    let follow = Request::Follow {
        mailbox: mailbox(),
        from: Offset(0),
        compact: true,
    };
    let (mut send, mut recv) = removed.open(&follow.encode()).await;
    send.finish().unwrap();
    let end = read_answer(&mut recv).await;
    assert!(matches!(end, Some(Answer::End { .. })), "{end:?}");

    let answer = owner.ask(&rotate(2).encode()).await;
    assert_eq!(answer, Some(Answer::CtlAck { index: 0 }));
    refused_with(read_answer(&mut recv).await, ErrorCode::Denied);
    assert!(read_answer(&mut recv).await.is_none(), "the stream is over");
    refused_with(removed.ask(&append_bytes(1, 100)).await, ErrorCode::Denied);
    node.stop().await;
}
