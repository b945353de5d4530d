//! Which repository a run works in, and what is read of it before somebody trusts it.

use std::path::Path;

use expect_test::{Expect, expect};

use crate::place::Place;

/// It looks at the tree, and runs nothing.
const LOOK: &str = r#"
workflow("look", children = [search("find", pattern = "marker", reads = ["**"])],
         outputs = {"count": "find.count"})
"#;

/// It runs a command.
const ACT: &str = r#"
workflow("act", children = [test("check", argv = ["true"])], outputs = {"passed": "check.passed"})
"#;

/// A place whose workflows lie outside of every repository.
fn place() -> Place {
    let place = Place::new();
    std::fs::write(place.beside("flows").join("look.star"), LOOK).unwrap();
    std::fs::write(place.beside("flows").join("act.star"), ACT).unwrap();
    place
}

/// A repository with one commit, in which `marker` is found once for each of `count`.
fn repository(place: &Place, name: &str, count: usize) {
    std::fs::create_dir_all(place.dir().join(name)).unwrap();
    place.write(&format!("{name}/deep/down/a.txt"), &"marker\n".repeat(count));
    git(place, name, &["init", "-q", "-b", "main"]);
    git(place, name, &["add", "-A"]);
    git(place, name, &["commit", "-q", "-m", "all"]);
}

fn git(place: &Place, dir: &str, args: &[&str]) -> String {
    let settings = ["user.name=a", "user.email=a@b", "commit.gpgsign=false", "protocol.file.allow=always"];
    let settings: Vec<String> = settings.iter().map(|it| (*it).to_owned()).collect();
    let mut all: Vec<&str> = settings.iter().flat_map(|it| ["-c", it.as_str()]).collect();
    all.extend(args);
    place.git_in(&place.dir().join(dir), &all)
}

/// How a run of `look` from `dir` ends, with the place's own directory left out.
fn check(place: &Place, dir: &str, args: &[&str], expected: Expect) {
    let args: Vec<&str> = ["run", "../flows/look.star", "--json"].iter().chain(args).copied().collect();
    let flow = place.beside("flows").join("look.star");
    let args: Vec<&str> =
        args.iter().map(|arg| if arg.ends_with(".star") { flow.to_str().unwrap() } else { arg }).collect();
    let ran = place.run_in(&place.dir().join(dir), &args);
    let json = ran.json();
    let root = std::fs::canonicalize(place.dir()).unwrap();
    let said = match json.get("error") {
        Some(error) => format!("{} {} {}\nhint: {}", ran.code, error["code"], error["message"], error["hint"]),
        None => {
            let repo = json["repo"].as_str().unwrap();
            let repo = Path::new(repo).strip_prefix(&root).unwrap().display();
            format!("{} in {repo}: {}", ran.code, json["outputs"]["count"])
        }
    };
    expected.assert_eq(&said.replace(root.to_str().unwrap(), "…"));
}

#[test]
fn the_repository_around_or_below() {
    let place = place();
    check(
        &place,
        ".",
        &[],
        expect![[r#"
        3 "WF0904" "1 problem was found: `find` works in a tree, which takes a repository: no git repository at \"…\", above it, or directly below it"
        hint: "run inside a repository, or name one with --repo""#]],
    );
    repository(&place, "one", 1);
    check(&place, ".", &[], expect!["0 in one: 1"]);
    check(&place, "one", &[], expect!["0 in one: 1"]);
    check(&place, "one/deep/down", &[], expect!["0 in one: 1"]);
    repository(&place, "two", 2);
    check(
        &place,
        ".",
        &[],
        expect![[r#"
        3 "WF0904" "1 problem was found: `find` works in a tree, which takes a repository: several git repositories directly below \"…\": \"…/one\", \"…/two\""
        hint: "name one of them with --repo""#]],
    );
    check(&place, ".", &["--repo", "two/deep"], expect!["0 in two: 2"]);
    // Only those directly below count.
    repository(&place, "far/away/three", 3);
    check(
        &place,
        "far",
        &[],
        expect![[r#"
        3 "WF0904" "1 problem was found: `find` works in a tree, which takes a repository: no git repository at \"…/far\", above it, or directly below it"
        hint: "run inside a repository, or name one with --repo""#]],
    );
    check(&place, "far/away", &[], expect!["0 in far/away/three: 3"]);
}

#[test]
fn worktrees_submodules_and_detached_heads() {
    let place = place();
    repository(&place, "one", 1);
    repository(&place, "two", 2);
    git(&place, "one", &["worktree", "add", "-q", "--detach", "../linked", "HEAD"]);
    std::fs::write(place.dir().join("linked/b.txt"), "marker\n").unwrap();
    git(&place, "linked", &["add", "-A"]);
    git(&place, "linked", &["commit", "-q", "-m", "more"]);
    check(&place, "linked/deep", &[], expect!["0 in linked: 2"]);
    git(&place, "one", &["submodule", "--quiet", "add", "../two", "parts/two"]);
    check(&place, "one/parts/two", &[], expect!["0 in one/parts/two: 2"]);
    check(&place, "one/parts", &[], expect!["0 in one: 1"]);
    git(&place, "two", &["checkout", "-q", "--detach"]);
    check(&place, "two", &[], expect!["0 in two: 2"]);
    // All checkouts of a repository share its runs; a submodule has its own.
    let runs =
        |dir: &str| place.run_in(&place.dir().join(dir), &["ps", "--json"]).ok()["runs"].as_array().unwrap().len();
    assert_eq!((runs("one"), runs("linked"), runs("one/parts/two"), runs("two")), (2, 2, 1, 1));
}

#[test]
fn what_no_run_can_work_in() {
    let place = place();
    std::fs::create_dir_all(place.dir().join("new")).unwrap();
    git(&place, "new", &["init", "-q", "-b", "main"]);
    check(
        &place,
        "new",
        &[],
        expect![[r#"
        2 "WF0717" "the repository at \"…/new\" has no commit yet"
        hint: "make a first commit; an empty one will do: git commit --allow-empty""#]],
    );
    repository(&place, "one", 1);
    git(&place, ".", &["clone", "-q", "--bare", "one", "bare.git"]);
    check(
        &place,
        "bare.git/refs",
        &[],
        expect![[r#"
        3 "WF0904" "1 problem was found: `find` works in a tree, which takes a repository: \"…/bare.git\" is a bare repository"
        hint: "name a checkout of it (a clone or a worktree) with --repo""#]],
    );
    check(
        &place,
        "one",
        &["--repo", "../bare.git"],
        expect![[r#"
        3 "WF0904" "1 problem was found: `find` works in a tree, which takes a repository: \"…/bare.git\" is a bare repository"
        hint: "name a checkout of it (a clone or a worktree) with --repo""#]],
    );
    git(&place, "bare.git", &["worktree", "add", "-q", "../of_bare", "main"]);
    check(&place, "of_bare", &[], expect!["0 in of_bare: 1"]);
    git(&place, "one", &["config", "core.bare", "true"]);
    check(
        &place,
        "one",
        &[],
        expect![[r#"
        2 "WF0717" "\"…/one/.git\" is a bare repository"
        hint: "name a checkout of it (a clone or a worktree) with --repo""#]],
    );
    std::fs::create_dir_all(place.dir().join("odd")).unwrap();
    place.write("odd/.git", "gitdir: ../nowhere\n");
    check(
        &place,
        "odd",
        &[],
        expect![[r#"
        3 "WF0904" "1 problem was found: `find` works in a tree, which takes a repository: git's control file \"…/odd/.git\" is odd: it points to \"../nowhere\": No such file or directory (os error 2)"
        hint: "compare it with another checkout; git worktree repair may mend it""#]],
    );
}

/// What the trust in a repository lets happen: its commands run, and its configuration is read.
fn acts(place: &Place, dir: &str, args: &[&str]) -> (i32, String) {
    let flow = place.beside("flows").join("act.star");
    let args: Vec<&str> = ["run", flow.to_str().unwrap(), "--json"].iter().chain(args).copied().collect();
    let ran = place.run_in(&place.dir().join(dir), &args);
    let json = ran.json();
    let said = json["error"]["code"].as_str().or(json["status"].as_str()).unwrap().to_owned();
    (ran.code, said)
}

#[test]
fn nothing_is_read_as_configuration_before_it_is_trusted() {
    let place = place();
    repository(&place, "one", 1);
    place.write("one/.whaleflow/config.toml", "this is no configuration");
    let untrusted = (7, "WF0903".to_owned());
    assert_eq!(acts(&place, "one", &[]), untrusted);
    check(&place, "one", &[], expect!["0 in one: 1"]);
    let one = place.dir().join("one");
    assert_eq!(place.run_in(&one, &["trust"]).code, 0);
    assert_eq!(acts(&place, "one", &[]), (3, "WF0703".to_owned()));
    assert_eq!(place.run_in(&one, &["trust", "--revoke"]).code, 0);
    assert_eq!(acts(&place, "one", &[]), untrusted);
    place.write("one/.whaleflow/config.toml", "[run]\nlabels = { from = \"one\" }\n");
    assert_eq!(acts(&place, "one", &["--trust"]), (0, "succeeded".to_owned()));
    // The repository that a run works in is the one whose configuration counts, from wherever it is started.
    repository(&place, "two", 2);
    assert_eq!(acts(&place, "two", &["--repo", "../one"]), (0, "succeeded".to_owned()));
    let shown = place.run_in(&place.dir().join("two"), &["show", "--json"]).ok();
    assert_eq!(shown["labels"], serde_json::json!({"from": "one"}));
    assert_eq!(acts(&place, "two", &[]), untrusted);
    // Trust may be given where nothing runs a command yet.
    let flow = place.beside("flows").join("look.star");
    assert_eq!(place.run_in(&place.dir().join("two"), &["run", flow.to_str().unwrap(), "--trust"]).code, 0);
    assert_eq!(acts(&place, "two", &[]), (0, "succeeded".to_owned()));
}

#[test]
fn what_claims_to_be_a_checkout_of_a_trusted_repository_is_not_trusted() {
    let place = place();
    repository(&place, "mine", 1);
    assert_eq!(acts(&place, "mine", &["--trust"]), (0, "succeeded".to_owned()));
    git(&place, "mine", &["worktree", "add", "-q", "--detach", "../linked", "HEAD"]);
    assert_eq!(acts(&place, "linked", &[]), (0, "succeeded".to_owned()), "it is a checkout of a trusted one");
    place.write("evil/.whaleflow/config.toml", "this is no configuration");
    place.write("evil/.git", "gitdir: ../mine/.git\n");
    assert_eq!(acts(&place, "evil", &[]), (7, "WF0903".to_owned()));
    // Nor is what took the place of one.
    std::fs::rename(place.dir().join("mine"), place.dir().join("moved")).unwrap();
    repository(&place, "mine", 1);
    assert_eq!(acts(&place, "mine", &[]), (7, "WF0903".to_owned()));
}

#[test]
fn a_person_at_a_terminal_is_asked_once() {
    let place = place();
    repository(&place, "one", 1);
    repository(&place, "two", 2);
    let flow = place.beside("flows").join("act.star");
    let run = ["run", flow.to_str().unwrap(), "--no-pace"];
    let refused = place.run_asked(&place.dir(), &run, &[("Which one? [1-2] ", "3"), ("Which one? [1-2] ", "")]);
    assert_eq!(refused.code, 3, "{refused:?}");
    let refused = place.run_asked(&place.dir(), &run, &[("Which one? [1-2] ", "two"), ("[y/N] ", "n")]);
    assert_eq!(refused.code, 7, "{refused:?}");
    let ran = place.run_asked(&place.dir(), &run, &[("Which one? [1-2] ", "2"), ("[y/N] ", "y")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let again = place.run_asked(&place.dir().join("two"), &run, &[]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(!again.err.contains("[y/N]"), "{again:?}");
    // The same question of `trust`; a program gets an error instead.
    assert_eq!(place.run_asked(&place.dir(), &["trust"], &[("Which one? [1-2] ", "one")]).code, 0);
    assert_eq!(acts(&place, "one", &[]).0, 0);
    let ran = place.run(&["trust", "--json"]);
    assert_eq!((ran.code, ran.json()["error"]["hint"].as_str()), (2, Some("name one of them with --repo")));
}
