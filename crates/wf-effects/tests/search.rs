//! Searching: what is searched, in which order, and what bounds it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

use std::fs;
use std::path::Path;

use expect_test::{Expect, expect};
use wf_effects::CancelToken;
use wf_effects::beneath::Root;
use wf_effects::search::{Search, SearchError, search};
use wf_ir::{Glob, Value};

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn find(root: &Path, pattern: &str, reads: &[&str], matches_max: u32) -> Result<Value, SearchError> {
    let reads: Vec<_> = reads.iter().map(|glob| Glob::parse(glob).unwrap()).collect();
    let root = Root::open(root).unwrap();
    search(&Search { root: &root, pattern, reads: &reads, matches_max }, &CancelToken::default())
}

fn show(value: &Value) -> String {
    let mut text = String::new();
    for found in value.get("matches").as_list().unwrap() {
        let (path, line) = (found.get("path").as_str().unwrap(), found.get("line").as_int().unwrap());
        text += &format!("{path}:{line}: {}\n", found.get("text").as_str().unwrap());
    }
    text + &format!("{} truncated={}", value.get("count").as_int().unwrap(), value.get("truncated").as_bool().unwrap())
}

fn check(files: &[(&str, &str)], pattern: &str, reads: &[&str], matches_max: u32, expect: Expect) {
    let dir = tree(files);
    match find(dir.path(), pattern, reads, matches_max) {
        Ok(value) => expect.assert_eq(&show(&value)),
        Err(error) => expect.assert_eq(&error.to_string()),
    }
}

#[test]
fn matches_come_in_the_order_of_paths() {
    check(
        &[("b.rs", "one\ntodo two\n"), ("a/z.rs", "todo\r\n"), ("a/b/c.rs", "x todo"), ("a.rs", "TODO")],
        "todo",
        &[],
        10,
        expect![[r#"
            a/b/c.rs:1: x todo
            a/z.rs:1: todo
            b.rs:2: todo two
            3 truncated=false"#]],
    );
}

#[test]
fn anchors_stand_for_the_ends_of_a_line() {
    check(
        &[("a", "one\ntwo\n")],
        "^two$",
        &[],
        10,
        expect![[r#"
        a:2: two
        1 truncated=false"#]],
    );
}

#[test]
fn what_git_ignores_is_left_out_and_hidden_files_are_not() {
    check(
        &[
            (".gitignore", "target/\n*.log\n!keep.log\n"),
            ("target/x", "hit"),
            ("a.log", "hit"),
            ("keep.log", "hit"),
            (".hidden", "hit"),
            (".git/config", "hit"),
            ("sub/.git", "hit"),
            ("sub/.gitignore", "secret\n"),
            ("sub/secret", "hit"),
            (".ignore", "*\nhit"),
        ],
        "hit",
        &[],
        10,
        expect![[r#"
            .hidden:1: hit
            .ignore:2: hit
            keep.log:1: hit
            3 truncated=false"#]],
    );
}

#[test]
fn ignore_rules_above_the_tree_do_not_count() {
    let dir = tree(&[(".gitignore", "*\n"), ("tree/a", "hit\n")]);
    expect![[r#"
        a:1: hit
        1 truncated=false"#]]
    .assert_eq(&show(&find(&dir.path().join("tree"), "hit", &[], 10).unwrap()));
}

#[test]
fn a_gitignore_that_is_no_file_of_the_tree_says_nothing() {
    let dir = tree(&[("outside", "*\n"), ("tree/a/x", "hit\n"), ("tree/b/x", "hit\n"), ("tree/c/x", "hit\n")]);
    let root = dir.path().join("tree");
    // Read like a file, the first would be endless, and the second would never begin.
    std::os::unix::fs::symlink("/dev/zero", root.join(".gitignore")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("a/.gitignore"), rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    std::os::unix::fs::symlink("../../outside", root.join("b/.gitignore")).unwrap();
    fs::write(root.join("c/.gitignore"), format!("x\n{}", "y\n".repeat(200_000))).unwrap();
    expect![[r#"
        a/x:1: hit
        b/x:1: hit
        c/x:1: hit
        3 truncated=false"#]]
    .assert_eq(&show(&find(&root, "hit", &[], 10).unwrap()));
}

#[test]
fn the_nearest_gitignore_counts() {
    check(
        &[
            (".gitignore", "\u{feff}*.log\n/only\nbuild/\n"),
            ("x.log", "hit"),
            ("only", "hit"),
            ("sub/only", "hit"),
            ("sub/.gitignore", "!x.log\n*.tmp\n[\n"),
            ("sub/x.log", "hit"),
            ("sub/deep/x.log", "hit"),
            ("sub/deep/x.tmp", "hit"),
            ("other/x.tmp", "hit"),
            ("sub/build/x", "hit"),
            ("sub/x/build", "hit"),
        ],
        "hit",
        &[],
        10,
        expect![[r#"
            other/x.tmp:1: hit
            sub/deep/x.log:1: hit
            sub/only:1: hit
            sub/x/build:1: hit
            sub/x.log:1: hit
            5 truncated=false"#]],
    );
}

#[test]
fn binary_files_and_files_that_are_none_are_passed_over() {
    let dir = tree(&[("bin", "hit\n\0"), ("text", "hit\n"), ("outside/x", "hit\n"), ("tree/y", "hit\n")]);
    let root = dir.path().join("tree");
    std::os::unix::fs::symlink("../outside", root.join("link")).unwrap();
    std::os::unix::fs::symlink("../text", root.join("file_link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    fs::File::create(root.join("huge")).unwrap().set_len((8 << 20) + 1).unwrap();
    expect![[r#"
        y:1: hit
        1 truncated=false"#]]
    .assert_eq(&show(&find(&root, "hit", &[], 10).unwrap()));
    expect![[r#"
        outside/x:1: hit
        text:1: hit
        tree/y:1: hit
        3 truncated=false"#]]
    .assert_eq(&show(&find(dir.path(), "hit", &[], 10).unwrap()));
}

#[test]
fn a_binary_file_late_found_out_leaves_nothing() {
    let late = "hit\n".repeat(50_000) + "\0";
    check(
        &[("bin", &late), ("text", "hit\n")],
        "hit",
        &[],
        3,
        expect![[r#"
        text:1: hit
        1 truncated=false"#]],
    );
}

#[test]
fn results_are_bounded() {
    check(
        &[("a", "hit\nhit\nhit\n"), ("b", "hit\n")],
        "hit",
        &[],
        2,
        expect![[r#"
        a:1: hit
        a:2: hit
        2 truncated=true"#]],
    );
    check(
        &[("a", "hit\nhit\n")],
        "hit",
        &[],
        2,
        expect![[r#"
        a:1: hit
        a:2: hit
        2 truncated=false"#]],
    );
    let long = "ä".repeat(500);
    let dir = tree(&[("a", &long)]);
    let value = find(dir.path(), "ä", &[], 10).unwrap();
    let text = value.get("matches").as_list().unwrap()[0].get("text").as_str().unwrap().to_owned();
    assert_eq!(text, "ä".repeat(400) + "…");
    let dir = tree(&[("a", &("x".repeat(390) + "\n").repeat(10_000))]);
    let value = find(dir.path(), "x", &[], 20_000).unwrap();
    assert!(value.to_json().len() <= 1 << 20, "{}", value.to_json().len());
    assert_eq!(value.get("truncated").as_bool(), Some(true));
}

#[test]
fn bad_patterns_have_a_type() {
    check(&[], "(", &[], 10, expect!["no regular expression: unclosed group"]);
    check(
        &[],
        "((a{1000}){1000}){1000}",
        &[],
        10,
        expect!["no regular expression: compiled regex exceeds size limit of 4194304"],
    );
    check(&[], &"x".repeat(5000), &[], 10, expect!["the pattern has 5000 bytes, at most 4096 are allowed"]);
    check(&[], "a\nb", &[], 10, expect![[r#"no regular expression: the literal "\n" is not allowed in a regex"#]]);
}

#[test]
fn a_search_can_be_cancelled() {
    let dir = tree(&[("a", "hit\n")]);
    let cancel = CancelToken::default();
    cancel.cancel();
    let root = Root::open(dir.path()).unwrap();
    let request = Search { root: &root, pattern: "hit", reads: &[], matches_max: 10 };
    assert_eq!(search(&request, &cancel), Err(SearchError::Cancelled));
}
