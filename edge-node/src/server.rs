//! The node: binds, takes connections, stops cleanly.
//!
//! Builds no runtime; all its tasks end with [`Server::serve`]. Measures time by tokio's clock, so that a
//! simulation of time rules it. Start at [`Server::bind`].

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{Endpoint, EndpointConfig, Incoming, ServerConfig};
use satchel_protocol::id::NodeFingerprint;
use satchel_protocol::limits::HANDSHAKE_TIMEOUT;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use crate::admission::{Admission, Verdict};
use crate::config::{Config, ConfigError, Limits};
use crate::connection::{self, Shared, close};
use crate::identity::{Identity, IdentityError};
use crate::mailboxes::Mailboxes;
use crate::metrics::{Counters, Metrics};
use crate::store::{STORE_FILE, StoreError};
use crate::transport::{endpoint_config, server_config};
use crate::wire::Budget;
use crate::writer::{self, Job};

/// Requests under way have so long to finish when the node stops: with the second for goodbyes this
/// stays below the 10 s that service managers wait before they kill.
const DRAIN: Duration = Duration::from_secs(8);

/// Goodbyes of QUIC have so long to leave.
const GOODBYE: Duration = Duration::from_secs(1);

/// A node that listens and does not yet answer.
pub struct Server {
    endpoint: Endpoint,
    local_addr: SocketAddr,
    fingerprint: NodeFingerprint,
    mailboxes: Arc<Mailboxes>,
    limits: Limits,
    http: Option<std::net::TcpListener>,
}

impl Server {
    /// Opens the data folder, making key and store where it is empty, and binds the UDP port.
    ///
    /// Blocks shortly for the disk. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`]; nothing listens then.
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        Self::bind_with(config, |shared, quic| {
            let socket = std::net::UdpSocket::bind(config.listen)?;
            let runtime = quinn::default_runtime()
                .ok_or_else(|| std::io::Error::other("no tokio runtime"))?;
            Endpoint::new(shared, Some(quic), socket, runtime)
        })
    }

    /// As [`Server::bind`], through a socket and a runtime of the caller's choice: `open` makes the endpoint, and
    /// [`Config::listen`] serves only to name it.
    ///
    /// # Errors
    /// [`BindError`]; nothing listens then.
    pub fn bind_with(
        config: &Config,
        open: impl FnOnce(EndpointConfig, ServerConfig) -> std::io::Result<Endpoint>,
    ) -> Result<Self, BindError> {
        config.check()?;
        let dir = config.resolved_data_dir()?;
        create_private_dir(&dir).map_err(|source| BindError::DataDir {
            source,
            path: dir.clone(),
        })?;
        let identity = Identity::load_or_create(&dir, dir.join(STORE_FILE).exists())?;
        let mailboxes = Mailboxes::open(&dir, config)?;
        let http = config.http.listen.map(listen_http).transpose()?;
        let fingerprint = identity.fingerprint;
        let listen = config.listen;
        let shared = endpoint_config(&identity);
        let endpoint = open(shared, server_config(identity)?)
            .map_err(|source| BindError::Listen { source, listen })?;
        let local_addr = endpoint
            .local_addr()
            .map_err(|source| BindError::Listen { source, listen })?;
        Ok(Self {
            endpoint,
            local_addr,
            fingerprint,
            mailboxes: Arc::new(mailboxes),
            limits: config.limits.clone(),
            http,
        })
    }

    /// Where the node listens, with the real port where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where health and metrics are, if they are.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(|http| http.local_addr().ok())
    }

    /// What devices pin.
    pub fn fingerprint(&self) -> NodeFingerprint {
        self.fingerprint
    }

    /// Serves devices until `shutdown` is ready, then finishes what is under way and stops within 10 s.
    ///
    /// Returns what was done. When it has returned, nothing of the node runs any more and another may
    /// use the data folder.
    ///
    /// # Errors
    /// [`ServeError`] when the store fails. What was acknowledged is on disk; start the node again.
    pub async fn serve(
        mut self,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Counters, ServeError> {
        let metrics = Arc::new(Metrics::default());
        let (jobs, waiting) = writer::queue();
        let mut writer = JoinSet::new();
        writer.spawn(writer::run(
            Arc::clone(&self.mailboxes),
            waiting,
            self.limits.clone(),
            Arc::clone(&metrics),
        ));
        let mut door = Door::new(self.shared(jobs, &metrics));
        let mut failure = None;
        match self.http.take().map(TcpListener::from_std).transpose() {
            Ok(None) => {}
            Ok(Some(listener)) => door.open_http(listener),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "health and metrics are not served"
            ),
        }
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(ended) = writer.join_next() => {
                    failure = writer_failure(ended);
                    break;
                }
                Some(_) = door.connections.join_next(), if !door.connections.is_empty() => {}
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => door.handle_incoming(incoming),
                    None => break,
                },
            }
        }
        door.close(&self.endpoint).await;
        // The door held the last senders, so the writer ends after what it has.
        while let Some(ended) = writer.join_next().await {
            failure = failure.or(writer_failure(ended));
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(metrics.snapshot()),
        }
    }

    fn shared(&self, jobs: mpsc::Sender<Job>, metrics: &Arc<Metrics>) -> Shared {
        Shared {
            mailboxes: Arc::clone(&self.mailboxes),
            jobs,
            budget: Budget::new(),
            limits: self.limits.clone(),
            metrics: Arc::clone(metrics),
        }
    }
}

/// Where connections come in, and all that are inside.
struct Door {
    shared: Arc<Shared>,
    admission: Arc<Mutex<Admission>>,
    connections: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Door {
    fn new(shared: Shared) -> Self {
        let admission = Admission::new(&shared.limits, Instant::now().into_std());
        Self {
            shared: Arc::new(shared),
            admission: Arc::new(Mutex::new(admission)),
            connections: JoinSet::new(),
            stop: watch::Sender::new(false),
        }
    }

    fn open_http(&mut self, listener: TcpListener) {
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.subscribe());
        self.connections
            .spawn(crate::http::serve(listener, shared, stop));
    }

    fn handle_incoming(&mut self, incoming: Incoming) {
        let address = incoming.remote_address().ip();
        let proven = incoming.remote_address_validated();
        let metrics = &self.shared.metrics;
        match lock(&self.admission).decide(address, proven, Instant::now().into_std()) {
            Verdict::Refuse => {
                metrics.connections_refused.one();
                incoming.refuse();
            }
            Verdict::Retry => {
                metrics.retries_demanded.one();
                // An unproven address may always be asked; were it not so, dropping it is right.
                if let Err(error) = incoming.retry() {
                    error.into_incoming().ignore();
                }
            }
            Verdict::Accept => {
                let place = Place {
                    admission: Arc::clone(&self.admission),
                    address,
                    in_handshake: true,
                };
                let shared = Arc::clone(&self.shared);
                let stop = self.stop.subscribe();
                self.connections
                    .spawn(serve_incoming(incoming, place, shared, stop));
            }
        }
    }

    /// Takes nobody new, lets requests under way finish, and says goodbye.
    async fn close(mut self, endpoint: &Endpoint) {
        endpoint.set_server_config(None);
        self.stop.send_replace(true);
        let drained = timeout(DRAIN, async {
            while self.connections.join_next().await.is_some() {}
        })
        .await;
        if drained.is_err() {
            tracing::warn!(
                connections = self.connections.len(),
                "connections did not finish in time and were cut"
            );
            self.connections.shutdown().await;
        }
        endpoint.close(close::STOPPING, b"the node is stopping");
        // A device that does not acknowledge the goodbye finds out by its own timeout.
        drop(timeout(GOODBYE, endpoint.wait_idle()).await);
    }
}

async fn serve_incoming(
    incoming: Incoming,
    mut place: Place,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    // Its own allocation, given back when the handshake is over: the rest stays as long as the connection.
    let handshake = Box::pin(async { incoming.accept()?.await });
    match timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(connection)) => {
            place.handshake_ended();
            shared.metrics.connections.one();
            connection::serve(connection, shared, stop).await;
        }
        Ok(Err(_)) | Err(_) => shared.metrics.handshakes_failed.one(),
    }
}

/// A place among the connections, given back on drop.
struct Place {
    admission: Arc<Mutex<Admission>>,
    address: IpAddr,
    in_handshake: bool,
}

impl Place {
    fn handshake_ended(&mut self) {
        if std::mem::take(&mut self.in_handshake) {
            lock(&self.admission).handshake_ended();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshake_ended();
        lock(&self.admission).release(self.address);
    }
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder cannot be made.
    #[error("cannot make the data folder {}", path.display())]
    DataDir {
        /// Why.
        source: std::io::Error,
        /// Which folder.
        path: PathBuf,
    },
    /// There is no usable key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS with the node's key")]
    Tls(#[from] rustls::Error),
    /// The port cannot be used.
    #[error("cannot listen on UDP {listen}: choose another with --listen")]
    Listen {
        /// Why.
        source: std::io::Error,
        /// Which address.
        listen: SocketAddr,
    },
    /// The port of health and metrics cannot be used.
    #[error("cannot listen on TCP {listen} for health and metrics: choose another with --http")]
    Http {
        /// Why.
        source: std::io::Error,
        /// Which address.
        listen: SocketAddr,
    },
}

/// Why a running node stopped by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A commit failed. Everything acknowledged is on disk; start the node again.
    #[error(
        "the node stopped because it could not write; all that it acknowledged is stored: start it again"
    )]
    Store(#[source] StoreError),
    /// A bug of ours: please report it.
    #[error("the node's writer ended unexpectedly: please report this")]
    Writer(#[source] JoinError),
}

fn writer_failure(ended: Result<Result<(), StoreError>, JoinError>) -> Option<ServeError> {
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(ServeError::Store(error)),
        Err(error) => Some(ServeError::Writer(error)),
    }
}

fn lock(admission: &Mutex<Admission>) -> MutexGuard<'_, Admission> {
    // Counts stay usable after a panic elsewhere: at worst a place is lost.
    admission.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen_http(listen: SocketAddr) -> Result<std::net::TcpListener, BindError> {
    let bind = || {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|source| BindError::Http { source, listen })
}

fn create_private_dir(dir: &std::path::Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}
