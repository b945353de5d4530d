//! Validation: what is found, where, and in which words.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod canonical;
mod docs;
mod hostile;
mod names;
mod preflight;
mod random;
mod resources;
mod schema;
mod shape;
mod source;

use std::collections::BTreeSet;

use expect_test::Expect;
use wf_ir::{Diagnostic, Severity, Workflow, validate};

/// The findings, one a line.
fn render(findings: &[Diagnostic]) -> String {
    let mut text = String::new();
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
            Severity::Note => "note: ",
        };
        let Diagnostic { span, code, message, .. } = finding;
        text += &format!("{}:{}: {severity}{code} {message}\n", span.line, span.column);
        if let Some(hint) = &finding.hint {
            text += &format!("     hint: {hint}\n");
        }
    }
    text
}

/// Validates a whole source.
fn check(source: &str, expected: Expect) {
    let (workflow, findings) = validate(&source::read(source));
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    assert_eq!(workflow.is_none(), failed, "{}", render(&findings));
    let text = render(&findings);
    expected.assert_eq(if text.is_empty() { "ok" } else { &text });
    if let Some(workflow) = workflow {
        let again = Workflow::from_canonical(workflow.canonical()).map_err(|error| error.to_string()).unwrap();
        assert_eq!(again.canonical(), workflow.canonical());
        assert_eq!(again.hash(), workflow.hash());
    }
}

/// Validates nodes; they begin in line 1.
fn check_nodes(nodes: &str, expected: Expect) {
    check(&format!("{{children: [{nodes}], workflow: w}}"), expected);
}

/// The workflow that a valid source makes.
fn workflow(source: &str) -> Workflow {
    let (workflow, findings) = validate(&source::read(source));
    workflow.unwrap_or_else(|| panic!("{}", render(&findings)))
}

/// The workflow of some nodes.
fn workflow_of(nodes: &str) -> Workflow {
    workflow(&format!("{{children: [{nodes}], workflow: w}}"))
}

/// The codes of the findings.
fn codes(source: &str) -> BTreeSet<&'static str> {
    validate(&source::read(source)).1.into_iter().map(|finding| finding.code).collect()
}
