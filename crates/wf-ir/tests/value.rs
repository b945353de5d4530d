//! Values: their JSON, both forms of numbers, and their digests.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use wf_ir::{Decimal, Digest, Value};

#[track_caller]
fn check_json(text: &str, expected: &str) {
    match Value::from_json(text) {
        Ok(value) => assert_eq!(value.to_json(), expected, "{text}"),
        Err(error) => assert_eq!(error.to_string(), expected, "{text}"),
    }
}

/// The text of a number as serde_json hands it over when some dependency turned `arbitrary_precision` on.
fn token(text: &str) -> String {
    format!(r#"{{"$serde_json::private::Number": "{text}"}}"#)
}

#[test]
fn json_is_canonical() {
    check_json(" { \"b\" : [ 1 , true , null ] , \"a\" : \"x\" } ", r#"{"a":"x","b":[1,true,null]}"#);
    check_json(r#"{"b":1,"a":{"d":[],"c":{}}}"#, r#"{"a":{"c":{},"d":[]},"b":1}"#);
    check_json(r#""\u00e9\n\"\u2028""#, "\"é\\n\\\"\u{2028}\"");
    check_json("1.50", "1.5");
    check_json("1e3", "1000.0");
    check_json("0.000001", "1e-6");
    check_json("-0.0", "0.0");
    check_json("0.0000004", "0.0");
    check_json("0.1234567", "0.123457");
    check_json("999999999.999999", "999999999.999999");
    check_json("-9223372036854775808", "-9223372036854775808");
    check_json(r#"{"a":1,"a":2}"#, r#"{"a":2}"#);
}

#[test]
fn numbers_out_of_range_are_errors() {
    let outside = |text: &str| {
        let error = Value::from_json(text).unwrap_err().to_string();
        assert!(error.contains("outside the range") || error.contains("out of range"), "{text}: {error}");
        let error = Value::from_json(&token(text)).unwrap_err().to_string();
        assert!(error.contains("outside the range of 64-bit integers and of decimals"), "{text}: {error}");
    };
    for text in [
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "1e9",
        "1000000000.0",
        "-1e300",
        "1e999",
        "123456789012345678901234567890",
    ] {
        outside(text);
    }
}

#[test]
fn both_forms_of_numbers_are_the_same_value() {
    for text in [
        "0",
        "-0",
        "7",
        "-7",
        "1.5",
        "-0.000001",
        "1e3",
        "1E-2",
        "0.1234567",
        "9223372036854775807",
        "999999999.999999",
    ] {
        assert_eq!(Value::from_json(text).unwrap(), Value::from_json(&token(text)).unwrap(), "{text}");
    }
    check_json(&format!(r#"{{"a": [{}]}}"#, token("1.5")), r#"{"a":[1.5]}"#);
    for text in ["", "x", "nan", "inf", "1.5.5", "--1", "0x10"] {
        let error = Value::from_json(&token(text)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("number {text:?} is outside the range")), "{error}");
    }
    assert!(Value::from_json(r#"{"$serde_json::private::Number": 5}"#).is_err());
    assert!(Value::from_json(r#"{"$serde_json::private::Number": "5", "a": 1}"#).is_err());
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(Value::from_json(&nested(64)).unwrap().depth(), 64);
    assert_eq!(Value::from_json(&nested(65)).unwrap_err().to_string(), "the value is nested more than 64 levels deep");
    assert!(Value::from_json(&nested(1_000_000)).unwrap_err().to_string().starts_with("recursion limit exceeded"));
    assert!(Value::from_json(&r#"{"a":"#.repeat(100_000)).is_err());
    assert_eq!(Value::from_json(r#"{"a": [1, {"b": []}], "c": 1}"#).unwrap().depth(), 4);
}

#[test]
fn what_is_no_json_is_an_error() {
    for text in ["", "{", "[1,]", "{'a': 1}", "nul", "1 2", "NaN", "\"\\ud800\"", "01", "\"a"] {
        assert!(Value::from_json(text).is_err(), "{text}");
    }
}

#[test]
fn parts_of_values() {
    let value = Value::from_json(r#"{"s": "x", "i": 1, "b": true, "l": [1], "m": {"k": null}, "d": 1.5}"#).unwrap();
    assert_eq!(value.get("s").as_str(), Some("x"));
    assert_eq!(value.get("i").as_int(), Some(1));
    assert_eq!(value.get("b").as_bool(), Some(true));
    assert_eq!(value.get("l").as_list(), Some(&[Value::Int(1)][..]));
    assert_eq!(value.get("m").as_map().map(BTreeMap::len), Some(1));
    assert_eq!((value.get("nope"), value.get("s").get("x")), (&Value::Null, &Value::Null));
    assert_eq!((value.get("d").as_int(), value.get("d").as_str()), (None, None));
    let names = ["s", "i", "b", "l", "m", "d", "nope"].map(|field| value.get(field).type_name());
    assert_eq!(names, ["string", "int", "bool", "list", "map", "decimal", "null"]);
}

#[test]
fn serialisable_things_are_values() {
    #[derive(serde::Serialize)]
    struct Thing {
        b: Option<u8>,
        a: f64,
        kind: Kind,
    }
    #[derive(serde::Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        One { x: i64 },
    }
    let thing = Thing { b: None, a: 0.25, kind: Kind::One { x: -1 } };
    let value = Value::from_serialize(&thing).unwrap();
    assert_eq!(value.to_json(), r#"{"a":0.25,"b":null,"kind":{"one":{"x":-1}}}"#);
    assert!(Value::from_serialize(&u64::MAX).is_err());
    assert!(Value::from_serialize(&1e300).is_err());
    assert!(Value::from_serialize(&BTreeMap::from([(vec![1], 1)])).is_err());
}

#[test]
fn decimals_have_six_places_and_bounds() {
    let shown = |micros: i64| Decimal::from_micros(micros).map_or("none".to_owned(), |decimal| decimal.to_string());
    let all = [0, 1, -1, 1_500_000, -1_500_000, 999_999_999_999_999, 1_000_000_000_000_000].map(shown);
    assert_eq!(all, ["0.0", "0.000001", "-0.000001", "1.5", "-1.5", "999999999.999999", "none"]);
    assert_eq!(Decimal::from_int(999_999_999).unwrap().to_string(), "999999999.0");
    assert_eq!((Decimal::from_int(1_000_000_000), Decimal::from_int(i64::MIN)), (None, None));
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e9, -1e9] {
        assert_eq!(Decimal::from_f64(float), None);
    }
}

#[test]
fn digests() {
    let digest = Digest::of(b"");
    assert_eq!(digest.to_string(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    assert_eq!((digest.short(), format!("{digest:?}")), ("af1349b9f5f9".to_owned(), "Digest(af1349b9f5f9)".to_owned()));
    assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    let json = serde_json::to_string(&digest).unwrap();
    assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    for text in ["", "af13", "zz1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262", "é"] {
        assert_eq!(text.parse::<Digest>().unwrap_err().to_string(), "a digest is 64 hexadecimal digits");
    }
    let (left, right) = (Value::from_json(r#"{"a":1,"b":2}"#).unwrap(), Value::from_json(r#"{"b":2,"a":1}"#).unwrap());
    assert_eq!(Digest::of_json(&left), Digest::of_json(&right));
    assert_eq!(Digest::of_json(&left), Digest::of(left.to_json().as_bytes()));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-999_999_999_999_999i64..=999_999_999_999_999)
            .prop_map(|micros| Value::Decimal(Decimal::from_micros(micros).unwrap())),
        (-5_000_000i64..=5_000_000).prop_map(|micros| Value::Decimal(Decimal::from_micros(micros).unwrap())),
        any::<String>().prop_map(Value::Str),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            prop::collection::btree_map(any::<String>(), inner, 0..5).prop_map(Value::Map),
        ]
    })
}

/// The value's JSON with every number in the form that arbitrary precision gives it.
fn with_tokens(value: &Value) -> String {
    match value {
        Value::Int(_) | Value::Decimal(_) => token(&value.to_json()),
        Value::List(items) => format!("[{}]", items.iter().map(with_tokens).collect::<Vec<_>>().join(",")),
        Value::Map(entries) => {
            let entry = |(key, value): (&String, &Value)| {
                format!("{}:{}", Value::from(key.as_str()).to_json(), with_tokens(value))
            };
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
        }
        Value::Null | Value::Bool(_) | Value::Str(_) => value.to_json(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn json_round_trips(value in any_value()) {
        let text = value.to_json();
        prop_assert_eq!(&Value::from_json(&text).unwrap(), &value);
        prop_assert_eq!(&Value::from_json(&with_tokens(&value)).unwrap(), &value);
        prop_assert_eq!(&Value::from_serialize(&value).unwrap(), &value);
        // Another reader and writer, whatever form it keeps numbers in, changes nothing.
        let other: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&serde_json::from_value::<Value>(other.clone()).unwrap(), &value);
        prop_assert_eq!(&Value::from_serialize(&other).unwrap(), &value);
    }

    #[test]
    fn decimals_round_trip_as_floats(micros in -999_999_999_999_999i64..=999_999_999_999_999) {
        let decimal = Decimal::from_micros(micros).unwrap();
        prop_assert_eq!(Decimal::from_f64(decimal.to_f64()), Some(decimal));
        prop_assert_eq!(Value::from_number_text(&decimal.to_string()).unwrap(), Value::Decimal(decimal));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>(), marks in r#"[\[\]{}:,"0-9.eE+\\a-]{0,40}"#) {
        for text in [text, marks] {
            if let Ok(value) = Value::from_json(&text) {
                prop_assert_eq!(Value::from_json(&value.to_json()).unwrap(), value);
            }
        }
    }
}
