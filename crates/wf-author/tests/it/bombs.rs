//! Hostile sources that end well inside one process. Those that can end a process are tested where there is a process
//! to end.

use expect_test::{Expect, expect};
use wf_author::Spelling;
use wf_author::limits::{BRACKETS_MAX, SOURCE_BYTES_MAX};

use crate::support::{compiled, compiled_deep, findings};

fn check(source: &str, expected: Expect) {
    expected.assert_eq(&findings(&compiled(Spelling::Starlark, source, &[]).unwrap_err()));
}

#[test]
fn brackets() {
    check(
        &"[".repeat(709),
        expect![[r#"
            main.star:1:201: WF0605 brackets are nested more than 200 deep
        "#]],
    );
    check(
        &format!("x = {}", "f(".repeat(1_000)),
        expect![[r#"
            main.star:1:406: WF0605 brackets are nested more than 200 deep
        "#]],
    );
    let deepest = format!("x = {}{}\nworkflow('w')", "[".repeat(BRACKETS_MAX), "]".repeat(BRACKETS_MAX));
    assert!(compiled_deep(Spelling::Starlark, &deepest).is_ok());
    // As many nodes in each other as a workflow may have, and more.
    let nested = format!("{}{}", "sequence('s', children = [".repeat(80), "])".repeat(80));
    assert!(compiled_deep(Spelling::Starlark, &format!("workflow('w', children = [{nested}])")).is_ok());
}

#[test]
fn loops_and_recursion() {
    check(
        "def f(n):\n  return f(n + 1)\nf(0)",
        expect![[r#"
            main.star:2:10: WF0617 functions call each other more than 100 deep
              hint: called at main.star:3:1
        "#]],
    );
    check(
        "def f():\n  for a in range(100000):\n    for b in range(100000):\n      pass\nf()",
        expect![[r#"
            main.star:1:1: WF0617 the program took more than 500000 calls and loop turns
              hint: look for a loop, or for functions that call each other, without an end
        "#]],
    );
}

#[test]
fn workflows_without_end() {
    check(
        "workflow('w', x = range(100000000))",
        expect![[r#"
            main.star:1:19: WF0618 the program made more than 500000 values
              hint: repeat a shape with `expand` over a list instead of making every copy of it
        "#]],
    );
    check(
        "x = wait('a', duration = '1s')\nfor i in range(60):\n  x = sequence('s', children = [x, x])\nworkflow('w', children = [x])",
        expect![[r#"
            main.star:4:1: WF0618 the workflow has more than 250000 values
              hint: repeat a shape with `expand` over a list instead of writing it out
        "#]],
    );
    check(
        "x = wait('a', duration = '1s')\nfor i in range(100):\n  x = sequence('s', children = [x])\nworkflow('w', children = [x])",
        expect![[r#"
            main.star:4:1: WF0605 nodes and values are nested more than 192 deep
        "#]],
    );
    check(
        "t = 'x' * 1000000\nworkflow('w', children = [ask('a', prompt = t) for i in range(20)])",
        expect![[r#"
            main.star:2:1: WF0618 the workflow has more than 16777216 bytes of text
              hint: a text counts once for each node that holds it
        "#]],
    );
    check(
        "t = 'x' * 1000000\nnodes = [ask('a', prompt = t) for i in range(100)]\nworkflow('w', children = nodes)",
        expect![[r#"
            main.star:2:28: WF0618 the program made more than 33554432 bytes of text
              hint: repeat a shape with `expand` over a list instead of making every copy of it
        "#]],
    );
    check(
        "x = {}\nx['x'] = [x, x]\nworkflow('w', a = x)",
        expect![[r#"
            main.star:3:19: WF0605 values are nested more than 192 deep
        "#]],
    );
}

#[test]
fn size() {
    check(
        &"x".repeat(SOURCE_BYTES_MAX + 1),
        expect![[r#"
            main.star:1:1: WF0601 the source has 1048577 bytes; 1048576 are allowed
              hint: put long texts into files of their own and name them with `file`
        "#]],
    );
}

#[test]
fn not_a_source_at_all() {
    for source in [
        "\u{0}",
        "\u{0}\u{1}\u{2}",
        "💥",
        "((((",
        "))))",
        "\"\"\"",
        "'\\",
        "\\",
        "x = '\\u{110000}'",
        "\r\r\r",
        "\u{feff}\u{feff}",
        "x = '\\",
        "f'",
        "#",
    ] {
        for spelling in [Spelling::Starlark, Spelling::Json] {
            assert!(compiled(spelling, source, &[]).is_err(), "{source:?}");
        }
        // What YAML makes of it is its own affair, as long as it ends.
        let _ = compiled(Spelling::Yaml, source, &[]);
    }
}
