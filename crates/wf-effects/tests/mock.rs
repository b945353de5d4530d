//! The mock provider: which rule answers, what it answers, and that answers depend on recorded things only.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use wf_effects::mock::{Mock, Question, Reply, Rules};
use wf_effects::template::Templates;
use wf_ir::types::{check_is_schema, check_schema};
use wf_ir::{Digest, Value};

fn rules(source: &str) -> Rules {
    Rules::parse(source, "a.mock.toml").unwrap_or_else(|found| panic!("{found:?}"))
}

/// What a question is unless a test says otherwise.
fn with_question<T>(schema: Option<&Value>, f: impl FnOnce(Question<'_>) -> T) -> T {
    let context = BTreeMap::from([("item".to_owned(), Arc::new(Value::from_json(r#"{"path":"src/a.rs"}"#).unwrap()))]);
    f(Question {
        told: &[],
        run_id: "r1",
        path: "green[2]/fix",
        kind: "agent",
        role: "coder",
        prompt: "fix the bug, please",
        iteration: 1,
        attempt: 1,
        sample: 0,
        schema,
        context: &Arc::new(context),
    })
}

fn show(reply: &Reply) -> String {
    match reply {
        Reply::Answer(answer) => {
            let mut text = answer.value.to_json();
            for edit in &answer.edits {
                text += &format!("\n{} {}", edit.change.name(), edit.path);
            }
            for line in &answer.say {
                text += &format!("\nsays {line}");
            }
            text
        }
        Reply::Throttled { retry_after_ms } => format!("throttled {retry_after_ms}"),
        Reply::Failed { code, message, retryable, .. } => format!("{code} retryable={retryable}: {message}"),
    }
}

fn answer(source: &str, change: impl FnOnce(&mut Question<'_>)) -> Reply {
    with_question(None, |mut question| {
        change(&mut question);
        Mock::new(rules(source), 7).answer(&question, &Templates::default())
    })
}

fn check(source: &str, expect: Expect) {
    expect.assert_eq(&show(&answer(source, |_| {})));
}

fn check_schema_answer(source: &str, schema: &str, expect: Expect) {
    let schema = Value::from_json(schema).unwrap();
    let reply =
        with_question(Some(&schema), |question| Mock::new(rules(source), 7).answer(&question, &Templates::default()));
    expect.assert_eq(&show(&reply));
}

#[test]
fn the_first_rule_that_fits_answers() {
    let source = r#"
        [[rule]]
        match = { node = "green[3]/fix" }
        text = "three"
        [[rule]]
        match = { kind = "ask" }
        text = "an ask"
        [[rule]]
        match = { role = "reviewer" }
        text = "a reviewer"
        [[rule]]
        match = { prompt_contains = "tests" }
        text = "tests"
        [[rule]]
        match = { iteration = 2, attempt = 1 }
        text = "second iteration"
        [[rule]]
        match = { attempt = 2 }
        text = "second attempt"
        [[rule]]
        match = { sample = 4 }
        text = "sample"
        [[rule]]
        match = { node = "*/fix" }
        text = "green"
        [[rule]]
        text = "anything"
    "#;
    type Change = fn(&mut Question<'_>);
    let cases: [(Change, &str); 10] = [
        (|_| {}, "green"),
        (|question| question.path = "green[3]/fix", "three"),
        (|question| question.path = "green[3]/other", "anything"),
        (|question| question.kind = "ask", "an ask"),
        (|question| question.role = "reviewer", "a reviewer"),
        (|question| question.prompt = "write tests", "tests"),
        (|question| question.iteration = 2, "second iteration"),
        (
            |question| {
                question.iteration = 2;
                question.attempt = 2;
            },
            "second attempt",
        ),
        (|question| question.attempt = 2, "second attempt"),
        (|question| question.sample = 4, "sample"),
    ];
    for (change, expected) in cases {
        assert_eq!(show(&answer(source, change)), format!("{expected:?}"));
    }
}

#[test]
fn answers_may_be_templates() {
    check(
        r#"[[rule]]
        text = "{{ path }} {{ role }} {{ iteration }}.{{ attempt }}.{{ sample }} {{ item.path }}""#,
        expect![[r#""green[2]/fix coder 1.1.0 src/a.rs""#]],
    );
    check(
        r#"[[rule]]
        json = { file = "{{ item.path }}", n = 3, half = 0.5, list = [true, "{{ attempt }}"] }"#,
        expect![[r#"{"file":"src/a.rs","half":0.5,"list":[true,"1"],"n":3}"#]],
    );
    check(
        r#"[[rule]]
        json = '{"attempt": {{ attempt }}, "none": null}'"#,
        expect![[r#"{"attempt":1,"none":null}"#]],
    );
    check(
        "[[rule]]\ntext = '{{ nobody }}'",
        expect!["mock_rule retryable=false: the rule's template: line 1: `nobody` is undefined"],
    );
    check(
        "[[rule]]\njson = '{{ path }}'",
        expect!["mock_rule retryable=false: the rule's `json` is not JSON: expected value at line 1 column 1"],
    );
}

#[test]
fn a_text_is_read_as_json_where_the_schema_wants_no_text() {
    check_schema_answer("[[rule]]\ntext = '5'", r#"{"type":"integer"}"#, expect!["5"]);
    check_schema_answer("[[rule]]\ntext = '5'", r#"{"type":"string"}"#, expect![[r#""5""#]]);
    check_schema_answer("[[rule]]\ntext = 'five'", r#"{"type":"integer"}"#, expect![[r#""five""#]]);
}

#[test]
fn edits_words_and_failures_are_handed_over() {
    check(
        r#"[[rule]]
        text = "done"
        say = ["reading", "writing"]
        edits = [
            { path = "{{ item.path }}", replace = { from = "a", to = "{{ b }}" } },
            { path = "b", write = "" },
            { path = "c", append = "x" },
            { path = "d", delete = true },
        ]"#,
        expect![[r#"
            "done"
            replace src/a.rs
            write b
            append c
            delete d
            says reading
            says writing"#]],
    );
    check(
        "[[rule]]\nerror = { code = 'provider', message = 'out of order', retryable = true }",
        expect!["provider retryable=true: out of order"],
    );
}

#[test]
fn throttling_is_counted_by_run_instance_and_attempt() {
    let mock = Mock::new(rules("[[rule]]\nthrottle = { times = 2, retry_after_ms = 50 }\ntext = 'at last'"), 7);
    let templates = Templates::default();
    with_question(None, |question| {
        let mut log = String::new();
        for run_id in ["r1", "r1", "r1", "r2", "r1"] {
            log += &format!("{run_id} {}\n", show(&mock.answer(&Question { run_id, ..question }, &templates)));
        }
        let other = Question { attempt: 2, ..question };
        log += &show(&mock.answer(&other, &templates));
        expect![[r#"
            r1 throttled 50
            r1 throttled 50
            r1 "at last"
            r2 throttled 50
            r1 "at last"
            throttled 50"#]]
        .assert_eq(&log);
    });
}

#[test]
fn without_rules_the_answer_says_what_it_is() {
    check("", expect![[r#""mock answer b10d16 to node green[2]/fix""#]]);
    check_schema_answer(
        "",
        r#"{"type":"object","properties":{"title":{"type":"string"},"score":{"type":"integer","minimum":1,"maximum":5},
            "kind":{"enum":["bug","feature"]},"files":{"type":"array","items":{"type":"string","maxLength":10}},
            "sure":{"type":"boolean"}},"required":["title"],"additionalProperties":false}"#,
        expect![[
            r#"{"files":["mock files"],"kind":"bug","score":4,"sure":false,"title":"mock title b10d16-120590 to node green[2]/fix"}"#
        ]],
    );
    check_schema_answer(
        "",
        r#"{"type":"string","pattern":"(?=x)y"}"#,
        expect![
            "mock_schema retryable=false: the mock found no value that fits the output schema (at /pattern: a regular expression of moderate size, without look-around and back-references, is needed); give it a rule for this node"
        ],
    );
}

#[test]
fn answers_depend_on_recorded_things_only() {
    let templates = Templates::default();
    with_question(None, |question| {
        let ask = |seed, question: &Question<'_>| show(&Mock::new(Rules::default(), seed).answer(question, &templates));
        let first = ask(7, &question);
        assert_eq!(first, ask(7, &question));
        assert_eq!(first, ask(7, &Question { run_id: "r2", ..question }));
        let others = [
            ask(8, &question),
            ask(7, &Question { prompt: "fix", ..question }),
            ask(7, &Question { path: "green[1]/fix", ..question }),
            ask(7, &Question { attempt: 2, ..question }),
            ask(7, &Question { iteration: 2, ..question }),
            ask(7, &Question { sample: 1, ..question }),
        ];
        for other in others {
            assert_ne!(first, other);
        }
    });
}

#[test]
fn usage_is_counted_unless_said() {
    let usage = |source: &str| match answer(source, |_| {}) {
        Reply::Answer(answer) => answer.usage,
        other => panic!("{other:?}"),
    };
    // 19 characters asked, 11 answered.
    let counted = usage("[[rule]]\ntext = 'hello world'");
    assert_eq!((counted.input_tokens, counted.output_tokens, counted.cost_usd_micros), (Some(5), Some(3), Some(14)));
    let said = usage("[[rule]]\nusage = { input_tokens = 1000, output_tokens = 200 }");
    assert_eq!((said.input_tokens, said.output_tokens, said.cost_usd_micros), (Some(1000), Some(200), Some(1600)));
    let said = usage("[[rule]]\nusage = { cost_usd = 0.25 }\ntext = ''");
    assert_eq!((said.input_tokens, said.output_tokens, said.cost_usd_micros), (Some(5), Some(0), Some(250_000)));
}

#[test]
fn an_estimate_covers_what_a_rule_says() {
    let estimate = |source: &str| {
        with_question(None, |question| {
            let usage = Mock::new(rules(source), 7).estimate(&question);
            (usage.input_tokens.unwrap(), usage.output_tokens.unwrap(), usage.cost_usd_micros.unwrap())
        })
    };
    assert_eq!(estimate(""), (5, 4096, 12_293));
    assert_eq!(estimate("[[rule]]\nusage = { output_tokens = 9000 }"), (5, 9000, 27_005));
    assert_eq!(estimate("[[rule]]\nusage = { input_tokens = 1, cost_usd = 2 }"), (5, 4096, 2_000_000));
}

#[test]
fn waits_are_said_or_come_from_the_seed() {
    let latency = |source: &str| match answer(source, |_| {}) {
        Reply::Answer(answer) => answer.latency,
        other => panic!("{other:?}"),
    };
    assert_eq!(latency("[[rule]]\nlatency_ms = 42"), Duration::from_millis(42));
    let drawn = latency("");
    assert_eq!(drawn, latency(""));
    assert!((300..=1500).contains(&drawn.as_millis()), "{drawn:?}");
}

#[test]
fn the_digest_is_of_what_rules_say() {
    let digest = |source: &str| rules(source).digest().unwrap();
    let one = digest("[[rule]]\ntext = 'a'\nmatch = { node = 'x' }");
    assert_eq!(one, digest("# a remark\n[[rule]]\nmatch.node = \"x\"\ntext = \"\"\"a\"\"\"\n"));
    assert_ne!(one, digest("[[rule]]\ntext = 'b'\nmatch = { node = 'x' }"));
    assert_ne!(digest("[[rule]]\ntext = '1'"), digest("[[rule]]\njson = '1'"));
    assert_eq!(Rules::default().digest(), None);
}

fn check_refused(source: &str, expect: Expect) {
    let found = Rules::parse(source, "a.mock.toml").unwrap_err();
    let mut text = String::new();
    for it in found {
        text += &format!("{}:{}:{}: {} {}\n", it.span.file, it.span.line, it.span.column, it.code, it.message);
        if let Some(hint) = it.hint {
            text += &format!("  hint: {hint}\n");
        }
    }
    expect.assert_eq(&text);
}

#[test]
fn what_is_wrong_with_rules_has_a_place() {
    check_refused(
        "[[rule]\n",
        expect![[r#"
        a.mock.toml:1:8: WF0651 unclosed array table, expected `]`
    "#]],
    );
    check_refused(
        "\n[[rule]]\ntext = 'a'\ntext = 'b'\n",
        expect![[r#"
        a.mock.toml:4:1: WF0651 duplicate key
    "#]],
    );
    check_refused(
        "[[rules]]\n",
        expect![[r#"
        a.mock.toml:1:3: WF0652 unknown field `rules`, expected `rule`
    "#]],
    );
    check_refused(
        "[[rule]]\ntext = 'a'\nmatch = { nod = 'x' }\n",
        expect![[r#"
        a.mock.toml:3:11: WF0652 unknown field `nod`, expected one of `node`, `kind`, `role`, `prompt_contains`, `iteration`, `attempt`, `sample`
    "#]],
    );
    check_refused(
        "[[rule]]\ntext = 5\n",
        expect![[r#"
        a.mock.toml:2:8: WF0652 invalid type: integer `5`, expected a string
    "#]],
    );
    check_refused(
        "[[rule]]\nmatch = { attempt = -1 }\n",
        expect![[r#"
        a.mock.toml:2:21: WF0652 invalid value: integer `-1`, expected u32
    "#]],
    );
    check_refused(
        "[[rule]]\ntext = 'a'\njson = { a = 1 }\n",
        expect![[r#"
        a.mock.toml:1:1: WF0653 a rule gives one answer
          hint: keep one of `text`, `json` and `error`
    "#]],
    );
    check_refused(
        "[[rule]]\nerror = { code = 'x', message = '' }\nedits = [{ path = 'a', write = '' }]\n",
        expect![[r#"
        a.mock.toml:3:10: WF0653 a rule that fails cannot edit
          hint: leave out `edits` or `error`
    "#]],
    );
    check_refused(
        "[[rule]]\nerror = { code = 'No way', message = '' }\n",
        expect![[r#"
        a.mock.toml:2:9: WF0654 a failure's code is a short lower-case word
          hint: letters, digits and `_`, as in `provider`
    "#]],
    );
    check_refused(
        "[[rule]]\nmatch = { node = 'a-b', kind = 'test' }\n",
        expect![[r#"
        a.mock.toml:2:18: WF0654 "a-b" is no pattern of node paths
          hint: for example `green/fix`, `audit[17]/read` or `**/review`
        a.mock.toml:2:32: WF0654 the mock never answers for a node of kind "test"
          hint: it answers for `agent` and `ask`
    "#]],
    );
    check_refused(
        "[[rule]]\njson = '{'\n",
        expect![[r#"
        a.mock.toml:2:8: WF0655 `json` is not JSON: EOF while parsing an object at line 1 column 1
    "#]],
    );
    check_refused(
        "[[rule]]\njson = { at = 2020-01-01 }\n",
        expect![[r#"
        a.mock.toml:2:8: WF0655 JSON has no dates
          hint: put it into quotes
    "#]],
    );
    check_refused(
        "[[rule]]\njson = { big = 1e300 }\n",
        expect![[r#"
        a.mock.toml:2:16: WF0652 number "1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000" is outside the range of 64-bit integers and of decimals with six places
    "#]],
    );
    check_refused(
        "[[rule]]\ntext = '{{ '\n",
        expect![[r#"
            a.mock.toml:2:8: WF0656 not a template: line 1: unexpected end of input, expected expression
              hint: braces that are no template stand in `{% raw %}…{% endraw %}`
        "#]],
    );
    check_refused(
        "[[rule]]\ntext = '{% include \"x\" %}'\n",
        expect![[r#"
        a.mock.toml:2:8: WF0656 not a template: line 1: the tag `include` is not available in prompts
          hint: braces that are no template stand in `{% raw %}…{% endraw %}`
    "#]],
    );
    check_refused(
        r#"[[rule]]
        edits = [
            { path = "/etc/passwd", write = "" },
            { path = "a/../b", write = "" },
            { path = ".git/config", write = "" },
            { path = "x/.GIT", write = "" },
            { path = "a//b", write = "" },
            { path = "", write = "" },
            { path = "a" },
            { path = "a", write = "", delete = true },
            { path = "a", replace = { from = "", to = "" } },
        ]"#,
        expect![[r#"
            a.mock.toml:3:13: WF0657 "/etc/passwd": the path must be relative to the tree
            a.mock.toml:4:13: WF0657 "a/../b": the path must stay within the tree
            a.mock.toml:5:13: WF0657 ".git/config": `.git` is not part of the tree
            a.mock.toml:6:13: WF0657 "x/.GIT": `.git` is not part of the tree
            a.mock.toml:7:13: WF0657 "a//b": the path must be in its shortest form
            a.mock.toml:8:13: WF0657 "": the path is empty
            a.mock.toml:9:13: WF0657 an edit makes one change
              hint: `write`, `append`, `replace` or `delete = true`
            a.mock.toml:10:13: WF0657 an edit makes one change
              hint: `write`, `append`, `replace` or `delete = true`
            a.mock.toml:11:13: WF0657 `from` is empty
        "#]],
    );
    check_refused(
        "[[rule]]\nusage = { cost_usd = -1 }\n",
        expect![[r#"
        a.mock.toml:2:22: WF0654 `cost_usd` is a number of dollars, at least 0
    "#]],
    );
    check_refused(
        "[[rule]]\nlatency_ms = 999999999999\n",
        expect![[r#"
        a.mock.toml:2:14: WF0654 999999999999 ms, at most 86400000 are allowed
    "#]],
    );
    check_refused(
        &"[[rule]]\n".repeat(1001),
        expect![[r#"
        a.mock.toml:1001:1: WF0650 1001 rules, at most 1000 are allowed
    "#]],
    );
    let deep = format!("[[rule]]\njson = {}{}\n", "[".repeat(5000), "]".repeat(5000));
    check_refused(
        &deep,
        expect![[r#"
        a.mock.toml:2:88: WF0651 cannot recurse further; max recursion depth met
    "#]],
    );
    check_refused(
        &"#".repeat((1 << 20) + 1),
        expect![[r#"
        a.mock.toml:1:1: WF0650 1048577 bytes of rules, at most 1048576 are allowed
    "#]],
    );
}

#[test]
fn files_that_cannot_be_read_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("good"), "[[rule]]\ntext = 'a'\n").unwrap();
    std::fs::write(path("latin"), b"# \xff\n").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    assert_eq!(Rules::load(&path("good")).unwrap().len(), 1);
    let mut text = String::new();
    for name in ["missing", "latin", "fifo", "."] {
        let found = Rules::load(&path(name)).unwrap_err();
        text += &format!("{} {}\n", found[0].code, found[0].message);
    }
    expect![[r#"
        WF0650 the mock's rules cannot be read: No such file or directory (os error 2)
        WF0650 the mock's rules cannot be read: it is not UTF-8 text
        WF0650 the mock's rules cannot be read: it is not a regular file
        WF0650 the mock's rules cannot be read: it is not a regular file
    "#]]
    .assert_eq(&text);
}

/// Schemas as workflows use them.
fn schemas() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(r#"{"type":"string"}"#.to_owned()),
        Just("true".to_owned()),
        Just(r#"{"type":"boolean"}"#.to_owned()),
        Just(r#"{"type":"null"}"#.to_owned()),
        Just(r#"{"const":{"a":[1,null]}}"#.to_owned()),
        Just(r#"{"enum":["a",2,null]}"#.to_owned()),
        Just(r#"{"type":["string","null"]}"#.to_owned()),
        (0..200_u32, 0..50_u32)
            .prop_map(|(low, more)| format!(r#"{{"type":"string","minLength":{low},"maxLength":{}}}"#, low + more)),
        (-1000..1000_i64, 0..100_i64)
            .prop_map(|(low, more)| format!(r#"{{"type":"integer","minimum":{low},"maximum":{}}}"#, low + more)),
        (-100..100_i64, 2..100_i64).prop_map(|(low, more)| format!(
            r#"{{"type":"integer","exclusiveMinimum":{low},"exclusiveMaximum":{}}}"#,
            low + more
        )),
        (1..20_i64).prop_map(|step| format!(r#"{{"type":"integer","multipleOf":{step},"minimum":7}}"#)),
        (-100..100_i64).prop_map(|low| format!(r#"{{"type":"number","minimum":{low}.5,"maximum":{}.25}}"#, low + 2)),
        prop_oneof![
            Just("^[a-z]{2,5}-\\\\d+$"),
            Just("^(fix|feat)\\\\([a-z_]+\\\\): .+$"),
            Just("v[0-9]+\\\\.[0-9]+"),
            Just("^[^/]*$"),
            Just("^\\\\w+@\\\\w+\\\\.com$"),
        ]
        .prop_map(|pattern| format!(r#"{{"type":"string","pattern":"{pattern}"}}"#)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (inner.clone(), 0..4_usize, 0..3_usize).prop_map(|(items, least, more)| format!(
                r#"{{"type":"array","items":{items},"minItems":{least},"maxItems":{}}}"#,
                least + more
            )),
            (prop::collection::vec(inner.clone(), 1..4), any::<bool>()).prop_map(|(fields, closed)| {
                let properties: Vec<_> = fields.iter().enumerate().map(|(at, it)| format!("\"f{at}\":{it}")).collect();
                let required: Vec<_> = (0..fields.len()).step_by(2).map(|at| format!("\"f{at}\"")).collect();
                let closed = if closed { r#","additionalProperties":false"# } else { r#","minProperties":5"# };
                format!(
                    r#"{{"type":"object","properties":{{{}}},"required":[{}]{closed}}}"#,
                    properties.join(","),
                    required.join(",")
                )
            }),
            prop::collection::vec(inner, 1..3).prop_map(|any| format!(r#"{{"anyOf":[{}]}}"#, any.join(","))),
        ]
    })
}

/// Schemas, some of which name the part that they are made of.
fn schemas_with_references() -> impl Strategy<Value = String> {
    prop_oneof![
        schemas(),
        schemas().prop_map(|schema| format!(r##"{{"$ref":"#/$defs/a","$defs":{{"a":{schema}}}}}"##)),
        schemas().prop_map(|schema| format!(
            r##"{{"type":"array","minItems":1,"items":{{"$ref":"#/$defs/a"}},"$defs":{{"a":{schema}}}}}"##
        )),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_fit_the_schema(schema in schemas_with_references(), seed in any::<u64>()) {
        let schema = Value::from_json(&schema).unwrap();
        prop_assert_eq!(check_is_schema(&schema), Ok(()));
        let reply = with_question(Some(&schema), |question| {
            Mock::new(Rules::default(), seed).answer(&question, &Templates::default())
        });
        match reply {
            Reply::Answer(answer) => prop_assert_eq!(check_schema(&schema, &answer.value), Ok(())),
            other => prop_assert!(false, "{other:?} for {}", schema.to_json()),
        }
    }

    #[test]
    fn rules_never_panic(source in "[\\[\\]a-z={}'\"\\n ,0-9.]{0,80}") {
        let _ = Rules::parse(&source, "a.mock.toml");
    }
}

#[test]
fn a_recursive_schema_ends() {
    let schema = r##"{"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","required":["name"],"properties":
        {"name":{"type":"string"},"children":{"type":"array","items":{"$ref":"#/$defs/tree"}}}}}}"##;
    let schema = Value::from_json(schema).unwrap();
    let reply = with_question(Some(&schema), |question| {
        Mock::new(Rules::default(), 1).answer(&question, &Templates::default())
    });
    let Reply::Answer(answer) = reply else { panic!("{reply:?}") };
    assert_eq!(check_schema(&schema, &answer.value), Ok(()));
    // Recursion without an end has no finite value; that is said, not suffered.
    let endless = Value::from_json(r##"{"type":"object","required":["a"],"properties":{"a":{"$ref":"#"}}}"##).unwrap();
    let reply = with_question(Some(&endless), |question| {
        Mock::new(Rules::default(), 1).answer(&question, &Templates::default())
    });
    assert!(matches!(&reply, Reply::Failed { code, .. } if code == "mock_schema"), "{reply:?}");
    assert_eq!(Digest::of(b"").0.len(), 32);
}

#[test]
fn the_documentation_shows_rules_that_work() {
    let doc = include_str!("../../../docs/mock.md");
    let examples: Vec<&str> = doc.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let counts: Vec<usize> = examples.iter().map(|example| rules(example).len()).collect();
    assert_eq!(counts, [3, 2, 1, 1]);
    for code in 650..=657 {
        assert!(doc.contains(&format!("| `WF0{code}` |")), "{code}");
    }
    for (pattern, fits, others) in [
        ("green/fix", &["green/fix", "green[2]/fix"][..], &["blue/fix"][..]),
        ("green[2]/fix", &["green[2]/fix"], &["green/fix", "green[3]/fix"]),
        ("green[*]/fix", &["green[2]/fix"], &["green/fix"]),
        ("*/fix", &["green/fix", "blue/fix"], &["a/green/fix"]),
        ("**/fix", &["fix", "green/fix", "a/green/fix"], &["a/green"]),
        ("fix_*", &["fix_a", "fix_b"], &["fix"]),
    ] {
        assert!(doc.contains(&format!("| `{pattern}` |")), "{pattern}");
        let source = format!("[[rule]]\nmatch = {{ node = '{pattern}' }}\ntext = 'fits'");
        for (paths, expected) in [(fits, true), (others, false)] {
            for path in paths {
                let fitted = show(&answer(&source, |question| question.path = path)) == "\"fits\"";
                assert_eq!(fitted, expected, "{pattern} {path}");
            }
        }
    }
}

#[test]
fn the_shipped_rules_can_be_used() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../workflows");
    let mut files = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with(".mock.toml") {
            assert!(!Rules::load(&path).unwrap().is_empty(), "{path:?}");
            files += 1;
        }
    }
    assert!(files >= 4, "{files}");
}
