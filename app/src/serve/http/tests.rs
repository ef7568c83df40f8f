//! Real requests through a real socket, to a server whose backend says what each test wrote down.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

mod access;
mod answers;

use super::*;
use crate::message::{Completion, EmbeddingReport, Event, Reply};
use crate::serve::fake::{Fake, Script, answer, reply};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PAGE: &str = "http://localhost:3000";

struct Running {
    port: u16,
    fake: Arc<Fake>,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<Result<(), Failure>>,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The error's code and the field it is about.
    fn error(&self) -> (String, Option<String>) {
        let error = &self.json()["error"];
        assert!(!error["message"].as_str().unwrap().is_empty());
        assert!(!error["type"].as_str().unwrap().is_empty());
        (
            error["code"].as_str().unwrap().to_owned(),
            error["param"].as_str().map(str::to_owned),
        )
    }

    /// What stands behind `data:` in a stream.
    fn data(&self) -> Vec<&str> {
        let lines = self.body.lines();
        lines
            .filter_map(|line| line.strip_prefix("data: "))
            .collect()
    }

    fn chunks(&self) -> Vec<Value> {
        let data = self.data();
        assert_eq!(data.last(), Some(&"[DONE]"), "{}", self.body);
        let chunks = &data[..data.len() - 1];
        chunks
            .iter()
            .map(|chunk| serde_json::from_str(chunk).unwrap())
            .collect()
    }
}

async fn serve(scripts: impl IntoIterator<Item = Script>) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    satchel_sync::durable::write(&file, TOKEN.as_bytes()).unwrap();
    let token = Token::load_or_create(&file).unwrap();
    let server = HttpServer::bind(0, token, &[PAGE.to_owned()])
        .await
        .unwrap();
    assert!(server.address().ip().is_loopback());
    let fake = Arc::new(Fake::new(scripts));
    let (stop, stopped) = oneshot::channel();
    let port = server.address().port();
    let backend = Arc::clone(&fake);
    let ended = tokio::spawn(server.run(backend, async move { drop(stopped.await) }));
    Running {
        port,
        fake,
        stop: Some(stop),
        ended,
        _folder: folder,
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// Sends text as it is and reads until the server closes.
    async fn send(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        // A server that has heard enough may close before it was told everything.
        drop(stream.write_all(request).await);
        let mut bytes = Vec::new();
        drop(stream.read_to_end(&mut bytes).await);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let head = head.to_lowercase();
        let body = if head.contains("transfer-encoding: chunked") {
            unchunked(body)
        } else {
            body.to_owned()
        };
        Answer { status, head, body }
    }

    fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        let port = self.port;
        let host = if headers.contains("Host:") {
            String::new()
        } else {
            format!("Host: 127.0.0.1:{port}\r\n")
        };
        format!("{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    }

    /// Asks for a completion and does not wait for it.
    async fn begin(&self, question: &Value) -> TcpStream {
        let path = "/v1/chat/completions";
        let request = self.request("POST", path, &bearer(), &question.to_string());
        let mut client = self.connect().await;
        client.write_all(&request).await.unwrap();
        client
    }

    async fn get(&self, path: &str, headers: &str) -> Answer {
        self.send(&self.request("GET", path, headers, "")).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = format!("Authorization: Bearer {TOKEN}\r\n");
        self.send(&self.request("POST", path, &headers, &body.to_string()))
            .await
    }

    async fn chat(&self, body: &Value) -> Answer {
        self.post("/v1/chat/completions", body).await
    }
}

fn unchunked(mut body: &str) -> String {
    let mut all = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        all += &rest[..length];
        body = rest[length..].trim_start_matches("\r\n");
        if length == 0 {
            break;
        }
    }
    all
}

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

fn question(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "When?" }] })
}

fn completion(text: &str, ended: &str) -> Event {
    reply(Reply::Completed(Completion {
        text: text.to_owned(),
        ended: ended.to_owned(),
        model: "tiny".to_owned(),
        prompt_tokens: 9,
        cached_tokens: 4,
        output_tokens: 3,
    }))
}
