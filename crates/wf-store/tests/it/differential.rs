//! Both back ends give the same answers to the same random operations.

use proptest::prelude::*;
use wf_store::{
    Batch, BoardFilter, Capabilities, Claim, Completion, Epoch, FirstOwner, Head, Heartbeat, NewRecord, NewTask,
    PageLimit, RecordKind, RunFilter, RunId, Seq, Store, TaskChange, TaskFilter, TaskRef, TaskSignal, TaskStatus,
    WorkerRow,
};

use crate::fixture::{new_run, new_task, on_disk, open, run};

/// One operation on one of a few runs. Positions and epochs are near the right ones, so that most fit and some do not.
#[derive(Debug, Clone)]
enum Op {
    Create { run: RunId, owner: bool, created_ms: i64 },
    Append { run: RunId, after_off: i64, epoch_off: i64, batch: Batch },
    Post { run: RunId, message: String },
    Acquire { run: RunId, owner: &'static str, now_ms: i64, ttl_ms: i64 },
    Renew { run: RunId, epoch_off: i64, now_ms: i64 },
    Release { run: RunId, epoch_off: i64 },
    Memo { key: u8, row: String },
    Blob(Vec<u8>),
    Trace { run: RunId, instance: &'static str, line: String },
    Claim(Claim),
    Beat { worker: &'static str, held: Vec<Held>, now_ms: i64 },
    Complete { worker: &'static str, held: Held },
    Abandon { worker: &'static str, held: Vec<Held> },
    Forget { worker: &'static str },
    Reopen,
}

/// A task whose epoch is near the right one.
#[derive(Debug, Clone)]
struct Held {
    run: RunId,
    instance: &'static str,
    attempt: u32,
    epoch_off: i64,
}

fn a_run() -> impl Strategy<Value = RunId> {
    prop::sample::select(vec!["a", "ab", "abc", "b"]).prop_map(run)
}

fn mostly_right() -> impl Strategy<Value = i64> {
    prop_oneof![8 => Just(0i64), 1 => Just(1), 1 => Just(-1)]
}

fn a_record() -> impl Strategy<Value = NewRecord> {
    let kind = prop_oneof![Just(RecordKind::Input), Just(RecordKind::Decision)];
    (kind, any::<i64>(), ".{0,12}").prop_map(|(kind, at_ms, payload)| NewRecord { kind, at_ms, payload })
}

fn an_instance() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["x", "x[1]", "y/z"])
}

fn a_worker() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["w1", "w2"])
}

fn a_new_task() -> impl Strategy<Value = NewTask> {
    let status = prop_oneof![4 => Just(TaskStatus::Pending), 1 => prop::sample::select(TaskStatus::ALL.to_vec())];
    let needs = prop::sample::select(vec!["[]", r#"["git"]"#, r#"[ "gpu","git" ]"#]);
    (an_instance(), 0..3u32, status, needs, -1..2i64, 0..3i64, prop::option::weighted(0.8, ".{0,6}")).prop_map(
        |(instance, attempt, status, needs, priority, at_ms, request)| {
            let needs = needs.to_owned();
            NewTask { needs, priority, at_ms, request, ..new_task(instance, attempt, status) }
        },
    )
}

fn a_task() -> impl Strategy<Value = TaskChange> {
    let status = prop::sample::select(TaskStatus::ALL.to_vec());
    let waits_for = prop::option::of(".{0,4}");
    let set = (an_instance(), 0..3u32, status, waits_for, any::<i64>()).prop_map(
        |(instance, attempt, status, waits_for, at_ms)| {
            let instance = instance.to_owned();
            TaskChange::Set { instance, attempt, status, waits_for, at_ms }
        },
    );
    let signal = prop_oneof![Just(TaskSignal::Cancel), ".{0,4}".prop_map(TaskSignal::Text)];
    let signal = (an_instance(), 0..3u32, signal).prop_map(|(instance, attempt, signal)| TaskChange::Signal {
        instance: instance.to_owned(),
        attempt,
        signal,
    });
    prop_oneof![8 => a_new_task().prop_map(TaskChange::Insert), 1 => set, 1 => signal]
}

fn a_held() -> impl Strategy<Value = Held> {
    (a_run(), an_instance(), 0..3u32, mostly_right()).prop_map(|(run, instance, attempt, epoch_off)| Held {
        run,
        instance,
        attempt,
        epoch_off,
    })
}

fn a_claim() -> impl Strategy<Value = Claim> {
    let can = prop_oneof![
        2 => Just(Capabilities::All),
        1 => Just(Capabilities::Only(vec![])),
        1 => Just(Capabilities::Only(vec!["git".to_owned()])),
    ];
    let only =
        prop::option::weighted(0.3, prop::collection::vec((an_instance().prop_map(str::to_owned), 0..3u32), 0..4));
    (a_worker(), can, prop::option::of(a_run()), only, 0..5usize, 0..50i64, -1..20i64).prop_map(
        |(worker, can, run, only, limit, now_ms, ttl_ms)| Claim {
            worker: worker.to_owned(),
            can,
            run,
            only,
            limit,
            now_ms,
            ttl_ms,
        },
    )
}

fn a_batch() -> impl Strategy<Value = Batch> {
    let head = ("[a-z]{0,8}", any::<bool>(), any::<i64>(), ".{0,20}")
        .prop_map(|(status, ended, updated_ms, json)| Head { status, ended, updated_ms, json });
    let records = prop::collection::vec(a_record(), 0..4);
    let tasks = prop::collection::vec(a_task(), 0..3);
    (records, head, tasks, prop::option::weighted(0.3, 0..4u64)).prop_map(|(records, head, tasks, inbox_taken)| Batch {
        records,
        head,
        tasks,
        inbox_taken,
    })
}

fn an_op() -> impl Strategy<Value = Op> {
    let owner = || prop::sample::select(vec!["one", "two"]);
    prop_oneof![
        3 => (a_run(), any::<bool>(), 0..5i64).prop_map(|(run, owner, created_ms)| Op::Create { run, owner, created_ms }),
        10 => (a_run(), mostly_right(), mostly_right(), a_batch())
            .prop_map(|(run, after_off, epoch_off, batch)| Op::Append { run, after_off, epoch_off, batch }),
        4 => (a_run(), ".{0,9}").prop_map(|(run, message)| Op::Post { run, message }),
        3 => (a_run(), owner(), 0..50i64, -1..20i64)
            .prop_map(|(run, owner, now_ms, ttl_ms)| Op::Acquire { run, owner, now_ms, ttl_ms }),
        2 => (a_run(), mostly_right(), 0..50i64).prop_map(|(run, epoch_off, now_ms)| Op::Renew { run, epoch_off, now_ms }),
        2 => (a_run(), mostly_right()).prop_map(|(run, epoch_off)| Op::Release { run, epoch_off }),
        1 => (0..3u8, ".{0,9}").prop_map(|(key, row)| Op::Memo { key, row }),
        1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(Op::Blob),
        1 => (a_run(), prop::sample::select(vec!["x", "y"]), ".{0,9}")
            .prop_map(|(run, instance, line)| Op::Trace { run, instance, line }),
        6 => a_claim().prop_map(Op::Claim),
        3 => (a_worker(), prop::collection::vec(a_held(), 0..4), 0..99i64)
            .prop_map(|(worker, held, now_ms)| Op::Beat { worker, held, now_ms }),
        4 => (a_worker(), a_held()).prop_map(|(worker, held)| Op::Complete { worker, held }),
        2 => (a_worker(), prop::collection::vec(a_held(), 0..4)).prop_map(|(worker, held)| Op::Abandon { worker, held }),
        1 => a_worker().prop_map(|worker| Op::Forget { worker }),
        1 => Just(Op::Reopen),
    ]
}

/// What `op` answers, in words.
async fn answer(store: &Store, op: &Op) -> String {
    let near = |number: u64, off: i64| number.saturating_add_signed(off);
    match op.clone() {
        Op::Create { run, owner, created_ms } => {
            let mut new = new_run(&run, "i:a d:b");
            new.created_ms = created_ms;
            new.owner = owner.then(|| FirstOwner { owner: "one".to_owned(), until_ms: 10 });
            format!("{:?}", store.log.create_run(new).await)
        }
        Op::Append { run, after_off, epoch_off, batch } => {
            let (seq, epoch) = store.runs.head(&run).await.map_or((0, 0), |row| (row.seq.0, row.lease.epoch.0));
            let (after, epoch) = (Seq(near(seq, after_off)), Epoch(near(epoch, epoch_off)));
            format!("{:?}", store.log.append(&run, after, epoch, batch).await)
        }
        Op::Post { run, message } => format!("{:?}", store.inbox.post(&run, message, 3).await),
        Op::Acquire { run, owner, now_ms, ttl_ms } => {
            format!("{:?}", store.leases.acquire_lease(&run, owner, now_ms, ttl_ms).await)
        }
        Op::Renew { run, epoch_off, now_ms } => {
            let epoch = store.leases.lease(&run).await.map_or(0, |lease| lease.epoch.0);
            format!("{:?}", store.leases.renew_lease(&run, Epoch(near(epoch, epoch_off)), now_ms, 9).await)
        }
        Op::Release { run, epoch_off } => {
            let epoch = store.leases.lease(&run).await.map_or(0, |lease| lease.epoch.0);
            format!("{:?}", store.leases.release_lease(&run, Epoch(near(epoch, epoch_off))).await)
        }
        Op::Memo { key, row } => format!("{:?}", store.memo.memo_put(&wf_ir::Digest::of(&[key]), row, 1).await),
        Op::Blob(bytes) => format!("{:?}", store.blobs.put(bytes.into()).await),
        Op::Trace { run, instance, line } => {
            store.traces.append(&run, instance, line);
            store.traces.flush().await;
            format!("{:?}", store.traces.read(&run, instance, 0).await)
        }
        Op::Claim(claim) => format!("{:?}", store.tasks.claim(claim).await),
        Op::Beat { worker, held, now_ms } => {
            let held = refs(store, &held).await;
            let worker = WorkerRow {
                worker: worker.to_owned(),
                slots: 2,
                busy: held.len() as u32,
                can: Capabilities::All,
                host: "box".to_owned(),
                started_ms: 0,
                heartbeat_ms: 0,
            };
            format!("{:?}", store.tasks.heartbeat(Heartbeat { worker, held, now_ms, ttl_ms: 9 }).await)
        }
        Op::Complete { worker, held } => {
            let task = refs(store, &[held]).await.remove(0);
            let (worker, message) = (worker.to_owned(), "well".to_owned());
            format!("{:?}", store.tasks.complete(Completion { task, worker, message, at_ms: 4 }).await)
        }
        Op::Abandon { worker, held } => {
            let held = refs(store, &held).await;
            format!("{:?}", store.tasks.abandon(worker, held).await)
        }
        Op::Forget { worker } => format!("{:?}", store.tasks.forget_worker(worker).await),
        Op::Reopen => String::new(),
    }
}

async fn refs(store: &Store, held: &[Held]) -> Vec<TaskRef> {
    let mut refs = Vec::new();
    for Held { run, instance, attempt, epoch_off } in held {
        let filter = TaskFilter { status: None, after: None, limit: 99 };
        let rows = store.tasks.tasks(run, filter).await.unwrap_or_default();
        let row = rows.iter().find(|row| row.task.instance == *instance && row.task.attempt == *attempt);
        let epoch = Epoch(row.map_or(1, |row| row.epoch.0).saturating_add_signed(*epoch_off));
        refs.push(TaskRef { run: run.clone(), instance: (*instance).to_owned(), attempt: *attempt, epoch });
    }
    refs
}

/// Everything that can be read, in words.
async fn everything(store: &Store) -> String {
    let filter = |ended| RunFilter { limit: 3, prefix: Some("a".to_owned()), ended };
    let mut all = vec![
        format!("{:?}", store.runs.runs(filter(None)).await),
        format!("{:?}", store.runs.runs(filter(Some(true))).await),
        format!("{:?}", store.runs.resolve("a").await),
        format!("{:?}", store.runs.resolve("abc").await),
    ];
    for name in ["a", "ab", "abc", "b"] {
        let run = run(name);
        let limit = PageLimit { records_max: 5, bytes_max: 40 };
        all.push(format!("{:?}", store.runs.head(&run).await));
        all.push(format!("{:?}", store.log.verify(&run).await));
        for after in [0, 2, 7] {
            all.push(format!("{:?}", store.log.read(&run, Seq(after), limit).await));
        }
        all.push(format!("{:?}", store.inbox.inbox(&run, 1, 3).await));
        for status in [None, Some(TaskStatus::Done)] {
            let filter = TaskFilter { status, after: Some(("x".to_owned(), 1)), limit: 4 };
            all.push(format!("{:?}", store.tasks.tasks(&run, filter).await));
        }
    }
    for (statuses, limit) in
        [(vec![], 5), (vec![TaskStatus::Claimed, TaskStatus::Blocked], 3), (vec![TaskStatus::Done], 9)]
    {
        let mut after = None;
        while let Ok(rows) =
            store.tasks.board(BoardFilter { run: None, statuses: statuses.clone(), after, limit }).await
        {
            let Some(last) = rows.last() else { break };
            after = Some(last.cursor());
            all.push(format!("{rows:?}"));
        }
    }
    all.push(format!("{:?}", store.tasks.workers().await));
    for key in 0..3u8 {
        all.push(format!("{:?}", store.memo.memo_get(&wf_ir::Digest::of(&[key])).await));
    }
    all.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_back_ends_answer_alike(ops in prop::collection::vec(an_op(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let memory = Store::memory();
            let disk = on_disk();
            let mut sqlite = disk.store.clone();
            for op in &ops {
                if matches!(op, Op::Reopen) {
                    sqlite = open(disk.dir.path());
                }
                assert_eq!(answer(&sqlite, op).await, answer(&memory, op).await, "{op:?}");
            }
            assert_eq!(everything(&sqlite).await, everything(&memory).await);
        });
    }
}
