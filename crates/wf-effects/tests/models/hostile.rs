//! Servers that err, stall, lie, and send too much: a typed outcome within bounds, whatever it is.

use expect_test::{Expect, expect};
use wf_effects::CancelToken;
use wf_effects::models::ProviderKind::{self, Anthropic, OpenAi};
use wf_effects::models::bounds::{ANSWER_BYTES_MAX, EVENT_BYTES_MAX};
use wf_effects::models::http::Timeouts;
use wf_effects::models::{Call, ProviderSpec};

use crate::server::{Act, STREAM, Server, answer, stream};
use crate::shapes::{ANTHROPIC_TEXT, OPENAI_TEXT};
use crate::support::{KEY, ask, model, once, providers, request, show, spec};

async fn check(kind: ProviderKind, script: Vec<Act>, expected: Expect) {
    check_within(kind, script, Timeouts::default(), expected).await;
}

async fn check_within(kind: ProviderKind, script: Vec<Act>, timeouts: Timeouts, expected: Expect) {
    let (shown, _) = once(kind, script, timeouts).await;
    expected.assert_eq(&shown);
}

fn error(status: &str, headers: &[&str], body: &str) -> Vec<Act> {
    vec![Act::Send(answer(status, headers, body))]
}

#[tokio::test]
async fn each_status_says_what_to_do_next() {
    let mut shown = String::new();
    let cases: [(&str, &[&str], &str); 11] = [
        ("429 Too Many Requests", &["retry-after: 7"], r#"{"error":{"message":"slow down"}}"#),
        ("429 Too Many Requests", &[], ""),
        ("529 Overloaded", &["retry-after-ms: 250"], r#"{"error":{"type":"overloaded_error","message":"busy"}}"#),
        ("503 Service Unavailable", &[], "<html>gone</html>"),
        ("401 Unauthorized", &[], r#"{"error":{"message":"wrong key sk-canary-0123456789"}}"#),
        ("402 Payment Required", &[], r#"{"error":"no money"}"#),
        ("400 Bad Request", &[], r#"{"error":{"message":"a\nb"}}"#),
        ("404 Not Found", &[], r#"{"detail":"no such model"}"#),
        ("413 Payload Too Large", &[], "{"),
        ("302 Found", &["location: http://127.0.0.1:1/steal"], ""),
        ("204 No Content", &[], ""),
    ];
    for (status, headers, body) in cases {
        shown.push_str(&once(OpenAi, error(status, headers, body), Timeouts::default()).await.0);
    }
    expect![[r#"
        Throttled { retry_after_ms: 7000 }: the provider answered 429 Too Many Requests: slow down [in 0 out 0 cached 0 written 0 reasoning 0]
        Throttled { retry_after_ms: 10000 }: the provider answered 429 Too Many Requests [in 0 out 0 cached 0 written 0 reasoning 0]
        Overloaded { retry_after_ms: Some(250) }: the provider answered 529: busy [in 0 out 0 cached 0 written 0 reasoning 0]
        Overloaded { retry_after_ms: None }: the provider answered 503 Service Unavailable: <html>gone</html> [in 0 out 0 cached 0 written 0 reasoning 0]
        Refused: the provider answered 401 Unauthorized: wrong key [key] [in 0 out 0 cached 0 written 0 reasoning 0]
        Refused: the provider answered 402 Payment Required: no money [in 0 out 0 cached 0 written 0 reasoning 0]
        BadRequest: the provider answered 400 Bad Request: a b [in 0 out 0 cached 0 written 0 reasoning 0]
        BadRequest: the provider answered 404 Not Found: no such model [in 0 out 0 cached 0 written 0 reasoning 0]
        BadRequest: the provider answered 413 Payload Too Large: { [in 0 out 0 cached 0 written 0 reasoning 0]
        BadRequest: the provider answered 302 Found, and redirects are not followed [in 0 out 0 cached 0 written 0 reasoning 0]
        Malformed: the answer ended in the middle [in ? out ? cached ? written ? reasoning ?]
    "#]].assert_eq(&shown);
}

#[tokio::test]
async fn a_redirect_takes_the_key_nowhere() {
    let thief = Server::start(vec![stream(OPENAI_TEXT)]).await;
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("location: {}/chat/completions", thief.base_url);
        let (shown, server) = once(OpenAi, error(status, &[&location], ""), Timeouts::default()).await;
        assert!(shown.contains("redirects are not followed"), "{shown}");
        assert!(server.asked()[0].head.contains(KEY));
    }
    assert!(thief.asked().is_empty());
}

#[tokio::test]
async fn answers_that_end_in_the_middle() {
    let half = |text: &str| text.split("!\"").next().unwrap().to_owned();
    check(
        OpenAi,
        stream(half(OPENAI_TEXT)),
        expect![[r#"
        Malformed: the answer ended in the middle [in ? out ? cached ? written ? reasoning ?]
    "#]],
    )
    .await;
    check(
        Anthropic,
        stream(half(ANTHROPIC_TEXT)),
        expect![[r#"
        Malformed: the answer ended in the middle [in 18 out ? cached 10 written 3 reasoning ?]
    "#]],
    )
    .await;
    check(
        OpenAi,
        stream(""),
        expect![[r#"
        Malformed: the answer ended in the middle [in ? out ? cached ? written ? reasoning ?]
    "#]],
    )
    .await;
    let promised = answer(
        "200 OK",
        &[STREAM, "content-length: 100000"],
        OPENAI_TEXT.split("data: [DONE]").next().unwrap().split(": keep").next().unwrap(),
    );
    check(OpenAi, vec![Act::Send(promised)], expect![[r#"
        Unreachable: the connection to the provider broke: error reading a body from connection: end of file before message length reached [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
    check(OpenAi, vec![], expect![[r#"
        Unreachable: the connection to the provider broke: client error (SendRequest): connection closed before message completed [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
    check(OpenAi, vec![Act::Send(b"SSH-2.0-OpenSSH\r\n".to_vec())], expect![[r#"
        Unreachable: the connection to the provider broke: client error (SendRequest): invalid HTTP version parsed [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
}

#[tokio::test]
async fn answers_that_are_not_of_the_protocol() {
    check(OpenAi, stream("data: {\"choices\":[\n\n"), expect![[r#"
        Malformed: an event of the answer is not of the protocol: EOF while parsing a list at line 1 column 12 [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
    check(OpenAi, stream("data: 7\n\n"), expect![[r#"
        Malformed: an event of the answer is not of the protocol: invalid type: integer `7`, expected struct Chunk at line 1 column 1 [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
    check(OpenAi, stream("data: {\"choices\":[{\"delta\":{\"content\":7}}]}\n\n"), expect![[r#"
        Malformed: an event of the answer is not of the protocol: invalid type: integer `7`, expected a string at line 1 column 33 [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
    check(
        OpenAi,
        stream(b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}\n\n"),
        expect![[r#"
        Malformed: the answer is not UTF-8 [in ? out ? cached ? written ? reasoning ?]
    "#]],
    )
    .await;
    check(
        Anthropic,
        stream("event: x\ndata: {\"type\":\"content_block_delta\",\"index\":3,\"delta\":{\"text\":\"x\"}}\n\n"),
        expect![[r#"
            Malformed: a piece of a block comes before its beginning [in ? out ? cached ? written ? reasoning ?]
        "#]],
    )
    .await;
    check(Anthropic, stream(OPENAI_TEXT), expect![[r#"
        Malformed: an event of the answer is not of the protocol: missing field `type` at line 1 column 161 [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
    check(
        OpenAi,
        stream(ANTHROPIC_TEXT),
        expect![[r#"
        Malformed: the answer ended in the middle [in ? out ? cached ? written ? reasoning ?]
    "#]],
    )
    .await;
    let deep = format!("data: {{\"choices\":{}\n\n", "[".repeat(100_000));
    check(OpenAi, stream(deep), expect![[r#"
        Malformed: an event of the answer is not of the protocol: invalid type: sequence, expected u64 at line 1 column 13 [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
}

#[tokio::test]
async fn errors_in_the_middle_of_a_stream() {
    check(OpenAi, stream("data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n"), expect![[r#"
        Throttled { retry_after_ms: 10000 }: the provider broke off: slow down [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
    check(
        OpenAi,
        stream("data: {\"error\":{\"message\":\"boom\",\"code\":\"server_error\"}}\n\n"),
        expect![[r#"
        Overloaded { retry_after_ms: None }: the provider broke off: boom [in ? out ? cached ? written ? reasoning ?]
    "#]],
    )
    .await;
    check(OpenAi, stream("data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"insufficient_system_resource\"}]}\n\n"), expect![[r#"
        Overloaded { retry_after_ms: None }: the provider could not finish the answer: insufficient_system_resource [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
    let begun = ANTHROPIC_TEXT.split("event: ping").next().unwrap();
    let busy = format!(
        "{begun}event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"overloaded_error\",\"message\":\"busy\"}}}}\n\n"
    );
    check(
        Anthropic,
        stream(busy),
        expect![[r#"
        Overloaded { retry_after_ms: None }: the provider broke off: busy [in 18 out ? cached 10 written 3 reasoning ?]
    "#]],
    )
    .await;
}

#[tokio::test]
async fn calls_that_fit_nothing_are_handed_on_as_they_are() {
    let shape = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":9,\"id\":\"a\",\"function\":{\"name\":\"launch_rockets\",\"arguments\":\"[1]\"}},{\"index\":4000000000,\"id\":\"a\",\"function\":{\"name\":\"read\",\"arguments\":\"{\\\"path\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n";
    check(
        OpenAi,
        stream(shape),
        expect![[r#"
        call a launch_rockets "[1]"
        call call_1 read "{\"path"
        ToolCalls org/tiny [in ? out ? cached ? written ? reasoning ?]
        seen: ToolCall("launch_rockets") ToolCall("read")
    "#]],
    )
    .await;
}

#[tokio::test]
async fn usage_that_is_a_lie_stays_within_numbers() {
    let usage = |usage: &str| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"x\"}},\"finish_reason\":\"stop\"}}],\"usage\":{usage}}}\n\n"
        )
    };
    check(
        OpenAi,
        stream(usage(r#"{"prompt_tokens":18446744073709551615,"completion_tokens":-5}"#)),
        expect![[r#"
        text "x"
        End org/tiny [in 1000000000000 out ? cached ? written ? reasoning ?]
        seen: Text("x")
    "#]],
    )
    .await;
    check(
        OpenAi,
        stream(usage(r#"{"prompt_tokens":"many","completion_tokens":{"a":1}}"#)),
        expect![[r#"
        text "x"
        End org/tiny [in ? out ? cached ? written ? reasoning ?]
        seen: Text("x")
    "#]],
    )
    .await;
    check(
        OpenAi,
        stream(usage("null")),
        expect![[r#"
        text "x"
        End org/tiny [in ? out ? cached ? written ? reasoning ?]
        seen: Text("x")
    "#]],
    )
    .await;
    check(
        OpenAi,
        stream(usage(r#"{"prompt_tokens":0,"completion_tokens":0}"#)),
        expect![[r#"
        text "x"
        End org/tiny [in 0 out 0 cached ? written ? reasoning ?]
        seen: Text("x")
    "#]],
    )
    .await;
}

#[tokio::test]
async fn answers_without_end() {
    let head = || Act::Send(answer("200 OK", &[STREAM], ""));
    let text = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(60_000));
    check(
        OpenAi,
        vec![head(), Act::Flood(text.into())],
        expect![[r#"
        TooLarge: the answer says more than 8388608 bytes [in ? out ? cached ? written ? reasoning ?]
    "#]],
    )
    .await;
    check(
        OpenAi,
        vec![head(), Act::Flood(vec![b'x'; 64 << 10])],
        expect![[r#"
        TooLarge: an event of the answer is longer than 1048576 bytes [in ? out ? cached ? written ? reasoning ?]
    "#]],
    )
    .await;
    let mut comment = vec![b':'; 64 << 10];
    comment.push(b'\n');
    check(
        OpenAi,
        vec![head(), Act::Flood(comment)],
        expect![[r#"
        TooLarge: the answer is longer than 134217728 bytes [in ? out ? cached ? written ? reasoning ?]
    "#]],
    )
    .await;
    let call = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"name\":\"read\",\"arguments\":\"{}\"}}]}}]}\n\n";
    check(
        OpenAi,
        stream(call.repeat(70)),
        expect![[r#"
        TooLarge: the answer has more than 64 tool calls [in ? out ? cached ? written ? reasoning ?]
    "#]],
    )
    .await;
    let plain = Act::Send(answer("200 OK", &["content-type: application/json"], ""));
    check(
        OpenAi,
        vec![plain, Act::Flood(vec![b' '; 64 << 10])],
        expect![[r#"
        TooLarge: the answer is longer than 8388608 bytes [in ? out ? cached ? written ? reasoning ?]
    "#]],
    )
    .await;
    let failing = Act::Send(answer("500 Oh", &[], ""));
    check(OpenAi, vec![failing, Act::Flood(vec![b'x'; 64 << 10])], expect![[r#"
        Overloaded { retry_after_ms: None }: the provider answered 500 Internal Server Error: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx… [in 0 out 0 cached 0 written 0 reasoning 0]
    "#]]).await;
    check(OpenAi, vec![Act::Flood(b"HTTP/1.1 200 OK\r\nx: y\r\n".repeat(100))], expect![[r#"
        Unreachable: the connection to the provider broke: client error (SendRequest): invalid HTTP header parsed [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
    assert!(peak_bytes() < 300 << 20, "{} bytes were in use", peak_bytes());
    assert_eq!((ANSWER_BYTES_MAX, EVENT_BYTES_MAX), (8 << 20, 1 << 20));
}

/// The most memory that this process has used.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn every_wait_ends() {
    let long = Timeouts::default();
    check_within(OpenAi, vec![Act::Stall], Timeouts { first_byte_ms: 50, ..long }, expect![[r#"
        TimedOut(FirstByte): the provider took more than 50 ms for the first byte of the answer [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
    let head = answer("200 OK", &[STREAM], "");
    let script = vec![Act::Send(head.clone()), Act::Stall];
    check_within(OpenAi, script, Timeouts { first_byte_ms: 50, ..long }, expect![[r#"
        TimedOut(FirstByte): the provider took more than 50 ms for the first byte of the answer [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
    let script = vec![Act::Send(answer("200 OK", &[STREAM], &OPENAI_TEXT[..300])), Act::Stall];
    check_within(OpenAi, script, Timeouts { idle_ms: 50, ..long }, expect![[r#"
        TimedOut(Idle): the provider took more than 50 ms for the next piece of the answer [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
    let script = vec![Act::Send(head), Act::Drip(b":\n".to_vec())];
    check_within(OpenAi, script, Timeouts { total_ms: 150, ..long }, expect![[r#"
        TimedOut(Total): the provider took more than 150 ms for the whole answer [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
    let script = vec![Act::Send(answer("500 Oh", &[], "half")), Act::Stall];
    check_within(OpenAi, script, Timeouts { idle_ms: 50, ..long }, expect![[r#"
        Overloaded { retry_after_ms: None }: the provider answered 500 Internal Server Error: half [in 0 out 0 cached 0 written 0 reasoning 0]
    "#]]).await;
    let script = vec![Act::Drip(b"H".to_vec())];
    check_within(OpenAi, script, Timeouts { total_ms: 150, ..long }, expect![[r#"
        TimedOut(Total): the provider took more than 150 ms for the whole answer [in ? out ? cached ? written ? reasoning ?]
    "#]]).await;
}

#[tokio::test]
async fn a_call_ends_when_it_is_cancelled() {
    let server =
        Server::start(vec![vec![Act::Send(answer("200 OK", &[STREAM], &OPENAI_TEXT[..600])), Act::Stall]]).await;
    let providers = providers(spec(OpenAi, &server.base_url));
    let cancel = CancelToken::default();
    let (asked, ended) = (request("hello"), cancel.clone());
    let mut seen = |_: wf_effects::models::Delta<'_>| ended.cancel();
    let model = model(&providers);
    let answered = model.respond(&asked, Call { cancel: &cancel, seen: &mut seen }).await;
    expect![[r#"
        Cancelled: the call was cancelled [in ? out ? cached ? written ? reasoning ?]
    "#]]
    .assert_eq(&show(&answered));
}

#[tokio::test]
async fn nobody_there() {
    let server = Server::start(Vec::new()).await;
    let base_url = server.base_url.clone();
    drop(server);
    let mut spec: ProviderSpec = spec(OpenAi, &base_url);
    spec.timeouts.connect_ms = 1_000;
    // The task that listens is gone once it was polled again.
    tokio::task::yield_now().await;
    let providers = providers(spec);
    expect![[r#"
        Unreachable: the provider cannot be reached: client error (Connect): tcp connect error: Connection refused (os error 111) [in 0 out 0 cached 0 written 0 reasoning 0]
    "#]].assert_eq(&show(&ask(&*model(&providers), &request("hello")).await));
}
