//! What each node does, one screen each: a workflow, a script of answers, and the timeline that comes of it.
//!
//! A script line is `PATH[@ATTEMPT]: ANSWER`, where an answer is `json VALUE`, `fail CODE`, `final CODE` (not worth
//! another attempt), `adds TASK…` (to the list of tasks), `timeout`, `throttle MS`, `hang` (never answers), `asks N` (for a budget of N tokens in all; without it, it hands back half), `wrote FILE…` for checkpoints, `lost` for one
//! that finds that the first attempt's work went with the machine, or `full MS` for a branch whose tree is not to be had
//! the first time. What no line names succeeds at once with a text. Lines that begin
//! with `>` are carried out when nothing else can happen. Commands: `> approve PATH`, `> reject PATH`, `> signal NAME`,
//! `> cancel [PATH]`, `> pause [PATH] [now]`, `> resume [PATH|tokens=N]`, `> steer PATH TEXT`, `> retry`. And accidents:
//! `> die` (the owner does, and another adopts the run), `> lose PATH` (the worker that performs it is gone).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::{Value as Json, json};
use wf_ir::node::Budget;
use wf_ir::{Kind, Value, Workflow};
use wf_kernel::record::{Adopted, EffectOutcome, Failure, Metered, Success, TREE_LOST, WorkerLost};
use wf_kernel::{
    Amount, Command, Decision, Effect, Input, InputBody, Outcome, Record, Replay, Request, RunState, Usage, ValueRef,
    in_flight, step,
};

use crate::simulate::{fold, started};
use crate::world::{Weather, answer, workflow};

const CALM: Weather = Weather { failures: 0, throttling: 0, unknown_usage: 0, lies_about_usage: false };

struct Script {
    answers: BTreeMap<String, String>,
    commands: std::collections::VecDeque<String>,
}

fn check(source: Json, script: &str, expected: Expect) {
    let mut source = source;
    if source.get("workflow").is_none() {
        source = json!({ "workflow": "it", "children": source });
    }
    let workflow = workflow(&source);
    let mut parsed = Script { answers: BTreeMap::new(), commands: std::collections::VecDeque::new() };
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix("> ") {
            Some(command) => parsed.commands.push_back(command.to_owned()),
            None => {
                let (path, answer) = line.split_once(": ").unwrap();
                parsed.answers.insert(path.to_owned(), answer.to_owned());
            }
        }
    }
    expected.assert_eq(&timeline(&workflow, &mut parsed));
}

fn timeline(workflow: &Arc<Workflow>, script: &mut Script) -> String {
    let mut state = RunState::new(workflow.clone());
    let mut records = Vec::new();
    let mut lines = Vec::new();
    let mut now = 0;
    let mut queue = std::collections::VecDeque::from([InputBody::RunStarted(Box::new(started(workflow, 7)))]);
    let mut hanging = BTreeSet::new();
    for _ in 0..2_000 {
        let body = match queue.pop_front() {
            Some(body) => body,
            None => match state.next_timer().map(|(due, id)| (due, id.clone())) {
                Some((due, id)) if script.commands.is_empty() => {
                    now = now.max(due);
                    InputBody::TimerFired(id)
                }
                _ => match script.commands.pop_front() {
                    Some(command) => {
                        lines.push(format!("{now:>5} > {command}"));
                        accident(&command, &state).unwrap_or_else(|| InputBody::Command(parse_command(&command)))
                    }
                    None => break,
                },
            },
        };
        let input = Input { at: now, body };
        let turn = step(&mut state, &input);
        records.push(Record::Input(input));
        for decision in turn.decisions {
            if let Some(line) = told(&decision) {
                lines.push(format!("{now:>5} {line}"));
            }
            records.push(Record::Decision(decision));
        }
        for effect in turn.effects {
            match scripted(workflow, script, &effect) {
                Some(Outcome::BudgetExceeded { usage, .. }) => {
                    let (spent, total) = (usage.amount_or(Amount::default()), wanted(script, &effect));
                    hanging.insert(effect.id.clone());
                    queue.push_back(InputBody::Metered(Metered { effect: effect.id, asked: 1, spent, total }));
                }
                Some(outcome) => {
                    queue.push_back(InputBody::Outcome(EffectOutcome { effect: effect.id, outcome }));
                }
                None => {
                    hanging.insert(effect.id);
                }
            }
        }
        for (effect, answer) in turn.topups {
            hanging.remove(&effect);
            let usage = Usage { input_tokens: Some(90), ..Usage::default() };
            let outcome = match answer.is_granted {
                true => success(Value::from("whole"), Usage { input_tokens: Some(150), ..usage }),
                false => {
                    Outcome::BudgetExceeded { usage, partial: Some(ValueRef::Inline(Arc::new(Value::from("half")))) }
                }
            };
            queue.push_back(InputBody::Outcome(EffectOutcome { effect, outcome }));
        }
        for (effect, text) in turn.steers {
            lines.push(format!("{now:>5} tell {}: {text}", effect.subject));
        }
        for effect in turn.cancels {
            if hanging.remove(&effect) {
                let outcome = Outcome::Cancelled { usage: Usage::default() };
                queue.push_back(InputBody::Outcome(EffectOutcome { effect, outcome }));
            }
        }
        now += 1;
    }
    let mut replay = Replay::new(workflow.clone());
    records.iter().for_each(|record| replay.feed(record).unwrap());
    replay.finish().unwrap();
    assert_eq!(fold(workflow, &records).difference(&state), None);
    lines.iter().map(|line| format!("|{line}\n")).collect()
}

fn scripted(workflow: &Workflow, script: &Script, effect: &Effect) -> Option<Outcome> {
    let plain = answer(7, CALM, workflow, effect);
    let (path, attempt) = match &effect.request {
        Request::Perform { leaf, .. } => (leaf.path.clone(), leaf.attempt),
        Request::Acquire { branch, .. } if effect.id.generation < 3 => {
            let full = script.answers.get(&**branch).and_then(|it| it.strip_prefix("full "));
            let busy = |ms: &str| Outcome::Throttled {
                retry_after_ms: ms.parse().unwrap(),
                usage: Usage::default(),
                why: None,
            };
            return Some(full.map_or(plain, busy));
        }
        Request::Checkpoint { leaf, .. } if effect.id.generation < 4 && is_lost(script, leaf) => {
            return Some(Outcome::Failed(Box::new(Failure {
                code: TREE_LOST.to_owned(),
                message: "the machine stopped".to_owned(),
                retryable: true,
                usage: Usage::default(),
                evidence: None,
                artifacts: BTreeMap::new(),
                rescued: None,
            })));
        }
        Request::Checkpoint { leaf, .. } => {
            let Some(files) = script.answers.get(&**leaf).and_then(|it| it.strip_prefix("wrote ")) else {
                return Some(plain);
            };
            let Outcome::Checkpointed(mut checkpoint) = plain else { return None };
            checkpoint.out_of_scope = files.split(' ').map(str::to_owned).collect();
            return Some(Outcome::Checkpointed(checkpoint));
        }
        _ => return Some(plain),
    };
    let usage = Usage { input_tokens: Some(60), output_tokens: Some(10), ..Usage::default() };
    let exact = script.answers.get(&format!("{path}@{attempt}"));
    let Some(told) = exact.or_else(|| script.answers.get(&*path)) else {
        let value = match &workflow.node(effect_node(effect)).kind {
            Kind::Test(_) => Value::map([("passed", Value::Bool(true)), ("exit_code", Value::Int(0))]),
            _ => Value::from("fine"),
        };
        return Some(success(value, usage));
    };
    let (word, rest) = told.split_once(' ').unwrap_or((told, ""));
    let failed = |retryable| {
        Some(Outcome::Failed(Box::new(Failure {
            code: rest.to_owned(),
            message: "no luck".to_owned(),
            retryable,
            usage,
            evidence: None,
            artifacts: BTreeMap::new(),
            rescued: None,
        })))
    };
    match word {
        "adds" => {
            let Some(Outcome::Succeeded(mut it)) = Some(success(Value::from("fine"), usage)) else { return None };
            it.tasks = rest.split(' ').map(|task| Arc::new(Value::from(task))).collect();
            Some(Outcome::Succeeded(it))
        }
        "json" => Some(success(Value::from_json(rest).unwrap(), usage)),
        "fail" => failed(true),
        "final" => failed(false),
        "asks" => {
            let usage = Usage { input_tokens: Some(90), ..Usage::default() };
            Some(Outcome::BudgetExceeded { usage, partial: None })
        }
        "timeout" => Some(Outcome::TimedOut { usage }),
        "throttle" if effect.id.generation < 3 => {
            Some(Outcome::Throttled { retry_after_ms: rest.parse().unwrap(), usage: Usage::default(), why: None })
        }
        "hang" => None,
        _ => Some(success(Value::from("fine"), usage)),
    }
}

/// How much an attempt that asks wants in all.
fn wanted(script: &Script, effect: &Effect) -> Amount {
    let told = script.answers.get(&*effect.id.subject).and_then(|it| it.strip_prefix("asks "));
    Amount { tokens: told.unwrap().parse().unwrap(), cost_usd_micros: 0 }
}

fn is_lost(script: &Script, leaf: &str) -> bool {
    script.answers.get(leaf).is_some_and(|it| it == "lost")
}

fn effect_node(effect: &Effect) -> wf_ir::NodeIx {
    match &effect.request {
        Request::Perform { leaf, .. } | Request::Prepare(leaf) => leaf.node,
        Request::Checkpoint { node, .. } => *node,
        _ => panic!("no node"),
    }
}

fn success(value: Value, usage: Usage) -> Outcome {
    let value = ValueRef::of(Arc::new(value)).0;
    let (artifacts, rescued, tasks) = (BTreeMap::new(), None, Vec::new());
    Outcome::Succeeded(Box::new(Success { value, usage, artifacts, rescued, tasks }))
}

fn accident(text: &str, state: &RunState) -> Option<InputBody> {
    let claimed = in_flight(state);
    if text == "die" {
        return Some(InputBody::Adopted(Adopted { owner: "next".to_owned(), epoch: 2, claimed, died: true }));
    }
    let path = text.strip_prefix("lose ")?;
    let claimed = claimed.into_iter().filter(|effect| &*effect.subject == path).collect();
    Some(InputBody::WorkerLost(WorkerLost { worker: "bob".to_owned(), claimed }))
}

fn parse_command(text: &str) -> Command {
    let by = "ann".to_owned();
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let path = (!rest.is_empty()).then(|| rest.to_owned());
    match word {
        "approve" | "reject" => Command::Decide {
            path: rest.to_owned(),
            digest: None,
            approved: word == "approve",
            data: Value::map([("note", Value::from("yes"))]),
            by,
        },
        "signal" => Command::Signal { name: rest.to_owned(), payload: Value::Int(5), by },
        "cancel" => Command::Cancel { path, by },
        "pause" => {
            let (path, now) = match rest.strip_suffix("now") {
                Some(path) => (path.trim(), true),
                None => (rest, false),
            };
            Command::Pause { path: (!path.is_empty()).then(|| path.to_owned()), now, by }
        }
        "steer" => {
            let (path, text) = rest.split_once(' ').unwrap();
            Command::Steer { path: path.to_owned(), text: text.to_owned(), by }
        }
        "resume" => {
            let tokens = rest.strip_prefix("tokens=").map(|it| it.parse().unwrap());
            let path = path.filter(|_| tokens.is_none());
            Command::Resume { path, raise: Budget { tokens, ..Budget::default() }, by }
        }
        _ => Command::Retry { path, by },
    }
}

/// A decision in one line; preparing is not told.
fn told(decision: &Decision) -> Option<String> {
    let word = |json: &dyn erased| json.text();
    Some(match decision {
        Decision::Opened { path, expansion, side } => {
            let count = expansion.as_ref().map(|it| format!(" {} of width {}", it.count, it.width));
            let side = side.map(|side| format!(" {side}"));
            format!("open {path}{}{}", count.unwrap_or_default(), side.unwrap_or_default())
        }
        Decision::FrameOpened { path, index } => format!("open {path}[{index}]"),
        Decision::Grew { path, by, count, .. } => format!("{by} adds to {path}: {count} in all"),
        Decision::Ordered { effect } if effect.phase == wf_kernel::Phase::Prepare => return None,
        Decision::Ordered { effect } => format!("order {} of {}", word(&effect.phase), effect.subject),
        Decision::Started { path, attempt, .. } => format!("start {path} #{attempt}"),
        Decision::CancelOrdered { effect } => format!("cancel {}", effect.subject),
        Decision::Waiting { path, reason } => format!("wait {path}: {}", word(reason)),
        Decision::RetryScheduled { path, attempt, not_before, .. } => {
            format!("retry {path} #{attempt} not before {not_before}")
        }
        Decision::Rewound { path, .. } => format!("rewind {path}"),
        Decision::InDoubt { path, .. } => format!("doubt {path}"),
        Decision::GateOpened { path, .. } => format!("gate {path}"),
        Decision::Closing { path, cause } => format!("close {path:?}: {}", word(cause)),
        Decision::Ended { path, status, reason, value, .. } => {
            let reason = reason.as_ref().map(|it| format!(": {}", word(it)));
            let value = value.as_ref().map(|it| match it {
                ValueRef::Inline(value) => format!(" = {}", value.to_json()),
                ValueRef::Stored { size, .. } => format!(" = {size} bytes"),
            });
            format!("end {path} {}{}{}", status.as_str(), reason.unwrap_or_default(), value.unwrap_or_default())
        }
        Decision::ToppedUp { path, asked, reserved } => format!("top up {path} #{asked} to {}", reserved.tokens),
        Decision::TopUpRefused { path, asked, budget, what } => {
            format!("no more for {path} #{asked}: {what} of {}", if budget.is_empty() { "the run" } else { budget })
        }
        Decision::Overrun { path, excess } => format!("overrun {path} by {}", excess.tokens),
        Decision::Suspended { path, cause, reason } => {
            let path = path.as_ref().map(|path| format!(" {path}")).unwrap_or_default();
            let reason = reason.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
            format!("suspend{path}: {}{reason}", word(cause))
        }
        Decision::Resumed { path, .. } => {
            format!("resume{}", path.as_ref().map(|path| format!(" {path}")).unwrap_or_default())
        }
        Decision::Reopened { paths } => format!("reopen {}", paths.join(" ")),
        Decision::RunEnded { status, verified, outputs, .. } => {
            let outputs = word(outputs);
            format!("run {} verified {} outputs {outputs}", status.as_str(), verified.as_str())
        }
        Decision::Refused { code, .. } => format!("refuse {code}"),
    })
}

/// Anything that can be shown as compact JSON.
#[expect(non_camel_case_types, reason = "reads as an adjective in one signature")]
trait erased {
    fn text(&self) -> String;
}

impl<T: serde::Serialize> erased for T {
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap().replace('"', "")
    }
}

fn ask(id: &str) -> Json {
    json!({ "ask": id, "prompt": format!("question of {id}") })
}

#[test]
fn children_run_in_order_and_a_failure_stops_the_list() {
    check(
        json!([ask("a"), ask("b"), ask("c"), { "ask": "d", "prompt": "{{ node.b.status }}", "accept": ["failed"] }]),
        "b: final provider",
        expect![[r#"
            |    1 start a #1
            |    2 end a succeeded
            |    3 start b #1
            |    4 end b failed: {failure:{code:provider,message:no luck}}
            |    4 end c skipped: {stopped:{path:b}}
            |    5 start d #1
            |    6 end d succeeded
            |    6 run failed verified none outputs {inline:fine}
        "#]],
    );
}

#[test]
fn a_retry_waits_and_counts() {
    check(
        json!([{ "ask": "a", "prompt": "x", "retry": { "attempts": 3, "backoff": "10s" } }]),
        "a@1: fail provider\na@2: timeout",
        expect![[r#"
            |    1 start a #1
            |    2 retry a #2 not before 8472
            | 8473 start a #2
            | 8474 retry a #3 not before 27964
            |27965 start a #3
            |27966 end a succeeded
            |27966 run succeeded verified none outputs {inline:fine}
        "#]],
    );
}

#[test]
fn throttling_uses_no_attempt() {
    check(
        json!([ask("a")]),
        "a: throttle 500",
        expect![[r#"
        |    1 start a #1
        |    2 wait a: {rate_limit:{until:502}}
        |  503 start a #1
        |  504 end a succeeded
        |  504 run succeeded verified none outputs {inline:fine}
    "#]],
    );
}

#[test]
fn ensure_asks_again_with_the_reason() {
    let output = json!({ "type": "integer" });
    check(
        json!([{ "ask": "a", "prompt": "x", "output": output, "ensure": "output > 3" }]),
        "a@1: json 2\na@2: json 5",
        expect![[r#"
            |    1 start a #1
            |    2 retry a #2 not before 2
            |    3 start a #2
            |    4 end a succeeded
            |    4 run succeeded verified none outputs {inline:5}
        "#]],
    );
}

#[test]
fn a_parallel_is_bounded_and_counts_successes() {
    check(
        json!([{ "parallel": "p", "width": 2, "min_ok": 2, "children": [ask("a"), ask("b"), ask("c")] }]),
        "p/b: final provider\np/c: final provider",
        expect![[r#"
            |    0 open p
            |    1 start p/a #1
            |    2 start p/b #1
            |    3 end p/a succeeded
            |    4 end p/b failed: {failure:{code:provider,message:no luck}}
            |    5 start p/c #1
            |    6 end p/c failed: {failure:{code:provider,message:no luck}}
            |    6 end p failed: {min_ok:{ok:1,min:2}}
            |    6 run failed verified none outputs {inline:null}
        "#]],
    );
}

#[test]
fn the_first_success_is_enough() {
    check(
        json!([{ "parallel": "p", "keep": "first_success", "children": [ask("a"), ask("b"), ask("c")] }]),
        "p/a: hang\np/c: hang",
        expect![[r#"
            |    0 open p
            |    1 start p/a #1
            |    2 start p/b #1
            |    3 start p/c #1
            |    4 end p/b succeeded
            |    4 close "p": enough
            |    4 cancel p/a
            |    4 cancel p/c
            |    5 end p/a cancelled: {closed:{cause:enough}}
            |    6 end p/c cancelled: {closed:{cause:enough}}
            |    6 end p succeeded
            |    6 run succeeded verified none outputs {inline:{a:null,b:fine,c:null}}
        "#]],
    );
}

#[test]
fn a_loop_repeats_until_its_predicate_holds() {
    check(
        json!([{ "loop_until": "green", "until": "tests.passed", "max_iterations": 3, "children": [
            { "ask": "fix", "prompt": "{{ prev.tests.exit_code }}", "when": "iteration > 1" },
            { "test": "tests", "argv": ["true"] }] }]),
        r#"green[1]/tests: json {"passed": false, "exit_code": 1}"#,
        expect![[r#"
            |    0 open green
            |    0 end green[1]/fix skipped: when
            |    1 start green[1]/tests #1
            |    2 end green[1]/tests succeeded
            |    2 open green[2]
            |    3 start green[2]/fix #1
            |    4 end green[2]/fix succeeded
            |    5 start green[2]/tests #1
            |    6 end green[2]/tests succeeded
            |    6 end green succeeded
            |    6 run succeeded verified passed outputs {inline:{fix:fine,tests:{exit_code:0,passed:true}}}
        "#]],
    );
}

#[test]
fn a_loop_fails_at_its_limit() {
    check(
        json!([{ "loop_until": "l", "until": "false", "max_iterations": 2, "children": [ask("a")] }]),
        "",
        expect![[r#"
            |    0 open l
            |    1 start l[1]/a #1
            |    2 end l[1]/a succeeded
            |    2 open l[2]
            |    3 start l[2]/a #1
            |    4 end l[2]/a succeeded
            |    4 end l failed: {limit:{iterations:2}}
            |    4 run failed verified none outputs {inline:null}
        "#]],
    );
}

#[test]
fn an_expand_runs_its_elements_side_by_side() {
    check(
        json!([{ "expand": "e", "over": "['x', 'y', 'z']", "width": 2, "max_children": 5,
                 "children": [{ "ask": "a", "prompt": "{{ e.item }} {{ e.index }}" }] },
               { "reduce": "r", "inputs": "e", "how": "concat" }]),
        "e[1]/a: final provider",
        expect![[r#"
            |    0 open e 3 of width 2
            |    1 start e[0]/a #1
            |    2 start e[1]/a #1
            |    3 end e[0]/a succeeded
            |    4 end e[1]/a failed: {failure:{code:provider,message:no luck}}
            |    5 start e[2]/a #1
            |    6 end e[2]/a succeeded
            |    6 end e succeeded
            |    6 end r succeeded = ["fine","fine"]
            |    6 run succeeded verified none outputs {inline:[fine,fine]}
        "#]],
    );
}

#[test]
fn nothing_to_expand_is_no_success() {
    check(
        json!([{ "expand": "e", "over": "[]", "max_children": 5, "children": [ask("a")] }]),
        "",
        expect![[r#"
            |    0 open e 0 of width 8
            |    0 end e failed: {min_ok:{ok:0,min:1}}
            |    0 run failed verified none outputs {inline:null}
        "#]],
    );
}

#[test]
fn a_cond_without_the_other_side_is_skipped() {
    check(
        json!([{ "cond": "c", "condition": "1 > 2", "then": [ask("a")] }, ask("b")]),
        "",
        expect![[r#"
        |    0 end c skipped: nothing_ran
        |    1 start b #1
        |    2 end b succeeded
        |    2 run succeeded verified none outputs {inline:fine}
    "#]],
    );
}

#[test]
fn reducers_fold_what_succeeded() {
    check(
        json!([{ "parallel": "p", "children": [ask("a"), ask("b"), ask("c"), ask("d")] },
               { "reduce": "vote", "inputs": "p", "how": "vote" },
               { "reduce": "best", "inputs": "p", "how": "best", "by": "size(value)" }]),
        "p/a: json \"x\"\np/b: json \"yy\"\np/c: json \"x\"\np/d: final provider",
        expect![[r#"
            |    0 open p
            |    1 start p/a #1
            |    2 start p/b #1
            |    3 start p/c #1
            |    4 start p/d #1
            |    5 end p/a succeeded
            |    6 end p/b succeeded
            |    7 end p/c succeeded
            |    8 end p/d failed: {failure:{code:provider,message:no luck}}
            |    8 end p succeeded
            |    8 end vote succeeded = {"total":3,"value":"x","votes":2}
            |    8 end best succeeded = "yy"
            |    8 run succeeded verified none outputs {inline:yy}
        "#]],
    );
}

#[test]
fn pareto_keeps_what_nothing_beats() {
    let output = json!({ "type": "object", "properties": { "x": { "type": "integer" }, "y": { "type": "integer" } },
                         "required": ["x", "y"], "additionalProperties": false });
    let one = |id: &str| json!({ "ask": id, "prompt": format!("question of {id}"), "output": output });
    check(
        json!([{ "parallel": "p", "children": [one("a"), one("b"), one("c")] },
               { "pareto": "front", "candidates": "p", "max_items": 2,
                 "objectives": [{ "by": "value.x", "goal": "max" }, { "by": "value.y", "goal": "min" }] }]),
        r#"p/a: json {"x": 3, "y": 3}
           p/b: json {"x": 2, "y": 1}
           p/c: json {"x": 1, "y": 2}"#,
        expect![[r#"
            |    0 open p
            |    1 start p/a #1
            |    2 start p/b #1
            |    3 start p/c #1
            |    4 end p/a succeeded
            |    5 end p/b succeeded
            |    6 end p/c succeeded
            |    6 end p succeeded
            |    6 end front succeeded = [{"path":"p/a","scores":[3,3],"value":{"x":3,"y":3}},{"path":"p/b","scores":[2,1],"value":{"x":2,"y":1}}]
            |    6 run succeeded verified none outputs {inline:[{path:p/a,scores:[3,3],value:{x:3,y:3}},{path:p/b,scores:[2,1],value:{x:2,y:1}}]}
        "#]],
    );
}

fn contest(tournament: Json) -> Json {
    let branch = |id: &str| {
        json!({ "branch": id, "writes": ["**"], "children": [
            { "agent": "work", "prompt": format!("work of {id}"), "writes": ["src/**"] },
            { "test": "tests", "argv": ["true"] }] })
    };
    json!([{ "parallel": "ways", "children": [branch("one"), branch("two"), branch("three")] }, tournament,
           { "test": "again", "argv": ["true"], "tree": "pick.winner" }])
}

#[test]
fn a_tournament_is_won_by_the_best_that_satisfies() {
    check(
        contest(json!({ "tournament": "pick", "candidates": "ways", "require": "value.results.tests.passed",
                        "by": "0 - value.insertions" })),
        "ways/one/tests: json {\"passed\": false, \"exit_code\": 1}\nways/three/work: wrote Makefile",
        expect![[r#"
            |    0 open ways
            |    0 order acquire of ways/one
            |    0 order acquire of ways/two
            |    0 order acquire of ways/three
            |    1 open ways/one
            |    2 open ways/two
            |    3 open ways/three
            |    4 start ways/one/work #1
            |    5 start ways/two/work #1
            |    6 start ways/three/work #1
            |    7 order checkpoint of ways/one/work
            |    8 order checkpoint of ways/two/work
            |    9 order checkpoint of ways/three/work
            |   10 end ways/one/work succeeded
            |   11 end ways/two/work succeeded
            |   12 end ways/three/work failed: {failure:{code:out_of_scope,message:wrote outside its scope: Makefile}}
            |   12 end ways/three/tests skipped: {stopped:{path:ways/three/work}}
            |   12 order harvest of ways/three
            |   13 start ways/one/tests #1
            |   14 start ways/two/tests #1
            |   15 end ways/three failed: {child:{path:ways/three/work}}
            |   15 order release of ways/three
            |   16 end ways/one/tests succeeded
            |   16 order harvest of ways/one
            |   17 end ways/two/tests succeeded
            |   17 order harvest of ways/two
            |   19 end ways/one succeeded
            |   19 order release of ways/one
            |   20 end ways/two succeeded
            |   20 order release of ways/two
            |   20 end ways succeeded
            |   20 end pick succeeded = {"bracket":[],"fruit":[{"path":"ways/one","results":{"base":"base","commit":"1cd7f9484930","deletions":1,"files":["src/a.rs"],"insertions":2,"results":{"tests":{"exit_code":1,"passed":false},"work":"fine"},"tree":"tree-1cd7f9484930"}}],"ranking":[{"eligible":true,"path":"ways/two","score":-2,"status":"succeeded"},{"eligible":false,"path":"ways/one","status":"succeeded","why":"does not satisfy value.results.tests.passed"},{"eligible":false,"path":"ways/three","status":"failed","why":"failed"}],"value":{"base":"base","commit":"517c3b75d56a","deletions":1,"files":["src/a.rs"],"insertions":2,"results":{"tests":{"exit_code":0,"passed":true},"work":"fine"},"tree":"tree-517c3b75d56a"},"winner":"ways/two"}
            |   23 start again #1
            |   24 end again succeeded
            |   24 run succeeded verified passed outputs {inline:{exit_code:0,passed:true}}
        "#]],
    );
}

#[test]
fn judges_see_each_pair_both_ways() {
    check(
        contest(json!({ "tournament": "pick", "candidates": "ways",
                        "judge": { "prompt": "{{ first.path }} or {{ second.path }}?" } })),
        r#"pick/judge[1]: json {"winner": "second", "reason": ""}
           pick/judge[2]: json {"winner": "first", "reason": ""}
           pick/judge[3]: json {"winner": "second", "reason": ""}
           pick/judge[4]: json {"winner": "second", "reason": ""}"#,
        expect![[r#"
            |    0 open ways
            |    0 order acquire of ways/one
            |    0 order acquire of ways/two
            |    0 order acquire of ways/three
            |    1 open ways/one
            |    2 open ways/two
            |    3 open ways/three
            |    4 start ways/one/work #1
            |    5 start ways/two/work #1
            |    6 start ways/three/work #1
            |    7 order checkpoint of ways/one/work
            |    8 order checkpoint of ways/two/work
            |    9 order checkpoint of ways/three/work
            |   10 end ways/one/work succeeded
            |   11 end ways/two/work succeeded
            |   12 end ways/three/work succeeded
            |   13 start ways/one/tests #1
            |   14 start ways/two/tests #1
            |   15 start ways/three/tests #1
            |   16 end ways/one/tests succeeded
            |   16 order harvest of ways/one
            |   17 end ways/two/tests succeeded
            |   17 order harvest of ways/two
            |   18 end ways/three/tests succeeded
            |   18 order harvest of ways/three
            |   19 end ways/one succeeded
            |   19 order release of ways/one
            |   20 end ways/two succeeded
            |   20 order release of ways/two
            |   21 end ways/three succeeded
            |   21 order release of ways/three
            |   21 end ways succeeded
            |   21 open pick
            |   21 open pick[1]
            |   21 open pick[2]
            |   25 start pick/judge[1] #1
            |   26 start pick/judge[2] #1
            |   27 end pick/judge[1] succeeded
            |   28 end pick/judge[2] succeeded
            |   28 open pick[3]
            |   28 open pick[4]
            |   29 start pick/judge[3] #1
            |   30 start pick/judge[4] #1
            |   31 end pick/judge[3] succeeded
            |   32 end pick/judge[4] succeeded
            |   32 end pick succeeded = {"bracket":[{"first":"ways/one","second":"ways/two","votes":["second","first"],"winner":"ways/two"},{"first":"ways/two","second":"ways/three","votes":["second","second"],"winner":"ways/two"}],"fruit":[{"path":"ways/one","results":{"base":"base","commit":"1cd7f9484930","deletions":1,"files":["src/a.rs"],"insertions":2,"results":{"tests":{"exit_code":0,"passed":true},"work":"fine"},"tree":"tree-1cd7f9484930"}},{"path":"ways/three","results":{"base":"base","commit":"ed73517e7ccd","deletions":1,"files":["src/a.rs"],"insertions":2,"results":{"tests":{"exit_code":0,"passed":true},"work":"fine"},"tree":"tree-ed73517e7ccd"}}],"ranking":[{"eligible":true,"path":"ways/two","status":"succeeded"},{"eligible":true,"path":"ways/one","status":"succeeded"},{"eligible":true,"path":"ways/three","status":"succeeded"}],"value":{"base":"base","commit":"517c3b75d56a","deletions":1,"files":["src/a.rs"],"insertions":2,"results":{"tests":{"exit_code":0,"passed":true},"work":"fine"},"tree":"tree-517c3b75d56a"},"winner":"ways/two"}
            |   33 start again #1
            |   34 end again succeeded
            |   34 run succeeded verified passed outputs {inline:{exit_code:0,passed:true}}
        "#]],
    );
}

#[test]
fn a_write_after_the_test_leaves_nothing_verified() {
    check(
        json!([{ "branch": "b", "writes": ["**"], "children": [
            { "test": "tests", "argv": ["true"] },
            { "agent": "work", "prompt": "x", "writes": ["src/**"] }] }]),
        "",
        expect![[r#"
            |    0 order acquire of b
            |    1 open b
            |    2 start b/tests #1
            |    3 end b/tests succeeded
            |    4 start b/work #1
            |    5 order checkpoint of b/work
            |    6 end b/work succeeded
            |    6 order harvest of b
            |    7 end b succeeded
            |    7 order release of b
            |    8 run succeeded verified none outputs {inline:{base:base,commit:3ea3db45ffc5,deletions:1,files:[src/a.rs],insertions:2,results:{tests:{exit_code:0,passed:true},work:fine},tree:tree-3ea3db45ffc5}}
        "#]],
    );
}

#[test]
fn work_that_went_with_the_machine_is_done_again_and_no_command_unasked() {
    check(
        json!([{ "branch": "b", "writes": ["**"], "children": [
            { "agent": "work", "prompt": "x", "writes": ["src/**"] },
            { "command": "note", "argv": ["note"], "writes": ["src/**"] }] }]),
        "b/work: lost\nb/note: lost\n> retry b/note",
        expect![[r#"
            |    0 order acquire of b
            |    1 open b
            |    2 start b/work #1
            |    3 order checkpoint of b/work
            |    4 rewind b/work
            |    5 start b/work #1
            |    6 order checkpoint of b/work
            |    7 end b/work succeeded
            |    8 start b/note #1
            |    9 order checkpoint of b/note
            |   10 doubt b/note
            |   11 > retry b/note
            |   12 start b/note #1
            |   13 order checkpoint of b/note
            |   14 end b/note succeeded
            |   14 order harvest of b
            |   15 end b succeeded
            |   15 order release of b
            |   16 run succeeded verified none outputs {inline:{base:base,commit:43820dabcfe7,deletions:1,files:[src/a.rs],insertions:2,results:{note:fine,work:fine},tree:tree-43820dabcfe7}}
        "#]],
    );
}

#[test]
fn a_gate_is_resolved_once() {
    check(
        json!([{ "approve": "go", "prompt": "go on?" }, ask("a"), { "approve": "more", "prompt": "more?" }]),
        "> approve go\n> reject go\n> reject more",
        expect![[r#"
            |    1 gate go
            |    2 > approve go
            |    2 end go succeeded
            |    3 start a #1
            |    4 end a succeeded
            |    5 gate more
            |    6 > reject go
            |    6 refuse already_resolved
            |    7 > reject more
            |    7 end more failed: {rejected:{by:ann}}
            |    7 run failed verified none outputs {inline:null}
        "#]],
    );
}

#[test]
fn waits_end_with_time_and_signals() {
    check(
        json!([{ "wait": "nap", "duration": "5s" }, { "wait": "word", "signal": "go" }]),
        "> signal go",
        expect![[r#"
            |    0 wait nap: {sleep:{until:5000}}
            |    1 > signal go
            | 5000 end nap succeeded
            | 5000 wait word: {signal:{name:go}}
            | 5000 end word succeeded
            | 5000 run succeeded verified none outputs {inline:5}
        "#]],
    );
}

#[test]
fn cancelling_ends_what_runs_and_skips_the_rest() {
    check(
        json!([{ "branch": "b", "writes": ["**"], "children": [
            { "agent": "work", "prompt": "x", "writes": ["src/**"] }, ask("after")] }, ask("last")]),
        "b/work: hang\n> cancel",
        expect![[r#"
            |    0 order acquire of b
            |    1 open b
            |    2 start b/work #1
            |    3 > cancel
            |    3 close "": cancelled
            |    3 cancel b/work
            |    4 end b/work cancelled: {closed:{cause:cancelled}}
            |    4 end b/after skipped: {closed:{cause:cancelled}}
            |    4 order harvest of b
            |    5 end b cancelled: {closed:{cause:cancelled}}
            |    5 order release of b
            |    5 end last skipped: {closed:{cause:cancelled}}
            |    6 run cancelled verified none outputs {inline:null}
        "#]],
    );
}

#[test]
fn pausing_now_uses_no_attempt() {
    check(
        json!([ask("a"), ask("b")]),
        "a: hang\n> pause now\n> resume\n> cancel",
        expect![[r#"
        |    1 start a #1
        |    2 > pause now
        |    2 suspend: paused_now
        |    2 cancel a
        |    3 rewind a
        |    4 > resume
        |    4 resume
        |    5 start a #1
        |    6 > cancel
        |    6 close "": cancelled
        |    6 cancel a
        |    7 end a cancelled: {closed:{cause:cancelled}}
        |    7 end b skipped: {closed:{cause:cancelled}}
        |    7 run cancelled verified none outputs {inline:null}
    "#]],
    );
}

#[test]
fn a_paused_run_orders_nothing_new() {
    check(
        json!([{ "parallel": "p", "children": [
            ask("a"),
            { "sequence": "s", "children": [{ "approve": "go", "prompt": "go on?" }, ask("b")] },
        ] }]),
        "p/a: hang\n> pause\n> approve p/s/go\n> resume\n> cancel",
        expect![[r#"
            |    0 open p
            |    0 open p/s
            |    1 start p/a #1
            |    2 gate p/s/go
            |    3 > pause
            |    3 suspend: paused
            |    4 > approve p/s/go
            |    4 end p/s/go succeeded
            |    5 > resume
            |    5 resume
            |    6 start p/s/b #1
            |    7 end p/s/b succeeded
            |    7 end p/s succeeded
            |    8 > cancel
            |    8 close "": cancelled
            |    8 cancel p/a
            |    9 end p/a cancelled: {closed:{cause:cancelled}}
            |    9 end p succeeded
            |    9 run cancelled verified none outputs {inline:{a:null,s:{b:fine,go:{note:yes}}}}
        "#]],
    );
}

#[test]
fn what_a_dead_owner_had_in_flight_is_paid_for_in_full() {
    check(
        json!({ "workflow": "it", "budget": { "tokens": 150 }, "children": [ask("a")] }),
        "a: hang\n> die\n> resume tokens=100\n> cancel",
        expect![[r#"
            |    1 start a #1
            |    2 > die
            |    2 rewind a
            |    3 wait a: budget
            |    3 run budget_exceeded verified none outputs {inline:null}
            |    4 > resume tokens=100
            |    4 resume
            |    4 start a #1
            |    5 > cancel
            |    5 close "": cancelled
            |    5 cancel a
            |    6 end a cancelled: {closed:{cause:cancelled}}
            |    6 run cancelled verified none outputs {inline:null}
        "#]],
    );
}

#[test]
fn a_part_of_a_run_can_be_paused() {
    let children = json!([ask("a"), ask("b")]);
    check(
        json!([{ "parallel": "p", "children": [
            { "sequence": "s", "children": children },
            { "sequence": "t", "children": [ask("c"), { "wait": "d", "duration": "5s" }] },
        ] }]),
        "p/s/a: hang\n> pause p/s now\n> pause p/s/b\n> pause p/t\n> resume p/t\n> resume p/t\n> resume p/s\n> cancel",
        expect![[r#"
            |    0 open p
            |    0 open p/s
            |    0 open p/t
            |    1 start p/s/a #1
            |    2 start p/t/c #1
            |    3 end p/t/c succeeded
            |    3 wait p/t/d: {sleep:{until:5003}}
            |    4 > pause p/s now
            |    4 suspend p/s: paused_now
            |    4 cancel p/s/a
            |    5 rewind p/s/a
            |    6 > pause p/s/b
            |    6 refuse already_paused
            |    7 > pause p/t
            |    7 suspend p/t: paused
            |    8 > resume p/t
            |    8 resume p/t
            |    9 > resume p/t
            |    9 refuse not_paused
            |   10 > resume p/s
            |   10 resume p/s
            |   11 start p/s/a #1
            |   12 > cancel
            |   12 close "": cancelled
            |   12 cancel p/s/a
            |   12 end p/t/d cancelled: {closed:{cause:cancelled}}
            |   12 end p/t cancelled: {closed:{cause:cancelled}}
            |   13 end p/s/a cancelled: {closed:{cause:cancelled}}
            |   13 end p/s/b skipped: {closed:{cause:cancelled}}
            |   13 end p/s cancelled: {closed:{cause:cancelled}}
            |   13 end p cancelled: {closed:{cause:cancelled}}
            |   13 run cancelled verified none outputs {inline:null}
        "#]],
    );
}

#[test]
fn an_agent_is_told_what_it_is_told_in_every_attempt() {
    check(
        json!([{ "agent": "a", "prompt": "work" }, ask("b")]),
        "a: hang\n> steer a mind the gap\n> steer b hello\n> steer nobody hello\n> cancel",
        expect![[r#"
            |    1 start a #1
            |    2 > steer a mind the gap
            |    2 tell a: mind the gap
            |    3 > steer b hello
            |    3 refuse not_an_agent
            |    4 > steer nobody hello
            |    4 refuse unknown_instance
            |    5 > cancel
            |    5 close "": cancelled
            |    5 cancel a
            |    6 end a cancelled: {closed:{cause:cancelled}}
            |    6 end b skipped: {closed:{cause:cancelled}}
            |    6 run cancelled verified none outputs {inline:null}
        "#]],
    );
}

#[test]
fn the_task_of_a_lost_worker_is_done_again() {
    check(
        json!([{ "branch": "w", "writes": ["**"], "children": [
            { "agent": "a", "prompt": "write", "writes": ["**"] },
            { "command": "c", "argv": ["push"], "writes": ["**"] },
        ] }]),
        "w/c: hang\n> lose w/c\n> lose w/c\n> retry w/c\n> cancel",
        expect![[r#"
            |    0 order acquire of w
            |    1 open w
            |    2 start w/a #1
            |    3 order checkpoint of w/a
            |    4 end w/a succeeded
            |    5 start w/c #1
            |    6 > lose w/c
            |    6 doubt w/c
            |    7 > lose w/c
            |    7 refuse stale
            |    8 > retry w/c
            |    9 start w/c #1
            |   10 > cancel
            |   10 close "": cancelled
            |   10 cancel w/c
            |   11 end w/c cancelled: {closed:{cause:cancelled}}
            |   11 order harvest of w
            |   12 end w cancelled: {closed:{cause:cancelled}}
            |   12 order release of w
            |   13 run cancelled verified none outputs {inline:null}
        "#]],
    );
}

#[test]
fn a_run_that_brings_its_process_down_five_times_is_parked() {
    check(
        json!([ask("a"), ask("b")]),
        "b: hang\n> die\n> die\n> die\n> die\n> die\n> die\n> resume\n> die\n> cancel",
        expect![[r#"
            |    1 start a #1
            |    2 end a succeeded
            |    3 start b #1
            |    4 > die
            |    4 rewind b
            |    5 start b #1
            |    6 > die
            |    6 rewind b
            |    7 start b #1
            |    8 > die
            |    8 rewind b
            |    9 start b #1
            |   10 > die
            |   10 rewind b
            |   11 start b #1
            |   12 > die
            |   12 suspend: poisoned (whoever performed b went down 5 times in a row)
            |   13 > die
            |   14 > resume
            |   14 resume
            |   14 rewind b
            |   15 start b #1
            |   16 > die
            |   16 rewind b
            |   17 start b #1
            |   18 > cancel
            |   18 close "": cancelled
            |   18 cancel b
            |   19 end b cancelled: {closed:{cause:cancelled}}
            |   19 run cancelled verified none outputs {inline:null}
        "#]],
    );
}

#[test]
fn agents_add_to_the_list_they_work_on() {
    check(
        json!({ "workflow": "it", "outputs": { "all": "swarm" }, "children": [
            { "expand": "swarm", "over": "['a', 'b']", "width": 1, "max_children": 5, "children": [
                { "agent": "do", "prompt": "{{ swarm.item }}", "tasks": { "max": 2 }, "retry": { "attempts": 2 } },
            ] },
        ] }),
        "swarm[0]/do: adds c d\nswarm[0.1]/do@1: adds e f g\nswarm[0.1]/do@2: adds e\nswarm[1]/do: adds x",
        expect![[r#"
            |    0 open swarm 2 of width 1
            |    1 start swarm[0]/do #1
            |    2 swarm[0]/do adds to swarm: 4 in all
            |    2 end swarm[0]/do succeeded
            |    3 start swarm[1]/do #1
            |    4 swarm[1]/do adds to swarm: 5 in all
            |    4 end swarm[1]/do succeeded
            |    5 start swarm[0.0]/do #1
            |    6 end swarm[0.0]/do succeeded
            |    7 start swarm[0.1]/do #1
            |    8 retry swarm[0.1]/do #2 not before 733
            |  734 start swarm[0.1]/do #2
            |  735 end swarm[0.1]/do failed: {failure:{code:tasks,message:with its 1 tasks the list has 6, and may have 5}}
            |  736 start swarm[1.0]/do #1
            |  737 end swarm[1.0]/do succeeded
            |  737 end swarm succeeded
            |  737 run succeeded verified none outputs {inline:{all:[fine,fine,null,fine,fine]}}
        "#]],
    );
}

#[test]
fn what_agents_added_is_there_after_a_retry() {
    check(
        json!([{ "expand": "swarm", "over": "['a']", "max_children": 5, "min_ok": 3, "children": [
            { "agent": "do", "prompt": "{{ swarm.item }}", "tasks": { "max": 2 } },
        ] }]),
        "swarm[0]/do: adds c d\nswarm[0.0]/do@1: final provider\n> retry",
        expect![[r#"
            |    0 open swarm 1 of width 8
            |    1 start swarm[0]/do #1
            |    2 swarm[0]/do adds to swarm: 3 in all
            |    2 end swarm[0]/do succeeded
            |    3 start swarm[0.0]/do #1
            |    4 start swarm[0.1]/do #1
            |    5 end swarm[0.0]/do failed: {failure:{code:provider,message:no luck}}
            |    6 end swarm[0.1]/do succeeded
            |    6 end swarm failed: {min_ok:{ok:2,min:3}}
            |    6 run failed verified none outputs {inline:null}
            |    7 > retry
            |    7 reopen swarm swarm[0.0]/do
            |    7 open swarm 1 of width 8
            |    8 start swarm[0.0]/do #1
            |    9 end swarm[0.0]/do failed: {failure:{code:provider,message:no luck}}
            |    9 end swarm failed: {min_ok:{ok:2,min:3}}
            |    9 run failed verified none outputs {inline:null}
        "#]],
    );
}

#[test]
fn a_branch_waits_for_a_tree() {
    check(
        json!([{ "branch": "w", "writes": ["**"], "children": [{ "agent": "a", "prompt": "write", "writes": ["**"] }] }]),
        "w: full 500",
        expect![[r#"
            |    0 order acquire of w
            |    1 wait w: {tree_pool:{until:501}}
            |  501 order acquire of w
            |  502 wait w: {tree_pool:{until:1002}}
            | 1002 order acquire of w
            | 1003 open w
            | 1004 start w/a #1
            | 1005 order checkpoint of w/a
            | 1006 end w/a succeeded
            | 1006 order harvest of w
            | 1007 end w succeeded
            | 1007 order release of w
            | 1008 run succeeded verified none outputs {inline:{base:base,commit:e7ff61ab7386,deletions:1,files:[src/a.rs],insertions:2,results:{a:fine},tree:tree-e7ff61ab7386}}
        "#]],
    );
}

#[test]
fn a_budget_suspends_the_run_until_it_is_raised() {
    check(
        json!({ "workflow": "it", "budget": { "tokens": 150 }, "children": [ask("a"), ask("b"), ask("c")] }),
        "> resume\n> resume tokens=300",
        expect![[r#"
            |    1 start a #1
            |    2 end a succeeded
            |    3 wait b: budget
            |    3 run budget_exceeded verified none outputs {inline:null}
            |    4 > resume
            |    4 resume
            |    4 run budget_exceeded verified none outputs {inline:null}
            |    5 > resume tokens=300
            |    5 resume
            |    5 start b #1
            |    6 end b succeeded
            |    7 start c #1
            |    8 end c succeeded
            |    8 run succeeded verified none outputs {inline:fine}
        "#]],
    );
}

#[test]
fn a_nodes_budget_ends_that_node() {
    check(
        json!([{ "sequence": "s", "budget": { "tokens": 150 }, "children": [ask("a"), ask("b")] },
               { "ask": "c", "prompt": "x", "after": ["s"] }]),
        "",
        expect![[r#"
            |    0 open s
            |    1 start s/a #1
            |    2 end s/a succeeded
            |    3 end s/b budget_exceeded: {budget:{path:s,what:tokens}}
            |    3 end s failed: {child:{path:s/b}}
            |    4 start c #1
            |    5 end c succeeded
            |    5 run failed verified none outputs {inline:fine}
        "#]],
    );
}

#[test]
fn more_is_held_for_an_agent_that_asks() {
    // The other holds what it wants, and hands most of it back.
    check(
        json!({ "workflow": "it", "budget": { "tokens": 290 },
                "children": [{ "parallel": "p", "children": [ask("a"), ask("b")] }] }),
        "p/a: asks 200",
        expect![[r#"
            |    0 open p
            |    1 start p/a #1
            |    2 start p/b #1
            |    4 end p/b succeeded
            |    4 top up p/a #1 to 200
            |    5 end p/a succeeded
            |    5 end p succeeded
            |    5 run succeeded verified none outputs {inline:{a:whole,b:fine}}
        "#]],
    );
    // Both want what the other holds: the later hands back what it has, and begins again once there is budget.
    check(
        json!({ "workflow": "it", "budget": { "tokens": 250 },
                "children": [{ "parallel": "p", "children": [ask("a"), ask("b")] }] }),
        "p/a: asks 160\np/b: asks 160\n> resume tokens=400",
        expect![[r#"
            |    0 open p
            |    1 start p/a #1
            |    2 start p/b #1
            |    4 no more for p/b #1: tokens of the run
            |    5 rewind p/b
            |    5 top up p/a #1 to 160
            |    6 wait p/b: budget
            |    7 end p/a succeeded
            |    7 run budget_exceeded verified none outputs {inline:null}
            |    8 > resume tokens=400
            |    8 resume
            |    8 start p/b #1
            |    9 top up p/b #1 to 160
            |   10 end p/b succeeded
            |   10 end p succeeded
            |   10 run succeeded verified none outputs {inline:{a:whole,b:whole}}
        "#]],
    );
    // The budget of a node ends it, with what it had.
    check(
        json!([{ "sequence": "s", "budget": { "tokens": 150 }, "children": [ask("a")] }]),
        "s/a: asks 160",
        expect![[r#"
            |    0 open s
            |    1 start s/a #1
            |    2 no more for s/a #1: tokens of s
            |    3 end s/a budget_exceeded: {budget:{path:s,what:tokens}} = "half"
            |    3 end s failed: {child:{path:s/a}}
            |    3 run failed verified none outputs {inline:null}
        "#]],
    );
}

#[test]
fn a_failed_run_can_be_tried_again() {
    check(
        json!([ask("a"), ask("b"), ask("c")]),
        "b@1: final provider\n> retry\n> retry",
        expect![[r#"
        |    1 start a #1
        |    2 end a succeeded
        |    3 start b #1
        |    4 end b failed: {failure:{code:provider,message:no luck}}
        |    4 end c skipped: {stopped:{path:b}}
        |    4 run failed verified none outputs {inline:null}
        |    5 > retry
        |    5 reopen b c
        |    6 start b #1
        |    7 end b failed: {failure:{code:provider,message:no luck}}
        |    7 end c skipped: {stopped:{path:b}}
        |    7 run failed verified none outputs {inline:null}
        |    8 > retry
        |    8 reopen b c
        |    9 start b #1
        |   10 end b failed: {failure:{code:provider,message:no luck}}
        |   10 end c skipped: {stopped:{path:b}}
        |   10 run failed verified none outputs {inline:null}
    "#]],
    );
}

#[test]
fn a_need_that_failed_skips_what_needs_it() {
    check(
        json!([{ "parallel": "p", "children": [ask("a"), { "ask": "b", "prompt": "{{ a }}" }, ask("c")] }]),
        "p/a: final provider",
        expect![[r#"
            |    0 open p
            |    1 start p/a #1
            |    2 start p/c #1
            |    3 end p/a failed: {failure:{code:provider,message:no luck}}
            |    3 end p/b skipped: {need:{path:p/a,status:failed}}
            |    4 end p/c succeeded
            |    4 end p succeeded
            |    4 run succeeded verified none outputs {inline:{a:null,b:null,c:fine}}
        "#]],
    );
}

/// Three branches (of those with an even number the simulated harvest adds a test), a tournament, a combination.
fn combination(combine: Json) -> Json {
    let way = |id: &str| {
        json!({ "branch": id, "writes": ["**"], "children": [
            { "agent": "work", "prompt": id, "writes": ["**"] }, { "test": "tests", "argv": ["true"] }] })
    };
    json!([{ "parallel": "ways", "children": [way("b1"), way("b2"), way("b4")] },
           { "tournament": "pick", "candidates": "ways", "by": "0 - size(value.files)", "harvest": ["tests", "patches"] },
           combine, { "test": "again", "argv": ["true"], "tree": "both" }])
}

/// What comes after the tournament.
fn check_combination(combine: Json, script: &str, expected: Expect) {
    check_rest(combination(combine), script, expected);
}

fn check_rest(children: Json, script: &str, expected: Expect) {
    let source = json!({ "workflow": "it", "children": children });
    let commands = std::collections::VecDeque::new();
    let answers = script.lines().map(|line| line.trim().split_once(": ").unwrap());
    let answers = answers.map(|(path, answer)| (path.to_owned(), answer.to_owned())).collect();
    let timeline = timeline(&workflow(&source), &mut Script { answers, commands });
    let rest = timeline.lines().skip_while(|line| !line.contains("end pick")).skip(1);
    expected.assert_eq(&rest.map(|line| format!("{line}\n")).collect::<String>());
}

#[test]
fn a_winner_takes_the_fruit_of_losers_and_is_tested_again() {
    check_combination(
        json!({ "reduce": "both", "inputs": "pick", "how": "combine" }),
        "",
        expect![[r#"
        |   21 order combine of both
        |   25 end both succeeded = {"base":"base","commit":"23544e5bb9ed","deletions":1,"files":["tests/5b8095139d70.rs"],"insertions":2,"left":[{"files":["tests/161f8f1a3b17.rs"],"path":"ways/b4","why":"it is in the way"}],"taken":[{"files":["tests/5b8095139d70.rs"],"path":"ways/b2"}],"tree":"tree-23544e5bb9ed","winner":"ways/b1"}
        |   26 start again #1
        |   27 end again succeeded
        |   27 run succeeded verified passed outputs {inline:{exit_code:0,passed:true}}
    "#]],
    );
    // Only whose fruit `by` chooses, and only of the sort that is taken.
    check_combination(
        json!({ "reduce": "both", "inputs": "pick", "how": "combine", "by": "path == 'ways/b4'" }),
        "",
        expect![[r#"
            |   21 order combine of both
            |   25 end both succeeded = {"base":"base","commit":"4a59ee2e0155","deletions":1,"files":["tests/161f8f1a3b17.rs"],"insertions":2,"left":[],"taken":[{"files":["tests/161f8f1a3b17.rs"],"path":"ways/b4"}],"tree":"tree-4a59ee2e0155","winner":"ways/b1"}
            |   26 start again #1
            |   27 end again succeeded
            |   27 run succeeded verified passed outputs {inline:{exit_code:0,passed:true}}
        "#]],
    );
    check_combination(
        json!({ "reduce": "both", "inputs": "pick", "how": "combine", "take": ["patches"] }),
        "",
        expect![[r#"
            |   21 order combine of both
            |   25 end both succeeded = {"base":"base","commit":"2a9cb2f01e75","deletions":0,"files":[],"insertions":0,"left":[],"taken":[],"tree":"tree-2a9cb2f01e75","winner":"ways/b1"}
            |   26 start again #1
            |   27 end again succeeded
            |   27 run succeeded verified passed outputs {inline:{exit_code:0,passed:true}}
        "#]],
    );
    // A test that does not pass with it is the last word on the run.
    check_combination(
        json!({ "reduce": "both", "inputs": "pick", "how": "combine" }),
        "again: json {\"passed\": false, \"exit_code\": 1}",
        expect![[r#"
            |   21 order combine of both
            |   25 end both succeeded = {"base":"base","commit":"23544e5bb9ed","deletions":1,"files":["tests/5b8095139d70.rs"],"insertions":2,"left":[{"files":["tests/161f8f1a3b17.rs"],"path":"ways/b4","why":"it is in the way"}],"taken":[{"files":["tests/5b8095139d70.rs"],"path":"ways/b2"}],"tree":"tree-23544e5bb9ed","winner":"ways/b1"}
            |   26 start again #1
            |   27 end again succeeded
            |   27 run succeeded verified failed outputs {inline:{exit_code:1,passed:false}}
        "#]],
    );
}

#[test]
fn nothing_is_combined_without_a_winner() {
    let mut children = combination(json!({ "reduce": "both", "inputs": "pick", "how": "combine" }));
    children[1]["require"] = json!("status == 'no'");
    check_rest(
        children,
        "x: fail",
        expect![[r#"
        |   21 end both failed: empty
        |   21 end again skipped: {stopped:{path:pick}}
        |   24 run failed verified passed outputs {inline:null}
    "#]],
    );
}
