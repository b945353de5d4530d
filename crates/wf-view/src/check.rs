//! What `check` says of a workflow.

use schemars::JsonSchema;
use serde::Serialize;
use wf_ir::{Diagnostic, Digest, Severity};

use crate::VERSION;
use crate::schema;

/// A workflow as `check FILE --json` judges it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CheckView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// Whether it is a workflow.
    pub valid: bool,
    /// Digest of its canonical form, if it is valid.
    pub hash: Option<String>,
    /// What is wrong with it, or worth knowing.
    pub diagnostics: Vec<DiagnosticView>,
    /// What this machine lacks to run it.
    pub preflight: Vec<DiagnosticView>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DiagnosticView {
    /// `WF` and four digits; `whaleflow explain` says more.
    pub code: String,
    /// `error`, `warning` or `note`.
    #[schemars(schema_with = "severity_schema")]
    pub severity: &'static str,
    /// A lower-case sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The file; null where the finding has no place.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column, from 1, in characters.
    pub column: Option<u32>,
}

impl CheckView {
    /// The judgement on a source: its hash if it is valid, what validation and what preflight found.
    pub fn of(hash: Option<Digest>, diagnostics: &[Diagnostic], preflight: &[Diagnostic]) -> Self {
        let views = |list: &[Diagnostic]| list.iter().map(DiagnosticView::from).collect();
        Self {
            version: VERSION,
            valid: hash.is_some(),
            hash: hash.map(|hash| hash.to_string()),
            diagnostics: views(diagnostics),
            preflight: views(preflight),
        }
    }
}

impl From<&Diagnostic> for DiagnosticView {
    fn from(diagnostic: &Diagnostic) -> Self {
        let span = &diagnostic.span;
        let known = span.line > 0;
        Self {
            code: diagnostic.code.to_owned(),
            severity: severity_name(diagnostic.severity),
            message: diagnostic.message.clone(),
            hint: diagnostic.hint.clone(),
            file: (!span.file.is_empty()).then(|| span.file.to_string()),
            line: known.then_some(span.line),
            column: known.then_some(span.column),
        }
    }
}

/// The word for a severity.
pub fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn severity_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "enum": ["error", "warning", "note"] })
}
