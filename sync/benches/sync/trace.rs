//! Keystrokes: the recorded writing of a paper where the data lies beside the repository, else invented ones.

use std::io::Read;
use std::path::{Path, PathBuf};

/// One keystroke.
#[derive(Clone)]
pub(crate) struct Edit {
    /// Byte position in the text.
    pub(crate) at: usize,
    /// Bytes that go.
    pub(crate) delete: usize,
    pub(crate) insert: String,
}

pub(crate) struct Trace {
    pub(crate) name: &'static str,
    pub(crate) edits: Vec<Edit>,
}

#[derive(serde::Deserialize)]
struct Recorded {
    txns: Vec<Transaction>,
}

#[derive(serde::Deserialize)]
struct Transaction {
    patches: Vec<(usize, usize, String)>,
}

impl Trace {
    /// The trace at `$SATCHEL_BENCH_TRACE` or in `../shared/data`, else invented.
    pub(crate) fn load() -> Self {
        let path = std::env::var_os("SATCHEL_BENCH_TRACE").map_or_else(
            || {
                Path::new(env!("CARGO_MANIFEST_DIR")).join(
                    "../../shared/data/crdt-traces/editing-traces/sequential_traces/automerge-paper.json.gz",
                )
            },
            PathBuf::from,
        );
        let recorded = std::fs::read(&path).ok().and_then(|bytes| parse(&bytes));
        match recorded {
            Some(edits) => Self {
                name: "a paper (recorded)",
                edits,
            },
            None => Self {
                name: "an invented text",
                edits: invented(),
            },
        }
    }

    /// Keystrokes that begin a text of their own, made of those from `from` on: positions are moved into it.
    pub(crate) fn window(&self, from: usize, count: usize) -> Vec<Edit> {
        if from == 0 {
            return self.edits[..count].to_vec();
        }
        let mut len = 0;
        let mut edits = Vec::with_capacity(count);
        let base = self.edits[from].at;
        for edit in self.edits.iter().skip(from).take(count) {
            let at = edit.at.saturating_sub(base).min(len);
            let delete = edit.delete.min(len - at);
            len = len - delete + edit.insert.len();
            edits.push(Edit {
                at,
                delete,
                insert: edit.insert.clone(),
            });
        }
        edits
    }

    /// The text after each `step` of the keystrokes from `from` on.
    pub(crate) fn texts(
        &self,
        from: usize,
        count: usize,
        step: usize,
    ) -> impl Iterator<Item = String> {
        let edits = self.window(from, count);
        let mut text = String::new();
        let chunks: Vec<Vec<Edit>> = edits.chunks(step).map(<[Edit]>::to_vec).collect();
        chunks.into_iter().map(move |edits| {
            for edit in edits {
                text.replace_range(edit.at..edit.at + edit.delete, &edit.insert);
            }
            text.clone()
        })
    }

    pub(crate) fn text(&self, from: usize, count: usize) -> String {
        self.texts(from, count, count).last().unwrap_or_default()
    }
}

/// Only traces of ASCII text are taken, where characters are bytes.
fn parse(bytes: &[u8]) -> Option<Vec<Edit>> {
    let mut json = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        // Ten bytes of header as gzip writes it without options but a name, then DEFLATE.
        let mut body = bytes.get(10..)?;
        if bytes[3] & 8 != 0 {
            let end = body.iter().position(|byte| *byte == 0)?;
            body = &body[end + 1..];
        }
        flate2::read::DeflateDecoder::new(body)
            .read_to_end(&mut json)
            .ok()?;
    } else {
        json.extend_from_slice(bytes);
    }
    let recorded: Recorded = serde_json::from_slice(&json).ok()?;
    let patches = recorded.txns.into_iter().flat_map(|txn| txn.patches);
    let edits: Vec<Edit> = patches
        .map(|(at, delete, insert)| Edit { at, delete, insert })
        .collect();
    edits
        .iter()
        .all(|edit| edit.insert.is_ascii())
        .then_some(edits)
}

fn invented() -> Vec<Edit> {
    let text = crate::bench::invented_text(7, 60_000);
    let (mut edits, mut len) = (Vec::new(), 0);
    for (number, letter) in text.chars().enumerate().take(260_000) {
        // Now and then a slip, and a return to an earlier place.
        let at = if number % 40 == 39 { len * 2 / 3 } else { len };
        edits.push(Edit {
            at,
            delete: 0,
            insert: letter.to_string(),
        });
        len += letter.len_utf8();
        if number % 23 == 22 {
            edits.push(Edit {
                at: len - 1,
                delete: 1,
                insert: String::new(),
            });
            len -= 1;
        }
    }
    edits
}
