//! What decisions do to the board of tasks.

use wf_ir::Status;
use wf_kernel::{Decision, RunState};
use wf_store::{NewTask, TaskChange, TaskStatus};

/// The change that a decision makes to the task rows, if it makes one. `state` is that after the decision.
pub(crate) fn change_of(decision: &Decision, state: &RunState, owner: &str, at_ms: i64) -> Option<TaskChange> {
    match decision {
        Decision::Started { path, attempt, generation, .. } => {
            let kind = kind_of(state, path)?;
            Some(TaskChange::Insert(NewTask {
                instance: path.to_string(),
                attempt: *attempt,
                generation: *generation,
                kind: kind.to_owned(),
                // An effect in this process counts as claimed when it is ordered.
                status: TaskStatus::Claimed,
                worker: Some(owner.to_owned()),
                priority: 0,
                needs: "[]".to_owned(),
                waits_for: None,
                request: None,
                at_ms,
            }))
        }
        Decision::Ended { path, status, .. } => {
            let instance = state.instance(state.at_path(path)?);
            instance.memo_key?;
            let status = if *status == Status::Succeeded { TaskStatus::Done } else { TaskStatus::Failed };
            Some(TaskChange::finish(path.to_string(), instance.attempt, status, at_ms))
        }
        Decision::RetryScheduled { path, attempt, .. } => {
            let instance = state.instance(state.at_path(path)?);
            instance.memo_key?;
            Some(TaskChange::finish(path.to_string(), attempt - 1, TaskStatus::Failed, at_ms))
        }
        Decision::Rewound { path, .. } => moved(state, path, TaskStatus::Pending, at_ms),
        Decision::InDoubt { path, .. } => moved(state, path, TaskStatus::Blocked, at_ms),
        _ => None,
    }
}

fn moved(state: &RunState, path: &str, status: TaskStatus, at_ms: i64) -> Option<TaskChange> {
    let instance = state.instance(state.at_path(path)?);
    Some(TaskChange::Set { instance: path.to_owned(), attempt: instance.attempt, status, waits_for: None, at_ms })
}

fn kind_of(state: &RunState, path: &str) -> Option<&'static str> {
    let instance = state.instance(state.at_path(path)?);
    Some(state.workflow().node(instance.node).kind.name())
}
