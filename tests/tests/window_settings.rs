//! The settings in the window: what is looked at stays, what is changed is written as people would write it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use eframe::egui;
use satchel_tests::Laptop;
use satchel_tests::window::OpenWindow;

#[test]
fn looking_at_the_settings_changes_none_of_them() {
    let laptop = Laptop::new();
    // Beyond the ends of the sliders, and between their steps.
    let written = "context_len_tokens = 65536\nmax_output_tokens = 16\ntemperature = 0.12\n";
    laptop.write("../data/config.toml", written);
    let mut window = OpenWindow::new([900.0, 780.0], false, laptop);
    window.click("Settings");
    window.wait_idle();
    let file = window.laptop.data_dir().join("config.toml");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
    assert!(window.shows("Model's window"), "{}", window.words());
}

#[test]
fn settings_are_kept_and_what_cannot_be_is_said() {
    let laptop = Laptop::new();
    laptop.write("../data/config.toml", "# mine\ntemperature = 0.3\n");
    let mut window = OpenWindow::new([900.0, 780.0], false, laptop);
    window.click("Settings");
    window.click("Dark");
    window.click("Stay offline whatever comes");
    window.wait_idle();
    let file = window.laptop.data_dir().join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "# mine\ntemperature = 0.3\noffline = true\n");
    let saved = window.laptop.data_dir().join("state/window.json");
    window.wait("the preferences to be written", |_| saved.exists());
    assert!(std::fs::read_to_string(&saved).unwrap().contains("dark"));
}

#[test]
fn how_words_are_chosen_is_set_and_given_up_again() {
    let laptop = Laptop::new();
    laptop.write("../data/config.toml", "# mine\ntop_k = 20\n");
    let mut window = OpenWindow::new([900.0, 1100.0], false, laptop);
    window.click("Settings");
    window.click("How words are chosen, and more");
    window.click("Likely enough together");
    window.wait_idle();
    window.click("The best one");
    window.wait_idle();
    let file = window.laptop.data_dir().join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    for written in [
        "# mine\n",
        "top_k = 20\n",
        "top_p = 0.95\n",
        "prompt_style = \"one_passage\"\n",
    ] {
        assert!(text.contains(written), "{text}");
    }
    window.type_into("Path of the adapter", "/nowhere/adapter.gguf");
    window.harness.key_press(egui::Key::Enter);
    window.wait_idle();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("lora = \"/nowhere/adapter.gguf\"\n"),
        "{text}"
    );
    // It has a strength only where there is one.
    assert!(
        window.shows("Strength of the adapter"),
        "{}",
        window.words()
    );
    window.click("Defaults");
    window.wait_idle();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "# mine\n");
}

#[test]
fn a_server_with_tools_is_set_up_and_taken_out() {
    let laptop = Laptop::new();
    laptop.write("../data/config.toml", "# mine\ntemperature = 0.3\n");
    let mut window = OpenWindow::new([900.0, 1500.0], false, laptop);
    window.click("Settings");
    let file = window.laptop.data_dir().join("config.toml");
    window.type_into("Name of the MCP server", "Not good");
    window.type_into("Command of the MCP server", "uvx mcp-server-time --utc");
    window.click("Add");
    window.wait_idle();
    assert!(
        window.words().contains("1 to 32 small letters"),
        "{}",
        window.words()
    );
    let all = egui::Modifiers::COMMAND;
    window.type_into("Name of the MCP server", "");
    window.harness.key_press_modifiers(all, egui::Key::A);
    window.type_into("Name of the MCP server", "time");
    window.click("Add");
    window.wait("the server to be listed", |window| {
        window.shows("uvx mcp-server-time --utc")
    });
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("[mcp_servers.time]\ncommand = \"uvx\"\n"),
        "{text}"
    );
    window.click("Remove");
    window.wait("the server to be gone", |window| {
        !window.shows("uvx mcp-server-time --utc")
    });
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "# mine\ntemperature = 0.3\n");
}
