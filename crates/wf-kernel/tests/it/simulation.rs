//! Seed-driven runs: every seed's run ends, its fold equals the live state after every crash, it replays, and no
//! invariant breaks. A failing seed prints the end of its log; `WHALEFLOW_SIM_SEED=N` runs that seed alone and
//! `WHALEFLOW_SIM_SEEDS=N` that many, each twice with the same records.

use expect_test::expect;
use serde_json::json;
use wf_kernel::RunStatus;

use crate::simulate::{CALM, Trouble, simulate};
use crate::world::{Weather, drawn_workflow, workflow};

const FAIR: Weather = Weather { failures: 12, throttling: 8, unknown_usage: 5, lies_about_usage: false };
const ROUGH: Weather = Weather { failures: 25, throttling: 10, unknown_usage: 20, lies_about_usage: true };

const TROUBLE: Trouble = Trouble { crashes: 4, duplicates: 10, losses: 5, commands: 3, remote: 30, worker_deaths: 4 };

/// The seeds of an ordinary run of the tests.
const SEEDS: std::ops::Range<u64> = 0..1_000;
/// How many of them run twice; where seeds are asked for, all do.
const SEEDS_TWICE: usize = 40;

fn seeds() -> std::ops::Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test may be told which seeds to run")]
    let read = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (read("WHALEFLOW_SIM_SEED"), read("WHALEFLOW_SIM_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => SEEDS,
    }
}

#[test]
fn every_seed_ends_and_replays_whatever_happens() {
    let mut ends = std::collections::BTreeMap::<&str, u32>::new();
    let (mut crashes, mut lost, mut refused, mut topups) = (0, 0, 0, [0, 0]);
    for seed in seeds() {
        let workflow = drawn_workflow(seed);
        let trouble = TROUBLE;
        let weather = if seed.is_multiple_of(2) { FAIR } else { ROUGH };
        let simulated = simulate(&workflow, seed, weather, trouble);
        *ends.entry(simulated.end.status.as_str()).or_default() += 1;
        crashes += simulated.crashes;
        lost += simulated.workers_lost;
        refused += simulated.refused;
        topups = [topups[0] + simulated.topups[0], topups[1] + simulated.topups[1]];
    }
    if seeds().end - seeds().start >= SEEDS.end {
        assert!(crashes > 1_000 && refused > 1_000, "{crashes} crashes, {refused} refusals");
        assert!(lost > 500, "{lost} workers lost");
        assert!(topups[0] > 30 && topups[1] > 1_000, "{topups:?} questions for more budget");
        assert!(ends.len() == 4, "{ends:?}");
    }
}

#[test]
fn a_seed_gives_the_same_records_twice() {
    let count = if seeds() == SEEDS { SEEDS_TWICE } else { usize::MAX };
    for seed in seeds().take(count) {
        let workflow = drawn_workflow(seed);
        let trouble = TROUBLE;
        let run = || simulate(&workflow, seed, FAIR, trouble).records;
        assert_eq!(run(), run());
    }
}

/// Two runs of one workflow have one result, killed or not, where no rule of it depends on time.
#[test]
fn crashes_change_no_result() {
    let mut compared = 0;
    for seed in seeds() {
        let workflow = drawn_workflow(seed);
        if workflow.canonical().contains("first_success")
            || workflow.canonical().contains("\"on_failure\":\"abort\"")
            || workflow.budget().tokens.is_some()
            || workflow.budget().wall_ms.is_some()
        {
            continue;
        }
        let weather = Weather { throttling: 0, ..FAIR };
        let calm = simulate(&workflow, seed, weather, CALM);
        let killed = simulate(&workflow, seed, weather, Trouble { crashes: 8, commands: 0, ..TROUBLE });
        if calm.end.result_digest != killed.end.result_digest {
            let show = |records: &[wf_kernel::Record]| {
                let state = crate::simulate::fold(&workflow, records);
                let lines = state.instances().iter().map(|it| {
                    let tree = it.tree.as_ref().map(|tree| tree.head_tree.clone());
                    format!("{} {:?} {:?} {:?} {:?}", it.path, it.status, it.reason, it.value, tree)
                });
                let mut lines: Vec<_> = lines.collect();
                lines.sort();
                lines
            };
            let (a, b) = (show(&calm.records), show(&killed.records));
            for (a, b) in a.iter().zip(&b).filter(|(a, b)| a != b) {
                println!("seed {seed}\n  {a}\n  {b}");
            }
        }
        assert_eq!(calm.end.result_digest, killed.end.result_digest, "seed {seed}");
        assert_eq!(calm.end.verified, killed.end.verified, "seed {seed}");
        compared += 1;
    }
    if seeds().end - seeds().start >= SEEDS.end {
        assert!(compared > 100, "{compared}");
    }
}

/// Agents that share a budget ask for more while they work, and die in the middle of calls: what is settled and what is
/// reserved stay within the ceiling (which the simulator sees to after every input), and each run ends.
#[test]
fn sixty_four_agents_share_one_budget() {
    let ask = |at: u32| json!({ "ask": format!("a{at}"), "prompt": "x" });
    let (mut topups, mut exceeded, mut crashes) = ([0, 0], 0, 0);
    for seed in 0..200 {
        let ceiling = 6_400 + 100 * (seed % 64);
        let all = json!({ "parallel": "all", "width": 64, "children": (0..64).map(ask).collect::<Vec<_>>() });
        let source = json!({ "workflow": "it", "budget": { "tokens": ceiling }, "children": [all] });
        let trouble = Trouble { crashes: 2, commands: 0, ..TROUBLE };
        let simulated = simulate(&workflow(&source), seed, Weather { failures: 0, ..FAIR }, trouble);
        assert!(simulated.settled <= ceiling, "seed {seed}: {} of {ceiling}", simulated.settled);
        exceeded += u32::from(simulated.end.status == RunStatus::BudgetExceeded);
        crashes += simulated.crashes;
        topups = [topups[0] + simulated.topups[0], topups[1] + simulated.topups[1]];
    }
    assert!(exceeded > 100 && crashes > 200, "{exceeded} exceeded, {crashes} crashes");
    assert!(topups[0] > 50 && topups[1] > 5_000, "{topups:?} questions for more budget");
}

#[test]
fn a_calm_run_performs_every_effect_once() {
    let workflow = drawn_workflow(3);
    let calm = Weather { failures: 0, throttling: 0, unknown_usage: 0, lies_about_usage: false };
    let simulated = simulate(&workflow, 3, calm, CALM);
    expect!["4 0"].assert_eq(&format!("{} {}", simulated.performed, simulated.refused));
}
