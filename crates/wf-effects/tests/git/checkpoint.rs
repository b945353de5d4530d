//! What a checkpoint commits, and what it refuses.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use expect_test::{Expect, expect};
use wf_effects::git::GitError;

use super::support::{Bench, Lab, commit_all, make_executable, order, raw, read, write_all};

/// What a checkpoint says of what `change` does to a tree, under a write scope.
async fn check(writes: &[&str], change: impl FnOnce(&Path), expected: Expect) {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    change(&dir);
    let point = bench.checkpoint("b", writes).await;
    let mut said: Vec<String> = point
        .files
        .iter()
        .map(|file| {
            let count = |lines: Option<u64>| lines.map_or("-".to_owned(), |lines| lines.to_string());
            format!("{} {} +{} -{}", file.change, file.path, count(file.insertions), count(file.deletions))
        })
        .collect();
    said.extend(point.out_of_scope.iter().map(|path| format!("out of scope: {path}")));
    let is_committed = point.commit != bench.base;
    assert_eq!(is_committed, !point.files.is_empty() && point.out_of_scope.is_empty());
    assert_eq!(bench.at(&bench.trees.branch_ref("b")), point.commit);
    assert_eq!(bench.at(&format!("{}^{{tree}}", point.commit)), point.tree);
    expected.assert_eq(&said.join("\n"));
}

#[tokio::test]
async fn nothing_changed_is_the_beginning_itself() {
    check(&[], |_| {}, expect![""]).await;
    check(&["**"], |dir| write_all(dir, &[("x.log", "ignored\n")]), expect![""]).await;
}

#[tokio::test]
async fn files_are_added_changed_and_deleted() {
    let change = |dir: &Path| {
        write_all(dir, &[("src/a.txt", "a\nb\nc\n"), ("src/new/c.txt", "c\n"), ("src/bin", "\0\u{1}")]);
        std::fs::remove_file(dir.join("src/b.txt")).unwrap();
    };
    check(
        &["src/**"],
        change,
        expect![[r#"
            modified src/a.txt +2 -0
            deleted src/b.txt +0 -1
            added src/bin +- --
            added src/new/c.txt +1 -0"#]],
    )
    .await;
}

#[tokio::test]
async fn what_the_scope_does_not_cover_is_listed_and_nothing_is_committed() {
    let change = |dir: &Path| write_all(dir, &[("src/a.txt", "x\n"), ("README", "x\n"), ("other", "x\n")]);
    check(
        &["src/**", "other"],
        change,
        expect![[r#"
            modified README +1 -2
            added other +1 -0
            modified src/a.txt +1 -1
            out of scope: README"#]],
    )
    .await;
    check(
        &[],
        change,
        expect![[r#"
            modified README +1 -2
            added other +1 -0
            modified src/a.txt +1 -1
            out of scope: README
            out of scope: other
            out of scope: src/a.txt"#]],
    )
    .await;
}

#[tokio::test]
async fn a_rename_counts_at_both_ends() {
    let change = |dir: &Path| std::fs::rename(dir.join("README"), dir.join("src/README")).unwrap();
    check(
        &["src/**"],
        change,
        expect![[r#"
            deleted README +0 -2
            added src/README +2 -0
            out of scope: README"#]],
    )
    .await;
}

#[tokio::test]
async fn modes_and_links_count() {
    let change = |dir: &Path| {
        make_executable(&dir.join("README"));
        std::fs::remove_file(dir.join("src/a.txt")).unwrap();
        symlink("../README", dir.join("src/a.txt")).unwrap();
        symlink("/etc/passwd", dir.join("link")).unwrap();
    };
    check(
        &["src/**"],
        change,
        expect![[r#"
            mode README +0 -0
            added link +1 -0
            type src/a.txt +1 -1
            out of scope: README
            out of scope: link"#]],
    )
    .await;
}

#[tokio::test]
async fn a_directory_may_become_a_link_and_a_file_a_directory() {
    let change = |dir: &Path| {
        std::fs::create_dir(dir.join("elsewhere")).unwrap();
        std::fs::rename(dir.join("src/a.txt"), dir.join("elsewhere/a.txt")).unwrap();
        std::fs::remove_dir_all(dir.join("src")).unwrap();
        symlink("elsewhere", dir.join("src")).unwrap();
        std::fs::remove_file(dir.join("README")).unwrap();
        write_all(dir, &[("README/inner", "x\n")]);
    };
    check(
        &["**"],
        change,
        expect![[r#"
            deleted README +0 -2
            added README/inner +1 -0
            added elsewhere/a.txt +1 -0
            added src +1 -0
            deleted src/a.txt +0 -1
            deleted src/b.txt +0 -1"#]],
    )
    .await;
}

#[tokio::test]
async fn what_a_commit_cannot_hold_is_out_of_every_scope() {
    let change = |dir: &Path| {
        raw(dir, &["init", "-q", "inner"]);
        raw(dir, &["init", "-q", "src"]);
        write_all(dir, &[("inner/x", "x\n")]);
        std::fs::remove_file(dir.join("README")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, dir.join("README"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    };
    check(
        &["**"],
        change,
        expect![[r#"
            out of scope: inner
            out of scope: src
            out of scope: README"#]],
    )
    .await;
}

#[tokio::test]
async fn names_may_be_anything() {
    let change = |dir: &Path| {
        for name in ["-rf", "a\nb", "\"q\"", "äöü", " ", ":(top)x", "*", "tab\there", ":100644 x"] {
            std::fs::write(dir.join(name), "x\n").unwrap();
        }
        std::fs::write(dir.join(OsStr::from_bytes(b"latin-\xe9")), "x\n").unwrap();
    };
    check(
        &["**"],
        change,
        expect![[r#"
            added   +1 -0
            added "q" +1 -0
            added * +1 -0
            added -rf +1 -0
            added :(top)x +1 -0
            added :100644 x +1 -0
            added a
            b +1 -0
            added latin-� +1 -0
            added tab	here +1 -0
            added äöü +1 -0"#]],
    )
    .await;
}

#[tokio::test]
async fn a_submodule_pointer_counts() {
    let lab = Lab::new().await;
    let (repo, _) = lab.repository("repo");
    let (part, _) = lab.repository("part");
    raw(&repo, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../part", "part"]);
    let base = commit_all(&repo, "with a submodule");
    write_all(&part, &[("more", "x\n")]);
    commit_all(&part, "more");
    let bench = Bench::over(lab, repo, base).await;
    let dir = bench.ready("b").await;
    assert_eq!(bench.checkpoint("b", &[]).await.files, []);
    raw(&dir, &["-c", "protocol.file.allow=always", "clone", "-q", &part.display().to_string(), "part"]);
    let point = bench.checkpoint("b", &["src/**"]).await;
    assert_eq!(point.out_of_scope, ["part"]);
    assert_eq!(point.files[0].change, "modified");
    let point = bench.checkpoint("b", &["part"]).await;
    assert_eq!(bench.at(&format!("{}:part", point.commit)), raw(&part, &["rev-parse", "HEAD"]));
    // The checked out submodule is more than its pointer: it is kept.
    let rescued = bench.trees.release("b", &point.commit, false).await.unwrap().unwrap();
    let message = raw(&bench.repo, &["log", "-1", "--format=%B", &rescued]);
    let kept = message.lines().find_map(|line| line.strip_prefix("kept: ")).unwrap();
    assert_eq!(read(&Path::new(kept).join("part/more")), "x\n");
}

#[tokio::test]
async fn the_same_inputs_give_the_same_commit_anywhere() {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let bench = Bench::new().await;
        let dir = bench.ready("green[2]").await;
        write_all(&dir, &[("src/a.txt", "x\n")]);
        seen.insert(bench.checkpoint("green[2]", &["src/*.txt"]).await.commit);
    }
    expect![[r#"
        {
            "a23cb9db0a43bd1635e132a7ba184f880d483158",
        }
    "#]]
    .assert_debug_eq(&seen);
}

#[tokio::test]
async fn a_checkpoint_says_who_when_and_what_for() {
    let bench = Bench::new().await;
    write_all(&bench.ready("b").await, &[("src/a.txt", "x\n")]);
    let point = bench.checkpoint("b", &["**"]).await;
    expect![[r#"
        whaleflow <whaleflow@localhost> 1700000000
        whaleflow <whaleflow@localhost> 1700000000
        b/write

        branch: b"#]]
    .assert_eq(&raw(&bench.repo, &["log", "-1", "--format=%an <%ae> %at%n%cn <%ce> %ct%n%B", &point.commit]));
    assert_eq!(bench.at(&format!("{}^", point.commit)), bench.base);
}

#[tokio::test]
async fn repeating_a_checkpoint_changes_nothing() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "x\n"), ("src/new", "y\n")]);
    let first = bench.checkpoint("b", &["**"]).await;
    assert_eq!(bench.checkpoint("b", &["**"]).await, first);
    // As after a crash: another process, which knows nothing of the tree.
    let again = bench.successor().await.checkpoint(order("b", &bench.base, &["**"])).await.unwrap();
    assert_eq!(again, first);
    // The same work under another date, because the first outcome was never recorded.
    let mut later = order("b", &bench.base, &["**"]);
    later.at_ms += 5_000;
    let moved = bench.trees.checkpoint(later).await.unwrap();
    assert_eq!((&moved.tree, &moved.files), (&first.tree, &first.files));
    assert_eq!(bench.at(&bench.trees.branch_ref("b")), moved.commit);
}

#[tokio::test]
async fn leaves_build_on_each_other() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "x\n")]);
    let first = bench.checkpoint("b", &["**"]).await;
    let begun = bench.trees.begin("b", &first.commit).await.unwrap();
    assert_eq!((begun.rescued, read(&dir.join("src/a.txt"))), (None, "x\n".to_owned()));
    assert_eq!(raw(&dir, &["status", "--porcelain"]), "");
    assert_eq!(raw(&dir, &["rev-parse", "HEAD"]), first.commit);
    write_all(&dir, &[("src/b.txt", "y\n")]);
    let second = bench.trees.checkpoint(order("b", &first.commit, &["src/b.txt"])).await.unwrap();
    assert_eq!(second.files.len(), 1);
    let harvest = bench.trees.repository().harvest(&bench.base, &second.commit).await.unwrap();
    let names: Vec<_> = harvest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["src/a.txt", "src/b.txt"]);
    assert_eq!((harvest.base, harvest.commit, harvest.tree), (bench.base, second.commit, second.tree));
}

#[tokio::test]
async fn a_ref_that_somebody_moved_is_not_overwritten() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "x\n")]);
    let other = commit_all(&bench.repo, "other");
    let reference = bench.trees.branch_ref("b");
    raw(&bench.repo, &["update-ref", &reference, &other]);
    let error = bench.trees.checkpoint(order("b", &bench.base, &["**"])).await.unwrap_err();
    assert!(matches!(&error, GitError::Moved { actual, .. } if *actual == other), "{error:?}");
    assert_eq!(bench.at(&reference), other);
    assert_eq!(read(&dir.join("src/a.txt")), "x\n");
}

#[tokio::test]
async fn the_agents_own_commits_and_index_do_not_matter() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "x\n")]);
    let own = commit_all(&dir, "the agent's own");
    write_all(&dir, &[("src/b.txt", "y\n")]);
    raw(&dir, &["update-index", "--assume-unchanged", "src/a.txt", "src/b.txt"]);
    raw(&dir, &["rm", "-q", "--cached", "README"]);
    let point = bench.checkpoint("b", &["**"]).await;
    let names: Vec<_> = point.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["src/a.txt", "src/b.txt"]);
    assert_eq!(bench.at(&format!("{}^", point.commit)), bench.base);
    assert_eq!(raw(&dir, &["status", "--porcelain"]), "");
    // Its history is kept all the same.
    let rescued = raw(&bench.repo, &["for-each-ref", "--format=%(objectname)", "refs/whaleflow/run1/rescue"]);
    assert_eq!(rescued, own);
}
