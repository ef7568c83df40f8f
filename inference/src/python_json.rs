//! JSON as Python's `json.dumps` writes it, which is what `tojson` means in chat templates.
//!
//! It differs from the usual form in spaces and in what is escaped, and a model notices. Contents stay marked.
//! Pure. Start at [`to_json`].

use minijinja::Error;
use minijinja::value::{Kwargs, Value, ValueKind};

use crate::marked::Marked;
use crate::python_text::{marked, refusal};

/// The filter `tojson`, with the arguments that Python's function has.
pub(crate) fn to_json(
    value: &Value,
    ensure_ascii: Option<bool>,
    named: Kwargs,
) -> Result<Value, Error> {
    let ensure_ascii = match ensure_ascii {
        Some(ensure_ascii) => Some(ensure_ascii),
        None => named.get("ensure_ascii")?,
    };
    let indent = match named.get::<Option<Value>>("indent")? {
        Some(indent) if indent.as_str().is_some() => indent.as_str().map(str::to_owned),
        Some(indent) if !indent.is_none() => {
            Some(" ".repeat(usize::try_from(indent).unwrap_or(0).min(MOST_INDENT)))
        }
        _ => None,
    };
    let (item, key) = match named.get::<Option<Value>>("separators")? {
        Some(given) if !given.is_none() => (
            given.get_item_by_index(0)?.to_string(),
            given.get_item_by_index(1)?.to_string(),
        ),
        _ if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        _ => (", ".to_owned(), ": ".to_owned()),
    };
    let sort_keys = named.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    named.assert_all_used()?;
    let mut writer = Writer {
        out: Marked::default(),
        ensure_ascii: ensure_ascii.unwrap_or(false),
        indent,
        item,
        key,
        sort_keys,
    };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out.encode()))
}

struct Writer {
    out: Marked,
    ensure_ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort_keys: bool,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(refusal("it nests too deep"));
        }
        match value.kind() {
            ValueKind::None => self.plain("null"),
            ValueKind::Bool => self.plain(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.plain(&value.to_string()),
            ValueKind::String => self.text(&marked(value.as_str().unwrap_or_default())?),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list("[", "]", &items, depth, |writer, item| {
                    writer.value(item, depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.list("{", "}", &keys, depth, |writer, key| {
                    writer.text(&marked(&key.to_string())?);
                    writer.out.push(&writer.key, None);
                    writer.value(&value.get_item(key)?, depth + 1)
                })?;
            }
            _ => return Err(refusal("it writes as JSON what cannot be written so")),
        }
        Ok(())
    }

    fn list(
        &mut self,
        open: &str,
        close: &str,
        items: &[Value],
        depth: usize,
        write: impl Fn(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.plain(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(&self.item, None);
            }
            self.line(depth + 1);
            write(self, item)?;
        }
        if !items.is_empty() {
            self.line(depth);
        }
        self.plain(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push("\n", None);
            self.out.push(&indent.repeat(depth), None);
        }
    }

    fn plain(&mut self, text: &str) {
        self.out.push(text, None);
    }

    fn text(&mut self, text: &Marked) {
        self.plain("\"");
        for stretch in text.stretches() {
            let escaped: String = stretch
                .text
                .chars()
                .map(|character| self.escaped(character))
                .collect();
            self.out.push(&escaped, stretch.owner);
        }
        self.plain("\"");
    }

    fn escaped(&self, character: char) -> String {
        match character {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            '\u{8}' => "\\b".to_owned(),
            '\u{C}' => "\\f".to_owned(),
            '\0'..='\u{1F}' => format!("\\u{:04x}", u32::from(character)),
            '\u{7F}'.. if self.ensure_ascii => {
                let mut units = [0; 2];
                let units = character.encode_utf16(&mut units).iter();
                units.map(|unit| format!("\\u{unit:04x}")).collect()
            }
            other => other.to_string(),
        }
    }
}

/// Deeper than any list of tools, and far from where a program's stack ends.
const DEEPEST: usize = 64;
const MOST_INDENT: usize = 16;

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    use super::*;

    fn rendered(expression: &str) -> String {
        let mut environment = Environment::new();
        environment.add_filter("tojson", to_json);
        let content = Marked::content("a\"b", 0).encode();
        let source = format!("{{{{ {expression} }}}}");
        let rendered = environment
            .render_str(&source, context! { c => content })
            .unwrap();
        Marked::decode(&rendered).unwrap().text().to_owned()
    }

    #[test]
    fn it_is_written_as_python_does() {
        assert_eq!(
            rendered("{'z': [1, 2.5, true, none], 'a': '<é\\n\\x01>', 'e': [], 'c': c} | tojson"),
            "{\"z\": [1, 2.5, true, null], \"a\": \"<é\\n\\u0001>\", \"e\": [], \"c\": \"a\\\"b\"}"
        );
        assert_eq!(
            rendered("[1, {'b': 2, 'a': 3}] | tojson(indent=2, sort_keys=true)"),
            "[\n  1,\n  {\n    \"a\": 3,\n    \"b\": 2\n  }\n]"
        );
        assert_eq!(
            rendered("[1, {'a': '🎒'}] | tojson(ensure_ascii=true, separators=(',', ':'))"),
            "[1,{\"a\":\"\\ud83c\\udf92\"}]"
        );
    }
}
