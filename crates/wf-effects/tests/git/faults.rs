//! Git stops working in the middle of an operation, at each call of it; then another process goes on. No work is lost,
//! nothing is left over, and the answer is the one of an undisturbed operation.

use std::fs::File;
use std::path::Path;
use std::time::UNIX_EPOCH;

use wf_effects::git::{GitError, Trees};

use super::support::{Bench, make_executable, names_in, open_program, order, raw, users_own, write_all};

/// More calls than any operation makes.
const CALLS_MAX: usize = 60;

/// How the call at which git stops working ends: not made at all, or made and not answered.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Before,
    After,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Acquire,
    Begin,
    Checkpoint,
    Release,
}

impl Operation {
    async fn run(self, trees: &Trees, base: &str) -> Result<String, GitError> {
        match self {
            Self::Acquire => trees.acquire("b", base).await.map(|at| at.tree),
            Self::Begin => trees.begin("b", base).await.map(|begun| begun.dir.display().to_string()),
            Self::Checkpoint => trees.checkpoint(order("b", base, &["**"])).await.map(|point| point.commit),
            Self::Release => trees.release("b", base, false).await.map(|_| String::new()),
        }
    }
}

/// The run's trees through a git that works for `calls` calls.
async fn failing_trees(bench: &Bench, calls: usize, fault: Fault) -> Trees {
    let program = bench.lab.path("failing-git");
    let last = match fault {
        Fault::Before => "exit 1",
        Fault::After => "git \"$@\" > /dev/null; exit 1",
    };
    let script = format!(
        "#!/bin/sh\n[ -e \"$0.armed\" ] || exec git \"$@\"\necho >> \"$0.count\"\nmade=$(wc -l < \"$0.count\")\n\
         [ \"$made\" -gt {calls} ] || exec git \"$@\"\n[ \"$made\" -eq {} ] || exit 1\n{last}\n",
        calls + 1
    );
    std::fs::write(&program, script).unwrap();
    make_executable(&program);
    let git = open_program(&bench.lab.path(""), program).await;
    bench.lab.trees_by(&git, &bench.repo, "trees", bench.lab.pool("failing")).await
}

fn all_refs_hold(repo: &Path, text: &str) -> bool {
    let refs = raw(repo, &["for-each-ref", "--format=%(refname)", "refs/whaleflow"]);
    refs.lines().any(|name| raw(repo, &["log", "-1", "-p", "--format=", name]).contains(text))
}

/// Answers with whether the fault was met at all.
async fn is_met(operation: Operation, fault: Fault, calls: usize) -> bool {
    let bench = Bench::new().await;
    let before = users_own(&bench.repo);
    let failing = failing_trees(&bench, calls, fault).await;
    if !matches!(operation, Operation::Acquire) {
        failing.acquire("b", &bench.base).await.unwrap();
        let dir = failing.begin("b", &bench.base).await.unwrap().dir;
        write_all(&dir, &[("src/a.txt", "precious\n")]);
    }
    std::fs::write(bench.lab.path("failing-git.armed"), "").unwrap();
    let is_met = operation.run(&failing, &bench.base).await.is_err();
    drop(failing);

    let trees = bench.successor().await;
    let said = operation.run(&trees, &bench.base).await.unwrap();
    let case = format!("{operation:?} {fault:?} {calls}");
    match operation {
        Operation::Acquire => assert_eq!(said, bench.at(&format!("{}^{{tree}}", bench.base)), "{case}"),
        Operation::Begin => assert_eq!(raw(Path::new(&said), &["status", "--porcelain"]), "", "{case}"),
        Operation::Checkpoint => assert_eq!(bench.show(&said, "src/a.txt"), "precious", "{case}"),
        Operation::Release => assert!(!bench.repo.join(".git/worktrees").exists(), "{case}"),
    }
    trees.cleanup().await.unwrap();
    assert_eq!(names_in(&bench.lab.path("trees")), Vec::<String>::new(), "{case}");
    assert_eq!(all_refs_hold(&bench.repo, "+precious"), !matches!(operation, Operation::Acquire), "{case}");
    assert_eq!(users_own(&bench.repo), before, "{case}");
    is_met
}

async fn check(operation: Operation) {
    let mut calls = 0;
    let fault = |calls| if calls % 2 == 0 { Fault::Before } else { Fault::After };
    while is_met(operation, fault(calls), calls).await {
        calls += 1;
        assert!(calls < CALLS_MAX, "{operation:?} never succeeds");
    }
    assert!(calls > 2, "{operation:?} made {calls} calls only");
}

#[tokio::test]
async fn acquire() {
    check(Operation::Acquire).await;
}

#[tokio::test]
async fn begin() {
    check(Operation::Begin).await;
}

#[tokio::test]
async fn checkpoint() {
    check(Operation::Checkpoint).await;
}

#[tokio::test]
async fn release() {
    check(Operation::Release).await;
}

/// A machine that stops in the middle of a change of a ref leaves git's lock file behind, and nobody who would remove it.
#[tokio::test]
async fn a_lock_that_nobody_holds_any_more_is_passed() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "precious\n")]);
    let lock = bench.repo.join(".git").join(format!("{}.lock", bench.trees.branch_ref("b")));
    std::fs::write(&lock, "").unwrap();
    let point = bench.trees.checkpoint(order("b", &bench.base, &["**"])).await.unwrap();
    assert_eq!(bench.show(&point.commit, "src/a.txt"), "precious");
    assert_eq!(bench.at(&bench.trees.branch_ref("b")), point.commit);
    assert!(!lock.exists());
}

/// The lock of all packed refs is the user's too. Only where it is older than the start of the machine nobody has it.
#[tokio::test]
async fn a_lock_of_all_refs_is_passed_once_the_machine_was_started_again() {
    let bench = Bench::new().await;
    bench.ready("b").await;
    let fences = || raw(&bench.repo, &["for-each-ref", "--format=%(refname:lstrip=-1)", "refs/whaleflow/*/held/*"]);
    assert!(fences().ends_with("-b"), "{}", fences());
    let lock = bench.repo.join(".git/packed-refs.lock");
    std::fs::write(&lock, "").unwrap();
    let held = bench.trees.release("b", &bench.base, false).await;
    assert!(matches!(held, Err(GitError::Failed { .. })), "{held:?}");
    File::options().write(true).open(&lock).unwrap().set_modified(UNIX_EPOCH).unwrap();
    bench.trees.release("b", &bench.base, false).await.unwrap();
    assert!(!lock.exists());
    assert_eq!(fences(), "");
}

/// What lies outside of the engine's own refs is somebody else's, its locks too.
#[tokio::test]
async fn a_lock_of_the_users_is_left_alone() {
    let bench = Bench::new().await;
    let lock = bench.repo.join(".git/refs/heads/new.lock");
    std::fs::write(&lock, "").unwrap();
    let made = bench.trees.repository().create_branch("new", &bench.base).await;
    assert!(matches!(made, Err(GitError::Failed { .. })), "{made:?}");
    assert!(lock.exists());
}

/// Trees are not made durable: after the machine stopped, any part of what a leaf wrote may be there, and no part of it is
/// taken for the whole.
#[tokio::test]
async fn what_was_written_before_the_machine_stopped_is_not_kept_as_a_result() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "precious\n")]);
    let kept = bench.successor().await.checkpoint(order("b", &bench.base, &["**"])).await.unwrap();
    assert_eq!(bench.show(&kept.commit, "src/a.txt"), "precious", "another process of the same machine");

    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "precious\n")]);
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    bench.change_row("b", |used| used.boot = used.boot.replace(boot.trim(), "another")).await;
    let successor = bench.successor().await;
    let lost = successor.checkpoint(order("b", &bench.base, &["**"])).await;
    assert!(matches!(lost, Err(GitError::Lost { .. })), "{lost:?}");
    // It begins again where it had begun, and what is there is saved.
    let begun = successor.begin("b", &bench.base).await.unwrap();
    assert_eq!(bench.show(&begun.rescued.unwrap(), "src/a.txt"), "precious");
    // What is written from then on is whole.
    write_all(&begun.dir, &[("src/a.txt", "again\n")]);
    let kept = successor.checkpoint(order("b", &bench.base, &["**"])).await.unwrap();
    assert_eq!(bench.show(&kept.commit, "src/a.txt"), "again");
    // The same where nothing was left that had to be saved.
    bench.change_row("b", |used| used.boot = used.boot.replace(boot.trim(), "another")).await;
    let dir = successor.begin("b", &kept.commit).await.unwrap().dir;
    write_all(&dir, &[("src/a.txt", "once more\n")]);
    let kept = successor.checkpoint(order("b", &kept.commit, &["**"])).await.unwrap();
    assert_eq!(bench.show(&kept.commit, "src/a.txt"), "once more");
}
