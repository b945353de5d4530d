//! What may be wrong with the machine when trees are needed: a clear error, nothing lost, and the run goes on when it is
//! put right.

use std::os::unix::fs::PermissionsExt;

use crate::place::{Place, Ran};
use crate::repositories::repository;

fn place() -> Place {
    let place = repository();
    assert_eq!(place.run(&["trust"]).code, 0);
    place
}

/// An error of a program that did nothing: its exit code, its code, and a part of what it says.
fn check(ran: &Ran, code: i32, wf: &str, said: &str) {
    let error = &ran.json()["error"];
    let shown = format!("{} {}", error["message"].as_str().unwrap(), error["hint"].as_str().unwrap_or_default());
    assert_eq!((ran.code, error["code"].as_str()), (code, Some(wf)), "{shown}");
    assert!(shown.contains(said), "{shown}");
}

const RUN: [&str; 3] = ["run", "flows/fix.star", "--json"];

#[test]
fn a_git_that_does_not_serve() {
    let place = place();
    let programs = place.beside("programs");
    let git = programs.join("git");
    std::fs::write(&git, "#!/bin/sh\necho git version 2.20.1\n").unwrap();
    std::fs::set_permissions(&git, std::fs::Permissions::from_mode(0o755)).unwrap();
    check(&place.run_with(&programs, &RUN), 3, "WF0717", "git 2.20.1 is too old, at least 2.32 is needed");
    check(
        &place.run_env(&[("PATH", "/nonexistent")], &["trees", "list", "--json"]),
        3,
        "WF0717",
        "install a newer git",
    );
    assert_eq!(place.run(&RUN).ok()["verified"], "passed");
}

#[test]
fn a_base_and_a_repository_that_do_not_serve() {
    let place = place();
    let base = |base| [&RUN[..], &["--base", base]].concat();
    check(&place.run(&base("nosuch")), 2, "WF0717", "\"nosuch\" names no commit");
    check(&place.run(&[&RUN[..], &["--base=--upload-pack=sh"]].concat()), 2, "WF0717", "no commit");
    place.git(&["clone", "--quiet", "--bare", ".", "../bare"]);
    let ran = place.run(&[&RUN[..], &["--repo", "../bare"]].concat());
    check(&ran, 3, "WF0904", "is a bare repository");
    assert_eq!(place.run(&["ps", "--json"]).ok()["runs"], serde_json::json!([]));
}

/// Runs the workflow where something else is mounted at the place of the trees, which nobody else sees. None is that
/// this machine does not let us.
#[expect(clippy::print_stdout, reason = "a test that cannot be made here says so")]
fn run_over(place: &Place, options: &str, then: &str) -> Option<Ran> {
    let trees = place.home().join("cache/trees");
    std::fs::create_dir_all(&trees).unwrap();
    let (trees, program) = (trees.display(), env!("CARGO_BIN_EXE_whaleflow"));
    let script =
        format!("mount -t tmpfs -o {options} tmpfs '{trees}' || exit 99; {then}; exec '{program}' {}", RUN.join(" "));
    let script = script.replace("TREES", &trees.to_string());
    let ran = place.run_program("unshare", &["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    if ran.code == 99 || ran.err.contains("unshare: ") {
        println!("skipped: nothing can be mounted here: {}", ran.err);
        return None;
    }
    Some(ran)
}

#[test]
fn a_disk_that_is_full() {
    let place = place();
    let fill = "head -c 99999 /dev/zero >TREES/fill 2>/dev/null";
    let Some(ran) = run_over(&place, "size=64k", fill) else { return };
    assert_eq!(ran.code, 1, "{ran:?}");
    let run = ran.json()["run_id"].as_str().unwrap().to_owned();
    let shown = place.run(&["show", &run]).out;
    let said = "is full (hint: make room on it; whaleflow trees clean removes trees that nobody needs)";
    assert!(shown.contains(said), "{shown}");
    let again = place.run(&["retry", &run, "--json"]).ok();
    assert_eq!((&again["status"], &again["verified"]), (&"succeeded".into(), &"passed".into()));
    assert_eq!(place.git(&["worktree", "list"]).lines().count(), 1);
}

#[test]
fn a_disk_that_cannot_be_written() {
    let place = place();
    let Some(ran) = run_over(&place, "ro", "true") else { return };
    check(&ran, 6, "WF0723", "Read-only file system (os error 30) look at free space and permissions");
    assert_eq!(place.run(&RUN).ok()["verified"], "passed");
}

#[test]
fn too_few_files_may_be_open() {
    let place = place();
    let ran = place.run_limited("-n 14", &RUN);
    check(&ran, 6, "WF0723", "Too many open files (os error 24) let it open more files (`ulimit -n`)");
    assert_eq!(place.run(&["ps", "--json"]).ok()["runs"], serde_json::json!([]));
    assert_eq!(place.run(&RUN).ok()["verified"], "passed");
}

/// More commands at once than there are files that may be open.
const WIDE: &str = r#"
workflow("wide", permissions = permissions(commands = ["sleep"]), children = [
    expand("each", over = "range(70)", width = 70, max_children = 70, children = [command("nap", argv = ["sleep", "0.5"])]),
])
"#;

#[test]
fn no_more_leaves_at_once_than_files_may_be_open() {
    let place = place();
    place.write("wide.star", WIDE);
    let ran = place.run_limited("-n 256", &["run", "wide.star", "--json"]);
    assert_eq!((&ran.ok()["leaves"]["done"], &ran.ok()["leaves"]["failed"]), (&70.into(), &0.into()));
    let said = "performing up to 16 leaves at once and not 64: more would need more open files (`ulimit -n`)";
    assert!(ran.err.contains(said), "{}", ran.err);
}

#[test]
fn a_directory_that_is_none_or_is_gone() {
    let place = place();
    std::fs::create_dir_all(place.home().join("cache")).unwrap();
    let trees = place.home().join("cache/trees");
    std::fs::write(&trees, "").unwrap();
    check(&place.run(&RUN), 6, "WF0723", "cannot make");
    std::fs::remove_file(&trees).unwrap();
    for _ in 0..2 {
        assert_eq!(place.run(&RUN).ok()["verified"], "passed");
        std::fs::remove_dir_all(&trees).unwrap();
    }
    place.run(&["trees", "clean", "--json"]).ok();
    assert_eq!(place.git(&["worktree", "list"]).lines().count(), 1);
}

#[test]
fn an_index_that_is_locked() {
    let place = place();
    place.write(".git/index.lock", "");
    let run = place.run(&RUN).ok();
    check(&place.run(&["apply", run["run_id"].as_str().unwrap(), "--json"]), 10, "WF0746", "index.lock");
    assert_eq!(place.read("src/a.txt"), "bad\n");
    std::fs::remove_file(place.dir().join(".git/index.lock")).unwrap();
    place.run(&["apply", "--json"]).ok();
    assert_eq!(place.read("src/a.txt"), "good\n");
}
