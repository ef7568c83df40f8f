//! Makes a web page harmless and small before a tree is built from it: no scripts, styles,
//! comments, hidden parts or embedded data, and no nesting that would exhaust a parser.
//!
//! Pure, one linear pass over tags, no tree. Keeps every visible word. Start at [`prune`].

use super::limits;

/// Elements whose content is not text for a reader.
const DROPPED: &[&str] = &[
    "script", "style", "template", "noscript", "iframe", "object", "svg", "canvas", "audio",
    "video", "noembed", "noframes", "select", "datalist",
];

/// Elements without content; they cannot nest.
const VOID: &[&str] = &[
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
];

/// Elements that end by themselves when the next of their kind begins. They are often left open,
/// so they do not count as nesting; between two of them lies an element that does.
const END_OPTIONAL: &[&str] = &[
    "body", "colgroup", "dd", "dt", "head", "html", "li", "optgroup", "option", "p", "rp", "rt",
    "tbody", "td", "tfoot", "th", "thead", "tr",
];

/// Elements whose content is indented or marked line by line.
const INDENTING: &[&str] = &["ul", "ol", "dl", "blockquote", "menu"];

/// A page of visible structure and text only.
pub(crate) struct Pruned {
    pub(crate) html: String,
    /// Elements, each counted as many times as elements are open around it: what a search through
    /// the tree costs.
    pub(crate) tree_cost: usize,
}

/// Returns the page without anything but its visible structure and text.
pub(crate) fn prune(html: &str) -> Pruned {
    let mut pruner = Pruner {
        out: String::with_capacity(html.len() / 2),
        rest: html,
        open: Vec::new(),
        depth: 0,
        indents: 0,
        tree_cost: 0,
    };
    while pruner.step() {}
    Pruned {
        html: pruner.out,
        tree_cost: pruner.tree_cost,
    }
}

/// An element whose end tag has not come yet.
#[derive(Clone, Copy)]
struct Open {
    /// False for an element that was flattened: its end tag is to be dropped too.
    is_written: bool,
    indents: bool,
}

struct Pruner<'a> {
    out: String,
    rest: &'a str,
    /// All elements that are open, innermost last.
    open: Vec<Open>,
    /// How many of them were written.
    depth: usize,
    /// How many of those indent their content.
    indents: usize,
    tree_cost: usize,
}

impl<'a> Pruner<'a> {
    /// Handles the text up to the next tag and that tag; false at the end.
    fn step(&mut self) -> bool {
        let Some(start) = self.rest.find('<') else {
            self.out.push_str(self.rest);
            return false;
        };
        self.out.push_str(&self.rest[..start]);
        self.rest = &self.rest[start..];
        if let Some(comment) = self.rest.strip_prefix("<!--") {
            self.rest = comment.split_once("-->").map_or("", |(_, rest)| rest);
        } else if self.rest.starts_with("<!") || self.rest.starts_with("<?") {
            // A document type, or a processing instruction, which no later stage expects.
            self.rest = self.rest.split_once('>').map_or("", |(_, rest)| rest);
        } else if let Some(tag) = Tag::read(self.rest) {
            self.rest = &self.rest[tag.text.len()..];
            if tag.is_end {
                self.end_tag(&tag);
            } else {
                self.start_tag(&tag);
            }
        } else {
            // A lone "<" is text.
            self.out.push_str("&lt;");
            self.rest = &self.rest[1..];
        }
        true
    }

    fn start_tag(&mut self, tag: &Tag<'a>) {
        let name = tag.name.as_str();
        if DROPPED.contains(&name) || tag.is_hidden() {
            self.skip_element(name);
        } else if name == "textarea" || name == "title" || name == "xmp" || name == "plaintext" {
            // Their content is text, whatever it looks like.
            self.raw_text(name);
        } else if VOID.contains(&name) || END_OPTIONAL.contains(&name) {
            self.write(tag);
        } else {
            self.open_element(tag);
        }
    }

    fn open_element(&mut self, tag: &Tag<'a>) {
        let indents = INDENTING.contains(&tag.name.as_str());
        let is_too_deep =
            self.depth >= limits::HTML_DEPTH || indents && self.indents >= limits::HTML_INDENTS;
        self.open.push(Open {
            is_written: !is_too_deep,
            indents,
        });
        if is_too_deep {
            self.out.push(' ');
        } else {
            self.depth += 1;
            self.indents += usize::from(indents);
            self.write(tag);
        }
    }

    fn end_tag(&mut self, tag: &Tag<'a>) {
        let name = tag.name.as_str();
        if VOID.contains(&name) || END_OPTIONAL.contains(&name) {
            self.write(tag);
            return;
        }
        // An end tag that does not fit is taken for that of the innermost element: what is counted
        // is depth, and the parser behind sees every tag that was written.
        match self.open.pop() {
            Some(Open {
                is_written: false, ..
            }) => self.out.push(' '),
            Some(Open { indents, .. }) => {
                self.depth -= 1;
                self.indents -= usize::from(indents);
                self.write(tag);
            }
            None => self.write(tag),
        }
    }

    fn write(&mut self, tag: &Tag<'a>) {
        if !tag.is_end {
            self.tree_cost += self.depth + 1;
        }
        if tag.text.len() <= limits::HTML_TAG_BYTES {
            self.out.push_str(tag.text);
        } else {
            self.out.push('<');
            self.out.push_str(&tag.name);
            self.out.push('>');
        }
    }

    /// Skips to the end tag that belongs to the start tag of `name` just read.
    fn skip_element(&mut self, name: &str) {
        let is_raw = matches!(name, "script" | "style" | "iframe" | "noembed" | "noframes");
        let mut open = 1_usize;
        while let Some(start) = self.rest.find('<') {
            self.rest = &self.rest[start..];
            if !is_raw && let Some(comment) = self.rest.strip_prefix("<!--") {
                self.rest = comment.split_once("-->").map_or("", |(_, rest)| rest);
                continue;
            }
            let Some(tag) = Tag::read(self.rest) else {
                self.rest = &self.rest[1..];
                continue;
            };
            if tag.name != name {
                // In raw text only the matching end tag is a tag.
                let length = if is_raw { 1 } else { tag.text.len() };
                self.rest = &self.rest[length..];
                continue;
            }
            self.rest = &self.rest[tag.text.len()..];
            open = match (tag.is_end, is_raw || tag.text.ends_with("/>")) {
                (true, _) => open - 1,
                (false, true) => open,
                (false, false) => open + 1,
            };
            if open == 0 {
                return;
            }
        }
        self.rest = "";
    }

    fn raw_text(&mut self, name: &str) {
        let end = format!("</{name}");
        let length = find_ignoring_case(self.rest, &end).unwrap_or(self.rest.len());
        let text = self.rest[..length].replace('<', "&lt;");
        let written_as = if name == "title" { "title" } else { "pre" };
        self.out
            .push_str(&format!("<{written_as}>{text}</{written_as}>"));
        self.rest = self.rest[length..]
            .split_once('>')
            .map_or("", |(_, rest)| rest);
    }
}

fn find_ignoring_case(text: &str, lower: &str) -> Option<usize> {
    text.as_bytes()
        .windows(lower.len())
        .position(|window| window.eq_ignore_ascii_case(lower.as_bytes()))
}

/// One tag as it stands in the page.
struct Tag<'a> {
    /// Lower case.
    name: String,
    is_end: bool,
    /// From `<` to `>`.
    text: &'a str,
}

impl<'a> Tag<'a> {
    /// Reads the tag at the start of `text`, with quotes around attribute values respected.
    fn read(text: &'a str) -> Option<Self> {
        let is_end = text[1..].starts_with('/');
        let name_start = 1 + usize::from(is_end);
        if !text.as_bytes().get(name_start)?.is_ascii_alphabetic() {
            return None;
        }
        let name_length = text[name_start..]
            .find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>'))
            .unwrap_or(text.len() - name_start);
        let name_end = name_start + name_length;
        let end = tag_end(&text.as_bytes()[name_end..]).map_or(text.len(), |end| name_end + end);
        Some(Self {
            name: text[name_start..name_end.min(name_start + 64)].to_ascii_lowercase(),
            is_end,
            text: &text[..end],
        })
    }

    /// Marked as invisible by its author. Only where a matching end tag can be relied on.
    fn is_hidden(&self) -> bool {
        if END_OPTIONAL.contains(&self.name.as_str()) || VOID.contains(&self.name.as_str()) {
            return false;
        }
        if self.text.len() > limits::HTML_TAG_BYTES || self.text.ends_with("/>") {
            return false;
        }
        let attributes = self.text[1 + self.name.len()..].to_ascii_lowercase();
        let squeezed: String = attributes.chars().filter(|c| !c.is_whitespace()).collect();
        squeezed.contains("display:none")
            || squeezed.contains("visibility:hidden")
            || attributes
                .trim_end_matches(['>', '/'])
                .split_ascii_whitespace()
                .any(|word| {
                    matches!(
                        word,
                        "hidden" | "hidden=\"\"" | "hidden=\"hidden\"" | "hidden=\"true\""
                    )
                })
    }
}

/// Position after the `>` that ends a tag, or nothing when the page ends inside of it.
fn tag_end(bytes: &[u8]) -> Option<usize> {
    let mut quote = None;
    let mut after_equals = false;
    for (index, byte) in bytes.iter().enumerate() {
        match (quote, *byte) {
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'>') => return Some(index + 1),
            // A quote opens a value only after "="; elsewhere it is a slip of the author.
            (None, b'"' | b'\'') if after_equals => quote = Some(*byte),
            (None, b'=') => after_equals = true,
            (None, byte) if byte.is_ascii_whitespace() => {}
            (None, _) => after_equals = false,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(html: &str, expected: &str) {
        assert_eq!(prune(html).html, expected);
    }

    #[test]
    fn scripts_styles_comments_and_hidden_parts_go() {
        check("a<script>if (1 < 2) '</p>'</script>b", "ab");
        check("a<STYLE type=x>p{}</STYLE >b<!-- c <p> -->d", "abd");
        check(
            "a<div style='display: none'><div>x</div>y</div>b<span hidden>z</span>c",
            "abc",
        );
        check(
            "<svg><g><svg/></g></svg>a<noscript><p>no</p></noscript>",
            "a",
        );
        check(
            "<p hidden>kept, since its end may be missing",
            "<p hidden>kept, since its end may be missing",
        );
    }

    #[test]
    fn structure_and_text_stay() {
        let page =
            "<html><body class=\"a > b\"><p>1 &lt; 2<br>x</p><ul><li>y<li>z</ul></body></html>";
        check(page, page);
        check("2 < 3 and <3", "2 &lt; 3 and &lt;3");
        check("<title>a <b> c</title>", "<title>a &lt;b> c</title>");
    }

    #[test]
    fn an_unfinished_page_ends_quietly() {
        for page in [
            "<p>a<scr",
            "<script>x",
            "<!-- x",
            "<a href=\"x",
            "<!doctype",
            "<",
            "</",
            "<div hidden>",
        ] {
            let pruned = prune(page).html;
            assert!(pruned.len() <= page.len() + 3, "{page}: {pruned}");
        }
    }

    #[test]
    fn deep_nesting_is_flattened_and_keeps_its_text() {
        let depth = 100_000;
        let page = format!("{}deep{}", "<div>".repeat(depth), "</div>".repeat(depth));
        let pruned = prune(&page).html;
        assert_eq!(pruned.matches("<div>").count(), limits::HTML_DEPTH);
        assert_eq!(pruned.matches("</div>").count(), limits::HTML_DEPTH);
        assert!(pruned.contains("deep"));
        let lists = prune(&"<ul><li>x".repeat(1000)).html;
        assert_eq!(lists.matches("<ul>").count(), limits::HTML_INDENTS);
        assert_eq!(lists.matches('x').count(), 1000);
    }

    #[test]
    fn embedded_data_is_dropped_with_its_tag() {
        let page = format!(
            "<img src=\"data:image/png;base64,{}\">a",
            "A".repeat(100_000)
        );
        check(&page, "<img>a");
    }
}
