//! Sums over rows: whoever reads a row sees whether it is what was written.
//!
//! SQLite keeps no sums of its pages. What a disk or a stranger does to a row would be believed, so each row (but those
//! of logs, which are chained) holds a sum over its other columns. Whatever writes a row writes the sum; whatever changes
//! a row looks at the old sum first, because a new one would hide the damage.

use rusqlite::functions::FunctionFlags;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, Row};

/// A table whose rows have sums.
pub(crate) struct Summed {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its columns without the sum, in the order in which they are summed.
    pub(crate) columns: &'static [&'static str],
}

pub(crate) const RUNS: Summed =
    Summed { name: "runs", columns: &["run_no", "run", "workflow_name", "workflow_hash", "labels", "created_ms"] };
pub(crate) const HEADS: Summed = Summed {
    name: "heads",
    columns: &["run_no", "seq", "hash", "inbox_cursor", "status", "ended", "updated_ms", "json", "tasks"],
};
pub(crate) const LEASES: Summed = Summed { name: "leases", columns: &["run_no", "epoch", "owner", "until_ms"] };
pub(crate) const INBOX: Summed = Summed { name: "inbox", columns: &["id", "at_ms", "message"] };
pub(crate) const INBOXES: Summed = Summed { name: "inboxes", columns: &["run_no", "last"] };
pub(crate) const TASKS: Summed = Summed {
    name: "tasks",
    columns: &[
        "run_no",
        "instance",
        "attempt",
        "generation",
        "epoch",
        "kind",
        "status",
        "worker",
        "priority",
        "needs",
        "waits_for",
        "at_ms",
        "lease_until_ms",
        "heartbeat_ms",
        "reported",
        "updated_ms",
        "request_no",
        "signals",
    ],
};
pub(crate) const REQUESTS: Summed = Summed { name: "requests", columns: &["request_no", "request"] };
pub(crate) const SIGNALS: Summed =
    Summed { name: "signals", columns: &["run_no", "instance", "attempt", "signal_no", "text"] };
pub(crate) const WORKERS: Summed =
    Summed { name: "workers", columns: &["worker", "slots", "busy", "can", "host", "started_ms", "heartbeat_ms"] };
pub(crate) const MEMO: Summed = Summed { name: "memo", columns: &["key", "row", "at_ms"] };
pub(crate) const TREES: Summed = Summed {
    name: "trees",
    columns: &["pool", "slot", "epoch", "stage", "run", "branch", "holder", "boot", "until_ms", "at_ms"],
};

/// All of them.
pub(crate) const ALL: [&Summed; 11] =
    [&RUNS, &HEADS, &LEASES, &INBOX, &INBOXES, &TASKS, &REQUESTS, &SIGNALS, &WORKERS, &MEMO, &TREES];

impl Summed {
    /// A condition: the row that `alias` names is what was written.
    pub(crate) fn intact(&self, alias: &str) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| format!("{alias}.{column}")).collect();
        format!("{alias}.sum = row_sum({})", columns.join(", "))
    }

    /// The whole of an insertion that gives the columns, in their order, as ?1 and so on. A row of the same key is
    /// replaced if `replaces`.
    pub(crate) fn insert(&self, replaces: bool) -> String {
        let numbers: Vec<String> = (1..=self.columns.len()).map(|number| format!("?{number}")).collect();
        let (columns, values) = (self.columns.join(", "), numbers.join(", "));
        let verb = if replaces { "INSERT OR REPLACE" } else { "INSERT" };
        format!("{verb} INTO {} ({columns}, sum) VALUES ({values}, row_sum({values}))", self.name)
    }

    /// The beginning of an update that sets some columns to expressions (in which columns stand for what they were).
    pub(crate) fn update(&self, changes: &[(&str, &str)]) -> String {
        let sets: Vec<String> = changes.iter().map(|(column, value)| format!("{column} = {value}")).collect();
        let changed = |column: &&str| changes.iter().find(|(name, _)| name == column).map(|(_, value)| *value);
        let columns: Vec<&str> = self.columns.iter().map(|column| changed(column).unwrap_or(column)).collect();
        format!("UPDATE {} SET {}, sum = row_sum({})", self.name, sets.join(", "), columns.join(", "))
    }
}

/// A row that is damaged, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DamagedRow(String);

/// The error for a row that is damaged.
pub(crate) fn damaged(detail: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Null, Box::new(DamagedRow(detail)))
}

/// The error for a row that is not what was written.
pub(crate) fn changed(what: &str) -> rusqlite::Error {
    damaged(format!("{what} is not what was written"))
}

/// Checks a condition of [`Summed::intact`] that a row brings along in `column`.
pub(crate) fn check_intact(row: &Row<'_>, column: usize, what: impl FnOnce() -> String) -> rusqlite::Result<()> {
    if row.get::<_, Option<bool>>(column)? == Some(true) { Ok(()) } else { Err(changed(&what())) }
}

/// Teaches a connection the function `row_sum`.
pub(crate) fn teach(conn: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    conn.create_scalar_function("row_sum", -1, flags, |ctx| {
        let mut flat = Vec::with_capacity(256);
        for at in 0..ctx.len() {
            add(&mut flat, ctx.get_raw(at));
        }
        let mut sum = [0u8; 8];
        sum.copy_from_slice(&blake3::hash(&flat).as_bytes()[..8]);
        Ok(i64::from_le_bytes(sum))
    })
}

/// Adds a value in such a way that no two rows of values become the same bytes.
fn add(flat: &mut Vec<u8>, value: ValueRef<'_>) {
    let (kind, bytes): (u8, &[u8]) = match value {
        ValueRef::Null => (0, &[]),
        ValueRef::Integer(number) => return add_bytes(flat, 1, &number.to_le_bytes()),
        ValueRef::Real(number) => return add_bytes(flat, 2, &number.to_le_bytes()),
        ValueRef::Text(text) => (3, text),
        ValueRef::Blob(blob) => (4, blob),
    };
    add_bytes(flat, kind, bytes);
}

fn add_bytes(flat: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    flat.push(kind);
    flat.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    flat.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_and_its_place_count() {
        let conn = Connection::open_in_memory().unwrap();
        teach(&conn).unwrap();
        let sum = |values: &str| -> i64 {
            conn.query_row(&format!("SELECT row_sum({values})"), [], |row| row.get(0)).unwrap()
        };
        let all = ["", "NULL", "0", "'0'", "x'30'", "0.0", "'a', 'b'", "'b', 'a'", "'ab', ''", "'ab'", "NULL, 'ab'"];
        let sums: std::collections::BTreeSet<i64> = all.iter().map(|values| sum(values)).collect();
        assert_eq!(sums.len(), all.len());
        // What is stored is compared with it for ever.
        assert_eq!((sum("1, 'a', NULL"), sum("")), (3_308_171_938_556_058_853, -6_439_591_158_392_220_753));
    }

    #[test]
    fn updates_sum_what_they_set() {
        let conn = Connection::open_in_memory().unwrap();
        teach(&conn).unwrap();
        conn.execute_batch("CREATE TABLE inboxes (run_no INTEGER PRIMARY KEY, last INTEGER, sum INTEGER)").unwrap();
        conn.execute(&INBOXES.insert(false), [1, 5]).unwrap();
        conn.execute(&format!("{} WHERE run_no = 1", INBOXES.update(&[("last", "last + 1")])), []).unwrap();
        let last = format!("SELECT last FROM inboxes WHERE {}", INBOXES.intact("inboxes"));
        assert_eq!(conn.query_row(&last, [], |row| row.get::<_, i64>(0)), Ok(6));
        conn.execute("UPDATE inboxes SET last = 7", []).unwrap();
        assert!(conn.query_row(&last, [], |row| row.get::<_, i64>(0)).is_err());
    }

    #[test]
    fn the_columns_are_those_of_the_tables() {
        let dir = tempfile::tempdir().unwrap();
        let (_, conn) =
            super::super::open::Place::prepare(dir.path(), &super::super::SqliteOptions::default()).unwrap();
        let mut select = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
        let tables: Vec<String> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let mut known: Vec<&str> = ALL.iter().map(|table| table.name).chain(["records"]).collect();
        known.sort();
        assert_eq!(tables, known);
        for table in ALL {
            let mut select = conn.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
            let found = select.query_map([table.name], |row| row.get::<_, String>(0)).unwrap();
            let mut found: Vec<String> = found.map(Result::unwrap).collect();
            let mut known: Vec<&str> = table.columns.iter().copied().chain(["sum"]).collect();
            found.sort();
            known.sort();
            assert_eq!(found, known, "{}", table.name);
        }
    }
}
