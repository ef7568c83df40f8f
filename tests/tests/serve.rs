//! Other programs ask: over HTTP as OpenAI's API has it, and over MCP, with the real program and real models.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use satchel_tests::Laptop;
use serde_json::{Value, json};

const BRIDGE: &str = "# The bridge at Osterby\n\nThe wooden deck was replaced in 1987 by one of steel grating.\n\n\
    The work cost 412,000 crowns and took five months.\n";

fn with_papers() -> Laptop {
    let laptop = Laptop::with_starter_models();
    laptop.write("papers/bridge.md", BRIDGE);
    laptop.run(["import", "papers"]).expect_success();
    laptop
}

/// `satchel serve`, until it is dropped.
struct Server {
    program: Child,
    address: String,
    token: String,
}

impl Server {
    fn start(laptop: &Laptop) -> Self {
        let mut program = laptop
            .command(["serve", "--port", "0", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = program.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let url = said["url"].as_str().unwrap();
        let address = url.trim_start_matches("http://").trim_end_matches("/v1");
        assert!(address.starts_with("127.0.0.1:"), "{url}");
        let file = said["token_file"].as_str().unwrap();
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "others may read the token");
        Self {
            program,
            address: address.to_owned(),
            token: std::fs::read_to_string(file).unwrap().trim().to_owned(),
        }
    }

    /// Status and body of an answer.
    fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, &self.token, "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let (status, body) = self.ask("POST", path, &self.token, &body.to_string());
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The lines of a stream without what carries them.
    fn stream(&self, path: &str, body: &Value) -> Vec<String> {
        let (status, body) = self.ask("POST", path, &self.token, &body.to_string());
        assert_eq!(status, 200, "{body}");
        let lines = body.lines().filter_map(|line| line.strip_prefix("data: "));
        lines.map(str::to_owned).collect()
    }

    /// The model of `models` that is not the workspace and is made for chats.
    fn chat_model(&self) -> String {
        let models = self.get("/v1/models");
        let ids = models["data"].as_array().unwrap().iter();
        let ids: Vec<&str> = ids.map(|model| model["id"].as_str().unwrap()).collect();
        assert!(ids.contains(&"workspace"), "{ids:?}");
        let chat = ids.iter().find(|id| id.contains("smollm2"));
        (*chat.unwrap()).to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.program);
        if rustix::process::kill_process(pid, rustix::process::Signal::INT).is_ok() {
            drop(self.program.wait());
        }
    }
}

#[test]
fn the_documents_answer_with_their_sources() {
    let laptop = with_papers();
    let server = Server::start(&laptop);
    let (status, body) = server.ask("GET", "/v1/models", "wrong", "");
    assert_eq!(status, 401, "{body}");

    let question = json!({
        "model": "workspace",
        "messages": [{ "role": "user", "content": "When was the deck of the bridge replaced?" }],
    });
    let answer = server.post("/v1/chat/completions", &question);
    assert_eq!(answer["satchel"]["refused"], false, "{answer}");
    let source = &answer["satchel"]["citations"][0];
    assert!(
        source["path"].as_str().unwrap().ends_with("bridge.md"),
        "{answer}"
    );
    assert!(
        BRIDGE.contains(source["quote"].as_str().unwrap()),
        "{answer}"
    );
    assert!(
        answer["usage"]["prompt_tokens"].as_u64().unwrap() > 50,
        "{answer}"
    );

    let mut streamed = question;
    streamed["stream"] = json!(true);
    let lines = server.stream("/v1/chat/completions", &streamed);
    assert_eq!(lines.last().unwrap(), "[DONE]");
    let chunks: Vec<Value> = lines[..lines.len() - 1]
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert!(chunks.len() > 4, "it came in one piece: {chunks:?}");
    let last = chunks.last().unwrap();
    let sources = last["satchel"]["citations"].as_array().unwrap();
    assert!(!sources.is_empty(), "{last}");

    // Nothing of it was kept.
    let chats = laptop
        .run(["chat", "--list", "--json"])
        .expect_success()
        .json();
    assert_eq!(chats.as_array().unwrap().len(), 0, "{chats}");
}

#[test]
fn the_models_answer_by_themselves() {
    let laptop = Laptop::with_starter_models();
    let server = Server::start(&laptop);
    let model = server.chat_model();
    let asked = |more: &Value| {
        let mut body = json!({
            "model": model, "temperature": 0, "max_tokens": 24,
            "messages": [{ "role": "user", "content": "Name a colour." }],
        });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        server.post("/v1/chat/completions", &body)
    };
    let text = |answer: &Value| {
        let text = answer["choices"][0]["message"]["content"].as_str();
        text.unwrap().to_owned()
    };
    let (first, again) = (asked(&json!({})), asked(&json!({})));
    assert!(!text(&first).is_empty(), "{first}");
    assert_eq!(
        text(&first),
        text(&again),
        "the likeliest tokens are the same"
    );
    let cached = again["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64();
    assert!(cached.unwrap() > 0, "{again}");

    // An answer in the form that is asked for, whatever the model would rather say.
    let schema = json!({
        "type": "object",
        "properties": {
            "colour": { "enum": ["red", "green", "blue"] },
            "shades": { "type": "integer", "minimum": 1, "maximum": 9 },
        },
        "required": ["colour", "shades"],
        "additionalProperties": false,
    });
    let formed = asked(&json!({
        "max_tokens": 60,
        "response_format": {
            "type": "json_schema",
            "json_schema": { "name": "colour", "schema": schema },
        },
    }));
    let value: Value = serde_json::from_str(&text(&formed)).unwrap();
    let colour = value["colour"].as_str().unwrap();
    assert!(["red", "green", "blue"].contains(&colour), "{value}");
    assert!(
        (1..=9).contains(&value["shades"].as_u64().unwrap()),
        "{value}"
    );
    assert_eq!(formed["choices"][0]["finish_reason"], "stop", "{formed}");

    let texts = ["a dog barks", "a hound bays", "interest rates rise"];
    let models = server.get("/v1/models");
    let embedder = models["data"].as_array().unwrap().iter();
    let mut embedder = embedder.map(|model| model["id"].as_str().unwrap());
    let embedder = embedder.rfind(|id| id.contains("minilm")).unwrap();
    let made = server.post(
        "/v1/embeddings",
        &json!({ "model": embedder, "input": texts }),
    );
    let vectors: Vec<Vec<f64>> = (0..3)
        .map(|at| serde_json::from_value(made["data"][at]["embedding"].clone()).unwrap())
        .collect();
    let cosine = |a: usize, b: usize| -> f64 {
        vectors[a].iter().zip(&vectors[b]).map(|(x, y)| x * y).sum()
    };
    assert!((cosine(0, 0) - 1.0).abs() < 1e-3);
    assert!(
        cosine(0, 1) > cosine(0, 2) + 0.2,
        "{} {}",
        cosine(0, 1),
        cosine(0, 2)
    );
}

#[test]
fn a_form_that_cannot_be_read_is_an_error_and_the_server_lives() {
    let laptop = Laptop::with_starter_models();
    let server = Server::start(&laptop);
    let model = server.chat_model();
    let schema = json!({ "type": "object", "properties": { "a": { "$ref": "#/nowhere" } } });
    let body = json!({
        "model": model,
        "messages": [{ "role": "user", "content": "Hello" }],
        "response_format": {
            "type": "json_schema",
            "json_schema": { "name": "x", "schema": schema },
        },
    });
    let (status, said) = server.ask(
        "POST",
        "/v1/chat/completions",
        &server.token,
        &body.to_string(),
    );
    assert!((400..600).contains(&status), "{status} {said}");
    assert!(said.contains("form"), "{said}");
    assert_eq!(server.chat_model(), model);
}

/// `satchel mcp` with its two pipes.
struct Mcp {
    program: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    last_id: u64,
}

impl Mcp {
    fn start(laptop: &Laptop) -> Self {
        let mut program = laptop
            .command(["mcp"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut mcp = Self {
            input: program.stdin.take().unwrap(),
            output: BufReader::new(program.stdout.take().unwrap()),
            program,
            last_id: 0,
        };
        let hello = json!({
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        });
        let said = mcp.call("initialize", &hello);
        assert!(
            said["result"]["capabilities"]["tools"].is_object(),
            "{said}"
        );
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        writeln!(mcp.input, "{ready}").unwrap();
        mcp
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.last_id += 1;
        let request =
            json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params });
        writeln!(self.input, "{request}").unwrap();
        self.input.flush().unwrap();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "it ended");
            let said: Value = serde_json::from_str(&line).unwrap();
            if said["id"] == self.last_id {
                return said;
            }
        }
    }

    fn tool(&mut self, name: &str, arguments: &Value) -> Value {
        let said = self.call(
            "tools/call",
            &json!({ "name": name, "arguments": arguments }),
        );
        said["result"].clone()
    }
}

#[test]
fn a_program_with_a_model_of_its_own_reads_the_documents_over_mcp() {
    let laptop = with_papers();
    let mut mcp = Mcp::start(&laptop);
    let listed = mcp.call("tools/list", &json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap().clone();
    let names: Vec<&str> = tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    for name in ["search", "read_passage", "list_documents", "ask"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for tool in &tools {
        assert_eq!(tool["annotations"]["readOnlyHint"], true, "{tool}");
    }
    let found = mcp.tool("search", &json!({ "query": "what did the deck cost" }));
    assert_ne!(found["isError"], true, "{found}");
    let words = found["content"][0]["text"].as_str().unwrap();
    assert!(
        words.contains("412,000 crowns") && words.contains("bridge.md"),
        "{words}"
    );
    let missing = mcp.tool("read_passage", &json!({ "reference": "ffffffffffff:0-1" }));
    assert_eq!(missing["isError"], true, "{missing}");
    let asked = mcp.tool(
        "ask",
        &json!({ "question": "Who won the world cup in 1990?" }),
    );
    assert!(
        asked["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("do not say"),
        "{asked}"
    );
    drop(mcp.input);
    assert!(mcp.program.wait().unwrap().success());
}
