//! Servers that lie, stall, flood and break the rules, at the level of a run: each leaf has a typed end, memory is bounded,
//! and the run goes on as its workflow says.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::models::{Answer, HEAD, Server, configure, says};
use crate::place::Place;

/// The program's own memory in these tests; some of the answers would be larger.
const MEMORY_KIB: u64 = 256 << 10;

/// One leaf is tried twice, and another takes over where it fails.
const FLOW: &str = r#"
workflow(
    "hard",
    children = [
        sequence("steps", on_failure = "continue", children = [
            ask(
                "first",
                role = "writer",
                prompt = "First?",
                output = schema.object({"text": schema.string()}),
                retry = retry(attempts = 2, backoff = "1ms"),
            ),
            ask(
                "second",
                role = "other",
                prompt = "Second?",
                output = schema.object({"text": schema.string()}),
                needs = ["first"],
                accept = ["failed"],
                when = "node.first.status == 'failed'",
            ),
        ]),
    ],
    outputs = {"text": "steps.second.text"},
)
"#;

fn provider(name: &str, port: u16) -> String {
    format!(
        "[providers.{name}]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\n\
         timeouts = {{ first_byte = \"200ms\", idle = \"200ms\" }}\n\
         [providers.{name}.models.\"org/tiny\"]\ncontext = 32000\nfeatures = [\"json\", \"tools\"]\n\
         price = {{ input = 0.10, output = 0.40 }}\n"
    )
}

fn place(bad: &Server, good: &Server, writer: &str) -> Place {
    let place = Place::new();
    place.write("hard.star", FLOW);
    let roles = format!("[roles.writer]\nmodels = [{writer}]\n[roles.other]\nmodels = [\"good/org/tiny\"]\n");
    configure(&place, &(provider("bad", bad.port) + &provider("good", good.port) + &roles));
    place
}

/// A server whose every answer is bad; the leaf fails with a type, and the other takes over.
fn check(answer: impl Fn() -> Answer + Send + Sync + 'static, calls: usize, expected: Expect) {
    let bad = Server::start(move |_| answer());
    let good = Server::start(|_| says("{\"text\": \"from the other\"}"));
    let place = place(&bad, &good, "\"bad/org/tiny\"");
    let ran = place.run_limited(&format!("-d {MEMORY_KIB}"), &["run", "hard.star", "--json"]).ok();
    assert_eq!(ran["outputs"], json!({"text": "from the other"}), "{ran}");
    assert_eq!((bad.asked().len(), good.asked().len()), (calls, 1));
    let shown = place.run(&["show", "@last", "steps/first", "--json"]).ok();
    let (code, message) = (shown["reason"]["code"].as_str().unwrap(), shown["reason"]["message"].as_str().unwrap());
    assert!(message.len() < 3_000, "{message}");
    let message: String = message.chars().take(110).collect();
    expected.assert_eq(&format!("{} {} {code}: {message}", shown["status"].as_str().unwrap(), shown["attempts"]));
    assert_eq!(place.run(&["replay", "@last", "--json"]).ok()["equal"], true);
}

fn event(text: &str) -> Vec<u8> {
    [HEAD.as_bytes(), b"data: ", text.as_bytes(), b"\n\n"].concat()
}

#[test]
fn what_is_not_of_the_protocol_fails_the_leaf_and_another_takes_over() {
    check(
        || Answer::Raw(event("{\"choices\":[")),
        2,
        expect![
            "failed 2 provider_malformed: bad/org/tiny: an event of the answer is not of the protocol: EOF while parsing a list at line 1 column 12"
        ],
    );
    check(
        || {
            Answer::Raw(
                [&event("")[..event("").len() - 2], b"{\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}\n\n"].concat(),
            )
        },
        2,
        expect!["failed 2 provider_malformed: bad/org/tiny: the answer is not UTF-8"],
    );
    check(
        || Answer::Raw(event("{\"choices\":[{\"delta\":{\"content\":\"{\"}}]}")),
        2,
        expect!["failed 2 provider_malformed: bad/org/tiny: the answer ended in the middle"],
    );
    check(
        || Answer::Raw(event(&format!("{{\"choices\":{}", "[".repeat(500_000)))),
        2,
        expect![
            "failed 2 provider_malformed: bad/org/tiny: an event of the answer is not of the protocol: invalid type: sequence, expected u64 at line 1 co"
        ],
    );
    check(
        || Answer::Status(400, "", "{\"error\":{\"message\":\"no\"}}".to_owned()),
        1,
        expect!["failed 1 provider_request: bad/org/tiny: the provider answered 400 Bad Request: no"],
    );
    check(
        || Answer::Status(302, "location: http://127.0.0.1:1/\r\n", String::new()),
        1,
        expect![
            "failed 1 provider_request: bad/org/tiny: the provider answered 302 Found, and redirects are not followed"
        ],
    );
}

#[test]
fn what_never_ends_is_cut_off_within_bounded_memory() {
    let text = || format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(60_000));
    check(
        move || Answer::Flood(HEAD.into(), text().into()),
        2,
        expect!["failed 2 provider_too_large: bad/org/tiny: the answer says more than 8388608 bytes"],
    );
    check(
        || Answer::Flood(HEAD.into(), vec![b'x'; 1 << 20]),
        2,
        expect!["failed 2 provider_too_large: bad/org/tiny: an event of the answer is longer than 1048576 bytes"],
    );
    check(
        || Answer::Flood(HEAD.into(), [vec![b':'; 1 << 16], vec![b'\n']].concat()),
        2,
        expect!["failed 2 provider_too_large: bad/org/tiny: the answer is longer than 134217728 bytes"],
    );
}

#[test]
fn answers_that_never_fit_end_with_what_does_not() {
    // Twice more in each attempt.
    check(
        || says("it is 7"),
        6,
        expect!["failed 2 output_invalid: bad/org/tiny: it is not JSON: expected value at line 1 column 1"],
    );
    check(
        || says("{\"text\": 7}"),
        6,
        expect![[r#"failed 2 output_invalid: bad/org/tiny: at /text: 7 is not of type "string""#]],
    );
    check(
        || Answer::Calls(vec![("launch_rockets", "{oops".to_owned())]),
        6,
        expect!["failed 2 output_invalid: bad/org/tiny: it is empty"],
    );
}

#[test]
fn whoever_stalls_is_passed_over() {
    let stalls = Server::start(|_| Answer::Stall);
    let good = Server::start(|asked| says(format!("{{\"text\": \"{}\"}}", asked.number)));
    let place = place(&stalls, &good, "\"bad/org/tiny\", \"good/org/tiny\"");
    place.write("hard.star", &FLOW.replace("steps.second", "steps.first"));
    let ran = place.run(&["run", "hard.star", "--json"]).ok();
    assert_eq!((stalls.asked().len(), good.asked().len()), (1, 1), "{ran}");
    let first = place.run(&["show", "@last", "steps/first", "--json"]).ok();
    assert_eq!((&first["status"], &first["attempts"]), (&json!("succeeded"), &json!(1)), "{first}");
    assert_eq!(first["passed_over"][0]["model"], "bad/org/tiny");
    let shown = place.run(&["show", "@last", "steps/first"]).out;
    let over: Vec<&str> = shown.lines().filter(|line| line.starts_with("passed over")).collect();
    let reason = "the provider took more than 200 ms for the first byte of the answer";
    assert_eq!(over, [format!("passed over bad/org/tiny · out: {reason}")]);
    let log = place.run(&["logs", "@last"]).out;
    let waits: Vec<&str> = log.lines().filter(|line| line.contains("waits until")).collect();
    assert!(waits.len() == 1 && waits[0].ends_with(&format!(": bad/org/tiny: {reason}")), "{waits:?}");
    let report = place.run(&["report", "@last"]).out;
    let told: Vec<&str> = report.lines().filter(|line| line.contains("org/tiny")).collect();
    expect![[r#"
        | `writer` | `good/org/tiny` | 1 | $0.1000 | $0.4000 |
        - `writer` was not done by `bad/org/tiny`: out: the provider took more than 200 ms for the first byte of the answer"#]].assert_eq(&told.join("\n"));
}

#[test]
fn a_charge_beyond_its_reservation_stops_new_calls() {
    let usage = |tokens: u64| {
        format!(
            "{HEAD}data: {{\"choices\":[{{\"delta\":{{\"content\":\"{{\\\"text\\\": \\\"x\\\"}}\"}},\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":{tokens},\"completion_tokens\":9}}}}\n\ndata: [DONE]\n\n"
        )
    };
    let lies = Server::start(move |_| Answer::Raw(usage(90_000_000_000).into_bytes()));
    let good = Server::start(|_| says("{\"text\": \"x\"}"));
    let place = place(&lies, &good, "\"bad/org/tiny\"");
    let flow = FLOW.replace("accept = [\"failed\"],", "").replace("when = \"node.first.status == 'failed'\",", "");
    place.write("hard.star", &flow);
    let ran = place.run(&["run", "hard.star", "--budget-usd", "1", "--json"]);
    assert_eq!((ran.code, lies.asked().len(), good.asked().len()), (4, 1, 0), "{ran:?}");
    let first = place.run(&["show", "@last", "steps/first", "--json"]).ok();
    assert_eq!(first["status"], "succeeded");
    assert!(first["overrun"]["cost_usd_micros"].as_u64().unwrap() > 8_000_000_000, "{first}");
    let ran: Value = ran.json();
    assert_eq!(ran["status"], "budget_exceeded");
}
