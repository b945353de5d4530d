//! The workflows that ship: each is run, and which leaves ran and what they gave is asserted, so that a run of nothing
//! does not pass.

use expect_test::{Expect, expect};
use serde_json::Value;

use crate::place::Place;

/// The path of a workflow that ships.
fn shipped(name: &str) -> String {
    format!("{}/../../workflows/{name}.star", env!("CARGO_MANIFEST_DIR"))
}

/// Every instance of a run with its status, and what the run gave.
fn told(place: &Place, summary: &Value) -> String {
    let run = summary["run_id"].as_str().unwrap();
    let shown = place.run(&["show", run, "--json"]).ok();
    let mut text = String::new();
    for it in shown["instances"].as_array().unwrap() {
        text += &format!(
            "{} {} {}\n",
            it["kind"].as_str().unwrap(),
            it["path"].as_str().unwrap(),
            it["status"].as_str().unwrap()
        );
    }
    assert_eq!(place.run(&["replay", run, "--json"]).ok()["equal"], true);
    assert_eq!(place.run(&["verify", run, "--json"]).ok()["bad"], serde_json::json!([]));
    text + &format!("{} verified {} {}\n", shown["status"], shown["verified"], shown["outputs"])
}

fn check(args: &[&str], expected: Expect) -> Value {
    let place = Place::new();
    let summary = place.run(args).ok();
    expected.assert_eq(&told(&place, &summary));
    let elsewhere = Place::new();
    let again = elsewhere.run(args).ok();
    assert_eq!(again["result_digest"], summary["result_digest"], "the same seed gives the same result");
    assert_ne!(again["run_id"], summary["run_id"]);
    summary
}

#[test]
fn the_main_job() {
    check(
        &["run", &shipped("rlm_cache_change"), "--json"],
        expect![[r#"
        search find succeeded
        parallel attempts succeeded
        branch attempts/wide_key succeeded
        agent attempts/wide_key/implement succeeded
        loop_until attempts/wide_key/green succeeded
        agent attempts/wide_key/green[1]/fix skipped
        test attempts/wide_key/green[1]/tests succeeded
        agent attempts/wide_key/green[2]/fix succeeded
        test attempts/wide_key/green[2]/tests succeeded
        ask attempts/wide_key/review succeeded
        branch attempts/prefixed succeeded
        agent attempts/prefixed/implement succeeded
        loop_until attempts/prefixed/green succeeded
        agent attempts/prefixed/green[1]/fix skipped
        test attempts/prefixed/green[1]/tests succeeded
        agent attempts/prefixed/green[2]/fix succeeded
        test attempts/prefixed/green[2]/tests succeeded
        ask attempts/prefixed/review succeeded
        tournament pick succeeded
        test confirm succeeded
        teacher_review lessons succeeded
        ask lessons/review succeeded
        reduce summary succeeded
        "succeeded" verified "passed" {"files":["memo.c","memo.h"],"lessons":[{"body":"A memo that is asked by several models needs the model in its key.","evidence":["Both branches failed the same two checks before the model was compared."],"kind":"note","title":"Look-up keys say everything that can change the answer"}],"passed":true,"winner":"attempts/wide_key"}
    "#]],
    );
}

/// The mock answers, and everything else is real: files are edited in trees, and tests run in the sandbox and say what they
/// found. All of it comes out the same in another home.
#[test]
fn the_main_job_edits_files_and_runs_tests() {
    let seen = || {
        let place = Place::new();
        let summary = place.run(&["run", &shipped("rlm_cache_change"), "--json"]).ok();
        let raw = place.run(&["logs", "@last", "--raw"]).out;
        assert!(raw.contains("\"sandbox\":\"namespaces\""), "the tests ran in a sandbox");
        let mut told = String::new();
        for leaf in ["attempts/wide_key/green[1]/tests", "attempts/wide_key/green[2]/tests", "confirm"] {
            let value = place.run(&["show", "@last", leaf, "--json"]).ok()["output"].clone();
            let (passed, code) = (&value["passed"], &value["exit_code"]);
            told += &format!("{leaf} {passed} {code} {}\n", value["stdout"].as_str().unwrap().lines().last().unwrap());
        }
        let patch = place.run(&["diff", "@last", "attempts/wide_key"]).out;
        let lines = patch.lines().filter(|line| line.starts_with(['+', '-']));
        told += &lines.map(|line| format!("{line}\n")).collect::<String>();
        (told, summary["result_digest"].as_str().unwrap().to_owned())
    };
    let (told, digest) = seen();
    expect![[r#"
        attempts/wide_key/green[1]/tests false 1 3 passed, 2 failed
        attempts/wide_key/green[2]/tests true 0 5 passed, 0 failed
        confirm true 0 5 passed, 0 failed
        --- a/memo.c
        +++ b/memo.c
        -    (void)model;
        -    return entry->used && strcmp(entry->question, question) == 0;
        +    return entry->used && strcmp(entry->model, model) == 0 && strcmp(entry->question, question) == 0;
        +        snprintf(entry->model, sizeof entry->model, "%s", model);
        --- a/memo.h
        +++ b/memo.h
        +    char model[32];
    "#]]
    .assert_eq(&told);
    assert_eq!(seen(), (told, digest));
}

#[test]
fn a_tournament_of_three_fixes() {
    check(
        &["run", &shipped("issue_fix_tournament"), "--json"],
        expect![[r#"
        parallel fixes succeeded
        branch fixes/careful succeeded
        agent fixes/careful/write succeeded
        test fixes/careful/tests succeeded
        branch fixes/hasty succeeded
        agent fixes/hasty/write succeeded
        test fixes/hasty/tests succeeded
        branch fixes/sweeping failed
        agent fixes/sweeping/write failed
        test fixes/sweeping/tests skipped
        tournament pick succeeded
        "succeeded" verified "passed" {"files":["slug.c"],"ranking":[{"eligible":true,"path":"fixes/careful","score":-4,"status":"succeeded"},{"eligible":false,"path":"fixes/hasty","status":"succeeded","why":"does not satisfy value.results.tests.passed"},{"eligible":false,"path":"fixes/sweeping","status":"failed","why":"failed"}],"winner":"fixes/careful"}
    "#]],
    );
}

#[test]
fn a_fan_out() {
    let place = Place::new();
    let summary = place.run(&["run", &shipped("fanout"), "-i", "n=50", "-i", "width=7", "--json"]).ok();
    assert_eq!(summary["leaves"]["done"], 50);
    assert_eq!(summary["outputs"]["count"], 50);
    assert_eq!(place.run(&["replay", "@last", "--json"]).ok()["equal"], true);
}

#[test]
fn a_gate_stands_before_the_change() {
    let place = Place::new();
    let waiting = place.run(&["run", &shipped("gated_fix"), "--json"]);
    assert_eq!(waiting.code, 5);
    place.run(&["approve", "@last", "plan", "--data", r#"{"note": "go on"}"#, "--json"]);
    place.run(&["resume", "@last", "--json"]);
    let ended = place.run(&["wait", "@last", "--json"]).ok();
    expect![[r#"
        agent diagnose succeeded
        approve plan succeeded
        branch change succeeded
        agent change/write succeeded
        test change/verify succeeded
        "succeeded" verified "passed" {"commit":"7ece0651ae6d9a26e5acdb1cf0559433482443b0","note":"go on","passed":true}
    "#]]
    .assert_eq(&told(&place, &ended));
}

#[test]
fn an_audit_of_the_repository_it_stands_in() {
    let place = Place::new();
    place.write("src/a.rs", "fn a() {\n    panic!(\"never\");\n}\n");
    place.write("src/b.rs", "// TODO: say why\nunsafe fn b() {}\n");
    place.git(&["init", "-q"]);
    place.git(&["add", "."]);
    place.git(&["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]);
    let summary = place.run(&["run", &shipped("repo_audit"), "--trust", "--json"]).ok();
    expect![[r#"
        search find succeeded
        expand audit succeeded
        ask audit[0]/read succeeded
        ask audit[1]/read succeeded
        ask audit[2]/read succeeded
        reduce report succeeded
        ask report/model succeeded
        "succeeded" verified "none" {"looked_at":3,"places":3,"report":{"headline":"places worth a look were found","risks":1}}
    "#]].assert_eq(&told(&place, &summary));
}
