//! Makes a device of two that share a short code: the new one shows it, an old one types it and approves.
//!
//! Pure: no network, no clock, no disk; the driver carries the bytes, burns the nameplate and keeps the ten minutes.
//! Never decides who may join: that is the person who compares the pictures, and `member`, which reads the payloads.
//! The edge node never links this module. Start at [`PairingCode`], [`Joiner`] and [`Approver`].
//!
//! ```
//! use satchel_protocol::id::NodeFingerprint;
//! use satchel_sync::pairing::{Approver, Joiner, PairingCode};
//!
//! let edge = NodeFingerprint([1; 32]);
//! let shown = PairingCode::random(7);
//! let typed: PairingCode = shown.to_string().parse()?;
//!
//! let (joiner, m0) = Joiner::start(shown, edge);
//! let (approver, m1) = Approver::start(typed, edge, &m0)?;
//! let (joiner, m2) = joiner.confirm(&m1, b"who I am")?;
//! let approver = approver.receive(&m2)?;
//! assert_eq!(approver.check(), joiner.check());
//! assert_eq!(approver.device_info(), b"who I am");
//! let (expected, m4) = (approver.expects(), joiner.joined());
//! let m3 = approver.welcome(b"what you need")?;
//! assert_eq!(*joiner.finish(&m3)?, b"what you need");
//! assert_eq!(m4, expected);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | idea |
//! |---|---|
//! | `code`, `words` | what people read and type |
//! | `handshake` | the five messages, each step a type |
//! | `message` | their bytes |
//! | `schedule` | the keys |
//! | `emoji` | the pictures that people compare |
//! | `error` | why it failed |
//!
//! # Format `wsync-pair-1`
//!
//! Numbers are little-endian, ‖ joins bytes. Each message begins with its version (1) and its number, and has exactly
//! one length. A higher version is [`PairingError::NewerVersion`], another message's number
//! [`PairingError::OutOfOrder`], anything else [`PairingError::Malformed`].
//!
//! | message | way | bytes |
//! |---|---|---|
//! | m0 | joiner → approver | `01 00` ‖ pake_a 33 ‖ commitment 32 = 67 |
//! | m1 | approver → joiner | `01 01` ‖ pake_b 33 ‖ confirmation of the approver 32 = 67 |
//! | m2 | joiner → approver | `01 02` ‖ confirmation of the joiner 32 ‖ seal(reveal 32 ‖ padded device information) = 1,620 |
//! | m3 | approver → joiner | `01 03` ‖ seal(verdict 1 ‖ padded welcome) = 1,557 |
//! | m4 | joiner → approver | `01 04` ‖ end 32 = 34; only after a welcome, once the joiner has it on its disk |
//!
//! - *padded* = length u16 ‖ payload ‖ zeros, 1,538 bytes together. Verdict 1 is a welcome, 0 a refusal with an empty
//!   payload: both look the same from outside.
//! - *pake_a*, *pake_b*: SPAKE2 of the crate `spake2` 0.4 on Ed25519, sides A (joiner) and B (approver), each one byte
//!   of side and 32 of point. Password: the code in its one spelling, `7-anchor-river-stone`, ASCII.
//! - *identity* of a side = `wsync-pair-1` ‖ role u8 (0 joiner, 1 approver) ‖ fingerprint of the edge 32 ‖ nameplate u32.
//! - *reveal*: 32 random bytes of the joiner. *commitment* = BLAKE3 `derive_key("wsync-pair-1 commitment", reveal)`.
//! - *transcript* = BLAKE3(`wsync-pair-1` ‖ identity of the joiner ‖ identity of the approver ‖ m0 ‖ pake_b).
//! - Keys = HKDF-SHA256(salt = transcript, secret = SPAKE2's key, info = `wsync-pair-1` ‖ one of ` seal joiner`,
//!   ` seal approver`, ` confirm joiner`, ` confirm approver`, ` check`), 32 bytes each.
//! - *confirmation* of a side = BLAKE3 keyed with its confirm key over the transcript, compared in constant time.
//! - *end* = BLAKE3 keyed with the joiner's confirm key over transcript ‖ ` joined`. Without it the approver takes the
//!   membership back: a device that never came would stay a member for ever.
//! - *seal* = ChaCha20-Poly1305 with the sender's seal key; nonce = number of the message u8 ‖ 11 zeros; additional data =
//!   number of the message u8 ‖ transcript. A key seals one message in its life.
//! - Pictures = the first 8 bytes of BLAKE3 keyed with the check key over reveal: four u16, each modulo 64 an index into
//!   the table in `emoji`.
//!
//! # Who learns what
//!
//! | party | learns |
//! |---|---|
//! | edge, network | that two devices pair, when, from where, the nameplate; not names, not whether the answer was yes |
//! | somebody with a wrong code | that this one code is wrong |
//! | joiner, after m1 | that the approver knows the code |
//! | approver, after m2 | that the joiner knows the code, and what the joiner says about itself |
//! | somebody who guessed the code | as joiner: nothing until the person approves. In the middle: the device information; the pictures differ |
//!
//! The joiner notices a wrong code at m1, before it has said anything about itself; the approver at m2, before it has said
//! anything but m1. Each side's types allow one attempt, so a guesser has one try in 2³³ for each code that a person makes.
//!
//! # Why the pictures need a commitment
//!
//! Four pictures are 24 bits. Without the commitment somebody in the middle who has guessed the code could wait for the
//! approver's m1, and then try 2²⁴ values of pake_b towards the joiner until both show the same pictures: minutes of work.
//! The pictures therefore depend on a value that the joiner fixes in m0 and shows in m2. Towards the joiner, the one in
//! the middle chooses pake_b before it sees the value; towards the approver, it fixes its own before it sees pake_b.
//! It is left with one chance in 2²⁴.
//!
//! # Why `spake2` 0.4 is acceptable
//!
//! It says of itself that nobody has audited it, and that it may not run in constant time. It guards 33 bits that are good
//! for one attempt and ten minutes, and nothing else: the secrets of the workspace come later, to keys in the device
//! information. A flaw that lets somebody in without the code still has to pass the pictures and the person's approval.
//! What we checked in its source: sides and lengths are refused when wrong, the key covers password, identities and both
//! messages, and a point is decompressed but not tested for the prime-order subgroup. A point of small order tells an
//! attacker who has the right code three bits of a one-time scalar, and others nothing: the transcript binds its bytes.
//! It does not wipe its copies of code and scalar from memory; the code is worthless by then.
//! The crate `magic-wormhole` (EUPL-1.2) and `eff-wordlist` (AGPL-3.0) are out because of their licences.

mod code;
mod words;

mod handshake;
mod message;
mod schedule;

mod emoji;
mod error;

#[cfg(test)]
mod tests;

pub use code::{PairingCode, ParseCodeError, TypedWord};
pub use emoji::Emoji;
pub use error::PairingError;
pub use handshake::{Approver, ApproverWaiting, Joiner, JoinerWaiting};
pub use message::{MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES};
