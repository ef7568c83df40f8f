//! A device's connection to one edge node.
//!
//! Reconnecting, batching and deciding what to send are not here. Start at [`EdgeClient::connect`].

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, IdleTimeout, TransportConfig, VarInt};
use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::EncryptedFragment;
use satchel_protocol::frame::{Answer, ErrorAnswer, ErrorCode, Request};
use satchel_protocol::id::{MailboxId, NodeFingerprint, Offset};
use satchel_protocol::limits::{
    ALPN, IDLE_TIMEOUT, KEEP_ALIVE_INTERVAL, MAX_READ_ENTRIES, MAX_READ_PAGE_BYTES, MAX_VERSION,
    MIN_VERSION,
};
use tokio::time::timeout;

use super::error::{ConnectError, RequestError};
use super::pin::PinnedNode;
use super::wire::Exchange;

/// How long a handshake may take: the node gives up after 5 s, and a lost first packet costs 1 to 3 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a goodbye may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes that a node may have under way to this device: four read pages. quinn's default is unlimited.
const CONNECTION_WINDOW_BYTES: u32 = 4 * MAX_READ_PAGE_BYTES as u32;

/// TLS alert "no application protocol" (RFC 7301), as QUIC carries it: 0x100 + 120.
const NO_COMMON_PROTOCOL: u64 = 0x178;

/// QUIC transport error "connection refused" (RFC 9000 § 20.1).
const CONNECTION_REFUSED: u64 = 0x02;

/// An open connection to the edge node with one certain key.
///
/// Requests may run side by side (up to 16 do; further ones wait). Dropping it ends the connection;
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
}

/// Where a fragment lies, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its place in the mailbox's log.
    pub offset: Offset,
    /// The log's chain value after it, as the node says.
    pub chain: Chain,
}

/// One fragment of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub offset: Offset,
    /// The fragment, not yet opened: check it before you trust it.
    pub fragment: EncryptedFragment,
}

/// Part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPage {
    /// The entries; offsets rise by one.
    pub entries: Vec<Entry>,
    /// Where to go on.
    pub next: Offset,
    /// Where the log ended when the node answered; equal to `next` when this was all.
    pub log_end: Offset,
    /// The chain value before `next`, as the node says.
    pub chain: Chain,
}

impl ReadPage {
    /// Whether these entries, after a log with the chain value `before`, give the node's chain value.
    ///
    /// False means that the node changed, dropped or reordered something since `before` was seen.
    pub fn continues(&self, before: Chain) -> bool {
        let computed = self
            .entries
            .iter()
            .fold(before, |chain, Entry { offset, fragment }| {
                chain.after(*offset, fragment.len_bytes(), fragment.id())
            });
        computed == self.chain
    }
}

impl EdgeClient {
    /// Connects to the node at `address` if its key has this fingerprint.
    ///
    /// Must be called inside a tokio runtime. Cancel-safe: dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// [`ConnectError`]; each says what to do.
    pub async fn connect(
        address: SocketAddr,
        fingerprint: NodeFingerprint,
    ) -> Result<Self, ConnectError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let pin = Arc::new(PinnedNode::new(fingerprint, Arc::clone(&provider)));
        let config = client_config(provider, Arc::clone(&pin))?;
        let any_local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let endpoint = Endpoint::client(any_local).map_err(ConnectError::Socket)?;
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

    /// Stores a fragment at the end of a mailbox's log; returns when it is on the node's disk.
    ///
    /// A fragment that is already there keeps its offset, so an append without an answer may be
    /// repeated. Dropping the future leaves open whether it was stored.
    ///
    /// # Errors
    /// [`RequestError`]; the connection stays usable unless it was lost.
    pub async fn append(
        &self,
        mailbox: MailboxId,
        fragment: &EncryptedFragment,
    ) -> Result<Appended, RequestError> {
        let fragment_bytes = fragment.len_bytes();
        if fragment_bytes > self.limits.max_fragment_bytes as usize {
            let max_bytes = self.limits.max_fragment_bytes.into();
            return Err(RequestError::TooBig {
                fragment_bytes,
                max_bytes,
            });
        }
        let request = Request::Append {
            mailbox,
            fragment: fragment.clone(),
        };
        match Exchange::begin(&self.connection, &request)
            .await?
            .next()
            .await?
        {
            Answer::Ack { offset, chain } => Ok(Appended { offset, chain }),
            Answer::Error(error) => Err(RequestError::from_answer(error, fragment_bytes)),
            _ => Err(RequestError::UnexpectedAnswer {
                why: "no acknowledgement",
            }),
        }
    }

    /// Reads fragments from `from` on: at most `max_entries` (cut to 1..=4,096), and no more than
    /// about 1 MiB, but one if there is one. Go on at [`ReadPage::next`] until it is
    /// [`ReadPage::log_end`].
    ///
    /// An unknown mailbox reads as an empty log. Cancel-safe.
    ///
    /// # Errors
    /// [`RequestError`]; the connection stays usable unless it was lost.
    pub async fn read(
        &self,
        mailbox: MailboxId,
        from: Offset,
        max_entries: u32,
    ) -> Result<ReadPage, RequestError> {
        let max_entries = max_entries.clamp(1, MAX_READ_ENTRIES);
        let request = Request::Read {
            mailbox,
            from,
            max_entries,
        };
        let mut exchange = Exchange::begin(&self.connection, &request).await?;
        let mut pages = PageReader::new(from, max_entries);
        loop {
            if let Some(page) = pages.handle(exchange.next().await?)? {
                return Ok(page);
            }
        }
    }

    /// Says goodbye; waits at most 2 s for the node to hear it.
    pub async fn close(self) {
        self.connection.close(VarInt::from_u32(0), b"done");
        // A node that does not hear it finds out by its own timeout.
        drop(timeout(GOODBYE_TIMEOUT, self.endpoint.wait_idle()).await);
    }
}

/// Gathers the answer to a read. Pure; trusts nothing that the node says about it.
struct PageReader {
    max_entries: u32,
    next: Offset,
    bytes: usize,
    entries: Vec<Entry>,
}

impl PageReader {
    fn new(from: Offset, max_entries: u32) -> Self {
        Self {
            max_entries,
            next: from,
            bytes: 0,
            entries: Vec::new(),
        }
    }

    /// Takes one frame; a page when it was the last.
    fn handle(&mut self, answer: Answer) -> Result<Option<ReadPage>, RequestError> {
        match answer {
            Answer::Entry { offset, fragment } => {
                self.handle_entry(offset, fragment).map(|()| None)
            }
            Answer::End {
                next,
                log_end,
                chain,
            } => {
                if next != self.next {
                    return Err(RequestError::UnexpectedAnswer {
                        why: "the page does not end behind its last entry",
                    });
                }
                if self.entries.is_empty() && next < log_end {
                    return Err(RequestError::UnexpectedAnswer {
                        why: "an empty page before the end of the log",
                    });
                }
                let entries = std::mem::take(&mut self.entries);
                Ok(Some(ReadPage {
                    entries,
                    next,
                    log_end,
                    chain,
                }))
            }
            Answer::Error(error) => Err(RequestError::from_answer(error, 0)),
            Answer::HelloAck { .. } | Answer::Ack { .. } => Err(RequestError::UnexpectedAnswer {
                why: "no entry of a log",
            }),
        }
    }

    fn handle_entry(
        &mut self,
        offset: Offset,
        fragment: EncryptedFragment,
    ) -> Result<(), RequestError> {
        if offset != self.next {
            return Err(RequestError::UnexpectedAnswer {
                why: "an entry out of order",
            });
        }
        let next = offset.next().ok_or(RequestError::UnexpectedAnswer {
            why: "an offset out of range",
        })?;
        self.bytes += fragment.len_bytes();
        if self.entries.len() >= self.max_entries as usize
            || (self.bytes > MAX_READ_PAGE_BYTES && !self.entries.is_empty())
        {
            return Err(RequestError::UnexpectedAnswer {
                why: "more than was asked for",
            });
        }
        self.next = next;
        self.entries.push(Entry { offset, fragment });
        Ok(())
    }
}

async fn hello(connection: &Connection) -> Result<NodeLimits, ConnectError> {
    let request = Request::Hello {
        min_version: MIN_VERSION,
        max_version: MAX_VERSION,
    };
    match Exchange::begin(connection, &request).await?.next().await? {
        Answer::HelloAck {
            version,
            max_fragment_bytes,
            mailbox_quota_bytes,
        } if (MIN_VERSION..=MAX_VERSION).contains(&version) => Ok(NodeLimits {
            max_fragment_bytes,
            mailbox_quota_bytes,
        }),
        Answer::HelloAck { .. }
        | Answer::Error(ErrorAnswer {
            code: ErrorCode::Version,
            ..
        }) => Err(ConnectError::Version),
        Answer::Error(error) => Err(RequestError::from_answer(error, 0).into()),
        _ => Err(RequestError::UnexpectedAnswer {
            why: "no answer to the hello",
        }
        .into()),
    }
}

fn client_config(
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
