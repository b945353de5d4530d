//! The JSON Schema of the definition, and its agreement with validation.

use expect_test::expect_file;
use wf_ir::fields::KINDS;
use wf_ir::{Value, definition_schema};

use super::{source, workflow};

/// A workflow with every kind of node and nearly every field.
pub(crate) const EVERY_KIND: &str = r#"{
    workflow: every_kind, description: "all of it", fixture: fixtures/repo,
    inputs: {goal: string, token: {type: string, sensitive: true}, n: {type: int, default: 3}},
    budget: {tokens: 100000, usd: 2.5, wall: 2h, leaves: 5000},
    permissions: {writes: ["**"], commands: [make, ls], network: [docs.rs], tools: [read, edit], secrets: [KEY]},
    roles: {big: {needs: [tools], params: {temperature: 0.2}}},
    children: [
        {search: find, pattern: "TODO {{ inputs.goal }}", reads: ["src/**"], limit: 50},
        {ask: plan, prompt: "{{ inputs.goal }}", output: {type: object, properties: {n: {type: integer}}},
            ensure: "output.n > 0", memo: off, sample: 2, role: big, timeout: 5m,
            retry: {attempts: 4, backoff: 2s, factor: 1.5, max_backoff: 1m, on: [throttled]}},
        {parallel: fixes, width: 2, min_ok: 1, keep: all, on_failure: continue, children: [
            {branch: green, writes: ["src/**"], children: [
                {agent: write, prompt: "{{ plan.n }} {{ v }}", vars: {v: "plan.n + 1"}, reads: ["**"], writes: ["src/**"],
                    artifacts: ["target/report.txt"], output: {type: string}},
                {loop_until: l, until: "t.passed || iteration > 2", max_iterations: 3, on_limit: accept, samples: false,
                    children: [{agent: fix, prompt: "{{ iteration }} {{ prev }}", writes: ["src/**"], resumes: write},
                        {test: t, argv: [make, test], cwd: sub, env: [PATH], expect: "[1-9][0-9]* passed"}]}
            ]},
            {branch: blue, budget: {usd: 1}, permissions: {writes: ["docs/**"]}, children: [
                {command: gen, argv: [make, "{{ x }}"], vars: {x: "'docs'"}, writes: ["docs/**"], ok_exit: [3], repeatable: true}
            ]}
        ]},
        {tournament: pick, candidates: fixes, require: "status == 'succeeded'", by: "value.insertions", harvest: [tests, patches]},
        {tournament: judged, candidates: [find, plan], judge: {prompt: "{{ first }} {{ second }}", role: big, timeout: 1m}},
        {branch: verify, tree: pick.winner, children: [{test: again, argv: [make, test]}]},
        {pareto: front, candidates: fixes, max_items: 2, objectives: [{by: "value.insertions", goal: min}, {by: "1"}]},
        {expand: each, over: "find.matches", width: 4, max_children: 20, children: [
            {ask: look, prompt: "{{ each.item.path }}", output: {type: object, properties: {n: {type: integer}}}}
        ]},
        {reduce: joined, inputs: each, how: concat, on_empty: []},
        {reduce: merged, inputs: [plan], how: merge}, {reduce: voted, inputs: each, how: vote},
        {reduce: best, inputs: each, how: best, by: "value.n"},
        {reduce: combined, inputs: [pick], how: combine, take: [tests], by: "value.insertions > 0"},
        {test: recheck, argv: [make, test], tree: combined},
        {reduce: told, inputs: each, how: model, prompt: "{{ items }}", output: {type: string}},
        {sequence: more, when: "inputs.n > 1", accept: [failed, skipped], on_failure: continue, children: [
            {cond: c, condition: "plan.n > 1", then: [{wait: nap, duration: 10s}], otherwise: [{wait: go, signal: go-on, timeout: 1h}]},
            {approve: gate, prompt: "apply?", shows: {plan: "plan"}, form: {type: object}, by: [lead], on_timeout: reject, timeout: 1d}
        ]},
        {memory: m, op: write, key: "k", content: "plan"}, {call: other, workflow: child, inputs: {x: "plan.n"}},
        {rlm: explore, context: "find", query: "why", max_depth: 2, max_calls: 9, after: [m]},
        {teacher_review: teach, of: [fixes, pick], policy: "what helped", needs: [plan]}
    ],
    outputs: {winner: "pick.winner", report: "told"}
}"#;

/// Whether a source fits the schema.
fn fits(source: &str) -> Result<(), String> {
    let schema = serde_json::from_str(&definition_schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let source = serde_json::from_str(source).unwrap();
    validator.validate(&source).map_err(|error| error.to_string())
}

/// The same of a source in the spelling of tests.
fn fits_short(source: &str) -> Result<(), String> {
    let value: Value = source::read(source).root.to_value();
    fits(&value.to_json())
}

#[test]
fn the_schema_in_the_repository_is_the_one_of_the_table() {
    expect_file!["../../../../schema/workflow.schema.json"].assert_eq(&definition_schema());
}

#[test]
fn it_accepts_sources_and_canonical_forms() {
    fits_short(EVERY_KIND).unwrap();
    let workflow = workflow(EVERY_KIND);
    fits(workflow.canonical()).unwrap();
    let kinds: std::collections::BTreeSet<&str> = workflow.nodes().iter().map(|node| node.kind.name()).collect();
    assert_eq!(kinds.len(), KINDS.len());
}

#[test]
fn it_refuses_what_validation_refuses() {
    let check = |nodes: &str| {
        let text = format!("{{workflow: w, children: [{nodes}]}}");
        assert!(fits_short(&text).is_err(), "{text}");
        assert!(!super::codes(&text).is_empty(), "{text}");
    };
    check("");
    check("{ask: a}");
    check("{ask: A, prompt: x}");
    check("{ask: a, prompt: 3}");
    check("{ask: a, prompt: x, colour: red}");
    check("{wait: a, duration: soon}");
    check("{ask: a, prompt: x, retry: {attempts: 21}}");
    check("{reduce: r, inputs: [], how: concat}");
    check("{aks: a, prompt: x}");
}
