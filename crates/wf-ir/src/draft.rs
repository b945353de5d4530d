//! What authoring produces: a tree of values with source spans, before any meaning is given to it.
//!
//! A draft has one shape in all three spellings. The root is a map `{workflow: name, …, children: […]}`; a node is a
//! map whose *first* key is its kind and whose value is its id, `{ask: its_id, prompt: …}`. Duplicate keys are kept,
//! so that validation can report them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::value::{Decimal, Value};

/// A place in a source file. Lines and columns count from 1, columns in Unicode scalar values; 0 means unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// The file, relative to the workflow's root, with `/`.
    pub file: Arc<str>,
    /// Line of the first character.
    pub line: u32,
    /// Column of the first character.
    pub column: u32,
    /// Line after which nothing belongs to it (0: unknown, then only the start is known).
    pub end_line: u32,
    /// Column just past the last character.
    pub end_column: u32,
}

/// A map's key with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The key.
    pub name: String,
    /// Where it stands.
    pub span: Span,
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spanned {
    /// The value.
    pub value: SpannedValue,
    /// Where it stands.
    pub span: Span,
}

/// A value of a draft: as [`Value`], but every part has a span, and maps keep order and duplicates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpannedValue {
    /// null, None
    Null,
    /// true, false
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A decimal of fixed scale.
    Decimal(Decimal),
    /// Text.
    Str(String),
    /// A list.
    List(Vec<Spanned>),
    /// A map in source order.
    Map(Vec<(Key, Spanned)>),
}

/// A whole source, not yet validated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// The root map.
    pub root: Spanned,
}

impl Spanned {
    /// The value without places. Of duplicate keys, the last counts.
    pub fn to_value(&self) -> Value {
        match &self.value {
            SpannedValue::Null => Value::Null,
            SpannedValue::Bool(value) => Value::Bool(*value),
            SpannedValue::Int(value) => Value::Int(*value),
            SpannedValue::Decimal(value) => Value::Decimal(*value),
            SpannedValue::Str(value) => Value::Str(value.clone()),
            SpannedValue::List(items) => Value::List(items.iter().map(Self::to_value).collect()),
            SpannedValue::Map(entries) => {
                Value::Map(entries.iter().map(|(key, value)| (key.name.clone(), value.to_value())).collect())
            }
        }
    }

    /// A value that stands nowhere in particular (`span` for all its parts).
    pub fn from_value(value: &Value, span: &Span) -> Self {
        let value = match value {
            Value::Null => SpannedValue::Null,
            Value::Bool(value) => SpannedValue::Bool(*value),
            Value::Int(value) => SpannedValue::Int(*value),
            Value::Decimal(value) => SpannedValue::Decimal(*value),
            Value::Str(value) => SpannedValue::Str(value.clone()),
            Value::List(items) => SpannedValue::List(items.iter().map(|item| Self::from_value(item, span)).collect()),
            Value::Map(entries) => SpannedValue::Map(
                entries
                    .iter()
                    .map(|(name, value)| {
                        (Key { name: name.clone(), span: span.clone() }, Self::from_value(value, span))
                    })
                    .collect(),
            ),
        };
        Self { value, span: span.clone() }
    }
}
