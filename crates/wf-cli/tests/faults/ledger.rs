//! What really ran, as its commands told it, held against what the log says.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::scene::Scene;

/// The log of a run, as far as it says what ran.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    /// How often each leaf was ordered.
    pub(crate) ordered: BTreeMap<String, usize>,
    /// How often each leaf came back and had run, whatever came of it.
    pub(crate) returned: BTreeMap<String, usize>,
    /// When each instance ended, for good.
    pub(crate) ended: BTreeMap<String, i64>,
    /// Leaves that were ordered after they had ended, and had not failed and been retried by somebody.
    pub(crate) again: Vec<String>,
    /// How many processes owned the run.
    pub(crate) owners: usize,
}

/// Records of `logs --raw`.
pub(crate) fn records(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Ran {
    /// What a log says.
    pub(crate) fn of(records: &[Value]) -> Self {
        let mut ran = Self { owners: 1, ..Self::default() };
        for record in records {
            let payload = &record["payload"];
            if let Some(path) = payload["started"]["path"].as_str() {
                *ran.ordered.entry(path.to_owned()).or_default() += 1;
                if ran.ended.contains_key(path) {
                    ran.again.push(path.to_owned());
                }
            }
            let effect = &payload["outcome"]["effect"];
            let outcome = &payload["outcome"]["outcome"];
            let has_run = outcome["succeeded"].is_object() || outcome["failed"]["code"] == "exit";
            if effect["phase"] == "perform" && has_run {
                *ran.returned.entry(effect["subject"].as_str().unwrap().to_owned()).or_default() += 1;
            }
            if let Some(path) = payload["ended"]["path"].as_str() {
                ran.ended.insert(path.to_owned(), record["at_ms"].as_i64().unwrap());
            }
            let reopened = payload["reopened"]["paths"].as_array();
            for path in reopened.into_iter().flatten() {
                ran.ended.remove(path.as_str().unwrap());
            }
            ran.owners += usize::from(payload["adopted"].is_object());
        }
        ran
    }
}

/// The times at which each leaf told that it ran.
pub(crate) fn told(scene: &Scene) -> BTreeMap<String, Vec<i64>> {
    let mut told: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for line in std::fs::read_to_string(scene.ledger()).unwrap_or_default().lines() {
        let (at, path) = line.split_once(' ').unwrap();
        told.entry(path.to_owned()).or_default().push(at.parse().unwrap());
    }
    told
}

/// Nothing that ended was ordered again. What told that it ran was ordered, did so no more often than it was ordered and
/// no less often than it came back, and not after its end.
pub(crate) fn check(told: &BTreeMap<String, Vec<i64>>, ran: &Ran) {
    assert_eq!(ran.again, Vec::<String>::new(), "ordered after their end");
    for (path, times) in told {
        let (ordered, returned) = (count(&ran.ordered, path), count(&ran.returned, path));
        assert!(
            returned <= times.len() && times.len() <= ordered,
            "{path} was ordered {ordered} times, came back {returned} times, and ran {} times",
            times.len()
        );
        let end = ran.ended.get(path).copied().unwrap_or(i64::MAX);
        assert!(times.iter().all(|at| *at <= end), "{path} ended at {end} and ran at {times:?}");
    }
}

fn count(counts: &BTreeMap<String, usize>, path: &str) -> usize {
    counts.get(path).copied().unwrap_or(0)
}
