//! Headless command lines, played by a script that prints what they print.

use std::time::Duration;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use wf_effects::external::{AgentKind, AgentSpec};

use crate::external::{Case, Played};
use crate::setup::block;

/// How a leaf ends with these runs, and its trace.
fn check(kind: AgentKind, leaf: &str, runs: Value, expected: Expect) {
    with(kind, leaf, runs, |_| {}, expected);
}

fn with(kind: AgentKind, leaf: &str, runs: Value, spec: impl Fn(&mut AgentSpec) + 'static, expected: Expect) {
    block(async {
        let case = Case { kind, script: json!({"runs": runs}), spec: Box::new(spec), ..Case::default() };
        let (ended, trace) = Played::new(case).await.perform(leaf).await;
        let line = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            let text: String = line["text"].as_str().unwrap().chars().take(200).collect();
            format!("{}: {}", line["stream"].as_str().unwrap(), text.replace('\n', "⏎"))
        };
        let traced: Vec<String> = trace.lines().map(line).collect();
        expected.assert_eq(&format!("{ended}\n{}", traced.join("\n")));
    });
}

/// What `claude -p` prints.
fn claude(said: &str) -> Vec<Value> {
    let block = |content: Value| json!({"type": "assistant", "message": {"role": "assistant", "content": content}});
    vec![
        json!({"type": "system", "subtype": "init", "session_id": "c-1", "tools": ["Bash", "Edit"], "model": "m"}),
        block(json!([{"type": "thinking", "thinking": "hm"}])),
        block(json!([{"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "t", "name": "Edit", "input": {"file_path": "src/a.txt", "old_string": "one"}}])),
        json!({"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "t", "content": "edited"}]}}),
        json!({"type": "rate_limit_event", "info": {"x": [1, 2]}}),
        json!({"type": "result", "subtype": "success", "is_error": false, "result": said, "session_id": "c-1",
            "total_cost_usd": 0.0125, "usage": {"input_tokens": 100, "cache_read_input_tokens": 50,
            "cache_creation_input_tokens": 25, "output_tokens": 10}}),
    ]
}

/// What `codex exec` prints.
fn codex(said: &str) -> Vec<Value> {
    let item = |kind: &str, item: Value| json!({"type": kind, "item": item});
    vec![
        json!({"type": "thread.started", "thread_id": "x-1"}),
        json!({"type": "turn.started"}),
        item("item.completed", json!({"id": "0", "type": "reasoning", "text": "hm"})),
        item(
            "item.started",
            json!({"id": "1", "type": "command_execution", "command": "make", "status": "in_progress"}),
        ),
        item(
            "item.completed",
            json!({"id": "1", "type": "command_execution", "command": "make",
            "aggregated_output": "ok\n", "exit_code": 0, "status": "completed"}),
        ),
        item(
            "item.completed",
            json!({"id": "2", "type": "file_change", "changes": [{"path": "src/a.txt", "kind": "update"}]}),
        ),
        json!({"type": "error", "message": "Reconnecting"}),
        item("item.completed", json!({"id": "3", "type": "agent_message", "text": said})),
        json!({"type": "turn.completed",
            "usage": {"input_tokens": 100, "cached_input_tokens": 60, "output_tokens": 10}}),
    ]
}

/// What `opencode run` prints.
fn opencode(said: &str) -> Vec<Value> {
    let event = |kind: &str, part: Value| json!({"type": kind, "timestamp": 1, "sessionID": "ses_1", "part": part});
    let tokens = json!({"input": 100, "output": 10, "reasoning": 5, "cache": {"read": 50, "write": 0}});
    vec![
        event("step_start", json!({"type": "step-start"})),
        event(
            "tool_use",
            json!({"tool": "edit", "state": {"status": "completed", "input": {"filePath": "src/a.txt"}, "output": "edited"}}),
        ),
        event("step_finish", json!({"reason": "tool-calls", "cost": 0.01, "tokens": tokens})),
        event("step_start", json!({"type": "step-start"})),
        event("text", json!({"type": "text", "text": said})),
        event("step_finish", json!({"reason": "stop", "cost": 0.0025, "tokens": tokens})),
    ]
}

/// Lines without those at the end.
fn cut(mut lines: Vec<Value>, by: usize) -> Value {
    lines.truncate(lines.len() - by);
    json!([{"lines": lines}])
}

fn good(lines: Vec<Value>) -> Value {
    json!([{"lines": lines, "edit": [["src/a.txt", "two\n"]]}])
}

#[test]
fn each_dialect_is_understood() {
    check(
        AgentKind::Claude,
        "b/typed",
        good(claude("Done:\n```json\n{\"n\": 1}\n```")),
        expect![[r#"
            {"n":1} for 12500 µ$
            kept session
            used 175 in, 10 out, 50 cached
            session: c-1
            think: hm
            say: Let me see.
            call: Edit src/a.txt
            result: edited"#]],
    );
    check(
        AgentKind::Codex,
        "b/typed",
        good(codex("{\"n\": 2}")),
        expect![[r#"
            {"n":2}
            kept session
            used 100 in, 10 out, 60 cached
            session: x-1
            think: hm
            call: command_execution make
            result: ok⏎
            call: file_change src/a.txt
            say: {"n": 2}"#]],
    );
    check(
        AgentKind::OpenCode,
        "b/typed",
        good(opencode("{\"n\": 3}")),
        expect![[r#"
            {"n":3} for 12500 µ$
            kept session
            used 300 in, 30 out, 100 cached
            session: ses_1
            call: edit src/a.txt
            result: edited
            say: {"n": 3}"#]],
    );
}

#[test]
fn what_is_cut_off_is_no_result() {
    check(
        AgentKind::Claude,
        "b/typed",
        cut(claude("{\"n\": 1}"), 1),
        expect![[r#"
        agent_ended (retryable): agents/bot: the agent ended before it was done: what it prints was cut off; exit code 0
        used ? in, ? out, ? cached
        session: c-1
        think: hm
        say: Let me see.
        call: Edit src/a.txt
        result: edited"#]],
    );
    check(
        AgentKind::Codex,
        "b/typed",
        cut(codex("{\"n\": 2}"), 1),
        expect![[r#"
        agent_error (retryable): agents/bot: the agent says: Reconnecting
        used ? in, ? out, ? cached
        session: x-1
        think: hm
        call: command_execution make
        result: ok⏎
        call: file_change src/a.txt
        say: {"n": 2}"#]],
    );
    check(
        AgentKind::OpenCode,
        "b/typed",
        cut(opencode("{\"n\": 3}"), 1),
        expect![[r#"
        agent_ended (retryable): agents/bot: the agent ended before it was done: what it prints was cut off; exit code 0
        used ? in, ? out, ? cached
        session: ses_1
        call: edit src/a.txt
        result: edited
        say: {"n": 3}"#]],
    );
    let lines = json!(["{\"type\": \"result\", \"resu"]);
    check(
        AgentKind::Claude,
        "b/typed",
        json!([{"lines": lines}]),
        expect![[r#"
        agent_ended (retryable): agents/bot: the agent ended before it was done: what it prints was cut off; exit code 0
        used ? in, ? out, ? cached
        stdout: {"type": "result", "resu"#]],
    );
}

#[test]
fn what_a_program_says_went_wrong_is_the_reason() {
    let result = json!({"type": "result", "subtype": "error_during_execution", "is_error": true, "session_id": "c-1",
        "usage": {"input_tokens": 5, "output_tokens": 1}});
    check(
        AgentKind::Claude,
        "b/fix",
        json!([{"lines": [result], "exit": 1}]),
        expect![[r#"
        agent_error (retryable): agents/bot: the agent says: error_during_execution
        used 5 in, 1 out, ? cached
        session: c-1"#]],
    );
    let limit = json!({"type": "result", "subtype": "error_max_turns", "session_id": "c-1"});
    check(
        AgentKind::Claude,
        "b/fix",
        json!([{"lines": [limit]}]),
        expect![[r#"
        agent_error (retryable): agents/bot: the agent says: error_max_turns
        used ? in, ? out, ? cached
        session: c-1"#]],
    );
    let failed = json!({"type": "turn.failed", "error": {"message": "no such model"}});
    check(
        AgentKind::Codex,
        "b/fix",
        json!([{"lines": [failed], "exit": 1}]),
        expect![[r#"
        agent_error (retryable): agents/bot: the agent says: no such model
        used ? in, ? out, ? cached
    "#]],
    );
    let error =
        json!({"type": "error", "sessionID": "ses_1", "error": {"name": "AuthError", "data": {"message": "log in"}}});
    check(
        AgentKind::OpenCode,
        "b/fix",
        json!([{"lines": [error]}]),
        expect![[r#"
        agent_error (retryable): agents/bot: the agent says: log in
        used ? in, ? out, ? cached
        session: ses_1"#]],
    );
    check(
        AgentKind::Codex,
        "b/fix",
        json!([{"lines": [], "stderr": "usage: …\n", "exit": 2}]),
        expect![[r#"
        agent_ended (retryable): agents/bot: the agent ended before it was done: exit code 2; it wrote: usage: …
        used ? in, ? out, ? cached
        stderr: usage: …"#]],
    );
    // It is done, and yet it fails.
    check(
        AgentKind::Codex,
        "b/fix",
        json!([{"lines": codex("x"), "exit": 4}]),
        expect![[r#"
        agent_ended (retryable): agents/bot: the agent ended before it was done: exit code 4
        used 100 in, 10 out, 60 cached
        session: x-1
        think: hm
        call: command_execution make
        result: ok⏎
        call: file_change src/a.txt
        say: x"#]],
    );
}

#[test]
fn a_session_is_gone_on_with_until_the_result_fits() {
    let again = |line: &str| json!(line.replace("SAID", "{\\\"n\\\": 7}"));
    let second = json!([
        again(r#"{"type":"system","subtype":"init","session_id":"c-1"}"#),
        r#"{"type":"assistant","message":{"content":[{"type":"text","text":"{args}"},{"type":"text","text":"{prompt}"}]}}"#,
        again(
            r#"{"type":"result","subtype":"success","is_error":false,"result":"SAID","total_cost_usd":0.5,"usage":{"input_tokens":1,"output_tokens":1}}"#
        ),
    ]);
    let runs = json!([{"lines": claude("seven")}, {"lines": second}]);
    check(
        AgentKind::Claude,
        "b/typed",
        runs,
        expect![[r#"
        {"n":7} for 512500 µ$
        kept session
        used 176 in, 11 out, ? cached
        session: c-1
        think: hm
        say: Let me see.
        call: Edit src/a.txt
        result: edited
        session: c-1
        say: -p --output-format stream-json --verbose --permission-mode acceptEdits --resume c-1
        say: What you handed back cannot be taken: it is not JSON: expected value at line 1 column 1⏎⏎When you are done, end with one last message that holds the result in a code fence (```json), and nothing after
        say: "#]],
    );
    // One that names no session is told everything again.
    let nameless = r#"{"type":"item.completed","item":{"type":"agent_message","text":"seven"}}"#;
    let done = r#"{"type":"turn.completed"}"#;
    let fits = r#"{"type":"item.completed","item":{"type":"agent_message","text":"{\"n\": 7}"}}"#;
    let heard = r#"{"type":"item.completed","item":{"type":"reasoning","text":"{args} {prompt}"}}"#;
    let runs = json!([{"lines": [nameless, done]}, {"lines": [heard, fits, done]}]);
    check(
        AgentKind::Codex,
        "b/typed",
        runs,
        expect![[r#"
        {"n":7}
        used ? in, ? out, ? cached
        say: seven
        think: exec --json --skip-git-repo-check --sandbox workspace-write - You work on a task in a repository, on your own, with the tools that you are given. Nobody answers questions.⏎- Look before you change any
        think: 
        say: {"n": 7}"#]],
    );
}

#[test]
fn a_program_that_prints_something_else_is_stopped() {
    let odd = |count: usize| json!([{"lines": vec!["what?"; count]}]);
    check(
        AgentKind::OpenCode,
        "b/fix",
        odd(2),
        expect![[r#"
        agent_ended (retryable): agents/bot: the agent ended before it was done: what it prints was cut off; exit code 0
        used ? in, ? out, ? cached
        stdout: what?
        stdout: what?"#]],
    );
    block(async {
        let case = Case { kind: AgentKind::OpenCode, script: json!({"runs": odd(101)}), ..Case::default() };
        let (ended, trace) = Played::new(case).await.perform("b/fix").await;
        expect![[r#"
            agent_protocol (retryable): agents/bot: the agent did not keep to what was agreed: it printed more than 100 lines that are no JSON objects
            used ? in, ? out, ? cached"#]].assert_eq(&ended);
        assert_eq!(trace.lines().count(), 100);
    });
    check(
        AgentKind::Claude,
        "b/fix",
        json!([{"lines": [], "flood": 1_000_000_000}]),
        expect![[r#"
        agent_output (retryable): agents/bot: the agent wrote too much: it wrote a line of more than 4194304 bytes
        used ? in, ? out, ? cached
    "#]],
    );
    let idle = |spec: &mut AgentSpec| spec.timeouts.idle = Duration::from_millis(300);
    with(
        AgentKind::Claude,
        "b/fix",
        json!([{"lines": [], "hang": true}]),
        idle,
        expect![[r#"
        agent_idle (retryable): agents/bot: the agent said nothing for 0.3 s
        used ? in, ? out, ? cached
    "#]],
    );
    // It hands back what fits, and lingers on: it is ended, and the result stands.
    check(
        AgentKind::Claude,
        "b/fix",
        json!([{"lines": claude("done"), "hang": true}]),
        expect![[r#"
        "done" for 12500 µ$
        kept session
        used 175 in, 10 out, 50 cached
        session: c-1
        think: hm
        say: Let me see.
        call: Edit src/a.txt
        result: edited"#]],
    );
    // It reads nothing of what it is told.
    check(
        AgentKind::Codex,
        "b/fix",
        json!([{"lines": codex("deaf"), "reads": false}]),
        expect![[r#"
        "deaf"
        kept session
        used 100 in, 10 out, 60 cached
        session: x-1
        think: hm
        call: command_execution make
        result: ok⏎
        call: file_change src/a.txt
        say: deaf"#]],
    );
}
