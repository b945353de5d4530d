//! What the tests share: a store in a directory that vanishes, and short ways to make batches.

use std::path::Path;

use tempfile::TempDir;
use wf_ir::Digest;
use wf_store::{
    Appended, Batch, Epoch, Head, NewRecord, NewRun, NewTask, RecordKind, RunId, Seq, SqliteOptions, Store, TaskChange,
    TaskFilter, TaskStatus,
};

/// Runs every case of the suite on every back end.
macro_rules! suite {
    ($($case:ident)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $case() {
                super::$case(wf_store::Store::memory()).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                let on_disk = crate::fixture::on_disk();
                super::$case(on_disk.store.clone()).await;
                assert_eq!(on_disk.store.runs.check().await.unwrap(), Vec::<String>::new());
            })*
        }
    };
}

/// A SQLite store and its directory.
pub(crate) struct OnDisk {
    pub(crate) store: Store,
    pub(crate) dir: TempDir,
}

pub(crate) fn on_disk() -> OnDisk {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    OnDisk { store, dir }
}

pub(crate) fn open(dir: &Path) -> Store {
    Store::open_sqlite(dir, SqliteOptions::default()).unwrap()
}

pub(crate) fn run(text: &str) -> RunId {
    RunId::parse(text).unwrap()
}

/// Records from words: `i` and `d` say the kind, as in `i:created d:started`.
pub(crate) fn records(words: &str) -> Vec<NewRecord> {
    let record = |(at, word): (usize, &str)| {
        let (kind, payload) = word.split_once(':').unwrap();
        let kind = if kind == "i" { RecordKind::Input } else { RecordKind::Decision };
        NewRecord { kind, at_ms: 1_000 + at as i64, payload: format!("{{\"{payload}\":{{}}}}") }
    };
    words.split_whitespace().enumerate().map(record).collect()
}

pub(crate) fn head(status: &str) -> Head {
    Head { status: status.to_owned(), ended: false, updated_ms: 5, json: format!("{{\"of\":\"{status}\"}}") }
}

pub(crate) fn batch(words: &str) -> Batch {
    Batch { records: records(words), head: head("running"), tasks: Vec::new(), inbox_taken: None }
}

pub(crate) fn new_run(run: &RunId, words: &str) -> NewRun {
    NewRun {
        run: run.clone(),
        workflow_name: "audit".to_owned(),
        workflow_hash: Digest::of(b"audit"),
        labels: r#"{"team":"a"}"#.to_owned(),
        created_ms: 1_000,
        owner: None,
        batch: batch(words),
    }
}

pub(crate) async fn create(store: &Store, name: &str, words: &str) -> (RunId, Appended) {
    let run = run(name);
    let created = store.log.create_run(new_run(&run, words)).await.unwrap();
    assert_eq!(created.epoch, Epoch::NEVER_OWNED);
    (run, created.appended)
}

pub(crate) fn task(instance: &str, attempt: u32, status: TaskStatus) -> TaskChange {
    TaskChange::Insert(new_task(instance, attempt, status))
}

pub(crate) fn new_task(instance: &str, attempt: u32, status: TaskStatus) -> NewTask {
    NewTask {
        instance: instance.to_owned(),
        attempt,
        generation: 2,
        kind: "agent".to_owned(),
        status,
        worker: Some("w1".to_owned()),
        priority: 3,
        needs: r#"["git"]"#.to_owned(),
        waits_for: None,
        request: None,
        at_ms: 7,
    }
}

pub(crate) fn all_tasks() -> TaskFilter {
    TaskFilter { status: None, after: None, limit: 1_000 }
}

/// The board of a run in short: `instance#attempt status`.
pub(crate) async fn board(store: &Store, run: &RunId) -> String {
    let rows = store.tasks.tasks(run, all_tasks()).await.unwrap();
    let word =
        |row: &wf_store::TaskRow| format!("{}#{} {}", row.task.instance, row.task.attempt, row.task.status.word());
    rows.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// All payloads of a log, read in pages of `records_max`.
pub(crate) async fn payloads(store: &Store, run: &RunId, records_max: usize) -> Vec<String> {
    let limit = wf_store::PageLimit { records_max, bytes_max: usize::MAX };
    let (mut all, mut after) = (Vec::new(), Seq::START);
    loop {
        let page = store.log.read(run, after, limit).await.unwrap();
        let Some(last) = page.last() else { return all };
        assert!(page.len() <= records_max);
        after = last.seq;
        all.extend(page.into_iter().map(|record| record.payload));
    }
}

/// Fills an inbox and gives the id of the last message.
pub(crate) async fn fill_inbox(store: &Store, run: &RunId) -> u64 {
    let posts = (0..wf_store::inbox::INBOX_WAITING_MAX).map(|_| store.inbox.post(run, String::new(), 0));
    let mut posts: Vec<_> = posts.collect();
    // Many at a time, so that the disk is asked seldom.
    let mut last = 0;
    while !posts.is_empty() {
        let some = posts.split_off(posts.len().saturating_sub(250));
        let mut set = Vec::new();
        for post in some {
            set.push(post);
        }
        last = last.max(join(set).await.into_iter().map(Result::unwrap).max().unwrap());
    }
    last
}

/// Polls all futures together until each has answered.
async fn join<T>(futures: Vec<wf_store::BoxFuture<'_, T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.into_iter().map(Some).collect();
    let mut answers = Vec::new();
    std::future::poll_fn(|ctx| {
        for slot in &mut waiting {
            if let Some(future) = slot
                && let std::task::Poll::Ready(answer) = future.as_mut().poll(ctx)
            {
                answers.push(answer);
                *slot = None;
            }
        }
        if waiting.iter().any(Option::is_some) { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    answers
}
