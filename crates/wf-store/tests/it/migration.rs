//! A store of the first schema, opened by this program.

use std::path::Path;

use rusqlite::{Connection, params};
use wf_store::{
    Chain, Claim, Epoch, Lease, NewRecord, RecordKind, RunId, Seq, SqliteOptions, Store, TaskChange, TaskStatus,
};

use crate::fixture::{all_tasks, batch, board, new_task, open, payloads, run};

const SCHEMA_1: &str = include_str!("../../src/sqlite/schema_1.sql");

/// A database as version 1 made it: two runs with records, inbox, lease, tasks of every status, and a memo row.
fn version_1(dir: &Path) -> Connection {
    let conn = Connection::open(dir.join("store.db")).unwrap();
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    conn.execute_batch(SCHEMA_1).unwrap();
    conn.pragma_update(None, "application_id", 0x7768_616c_i64).unwrap();
    conn.pragma_update(None, "user_version", 1).unwrap();
    for (number, name) in [(1i64, "r1"), (2, "r2")] {
        conn.execute("INSERT INTO runs VALUES (?1, ?2, 'audit', ?3, '{}', ?1)", params![number, name, [7u8; 32]])
            .unwrap();
        let mut chain = Chain::start(&run(name));
        for at in 1..=number + 2 {
            let record = NewRecord { kind: RecordKind::Input, at_ms: at, payload: format!("{{\"{name}\":{at}}}") };
            let hash = chain.extend(&record);
            let id = (number << 32) + at;
            let row = params![id, record.kind.byte(), record.at_ms, record.payload, &hash.0[..]];
            conn.execute("INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5)", row).unwrap();
        }
        let head = params![number, chain.seq.0 as i64, &chain.hash.0[..]];
        conn.execute("INSERT INTO heads VALUES (?1, ?2, ?3, 1, 'running', 0, 5, '{}')", head).unwrap();
        conn.execute("INSERT INTO leases VALUES (?1, 4, 'owner', 99)", [number]).unwrap();
        for id in 1..=2 {
            conn.execute("INSERT INTO inbox VALUES (?1, 3, 'hello')", [(number << 32) + id]).unwrap();
        }
        for (at, status) in TaskStatus::ALL.into_iter().enumerate() {
            let row = params![number, format!("n[{at}]"), status.word()];
            conn.execute(
                "INSERT INTO tasks VALUES (?1, ?2, 1, 4, 'agent', ?3, 'owner', 0, '[]', NULL, 6, NULL, NULL, 7)",
                row,
            )
            .unwrap();
        }
    }
    conn.execute("INSERT INTO memo VALUES (?1, 'answer', 1)", [[9u8; 32]]).unwrap();
    conn
}

async fn everything_is_there(store: &Store) {
    for (name, records) in [("r1", 3), ("r2", 4)] {
        let run = run(name);
        assert_eq!(store.log.verify(&run).await.unwrap().records, records);
        assert_eq!(payloads(store, &run, 9).await[1], format!("{{\"{name}\":2}}"));
        let row = store.runs.head(&run).await.unwrap();
        assert_eq!((row.inbox_cursor, row.head.status.as_str(), row.head.updated_ms), (1, "running", 5));
        assert_eq!(row.lease, Lease { epoch: Epoch(4), owner: Some("owner".to_owned()), until_ms: 99 });
        assert_eq!(store.inbox.inbox(&run, 0, 9).await.unwrap().len(), 2);
        let tasks = "n[0]#1 pending, n[1]#1 claimed, n[2]#1 done, n[3]#1 blocked, n[4]#1 failed";
        assert_eq!(board(store, &run).await, tasks);
        let row = store.tasks.tasks(&run, all_tasks()).await.unwrap().remove(1);
        assert_eq!((row.epoch, row.task.generation, row.reported), (Epoch(4), 0, false));
        assert_eq!((row.task.at_ms, row.updated_ms, row.task.worker.as_deref()), (6, 7, Some("owner")));
    }
    assert_eq!(store.memo.memo_get(&wf_ir::Digest([9; 32])).await.unwrap().as_deref(), Some("answer"));
    assert_eq!(store.runs.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_store_of_the_first_schema_is_saved_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // Its last writer was killed: everything is in the write-ahead log still.
    let killed = version_1(dir.path());
    let before = Connection::open(dir.path().join("store.db")).unwrap();
    drop(killed);
    let store = open(dir.path());
    everything_is_there(&store).await;
    drop(before);

    let saved = Connection::open(dir.path().join("store.db.v1")).unwrap();
    let count = |table: &str| -> i64 {
        saved.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    let version: i64 = saved.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let counts = ["runs", "records", "inbox", "tasks", "memo", "leases", "heads"].map(count);
    assert_eq!((version, counts), (1, [2, 7, 4, 10, 1, 2, 2]));

    // It goes on: a repeat of an attempt that was pending, which another process may now perform.
    let mut batch = batch("i:more");
    let request = Some("please".to_owned());
    batch.tasks = vec![TaskChange::Insert(wf_store::NewTask { request, ..new_task("n[0]", 1, TaskStatus::Pending) })];
    store.log.append(&run("r1"), Seq(3), Epoch(4), batch).await.unwrap();
    let can = wf_store::Capabilities::All;
    let wish = Claim { worker: "w".to_owned(), can, run: None, only: None, limit: 9, now_ms: 1, ttl_ms: 9 };
    let claimed = store.tasks.claim(wish).await.unwrap();
    assert_eq!((claimed.len(), &claimed[0].task.run, claimed[0].task.epoch), (1, &run("r1"), Epoch(6)));
}

/// Opening is one step: whoever opens at the same time finds the old schema or the new one, and the same data.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_open_it_at_once_agree() {
    let dir = tempfile::tempdir().unwrap();
    drop(version_1(dir.path()));
    let mut openers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let dir = dir.path().to_owned();
        openers.spawn_blocking(move || Store::open_sqlite(&dir, SqliteOptions::default()).unwrap());
    }
    while let Some(store) = openers.join_next().await {
        everything_is_there(&store.unwrap()).await;
    }
    let names = std::fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.contains(".v") || name.contains("backup")).count(), 1);
    let missing = RunId::parse("r3").unwrap();
    assert!(open(dir.path()).runs.head(&missing).await.is_err());
}
