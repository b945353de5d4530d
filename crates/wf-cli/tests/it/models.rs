//! Models over HTTP: a local server that speaks chat completions, and everything that runs make of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::place::Place;

/// The key of the tests.
const KEY: &str = "loopback-key-0123456789abcdef";

/// What a server was asked.
pub(crate) struct Asked {
    /// The body.
    pub(crate) body: Value,
    /// Its headers, in lower case.
    pub(crate) headers: String,
    /// How many were asked before.
    pub(crate) number: usize,
}

/// What it answers.
pub(crate) enum Answer {
    /// These pieces of text.
    Says(Vec<String>),
    /// A status with headers.
    Status(u16, &'static str, String),
    /// These calls of tools, with their arguments as they are written.
    Calls(Vec<(&'static str, String)>),
    /// These bytes, whatever they are.
    Raw(Vec<u8>),
    /// These bytes, and then those again and again until nobody reads any more.
    Flood(Vec<u8>, Vec<u8>),
    /// Nothing, until nobody waits any more.
    Stall,
}

/// How an answer in pieces begins.
pub(crate) const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// A server on this machine, for as long as the test goes on.
pub(crate) struct Server {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<(Value, String)>>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<(Value, String)>>> = Arc::default();
        let (known, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (known, answer) = (Arc::clone(&known), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &known, &*answer));
            }
        });
        Self { port, asked }
    }

    /// What it was asked so far: bodies.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().iter().map(|(body, _)| body.clone()).collect()
    }
}

/// One request, one answer, and the connection is over.
fn serve(stream: TcpStream, known: &Mutex<Vec<(Value, String)>>, answer: &dyn Fn(&Asked) -> Answer) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut headers = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        // Values keep their case.
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        headers.push_str(&format!("{}:{value}", name.to_ascii_lowercase()));
    }
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).ok()?;
    let number = {
        let mut known = known.lock().unwrap();
        known.push((body.clone(), headers.clone()));
        known.len() - 1
    };
    let mut stream = &stream;
    let text = match answer(&Asked { body, headers, number }) {
        Answer::Raw(bytes) => return stream.write_all(&bytes).ok(),
        Answer::Flood(head, piece) => {
            stream.write_all(&head).ok()?;
            while stream.write_all(&piece).is_ok() {}
            return None;
        }
        Answer::Stall => {
            let _ = stream.read(&mut [0]);
            return None;
        }
        Answer::Calls(calls) => {
            let call = |(index, (name, arguments)): (usize, (&str, String))| {
                let function = json!({"name": name, "arguments": arguments});
                json!({"index": index, "id": format!("c{number}-{index}"), "type": "function", "function": function})
            };
            let calls: Vec<Value> = calls.into_iter().enumerate().map(call).collect();
            let events = [
                json!({"model": "tiny-1", "choices": [{"index": 0, "delta": {"tool_calls": calls}}]}),
                json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
                json!({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 500}}),
            ];
            let events = events.map(|event| format!("data: {event}\n\n"));
            format!("{HEAD}{}data: [DONE]\n\n", events.concat())
        }
        Answer::Status(status, headers, body) => {
            let length = body.len();
            format!("HTTP/1.1 {status} x\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
        }
        Answer::Says(pieces) => {
            let mut text = HEAD.to_owned();
            let mut event = |value: Value| text.push_str(&format!("data: {value}\n\n"));
            for piece in pieces {
                event(json!({"model": "tiny-1", "choices": [{"index": 0, "delta": {"content": piece}}]}));
            }
            event(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}));
            event(json!({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 500}}));
            text.push_str("data: [DONE]\n\n");
            text
        }
    };
    stream.write_all(text.as_bytes()).ok()
}

pub(crate) fn says(text: impl Into<String>) -> Answer {
    Answer::Says(vec![text.into()])
}

const FLOW: &str = r#"
workflow(
    "letters",
    children = [
        parallel("both", children = [
            ask("one", role = "writer", prompt = "First?", output = schema.object({"text": schema.string()})),
            ask("two", role = "writer", prompt = "Second?", output = schema.object({"text": schema.string()})),
        ]),
    ],
    outputs = {"one": "both.one.text", "two": "both.two.text"},
)
"#;

fn config(providers: &[(&str, u16)], needs: &str) -> String {
    let mut text = String::new();
    for (name, port) in providers {
        text.push_str(&format!(
            "[providers.{name}]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\n\
             key = {{ env = \"LOOPBACK_KEY\" }}\n[providers.{name}.models.\"org/tiny\"]\ncontext = 32000\n\
             features = [\"json\"]\nprice = {{ input = 0.10, output = 0.40, cached = 0.01 }}\n"
        ));
    }
    let models: Vec<String> = providers.iter().map(|(name, _)| format!("\"{name}/org/tiny\"")).collect();
    text + &format!("[roles.writer]\nneeds = [{needs}]\nmodels = [{}]\noutput_tokens_max = 1000\n", models.join(", "))
}

fn place(config: &str) -> Place {
    let place = Place::new();
    place.write("letters.star", FLOW);
    configure(&place, config);
    place
}

pub(crate) fn configure(place: &Place, config: &str) {
    std::fs::create_dir_all(place.home()).unwrap();
    std::fs::write(place.home().join("config.toml"), config).unwrap();
}

fn run(place: &Place, args: &[&str]) -> crate::place::Ran {
    place.run_env(&[("LOOPBACK_KEY", KEY)], args)
}

#[test]
fn a_role_is_asked_over_http_and_its_run_replays_without_it() {
    let server = Server::start(|asked| {
        assert!(asked.headers.contains(&format!("authorization: Bearer {KEY}")), "{}", asked.headers);
        says(format!("{{\"text\": \"{}\"}}", asked.body["messages"][0]["content"].as_str().unwrap().len()))
    });
    let place = place(&config(&[("local", server.port)], "\"json\""));
    let ran = run(&place, &["run", "letters.star", "--json"]);
    assert!(!ran.err.contains("mock"), "{ran:?}");
    let ran = ran.ok();
    assert_eq!(ran["outputs"], json!({"one": "6", "two": "7"}));
    // 2 x (1000 x 0.10 + 500 x 0.40) micro-dollars.
    assert_eq!((&ran["usage"]["cost_usd_micros"], &ran["usage"]["output_tokens"]), (&json!(600), &json!(1000)));
    let bodies = server.asked();
    assert_eq!(bodies.len(), 2);
    assert_eq!((&bodies[0]["model"], &bodies[0]["max_tokens"]), (&json!("org/tiny"), &json!(1000)));
    let shown = place.run(&["show", "@last", "both/one", "--json"]).ok();
    assert_eq!(
        shown["resolved_role"],
        json!({"provider": "local", "model": "org/tiny", "params": {}, "output_tokens_max": 1000})
    );
    assert_eq!(shown["price"], json!({"input": 100_000, "output": 400_000, "cached": 10_000}));
    drop(server);
    std::fs::remove_file(place.home().join("config.toml")).unwrap();
    assert_eq!(place.run(&["replay", "@last", "--json"]).ok()["equal"], true);
}

#[test]
fn a_provider_that_wants_to_be_left_alone_is_and_no_attempt_is_used() {
    let server = Server::start(|asked| match asked.number {
        0 => Answer::Status(429, "retry-after: 0.2\r\n", "{\"error\":{\"message\":\"slow down\"}}".to_owned()),
        _ => says("{\"text\": \"now\"}"),
    });
    let place = place(&config(&[("local", server.port)], ""));
    let ran = run(&place, &["run", "letters.star", "--json"]).ok();
    assert_eq!(ran["outputs"], json!({"one": "now", "two": "now"}));
    let shown = place.run(&["show", "--json"]).ok();
    let attempts: Vec<&Value> = shown["instances"].as_array().unwrap().iter().map(|it| &it["attempts"]).collect();
    assert_eq!(attempts, [&json!(1), &json!(1), &json!(1)], "{shown}");
    let logs = place.run(&["logs", "@last", "--raw"]).out;
    assert_eq!(logs.matches("\"rate_limit\"").count(), 1, "{logs}");
}

#[test]
fn whoever_is_out_is_passed_over_and_the_log_says_why() {
    let out = Server::start(|_| Answer::Status(503, "", "{\"error\":{\"message\":\"on fire\"}}".to_owned()));
    let server = Server::start(|_| says("{\"text\": \"second\"}"));
    let place = place(&config(&[("first", out.port), ("local", server.port)], ""));
    let ran = run(&place, &["run", "letters.star", "--json"]).ok();
    assert_eq!(ran["outputs"], json!({"one": "second", "two": "second"}));
    let shown = place.run(&["show", "@last", "both/one", "--json"]).ok();
    let passed_over = &shown["passed_over"];
    assert_eq!(passed_over[0]["model"], "first/org/tiny", "{shown}");
    let why = passed_over[0]["why"].as_str().unwrap();
    assert!(why.starts_with("out: the provider answered 503") && why.ends_with("on fire"), "{why}");
    assert_eq!(shown["attempts"], 1, "{shown}");
}

#[test]
fn an_answer_that_does_not_fit_is_asked_again() {
    let server = Server::start(|asked| match asked.body["messages"].as_array().unwrap().len() {
        1 => says("it is 7"),
        _ => says("```json\n{\"text\": \"7\"}\n```"),
    });
    let place = place(&config(&[("local", server.port)], ""));
    let ran = run(&place, &["run", "letters.star", "--json"]).ok();
    assert_eq!(ran["outputs"], json!({"one": "7", "two": "7"}));
    assert_eq!(server.asked().len(), 4);
    assert_eq!(ran["usage"]["cost_usd_micros"], 1200);
}

/// Exit code, code and message of an error, the port left out.
fn refused(place: &Place, env: &[(&str, &str)], args: &[&str]) -> String {
    let ran = place.run_env(env, args);
    let error = ran.json()["error"].clone();
    format!("{} {} {}", ran.code, error["code"].as_str().unwrap(), error["message"].as_str().unwrap())
}

#[test]
fn what_cannot_be_asked_is_known_before_anything_is_spent() {
    let server = Server::start(|_| says("{\"text\": \"x\"}"));
    let place = place(&config(&[("local", server.port)], "\"json\""));
    let keyless = refused(&place, &[], &["run", "letters.star", "--json"]);
    expect_test::expect!["7 WF0905 1 problem was found: there is no key for the role `writer` of `both/one`: local/org/tiny: there is no key in the variable LOOPBACK_KEY"].assert_eq(&keyless);
    configure(&place, &config(&[("local", server.port)], "\"tools\""));
    let env = [("LOOPBACK_KEY", KEY)];
    let unsatisfied = refused(&place, &env, &["run", "letters.star", "--json"]);
    expect_test::expect!["3 WF0901 1 problem was found: nothing here satisfies the role `writer` of `both/one`: local/org/tiny: it is not known to have `tools`"].assert_eq(&unsatisfied);
    let checked = place.run_env(&env, &["check", "letters.star", "--json"]);
    assert_eq!((checked.code, checked.json()["preflight"][0]["code"].as_str()), (0, Some("WF0901")), "{checked:?}");
    assert_eq!(server.asked().len(), 0);
    assert_eq!(place.run(&["ps", "--json"]).ok()["runs"], json!([]));
    // With rules for the mock, the mock it is.
    place.write("rules.toml", "");
    assert_eq!(run(&place, &["run", "letters.star", "--mock", "rules.toml", "--json"]).code, 0);
    assert_eq!(server.asked().len(), 0);
}

#[test]
fn a_ceiling_holds_and_can_be_raised() {
    let server = Server::start(|_| says("{\"text\": \"x\"}"));
    let place = place(&config(&[("local", server.port)], "\"json\""));
    let ran = run(&place, &["run", "letters.star", "--budget-usd", "0.0001", "--json"]);
    assert_eq!((ran.code, ran.json()["status"].as_str()), (4, Some("budget_exceeded")), "{ran:?}");
    assert_eq!(server.asked().len(), 0, "what is reserved does not fit");
    assert_eq!(run(&place, &["resume", "@last", "--json"]).code, 4);
    let ran = run(&place, &["resume", "@last", "--budget-usd", "+2", "--json"]).ok();
    assert_eq!((ran["status"].as_str(), &ran["usage"]["cost_usd_micros"]), (Some("succeeded"), &json!(600)));
    let ran = run(&place, &["run", "letters.star", "--budget-tokens", "1500", "--json"]);
    assert_eq!((ran.code, server.asked().len()), (4, 3), "the second has no room: {ran:?}");
    assert_eq!(run(&place, &["resume", "@last", "--budget-tokens", "+9000", "--json"]).code, 0);
}

#[test]
fn only_the_users_own_file_names_providers_and_no_key_in_clear() {
    let server = Server::start(|_| says("{\"text\": \"x\"}"));
    let own = config(&[("local", server.port)], "\"json\"");
    let check = |config: &str, expected: expect_test::Expect| {
        let place = place(config);
        let error = refused(&place, &[], &["run", "letters.star", "--json"]);
        assert!(!error.contains("loopback-key"), "{error}");
        expected.assert_eq(&error.replace(place.home().to_str().unwrap(), "…"));
    };
    let with = |from: &str, to: &str| own.replacen(from, to, 1);
    let key = "key = { env = \"LOOPBACK_KEY\" }";
    check(
        &with(key, &format!("key = \"{KEY}\"")),
        expect_test::expect![[
            r#"3 WF0703 …/config.toml:4:7: a key does not belong here in clear: write { env = "NAME" }, { file = "/path" } or { keyring = "name" }"#
        ]],
    );
    check(
        &with(key, &format!("key = {{ env = \"{KEY}\" }}")),
        expect_test::expect![[
            r#"3 WF0703 …/config.toml:4:7: `env` is the name of a variable, not a key: write { env = "NAME" }, { file = "/path" } or { keyring = "name" }"#
        ]],
    );
    check(
        &with(key, &format!("headers = {{ Authorization = \"Bearer {KEY}\" }}")),
        expect_test::expect![[
            r#"3 WF0703 …/config.toml:4:29: the header Authorization holds a key, which does not belong here in clear: write { env = "NAME" }, { file = "/path" } or { keyring = "name" }"#
        ]],
    );
    check(
        &with("http://", &format!("http://me:{KEY}@")),
        expect_test::expect![[
            r#"3 WF0703 …/config.toml:3:12: a base URL has no user, query or fragment; a key is named by `key = { env = "NAME" }`"#
        ]],
    );
    check(
        &with("kind = \"openai\"", &format!("kind = \"{KEY}\"")),
        expect_test::expect!["3 WF0703 …/config.toml:2:8: a provider is of kind openai, anthropic or mock"],
    );
    check(
        &with("context = 32000", &format!("context = \"{KEY}\"")),
        expect_test::expect!["3 WF0703 …/config.toml:6:11: invalid type: string, expected u64"],
    );
    check(
        &with("\"local/org/tiny\"", "\"other/org/tiny\""),
        expect_test::expect!["3 WF0703 …/config.toml:11:11: there is no provider `other` in this file"],
    );
    check(
        &with("[\"json\"]\nprice", "[\"yaml\"]\nprice"),
        expect_test::expect![[
            r#"3 WF0703 …/config.toml:7:13: "yaml" is no feature: tools, json, reasoning_back, max_completion_tokens"#
        ]],
    );

    let place = place(&own);
    place.write(".whaleflow/config.toml", &config(&[("evil", 1)], "\"json\""));
    place.commit_all();
    assert_eq!(place.run(&["trust"]).code, 0);
    place.write("tree.star", "workflow(\"look\", children = [search(\"find\", pattern = \"x\", reads = [\"**\"])])");
    let error = refused(&place, &[("LOOPBACK_KEY", KEY)], &["run", "tree.star", "--json"]);
    let root = std::fs::canonicalize(place.dir()).unwrap();
    expect_test::expect!["3 WF0703 …/.whaleflow/config.toml:1:2: only the user's own file may name providers, agents and roles; nothing of this one is used"]
    .assert_eq(&error.replace(root.to_str().unwrap(), "…"));
}

#[test]
fn what_is_found_is_proposed_and_written_only_when_confirmed() {
    let place = Place::new();
    let env = [("OPENAI_API_KEY", KEY)];
    let told = place.run_env(&env, &["init"]);
    assert!(told.code == 0 && told.err.contains("a key of openai is here, in the variable OPENAI_API_KEY"), "{told:?}");
    let file = place.home().join("config.toml");
    let model = ["init", "--model", "openai/org/tiny"];
    let asked = place.run_env(&env, &model);
    assert!(asked.code == 0 && asked.err.contains("not written"), "{asked:?}");
    assert!(!file.exists());
    assert_eq!(place.run_env(&env, &["init", "--model", "other/x", "--yes"]).code, 2);
    assert_eq!(place.run_env(&env, &["init", "--model", "openai/org/tiny", "--yes"]).code, 0);
    expect_test::expect![[r#"
        [providers.openai]
        kind = "openai"
        base_url = "https://api.openai.com/v1"
        key = { env = "OPENAI_API_KEY" }
        models."org/tiny" = { features = ["tools"] }

        [roles.default]
        models = ["openai/org/tiny"]
    "#]]
    .assert_eq(&std::fs::read_to_string(&file).unwrap());
    let doctor = place.run_env(&env, &["doctor", "--json"]).json();
    let said: Vec<&str> = doctor["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| ["provider", "role"].contains(&it["name"].as_str().unwrap()))
        .map(|it| it["message"].as_str().unwrap())
        .collect();
    expect_test::expect![[r#"
        openai speaks openai at https://api.openai.com/v1; its key is in the variable OPENAI_API_KEY
        default is done by openai/org/tiny"#]]
    .assert_eq(&said.join("\n"));
    let again = place.run_env(&env, &["init"]);
    assert!(again.code == 0 && !again.err.contains("openai"), "nothing is proposed twice: {again:?}");
}
