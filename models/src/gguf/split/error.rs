//! Why the parts of a split model cannot be joined, in words for the person who brought them.

use std::ffi::OsString;

use crate::gguf::GgufError;

/// Why the parts of a split model cannot be joined. They are not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// The name does not tell which part it is, and so not where the others are.
    #[error(
        "this is a part of a split model, and the other parts cannot be found: its name must end in -00001-of-00003.gguf or the like; give all parts the names that they were published under: {}", name.display()
    )]
    Name {
        /// The file's name.
        name: OsString,
    },
    /// Parts are not there.
    #[error(
        "{missing} of the {count} parts of this model are missing; put all of them into one folder. The first that is missing: {name}"
    )]
    Missing {
        /// How many.
        missing: usize,
        /// How many there should be.
        count: u32,
        /// File name of the first.
        name: String,
    },
    /// A part is not a GGUF file, is damaged or was cut off.
    #[error("one part of this model cannot be used: {source}. The part: {name}")]
    Part {
        /// What is wrong with it.
        #[source]
        source: GgufError,
        /// Its file name.
        name: String,
    },
    /// A part has the name of another, or of a part of another model.
    #[error(
        "one part of this model is another than its name says; download it again. Inside it is {is}: {name}"
    )]
    Misnamed {
        /// What it is.
        is: String,
        /// Its file name.
        name: String,
    },
    /// Parts speak of different models.
    #[error(
        "parts of different models are mixed; download all parts again. The first that does not fit: {name}"
    )]
    Mixed {
        /// File name of a part that does not go with the first.
        name: String,
    },
    /// Two parts have the same tensor.
    #[error(
        "parts of different models are mixed; download all parts again. The tensor {tensor} is there twice, the second time in {name}"
    )]
    TensorTwice {
        /// Name of the tensor.
        tensor: String,
        /// File name of the second part.
        name: String,
    },
    /// The parts have more or fewer tensors together than the first one says.
    #[error(
        "parts of different models are mixed; download all parts again. They have {found} tensors and should have {promised}"
    )]
    OtherTensorCount {
        /// Tensors that were found; at least so many.
        found: u64,
        /// What the first part says.
        promised: u64,
    },
}
