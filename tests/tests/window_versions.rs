//! Earlier versions in the window, and an open document that another laptop changes.

use eframe::egui;
use egui_kittest::kittest::{NodeT, Queryable};
use satchel_tests::Laptop;
use satchel_tests::pairing::{pair_windows, wait_both};
use satchel_tests::window::{EdgeNode, OpenWindow};

const LEASE: &str = "# Lease\n\nIt ends in September.\n\nThe deposit is 900.\n";
/// Size of the pictures, in points.
const SCREEN: [f32; 2] = [1000.0, 680.0];

/// A window with a document of two versions.
fn with_two_versions() -> OpenWindow {
    let laptop = Laptop::new();
    let file = laptop.write("papers/lease.md", LEASE);
    let mut window = OpenWindow::new(SCREEN, false, laptop);
    window.import(&file);
    let later = LEASE.replace("September", "October");
    window.laptop.write("papers/lease.md", later);
    window.import(&file);
    for _ in 0..2 {
        let buttons: Vec<_> = window.harness.get_all_by_label("Dismiss").collect();
        buttons[0].click();
        drop(buttons);
        window.settle();
    }
    window
}

/// The label of a version in the list.
fn version(window: &OpenWindow, number: usize) -> String {
    let words = window.words();
    let beginning = format!("{number} · ");
    let found = words.lines().find(|line| line.starts_with(&beginning));
    found
        .unwrap_or_else(|| panic!("no version {number}: {words}"))
        .to_owned()
}

#[test]
fn a_version_is_compared_and_brought_back_after_a_question() {
    let mut window = with_two_versions();
    window.click("Lease");
    window.wait_idle();
    window.click("History");
    window.wait_idle();
    assert!(
        version(&window, 2).ends_with("−2 B · now"),
        "{}",
        window.words()
    );
    let first = version(&window, 1);
    assert!(first.starts_with("1 · this laptop · 20"), "{first}");
    window.click(&first);
    window.wait_idle();
    assert!(
        window.shows("- It ends in September.") && window.shows("+ It ends in October."),
        "{}",
        window.words()
    );
    for number in [1, 2] {
        let label = version(&window, number);
        let mut place = window.harness.get_by_label(&label).rect();
        place.min.x += 100.0;
        window.harness.mask(place);
    }
    mask_path(&mut window);
    window.harness.snapshot("document_versions");

    window.click("Bring back …");
    assert!(window.shows("Nothing is lost"), "{}", window.words());
    window.harness.key_press(egui::Key::Escape);
    window.settle();
    assert!(
        !window.shows("Nothing is lost: the text"),
        "{}",
        window.words()
    );
    window.click("Bring back …");
    window.click("Bring back");
    window.wait_idle();
    assert!(window.shows("as version 3"), "{}", window.words());
    assert!(version(&window, 3).ends_with("now"), "{}", window.words());
    assert!(
        window.shows("Its text is the same as now"),
        "{}",
        window.words()
    );
    window.click("History");
    assert!(
        window.shows("It ends in September."),
        "the text is shown again"
    );
}

#[test]
fn versions_can_be_reached_with_the_keyboard_alone() {
    let mut window = with_two_versions();
    window.click("Lease");
    window.wait_idle();
    let tab_to = |window: &mut OpenWindow, label: &str| {
        for _ in 0..60 {
            window.harness.key_press(egui::Key::Tab);
            window.settle();
            if window.harness.get_by_label(label).is_focused() {
                window.harness.key_press(egui::Key::Space);
                window.settle();
                window.wait_idle();
                return;
            }
        }
        panic!("no tab leads to {label}");
    };
    tab_to(&mut window, "History");
    let first = version(&window, 1);
    tab_to(&mut window, &first);
    tab_to(&mut window, "Bring back …");
    tab_to(&mut window, "Bring back");
    assert!(window.shows("as version 3"), "{}", window.words());
}

#[test]
fn an_open_document_follows_another_laptop_and_what_both_changed_is_told() {
    let node = EdgeNode::start();
    let laptop = Laptop::new();
    let paragraphs: String = (1..=200)
        .map(|number| format!("Paragraph {number} of a long paper.\n\n"))
        .collect();
    let file = laptop.write("papers/paper.md", &paragraphs);
    let mut desk = OpenWindow::new(SCREEN, false, laptop);
    desk.import(&file);
    let mut travel = OpenWindow::new(SCREEN, false, Laptop::new());
    pair_windows(&mut desk, &mut travel, &node);
    assert!(desk.shows("Nothing since"), "{}", desk.words());

    travel.click("Documents");
    travel.click("paper");
    travel.wait_idle();
    // Somewhere in the middle of the text.
    for _ in 0..12 {
        let mut drawn = travel.harness.query_all_by_label_contains("Paragraph ");
        drawn.next().expect("a paragraph is drawn").scroll_down();
        drop(drawn);
        travel.settle();
    }
    let shown = visible(&travel);
    assert!(shown > 10, "the text was scrolled: {shown}");
    let before = top_of(&travel, shown + 1);
    let later = format!(
        "A new beginning.\n\n{}",
        paragraphs.replace(
            &format!("Paragraph {shown} of"),
            &format!("Paragraph {shown} not of")
        )
    );
    desk.laptop.write("papers/paper.md", later);
    desk.import(&file);
    let changed = format!("Paragraph {shown} not of");
    wait_both(&mut desk, &mut travel, "the change", |_, travel| {
        travel.shows(&changed)
    });
    travel.wait_idle();
    let after = top_of(&travel, shown + 1);
    assert!(
        (after - before).abs() < 3.0,
        "it stood at {before}, and stands at {after}"
    );

    // Both change the text without knowing of each other.
    travel.click("Settings");
    travel.click("Stay offline whatever comes");
    travel.wait_idle();
    travel.click("History");
    travel.wait_idle();
    let first = version(&travel, 1);
    travel.click(&first);
    travel.wait_idle();
    travel.click("Bring back …");
    travel.click("Bring back");
    travel.wait_idle();
    desk.laptop.write(
        "papers/paper.md",
        paragraphs.replace("Paragraph 7 ", "Number 7 "),
    );
    desk.import(&file);
    travel.click("Stay offline whatever comes");
    desk.click("Laptops & sync");
    wait_both(&mut desk, &mut travel, "both changes", |desk, _| {
        desk.shows("They changed")
    });
    assert!(
        desk.shows("this laptop · 20") && desk.shows("· travel · 20"),
        "{}",
        desk.words()
    );
    let show = "Show the versions of paper";
    desk.harness.get_by_label(show).scroll_to_me();
    desk.settle();
    desk.click(show);
    desk.wait_idle();
    assert!(
        version(&desk, 5).contains("joined from 3 and 4"),
        "{}",
        desk.words()
    );
}

/// A paragraph that can be seen.
fn visible(window: &OpenWindow) -> usize {
    let drawn = window.harness.query_all_by_label_contains("Paragraph ");
    let seen = drawn.filter(|node| (200.0..400.0).contains(&node.rect().top()));
    let number = |label: String| label.split(' ').nth(1)?.parse::<usize>().ok();
    seen.filter_map(|node| {
        let node = node.accesskit_node();
        number(node.label().or(node.value())?)
    })
    .min()
    .expect("a paragraph is drawn")
}

fn top_of(window: &OpenWindow, number: usize) -> f32 {
    let label = format!("Paragraph {number} ");
    let mut found = window.harness.query_all_by_label_contains(&label);
    found.next().expect("it is drawn").rect().top()
}

fn mask_path(window: &mut OpenWindow) {
    let places: Vec<egui::Rect> = window
        .harness
        .query_all_by_label_contains("papers/lease.md")
        .map(|node| node.rect())
        .collect();
    for mut place in places {
        place.max.x = SCREEN[0];
        window.harness.mask(place);
    }
}
