//! QUIC over the simulated network: quinn's socket and runtime on turmoil's UDP.
//!
//! Turmoil delays (so datagrams overtake each other), cuts and holds whole links, and loses all that is on the way at
//! once. What befalls a single datagram is done here: it is lost, comes twice, or is too long for the path. Start at
//! [`Line::endpoint`].

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncTimer, AsyncUdpSocket, Endpoint, EndpointConfig, Runtime, ServerConfig, TokioRuntime,
    UdpPoller,
};

use crate::random::Random;

/// What becomes of single datagrams, of all hosts alike.
pub struct Line(Mutex<Faults>);

pub struct Faults {
    pub random: Random,
    pub loss_percent: u64,
    pub duplicates_percent: u64,
    /// Longer datagrams never arrive, as in a tunnel. QUIC needs 1,200 bytes.
    pub longest_bytes: usize,
    /// How many were sent, lost here and sent twice.
    pub sent: u64,
    pub lost: u64,
    pub doubled: u64,
}

impl Line {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Faults {
            random: Random(seed),
            loss_percent: 0,
            duplicates_percent: 0,
            longest_bytes: 1500,
            sent: 0,
            lost: 0,
            doubled: 0,
        })))
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.0.lock().unwrap()
    }

    /// QUIC on a port of the host that is running; 0 takes a free one.
    pub fn endpoint(
        self: &Arc<Self>,
        port: u16,
        mut config: EndpointConfig,
        server: Option<ServerConfig>,
    ) -> io::Result<Endpoint> {
        let binding = turmoil::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
        // Turmoil binds without waiting.
        let Poll::Ready(bound) = pin!(binding).poll(&mut Context::from_waker(Waker::noop())) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let socket = Socket {
            udp: Arc::new(bound?),
            line: Arc::clone(self),
            receiving: Mutex::new(None),
        };
        config.rng_seed(Some(self.faults().random.bytes()));
        Endpoint::new_with_abstract_socket(config, server, Arc::new(socket), Arc::new(Simulated))
    }

    /// How often a datagram leaves.
    fn copies(&self, bytes: usize) -> u32 {
        let mut faults = self.faults();
        faults.sent += 1;
        let (loss, duplicates) = (faults.loss_percent, faults.duplicates_percent);
        if faults.random.chance(loss) || bytes > faults.longest_bytes {
            faults.lost += 1;
            0
        } else if faults.random.chance(duplicates) {
            faults.doubled += 1;
            2
        } else {
            1
        }
    }
}

type Received = io::Result<(Vec<u8>, SocketAddr)>;

struct Socket {
    udp: Arc<turmoil::net::UdpSocket>,
    line: Arc<Line>,
    receiving: Mutex<Option<Pin<Box<dyn Future<Output = Received> + Send>>>>,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.udp.fmt(f)
    }
}

async fn receive(udp: Arc<turmoil::net::UdpSocket>) -> Received {
    let mut bytes = vec![0; 2048];
    let (length, from) = udp.recv_from(&mut bytes).await?;
    bytes.truncate(length);
    Ok((bytes, from))
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let length = transmit.segment_size.unwrap_or(transmit.contents.len());
        for datagram in transmit.contents.chunks(length.max(1)) {
            for _ in 0..self.line.copies(datagram.len()) {
                self.udp.try_send_to(datagram, transmit.destination)?;
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut receiving = self.receiving.lock().unwrap();
        let future = receiving.get_or_insert_with(|| Box::pin(receive(Arc::clone(&self.udp))));
        let received = ready!(future.as_mut().poll(context));
        *receiving = None;
        let (bytes, from) = received?;
        buffers[0][..bytes.len()].copy_from_slice(&bytes);
        let mut told = RecvMeta::default();
        (told.addr, told.len, told.stride) = (from, bytes.len(), bytes.len());
        meta[0] = told;
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Tasks and timers of the host's own tokio runtime, whose clock turmoil moves.
#[derive(Debug)]
struct Simulated;

impl Runtime for Simulated {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(future);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn now(&self) -> std::time::Instant {
        TokioRuntime.now()
    }
}
