//! The window, driven as a person does it: by the names of its buttons and fields, over the real backend, the
//! real index and the real models.
//!
//! Journeys first; one image per screen besides, drawn by a software Vulkan device. After a change that is meant,
//! `UPDATE_SNAPSHOTS=1 make test` draws the images anew: look at them before they are committed.

use std::time::Duration;

use eframe::egui;
use egui_kittest::kittest::Queryable;
use satchel_app::message::Command;
use satchel_tests::file_host::FileHost;
use satchel_tests::in_process::import_of;
use satchel_tests::pairing::{code, wait_both};
use satchel_tests::window::{EdgeNode, OpenWindow};
use satchel_tests::{Laptop, starter_chat_model};

#[test]
fn a_folder_is_imported_asked_and_the_cited_place_opened() {
    let laptop = Laptop::new();
    let papers = laptop.home().join("papers");
    laptop.write(
        "papers/bridge.md",
        "# The bridge at Osterby\n\nBuilt by Lene Falk between 1911 and 1914.\n\n## Repairs\n\nThe wooden deck was replaced in 1987 by one of steel grating.\n",
    );
    laptop.write("papers/broken.pdf", "%PDF-1.4 this is none");
    let mut window = OpenWindow::new([1180.0, 780.0], true, laptop);
    assert!(window.shows("There are no documents yet"));
    window.import(&papers);
    assert!(
        window.shows("1 added, 1 could not be read"),
        "{}",
        window.words()
    );
    assert!(
        window.shows("1 files could not be read"),
        "{}",
        window.words()
    );
    assert!(window.shows("searchable"));

    window.click("Chat");
    window.ask("When was the deck of the bridge replaced?");
    assert!(window.shows("Stop"), "an answer can be stopped");
    window.wait_idle();
    assert!(
        window.shows("Sources") || window.shows("From your documents"),
        "{}",
        window.words()
    );
    assert!(window.shows("replaced in 1987 by one of steel grating"));
    assert!(
        window.shows("Searched 1 of 1 documents"),
        "{}",
        window.words()
    );

    window.click("bridge.md › The bridge at Osterby › Repairs");
    window.wait_idle();
    assert!(window.shows("Close"), "the document is open");
    assert!(
        window.shows("Built by Lene Falk"),
        "the whole text is shown: {}",
        window.words()
    );

    // Kept: a new chat is empty, the old one comes back.
    window.click("New chat");
    assert!(window.shows("Ask your own documents"));
    window.click("When was the deck of the bridge replaced?");
    window.wait_idle();
    assert!(window.shows("replaced in 1987"));
    drop(window.laptop);
}

#[test]
fn search_answers_while_one_types_without_any_model() {
    let laptop = Laptop::new();
    for (name, text) in [
        ("a", "The ferry leaves at seven."),
        ("b", "Apples and pears."),
    ] {
        laptop.write(format!("papers/{name}.txt"), text);
    }
    let papers = laptop.home().join("papers");
    let mut window = OpenWindow::new([900.0, 640.0], false, laptop);
    assert!(window.shows("No chat model is installed"));
    window.click("Documents");
    window.type_into("Path to import", papers.to_str().unwrap());
    window.harness.key_press(egui::Key::Enter);
    window.wait_idle();
    window.click("Search");
    window.type_into("Words to find", "ferry");
    window.wait_idle();
    assert!(window.shows("1 passages, words only"), "{}", window.words());
    assert!(window.shows("The ferry leaves at seven."));
    window.type_into("Words to find", " nowhere zzz");
    window.wait_idle();
    assert!(!window.shows("Apples"), "{}", window.words());
}

#[test]
fn a_huge_line_and_a_broken_index_leave_the_window_alive() {
    let laptop = Laptop::new();
    let line = "nothing but words ".repeat(5 << 20 >> 4);
    laptop.write("papers/line.txt", format!("{line}the needle at its end"));
    laptop.write("papers/ferry.txt", "The ferry leaves at seven.");
    let papers = laptop.home().join("papers");
    let mut window = OpenWindow::new([900.0, 640.0], false, laptop);
    window.import(&papers);
    assert!(window.shows("2 added"), "{}", window.words());
    window.click("line");
    window.wait_idle();
    assert!(window.shows("nothing but words"), "the document is shown");
    window.harness.key_press(egui::Key::Escape);
    window.settle();

    // Every file of the index is cut to nothing under the open window.
    let mut folders = vec![window.laptop.data_dir().join("index")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry.metadata().unwrap().len() > 0 {
                std::fs::OpenOptions::new()
                    .write(true)
                    .truncate(true)
                    .open(entry.path())
                    .unwrap();
            }
        }
    }
    window.click("Search");
    window.type_into("Words to find", "ferry");
    window.wait_idle();
    // Found from memory, rebuilt, or refused with what to do: never a window that hangs or ends.
    let words = window.words();
    assert!(
        words.contains("The ferry leaves at seven.") || words.contains("index"),
        "{words}"
    );
    window.click("Settings");
    assert!(window.shows("Appearance"));
}

#[test]
fn pictures_links_and_html_of_a_document_are_words() {
    let laptop = Laptop::new();
    laptop.write(
        "papers/evil.md",
        "# Offer\n\n![pixel](https://evil.example/steal.png?secret=1)\n\nSee [your bank](https://evil.example/login).\n\n\
         <img src=\"https://evil.example/x\" onerror=\"alert(1)\">\n",
    );
    let papers = laptop.home().join("papers");
    let mut window = OpenWindow::new([1180.0, 780.0], false, laptop);
    window.import(&papers);
    window.click("Offer");
    window.wait_idle();
    for words in [
        "[image: pixel]",
        "your bank (https://evil.example/login)",
        "<img src=",
    ] {
        assert!(window.shows(words), "{words}: {}", window.words());
    }
    let commands = &window.harness.output().platform_output.commands;
    assert!(commands.is_empty(), "{commands:?}");
    assert!(
        !window
            .harness
            .ctx
            .loaders()
            .image
            .lock()
            .iter()
            .any(|loader| loader.id().contains("http")),
        "nothing that fetches is installed"
    );
}

#[test]
fn a_question_without_a_model_says_what_to_do() {
    let laptop = Laptop::new();
    laptop.write(
        "papers/a.txt",
        "The ferry to the island leaves at seven in the morning.",
    );
    let papers = laptop.home().join("papers");
    let mut window = OpenWindow::new([900.0, 640.0], false, laptop);
    window.import(&papers);
    window.click("Chat");
    window.ask("When does the ferry to the island leave?");
    window.wait_idle();
    assert!(
        window.shows("No chat model is installed"),
        "{}",
        window.words()
    );
    window.click("Ask again");
    window.wait_idle();
}

#[test]
fn everything_can_be_done_with_the_keyboard_alone() {
    let mut window = OpenWindow::with_models([1180.0, 780.0]);
    let key = |window: &mut OpenWindow, modifiers, key| {
        window.harness.key_press_modifiers(modifiers, key);
        window.settle();
    };
    // From the question, tabs lead to every button of the empty chat.
    let mut pressed = false;
    for _ in 0..40 {
        key(&mut window, egui::Modifiers::NONE, egui::Key::Tab);
        if window.harness.get_by_label("Try the sample").is_focused() {
            key(&mut window, egui::Modifiers::NONE, egui::Key::Space);
            pressed = true;
            break;
        }
    }
    assert!(pressed, "no tab leads to the sample");
    window.wait_idle();
    assert!(window.shows("21 documents"), "{}", window.words());
    key(&mut window, egui::Modifiers::COMMAND, egui::Key::K);
    assert!(window.harness.get_by_label("Words to find").is_focused());
    key(&mut window, egui::Modifiers::COMMAND, egui::Key::N);
    assert!(window.harness.get_by_label("Question").is_focused());
    window
        .harness
        .get_by_label("Question")
        .type_text("What is the capital of Mongolia?");
    window.settle();
    key(&mut window, egui::Modifiers::NONE, egui::Key::Enter);
    window.wait_idle();
    assert!(
        window.shows("Your documents do not say"),
        "{}",
        window.words()
    );
    for (number, name) in [
        (egui::Key::Num3, "Path to import"),
        (egui::Key::Num4, "Model to import"),
        (egui::Key::Num5, "Link of the edge node"),
        (egui::Key::Num6, "Size"),
    ] {
        key(&mut window, egui::Modifiers::COMMAND, number);
        assert!(window.shows(name), "{name}: {}", window.words());
    }
}

#[test]
fn only_known_files_are_looked_at_for_changes() {
    let laptop = Laptop::new();
    let ferry = laptop.write("papers/ferry.txt", "The ferry leaves at seven.");
    let gone = laptop.write("papers/gone.txt", "A paper that will be thrown away.");
    let mut window = OpenWindow::new([900.0, 640.0], false, laptop);
    window.import(&ferry);
    window.import(&gone);
    window
        .laptop
        .write("papers/private.txt", "Nobody chose this one.");
    std::fs::remove_file(&gone).unwrap();
    window.click("Look for changes");
    window.wait_idle();
    assert!(window.shows("1 unchanged"), "{}", window.words());
    assert!(window.shows("2 documents"), "{}", window.words());
    assert!(!window.shows("could not be read"), "{}", window.words());
    assert!(!window.shows("private"), "{}", window.words());
}

#[test]
fn workspaces_are_made_switched_and_renamed_in_the_window() {
    let laptop = Laptop::new();
    laptop.write("papers/ferry.txt", "The ferry leaves at seven.");
    let papers = laptop.home().join("papers");
    let mut window = OpenWindow::new([900.0, 640.0], false, laptop);
    window.import(&papers);

    window.click("My papers");
    window.click("New workspace …");
    window.type_into("Name of the new workspace", "Taxes");
    window.click("Make");
    window.wait_idle();
    window.click("My papers");
    // With the number of its documents.
    window.click("Taxes 0");
    window.wait("the other workspace to open", |window| {
        window.harness.state().is_idle() && window.shows("0 documents")
    });
    assert!(!window.shows("ferry"), "{}", window.words());

    window.click("Taxes");
    window.click("Rename this one …");
    window.type_into("Name of the workspace", " 2025");
    window.click("Rename");
    window.wait_idle();
    assert!(window.shows("Taxes 2025"), "{}", window.words());

    window.click("Taxes 2025");
    window.click("My papers 1");
    window.wait("the first workspace to open again", |window| {
        window.harness.state().is_idle() && window.shows("1 document")
    });
}

/// A file as the desktop drops it.
#[derive(Debug)]
struct Dropped(std::path::PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &std::path::Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        Err("the window reads no file itself".to_owned())
    }
}

#[test]
fn dropped_files_are_imported_and_an_idle_window_draws_nothing() {
    let laptop = Laptop::new();
    let ferry = laptop.write("ferry.txt", "The ferry leaves at seven.");
    let mut window = OpenWindow::new([900.0, 640.0], false, laptop);
    let dropped = std::sync::Arc::new(Dropped(ferry));
    window.harness.input_mut().dropped_files.push(dropped);
    window.wait_idle();
    assert!(window.shows("1 added"), "{}", window.words());

    window.click("Models & devices");
    window.settle();
    let views = &window.harness.output().viewport_output;
    let soonest = views.values().map(|view| view.repaint_delay).min();
    assert!(
        soonest > Some(Duration::from_secs(60)),
        "the next frame is due in {soonest:?} though nothing happens"
    );
}

/// The user works in a terminal beside the window, or has a script that does.
#[test]
fn what_another_program_changes_is_shown_at_once() {
    let laptop = Laptop::new();
    laptop.write("papers/bridge.md", "Built by Lene Falk.");
    let papers = laptop.home().join("papers");
    let mut window = OpenWindow::new([1180.0, 780.0], false, laptop);
    assert!(window.shows("There are no documents yet"));
    window.beside(import_of(&papers, true));
    window.wait("the document to be counted", |window| {
        !window.shows("There are no documents yet")
    });
    window.click("Documents");
    assert!(window.shows("1 document"), "{}", window.words());
    window.beside(Command::RemoveDocuments {
        documents: vec![papers.join("bridge.md").display().to_string()],
    });
    window.wait("the document to be gone", |window| {
        !window.shows("1 document")
    });
}

#[test]
fn a_model_is_found_in_the_catalogue_downloaded_and_used() {
    let host = FileHost::start(&starter_chat_model(), Duration::ZERO);
    let mut window = OpenWindow::new([1180.0, 780.0], false, Laptop::new());
    let mirror = ("model_mirror".to_owned(), format!("\"{}\"", host.base()));
    window.beside(Command::ChangeSettings {
        changes: vec![mirror],
    });
    window.click("Models & devices");
    window.wait("the catalogue", |window| window.shows("This machine has"));
    assert!(window.shows("No model is installed"));

    // A licence that asks something is shown before anything is fetched.
    window.type_into("Filter models", "gemma 3 1b");
    window.click("Download Gemma 3 1B");
    assert!(window.shows("licence “Gemma”"), "{}", window.words());
    assert!(window.shows("https://huggingface.co/ggml-org/gemma-3-1b-it-GGUF"));
    window.click("Not now");
    assert!(!window.shows("licence “Gemma”"));
    assert_eq!(host.served_bytes(), 0);

    window.click("Filter models");
    for _ in 0.."gemma 3 1b".len() {
        window.harness.key_press(egui::Key::Backspace);
    }
    window.type_into("Filter models", "360m");
    assert!(!window.shows("Gemma 3 1B"));
    // What the mirror has in its place is another file.
    window.click("Download SmolLM2 360M Instruct");
    window.wait("the refusal", |window| window.shows("386404992"));
    window.click("Dismiss");
    window.click("Details of SmolLM2 360M Instruct");
    window.wait("its particulars", |window| {
        window.shows("Vocabulary") && window.shows("of weights")
    });
    window.click("Details of SmolLM2 360M Instruct");
    assert!(!window.shows("Vocabulary"));

    window.type_into("Model to download", "owner/repository/model.gguf");
    window.harness.key_press(egui::Key::Enter);
    window.wait("the model to be installed", |window| {
        window.shows("Installed") && window.shows("in use")
    });
}

#[test]
fn a_document_is_removed_only_after_a_question() {
    let mut window = OpenWindow::with_models([1180.0, 780.0]);
    window.import_sample();
    window.click("Documents");
    window.type_into("Filter documents", "lease");
    window.click("Remove");
    assert!(window.shows("This cannot be undone"));
    window.click("Keep");
    assert!(window.shows("1 of 21 documents"), "{}", window.words());
    window.click("Remove");
    // The one in the question, not the one in the list behind it.
    let buttons: Vec<_> = window.harness.get_all_by_label("Remove").collect();
    buttons.last().unwrap().click();
    drop(buttons);
    window.wait_idle();
    assert!(window.shows("20 documents"), "{}", window.words());
}

/// Size of the pictures, in points.
const SCREEN: [f32; 2] = [1000.0, 680.0];

/// A picture of every screen.
#[test]
fn every_screen_looks_as_it_should() {
    let mut window = OpenWindow::with_models(SCREEN);
    window.harness.snapshot("welcome");
    window.import_sample();
    window.click("Dismiss");
    window.ask("What is the capital of Mongolia?");
    window.wait_idle();
    window.harness.snapshot("chat_refusal");
    window.click("Documents");
    window.harness.snapshot("documents");
    window.click("Search");
    window.type_into("Words to find", "deposit");
    window.wait_idle();
    window.harness.snapshot("search");
    let hit = window
        .harness
        .get_all_by_label_contains("lease.md")
        .next()
        .unwrap();
    hit.click();
    window.wait_idle();
    window.settle();
    mask(&mut window, "sample/house/lease.md");
    window.harness.snapshot("document");
    window.click("Close");
    window.click("Models & devices");
    window.wait("the catalogue", |window| window.shows("This machine has"));
    mask(&mut window, "Window: drawn by");
    mask(&mut window, "This machine has");
    // What suits this machine suits no other.
    for words in ["fits", "slow on", "too large", "suits", " of memory · "] {
        mask(&mut window, words);
    }
    window.harness.snapshot("models");
    window.click("Laptops & sync");
    window.harness.snapshot("laptops_alone");
    window.click("Settings");
    for place in ["config.toml", "data", "models", "index"] {
        mask(&mut window, place);
    }
    window.harness.snapshot("settings");
}

#[test]
fn a_workspace_on_one_laptop_says_what_to_do_and_what_is_no_link() {
    let mut window = OpenWindow::new([760.0, 560.0], false, Laptop::new());
    window.click("Laptops & sync");
    assert!(
        window.shows("on this laptop alone") && window.shows("cannot read them"),
        "{}",
        window.words()
    );
    assert!(!window.shows("Synced"), "{}", window.words());
    window.type_into("Link of the edge node", "https://example.org");
    window.click("Show a code");
    window.wait_idle();
    assert!(window.shows("This is no link"), "{}", window.words());
    window.click("Share");
    window.wait_idle();
    let words = window.words();
    assert!(
        words.contains("This is no link") && words.contains("begins with satchel-edge:"),
        "{words}"
    );
}

/// What is written between two texts: the four pictures.
fn pictures(window: &OpenWindow, before: &str, after: &str) -> Vec<String> {
    let words = window.words();
    let lines = words.lines().skip_while(|line| !line.contains(before));
    let shown = lines.take_while(|line| !line.contains(after));
    let mut shown: Vec<String> = shown.map(str::to_owned).collect();
    // Every label has its text inside. Two equal pictures may stand side by side, with "then" between them.
    shown.dedup();
    shown.retain(|line| line != "then" && !line.contains(before));
    shown
}

#[test]
fn two_windows_share_a_workspace_through_an_edge_node() {
    let node = EdgeNode::start();
    let laptop = Laptop::new();
    laptop.write("papers/ferry.txt", "The ferry leaves at seven.");
    let papers = laptop.home().join("papers");
    let mut desk = OpenWindow::new(SCREEN, false, laptop);
    desk.import(&papers);
    desk.click("Laptops & sync");
    desk.type_into("Link of the edge node", &node.link);
    desk.type_into("Name of this laptop", "desk");
    desk.type_into("Your name", "Anna");
    desk.click("Share");
    desk.wait("everything to be sent", |window| {
        window.shows("everything sent") && window.shows("Synced just now")
    });
    assert!(
        desk.shows("1 laptop · no other one yet"),
        "{}",
        desk.words()
    );

    let mut travel = OpenWindow::new(SCREEN, false, Laptop::new());
    travel.click("Laptops & sync");
    travel.type_into("Link of the edge node", &node.link);
    travel.type_into("Name of this laptop", "travel");
    travel.type_into("Your name", "Bo");
    travel.click("Show a code");
    travel.wait("a code", |window| code(window).is_some());
    let typed = code(&travel).unwrap();
    mask(&mut travel, &typed);
    // What turns before it.
    let mut place = travel
        .harness
        .get_by_label_contains("Waiting for the other laptop")
        .rect();
    place = place.expand2(egui::vec2(48.0, 8.0));
    travel.harness.mask(place);
    travel.harness.snapshot("laptops_code");

    desk.type_into("Code shown there", &typed);
    desk.click("Add");
    wait_both(&mut desk, &mut travel, "the pictures", |desk, travel| {
        desk.shows("They match: add") && travel.shows("same four pictures")
    });
    let shown = pictures(&desk, "Does it show these four", "They match: add");
    assert!(shown.len().is_multiple_of(4), "{}", desk.words());
    assert!(!shown.is_empty(), "{}", desk.words());
    let there = pictures(&travel, "show the same four pictures?", "In the same order");
    assert_eq!(shown, there);
    mask(&mut desk, &shown[0]);
    mask(&mut desk, "satchel-edge:");
    mask(&mut desk, " used");
    mask(&mut desk, " written");
    mask(&mut desk, "Synced");
    mask(&mut desk, "Nothing since");
    desk.harness.snapshot("laptops_request");
    desk.click("They match: add");
    wait_both(&mut desk, &mut travel, "the documents", |desk, travel| {
        desk.shows("2 laptops")
            && travel.shows("2 laptops")
            && travel.shows("1 document")
            && travel.harness.state().is_idle()
    });
    travel.click("Documents");
    assert!(travel.shows("ferry"), "{}", travel.words());

    // What is written later arrives by itself, and the list shows it.
    let harbour = desk
        .laptop
        .write("papers/harbour.txt", "The harbour freezes in January.");
    desk.import(&harbour);
    wait_both(&mut desk, &mut travel, "the new document", |_, travel| {
        travel.shows("harbour") && travel.shows("2 documents")
    });

    desk.click("Laptops & sync");
    desk.harness.set_size(egui::vec2(SCREEN[0], 900.0));
    wait_both(
        &mut desk,
        &mut travel,
        "the laptops to come to rest",
        |desk, _| desk.shows("sent and received") && desk.shows("Synced just now"),
    );
    let hidden = [
        "satchel-edge:",
        " used",
        "Synced",
        "heard",
        "Connections made",
        " written",
        "Nothing since",
    ];
    for label in hidden {
        mask(&mut desk, label);
    }
    desk.harness.snapshot("laptops_shared");
    desk.harness.set_size(egui::vec2(760.0, 560.0));
    desk.harness.ctx.set_theme(egui::Theme::Dark);
    desk.settle();
    for label in hidden {
        mask(&mut desk, label);
    }
    desk.harness.snapshot("laptops_narrow_dark");
    desk.click("Remove travel");
    assert!(
        desk.shows("Everything up to now stays on that laptop"),
        "{}",
        desk.words()
    );
    let buttons: Vec<_> = desk.harness.get_all_by_label("Remove").collect();
    buttons.last().unwrap().click();
    drop(buttons);
    wait_both(&mut desk, &mut travel, "the removal", |desk, _| {
        desk.shows("gets nothing new") && desk.shows("1 laptop ·")
    });
    let mut pictures = desk.harness.take_snapshot_results();
    pictures.extend(travel.harness.take_snapshot_results());
}

/// Paths differ from run to run, in their width too: everything to the right edge is masked.
fn mask(window: &mut OpenWindow, label: &str) {
    let places: Vec<egui::Rect> = window
        .harness
        .query_all_by_label_contains(label)
        .map(|node| node.rect())
        .collect();
    for mut place in places {
        place.max.x = SCREEN[0];
        window.harness.mask(place);
    }
}
