//! Derives everything that the two devices use from the one key that SPAKE2 gives them.
//!
//! Pure: the same key and transcript always give the same bytes. Start at [`Schedule`].

use std::fmt;

use aws_lc_rs::aead;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use satchel_protocol::id::NodeFingerprint;
use zeroize::Zeroizing;

use super::emoji::{Emoji, pictures};
use super::error::PairingError;
use super::message::{HASH_BYTES, HELLO_BYTES, Message, PAKE_BYTES};
use crate::member::hkdf;

/// Which of the two devices. The number is part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Role {
    /// The new device: shows the code.
    Joiner = 0,
    /// A device that is a member: types the code and approves.
    Approver = 1,
}

/// Where the two devices meet. Do not change: versions of Satchel depend on every byte.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) edge: NodeFingerprint,
    pub(super) nameplate: u32,
}

impl Place {
    /// What SPAKE2 calls the identity of a side.
    pub(super) fn identity(self, role: Role) -> [u8; IDENTITY_BYTES] {
        let mut bytes = [0; IDENTITY_BYTES];
        bytes[..12].copy_from_slice(CONTEXT);
        bytes[12] = role as u8;
        bytes[13..45].copy_from_slice(&self.edge.0);
        bytes[45..].copy_from_slice(&self.nameplate.to_le_bytes());
        bytes
    }

    /// Hash of what both sides saw until they have a key. Every part has a fixed length.
    pub(super) fn transcript(
        self,
        hello: &[u8; HELLO_BYTES],
        pake_reply: &[u8; PAKE_BYTES],
    ) -> [u8; HASH_BYTES] {
        let mut hash = blake3::Hasher::new();
        hash.update(CONTEXT)
            .update(&self.identity(Role::Joiner))
            .update(&self.identity(Role::Approver))
            .update(hello)
            .update(pake_reply);
        *hash.finalize().as_bytes()
    }
}

/// What m0 says about a value that m2 reveals.
pub(super) fn commitment(reveal: &[u8; HASH_BYTES]) -> [u8; HASH_BYTES] {
    blake3::derive_key("wsync-pair-1 commitment", reveal)
}

/// The keys of one attempt.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Schedule {
    transcript: [u8; HASH_BYTES],
    seal: [Zeroizing<[u8; 32]>; 2],
    confirm: [Zeroizing<[u8; 32]>; 2],
    check: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schedule(…)")
    }
}

impl Schedule {
    pub(super) fn new(shared_key: &[u8], transcript: [u8; HASH_BYTES]) -> Self {
        let derive = |purpose: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            hkdf(&transcript, shared_key, &[CONTEXT, purpose], &mut *key);
            key
        };
        Self {
            transcript,
            seal: [derive(b" seal joiner"), derive(b" seal approver")],
            confirm: [derive(b" confirm joiner"), derive(b" confirm approver")],
            check: derive(b" check"),
        }
    }

    /// What `sender` shows to prove that it knows the code.
    pub(super) fn confirmation(&self, sender: Role) -> [u8; HASH_BYTES] {
        *blake3::keyed_hash(&self.confirm[sender as usize], &self.transcript).as_bytes()
    }

    /// What the joiner shows when it is a member with everything that it needs on its disk.
    pub(super) fn joined(&self) -> [u8; HASH_BYTES] {
        let mut hash = blake3::Hasher::new_keyed(&self.confirm[Role::Joiner as usize]);
        hash.update(&self.transcript).update(b" joined");
        *hash.finalize().as_bytes()
    }

    /// Compares in constant time.
    pub(super) fn verify(&self, sender: Role, confirmation: &[u8]) -> Result<(), PairingError> {
        verify_slices_are_equal(&self.confirmation(sender), confirmation)
            .map_err(|_| PairingError::WrongCode)
    }

    /// Ciphertext and tag. Each message is sealed once with a key of its sender, so no nonce repeats.
    pub(super) fn seal(
        &self,
        sender: Role,
        message: Message,
        mut bytes: Zeroizing<Vec<u8>>,
    ) -> Vec<u8> {
        let tag = self
            .key(sender)
            .seal_in_place_separate_tag(nonce(message), self.aad(message), &mut bytes)
            .expect("2 KiB are far below the algorithm's limit");
        bytes.extend_from_slice(tag.as_ref());
        std::mem::take(&mut *bytes)
    }

    pub(super) fn open(
        &self,
        sender: Role,
        message: Message,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, PairingError> {
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let plaintext_bytes = self
            .key(sender)
            .open_in_place(nonce(message), self.aad(message), &mut bytes)
            .map_err(|_| PairingError::WrongCode)?
            .len();
        bytes.truncate(plaintext_bytes);
        Ok(bytes)
    }

    /// The pictures. They need the revealed value, which no one in the middle knew when it was time to choose.
    pub(super) fn check(&self, reveal: &[u8; HASH_BYTES]) -> [Emoji; 4] {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&blake3::keyed_hash(&self.check, reveal).as_bytes()[..8]);
        pictures(bytes)
    }

    fn key(&self, sender: Role) -> aead::LessSafeKey {
        let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &self.seal[sender as usize][..]);
        aead::LessSafeKey::new(key.expect("the algorithm takes 32 bytes of key"))
    }

    fn aad(&self, message: Message) -> aead::Aad<[u8; 1 + HASH_BYTES]> {
        let mut bytes = [message as u8; 1 + HASH_BYTES];
        bytes[1..].copy_from_slice(&self.transcript);
        aead::Aad::from(bytes)
    }
}

fn nonce(message: Message) -> aead::Nonce {
    let mut bytes = [0; aead::NONCE_LEN];
    bytes[0] = message as u8;
    aead::Nonce::assume_unique_for_key(bytes)
}

const CONTEXT: &[u8; 12] = b"wsync-pair-1";
const IDENTITY_BYTES: usize = 12 + 1 + 32 + 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::to_hex;
    use expect_test::{Expect, expect};

    const PLACE: Place = Place {
        edge: NodeFingerprint([1; 32]),
        nameplate: 7,
    };

    /// Two versions of Satchel meet with these bytes. If this test fails, they can no longer pair.
    #[test]
    fn the_frozen_vector_still_holds() {
        let frozen = |bytes: &[u8], expected: Expect| expected.assert_eq(&to_hex(bytes));
        frozen(
            &PLACE.identity(Role::Joiner),
            expect![
                "7773796e632d706169722d3100010101010101010101010101010101010101010101010101010101010101010107000000"
            ],
        );
        frozen(
            &PLACE.identity(Role::Approver),
            expect![
                "7773796e632d706169722d3101010101010101010101010101010101010101010101010101010101010101010107000000"
            ],
        );
        frozen(
            &commitment(&[5; 32]),
            expect!["03323c116cf5b828a713d83e4add6fea619914c753fe8a616876caaf79079b54"],
        );
        let transcript = PLACE.transcript(&[2; HELLO_BYTES], &[3; PAKE_BYTES]);
        frozen(
            &transcript,
            expect!["eb8195126f81528bd5dbe757bdd3b4fac5b2113371d535247efc7f16fa1d3378"],
        );

        let schedule = Schedule::new(&[4; 32], transcript);
        frozen(
            &schedule.seal[0][..],
            expect!["a47b32c6ac765f4c8236c2f4e9b58299122ffc3cb87a99e9274401ecaccf2235"],
        );
        frozen(
            &schedule.seal[1][..],
            expect!["91dfa15c2cf8841968b8ee7c619b31b61d08a320ad295a0d2e66bfdb8c3c5c19"],
        );
        frozen(
            &schedule.confirm[0][..],
            expect!["4ed0b981aa5e84943c16196bebc05ca5805a5d739935d9fd8d15d34d6959ecab"],
        );
        frozen(
            &schedule.confirm[1][..],
            expect!["8835b46333245328c7c7a9258bb845cefcf688494a0beb5b88c5b1d84438fdb8"],
        );
        frozen(
            &schedule.check[..],
            expect!["9971563c790bec7126257b01a291b5c0b07c74ab619a4e0a68861853a8565387"],
        );
        frozen(
            &schedule.confirmation(Role::Joiner),
            expect!["597d2b23874100c738123185f91106fe81d4e3b906c1a1a1b21c30c0308a55ce"],
        );
        frozen(
            &schedule.confirmation(Role::Approver),
            expect!["cb1968c4e14982bf0166f0ea481955a84e70c8b1352dc80584420267e1054dbb"],
        );
        let text = || Zeroizing::new(b"satchel".to_vec());
        frozen(
            &schedule.seal(Role::Joiner, Message::Accept, text()),
            expect!["3eb191d8920f76d3c30e7fc123c1536c920dc3ee373f23"],
        );
        frozen(
            &schedule.seal(Role::Approver, Message::Answer, text()),
            expect!["f8d1ded70e78d4d65a863bb81ddc31850c861fbae68ea6"],
        );
        let names = schedule.check(&[5; 32]).map(|emoji| emoji.name).join(", ");
        expect!["key, anchor, turtle, camel"].assert_eq(&names);
    }

    #[test]
    fn a_sealed_text_opens_only_as_what_it_was_sealed_for() {
        let schedule = Schedule::new(&[4; 32], [9; 32]);
        let sealed = schedule.seal(
            Role::Joiner,
            Message::Accept,
            Zeroizing::new(b"hello".to_vec()),
        );
        let open =
            |schedule: &Schedule, role, message| schedule.open(role, message, &sealed).is_ok();
        assert!(open(&schedule, Role::Joiner, Message::Accept));
        assert!(!open(&schedule, Role::Approver, Message::Accept));
        assert!(!open(&schedule, Role::Joiner, Message::Answer));
        assert!(!open(
            &Schedule::new(&[4; 32], [8; 32]),
            Role::Joiner,
            Message::Accept
        ));
        assert!(!open(
            &Schedule::new(&[5; 32], [9; 32]),
            Role::Joiner,
            Message::Accept
        ));
    }
}
