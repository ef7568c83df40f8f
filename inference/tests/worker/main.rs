//! A worker with real models: what is promised about it holds when things go wrong.
//!
//! This program is its own worker: started with the argument `worker` it does what `satchel worker inference` does, so
//! that no other package is needed. Models come from `SATCHEL_TEST_CHAT_MODEL` and `SATCHEL_TEST_EMBEDDER`, else from
//! the models that `make run` put into the user's data folder; without one its tests say so and are skipped.
//! Start at [`TESTS`].

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod bad_files;
mod embedding;
mod gpu;
mod hostile_places;
mod processes;
mod rig;
mod thinking;
mod writing;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

/// A name and what it does.
type Test = (&'static str, fn());

macro_rules! tests {
    ($($module:ident: $($name:ident)+;)+) => { &[$($((stringify!($name), $module::$name as fn())),+),+] };
}

const TESTS: &[Test] = tests! {
    bad_files:
        devices_include_the_processor
        a_missing_file_is_reported_in_words
        garbage_is_an_error_and_not_a_hang
        an_unknown_architecture_is_named
        a_truncated_model_is_an_error;
    hostile_places:
        planted_libraries_are_not_loaded
        a_worker_alone_in_the_terminal_explains_itself
        a_processor_build_can_be_forced
        the_worker_is_locked_in;
    writing:
        an_answer_streams_and_is_repeatable
        limits_end_an_answer
        control_tokens_in_a_message_are_plain_text
        a_prompt_that_is_too_long_is_refused_and_the_next_works
        a_full_context_ends_the_answer
        a_follow_up_reads_only_what_is_new
        two_chats_in_turn_are_each_read_once
        another_worker_takes_up_what_was_put_away
        an_answer_has_the_form_that_was_asked_for
        a_form_that_cannot_be_read_is_refused
        a_busy_neighbour_does_not_change_the_answer
        dropping_the_stream_stops_writing_at_once
        reading_stops_within_a_chunk
        counting_does_not_wait_for_an_answer;
    thinking:
        thoughts_are_bounded_and_an_answer_follows
        a_model_that_does_not_think_answers_at_once;
    processes:
        a_killed_worker_is_an_error_within_a_second
        unloading_frees_the_process
        a_worker_ends_with_its_program;
    gpu:
        a_gpu_writes_what_the_processor_writes
        a_lost_gpu_leaves_the_processor
        without_a_wish_for_a_gpu_no_driver_is_loaded;
    embedding:
        a_chat_model_does_not_embed
        an_embedder_does_not_write
        vectors_have_length_one_and_meaning
        a_long_text_is_embedded_to_its_end
        many_texts_keep_their_order
        vectors_equal_the_independent_ones;
};

/// Started by a test with another environment or folder, not by name.
const HELPERS: &[Test] = tests! {
    gpu: compare_gpu_and_processor lose_the_gpu look_for_the_driver;
    hostile_places: ask_from_a_hostile_place tell_the_variant;
    processes: hold_a_worker;
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("worker") => satchel_inference::run_worker(None),
        Some("helper") => {
            let wanted = arguments.get(1).map(String::as_str);
            let (_, helper) = HELPERS
                .iter()
                .find(|(name, _)| wanted == Some(name))
                .unwrap();
            helper();
            ExitCode::SUCCESS
        }
        Some("--list") => {
            TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
            ExitCode::SUCCESS
        }
        _ => run_selected(&arguments),
    }
}

/// Runs the tests whose names contain one of the words, or all; options of the usual test program are ignored.
fn run_selected(arguments: &[String]) -> ExitCode {
    let words: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let is_selected =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| is_selected(name)) {
        let begin = Instant::now();
        let is_ok = catch_unwind(AssertUnwindSafe(test)).is_ok();
        let result = if is_ok { "ok" } else { "FAILED" };
        println!(
            "test {name} ... {result} ({:.1} s)",
            begin.elapsed().as_secs_f32()
        );
        failed += usize::from(!is_ok);
    }
    println!("{failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
