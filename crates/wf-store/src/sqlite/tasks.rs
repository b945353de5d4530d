//! What an append does to the task rows of its run.

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, params};

use super::board::status;
use super::sums::{REQUESTS, SIGNALS, TASKS, check_intact};
use super::writer::Failed;
use crate::task::{SIGNALS_MAX, no_such_task, too_many_signals};
use crate::{NewTask, TaskChange, TaskSignal, TaskStatus};

/// Which task of which run.
struct Key<'a> {
    run_no: i64,
    instance: &'a str,
    attempt: u32,
}

/// What of a task's row a change rests on.
struct Before {
    epoch: i64,
    status: TaskStatus,
    request_no: Option<i64>,
    signals: i64,
}

static SELECT_TASK: LazyLock<String> = LazyLock::new(|| {
    let intact = TASKS.intact("tasks");
    format!("SELECT epoch, status, request_no, signals, {intact} FROM tasks WHERE {ONE}")
});
static INSERT_TASK: LazyLock<String> = LazyLock::new(|| TASKS.insert(true));
static INSERT_REQUEST: LazyLock<String> = LazyLock::new(|| REQUESTS.insert(false));
static INSERT_SIGNAL: LazyLock<String> = LazyLock::new(|| SIGNALS.insert(false));
/// To a place where nobody holds the task.
static FREE_TASK: LazyLock<String> = LazyLock::new(|| {
    let freed = [("worker", "NULL"), ("lease_until_ms", "NULL"), ("heartbeat_ms", "NULL"), ("reported", "0")];
    moved(&freed)
});
static KEEP_TASK: LazyLock<String> = LazyLock::new(|| moved(&[]));
static END_TASK: LazyLock<String> =
    LazyLock::new(|| moved(&[("lease_until_ms", "NULL"), ("request_no", "NULL"), ("signals", "0")]));
static COUNT_SIGNAL: LazyLock<String> =
    LazyLock::new(|| format!("{} WHERE {ONE}", TASKS.update(&[("signals", "signals + 1")])));

/// One task, by ?1 to ?3.
const ONE: &str = "run_no = ?1 AND instance = ?2 AND attempt = ?3";

/// An update of one task to the status ?4, what it waits for ?5 and the time ?6.
fn moved(more: &[(&str, &str)]) -> String {
    let mut changes = vec![("status", "?4"), ("waits_for", "?5"), ("updated_ms", "?6")];
    changes.extend(more);
    format!("{} WHERE {ONE}", TASKS.update(&changes))
}

/// Writes one change, and says how many rows it has added.
pub(crate) fn write_task(conn: &Connection, run_no: i64, change: &TaskChange) -> Result<i64, Failed<String>> {
    match change {
        TaskChange::Insert(task) => insert(conn, run_no, task).map_err(Failed::Sql),
        TaskChange::Set { instance, attempt, status, waits_for, at_ms } => {
            let key = Key { run_no, instance, attempt: *attempt };
            set(conn, &key, *status, waits_for.as_deref(), *at_ms).map(|()| 0)
        }
        TaskChange::Signal { instance, attempt, signal } => {
            add_signal(conn, &Key { run_no, instance, attempt: *attempt }, signal).map(|()| 0)
        }
    }
}

fn before(conn: &Connection, key: &Key<'_>) -> rusqlite::Result<Option<Before>> {
    conn.prepare_cached(&SELECT_TASK)?
        .query_row(params![key.run_no, key.instance, key.attempt], |row| {
            check_intact(row, 4, || format!("task {} attempt {}", key.instance, key.attempt))?;
            let (epoch, status) = (row.get(0)?, status(row, 1)?);
            Ok(Before { epoch, status, request_no: row.get(2)?, signals: row.get(3)? })
        })
        .optional()
}

fn insert(conn: &Connection, run_no: i64, task: &NewTask) -> rusqlite::Result<i64> {
    let key = Key { run_no, instance: &task.instance, attempt: task.attempt };
    let before = before(conn, &key)?;
    if let Some(before) = &before {
        forget_request(conn, before.request_no)?;
        forget_signals(conn, &key, before.signals)?;
    }
    let request_no = match task.request.as_ref().filter(|_| !task.status.is_over()) {
        Some(request) => Some(insert_request(conn, request)?),
        None => None,
    };
    conn.prepare_cached(&INSERT_TASK)?.execute(params![
        run_no,
        task.instance,
        task.attempt,
        task.generation,
        before.as_ref().map_or(0, |before| before.epoch) + 1,
        task.kind,
        task.status.word(),
        task.worker,
        task.priority,
        task.needs,
        task.waits_for,
        task.at_ms,
        None::<i64>,
        None::<i64>,
        false,
        task.at_ms,
        request_no,
        0,
    ])?;
    Ok(i64::from(before.is_none()))
}

fn insert_request(conn: &Connection, request: &str) -> rusqlite::Result<i64> {
    let last: i64 =
        conn.prepare_cached("SELECT coalesce(max(request_no), 0) FROM requests")?.query_row([], |row| row.get(0))?;
    conn.prepare_cached(&INSERT_REQUEST)?.execute(params![last + 1, request])?;
    Ok(last + 1)
}

fn set(
    conn: &Connection,
    key: &Key<'_>,
    status: TaskStatus,
    waits_for: Option<&str>,
    at_ms: i64,
) -> Result<(), Failed<String>> {
    let Some(before) = before(conn, key)? else {
        return Err(Failed::Undo(no_such_task(key.instance, key.attempt)));
    };
    let sql = match status {
        TaskStatus::Pending | TaskStatus::Blocked => &FREE_TASK,
        TaskStatus::Claimed => &KEEP_TASK,
        TaskStatus::Done | TaskStatus::Failed => {
            forget_request(conn, before.request_no)?;
            forget_signals(conn, key, before.signals)?;
            &END_TASK
        }
    };
    conn.prepare_cached(sql)?.execute(params![
        key.run_no,
        key.instance,
        key.attempt,
        status.word(),
        waits_for,
        at_ms
    ])?;
    Ok(())
}

fn add_signal(conn: &Connection, key: &Key<'_>, signal: &TaskSignal) -> Result<(), Failed<String>> {
    let Some(before) = before(conn, key)? else {
        return Err(Failed::Undo(no_such_task(key.instance, key.attempt)));
    };
    if before.status.is_over() {
        return Ok(());
    }
    let number = before.signals + 1;
    if number > SIGNALS_MAX as i64 {
        return Err(Failed::Undo(too_many_signals(key.instance, key.attempt)));
    }
    let text = match signal {
        TaskSignal::Cancel => None,
        TaskSignal::Text(text) => Some(text),
    };
    conn.prepare_cached(&INSERT_SIGNAL)?.execute(params![key.run_no, key.instance, key.attempt, number, text])?;
    conn.prepare_cached(&COUNT_SIGNAL)?.execute(params![key.run_no, key.instance, key.attempt])?;
    Ok(())
}

fn forget_request(conn: &Connection, request_no: Option<i64>) -> rusqlite::Result<()> {
    if let Some(request_no) = request_no {
        conn.prepare_cached("DELETE FROM requests WHERE request_no = ?1")?.execute([request_no])?;
    }
    Ok(())
}

fn forget_signals(conn: &Connection, key: &Key<'_>, count: i64) -> rusqlite::Result<()> {
    if count == 0 {
        return Ok(());
    }
    conn.prepare_cached("DELETE FROM signals WHERE run_no = ?1 AND instance = ?2 AND attempt = ?3")?
        .execute(params![key.run_no, key.instance, key.attempt])
        .map(|_| ())
}
