//! Puts the source of a chat template into a form that minijinja takes as Python's Jinja would.
//!
//! Three things differ: lines may end in `\r\n`, which Python's Jinja reads as `\n`; `{% generation %}` marks what a
//! model is trained to write; and slices (`text[7:]`) are taken by the engine itself, which would cut through the marks
//! around contents, so they become calls of the method `sliced`. Comments and raw text stay as they are. Pure.
//! Start at [`adapted`].

/// The source to give to minijinja. What is not Jinja stays wrong in the same way.
pub(crate) fn adapted(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len() + 64);
    let mut rest = source.as_str();
    while let Some(place) = next_tag(rest) {
        out.push_str(&rest[..place]);
        rest = &rest[place..];
        let len = match rest.as_bytes().get(1) {
            Some(b'#') => rest.find("#}").map(|end| end + 2),
            Some(b'%') if is_block(rest, "raw") => end_of_raw(rest),
            _ => None,
        };
        if let Some(len) = len {
            out.push_str(&rest[..len]);
            rest = &rest[len..];
            continue;
        }
        let Some((tag, len)) = rewritten_tag(rest) else {
            break;
        };
        out.push_str(&match () {
            () if is_block(rest, "generation") => tag.replace("generation", "with"),
            () if is_block(rest, "endgeneration") => tag.replace("endgeneration", "endwith"),
            () => tag,
        });
        rest = &rest[len..];
    }
    out.push_str(rest);
    out
}

fn next_tag(text: &str) -> Option<usize> {
    let starts = ["{{", "{%", "{#"];
    starts.iter().filter_map(|start| text.find(start)).min()
}

/// Whether a text begins with `{% name %}`, in any of its spellings.
fn is_block(text: &str, name: &str) -> bool {
    let inside = text
        .strip_prefix("{%")
        .and_then(|rest| Some(rest.split_once("%}")?.0));
    inside.is_some_and(|inside| inside.trim_matches(['+', '-', ' ', '\t', '\n']) == name)
}

fn end_of_raw(text: &str) -> Option<usize> {
    let mut ends = text.match_indices("{%").map(|(place, _)| place);
    let place = ends.find(|&place| is_block(&text[place..], "endraw"))?;
    Some(place + text[place..].find("%}")? + 2)
}

/// A bracket that is still open.
struct Bracket {
    opened_by: char,
    /// Where it stands in what is written.
    place: usize,
    /// Where colons stand directly in it.
    colons: Vec<usize>,
}

/// The tag that a text begins with, its slices as calls, and its length in the text.
///
/// A colon directly in square brackets is a slice: lists have none, and mappings have braces of their own.
fn rewritten_tag(text: &str) -> Option<(String, usize)> {
    let closing = if text.starts_with("{{") { "}}" } else { "%}" };
    let mut out = text[..2].to_owned();
    let mut open: Vec<Bracket> = Vec::new();
    let mut characters = text.char_indices().skip(2);
    while let Some((place, character)) = characters.next() {
        let ends_here = text[place..].starts_with(closing);
        if ends_here && (open.is_empty() || closing == "%}") {
            out.push_str(closing);
            return Some((out, place + closing.len()));
        }
        match character {
            '\'' | '"' => {
                out.push(character);
                let mut escaped = false;
                for (_, inner) in characters.by_ref() {
                    out.push(inner);
                    if inner == character && !escaped {
                        break;
                    }
                    escaped = inner == '\\' && !escaped;
                }
                continue;
            }
            '(' | '[' | '{' => open.push(Bracket {
                opened_by: character,
                place: out.len(),
                colons: Vec::new(),
            }),
            ':' => {
                if let Some(bracket) = open.last_mut() {
                    bracket.colons.push(out.len());
                }
            }
            ')' | ']' | '}' => {
                if let Some(bracket) = open.pop()
                    && bracket.opened_by == '['
                    && !bracket.colons.is_empty()
                {
                    let call = call_of_slice(&out, &bracket);
                    out.truncate(bracket.place);
                    out.push_str(&call);
                    continue;
                }
            }
            _ => {}
        }
        out.push(character);
    }
    None
}

fn call_of_slice(written: &str, bracket: &Bracket) -> String {
    let starts = std::iter::once(bracket.place).chain(bracket.colons.iter().copied());
    let ends = bracket.colons.iter().copied().chain([written.len()]);
    let given = starts
        .zip(ends)
        .map(|(start, end)| match written[start + 1..end].trim() {
            "" => "none",
            given => given,
        });
    format!(".sliced({})", given.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_become_calls() {
        for (source, expected) in [
            ("{{ a[1:] }}", "{{ a.sliced(1, none) }}"),
            (
                "{{- a[b[:-1]|length : c['x:]']][0] -}}",
                "{{- a.sliced(b.sliced(none, -1)|length, c['x:]'])[0] -}}",
            ),
            (
                "{% for m in messages[::-1] %}",
                "{% for m in messages.sliced(none, none, -1) %}",
            ),
            ("{{ {'a': [1, {'b': 2}]}}}", "{{ {'a': [1, {'b': 2}]}}}"),
            ("{{ '\\'[1:]' ~ \"[:2]\" }}", "{{ '\\'[1:]' ~ \"[:2]\" }}"),
        ] {
            assert_eq!(adapted(source), expected);
        }
    }

    #[test]
    fn what_is_not_a_tag_stays() {
        for source in [
            "a[1:] {# {{ b[1:] }} #} {% raw %}{{ c[1:] }}{% generation %}{%- endraw -%} d[:1]",
            "{{ a[1:]",
            "{% raw %}{{ a[1:] }",
            "{# {{",
            "{{ 'a",
            "{",
        ] {
            assert_eq!(adapted(source), source);
        }
    }

    #[test]
    fn marks_for_training_become_plain_blocks() {
        assert_eq!(
            adapted("{%- generation -%}a{%+ endgeneration %}generation{{ generation }}"),
            "{%- with -%}a{%+ endwith %}generation{{ generation }}"
        );
    }

    #[test]
    fn lines_end_as_in_python() {
        assert_eq!(adapted("a\r\nb\rc{{ '\r\n' }}"), "a\nb\nc{{ '\n' }}");
    }
}
