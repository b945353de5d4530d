//! Commands, tests and searches in copies of a commit.

use expect_test::{Expect, expect};
use wf_kernel::{Outcome, ValueRef};

use crate::setup::{Means, World, block, names, node, show, succeeded};

const FILES: [(&str, &str); 4] = [
    ("src/a.rs", "fn a() {} // todo\n"),
    ("src/b.rs", "fn b() {}\n"),
    ("run.sh", "echo ran\n"),
    (".gitignore", "out\n"),
];

fn sh(script: &str) -> String {
    let script = script.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!(r#""argv":["sh","-c","{script}"]"#)
}

async fn one(means: Means<'_>, kind: &str, fields: &str) -> (World, Outcome) {
    let world = World::with_repository(means, vec![node(kind, "n", fields, vec![])]).await;
    let outcome = world.perform(&world.in_snapshot("n")).await;
    (world, outcome)
}

fn check(kind: &str, fields: &str, expect: Expect) {
    block(async {
        let (world, outcome) = one(Means { files: &FILES, ..Means::default() }, kind, fields).await;
        expect.assert_eq(&show(&world, &outcome).await);
        assert_eq!(names(&world.top()), [".git", ".gitignore", "README", "run.sh", "src"]);
        // Homes are gone with their command.
        let scratch = world.dir.path().join("scratch");
        let own = names(&scratch).into_iter().find(|name| !name.ends_with(".lock")).unwrap();
        assert_eq!(names(&scratch.join(own)), Vec::<String>::new());
    });
}

#[test]
fn a_command_succeeds_or_fails_by_its_exit_code() {
    check(
        "command",
        &format!("{{{}}}", sh("cat src/b.rs; echo oh >&2; touch left")),
        expect![[r#"{"exit_code":0,"stderr":"oh\n","stdout":"fn b() {}\n"}"#]],
    );
    check(
        "command",
        &format!("{{{}}}", sh("echo no; exit 3")),
        expect![[r#"
        exit (retryable): "sh" ended with exit code 3
        {"exit_code":3,"stderr":"","stdout":"no\n"}"#]],
    );
    check(
        "command",
        &format!(r#"{{{},"ok_exit":[3]}}"#, sh("exit 3")),
        expect![[r#"{"exit_code":3,"stderr":"","stdout":""}"#]],
    );
    check(
        "command",
        r#"{"argv":["no-such-program"]}"#,
        expect![[r#"program_missing: program "no-such-program" was not found"#]],
    );
    check("command", r#"{"argv":["./run.sh"]}"#, expect![[r#"not_executable: "./run.sh" is not an executable file"#]]);
}

#[test]
fn a_test_says_whether_it_passed() {
    check(
        "test",
        &format!("{{{}}}", sh("echo fine")),
        expect![[r#"{"exit_code":0,"passed":true,"stderr":"","stdout":"fine\n"}"#]],
    );
    check(
        "test",
        &format!("{{{}}}", sh("echo broken; exit 1")),
        expect![[r#"{"exit_code":1,"passed":false,"stderr":"","stdout":"broken\n"}"#]],
    );
    check(
        "test",
        &format!(r#"{{{},"expect":"^[1-9][0-9]* passed$"}}"#, sh("echo 3 passed >&2")),
        expect![[r#"{"exit_code":0,"passed":true,"stderr":"3 passed\n","stdout":""}"#]],
    );
    check(
        "test",
        &format!(r#"{{{},"expect":"^[1-9][0-9]* passed$"}}"#, sh("echo 0 passed")),
        expect![[r#"{"exit_code":0,"passed":false,"stderr":"","stdout":"0 passed\n"}"#]],
    );
    check(
        "test",
        &format!("{{{}}}", sh("kill -9 $$")),
        expect![[r#"{"exit_code":137,"passed":false,"stderr":"","stdout":""}"#]],
    );
}

#[test]
fn an_expected_pattern_is_looked_for_in_all_of_the_output() {
    let script = "echo begin passed; i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done";
    block(async {
        let fields = format!(r#"{{{},"expect":"begin passed"}}"#, sh(script));
        let (world, outcome) = one(Means::default(), "test", &fields).await;
        let success = succeeded(outcome);
        let value = world.value(&success.value).await;
        assert_eq!(value.get("passed").as_bool(), Some(true));
        assert!(value.get("stdout").as_str().unwrap().starts_with("["), "{value:?}");
        let blob = world.store.blobs.get(&success.artifacts["stdout"]).await.unwrap();
        assert!(blob.starts_with(b"begin passed\nline 0\n") && blob.ends_with(b"line 2999\n"));
    });
}

#[test]
fn a_command_runs_where_it_says() {
    check(
        "command",
        &format!(r#"{{{},"cwd":"src"}}"#, sh("ls")),
        expect![[r#"{"exit_code":0,"stderr":"","stdout":"a.rs\nb.rs\n"}"#]],
    );
    check(
        "command",
        &format!(r#"{{{},"cwd":"lib"}}"#, sh("ls")),
        expect![[r#"cwd_missing: "lib": No such file or directory (os error 2)"#]],
    );
    block(async {
        // A symlink may lead within the tree, and not out of it.
        let links = [("away", "../../.."), ("in", "src")];
        for (cwd, expected) in [("away", "cwd_missing: \"away\": it is outside of the tree"), ("in", "")] {
            let fields = format!(r#"{{{},"cwd":"{cwd}"}}"#, sh("true"));
            let (world, outcome) =
                one(Means { files: &FILES, links: &links, ..Means::default() }, "command", &fields).await;
            let shown = show(&world, &outcome).await;
            assert!(shown == expected || expected.is_empty() && shown.starts_with("{\"exit_code\":0"), "{shown}");
        }
    });
}

#[test]
fn the_environment_holds_what_is_allowed() {
    let script = "env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD= | sed s,=.*/scratch/[^/]*/home-.*,=home, | sort";
    check(
        "command",
        &format!(r#"{{{},"env":["COLOUR","ABSENT"]}}"#, sh(script)),
        expect![[
            r#"{"exit_code":0,"stderr":"","stdout":"COLOUR=teal\nHOME=home\nLANG=C\nPATH=/usr/local/bin:/usr/bin:/bin\nTMPDIR=home\n"}"#
        ]],
    );
}

#[test]
fn argv_is_rendered_word_by_word() {
    block(async {
        let fields = r#"{"argv":["printf","%s|","{{ word }}","a b"],"vars":{"word":"''"}}"#;
        let world = World::with_repository(Means::default(), vec![node("command", "n", fields, vec![])]).await;
        let mut leaf = world.leaf("n", r#"{"word":"$(touch x); two words"}"#);
        leaf.tree = world.in_snapshot("n").tree;
        expect![[r#"{"exit_code":0,"stderr":"","stdout":"$(touch x); two words|a b|"}"#]]
            .assert_eq(&show(&world, &world.perform(&leaf).await).await);
    });
}

#[test]
fn commands_need_trust_and_permission() {
    block(async {
        let untrusted = Means { is_trusted: false, ..Means::default() };
        let (world, outcome) = one(untrusted, "command", r#"{"argv":["true"]}"#).await;
        expect!["untrusted: commands of this repository's workflows run only when it is trusted"]
            .assert_eq(&show(&world, &outcome).await);
        let fields = r#"{"argv":["{{ program }}"],"vars":{"program":"''"},"permissions":{"commands":["true"]}}"#;
        let world = World::with_repository(Means::default(), vec![node("command", "n", fields, vec![])]).await;
        for program in ["true", "touch"] {
            let mut leaf = world.leaf("n", &format!(r#"{{"program":"{program}"}}"#));
            leaf.tree = world.in_snapshot("n").tree;
            let shown = show(&world, &world.perform(&leaf).await).await;
            match program {
                "true" => expect![[r#"{"exit_code":0,"stderr":"","stdout":""}"#]].assert_eq(&shown),
                _ => expect![[r#"permission: the command "touch" is not permitted here"#]].assert_eq(&shown),
            }
        }
    });
}

#[test]
fn time_runs_out() {
    block(async {
        let fields = format!(r#"{{{},"timeout":"200ms"}}"#, sh("sleep 1000"));
        for kind in ["command", "test"] {
            let (world, outcome) = one(Means::default(), kind, &fields).await;
            assert_eq!(show(&world, &outcome).await, "timed out");
        }
    });
}

#[test]
fn cancelling_ends_a_command() {
    block(async {
        let world = World::with_repository(
            Means::default(),
            vec![node("command", "n", &format!("{{{}}}", sh("echo up; sleep 1000")), vec![])],
        );
        let world = world.await;
        let leaf = world.in_snapshot("n");
        let (outcome, ()) = tokio::join!(world.perform(&leaf), async {
            while world.trace("n").await.is_empty() {
                tokio::task::yield_now().await;
            }
            world.cancel.cancel();
        });
        assert_eq!(show(&world, &outcome).await, "cancelled");
        assert_eq!(world.trace("n").await, r#"{"stream":"stdout","text":"up"}"#);
    });
}

#[test]
fn artifacts_are_kept() {
    let script = "mkdir -p out; echo one > out/a.txt; echo two > out/b.txt; ln -s a.txt out/c.txt; echo no > out/d";
    block(async {
        let fields = format!(r#"{{{},"artifacts":["out/*.txt"]}}"#, sh(script));
        let (world, outcome) = one(Means { files: &FILES, ..Means::default() }, "command", &fields).await;
        let success = succeeded(outcome);
        assert_eq!(success.artifacts.keys().collect::<Vec<_>>(), ["files/out/a.txt", "files/out/b.txt"]);
        assert_eq!(world.store.blobs.get(&success.artifacts["files/out/b.txt"]).await.unwrap(), b"two\n");
    });
}

#[test]
fn a_search_looks_at_the_commit() {
    check(
        "search",
        r#"{"pattern":"fn [ab]"}"#,
        expect![[
            r#"{"count":2,"matches":[{"line":1,"path":"src/a.rs","text":"fn a() {} // todo"},{"line":1,"path":"src/b.rs","text":"fn b() {}"}],"truncated":false}"#
        ]],
    );
    check(
        "search",
        r#"{"pattern":"fn [ab]","limit":1}"#,
        expect![[
            r#"{"count":1,"matches":[{"line":1,"path":"src/a.rs","text":"fn a() {} // todo"}],"truncated":true}"#
        ]],
    );
    check(
        "search",
        r#"{"pattern":"echo","reads":["src/**"]}"#,
        expect![[r#"{"count":0,"matches":[],"truncated":false}"#]],
    );
    block(async {
        let fields = r#"{"pattern":"{{ p }}","vars":{"p":"''"}}"#;
        let world = World::with_repository(Means::default(), vec![node("search", "n", fields, vec![])]).await;
        let mut leaf = world.leaf("n", r#"{"p":"("}"#);
        leaf.tree = world.in_snapshot("n").tree;
        expect!["pattern: no regular expression: unclosed group"]
            .assert_eq(&show(&world, &world.perform(&leaf).await).await);
    });
}

#[test]
fn a_leaf_is_prepared_with_the_tree_that_it_sees() {
    block(async {
        let fields = format!("{{{}}}", sh("true"));
        let world = World::with_repository(Means::default(), vec![node("test", "n", &fields, vec![])]).await;
        let prepared = world.prepare(&world.in_snapshot("n")).await.unwrap();
        let tree = world.repository.as_ref().unwrap().tree_of(&world.base).await.unwrap();
        assert_eq!(prepared.tree, Some(tree));
        assert!(prepared.estimate.is_zero() && prepared.role.to_json() == "null");
        assert!(matches!(prepared.request, ValueRef::Inline(_)));
    });
}
