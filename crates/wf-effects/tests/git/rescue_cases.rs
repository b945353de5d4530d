//! Whatever a tree holds and whatever stands in the way: the work is under a rescue ref, or moved to where that says, or
//! it is still in its place and the error says what to do.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::process::geteuid;
use wf_effects::git::{Git, GitError, Rescue, Rescues};

use super::support::{
    Bench, Lab, commit_all, make_executable, names_in, open_program, options, raw, raw_output, shell, write_all,
};

/// What is to be found again: in the commit, or in the directory to which the tree was moved.
type Saved<'a> = &'a [(&'a str, &'a [u8])];

/// Work that another process finds, and that its owner gives back.
async fn check(work: impl Fn(&Bench, &Path), saved: Saved<'_>) {
    for is_crashed in [false, true] {
        let bench = Bench::new().await;
        check_in(bench, is_crashed, &work, saved).await;
    }
}

async fn check_in(bench: Bench, is_crashed: bool, work: &impl Fn(&Bench, &Path), saved: Saved<'_>) {
    let dir = bench.ready("b").await;
    work(&bench, &dir);
    let reference = if is_crashed {
        bench.successor().await.begin("b", &bench.base).await.unwrap().rescued.unwrap()
    } else {
        let reference = bench.trees.release("b", &bench.base, false).await.unwrap().unwrap();
        assert!(!dir.exists());
        reference
    };
    assert!(reference.starts_with("refs/whaleflow/run1/rescue/"), "{reference}");
    let rescues = Rescues::of(bench.trees.repository());
    let listed = rescues.list(Some("run1")).await.unwrap();
    let rescue = listed.iter().find(|rescue| rescue.reference == reference).unwrap();
    assert!(rescues.list(Some("other")).await.unwrap().is_empty());
    assert_saved(&bench, &rescues, rescue, saved).await;
}

async fn assert_saved(bench: &Bench, rescues: &Rescues, rescue: &Rescue, saved: Saved<'_>) {
    let into = bench.lab.path("restored");
    assert_eq!(&rescues.restore(&rescue.reference, &into).await.unwrap(), rescue);
    for (path, text) in saved {
        let path = OsStr::from_bytes(path.as_bytes());
        let places = rescue.kept.iter().chain([&into]);
        let found: Vec<Vec<u8>> = places.filter_map(|place| std::fs::read(place.join(path)).ok()).collect();
        assert!(found.iter().any(|found| found == text), "{path:?} is not in {rescue:?}");
    }
}

#[tokio::test]
async fn changed_new_staged_and_moved_files() {
    let work = |_: &Bench, dir: &Path| {
        write_all(dir, &[("src/a.txt", "changed\n"), ("deep/er/new", "new\n"), ("staged", "staged\n")]);
        raw(dir, &["add", "staged"]);
        std::fs::rename(dir.join("src/b.txt"), dir.join("moved.txt")).unwrap();
    };
    check(
        work,
        &[("src/a.txt", b"changed\n"), ("deep/er/new", b"new\n"), ("staged", b"staged\n"), ("moved.txt", b"b\n")],
    )
    .await;
}

#[tokio::test]
async fn commits_of_the_agents_own() {
    let work = |_: &Bench, dir: &Path| {
        write_all(dir, &[("src/a.txt", "committed\n")]);
        commit_all(dir, "mine");
        write_all(dir, &[("src/b.txt", "not committed\n")]);
    };
    check(work, &[("src/a.txt", b"committed\n"), ("src/b.txt", b"not committed\n")]).await;
}

#[tokio::test]
async fn a_submodule_with_work_in_it() {
    for is_crashed in [false, true] {
        let mut bench = Bench::new().await;
        bench.lab.repository("part");
        raw(&bench.repo, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../part", "part"]);
        bench.base = commit_all(&bench.repo, "with a submodule");
        let work = |_: &Bench, dir: &Path| {
            raw(dir, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init"]);
            write_all(&dir.join("part"), &[("src/a.txt", "in the submodule\n")]);
        };
        check_in(bench, is_crashed, &work, &[("part/src/a.txt", b"in the submodule\n")]).await;
    }
}

#[tokio::test]
async fn a_large_file_behind_an_lfs_pointer() {
    let work = |_: &Bench, dir: &Path| {
        write_all(dir, &[(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")]);
        write_all(dir, &[("x.bin", "the content itself\n"), ("y.bin", "version https://git-lfs.github.com/spec/v1\n")]);
    };
    check(work, &[("x.bin", b"the content itself\n"), ("y.bin", b"version https://git-lfs.github.com/spec/v1\n")])
        .await;
}

#[tokio::test]
async fn a_sparse_checkout() {
    let work = |_: &Bench, dir: &Path| {
        raw(dir, &["sparse-checkout", "set", "--no-cone", "/src/a.txt"]);
        assert!(!dir.join("README").exists());
        write_all(dir, &[("src/a.txt", "changed\n"), ("docs/x", "outside of the cone\n")]);
    };
    check(work, &[("src/a.txt", b"changed\n"), ("docs/x", b"outside of the cone\n")]).await;
}

#[tokio::test]
async fn symbolic_links() {
    let work = |bench: &Bench, dir: &Path| {
        write_all(&bench.lab.path("outside"), &[("secret", "not in the tree\n")]);
        symlink(bench.lab.path("outside"), dir.join("out")).unwrap();
        symlink("nowhere", dir.join("dangling")).unwrap();
        std::fs::remove_dir_all(dir.join("src")).unwrap();
        symlink("out", dir.join("src")).unwrap();
        write_all(dir, &[("new", "new\n")]);
    };
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    work(&bench, &dir);
    let reference = bench.trees.release("b", &bench.base, false).await.unwrap().unwrap();
    assert_eq!(bench.files_of(&reference), ".gitignore README dangling new out src");
    assert_eq!(bench.show(&reference, "dangling"), "nowhere");
    assert!(bench.lab.path("outside/secret").exists());
    // Nothing is written through a link.
    let into = bench.lab.path("restored");
    Rescues::of(bench.trees.repository()).restore(&reference, &into).await.unwrap();
    assert_eq!(std::fs::read_link(into.join("src")).unwrap(), Path::new("out"));
}

#[tokio::test]
async fn a_changed_git_pointer() {
    check(
        |bench, dir| {
            write_all(dir, &[("new", "new\n")]);
            std::fs::write(dir.join(".git"), format!("gitdir: {}\n", bench.repo.join(".git").display())).unwrap();
        },
        &[("new", b"new\n")],
    )
    .await;
    check(
        |_, dir| {
            std::fs::remove_file(dir.join(".git")).unwrap();
            write_all(dir, &[("new", "new\n")]);
        },
        &[("new", b"new\n")],
    )
    .await;
}

#[tokio::test]
async fn a_repository_of_the_agents_own_in_place_of_the_pointer() {
    let work = |_: &Bench, dir: &Path| {
        std::fs::remove_file(dir.join(".git")).unwrap();
        raw(dir, &["init", "-q", "-b", "mine"]);
        write_all(dir, &[("new", "new\n")]);
        commit_all(dir, "mine");
    };
    check(work, &[("new", b"new\n")]).await;
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    work(&bench, &dir);
    let mine = raw(&dir, &["rev-parse", "HEAD"]);
    let reference = bench.trees.release("b", &bench.base, false).await.unwrap().unwrap();
    let listed = Rescues::of(bench.trees.repository()).list(None).await.unwrap();
    let rescue = listed.into_iter().find(|rescue| rescue.reference == reference).unwrap();
    let is_mine =
        |dir: &Path| std::fs::read(dir.join("refs/heads/mine")).is_ok_and(|id| id.trim_ascii_end() == mine.as_bytes());
    assert!(rescue.kept.iter().any(|dir| is_mine(dir)), "{rescue:?}");
}

#[tokio::test]
async fn nested_repositories() {
    let work = |_: &Bench, dir: &Path| {
        let nested = dir.join("deep/nested");
        write_all(&nested, &[("x", "nested\n")]);
        raw(&nested, &["init", "-q", "-b", "mine"]);
        commit_all(&nested, "mine");
        write_all(&nested, &[("y", "not committed\n")]);
    };
    check(work, &[("deep/nested/x", b"nested\n"), ("deep/nested/y", b"not committed\n")]).await;
}

#[tokio::test]
async fn a_worktree_that_the_agent_made_inside() {
    let work = |_: &Bench, dir: &Path| {
        raw(dir, &["worktree", "add", "-q", "--detach", "inner"]);
        write_all(&dir.join("inner"), &[("src/a.txt", "in the inner one\n")]);
    };
    check(work, &[("inner/src/a.txt", b"in the inner one\n")]).await;
}

#[tokio::test]
async fn names_that_are_no_text() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    let name = OsStr::from_bytes(b"caf\xe9\n\"tab\t");
    std::fs::write(dir.join(name), "new\n").unwrap();
    std::fs::create_dir(dir.join(OsStr::from_bytes(b"\xff"))).unwrap();
    std::fs::write(dir.join(OsStr::from_bytes(b"\xff/-x")), "newer\n").unwrap();
    let reference = bench.trees.release("b", &bench.base, false).await.unwrap().unwrap();
    let into = bench.lab.path("restored");
    Rescues::of(bench.trees.repository()).restore(&reference, &into).await.unwrap();
    assert_eq!(std::fs::read(into.join(name)).unwrap(), b"new\n");
    assert_eq!(std::fs::read(into.join(OsStr::from_bytes(b"\xff/-x"))).unwrap(), b"newer\n");
}

#[tokio::test]
async fn paths_that_are_very_long() {
    let long = format!("{}/{}/x", "d".repeat(255), "e".repeat(255));
    check(|_, dir| write_all(dir, &[(&long, "far down\n")]), &[(&long, b"far down\n")]).await;
    // Longer than any path that the system takes: reached from directory to directory only.
    let work = |_: &Bench, dir: &Path| {
        let script = "i=0; while [ $i -lt 24 ]; do mkdir $0 && cd $0; i=$((i+1)); done; echo far > x; test -f x";
        assert!(shell(dir, &script.replace("$0", &"d".repeat(200))).status.success());
    };
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    work(&bench, &dir);
    let reference = bench.trees.release("b", &bench.base, false).await;
    let found = shell(&bench.lab.path("trees"), "find . -name x -type f | wc -l");
    let is_there = String::from_utf8_lossy(&found.stdout).trim() == "1";
    assert!(is_there, "{reference:?}");
}

#[tokio::test]
async fn a_hundred_megabytes() {
    let mut large = vec![0_u8; 100 << 20];
    for (index, byte) in large.iter_mut().enumerate().step_by(4096) {
        *byte = u8::try_from(index / 4096 % 251).unwrap();
    }
    let bench = Bench::new().await;
    check_in(
        bench,
        false,
        &|_: &Bench, dir: &Path| std::fs::write(dir.join("large"), &large).unwrap(),
        &[("large", &large)],
    )
    .await;
}

#[tokio::test]
async fn empty_directories_are_no_work() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    std::fs::create_dir_all(dir.join("empty/er")).unwrap();
    assert_eq!(bench.trees.release("b", &bench.base, false).await.unwrap(), None);
    assert!(!dir.exists());
}

#[tokio::test]
async fn a_locked_index() {
    let work = |bench: &Bench, dir: &Path| {
        let admin = bench.repo.join(".git/worktrees").join(dir.file_name().unwrap());
        write_all(&admin, &[("index.lock", ""), ("HEAD.lock", "")]);
        write_all(&bench.repo, &[(".git/index.lock", "")]);
        write_all(dir, &[("new", "new\n")]);
    };
    check(work, &[("new", b"new\n")]).await;
}

#[tokio::test]
async fn a_directory_that_vanished() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    std::fs::remove_dir_all(&dir).unwrap();
    let checkpoint = bench.trees.checkpoint(super::support::order("b", &bench.base, &["**"])).await.unwrap_err();
    assert!(matches!(checkpoint, GitError::Lost { .. }) && checkpoint.hint().is_some(), "{checkpoint:?}");
    let begun = bench.trees.begin("b", &bench.base).await.unwrap();
    assert_eq!((begun.rescued, begun.dir.join("README").exists()), (None, true));
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(bench.trees.release("b", &bench.base, false).await.unwrap(), None);
    assert_eq!(names_in(&bench.repo.join(".git/worktrees")), Vec::<String>::new());
}

#[tokio::test]
async fn a_base_that_does_not_exist() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("new", "new\n")]);
    let none = "a".repeat(40);
    let errors = [
        bench.trees.acquire("c", &none).await.unwrap_err(),
        bench.trees.acquire("b", &none).await.unwrap_err(),
        bench.trees.begin("b", &none).await.unwrap_err(),
        bench.trees.discard("b", &none).await.unwrap_err(),
        bench.trees.release("b", &none, false).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, GitError::UnknownRevision { .. }) && error.hint().is_some(), "{error:?}");
    }
    assert!(dir.join("new").exists());
}

#[tokio::test]
async fn no_git_and_a_git_that_is_too_old() {
    let lab = Lab::new().await;
    let old = lab.path("old-git");
    std::fs::write(&old, "#!/bin/sh\necho git version 2.31.9\n").unwrap();
    make_executable(&old);
    let silent = lab.path("silent-git");
    std::fs::write(&silent, "#!/bin/sh\n").unwrap();
    make_executable(&silent);
    for (program, is_absent) in
        [("/nonexistent/git".into(), true), ("no-such-git".into(), true), (old, false), (silent, false)]
    {
        let error = Git::open(options(&lab.path(""), program)).await.unwrap_err();
        assert_eq!(matches!(error, GitError::Absent { .. }), is_absent, "{error:?}");
        assert!(is_absent || matches!(error, GitError::TooOld { .. }), "{error:?}");
        assert!(error.hint().is_some());
    }
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[tokio::test]
async fn a_disk_that_is_full() {
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    let large = noise(200_000);
    std::fs::write(dir.join("large"), &large).unwrap();
    // Git can write no file of more than a few blocks: what a full disk or a quota does to large objects.
    let program = bench.lab.path("cramped-git");
    std::fs::write(&program, "#!/bin/sh\nulimit -f 40\nexec git \"$@\"\n").unwrap();
    make_executable(&program);
    let git = open_program(&bench.lab.path(""), program).await;
    let cramped = bench.lab.trees_by(&git, &bench.repo, "trees", bench.lab.pool("first")).await;
    let error = cramped.checkpoint(super::support::order("b", &bench.base, &["**"])).await.unwrap_err();
    assert!(matches!(error, GitError::Failed { .. } | GitError::Io { .. }), "{error:?}");
    assert_eq!(std::fs::read(dir.join("large")).unwrap(), large);
    // What cannot be committed is moved beside the trees, whole.
    let released = cramped.release("b", &bench.base, false).await;
    let reference = released.unwrap().unwrap();
    let rescues = Rescues::of(bench.trees.repository());
    let listed = rescues.list(None).await.unwrap();
    let rescue = listed.iter().find(|rescue| rescue.reference == reference).unwrap();
    assert_saved(&bench, &rescues, rescue, &[("large", &large)]).await;
}

/// Runs a test of this program again as somebody whom permissions bind. Whether that was needed.
#[expect(clippy::print_stdout, reason = "a test that cannot be made here says so")]
fn is_rerun_as_nobody(test: &str) -> bool {
    if !geteuid().is_root() {
        return false;
    }
    let program = std::env::current_exe().unwrap();
    let script = format!(
        "setpriv --reuid 65534 --regid 65534 --clear-groups test -x '{0}' || {{ echo skipped; exit 0; }}\n\
         exec setpriv --reuid 65534 --regid 65534 --clear-groups '{0}' --exact {test} --nocapture",
        program.display()
    );
    let said = shell(Path::new("/"), &script);
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    if text.contains("skipped\n") {
        println!("skipped: nobody else can run this program");
    } else {
        assert!(said.status.success() && text.contains("1 passed"), "{text}");
    }
    true
}

#[tokio::test]
async fn files_and_directories_without_permission() {
    if is_rerun_as_nobody("rescue_cases::files_and_directories_without_permission") {
        return;
    }
    let lock = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    for is_dir in [false, true] {
        let bench = Bench::new().await;
        let dir = bench.ready("b").await;
        write_all(&dir, &[("locked/x", "behind a lock\n"), ("open", "open\n")]);
        let locked = if is_dir { dir.join("locked") } else { dir.join("locked/x") };
        lock(&locked, 0);
        let released = bench.trees.release("b", &bench.base, false).await;
        // Wherever it is now, it is there.
        let script = "chmod -R u+rwX . 2> /dev/null; cat $(find . -name x)";
        let found = shell(&bench.lab.path("trees"), script);
        let in_commit = match &released {
            Ok(Some(reference)) => raw_output(&bench.repo, &["show", &format!("{reference}:locked/x")]).stdout,
            _ => Vec::new(),
        };
        let places = [String::from_utf8_lossy(&found.stdout), String::from_utf8_lossy(&in_commit)];
        assert!(places.iter().any(|text| text == "behind a lock\n"), "{is_dir} {released:?} {places:?}");
    }
}

#[tokio::test]
async fn directories_that_cannot_be_written() {
    if is_rerun_as_nobody("rescue_cases::directories_that_cannot_be_written") {
        return;
    }
    let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    // One of the tree's.
    let bench = Bench::new().await;
    let dir = bench.ready("b").await;
    write_all(&dir, &[("closed/x", "new\n")]);
    set(&dir.join("closed"), 0o555);
    let reference = bench.trees.release("b", &bench.base, false).await.unwrap().unwrap();
    assert_eq!(bench.show(&reference, "closed/x"), "new");
    assert!(!dir.exists());
    // The one of all trees, and the repository's objects: nothing can be saved, so nothing is touched.
    for closed in ["trees", "repo/.git/objects", "repo/.git/refs/whaleflow/run1"] {
        let bench = Bench::new().await;
        let dir = bench.ready("b").await;
        write_all(&dir, &[("new", &format!("{}\n", "new ".repeat(1000)))]);
        let closed = bench.lab.path(closed);
        shell(Path::new("/"), &format!("chmod -R a-w '{}'", closed.display()));
        let error = bench.trees.release("b", &bench.base, false).await.unwrap_err();
        assert!(matches!(error, GitError::Io { .. } | GitError::Failed { .. }), "{error:?}");
        assert!(dir.join("new").exists(), "{closed:?}: {error:?}");
        shell(Path::new("/"), &format!("chmod -R u+w '{}'", closed.display()));
        let released = bench.trees.release("b", &bench.base, false).await.unwrap();
        // It may have been saved the first time, before what could not be done.
        let listed = Rescues::of(bench.trees.repository()).list(Some("run1")).await.unwrap();
        assert_eq!(listed.len(), 1, "{closed:?} {released:?}");
        assert!(bench.show(&listed[0].reference, "new").starts_with("new new "));
    }
}
