//! Many branches at once, in trees that they share out among themselves.

use std::collections::BTreeSet;

use crate::place::Place;

/// Thirty agents that edit the same file, and a command in each tree that says what it sees there.
const THIRTY: &str = r#"
workflow("thirty", children = [
    expand("each", over = "range(30)", width = 30, max_children = 30, children = [
        branch("work", writes = ["**"], children = [
            agent("edit", prompt = "{{ each.index }}", writes = ["src/**"]),
            command("see", argv = ["sh", "-c", "pwd > where; cat src/a.txt; git status --porcelain; ls", "sh"], writes = ["where"]),
        ]),
    ]),
])
"#;

const EDITS: &str = r#"
[[rule]]
match = { node = "**/edit" }
latency_ms = 300
text = "done"
edits = [{ path = "src/a.txt", write = "changed\n" }, { path = "src/new.txt", write = "new\n" }]
"#;

fn place(config: &str) -> Place {
    let place = Place::new();
    place.introduce();
    for number in 0..100 {
        place.write(&format!("src/deep/{number}.txt"), "some text\n");
    }
    place.write("src/a.txt", "a\n");
    place.write("flows/thirty.star", THIRTY);
    place.write("flows/thirty.mock.toml", EDITS);
    place.commit_all();
    std::fs::create_dir_all(place.home()).unwrap();
    std::fs::write(place.home().join("config.toml"), config).unwrap();
    place
}

/// Runs it, and answers with how many trees there were in all.
fn thirty(place: &Place) -> usize {
    let before = (place.git(&["status", "--porcelain"]), place.git(&["branch", "--list"]));
    let summary = place.run(&["run", "flows/thirty.star", "--trust", "--no-pace", "--json"]).ok();
    assert_eq!((&summary["leaves"]["done"], &summary["status"]), (&60.into(), &"succeeded".into()), "{summary}");
    let run = summary["run_id"].as_str().unwrap();
    let shown = place.run(&["show", run, "--json"]).ok();
    let (mut commits, mut places) = (BTreeSet::new(), BTreeSet::new());
    for instance in shown["instances"].as_array().unwrap().iter().filter(|it| it["kind"] == "branch") {
        let commit = instance["commit"].as_str().unwrap();
        commits.insert(commit.to_owned());
        places.insert(place.git(&["show", &format!("{commit}:where")]));
        assert_eq!(place.git(&["show", &format!("{commit}:src/a.txt")]), "changed\n");
        let changed = place.git(&["diff", "--name-only", "HEAD", commit]);
        assert_eq!(changed, "src/a.txt\nsrc/new.txt\nwhere\n", "{instance}");
    }
    // Nothing of it is the user's, and nobody has a tree any more.
    assert_eq!((place.git(&["status", "--porcelain"]), place.git(&["branch", "--list"])), before);
    assert_eq!(place.git(&["worktree", "list"]).lines().count(), 1);
    assert_eq!(place.git(&["for-each-ref", &format!("refs/whaleflow/{run}/b")]).lines().count(), 30);
    let refs = [format!("refs/whaleflow/{run}/held"), format!("refs/whaleflow/{run}/rescue")];
    assert_eq!(place.git(&["for-each-ref", &refs[0], &refs[1]]), "");
    assert!(place.run(&["replay", run, "--json"]).ok()["equal"] == true);
    places.len()
}

/// The trees that wait for the next branch.
fn waiting(place: &Place) -> usize {
    let pools = std::fs::read_dir(place.home().join("cache/trees")).unwrap();
    let names = pools.flat_map(|pool| std::fs::read_dir(pool.unwrap().path()).unwrap());
    names.filter(|name| !name.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')).count()
}

#[test]
fn thirty_agents_at_once_do_not_meet() {
    let place = place("[trees]\nmax = 30\nwarm = 5\n");
    assert_eq!(thirty(&place), 30);
    assert_eq!(waiting(&place), 5);
    // The next run begins with what is there.
    let used = thirty(&place);
    assert_eq!((used, waiting(&place)), (30, 5));
}

#[test]
fn a_small_pool_makes_branches_wait() {
    let place = place("[trees]\nmax = 3\nwarm = 3\n");
    assert_eq!(thirty(&place), 3);
    assert_eq!(waiting(&place), 3);
    let log = place.run(&["logs", "@last", "--raw"]).out;
    assert!(log.contains("tree_pool"), "nobody waited for a tree");
}

#[test]
fn without_warm_trees_nothing_stays() {
    let place = place("[trees]\nwarm = 0\n");
    assert_eq!((thirty(&place), waiting(&place)), (30, 0));
}
