//! Types: of schemas, of words, of values; and checks against schemas.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use expect_test::{Expect, expect};
use proptest::prelude::*;
use wf_ir::types::{check_is_schema, check_schema};
use wf_ir::{Type, Value};

fn value(json: &str) -> Value {
    Value::from_json(json).unwrap()
}

#[track_caller]
fn check_type(schema: &str, expected: &str) {
    assert_eq!(Type::from_schema(&value(schema)).to_string(), expected, "{schema}");
}

fn check(schema: &str, json: &str, expected: Expect) {
    let problem = check_schema(&value(schema), &value(json)).map_or_else(|problem| problem, |()| "fits".to_owned());
    expected.assert_eq(&problem);
}

fn check_refused(schema: &str, expected: Expect) {
    let problem = check_is_schema(&value(schema)).map_or_else(|problem| problem, |()| "is a schema".to_owned());
    expected.assert_eq(&problem);
    assert_eq!(check_schema(&value(schema), &Value::Null).is_err(), problem != "is a schema", "{schema}");
}

#[test]
fn types_of_schemas() {
    check_type(r#"{"type": "string"}"#, "string");
    check_type(r#"{"type": "integer", "minimum": 3}"#, "int");
    check_type(r#"{"type": "number"}"#, "number");
    check_type(r#"{"type": "boolean"}"#, "bool");
    check_type(r#"{"type": "null"}"#, "null");
    check_type(r#"{"type": ["string", "null"]}"#, "any");
    check_type(r#"{"type": ["integer", "number"]}"#, "number");
    check_type(r#"{"type": ["integer"]}"#, "int");
    check_type(r#"{"type": "array", "items": {"type": "string"}}"#, "list(string)");
    check_type(r#"{"type": "array"}"#, "list(any)");
    check_type(r#"{"type": "array", "items": {"type": "string"}, "prefixItems": [{}]}"#, "list(any)");
    check_type(
        r#"{"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]}"#,
        "{a: int, b: any}",
    );
    check_type(r#"{"properties": {"a": {"type": "integer"}}, "additionalProperties": false}"#, "{a: int}");
    check_type(r#"{"type": "object", "properties": {"a": {}}, "additionalProperties": true}"#, "any");
    check_type(r#"{"type": "object", "properties": {"a": {}}, "allOf": [{}]}"#, "any");
    check_type(r#"{"type": "object", "additionalProperties": {"type": "integer"}}"#, "map(int)");
    check_type(r#"{"type": "object"}"#, "map(any)");
    check_type(r#"{"enum": ["a", "b"]}"#, "string");
    check_type(r#"{"enum": ["a", 1]}"#, "any");
    check_type(r#"{"const": "a"}"#, "string");
    check_type(r#"{"anyOf": [{"type": "integer"}, {"type": "number"}]}"#, "number");
    check_type(r#"{"anyOf": [{"type": "integer"}, {"type": "null"}]}"#, "any");
    check_type(r##"{"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "integer"}}}"##, "int");
    check_type(r##"{"$ref": "#/$defs/a", "title": "A", "$defs": {"a": {"type": "integer"}}}"##, "int");
    check_type(r##"{"$ref": "#/$defs/a", "properties": {}, "$defs": {"a": {"type": "integer"}}}"##, "any");
    check_type(r##"{"type": "object", "properties": {"next": {"$ref": "#"}}}"##, "{next: {next: any}}");
    check_type("{}", "any");
    check_type("true", "any");
    check_type("[1]", "any");
}

#[test]
fn a_type_is_bounded_however_its_schema_doubles() {
    let defs: Vec<String> = (0..40)
        .map(|at| {
            format!(
                r##""d{at}": {{"properties": {{"a": {{"$ref": "#/$defs/d{0}"}}, "b": {{"$ref": "#/$defs/d{0}"}}}}}}"##,
                at + 1
            )
        })
        .collect();
    let schema = value(&format!(r##"{{"$ref": "#/$defs/d0", "$defs": {{{}}}}}"##, defs.join(",")));
    let mut ty = Type::from_schema(&schema);
    let mut depth = 0;
    while let Type::Record(mut fields) = ty {
        ty = fields.remove("a").unwrap();
        depth += 1;
    }
    assert_eq!((ty, depth), (Type::Any, 8));
}

#[test]
fn words_of_types() {
    for words in ["any", "null", "bool", "int", "number", "string", "list(string)", "map(list(int))"] {
        assert_eq!(Type::parse(words).unwrap().to_string(), words);
    }
    assert_eq!(Type::parse(" list ( map(any) ) ").unwrap().to_string(), "list(map(any))");
    for words in ["", "str", "list", "list()", "list(int", "list(int))", "int()", "List(int)", "record"] {
        assert_eq!(Type::parse(words), None, "{words}");
    }
    assert!(Type::parse(&format!("{}int{}", "list(".repeat(16), ")".repeat(16))).is_some());
    assert_eq!(Type::parse(&format!("{}int{}", "list(".repeat(100_000), ")".repeat(100_000))), None);
}

#[test]
fn types_of_values() {
    let of = |json: &str| Type::of(&value(json)).to_string();
    assert_eq!(of(r#"{"a": [1, 2.5], "b": [], "c": {"d": null}}"#), "{a: list(number), b: list(any), c: {d: null}}");
    assert_eq!(of(r#"[{"a": 1}, {"a": 2.5}]"#), "list({a: number})");
    assert_eq!(of(r#"[{"a": 1}, {"b": 1}]"#), "list(any)");
    let wide: Vec<String> = (0..9).map(|at| format!(r#""k{at}": 1"#)).collect();
    assert_eq!(
        of(&format!("{{{}}}", wide.join(","))),
        "{k0: int, k1: int, k2: int, k3: int, k4: int, k5: int, k6: int, k7: int, …}"
    );
}

#[test]
fn values_are_checked_against_types() {
    let check =
        |ty: Type, json: &str| ty.check_value(&value(json)).map_or_else(|reason| reason, |()| "fits".to_owned());
    let named = |words: &str| Type::parse(words).unwrap();
    assert_eq!(check(named("int"), "1"), "fits");
    assert_eq!(check(named("number"), "1"), "fits");
    assert_eq!(check(named("number"), "1.5"), "fits");
    assert_eq!(check(named("any"), "[null]"), "fits");
    assert_eq!(check(named("list(int)"), "[]"), "fits");
    assert_eq!(check(named("int"), "1.5"), "int is expected, found decimal");
    assert_eq!(check(named("string"), "null"), "string is expected, found null");
    assert_eq!(check(named("list(int)"), r#"[1, "a"]"#), "at /1: int is expected, found string");
    assert_eq!(check(named("list(int)"), "{}"), "list(int) is expected, found map");
    assert_eq!(check(named("map(list(bool))"), r#"{"a/b": [true, 1]}"#), "at /a~1b/1: bool is expected, found int");
    let record = Type::of(&value(r#"{"name": "", "size": 1}"#));
    assert_eq!(check(record.clone(), r#"{"name": "a"}"#), "fits");
    assert_eq!(check(record.clone(), r#"{"nmae": "a"}"#), "unknown field `nmae`; known fields are name, size");
    assert_eq!(check(record.clone(), r#"{"sizes": 1}"#), "unknown field `sizes`; did you mean `size`?");
    assert_eq!(check(record, r#"{"size": []}"#), "at /size: int is expected, found list");
    assert_eq!(check(Type::of(&value("{}")), r#"{"a": 1}"#), "unknown field `a`; it has no fields");
}

#[test]
fn schemas_are_checked() {
    check(r#"{"type": "integer"}"#, "3", expect!["fits"]);
    check(r#"{"type": "integer"}"#, "3.0", expect!["fits"]);
    check(r#"{"type": "number", "multipleOf": 0.1}"#, "0.3", expect!["fits"]);
    check(r#"{"type": "string", "pattern": "^\\d+$"}"#, r#""12""#, expect!["fits"]);
    check(r#"{"type": "integer"}"#, r#""3""#, expect![[r#""3" is not of type "integer""#]]);
    check(
        r#"{"type": "object", "properties": {"a": {"items": {"type": "string"}}}, "required": ["b", "c"]}"#,
        r#"{"a": ["x", 1, 2]}"#,
        expect![[
            r#""b" is a required property; "c" is a required property; at /a/1: 1 is not of type "string"; and more"#
        ]],
    );
    check(
        r#"{"properties": {"a/b": {"type": "string"}}}"#,
        r#"{"a/b": 1}"#,
        expect![[r#"at /a~1b: 1 is not of type "string""#]],
    );
    check(r#"{"additionalProperties": false}"#, r#"{"a": 1}"#, expect!["no value is allowed here"]);
    check(r#"{"enum": ["a", "b"]}"#, r#""c""#, expect![[r#""c" is not one of "a" or "b""#]]);
    check(r#"{"minimum": 1.5}"#, "1.25", expect!["1.25 is less than the minimum of 1.5"]);
    check(
        r#"{"properties": {"a": {}}, "additionalProperties": false}"#,
        r#"{"a": 1, "b": 1}"#,
        expect!["Additional properties are not allowed ('b' was unexpected)"],
    );
    check("false", "1", expect!["no value is allowed here"]);
    check(
        r#"{"type": "integer"}"#,
        &format!("{:?}", "x".repeat(1000)),
        expect![[r#"the value is not of type "integer""#]],
    );
    check(r#"{"format": "ipv4"}"#, r#""none""#, expect!["fits"]);
    check(
        r##"{"properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}, "required": ["n"]}"##,
        r#"{"n": 1, "next": {"n": 2, "next": {"next": null}}}"#,
        expect![[r#"at /next/next: "n" is a required property"#]],
    );
}

#[test]
fn what_is_no_schema() {
    check_refused("1", expect![[r#"1 is not of types "boolean", "object""#]]);
    check_refused(r#""string""#, expect![[r#""string" is not of types "boolean", "object""#]]);
    check_refused("[]", expect![[r#"[] is not of types "boolean", "object""#]]);
    check_refused(r#"{"type": "strin"}"#, expect![[r#"at /type: "strin" is no type of JSON Schema"#]]);
    check_refused(
        r#"{"properties": {"a": {"type": ["int"]}}}"#,
        expect![[r#"at /properties/a/type: ["int"] is no type of JSON Schema"#]],
    );
    check_refused(r#"{"properties": []}"#, expect![[r#"at /properties: [] is not of type "object""#]]);
    check_refused(r#"{"required": "a"}"#, expect![[r#"at /required: "a" is not of type "array""#]]);
    check_refused(r#"{"minimum": "1"}"#, expect![[r#"at /minimum: "1" is not of type "number""#]]);
    check_refused(
        r#"{"items": {"$ref": "https://example.com/a.json"}}"#,
        expect![[r#"at /items/$ref: "https://example.com/a.json" is not within this schema"#]],
    );
    check_refused(
        r#"{"$ref": "file:///etc/passwd"}"#,
        expect![[r#"at /$ref: "file:///etc/passwd" is not within this schema"#]],
    );
    check_refused(r#"{"$ref": "other.json#/a"}"#, expect![[r#"at /$ref: "other.json#/a" is not within this schema"#]]);
    check_refused(
        r##"{"properties": {"a/b": {"$ref": "#/$defs/nope"}}}"##,
        expect![[r##"at /properties/a~1b/$ref: "#/$defs/nope" points to nothing"##]],
    );
    check_refused(r##"{"$ref": "#name"}"##, expect![[r##"at /$ref: "#name" is not within this schema"##]]);
    check_refused(
        r##"{"$ref": "#/x/0", "x": [{"$ref": "http://a/b"}]}"##,
        expect![[r#"at /x/0/$ref: "http://a/b" is not within this schema"#]],
    );
    check_refused(
        r##"{"$dynamicRef": "#a"}"##,
        expect![[r##"at /$dynamicRef: only references of the form "#/…" are read"##]],
    );
    check_refused(
        r#"{"$defs": {"a": {"$id": "http://a/b"}}}"#,
        expect!["at /$defs/a/$id: only the whole schema may have an id"],
    );
    check_refused(
        r#"{"$schema": "http://example.com/schema"}"#,
        expect![[
            r#"at /$schema: "http://example.com/schema" is not read; known are https://json-schema.org/draft/2020-12/schema, https://json-schema.org/draft/2019-09/schema, http://json-schema.org/draft-07/schema, http://json-schema.org/draft-06/schema"#
        ]],
    );
    check_refused(
        r#"{"pattern": "(?=a)b"}"#,
        expect![
            "at /pattern: a regular expression of moderate size, without look-around and back-references, is needed"
        ],
    );
    check_refused(
        r#"{"pattern": "(\\w{100}){100}"}"#,
        expect![
            "at /pattern: a regular expression of moderate size, without look-around and back-references, is needed"
        ],
    );
    check_refused(
        r#"{"patternProperties": {"(a+)\\1": {}}}"#,
        expect![[
            r#"at /patternProperties/(a+)\1: a regular expression of moderate size, without look-around and back-references, is needed"#
        ]],
    );
    check_refused(
        r#"{"pattern": "("}"#,
        expect![
            "at /pattern: a regular expression of moderate size, without look-around and back-references, is needed"
        ],
    );
    check_refused(
        &format!(r#"{{"allOf": [{}{{}}]}}"#, r#"{"pattern": "a"},"#.repeat(65)),
        expect!["at /allOf/64/pattern: a schema has at most 64 patterns"],
    );
}

#[test]
fn what_is_a_schema() {
    for schema in [
        "true",
        "{}",
        r#"{"$schema": "http://json-schema.org/draft-07/schema#", "$id": "http://a/b", "type": "object"}"#,
        r#"{"$schema": "https://json-schema.org/draft/2020-12/schema"}"#,
        r##"{"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"$ref": {"type": "string"}, "pattern": {}}}}}"##,
        r##"{"definitions": {"node": {"properties": {"kids": {"items": {"$ref": "#/definitions/node"}}}}},
             "$ref": "#/definitions/node"}"##,
        r##"{"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}"##,
        r#"{"const": {"$ref": "http://a/b"}, "default": {"$ref": 1}}"#,
    ] {
        assert_eq!(check_is_schema(&value(schema)), Ok(()), "{schema}");
    }
}

/// A schema whose definitions `d0`, `d1`, … are each made from the next one's reference; the last is `{}`.
fn chain(count: usize, link: impl Fn(&str) -> String) -> Value {
    let links =
        (0..count).map(|at| format!(r##""d{at}": {}"##, link(&format!(r##"{{"$ref": "#/$defs/d{}"}}"##, at + 1))));
    let defs = links.chain([format!(r#""d{count}": {{}}"#)]).collect::<Vec<_>>().join(",");
    value(&format!(r##"{{"$ref": "#/$defs/d0", "$defs": {{{defs}}}}}"##))
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Int(1), |value, _| Value::map([("a", value)]))
}

#[test]
fn hostile_schemas_are_refused_and_large_ones_work() {
    let plain = |link: &str| link.to_owned();
    let twice = |link: &str| format!(r#"{{"allOf": [{link}, {link}]}}"#);
    let field = |link: &str| format!(r#"{{"properties": {{"a": {link}}}}}"#);
    let both = |link: &str| format!(r#"{{"anyOf": [{{"type": "null"}}, {{"allOf": [{{}}, {link}]}}]}}"#);
    let refused = |schema: &Value, depth: usize| {
        let problem = check_schema(schema, &nested(depth)).unwrap_err();
        (check_is_schema(schema).is_err(), problem)
    };
    let nesting = (true, "more than 512 schemas lie within each other through references".to_owned());
    assert_eq!(refused(&chain(10_000, plain), 0), nesting);
    assert_eq!(refused(&chain(10_000, field), 0), nesting);
    let often = "the schema looks at one part of a value too often".to_owned();
    assert_eq!(refused(&chain(40, twice), 0), (true, often.clone()));
    let open = "more than 512 schemas are open at once at this depth of values".to_owned();
    // Twelve schemas for each level of the value: through ten definitions and back to the whole.
    let mut circle = chain(9, plain);
    if let Value::Map(entries) = &mut circle
        && let Some(Value::Map(defs)) = entries.get_mut("$defs")
    {
        defs.insert("d9".to_owned(), value(r##"{"properties": {"a": {"$ref": "#"}}}"##));
    }
    assert_eq!(check_schema(&circle, &nested(40)), Ok(()));
    assert_eq!(refused(&circle, 50), (false, open));

    for (schema, depth) in
        [(chain(120, plain), 0), (chain(12, twice), 0), (chain(100, field), 100), (chain(60, both), 1)]
    {
        assert_eq!(check_is_schema(&schema), Ok(()));
        assert_eq!(check_schema(&schema, &nested(depth)), Ok(()));
    }

    let around = value(r##"{"allOf": [{"$ref": "#"}]}"##);
    let itself = "\"#\" leads back to itself for the same value".to_owned();
    assert_eq!(refused(&around, 0), (true, itself));
    let doubling = value(r##"{"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}"##);
    assert_eq!(check_is_schema(&doubling), Ok(()));
    assert_eq!(check_schema(&doubling, &nested(8)), Ok(()));
    assert_eq!(refused(&doubling, 60), (false, often));
    let list = Value::List(vec![Value::Int(1); 100_000]);
    let wide = value(&format!(r#"{{"items": {{"allOf": [{}{{}}]}}}}"#, r#"{"minimum": 0},"#.repeat(2_000)));
    let work = "a value of 100001 parts is too much work to check against this schema";
    assert_eq!(check_schema(&wide, &list), Err(work.to_owned()));
    assert_eq!(check_schema(&value(r#"{"items": {"minimum": 0}, "uniqueItems": false}"#), &list), Ok(()));
}

fn any_schema() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "{}",
        "true",
        r#"{"type": "integer"}"#,
        r#"{"type": "string"}"#,
        r#"{"type": "number"}"#,
        r#"{"type": "null"}"#,
        r#"{"enum": ["a", "b"]}"#,
        r#"{"const": 1}"#,
        r#"{"type": ["string", "null"]}"#,
        r#"{"type": "boolean"}"#,
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|it| format!(r#"{{"type": "array", "items": {it}}}"#)),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!(
                r#"{{"type": "object", "properties": {{"a": {a}, "b": {b}}}, "additionalProperties": false}}"#
            )),
            inner.clone().prop_map(|it| format!(r#"{{"type": "object", "additionalProperties": {it}}}"#)),
            (inner.clone(), inner).prop_map(|(a, b)| format!(r#"{{"anyOf": [{a}, {b}]}}"#)),
        ]
    })
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec!["null", "1", "2", "1.5", "true", r#""a""#, r#""b""#, "[]", "{}"]);
    leaf.prop_map(str::to_owned).prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!(r#"{{"a": {a}, "b": {b}}}"#)),
            inner.prop_map(|it| format!(r#"{{"a": {it}}}"#)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_fits_a_schema_fits_its_type(schema in any_schema(), json in any_json()) {
        prop_assert_eq!(check_is_schema(&value(&schema)), Ok(()));
        if check_schema(&value(&schema), &value(&json)).is_ok() {
            prop_assert_eq!(Type::from_schema(&value(&schema)).check_value(&value(&json)), Ok(()), "{} {}", schema, json);
        }
    }

    #[test]
    fn a_value_fits_its_own_type(json in any_json()) {
        prop_assert_eq!(Type::of(&value(&json)).check_value(&value(&json)), Ok(()));
    }

    #[test]
    fn no_value_as_schema_and_no_words_panic(json in any_json(), words in r"[a-z(), ]{0,20}") {
        let schema = value(&json.replace(r#""a""#, r#""items""#).replace(r#""b""#, r#""properties""#));
        let _ = (check_is_schema(&schema), Type::from_schema(&schema), Type::parse(&words));
    }
}
