//! Who may ask, what is refused, how many may wait, and how the server stops.

use super::*;
use crate::serve::http::{fields, gate};

#[tokio::test]
async fn nobody_asks_without_the_token() {
    let server = serve([]).await;
    for headers in [
        String::new(),
        "Authorization: Bearer 0123456789abcdef0123456789abcdee\r\n".to_owned(),
        "Authorization: Bearer \r\n".to_owned(),
        format!("Authorization: Basic {TOKEN}\r\n"),
        bearer() + &bearer(),
    ] {
        for path in ["/v1/models", "/v1/models/tiny", "/nothing"] {
            let answer = server.get(path, &headers).await;
            assert_eq!(answer.status, 401, "{path} with {headers:?}");
            assert_eq!(answer.error().0, "invalid_api_key");
            assert!(answer.head.contains("www-authenticate: bearer"));
            assert!(!answer.body.contains(TOKEN));
        }
    }
    assert_eq!(server.get("/v1/models", &bearer()).await.status, 200);
    assert_eq!(server.get("/nothing", &bearer()).await.status, 404);
    let answer = server.get("/v1/embeddings", &bearer()).await;
    assert_eq!(
        (answer.status, answer.error().0.as_str()),
        (405, "method_not_allowed")
    );
}

#[tokio::test]
async fn another_host_name_is_refused_even_with_the_token() {
    let server = serve([]).await;
    let port = server.port;
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        ("127.0.0.1".to_owned(), 200),
        (format!("LocalHost:{port}"), 200),
        (format!("[::1]:{port}"), 200),
        ("localhost:1".to_owned(), 403),
        (format!("rebound.example:{port}"), 403),
        (format!("127.0.0.1.example:{port}"), 403),
        (format!("localhost.:{port}"), 403),
        (format!("localhost\r\nHost: rebound.example:{port}"), 403),
    ] {
        let headers = format!("Host: {host}\r\n{}", bearer());
        let answer = server.get("/v1/models", &headers).await;
        assert_eq!(answer.status, status, "{host}");
    }
    let request = format!("GET /v1/models HTTP/1.0\r\n{}\r\n", bearer());
    assert_eq!(server.send(request.as_bytes()).await.status, 403, "no host");
}

#[tokio::test]
async fn web_pages_ask_where_they_are_named() {
    let server = serve([]).await;
    for origin in ["https://evil.example", "null", "http://localhost:3001"] {
        let headers = format!("Origin: {origin}\r\n{}", bearer());
        let answer = server.get("/v1/models", &headers).await;
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (403, "origin_not_allowed")
        );
        assert!(!answer.head.contains("access-control-allow-origin"));
    }
    let allowed = format!("access-control-allow-origin: {PAGE}");
    let headers = format!("Origin: {PAGE}\r\n");
    let answer = server
        .get("/v1/models", &(headers.clone() + &bearer()))
        .await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains(&allowed) && answer.head.contains("vary: origin"));
    let answer = server.get("/v1/models", &headers).await;
    assert_eq!(answer.status, 401);
    assert!(answer.head.contains(&allowed), "the page may read why");

    let asked = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,x-client\r\n";
    let path = "/v1/chat/completions";
    let request = server.request("OPTIONS", path, &(headers + asked), "");
    let answer = server.send(&request).await;
    assert_eq!(answer.status, 204);
    assert!(answer.head.contains(&allowed));
    assert!(
        answer
            .head
            .contains("access-control-allow-headers: authorization,x-client")
    );
    assert!(
        answer
            .head
            .contains("access-control-allow-methods: get, post")
    );
    let request = server.request("OPTIONS", path, asked, "");
    assert_eq!(server.send(&request).await.status, 401, "no page, no token");
}

#[tokio::test]
async fn what_is_too_long_or_no_json_is_refused_with_a_reason() {
    let server = serve([]).await;
    let long = "x".repeat(fields::MAX_BODY_BYTES + 1);
    let request = server.request("POST", "/v1/chat/completions", &bearer(), &long);
    let answer = server.send(&request).await;
    assert_eq!(
        (answer.status, answer.error().0.as_str()),
        (413, "request_too_large")
    );
    // Without an announced length it is noticed on the way.
    let mut request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        bearer()
    );
    for _ in 0..9 {
        request += &format!("{:x}\r\n{}\r\n", 1 << 20, &long[..1 << 20]);
    }
    request += "0\r\n\r\n";
    assert_eq!(server.send(request.as_bytes()).await.status, 413);
    for body in ["", "{\"model\": ", "[1]", "{\"model\": \"\u{1}\"}"] {
        let request = server.request("POST", "/v1/chat/completions", &bearer(), body);
        let answer = server.send(&request).await;
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (400, "invalid_json"),
            "{body}"
        );
    }
    assert_eq!(server.fake.started(), 0);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_its_name() {
    let server = serve([]).await;
    let tool = json!([{ "type": "function", "function": { "name": "f" } }]);
    let image = json!([{ "role": "user", "content": [
        { "type": "text", "text": "What is this?" },
        { "type": "image_url", "image_url": { "url": "data:," } },
    ]}]);
    for (field, value, param) in [
        ("n", json!(2), "n"),
        ("logprobs", json!(true), "logprobs"),
        ("tools", tool, "tools"),
        ("presence_penalty", json!(0.5), "presence_penalty"),
        ("temperature", json!(2.5), "temperature"),
        ("temperature", json!("warm"), "temperature"),
        ("max_tokens", json!(0), "max_tokens"),
        ("stop", json!([""]), "stop"),
        ("stop", json!(vec!["a"; 17]), "stop"),
        ("stream", json!("yes"), "stream"),
        ("messages", json!([]), "messages"),
        ("messages", image, "messages[0].content[1]"),
        (
            "messages",
            json!([{ "role": "tool", "content": "" }]),
            "messages[0].role",
        ),
        (
            "response_format",
            json!({ "type": "xml" }),
            "response_format.type",
        ),
        ("model", Value::Null, "model"),
    ] {
        let mut request = question("tiny");
        request[field] = value;
        let answer = server.chat(&request).await;
        assert_eq!(answer.status, 400, "{field}: {}", answer.body);
        assert_eq!(answer.error().1.as_deref(), Some(param));
    }
    assert_eq!(server.fake.started(), 0);
}

#[tokio::test]
async fn requests_wait_for_their_turn_and_the_queue_has_an_end() {
    let silent = || Script::Events(Vec::new());
    let places = gate::RUNNING + gate::WAITING;
    let server = serve((0..=places).map(|_| silent())).await;
    let request = server.request(
        "POST",
        "/v1/chat/completions",
        &bearer(),
        &question("workspace").to_string(),
    );
    let mut clients = Vec::new();
    for _ in 0..places {
        let mut client = server.connect().await;
        client.write_all(&request).await.unwrap();
        clients.push(client);
    }
    server.fake.wait_started(gate::RUNNING).await;
    // Until all of them have been let in, one more would wait too.
    let turned_away = async {
        loop {
            let waiting = server.send(&request);
            if let Ok(answer) = tokio::time::timeout(Duration::from_millis(100), waiting).await {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), turned_away)
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.error().0.as_str()),
        (429, "too_many_requests")
    );
    assert!(answer.head.contains("retry-after: 5"));
    assert_eq!(server.fake.started(), gate::RUNNING, "the others wait");
    // Who goes away makes room.
    drop(clients);
    server.fake.wait_cancelled(gate::RUNNING).await;
}

#[tokio::test]
async fn stopping_lets_running_answers_end() {
    let script = Script::Events(vec![Event::Answer("In".to_owned())]);
    let mut server = serve([script]).await;
    let mut request = question("workspace");
    request["stream"] = json!(true);
    let request = server.request(
        "POST",
        "/v1/chat/completions",
        &bearer(),
        &request.to_string(),
    );
    let mut client = server.connect().await;
    client.write_all(&request).await.unwrap();
    server.fake.wait_started(1).await;
    drop(server.stop.take());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!server.ended.is_finished(), "an answer is on its way");
    assert_eq!(server.fake.cancelled(), 0);
    let refused = TcpStream::connect(("127.0.0.1", server.port)).await;
    refused.expect_err("no connection is accepted any more");
    drop(client);
    let ended = tokio::time::timeout(Duration::from_secs(10), server.ended).await;
    ended.unwrap().unwrap().unwrap();
}
