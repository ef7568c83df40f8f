//! Who is a member of a shared workspace, and the keys that follow from it.
//!
//! Pure: no network, no clock, no disk. The edge node never links this module.
//! Start at [`ControlLog`]. Formats and reasons: `sync/SEALING.md`.
//!
//! | module | idea |
//! |---|---|
//! | [`device`] | the keys of a device |
//! | [`role`] | owner, writer, reader |
//! | [`epoch`], [`keyring`] | the secrets of an epoch, and all that we know |
//! | [`capability`] | keys that prove a role to an edge |
//! | [`wrap`] | secrets sealed to one device |
//! | [`control`] | the signed log of changes of membership |
//! | [`welcome`] | what two devices tell each other when one joins |

pub mod capability;
pub mod control;
pub mod device;
pub mod epoch;
pub mod keyring;
mod previous;
pub mod role;
pub mod welcome;
pub mod wrap;

pub use capability::{CapabilityKey, PolicyKey};
pub use control::{
    Accepted, ControlDraft, ControlError, ControlLog, ControlRecord, Member, NewEpoch, Op, Removal,
    RotateReason,
};
pub use device::{DeviceKeys, DevicePublic};
pub use epoch::{EpochId, EpochSecrets};
pub use keyring::{Keyring, WalkBackError};
pub use role::{ParseRoleError, Role};
pub use welcome::{DeviceInfo, Welcome, WelcomeError};
pub use wrap::{Wrap, WrapError};

/// Longest name of a person, a device or a workspace, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 120;

/// Most devices that are members at the same time.
///
/// 4,096 × 161 bytes (an owner's [`Wrap`]) = 660 KB: a record with a new epoch still fits one fragment.
pub const MAX_MEMBERS: usize = 4096;

/// Most edges that a workspace names.
pub const MAX_EDGES: usize = 4;

/// Longest link to an edge, in bytes.
///
/// 4 ([`MAX_EDGES`]) × 252 + the rest of a [`Welcome`] (365) = 1,373 bytes: it fits one message of pairing.
pub const MAX_EDGE_LINK_BYTES: usize = 250;

/// Whether a name can be shown on one line: not empty, not too long, without control characters.
pub(crate) fn is_good_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control)
}

/// Whether there are few enough links, each of them short, printable and there once.
pub(crate) fn are_good_edges(links: &[String]) -> bool {
    let good = |link: &String| {
        (1..=MAX_EDGE_LINK_BYTES).contains(&link.len()) && !link.chars().any(char::is_control)
    };
    links.len() <= MAX_EDGES && links.iter().all(good)
}

/// HKDF-SHA256 (RFC 5869), at most 255 × 32 bytes.
pub(crate) fn hkdf(salt: &[u8], secret: &[u8], info: &[&[u8]], out: &mut [u8]) {
    struct Len(usize);
    impl aws_lc_rs::hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    aws_lc_rs::hkdf::Salt::new(aws_lc_rs::hkdf::HKDF_SHA256, salt)
        .extract(secret)
        .expand(info, Len(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("64 bytes are far below the limit of HKDF");
}

#[cfg(test)]
mod vectors;
