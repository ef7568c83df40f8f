//! Tells what a model thinks from what it answers.
//!
//! Two ways of marking it are in use: `<think> … </think>` before the answer (Qwen, DeepSeek, SmolLM), and channels
//! (`<|channel|>analysis<|message|> … <|end|>`, gpt-oss). A mark may be spread over several tokens, so what could be the
//! beginning of one is held back. Pure: bytes in, bytes out. Start at [`Thoughts::push`].

/// What a model does with its first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It answers, or begins with `<think>`.
    Tags,
    /// The prompt ends with `<think>`: it thinks already.
    InThought,
    /// It begins with the name of a channel.
    Channels,
}

const OPEN: &[u8] = b"<think>";
const CLOSE: &[u8] = b"</think>";
const CHANNEL: &[u8] = b"<|channel|>";
const MESSAGE: &[u8] = b"<|message|>";
const START: &[u8] = b"<|start|>";
const END: &[u8] = b"<|end|>";
/// The channel of the answer; all others are thoughts.
const FINAL: &[u8] = b"final";

/// The marks that may be single tokens of a vocabulary, which are otherwise not shown.
pub(crate) const MARKS: [&str; 6] = [
    "<think>",
    "</think>",
    "<|channel|>",
    "<|message|>",
    "<|start|>",
    "<|end|>",
];

/// Sorts the bytes of one answer.
#[derive(Debug)]
pub(crate) struct Thoughts {
    state: State,
    has_channels: bool,
    /// The thought was ended for the model, which may end it once more by itself.
    was_cut: bool,
    /// What could be a part of a mark.
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing visible has come.
    Begin,
    Thought,
    Answer,
    /// Names a channel, up to [`MESSAGE`].
    Header,
}

/// Some of what a model wrote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Thought(Vec<u8>),
    Answer(Vec<u8>),
}

impl Thoughts {
    pub(crate) fn new(manner: Manner) -> Self {
        Self {
            state: match manner {
                Manner::Tags => State::Begin,
                Manner::InThought => State::Thought,
                Manner::Channels => State::Header,
            },
            has_channels: manner == Manner::Channels,
            was_cut: false,
            held: Vec::new(),
        }
    }

    /// Whether what comes next is not the answer.
    pub(crate) fn is_thinking(&self) -> bool {
        matches!(self.state, State::Thought | State::Header)
    }

    /// Adds the bytes of one token.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Said> {
        self.held.extend_from_slice(bytes);
        let mut said = Vec::new();
        while self.step(&mut said) {}
        said
    }

    /// Ends it: what was held back is what it seemed to be.
    pub(crate) fn finish(&mut self) -> Option<Said> {
        let held = std::mem::take(&mut self.held);
        match self.state {
            _ if held.is_empty() => None,
            State::Thought => Some(Said::Thought(held)),
            // The name of a channel is nothing to show.
            State::Header => None,
            State::Begin | State::Answer => Some(Said::Answer(held)),
        }
    }

    /// Ends the thought because it has lasted long enough; gives what the model is made to have said, as text of the
    /// template.
    pub(crate) fn cut_short(&mut self) -> (&'static str, Option<Said>) {
        let rest = self.finish();
        self.state = State::Answer;
        self.was_cut = true;
        let words = if self.has_channels {
            "<|end|><|start|>assistant<|channel|>final<|message|>"
        } else {
            "\n</think>\n\n"
        };
        (words, rest)
    }

    /// Takes one part off `held`; false when more is needed.
    fn step(&mut self, said: &mut Vec<Said>) -> bool {
        match self.state {
            State::Begin => self.begin(),
            State::Thought if self.has_channels => self.body(said, Said::Thought),
            State::Answer if self.has_channels => self.body(said, Said::Answer),
            State::Thought => match find(&self.held, CLOSE) {
                Some(at) => {
                    say(said, Said::Thought, self.held.drain(..at));
                    self.held.drain(..CLOSE.len());
                    self.state = State::Answer;
                    true
                }
                None => {
                    let keep = possible(&self.held, &[CLOSE]);
                    say(
                        said,
                        Said::Thought,
                        self.held.drain(..self.held.len() - keep),
                    );
                    false
                }
            },
            State::Answer if self.was_cut => match find(&self.held, CLOSE) {
                Some(at) => {
                    say(said, Said::Answer, self.held.drain(..at));
                    self.held.drain(..CLOSE.len());
                    true
                }
                None => {
                    let keep = possible(&self.held, &[CLOSE]);
                    say(
                        said,
                        Said::Answer,
                        self.held.drain(..self.held.len() - keep),
                    );
                    false
                }
            },
            State::Answer => {
                say(said, Said::Answer, self.held.drain(..));
                false
            }
            State::Header => match find(&self.held, MESSAGE) {
                Some(at) => {
                    let header: Vec<u8> = self.held.drain(..at + MESSAGE.len()).collect();
                    let header = &header[..at];
                    let name = find_last(header, CHANNEL)
                        .map_or(header, |channel| &header[channel + CHANNEL.len()..]);
                    self.state = if name.trim_ascii().starts_with(FINAL) {
                        State::Answer
                    } else {
                        State::Thought
                    };
                    true
                }
                None => false,
            },
        }
    }

    /// Whether it begins with a thought.
    fn begin(&mut self) -> bool {
        let blanks = self.held.len() - self.held.trim_ascii_start().len();
        let words = &self.held[blanks..];
        if words.starts_with(OPEN) {
            self.held.drain(..blanks + OPEN.len());
            self.state = State::Thought;
        } else if OPEN.starts_with(words) {
            return false;
        } else {
            self.state = State::Answer;
        }
        true
    }

    /// A message in a channel, up to its end.
    fn body(&mut self, said: &mut Vec<Said>, kind: fn(Vec<u8>) -> Said) -> bool {
        let ends = [END, START];
        let first = ends
            .iter()
            .filter_map(|mark| Some((find(&self.held, mark)?, mark.len())))
            .min();
        match first {
            Some((at, len)) => {
                say(said, kind, self.held.drain(..at));
                self.held.drain(..len);
                self.state = State::Header;
                true
            }
            None => {
                let keep = possible(&self.held, &ends);
                say(said, kind, self.held.drain(..self.held.len() - keep));
                false
            }
        }
    }
}

fn say(said: &mut Vec<Said>, kind: fn(Vec<u8>) -> Said, bytes: std::vec::Drain<'_, u8>) {
    let bytes: Vec<u8> = bytes.collect();
    if !bytes.is_empty() {
        said.push(kind(bytes));
    }
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

fn find_last(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).rposition(|window| window == mark)
}

/// Length of the longest end that is the beginning of a mark.
fn possible(bytes: &[u8], marks: &[&[u8]]) -> usize {
    let beginnings = marks
        .iter()
        .flat_map(|mark| (1..mark.len()).map(|len| &mark[..len]));
    beginnings
        .filter(|beginning| bytes.ends_with(beginning))
        .map(<[u8]>::len)
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thoughts and answer, when `text` comes in pieces of `len` bytes.
    fn sorted(manner: Manner, text: &str, len: usize) -> (String, String) {
        let mut thoughts = Thoughts::new(manner);
        let mut said: Vec<Said> = text
            .as_bytes()
            .chunks(len)
            .flat_map(|piece| thoughts.push(piece))
            .collect();
        said.extend(thoughts.finish());
        let (mut thought, mut answer) = (Vec::new(), Vec::new());
        for said in said {
            match said {
                Said::Thought(bytes) => thought.extend(bytes),
                Said::Answer(bytes) => answer.extend(bytes),
            }
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(thought), text(answer))
    }

    #[test]
    fn thoughts_and_answers_are_told_apart_however_they_come() {
        let harmony = "<|channel|>analysis<|message|>The user <b>asks.<|end|><|start|>assistant<|channel|>final<|message|>It is 7 < 9.";
        for (manner, text, thought, answer) in [
            (Manner::Tags, "Blue.", "", "Blue."),
            (
                Manner::Tags,
                "<think>\nHm.\n</think>\n\nBlue.",
                "\nHm.\n",
                "\n\nBlue.",
            ),
            (
                Manner::Tags,
                "\n <think>a < b</thin</think>c</think>",
                "a < b</thin",
                "c</think>",
            ),
            (
                Manner::Tags,
                "<thinker> is a word",
                "",
                "<thinker> is a word",
            ),
            (
                Manner::Tags,
                "Say <think> and </think>",
                "",
                "Say <think> and </think>",
            ),
            (Manner::Tags, "<think>never ends", "never ends", ""),
            (Manner::Tags, "<thi", "", "<thi"),
            (Manner::InThought, "Zwölf.</think>Gut.", "Zwölf.", "Gut."),
            (
                Manner::Channels,
                harmony,
                "The user <b>asks.",
                "It is 7 < 9.",
            ),
            (
                Manner::Channels,
                "<|channel|>final<|message|>Yes",
                "",
                "Yes",
            ),
            (
                Manner::Channels,
                "<|channel|>commentary to=x<|message|>{}<|end|>",
                "{}",
                "",
            ),
            (Manner::Channels, "<|channel|>ana", "", ""),
        ] {
            for len in [1, 2, 3, 7, 1000] {
                let expected = (thought.to_owned(), answer.to_owned());
                assert_eq!(sorted(manner, text, len), expected, "{text:?} by {len}");
            }
        }
    }

    #[test]
    fn a_thought_that_is_cut_short_is_followed_by_the_answer() {
        let mut thoughts = Thoughts::new(Manner::Tags);
        assert_eq!(
            thoughts.push(b"<think>on and on </th"),
            [Said::Thought(b"on and on ".into())]
        );
        assert!(thoughts.is_thinking());
        let (words, rest) = thoughts.cut_short();
        assert_eq!(
            (words, rest),
            ("\n</think>\n\n", Some(Said::Thought(b"</th".into())))
        );
        assert!(!thoughts.is_thinking());
        // It may say so itself as well.
        assert_eq!(
            thoughts.push(b"Blue </think>sky."),
            [Said::Answer(b"Blue ".into()), Said::Answer(b"sky.".into())]
        );
    }
}
