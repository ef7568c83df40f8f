//! Turns the bytes of tokens into text that can be shown: whole characters only, nothing beyond a stop text.
//!
//! A token may end in the middle of a character, and a stop text may be spread over several tokens; both are held back
//! until it is clear what they are. Pure: no model, no I/O. Start at [`AnswerText::push`].

/// Collects the bytes of one answer.
#[derive(Debug)]
pub(crate) struct AnswerText {
    /// Bytes of a character that is not complete yet: at most 3.
    unfinished: Vec<u8>,
    /// Text that could be the beginning of a stop text.
    held: String,
    stop: Vec<String>,
    /// Whether something visible was delivered: blanks before that are dropped.
    begun: bool,
}

/// What became of pushed bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Text to show now; may be empty.
    Text(String),
    /// The last text to show: a stop text follows it.
    Stopped(String),
}

impl AnswerText {
    /// Starts an answer that ends before any of `stop`.
    ///
    /// Blanks at the very beginning are dropped: several tokenisers put one before the first word.
    pub(crate) fn new(stop: &[String]) -> Self {
        let stop = stop
            .iter()
            .filter(|text| !text.is_empty())
            .cloned()
            .collect();
        Self {
            unfinished: Vec::new(),
            held: String::new(),
            stop,
            begun: false,
        }
    }

    /// Adds the bytes of one token.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Pushed {
        self.unfinished.extend_from_slice(bytes);
        self.take_whole_characters();
        if let Some(position) = self.first_stop() {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(position);
            return Pushed::Stopped(self.visible(text));
        }
        let keep = self.possible_stop_len();
        let rest = self.held.split_off(self.held.len() - keep);
        let text = std::mem::replace(&mut self.held, rest);
        Pushed::Text(self.visible(text))
    }

    /// Ends the answer: what was held back turned out to be text.
    pub(crate) fn finish(mut self) -> String {
        if !self.unfinished.is_empty() {
            self.held.push(char::REPLACEMENT_CHARACTER);
        }
        let text = std::mem::take(&mut self.held);
        self.visible(text)
    }

    /// Moves complete characters from `unfinished` to `held`; bytes that can never become one are replaced by U+FFFD.
    fn take_whole_characters(&mut self) {
        let bytes = std::mem::take(&mut self.unfinished);
        let mut rest = bytes.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => return self.held.push_str(text),
                Err(error) => {
                    let (whole, after) = rest.split_at(error.valid_up_to());
                    self.held.push_str(&String::from_utf8_lossy(whole));
                    let Some(broken_len) = error.error_len() else {
                        self.unfinished = after.to_vec();
                        return;
                    };
                    self.held.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[broken_len..];
                }
            }
        }
    }

    fn first_stop(&self) -> Option<usize> {
        self.stop
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()))
            .min()
    }

    /// Length of the longest end of the held text that is the beginning of a stop text.
    fn possible_stop_len(&self) -> usize {
        self.stop
            .iter()
            .flat_map(|stop| {
                stop.char_indices()
                    .skip(1)
                    .map(move |(end, _)| &stop[..end])
            })
            .filter(|beginning| self.held.ends_with(beginning))
            .map(str::len)
            .max()
            .unwrap_or(0)
    }

    fn visible(&mut self, text: String) -> String {
        if self.begun {
            return text;
        }
        let visible = text.trim_start();
        self.begun = !visible.is_empty();
        visible.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(stop: &[&str], tokens: &[&[u8]]) -> (Vec<String>, bool) {
        let stop: Vec<String> = stop.iter().map(ToString::to_string).collect();
        let mut answer = AnswerText::new(&stop);
        let mut shown = Vec::new();
        for token in tokens {
            match answer.push(token) {
                Pushed::Text(text) => shown.push(text),
                Pushed::Stopped(text) => {
                    shown.push(text);
                    return (shown, true);
                }
            }
        }
        shown.push(answer.finish());
        (shown, false)
    }

    fn joined(stop: &[&str], tokens: &[&[u8]]) -> (String, bool) {
        let (shown, stopped) = stream(stop, tokens);
        (shown.concat(), stopped)
    }

    #[test]
    fn a_character_split_over_tokens_is_shown_once_and_whole() {
        let text = "Größe: 3 € 🎒!";
        for size in 1..6 {
            let tokens: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let (shown, stopped) = stream(&[], &tokens);
            assert_eq!(shown.concat(), text, "tokens of {size} bytes");
            assert!(
                shown
                    .iter()
                    .all(|part| !part.contains(char::REPLACEMENT_CHARACTER)),
                "tokens of {size} bytes"
            );
            assert!(!stopped);
        }
    }

    #[test]
    fn bytes_that_are_no_character_are_replaced_and_the_rest_goes_on() {
        assert_eq!(
            joined(&[], &[b"a\xff", b"b\xf0\x9f", b"c"]).0,
            "a\u{fffd}b\u{fffd}c"
        );
        assert_eq!(joined(&[], &[b"end\xe2\x82"]).0, "end\u{fffd}");
    }

    #[test]
    fn a_stop_text_over_several_tokens_is_never_shown() {
        let stop = ["</answer>"];
        assert_eq!(
            joined(&stop, &[b"yes", b"</", b"ans", b"wer>", b"more"]),
            ("yes".into(), true)
        );
        assert_eq!(joined(&stop, &[b"yes</answer>more"]), ("yes".into(), true));
    }

    #[test]
    fn what_only_looked_like_a_stop_text_is_shown_later() {
        let (shown, stopped) = stream(&["###"], &[b"a #", b"# b", b"##"]);
        assert_eq!(shown, ["a ", "## b", "", "##"]);
        assert!(!stopped);
    }

    #[test]
    fn the_earliest_of_several_stop_texts_wins() {
        assert_eq!(
            joined(&["B", "\nUser:"], &[b"x\nUse", b"r: B"]),
            ("x".into(), true)
        );
    }

    #[test]
    fn a_stop_text_of_many_byte_characters_is_found_across_a_split_character() {
        let stop = "終わり";
        let bytes = format!("答え{stop}余分").into_bytes();
        let tokens: Vec<&[u8]> = bytes.chunks(2).collect();
        assert_eq!(joined(&[stop], &tokens), ("答え".into(), true));
    }

    #[test]
    fn blanks_before_the_first_word_are_dropped_and_later_ones_kept() {
        assert_eq!(
            joined(&[], &[b" ", b"\n", b" Hello", b" there "]).0,
            "Hello there "
        );
        let (text, stopped) = joined(&[""], &[b"an empty stop text stops nothing"]);
        assert_eq!(text, "an empty stop text stops nothing");
        assert!(!stopped);
    }
}
