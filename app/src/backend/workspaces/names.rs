//! Names of workspaces: which may be given, and which workspace a user means.
//!
//! Pure. Start at [`resolve`] and [`checked_name`].

use crate::message::{Failure, FailureKind};

/// A name is shown in one line of a list.
const MAX_NAME_CHARS: usize = 80;
/// Fewer digits of an id are too likely to be a slip.
const MIN_ID_DIGITS: usize = 4;

/// Finds the workspace that a user names: by its id, by its name (capitals do not count), or by the first four
/// digits of its id and more, in this order.
///
/// # Errors
/// When none or several fit.
pub fn resolve<'a, T>(
    all: &'a [T],
    name_and_id: impl Fn(&'a T) -> (&'a str, &'a str),
    wanted: &str,
) -> Result<&'a T, Failure> {
    let wanted = wanted.trim();
    let lower = wanted.to_lowercase();
    let fitting = |fits: &dyn Fn(&str, &str) -> bool| -> Vec<&'a T> {
        let candidates = all.iter().map(|one| (one, name_and_id(one)));
        candidates
            .filter(|(_, (name, id))| fits(name, id))
            .map(|(one, _)| one)
            .collect()
    };
    let mut found = fitting(&|_, id| id == lower);
    if found.is_empty() {
        found = fitting(&|name, _| !name.is_empty() && name.to_lowercase() == lower);
    }
    if found.is_empty() && lower.len() >= MIN_ID_DIGITS {
        found = fitting(&|_, id| id.starts_with(&lower));
    }
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Failure::new(
            FailureKind::NotFound,
            format!("there is no workspace “{wanted}”"),
        )
        .with_hint("`satchel workspace list` names them; `satchel workspace new` makes one.")),
        _ => Err(Failure::new(
            FailureKind::Usage,
            format!("“{wanted}” fits several workspaces"),
        )
        .with_hint("Give the id, or more of its digits: `satchel workspace list`.")),
    }
}

/// A name as it is kept: without the white space around it.
///
/// # Errors
/// When it is empty, too long, or holds what cannot be shown in one line.
pub(super) fn checked_name(name: &str) -> Result<String, Failure> {
    let name = name.trim();
    let chars = name.chars().count();
    let wrong = if chars == 0 {
        "a workspace needs a name".to_owned()
    } else if chars > MAX_NAME_CHARS {
        format!("a name of {chars} characters is too long for a workspace")
    } else if name.contains(char::is_control) {
        "a line break, a tab or another control character cannot be part of a name".to_owned()
    } else {
        return Ok(name.to_owned());
    };
    Err(Failure::new(FailureKind::Usage, wrong)
        .with_hint(format!("Choose 1 to {MAX_NAME_CHARS} characters.")))
}

/// Refuses a name that one of `others` has: the two could not be told apart.
///
/// # Errors
/// When it is taken.
pub(super) fn refuse_taken<'a>(
    mut others: impl Iterator<Item = &'a str>,
    name: &str,
) -> Result<(), Failure> {
    let lower = name.to_lowercase();
    match others.find(|other| other.to_lowercase() == lower) {
        None => Ok(()),
        Some(other) => Err(Failure::new(
            FailureKind::Usage,
            format!("there is a workspace “{other}” already"),
        )
        .with_hint("Choose another name, or rename that one first.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(wanted: &str) -> Result<&'static str, FailureKind> {
        const ALL: [(&str, &str); 5] = [
            ("Taxes 2025", "0a1b2c3d"),
            ("Café", "0a1bffff"),
            ("0a1b2", "77777777"),
            ("", "88888888"),
            ("café ", "99999999"),
        ];
        resolve(&ALL, |one| *one, wanted)
            .map(|one| one.1)
            .map_err(|failure| failure.kind)
    }

    #[test]
    fn a_workspace_is_found_by_name_or_id() {
        assert_eq!(found("taxes 2025"), Ok("0a1b2c3d"));
        assert_eq!(found("  Taxes 2025 "), Ok("0a1b2c3d"));
        assert_eq!(found("CAFÉ"), Ok("0a1bffff"));
        assert_eq!(found("0A1BF"), Ok("0a1bffff"));
        assert_eq!(found("0a1b2"), Ok("77777777"), "a name goes before digits");
        assert_eq!(found("0a1b2c3d"), Ok("0a1b2c3d"), "a whole id before all");
        assert_eq!(found("8888"), Ok("88888888"), "without a name");
    }

    #[test]
    fn what_fits_none_or_several_is_refused() {
        for nothing in ["", " ", "Tax", "888", "ffff"] {
            assert_eq!(found(nothing), Err(FailureKind::NotFound), "{nothing:?}");
        }
        assert_eq!(found("0a1b"), Err(FailureKind::Usage));
    }

    #[test]
    fn names_are_trimmed_and_bad_ones_refused() {
        assert_eq!(checked_name("  Ärzte & Co.\n").unwrap(), "Ärzte & Co.");
        let longest = "ä".repeat(MAX_NAME_CHARS);
        assert_eq!(checked_name(&longest).unwrap(), longest);
        for bad in ["", " \t ", "a\nb", "a\u{1b}[31mb", &format!("{longest}ä")] {
            let refused = checked_name(bad).unwrap_err();
            assert_eq!(refused.kind, FailureKind::Usage, "{bad:?}");
            assert!(refused.hint.unwrap().contains("80"));
        }
    }

    #[test]
    fn a_name_is_given_once() {
        let others = || ["Taxes", "Straße"].into_iter();
        assert!(refuse_taken(others(), "Tax").is_ok());
        for taken in ["taxes", "TAXES", "straße"] {
            let refused = refuse_taken(others(), taken).unwrap_err();
            assert!(refused.message.contains("already"), "{refused}");
        }
    }
}
