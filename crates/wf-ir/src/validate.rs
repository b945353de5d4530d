//! From draft to workflow.
//!
//! Validation goes over the whole draft in passes and never stops at the first problem: [`normal`] gives every field
//! its type and canonical form, [`lower`] resolves names and parses expressions and templates, [`order`] finds cycles,
//! [`typing`] checks what is read against what is there, and the rest checks permissions, trees, bounds and twins.

mod bounds;
mod forms;
mod kinds;
mod lower;
mod normal;
mod order;
mod permits;
mod report;
mod scope;
mod text;
mod trees;
mod twins;
mod typing;

use crate::canonical::workflow_value;
use crate::diagnostic::Diagnostic;
use crate::digest::Digest;
use crate::draft::{Draft, SpannedValue};
use crate::node::Workflow;

pub(crate) use normal::{DRAFT_DEPTH_MAX, RawWorkflow};

use report::Report;

/// Validates a draft. It never stops at the first problem; the workflow is there exactly when no diagnostic is an
/// error.
pub fn validate(draft: &Draft) -> (Option<Workflow>, Vec<Diagnostic>) {
    let mut report = Report::default();
    let workflow = normal::read_workflow(&draft.root, &mut report).and_then(|raw| make(&raw, &mut report));
    (workflow, report.finish())
}

fn make(raw: &RawWorkflow, report: &mut Report) -> Option<Workflow> {
    let mut lowered = lower::lower(raw, report);
    let order = order::order(raw, &mut lowered, report);
    typing::check(raw, &mut lowered, &order, report);
    permits::check(raw, &mut lowered, report);
    trees::check(raw, &mut lowered, &order, report);
    bounds::check(raw, &lowered, report);
    twins::check(raw, &lowered, report);
    if report.failed() {
        return None;
    }
    let text = |name: &str| match raw.fields.get(name).map(|field| &field.value) {
        Some(SpannedValue::Str(text)) => Some(text.clone()),
        _ => None,
    };
    let canonical = workflow_value(raw).to_json();
    Some(Workflow {
        name: text("workflow")?,
        description: text("description").unwrap_or_default(),
        inputs: lowered.inputs,
        budget: lowered.budget,
        permissions: lowered.permissions,
        roles: lowered.roles,
        fixture: text("fixture"),
        nodes: lowered.nodes,
        children: raw.children.iter().map(|ix| lower::index(*ix)).collect(),
        outputs: lowered.outputs,
        hash: Digest::of(canonical.as_bytes()),
        canonical,
    })
}
