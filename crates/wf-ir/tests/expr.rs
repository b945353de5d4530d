//! Expressions: what they parse to, what they read, their types and their values.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use wf_ir::expr::{Reference, Scope, TypeScope};
use wf_ir::{Decimal, EvalError, Expr, Type, Value};

/// Names and envelopes as they stand in [`SCOPE`].
struct Values {
    names: BTreeMap<String, Arc<Value>>,
}

const SCOPE: &str = r#"{
    "n": 3, "half": 0.5, "three": 3.0, "text": "héllo", "yes": true, "nothing": null, "ids": ["a", "b", "c"],
    "scores": [3, 1.5, 2], "empty": [], "huge": 9223372036854775807,
    "review": {"score": 8, "verdict": "ok", "notes": [{"path": "src/a.rs", "level": 2}, {"path": "b.md", "level": 1}],
               "by": {"name": "x"}, "none": null, "odd key": 1},
    "node.fix": {"path": "fix", "status": "succeeded", "value": {"passed": true}}
}"#;

fn values() -> Values {
    let Value::Map(entries) = Value::from_json(SCOPE).unwrap() else { panic!("a map") };
    Values { names: entries.into_iter().map(|(name, value)| (name, Arc::new(value))).collect() }
}

impl Scope for Values {
    fn name(&self, name: &str) -> Result<Arc<Value>, EvalError> {
        self.names.get(name).cloned().ok_or_else(|| EvalError(format!("unknown name `{name}`")))
    }

    fn envelope(&self, id: &str) -> Result<Arc<Value>, EvalError> {
        self.names.get(&format!("node.{id}")).cloned().ok_or_else(|| EvalError(format!("no node `{id}`")))
    }
}

struct Types;

impl TypeScope for Types {
    fn name(&self, name: &str) -> Option<Type> {
        values().names.get(name).map(|value| Type::of(value)).or((name == "any").then_some(Type::Any))
    }

    fn envelope(&self, id: &str) -> Option<Type> {
        (id == "fix").then(|| Type::of(values().names["node.fix"].get("value")))
    }
}

fn evaluated(source: &str) -> String {
    match Expr::parse(source) {
        Err(error) => format!("{}: {error}", error.offset),
        Ok(expr) => match expr.eval(&values()) {
            Err(error) => format!("error: {error}"),
            Ok(value) => value.to_json(),
        },
    }
}

#[track_caller]
fn check_values(cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        assert_eq!(evaluated(source), *expected, "{source}");
    }
}

fn check_each(sources: &[&str], expected: Expect, show: impl Fn(&str) -> String) {
    let line = |source: &&str| format!("> {}\n{}\n", source.replace('\n', "⏎").replace("  ", "␣␣"), show(source));
    let lines: Vec<String> = sources.iter().map(line).collect();
    expected.assert_eq(&lines.concat());
}

fn typed(source: &str) -> String {
    match Expr::parse(source).unwrap().check(&Types) {
        Ok(ty) => ty.to_string(),
        Err(error) => {
            let hint = error.hint.map_or(String::new(), |hint| format!("; hint: {hint}"));
            format!("{}: {}{hint}", error.offset, error.message)
        }
    }
}

#[test]
fn literals() {
    check_values(&[
        ("1", "1"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775807", "9223372036854775807"),
        ("1.50", "1.5"),
        ("-0.000001", "-1e-6"),
        ("999999999.999999", "999999999.999999"),
        ("'it''s'", "4: unexpected a string"),
        (r#"'it\'s "so"'"#, r#""it's \"so\"""#),
        (r#""a\n\r\t\\\"é""#, r#""a\n\r\t\\\"é""#),
        (r"'\u00e9\u20AC'", r#""é€""#),
        ("true", "true"),
        ("null", "null"),
        ("[1, 'a', [true,],]", r#"[1,"a",[true]]"#),
        (r#"{"b": 1, 'a': [n]}"#, r#"{"a":[3],"b":1}"#),
        ("{}", "{}"),
        ("[]", "[]"),
    ]);
}

#[test]
fn precedence() {
    check_values(&[
        ("1 + 2 * 3 - 4 / 2", "5"),
        ("(1 + 2) * 3", "9"),
        ("10 - 3 - 2", "5"),
        ("100 / 10 / 5", "2"),
        ("1 < 2 && 2 < 3 || false", "true"),
        ("true || false && false", "true"),
        ("false ? 1 : true ? 2 : 3", "2"),
        ("(true ? false : true) ? 1 : 2", "2"),
        ("!false && !!true", "true"),
        ("-n + 5", "2"),
        ("- -n", "3"),
        ("2 - -1", "3"),
        ("1 + 1 == 2 && !(2 in [1])", "true"),
        ("n > 1 == true", "true"),
    ]);
}

#[test]
fn arithmetic() {
    check_values(&[
        ("7 / 2", "3"),
        ("-7 / 2", "-3"),
        ("7 % 3", "1"),
        ("-7 % 3", "-1"),
        ("7 / 2.0", "3.5"),
        ("1.0 / 3", "0.333333"),
        ("2.0 / 3", "0.666667"),
        ("-2.0 / 3", "-0.666667"),
        ("0.000001 * 0.5", "1e-6"),
        ("0.000001 * 0.4", "0.0"),
        ("-0.000001 * 0.5", "-1e-6"),
        ("5.5 % 2", "1.5"),
        ("0.1 + 0.2", "0.3"),
        ("0.1 + 0.2 == 0.3", "true"),
        ("1 + 0.5", "1.5"),
        ("'a' + \"b\"", r#""ab""#),
        ("[1] + ids", r#"[1,"a","b","c"]"#),
        ("min(2, 1.5)", "1.5"),
        ("max(2, 1.5)", "2"),
        ("max(n, 3)", "3"),
        ("int(2.9) + int(-2.9) + int('-4')", "-4"),
        ("string(1) + string(1.5) + string(true) + string('x')", r#""11.5truex""#),
        ("string([1, {'a': null}])", r#""[1,{\"a\":null}]""#),
        ("-9223372036854775808 % -1", "0"),
    ]);
}

#[test]
fn arithmetic_out_of_range_is_an_error() {
    check_each(
        &[
            "huge + 1",
            "huge * 2",
            "-(-huge - 1)",
            "(-huge - 1) / -1",
            "1 / 0",
            "1 % 0",
            "1.5 / 0.0",
            "huge + 0.5",
            "999999999.0 * 999999999.0",
            "huge / 0.000001",
            "1 + 'a'",
            "true * 2",
            "-'a'",
            "int('12a')",
            "int('+1')",
            "int('')",
            "int(9 == 9)",
            "min('a', 'b')",
        ],
        expect![[r#"
            > huge + 1
            error: 9223372036854775807 + 1 is outside the range of numbers
            > huge * 2
            error: 9223372036854775807 * 2 is outside the range of numbers
            > -(-huge - 1)
            error: -(-9223372036854775808) is outside the range of numbers
            > (-huge - 1) / -1
            error: -9223372036854775808 / -1 is outside the range of numbers
            > 1 / 0
            error: 1 / 0 is a division by zero
            > 1 % 0
            error: 1 % 0 is a division by zero
            > 1.5 / 0.0
            error: 1.5 / 0 is a division by zero
            > huge + 0.5
            error: 9223372036854775807 + 0.5 is outside the range of numbers
            > 999999999.0 * 999999999.0
            error: 999999999.0 * 999999999.0 is outside the range of numbers
            > huge / 0.000001
            error: 9223372036854775807 / 1e-6 is outside the range of numbers
            > 1 + 'a'
            error: `+` needs two numbers, two strings or two lists, not int and string
            > true * 2
            error: `*` needs two numbers, not bool and int
            > -'a'
            error: `-` needs a number, not string
            > int('12a')
            error: "12a" is no int
            > int('+1')
            error: "+1" is no int
            > int('')
            error: "" is no int
            > int(9 == 9)
            error: `int` needs a number or a string, not bool
            > min('a', 'b')
            error: `min` needs two numbers, not string and string
        "#]],
        evaluated,
    );
}

#[test]
fn comparisons() {
    check_values(&[
        ("1 == 1.0", "true"),
        ("1 != 1.000001", "true"),
        ("[1, {'a': 2}] == [1.0, {'a': 2.0}]", "true"),
        ("[1] == [1, 2]", "false"),
        ("{'a': 1} == {'b': 1}", "false"),
        ("1 == '1'", "false"),
        ("null == false", "false"),
        ("nothing == null", "true"),
        ("1 < 1.5", "true"),
        ("huge > 999999999.0", "true"),
        ("'a' < 'b'", "true"),
        ("'b' <= 'b'", "true"),
        ("2 >= 3", "false"),
        ("1 in [1.0]", "true"),
        ("'a' in ids", "true"),
        ("'z' in ids", "false"),
        ("'score' in review", "true"),
        ("'nope' in {}", "false"),
        ("1 < 'a'", "error: `<` needs two numbers or two strings, not int and string"),
        ("true < false", "error: `<` needs two numbers or two strings, not bool and bool"),
        ("'h' in text", "error: `in` looks into lists and maps, not into string"),
        ("1 in review", "error: the keys of a map are strings, not int"),
    ]);
}

#[test]
fn logic_stops_early() {
    check_values(&[
        ("false && missing", "false"),
        ("true || missing", "true"),
        ("true ? 1 : missing", "1"),
        ("has(review.nope) && review.nope > 1", "false"),
        ("true && missing", "error: unknown name `missing`"),
        ("1 && true", "error: `&&` needs true or false, not int"),
        ("!nothing", "error: `!` needs true or false, not null"),
        ("text ? 1 : 2", "error: `?` needs true or false, not string"),
    ]);
}

#[test]
fn paths() {
    check_values(&[
        ("review.by.name", r#""x""#),
        ("review['odd key']", "1"),
        ("review.notes[1].path", r#""b.md""#),
        ("review.notes[n - 2.0].level", "1"),
        ("ids[three - 1]", r#""c""#),
        ("[[1, 2], [3]][0][1]", "2"),
        ("{'a': {'b': 7}}.a.b", "7"),
        ("node.fix.status == 'succeeded' && node.fix.value.passed", "true"),
        ("review.nope", "error: `review` has no field `nope`"),
        ("review.by.nope.more", "error: `review.by` has no field `nope`"),
        ("review['nope']", "error: `review` has no field `nope`"),
        ("review.none.x", "error: `review.none` is null, which has no field `x`"),
        ("n.x", "error: `n` is int, which has no field `x`"),
        ("{'a': 1}.b", "error: the value has no field `b`"),
        ("ids[3]", "error: index 3 is outside `ids`, which has 3 items"),
        ("ids[-1]", "error: index -1 is outside `ids`, which has 3 items"),
        ("review.notes[7].path", "error: index 7 is outside `review.notes`, which has 2 items"),
        ("ids['a']", "error: a list is indexed by an int, not string"),
        ("ids[half]", "error: a list is indexed by an int, not decimal"),
        ("review[0]", "error: a map is indexed by a string, not int"),
        ("text[0]", "error: `text` is string, which cannot be indexed"),
        ("node.nope.status", "error: no node `nope`"),
        ("nope", "error: unknown name `nope`"),
    ]);
}

#[test]
fn has_asks_for_a_path() {
    check_values(&[
        ("has(review.score)", "true"),
        ("has(review.none)", "true"),
        ("has(review.nope)", "false"),
        ("has(review.nope.deeper.still)", "false"),
        ("has(review.none.x)", "false"),
        ("has(review.notes[1].path)", "true"),
        ("has(review.notes[2].path)", "false"),
        ("has(review['odd key'])", "true"),
        ("has(ids[0])", "true"),
        ("has(nope.x)", "error: unknown name `nope`"),
        ("has(review)", "0: `has` takes a field or an index, as in `has(a.b)`"),
    ]);
}

#[test]
fn functions() {
    check_values(&[
        ("size(text)", "5"),
        ("size(ids) + size(review) + size([])", "9"),
        ("range(3)", "[0,1,2]"),
        ("range(three)", "[0,1,2]"),
        ("range(-1, 1)", "[-1,0]"),
        ("range(0)", "[]"),
        ("range(-1)", "error: range from 0 to -1 runs backwards"),
        ("size(range(20000))", "20000"),
        ("range(20001)", "error: range of 20001 items is longer than 20000"),
        ("range(-huge, huge)", "error: range of 18446744073709551614 items is longer than 20000"),
        ("range(half)", "error: `range` needs ints"),
        ("size(n)", "error: `size` needs a string, a list or a map, not int"),
        ("text.contains('ll')", "true"),
        ("text.startsWith('hé')", "true"),
        ("text.endsWith('x')", "false"),
        ("'abc'.contains('')", "true"),
        ("ids.contains('a')", "error: `contains` needs two strings, not list and string"),
    ]);
}

#[test]
fn macros() {
    check_values(&[
        ("ids.exists(i, i == 'b')", "true"),
        ("ids.all(i, i < 'c')", "false"),
        ("empty.exists(i, true)", "false"),
        ("empty.all(i, false)", "true"),
        ("scores.filter(s, s > 1.5)", "[3,2]"),
        ("scores.map(s, s * 2)", "[6,3.0,4]"),
        ("review.notes.filter(it, it.level > 1).map(it, it.path)", r#"["src/a.rs"]"#),
        ("range(3).map(i, {'i': i, 'n': n})", r#"[{"i":0,"n":3},{"i":1,"n":3},{"i":2,"n":3}]"#),
        // The variable hides a name, within the macro only.
        ("ids.exists(n, n == 'a') && n == 3", "true"),
        ("review.notes.exists(it, it.level)", "error: `exists` needs true or false, not int"),
        // What comes after the answer is not evaluated.
        ("[1, 'a'].exists(i, i == 1 || i + 1 == 0)", "true"),
        ("n.exists(i, true)", "error: `exists` needs a list, not int"),
        ("ids.all(i, ids.exists(j, j == i))", "15: `exists` cannot stand within another macro"),
        ("ids.all(node, true)", "8: `all` needs the name of a variable first"),
        ("ids.all(in, true)", "8: `all` needs the name of a variable first"),
        ("ids.all('a', true)", "8: `all` needs the name of a variable first"),
        ("ids.all(i)", "9: `,` is expected, found `)`"),
    ]);
}

#[test]
fn what_is_no_expression() {
    check_each(
        &[
            "",
            "  ",
            "a b",
            "a and b",
            "a or b",
            "a = 1",
            "a & b",
            "a | b",
            "a ? b",
            "(a",
            "[1",
            "[,]",
            "{a: 1}",
            "{'a': 1, 'a': 2}",
            "{'a' 1}",
            "a.",
            "a.1",
            "a[",
            "a..b",
            "1.5.2",
            "1e3",
            "0x1",
            "12abc",
            ".5",
            "9223372036854775808",
            "1.1234567",
            "1000000000.0",
            "'open",
            "'two\nlines'",
            r"'\x'",
            r"'\ud800'",
            r"'\u12'",
            "a.size()",
            "a.nope()",
            "a.contains()",
            "a.contains('x', 'y')",
            "contains(a)",
            "exists(a)",
            "nope(1)",
            "size()",
            "size(1, 2)",
            "range()",
            "min(1)",
            "node",
            "node['x']",
            "node.1",
            "in",
            "a in",
            "é",
            "a # b",
            "1 +",
            "a)",
        ],
        expect![[r#"
            > 
            0: an expression is missing
            > ␣␣
            0: an expression is missing
            > a b
            2: unexpected `b`
            > a and b
            2: `and` is no operator; write `&&`
            > a or b
            2: `or` is no operator; write `||`
            > a = 1
            2: `=` is no operator; write `==`
            > a & b
            2: `&` is no operator; write `&&`
            > a | b
            2: `|` is no operator; write `||`
            > a ? b
            5: `:` is expected, found the end
            > (a
            2: `)` is expected, found the end
            > [1
            2: `]` is expected, found the end
            > [,]
            1: a value is expected, found `,`
            > {a: 1}
            1: a key is expected, a string
            > {'a': 1, 'a': 2}
            9: key "a" stands twice
            > {'a' 1}
            5: `:` is expected, found `1`
            > a.
            1: a field name is expected after `.`
            > a.1
            1: a field name is expected after `.`
            > a[
            2: a value is expected, found the end
            > a..b
            1: a field name is expected after `.`
            > 1.5.2
            3: a field name is expected after `.`
            > 1e3
            0: `1` is followed by `e`; write numbers as 12 or 1.5
            > 0x1
            0: `0` is followed by `x`; write numbers as 12 or 1.5
            > 12abc
            0: `12` is followed by `a`; write numbers as 12 or 1.5
            > .5
            0: a value is expected, found `.`
            > 9223372036854775808
            0: 9223372036854775808 is outside the range of 64-bit integers
            > 1.1234567
            0: 1.1234567 has more than six decimal places
            > 1000000000.0
            0: 1000000000.0 is outside the range of decimals
            > 'open
            0: a string is not closed
            > 'two⏎lines'
            0: a string ends on the line where it begins
            > '\x'
            1: unknown escape; known are \\ \' \" \n \r \t \uXXXX
            > '\ud800'
            1: `\u` needs four hexadecimal digits that name a character
            > '\u12'
            1: `\u` needs four hexadecimal digits that name a character
            > a.size()
            2: `size` is no method; write `size(x)`
            > a.nope()
            2: unknown method `nope`; known are contains, startsWith, endsWith, exists, all, filter, map
            > a.contains()
            2: `contains` takes one argument
            > a.contains('x', 'y')
            2: `contains` takes one argument
            > contains(a)
            0: `contains` is a method; write `x.contains(y)`
            > exists(a)
            0: `exists` is a method; write `list.exists(v, …)`
            > nope(1)
            0: unknown function `nope`; known are size, range, has, min, max, int, string
            > size()
            0: `size` takes one argument
            > size(1, 2)
            0: `size` takes one argument
            > range()
            0: `range` takes one argument or two
            > min(1)
            0: `min` takes two arguments
            > node
            0: `node` is followed by `.` and the id of a node
            > node['x']
            0: `node` is followed by `.` and the id of a node
            > node.1
            0: `node` is followed by `.` and the id of a node
            > in
            0: a value is expected, found `in`
            > a in
            4: a value is expected, found the end
            > é
            0: unexpected character 'é'
            > a # b
            2: unexpected character '#'
            > 1 +
            3: a value is expected, found the end
            > a)
            1: unexpected `)`
        "#]],
        |source| Expr::parse(source).map_or_else(|error| format!("{}: {error}", error.offset), |_| "parsed".to_owned()),
    );
}

#[test]
fn bounds_of_the_source() {
    let error = |source: &str| Expr::parse(source).unwrap_err().to_string();
    assert_eq!(error(&" ".repeat(1025)), "an expression has at most 1024 bytes, this one has 1025");
    assert_eq!(error(&format!("1{}", "+1".repeat(128))), "an expression has at most 256 syntax nodes");
    assert_eq!(evaluated(&format!("1{}", "+1".repeat(127))), "128");
    assert_eq!(error(&format!("a{}", ".a".repeat(256))), "an expression has at most 256 syntax nodes");
    for (open, close) in
        [("(", ")"), ("[", "]"), ("!", ""), ("- ", ""), ("size(", ")"), ("true ? 1 : ", ""), ("a[", "]")]
    {
        let nested = |levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
        assert_eq!(error(&nested(40)), "an expression is nested at most 32 levels deep", "{open}");
        assert!(Expr::parse(&nested(31)).is_ok(), "{open}");
    }
}

#[test]
fn bounds_of_the_work() {
    let big =
        Value::map([("text", Value::from("x".repeat(1 << 20))), ("list", Value::List(vec![Value::Int(0); 400_000]))]);
    let scope = Values { names: BTreeMap::from([("big".to_owned(), Arc::new(big.clone()))]) };
    let eval = |source: &str| Expr::parse(source).unwrap().eval(&scope);
    let work = Err(EvalError("the expression takes too much work".to_owned()));
    let built = Err(EvalError("the expression builds more than 8388608 bytes".to_owned()));
    assert_eq!(eval("range(20000).map(i, size(big.text))"), work);
    assert_eq!(eval("range(20000).exists(i, big.text.contains('y'))"), work);
    assert_eq!(
        eval("range(20000).exists(i, int(big.text) == 1)"),
        Err(EvalError(format!("{:?} is no int", "x".repeat(40))))
    );
    assert_eq!(eval("range(20000).exists(i, 1 in big.list)"), work);
    assert_eq!(eval("range(20000).exists(i, big != big)"), work);
    assert_eq!(eval("big.list.exists(i, i == 1)"), work);
    assert_eq!(eval("range(20000).map(i, big.text)"), built);
    assert_eq!(eval("range(20000).map(i, range(20000))"), built);
    assert_eq!(eval("range(20).map(i, big.text + 'x')"), built);
    assert_eq!(eval("[big, big, big]"), built);
    assert_eq!(eval("big"), Ok(big));
    assert_eq!(eval("size(big.list) + size(big.text)"), Ok(Value::Int(400_000 + (1 << 20))));
    assert_eq!(eval("size(range(20000).filter(i, i % 2 == 0))"), Ok(Value::Int(10_000)));
}

#[test]
fn a_result_is_not_nested_without_end() {
    let wrap = Expr::parse("{'prev': prev}").unwrap();
    let mut names = BTreeMap::from([("prev".to_owned(), Arc::new(Value::Null))]);
    for _ in 0..64 {
        let next = wrap.eval(&Values { names: names.clone() }).unwrap();
        names.insert("prev".to_owned(), Arc::new(next));
    }
    let error = wrap.eval(&Values { names }).unwrap_err();
    assert_eq!(error.to_string(), "the result is nested more than 64 levels deep");
}

#[test]
fn references_leave_out_variables() {
    let references = |source: &str| {
        let references = Expr::parse(source).unwrap().references();
        references.iter().map(Reference::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(references("b.c + a[d] + size(e)"), "a b d e");
    assert_eq!(references("node.x.status == y && node.x.value"), "y node.x");
    assert_eq!(references("xs.exists(v, v.f == w)"), "w xs");
    assert_eq!(references("v.exists(v, v) && w"), "v w");
    assert_eq!(references("xs.all(v, true) && v"), "v xs");
    assert_eq!(references("{'key': 'text'}"), "");
}

#[test]
fn an_expression_is_its_source() {
    let expr = Expr::parse("a + 1").unwrap();
    assert_eq!((expr.as_str(), format!("{expr:?}")), ("a + 1", r#"Expr("a + 1")"#.to_owned()));
    assert_eq!(expr, expr.clone());
    assert_ne!(expr, Expr::parse("a+1").unwrap());
}

#[test]
fn types() {
    check_each(
        &[
            "n + 1",
            "n + half",
            "n / 2",
            "any + 1",
            "any + any",
            "any + 'a'",
            "[any] + []",
            "text + 'a'",
            "[1, 2.5]",
            "[1, 'a']",
            "[]",
            "review",
            "review.notes",
            "review.notes[0].level",
            "review['score']",
            "review[text]",
            "node.fix",
            "node.fix.value.passed",
            "yes ? 1 : 2.5",
            "yes ? 1 : 'a'",
            "review == null",
            "n == half",
            "any.x[0].y",
            "ids.map(i, size(i))",
            "review.notes.filter(it, it.level > 1)",
            "ids.exists(n, n == 'a')",
            "range(n)",
            "min(n, half)",
            "string(review)",
            "int(text)",
            "has(review.by.name)",
            "'a' in review",
            "{'a': n}",
        ],
        expect![[r#"
            > n + 1
            int
            > n + half
            number
            > n / 2
            int
            > any + 1
            number
            > any + any
            any
            > any + 'a'
            string
            > [any] + []
            list(any)
            > text + 'a'
            string
            > [1, 2.5]
            list(number)
            > [1, 'a']
            list(any)
            > []
            list(any)
            > review
            {by: {name: string}, none: null, notes: list({level: int, path: string}), odd key: int, score: int, verdict: string}
            > review.notes
            list({level: int, path: string})
            > review.notes[0].level
            int
            > review['score']
            int
            > review[text]
            any
            > node.fix
            {path: string, status: string, value: {passed: bool}}
            > node.fix.value.passed
            bool
            > yes ? 1 : 2.5
            number
            > yes ? 1 : 'a'
            any
            > review == null
            bool
            > n == half
            bool
            > any.x[0].y
            any
            > ids.map(i, size(i))
            list(int)
            > review.notes.filter(it, it.level > 1)
            list({level: int, path: string})
            > ids.exists(n, n == 'a')
            bool
            > range(n)
            list(int)
            > min(n, half)
            number
            > string(review)
            string
            > int(text)
            int
            > has(review.by.name)
            bool
            > 'a' in review
            bool
            > {'a': n}
            {a: int}
        "#]],
        typed,
    );
}

#[test]
fn what_types_refuse() {
    check_each(
        &[
            "nope",
            "node.nope.status",
            "review.scores",
            "review.zzz",
            "has(review.verdit)",
            "review['verdit']",
            "node.fix.state",
            "node.fix.value.pased",
            "n.x",
            "n[0]",
            "ids['a']",
            "review[1]",
            "n && yes",
            "!n",
            "n ? 1 : 2",
            "-text",
            "n + text",
            "text - text",
            "n < text",
            "yes < yes",
            "n == text",
            "'a' in text",
            "n in ids",
            "n in review",
            "1 in n",
            "size(n)",
            "range(text)",
            "min(n, text)",
            "int(yes)",
            "ids.contains('a')",
            "text.startsWith(n)",
            "n.all(i, true)",
            "ids.all(i, i)",
            "ids.filter(i, i > 1)",
        ],
        expect![[r#"
            > nope
            0: unknown name `nope`
            > node.nope.status
            0: there is no node `nope` here
            > review.scores
            7: `review` has no field `scores`; hint: did you mean `score`?
            > review.zzz
            7: `review` has no field `zzz`; hint: known fields are by, none, notes, odd key, score, verdict
            > has(review.verdit)
            11: `review` has no field `verdit`; hint: did you mean `verdict`?
            > review['verdit']
            7: `review` has no field `verdit`; hint: did you mean `verdict`?
            > node.fix.state
            9: `node.fix` has no field `state`; hint: known fields are path, status, value
            > node.fix.value.pased
            15: `node.fix.value` has no field `pased`; hint: did you mean `passed`?
            > n.x
            2: `n` is int, which has no field `x`
            > n[0]
            0: int cannot be indexed
            > ids['a']
            4: a list is indexed by an int, not string
            > review[1]
            7: a map is indexed by a string, not int
            > n && yes
            0: `&&` needs true or false, not int
            > !n
            1: `!` needs true or false, not int
            > n ? 1 : 2
            0: `?` needs true or false, not int
            > -text
            0: `-` needs a number, not string
            > n + text
            0: `+` needs two numbers, two strings or two lists, not int and string
            > text - text
            0: `-` needs two numbers, not string and string
            > n < text
            0: `<` needs two numbers or two strings, not int and string
            > yes < yes
            0: `<` needs two numbers or two strings, not bool and bool
            > n == text
            0: `==` compares int with string, which are never equal
            > 'a' in text
            0: `in` looks into lists and maps, not into strings; hint: write `text.contains(part)`
            > n in ids
            0: a list of string never holds int
            > n in review
            0: the keys of a map are strings, not int
            > 1 in n
            0: `in` looks into lists and maps, not into int
            > size(n)
            5: `size` needs a string, a list or a map, not int
            > range(text)
            6: `range` needs an int, not string
            > min(n, text)
            7: `min` needs two numbers, not string
            > int(yes)
            4: `int` needs a number or a string, not bool
            > ids.contains('a')
            0: `contains` needs a string, not list(string); hint: write `item in list`
            > text.startsWith(n)
            16: `startsWith` needs a string, not int
            > n.all(i, true)
            2: `all` needs a list, not int
            > ids.all(i, i)
            11: `all` needs true or false for each item, not string
            > ids.filter(i, i > 1)
            14: `>` needs two numbers or two strings, not string and int
        "#]],
        typed,
    );
}

fn source() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "0",
        "-2",
        "2.5",
        "'a'",
        "true",
        "false",
        "null",
        "n",
        "half",
        "text",
        "ids",
        "scores",
        "review",
        "huge",
        "empty",
        "node.fix",
        "review.score",
        "nothing",
        "review.notes",
        "[]",
        "{}",
        "missing",
        "v",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
        let operator =
            prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/", "%", "&&", "||"]);
        let function = prop::sample::select(vec!["size", "range", "int", "string", "!", "-"]);
        let each = prop::sample::select(vec!["exists", "all", "filter", "map"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(left, it, right)| format!("({left} {it} {right})")),
            (function, inner.clone()).prop_map(|(function, it)| format!("{function}({it})")),
            (inner.clone(), each, inner.clone()).prop_map(|(list, each, body)| format!("({list}).{each}(v, {body})")),
            (inner.clone(), inner.clone()).prop_map(|(base, index)| format!("({base})[{index}]")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(c, a, b)| format!("({c} ? {a} : {b})")),
            inner.clone().prop_map(|it| format!("({it}).status")),
            (inner.clone(), inner).prop_map(|(left, right)| format!("[{left}, {{'k': {right}}}, max({left}, 1)]")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>(), marks in r#"[a-c1-3'"\\.,()\[\]{}?:!&|=<>+*/% -]{0,60}"#) {
        for source in [text, marks] {
            if let Err(error) = Expr::parse(&source) {
                prop_assert!(error.offset <= source.len(), "{source:?}: {} {error}", error.offset);
            }
        }
    }

    #[test]
    fn evaluation_is_total_and_fits_the_type(source in source()) {
        if let Ok(expr) = Expr::parse(&source) {
            let (value, again) = (expr.eval(&values()), expr.eval(&values()));
            prop_assert_eq!(&value, &again);
            if let (Ok(value), Ok(ty)) = (&value, expr.check(&Types)) {
                prop_assert_eq!(ty.check_value(value), Ok(()), "{} is {} by its type", source, ty);
            }
            // What types refuse for the name alone is refused by evaluation too, unless it is never reached.
            if expr.references().contains(&Reference::Name("missing".to_owned())) {
                prop_assert!(expr.check(&Types).is_err());
            }
        }
    }

    #[test]
    fn integers_are_exact(left in any::<i64>(), right in any::<i64>()) {
        let expect = |wide: i128| i64::try_from(wide).map_or(None, |value| Some(Value::Int(value)));
        let scope = Values { names: BTreeMap::from([
            ("l".to_owned(), Arc::new(Value::Int(left))), ("r".to_owned(), Arc::new(Value::Int(right))),
        ])};
        let eval = |source: &str| Expr::parse(source).unwrap().eval(&scope).ok();
        let (wide_left, wide_right) = (i128::from(left), i128::from(right));
        prop_assert_eq!(eval("l + r"), expect(wide_left + wide_right));
        prop_assert_eq!(eval("l - r"), expect(wide_left - wide_right));
        prop_assert_eq!(eval("l * r"), expect(wide_left * wide_right));
        prop_assert_eq!(eval("l / r"), wide_left.checked_div(wide_right).and_then(expect));
        prop_assert_eq!(eval("l % r"), wide_left.checked_rem(wide_right).and_then(expect));
        prop_assert_eq!(eval("l < r"), Some(Value::Bool(left < right)));
    }

    #[test]
    fn decimals_are_rounded_to_the_nearest(left in -999_999_999_999_999i64..=999_999_999_999_999, right in -9_999_999i64..=9_999_999) {
        let decimal = |micros: i64| Value::Decimal(Decimal::from_micros(micros).unwrap());
        let scope = Values { names: BTreeMap::from([
            ("l".to_owned(), Arc::new(decimal(left))), ("r".to_owned(), Arc::new(decimal(right))),
        ])};
        for (source, dividend, divisor) in [
            ("l * r", i128::from(left) * i128::from(right), 1_000_000),
            ("l / r", i128::from(left) * 1_000_000, i128::from(right)),
        ] {
            match Expr::parse(source).unwrap().eval(&scope) {
                Ok(Value::Decimal(result)) => {
                    let off = (i128::from(result.micros()) * divisor - dividend).abs();
                    prop_assert!(2 * off <= divisor.abs(), "{} {} {} = {}", left, source, right, result);
                }
                Ok(other) => prop_assert!(false, "{:?} is no decimal", other),
                Err(_) => prop_assert!(divisor == 0 || (dividend / divisor).abs() >= 999_999_999_999_999),
            }
        }
    }
}
