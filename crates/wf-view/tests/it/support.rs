//! Logs made by the kernel itself: a workflow, what its effects answer, and what people do, one second apart.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use wf_ir::node::Budget;
use wf_ir::{Digest, Value, Workflow};
use wf_kernel::effect::Part;
use wf_kernel::record::{
    Base, Checkpoint, Combined, Failure, FileChange, LeftOut, Origin, Prepared, RunStarted, Success, Taken, TreeAt,
};
use wf_kernel::{
    Amount, Command, Effect, EffectId, Input, InputBody, Outcome, Record, Request, RunState, TreeUse, Usage, ValueRef,
    step,
};
use wf_view::{Keep, RunFacts, RunFold};

/// 2026-01-02T03:04:05.000Z
pub(crate) const BEGAN_MS: i64 = 1_767_323_045_000;

pub(crate) type Answer = fn(&Effect) -> Outcome;

/// A run whose effects are answered in the order in which they were ordered.
pub(crate) struct Script {
    state: RunState,
    pub(crate) records: Vec<Record>,
    pub(crate) now: i64,
    waiting: VecDeque<Effect>,
}

impl Script {
    pub(crate) fn begin(workflow: &str, budget: Budget) -> Self {
        let workflow = Arc::new(workflow_of(workflow));
        let state = RunState::new(workflow.clone());
        let mut script = Self { state, records: Vec::new(), now: BEGAN_MS, waiting: VecDeque::new() };
        script.take(InputBody::RunStarted(Box::new(RunStarted {
            semantics: wf_kernel::record::SEMANTICS,
            run_id: "r1".to_owned(),
            workflow: workflow.hash(),
            workflow_name: workflow.name().to_owned(),
            inputs: BTreeMap::new(),
            seed: 7,
            budget,
            base: Some(Base {
                commit: "b0".repeat(20),
                tree: "70".repeat(20),
                source: "commit".to_owned(),
                at_ms: BEGAN_MS,
            }),
            origin: Origin::Test,
            parent: None,
            labels: BTreeMap::from([("team".to_owned(), "core".to_owned())]),
            catalog: Digest::of(b"catalog"),
            sandbox: "none".to_owned(),
            repo: None,
            rules: None,
        })));
        script
    }

    /// Takes an input in, now.
    pub(crate) fn take(&mut self, body: InputBody) {
        let input = Input { at: self.now, body };
        let step = step(&mut self.state, &input);
        self.records.push(Record::Input(input));
        self.records.extend(step.decisions.into_iter().map(Record::Decision));
        self.waiting.extend(step.effects);
    }

    /// Answers the effect that was ordered first, a second later.
    pub(crate) fn answer_one(&mut self, answer: Answer) -> bool {
        let Some(effect) = self.waiting.pop_front() else { return false };
        self.now += 1_000;
        let outcome = answer(&effect);
        self.take(InputBody::Outcome(wf_kernel::record::EffectOutcome { effect: effect.id, outcome }));
        true
    }

    /// Answers effects, and lets times come, until nothing happens any more.
    pub(crate) fn finish(mut self, answer: Answer) -> Self {
        loop {
            if self.answer_one(answer) {
                continue;
            }
            let Some((due, timer)) = self.state.next_timer().map(|(due, timer)| (due, timer.clone())) else {
                return self;
            };
            self.now = self.now.max(due);
            self.take(InputBody::TimerFired(timer));
        }
    }

    /// Answers effects until a time that the run waits for comes, and then the rest.
    pub(crate) fn finish_by(mut self, due: i64, answer: Answer) -> Self {
        while self.now + 1_000 < due && self.answer_one(answer) {}
        if let Some((_, timer)) = self.state.next_timer().filter(|(at, _)| *at == due) {
            let timer = timer.clone();
            self.now = due;
            self.take(InputBody::TimerFired(timer));
        }
        self.finish(answer)
    }

    /// Answers so many effects.
    pub(crate) fn answer_some(mut self, count: usize, answer: Answer) -> Self {
        for _ in 0..count {
            assert!(self.answer_one(answer), "there are fewer effects");
        }
        self
    }

    /// Somebody wants something, a second later.
    pub(crate) fn command(mut self, command: Command) -> Self {
        self.now += 1_000;
        self.take(InputBody::Command(command));
        self
    }

    pub(crate) fn fold(&self) -> RunFold {
        fold(self.state.workflow().clone(), &self.records)
    }

    pub(crate) fn facts(&self) -> RunFacts {
        RunFacts { log_digest: Some(Digest::of(b"log")), now_ms: self.now, is_alone: false }
    }
}

pub(crate) fn workflow_of(json: &str) -> Workflow {
    Workflow::from_canonical(json).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn fold(workflow: Arc<Workflow>, records: &[Record]) -> RunFold {
    let mut fold = RunFold::new(workflow, Keep::Everything);
    for (at, record) in records.iter().enumerate() {
        fold.push(at as u64 + 1, record).unwrap();
    }
    fold
}

pub(crate) fn value(json: &str) -> Arc<Value> {
    Arc::new(Value::from_json(json).unwrap())
}

pub(crate) fn prepared(effect: &EffectId, tree: &TreeUse) -> Outcome {
    let is_free = ["look", "check", "ok"].iter().any(|name| effect.subject.ends_with(name));
    let role = if is_free { "null" } else { r#"{"model": "m1", "provider": "mock"}"# };
    let estimate = Amount { tokens: 2_000, cost_usd_micros: 20_000 };
    let request = Value::map([("prompt", Value::from(format!("Please: {}", effect.subject)))]);
    Outcome::Prepared(Box::new(Prepared {
        role: value(role),
        request: ValueRef::Inline(Arc::new(request)),
        tree: match tree {
            TreeUse::None => None,
            // Commits and trees have the same names here.
            TreeUse::Branch { begin, .. } => Some(begin.clone()),
            TreeUse::Snapshot { commit, .. } => Some(commit.clone()),
        },
        estimate: if is_free { Amount::default() } else { estimate },
        price: None,
        passed_over: Vec::new(),
    }))
}

pub(crate) fn usage(tokens: u64) -> Usage {
    Usage {
        input_tokens: Some(tokens),
        output_tokens: Some(tokens / 10),
        cached_tokens: None,
        cost_usd_micros: Some(tokens * 10),
    }
}

pub(crate) fn succeeded(json: &str, usage: Usage) -> Outcome {
    let value = ValueRef::Inline(value(json));
    Outcome::Succeeded(Box::new(Success { value, usage, artifacts: BTreeMap::new(), rescued: None, tasks: Vec::new() }))
}

pub(crate) fn failed(code: &str, message: &str, retryable: bool) -> Outcome {
    Outcome::Failed(Box::new(Failure {
        code: code.to_owned(),
        message: message.to_owned(),
        retryable,
        usage: usage(20),
        evidence: Some(ValueRef::Inline(value(r#"{"exit_code": 1, "stderr": "it broke"}"#))),
        artifacts: BTreeMap::new(),
        rescued: None,
    }))
}

pub(crate) fn checkpoint(base: &str, name: &str) -> Outcome {
    Outcome::Checkpointed(Box::new(Checkpoint {
        base: base.to_owned(),
        commit: name.repeat(20),
        tree: name.repeat(20),
        files: vec![FileChange {
            path: format!("src/{name}.rs"),
            change: "modified".to_owned(),
            insertions: Some(3),
            deletions: Some(1),
        }],
        out_of_scope: Vec::new(),
    }))
}

/// The first part fits, the others do not.
pub(crate) fn combined(base: &str, parts: &[Part]) -> Outcome {
    let Outcome::Checkpointed(checkpoint) = checkpoint(base, "cc") else { unreachable!() };
    let (taken, left) = parts.split_at(parts.len().min(1));
    let taken = taken.iter().map(|part| Taken { path: part.path.clone(), files: part.files.clone() });
    let left = left.iter().map(|part| LeftOut {
        path: part.path.clone(),
        files: part.files.clone(),
        why: "it is in the way".to_owned(),
    });
    Outcome::Combined(Box::new(Combined { checkpoint: *checkpoint, taken: taken.collect(), left: left.collect() }))
}

/// What a small machine answers: tests in `good` pass, those in `bad` do not, the rest succeeds.
pub(crate) fn usual(effect: &Effect) -> Outcome {
    let path = &*effect.id.subject;
    let name = ["bad", "wide"].into_iter().find(|name| path.contains(name));
    let name = name.map_or("9d", |name| if name == "bad" { "bd" } else { "1d" });
    match &effect.request {
        Request::Prepare(leaf) => prepared(&effect.id, &leaf.tree),
        Request::Perform { .. } if path.ends_with("check") => {
            let json = match path.contains("bad") {
                true => r#"{"passed": false, "exit_code": 101, "stdout": "", "stderr": "assertion failed"}"#,
                false => r#"{"passed": true, "exit_code": 0, "stdout": "ok", "stderr": ""}"#,
            };
            succeeded(json, Usage::default())
        }
        Request::Perform { .. } if path.ends_with("look") => {
            let json =
                r#"{"matches": [{"path": "src/a.rs", "line": 1, "text": "cache"}], "count": 1, "truncated": false}"#;
            succeeded(json, Usage::default())
        }
        // The first that is shown is better, when it is the one that has won so far.
        Request::Perform { .. } if path.ends_with("judge[1]") => {
            succeeded(r#"{"winner": "first", "reason": ""}"#, usage(9))
        }
        Request::Perform { .. } if path.contains("judge[") => succeeded(r#"{"winner": "tie", "reason": ""}"#, usage(9)),
        Request::Perform { .. } if path.ends_with("broken") => failed("provider", "the provider said no", true),
        Request::Perform { .. } => succeeded(r#""done""#, usage(1_234)),
        Request::Acquire { base, .. } => Outcome::Acquired(TreeAt { commit: base.clone(), tree: "70".repeat(20) }),
        Request::Checkpoint { begin, .. } => checkpoint(begin, name),
        Request::Harvest { base, .. } => checkpoint(base, name),
        Request::Combine { base, parts, .. } => combined(base, parts),
        Request::Release { .. } => {
            let rescued = (name == "bd").then(|| "refs/whaleflow/r1/rescue/0a-bad".to_owned());
            Outcome::Released { rescued }
        }
    }
}

/// Two candidate fixes, a contest between them that a test decides, and a report.
pub(crate) const CONTEST: &str = r#"{
  "workflow": "contest",
  "description": "Two fixes, one wins.",
  "budget": {"tokens": 100000, "usd": 2},
  "children": [
    {"search": "look", "pattern": "cache", "reads": ["src/**"]},
    {"parallel": "fixes", "children": [
      {"branch": "good", "writes": ["src/**"], "children": [
        {"agent": "fix", "prompt": "Fix the cache.\nCarefully.", "role": "coder", "writes": ["src/**"], "needs": ["look"]},
        {"test": "check", "argv": ["cargo", "test"]}
      ]},
      {"branch": "bad", "writes": ["src/**"], "children": [
        {"agent": "fix", "prompt": "Rewrite the cache.", "role": "coder", "writes": ["src/**"]},
        {"test": "check", "argv": ["cargo", "test"]}
      ]}
    ]},
    {"tournament": "pick", "candidates": "fixes", "require": "value.results.check.passed", "by": "0 - value.insertions"},
    {"ask": "sum_up", "prompt": "Sum up {{ pick.winner }}.", "role": "writer"}
  ],
  "outputs": {"winner": "pick.winner", "summary": "sum_up"}
}"#;

/// Three fixes, a contest that a judge decides, and the winner with what the losers leave, tested again.
pub(crate) const COMBINED: &str = r#"{
  "workflow": "combined",
  "children": [
    {"parallel": "ways", "children": [
      {"branch": "good", "writes": ["src/**"], "children": [
        {"agent": "fix", "prompt": "Fix it.", "writes": ["src/**"]}, {"test": "check", "argv": ["true"]}
      ]},
      {"branch": "wide", "writes": ["src/**"], "children": [
        {"agent": "fix", "prompt": "Fix it all.", "writes": ["src/**"]}, {"test": "check", "argv": ["true"]}
      ]},
      {"branch": "bad", "writes": ["src/**"], "children": [
        {"agent": "fix", "prompt": "Fix it somehow.", "writes": ["src/**"]}, {"test": "check", "argv": ["true"]}
      ]}
    ]},
    {"tournament": "pick", "candidates": "ways", "require": "value.results.check.passed",
     "judge": {"prompt": "{{ first.path }} or {{ second.path }}?"}, "harvest": ["results", "patches"]},
    {"reduce": "both", "inputs": "pick", "how": "combine"},
    {"test": "check", "argv": ["true"], "tree": "both"}
  ]
}"#;

/// A gate between two asks, beside one that fails after two attempts.
pub(crate) const GATED: &str = r#"{
  "workflow": "gated",
  "children": [
    {"sequence": "tries", "on_failure": "continue", "children": [
      {"ask": "broken", "prompt": "Try.", "retry": {"attempts": 2, "backoff": "10s"}},
      {"ask": "plan", "prompt": "Plan."}
    ]},
    {"approve": "ok", "prompt": "Shall I?", "shows": {"plan": "tries.plan"},
     "form": {"type": "object", "properties": {"why": {"type": "string"}}}, "by": ["ada"]},
    {"ask": "act", "prompt": "Act.", "when": "true", "needs": ["ok"]}
  ]
}"#;

/// Many small asks.
pub(crate) const FAN_OUT: &str = r#"{
  "workflow": "fanout",
  "children": [
    {"expand": "each", "over": "5", "width": 2, "max_children": 5, "children": [
      {"ask": "leaf", "prompt": "Number {{ each.item }}."}
    ]},
    {"reduce": "total", "inputs": "each", "how": "concat"}
  ]
}"#;
