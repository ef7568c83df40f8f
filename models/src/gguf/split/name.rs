//! The names of the parts of a split model: `NAME-00001-of-00003.gguf`.
//!
//! A name only: whether such a file is there, and is that part, others find out. Start at [`PartName::parse`].

use std::path::Path;

/// Parts that a model may have. The largest real ones have fewer than 100.
pub(crate) const MAX_PARTS: u32 = 1000;

/// What the name of a part says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartName {
    /// What comes before the numbers. Taken from a file's name, so it never leads to another folder.
    prefix: String,
    /// Which part, from 1.
    pub(crate) number: u32,
    /// How many there are.
    pub(crate) count: u32,
}

impl PartName {
    /// Reads the name of a file; `None` where it is not that of a part.
    pub(crate) fn parse(file_name: &str) -> Option<Self> {
        let rest = file_name.strip_suffix(".gguf")?;
        let (rest, count) = numbered(rest, "-of-")?;
        let (prefix, number) = numbered(rest, "-")?;
        let is_name = !prefix.is_empty() && !prefix.contains('/');
        let is_part = (1..=count).contains(&number) && count <= MAX_PARTS;
        (is_name && is_part).then(|| Self {
            prefix: prefix.to_owned(),
            number,
            count,
        })
    }

    /// Reads the name of the file at `path`.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        Self::parse(path.file_name()?.to_str()?)
    }

    /// The names of all parts of this model, from the first.
    pub(crate) fn all(&self) -> impl Iterator<Item = Self> + use<> {
        let name = self.clone();
        (1..=name.count).map(move |number| Self {
            number,
            ..name.clone()
        })
    }

    pub(crate) fn file_name(&self) -> String {
        let Self {
            prefix,
            number,
            count,
        } = self;
        format!("{prefix}-{number:05}-of-{count:05}.gguf")
    }

    /// Name of the file that all parts make.
    pub(crate) fn whole(&self) -> String {
        format!("{}.gguf", self.prefix)
    }
}

/// Takes `mark` and five digits from the end.
fn numbered<'a>(text: &'a str, mark: &str) -> Option<(&'a str, u32)> {
    let (rest, digits) = text.rsplit_once(mark)?;
    let is_number = digits.len() == 5 && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?.map(|n| (rest, n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_all_parts() {
        let name = PartName::parse("Qwen3-235B-Q4_K_M-00002-of-00003.gguf").unwrap();
        assert_eq!((name.number, name.count), (2, 3));
        let all: Vec<String> = name.all().map(|part| part.file_name()).collect();
        assert_eq!(all[0], "Qwen3-235B-Q4_K_M-00001-of-00003.gguf");
        assert_eq!(all[1], "Qwen3-235B-Q4_K_M-00002-of-00003.gguf");
        assert_eq!(all.len(), 3);
        assert_eq!(name.whole(), "Qwen3-235B-Q4_K_M.gguf");
    }

    #[test]
    fn other_names_are_none_of_a_part() {
        for name in [
            "model.gguf",
            "m-00001-of-00003.bin",
            "m-1-of-3.gguf",
            "m-00000-of-00003.gguf",
            "m-00004-of-00003.gguf",
            "m-00001-of-99999.gguf",
            "m-+0001-of-00003.gguf",
            "m-00001-of-000003.gguf",
            "-00001-of-00003.gguf",
            "../m-00001-of-00003.gguf",
            "m00001of00003.gguf",
            "模型-00001-of-0000३.gguf",
            "",
        ] {
            assert_eq!(PartName::parse(name), None, "{name}");
        }
    }
}
