//! Lists of runs, from their heads.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use wf_kernel::{Head, Verified};

use crate::VERSION;
use crate::schema;
use crate::text::rfc3339;

/// Runs as `ps --json` prints them, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunList {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The runs.
    pub runs: Vec<RunListItem>,
}

/// A run in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunListItem {
    /// The run.
    pub run_id: String,
    /// The name of its workflow.
    pub workflow: String,
    /// Where it stands.
    #[schemars(schema_with = "schema::run_status")]
    pub status: &'static str,
    /// Leaves that ended well.
    pub done: u64,
    /// Leaves that exist or are certain to come.
    pub total: u64,
    /// The leaf that has run longest.
    pub longest: Option<LongestView>,
    /// Millionths of a US dollar; null where nobody knows.
    pub cost_usd_micros: Option<u64>,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// From its beginning to its end, or until now.
    pub duration_ms: u64,
    /// What the engine's own tests say, once it has ended.
    #[schemars(schema_with = "schema::verified")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<&'static str>,
    /// Leaves that ended badly.
    pub failed: u64,
    /// Leaves that never began.
    pub skipped: u64,
    /// The gate that waits for a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// For people and filters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What is wrong with it: no process drives it, its head is not readable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The leaf that has run longest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LongestView {
    /// Its path.
    pub instance: String,
    /// For how long.
    pub elapsed_ms: u64,
}

impl RunList {
    /// A list of runs in the order given.
    pub fn new(runs: Vec<RunListItem>) -> Self {
        Self { version: VERSION, runs }
    }
}

impl RunListItem {
    /// A run in a list, from its row: its id, its workflow's name, its labels and its head.
    pub fn of(run_id: &str, workflow: &str, labels: BTreeMap<String, String>, head: &Head, now_ms: i64) -> Self {
        let since = |at: i64, until: i64| u64::try_from(until.saturating_sub(at)).unwrap_or(0);
        let longest = head.longest.as_ref().filter(|_| !head.status.is_ended());
        Self {
            run_id: run_id.to_owned(),
            workflow: workflow.to_owned(),
            status: head.status.as_str(),
            done: head.leaves.done,
            total: head.leaves.total,
            longest: longest.map(|(instance, started_at)| LongestView {
                instance: instance.clone(),
                elapsed_ms: since(*started_at, now_ms),
            }),
            cost_usd_micros: head.used.cost_usd_micros,
            started_at: rfc3339(head.started_at),
            ended_at: head.ended_at.map(rfc3339),
            duration_ms: since(head.started_at, head.ended_at.unwrap_or(now_ms)),
            verified: head.verified.map(Verified::as_str),
            failed: head.leaves.failed,
            skipped: head.leaves.skipped,
            gate: head.gate.clone(),
            labels,
            note: None,
        }
    }
}
