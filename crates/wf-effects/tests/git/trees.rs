//! Trees come and go; work never goes.

use std::path::{Path, PathBuf};

use wf_effects::git::{GitError, Repository, Trees, TreesOptions, kept_remainders};
use wf_store::TreeStage;

use super::support::{Bench, Lab, RUN, commit_all, names_in, order, raw, read, users_own, write_all};

fn rescues(bench: &Bench) -> Vec<String> {
    let listed = raw(&bench.repo, &["for-each-ref", "--format=%(refname)", "refs/whaleflow/run1/rescue"]);
    listed.lines().map(str::to_owned).collect()
}

/// Where a rescue says that it keeps what a commit cannot hold.
fn kept(bench: &Bench, reference: &str) -> Vec<PathBuf> {
    let message = raw(&bench.repo, &["log", "-1", "--format=%B", reference]);
    message.lines().filter_map(|line| line.strip_prefix("kept: ")).map(PathBuf::from).collect()
}

/// What git itself knows of: checkouts beside the user's.
fn worktrees(repo: &Path) -> usize {
    raw(repo, &["worktree", "list", "--porcelain"]).lines().filter(|line| line.starts_with("worktree ")).count() - 1
}

#[tokio::test]
async fn branches_do_not_see_each_other() {
    let bench = Bench::new().await;
    let before = users_own(&bench.repo);
    let (a, b) = (bench.ready("x/a").await, bench.ready("x/a/b").await);
    assert_ne!(a, b);
    write_all(&a, &[("src/a.txt", "from a\n")]);
    write_all(&b, &[("src/b.txt", "from b\n")]);
    let (in_a, in_b) = (bench.checkpoint("x/a", &["**"]).await, bench.checkpoint("x/a/b", &["**"]).await);
    assert_eq!((read(&a.join("src/b.txt")), read(&b.join("src/a.txt"))), ("b\n".to_owned(), "a\n".to_owned()));
    assert_eq!((in_a.files.len(), in_b.files.len()), (1, 1));
    assert_eq!(bench.trees.release("x/a", &in_a.commit, false).await.unwrap(), None);
    assert_eq!(bench.trees.release("x/a/b", &in_b.commit, false).await.unwrap(), None);
    assert_eq!(users_own(&bench.repo), before);
    assert_eq!(worktrees(&bench.repo), 0);
    assert!(!bench.repo.join(".git/worktrees").exists());
    assert_eq!(bench.show(&bench.trees.branch_ref("x/a"), "src/a.txt"), "from a");
}

#[tokio::test]
async fn the_agents_git_works_in_a_tree() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    assert_eq!(raw(&dir, &["status", "--porcelain"]), "");
    assert_eq!(raw(&dir, &["rev-parse", "HEAD", "--show-toplevel"]), format!("{}\n{}", bench.base, dir.display()));
    assert_eq!(worktrees(&bench.repo), 1);
    raw(&bench.repo, &["fsck", "--strict"]);
}

#[tokio::test]
async fn acquire_finds_what_it_made() {
    let bench = Bench::new().await;
    let first = bench.trees.acquire("b", &bench.base).await.unwrap();
    let dir = bench.trees.begin("b", &bench.base).await.unwrap().dir;
    write_all(&dir, &[("x.log", "ignored\n")]);
    assert_eq!(bench.trees.acquire("b", &bench.base).await.unwrap(), first);
    assert_eq!(bench.successor().await.acquire("b", &bench.base).await.unwrap(), first);
    // It was found and not made anew: what git ignores is still there.
    assert_eq!(read(&dir.join("x.log")), "ignored\n");
    assert_eq!(rescues(&bench), Vec::<String>::new());
    assert_eq!(worktrees(&bench.repo), 1);
}

#[tokio::test]
async fn acquire_rescues_and_makes_anew() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "precious\n"), ("new", "precious too\n")]);
    bench.successor().await.acquire("b", &bench.base).await.unwrap();
    assert_eq!(raw(&dir, &["status", "--porcelain"]), "");
    let saved = rescues(&bench);
    assert_eq!(saved.len(), 1);
    assert_eq!(bench.show(&saved[0], "src/a.txt"), "precious");
    assert_eq!(bench.show(&saved[0], "new"), "precious too");
    assert_eq!(bench.at(&format!("{}^", saved[0])), bench.base);
}

#[tokio::test]
async fn begin_rescues_what_an_attempt_left() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    for (round, text) in [(1, "first\n"), (2, "second\n"), (3, "second\n")] {
        write_all(&dir, &[("src/a.txt", text), ("deep/er/new", "n\n"), ("x.log", "ignored\n")]);
        std::fs::remove_file(dir.join("README")).unwrap();
        let begun = bench.trees.begin("b", &bench.base).await.unwrap();
        let reference = begun.rescued.unwrap();
        assert_eq!(bench.show(&reference, "src/a.txt"), text.trim_end());
        assert_eq!(bench.files_of(&reference), ".gitignore deep/er/new src/a.txt src/b.txt");
        assert_eq!(raw(&dir, &["status", "--porcelain"]), "");
        assert_eq!((read(&dir.join("README")), dir.join("deep").exists()), ("one\ntwo\n".to_owned(), false));
        // A build directory is worth keeping for the next attempt.
        assert_eq!(read(&dir.join("x.log")), "ignored\n");
        // The same work again needs no ref of its own.
        assert_eq!(rescues(&bench).len(), round.min(2));
        let again = bench.trees.begin("b", &bench.base).await.unwrap();
        assert_eq!(again.rescued, None);
    }
}

#[tokio::test]
async fn a_new_owner_gets_a_fresh_tree() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "half done\n"), ("x.log", "ignored\n")]);
    let old = std::fs::File::open(&dir).unwrap();
    let begun = bench.successor().await.begin("b", &bench.base).await.unwrap();
    assert_eq!(bench.show(&begun.rescued.unwrap(), "src/a.txt"), "half done");
    assert_eq!((read(&dir.join("src/a.txt")), dir.join("x.log").exists()), ("a\n".to_owned(), false));
    // What the old owner started still stands in a directory that is gone.
    let inode = |metadata: std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(&metadata);
    assert_ne!(inode(old.metadata().unwrap()), inode(dir.metadata().unwrap()));
}

#[tokio::test]
async fn begin_goes_back_behind_a_checkpoint_that_was_not_recorded() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "x\n")]);
    let lost = bench.checkpoint("b", &["**"]).await;
    let begun = bench.trees.begin("b", &bench.base).await.unwrap();
    assert_eq!(bench.at(&begun.rescued.unwrap()), bench.at(&rescues(&bench)[0]));
    assert_eq!(read(&dir.join("src/a.txt")), "a\n");
    assert_eq!(bench.at(&bench.trees.branch_ref("b")), bench.base);
    let saved: Vec<String> = rescues(&bench).iter().map(|reference| bench.at(reference)).collect();
    assert!(saved.contains(&lost.commit), "{saved:?}");
}

#[tokio::test]
async fn the_agents_commits_are_rescued_with_its_files() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "committed\n")]);
    raw(&dir, &["checkout", "-q", "-b", "agents-own"]);
    let own = commit_all(&dir, "own");
    raw(&dir, &["checkout", "-q", "--detach"]);
    raw(&dir, &["branch", "-q", "-D", "agents-own"]);
    write_all(&dir, &[("src/b.txt", "on top\n")]);
    let reference = bench.trees.begin("b", &bench.base).await.unwrap().rescued.unwrap();
    assert_eq!(bench.at(&format!("{reference}^")), own);
    assert_eq!(bench.show(&reference, "src/b.txt"), "on top");
    // Commits alone, with the files as they began, are work as well.
    raw(&dir, &["commit", "-q", "--allow-empty", "-m", "only a message"]);
    let bare = raw(&dir, &["rev-parse", "HEAD"]);
    let reference = bench.trees.begin("b", &bench.base).await.unwrap().rescued.unwrap();
    assert_eq!(bench.at(&reference), bare);
    assert_eq!(raw(&dir, &["rev-parse", "HEAD"]), bench.base);
}

#[tokio::test]
async fn discard_drops() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "junk\n"), ("new/junk", "junk\n")]);
    raw(&dir, &["init", "-q", "inner"]);
    raw(&dir, &["commit", "-q", "-a", "-m", "junk"]);
    for _ in 0..2 {
        assert_eq!(bench.trees.discard("b", &bench.base).await.unwrap(), dir);
        assert_eq!(raw(&dir, &["status", "--porcelain"]), "");
        assert_eq!(names_in(&dir), [".git", ".gitignore", "README", "src"]);
        assert_eq!(raw(&dir, &["rev-parse", "HEAD"]), bench.base);
    }
    assert_eq!(rescues(&bench), Vec::<String>::new());
    assert_eq!(names_in(&dir.parent().unwrap().join(".kept")), Vec::<String>::new());
}

#[tokio::test]
async fn release_rescues_and_may_be_repeated() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "x\n")]);
    let point = bench.checkpoint("b", &["**"]).await;
    write_all(&dir, &[("late", "unsaved\n")]);
    let reference = bench.trees.release("b", &point.commit, false).await.unwrap().unwrap();
    assert_eq!(
        (bench.show(&reference, "late"), bench.at(&format!("{reference}^"))),
        ("unsaved".into(), point.commit.clone())
    );
    assert!(!dir.exists());
    assert_eq!(worktrees(&bench.repo), 0);
    assert_eq!(bench.trees.release("b", &point.commit, false).await.unwrap(), None);
    assert_eq!(bench.trees.release("never made", &bench.base, false).await.unwrap(), None);
    assert_eq!(rescues(&bench), [reference]);
}

#[tokio::test]
async fn what_a_commit_cannot_hold_is_moved_away_whole() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("inner/work", "precious\n"), ("outer", "x\n")]);
    raw(&dir, &["init", "-q", "inner"]);
    commit_all(&dir.join("inner"), "inside");
    write_all(&dir, &[("inner/unsaved", "precious too\n")]);
    let reference = bench.trees.begin("b", &bench.base).await.unwrap().rescued.unwrap();
    assert_eq!(bench.show(&reference, "outer"), "x");
    let kept = kept(&bench, &reference);
    assert_eq!(kept.len(), 1);
    assert_eq!(read(&kept[0].join("inner/unsaved")), "precious too\n");
    assert_eq!(raw(&kept[0].join("inner"), &["log", "-1", "--format=%s"]), "inside");
    assert_eq!(names_in(&dir), [".git", ".gitignore", "README", "src"]);
    let listed = kept_remainders(&bench.lab.path("trees")).unwrap();
    assert_eq!(listed, [(RUN.to_owned(), kept[0].clone())]);
    // Cleaning up leaves it where it is.
    assert_eq!(bench.trees.cleanup().await.unwrap(), Vec::<String>::new());
    assert_eq!(read(&kept[0].join("inner/unsaved")), "precious too\n");
}

#[tokio::test]
async fn a_pipe_in_place_of_a_file_does_not_hold_anything_up() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "x\n")]);
    std::fs::remove_file(dir.join("README")).unwrap();
    for name in ["README", "untracked"] {
        rustix::fs::mknodat(rustix::fs::CWD, dir.join(name), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    }
    let reference = bench.trees.begin("b", &bench.base).await.unwrap().rescued.unwrap();
    assert_eq!((bench.show(&reference, "src/a.txt"), kept(&bench, &reference).len()), ("x".to_owned(), 1));
    assert_eq!(read(&dir.join("README")), "one\ntwo\n");
}

#[tokio::test]
async fn a_tree_that_was_never_whole_is_made_anew_without_a_rescue() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    // As after a crash in the middle of the checkout: entry and directory, but nobody has got it.
    bench.change_row("b", |used| used.stage = TreeStage::Making).await;
    std::fs::remove_file(dir.join("README")).unwrap();
    let successor = bench.successor().await;
    successor.acquire("b", &bench.base).await.unwrap();
    assert_eq!(read(&dir.join("README")), "one\ntwo\n");
    assert_eq!(rescues(&bench), Vec::<String>::new());
    // An entry without its directory is in nobody's way either.
    std::fs::remove_dir_all(&dir).unwrap();
    successor.acquire("b", &bench.base).await.unwrap();
    assert_eq!(raw(&dir, &["status", "--porcelain"]), "");
    // Nor is a directory whose entry somebody pruned; its work is not lost for that.
    write_all(&dir, &[("new", "x\n")]);
    std::fs::remove_dir_all(bench.repo.join(".git/worktrees")).unwrap();
    let begun = successor.begin("b", &bench.base).await.unwrap();
    assert_eq!(bench.show(&begun.rescued.unwrap(), "new"), "x");
    assert_eq!(raw(&dir, &["status", "--porcelain"]), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_trees_at_once() {
    let bench = Bench::new().await;
    let successor = bench.successor().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        // Two owners, as of two processes, whose only common lock is the file.
        let trees = if number % 2 == 0 { bench.trees.clone() } else { successor.clone() };
        let base = bench.base.clone();
        tasks.spawn(async move {
            let branch = format!("many[{number}]");
            trees.acquire(&branch, &base).await.unwrap();
            let dir = trees.begin(&branch, &base).await.unwrap().dir;
            write_all(&dir, &[("src/a.txt", &format!("{number}\n"))]);
            let point = trees.checkpoint(order(&branch, &base, &["src/**"])).await.unwrap();
            assert_eq!(trees.release(&branch, &point.commit, false).await.unwrap(), None);
            (point.commit, number)
        });
    }
    let done = tasks.join_all().await;
    assert_eq!(done.len(), 16);
    for (commit, number) in done {
        assert_eq!(bench.show(&commit, "src/a.txt"), number.to_string());
    }
    assert_eq!(worktrees(&bench.repo), 0);
    assert_eq!(bench.trees.cleanup().await.unwrap(), Vec::<String>::new());
    assert_eq!(names_in(&bench.lab.path("trees")), Vec::<String>::new());
}

#[tokio::test]
async fn cleanup_takes_everything_and_loses_nothing() {
    let bench = Bench::new().await;
    let (a, _) = (bench.ready("a").await, bench.ready("b").await);
    write_all(&a, &[("new", "unsaved\n")]);
    let snapshot = bench.trees.snapshot(&bench.base).await.unwrap();
    drop(snapshot);
    let rescued = bench.successor().await.cleanup().await.unwrap();
    assert_eq!(rescued.len(), 1);
    assert_eq!(bench.show(&rescued[0], "new"), "unsaved");
    assert_eq!(worktrees(&bench.repo), 0);
    assert_eq!(names_in(&bench.lab.path("trees")), Vec::<String>::new());
    assert_eq!(bench.trees.cleanup().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn snapshots_are_shared_or_private() {
    let bench = Bench::new().await;
    let (first, second) =
        tokio::try_join!(bench.trees.snapshot(&bench.base), bench.trees.snapshot(&bench.base)).unwrap();
    assert_eq!(first.path(), second.path());
    assert_eq!(names_in(first.path()), [".gitignore", "README", "src"]);
    let private = bench.trees.private_snapshot(&bench.base).await.unwrap();
    assert_ne!(private.path(), first.path());
    write_all(private.path(), &[("src/a.txt", "changed\n")]);
    assert_eq!(read(&first.path().join("src/a.txt")), "a\n");
    assert_eq!(worktrees(&bench.repo), 0);
    let error = bench.trees.snapshot(&"0".repeat(40)).await.unwrap_err();
    assert!(matches!(error, GitError::UnknownRevision { .. }), "{error:?}");
}

#[test]
fn a_private_snapshot_is_removed_with_its_holder() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (bench, private) = runtime.block_on(async {
        let bench = Bench::new().await;
        let private = bench.trees.private_snapshot(&bench.base).await.unwrap();
        (bench, private)
    });
    let dir = private.path().to_owned();
    assert!(dir.join("README").exists());
    drop(private);
    assert!(!dir.exists());
    drop(bench);
}

#[tokio::test]
async fn trees_of_a_linked_worktree_a_submodule_and_a_detached_head() {
    let lab = Lab::new().await;
    let (repo, base) = lab.repository("repo");
    lab.repository("part");
    raw(&repo, &["worktree", "add", "-q", "--detach", "../linked", &base]);
    raw(&repo, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../part", "part"]);
    for (number, place) in ["linked", "repo/part"].into_iter().enumerate() {
        let top = lab.path(place);
        let trees = lab.trees(&top, &format!("trees{number}"), lab.pool("me")).await;
        let head = trees.repository().head_commit().await.unwrap().commit;
        trees.acquire("b", &head).await.unwrap();
        let dir = trees.begin("b", &head).await.unwrap().dir;
        assert_eq!(raw(&dir, &["rev-parse", "--show-toplevel"]), dir.display().to_string());
        write_all(&dir, &[("src/a.txt", "x\n")]);
        let point = trees.checkpoint(order("b", &head, &["**"])).await.unwrap();
        assert_eq!(point.files.len(), 1);
        assert_eq!(trees.release("b", &point.commit, false).await.unwrap(), None);
        assert_eq!(raw(&top, &["status", "--porcelain"]), "");
        assert_eq!(read(&top.join("src/a.txt")), "a\n");
    }
    assert_eq!(worktrees(&repo), 1);
}

#[tokio::test]
async fn a_sparse_checkout_has_whole_trees() {
    let bench = Bench::new().await;
    raw(&bench.repo, &["sparse-checkout", "set", "--no-cone", "src"]);
    assert!(!bench.repo.join("README").exists());
    let before = users_own(&bench.repo);
    let taken = bench.trees.repository().snapshot_worktree("other", 5).await.unwrap();
    assert_eq!(taken.at.commit, bench.base);
    let dir = bench.ready("b").await;
    assert_eq!(
        (read(&dir.join("README")), raw(&dir, &["status", "--porcelain"])),
        ("one\ntwo\n".into(), String::new())
    );
    assert_eq!(bench.trees.release("b", &bench.base, false).await.unwrap(), None);
    assert_eq!(users_own(&bench.repo), before);
}

#[tokio::test]
async fn other_object_and_ref_formats_work() {
    for format in [["--object-format=sha256", "--ref-format=files"], ["--object-format=sha1", "--ref-format=reftable"]]
    {
        let lab = Lab::new().await;
        let repo = lab.path("repo");
        write_all(&repo, &[("src/a.txt", "a\n")]);
        raw(&repo, &["init", "-q", "-b", "main", format[0], format[1]]);
        let base = commit_all(&repo, "begin");
        let bench = Bench::over(lab, repo, base).await;
        let dir = bench.ready("b").await;
        write_all(&dir, &[("src/a.txt", "x\n")]);
        let point = bench.checkpoint("b", &["**"]).await;
        assert_eq!(bench.show(&point.commit, "src/a.txt"), "x");
        assert_eq!(raw(&dir, &["rev-parse", "HEAD"]), point.commit);
        write_all(&dir, &[("src/a.txt", "unsaved\n")]);
        let rescued = bench.trees.release("b", &point.commit, false).await.unwrap().unwrap();
        assert_eq!(bench.show(&rescued, "src/a.txt"), "unsaved");
    }
}

#[tokio::test]
async fn the_root_may_not_lie_in_the_repository() {
    let lab = Lab::new().await;
    let (repo, _) = lab.repository("repo");
    let repository = Repository::discover(&lab.git, &repo).await.unwrap();
    std::os::unix::fs::symlink(&repo, lab.path("alias")).unwrap();
    for root in [repo.join("trees"), repo.join(".git/trees"), lab.path("alias/trees")] {
        let options = TreesOptions { root, run: RUN.to_owned(), pool: lab.pool("me") };
        assert!(matches!(Trees::open(&repository, &options), Err(GitError::Invalid { .. })), "{options:?}");
    }
    assert!(!repo.join("trees").exists());
    let options = TreesOptions { root: lab.path("trees"), run: "../x".to_owned(), pool: lab.pool("me") };
    assert!(matches!(Trees::open(&repository, &options), Err(GitError::Invalid { .. })));
}
