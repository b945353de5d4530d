//! What every back end must do alike for workers: claims, signs of life, reports, and the board.

use expect_test::{Expect, expect};
use wf_store::{
    Batch, Beat, BoardFilter, Capabilities, Claim, ClaimError, Claimed, CompleteError, Completion, Epoch, Head,
    Heartbeat, Mark, NewTask, RunId, Seq, Store, TaskChange, TaskError, TaskRef, TaskRow, TaskSignal, TaskStatus,
    WorkerRow,
};

use crate::fixture::{all_tasks, batch, board, create, head, new_run, new_task, run, task};

suite! {
    a_claim_gives_the_most_urgent_first
    a_task_is_given_once
    a_worker_gets_what_it_can_do
    a_claim_can_be_narrowed
    a_task_without_a_request_is_given_only_by_name
    a_claim_is_bounded
    every_claim_raises_the_epoch
    a_heartbeat_prolongs_what_is_still_held
    a_heartbeat_hears_the_signals
    signals_go_with_the_row_and_with_its_end
    a_report_is_taken_once
    a_stale_report_is_refused
    a_report_to_a_run_that_is_over_is_refused
    a_report_to_a_full_inbox_is_refused_and_comes_later
    what_is_abandoned_is_pending_again
    a_request_goes_when_its_task_is_over
    the_board_shows_all_runs_newest_first
    workers_come_and_go
    wishes_have_limits
    watchers_hear_of_reports_and_of_tasks
    a_closed_store_gives_nothing
}

fn open_task(instance: &str, priority: i64, at_ms: i64, needs: &str) -> NewTask {
    NewTask {
        worker: None,
        priority,
        needs: needs.to_owned(),
        request: Some(format!("request of {instance}")),
        at_ms,
        ..new_task(instance, 1, TaskStatus::Pending)
    }
}

async fn run_with(store: &Store, name: &str, tasks: Vec<NewTask>) -> RunId {
    let mut new = new_run(&run(name), "i:a");
    new.batch.tasks = tasks.into_iter().map(TaskChange::Insert).collect();
    store.log.create_run(new).await.unwrap();
    run(name)
}

/// Appends task changes to a run that was made by [`run_with`].
async fn change(store: &Store, run: &RunId, tasks: Vec<TaskChange>) {
    let row = store.runs.head(run).await.unwrap();
    store.log.append(run, row.seq, row.lease.epoch, Batch { tasks, ..batch("i:b") }).await.unwrap();
}

fn wish(worker: &str, limit: usize) -> Claim {
    let (can, worker) = (Capabilities::All, worker.to_owned());
    Claim { worker, can, run: None, only: None, limit, now_ms: 100, ttl_ms: 50 }
}

async fn claim(store: &Store, worker: &str, limit: usize) -> Vec<Claimed> {
    store.tasks.claim(wish(worker, limit)).await.unwrap()
}

/// Claims in short: `run/instance@epoch`.
fn names(claimed: &[Claimed]) -> String {
    let name = |it: &Claimed| format!("{}/{}@{}", it.task.run, it.task.instance, it.task.epoch);
    claimed.iter().map(name).collect::<Vec<_>>().join(" ")
}

fn worker(name: &str) -> WorkerRow {
    WorkerRow {
        worker: name.to_owned(),
        slots: 4,
        busy: 1,
        can: Capabilities::Only(vec!["git".to_owned(), "gpu\"".to_owned()]),
        host: "box 1".to_owned(),
        started_ms: 1,
        heartbeat_ms: 0,
    }
}

async fn beat(store: &Store, name: &str, held: &[&TaskRef], now_ms: i64) -> Vec<Beat> {
    let held: Vec<TaskRef> = held.iter().map(|&task| task.clone()).collect();
    let heard = store.tasks.hear(name, held.clone()).await.unwrap();
    let beats = store.tasks.heartbeat(Heartbeat { worker: worker(name), held, now_ms, ttl_ms: 50 }).await.unwrap();
    assert_eq!(heard, beats, "what is heard without a heartbeat");
    beats
}

fn held() -> Beat {
    Beat::Held { signals: Vec::new() }
}

fn report(task: &TaskRef, worker: &str) -> Completion {
    Completion { task: task.clone(), worker: worker.to_owned(), message: "it went well".to_owned(), at_ms: 120 }
}

async fn complete(store: &Store, task: &TaskRef, worker: &str) -> String {
    match store.tasks.complete(report(task, worker)).await {
        Ok(id) => format!("message {id}"),
        Err(error) => error.to_string(),
    }
}

async fn row(store: &Store, task: &TaskRef) -> TaskRow {
    let rows = store.tasks.tasks(&task.run, all_tasks()).await.unwrap();
    rows.into_iter().find(|row| row.task.instance == task.instance && row.task.attempt == task.attempt).unwrap()
}

async fn a_claim_gives_the_most_urgent_first(store: Store) {
    let one = run_with(
        &store,
        "z1",
        vec![open_task("b", 0, 5, "[]"), open_task("a", 0, 5, "[]"), open_task("old", 0, 1, "[]")],
    );
    one.await;
    let tasks =
        vec![open_task("a", 0, 5, "[]"), open_task("urgent", 7, 9, r#"["git"]"#), open_task("last", -3, 0, "[]")];
    run_with(&store, "a2", tasks).await;
    let first = claim(&store, "w", 2).await;
    assert_eq!(names(&first), "a2/urgent@2 z1/old@2");
    let Claimed { generation, kind, request, .. } = &first[0];
    assert_eq!((*generation, kind.as_str(), request.as_deref()), (2, "agent", Some("request of urgent")));
    // Of two that are alike, the one of the run that was made first.
    assert_eq!(names(&claim(&store, "w", 9).await), "z1/a@2 z1/b@2 a2/a@2 a2/last@2");
    assert_eq!(claim(&store, "w", 9).await, vec![]);
    let row = row(&store, &first[0].task).await;
    assert_eq!((row.task.status, row.task.worker.as_deref()), (TaskStatus::Claimed, Some("w")));
    assert_eq!((row.lease_until_ms, row.heartbeat_ms, row.reported), (Some(150), Some(100), false));
    assert_eq!((row.updated_ms, row.task.at_ms, row.task.request), (100, 9, None));
}

async fn a_task_is_given_once(store: Store) {
    let tasks = (0..60).map(|number| open_task(&format!("n[{number}]"), number % 3, number, "[]")).collect();
    run_with(&store, "r1", tasks).await;
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let store = store.clone();
        workers.spawn(async move { claim(&store, &format!("w{number}"), 4).await });
    }
    let (mut given, mut seen) = (0, std::collections::BTreeSet::new());
    while let Some(claimed) = workers.join_next().await {
        let claimed = claimed.unwrap();
        assert!(claimed.len() <= 4);
        given += claimed.len();
        seen.extend(claimed.into_iter().map(|it| it.task));
    }
    assert_eq!((given, seen.len()), (60, 60));
}

async fn a_worker_gets_what_it_can_do(store: Store) {
    let needs =
        [("none", "[]"), ("git", r#"["git"]"#), ("both", r#"["gpu", "git"]"#), ("odd", r#"["a\"b", "\u00e9"]"#)];
    run_with(&store, "r1", needs.iter().map(|(name, needs)| open_task(name, 0, 0, needs)).collect()).await;
    let with = async |can: &[&str]| {
        let can = Capabilities::Only(can.iter().map(|&name| name.to_owned()).collect());
        names(&store.tasks.claim(Claim { can, ..wish("w", 9) }).await.unwrap())
    };
    assert_eq!(with(&[]).await, "r1/none@2");
    assert_eq!(with(&["gpu"]).await, "");
    assert_eq!(with(&["git", "x"]).await, "r1/git@2");
    assert_eq!(with(&["x", "git", "gpu"]).await, "r1/both@2");
    assert_eq!(with(&["a\"b", "e"]).await, "");
    assert_eq!(with(&["a\"b", "é"]).await, "r1/odd@2");
}

async fn a_claim_can_be_narrowed(store: Store) {
    for name in ["r1", "r2"] {
        run_with(&store, name, (0..4).map(|at| open_task(&format!("n{at}"), 0, at, "[]")).collect()).await;
    }
    let within = async |run: &str, only: Option<&[(&str, u32)]>, limit| {
        let only = only.map(|only| only.iter().map(|&(name, attempt)| (name.to_owned(), attempt)).collect());
        let run = Some(RunId::parse(run).unwrap());
        store.tasks.claim(Claim { run, only, ..wish("w", limit) }).await.map(|claimed| names(&claimed))
    };
    assert_eq!(within("r2", None, 2).await.unwrap(), "r2/n0@2 r2/n1@2");
    let only = [("n3", 1), ("n0", 1), ("n2", 2), ("gone", 1), ("n2", 1), ("n3", 1)];
    assert_eq!(within("r2", Some(&only), 1).await.unwrap(), "r2/n2@2");
    assert_eq!(within("r2", Some(&only), 9).await.unwrap(), "r2/n3@2");
    assert_eq!(within("r1", Some(&[]), 9).await.unwrap(), "");
    assert_eq!(within("r1", None, 0).await.unwrap(), "");
    assert_eq!(within("r1", None, 9).await.unwrap(), "r1/n0@2 r1/n1@2 r1/n2@2 r1/n3@2");
    let missing = within("nowhere", None, 9).await;
    assert!(matches!(missing, Err(ClaimError::Missing { run }) if run.as_str() == "nowhere"));
    let missing = within("nowhere", Some(&[("n3", 1)]), 9).await;
    assert!(matches!(missing, Err(ClaimError::Missing { .. })));
}

async fn a_task_without_a_request_is_given_only_by_name(store: Store) {
    let own = NewTask { request: None, ..open_task("own", 9, 0, "[]") };
    let run = run_with(&store, "r1", vec![own, open_task("all", 0, 0, "[]")]).await;
    let of_run = Claim { run: Some(run.clone()), ..wish("w", 9) };
    assert_eq!(names(&store.tasks.claim(of_run.clone()).await.unwrap()), "r1/all@2");
    assert_eq!(claim(&store, "w", 9).await, vec![]);
    let named = Claim { only: Some(vec![("own".to_owned(), 1)]), ..of_run };
    let claimed = store.tasks.claim(named).await.unwrap();
    assert_eq!((names(&claimed).as_str(), &claimed[0].request), ("r1/own@2", &None));
}

async fn a_claim_is_bounded(store: Store) {
    // Requests of 4 MiB: after 16 of them no more are given, however many were asked for.
    let wide = |number: i64| NewTask {
        request: Some("x".repeat(4 << 20)),
        ..open_task(&format!("n{number:02}"), 0, number, "[]")
    };
    run_with(&store, "r1", (0..20).map(wide).collect()).await;
    assert_eq!(claim(&store, "w", 99).await.len(), 16);
    assert_eq!(claim(&store, "w", 99).await.len(), 4);
    run_with(&store, "r2", (0..1_010).map(|number| open_task(&format!("n{number}"), 0, 0, "[]")).collect()).await;
    assert_eq!(claim(&store, "w", usize::MAX).await.len(), 1_000);
    assert_eq!(claim(&store, "w", usize::MAX).await.len(), 10);
}

async fn every_claim_raises_the_epoch(store: Store) {
    let run = run_with(&store, "r1", vec![open_task("a", 0, 0, "[]")]).await;
    let back =
        |status| vec![TaskChange::Set { instance: "a".to_owned(), attempt: 1, status, waits_for: None, at_ms: 9 }];
    let first = claim(&store, "w", 1).await.remove(0);
    change(&store, &run, back(TaskStatus::Pending)).await;
    let free = row(&store, &first.task).await;
    assert_eq!((free.task.worker, free.lease_until_ms, free.heartbeat_ms, free.epoch), (None, None, None, Epoch(2)));
    assert_eq!(beat(&store, "w", &[&first.task], 101).await, [Beat::Lost]);
    let second = claim(&store, "w", 1).await;
    assert_eq!(names(&second), "r1/a@3");
    assert_eq!(beat(&store, "w", &[&first.task, &second[0].task], 101).await, [Beat::Lost, held()]);
    change(&store, &run, back(TaskStatus::Blocked)).await;
    assert_eq!(
        (beat(&store, "w", &[&second[0].task], 101).await, claim(&store, "w", 1).await),
        (vec![Beat::Lost], vec![])
    );
    change(&store, &run, vec![TaskChange::Insert(NewTask { generation: 7, ..open_task("a", 0, 0, "[]") })]).await;
    let third = claim(&store, "w", 1).await;
    assert_eq!((names(&third).as_str(), third[0].generation), ("r1/a@5", 7));
}

async fn a_heartbeat_prolongs_what_is_still_held(store: Store) {
    run_with(&store, "r1", vec![open_task("a", 1, 0, "[]"), open_task("b", 0, 0, "[]")]).await;
    let claimed = claim(&store, "w", 2).await;
    let (a, b) = (&claimed[0].task, &claimed[1].task);
    assert_eq!(beat(&store, "w", &[b, a], 130).await, [held(), held()]);
    assert_eq!((row(&store, a).await.lease_until_ms, row(&store, a).await.heartbeat_ms), (Some(180), Some(130)));
    // One that ran out lives on as long as nobody took it, and no heartbeat shortens one.
    assert_eq!(beat(&store, "w", &[a], 999).await, [held()]);
    assert_eq!(beat(&store, "w", &[a], 5).await, [held()]);
    assert_eq!(row(&store, a).await.lease_until_ms, Some(1_049));
    let stale = TaskRef { epoch: Epoch(1), ..a.clone() };
    let ahead = TaskRef { epoch: Epoch(u64::MAX), ..a.clone() };
    let gone = TaskRef { instance: "gone".to_owned(), ..a.clone() };
    let nowhere = TaskRef { run: run("nowhere"), ..a.clone() };
    assert_eq!(beat(&store, "w", &[&stale, &ahead, &gone, &nowhere, b], 7).await[..4], [const { Beat::Lost }; 4]);
    assert_eq!(beat(&store, "other", &[a], 7).await, [Beat::Lost]);
    assert_eq!(beat(&store, "w", &[], 7).await, []);
}

async fn a_heartbeat_hears_the_signals(store: Store) {
    let run = run_with(&store, "r1", vec![open_task("a", 1, 0, "[]"), open_task("b", 0, 0, "[]")]).await;
    let signal = |instance: &str, signal| TaskChange::Signal { instance: instance.to_owned(), attempt: 1, signal };
    // Whoever claims a task hears what it was told before.
    change(&store, &run, vec![signal("a", TaskSignal::Text("early".to_owned()))]).await;
    let claimed = claim(&store, "w", 2).await;
    let (a, b) = (&claimed[0].task, &claimed[1].task);
    change(&store, &run, vec![signal("a", TaskSignal::Cancel), signal("a", TaskSignal::Text(String::new()))]).await;
    let signals = vec![TaskSignal::Text("early".to_owned()), TaskSignal::Cancel, TaskSignal::Text(String::new())];
    for _ in 0..2 {
        let heard = beat(&store, "w", &[b, a], 101).await;
        assert_eq!(heard, [held(), Beat::Held { signals: signals.clone() }]);
    }
    let nowhere = Batch { tasks: vec![signal("gone", TaskSignal::Cancel)], ..batch("i:c") };
    let refused = store.log.append(&run, Seq(3), Epoch::NEVER_OWNED, nowhere).await.unwrap_err();
    expect!["the batch cannot be stored: there is no task gone attempt 1"].assert_eq(&refused.to_string());
    change(&store, &run, vec![signal("b", TaskSignal::Cancel); 1_000]).await;
    let more = Batch { tasks: vec![signal("b", TaskSignal::Cancel)], ..batch("i:c") };
    let refused = store.log.append(&run, Seq(4), Epoch::NEVER_OWNED, more).await.unwrap_err();
    expect!["the batch cannot be stored: task b attempt 1 has 1000 signals already"].assert_eq(&refused.to_string());
}

async fn signals_go_with_the_row_and_with_its_end(store: Store) {
    let run = run_with(&store, "r1", vec![open_task("a", 0, 0, "[]")]).await;
    let cancel = || TaskChange::Signal { instance: "a".to_owned(), attempt: 1, signal: TaskSignal::Cancel };
    change(&store, &run, vec![cancel(), TaskChange::Insert(open_task("a", 0, 0, "[]"))]).await;
    let task = claim(&store, "w", 1).await.remove(0).task;
    assert_eq!(beat(&store, "w", &[&task], 101).await, [held()]);
    change(&store, &run, vec![cancel()]).await;
    assert_eq!(beat(&store, "w", &[&task], 101).await, [Beat::Held { signals: vec![TaskSignal::Cancel] }]);
    // One that is over hears nothing, and forgets what it was told even if it stands up again.
    let end = TaskChange::finish("a", 1, TaskStatus::Failed, 9);
    let again = TaskChange::finish("a", 1, TaskStatus::Claimed, 9);
    change(&store, &run, vec![end, cancel(), again]).await;
    assert_eq!(beat(&store, "w", &[&task], 101).await, [held()]);
}

async fn a_report_is_taken_once(store: Store) {
    let run = run_with(&store, "r1", vec![open_task("a", 0, 0, "[]")]).await;
    store.inbox.post(&run, "before".to_owned(), 1).await.unwrap();
    let task = claim(&store, "w", 1).await.remove(0).task;
    assert_eq!(complete(&store, &task, "w").await, "message 2");
    let message = store.inbox.inbox(&run, 1, 9).await.unwrap().remove(0);
    assert_eq!((message.id, message.at_ms, message.message.as_str()), (2, 120, "it went well"));
    let reported = row(&store, &task).await;
    assert_eq!((reported.task.status, reported.reported, reported.updated_ms), (TaskStatus::Claimed, true, 120));
    assert_eq!(complete(&store, &task, "w").await, "the task is not held at epoch 2 any more, it is at 2");
    assert_eq!(beat(&store, "w", &[&task], 101).await, [Beat::Lost]);
    assert_eq!(store.tasks.abandon("w", vec![task.clone()]).await.unwrap(), 0);
    let taken =
        Batch { inbox_taken: Some(2), tasks: vec![TaskChange::finish("a", 1, TaskStatus::Done, 130)], ..batch("i:b") };
    store.log.append(&run, Seq(1), Epoch::NEVER_OWNED, taken).await.unwrap();
    let done = row(&store, &task).await;
    assert_eq!(
        (done.task.status, done.task.worker.as_deref(), done.lease_until_ms),
        (TaskStatus::Done, Some("w"), None)
    );
    assert_eq!(complete(&store, &task, "w").await, "the task is not held at epoch 2 any more, it is at 2");
    assert_eq!(store.inbox.inbox(&run, 0, 9).await.unwrap().len(), 2);
}

async fn a_stale_report_is_refused(store: Store) {
    let run = run_with(&store, "r1", vec![open_task("a", 0, 0, "[]")]).await;
    let task = claim(&store, "w", 1).await.remove(0).task;
    assert_eq!(complete(&store, &task, "other").await, "the task is not held at epoch 2 any more, it is at 2");
    // The owner took the task from a worker that did not show itself, and gave it to another.
    change(&store, &run, vec![TaskChange::Insert(open_task("a", 0, 0, "[]"))]).await;
    let refused = store.tasks.complete(report(&task, "w")).await.unwrap_err();
    assert!(matches!(refused, CompleteError::Fenced { held: Epoch(2), current: Epoch(3) }), "{refused:?}");
    let second = claim(&store, "v", 1).await.remove(0).task;
    let refused = store.tasks.complete(report(&task, "w")).await.unwrap_err();
    assert!(matches!(refused, CompleteError::Fenced { held: Epoch(2), current: Epoch(4) }), "{refused:?}");
    let gone = TaskRef { attempt: 2, ..second.clone() };
    assert_eq!(complete(&store, &gone, "v").await, "the task is not held at epoch 4 any more, it is at 0");
    let nowhere = TaskRef { run: crate::fixture::run("nowhere"), ..second.clone() };
    assert_eq!(complete(&store, &nowhere, "v").await, "there is no run nowhere");
    assert_eq!(store.inbox.inbox(&run, 0, 9).await.unwrap(), vec![]);
    assert_eq!(complete(&store, &second, "v").await, "message 1");
}

async fn a_report_to_a_run_that_is_over_is_refused(store: Store) {
    let run = run_with(&store, "r1", vec![open_task("a", 0, 0, "[]")]).await;
    let task = claim(&store, "w", 1).await.remove(0).task;
    let over = Batch { head: Head { ended: true, ..head("cancelled") }, ..batch("i:b") };
    store.log.append(&run, Seq(1), Epoch::NEVER_OWNED, over).await.unwrap();
    assert_eq!(complete(&store, &task, "w").await, "the report cannot be taken: run r1 is over");
    assert!(!row(&store, &task).await.reported);
    assert_eq!(store.inbox.inbox(&run, 0, 9).await.unwrap(), vec![]);
}

async fn a_report_to_a_full_inbox_is_refused_and_comes_later(store: Store) {
    let run = run_with(&store, "r1", vec![open_task("a", 0, 0, "[]")]).await;
    let task = claim(&store, "w", 1).await.remove(0).task;
    crate::fixture::fill_inbox(&store, &run).await;
    assert!(matches!(store.tasks.complete(report(&task, "w")).await, Err(CompleteError::Full)));
    assert_eq!(beat(&store, "w", &[&task], 101).await, [held()]);
    let taken = Batch { inbox_taken: Some(1), ..batch("i:b") };
    store.log.append(&run, Seq(1), Epoch::NEVER_OWNED, taken).await.unwrap();
    assert_eq!(complete(&store, &task, "w").await, "message 10001");
}

async fn what_is_abandoned_is_pending_again(store: Store) {
    run_with(&store, "r1", vec![open_task("a", 1, 0, "[]"), open_task("b", 0, 0, "[]")]).await;
    let claimed = claim(&store, "w", 2).await;
    let (a, b) = (claimed[0].task.clone(), claimed[1].task.clone());
    assert_eq!(store.tasks.abandon("other", vec![a.clone()]).await.unwrap(), 0);
    let stale = TaskRef { epoch: Epoch(1), ..b.clone() };
    assert_eq!(store.tasks.abandon("w", vec![a.clone(), stale, a.clone()]).await.unwrap(), 1);
    let back = row(&store, &a).await;
    assert_eq!((back.task.status, back.task.worker, back.epoch), (TaskStatus::Pending, None, Epoch(3)));
    assert_eq!((back.lease_until_ms, back.heartbeat_ms, back.task.at_ms), (None, None, 0));
    assert_eq!(complete(&store, &a, "w").await, "the task is not held at epoch 2 any more, it is at 3");
    let again = claim(&store, "v", 9).await;
    assert_eq!((names(&again).as_str(), again[0].request.as_deref()), ("r1/a@4", Some("request of a")));
    assert_eq!(beat(&store, "w", &[&b], 101).await, [held()]);
}

async fn a_request_goes_when_its_task_is_over(store: Store) {
    let run = run_with(&store, "r1", vec![open_task("a", 0, 0, "[]")]).await;
    let set = |status| TaskChange::finish("a", 1, status, 9);
    change(&store, &run, vec![set(TaskStatus::Blocked), set(TaskStatus::Pending)]).await;
    assert_eq!(claim(&store, "w", 1).await[0].request.as_deref(), Some("request of a"));
    change(&store, &run, vec![set(TaskStatus::Done), set(TaskStatus::Pending)]).await;
    assert_eq!(claim(&store, "w", 1).await, vec![]);
    let over = NewTask { status: TaskStatus::Failed, ..open_task("b", 0, 0, "[]") };
    change(&store, &run, vec![TaskChange::Insert(over), TaskChange::finish("b", 1, TaskStatus::Pending, 9)]).await;
    assert_eq!(claim(&store, "w", 1).await, vec![]);
}

async fn the_board_shows_all_runs_newest_first(store: Store) {
    for (name, created_ms) in [("r1", 5), ("r2", 9), ("r3", 7)] {
        let mut new = new_run(&run(name), "i:a");
        new.created_ms = created_ms;
        new.batch.tasks = vec![
            task("b", 1, TaskStatus::Done),
            task("a", 2, TaskStatus::Claimed),
            task("a", 1, TaskStatus::Failed),
            TaskChange::Insert(open_task("c", 0, 0, "[]")),
        ];
        store.log.create_run(new).await.unwrap();
    }
    create(&store, "empty", "i:a").await;
    let shown = async |run: Option<&str>, statuses: &[TaskStatus], limit| {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let run = run.map(|run| RunId::parse(run).unwrap());
            let filter = BoardFilter { run, statuses: statuses.to_vec(), after, limit };
            let page = store.tasks.board(filter).await.unwrap();
            assert!(page.len() <= limit && page.iter().all(|row| row.task.request.is_none()));
            let Some(last) = page.last() else { break };
            after = Some(last.cursor());
            all.extend(page.iter().map(|row| format!("{}/{}#{}", row.run, row.task.instance, row.task.attempt)));
        }
        all.join(" ")
    };
    for limit in [1, 2, 3, 5, 99] {
        let all = "r2/a#1 r2/a#2 r2/b#1 r2/c#1 r3/a#1 r3/a#2 r3/b#1 r3/c#1 r1/a#1 r1/a#2 r1/b#1 r1/c#1";
        assert_eq!(shown(None, &[], limit).await, all);
        assert_eq!(shown(Some("r3"), &[], limit).await, "r3/a#1 r3/a#2 r3/b#1 r3/c#1");
        let live = [TaskStatus::Claimed, TaskStatus::Pending];
        assert_eq!(shown(None, &live, limit).await, "r2/a#2 r2/c#1 r3/a#2 r3/c#1 r1/a#2 r1/c#1");
        let mixed = [TaskStatus::Failed, TaskStatus::Pending];
        assert_eq!(shown(Some("r1"), &mixed, limit).await, "r1/a#1 r1/c#1");
        assert_eq!(shown(None, &[TaskStatus::Blocked], limit).await, "");
    }
    // The cursor may be of another run than the one that is asked for.
    let at = |run: &str, cursor: &str| BoardFilter {
        run: Some(RunId::parse(run).unwrap()),
        statuses: Vec::new(),
        after: Some(wf_store::BoardCursor { run: RunId::parse(cursor).unwrap(), instance: "b".to_owned(), attempt: 1 }),
        limit: 9,
    };
    assert_eq!(store.tasks.board(at("r1", "r3")).await.unwrap().len(), 4);
    assert_eq!(store.tasks.board(at("r2", "r3")).await.unwrap().len(), 0);
    for filter in [at("nowhere", "r1"), at("r1", "nowhere")] {
        let missing = store.tasks.board(filter).await.unwrap_err();
        assert_eq!(missing.to_string(), "there is no run nowhere");
    }
}

async fn workers_come_and_go(store: Store) {
    let names = async || {
        let workers = store.tasks.workers().await.unwrap();
        workers.iter().map(|it| format!("{}@{}", it.worker, it.heartbeat_ms)).collect::<Vec<_>>().join(" ")
    };
    beat(&store, "w2", &[], 10).await;
    beat(&store, "w1", &[], 20).await;
    assert_eq!(names().await, "w1@20 w2@10");
    let other = WorkerRow { can: Capabilities::All, busy: 3, ..worker("w2") };
    let held = Vec::new();
    store.tasks.heartbeat(Heartbeat { worker: other.clone(), held, now_ms: 30, ttl_ms: 1 }).await.unwrap();
    let expected = [WorkerRow { heartbeat_ms: 20, ..worker("w1") }, WorkerRow { heartbeat_ms: 30, ..other }];
    assert_eq!(store.tasks.workers().await.unwrap(), expected);
    store.tasks.forget_worker("w1").await.unwrap();
    store.tasks.forget_worker("nobody").await.unwrap();
    assert_eq!(names().await, "w2@30");
    // Whoever has been silent for a week is struck off.
    let week = 7 * 24 * 60 * 60 * 1_000;
    beat(&store, "w3", &[], 30 + week).await;
    assert_eq!(names().await, format!("w2@30 w3@{}", 30 + week));
    beat(&store, "w3", &[], 31 + week).await;
    assert_eq!(names().await, format!("w3@{}", 31 + week));
}

async fn wishes_have_limits(store: Store) {
    let run = run_with(&store, "r1", vec![open_task("a", 0, 0, "[]")]).await;
    let refused = async |claim: Claim, expected: Expect| {
        let error = store.tasks.claim(claim).await.unwrap_err();
        assert!(matches!(error, ClaimError::Refused { .. }));
        expected.assert_eq(&error.to_string());
    };
    refused(wish("", 1), expect!["the claim cannot be served: a worker's name has 1 to 256 bytes"]).await;
    refused(wish(&"w".repeat(257), 1), expect!["the claim cannot be served: a worker's name has 1 to 256 bytes"]).await;
    let short = Claim { ttl_ms: 0, ..wish("w", 1) };
    refused(short, expect!["the claim cannot be served: a lease lasts at least a millisecond"]).await;
    let nowhere = Claim { only: Some(vec![]), ..wish("w", 1) };
    refused(nowhere, expect!["the claim cannot be served: tasks are named within a run"]).await;
    let many = Claim { only: Some(vec![("a".to_owned(), 1); 10_001]), run: Some(run.clone()), ..wish("w", 1) };
    refused(many, expect!["the claim cannot be served: 10001 named tasks, at most 10000 are allowed"]).await;
    for (can, expected) in [
        (vec!["x".to_owned(); 257], expect!["the claim cannot be served: 257 capabilities, at most 256 are allowed"]),
        (
            vec!["x".repeat(129)],
            expect!["the claim cannot be served: 129 bytes of a capability, at most 128 are allowed"],
        ),
        (
            vec!["a\0".to_owned()],
            expect!["the claim cannot be served: a capability is empty or has control characters"],
        ),
    ] {
        refused(Claim { can: Capabilities::Only(can), ..wish("w", 1) }, expected).await;
    }
    let long = Completion { message: "x".repeat((4 << 20) + 1), ..report(&claim(&store, "w", 1).await[0].task, "w") };
    let long = store.tasks.complete(long).await.unwrap_err();
    expect!["the report cannot be taken: 4194305 bytes of a message, at most 4194304 are allowed"]
        .assert_eq(&long.to_string());
    let host = WorkerRow { host: "h".repeat(257), ..worker("w") };
    let host = store.tasks.heartbeat(Heartbeat { worker: host, held: vec![], now_ms: 0, ttl_ms: 1 }).await.unwrap_err();
    expect!["the worker cannot be heard: 257 bytes of a host, at most 256 are allowed"].assert_eq(&host.to_string());

    let change = async |task: NewTask, expected: Expect| {
        let tasks = vec![TaskChange::Insert(task)];
        let error = store.log.append(&run, Seq(1), Epoch::NEVER_OWNED, Batch { tasks, ..batch("i:b") }).await;
        expected.assert_eq(&error.unwrap_err().to_string());
    };
    let request = NewTask { request: Some("x".repeat((4 << 20) + 1)), ..open_task("b", 0, 0, "[]") };
    change(request, expect!["the batch cannot be stored: 4194305 bytes of a request, at most 4194304 are allowed"])
        .await;
    for needs in ["", "{}", "[1]", "[\"a\"", "[[]]", "null"] {
        let expected = expect!["the batch cannot be stored: what a task needs is not an array of texts"];
        change(open_task("b", 0, 0, needs), expected).await;
    }
    let empty = expect!["the batch cannot be stored: a capability is empty or has control characters"];
    change(open_task("b", 0, 0, r#"[""]"#), empty).await;
}

async fn watchers_hear_of_reports_and_of_tasks(store: Store) {
    let run = run_with(&store, "r1", vec![open_task("a", 0, 0, "[]")]).await;
    let (mut mark, mut changes) = (store.watch.run(&run), store.watch.changes());
    mark.wait_for(|mark| *mark == Mark { seq: Seq(1), message: 0 }).await.unwrap();
    let task = claim(&store, "w", 1).await.remove(0).task;
    changes.changed().await.unwrap();
    complete(&store, &task, "w").await;
    mark.wait_for(|mark| *mark == Mark { seq: Seq(1), message: 1 }).await.unwrap();
}

async fn a_closed_store_gives_nothing(store: Store) {
    let run = run_with(&store, "r1", vec![open_task("a", 1, 0, "[]"), open_task("b", 0, 0, "[]")]).await;
    let task = claim(&store, "w", 1).await.remove(0).task;
    store.close().await;
    assert!(matches!(store.tasks.claim(wish("w", 1)).await, Err(ClaimError::Unavailable(_))));
    assert!(matches!(store.tasks.abandon("w", vec![task.clone()]).await, Err(TaskError::Unavailable(_))));
    assert!(matches!(store.tasks.forget_worker("w").await, Err(TaskError::Unavailable(_))));
    assert!(matches!(store.tasks.complete(report(&task, "w")).await, Err(CompleteError::Unavailable(_))));
    assert_eq!(board(&store, &run).await, "a#1 claimed, b#1 pending");
}
