//! `cargo xtask test`: everything that must hold before a change is taken in, and a last line that counts it.
//!
//! Every step runs, whatever became of those before it. A step that this machine cannot do is skipped, named, and
//! counted; so is what only `--long` does.

mod run;
mod strace;
mod totals;

use std::path::Path;

use anyhow::Context;

use crate::mutants;
use crate::workspace::{cargo, has_cargo_tool};
pub use totals::{Totals, libtest_totals, nextest_totals};

/// Settings that make a test longer, and what it then does.
const LONG: [(&str, &str, &str); 2] = [
    ("WHALEFLOW_SIM_SEEDS", "10000", "10,000 simulated seeds"),
    ("WHALEFLOW_LONG", "1", "the long forms of the fault harnesses"),
];

/// What the command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestOptions {
    /// The long fault harnesses too.
    pub long: bool,
    /// Cargo's own test runner, whatever else is there.
    pub plain: bool,
}

impl TestOptions {
    /// Reads the arguments after `test`; nothing when one is unknown.
    pub fn parse(args: &[&str]) -> Option<Self> {
        let mut options = Self::default();
        for arg in args {
            match *arg {
                "--long" => options.long = true,
                "--plain" => options.plain = true,
                _ => return None,
            }
        }
        Some(options)
    }
}

/// How the output of a step says what it counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// The step is one check.
    AsOne,
    /// Lines of cargo's test runner.
    Libtest,
    /// The same, where there may be no test at all.
    LibtestOrNothing,
    /// The summary of nextest.
    Nextest,
}

/// Something to run.
struct Step {
    name: &'static str,
    /// The tool of cargo's that must be there, and how to say that it is not.
    needs: Option<&'static str>,
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    counted: Counted,
}

const FORMATTING: Step = Step {
    name: "formatting",
    needs: Some("fmt"),
    args: &["fmt", "--all", "--check"],
    env: &[],
    counted: Counted::AsOne,
};

const LINTS: Step = Step {
    name: "lints",
    needs: Some("clippy"),
    args: &["clippy", "--workspace", "--all-targets", "--locked", "--keep-going", "--", "-D", "warnings"],
    env: &[],
    counted: Counted::AsOne,
};

/// A failure says what was found and where; how the runner came there is of no use to anybody.
const WITHOUT_BACKTRACE: &[(&str, &str)] = &[("RUST_BACKTRACE", "0")];

const TESTS: Step = Step {
    name: "tests",
    needs: None,
    args: &["test", "--workspace", "--lib", "--bins", "--tests", "--locked", "--no-fail-fast", "--quiet"],
    env: WITHOUT_BACKTRACE,
    counted: Counted::Libtest,
};

const NEXTEST: Step = Step {
    name: "tests",
    needs: None,
    args: &[
        "nextest",
        "run",
        "--workspace",
        "--locked",
        "--no-fail-fast",
        "--status-level",
        "fail",
        "--failure-output",
        "final",
    ],
    env: WITHOUT_BACKTRACE,
    counted: Counted::Nextest,
};

const DOC_TESTS: Step = Step {
    name: "examples in the documentation",
    needs: None,
    args: &["test", "--workspace", "--doc", "--locked", "--no-fail-fast", "--quiet"],
    env: &[],
    counted: Counted::LibtestOrNothing,
};

const DOCUMENTATION: Step = Step {
    name: "documentation",
    needs: None,
    args: &["doc", "--workspace", "--no-deps", "--document-private-items", "--locked", "--keep-going", "--quiet"],
    env: &[("RUSTDOCFLAGS", "-D warnings")],
    counted: Counted::AsOne,
};

const DEPENDENCIES: Step = Step {
    name: "licences, bans and sources of dependencies",
    needs: Some("deny"),
    args: &["deny", "--offline", "--locked", "check", "bans", "licenses", "sources"],
    env: &[],
    counted: Counted::AsOne,
};

/// Runs all steps; whether all passed.
///
/// # Errors
/// When a step cannot be started or read at all.
pub fn run(root: &Path, options: &TestOptions) -> anyhow::Result<bool> {
    let nextest = !options.plain && has_cargo_tool(root, "nextest");
    let tests = if nextest { &NEXTEST } else { &TESTS };
    let steps = [&FORMATTING, &LINTS, tests, &DOC_TESTS, &DOCUMENTATION, &DEPENDENCIES];
    let without_strace: &[&str] = match (strace::is_ready(root), nextest) {
        (true, _) => &[],
        (false, true) => &["-E", "not test(/under_strace/)"],
        (false, false) => &["--", "--skip", "under_strace"],
    };
    if !without_strace.is_empty() {
        println!("skipped: the harnesses that need strace, which is not here or may not trace");
    }
    let mut done: Vec<(String, Totals)> = Vec::new();
    for step in steps {
        let more = if std::ptr::eq(step, tests) { without_strace } else { &[] };
        println!("== {}: cargo {}", step.name, [step.args, more].concat().join(" "));
        done.push(perform(root, step, more, options)?);
    }
    if options.long {
        println!("== planted defects");
        let (caught, missed) = mutants::plant(root, &[])?;
        let totals = Totals { passed: caught as u64, failed: missed.len() as u64, skipped: 0 };
        done.push(("planted defects".to_owned(), totals));
    } else {
        let skipped = |what| (format!("{what} (only with --long)"), Totals::SKIPPED);
        done.extend(LONG.map(|(_, _, what)| skipped(what)));
        done.push(skipped("planted defects"));
    }
    println!("== summary");
    let mut sum = Totals::default();
    for (name, totals) in &done {
        println!("{name}: {totals}");
        sum = sum + *totals;
    }
    println!("{sum}");
    Ok(sum.failed == 0)
}

fn perform(root: &Path, step: &Step, more: &[&str], options: &TestOptions) -> anyhow::Result<(String, Totals)> {
    if let Some(tool) = step.needs
        && !has_cargo_tool(root, tool)
    {
        println!("skipped: cargo {tool} is not installed");
        return Ok((format!("{} (cargo {tool} is not installed)", step.name), Totals::SKIPPED));
    }
    let mut command = cargo(root);
    command.args(step.args).args(more).envs(step.env.iter().copied());
    if options.long {
        command.envs(LONG.map(|(name, value, _)| (name, value)));
    }
    let ran = run::echoing(&mut command).with_context(|| format!("cannot run the step '{}'", step.name))?;
    let totals = match step.counted {
        Counted::AsOne => Totals::one(ran.success),
        Counted::Libtest => libtest_totals(&ran.lines).of_runner(ran.success).of_something(),
        Counted::LibtestOrNothing => libtest_totals(&ran.lines).of_runner(ran.success),
        Counted::Nextest => nextest_totals(&ran.lines).of_runner(ran.success).of_something(),
    };
    Ok((step.name.to_owned(), totals))
}
