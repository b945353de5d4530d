//! Paths that would lead out of a tree, given to what reads and writes files for agents.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use expect_test::expect;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use wf_effects::beneath::{BeneathError, Root};

use crate::setup::is_long;

/// Iterations of the race.
pub(crate) const RACE_LONG: u32 = 1_000_000;
pub(crate) const RACE_SHORT: u32 = 5_000;

/// What lies outside, by name and content.
const OUTSIDE: [(&str, &str); 4] =
    [("out/file", "SECRET"), ("out/dir/inner", "SECRET"), ("secret", "SECRET"), ("out/sub/deep/x", "SECRET")];

/// Links that are planted in the tree, and what they say. `@` is where the tree lies.
const LINKS: [(&str, &str); 18] = [
    ("abs", "@/out"),
    ("rel", "../out"),
    ("up", ".."),
    ("root", "/"),
    ("file", "@/out/file"),
    ("relfile", "../out/file"),
    ("src/up2", "../../out"),
    ("src/abs", "@/out"),
    ("chain1", "chain2"),
    ("chain2", "chain3/.."),
    ("chain3", "@/out/dir"),
    ("loop1", "loop2"),
    ("loop2", "loop1"),
    ("proc", "/proc/self/root"),
    ("cwd", "/proc/self/cwd"),
    ("fd", "/proc/self/fd"),
    ("dangling", "@/out/new"),
    ("long", "./././src/../../out"),
];

pub(crate) fn plant(at: &Path) {
    let tree = at.join("tree");
    std::fs::create_dir_all(tree.join("src/deep/er")).unwrap();
    std::fs::write(tree.join("src/a.rs"), "fn a() {}\n").unwrap();
    for (path, text) in OUTSIDE {
        let path = at.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    for (link, target) in LINKS {
        symlink(target.replace('@', at.to_str().unwrap()), tree.join(link)).unwrap();
    }
    std::fs::hard_link(at.join("out/file"), tree.join("hard")).unwrap();
}

/// Everything outside of the tree, with its content.
pub(crate) fn outside(at: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![at.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(at).unwrap().display().to_string();
            match path.is_dir() {
                true if name == "tree" => {}
                true => {
                    open.push(path);
                    found.insert(name, String::new());
                }
                false => drop(found.insert(name, std::fs::read_to_string(&path).unwrap())),
            }
        }
    }
    found
}

/// Paths that lead out, each of them once.
pub(crate) fn paths(at: &Path) -> BTreeSet<String> {
    let at = at.display().to_string();
    let mut paths = BTreeSet::new();
    let targets = ["out/file", "out/dir", "secret", "out/new", "out/sub/deep/x"];
    let ups = [
        "../",
        ".././",
        "./../",
        "src/../../",
        "src/deep/../../../",
        "..//",
        "src//..//..//",
        "src/./.././../",
        "src/deep/er/../../../../",
        "nothing/../../",
        ".//..//",
        "./././../",
    ];
    for target in targets {
        paths.extend(ups.iter().map(|up| format!("{up}{target}")));
        paths.extend([format!("{at}/{target}"), format!("/{at}/{target}"), format!("//{at}/{target}")]);
        paths.extend([format!("/proc/self/root{at}/{target}"), format!("/proc/self/cwd/{at}/{target}")]);
        paths.extend([format!("{target}\0"), format!("../{target}\0.rs"), format!("src/\0/../../{target}")]);
    }
    let suffixes = [
        "",
        "/",
        "/file",
        "/dir/inner",
        "/new",
        "/../secret",
        "/dir/../file",
        "/./file",
        "//file",
        "/sub/deep/x",
        "/../out/file",
        "/../../etc/passwd",
    ];
    for (link, _) in LINKS {
        paths.extend(suffixes.iter().map(|suffix| format!("{link}{suffix}")));
    }
    paths.extend(
        ["hard", "./hard", "src/../hard", "src/..", "..", "../", "../..", "/", "//", "/.", "", "."].map(str::to_owned),
    );
    paths.extend([".git", ".git/config", ".GIT/hooks/x", "src/.git", "src/.Git/config"].map(str::to_owned));
    paths.extend([format!("proc{at}/out/file"), format!("root{at}/out/file"), format!("{}x", "a/".repeat(3_000))]);
    paths
}

type Operation = (&'static str, fn(&Root, &str) -> Result<String, BeneathError>);

const OPERATIONS: [Operation; 5] = [
    ("read", |root, path| root.read(path, 1 << 20).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
    ("write", |root, path| root.write(path, b"WRITTEN").map(|()| String::new())),
    ("list", |root, path| {
        let (entries, _) = root.list(path, 1_000)?;
        Ok(entries.into_iter().map(|entry| entry.name + "\n").collect())
    }),
    ("remove", |root, path| root.remove(path).map(|()| String::new())),
    ("make_dir", |root, path| root.make_dir(path).map(|()| String::new())),
];

#[test]
fn no_path_leads_out() {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path().canonicalize().unwrap();
    let (mut tried, mut ends) = (0, BTreeMap::<String, u32>::new());
    let all = paths(&at);
    assert!(all.len() >= 300, "{}", all.len());
    for path in &all {
        for (name, operation) in OPERATIONS {
            let here = at.join("here");
            std::fs::create_dir(&here).unwrap();
            plant(&here);
            let path = path.replace(at.to_str().unwrap(), here.to_str().unwrap());
            let before = outside(&here);
            let done = operation(&Root::open(&here.join("tree")).unwrap(), &path);
            assert_eq!(outside(&here), before, "{name} {path:?}");
            if let Ok(seen) = &done {
                let shows = ["SECRET", "file\n", "inner\n", "secret\n", "passwd"].iter().any(|it| seen.contains(it));
                // The names of the tree itself are no secret, and one of them is `file`.
                assert!(!shows || name == "list" && seen.contains("relfile\n"), "{name} {path:?}: {seen}");
            }
            let end = done.map_or_else(|error| error.code(), |_| "within");
            *ends.entry(format!("{name} {end}")).or_default() += 1;
            tried += 1;
            std::fs::remove_dir_all(&here).unwrap();
        }
    }
    assert_eq!(tried, all.len() * 5);
    let ends: String = ends.iter().map(|(end, count)| format!("{end}: {count}\n")).collect();
    expect![[r#"
        1680 tried
        list kind: 2
        list outside: 146
        list path: 186
        list within: 2
        make_dir kind: 2
        make_dir outside: 146
        make_dir path: 186
        make_dir within: 2
        read hard_link: 2
        read kind: 2
        read outside: 146
        read path: 186
        remove kind: 2
        remove outside: 110
        remove path: 186
        remove within: 38
        write kind: 38
        write outside: 110
        write path: 186
        write within: 2
    "#]]
    .assert_eq(&format!("{tried} tried\n{ends}"));
}

pub(crate) struct Stopping<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_name_that_changes_all_the_time_leads_nowhere_else() {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path().canonicalize().unwrap();
    plant(&at);
    std::fs::create_dir(at.join("tree/d")).unwrap();
    std::fs::write(at.join("tree/d/file"), "INSIDE").unwrap();
    symlink(at.join("out"), at.join("tree/e")).unwrap();
    let before = outside(&at);
    let stop = AtomicBool::new(false);
    // Also when this thread panics.
    let stopping = Stopping(&stop);
    let rounds = if is_long() { RACE_LONG } else { RACE_SHORT };
    let (mut read, mut refused, mut written) = (0u32, 0u32, 0u32);
    std::thread::scope(|scope| {
        let stopping = stopping;
        let (one, other) = (at.join("tree/d"), at.join("tree/e"));
        let stop = &stop;
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let root = Root::open(&at.join("tree")).unwrap();
        for round in 0..rounds {
            match root.read("d/file", 100) {
                Ok(bytes) => {
                    assert_eq!(bytes, b"INSIDE");
                    read += 1;
                }
                Err(BeneathError::Outside | BeneathError::Missing | BeneathError::HardLink | BeneathError::Os(_)) => {
                    refused += 1;
                }
                Err(other) => panic!("{other:?}"),
            }
            if round % 4 == 0 && root.write("d/new", b"x").is_ok() {
                written += 1;
            }
            if round % 4 == 1 {
                // It may not be there, or may lead away.
                let _ = (root.remove("d/new"), root.list("d", 10));
            }
        }
        drop(stopping);
    });
    println!("{rounds} rounds: {read} read, {refused} refused, {written} written");
    assert_eq!(outside(&at), before);
    assert!(read > 0 && refused > 0 && written > 0, "the race was none: {read} {refused} {written}");
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    rustix::fs::mknodat(CWD, tree.join("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o644), 0)
        .unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(tree.join("sock")).unwrap();
    let root = Root::open(&tree).unwrap();
    let show = |done: Result<Vec<u8>, BeneathError>| done.map_or_else(|error| error.to_string(), |_| "read".to_owned());
    // A pipe without a writer would hold whoever opens it.
    assert_eq!(show(root.read("pipe", 1)), "it is a pipe");
    assert_eq!(show(root.read("sock", 1)), "it is a socket");
    assert_eq!(root.write("pipe", b"x").unwrap_err().to_string(), "it is a pipe");
    root.write("a/b/c", b"12345").unwrap();
    assert_eq!(root.read("a/b/c", 5).unwrap(), b"12345");
    assert_eq!(show(root.read("a/b/c", 4)), "it is larger than 4 bytes");
    std::fs::set_permissions(tree.join("a/b/c"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    root.write("a/b/c", b"new").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&tree.join("a/b/c").metadata().unwrap().permissions());
    assert_eq!((root.read("a/b/c", 5).unwrap(), mode & 0o777), (b"new".to_vec(), 0o755));
    let names = |path: &str, most: usize| {
        let (entries, is_all) = root.list(path, most).unwrap();
        (entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>().join(" "), is_all)
    };
    assert_eq!(names(".", 10), ("a pipe sock".to_owned(), true));
    assert_eq!((names("a/b", 10), names(".", 1).1), (("c".to_owned(), true), false));
    root.remove("a/b/c").unwrap();
    assert_eq!(show(root.read("a/b/c", 4)), "there is no such file");
}
