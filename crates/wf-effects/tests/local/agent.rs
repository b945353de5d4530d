//! Agents that work with tools of their own, driven by the turns of a mock's rule.

use expect_test::expect;
use wf_kernel::Outcome;

use crate::setup::{Means, World, block, node, show};

const FILES: [(&str, &str); 2] = [("src/a.txt", "one\n"), ("AGENTS.md", "be brief\n")];

const RULES: &str = r#"
    [[rule]]
    match = { node = "b/fix" }
    text = "fixed in {{ role }}"
    turns = [
      { say = "looking", calls = [{ tool = "read", args = { path = "src/a.txt" } }, { tool = "grep", args = { pattern = "one" } }] },
      { calls = [{ tool = "edit", args = { path = "src/a.txt", old = "one", new = "two" } }] },
      { calls = [{ tool = "bash", args = { command = "cat src/a.txt; exit 3" } }] },
      { calls = [{ tool = "write", args = { path = "docs/b.txt", content = "elsewhere" } }] },
    ]
    [[rule]]
    match = { node = "b/read" }
    text = "seen"
    turns = [{ calls = [{ tool = "write", args = { path = "x", content = "" } }, { tool = "glob", args = { pattern = "**" } }] }]
    [[rule]]
    match = { node = "b/stuck" }
    text = "never"
    turns = [
      { calls = [{ tool = "glob", args = { pattern = "*" } }] },
      { calls = [{ tool = "glob", args = { pattern = "*" } }] },
      { calls = [{ tool = "glob", args = { pattern = "*" } }] },
      { calls = [{ tool = "glob", args = { pattern = "*" } }] },
      { calls = [{ tool = "glob", args = { pattern = "*" } }] },
    ]
    [[rule]]
    match = { node = "b/typed" }
    json = "{\"n\": 7}"
    turns = [{ calls = [{ tool = "hand_back", args = { result = { n = "seven" } } }] }]
"#;

async fn world() -> World {
    let typed =
        r#"{"prompt":"count","output":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}}"#;
    let children = vec![
        node("agent", "fix", r#"{"prompt":"fix it","writes":["src/**"]}"#, vec![]),
        node("agent", "read", r#"{"prompt":"look"}"#, vec![]),
        node("agent", "stuck", r#"{"prompt":"look"}"#, vec![]),
        node("agent", "typed", typed, vec![]),
    ];
    let branch = node("branch", "b", r#"{}"#, children);
    let world = World::with_repository(Means { rules: RULES, files: &FILES, ..Means::default() }, vec![branch]).await;
    world.acquire().await;
    world
}

#[test]
fn an_agent_works_in_the_tree_of_its_branch() {
    block(async {
        let world = world().await;
        let fix = world.perform(&world.in_branch("b/fix")).await;
        expect![[r#""fixed in default" for 7224 µ$"#]].assert_eq(&show(&world, &fix).await);
        expect![[r#"
            {"stream":"say","text":"looking"}
            {"stream":"call","text":"read {\"path\":\"src/a.txt\"}"}
            {"stream":"result","text":"1\tone\n"}
            {"stream":"call","text":"grep {\"pattern\":\"one\"}"}
            {"stream":"result","text":"src/a.txt:1: one\n"}
            {"stream":"call","text":"edit {\"new\":\"two\",\"old\":\"one\",\"path\":\"src/a.txt\"}"}
            {"stream":"result","text":"src/a.txt: 1 replaced"}
            {"stream":"call","text":"bash {\"command\":\"cat src/a.txt; exit 3\"}"}
            {"stream":"stdout","text":"two"}
            {"stream":"result","text":"exit code 3\n--- stdout\ntwo\n"}
            {"stream":"call","text":"write {\"content\":\"elsewhere\",\"path\":\"docs/b.txt\"}"}
            {"stream":"result","text":"error: docs/b.txt: it is outside of what may be written here: src/**"}"#]]
        .assert_eq(&world.trace("b/fix").await);
        let Outcome::Checkpointed(checkpoint) = world.checkpoint("b/fix").await else { panic!("no checkpoint") };
        expect![[
            r#"[FileChange { path: "src/a.txt", change: "modified", insertions: Some(1), deletions: Some(1) }] []"#
        ]]
        .assert_eq(&format!("{:?} {:?}", checkpoint.files, checkpoint.out_of_scope));
        // The same again is the same.
        let again = world.perform(&world.in_branch("b/fix")).await;
        assert_eq!(show(&world, &again).await, show(&world, &fix).await);
    });
}

#[test]
fn whoever_may_not_write_works_in_a_copy() {
    block(async {
        let world = world().await;
        let read = world.perform(&world.in_branch("b/read")).await;
        expect![[r#""seen" for 2364 µ$"#]].assert_eq(&show(&world, &read).await);
        expect![[r#"
            {"stream":"call","text":"write {\"content\":\"\",\"path\":\"x\"}"}
            {"stream":"result","text":"error: there is no tool \"write\" here; there are: read, glob, grep, bash, hand_back"}
            {"stream":"call","text":"glob {\"pattern\":\"**\"}"}
            {"stream":"result","text":"AGENTS.md\nREADME\nsrc/a.txt\n"}"#]].assert_eq(&world.trace("b/read").await);
    });
}

#[test]
fn an_agent_that_turns_in_circles_fails() {
    block(async {
        let world = world().await;
        let stuck = world.perform(&world.in_snapshot("b/stuck")).await;
        expect![
            "agent_circles (retryable): mock: the agent made the same calls with the same results 5 times for 6060 µ$"
        ]
        .assert_eq(&show(&world, &stuck).await);
    });
}

#[test]
fn a_result_that_does_not_fit_is_not_taken() {
    block(async {
        let world = world().await;
        let typed = world.perform(&world.in_snapshot("b/typed")).await;
        expect![[r#"{"n":7} for 2346 µ$"#]].assert_eq(&show(&world, &typed).await);
    });
}
