//! The back end on SQLite: one writer, some readers, one poll for what other processes commit.

mod board;
mod check;
mod fleet;
mod open;
mod ops;
mod poll;
mod reads;
mod sums;
mod tasks;
mod trees;
mod wal;
mod writer;

use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;
use tokio::sync::watch;
use wf_ir::Digest;

pub(crate) use open::Place;
pub(crate) use open::{BACKUP_PREFIX, NEW_PREFIX, schema_of};
pub use open::{SCHEMA, SQLITE_VERSION_MIN, SqliteOptions};

use crate::files::FileTraces;
use crate::fleet::{check_abandoned, check_claim, check_completion, check_heartbeat};
use crate::inbox::MESSAGE_BYTES_MAX;
use crate::log::{at_most, check_batch, check_new_run};
use crate::memo::MEMO_BYTES_MAX;
use crate::store::Closing;
use crate::tree::{check_tree_change, check_tree_claim};
use crate::watch::Watchers;
use crate::{
    AppendError, Appended, Batch, Beat, BoardFilter, BoxError, BoxFuture, Claim, ClaimError, Claimed, CompleteError,
    Completion, CreateError, Created, Epoch, Heartbeat, Inbox, Lease, LeaseError, Leases, Log, Mark, Memo, MemoError,
    Message, NewRun, OpenError, PageLimit, PostError, ReadError, RenewError, ResolveError, RunFilter, RunId, RunRow,
    Runs, Seq, StoredRecord, TaskError, TaskFilter, TaskRef, TaskRow, Tasks, TreeChange, TreeChangeError, TreeClaim,
    TreeClaimError, TreeFilter, TreeListed, TreeRow, TreeRows, TreeSlot, Verified, Watch, WorkerRow,
};
use poll::Poll;
use reads::Readers;
use writer::Writer;

/// A store in a SQLite database.
pub(crate) struct Sqlite {
    writer: Writer,
    readers: Arc<Readers>,
    watchers: Arc<Watchers>,
    poll: Poll,
}

/// What went wrong beneath an operation, before the operation words it.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It may work later.
    Unavailable(BoxError),
    /// What is stored breaks an invariant.
    Damaged(String),
}

impl Fault {
    pub(crate) fn of(error: rusqlite::Error) -> Self {
        if let rusqlite::Error::FromSqlConversionFailure(_, _, source) = &error
            && source.is::<sums::DamagedRow>()
        {
            return Self::Damaged(source.to_string());
        }
        let damaged = match &error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => true,
            _ => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                        | ErrorCode::ConstraintViolation
                        | ErrorCode::TypeMismatch
                )
            ),
        };
        if damaged { Self::Damaged(error.to_string()) } else { Self::Unavailable(error.into()) }
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(error) => Self::Unavailable(error),
            Fault::Damaged(detail) => Self::Damaged { detail },
        }
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Fault::of(error).into()
    }
}

impl Sqlite {
    pub(crate) fn open(dir: &Path, options: &SqliteOptions) -> Result<Self, OpenError> {
        let (place, conn) = Place::prepare(dir, options)?;
        let watchers = Arc::new(Watchers::new());
        let writer = Writer::start(place.clone(), conn, watchers.clone())
            .map_err(|error| OpenError::Unavailable(error.into()))?;
        let poll = Poll::new(place.clone(), &watchers);
        Ok(Self { writer, readers: Arc::new(Readers::new(place)), watchers, poll })
    }
}

impl Log for Sqlite {
    fn create_run(&self, new: NewRun) -> BoxFuture<'_, Result<Created, CreateError>> {
        Box::pin(async move {
            check_new_run(&new).map_err(|detail| CreateError::Refused { detail })?;
            self.writer.write(ops::CreateRun { new }).await
        })
    }

    fn append<'a>(
        &'a self,
        run: &'a RunId,
        after: Seq,
        epoch: Epoch,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(async move {
            check_batch(after, &batch).map_err(|detail| AppendError::Refused { detail })?;
            self.writer.write(ops::Append { run: run.clone(), after, epoch, batch }).await
        })
    }

    fn read<'a>(
        &'a self,
        run: &'a RunId,
        after: Seq,
        limit: PageLimit,
    ) -> BoxFuture<'a, Result<Vec<StoredRecord>, ReadError>> {
        let run = run.clone();
        Box::pin(self.readers.read(move |conn| reads::page(conn, &run, after, limit)))
    }

    fn verify<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Verified, ReadError>> {
        let run = run.clone();
        Box::pin(self.readers.read(move |conn| reads::verify(conn, &run)))
    }
}

impl Runs for Sqlite {
    fn head<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<RunRow, ReadError>> {
        let run = run.clone();
        Box::pin(self.readers.read(move |conn| reads::head(conn, &run)))
    }

    fn runs(&self, filter: RunFilter) -> BoxFuture<'_, Result<Vec<RunRow>, ReadError>> {
        Box::pin(self.readers.read(move |conn| reads::runs(conn, &filter)))
    }

    fn resolve<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<RunId, ResolveError>> {
        Box::pin(async move {
            let text = prefix.to_owned();
            let found = self.readers.read(move |conn| reads::with_prefix(conn, &text)).await?;
            crate::log::resolved(prefix, found)
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<String>, ReadError>> {
        Box::pin(self.readers.read(check::check))
    }
}

impl Inbox for Sqlite {
    fn post<'a>(&'a self, run: &'a RunId, message: String, at_ms: i64) -> BoxFuture<'a, Result<u64, PostError>> {
        Box::pin(async move {
            at_most("bytes of a message", message.len(), MESSAGE_BYTES_MAX)
                .map_err(|detail| PostError::Refused { detail })?;
            self.writer.write(ops::Post { run: run.clone(), message, at_ms }).await
        })
    }

    fn inbox<'a>(
        &'a self,
        run: &'a RunId,
        after_id: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Message>, ReadError>> {
        let run = run.clone();
        Box::pin(self.readers.read(move |conn| reads::inbox(conn, &run, after_id, limit)))
    }
}

impl Leases for Sqlite {
    fn acquire_lease<'a>(
        &'a self,
        run: &'a RunId,
        owner: &'a str,
        now_ms: i64,
        ttl_ms: i64,
    ) -> BoxFuture<'a, Result<Epoch, LeaseError>> {
        let op = ops::AcquireLease { run: run.clone(), owner: owner.to_owned(), now_ms, ttl_ms };
        Box::pin(self.writer.write(op))
    }

    fn renew_lease<'a>(
        &'a self,
        run: &'a RunId,
        epoch: Epoch,
        now_ms: i64,
        ttl_ms: i64,
    ) -> BoxFuture<'a, Result<(), RenewError>> {
        let change = ops::LeaseChange::Renew { now_ms, ttl_ms };
        Box::pin(self.writer.write(ops::ChangeLease { run: run.clone(), epoch, change }))
    }

    fn release_lease<'a>(&'a self, run: &'a RunId, epoch: Epoch) -> BoxFuture<'a, Result<(), RenewError>> {
        let change = ops::LeaseChange::Release;
        Box::pin(self.writer.write(ops::ChangeLease { run: run.clone(), epoch, change }))
    }

    fn lease<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Lease, ReadError>> {
        let run = run.clone();
        Box::pin(self.readers.read(move |conn| reads::lease(conn, &run)))
    }
}

impl Tasks for Sqlite {
    fn tasks<'a>(&'a self, run: &'a RunId, filter: TaskFilter) -> BoxFuture<'a, Result<Vec<TaskRow>, ReadError>> {
        let run = run.clone();
        Box::pin(self.readers.read(move |conn| board::tasks(conn, &run, &filter)))
    }

    fn board(&self, filter: BoardFilter) -> BoxFuture<'_, Result<Vec<TaskRow>, ReadError>> {
        Box::pin(self.readers.read(move |conn| board::board(conn, &filter)))
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Vec<Claimed>, ClaimError>> {
        Box::pin(async move {
            check_claim(&claim).map_err(|detail| ClaimError::Refused { detail })?;
            // Whoever names tasks knows that they are there. The others ask often and mostly in vain, and are not to
            // make everybody wait for the disk.
            if claim.only.is_none() {
                let asked = claim.clone();
                if !self.readers.read(move |conn| fleet::is_anything_open(conn, &asked)).await? {
                    return Ok(Vec::new());
                }
            }
            self.writer.write(fleet::ClaimTasks { claim }).await
        })
    }

    fn heartbeat(&self, heartbeat: Heartbeat) -> BoxFuture<'_, Result<Vec<Beat>, TaskError>> {
        Box::pin(async move {
            check_heartbeat(&heartbeat).map_err(|detail| TaskError::Refused { detail })?;
            self.writer.write(fleet::Beats { heartbeat }).await
        })
    }

    fn hear<'a>(&'a self, worker: &'a str, held: Vec<TaskRef>) -> BoxFuture<'a, Result<Vec<Beat>, ReadError>> {
        let worker = worker.to_owned();
        Box::pin(self.readers.read(move |conn| fleet::hear(conn, &worker, &held)))
    }

    fn complete(&self, completion: Completion) -> BoxFuture<'_, Result<u64, CompleteError>> {
        Box::pin(async move {
            check_completion(&completion).map_err(|detail| CompleteError::Refused { detail })?;
            self.writer.write(fleet::Complete { completion }).await
        })
    }

    fn abandon<'a>(&'a self, worker: &'a str, tasks: Vec<TaskRef>) -> BoxFuture<'a, Result<usize, TaskError>> {
        Box::pin(async move {
            check_abandoned(worker, &tasks).map_err(|detail| TaskError::Refused { detail })?;
            self.writer.write(fleet::Abandon { worker: worker.to_owned(), tasks }).await
        })
    }

    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>, ReadError>> {
        Box::pin(self.readers.read(board::workers))
    }

    fn forget_worker<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<(), TaskError>> {
        Box::pin(self.writer.write(fleet::ForgetWorker { worker: worker.to_owned() }))
    }
}

impl TreeRows for Sqlite {
    fn claim_tree(&self, claim: TreeClaim) -> BoxFuture<'_, Result<TreeRow, TreeClaimError>> {
        Box::pin(async move {
            check_tree_claim(&claim).map_err(|detail| TreeClaimError::Refused { detail })?;
            self.writer.write(trees::ClaimTree { claim }).await
        })
    }

    fn change_tree(&self, change: TreeChange) -> BoxFuture<'_, Result<TreeRow, TreeChangeError>> {
        Box::pin(async move {
            check_tree_change(&change).map_err(|detail| TreeChangeError::Refused { detail })?;
            self.writer.write(trees::ChangeTree { change }).await
        })
    }

    fn forget_tree(&self, slot: TreeSlot, epoch: Epoch) -> BoxFuture<'_, Result<(), TreeChangeError>> {
        Box::pin(self.writer.write(trees::ForgetTree { slot, epoch }))
    }

    fn trees(&self, filter: TreeFilter) -> BoxFuture<'_, Result<Vec<TreeListed>, ReadError>> {
        Box::pin(self.readers.read(move |conn| trees::trees(conn, &filter)))
    }
}

impl Memo for Sqlite {
    fn memo_put<'a>(&'a self, key: &'a Digest, row: String, at_ms: i64) -> BoxFuture<'a, Result<(), MemoError>> {
        Box::pin(async move {
            at_most("bytes of a memo row", row.len(), MEMO_BYTES_MAX)
                .map_err(|detail| MemoError::Refused { detail })?;
            self.writer.write(ops::PutMemo { key: *key, row, at_ms }).await
        })
    }

    fn memo_get<'a>(&'a self, key: &'a Digest) -> BoxFuture<'a, Result<Option<String>, ReadError>> {
        let key = *key;
        Box::pin(self.readers.read(move |conn| reads::memo(conn, &key)))
    }
}

impl Watch for Sqlite {
    fn run(&self, run: &RunId) -> watch::Receiver<Mark> {
        let receiver = self.watchers.subscribe(run);
        self.poll.ensure();
        receiver
    }

    fn changes(&self) -> watch::Receiver<u64> {
        let receiver = self.watchers.subscribe_changes();
        self.poll.ensure();
        receiver
    }
}

/// How a SQLite store comes to rest.
pub(crate) struct Ending {
    pub(crate) db: Arc<Sqlite>,
    pub(crate) traces: Arc<FileTraces>,
}

impl Closing for Ending {
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.traces.close().await;
            self.db.writer.close().await;
            self.db.readers.close();
        })
    }
}
