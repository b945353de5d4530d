//! Models that call what is not there, with what does not fit, to get where they must not.

use std::os::unix::fs::symlink;

use expect_test::expect;
use wf_effects::agent::files::Tree;
use wf_ir::Glob;

use crate::support::{Case, call, calls, run};

#[tokio::test]
async fn calls_that_fit_nothing_are_answered() {
    let turns = vec![calls(&[
        ("launch_rockets", "{}"),
        ("read", "{oops"),
        ("read", r#"{"path":7}"#),
        ("read", r#"{"path":"a","mode":"x"}"#),
        ("edit", r#"{"path":"a"}"#),
        ("glob", r#"{"pattern":"[["}"#),
        ("grep", r#"{"pattern":"("}"#),
        ("read", r#"{"path":"missing"}"#),
        ("read", r#"{"path":"output:9"}"#),
        ("hand_back", "{}"),
    ])];
    expect![[r#"
        error: there is no tool "launch_rockets" here; there are: read, write, edit, glob, grep, hand_back
        error: the arguments are not a JSON object
        error: the arguments do not fit: at /path: 7 is not of type "string"
        error: the arguments do not fit: Additional properties are not allowed ('mode' was unexpected)
        error: the arguments do not fit: "old" is a required property; "new" is a required property
        error: "[[" is no glob: a `[` without its `]` in glob "[["
        error: no regular expression: unclosed group
        error: missing: there is no such file
        error: there is no output "output:9"
        error: it cannot be taken: `result` is missing
        done in 2 turns: "done"
    "#]]
    .assert_eq(&run(Case { turns, ..Case::default() }).await.shown);
}

#[tokio::test]
async fn no_path_leads_out_of_the_tree() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "canary").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    symlink(&secret, dir.path().join("link")).unwrap();
    symlink(outside.path(), dir.path().join("dir")).unwrap();
    symlink("..", dir.path().join("up")).unwrap();
    std::fs::hard_link(&secret, dir.path().join("hard")).unwrap();
    std::fs::create_dir(dir.path().join(".git")).unwrap();
    std::fs::write(dir.path().join(".git/config"), "canary").unwrap();
    let absolute = secret.display().to_string();
    let up = format!("../{}/secret", outside.path().file_name().unwrap().to_string_lossy());
    let paths = [
        "link",
        "dir/secret",
        "up/x",
        "hard",
        ".git/config",
        ".GIT/config",
        "./.git/config",
        "a/../../x",
        "",
        "/",
        ".",
        "..",
        "x\0y",
        "dir",
        "/proc/self/environ",
        &absolute,
        &up,
        &"a/".repeat(3_000),
    ];
    let everything = || vec![Glob::parse("**").unwrap()];
    for path in paths {
        let mut tree = Tree::open(dir.path().to_owned(), Vec::new(), everything()).unwrap();
        for came in [
            tree.text(path),
            tree.lines(path, 1, 10),
            tree.write(path, "overwritten"),
            tree.edit(path, "canary", "overwritten", true),
        ] {
            assert!(came.is_err(), "{path:?}: {came:?}");
        }
    }
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "canary");
    assert_eq!(std::fs::read_to_string(dir.path().join(".git/config")).unwrap(), "canary");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_is_no_text_is_said_to_be_none() {
    let files: &[(&str, &str)] = &[("binary", "a\0b"), ("long", "x")];
    let turns = vec![call("read", r#"{"path":"binary"}"#), call("read", r#"{"path":"long","offset":9}"#)];
    expect![[r#"
        error: binary: it is no text, but 3 bytes of something else
        error: long: it has 1 lines
        done in 3 turns: "done"
    "#]]
    .assert_eq(&run(Case { turns, files, ..Case::default() }).await.shown);
}
