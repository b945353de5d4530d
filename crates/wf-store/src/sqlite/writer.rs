//! The writer: one thread that owns the only connection which writes, and commits in groups.
//!
//! Whatever waits when the thread looks is written in one transaction, and only after its commit is anybody answered.
//! A request that is refused (someone else appended first, say) is refused before it has written anything, and the
//! group goes on. If one fails half-way, the group is undone and each of its requests is written alone, so that only
//! the one that fails is told so. If the commit itself fails, or the disk, nobody was served: the connection is closed
//! and the next request opens another, which reads everything anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::Fault;
use super::open::{Place, SCHEMA};
use crate::OpenError;
use crate::watch::Watchers;

/// How many requests may wait for the writer. Full means that the disk is slower than the runs; whoever asks waits.
const QUEUE_LEN_MAX: usize = 1_024;
/// How many requests one transaction takes at most.
const GROUP_LEN_MAX: usize = 256;

/// What a request does to the database.
pub(crate) trait WriteOp: Send + Sync + 'static {
    /// What its caller gets.
    type Out: Send + 'static;
    /// Why its caller does not.
    type Err: Send + 'static;

    /// Writes. It may be called again after an undo.
    fn write(&self, conn: &Connection) -> Result<Self::Out, Failed<Self::Err>>;
    /// Words a fault of the database.
    fn fault(&self, fault: Fault) -> Self::Err;
    /// Tells who watches, once it is durable.
    fn announce(&self, out: &Self::Out, watchers: &Watchers);
}

/// How a write ends without success.
pub(crate) enum Failed<E> {
    /// Refused, and nothing was written.
    Refused(E),
    /// Refused, and something was written that must be undone.
    Undo(E),
    /// The database failed.
    Sql(rusqlite::Error),
}

impl<E> Failed<E> {
    /// The same end in other words.
    pub(crate) fn map<F>(self, word: impl FnOnce(E) -> F) -> Failed<F> {
        match self {
            Self::Refused(error) => Failed::Refused(word(error)),
            Self::Undo(error) => Failed::Undo(word(error)),
            Self::Sql(error) => Failed::Sql(error),
        }
    }
}

impl<E> From<rusqlite::Error> for Failed<E> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// The handle on the thread.
pub(crate) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(crate) fn start(place: Place, conn: Connection, watchers: Arc<Watchers>) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE_LEN_MAX);
        let mut group = Group { place, conn: Some(conn), watchers };
        let thread =
            std::thread::Builder::new().name("wf-store-writer".to_owned()).spawn(move || group.work(receiver))?;
        Ok(Self { queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    /// Gives `op` to the thread and waits until it is durable or refused.
    pub(crate) async fn write<O: WriteOp>(&self, op: O) -> Result<O::Out, O::Err> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let closed = || Fault::Unavailable("the store is closed".into());
        let Some(queue) = queue else { return Err(op.fault(closed())) };
        let Ok(permit) = queue.reserve().await else { return Err(op.fault(closed())) };
        let (reply, answer) = oneshot::channel();
        let op = Arc::new(op);
        permit.send(Box::new(Write { op: op.clone(), written: None, reply }));
        match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(op.fault(Fault::Unavailable("the writer has stopped".into()))),
        }
    }

    /// Ends the thread once what it was given is written.
    pub(crate) async fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // If the thread panicked, its requests were answered with a fault already.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// A request in the queue.
trait Job: Send {
    /// Writes; what is answered later is kept.
    fn write(&mut self, conn: &Connection) -> Written;
    /// Answers after the commit, or after what came in its place.
    fn answer(self: Box<Self>, committed: Result<(), &str>, watchers: &Watchers);
}

/// What a job did to the transaction.
enum Written {
    /// It wrote all or nothing: the transaction can be committed.
    Whole,
    /// It left something behind: the transaction must be undone.
    Half,
    /// The same, and the connection is not to be trusted any more.
    Broken(String),
}

struct Write<O: WriteOp> {
    op: Arc<O>,
    written: Option<Result<O::Out, O::Err>>,
    reply: oneshot::Sender<Result<O::Out, O::Err>>,
}

impl<O: WriteOp> Job for Write<O> {
    fn write(&mut self, conn: &Connection) -> Written {
        let (result, written) = match self.op.write(conn) {
            Ok(out) => (Ok(out), Written::Whole),
            Err(Failed::Refused(error)) => (Err(error), Written::Whole),
            Err(Failed::Undo(error)) => (Err(error), Written::Half),
            Err(Failed::Sql(error)) => {
                let written = if is_broken(&error) { Written::Broken(error.to_string()) } else { Written::Half };
                (Err(self.op.fault(Fault::of(error))), written)
            }
        };
        self.written = Some(result);
        written
    }

    fn answer(self: Box<Self>, committed: Result<(), &str>, watchers: &Watchers) {
        let answer = match (committed, self.written) {
            (Ok(()), Some(result)) => result,
            // A refusal may rest on what an earlier request of the group wrote, so it falls with the group.
            (Err(why), _) => Err(self.op.fault(Fault::Unavailable(why.into()))),
            (Ok(()), None) => Err(self.op.fault(Fault::Unavailable("the request was not written".into()))),
        };
        if let Ok(out) = &answer {
            self.op.announce(out, watchers);
        }
        // The caller may have gone; what is written stays written.
        let _ = self.reply.send(answer);
    }
}

/// The thread.
struct Group {
    place: Place,
    conn: Option<Connection>,
    watchers: Arc<Watchers>,
}

/// How a transaction ended without a commit.
enum Undone {
    /// A request failed half-way.
    Half,
    /// The database failed, so nobody was served.
    Fault(String),
}

impl Group {
    fn work(&mut self, mut queue: mpsc::Receiver<Box<dyn Job>>) {
        let mut jobs = Vec::with_capacity(GROUP_LEN_MAX);
        while queue.blocking_recv_many(&mut jobs, GROUP_LEN_MAX) > 0 {
            self.serve(&mut jobs);
        }
    }

    fn serve(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        match self.commit(jobs) {
            Ok(()) => self.answer(jobs.drain(..), Ok(())),
            Err(Undone::Fault(why)) => self.answer(jobs.drain(..), Err(&why)),
            Err(Undone::Half) => {
                for job in jobs.drain(..) {
                    self.serve_alone(job);
                }
            }
        }
    }

    fn serve_alone(&mut self, job: Box<dyn Job>) {
        let mut one = [job];
        let committed = self.commit(&mut one);
        match committed {
            // Undone, and its own answer says why.
            Ok(()) | Err(Undone::Half) => self.answer(one, Ok(())),
            Err(Undone::Fault(why)) => self.answer(one, Err(&why)),
        }
    }

    fn answer(&self, jobs: impl IntoIterator<Item = Box<dyn Job>>, committed: Result<(), &str>) {
        for job in jobs {
            job.answer(committed, &self.watchers);
        }
        self.watchers.announce_change();
    }

    /// Writes all of `jobs` in one transaction.
    fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Undone> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.place.writer_after_fault().map_err(|error| Undone::Fault(why(error)))?,
        };
        if let Err(error) = run(&conn, "BEGIN IMMEDIATE") {
            // Another process may hold the lock for too long; that is no fault of the connection.
            self.conn = (!is_broken(&error)).then_some(conn);
            return Err(Undone::Fault(error.to_string()));
        }
        // A program that knows more may have brought the schema up to date meanwhile. The connection is then given up,
        // and no other can be opened.
        match version(&conn) {
            Ok(SCHEMA) => {}
            Ok(found) => {
                let newer = OpenError::Newer { found, known: SCHEMA };
                return Err(Undone::Fault(why(newer)));
            }
            Err(error) => return Err(Undone::Fault(error.to_string())),
        }
        for job in jobs.iter_mut() {
            match job.write(&conn) {
                Written::Whole => {}
                Written::Half => {
                    self.undo(conn);
                    return Err(Undone::Half);
                }
                // Dropping the connection undoes the transaction.
                Written::Broken(why) => return Err(Undone::Fault(why)),
            }
        }
        match run(&conn, "COMMIT") {
            Ok(()) => {
                self.conn = Some(conn);
                Ok(())
            }
            Err(error) => Err(Undone::Fault(error.to_string())),
        }
    }

    fn undo(&mut self, conn: Connection) {
        // SQLite may have undone it by itself; a connection on which it cannot be undone is closed, which undoes it.
        if conn.is_autocommit() || run(&conn, "ROLLBACK").is_ok() {
            self.conn = Some(conn);
        }
    }
}

fn why(error: OpenError) -> String {
    match error {
        OpenError::Unavailable(error) => error.to_string(),
        OpenError::Newer { .. } | OpenError::Unsafe { .. } | OpenError::Damaged { .. } => error.to_string(),
    }
}

fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA user_version")?.query_row([], |row| row.get(0))
}

fn run(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(|_| ())
}

/// Whether nothing more can be believed of a connection that reported `error`.
fn is_broken(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::SystemIoFailure
                | ErrorCode::DiskFull
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::ReadOnly
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::InternalMalfunction
                | ErrorCode::ApiMisuse
        )
    )
}
