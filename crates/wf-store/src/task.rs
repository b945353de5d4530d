//! Tasks: leaf attempts as the fleet sees them.
//!
//! The rows are an outbox: they appear and end in the transaction of the append that ordered or ended them, see
//! [`crate::Batch::tasks`]. Between the two, workers of any process claim, keep and report them, see [`crate::fleet`];
//! that touches the rows and the inbox, and never the log.

use crate::fleet::{Beat, Claim, ClaimError, Claimed, CompleteError, Completion, Heartbeat, TaskError, WorkerRow};
use crate::log::at_most;
use crate::{BoxFuture, Epoch, ReadError, RunId};

/// The longest path of an instance.
pub const INSTANCE_BYTES_MAX: usize = 4 << 10;
/// The longest of a task's other texts.
pub const TASK_TEXT_BYTES_MAX: usize = 16 << 10;
/// The longest request; larger values belong in a blob that it names.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
/// The longest text of a signal.
pub const SIGNAL_BYTES_MAX: usize = 64 << 10;
/// The most signals that one task may be sent.
pub const SIGNALS_MAX: u64 = 1_000;
/// The longest capability.
pub const CAPABILITY_BYTES_MAX: usize = 128;

/// The task rows, and the workers that perform them.
pub trait Tasks: Send + Sync {
    /// The tasks of `run`, in the order of instance and attempt, without their requests.
    fn tasks<'a>(&'a self, run: &'a RunId, filter: TaskFilter) -> BoxFuture<'a, Result<Vec<TaskRow>, ReadError>>;

    /// The tasks of all runs, those of the newest run first, then in the order of instance and attempt, without their
    /// requests.
    fn board(&self, filter: BoardFilter) -> BoxFuture<'_, Result<Vec<TaskRow>, ReadError>>;

    /// Gives pending tasks to a worker, the most urgent first: by priority, then by age. Each of them is given to one
    /// worker only, and each time under a higher epoch.
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Vec<Claimed>, ClaimError>>;

    /// Shows that a worker is alive and prolongs the leases of the tasks that it still holds. Answers in the order of
    /// [`Heartbeat::held`].
    fn heartbeat(&self, heartbeat: Heartbeat) -> BoxFuture<'_, Result<Vec<Beat>, TaskError>>;

    /// What `worker` would hear with a heartbeat about the tasks that it holds. Nothing is written.
    fn hear<'a>(&'a self, worker: &'a str, held: Vec<TaskRef>) -> BoxFuture<'a, Result<Vec<Beat>, ReadError>>;

    /// Posts what came of a task to its run's inbox and gives the message's id, if the worker still holds the task and
    /// has not reported it before. The row stays claimed until the run's owner has taken the message in.
    fn complete(&self, completion: Completion) -> BoxFuture<'_, Result<u64, CompleteError>>;

    /// Gives tasks back that `worker` holds and has not begun, and says how many of them it still held. They are
    /// pending again, under a higher epoch.
    fn abandon<'a>(&'a self, worker: &'a str, tasks: Vec<TaskRef>) -> BoxFuture<'a, Result<usize, TaskError>>;

    /// The workers that have shown themselves, in the order of their names.
    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>, ReadError>>;

    /// Strikes a worker off the list. What it holds it keeps, until its leases end.
    fn forget_worker<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<(), TaskError>>;
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskStatus {
    /// It may be claimed.
    Pending,
    /// Someone performs it.
    Claimed,
    /// It ended well.
    Done,
    /// It waits for something.
    Blocked,
    /// It ended badly.
    Failed,
}

impl TaskStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Claimed, Self::Done, Self::Blocked, Self::Failed];

    /// The word that is stored and shown.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::Done => "done",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
        }
    }

    /// The status that `word` stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }

    /// Whether nothing more comes of the task.
    pub const fn is_over(self) -> bool {
        match self {
            Self::Done | Self::Failed => true,
            Self::Pending | Self::Claimed | Self::Blocked => false,
        }
    }
}

/// A task that is ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// The path of the leaf's instance.
    pub instance: String,
    /// Which of its attempts.
    pub attempt: u32,
    /// The generation of its effect.
    pub generation: u32,
    /// The kind of its node.
    pub kind: String,
    /// Where it begins.
    pub status: TaskStatus,
    /// Who performs it, if that is settled already.
    pub worker: Option<String>,
    /// Higher goes first.
    pub priority: i64,
    /// The capabilities that it needs, as the JSON text of an array of texts.
    pub needs: String,
    /// What it waits for, as JSON text, if it is blocked.
    pub waits_for: Option<String>,
    /// The effect, as JSON text, if another process than the owner's may perform it. Without it, it is given only to a
    /// claim that names it, see [`Claim::only`]. It goes when the task is over.
    pub request: Option<String>,
    /// When it was ordered.
    pub at_ms: i64,
}

/// What an append does to the task rows of its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskChange {
    /// Puts a task on the board. A repeat of the same attempt replaces its row and its signals, under a higher epoch.
    Insert(NewTask),
    /// Moves a task that is on the board. Unless it stays claimed or is over, nobody holds it any more.
    Set {
        /// The path of the leaf's instance.
        instance: String,
        /// Which of its attempts.
        attempt: u32,
        /// Where it stands now.
        status: TaskStatus,
        /// What it waits for, as JSON text, if it is blocked.
        waits_for: Option<String>,
        /// When it moved.
        at_ms: i64,
    },
    /// Tells whoever performs a task something; they hear it with their next heartbeat. A task that is over hears
    /// nothing any more.
    Signal {
        /// The path of the leaf's instance.
        instance: String,
        /// Which of its attempts.
        attempt: u32,
        /// What they are told.
        signal: TaskSignal,
    },
}

/// What a worker is told about a task that it performs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskSignal {
    /// End it.
    Cancel,
    /// Something for the task itself, as text.
    Text(String),
}

impl TaskChange {
    /// The end of an attempt.
    pub fn finish(instance: impl Into<String>, attempt: u32, status: TaskStatus, at_ms: i64) -> Self {
        Self::Set { instance: instance.into(), attempt, status, waits_for: None, at_ms }
    }
}

/// A task on the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// Its run.
    pub run: RunId,
    /// What was ordered; status, worker and what it waits for are as they are now, and the request is left out.
    pub task: NewTask,
    /// The number that fences whoever held it before: every claim raises it.
    pub epoch: Epoch,
    /// Until when its worker has it.
    pub lease_until_ms: Option<i64>,
    /// When its worker was last heard of.
    pub heartbeat_ms: Option<i64>,
    /// Whether its worker has reported what came of it, and only the run's owner has not taken that in yet.
    pub reported: bool,
    /// When the row last changed.
    pub updated_ms: i64,
}

impl TaskRow {
    /// The task under its epoch.
    pub fn task_ref(&self) -> TaskRef {
        let (instance, attempt) = (self.task.instance.clone(), self.task.attempt);
        TaskRef { run: self.run.clone(), instance, attempt, epoch: self.epoch }
    }

    /// Where a board goes on after it.
    pub fn cursor(&self) -> BoardCursor {
        BoardCursor { run: self.run.clone(), instance: self.task.instance.clone(), attempt: self.task.attempt }
    }
}

/// A task as somebody holds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskRef {
    /// Its run.
    pub run: RunId,
    /// The path of its instance.
    pub instance: String,
    /// Which of its attempts.
    pub attempt: u32,
    /// The epoch under which it is held.
    pub epoch: Epoch,
}

/// Which tasks of a run to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFilter {
    /// Only those that stand there.
    pub status: Option<TaskStatus>,
    /// Only those after this instance and attempt.
    pub after: Option<(String, u32)>,
    /// At most this many.
    pub limit: usize,
}

/// Which tasks of all runs to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardFilter {
    /// Only those of this run.
    pub run: Option<RunId>,
    /// Only those that stand in one of these places; none means all places.
    pub statuses: Vec<TaskStatus>,
    /// Only those after this one.
    pub after: Option<BoardCursor>,
    /// At most this many.
    pub limit: usize,
}

/// A place on the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardCursor {
    /// The run.
    pub run: RunId,
    /// The path of the instance.
    pub instance: String,
    /// Which of its attempts.
    pub attempt: u32,
}

/// Checks the limits of a task change.
pub(crate) fn check_task(change: &TaskChange) -> Result<(), String> {
    match change {
        TaskChange::Insert(task) => {
            at_most("bytes of an instance", task.instance.len(), INSTANCE_BYTES_MAX)?;
            check_texts([Some(&task.kind), task.worker.as_ref(), Some(&task.needs), task.waits_for.as_ref()])?;
            check_needs(&task.needs)?;
            at_most("bytes of a request", task.request.as_ref().map_or(0, String::len), REQUEST_BYTES_MAX)
        }
        TaskChange::Set { instance, waits_for, .. } => {
            at_most("bytes of an instance", instance.len(), INSTANCE_BYTES_MAX)?;
            check_texts([waits_for.as_ref()])
        }
        TaskChange::Signal { instance, signal, .. } => {
            at_most("bytes of an instance", instance.len(), INSTANCE_BYTES_MAX)?;
            match signal {
                TaskSignal::Cancel => Ok(()),
                TaskSignal::Text(text) => at_most("bytes of a signal", text.len(), SIGNAL_BYTES_MAX),
            }
        }
    }
}

fn check_texts<const N: usize>(texts: [Option<&String>; N]) -> Result<(), String> {
    texts.into_iter().flatten().try_for_each(|text| at_most("bytes of a task's text", text.len(), TASK_TEXT_BYTES_MAX))
}

fn check_needs(needs: &str) -> Result<(), String> {
    let needs: Vec<String> =
        serde_json::from_str(needs).map_err(|_| "what a task needs is not an array of texts".to_owned())?;
    needs.iter().try_for_each(|need| check_capability(need))
}

/// Checks the name of a capability.
pub(crate) fn check_capability(name: &str) -> Result<(), String> {
    at_most("bytes of a capability", name.len(), CAPABILITY_BYTES_MAX)?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err("a capability is empty or has control characters".to_owned());
    }
    Ok(())
}

/// The bytes that a task change brings along beside what every row has.
pub(crate) fn weight(change: &TaskChange) -> usize {
    match change {
        TaskChange::Insert(task) => task.request.as_ref().map_or(0, String::len),
        TaskChange::Signal { signal: TaskSignal::Text(text), .. } => text.len(),
        TaskChange::Set { .. } | TaskChange::Signal { signal: TaskSignal::Cancel, .. } => 0,
    }
}

/// The words for a change of a task that is not on the board.
pub(crate) fn no_such_task(instance: &str, attempt: u32) -> String {
    format!("there is no task {instance} attempt {attempt}")
}

/// The words for a task that has been told too much.
pub(crate) fn too_many_signals(instance: &str, attempt: u32) -> String {
    format!("task {instance} attempt {attempt} has {SIGNALS_MAX} signals already")
}
