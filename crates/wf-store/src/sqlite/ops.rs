//! What the writer writes. Every operation checks first and writes second, see [`Failed`].

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, params};
use wf_ir::Digest;

use super::Fault;
use super::reads::{self, first_id, last_message, lease_of};
use super::sums::{HEADS, INBOX, INBOXES, LEASES, MEMO, RUNS, check_intact};
use super::tasks::write_task;
use super::writer::{Failed, WriteOp};
use crate::inbox::{INBOX_WAITING_MAX, MESSAGE_ID_MAX};
use crate::lease::{acquired, released, renewed};
use crate::log::check_cursor;
use crate::watch::Watchers;
use crate::{
    AppendError, Appended, Batch, Chain, CreateError, Created, Epoch, Lease, LeaseError, Mark, MemoError, NewRecord,
    NewRun, PostError, RenewError, RunId, Seq,
};

/// The last number that a run can have, so that its record ids fit.
const RUN_NO_MAX: i64 = i32::MAX as i64;

static INSERT_RUN: LazyLock<String> = LazyLock::new(|| RUNS.insert(false));
static INSERT_HEAD: LazyLock<String> = LazyLock::new(|| HEADS.insert(false));
static INSERT_LEASE: LazyLock<String> = LazyLock::new(|| LEASES.insert(false));
static INSERT_INBOX: LazyLock<String> = LazyLock::new(|| INBOXES.insert(false));
static INSERT_MESSAGE: LazyLock<String> = LazyLock::new(|| INBOX.insert(false));
static INSERT_MEMO: LazyLock<String> = LazyLock::new(|| MEMO.insert(true));
static SELECT_END: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT r.run_no, h.seq, h.hash, h.inbox_cursor, l.epoch, {}, {}
         FROM runs r JOIN heads h ON h.run_no = r.run_no JOIN leases l ON l.run_no = r.run_no WHERE r.run = ?1",
        HEADS.intact("h"),
        LEASES.intact("l")
    )
});
static SELECT_CURSOR: LazyLock<String> = LazyLock::new(|| {
    let intact = HEADS.intact("h");
    format!(
        "SELECT r.run_no, h.inbox_cursor, h.ended, {intact} FROM runs r JOIN heads h ON h.run_no = r.run_no
         WHERE r.run = ?1"
    )
});
static UPDATE_HEAD: LazyLock<String> = LazyLock::new(|| {
    let changes = [
        ("seq", "?2"),
        ("hash", "?3"),
        ("inbox_cursor", "?4"),
        ("status", "?5"),
        ("ended", "?6"),
        ("updated_ms", "?7"),
        ("json", "?8"),
        ("tasks", "tasks + ?9"),
    ];
    format!("{} WHERE run_no = ?1", HEADS.update(&changes))
});
static UPDATE_LEASE: LazyLock<String> = LazyLock::new(|| {
    format!("{} WHERE run_no = ?1", LEASES.update(&[("epoch", "?2"), ("owner", "?3"), ("until_ms", "?4")]))
});
static UPDATE_INBOX: LazyLock<String> =
    LazyLock::new(|| format!("{} WHERE run_no = ?1", INBOXES.update(&[("last", "last + 1")])));

/// Makes a run.
pub(crate) struct CreateRun {
    pub(crate) new: NewRun,
}

impl WriteOp for CreateRun {
    type Out = Created;
    type Err = CreateError;

    fn write(&self, conn: &Connection) -> Result<Created, Failed<CreateError>> {
        let new = &self.new;
        if reads::run_no(conn, &new.run)?.is_some() {
            return Err(Failed::Refused(CreateError::Exists { run: new.run.clone() }));
        }
        let last: i64 =
            conn.prepare_cached("SELECT coalesce(max(run_no), 0) FROM runs")?.query_row([], |row| row.get(0))?;
        let run_no = last + 1;
        if run_no > RUN_NO_MAX {
            return Err(Failed::Refused(CreateError::Refused { detail: "the store holds too many runs".to_owned() }));
        }
        conn.prepare_cached(&INSERT_RUN)?.execute(params![
            run_no,
            new.run.as_str(),
            new.workflow_name,
            &new.workflow_hash.0[..],
            new.labels,
            new.created_ms
        ])?;
        let lease = match &new.owner {
            Some(first) => Lease { epoch: Epoch(1), owner: Some(first.owner.clone()), until_ms: first.until_ms },
            None => Lease::default(),
        };
        conn.prepare_cached(&INSERT_LEASE)?.execute(params![
            run_no,
            lease.epoch.0 as i64,
            lease.owner,
            lease.until_ms
        ])?;
        conn.prepare_cached(&INSERT_HEAD)?.execute(params![run_no, 0, [0u8; 0], 0, "", false, 0, "", 0])?;
        conn.prepare_cached(&INSERT_INBOX)?.execute([run_no, 0])?;
        let appended = write_batch(conn, run_no, Chain::start(&new.run), 0, &new.batch)
            .map_err(|failed| failed.map(|detail| CreateError::Refused { detail }))?;
        Ok(Created { appended, epoch: lease.epoch })
    }

    fn fault(&self, fault: Fault) -> CreateError {
        match fault {
            Fault::Unavailable(error) => CreateError::Unavailable(error),
            Fault::Damaged(detail) => CreateError::Damaged { detail },
        }
    }

    fn announce(&self, out: &Created, watchers: &Watchers) {
        watchers.announce(&self.new.run, Mark { seq: out.appended.seq, message: 0 });
    }
}

/// Appends to a log.
pub(crate) struct Append {
    pub(crate) run: RunId,
    pub(crate) after: Seq,
    pub(crate) epoch: Epoch,
    pub(crate) batch: Batch,
}

impl WriteOp for Append {
    type Out = Appended;
    type Err = AppendError;

    fn write(&self, conn: &Connection) -> Result<Appended, Failed<AppendError>> {
        let refused = |detail| AppendError::Refused { detail };
        let mut select = conn.prepare_cached(&SELECT_END)?;
        let found = select
            .query_row([self.run.as_str()], |row| {
                check_intact(row, 5, || format!("the head of run {}", self.run))?;
                check_intact(row, 6, || format!("the lease of run {}", self.run))?;
                let seq = reads::unsigned(row, 1)?;
                let (cursor, epoch) = (reads::unsigned(row, 3)?, reads::unsigned(row, 4)?);
                Ok((row.get::<_, i64>(0)?, Seq(seq), reads::digest(row, 2)?, cursor, Epoch(epoch)))
            })
            .optional()?;
        let Some((run_no, seq, hash, cursor, epoch)) = found else {
            return Err(absent(self, conn, &self.run, |run| AppendError::Missing { run }));
        };
        if epoch != self.epoch {
            return Err(Failed::Refused(AppendError::Fenced { held: self.epoch, current: epoch }));
        }
        if seq != self.after {
            return Err(Failed::Refused(AppendError::Conflict { expected: self.after, actual: seq }));
        }
        if let Some(taken) = self.batch.inbox_taken {
            let last = last_message(conn, run_no)?;
            check_cursor(taken, cursor, last).map_err(|detail| Failed::Refused(refused(detail)))?;
        }
        write_batch(conn, run_no, Chain { seq, hash }, cursor, &self.batch).map_err(|failed| failed.map(refused))
    }

    fn fault(&self, fault: Fault) -> AppendError {
        match fault {
            Fault::Unavailable(error) => AppendError::Unavailable(error),
            Fault::Damaged(detail) => AppendError::Corrupt { run: self.run.clone(), seq: self.after.next(), detail },
        }
    }

    fn announce(&self, out: &Appended, watchers: &Watchers) {
        watchers.announce(&self.run, Mark { seq: out.seq, message: 0 });
    }
}

/// The refusal of an operation on a run whose rows were not found.
pub(crate) fn absent<O: WriteOp>(
    op: &O,
    conn: &Connection,
    run: &RunId,
    missing: impl FnOnce(RunId) -> O::Err,
) -> Failed<O::Err> {
    match reads::absent(conn, run) {
        Ok(None) => Failed::Refused(missing(run.clone())),
        Ok(Some(fault)) => Failed::Refused(op.fault(fault)),
        Err(error) => Failed::Sql(error),
    }
}

/// Writes the records, task rows and head of a batch whose preconditions hold.
fn write_batch(
    conn: &Connection,
    run_no: i64,
    mut chain: Chain,
    cursor: u64,
    batch: &Batch,
) -> Result<Appended, Failed<String>> {
    write_records(conn, first_id(run_no), &mut chain, &batch.records)?;
    let mut new_tasks = 0;
    for change in &batch.tasks {
        new_tasks += write_task(conn, run_no, change)?;
    }
    let head = &batch.head;
    conn.prepare_cached(&UPDATE_HEAD)?.execute(params![
        run_no,
        chain.seq.0 as i64,
        &chain.hash.0[..],
        batch.inbox_taken.unwrap_or(cursor) as i64,
        head.status,
        head.ended,
        head.updated_ms,
        head.json,
        new_tasks,
    ])?;
    Ok(Appended { seq: chain.seq, hash: chain.hash })
}

fn write_records(conn: &Connection, base: i64, chain: &mut Chain, records: &[NewRecord]) -> rusqlite::Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let mut one =
        conn.prepare_cached("INSERT INTO records (id, kind, at_ms, payload, hash) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for record in records {
        let hash = chain.extend(record);
        let id = base + chain.seq.0 as i64;
        one.execute(params![id, record.kind.byte(), record.at_ms, record.payload, &hash.0[..]])?;
    }
    Ok(())
}

/// Posts to an inbox.
pub(crate) struct Post {
    pub(crate) run: RunId,
    pub(crate) message: String,
    pub(crate) at_ms: i64,
}

impl WriteOp for Post {
    type Out = u64;
    type Err = PostError;

    fn write(&self, conn: &Connection) -> Result<u64, Failed<PostError>> {
        let Some((run_no, cursor, _)) = cursor_of(conn, &self.run)? else {
            return Err(absent(self, conn, &self.run, |run| PostError::Missing { run }));
        };
        post_message(conn, run_no, cursor, &self.message, self.at_ms)?.ok_or(Failed::Refused(PostError::Full))
    }

    fn fault(&self, fault: Fault) -> PostError {
        match fault {
            Fault::Unavailable(error) => PostError::Unavailable(error),
            Fault::Damaged(detail) => PostError::Damaged { detail },
        }
    }

    fn announce(&self, out: &u64, watchers: &Watchers) {
        watchers.announce(&self.run, Mark { seq: Seq::START, message: *out });
    }
}

/// The number of a run, the cursor of its inbox, and whether it is over.
pub(crate) fn cursor_of(conn: &Connection, run: &RunId) -> rusqlite::Result<Option<(i64, u64, bool)>> {
    conn.prepare_cached(&SELECT_CURSOR)?
        .query_row([run.as_str()], |row| {
            check_intact(row, 3, || format!("the head of run {run}"))?;
            Ok((row.get(0)?, reads::unsigned(row, 1)?, row.get(2)?))
        })
        .optional()
}

/// Puts a message into an inbox, if it is not full, and gives its id.
pub(crate) fn post_message(
    conn: &Connection,
    run_no: i64,
    cursor: u64,
    message: &str,
    at_ms: i64,
) -> rusqlite::Result<Option<u64>> {
    let id = last_message(conn, run_no)? + 1;
    if id > MESSAGE_ID_MAX || id.saturating_sub(cursor) > INBOX_WAITING_MAX {
        return Ok(None);
    }
    conn.prepare_cached(&INSERT_MESSAGE)?.execute(params![first_id(run_no) + id as i64, at_ms, message])?;
    conn.prepare_cached(&UPDATE_INBOX)?.execute([run_no])?;
    Ok(Some(id))
}

/// Takes a lease.
pub(crate) struct AcquireLease {
    pub(crate) run: RunId,
    pub(crate) owner: String,
    pub(crate) now_ms: i64,
    pub(crate) ttl_ms: i64,
}

impl WriteOp for AcquireLease {
    type Out = Epoch;
    type Err = LeaseError;

    fn write(&self, conn: &Connection) -> Result<Epoch, Failed<LeaseError>> {
        let Some((run_no, current)) = lease_of(conn, &self.run)? else {
            return Err(absent(self, conn, &self.run, |run| LeaseError::Missing { run }));
        };
        let lease = acquired(&current, &self.owner, self.now_ms, self.ttl_ms).map_err(Failed::Refused)?;
        write_lease(conn, run_no, &lease)?;
        Ok(lease.epoch)
    }

    fn fault(&self, fault: Fault) -> LeaseError {
        match fault {
            Fault::Unavailable(error) => LeaseError::Unavailable(error),
            Fault::Damaged(detail) => LeaseError::Damaged { detail },
        }
    }

    fn announce(&self, _out: &Epoch, _watchers: &Watchers) {}
}

/// Prolongs a lease or lets go of it.
pub(crate) struct ChangeLease {
    pub(crate) run: RunId,
    pub(crate) epoch: Epoch,
    pub(crate) change: LeaseChange,
}

/// Which of the two.
pub(crate) enum LeaseChange {
    /// Prolong.
    Renew { now_ms: i64, ttl_ms: i64 },
    /// Let go.
    Release,
}

impl WriteOp for ChangeLease {
    type Out = ();
    type Err = RenewError;

    fn write(&self, conn: &Connection) -> Result<(), Failed<RenewError>> {
        let Some((run_no, current)) = lease_of(conn, &self.run)? else {
            return Err(absent(self, conn, &self.run, |run| RenewError::Missing { run }));
        };
        let lease = match self.change {
            LeaseChange::Renew { now_ms, ttl_ms } => renewed(&current, self.epoch, now_ms, ttl_ms),
            LeaseChange::Release => released(&current, self.epoch),
        };
        Ok(write_lease(conn, run_no, &lease.map_err(Failed::Refused)?)?)
    }

    fn fault(&self, fault: Fault) -> RenewError {
        match fault {
            Fault::Unavailable(error) => RenewError::Unavailable(error),
            Fault::Damaged(detail) => RenewError::Damaged { detail },
        }
    }

    fn announce(&self, _out: &(), _watchers: &Watchers) {}
}

fn write_lease(conn: &Connection, run_no: i64, lease: &Lease) -> rusqlite::Result<()> {
    conn.prepare_cached(&UPDATE_LEASE)?
        .execute(params![run_no, lease.epoch.0 as i64, lease.owner, lease.until_ms])
        .map(|_| ())
}

/// Stores a memo row.
pub(crate) struct PutMemo {
    pub(crate) key: Digest,
    pub(crate) row: String,
    pub(crate) at_ms: i64,
}

impl WriteOp for PutMemo {
    type Out = ();
    type Err = MemoError;

    fn write(&self, conn: &Connection) -> Result<(), Failed<MemoError>> {
        conn.prepare_cached(&INSERT_MEMO)?.execute(params![&self.key.0[..], self.row, self.at_ms])?;
        Ok(())
    }

    fn fault(&self, fault: Fault) -> MemoError {
        match fault {
            Fault::Unavailable(error) => MemoError::Unavailable(error),
            Fault::Damaged(detail) => MemoError::Damaged { detail },
        }
    }

    fn announce(&self, _out: &(), _watchers: &Watchers) {}
}
