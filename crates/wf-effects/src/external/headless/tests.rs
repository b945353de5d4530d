use super::super::AgentKind;
use super::super::dialects::dialect;
use super::*;

#[test]
fn a_command_line_is_made_of_its_table() {
    let line = |kind: AgentKind, is_inside: bool, session: Option<&str>| {
        argv(dialect(kind).unwrap(), &["x".to_owned()], is_inside, session).join(" ")
    };
    let cases = [
        (AgentKind::Claude, true, None, "x -p --output-format stream-json --verbose --dangerously-skip-permissions"),
        (
            AgentKind::Claude,
            false,
            Some("s"),
            "x -p --output-format stream-json --verbose --permission-mode acceptEdits --resume s",
        ),
        (
            AgentKind::Codex,
            true,
            None,
            "x exec --json --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox -",
        ),
        (
            AgentKind::Codex,
            false,
            Some("s"),
            "x exec --json --skip-git-repo-check --sandbox workspace-write resume s -",
        ),
        (AgentKind::OpenCode, true, None, "x run --format json"),
        (AgentKind::OpenCode, true, Some("s"), "x run --format json --session s"),
    ];
    for (kind, is_inside, session, expected) in cases {
        assert_eq!(line(kind, is_inside, session), expected);
    }
}

#[test]
fn places_lead_into_lines() {
    let line: Value = serde_json::json!({"a": [{"b": "x"}, {"b": "y"}, {"c": 1}], "flag": true, "text": "t"});
    assert_eq!(texts_at(&line, "a/*/b"), ["x", "y"]);
    assert_eq!(texts_at(&line, "a/b"), Vec::<String>::new());
    assert_eq!(text_at(&line, "flag"), None);
    let cases = [
        ("flag", "true", true),
        ("flag", "!true", false),
        ("missing", "!true", true),
        ("missing", "true", false),
        ("a/*/b", "y", true),
        ("text", "!t", false),
    ];
    for (place, wanted, expected) in cases {
        assert_eq!(holds(&line, place, wanted), expected, "{place} {wanted}");
    }
}
