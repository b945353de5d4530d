//! Every field can be spelt in Starlark.

use wf_author::{RESERVED_WORDS, Spelling};
use wf_ir::SpannedValue;

use crate::support::compiled;

/// The kinds of nodes.
const KINDS: [&str; 20] = [
    "agent",
    "ask",
    "command",
    "test",
    "search",
    "memory",
    "approve",
    "wait",
    "branch",
    "parallel",
    "sequence",
    "reduce",
    "pareto",
    "tournament",
    "loop_until",
    "cond",
    "expand",
    "call",
    "rlm",
    "teacher_review",
];

/// The fields of nodes, of workflows, and of the parts that are maps.
const FIELDS: [&str; 92] = [
    "accept",
    "after",
    "argv",
    "artifacts",
    "attempts",
    "backoff",
    "budget",
    "by",
    "candidates",
    "children",
    "commands",
    "condition",
    "content",
    "context",
    "cwd",
    "default",
    "description",
    "driver",
    "duration",
    "ensure",
    "env",
    "expect",
    "factor",
    "fixture",
    "form",
    "goal",
    "harvest",
    "how",
    "inputs",
    "judge",
    "keep",
    "key",
    "leaves",
    "limit",
    "max_backoff",
    "max_calls",
    "max_children",
    "max_depth",
    "max_items",
    "max_iterations",
    "memo",
    "min_ok",
    "needs",
    "network",
    "objectives",
    "of",
    "ok_exit",
    "on",
    "on_empty",
    "on_failure",
    "on_limit",
    "on_timeout",
    "op",
    "otherwise",
    "output",
    "outputs",
    "over",
    "params",
    "pattern",
    "permissions",
    "policy",
    "prompt",
    "query",
    "reads",
    "repeatable",
    "require",
    "resumes",
    "retry",
    "role",
    "roles",
    "sample",
    "samples",
    "schema_version",
    "secrets",
    "sensitive",
    "shows",
    "signal",
    "store",
    "then",
    "timeout",
    "tokens",
    "tools",
    "tree",
    "type",
    "until",
    "usd",
    "vars",
    "wall",
    "when",
    "width",
    "workflow",
    "writes",
];

#[test]
fn no_field_is_a_reserved_word() {
    let clashes: Vec<_> = KINDS.iter().chain(&FIELDS).filter(|name| RESERVED_WORDS.contains(name)).collect();
    assert_eq!(clashes, Vec::<&&str>::new());
}

#[test]
fn the_reserved_words_are_those_of_the_language() {
    for word in RESERVED_WORDS {
        let found = compiled(Spelling::Starlark, &format!("workflow('w', {word} = 1)"), &[]).unwrap_err();
        assert_eq!((found.len(), found[0].code), (1, "WF0602"), "{word}");
    }
}

#[test]
fn every_field_passes() {
    let fields: Vec<_> = FIELDS.into_iter().filter(|field| *field != "workflow").collect();
    let arguments: Vec<_> = fields.iter().map(|field| format!("{field} = 1")).collect();
    let source = format!("workflow('w', {})", arguments.join(", "));
    let SpannedValue::Map(entries) = compiled(Spelling::Starlark, &source, &[]).unwrap().root.value else {
        panic!("the root is a map")
    };
    let passed: Vec<_> = entries.iter().skip(1).map(|(key, _)| key.name.as_str()).collect();
    assert_eq!(passed, fields);
}

#[test]
fn every_kind_is_a_function() {
    let nodes: Vec<_> = KINDS.iter().map(|kind| format!("{kind}('x')")).collect();
    let source = format!("workflow('w', children = [{}])", nodes.join(", "));
    let expected: Vec<_> = KINDS.iter().map(|kind| format!(r#"{{"{kind}":"x"}}"#)).collect();
    let json = compiled(Spelling::Starlark, &source, &[]).unwrap().root.to_value().to_json();
    assert_eq!(json, format!(r#"{{"children":[{}],"workflow":"w"}}"#, expected.join(",")));
}
