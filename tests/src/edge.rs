//! An edge node as a real process: killed, started anew at the same address, with the limits of a test.
//!
//! Ends only what it started. Start at [`EdgeNode::start`] and [`Pairing::begin`].

use std::io::{BufRead, BufReader, Lines, Read};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Laptop;
use crate::laptop::kill_with_workers;

/// What is waited for longer than this does not come. Generous: two cores may run several tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// An edge node of its own, for one test.
pub struct EdgeNode {
    folder: tempfile::TempDir,
    data: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
    link: String,
}

impl EdgeNode {
    /// A node on a free port, with the usual limits.
    #[must_use]
    pub fn start() -> Self {
        Self::with_config("")
    }

    /// A node with this `edge.toml`.
    #[must_use]
    pub fn with_config(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let data = folder.path().join("data");
        Self::in_folder(folder, data, config)
    }

    /// A node that keeps its data in a folder of the test.
    #[must_use]
    pub fn with_data_in(data: &Path, config: &str) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        Self::in_folder(folder, data.to_owned(), config)
    }

    fn in_folder(folder: tempfile::TempDir, data: PathBuf, config: &str) -> Self {
        let mut node = Self {
            folder,
            data,
            address: ([127, 0, 0, 1], 0).into(),
            child: None,
            link: String::new(),
        };
        node.configure(config);
        node.start_again();
        node
    }

    /// Writes `edge.toml`; the next start reads it.
    pub fn configure(&self, config: &str) {
        std::fs::write(self.folder.path().join("edge.toml"), config)
            .expect("the temporary folder is writable");
    }

    /// Starts it, at the address that it had before.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        self.kill();
        let until = Instant::now() + PATIENCE;
        while self.child.is_none() {
            self.try_to_start();
            assert!(
                Instant::now() < until,
                "the edge node does not start at {}",
                self.address
            );
        }
    }

    fn try_to_start(&mut self) {
        let mut child = Command::new(crate::satchel_edge_bin())
            .arg("run")
            .arg("--config")
            .arg(self.folder.path().join("edge.toml"))
            .args(["--listen", &self.address.to_string(), "--data-dir"])
            .arg(&self.data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the edge node is built");
        let lines = BufReader::new(child.stdout.take().expect("the pipe was asked for")).lines();
        for line in lines.map_while(Result::ok) {
            if let Some(address) = line.strip_prefix("listening ") {
                self.address = address.parse().expect("it prints an address");
            }
            if let Some(link) = line.strip_prefix("link: ") {
                link.clone_into(&mut self.link);
                self.child = Some(child);
                return;
            }
        }
        // Ended before it was ready: somebody else has its port for a moment.
        child.wait().expect("the child is ours");
        std::thread::sleep(LOOK_EVERY);
    }

    /// Ends it with -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().expect("the child is ours");
        }
    }

    /// What laptops are given.
    #[must_use]
    pub fn link(&self) -> &str {
        &self.link
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Runs one of its commands for operators on its data, while it is stopped.
    #[must_use]
    pub fn operator(&self, args: &[&str]) -> String {
        let said = Command::new(crate::satchel_edge_bin())
            .args(args)
            .arg("--data-dir")
            .arg(&self.data)
            .output()
            .expect("the edge node is built");
        String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
    }
}

impl Drop for EdgeNode {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A link to an address where nobody answers: packets go in and nothing comes out, as behind a firewall.
#[must_use]
pub fn silent_link() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let address = socket.local_addr().expect("it is bound");
    (socket, link_to(address))
}

/// A link to an address, of a node with a key that nobody has.
#[must_use]
pub fn link_to(address: SocketAddr) -> String {
    let link = satchel_protocol::link::NodeLink {
        address: address.to_string(),
        fingerprint: satchel_protocol::id::NodeFingerprint([7; 32]),
    };
    link.to_string()
}

/// A laptop that shows a code and waits.
pub struct Pairing {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What the other laptop types.
    pub code: String,
}

/// How a pairing ended on the new laptop.
#[derive(Debug)]
pub struct Paired {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed after the code.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Pairing {
    /// Shows a code on a new laptop, called “travel”.
    ///
    /// # Panics
    /// When no code is shown.
    #[must_use]
    pub fn begin(new: &Laptop, link: &str) -> Self {
        let mut child = new
            .command(["devices", "pair", link, "--label", "travel", "--user", "Bo"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program is built");
        let stdout = child.stdout.take().expect("the pipe was asked for");
        let mut lines = BufReader::new(stdout).lines();
        let code = lines
            .by_ref()
            .map_while(Result::ok)
            .map(|line| line.trim().to_owned())
            .find(|line| line.split('-').count() == 4);
        let Some(code) = code else {
            let mut stderr = String::new();
            let pipe = child.stderr.as_mut().expect("the pipe was asked for");
            // Whatever could be read says why.
            pipe.read_to_string(&mut stderr).ok();
            child.wait().expect("the child is ours");
            panic!("no code was shown: {stderr}");
        };
        Self { child, lines, code }
    }

    /// Waits until the pictures are shown: the other laptop has typed the code.
    ///
    /// # Panics
    /// When none are shown.
    #[must_use]
    pub fn pictures(&mut self) -> String {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        let line = lines.find(|line| line.starts_with("    "));
        line.expect("it shows the pictures")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Waits until it ends.
    #[must_use]
    pub fn end(mut self) -> Paired {
        let stdout: Vec<String> = self.lines.by_ref().map_while(Result::ok).collect();
        let mut stderr = String::new();
        let pipe = self.child.stderr.as_mut().expect("the pipe was asked for");
        pipe.read_to_string(&mut stderr)
            .expect("the program says text");
        Paired {
            code: self.child.wait().expect("the child is ours").code(),
            stdout: stdout.join("\n"),
            stderr,
        }
    }
}

impl Drop for Pairing {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Lets `new` into the open workspace of `known`.
///
/// # Panics
/// With what was said, when it does not join.
pub fn pair(known: &Laptop, new: &Laptop, link: &str) {
    let pairing = Pairing::begin(new, link);
    known
        .run(["devices", "approve", &pairing.code, "--yes"])
        .expect_success();
    let joined = pairing.end();
    assert_eq!(joined.code, Some(0), "{joined:?}");
}

/// A laptop's command that goes on until it is stopped, such as `sync run`.
pub struct Running {
    child: Option<Child>,
}

impl Running {
    /// Starts it.
    ///
    /// # Panics
    /// When the program is not built.
    #[must_use]
    pub fn start(laptop: &Laptop, args: &[&str]) -> Self {
        use std::os::unix::process::CommandExt;
        let child = laptop
            .command(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("the program is built");
        Self { child: Some(child) }
    }

    /// Its process.
    ///
    /// # Panics
    /// Never: it is taken by [`Running::interrupt`] only.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it is taken at the end").id()
    }

    /// Ctrl-C; gives the exit code.
    ///
    /// # Panics
    /// When it does not run any more.
    #[must_use]
    pub fn interrupt(mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it is taken once");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
        child.wait().expect("the child is ours").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            kill_with_workers(child);
        }
    }
}

/// Looks until something holds.
///
/// # Panics
/// When it does not within a minute.
pub fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    wait_until_within(PATIENCE, what, holds);
}

/// As [`wait_until`], with a time of its own.
///
/// # Panics
/// When it does not hold in that time.
pub fn wait_until_within(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < until, "waited for this in vain: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}
