//! One meaning, three spellings.

use std::fmt::Write;

use expect_test::expect;
use proptest::prelude::*;
use wf_author::Spelling;
use wf_ir::{Decimal, Value, validate};

use crate::support::{compiled, findings, plain};

const STARLARK: &str = r#"
load("lib.star", "verdict")

inputs = {"module": input(type = "string", default = "cache"), "token": input(type = "string", sensitive = True)}

find = search("find", pattern = file("pattern.txt"), reads = ["src/**"], limit = 50)

def fix(name, hint):
    tests = test("tests", argv = ["cargo", "test", "-p", "{{ inputs.module }}"], expect = "test result: ok")
    return branch(
        name,
        writes = ["src/**"],
        children = [
            agent("patch", prompt = file("patch.md") + hint, vars = {"n": "size(find.matches)"}, needs = [find],
                  retry = retry(attempts = 2, backoff = "1s")),
            loop_until("green", until = "tests.passed", max_iterations = 3, children = [
                agent("repair", prompt = "{{ prev.tests.stderr }}", when = "iteration > 1"),
                tests,
            ]),
        ],
    )

fixes = parallel("fixes", width = 2, min_ok = 1, children = [fix("small", "Small."), fix("bold", "Bold.")])
pick = tournament("pick", candidates = fixes, require = "value.results.green.tests.passed",
                  judge = judge(prompt = "{{ first.value }} or {{ second.value }}?", role = "judge"))
front = pareto("front", candidates = fixes, max_items = 2, objectives = [objective(by = "value.deletions", goal = "max")])
review = ask("review", prompt = "?", output = verdict, after = [front], ensure = "output.score <= 10", timeout = "30s")
gate = approve("gate", prompt = "Apply?", shows = {"why": "review.why"}, timeout = "1h", on_timeout = "reject")
tail = cond("tail", condition = "review.score > 7.5", then = [gate], otherwise = [wait("pause", duration = "1s")])

workflow(
    "spelt",
    description = "All three ways.",
    inputs = inputs,
    budget = budget(usd = 2.5, tokens = 100000),
    permissions = permissions(commands = ["cargo"], network = []),
    roles = {"judge": role(needs = ["json"], params = {"temperature": 0.0})},
    children = [find, fixes, pick, front, review, tail, reduce("sum", inputs = [pick, review], how = "merge", on_empty = None)],
    outputs = {"score": "review.score"},
)
"#;

const LIBRARY: &str = r#"
verdict = schema.object({"score": schema.integer(minimum = 0), "why": schema.string()}, required = ["score"])
"#;

const YAML: &str = r#"
workflow: spelt
description: All three ways.
inputs:
  module: {type: string, default: cache}
  token: {type: string, sensitive: true}
budget: {usd: 2.5, tokens: 100000}
permissions: {commands: [cargo], network: []}
roles:
  judge: {needs: [json], params: {temperature: 0.0}}
children:
  - search: find
    pattern: {file: pattern.txt}
    reads: [src/**]
    limit: 50
  - parallel: fixes
    width: 2
    min_ok: 1
    children:
      - branch: small
        writes: [src/**]
        children:
          - agent: patch
            prompt: "Patch it.\nSmall."
            vars: {n: size(find.matches)}
            needs: [find]
            retry: {attempts: 2, backoff: 1s}
          - &green
            loop_until: green
            until: tests.passed
            max_iterations: 3
            children:
              - agent: repair
                prompt: "{{ prev.tests.stderr }}"
                when: iteration > 1
              - test: tests
                argv: [cargo, test, -p, "{{ inputs.module }}"]
                expect: "test result: ok"
      - branch: bold
        writes: [src/**]
        children:
          - agent: patch
            prompt: |-
              Patch it.
              Bold.
            vars: {n: size(find.matches)}
            needs: [find]
            retry: {attempts: 2, backoff: 1s}
          - *green
  - tournament: pick
    candidates: fixes
    require: value.results.green.tests.passed
    judge:
      prompt: "{{ first.value }} or {{ second.value }}?"
      role: judge
  - pareto: front
    candidates: fixes
    max_items: 2
    objectives: [{by: value.deletions, goal: max}]
  - ask: review
    prompt: "?"
    output:
      type: object
      properties:
        score: {type: integer, minimum: 0}
        why: {type: string}
      required: [score]
      additionalProperties: false
    after: [front]
    ensure: output.score <= 10
    timeout: 30s
  - cond: tail
    condition: review.score > 7.5
    then:
      - approve: gate
        prompt: Apply?
        shows: {why: review.why}
        timeout: 1h
        on_timeout: reject
    otherwise:
      - wait: pause
        duration: 1s
  - reduce: sum
    inputs: [pick, review]
    how: merge
    on_empty: null
outputs: {score: review.score}
"#;

const JSON: &str = r#"{
  "workflow": "spelt", "description": "All three ways.",
  "inputs": {"module": {"type": "string", "default": "cache"}, "token": {"type": "string", "sensitive": true}},
  "budget": {"usd": 2.5, "tokens": 100000},
  "permissions": {"commands": ["cargo"], "network": []},
  "roles": {"judge": {"needs": ["json"], "params": {"temperature": 0.0}}},
  "children": [
    {"search": "find", "pattern": {"file": "pattern.txt"}, "reads": ["src/**"], "limit": 50},
    {"parallel": "fixes", "width": 2, "min_ok": 1, "children": [
      {"branch": "small", "writes": ["src/**"], "children": [
        {"agent": "patch", "prompt": "Patch it.\nSmall.", "vars": {"n": "size(find.matches)"}, "needs": ["find"],
         "retry": {"attempts": 2, "backoff": "1s"}},
        {"loop_until": "green", "until": "tests.passed", "max_iterations": 3, "children": [
          {"agent": "repair", "prompt": "{{ prev.tests.stderr }}", "when": "iteration > 1"},
          {"test": "tests", "argv": ["cargo", "test", "-p", "{{ inputs.module }}"], "expect": "test result: ok"}]}]},
      {"branch": "bold", "writes": ["src/**"], "children": [
        {"agent": "patch", "prompt": "Patch it.\nBold.", "vars": {"n": "size(find.matches)"}, "needs": ["find"],
         "retry": {"attempts": 2, "backoff": "1s"}},
        {"loop_until": "green", "until": "tests.passed", "max_iterations": 3, "children": [
          {"agent": "repair", "prompt": "{{ prev.tests.stderr }}", "when": "iteration > 1"},
          {"test": "tests", "argv": ["cargo", "test", "-p", "{{ inputs.module }}"], "expect": "test result: ok"}]}]}]},
    {"tournament": "pick", "candidates": "fixes", "require": "value.results.green.tests.passed",
     "judge": {"prompt": "{{ first.value }} or {{ second.value }}?", "role": "judge"}},
    {"pareto": "front", "candidates": "fixes", "max_items": 2, "objectives": [{"by": "value.deletions", "goal": "max"}]},
    {"ask": "review", "prompt": "?", "output": {"type": "object",
       "properties": {"score": {"type": "integer", "minimum": 0}, "why": {"type": "string"}},
       "required": ["score"], "additionalProperties": false},
     "after": ["front"], "ensure": "output.score <= 10", "timeout": "30s"},
    {"cond": "tail", "condition": "review.score > 7.5",
     "then": [{"approve": "gate", "prompt": "Apply?", "shows": {"why": "review.why"}, "timeout": "1h", "on_timeout": "reject"}],
     "otherwise": [{"wait": "pause", "duration": "1s"}]},
    {"reduce": "sum", "inputs": ["pick", "review"], "how": "merge", "on_empty": null}],
  "outputs": {"score": "review.score"}
}"#;

#[test]
fn one_workflow_in_three_spellings_is_one_draft() {
    let files = [("lib.star", LIBRARY), ("patch.md", "Patch it.\n"), ("pattern.txt", "cache[a-z]*")];
    let drafts = [(Spelling::Starlark, STARLARK), (Spelling::Yaml, YAML), (Spelling::Json, JSON)]
        .map(|(spelling, source)| compiled(spelling, source, &files).unwrap());
    let [starlark, yaml, json] = drafts.each_ref().map(plain);
    assert_eq!(starlark, yaml);
    assert_eq!(yaml, json);
    let hashes = drafts.map(|draft| {
        let (workflow, found) = validate(&draft);
        assert_eq!(findings(&found), "");
        workflow.map(|workflow| workflow.hash())
    });
    assert!(hashes[0] == hashes[1] && hashes[1] == hashes[2], "{hashes:?}");

    expect![[r#"{workflow: "spelt", description: "All three ways.", inputs: {module: {type: "string", default: "cache"}, token: {type: "string", sensitive: true}}, budget: {usd: 2.5, tokens: 100000}, permissions: {commands: ["cargo"], network: []}, roles: {judge: {needs: ["json"], params: {temperature: 0.0}}}, children: [{search: "find", pattern: "cache[a-z]*", reads: ["src/**"], limit: 50}, {parallel: "fixes", width: 2, min_ok: 1, children: [{branch: "small", writes: ["src/**"], children: [{agent: "patch", prompt: "Patch it.\nSmall.", vars: {n: "size(find.matches)"}, needs: ["find"], retry: {attempts: 2, backoff: "1s"}}, {loop_until: "green", until: "tests.passed", max_iterations: 3, children: [{agent: "repair", prompt: "{{ prev.tests.stderr }}", when: "iteration > 1"}, {test: "tests", argv: ["cargo", "test", "-p", "{{ inputs.module }}"], expect: "test result: ok"}]}]}, {branch: "bold", writes: ["src/**"], children: [{agent: "patch", prompt: "Patch it.\nBold.", vars: {n: "size(find.matches)"}, needs: ["find"], retry: {attempts: 2, backoff: "1s"}}, {loop_until: "green", until: "tests.passed", max_iterations: 3, children: [{agent: "repair", prompt: "{{ prev.tests.stderr }}", when: "iteration > 1"}, {test: "tests", argv: ["cargo", "test", "-p", "{{ inputs.module }}"], expect: "test result: ok"}]}]}]}, {tournament: "pick", candidates: "fixes", require: "value.results.green.tests.passed", judge: {prompt: "{{ first.value }} or {{ second.value }}?", role: "judge"}}, {pareto: "front", candidates: "fixes", max_items: 2, objectives: [{by: "value.deletions", goal: "max"}]}, {ask: "review", prompt: "?", output: {type: "object", properties: {score: {type: "integer", minimum: 0}, why: {type: "string"}}, required: ["score"], additionalProperties: false}, after: ["front"], ensure: "output.score <= 10", timeout: "30s"}, {cond: "tail", condition: "review.score > 7.5", then: [{approve: "gate", prompt: "Apply?", shows: {why: "review.why"}, timeout: "1h", on_timeout: "reject"}], otherwise: [{wait: "pause", duration: "1s"}]}, {reduce: "sum", inputs: ["pick", "review"], how: "merge", on_empty: null}], outputs: {score: "review.score"}}"#]].assert_eq(&json);
}

/// Only our own values reach a draft: no number arrives as a map under a private key, however deep it stands.
#[test]
fn only_our_own_values_cross() {
    let starlark = "workflow('w', x = {'a': [1, 0.25, {'b': -3, 'c': 1e2}], 'n': 9007199254740993})";
    let json = r#"{"workflow": "w", "x": {"a": [1, 0.25, {"b": -3, "c": 1e2}], "n": 9007199254740993}}"#;
    let decimal = |micros| Value::Decimal(Decimal::from_micros(micros).unwrap());
    let expected = Value::map([
        ("workflow", Value::from("w")),
        (
            "x",
            Value::map([
                (
                    "a",
                    Value::List(vec![
                        Value::Int(1),
                        decimal(250_000),
                        Value::map([("b", Value::Int(-3)), ("c", decimal(100_000_000))]),
                    ]),
                ),
                ("n", Value::Int(9_007_199_254_740_993)),
            ]),
        ),
    ]);
    for (spelling, source) in [(Spelling::Starlark, starlark), (Spelling::Yaml, json), (Spelling::Json, json)] {
        assert_eq!(compiled(spelling, source, &[]).unwrap().root.to_value(), expected);
    }
}

/// Any value that a draft can hold.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[a-z]{1,8}",
        ".{0,12}",
        prop::sample::select(vec![
            "null",
            "true",
            "on",
            "yes",
            "~",
            "",
            " ",
            "1",
            "1.5",
            "0x1",
            ".inf",
            "-",
            "- a",
            "a: b",
            "#x",
            "'",
            "\"",
            "\\",
            "{{ x }}",
            "{x}",
            "%s",
            "\u{0}",
            "\n",
            "\r\n",
            "\t",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\u{10ffff}",
            "<<",
            "!!str",
            "&a",
            "*a",
            "---",
            "...",
            "?",
            "? a",
            "@",
            "`",
            "|",
            ">",
        ])
        .prop_map(str::to_owned),
    ];
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-1000_i64..1000).prop_map(Value::Int),
        (-999_999_999_999_999_i64..=999_999_999_999_999)
            .prop_map(|micros| Value::Decimal(Decimal::from_micros(micros).unwrap())),
        text.clone().prop_map(Value::Str),
    ];
    scalar.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            prop::collection::btree_map(text.clone(), inner, 0..6).prop_map(Value::Map),
        ]
    })
}

fn starlark_literal(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Decimal(value) => value.to_string(),
        Value::Str(text) => quoted(text),
        Value::List(items) => format!("[{}]", items.iter().map(starlark_literal).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{}: {}", quoted(key), starlark_literal(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A text in double quotes, with the escapes that Starlark and YAML share.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_alphanumeric() || (char.is_ascii() && !char.is_ascii_control()) => quoted.push(char),
            char => write!(quoted, "\\U{:08x}", u32::from(char)).unwrap(),
        }
    }
    quoted.push('"');
    quoted
}

/// Block style where there is something in it, plain scalars where they are safe.
fn yaml_block(value: &Value, indent: usize, text: &mut String) {
    let margin = " ".repeat(indent);
    match value {
        Value::List(items) if !items.is_empty() => {
            for item in items {
                text.push('\n');
                text.push_str(&margin);
                text.push('-');
                yaml_block(item, indent + 2, text);
            }
        }
        Value::Map(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                write!(text, "\n{margin}{}:", quoted(key)).unwrap();
                yaml_block(value, indent + 1, text);
            }
        }
        Value::List(_) => text.push_str(" []"),
        Value::Map(_) => text.push_str(" {}"),
        Value::Null => text.push_str(" ~"),
        Value::Str(word) if word.len() > 5 && word.chars().all(|char| char.is_ascii_lowercase()) => {
            write!(text, " {word}").unwrap();
        }
        Value::Str(word) => write!(text, " {}", quoted(word)).unwrap(),
        Value::Bool(_) | Value::Int(_) | Value::Decimal(_) => {
            write!(text, " {}", starlark_literal(value).to_lowercase()).unwrap()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_is_the_same_in_every_spelling(value in value()) {
        let root = Value::map([("workflow", Value::from("w")), ("x", Value::List(vec![value.clone()]))]);
        let mut block = "workflow: w\nx:".to_owned();
        yaml_block(&Value::List(vec![value.clone()]), 0, &mut block);
        let sources = [
            (Spelling::Json, root.to_json()),
            (Spelling::Yaml, block),
            (Spelling::Starlark, format!("workflow('w', x = [{}])", starlark_literal(&value))),
        ];
        for (spelling, source) in sources {
            let draft = compiled(spelling, &source, &[]);
            prop_assert!(draft.is_ok(), "{}\n{:?}", source, draft);
            prop_assert_eq!(&draft.unwrap().root.to_value(), &root, "{}", source);
        }
    }

    /// What is strict JSON is YAML, with the same values.
    #[test]
    fn json_is_yaml(value in value()) {
        let source = value.to_json();
        // But for characters that cannot be seen, which YAML wants as escapes.
        if source.contains(|char: char| char.is_control() || "\u{feff}\u{fffe}\u{ffff}".contains(char)) {
            return Ok(());
        }
        let json = compiled(Spelling::Json, &source, &[]).unwrap();
        let yaml = compiled(Spelling::Yaml, &source, &[]);
        prop_assert!(yaml.is_ok(), "{}\n{:?}", source, yaml);
        prop_assert_eq!(json.root.to_value(), yaml.unwrap().root.to_value());
    }
}
