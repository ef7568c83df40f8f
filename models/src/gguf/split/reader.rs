//! Reads the parts of a split model as the one file that they make.
//!
//! One part is open at a time, and nothing is held in memory but the header.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::{Piece, SplitModel};

/// The whole file of a [`SplitModel`], from its beginning.
pub(super) struct JoinedReader<'a> {
    model: &'a SplitModel,
    /// What is left of the header.
    header: &'a [u8],
    /// The pieces that have not been begun.
    pieces: std::slice::Iter<'a, Piece>,
    /// The part that is open, and its index.
    open: Option<(usize, File)>,
    /// What is left of the current piece in that part.
    data: Range<u64>,
    /// Zeros that are left behind the current piece.
    padding_bytes: u64,
}

impl<'a> JoinedReader<'a> {
    pub(super) fn new(model: &'a SplitModel) -> Self {
        Self {
            model,
            header: &model.header,
            pieces: model.pieces.iter(),
            open: None,
            data: 0..0,
            padding_bytes: 0,
        }
    }

    /// Goes on to the next piece; `false` behind the last.
    fn begin_piece(&mut self) -> io::Result<bool> {
        let Some(piece) = self.pieces.next() else {
            return Ok(false);
        };
        if self
            .open
            .as_ref()
            .is_none_or(|(part, _)| *part != piece.part)
        {
            let path = &self.model.parts[piece.part];
            let file = File::open(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{error}: {}", path.display()))
            })?;
            self.open = Some((piece.part, file));
        }
        self.data = piece.byte_range.clone();
        self.padding_bytes = piece.padding_bytes;
        Ok(true)
    }

    /// Reads on in the header, the data or the padding, whichever comes next; 0 at the end.
    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.header.is_empty() {
            return self.header.read(buffer);
        }
        while self.data.is_empty() && self.padding_bytes == 0 {
            if !self.begin_piece()? {
                return Ok(0);
            }
        }
        if let (Some((_, file)), false) = (&self.open, self.data.is_empty()) {
            let len = at_most(buffer, self.data.end - self.data.start);
            let read = file.read_at(&mut buffer[..len], self.data.start)?;
            self.data.start += read as u64;
            return Ok(read);
        }
        let len = at_most(buffer, self.padding_bytes);
        buffer[..len].fill(0);
        self.padding_bytes -= len as u64;
        Ok(len)
    }
}

impl Read for JoinedReader<'_> {
    /// Fills the buffer while there is anything, however short the tensors are: who reads tells of each step.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_some(&mut buffer[filled..])? {
                0 => break,
                len => filled += len,
            }
        }
        Ok(filled)
    }
}

/// Length of the buffer, or `bytes` where that is less.
fn at_most(buffer: &[u8], bytes: u64) -> usize {
    usize::try_from(bytes).map_or(buffer.len(), |bytes| bytes.min(buffer.len()))
}
