//! The same paths, given to the tools of an agent as its model calls them, and more that stay inside and lead to what the
//! agent may not read or write there.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use expect_test::{Expect, expect};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, renameat_with};
use wf_effects::CancelToken;
use wf_effects::agent::files::Tree;
use wf_effects::agent::output::Outputs;
use wf_effects::agent::tools::Tools;
use wf_ir::{Glob, Value};
use wf_store::Store;

use crate::paths::{RACE_LONG, RACE_SHORT, Stopping, outside, paths, plant};
use crate::setup::{block, is_long};

/// Files of the tree that a narrow scope keeps from the agent, and those of git, which nobody reads or writes.
const INSIDE: [(&str, &str); 5] = [
    ("private/key", "PRIVATE"),
    ("private/deep/key", "PRIVATE"),
    ("srcs/key", "PRIVATE"),
    (".git/config", "CONTROL"),
    (".git/hooks/post-checkout", "CONTROL"),
];

/// Links within the tree from where the agent may read to where it may not.
const INNER_LINKS: [(&str, &str); 12] = [
    ("src/in_file", "../private/key"),
    ("src/in_dir", "../private"),
    ("src/in_top", ".."),
    ("src/in_git", "../.git"),
    ("src/in_config", "../.git/config"),
    ("src/in_new", "../private/new"),
    ("src/in_chain", "in_dir/deep/.././key"),
    ("src/in_twice", "in_chain"),
    ("src/in_round", "../private/../src/../private/key"),
    ("src/deep/in_up", "../../private/deep"),
    ("src/in_hook", "./../.git/hooks/post-checkout"),
    ("src/in_case", "../.GIT/config"),
];

/// Paths that stay inside.
const INNER_PATHS: [&str; 25] = [
    "private/key",
    "private//key",
    "./private/key",
    "src/../private/key",
    "srcs/key",
    "src//../private/key",
    "src/./in_file",
    "src/in_file",
    "src/in_dir/key",
    "src/in_dir/deep/key",
    "src/in_dir/new",
    "src/in_top/private/key",
    "src/in_top/.git/config",
    "src/in_top/src/in_top/private/key",
    "src/in_git",
    "src/in_git/config",
    "src/in_git/hooks/post-checkout",
    "src/in_git/new",
    "src/in_config",
    "src/in_new",
    "src/in_chain",
    "src/in_twice",
    "src/in_round",
    "src/deep/in_up/key",
    "src/in_hook",
];

/// What is in the tree and no ordinary file, with a link to each.
const ODD_PATHS: [&str; 9] = [
    "src/pipe",
    "src/sock",
    "src/to_pipe",
    "src/to_sock",
    "src/zero",
    "src/tty",
    "src/hard",
    "src/loop",
    "src/in_case",
];

fn plant_more(at: &Path) {
    let tree = at.join("tree");
    for (path, text) in INSIDE {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    for (link, target) in INNER_LINKS {
        symlink(target, tree.join(link)).unwrap();
    }
    rustix::fs::mknodat(CWD, tree.join("src/pipe"), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    rustix::fs::mknodat(CWD, tree.join("src/sock"), FileType::Socket, Mode::from_raw_mode(0o644), 0).unwrap();
    let links =
        [("to_pipe", "pipe"), ("to_sock", "./sock"), ("zero", "/dev/zero"), ("tty", "/dev/tty"), ("loop", "loop")];
    for (link, target) in links {
        symlink(target, tree.join("src").join(link)).unwrap();
    }
    std::fs::hard_link(at.join("out/file"), tree.join("src/hard")).unwrap();
}

/// The files that are not the agent's, with their content.
fn kept(at: &Path, scope: Scope) -> BTreeMap<String, String> {
    let mut found = outside(at);
    let is_kept = |path: &str| path.starts_with(".git/") || scope == Scope::Narrow;
    for (path, _) in INSIDE.into_iter().filter(|(path, _)| is_kept(path)) {
        let text = std::fs::read_to_string(at.join("tree").join(path)).unwrap_or_else(|error| error.to_string());
        found.insert(format!("tree/{path}"), text);
    }
    for dir in ["private", ".git", ".git/hooks"] {
        let count = std::fs::read_dir(at.join("tree").join(dir)).unwrap().count();
        if is_kept(&format!("{dir}/")) {
            found.insert(format!("tree/{dir}/"), count.to_string());
        }
    }
    found
}

/// What an agent may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All of the tree.
    Open,
    /// What is in `src`.
    Narrow,
}

impl Scope {
    fn tools(self, tree: &Path) -> Tools {
        let globs = |globs: &[&str]| globs.iter().map(|glob| Glob::parse(glob).unwrap()).collect::<Vec<_>>();
        let (reads, writes) = match self {
            Self::Open => (globs(&[]), globs(&["**"])),
            Self::Narrow => (globs(&["src/**"]), globs(&["src/**"])),
        };
        Tools {
            tree: Some(Tree::open(tree.to_owned(), reads, writes).unwrap()),
            shell: Err("there is none".to_owned()),
            allowed: None,
            outputs: Outputs::new(Arc::clone(&Store::memory().blobs)),
        }
    }

    /// What nobody is shown.
    fn secrets(self) -> &'static [&'static str] {
        match self {
            Self::Open => &["SECRET", "CONTROL", "inner", "passwd", "post-checkout", ".git/config"],
            Self::Narrow => &["SECRET", "CONTROL", "PRIVATE", "inner", "passwd", "post-checkout", ".git/config"],
        }
    }
}

/// What a model says for a path, tool by tool.
fn calls(path: &str) -> [(&'static str, Value); 5] {
    let text = Value::from;
    [
        ("read", Value::map([("path", text(path))])),
        ("glob", Value::map([("pattern", text(path))])),
        ("grep", Value::map([("pattern", text("SECRET|CONTROL|PRIVATE")), ("within", text(path))])),
        ("write", Value::map([("path", text(path)), ("content", text("WRITTEN"))])),
        (
            "edit",
            Value::map([("path", text(path)), ("old", text("R")), ("new", text("WRITTEN")), ("all", true.into())]),
        ),
    ]
}

async fn call(tools: &mut Tools, name: &str, arguments: &Value) -> (String, bool) {
    let shown = tools.call(name, arguments, &CancelToken::default(), &|_, _| {}).await;
    (shown.text, shown.is_error)
}

/// What a model was told, without the path that it gave and without what may differ.
fn end(path: &str, shown: &str, is_error: bool) -> String {
    if !is_error {
        return if shown.starts_with('[') { shown.trim_end().to_owned() } else { "done".to_owned() };
    }
    let reason = shown.strip_prefix("error: ").unwrap();
    // One is taken away before anybody looks.
    let path = path.strip_prefix("./").unwrap_or(path);
    let reason = reason.strip_prefix(path).and_then(|reason| reason.strip_prefix(": ")).unwrap_or(reason);
    match reason.split_once("what it leads to is ") {
        Some((reason, _)) => format!("{reason}…"),
        None if reason.contains("is no glob") => "no glob".to_owned(),
        None => reason.to_owned(),
    }
}

/// Gives each path to each tool, in a tree that is new for each path.
fn check(scope: Scope, paths: &[String], expect: Expect) {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path().canonicalize().unwrap();
    let mut ends = BTreeMap::<String, u32>::new();
    let mut tried = 0;
    for path in paths {
        let here = at.join("here");
        std::fs::create_dir(&here).unwrap();
        plant(&here);
        plant_more(&here);
        let path = path.replace('@', here.to_str().unwrap());
        let before = kept(&here, scope);
        let mut tools = scope.tools(&here.join("tree"));
        for (name, arguments) in calls(&path) {
            let (shown, is_error) = block(call(&mut tools, name, &arguments));
            assert_eq!(kept(&here, scope), before, "{name} {path:?}");
            // What was asked for is no secret.
            let said = shown.replace(&path, "");
            for secret in scope.secrets() {
                assert!(!said.contains(secret), "{name} {path:?}: {shown}");
            }
            *ends.entry(format!("{name}: {}", end(&path, &shown, is_error))).or_default() += 1;
            tried += 1;
        }
        std::fs::remove_dir_all(&here).unwrap();
    }
    assert_eq!(tried, paths.len() * 5);
    let ends: String = ends.iter().map(|(end, count)| format!("{end} ({count})\n")).collect();
    expect.assert_eq(&format!("{} paths, {tried} calls\n{ends}", paths.len()));
}

/// Paths that lead out; `@` is where the tree lies.
fn outer() -> Vec<String> {
    let all: Vec<String> = paths(Path::new("@")).into_iter().collect();
    assert!(all.len() >= 300, "{}", all.len());
    all
}

fn inner() -> Vec<String> {
    INNER_PATHS.iter().chain(&ODD_PATHS).map(|path| (*path).to_owned()).collect()
}

#[test]
fn no_tool_leads_out_of_a_tree() {
    check(
        Scope::Open,
        &outer(),
        expect![[r#"
            336 paths, 1680 calls
            edit: it has several names (hard links) (2)
            edit: it is outside of what may be written here: ** (2)
            edit: it leads out of the tree, or through a link that is not followed (146)
            edit: the path holds a NUL character (15)
            edit: the path is too long (1)
            edit: the path must be relative to the tree (33)
            edit: the path must not go up (`..`) (132)
            edit: the path names git's own files (5)
            glob: [no file matches] (115)
            glob: done (1)
            glob: no glob (220)
            grep: [no line matches] (116)
            grep: no glob (220)
            read: it has several names (hard links) (2)
            read: it is a directory (2)
            read: it leads out of the tree, or through a link that is not followed (146)
            read: the path holds a NUL character (15)
            read: the path is too long (1)
            read: the path must be relative to the tree (33)
            read: the path must not go up (`..`) (132)
            read: the path names git's own files (5)
            write: it has several names (hard links) (2)
            write: it is outside of what may be written here: ** (2)
            write: it leads out of the tree, or through a link that is not followed (146)
            write: the path holds a NUL character (15)
            write: the path is too long (1)
            write: the path must be relative to the tree (33)
            write: the path must not go up (`..`) (132)
            write: the path names git's own files (5)
        "#]],
    );
}

#[test]
fn no_tool_leads_to_what_is_not_for_the_agent() {
    check(
        Scope::Narrow,
        &inner(),
        expect![[r#"
            34 paths, 170 calls
            edit: it has several names (hard links) (1)
            edit: it is a link, which is not written through (12)
            edit: it is a link, which is not written through; … (2)
            edit: it is a pipe (1)
            edit: it is a socket (1)
            edit: it is outside of what may be written here: src/** (4)
            edit: it leads out of the tree, or through a link that is not followed (3)
            edit: the path must not go up (`..`) (2)
            edit: the path names git's own files (8)
            glob: [no file matches] (28)
            glob: done (1)
            glob: no glob (5)
            grep: [no line matches] (29)
            grep: no glob (5)
            read: it has several names (hard links) (1)
            read: it is a link to what is outside of what may be read here (12)
            read: it is a pipe (2)
            read: it is a socket (2)
            read: it is outside of what may be read here (4)
            read: it leads out of the tree, or through a link that is not followed (3)
            read: the path must not go up (`..`) (2)
            read: the path names git's own files (8)
            write: it has several names (hard links) (1)
            write: it is a link, which is not written through (12)
            write: it is a link, which is not written through; … (2)
            write: it is a pipe (1)
            write: it is a socket (1)
            write: it is outside of what may be written here: src/** (4)
            write: it leads out of the tree, or through a link that is not followed (3)
            write: the path must not go up (`..`) (2)
            write: the path names git's own files (8)
        "#]],
    );
}

#[test]
fn no_tool_leads_from_a_narrow_scope_out_of_the_tree() {
    check(
        Scope::Narrow,
        &outer(),
        expect![[r#"
            336 paths, 1680 calls
            edit: it is outside of what may be written here: src/** (134)
            edit: it leads out of the tree, or through a link that is not followed (16)
            edit: the path holds a NUL character (15)
            edit: the path is too long (1)
            edit: the path must be relative to the tree (33)
            edit: the path must not go up (`..`) (132)
            edit: the path names git's own files (5)
            glob: [no file matches] (116)
            glob: no glob (220)
            grep: [no line matches] (116)
            grep: no glob (220)
            read: it is outside of what may be read here (134)
            read: it leads out of the tree, or through a link that is not followed (16)
            read: the path holds a NUL character (15)
            read: the path is too long (1)
            read: the path must be relative to the tree (33)
            read: the path must not go up (`..`) (132)
            read: the path names git's own files (5)
            write: it is outside of what may be written here: src/** (134)
            write: it leads out of the tree, or through a link that is not followed (16)
            write: the path holds a NUL character (15)
            write: the path is too long (1)
            write: the path must be relative to the tree (33)
            write: the path must not go up (`..`) (132)
            write: the path names git's own files (5)
        "#]],
    );
}

#[test]
fn whoever_may_read_everything_follows_links_but_not_to_git() {
    check(
        Scope::Open,
        &inner(),
        expect![[r#"
        34 paths, 170 calls
        edit: done (4)
        edit: it has several names (hard links) (1)
        edit: it is a link, which is not written through; … (14)
        edit: it is a pipe (1)
        edit: it is a socket (1)
        edit: it leads out of the tree, or through a link that is not followed (3)
        edit: the path must not go up (`..`) (2)
        edit: the path names git's own files (8)
        glob: [no file matches] (26)
        glob: done (3)
        glob: no glob (5)
        grep: [no line matches] (27)
        grep: done (2)
        grep: no glob (5)
        read: done (14)
        read: it has several names (hard links) (1)
        read: it is a pipe (2)
        read: it is a socket (2)
        read: it leads out of the tree, or through a link that is not followed (3)
        read: the path must not go up (`..`) (2)
        read: the path names git's own files (8)
        read: there is no such file (2)
        write: done (4)
        write: it has several names (hard links) (1)
        write: it is a link, which is not written through; … (14)
        write: it is a pipe (1)
        write: it is a socket (1)
        write: it leads out of the tree, or through a link that is not followed (3)
        write: the path must not go up (`..`) (2)
        write: the path names git's own files (8)
    "#]],
    );
}

#[test]
fn a_device_in_the_tree_is_not_opened() {
    let temp = tempfile::tempdir().unwrap();
    let device = rustix::fs::makedev(1, 5);
    let made = rustix::fs::mknodat(
        CWD,
        temp.path().join("zero"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o644),
        device,
    );
    if made.is_err() {
        println!("SKIPPED 1 test of paths: devices cannot be made here");
        return;
    }
    let mut tools = Scope::Open.tools(temp.path());
    let told =
        calls("zero").map(|(name, arguments)| format!("{name}: {}", block(call(&mut tools, name, &arguments)).0));
    expect![[r#"
        read: error: zero: it is a device
        glob: [no file matches]
        grep: [no line matches]
        write: error: zero: it is a device
        edit: error: zero: it is a device"#]]
    .assert_eq(&told.join("\n"));
}

/// A scope is compared with the path that the kernel resolves, and not with how it was written.
#[test]
fn a_glob_cannot_be_passed_by_how_a_path_is_written() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(temp.path().join("src/sub")).unwrap();
    std::fs::write(temp.path().join("src/top"), "SECRET").unwrap();
    let globs = |glob: &str| vec![Glob::parse(glob).unwrap()];
    let mut tree = Tree::open(temp.path().to_owned(), globs("src/*/*"), globs("src/*/*")).unwrap();
    for path in ["src/top", "src//top", "src/./top", "./src//top", "src///top", ".//src/./top"] {
        let told = [tree.text(path), tree.write(path, "x"), tree.edit(path, "SECRET", "x", true)];
        assert!(
            told.iter().all(|told| told.as_ref().is_err_and(|it| it.contains("outside of what may be"))),
            "{told:?}"
        );
    }
    assert_eq!(tree.write("src//sub/./new", "x").unwrap(), "src//sub/./new: made, 1 bytes");
}

#[test]
fn a_name_that_changes_all_the_time_leads_no_tool_elsewhere() {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path().canonicalize().unwrap();
    let tree = at.join("tree");
    for (path, text) in [("out/file", "SECRET"), ("out/inner", "SECRET"), ("tree/d/file", "INSIDE")] {
        let path = at.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    symlink(at.join("out"), tree.join("e")).unwrap();
    let before = outside(&at);
    let stop = AtomicBool::new(false);
    // Also when this thread panics.
    let stopping = Stopping(&stop);
    let rounds = if is_long() { RACE_LONG } else { RACE_SHORT };
    let (mut done, mut refused) = (BTreeMap::<&str, u32>::new(), BTreeMap::<&str, u32>::new());
    std::thread::scope(|scope| {
        let stopping = stopping;
        let (one, other) = (tree.join("d"), tree.join("e"));
        let stop = &stop;
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let word = |text: &str| Value::from(text);
        let path = ("path", word("d/file"));
        let calls = [
            ("read", Value::map([path.clone()])),
            ("write", Value::map([path.clone(), ("content", word("INSIDE"))])),
            ("edit", Value::map([path, ("old", word("INSIDE")), ("new", word("INSIDE"))])),
            ("glob", Value::map([("pattern", word("**"))])),
            ("grep", Value::map([("pattern", word("SECRET|INSIDE"))])),
        ];
        let mut tools = Scope::Open.tools(&tree);
        block(async {
            for round in 0..rounds {
                let (name, arguments) = &calls[round as usize % calls.len()];
                let (shown, is_error) = call(&mut tools, name, arguments).await;
                assert!(!shown.contains("SECRET") && !shown.contains("inner"), "{name}: {shown}");
                let is_done = !is_error && !shown.starts_with("[no ");
                *if is_done { &mut done } else { &mut refused }.entry(*name).or_default() += 1;
            }
        });
        drop(stopping);
    });
    println!("{rounds} rounds: done {done:?}, refused {refused:?}");
    assert_eq!(outside(&at), before);
    assert!(done.len() == 5 && refused.len() >= 4, "the race was none: {done:?} {refused:?}");
}
