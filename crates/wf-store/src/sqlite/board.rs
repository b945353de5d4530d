//! What is read of the board: tasks and workers.

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::reads::{as_limit, bad_text, known_run_no, unsigned};
use super::sums::{TASKS, WORKERS, check_intact};
use crate::fleet::WORKERS_MAX;
use crate::{BoardFilter, Capabilities, Epoch, NewTask, ReadError, RunId, TaskFilter, TaskRow, TaskStatus, WorkerRow};

/// The columns of [`task_row`].
const TASK_ROW: &str = "instance, attempt, generation, epoch, kind, status, worker, priority, needs, waits_for, at_ms,
    lease_until_ms, heartbeat_ms, reported, updated_ms";
static TASK_INTACT: LazyLock<String> = LazyLock::new(|| TASKS.intact("tasks"));

/// The condition of the index `tasks_live`. SQLite uses the index only where a query has it word for word.
const LIVE: &str = "status IN ('pending', 'claimed', 'blocked')";

/// The tasks of one run.
pub(crate) fn tasks(conn: &Connection, run: &RunId, filter: &TaskFilter) -> Result<Vec<TaskRow>, ReadError> {
    let run_no = known_run_no(conn, run)?;
    let after = filter.after.as_ref().map(|(instance, attempt)| (instance.as_str(), *attempt));
    tasks_of(conn, &Place { run_no, run: run.clone(), after }, filter.status.as_slice(), filter.limit)
}

/// The tasks of all runs.
pub(crate) fn board(conn: &Connection, filter: &BoardFilter) -> Result<Vec<TaskRow>, ReadError> {
    if let Some(run) = &filter.run {
        known_run_no(conn, run)?;
    }
    let begin = filter.after.as_ref().map(|cursor| age(conn, &cursor.run)).transpose()?;
    let of_run = if filter.run.is_some() { "run = ?3" } else { "?3 IS NULL" };
    let mut select = conn.prepare_cached(&format!(
        "SELECT run_no, run FROM runs WHERE {of_run} AND (?1 IS NULL OR (created_ms, run) <= (?1, ?2))
         ORDER BY created_ms DESC, run DESC"
    ))?;
    let cursor_run = filter.after.as_ref().map(|cursor| cursor.run.as_str());
    let mut runs = select.query(params![begin, cursor_run, filter.run.as_ref().map(RunId::as_str)])?;
    let mut rows: Vec<TaskRow> = Vec::new();
    while rows.len() < filter.limit {
        let Some(row) = runs.next()? else { break };
        let run = RunId::parse(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)
            .map_err(|error| bad_text(1, error))?;
        let here = filter.after.as_ref().filter(|cursor| cursor.run == run);
        let after = here.map(|cursor| (cursor.instance.as_str(), cursor.attempt));
        let place = Place { run_no: row.get(0)?, run, after };
        rows.extend(tasks_of(conn, &place, &filter.statuses, filter.limit - rows.len())?);
    }
    Ok(rows)
}

/// When a run was made.
fn age(conn: &Connection, run: &RunId) -> Result<i64, ReadError> {
    let found = conn
        .prepare_cached("SELECT created_ms FROM runs WHERE run = ?1")?
        .query_row([run.as_str()], |row| row.get(0))
        .optional()?;
    found.ok_or_else(|| ReadError::Missing { run: run.clone() })
}

/// Where in a run a list begins.
struct Place<'a> {
    run_no: i64,
    run: RunId,
    after: Option<(&'a str, u32)>,
}

fn tasks_of(
    conn: &Connection,
    place: &Place<'_>,
    statuses: &[TaskStatus],
    limit: usize,
) -> Result<Vec<TaskRow>, ReadError> {
    let mut select = conn.prepare_cached(&list(statuses))?;
    let (instance, attempt) = place.after.map_or(("", -1), |(instance, attempt)| (instance, i64::from(attempt)));
    let rows =
        select.query_map(params![place.run_no, instance, attempt, as_limit(limit)], |row| task_row(row, &place.run))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The statement that lists tasks of a run: ?1 the run, ?2 and ?3 the task before them, ?4 how many.
pub(super) fn list(statuses: &[TaskStatus]) -> String {
    let words: Vec<String> = statuses.iter().map(|status| format!("'{}'", status.word())).collect();
    let words = words.join(", ");
    let live = !statuses.is_empty() && !statuses.iter().any(|status| status.is_over());
    let (from, standing) = if live {
        ("tasks INDEXED BY tasks_live", format!("{LIVE} AND status IN ({words})"))
    } else if statuses.is_empty() {
        ("tasks", "TRUE".to_owned())
    } else {
        ("tasks", format!("status IN ({words})"))
    };
    format!(
        "SELECT {TASK_ROW}, {} FROM {from} WHERE run_no = ?1 AND {standing} AND (instance, attempt) > (?2, ?3)
         ORDER BY instance, attempt LIMIT ?4",
        *TASK_INTACT
    )
}

fn task_row(row: &Row<'_>, run: &RunId) -> rusqlite::Result<TaskRow> {
    check_intact(row, 15, || format!("a task of run {run}"))?;
    let task = NewTask {
        instance: row.get(0)?,
        attempt: row.get(1)?,
        generation: row.get(2)?,
        kind: row.get(4)?,
        status: status(row, 5)?,
        worker: row.get(6)?,
        priority: row.get(7)?,
        needs: row.get(8)?,
        waits_for: row.get(9)?,
        request: None,
        at_ms: row.get(10)?,
    };
    Ok(TaskRow {
        run: run.clone(),
        task,
        epoch: Epoch(unsigned(row, 3)?),
        lease_until_ms: row.get(11)?,
        heartbeat_ms: row.get(12)?,
        reported: row.get(13)?,
        updated_ms: row.get(14)?,
    })
}

/// The status of a task.
pub(crate) fn status(row: &Row<'_>, column: usize) -> rusqlite::Result<TaskStatus> {
    let word = row.get_ref(column)?.as_str()?;
    TaskStatus::from_word(word)
        .ok_or_else(|| bad_text(column, std::io::Error::other(format!("{word:?} is not a status"))))
}

/// The workers.
pub(crate) fn workers(conn: &Connection) -> Result<Vec<WorkerRow>, ReadError> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT worker, slots, busy, can, host, started_ms, heartbeat_ms, {} FROM workers ORDER BY worker LIMIT ?1",
        WORKERS.intact("workers")
    ))?;
    let rows = select.query_map([as_limit(WORKERS_MAX)], |row| {
        check_intact(row, 7, || "a worker".to_owned())?;
        let can: Option<String> = row.get(3)?;
        let can = Capabilities::from_json(can.as_deref()).map_err(|error| bad_text(3, std::io::Error::other(error)))?;
        Ok(WorkerRow {
            worker: row.get(0)?,
            slots: row.get(1)?,
            busy: row.get(2)?,
            can,
            host: row.get(4)?,
            started_ms: row.get(5)?,
            heartbeat_ms: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
