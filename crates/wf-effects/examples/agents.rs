//! Measures what the engine adds to an agent's turns, and what many agents at once hold in memory, with a model that
//! answers at once. Prints one JSON object. Run it optimised: `cargo run --release -p wf-effects --example agents`.
//!
//! Each turn reads a file of four kilobytes, so a conversation grows as it would. Arguments: turns of the one agent, and
//! agents at once; 200 and 64 unless said otherwise.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on ends")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use wf_effects::agent::files::Tree;
use wf_effects::agent::output::Outputs;
use wf_effects::agent::scripted::{Last, Scripted, Turn};
use wf_effects::agent::tools::Tools;
use wf_effects::agent::{Limits, Order, World, prompt, work};
use wf_effects::models::typed::Budget;
use wf_effects::secret::Redactor;
use wf_effects::{BoxFuture, CancelToken, Clock, RealClock, Steering};
use wf_ir::{Glob, Value};
use wf_kernel::Amount;
use wf_store::Store;

/// Files of the tree.
const FILES: usize = 50;
/// Turns of each of many agents.
const TURNS_OF_MANY: usize = 50;

struct Endless;

impl Budget for Endless {
    fn more(&self, _: Amount) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<usize>().unwrap());
    let (turns, agents) = (args.next().unwrap_or(200), args.next().unwrap_or(64));
    let dir = tempfile::tempdir().unwrap();
    for file in 0..FILES {
        let line = format!("line of file {file} with some words in it\n");
        std::fs::write(dir.path().join(format!("{file}.txt")), line.repeat(4_096 / line.len())).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let before = RealClock.now_ms();
    runtime.block_on(agent(dir.path(), turns, 0));
    let one_ms = RealClock.now_ms() - before;
    let base = peak_bytes();
    let before = RealClock.now_ms();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..agents)
            .map(|number| {
                let dir = dir.path().to_owned();
                tokio::spawn(async move { agent(&dir, TURNS_OF_MANY, number).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let answer = json!({
        "turns": turns,
        "ms_per_turn": one_ms as f64 / turns as f64,
        "agents": agents,
        "agents_ms": RealClock.now_ms() - before,
        "peak_mib_before": base >> 20,
        "peak_mib": peak_bytes() >> 20,
    });
    println!("{answer}");
}

async fn agent(dir: &Path, turns: usize, number: usize) {
    let turn = |turn: usize| {
        // Each call differs from those before it, so that nobody turns in circles.
        let (file, first) = (turn % FILES, turn / FILES + 1);
        let path = Value::from(format!("{file}.txt"));
        let arguments = Value::map([("path", path), ("offset", Value::Int(first as i64))]);
        Turn { text: String::new(), calls: vec![("read".to_owned(), arguments)] }
    };
    let model = Scripted {
        turns: (0..turns).map(turn).collect(),
        last: Last::Result(Value::from("done"), Vec::new()),
        latency: Duration::ZERO,
    };
    let mut tools = Tools {
        tree: Some(Tree::open(dir.to_owned(), Vec::new(), vec![Glob::parse("**").unwrap()]).unwrap()),
        shell: Err("not measured".to_owned()),
        allowed: None,
        outputs: Outputs::new(Arc::clone(&Store::memory().blobs)),
    };
    let order = Order {
        model: &model,
        price: None,
        context: Some(200_000),
        system: prompt::system(Some(dir), "bench"),
        task: vec![format!("task {number}")],
        schema: None,
        tasks_max: 0,
        params: BTreeMap::new(),
        output_tokens_max: 1_000,
        limits: Limits { turns_max: u32::MAX, tokens_max: u64::MAX },
        held: Amount::default(),
    };
    let world = World {
        tools: &mut tools,
        cancel: &CancelToken::default(),
        steering: &Steering::default(),
        told: &[],
        budget: &Endless,
        redactor: &Redactor::default(),
        trace: &|_, _| {},
    };
    let done = work(order, world).await.unwrap();
    assert_eq!(done.turns as usize, turns + 1);
}

/// The most memory that this process has used.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}
