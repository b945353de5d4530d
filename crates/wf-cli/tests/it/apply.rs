//! `apply` and `apply --undo`: what gets into a checkout, what is refused, and that a kill at any moment loses nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::place::{Place, Ran};

/// A command of the engine's changes, adds and removes files in a branch, and a test looks at them there.
const CHANGE: &str = r#"
workflow(
    "change",
    children = [
        branch(
            "work",
            children = [
                command(
                    "edit",
                    argv = ["sh", "-c", "sed -i s/bad/good/ src/a.txt; rm src/b.txt; mkdir -p new; echo new > new/c.txt; ln -s c.txt new/link"],
                    writes = ["src/**", "new/**"],
                ),
                test("tests", argv = ["grep", "-q", "good", "src/a.txt"]),
            ],
        ),
    ],
)
"#;

const CHANGED: [&str; 4] = ["new/c.txt", "new/link", "src/a.txt", "src/b.txt"];

/// A repository with a run that changed something.
fn changed() -> Place {
    let place = Place::new();
    place.introduce();
    fill(&place);
    place.commit_all();
    place.run(&["run", "flows/change.star", "--trust", "--json"]).ok();
    place
}

fn fill(place: &Place) {
    place.write("src/a.txt", "bad\n");
    place.write("src/b.txt", "b\n");
    place.write("README", "read me\n");
    place.write(".gitignore", "*.log\n");
    place.write("flows/change.star", CHANGE);
}

/// Everything in a checkout: files with their content, the index, the branch and its commit.
pub(crate) fn stand(place: &Place, dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(at) = waiting.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            if name == ".git" {
                continue;
            }
            let kind = path.symlink_metadata().unwrap();
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_symlink() {
                found.insert(name, std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
            } else {
                found.insert(format!("{name} {:o}", kind.permissions().mode() & 0o111), std::fs::read(&path).unwrap());
            }
        }
    }
    for args in [&["ls-files", "-s"][..], &["rev-parse", "HEAD"], &["branch", "-a"], &["status", "--porcelain"]] {
        found.insert(format!("git {args:?}"), place.git_in(dir, args).into_bytes());
    }
    found
}

fn refused(ran: &Ran, exit: i32, code: &str) -> String {
    assert_eq!((ran.code, ran.json()["error"]["code"].as_str()), (exit, Some(code)), "{ran:?}");
    assert_ne!(ran.json()["error"]["hint"], Value::Null, "{ran:?}");
    ran.json()["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn files_change_and_change_back() {
    let place = changed();
    let before = stand(&place, &place.dir());
    let applied = place.run(&["apply", "--json"]).ok();
    assert_eq!(
        (&applied["how"], &applied["files"], &applied["undone"]),
        (&json!("files"), &json!(CHANGED), &json!(false))
    );
    assert_eq!(applied["target"], json!(std::fs::canonicalize(place.dir()).unwrap()));
    assert_eq!(place.read("src/a.txt"), "good\n");
    assert_eq!(place.read("new/link"), "new\n");
    assert_eq!(place.git(&["status", "--porcelain"]), " M src/a.txt\n D src/b.txt\n?? new/\n");
    // It is there: a second time there is nothing to do.
    refused(&place.run(&["apply", "--json"]), 10, "WF0741");

    let undone = place.run(&["apply", "--undo", "--json"]).ok();
    assert_eq!((&undone["undone"], &undone["files"]), (&json!(true), &json!(CHANGED)));
    assert_eq!(stand(&place, &place.dir()), before);
    refused(&place.run(&["apply", "--undo", "--json"]), 2, "WF0743");
    // And it can be applied again, and undone from a directory below.
    place.run(&["apply", "--branch", "work", "--json"]).ok();
    assert_eq!(place.run_in(&place.dir().join("src"), &["apply", "--undo"]).code, 0);
    assert_eq!(stand(&place, &place.dir()), before);
}

#[test]
fn one_commit_is_made_on_the_branch_and_taken_back() {
    let place = changed();
    let before = stand(&place, &place.dir());
    let head = place.git(&["rev-parse", "HEAD"]);
    for (flag, parents) in [("--squash", 1), ("--merge", 2)] {
        let applied = place.run(&["apply", flag, "--json"]).ok();
        assert_eq!(format!("{}\n", applied["made"].as_str().unwrap()), place.git(&["rev-parse", "HEAD"]));
        assert_eq!(place.git(&["status", "--porcelain"]), "");
        let log = place.git(&["log", "-1", "--format=%an <%ae>|%cn|%P|%gs%B", "-g", "HEAD"]);
        let log: Vec<&str> = log.split('|').collect();
        assert_eq!((log[0], log[1]), ("Ann <ann@example.org>", "Ann"));
        assert_eq!(log[2].split(' ').count(), parents);
        assert_eq!(log[2].split(' ').next().unwrap(), head.trim());
        assert!(log[3].contains("whaleflow run 0"), "{log:?}");
        assert_eq!(place.git(&["symbolic-ref", "HEAD"]), "refs/heads/main\n");
        assert_eq!((place.read("src/a.txt").as_str(), place.dir().join("src/b.txt").exists()), ("good\n", false));
        place.run(&["apply", "--undo", "--json"]).ok();
        assert_eq!(stand(&place, &place.dir()), before);
    }
}

#[test]
fn a_branch_that_has_gone_on_is_merged_with_and_conflicts_are_named() {
    let place = changed();
    place.write("README", "read me, please\n");
    place.git(&["commit", "-qam", "on"]);
    // The files that would change are as the run found them, so that they can be changed here too.
    place.run(&["apply", "--json"]).ok();
    place.run(&["apply", "--undo", "--json"]).ok();
    let merged = place.run(&["apply", "--merge", "--json"]).ok();
    assert_eq!(merged["files"], json!(CHANGED));
    assert_eq!((place.read("README").as_str(), place.read("src/a.txt").as_str()), ("read me, please\n", "good\n"));
    refused(&place.run(&["apply", "--squash", "--json"]), 10, "WF0741");
    place.git(&["commit", "-q", "--allow-empty", "-m", "and on"]);
    let message = refused(&place.run(&["apply", "--undo", "--json"]), 10, "WF0742");
    assert!(message.contains("main has gone on"), "{message}");
    place.git(&["reset", "-q", "--hard", "HEAD~2"]);

    place.write("src/a.txt", "bad, and worse\n");
    place.git(&["commit", "-qam", "in the way"]);
    let before = stand(&place, &place.dir());
    for flag in ["--squash", "--merge"] {
        let message = refused(&place.run(&["apply", flag, "--json"]), 10, "WF0744");
        assert!(message.ends_with("src/a.txt"), "{message}");
    }
    let message = refused(&place.run(&["apply", "--json"]), 10, "WF0740");
    assert!(message.ends_with("src/a.txt"), "{message}");
    assert_eq!(stand(&place, &place.dir()), before);
}

#[test]
fn a_branch_of_its_own_is_made_and_removed() {
    let place = changed();
    let before = stand(&place, &place.dir());
    place.run(&["apply", "--as-branch", "fix/one", "--json"]).ok();
    assert_eq!(place.git(&["show", "fix/one:src/a.txt"]), "good\n");
    place.git(&["worktree", "add", "-q", "../side", "fix/one"]);
    let message = refused(&place.run(&["apply", "--undo", "--json"]), 10, "WF0742");
    assert!(message.contains("fix/one is checked out"), "{message}");
    place.git_in(&place.dir().join("../side"), &["commit", "-q", "--allow-empty", "-m", "on"]);
    place.git(&["worktree", "remove", "../side"]);
    let message = refused(&place.run(&["apply", "--undo", "--json"]), 10, "WF0742");
    assert!(message.contains("fix/one has gone on"), "{message}");
    place.git(&["branch", "-q", "-f", "fix/one", "fix/one~1"]);
    let undone = place.run(&["apply", "--undo", "--json"]).ok();
    assert_eq!((&undone["how"], &undone["target"]), (&json!("branch"), &json!("fix/one")));
    assert_eq!(stand(&place, &place.dir()), before);
    for name in ["a..b", "-x", ""] {
        assert_eq!(place.run(&["apply", &format!("--as-branch={name}"), "--json"]).code, 2, "{name:?}");
    }
    assert_eq!(place.run(&["apply", "--as-branch", "main", "--json"]).code, 10);
}

#[test]
fn a_patch_is_printed_or_written() {
    let place = changed();
    let before = stand(&place, &place.dir());
    let printed = place.run(&["apply", "--patch"]);
    assert_eq!(printed.code, 0);
    let file = place.beside("out").join("fix.patch");
    let written = place.run(&["apply", "--patch", "-o", file.to_str().unwrap(), "--json"]).ok();
    assert_eq!((&written["how"], &written["files"]), (&json!("patch"), &json!(CHANGED)));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), printed.out);
    assert_eq!(stand(&place, &place.dir()), before);
    place.git(&["apply", "--index", file.to_str().unwrap()]);
    assert_eq!(place.git(&["diff", "--cached", "--name-only"]), CHANGED.map(|path| format!("{path}\n")).concat());
    assert_eq!(place.run(&["apply", "--patch", "--json"]).code, 2);
    assert_eq!(place.run(&["apply", "--patch", "--squash"]).code, 2);
    assert_eq!(place.run(&["apply", "-o", "x"]).code, 2);
}

#[test]
fn a_checkout_with_other_work_is_refused_and_what_overlaps_is_named() {
    // What is done to the checkout; whether files and commits are refused with which code, and what is named.
    type Case = (&'static str, fn(&Place), &'static str, &'static str, &'static str);
    let cases: [Case; 6] = [
        ("tracked", |place| place.write("README", "mine\n"), "WF0719", "WF0719", "README"),
        (
            "overlapping",
            |place| place.write("src/a.txt", "mine\n"),
            "WF0719",
            "WF0719",
            "of what would change: src/a.txt",
        ),
        (
            "staged",
            |place| {
                place.write("src/b.txt", "mine\n");
                place.git(&["add", "src/b.txt"]);
            },
            "WF0719",
            "WF0719",
            "of what would change: src/b.txt",
        ),
        ("untracked", |place| place.write("new/c.txt", "mine\n"), "WF0740", "WF0740", "new/c.txt"),
        (
            "ignored",
            |place| {
                place.write(".git/info/exclude", "new\n");
                place.write("new/link", "mine\n");
            },
            "WF0740",
            "WF0740",
            "new/link",
        ),
        (
            "link",
            |place| {
                place.write(".git/info/exclude", "new\n");
                symlink("/tmp", place.dir().join("new")).unwrap();
            },
            "WF0740",
            "WF0740",
            "new/c.txt",
        ),
    ];
    for (name, make, files, commit, named) in cases {
        let place = changed();
        make(&place);
        let before = stand(&place, &place.dir());
        for (args, code) in [
            (&["apply", "--json"][..], files),
            (&["apply", "--squash", "--json"], commit),
            (&["apply", "--merge", "--json"], commit),
        ] {
            let message = refused(&place.run(args), 10, code);
            assert!(message.contains(named), "{name} {args:?}: {message}");
            assert_eq!(stand(&place, &place.dir()), before, "{name} {args:?}");
        }
        // A branch and a patch are in nobody's way.
        place.run(&["apply", "--as-branch", "other", "--json"]).ok();
    }
    // Untracked files elsewhere are in nobody's way.
    let place = changed();
    place.write("mine.txt", "mine\n");
    place.run(&["apply", "--squash", "--json"]).ok();
    place.run(&["apply", "--undo", "--json"]).ok();
    assert_eq!(
        (place.read("mine.txt").as_str(), place.git(&["status", "--porcelain"]).as_str()),
        ("mine\n", "?? mine.txt\n")
    );
}

#[test]
fn what_changed_since_is_not_undone() {
    let place = changed();
    place.run(&["apply", "--json"]).ok();
    place.write("src/a.txt", "better\n");
    let before = stand(&place, &place.dir());
    let message = refused(&place.run(&["apply", "--undo", "--json"]), 10, "WF0742");
    assert!(message.contains("src/a.txt"), "{message}");
    assert_eq!(stand(&place, &place.dir()), before);
    // As it was applied again, it can be.
    place.write("src/a.txt", "good\n");
    place.run(&["apply", "--undo", "--json"]).ok();

    place.run(&["apply", "--squash", "--json"]).ok();
    place.write("src/a.txt", "better\n");
    refused(&place.run(&["apply", "--undo", "--json"]), 10, "WF0742");
    place.git(&["checkout", "-q", "--", "src/a.txt"]);
    place.git(&["checkout", "-q", "-b", "elsewhere"]);
    let message = refused(&place.run(&["apply", "--undo", "--json"]), 10, "WF0742");
    assert!(message.contains("main is not checked out"), "{message}");
    place.git(&["checkout", "-q", "main"]);
    place.run(&["apply", "--undo", "--json"]).ok();
    assert_eq!(place.read("src/a.txt"), "bad\n");
}

#[test]
fn odd_states_of_a_checkout_have_words_of_their_own() {
    let place = changed();
    let before = stand(&place, &place.dir());
    let lock = place.dir().join(".git/index.lock");
    std::fs::write(&lock, "").unwrap();
    for flag in [&["apply", "--json"][..], &["apply", "--squash", "--json"]] {
        assert!(refused(&place.run(flag), 10, "WF0746").contains("index.lock"));
    }
    std::fs::remove_file(&lock).unwrap();
    place.write(".git/MERGE_HEAD", &place.git(&["rev-parse", "HEAD"]));
    assert!(refused(&place.run(&["apply", "--merge", "--json"]), 10, "WF0747").contains("a merge"));
    std::fs::remove_file(place.dir().join(".git/MERGE_HEAD")).unwrap();
    std::fs::remove_file(place.dir().join("../.gitconfig")).unwrap();
    refused(&place.run(&["apply", "--squash", "--json"]), 2, "WF0748");
    place.introduce();
    assert_eq!(stand(&place, &place.dir()), before);

    // Without a branch, files can change and commits cannot be made.
    place.git(&["checkout", "-q", "--detach"]);
    refused(&place.run(&["apply", "--squash", "--json"]), 2, "WF0749");
    // What was refused above had begun nothing.
    assert_eq!(place.run(&["apply", "--json"]).ok()["recovered"], Value::Null);
    place.run(&["apply", "--undo", "--json"]).ok();
    place.git(&["checkout", "-q", "main"]);
    assert_eq!(stand(&place, &place.dir()), before);

    // A branch without a commit: the run is refused, and so is an apply of an earlier one.
    place.git(&["checkout", "-q", "--orphan", "empty"]);
    assert!(refused(&place.run(&["apply", "--json"]), 2, "WF0717").contains("no commit yet"));
    assert!(refused(&place.run(&["run", "flows/change.star", "--json"]), 2, "WF0717").contains("no commit yet"));
}

#[test]
fn a_checkout_that_cannot_be_written_is_left_as_it_was() {
    let place = changed();
    let before = stand(&place, &place.dir());
    // Where permissions mean nothing, as for root, a file that cannot be replaced does the same.
    let dir = place.dir().join("src");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o555)).unwrap();
    let is_bound = std::fs::write(dir.join("probe"), "").is_err();
    let ran = place.run(&["apply", "--json"]);
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    if is_bound {
        refused(&ran, 6, "WF0717");
        assert_eq!(stand(&place, &place.dir()), before);
    } else {
        let _ = std::fs::remove_file(dir.join("probe"));
        place.run(&["apply", "--undo", "--json"]).ok();
        assert_eq!(stand(&place, &place.dir()), before);
    }
    // The checkout is gone: it is said, and another checkout of the repository can be named.
    place.git(&["worktree", "add", "-q", "../linked"]);
    let linked = place.dir().join("../linked");
    place.run(&["apply", "--repo", "../linked", "--json"]).ok();
    assert_eq!(std::fs::read_to_string(linked.join("src/a.txt")).unwrap(), "good\n");
    assert_eq!(stand(&place, &place.dir()).get("src/a.txt 0"), before.get("src/a.txt 0"));
    place.run(&["apply", "--undo", "--repo", "../linked", "--json"]).ok();
    let other = place.beside("other");
    place.git_in(&other, &["init", "-q"]);
    place.git_in(&other, &["commit", "-q", "--allow-empty", "-m", "x"]);
    refused(&place.run(&["apply", "--repo", "../other", "--json"]), 2, "WF0752");
}

#[test]
fn a_run_of_a_linked_worktree_applies_to_the_checkout_it_is_asked_in() {
    let place = Place::new();
    place.introduce();
    fill(&place);
    place.commit_all();
    place.git(&["worktree", "add", "-q", "-b", "side", "../linked"]);
    let linked = std::fs::canonicalize(place.dir().join("../linked")).unwrap();
    let before = stand(&place, &place.dir());
    place.run_in(&linked, &["run", "flows/change.star", "--trust", "--json"]).ok();
    let applied = place.run_in(&linked, &["apply", "--squash", "--json"]).ok();
    assert_eq!(applied["target"], json!(linked));
    assert_eq!(place.git_in(&linked, &["log", "--format=%s", "-1"]), "change: work\n");
    assert_eq!(place.git(&["rev-parse", "main"]), place.git(&["rev-parse", "side~1"]));
    // The main checkout has a journal of its own.
    refused(&place.run(&["apply", "--undo", "--json"]), 2, "WF0743");
    place.run(&["apply", "--json"]).ok();
    place.run(&["apply", "--undo", "--json"]).ok();
    place.run_in(&linked, &["apply", "--undo", "--json"]).ok();
    assert_eq!(stand(&place, &place.dir()), before);
    // It goes away: the run is still known, and can be applied where the repository still is.
    place.git(&["worktree", "remove", "--force", "../linked"]);
    let applied = place.run(&["apply", "--json"]).ok();
    assert_eq!(applied["target"], json!(std::fs::canonicalize(place.dir()).unwrap()));
}

#[test]
fn a_submodule_is_a_checkout_and_its_pointer_counts() {
    let place = Place::new();
    place.introduce();
    fill(&place);
    place.commit_all();
    let outer = place.beside("outer");
    place.git_in(&outer, &["init", "-q", "-b", "main"]);
    let source = place.dir().display().to_string();
    place.git_in(&outer, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &source, "part"]);
    place.git_in(&outer, &["commit", "-qm", "with a submodule"]);
    let part = outer.join("part");
    place.run_in(&part, &["run", "flows/change.star", "--trust", "--json"]).ok();
    let applied = place.run_in(&part, &["apply", "--squash", "--json"]).ok();
    assert_eq!(applied["target"], json!(std::fs::canonicalize(&part).unwrap()));
    assert_eq!(place.git_in(&part, &["status", "--porcelain"]), "");
    assert_eq!(place.git_in(&outer, &["status", "--porcelain"]), " M part\n");
}

#[test]
fn a_run_that_began_at_uncommitted_changes_can_become_a_commit_once_they_are_one() {
    let place = Place::new();
    place.introduce();
    fill(&place);
    place.commit_all();
    place.write("src/a.txt", "bad and edited\n");
    place.run(&["run", "flows/change.star", "--base", "worktree", "--trust", "--json"]).ok();
    for flag in ["--squash", "--merge"] {
        let ran = place.run(&["apply", flag, "--json"]);
        assert_eq!(ran.code, 10, "{ran:?}");
    }
    place.git(&["commit", "-qam", "edited"]);
    refused(&place.run(&["apply", "--merge", "--json"]), 10, "WF0753");
    place.run(&["apply", "--squash", "--json"]).ok();
    assert_eq!(
        (place.read("src/a.txt").as_str(), place.git(&["status", "--porcelain"]).as_str()),
        ("good and edited\n", "")
    );
}

/// A git that ends the program that runs it at its n-th call: before the call, or after it.
fn killer(place: &Place) -> std::path::PathBuf {
    let dir = place.beside("killer");
    // Calls may be made at the same time, so each takes its number by making a directory.
    let script = "#!/bin/sh\nPATH=${PATH#*:}\nstate=${0%/*}\nn=1\n\
        while ! mkdir \"$state/calls/$n\" 2> /dev/null; do n=$((n + 1)); done\n\
        if [ $n -ne \"$(cat \"$state/at\")\" ]; then exec git \"$@\"; fi\n\
        if [ \"$(cat \"$state/when\")\" = after ]; then git \"$@\" > /dev/null; fi\nkill -9 $PPID\n";
    std::fs::write(dir.join("git"), script).unwrap();
    std::fs::set_permissions(dir.join("git"), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// Runs the program so that it is killed at a call of git. Answers with whether it was.
fn killed(place: &Place, killer: &Path, at: usize, args: &[&str]) -> bool {
    let _ = std::fs::remove_dir_all(killer.join("calls"));
    std::fs::create_dir(killer.join("calls")).unwrap();
    std::fs::write(killer.join("at"), at.to_string()).unwrap();
    std::fs::write(killer.join("when"), if at.is_multiple_of(2) { "after" } else { "before" }).unwrap();
    let ran = place.run_with(killer, args);
    assert!(ran.code == 0 || ran.code == -1, "{ran:?}");
    ran.code == -1
}

/// The calls of git at which programs are killed: all of them with `WHALEFLOW_LONG=1`, else some, before and after.
fn calls(step: usize) -> impl Iterator<Item = usize> {
    let is_long = std::env::vars_os().any(|(name, value)| name == "WHALEFLOW_LONG" && value == "1");
    (if is_long { 1 } else { step }..).step_by(if is_long { 1 } else { step })
}

/// Kills an apply, and its undoing, at calls of git; afterwards one of the two brings everything to an end.
fn check_kills(flags: &[&str], step: usize) {
    let place = changed();
    let killer = killer(&place);
    let apply: Vec<&str> = ["apply", "--json"].iter().chain(flags).copied().collect();
    let undo = ["apply", "--undo", "--json"];
    let before = stand(&place, &place.dir());
    place.run(&apply).ok();
    let after = without_commit(stand(&place, &place.dir()));
    place.run(&undo).ok();
    assert_eq!(stand(&place, &place.dir()), before);
    let mut kills = 0;
    for at in calls(step) {
        if !killed(&place, &killer, at, &apply) {
            break;
        }
        kills += 1;
        // The one that was asked for is finished by asking again, or is found done.
        let ran = place.run(&apply);
        assert!(ran.code == 0 || ran.json()["error"]["code"] == "WF0741", "{flags:?} {at}: {ran:?}");
        assert_eq!(without_commit(stand(&place, &place.dir())), after, "{flags:?} {at}");
        place.run(&undo).ok();
        assert_eq!(stand(&place, &place.dir()), before, "{flags:?} {at}");
        // Or what was done of it is taken back.
        assert!(killed(&place, &killer, at, &apply));
        let ran = place.run(&undo);
        assert!(ran.code == 0 || ran.json()["error"]["code"] == "WF0743", "{flags:?} {at}: {ran:?}");
        assert_eq!(stand(&place, &place.dir()), before, "{flags:?} {at}");
    }
    place.run(&undo).ok();
    let mut undo_kills = 0;
    for at in calls(step) {
        place.run(&apply).ok();
        if !killed(&place, &killer, at, &undo) {
            break;
        }
        undo_kills += 1;
        let ran = place.run(&undo);
        assert!(ran.code == 0 || ran.json()["error"]["code"] == "WF0743", "{flags:?} {at}: {ran:?}");
        assert_eq!(stand(&place, &place.dir()), before, "{flags:?} {at}");
    }
    assert!(kills > 0 && undo_kills > 0, "{flags:?}: {kills} and {undo_kills}");
    assert_eq!(place.git(&["for-each-ref", "refs/whaleflow/*/apply/*"]), "", "no commit is kept that nothing needs");
}

/// The same, but for the ids of commits: those are dated.
fn without_commit(mut stand: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    stand.retain(|name, _| !name.contains("rev-parse"));
    stand
}

#[test]
fn a_kill_while_files_change_loses_nothing() {
    check_kills(&[], 9);
}

#[test]
fn a_kill_while_a_commit_is_made_loses_nothing() {
    check_kills(&["--squash"], 17);
}

#[test]
fn a_kill_while_a_merge_is_made_loses_nothing() {
    check_kills(&["--merge"], 23);
}

#[test]
fn a_kill_while_a_branch_is_made_loses_nothing() {
    check_kills(&["--as-branch", "made"], 5);
}

#[test]
fn another_apply_takes_an_interrupted_one_back_and_says_so() {
    let place = changed();
    let killer = killer(&place);
    // Somewhere between the first file and the journal's last word.
    let before = stand(&place, &place.dir());
    let mut at = 34;
    loop {
        assert!(
            killed(&place, &killer, at, &["apply", "--squash", "--json"]),
            "it was never killed with files changed"
        );
        if place.read("src/a.txt") == "good\n"
            && place.git(&["rev-parse", "HEAD"]).as_bytes() == before["git [\"rev-parse\", \"HEAD\"]"]
        {
            break;
        }
        let _ = place.run(&["apply", "--undo", "--json"]);
        at += 1;
    }
    place.write("README", "edited after the kill\n");
    let branched = place.run(&["apply", "--as-branch", "other", "--json"]).ok();
    assert_eq!((&branched["recovered"]["branch"], &branched["recovered"]["finished"]), (&json!("work"), &json!(false)));
    assert_eq!((place.read("src/a.txt").as_str(), place.read("README").as_str()), ("bad\n", "edited after the kill\n"));
    assert_eq!(place.git(&["status", "--porcelain"]), " M README\n");

    // What was edited after the kill among what was applied is left alone, and named.
    place.git(&["checkout", "-q", "--", "README"]);
    assert!(killed(&place, &killer, at, &["apply", "--squash", "--json"]));
    place.write("src/a.txt", "mine now\n");
    let undone = place.run(&["apply", "--undo", "--json"]).ok();
    assert_eq!((&undone["undone"], &undone["left"]), (&json!(true), &json!(["src/a.txt"])));
    assert_eq!(place.git(&["status", "--porcelain"]), " M src/a.txt\n");
    assert_eq!(place.read("src/a.txt"), "mine now\n");
}

#[test]
fn two_at_once_do_not_meet() {
    let place = changed();
    // One that holds the journal: the test takes its lock.
    place.run(&["apply", "--json"]).ok();
    place.run(&["apply", "--undo", "--json"]).ok();
    let applies = place.home().join("applies");
    let journal = std::fs::read_dir(&applies).unwrap().next().unwrap().unwrap().path();
    let lock = std::fs::File::options().append(true).open(journal.join("lock")).unwrap();
    lock.lock().unwrap();
    refused(&place.run(&["apply", "--json"]), 10, "WF0745");
    refused(&place.run(&["apply", "--undo", "--json"]), 10, "WF0745");
    drop(lock);
    place.run(&["apply", "--json"]).ok();
}

#[test]
fn a_checkout_of_five_thousand_files() {
    let place = Place::new();
    place.introduce();
    fill(&place);
    for at in 0..5_000 {
        place.write(&format!("lib/{}/{at}.txt", at % 70), &format!("{at}\n"));
    }
    place.commit_all();
    place.run(&["run", "flows/change.star", "--trust", "--json"]).ok();
    let before = place.git(&["ls-files", "-s"]);
    place.run(&["apply", "--squash", "--json"]).ok();
    assert_eq!(place.git(&["ls-files"]).lines().count(), 5_006);
    assert_eq!(place.git(&["status", "--porcelain"]), "");
    place.run(&["apply", "--undo", "--json"]).ok();
    assert_eq!(place.git(&["ls-files", "-s"]), before);
    assert_eq!(place.git(&["status", "--porcelain"]), "");
}
