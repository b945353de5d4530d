//! Drafting: a planner of the mock's rules writes workflows, good ones, wrong ones and bombs.

use expect_test::expect;
use serde_json::json;

use crate::place::Place;

/// Rules of a mock whose planner writes these drafts, one after the other.
fn planner(drafts: &[&str]) -> Place {
    let place = Place::new();
    let mut rules = String::new();
    for (number, draft) in drafts.iter().enumerate() {
        let source = serde_json::to_string(draft).unwrap();
        rules.push_str(&format!(
            "[[rule]]\nmatch = {{ role = \"planner\", iteration = {} }}\njson = {{ source = {source} }}\n",
            number + 1
        ));
    }
    rules.push_str("[[rule]]\nmatch = { node = \"greet\" }\ntext = \"hello\"\n");
    place.write("rules.toml", &rules);
    place.write("README", "what this is");
    place.commit_all();
    place
}

const GOOD: &str =
    "workflow(\"greeting\", children = [ask(\"greet\", prompt = \"Greet.\")], outputs = {\"text\": \"greet\"})";
const WRONG: &str = "workflow(\"greeting\", children = [ask(\"greet\", promt = \"Greet.\")])";

#[test]
fn what_the_compiler_says_is_put_right_and_runs_on_consent() {
    let place = planner(&[WRONG, GOOD]);
    let ran = place.run(&["draft", "greet people", "--mock", "rules.toml", "--yes", "--json"]).ok();
    assert_eq!((&ran["outputs"], &ran["workflow"]["id"]), (&json!({"text": "hello"}), &json!("greeting")));
    assert_eq!(place.read(".whaleflow/workflows/greeting.star"), GOOD);
    let runs = place.run(&["ps", "--json"]).ok();
    let names: Vec<&str> = runs["runs"].as_array().unwrap().iter().map(|it| it["workflow"].as_str().unwrap()).collect();
    assert_eq!(names, ["greeting", "draft"]);
    let draft = runs["runs"][1]["run_id"].as_str().unwrap();
    let asked = place.run(&["show", draft, "rounds[2]/write", "--json"]).ok();
    let prompt = asked["request"]["messages"][0]["content"].as_str().unwrap();
    let (_, said) = prompt.split_once("The compiler does not take it:").unwrap();
    expect!["1:34: WF0105 `ask` needs `prompt` (hint: `prompt` is: what is asked)"]
        .assert_eq(said.trim().lines().next().unwrap());
    assert!(prompt.contains("greet people") && prompt.contains("README"), "{prompt}");
    assert_eq!(place.run(&["replay", draft, "--json"]).ok()["equal"], true);
}

#[test]
fn without_consent_nothing_runs() {
    let place = planner(&[GOOD]);
    let ran = place.run(&["draft", "greet people", "--mock", "rules.toml"]);
    assert_eq!((ran.code, ran.out.trim()), (0, GOOD), "{ran:?}");
    let ran = place.run(&["draft", "greet people", "--mock", "rules.toml", "--out", "mine.star"]);
    assert_eq!((ran.code, place.read("mine.star").as_str()), (0, GOOD), "{ran:?}");
    let again = place.run(&["draft", "greet people", "--mock", "rules.toml", "--out", "mine.star"]);
    assert_eq!(again.code, 2, "{again:?}");
    let asked = |answer| {
        let args = ["draft", "greet people", "--mock", "rules.toml", "--no-pace"];
        place.run_asked(&place.dir(), &args, &[("Run it? [y/N] ", answer)])
    };
    assert_eq!(asked("n").code, 0);
    assert!(!place.dir().join(".whaleflow").exists());
    let ran = asked("y");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("greet"), "the plan is shown: {ran:?}");
    assert_eq!(place.read(".whaleflow/workflows/greeting.star"), GOOD);
}

/// How drafting ends when nothing but `draft` is written.
fn fails(draft: &str) -> String {
    let place = planner(&[draft; 4]);
    let ran = place.run(&["draft", "greet people", "--mock", "rules.toml", "--json"]);
    let json = ran.json();
    let (code, message) = (json["error"]["code"].as_str().unwrap(), json["error"]["message"].as_str().unwrap());
    let found = message.split_once("run ").map_or(message, |(_, rest)| rest.split_once(": ").unwrap_or(("", "")).1);
    format!("{} {code} {found}", ran.code)
}

#[test]
fn hostile_drafts_are_drafts_that_do_not_compile() {
    expect!["3 WF0729 `ask` needs `prompt`"].assert_eq(&fails(WRONG));
    expect!["3 WF0729 functions call each other more than 100 deep"]
        .assert_eq(&fails("def f(n):\n    return [f(n + 1) for _ in range(1000000)]\nf(0)"));
    expect!["3 WF0729 the compiling process ended without an answer: killed by signal 6"]
        .assert_eq(&fails("x = [0] * 1000000000\ny = [x] * 1000000000"));
    // Which of the two limits it meets first depends on the machine.
    let without_end = fails("for _ in range(1000000000):\n    pass");
    let limits = ["the source took too long to compile", "the program took more than 500000 calls and loop turns"];
    assert!(limits.iter().any(|limit| without_end == format!("3 WF0729 {limit}")), "{without_end}");
    expect![[r#"3 WF0729 the path "../../../etc/passwd" has an empty, `.` or `..` part"#]]
        .assert_eq(&fails("load(\"../../../etc/passwd\", \"x\")"));
    expect![[r#"3 WF0729 the path "/etc/passwd" is not relative"#]]
        .assert_eq(&fails("workflow(\"w\", children = [ask(\"a\", prompt = file(\"/etc/passwd\"))])"));
    expect!["3 WF0729 unexpected identifier 'starlark', expected new line"].assert_eq(&fails("no starlark at all"));
}

#[test]
fn a_planner_that_gives_no_draft_says_why() {
    let place = planner(&[]);
    let rules =
        "[[rule]]\nmatch = { node = \"**/write\" }\nerror = { code = \"provider\", message = \"nobody is there\" }\n";
    place.write("rules.toml", rules);
    let ran = place.run(&["draft", "greet people", "--mock", "rules.toml", "--json"]);
    let json = ran.json();
    let message = json["error"]["message"].as_str().unwrap();
    let (begin, why) = message.rsplit_once(": ").unwrap();
    assert_eq!((ran.code, &json["error"]["code"]), (3, &json!("WF0729")));
    assert!(begin.starts_with("no draft is a valid workflow: the planner wrote none in run "), "{message}");
    assert_eq!(why, "nobody is there");
}
