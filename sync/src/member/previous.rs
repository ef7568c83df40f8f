//! Seals an epoch's secrets under its successor's, so that who joins later can read back to the beginning.
//!
//! Readers learn the older epoch's secret alone: the writers' one is sealed once more, under the new writers'
//! secret. Pure. Start at [`seal`]. Layout: `sync/SEALING.md` § 6.

use satchel_protocol::fragment::{Aead, EncryptedFragment, FragmentKind, HEADER_BYTES};
use zeroize::Zeroizing;

use super::epoch::{EpochId, EpochSecrets};
use crate::bytes::{Malformed, Reader, Writer};
use crate::id::{WorkspaceId, random};
use crate::sealing::{self, Choice, OpenError, Padding, Place};

/// First byte of what a control fragment holds, so that neither of them passes for a record.
const PREVIOUS_EPOCH: u8 = 2;
const PREVIOUS_WRITER: u8 = 3;

const VERSION: u8 = 1;
const PADDING: Padding = Padding::Multiple(1024);

/// A sealed writers' secret: header, length 4 + text 34, one tag. It needs no padding: all are equally long.
const WRITER_FRAGMENT_BYTES: usize = HEADER_BYTES + 38 + 16;

/// Seals `old` under `new`. The writers' secret goes along where both sides know theirs.
pub(super) fn seal(
    new: &EpochSecrets,
    old: &EpochSecrets,
    workspace: WorkspaceId,
) -> EncryptedFragment {
    let mut text = Writer::with_capacity(2 + 12 + 32 + 1 + 2 + WRITER_FRAGMENT_BYTES);
    text.u8(PREVIOUS_EPOCH)
        .u8(VERSION)
        .array(&old.id().to_bytes())
        .array(old.expose_secret());
    match (new.expose_writer_secret(), old.expose_writer_secret()) {
        (Some(key), Some(secret)) => {
            let mut inner = Writer::with_capacity(34);
            inner.u8(PREVIOUS_WRITER).u8(VERSION).array(secret);
            let inner = Zeroizing::new(inner.into_vec());
            let choice = Choice {
                aead: Aead::Aes256GcmSiv,
                salt: random(),
            };
            let sealed = sealing::seal_with(
                key,
                &place(new, workspace),
                &choice,
                &inner,
                Padding::Multiple(1),
            )
            .expect("34 bytes fit a fragment");
            text.u8(1).bytes16(sealed.as_bytes());
        }
        _ => {
            text.u8(0);
        }
    }
    let text = Zeroizing::new(text.into_vec());
    sealing::seal(new, workspace, FragmentKind::Control, &text, PADDING)
        .expect("an epoch's secrets fit a fragment")
}

/// Opens what [`seal`] made, with the writers' secret where `new` has its own.
///
/// # Errors
/// [`OpenError`] when it was sealed elsewhere, changed, or is no such fragment.
pub(super) fn open(
    new: &EpochSecrets,
    workspace: WorkspaceId,
    fragment: &EncryptedFragment,
) -> Result<EpochSecrets, OpenError> {
    let text = sealing::open(new, workspace, FragmentKind::Control, fragment)?;
    let text = Zeroizing::new(text);
    let (id, secret, sealed_writer) = read(&text).map_err(|_| OpenError::Malformed)?;
    let writer = match (new.expose_writer_secret(), sealed_writer) {
        (Some(key), Some(sealed)) => Some(open_writer(key, &place(new, workspace), sealed)?),
        _ => None,
    };
    Ok(EpochSecrets::new(id, secret, writer))
}

type Previous<'a> = (EpochId, [u8; 32], Option<&'a [u8]>);

fn read(text: &[u8]) -> Result<Previous<'_>, Malformed> {
    let mut reader = Reader::new(text);
    if reader.array()? != [PREVIOUS_EPOCH, VERSION] {
        return Err(Malformed::Value);
    }
    let id = EpochId::from_bytes(&reader.array()?);
    let secret = reader.array()?;
    let has_writer = reader.flag()?;
    let writer = has_writer
        .then(|| reader.bytes16(WRITER_FRAGMENT_BYTES))
        .transpose()?;
    reader.end()?;
    Ok((id, secret, writer))
}

fn open_writer(key: &[u8; 32], place: &Place, sealed: &[u8]) -> Result<[u8; 32], OpenError> {
    let fragment =
        EncryptedFragment::from_bytes(sealed.to_vec()).map_err(|_| OpenError::Malformed)?;
    let text = Zeroizing::new(sealing::open_with(key, place, &fragment)?);
    let secret = text
        .strip_prefix(&[PREVIOUS_WRITER, VERSION])
        .ok_or(OpenError::Malformed)?;
    secret.try_into().map_err(|_| OpenError::Malformed)
}

fn place(new: &EpochSecrets, workspace: WorkspaceId) -> Place {
    Place {
        workspace,
        epoch: new.id(),
        kind: FragmentKind::Control,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: WorkspaceId = WorkspaceId([1; 16]);

    fn epoch(number: u32) -> EpochSecrets {
        EpochSecrets::random(EpochId {
            number,
            record: [number as u8; 8],
        })
    }

    #[test]
    fn writers_get_both_secrets_back_and_readers_one() {
        let (old, new) = (epoch(4), epoch(5));
        let sealed = seal(&new, &old, WORKSPACE);
        let by_writer = open(&new, WORKSPACE, &sealed).unwrap();
        assert_eq!(by_writer.id(), old.id());
        assert_eq!(by_writer.expose_secret(), old.expose_secret());
        assert_eq!(by_writer.expose_writer_secret(), old.expose_writer_secret());
        let reader = EpochSecrets::new(new.id(), *new.expose_secret(), None);
        let by_reader = open(&reader, WORKSPACE, &sealed).unwrap();
        assert_eq!(by_reader.expose_secret(), old.expose_secret());
        assert_eq!(by_reader.expose_writer_secret(), None);
    }

    #[test]
    fn older_secrets_and_other_workspaces_open_nothing() {
        let (old, new) = (epoch(4), epoch(5));
        let sealed = seal(&new, &old, WORKSPACE);
        assert!(open(&old, WORKSPACE, &sealed).is_err());
        assert!(open(&old.named(new.id()), WORKSPACE, &sealed).is_err());
        assert!(open(&new, WorkspaceId([2; 16]), &sealed).is_err());
    }
}
