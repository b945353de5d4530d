//! Globs: what they match, where they overlap, what they contain, against an oracle that expands them over trees.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use expect_test::{Expect, expect};
use globset::GlobBuilder;
use proptest::prelude::*;
use wf_ir::Glob;
use wf_ir::glob::contains;

fn glob(source: &str) -> Glob {
    Glob::parse(source).unwrap()
}

fn globs(sources: &[&str]) -> Vec<Glob> {
    sources.iter().map(|source| glob(source)).collect()
}

#[track_caller]
fn check_matches(source: &str, yes: &[&str], no: &[&str]) {
    let glob = glob(source);
    let wrong_no: Vec<_> = yes.iter().filter(|path| !glob.matches(path)).collect();
    let wrong_yes: Vec<_> = no.iter().filter(|path| glob.matches(path)).collect();
    assert!(wrong_no.is_empty(), "{source} should match {wrong_no:?}");
    assert!(wrong_yes.is_empty(), "{source} should not match {wrong_yes:?}");
}

#[track_caller]
fn check_overlap(left: &str, right: &str, witness: Option<&str>) {
    let (left, right) = (glob(left), glob(right));
    let found = left.witness(&right);
    assert_eq!(found.as_deref(), witness, "{left} and {right}");
    assert_eq!(left.overlaps(&right), witness.is_some());
    assert_eq!(right.overlaps(&left), witness.is_some());
    if let Some(path) = found {
        assert!(left.matches(&path) && right.matches(&path), "{path}");
    }
}

#[track_caller]
fn check_contains(outer: &[&str], inner: &[&str], expected: bool) {
    assert_eq!(contains(&globs(outer), &globs(inner)), expected, "{inner:?} within {outer:?}");
}

fn check_error(source: &str, expected: Expect) {
    expected.assert_eq(&Glob::parse(source).unwrap_err().to_string());
}

#[test]
fn star_and_question_mark_stay_within_a_segment() {
    check_matches("*.rs", &["a.rs", ".rs", "main.rs"], &["src/a.rs", "a.rsx", "/a.rs", "a.rs/", ""]);
    check_matches("src/*", &["src/a", "src/.a"], &["src", "src/", "src/a/b", "a"]);
    check_matches("a?c", &["abc", "a.c", "aéc"], &["ac", "a/c", "abbc"]);
    check_matches("*", &["a", ".git"], &["a/b", "", ".", ".."]);
}

#[test]
fn two_stars_cross_segments() {
    check_matches("**", &["a", "a/b", "a/b/c", "a/.b"], &["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a"]);
    check_matches("src/**", &["src/a", "src/a/b"], &["src", "src/", "srca", "a/src/b"]);
    check_matches("**/x", &["x", "a/x", "a/b/x"], &["ax", "a/ax", "x/a"]);
    check_matches("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a/xb", "ax/b", "a/b/c"]);
    check_matches("**/**", &["a", "a/b"], &[""]);
    check_matches("**/src/**/*.rs", &["src/a.rs", "x/src/y/z/a.rs"], &["src/a.c", "a.rs"]);
}

#[test]
fn a_trailing_slash_is_everything_below() {
    check_matches("docs/", &["docs/a", "docs/a/b"], &["docs", "docs/", "a/docs/b"]);
    check_matches("**/", &["a", "a/b"], &[""]);
    check_matches("{docs,src/}", &["docs", "src/a"], &["docs/a", "src"]);
}

#[test]
fn classes_and_escapes() {
    check_matches("[a-c]x", &["ax", "cx"], &["dx", "x", "[x"]);
    check_matches("[!a-c]x", &["dx", "éx"], &["ax", "/x"]);
    check_matches("[^a]", &["b"], &["a", "/"]);
    check_matches("[]a]", &["]", "a"], &["b"]);
    check_matches("[a-]", &["a", "-"], &["b"]);
    check_matches("[-a]", &["a", "-"], &["b"]);
    check_matches("a[+-9]b", &["a0b", "a-b"], &["a/b"]);
    check_matches(r"[\]\-a]", &["]", "-", "a"], &["\\"]);
    check_matches(r"\*\{\\", &["*{\\"], &["a{\\"]);
    check_matches("a,b]", &["a,b]"], &["a"]);
}

#[test]
fn braces_are_either() {
    check_matches("*.{rs,toml}", &["a.rs", "a.toml"], &["a.c", "a.{rs,toml}"]);
    check_matches("{src,tests}/**", &["src/a", "tests/a/b"], &["src", "doc/a"]);
    check_matches("a{,b{c,d}}", &["a", "abc", "abd"], &["ab"]);
    check_matches("{a,b/**}/c", &["a/c", "b/c", "b/x/c"], &["a/x/c"]);
    check_matches("{*,a}*", &["ab"], &["a/b"]);
    check_matches("a/{,b}/c", &["a/b/c"], &["a//c", "a/c"]);
}

#[test]
fn what_is_no_glob() {
    check_error("", expect![[r#"no text in glob """#]]);
    check_error("/etc/passwd", expect![[r#"an absolute path in glob "/etc/passwd""#]]);
    check_error("../a", expect![[r#"a segment `..` in glob "../a""#]]);
    check_error("a/./b", expect![[r#"a segment `.` in glob "a/./b""#]]);
    check_error(r"a/\.\.", expect![[r#"a segment `..` in glob "a/\\.\\.""#]]);
    check_error("a//b", expect![[r#"an empty segment in glob "a//b""#]]);
    check_error("a**", expect![[r#"a `**` that is not a whole segment in glob "a**""#]]);
    check_error("***", expect![[r#"a `**` that is not a whole segment in glob "***""#]]);
    check_error("{a,**}b", expect![[r#"a `**` that is not a whole segment in glob "{a,**}b""#]]);
    check_error("[ab", expect![[r#"a `[` without its `]` in glob "[ab""#]]);
    check_error("[]", expect![[r#"a `[` without its `]` in glob "[]""#]]);
    check_error("[/]", expect![[r#"a class that no character of a path fits in glob "[/]""#]]);
    check_error("[z-a]", expect![[r#"a range `z-a` that runs backwards in glob "[z-a]""#]]);
    check_error("{a,b", expect![[r#"a `{` without its `}` in glob "{a,b""#]]);
    check_error("a}", expect![[r#"a `}` without its `{` in glob "a}""#]]);
    check_error("{,a/b}", expect![[r#"an empty alternative in glob "{,a/b}""#]]);
    check_error("a\\", expect![[r#"a `\` with nothing after it in glob "a\\""#]]);
    check_error("a\0", expect![[r#"a NUL character in glob "a\0""#]]);
    check_error(&"{".repeat(9), expect![[r#"more than 8 levels of braces in glob "{{{{{{{{{""#]]);
    check_error(
        &"{a/,b/}".repeat(9),
        expect![[
            r#"more than 64 combinations of alternatives in glob "{a/,b/}{a/,b/}{a/,b/}{a/,b/}{a/,b/}{a/,b/}{a/,b/}{a/,b/}{a/,b/}""#
        ]],
    );
    check_error(
        &"a".repeat(600),
        expect![[
            r#"more than 512 states, too many to compare, in glob "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…""#
        ]],
    );
    check_error(
        &"a".repeat(1025),
        expect![[
            r#"more than 1024 bytes in glob "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…""#
        ]],
    );
}

#[test]
fn overlaps() {
    check_overlap("src/*.rs", "src/main.rs", Some("src/main.rs"));
    check_overlap("src/*.rs", "src/a*", Some("src/a.rs"));
    check_overlap("**", "src/main.rs", Some("src/main.rs"));
    check_overlap("**", "**", Some("a"));
    check_overlap("**", "docs/", Some("docs/a"));
    check_overlap("src/**", "**/*.rs", Some("src/.rs"));
    check_overlap("a/**/b", "a/b/**", Some("a/b/b"));
    check_overlap("a*b", "ab*", Some("ab"));
    check_overlap("[a-m]x", "[m-z]x", Some("mx"));
    check_overlap("[!a]", "[!b]", Some("c"));
    check_overlap("{a,b}/*", "{b,c}/x", Some("b/x"));
}

#[test]
fn does_not_overlap() {
    check_overlap("src/*.rs", "src/a/main.rs", None);
    check_overlap("src/*.rs", "src/*.md", None);
    check_overlap("src/**", "tests/**", None);
    check_overlap("src/**", "src", None);
    check_overlap("src/", "src", None);
    check_overlap("*", "**/a/b", None);
    check_overlap("[a-m]x", "[n-z]x", None);
    // What both match, `a/`, `.` or `../a`, is no path.
    check_overlap("a/{,b}", "a/{,c}", None);
    check_overlap("[.~]", "[.!]", None);
    check_overlap("[.~][.~]/a", "[.!][.!]/a", None);
}

#[test]
fn containment() {
    check_contains(&["**"], &["src/**", "a", "{x,y}/*.rs"], true);
    check_contains(&["src/**"], &["src/*.rs", "src/a/b/c", "src/"], true);
    check_contains(&["src/**"], &["src"], false);
    check_contains(&["src/*.rs"], &["src/**/*.rs"], false);
    check_contains(&["a/*", "b/*"], &["{a,b}/x"], true);
    check_contains(&["[a-m]*", "[!a-m]*"], &["*"], true);
    check_contains(&["[a-m]*", "[n-z]*"], &["*"], false);
    check_contains(&["*", "*/**"], &["**"], true);
    check_contains(&["**/*.rs"], &["*.rs", "a/b/*.rs"], true);
    check_contains(&["a/**/b"], &["a/b", "a/**/c/b"], true);
    check_contains(&[], &["a"], false);
    check_contains(&[], &[], true);
    check_contains(&["a"], &[], true);
}

#[test]
fn a_question_too_hard_is_answered_with_no() {
    // A deterministic automaton of this glob has more than 2^40 states.
    let hard = format!("*a{}", "?".repeat(40));
    check_contains(&[&hard], &[&format!("*a{}", "[!/]".repeat(40))], false);
    check_contains(&[&hard], &[&hard], true);
}

#[test]
fn a_glob_is_its_text() {
    let glob = glob("src/{a,b}.rs");
    let text = serde_json::to_string(&glob).unwrap();
    assert_eq!(text, r#""src/{a,b}.rs""#);
    assert_eq!(serde_json::from_str::<Glob>(&text).unwrap(), glob);
    assert!(serde_json::from_str::<Glob>(r#""a**""#).is_err());
    assert_eq!(format!("{glob} {glob:?}"), r#"src/{a,b}.rs Glob("src/{a,b}.rs")"#);
}

/// The oracle: the same glob in another engine. It has no trailing slash, and takes more texts for paths than there
/// are, which no generated tree shows. It reads bytes, so trees and globs are ASCII.
fn expand<'a>(source: &str, tree: &'a [String]) -> Vec<&'a str> {
    let source = if source.ends_with('/') { format!("{source}**") } else { source.to_owned() };
    let glob = GlobBuilder::new(&source).literal_separator(true).empty_alternates(true).build().unwrap();
    let matcher = glob.compile_matcher();
    tree.iter().map(String::as_str).filter(|path| matcher.is_match(path)).collect()
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "ab", "ba", "abc", "a.c", ".a", "src", "main.rs", "lib.rs"]);
    prop::collection::vec(segment, 1..4).prop_map(|segments| segments.join("/"))
}

/// Every path of up to three of a few segments, so that every small difference shows.
fn tree() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(path(), 1..40)
}

fn segment_glob() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a", "b", "c", ".", "*", "?", "[ab]", "[a-c]", "{a,b}", "{,a}", "{ab,*c}", "src", "main", ".rs", "a", "b",
    ]);
    let segment = prop::collection::vec(part, 1..4).prop_map(|parts| parts.concat());
    segment.prop_filter("`**` and dots are for whole segments", |text| {
        !text.contains("**") && !text.chars().all(|character| character == '.')
    })
}

fn any_glob() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        4 => segment_glob(),
        1 => Just("**".to_owned()),
        1 => (segment_glob(), segment_glob()).prop_map(|(left, right)| format!("{{{left},{right}/b}}")),
    ];
    (prop::collection::vec(segment, 1..4), prop::bool::weighted(0.1))
        .prop_map(|(segments, slash)| segments.join("/") + if slash { "/" } else { "" })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn matches_what_the_oracle_expands(source in any_glob(), tree in tree()) {
        let glob = glob(&source);
        let found: Vec<&str> = tree.iter().map(String::as_str).filter(|path| glob.matches(path)).collect();
        prop_assert_eq!(found, expand(&source, &tree), "{}", source);
    }

    #[test]
    fn overlaps_where_expansions_share_a_path(left in any_glob(), right in any_glob(), tree in tree()) {
        let (in_left, in_right) = (expand(&left, &tree), expand(&right, &tree));
        let shared = in_left.iter().find(|path| in_right.contains(path));
        let witness = glob(&left).witness(&glob(&right));
        prop_assert_eq!(glob(&right).overlaps(&glob(&left)), witness.is_some());
        match witness {
            None => prop_assert_eq!(shared, None, "{} and {}", left, right),
            Some(path) => {
                prop_assert!(glob(&left).matches(&path) && glob(&right).matches(&path), "{path}");
                let tree = [path];
                prop_assert_eq!(expand(&left, &tree).len() + expand(&right, &tree).len(), 2, "{:?}", tree);
            }
        }
    }

    #[test]
    fn contains_no_glob_that_expands_further(
        outer in prop::collection::vec(any_glob(), 1..3), inner in any_glob(), tree in tree(),
    ) {
        let outer_globs: Vec<Glob> = outer.iter().map(|source| glob(source)).collect();
        let within = contains(&outer_globs, &[glob(&inner)]);
        let further = expand(&inner, &tree).into_iter().find(|path| !outer_globs.iter().any(|it| it.matches(path)));
        prop_assert!(!within || further.is_none(), "{} is not in {:?}: {:?}", inner, outer, further);
        prop_assert!(contains(&[glob(&inner)], &[glob(&inner)]));
        prop_assert!(contains(&[glob("**")], &[glob(&inner)]));
    }

    #[test]
    fn a_literal_path_is_contained_exactly_where_it_matches(outer in any_glob(), path in path()) {
        let outer = glob(&outer);
        prop_assert_eq!(contains(std::slice::from_ref(&outer), &[glob(&path)]), outer.matches(&path));
        prop_assert_eq!(outer.overlaps(&glob(&path)), outer.matches(&path));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>(), marks in r"[ab/*?\[\]{},!\\.^-]{0,40}") {
        for source in [text, marks] {
            if let Ok(glob) = Glob::parse(&source) {
                prop_assert!(glob.overlaps(&Glob::parse("**").unwrap()) || glob.witness(&glob).is_none());
            }
        }
    }
}
