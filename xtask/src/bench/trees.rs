//! `cargo xtask bench trees`: trees and build caches, beside plain git and plain cargo in the same run.
//!
//! What is measured is the library itself, by an example of `wf-effects`, which this task builds, runs on the disk that
//! the build is on, and holds against what must be reached.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::machine::Ticks;
use super::measure::median;
use crate::workspace::{cargo, command, output};

/// What the command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreesBench {
    /// Print JSON instead of text.
    pub json: bool,
    /// The only part to measure.
    pub only: Option<String>,
}

impl TreesBench {
    /// Reads the arguments after `bench trees`; nothing when one is unknown.
    pub fn parse(args: &[&str]) -> Option<Self> {
        let mut options = Self::default();
        for arg in args {
            match *arg {
                "--json" => options.json = true,
                "git" | "cargo" if options.only.is_none() => options.only = Some((*arg).to_owned()),
                _ => return None,
            }
        }
        Some(options)
    }
}

/// One row of the table.
#[derive(Debug, PartialEq)]
struct Row {
    name: &'static str,
    /// The measurement as a multiple of plain git's or cargo's.
    ratio: f64,
    ratio_max: f64,
    /// What both were, with their unit.
    detail: String,
}

impl Row {
    fn pass(&self) -> bool {
        self.ratio <= self.ratio_max
    }
}

/// Measures and prints; whether every figure is reached.
///
/// # Errors
/// When something cannot be built, run or understood.
pub fn run(root: &Path, options: &TreesBench) -> anyhow::Result<bool> {
    eprintln!("building");
    let mut build = cargo(root);
    build.args(["build", "--release", "--locked", "--package", "wf-effects", "--example", "trees"]);
    ensure!(build.stdout(Stdio::null()).status()?.success(), "the release build failed");
    let args = ["metadata", "--format-version", "1", "--offline", "--locked", "--no-deps"];
    let metadata: Value = serde_json::from_str(&output(cargo(root).args(args))?)?;
    let target = metadata["target_directory"].as_str().context("cargo names no target directory")?;
    let scratch = Path::new(target).join("bench").join(format!("trees-{}", std::process::id()));
    let program = Path::new(target).join("release/examples/trees");
    let begun = Ticks::now();
    let mut measuring = command(root, &program.display().to_string());
    let said = measuring.arg(&scratch).args(&options.only).stderr(Stdio::inherit()).output();
    // Whatever came of it; it is on the disk of whoever measures.
    let _ = std::fs::remove_dir_all(&scratch);
    let said = said?;
    ensure!(said.status.success(), "the measurement failed");
    let measured: Value = serde_json::from_slice(&said.stdout)?;
    let rows = rows(&measured)?;
    let all_pass = rows.iter().all(Row::pass);
    let machine = Ticks::until_now(begun);
    if options.json {
        let shown: Vec<Value> = rows.iter().map(shown).collect();
        let whole = json!({
            "version": 1, "pass": all_pass, "machine": machine, "figures": shown, "measured": measured,
        });
        println!("{}", serde_json::to_string_pretty(&whole)?);
    } else {
        rows.iter().for_each(|row| println!("{}", text(row)));
        println!("the machine meanwhile: {machine}");
    }
    Ok(all_pass)
}

fn shown(row: &Row) -> Value {
    json!({
        "name": row.name, "ratio": row.ratio, "ratio_max": row.ratio_max, "detail": row.detail, "pass": row.pass(),
    })
}

fn text(row: &Row) -> String {
    let word = if row.pass() { "ok  " } else { "MISS" };
    format!("{word} {:<28} {:>6.2} of {:<5} {}", row.name, row.ratio, row.ratio_max, row.detail)
}

fn rows(measured: &Value) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    if let git @ Value::Object(_) = &measured["git"] {
        let one = of(git, "one_plain_s")?;
        let thirty = of(git, "thirty_plain_s")?;
        rows.push(seconds("one_warm", of(git, "one_warm_s")?, one, 0.5));
        rows.push(seconds("thirty_warm_at_once", of(git, "thirty_warm_s")?, thirty, 0.25));
        let mut cold = seconds("thirty_cold_at_once", of(git, "thirty_cold_s")?, thirty, 1.2);
        let failures: f64 = values(git, "thirty_cold_failures")?.iter().sum();
        cold.detail.push_str(&format!(", {failures} failures"));
        if failures > 0.0 {
            cold.ratio = f64::INFINITY;
        }
        rows.push(cold);
    }
    if let cargo @ Value::Object(_) = &measured["cargo"] {
        let mib = |value: &Value| value.as_f64().map(|bytes| bytes / f64::from(1 << 20)).context("no size");
        let one = mib(&cargo["one_tree_bytes"])?;
        for (name, mode) in [("disk_seeded", "seeded"), ("disk_shared", "shared")] {
            let all = mib(&cargo["trees_bytes"][mode])?;
            let detail = format!("{all:.0} MiB for 30 trees, {one:.0} MiB for one");
            rows.push(Row { name, ratio: all / one, ratio_max: 2.0, detail });
        }
        let modes = &cargo["modes"];
        let plain = of(&modes["off"], "edited_s")?;
        for (name, mode, key) in [
            ("four_builds_seeded_first", "seeded", "first_build_s"),
            ("four_builds_seeded", "seeded", "edited_s"),
            ("four_builds_shared", "shared", "edited_s"),
        ] {
            rows.push(seconds(name, of(&modes[mode], key)?, plain, 1.5));
        }
    }
    Ok(rows)
}

fn seconds(name: &'static str, ours: f64, plain: f64, ratio_max: f64) -> Row {
    Row { name, ratio: ours / plain, ratio_max, detail: format!("{ours:.3} s against {plain:.3} s") }
}

fn values(of: &Value, key: &str) -> anyhow::Result<Vec<f64>> {
    let values = of[key].as_array().with_context(|| format!("{key} was not measured"))?;
    Ok(values.iter().filter_map(Value::as_f64).collect())
}

fn of(of: &Value, key: &str) -> anyhow::Result<f64> {
    median(&values(of, key)?).with_context(|| format!("{key} was not measured"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn rows_are_medians_beside_plain_git_and_cargo() {
        let git = json!({
            "one_plain_s": [0.3, 0.2, 9.0], "one_warm_s": [0.12, 0.1, 0.3], "thirty_plain_s": [4.0, 4.0, 4.0],
            "thirty_warm_s": [1.0, 1.2, 0.9], "thirty_cold_s": [4.0, 4.0, 4.0], "thirty_cold_failures": [0.0, 1.0, 0.0],
        });
        let mode = |first: f64, edited: f64| json!({ "first_build_s": vec![first; 3], "edited_s": vec![edited; 3] });
        let mib = |count: u64| count << 20;
        let cargo = json!({
            "one_tree_bytes": mib(100), "trees_bytes": { "seeded": mib(210), "shared": mib(150) },
            "modes": { "off": mode(9.0, 2.0), "seeded": mode(4.0, 2.5), "shared": mode(3.0, 7.0) },
        });
        let rows = rows(&json!({ "git": git, "cargo": cargo })).unwrap();
        let said: String = rows.iter().map(|row| text(row) + "\n").collect();
        expect![[r#"
            ok   one_warm                       0.40 of 0.5   0.120 s against 0.300 s
            ok   thirty_warm_at_once            0.25 of 0.25  1.000 s against 4.000 s
            MISS thirty_cold_at_once             inf of 1.2   4.000 s against 4.000 s, 1 failures
            MISS disk_seeded                    2.10 of 2     210 MiB for 30 trees, 100 MiB for one
            ok   disk_shared                    1.50 of 2     150 MiB for 30 trees, 100 MiB for one
            MISS four_builds_seeded_first       2.00 of 1.5   4.000 s against 2.000 s
            ok   four_builds_seeded             1.25 of 1.5   2.500 s against 2.000 s
            MISS four_builds_shared             3.50 of 1.5   7.000 s against 2.000 s
        "#]]
        .assert_eq(&said);
        assert!(super::rows(&json!({ "git": Value::Null, "cargo": Value::Null })).unwrap().is_empty());
        assert!(super::rows(&json!({ "git": {} })).is_err());
    }

    #[test]
    fn unknown_arguments_are_refused() {
        assert_eq!(TreesBench::parse(&["git", "--json"]).unwrap().only.as_deref(), Some("git"));
        assert_eq!(TreesBench::parse(&["git", "cargo"]), None);
        assert_eq!(TreesBench::parse(&["--fast"]), None);
    }
}
