//! A simulated world: workflows drawn from a seed, and what effects answer, as a function of seed, path and attempt, so
//! that neither order nor crashes change what a leaf gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use wf_ir::{Digest, Kind, Spanned, Value, Workflow};
use wf_kernel::effect::Part;
use wf_kernel::record::{Checkpoint, Combined, Failure, FileChange, LeftOut, Prepared, Success, Taken, TreeAt};
use wf_kernel::{Amount, Effect, LeafRequest, Outcome, Request, TreeUse, Usage, ValueRef};

/// SplitMix64: small, seedable, and good enough to vary schedules.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Validates a workflow given as JSON.
pub(crate) fn workflow(source: &Json) -> Arc<Workflow> {
    let value = Value::from_json(&source.to_string()).unwrap();
    let draft = wf_ir::Draft { root: Spanned::from_value(&value, &wf_ir::Span::default()) };
    let (workflow, diagnostics) = wf_ir::validate(&draft);
    let errors: Vec<_> = diagnostics.iter().filter(|it| it.severity == wf_ir::Severity::Error).collect();
    Arc::new(workflow.unwrap_or_else(|| panic!("{errors:#?}\n{source:#}")))
}

/// A workflow drawn from a seed: every kind of node that runs, nested up to four deep.
pub(crate) fn drawn_workflow(seed: u64) -> Arc<Workflow> {
    let mut maker = Maker { draw: Draw(seed), next: 0 };
    let count = 2 + maker.draw.below(3);
    let children = maker.list(count, 0, Place { in_branch: false });
    let mut source = json!({ "workflow": "drawn", "children": children });
    if maker.draw.chance(25) {
        source["budget"] = json!({ "tokens": 300 + maker.draw.below(4_000) });
    }
    if maker.draw.chance(5) {
        source["budget"] = json!({ "wall": "20s", "leaves": 30 });
    }
    workflow(&source)
}

#[derive(Clone, Copy)]
struct Place {
    in_branch: bool,
}

struct Maker {
    draw: Draw,
    next: u32,
}

impl Maker {
    fn id(&mut self, word: &str) -> String {
        self.next += 1;
        format!("{word}{}", self.next)
    }

    fn list(&mut self, count: u64, depth: u32, place: Place) -> Vec<Json> {
        let mut list: Vec<Json> = Vec::new();
        for _ in 0..count {
            let mut node = self.node(depth, place);
            if self.draw.chance(6) {
                node["when"] = json!("1 > 2");
            }
            if let Some(before) = list.last().filter(|_| self.draw.chance(30)) {
                let id = id_of(before);
                node["needs"] = json!([id]);
                if self.draw.chance(20) {
                    node["when"] = json!("[1, 2][size(node.NEED.path) % 3] == 1".replace("NEED", &id));
                }
                if self.draw.chance(50) {
                    node["accept"] = json!(["failed", "skipped", "timed_out", "cancelled"]);
                }
            }
            list.push(node);
        }
        list
    }

    fn node(&mut self, depth: u32, place: Place) -> Json {
        let leafy = depth >= 3 || self.draw.chance(45);
        if leafy { self.leaf(place) } else { self.control(depth + 1, place) }
    }

    fn leaf(&mut self, place: Place) -> Json {
        let attempts = 1 + self.draw.below(3);
        let retry = json!({ "attempts": attempts, "backoff": "2s" });
        match self.draw.below(if place.in_branch { 7 } else { 6 }) {
            0 => json!({ "test": self.id("t"), "argv": ["true"], "retry": retry }),
            1 if self.draw.chance(30) => json!({ "wait": self.id("w"), "signal": "go", "timeout": "40s" }),
            1 => json!({ "wait": self.id("w"), "duration": "5s" }),
            2 => json!({ "search": self.id("s"), "pattern": "x", "retry": retry }),
            3 if self.draw.chance(20) => json!({ "approve": self.id("g"), "prompt": "go on?", "timeout": "60s" }),
            3 => json!({ "approve": self.id("g"), "prompt": "go on?", "timeout": "60s", "on_timeout": "approve" }),
            6 if self.draw.chance(40) => {
                json!({ "command": self.id("m"), "argv": ["make"], "writes": ["src/**"], "retry": retry })
            }
            6 => json!({ "agent": self.id("c"), "prompt": "write", "writes": ["src/**"], "retry": retry }),
            _ => json!({ "ask": self.id("a"), "prompt": "what?", "retry": retry }),
        }
    }

    fn control(&mut self, depth: u32, place: Place) -> Json {
        let count = 1 + self.draw.below(3);
        match self.draw.below(8) {
            0 => {
                let on_failure = if self.draw.chance(50) { "continue" } else { "abort" };
                json!({ "sequence": self.id("q"), "on_failure": on_failure, "children": self.list(count, depth, place) })
            }
            1 if !place.in_branch => {
                let id = self.id("p");
                let children = self.apart(count + 1, depth, place);
                let keep = if self.draw.chance(20) { "first_success" } else { "all" };
                let on_failure = if self.draw.chance(20) { "abort" } else { "continue" };
                json!({ "parallel": id, "width": 1 + self.draw.below(3), "keep": keep, "on_failure": on_failure,
                        "children": children })
            }
            2 => json!({ "loop_until": self.id("l"), "until": format!("iteration >= {}", 1 + self.draw.below(3)),
                         "max_iterations": 1 + self.draw.below(3),
                         "on_limit": if self.draw.chance(70) { "accept" } else { "fail" },
                         "children": self.list(count, depth, place) }),
            3 => json!({ "cond": self.id("d"), "condition": if self.draw.chance(50) { "1 < 2" } else { "1 > 2" },
                         "then": self.list(1, depth, place),
                         "otherwise": if self.draw.chance(60) { self.list(1, depth, place) } else { Vec::new() } }),
            4 if !place.in_branch => json!({ "expand": self.id("e"), "over": format!("{}", self.draw.below(6)),
                         "width": 1 + self.draw.below(3), "max_children": 10, "min_ok": self.draw.below(2),
                         "children": self.list(count, depth, place) }),
            5 if !place.in_branch => self.contest(depth),
            7 if !place.in_branch && self.draw.chance(50) => {
                let id = self.id("e");
                let mut children = self.list(count, depth, place);
                let agent = json!({ "agent": self.id("c"), "prompt": format!("do {{{{ {id}.item }}}}"),
                                    "retry": { "attempts": 2, "backoff": "1s" }, "tasks": { "max": 2 } });
                children.insert(self.draw.below(children.len() as u64 + 1) as usize, agent);
                json!({ "expand": id, "over": "['x', 'y']", "width": 1 + self.draw.below(3), "max_children": 12,
                        "children": children })
            }
            6 if !place.in_branch => json!({ "branch": self.id("b"), "writes": ["**"],
                         "children": self.list(count, depth, Place { in_branch: true }) }),
            1 => {
                let one = |id: String, part: &str| json!({ "agent": id, "prompt": format!("part {part}"), "writes": [format!("src/{part}/**")] });
                json!({ "parallel": self.id("p"), "children": [one(self.id("c"), "x"), one(self.id("c"), "y")] })
            }
            4 => json!({ "expand": self.id("e"), "over": "4", "max_children": 3,
                         "children": [{ "ask": self.id("a"), "prompt": "too many" }] }),
            5 => json!({ "sequence": self.id("q"), "budget": { "tokens": 150 }, "timeout": "30s",
                         "children": self.list(count + 1, depth, place) }),
            _ => json!({ "sequence": self.id("q"), "children": self.list(count, depth, place) }),
        }
    }

    /// Children of a parallel must differ in more than their ids.
    fn apart(&mut self, count: u64, depth: u32, place: Place) -> Vec<Json> {
        let mut list = Vec::new();
        for at in 0..count {
            let mut inner = self.list(1, depth, place);
            let ask = json!({ "ask": self.id("a"), "prompt": format!("question {at}") });
            if self.next.is_multiple_of(2) {
                // A leaf itself. Decided by a number that is there anyway, so that seeds draw what they drew before.
                list.push(ask);
                continue;
            }
            inner.push(ask);
            list.push(json!({ "sequence": self.id("q"), "children": inner }));
        }
        list
    }

    fn contest(&mut self, depth: u32) -> Json {
        let place = Place { in_branch: true };
        let branches: Vec<Json> = (0..2 + self.draw.below(2))
            .map(|at| {
                let mut children = self.list(1, depth, place);
                children.push(json!({ "ask": self.id("a"), "prompt": format!("way {at}") }));
                json!({ "branch": self.id("b"), "writes": ["**"], "children": children })
            })
            .collect();
        let set = self.id("p");
        let mut tournament =
            json!({ "tournament": self.id("k"), "candidates": set, "harvest": ["results", "patches"] });
        if self.draw.chance(20) {
            tournament["require"] = json!("status == 'no'");
        }
        if self.draw.chance(50) {
            tournament["by"] = json!("size(path)");
        } else {
            tournament["judge"] = json!({ "prompt": "which of {{ first.path }} and {{ second.path }}?" });
        }
        let mut children = json!([{ "parallel": set, "children": branches }, tournament,
                   { "reduce": self.id("r"), "inputs": set, "how": "concat", "on_empty": [] }]);
        if self.next.is_multiple_of(2) {
            // Decided by a number that is there anyway, so that seeds draw what they drew before.
            let (pick, both) = (children[1]["tournament"].clone(), self.id("x"));
            children[1]["harvest"] = json!(["tests", "patches"]);
            children.as_array_mut().unwrap().push(json!({ "reduce": both, "inputs": pick, "how": "combine" }));
        }
        json!({ "sequence": self.id("q"), "children": children })
    }
}

fn id_of(node: &Json) -> String {
    let map = node.as_object().unwrap();
    map.iter().find(|(key, _)| wf_ir::fields::KindTag::from_word(key).is_some()).unwrap().1.as_str().unwrap().to_owned()
}

/// How rough the world is, in percent.
#[derive(Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) failures: u64,
    pub(crate) throttling: u64,
    pub(crate) unknown_usage: u64,
    pub(crate) lies_about_usage: bool,
}

/// What an effect answers.
pub(crate) fn answer(seed: u64, weather: Weather, workflow: &Workflow, effect: &Effect) -> Outcome {
    match &effect.request {
        Request::Prepare(leaf) => prepared(leaf),
        Request::Perform { leaf, .. } => performed(seed, weather, workflow, leaf, effect.id.generation),
        Request::Acquire { branch, .. } if is_full(seed, weather, branch, effect.id.generation) => {
            Outcome::Throttled { retry_after_ms: 700, usage: Usage::default(), why: None }
        }
        Request::Acquire { base, .. } => Outcome::Acquired(TreeAt { commit: base.clone(), tree: tree_of(base) }),
        Request::Checkpoint { leaf, begin, at_ms, .. } => {
            let commit = short(&(leaf, begin, at_ms));
            Outcome::Checkpointed(Box::new(Checkpoint {
                base: begin.clone(),
                tree: tree_of(&commit),
                commit,
                files: vec![changed("src/a.rs")],
                out_of_scope: Vec::new(),
            }))
        }
        Request::Harvest { branch, base, commit } => Outcome::Checkpointed(Box::new(Checkpoint {
            base: base.clone(),
            commit: commit.clone(),
            tree: tree_of(commit),
            files: harvested(branch, base, commit),
            out_of_scope: Vec::new(),
        })),
        Request::Release { .. } => Outcome::Released { rescued: None },
        Request::Combine { base, commit, parts, at_ms, .. } => combined(base, commit, parts, *at_ms),
    }
}

/// The first part fits, every second one does not.
fn combined(base: &str, winner: &str, parts: &[Part], at_ms: i64) -> Outcome {
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for (at, part) in parts.iter().enumerate() {
        let (path, files) = (part.path.clone(), part.files.clone());
        match at % 2 {
            0 => taken.push(Taken { path, files }),
            _ => left.push(LeftOut { path, files, why: "it is in the way".to_owned() }),
        }
    }
    let commit = if taken.is_empty() { winner.to_owned() } else { short(&(winner, &taken, at_ms)) };
    let files = taken.iter().flat_map(|part| &part.files).map(|file| changed(file)).collect();
    let checkpoint =
        Checkpoint { base: base.to_owned(), tree: tree_of(&commit), commit, files, out_of_scope: Vec::new() };
    Outcome::Combined(Box::new(Combined { checkpoint, taken, left }))
}

/// Every branch that wrote has changed one file that all change; of those that are drawn, some have added a test.
fn harvested(branch: &str, base: &str, commit: &str) -> Vec<FileChange> {
    if base == commit {
        return Vec::new();
    }
    let mut files = vec![changed("src/a.rs")];
    let number = branch.rsplit("/b").next().and_then(|number| number.parse::<u32>().ok());
    if number.is_some_and(|number| number.is_multiple_of(2)) {
        let change = "added".to_owned();
        files.push(FileChange { change, ..changed(&format!("tests/{commit}.rs")) });
    }
    files
}

/// Whether no tree is to be had; depends on the generation, so that it ends.
fn is_full(seed: u64, weather: Weather, branch: &str, generation: u32) -> bool {
    let drawn = Digest::of_json(&(seed, branch, generation)).0[0];
    generation < 6 && u64::from(drawn) % 100 < weather.throttling * 2
}

fn changed(path: &str) -> FileChange {
    FileChange { path: path.to_owned(), change: "modified".to_owned(), insertions: Some(2), deletions: Some(1) }
}

fn short<T: serde::Serialize>(of: &T) -> String {
    Digest::of_json(of).short()
}

fn tree_of(commit: &str) -> String {
    format!("tree-{commit}")
}

fn prepared(leaf: &LeafRequest) -> Outcome {
    let tree = match &leaf.tree {
        TreeUse::None => None,
        TreeUse::Branch { begin, .. } => Some(tree_of(begin)),
        TreeUse::Snapshot { commit, .. } => Some(tree_of(commit)),
    };
    let request = Value::map([("path", Value::from(&*leaf.path)), ("feedback", Value::Bool(leaf.feedback.is_some()))]);
    Outcome::Prepared(Box::new(Prepared {
        role: Arc::new(Value::from("sim")),
        request: ValueRef::of(Arc::new(request)).0,
        tree,
        estimate: Amount { tokens: 100, cost_usd_micros: 50 },
        price: None,
        passed_over: Vec::new(),
    }))
}

fn performed(seed: u64, weather: Weather, workflow: &Workflow, leaf: &LeafRequest, generation: u32) -> Outcome {
    let drawn = Digest::of_json(&(seed, &*leaf.path, leaf.attempt)).0;
    let mut draw = Draw(u64::from_le_bytes(drawn[..8].try_into().unwrap()));
    let tokens = if weather.lies_about_usage && draw.chance(10) { 500 } else { 10 + draw.below(80) };
    let mut usage = Usage {
        input_tokens: Some(tokens),
        output_tokens: Some(5),
        cached_tokens: None,
        cost_usd_micros: Some(tokens / 2),
    };
    if draw.chance(weather.unknown_usage) {
        usage = Usage::default();
    }
    // Throttling depends on the generation, so that it ends.
    if draw.chance(weather.throttling) && generation < 8 && generation.is_multiple_of(2) {
        return Outcome::Throttled { retry_after_ms: 1_500, usage: Usage::default(), why: None };
    }
    if draw.chance(weather.failures) {
        if draw.chance(30) {
            return Outcome::TimedOut { usage };
        }
        return Outcome::Failed(Box::new(Failure {
            code: "provider".to_owned(),
            message: "no luck".to_owned(),
            retryable: draw.chance(80),
            usage,
            evidence: None,
            artifacts: BTreeMap::new(),
            rescued: None,
        }));
    }
    let value = match &workflow.node(leaf.node).kind {
        Kind::Test(_) => Value::map([("passed", Value::Bool(draw.chance(70))), ("exit_code", Value::Int(0))]),
        Kind::Search(_) => Value::map([("matches", Value::List(Vec::new())), ("count", Value::Int(0))]),
        Kind::Ask(ask) if ask.prompt.source.starts_with("which of") => {
            let winner = ["first", "second", "tie"][draw.below(3) as usize];
            Value::map([("winner", Value::from(winner)), ("reason", Value::from("so"))])
        }
        _ => Value::from(format!("answer of {} at {}", leaf.path, leaf.attempt)),
    };
    // Some add to their list, and some more than they may.
    let tasks = match &workflow.node(leaf.node).kind {
        Kind::Agent(agent) if agent.tasks_max > 0 && draw.chance(50) => {
            (0..draw.below(4)).map(|at| Arc::new(Value::from(format!("{} of {}", at, leaf.path)))).collect()
        }
        _ => Vec::new(),
    };
    Outcome::Succeeded(Box::new(Success {
        value: ValueRef::of(Arc::new(value)).0,
        usage,
        artifacts: BTreeMap::new(),
        rescued: None,
        tasks,
    }))
}
