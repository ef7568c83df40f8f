//! A host of files that misbehaves on demand: it cuts, stalls, lies and changes its mind.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a request asks for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Counted from 0.
    pub(crate) number: usize,
    pub(crate) target: String,
    /// First and last byte.
    pub(crate) range: Option<(u64, u64)>,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fault {
    /// Says this instead of the file.
    pub(crate) status: Option<u16>,
    /// Leads elsewhere.
    pub(crate) location: Option<String>,
    /// Ends the connection after so many bytes of the body.
    pub(crate) cut_after: Option<usize>,
    /// Says nothing more after so many bytes of the body.
    pub(crate) stall_after: Option<usize>,
    /// Flips bits of the body.
    pub(crate) wrong_bytes: bool,
    /// Says that the file has this length.
    pub(crate) said_total: Option<u64>,
}

type Judge = dyn Fn(&Request, &mut File) -> Fault + Send + Sync;

/// The file that a host has at the moment.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) body: Arc<Vec<u8>>,
    pub(crate) etag: Option<String>,
    pub(crate) has_ranges: bool,
    /// What it says on the way to the file, as Hugging Face does.
    pub(crate) linked_sha256: Option<String>,
}

struct Inner {
    file: File,
    requests: Vec<Request>,
    served_bytes: u64,
    judge: Arc<Judge>,
}

/// The host. Ends with the runtime of its test.
#[derive(Clone)]
pub(crate) struct Host {
    inner: Arc<Mutex<Inner>>,
    address: String,
}

impl Host {
    /// Serves `body` well.
    pub(crate) async fn new(body: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Self {
            address: listener.local_addr().unwrap().to_string(),
            inner: Arc::new(Mutex::new(Inner {
                file: File {
                    body: Arc::new(body),
                    etag: Some("\"one\"".to_owned()),
                    has_ranges: true,
                    linked_sha256: None,
                },
                requests: Vec::new(),
                served_bytes: 0,
                judge: Arc::new(|_, _| Fault::default()),
            })),
        };
        let serving = host.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let host = serving.clone();
                tokio::spawn(async move {
                    // A client that goes away ends it.
                    drop(host.serve(stream).await);
                });
            }
        });
        host
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/repo/model.gguf?download=true", self.address)
    }

    /// Decides for each request what is wrong with the answer; may change the file first.
    pub(crate) fn judge(
        &self,
        judge: impl Fn(&Request, &mut File) -> Fault + Send + Sync + 'static,
    ) {
        self.inner.lock().unwrap().judge = Arc::new(judge);
    }

    /// Changes the file.
    pub(crate) fn change(&self, change: impl FnOnce(&mut File)) {
        change(&mut self.inner.lock().unwrap().file);
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.inner.lock().unwrap().requests.clone()
    }

    /// Bytes of bodies that were sent.
    pub(crate) fn served_bytes(&self) -> u64 {
        self.inner.lock().unwrap().served_bytes
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        loop {
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).await? == 0 {
                    return Ok(());
                }
                head.push(byte[0]);
            }
            let text = String::from_utf8_lossy(&head).into_owned();
            head.clear();
            if !self.answer(&mut stream, &text).await? {
                return Ok(());
            }
        }
    }

    /// Says whether the connection goes on.
    async fn answer(&self, stream: &mut TcpStream, head: &str) -> std::io::Result<bool> {
        let value = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
        };
        let asked = value("range").and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        let (file, fault) = {
            let mut inner = self.inner.lock().unwrap();
            let request = Request {
                number: inner.requests.len(),
                target: head.split(' ').nth(1).unwrap_or_default().to_owned(),
                range: asked,
            };
            inner.requests.push(request.clone());
            let judge = Arc::clone(&inner.judge);
            let fault = judge(&request, &mut inner.file);
            (inner.file.clone(), fault)
        };
        let linked = file
            .linked_sha256
            .iter()
            .map(|hash| format!("X-Linked-Etag: \"{hash}\"\r\n"));
        let linked: String = linked.collect();
        if let Some(location) = fault.location {
            let answer = format!(
                "HTTP/1.1 302 Found\r\nLocation: {location}\r\n{linked}Content-Length: 0\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await?;
            return Ok(true);
        }
        if let Some(status) = fault.status {
            let answer = format!("HTTP/1.1 {status} So it is\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await?;
            return Ok(true);
        }
        let len = file.body.len() as u64;
        let is_same = value("if-range").is_none_or(|tag| Some(tag) == file.etag);
        let range = asked.filter(|_| file.has_ranges && is_same);
        let (first, end) = range.map_or((0, len), |(first, last)| (first, (last + 1).min(len)));
        let mut body = file.body[first as usize..end as usize].to_vec();
        if fault.wrong_bytes {
            body.iter_mut().for_each(|byte| *byte ^= 1);
        }
        let total = fault.said_total.unwrap_or(len);
        let etag: String = file
            .etag
            .iter()
            .map(|tag| format!("ETag: {tag}\r\n"))
            .collect();
        let status = if range.is_some() {
            format!(
                "206 Partial Content\r\nContent-Range: bytes {first}-{}/{total}",
                end - 1
            )
        } else {
            "200 OK".to_owned()
        };
        let said = if range.is_some() {
            body.len() as u64
        } else {
            fault.said_total.unwrap_or(len)
        };
        let answer = format!("HTTP/1.1 {status}\r\n{etag}Content-Length: {said}\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
        let most = fault.cut_after.or(fault.stall_after).unwrap_or(usize::MAX);
        for piece in body[..body.len().min(most)].chunks(64 << 10) {
            stream.write_all(piece).await?;
            self.inner.lock().unwrap().served_bytes += piece.len() as u64;
        }
        if fault.stall_after.is_some() && most < body.len() {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        Ok(most >= body.len() && fault.said_total.is_none())
    }
}
