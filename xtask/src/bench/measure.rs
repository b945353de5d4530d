//! Takes the measurements that figures are made of.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::figures::Wanted;
use super::floor;
use super::program::{Program, RunShown};

/// How often a run is repeated, after one that does not count. Odd, so that a median is a measurement.
const REPETITIONS: usize = 5;
/// How often a short process is.
const REPETITIONS_SHORT: usize = 21;

const SMALL: u64 = 1_000;
const LARGE: u64 = 10_000;
const WIDTH: u64 = 64;
/// So wide that eight workers with 64 slots each always find something.
const FLEET_WIDTH: u64 = 1_024;
/// How many processes of workers.
const WORKERS: usize = 8;

/// Everything measured, one value for each repetition.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) floor_rates: Vec<f64>,
    pub(crate) small_rates: Vec<f64>,
    pub(crate) small_leaf_us: Vec<f64>,
    pub(crate) small_rows_per_leaf: Vec<f64>,
    pub(crate) large_leaf_us: Vec<f64>,
    pub(crate) large_peak_mib: Vec<f64>,
    pub(crate) replay_rates: Vec<f64>,
    pub(crate) parse_rates: Vec<f64>,
    pub(crate) fleet_rates: Vec<f64>,
    pub(crate) claim_p99_ms: Vec<f64>,
    pub(crate) recovery_s: Vec<f64>,
    pub(crate) recovery_peak_mib: Vec<f64>,
    pub(crate) kills_s: Vec<f64>,
    pub(crate) version_ms: Vec<f64>,
    pub(crate) one_leaf_ms: Vec<f64>,
    pub(crate) agent_turn_ms: Vec<f64>,
    pub(crate) agents_peak_mib: Vec<f64>,
    pub(crate) sandbox_more_ms: Vec<f64>,
    pub(crate) cargo_test_s: Vec<f64>,
    pub(crate) xtask_test_s: Vec<f64>,
}

/// The middle of an odd number of values; the lower of the two middles of an even number.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(values.len().checked_sub(1)? / 2).copied()
}

/// How long something takes, and what it gives.
#[expect(clippy::disallowed_methods, reason = "a measurement of time reads the clock")]
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let given = work();
    (start.elapsed(), given)
}

/// Takes the measurements that are wanted.
pub(crate) fn all(program: &Program, wanted: &BTreeSet<Wanted>) -> anyhow::Result<Measured> {
    let mut measured = Measured::default();
    fan_out(program, wanted, &mut measured)?;
    if wanted.contains(&Wanted::Replay) {
        replay(program, &mut measured)?;
    }
    if wanted.contains(&Wanted::Fleet) {
        fleet(program, &mut measured)?;
    }
    if wanted.contains(&Wanted::Recovery) {
        recovery(program, &mut measured)?;
    }
    if wanted.contains(&Wanted::Kills) {
        measured.kills_s.push(program.long_kills()?.as_secs_f64());
    }
    if wanted.contains(&Wanted::Version) {
        measured.version_ms = repeated(REPETITIONS_SHORT, "--version", || program.version().map(millis))?;
    }
    if wanted.contains(&Wanted::OneLeaf) {
        measured.one_leaf_ms = repeated(REPETITIONS_SHORT, "a run of one leaf", || one_leaf(program).map(millis))?;
    }
    if wanted.contains(&Wanted::Agents) {
        let said = examples(program, "agents")?;
        measured.agent_turn_ms = numbers(&said, "ms_per_turn")?;
        measured.agents_peak_mib = numbers(&said, "peak_mib")?;
    }
    if wanted.contains(&Wanted::Sandbox) {
        measured.sandbox_more_ms = numbers(&examples(program, "sandbox")?, "more_ms")?;
    }
    if wanted.contains(&Wanted::CargoTest) {
        let test = || program.cargo(&["test", "--workspace", "--quiet"]).map(|took| took.as_secs_f64());
        measured.cargo_test_s = repeated(REPETITIONS, "cargo test", test)?;
    }
    if wanted.contains(&Wanted::XtaskTest) {
        let test = || program.cargo(&["xtask", "test"]).map(|took| took.as_secs_f64());
        measured.xtask_test_s = repeated(REPETITIONS, "cargo xtask test", test)?;
    }
    Ok(measured)
}

/// Floor, small and large runs take turns, so that whatever else the machine does hits all three.
fn fan_out(program: &Program, wanted: &BTreeSet<Wanted>, measured: &mut Measured) -> anyhow::Result<()> {
    if ![Wanted::Floor, Wanted::Small, Wanted::Large].iter().any(|one| wanted.contains(one)) {
        return Ok(());
    }
    for repetition in 0..=REPETITIONS {
        eprintln!("fan-out: {repetition} of {REPETITIONS}");
        let mut taken = Measured::default();
        if wanted.contains(&Wanted::Floor) {
            let dir = program.dir()?;
            taken.floor_rates.push(floor::ROWS as f64 / floor::commit_rows(dir.path())?.as_secs_f64());
        }
        if wanted.contains(&Wanted::Small) {
            let home = program.dir()?;
            let run = program.fanout(&home, SMALL, WIDTH)?;
            taken.small_rates.push(SMALL as f64 / seconds(&run));
            taken.small_leaf_us.push(seconds(&run) * 1e6 / SMALL as f64);
            taken.small_rows_per_leaf.push(floor::count_rows(&home.store()?)? as f64 / SMALL as f64);
        }
        if wanted.contains(&Wanted::Large) {
            let home = program.dir()?;
            let (run, peak_kib) = program.fanout_with_memory(&home, LARGE, WIDTH)?;
            taken.large_leaf_us.push(seconds(&run) * 1e6 / LARGE as f64);
            taken.large_peak_mib.push(peak_kib as f64 / 1024.0);
        }
        if repetition > 0 {
            measured.add(taken);
        }
    }
    Ok(())
}

impl Measured {
    fn add(&mut self, taken: Self) {
        self.floor_rates.extend(taken.floor_rates);
        self.small_rates.extend(taken.small_rates);
        self.small_leaf_us.extend(taken.small_leaf_us);
        self.small_rows_per_leaf.extend(taken.small_rows_per_leaf);
        self.large_leaf_us.extend(taken.large_leaf_us);
        self.large_peak_mib.extend(taken.large_peak_mib);
    }
}

fn replay(program: &Program, measured: &mut Measured) -> anyhow::Result<()> {
    let home = program.dir()?;
    let run = program.fanout(&home, LARGE, WIDTH)?;
    let store = home.store()?;
    for repetition in 0..=REPETITIONS {
        eprintln!("replay: {repetition} of {REPETITIONS}");
        let (parsing, parsed) = floor::parse_records(&store)?;
        let replaying = program.replay(&home, &run)?;
        ensure!(parsed == run.records, "the store has {parsed} records and the run says {}", run.records);
        if repetition > 0 {
            measured.parse_rates.push(parsed as f64 / parsing.as_secs_f64());
            measured.replay_rates.push(run.records as f64 / replaying.as_secs_f64());
        }
    }
    Ok(())
}

fn fleet(program: &Program, measured: &mut Measured) -> anyhow::Result<()> {
    for repetition in 0..=REPETITIONS {
        eprintln!("workers: {repetition} of {REPETITIONS}");
        let home = program.dir()?;
        // The store must be there before several processes open it at once, or they measure how it is made.
        program.fanout(&home, 1, 1)?;
        let (run, workers) = program.fanout_by_workers(&home, LARGE, FLEET_WIDTH, WORKERS)?;
        let reported: u64 = workers.iter().map(|worker| worker.reported).sum();
        ensure!(reported == LARGE, "the workers report {reported} of {LARGE} leaves");
        if repetition > 0 {
            measured.fleet_rates.push(LARGE as f64 / seconds(&run));
            let slowest = workers.iter().map(|worker| worker.claim_us_p99).max().unwrap_or(0);
            measured.claim_p99_ms.push(slowest as f64 / 1e3);
        }
    }
    Ok(())
}

fn recovery(program: &Program, measured: &mut Measured) -> anyhow::Result<()> {
    let home = program.dir()?;
    program.orphan(&home, LARGE)?;
    for repetition in 0..=REPETITIONS {
        eprintln!("recovery: {repetition} of {REPETITIONS}");
        let (took, peak_kib) = program.resume_with_memory(&home)?;
        if repetition > 0 {
            measured.recovery_s.push(took.as_secs_f64());
            measured.recovery_peak_mib.push(peak_kib as f64 / 1024.0);
        }
    }
    Ok(())
}

/// What an example of `wf-effects` says each time that it is run.
fn examples(program: &Program, name: &str) -> anyhow::Result<Vec<Value>> {
    let example = program.example(name)?;
    let mut said = Vec::with_capacity(REPETITIONS);
    for repetition in 0..=REPETITIONS {
        eprintln!("{name}: {repetition} of {REPETITIONS}");
        let measured = example()?;
        if repetition > 0 {
            said.push(measured);
        }
    }
    Ok(said)
}

fn numbers(said: &[Value], name: &str) -> anyhow::Result<Vec<f64>> {
    said.iter().map(|it| it[name].as_f64().with_context(|| format!("{name} was not measured: {it}"))).collect()
}

fn one_leaf(program: &Program) -> anyhow::Result<Duration> {
    let home = program.dir()?;
    let (took, run) = timed(|| program.fanout(&home, 1, 1));
    run?;
    Ok(took)
}

fn repeated(times: usize, what: &str, mut work: impl FnMut() -> anyhow::Result<f64>) -> anyhow::Result<Vec<f64>> {
    eprintln!("{what}: {times} times");
    work()?;
    (0..times).map(|_| work()).collect()
}

fn seconds(run: &RunShown) -> f64 {
    // A run that took no measurable time would have an infinite rate.
    run.duration_ms.max(1) as f64 / 1e3
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{median, numbers};

    #[test]
    fn what_an_example_says_is_found_or_missed_by_name() {
        let said = [json!({"ms_per_turn": 0.5, "peak_mib": 21}), json!({"ms_per_turn": 0.25, "peak_mib": 20})];
        assert_eq!(numbers(&said, "ms_per_turn").unwrap(), [0.5, 0.25]);
        assert_eq!(numbers(&said, "peak_mib").unwrap(), [21.0, 20.0]);
        assert_eq!(
            numbers(&said[..1], "more_ms").unwrap_err().to_string(),
            r#"more_ms was not measured: {"ms_per_turn":0.5,"peak_mib":21}"#
        );
    }

    #[test]
    fn a_median_is_a_measurement() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.0));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }
}
