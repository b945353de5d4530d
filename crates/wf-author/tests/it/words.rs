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
const FIELDS: [&str; 111] = [
    "needs",
    "after",
    "accept",
    "when",
    "budget",
    "permissions",
    "role",
    "timeout",
    "tree",
    "retry",
    "tokens",
    "usd",
    "wall",
    "leaves",
    "writes",
    "commands",
    "network",
    "tools",
    "secrets",
    "attempts",
    "backoff",
    "factor",
    "max_backoff",
    "on",
    "prompt",
    "vars",
    "reads",
    "output",
    "driver",
    "resumes",
    "artifacts",
    "ensure",
    "memo",
    "sample",
    "argv",
    "cwd",
    "env",
    "ok_exit",
    "repeatable",
    "expect",
    "pattern",
    "limit",
    "op",
    "store",
    "key",
    "content",
    "shows",
    "form",
    "by",
    "on_timeout",
    "duration",
    "signal",
    "children",
    "width",
    "min_ok",
    "keep",
    "on_failure",
    "inputs",
    "how",
    "on_empty",
    "candidates",
    "objectives",
    "max_items",
    "goal",
    "require",
    "judge",
    "harvest",
    "until",
    "max_iterations",
    "on_limit",
    "condition",
    "then",
    "otherwise",
    "over",
    "max_children",
    "workflow",
    "context",
    "query",
    "max_depth",
    "max_calls",
    "of",
    "policy",
    "name",
    "id",
    "description",
    "roles",
    "fixture",
    "outputs",
    "type",
    "default",
    "sensitive",
    "params",
    "enum",
    "minimum",
    "maximum",
    "items",
    "properties",
    "required",
    "additionalProperties",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "first",
    "second",
    "fail",
    "reject",
    "approve",
    "accept_all",
    "abort",
    "file",
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
    let fields: Vec<_> = FIELDS.into_iter().filter(|field| !["name", "id"].contains(field)).collect();
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
