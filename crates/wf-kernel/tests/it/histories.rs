//! Logs as earlier versions wrote them: each must fold, and replay under the versions that this one carries. Together
//! they hold every kind of record ever released. A new kind needs a new history (`WHALEFLOW_RECORD=1` writes those that are
//! missing); old ones are never written again.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use wf_ir::Workflow;
use wf_kernel::{Record, Replay};

use crate::simulate::{Trouble, fold, simulate};
use crate::world::{Weather, drawn_workflow};

/// Among the logs of this many seeds, a few that hold every kind of record between them are chosen.
const SEEDS: u64 = 600;
/// What the histories are called that are written now.
const SET: &str = "widths";

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

fn simulated(seed: u64) -> (Arc<Workflow>, Vec<Record>) {
    let workflow = drawn_workflow(seed);
    let weather = Weather { failures: 15, throttling: 10, unknown_usage: 5, lies_about_usage: true };
    let trouble = Trouble { crashes: 3, duplicates: 5, losses: 3, commands: 8, remote: 20, worker_deaths: 2 };
    let records = simulate(&workflow, seed, weather, trouble).records;
    (workflow, records)
}

/// Writes logs for what no history holds yet, under the name of the release that they come from.
fn write_all() {
    let mut covered = BTreeSet::new();
    for file in std::fs::read_dir(dir()).unwrap() {
        let (_, records) = read(&std::fs::read_to_string(file.unwrap().path()).unwrap());
        for record in &records {
            kinds(&serde_json::from_str(&record.payload()).unwrap(), "", &mut covered);
        }
    }
    for seed in 0..SEEDS {
        let (workflow, records) = simulated(seed);
        let mut found = covered.clone();
        for record in &records {
            kinds(&serde_json::from_str(&record.payload()).unwrap(), "", &mut found);
        }
        if found.len() > covered.len() {
            covered = found;
            write(seed, &workflow, &records);
        }
    }
}

fn write(seed: u64, workflow: &Workflow, records: &[Record]) {
    let mut text = format!("{}\n", workflow.canonical());
    for record in records {
        let (input, at) = match record {
            Record::Input(input) => (true, input.at),
            Record::Decision(_) => (false, 0),
        };
        text += &format!("{}\n", json!({ "input": input, "at": at, "payload": record.payload() }));
    }
    std::fs::write(dir().join(format!("v{}-{SET}-{seed}.ndjson", wf_kernel::record::SEMANTICS)), text).unwrap();
}

fn read(text: &str) -> (Arc<Workflow>, Vec<Record>) {
    let (first, rest) = text.split_once('\n').unwrap();
    let workflow = Arc::new(Workflow::from_canonical(first).unwrap());
    let record = |line: &str| {
        let line: Json = serde_json::from_str(line).unwrap();
        let (input, at) = (line["input"].as_bool().unwrap(), line["at"].as_i64().unwrap());
        Record::parse(input, at, line["payload"].as_str().unwrap()).unwrap()
    };
    (workflow, rest.lines().map(record).collect())
}

/// The kinds of records in a payload, as paths of their tags.
fn kinds(json: &Json, prefix: &str, found: &mut BTreeSet<String>) {
    let tags =
        ["", "outcome/", "command/", "ended/reason/", "waiting/reason/", "timer_fired/purpose/", "suspended/cause/"];
    match json {
        Json::String(tag) if tags.contains(&prefix) => {
            found.insert(format!("{prefix}{tag}"));
        }
        Json::Object(map) => {
            for (key, value) in map {
                let at = format!("{prefix}{key}");
                if tags.contains(&prefix) {
                    found.insert(at.clone());
                }
                if at == "run_started" {
                    found.insert(format!("{at}/semantics/{}", value["semantics"]));
                }
                if tags.iter().any(|tag| tag.starts_with(&at)) {
                    kinds(value, &format!("{at}/"), found);
                } else if at == "outcome/outcome" {
                    kinds(value, "outcome/", found);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn every_history_folds_and_replays() {
    #[expect(clippy::disallowed_methods, reason = "a maintainer asks for new histories this way")]
    if std::env::var("WHALEFLOW_RECORD").is_ok() {
        write_all();
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir()).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    let mut found = BTreeSet::new();
    let mut records_in_all = 0;
    for file in &files {
        let (workflow, records) = read(&std::fs::read_to_string(file).unwrap());
        let mut replay = Replay::new(workflow.clone());
        for record in &records {
            replay.feed(record).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            kinds(&serde_json::from_str(&record.payload()).unwrap(), "", &mut found);
        }
        replay.finish().unwrap();
        assert_eq!(fold(&workflow, &records).difference(replay.state()), None, "{}", file.display());
        records_in_all += records.len();
    }
    assert!(files.len() > 5 && records_in_all > 500, "{} files, {records_in_all} records", files.len());
    let found: Vec<String> = found.into_iter().collect();
    expect_test::expect_file!["../golden/kinds.txt"].assert_eq(&(found.join("\n") + "\n"));
}
