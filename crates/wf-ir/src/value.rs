//! The one value type that crosses every boundary: inputs, outputs, expressions, templates, records.
//!
//! Numbers are 64-bit integers or decimals of fixed scale, so that no result depends on binary floating point. A
//! `serde_json::Value` never crosses: some dependency may switch serde_json to arbitrary precision for the whole
//! binary, and its numbers then reach other formats as maps. [`Value`] reads both forms.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::DEPTH_MAX;

/// A number with six decimal places, between −999,999,999.999999 and 999,999,999.999999: fifteen digits, which a
/// 64-bit float carries exactly, so that every JSON reader and writer agrees on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Decimal(i64);

/// Millionths in one.
const SCALE: i64 = 1_000_000;
/// Largest magnitude in millionths.
const MICROS_MAX: i64 = 999_999_999_999_999;

impl Decimal {
    /// From millionths; `None` outside the range.
    pub fn from_micros(micros: i64) -> Option<Self> {
        (-MICROS_MAX..=MICROS_MAX).contains(&micros).then_some(Self(micros))
    }

    /// In millionths.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// From an integer; `None` outside the range.
    pub fn from_int(value: i64) -> Option<Self> {
        value.checked_mul(SCALE).and_then(Self::from_micros)
    }

    /// The nearest decimal to `value`; `None` when it is not finite or outside the range.
    pub fn from_f64(value: f64) -> Option<Self> {
        let micros = (value * SCALE as f64).round();
        (micros.abs() <= MICROS_MAX as f64).then_some(Self(micros as i64))
    }

    /// The float that is written for it.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / SCALE as f64
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, part) = (self.0.unsigned_abs() / SCALE as u64, self.0.unsigned_abs() % SCALE as u64);
        let text = format!("{part:06}");
        let part = text.trim_end_matches('0');
        write!(f, "{sign}{whole}.{}", if part.is_empty() { "0" } else { part })
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A number that fits neither 64 bits nor a [`Decimal`].
#[derive(Debug, thiserror::Error)]
#[error("number {0:?} is outside the range of 64-bit integers and of decimals with six places")]
pub struct NumberError(String);

/// A JSON value with exact numbers and ordered maps.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// null
    #[default]
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
    List(Vec<Value>),
    /// A map, ordered by key.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// The JSON text: no spaces, maps in key order. It is the canonical form.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string(self);
        assert!(text.is_ok(), "a value is always writable as JSON");
        text.unwrap_or_default()
    }

    /// Reads JSON text.
    ///
    /// # Errors
    /// When the text is not JSON, holds a number out of range, or is nested more than [`DEPTH_MAX`] levels deep.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).and_then(Self::within_depth)
    }

    /// Any serialisable thing as a value.
    ///
    /// # Errors
    /// When it cannot be written as JSON, holds a number out of range, or is nested more than [`DEPTH_MAX`] levels
    /// deep.
    pub fn from_serialize<T: Serialize + ?Sized>(thing: &T) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(&serde_json::to_vec(thing)?).and_then(Self::within_depth)
    }

    /// How many lists and maps lie within each other: 0 for a scalar, 1 for `[]`.
    pub fn depth(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Decimal(_) | Self::Str(_) => 0,
            Self::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Map(entries) => 1 + entries.values().map(Self::depth).max().unwrap_or(0),
        }
    }

    /// Readers of JSON stop at 128 levels, and a record adds its own around a value: what is let in stays well below.
    fn within_depth(self) -> Result<Self, serde_json::Error> {
        let message = || format!("the value is nested more than {DEPTH_MAX} levels deep");
        if self.depth() > DEPTH_MAX { Err(de::Error::custom(message())) } else { Ok(self) }
    }

    /// A field of a map, or null.
    pub fn get(&self, field: &str) -> &Value {
        match self {
            Self::Map(entries) => entries.get(field).unwrap_or(&Self::Null),
            _ => &Self::Null,
        }
    }

    /// A number in millionths, which hold every integer and every decimal exactly.
    pub(crate) fn millionths(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(i128::from(*value) * i128::from(SCALE)),
            Self::Decimal(value) => Some(i128::from(value.micros())),
            Self::Null | Self::Bool(_) | Self::Str(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// The text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, if it is a map.
    pub fn as_map(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Self::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// A map of the given entries.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// `null`, `bool`, `int`, `decimal`, `string`, `list` or `map`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Decimal(_) => "decimal",
            Self::Str(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }

    /// Reads the text of a JSON number.
    ///
    /// # Errors
    /// When it is no number or out of range.
    pub fn from_number_text(text: &str) -> Result<Self, NumberError> {
        if text == "-0" {
            // Without arbitrary precision serde_json reads it as a float; both ways give the same value.
            return Ok(Self::Decimal(Decimal(0)));
        }
        if let Ok(value) = i64::from_str(text) {
            return Ok(Self::Int(value));
        }
        let float = f64::from_str(text).ok().filter(|_| text.contains(['.', 'e', 'E']));
        float.and_then(Decimal::from_f64).map(Self::Decimal).ok_or_else(|| NumberError(text.to_owned()))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::List(items)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Decimal(value) => serializer.serialize_f64(value.to_f64()),
            Self::Str(value) => serializer.serialize_str(value),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(entries) => serializer.collect_map(entries),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// The key under which serde_json hands over a number when `arbitrary_precision` is on.
const NUMBER_TOKEN: &str = "$serde_json::private::Number";

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Int).map_err(|_| E::custom(NumberError(value.to_string())))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Decimal::from_f64(value).map(Value::Decimal).ok_or_else(|| E::custom(NumberError(value.to_string())))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Str(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some(key) = access.next_key::<String>()? {
            if key == NUMBER_TOKEN && entries.is_empty() {
                let text = access.next_value::<String>()?;
                return Value::from_number_text(&text).map_err(de::Error::custom);
            }
            entries.insert(key, access.next_value()?);
        }
        Ok(Value::Map(entries))
    }
}
