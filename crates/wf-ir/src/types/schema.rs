//! JSON Schema: the types that it gives, and checks against it.
//!
//! Checks are the `jsonschema` crate's. What a hostile schema could do to it is refused before: references to other
//! documents, patterns that backtrack, chains of references that exhaust the stack, and schemas that look at one part
//! of a value a great many times. `format` is a remark, not a check.

mod bounds;
mod simple;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value as Json;

use super::Type;
use crate::value::Value;

/// Most problems that one error names.
const PROBLEMS_MAX: usize = 3;
/// Longest text of one problem, in characters.
const PROBLEM_LEN_MAX: usize = 240;
/// Largest compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 256 << 10;
/// Most schemas that one type is made of.
const TYPE_SCHEMAS_MAX: usize = 2_000;

/// Checks `value` against a JSON Schema.
///
/// # Errors
/// What does not fit, with its place, for a person or a model to read.
pub fn check_schema(schema: &Value, value: &Value) -> Result<(), String> {
    if simple::fits(schema, value) {
        return Ok(());
    }
    bounds::check_work(schema, value)?;
    let validator = compile(schema)?;
    let value = json(value);
    if validator.is_valid(&value) {
        return Ok(());
    }
    let mut problems: Vec<String> = validator.iter_errors(&value).take(PROBLEMS_MAX + 1).map(|it| shown(&it)).collect();
    if problems.len() > PROBLEMS_MAX {
        problems.truncate(PROBLEMS_MAX);
        problems.push("and more".to_owned());
    }
    Err(problems.join("; "))
}

/// Checks that `schema` is a JSON Schema that [`check_schema`] can use (no references to other documents).
///
/// # Errors
/// What is wrong with it.
pub fn check_is_schema(schema: &Value) -> Result<(), String> {
    bounds::check_form(schema)?;
    compile(schema).map(drop)
}

fn compile(schema: &Value) -> Result<Validator, String> {
    let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
    let options = jsonschema::options().with_pattern_options(patterns).should_validate_formats(false);
    options.build(&json(schema)).map_err(|error| {
        let place = error.instance_path().as_str();
        if place.ends_with("/type") {
            return format!("at {place}: {} is no type of JSON Schema", clipped(&error.instance().to_string()));
        }
        if place.ends_with("/pattern") || place.contains("/patternProperties/") {
            let needs = "a regular expression of moderate size, without look-around and back-references, is needed";
            return format!("at {}: {needs}", clipped(place));
        }
        shown(&error)
    })
}

fn shown(error: &ValidationError<'_>) -> String {
    let mut reason = match error.kind() {
        ValidationErrorKind::FalseSchema => "no value is allowed here".to_owned(),
        _ => error.to_string(),
    };
    if reason.len() > PROBLEM_LEN_MAX {
        // The value itself is what makes it long.
        reason = error.masked_with("the value").to_string();
    }
    match error.instance_path().as_str() {
        "" => clipped(&reason),
        place => format!("at {}: {}", clipped(place), clipped(&reason)),
    }
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(PROBLEM_LEN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The same value for `jsonschema`. Numbers are made one by one, because serde_json may hold them as text.
fn json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::Number((*value).into()),
        Value::Decimal(value) => serde_json::Number::from_f64(value.to_f64()).map_or(Json::Null, Json::Number),
        Value::Str(text) => Json::String(text.clone()),
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(entries) => Json::Object(entries.iter().map(|(key, value)| (key.clone(), json(value))).collect()),
    }
}

/// The type of the values that fit `schema`.
pub(super) fn type_of(schema: &Value) -> Type {
    TypeReader { root: schema, open: Vec::new(), left: TYPE_SCHEMAS_MAX }.of(schema, 0)
}

struct TypeReader<'a> {
    root: &'a Value,
    /// References that are being followed: one that leads back to itself is not followed again.
    open: Vec<&'a str>,
    left: usize,
}

/// What says something about a schema, and nothing about its values.
const REMARKS: [&str; 10] =
    ["$comment", "$defs", "$id", "$schema", "default", "definitions", "deprecated", "description", "examples", "title"];

impl<'a> TypeReader<'a> {
    fn of(&mut self, schema: &'a Value, depth: usize) -> Type {
        if depth > super::TYPE_DEPTH_MAX || self.left == 0 {
            return Type::Any;
        }
        self.left -= 1;
        let speaks = |key: &str| !REMARKS.contains(&key);
        if let Some(reference) = schema.get("$ref").as_str() {
            let alone = schema.as_map().is_some_and(|map| map.keys().filter(|key| speaks(key)).count() == 1);
            return if alone { self.target(reference, depth) } else { Type::Any };
        }
        if let Some(value) = schema.as_map().and_then(|map| map.get("const")) {
            return Type::of(value);
        }
        if let Some(values) = schema.get("enum").as_list() {
            return joined(values.iter().map(Type::of));
        }
        match schema.get("type") {
            Value::Str(name) => self.named(name, schema, depth),
            Value::List(names) => {
                let types: Vec<Type> =
                    names.iter().map(|it| self.named(it.as_str().unwrap_or(""), schema, depth)).collect();
                joined(types.into_iter())
            }
            _ if schema.as_map().is_some_and(|map| map.contains_key("properties")) => self.object(schema, depth),
            _ => match [schema.get("anyOf"), schema.get("oneOf"), schema.get("allOf")].map(Value::as_list) {
                [Some(sides), None, None] | [None, Some(sides), None] => {
                    let types: Vec<Type> = sides.iter().map(|side| self.of(side, depth + 1)).collect();
                    joined(types.into_iter())
                }
                [None, None, Some([only])] => self.of(only, depth + 1),
                _ => Type::Any,
            },
        }
    }

    fn named(&mut self, name: &str, schema: &'a Value, depth: usize) -> Type {
        match name {
            "null" => Type::Null,
            "boolean" => Type::Bool,
            "integer" => Type::Int,
            "number" => Type::Number,
            "string" => Type::Str,
            "array" => match schema.get("items") {
                items @ Value::Map(_) if schema.get("prefixItems") == &Value::Null => {
                    Type::List(Box::new(self.of(items, depth + 1)))
                }
                _ => Type::List(Box::new(Type::Any)),
            },
            "object" => self.object(schema, depth),
            _ => Type::Any,
        }
    }

    fn object(&mut self, schema: &'a Value, depth: usize) -> Type {
        const OTHERS: [&str; 8] =
            ["allOf", "anyOf", "oneOf", "if", "patternProperties", "dependentSchemas", "dependencies", "$dynamicRef"];
        let more = schema.get("additionalProperties");
        let closed = more == &Value::Bool(false) || more == &Value::Null;
        match schema.get("properties").as_map() {
            Some(_) if OTHERS.iter().any(|keyword| schema.get(keyword) != &Value::Null) => Type::Any,
            Some(fields) if closed => {
                Type::Record(fields.iter().map(|(name, field)| (name.clone(), self.of(field, depth + 1))).collect())
            }
            Some(_) => Type::Any,
            None if schema.get("patternProperties") == &Value::Null && matches!(more, Value::Map(_)) => {
                Type::Map(Box::new(self.of(more, depth + 1)))
            }
            None => Type::Map(Box::new(Type::Any)),
        }
    }

    fn target(&mut self, reference: &'a str, depth: usize) -> Type {
        let Some(target) = bounds::resolve(self.root, reference).filter(|_| !self.open.contains(&reference)) else {
            return Type::Any;
        };
        self.open.push(reference);
        let ty = self.of(target, depth + 1);
        self.open.pop();
        ty
    }
}

fn joined(mut types: impl Iterator<Item = Type>) -> Type {
    let first = types.next().unwrap_or(Type::Any);
    types.fold(first, |joined, ty| joined.join(&ty))
}
