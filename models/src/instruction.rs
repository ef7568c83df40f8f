//! What is put before a text so that an embedder knows what it is for.
//!
//! Many embedders were trained with one word or sentence before questions and another before passages; without them
//! they find less, and nothing says so. The files do not tell: they are the makers' own words, taken from the cards of
//! the models. Pure. Start at [`Instructions::of`].

use crate::gguf::Pooling;
use crate::store::InstalledModel;

/// What an embedder wants before its texts. The version counts up when a text changes: embeddings made with another
/// one are not comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instructions {
    /// Before a question.
    pub query: &'static str,
    /// Before a passage.
    pub passage: &'static str,
}

impl Instructions {
    /// Nothing before either.
    pub const NONE: Self = Self {
        query: "",
        passage: "",
    };

    /// What an installed embedder wants, told by its architecture and name.
    #[must_use]
    pub fn of(model: &InstalledModel) -> Self {
        Self::by(&model.architecture, &model.name, model.pooling)
    }

    fn by(architecture: &str, name: &str, pooling: Option<Pooling>) -> Self {
        let name = name.to_lowercase().replace([' ', '_', '.'], "-");
        let is = |family: &str| name.contains(family);
        match architecture {
            "nomic-bert" | "nomic-bert-moe" => Self {
                query: "search_query: ",
                passage: "search_document: ",
            },
            "gemma-embedding" => Self {
                query: "task: search result | query: ",
                passage: "title: none | text: ",
            },
            // Qwen3-Embedding, which gives the last token.
            "qwen3" if pooling == Some(Pooling::Last) => Self {
                query: "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
                passage: "",
            },
            _ if is("arctic-embed") && is("v2") => Self {
                query: "query: ",
                passage: "",
            },
            _ if (is("bge-") && is("-en")) || is("mxbai-embed") || is("arctic-embed") => Self {
                query: "Represent this sentence for searching relevant passages: ",
                passage: "",
            },
            _ if is("e5-") && !is("instruct") => Self {
                query: "query: ",
                passage: "passage: ",
            },
            _ => Self::NONE,
        }
    }

    /// A word for these instructions in the name of embeddings made with them; `None` where there are none.
    #[must_use]
    pub fn tag(self) -> Option<&'static str> {
        (self != Self::NONE).then_some("i1")
    }

    /// A question as the embedder wants it.
    #[must_use]
    pub fn query(self, text: &str) -> String {
        format!("{}{text}", self.query)
    }

    /// A passage as the embedder wants it.
    #[must_use]
    pub fn passage(self, text: &str) -> String {
        format!("{}{text}", self.passage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_by_architecture_and_name() {
        let by = |architecture, name| Instructions::by(architecture, name, Some(Pooling::Mean));
        assert_eq!(
            by("nomic-bert", "nomic-embed-text-v1.5").query("why?"),
            "search_query: why?"
        );
        assert_eq!(
            by("gemma-embedding", "Embeddinggemma 300M").passage("text"),
            "title: none | text: text"
        );
        assert_eq!(by("bert", "multilingual e5 small").passage, "passage: ");
        assert_eq!(
            by("bert", "Multilingual-E5-large-instruct"),
            Instructions::NONE
        );
        assert!(
            by("bert", "Bge Small En v1.5")
                .query
                .starts_with("Represent")
        );
        assert_eq!(by("bert", "bge-m3"), Instructions::NONE);
        assert_eq!(by("bert", "snowflake-arctic-embed-m-v2.0").query, "query: ");
        assert!(
            by("bert", "Snowflake Arctic Embed S")
                .query
                .starts_with("Represent")
        );
        assert_eq!(by("bert", "all-MiniLM-L6-v2"), Instructions::NONE);
        let qwen = |pooling| Instructions::by("qwen3", "Qwen3 Embedding 0.6B", pooling);
        assert!(qwen(Some(Pooling::Last)).query.ends_with("\nQuery:"));
        assert_eq!(qwen(None), Instructions::NONE);
    }

    #[test]
    fn embeddings_with_and_without_instructions_have_different_names() {
        assert_eq!(Instructions::NONE.tag(), None);
        assert!(Instructions::by("nomic-bert", "", None).tag().is_some());
    }
}
