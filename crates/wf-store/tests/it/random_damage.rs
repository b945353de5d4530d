//! Damage of every kind at random places: each is found by opening, by the check or by verification, or it has changed
//! nothing that the store answers.
//!
//! What is covered: every row of every table, every page that is in use, the blobs. What is not: bytes that nobody reads
//! (free pages, the unused part of a page, fields of the file's header that SQLite does not look at), the traces, which
//! may be lost, and rows of `memo` and `workers` that are gone altogether: the first are asked for again, the second show
//! themselves again.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use wf_ir::Digest;
use wf_store::{
    Batch, BoardFilter, Capabilities, Claim, Head, Heartbeat, PageLimit, RunFilter, Seq, SqliteOptions, Store,
    TaskChange, TaskFilter, TaskSignal, TaskStatus, WorkerRow,
};

use crate::fixture::{batch, head, new_run, new_task, open, run};

/// How many times damage is found, in the short form and in the long one.
const FOUND: u32 = 100;
const FOUND_LONG: u32 = 1_300;
const RUNS: [&str; 3] = ["r1", "r2", "r3"];
const BLOBS: u8 = 6;
const PAGE: usize = 4096;

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % count as u64) as usize
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// A store with something in every table, closed, so that it is one file and some blobs.
async fn make(dir: &Path) {
    let store = open(dir);
    for (number, name) in RUNS.iter().enumerate() {
        let mut new = new_run(&run(name), "i:created d:planned");
        new.created_ms += number as i64;
        new.batch.tasks = (0..12)
            .map(|at| {
                let task = new_task(&format!("n[{at}]"), 1, TaskStatus::ALL[at % 2]);
                let request = Some(format!("do {at} {}", "x".repeat(at * 600)));
                TaskChange::Insert(wf_store::NewTask { request, worker: None, ..task })
            })
            .collect();
        store.log.create_run(new).await.unwrap();
        let epoch = store.leases.acquire_lease(&run(name), "owner-1", 5, 90).await.unwrap();
        for message in 0..6 {
            store.inbox.post(&run(name), format!("{{\"message\":{message}}}"), message).await.unwrap();
        }
        for at in 0..30u64 {
            let mut more = batch(&format!("i:{at:0300} d:b"));
            more.inbox_taken = Some(at / 10);
            let (instance, attempt) = (format!("n[{at}]"), 1);
            if at < 4 {
                more.tasks.push(TaskChange::finish(instance, attempt, TaskStatus::Done, 9));
            } else if at < 12 {
                let signal = TaskSignal::Text(format!("hear {at}"));
                more.tasks.push(TaskChange::Signal { instance, attempt, signal });
            }
            let ended = *name == "r3" && at == 29;
            let more = Batch { head: Head { ended, ..head(&format!("status{at}")) }, ..more };
            store.log.append(&run(name), Seq(2 + 2 * at), epoch, more).await.unwrap();
        }
    }
    let can = Capabilities::Only(vec!["git".to_owned()]);
    let wish =
        Claim { worker: "w1".to_owned(), can: can.clone(), run: None, only: None, limit: 5, now_ms: 7, ttl_ms: 60 };
    let held = store.tasks.claim(wish).await.unwrap().into_iter().map(|claimed| claimed.task).collect();
    let (worker, host) = ("w1".to_owned(), "box".to_owned());
    let worker = WorkerRow { worker, slots: 4, busy: 2, can, host, started_ms: 1, heartbeat_ms: 2 };
    store.tasks.heartbeat(Heartbeat { worker, held, now_ms: 8, ttl_ms: 60 }).await.unwrap();
    for key in 0..5u8 {
        store.memo.memo_put(&Digest::of(&[key]), format!("answer {key}"), 3).await.unwrap();
    }
    for blob in 0..BLOBS {
        store.blobs.put(content(blob).into()).await.unwrap();
    }
    store.close().await;
    assert!(!dir.join("store.db-wal").exists(), "closing has emptied the write-ahead log");
}

fn content(blob: u8) -> Vec<u8> {
    vec![blob; 100 + 700 * usize::from(blob)]
}

fn blob_path(dir: &Path, blob: u8) -> PathBuf {
    let hex = Digest::of(&content(blob)).to_string();
    dir.join("blobs").join(&hex[..2]).join(&hex[2..])
}

/// Everything that the store answers, or the first thing that it does not.
async fn answers(store: &Store) -> Result<String, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let mut all = Vec::new();
    let rows = store.runs.runs(RunFilter { limit: 99, prefix: None, ended: None }).await.map_err(|it| said(&it))?;
    all.push(format!("{rows:?}"));
    for name in RUNS {
        let run = run(name);
        let limit = PageLimit { records_max: 1_000, bytes_max: usize::MAX };
        all.push(format!("{:?}", store.runs.head(&run).await.map_err(|it| said(&it))?));
        all.push(format!("{:?}", store.log.read(&run, Seq::START, limit).await.map_err(|it| said(&it))?));
        all.push(format!("{:?}", store.inbox.inbox(&run, 0, 99).await.map_err(|it| said(&it))?));
        all.push(format!("{:?}", store.leases.lease(&run).await.map_err(|it| said(&it))?));
        for status in [None, Some(TaskStatus::Claimed), Some(TaskStatus::Done)] {
            let filter = TaskFilter { status, after: None, limit: 99 };
            all.push(format!("{:?}", store.tasks.tasks(&run, filter).await.map_err(|it| said(&it))?));
        }
    }
    for statuses in [vec![], vec![TaskStatus::Pending]] {
        let filter = BoardFilter { run: None, statuses, after: None, limit: 999 };
        all.push(format!("{:?}", store.tasks.board(filter).await.map_err(|it| said(&it))?));
    }
    all.push(format!("{:?}", store.tasks.workers().await.map_err(|it| said(&it))?));
    for key in 0..5u8 {
        all.push(format!("{:?}", store.memo.memo_get(&Digest::of(&[key])).await.map_err(|it| said(&it))?));
    }
    for blob in 0..BLOBS {
        let bytes = store.blobs.get(&Digest::of(&content(blob))).await.map_err(|it| said(&it))?;
        all.push(format!("{}", Digest::of(&bytes)));
    }
    // What a worker would be given.
    let can = Capabilities::All;
    let wish = Claim { worker: "w9".to_owned(), can, run: None, only: None, limit: 99, now_ms: 7, ttl_ms: 60 };
    all.push(format!("{:?}", store.tasks.claim(wish).await.map_err(|it| said(&it))?));
    Ok(all.join("\n"))
}

/// What is found in `dir`; nothing if all is well.
async fn finding(dir: &Path) -> Option<String> {
    let store = match Store::open_sqlite(dir, SqliteOptions::default()) {
        Ok(store) => store,
        Err(error) => return Some(error.to_string()),
    };
    match store.runs.check().await {
        Ok(findings) => {
            if let Some(first) = findings.first() {
                return Some(first.clone());
            }
        }
        Err(error) => return Some(error.to_string()),
    }
    let rows = match store.runs.runs(RunFilter { limit: 99, prefix: None, ended: None }).await {
        Ok(rows) => rows,
        Err(error) => return Some(error.to_string()),
    };
    for row in rows {
        if let Err(error) = store.log.verify(&row.run).await {
            return Some(error.to_string());
        }
    }
    for blob in 0..BLOBS {
        if let Err(error) = store.blobs.get(&Digest::of(&content(blob))).await {
            return Some(error.to_string());
        }
    }
    None
}

/// What is done, in words, and whether it must be found.
fn damage(dir: &Path, random: &mut Random) -> (String, bool) {
    let db = dir.join("store.db");
    let mut bytes = std::fs::read(&db).unwrap();
    let pages = bytes.len() / PAGE;
    match random.below(10) {
        0..3 => {
            let (at, bit) = (random.below(bytes.len()), random.below(8));
            bytes[at] ^= 1 << bit;
            std::fs::write(&db, bytes).unwrap();
            (format!("bit {bit} of byte {at} flipped"), false)
        }
        3 => {
            let (page, count) = (random.below(pages), 2 + random.below(60));
            for _ in 0..count {
                bytes[page * PAGE + random.below(PAGE)] ^= 1 << random.below(8);
            }
            std::fs::write(&db, bytes).unwrap();
            (format!("{count} bits of page {page} flipped"), false)
        }
        4 => {
            let len = random.below(bytes.len());
            bytes.truncate(len);
            std::fs::write(&db, bytes).unwrap();
            // A file without anything is a new one; what is gone with it is known to nobody.
            (format!("cut to {len} bytes"), true)
        }
        5 => {
            let (from, to) = (random.below(pages), random.below(pages));
            bytes.copy_within(from * PAGE..(from + 1) * PAGE, to * PAGE);
            std::fs::write(&db, bytes).unwrap();
            (format!("page {from} copied over page {to}"), false)
        }
        6 => {
            let page = random.below(pages);
            bytes[page * PAGE..(page + 1) * PAGE].fill(0);
            std::fs::write(&db, bytes).unwrap();
            (format!("page {page} zeroed"), false)
        }
        7 | 8 => (damage_rows(&db, random), true),
        _ => (damage_blob(dir, random), true),
    }
}

/// Rows that are deleted, swapped or changed, by somebody who knows SQL and not the sums.
fn damage_rows(db: &Path, random: &mut Random) -> String {
    // Each with a column that no other row of the table has the same value in, and one that may have any text.
    let tables = [
        ("runs", "run_no", "workflow_name"),
        ("heads", "run_no", "json"),
        ("leases", "run_no", "owner"),
        ("records", "id", "payload"),
        ("inbox", "id", "message"),
        ("tasks", "run_no || '/' || instance", "kind"),
        ("requests", "request_no", "request"),
        ("signals", "run_no || '/' || instance", "text"),
        ("workers", "worker", "host"),
        ("memo", "key", "row"),
    ];
    let conn = Connection::open(db).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    loop {
        let &(table, key, text) = random.pick(&tables);
        let mut select = conn.prepare(&format!("SELECT {key} FROM {table} ORDER BY 1")).unwrap();
        let keys: Vec<rusqlite::types::Value> =
            select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let (one, two) = (random.pick(&keys), random.pick(&keys));
        let shown = format!("{table} {one:?} {two:?}");
        match random.below(3) {
            0 if !["memo", "workers"].contains(&table) => {
                let sql = format!("DELETE FROM {table} WHERE {key} = ?1");
                assert_eq!(conn.execute(&sql, [one]).unwrap(), 1);
                return format!("deleted {shown}");
            }
            1 => {
                let sql = format!("UPDATE {table} SET {text} = {text} || '!' WHERE {key} = ?1");
                assert_eq!(conn.execute(&sql, [one]).unwrap(), 1);
                return format!("changed {shown}");
            }
            2 if one != two => {
                let of = |key_of: &rusqlite::types::Value| -> (String, rusqlite::types::Value) {
                    let sql = format!("SELECT {text}, {} FROM {table} WHERE {key} = ?1", sum_of(table));
                    conn.query_row(&sql, [key_of], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
                };
                let (left, right) = (of(one), of(two));
                if left == right || left.0 == right.0 {
                    continue;
                }
                for (at, (value, sum)) in [(one, &right), (two, &left)] {
                    let sql = format!("UPDATE {table} SET {text} = ?2, {} = ?3 WHERE {key} = ?1", sum_of(table));
                    assert_eq!(conn.execute(&sql, params![at, value, sum]).unwrap(), 1);
                }
                return format!("swapped {shown}");
            }
            _ => {}
        }
    }
}

/// What vouches for a row.
fn sum_of(table: &str) -> &'static str {
    if table == "records" { "hash" } else { "sum" }
}

fn damage_blob(dir: &Path, random: &mut Random) -> String {
    let (one, two) = (random.below(usize::from(BLOBS)) as u8, random.below(usize::from(BLOBS)) as u8);
    let path = blob_path(dir, one);
    let mut bytes = std::fs::read(&path).unwrap();
    match random.below(4) {
        0 => std::fs::remove_file(&path).unwrap(),
        1 => std::fs::write(&path, &bytes[..random.below(bytes.len())]).unwrap(),
        2 if one != two => {
            let other = blob_path(dir, two);
            std::fs::rename(&other, dir.join("aside")).unwrap();
            std::fs::rename(&path, &other).unwrap();
            std::fs::rename(dir.join("aside"), &path).unwrap();
        }
        _ => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
            std::fs::write(&path, bytes).unwrap();
        }
    }
    format!("blobs {one} and {two}")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn any_damage_is_found_or_changes_nothing() {
    let is_long = std::env::vars_os().any(|(name, value)| name == "WHALEFLOW_LONG" && value == "1");
    let wanted = if is_long { FOUND_LONG } else { FOUND };
    let whole = tempfile::tempdir().unwrap();
    make(whole.path()).await;
    let fresh = || {
        let dir = tempfile::tempdir().unwrap();
        copy(whole.path(), dir.path());
        dir
    };
    let undamaged = fresh();
    assert_eq!(finding(undamaged.path()).await, None);
    let before = answers(&open(undamaged.path())).await.unwrap();

    let (mut found, mut harmless, mut seed) = (0, 0, 0);
    while found < wanted {
        let dir = fresh();
        let (what, must_be_found) = damage(dir.path(), &mut Random(seed));
        match finding(dir.path()).await {
            Some(_) => found += 1,
            None if must_be_found => panic!("seed {seed}: {what}: it is not found"),
            None => {
                harmless += 1;
                let after = answers(&open(dir.path())).await;
                assert!(after.as_ref() == Ok(&before), "seed {seed}: {what}: another answer\n{after:?}");
            }
        }
        seed += 1;
    }
    println!("{found} times found, {harmless} times nothing was changed");
    assert!(harmless < found, "most of the damage is to something");
}
