//! The log of a run and its head: the traits [`Log`] and [`Runs`], and what goes in and out of them.
//!
//! [`Log::append`] is the only way to write a log. Records, head, inbox cursor and task rows of one [`Batch`] become
//! durable together or not at all.

use wf_ir::Digest;

use crate::id::RUN_ID_LEN_MAX;
use crate::lease::OWNER_BYTES_MAX;
use crate::task::{check_task, weight};
use crate::{BoxError, BoxFuture, Epoch, Lease, NewRecord, ReadError, RunId, Seq, StoredRecord, TaskChange};

/// The most records that one batch may carry.
pub const BATCH_RECORDS_MAX: usize = 100_000;
/// The most task changes that one batch may carry.
pub const BATCH_TASKS_MAX: usize = 100_000;
/// The most bytes that the payloads, requests and signals of one batch may have together.
pub const BATCH_BYTES_MAX: usize = 256 << 20;
/// The longest payload of one record; larger values belong in a blob.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// The longest head.
pub const HEAD_BYTES_MAX: usize = 1 << 20;
/// The longest status in a head.
pub const STATUS_BYTES_MAX: usize = 64;
/// The longest workflow name.
pub const NAME_BYTES_MAX: usize = 256;
/// The longest labels.
pub const LABELS_BYTES_MAX: usize = 64 << 10;
/// The most candidates that an ambiguous prefix names.
pub const CANDIDATES_MAX: usize = 10;

/// The logs: append, read, verify.
pub trait Log: Send + Sync {
    /// Makes a run, with its first records, and with an owner if one is named.
    fn create_run(&self, new: NewRun) -> BoxFuture<'_, Result<Created, CreateError>>;

    /// Appends `batch` after the record `after`, in the name of the owner that holds `epoch`. When it answers, the
    /// whole batch is durable, or none of it is written; only after [`AppendError::Unavailable`] is it open which.
    ///
    /// Appends take effect in the order in which their futures are first polled, so one owner may have several under
    /// way.
    fn append<'a>(
        &'a self,
        run: &'a RunId,
        after: Seq,
        epoch: Epoch,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Appended, AppendError>>;

    /// The records after `after`, in order, at most `limit`; none means the end of the log. Every record was checked
    /// against the hash chain. When a record is bad, the intact ones before it come first, and the error with the call
    /// that would begin with it.
    fn read<'a>(
        &'a self,
        run: &'a RunId,
        after: Seq,
        limit: PageLimit,
    ) -> BoxFuture<'a, Result<Vec<StoredRecord>, ReadError>>;

    /// Walks the whole log and compares its end with the head; [`ReadError::Corrupt`] names the first bad record.
    fn verify<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Verified, ReadError>>;
}

/// The heads: what lists and schedulers read.
pub trait Runs: Send + Sync {
    /// The row of one run.
    fn head<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<RunRow, ReadError>>;

    /// The rows of runs, newest first.
    fn runs(&self, filter: RunFilter) -> BoxFuture<'_, Result<Vec<RunRow>, ReadError>>;

    /// The one run whose id is `prefix` or begins with it.
    fn resolve<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<RunId, ResolveError>>;

    /// Checks what lies beneath the logs (pages, indexes, references), and says in words what is wrong. The logs
    /// themselves are for [`Log::verify`].
    fn check(&self) -> BoxFuture<'_, Result<Vec<String>, ReadError>>;
}

/// What lists and schedulers see of a run; replaced by every append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// A word for lists.
    pub status: String,
    /// Whether the run is over.
    pub ended: bool,
    /// The time of the last append.
    pub updated_ms: i64,
    /// Everything else that lists show, as JSON text.
    pub json: String,
}

/// What one append writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The records, in order. None is allowed: then only the rest changes.
    pub records: Vec<NewRecord>,
    /// The new head.
    pub head: Head,
    /// Changes of task rows, in order.
    pub tasks: Vec<TaskChange>,
    /// The last inbox message that these records have taken in, if they took any.
    pub inbox_taken: Option<u64>,
}

/// A run that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Its id.
    pub run: RunId,
    /// The name of its workflow.
    pub workflow_name: String,
    /// The hash of its workflow.
    pub workflow_hash: Digest,
    /// Its labels, as JSON text.
    pub labels: String,
    /// When it was made.
    pub created_ms: i64,
    /// Who owns it from the first moment, so that nobody else can adopt it in between.
    pub owner: Option<FirstOwner>,
    /// Its first records.
    pub batch: Batch,
}

/// The owner of a new run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstOwner {
    /// Who it is.
    pub owner: String,
    /// Until when the lease lasts.
    pub until_ms: i64,
}

/// The end of a log after an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The last record.
    pub seq: Seq,
    /// Its hash.
    pub hash: Digest,
}

/// A run that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// The end of its log.
    pub appended: Appended,
    /// The epoch under which its owner appends.
    pub epoch: Epoch,
}

/// A log that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// How many records it has.
    pub records: u64,
    /// The head of its hash chain.
    pub log_digest: Digest,
}

/// How much one call of [`Log::read`] may return. The first record is returned whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// At most this many records.
    pub records_max: usize,
    /// At most this many bytes of payload.
    pub bytes_max: usize,
}

impl Default for PageLimit {
    fn default() -> Self {
        Self { records_max: 2_000, bytes_max: 4 << 20 }
    }
}

/// Which runs to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFilter {
    /// At most this many.
    pub limit: usize,
    /// Only runs whose id begins with it.
    pub prefix: Option<String>,
    /// Only runs that are over, or only those that are not.
    pub ended: Option<bool>,
}

/// The row of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its id.
    pub run: RunId,
    /// The name of its workflow.
    pub workflow_name: String,
    /// The hash of its workflow.
    pub workflow_hash: Digest,
    /// Its labels, as JSON text.
    pub labels: String,
    /// When it was made.
    pub created_ms: i64,
    /// The last record of its log.
    pub seq: Seq,
    /// The hash of that record: the `log_digest`.
    pub hash: Digest,
    /// The last inbox message that its log has taken in.
    pub inbox_cursor: u64,
    /// Its head.
    pub head: Head,
    /// Who owns it.
    pub lease: Lease,
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Someone else appended first: reload the run and step again.
    #[error("the log ends at record {actual}, not at {expected}")]
    Conflict {
        /// Where the caller took the log to end.
        expected: Seq,
        /// Where it ends.
        actual: Seq,
    },
    /// A newer owner holds the run: cancel what is in flight and let go.
    #[error("the run is at epoch {current}, not at {held}")]
    Fenced {
        /// The epoch that the caller holds.
        held: Epoch,
        /// The epoch of the run.
        current: Epoch,
    },
    /// There is no such run.
    #[error("there is no run {run}")]
    Missing {
        /// The run that was named.
        run: RunId,
    },
    /// The batch breaks a limit or contradicts the rows: a defect of the caller; the same batch never fits.
    #[error("the batch cannot be stored: {detail}")]
    Refused {
        /// What is wrong with it.
        detail: String,
    },
    /// The database did not answer: the same batch may be tried again, and a `Conflict` then means that it had been
    /// written after all.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// The stored log breaks an invariant: park this run, never retry.
    #[error("the log of run {run} is damaged at record {seq}: {detail}")]
    Corrupt {
        /// The run whose log is damaged.
        run: RunId,
        /// The first bad record.
        seq: Seq,
        /// What is wrong with it.
        detail: String,
    },
}

/// Why a run was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The id is taken: choose another.
    #[error("there is a run {run} already")]
    Exists {
        /// The id.
        run: RunId,
    },
    /// The run breaks a limit: a defect of the caller; the same run never fits.
    #[error("the run cannot be stored: {detail}")]
    Refused {
        /// What is wrong with it.
        detail: String,
    },
    /// The database did not answer: it may be tried again, and `Exists` then means that it had been made after all.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// The database is damaged. Never retry.
    #[error("the store is damaged: {detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
}

/// Why a prefix does not name a run.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No run begins with it.
    #[error("no run begins with {prefix:?}")]
    Missing {
        /// What was asked for, cut to the length of a run id.
        prefix: String,
    },
    /// Several runs begin with it: ask which.
    #[error("several runs begin with {prefix:?}")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// The first of them, at most [`CANDIDATES_MAX`], in the order of their ids.
        candidates: Vec<RunId>,
    },
    /// The look-up itself failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Checks the limits of `batch` as appended after `after`.
pub(crate) fn check_batch(after: Seq, batch: &Batch) -> Result<(), String> {
    at_most("records in a batch", batch.records.len(), BATCH_RECORDS_MAX)?;
    at_most("task changes in a batch", batch.tasks.len(), BATCH_TASKS_MAX)?;
    let mut bytes = 0usize;
    for record in &batch.records {
        at_most("bytes of a payload", record.payload.len(), PAYLOAD_BYTES_MAX)?;
        bytes = bytes.saturating_add(record.payload.len());
    }
    for change in &batch.tasks {
        bytes = bytes.saturating_add(weight(change));
    }
    at_most("bytes of a batch", bytes, BATCH_BYTES_MAX)?;
    if after.0.saturating_add(batch.records.len() as u64) > Seq::MAX.0 {
        return Err(format!("a log holds at most {} records", Seq::MAX));
    }
    at_most("bytes of a head", batch.head.json.len(), HEAD_BYTES_MAX)?;
    at_most("bytes of a status", batch.head.status.len(), STATUS_BYTES_MAX)?;
    if batch.inbox_taken.is_some_and(|taken| taken > crate::inbox::MESSAGE_ID_MAX) {
        return Err("there is no such inbox message".to_owned());
    }
    batch.tasks.iter().try_for_each(check_task)
}

/// Checks the limits of a run that is to be made.
pub(crate) fn check_new_run(new: &NewRun) -> Result<(), String> {
    at_most("bytes of a workflow name", new.workflow_name.len(), NAME_BYTES_MAX)?;
    at_most("bytes of labels", new.labels.len(), LABELS_BYTES_MAX)?;
    if let Some(first) = &new.owner {
        at_most("bytes of an owner", first.owner.len(), OWNER_BYTES_MAX)?;
    }
    if new.batch.inbox_taken.is_some_and(|taken| taken > 0) {
        return Err("a new run has no inbox messages".to_owned());
    }
    check_batch(Seq::START, &new.batch)
}

/// Checks that the inbox cursor only moves forward and only over messages that exist.
pub(crate) fn check_cursor(taken: u64, cursor: u64, last: u64) -> Result<(), String> {
    if taken < cursor {
        return Err(format!("inbox message {taken} was taken before, the cursor is at {cursor}"));
    }
    if taken > last {
        return Err(format!("inbox message {taken} does not exist, the last is {last}"));
    }
    Ok(())
}

/// What `prefix` names, when the first runs that begin with it are `found`, in the order of their ids.
pub(crate) fn resolved(prefix: &str, mut found: Vec<RunId>) -> Result<RunId, ResolveError> {
    if let Some(exact) = found.iter().position(|run| run.as_str() == prefix) {
        return Ok(found.swap_remove(exact));
    }
    if found.len() > 1 {
        return Err(ResolveError::Ambiguous { prefix: prefix.to_owned(), candidates: found });
    }
    found.pop().ok_or_else(|| ResolveError::Missing { prefix: prefix.chars().take(RUN_ID_LEN_MAX).collect() })
}

/// Checks one limit.
pub(crate) fn at_most(what: &str, found: usize, max: usize) -> Result<(), String> {
    if found > max { Err(format!("{found} {what}, at most {max} are allowed")) } else { Ok(()) }
}
