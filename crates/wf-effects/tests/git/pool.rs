//! Trees are shared out, used again, kept and cleared, by several processes at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use expect_test::{Expect, expect};
use tokio::sync::Notify;
use wf_effects::git::{Git, GitError, Keep, PoolOptions, Reclaim, Repository, Swept, Trees, TreesOptions};
use wf_kernel::record::Checkpoint;
use wf_store::{
    Batch, BoxFuture, Epoch, Head, NewRun, ReadError, RunId, TreeChange, TreeChangeError, TreeClaim, TreeClaimError,
    TreeFilter, TreeListed, TreeRow, TreeRows, TreeSlot, TreeStage, TreeUse,
};

use super::support::{Bench, Lab, commit_all, make_executable, names_in, open_program, order, raw, read, write_all};

fn warm(bench: &Bench, holder: &str) -> PoolOptions {
    PoolOptions { warm_max: 4, ..bench.lab.pool(holder) }
}

async fn trees_of(bench: &Bench, run: &str, pool: PoolOptions) -> Trees {
    let repository = Repository::discover(&bench.lab.git, &bench.repo).await.unwrap();
    Trees::open(&repository, &TreesOptions { root: bench.lab.path("trees"), run: run.to_owned(), pool }).unwrap()
}

async fn check_rows(bench: &Bench, expected: Expect) {
    let said = |row: &TreeRow| {
        let tenant = row.used.tenant.as_ref().map_or("-".to_owned(), |it| format!("{}:{}", it.run, it.branch));
        format!("{} {tenant} {}", row.used.stage.word(), row.used.holder.as_deref().unwrap_or("-"))
    };
    let mut lines: Vec<String> = bench.rows().await.iter().map(said).collect();
    lines.sort();
    expected.assert_eq(&lines.join("\n"));
}

fn engine_refs(repo: &Path) -> String {
    let listed = raw(repo, &["for-each-ref", "--format=%(refname)", "refs/whaleflow"]);
    listed.lines().map(|name| name.trim_start_matches("refs/whaleflow/")).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn the_next_branch_gets_the_last_ones_tree_as_it_wants_it() {
    let bench = Bench::new().await;
    write_all(&bench.repo, &[("src/later.txt", "later\n"), ("src/a.txt", "changed later\n")]);
    let later = commit_all(&bench.repo, "later");
    let trees = trees_of(&bench, "run1", warm(&bench, "me")).await;
    trees.acquire("a", &bench.base).await.unwrap();
    let dir = trees.begin("a", &bench.base).await.unwrap().dir;
    write_all(&dir, &[("src/b.txt", "b of a\n"), ("made/new", "n\n"), ("x.log", "ignored\n"), ("logs/y.log", "i\n")]);
    std::fs::remove_file(dir.join("README")).unwrap();
    let point = trees.checkpoint(order("a", &bench.base, &["**"])).await.unwrap();
    write_all(&dir, &[("unsaved", "precious\n")]);
    let rescued = trees.release("a", &point.commit, false).await.unwrap().unwrap();
    assert_eq!(bench.show(&rescued, "unsaved"), "precious");
    // Nobody has it, so git does not know of it.
    assert_eq!(raw(&bench.repo, &["worktree", "list"]).lines().count(), 1);
    check_rows(&bench, expect!["free - -"]).await;

    let other = trees_of(&bench, "run2", warm(&bench, "other")).await;
    other.acquire("b", &later).await.unwrap();
    let again = other.begin("b", &later).await.unwrap();
    assert_eq!((again.dir.as_path(), again.rescued), (dir.as_path(), None));
    assert_eq!(raw(&dir, &["status", "--porcelain", "--ignored"]), "");
    assert_eq!(raw(&dir, &["rev-parse", "HEAD"]), later);
    assert_eq!(names_in(&dir), [".git", ".gitignore", "README", "src"]);
    assert_eq!((read(&dir.join("src/a.txt")), read(&dir.join("src/b.txt"))), ("changed later\n".into(), "b\n".into()));
    check_rows(&bench, expect!["held run2:b other"]).await;
    raw(&bench.repo, &["fsck", "--strict"]);
}

#[tokio::test]
async fn a_tree_that_changed_while_nobody_had_it_is_as_wanted_all_the_same() {
    let bench = Bench::new().await;
    let trees = trees_of(&bench, "run1", warm(&bench, "me")).await;
    trees.acquire("a", &bench.base).await.unwrap();
    let dir = trees.begin("a", &bench.base).await.unwrap().dir;
    trees.release("a", &bench.base, false).await.unwrap();
    write_all(&dir, &[("src/a.txt", "X\n"), ("src/new", "x\n"), (".git", "gitdir: /elsewhere\n")]);
    std::fs::remove_file(dir.join("src/b.txt")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.join("src/b.txt")).unwrap();
    raw(&bench.lab.path(""), &["init", "-q", &dir.join("inner").display().to_string()]);
    trees.acquire("b", &bench.base).await.unwrap();
    assert_eq!(trees.begin("b", &bench.base).await.unwrap().dir, dir);
    assert_eq!(raw(&dir, &["status", "--porcelain", "--ignored"]), "");
    assert_eq!((read(&dir.join("src/a.txt")), read(&dir.join("src/b.txt"))), ("a\n".into(), "b\n".into()));
    assert_eq!(names_in(&dir), [".git", ".gitignore", "README", "src"]);
}

#[tokio::test]
async fn a_full_pool_makes_branches_wait_but_not_those_inside() {
    let bench = Bench::new().await;
    let pool = PoolOptions { trees_max: Some(2), ..warm(&bench, "me") };
    let trees = trees_of(&bench, "run1", pool.clone()).await;
    trees.acquire("a", &bench.base).await.unwrap();
    trees.acquire("b", &bench.base).await.unwrap();
    for branch in ["c", "a2", "ab/c"] {
        let full = trees.acquire(branch, &bench.base).await;
        assert!(matches!(full, Err(GitError::PoolFull { trees: 2 })), "{full:?}");
    }
    trees.acquire("a/inner", &bench.base).await.unwrap();
    trees.release("a/inner", &bench.base, false).await.unwrap();
    trees.release("b", &bench.base, false).await.unwrap();
    trees.acquire("c", &bench.base).await.unwrap();
    // A third may use the slot that the inner branch has left.
    trees.acquire("d", &bench.base).await.unwrap();
    check_rows(
        &bench,
        expect![[r#"
            held run1:a -
            held run1:c -
            held run1:d -"#]],
    )
    .await;
}

#[tokio::test]
async fn what_was_asked_for_is_kept_and_then_goes() {
    for (keep, failed, is_dirty, is_kept) in [
        (Keep::Never, true, true, false),
        (Keep::Failed, false, false, false),
        (Keep::Failed, true, false, true),
        (Keep::Failed, false, true, true),
        (Keep::Always, false, false, true),
    ] {
        let bench = Bench::new().await;
        let case = format!("{keep:?} {failed} {is_dirty}");
        let open = |keep_ms| trees_of(&bench, "run1", PoolOptions { keep, keep_ms, ..bench.lab.pool("me") });
        let trees = open(60_000).await;
        trees.acquire("a", &bench.base).await.unwrap();
        let dir = trees.begin("a", &bench.base).await.unwrap().dir;
        if is_dirty {
            write_all(&dir, &[("unsaved", "precious\n")]);
        }
        assert_eq!(trees.release("a", &bench.base, failed).await.unwrap().is_some(), is_dirty, "{case}");
        assert_eq!(dir.join("README").exists(), is_kept, "{case}");
        assert_eq!(trees.sweep(Reclaim::Undriven).await.unwrap(), Swept::default(), "{case}");
        if !is_kept {
            continue;
        }
        // Whoever looks at it can use git there, and what they leave is saved as well.
        assert_eq!(raw(&dir, &["rev-parse", "HEAD"]), bench.base);
        write_all(&dir, &[("found", "by hand\n")]);
        bench.change_row("a", |used| used.until_ms = Some(0)).await;
        let swept = trees.sweep(Reclaim::Never).await.unwrap();
        assert_eq!(swept.removed.len(), 1, "{case}");
        assert_eq!(bench.show(&swept.rescued[0], "found"), "by hand", "{case}");
        assert!(!dir.exists() && !bench.repo.join(".git/worktrees").exists(), "{case}");
    }
}

#[tokio::test]
async fn a_living_holder_keeps_its_tree_and_can_move_nothing() {
    let bench = Bench::new().await;
    let (_alive, _other) = (bench.lab.announce("first"), bench.lab.announce("second"));
    let first = &bench.trees;
    let old = bench.ready("b").await;
    write_all(&old, &[("src/a.txt", "of the first\n")]);
    let second = bench.successor().await;
    let begun = second.begin("b", &bench.base).await.unwrap();
    assert_ne!(begun.dir, old);
    assert_eq!(read(&old.join("src/a.txt")), "of the first\n");
    write_all(&begun.dir, &[("src/a.txt", "of the second\n")]);
    check_rows(
        &bench,
        expect![[r#"
            going run1:b first
            held run1:b second"#]],
    )
    .await;
    // The first was stopped for a while, and goes on.
    let late = first.checkpoint(order("b", &bench.base, &["**"])).await;
    assert!(matches!(late, Err(GitError::Fenced)), "{late:?}");
    assert!(matches!(first.rest("b").await, Err(GitError::Fenced)));
    assert_eq!(bench.at(&first.branch_ref("b")), bench.base);
    // What is the first's is not taken from it while it lives.
    assert_eq!(second.sweep(Reclaim::Undriven).await.unwrap(), Swept::default());
    second.rest("b").await.unwrap();
    let point = second.checkpoint(order("b", &bench.base, &["**"])).await.unwrap();
    assert_eq!(bench.show(&point.commit, "src/a.txt"), "of the second");
    second.release("b", &point.commit, false).await.unwrap();
    drop(_alive);
    let swept = second.cleanup().await.unwrap();
    assert_eq!(bench.show(&swept[0], "src/a.txt"), "of the first");
    check_rows(&bench, expect![""]).await;
    assert!(!old.exists() && names_in(&bench.lab.path("trees")).is_empty());
    assert!(!engine_refs(&bench.repo).contains("/held/"), "{}", engine_refs(&bench.repo));
}

/// A git that stops before a command with `word` in it, until it may go on.
struct StoppingGit {
    git: Git,
    program: PathBuf,
}

impl StoppingGit {
    async fn new(bench: &Bench, word: &str) -> Self {
        let program = bench.lab.path(&format!("stopping-before-{word}"));
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *{word}*) touch \"$0.stopped\"\nwhile [ ! -e \"$0.go\" ]; do sleep 0.01; \
             done;; esac\nexec git \"$@\"\n"
        );
        std::fs::write(&program, script).unwrap();
        make_executable(&program);
        Self { git: open_program(&bench.lab.path(""), program.clone()).await, program }
    }

    fn beside(&self, extension: &str) -> PathBuf {
        PathBuf::from(format!("{}.{extension}", self.program.display()))
    }

    async fn until_it_stops(&self) {
        while !self.beside("stopped").exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    fn let_it_go_on(&self) {
        std::fs::write(self.beside("go"), "").unwrap();
    }
}

/// The second process, its git, and its checkpoint of branch `b`, which has not made its commit yet.
async fn stopped_at_a_checkpoint(
    bench: &Bench,
) -> (Trees, StoppingGit, tokio::task::JoinHandle<Result<Checkpoint, GitError>>) {
    let stopping = StoppingGit::new(bench, "commit-tree").await;
    let second = bench.lab.trees_by(&stopping.git, &bench.repo, "trees", bench.lab.pool("second")).await;
    let dir = second.begin("b", &bench.base).await.unwrap().dir;
    write_all(&dir, &[("src/a.txt", "of the second\n")]);
    let checkpoint = tokio::spawn({
        let (order, second) = (order("b", &bench.base, &["**"]), second.clone());
        async move { second.checkpoint(order).await }
    });
    stopping.until_it_stops().await;
    (second, stopping, checkpoint)
}

/// Rows of which a sweep is told what was there a while ago.
struct Late {
    rows: Arc<dyn TreeRows>,
    /// The rows were read.
    read: Notify,
    /// They may be told.
    go: Notify,
}

impl TreeRows for Late {
    fn claim_tree(&self, claim: TreeClaim) -> BoxFuture<'_, Result<TreeRow, TreeClaimError>> {
        self.rows.claim_tree(claim)
    }

    fn change_tree(&self, change: TreeChange) -> BoxFuture<'_, Result<TreeRow, TreeChangeError>> {
        self.rows.change_tree(change)
    }

    fn forget_tree(&self, slot: TreeSlot, epoch: Epoch) -> BoxFuture<'_, Result<(), TreeChangeError>> {
        self.rows.forget_tree(slot, epoch)
    }

    fn trees(&self, filter: TreeFilter) -> BoxFuture<'_, Result<Vec<TreeListed>, ReadError>> {
        Box::pin(async move {
            let rows = self.rows.trees(filter).await;
            self.read.notify_one();
            self.go.notified().await;
            // All later ones are told at once.
            self.go.notify_one();
            rows
        })
    }
}

/// The first was killed, and its tree is cleared by one that does not know yet that the second has got another.
#[tokio::test]
async fn what_a_tenant_left_is_cleared_and_what_it_got_since_is_not() {
    let bench = Bench::new().await;
    let _alive = (bench.lab.announce("second"), bench.lab.announce("third"));
    let old = bench.ready("b").await;
    write_all(&old, &[("src/a.txt", "of the first\n")]);
    let row = bench.rows().await.remove(0);
    let to = TreeUse { stage: TreeStage::Going, ..row.used.clone() };
    bench.lab.store.trees.change_tree(TreeChange { slot: row.slot, epoch: row.epoch, to }).await.unwrap();
    let late = Arc::new(Late { rows: bench.lab.store.trees.clone(), read: Notify::new(), go: Notify::new() });
    let third = PoolOptions { rows: late.clone(), ..bench.lab.pool("third") };
    let third = bench.lab.trees(&bench.repo, "trees", third).await;
    let sweep = tokio::spawn(async move { third.sweep(Reclaim::Never).await });
    late.read.notified().await;
    let (second, stopping, checkpoint) = stopped_at_a_checkpoint(&bench).await;
    late.go.notify_one();
    let swept = sweep.await.unwrap().unwrap();
    assert_eq!(bench.show(&swept.rescued[0], "src/a.txt"), "of the first");
    check_rows(&bench, expect!["held run1:b second"]).await;
    stopping.let_it_go_on();
    let point = checkpoint.await.unwrap().unwrap();
    assert_eq!(bench.show(&second.branch_ref("b"), "src/a.txt"), "of the second");
    second.release("b", &point.commit, false).await.unwrap();
    assert!(!engine_refs(&bench.repo).contains("/held/"), "{}", engine_refs(&bench.repo));
}

/// The first is stopped after it has looked whether the tree is still its own, and before it moves the branch's ref.
#[tokio::test]
async fn whoever_was_stopped_in_the_middle_moves_no_ref() {
    let bench = Bench::new().await;
    let _alive = (bench.lab.announce("first"), bench.lab.announce("second"));
    let stopping = StoppingGit::new(&bench, "commit-tree").await;
    let first = bench.lab.trees_by(&stopping.git, &bench.repo, "trees", bench.lab.pool("first")).await;
    first.acquire("b", &bench.base).await.unwrap();
    let dir = first.begin("b", &bench.base).await.unwrap().dir;
    write_all(&dir, &[("src/a.txt", "of the first\n")]);
    let late = tokio::spawn({
        let order = order("b", &bench.base, &["**"]);
        async move { first.checkpoint(order).await }
    });
    stopping.until_it_stops().await;
    let second = bench.successor().await;
    let begun = second.begin("b", &bench.base).await.unwrap();
    assert_ne!(begun.dir, dir);
    stopping.let_it_go_on();
    let late = late.await.unwrap();
    assert!(matches!(late, Err(GitError::Fenced)), "{late:?}");
    assert_eq!(bench.at(&second.branch_ref("b")), bench.base);
    write_all(&begun.dir, &[("src/a.txt", "of the second\n")]);
    let point = second.checkpoint(order("b", &bench.base, &["**"])).await.unwrap();
    assert_eq!(bench.show(&second.branch_ref("b"), "src/a.txt"), "of the second");
    assert_eq!(bench.at(&second.branch_ref("b")), point.commit);
}

/// A process was killed, and git, which it had started, was slow.
#[tokio::test]
async fn what_the_dead_had_begun_takes_no_tree_from_the_living() {
    let bench = Bench::new().await;
    let _alive = bench.lab.announce("second");
    bench.trees.acquire("b", &bench.base).await.unwrap();
    let slow = StoppingGit::new(&bench, "update-ref").await;
    let first = bench.lab.trees_by(&slow.git, &bench.repo, "trees", bench.lab.pool("first")).await;
    let dead = tokio::spawn({
        let base = bench.base.clone();
        async move { first.begin("b", &base).await }
    });
    slow.until_it_stops().await;
    let (second, stopping, checkpoint) = stopped_at_a_checkpoint(&bench).await;
    slow.let_it_go_on();
    let dead = dead.await.unwrap();
    assert!(matches!(dead, Err(GitError::Fenced)), "{dead:?}");
    stopping.let_it_go_on();
    let point = checkpoint.await.unwrap().unwrap();
    assert_eq!(bench.at(&second.branch_ref("b")), point.commit);
}

#[tokio::test]
async fn any_process_of_the_run_takes_a_tree_that_rests() {
    let bench = Bench::new().await;
    let (_first, _second) = (bench.lab.announce("first"), bench.lab.announce("second"));
    bench.trees.acquire("b", &bench.base).await.unwrap();
    let second = bench.successor().await;
    let dir = second.begin("b", &bench.base).await.unwrap().dir;
    write_all(&dir, &[("src/a.txt", "of a worker\n")]);
    second.rest("b").await.unwrap();
    let point = bench.trees.checkpoint(order("b", &bench.base, &["**"])).await.unwrap();
    assert_eq!(bench.show(&point.commit, "src/a.txt"), "of a worker");
    assert_eq!(second.begin("b", &point.commit).await.unwrap().dir, dir);
    second.rest("b").await.unwrap();
    assert_eq!(bench.trees.release("b", &point.commit, false).await.unwrap(), None);
    check_rows(&bench, expect![""]).await;
}

/// Begins a run in the store, as far as trees are concerned.
async fn start(bench: &Bench, run: &str, owner: &str) -> (RunId, wf_store::Epoch, wf_store::Seq) {
    let id = RunId::parse(run).unwrap();
    let head = Head { status: "running".to_owned(), ended: false, updated_ms: 1, json: "{}".to_owned() };
    let new = NewRun {
        run: id.clone(),
        workflow_name: "w".to_owned(),
        workflow_hash: wf_ir::Digest::of(b"w"),
        labels: "{}".to_owned(),
        created_ms: 1,
        owner: None,
        batch: Batch { records: Vec::new(), head, tasks: Vec::new(), inbox_taken: None },
    };
    let created = bench.lab.store.log.create_run(new).await.unwrap();
    let epoch = bench.lab.store.leases.acquire_lease(&id, owner, 1, i64::MAX).await.unwrap();
    (id, epoch, created.appended.seq)
}

#[tokio::test]
async fn trees_of_runs_that_nobody_goes_on_with_are_cleared_when_they_are_needed() {
    let bench = Bench::new().await;
    let _alive = bench.lab.announce("alive");
    for (run, owner) in [("run1", "first"), ("living", "alive"), ("over", "gone")] {
        let (id, epoch, seq) = start(&bench, run, owner).await;
        let trees = trees_of(&bench, run, PoolOptions { trees_max: Some(3), ..bench.lab.pool(owner) }).await;
        trees.acquire("b", &bench.base).await.unwrap();
        let dir = trees.begin("b", &bench.base).await.unwrap().dir;
        write_all(&dir, &[("unsaved", &format!("of {run}\n"))]);
        if run == "over" {
            let head = Head { status: "failed".to_owned(), ended: true, updated_ms: 2, json: "{}".to_owned() };
            let batch = Batch { records: Vec::new(), head, tasks: Vec::new(), inbox_taken: None };
            bench.lab.store.log.append(&id, seq, epoch, batch).await.unwrap();
        }
    }
    let pool = PoolOptions { trees_max: Some(2), ..bench.lab.pool("me") };
    let trees = trees_of(&bench, "run4", pool).await;
    // That of the run that has ended goes at once, that of the dead one may still be gone on with.
    let swept = trees.sweep(Reclaim::Never).await.unwrap();
    assert_eq!((swept.removed.len(), bench.show(&swept.rescued[0], "unsaved")), (1, "of over".to_owned()));
    check_rows(
        &bench,
        expect![[r#"
            held living:b alive
            held run1:b first"#]],
    )
    .await;
    trees.acquire("b", &bench.base).await.unwrap();
    check_rows(
        &bench,
        expect![[r#"
            held living:b alive
            held run4:b -"#]],
    )
    .await;
    let full = trees.acquire("c", &bench.base).await;
    assert!(matches!(full, Err(GitError::PoolFull { trees: 2 })), "{full:?}");
    let saved = raw(&bench.repo, &["for-each-ref", "--format=%(refname)", "refs/whaleflow/run1/rescue"]);
    assert_eq!(bench.show(&saved, "unsaved"), "of run1");
    // Whoever goes on with it all the same is told that its tree is gone, and begins again.
    let late = bench.successor().await;
    let lost = late.checkpoint(order("b", &bench.base, &["**"])).await;
    assert!(matches!(lost, Err(GitError::Lost { .. })), "{lost:?}");
}

#[tokio::test]
async fn what_the_store_knows_nothing_of_is_saved_and_removed() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("unsaved", "precious\n")]);
    for row in bench.rows().await {
        bench.lab.store.trees.forget_tree(row.slot, row.epoch).await.unwrap();
    }
    write_all(
        &bench.lab.path("trees"),
        &[("tree-odd/left", "x\n"), (".trash/t/left", "x\n"), (".meta/tree-x.json", "{}")],
    );
    let swept = bench.successor().await.sweep(Reclaim::Never).await.unwrap();
    assert_eq!((swept.removed.len(), bench.show(&swept.rescued[0], "unsaved")), (2, "precious".to_owned()));
    // The trash goes in the background.
    while !names_in(&bench.lab.path("trees")).is_empty() {
        bench.successor().await.sweep(Reclaim::Never).await.unwrap();
    }
    assert!(!bench.repo.join(".git/worktrees").exists());
}

#[tokio::test]
async fn what_could_not_be_removed_goes_at_the_runs_end() {
    let bench = Bench::new().await;
    let _alive = bench.lab.announce("me");
    let trees = trees_of(&bench, "run1", PoolOptions { warm_max: 0, ..bench.lab.pool("me") }).await;
    trees.acquire("b", &bench.base).await.unwrap();
    // Nothing can be moved to the trash.
    write_all(&bench.lab.path("trees"), &[(".trash", "no directory\n")]);
    assert!(matches!(trees.release("b", &bench.base, false).await, Err(GitError::Io { .. })));
    check_rows(&bench, expect!["going run1:b me"]).await;
    std::fs::remove_file(bench.lab.path("trees").join(".trash")).unwrap();
    assert_eq!(trees.cleanup().await.unwrap(), [""; 0]);
    check_rows(&bench, expect![""]).await;
    assert_eq!(raw(&bench.repo, &["worktree", "list"]).lines().count(), 1);
}

/// How many branches come and go at once, and how often: in the long form, 64 and 50.
fn many() -> (usize, usize) {
    #[expect(clippy::disallowed_methods, reason = "whoever runs the tests says how long they may take")]
    let is_long = std::env::var_os("WHALEFLOW_LONG").is_some();
    if is_long { (64, 50) } else { (16, 4) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_come_and_go_and_leave_nothing() {
    let bench = Bench::new().await;
    let (at_once, rounds) = many();
    let names = ["p0", "p1", "p2"];
    let _alive = names.map(|name| bench.lab.announce(name));
    let mut processes = Vec::new();
    for name in names {
        processes.push(trees_of(&bench, "run1", warm(&bench, name)).await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..at_once {
        let (trees, base) = (processes[number % 3].clone(), bench.base.clone());
        tasks.spawn(async move {
            let mut dirs = std::collections::BTreeSet::new();
            for round in 0..rounds {
                let branch = format!("many[{number}]/{round}");
                trees.acquire(&branch, &base).await.unwrap();
                let dir = trees.begin(&branch, &base).await.unwrap().dir;
                assert_eq!(names_in(&dir), [".git", ".gitignore", "README", "src"]);
                write_all(&dir, &[("src/a.txt", &format!("{number} {round}\n")), ("x.log", "ignored\n")]);
                trees.rest(&branch).await.unwrap();
                let point = trees.checkpoint(order(&branch, &base, &["src/**"])).await.unwrap();
                assert_eq!(point.files.len(), 1);
                assert_eq!(trees.release(&branch, &point.commit, false).await.unwrap(), None);
                dirs.insert(dir);
            }
            dirs.len()
        });
    }
    let used: Vec<usize> = tasks.join_all().await;
    assert_eq!(used.len(), at_once);
    processes[0].cleanup().await.unwrap();
    let rows = bench.rows().await;
    assert!(rows.len() <= 4 && rows.iter().all(|row| row.used.stage == wf_store::TreeStage::Free), "{rows:?}");
    assert_eq!(raw(&bench.repo, &["worktree", "list"]).lines().count(), 1);
    assert_eq!(raw(&bench.repo, &["for-each-ref", "refs/whaleflow/run1/b"]).lines().count(), at_once * rounds);
    assert_eq!(raw(&bench.repo, &["for-each-ref", "refs/whaleflow/run1/held", "refs/whaleflow/run1/rescue"]), "");
    for row in rows {
        let to = wf_store::TreeUse { until_ms: Some(0), ..row.used };
        bench.lab.store.trees.change_tree(wf_store::TreeChange { slot: row.slot, epoch: row.epoch, to }).await.unwrap();
    }
    let trees = &processes[0];
    trees.cleanup().await.unwrap();
    while !names_in(&bench.lab.path("trees")).is_empty() {
        trees.sweep(Reclaim::Never).await.unwrap();
    }
    check_rows(&bench, expect![""]).await;
    raw(&bench.repo, &["fsck", "--strict"]);
}

/// Edits in several trees of a repository at once, and what its own checkout is meanwhile and afterwards.
async fn check_repository(lab: Lab, repo: PathBuf, branches: usize) {
    let base = raw(&repo, &["rev-parse", "HEAD"]);
    let status = raw(&repo, &["status", "--porcelain"]);
    let bench = Bench::over(lab, repo, base).await;
    let trees = trees_of(&bench, "run1", warm(&bench, "me")).await;
    for round in 0..2 {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..branches {
            let (trees, base) = (trees.clone(), bench.base.clone());
            tasks.spawn(async move {
                let branch = format!("b{number}-{round}");
                trees.acquire(&branch, &base).await.unwrap();
                let dir = trees.begin(&branch, &base).await.unwrap().dir;
                assert_eq!(raw(&dir, &["status", "--porcelain"]), "");
                write_all(&dir, &[("made/here.txt", &format!("{number}\n"))]);
                let point = trees.checkpoint(order(&branch, &base, &["made/**"])).await.unwrap();
                assert_eq!((point.files.len(), point.out_of_scope.len()), (1, 0));
                assert_eq!(trees.release(&branch, &point.commit, false).await.unwrap(), None);
                (point.commit, number)
            });
        }
        for (commit, number) in tasks.join_all().await {
            assert_eq!(bench.show(&commit, "made/here.txt"), number.to_string());
        }
    }
    assert_eq!(raw(&bench.repo, &["status", "--porcelain"]), status);
    assert_eq!(raw(&bench.repo, &["for-each-ref", "refs/whaleflow/run1/rescue"]), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_of_five_thousand_files() {
    let lab = Lab::new().await;
    let (repo, _) = lab.repository("repo");
    for number in 0..5_000 {
        write_all(&repo, &[(&format!("many/{}/{number}.txt", number % 50), &format!("{number}\n"))]);
    }
    commit_all(&repo, "many");
    check_repository(lab, repo, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkout_of_this_project() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let lab = Lab::new().await;
    if !here.join(".git").exists() {
        // A copy without its history has nothing to clone.
        return;
    }
    let here = std::fs::canonicalize(here).unwrap();
    raw(&lab.path(""), &["clone", "-q", "--no-local", "--depth=1", &format!("file://{}", here.display()), "repo"]);
    let repo = lab.path("repo");
    check_repository(lab, repo, 4).await;
}
