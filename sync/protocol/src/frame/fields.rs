//! Reads fields of a body one after the other.
//!
//! Never indexes past the end: a body that is too short is an error, though bodies were measured before.
//! Start at [`Fields`].

use super::{DecodeError, FrameHeader, FrameType};

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

    /// All bytes that are left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// The error for a field whose value is not allowed.
    pub(super) fn refuse(&self, field: &'static str) -> DecodeError {
        DecodeError::Field {
            frame_type: self.frame_type,
            field,
        }
    }
}
