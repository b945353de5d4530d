//! Static types of values, for checking expressions before anything runs, and JSON Schema checks of outputs.

mod schema;

use std::collections::BTreeMap;
use std::fmt;

use crate::value::Value;

pub use schema::{check_is_schema, check_schema};

/// Deepest nesting of a type that is parsed or taken from a schema.
const TYPE_DEPTH_MAX: usize = 16;
/// Most fields that a type shows, and most that a hint lists.
const SHOWN_MAX: usize = 8;

/// The type of a value, as far as it is known before a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Anything: not checked until a run.
    Any,
    /// null
    Null,
    /// true, false
    Bool,
    /// A 64-bit integer.
    Int,
    /// An integer or a decimal.
    Number,
    /// Text.
    Str,
    /// A list of one type.
    List(Box<Type>),
    /// A map with known fields; others do not exist.
    Record(BTreeMap<String, Type>),
    /// A map from any key to one type.
    Map(Box<Type>),
}

impl Type {
    /// The type that values of a JSON Schema have. What the schema leaves open is [`Type::Any`].
    ///
    /// An object's properties are all its fields, required or not, unless it says that there may be others.
    pub fn from_schema(schema: &Value) -> Self {
        schema::type_of(schema)
    }

    /// The type of `value`.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Int(_) => Self::Int,
            Value::Decimal(_) => Self::Number,
            Value::Str(_) => Self::Str,
            Value::List(items) => {
                let mut types = items.iter().map(Self::of);
                let first = types.next().unwrap_or(Self::Any);
                Self::List(Box::new(types.fold(first, |joined, ty| joined.join(&ty))))
            }
            Value::Map(entries) => {
                Self::Record(entries.iter().map(|(key, value)| (key.clone(), Self::of(value))).collect())
            }
        }
    }

    /// Reads the words of an input's type: `any`, `null`, `bool`, `int`, `number`, `string`, `list(…)`, `map(…)`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_at(text.trim(), 0)
    }

    fn parse_at(text: &str, depth: usize) -> Option<Self> {
        if depth > TYPE_DEPTH_MAX {
            return None;
        }
        let inner = |name: &str| {
            let inner = text.strip_prefix(name)?.trim_start().strip_prefix('(')?.strip_suffix(')')?;
            Self::parse_at(inner.trim(), depth + 1).map(Box::new)
        };
        match text {
            "any" => Some(Self::Any),
            "null" => Some(Self::Null),
            "bool" => Some(Self::Bool),
            "int" => Some(Self::Int),
            "number" => Some(Self::Number),
            "string" => Some(Self::Str),
            _ => inner("list").map(Self::List).or_else(|| inner("map").map(Self::Map)),
        }
    }

    /// Checks that `value` is of this type. A field of a record may be missing.
    ///
    /// # Errors
    /// The first thing that does not fit, with its place.
    pub fn check_value(&self, value: &Value) -> Result<(), String> {
        let fit = match (self, value) {
            (Self::Any, _)
            | (Self::Null, Value::Null)
            | (Self::Bool, Value::Bool(_))
            | (Self::Int, Value::Int(_))
            | (Self::Number, Value::Int(_) | Value::Decimal(_))
            | (Self::Str, Value::Str(_)) => true,
            (Self::List(item), Value::List(items)) => {
                for (place, value) in items.iter().enumerate() {
                    item.check_value(value).map_err(|reason| within(&place.to_string(), &reason))?;
                }
                true
            }
            (Self::Map(item), Value::Map(entries)) => {
                for (key, value) in entries {
                    item.check_value(value).map_err(|reason| within(key, &reason))?;
                }
                true
            }
            (Self::Record(fields), Value::Map(entries)) => {
                for (key, value) in entries {
                    let Some(field) = fields.get(key) else {
                        let hint = nearest(key, fields.keys().map(String::as_str));
                        return Err(format!("unknown field `{key}`; {hint}"));
                    };
                    field.check_value(value).map_err(|reason| within(key, &reason))?;
                }
                true
            }
            _ => false,
        };
        if fit { Ok(()) } else { Err(format!("{self} is expected, found {}", value.type_name())) }
    }

    /// The narrowest type that holds the values of both, as far as types can say it.
    pub(crate) fn join(&self, other: &Self) -> Self {
        match (self, other) {
            (left, right) if left == right => left.clone(),
            (Self::Int, Self::Number) | (Self::Number, Self::Int) => Self::Number,
            (Self::List(left), Self::List(right)) => Self::List(Box::new(left.join(right))),
            (Self::Map(left), Self::Map(right)) => Self::Map(Box::new(left.join(right))),
            (Self::Record(left), Self::Record(right)) if left.keys().eq(right.keys()) => {
                let fields =
                    left.iter().zip(right.values()).map(|((key, left), right)| (key.clone(), left.join(right)));
                Self::Record(fields.collect())
            }
            _ => Self::Any,
        }
    }

    /// Whether some value of this type could equal some value of the other. Anything may be compared with null.
    pub(crate) fn may_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any | Self::Null, _) | (_, Self::Any | Self::Null) => true,
            (Self::Int | Self::Number, Self::Int | Self::Number) => true,
            (Self::Record(_) | Self::Map(_), Self::Record(_) | Self::Map(_)) => true,
            (Self::List(_), Self::List(_)) => true,
            (left, right) => left == right,
        }
    }

    pub(crate) fn may_be_number(&self) -> bool {
        matches!(self, Self::Any | Self::Int | Self::Number)
    }

    pub(crate) fn may_be_int(&self) -> bool {
        self.may_be_number()
    }

    pub(crate) fn may_be_text(&self) -> bool {
        matches!(self, Self::Any | Self::Str)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Number => f.write_str("number"),
            Self::Str => f.write_str("string"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(item) => write!(f, "map({item})"),
            Self::Record(fields) => {
                f.write_str("{")?;
                for (place, (name, ty)) in fields.iter().take(SHOWN_MAX).enumerate() {
                    write!(f, "{}{name}: {ty}", if place == 0 { "" } else { ", " })?;
                }
                f.write_str(if fields.len() > SHOWN_MAX { ", …}" } else { "}" })
            }
        }
    }
}

/// `reason` as seen from one level further out.
fn within(key: &str, reason: &str) -> String {
    let key = key.replace('~', "~0").replace('/', "~1");
    match reason.strip_prefix("at /") {
        Some(rest) => format!("at /{key}/{rest}"),
        None => format!("at /{key}: {reason}"),
    }
}

/// A hint for `name`, which is none of `known`: the most similar one, or all of them.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let distances = known.iter().map(|candidate| (distance(name, candidate), *candidate));
    match distances.min() {
        None => "it has no fields".to_owned(),
        Some((distance, candidate)) if distance <= similar(name) => {
            format!("did you mean `{candidate}`?")
        }
        Some(_) => {
            let more = if known.len() > SHOWN_MAX { ", …" } else { "" };
            format!("known fields are {}{more}", known[..known.len().min(SHOWN_MAX)].join(", "))
        }
    }
}

/// How many characters must be changed, added or removed to make `left` of `right`. Very long texts are just far.
fn distance(left: &str, right: &str) -> usize {
    const LENGTH_MAX: usize = 64;
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len().max(right.len()) > LENGTH_MAX {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (place, character) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = place + 1;
        for (column, other) in right.iter().enumerate() {
            let change = diagonal + usize::from(character != other);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

/// How far a name may be from what it is taken for.
fn similar(name: &str) -> usize {
    match name.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        length => length / 3,
    }
}
