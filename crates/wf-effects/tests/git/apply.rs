//! Files, index and branch of the user's checkout, changed when that is asked for: whole, or not at all, or gone on with.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use expect_test::expect;
use wf_effects::git::{CommitOrder, FileOrder, GitError, HeadRef, Identity, Merged, Repository};

use super::support::{
    Bench, Lab, commit_all, make_executable, names_in, open_program, raw, read, users_own, write_all,
};

async fn repository(lab: &Lab, dir: &Path) -> Repository {
    Repository::discover(&lab.git, dir).await.unwrap()
}

fn files(from: &str, to: &str) -> FileOrder {
    let (from, to, tag) = (from.to_owned(), to.to_owned(), "t1".to_owned());
    FileOrder { from, to, tag, with_index: false, leaves_others: false }
}

fn with_index(from: &str, to: &str) -> FileOrder {
    FileOrder { with_index: true, ..files(from, to) }
}

/// Everything in a checkout but `.git`, with its mode.
fn files_in(dir: &Path) -> BTreeMap<String, (bool, Vec<u8>)> {
    use std::os::unix::fs::PermissionsExt;
    let own = users_own(dir).into_iter().filter(|(name, _)| !name.starts_with(".git/"));
    let mode = |name: &str| dir.join(name).symlink_metadata().unwrap().permissions().mode() & 0o100 != 0;
    own.map(|(name, bytes)| (name.clone(), (mode(&name), bytes))).collect()
}

/// SplitMix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Fills a directory with files that are drawn: names that are directories in one drawing and files in another, links,
/// programs, names that git quotes.
fn draw_files(dir: &Path, draw: &mut Draw) {
    for entry in std::fs::read_dir(dir).unwrap().flatten().filter(|entry| entry.file_name() != ".git") {
        if entry.file_type().unwrap().is_dir() {
            std::fs::remove_dir_all(entry.path()).unwrap();
        } else {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    for top in ["a", "b", "ü \"q\"", "-c", "d\te"] {
        match draw.below(6) {
            0 => {}
            1 => symlink(format!("to{}", draw.below(2)), dir.join(top)).unwrap(),
            2 => {
                std::fs::write(dir.join(top), format!("program {}\n", draw.below(3))).unwrap();
                make_executable(&dir.join(top));
            }
            3 => std::fs::write(dir.join(top), format!("{}\n", draw.below(3)).repeat(40)).unwrap(),
            _ => {
                for inner in ["x", "y/z", "y/w", "x/deep/er"] {
                    let path = dir.join(top).join(inner);
                    let is_free = path.ancestors().all(|above| !above.is_file()) && !path.exists();
                    if is_free && draw.below(2) == 0 {
                        write_all(&dir.join(top), &[(inner, &format!("{}\n", draw.below(3)))]);
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn any_tree_becomes_any_other_from_any_point_between_and_goes_back() {
    let lab = Lab::new().await;
    let (repo, base) = lab.repository("repo");
    for seed in 0..12 {
        let mut draw = Draw(seed);
        raw(&repo, &["checkout", "-q", "-f", "--detach", &base]);
        draw_files(&repo, &mut draw);
        let from = commit_all(&repo, "from");
        let before = files_in(&repo);
        draw_files(&repo, &mut draw);
        let to = commit_all(&repo, "to");
        let after = files_in(&repo);

        raw(&repo, &["checkout", "-q", "-f", "--detach", &from]);
        assert_eq!(files_in(&repo), before, "{seed}");
        let repository = repository(&lab, &repo).await;
        repository.change_files(&with_index(&from, &to)).await.unwrap();
        assert_eq!(files_in(&repo), after, "{seed}");
        assert!(repository.standing(&from, &to).await.unwrap().is_after(), "{seed}");
        // The index went along, HEAD did not.
        assert_eq!(raw(&repo, &["write-tree"]), raw(&repo, &["rev-parse", &format!("{to}^{{tree}}")]), "{seed}");
        assert_eq!(raw(&repo, &["diff-files", "--name-only"]), "", "{seed}");
        assert_eq!(raw(&repo, &["rev-parse", "HEAD"]), from, "{seed}");

        // As a process leaves it that was killed on the way back: some files are as they were, some are not yet.
        repository.change_files(&with_index(&to, &from)).await.unwrap();
        assert_eq!(files_in(&repo), before, "{seed}");
        for name in
            raw(&repo, &["diff", "--name-only", "-z", "--no-renames", "--diff-filter=AM", &from, &to]).split('\0')
        {
            // Only what can stand beside what is there.
            let path = repo.join(name);
            let fits = path.parent().is_some_and(Path::is_dir) && !path.is_dir();
            if !name.is_empty() && fits && draw.below(2) == 0 {
                let _ = std::fs::remove_file(&path);
                raw(&repo, &["restore", &format!("--source={to}"), "--worktree", "--", name]);
            }
        }
        write_all(&repo, &[(".whaleflow-t1-0", "left by the one before\n")]);
        repository.change_files(&with_index(&from, &to)).await.unwrap();
        let mut found = files_in(&repo);
        found.remove(".whaleflow-t1-0");
        assert_eq!(found, after, "{seed}");
        let _ = std::fs::remove_file(repo.join(".whaleflow-t1-0"));
    }
}

#[tokio::test]
async fn what_is_somebody_elses_is_in_the_way_or_left_alone() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "theirs\n"), ("new", "new\n")]);
    std::fs::remove_file(dir.join("src/b.txt")).unwrap();
    let commit = bench.checkpoint("b", &["**"]).await.commit;
    let repository = repository(&bench.lab, &bench.repo).await;
    write_all(&bench.repo, &[("src/a.txt", "mine\n")]);
    let before = users_own(&bench.repo);
    let error = repository.change_files(&files(&bench.base, &commit)).await.unwrap_err();
    assert!(matches!(&error, GitError::Overlaps { paths } if *paths == ["src/a.txt"]), "{error:?}");
    assert_eq!(users_own(&bench.repo), before);
    let order = FileOrder { leaves_others: true, ..files(&bench.base, &commit) };
    repository.change_files(&order).await.unwrap();
    assert_eq!((read(&bench.repo.join("src/a.txt")), read(&bench.repo.join("new"))), ("mine\n".into(), "new\n".into()));
    assert!(!bench.repo.join("src/b.txt").exists());
    let standing = repository.standing(&bench.base, &commit).await.unwrap();
    assert_eq!((standing.after, standing.other), (vec!["new".into(), "src/b.txt".into()], vec!["src/a.txt".into()]));
    // Back again, and what is mine stays.
    let order = FileOrder { leaves_others: true, ..files(&commit, &bench.base) };
    repository.change_files(&order).await.unwrap();
    assert_eq!(users_own(&bench.repo), before);
}

#[tokio::test]
async fn nothing_is_written_through_a_link_or_over_a_directory_with_something_in_it() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("deep/er/new", "new\n"), ("flat", "flat\n")]);
    let commit = bench.checkpoint("b", &["**"]).await.commit;
    let repository = repository(&bench.lab, &bench.repo).await;
    write_all(&bench.repo, &[(".git/info/exclude", "deep\nflat\n")]);
    std::fs::create_dir(bench.lab.path("elsewhere")).unwrap();
    symlink(bench.lab.path("elsewhere"), bench.repo.join("deep")).unwrap();
    write_all(&bench.repo, &[("flat/mine", "mine\n")]);
    let before = users_own(&bench.repo);
    let error = repository.change_files(&files(&bench.base, &commit)).await.unwrap_err();
    let wanted = ["deep/er/new", "flat"];
    assert!(matches!(&error, GitError::Overlaps { paths } if *paths == wanted), "{error:?}");
    assert_eq!(users_own(&bench.repo), before);
    assert_eq!(names_in(&bench.lab.path("elsewhere")), Vec::<String>::new());
    // An empty directory is in nobody's way.
    std::fs::remove_file(bench.repo.join("deep")).unwrap();
    std::fs::remove_dir_all(bench.repo.join("flat")).unwrap();
    std::fs::create_dir_all(bench.repo.join("flat/empty/er")).unwrap();
    repository.change_files(&files(&bench.base, &commit)).await.unwrap();
    assert_eq!(read(&bench.repo.join("flat")), "flat\n");
    repository.change_files(&files(&commit, &bench.base)).await.unwrap();
    assert!(!bench.repo.join("deep").exists() && !bench.repo.join("flat").exists());
}

#[tokio::test]
async fn an_index_that_somebody_changes_is_not_touched() {
    let bench = Bench::new().await;
    write_all(&bench.ready("b").await, &[("src/a.txt", "theirs\n")]);
    let commit = bench.checkpoint("b", &["**"]).await.commit;
    let repository = repository(&bench.lab, &bench.repo).await;
    let lock = bench.repo.join(".git/index.lock");
    std::fs::write(&lock, "").unwrap();
    let before = users_own(&bench.repo);
    for order in [files(&bench.base, &commit), with_index(&bench.base, &commit)] {
        let error = repository.change_files(&order).await.unwrap_err();
        assert!(matches!(&error, GitError::IndexLocked { path } if *path == lock), "{error:?}");
        assert_eq!(users_own(&bench.repo), before);
    }
    // One that a killed process of the same order left is known by what it is linked to.
    std::fs::remove_file(&lock).unwrap();
    std::fs::copy(bench.repo.join(".git/index"), bench.repo.join(".git/index.whaleflow-t1")).unwrap();
    std::fs::hard_link(bench.repo.join(".git/index.whaleflow-t1"), &lock).unwrap();
    repository.change_files(&with_index(&bench.base, &commit)).await.unwrap();
    assert!(!lock.exists() && !bench.repo.join(".git/index.whaleflow-t1").exists());
    assert_eq!(raw(&bench.repo, &["diff", "--cached", "--name-only"]), "src/a.txt");
}

#[tokio::test]
async fn files_look_as_git_would_write_them() {
    let lab = Lab::new().await;
    let (repo, _) = lab.repository("repo");
    write_all(&repo, &[(".gitattributes", "*.txt text eol=crlf\n")]);
    let base = commit_all(&repo, "attributes");
    raw(&repo, &["checkout", "-q", "--", "."]);
    let bench = Bench::over(lab, repo, base).await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("src/a.txt", "one\r\ntwo\r\n"), ("plain", "one\ntwo\n")]);
    let commit = bench.checkpoint("b", &["**"]).await.commit;
    let repository = repository(&bench.lab, &bench.repo).await;
    repository.change_files(&files(&bench.base, &commit)).await.unwrap();
    assert_eq!(read(&bench.repo.join("src/a.txt")), "one\r\ntwo\r\n");
    assert_eq!(read(&bench.repo.join("plain")), "one\ntwo\n");
    assert!(repository.standing(&bench.base, &commit).await.unwrap().is_after());
}

#[tokio::test]
async fn pointers_of_submodules_need_the_index() {
    let lab = Lab::new().await;
    let (repo, _) = lab.repository("repo");
    let (part, _) = lab.repository("part");
    raw(&repo, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../part", "part"]);
    let base = commit_all(&repo, "with a submodule");
    write_all(&part, &[("more", "x\n")]);
    let newer = commit_all(&part, "more");
    raw(&repo, &["update-index", "--cacheinfo", &format!("160000,{newer},part")]);
    raw(&repo, &["commit", "-q", "-m", "newer"]);
    let to = raw(&repo, &["rev-parse", "HEAD"]);
    raw(&repo, &["reset", "-q", "--soft", &base]);
    raw(&repo, &["reset", "-q"]);
    let repository = repository(&lab, &repo).await;
    let error = repository.change_files(&files(&base, &to)).await.unwrap_err();
    assert!(matches!(&error, GitError::Submodules { paths } if *paths == ["part"]), "{error:?}");
    repository.change_files(&with_index(&base, &to)).await.unwrap();
    assert_eq!(raw(&repo, &["ls-files", "-s", "part"]).split(' ').nth(1), Some(newer.as_str()));
    repository.change_files(&with_index(&to, &base)).await.unwrap();
    assert_eq!(raw(&repo, &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_linked_worktree_has_an_index_and_a_head_of_its_own() {
    let bench = Bench::new().await;
    write_all(&bench.ready("b").await, &[("src/a.txt", "theirs\n")]);
    let commit = bench.checkpoint("b", &["**"]).await.commit;
    raw(&bench.repo, &["worktree", "add", "-q", "-b", "side", "../linked"]);
    let linked = bench.lab.path("linked");
    let before = users_own(&bench.repo);
    let repository = repository(&bench.lab, &linked).await;
    assert_eq!(repository.head_ref().await.unwrap(), HeadRef::Branch("refs/heads/side".to_owned()));
    repository.change_files(&with_index(&bench.base, &commit)).await.unwrap();
    repository.move_branch("refs/heads/side", &bench.base, &commit, "whaleflow: test").await.unwrap();
    assert_eq!(raw(&linked, &["status", "--porcelain"]), "");
    assert_eq!(raw(&linked, &["log", "-1", "-g", "--format=%gs", "HEAD"]), "whaleflow: test");
    let mut after = users_own(&bench.repo);
    let mut before = before;
    for own in [&mut before, &mut after] {
        own.retain(|name, _| !name.contains("heads/side"));
    }
    assert_eq!(after, before);
}

/// A repository whose `main` and `side` have gone apart from `base`.
fn apart(lab: &Lab, main: &[(&str, &str)], side: &[(&str, &str)]) -> (PathBuf, [String; 3]) {
    let (repo, _) = lab.repository("repo");
    write_all(&repo, &[("long", &(1..30).map(|line| format!("line {line}\n")).collect::<String>())]);
    let base = commit_all(&repo, "long");
    raw(&repo, &["checkout", "-q", "-b", "side"]);
    write_all(&repo, side);
    let theirs = commit_all(&repo, "side");
    raw(&repo, &["checkout", "-q", "main"]);
    write_all(&repo, main);
    let ours = commit_all(&repo, "main");
    (repo, [base, ours, theirs])
}

fn long(changed: usize) -> String {
    (1..30).map(|line| if line == changed { "changed\n".to_owned() } else { format!("line {line}\n") }).collect()
}

/// What a merge comes to: the files of the tree, or the conflicts.
async fn merged(repository: &Repository, repo: &Path, [base, ours, theirs]: &[String; 3]) -> String {
    match repository.merge(base, ours, theirs).await.unwrap() {
        Merged::Tree(tree) => raw(repo, &["ls-tree", "-r", "--name-only", &tree]).replace('\n', " "),
        Merged::Conflicts(paths) => format!("conflicts: {}", paths.join(" ")),
    }
}

#[tokio::test]
async fn two_lines_of_work_are_merged_or_their_conflicts_named() {
    let lab = Lab::new().await;
    let both = (long(3), long(20));
    let (repo, ids) = apart(&lab, &[("long", &both.0), ("x", "x\n")], &[("long", &both.1), ("y", "y\n")]);
    let repository = repository(&lab, &repo).await;
    expect![".gitignore README long src/a.txt src/b.txt x y"].assert_eq(&merged(&repository, &repo, &ids).await);
    assert_eq!(repository.merge_base(&ids[1], &ids[2]).await.unwrap().as_ref(), Some(&ids[0]));
    // Where one side did nothing, the other is the answer.
    let [base, ours, theirs] = &ids;
    let tree_of = |commit: &str| raw(&repo, &["rev-parse", &format!("{commit}^{{tree}}")]);
    assert_eq!(repository.merge(base, base, theirs).await.unwrap(), Merged::Tree(tree_of(theirs)));
    assert_eq!(repository.merge(base, ours, base).await.unwrap(), Merged::Tree(tree_of(ours)));
    // A git that cannot merge without a checkout merges whole files.
    let old = lab.path("old-git");
    std::fs::write(&old, "#!/bin/sh\n[ \"$1\" != merge-tree ] || exit 129\nexec git \"$@\"\n").unwrap();
    make_executable(&old);
    let git = open_program(&lab.path(""), old).await;
    let older = Repository::discover(&git, &repo).await.unwrap();
    expect!["conflicts: long"].assert_eq(&merged(&older, &repo, &ids).await);

    let lab = Lab::new().await;
    let (repo, ids) = apart(&lab, &[("README", "ours\n"), ("x", "1\n")], &[("README", "theirs\n"), ("x", "2\n")]);
    let repository = super::apply::repository(&lab, &repo).await;
    expect!["conflicts: README x"].assert_eq(&merged(&repository, &repo, &ids).await);
    assert_eq!(raw(&repo, &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn commits_are_made_in_the_users_name() {
    let lab = Lab::new().await;
    let (repo, base) = lab.repository("repo");
    let repository = repository(&lab, &repo).await;
    assert_eq!(repository.identity(&[]).await.unwrap(), None);
    let global = lab.path("gitconfig");
    std::fs::write(&global, "[user]\n\tname = Ann Other\n\temail = ann@example.org\n[include]\n\tpath = /nowhere\n")
        .unwrap();
    let by = repository.identity(&[lab.path("absent"), global.clone()]).await.unwrap().unwrap();
    assert_eq!((by.name.as_str(), by.email.as_str()), ("Ann Other", "ann@example.org"));
    raw(&repo, &["config", "user.name", "Own"]);
    let by = repository.identity(std::slice::from_ref(&global)).await.unwrap().unwrap();
    assert_eq!((by.name.as_str(), by.email.as_str()), ("Own", "ann@example.org"));
    raw(&repo, &["config", "user.name", "no <name>"]);
    let by = repository.identity(&[global]).await.unwrap().unwrap();
    assert_eq!(by.name, "Ann Other");

    let tree = raw(&repo, &["rev-parse", "HEAD^{tree}"]);
    let by = Identity { name: "Ann".to_owned(), email: "a@b".to_owned() };
    let order = CommitOrder { tree, parents: vec![base.clone(), base], message: "what\n\nwhy".to_owned(), by };
    let commit = repository.make_commit(&order).await.unwrap();
    assert_eq!(
        raw(&repo, &["log", "-1", "--format=%an <%ae> %cn <%ce>%n%B", &commit]),
        "Ann <a@b> Ann <a@b>\nwhat\n\nwhy"
    );
}

#[tokio::test]
async fn branches_move_and_go_only_from_where_they_were() {
    let bench = Bench::new().await;
    let repository = repository(&bench.lab, &bench.repo).await;
    let next = commit_all(&bench.repo, "next");
    raw(&bench.repo, &["branch", "other", &bench.base]);
    let error = repository.move_branch("refs/heads/other", &next, &bench.base, "x").await.unwrap_err();
    assert!(matches!(error, GitError::Moved { .. }), "{error:?}");
    repository.move_branch("refs/heads/other", &bench.base, &next, "x").await.unwrap();
    let error = repository.drop_branch("other", &bench.base).await.unwrap_err();
    assert!(matches!(error, GitError::Moved { .. }), "{error:?}");
    raw(&bench.repo, &["worktree", "add", "-q", "../side", "other"]);
    let error = repository.drop_branch("other", &next).await.unwrap_err();
    assert!(matches!(error, GitError::Invalid { .. }), "{error:?}");
    let error = repository.drop_branch("main", &next).await.unwrap_err();
    assert!(matches!(error, GitError::Invalid { .. }), "{error:?}");
    raw(&bench.repo, &["worktree", "remove", "../side"]);
    repository.drop_branch("other", &next).await.unwrap();
    repository.drop_branch("other", &next).await.unwrap();
    assert_eq!(raw(&bench.repo, &["branch", "--format=%(refname)"]), "refs/heads/main");
    raw(&bench.repo, &["checkout", "-q", "--detach"]);
    assert_eq!(repository.head_ref().await.unwrap(), HeadRef::Detached);
    assert_eq!(repository.under_way(), None);
    write_all(&bench.repo, &[(".git/MERGE_HEAD", "x\n")]);
    assert_eq!(repository.under_way(), Some("a merge"));
}
