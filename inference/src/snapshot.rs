//! All that a context knows of its conversation, as bytes: to be moved into another context, or to be kept.
//!
//! llama.cpp's own layout, which only the same version of it understands, with the same model. Start at
//! [`Snapshot::take`].

use llama_cpp_2::LlamaStateSeqFlags;
use llama_cpp_2::context::LlamaContext;

use crate::shelf::Weight;

/// The one sequence of a context.
const SEQUENCE: i32 = 0;

/// What a context knew when it was taken.
pub(crate) struct Snapshot {
    bytes: Vec<u8>,
}

impl Snapshot {
    /// How long one of this context would be, in bytes.
    pub(crate) fn size_bytes(context: &LlamaContext<'_>) -> usize {
        context.state_seq_get_size_ext(SEQUENCE, LlamaStateSeqFlags::empty())
    }

    /// Copies what a context knows. `None` where llama.cpp cannot.
    #[allow(unsafe_code)]
    pub(crate) fn take(context: &LlamaContext<'_>) -> Option<Self> {
        let mut bytes = vec![0; Self::size_bytes(context)];
        let whole = LlamaStateSeqFlags::empty();
        // SAFETY: there is room for the length that llama.cpp has just given for this sequence, and nothing computes in
        // between: the context is used by one thread only.
        let written =
            unsafe { context.state_seq_get_data_ext(bytes.as_mut_ptr(), SEQUENCE, whole) };
        (written == bytes.len()).then_some(Self { bytes })
    }

    /// Puts it into an empty context. False where it does not fit; what the context then holds is unknown.
    #[allow(unsafe_code)]
    pub(crate) fn put_into(&self, context: &mut LlamaContext<'_>) -> bool {
        // SAFETY: the bytes come from `take`, of this process or of one of the same version with the same model, which
        // the program makes sure of before it gives them back; llama.cpp compares their shape with its own.
        unsafe {
            context.state_seq_set_data_ext(&self.bytes, SEQUENCE, LlamaStateSeqFlags::empty())
        }
    }

    /// The bytes, to be kept.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was kept: only what [`bytes`](Self::bytes) gave for the same model and version of the program.
    pub(crate) fn kept(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}

impl Weight for Snapshot {
    fn bytes(&self) -> usize {
        self.bytes.len()
    }
}
