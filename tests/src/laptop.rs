//! A laptop: a person's home folder in a temporary place, and the built program run in it.
//!
//! Touches nothing of the real user: home, settings, keyring and runtime folder are its own.
//! Start at [`Laptop::new`] and [`Laptop::run`].

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A command that takes longer is stuck. Generous: two cores may run several tests with a model each.
const TIMEOUT: Duration = Duration::from_secs(180);

/// How often a running command is looked at: short against the 300 ms that `satchel search` may take.
const POLL: Duration = Duration::from_millis(5);

/// A person's laptop. Its folders go away with it.
pub struct Laptop {
    folder: TempDir,
    models: Option<PathBuf>,
    program: PathBuf,
}

impl Laptop {
    /// A fresh laptop: no documents, no key, no models.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("satchel-laptop-")
            .tempdir()
            .expect("the temporary folder is writable");
        for name in ["home", "run", "data"] {
            create_private(&folder.path().join(name));
        }
        Self {
            folder,
            models: None,
            program: crate::satchel_bin(),
        }
    }

    /// The same laptop with another copy of the program.
    #[must_use]
    pub fn with_program(self, program: PathBuf) -> Self {
        Self { program, ..self }
    }

    /// A laptop that uses the starter models which `make test` installed for the real user.
    ///
    /// They are shared, not copied: a test that imports or removes models starts with [`Laptop::new`].
    ///
    /// # Panics
    /// When the program cannot say where they are.
    #[must_use]
    pub fn with_starter_models() -> Self {
        Self {
            models: Some(crate::models_dir()),
            ..Self::new()
        }
    }

    /// The folder given to the program as `--data-dir`.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where the test puts the person's own files.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Writes a file below [`Laptop::home`], with the folders it needs, and returns its path.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home().join(path);
        std::fs::create_dir_all(path.parent().expect("a file has a folder"))
            .expect("the home folder is writable");
        std::fs::write(&path, content).expect("the home folder is writable");
        path
    }

    /// The program with `--data-dir` and `args`, ready to start in this laptop's surroundings.
    ///
    /// For tests that watch, signal or kill it; [`Laptop::run`] is enough for all others.
    #[must_use]
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(args)
            .current_dir(self.home());
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_the_user(name)) {
            command.env_remove(name);
        }
        command
            .env("HOME", self.home())
            .env("XDG_RUNTIME_DIR", self.folder.path().join("run"));
        if let Some(models) = &self.models {
            command.env("SATCHEL_MODELS_DIR", models);
        }
        command
    }

    /// Runs the program to its end without input and returns what it said.
    ///
    /// # Panics
    /// When it does not end within three minutes; it is killed then, with all its workers.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome {
        self.run_with(args, "", TIMEOUT)
    }

    /// The best hit of a search.
    ///
    /// # Panics
    /// When nothing is found.
    #[must_use]
    pub fn first_hit(&self, mode: &str, query: &str) -> serde_json::Value {
        let found = self
            .run(["search", "--json", "--mode", mode, query])
            .expect_success()
            .json();
        let hit = found["hits"][0].clone();
        assert!(hit.is_object(), "nothing was found for {query}: {found}");
        hit
    }

    /// As [`Laptop::run`], with `input` on stdin and a time limit of its own.
    ///
    /// # Panics
    /// When it does not end within `timeout`.
    pub fn run_with<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        input: &str,
        timeout: Duration,
    ) -> Outcome {
        finish(self.command(args), input, timeout)
    }
}

impl Default for Laptop {
    fn default() -> Self {
        Self::new()
    }
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// What was run, for messages.
    pub command: String,
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Messages.
    pub stderr: String,
    /// From start to exit.
    pub took: Duration,
}

impl Outcome {
    /// This outcome, when the exit code is 0.
    ///
    /// # Panics
    /// With everything the command said, otherwise.
    pub fn expect_success(self) -> Self {
        self.expect_code(0)
    }

    /// This outcome, when the exit code is `code`.
    ///
    /// # Panics
    /// With everything the command said, otherwise.
    pub fn expect_code(self, code: i32) -> Self {
        let Self {
            command,
            stdout,
            stderr,
            ..
        } = &self;
        assert_eq!(
            self.code,
            Some(code),
            "exit code of `{command}`\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        );
        self
    }

    /// Its standard output as one JSON value.
    ///
    /// # Panics
    /// With the output, when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "`{}` printed no JSON: {error}\n--- stdout\n{}\n--- stderr\n{}",
                self.command, self.stdout, self.stderr
            )
        })
    }

    /// Its standard output as one JSON value per line.
    ///
    /// # Panics
    /// With the line, when one is none.
    #[must_use]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| {
                panic!(
                    "`{}` printed a line that is no JSON: {error}: {line}",
                    self.command
                )
            })
        };
        self.stdout.lines().map(parse).collect()
    }
}

/// Runs `command` to its end; kills it and everything it started after `timeout`.
///
/// # Panics
/// When it cannot be started or does not end in time.
#[must_use]
pub fn finish(mut command: Command, input: &str, timeout: Duration) -> Outcome {
    let said = format!("{command:?}");
    let started = Instant::now();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {said}: {error}"));
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    // A command that never reads its input closes the pipe: that is its right.
    child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(input.as_bytes()))
        .transpose()
        .ok();

    while child.try_wait().expect("the child is ours").is_none() {
        if started.elapsed() > timeout {
            kill_with_workers(&mut child);
            let (stdout, stderr) = (text(stdout), text(stderr));
            panic!(
                "`{said}` did not end within {timeout:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
            );
        }
        std::thread::sleep(POLL);
    }
    let took = started.elapsed();
    let code = child.wait().expect("the child is ours").code();
    Outcome {
        command: said,
        code,
        stdout: text(stdout),
        stderr: text(stderr),
        took,
    }
}

/// Kills a child that was started in a process group of its own, with all its descendants, and waits for it.
pub fn kill_with_workers(child: &mut Child) {
    let group = rustix::process::Pid::from_child(child);
    // It may have ended by itself in this moment: then there is nothing to kill.
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
    child.wait().expect("the child is ours");
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    let mut pipe = pipe.expect("the pipe was asked for");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe is readable");
        bytes
    })
}

fn text(reader: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().expect("the reader does not panic")).into_owned()
}

/// Variables that would lead the program to the real user's files, keyring or window.
fn is_of_the_user(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("SATCHEL_")
        || name.starts_with("XDG_")
        || matches!(
            &*name,
            "DBUS_SESSION_BUS_ADDRESS" | "DISPLAY" | "WAYLAND_DISPLAY"
        )
}

/// The runtime folder must be the user's alone, or sockets in it are refused.
fn create_private(folder: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .expect("the temporary folder is writable");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_command_is_heard_out() {
        let outcome = finish(
            shell("cat; echo said >&2; exit 3"),
            "[1]",
            Duration::from_secs(60),
        )
        .expect_code(3);
        assert_eq!(
            (outcome.json(), outcome.stderr.as_str()),
            (serde_json::json!([1]), "said\n")
        );
    }

    #[test]
    fn a_stuck_command_is_killed_with_its_workers_and_quoted() {
        let started = Instant::now();
        // The worker holds the pipes: were it left alive, reading them would take as long as it sleeps.
        let stuck = std::panic::catch_unwind(|| {
            finish(
                shell("echo begun; sleep 60 & sleep 60"),
                "",
                Duration::from_millis(300),
            )
        });
        let said = stuck.expect_err("it does not end in time");
        let said = said
            .downcast_ref::<String>()
            .expect("a panic with a message");
        assert!(
            said.contains("begun") && started.elapsed() < Duration::from_secs(30),
            "{said}"
        );
    }
}
