//! A window without models has its questions answered by the window of another laptop.
//!
//! Needs the starter models, which `make test` installs.

use egui_kittest::kittest::Queryable;
use satchel_tests::Laptop;
use satchel_tests::pairing::{pair_windows, wait_both};
use satchel_tests::window::{EdgeNode, OpenWindow};

const SCREEN: [f32; 2] = [1180.0, 780.0];
const QUESTION: &str = "When was the deck of the bridge replaced?";

#[test]
fn a_window_without_models_shows_what_another_laptop_answers_and_what_waits_for_it() {
    let node = EdgeNode::start();
    let laptop = Laptop::new();
    let bridge = laptop.write(
        "bridge.md",
        "# The bridge at Osterby\n\nThe wooden deck was replaced in 1987 by one of steel grating.\n",
    );
    let mut desk = OpenWindow::new(SCREEN, true, laptop);
    desk.import(&bridge);
    let mut travel = OpenWindow::new(SCREEN, false, Laptop::new());
    travel.click("Chat");
    assert!(!travel.shows("Answer on"), "there is no other laptop yet");
    pair_windows(&mut desk, &mut travel, &node);

    travel.click("Chat");
    travel.click("Laptop that answers");
    travel.click("desk");
    travel.ask(QUESTION);
    wait_both(&mut desk, &mut travel, "a refusal", |_, travel| {
        travel.shows("Not answered on desk: it does not answer for other laptops")
    });

    desk.click("Answer questions of the other laptops here");
    travel.click("Ask again");
    wait_both(&mut desk, &mut travel, "an answer", |_, travel| {
        travel.shows("Answered on desk") && travel.shows("Sources")
    });
    assert!(travel.shows("replaced in 1987"), "{}", travel.words());
    // The other one shows the chat as well.
    desk.click("Chat");
    wait_both(&mut desk, &mut travel, "the chat", |desk, _| {
        desk.shows(QUESTION)
    });

    drop(desk);
    travel.click("New chat");
    travel.ask("Who built the bridge?");
    travel.wait("the question to wait", |travel| {
        travel.shows("Waits for desk.") && travel.harness.state().is_idle()
    });
    assert!(
        travel.harness.query_by_label("Stop").is_none(),
        "the window goes on meanwhile"
    );
    for hidden in ["Synced", "Offline", "Syncing", "1 document"] {
        let nodes = travel.harness.query_all_by_label_contains(hidden);
        let places: Vec<_> = nodes.map(|node| node.rect()).collect();
        for place in places {
            travel.harness.mask(place);
        }
    }
    travel.harness.snapshot("chat_waiting");
    travel.click("Withdraw");
    travel.wait("it to be withdrawn", |travel| {
        travel.shows("Withdrawn before desk had answered.")
    });
}
