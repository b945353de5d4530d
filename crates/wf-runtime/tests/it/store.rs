//! A store as one process sees it: each write waits before it takes effect, and again before it is acknowledged. Whoever
//! dies in the first wait has written nothing; in the second, everything, and nobody told them.

use std::sync::Arc;

use wf_store::{
    AppendError, Appended, Batch, Beat, BoardFilter, BoxFuture, Claim, ClaimError, Claimed, CompleteError, Completion,
    CreateError, Created, Epoch, Heartbeat, Inbox, Lease, LeaseError, Leases, Log, Message, NewRun, PageLimit,
    PostError, ReadError, RenewError, RunId, Seq, Store, StoredRecord, TaskError, TaskFilter, TaskRef, TaskRow, Tasks,
    Verified, WorkerRow,
};

use crate::process::Process;

/// How long a write waits at most on each side of its effect.
const WRITE_MS_MAX: u64 = 8;

/// The store that `inner` is, as `process` sees it.
pub(crate) fn seen_by(process: &Arc<Process>, inner: &Store) -> Store {
    let seen = Arc::new(Seen { process: process.clone(), inner: inner.clone() });
    let mut store = inner.clone();
    store.log = seen.clone();
    store.inbox = seen.clone();
    store.leases = seen.clone();
    store.tasks = seen;
    store
}

struct Seen {
    process: Arc<Process>,
    inner: Store,
}

impl Seen {
    /// Carries a write out; sometimes the store does not answer, before or after.
    async fn write<T, E>(&self, write: impl Future<Output = Result<T, E>>, unavailable: fn() -> E) -> Result<T, E> {
        self.process.take_time(WRITE_MS_MAX).await;
        let world = &self.process.world;
        let is_rough = world.is_rough();
        if is_rough && world.chance(1) {
            return Err(unavailable());
        }
        let written = write.await;
        self.process.take_time(WRITE_MS_MAX).await;
        if is_rough && world.chance(1) && written.is_ok() {
            return Err(unavailable());
        }
        written
    }

    async fn read<T>(&self, read: impl Future<Output = T>) -> T {
        self.process.go_on().await;
        read.await
    }
}

fn lost() -> Box<dyn std::error::Error + Send + Sync> {
    "the store does not answer".into()
}

impl Log for Seen {
    fn create_run(&self, new: NewRun) -> BoxFuture<'_, Result<Created, CreateError>> {
        Box::pin(self.write(self.inner.log.create_run(new), || CreateError::Unavailable(lost())))
    }

    fn append<'a>(
        &'a self,
        run: &'a RunId,
        after: Seq,
        epoch: Epoch,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Appended, AppendError>> {
        let append = async move { self.inner.log.append(run, after, epoch, batch).await };
        Box::pin(self.write(append, || AppendError::Unavailable(lost())))
    }

    fn read<'a>(
        &'a self,
        run: &'a RunId,
        after: Seq,
        limit: PageLimit,
    ) -> BoxFuture<'a, Result<Vec<StoredRecord>, ReadError>> {
        Box::pin(Self::read(self, self.inner.log.read(run, after, limit)))
    }

    fn verify<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Verified, ReadError>> {
        self.inner.log.verify(run)
    }
}

impl Inbox for Seen {
    fn post<'a>(&'a self, run: &'a RunId, message: String, at_ms: i64) -> BoxFuture<'a, Result<u64, PostError>> {
        Box::pin(self.write(self.inner.inbox.post(run, message, at_ms), || PostError::Unavailable(lost())))
    }

    fn inbox<'a>(
        &'a self,
        run: &'a RunId,
        after_id: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Message>, ReadError>> {
        Box::pin(self.read(self.inner.inbox.inbox(run, after_id, limit)))
    }
}

impl Leases for Seen {
    fn acquire_lease<'a>(
        &'a self,
        run: &'a RunId,
        owner: &'a str,
        now_ms: i64,
        ttl_ms: i64,
    ) -> BoxFuture<'a, Result<Epoch, LeaseError>> {
        Box::pin(
            self.write(self.inner.leases.acquire_lease(run, owner, now_ms, ttl_ms), || LeaseError::Unavailable(lost())),
        )
    }

    fn renew_lease<'a>(
        &'a self,
        run: &'a RunId,
        epoch: Epoch,
        now_ms: i64,
        ttl_ms: i64,
    ) -> BoxFuture<'a, Result<(), RenewError>> {
        Box::pin(
            self.write(self.inner.leases.renew_lease(run, epoch, now_ms, ttl_ms), || RenewError::Unavailable(lost())),
        )
    }

    fn release_lease<'a>(&'a self, run: &'a RunId, epoch: Epoch) -> BoxFuture<'a, Result<(), RenewError>> {
        Box::pin(self.write(self.inner.leases.release_lease(run, epoch), || RenewError::Unavailable(lost())))
    }

    fn lease<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Lease, ReadError>> {
        Box::pin(self.read(self.inner.leases.lease(run)))
    }
}

impl Tasks for Seen {
    fn tasks<'a>(&'a self, run: &'a RunId, filter: TaskFilter) -> BoxFuture<'a, Result<Vec<TaskRow>, ReadError>> {
        Box::pin(self.read(self.inner.tasks.tasks(run, filter)))
    }

    fn board(&self, filter: BoardFilter) -> BoxFuture<'_, Result<Vec<TaskRow>, ReadError>> {
        Box::pin(self.read(self.inner.tasks.board(filter)))
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Vec<Claimed>, ClaimError>> {
        Box::pin(self.write(self.inner.tasks.claim(claim), || ClaimError::Unavailable(lost())))
    }

    fn heartbeat(&self, heartbeat: Heartbeat) -> BoxFuture<'_, Result<Vec<Beat>, TaskError>> {
        Box::pin(self.write(self.inner.tasks.heartbeat(heartbeat), || TaskError::Unavailable(lost())))
    }

    fn hear<'a>(&'a self, worker: &'a str, held: Vec<TaskRef>) -> BoxFuture<'a, Result<Vec<Beat>, ReadError>> {
        Box::pin(self.read(self.inner.tasks.hear(worker, held)))
    }

    fn complete(&self, completion: Completion) -> BoxFuture<'_, Result<u64, CompleteError>> {
        Box::pin(async move {
            let again = completion.clone();
            let completed =
                self.write(self.inner.tasks.complete(completion), || CompleteError::Unavailable(lost())).await;
            if completed.is_ok() && self.process.world.chance(10) {
                // Sent twice: the second is never taken.
                let twice = self.inner.tasks.complete(again).await;
                assert!(
                    matches!(twice, Err(CompleteError::Fenced { .. } | CompleteError::Refused { .. })),
                    "{twice:?}"
                );
            }
            completed
        })
    }

    fn abandon<'a>(&'a self, worker: &'a str, tasks: Vec<TaskRef>) -> BoxFuture<'a, Result<usize, TaskError>> {
        Box::pin(self.write(self.inner.tasks.abandon(worker, tasks), || TaskError::Unavailable(lost())))
    }

    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>, ReadError>> {
        self.inner.tasks.workers()
    }

    fn forget_worker<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<(), TaskError>> {
        self.inner.tasks.forget_worker(worker)
    }
}
