//! The user's checkout: looked at, and changed only when that is asked for.

use std::os::unix::fs::symlink;
use std::path::Path;

use wf_effects::git::{FileOrder, GitError, Repository, create_repository};
use wf_kernel::record::FileChange;

use super::support::{Bench, Lab, make_executable, names_in, raw, read, users_own, write_all};

async fn repository(bench: &Bench) -> Repository {
    Repository::discover(&bench.lab.git, &bench.repo).await.unwrap()
}

/// A checkout with every kind of change.
fn make_dirty(repo: &Path) {
    write_all(
        repo,
        &[("src/a.txt", "changed\n"), ("staged", "staged\n"), ("un tracked/ü", "new\n"), ("x.log", "no\n")],
    );
    write_all(repo, &[("forced.log", "staged though ignored\n")]);
    raw(repo, &["add", "staged"]);
    raw(repo, &["add", "-f", "forced.log"]);
    write_all(repo, &[("staged", "and changed again\n")]);
    std::fs::remove_file(repo.join("src/b.txt")).unwrap();
    make_executable(&repo.join("README"));
    symlink("nowhere", repo.join("link")).unwrap();
}

#[tokio::test]
async fn a_snapshot_equals_the_checkout_and_changes_nothing_of_it() {
    let bench = Bench::new().await;
    make_dirty(&bench.repo);
    let before = users_own(&bench.repo);
    let repository = repository(&bench).await;
    let taken = repository.snapshot_worktree("run1", 1_700_000_000_000).await.unwrap();
    assert_eq!(users_own(&bench.repo), before);
    assert_eq!(taken.left_out, Vec::<String>::new());
    assert_eq!(bench.at("refs/whaleflow/run1/base"), taken.at.commit);
    assert_eq!(bench.at(&format!("{}^", taken.at.commit)), bench.base);
    assert_eq!(repository.snapshot_worktree("run1", 1_700_000_000_000).await.unwrap(), taken);
    // What `git add -A` and `git commit` would have made.
    raw(&bench.repo, &["add", "-A"]);
    assert_eq!(raw(&bench.repo, &["write-tree"]), taken.at.tree);
    let listed = bench.files_of(&taken.at.commit);
    assert_eq!(listed, r#".gitignore README forced.log link src/a.txt staged "un tracked/\303\274""#);
}

#[tokio::test]
async fn a_snapshot_of_a_clean_checkout_is_its_commit() {
    let bench = Bench::new().await;
    let repository = repository(&bench).await;
    let taken = repository.snapshot_worktree("run1", 5).await.unwrap();
    assert_eq!(taken.at.commit, bench.base);
    assert_eq!(bench.at("refs/whaleflow/run1/base"), bench.base);
    write_all(&bench.repo, &[("new", "x\n")]);
    let error = repository.snapshot_worktree("run1", 5).await.unwrap_err();
    assert!(matches!(error, GitError::Moved { .. }), "{error:?}");
    assert_eq!(bench.at("refs/whaleflow/run1/base"), bench.base);
}

#[tokio::test]
async fn a_snapshot_copes_with_odd_indexes() {
    for odd in ["split", "absent", "unmerged", "v4"] {
        let bench = Bench::new().await;
        write_all(&bench.repo, &[("src/a.txt", "changed\n"), ("new", "x\n")]);
        match odd {
            "split" => _ = raw(&bench.repo, &["update-index", "--split-index"]),
            "absent" => std::fs::remove_file(bench.repo.join(".git/index")).unwrap(),
            "unmerged" => {
                for branch in ["ours", "theirs"] {
                    raw(&bench.repo, &["checkout", "-q", "-f", "-b", branch, &bench.base]);
                    std::fs::write(bench.repo.join("README"), branch).unwrap();
                    raw(&bench.repo, &["commit", "-q", "-m", branch, "README"]);
                }
                raw(&bench.repo, &["checkout", "-q", "ours"]);
                raw(&bench.repo, &["read-tree", "-m", &bench.base, "ours", "theirs"]);
                write_all(&bench.repo, &[("src/a.txt", "changed\n")]);
                assert_eq!(raw(&bench.repo, &["ls-files", "--unmerged"]).lines().count(), 3);
            }
            _ => _ = raw(&bench.repo, &["update-index", "--index-version", "4"]),
        }
        let repository = repository(&bench).await;
        let taken = repository.snapshot_worktree("run1", 5).await.unwrap();
        assert_eq!(bench.show(&taken.at.commit, "src/a.txt"), "changed", "{odd}");
        assert_eq!(bench.files_of(&taken.at.commit), ".gitignore README new src/a.txt src/b.txt", "{odd}");
    }
}

#[tokio::test]
async fn a_snapshot_says_what_it_leaves_out() {
    let bench = Bench::new().await;
    raw(&bench.repo, &["init", "-q", "inner"]);
    write_all(&bench.repo, &[("inner/x", "x\n"), ("new", "x\n")]);
    let taken = repository(&bench).await.snapshot_worktree("run1", 5).await.unwrap();
    assert_eq!(taken.left_out, ["inner"]);
    assert_eq!(bench.files_of(&taken.at.commit), ".gitignore README new src/a.txt src/b.txt");
}

#[tokio::test]
async fn the_state_of_a_checkout() {
    let bench = Bench::new().await;
    let repository = repository(&bench).await;
    assert!(repository.checkout_state().await.unwrap().is_clean());
    // Written again with the same content: not a change.
    write_all(&bench.repo, &[("README", "one\ntwo\n")]);
    assert!(repository.checkout_state().await.unwrap().is_clean());
    make_dirty(&bench.repo);
    let before = users_own(&bench.repo);
    let state = repository.checkout_state().await.unwrap();
    assert_eq!(state.head.commit, bench.base);
    assert_eq!(state.changed, ["README", "forced.log", "src/a.txt", "src/b.txt", "staged"]);
    assert_eq!(state.untracked, ["link", "un tracked/ü"]);
    assert_eq!(users_own(&bench.repo), before);
}

/// Changes the files of the checkout and nothing else.
async fn apply(repository: &Repository, from: &str, to: &str) -> Result<Vec<FileChange>, GitError> {
    let (from, to, tag) = (from.to_owned(), to.to_owned(), "t1".to_owned());
    repository.change_files(&FileOrder { from, to, tag, with_index: false, leaves_others: false }).await
}

/// A branch that changes, adds and deletes, with a binary file.
async fn branch(bench: &Bench) -> String {
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "by the branch\n"), ("docs/new", "new\n"), ("bin", "\0\u{1}\u{2}")]);
    std::fs::remove_file(dir.join("src/b.txt")).unwrap();
    make_executable(&dir.join("bin"));
    bench.checkpoint("b", &["**"]).await.commit
}

#[tokio::test]
async fn a_branch_is_applied_to_the_files_only() {
    let bench = Bench::new().await;
    let commit = branch(&bench).await;
    // Work elsewhere in the checkout is in nobody's way.
    write_all(&bench.repo, &[("README", "my own\n"), ("mine", "x\n")]);
    let mut before = users_own(&bench.repo);
    let repository = repository(&bench).await;
    let files = apply(&repository, &bench.base, &commit).await.unwrap();
    let names: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["bin", "docs/new", "src/a.txt", "src/b.txt"]);
    let after = users_own(&bench.repo);
    before.remove("src/b.txt");
    before.insert("src/a.txt".into(), b"by the branch\n".into());
    before.insert("docs/new".into(), b"new\n".into());
    before.insert("bin".into(), b"\0\x01\x02".into());
    assert_eq!(after, before);
    // A second time there is nothing left to do.
    assert_eq!(apply(&repository, &bench.base, &commit).await.unwrap(), files);
    assert_eq!(users_own(&bench.repo), after);
}

#[tokio::test]
async fn an_overlap_is_refused_and_named() {
    let cases: [(&str, &str, &str); 6] = [
        ("src/a.txt", "mine\n", "src/a.txt"),
        ("docs/new", "mine\n", "docs/new"),
        ("docs", "a file where a directory is to be\n", "docs/new"),
        ("bin/x", "a directory where a file is to be\n", "bin"),
        ("src/b.txt", "mine\n", "src/b.txt"),
        ("bin", "the same name\n", "bin"),
    ];
    for (path, text, overlap) in cases {
        let bench = Bench::new().await;
        let commit = branch(&bench).await;
        write_all(&bench.repo, &[(path, text)]);
        let before = users_own(&bench.repo);
        let error = apply(&repository(&bench).await, &bench.base, &commit).await.unwrap_err();
        assert!(matches!(&error, GitError::Overlaps { paths } if *paths == [overlap]), "{path}: {error:?}");
        assert_eq!(users_own(&bench.repo), before, "{path}");
    }
    // A file that is ignored is in no commit, and somebody's all the same.
    let bench = Bench::new().await;
    let commit = branch(&bench).await;
    write_all(&bench.repo, &[(".git/info/exclude", "bin\n"), ("bin", "mine\n")]);
    let error = apply(&repository(&bench).await, &bench.base, &commit).await.unwrap_err();
    assert!(matches!(&error, GitError::Overlaps { paths } if *paths == ["bin"]), "{error:?}");
    // The checkout has moved on in one of the files.
    let bench = Bench::new().await;
    let commit = branch(&bench).await;
    write_all(&bench.repo, &[("src/a.txt", "committed since\n")]);
    raw(&bench.repo, &["commit", "-q", "-a", "-m", "since"]);
    let error = apply(&repository(&bench).await, &bench.base, &commit).await.unwrap_err();
    assert!(matches!(&error, GitError::Overlaps { paths } if *paths == ["src/a.txt"]), "{error:?}");
}

#[tokio::test]
async fn a_branch_from_a_dirty_checkout_applies_to_that_checkout() {
    let bench = Bench::new().await;
    write_all(&bench.repo, &[("src/a.txt", "uncommitted\n")]);
    let repository = repository(&bench).await;
    let base = repository.snapshot_worktree("run1", 5).await.unwrap().at.commit;
    bench.trees.acquire("b", &base).await.unwrap();
    let dir = bench.trees.begin("b", &base).await.unwrap().dir;
    write_all(&dir, &[("src/a.txt", "uncommitted\nand more\n")]);
    let point = bench.trees.checkpoint(super::support::order("b", &base, &["**"])).await.unwrap();
    apply(&repository, &base, &point.commit).await.unwrap();
    assert_eq!(read(&bench.repo.join("src/a.txt")), "uncommitted\nand more\n");
}

#[tokio::test]
async fn diffs_and_patches() {
    let bench = Bench::new().await;
    let commit = branch(&bench).await;
    let repository = repository(&bench).await;
    let diff = repository.diff(&bench.base, &commit, 1 << 20).await.unwrap();
    expect_test::expect![[r#"
        diff --git a/bin b/bin
        new file mode 100755
        index 0000000..8352675
        Binary files /dev/null and b/bin differ
        diff --git a/docs/new b/docs/new
        new file mode 100644
        index 0000000..3e75765
        --- /dev/null
        +++ b/docs/new
        @@ -0,0 +1 @@
        +new
        diff --git a/src/a.txt b/src/a.txt
        index 7898192..4f5008a 100644
        --- a/src/a.txt
        +++ b/src/a.txt
        @@ -1 +1 @@
        -a
        +by the branch
        diff --git a/src/b.txt b/src/b.txt
        deleted file mode 100644
        index 6178079..0000000
        --- a/src/b.txt
        +++ /dev/null
        @@ -1 +0,0 @@
        -b
    "#]]
    .assert_eq(&String::from_utf8(diff.bytes.clone()).unwrap());
    assert!(!diff.is_truncated);
    let cut = repository.diff(&bench.base, &commit, 100).await.unwrap();
    assert_eq!((cut.bytes.as_slice(), cut.is_truncated), (&diff.bytes[..100], true));
    let patch = repository.patch(&bench.base, &commit).await.unwrap();
    let file = bench.lab.path("patch");
    std::fs::write(&file, patch).unwrap();
    raw(&bench.repo, &["apply", "--index", &file.display().to_string()]);
    assert_eq!(raw(&bench.repo, &["write-tree"]), bench.at(&format!("{commit}^{{tree}}")));
}

#[tokio::test]
async fn a_branch_is_made_once_and_under_a_proper_name() {
    let bench = Bench::new().await;
    let commit = branch(&bench).await;
    let repository = repository(&bench).await;
    let before = users_own(&bench.repo);
    repository.create_branch("fix/one", &commit).await.unwrap();
    assert_eq!(bench.at("refs/heads/fix/one"), commit);
    for name in ["fix/one", "main"] {
        let error = repository.create_branch(name, &commit).await.unwrap_err();
        assert!(matches!(error, GitError::BranchExists { .. }), "{name}: {error:?}");
    }
    for name in ["", "-x", "HEAD", "a..b", "a b", "x.lock", "a\0b", "@{-1}", "/x", "x/"] {
        let error = repository.create_branch(name, &commit).await.unwrap_err();
        assert!(matches!(error, GitError::Invalid { .. }), "{name:?}: {error:?}");
    }
    let error = repository.create_branch("two", &"0".repeat(40)).await.unwrap_err();
    assert!(matches!(error, GitError::UnknownRevision { .. }), "{error:?}");
    let mut after = users_own(&bench.repo);
    after.retain(|name, _| !name.ends_with("heads/fix/one"));
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_fixture_becomes_the_same_repository_anywhere() {
    let mut commits = Vec::new();
    for _ in 0..2 {
        let lab = Lab::new().await;
        let dir = lab.path("fixture");
        write_all(&dir, &[("a", "a\n"), ("run.sh", "#!/bin/sh\n"), (".gitignore", "target\n"), ("target/x", "x\n")]);
        make_executable(&dir.join("run.sh"));
        let (repository, at) = create_repository(&lab.git, &dir, "fixture", 1_600_000_000_000).await.unwrap();
        assert_eq!(repository.head_commit().await.unwrap(), at);
        assert_eq!(raw(&dir, &["status", "--porcelain", "--branch"]), "## main");
        assert_eq!(raw(&dir, &["ls-files"]), ".gitignore\na\nrun.sh");
        assert_eq!(names_in(&dir.join(".git/hooks")), Vec::<String>::new());
        let error = create_repository(&lab.git, &dir, "again", 0).await.unwrap_err();
        assert!(matches!(error, GitError::Invalid { .. }), "{error:?}");
        commits.push(at.commit);
    }
    assert_eq!(commits[0], commits[1]);
}
