//! Rust source with its comments, literals and test code blanked, so that a search finds code alone.
//!
//! Not a parser: it knows tokens and brackets, no grammar. Lines and columns stay where they were.
//! Start at [`code`] and [`product_code`].

use std::sync::OnceLock;

use crate::repository;

/// `text` with comments, strings and character literals replaced by spaces; line breaks stay.
#[must_use]
pub fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_blank(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        out.extend(
            chars[at..end]
                .iter()
                .map(|&c| if c == '\n' { '\n' } else { ' ' }),
        );
        at = end;
    }
    out
}

/// [`code`] without what only tests compile: items under `#[cfg(test)]` and the like.
#[must_use]
pub fn product_code(text: &str) -> String {
    let mut chars: Vec<char> = code(text).chars().collect();
    let mut at = 0;
    while at < chars.len() {
        if is_test_attribute(&chars, at) {
            let end = end_of_item(&chars, at);
            chars[at..end]
                .iter_mut()
                .filter(|c| **c != '\n')
                .for_each(|c| *c = ' ');
            at = end;
        }
        at += 1;
    }
    chars.into_iter().collect()
}

/// Paths of the files that are modules of tests: `#[cfg(test)] mod name;` in one file names another.
#[must_use]
pub fn test_modules() -> &'static [String] {
    static FOUND: OnceLock<Vec<String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        repository::rust_files()
            .filter(|(_, text)| text.contains("cfg("))
            .flat_map(|(file, text)| test_modules_of(&file.path, text))
            .collect()
    })
}

fn test_modules_of(path: &str, text: &str) -> Vec<String> {
    let folder = folder_of_modules(path);
    let mut found = Vec::new();
    for (line, name) in modules_of_tests(text) {
        match path_attribute(text, line) {
            // `#[path]` is relative to the folder of the file itself.
            Some(other) => found.push(format!(
                "{}/{other}",
                path.rsplit_once('/').map_or("", |(folder, _)| folder)
            )),
            None => found.extend([
                format!("{folder}/{name}.rs"),
                format!("{folder}/{name}/mod.rs"),
            ]),
        }
    }
    found
}

/// Index of the line and name of every `mod name;` that only tests compile.
fn modules_of_tests(text: &str) -> Vec<(usize, String)> {
    let (code, product) = (code(text), product_code(text));
    let lines = code.lines().zip(product.lines()).enumerate();
    let of_tests = lines.filter_map(|(index, (line, in_product))| {
        Some((index, module_name(line)?, module_name(in_product)))
    });
    of_tests
        .filter(|(_, _, in_product)| in_product.is_none())
        .map(|(index, name, _)| (index, name.to_owned()))
        .collect()
}

/// `file.rs` of an attribute `#[path = "file.rs"]` on the line or just above it.
fn path_attribute(text: &str, line: usize) -> Option<&str> {
    let mut near = text.lines().take(line + 1).skip(line.saturating_sub(2));
    near.find_map(|line| line.split_once("#[path = \"")?.1.split('"').next())
}

/// Line numbers (from 1) of `code` whose text contains `word` between characters that are no part of a name.
///
/// `word` may itself end or start with such a character: `dbg!`.
#[must_use]
pub fn lines_with_word(code: &str, word: &str) -> Vec<usize> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let has_word = |line: &str| {
        line.match_indices(word).any(|(start, _)| {
            let free_before = !line[..start].ends_with(is_name) || !word.starts_with(is_name);
            let free_after =
                !line[start + word.len()..].starts_with(is_name) || !word.ends_with(is_name);
            free_before && free_after
        })
    };
    code.lines()
        .enumerate()
        .filter(|(_, line)| has_word(line))
        .map(|(index, _)| index + 1)
        .collect()
}

/// `name` of a line `mod name;`, with or without visibility and attributes before it.
fn module_name(line: &str) -> Option<&str> {
    let (before, after) = line.trim().strip_suffix(';')?.rsplit_once("mod ")?;
    let is_module = before.is_empty() || before.ends_with([' ', ']']);
    (is_module && !after.contains(char::is_whitespace)).then_some(after)
}

/// The folder in which the modules declared by the file at `path` lie.
fn folder_of_modules(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => format!("{folder}/{}", name.trim_end_matches(".rs")),
    }
}

/// Where the comment or literal that starts at `at` ends; `at` itself where none starts there.
fn end_of_blank(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => position_from(chars, at, |c| c == '\n'),
        '/' if next == Some('*') => end_of_block_comment(chars, at),
        '"' => end_of_string(chars, at),
        'r' if !follows_name(chars, at) => end_of_raw_string(chars, at),
        '\'' => end_of_char(chars, at),
        _ => at,
    }
}

fn position_from(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    chars[from..]
        .iter()
        .position(|&c| wanted(c))
        .map_or(chars.len(), |offset| from + offset)
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// A name that only ends in `r` starts no raw string; `br` and `cr` do.
fn follows_name(chars: &[char], at: usize) -> bool {
    let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
    match at.checked_sub(1).map(|before| chars[before]) {
        Some('b' | 'c') => at >= 2 && is_name(&chars[at - 2]),
        Some(c) => is_name(&c),
        None => false,
    }
}

fn end_of_raw_string(chars: &[char], start: usize) -> usize {
    let open = position_from(chars, start + 1, |c| c != '#');
    if chars.get(open) != Some(&'"') {
        return start;
    }
    let hashes = open - start - 1;
    let mut at = open + 1;
    while at < chars.len() {
        let close = position_from(chars, at, |c| c == '"');
        let end = (close + 1 + hashes).min(chars.len());
        if end > close
            && chars[(close + 1).min(end)..end].iter().all(|&c| c == '#')
            && end == close + 1 + hashes
        {
            return end;
        }
        at = close + 1;
    }
    chars.len()
}

/// `'a'` and `'\n'` are literals, `'a` is a lifetime.
fn end_of_char(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        // The escaped character itself may be a quote, so the search starts after it.
        (Some('\\'), _) => {
            (position_from(chars, (start + 3).min(chars.len()), |c| c == '\'') + 1).min(chars.len())
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start,
    }
}

fn is_test_attribute(chars: &[char], at: usize) -> bool {
    const ATTRIBUTES: [&str; 3] = ["#[cfg(test)", "#[cfg(any(test", "#[cfg(all(test"];
    chars[at] == '#'
        && ATTRIBUTES.iter().any(|attribute| {
            attribute
                .chars()
                .eq(chars[at..].iter().copied().take(attribute.len()))
        })
}

/// End of the item that the attribute at `start` belongs to: its closing brace, or its semicolon.
fn end_of_item(chars: &[char], start: usize) -> usize {
    let mut depth = 0_i32;
    for (offset, &c) in chars[start..].iter().enumerate() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        let ends = depth == 0 && matches!(c, ';' | '}');
        // A brace that closes more than was opened: the last variant or field of the enclosing item.
        if ends || depth < 0 {
            return start + offset + usize::from(ends);
        }
    }
    chars.len()
}
