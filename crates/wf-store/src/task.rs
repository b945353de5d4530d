//! Tasks: leaf attempts as the fleet sees them.
//!
//! The rows are an outbox: they appear and end in the transaction of the append that ordered or ended them, see
//! [`crate::Batch::tasks`].

use crate::log::at_most;
use crate::{BoxFuture, Epoch, ReadError, RunId};

/// The longest path of an instance.
pub const INSTANCE_BYTES_MAX: usize = 4 << 10;
/// The longest of a task's other texts.
pub const TASK_TEXT_BYTES_MAX: usize = 16 << 10;

/// The task rows.
pub trait Tasks: Send + Sync {
    /// The tasks of `run`, in the order of instance and attempt.
    fn tasks<'a>(&'a self, run: &'a RunId, filter: TaskFilter) -> BoxFuture<'a, Result<Vec<TaskRow>, ReadError>>;
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
}

/// A task that is ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// The path of the leaf's instance.
    pub instance: String,
    /// Which of its attempts.
    pub attempt: u32,
    /// The epoch that fences whoever performs it.
    pub epoch: Epoch,
    /// The kind of its node.
    pub kind: String,
    /// Where it begins.
    pub status: TaskStatus,
    /// Who performs it, if that is settled already.
    pub worker: Option<String>,
    /// Higher goes first.
    pub priority: i64,
    /// The capabilities that it needs, as JSON text.
    pub needs: String,
    /// What it waits for, as JSON text, if it is blocked.
    pub waits_for: Option<String>,
    /// When it was ordered.
    pub at_ms: i64,
}

/// What an append does to the task rows of its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskChange {
    /// Puts a task on the board. A repeat of the same attempt replaces its row.
    Insert(NewTask),
    /// Moves a task that is on the board.
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
    /// What was ordered; status, worker, epoch and what it waits for are as they are now.
    pub task: NewTask,
    /// Until when its worker has it.
    pub lease_until_ms: Option<i64>,
    /// When its worker was last heard of.
    pub heartbeat_ms: Option<i64>,
    /// When the row last changed.
    pub updated_ms: i64,
}

/// Which tasks to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFilter {
    /// Only those that stand there.
    pub status: Option<TaskStatus>,
    /// Only those after this instance and attempt.
    pub after: Option<(String, u32)>,
    /// At most this many.
    pub limit: usize,
}

/// Checks the limits of a task change.
pub(crate) fn check_task(change: &TaskChange) -> Result<(), String> {
    let (instance, texts) = match change {
        TaskChange::Insert(task) => {
            (&task.instance, [Some(&task.kind), task.worker.as_ref(), Some(&task.needs), task.waits_for.as_ref()])
        }
        TaskChange::Set { instance, waits_for, .. } => (instance, [waits_for.as_ref(), None, None, None]),
    };
    at_most("bytes of an instance", instance.len(), INSTANCE_BYTES_MAX)?;
    texts.into_iter().flatten().try_for_each(|text| at_most("bytes of a task's text", text.len(), TASK_TEXT_BYTES_MAX))
}

/// The words for a change of a task that is not on the board.
pub(crate) fn no_such_task(instance: &str, attempt: u32) -> String {
    format!("there is no task {instance} attempt {attempt}")
}
