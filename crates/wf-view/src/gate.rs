//! Gates that wait for a decision.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use wf_ir::{Kind, Value};
use wf_kernel::{Ix, Stage};

use crate::VERSION;
use crate::fold::RunFold;
use crate::run::{run_id, shown};
use crate::schema;
use crate::text::rfc3339;

/// The open gates of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GatesView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The run.
    pub run_id: String,
    /// Its gates that wait for a decision.
    pub gates: Vec<GateView>,
}

/// A gate that waits for a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GateView {
    /// Its path.
    pub path: String,
    /// What is asked.
    pub prompt: String,
    /// Values shown beside it, by name.
    #[schemars(schema_with = "schema::any")]
    pub shows: Option<Value>,
    /// JSON Schema of the decision's data.
    #[schemars(schema_with = "schema::any")]
    pub form: Option<Value>,
    /// What a decision names, so that it decides nothing else.
    pub digest: String,
    /// Who may decide; empty is anyone.
    pub by: Vec<String>,
    /// When it opened.
    pub opened_at: String,
}

impl GatesView {
    /// The open gates of a run.
    pub fn of(fold: &RunFold) -> Self {
        Self { version: VERSION, run_id: run_id(fold.state()), gates: GateView::open(fold) }
    }
}

impl GateView {
    /// The gates of a run that are open, in the order in which they came to be.
    pub fn open(fold: &RunFold) -> Vec<Self> {
        fold.state().live().filter_map(|instance| Self::at(fold, fold.state().at_path(&instance.path)?)).collect()
    }

    /// The open gate at an instance.
    fn at(fold: &RunFold, ix: Ix) -> Option<Self> {
        let instance = fold.state().instance(ix);
        let Stage::Gate(digest) = instance.stage else { return None };
        let Kind::Approve(gate) = &fold.node(instance).kind else { return None };
        let detail = fold.detail(ix);
        let (request, _) = shown(fold, detail.request.as_ref().map(|(_, prepared)| &prepared.request));
        let request = request.unwrap_or_else(|| Arc::new(Value::Null));
        let prompt = request.get("prompt").as_str().unwrap_or(&gate.prompt.source).to_owned();
        let shows = request.get("shows");
        Some(Self {
            path: instance.path.to_string(),
            prompt,
            shows: (*shows != Value::Null).then(|| shows.clone()),
            form: gate.form.clone(),
            digest: digest.to_string(),
            by: gate.by.clone(),
            opened_at: detail.gate.map(|(_, at)| rfc3339(at)).unwrap_or_default(),
        })
    }
}
