//! What kept the machine from the programs that are measured.

use std::fs;

use serde_json::{Value, json};

/// Ticks of all cores since the machine started, as the first line of `/proc/stat` counts them (proc_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticks {
    all: u64,
    waiting_for_disk: u64,
    stolen: u64,
}

impl Ticks {
    /// Those of now; nothing where the machine does not say.
    pub(super) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let counts = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map(str::parse);
        let counts: Vec<u64> = counts.collect::<Result<_, _>>().ok()?;
        // User, nice, system, idle, disk, two kinds of interrupts, stolen; guests are counted among users.
        let [_, _, _, _, waiting_for_disk, _, _, stolen] = *counts.first_chunk()?;
        Some(Self { all: counts.iter().take(8).sum(), waiting_for_disk, stolen })
    }

    /// The parts of the time from these to now in which another machine had the processor, and in which nobody used it
    /// because of the disk, which the system only guesses. Ratios say little where these are large.
    pub(super) fn until_now(then: Option<Self>) -> Value {
        then.zip(Self::now()).map_or(Value::Null, |(then, now)| now.since(then))
    }

    fn since(self, then: Self) -> Value {
        let all = self.all.saturating_sub(then.all).max(1) as f64;
        let percent = |ticks: u64| (ticks as f64 / all * 1_000.0).round() / 10.0;
        json!({
            "stolen_percent": percent(self.stolen.saturating_sub(then.stolen)),
            "waiting_for_disk_percent": percent(self.waiting_for_disk.saturating_sub(then.waiting_for_disk)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_time_are_told() {
        let then = Ticks::parse("cpu  100 0 50 800 20 0 5 10 0 0\ncpu0 1 2\n").unwrap();
        let now = Ticks::parse("cpu  500 0 150 1000 70 0 5 260 9 0\n").unwrap();
        assert_eq!(now.since(then), json!({ "stolen_percent": 25.0, "waiting_for_disk_percent": 5.0 }));
        assert_eq!(Ticks::parse("cpu 1 2 3\n"), None);
        assert!(Ticks::now().is_some());
    }
}
