//! The canonical form: one JSON text for one workflow, whatever it was written in.
//!
//! Keys are sorted, defaults are explicit, short forms are spelt out, durations are milliseconds. The form is itself
//! a source: validating it gives the same workflow, and the same form, again. Its digest names the workflow.

use crate::diagnostic::Diagnostic;
use crate::draft::{Draft, Span, Spanned};
use crate::node::Workflow;
use crate::validate::{DRAFT_DEPTH_MAX, RawWorkflow, validate};
use crate::value::Value;

/// Why a text is no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// It is not JSON, or not JSON that a definition can hold.
    #[error("a stored definition is not readable: {0}")]
    Json(String),
    /// It is no valid definition for this binary.
    #[error("a stored definition is not valid: {}", first_error(.0))]
    Invalid(Vec<Diagnostic>),
}

fn first_error(findings: &[Diagnostic]) -> String {
    let first = findings.iter().find(|finding| finding.severity == crate::Severity::Error);
    first.map_or_else(String::new, |finding| format!("{} {}", finding.code, finding.message))
}

impl Workflow {
    /// Reads a canonical form back, as it is stored with a run.
    ///
    /// # Errors
    /// When the text is not JSON or no valid definition.
    pub fn from_canonical(text: &str) -> Result<Self, CanonicalError> {
        if nests_too_deep(text) {
            return Err(CanonicalError::Json(format!("it nests deeper than {DRAFT_DEPTH_MAX} levels")));
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        // The depth has been bounded above; the reader's own bound is lower than that of a definition.
        reader.disable_recursion_limit();
        let value: Value =
            serde::Deserialize::deserialize(&mut reader).map_err(|error| CanonicalError::Json(error.to_string()))?;
        reader.end().map_err(|error| CanonicalError::Json(error.to_string()))?;
        let (workflow, findings) = validate(&Draft { root: Spanned::from_value(&value, &Span::default()) });
        workflow.ok_or(CanonicalError::Invalid(findings))
    }
}

/// Whether JSON text opens more lists and maps in each other than a definition may.
fn nests_too_deep(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_string = false,
            (true, _) => {}
            (false, b'"') => in_string = true,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            (false, _) => {}
        }
        if depth > DRAFT_DEPTH_MAX {
            return true;
        }
    }
    false
}

/// The canonical form of a whole workflow.
pub(crate) fn workflow_value(raw: &RawWorkflow) -> Value {
    let mut value = Value::map(raw.fields.iter().map(|(name, field)| (*name, field.to_value())));
    if let Value::Map(entries) = &mut value {
        let children = raw.children.iter().map(|ix| node_value(raw, *ix)).collect();
        entries.insert("children".to_owned(), Value::List(children));
    }
    value
}

/// The canonical form of one node and all below it.
pub(crate) fn node_value(raw: &RawWorkflow, ix: usize) -> Value {
    let node = &raw.nodes[ix];
    let kind = node.tag.map(|tag| (tag.as_str(), Value::Str(node.id.clone())));
    let fields = node.fields.iter().map(|(name, field)| (*name, field.to_value()));
    let lists = node.lists.iter().map(|(name, list)| {
        let children = list.iter().map(|ix| node_value(raw, *ix)).collect();
        (*name, Value::List(children))
    });
    Value::map(kind.into_iter().chain(fields).chain(lists))
}
