//! Properties over many workflows.

use proptest::prelude::*;
use wf_ir::{Draft, Key, Severity, Span, Spanned, SpannedValue, Value, Workflow, validate};

use super::{render, schema::EVERY_KIND, source};

/// Whatever the draft: a workflow exactly when nothing is wrong, and then one with a stable canonical form.
fn check(draft: &Draft) -> Option<Workflow> {
    let (workflow, findings) = validate(draft);
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    assert_eq!(workflow.is_none(), failed, "{}", render(&findings));
    let workflow = workflow?;
    let again = Workflow::from_canonical(workflow.canonical()).map_err(|error| error.to_string()).unwrap();
    assert_eq!(again.canonical(), workflow.canonical());
    assert_eq!(again.hash(), workflow.hash());
    assert_eq!(again.nodes().len(), workflow.nodes().len());
    for node in workflow.nodes() {
        assert!(node.parent.is_none_or(|parent| parent < node.ix), "parents come first");
        assert!(node.needs.iter().all(|need| workflow.node(*need).path != node.path));
    }
    Some(workflow)
}

/// What a place in a draft may be replaced by.
fn junk() -> impl Strategy<Value = SpannedValue> {
    let words = [
        "",
        "a",
        "plan",
        "find.matches",
        "{{",
        "{{ plan }}",
        "1 +",
        "node.plan.status == 'failed'",
        "30s",
        "**",
        "A-B",
    ];
    prop_oneof![
        Just(SpannedValue::Null),
        any::<bool>().prop_map(SpannedValue::Bool),
        prop_oneof![-2..5_i64, any::<i64>()].prop_map(SpannedValue::Int),
        prop::sample::select(words.to_vec()).prop_map(|word| SpannedValue::Str(word.to_owned())),
        ".{0,6}".prop_map(SpannedValue::Str),
        Just(SpannedValue::List(Vec::new())),
        Just(SpannedValue::Map(Vec::new())),
    ]
}

#[derive(Clone, Debug)]
enum Change {
    Replace(SpannedValue),
    Remove,
    Double,
    Rename(&'static str),
    Reverse,
}

fn change() -> impl Strategy<Value = Change> {
    let names = ["needs", "after", "children", "prompt", "writes", "tree", "ask", "width", "when", "colour"];
    prop_oneof![
        3 => junk().prop_map(Change::Replace),
        3 => Just(Change::Remove),
        1 => Just(Change::Double),
        1 => prop::sample::select(names.to_vec()).prop_map(Change::Rename),
        1 => Just(Change::Reverse),
    ]
}

/// Applies a change at the `at`th place below `spanned`, counted in order.
fn apply(spanned: &mut Spanned, at: &mut usize, change: &Change) {
    let done = usize::MAX;
    match &mut spanned.value {
        SpannedValue::List(items) => {
            for position in 0..items.len() {
                if *at == 0 {
                    *at = done;
                    match change {
                        Change::Replace(value) => items[position].value = value.clone(),
                        Change::Remove => drop(items.remove(position)),
                        Change::Double => items.insert(position, items[position].clone()),
                        Change::Rename(_) => {}
                        Change::Reverse => items.reverse(),
                    }
                }
                if *at == done {
                    return;
                }
                *at -= 1;
                apply(&mut items[position], at, change);
            }
        }
        SpannedValue::Map(entries) => {
            for position in 0..entries.len() {
                if *at == 0 {
                    *at = done;
                    match change {
                        Change::Replace(value) => entries[position].1.value = value.clone(),
                        Change::Remove => drop(entries.remove(position)),
                        Change::Double => entries.insert(position, entries[position].clone()),
                        Change::Rename(name) => entries[position].0.name = (*name).to_owned(),
                        Change::Reverse => entries.reverse(),
                    }
                }
                if *at == done {
                    return;
                }
                *at -= 1;
                apply(&mut entries[position].1, at, change);
            }
        }
        _ => {}
    }
}

/// A node that is valid anywhere; `n` makes it unlike any other.
fn node(depth: u32) -> BoxedStrategy<Spanned> {
    let leaf = prop_oneof![
        Just(vec![("ask", Value::from("id")), ("prompt", "{{ inputs.goal }}".into())]),
        Just(vec![("wait", "id".into()), ("duration", "90s".into())]),
        Just(vec![("search", "id".into()), ("pattern", "x+".into()), ("limit", Value::Int(7))]),
        Just(vec![("test", "id".into()), ("argv", Value::List(vec!["make".into()])), ("timeout", Value::Int(60))]),
        Just(vec![
            ("ask", "id".into()),
            ("prompt", "x".into()),
            ("ensure", "output != ''".into()),
            ("role", "big".into())
        ]),
    ]
    .prop_map(|fields| Spanned::from_value(&Value::map(fields), &Span::default()));
    if depth == 0 {
        return leaf.boxed();
    }
    let children = || prop::collection::vec(node(depth - 1), 1..4);
    let control = |kind: &'static str, extra: Vec<(&'static str, Value)>| {
        (children(), any::<bool>()).prop_map(move |(children, last)| {
            let key = |name: &str| Key { name: name.to_owned(), span: Span::default() };
            let of = |value: SpannedValue| Spanned { value, span: Span::default() };
            let mut entries: Vec<(Key, Spanned)> =
                extra.iter().map(|(name, value)| (key(name), Spanned::from_value(value, &Span::default()))).collect();
            let list = if kind == "cond" { "then" } else { "children" };
            entries.insert(if last { entries.len() } else { 0 }, (key(list), of(SpannedValue::List(children))));
            entries.insert(0, (key(kind), of(SpannedValue::Str("id".to_owned()))));
            of(SpannedValue::Map(entries))
        })
    };
    prop_oneof![
        leaf,
        control("sequence", vec![("budget", Value::map([("usd", Value::Int(2))]))]),
        control("branch", vec![("writes", Value::List(vec!["src/**".into()]))]),
        control("parallel", vec![("keep", "first_success".into())]),
        control("loop_until", vec![("until", "iteration > 2".into()), ("max_iterations", Value::Int(2))]),
        control("cond", vec![("condition", Value::Bool(true)), ("otherwise", Value::List(Vec::new()))]),
        control("expand", vec![("over", Value::Int(2)), ("max_children", Value::Int(3))]),
    ]
    .boxed()
}

/// Gives every node an id of its own.
fn number(spanned: &mut Spanned, next: &mut usize) {
    match &mut spanned.value {
        SpannedValue::List(items) => items.iter_mut().for_each(|item| number(item, next)),
        SpannedValue::Map(entries) => {
            for (key, value) in entries.iter_mut() {
                if value.value == SpannedValue::Str("id".to_owned())
                    && wf_ir::fields::KindTag::from_word(&key.name).is_some()
                {
                    *next += 1;
                    value.value = SpannedValue::Str(format!("n{next}"));
                }
                number(value, next);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_workflows_are_valid_or_have_errors(changes in prop::collection::vec((0..400_usize, change()), 0..4)) {
        let mut draft = source::read(EVERY_KIND);
        for (mut at, change) in changes {
            apply(&mut draft.root, &mut at, &change);
        }
        check(&draft);
    }

    #[test]
    fn built_workflows_are_valid(children in prop::collection::vec(node(3), 1..4)) {
        let inputs = Value::map([("goal", Value::from("string"))]);
        let of = |value: &Value| Spanned::from_value(value, &Span::default());
        let key = |name: &str| Key { name: name.to_owned(), span: Span::default() };
        let list = Spanned { value: SpannedValue::List(children), span: Span::default() };
        let entries = vec![(key("workflow"), of(&"w".into())), (key("inputs"), of(&inputs)), (key("children"), list)];
        let mut draft = Draft { root: Spanned { value: SpannedValue::Map(entries), span: Span::default() } };
        number(&mut draft.root, &mut 0);
        let findings = validate(&draft).1;
        // Two branches may happen to be equal.
        prop_assert!(findings.iter().all(|finding| finding.code == wf_ir::codes::TWINS), "{}", render(&findings));
        check(&draft);
    }
}
