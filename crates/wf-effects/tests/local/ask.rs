//! Asks and agents: preparing, answering, what is checked.

use std::sync::Arc;

use expect_test::{Expect, expect};
use wf_ir::Value;
use wf_kernel::effect::LeafRequest;
use wf_kernel::{Outcome, ValueRef};

use crate::setup::{Means, World, block, failed, node, show, succeeded};

/// A world with one ask and an agent that only reads.
fn world(rules: &str, ask: &str) -> World {
    let agent = node("agent", "look", r#"{"prompt":"look around"}"#, vec![]);
    World::new(Means { rules, ..Means::default() }, vec![node("ask", "q", ask, vec![]), agent])
}

async fn request(world: &World, leaf: &LeafRequest) -> String {
    match world.prepare(leaf).await {
        Ok(prepared) => format!(
            "{}\n{}\ntokens {} cost {}",
            prepared.role.to_json(),
            world.value(&prepared.request).await.to_json(),
            prepared.estimate.tokens,
            prepared.estimate.cost_usd_micros
        ),
        Err(failure) => format!("{}: {}", failure.code, failure.message),
    }
}

fn check_prepare(ask: &str, context: &str, expect: Expect) {
    block(async {
        let world = world("", ask);
        expect.assert_eq(&request(&world, &world.leaf("q", context)).await);
    });
}

fn check_answer(rules: &str, ask: &str, expect: Expect) {
    block(async {
        let world = world(rules, ask);
        let outcome = world.perform(&world.leaf("q", "{}")).await;
        expect.assert_eq(&show(&world, &outcome).await);
    });
}

#[test]
fn a_request_holds_everything_that_decides_the_answer() {
    check_prepare(
        r#"{"prompt":"Name {{ who }}.","vars":{"who":"'a bird'"},"output":{"type":"string"},"role":"namer"}"#,
        r#"{"who":"a bird"}"#,
        expect![[r#"
            {"model":"mock","provider":"mock","role":"namer","rules":null,"seed":"7"}
            {"messages":[{"content":"Name a bird.","role":"user"}],"output":{"type":"string"}}
            tokens 4099 cost 12291"#]],
    );
}

#[test]
fn values_are_not_expanded_and_names_must_be_there() {
    check_prepare(
        r#"{"prompt":"{{ who }}","vars":{"who":"''"}}"#,
        r#"{"who":"{{ inputs }}{% raw %}"}"#,
        expect![[r#"
        {"model":"mock","provider":"mock","role":"default","rules":null,"seed":"7"}
        {"messages":[{"content":"{{ inputs }}{% raw %}","role":"user"}],"output":null}
        tokens 4102 cost 12294"#]],
    );
    check_prepare(
        r#"{"prompt":"{{ who }}","vars":{"who":"''"}}"#,
        "{}",
        expect!["template: the template of `q`: line 1: `who` is undefined"],
    );
    check_prepare(
        r#"{"prompt":"{{ who.name }}","vars":{"who":"''"}}"#,
        r#"{"who":{"age":3}}"#,
        expect!["template: the template of `q`: line 1: `who.name` is undefined"],
    );
    let bomb = "{% for a in range(99999) %}".repeat(4) + "{{ a }}" + &"{% endfor %}".repeat(4);
    check_prepare(
        &format!(r#"{{"prompt":"{bomb}"}}"#),
        "{}",
        expect!["template: the template of `q`: line 1: the template is too much work"],
    );
}

#[test]
fn feedback_is_a_message_of_its_own() {
    block(async {
        let world = world("", r#"{"prompt":"Count."}"#);
        let leaf = LeafRequest { attempt: 2, feedback: Some("that was no number".into()), ..world.leaf("q", "{}") };
        expect![[r#"
            {"model":"mock","provider":"mock","role":"default","rules":null,"seed":"7"}
            {"messages":[{"content":"Count.","role":"user"},{"content":"Your last answer was not accepted: that was no number\nAnswer again, and see to it that this is put right.","role":"user"}],"output":null}
            tokens 4125 cost 12317"#]].assert_eq(&request(&world, &leaf).await);
        let (first, second) = (world.perform(&world.leaf("q", "{}")).await, world.perform(&leaf).await);
        assert_ne!(show(&world, &first).await, show(&world, &second).await);
    });
}

#[test]
fn roles_carry_what_the_workflow_asks_of_them() {
    block(async {
        let ask = node("ask", "q", r#"{"prompt":"x","role":"judge"}"#, vec![]);
        let fields = r#"{"roles":{"judge":{"needs":["json"],"params":{"temperature":0.5}}}}"#;
        let world = World::with_fields(Means { rules: "[[rule]]", ..Means::default() }, fields, vec![ask]);
        let prepared = world.prepare(&world.leaf("q", "{}")).await.unwrap();
        expect![[r#"{"model":"mock","needs":["json"],"params":{"temperature":0.5},"provider":"mock","role":"judge","rules":"1f196e1515dd16a9858d5c2d8fe6857aacd02358b932d6fdac4f0335ee436bdf","seed":"7"}"#]].assert_eq(&prepared.role.to_json());
        let again = world.prepare(&world.leaf("q", "{}")).await.unwrap();
        assert!(Arc::ptr_eq(&prepared.role, &again.role));
    });
}

#[test]
fn answers_are_checked_against_the_schema() {
    let ask = r#"{"prompt":"x","output":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}}"#;
    check_answer("[[rule]]\njson = { n = 3 }", ask, expect![[r#"{"n":3} for 7 µ$"#]]);
    check_answer(
        "[[rule]]\njson = { n = '3' }",
        ask,
        expect![[r#"output_invalid (retryable): at /n: "3" is not of type "integer" for 10 µ$"#]],
    );
    check_answer("[[rule]]\ntext = '{\"n\": 4}'", ask, expect![[r#"{"n":4} for 7 µ$"#]]);
    check_answer(
        "[[rule]]\ntext = 'four'",
        ask,
        expect![[r#"output_invalid (retryable): "four" is not of type "object" for 4 µ$"#]],
    );
    check_answer("", ask, expect![[r#"{"n":61} for 7 µ$"#]]);
    check_answer(
        "[[rule]]\njson = { n = 3 }",
        r#"{"prompt":"x"}"#,
        expect!["output_invalid (retryable): the answer must be text, because the node has no output schema for 7 µ$"],
    );
    check_answer("[[rule]]\ntext = 'plain'", r#"{"prompt":"x"}"#, expect![[r#""plain" for 7 µ$"#]]);
}

#[test]
fn failures_and_throttling_come_back_as_data() {
    let ask = r#"{"prompt":"x"}"#;
    check_answer("[[rule]]\nerror = { code = 'provider', message = 'no' }", ask, expect!["provider: no for 1 µ$"]);
    check_answer(
        "[[rule]]\nerror = { code = 'provider', message = 'no', retryable = true }",
        ask,
        expect!["provider (retryable): no for 1 µ$"],
    );
    check_answer("[[rule]]\nthrottle = { times = 1, retry_after_ms = 9 }", ask, expect!["throttled for 9 ms"]);
    check_answer(
        "[[rule]]\nedits = [{ path = 'a', write = '' }]",
        ask,
        expect![
            "read_only: the answer edits files, but the node may not write: it needs `writes`, in a branch for 22 µ$"
        ],
    );
}

#[test]
fn an_agent_without_a_tree_may_not_edit() {
    block(async {
        let rules = "[[rule]]\nmatch = { attempt = 1 }\nedits = [{ path = 'a', write = '' }]\n[[rule]]\ntext = 'seen'";
        let world = world(rules, r#"{"prompt":"x"}"#);
        let leaf = world.leaf("look", "{}");
        expect![
            "read_only: the answer edits files, but the node may not write: it needs `writes`, in a branch for 27 µ$"
        ]
        .assert_eq(&show(&world, &world.perform(&leaf).await).await);
        let leaf = LeafRequest { attempt: 2, ..leaf };
        expect![[r#""seen" for 6 µ$"#]].assert_eq(&show(&world, &world.perform(&leaf).await).await);
    });
}

#[test]
fn large_values_are_blobs_before_they_are_named() {
    block(async {
        let long = "x".repeat(70_000);
        let world = world(&format!("[[rule]]\ntext = '{long}'"), r#"{"prompt":"{{ p }}","vars":{"p":"''"}}"#);
        let leaf = world.leaf("q", &format!(r#"{{"p":"{long}"}}"#));
        let prepared = world.prepare(&leaf).await.unwrap();
        assert!(matches!(prepared.request, ValueRef::Stored { .. }));
        let success = succeeded(world.perform(&leaf).await);
        assert!(matches!(success.value, ValueRef::Stored { size: 70_002, .. }));
        assert_eq!(world.value(&success.value).await, Value::Str(long));
        assert_eq!(success.usage.input_tokens, Some(17_500));
    });
}

#[test]
fn what_is_cancelled_answers_at_once() {
    block(async {
        let means = Means { rules: "[[rule]]\nlatency_ms = 86400000", is_paced: true, ..Means::default() };
        let world = World::new(means, vec![node("ask", "q", r#"{"prompt":"x"}"#, vec![])]);
        let leaf = world.leaf("q", "{}");
        let (outcome, ()) = tokio::join!(world.perform(&leaf), async {
            tokio::task::yield_now().await;
            world.cancel.cancel();
        });
        assert!(matches!(outcome, Outcome::Cancelled { .. }), "{outcome:?}");
        assert!(matches!(world.perform(&leaf).await, Outcome::Cancelled { .. }));
    });
}

#[test]
fn pacing_takes_time_and_streams() {
    block(async {
        let rules = "[[rule]]\nmatch = { node = 'q' }\nlatency_ms = 3\nsay = ['one', 'two']\ntext = 'three'\n\
                     [[rule]]\nlatency_ms = 86400000";
        let means = Means { rules, is_paced: true, ..Means::default() };
        let slow = node("ask", "slow", r#"{"prompt":"x","timeout":"50ms"}"#, vec![]);
        let world = World::new(means, vec![node("ask", "q", r#"{"prompt":"x"}"#, vec![]), slow]);
        succeeded(world.perform(&world.leaf("q", "{}")).await);
        expect![[r#"
            {"stream":"say","text":"one"}
            {"stream":"say","text":"two"}
            {"stream":"answer","text":"three"}"#]]
        .assert_eq(&world.trace("q").await);
        let outcome = world.perform(&world.leaf("slow", "{}")).await;
        assert!(matches!(outcome, Outcome::TimedOut { .. }), "{outcome:?}");
    });
}

#[test]
fn a_run_without_repository_has_no_trees() {
    block(async {
        let world = World::new(Means::default(), vec![node("search", "s", r#"{"pattern":"x"}"#, vec![])]);
        let failure = failed(world.perform(&world.leaf("s", "{}")).await);
        assert_eq!(failure.code, "no_repository");
    });
}
