//! One canonical form, whatever was written.

use expect_test::{Expect, expect};
use wf_ir::{CanonicalError, Workflow};

use super::{workflow, workflow_of};

fn check(nodes: &str, expected: Expect) {
    let workflow = workflow_of(nodes);
    let value = wf_ir::Value::from_json(workflow.canonical()).unwrap();
    let children: Vec<String> = value.get("children").as_list().unwrap().iter().map(wf_ir::Value::to_json).collect();
    expected.assert_eq(&children.join("\n"));
}

#[test]
fn defaults_are_explicit() {
    check(
        "{ask: a, prompt: x}",
        expect![[
            r#"{"accept":[],"after":[],"ask":"a","budget":{},"memo":"auto","needs":[],"permissions":{},"prompt":"x","retry":{"attempts":1,"backoff":"1000ms","factor":2.0,"max_backoff":"60000ms","on":[]},"sample":0,"vars":{}}"#
        ]],
    );
    check(
        "{parallel: p, children: [{wait: a, duration: 1h}, {wait: b, signal: s}]}",
        expect![[
            r#"{"accept":[],"after":[],"budget":{},"children":[{"accept":[],"after":[],"budget":{},"duration":"3600000ms","needs":[],"permissions":{},"wait":"a"},{"accept":[],"after":[],"budget":{},"needs":[],"permissions":{},"signal":"s","wait":"b"}],"keep":"all","min_ok":1,"needs":[],"on_failure":"continue","parallel":"p","permissions":{},"width":2}"#
        ]],
    );
    check(
        "{ask: a, prompt: x, ensure: \"output == 'x'\", budget: {usd: 2}, retry: {factor: 1.5}}",
        expect![[
            r#"{"accept":[],"after":[],"ask":"a","budget":{"usd":2.0},"ensure":"output == 'x'","memo":"auto","needs":[],"permissions":{},"prompt":"x","retry":{"attempts":1,"backoff":"1000ms","factor":1.5,"max_backoff":"60000ms","on":[]},"sample":0,"vars":{}}"#
        ]],
    );
    check(
        "{expand: e, over: 3, max_children: 3, children: [{ask: a, prompt: x}]}, {tournament: t, candidates: e, judge: {prompt: p}}",
        expect![[r#"
            {"accept":[],"after":[],"budget":{},"children":[{"accept":[],"after":[],"ask":"a","budget":{},"memo":"auto","needs":[],"permissions":{},"prompt":"x","retry":{"attempts":1,"backoff":"1000ms","factor":2.0,"max_backoff":"60000ms","on":[]},"sample":0,"vars":{}}],"expand":"e","max_children":3,"min_ok":1,"needs":[],"on_failure":"continue","over":"3","permissions":{},"width":"8"}
            {"accept":[],"after":[],"budget":{},"candidates":"e","harvest":["results"],"judge":{"prompt":"p","retry":{"attempts":1,"backoff":"1000ms","factor":2.0,"max_backoff":"60000ms","on":[]},"vars":{}},"needs":[],"permissions":{},"tournament":"t"}"#]],
    );
}

#[test]
fn the_whole_form() {
    let workflow = workflow(r#"{inputs: {goal: string}, children: [{wait: a, signal: go}], workflow: w}"#);
    expect![[r#"{"budget":{},"children":[{"accept":[],"after":[],"budget":{},"needs":[],"permissions":{},"signal":"go","wait":"a"}],"description":"","inputs":{"goal":{"description":"","sensitive":false,"type":"string"}},"outputs":{},"permissions":{"network":[],"secrets":[]},"roles":{},"schema_version":1,"workflow":"w"}"#]].assert_eq(workflow.canonical());
}

#[test]
fn two_spellings_have_one_hash() {
    let long = workflow(
        r#"{workflow: w, schema_version: 1, description: "", inputs: {n: {type: int, sensitive: false}}, budget: {usd: "1.00"},
            children: [{ask: a, prompt: "x", timeout: 90s, needs: [], retry: {attempts: 1, backoff: 1000ms}}]}"#,
    );
    let short = workflow(
        r#"{budget: {usd: 1}, inputs: {n: int}, workflow: w, children: [{ask: a, timeout: 90, prompt: "x"}]}"#,
    );
    assert_eq!(long.canonical(), short.canonical());
    assert_eq!(long.hash(), short.hash());
    let other = workflow(
        r#"{budget: {usd: 2}, inputs: {n: int}, workflow: w, children: [{ask: a, timeout: 90, prompt: "x"}]}"#,
    );
    assert_ne!(long.hash(), other.hash());
}

#[test]
fn a_definition_has_the_lowest_version_that_has_what_it_uses() {
    let fixes = "{parallel: fixes, children: [{branch: a, children: [{test: t, argv: [x]}]}, {branch: b, children: [{test: t, argv: [y]}]}]},
        {tournament: pick, candidates: fixes, by: \"1\", harvest: [tests, patches]}";
    let plain = workflow(&format!("{{workflow: w, children: [{fixes}]}}"));
    assert!(plain.canonical().contains(r#""schema_version":1"#));
    let said = workflow(&format!("{{workflow: w, schema_version: 2, children: [{fixes}]}}"));
    assert_eq!(said.hash(), plain.hash(), "what a source says of itself is no meaning");
    let combine = format!("{fixes}, {{reduce: both, inputs: pick, how: combine}}");
    let newer = workflow(&format!("{{workflow: w, children: [{combine}]}}"));
    assert!(
        newer.canonical().contains(r#""schema_version":2"#)
            && newer.canonical().contains(r#""take":["tests","patches"]"#)
    );
    assert_eq!(workflow(&format!("{{workflow: w, schema_version: 2, children: [{combine}]}}")).hash(), newer.hash());
    let older = format!("{{workflow: w, schema_version: 1, children: [{combine}]}}");
    super::check(
        &older,
        expect![[r#"
        1:31: WF0128 this definition says schema version 1, and `both` needs 2
             hint: leave `schema_version` out: it is found from what the definition uses
    "#]],
    );
}

#[test]
fn every_kind_reads_back() {
    let original = workflow(super::schema::EVERY_KIND);
    let again = Workflow::from_canonical(original.canonical()).unwrap();
    assert_eq!(again.canonical(), original.canonical());
    assert_eq!(again.hash(), original.hash());
    let kinds = |workflow: &Workflow| workflow.nodes().iter().map(|node| node.kind.name()).collect::<Vec<_>>();
    assert_eq!(kinds(&again), kinds(&original));
    for (left, right) in again.nodes().iter().zip(original.nodes()) {
        assert_eq!(format!("{:?}", left.kind), format!("{:?}", right.kind), "{}", left.path);
        assert_eq!((&left.needs, &left.after, &left.ty), (&right.needs, &right.after, &right.ty), "{}", left.path);
        assert_eq!((&left.permissions, &left.retry), (&right.permissions, &right.retry), "{}", left.path);
    }
}

#[test]
fn the_deepest_workflow_reads_back() {
    let mut node =
        r#"{ask: leaf, prompt: "x", output: {type: object, properties: {a: {type: array, items: {type: string}}}}}"#
            .to_owned();
    for level in 0..63 {
        node = format!("{{sequence: s{level}, children: [{node}]}}");
    }
    let workflow = workflow_of(&node);
    assert_eq!(Workflow::from_canonical(workflow.canonical()).unwrap().hash(), workflow.hash());
}

#[test]
fn what_is_not_canonical_is_refused() {
    let check = |text: &str, expected: Expect| {
        let error = Workflow::from_canonical(text).map(|workflow| workflow.hash()).unwrap_err();
        assert_eq!(matches!(error, CanonicalError::Json(_)), text != "{}");
        expected.assert_eq(&error.to_string());
    };
    check("", expect!["a stored definition is not readable: EOF while parsing a value at line 1 column 0"]);
    check("{} x", expect!["a stored definition is not readable: trailing characters at line 1 column 4"]);
    check(&"[".repeat(100_000), expect!["a stored definition is not readable: it nests deeper than 200 levels"]);
    check("{}", expect!["a stored definition is not valid: WF0105 a workflow needs `children`"]);
}
