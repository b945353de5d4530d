//! The schemas that most outputs have, checked without compiling anything.
//!
//! It only ever says that a value fits: whatever it does not know, and whatever does not fit, is left to the full
//! check, which also words the problems.

use crate::value::Value;

/// Most values in an `enum` that are looked through one by one.
const ENUM_MAX: usize = 64;

/// Whether `schema` is entirely of the known kind and `value` fits it.
pub(super) fn fits(schema: &Value, value: &Value) -> bool {
    known(schema) && holds(schema, value)
}

/// Whether every keyword is known here and well formed.
fn known(schema: &Value) -> bool {
    let Value::Map(keywords) = schema else { return matches!(schema, Value::Bool(_)) };
    keywords.iter().all(|(keyword, held)| match keyword.as_str() {
        "title" | "description" | "$comment" => matches!(held, Value::Str(_)),
        "default" => true,
        "type" => match held {
            Value::Str(name) => type_named(name),
            Value::List(names) => {
                let once = names.iter().enumerate().all(|(at, name)| !names[..at].contains(name));
                !names.is_empty()
                    && names.len() <= 7
                    && once
                    && names.iter().all(|it| it.as_str().is_some_and(type_named))
            }
            _ => false,
        },
        "enum" => match held {
            Value::List(values) => values.len() <= ENUM_MAX && values.iter().all(plain),
            _ => false,
        },
        "const" => plain(held),
        "properties" => held.as_map().is_some_and(|fields| fields.values().all(known)),
        "required" => match held {
            Value::List(names) => names.iter().enumerate().all(|(at, name)| match name {
                Value::Str(_) => names.len() <= ENUM_MAX && !names[..at].contains(name),
                _ => false,
            }),
            _ => false,
        },
        "items" | "additionalProperties" => known(held),
        "minimum" | "maximum" => held.millionths().is_some(),
        "minLength" | "maxLength" | "minItems" | "maxItems" => held.as_int().is_some_and(|bound| bound >= 0),
        _ => false,
    })
}

/// Whether equality is that of [`Value`]; numbers of JSON Schema are equal across their forms.
fn plain(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(_) | Value::Str(_))
}

fn type_named(name: &str) -> bool {
    matches!(name, "null" | "boolean" | "integer" | "number" | "string" | "array" | "object")
}

fn holds(schema: &Value, value: &Value) -> bool {
    let Value::Map(keywords) = schema else { return schema == &Value::Bool(true) };
    keywords.iter().all(|(keyword, held)| match (keyword.as_str(), value) {
        ("type", _) => match held {
            Value::List(names) => names.iter().any(|name| is_of(name, value)),
            name => is_of(name, value),
        },
        ("enum", _) => held.as_list().is_some_and(|values| values.contains(value)),
        ("const", _) => held == value,
        ("required", Value::Map(entries)) => {
            held.as_list().unwrap_or(&[]).iter().all(|name| name.as_str().is_some_and(|it| entries.contains_key(it)))
        }
        ("properties", Value::Map(entries)) => entries.iter().all(|(key, value)| match held.as_map() {
            Some(fields) => fields.get(key).is_none_or(|field| holds(field, value)),
            None => false,
        }),
        ("additionalProperties", Value::Map(entries)) => {
            let fields = schema.get("properties").as_map();
            let mut others = entries.iter().filter(|(key, _)| fields.is_none_or(|fields| !fields.contains_key(*key)));
            others.all(|(_, value)| holds(held, value))
        }
        ("items", Value::List(items)) => items.iter().all(|item| holds(held, item)),
        ("minimum", Value::Int(_) | Value::Decimal(_)) => value.millionths() >= held.millionths(),
        ("maximum", Value::Int(_) | Value::Decimal(_)) => value.millionths() <= held.millionths(),
        ("minItems", Value::List(items)) => at_least(items.len(), held),
        ("maxItems", Value::List(items)) => at_most(items.len(), held),
        ("minLength", Value::Str(text)) => at_least(text.chars().count(), held),
        ("maxLength", Value::Str(text)) => at_most(text.chars().count(), held),
        _ => true,
    })
}

fn is_of(name: &Value, value: &Value) -> bool {
    match (name.as_str().unwrap_or(""), value) {
        ("integer", Value::Decimal(value)) => value.micros() % 1_000_000 == 0,
        ("integer" | "number", Value::Int(_)) | ("number", Value::Decimal(_)) => true,
        ("null", Value::Null) | ("boolean", Value::Bool(_)) | ("string", Value::Str(_)) => true,
        ("array", Value::List(_)) | ("object", Value::Map(_)) => true,
        _ => false,
    }
}

fn at_least(count: usize, bound: &Value) -> bool {
    bound.as_int().and_then(|bound| usize::try_from(bound).ok()).is_some_and(|bound| count >= bound)
}

fn at_most(count: usize, bound: &Value) -> bool {
    bound.as_int().and_then(|bound| usize::try_from(bound).ok()).is_some_and(|bound| count <= bound)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_schema() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "{}",
            "true",
            "false",
            r#"{"type":"integer"}"#,
            r#"{"type":"number","minimum":1,"maximum":1.5}"#,
            r#"{"type":"string","minLength":1,"maxLength":2}"#,
            r#"{"type":"null"}"#,
            r#"{"type":"boolean"}"#,
            r#"{"enum":["a","éé",true]}"#,
            r#"{"const":"a"}"#,
            r#"{"minItems":1,"maxItems":1}"#,
            r#"{"minimum":1.5}"#,
            r#"{"maxLength":1,"title":"t","default":1}"#,
            r#"{"required":["a"]}"#,
            r#"{"enum":[1]}"#,
            r#"{"type":["string","null","integer"]}"#,
            r#"{"exclusiveMinimum":1}"#,
        ]);
        leaf.prop_map(str::to_owned).prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|it| format!(r#"{{"type":"array","items":{it}}}"#)),
                (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, others)| format!(
                    r#"{{"properties":{{"a":{a},"b":{b}}},"required":["b"],"additionalProperties":{others}}}"#
                )),
                (inner.clone(), inner).prop_map(|(a, b)| format!(
                    r#"{{"type":"object","properties":{{"a":{a}}},"additionalProperties":false,"description":"{}"}}"#,
                    b.len()
                )),
            ]
        })
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "null",
            "1",
            "2",
            "1.0",
            "1.5",
            "1.500001",
            "-1",
            "true",
            r#""a""#,
            r#""éé""#,
            r#""""#,
            r#""abc""#,
            "[]",
            "{}",
        ]);
        leaf.prop_map(str::to_owned).prop_recursive(3, 12, 2, |inner| {
            prop_oneof![
                inner.clone().prop_map(|it| format!("[{it}]")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!(r#"{{"a":{a},"b":{b}}}"#)),
                (inner.clone(), inner).prop_map(|(b, c)| format!(r#"{{"b":{b},"c":{c}}}"#)),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_the_full_check(schema in any_schema(), json in any_json()) {
            let (schema, value) = (Value::from_json(&schema).unwrap(), Value::from_json(&json).unwrap());
            let full = super::super::compile(&schema).unwrap().is_valid(&super::super::json(&value));
            prop_assert!(full || !fits(&schema, &value), "{} {}", schema.to_json(), json);
            if known(&schema) {
                prop_assert_eq!(fits(&schema, &value), full, "{} {}", schema.to_json(), json);
            }
        }
    }

    #[test]
    fn what_is_not_well_formed_is_left_to_the_full_check() {
        for schema in [
            r#"{"type":"strin"}"#,
            r#"{"type":[]}"#,
            r#"{"type":["null","null"]}"#,
            r#"{"minimum":"1"}"#,
            r#"{"required":["a","a"]}"#,
            r#"{"required":[1]}"#,
            r#"{"enum":1}"#,
            r#"{"minLength":-1}"#,
            r#"{"items":[{}]}"#,
            r#"{"properties":{"a":{"type":1}}}"#,
            r#"{"title":1}"#,
            r#"{"$ref":"x"}"#,
            "1",
            "null",
        ] {
            assert!(!fits(&Value::from_json(schema).unwrap(), &Value::Null), "{schema}");
        }
        assert!(fits(&Value::Bool(true), &Value::Null) && !fits(&Value::Bool(false), &Value::Null));
    }
}
