//! Repositories: trust, trees, and how a result gets into the checkout.

use serde_json::json;

use crate::place::Place;

/// An agent writes a file in a branch, and the engine tests it there.
const FIX: &str = r#"
workflow(
    "fix",
    children = [
        branch(
            "change",
            writes = ["src/**"],
            children = [
                agent("patch", prompt = "Fix it.", writes = ["src/**"]),
                test("tests", argv = ["grep", "-q", "good", "src/a.txt"]),
            ],
        ),
    ],
    outputs = {"passed": "change.results.tests.passed"},
)
"#;

const FIX_RULES: &str = r#"
[[rule]]
match = { node = "change/patch" }
text = "done"
edits = [{ path = "src/a.txt", replace = { from = "bad", to = "good" } }]
"#;

/// A repository with a workflow that mends it, which nobody has trusted.
pub(crate) fn repository() -> Place {
    let place = Place::new();
    place.write("src/a.txt", "bad\n");
    place.write("flows/fix.star", FIX);
    place.write("flows/fix.mock.toml", FIX_RULES);
    place.commit_all();
    place
}

#[test]
fn a_first_workflow_is_written_once_and_runs_at_once() {
    let place = Place::new();
    place.write("main.c", "// TODO: write this\nint main(void) { return 0; }\n");
    place.commit_all();
    let written = place.run(&["init", "--json"]).ok();
    assert_eq!(
        written["made"],
        json!({
            "starter.star": ".whaleflow/workflows/starter.star",
            "starter.mock.toml": ".whaleflow/workflows/starter.mock.toml",
            "config.toml": ".whaleflow/config.toml",
        })
    );
    let ran = place.run(&["run", "starter", "--json"]).ok();
    assert_eq!((&ran["status"], &ran["leaves"]["done"]), (&json!("succeeded"), &json!(3)));
    assert_eq!(ran["outputs"]["found"], 1);
    place.write(".whaleflow/config.toml", "# mine\n");
    assert_eq!(place.run(&["init", "--json"]).ok().get("made"), None);
    assert_eq!(place.read(".whaleflow/config.toml"), "# mine\n");
}

#[test]
fn a_first_workflow_runs_without_a_repository() {
    let place = Place::new();
    assert_eq!(place.run(&["init"]).code, 0);
    let ran = place.run(&["run", "starter", "--json"]).ok();
    assert_eq!((&ran["status"], &ran["leaves"]["done"]), (&json!("succeeded"), &json!(5)));
}

#[test]
fn commands_run_only_in_a_trusted_repository() {
    let place = repository();
    let checked = place.run(&["check", "flows/fix.star", "--json"]).ok();
    assert_eq!(checked["preflight"][0]["code"], "WF0903");
    let refused = place.run(&["run", "flows/fix.star", "--json"]);
    assert_eq!((refused.code, refused.json()["error"]["code"].as_str()), (7, Some("WF0903")));
    assert_eq!(place.run(&["ps", "--json"]).ok()["runs"], json!([]));

    let ran = place.run(&["run", "flows/fix.star", "--trust", "--json"]).ok();
    assert_eq!((&ran["verified"], &ran["outputs"]), (&json!("passed"), &json!({"passed": true})));
    assert_eq!(place.run(&["run", "flows/fix.star", "--json"]).code, 0);
    assert_eq!(place.run(&["trust", "--revoke"]).code, 0);
    assert_eq!(place.run(&["run", "flows/fix.star", "--json"]).code, 7);
}

#[test]
fn what_a_branch_did_is_shown_and_applied() {
    let place = repository();
    let before = place.git(&["status", "--porcelain"]) + &place.git(&["rev-parse", "HEAD"]) + &place.git(&["branch"]);
    let ran = place.run(&["run", "flows/fix.star", "--trust", "--json"]).ok();
    assert_eq!(ran["status"], "succeeded");
    let after = place.git(&["status", "--porcelain"]) + &place.git(&["rev-parse", "HEAD"]) + &place.git(&["branch"]);
    assert_eq!((place.read("src/a.txt").as_str(), after), ("bad\n", before), "a run does not touch the checkout");

    let diff = place.run(&["diff", "--json"]).ok();
    assert_eq!((&diff["branch"], &diff["insertions"], &diff["deletions"]), (&json!("change"), &json!(1), &json!(1)));
    assert_eq!(diff["files"][0]["path"], "src/a.txt");
    assert_eq!(place.run(&["diff", "@last", "nobody"]).code, 2);
    let patch = place.run(&["apply", "--patch"]).out;
    assert!(patch.contains("-bad\n+good\n"), "{patch}");

    let branched = place.run(&["apply", "--as-branch", "fix/a", "--json"]).ok();
    assert_eq!((&branched["how"], &branched["target"]), (&json!("branch"), &json!("fix/a")));
    assert_eq!(place.git(&["show", "fix/a:src/a.txt"]), "good\n");
    assert_eq!(place.run(&["apply", "--as-branch", "fix/a"]).code, 10);

    place.write("flows/fix.star", "# edited\n");
    let dirty = place.run(&["apply", "--json"]);
    assert_eq!((dirty.code, dirty.json()["error"]["code"].as_str()), (10, Some("WF0719")));
    assert_eq!(place.read("src/a.txt"), "bad\n");
    place.write("flows/fix.star", FIX);
    let applied = place.run(&["apply", "--json"]).ok();
    assert_eq!((&applied["how"], &applied["files"]), (&json!("files"), &json!(["src/a.txt"])));
    assert_eq!(place.read("src/a.txt"), "good\n");
}

#[test]
fn a_run_can_begin_at_the_checkout_as_it_is() {
    let place = repository();
    place.write("src/a.txt", "bad, and edited\n");
    let ran = place.run(&["run", "flows/fix.star", "--base", "worktree", "--trust", "--json"]).ok();
    assert_eq!(ran["verified"], "passed");
    assert_eq!(place.read("src/a.txt"), "bad, and edited\n");
    assert_eq!(place.git(&["status", "--porcelain"]), " M src/a.txt\n");

    place.write("src/b.txt", "new\n");
    assert_eq!(place.run(&["apply"]).code, 10, "the checkout is not as it was");
    std::fs::remove_file(place.dir().join("src/b.txt")).unwrap();
    assert_eq!(place.run(&["apply"]).code, 0);
    assert_eq!(place.read("src/a.txt"), "good, and edited\n");
    assert_eq!(place.run(&["run", "flows/fix.star", "--base", "nowhere", "--json"]).code, 2);
}
