//! The exact bytes that are signed for access to a mailbox, and the check of a signature.
//!
//! Pure, and never signs: secret keys live in `satchel-sync`. Signatures are Ed25519 (RFC 8032).
//! Start at [`open_message`]. Format: `PROTOCOL.md` § 6.
//!
//! Create, Open and Drop cover `binding`, 32 bytes that both ends of one TLS connection export with
//! [`EXPORTER_LABEL`](crate::limits::EXPORTER_LABEL) and the mailbox id as context: a signature that
//! somebody copies is worthless on another connection, without clocks and without a list of used ones.
//! Rotations change what a node stores and must count for several nodes; they cover a number that only
//! rises instead.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use crate::frame::{Capabilities, Role};
use crate::id::MailboxId;

const CREATE: &[u8] = b"wsync/1 create\n";
const OPEN: &[u8] = b"wsync/1 open\n";
const DROP: &[u8] = b"wsync/1 drop\n";
const CAPABILITIES: &[u8] = b"wsync/1 capabilities\n";
const POLICY: &[u8] = b"wsync/1 policy\n";

/// What the policy key signs to make its mailbox.
///
/// Domain ‖ binding 32 ‖ mailbox 16 ‖ cap_epoch 4 ‖ reader key 32 ‖ writer key 32 ‖ token length 1 ‖
/// token. Of a token longer than 255 bytes only the length byte would lie; frames allow 64.
pub fn create_message(
    binding: &[u8; 32],
    mailbox: MailboxId,
    capabilities: &Capabilities,
    token: &[u8],
) -> Vec<u8> {
    let token_len = u8::try_from(token.len()).unwrap_or(u8::MAX);
    [
        CREATE,
        binding,
        &mailbox.0,
        &capability_bytes(capabilities),
        &[token_len],
        token,
    ]
    .concat()
}

/// What the key of `role` signs to open a mailbox.
///
/// Domain ‖ binding 32 ‖ mailbox 16 ‖ role 1 ‖ cap_epoch 4.
pub fn open_message(binding: &[u8; 32], mailbox: MailboxId, role: Role, cap_epoch: u32) -> Vec<u8> {
    [
        OPEN,
        binding,
        &mailbox.0,
        &[role as u8],
        &cap_epoch.to_be_bytes(),
    ]
    .concat()
}

/// What the policy key signs to delete its mailbox.
///
/// Domain ‖ binding 32 ‖ mailbox 16.
pub fn drop_message(binding: &[u8; 32], mailbox: MailboxId) -> Vec<u8> {
    [DROP, binding, &mailbox.0].concat()
}

/// What the policy key signs to put new capabilities into force. Bound to the mailbox, not to a
/// connection; a node takes it only where `cap_epoch` rises.
///
/// Domain ‖ mailbox 16 ‖ cap_epoch 4 ‖ reader key 32 ‖ writer key 32.
pub fn capabilities_message(mailbox: MailboxId, capabilities: &Capabilities) -> Vec<u8> {
    [CAPABILITIES, &mailbox.0, &capability_bytes(capabilities)].concat()
}

/// What the old policy key signs to name the new one. Bound to the mailbox, not to a connection; a node
/// takes it only where `counter` is one more than what it has (0 after Create).
///
/// Domain ‖ mailbox 16 ‖ counter 4 ‖ new key 32.
pub fn policy_message(mailbox: MailboxId, counter: u32, new_key: &[u8; 32]) -> Vec<u8> {
    [POLICY, &mailbox.0, &counter.to_be_bytes(), new_key].concat()
}

/// Whether this is the Ed25519 signature of `message` by `public_key`. False also for bytes that are no
/// public key. About 60 µs; not constant-time, since everything in it is public.
pub fn verify(public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(message, signature)
        .is_ok()
}

fn capability_bytes(capabilities: &Capabilities) -> [u8; 68] {
    let mut bytes = [0; 68];
    bytes[..4].copy_from_slice(&capabilities.cap_epoch.to_be_bytes());
    bytes[4..36].copy_from_slice(&capabilities.reader_key);
    bytes[36..].copy_from_slice(&capabilities.writer_key);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    const MAILBOX: MailboxId = MailboxId([7; 16]);

    #[test]
    fn a_signature_counts_for_its_own_connection_role_and_purpose_alone() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let public = <[u8; 32]>::try_from(pair.public_key().as_ref()).unwrap();
        let message = open_message(&[2; 32], MAILBOX, Role::Reader, 5);
        let signature = <[u8; 64]>::try_from(pair.sign(&message).as_ref()).unwrap();
        assert!(verify(&public, &message, &signature));
        let others = [
            open_message(&[3; 32], MAILBOX, Role::Reader, 5),
            open_message(&[2; 32], MailboxId([8; 16]), Role::Reader, 5),
            open_message(&[2; 32], MAILBOX, Role::Writer, 5),
            open_message(&[2; 32], MAILBOX, Role::Reader, 6),
            drop_message(&[2; 32], MAILBOX),
        ];
        for other in others {
            assert!(!verify(&public, &other, &signature));
        }
        assert!(!verify(&[0xff; 32], &message, &signature), "no key at all");
        assert!(!verify(&public, &message, &[0; 64]));
    }

    #[test]
    fn no_purpose_is_the_beginning_of_another() {
        let all = [CREATE, OPEN, DROP, CAPABILITIES, POLICY];
        for a in all {
            assert_eq!(all.iter().filter(|b| b.starts_with(a)).count(), 1);
        }
    }
}
