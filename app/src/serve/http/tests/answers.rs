//! What is answered: models, conversations, streams, citations, embeddings.

use super::*;

#[tokio::test]
async fn models_in_use_are_listed_and_others_are_not_found() {
    let server = serve([]).await;
    let list = server.get("/v1/models", &bearer()).await.json();
    let ids: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["workspace", "tiny", "vectors"]);
    let one = server.get("/v1/models/tiny", &bearer()).await;
    assert_eq!(one.json()["id"], "tiny");
    let unknown = server.get("/v1/models/owner/gpt-4", &bearer()).await;
    assert_eq!(
        (unknown.status, unknown.error().0.as_str()),
        (404, "model_not_found")
    );
    for model in ["gpt-4", "big", "vectors"] {
        let answer = server.chat(&question(model)).await;
        assert_eq!(
            (answer.status, answer.error().0.as_str()),
            (404, "model_not_found")
        );
        assert!(answer.body.contains("workspace, tiny"), "{}", answer.body);
    }
    assert_eq!(server.fake.started(), 0);
}

#[tokio::test]
async fn the_chat_model_is_given_all_that_was_said() {
    let events = vec![
        Event::Thought("Hm.".to_owned()),
        Event::Notice("The GPU is gone.".to_owned()),
        Event::Answer("May".to_owned()),
        completion("May", "length"),
    ];
    let server = serve([Script::Events(events)]).await;
    let mut request = question("tiny");
    request["messages"] = json!([
        { "role": "developer", "content": "Be brief." },
        { "role": "user", "content": [{ "type": "text", "text": "When" }, { "type": "text", "text": "exactly?" }] },
    ]);
    request["temperature"] = json!(0);
    request["max_completion_tokens"] = json!(5);
    request["stop"] = json!("\n");
    request["seed"] = json!(-1);
    request["user"] = json!("somebody");
    request["reasoning_effort"] = json!("low");
    request["response_format"] = json!({ "type": "json_schema", "json_schema": { "name": "a", "schema": { "type": "string" } } });
    let answer = server.chat(&request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "tiny");
    let choice = &body["choices"][0];
    assert_eq!(choice["message"]["content"], "May");
    assert_eq!(choice["message"]["reasoning_content"], "Hm.");
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(body["usage"]["total_tokens"], 12);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
    assert_eq!(body["satchel"]["notices"][0], "The GPU is gone.");
    let command = &server.fake.commands()[1]["Complete"];
    assert_eq!(command["messages"][0]["role"], "system");
    assert_eq!(command["messages"][1]["content"], "When\nexactly?");
    assert_eq!(command["temperature"], 0.0);
    assert_eq!(command["max_output_tokens"], 5);
    assert_eq!(command["stop"], json!(["\n"]));
    assert_eq!(command["json_schema"], r#"{"type":"string"}"#);
    assert_eq!(command["thinking"], true);
    assert!(command["seed"].is_u64());
}

#[tokio::test]
async fn a_stream_has_its_pieces_in_order() {
    let events = vec![
        Event::Thought("Hm.".to_owned()),
        Event::Answer("In ".to_owned()),
        Event::Answer("May\n".to_owned()),
        completion("In May\n", "end"),
    ];
    let server = serve([Script::Events(events)]).await;
    let mut request = question("tiny");
    request["stream"] = json!(true);
    request["stream_options"] = json!({ "include_usage": true });
    let answer = server.chat(&request).await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/event-stream"));
    let chunks = answer.chunks();
    let deltas: Vec<&Value> = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"])
        .collect();
    assert_eq!(deltas[0], &json!({ "role": "assistant", "content": "" }));
    assert_eq!(deltas[1], &json!({ "reasoning_content": "Hm." }));
    assert_eq!(deltas[2], &json!({ "content": "In " }));
    assert_eq!(deltas[3], &json!({ "content": "May\n" }));
    assert_eq!(deltas[4], &json!({}));
    assert_eq!(chunks[4]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[5]["choices"], json!([]));
    assert_eq!(chunks[5]["usage"]["completion_tokens"], 3);
    assert_eq!(chunks.len(), 6);
    for chunk in &chunks {
        assert_eq!(chunk["id"], chunks[0]["id"]);
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert!(chunk.get("usage").is_some());
    }
}

#[tokio::test]
async fn the_workspace_answers_with_citations() {
    let text = "In May [S1].";
    let whole = Script::Events(vec![reply(Reply::Answered(answer(text, false)))]);
    let pieces = Script::Events(vec![
        Event::Answer("In May".to_owned()),
        Event::Answer(" [S1].".to_owned()),
        reply(Reply::Answered(answer(text, false))),
    ]);
    let server = serve([whole, pieces]).await;
    let mut request = json!({ "model": "workspace", "temperature": 0.7, "messages": [
        { "role": "system", "content": "Be a pirate." },
        { "role": "user", "content": "What ends?" },
        { "role": "assistant", "content": "The lease." },
        { "role": "user", "content": "When?" },
    ]});
    let body = server.chat(&request).await.json();
    let command = &server.fake.commands()[0]["Consult"];
    assert_eq!(command["question"], "When?");
    assert_eq!(command["history"], json!([["What ends?", "The lease."]]));
    assert_eq!(body["choices"][0]["message"]["content"], text);
    let citations = &body["choices"][0]["message"]["citations"];
    assert_eq!(citations[0]["mark"], "S1");
    assert_eq!(citations[0]["reference"], "3fa94c01be77:10-32");
    assert_eq!(citations[0]["page"], 3);
    let satchel = &body["satchel"];
    assert_eq!(&satchel["citations"], citations);
    assert_eq!(satchel["refused"], false);
    assert_eq!(satchel["unsupported"][0], "It is warm.");
    assert_eq!(satchel["coverage"], "Searched 2 of 2 documents.");
    assert_eq!(satchel["searched_for"], "when does the lease end");
    let notices = satchel["notices"].to_string();
    assert!(
        notices.contains("System messages") && notices.contains("temperature"),
        "{notices}"
    );

    request["stream"] = json!(true);
    let answer = server.chat(&request).await;
    let chunks = answer.chunks();
    let last = chunks.last().unwrap();
    assert_eq!(&last["choices"][0]["delta"]["citations"], citations);
    assert_eq!(&last["satchel"]["citations"], citations);
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks.len(), 4, "nothing is said twice: {}", answer.body);
    assert!(!answer.body.contains("\"usage\""));
}

#[tokio::test]
async fn a_refusal_is_streamed_too_and_json_is_refused() {
    let refusal = answer("Your documents do not say.", true);
    let server = serve([Script::Events(vec![reply(Reply::Answered(refusal))])]).await;
    let mut request = question("workspace");
    request["response_format"] = json!({ "type": "json_object" });
    let refused = server.chat(&request).await;
    assert_eq!(refused.error().1.as_deref(), Some("response_format"));
    request["response_format"] = Value::Null;
    request["stream"] = json!(true);
    let chunks = server.chat(&request).await.chunks();
    assert_eq!(
        chunks[1]["choices"][0]["delta"]["content"],
        "Your documents do not say."
    );
    assert_eq!(chunks[2]["satchel"]["refused"], true);
}

#[tokio::test]
async fn failures_have_a_status_until_the_first_piece_and_a_line_after_it() {
    let missing =
        || Failure::new(FailureKind::NotFound, "no chat model is installed").with_hint("Get one.");
    let server = serve([
        Script::Refuse(Failure::general("gone")),
        Script::Events(vec![Event::Failed(missing())]),
        Script::Events(vec![Event::Failed(missing())]),
        Script::Events(vec![
            Event::Answer("In".to_owned()),
            Event::Failed(missing()),
        ]),
    ])
    .await;
    let mut request = question("tiny");
    assert_eq!(server.chat(&request).await.status, 500);
    let answer = server.chat(&request).await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.json()["error"]["message"],
        "no chat model is installed. Get one."
    );
    request["stream"] = json!(true);
    assert_eq!(server.chat(&request).await.status, 404);
    let answer = server.chat(&request).await;
    assert_eq!(answer.status, 200);
    let last: Value = serde_json::from_str(answer.data().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "not_found");
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_command() {
    let silent = || Script::Events(vec![Event::Answer("In".to_owned())]);
    let server = serve([silent(), silent()]).await;
    for (stream, gone) in [(true, 1), (false, 2)] {
        let mut request = question("workspace");
        request["stream"] = json!(stream);
        let mut client = server.begin(&request).await;
        server.fake.wait_started(gone).await;
        if stream {
            let mut byte = [0u8; 1];
            client.read_exact(&mut byte).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(
            server.fake.cancelled(),
            gone - 1,
            "it runs while somebody waits"
        );
        drop(client);
        server.fake.wait_cancelled(gone).await;
    }
}

#[tokio::test]
async fn texts_are_embedded_as_numbers_and_as_base64() {
    let report = || {
        let vectors = vec![vec![0.5f32, -1.0], vec![0.1, 2.0]];
        let report = EmbeddingReport {
            model: "vectors".to_owned(),
            vectors,
            tokens: 6,
        };
        Script::Events(vec![reply(Reply::Embedded(report))])
    };
    let server = serve([report(), report(), report()]).await;
    let mut request = json!({ "model": "vectors", "input": ["one", "two"] });
    let answer = server.post("/v1/embeddings", &request).await;
    assert!(answer.body.contains("[0.1,2.0]"), "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["data"][0]["embedding"], json!([0.5, -1.0]));
    assert_eq!(body["data"][1]["index"], 1);
    assert_eq!(body["usage"]["total_tokens"], 6);
    assert_eq!(
        server.fake.commands()[1],
        json!({ "Embed": { "texts": ["one", "two"] } })
    );
    request["encoding_format"] = json!("base64");
    request["dimensions"] = json!(2);
    let body = server.post("/v1/embeddings", &request).await.json();
    assert_eq!(body["data"][0]["embedding"], "AAAAPwAAgL8=");
    request["dimensions"] = json!(1);
    let answer = server.post("/v1/embeddings", &request).await;
    assert_eq!(
        (answer.status, answer.error().1.as_deref()),
        (400, Some("dimensions"))
    );
    for input in [
        json!(""),
        json!([]),
        json!(["a", ""]),
        json!([1, 2]),
        json!(vec!["a"; 2049]),
    ] {
        let answer = server
            .post(
                "/v1/embeddings",
                &json!({ "model": "vectors", "input": input }),
            )
            .await;
        assert_eq!(
            (answer.status, answer.error().1.as_deref()),
            (400, Some("input"))
        );
    }
    let answer = server
        .post("/v1/embeddings", &json!({ "model": "tiny", "input": "a" }))
        .await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn what_was_mended_after_it_was_streamed_is_told_at_the_end() {
    let pieces = |last: &str| {
        Script::Events(vec![
            Event::Answer(" In May [S9].".to_owned()),
            reply(Reply::Answered(answer(last, false))),
        ])
    };
    let server = serve([pieces("In May [S1]."), pieces("In May [S9].")]).await;
    let mut request = question("workspace");
    request["stream"] = json!(true);
    let chunks = server.chat(&request).await.chunks();
    assert_eq!(chunks[2]["satchel"]["answer"], "In May [S1].");
    let chunks = server.chat(&request).await.chunks();
    assert!(
        chunks[2]["satchel"].get("answer").is_none(),
        "only a space is gone"
    );
}
