//! What validation tells a person: a code, a place, a sentence, a hint.

use serde::Serialize;

use crate::draft::Span;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing has to change.
    Note,
    /// Probably a mistake; the workflow is valid.
    Warning,
    /// The workflow is not valid.
    Error,
}

/// One finding. `code` is `WF` and four digits and has an entry in `docs/errors.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// `WF0107`
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// A lower-case sentence without a final stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where it is.
    pub span: Span,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(code: &'static str, span: &Span, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, message: message.into(), hint: None, span: span.clone() }
    }

    /// The same with another severity.
    #[must_use]
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
