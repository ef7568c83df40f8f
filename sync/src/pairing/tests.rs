//! Two devices pair, and everything that must not make them a pair.
//!
//! Plays both devices and whoever sits between them; no network.

use proptest::prelude::*;
use satchel_protocol::id::NodeFingerprint;

use super::*;

const EDGE: NodeFingerprint = NodeFingerprint([1; 32]);
const CODE: &str = "7-anchor-river-stone";
const INFO: &[u8] = b"the laptop in the kitchen";
const WELCOME: &[u8] = b"the keys of the workspace";

fn code(text: &str) -> PairingCode {
    text.parse().unwrap()
}

/// The handshake up to the moment when people compare pictures.
fn until_check() -> (JoinerWaiting, ApproverWaiting) {
    let (joiner, m0) = Joiner::start(code(CODE), EDGE);
    let (approver, m1) = Approver::start(code(CODE), EDGE, &m0).unwrap();
    let (joiner, m2) = joiner.confirm(&m1, INFO).unwrap();
    (joiner, approver.receive(&m2).unwrap())
}

/// Each message with each of its bits flipped.
fn with_one_bit_flipped(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..message.len() * 8).map(|bit| {
        let mut changed = message.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    })
}

#[test]
fn two_devices_with_the_same_code_pair() {
    let (joiner, approver) = until_check();
    assert_eq!(joiner.check(), approver.check());
    assert_eq!(approver.device_info(), INFO);
    let m3 = approver.welcome(WELCOME).unwrap();
    assert_eq!(*joiner.finish(&m3).unwrap(), WELCOME);
}

#[test]
fn a_refusal_arrives_and_looks_like_a_welcome() {
    let (joiner, approver) = until_check();
    let refusal = approver.refuse();
    assert_eq!(joiner.finish(&refusal), Err(PairingError::Refused));
    let welcome = until_check().1.welcome(WELCOME).unwrap();
    assert_eq!(refusal.len(), welcome.len());
}

#[test]
fn the_longest_payloads_fit_and_longer_ones_are_refused() {
    let longest = [7; MAX_PAYLOAD_BYTES];
    let (joiner, m0) = Joiner::start(code(CODE), EDGE);
    let (approver, m1) = Approver::start(code(CODE), EDGE, &m0).unwrap();
    let (joiner, m2) = joiner.confirm(&m1, &longest).unwrap();
    let approver = approver.receive(&m2).unwrap();
    assert_eq!(approver.device_info(), longest);
    let m3 = approver.welcome(&longest).unwrap();
    for (message, bytes) in [(&m0, 67), (&m1, 67), (&m2, 1620), (&m3, 1557)] {
        assert_eq!(message.len(), bytes);
        assert!(bytes <= MAX_MESSAGE_BYTES);
    }
    assert_eq!(*joiner.finish(&m3).unwrap(), longest);

    let too_long = PairingError::TooLong {
        found_bytes: MAX_PAYLOAD_BYTES + 1,
        max_bytes: MAX_PAYLOAD_BYTES,
    };
    let longer = [7; MAX_PAYLOAD_BYTES + 1];
    assert_eq!(until_check().1.welcome(&longer), Err(too_long));
    let (joiner, m0) = Joiner::start(code(CODE), EDGE);
    let (_, m1) = Approver::start(code(CODE), EDGE, &m0).unwrap();
    assert_eq!(joiner.confirm(&m1, &longer).unwrap_err(), too_long);
}

/// The pair fails at m1, before the joiner has said anything about itself.
fn the_joiner_notices(shown: &str, joiner_edge: NodeFingerprint, typed: &str) {
    let (joiner, m0) = Joiner::start(code(shown), joiner_edge);
    let (_, m1) = Approver::start(code(typed), EDGE, &m0).unwrap();
    let error = joiner.confirm(&m1, INFO).unwrap_err();
    assert_eq!(error, PairingError::WrongCode, "{shown} and {typed}");
}

#[test]
fn a_wrong_word_nameplate_or_edge_is_noticed_by_the_joiner() {
    the_joiner_notices(CODE, EDGE, "7-anchor-river-stomach");
    the_joiner_notices("7-anchor-rival-stone", EDGE, CODE);
    the_joiner_notices("7-river-anchor-stone", EDGE, CODE);
    the_joiner_notices(CODE, EDGE, "8-anchor-river-stone");
    the_joiner_notices(CODE, NodeFingerprint([2; 32]), CODE);
}

/// A guesser who plays the joiner goes on although m1 has told it that the guess was wrong.
#[test]
fn a_guesser_in_place_of_the_joiner_is_noticed_by_the_approver() {
    let (_, m0) = Joiner::start(code("7-anchor-river-stomach"), EDGE);
    let (approver, _) = Approver::start(code(CODE), EDGE, &m0).unwrap();
    // The best it can send: a message that is right for the code it guessed.
    let (guesser, other_m0) = Joiner::start(code("7-anchor-river-stomach"), EDGE);
    let (_, m1) = Approver::start(code("7-anchor-river-stomach"), EDGE, &other_m0).unwrap();
    let (_, m2) = guesser.confirm(&m1, INFO).unwrap();
    assert_eq!(approver.receive(&m2).unwrap_err(), PairingError::WrongCode);
}

#[test]
fn a_man_in_the_middle_without_the_code_gets_nowhere() {
    let guess = "7-anchor-river-stomach";
    let (joiner, m0) = Joiner::start(code(CODE), EDGE);
    let (middle_joiner, middle_m0) = Joiner::start(code(guess), EDGE);
    let (_, middle_m1) = Approver::start(code(guess), EDGE, &m0).unwrap();
    let (approver, m1) = Approver::start(code(CODE), EDGE, &middle_m0).unwrap();
    let refused = PairingError::WrongCode;
    assert_eq!(joiner.confirm(&middle_m1, INFO).unwrap_err(), refused);
    assert_eq!(middle_joiner.confirm(&m1, INFO).unwrap_err(), refused);
    drop(approver);
}

#[test]
fn a_man_in_the_middle_who_knows_the_code_is_seen_in_the_pictures() {
    let (joiner, m0) = Joiner::start(code(CODE), EDGE);
    let (middle_joiner, middle_m0) = Joiner::start(code(CODE), EDGE);
    let (middle_approver, middle_m1) = Approver::start(code(CODE), EDGE, &m0).unwrap();
    let (approver, m1) = Approver::start(code(CODE), EDGE, &middle_m0).unwrap();
    let (joiner, m2) = joiner.confirm(&middle_m1, INFO).unwrap();
    let (_, middle_m2) = middle_joiner.confirm(&m1, INFO).unwrap();
    middle_approver.receive(&m2).unwrap();
    let approver = approver.receive(&middle_m2).unwrap();
    // Equal once in 2²⁴ runs of this test.
    assert_ne!(joiner.check(), approver.check());
}

/// Without this, whoever knows the code could choose the pictures after seeing both halves.
#[test]
fn a_joiner_that_reveals_another_value_than_it_committed_to_is_refused() {
    let (mut joiner, m0) = Joiner::start(code(CODE), EDGE);
    let (approver, m1) = Approver::start(code(CODE), EDGE, &m0).unwrap();
    joiner.replace_reveal([9; 32]);
    let (_, m2) = joiner.confirm(&m1, INFO).unwrap();
    assert_eq!(approver.receive(&m2).unwrap_err(), PairingError::WrongCode);
}

#[test]
fn every_flipped_bit_of_the_first_message_is_refused() {
    let (_, m0) = Joiner::start(code(CODE), EDGE);
    for changed in with_one_bit_flipped(&m0) {
        // The approver may not notice; then the joiner does, for it knows what it sent.
        let (joiner, real) = Joiner::start(code(CODE), EDGE);
        let mask: Vec<u8> = m0.iter().zip(&changed).map(|(a, b)| a ^ b).collect();
        let changed: Vec<u8> = real.iter().zip(&mask).map(|(a, b)| a ^ b).collect();
        if let Ok((_, m1)) = Approver::start(code(CODE), EDGE, &changed) {
            let error = joiner.confirm(&m1, INFO).unwrap_err();
            assert_eq!(error, PairingError::WrongCode);
        }
    }
}

#[test]
fn every_flipped_bit_of_the_second_message_is_refused() {
    let bits = 67 * 8;
    for bit in 0..bits {
        let (joiner, m0) = Joiner::start(code(CODE), EDGE);
        let (_, mut m1) = Approver::start(code(CODE), EDGE, &m0).unwrap();
        m1[bit / 8] ^= 1 << (bit % 8);
        assert!(joiner.confirm(&m1, INFO).is_err(), "bit {bit}");
    }
}

#[test]
fn every_flipped_bit_of_the_third_message_is_refused() {
    let (joiner, m0) = Joiner::start(code(CODE), EDGE);
    let (approver, m1) = Approver::start(code(CODE), EDGE, &m0).unwrap();
    let (_, m2) = joiner.confirm(&m1, INFO).unwrap();
    for changed in with_one_bit_flipped(&m2) {
        assert!(approver.twin().receive(&changed).is_err());
    }
    assert!(approver.receive(&m2).is_ok());
}

#[test]
fn every_flipped_bit_of_the_fourth_message_is_refused() {
    let (joiner, approver) = until_check();
    let m3 = approver.welcome(WELCOME).unwrap();
    for changed in with_one_bit_flipped(&m3) {
        assert!(joiner.twin().finish(&changed).is_err());
    }
    assert!(joiner.finish(&m3).is_ok());
}

#[test]
fn every_cut_message_is_refused() {
    let (joiner, approver) = until_check();
    let m3 = approver.welcome(WELCOME).unwrap();
    for end in 0..m3.len() {
        let error = joiner.twin().finish(&m3[..end]).unwrap_err();
        assert_eq!(error, PairingError::Malformed);
    }
    let longer = [m3.as_slice(), &[0]].concat();
    assert_eq!(joiner.finish(&longer), Err(PairingError::Malformed));
}

#[test]
fn messages_in_the_wrong_order_are_refused() {
    let (joiner, m0) = Joiner::start(code(CODE), EDGE);
    let (approver, m1) = Approver::start(code(CODE), EDGE, &m0).unwrap();
    let (waiting, m2) = joiner.confirm(&m1, INFO).unwrap();
    let m3 = approver.twin().receive(&m2).unwrap().refuse();
    for wrong in [&m1, &m2, &m3] {
        let error = Approver::start(code(CODE), EDGE, wrong).unwrap_err();
        assert_eq!(error, PairingError::OutOfOrder);
    }
    for wrong in [&m0, &m2, &m3] {
        let (joiner, _) = Joiner::start(code(CODE), EDGE);
        let error = joiner.confirm(wrong, INFO).unwrap_err();
        assert_eq!(error, PairingError::OutOfOrder);
    }
    for wrong in [&m0, &m1, &m3] {
        let error = approver.twin().receive(wrong).unwrap_err();
        assert_eq!(error, PairingError::OutOfOrder);
    }
    for wrong in [&m0, &m1, &m2] {
        let error = waiting.twin().finish(wrong).unwrap_err();
        assert_eq!(error, PairingError::OutOfOrder);
    }
}

#[test]
fn messages_of_an_earlier_attempt_are_refused() {
    let (old_joiner, old_m0) = Joiner::start(code(CODE), EDGE);
    let (old_approver, old_m1) = Approver::start(code(CODE), EDGE, &old_m0).unwrap();
    let (_, old_m2) = old_joiner.confirm(&old_m1, INFO).unwrap();
    let old_m3 = old_approver
        .receive(&old_m2)
        .unwrap()
        .welcome(WELCOME)
        .unwrap();

    let refused = PairingError::WrongCode;
    let (joiner, m0) = Joiner::start(code(CODE), EDGE);
    assert_eq!(joiner.confirm(&old_m1, INFO).unwrap_err(), refused);
    let (approver, _) = Approver::start(code(CODE), EDGE, &m0).unwrap();
    assert_eq!(approver.receive(&old_m2).unwrap_err(), refused);
    // With the old first message too: the approver's half is new.
    let (approver, _) = Approver::start(code(CODE), EDGE, &old_m0).unwrap();
    assert_eq!(approver.receive(&old_m2).unwrap_err(), refused);
    let (waiting, _) = until_check();
    assert_eq!(waiting.finish(&old_m3), Err(refused));
}

#[test]
fn a_message_sent_back_to_its_sender_is_refused() {
    let (joiner, m0) = Joiner::start(code(CODE), EDGE);
    let mut echo = m0.clone();
    echo[1] = 1;
    assert!(joiner.confirm(&echo, INFO).is_err());
    let (joiner, _) = Joiner::start(code(CODE), EDGE);
    echo[2] = b'B';
    assert!(joiner.confirm(&echo, INFO).is_err());
}

#[test]
fn a_later_version_is_named() {
    let (_, mut m0) = Joiner::start(code(CODE), EDGE);
    m0[0] = 2;
    let error = Approver::start(code(CODE), EDGE, &m0).unwrap_err();
    assert_eq!(error, PairingError::NewerVersion);
}

#[test]
fn debug_shows_no_secret() {
    let (joiner, m0) = Joiner::start(code(CODE), EDGE);
    let (approver, m1) = Approver::start(code(CODE), EDGE, &m0).unwrap();
    assert_eq!(format!("{joiner:?} {approver:?}"), "Joiner(…) Approver(…)");
    let (joiner, m2) = joiner.confirm(&m1, INFO).unwrap();
    let approver = approver.receive(&m2).unwrap();
    let shown = format!("{joiner:?} {approver:?}");
    assert_eq!(shown, "JoinerWaiting(…) ApproverWaiting(…)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_are_refused_without_a_panic(
        header in any::<[u8; 2]>(),
        right_version in any::<bool>(),
        right_length in any::<bool>(),
        body in proptest::collection::vec(any::<u8>(), 0..2100),
    ) {
        let message = |number: u8, bytes: usize| {
            let mut message = if right_version { vec![1, number] } else { header.to_vec() };
            message.extend(&body);
            if right_length {
                message.resize(bytes, 0);
            }
            message
        };
        // A random first message may be a valid point: the answer then fails to convince anybody.
        drop(Approver::start(code(CODE), EDGE, &message(0, 67)));
        let (joiner, m0) = Joiner::start(code(CODE), EDGE);
        prop_assert!(joiner.confirm(&message(1, 67), INFO).is_err());
        let (approver, _) = Approver::start(code(CODE), EDGE, &m0).unwrap();
        prop_assert!(approver.receive(&message(2, 1620)).is_err());
        let (waiting, _) = until_check();
        prop_assert!(waiting.finish(&message(3, 1557)).is_err());
    }
}
