//! A bare QUIC client that can also misbehave, and a node in this process.
//!
//! Not the device's client (that is `satchel-sync`, which this package never links, not even here): it
//! writes bytes as told. Start at [`RawClient::connect`].

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "each test file uses its part"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use satchel_edge_node::config::{Config, Limits};
use satchel_edge_node::metrics::Counters;
use satchel_edge_node::{ServeError, Server};
use satchel_protocol::capability::{capabilities_message, create_message, open_message};
use satchel_protocol::fragment::{Aead, EncryptedFragment, FragmentHeader, FragmentKind};
use satchel_protocol::frame::{
    Answer, CapRotation, Capabilities, Direction, FrameHeader, Request, Role,
};
use satchel_protocol::id::{MailboxId, Offset};
use satchel_protocol::limits::{ALPN, EXPORTER_LABEL, MAX_VERSION, MIN_VERSION};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The key of one role in [`mailbox`].
pub fn key(role: Role) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[0x50 + role as u8; 32]).unwrap()
}

pub fn public(role: Role) -> [u8; 32] {
    key(role).public_key().as_ref().try_into().unwrap()
}

/// The mailbox of all tests.
pub fn mailbox() -> MailboxId {
    MailboxId::of_policy_key(&public(Role::Policy))
}

fn sign(role: Role, message: &[u8]) -> [u8; 64] {
    key(role).sign(message).as_ref().try_into().unwrap()
}

/// Limits that do not hinder a test.
pub fn generous() -> Limits {
    Limits {
        request_burst: 10_000,
        disk_reserve_bytes: 0,
        disk_reserve_percent: 0,
        ..Limits::default()
    }
}

/// A running node.
pub struct Node {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Counters, ServeError>>,
}

impl Node {
    pub fn start(dir: &Path, limits: Limits) -> Self {
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: Some(dir.to_owned()),
            limits,
            ..Config::default()
        };
        let server = Server::bind(&config).unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.serve(async {
            stopped.await.ok();
        }));
        Self {
            address,
            stop,
            task,
        }
    }

    pub async fn stop(self) -> Counters {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap()
    }
}

pub struct RawClient {
    endpoint: Endpoint,
    pub connection: Connection,
}

impl RawClient {
    /// Connects to whoever is there, without a hello.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap()
    }

    /// Connects if the node lets it.
    pub async fn try_connect(address: SocketAddr) -> Result<Self, quinn::ConnectionError> {
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(trusting_config());
        let connection = endpoint.connect(address, "satchel-edge").unwrap().await?;
        Ok(Self {
            endpoint,
            connection,
        })
    }

    /// Connects, says hello, and opens the mailbox as a writer; makes it where it is not.
    pub async fn welcome(address: SocketAddr) -> Self {
        let client = Self::greet(address).await;
        client.enter(Role::Writer).await;
        client
    }

    /// Makes the mailbox where it is not, and opens it.
    pub async fn enter(&self, role: Role) {
        let mut binding = [0; 32];
        self.connection
            .export_keying_material(&mut binding, EXPORTER_LABEL, &mailbox().0)
            .unwrap();
        let capabilities = Capabilities {
            cap_epoch: 1,
            reader_key: public(Role::Reader),
            writer_key: public(Role::Writer),
        };
        let message = create_message(&binding, mailbox(), &capabilities, b"");
        let create = Request::Create {
            policy_key: public(Role::Policy),
            capabilities,
            token: Vec::new(),
            signature: sign(Role::Policy, &message),
        };
        assert_eq!(self.ask(&create.encode()).await, Some(Answer::Ok));
        let message = open_message(&binding, mailbox(), role, 1);
        let open = Request::Open {
            mailbox: mailbox(),
            role,
            cap_epoch: 1,
            signature: sign(role, &message),
        };
        let answer = self.ask(&open.encode()).await;
        assert!(matches!(answer, Some(Answer::Opened { .. })), "{answer:?}");
    }

    /// Connects and says hello.
    pub async fn greet(address: SocketAddr) -> Self {
        let client = Self::connect(address).await;
        let hello = Request::Hello {
            min_version: MIN_VERSION,
            max_version: MAX_VERSION,
        };
        let answer = client.ask(&hello.encode()).await.unwrap();
        assert!(matches!(answer, Answer::HelloAck { .. }), "{answer:?}");
        client
    }

    /// Sends bytes on a stream of their own, ends it and reads the first answer; `None` when the
    /// connection or the stream ended without one.
    pub async fn ask(&self, bytes: &[u8]) -> Option<Answer> {
        let (mut send, mut recv) = self.connection.open_bi().await.ok()?;
        // A node that refuses early stops the stream; its answer counts.
        send.write_all(bytes).await.ok();
        send.finish().ok();
        read_answer(&mut recv).await
    }

    pub async fn open(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        let (mut send, recv) = self.connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        (send, recv)
    }

    /// Appends; the offset when the node acknowledged.
    pub async fn append(&self, fragment: &EncryptedFragment) -> Option<Offset> {
        let request = Request::Append {
            mailbox: mailbox(),
            fragment: fragment.clone(),
        };
        match self.ask(&request.encode()).await? {
            Answer::Ack { offset, .. } => Some(offset),
            other => panic!("{other:?}"),
        }
    }

    /// The whole log of [`mailbox`].
    pub async fn read_all(&self) -> Vec<EncryptedFragment> {
        let mut fragments = Vec::new();
        loop {
            let from = Offset(fragments.len() as u64);
            let request = Request::Read {
                mailbox: mailbox(),
                from,
                max_entries: 4096,
                compact: false,
            };
            let (mut send, mut recv) = self.open(&request.encode()).await;
            send.finish().unwrap();
            loop {
                match read_answer(&mut recv).await.unwrap() {
                    Answer::Entry { fragment, .. } => fragments.push(fragment),
                    Answer::End { next, log_end, .. } if next == log_end => return fragments,
                    Answer::End { .. } => break,
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    pub async fn close(self) {
        self.connection.close(0u32.into(), b"");
        self.endpoint.wait_idle().await;
    }
}

pub async fn read_answer(recv: &mut RecvStream) -> Option<Answer> {
    let mut head = [0; 5];
    recv.read_exact(&mut head).await.ok()?;
    let header = FrameHeader::decode(head, Direction::ToDevice).unwrap();
    let mut body = vec![0; header.body_len_bytes];
    recv.read_exact(&mut body).await.ok()?;
    Some(Answer::decode(header, &body).unwrap())
}

/// A first control record with capabilities of this epoch; their keys do not matter.
pub fn rotate(cap_epoch: u32) -> Request {
    let capabilities = Capabilities {
        cap_epoch,
        reader_key: [1; 32],
        writer_key: [2; 32],
    };
    let message = capabilities_message(mailbox(), &capabilities);
    let header = FragmentHeader {
        kind: FragmentKind::Control,
        ..fragment(1, 16).header().clone()
    };
    Request::CtlAppend {
        mailbox: mailbox(),
        expect_index: 0,
        record: EncryptedFragment::new(header, &[0; 100]).unwrap(),
        previous_epoch: None,
        rotation: Some(CapRotation {
            capabilities,
            signature: sign(Role::Policy, &message),
        }),
        policy: None,
    }
}

pub fn fragment(number: u32, segment_bytes: usize) -> EncryptedFragment {
    let mut salt = [0; 24];
    salt[..4].copy_from_slice(&number.to_be_bytes());
    let header = FragmentHeader {
        aead: Aead::Aes256GcmSiv,
        kind: FragmentKind::Entry,
        epoch_id: [1; 12],
        salt,
        commit: [2; 32],
    };
    EncryptedFragment::new(header, &vec![number as u8; segment_bytes]).unwrap()
}

pub fn trusting_config() -> quinn::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// Believes anyone: these tests are about the node, not about whom a device trusts.
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("only TLS 1.3 is offered")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
