//! Gates: waited for, decided once, from anywhere.

use serde_json::json;

use crate::place::Place;

const GATED: &str = r#"
workflow(
    "gated",
    children = [
        ask("draft", prompt = "draft", output = schema.object({"plan": schema.string()})),
        approve("ok", prompt = "Do {{ draft.plan }}?", form = schema.object({"note": schema.string()})),
        ask("act", prompt = "{{ draft.plan }}: {{ ok.note }}", output = schema.integer()),
    ],
    outputs = {"note": "ok.note"},
)
"#;

fn waiting() -> Place {
    let place = Place::new();
    place.write("gated.star", GATED);
    let ran = place.run(&["run", "gated.star"]);
    assert_eq!(ran.code, 5, "{ran:?}");
    let run = place.run(&["ps", "--json"]).ok()["runs"][0]["run_id"].as_str().unwrap().to_owned();
    assert!(ran.out.contains(&format!("whaleflow approve {run} ok")), "{ran:?}");
    place
}

#[test]
fn an_approved_gate_lets_the_run_go_on_and_is_decided_once() {
    let place = waiting();
    let unfit = place.run(&["approve", "@last", "ok", "--data", "{}", "--json"]);
    assert_eq!((unfit.code, unfit.json()["code"].as_str()), (10, Some("form")), "{unfit:?}");
    let unknown = place.run(&["approve", "@last", "nobody", "--json"]);
    assert_eq!((unknown.code, unknown.json()["code"].as_str()), (10, Some("unknown_instance")));
    assert_eq!(place.run(&["approve", "@last", "ok", "--data", "{"]).code, 2);
    let before = place.run(&["show", "--json"]).ok()["records"].clone();
    assert_eq!(place.run(&["show", "--json"]).ok()["records"], before, "a refusal changes nothing");

    let accepted = place.run(&["approve", "@last", "ok", "--data", r#"{"note": "go"}"#, "--json"]).ok();
    assert_eq!((&accepted["accepted"], &accepted["instance"]), (&json!(true), &json!("ok")));
    let shown = place.run(&["show", "--json"]).ok();
    assert_eq!((&shown["status"], &shown["outputs"]), (&json!("succeeded"), &json!({"note": "go"})));
    let late = place.run(&["approve", "@last", "ok", "--data", r#"{"note": "go"}"#, "--json"]);
    assert_eq!((late.code, late.json()["code"].as_str()), (10, Some("already_resolved")));
    assert_eq!(place.run(&["replay", "--json"]).ok()["equal"], true);
}

#[test]
fn a_rejected_gate_fails_the_run() {
    let place = waiting();
    assert_eq!(place.run(&["reject", "@last", "ok", "--json"]).ok()["accepted"], true);
    let ended = place.run(&["wait", "@last", "--json"]);
    assert_eq!((ended.code, ended.json()["status"].as_str()), (1, Some("failed")));
    let instances = place.run(&["show", "--json"]).ok()["instances"].clone();
    let statuses: Vec<_> = instances.as_array().unwrap().iter().map(|it| json!([it["path"], it["status"]])).collect();
    assert_eq!(statuses, [json!(["draft", "succeeded"]), json!(["ok", "failed"]), json!(["act", "skipped"])]);
}
