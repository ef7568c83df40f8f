//! A laptop without any model has its questions answered by another one: real processes, a real edge node.
//!
//! Needs the starter models, which `make test` installs.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use satchel_tests::Laptop;
use satchel_tests::edge::{EdgeNode, Running, pair, wait_until};
use satchel_tests::pairing::exchange;
use serde_json::Value;

const BRIDGE: &str = "# The bridge at Osterby\n\nBuilt by the engineer Lene Falk between 1911 and 1914.\n\n## Repairs\n\n\
    The wooden deck was replaced in 1987 by one of steel grating. The work cost 412,000 crowns and took five months.\n";
const QUESTION: &str = "When was the deck of the bridge replaced?";

/// A laptop with models, and one without that has the same documents.
struct Laptops {
    edge: EdgeNode,
    desk: Laptop,
    travel: Laptop,
}

impl Laptops {
    fn paired() -> Self {
        let edge = EdgeNode::start();
        let (desk, travel) = (Laptop::with_starter_models(), Laptop::new());
        desk.write("bridge.md", BRIDGE);
        desk.run(["import", "bridge.md"]).expect_success();
        desk.run([
            "sync",
            "share",
            edge.link(),
            "--label",
            "desk",
            "--user",
            "Anna",
        ])
        .expect_success();
        pair(&desk, &travel, edge.link());
        exchange(&travel);
        Self { edge, desk, travel }
    }

    fn lend(&self) {
        self.desk
            .run(["settings", "lend_model", "true"])
            .expect_success();
    }

    /// Leaves a question for the desk, and gives the chat.
    fn leave(&self, question: &str) -> String {
        let left = self
            .travel
            .run(["ask", "--on", "desk", "--no-wait", "--json", question])
            .expect_success()
            .json();
        assert_eq!(asked(&left)["state"], "waiting", "{left}");
        let chat = left["thread"]["id"].as_str().expect("an id");
        chat.to_owned()
    }

    /// The chat as the laptop without models has it, when everything has come.
    fn shown(&self, chat: &str) -> Value {
        exchange(&self.travel);
        show(&self.travel, chat)
    }

    fn wait_for_answer(&self, chat: &str) -> Value {
        let state = |shown: &Value| asked(shown)["state"].clone();
        wait_until("an answer", || state(&self.shown(chat)) == "answered");
        self.shown(chat)
    }
}

fn show(laptop: &Laptop, chat: &str) -> Value {
    laptop
        .run(["chat", "--show", chat, "--json"])
        .expect_success()
        .json()
}

/// What is noted of the first question of a chat.
fn asked(chat: &Value) -> &Value {
    &chat["messages"][0]["asked"]
}

fn is_answered_by_the_desk(chat: &Value) {
    let messages = chat["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 2, "{chat}");
    assert_eq!(messages[1]["on"], "desk", "{chat}");
    assert_eq!(messages[1]["author"]["label"], "desk", "{chat}");
    assert_eq!(
        messages[1]["citations"][0]["place"], "The bridge at Osterby",
        "{chat}"
    );
}

#[test]
fn a_laptop_without_models_is_answered_by_one_that_lends_its_own() {
    let laptops = Laptops::paired();
    let (desk, travel) = (&laptops.desk, &laptops.travel);
    let models = travel.run(["models", "--json"]).expect_success().json();
    assert_eq!(models.as_array().map(Vec::len), Some(0), "{models}");
    let running = Running::start(desk, &["sync", "run"]);

    let refused = travel.run(["ask", "--on", "DESK", QUESTION]).expect_code(1);
    assert!(
        refused.stderr.contains("settings lend_model true"),
        "{}",
        refused.stderr
    );

    laptops.lend();
    let answer = travel
        .run(["ask", "--on", "desk", "--json", QUESTION])
        .expect_success()
        .json();
    assert_eq!(answer["on"], "desk", "{answer}");
    assert!(!answer["answer"].as_str().expect("a text").is_empty());
    assert!(answer["model"].is_string(), "{answer}");
    let first = &answer["citations"][0];
    let quote = first["quote"].as_str().expect("a citation");
    assert!(BRIDGE.contains(quote), "not the exact words: {quote}");
    let (document, range) = (first["document"].as_str().expect("an id"), &first["range"]);
    let place = format!("{document}:{}-{}", range["start"], range["end"]);
    let opened = travel
        .run(["show", &place, "--json"])
        .expect_success()
        .json();
    assert_eq!(opened["citation"]["quote"], quote);

    // The words come while they are written; a question that follows goes on with the chat.
    let chat = answer["thread"].as_str().expect("an id");
    let read_along = travel
        .run([
            "ask",
            "--on",
            "desk",
            "--chat",
            chat,
            "What did the work cost?",
        ])
        .expect_success();
    for said in ["Waiting for desk.", "desk answers.", "Answered on desk by "] {
        assert!(read_along.stderr.contains(said), "{}", read_along.stderr);
    }
    assert!(
        read_along.stdout.contains("Sources"),
        "{}",
        read_along.stdout
    );
    for laptop in [desk, travel] {
        let shown = laptop.run(["chat", "--show", chat]).expect_success();
        assert_eq!(shown.stdout.matches("You:").count(), 2, "{}", shown.stdout);
        let on = if std::ptr::eq(laptop, desk) {
            "this laptop"
        } else {
            "desk"
        };
        let answers = shown.stdout.matches(&format!("Satchel on {on}:")).count();
        assert_eq!(answers, 2, "{}", shown.stdout);
    }
    assert_eq!(running.interrupt(), Some(0));
}

#[test]
fn a_question_waits_until_the_laptops_meet_and_outlives_the_end_of_the_one_that_answers() {
    let laptops = Laptops::paired();
    laptops.lend();
    let chat = laptops.leave(QUESTION);
    let waits = laptops
        .travel
        .run(["chat", "--show", &chat])
        .expect_success();
    assert!(waits.stdout.contains("Waits for desk."), "{}", waits.stdout);
    // A command on the desk takes the question in and leaves it to a Satchel that stays.
    exchange(&laptops.desk);
    assert_eq!(asked(&laptops.shown(&chat))["state"], "waiting");

    let begun = Running::start(&laptops.desk, &["sync", "run"]);
    wait_until("the desk to begin", || {
        asked(&laptops.shown(&chat))["state"] != "waiting"
    });
    // Killed: it may have written half of the answer.
    drop(begun);
    let _again = Running::start(&laptops.desk, &["sync", "run"]);
    is_answered_by_the_desk(&laptops.wait_for_answer(&chat));
}

#[test]
fn who_stops_waiting_withdraws_the_question_and_nobody_answers_it() {
    let laptops = Laptops::paired();
    laptops.lend();
    let mut asking = laptops
        .travel
        .command(["ask", "--on", "desk", QUESTION])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program is built");
    let mut said = BufReader::new(asking.stderr.take().expect("the pipe was asked for"));
    let mut line = String::new();
    said.read_line(&mut line).expect("it says text");
    assert!(line.contains("Waiting for desk"), "{line}");
    let pid = rustix::process::Pid::from_child(&asking);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    said.read_to_string(&mut line).expect("it says text");
    assert_eq!(asking.wait().expect("it ends").code(), Some(130), "{line}");

    let chats = laptops.travel.run(["chat", "--list", "--json"]);
    let chats = chats.expect_success().json();
    let withdrawn = chats[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        asked(&show(&laptops.travel, &withdrawn))["state"],
        "withdrawn"
    );

    let also = laptops.leave("Who built the bridge?");
    let taken_back = laptops.travel.run(["chat", "--withdraw", &also]);
    let taken_back = taken_back.expect_success();
    assert!(
        taken_back.stdout.contains("Withdrawn before desk"),
        "{}",
        taken_back.stdout
    );
    laptops
        .travel
        .run(["chat", "--withdraw", &also])
        .expect_code(3);

    // Of the three, the desk answers the last one alone.
    let wanted = laptops.leave("What did the work cost?");
    let _lender = Running::start(&laptops.desk, &["sync", "run"]);
    laptops.wait_for_answer(&wanted);
    for chat in [&withdrawn, &also] {
        for shown in [laptops.shown(chat), show(&laptops.desk, chat)] {
            assert_eq!(asked(&shown)["state"], "withdrawn", "{shown}");
            assert_eq!(
                shown["messages"].as_array().map(Vec::len),
                Some(1),
                "{shown}"
            );
        }
    }
}

#[test]
fn what_cannot_be_asked_is_said_in_words() {
    let laptops = Laptops::paired();
    let (desk, travel) = (&laptops.desk, &laptops.travel);
    let fails = |laptop: &Laptop, args: &[&str], code: i32, words: &str| {
        let said = laptop.run([&["ask", QUESTION], args].concat());
        let said = said.expect_code(code);
        assert!(said.stderr.contains(words), "{}", said.stderr);
    };
    fails(
        travel,
        &["--on", "attic"],
        3,
        "no laptop of this workspace is called attic",
    );
    fails(travel, &["--on", "travel"], 2, "is this laptop");
    fails(
        travel,
        &["--on", "desk", "--chat", "00"],
        3,
        "there is no chat",
    );
    fails(travel, &["--no-wait"], 2, "--on");
    fails(&Laptop::new(), &["--on", "desk"], 2, "not shared");

    let offline = travel
        .run(["--offline", "ask", "--on", "desk", "--json", QUESTION])
        .expect_success();
    assert!(
        offline.stderr.contains("waits until they are allowed"),
        "{}",
        offline.stderr
    );
    assert_eq!(asked(&offline.json())["state"], "waiting");

    let role = |role: &str| {
        desk.run(["workspace", "role", "travel", role])
            .expect_success();
        exchange(travel);
    };
    role("reader");
    fails(travel, &["--on", "desk"], 2, "no other one would ever see");
    fails(desk, &["--on", "travel"], 2, "could not write an answer");
    role("writer");
    desk.run(["devices", "remove", "travel", "--yes"])
        .expect_success();
    fails(desk, &["--on", "travel"], 3, "was removed");
    travel.run(["sync", "now"]).expect_code(1);
    fails(travel, &["--on", "desk"], 1, "this laptop was removed");
    drop(laptops.edge);
}
