//! Python's string methods, and Jinja's filters and tests, as chat templates expect them.
//!
//! Templates are written for Python's Jinja. minijinja is close to it but not the same, and it does not know of the
//! marks around contents; here is what differs for texts. minijinja-contrib has the rest of Python's methods.
//! Pure. Start at [`add_python`].

use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, filters};
use minijinja_contrib::pycompat;

use crate::marked::Marked;
use crate::python_json::to_json;

/// Makes an environment behave as Python's.
pub(crate) fn add_python(environment: &mut Environment<'_>) {
    environment.set_unknown_method_callback(method);
    environment.add_filter("trim", |value: &Value, chars: Option<&str>| {
        Ok::<_, Error>(strip(&marked(&value.to_string())?, chars, true, true))
    });
    environment.add_filter(
        "replace",
        |value: &Value, old: &Value, new: &Value, count| {
            let value = marked(&value.to_string())?;
            let (old, new) = (marked(&old.to_string())?, marked(&new.to_string())?);
            Ok::<_, Error>(replace(&value, old.text(), &new, count))
        },
    );
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    environment.add_filter("tojson", to_json);
    environment.add_test("sequence", |value: &Value| {
        let kind = value.kind();
        is_iterable(value) && kind != ValueKind::Iterable
    });
    environment.add_test("iterable", is_iterable);
}

/// Reads the marks of a text.
pub(crate) fn marked(encoded: &str) -> Result<Marked, Error> {
    Marked::decode(encoded).ok_or_else(|| refusal("it takes messages apart"))
}

/// An error in words.
pub(crate) fn refusal(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

fn is_iterable(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::String
            | ValueKind::Seq
            | ValueKind::Map
            | ValueKind::Iterable
            | ValueKind::Undefined
    )
}

fn length(value: &Value) -> Result<usize, Error> {
    match value.as_str() {
        Some(text) => Ok(marked(text)?.text().chars().count()),
        None => filters::length(value),
    }
}

fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if name == "sliced" {
        return sliced(state, value, args);
    }
    let Some(encoded) = value.as_str() else {
        return pycompat::unknown_method_callback(state, value, name, args);
    };
    match name {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(args)?;
            Ok(strip(
                &marked(encoded)?,
                chars,
                name != "rstrip",
                name != "lstrip",
            ))
        }
        "split" | "rsplit" => {
            let (separator, limit, named): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
            let separator = match separator {
                Some(separator) => Some(separator),
                None => named.get("sep")?,
            };
            let limit = match limit {
                Some(limit) => Some(limit),
                None => named.get("maxsplit")?,
            };
            named.assert_all_used()?;
            let limit = limit.map_or(usize::MAX, |limit| {
                usize::try_from(limit).unwrap_or(usize::MAX)
            });
            let text = marked(encoded)?;
            match separator.filter(|separator| !separator.is_none()) {
                Some(separator) => split_at(
                    &text,
                    marked(&separator.to_string())?.text(),
                    limit,
                    name == "rsplit",
                ),
                None if name == "split" || limit == usize::MAX => Ok(words(&text, limit)),
                None => Err(Error::from(ErrorKind::UnknownMethod)),
            }
        }
        "splitlines" => {
            let (positional, named): (Option<bool>, Kwargs) = from_args(args)?;
            let keep = match positional {
                Some(keep) => keep,
                None => named.get::<Option<bool>>("keepends")?.unwrap_or(false),
            };
            named.assert_all_used()?;
            Ok(lines(&marked(encoded)?, keep))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            Ok(partition(
                &marked(encoded)?,
                marked(separator)?.text(),
                name == "rpartition",
            ))
        }
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
            Ok(replace(
                &marked(encoded)?,
                marked(old)?.text(),
                &marked(new)?,
                count,
            ))
        }
        "startswith" | "endswith" => {
            let (wanted,): (&Value,) = from_args(args)?;
            let text = marked(encoded)?;
            let fits = |wanted: &Value| {
                let wanted = wanted
                    .as_str()
                    .ok_or_else(|| refusal("a text is compared with something else"))?;
                let wanted = marked(wanted)?;
                Ok::<_, Error>(match name {
                    "startswith" => text.text().starts_with(wanted.text()),
                    _ => text.text().ends_with(wanted.text()),
                })
            };
            if wanted.as_str().is_some() {
                return Ok(Value::from(fits(wanted)?));
            }
            for wanted in wanted.try_iter()? {
                if fits(&wanted)? {
                    return Ok(Value::from(true));
                }
            }
            Ok(Value::from(false))
        }
        "removeprefix" | "removesuffix" => {
            let (wanted,): (&str,) = from_args(args)?;
            let (text, wanted) = (marked(encoded)?, marked(wanted)?);
            let len = text.text().len();
            let range = match name {
                "removeprefix" if text.text().starts_with(wanted.text()) => {
                    wanted.text().len()..len
                }
                "removesuffix" if text.text().ends_with(wanted.text()) => {
                    0..len - wanted.text().len()
                }
                _ => 0..len,
            };
            Ok(part(&text, range))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let (wanted,): (&str,) = from_args(args)?;
            let (text, wanted) = (marked(encoded)?, marked(wanted)?);
            let (text, wanted) = (text.text(), wanted.text());
            let place = match name {
                "count" => return Ok(Value::from(text.matches(wanted).count())),
                "find" | "index" => text.find(wanted),
                _ => text.rfind(wanted),
            };
            match place {
                Some(place) => Ok(Value::from(text[..place].chars().count())),
                None if name.ends_with("find") => Ok(Value::from(-1)),
                None => Err(refusal("substring not found")),
            }
        }
        _ if name.starts_with("is") => {
            let text = Value::from(marked(encoded)?.text());
            pycompat::unknown_method_callback(state, &text, name, args)
        }
        // Upper and lower case and the like leave marks as they are.
        _ => pycompat::unknown_method_callback(state, value, name, args),
    }
}

fn part(text: &Marked, range: std::ops::Range<usize>) -> Value {
    Value::from(text.slice(range).encode())
}

/// What `value[start:stop:step]` is in Python; `template_source` writes it as this method.
fn sliced(state: &State, value: &Value, args: &[Value]) -> Result<Value, Error> {
    let (start, stop, step): (Option<i64>, Option<i64>, Option<i64>) = from_args(args)?;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(refusal("slice step cannot be zero"));
    }
    if let Some(encoded) = value.as_str() {
        let text = marked(encoded)?;
        let starts = text.text().char_indices().map(|(place, _)| place);
        let places: Vec<usize> = starts.chain([text.text().len()]).collect();
        let mut taken = Marked::default();
        for index in indices(places.len() - 1, start, stop, step) {
            taken.append(&text.slice(places[index]..places[index + 1]));
        }
        return Ok(Value::from(taken.encode()));
    }
    if value.kind() != ValueKind::Seq {
        return Err(refusal("only texts and lists can be sliced"));
    }
    let items: Vec<Value> = value.try_iter()?.collect();
    state.consume_fuel(u64::try_from(items.len()).unwrap_or(u64::MAX))?;
    Ok(indices(items.len(), start, stop, step)
        .map(|index| items[index].clone())
        .collect())
}

/// The places that a slice of Python takes, all of them below `len`.
fn indices(
    len: usize,
    start: Option<i64>,
    stop: Option<i64>,
    step: i64,
) -> impl Iterator<Item = usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let (lowest, highest) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let place = |given: i64| {
        let from_start = if given < 0 {
            given.saturating_add(len)
        } else {
            given
        };
        from_start.clamp(lowest, highest)
    };
    let (first, last) = if step > 0 {
        (lowest, highest)
    } else {
        (highest, lowest)
    };
    let (start, stop) = (start.map_or(first, place), stop.map_or(last, place));
    std::iter::successors(Some(start), move |place| place.checked_add(step))
        .take_while(move |&place| if step > 0 { place < stop } else { place > stop })
        .filter_map(|place| usize::try_from(place).ok())
}

fn strip(text: &Marked, chars: Option<&str>, start: bool, end: bool) -> Value {
    let goes = |character: char| match chars {
        Some(chars) => chars.contains(character),
        None => is_space(character),
    };
    let whole = text.text();
    let rest = if start {
        whole.trim_start_matches(goes)
    } else {
        whole
    };
    let from = whole.len() - rest.len();
    let rest = if end {
        rest.trim_end_matches(goes)
    } else {
        rest
    };
    part(text, from..from + rest.len())
}

/// Python counts four separators among the spaces that Unicode does not.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&character)
}

fn replace(text: &Marked, old: &str, new: &Marked, count: Option<i64>) -> Value {
    // Less than none means all.
    let count = count.map_or(usize::MAX, |count| {
        usize::try_from(count).unwrap_or(usize::MAX)
    });
    let mut replaced = Marked::default();
    let mut done = 0;
    for (place, _) in text.text().match_indices(old).take(count) {
        replaced.append(&text.slice(done..place));
        replaced.append(new);
        done = place + old.len();
    }
    replaced.append(&text.slice(done..text.text().len()));
    Value::from(replaced.encode())
}

fn split_at(text: &Marked, separator: &str, limit: usize, from_end: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(refusal("empty separator"));
    }
    let mut places: Vec<usize> = if from_end {
        text.text()
            .rmatch_indices(separator)
            .take(limit)
            .map(|found| found.0)
            .collect()
    } else {
        text.text()
            .match_indices(separator)
            .take(limit)
            .map(|found| found.0)
            .collect()
    };
    places.sort_unstable();
    let mut parts = Vec::new();
    let mut done = 0;
    for place in places {
        parts.push(part(text, done..place));
        done = place + separator.len();
    }
    parts.push(part(text, done..text.text().len()));
    Ok(Value::from(parts))
}

/// `split()` without a separator.
fn words(text: &Marked, limit: usize) -> Value {
    let whole = text.text();
    let mut parts = Vec::new();
    let mut rest = whole.trim_start_matches(is_space);
    while !rest.is_empty() {
        let from = whole.len() - rest.len();
        if parts.len() == limit {
            parts.push(part(text, from..whole.len()));
            break;
        }
        let len = rest.find(is_space).unwrap_or(rest.len());
        parts.push(part(text, from..from + len));
        rest = rest[len..].trim_start_matches(is_space);
    }
    Value::from(parts)
}

fn lines(text: &Marked, keep_ends: bool) -> Value {
    let mut rest = text.text();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let from = text.text().len() - rest.len();
        let len = rest.find(is_line_end).unwrap_or(rest.len());
        let end = match &rest[len..] {
            after if after.starts_with("\r\n") => 2,
            after => after.chars().next().map_or(0, char::len_utf8),
        };
        parts.push(part(
            text,
            from..from + len + if keep_ends { end } else { 0 },
        ));
        rest = &rest[len + end..];
    }
    Value::from(parts)
}

fn is_line_end(character: char) -> bool {
    matches!(
        character,
        '\n'..='\r' | '\u{1C}'..='\u{1E}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

fn partition(text: &Marked, separator: &str, from_end: bool) -> Value {
    let whole = text.text();
    let found = if from_end {
        whole.rfind(separator)
    } else {
        whole.find(separator)
    };
    let (before, after) = match found {
        Some(place) => (place, place + separator.len()),
        None if from_end => (0, 0),
        None => (whole.len(), whole.len()),
    };
    Value::from(vec![
        part(text, 0..before),
        part(text, before..after),
        part(text, after..whole.len()),
    ])
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    /// Marks are written as braces here.
    fn evaluated(expression: &str, content: &str) -> String {
        let mut environment = Environment::new();
        add_python(&mut environment);
        let content = Marked::content(content, 0).encode();
        let source = format!("{{{{ {expression} }}}}");
        let rendered = environment
            .render_str(&source, context! { c => content })
            .unwrap();
        let mut shown = String::new();
        for stretch in Marked::decode(&rendered).unwrap().stretches() {
            match stretch.owner {
                Some(_) => shown.push_str(&format!("{{{}}}", stretch.text)),
                None => shown.push_str(stretch.text),
            }
        }
        shown
    }

    #[test]
    fn parts_of_contents_are_contents() {
        let answer = "<think>\na\n</think>\n\nb ";
        assert_eq!(
            evaluated("c.split('</think>')[-1].lstrip('\\n')", answer),
            "{b }"
        );
        assert_eq!(
            evaluated("c.split('</think>')[0].split('<think>')[1] | trim", answer),
            "{a}"
        );
        assert_eq!(evaluated("('x' + c + 'y').split('x')[1]", "ab"), "{ab}y");
        assert_eq!(evaluated("(' ' + c + ' ').strip()", " a "), "{a}");
        assert_eq!(
            evaluated("c.partition('=') | join('|')", "k=v"),
            "{k}|{=}|{v}"
        );
        assert_eq!(
            evaluated("c.rsplit('.', 1) | join('|')", "a.b.c"),
            "{a.b}|{c}"
        );
        assert_eq!(
            evaluated("c.splitlines() | join('|')", "a\r\nb\u{2028}c\n"),
            "{a}|{b}|{c}"
        );
        assert_eq!(
            evaluated("c.split() | join('|')", " a  b\u{1C}c "),
            "{a}|{b}|{c}"
        );
        assert_eq!(
            evaluated("c.split(None, 1) | join('|')", " a  b c "),
            "{a}|{b c }"
        );
        assert_eq!(evaluated("c.replace('b', '-')", "abc"), "{a}-{c}");
        assert_eq!(evaluated("c | replace('b', c)", "abc"), "{aabcc}");
        assert_eq!(
            evaluated("c.removeprefix('a').removesuffix('c')", "abc"),
            "{b}"
        );
        assert_eq!(evaluated("c.upper()", "abc"), "{ABC}");
        assert_eq!(
            evaluated("c.split(sep='b', maxsplit=1) | join('|')", "abcb"),
            "{a}|{cb}"
        );
        assert_eq!(evaluated("c.split('-', 0)[0]", "a-b"), "{a-b}");
        assert_eq!(
            evaluated("c.splitlines(keepends=true) | join('|')", "a\nb"),
            "{a\n}|{b}"
        );
        assert_eq!(evaluated("c | replace('a', '', 1)", "aba"), "{ba}");
        assert_eq!(evaluated("c | trim('.')", ".a "), "{a }");
    }

    #[test]
    fn questions_about_contents_are_answered_without_marks() {
        assert_eq!(evaluated("c | length", "äbc"), "3");
        assert_eq!(evaluated("c.startswith('ab')", "abc"), "True");
        assert_eq!(evaluated("c.endswith(('x', 'c'))", "abc"), "True");
        assert_eq!(evaluated("'b' in c", "abc"), "True");
        assert_eq!(evaluated("c.find('c')", "äbc"), "2");
        assert_eq!(evaluated("c.find('x')", "abc"), "-1");
        assert_eq!(evaluated("c.count('b')", "abcb"), "2");
        assert_eq!(evaluated("c.isdigit()", "12"), "True");
        assert_eq!(evaluated("c == ''", ""), "True");
    }

    #[test]
    fn slices_are_pythons() {
        for (call, expected) in [
            ("sliced(1, none)", "{bcde}"),
            ("sliced(-2, none)", "{de}"),
            ("sliced(none, -1)", "{abcd}"),
            ("sliced(1, -1)", "{bcd}"),
            ("sliced(-9, 9, 2)", "{ace}"),
            ("sliced(none, none, -1)", "{edcba}"),
            ("sliced(3, 0, -2)", "{db}"),
            ("sliced(4, 2)", ""),
            ("sliced(9, none)", ""),
        ] {
            assert_eq!(evaluated(&format!("c.{call}"), "abcde"), expected, "{call}");
        }
        assert_eq!(evaluated("[1, 2, 3].sliced(1, none) | join", ""), "23");
        assert_eq!(
            evaluated("(1, 2, 3).sliced(none, none, -1) | join", ""),
            "321"
        );
    }

    #[test]
    fn values_are_what_python_takes_them_for() {
        let asked = "(c is sequence, c is iterable, none is iterable, 1 is sequence, {} is sequence) | join(' ')";
        assert_eq!(evaluated(asked, "a"), "True True False False True");
        assert_eq!(evaluated("none ~ true ~ 1.0", ""), "NoneTrue1.0");
    }
}
