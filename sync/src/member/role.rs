//! What a device may do in a workspace.
//!
//! Pure. Start at [`Role`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a device may do. The number is stored in signed records, so an entry is never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Role {
    /// Reads, writes, and says who is a member.
    Owner = 1,
    /// Reads and writes documents and chats.
    Writer = 2,
    /// Reads.
    Reader = 3,
}

impl Role {
    /// Whether this role may change documents and chats.
    #[must_use]
    pub fn may_write(self) -> bool {
        self != Self::Reader
    }

    /// Whether the other role may do more.
    #[must_use]
    pub fn is_below(self, other: Self) -> bool {
        self as u8 > other as u8
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Owner, Self::Writer, Self::Reader]
            .into_iter()
            .find(|role| *role as u8 == number)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "owner",
            Self::Writer => "writer",
            Self::Reader => "reader",
        })
    }
}

/// A word that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a role is owner, writer or reader, not “{found}”")]
pub struct ParseRoleError {
    /// What was given, shortened to 40 characters.
    pub found: String,
}

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        match text {
            "owner" => Ok(Self::Owner),
            "writer" => Ok(Self::Writer),
            "reader" => Ok(Self::Reader),
            _ => Err(ParseRoleError {
                found: text.chars().take(40).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_survives_its_word_and_its_number() {
        for role in [Role::Owner, Role::Writer, Role::Reader] {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert_eq!(Role::from_number(role as u8), Some(role));
            let json = serde_json::to_string(&role).unwrap();
            assert_eq!(json, format!("\"{role}\""));
            assert_eq!(serde_json::from_str::<Role>(&json).unwrap(), role);
        }
        assert_eq!(
            "admin".parse::<Role>().unwrap_err().to_string(),
            "a role is owner, writer or reader, not “admin”"
        );
        assert_eq!(Role::from_number(0), None);
    }

    #[test]
    fn owners_stand_above_writers_and_these_above_readers() {
        assert!(Role::Reader.is_below(Role::Writer) && Role::Writer.is_below(Role::Owner));
        assert!(!Role::Owner.is_below(Role::Owner) && !Role::Owner.is_below(Role::Reader));
        assert!(Role::Owner.may_write() && Role::Writer.may_write() && !Role::Reader.may_write());
    }
}
