//! Leaves in the tree of a branch: what they write stays, what they may not write is found, what is left is dropped.

use expect_test::expect;
use wf_effects::{Ctx, Effects, Grant};
use wf_kernel::effect::{LeafRequest, Request, TreeUse};
use wf_kernel::{Effect, EffectId, Outcome, Phase, Usage};

use crate::setup::{Means, World, block, names, node, show, succeeded};

const FILES: [(&str, &str); 2] = [("src/a.txt", "one\n"), ("check.sh", "grep -q two src/a.txt && echo 1 passed\n")];

const RULES: &str = r#"
    [[rule]]
    match = { node = "b/fix", attempt = 1 }
    say = ["thinking"]
    text = "fixed"
    edits = [{ path = "src/a.txt", replace = { from = "one", to = "two" } }]
    [[rule]]
    match = { node = "b/fix", attempt = 2 }
    edits = [{ path = "docs/b.txt", write = "elsewhere" }]
    [[rule]]
    match = { node = "b/fix", attempt = 3 }
    edits = [{ path = "src/a.txt", append = "half" }, { path = "src/a.txt", replace = { from = "x", to = "" } }]
    [[rule]]
    match = { node = "b/review" }
    text = "looks fine"
"#;

async fn world() -> World {
    let children = vec![
        node("agent", "fix", r#"{"prompt":"fix it","writes":["src/**"]}"#, vec![]),
        node("test", "check", r#"{"argv":["sh","check.sh"],"expect":"[1-9] passed"}"#, vec![]),
        node("command", "dirty", r#"{"argv":["sh","-c","echo x > left; echo y >> src/a.txt"]}"#, vec![]),
        node("command", "make", r#"{"argv":["sh","-c","echo y >> src/a.txt"],"writes":["src/*"]}"#, vec![]),
        node("search", "find", r#"{"pattern":"two"}"#, vec![]),
        node("ask", "review", r#"{"prompt":"{{ tree.diff }}|{{ tree.files }}|{{ tree.commit|length }}"}"#, vec![]),
    ];
    let branch = node("branch", "b", r#"{}"#, children);
    let world = World::with_repository(Means { rules: RULES, files: &FILES, ..Means::default() }, vec![branch]).await;
    world.acquire().await;
    world
}

fn at(world: &World, path: &str, commit: &str) -> LeafRequest {
    let tree = TreeUse::Branch { branch: "b".into(), begin: commit.to_owned(), base: world.base.clone() };
    LeafRequest { tree, ..world.leaf(path, "{}") }
}

#[test]
fn a_branch_from_edit_to_release() {
    block(async {
        let world = world().await;
        let fix = world.perform(&world.in_branch("b/fix")).await;
        expect![[r#""fixed" for 8 µ$"#]].assert_eq(&show(&world, &fix).await);
        expect![[r#"
            {"stream":"say","text":"thinking"}
            {"stream":"edit","text":"replace src/a.txt"}"#]]
        .assert_eq(&world.trace("b/fix").await);
        let Outcome::Checkpointed(checkpoint) = world.checkpoint("b/fix").await else { panic!("no checkpoint") };
        expect![[
            r#"[FileChange { path: "src/a.txt", change: "modified", insertions: Some(1), deletions: Some(1) }] []"#
        ]]
        .assert_eq(&format!("{:?} {:?}", checkpoint.files, checkpoint.out_of_scope));
        let commit = checkpoint.commit.clone();

        let test = succeeded(world.perform(&at(&world, "b/check", &commit)).await);
        expect![[r#"{"exit_code":0,"passed":true,"stderr":"","stdout":"1 passed\n"}"#]]
            .assert_eq(&world.value(&test.value).await.to_json());
        // A test in a tree without the fix fails, and that is a success.
        let test = succeeded(world.perform(&world.in_branch("b/check")).await);
        expect![[r#"{"exit_code":1,"passed":false,"stderr":"","stdout":""}"#]]
            .assert_eq(&world.value(&test.value).await.to_json());

        let found = succeeded(world.perform(&at(&world, "b/find", &commit)).await);
        expect![[r#"{"count":2,"matches":[{"line":1,"path":"check.sh","text":"grep -q two src/a.txt && echo 1 passed"},{"line":1,"path":"src/a.txt","text":"two"}],"truncated":false}"#]].assert_eq(&world.value(&found.value).await.to_json());

        let review = LeafRequest {
            tree: TreeUse::Snapshot { commit: commit.clone(), base: world.base.clone() },
            ..world.leaf("b/review", "{}")
        };
        let prepared = world.prepare(&review).await.unwrap();
        expect![[r#"{"messages":[{"content":"diff --git a/src/a.txt b/src/a.txt\nindex 5626abf..f719efd 100644\n--- a/src/a.txt\n+++ b/src/a.txt\n@@ -1 +1 @@\n-one\n+two\n|[\"src/a.txt\"]|40","role":"user"}],"output":null}"#]].assert_eq(&world.value(&prepared.request).await.to_json());

        let request = Request::Harvest { branch: "b".into(), base: world.base.clone(), commit: commit.clone() };
        let Outcome::Checkpointed(harvest) = world.order(Phase::Harvest, request).await else { panic!("no harvest") };
        assert_eq!(
            (harvest.base, harvest.commit, harvest.files),
            (world.base.clone(), commit.clone(), checkpoint.files)
        );
        let request = Request::Release { branch: "b".into(), commit, failed: false };
        assert_eq!(world.order(Phase::Release, request).await, Outcome::Released { rescued: None });
        assert_eq!(std::fs::read_to_string(world.top().join("src/a.txt")).unwrap(), "one\n");
    });
}

#[test]
fn what_no_scope_covers_is_named() {
    block(async {
        let world = world().await;
        succeeded(world.perform(&LeafRequest { attempt: 2, ..world.in_branch("b/fix") }).await);
        let Outcome::Checkpointed(checkpoint) = world.checkpoint("b/fix").await else { panic!("no checkpoint") };
        assert_eq!(checkpoint.out_of_scope, ["docs/b.txt"]);
    });
}

#[test]
fn an_edit_that_does_not_apply_fails_and_its_half_is_rescued() {
    block(async {
        let world = world().await;
        let outcome = world.perform(&LeafRequest { attempt: 3, ..world.in_branch("b/fix") }).await;
        expect![[r#"edit: "src/a.txt": the text to be replaced is not there: "x" for 26 µ$"#]]
            .assert_eq(&show(&world, &outcome).await);
        let next = succeeded(world.perform(&world.in_branch("b/fix")).await);
        assert!(next.rescued.is_some_and(|reference| reference.starts_with("refs/whaleflow/r1/rescue/")));
    });
}

#[test]
fn a_command_without_writes_leaves_nothing() {
    block(async {
        let world = world().await;
        succeeded(world.perform(&world.in_branch("b/dirty")).await);
        let next = succeeded(world.perform(&world.in_branch("b/make")).await);
        assert_eq!(next.rescued, None);
        let Outcome::Checkpointed(checkpoint) = world.checkpoint("b/make").await else { panic!("no checkpoint") };
        let files: Vec<_> = checkpoint.files.iter().map(|file| (file.path.as_str(), file.insertions)).collect();
        assert_eq!((files, checkpoint.out_of_scope.len()), (vec![("src/a.txt", Some(1))], 0));
        assert_eq!(names(&world.top()), [".git", "README", "check.sh", "src"]);
    });
}

#[test]
fn an_unknown_commit_is_a_failure_of_git() {
    block(async {
        let world = world().await;
        let request = Request::Acquire { branch: "c".into(), base: "0".repeat(40) };
        let Outcome::Failed(failure) = world.order(Phase::Acquire, request).await else { panic!("it must fail") };
        assert_eq!(failure.code, "git");
    });
}

#[test]
fn whoever_has_lost_the_run_touches_no_tree_of_it() {
    block(async {
        let world = world().await;
        let lost = || Ctx { grant: Grant::new(|| Box::pin(async { false })), ..world.ctx() };
        let release = Request::Release { branch: "b".into(), commit: world.base.clone(), failed: false };
        let acquire = Request::Acquire { branch: "other".into(), base: world.base.clone() };
        for (phase, request) in [(Phase::Release, release), (Phase::Acquire, acquire)] {
            let id = EffectId { subject: "b".into(), generation: 1, phase };
            let outcome = world.effects.perform(Effect { id, request }, lost()).await;
            assert_eq!(outcome, Outcome::Cancelled { usage: Usage::default() });
        }
        // The tree is still there, and its owner goes on with it.
        let fix = world.perform(&world.in_branch("b/fix")).await;
        expect![[r#""fixed" for 8 µ$"#]].assert_eq(&show(&world, &fix).await);
    });
}
