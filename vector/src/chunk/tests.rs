//! Tests of the chunker: what holds for every text, and what each kind of structure becomes.

use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{Chunk, ChunkInput, MAX_EMBEDDED_TOKENS, TextKind, chunks, estimate_tokens};

fn chunks_of(kind: TextKind, text: &str, paged: bool) -> Vec<Chunk> {
    chunks(&ChunkInput {
        title: "Title",
        kind,
        text,
        paged,
    })
}

/// One line per chunk: page, headings, estimated tokens, the context beyond title and headings, the text.
fn check(kind: TextKind, paged: bool, text: &str, expected: &Expect) {
    let all = chunks_of(kind, text, paged);
    assert_complete(text, &all);
    let lines: Vec<String> = all
        .iter()
        .map(|c| {
            let page = c.page.map_or(String::new(), |p| format!("p{p} "));
            let extra = c
                .context
                .lines()
                .nth(2)
                .map_or(String::new(), |l| format!(" +{l:?}"));
            let mut shown: String = c.text.chars().take(50).collect();
            if shown.len() < c.text.len() {
                let tail: Vec<char> = c.text.chars().rev().take(16).collect();
                shown.push('…');
                shown.extend(tail.iter().rev());
            }
            format!(
                "{page}[{}] {}t{extra} {shown:?}",
                c.heading_path.join("/"),
                estimate_tokens(&c.text)
            )
        })
        .collect();
    expected.assert_eq(&lines.join("\n"));
}

/// Every byte that is not white space is in exactly one chunk, and chunks are what they say.
fn assert_complete(text: &str, all: &[Chunk]) {
    let mut end = 0;
    for (i, chunk) in all.iter().enumerate() {
        assert_eq!(chunk.index as usize, i);
        assert!(
            chunk.range.start >= end,
            "chunks overlap at {}",
            chunk.range.start
        );
        assert!(
            text[end..chunk.range.start].trim().is_empty(),
            "lost {:?}",
            &text[end..chunk.range.start]
        );
        assert_eq!(chunk.text, text[chunk.range.clone()]);
        assert_eq!(chunk.text, chunk.text.trim());
        assert!(!chunk.text.is_empty());
        end = chunk.range.end;
    }
    assert!(
        text[end..].trim().is_empty(),
        "lost the end {:?}",
        &text[end..]
    );
}

fn any_kind() -> impl Strategy<Value = TextKind> {
    prop_oneof![
        Just(TextKind::Markdown),
        Just(TextKind::Plain),
        Just(TextKind::Code)
    ]
}

/// Texts that look like Markdown, so that its rules are met often.
fn any_text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        8 => "[a-z]{1,12}",
        1 => "[A-Za-z0-9ß语말é]{1,30}",
        1 => Just("word. ".to_owned()),
        2 => prop::sample::select(vec![
            "# ", "## ", "- ", "> ", "1. ", "| a | b |\n|---|---|\n| c | d |\n", "```\n", "\n\n", "\n",
            "\u{c}", "---\n", "    ", "[^1]: ", "* * *\n", "\t", "<div>\n", "\u{a0}", "\r\n", "===\n",
            "| x |\n", "\u{2003}", "![", "](", "`", "😀",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(word, 0..400).prop_map(|words| {
        let mut text = String::new();
        for (i, word) in words.iter().enumerate() {
            if i % 3 != 0 {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    })
}

proptest! {
    #[test]
    fn nothing_is_lost_or_doubled(kind in any_kind(), text in any_text(), paged: bool) {
        assert_complete(&text, &chunks_of(kind, &text, paged));
    }

    #[test]
    fn any_characters_at_all(kind in any_kind(), text in "\\PC{0,300}", paged: bool) {
        assert_complete(&text, &chunks_of(kind, &text, paged));
    }

    #[test]
    fn chunks_fit_the_embedder(kind in any_kind(), text in any_text(), title in "[ -~]{0,200}") {
        for chunk in chunks(&ChunkInput { title: &title, kind, text: &text, paged: false }) {
            // Rounding up, once for the context and once for the text.
            let tokens = estimate_tokens(&chunk.embedded_text());
            prop_assert!(tokens <= MAX_EMBEDDED_TOKENS + 2, "{tokens} tokens: {:?}", chunk);
        }
    }
}

/// Words that are one token each.
fn words(n: usize) -> String {
    let mut text = "the cat sat on a mat and ".repeat(n / 7 + 1);
    let end = text
        .match_indices(' ')
        .nth(n - 1)
        .map_or(text.len(), |(at, _)| at);
    text.truncate(end);
    text
}

#[test]
fn white_space_alone_gives_nothing() {
    for kind in [TextKind::Markdown, TextKind::Plain, TextKind::Code] {
        assert!(chunks_of(kind, "", true).is_empty());
        assert!(chunks_of(kind, " \n\u{c}\n\t\u{a0} ", true).is_empty());
    }
}

#[test]
fn headings_make_sections() {
    let text =
        "intro\n\n# One\n\n## Two\n\ntext two\n\n## Three\n\ntext three\n\n# Four\ntext four\n";
    check(
        TextKind::Markdown,
        false,
        text,
        &expect![[r###"
        [] 2t "intro"
        [One/Two] 8t "# One\n\n## Two\n\ntext two"
        [One/Three] 6t "## Three\n\ntext three"
        [Four] 5t "# Four\ntext four""###]],
    );
}

#[test]
fn front_matter_and_quoted_headings_are_no_headings() {
    let text = "---\ntitle: x\n---\n\n> # quoted\n> text\n\n- # listed\n";
    check(
        TextKind::Markdown,
        false,
        text,
        &expect![[r#"[] 18t "---\ntitle: x\n---\n\n> # quoted\n> text\n\n- # listed""#]],
    );
}

#[test]
fn blocks_that_fit_are_kept_whole() {
    let text = format!(
        "{}\n\n```rust\nfn main() {{\n\n    {};\n}}\n```\n\nend\n",
        words(120),
        words(90)
    );
    check(
        TextKind::Markdown,
        false,
        &text,
        &expect![[r#"
        [] 129t "the cat sat on a mat and the cat sat on a mat and …on a mat and the"
        [] 112t "```rust\nfn main() {\n\n    the cat sat on a mat and … mat;\n}\n```\n\nend""#]],
    );
}

#[test]
fn long_paragraphs_are_cut_at_sentences() {
    let sentence = format!("The e.g. {} ends here. ", words(60));
    check(
        TextKind::Plain,
        false,
        &sentence.repeat(5),
        &expect![[r#"
        [] 146t "The e.g. the cat sat on a mat and the cat sat on a…at on ends here."
        [] 146t "The e.g. the cat sat on a mat and the cat sat on a…at on ends here."
        [] 73t "The e.g. the cat sat on a mat and the cat sat on a…at on ends here.""#]],
    );
    check(
        TextKind::Plain,
        false,
        &words(450),
        &expect![[r#"
        [] 200t "the cat sat on a mat and the cat sat on a mat and …d the cat sat on"
        [] 200t "a mat and the cat sat on a mat and the cat sat on …on a mat and the"
        [] 84t "cat sat on a mat and the cat sat on a mat and the … mat and the cat""#]],
    );
}

#[test]
fn a_long_table_repeats_its_header() {
    let mut text = "# Prices\n\nIntro.\n\n| item | price |\n|---|---|\n".to_owned();
    for i in 0..60 {
        text.push_str(&format!("| thing {i} | {} |\n", i % 10));
    }
    text.push_str("\nAfter the table.\n");
    check(
        TextKind::Markdown,
        false,
        &text,
        &expect![[r##"
        [Prices] 195t "# Prices\n\nIntro.\n\n| item | price |\n|---|---|\n| thi…| thing 27 | 7 |"
        [Prices] 201t +"| item | price |" "| thing 28 | 8 |\n| thing 29 | 9 |\n| thing 30 | 0 |…| thing 59 | 9 |"
        [Prices] 5t "After the table.""##]],
    );
}

#[test]
fn pages_are_not_crossed_unless_the_rest_is_tiny() {
    let text = format!(
        "{}\u{c}{}\u{c}page three\u{c}{}",
        words(100),
        words(90),
        words(150)
    );
    check(
        TextKind::Markdown,
        true,
        &text,
        &expect![[r#"
        p1 [] 108t "the cat sat on a mat and the cat sat on a mat and … mat and the cat"
        p2 [] 100t "the cat sat on a mat and the cat sat on a mat and …a mat\u{c}page three"
        p4 [] 162t "the cat sat on a mat and the cat sat on a mat and … and the cat sat""#]],
    );
    check(
        TextKind::Plain,
        true,
        &format!("Cover\u{c}{}", words(60)),
        &expect![[
            r#"p1 [] 66t "Cover\u{c}the cat sat on a mat and the cat sat on a ma…d the cat sat on""#
        ]],
    );
    // Without pages a form feed is white space.
    check(
        TextKind::Plain,
        false,
        "a\u{c}b",
        &expect![[r#"[] 3t "a\u{c}b""#]],
    );
}

#[test]
fn lists_keep_items_together() {
    let items: String = (0..8)
        .map(|i| format!("- item {i} {}\n  - inner {i}\n", words(40)))
        .collect();
    check(
        TextKind::Markdown,
        false,
        &items,
        &expect![[r#"
        [] 198t "- item 0 the cat sat on a mat and the cat sat on a…on a\n  - inner 3"
        [] 198t "- item 4 the cat sat on a mat and the cat sat on a…on a\n  - inner 7""#]],
    );
}

#[test]
fn code_is_cut_between_groups_of_lines() {
    let function = "fn f() {\n    let x = 1;\n    g(x);\n}\n\n".repeat(20);
    check(
        TextKind::Code,
        false,
        &function,
        &expect![[r#"
        [] 194t "fn f() {\n    let x = 1;\n    g(x);\n}\n\nfn f() {\n    …= 1;\n    g(x);\n}"
        [] 130t "fn f() {\n    let x = 1;\n    g(x);\n}\n\nfn f() {\n    …= 1;\n    g(x);\n}""#]],
    );
}

#[test]
fn other_languages_with_latin_letters_get_shorter_chunks() {
    let english = "The house stands on the bank of a small river and is very old. ".repeat(40);
    let german = "Das Häuschen über dem Fluß gehört für gewöhnlich der Großmutter. ".repeat(40);
    let longest = |text: &str| {
        chunks_of(TextKind::Plain, text, false)
            .iter()
            .map(|c| estimate_tokens(&c.text))
            .max()
            .unwrap()
    };
    assert!(longest(&german) < longest(&english) * 4 / 5);
}

#[test]
fn languages_without_spaces_are_cut_between_characters() {
    check(
        TextKind::Plain,
        false,
        &"说明书的第一句话。".repeat(60),
        &expect![[r#"
        [] 198t "说明书的第一句话。说明书的第一句话。说明书的第一句话。说明书的第一句话。说明书的第一句话。说明书的第…书的第一句话。说明书的第一句话。"
        [] 198t "说明书的第一句话。说明书的第一句话。说明书的第一句话。说明书的第一句话。说明书的第一句话。说明书的第…书的第一句话。说明书的第一句话。"
        [] 144t "说明书的第一句话。说明书的第一句话。说明书的第一句话。说明书的第一句话。说明书的第一句话。说明书的第…书的第一句话。说明书的第一句话。""#]],
    );
    check(
        TextKind::Plain,
        false,
        &"字".repeat(450),
        &expect![[r#"
        [] 200t "字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字…字字字字字字字字字字字字字字字字"
        [] 200t "字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字…字字字字字字字字字字字字字字字字"
        [] 50t "字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字字""#]],
    );
}

/// Linear time: twice the text takes about twice as long, and the worst texts known take seconds.
#[test]
fn hostile_texts_end_soon() {
    let mut table = "| a | b |\n|---|---|\n".to_owned();
    for i in 0..100_000 {
        table.push_str(&format!("| {i} | value |\n"));
    }
    let cases = [
        ("one line", "x".repeat(5_000_000)),
        ("one line of words", "word ".repeat(1_000_000)),
        ("a table", table),
        ("nested quotes", ">".repeat(1_000_000)),
        ("nested lists on one line", "- ".repeat(200_000)),
        ("brackets", "[".repeat(1_000_000)),
        ("emphasis", "*a_".repeat(300_000)),
        ("headings", "# h\n".repeat(200_000)),
        (
            "a long heading",
            format!("# {}\n\n{}", "h".repeat(3_000_000), "word ".repeat(100_000)),
        ),
        ("backticks", "`".repeat(1_000_000)),
        ("page breaks", "\u{c}".repeat(1_000_000)),
        (
            "quotes on many lines",
            format!("{}a\n", "> ".repeat(50)).repeat(10_000),
        ),
    ];
    for (name, text) in cases {
        for kind in [TextKind::Markdown, TextKind::Plain, TextKind::Code] {
            let start = Instant::now();
            let all = chunks_of(kind, &text, true);
            let took = start.elapsed();
            assert_complete(&text, &all);
            assert!(
                took < Duration::from_secs(20),
                "{name} as {kind:?} took {took:?}"
            );
            println!("{name} as {kind:?}: {} chunks in {took:?}", all.len());
        }
    }
}
