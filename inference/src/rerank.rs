//! Scores how well passages answer a question: a model that reads both together.
//!
//! The pair is laid out as the model was trained: with the separators of its vocabulary, or by the template for pairs
//! that its file brings. What is longer than a window is cut at its end. Start at [`Reranker::run`].

use std::sync::atomic::AtomicBool;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::embed::{Embedder, Piece};
use crate::embed_plan::Plan;
use crate::error::LoadError;
use crate::llama_log::LlamaLog;
use crate::protocol::RequestError;

/// A reranker with its contexts.
pub(crate) struct Reranker<'m> {
    model: &'m LlamaModel,
    engine: Embedder<'m>,
    layout: PairLayout,
}

impl<'m> Reranker<'m> {
    /// Makes the contexts.
    pub(crate) fn new(
        backend: &LlamaBackend,
        model: &'m LlamaModel,
        plan: Plan,
        log: &LlamaLog,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            model,
            engine: Embedder::new(backend, model, plan, None, log)?,
            layout: PairLayout::of(model),
        })
    }

    /// Longest pair, in tokens, that is read whole.
    pub(crate) fn window_len_tokens(&self) -> u32 {
        self.engine.window_len_tokens()
    }

    /// One score for each passage, in their order; larger is better.
    pub(crate) fn run(
        &mut self,
        query: &str,
        passages: &[String],
        cancelled: &AtomicBool,
    ) -> Result<Vec<f32>, RequestError> {
        let read = |text: &str| self.model.vocab().tokenize(text.as_bytes(), false, false);
        let query = read(query);
        let window = self.window_len_tokens() as usize;
        let mut pieces: Vec<Piece> = passages
            .iter()
            .enumerate()
            .map(|(text, passage)| Piece {
                text,
                tokens: self.layout.pair(&query, &read(passage), window),
            })
            .collect();
        // As for embeddings: what is left for the end is short.
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.tokens.len()));
        let outputs = self.engine.compute(&pieces, cancelled)?;
        let mut scores = vec![0.0; passages.len()];
        for (piece, output) in pieces.iter().zip(outputs) {
            let score = output.first().copied().filter(|score| score.is_finite());
            scores[piece.text] = score.ok_or_else(|| RequestError::Compute {
                reason: "the reranker gave no score for a passage".to_owned(),
            })?;
        }
        Ok(scores)
    }
}

/// What stands around and between a question and a passage.
#[derive(Debug, PartialEq)]
struct PairLayout {
    before: Vec<LlamaToken>,
    between: Vec<LlamaToken>,
    after: Vec<LlamaToken>,
}

impl PairLayout {
    fn of(model: &LlamaModel) -> Self {
        let template = model.chat_template(Some(TEMPLATE_NAME)).ok();
        let template = template.and_then(|template| template.to_string().ok());
        let parts = template.as_deref().and_then(parts);
        let vocab = model.vocab();
        if let Some([before, between, after]) = parts {
            let read = |text: &str| vocab.tokenize(text.as_bytes(), false, true);
            return Self {
                before: read(before),
                between: read(between),
                after: read(after),
            };
        }
        let when = |is_wanted: bool, token: LlamaToken| {
            // A vocabulary without such a token says -1.
            (is_wanted && token.0 >= 0).then_some(token)
        };
        let begin = when(vocab.should_add_bos(), vocab.bos());
        let end = when(vocab.should_add_eos(), vocab.eos());
        let separator = when(vocab.should_add_sep(), vocab.sep());
        Self {
            before: begin.into_iter().collect(),
            between: end.into_iter().chain(separator).collect(),
            after: end.into_iter().collect(),
        }
    }

    /// The tokens of a pair, at most `window` of them. The question may take half of the room.
    fn pair(&self, query: &[LlamaToken], passage: &[LlamaToken], window: usize) -> Vec<LlamaToken> {
        let around = self.before.len() + self.between.len() + self.after.len();
        let room = window.saturating_sub(around);
        let query = &query[..query.len().min(room / 2)];
        let passage = &passage[..passage.len().min(room - query.len())];
        [&self.before, query, &self.between, passage, &self.after].concat()
    }
}

/// The three parts of a template such as `…{query}…{document}…`.
fn parts(template: &str) -> Option<[&str; 3]> {
    let (before, rest) = template.split_once("{query}")?;
    let (between, after) = rest.split_once("{document}")?;
    Some([before, between, after])
}

/// Under this name a file brings a template for pairs, as llama.cpp's own server reads it.
const TEMPLATE_NAME: &str = "rerank";

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(range: std::ops::Range<i32>) -> Vec<LlamaToken> {
        range.map(LlamaToken).collect()
    }

    #[test]
    fn a_pair_is_cut_to_the_window_and_keeps_its_frame() {
        let layout = PairLayout {
            before: tokens(0..1),
            between: tokens(1..3),
            after: tokens(3..4),
        };
        let pair = |query, passage, window| {
            layout.pair(&tokens(100..query), &tokens(200..passage), window)
        };
        assert_eq!(
            pair(102, 203, 20),
            [0, 100, 101, 1, 2, 200, 201, 202, 3].map(LlamaToken)
        );
        // A long passage is cut, a long question to half of the room.
        assert_eq!(pair(102, 290, 20).len(), 20);
        let both = pair(190, 290, 20);
        assert_eq!(both.len(), 20);
        assert_eq!(both[9..11], [1, 2].map(LlamaToken));
        assert_eq!(both.last(), Some(&LlamaToken(3)));
        assert_eq!(pair(102, 203, 4), [0, 1, 2, 3].map(LlamaToken));
    }

    #[test]
    fn a_template_has_both_places_in_order() {
        assert_eq!(
            parts("<Q>{query}</Q><D>{document}</D>"),
            Some(["<Q>", "</Q><D>", "</D>"])
        );
        assert_eq!(parts("{document} {query}"), None);
        assert_eq!(parts("{query}"), None);
    }
}
