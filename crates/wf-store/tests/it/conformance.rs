//! What every back end must do alike.

use std::sync::Arc;

use expect_test::{Expect, expect};
use wf_ir::Digest;
use wf_store::{
    AppendError, Batch, BlobError, Chain, CreateError, Epoch, FirstOwner, LeaseError, Mark, PageLimit, PostError,
    ReadError, RenewError, ResolveError, RunFilter, RunId, Seq, Store, TaskChange, TaskFilter, TaskStatus,
};

use crate::fixture::{all_tasks, batch, board, create, fill_inbox, head, new_run, payloads, records, run, task};

suite! {
    a_log_gives_back_what_was_appended
    an_append_names_the_record_that_it_follows
    an_append_names_the_epoch_that_it_holds
    a_refused_append_writes_nothing_at_all
    appends_that_are_under_way_together_keep_their_order
    of_many_appends_after_one_record_one_wins
    pages_are_bounded_by_rows_and_by_bytes
    batches_have_limits
    what_is_not_there_is_missing
    a_run_is_made_once
    a_new_run_can_have_an_owner
    runs_are_listed_newest_first
    a_prefix_names_a_run
    an_inbox_keeps_the_order_of_arrival
    the_inbox_cursor_only_moves_forward
    an_inbox_can_be_full
    a_lease_has_one_holder
    every_change_of_owner_raises_the_epoch
    tasks_follow_the_append
    a_repeated_attempt_replaces_its_task
    tasks_are_listed_by_status_and_in_pages
    memo_rows_are_found_by_their_key
    blobs_are_found_by_their_content
    traces_are_read_while_they_grow
    a_trace_has_bounds
    watchers_hear_of_appends_and_messages
    a_closed_store_writes_nothing
}

fn line(result: &Result<impl Sized, impl std::fmt::Display>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn check(result: &Result<impl Sized, impl std::fmt::Display>, expected: Expect) {
    expected.assert_eq(&line(result));
}

async fn append(store: &Store, run: &RunId, after: u64, words: &str) -> Result<wf_store::Appended, AppendError> {
    store.log.append(run, Seq(after), Epoch::NEVER_OWNED, batch(words)).await
}

async fn a_log_gives_back_what_was_appended(store: Store) {
    let (run, first) = create(&store, "r1", "i:created d:planned").await;
    assert_eq!(first.seq, Seq(2));
    let mut later = batch("i:ended d:done d:more");
    later.records[1].payload = "not json: \u{0} \u{1F41F} \"".to_owned();
    later.records[2].payload = "x".repeat(70_000);
    later.records[2].at_ms = i64::MIN;
    later.head = wf_store::Head { ended: true, ..head("succeeded") };
    let second = store.log.append(&run, Seq(2), Epoch::NEVER_OWNED, later.clone()).await.unwrap();
    assert_eq!(second.seq, Seq(5));

    let read = store.log.read(&run, Seq::START, PageLimit::default()).await.unwrap();
    let mut written = records("i:created d:planned");
    written.extend(later.records);
    assert_eq!(read.len(), written.len());
    let mut chain = Chain::start(&run);
    for (at, (read, written)) in read.iter().zip(&written).enumerate() {
        assert_eq!((read.seq, read.kind, read.at_ms), (Seq(at as u64 + 1), written.kind, written.at_ms));
        assert_eq!((&read.payload, read.hash), (&written.payload, chain.extend(written)));
    }
    let verified = store.log.verify(&run).await.unwrap();
    assert_eq!((verified.records, verified.log_digest), (5, second.hash));
    let row = store.runs.head(&run).await.unwrap();
    assert_eq!((row.seq, row.hash, row.head.ended), (Seq(5), second.hash, true));
    assert_eq!((row.workflow_name.as_str(), row.workflow_hash), ("audit", Digest::of(b"audit")));
    assert_eq!((row.labels.as_str(), row.created_ms), (r#"{"team":"a"}"#, 1_000));
    assert_eq!(row.head.json, r#"{"of":"succeeded"}"#);
}

async fn an_append_names_the_record_that_it_follows(store: Store) {
    let (run, _) = create(&store, "r1", "i:a d:b").await;
    for after in [0, 1, 3, u64::MAX - 5] {
        let conflict = append(&store, &run, after, "i:c").await;
        match conflict {
            Err(AppendError::Conflict { expected, actual }) => assert_eq!((expected, actual), (Seq(after), Seq(2))),
            other => assert_eq!(line(&other), "the batch cannot be stored: a log holds at most 4294967295 records"),
        }
    }
    append(&store, &run, 2, "i:c").await.unwrap();
    assert_eq!(payloads(&store, &run, 9).await.concat(), r#"{"a":{}}{"b":{}}{"c":{}}"#);
}

async fn an_append_names_the_epoch_that_it_holds(store: Store) {
    let (run, _) = create(&store, "r1", "i:a").await;
    let first = store.leases.acquire_lease(&run, "one", 0, 10).await.unwrap();
    let second = store.leases.acquire_lease(&run, "two", 10, 10).await.unwrap();
    for stale in [Epoch::NEVER_OWNED, first, Epoch(9)] {
        // A stale owner hears that it is stale, even where it also names the wrong record.
        for after in [1, 7] {
            match store.log.append(&run, Seq(after), stale, batch("i:b")).await {
                Err(AppendError::Fenced { held, current }) => assert_eq!((held, current), (stale, second)),
                other => panic!("{other:?}"),
            }
        }
    }
    store.log.append(&run, Seq(1), second, batch("i:b")).await.unwrap();
    store.leases.release_lease(&run, second).await.unwrap();
    let let_go = store.log.append(&run, Seq(2), second, batch("i:c")).await;
    check(&let_go, expect!["the run is at epoch 3, not at 2"]);
}

async fn a_refused_append_writes_nothing_at_all(store: Store) {
    let (run, _) = create(&store, "r1", "i:a").await;
    store.inbox.post(&run, "{}".to_owned(), 1).await.unwrap();
    let before = (store.runs.head(&run).await.unwrap(), board(&store, &run).await);
    let full = Batch {
        records: records("i:b d:c"),
        head: head("changed"),
        tasks: vec![task("x", 1, TaskStatus::Claimed)],
        inbox_taken: Some(1),
    };
    let conflict = store.log.append(&run, Seq(0), Epoch::NEVER_OWNED, full.clone()).await;
    check(&conflict, expect!["the log ends at record 1, not at 0"]);
    let fenced = store.log.append(&run, Seq(1), Epoch(4), full.clone()).await;
    check(&fenced, expect!["the run is at epoch 0, not at 4"]);
    let mut half = full.clone();
    half.tasks.push(TaskChange::finish("never/ordered", 2, TaskStatus::Done, 1));
    let half = store.log.append(&run, Seq(1), Epoch::NEVER_OWNED, half).await;
    check(&half, expect!["the batch cannot be stored: there is no task never/ordered attempt 2"]);
    let ahead = Batch { inbox_taken: Some(2), ..full.clone() };
    let ahead = store.log.append(&run, Seq(1), Epoch::NEVER_OWNED, ahead).await;
    check(&ahead, expect!["the batch cannot be stored: inbox message 2 does not exist, the last is 1"]);

    assert_eq!((store.runs.head(&run).await.unwrap(), board(&store, &run).await), before);
    assert_eq!(payloads(&store, &run, 9).await.len(), 1);
    // The same batch fits where it belongs, whole.
    store.log.append(&run, Seq(1), Epoch::NEVER_OWNED, full).await.unwrap();
    let row = store.runs.head(&run).await.unwrap();
    assert_eq!((row.seq, row.inbox_cursor, row.head.status.as_str()), (Seq(3), 1, "changed"));
    assert_eq!(board(&store, &run).await, "x#1 claimed");
}

async fn appends_that_are_under_way_together_keep_their_order(store: Store) {
    let (run, _) = create(&store, "r1", "i:a").await;
    let (other, _) = create(&store, "r2", "i:a").await;
    let (one, bad, two, elsewhere) = tokio::join!(
        append(&store, &run, 1, "i:b"),
        append(&store, &run, 1, "i:lost"),
        append(&store, &run, 2, "i:c"),
        append(&store, &other, 1, "i:z"),
    );
    assert_eq!((one.unwrap().seq, two.unwrap().seq, elsewhere.unwrap().seq), (Seq(2), Seq(3), Seq(2)));
    check(&bad, expect!["the log ends at record 2, not at 1"]);
    assert_eq!(payloads(&store, &run, 2).await.concat(), r#"{"a":{}}{"b":{}}{"c":{}}"#);

    // One that fails half-way is undone, and takes nobody with it.
    let mut half = batch("i:half");
    half.tasks.push(TaskChange::finish("never/ordered", 1, TaskStatus::Done, 1));
    let (before, half, after) = tokio::join!(
        append(&store, &run, 3, "i:d"),
        store.log.append(&run, Seq(4), Epoch::NEVER_OWNED, half),
        append(&store, &run, 4, "i:e"),
    );
    assert_eq!((before.unwrap().seq, after.unwrap().seq), (Seq(4), Seq(5)));
    check(&half, expect!["the batch cannot be stored: there is no task never/ordered attempt 1"]);
    assert_eq!(payloads(&store, &run, 9).await[3..].concat(), r#"{"d":{}}{"e":{}}"#);
    assert_eq!(store.log.verify(&run).await.unwrap().records, 5);
}

async fn of_many_appends_after_one_record_one_wins(store: Store) {
    let (run, _) = create(&store, "r1", "i:a").await;
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..50 {
        let (store, run) = (store.clone(), run.clone());
        racers.spawn(async move { append(&store, &run, 1, &format!("i:racer{racer}")).await });
    }
    let mut won = 0;
    while let Some(done) = racers.join_next().await {
        match done.unwrap() {
            Ok(appended) => won += appended.seq.0,
            Err(error) => assert_eq!(error.to_string(), "the log ends at record 2, not at 1"),
        }
    }
    assert_eq!((won, store.log.verify(&run).await.unwrap().records), (2, 2));
}

async fn pages_are_bounded_by_rows_and_by_bytes(store: Store) {
    let words: Vec<String> = (0..100).map(|number| format!("i:n{number:03}")).collect();
    let (run, _) = create(&store, "r1", &words.join(" ")).await;
    create(&store, "r2", "i:elsewhere").await;
    for records_max in [1, 7, 99, 100, 101] {
        assert_eq!(payloads(&store, &run, records_max).await.len(), 100, "{records_max}");
    }
    let size = r#"{"n000":{}}"#.len() + 1;
    for (bytes_max, expected) in [(0, 1), (1, 1), (size, 1), (2 * size - 1, 1), (2 * size, 2), (10 * size, 10)] {
        let page = store.log.read(&run, Seq(50), PageLimit { records_max: 99, bytes_max }).await.unwrap();
        assert_eq!((page.len(), page[0].seq), (expected, Seq(51)), "{bytes_max}");
    }
    for past in [100, 101, u64::MAX] {
        assert_eq!(store.log.read(&run, Seq(past), PageLimit::default()).await.unwrap(), vec![]);
    }
}

async fn batches_have_limits(store: Store) {
    let (run, _) = create(&store, "r1", "i:a").await;
    let wide = |change: fn(&mut Batch)| {
        let mut wide = batch("i:b");
        change(&mut wide);
        store.log.append(&run, Seq(1), Epoch::NEVER_OWNED, wide)
    };
    let long = wide(|batch| batch.records[0].payload = "x".repeat((16 << 20) + 1)).await;
    check(&long, expect!["the batch cannot be stored: 16777217 bytes of a payload, at most 16777216 are allowed"]);
    let status = wide(|batch| batch.head.status = "x".repeat(65)).await;
    check(&status, expect!["the batch cannot be stored: 65 bytes of a status, at most 64 are allowed"]);
    let head = wide(|batch| batch.head.json = "x".repeat((1 << 20) + 1)).await;
    check(&head, expect!["the batch cannot be stored: 1048577 bytes of a head, at most 1048576 are allowed"]);
    let instance = wide(|batch| batch.tasks.push(task(&"x".repeat(5_000), 1, TaskStatus::Done))).await;
    check(&instance, expect!["the batch cannot be stored: 5000 bytes of an instance, at most 4096 are allowed"]);
    let many = wide(|batch| batch.tasks = vec![TaskChange::finish("x", 1, TaskStatus::Done, 1); 100_001]).await;
    check(&many, expect!["the batch cannot be stored: 100001 task changes in a batch, at most 100000 are allowed"]);
    let taken = wide(|batch| batch.inbox_taken = Some(u64::MAX)).await;
    check(&taken, expect!["the batch cannot be stored: there is no such inbox message"]);
    let message = store.inbox.post(&run, "x".repeat((4 << 20) + 1), 1).await;
    check(&message, expect!["the message cannot be stored: 4194305 bytes of a message, at most 4194304 are allowed"]);
    let memo = store.memo.memo_put(&Digest::of(b"k"), "x".repeat((1 << 20) + 1), 1).await;
    check(&memo, expect!["the memo row cannot be stored: 1048577 bytes of a memo row, at most 1048576 are allowed"]);
    for owner in ["", &"x".repeat(257)] {
        let owner = store.leases.acquire_lease(&run, owner, 0, 1).await;
        check(&owner, expect!["the lease cannot be given: an owner has 1 to 256 bytes"]);
    }
    let short = store.leases.acquire_lease(&run, "one", 0, 0).await;
    check(&short, expect!["the lease cannot be given: a lease lasts at least a millisecond"]);
    let named = store.log.create_run(wf_store::NewRun { labels: "x".repeat(65_537), ..new_run(&run, "") }).await;
    check(&named, expect!["the run cannot be stored: 65537 bytes of labels, at most 65536 are allowed"]);
    assert_eq!(store.log.verify(&run).await.unwrap().records, 1);
}

async fn what_is_not_there_is_missing(store: Store) {
    create(&store, "r1", "i:a").await;
    let ghost = run("r");
    assert!(matches!(append(&store, &ghost, 0, "i:a").await, Err(AppendError::Missing { run }) if run == ghost));
    assert!(matches!(store.inbox.post(&ghost, String::new(), 0).await, Err(PostError::Missing { .. })));
    assert!(matches!(store.leases.acquire_lease(&ghost, "a", 0, 1).await, Err(LeaseError::Missing { .. })));
    assert!(matches!(store.leases.renew_lease(&ghost, Epoch(0), 0, 1).await, Err(RenewError::Missing { .. })));
    assert!(matches!(store.leases.release_lease(&ghost, Epoch(0)).await, Err(RenewError::Missing { .. })));
    let missing = |error: Option<ReadError>| assert!(matches!(error, Some(ReadError::Missing { run }) if run == ghost));
    missing(store.log.read(&ghost, Seq::START, PageLimit::default()).await.err());
    missing(store.log.verify(&ghost).await.err());
    missing(store.runs.head(&ghost).await.err());
    missing(store.inbox.inbox(&ghost, 0, 1).await.err());
    missing(store.leases.lease(&ghost).await.err());
    missing(store.tasks.tasks(&ghost, all_tasks()).await.err());
    assert_eq!(store.memo.memo_get(&Digest::of(b"k")).await.unwrap(), None);
    assert!(!store.blobs.exists(&Digest::of(b"k")).await.unwrap());
    assert!(matches!(store.blobs.get(&Digest::of(b"k")).await, Err(BlobError::Missing { .. })));
    assert_eq!(store.traces.read(&ghost, "x", 5).await.unwrap().next_offset, 5);
}

async fn a_run_is_made_once(store: Store) {
    let (run, first) = create(&store, "r1", "i:a").await;
    let again = store.log.create_run(new_run(&run, "i:other i:other")).await;
    assert!(matches!(again, Err(CreateError::Exists { run: taken }) if taken == run));
    assert_eq!(store.log.verify(&run).await.unwrap().log_digest, first.hash);
    // A run may begin without a record.
    let (empty, begun) = create(&store, "r2", "").await;
    assert_eq!((begun.seq, begun.hash), (Seq::START, wf_store::chain_start(&empty)));
    assert_eq!(store.log.verify(&empty).await.unwrap().records, 0);
    assert_eq!(store.log.read(&empty, Seq::START, PageLimit::default()).await.unwrap(), vec![]);
    let mut half = new_run(&crate::fixture::run("r3"), "i:a");
    half.batch.tasks.push(TaskChange::finish("never/ordered", 1, TaskStatus::Done, 1));
    let half = store.log.create_run(half).await;
    check(&half, expect!["the run cannot be stored: there is no task never/ordered attempt 1"]);
    assert!(matches!(store.runs.head(&crate::fixture::run("r3")).await, Err(ReadError::Missing { .. })));
}

async fn a_new_run_can_have_an_owner(store: Store) {
    let mut new = new_run(&run("r1"), "i:a");
    new.owner = Some(FirstOwner { owner: "one".to_owned(), until_ms: 100 });
    let created = store.log.create_run(new).await.unwrap();
    assert_eq!(created.epoch, Epoch(1));
    let held = store.leases.acquire_lease(&run("r1"), "two", 99, 10).await;
    check(&held, expect!["one holds the run"]);
    store.log.append(&run("r1"), Seq(1), created.epoch, batch("i:b")).await.unwrap();
}

async fn runs_are_listed_newest_first(store: Store) {
    for (name, created_ms, ended) in [("ab1", 5, false), ("ab2", 9, true), ("b", 7, false), ("ab0", 9, false)] {
        let mut new = new_run(&run(name), "i:a");
        new.created_ms = created_ms;
        new.batch.head.ended = ended;
        store.log.create_run(new).await.unwrap();
    }
    let list = async |limit, prefix: Option<&str>, ended| {
        let filter = RunFilter { limit, prefix: prefix.map(str::to_owned), ended };
        let rows = store.runs.runs(filter).await.unwrap();
        rows.iter().map(|row| row.run.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(list(9, None, None).await, "ab2 ab0 b ab1");
    assert_eq!(list(2, None, None).await, "ab2 ab0");
    assert_eq!(list(0, None, None).await, "");
    assert_eq!(list(9, Some("ab"), None).await, "ab2 ab0 ab1");
    assert_eq!(list(9, Some("ab"), Some(false)).await, "ab0 ab1");
    assert_eq!(list(9, None, Some(true)).await, "ab2");
    for strange in ["%", "AB", "a'b", "_", "ab{", "é"] {
        assert_eq!(list(9, Some(strange), None).await, "", "{strange}");
    }
}

async fn a_prefix_names_a_run(store: Store) {
    let none = store.runs.resolve("").await;
    check(&none, expect![[r#"no run begins with """#]]);
    for name in ["abc", "abcd", "abx", "z"] {
        create(&store, name, "i:a").await;
    }
    for (prefix, found) in [("abc", "abc"), ("abcd", "abcd"), ("abx", "abx"), ("z", "z")] {
        assert_eq!(store.runs.resolve(prefix).await.unwrap(), run(found));
    }
    match store.runs.resolve("ab").await {
        Err(ResolveError::Ambiguous { candidates, .. }) => {
            assert_eq!(candidates, ["abc", "abcd", "abx"].map(run));
        }
        other => panic!("{other:?}"),
    }
    let long = "a".repeat(100_000);
    for prefix in ["q", "abcde", "%", "_bc", "ABC", "@last", "ab c", long.as_str()] {
        match store.runs.resolve(prefix).await {
            Err(ResolveError::Missing { prefix: named }) => assert!(prefix.starts_with(&named) && named.len() <= 40),
            other => panic!("{other:?}"),
        }
    }
}

async fn an_inbox_keeps_the_order_of_arrival(store: Store) {
    let (run, _) = create(&store, "r1", "i:a").await;
    let (other, _) = create(&store, "r2", "i:a").await;
    for number in 1..=5u64 {
        let id = store.inbox.post(&run, format!("m{number}"), 10 * number as i64).await.unwrap();
        assert_eq!(id, number);
    }
    assert_eq!(store.inbox.post(&other, "elsewhere".to_owned(), 0).await.unwrap(), 1);
    let read = async |after, limit| {
        let messages = store.inbox.inbox(&run, after, limit).await.unwrap();
        messages.iter().map(|it| format!("{}:{}@{}", it.id, it.message, it.at_ms)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(read(0, 9).await, "1:m1@10 2:m2@20 3:m3@30 4:m4@40 5:m5@50");
    assert_eq!(read(2, 2).await, "3:m3@30 4:m4@40");
    assert_eq!((read(5, 9).await, read(u64::MAX, 9).await, read(0, 0).await), Default::default());
}

async fn the_inbox_cursor_only_moves_forward(store: Store) {
    let (run, _) = create(&store, "r1", "i:a").await;
    for _ in 0..3 {
        store.inbox.post(&run, "{}".to_owned(), 0).await.unwrap();
    }
    let take = async |after, taken| {
        let batch = Batch { inbox_taken: taken, ..batch("i:b") };
        line(&store.log.append(&run, Seq(after), Epoch::NEVER_OWNED, batch).await)
    };
    let cursor = async || store.runs.head(&run).await.unwrap().inbox_cursor;
    assert_eq!((take(1, Some(2)).await.as_str(), cursor().await), ("ok", 2));
    assert_eq!((take(2, None).await.as_str(), cursor().await), ("ok", 2));
    let back = "the batch cannot be stored: inbox message 1 was taken before, the cursor is at 2";
    assert_eq!((take(3, Some(1)).await.as_str(), cursor().await), (back, 2));
    assert_eq!((take(3, Some(3)).await.as_str(), cursor().await), ("ok", 3));
    // What was taken can still be read.
    assert_eq!(store.inbox.inbox(&run, 0, 9).await.unwrap().len(), 3);
}

async fn an_inbox_can_be_full(store: Store) {
    let (run, _) = create(&store, "r1", "i:a").await;
    let last = fill_inbox(&store, &run).await;
    assert_eq!(last, wf_store::inbox::INBOX_WAITING_MAX);
    assert!(matches!(store.inbox.post(&run, String::new(), 0).await, Err(PostError::Full)));
    let taken = Batch { inbox_taken: Some(1), ..batch("i:b") };
    store.log.append(&run, Seq(1), Epoch::NEVER_OWNED, taken).await.unwrap();
    assert_eq!(store.inbox.post(&run, String::new(), 0).await.unwrap(), last + 1);
    assert!(matches!(store.inbox.post(&run, String::new(), 0).await, Err(PostError::Full)));
}

async fn a_lease_has_one_holder(store: Store) {
    let (run, _) = create(&store, "r1", "i:a").await;
    assert_eq!(store.leases.lease(&run).await.unwrap(), wf_store::Lease::default());
    assert_eq!(store.leases.acquire_lease(&run, "one", 100, 50).await.unwrap(), Epoch(1));
    match store.leases.acquire_lease(&run, "two", 149, 50).await {
        Err(LeaseError::Held { owner, until_ms }) => assert_eq!((owner.as_str(), until_ms), ("one", 150)),
        other => panic!("{other:?}"),
    }
    // Its holder may take it again, which never shortens it.
    assert_eq!(store.leases.acquire_lease(&run, "one", 120, 10).await.unwrap(), Epoch(1));
    assert_eq!(store.leases.lease(&run).await.unwrap().until_ms, 150);
    store.leases.renew_lease(&run, Epoch(1), 140, 60).await.unwrap();
    assert_eq!(store.leases.lease(&run).await.unwrap().until_ms, 200);
    check(&store.leases.acquire_lease(&run, "two", 199, 1).await, expect!["one holds the run"]);
    // After its end, and as long as nobody took it, its holder may still prolong it.
    store.leases.renew_lease(&run, Epoch(1), 300, 50).await.unwrap();
    check(&store.leases.acquire_lease(&run, "two", 349, 1).await, expect!["one holds the run"]);
    assert_eq!(store.leases.acquire_lease(&run, "two", 350, i64::MAX).await.unwrap(), Epoch(2));
    assert_eq!(store.leases.lease(&run).await.unwrap().until_ms, i64::MAX);
}

async fn every_change_of_owner_raises_the_epoch(store: Store) {
    let (run, _) = create(&store, "r1", "i:a").await;
    let acquire = async |owner, now| store.leases.acquire_lease(&run, owner, now, 10).await.unwrap();
    assert_eq!(acquire("one", 0).await, Epoch(1));
    assert_eq!(acquire("two", 10).await, Epoch(2));
    check(&store.leases.renew_lease(&run, Epoch(1), 11, 10).await, expect!["the run is at epoch 2, not at 1"]);
    check(&store.leases.release_lease(&run, Epoch(1)).await, expect!["the run is at epoch 2, not at 1"]);
    store.leases.release_lease(&run, Epoch(2)).await.unwrap();
    let free = store.leases.lease(&run).await.unwrap();
    assert_eq!((free.epoch, free.owner, free.until_ms), (Epoch(3), None, 0));
    for epoch in [Epoch(2), Epoch(3)] {
        assert!(matches!(store.leases.renew_lease(&run, epoch, 12, 10).await, Err(RenewError::Fenced { .. })));
        assert!(matches!(store.leases.release_lease(&run, epoch).await, Err(RenewError::Fenced { .. })));
    }
    assert_eq!(acquire("two", 13).await, Epoch(4));
    // One's own lease that ran out is not one's own any more: someone may have come and gone.
    assert_eq!(acquire("two", 23).await, Epoch(5));
    let row = store.runs.head(&run).await.unwrap();
    assert_eq!((row.lease.epoch, row.lease.owner.as_deref()), (Epoch(5), Some("two")));
}

async fn tasks_follow_the_append(store: Store) {
    let mut new = new_run(&run("r1"), "i:a");
    new.batch.tasks = vec![task("b", 1, TaskStatus::Claimed), task("a[2]", 1, TaskStatus::Pending)];
    store.log.create_run(new).await.unwrap();
    let run = run("r1");
    assert_eq!(board(&store, &run).await, "a[2]#1 pending, b#1 claimed");
    let blocked = TaskChange::Set {
        instance: "a[2]".to_owned(),
        attempt: 1,
        status: TaskStatus::Blocked,
        waits_for: Some(r#"{"tree":1}"#.to_owned()),
        at_ms: 8,
    };
    let change = vec![
        TaskChange::finish("b", 1, TaskStatus::Failed, 9),
        task("b", 2, TaskStatus::Claimed),
        TaskChange::finish("b", 2, TaskStatus::Done, 10),
        blocked,
    ];
    let change = Batch { tasks: change, ..batch("i:b") };
    store.log.append(&run, Seq(1), Epoch::NEVER_OWNED, change).await.unwrap();
    assert_eq!(board(&store, &run).await, "a[2]#1 blocked, b#1 failed, b#2 done");
    let rows = store.tasks.tasks(&run, all_tasks()).await.unwrap();
    assert_eq!((rows[0].task.waits_for.as_deref(), rows[0].updated_ms), (Some(r#"{"tree":1}"#), 8));
    let TaskChange::Insert(ordered) = task("b", 1, TaskStatus::Failed) else { unreachable!() };
    assert_eq!((&rows[1].task, rows[1].updated_ms, &rows[1].run), (&ordered, 9, &run));
    assert_eq!((rows[1].lease_until_ms, rows[1].heartbeat_ms), (None, None));
}

async fn a_repeated_attempt_replaces_its_task(store: Store) {
    let mut new = new_run(&run("r1"), "i:a");
    new.batch.tasks = vec![task("b", 1, TaskStatus::Claimed)];
    store.log.create_run(new).await.unwrap();
    let TaskChange::Insert(mut again) = task("b", 1, TaskStatus::Pending) else { unreachable!() };
    (again.generation, again.worker, again.at_ms) = (3, None, 70);
    let change = Batch { tasks: vec![TaskChange::Insert(again.clone())], ..batch("") };
    store.log.append(&run("r1"), Seq(1), Epoch::NEVER_OWNED, change).await.unwrap();
    let rows = store.tasks.tasks(&run("r1"), all_tasks()).await.unwrap();
    assert_eq!((rows.len(), &rows[0].task, rows[0].epoch, rows[0].updated_ms), (1, &again, Epoch(2), 70));
}

async fn tasks_are_listed_by_status_and_in_pages(store: Store) {
    let mut new = new_run(&run("r1"), "i:a");
    for number in 0..20u32 {
        let status = TaskStatus::ALL[number as usize % 5];
        new.batch.tasks.push(task(&format!("n[{}]", number / 2), number % 2, status));
    }
    store.log.create_run(new).await.unwrap();
    let list =
        async |status, after, limit| store.tasks.tasks(&run("r1"), TaskFilter { status, after, limit }).await.unwrap();
    for status in TaskStatus::ALL {
        assert_eq!(list(Some(status), None, 99).await.len(), 4);
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = list(None, after, 3).await;
        let Some(last) = page.last() else { break };
        after = Some((last.task.instance.clone(), last.task.attempt));
        seen.extend(page);
    }
    assert_eq!(seen, list(None, None, 99).await);
    assert_eq!(seen.len(), 20);
}

async fn memo_rows_are_found_by_their_key(store: Store) {
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    store.memo.memo_put(&one, "first".to_owned(), 1).await.unwrap();
    store.memo.memo_put(&two, "second".to_owned(), 2).await.unwrap();
    store.memo.memo_put(&one, "third".to_owned(), 3).await.unwrap();
    assert_eq!(store.memo.memo_get(&one).await.unwrap().as_deref(), Some("third"));
    assert_eq!(store.memo.memo_get(&two).await.unwrap().as_deref(), Some("second"));
    assert_eq!(store.memo.memo_get(&Digest::of(b"three")).await.unwrap(), None);
}

async fn blobs_are_found_by_their_content(store: Store) {
    for bytes in [vec![], b"short".to_vec(), vec![0xff; 1 << 20]] {
        for _ in 0..2 {
            let digest = store.blobs.put(Arc::from(bytes.as_slice())).await.unwrap();
            assert_eq!(digest, Digest::of(&bytes));
            assert!(store.blobs.exists(&digest).await.unwrap());
            assert_eq!(store.blobs.get(&digest).await.unwrap(), bytes);
        }
    }
}

async fn traces_are_read_while_they_grow(store: Store) {
    let (one, two) = (run("r1"), run("r2"));
    let read = async |run, instance, offset| {
        store.traces.flush().await;
        let chunk = store.traces.read(run, instance, offset).await.unwrap();
        (chunk.lines.join("|"), chunk.next_offset)
    };
    assert_eq!(read(&one, "a/b[1]", 0).await, (String::new(), 0));
    store.traces.append(&one, "a/b[1]", "{\"n\":1}".to_owned());
    store.traces.append(&one, "../../etc/passwd\0", "{\"n\":9}".to_owned());
    store.traces.append(&two, "a/b[1]", "{\"n\":8}".to_owned());
    store.traces.append(&one, "a/b[1]", "{\n\"n\":\r\n2}".to_owned());
    assert_eq!(read(&one, "a/b[1]", 0).await, ("{\"n\":1}|{ \"n\":  2}".to_owned(), 19));
    assert_eq!(read(&one, "../../etc/passwd\0", 0).await, ("{\"n\":9}".to_owned(), 8));
    store.traces.append(&one, "a/b[1]", String::new());
    assert_eq!(read(&one, "a/b[1]", 8).await, ("{ \"n\":  2}|".to_owned(), 20));
    assert_eq!(read(&one, "a/b[1]", 19).await, (String::new(), 20));
    assert_eq!(read(&one, "a/b[1]", 20).await, (String::new(), 20));
    assert_eq!(read(&one, "a/b[1]", 9_999).await, (String::new(), 9_999));
}

async fn a_trace_has_bounds(store: Store) {
    let run = run("r1");
    store.traces.append(&run, "a", "x".repeat(300 << 10));
    for _ in 0..70 {
        store.traces.append(&run, "a", "7".repeat(262_143));
        store.traces.flush().await;
    }
    let (mut lines, mut offset) = (Vec::new(), 0);
    loop {
        let chunk = store.traces.read(&run, "a", offset).await.unwrap();
        if chunk.lines.is_empty() {
            break;
        }
        assert!(chunk.next_offset - offset <= 1 << 20);
        offset = chunk.next_offset;
        lines.extend(chunk.lines);
    }
    assert_eq!(offset, 16 << 20);
    assert_eq!(lines[0], r#"{"trace":"line_dropped","bytes":307200}"#);
    assert_eq!(lines[1], "7".repeat(262_143));
    assert_eq!(lines.last().unwrap().trim_end(), r#"{"trace":"full","bytes_max":16777216}"#);
    assert_eq!(lines.len(), 1 + 63 + 1);
}

async fn watchers_hear_of_appends_and_messages(store: Store) {
    let (run, _) = create(&store, "r1", "i:a d:b").await;
    let (other, _) = create(&store, "r2", "i:a").await;
    let (mut mark, mut changes) = (store.watch.run(&run), store.watch.changes());
    mark.wait_for(|mark| *mark == Mark { seq: Seq(2), message: 0 }).await.unwrap();
    append(&store, &run, 2, "i:c").await.unwrap();
    mark.wait_for(|mark| *mark == Mark { seq: Seq(3), message: 0 }).await.unwrap();
    changes.changed().await.unwrap();
    store.inbox.post(&run, "{}".to_owned(), 0).await.unwrap();
    mark.wait_for(|mark| *mark == Mark { seq: Seq(3), message: 1 }).await.unwrap();
    store.inbox.post(&other, "{}".to_owned(), 0).await.unwrap();
    assert_eq!(*mark.borrow(), Mark { seq: Seq(3), message: 1 });
}

async fn a_closed_store_writes_nothing(store: Store) {
    let (run, _) = create(&store, "r1", "i:a").await;
    store.close().await;
    store.close().await;
    check(&append(&store, &run, 1, "i:b").await, expect!["the store is unavailable: the store is closed"]);
    let post = store.inbox.post(&run, String::new(), 0).await;
    check(&post, expect!["the store is unavailable: the store is closed"]);
    assert_eq!(payloads(&store, &run, 9).await.len(), 1);
}
