//! Sources that are huge, deep or repetitive.

use expect_test::{Expect, expect};
use wf_ir::{Draft, Span, Spanned, SpannedValue, Value, validate};

use super::{check_nodes, render};

/// Validates nodes given as values, without places, and shows the first findings.
fn check(nodes: Vec<Value>, expected: Expect) {
    let root = Value::map([("workflow", Value::from("w")), ("children", Value::List(nodes))]);
    let (_, findings) = validate(&Draft { root: Spanned::from_value(&root, &Span::default()) });
    expected.assert_eq(&format!("{} findings\n{}", findings.len(), render(&findings[..findings.len().min(2)])));
}

fn ask(id: String, prompt: &str) -> Value {
    Value::map([("ask", Value::from(id)), ("prompt", Value::from(prompt))])
}

#[test]
fn deep_values() {
    let mut value = Value::from("x");
    for _ in 0..300 {
        value = Value::List(vec![value]);
    }
    let node = Value::map([("ask", Value::from("a")), ("prompt", Value::from("x")), ("output", value)]);
    check(
        vec![node],
        expect![[r#"
        1 findings
        0:0: WF0101 this nests deeper than 200 levels
    "#]],
    );
}

#[test]
fn the_deepest_values_are_read() {
    let mut value = Value::from("x");
    for _ in 0..190 {
        value = Value::List(vec![value]);
    }
    let fields = [("reduce", Value::from("r")), ("inputs", "a".into()), ("how", "merge".into()), ("on_empty", value)];
    check(
        vec![ask("a".to_owned(), "x"), Value::map(fields)],
        expect![[r#"
        0 findings
    "#]],
    );
}

#[test]
fn deep_nodes() {
    let mut node = "{ask: leaf, prompt: x}".to_owned();
    for level in 0..64 {
        node = format!("{{sequence: s{level}, children: [{node}]}}");
    }
    check_nodes(
        &node,
        expect![[r#"
        1:1730: WF0402 nodes nest deeper than 64 levels here
    "#]],
    );
    let mut node = "{ask: leaf, prompt: x}, {reduce: r, inputs: leaf, how: model, prompt: p}".to_owned();
    for level in 0..63 {
        node = format!("{{sequence: s{level}, children: [{node}]}}");
    }
    check_nodes(
        &node,
        expect![[r#"
        1:1728: WF0402 nodes nest deeper than 64 levels here
    "#]],
    );
}

#[test]
fn many_nodes() {
    check(
        (0..20_001).map(|n| ask(format!("a{n}"), "x")).collect(),
        expect![[r#"
        1 findings
        0:0: WF0401 a workflow has at most 20000 nodes
             hint: let `expand` make nodes of one kind from a list
    "#]],
    );
}

#[test]
fn many_findings() {
    check(
        (0..2_000).map(|n| ask(format!("a{n}"), "{{ nowhere }}")).collect(),
        expect![[r#"
        2 findings
        0:0: WF0201 `nowhere` means nothing here
        0:0: WF0406 1000 more findings are not shown; at most 1000 are
    "#]],
    );
}

#[test]
fn long_chains() {
    let chain = |n: usize| {
        let needs = if n == 0 { Vec::new() } else { vec![Value::from(format!("a{}", n - 1))] };
        Value::map([("ask", Value::from(format!("a{n}"))), ("prompt", "x".into()), ("needs", Value::List(needs))])
    };
    let parallel =
        |children: Vec<Value>| Value::map([("parallel", Value::from("p")), ("children", Value::List(children))]);
    check(
        vec![parallel((0..2_000).map(chain).collect())],
        expect![[r#"
        0 findings
    "#]],
    );
    let mut ring: Vec<Value> = (0..2_000).map(chain).collect();
    ring[0] =
        Value::map([("ask", Value::from("a0")), ("prompt", "x".into()), ("needs", Value::List(vec!["a1999".into()]))]);
    check(
        vec![parallel(ring)],
        expect![[r#"
        1 findings
        0:0: WF0107 cycle: a0 -> a1999 -> a1998 -> a1997 -> a1996 -> a1995 -> … 1989 more … -> a5 -> a4 -> a3 -> a2 -> a1 -> a0
             hint: one of them must not wait for the next
    "#]],
    );
    let reduce = |n: usize| {
        let input = Value::from(if n == 0 { "a".to_owned() } else { format!("r{}", n - 1) });
        Value::map([
            ("pareto", Value::from(format!("r{n}"))),
            ("candidates", Value::List(vec![input])),
            ("objectives", Value::List(vec![Value::map([("by", "1")].map(|(key, text)| (key, Value::from(text))))])),
        ])
    };
    let chain = std::iter::once(ask("a".to_owned(), "x")).chain((0..2_000).map(reduce));
    check(
        chain.collect(),
        expect![[r#"
        0 findings
    "#]],
    );
}

#[test]
fn long_texts() {
    check(
        vec![ask("a".to_owned(), &"x".repeat(300_000))],
        expect![[r#"
        1 findings
        0:0: WF0127 `prompt` is longer than 262144 bytes
    "#]],
    );
    check(
        vec![ask("a".repeat(100_000), "x")],
        expect![[r#"
        1 findings
        0:0: WF0111 an id is a lower-case letter and at most 63 letters, digits and `_`, not "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…"
             hint: write `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa`
    "#]],
    );
}

#[test]
fn a_draft_of_anything_gives_findings() {
    let span = Span::default();
    for value in [SpannedValue::Null, SpannedValue::Bool(true), SpannedValue::Int(3), SpannedValue::List(Vec::new())] {
        let (workflow, findings) = validate(&Draft { root: Spanned { value, span: span.clone() } });
        assert!(workflow.is_none());
        assert_eq!(findings.len(), 1);
    }
}

#[test]
fn many_unknown_keys() {
    let keys = (0..50_000).map(|n| (format!("key{n}"), Value::Null));
    let node = Value::map(keys.chain([("ask".to_owned(), "a".into()), ("prompt".to_owned(), "x".into())]));
    check(
        vec![node],
        expect![[r#"
        1001 findings
        0:0: WF0103 `ask` has no field `key0`
             hint: it has prompt, vars, output, ensure, retry, memo, sample, tree, needs, after, accept, when, budget, permissions, role, timeout
        0:0: WF0103 `ask` has no field `key10000`
             hint: it has prompt, vars, output, ensure, retry, memo, sample, tree, needs, after, accept, when, budget, permissions, role, timeout
    "#]],
    );
}
