//! An entry as signed bytes.
//!
//! Pure. The bytes are signed and kept as they are sent; nothing is ever encoded anew to check a signature.
//! Start at [`encode`] and [`SignedParts`].

use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::FragmentKind;
use satchel_protocol::id::{FragmentId, NodeFingerprint, Offset};

use super::part::{self, MAX_PARTS_BYTES};
use super::{
    Context, EntryError, Inner, MAX_OBSERVED, MAX_PARTS, MAX_SEEN, MAX_SUPERSEDES, Observation,
    Seen, inner_hash,
};
use crate::bytes::{Malformed, Reader, Writer};
use crate::id::{DeviceId, WorkspaceId};
use crate::member::{DeviceKeys, DevicePublic, EpochId};
use crate::sealing::MAX_INNER_BYTES;

const VERSION: u8 = 1;

/// The bytes of an entry that was read, and the signature over them.
#[derive(Debug, Clone, Copy)]
pub struct SignedParts<'a> {
    device: DeviceId,
    all: &'a [u8],
    signed: &'a [u8],
    signature: &'a [u8; 64],
}

impl SignedParts<'_> {
    /// Checks that this device signed the entry for this workspace, epoch and kind of fragment.
    ///
    /// # Errors
    /// [`EntryError::Signature`] when it did not, or is another device than the entry names.
    pub fn verify(
        &self,
        author: &DevicePublic,
        workspace: WorkspaceId,
        epoch: EpochId,
        kind: FragmentKind,
    ) -> Result<(), EntryError> {
        let digest = Context {
            workspace,
            epoch,
            kind,
        }
        .digest(self.signed);
        if author.id() == self.device && author.verify(&digest, self.signature) {
            Ok(())
        } else {
            Err(EntryError::Signature {
                device: self.device,
            })
        }
    }

    /// [`inner_hash`] of the entry.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        inner_hash(self.all)
    }
}

pub(super) fn encode(
    inner: &Inner,
    keys: &DeviceKeys,
    context: &Context,
) -> Result<Vec<u8>, EntryError> {
    let device = inner.device;
    if keys.id() != device {
        return Err(EntryError::OtherDevice { device });
    }
    check_sequence(inner)?;
    let found_bytes = inner
        .parts
        .iter()
        .map(|part| part.body.inline_bytes())
        .sum();
    if found_bytes > MAX_PARTS_BYTES {
        return Err(EntryError::PartsTooLong { found_bytes });
    }
    let mut writer = Writer::new();
    writer
        .u8(VERSION)
        .array(&device.0)
        .u64(inner.sequence)
        .array(&inner.previous)
        .array(&inner.control_head)
        .i64(inner.created_ms);
    write_seen(&inner.seen, "seen entries", &mut writer)?;
    count(inner.observed.len(), "edges", MAX_OBSERVED, &mut writer)?;
    for observation in &inner.observed {
        writer
            .array(&observation.edge.0)
            .u64(observation.offset.0)
            .array(&observation.chain.0);
    }
    write_seen(&inner.covers, "covered entries", &mut writer)?;
    count(
        inner.supersedes.len(),
        "superseded fragments",
        MAX_SUPERSEDES,
        &mut writer,
    )?;
    for id in &inner.supersedes {
        writer.array(&id.0);
    }
    count(inner.parts.len(), "parts", MAX_PARTS, &mut writer)?;
    for part in &inner.parts {
        part::write(part, &mut writer)?;
    }
    let signature = keys.sign(&context.digest(writer.as_slice()));
    writer.array(&signature);
    let bytes = writer.into_vec();
    if bytes.len() > MAX_INNER_BYTES {
        return Err(EntryError::TooLong {
            found_bytes: bytes.len(),
        });
    }
    Ok(bytes)
}

pub(super) fn decode(bytes: &[u8]) -> Result<(Inner, SignedParts<'_>), EntryError> {
    if bytes.len() > MAX_INNER_BYTES {
        return Err(EntryError::TooLong {
            found_bytes: bytes.len(),
        });
    }
    let (signed, signature) = bytes.split_last_chunk::<64>().ok_or(Malformed::TooShort)?;
    let mut reader = Reader::new(signed);
    if reader.u8()? != VERSION {
        return Err(EntryError::Newer);
    }
    let mut budget_bytes = MAX_PARTS_BYTES;
    let inner = Inner {
        device: DeviceId(reader.array()?),
        sequence: reader.u64()?,
        previous: reader.array()?,
        control_head: reader.array()?,
        created_ms: reader.i64()?,
        seen: reader.list16(MAX_SEEN, read_seen)?,
        observed: reader.list16(MAX_OBSERVED, read_observation)?,
        covers: reader.list16(MAX_SEEN, read_seen)?,
        supersedes: reader.list16(MAX_SUPERSEDES, |reader| {
            reader.array().map(FragmentId).map_err(EntryError::from)
        })?,
        parts: reader.list16(MAX_PARTS, |reader| part::read(reader, &mut budget_bytes))?,
    };
    reader.end()?;
    check_sequence(&inner)?;
    let device = inner.device;
    Ok((
        inner,
        SignedParts {
            device,
            all: bytes,
            signed,
            signature,
        },
    ))
}

/// The first entry follows none, and every other one some.
fn check_sequence(inner: &Inner) -> Result<(), EntryError> {
    if inner.sequence >= 1 && (inner.sequence == 1) == (inner.previous == [0; 32]) {
        Ok(())
    } else {
        Err(EntryError::Sequence)
    }
}

fn write_seen(list: &[Seen], what: &'static str, writer: &mut Writer) -> Result<(), EntryError> {
    count(list.len(), what, MAX_SEEN, writer)?;
    for seen in list {
        writer
            .array(&seen.device.0)
            .u64(seen.sequence)
            .array(&seen.hash);
    }
    Ok(())
}

fn read_seen(reader: &mut Reader<'_>) -> Result<Seen, EntryError> {
    Ok(Seen {
        device: DeviceId(reader.array()?),
        sequence: reader.u64()?,
        hash: reader.array()?,
    })
}

fn read_observation(reader: &mut Reader<'_>) -> Result<Observation, EntryError> {
    Ok(Observation {
        edge: NodeFingerprint(reader.array()?),
        offset: Offset(reader.u64()?),
        chain: Chain(reader.array()?),
    })
}

fn count(
    found: usize,
    what: &'static str,
    max: usize,
    writer: &mut Writer,
) -> Result<(), EntryError> {
    if found > max {
        return Err(EntryError::TooMany { what, found, max });
    }
    // Every maximum is below 65,536.
    writer.u16(found as u16);
    Ok(())
}
