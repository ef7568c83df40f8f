//! Health and metrics for a monitor on this machine: `/healthz`, `/readyz`, `/metrics`.
//!
//! Reads one small GET per connection under a deadline, answers in HTTP/1.0 and closes. Nothing can be
//! changed through it. Start at [`serve`].

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::connection::Shared;
use crate::writer::disk_is_low;

/// Longest request head. A monitor sends some hundred bytes.
const MAX_HEAD_BYTES: usize = 4096;

/// For the request and for the answer, each.
const DEADLINE: Duration = Duration::from_secs(5);

/// Connections at a time; further ones wait in the system's queue.
const MAX_CONNECTIONS: usize = 16;

/// Answers until the node stops.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move { answer(stream, &shared).await });
                }
                // Out of file descriptors, most likely: others close some.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A dropped sender is a stopping node as well.
    drop(stop.wait_for(|stopping| *stopping).await);
}

async fn answer(mut stream: TcpStream, shared: &Shared) {
    let Ok(Some(path)) = timeout(DEADLINE, read_path(&mut stream)).await else {
        return;
    };
    shared.metrics.http_requests.one();
    let (status, body) = respond(&path, shared);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    let text = format!(
        "HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let send = async {
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    };
    // A monitor that went away asks again.
    drop(timeout(DEADLINE, send).await);
}

fn respond(path: &str, shared: &Shared) -> (&'static str, String) {
    match path {
        "/healthz" => ("200 OK", "ok\n".to_owned()),
        "/readyz" if shared.jobs.is_closed() => {
            ("503 Service Unavailable", "the store failed\n".to_owned())
        }
        "/readyz" if disk_is_low(&shared.mailboxes, &shared.limits) => (
            "503 Service Unavailable",
            "the disk is almost full\n".to_owned(),
        ),
        "/readyz" => ("200 OK", "ready\n".to_owned()),
        "/metrics" => ("200 OK", shared.metrics.snapshot().prometheus()),
        _ => (
            "404 Not Found",
            "there are /healthz, /readyz and /metrics\n".to_owned(),
        ),
    }
}

/// Reads the head and gives the path of a GET; `None` for anything else.
async fn read_path(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut piece = [0; 512];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut piece).await.ok()?;
        if count == 0 || head.len() + count > MAX_HEAD_BYTES {
            return None;
        }
        head.extend_from_slice(&piece[..count]);
    }
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    (words.next()? == "GET").then_some(())?;
    words.next().map(str::to_owned)
}
