//! What a document is called: by its own words where it has some, else by its file name.
//!
//! Pure. Start at [`choose`].

use super::detect;

/// Longest title in characters; longer ones are sentences.
const TITLE_CHARS: usize = 200;

/// The first candidate that is a real title, else the file's name without its extension.
pub(crate) fn choose<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = Option<&'a str>>,
) -> String {
    candidates
        .into_iter()
        .flatten()
        .find_map(|candidate| sensible(candidate, name))
        .unwrap_or_else(|| from_name(name))
}

/// The file name without its extension, on one line; "Untitled" for a name of nothing visible.
pub(crate) fn from_name(name: &str) -> String {
    let stem = match detect::extension(name).len() {
        0 => name,
        length => &name[..name.len() - length - 1],
    };
    one_line(stem).unwrap_or_else(|| "Untitled".to_owned())
}

/// The title that a Markdown text gives itself: in its front matter, else its first heading.
pub(crate) fn of_markdown(text: &str) -> Option<String> {
    of_front_matter(text).or_else(|| first_heading(text))
}

/// The first `#` heading outside of code, without its marks; level 1 is preferred.
pub(crate) fn first_heading(text: &str) -> Option<String> {
    let mut fence: Option<&str> = None;
    let mut first = None;
    for line in text.lines().take(2000) {
        let trimmed = line.trim_start();
        match fence {
            Some(open) if trimmed.starts_with(open) => fence = None,
            Some(_) => {}
            None if trimmed.starts_with("```") => fence = Some("```"),
            None if trimmed.starts_with("~~~") => fence = Some("~~~"),
            None => {
                let Some((level, words)) = heading(line) else {
                    continue;
                };
                if level == 1 {
                    return Some(words);
                }
                first.get_or_insert(words);
            }
        }
    }
    first
}

fn heading(line: &str) -> Option<(usize, String)> {
    let level = line.bytes().take_while(|byte| *byte == b'#').count();
    if level == 0 || level > 6 || !line[level..].starts_with([' ', '\t']) {
        return None;
    }
    let words = line[level..].trim().trim_end_matches('#');
    let words = words.replace("**", "").replace("__", "");
    one_line(words.trim_matches(['*', '`', ' '])).map(|words| (level, words))
}

/// `title: Words` between `---` lines, or `title = "Words"` between `+++` lines.
fn of_front_matter(text: &str) -> Option<String> {
    let (mark, separator) = if text.starts_with("---\n") {
        ("---", ':')
    } else if text.starts_with("+++\n") {
        ("+++", '=')
    } else {
        return None;
    };
    text.lines()
        .skip(1)
        .take(200)
        .take_while(|line| line.trim_end() != mark)
        .filter_map(|line| line.split_once(separator))
        .find(|(key, _)| key.trim_end() == "title")
        .and_then(|(_, value)| one_line(value.trim().trim_matches(['"', '\''])))
}

/// A candidate as one line, unless it is what programs write when nobody gave a title.
fn sensible(candidate: &str, name: &str) -> Option<String> {
    let mut words = one_line(candidate)?;
    for prefix in [
        "Microsoft Word - ",
        "Microsoft PowerPoint - ",
        "Microsoft Excel - ",
    ] {
        if let Some(rest) = words.strip_prefix(prefix) {
            words = rest.to_owned();
        }
    }
    let lower = words.to_lowercase();
    let letters = words.chars().filter(|c| c.is_alphabetic()).count();
    let is_placeholder = [
        "untitled",
        "unknown",
        "document",
        "title",
        "none",
        "word document",
        "contents",
        "table of contents",
    ]
    .iter()
    .any(|placeholder| {
        lower
            .strip_prefix(placeholder)
            .is_some_and(|rest| rest.chars().all(|c| !c.is_alphabetic()))
    });
    // "report_v3.indd", "/home/x/thesis.tex", "HHS2022B": where it came from, not what it is called.
    let is_file_name = !words.contains(' ')
        && words.contains(|c: char| matches!(c, '/' | '\\' | '_' | '.') || c.is_ascii_digit());
    let repeats_name = lower == name.to_lowercase();
    (letters >= 2 && !is_placeholder && !is_file_name && !repeats_name).then_some(words)
}

/// Joins lines and runs of blanks, drops the invisible, and cuts what is too long for a title.
fn one_line(words: &str) -> Option<String> {
    let cleaned = super::clean::clean(words, super::clean::FormFeed::Whitespace).text;
    let line = cleaned.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        return None;
    }
    match line.char_indices().nth(TITLE_CHARS) {
        Some((cut, _)) => Some(format!("{}…", line[..cut].trim_end())),
        None => Some(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_matter_wins_over_headings() {
        let text = "---\nauthor: A\ntitle: \"My  thesis\"\n---\n# Chapter\n";
        assert_eq!(of_markdown(text).as_deref(), Some("My thesis"));
        assert_eq!(
            of_markdown("+++\ntitle = 'Post'\n+++\n").as_deref(),
            Some("Post")
        );
    }

    #[test]
    fn the_first_heading_of_level_one_is_the_title() {
        let text = "## Contents\n\n```\n# a comment\n```\n# **The** `title` #\n";
        assert_eq!(of_markdown(text).as_deref(), Some("The `title"));
        assert_eq!(of_markdown("## Only this\n").as_deref(), Some("Only this"));
        assert_eq!(of_markdown("#hashtag\ntext"), None);
    }

    #[test]
    fn what_programs_write_by_themselves_is_no_title() {
        for rubbish in [
            "untitled",
            "Untitled 3",
            "report_v3.indd",
            "a.pdf",
            " ",
            "1-2",
            "HHS2022B",
            "Contents",
            "Document1",
        ] {
            assert_eq!(
                choose("annual report.pdf", [Some(rubbish)]),
                "annual report",
                "{rubbish}"
            );
        }
        assert_eq!(
            choose("a.pdf", [Some("Microsoft Word - Annual report")]),
            "Annual report"
        );
        assert_eq!(
            choose("a.pdf", [None, Some("Title of work")]),
            "Title of work"
        );
    }

    #[test]
    fn names_without_extension_and_hidden_names_stay() {
        assert_eq!(from_name("README"), "README");
        assert_eq!(from_name(".bashrc"), ".bashrc");
        assert_eq!(from_name("a.b.txt"), "a.b");
        assert_eq!(from_name("\u{202E}fdp.exe"), "fdp");
    }

    #[test]
    fn long_titles_are_cut_at_a_character() {
        let title = choose("a.txt", [Some("ä".repeat(300).as_str())]);
        assert_eq!(title.chars().count(), TITLE_CHARS + 1);
    }
}
