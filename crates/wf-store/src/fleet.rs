//! The fleet: workers of any process, and how they take, keep and report tasks.
//!
//! A worker claims pending tasks and holds each under the epoch that the claim gave it, for as long as it shows itself
//! before its lease ends. What it reports goes to the inbox of the task's run, in the transaction that checks the epoch;
//! only the run's owner makes it a record. Whoever was held to be dead and comes back is refused by the epoch.
//!
//! The rules are here, once, for every back end.

use crate::inbox::{INBOX_WAITING_MAX, MESSAGE_BYTES_MAX};
use crate::lease::OWNER_BYTES_MAX;
use crate::log::at_most;
use crate::task::check_capability;
use crate::{BoxError, Epoch, ReadError, RunId, TaskRef, TaskSignal, TaskStatus};

/// The most tasks that one claim gives; who asks for more gets as many.
pub const CLAIM_TASKS_MAX: usize = 1_000;
/// After how many bytes of requests a claim gives no further task.
pub const CLAIM_BYTES_MAX: u64 = 64 << 20;
/// The most tasks that a claim may name, and that a worker may hold or give back at once.
pub const NAMED_TASKS_MAX: usize = 10_000;
/// The most capabilities of a worker.
pub const CAPABILITIES_MAX: usize = 256;
/// After how long without a sign of life a worker is struck off the list.
pub const WORKER_KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// The most workers that are listed.
pub const WORKERS_MAX: usize = 10_000;

/// What a worker can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capabilities {
    /// Whatever is needed.
    All,
    /// What has one of these names. Tasks that need nothing are fit for everybody.
    Only(Vec<String>),
}

/// A worker's wish for tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who asks; it must name one worker alone.
    pub worker: String,
    /// What the worker can do: only tasks all of whose needs are among it are given.
    pub can: Capabilities,
    /// Only tasks of this run.
    pub run: Option<RunId>,
    /// Only these instances and attempts of the run, which must then be named. Tasks without a request are given in no
    /// other way.
    pub only: Option<Vec<(String, u32)>>,
    /// At most this many.
    pub limit: usize,
    /// The time of asking.
    pub now_ms: i64,
    /// How long the leases last.
    pub ttl_ms: i64,
}

/// A task that was given to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The task, under the epoch of this claim.
    pub task: TaskRef,
    /// The generation of its effect.
    pub generation: u32,
    /// The kind of its node.
    pub kind: String,
    /// The effect, as JSON text, if the task came with it.
    pub request: Option<String>,
}

/// A worker's sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The worker; its `heartbeat_ms` is set to `now_ms`.
    pub worker: WorkerRow,
    /// The tasks that it takes itself to hold.
    pub held: Vec<TaskRef>,
    /// The time.
    pub now_ms: i64,
    /// How long the leases last from now on.
    pub ttl_ms: i64,
}

/// What a worker hears about a task that it takes itself to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    /// It holds it, and this is what the task was told so far, in order.
    Held {
        /// Everything, from the first on.
        signals: Vec<TaskSignal>,
    },
    /// It does not hold it any more, or has reported it: what it still does for it counts for nothing.
    Lost,
}

/// What came of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The task, under the epoch at which it was claimed.
    pub task: TaskRef,
    /// Who claimed it.
    pub worker: String,
    /// The message for the inbox of its run, as JSON text.
    pub message: String,
    /// The time.
    pub at_ms: i64,
}

/// A worker on the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    /// Its name.
    pub worker: String,
    /// How many tasks it performs at once.
    pub slots: u32,
    /// How many it performs now.
    pub busy: u32,
    /// What it can do.
    pub can: Capabilities,
    /// Where it runs, for people to read.
    pub host: String,
    /// When it began.
    pub started_ms: i64,
    /// When it last showed itself.
    pub heartbeat_ms: i64,
}

/// Why no tasks were given.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// There is no such run.
    #[error("there is no run {run}")]
    Missing {
        /// The run that was named.
        run: RunId,
    },
    /// The request breaks a limit; the same request never fits.
    #[error("the claim cannot be served: {detail}")]
    Refused {
        /// What is wrong with it.
        detail: String,
    },
    /// The database did not answer: it may be tried again. Tasks that were given nevertheless come back when their
    /// leases end.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// The database is damaged. Never retry.
    #[error("the store is damaged: {detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
}

/// Why a report was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CompleteError {
    /// The worker does not hold the task any more, or has reported it before: drop what came of it.
    #[error("the task is not held at epoch {held} any more, it is at {current}")]
    Fenced {
        /// The epoch that the worker holds.
        held: Epoch,
        /// The epoch of the task; 0 if there is no such task.
        current: Epoch,
    },
    /// There is no such run.
    #[error("there is no run {run}")]
    Missing {
        /// The run that was named.
        run: RunId,
    },
    /// Nobody empties the inbox: see who owns the run, then report again.
    #[error("{INBOX_WAITING_MAX} messages wait already")]
    Full,
    /// The run is over, or the message breaks a limit; the same report never fits.
    #[error("the report cannot be taken: {detail}")]
    Refused {
        /// What is wrong with it.
        detail: String,
    },
    /// The database did not answer: it may be tried again, and `Fenced` may then mean that it had been taken after all.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// The database is damaged. Never retry.
    #[error("the store is damaged: {detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
}

/// Why a worker was not heard.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// What it says breaks a limit; the same never fits.
    #[error("the worker cannot be heard: {detail}")]
    Refused {
        /// What is wrong with it.
        detail: String,
    },
    /// The database did not answer: it may be tried again.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// The database is damaged. Never retry.
    #[error("the store is damaged: {detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
}

impl From<ReadError> for ClaimError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Missing { run } => Self::Missing { run },
            ReadError::Unavailable(error) => Self::Unavailable(error),
            ReadError::Damaged { detail } => Self::Damaged { detail },
            error @ ReadError::Corrupt { .. } => Self::Damaged { detail: error.to_string() },
        }
    }
}

impl Capabilities {
    /// The JSON text of an array of texts; nothing for all.
    pub(crate) fn to_json(&self) -> Option<String> {
        match self {
            Self::All => None,
            Self::Only(names) => Some(serde_json::Value::from(names.as_slice()).to_string()),
        }
    }

    /// What [`Self::to_json`] wrote.
    pub(crate) fn from_json(text: Option<&str>) -> Result<Self, String> {
        match text {
            None => Ok(Self::All),
            Some(text) => serde_json::from_str(text).map(Self::Only).map_err(|error| error.to_string()),
        }
    }

    /// Whether a task that needs `needs`, as JSON text, is fit for it.
    pub(crate) fn are_fit(&self, needs: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => {
                serde_json::from_str::<Vec<String>>(needs).is_ok_and(|needs| needs.iter().all(|it| names.contains(it)))
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::All => Ok(()),
            Self::Only(names) => {
                at_most("capabilities", names.len(), CAPABILITIES_MAX)?;
                names.iter().try_for_each(|name| check_capability(name))
            }
        }
    }
}

/// What of a task's row decides whether somebody holds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold<'a> {
    pub(crate) status: TaskStatus,
    pub(crate) worker: Option<&'a str>,
    pub(crate) epoch: Epoch,
    pub(crate) reported: bool,
}

impl Hold<'_> {
    /// Whether `worker` holds the task at `epoch` and has not reported it.
    pub(crate) fn is(&self, worker: &str, epoch: Epoch) -> bool {
        self.status == TaskStatus::Claimed && self.worker == Some(worker) && self.epoch == epoch && !self.reported
    }
}

/// Checks the limits of a claim.
pub(crate) fn check_claim(claim: &Claim) -> Result<(), String> {
    check_worker(&claim.worker)?;
    claim.can.check()?;
    check_ttl(claim.ttl_ms)?;
    if let Some(only) = &claim.only {
        if claim.run.is_none() {
            return Err("tasks are named within a run".to_owned());
        }
        at_most("named tasks", only.len(), NAMED_TASKS_MAX)?;
    }
    Ok(())
}

/// Checks the limits of a sign of life.
pub(crate) fn check_heartbeat(heartbeat: &Heartbeat) -> Result<(), String> {
    check_worker(&heartbeat.worker.worker)?;
    heartbeat.worker.can.check()?;
    at_most("bytes of a host", heartbeat.worker.host.len(), OWNER_BYTES_MAX)?;
    at_most("held tasks", heartbeat.held.len(), NAMED_TASKS_MAX)?;
    check_ttl(heartbeat.ttl_ms)
}

/// Checks the limits of a report.
pub(crate) fn check_completion(completion: &Completion) -> Result<(), String> {
    check_worker(&completion.worker)?;
    at_most("bytes of a message", completion.message.len(), MESSAGE_BYTES_MAX)
}

/// Checks what is given back.
pub(crate) fn check_abandoned(worker: &str, tasks: &[TaskRef]) -> Result<(), String> {
    check_worker(worker)?;
    at_most("held tasks", tasks.len(), NAMED_TASKS_MAX)
}

/// Checks the name of a worker.
pub(crate) fn check_worker(worker: &str) -> Result<(), String> {
    if worker.is_empty() || worker.len() > OWNER_BYTES_MAX {
        return Err(format!("a worker's name has 1 to {OWNER_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn check_ttl(ttl_ms: i64) -> Result<(), String> {
    if ttl_ms <= 0 { Err("a lease lasts at least a millisecond".to_owned()) } else { Ok(()) }
}

/// The words for a report to a run that is over.
pub(crate) fn run_is_over(run: &RunId) -> String {
    format!("run {run} is over")
}
