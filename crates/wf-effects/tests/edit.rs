//! Edits stay within their tree.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use expect_test::{Expect, expect};
use wf_effects::mock::{Change, Edit, FILE_BYTES_MAX, apply};

/// A tree beside a file that nothing may touch.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    fs::create_dir_all(root.join("src")).unwrap();
    fs::create_dir_all(root.join(".git")).unwrap();
    fs::write(dir.path().join("outside"), "precious").unwrap();
    fs::write(root.join("src/a.rs"), "one two two\n").unwrap();
    fs::write(root.join(".git/config"), "precious").unwrap();
    fs::write(root.join("binary"), b"\xff\xfe").unwrap();
    symlink("../outside", root.join("link")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink("src", root.join("sources")).unwrap();
    fs::hard_link(dir.path().join("outside"), root.join("hard")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    dir
}

fn edit(path: &str, change: Change) -> Edit {
    Edit { path: path.to_owned(), change }
}

fn write(path: &str) -> Edit {
    edit(path, Change::Write("new".to_owned()))
}

fn replace(path: &str, from: &str, to: &str) -> Edit {
    edit(path, Change::Replace { from: from.to_owned(), to: to.to_owned() })
}

fn make(root: &Path, edits: &[Edit]) -> String {
    match apply(&root.join("tree"), edits) {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Checks that an edit is refused and changed nothing.
fn check_refused(edit: Edit, expect: Expect) {
    let dir = tree();
    expect.assert_eq(&make(dir.path(), &[edit]));
    assert_eq!(fs::read_to_string(dir.path().join("outside")).unwrap(), "precious");
    assert_eq!(fs::read_to_string(dir.path().join("tree/.git/config")).unwrap(), "precious");
    assert_eq!(fs::read_to_string(dir.path().join("tree/src/a.rs")).unwrap(), "one two two\n");
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn files_are_written_appended_replaced_and_deleted() {
    let dir = tree();
    let edits = [
        write("new/deep/file"),
        edit("new/deep/file", Change::Append(" text".to_owned())),
        edit("fresh", Change::Append("text".to_owned())),
        replace("src/a.rs", "one", "three longer"),
        replace("src/a.rs", "longer two two", ""),
        edit("binary", Change::Delete),
    ];
    assert_eq!(make(dir.path(), &edits), "ok");
    let read = |path: &str| fs::read_to_string(dir.path().join("tree").join(path)).unwrap();
    assert_eq!(
        (read("new/deep/file"), read("fresh"), read("src/a.rs")),
        ("new text".into(), "text".into(), "three \n".into())
    );
    assert!(!dir.path().join("tree/binary").exists());
}

#[test]
fn what_does_not_apply_is_refused() {
    check_refused(
        replace("src/a.rs", "four", ""),
        expect![[r#""src/a.rs": the text to be replaced is not there: "four""#]],
    );
    check_refused(
        replace("src/a.rs", "two", ""),
        expect![[r#""src/a.rs": the text to be replaced is there more than once: "two""#]],
    );
    check_refused(replace("src/b.rs", "two", ""), expect![[r#""src/b.rs": there is no such file"#]]);
    check_refused(
        replace("binary", "two", ""),
        expect![[r#""binary": it cannot be read as text: stream did not contain valid UTF-8"#]],
    );
    check_refused(edit("src/b.rs", Change::Delete), expect![[r#""src/b.rs": there is no such file"#]]);
    check_refused(edit("lib/b.rs", Change::Delete), expect![[r#""lib/b.rs": there is no directory "lib""#]]);
    check_refused(write("src"), expect![[r#""src": it is a directory"#]]);
    check_refused(write("src/a.rs/b"), expect![[r#""src/a.rs/b": "a.rs" is not a directory of the tree"#]]);
    check_refused(edit("src", Change::Delete), expect![[r#""src": it is a directory"#]]);
}

#[test]
fn nothing_leaves_the_tree() {
    check_refused(write("../outside"), expect![[r#""../outside": the path must stay within the tree"#]]);
    check_refused(write("src/../../outside"), expect![[r#""src/../../outside": the path must stay within the tree"#]]);
    check_refused(write("/tmp/outside"), expect![[r#""/tmp/outside": the path must be relative to the tree"#]]);
    check_refused(write("link"), expect![[r#""link": it is a symlink"#]]);
    check_refused(edit("link", Change::Delete), expect![[r#""link": it is a symlink"#]]);
    check_refused(write("up/outside"), expect![[r#""up/outside": "up" is not a directory of the tree"#]]);
    check_refused(write("up/new/file"), expect![[r#""up/new/file": "up" is not a directory of the tree"#]]);
    check_refused(write("sources/a.rs"), expect![[r#""sources/a.rs": "sources" is not a directory of the tree"#]]);
    check_refused(write("hard"), expect![[r#""hard": it has another name, which may be outside of the tree"#]]);
    check_refused(
        edit("hard", Change::Append("x".to_owned())),
        expect![[r#""hard": it has another name, which may be outside of the tree"#]],
    );
    check_refused(write("fifo"), expect![[r#""fifo": it is not a regular file"#]]);
    check_refused(write(".git/config"), expect![[r#"".git/config": `.git` is not part of the tree"#]]);
    check_refused(write("src/.Git/config"), expect![[r#""src/.Git/config": `.git` is not part of the tree"#]]);
    check_refused(write("a\0b"), expect![[r#""a\0b": the path holds a character that is not allowed"#]]);
    check_refused(write("./src/a.rs"), expect![[r#""./src/a.rs": the path must be in its shortest form"#]]);
    check_refused(write(""), expect![[r#""": the path is empty"#]]);
    check_refused(
        write(&"x/".repeat(1000)),
        expect![[r#""x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/x/": the path is too long"#]],
    );
    check_refused(
        write(&"x".repeat(300)),
        expect![[
            r#""xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": File name too long (os error 36)"#
        ]],
    );
}

#[test]
fn large_files_are_refused() {
    let dir = tree();
    fs::File::create(dir.path().join("tree/huge")).unwrap().set_len(FILE_BYTES_MAX).unwrap();
    expect![[r#""huge": it has or would have 8388609 bytes, at most 8388608 are allowed"#]]
        .assert_eq(&make(dir.path(), &[edit("huge", Change::Append("x".to_owned()))]));
    fs::File::create(dir.path().join("tree/huge")).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
    expect![[r#""huge": it has or would have 8388609 bytes, at most 8388608 are allowed"#]]
        .assert_eq(&make(dir.path(), &[replace("huge", "x", "y")]));
}

#[test]
fn the_first_edit_that_fails_ends_it() {
    let dir = tree();
    let edits = [write("first"), write("../second"), write("third")];
    expect![[r#""../second": the path must stay within the tree"#]].assert_eq(&make(dir.path(), &edits));
    assert!(dir.path().join("tree/first").exists() && !dir.path().join("tree/third").exists());
}
