//! Which models did the roles of a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use wf_ir::Value;

use super::{MODELS_MAX, leaves};
use crate::fold::RunFold;
use crate::plan::role_of;
use crate::run::{PassedOverView, passed_over};
use crate::schema;

/// The provider whose answers are made up.
const MOCK: &str = "mock";

/// A model that did a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ModelView {
    /// The role.
    pub role: String,
    /// `provider/model`.
    pub model: String,
    /// For how many leaf instances it was chosen last.
    pub leaves: u64,
    /// What it costs, in micro-dollars per million tokens.
    #[schemars(schema_with = "schema::any")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Arc<Value>>,
    /// Models that came before it in the role's list, and why each was not asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOverView>,
}

pub(super) fn models(fold: &RunFold) -> Vec<ModelView> {
    let mut found: BTreeMap<(String, String), ModelView> = BTreeMap::new();
    for (ix, instance) in leaves(fold) {
        let detail = fold.detail(ix);
        let (Some(role), Some(resolved)) = (role_of(fold.node(instance)), &detail.role) else { continue };
        let word = |name: &str| resolved.get(name).as_str().unwrap_or_default();
        let model = format!("{}/{}", word("provider"), word("model"));
        let view = found.entry((role.to_owned(), model.clone())).or_insert_with(|| ModelView {
            role: role.to_owned(),
            model,
            leaves: 0,
            price: None,
            passed_over: Vec::new(),
        });
        view.leaves += 1;
        let Some((_, prepared)) = &detail.request else { continue };
        view.price = view.price.take().or_else(|| prepared.price.clone());
        for over in passed_over(prepared) {
            // The same reason for a hundred leaves is one reason; the first of each model is told.
            if view.passed_over.iter().all(|known| known.model != over.model) {
                view.passed_over.push(over);
            }
        }
    }
    let mut found: Vec<ModelView> = found.into_values().collect();
    if found.iter().all(|view| view.passed_over.is_empty() && view.model.starts_with(MOCK)) {
        return Vec::new();
    }
    found.truncate(MODELS_MAX);
    found
}
