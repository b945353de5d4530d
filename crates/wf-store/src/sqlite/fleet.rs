//! What workers write: claims, signs of life, reports.

use std::cmp::Reverse;
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::ops::{absent, cursor_of, post_message};
use super::reads::{self, as_limit, bad_text, unsigned};
use super::sums::{REQUESTS, SIGNALS, TASKS, WORKERS, check_intact};
use super::writer::{Failed, WriteOp};
use super::{Fault, board};
use crate::fleet::{CLAIM_BYTES_MAX, CLAIM_TASKS_MAX, Hold, WORKER_KEPT_MS, run_is_over};
use crate::watch::Watchers;
use crate::{
    Beat, Capabilities, Claim, ClaimError, Claimed, CompleteError, Completion, Epoch, Heartbeat, Mark, ReadError,
    RunId, Seq, TaskError, TaskRef, TaskSignal, WorkerRow,
};

/// Gives tasks to a worker.
pub(crate) struct ClaimTasks {
    pub(crate) claim: Claim,
}

/// A task that its worker still holds, and whose row is what was written: ?1 to ?5.
static HELD: LazyLock<String> = LazyLock::new(|| {
    format!(
        "run_no = (SELECT run_no FROM runs WHERE run = ?1) AND instance = ?2 AND attempt = ?3
         AND status = 'claimed' AND worker = ?4 AND epoch = ?5 AND reported = 0 AND {}",
        TASKS.intact("tasks")
    )
});
static IS_HELD: LazyLock<String> = LazyLock::new(|| format!("SELECT EXISTS (SELECT 1 FROM tasks WHERE {})", *HELD));
static PROLONG: LazyLock<String> = LazyLock::new(|| {
    let changes = [("lease_until_ms", "max(coalesce(lease_until_ms, ?6), ?6)"), ("heartbeat_ms", "?7")];
    format!("{} WHERE {}", TASKS.update(&changes), *HELD)
});
static GIVE_BACK: LazyLock<String> = LazyLock::new(|| {
    let changes = [
        ("status", "'pending'"),
        ("worker", "NULL"),
        ("epoch", "epoch + 1"),
        ("lease_until_ms", "NULL"),
        ("heartbeat_ms", "NULL"),
    ];
    format!("{} WHERE {}", TASKS.update(&changes), *HELD)
});
static REPORT: LazyLock<String> = LazyLock::new(|| {
    let changes = [("reported", "1"), ("updated_ms", "?4")];
    format!("{} WHERE run_no = ?1 AND instance = ?2 AND attempt = ?3", TASKS.update(&changes))
});
static SELECT_HOLD: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT status, worker, epoch, reported, {} FROM tasks WHERE run_no = ?1 AND instance = ?2 AND attempt = ?3",
        TASKS.intact("tasks")
    )
});
static SELECT_SIGNALS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT text, {} FROM signals
         WHERE run_no = (SELECT run_no FROM runs WHERE run = ?1) AND instance = ?2 AND attempt = ?3 ORDER BY signal_no",
        SIGNALS.intact("signals")
    )
});

/// Which tasks a claim is about.
#[derive(Clone, Copy)]
enum Scope {
    /// Those of every run.
    All,
    /// Those of one run.
    Run,
    /// Those that it names, in one run.
    Named,
}

/// The parameters that the choice of tasks needs: ?1 what the worker can do, ?2 how many, ?3 the run, ?4 the names.
struct Choice {
    scope: Scope,
    can: Option<String>,
    limit: i64,
    run_no: Option<i64>,
    only: Option<String>,
}

impl Choice {
    fn of(conn: &Connection, claim: &Claim) -> rusqlite::Result<Result<Self, RunId>> {
        let run_no = match &claim.run {
            Some(run) => match reads::run_no(conn, run)? {
                Some(run_no) => Some(run_no),
                None => return Ok(Err(run.clone())),
            },
            None => None,
        };
        let scope = match (&claim.only, run_no) {
            (Some(_), _) => Scope::Named,
            (None, Some(_)) => Scope::Run,
            (None, None) => Scope::All,
        };
        let only = claim.only.as_ref().map(|only| serde_json::json!(only).to_string());
        let limit = as_limit(claim.limit.min(CLAIM_TASKS_MAX));
        Ok(Ok(Self { scope, can: claim.can.to_json(), limit, run_no, only }))
    }
}

/// A task is fit when each of its needs is among what the worker can do; nothing said means that it can do all.
const FIT: &str = "(?1 IS NULL OR CASE WHEN json_valid(needs) THEN NOT EXISTS (
    SELECT 1 FROM json_each(needs) AS need WHERE need.value NOT IN (SELECT value FROM json_each(?1))) ELSE 0 END)";

/// The condition of the indexes of open tasks. SQLite uses them only where a query has it word for word.
const OPEN: &str = "status = 'pending' AND request_no IS NOT NULL";

const URGENT_FIRST: &str = "priority DESC, at_ms, run_no, instance, attempt";

/// The tasks to give, as a table `chosen`.
///
/// Open tasks are kept apart by what they need, in the order in which they are given. So the first of each kind that is
/// fit are enough to choose from, and a claim costs as much as it gives, however many tasks there are. A step of `kind`
/// leaps to the next thing that is needed.
fn chosen(scope: Scope) -> String {
    let (index, of_run) = match scope {
        Scope::All => ("tasks_open", "?3 IS NULL"),
        Scope::Run => ("tasks_open_of_run", "run_no = ?3"),
        Scope::Named => ("tasks_open", ""),
    };
    let candidates = match scope {
        Scope::All | Scope::Run => format!(
            "kind (needs) AS (
                 SELECT (SELECT needs FROM tasks INDEXED BY {index} WHERE {OPEN} AND {of_run} ORDER BY needs LIMIT 1)
                 UNION ALL
                 SELECT (SELECT needs FROM tasks INDEXED BY {index}
                         WHERE {OPEN} AND {of_run} AND needs > kind.needs ORDER BY needs LIMIT 1)
                 FROM kind WHERE kind.needs IS NOT NULL),
             fit (needs) AS MATERIALIZED (SELECT needs FROM kind WHERE needs IS NOT NULL AND ?4 IS NULL AND {FIT}),
             candidate AS (
                 SELECT task.* FROM fit CROSS JOIN tasks AS task
                 WHERE (task.run_no, task.instance, task.attempt) IN (
                     SELECT run_no, instance, attempt FROM tasks INDEXED BY {index}
                     WHERE {OPEN} AND {of_run} AND needs = fit.needs
                     ORDER BY {URGENT_FIRST} LIMIT ?2))"
        ),
        Scope::Named => format!(
            "candidate AS (
                 SELECT * FROM tasks WHERE run_no = ?3 AND status = 'pending' AND {FIT}
                 AND (instance, attempt) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?4)))"
        ),
    };
    let intact = TASKS.intact("candidate");
    format!(
        "WITH RECURSIVE {candidates},
         first AS (
             SELECT run_no, instance, attempt, priority, at_ms,
                 coalesce((SELECT octet_length(request) FROM requests WHERE request_no = candidate.request_no), 0) AS bytes
             FROM candidate WHERE {intact} ORDER BY {URGENT_FIRST} LIMIT ?2),
         chosen AS MATERIALIZED (
             SELECT run_no, instance, attempt FROM (
                 SELECT *, sum(bytes) OVER (ORDER BY {URGENT_FIRST} ROWS UNBOUNDED PRECEDING) AS all_bytes FROM first)
             WHERE all_bytes - bytes < {CLAIM_BYTES_MAX})"
    )
}

/// Whether there is anything to give; it spares the writer those that ask in vain.
pub(crate) fn is_anything_open(conn: &Connection, claim: &Claim) -> Result<bool, ReadError> {
    let choice = match Choice::of(conn, claim)? {
        Ok(choice) => choice,
        Err(run) => return Err(ReadError::Missing { run }),
    };
    let mut select = conn.prepare_cached(&format!("{} SELECT EXISTS (SELECT 1 FROM chosen)", chosen(choice.scope)))?;
    Ok(select.query_row(params![choice.can, 1.min(choice.limit), choice.run_no, choice.only], |row| row.get(0))?)
}

impl WriteOp for ClaimTasks {
    type Out = Vec<Claimed>;
    type Err = ClaimError;

    fn write(&self, conn: &Connection) -> Result<Vec<Claimed>, Failed<ClaimError>> {
        let choice = match Choice::of(conn, &self.claim)? {
            Ok(choice) => choice,
            Err(run) => return Err(Failed::Refused(ClaimError::Missing { run })),
        };
        let mut update = conn.prepare_cached(&format!(
            "{}
             {}
             WHERE (run_no, instance, attempt) IN (SELECT run_no, instance, attempt FROM chosen)
             RETURNING instance, attempt, epoch, generation, kind, priority, at_ms, run_no,
                 (SELECT run FROM runs WHERE runs.run_no = tasks.run_no),
                 (SELECT request FROM requests WHERE requests.request_no = tasks.request_no),
                 request_no IS NULL
                     OR (SELECT {} FROM requests WHERE requests.request_no = tasks.request_no)",
            chosen(choice.scope),
            TASKS.update(&[
                ("status", "'claimed'"),
                ("worker", "?5"),
                ("epoch", "epoch + 1"),
                ("lease_until_ms", "?7"),
                ("heartbeat_ms", "?6"),
                ("updated_ms", "?6"),
                ("reported", "0"),
                ("waits_for", "NULL"),
            ]),
            REQUESTS.intact("requests"),
        ))?;
        let (now_ms, until_ms) = (self.claim.now_ms, self.claim.now_ms.saturating_add(self.claim.ttl_ms));
        let given = update.query_map(
            params![choice.can, choice.limit, choice.run_no, choice.only, self.claim.worker, now_ms, until_ms],
            |row| {
                let urgency = (Reverse(row.get(5)?), row.get(6)?, row.get(7)?);
                Ok((urgency, claimed(row)?))
            },
        )?;
        let mut given: Vec<(Urgency, Claimed)> = given.collect::<Result<_, _>>()?;
        given.sort_by(|(a, one), (b, two)| {
            (a, &one.task.instance, one.task.attempt).cmp(&(b, &two.task.instance, two.task.attempt))
        });
        Ok(given.into_iter().map(|(_, task)| task).collect())
    }

    fn fault(&self, fault: Fault) -> ClaimError {
        match fault {
            Fault::Unavailable(error) => ClaimError::Unavailable(error),
            Fault::Damaged(detail) => ClaimError::Damaged { detail },
        }
    }

    fn announce(&self, _out: &Vec<Claimed>, _watchers: &Watchers) {}
}

/// Priority, age and the number of the run; what comes after them is in the claim itself.
type Urgency = (Reverse<i64>, i64, i64);

fn claimed(row: &Row<'_>) -> rusqlite::Result<Claimed> {
    let run = RunId::parse(row.get_ref(8)?.as_str()?).map_err(|error| bad_text(8, error))?;
    let task = TaskRef { run, instance: row.get(0)?, attempt: row.get(1)?, epoch: Epoch(unsigned(row, 2)?) };
    check_intact(row, 10, || format!("the request of task {} attempt {}", task.instance, task.attempt))?;
    Ok(Claimed { task, generation: row.get(3)?, kind: row.get(4)?, request: row.get(9)? })
}

/// Takes a worker's sign of life.
pub(crate) struct Beats {
    pub(crate) heartbeat: Heartbeat,
}

impl WriteOp for Beats {
    type Out = Vec<Beat>;
    type Err = TaskError;

    fn write(&self, conn: &Connection) -> Result<Vec<Beat>, Failed<TaskError>> {
        let beat = &self.heartbeat;
        write_worker(conn, &beat.worker, beat.now_ms)?;
        let mut prolong = conn.prepare_cached(&PROLONG)?;
        let until_ms = beat.now_ms.saturating_add(beat.ttl_ms);
        let mut beats = Vec::with_capacity(beat.held.len());
        for task in &beat.held {
            let (run, instance, attempt) = (task.run.as_str(), &task.instance, task.attempt);
            let (worker, epoch) = (&beat.worker.worker, as_epoch(task.epoch));
            let held = prolong.execute(params![run, instance, attempt, worker, epoch, until_ms, beat.now_ms])? == 1;
            beats.push(if held { Beat::Held { signals: signals(conn, task)? } } else { Beat::Lost });
        }
        Ok(beats)
    }

    fn fault(&self, fault: Fault) -> TaskError {
        task_fault(fault)
    }

    fn announce(&self, _out: &Vec<Beat>, _watchers: &Watchers) {}
}

/// What a worker would hear with a heartbeat.
pub(crate) fn hear(conn: &Connection, worker: &str, held: &[TaskRef]) -> Result<Vec<Beat>, ReadError> {
    let mut select = conn.prepare_cached(&IS_HELD)?;
    let mut beats = Vec::with_capacity(held.len());
    for task in held {
        let epoch = as_epoch(task.epoch);
        let is_held: bool = select
            .query_row(params![task.run.as_str(), task.instance, task.attempt, worker, epoch], |row| row.get(0))?;
        beats.push(if is_held { Beat::Held { signals: signals(conn, task)? } } else { Beat::Lost });
    }
    Ok(beats)
}

fn write_worker(conn: &Connection, worker: &WorkerRow, now_ms: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM workers WHERE heartbeat_ms < ?1")?
        .execute([now_ms.saturating_sub(WORKER_KEPT_MS)])?;
    conn.prepare_cached(&WORKERS.insert(true))?
        .execute(params![
            worker.worker,
            worker.slots,
            worker.busy,
            Capabilities::to_json(&worker.can),
            worker.host,
            worker.started_ms,
            now_ms,
        ])
        .map(|_| ())
}

fn signals(conn: &Connection, task: &TaskRef) -> rusqlite::Result<Vec<TaskSignal>> {
    let mut select = conn.prepare_cached(&SELECT_SIGNALS)?;
    let signals = select.query_map(params![task.run.as_str(), task.instance, task.attempt], |row| {
        check_intact(row, 1, || format!("a signal of task {} attempt {}", task.instance, task.attempt))?;
        Ok(row.get::<_, Option<String>>(0)?.map_or(TaskSignal::Cancel, TaskSignal::Text))
    })?;
    signals.collect()
}

/// An epoch as it is stored. One that cannot be stored is nobody's.
fn as_epoch(epoch: Epoch) -> i64 {
    i64::try_from(epoch.0).unwrap_or(-1)
}

fn task_fault(fault: Fault) -> TaskError {
    match fault {
        Fault::Unavailable(error) => TaskError::Unavailable(error),
        Fault::Damaged(detail) => TaskError::Damaged { detail },
    }
}

/// Takes what came of a task.
pub(crate) struct Complete {
    pub(crate) completion: Completion,
}

impl WriteOp for Complete {
    type Out = u64;
    type Err = CompleteError;

    fn write(&self, conn: &Connection) -> Result<u64, Failed<CompleteError>> {
        let Completion { task, worker, message, at_ms } = &self.completion;
        let Some((run_no, cursor, ended)) = cursor_of(conn, &task.run)? else {
            return Err(absent(self, conn, &task.run, |run| CompleteError::Missing { run }));
        };
        if let Some(current) = not_held(conn, run_no, task, worker)? {
            return Err(Failed::Refused(CompleteError::Fenced { held: task.epoch, current }));
        }
        if ended {
            return Err(Failed::Refused(CompleteError::Refused { detail: run_is_over(&task.run) }));
        }
        let Some(id) = post_message(conn, run_no, cursor, message, *at_ms)? else {
            return Err(Failed::Refused(CompleteError::Full));
        };
        conn.prepare_cached(&REPORT)?.execute(params![run_no, task.instance, task.attempt, at_ms])?;
        Ok(id)
    }

    fn fault(&self, fault: Fault) -> CompleteError {
        match fault {
            Fault::Unavailable(error) => CompleteError::Unavailable(error),
            Fault::Damaged(detail) => CompleteError::Damaged { detail },
        }
    }

    fn announce(&self, out: &u64, watchers: &Watchers) {
        watchers.announce(&self.completion.task.run, Mark { seq: Seq::START, message: *out });
    }
}

/// The epoch of a task that `worker` does not hold; nothing if it holds it.
fn not_held(conn: &Connection, run_no: i64, task: &TaskRef, worker: &str) -> rusqlite::Result<Option<Epoch>> {
    let mut select = conn.prepare_cached(&SELECT_HOLD)?;
    let found = select
        .query_row(params![run_no, task.instance, task.attempt], |row| {
            check_intact(row, 4, || format!("task {} attempt {}", task.instance, task.attempt))?;
            let holder: Option<String> = row.get(1)?;
            let epoch = Epoch(unsigned(row, 2)?);
            let hold = Hold { status: board::status(row, 0)?, worker: holder.as_deref(), epoch, reported: row.get(3)? };
            Ok((!hold.is(worker, task.epoch)).then_some(epoch))
        })
        .optional()?;
    Ok(found.unwrap_or(Some(Epoch(0))))
}

/// Takes tasks back.
pub(crate) struct Abandon {
    pub(crate) worker: String,
    pub(crate) tasks: Vec<TaskRef>,
}

impl WriteOp for Abandon {
    type Out = usize;
    type Err = TaskError;

    fn write(&self, conn: &Connection) -> Result<usize, Failed<TaskError>> {
        let mut update = conn.prepare_cached(&GIVE_BACK)?;
        let mut given_back = 0;
        for task in &self.tasks {
            let key = (task.run.as_str(), &task.instance, task.attempt);
            given_back += update.execute(params![key.0, key.1, key.2, self.worker, as_epoch(task.epoch)])?;
        }
        Ok(given_back)
    }

    fn fault(&self, fault: Fault) -> TaskError {
        task_fault(fault)
    }

    fn announce(&self, _out: &usize, _watchers: &Watchers) {}
}

/// Strikes a worker off the list.
pub(crate) struct ForgetWorker {
    pub(crate) worker: String,
}

impl WriteOp for ForgetWorker {
    type Out = ();
    type Err = TaskError;

    fn write(&self, conn: &Connection) -> Result<(), Failed<TaskError>> {
        conn.prepare_cached("DELETE FROM workers WHERE worker = ?1")?.execute([&self.worker])?;
        Ok(())
    }

    fn fault(&self, fault: Fault) -> TaskError {
        task_fault(fault)
    }

    fn announce(&self, _out: &(), _watchers: &Watchers) {}
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::super::open::{Place, SqliteOptions};
    use super::*;
    use crate::TaskStatus;

    /// A store with `done` tasks that are over, `unfit` that wait for somebody who can do more, and 100 open ones.
    fn store(dir: &std::path::Path, done: u32, unfit: u32) -> Connection {
        let (_, conn) = Place::prepare(dir, &SqliteOptions::default()).unwrap();
        let sum = TASKS.columns.join(", ");
        let row = |count: u32, name: &str, status: &str, needs: &str, priority: u32| {
            format!(
                "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < {count})
                 INSERT INTO tasks (run_no, instance, attempt, epoch, kind, status, priority, needs, at_ms, updated_ms,
                     generation, request_no)
                 SELECT n % 2 + 1, '{name}' || n, 1, 1, 'agent', '{status}', {priority}, '{needs}', n, n, 1, n + 1
                 FROM n WHERE n < {count};
                 UPDATE tasks SET sum = row_sum({sum}) WHERE instance LIKE '{name}%';"
            )
        };
        conn.execute_batch(&format!(
            "INSERT INTO runs VALUES (1, 'r1', 'w', x'', '', 0, 0), (2, 'r2', 'w', x'', '', 1, 0);
             {} {} {} {}",
            row(done, "done", "done", "[]", 0),
            row(unfit, "unfit", "pending", r#"["gpu"]"#, 9),
            row(100, "open", "pending", "[]", 0),
            row(100, "held", "claimed", "[]", 0),
        ))
        .unwrap();
        conn
    }

    fn claim(run: Option<&str>, only: Option<Vec<(String, u32)>>) -> Claim {
        let run = run.map(|run| RunId::parse(run).unwrap());
        let can = Capabilities::Only(vec!["git".to_owned()]);
        Claim { worker: "w".to_owned(), can, run, only, limit: 10, now_ms: 5, ttl_ms: 9 }
    }

    /// The steps that SQLite takes for a statement, which do not depend on the machine.
    fn steps(conn: &Connection, sql: &str, params: impl rusqlite::Params) -> (usize, i32) {
        let mut statement = conn.prepare(sql).unwrap();
        let mut rows = statement.query(params).unwrap();
        let mut count = 0;
        while rows.next().unwrap().is_some() {
            count += 1;
        }
        drop(rows);
        (count, statement.get_status(StatementStatus::VmStep))
    }

    #[test]
    fn a_claim_and_a_list_cost_what_they_give() {
        let sizes = [(10, 20), (100_000, 20_000)].map(|(done, unfit)| {
            let dir = tempfile::tempdir().unwrap();
            let conn = store(dir.path(), done, unfit);
            (dir, conn)
        });
        let names = Some(vec![("open1".to_owned(), 1), ("open2".to_owned(), 1), ("done2".to_owned(), 1)]);
        for (claim, expected) in [(claim(None, None), 10), (claim(Some("r2"), None), 10), (claim(Some("r2"), names), 1)]
        {
            let [small, large] = sizes.each_ref().map(|(_, conn)| {
                let choice = Choice::of(conn, &claim).unwrap().unwrap();
                let sql = format!("{} SELECT * FROM chosen", chosen(choice.scope));
                steps(conn, &sql, params![choice.can, choice.limit, choice.run_no, choice.only])
            });
            assert_eq!((small.0, large.0), (expected, expected));
            assert!(large.1 < small.1 * 2 && small.1 > 100, "{small:?} {large:?}");
        }
        let [small, large] = sizes
            .each_ref()
            .map(|(_, conn)| steps(conn, &board::list(&[TaskStatus::Claimed]), params![1, "", -1, 1_000]));
        assert_eq!((small.0, large.0), (50, 50));
        assert!(large.1 < small.1 * 2, "{small:?} {large:?}");
    }
}
