//! The hash chain over one mailbox's log, so that a device notices a log that was changed behind it.
//!
//! Pure. It proves that two looks at a log agree; it does not prove who wrote (that is inside the
//! ciphertext). Start at [`Chain::after`].

use crate::id::{FragmentId, Offset};

/// The chain value after some entry; [`Chain::START`] before the first.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    /// The value of an empty log: 32 zero bytes.
    pub const START: Self = Self([0; 32]);

    /// The value after one more entry.
    ///
    /// BLAKE3 over previous value (32) ‖ offset (8, big-endian) ‖ fragment length in bytes
    /// (8, big-endian) ‖ fragment id (32). Do not change: stored logs and devices hold these values.
    pub fn after(self, offset: Offset, fragment_len_bytes: usize, fragment: FragmentId) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&offset.0.to_be_bytes());
        hasher.update(&(fragment_len_bytes as u64).to_be_bytes());
        hasher.update(&fragment.0);
        Self(*hasher.finalize().as_bytes())
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chain(")?;
        self.0[..8]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_entry_changes_the_chain() {
        let id = FragmentId([1; 32]);
        let value = Chain::START.after(Offset(0), 100, id);
        assert_ne!(value, Chain([9; 32]).after(Offset(0), 100, id));
        assert_ne!(value, Chain::START.after(Offset(1), 100, id));
        assert_ne!(value, Chain::START.after(Offset(0), 101, id));
        assert_ne!(
            value,
            Chain::START.after(Offset(0), 100, FragmentId([2; 32]))
        );
    }
}
