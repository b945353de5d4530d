//! Measures appends: rows per second through the store for several shapes of load, and the floor, which is plain SQLite
//! committing one small row per leaf in groups of 64.
//!
//! `cargo run --release -p wf-store --example append_rate [DIR]`

#![expect(clippy::print_stdout, reason = "prints what it measures")]
#![expect(clippy::disallowed_methods, reason = "measures time")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wf_ir::Digest;
use wf_store::{
    Batch, Epoch, Head, NewRecord, NewRun, NewTask, PageLimit, RecordKind, RunId, Seq, SqliteOptions, Store,
};
use wf_store::{TaskChange, TaskStatus};

type Fault = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Fault> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let floor = median(3, || floor(&parent, 20_000, 64))?;
    report("floor: plain rows, groups of 64", 20_000, floor, floor, 20_000);
    for (name, batches, rows) in [
        ("append, batches of 200", 500, 200),
        ("append, batches of 64", 1_000, 64),
        ("append, batches of 8", 2_000, 8),
        ("append, batches of 1", 2_000, 1),
    ] {
        let took = median(3, || runtime.block_on(one_after_another(&parent, batches, rows, 0)))?;
        report(name, batches * rows, took, floor, 20_000);
    }
    let took = median(3, || runtime.block_on(one_after_another(&parent, 500, 64, 64)))?;
    report("append, 64 records and 64 task rows", 500 * 128, took, floor, 20_000);
    for waiting in [16, 64] {
        let took = median(3, || runtime.block_on(at_once(&parent, 20_000, waiting)))?;
        report(&format!("one record each, {waiting} runs at once"), 20_000, took, floor, 20_000);
    }
    let (read, verify) = runtime.block_on(reading(&parent, 200_000))?;
    report("read in pages", 200_000, read, floor, 20_000);
    report("verify", 200_000, verify, floor, 20_000);
    Ok(())
}

fn report(name: &str, rows: usize, took: Duration, floor: Duration, floor_rows: usize) {
    let rate = rows as f64 / took.as_secs_f64();
    let ratio = rate / (floor_rows as f64 / floor.as_secs_f64());
    let each = took.as_secs_f64() * 1e6 / rows as f64;
    println!("{name:<40} {rate:>10.0} rows/s {each:>8.2} us each {ratio:>6.2} of the floor");
}

fn median(times: usize, mut measure: impl FnMut() -> Result<Duration, Fault>) -> Result<Duration, Fault> {
    let mut took = Vec::new();
    for _ in 0..times {
        took.push(measure()?);
    }
    took.sort();
    Ok(took[took.len() / 2])
}

/// What SQLite does without us.
fn floor(parent: &Path, rows: usize, group: usize) -> Result<Duration, Fault> {
    let dir = tempfile::tempdir_in(parent)?;
    let conn = rusqlite::Connection::open(dir.path().join("floor.db"))?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.execute_batch("CREATE TABLE leaf (id INTEGER PRIMARY KEY, payload TEXT NOT NULL)")?;
    let text = payload();
    let start = Instant::now();
    for _ in 0..rows / group {
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for _ in 0..group {
            conn.prepare_cached("INSERT INTO leaf (payload) VALUES (?1)")?.execute([&text])?;
        }
        conn.prepare_cached("COMMIT")?.execute([])?;
    }
    Ok(start.elapsed())
}

fn payload() -> String {
    format!("{{\"ended\":{{\"instance\":\"fan[17]/leaf\",\"value\":\"{}\"}}}}", "x".repeat(150))
}

fn head(seq: usize) -> Head {
    let json = format!("{{\"done\":{seq},\"total\":1000,\"cost\":0,\"longest\":\"fan[17]/leaf\"}}");
    Head { status: "running".to_owned(), ended: false, updated_ms: seq as i64, json }
}

fn batch(rows: usize, tasks: usize, number: usize) -> Batch {
    let kind = |at: usize| if at.is_multiple_of(2) { RecordKind::Input } else { RecordKind::Decision };
    let task = |at: usize| {
        TaskChange::Insert(NewTask {
            instance: format!("fan[{}]/leaf", number * tasks + at),
            attempt: 1,
            generation: 1,
            kind: "agent".to_owned(),
            status: TaskStatus::Claimed,
            worker: Some("owner".to_owned()),
            priority: 0,
            needs: "[]".to_owned(),
            waits_for: None,
            request: None,
            at_ms: 1,
        })
    };
    Batch {
        records: (0..rows).map(|at| NewRecord { kind: kind(at), at_ms: at as i64, payload: payload() }).collect(),
        head: head(number),
        tasks: (0..tasks).map(task).collect(),
        inbox_taken: None,
    }
}

async fn with_runs(parent: &Path, count: usize) -> Result<(tempfile::TempDir, Store, Vec<RunId>), Fault> {
    let dir = tempfile::tempdir_in(parent)?;
    let store = Store::open_sqlite(dir.path(), SqliteOptions::default())?;
    let mut runs = Vec::new();
    for number in 0..count {
        let run = RunId::parse(&format!("r{number}"))?;
        let new = NewRun {
            run: run.clone(),
            workflow_name: "fanout".to_owned(),
            workflow_hash: Digest::of(b"fanout"),
            labels: "{}".to_owned(),
            created_ms: 0,
            owner: None,
            batch: batch(0, 0, 0),
        };
        store.log.create_run(new).await?;
        runs.push(run);
    }
    Ok((dir, store, runs))
}

async fn one_after_another(parent: &Path, batches: usize, rows: usize, tasks: usize) -> Result<Duration, Fault> {
    let (_dir, store, runs) = with_runs(parent, 1).await?;
    let ready: Vec<Batch> = (0..batches).map(|number| batch(rows, tasks, number)).collect();
    let mut after = Seq::START;
    let start = Instant::now();
    for batch in ready {
        after = store.log.append(&runs[0], after, Epoch::NEVER_OWNED, batch).await?.seq;
    }
    let took = start.elapsed();
    store.close().await;
    Ok(took)
}

async fn at_once(parent: &Path, appends: usize, waiting: usize) -> Result<Duration, Fault> {
    let (_dir, store, runs) = with_runs(parent, waiting).await?;
    let start = Instant::now();
    let mut owners = tokio::task::JoinSet::new();
    for run in runs {
        let store = store.clone();
        owners.spawn(async move {
            let mut after = Seq::START;
            for number in 0..appends / waiting {
                after = store.log.append(&run, after, Epoch::NEVER_OWNED, batch(1, 0, number)).await?.seq;
            }
            Ok::<_, Fault>(())
        });
    }
    while let Some(done) = owners.join_next().await {
        done??;
    }
    let took = start.elapsed();
    store.close().await;
    Ok(took)
}

async fn reading(parent: &Path, rows: usize) -> Result<(Duration, Duration), Fault> {
    let (_dir, store, runs) = with_runs(parent, 1).await?;
    let mut after = Seq::START;
    for number in 0..rows / 1_000 {
        after = store.log.append(&runs[0], after, Epoch::NEVER_OWNED, batch(1_000, 0, number)).await?.seq;
    }
    let start = Instant::now();
    let (mut after, mut count) = (Seq::START, 0);
    loop {
        let page = store.log.read(&runs[0], after, PageLimit::default()).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        count += page.len();
    }
    assert_eq!(count, rows, "every record is read");
    let read = start.elapsed();
    let start = Instant::now();
    store.log.verify(&runs[0]).await?;
    Ok((read, start.elapsed()))
}
