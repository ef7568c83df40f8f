//! A window on a laptop, driven as a person does it: by the names of its buttons and fields.
//!
//! The backend, the index and the models are the real ones; only the display is missing. Images are drawn by a
//! software Vulkan device. Start at [`OpenWindow::new`].

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use eframe::egui;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use satchel_app::backend::runtime;
use satchel_app::backend::socket::Client;
use satchel_app::config::Settings;
use satchel_app::message::{Command, Reply};
use satchel_app::ui::Window;
use satchel_edge_node::Server;
use satchel_edge_node::config::Config;
use satchel_protocol::link::NodeLink;
use tokio::runtime::Runtime;

use crate::in_process::place;
use crate::{Laptop, models_dir};

/// Longer than an import of the sample with embeddings, or an answer of the starter model, takes on two busy cores.
const PATIENCE: Duration = Duration::from_secs(120);

/// A window on a laptop.
pub struct OpenWindow {
    /// The window. Dropped first: it ends what runs.
    pub harness: Harness<'static, Window>,
    /// Its home and data.
    pub laptop: Laptop,
    runtime: Runtime,
}

impl OpenWindow {
    /// A window with the starter models on a fresh laptop; `size` in points.
    pub fn with_models(size: [f32; 2]) -> Self {
        Self::new(size, true, Laptop::new())
    }

    /// A window on `laptop`, with the starter models or without any.
    pub fn new(size: [f32; 2], with_models: bool, laptop: Laptop) -> Self {
        let runtime = runtime::build().expect("threads");
        let (mut dirs, unlock) = place(&laptop.data_dir());
        dirs.sockets = laptop.data_dir().join("run");
        if with_models {
            dirs.models = models_dir();
        }
        let handle = runtime.handle().clone();
        let harness = Harness::builder()
            .with_size(size)
            .with_theme(egui::Theme::Light)
            .wgpu()
            .build_eframe(move |creation| {
                Window::open(
                    &creation.egui_ctx,
                    handle,
                    dirs,
                    Settings::default(),
                    unlock,
                )
            });
        // A caret that blinks is in some images and not in others.
        harness
            .ctx
            .all_styles_mut(|style| style.visuals.text_cursor.blink = false);
        let mut window = Self {
            harness,
            laptop,
            runtime,
        };
        window.wait("the workspace to open", |window| {
            window.harness.state().is_idle()
        });
        window
    }

    /// Draws frames until something holds.
    pub fn wait(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        loop {
            self.harness.step();
            if holds(self) {
                self.settle();
                return;
            }
            assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Draws some frames more: animations end, scroll areas learn their sizes.
    pub fn settle(&mut self) {
        self.harness.run_steps(8);
    }

    /// Draws frames until no command is on its way.
    pub fn wait_idle(&mut self) {
        self.harness.step();
        self.wait("the work to end", |window| window.harness.state().is_idle());
    }

    /// Clicks what has this name.
    pub fn click(&mut self, label: &str) {
        self.harness.get_by_label(label).click();
        self.settle();
    }

    /// Types into the field of this name.
    pub fn type_into(&mut self, label: &str, text: &str) {
        self.harness.get_by_label(label).focus();
        self.harness.step();
        self.harness.get_by_label(label).type_text(text);
        self.settle();
    }

    /// Whether something that contains this text is drawn.
    pub fn shows(&self, text: &str) -> bool {
        self.harness
            .query_all_by_label_contains(text)
            .next()
            .is_some()
    }

    /// Imports a file or folder by its path.
    pub fn import(&mut self, path: &Path) {
        self.start_import(path);
        self.wait_idle();
    }

    /// As [`Self::import`], without waiting for its end.
    pub fn start_import(&mut self, path: &Path) {
        if !self.shows("Path to import") {
            self.click("Documents");
        }
        self.type_into("Path to import", &path.display().to_string());
        self.click("Import");
    }

    /// Asks in the open chat, without waiting for the answer.
    pub fn ask(&mut self, question: &str) {
        self.type_into("Question", question);
        self.click("Ask");
    }

    /// Imports the sample from the empty chat.
    pub fn import_sample(&mut self) {
        self.click("Try the sample");
        self.wait_idle();
    }

    /// Carries out a command as another program does that finds the workspace open in the window.
    pub fn beside(&self, command: Command) -> Reply {
        let sockets = fs::read_dir(self.laptop.data_dir().join("run")).expect("sockets");
        let socket = sockets.flatten().next().expect("the window has one").path();
        let reply = self.runtime.block_on(async {
            let client = Client::connect(&socket).await.expect("the window answers");
            client.submit(command).await?.finish(drop).await
        });
        reply.expect("it succeeds")
    }

    /// Everything that is written in the window.
    pub fn words(&self) -> String {
        let mut words = String::new();
        for node in self.harness.root().children_recursive() {
            if let Some(label) = node
                .accesskit_node()
                .label()
                .or(node.accesskit_node().value())
            {
                words += &label;
                words.push('\n');
            }
        }
        words
    }
}

/// An edge node of its own, for one test.
pub struct EdgeNode {
    /// What laptops are given to find it.
    pub link: String,
    _runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl EdgeNode {
    /// A node on a free port.
    #[must_use]
    pub fn start() -> Self {
        let runtime = runtime::build().expect("threads");
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let config = Config {
            listen: "127.0.0.1:0".parse().expect("an address"),
            data_dir: Some(folder.path().to_owned()),
            ..Config::default()
        };
        let inside = runtime.enter();
        let server = Server::bind(&config).expect("the edge node starts");
        drop(inside);
        let link = NodeLink {
            address: server.local_addr().to_string(),
            fingerprint: server.fingerprint(),
        };
        // Ends with the runtime.
        runtime.spawn(server.serve(std::future::pending()));
        Self {
            link: link.to_string(),
            _runtime: runtime,
            _folder: folder,
        }
    }
}
