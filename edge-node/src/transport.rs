//! Every limit of QUIC and TLS that a node sets, since the defaults are not for a public service.
//!
//! Start at [`server_config`].

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    ConnectionId, ConnectionIdGenerator, EndpointConfig, ServerConfig, TransportConfig, VarInt,
};
use satchel_protocol::limits::{ALPN, IDLE_TIMEOUT, MAX_REQUEST_STREAMS};

use crate::identity::Identity;

/// As many as quinn's own: two ids of 10,000 connections meet once in a billion nodes.
const CONNECTION_ID_BYTES: usize = 8;

/// Bytes of one stream taken before they are read. quinn's default is 1.25 MB.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Bytes of one connection taken before they are read. quinn's default is unlimited.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Bytes of one connection sent and not yet acknowledged. quinn's default is 10 MB.
const SEND_WINDOW_BYTES: u64 = 1024 * 1024;

/// Attempts that wait for a decision. quinn's default is 65,536.
const MAX_INCOMING: usize = 1024;

/// Bytes kept of one waiting attempt. quinn's default is 10 MiB.
const INCOMING_BYTES: u64 = 64 * 1024;

/// Bytes kept of all waiting attempts. quinn's default is 100 MiB.
const INCOMING_TOTAL_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of TLS handshake messages taken out of order: ours fit in 4 KiB. quinn's default is 16 KiB.
const CRYPTO_BUFFER_BYTES: usize = 16 * 1024;

/// The endpoint of a node: after a restart it knows the connections of the time before, and resets them
/// (RFC 9000 § 10.3). Devices find out with the first packet that they send.
pub(crate) fn endpoint_config(identity: &Identity) -> EndpointConfig {
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &identity.restart_key);
    let mut config = EndpointConfig::new(Arc::new(reset));
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// Connection ids that any start of the node takes for its own. quinn's default ones are known to one start only, and
/// packets with others are dropped without a word. A reset is shorter than the packet that it answers.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; CONNECTION_ID_BYTES];
        rand::fill(&mut bytes).expect("the system gives random bytes");
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The configuration of the node's connections. 0-RTT stays off: its data could be replayed.
pub(crate) fn server_config(identity: Identity) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate], identity.key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.max_early_data_size = 0;
    let crypto = QuicServerConfig::try_from(tls)
        .map_err(|_| rustls::Error::General("no cipher suite for QUIC".to_owned()))?;

    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    config.max_incoming(MAX_INCOMING);
    config.incoming_buffer_size(INCOMING_BYTES);
    config.incoming_buffer_size_total(INCOMING_TOTAL_BYTES);
    Ok(config)
}

fn transport() -> TransportConfig {
    let idle =
        quinn::IdleTimeout::try_from(IDLE_TIMEOUT).expect("75 s fit QUIC's 62-bit milliseconds");
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(MAX_REQUEST_STREAMS));
    // Version 1 has neither unidirectional streams nor datagrams.
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    transport.datagram_receive_buffer_size(None);
    transport.datagram_send_buffer_size(0);
    transport.stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES));
    transport.receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES));
    transport.send_window(SEND_WINDOW_BYTES);
    transport.crypto_buffer_size(CRYPTO_BUFFER_BYTES);
    // The device keeps the connection alive; the node only notices when it is gone.
    transport.max_idle_timeout(Some(idle));
    transport
}
