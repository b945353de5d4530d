//! Why an instance is as it is: from it, step by step, to where that began.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;
use wf_ir::Status;
use wf_kernel::record::{Reason, WaitReason};
use wf_kernel::{Ix, RunState};

use crate::VERSION;
use crate::fold::RunFold;
use crate::run::{run_id, waiting_of};
use crate::schema;
use crate::text::counted;
use crate::words::{reason_code, reason_text, status_phrase};

/// The longest chain of causes that is told.
const STEPS_MAX: usize = 64;

/// Why an instance is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WhyView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The run.
    pub run_id: String,
    /// The instance.
    pub path: String,
    /// Where it stands.
    #[schemars(schema_with = "schema::status")]
    pub status: &'static str,
    /// From it to where it began: each step is the cause of the one before.
    pub because: Vec<WhyStep>,
}

/// One step of a chain of causes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WhyStep {
    /// The instance.
    pub path: String,
    /// Where it stands.
    #[schemars(schema_with = "schema::status")]
    pub status: &'static str,
    /// A short stable word for why; empty when there is nothing to tell.
    pub code: String,
    /// The step as a sentence.
    pub message: String,
}

impl WhyView {
    /// Why the instance at a path is as it is.
    pub fn of(fold: &RunFold, path: &str) -> Option<Self> {
        let state = fold.state();
        let start = state.at_path(path)?;
        let mut because = Vec::new();
        let mut seen = BTreeSet::new();
        let mut next = Some(start);
        while let Some(ix) = next.filter(|ix| because.len() < STEPS_MAX && seen.insert(*ix)) {
            because.push(step(fold, ix));
            next = cause(fold, ix);
        }
        let status = state.instance(start).status.as_str();
        Some(Self { version: VERSION, run_id: run_id(state), path: path.to_owned(), status, because })
    }
}

fn step(fold: &RunFold, ix: Ix) -> WhyStep {
    let instance = fold.state().instance(ix);
    let (code, why) = match (waiting_of(fold.state(), ix), &instance.reason) {
        (Some(waiting), _) => (waiting.code, Some(waiting.message)),
        (None, Some(reason)) if instance.status.is_terminal() => {
            (reason_code(reason).to_owned(), Some(reason_text(reason)))
        }
        (None, _) if instance.status == Status::Pending => ("pending".to_owned(), pending_text(fold, ix)),
        (None, _) => (String::new(), None),
    };
    let attempts = fold.detail(ix).attempts_counted;
    let attempts = match attempts {
        0 | 1 => String::new(),
        more => format!(" after {}", counted(u64::from(more), "attempt", "attempts")),
    };
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    WhyStep {
        path: instance.path.to_string(),
        status: instance.status.as_str(),
        code,
        message: format!("{} {}{attempts}{why}", instance.path, status_phrase(instance.status)),
    }
}

/// What something that has not begun waits for.
fn pending_text(fold: &RunFold, ix: Ix) -> Option<String> {
    let (before, is_need) = before(fold, ix)?;
    let path = &fold.state().instance(before).path;
    Some(if is_need { format!("it needs {path}") } else { format!("{path} comes first") })
}

/// What must end before something can begin, and whether that is because it is read.
pub(crate) fn before(fold: &RunFold, ix: Ix) -> Option<(Ix, bool)> {
    let state = fold.state();
    let frame = state.frame(state.instance(ix).frame);
    let siblings = || frame.children().take_while(|at| *at != ix);
    let node = fold.node(state.instance(ix));
    let open = |at: &Ix| !state.instance(*at).status.is_terminal();
    let need = frame.children().find(|at| open(at) && node.needs.contains(&state.instance(*at).node));
    let ordered =
        frame.owner.is_none_or(|owner| !matches!(fold.node(state.instance(owner)).kind, wf_ir::Kind::Parallel { .. }));
    need.map(|need| (need, true)).or_else(|| siblings().find(|at| ordered && open(at)).map(|at| (at, false)))
}

/// The instance that is the cause.
fn cause(fold: &RunFold, ix: Ix) -> Option<Ix> {
    let state = fold.state();
    let instance = state.instance(ix);
    if let Some(WaitReason::Tree { held_by }) = &instance.waiting {
        return state.at_path(held_by);
    }
    if instance.status == Status::Pending {
        return before(fold, ix).map(|(before, _)| before);
    }
    match instance.reason.as_ref().filter(|_| instance.status.is_terminal())? {
        Reason::Need { path, .. } | Reason::Stopped { path } | Reason::Child { path } => state.at_path(path),
        Reason::Closed { .. } => closed(fold, state, ix),
        Reason::MinOk { .. } => {
            let frames = instance.frames.iter().map(|frame| state.frame(*frame));
            frames.filter_map(|frame| frame.failed).next()
        }
        _ => None,
    }
}

/// The node around an instance that was closed.
fn closed(fold: &RunFold, state: &RunState, ix: Ix) -> Option<Ix> {
    fold.ancestors(ix).find(|above| state.instance(*above).closing.is_some())
}
