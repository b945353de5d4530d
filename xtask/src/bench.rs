//! `cargo xtask bench`: the project's figures, each measured beside the limit that it is held against.
//!
//! It builds the release binary and runs it as a person would, every time with a state directory of its own on the
//! disk that the build is on. Runs and their limits take turns, so that whatever else the machine does hits both. The
//! answer is one JSON object on standard output; what is going on is said on standard error.

mod figures;
mod floor;
mod machine;
mod measure;
mod program;
pub mod trees;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use serde_json::json;

pub use figures::{FIGURES, Figure, Threshold, Wanted};
use measure::Measured;
pub use measure::median;
use program::Program;
pub use program::peak_memory;

/// The verb by which this program runs another and measures its memory.
pub const PEAK_MEMORY: &str = "peak-memory";

/// What the command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BenchOptions {
    /// Name the figures and measure nothing.
    pub list: bool,
    /// Only these figures; without any, all that are not marked as slow.
    pub only: BTreeSet<String>,
}

impl BenchOptions {
    /// Reads the arguments after `bench`; nothing when one is unknown.
    pub fn parse(args: &[&str]) -> Option<Self> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match *arg {
                "--list" => options.list = true,
                "--only" => {
                    let name = args.next()?;
                    FIGURES.iter().find(|figure| figure.name == *name)?;
                    options.only.insert((*name).to_owned());
                }
                _ => return None,
            }
        }
        Some(options)
    }

    fn chosen(&self) -> Vec<&'static Figure> {
        let is_chosen = |figure: &&Figure| match self.only.is_empty() {
            true => !figure.slow,
            false => self.only.contains(figure.name),
        };
        FIGURES.iter().filter(is_chosen).collect()
    }
}

/// Measures and prints; whether every figure reaches what it must.
///
/// # Errors
/// When something cannot be built, run or understood.
pub fn run(root: &Path, options: &BenchOptions) -> anyhow::Result<bool> {
    if options.list {
        for figure in &FIGURES {
            let slow = if figure.slow { " (only when named)" } else { "" };
            println!("{:<20} {}{slow}", figure.name, figure.what);
        }
        return Ok(true);
    }
    let chosen = options.chosen();
    let wanted: BTreeSet<Wanted> = chosen.iter().flat_map(|figure| figure.wanted.iter().copied()).collect();
    let program = Program::build(root)?;
    let begun = machine::Ticks::now();
    let measured = measure::all(&program, &wanted)?;
    let machine = machine::Ticks::until_now(begun);
    let mut all_pass = true;
    let mut shown = Vec::new();
    for figure in chosen {
        let (value, pass) = figure.show(&measured).with_context(|| format!("{} was not measured", figure.name))?;
        all_pass &= pass;
        shown.push(value);
    }
    println!(
        "{}",
        serde_json::to_string_pretty(&json!({
            "version": 1, "pass": all_pass, "machine": machine, "figures": shown,
        }))?
    );
    Ok(all_pass)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(args: &[&str]) -> Option<String> {
        let options = BenchOptions::parse(args)?;
        Some(options.chosen().iter().map(|figure| figure.name).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn figures_are_chosen_by_name_and_slow_ones_only_so() {
        assert_eq!(chosen(&["--only", "version_time"]).as_deref(), Some("version_time"));
        assert_eq!(chosen(&["--only", "cargo_test_time"]).as_deref(), Some("cargo_test_time"));
        let all = chosen(&[]).unwrap();
        assert!(all.starts_with("fanout_rate fanout_ratio rows_per_leaf") && !all.contains("test_time"), "{all}");
    }

    #[test]
    fn unknown_arguments_are_refused() {
        assert_eq!(chosen(&["--only", "speed"]), None);
        assert_eq!(chosen(&["--only"]), None);
        assert_eq!(chosen(&["--fast"]), None);
    }
}
