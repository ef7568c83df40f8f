//! Reads fields of a body one after the other.
//!
//! Never indexes past the end: a body that is too short is an error, though bodies were measured before.
//! Start at [`Fields`].

use super::{DecodeError, FrameHeader, FrameType};
use crate::fragment::{EncryptedFragment, FragmentKind};

/// What is left of a body.
pub(super) struct Fields<'a> {
    frame_type: FrameType,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(header: FrameHeader, body: &'a [u8]) -> Result<Self, DecodeError> {
        super::check_body(header, body)?;
        Ok(Self {
            frame_type: header.frame_type,
            rest: body,
        })
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.refuse(field));
        };
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// One byte, 0 or 1.
    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.refuse(field)),
        }
    }

    /// All bytes that are left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// How many bytes are left.
    pub(super) fn left_bytes(&self) -> usize {
        self.rest.len()
    }

    /// All bytes that are left, as a fragment of one of these kinds.
    pub(super) fn fragment(
        &mut self,
        kinds: &[FragmentKind],
    ) -> Result<EncryptedFragment, DecodeError> {
        let fragment = EncryptedFragment::from_bytes(self.rest().to_vec())?;
        if kinds.contains(&fragment.header().kind) {
            Ok(fragment)
        } else {
            Err(self.refuse("kind"))
        }
    }

    /// The next `len_bytes` bytes, as a fragment of this kind.
    pub(super) fn sized_fragment(
        &mut self,
        len_bytes: usize,
        len_field: &'static str,
        kind: FragmentKind,
    ) -> Result<EncryptedFragment, DecodeError> {
        let Some((head, rest)) = self.rest.split_at_checked(len_bytes) else {
            return Err(self.refuse(len_field));
        };
        self.rest = head;
        let fragment = self.fragment(&[kind]);
        self.rest = rest;
        fragment
    }

    /// Refuses bytes that no field has taken.
    pub(super) fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.refuse("end"))
        }
    }

    /// The error for a field whose value is not allowed.
    pub(super) fn refuse(&self, field: &'static str) -> DecodeError {
        DecodeError::Field {
            frame_type: self.frame_type,
            field,
        }
    }
}
