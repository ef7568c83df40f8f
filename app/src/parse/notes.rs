//! The sentences that are said about a file which was read, but not quite as it stands.

/// "removed 14 invisible characters", or nothing to say for none.
pub(crate) fn invisible(count: usize) -> Option<String> {
    match count {
        0 => None,
        1 => Some("removed 1 invisible character".to_owned()),
        _ => Some(format!("removed {count} invisible characters")),
    }
}

/// "3 of 12 pages hold no text: probably scanned", or nothing to say when all do.
pub(crate) fn empty_pages(empty: usize, pages: usize) -> Option<String> {
    match empty {
        0 => None,
        1 => Some(format!(
            "1 of {pages} pages holds no text: probably scanned or a picture"
        )),
        _ => Some(format!(
            "{empty} of {pages} pages hold no text: probably scanned or pictures"
        )),
    }
}

/// "pages 3, 7 and 2 more could not be read", or nothing to say for none. Pages count from 1.
pub(crate) fn failed_pages(failed: &[usize]) -> Option<String> {
    const SHOWN: usize = 8;
    let listed: Vec<String> = failed.iter().take(SHOWN).map(usize::to_string).collect();
    let listed = listed.join(", ");
    match failed.len() {
        0 => None,
        1 => Some(format!("page {listed} could not be read")),
        count if count <= SHOWN => Some(format!("pages {listed} could not be read")),
        count => Some(format!(
            "pages {listed} and {} more could not be read",
            count - SHOWN
        )),
    }
}

/// "only the first 200000 of 300000 rows were kept", or nothing to say when all were.
pub(crate) fn left_out(what: &str, kept: usize, found: usize) -> Option<String> {
    (found > kept).then(|| format!("only the first {kept} of {found} {what} were kept"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_read_well() {
        assert_eq!(invisible(0), None);
        assert_eq!(invisible(14).unwrap(), "removed 14 invisible characters");
        assert_eq!(failed_pages(&[3]).unwrap(), "page 3 could not be read");
        let many: Vec<usize> = (1..=10).collect();
        assert_eq!(
            failed_pages(&many).unwrap(),
            "pages 1, 2, 3, 4, 5, 6, 7, 8 and 2 more could not be read"
        );
        assert_eq!(left_out("rows", 5, 5), None);
    }
}
