//! Conversations that were put aside, with all that the model knew of them: going back to one costs a copy, not a second
//! reading.
//!
//! Holds at most so many bytes; what was not used for the longest gives way. Start at [`Shelf::best`] and
//! [`Shelf::put`].

use llama_cpp_2::token::LlamaToken;

use crate::snapshot::Snapshot;

/// Conversations put aside, the one used last at the end.
pub(crate) struct Shelf<S = Snapshot> {
    places: Vec<Place<S>>,
    most_bytes: usize,
}

/// One conversation: its tokens and what the model made of them.
pub(crate) struct Place<S = Snapshot> {
    pub(crate) tokens: Vec<LlamaToken>,
    pub(crate) state: S,
}

/// What takes up room on the shelf.
pub(crate) trait Weight {
    fn bytes(&self) -> usize;
}

impl<S: Weight> Shelf<S> {
    /// An empty one that holds so much.
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self {
            places: Vec::new(),
            most_bytes,
        }
    }

    /// Whether a conversation of so many bytes has room at all.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        bytes <= self.most_bytes
    }

    /// Puts a conversation aside. One that it begins with is not needed any more.
    pub(crate) fn put(&mut self, place: Place<S>) {
        self.places
            .retain(|other| !place.tokens.starts_with(&other.tokens));
        self.places.push(place);
        while self.places.len() > 1 && self.bytes() > self.most_bytes {
            self.places.remove(0);
        }
    }

    /// Takes the conversation that shares the longest beginning with a prompt, where that is longer than `least`.
    pub(crate) fn best(&mut self, prompt: &[LlamaToken], least: usize) -> Option<Place<S>> {
        let lengths = self
            .places
            .iter()
            .map(|place| common(&place.tokens, prompt));
        let (at, longest) = lengths.enumerate().max_by_key(|(_, length)| *length)?;
        (longest > least).then(|| self.places.remove(at))
    }

    fn bytes(&self) -> usize {
        self.places.iter().map(|place| place.state.bytes()).sum()
    }
}

/// How many tokens two lists begin with in common.
pub(crate) fn common(one: &[LlamaToken], other: &[LlamaToken]) -> usize {
    let pairs = one.iter().zip(other);
    pairs.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weight for usize {
        fn bytes(&self) -> usize {
            *self
        }
    }

    fn tokens(ids: &[i32]) -> Vec<LlamaToken> {
        ids.iter().map(|id| LlamaToken(*id)).collect()
    }

    fn shelf(conversations: &[&[i32]]) -> Shelf<usize> {
        let mut shelf = Shelf::new(100);
        for ids in conversations {
            shelf.put(Place {
                tokens: tokens(ids),
                state: 40,
            });
        }
        shelf
    }

    fn left(shelf: &Shelf<usize>) -> Vec<usize> {
        shelf
            .places
            .iter()
            .map(|place| place.tokens.len())
            .collect()
    }

    #[test]
    fn the_longest_common_beginning_is_taken() {
        let mut shelf = shelf(&[&[1, 2, 3, 4], &[1, 2, 9, 9, 9]]);
        let prompt = tokens(&[1, 2, 9, 9, 7]);
        assert!(shelf.best(&prompt, 4).is_none(), "not longer than asked");
        let taken = shelf.best(&prompt, 3).unwrap();
        assert_eq!(taken.tokens, tokens(&[1, 2, 9, 9, 9]));
        assert_eq!(left(&shelf), [4]);
        assert!(shelf.best(&tokens(&[5]), 0).is_none());
    }

    #[test]
    fn what_was_not_used_longest_gives_way() {
        let shelf = shelf(&[&[1], &[2, 2], &[3, 3, 3]]);
        assert_eq!(left(&shelf), [2, 3]);
        assert!(shelf.takes(100) && !shelf.takes(101));
    }

    #[test]
    fn a_conversation_that_went_on_takes_the_place_of_its_beginning() {
        assert_eq!(left(&shelf(&[&[1, 2], &[7], &[1, 2, 3]])), [1, 3]);
    }
}
