//! Edges that speak another version of the protocol: each kind is told as such, and nothing is sent to it.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PublicKeyData};
use rustls::pki_types::PrivatePkcs8KeyDer;
use satchel_protocol::frame::{Answer, ErrorAnswer, ErrorCode};
use satchel_protocol::id::NodeFingerprint;
use satchel_protocol::limits::{ALPN, MAX_VERSION};
use satchel_sync::net::{ConnectError, EdgeClient};

/// A QUIC server that gives one answer to whatever comes first.
struct OtherEdge {
    address: SocketAddr,
    fingerprint: NodeFingerprint,
    _endpoint: quinn::Endpoint,
}

impl OtherEdge {
    fn start(protocol: &[u8], answer: Answer) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let params = CertificateParams::new(vec!["satchel-edge".to_owned()]).unwrap();
        let certificate = params.self_signed(&pair).unwrap().der().clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate],
                PrivatePkcs8KeyDer::from(pair.serialize_der()).into(),
            )
            .unwrap();
        tls.alpn_protocols = vec![protocol.to_vec()];
        let crypto = QuicServerConfig::try_from(tls).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            let Ok(connection) = accepting.accept().await.unwrap().await else {
                return;
            };
            let (mut send, _recv) = connection.accept_bi().await.unwrap();
            send.write_all(&answer.encode()).await.unwrap();
            send.finish().unwrap();
            connection.closed().await;
        });
        Self {
            address: endpoint.local_addr().unwrap(),
            fingerprint: NodeFingerprint::of_public_key_info(&pair.subject_public_key_info()),
            _endpoint: endpoint,
        }
    }

    async fn refusal(self) -> ConnectError {
        EdgeClient::connect(self.address, self.fingerprint)
            .await
            .unwrap_err()
    }
}

fn hello(version: u16) -> Answer {
    Answer::HelloAck {
        version,
        max_fragment_bytes: 1000,
        mailbox_quota_bytes: 1000,
        time_ms: 0,
    }
}

#[tokio::test]
async fn an_edge_of_another_version_is_told_as_such() {
    let refused = Answer::Error(ErrorAnswer {
        code: ErrorCode::Version,
        limit: 0,
        retry_after_ms: 0,
    });
    for (protocol, answer) in [
        (&b"wsync/99"[..], hello(MAX_VERSION)),
        (ALPN, hello(MAX_VERSION + 1)),
        (ALPN, refused),
    ] {
        let error = OtherEdge::start(protocol, answer).refusal().await;
        assert!(matches!(error, ConnectError::Version), "{error:?}");
        assert!(
            error.to_string().contains("update Satchel or the node"),
            "{error}"
        );
    }
}
