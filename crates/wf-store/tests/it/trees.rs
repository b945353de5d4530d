//! The rows of trees: who gets which slot, and what those who are late are told.

use expect_test::{Expect, expect};
use wf_store::{
    Batch, Epoch, Head, Store, Tenant, TreeChange, TreeChangeError, TreeClaim, TreeClaimError, TreeFilter, TreeListed,
    TreeRow, TreeSlot, TreeStage, TreeUse,
};

use crate::fixture::{new_run, on_disk, open, run};

suite! {
    a_claim_takes_the_free_slot_that_was_used_last
    a_tenant_has_one_tree
    a_full_pool_refuses
    pools_and_starts_of_the_machine_are_apart
    a_change_under_an_old_epoch_is_refused
    of_many_that_claim_at_once_each_gets_another
    a_slot_that_is_gone_is_forgotten
    rows_say_how_the_run_stands
    limits_are_refused
}

fn slot(pool: &str, name: &str) -> TreeSlot {
    TreeSlot { pool: pool.to_owned(), name: name.to_owned() }
}

fn claim(name: &str, branch: &str) -> TreeClaim {
    TreeClaim {
        slot: slot("p", name),
        tenant: Tenant { run: run("r1"), branch: branch.to_owned() },
        holder: "h1".to_owned(),
        boot: "b1".to_owned(),
        slots_max: 3,
        now_ms: 10,
    }
}

fn used(stage: TreeStage, branch: Option<&str>, at_ms: i64) -> TreeUse {
    TreeUse {
        stage,
        tenant: branch.map(|branch| Tenant { run: run("r1"), branch: branch.to_owned() }),
        holder: None,
        boot: "b1".to_owned(),
        until_ms: Some(99),
        at_ms,
    }
}

async fn change(store: &Store, row: &TreeRow, to: TreeUse) -> Result<TreeRow, TreeChangeError> {
    store.trees.change_tree(TreeChange { slot: row.slot.clone(), epoch: row.epoch, to }).await
}

fn said(row: &TreeRow) -> String {
    let used = &row.used;
    let tenant = used.tenant.as_ref().map_or("-".to_owned(), |it| format!("{}:{}", it.run, it.branch));
    let holder = used.holder.as_deref().unwrap_or("-");
    format!("{}/{} #{} {} {tenant} {holder}", row.slot.pool, row.slot.name, row.epoch, used.stage.word())
}

async fn check(store: &Store, expected: Expect) {
    let listed = store.trees.trees(TreeFilter::default()).await.unwrap();
    let lines: Vec<String> = listed.iter().map(|it| said(&it.row)).collect();
    expected.assert_eq(&lines.join("\n"));
}

async fn a_claim_takes_the_free_slot_that_was_used_last(store: Store) {
    let mut rows = Vec::new();
    for (name, branch) in [("s1", "a"), ("s2", "b"), ("s3", "c")] {
        rows.push((store.trees.claim_tree(claim(name, branch)).await.unwrap(), branch));
    }
    for (row, branch) in rows {
        let at_ms = if branch == "b" { 30 } else { 20 };
        let row = change(&store, &row, used(TreeStage::Held, Some(branch), 15)).await.unwrap();
        let row = change(&store, &row, used(TreeStage::Going, Some(branch), 16)).await.unwrap();
        change(&store, &row, used(TreeStage::Free, None, at_ms)).await.unwrap();
    }
    let given = store.trees.claim_tree(claim("s4", "d")).await.unwrap();
    assert_eq!(said(&given), "p/s2 #5 making r1:d h1");
    assert_eq!(said(&store.trees.claim_tree(claim("s4", "e")).await.unwrap()), "p/s1 #5 making r1:e h1");
    check(
        &store,
        expect![[r#"
            p/s1 #5 making r1:e h1
            p/s2 #5 making r1:d h1
            p/s3 #4 free - -"#]],
    )
    .await;
}

async fn a_tenant_has_one_tree(store: Store) {
    let first = store.trees.claim_tree(claim("s1", "a")).await.unwrap();
    let again = store.trees.claim_tree(claim("s2", "a")).await;
    assert!(matches!(&again, Err(TreeClaimError::Taken { row }) if **row == first), "{again:?}");
    // One whose tree is going gets another, and then the old one cannot be had back.
    let going = change(&store, &first, used(TreeStage::Going, Some("a"), 11)).await.unwrap();
    assert_eq!(store.trees.claim_tree(claim("s2", "a")).await.unwrap().slot.name, "s2");
    let back = change(&store, &going, used(TreeStage::Held, Some("a"), 12)).await;
    assert!(matches!(back, Err(TreeChangeError::Fenced { held: Epoch(2), current: Epoch(2) })), "{back:?}");
    check(
        &store,
        expect![[r#"
            p/s1 #2 going r1:a -
            p/s2 #1 making r1:a h1"#]],
    )
    .await;
}

async fn a_full_pool_refuses(store: Store) {
    for (name, branch) in [("s1", "a"), ("s2", "b"), ("s3", "c")] {
        store.trees.claim_tree(claim(name, branch)).await.unwrap();
    }
    let full = store.trees.claim_tree(claim("s4", "d")).await;
    assert!(matches!(full, Err(TreeClaimError::Full { slots: 3 })), "{full:?}");
    let beyond = TreeClaim { slots_max: usize::MAX, ..claim("s4", "d") };
    assert_eq!(store.trees.claim_tree(beyond).await.unwrap().slot.name, "s4");
}

async fn pools_and_starts_of_the_machine_are_apart(store: Store) {
    for pool in ["p", "q"] {
        let row = store.trees.claim_tree(TreeClaim { slot: slot(pool, "s1"), ..claim("", "a") }).await.unwrap();
        change(&store, &row, used(TreeStage::Free, None, 20)).await.unwrap();
    }
    let rebooted = TreeClaim { boot: "b2".to_owned(), ..claim("s2", "a") };
    assert_eq!(said(&store.trees.claim_tree(rebooted).await.unwrap()), "p/s2 #1 making r1:a h1");
    check(
        &store,
        expect![[r#"
            p/s1 #2 free - -
            p/s2 #1 making r1:a h1
            q/s1 #2 free - -"#]],
    )
    .await;
    let filter = TreeFilter { pool: Some("p".to_owned()), run: Some(run("r1")), branch: Some("a".to_owned()) };
    let names: Vec<_> = store.trees.trees(filter).await.unwrap().into_iter().map(|it| it.row.slot.name).collect();
    assert_eq!(names, ["s2"]);
    let filter = TreeFilter { branch: Some("b".to_owned()), ..TreeFilter::default() };
    assert_eq!(store.trees.trees(filter).await.unwrap(), []);
}

async fn a_change_under_an_old_epoch_is_refused(store: Store) {
    let first = store.trees.claim_tree(claim("s1", "a")).await.unwrap();
    let second = change(&store, &first, used(TreeStage::Held, Some("a"), 20)).await.unwrap();
    assert_eq!((second.epoch, second.used.until_ms, second.used.at_ms), (Epoch(2), Some(99), 20));
    let late = change(&store, &first, used(TreeStage::Free, None, 21)).await;
    assert!(matches!(late, Err(TreeChangeError::Fenced { held: Epoch(1), current: Epoch(2) })), "{late:?}");
    let late = store.trees.forget_tree(first.slot.clone(), first.epoch).await;
    assert!(matches!(late, Err(TreeChangeError::Fenced { held: Epoch(1), current: Epoch(2) })), "{late:?}");
    let absent = TreeChange { slot: slot("p", "s9"), epoch: Epoch(0), to: used(TreeStage::Free, None, 1) };
    let absent = store.trees.change_tree(absent).await;
    assert!(matches!(absent, Err(TreeChangeError::Fenced { held: Epoch(0), current: Epoch(0) })), "{absent:?}");
    check(&store, expect!["p/s1 #2 held r1:a -"]).await;
}

async fn of_many_that_claim_at_once_each_gets_another(store: Store) {
    let mut set = tokio::task::JoinSet::new();
    for number in 0..16 {
        let store = store.clone();
        set.spawn(async move {
            let claim = TreeClaim { slots_max: 12, ..claim(&format!("s{number}"), &format!("b{number}")) };
            store.trees.claim_tree(claim).await.map(|row| row.slot.name).map_err(|error| error.to_string())
        });
    }
    let mut given: Vec<String> = set.join_all().await.into_iter().filter_map(Result::ok).collect();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 12);
}

async fn a_slot_that_is_gone_is_forgotten(store: Store) {
    let row = store.trees.claim_tree(claim("s1", "a")).await.unwrap();
    store.trees.forget_tree(row.slot.clone(), row.epoch).await.unwrap();
    // Whoever does it again finds it done.
    store.trees.forget_tree(row.slot.clone(), row.epoch).await.unwrap();
    check(&store, expect![""]).await;
}

async fn rows_say_how_the_run_stands(store: Store) {
    let alive = |listed: Vec<TreeListed>| listed.into_iter().map(|it| it.run).collect::<Vec<_>>();
    store.trees.claim_tree(claim("s1", "a")).await.unwrap();
    assert_eq!(alive(store.trees.trees(TreeFilter::default()).await.unwrap()), [None]);
    let new = new_run(&run("r1"), "i:created");
    let created = store.log.create_run(new).await.unwrap();
    let epoch = store.leases.acquire_lease(&run("r1"), "o1", 5, 9).await.unwrap();
    let listed = alive(store.trees.trees(TreeFilter::default()).await.unwrap());
    assert_eq!(
        listed.iter().flatten().map(|it| (it.ended, it.owner.as_deref())).collect::<Vec<_>>(),
        [(false, Some("o1"))]
    );
    let head = Head { status: "succeeded".to_owned(), ended: true, updated_ms: 5, json: "{}".to_owned() };
    let batch = Batch { records: Vec::new(), head, tasks: Vec::new(), inbox_taken: None };
    store.log.append(&run("r1"), created.appended.seq, epoch, batch).await.unwrap();
    store.leases.release_lease(&run("r1"), epoch).await.unwrap();
    let listed = alive(store.trees.trees(TreeFilter::default()).await.unwrap());
    assert_eq!(listed.iter().flatten().map(|it| (it.ended, it.owner.as_deref())).collect::<Vec<_>>(), [(true, None)]);
}

async fn limits_are_refused(store: Store) {
    for claim in [
        TreeClaim { holder: "x".repeat(257), ..claim("s1", "a") },
        TreeClaim { boot: "x".repeat(257), ..claim("s1", "a") },
        claim("s1", &"x".repeat(4_097)),
        claim("", "a"),
        claim(&"x".repeat(257), "a"),
    ] {
        let refused = store.trees.claim_tree(claim).await;
        assert!(matches!(refused, Err(TreeClaimError::Refused { .. })), "{refused:?}");
    }
    let row = store.trees.claim_tree(claim("s1", "a")).await.unwrap();
    for to in [used(TreeStage::Free, Some("a"), 1), used(TreeStage::Held, None, 1), used(TreeStage::Making, None, 1)] {
        let refused = change(&store, &row, to).await;
        assert!(matches!(refused, Err(TreeChangeError::Refused { .. })), "{refused:?}");
    }
    check(&store, expect!["p/s1 #1 making r1:a h1"]).await;
}

#[tokio::test]
async fn rows_are_there_again_after_an_opening() {
    let first = on_disk();
    let row = first.store.trees.claim_tree(claim("s1", "a")).await.unwrap();
    first.store.close().await;
    let store = open(first.dir.path());
    let listed = store.trees.trees(TreeFilter::default()).await.unwrap();
    assert_eq!(listed, [TreeListed { row, run: None }]);
}
