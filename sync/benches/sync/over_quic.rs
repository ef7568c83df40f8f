//! A new laptop over QUIC on loopback, the real engine, driver, disk and edge node.
//!
//! Start at [`many_documents`].

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use satchel_edge_node::config::{Config, Limits};
use satchel_edge_node::metrics::Counters;
use satchel_edge_node::{ServeError, Server};
use satchel_protocol::link::NodeLink;
use satchel_sync::durable;
use satchel_sync::engine::{Action, Change, Event, Status};
use satchel_sync::keys::DataKey;
use satchel_sync::member::{DeviceKeys, Role, Welcome};
use satchel_sync::net::driver;
use satchel_sync::share::{self, WorkspaceEngine};
use satchel_sync::workspace::{NewDocument, Workspace};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::bench::{Row, invented_text, print};
use crate::{folder, ms};

const DOCUMENTS: usize = 2000;
/// About 20 kB: 40 MB in all.
const TEXT_BYTES: usize = 20_000;
const RUNS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(120);

/// A running edge node; the port stays the same for whoever comes after it.
struct Node {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<Counters, ServeError>>,
    link: NodeLink,
}

impl Node {
    fn start(dir: &Path, listen: SocketAddr) -> Self {
        let limits = Limits {
            bytes_per_s: u32::MAX,
            requests_per_s: 1_000_000,
            request_burst: 1_000_000,
            disk_reserve_bytes: 0,
            disk_reserve_percent: 0,
            ..Limits::default()
        };
        let config = Config {
            listen,
            data_dir: Some(dir.to_owned()),
            limits,
            ..Config::default()
        };
        let server = Server::bind(&config).unwrap();
        let link = NodeLink {
            address: server.local_addr().to_string(),
            fingerprint: server.fingerprint(),
        };
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server.serve(async {
            stopped.await.ok();
        }));
        Self {
            stop,
            serving,
            link,
        }
    }

    async fn stop(self) -> Counters {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap()
    }
}

/// A workspace with its sync running.
struct Laptop {
    workspace: Arc<Workspace>,
    seen: Arc<Mutex<Seen>>,
    work: mpsc::Sender<driver::Work>,
    stop: Arc<Notify>,
    ended: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    status: Option<Status>,
    added: bool,
    list_at: Option<Instant>,
    /// Documents whose texts were there when the list came.
    texts_before_list: usize,
    first_text_at: Option<Instant>,
    live_at: Option<Instant>,
}

impl Laptop {
    fn start(workspace: Arc<Workspace>) -> Self {
        let engine = share::open_engine(&workspace, driver::now());
        let engine = engine.unwrap().unwrap();
        let wake = Arc::new(Notify::new());
        let waker = Arc::clone(&wake);
        workspace.wake_with(Some(Arc::new(move || waker.notify_one())));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (work, mut wanted) = mpsc::channel(8);
        let stop = Arc::new(Notify::new());
        let (told, stopped, here) = (Arc::clone(&seen), Arc::clone(&stop), Arc::clone(&workspace));
        let report = move |engine: &WorkspaceEngine, actions: Vec<Action>| {
            let mut seen = told.lock().unwrap();
            seen.note(&here, engine, &actions);
        };
        let ended = tokio::spawn(async move {
            driver::run(engine, &wake, &stopped, &mut wanted, report)
                .await
                .unwrap();
        });
        Self {
            workspace,
            seen,
            work,
            stop,
            ended,
        }
    }

    async fn until(&self, what: &str, holds: impl Fn(&Seen) -> bool) {
        let started = Instant::now();
        while !holds(&self.seen.lock().unwrap()) {
            assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn welcome(&self, keys: &DeviceKeys) -> Welcome {
        let change = Change::Add {
            public: keys.public(),
            user: "Ada".into(),
            label: "Bag".into(),
            role: Role::Owner,
        };
        let event = Event::Change { ticket: 1, change };
        self.work.send(Box::new(|_| vec![event])).await.ok();
        self.until("the new laptop to be added", |seen| seen.added)
            .await;
        let (sender, receiver) = oneshot::channel();
        let ask: driver::Work = Box::new(move |engine| {
            sender
                .send(engine.welcome(Role::Owner, "Papers".into()))
                .ok();
            Vec::new()
        });
        self.work.send(ask).await.ok();
        receiver.await.unwrap()
    }

    async fn stop(self) {
        self.stop.notify_one();
        self.ended.await.unwrap();
    }
}

impl Seen {
    fn note(&mut self, workspace: &Workspace, engine: &WorkspaceEngine, actions: &[Action]) {
        let status = engine.status();
        for action in actions {
            match action {
                Action::Changed { result, .. } => self.added = result.is_ok(),
                Action::Arrived(arrival) => {
                    let is_listed = workspace.document_count() > 0;
                    if is_listed {
                        self.list_at.get_or_insert_with(Instant::now);
                    } else {
                        self.texts_before_list += arrival.documents.len();
                    }
                    if !arrival.documents.is_empty() {
                        self.first_text_at.get_or_insert_with(Instant::now);
                    }
                }
                _ => {}
            }
        }
        let edge = &status.edges[0];
        if !status.awaits_documents
            && status.downloads == 0
            && matches!(edge.phase, satchel_sync::engine::EdgePhase::UpToDate)
        {
            self.live_at.get_or_insert_with(Instant::now);
        }
        self.status = Some(status);
    }
}

/// 2,000 documents on a new laptop.
pub(crate) fn many_documents() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let dir = folder();
    let (link, listen, invited) = fill(dir.path()).await;
    let (mut list, mut all, mut raw, mut disk) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut plain = Vec::new();
    let (mut entries, mut megabytes, mut early) = (0, 0.0, 0);
    for (run, (keys, welcome)) in invited.into_iter().enumerate() {
        let node = Node::start(&dir.path().join("edge"), listen);
        assert_eq!(node.link.fingerprint, link.fingerprint);
        let place = dir.path().join(format!("fresh {run}"));
        let workspace = share::join(&place, &DataKey::random(), &keys, &welcome).unwrap();
        let begun = Instant::now();
        let laptop = Laptop::start(workspace);
        laptop
            .until("all documents", |seen| seen.live_at.is_some())
            .await;
        let workspace = Arc::clone(&laptop.workspace);
        {
            let seen = laptop.seen.lock().unwrap();
            let since = |at: Option<Instant>| (at.unwrap() - begun).as_secs_f64() * 1000.0;
            list.push(since(seen.list_at));
            all.push(since(seen.live_at));
            early = early.max(seen.texts_before_list);
        }
        laptop.stop().await;
        let counters = node.stop().await;
        (entries, megabytes) = (
            counters.fragments_sent,
            counters.bytes_sent as f64 / 1_000_000.0,
        );
        assert_eq!(workspace.document_count(), DOCUMENTS);
        for entry in workspace.documents() {
            assert_eq!(
                workspace.text(entry.id).unwrap().len() as u64,
                entry.text_bytes
            );
        }
        raw.push(raw_stream(counters.bytes_sent as usize).await);
        plain.push(raw_stream(DOCUMENTS * TEXT_BYTES).await);
        let bytes = counters.bytes_sent as usize / DOCUMENTS;
        disk.push(durable_files(
            &dir.path().join(format!("files {run}")),
            bytes,
        ));
    }
    let ratio = |peers: Vec<f64>| -> Vec<f64> {
        all.iter()
            .zip(peers)
            .map(|(ours, peer)| ours / peer)
            .collect()
    };
    let floor = raw
        .iter()
        .zip(&disk)
        .map(|(raw, disk)| raw + disk)
        .collect();
    let (to_raw, to_floor) = (ratio(raw.clone()), ratio(floor));
    let to_plain = ratio(plain.clone());
    print(
        &format!(
            "A new laptop gets {DOCUMENTS} documents of {TEXT_BYTES} B over QUIC: {entries} fragments, {megabytes:.1} MB"
        ),
        &[
            Row::new("the list of documents is there after [ms]", list),
            Row::new("texts that came before the list", vec![early as f64]).at_most(0.0),
            Row::new("everything is there and durable after [ms]", all.clone()),
            Row::new("a raw QUIC stream of the texts as they are [ms]", plain),
            Row::new("a raw QUIC stream of the bytes that were sent [ms]", raw),
            Row::new("as many durable files of that size [ms]", disk),
            Row::new("everything ÷ raw QUIC stream of the texts", to_plain).at_most(4.0),
            Row::new("everything ÷ raw QUIC stream of the bytes sent", to_raw),
            Row::new(
                "everything ÷ (raw QUIC stream of those + durable files)",
                to_floor,
            ),
        ],
    );
}

type Invited = Vec<(DeviceKeys, Welcome)>;

/// The first laptop sends everything and invites the others, then it and the node stop.
async fn fill(dir: &Path) -> (NodeLink, SocketAddr, Invited) {
    let listen = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let node = Node::start(&dir.join("edge"), listen);
    let link = node.link.clone();
    let workspace = Workspace::create_in(&dir.join("a"), &DataKey::random(), "Papers").unwrap();
    for first in (0..DOCUMENTS).step_by(64) {
        let batch = (first..DOCUMENTS.min(first + 64)).map(|number| {
            let mut text = invented_text(number as u64, TEXT_BYTES / 5);
            text.truncate(TEXT_BYTES);
            NewDocument::plain(format!("Paper {number}"), text)
        });
        workspace.put(batch.collect()).unwrap();
    }
    let workspace = Arc::new(workspace);
    share::found(&workspace, &link, "", "Ada", "Desk", 0).unwrap();
    let laptop = Laptop::start(workspace);
    laptop
        .until("everything to be sent", |seen| {
            seen.status.as_ref().is_some_and(|status| {
                status.edges[0].lacks == 0 && status.unsent == 0 && status.uploads == 0
            }) && seen.live_at.is_some()
        })
        .await;
    let mut invited = Vec::new();
    for _ in 0..RUNS {
        laptop.seen.lock().unwrap().added = false;
        let keys = DeviceKeys::random();
        let welcome = laptop.welcome(&keys).await;
        invited.push((keys, welcome));
    }
    laptop.stop().await;
    node.stop().await;
    (link, listen, invited)
}

/// What QUIC alone takes for so many bytes on loopback.
async fn raw_stream(bytes: usize) -> f64 {
    use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["raw".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let crypto = QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let server = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.local_addr().unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let mut client = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    client.set_default_client_config(config);
    let sending = tokio::spawn(async move {
        let connection = server.accept().await.unwrap().await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        let piece = vec![7; 256 << 10];
        let mut left = bytes;
        while left > 0 {
            let len = left.min(piece.len());
            stream.write_all(&piece[..len]).await.unwrap();
            left -= len;
        }
        stream.finish().unwrap();
        stream.stopped().await.ok();
    });
    // With the handshake, as the laptop has one.
    let begun = Instant::now();
    let connection = client.connect(address, "raw").unwrap().await.unwrap();
    let mut stream = connection.accept_uni().await.unwrap();
    let mut received = 0;
    while let Some(chunk) = stream.read_chunk(1 << 20, true).await.unwrap() {
        received += chunk.bytes.len();
    }
    assert_eq!(received, bytes);
    let took = ms(begun);
    sending.await.unwrap();
    took
}

/// What this disk takes for as many files of such a size, written as a workspace writes documents.
fn durable_files(dir: &Path, bytes: usize) -> f64 {
    std::fs::create_dir_all(dir).unwrap();
    let files: Vec<(PathBuf, Vec<u8>)> = (0..DOCUMENTS)
        .map(|number| (dir.join(number.to_string()), vec![7; bytes]))
        .collect();
    let begun = Instant::now();
    durable::write_all(&files).unwrap();
    ms(begun)
}
