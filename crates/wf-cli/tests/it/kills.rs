//! A run that is killed again and again comes to the same end as one that is left alone.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use wf_server::follow::Follower;
use wf_server::{Engine, Environment, Project};
use wf_store::{RunFilter, RunId, Seq};

use crate::place::Place;

/// How often runs are killed in all, how often one run is at most, and how many runs that may take.
const KILLS: u64 = 50;
const KILLS_OF_ONE: u64 = 5;
const RUNS_MAX: u64 = 100;

const WORK: &str = r#"
def fix(id, text):
    return branch(
        id,
        writes = ["a.txt"],
        children = [
            agent("patch", prompt = "Write %s." % text, writes = ["a.txt"]),
            test("tests", argv = ["grep", "-q", text, "a.txt"]),
        ],
    )

workflow(
    "work",
    fixture = "fixture",
    children = [
        search("find", pattern = "bad"),
        parallel("fixes", width = 2, children = [fix("left", "good"), fix("right", "better")]),
        tournament("pick", candidates = "fixes", require = "value.results.tests.passed", by = "size(path)"),
        expand("each", over = "range(12)", width = 3, max_children = 12, children = [
            ask("say", prompt = "{{ each.item }}", output = schema.integer(minimum = 0, maximum = 9)),
        ]),
        reduce("sum", inputs = "each", how = "concat"),
    ],
    outputs = {"count": "size(sum)", "winner": "pick.winner"},
)
"#;

const RULES: &str = r#"
[[rule]]
match = { node = "fixes/left/patch" }
text = "done"
edits = [{ path = "a.txt", write = "good\n" }]

[[rule]]
match = { node = "fixes/right/patch" }
text = "done"
edits = [{ path = "a.txt", write = "better\n" }]
"#;

fn engine(place: &Place) -> Engine {
    let vars = BTreeMap::from([("WHALEFLOW_HOME".to_owned(), place.home().display().to_string())]);
    let environment = Environment::of(vars, place.dir(), "/nowhere".into());
    let project = Project::of(&environment, Path::new(".")).unwrap();
    Engine::open(&environment, &project).unwrap()
}

/// The run that is not among `known`, as soon as there is one.
async fn new_run(engine: &Engine, known: &[RunId]) -> RunId {
    let mut changes = engine.store.watch.changes();
    loop {
        let filter = RunFilter { limit: 100, prefix: None, ended: None };
        let rows = engine.store.runs.runs(filter).await.unwrap();
        if let Some(row) = rows.into_iter().find(|row| !known.contains(&row.run)) {
            return row.run;
        }
        changes.changed().await.unwrap();
    }
}

/// Waits until the log of a run has `count` records, or its process ends.
async fn reaches(follower: &mut Follower, have: &mut u64, count: u64, child: &mut std::process::Child) {
    while *have < count && child.try_wait().unwrap().is_none() {
        *have += follower.next().await.unwrap().len() as u64;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_change_nothing() {
    let place = Place::new();
    place.write("work.star", WORK);
    place.write("work.mock.toml", RULES);
    place.write("fixture/a.txt", "bad\n");
    let whole = place.run(&["run", "work.star", "--json"]).ok();
    assert_eq!(
        (&whole["outputs"], &whole["verified"]),
        (&json!({"count": 12, "winner": "fixes/right"}), &json!("passed"))
    );
    let records = whole["records"].as_u64().unwrap();

    let engine = engine(&place);
    let mut known = vec![RunId::parse(whole["run_id"].as_str().unwrap()).unwrap()];
    let mut random = 7_u64;
    let mut killed = 0;
    for _ in 0..RUNS_MAX {
        if killed >= KILLS {
            break;
        }
        let (mut child, _) = place.start(&["run", "work.star", "--json"]);
        let run = new_run(&engine, &known).await;
        let mut follower = Follower::new(&engine.store, &run, Seq::START);
        let mut have = 0;
        for _ in 0..KILLS_OF_ONE {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let target = have + 1 + (random >> 33) % (records / KILLS_OF_ONE);
            reaches(&mut follower, &mut have, target, &mut child).await;
            child.kill().unwrap();
            killed += u64::from(child.wait().unwrap().code().is_none());
            (child, _) = place.start(&["resume", run.as_str(), "--json"]);
        }
        child.wait().unwrap();
        let ended = place.run(&["wait", run.as_str(), "--json"]).ok();
        for field in ["status", "verified", "leaves", "outputs", "result_digest"] {
            assert_eq!(ended[field], whole[field], "{field} of {run}");
        }
        assert_nothing_ran_again(&place.run(&["logs", run.as_str(), "--raw"]).out);
        assert_eq!(place.run(&["replay", run.as_str(), "--json"]).ok()["equal"], true);
        known.push(run);
    }
    // A run may end before its last kills come; then others are killed.
    assert!(killed >= KILLS, "only {killed} kills hit a run");
}

/// No leaf that has ended begins again.
fn assert_nothing_ran_again(log: &str) {
    let mut ended = std::collections::BTreeSet::new();
    for line in log.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let payload = &record["payload"];
        if let Some(path) = payload["ended"]["path"].as_str() {
            ended.insert(path.to_owned());
        }
        if let Some(path) = payload["started"]["path"].as_str() {
            assert!(!ended.contains(path), "{path} ran again");
        }
    }
    assert_eq!(ended.iter().filter(|path| path.starts_with("each[")).count(), 12);
}
