//! The figures: what each is made of, and what it must reach.

use serde_json::{Value, json};

use super::Measured;
use super::measure::median;

/// Something to measure. Several figures may be made of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// One row per leaf, committed in groups of 64 by SQLite alone.
    Floor,
    /// Runs of 1,000 leaves.
    Small,
    /// Runs of 10,000 leaves, with their memory.
    Large,
    /// Replays of a run of 10,000 leaves, and reading the same log.
    Replay,
    /// Runs of 10,000 leaves that eight processes of workers perform.
    Fleet,
    /// A process that takes over a run of 10,000 leaves whose owner is dead, with its memory.
    Recovery,
    /// The harness that kills runs of 200 leaves 1,000 times, once built.
    Kills,
    /// `--version`.
    Version,
    /// A run of one leaf, in a new state directory.
    OneLeaf,
    /// Agents whose model answers at once: one alone, and 64 together.
    Agents,
    /// Starts of a command, bare and in a sandbox.
    Sandbox,
    /// `cargo test --workspace`, once built.
    CargoTest,
    /// `cargo xtask test`, once built.
    XtaskTest,
}

/// What a figure must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// The measured value itself.
    AtLeast(f64),
    /// The measured value itself.
    AtMost(f64),
    /// The measured value divided by the limit measured beside it.
    RatioAtLeast(f64),
    /// The measured value divided by the limit measured beside it.
    RatioAtMost(f64),
}

/// Picks one measurement's values.
type Values = fn(&Measured) -> &[f64];

/// One line of the table of figures.
#[derive(Debug)]
pub struct Figure {
    /// How it is called.
    pub name: &'static str,
    /// What it says.
    pub what: &'static str,
    /// In what it is measured.
    pub unit: &'static str,
    /// What it is made of.
    pub wanted: &'static [Wanted],
    /// What it must reach.
    pub threshold: Threshold,
    /// Whether it takes so long that it is measured only when it is named.
    pub slow: bool,
    value: Values,
    /// What it is held against, and its measurements.
    limit: Option<(&'static str, Values)>,
}

/// All of them.
pub const FIGURES: [Figure; 19] = [
    Figure {
        name: "fanout_rate",
        what: "leaves a second of fanout.star, n=1000, width=64",
        unit: "leaves/s",
        wanted: &[Wanted::Small],
        threshold: Threshold::AtLeast(8_000.0),
        slow: false,
        value: |it| &it.small_rates,
        limit: None,
    },
    Figure {
        name: "fanout_ratio",
        what: "the same against one row per leaf, committed in groups of 64 by SQLite alone (WAL, FULL)",
        unit: "leaves/s",
        wanted: &[Wanted::Small, Wanted::Floor],
        threshold: Threshold::RatioAtLeast(1.0 / 9.0),
        slow: false,
        value: |it| &it.small_rates,
        limit: Some(("rows a second that SQLite commits in groups of 64", |it| &it.floor_rates)),
    },
    Figure {
        name: "rows_per_leaf",
        what: "rows of the store's records and tasks for each leaf of that run",
        unit: "rows",
        wanted: &[Wanted::Small],
        threshold: Threshold::AtMost(8.0),
        slow: false,
        value: |it| &it.small_rows_per_leaf,
        limit: None,
    },
    Figure {
        name: "cost_growth",
        what: "time per leaf at n=10000 against n=1000",
        unit: "us/leaf",
        wanted: &[Wanted::Small, Wanted::Large],
        threshold: Threshold::RatioAtMost(1.3),
        slow: false,
        value: |it| &it.large_leaf_us,
        limit: Some(("time per leaf at n=1000", |it| &it.small_leaf_us)),
    },
    Figure {
        name: "peak_memory",
        what: "most memory that the run of n=10000 holds at once",
        unit: "MiB",
        wanted: &[Wanted::Large],
        threshold: Threshold::AtMost(256.0),
        slow: false,
        value: |it| &it.large_peak_mib,
        limit: None,
    },
    Figure {
        name: "replay_ratio",
        what: "records a second of `replay`, as a whole process, against reading and parsing the same log",
        unit: "records/s",
        wanted: &[Wanted::Replay],
        threshold: Threshold::RatioAtLeast(1.0 / 20.0),
        slow: false,
        value: |it| &it.replay_rates,
        limit: Some(("records a second that are read from SQLite and parsed as JSON", |it| &it.parse_rates)),
    },
    Figure {
        name: "replay_rate",
        what: "records a second of `replay`, as a whole process",
        unit: "records/s",
        wanted: &[Wanted::Replay],
        threshold: Threshold::AtLeast(100_000.0),
        slow: false,
        value: |it| &it.replay_rates,
        limit: None,
    },
    Figure {
        name: "claim_rate",
        what: "leaves a second of fanout.star, n=10000, width=1024, claimed in batches by 8 worker processes",
        unit: "leaves/s",
        wanted: &[Wanted::Fleet],
        threshold: Threshold::AtLeast(2_000.0),
        slow: false,
        value: |it| &it.fleet_rates,
        limit: None,
    },
    Figure {
        name: "claim_wait",
        what: "how long 99 of 100 claims of those workers took at most, in the slowest of them",
        unit: "ms",
        wanted: &[Wanted::Fleet],
        threshold: Threshold::AtMost(500.0),
        slow: false,
        value: |it| &it.claim_p99_ms,
        limit: None,
    },
    Figure {
        name: "recovery_time",
        what: "`resume` of a run of 10,000 leaves whose owner was killed, until it waits again, the whole process",
        unit: "s",
        wanted: &[Wanted::Recovery],
        threshold: Threshold::AtMost(3.0),
        slow: false,
        value: |it| &it.recovery_s,
        limit: None,
    },
    Figure {
        name: "recovery_memory",
        what: "most memory that this process holds at once",
        unit: "MiB",
        wanted: &[Wanted::Recovery],
        threshold: Threshold::AtMost(256.0),
        slow: false,
        value: |it| &it.recovery_peak_mib,
        limit: None,
    },
    Figure {
        name: "kills_time",
        what: "1,000 kills of runs of 200 leaves, each taken up again, once built",
        unit: "s",
        wanted: &[Wanted::Kills],
        threshold: Threshold::AtMost(600.0),
        slow: true,
        value: |it| &it.kills_s,
        limit: None,
    },
    Figure {
        name: "version_time",
        what: "`--version`, the whole process",
        unit: "ms",
        wanted: &[Wanted::Version],
        threshold: Threshold::AtMost(10.0),
        slow: false,
        value: |it| &it.version_ms,
        limit: None,
    },
    Figure {
        name: "one_leaf_time",
        what: "a run of one leaf in a new state directory, the whole process",
        unit: "ms",
        wanted: &[Wanted::OneLeaf],
        threshold: Threshold::AtMost(80.0),
        slow: false,
        value: |it| &it.one_leaf_ms,
        limit: None,
    },
    Figure {
        name: "agent_turn",
        what: "the engine's own time for a turn of an agent whose model answers at once and that reads a file",
        unit: "ms",
        wanted: &[Wanted::Agents],
        threshold: Threshold::AtMost(5.0),
        slow: false,
        value: |it| &it.agent_turn_ms,
        limit: None,
    },
    Figure {
        name: "agents_memory",
        what: "most memory that 64 such agents at once hold, 50 turns each",
        unit: "MiB",
        wanted: &[Wanted::Agents],
        threshold: Threshold::AtMost(400.0),
        slow: false,
        value: |it| &it.agents_peak_mib,
        limit: None,
    },
    Figure {
        name: "sandbox_start",
        what: "what starting a command in a sandbox takes more than starting it bare, medians of 200 in turns",
        unit: "ms",
        wanted: &[Wanted::Sandbox],
        threshold: Threshold::AtMost(15.0),
        slow: false,
        value: |it| &it.sandbox_more_ms,
        limit: None,
    },
    Figure {
        name: "cargo_test_time",
        what: "`cargo test --workspace`, once built",
        unit: "s",
        wanted: &[Wanted::CargoTest],
        threshold: Threshold::AtMost(60.0),
        slow: true,
        value: |it| &it.cargo_test_s,
        limit: None,
    },
    Figure {
        name: "xtask_test_time",
        what: "`cargo xtask test`, once built",
        unit: "s",
        wanted: &[Wanted::XtaskTest],
        threshold: Threshold::AtMost(600.0),
        slow: true,
        value: |it| &it.xtask_test_s,
        limit: None,
    },
];

impl Figure {
    /// It as JSON, and whether it reaches what it must; nothing when it was not measured.
    pub(crate) fn show(&self, measured: &Measured) -> Option<(Value, bool)> {
        let values = (self.value)(measured);
        let value = median(values)?;
        let limit = match self.limit {
            Some((what, of)) => Some((what, median(of(measured))?, of(measured))),
            None => None,
        };
        let ratio = limit.map(|(_, limit, _)| value / limit);
        let pass = self.threshold.holds(value, ratio);
        let limit =
            limit.map(|(what, limit, all)| json!({ "what": what, "measured": round(limit), "all": rounded(all) }));
        let shown = json!({
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "measured": round(value),
            "all": rounded(values),
            "limit": limit,
            "ratio": ratio.map(round),
            "threshold": self.threshold.show(),
            "pass": pass,
        });
        Some((shown, pass))
    }
}

impl Threshold {
    fn holds(self, value: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
            Self::RatioAtLeast(least) => ratio.is_some_and(|ratio| ratio >= least),
            Self::RatioAtMost(most) => ratio.is_some_and(|ratio| ratio <= most),
        }
    }

    fn show(self) -> Value {
        match self {
            Self::AtLeast(least) => json!({ "of": "measured", "at_least": round(least) }),
            Self::AtMost(most) => json!({ "of": "measured", "at_most": round(most) }),
            Self::RatioAtLeast(least) => json!({ "of": "ratio", "at_least": round(least) }),
            Self::RatioAtMost(most) => json!({ "of": "ratio", "at_most": round(most) }),
        }
    }
}

fn rounded(values: &[f64]) -> Vec<f64> {
    values.iter().copied().map(round).collect()
}

/// To four digits after the point, and to none where a number is large.
fn round(value: f64) -> f64 {
    let scale = if value.abs() >= 1_000.0 { 1.0 } else { 10_000.0 };
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, measured: &Measured) -> Option<String> {
        let figure = FIGURES.iter().find(|figure| figure.name == name)?;
        figure.show(measured).map(|(value, pass)| format!("{} {} {pass}", value["measured"], value["ratio"]))
    }

    #[test]
    fn a_figure_is_the_median_and_may_miss_its_threshold() {
        let slow = Measured { small_rates: vec![7_000.0, 9_000.0, 7_999.0], ..Measured::default() };
        assert_eq!(shown("fanout_rate", &slow).as_deref(), Some("7999.0 null false"));
        let fast = Measured { small_rates: vec![8_000.0, 9_000.0, 7_000.0], ..Measured::default() };
        assert_eq!(shown("fanout_rate", &fast).as_deref(), Some("8000.0 null true"));
    }

    #[test]
    fn a_ratio_is_held_against_the_limit_of_the_same_run() {
        let rates = |value: f64, limit: f64| Measured {
            small_rates: vec![value],
            floor_rates: vec![limit],
            ..Measured::default()
        };
        assert_eq!(shown("fanout_ratio", &rates(9_000.0, 72_000.0)).as_deref(), Some("9000.0 0.125 true"));
        assert_eq!(shown("fanout_ratio", &rates(9_000.0, 90_000.0)).as_deref(), Some("9000.0 0.1 false"));
    }

    #[test]
    fn what_grows_too_much_misses() {
        let grown =
            |large: f64| Measured { large_leaf_us: vec![large], small_leaf_us: vec![100.0], ..Measured::default() };
        assert_eq!(shown("cost_growth", &grown(130.0)).as_deref(), Some("130.0 1.3 true"));
        assert_eq!(shown("cost_growth", &grown(131.0)).as_deref(), Some("131.0 1.31 false"));
    }

    #[test]
    fn what_was_not_measured_is_not_shown() {
        assert_eq!(shown("peak_memory", &Measured::default()), None);
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<&str> = FIGURES.iter().map(|figure| figure.name).collect();
        assert_eq!(names.len(), FIGURES.len());
    }
}
