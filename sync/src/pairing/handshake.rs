//! The five messages between two devices, each step a type of its own.
//!
//! Pure: gives and takes bytes, and knows neither network nor time. Every step takes `self`: what fails can never be
//! tried again with the same code. Start at [`Joiner::start`] and [`Approver::start`].

use std::fmt;

use satchel_protocol::id::NodeFingerprint;
use spake2::{Ed25519Group, Identity, Password, Spake2};
use zeroize::Zeroizing;

use super::code::PairingCode;
use super::emoji::Emoji;
use super::error::PairingError;
use super::message::{
    HASH_BYTES, HELLO_BYTES, Message, PAKE_BYTES, Verdict, check_payload, pad, unpad,
};
use super::schedule::{Place, Role, Schedule, commitment};
use crate::id::random;

/// The new device, which shows the code and has sent its first message.
pub struct Joiner {
    place: Place,
    pake: Spake2<Ed25519Group>,
    hello: [u8; HELLO_BYTES],
    reveal: Zeroizing<[u8; HASH_BYTES]>,
}

impl Joiner {
    /// Begins: the bytes are the first message to the device that types the code.
    ///
    /// `edge` is the node where both meet.
    #[must_use]
    pub fn start(code: PairingCode, edge: NodeFingerprint) -> (Self, Vec<u8>) {
        let place = place(&code, edge);
        let (a, b) = identities(place);
        let (pake, pake_hello) = Spake2::start_a(&password(&code), &a, &b);
        let reveal = Zeroizing::new(random());
        let mut bytes = Message::Hello.header();
        bytes.extend(pake_hello);
        bytes.extend(commitment(&reveal));
        let hello = *bytes.first_chunk().expect("the parts have fixed lengths");
        let joiner = Self {
            place,
            pake,
            hello,
            reveal,
        };
        (joiner, bytes)
    }

    /// Takes the approver's first message; the bytes are ours with the description of this device.
    ///
    /// # Errors
    /// [`PairingError`]: pairing is over, and nothing about this device was revealed. Most likely
    /// [`PairingError::WrongCode`] because the other person typed something else.
    pub fn confirm(
        self,
        reply: &[u8],
        device_info: &[u8],
    ) -> Result<(JoinerWaiting, Vec<u8>), PairingError> {
        check_payload(device_info)?;
        let body = Message::Reply.body(reply)?;
        let (pake_reply, confirmation) = split_pake(body)?;
        let key = finish(self.pake, pake_reply)?;
        let schedule = Schedule::new(&key, self.place.transcript(&self.hello, pake_reply));
        schedule.verify(Role::Approver, confirmation)?;

        let mut bytes = Message::Accept.header();
        bytes.extend(schedule.confirmation(Role::Joiner));
        let payload = pad(&self.reveal[..], device_info)?;
        bytes.extend(schedule.seal(Role::Joiner, Message::Accept, payload));
        let waiting = JoinerWaiting {
            check: schedule.check(&self.reveal),
            schedule,
        };
        Ok((waiting, bytes))
    }
}

/// The new device, while the person at the other one decides.
pub struct JoinerWaiting {
    schedule: Schedule,
    check: [Emoji; 4],
}

impl JoinerWaiting {
    /// The pictures to show: the same as on the other device, or somebody is in the middle.
    #[must_use]
    pub fn check(&self) -> [Emoji; 4] {
        self.check
    }

    /// The last message of all. Send it only once this device is a member with all that it needs on its disk: until
    /// the approver has it, it takes the membership back.
    #[must_use]
    pub fn joined(&self) -> Vec<u8> {
        let mut bytes = Message::Joined.header();
        bytes.extend(self.schedule.joined());
        bytes
    }

    /// Takes the approver's answer and gives the welcome.
    ///
    /// # Errors
    /// [`PairingError::Refused`] when the person said no; any other when the message is not the approver's answer.
    pub fn finish(self, answer: &[u8]) -> Result<Zeroizing<Vec<u8>>, PairingError> {
        let sealed = Message::Answer.body(answer)?;
        let padded = self
            .schedule
            .open(Role::Approver, Message::Answer, sealed)?;
        let ([verdict], welcome) = unpad(&padded)?;
        if verdict == Verdict::Welcome as u8 {
            Ok(welcome)
        } else if verdict == Verdict::Refused as u8 && welcome.is_empty() {
            Err(PairingError::Refused)
        } else {
            Err(PairingError::Malformed)
        }
    }
}

/// A device that is a member, after its person typed the code.
pub struct Approver {
    schedule: Schedule,
    commitment: [u8; HASH_BYTES],
}

impl Approver {
    /// Takes the joiner's first message; the bytes are ours.
    ///
    /// `edge` is the node where both meet.
    ///
    /// # Errors
    /// [`PairingError`]: pairing is over. A wrong code cannot be noticed yet.
    pub fn start(
        code: PairingCode,
        edge: NodeFingerprint,
        hello: &[u8],
    ) -> Result<(Self, Vec<u8>), PairingError> {
        let body = Message::Hello.body(hello)?;
        let (pake_hello, commitment) = split_pake(body)?;
        let hello = hello.try_into().map_err(|_| PairingError::Malformed)?;
        let place = place(&code, edge);
        let (a, b) = identities(place);
        let (pake, pake_reply) = Spake2::start_b(&password(&code), &a, &b);
        let key = finish(pake, pake_hello)?;
        let reply = pake_reply.first_chunk().expect("SPAKE2 gives 33 bytes");
        let schedule = Schedule::new(&key, place.transcript(hello, reply));

        let mut bytes = Message::Reply.header();
        bytes.extend(&pake_reply);
        bytes.extend(schedule.confirmation(Role::Approver));
        let approver = Self {
            schedule,
            commitment: *commitment,
        };
        Ok((approver, bytes))
    }

    /// Takes the joiner's second message, which proves that it knows the code.
    ///
    /// # Errors
    /// [`PairingError::WrongCode`] when it does not: pairing is over, and nothing was revealed. Tell the person: somebody
    /// may have tried to guess.
    pub fn receive(self, accept: &[u8]) -> Result<ApproverWaiting, PairingError> {
        let body = Message::Accept.body(accept)?;
        let (confirmation, sealed) = body
            .split_first_chunk::<HASH_BYTES>()
            .ok_or(PairingError::Malformed)?;
        self.schedule.verify(Role::Joiner, confirmation)?;
        let padded = self.schedule.open(Role::Joiner, Message::Accept, sealed)?;
        let (reveal, device_info) = unpad(&padded)?;
        let reveal = Zeroizing::new(reveal);
        // Whoever knows the code may still be in the middle, and would choose the pictures after the fact.
        if commitment(&reveal) != self.commitment {
            return Err(PairingError::WrongCode);
        }
        Ok(ApproverWaiting {
            check: self.schedule.check(&reveal),
            schedule: self.schedule,
            device_info,
        })
    }
}

/// The member's device, while its person compares and decides.
pub struct ApproverWaiting {
    schedule: Schedule,
    check: [Emoji; 4],
    device_info: Zeroizing<Vec<u8>>,
}

impl ApproverWaiting {
    /// What the new device says about itself. The holder of the code wrote it: check it before believing it.
    #[must_use]
    pub fn device_info(&self) -> &[u8] {
        &self.device_info
    }

    /// The pictures to show: the same as on the new device, or somebody is in the middle.
    #[must_use]
    pub fn check(&self) -> [Emoji; 4] {
        self.check
    }

    /// What the new device says at the end, when all went well for it as well.
    #[must_use]
    pub fn expects(&self) -> Vec<u8> {
        let mut bytes = Message::Joined.header();
        bytes.extend(self.schedule.joined());
        bytes
    }

    /// Says yes: the bytes are the answer, with what the new device needs.
    ///
    /// Call it only after the person saw the same pictures on both devices.
    ///
    /// # Errors
    /// [`PairingError::TooLong`] above [`MAX_PAYLOAD_BYTES`](super::MAX_PAYLOAD_BYTES): nothing was sent.
    pub fn welcome(self, welcome: &[u8]) -> Result<Vec<u8>, PairingError> {
        self.answer(Verdict::Welcome, welcome)
    }

    /// Says no: the bytes are the answer, and the last message.
    #[must_use]
    pub fn refuse(self) -> Vec<u8> {
        self.answer(Verdict::Refused, &[])
            .expect("an empty payload fits")
    }

    fn answer(self, verdict: Verdict, payload: &[u8]) -> Result<Vec<u8>, PairingError> {
        let padded = pad(&[verdict as u8], payload)?;
        let mut bytes = Message::Answer.header();
        bytes.extend(self.schedule.seal(Role::Approver, Message::Answer, padded));
        Ok(bytes)
    }
}

macro_rules! shy {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}
shy!(Joiner, JoinerWaiting, Approver, ApproverWaiting);

fn place(code: &PairingCode, edge: NodeFingerprint) -> Place {
    Place {
        edge,
        nameplate: code.nameplate(),
    }
}

fn identities(place: Place) -> (Identity, Identity) {
    let identity = |role| Identity::new(&place.identity(role));
    (identity(Role::Joiner), identity(Role::Approver))
}

fn password(code: &PairingCode) -> Password {
    Password::new(code.expose_secret().as_bytes())
}

/// The two parts of both first messages after their header.
fn split_pake(body: &[u8]) -> Result<(&[u8; PAKE_BYTES], &[u8; HASH_BYTES]), PairingError> {
    let (pake, rest) = body.split_first_chunk().ok_or(PairingError::Malformed)?;
    let rest = rest.try_into().map_err(|_| PairingError::Malformed)?;
    Ok((pake, rest))
}

fn finish(
    pake: Spake2<Ed25519Group>,
    other: &[u8; PAKE_BYTES],
) -> Result<Zeroizing<Vec<u8>>, PairingError> {
    pake.finish(other)
        .map(Zeroizing::new)
        .map_err(|_| PairingError::Malformed)
}

/// What only tests may do: try a step twice, or lie.
#[cfg(test)]
mod for_tests {
    use super::*;

    impl Joiner {
        pub(in crate::pairing) fn replace_reveal(&mut self, reveal: [u8; HASH_BYTES]) {
            self.reveal = Zeroizing::new(reveal);
        }
    }

    impl JoinerWaiting {
        pub(in crate::pairing) fn twin(&self) -> Self {
            Self {
                schedule: self.schedule.clone(),
                check: self.check,
            }
        }
    }

    impl Approver {
        pub(in crate::pairing) fn twin(&self) -> Self {
            Self {
                schedule: self.schedule.clone(),
                commitment: self.commitment,
            }
        }
    }
}
