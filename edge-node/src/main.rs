//! The program `satchel-edge`: arguments, log, runtime, signals.
//!
//! Decides nothing about fragments: see the library. Exit codes: 0 stopped as asked, 1 failed,
//! 2 wrong arguments or configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use satchel_edge_node::Server;
use satchel_edge_node::config::{Config, CreationMode, LogConfig, LogLevel};
use satchel_edge_node::mailboxes::Mailboxes;
use satchel_protocol::id::MailboxId;
use satchel_protocol::link::NodeLink;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// An edge node of Satchel: keeps encrypted fragments of your devices, and cannot read them.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the node until SIGTERM or Ctrl-C. Prints its address and fingerprint on stdout.
    #[command(
        after_help = "Example:\n  satchel-edge run --data-dir /tmp/edge --listen 127.0.0.1:4747"
    )]
    Run(RunArguments),
    /// Check a configuration file, print what it means and exit.
    CheckConfig {
        /// The file, as for `run --config`.
        file: PathBuf,
    },
    /// Print all that the node knows of a mailbox. Stop the node first: it locks its store.
    Audit {
        /// Which, as 32 hex digits.
        mailbox: MailboxId,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Print totals over all mailboxes. Stop the node first: it locks its store.
    Stats {
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Delete what is past its time. A running node does it once an hour; stop it for this command.
    Gc {
        /// Only say what would be deleted.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        place: PlaceArguments,
    },
}

/// Which store.
#[derive(Args)]
struct PlaceArguments {
    /// TOML file; see edge.example.toml. Without it every setting has its default.
    #[arg(long, value_name = "FILE", env = "SATCHEL_EDGE_CONFIG")]
    config: Option<PathBuf>,
    /// Folder of the node's key and store.
    #[arg(long, value_name = "DIR", env = "SATCHEL_EDGE_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// What is set here wins over the environment, and that over the file.
#[derive(Args)]
struct RunArguments {
    /// TOML file; see edge.example.toml. Without it every setting has its default.
    #[arg(long, value_name = "FILE", env = "SATCHEL_EDGE_CONFIG")]
    config: Option<PathBuf>,
    /// UDP address and port to listen on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR", env = "SATCHEL_EDGE_LISTEN")]
    listen: Option<SocketAddr>,
    /// Folder of the node's key and store.
    #[arg(long, value_name = "DIR", env = "SATCHEL_EDGE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Loopback TCP address of /healthz, /readyz and /metrics. Default: none.
    #[arg(long, value_name = "ADDR", env = "SATCHEL_EDGE_HTTP")]
    http: Option<SocketAddr>,
    /// Who may make mailboxes. Must be chosen for an address that other machines can reach.
    #[arg(long, value_name = "WHO", value_parser = ["open", "token"], env = "SATCHEL_EDGE_CREATION")]
    creation: Option<String>,
    /// Write the log as one JSON object per line.
    #[arg(long)]
    log_json: bool,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::CheckConfig { file } => check_config(&file),
        Command::Audit { mailbox, place } => audit(mailbox, &place),
        Command::Stats { place } => stats(&place),
        Command::Gc { dry_run, place } => gc(dry_run, &place),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => fail(&error, 2),
        Err(Failure::Run(error)) => fail(&error, 1),
    }
}

/// What went wrong, by exit code.
enum Failure {
    Usage(anyhow::Error),
    Run(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Run(error)
    }
}

fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let config = configure(arguments).map_err(Failure::Usage)?;
    start_log(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    Ok(runtime.block_on(serve(&config))?)
}

fn configure(arguments: &RunArguments) -> anyhow::Result<Config> {
    let mut config = match &arguments.config {
        Some(file) => Config::load(file)?,
        None => Config::default(),
    };
    if let Some(listen) = arguments.listen {
        config.listen = listen;
    }
    if let Some(dir) = &arguments.data_dir {
        config.data_dir = Some(dir.clone());
    }
    if let Some(http) = arguments.http {
        config.http.listen = Some(http);
    }
    match arguments.creation.as_deref() {
        Some("token") => config.creation = Some(CreationMode::Token),
        Some(_) => config.creation = Some(CreationMode::Open),
        None => {}
    }
    config.log.json |= arguments.log_json;
    config.check()?;
    Ok(config)
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    // Before the port is bound, so that a signal is never missed once the node has announced itself.
    let shutdown = shutdown_signal()?;
    let server = Server::bind(config)?;
    println!("listening {}", server.local_addr());
    println!("fingerprint {}", server.fingerprint());
    let link = NodeLink {
        address: server.local_addr().to_string(),
        fingerprint: server.fingerprint(),
    };
    println!("link: {link}");
    if server.local_addr().ip().is_unspecified() {
        println!(
            "(in the link, write this machine's name or address in place of {})",
            server.local_addr().ip()
        );
    }
    if let Some(http) = server.http_addr() {
        println!("http {http}");
    }
    let counters = server.serve(shutdown).await?;
    tracing::info!(?counters, "stopped");
    Ok(())
}

#[cfg(unix)]
fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}

#[cfg(not(unix))]
fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        tracing::info!("stopping");
    })
}

fn check_config(file: &std::path::Path) -> Result<(), Failure> {
    let config = Config::load(file)
        .and_then(|config| config.check().map(|()| config))
        .map_err(|error| Failure::Usage(error.into()))?;
    let dir = config
        .resolved_data_dir()
        .map_err(|error| Failure::Usage(error.into()))?;
    println!("{} is valid", file.display());
    println!(
        "listens on UDP {}, keeps data in {}",
        config.listen,
        dir.display()
    );
    println!(
        "mailbox quota {} bytes, longest fragment {} bytes",
        config.limits.mailbox_quota_bytes, config.limits.max_fragment_bytes
    );
    Ok(())
}

fn audit(mailbox: MailboxId, place: &PlaceArguments) -> Result<(), Failure> {
    let report = open(place)?.audit(mailbox).context("cannot audit")?;
    let report = report.with_context(|| format!("this node has no mailbox {mailbox}"))?;
    print!("{report}");
    Ok(())
}

fn stats(place: &PlaceArguments) -> Result<(), Failure> {
    print!("{}", open(place)?.stats().context("cannot count")?);
    Ok(())
}

fn gc(dry_run: bool, place: &PlaceArguments) -> Result<(), Failure> {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .context("the clock stands before 1970: set it")?;
    let now_ms = u64::try_from(since.as_millis()).context("the clock is far off: set it")?;
    let report = open(place)?.gc(now_ms, dry_run).context("cannot delete")?;
    let words = if dry_run { "would delete" } else { "deleted" };
    println!("{words} {report}");
    Ok(())
}

/// Opens the store of a node that is stopped; never makes one.
fn open(place: &PlaceArguments) -> Result<Mailboxes, Failure> {
    let mut config = match &place.config {
        Some(file) => Config::load(file).map_err(|error| Failure::Usage(error.into()))?,
        None => Config::default(),
    };
    if let Some(dir) = &place.data_dir {
        config.data_dir = Some(dir.clone());
    }
    let dir = config
        .resolved_data_dir()
        .map_err(|error| Failure::Usage(error.into()))?;
    if !dir.join("store.redb").is_file() {
        let error = anyhow::anyhow!(
            "there is no store in {}: say where it is with --data-dir or --config",
            dir.display()
        );
        return Err(Failure::Usage(error));
    }
    let mailboxes = Mailboxes::open(&dir, &config)
        .context("cannot open the store (is the node running? stop it first)")?;
    Ok(mailboxes)
}

/// The log goes to stderr; stdout is for address and fingerprint.
fn start_log(log: &LogConfig) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Our own target only: quinn and rustls write addresses of devices into theirs.
    let filter = Targets::new()
        .with_target("satchel_edge_node", level)
        .with_target("satchel_edge", level);
    let layer = fmt::layer().with_writer(std::io::stderr);
    let layer = if log.json {
        layer.json().boxed()
    } else {
        layer.boxed()
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .init();
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("satchel-edge: {error:#}");
    ExitCode::from(code)
}
