//! `cargo xtask`: project tasks. See the crate's documentation.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "tasks talk to the person or script that runs them")]

use std::process::ExitCode;

use xtask::{bench, mutants, schema, test, tidy, workspace};

const USAGE: &str = "\
usage: cargo xtask <task>

  test [--long] [--plain]     check formatting and lints, run all tests; the last line counts them
                              --long: many simulated seeds, the long fault harnesses, the planted defects;
                              --plain: cargo's own test runner
  mutants [--table] [NAME]... plant defects, and see that each is caught; --table: write their table
  tidy                        hold the sources against ARCHITECTURE.md and STYLE.md
  schema                      rewrite the generated files
  bench [--list] [--only NAME]...
                              measure, and print one JSON object
  bench trees [--json] [git|cargo]
                              measure trees and build caches beside plain git and cargo";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some(ended) = run(&args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the task ended well; nothing when there is no such task.
fn run(args: &[&str]) -> Option<anyhow::Result<bool>> {
    let root = workspace::root();
    match args {
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Some(Ok(true))
        }
        ["test", rest @ ..] => Some(test::run(&root, &test::TestOptions::parse(rest)?)),
        ["mutants", names @ ..] => Some(mutants::run(&root, names)),
        ["tidy"] => Some(tidy::run(&root)),
        ["schema"] => Some(schema::run(&root)),
        ["bench", "trees", rest @ ..] => Some(bench::trees::run(&root, &bench::trees::TreesBench::parse(rest)?)),
        ["bench", rest @ ..] => Some(bench::run(&root, &bench::BenchOptions::parse(rest)?)),
        [bench::PEAK_MEMORY, file, program, rest @ ..] => Some(bench::peak_memory(file, program, rest)),
        _ => None,
    }
}
