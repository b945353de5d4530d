//! The fleet as surfaces show it: tasks on the board and those that are not ordered yet, workers, and why a task waits.

use schemars::JsonSchema;
use serde::Serialize;
use wf_ir::Status;
use wf_kernel::record::WaitReason;
use wf_kernel::{Ix, Phase, Stage};

use crate::VERSION;
use crate::fold::RunFold;
use crate::run::waiting_of;
use crate::schema;
use crate::why::{WhyStep, WhyView, before};

/// The tasks of one run or of many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TasksView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The tasks, run by run, newest run first.
    pub tasks: Vec<TaskView>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

/// A leaf attempt as the fleet sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TaskView {
    /// The run.
    pub run_id: String,
    /// The leaf.
    pub path: String,
    /// Which attempt.
    pub attempt: u32,
    /// The kind of its node.
    pub kind: String,
    /// `pending`, `claimed`, `done`, `blocked` or `failed`.
    #[schemars(schema_with = "schema::task_status")]
    pub status: &'static str,
    /// Whether it is on the board; what is not has not been ordered yet.
    pub ordered: bool,
    /// What it waits for.
    pub waits_for: Option<TaskWait>,
    /// What a worker must be able to do for it.
    pub needs: Vec<String>,
    /// Who performs it.
    pub worker: Option<String>,
    /// The number that fences whoever held it before.
    pub epoch: Option<u64>,
    /// Until when its worker has it.
    pub lease_until: Option<String>,
    /// When its worker was last heard of.
    pub heartbeat: Option<String>,
    /// Whether its outcome is in the run's inbox already.
    pub reported: bool,
    /// Higher goes first.
    pub priority: i64,
    /// When it was ordered.
    pub ordered_at: Option<String>,
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TaskWait {
    /// `dependency`, `slot`, `scope`, `tree_pool`, `rate_limit`, `retry`, `budget`, `decision`, `paused` or `worker`.
    pub code: &'static str,
    /// The instance that it waits for, if it is one.
    pub on: Option<String>,
    /// In words.
    pub message: String,
}

/// The workers of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WorkersView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The workers, by name.
    pub workers: Vec<WorkerView>,
}

/// A worker, or the owner of a run, which performs tasks too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WorkerView {
    /// Its name.
    pub worker: String,
    /// `alive` or `gone`.
    pub state: &'static str,
    /// How many tasks it performs at once.
    pub slots: u32,
    /// How many it performs.
    pub busy: u32,
    /// What it can do; none is everything.
    pub can: Option<Vec<String>>,
    /// When it began.
    pub started_at: String,
    /// When it was last heard of.
    pub heartbeat: String,
}

/// Why a task is where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TaskWhyView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The task.
    pub task: TaskView,
    /// From it to where that began: each step is the cause of the one before.
    pub because: Vec<WhyStep>,
}

/// What a worker did until it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WorkerReportView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// Its name.
    pub worker: String,
    /// Tasks that it claimed.
    pub claimed: u64,
    /// Outcomes that it reported and that were taken.
    pub reported: u64,
    /// Outcomes that were refused, because the claim had been lost.
    pub refused: u64,
    /// Tasks that each slot performed.
    pub by_slot: Vec<u64>,
    /// How long half of its claims took at most, in microseconds.
    pub claim_us_p50: u64,
    /// The same for 99 of 100.
    pub claim_us_p99: u64,
    /// The longest.
    pub claim_us_max: u64,
}

impl TasksView {
    /// The view of these tasks.
    pub fn new(tasks: Vec<TaskView>, more: bool) -> Self {
        Self { version: VERSION, tasks, more }
    }
}

impl WorkersView {
    /// The view of these workers.
    pub fn new(workers: Vec<WorkerView>) -> Self {
        Self { version: VERSION, workers }
    }
}

impl TaskWhyView {
    /// Why a task is where it is.
    pub fn of(fold: &RunFold, task: TaskView) -> Option<Self> {
        let mut because = WhyView::of(fold, &task.path)?.because;
        // The log says that it was ordered, and only the board that nobody has it.
        if task.ordered
            && task.status == "pending"
            && let Some(first) = because.first_mut()
        {
            first.message = format!("{} is ordered, and no worker has it", first.path);
        }
        Some(Self { version: VERSION, task, because })
    }
}

impl TaskView {
    /// A leaf as a task, without what only the board knows.
    pub fn of(fold: &RunFold, ix: Ix) -> Self {
        let state = fold.state();
        let instance = state.instance(ix);
        let node = fold.node(instance);
        let wait = task_wait(fold, ix);
        let status = match instance.status {
            Status::Succeeded | Status::Skipped => "done",
            Status::Failed | Status::Cancelled | Status::TimedOut | Status::BudgetExceeded => "failed",
            _ if instance.flight == Some(Phase::Perform) => "claimed",
            _ if wait.is_some() => "blocked",
            _ => "pending",
        };
        Self {
            run_id: state.started().map(|started| started.run_id.clone()).unwrap_or_default(),
            path: instance.path.to_string(),
            attempt: instance.attempt,
            kind: node.kind.name().to_owned(),
            status,
            ordered: false,
            waits_for: wait,
            needs: wf_kernel::needed_capabilities(node),
            worker: None,
            epoch: None,
            lease_until: None,
            heartbeat: None,
            reported: false,
            priority: i64::from(state.priority(ix)),
            ordered_at: None,
        }
    }
}

/// What keeps a leaf from being performed.
fn task_wait(fold: &RunFold, ix: Ix) -> Option<TaskWait> {
    let state = fold.state();
    let instance = state.instance(ix);
    if instance.status.is_terminal() || instance.flight.is_some() {
        return None;
    }
    if instance.status == Status::Pending {
        return Some(match before(fold, ix) {
            Some((need, _)) => {
                let on = state.instance(need).path.to_string();
                TaskWait { code: "dependency", message: format!("waits for {on}"), on: Some(on) }
            }
            None if state.is_held(ix) => {
                TaskWait { code: "paused", on: None, message: "somebody paused it, or what encloses it".to_owned() }
            }
            None => TaskWait {
                code: "slot",
                on: None,
                message: "waits for its turn: as many as may run at once do".to_owned(),
            },
        });
    }
    let (code, on) = match (&instance.stage, &instance.waiting) {
        (Stage::Doubt, _) | (_, Some(WaitReason::Decision | WaitReason::Signal { .. })) => ("decision", None),
        (_, Some(WaitReason::Tree { held_by })) => ("scope", Some(held_by.clone())),
        (_, Some(WaitReason::TreePool { .. })) => ("tree_pool", None),
        (_, Some(WaitReason::RateLimit { .. })) => ("rate_limit", None),
        (_, Some(WaitReason::Retry { .. } | WaitReason::Sleep { .. })) => ("retry", None),
        (_, Some(WaitReason::Budget)) => ("budget", None),
        (_, None) if state.is_held(ix) => ("paused", None),
        (_, None) => return None,
    };
    let message = waiting_of(state, ix).map_or_else(String::new, |wait| wait.message);
    Some(TaskWait { code, on, message })
}
