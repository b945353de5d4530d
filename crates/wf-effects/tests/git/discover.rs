//! Which repository is found, and what its head is.

use std::os::unix::fs::symlink;
use std::path::Path;

use expect_test::{Expect, expect};
use wf_effects::git::{GitError, Repository};

use super::support::{Lab, commit_all, raw, write_all};

/// What is found from `start`, with the test's directory left out.
async fn check(lab: &Lab, start: &str, expected: Expect) {
    let root = lab.path("");
    let said = match Repository::discover(&lab.git, &lab.path(start)).await {
        Ok(found) => {
            let name = |path: &Path| path.strip_prefix(&root).unwrap().display().to_string();
            format!("{} | {} | {}", name(found.top()), name(found.git_dir()), name(found.common_dir()))
        }
        Err(error) => format!("{error}"),
    };
    expected.assert_eq(&said.replace(&root.display().to_string(), "/"));
}

#[tokio::test]
async fn upwards_from_any_directory() {
    let lab = Lab::new().await;
    lab.repository("repo");
    check(&lab, "repo", expect!["repo | repo/.git | repo/.git"]).await;
    check(&lab, "repo/src", expect!["repo | repo/.git | repo/.git"]).await;
}

#[tokio::test]
async fn a_linked_worktree_shares_the_common_directory() {
    let lab = Lab::new().await;
    let (repo, base) = lab.repository("repo");
    raw(&repo, &["worktree", "add", "-q", "--detach", "../linked", &base]);
    check(&lab, "linked/src", expect!["linked | repo/.git/worktrees/linked | repo/.git"]).await;
}

#[tokio::test]
async fn a_submodule_is_a_repository_of_its_own() {
    let lab = Lab::new().await;
    let (repo, _) = lab.repository("repo");
    lab.repository("part");
    raw(&repo, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../part", "lib/part"]);
    check(
        &lab,
        "repo/lib/part/src",
        expect!["repo/lib/part | repo/.git/modules/lib/part | repo/.git/modules/lib/part"],
    )
    .await;
}

#[tokio::test]
async fn one_repository_below_is_taken_and_two_are_a_question() {
    let lab = Lab::new().await;
    std::fs::create_dir_all(lab.path("desk/empty")).unwrap();
    check(&lab, "desk", expect![[r#"no git repository at "/desk", above it, or directly below it"#]]).await;
    lab.repository("desk/one");
    check(&lab, "desk", expect!["desk/one | desk/one/.git | desk/one/.git"]).await;
    lab.repository("desk/two");
    check(&lab, "desk", expect![[r#"several git repositories directly below "/desk": "/desk/one", "/desk/two""#]])
        .await;
    let Err(GitError::Several { candidates, .. }) = Repository::discover(&lab.git, &lab.path("desk")).await else {
        panic!("two repositories must be a question");
    };
    assert_eq!(candidates, [lab.path("desk/one"), lab.path("desk/two")]);
}

#[tokio::test]
async fn a_bare_repository_is_refused_and_its_worktree_is_not() {
    let lab = Lab::new().await;
    let (repo, base) = lab.repository("repo");
    raw(&repo, &["clone", "-q", "--bare", ".", "../bare.git"]);
    check(&lab, "bare.git", expect![[r#""/bare.git" is a bare repository"#]]).await;
    check(&lab, "bare.git/refs", expect![[r#""/bare.git" is a bare repository"#]]).await;
    raw(&lab.path("bare.git"), &["worktree", "add", "-q", "--detach", "../linked", &base]);
    check(&lab, "linked", expect!["linked | bare.git/worktrees/linked | bare.git"]).await;
    // `.git` beside a checkout can be bare, too.
    raw(&repo, &["config", "core.bare", "true"]);
    check(&lab, "repo", expect![[r#""/repo/.git" is a bare repository"#]]).await;
}

#[tokio::test]
async fn odd_pointers_are_refused() {
    let lab = Lab::new().await;
    let (repo, base) = lab.repository("repo");
    raw(&repo, &["worktree", "add", "-q", "--detach", "../linked", &base]);
    let write = |name: &str, text: &str| std::fs::write(lab.path(name), text).unwrap();
    let remove = |name: &str| std::fs::remove_file(lab.path(name)).unwrap();

    write("repo/.git/worktrees/linked/gitdir", "/elsewhere/.git\n");
    check(
        &lab,
        "linked",
        expect![[r#"git's control file "/repo/.git/worktrees/linked/gitdir" is odd: it points to "/elsewhere/.git": No such file or directory (os error 2)"#]],
    )
    .await;
    std::fs::create_dir_all(lab.path("evil/objects")).unwrap();
    std::fs::create_dir_all(lab.path("evil/refs")).unwrap();
    write("evil/HEAD", "ref: refs/heads/main\n");
    write("repo/.git/worktrees/linked/commondir", "../../../../evil\n");
    check(
        &lab,
        "linked",
        expect![[r#"git's control file "/repo/.git/worktrees/linked" is odd: it is not among the worktrees of the repository it names"#]],
    )
    .await;
    write("linked/.git", "gitdir: ../src\nmore\n");
    check(&lab, "linked", expect![[r#"git's control file "/linked/.git" is odd: it does not hold one path"#]]).await;
    write("linked/.git", "#!/bin/sh\n");
    check(&lab, "linked", expect![[r#"git's control file "/linked/.git" is odd: it names no git directory"#]]).await;
    remove("linked/.git");
    symlink("/dev/zero", lab.path("linked/.git")).unwrap();
    check(&lab, "linked", expect![[r#"git's control file "/linked/.git" is odd: it is no small ordinary file"#]]).await;

    write("repo/.git/commondir", "../evil\n");
    check(
        &lab,
        "repo",
        expect![[r#"git's control file "/repo/.git/commondir" is odd: a checkout with its own .git has no commondir"#]],
    )
    .await;
    remove("repo/.git/commondir");
    remove("repo/.git/config");
    symlink("/dev/zero", lab.path("repo/.git/config")).unwrap();
    check(
        &lab,
        "repo",
        expect![[r#"git's control file "/repo/.git/config" is odd: it is no ordinary file of a sensible size"#]],
    )
    .await;
}

#[tokio::test]
async fn heads_and_revisions() {
    let lab = Lab::new().await;
    let dir = lab.path("new");
    write_all(&dir, &[("a", "a\n")]);
    raw(&dir, &["init", "-q", "-b", "main"]);
    let repository = Repository::discover(&lab.git, &dir).await.unwrap();
    let error = repository.head_commit().await.unwrap_err();
    assert!(matches!(error, GitError::Unborn { .. }), "{error:?}");
    assert_eq!(error.hint(), Some("make a first commit; an empty one will do: git commit --allow-empty"));
    assert!(matches!(repository.snapshot_worktree("r", 0).await, Err(GitError::Unborn { .. })));

    let first = commit_all(&dir, "first");
    let second = commit_all(&dir, "second");
    assert_eq!(repository.head_commit().await.unwrap().commit, second);
    raw(&dir, &["checkout", "-q", "--detach", &first]);
    assert_eq!(repository.head_commit().await.unwrap().commit, first);
    let at = repository.resolve("main~1").await.unwrap();
    assert_eq!((at.commit.as_str(), at.tree.as_str()), (first.as_str(), &*raw(&dir, &["rev-parse", "HEAD^{tree}"])));
    for rev in ["", "--all", "-h", "nothing", "main..HEAD", "main\0", "HEAD:a", &"a".repeat(5000)] {
        let error = repository.resolve(rev).await.unwrap_err();
        assert!(matches!(error, GitError::UnknownRevision { .. }), "{rev:?}: {error:?}");
    }
    let absent = "0".repeat(40);
    assert!(matches!(repository.tree_of(&absent).await, Err(GitError::UnknownRevision { .. })));
    assert!(matches!(repository.tree_of("main").await, Err(GitError::Invalid { .. })));
}
