//! Small repairs to Markdown that a converter wrote, so that its words can be quoted verbatim.
//!
//! Pure. Converters put a backslash before every `_` and `*`; a quotation must not show them.

/// Removes the backslashes that a converter added to text; code is left alone.
///
/// A backslash before `#` at the start of a line stays, for without it the line would become a
/// heading.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut fence: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        let opens = ["```", "~~~"]
            .into_iter()
            .find(|mark| trimmed.starts_with(mark));
        match (fence, opens) {
            (None, Some(mark)) => {
                fence = Some(mark);
                out.push_str(line);
            }
            (Some(open), Some(mark)) if open == mark => {
                fence = None;
                out.push_str(line);
            }
            (Some(_), _) => out.push_str(line),
            (None, None) => unescape_line(line, &mut out),
        }
    }
    out
}

fn unescape_line(line: &str, out: &mut String) {
    let mut rest = line;
    while let Some(at) = rest.find(['\\', '`']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('`') {
            let span = code_span(rest);
            out.push_str(&rest[..span]);
            rest = &rest[span..];
            continue;
        }
        let at_line_start = out
            .rsplit('\n')
            .next()
            .is_some_and(|line| line.trim().is_empty());
        let escaped = rest[1..].chars().next();
        match escaped {
            // In a table cell a bare pipe would end the cell.
            Some('#') if at_line_start => out.push_str("\\#"),
            Some(mark) if mark.is_ascii_punctuation() && mark != '|' => out.push(mark),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
        rest = &rest[1 + escaped.map_or(0, char::len_utf8)..];
    }
    out.push_str(rest);
}

/// Length of the code span at the start of `text`, or of its backticks where it has no end.
fn code_span(text: &str) -> usize {
    let ticks = text.bytes().take_while(|byte| *byte == b'`').count();
    let mark = &text[..ticks];
    let mut from = ticks;
    while let Some(found) = text[from..].find(mark) {
        let start = from + found;
        let run = text[start..]
            .bytes()
            .take_while(|byte| *byte == b'`')
            .count();
        if run == ticks {
            return start + run;
        }
        from = start + run;
    }
    ticks
}

/// Drops blanks at line ends and more than one empty line in a row.
pub(crate) fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty_lines = 0;
    for line in text.lines() {
        let line = line.trim_end();
        if line.is_empty() {
            empty_lines += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if empty_lines > 0 { "\n\n" } else { "\n" });
        }
        empty_lines = 0;
        out.push_str(line);
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_go_and_code_stays() {
        let check = |input: &str, expected: &str| assert_eq!(unescape(input), expected);
        check("snake\\_case \\[1\\] 2\\*3 \\<b>", "snake_case [1] 2*3 <b>");
        check("a `b\\_c` \\_d", "a `b\\_c` _d");
        check("``a`\\_`` \\_", "``a`\\_`` _");
        check("```\na\\_b\n```\nc\\_d", "```\na\\_b\n```\nc_d");
        check("\\# not a heading\nx \\# y", "\\# not a heading\nx # y");
        check("| a \\| b |", "| a \\| b |");
        check("C:\\\\dir\\\\x", "C:\\dir\\x");
        check("end\\", "end\\");
    }

    #[test]
    fn empty_lines_are_collapsed() {
        assert_eq!(tidy("\n\na  \n\n\n\nb\nc\n"), "a\n\nb\nc\n");
    }
}
