//! What faces and backend say to each other about earlier versions of documents, and about what two laptops changed
//! at once.
//!
//! Plain data, as in the rest of [`message`](super). Start at [`HistoryCommand`] and [`ConflictReport`].

use serde::{Deserialize, Serialize};

use super::DeviceStatus;

/// A wish about the versions of a document.
///
/// `document` is as for [`Command::Show`](super::Command::Show), or a title or file name that only one document has.
/// A version is its number, or its lasting name of eight digits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum HistoryCommand {
    /// List them. Answered by [`Reply::History`](super::Reply::History).
    Versions {
        /// Which document.
        document: String,
        /// The newest ones that are listed; 0 lists all.
        limit: usize,
    },
    /// Show how two versions differ. Answered by [`Reply::Difference`](super::Reply::Difference).
    Difference {
        /// Which document.
        document: String,
        /// The older one; `None` for the version that `to` was made from.
        from: Option<String>,
        /// The newer one; `None` for the present text.
        to: Option<String>,
    },
    /// Make a version the present text, as a new version. Answered by [`Reply::Done`](super::Reply::Done).
    Restore {
        /// Which document.
        document: String,
        /// Which version.
        version: String,
    },
}

/// Who wrote something, as the list of laptops knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// Id of the laptop; `None` for what was written before the workspace was shared.
    pub device: Option<String>,
    /// What the laptop is called.
    pub label: String,
    /// It is this one.
    pub is_this: bool,
}

impl Author {
    /// `this laptop`, or what it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.is_this {
            "this laptop"
        } else {
            &self.label
        }
    }

    /// Several of them: `this laptop and travel`.
    #[must_use]
    pub fn names(authors: &[Self]) -> String {
        let names: Vec<&str> = authors.iter().map(Self::name).collect();
        names.join(" and ")
    }
}

/// The laptops, to say who wrote something.
#[derive(Debug, Clone, Default)]
pub struct Authors {
    /// Those of the workspace; none where it is not shared.
    pub devices: Vec<DeviceStatus>,
    /// The workspace is on this laptop alone.
    pub alone: bool,
}

impl Authors {
    /// Who a device is.
    #[must_use]
    pub fn of(&self, device: Option<satchel_sync::DeviceId>) -> Author {
        let known = self.devices.iter().find(|known| Some(known.id) == device);
        let label = match (known, device) {
            (Some(known), _) => known.label.clone(),
            (None, Some(device)) => format!("an unknown laptop ({})", device.short()),
            (None, None) => "before it was shared".to_owned(),
        };
        Author {
            device: device.map(|device| device.to_string()),
            is_this: known.map_or(self.alone && device.is_none(), |known| known.is_this),
            label,
        }
    }
}

/// The versions of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryReport {
    /// Document id.
    pub document: String,
    /// Its title.
    pub title: String,
    /// How many versions there are.
    pub total: usize,
    /// The newest ones, newest first.
    pub versions: Vec<VersionSummary>,
}

/// One version in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSummary {
    /// Counted from 1, oldest first. Older versions that arrive later may move it.
    pub number: usize,
    /// Its lasting name.
    pub id: String,
    /// How it came about.
    pub how: VersionKind,
    /// Who wrote it; empty for a join.
    pub authors: Vec<Author>,
    /// When it was begun, in milliseconds since 1970 by its author's clock.
    pub since_ms: Option<i64>,
    /// When it was finished.
    pub at_ms: Option<i64>,
    /// Numbers of the versions that it was made from.
    pub from: Vec<usize>,
    /// Length of its text in UTF-8 bytes.
    pub text_bytes: u64,
    /// By how much it is longer than the first of those that it was made from.
    pub change_bytes: i64,
    /// It is the present text.
    pub is_now: bool,
}

impl VersionSummary {
    /// Who made it, in words: `this laptop`, `joined from 2 and 3`.
    #[must_use]
    pub fn who(&self) -> String {
        match self.how {
            VersionKind::Joined => {
                let from: Vec<String> = self.from.iter().map(ToString::to_string).collect();
                format!("joined from {}", from.join(" and "))
            }
            VersionKind::Written => Author::names(&self.authors),
            VersionKind::Together => format!("{}, together", Author::names(&self.authors)),
        }
    }

    /// By how much it is longer or shorter: `+120 B`.
    #[must_use]
    pub fn change(&self) -> String {
        let sign = if self.change_bytes < 0 { "−" } else { "+" };
        format!(
            "{sign}{}",
            crate::units::size(self.change_bytes.unsigned_abs())
        )
    }
}

/// How a version came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionKind {
    /// Somebody wrote it.
    Written,
    /// Versions of several laptops met; the text holds all of them.
    Joined,
    /// Several laptops wrote at the same time, while connected.
    Together,
}

/// How two versions differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceReport {
    /// Document id.
    pub document: String,
    /// Its title.
    pub title: String,
    /// The older version; `None` for an empty text before the first one.
    pub from: Option<VersionSummary>,
    /// The newer version.
    pub to: VersionSummary,
    /// Lines that came.
    pub added: usize,
    /// Lines that went.
    pub removed: usize,
    /// Where they differ.
    pub hunks: Vec<DifferenceHunk>,
}

/// A place where two versions differ, with some equal lines around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceHunk {
    /// First line in the older version, counted from 1; 0 where there is none.
    pub from_line: usize,
    /// Lines of the older version.
    pub from_lines: usize,
    /// First line in the newer version.
    pub to_line: usize,
    /// Lines of the newer version.
    pub to_lines: usize,
    /// The lines.
    pub lines: Vec<DifferenceLine>,
}

impl DifferenceHunk {
    /// `@@ -5,7 +5,8 @@`, as other programs write it.
    #[must_use]
    pub fn heading(&self) -> String {
        format!(
            "@@ -{},{} +{},{} @@",
            self.from_line, self.from_lines, self.to_line, self.to_lines
        )
    }
}

/// One line of a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceLine {
    /// `+` came, `-` went, a space for one that is in both.
    pub sign: char,
    /// The line, without its end.
    pub text: String,
}

/// What two laptops changed without knowing of each other. Of
/// [`SyncCommand::Conflicts`](super::SyncCommand::Conflicts).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictReport {
    /// What is older is left out; milliseconds since 1970.
    pub since_ms: i64,
    /// Documents that were edited on two laptops, newest first. Both edits are in the text.
    pub documents: Vec<Meeting>,
    /// Names that were given differently on two laptops.
    pub names: Vec<NameChoice>,
    /// Chats that went on on two laptops.
    pub chats: Vec<ChatBranches>,
    /// Documents and chats that could not be looked at.
    pub unreadable: usize,
}

impl ConflictReport {
    /// Whether nothing met.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty() && self.names.is_empty() && self.chats.is_empty()
    }
}

/// A point in a document's history where edits of two laptops met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meeting {
    /// Document id.
    pub document: String,
    /// Its title.
    pub title: String,
    /// Number of the version with both.
    pub joined: usize,
    /// Its lasting name.
    pub joined_id: String,
    /// Number of the last version that both knew, where there is just one.
    pub base: Option<usize>,
    /// What each laptop did.
    pub sides: Vec<MeetingSide>,
    /// They changed the same lines: it is worth reading what became of them.
    pub same_lines: bool,
}

/// One side of a [`Meeting`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeetingSide {
    /// Whose.
    pub authors: Vec<Author>,
    /// When it was begun, in milliseconds since 1970 by the laptop's clock.
    pub since_ms: Option<i64>,
    /// When it was finished.
    pub at_ms: Option<i64>,
    /// Number of the version that it had come to.
    pub version: usize,
    /// Its lasting name.
    pub version_id: String,
}

/// A name that was given differently on two laptops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameChoice {
    /// `workspace`, `document` or `chat`.
    pub what: String,
    /// Its id.
    pub id: String,
    /// All of them, the one in force first.
    pub values: Vec<NameValue>,
}

/// One of several names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameValue {
    /// The name.
    pub value: String,
    /// Whose it is.
    pub author: Author,
    /// When it was given, in milliseconds since 1970 by the laptop's clock.
    pub at_ms: Option<i64>,
    /// It is the one in force.
    pub in_force: bool,
}

/// A chat that went on on two laptops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatBranches {
    /// Chat id.
    pub chat: String,
    /// Its title.
    pub title: String,
    /// Its branches, newest first.
    pub branches: Vec<BranchEnd>,
}

/// The end of a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchEnd {
    /// Who said the last thing.
    pub author: Author,
    /// When, in milliseconds since 1970 by the laptop's clock.
    pub at_ms: i64,
}
