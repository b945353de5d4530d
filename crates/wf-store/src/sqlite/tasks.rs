//! What an append does to the task rows of its run.

use rusqlite::{Connection, OptionalExtension, params};

use super::board::status;
use super::writer::Failed;
use crate::task::{SIGNALS_MAX, no_such_task, too_many_signals};
use crate::{NewTask, TaskChange, TaskSignal, TaskStatus};

/// Which task of which run.
struct Key<'a> {
    run_no: i64,
    instance: &'a str,
    attempt: u32,
}

/// Writes one change.
pub(crate) fn write_task(conn: &Connection, run_no: i64, change: &TaskChange) -> Result<(), Failed<String>> {
    match change {
        TaskChange::Insert(task) => insert(conn, run_no, task).map_err(Failed::Sql),
        TaskChange::Set { instance, attempt, status, waits_for, at_ms } => {
            let key = Key { run_no, instance, attempt: *attempt };
            set(conn, &key, *status, waits_for.as_deref(), *at_ms)
        }
        TaskChange::Signal { instance, attempt, signal } => {
            add_signal(conn, &Key { run_no, instance, attempt: *attempt }, signal)
        }
    }
}

fn insert(conn: &Connection, run_no: i64, task: &NewTask) -> rusqlite::Result<()> {
    let key = Key { run_no, instance: &task.instance, attempt: task.attempt };
    let before: Option<(i64, Option<i64>)> = conn
        .prepare_cached("SELECT epoch, request_no FROM tasks WHERE run_no = ?1 AND instance = ?2 AND attempt = ?3")?
        .query_row(params![run_no, task.instance, task.attempt], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((_, request_no)) = before {
        forget_request(conn, request_no)?;
        forget_signals(conn, &key)?;
    }
    let request_no = match task.request.as_ref().filter(|_| !task.status.is_over()) {
        Some(request) => {
            conn.prepare_cached("INSERT INTO requests (request) VALUES (?1)")?.execute([request])?;
            Some(conn.last_insert_rowid())
        }
        None => None,
    };
    conn.prepare_cached(
        "INSERT OR REPLACE INTO tasks
             (run_no, instance, attempt, epoch, kind, status, worker, priority, needs, waits_for, at_ms, updated_ms,
              generation, reported, request_no)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, ?12, 0, ?13)",
    )?
    .execute(params![
        run_no,
        task.instance,
        task.attempt,
        before.map_or(0, |(epoch, _)| epoch) + 1,
        task.kind,
        task.status.word(),
        task.worker,
        task.priority,
        task.needs,
        task.waits_for,
        task.at_ms,
        task.generation,
        request_no,
    ])
    .map(|_| ())
}

fn set(
    conn: &Connection,
    key: &Key<'_>,
    status: TaskStatus,
    waits_for: Option<&str>,
    at_ms: i64,
) -> Result<(), Failed<String>> {
    let request_no: Option<Option<i64>> = conn
        .prepare_cached("SELECT request_no FROM tasks WHERE run_no = ?1 AND instance = ?2 AND attempt = ?3")?
        .query_row(params![key.run_no, key.instance, key.attempt], |row| row.get(0))
        .optional()?;
    let Some(request_no) = request_no else {
        return Err(Failed::Undo(no_such_task(key.instance, key.attempt)));
    };
    let sql = match status {
        TaskStatus::Pending | TaskStatus::Blocked => {
            "UPDATE tasks SET status = ?4, waits_for = ?5, updated_ms = ?6,
                 worker = NULL, lease_until_ms = NULL, heartbeat_ms = NULL, reported = 0
             WHERE run_no = ?1 AND instance = ?2 AND attempt = ?3"
        }
        TaskStatus::Claimed => {
            "UPDATE tasks SET status = ?4, waits_for = ?5, updated_ms = ?6
             WHERE run_no = ?1 AND instance = ?2 AND attempt = ?3"
        }
        TaskStatus::Done | TaskStatus::Failed => {
            forget_request(conn, request_no)?;
            forget_signals(conn, key)?;
            "UPDATE tasks SET status = ?4, waits_for = ?5, updated_ms = ?6, lease_until_ms = NULL, request_no = NULL
             WHERE run_no = ?1 AND instance = ?2 AND attempt = ?3"
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
    let standing = conn
        .prepare_cached("SELECT status FROM tasks WHERE run_no = ?1 AND instance = ?2 AND attempt = ?3")?
        .query_row(params![key.run_no, key.instance, key.attempt], |row| status(row, 0))
        .optional()?;
    match standing {
        None => return Err(Failed::Undo(no_such_task(key.instance, key.attempt))),
        Some(standing) if standing.is_over() => return Ok(()),
        Some(_) => {}
    }
    let last: Option<i64> = conn
        .prepare_cached("SELECT max(signal_no) FROM signals WHERE run_no = ?1 AND instance = ?2 AND attempt = ?3")?
        .query_row(params![key.run_no, key.instance, key.attempt], |row| row.get(0))?;
    let number = last.unwrap_or(0) + 1;
    if number > SIGNALS_MAX as i64 {
        return Err(Failed::Undo(too_many_signals(key.instance, key.attempt)));
    }
    let text = match signal {
        TaskSignal::Cancel => None,
        TaskSignal::Text(text) => Some(text),
    };
    conn.prepare_cached(
        "INSERT INTO signals (run_no, instance, attempt, signal_no, text) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![key.run_no, key.instance, key.attempt, number, text])?;
    Ok(())
}

fn forget_request(conn: &Connection, request_no: Option<i64>) -> rusqlite::Result<()> {
    if let Some(request_no) = request_no {
        conn.prepare_cached("DELETE FROM requests WHERE request_no = ?1")?.execute([request_no])?;
    }
    Ok(())
}

fn forget_signals(conn: &Connection, key: &Key<'_>) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM signals WHERE run_no = ?1 AND instance = ?2 AND attempt = ?3")?
        .execute(params![key.run_no, key.instance, key.attempt])
        .map(|_| ())
}
