//! Answers: streaming, limits, what is kept between questions, stopping.

use std::time::{Duration, Instant};

use satchel_inference::{
    AnswerForm, ChatMessage, ChatRole, EngineError, GenerateRequest, Sampling, StopReason,
    StreamEvent, Thinking, prompt_chunk_tokens,
};

use crate::rig::*;

pub(crate) fn an_answer_streams_and_is_repeatable() {
    let Some(engine) = chat_engine(1024) else {
        return;
    };
    run(async {
        let info = engine.info().await.unwrap();
        assert_eq!(info.context_len_tokens, 1024);
        assert!(info.n_params > 1_000_000 && info.size_bytes > 1_000_000 && info.has_chat_template);
        assert_ne!(info.variant, "unknown");
        assert_eq!(engine.worker_pid(), Some(info.pid));

        let question = || {
            ask(
                user("What is the capital of France? Answer in one short sentence."),
                40,
            )
        };
        let first = answer(&engine, question()).await.unwrap();
        println!("  {} on {}: {:?}", info.name, info.variant, first.text);
        assert!(first.text.contains("Paris"), "{:?}", first.text);
        assert_eq!(first.reason, StopReason::EndOfAnswer);
        assert!(first.usage.output_tokens > 2 && first.usage.prompt_ms > 0.0);
        let second = answer(&engine, question()).await.unwrap();
        assert_eq!(second.text, first.text);

        let seeded = |seed| {
            let sampling = Sampling {
                temperature: 1.5,
                seed: Some(seed),
                ..Sampling::default()
            };
            GenerateRequest {
                sampling,
                ..ask(user("Tell me something surprising."), 30)
            }
        };
        let one = answer(&engine, seeded(1)).await.unwrap().text;
        assert_eq!(answer(&engine, seeded(1)).await.unwrap().text, one);
        assert_ne!(answer(&engine, seeded(2)).await.unwrap().text, one);
    });
}

pub(crate) fn limits_end_an_answer() {
    let Some(engine) = chat_engine(1024) else {
        return;
    };
    run(async {
        let counting =
            || user("Write the numbers from one to twenty as words, separated by commas.");
        let few = answer(&engine, ask(counting(), 5)).await.unwrap();
        assert_eq!(
            (few.reason, few.usage.output_tokens),
            (StopReason::MaxTokens, 5)
        );
        let none = answer(&engine, ask(counting(), 0)).await.unwrap();
        assert_eq!(
            (none.reason, none.text.as_str()),
            (StopReason::MaxTokens, "")
        );

        let whole = answer(&engine, ask(counting(), 60)).await.unwrap().text;
        let stop = whole.chars().skip(10).take(6).collect::<String>();
        let request = GenerateRequest {
            thinking: Thinking::Off,
            stop: vec![stop.clone()],
            ..ask(counting(), 60)
        };
        let stopped = answer(&engine, request).await.unwrap();
        assert_eq!(stopped.reason, StopReason::StopWord);
        assert_eq!(stopped.text, whole[..whole.find(&stop).unwrap()]);
    });
}

pub(crate) fn control_tokens_in_a_message_are_plain_text() {
    let Some(engine) = chat_engine(1024) else {
        return;
    };
    run(async {
        let counts = engine
            .count_tokens(vec!["<|im_end|>".into(), "word".into(), String::new()])
            .await
            .unwrap();
        assert!(
            counts[0] > 3,
            "a control token in a text was taken for one: {counts:?}"
        );
        assert_eq!(counts[1..], [1, 0]);
        let plain = engine.count_prompt_tokens(user("")).await.unwrap();
        let hostile = engine
            .count_prompt_tokens(user("<|im_end|>"))
            .await
            .unwrap();
        assert_eq!(hostile - plain, counts[0]);
    });
}

pub(crate) fn a_prompt_that_is_too_long_is_refused_and_the_next_works() {
    let Some(engine) = chat_engine(512) else {
        return;
    };
    run(async {
        let long = user(&prose(600));
        let counted = engine.count_prompt_tokens(long.clone()).await.unwrap();
        let error = engine.generate(ask(long, 10)).await.unwrap_err();
        assert_eq!(
            error,
            EngineError::PromptTooLong {
                prompt_tokens: counted,
                context_len_tokens: 512
            }
        );
        assert_eq!(
            engine.generate(ask(Vec::new(), 10)).await.unwrap_err(),
            EngineError::NoMessages
        );
        assert!(
            !answer(&engine, ask(user("Say hello."), 10))
                .await
                .unwrap()
                .text
                .is_empty()
        );
    });
}

pub(crate) fn a_full_context_ends_the_answer() {
    let Some(engine) = chat_engine(256) else {
        return;
    };
    run(async {
        let sampling = Sampling {
            temperature: 2.0,
            seed: Some(3),
            ..Sampling::default()
        };
        let request = GenerateRequest {
            sampling,
            ..ask(user("Write a very long story about the sea."), 5000)
        };
        let full = answer(&engine, request).await.unwrap();
        assert_eq!(full.reason, StopReason::ContextFull);
        assert_eq!(
            full.usage.prompt_tokens + full.usage.output_tokens,
            257,
            "{:?}",
            full.usage
        );
        let next = answer(&engine, ask(user("Say hello."), 10)).await.unwrap();
        assert!(!next.text.is_empty());
    });
}

pub(crate) fn a_follow_up_reads_only_what_is_new() {
    let Some(engine) = chat_engine(2048) else {
        return;
    };
    run(async {
        let mut messages = user(&format!("{} When was the bridge closed?", prose(500)));
        let first = answer(&engine, ask(messages.clone(), 20)).await.unwrap();
        assert_eq!(first.usage.cached_tokens, 0);
        messages.push(ChatMessage::new(ChatRole::Assistant, first.text.clone()));
        messages.push(ChatMessage::new(ChatRole::User, "And when was it opened?"));
        let warm = answer(&engine, ask(messages.clone(), 20)).await.unwrap();
        assert!(
            warm.usage.cached_tokens >= first.usage.prompt_tokens - 2,
            "{:?}",
            warm.usage
        );

        // What was kept gives the same answer as reading it all again.
        engine.unload().await;
        let cold = answer(&engine, ask(messages.clone(), 20)).await.unwrap();
        assert_eq!(cold.usage.cached_tokens, 0);
        assert_eq!(beginning(&cold.text), beginning(&warm.text));

        // A conversation that differs at its beginning shares only what is equal.
        let other = answer(&engine, ask(user("Say hello."), 5)).await.unwrap();
        assert!(other.usage.cached_tokens < other.usage.prompt_tokens);
        let again = answer(&engine, ask(messages, 20)).await.unwrap();
        assert_eq!(beginning(&again.text), beginning(&cold.text));
    });
}

/// The first words. Later ones may differ by rounding when a prompt is read in other chunks.
fn beginning(text: &str) -> Vec<&str> {
    text.split_whitespace().take(3).collect()
}

/// The number of threads follows what others leave free; what is written does not.
/// A long text to read, different for each `name`.
fn long_text(name: &str) -> String {
    let line =
        |number| format!("{name} wrote in the year {number} that the harbour was full of ships.");
    (1800..1840).map(line).collect::<Vec<_>>().join(" ")
}

pub(crate) fn two_chats_in_turn_are_each_read_once() {
    let Some(engine) = chat_engine(4096) else {
        return;
    };
    run(async {
        let mut chats = ["Anna", "Boris"].map(|name| user(&long_text(name)));
        let mut answers = Vec::new();
        for turn in 0..3 {
            for chat in &mut chats {
                let said = answer(&engine, ask(chat.clone(), 8)).await.unwrap();
                let usage = said.usage;
                if turn > 0 {
                    let new = usage.prompt_tokens - usage.cached_tokens;
                    assert!(
                        new < 100,
                        "{new} of {} tokens were read again",
                        usage.prompt_tokens
                    );
                }
                chat.push(ChatMessage::new(ChatRole::Assistant, said.text.clone()));
                chat.push(ChatMessage::new(ChatRole::User, "And then?"));
                answers.push(said.text);
            }
        }
        // What was put aside is what was read: alone, a chat goes on in the same words.
        engine.unload().await;
        let last = &chats[0][..chats[0].len() - 2];
        let alone = answer(&engine, ask(last.to_vec(), 8)).await.unwrap();
        assert_eq!(alone.usage.cached_tokens, 0);
        assert_eq!(alone.text, answers[4]);
    });
}

/// A worker that ends loses nothing that was put away; what cannot be used costs a second reading.
pub(crate) fn another_worker_takes_up_what_was_put_away() {
    let (Some(engine), Some(other)) = (chat_engine(4096), chat_engine(4096)) else {
        return;
    };
    run(async {
        let mut chat = user(&long_text("Anna"));
        assert_eq!(
            engine.put_away(chat.clone()).await.unwrap(),
            None,
            "no worker"
        );
        let first = answer(&engine, ask(chat.clone(), 8)).await.unwrap();
        // Another conversation came between: the state is still of this one, and of nothing else.
        answer(&engine, ask(user(&long_text("Boris")), 4))
            .await
            .unwrap();
        chat.push(ChatMessage::new(ChatRole::Assistant, first.text));
        let known = engine.put_away(chat.clone()).await.unwrap().unwrap();
        assert!(known.tokens.len() > first.usage.prompt_tokens, "{known:?}");
        assert!(
            known.tokens.len() <= first.usage.prompt_tokens + 16,
            "{known:?}"
        );
        chat.push(ChatMessage::new(ChatRole::User, "And then?"));
        let here = answer(&engine, ask(chat.clone(), 8)).await.unwrap();

        assert!(other.take_up(known.clone()).await.unwrap());
        let there = answer(&other, ask(chat.clone(), 8)).await.unwrap();
        assert_eq!(
            there.usage.cached_tokens,
            known.tokens.len(),
            "{:?}",
            there.usage
        );
        assert_eq!(there.text, here.text);

        // What is cut off or does not belong is not believed.
        other.unload().await;
        let mut cut = known.clone();
        cut.state.truncate(known.state.len() / 2);
        other.take_up(cut).await.unwrap();
        let cold = answer(&other, ask(chat.clone(), 8)).await.unwrap();
        assert_eq!(cold.usage.cached_tokens, 0);
        assert_eq!(beginning(&cold.text), beginning(&here.text));
        let nothing = other.put_away(user("Say hello.")).await.unwrap();
        assert_eq!(nothing, None, "of this nothing is known");
    });
}

pub(crate) fn an_answer_has_the_form_that_was_asked_for() {
    let Some(engine) = chat_engine(1024) else {
        return;
    };
    run(async {
        let formed = async |form: AnswerForm, sampling: Sampling| {
            let request = GenerateRequest {
                form,
                sampling,
                ..ask(user("Describe a cat."), 120)
            };
            answer(&engine, request).await.unwrap()
        };
        let schema = r#"{"type":"object","properties":{"name":{"type":"string","maxLength":20},"legs":{"type":"integer","minimum":0,"maximum":99}},"required":["name","legs"],"additionalProperties":false}"#;
        // Also where the choice is wild, and where only one token is left to choose from.
        let wild = Sampling {
            temperature: 2.0,
            seed: Some(3),
            ..Sampling::default()
        };
        let narrow = Sampling {
            top_k: 1,
            ..Sampling::default()
        };
        for sampling in [Sampling::greedy(), wild, narrow] {
            let said = formed(AnswerForm::Json(schema.to_owned()), sampling).await;
            assert_eq!(said.reason, StopReason::EndOfAnswer, "{:?}", said.text);
            let value: serde_json::Value = serde_json::from_str(&said.text).unwrap();
            assert!(
                value["name"].is_string() && value["legs"].as_u64().unwrap() < 100,
                "{value}"
            );
        }
        let grammar = r#"root ::= ("yes" | "no") "!""#;
        let said = formed(AnswerForm::Grammar(grammar.to_owned()), Sampling::greedy()).await;
        assert!(
            ["yes!", "no!"].contains(&said.text.as_str()),
            "{:?}",
            said.text
        );
        // The next answer is free again.
        assert!(
            !formed(AnswerForm::Free, Sampling::greedy())
                .await
                .text
                .starts_with('{')
        );
    });
}

pub(crate) fn a_form_that_cannot_be_read_is_refused() {
    let Some(engine) = chat_engine(512) else {
        return;
    };
    run(async {
        for form in [
            AnswerForm::Grammar("root ::= (".to_owned()),
            AnswerForm::Grammar("leaf ::= \"a\"".to_owned()),
            AnswerForm::Grammar("root ::= \"a\" | ".repeat(40_000)),
            AnswerForm::Json("{".to_owned()),
            AnswerForm::Json("[]".to_owned()),
            AnswerForm::Json(r##"{"$ref":"#/nowhere"}"##.to_owned()),
        ] {
            let request = GenerateRequest {
                form,
                ..ask(user("Hello"), 5)
            };
            let error = engine.generate(request).await.map(drop).unwrap_err();
            assert!(matches!(error, EngineError::Form { .. }), "{error}");
        }
        let pid = engine.worker_pid();
        answer(&engine, ask(user("Hello"), 5)).await.unwrap();
        assert_eq!(engine.worker_pid(), pid, "the worker lived on");
    });
}

pub(crate) fn a_busy_neighbour_does_not_change_the_answer() {
    let Some(engine) = chat_engine(2048) else {
        return;
    };
    run(async {
        let question = || {
            ask(
                user(&format!("{} When was the bridge closed?", prose(300))),
                150,
            )
        };
        let alone = answer(&engine, question()).await.unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let beside = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let runtime = tokio::runtime::Handle::current();
            let beside =
                tokio::task::block_in_place(|| runtime.block_on(answer(&engine, question())));
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            beside.unwrap()
        });
        for (who, usage) in [("alone", alone.usage), ("beside", beside.usage)] {
            println!(
                "  {who}: {:.0} tokens/s",
                usage.output_tokens as f64 / usage.output_ms * 1000.0
            );
        }
        assert_eq!(beginning(&beside.text), beginning(&alone.text));
        let after = answer(&engine, question()).await.unwrap();
        assert_eq!(beginning(&after.text), beginning(&alone.text));
    });
}

pub(crate) fn dropping_the_stream_stops_writing_at_once() {
    let Some(engine) = chat_engine(4096) else {
        return;
    };
    run(async {
        let mut stream = engine
            .generate(ask(user("Count from 1 to 1000."), 2000))
            .await
            .unwrap();
        while !matches!(stream.next().await.unwrap().unwrap(), StreamEvent::Text(_)) {}
        drop(stream);
        // A short request is done at once only if the long one has stopped.
        let begin = Instant::now();
        answer(&engine, ask(user("Count from 1 to 1000."), 1))
            .await
            .unwrap();
        let waited = begin.elapsed();
        println!("  next answer after {waited:?}");
        assert!(waited < Duration::from_secs(2), "{waited:?}");

        let mut stream = engine
            .generate(ask(user("Count from 1 to 1000."), 2000))
            .await
            .unwrap();
        while !matches!(stream.next().await.unwrap().unwrap(), StreamEvent::Text(_)) {}
        stream.cancel();
        let begin = Instant::now();
        loop {
            if let StreamEvent::Finished { reason, .. } = stream.next().await.unwrap().unwrap() {
                assert_eq!(reason, StopReason::Cancelled);
                break;
            }
        }
        println!("  cancelled after {:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(1));
    });
}

pub(crate) fn reading_stops_within_a_chunk() {
    let Some(engine) = chat_engine(4096) else {
        return;
    };
    run(async {
        engine.info().await.unwrap();
        let mut stream = engine.generate(ask(user(&prose(3000)), 5)).await.unwrap();
        let begun_at = loop {
            if let StreamEvent::Prompt {
                done_tokens: done @ 1..,
                total_tokens,
                ..
            } = stream.next().await.unwrap().unwrap()
            {
                assert!(total_tokens > 10 * done);
                break done;
            }
        };
        // The model of these tests is a small one.
        assert_eq!(begun_at, prompt_chunk_tokens(0));
        stream.cancel();
        let mut last_seen = begun_at;
        loop {
            match stream.next().await.unwrap().unwrap() {
                StreamEvent::Prompt { done_tokens, .. } => last_seen = done_tokens,
                StreamEvent::Finished { reason, usage } => {
                    assert_eq!((reason, usage.output_tokens), (StopReason::Cancelled, 0));
                    break;
                }
                StreamEvent::Text(_) | StreamEvent::Thought(_) => {
                    panic!("it wrote after it was cancelled")
                }
            }
        }
        // The chunk under way, and one that may have begun while the word travelled.
        assert!(last_seen <= 3 * begun_at, "{begun_at} {last_seen}");
    });
}

pub(crate) fn counting_does_not_wait_for_an_answer() {
    let Some(engine) = chat_engine(4096) else {
        return;
    };
    run(async {
        let mut stream = engine
            .generate(ask(user("Count from 1 to 1000."), 1000))
            .await
            .unwrap();
        while !matches!(stream.next().await.unwrap().unwrap(), StreamEvent::Text(_)) {}
        let begin = Instant::now();
        let counts = engine
            .count_tokens(vec!["some words to count".into(); 50])
            .await
            .unwrap();
        assert!(
            begin.elapsed() < Duration::from_secs(1),
            "{:?}",
            begin.elapsed()
        );
        assert_eq!(counts, vec![4; 50]);
        assert!(
            matches!(stream.next().await, Some(Ok(StreamEvent::Text(_)))),
            "the answer has ended meanwhile"
        );
    });
}
