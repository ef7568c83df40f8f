//! What a frame of an Automerge log holds: a snapshot or changes, and the heads they must lead to.
//!
//! `load_incremental` says `Ok` when it could use only a part, so the recorded heads are compared every time.
//! A frame may carry a rendering: what the document says after it, so that reading needs no Automerge (which
//! takes about 0.6 s per megabyte of text). Pure. Start at [`load`] and [`Part`].
//!
//! | bytes | content |
//! |---|---|
//! | 0 | 1 = snapshot of the whole document, 2 = changes since the frame before; 3 and 4 = the same with a rendering |
//! | 1 | number of heads `n`, 1..=255 |
//! | 2..2+32n | heads after this frame, ascending |
//! | then, in 3 and 4 | length of the rendering, u32 little-endian, and the rendering, DEFLATE |
//! | then | Automerge bytes: one document chunk, or change chunks |

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{Automerge, ChangeHash, LoadOptions, OnPartialLoad};

use super::LoadError;

const SNAPSHOT: u8 = 1;
const CHANGES: u8 = 2;
/// Added to the two above where a rendering follows.
const RENDERED: u8 = 2;
const HASH_BYTES: usize = 32;
/// Longest rendering that is read, in bytes. The index of a million documents is shorter.
const MAX_RENDERING_BYTES: u64 = 512 << 20;

/// Packs the whole document.
pub(crate) fn pack_snapshot(doc: &Automerge, rendering: Option<&[u8]>) -> Vec<u8> {
    pack(SNAPSHOT, &doc.get_heads(), rendering, &doc.save())
}

/// Packs a whole document that was loaded from these bytes and has these heads.
pub(crate) fn pack_saved(heads: &[ChangeHash], bytes: &[u8], rendering: Option<&[u8]>) -> Vec<u8> {
    pack(SNAPSHOT, heads, rendering, bytes)
}

/// Packs a whole document that another device saved, without looking inside.
///
/// `None` when the heads cannot be those of a document. They are compared when the frame is loaded.
pub(crate) fn pack_foreign_snapshot(heads: &[ChangeHash], bytes: &[u8]) -> Option<Vec<u8>> {
    let count = u8::try_from(heads.len()).ok().filter(|count| *count > 0)?;
    let mut heads = heads.to_vec();
    heads.sort_unstable();
    let mut frame = vec![SNAPSHOT, count];
    heads
        .iter()
        .for_each(|head| frame.extend_from_slice(&head.0));
    frame.extend_from_slice(bytes);
    Some(frame)
}

/// Packs the changes after `heads`; `None` when there are none.
pub(crate) fn pack_changes(
    doc: &Automerge,
    heads: &[ChangeHash],
    rendering: Option<&[u8]>,
) -> Option<Vec<u8>> {
    // Unlike `save_after`, this compresses long changes.
    let changes: Vec<u8> = doc
        .get_changes(heads)
        .iter_mut()
        .flat_map(|change| change.bytes().into_owned())
        .collect();
    (!changes.is_empty()).then(|| pack(CHANGES, &doc.get_heads(), rendering, &changes))
}

/// A frame that changes only what is rendered, not the Automerge document, which has these heads.
pub(crate) fn pack_rendering(heads: &[ChangeHash], rendering: &[u8]) -> Vec<u8> {
    pack(CHANGES, heads, Some(rendering), &[])
}

fn pack(tag: u8, heads: &[ChangeHash], rendering: Option<&[u8]>, bytes: &[u8]) -> Vec<u8> {
    let count = u8::try_from(heads.len()).expect("documents are merged long before 255 branches");
    let mut frame = Vec::with_capacity(2 + heads.len() * HASH_BYTES + bytes.len());
    let rendering = rendering.and_then(deflate);
    frame.extend([tag + rendering.as_ref().map_or(0, |_| RENDERED), count]);
    for head in heads {
        frame.extend_from_slice(&head.0);
    }
    if let Some((len, rendering)) = rendering {
        frame.extend_from_slice(&len.to_le_bytes());
        frame.extend_from_slice(&rendering);
    }
    frame.extend_from_slice(bytes);
    frame
}

/// Compresses a rendering. One that is too long is left out: it only saves time.
fn deflate(rendering: &[u8]) -> Option<(u32, Vec<u8>)> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(rendering).ok()?;
    let deflated = encoder.finish().ok()?;
    (rendering.len() as u64 <= MAX_RENDERING_BYTES)
        .then_some((u32::try_from(deflated.len()).ok()?, deflated))
}

/// Loads a document from the frames of its log.
///
/// # Errors
/// [`LoadError`]; panics inside Automerge are caught.
pub(crate) fn load(frames: &[Vec<u8>]) -> Result<Automerge, LoadError> {
    // The frames are dropped with the document when it panics, so nothing half-changed is seen.
    catch_unwind(AssertUnwindSafe(|| load_frames(frames))).map_err(|_| LoadError::Panicked)?
}

fn load_frames(frames: &[Vec<u8>]) -> Result<Automerge, LoadError> {
    let mut parts = frames
        .iter()
        .map(|frame| unpack(frame))
        .collect::<Option<Vec<_>>>();
    let parts = parts.as_mut().ok_or(LoadError::Frame)?;
    let Some((first, rest)) = parts.split_first() else {
        return Err(LoadError::Frame);
    };
    let options = LoadOptions::new().on_partial_load(OnPartialLoad::Error);
    let mut doc = Automerge::load_with_options(first.bytes, options)?;
    if let Some(last) = rest.last() {
        check_heads(&doc, first)?;
        let changes: Vec<u8> = rest.iter().flat_map(|part| part.bytes).copied().collect();
        doc.load_incremental(&changes)?;
        check_heads(&doc, last)?;
    } else {
        check_heads(&doc, first)?;
    }
    Ok(doc)
}

fn check_heads(doc: &Automerge, part: &Part<'_>) -> Result<(), LoadError> {
    let heads = doc.get_heads();
    if heads == part.heads {
        Ok(())
    } else {
        Err(LoadError::OtherHeads)
    }
}

/// A frame taken apart.
pub(crate) struct Part<'a> {
    /// The heads after this frame.
    pub(crate) heads: Vec<ChangeHash>,
    rendering: Option<&'a [u8]>,
    bytes: &'a [u8],
}

impl<'a> Part<'a> {
    /// The Automerge chunks.
    pub(crate) fn automerge_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What the document says after this frame, where the frame tells.
    pub(crate) fn rendering(&self) -> Option<Vec<u8>> {
        let decoder = flate2::read::DeflateDecoder::new(self.rendering?);
        let mut rendering = Vec::new();
        let len = decoder
            .take(MAX_RENDERING_BYTES + 1)
            .read_to_end(&mut rendering)
            .ok()?;
        (len as u64 <= MAX_RENDERING_BYTES).then_some(rendering)
    }
}

/// Takes a frame apart; `None` when it does not begin as frames do.
pub(crate) fn unpack(frame: &[u8]) -> Option<Part<'_>> {
    let (&[tag, count], rest) = frame.split_first_chunk::<2>()?;
    if !(SNAPSHOT..=CHANGES + RENDERED).contains(&tag) || count == 0 {
        return None;
    }
    let (heads, mut bytes) = rest.split_at_checked(usize::from(count) * HASH_BYTES)?;
    let heads = heads
        .chunks_exact(HASH_BYTES)
        .map(|hash| ChangeHash(hash.try_into().expect("chunks have 32 bytes")))
        .collect();
    let mut rendering = None;
    if tag > CHANGES {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (rendered, rest) =
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
        (rendering, bytes) = (Some(rendered), rest);
    }
    Some(Part {
        heads,
        rendering,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::TextDocument;
    use serde_json::json;

    fn frames() -> Vec<Vec<u8>> {
        let mut document = TextDocument::new("one", &json!({})).unwrap();
        let mut frames = vec![pack_snapshot(document.automerge(), None)];
        for text in ["one two", "one two three"] {
            let heads = document.heads();
            document.set_text(text).unwrap();
            let rendering = Some(text.as_bytes());
            frames.extend(pack_changes(document.automerge(), &heads, rendering));
        }
        frames
    }

    #[test]
    fn frames_lead_to_the_document_again() {
        let doc = TextDocument::from_automerge(load(&frames()).unwrap()).unwrap();
        assert_eq!(doc.text().unwrap(), "one two three");
    }

    #[test]
    fn a_rendering_is_read_without_automerge() {
        let frames = frames();
        assert!(unpack(&frames[0]).unwrap().rendering().is_none());
        let last = unpack(&frames[2]).unwrap();
        assert_eq!(last.rendering().unwrap(), b"one two three");
        assert_eq!(last.heads, load(&frames).unwrap().get_heads());
        for end in 0..frames[2].len() {
            // Whatever is cut off, nothing panics.
            let part = unpack(&frames[2][..end]);
            assert!(
                part.is_none_or(|part| part
                    .rendering()
                    .is_none_or(|text| text == b"one two three"))
            );
        }
    }

    /// `load_incremental` takes the changes it can use and says `Ok`: without the comparison of heads, a
    /// missing frame would silently give an older text.
    #[test]
    fn a_missing_or_strange_frame_is_noticed() {
        let whole = frames();
        let without_middle = [whole[0].clone(), whole[2].clone()];
        assert!(matches!(load(&without_middle), Err(LoadError::OtherHeads)));
        let mut cut = whole.clone();
        let last = cut[2].len() - 5;
        cut[2].truncate(last);
        assert!(load(&cut).is_err());
        assert!(matches!(load(&[]), Err(LoadError::Frame)));
        assert!(matches!(load(&[vec![1, 0]]), Err(LoadError::Frame)));
        assert!(matches!(load(&[vec![9; 99]]), Err(LoadError::Frame)));
    }
}
