//! Chooses the next token: by the steps of [`Sampling`], and within the form that the answer must have.
//!
//! The form is checked for the chosen token first, and laid over the whole vocabulary only where that token breaks it:
//! looking at every token of a vocabulary costs more than writing one. Start at [`Sampler::new`] and
//! [`Sampler::next`]; a form is read by [`grammar_of`].

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::json_schema_to_grammar;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;

use crate::protocol::RequestError;
use crate::request::{AnswerForm, Sampling};

/// The steps of one answer.
pub(crate) struct Sampler {
    steps: LlamaSampler,
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
            form: grammar.map(|text| read(model, text)).transpose()?,
        })
    }

    /// The token that comes next, in the form that the answer must have unless `is_free`.
    pub(crate) fn next(
        &mut self,
        context: &LlamaContext<'_>,
        is_free: bool,
    ) -> Result<LlamaToken, RequestError> {
        let Some(form) = self.form.as_mut().filter(|_| !is_free) else {
            return Ok(self.steps.sample(context, -1));
        };
        let mut tokens = context.token_data_array_ith(-1);
        self.steps.apply(&mut tokens);
        let mut chosen = tokens.selected_token().filter(|token| fits(form, *token));
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
    let look_back = match sampling.repeat_last_n {
        ..0 => i32::try_from(context_len_tokens).unwrap_or(i32::MAX),
        tokens => tokens,
    };
    let penalty = sampling.repeat_penalty;
    if look_back > 0 && penalty.is_finite() && penalty > 0.0 && penalty != 1.0 {
        steps.push(LlamaSampler::penalties(
            n_vocab, look_back, penalty, 0.0, 0.0,
        ));
    }
    if sampling.temperature.is_nan() || sampling.temperature <= 0.0 {
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

/// No form that people write is longer; reading one takes time in proportion.
const MAX_GRAMMAR_BYTES: usize = 256 << 10;
/// However sharp the settings, one token is always left to choose.
const MIN_KEEP: usize = 1;
/// llama.cpp's word for "another seed each time".
const RANDOM_SEED: u32 = u32::MAX;
