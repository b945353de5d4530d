//! A small project that breaks no rule, and what each rule says when one thing about it is changed.

use std::collections::{BTreeMap, BTreeSet};

use expect_test::{Expect, expect};
use xtask::tidy::{Crate, Graph, Project, check, long};

const ARCHITECTURE: &str = "\
# Architecture

| crate | what it is | uses |
|---|---|---|
| `wf-pure` | decisions | – |
| `wf-shell` | doing | `wf-pure` |

| pure crate | from elsewhere |
|---|---|
| `wf-pure` | `serde` |

| dependency | only in |
|---|---|
| `rusqlite` | `wf-shell` |

| exempt crate | in sources | in tests and examples | why |
|---|---|---|---|
| `wf-shell` | 1 | 1 | it starts processes |
";

const PURE: &str = "\
//! Says `std::fs` and log::info! in a comment only.

/// A code: WF9999 in a comment needs no entry.
pub const CODE: &str = \"WF0101\";
pub const SHOWN: &str = \"println! std::env Instant\";

#[cfg(test)]
mod tests {
    use std::{fs, time::Instant};

    #[test]
    fn it_is_shown() {
        assert_eq!(super::CODE, \"WF0101\");
    }
}
";

const SHELL: &str = "\
#[expect(clippy::disallowed_methods, reason = \"it starts processes\")]
async fn run() {
    let started = std::time::Instant::now();
}
";

const SHELL_TEST: &str = "\
#[expect(clippy::disallowed_methods, reason = \"a test\")]
fn run() {}
";

const MANIFEST: &str = "[package]\n\n[lints]\nworkspace = true\n";

struct Tree {
    graph: Graph,
    files: BTreeMap<String, String>,
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn tidy_tree() -> Tree {
    let krate = |folder: &str, internal, external, tree| Crate {
        folder: folder.to_owned(),
        internal: names(internal),
        external: names(external),
        tree: names(tree),
    };
    let graph = [
        ("wf-pure", krate("crates/wf-pure", &[][..], &["serde"][..], &["serde"][..])),
        ("wf-shell", krate("crates/wf-shell", &["wf-pure"], &["rusqlite", "tokio"], &["rusqlite", "tokio", "wf-pure"])),
    ];
    let files = [
        ("ARCHITECTURE.md", ARCHITECTURE),
        ("docs/errors.md", "# Codes\n\n## WF0101 a thing is wrong\n\nText.\n"),
        ("crates/wf-pure/Cargo.toml", MANIFEST),
        ("crates/wf-pure/src/lib.rs", PURE),
        ("crates/wf-shell/Cargo.toml", MANIFEST),
        ("crates/wf-shell/src/lib.rs", SHELL),
        ("crates/wf-shell/tests/it.rs", SHELL_TEST),
    ];
    let owned = |(path, text): (&str, &str)| (path.to_owned(), text.to_owned());
    Tree {
        graph: graph.into_iter().map(|(name, krate)| (name.to_owned(), krate)).collect(),
        files: files.into_iter().map(owned).collect(),
    }
}

/// What tidy says of the small project after `change`.
#[track_caller]
fn check_after(change: impl FnOnce(&mut Tree), expected: Expect) {
    let mut tree = tidy_tree();
    change(&mut tree);
    let findings: Vec<String> =
        check(&Project::new(tree.graph, tree.files)).iter().map(|finding| format!("{finding}\n")).collect();
    expected.assert_eq(&findings.concat());
}

#[track_caller]
fn check_with(path: &str, text: &str, expected: Expect) {
    check_after(|tree| drop(tree.files.insert(path.to_owned(), text.to_owned())), expected);
}

/// What tidy says when `text` stands in the pure crate's sources.
#[track_caller]
fn check_pure(text: &str, expected: Expect) {
    check_with("crates/wf-pure/src/more.rs", text, expected);
}

/// What tidy says when `from` in a file is `to`.
#[track_caller]
fn check_replaced(path: &str, from: &str, to: &str, expected: Expect) {
    let change = |tree: &mut Tree| {
        let text = tree.files.get_mut(path).filter(|text| text.contains(from));
        let Some(text) = text else { panic!("{path} does not hold {from:?}") };
        *text = text.replace(from, to);
    };
    check_after(change, expected);
}

#[test]
fn the_small_project_is_tidy() {
    check_after(|_| {}, expect![[""]]);
}

#[test]
fn an_edge_that_the_table_does_not_have() {
    let change = |tree: &mut Tree| {
        tree.graph.get_mut("wf-pure").unwrap().internal.insert("wf-shell".to_owned());
    };
    check_after(
        change,
        expect![[r#"
        wf-pure: it uses wf-shell, and ARCHITECTURE.md says nothing
    "#]],
    );
}

#[test]
fn an_edge_that_only_the_table_has() {
    let change = |tree: &mut Tree| tree.graph.get_mut("wf-shell").unwrap().internal.clear();
    check_after(
        change,
        expect![[r#"
        wf-shell: it uses nothing, and ARCHITECTURE.md says wf-pure
    "#]],
    );
}

#[test]
fn a_crate_that_nobody_names() {
    let change = |tree: &mut Tree| {
        let krate = Crate { folder: "crates/wf-utils".to_owned(), ..Crate::default() };
        tree.graph.insert("wf-utils".to_owned(), krate);
    };
    check_after(
        change,
        expect![[r#"
        ARCHITECTURE.md: it does not name wf-utils
        ARCHITECTURE.md: the crate table does not name wf-utils
        crates/wf-utils/Cargo.toml: it does not take the workspace's lints
        wf-utils: its name says nothing about what it may not hold
    "#]],
    );
}

#[test]
fn a_crate_that_does_not_exist() {
    check_replaced(
        "ARCHITECTURE.md",
        "# Architecture\n",
        "# Architecture\n\nSee wf-web.\n",
        expect![[r#"
        ARCHITECTURE.md:3: wf-web is no crate
    "#]],
    );
    check_replaced(
        "ARCHITECTURE.md",
        "| `wf-pure` | decisions | – |\n",
        "| `wf-pure` | – | – |\n| `wf-web` | – | – |\n",
        expect![[r#"
            ARCHITECTURE.md: the crate table names wf-web, which is no crate
            ARCHITECTURE.md:6: wf-web is no crate
        "#]],
    );
}

#[test]
fn a_folder_that_is_not_named_as_its_crate() {
    check_after(
        |tree| tree.graph.get_mut("wf-pure").unwrap().folder = "crates/pure".to_owned(),
        expect![[r#"
        crates/pure/Cargo.toml: it does not take the workspace's lints
        wf-pure: its folder is crates/pure, not crates/wf-pure
    "#]],
    );
}

#[test]
fn a_crate_without_the_lints() {
    check_with(
        "crates/wf-shell/Cargo.toml",
        "[package]\n",
        expect![[r#"
        crates/wf-shell/Cargo.toml: it does not take the workspace's lints
    "#]],
    );
}

#[test]
fn a_clippy_toml_that_replaces_the_roots() {
    check_with(
        "crates/wf-shell/clippy.toml",
        "",
        expect![[r#"
        crates/wf-shell/clippy.toml: it replaces the bans of the root's clippy.toml
    "#]],
    );
}

#[test]
fn a_dependency_of_a_pure_crate_that_is_not_listed() {
    let change = |tree: &mut Tree| {
        let pure = tree.graph.get_mut("wf-pure").unwrap();
        pure.external.insert("rand".to_owned());
    };
    check_after(
        change,
        expect![[r#"
        wf-pure: it uses rand, serde from elsewhere, and ARCHITECTURE.md allows serde
    "#]],
    );
    check_after(
        |tree| tree.graph.get_mut("wf-pure").unwrap().external.clear(),
        expect![[r#"
        wf-pure: it uses nothing from elsewhere, and ARCHITECTURE.md allows serde
    "#]],
    );
}

#[test]
fn a_reserved_dependency_elsewhere() {
    let change = |tree: &mut Tree| {
        tree.graph.get_mut("wf-pure").unwrap().external.insert("rusqlite".to_owned());
    };
    check_after(
        change,
        expect![[r#"
        wf-pure: it uses rusqlite, serde from elsewhere, and ARCHITECTURE.md allows serde
        wf-pure: it uses rusqlite, which ARCHITECTURE.md reserves for wf-shell
    "#]],
    );
}

#[test]
fn a_runtime_below_a_pure_crate() {
    let change = |tree: &mut Tree| {
        tree.graph.get_mut("wf-pure").unwrap().tree.insert("tokio".to_owned());
    };
    check_after(
        change,
        expect![[r#"
        wf-pure: a pure crate brings tokio with it
    "#]],
    );
}

#[test]
fn a_table_that_is_missing() {
    for key in ["| crate |", "| pure crate |", "| dependency |", "| exempt crate |"] {
        let change = |tree: &mut Tree| {
            let text = tree.files.get_mut("ARCHITECTURE.md").unwrap();
            *text = text.replace(key, "| else |");
        };
        let mut tree = tidy_tree();
        change(&mut tree);
        let findings = check(&Project::new(tree.graph, tree.files));
        let says_so = findings.iter().filter(|finding| finding.message.starts_with("there is no table")).count();
        assert_eq!(says_so, 1, "{key}: {findings:?}");
    }
}

#[test]
fn a_map_that_is_missing_or_too_long() {
    check_after(
        |tree| drop(tree.files.remove("ARCHITECTURE.md")),
        expect![[r#"
        ARCHITECTURE.md: it is missing
        ARCHITECTURE.md: there is no table with the column 'exempt crate'
        ARCHITECTURE.md: there is no table with the columns 'crate' and 'uses'
        ARCHITECTURE.md: there is no table with the columns 'dependency' and 'only in'
        ARCHITECTURE.md: there is no table with the columns 'pure crate' and 'from elsewhere'
    "#]],
    );
    let change = |tree: &mut Tree| tree.files.get_mut("ARCHITECTURE.md").unwrap().push_str(&"line\n".repeat(300));
    check_after(
        change,
        expect![[r#"
        ARCHITECTURE.md: it has 318 lines, more than 300
    "#]],
    );
}

#[test]
fn a_path_on_the_map_that_leads_nowhere() {
    let text = "# Architecture\n\nSee `crates/wf-pure/src/lib.rs`, `crates/wf-pure` and `docs/none.md`.\n";
    check_replaced(
        "ARCHITECTURE.md",
        "# Architecture\n",
        text,
        expect![[r#"
        ARCHITECTURE.md:3: docs/none.md does not exist
    "#]],
    );
}

#[test]
fn what_reaches_the_world_from_a_pure_crate() {
    check_pure(
        "use std::fs;\nuse std::{collections::{BTreeMap, env}, net, process};\nfn f() { std::thread::yield_now() }",
        expect![[r#"
            crates/wf-pure/src/more.rs:1: a pure crate uses std::fs
            crates/wf-pure/src/more.rs:2: a pure crate uses std::net
            crates/wf-pure/src/more.rs:2: a pure crate uses std::process
            crates/wf-pure/src/more.rs:3: a pure crate uses std::thread
        "#]],
    );
    check_pure(
        "use std::{\n    collections::BTreeMap,\n    env::args,\n};",
        expect![[r#"
        crates/wf-pure/src/more.rs:1: a pure crate uses std::env
    "#]],
    );
    check_pure(
        "pub async fn f() { g().await }",
        expect![[r#"
        crates/wf-pure/src/more.rs:1: a pure crate uses async
        crates/wf-pure/src/more.rs:1: a pure crate uses await
    "#]],
    );
    check_pure(
        "use std::time::{Duration, Instant, SystemTime};",
        expect![[r#"
        crates/wf-pure/src/more.rs:1: a pure crate uses Instant
        crates/wf-pure/src/more.rs:1: a pure crate uses SystemTime
    "#]],
    );
    check_pure(
        "fn f() { println!(\"\"); eprintln!(\"\"); print!(\"\"); eprint!(\"\") }",
        expect![[r#"
        crates/wf-pure/src/more.rs:1: a pure crate uses eprint!
        crates/wf-pure/src/more.rs:1: a pure crate uses eprintln!
        crates/wf-pure/src/more.rs:1: a pure crate uses print!
        crates/wf-pure/src/more.rs:1: a pure crate uses println!
    "#]],
    );
    check_pure(
        "fn f() { tracing::info!(\"\"); log::warn!(\"\") }",
        expect![[r#"
        crates/wf-pure/src/more.rs:1: a pure crate uses log
        crates/wf-pure/src/more.rs:1: a pure crate uses tracing
    "#]],
    );
}

#[test]
fn what_only_looks_as_if_it_did() {
    check_pure(
        "use std::collections::BTreeMap;\n// std::fs\n/* async /* await */ */ fn catalog() { super::log::entry() }",
        expect![[""]],
    );
    check_pure(
        "const A: &str = r#\"std::fs \"quoted\" async\"#; const B: char = '\"'; fn g<'a>(it: &'a str) {}",
        expect![[""]],
    );
    check_pure("#[cfg(test)]\nuse std::fs;\n#[cfg(test)]\nfn f() { std::env::args(); }\nfn g() {}", expect![[""]]);
}

#[test]
fn a_module_of_tests_in_a_file_of_its_own_is_a_test() {
    let change = |tree: &mut Tree| {
        tree.files.insert("crates/wf-pure/src/more.rs".to_owned(), "#[cfg(test)]\nmod tests;\n".to_owned());
        tree.files.insert("crates/wf-pure/src/more/tests.rs".to_owned(), "use std::fs;\n".to_owned());
        tree.files.insert("crates/wf-pure/src/more/other.rs".to_owned(), "use std::env;\n".to_owned());
    };
    check_after(
        change,
        expect![[r#"
        crates/wf-pure/src/more/other.rs:1: a pure crate uses std::env
    "#]],
    );
}

#[test]
fn a_code_without_an_entry_or_a_test() {
    check_pure(
        "pub const NEW: &str = \"WF0102\"; pub const LONGER: &str = \"WF01023\";",
        expect![[r#"
        crates/wf-pure/src/more.rs:1: WF0102 has no entry in docs/errors.md
        crates/wf-pure/src/more.rs:1: WF0102 occurs in no test
    "#]],
    );
}

#[test]
fn an_entry_without_a_code_without_a_title_or_twice() {
    let text = "## WF0101 a thing is wrong\n## WF0101 again\n## WF0102\n## WF0103 nobody says it\n";
    check_with(
        "docs/errors.md",
        text,
        expect![[r#"
        docs/errors.md: WF0102 occurs in no source
        docs/errors.md: WF0103 occurs in no source
        docs/errors.md:2: WF0101 has two entries
        docs/errors.md:3: an entry is headed by its code and a title
    "#]],
    );
}

#[test]
fn code_that_is_not_finished() {
    let text = format!("fn f() {{ todo!() }}\nfn g() {{ unimplemented!(); dbg!(1); }}\n// {}ME: later\n", "FIX");
    check_with(
        "crates/wf-shell/src/more.rs",
        &text,
        expect![[r#"
        crates/wf-shell/src/more.rs:1: todo! does not belong into sources
        crates/wf-shell/src/more.rs:2: dbg! does not belong into sources
        crates/wf-shell/src/more.rs:2: unimplemented! does not belong into sources
        crates/wf-shell/src/more.rs:3: something is left to be put right
    "#]],
    );
}

#[test]
fn tests_that_do_not_test_and_lints_without_reasons() {
    let text = "#![allow(dead_code)]\n#[ignore = \"slow\"]\nfn f() {}\n#[should_panic]\nfn g() {}\n#[allow(unused)]\nfn h() {}\n";
    check_with(
        "crates/wf-shell/tests/more.rs",
        text,
        expect![[r#"
        crates/wf-shell/tests/more.rs:1: #![allow( does not belong into sources
        crates/wf-shell/tests/more.rs:2: #[ignore does not belong into sources
        crates/wf-shell/tests/more.rs:4: should_panic does not belong into sources
        crates/wf-shell/tests/more.rs:6: #[allow( does not belong into sources
    "#]],
    );
}

#[test]
fn names_that_say_nothing() {
    let text = "struct RunManager;\nenum HelperKind {}\ntrait RunInfo {}\nfn do_it() {}\nfn undo_it() {}\nstruct Metadata;\nstruct Information;";
    check_with(
        "crates/wf-shell/src/more.rs",
        text,
        expect![[r#"
        crates/wf-shell/src/more.rs:1: the name RunManager says nothing
        crates/wf-shell/src/more.rs:2: the name HelperKind says nothing
        crates/wf-shell/src/more.rs:3: the name RunInfo says nothing
        crates/wf-shell/src/more.rs:4: the name do_it says nothing
    "#]],
    );
}

#[test]
fn exemptions_that_nobody_counted() {
    let text = "#[expect(clippy::disallowed_methods, reason = \"another\")]\nfn f() {}";
    check_with(
        "crates/wf-shell/src/more.rs",
        text,
        expect![[r#"
        wf-shell: it has 2 exemptions from clippy::disallowed_methods in sources and 1 in tests, and ARCHITECTURE.md says 1 and 1
    "#]],
    );
    check_with(
        "crates/wf-pure/tests/more.rs",
        text,
        expect![[r#"
        wf-pure: it has 0 exemptions from clippy::disallowed_methods in sources and 1 in tests, and ARCHITECTURE.md says 0 and 0
    "#]],
    );
    check_after(
        |tree| drop(tree.files.remove("crates/wf-shell/tests/it.rs")),
        expect![[r#"
        wf-shell: it has 1 exemptions from clippy::disallowed_methods in sources and 0 in tests, and ARCHITECTURE.md says 1 and 1
    "#]],
    );
    check_replaced(
        "ARCHITECTURE.md",
        "| 1 | 1 |",
        "| one | 1 |",
        expect![[r#"
        ARCHITECTURE.md: wf-shell's exemptions are not numbers
    "#]],
    );
}

#[test]
fn paths_of_somebodys_machine() {
    let text = format!("/ro{}\n/ho{}\n/wo{}\n/tmp/w{}\n/usr/lib\n", "ot/x", "me/me", "rk/me", "f/x");
    check_with(
        "docs/more.md",
        &text,
        expect![[r#"
            docs/more.md:1: it holds a path of somebody's machine
            docs/more.md:2: it holds a path of somebody's machine
            docs/more.md:3: it holds a path of somebody's machine
            docs/more.md:4: it holds a path of somebody's machine
        "#]],
    );
}

#[test]
fn registries() {
    check_with(
        ".cargo/config.toml",
        &format!("[sou{}io]\nreplace-{} = \"x\"\n", "rce.crates-", "with"),
        expect![[r#"
            .cargo/config.toml:1: it names a registry
            .cargo/config.toml:2: it names a registry
        "#]],
    );
    let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
    check_with(
        "Cargo.lock",
        &format!("{public}source = \"registry+https://else.example/index\"\n"),
        expect![[r#"
        Cargo.lock:2: a crate comes from elsewhere than the public registry
    "#]],
    );
}

#[test]
fn what_is_long_is_shown_and_not_failed() {
    let lines = |count| "    step();\n".repeat(count);
    let text = format!("fn short() {{\n{}}}\n\nfn long(it: [u8; 2]) -> u8 {{\n{}}}\n", lines(68), lines(69));
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(900));
    let mut tree = tidy_tree();
    tree.files.insert("crates/wf-shell/src/more.rs".to_owned(), format!("{text}{tests}"));
    tree.files.insert("crates/wf-shell/src/much.rs".to_owned(), "const A: u8 = 1;\n".repeat(801));
    let project = Project::new(tree.graph, tree.files);
    assert_eq!(check(&project), []);
    let shown: Vec<String> = long(&project).iter().map(|finding| format!("{finding}\n")).collect();
    expect![[r#"
        crates/wf-shell/src/more.rs:72: long has 71 lines
        crates/wf-shell/src/much.rs: it has 801 lines outside tests
    "#]]
    .assert_eq(&shown.concat());
}

#[test]
fn a_planted_defect_that_does_not_fit_any_more() {
    let patch = "Breaks: something\nCaught by: test -p wf-shell\nSaid: no\n\n\
                 diff --git a/crates/wf-shell/src/lib.rs b/crates/wf-shell/src/lib.rs\n\
                 --- a/crates/wf-shell/src/lib.rs\n+++ b/crates/wf-shell/src/lib.rs\n\
                 @@ -1,3 +1,3 @@\n async fn walk() {\n-    one();\n+    two();\n }\n";
    check_with(
        "xtask/mutants/one.patch",
        patch,
        expect![[r#"
            docs/mutants.md: it does not say what the patches say; `cargo xtask mutants --table` does
            xtask/mutants/one.patch: it does not fit crates/wf-shell/src/lib.rs any more: async fn walk() {
        "#]],
    );
}

#[test]
fn a_planted_defect_that_nobody_catches() {
    check_with(
        "xtask/mutants/one.patch",
        "Breaks: something\nSaid: no\n",
        expect![[r#"
            xtask/mutants/one.patch: it changes nothing
            xtask/mutants/one.patch: it has no line "Caught by:"
        "#]],
    );
}
