//! Seeing that an agent turns in circles: the same calls with the same results, alone or in turn.

use std::collections::VecDeque;

use wf_ir::Digest;

/// Longest circle that is seen, in calls.
const PERIOD_MAX: usize = 3;
/// So many rounds lead to a warning.
pub const ROUNDS_WARNED: usize = 3;
/// So many rounds end the agent.
pub const ROUNDS_MAX: usize = 5;

/// What was called lately, and what came of it.
#[derive(Debug, Default)]
pub struct Circles {
    seen: VecDeque<Digest>,
}

/// What is to be done about the last call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// The model is told.
    Warn {
        /// How often it went round.
        rounds: usize,
    },
    /// The agent ends.
    Stop {
        /// How often it went round.
        rounds: usize,
    },
}

impl Circles {
    /// Takes a call in, with its result.
    pub fn take(&mut self, name: &str, arguments: &str, result: &str) -> Verdict {
        self.seen.push_back(Digest::of_json(&(name, arguments, result)));
        if self.seen.len() > PERIOD_MAX * ROUNDS_MAX {
            self.seen.pop_front();
        }
        let rounds = (1..=PERIOD_MAX).map(|period| self.rounds(period)).max().unwrap_or(0);
        match rounds {
            ROUNDS_MAX.. => Verdict::Stop { rounds },
            ROUNDS_WARNED.. => Verdict::Warn { rounds },
            _ => Verdict::Fine,
        }
    }

    /// How often the last `period` calls were made in a row.
    fn rounds(&self, period: usize) -> usize {
        let back = |count: usize| self.seen.len().checked_sub(count).and_then(|at| self.seen.get(at));
        let goes_on = |count: &usize| *count <= period || back(*count) == back(count - period);
        (1..=self.seen.len()).take_while(goes_on).count() / period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(calls: &str, expected: &str) {
        let mut circles = Circles::default();
        let verdicts: String = calls
            .chars()
            .map(|call| match circles.take("tool", &call.to_string(), "") {
                Verdict::Fine => '.',
                Verdict::Warn { .. } => 'w',
                Verdict::Stop { .. } => 'S',
            })
            .collect();
        assert_eq!(verdicts, expected, "{calls}");
    }

    #[test]
    fn circles_are_warned_of_and_then_ended() {
        check("aaaaa", "..wwS");
        check("abababababab", ".....wwwwSSS");
        check("abcabcabcabcabc", "........wwwwwwS");
        check("abacadaeafag", "............");
        check("aabbaabbccdd", "............");
        check("aaabaaab", "..w...w.");
    }

    #[test]
    fn another_result_is_no_circle() {
        let mut circles = Circles::default();
        let verdicts = (0..50).map(|turn| circles.take("bash", "make", &turn.to_string()));
        assert!(verdicts.into_iter().all(|verdict| verdict == Verdict::Fine));
    }
}
