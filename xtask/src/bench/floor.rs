//! What SQLite does without us, on the same disk: the limits that figures are held against.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::measure::timed;

/// Rows of one measurement of the floor.
pub(crate) const ROWS: usize = 20_000;
/// Rows of one commit.
const GROUP: usize = 64;
/// About what a record of a leaf weighs.
const PAYLOAD_BYTES: usize = 200;

/// How long it takes to commit [`ROWS`] rows in groups, durably.
pub(crate) fn commit_rows(dir: &Path) -> anyhow::Result<Duration> {
    let conn = Connection::open(dir.join("floor.db"))?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    let synchronous: i64 = conn.pragma_query_value(None, "synchronous", |row| row.get(0))?;
    ensure!(synchronous == 2, "SQLite does not wait for the disk");
    conn.execute_batch("CREATE TABLE leaf (id INTEGER PRIMARY KEY, payload TEXT NOT NULL)")?;
    let payload = "x".repeat(PAYLOAD_BYTES);
    let (took, inserted) = timed(|| -> rusqlite::Result<()> {
        for first in (0..ROWS).step_by(GROUP) {
            conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            for _ in first..(first + GROUP).min(ROWS) {
                conn.prepare_cached("INSERT INTO leaf (payload) VALUES (?1)")?.execute([&payload])?;
            }
            conn.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    });
    inserted?;
    Ok(took)
}

/// How long it takes to read every record of a store and parse it as JSON, and how many there are.
pub(crate) fn parse_records(store: &Path) -> anyhow::Result<(Duration, u64)> {
    let conn = open(store)?;
    let (took, parsed) = timed(|| -> anyhow::Result<u64> {
        let mut statement = conn.prepare("SELECT payload FROM records ORDER BY id")?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let payload = row.get_ref(0)?.as_str()?;
            let parsed: Value = serde_json::from_str(payload).context("a record is no JSON")?;
            ensure!(parsed.is_object() || parsed.is_string(), "a record is neither an object nor a word");
            count += 1;
        }
        Ok(count)
    });
    Ok((took, parsed?))
}

/// How many rows a store has for records and tasks.
pub(crate) fn count_rows(store: &Path) -> anyhow::Result<u64> {
    let conn = open(store)?;
    let sum = "SELECT (SELECT count(*) FROM records) + (SELECT count(*) FROM tasks)";
    let rows: i64 = conn.query_row(sum, [], |row| row.get(0))?;
    u64::try_from(rows).context("a store has a negative number of rows")
}

fn open(store: &Path) -> anyhow::Result<Connection> {
    // Not read-only: the last one to close the store has taken its WAL away, and reading needs one.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(store, flags).with_context(|| format!("cannot open {}", store.display()))
}
