//! Rows of the log and of the blobs as bytes.
//!
//! Pure. Start at [`EntryRow`].

use satchel_protocol::chain::Chain;
use satchel_protocol::id::FragmentId;

use super::error::Fault;
use super::head::Columns;

/// Where the bytes of a fragment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// Deleted after the grace period.
    Deleted,
    /// In the row.
    Inline(&'a [u8]),
    /// In the file of its id.
    File,
}

impl<'a> Body<'a> {
    fn number(self) -> u8 {
        match self {
            Self::Deleted => 0,
            Self::Inline(_) => 1,
            Self::File => 2,
        }
    }

    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::Deleted | Self::File => &[],
        }
    }

    fn read(number: u8, rest: &'a [u8]) -> Result<Self, Fault> {
        match number {
            0 => Ok(Self::Deleted),
            1 => Ok(Self::Inline(rest)),
            2 => Ok(Self::File),
            _ => Err(Fault::Row("a body of an unknown kind")),
        }
    }
}

/// One place of a log: chain 32 ‖ id 32 ‖ length 4 ‖ kind 1 ‖ body 1 ‖ superseded 8 ‖ bytes.
///
/// After deletion all of it stays but the bytes, so that the chain can still be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryRow<'a> {
    /// The chain value after this entry.
    pub(super) chain: Chain,
    pub(super) id: FragmentId,
    pub(super) len_bytes: u32,
    pub(super) kind: u8,
    /// When a pack replaced it.
    pub(super) superseded_ms: Option<u64>,
    pub(super) body: Body<'a>,
}

impl<'a> EntryRow<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        [
            self.chain.0.as_slice(),
            &self.id.0,
            &self.len_bytes.to_be_bytes(),
            &[self.kind, self.body.number()],
            &some_time(self.superseded_ms),
            self.body.bytes(),
        ]
        .concat()
    }

    pub(super) fn decode(row: &'a [u8]) -> Result<Self, Fault> {
        let mut columns = Columns(row);
        let chain = Chain(columns.array()?);
        let id = FragmentId(columns.array()?);
        let len_bytes = columns.u32()?;
        let kind = columns.u8()?;
        let body = columns.u8()?;
        let superseded_ms = time(columns.u64()?);
        Ok(Self {
            chain,
            id,
            len_bytes,
            kind,
            superseded_ms,
            body: Body::read(body, columns.rest())?,
        })
    }

    /// Whether compact reads show it.
    pub(super) fn is_live(&self) -> bool {
        self.superseded_ms.is_none() && self.body != Body::Deleted
    }
}

/// One piece of a file: length 4 ‖ body 1 ‖ put 8 ‖ forgotten 8 ‖ bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlobRow<'a> {
    pub(super) len_bytes: u32,
    pub(super) put_ms: u64,
    /// When a device said that it is not needed.
    pub(super) forgotten_ms: Option<u64>,
    pub(super) body: Body<'a>,
}

impl<'a> BlobRow<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        [
            self.len_bytes.to_be_bytes().as_slice(),
            &[self.body.number()],
            &self.put_ms.to_be_bytes(),
            &some_time(self.forgotten_ms),
            self.body.bytes(),
        ]
        .concat()
    }

    pub(super) fn decode(row: &'a [u8]) -> Result<Self, Fault> {
        let mut columns = Columns(row);
        let len_bytes = columns.u32()?;
        let body = columns.u8()?;
        let put_ms = columns.u64()?;
        let forgotten_ms = time(columns.u64()?);
        Ok(Self {
            len_bytes,
            put_ms,
            forgotten_ms,
            body: Body::read(body, columns.rest())?,
        })
    }
}

/// 0 stands for "never", and a time of 0 for 1 ms later.
fn some_time(time_ms: Option<u64>) -> [u8; 8] {
    time_ms.map_or(0, |ms| ms.max(1)).to_be_bytes()
}

fn time(stored: u64) -> Option<u64> {
    (stored > 0).then_some(stored)
}
