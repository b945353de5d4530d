//! What is wrong beneath the logs, in words.

use rusqlite::{Connection, Row};

use super::sums::{ALL, Summed};
use crate::ReadError;

/// How many findings of one kind a check reports.
const FINDINGS_MAX: usize = 20;

/// How the run of a row is named, where `NO` is its number.
const RUN_NAME: &str =
    "coalesce((SELECT 'run ' || run FROM runs AS named WHERE named.run_no = NO), 'run number ' || NO)";

/// What must not be there, or must not be missing: queries that give nothing if all is well, and else what is wrong.
const QUERIES: [&str; 11] = [
    "SELECT count(*) || ' records belong to no run' FROM records WHERE id >> 32 NOT IN (SELECT run_no FROM runs)
     HAVING count(*) > 0",
    "SELECT count(*) || ' messages belong to no run' FROM inbox WHERE id >> 32 NOT IN (SELECT run_no FROM runs)
     HAVING count(*) > 0",
    "SELECT 'run ' || run || ' has no head' FROM runs WHERE run_no NOT IN (SELECT run_no FROM heads)",
    "SELECT 'run ' || run || ' has no lease' FROM runs WHERE run_no NOT IN (SELECT run_no FROM leases)",
    "SELECT 'run ' || run || ' has no inbox' FROM runs WHERE run_no NOT IN (SELECT run_no FROM inboxes)",
    "SELECT 'messages are missing from the inbox of ' || {run:inboxes.run_no} FROM inboxes
     WHERE last <> (SELECT count(*) FROM inbox WHERE id > run_no << 32 AND id <= (run_no << 32) + last)
         OR EXISTS (SELECT 1 FROM inbox WHERE id > (run_no << 32) + last AND id < (run_no + 1) << 32)",
    "SELECT 'the head of ' || {run:heads.run_no} || ' has taken in messages that are not there'
     FROM heads JOIN inboxes USING (run_no) WHERE inbox_cursor > last",
    "SELECT 'tasks of ' || {run:heads.run_no} || ' are missing' FROM heads
     WHERE tasks <> (SELECT count(*) FROM tasks WHERE tasks.run_no = heads.run_no)",
    "SELECT 'signals of task ' || instance || ' attempt ' || attempt || ' of ' || {run:tasks.run_no} || ' are missing'
     FROM tasks WHERE signals <> (
         SELECT count(*) FROM signals AS sent
         WHERE (sent.run_no, sent.instance, sent.attempt) = (tasks.run_no, tasks.instance, tasks.attempt))",
    "SELECT 'the request of task ' || instance || ' attempt ' || attempt || ' of ' || {run:tasks.run_no} || ' is missing'
     FROM tasks WHERE request_no IS NOT NULL AND request_no NOT IN (SELECT request_no FROM requests)",
    "SELECT count(*) || ' requests or signals belong to no task' FROM (
         SELECT request_no FROM requests
         WHERE request_no NOT IN (SELECT request_no FROM tasks WHERE request_no IS NOT NULL)
         UNION ALL SELECT signal_no FROM signals
         WHERE (run_no, instance, attempt) NOT IN (SELECT run_no, instance, attempt FROM tasks))
     HAVING count(*) > 0",
];

/// What is wrong beneath the logs.
pub(crate) fn check(conn: &Connection) -> Result<Vec<String>, ReadError> {
    let mut findings = texts(conn, &format!("PRAGMA integrity_check({FINDINGS_MAX})"))?;
    findings.retain(|finding| finding != "ok");
    let strays = texts(conn, "PRAGMA foreign_key_check")?;
    findings.extend(strays.iter().map(|table| format!("a row of {table} belongs to no run")));
    for query in QUERIES {
        findings.extend(texts(conn, &with_runs(query))?);
    }
    for table in ALL {
        let changed = texts(conn, &changed_rows(table))?;
        findings.extend(changed.iter().map(|row| format!("{row} is not what was written")));
    }
    Ok(findings)
}

/// Puts the name of a run in place of `{run:number}`.
fn with_runs(query: &str) -> String {
    let mut sql = String::new();
    let mut rest = query;
    while let Some((before, after)) = rest.split_once("{run:") {
        let (number, after) = after.split_once('}').unwrap_or((after, ""));
        sql.push_str(before);
        sql.push_str(&RUN_NAME.replace("NO", number));
        rest = after;
    }
    sql + rest
}

/// The names of the rows of a table whose sum does not fit.
fn changed_rows(table: &Summed) -> String {
    let name = match table.name {
        "runs" => "'run ' || run",
        "heads" => "'the head of ' || {run:heads.run_no}",
        "leases" => "'the lease of ' || {run:leases.run_no}",
        "inbox" => "'message ' || (id & 4294967295) || ' of ' || {run:(id >> 32)}",
        "inboxes" => "'the end of the inbox of ' || {run:inboxes.run_no}",
        "tasks" => "'task ' || instance || ' attempt ' || attempt || ' of ' || {run:tasks.run_no}",
        "requests" => "'request ' || request_no",
        "signals" => "'a signal of task ' || instance || ' attempt ' || attempt || ' of ' || {run:signals.run_no}",
        "workers" => "'worker ' || worker",
        "memo" => "'memo row ' || lower(hex(key))",
        "trees" => "'tree ' || slot",
        other => other,
    };
    // What cannot be compared does not fit either.
    let sql = format!("SELECT {name} FROM {} WHERE ({}) IS NOT 1", table.name, table.intact(table.name));
    with_runs(&sql)
}

/// The first texts that a query gives.
fn texts(conn: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut select = conn.prepare(sql)?;
    // A name may be damaged itself.
    let text = |row: &Row<'_>| match row.get_ref(0)? {
        rusqlite::types::ValueRef::Text(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        other => Ok(format!("{other:?}")),
    };
    let found = select.query_map([], text)?;
    found.take(FINDINGS_MAX).collect()
}
