//! The JSON spelling.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use wf_author::Spelling;
use wf_ir::Value;

use crate::support::{compiled, outcome, places};

fn check(source: &str, expected: Expect) {
    expected.assert_eq(&outcome(Spelling::Json, source, &[]));
}

#[test]
fn every_part_has_its_place() {
    let source = "{\n  \"workflow\": \"é\",\n  \"children\": [ {\"ask\": \"a\", \"n\": -1.50} , [], {} ],\n\"x\":null, \"x\" : true}\n";
    let draft = compiled(Spelling::Json, source, &[]).unwrap();
    expect![[r#"
        map <1:1-4:22>
          workflow <2:3-2:13>: "é" <2:15-2:18>
          children <3:3-3:13>: list <3:15-3:52>
            map <3:17-3:41>
              ask <3:18-3:23>: "a" <3:25-3:28>
              n <3:30-3:33>: -1.5 <3:35-3:40>
            list <3:44-3:46>
            map <3:48-3:50>
          x <4:1-4:4>: null <4:5-4:9>
          x <4:11-4:14>: true <4:17-4:21>
    "#]]
    .assert_eq(&places(&draft));
}

#[test]
fn texts() {
    check(
        r#"["\"\\\/\b\f\n\r\t", "\u00e9\uD83D\ude00", "é😀", ""]"#,
        expect![[r#"
            ["\"\\/\u{8}\u{c}\n\r\t", "é😀", "é😀", ""]
        "#]],
    );
    check(
        r#""\ud83d""#,
        expect![[r#"
            main.json:1:2: WF0604 half of a surrogate pair
        "#]],
    );
    check(
        r#""\ude00\ud83d""#,
        expect![[r#"
            main.json:1:2: WF0604 half of a surrogate pair
        "#]],
    );
    check(
        r#""\ud83d\u0041""#,
        expect![[r#"
            main.json:1:2: WF0604 half of a surrogate pair
        "#]],
    );
    check(
        r#""\u12g4""#,
        expect![[r#"
            main.json:1:2: WF0604 `\u` needs four hexadecimal digits
        "#]],
    );
    check(
        r#""\u12"#,
        expect![[r#"
            main.json:1:2: WF0604 `\u` needs four hexadecimal digits
        "#]],
    );
    check(
        r#""\x""#,
        expect![[r#"
            main.json:1:2: WF0604 an escape that JSON does not have
        "#]],
    );
    check(
        r#""\é""#,
        expect![[r#"
            main.json:1:2: WF0604 an escape that JSON does not have
        "#]],
    );
    check(
        "\"a\nb\"",
        expect![[r#"
            main.json:1:3: WF0604 a control character must be written as an escape, found '\n'
        "#]],
    );
    check(
        "[1,\n \"abc",
        expect![[r#"
            main.json:2:2: WF0604 the text is not closed
        "#]],
    );
    check(
        "\"\\",
        expect![[r#"
            main.json:1:2: WF0604 an escape that JSON does not have
        "#]],
    );
}

#[test]
fn numbers() {
    check(
        "[0, -0, 12, 1.5, -2.25e1, 1E2, 1e-7, 0.1234567, 9223372036854775807]",
        expect![[r#"
            [0, 0, 12, 1.5, -22.5, 100.0, 0.0, 0.123457, 9223372036854775807]
        "#]],
    );
    check(
        "[9223372036854775808, 1e12, {\"a\": -1e400}]",
        expect![[r#"
            main.json:1:2: WF0606 the number 9223372036854775808 is outside the range of 64-bit integers and of decimals with six places
            main.json:1:23: WF0606 the number 1e12 is outside the range of 64-bit integers and of decimals with six places
            main.json:1:35: WF0606 the number -1e400 is outside the range of 64-bit integers and of decimals with six places
        "#]],
    );
    for source in ["01", "1.", ".5", "+1", "-", "1e", "1e+", "0x1", "NaN", "Infinity", "- 1"] {
        let found = compiled(Spelling::Json, source, &[]).unwrap_err();
        assert_eq!((found.len(), found[0].code), (1, "WF0604"), "{source}");
    }
}

#[test]
fn syntax_errors_have_their_place() {
    check(
        "",
        expect![[r#"
            main.json:1:1: WF0604 expected a value, but the text ends
        "#]],
    );
    check(
        "{",
        expect![[r#"
            main.json:1:1: WF0604 expected a key in double quotes, but the text ends
        "#]],
    );
    check(
        "{\"a\": 1,}",
        expect![[r#"
            main.json:1:9: WF0604 expected a key in double quotes, found '}'
        "#]],
    );
    check(
        "[1,\n 2 3]",
        expect![[r#"
            main.json:2:4: WF0604 expected `,` or `]`, found '3'
        "#]],
    );
    check(
        "{\"a\" 1}",
        expect![[r#"
            main.json:1:6: WF0604 expected `:` after the key, found '1'
        "#]],
    );
    check(
        "{a: 1}",
        expect![[r#"
            main.json:1:2: WF0604 expected a key in double quotes, found 'a'
        "#]],
    );
    check(
        "{'a': 1}",
        expect![[r#"
            main.json:1:2: WF0604 expected a key in double quotes, found '\''
        "#]],
    );
    check(
        "[1] // x",
        expect![[r#"
            main.json:1:5: WF0604 something follows the end of the value, found '/'
        "#]],
    );
    check(
        "[tru]",
        expect![[r#"
            main.json:1:2: WF0604 expected a value, found 't'
        "#]],
    );
    check(
        "nul",
        expect![[r#"
            main.json:1:1: WF0604 expected a value, found 'n'
        "#]],
    );
    check(
        "[1]]",
        expect![[r#"
            main.json:1:4: WF0604 something follows the end of the value, found ']'
        "#]],
    );
    check(
        "{\"a\": é}",
        expect![[r#"
            main.json:1:7: WF0604 expected a value, found 'é'
        "#]],
    );
}

#[test]
fn deep_nesting_is_refused() {
    let found = compiled(Spelling::Json, &"[".repeat(1_000_000), &[]).unwrap_err();
    expect![[r#"
        main.json:1:193: WF0605 values are nested more than 192 deep
    "#]]
    .assert_eq(&crate::support::findings(&found));
    let depth = wf_author::limits::DRAFT_DEPTH_MAX;
    assert!(compiled(Spelling::Json, &format!("{}{}", "[".repeat(depth), "]".repeat(depth)), &[]).is_ok());
    assert!(compiled(Spelling::Json, &format!("{}{}", "[".repeat(depth + 1), "]".repeat(depth + 1)), &[]).is_err());
}

/// Texts that are JSON, or nearly so.
fn nearly_json() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"\\n\"",
        "\"\\ud800\"",
        "1",
        "-",
        "0",
        "1.5",
        "e3",
        "true",
        "null",
        " ",
        "\n",
        "é",
        "\"",
        "\\",
        "\"é\"",
        "{}",
        "[1]",
        "{\"k\":2}",
    ]);
    prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Another reader of JSON says the same of every text, and gives the same values.
    #[test]
    fn agrees_with_another_reader(source in nearly_json()) {
        // Readers differ on whether a negative zero is an integer.
        if source.contains("-0") {
            return Ok(());
        }
        let expected = Value::from_json(&source);
        let actual = compiled(Spelling::Json, &source, &[]);
        match (expected, actual) {
            (Ok(expected), Ok(actual)) => prop_assert_eq!(expected, actual.root.to_value()),
            (Err(_), Err(found)) => prop_assert!(!found.is_empty()),
            (expected, actual) => prop_assert!(false, "{:?} but {:?}", expected, actual),
        }
    }
}
