//! What must hold once a run has come to its end, whatever was done to it on the way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::ledger;
use crate::scene::{Scene, processes};
use crate::slots;

/// How often a run is helped on before it counts as one that never ends.
const PUSHES_MAX: usize = 30;

/// What an undisturbed run comes to.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    pub(crate) summary: Value,
    /// What each instance came to.
    instances: Vec<Value>,
}

/// What two runs of one workflow have in common.
const SAME: [&str; 5] = ["status", "verified", "leaves", "outputs", "result_digest"];

impl Whole {
    /// Runs the workflow undisturbed, and forgets it again.
    pub(crate) fn of(scene: &Scene) -> Self {
        scene.clear();
        let summary = to_the_end(scene);
        assert_eq!((&summary["status"], &summary["verified"]), (&"succeeded".into(), &"passed".into()));
        assert_eq!(summary["leaves"]["done"], scene.work().leaves);
        check_ledger(scene, summary["run_id"].as_str().unwrap());
        let told = ledger::told(scene);
        assert_eq!((told.len(), told.values().map(Vec::len).max()), (scene.work().told, Some(1)));
        check_left_behind(scene);
        let instances = instances(scene, summary["run_id"].as_str().unwrap());
        scene.clear();
        Self { summary, instances }
    }

    /// What an undisturbed run came to of which only this is known.
    pub(crate) fn of_summary(summary: Value) -> Self {
        Self { summary, instances: Vec::new() }
    }

    /// What a run comes to is what the undisturbed one came to.
    pub(crate) fn check_same(&self, summary: &Value) {
        for field in SAME {
            assert_eq!(summary[field], self.summary[field], "{field}");
        }
    }

    /// What a run comes to is what the undisturbed one came to, the store is sound, and nothing was left behind.
    pub(crate) fn check(&self, scene: &Scene, summary: &Value) {
        let run = summary["run_id"].as_str().unwrap();
        if SAME.iter().any(|field| summary[field] != self.summary[field]) {
            let came = instances(scene, run);
            let (missing, other) = (without(&self.instances, &came), without(&came, &self.instances));
            panic!("{summary}\nnot as in the undisturbed run: {other:#?}\nwhere there was: {missing:#?}");
        }
        assert_eq!(scene.run(&["verify", "--json"]).code, Some(0));
        assert_eq!(scene.run(&["replay", run, "--json"]).ok()["equal"], true);
        check_ledger(scene, run);
        no_process_is_left(scene);
        check_left_behind(scene);
    }
}

/// What each instance of a run came to.
fn instances(scene: &Scene, run: &str) -> Vec<Value> {
    let mut shown = scene.run(&["show", run, "--json"]).ok();
    let mut instances = std::mem::take(shown["instances"].as_array_mut().unwrap());
    for instance in &mut instances {
        let fields = instance.as_object_mut().unwrap();
        fields.retain(|name, _| ["path", "status", "reason", "output", "commit"].contains(&name.as_str()));
    }
    instances
}

/// Those of `these` that are not among `those`.
fn without<'a>(these: &'a [Value], those: &[Value]) -> Vec<&'a Value> {
    these.iter().filter(|it| !those.contains(it)).collect()
}

fn check_ledger(scene: &Scene, run: &str) {
    let log = scene.run(&["logs", run, "--raw"]);
    assert_eq!(log.code, Some(0), "{log:?}");
    let ran = ledger::Ran::of(&ledger::records(&log.out));
    let told = ledger::told(scene);
    assert_eq!(told.len(), scene.work().told, "leaves that told that they ran");
    ledger::check(&told, &ran);
}

/// The runs of the scene's project, newest first; none when there is no store yet.
pub(crate) fn runs(scene: &Scene) -> Vec<Value> {
    scene.run(&["ps", "--json"]).ok()["runs"].as_array().unwrap().clone()
}

/// Brings the newest run to its end, begins it where there is none, and gives its summary. Nothing in it fails.
pub(crate) fn to_the_end(scene: &Scene) -> Value {
    go_on(scene, false)
}

/// The same, where something may have failed and is to be tried again.
pub(crate) fn to_the_end_with_retries(scene: &Scene) -> Value {
    go_on(scene, true)
}

fn go_on(scene: &Scene, may_fail: bool) -> Value {
    let found = runs(scene).first().map(|run| run["run_id"].as_str().unwrap().to_owned());
    let mut last = match &found {
        Some(run) => scene.run(&["resume", run, "--json"]),
        None => scene.start(),
    };
    let run = found.unwrap_or_else(|| last.json()["run_id"].as_str().unwrap().to_owned());
    for _ in 0..PUSHES_MAX {
        match last.code {
            Some(0) => return summary(scene, &run),
            // Somebody has to decide something.
            Some(5) => last = decide(scene, &run),
            // Something failed; or the run ended so before.
            Some(1 | 10) if may_fail => last = scene.run(&["retry", &run, "--json"]),
            _ => break,
        }
    }
    panic!("the run does not come to its end: {last:?}");
}

/// What `wait` says of a run that has ended.
pub(crate) fn summary(scene: &Scene, run: &str) -> Value {
    scene.run(&["wait", run, "--json"]).ok()
}

/// Decides one thing that the run waits for, and lets it go on.
fn decide(scene: &Scene, run: &str) -> crate::scene::Ran {
    let shown = scene.run(&["show", run, "--json"]).ok();
    for instance in shown["instances"].as_array().unwrap() {
        let path = instance["path"].as_str().unwrap();
        match (instance["status"].as_str(), instance["kind"].as_str()) {
            (Some("in_doubt"), _) => return scene.run(&["retry", run, path, "--json"]),
            (Some("waiting"), Some("approve")) => {
                scene.run(&["approve", run, path, "--json"]);
                return scene.run(&["resume", run, "--json"]);
            }
            _ => {}
        }
    }
    panic!("nothing is to be decided: {shown}");
}

/// No tree is left, neither as a directory nor as an entry of git's, but those that wait for the next branch; and nothing
/// that processes make to throw it away.
fn check_left_behind(scene: &Scene) {
    let mut left = slots::left_over(scene);
    for fixture in projects(scene).iter().flat_map(|project| list(&project.join("fixtures"))) {
        left.extend(list(&fixture.join("repo/.git/worktrees")));
    }
    assert_eq!(left, Vec::<PathBuf>::new(), "trees were left behind");
}

pub(crate) fn projects(scene: &Scene) -> Vec<PathBuf> {
    list(&scene.home().join("projects"))
}

/// What is in a directory; nothing where there is none.
pub(crate) fn list(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Waits until no process works in the scene any more.
pub(crate) fn no_process_is_left(scene: &Scene) {
    let root = scene.root().to_string_lossy().into_owned();
    let mut left: Vec<String> = Vec::new();
    for _ in 0..200 {
        left = processes(&root).into_iter().map(|process| process.command).collect();
        if left.is_empty() {
            return;
        }
        // A process that was orphaned ends by itself, but nobody here can wait for it.
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("processes were left behind: {left:?}");
}
