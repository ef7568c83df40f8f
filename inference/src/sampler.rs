//! Chooses the next token: by the steps of [`Sampling`], and within the form that the answer must have.
//!
//! The steps look at the likeliest tokens only, where others cannot be chosen (see [`likeliest`](crate::likeliest)), and
//! the form is checked for the chosen token first and laid over the whole vocabulary only where that token breaks it:
//! both are long loops, one for each token that is written. Start at [`Sampler::new`] and [`Sampler::next`]; a form is
//! read by [`grammar_of`].

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::json_schema_to_grammar;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;

use crate::likeliest::likeliest;
use crate::protocol::RequestError;
use crate::request::{AnswerForm, Sampling};

/// The steps of one answer.
pub(crate) struct Sampler {
    steps: LlamaSampler,
    /// Tokens that can be chosen by these steps, at most; `None` where it may be any.
    most_chosen: Option<usize>,
    /// Follows what is written, and knows what may come next.
    form: Option<LlamaSampler>,
}

impl Sampler {
    /// Makes the steps; `grammar` is what [`grammar_of`] gave.
    pub(crate) fn new(
        sampling: &Sampling,
        grammar: Option<&str>,
        model: &LlamaModel,
        context_len_tokens: usize,
    ) -> Result<Self, RequestError> {
        Ok(Self {
            steps: steps(sampling, model.n_vocab(), context_len_tokens),
            most_chosen: most_chosen(sampling, context_len_tokens),
            form: grammar.map(|text| read(model, text)).transpose()?,
        })
    }

    /// The token that comes next, in the form that the answer must have unless `is_free`.
    pub(crate) fn next(
        &mut self,
        context: &LlamaContext<'_>,
        is_free: bool,
    ) -> Result<LlamaToken, RequestError> {
        let mut tokens = self.candidates(context);
        self.steps.apply(&mut tokens);
        let chosen = tokens.selected_token();
        let Some(form) = self.form.as_mut().filter(|_| !is_free) else {
            let chosen = chosen.ok_or_else(|| RequestError::Compute {
                reason: "the model gives no token a score".to_owned(),
            })?;
            self.steps.accept(chosen);
            return Ok(chosen);
        };
        let mut chosen = chosen.filter(|token| fits(form, *token));
        if chosen.is_none() {
            let mut tokens = context.token_data_array_ith(-1);
            form.apply(&mut tokens);
            tokens.data.retain(|token| token.logit().is_finite());
            self.steps.apply(&mut tokens);
            chosen = tokens.selected_token();
        }
        let broken = || RequestError::Compute {
            reason: "no token of this model fits the form that the answer must have".to_owned(),
        };
        let chosen = chosen.ok_or_else(broken)?;
        form.try_accept(chosen).map_err(|_| broken())?;
        self.steps.accept(chosen);
        Ok(chosen)
    }

    /// The tokens to choose among.
    fn candidates(&self, context: &LlamaContext<'_>) -> LlamaTokenDataArray {
        let Some(most) = self.most_chosen else {
            return context.token_data_array_ith(-1);
        };
        let best = likeliest(context.get_logits_ith(-1), most).into_iter();
        let best = best.map(|(id, logit)| LlamaTokenData::new(LlamaToken(id), logit, 0.0));
        LlamaTokenDataArray::from_iter(best, true)
    }
}

/// Whether a token may come next.
fn fits(form: &mut LlamaSampler, token: LlamaToken) -> bool {
    let alone = LlamaTokenData::new(token, 1.0, 1.0);
    let mut tokens = LlamaTokenDataArray::new(vec![alone], false);
    form.apply(&mut tokens);
    tokens.data.iter().any(|token| token.logit().is_finite())
}

/// The form of an answer as a grammar that llama.cpp has read once, so that what is wrong with it is said before
/// anything is computed.
pub(crate) fn grammar_of(
    model: &LlamaModel,
    form: &AnswerForm,
) -> Result<Option<String>, RequestError> {
    let grammar = match form {
        AnswerForm::Free => return Ok(None),
        AnswerForm::Grammar(grammar) => grammar.clone(),
        AnswerForm::Json(schema) => of_schema(schema)?,
    };
    read(model, &grammar)?;
    Ok(Some(grammar))
}

fn of_schema(schema: &str) -> Result<String, RequestError> {
    let bad = |reason: String| RequestError::Form { reason };
    let value: serde_json::Value =
        serde_json::from_str(schema).map_err(|error| bad(format!("it is no JSON: {error}")))?;
    let schema = match value {
        // Without a word about the kind, any value would do, also a bare number.
        serde_json::Value::Object(map) if map.is_empty() => r#"{"type":"object"}"#,
        serde_json::Value::Object(_) => schema,
        _ => return Err(bad("a JSON schema is an object".to_owned())),
    };
    json_schema_to_grammar(schema)
        .map_err(|_| bad("it uses something that is not supported".to_owned()))
}

fn read(model: &LlamaModel, grammar: &str) -> Result<LlamaSampler, RequestError> {
    if grammar.len() > MAX_GRAMMAR_BYTES {
        return Err(RequestError::Form {
            reason: format!("it takes more than {} KiB", MAX_GRAMMAR_BYTES >> 10),
        });
    }
    LlamaSampler::grammar(model, grammar, "root").map_err(|_| RequestError::Form {
        reason: "the grammar cannot be read; it has to define `root`".to_owned(),
    })
}

/// The steps by which a token is chosen, in the order that [`Sampling`] documents.
fn steps(sampling: &Sampling, n_vocab: i32, context_len_tokens: usize) -> LlamaSampler {
    let mut steps = Vec::new();
    let look_back = look_back(sampling, context_len_tokens);
    if look_back > 0 {
        let penalty = sampling.repeat_penalty;
        steps.push(LlamaSampler::penalties(
            n_vocab, look_back, penalty, 0.0, 0.0,
        ));
    }
    if is_greedy(sampling) {
        steps.push(LlamaSampler::greedy());
        return LlamaSampler::chain(steps, true);
    }
    if sampling.top_k > 0 {
        steps.push(LlamaSampler::top_k(sampling.top_k));
    }
    if sampling.top_p < 1.0 {
        steps.push(LlamaSampler::top_p(sampling.top_p.max(0.0), MIN_KEEP));
    }
    if sampling.min_p > 0.0 {
        steps.push(LlamaSampler::min_p(sampling.min_p.min(1.0), MIN_KEEP));
    }
    steps.push(LlamaSampler::temp(sampling.temperature));
    steps.push(LlamaSampler::dist(sampling.seed.unwrap_or(RANDOM_SEED)));
    LlamaSampler::chain(steps, true)
}

fn is_greedy(sampling: &Sampling) -> bool {
    sampling.temperature.is_nan() || sampling.temperature <= 0.0
}

/// Tokens back from the end whose repetition counts; 0 where it does not.
fn look_back(sampling: &Sampling, context_len_tokens: usize) -> i32 {
    let penalty = sampling.repeat_penalty;
    if !penalty.is_finite() || penalty <= 0.0 || penalty == 1.0 {
        return 0;
    }
    match sampling.repeat_last_n {
        ..0 => i32::try_from(context_len_tokens).unwrap_or(i32::MAX),
        tokens => tokens,
    }
}

/// How many of the likeliest tokens can be chosen: those that are asked for, and as many more as the penalty for
/// repetition may push down. `None` where any token may be chosen.
fn most_chosen(sampling: &Sampling, context_len_tokens: usize) -> Option<usize> {
    let look_back = usize::try_from(look_back(sampling, context_len_tokens)).ok()?;
    // A penalty below 1 is a reward, and lifts tokens from anywhere.
    if look_back > 0 && sampling.repeat_penalty < 1.0 {
        return None;
    }
    let asked = if is_greedy(sampling) {
        1
    } else {
        usize::try_from(sampling.top_k).ok().filter(|k| *k > 0)?
    };
    Some(asked.saturating_add(look_back)).filter(|most| *most <= MAX_SOUGHT)
}

/// More than so many are not sought for: sorting them would take as long as looking at all tokens.
const MAX_SOUGHT: usize = 4096;

/// No form that people write is longer; reading one takes time in proportion.
const MAX_GRAMMAR_BYTES: usize = 256 << 10;
/// However sharp the settings, one token is always left to choose.
const MIN_KEEP: usize = 1;
/// llama.cpp's word for "another seed each time".
const RANDOM_SEED: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_chosen_is_sought() {
        let of = |temperature, top_k, repeat_penalty, repeat_last_n| {
            let sampling = Sampling {
                temperature,
                top_k,
                repeat_penalty,
                repeat_last_n,
                ..Sampling::default()
            };
            most_chosen(&sampling, 2048)
        };
        assert_eq!(of(0.7, 40, 1.0, 64), Some(40));
        assert_eq!(of(0.7, 40, 1.1, 64), Some(104));
        assert_eq!(of(0.7, 40, 1.1, -1), Some(2088));
        assert_eq!(of(0.0, 40, 1.0, 64), Some(1));
        assert_eq!(of(0.7, 0, 1.0, 64), None);
        assert_eq!(of(0.7, 40, 0.9, 64), None);
        assert_eq!(of(0.7, 100_000, 1.0, 0), None);
    }
}
