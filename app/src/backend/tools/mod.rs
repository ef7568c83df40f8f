//! What the chat model may look up before it answers: it searches, reads on, lists documents, calculates, counts days.
//!
//! A model does not call these; it is asked what to do next and can only answer with a choice of this form, whatever its
//! size (the grammar leaves it no other words). All of them only read, and only this workspace. So text of a document
//! that asks for something can at most make the model read more of the user's own documents: it starts no action,
//! fetches nothing and reaches no other file. What is found becomes ordinary passages for the ordinary answer.
//!
//! Where the user has set up MCP servers, their tools can be chosen too: such a choice makes Satchel ask the user, who
//! sees everything that would be handed over, and nothing happens without a yes.
//! Start at [`look_further`]; the loop is in `look`.

mod calculator;
mod dates;
mod look;

pub use look::Looked;
pub(super) use look::look_further;

use super::mcp::Offered;
use super::words;

/// Longest text of a choice, in characters: a query, a calculation.
const MOST_TEXT: usize = 120;

/// A choice of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Choice {
    tool: Tool,
    text: String,
}

/// What it may choose.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Tool {
    Search,
    Read,
    List,
    Calculate,
    Date,
    Answer,
    /// One of an MCP server, by the name it is offered under.
    Called(String),
}

/// The names of the tools here.
const OWN: [(&str, Tool); 6] = [
    ("search", Tool::Search),
    ("read", Tool::Read),
    ("list", Tool::List),
    ("calculate", Tool::Calculate),
    ("date", Tool::Date),
    ("answer", Tool::Answer),
];

impl Choice {
    /// What the model wrote, where that is a choice among the own tools and those that are `offered`.
    fn read(written: &str, offered: &[(String, Offered)]) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Written {
            tool: String,
            #[serde(default)]
            text: String,
        }
        let written: Written = serde_json::from_str(written.trim()).ok()?;
        let own = OWN.into_iter().find(|(name, _)| *name == written.tool);
        let tool = match own {
            Some((_, tool)) => tool,
            None => {
                let (name, _) = offered.iter().find(|(name, _)| *name == written.tool)?;
                Tool::Called(name.clone())
            }
        };
        let text = written
            .text
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        (text.chars().count() <= MOST_TEXT).then_some(Self { tool, text })
    }
}

/// The form of a choice, as a JSON schema.
fn schema(offered: &[(String, Offered)]) -> String {
    let own = OWN.iter().map(|(name, _)| *name);
    let names: Vec<&str> = own
        .chain(offered.iter().map(|(name, _)| name.as_str()))
        .collect();
    serde_json::json!({
        "type": "object",
        "properties": {
            "tool": { "enum": names },
            "text": { "type": "string", "maxLength": MOST_TEXT },
        },
        "required": ["tool", "text"],
        "additionalProperties": false,
    })
    .to_string()
}

/// What the model is told before it chooses.
fn instructions(offered: &[(String, Offered)]) -> String {
    if offered.is_empty() {
        return INSTRUCTIONS.to_owned();
    }
    let mut text =
        format!("{INSTRUCTIONS}\nTools of other programs; the text says what is wanted:\n");
    for (name, tool) in offered {
        text += &format!("{name}: {}\n", tool.about);
    }
    text
}

/// Told to every model before it chooses. Never changes, so that it is read once.
const INSTRUCTIONS: &str = "A question about the user's documents is going to be answered. \
You choose what to look up before, one thing at a time, as JSON with a tool and a text:\n\
search: other words to look for in the documents.\n\
read: the mark of a passage, such as P2, to see what stands around it.\n\
list: a word of a title, to see which documents there are; an empty text lists all.\n\
calculate: an expression with numbers, such as (412000 - 1200) / 12.\n\
date: a date + a span, such as today + 90 days, or two dates with to between them.\n\
answer: enough is known; the text is empty.\n\
Choose answer as soon as the passages hold what is asked.";

/// Whether the numbers of a sentence were calculated, so that no passage needs to hold them.
#[must_use]
pub fn bears_out(notes: &[String], sentence: &str) -> bool {
    let numbers = words::numbers(sentence);
    let known = words::numbers(&notes.join("\n"));
    !numbers.is_empty() && numbers.is_subset(&known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_choice_is_read_as_one() {
        let choice = Choice::read(
            "{\"tool\": \"search\", \"text\": \"  lease\\n notice \"}",
            &[],
        );
        let lease = Choice {
            tool: Tool::Search,
            text: "lease notice".to_owned(),
        };
        assert_eq!(choice, Some(lease));
        let long = format!(r#"{{"tool":"list","text":"{}"}}"#, "a".repeat(121));
        for other in [
            "",
            "search lease",
            r#"{"tool": "fetch", "text": "http://example.org"}"#,
            r#"{"tool": "search", "text": "cut o"#,
            long.as_str(),
        ] {
            assert_eq!(Choice::read(other, &[]), None, "{other}");
        }
        let offered = [(
            "notes.find".to_owned(),
            Offered {
                name: "find".to_owned(),
                about: "Finds notes.".to_owned(),
                form: "{}".to_owned(),
            },
        )];
        assert!(instructions(&offered).ends_with("\nnotes.find: Finds notes.\n"));
        let schema: serde_json::Value = serde_json::from_str(&schema(&offered)).unwrap();
        for name in schema["properties"]["tool"]["enum"].as_array().unwrap() {
            let written = format!(r#"{{"tool": {name}, "text": ""}}"#);
            let is_own = name != "notes.find";
            assert_eq!(Choice::read(&written, &[]).is_some(), is_own, "{name}");
            assert!(Choice::read(&written, &offered).is_some(), "{name}");
        }
    }

    #[test]
    fn calculated_numbers_need_no_passage() {
        let notes = ["412000 / 5 = 82400".to_owned()];
        assert!(bears_out(&notes, "That is 82400 a month."));
        assert!(!bears_out(&notes, "That is 82500 a month."));
        assert!(!bears_out(&notes, "It was blue."));
        assert!(!bears_out(&[], "That is 82400 a month."));
    }
}
