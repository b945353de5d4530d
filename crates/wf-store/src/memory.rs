//! The back end in memory, for tests and simulation: the same rules as SQLite, nothing on a disk.

mod fleet;
mod trees;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use wf_ir::Digest;

use crate::blob::BLOB_BYTES_MAX;
use crate::id::is_run_id_prefix;
use crate::inbox::{INBOX_WAITING_MAX, MESSAGE_BYTES_MAX, MESSAGE_ID_MAX};
use crate::lease::{acquired, released, renewed};
use crate::log::{CANDIDATES_MAX, at_most, check_batch, check_cursor, check_new_run};
use crate::memo::MEMO_BYTES_MAX;
use crate::store::Closing;
use crate::trace::{TRACE_BYTES_MAX, TRACE_READ_BYTES_MAX, addition, framed, whole_lines};
use crate::watch::Watchers;
use crate::{
    AppendError, Appended, Batch, BlobError, Blobs, BoxFuture, Chain, CreateError, Created, Epoch, Inbox, Lease,
    LeaseError, Leases, Log, Mark, Memo, MemoError, Message, NewRun, PageLimit, PostError, ReadError, RenewError,
    ResolveError, RunFilter, RunId, RunRow, Runs, Seq, StoredRecord, TraceChunk, Traces, TreeRow, TreeSlot, Verified,
    Watch, WorkerRow,
};
use fleet::TaskRows;

/// A store in memory.
pub(crate) struct Memory {
    state: Mutex<State>,
    watchers: Watchers,
}

#[derive(Default)]
struct State {
    closed: bool,
    runs: BTreeMap<RunId, Run>,
    memo: BTreeMap<Digest, String>,
    blobs: BTreeMap<Digest, Arc<[u8]>>,
    traces: BTreeMap<(RunId, String), Vec<u8>>,
    workers: BTreeMap<String, WorkerRow>,
    trees: BTreeMap<TreeSlot, TreeRow>,
}

struct Run {
    /// Counts the runs in the order in which they were made.
    number: u64,
    row: RunRow,
    records: Vec<StoredRecord>,
    inbox: Vec<Message>,
    tasks: TaskRows,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), watchers: Watchers::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is made in one go after its checks, so a panic elsewhere leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, run: &RunId, mark: Mark) {
        self.watchers.announce(run, mark);
        self.watchers.announce_change();
    }

    fn create(&self, new: NewRun) -> Result<Created, CreateError> {
        check_new_run(&new).map_err(|detail| CreateError::Refused { detail })?;
        let mut state = self.lock();
        state.open().map_err(CreateError::Unavailable)?;
        if state.runs.contains_key(&new.run) {
            return Err(CreateError::Exists { run: new.run });
        }
        let lease = match new.owner {
            Some(first) => Lease { epoch: Epoch(1), owner: Some(first.owner), until_ms: first.until_ms },
            None => Lease::default(),
        };
        let chain = Chain::start(&new.run);
        let mut run = Run {
            row: RunRow {
                run: new.run.clone(),
                workflow_name: new.workflow_name,
                workflow_hash: new.workflow_hash,
                labels: new.labels,
                created_ms: new.created_ms,
                seq: chain.seq,
                hash: chain.hash,
                inbox_cursor: 0,
                head: new.batch.head.clone(),
                lease,
            },
            records: Vec::new(),
            inbox: Vec::new(),
            tasks: TaskRows::new(),
            number: state.runs.len() as u64,
        };
        let tasks = run.changed_tasks(&new.batch).map_err(|detail| CreateError::Refused { detail })?;
        let appended = run.write(new.batch, tasks);
        let epoch = run.row.lease.epoch;
        state.runs.insert(new.run.clone(), run);
        drop(state);
        self.announce(&new.run, Mark { seq: appended.seq, message: 0 });
        Ok(Created { appended, epoch })
    }

    fn append_now(&self, run: &RunId, after: Seq, epoch: Epoch, batch: Batch) -> Result<Appended, AppendError> {
        check_batch(after, &batch).map_err(|detail| AppendError::Refused { detail })?;
        let mut state = self.lock();
        state.open().map_err(AppendError::Unavailable)?;
        let found = state.runs.get_mut(run).ok_or_else(|| AppendError::Missing { run: run.clone() })?;
        if found.row.lease.epoch != epoch {
            return Err(AppendError::Fenced { held: epoch, current: found.row.lease.epoch });
        }
        if found.row.seq != after {
            return Err(AppendError::Conflict { expected: after, actual: found.row.seq });
        }
        if let Some(taken) = batch.inbox_taken {
            check_cursor(taken, found.row.inbox_cursor, found.last_message())
                .map_err(|detail| AppendError::Refused { detail })?;
        }
        let tasks = found.changed_tasks(&batch).map_err(|detail| AppendError::Refused { detail })?;
        let appended = found.write(batch, tasks);
        drop(state);
        self.announce(run, Mark { seq: appended.seq, message: 0 });
        Ok(appended)
    }

    fn post_now(&self, run: &RunId, message: String, at_ms: i64) -> Result<u64, PostError> {
        at_most("bytes of a message", message.len(), MESSAGE_BYTES_MAX)
            .map_err(|detail| PostError::Refused { detail })?;
        let mut state = self.lock();
        state.open().map_err(PostError::Unavailable)?;
        let found = state.runs.get_mut(run).ok_or_else(|| PostError::Missing { run: run.clone() })?;
        let id = found.post(message, at_ms).ok_or(PostError::Full)?;
        drop(state);
        self.announce(run, Mark { seq: Seq::START, message: id });
        Ok(id)
    }

    fn with_run<T>(&self, run: &RunId, view: impl FnOnce(&Run) -> T) -> Result<T, ReadError> {
        let state = self.lock();
        state.runs.get(run).map(view).ok_or_else(|| ReadError::Missing { run: run.clone() })
    }

    fn trace_now(&self, run: &RunId, instance: &str, line: String) {
        let bytes = framed(line);
        let mut state = self.lock();
        let trace = state.traces.entry((run.clone(), instance.to_owned())).or_default();
        let added = addition(trace.len() as u64, bytes, TRACE_BYTES_MAX);
        trace.extend(added);
    }
}

impl State {
    fn open(&self) -> Result<(), crate::BoxError> {
        if self.closed { Err("the store is closed".into()) } else { Ok(()) }
    }
}

impl Run {
    fn last_message(&self) -> u64 {
        self.inbox.len() as u64
    }

    /// Puts a message into the inbox, if it is not full, and gives its id.
    fn post(&mut self, message: String, at_ms: i64) -> Option<u64> {
        let id = self.last_message() + 1;
        if id > MESSAGE_ID_MAX || id - self.row.inbox_cursor > INBOX_WAITING_MAX {
            return None;
        }
        self.inbox.push(Message { id, at_ms, message });
        Some(id)
    }

    fn write(&mut self, batch: Batch, tasks: TaskRows) -> Appended {
        let mut chain = Chain { seq: self.row.seq, hash: self.row.hash };
        for record in batch.records {
            let hash = chain.extend(&record);
            self.records.push(StoredRecord {
                seq: chain.seq,
                kind: record.kind,
                at_ms: record.at_ms,
                payload: record.payload,
                hash,
            });
        }
        self.tasks.extend(tasks);
        self.row.seq = chain.seq;
        self.row.hash = chain.hash;
        self.row.head = batch.head;
        self.row.inbox_cursor = batch.inbox_taken.unwrap_or(self.row.inbox_cursor);
        Appended { seq: chain.seq, hash: chain.hash }
    }

    fn page(&self, after: Seq, limit: PageLimit) -> Vec<StoredRecord> {
        let mut bytes = 0usize;
        let skip = usize::try_from(after.0).unwrap_or(usize::MAX);
        self.records
            .iter()
            .skip(skip)
            .take(limit.records_max.max(1))
            .take_while(|record| {
                let first = bytes == 0;
                // A record counts for a byte more than its payload, so that the first one is recognised.
                bytes = bytes.saturating_add(record.payload.len()).saturating_add(1);
                first || bytes <= limit.bytes_max
            })
            .cloned()
            .collect()
    }
}

impl Log for Memory {
    fn create_run(&self, new: NewRun) -> BoxFuture<'_, Result<Created, CreateError>> {
        Box::pin(async move { self.create(new) })
    }

    fn append<'a>(
        &'a self,
        run: &'a RunId,
        after: Seq,
        epoch: Epoch,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(async move { self.append_now(run, after, epoch, batch) })
    }

    fn read<'a>(
        &'a self,
        run: &'a RunId,
        after: Seq,
        limit: PageLimit,
    ) -> BoxFuture<'a, Result<Vec<StoredRecord>, ReadError>> {
        Box::pin(async move { self.with_run(run, |found| found.page(after, limit)) })
    }

    fn verify<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Verified, ReadError>> {
        Box::pin(async move {
            self.with_run(run, |found| {
                let mut chain = Chain::start(run);
                let corrupt = |seq, detail| ReadError::Corrupt { run: run.clone(), seq, detail };
                for record in &found.records {
                    chain.accept(record).map_err(|detail| corrupt(chain.seq.next(), detail))?;
                }
                chain.finish(found.row.seq, &found.row.hash).map_err(|(seq, detail)| corrupt(seq, detail))?;
                Ok(Verified { records: chain.seq.0, log_digest: chain.hash })
            })?
        })
    }
}

impl Runs for Memory {
    fn head<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<RunRow, ReadError>> {
        Box::pin(async move { self.with_run(run, |found| found.row.clone()) })
    }

    fn runs(&self, filter: RunFilter) -> BoxFuture<'_, Result<Vec<RunRow>, ReadError>> {
        Box::pin(async move {
            let prefix = filter.prefix.as_deref().unwrap_or("");
            let state = self.lock();
            let mut rows: Vec<&RunRow> = state
                .runs
                .values()
                .map(|found| &found.row)
                .filter(|row| row.run.as_str().starts_with(prefix))
                .filter(|row| filter.ended.is_none_or(|ended| row.head.ended == ended))
                .collect();
            rows.sort_by(|a, b| (b.created_ms, &b.run).cmp(&(a.created_ms, &a.run)));
            Ok(rows.into_iter().take(filter.limit).cloned().collect())
        })
    }

    fn resolve<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<RunId, ResolveError>> {
        Box::pin(async move {
            let state = self.lock();
            let found = if is_run_id_prefix(prefix) {
                state.runs.keys().filter(|run| run.as_str().starts_with(prefix)).take(CANDIDATES_MAX).cloned().collect()
            } else {
                Vec::new()
            };
            crate::log::resolved(prefix, found)
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<String>, ReadError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl Inbox for Memory {
    fn post<'a>(&'a self, run: &'a RunId, message: String, at_ms: i64) -> BoxFuture<'a, Result<u64, PostError>> {
        Box::pin(async move { self.post_now(run, message, at_ms) })
    }

    fn inbox<'a>(
        &'a self,
        run: &'a RunId,
        after_id: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Message>, ReadError>> {
        Box::pin(async move {
            let skip = usize::try_from(after_id).unwrap_or(usize::MAX);
            self.with_run(run, |found| found.inbox.iter().skip(skip).take(limit).cloned().collect())
        })
    }
}

impl Leases for Memory {
    fn acquire_lease<'a>(
        &'a self,
        run: &'a RunId,
        owner: &'a str,
        now_ms: i64,
        ttl_ms: i64,
    ) -> BoxFuture<'a, Result<Epoch, LeaseError>> {
        Box::pin(async move {
            let mut state = self.lock();
            state.open().map_err(LeaseError::Unavailable)?;
            let found = state.runs.get_mut(run).ok_or_else(|| LeaseError::Missing { run: run.clone() })?;
            found.row.lease = acquired(&found.row.lease, owner, now_ms, ttl_ms)?;
            Ok(found.row.lease.epoch)
        })
    }

    fn renew_lease<'a>(
        &'a self,
        run: &'a RunId,
        epoch: Epoch,
        now_ms: i64,
        ttl_ms: i64,
    ) -> BoxFuture<'a, Result<(), RenewError>> {
        Box::pin(async move {
            let mut state = self.lock();
            state.open().map_err(RenewError::Unavailable)?;
            let found = state.runs.get_mut(run).ok_or_else(|| RenewError::Missing { run: run.clone() })?;
            found.row.lease = renewed(&found.row.lease, epoch, now_ms, ttl_ms)?;
            Ok(())
        })
    }

    fn release_lease<'a>(&'a self, run: &'a RunId, epoch: Epoch) -> BoxFuture<'a, Result<(), RenewError>> {
        Box::pin(async move {
            let mut state = self.lock();
            state.open().map_err(RenewError::Unavailable)?;
            let found = state.runs.get_mut(run).ok_or_else(|| RenewError::Missing { run: run.clone() })?;
            found.row.lease = released(&found.row.lease, epoch)?;
            Ok(())
        })
    }

    fn lease<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Lease, ReadError>> {
        Box::pin(async move { self.with_run(run, |found| found.row.lease.clone()) })
    }
}

impl Memo for Memory {
    fn memo_put<'a>(&'a self, key: &'a Digest, row: String, _at_ms: i64) -> BoxFuture<'a, Result<(), MemoError>> {
        Box::pin(async move {
            at_most("bytes of a memo row", row.len(), MEMO_BYTES_MAX)
                .map_err(|detail| MemoError::Refused { detail })?;
            let mut state = self.lock();
            state.open().map_err(MemoError::Unavailable)?;
            state.memo.insert(*key, row);
            Ok(())
        })
    }

    fn memo_get<'a>(&'a self, key: &'a Digest) -> BoxFuture<'a, Result<Option<String>, ReadError>> {
        Box::pin(async move { Ok(self.lock().memo.get(key).cloned()) })
    }
}

impl Blobs for Memory {
    fn put(&self, bytes: Arc<[u8]>) -> BoxFuture<'_, Result<Digest, BlobError>> {
        Box::pin(async move {
            if bytes.len() as u64 > BLOB_BYTES_MAX {
                return Err(BlobError::TooLarge { bytes: bytes.len() as u64, bytes_max: BLOB_BYTES_MAX });
            }
            let digest = Digest::of(&bytes);
            self.lock().blobs.insert(digest, bytes);
            Ok(digest)
        })
    }

    fn get<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Vec<u8>, BlobError>> {
        Box::pin(async move {
            let found = self.lock().blobs.get(digest).map(|bytes| bytes.to_vec());
            found.ok_or(BlobError::Missing { digest: *digest })
        })
    }

    fn exists<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<bool, BlobError>> {
        Box::pin(async move { Ok(self.lock().blobs.contains_key(digest)) })
    }
}

impl Traces for Memory {
    fn append(&self, run: &RunId, instance: &str, line: String) {
        self.trace_now(run, instance, line);
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn read<'a>(
        &'a self,
        run: &'a RunId,
        instance: &'a str,
        offset: u64,
    ) -> BoxFuture<'a, Result<TraceChunk, ReadError>> {
        Box::pin(async move {
            let state = self.lock();
            let trace = state.traces.get(&(run.clone(), instance.to_owned())).map_or(&[][..], Vec::as_slice);
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(trace.len());
            let end = trace.len().min(start + TRACE_READ_BYTES_MAX);
            Ok(whole_lines(&trace[start..end], offset))
        })
    }
}

impl Watch for Memory {
    fn run(&self, run: &RunId) -> watch::Receiver<Mark> {
        let receiver = self.watchers.subscribe(run);
        let known = self.with_run(run, |found| Mark { seq: found.row.seq, message: found.last_message() });
        if let Ok(mark) = known {
            self.watchers.announce(run, mark);
        }
        receiver
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.watchers.subscribe_changes()
    }
}

impl Closing for Memory {
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.lock().closed = true })
    }
}
