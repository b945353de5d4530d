//! `trees`: what is listed, what is removed and what is not, and that nothing in a tree is lost.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::place::Place;

/// A good branch, and one that writes where it may not.
const FIX: &str = r#"
workflow("fix", children = [parallel("fixes", children = [
    branch("good", writes = ["src/**"], children = [agent("edit", prompt = "good", writes = ["src/**"])]),
    branch("wide", writes = ["src/**"], children = [agent("edit", prompt = "wide", writes = ["src/**"])]),
])])
"#;

const FIX_RULES: &str = r#"
[[rule]]
match = { node = "fixes/good/edit" }
text = "done"
edits = [{ path = "src/a.txt", replace = { from = "two", to = "2" } }]

[[rule]]
match = { node = "fixes/wide/edit" }
text = "done"
edits = [{ path = "src/a.txt", replace = { from = "two", to = "zwei" } }, { path = "other.txt", write = "beyond\n" }]
"#;

/// A repository with a run whose trees are treated as `config` says.
fn place(config: &str) -> Place {
    let place = Place::new();
    place.introduce();
    place.write("src/a.txt", "one\ntwo\nthree\n");
    place.write("flows/fix.star", FIX);
    place.write("flows/fix.mock.toml", FIX_RULES);
    place.commit_all();
    std::fs::create_dir_all(place.home()).unwrap();
    std::fs::write(place.home().join("config.toml"), config).unwrap();
    place
}

fn run(place: &Place) -> String {
    let ran = place.run(&["run", "flows/fix.star", "--trust", "--no-pace", "--json"]).json();
    ran["run_id"].as_str().unwrap().to_owned()
}

fn list(place: &Place) -> Vec<Value> {
    place.run(&["trees", "list", "--json"]).ok()["trees"].as_array().unwrap().clone()
}

/// The tree of a branch.
fn tree(place: &Place, branch: &str) -> Value {
    let found: Vec<Value> = list(place).into_iter().filter(|tree| tree["branch"] == branch).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn path(tree: &Value) -> PathBuf {
    PathBuf::from(tree["path"].as_str().unwrap())
}

fn rescues(place: &Place) -> Vec<Value> {
    place.run(&["trees", "rescue", "list", "--json"]).ok()["rescues"].as_array().unwrap().clone()
}

/// What nothing may be left of when all trees are gone.
fn assert_no_tree(place: &Place) {
    assert_eq!(list(place), Vec::<Value>::new());
    assert_eq!(place.git(&["worktree", "list"]).lines().count(), 1);
    for pool in std::fs::read_dir(place.home().join("cache/trees")).unwrap() {
        let names: Vec<_> =
            std::fs::read_dir(pool.unwrap().path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| name.to_string_lossy().starts_with('.')), "{names:?}");
    }
}

#[test]
fn what_was_kept_is_listed_with_what_became_of_it() {
    let place = place("[trees]\nkeep = \"always\"\n");
    assert_eq!(list(&place), Vec::<Value>::new());
    let run = run(&place);
    let good = tree(&place, "fixes/good");
    assert_eq!((&good["run_id"], &good["stage"]), (&json!(run), &json!("kept")));
    assert_eq!((&good["merged"], &good["dirty"], &good["holder"]), (&json!("no"), &json!(false), &json!(null)));
    assert!(good["disk_bytes"].as_u64().unwrap() > 0);
    assert!(good["needed"].as_str().unwrap().starts_with("it is kept until "), "{good}");
    let commit = good["commit"].as_str().unwrap();
    assert_eq!(place.git(&["show", &format!("{commit}:src/a.txt")]), "one\n2\nthree\n");
    assert_eq!(tree(&place, "fixes/wide")["merged"], "nothing");

    // All that it changed is there, as one commit of the user's.
    place.run(&["apply", "@last", "fixes/good", "--squash", "--json"]).ok();
    assert_eq!(tree(&place, "fixes/good")["merged"], "squashed");
    // Also when the same lines were changed again since.
    place.write("src/a.txt", "one\nII\nthree\n");
    place.commit_all();
    assert_eq!(tree(&place, "fixes/good")["merged"], "squashed");
    place.git(&["reset", "-q", "--hard", "HEAD~2"]);
    assert_eq!(tree(&place, "fixes/good")["merged"], "no");
    place.git(&["merge", "-q", "--no-ff", "-m", "merged", commit]);
    assert_eq!(tree(&place, "fixes/good")["merged"], "merged");

    // Somebody looks around in it, and leaves something.
    std::fs::write(path(&good).join("notes.txt"), "note\n").unwrap();
    let status = place.run(&["trees", "status", "fixes/good", "--json"]).ok()["tree"].clone();
    assert_eq!((&status["name"], &status["dirty"]), (&good["name"], &json!(true)));
    assert_eq!(status["changed"], json!([{"path": "notes.txt", "change": "added", "insertions": 1, "deletions": 0}]));
    let text = place.run(&["trees", "status", "fixes/good"]).out;
    assert!(text.contains("notes.txt  added         1 +\n"), "{text}");
    assert_eq!(place.run(&["trees", "status", "fixes/none"]).code, 2);
    assert_eq!(place.run(&["trees", "open", good["name"].as_str().unwrap()]).out.trim_end(), good["path"]);
}

#[test]
fn what_nobody_needs_is_removed_and_what_is_unsaved_is_saved() {
    let place = place("[trees]\nkeep = \"always\"\n");
    let run = run(&place);
    let before = rescues(&place);
    assert_eq!((before.len(), &before[0]["run_id"], &before[0]["branch"]), (1, &json!(run), &json!("fixes/wide")));
    let (good, wide) = (tree(&place, "fixes/good"), tree(&place, "fixes/wide"));
    std::fs::write(path(&good).join("notes.txt"), "note\n").unwrap();

    // Both are kept for a while; only by name, or with --kept, do they go.
    let clean = place.run(&["trees", "clean", "--json"]).ok();
    assert_eq!((clean["removed"].as_array().unwrap().len(), clean["left"].as_array().unwrap().len()), (0, 2));
    let dry = place.run(&["trees", "clean", "fixes/good", "--dry-run", "--json"]).ok();
    assert_eq!(
        (&dry["dry_run"], &dry["removed"][0]["dirty"], &dry["rescued"]),
        (&json!(true), &json!(true), &json!([]))
    );
    assert!(path(&good).join("notes.txt").exists());
    let clean = place.run(&["trees", "clean", "fixes/good", "--json"]).ok();
    assert_eq!(clean["rescued"].as_array().unwrap().len(), 1, "{clean}");
    assert!(!path(&good).exists() && path(&wide).exists());
    assert_eq!(
        (&wide["dirty"], &wide["saved"]),
        (&json!(true), &before[0]["ref"]),
        "it was saved when the branch ended"
    );
    let clean = place.run(&["trees", "clean", "--kept", "--json"]).ok();
    assert_eq!((clean["removed"].as_array().unwrap().len(), &clean["rescued"][0]), (1, &before[0]["ref"]), "{clean}");
    assert_eq!(rescues(&place).len(), 2);
    assert_no_tree(&place);

    // It is there again where somebody wants it, with what the branch had committed, and nowhere else.
    let saved: Vec<Value> = rescues(&place).into_iter().filter(|it| it["branch"] == "fixes/good").collect();
    assert_eq!(saved.len(), 1);
    let reference = saved[0]["ref"].as_str().unwrap();
    let restore = |part: &str, to: &str| place.run(&["trees", "rescue", "restore", part, to, "--json"]);
    assert_eq!(restore("rescue", "../back").code, 2, "two have it in their names");
    restore(reference, "../back").ok();
    let back = place.dir().parent().unwrap().join("back");
    assert_eq!(std::fs::read_to_string(back.join("notes.txt")).unwrap(), "note\n");
    assert_eq!(std::fs::read_to_string(back.join("src/a.txt")).unwrap(), "one\n2\nthree\n");
    assert_eq!(restore(reference, "../back").code, 2, "something is in it");
    restore("fixes-wide", "../wide").ok();
    assert_eq!(std::fs::read_to_string(place.dir().parent().unwrap().join("wide/other.txt")).unwrap(), "beyond\n");
    assert_eq!(place.git(&["status", "--porcelain"]), "");
}

#[test]
fn what_waits_for_the_next_branch_goes_when_somebody_cleans() {
    let place = place("");
    run(&place);
    let waiting = list(&place);
    assert!(!waiting.is_empty() && waiting.iter().all(|tree| tree["stage"] == "free"), "{waiting:?}");
    let clean = place.run(&["trees", "clean", "--json"]).ok();
    assert_eq!(clean["removed"].as_array().unwrap().len(), waiting.len());
    assert_no_tree(&place);
    run(&place);
}

#[test]
fn a_tree_of_ones_own_stays_until_it_is_cleaned() {
    let place = place("");
    place.git(&["tag", "v1"]);
    place.write("src/a.txt", "later\n");
    place.commit_all();
    let made = place.run(&["trees", "new", "v1", "--name", "look", "--json"]).ok()["tree"].clone();
    let dir = path(&made);
    assert_eq!((&made["run_id"], &made["branch"], &made["until"]), (&json!(null), &json!("look"), &json!(null)));
    assert_eq!(std::fs::read_to_string(dir.join("src/a.txt")).unwrap(), "one\ntwo\nthree\n");
    assert_eq!(place.run(&["trees", "new", "nowhere"]).code, 2);
    // Runs come and go, and nobody takes it.
    run(&place);
    place.run(&["trees", "clean", "--json"]).ok();
    assert_eq!(list(&place).len(), 1);
    // It is a worktree in which one can commit.
    std::fs::write(dir.join("src/a.txt"), "mine\n").unwrap();
    place.git_in(&dir, &["commit", "-q", "-a", "-m", "mine"]);
    std::fs::write(dir.join("more.txt"), "more\n").unwrap();
    let now = tree(&place, "look");
    assert_eq!(
        (&now["merged"], &now["dirty"], &now["changed"][0]["path"]),
        (&json!("no"), &json!(true), &json!("more.txt"))
    );
    assert_eq!(now["commit"].as_str().unwrap(), place.git_in(&dir, &["rev-parse", "HEAD"]).trim_end());
    let clean = place.run(&["trees", "clean", "look", "--json"]).ok();
    let saved = clean["rescued"][0].as_str().unwrap();
    assert_eq!(place.git(&["show", &format!("{saved}:more.txt")]), "more\n");
    assert_eq!(place.git(&["log", "--format=%s", "-n1", &format!("{saved}^")]), "mine\n");
    assert_no_tree(&place);
    let own = place.git(&["for-each-ref", "--format=%(refname)", "refs/whaleflow"]);
    let own: Vec<&str> = own.lines().filter(|name| name.contains("look")).collect();
    assert_eq!(own, [saved], "only the saved work keeps its ref");
}

#[test]
fn nobody_takes_a_tree_in_which_a_run_works() {
    let place = place("");
    let gate = place.beside("gate");
    let source = format!(
        "workflow(\"slow\", children = [branch(\"work\", children = [\n    \
         command(\"wait\", argv = [\"sh\", \"-c\", \"echo begun > begun; while ! test -e {0}/go; do sleep 0.05; done\"], \
         writes = [\"begun\"])])])\n",
        gate.display()
    );
    place.write("flows/slow.star", &source);
    place.git(&["add", "-A"]);
    let (mut child, lines) =
        place.start(&["run", "flows/slow.star", "--sandbox=off", "--trust", "--no-pace", "--json"]);
    let dir = until(|| {
        let tree = list(&place).into_iter().find(|tree| tree["branch"] == "work" && tree["holder"] != json!(null))?;
        path(&tree).join("begun").exists().then(|| path(&tree))
    });
    let name = dir.file_name().unwrap().to_str().unwrap();
    let refused = place.run(&["trees", "clean", name, "--json"]);
    assert_eq!((refused.code, refused.json()["error"]["code"].as_str()), (10, Some("WF0714")));
    for args in [&["trees", "clean", "--json"][..], &["trees", "clean", "--kept", "--json"]] {
        let clean = place.run(args).ok();
        assert!(clean["left"][0]["needed"].as_str().unwrap().ends_with("works in it"), "{clean}");
    }
    assert!(dir.join("begun").exists());
    std::fs::write(gate.join("go"), "").unwrap();
    assert_eq!(lines.count(), 1);
    assert!(child.wait().unwrap().success());
    place.run(&["trees", "clean", "--json"]).ok();
    assert_no_tree(&place);
}

/// Asks again and again, for a minute at most.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1_200 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("it did not come to that");
}

#[test]
fn what_a_process_left_that_was_killed_after_the_end_of_its_run_goes_with_the_next() {
    let place = place("[trees]\nkeep = \"never\"\n");
    place.run(&["run", "flows/fix.star", "--trust", "--json"]);
    let pools = place.home().join("cache/trees");
    let pool = std::fs::read_dir(&pools).unwrap().next().unwrap().unwrap().path();
    let left = [pool.join(".trash/tree-1"), pool.join("tree-of-nobody")];
    for dir in &left {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("a.txt"), "left\n").unwrap();
    }
    place.run(&["resume", "@last", "--json"]);
    assert!(left.iter().all(|dir| !dir.exists()) && !pool.join(".trash").exists(), "{pool:?}");
}

#[test]
fn a_shell_is_started_in_a_tree_at_a_terminal() {
    let place = place("");
    let made = place.run(&["trees", "new"]).out;
    let dir = Path::new(made.trim_end());
    assert_eq!(place.run(&["trees", "open", "mine", "--shell"]).code, 2, "there is no terminal");
    let shell = place.dir().with_file_name("shell");
    std::fs::write(&shell, "#!/bin/sh\npwd > seen\nexit 7\n").unwrap();
    std::fs::set_permissions(&shell, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ran = place.run_asked(&place.dir(), &["trees", "open", "mine", "--shell"], &[]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert_eq!(std::fs::read_to_string(dir.join("seen")).unwrap(), made);
    let tree = tree(&place, "mine");
    assert_eq!((&tree["stage"], &tree["holder"], &tree["until"]), (&json!("kept"), &json!(null), &json!(null)));
}

#[test]
fn trees_of_a_fixture_are_of_another_repository() {
    let place = place("[trees]\nkeep = \"always\"\n");
    run(&place);
    let shipped = format!("{}/../../workflows/gated_fix.star", env!("CARGO_MANIFEST_DIR"));
    place.run(&["run", &shipped, "--no-pace", "--json"]);
    place.run(&["approve", "@last", "plan", "--data", r#"{"note": "go on"}"#, "--json"]);
    place.run(&["resume", "@last", "--json"]);
    let found = list(&place);
    let roots: std::collections::BTreeSet<_> = found.iter().map(|it| path(it).parent().unwrap().to_owned()).collect();
    assert_eq!((found.len(), roots.len()), (3, 2), "{found:?}");
    assert!(found.iter().all(|tree| tree.get("error").is_none() && tree["dirty"] != json!(null)), "{found:?}");
    assert_eq!(place.run(&["trees", "clean", "--kept", "--json"]).ok()["removed"].as_array().unwrap().len(), 3);
    assert_no_tree(&place);
    // Where nothing ever ran there is nothing, and nothing is made.
    let empty = place.beside("empty");
    for args in [&["trees", "list", "--json"][..], &["trees", "rescue", "list", "--json"]] {
        assert_eq!(place.run_in(&empty, args).code, 0);
    }
    assert_eq!(place.run_in(&empty, &["trees", "new", "--json"]).code, 2);
}
