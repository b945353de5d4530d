//! Runs: begun, shown, killed, resumed, replayed, taken elsewhere.

use serde_json::json;

use crate::place::Place;

const HELLO: &str = r#"
workflow(
    "hello",
    inputs = {"name": input(type = "string", default = "you")},
    children = [ask("greet", prompt = "Greet {{ inputs.name }}.", output = schema.object({"text": schema.string()}))],
    outputs = {"text": "greet.text"},
)
"#;

const HELLO_RULES: &str = r#"
[[rule]]
match = { node = "greet" }
json = { text = "hello, {{ inputs.name }}" }
"#;

/// Waits for a signal between two questions.
const HELD: &str = r#"
workflow(
    "held",
    children = [
        ask("first", prompt = "one", output = schema.integer()),
        wait("go", signal = "go"),
        ask("second", prompt = "two: {{ first }}", output = schema.integer()),
    ],
    outputs = {"first": "first", "second": "second"},
)
"#;

fn hello() -> Place {
    let place = Place::new();
    place.write("hello.star", HELLO);
    place.write("hello.mock.toml", HELLO_RULES);
    place
}

#[test]
fn a_run_is_shown_as_it_was_and_replays() {
    let place = hello();
    let ran = place.run(&["run", "hello.star", "-i", "name=world", "--label", "team=core", "--json"]).ok();
    let summary = json!({
        "status": ran["status"], "verified": ran["verified"], "leaves": ran["leaves"], "records": ran["records"],
        "outputs": ran["outputs"], "workflow": ran["workflow"]["id"], "memo": ran["memo"],
    });
    assert_eq!(
        summary,
        json!({
            "status": "succeeded", "verified": "none", "records": 7, "outputs": {"text": "hello, world"},
            "leaves": {"total": 1, "done": 1, "failed": 0, "skipped": 0}, "workflow": "hello",
            "memo": {"hits": 0, "misses": 0},
        })
    );
    let run = ran["run_id"].as_str().unwrap();
    assert_eq!(run.len(), 26);

    let list = place.run(&["ps", "--json"]).ok();
    assert_eq!(list["runs"].as_array().unwrap().len(), 1);
    assert_eq!((&list["runs"][0]["run_id"], &list["runs"][0]["done"]), (&ran["run_id"], &json!(1)));
    let none = place.run(&["ps", "--label", "team=other", "--json"]).ok();
    assert_eq!(none["runs"], json!([]));

    for name in [run, &run[..12], "@last"] {
        let shown = place.run(&["show", name, "--json"]).ok();
        for field in ["run_id", "workflow", "status", "usage", "records", "log_digest", "result_digest", "outputs"] {
            assert_eq!(shown[field], ran[field], "{field}");
        }
        let instances = shown["instances"].as_array().unwrap();
        assert_eq!(instances.len(), 1);
        assert_eq!(
            json!([instances[0]["path"], instances[0]["kind"], instances[0]["status"], instances[0]["attempts"]]),
            json!(["greet", "ask", "succeeded", 1])
        );
        assert_eq!(instances[0]["output"], json!({"text": "hello, world"}));
    }
    let replayed = place.run(&["replay", run, "--json"]).ok();
    assert_eq!(replayed, json!({"version": 1, "run_id": run, "records": 7, "equal": true, "effects_performed": 0}));
    let verified = place.run(&["verify", "--json"]).ok();
    assert_eq!(verified, json!({"version": 1, "runs": 1, "records": 7, "bad": []}));

    // The same workflow, inputs and seed lead to the same result; another seed or input need not.
    let again = place.run(&["run", "hello.star", "-i", "name=world", "--json"]).ok();
    assert_eq!(again["result_digest"], ran["result_digest"]);
    assert_ne!(again["run_id"], ran["run_id"]);
    let other = place.run(&["run", "hello.star", "--json"]).ok();
    assert_ne!(other["result_digest"], ran["result_digest"]);
}

#[test]
fn a_run_replays_where_nothing_else_is() {
    let place = hello();
    let ran = place.run(&["run", "hello.star", "--json"]).ok();
    let run = ran["run_id"].as_str().unwrap();
    let elsewhere = place.beside("elsewhere");
    let file = elsewhere.join("run.wfrun");
    let file = file.to_str().unwrap();
    assert_eq!(place.run(&["export", "-o", file]).code, 0);
    let piped = place.run(&["export", run]);
    assert_eq!((piped.code, piped.out), (0, std::fs::read_to_string(file).unwrap()));

    assert_eq!(place.run_in(&elsewhere, &["show", run]).code, 2);
    assert_eq!(place.run_in(&elsewhere, &["import", file]).code, 0);
    assert_eq!(place.run_in(&elsewhere, &["import", file]).code, 10);
    let replayed = place.run_in(&elsewhere, &["replay", "--json"]).ok();
    assert_eq!(replayed, json!({"version": 1, "run_id": run, "records": 7, "equal": true, "effects_performed": 0}));
    let shown = place.run_in(&elsewhere, &["show", "--json"]).ok();
    assert_eq!((&shown["outputs"], &shown["log_digest"]), (&ran["outputs"], &ran["log_digest"]));

    let text = std::fs::read_to_string(file).unwrap();
    let third = place.beside("third");
    let damaged = third.join("damaged.wfrun");
    std::fs::write(&damaged, text.replacen("hello, you", "hello, yOu", 1)).unwrap();
    let refused = place.run_in(&third, &["import", damaged.to_str().unwrap(), "--json"]);
    assert_eq!((refused.code, refused.json()["error"]["code"].as_str()), (9, Some("WF0720")));
    assert_eq!(place.run_in(&third, &["ps", "--json"]).ok()["runs"], json!([]));
}

#[test]
fn a_killed_run_goes_on_and_nothing_that_finished_runs_again() {
    let place = Place::new();
    place.write("held.star", HELD);
    let undisturbed = {
        let left = place.run(&["run", "held.star", "--json"]);
        assert_eq!((left.code, left.json()["status"].as_str()), (5, Some("waiting")), "{left:?}");
        assert_eq!(place.run(&["signal", "@last", "go", "--json"]).code, 0);
        place.run(&["show", "--json"]).ok()
    };
    assert_eq!(undisturbed["status"], "succeeded");

    let started = place.run(&["run", "held.star", "--detach", "--json"]).ok();
    let (run, pid) = (started["run_id"].as_str().unwrap(), started["made"]["process"].as_str().unwrap());
    // Read until the run waits for the signal, then kill the process that drives it.
    let (mut logs, mut lines) = place.start(&["logs", run, "--follow"]);
    assert!(lines.any(|line| line.contains("signal go")));
    place.signal("-KILL", pid);
    logs.kill().unwrap();
    logs.wait().unwrap();

    let waiting = place.run(&["wait", run, "--json"]);
    assert_eq!((waiting.code, waiting.json()["status"].as_str()), (5, Some("waiting")), "{waiting:?}");
    assert_eq!(place.run(&["signal", run, "go", "--json"]).code, 0);
    let ended = place.run(&["wait", run, "--json"]).ok();
    assert_eq!((&ended["status"], &ended["result_digest"]), (&json!("succeeded"), &undisturbed["result_digest"]));
    let records = place.run(&["logs", run, "--raw"]).out;
    let begun = |path: &str| records.matches(&format!(r#"{{"started":{{"path":"{path}""#)).count();
    assert_eq!((begun("first"), begun("second")), (1, 1));
    assert_eq!(
        records.matches(r#"{"adopted":"#).count(),
        2,
        "by the detached process, and by the one that sent the signal"
    );
    assert_eq!(place.run(&["replay", run, "--json"]).ok()["equal"], true);
    assert_eq!(place.run(&["verify", "--json"]).ok()["bad"], json!([]));
}

#[test]
fn a_detached_run_can_be_paused_resumed_and_cancelled_from_elsewhere() {
    let place = Place::new();
    place.write("held.star", HELD);
    let started = place.run(&["run", "held.star", "--detach", "--json"]).ok();
    let run = started["run_id"].as_str().unwrap();
    let (mut logs, mut lines) = place.start(&["logs", run, "--follow"]);
    assert!(lines.any(|line| line.contains("signal go")));
    logs.kill().unwrap();
    logs.wait().unwrap();

    let paused = place.run(&["pause", run, "--json"]).ok();
    assert_eq!((&paused["accepted"], &paused["command"]), (&json!(true), &json!("pause")));
    let again = place.run(&["pause", run, "--json"]);
    assert_eq!((again.code, again.json()["code"].as_str()), (10, Some("already_paused")));
    assert_eq!(place.run(&["show", run, "--json"]).ok()["status"], "paused");
    // It is driven: there is nobody to leave it to, and nothing to wait for.
    let resumed = place.run(&["resume", run, "--detach", "--json"]).ok();
    assert_eq!((&resumed["accepted"], &resumed["command"]), (&json!(true), &json!("resume")));
    assert_eq!(place.run(&["show", run, "--json"]).ok()["status"], "waiting");
    assert_eq!(place.run(&["resume", run, "-d"]).out, format!("{run}\n"));
    assert_eq!(place.run(&["cancel", run, "nobody", "--json"]).json()["code"], "unknown_instance");
    assert_eq!(place.run(&["cancel", run, "--json"]).ok()["accepted"], true);
    let ended = place.run(&["wait", run, "--json"]);
    assert_eq!((ended.code, ended.json()["status"].as_str()), (1, Some("cancelled")));
    assert_eq!(place.run(&["resume", run]).code, 10);
}

#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let place = Place::new();
    place.write(
        "nap.star",
        "workflow('nap', children = [ask('a', prompt = 'a'), wait('nap', duration = '1h'), ask('b', prompt = 'b')])\n",
    );
    let (mut child, mut lines) = place.start_talking(&["run", "nap.star"]);
    assert!(lines.any(|line| line.contains("a succeeded")));
    place.signal("-INT", &child.id().to_string());
    let hint = lines.find(|line| line.contains("whaleflow resume")).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let shown = place.run(&["show", "--json"]).ok();
    assert_eq!(shown["status"], "paused");
    assert!(hint.contains(shown["run_id"].as_str().unwrap()), "{hint}");
    assert_eq!(place.run(&["cancel", "@last", "--json"]).ok()["accepted"], true);
    assert_eq!(place.run(&["wait", "--json"]).code, 1);
}

#[test]
fn an_exhausted_budget_is_raised_and_the_run_goes_on() {
    let place = Place::new();
    place.write(
        "two.star",
        r#"workflow("two", children = [ask("a", prompt = "a"), ask("b", prompt = "b: {{ a }}")], outputs = {"b": "b"})"#,
    );
    let ran = place.run(&["run", "two.star", "--budget-tokens", "10", "--json"]);
    assert_eq!((ran.code, ran.json()["status"].as_str()), (4, Some("budget_exceeded")), "{ran:?}");
    assert_eq!(place.run(&["resume", "--json"]).code, 4);
    let resumed = place.run(&["resume", "--budget-tokens", "+100000", "--json"]).ok();
    assert_eq!(resumed["leaves"], json!({"total": 2, "done": 2, "failed": 0, "skipped": 0}));
    assert_eq!(place.run(&["replay", "--json"]).ok()["equal"], true);
}

#[test]
fn a_reader_who_leaves_ends_nothing() {
    let place = hello();
    let (mut child, lines) = place.start(&["run", "hello.star", "--json"]);
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(place.run(&["show", "--json"]).ok()["status"], "succeeded");
}
