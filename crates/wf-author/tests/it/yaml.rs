//! The YAML spelling.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use wf_author::Spelling;
use wf_ir::{SpannedValue, Value};

use crate::support::{compiled, findings, outcome, places};

fn check(source: &str, expected: Expect) {
    expected.assert_eq(&outcome(Spelling::Yaml, source, &[]));
}

#[test]
fn every_part_has_its_place() {
    let source = r#"# A comment.
workflow: é
children:
  - ask: a
    prompt: |
      Two
      lines.
    vars: {x: "1", y: [2, 'three']}
  -   wait: w
      duration: 10s
empty:
after: []
"#;
    let draft = compiled(Spelling::Yaml, source, &[]).unwrap();
    expect![[r#"
        map <2:1-12:10>
          workflow <2:1-2:9>: "é" <2:11-2:12>
          children <3:1-3:9>: list <4:3-10:20>
            map <4:5-8:36>
              ask <4:5-4:8>: "a" <4:10-4:11>
              prompt <5:5-5:11>: "Two\nlines.\n" <6:7-8:5>
              vars <8:5-8:9>: map <8:11-8:36>
                x <8:12-8:13>: "1" <8:15-8:18>
                y <8:20-8:21>: list <8:23-8:35>
                  2 <8:24-8:25>
                  "three" <8:27-8:34>
            map <9:7-10:20>
              wait <9:7-9:11>: "w" <9:13-9:14>
              duration <10:7-10:15>: "10s" <10:17-10:20>
          empty <11:1-11:6>: null <11:6-11:6>
          after <12:1-12:6>: list <12:8-12:10>
    "#]]
    .assert_eq(&places(&draft));
}

#[test]
fn scalars_follow_the_core_schema() {
    check(
        "[on, yes, no, y, ~, null, true, 'true', 1, '1', 0x10, 1.5, 1e2, -7, 2024-01-01, 1_000, !!str 5, ! 6]",
        expect![[r#"
            ["on", "yes", "no", "y", null, null, true, "true", 1, "1", 16, 1.5, 100.0, -7, "2024-01-01", "1_000", "5", "6"]
        "#]],
    );
    check(
        "on: off\nyes: 1\n1: a\ntrue: b\n~: c\n",
        expect![[r#"
            {on: "off", yes: 1, 1: "a", true: "b", ~: "c"}
        "#]],
    );
    check(
        "a: 9223372036854775808\nb: .nan\nc: 1e99\n",
        expect![[r#"
            main.yaml:1:4: WF0606 the number 9223372036854775808 is outside the range of 64-bit integers and of decimals with six places
            main.yaml:2:4: WF0606 the number .nan is outside the range of 64-bit integers and of decimals with six places
            main.yaml:3:4: WF0606 the number 1e99 is outside the range of 64-bit integers and of decimals with six places
        "#]],
    );
    check(
        "a: >\n  folded\n  text\nb: |-\n  kept\n",
        expect![[r#"
            {a: "folded text\n", b: "kept"}
        "#]],
    );
    check(
        "a: \"\\uD83D\\uDE00 \\x41 \\/\"",
        expect![[r#"
            {a: "😀 A /"}
        "#]],
    );
}

#[test]
fn duplicate_keys_are_kept_for_validation() {
    check(
        "a: 1\nb: 2\na: 3\n",
        expect![[r#"
            {a: 1, b: 2, a: 3}
        "#]],
    );
}

#[test]
fn aliases_repeat_values() {
    check(
        "a: &x {k: [1, 2]}\nb: *x\nc: [*x, *x]\nd: &y z\ne: *y\n",
        expect![[r#"
            {a: {k: [1, 2]}, b: {k: [1, 2]}, c: [{k: [1, 2]}, {k: [1, 2]}], d: "z", e: "z"}
        "#]],
    );
    check(
        "a: *x\n",
        expect![[r#"
            main.yaml:1:4: WF0621 the alias has no anchor before it
        "#]],
    );
    check(
        "a: &x [1, *x]\n",
        expect![[r#"
            main.yaml:1:11: WF0621 the alias stands inside the value it repeats
        "#]],
    );
    check(
        "&k a: 1\n",
        expect![[r#"
            main.yaml:1:4: WF0622 an anchor on a key has no meaning here
              hint: a workflow is maps with text keys, lists, text, numbers, true, false and null
        "#]],
    );
    check(
        "a: &x k\n*x : 1\n",
        expect![[r#"
            main.yaml:2:1: WF0622 a key that is not plain text has no meaning here
              hint: a workflow is maps with text keys, lists, text, numbers, true, false and null
        "#]],
    );
}

#[test]
fn what_has_no_meaning_is_refused_where_it_stands() {
    check(
        "a: !custom 1\nb: !!int 3\nc: !!set {x}\nd: !!binary aGk=\n",
        expect![[r#"
            main.yaml:1:12: WF0622 the tag !custom has no meaning here
              hint: a workflow is maps with text keys, lists, text, numbers, true, false and null
            main.yaml:2:10: WF0622 the tag !!int has no meaning here
              hint: a workflow is maps with text keys, lists, text, numbers, true, false and null
            main.yaml:3:10: WF0622 the tag !!set has no meaning here
              hint: a workflow is maps with text keys, lists, text, numbers, true, false and null
            main.yaml:4:13: WF0622 the tag !!binary has no meaning here
              hint: a workflow is maps with text keys, lists, text, numbers, true, false and null
        "#]],
    );
    check(
        "base: &b {x: 1}\nderived:\n  <<: *b\n  y: 2\n",
        expect![[r#"
            main.yaml:3:3: WF0622 merge keys are not part of YAML 1.2
              hint: repeat the entries, or share a whole value with an alias
        "#]],
    );
    check(
        "? [a, b]\n: 1\n",
        expect![[r#"
            main.yaml:1:3: WF0622 a key that is not plain text has no meaning here
              hint: a workflow is maps with text keys, lists, text, numbers, true, false and null
        "#]],
    );
    check(
        "? {a: b}\n: 1\n",
        expect![[r#"
            main.yaml:1:3: WF0622 a key that is not plain text has no meaning here
              hint: a workflow is maps with text keys, lists, text, numbers, true, false and null
        "#]],
    );
    check(
        "a: 1\n---\nb: 2\n",
        expect![[r#"
            main.yaml:2:1: WF0620 a second document begins here
              hint: one file holds one workflow
        "#]],
    );
    check(
        "",
        expect![[r#"
            main.yaml:1:1: WF0603 the source holds no document
        "#]],
    );
    check(
        "# nothing\n",
        expect![[r#"
            main.yaml:1:9: WF0603 the source holds no document
        "#]],
    );
}

#[test]
fn syntax_errors_have_their_place() {
    check(
        "a: [1, 2\nb: 3\n",
        expect![[r#"
            main.yaml:2:2: WF0603 illegal placement of ':' indicator
        "#]],
    );
    check(
        "a: 1\n  b: 2\n",
        expect![[r#"
            main.yaml:2:4: WF0603 mapping values are not allowed in this context
        "#]],
    );
    check(
        "a: 'x\n",
        expect![[r#"
            main.yaml:2:1: WF0603 invalid indentation in multiline quoted scalar
        "#]],
    );
    check(
        "\ta: 1\n",
        expect![[r#"
            {a: 1}
        "#]],
    );
    check(
        "a: }\n",
        expect![[r#"
            main.yaml:1:4: WF0603 misplaced bracket
        "#]],
    );
    check(
        "a: \"\\q\"\n",
        expect![[r#"
            main.yaml:1:4: WF0603 while parsing a quoted scalar, found unknown escape character
        "#]],
    );
    check(
        "- a\nb: 1\n",
        expect![[r#"
            main.yaml:2:1: WF0603 while parsing a block collection, did not find expected '-' indicator
        "#]],
    );
    check(
        "%YAML 3.0\n---\na: 1\n",
        expect![[r#"
            main.yaml:1:1: WF0603 unsupported YAML major version
        "#]],
    );
    check(
        "a: @x\n",
        expect![[r#"
            main.yaml:1:4: WF0603 unexpected character: `@'
        "#]],
    );
}

#[test]
fn files_stand_for_texts() {
    let files = [("p.md", "P"), ("q.md", "Q")];
    let source = r#"
workflow: w
children:
  - ask: a
    prompt: {file: p.md}
    output: {properties: {prompt: {file: p.md}}}
    vars: {prompt: {file: p.md}}
  - tournament: t
    judge:
      prompt:
        file: q.md
  - command: c
    argv: [sh, -c, {file: p.md}]
    cwd: {file: p.md}
  - search: s
    pattern: {file: p.md, other: 1}
"#;
    expect![[r#"
        {workflow: "w", children: [{ask: "a", prompt: "P", output: {properties: {prompt: {file: "p.md"}}}, vars: {prompt: {file: "p.md"}}}, {tournament: "t", judge: {prompt: "Q"}}, {command: "c", argv: ["sh", "-c", "P"], cwd: {file: "p.md"}}, {search: "s", pattern: {file: "p.md", other: 1}}]}
    "#]]
    .assert_eq(&outcome(Spelling::Yaml, source, &files));
}

#[test]
fn every_file_that_is_missing_is_found() {
    check(
        "- {prompt: {file: a.md}}\n- query: {file: ../b.md}\n- content: {file: c.md}\n",
        expect![[r#"
            main.yaml:1:19: WF0614 the file "a.md" cannot be used: it does not exist
              hint: paths are relative to the directory of the workflow's source
            main.yaml:2:17: WF0613 the path "../b.md" has an empty, `.` or `..` part
              hint: name a file under the directory of the workflow's source, such as "prompts/patch.md"
            main.yaml:3:19: WF0614 the file "c.md" cannot be used: it does not exist
              hint: paths are relative to the directory of the workflow's source
        "#]],
    );
}

#[test]
fn aliases_cannot_multiply() {
    let mut source = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = level - 1;
        source += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{below}"); 10].join(", "));
    }
    expect![[r#"
        main.yaml:6:10: WF0618 the workflow has more than 250000 values
          hint: repeat a shape with `expand` over a list instead of writing it out
    "#]]
    .assert_eq(&findings(&compiled(Spelling::Yaml, &source, &[]).unwrap_err()));

    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 1_000].join(", "));
    expect![[r#"
        main.yaml:2:665: WF0618 the workflow has more than 16777216 bytes of text
          hint: a text counts once for each node that holds it
    "#]]
    .assert_eq(&findings(&compiled(Spelling::Yaml, &text, &[]).unwrap_err()));

    let many = format!("a: &a 1\nb: [{}]\n", vec!["*a"; 10_001].join(", "));
    expect![[r#"
        main.yaml:2:40005: WF0621 the source has more than 10000 aliases
    "#]]
    .assert_eq(&findings(&compiled(Spelling::Yaml, &many, &[]).unwrap_err()));

    let nested = format!("{}{}", "&x [".repeat(100), "]".repeat(100));
    assert!(compiled(Spelling::Yaml, &nested, &[]).is_ok());
    let deep = format!("a: &a {}{}\nb: {}*a{}\n", "[".repeat(150), "]".repeat(150), "[".repeat(100), "]".repeat(100));
    expect![[r#"
        main.yaml:2:104: WF0605 values are nested more than 192 deep
    "#]]
    .assert_eq(&findings(&compiled(Spelling::Yaml, &deep, &[]).unwrap_err()));
}

#[test]
fn deep_nesting_is_refused() {
    expect![[r#"
        main.yaml:1:256: WF0605 values are nested more than 192 deep
    "#]]
    .assert_eq(&findings(&compiled(Spelling::Yaml, &"[".repeat(1_000_000), &[]).unwrap_err()));
    let flow = "{a: ".repeat(200_000);
    expect![[r#"
        main.yaml:1:1021: WF0605 values are nested more than 192 deep
    "#]]
    .assert_eq(&findings(&compiled(Spelling::Yaml, &flow, &[]).unwrap_err()));
    let block: String = (0..1_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    expect![[r#"
        main.yaml:193:193: WF0605 values are nested more than 192 deep
    "#]]
    .assert_eq(&findings(&compiled(Spelling::Yaml, &block, &[]).unwrap_err()));
    let dashes = "- ".repeat(100_000);
    expect![[r#"
        main.yaml:1:385: WF0605 values are nested more than 192 deep
    "#]]
    .assert_eq(&findings(&compiled(Spelling::Yaml, &dashes, &[]).unwrap_err()));
}

/// Texts that are YAML, or nearly so.
fn nearly_yaml() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "a",
        "b: ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "'x'",
        "\"y\\n\"",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "12",
        "-1.5",
        "0x1f",
        "0o7",
        "null",
        "~",
        "true",
        "False",
        "on",
        "|\n  t\n",
        ">-\n  t\n",
        "# c\n",
        "&x ",
        "*x",
        "?",
        ":",
        "é",
        "1e3",
        "k: v\n",
        "- i\n",
        "---\n",
        "!!str ",
        "<<: ",
        "'",
        "\"",
        "%",
        "@",
        "12345678901234567890",
        ".5",
    ]);
    prop::collection::vec(token, 0..10).prop_map(|tokens| tokens.concat())
}

/// Whether a draft says something that readers may take differently: a key twice, or one that is not plain text.
fn is_disputed(value: &SpannedValue) -> bool {
    match value {
        SpannedValue::List(items) => items.iter().any(|item| is_disputed(&item.value)),
        SpannedValue::Map(entries) => entries.iter().enumerate().any(|(index, (key, value))| {
            let again = entries[..index].iter().any(|(other, _)| other.name == key.name);
            again
                || !key.name.starts_with(char::is_alphabetic)
                || ["null", "true", "False"].contains(&&*key.name)
                || is_disputed(&value.value)
        }),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    /// Another reader of YAML gives the same values, where both give any.
    #[test]
    fn agrees_with_another_reader(source in nearly_yaml()) {
        let Ok(actual) = compiled(Spelling::Yaml, &source, &[]) else { return Ok(()) };
        let options = serde_saphyr::options! { strict_booleans: true };
        if is_disputed(&actual.root.value) { return Ok(()) }
        let expected = serde_saphyr::from_str_with_options::<Value>(&source, options);
        prop_assert!(expected.is_ok(), "{:?} {:?}", source, expected);
        prop_assert_eq!(actual.root.to_value(), expected.unwrap(), "{}", source);
    }
}
