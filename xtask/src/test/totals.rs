//! Counts what test runners say they did.

use std::fmt;
use std::ops::Add;

/// How many checks passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// They did what they should.
    pub passed: u64,
    /// They did not.
    pub failed: u64,
    /// They did not run.
    pub skipped: u64,
}

impl Totals {
    /// One check that did not run.
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// One check that ran.
    pub fn one(success: bool) -> Self {
        Self { passed: u64::from(success), failed: u64::from(!success), skipped: 0 }
    }

    /// What a runner counted, given how it ended: one that failed without a failed test has failed itself.
    #[must_use]
    pub fn of_runner(self, success: bool) -> Self {
        if success || self.failed > 0 { self } else { Self { failed: 1, ..self } }
    }

    /// What a runner counted that must have run something: one that ran nothing has failed.
    #[must_use]
    pub fn of_something(self) -> Self {
        if self.passed + self.failed > 0 { self } else { Self { failed: 1, ..self } }
    }
}

impl Add for Totals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// The sum of the lines with which cargo's test runner ends each test program.
pub fn libtest_totals(lines: &[String]) -> Totals {
    let results = lines.iter().filter_map(|line| plain(line).strip_prefix("test result: ").map(str::to_owned));
    results.map(|result| counts(&result, ';')).fold(Totals::default(), Add::add)
}

/// The counts of nextest's summary.
pub fn nextest_totals(lines: &[String]) -> Totals {
    let mut summaries = lines.iter().map(|line| plain(line)).filter(|line| line.trim_start().starts_with("Summary ["));
    let last = summaries.next_back().unwrap_or_default();
    let counted = last.split_once(" run: ").map_or("", |(_, counts)| counts);
    counts(&without_remarks(counted), ',')
}

/// Reads `12 passed, 1 failed, …`: what neither passed nor was left out has failed.
fn counts(text: &str, separator: char) -> Totals {
    let mut totals = Totals::default();
    for part in text.split(separator) {
        let words: Vec<&str> =
            part.trim().trim_start_matches("ok. ").trim_start_matches("FAILED. ").split(' ').collect();
        let Some(count) = words.first().and_then(|word| word.parse::<u64>().ok()) else { continue };
        match words[1..].join(" ").as_str() {
            "passed" => totals.passed += count,
            "skipped" | "ignored" | "filtered out" => totals.skipped += count,
            "measured" => {}
            _ => totals.failed += count,
        }
    }
    totals
}

/// Without what stands in parentheses, which says more about what is counted already.
fn without_remarks(text: &str) -> String {
    let mut depth = 0_u32;
    let mut kept = String::new();
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => kept.push(c),
            _ => {}
        }
    }
    kept.replace(" ,", ",")
}

/// Without the colours of a terminal.
fn plain(line: &str) -> String {
    let mut kept = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            kept.push(c);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_test_program_of_cargo_counts() {
        let output = "running 2 tests\n..\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
                      finished in 0.00s\n\nrunning 3 tests\ntest result: FAILED. 1 passed; 2 failed; 0 ignored; \
                      0 measured; 4 filtered out; finished in 1.00s";
        assert_eq!(libtest_totals(&lines(output)).to_string(), "3 passed, 2 failed, 5 skipped");
    }

    #[test]
    fn the_summary_of_nextest_counts_whatever_failed() {
        let output = "     Summary [   5.036s] 8 tests run: 4 passed (1 slow, 2 leaky), 1 failed, 1 exec failed, \
                      2 timed out, 4 skipped\n";
        assert_eq!(nextest_totals(&lines(output)).to_string(), "4 passed, 4 failed, 4 skipped");
    }

    #[test]
    fn colours_change_no_count() {
        let output = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m \
                      \u{1b}[32;1mpassed\u{1b}[0m, 0 skipped";
        assert_eq!(nextest_totals(&lines(output)).to_string(), "2 passed, 0 failed, 0 skipped");
    }

    #[test]
    fn a_runner_that_fails_without_a_failed_test_counts_as_failed() {
        let three = Totals { passed: 3, ..Totals::default() };
        assert_eq!(three.of_runner(false).to_string(), "3 passed, 1 failed, 0 skipped");
        assert_eq!(three.of_runner(true), three);
        let some = Totals { passed: 7, failed: 2, skipped: 0 };
        assert_eq!(some.of_runner(false), some);
    }

    #[test]
    fn a_runner_that_ran_nothing_counts_as_failed() {
        let nothing = libtest_totals(&lines("nothing to see"));
        assert_eq!(nothing.of_runner(true).of_something().to_string(), "0 passed, 1 failed, 0 skipped");
    }
}
