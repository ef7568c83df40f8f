//! A device's connection to one edge node.
//!
//! Moves requests and answers; reconnecting, batching and deciding what to send are not here. Start at [`EdgeClient::connect`].

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, IdleTimeout, TransportConfig, VarInt};
use satchel_protocol::frame::{Answer, ErrorAnswer, ErrorCode, Request};
use satchel_protocol::id::{MailboxId, NodeFingerprint};
use satchel_protocol::limits::{
    ALPN, EXPORTER_LABEL, IDLE_TIMEOUT, KEEP_ALIVE_INTERVAL, MAX_READ_PAGE_BYTES, MAX_VERSION,
    MIN_VERSION,
};
use tokio::time::timeout;

use super::error::{ConnectError, RequestError};
use super::pin::PinnedNode;
use super::wire::{Answers, Patience};

/// How long a handshake may take: the node gives up after 5 s, and a lost first packet costs 1 to 3 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a goodbye may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes that a node may have under way to this device: four read pages. quinn's default is unlimited.
const CONNECTION_WINDOW_BYTES: u32 = 4 * MAX_READ_PAGE_BYTES as u32;

/// Bytes that were handed over and that the node has not acknowledged. quinn's default is 10 MB.
///
/// They are on the way before an answer can come, which is waited for at most 30 s: 512 KiB leave on a line of
/// 140 kbit/s in that time, and fill one of 84 Mbit/s at a round trip of 50 ms.
const SEND_WINDOW_BYTES: u64 = 512 * 1024;

/// TLS alert "no application protocol" (RFC 7301), as QUIC carries it: 0x100 + 120.
const NO_COMMON_PROTOCOL: u64 = 0x178;

/// QUIC transport error "connection refused" (RFC 9000 § 20.1).
const CONNECTION_REFUSED: u64 = 0x02;

/// An open connection to the edge node with one certain key.
///
/// Requests may run side by side (up to 64 do; further ones wait). Dropping it ends the connection;
/// [`EdgeClient::close`] also tells the node.
#[derive(Debug)]
pub struct EdgeClient {
    endpoint: Endpoint,
    connection: Connection,
    limits: NodeLimits,
}

/// What the node said that it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLimits {
    /// Longest fragment that it takes.
    pub max_fragment_bytes: u32,
    /// Bytes that one mailbox may hold.
    pub mailbox_quota_bytes: u64,
    /// Its clock when it answered the hello: milliseconds since 1970 UTC. A hint; trust no order by it.
    pub time_ms: u64,
}

impl EdgeClient {
    /// Connects to the node at `address` if its key has this fingerprint, and says hello.
    ///
    /// Must be called inside a tokio runtime. Cancel-safe: dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// [`ConnectError`]; each says what to do.
    pub async fn connect(
        address: SocketAddr,
        fingerprint: NodeFingerprint,
    ) -> Result<Self, ConnectError> {
        let endpoint = open_socket(address).map_err(ConnectError::Socket)?;
        Self::connect_with(endpoint, address, fingerprint).await
    }

    /// As [`EdgeClient::connect`], through a socket and a runtime of the caller's choice.
    ///
    /// # Errors
    /// [`ConnectError`]; each says what to do.
    pub async fn connect_with(
        endpoint: Endpoint,
        address: SocketAddr,
        fingerprint: NodeFingerprint,
    ) -> Result<Self, ConnectError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let pin = Arc::new(PinnedNode::new(fingerprint, Arc::clone(&provider)));
        let config = config_with(provider, Arc::clone(&pin))?;
        let connecting = endpoint
            .connect_with(config, address, "satchel-edge")
            .map_err(|source| ConnectError::Address { source, address })?;
        let connection = match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(connect_failure(error, &pin, fingerprint, address)),
            Err(_) => return Err(ConnectError::NoAnswer { address }),
        };
        let limits = hello(&connection).await?;
        Ok(Self {
            endpoint,
            connection,
            limits,
        })
    }

    /// What the node allows.
    pub fn limits(&self) -> NodeLimits {
        self.limits
    }

    /// The 32 bytes that bind a signature for this mailbox to this connection: what
    /// [`open_message`](satchel_protocol::capability::open_message) and its siblings cover.
    pub fn binding(&self, mailbox: MailboxId) -> [u8; 32] {
        let mut bytes = [0; 32];
        // Fails only for lengths beyond 255 hashes; a node would refuse the zeros.
        self.connection
            .export_keying_material(&mut bytes, EXPORTER_LABEL, &mailbox.0)
            .ok();
        bytes
    }

    /// Asks the node. An answer is one frame or, for reads, many: see [`Answers::next`].
    ///
    /// Refusals come as [`Answer::Error`]; [`RequestError::from_answer`] has the words for them. Appends,
    /// packs, blobs and control records may be repeated when their answer was lost: what is there
    /// already is acknowledged again. Dropping the future leaves open whether it was stored.
    ///
    /// # Errors
    /// [`RequestError`]; the connection stays usable unless it was lost.
    pub async fn ask(&self, request: &Request) -> Result<Answers, RequestError> {
        if let Request::Append { fragment, .. }
        | Request::Pack { fragment, .. }
        | Request::BlobPut { fragment, .. } = request
            && fragment.len_bytes() > self.limits.max_fragment_bytes as usize
        {
            return Err(RequestError::TooBig {
                fragment_bytes: fragment.len_bytes(),
                max_bytes: self.limits.max_fragment_bytes.into(),
            });
        }
        let patience = match request {
            Request::Follow { .. } => Patience::Endless,
            Request::RvNext { .. } => Patience::Poll,
            _ => Patience::Usual,
        };
        Answers::begin(&self.connection, request, patience).await
    }

    /// Waits until the connection is lost, and says why. Cancel-safe.
    pub async fn closed(&self) -> ConnectionError {
        self.connection.closed().await
    }

    /// Says goodbye; waits at most 2 s for the node to hear it.
    pub async fn close(self) {
        self.connection.close(VarInt::from_u32(0), b"done");
        // A node that does not hear it finds out by its own timeout.
        drop(timeout(GOODBYE_TIMEOUT, self.endpoint.wait_idle()).await);
    }
}

/// A UDP socket of this machine on any port, to reach a node at `address`.
///
/// Must be called inside a tokio runtime.
///
/// # Errors
/// What the system says.
pub fn open_socket(address: SocketAddr) -> std::io::Result<Endpoint> {
    let any_local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    Endpoint::client(any_local)
}

async fn hello(connection: &Connection) -> Result<NodeLimits, ConnectError> {
    let request = Request::Hello {
        min_version: MIN_VERSION,
        max_version: MAX_VERSION,
    };
    let mut answers = Answers::begin(connection, &request, Patience::Usual).await?;
    match answers.next().await? {
        Some(Answer::HelloAck {
            version,
            max_fragment_bytes,
            mailbox_quota_bytes,
            time_ms,
        }) if (MIN_VERSION..=MAX_VERSION).contains(&version) => Ok(NodeLimits {
            max_fragment_bytes,
            mailbox_quota_bytes,
            time_ms,
        }),
        Some(
            Answer::HelloAck { .. }
            | Answer::Error(ErrorAnswer {
                code: ErrorCode::Version,
                ..
            }),
        ) => Err(ConnectError::Version),
        Some(Answer::Error(error)) => Err(RequestError::from_answer(error, 0).into()),
        _ => Err(RequestError::UnexpectedAnswer {
            why: "no answer to the hello",
        }
        .into()),
    }
}

/// QUIC and TLS as [`EdgeClient`] uses them, for a caller that connects by itself: accepts exactly the
/// node with this fingerprint.
///
/// # Errors
/// [`rustls::Error`] where TLS cannot be set up, which is a bug.
pub fn client_config(fingerprint: NodeFingerprint) -> Result<quinn::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pin = Arc::new(PinnedNode::new(fingerprint, Arc::clone(&provider)));
    config_with(provider, pin)
}

fn config_with(
    provider: Arc<rustls::crypto::CryptoProvider>,
    pin: Arc<PinnedNode>,
) -> Result<quinn::ClientConfig, rustls::Error> {
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(pin)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(tls)
        .map_err(|_| rustls::Error::General("no cipher suite for QUIC".to_owned()))?;

    let idle = IdleTimeout::try_from(IDLE_TIMEOUT).expect("75 s fit QUIC's 62-bit milliseconds");
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(idle));
    transport.keep_alive_interval(Some(KEEP_ALIVE_INTERVAL));
    // A node opens no streams in this version and sends no datagrams.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    transport.datagram_receive_buffer_size(None);
    transport.receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES));
    // Entries arrive in the order in which they are sent, so that the node stores them in it and whoever reads
    // them can use each at once.
    transport.send_fairness(false);
    transport.send_window(SEND_WINDOW_BYTES);
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn connect_failure(
    error: ConnectionError,
    pin: &PinnedNode,
    expected: NodeFingerprint,
    address: SocketAddr,
) -> ConnectError {
    if let Some(found) = pin.stranger() {
        return ConnectError::WrongFingerprint { expected, found };
    }
    match error {
        ConnectionError::TimedOut => ConnectError::NoAnswer { address },
        ConnectionError::VersionMismatch => ConnectError::Version,
        ConnectionError::ConnectionClosed(close)
            if u64::from(close.error_code) == NO_COMMON_PROTOCOL =>
        {
            ConnectError::Version
        }
        ConnectionError::ConnectionClosed(close)
            if u64::from(close.error_code) == CONNECTION_REFUSED =>
        {
            ConnectError::Refused
        }
        error => ConnectError::Broken(error),
    }
}
