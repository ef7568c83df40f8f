//! What documents and models write is shown and nothing else: no picture is loaded, no address opened.
//!
//! The window draws Markdown itself (`app/src/ui/markdown.rs`), so that there is nothing to load with. These walls
//! keep it so; what a hostile document looks like is in `window.rs`.

use satchel_tests::repository::{files, metadata};
use satchel_tests::source;

/// Features that load or open something, by crate.
const LOADERS: [(&str, &[&str]); 4] = [
    (
        "egui_extras",
        &["http", "file", "image", "svg", "all_loaders"],
    ),
    ("egui-winit", &["links"]),
    ("eframe", &["links"]),
    ("egui_commonmark", &["fetch", "load-images", "svg"]),
];

#[test]
fn nothing_that_loads_pictures_or_opens_links_is_linked() {
    let resolve = metadata().resolve.as_ref().expect("a resolved graph");
    let mut found = Vec::new();
    for node in &resolve.nodes {
        let package = &metadata()[&node.id];
        for (name, features) in LOADERS {
            for feature in node.features.iter().filter(|_| package.name == name) {
                if features.contains(&feature.as_str()) {
                    found.push(format!("{name}: {feature}"));
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "these features load pictures or open addresses; text of documents could use them: {found:?}"
    );
}

#[test]
fn the_window_makes_no_widget_that_loads_or_opens() {
    let widgets = [
        "hyperlink",
        "hyperlink_to",
        "Hyperlink",
        "open_url",
        "Image",
        "ImageSource",
        "webbrowser",
    ];
    let mut found = Vec::new();
    for file in files() {
        let Some(text) = file
            .text
            .as_deref()
            .filter(|_| file.path.starts_with("app/src/ui/"))
        else {
            continue;
        };
        let code = source::product_code(text);
        for widget in widgets {
            for line in source::lines_with_word(&code, widget) {
                // The parser's own word for a picture, which becomes its description.
                let is_parsed = file.path.ends_with("markdown.rs") && widget == "Image";
                if !is_parsed {
                    found.push(format!("{}:{line}: {widget}", file.path));
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "widgets that load or open something; draw words instead:\n{}",
        found.join("\n")
    );
}
