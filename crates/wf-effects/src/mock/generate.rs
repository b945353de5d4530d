//! Values that fit a JSON Schema, made from a digest: the same digest gives the same value on every machine.
//!
//! It understands what output schemas are made of and tries a few times; every value is checked before it is given
//! out, so a schema that it does not understand gives an error and never a wrong value.

use std::collections::BTreeMap;

use wf_ir::types::check_schema;
use wf_ir::{Decimal, Value};

use super::pattern::text_like;

/// How often it tries.
const TRIES: u32 = 16;
/// Most parts of one value.
const PARTS_MAX: usize = 4_000;
/// Below this depth only what is required is made.
const FULL_DEPTH: usize = 6;
/// Below this depth nothing is made.
const DEPTH_MAX: usize = 48;
/// Longest text made because a schema asks for a long one.
const TEXT_CHARS_MAX: usize = 100_000;
/// The schema that everything fits.
const ANYTHING: Value = Value::Bool(true);
/// Millionths in one.
const SCALE: i128 = 1_000_000;

/// A stream of numbers that depends on a digest only.
pub(super) struct Random {
    stream: blake3::OutputReader,
}

impl Random {
    pub(super) fn new(digest: &[u8; 32], salt: u32) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(digest);
        hasher.update(&salt.to_le_bytes());
        Self { stream: hasher.finalize_xof() }
    }

    /// From 0 up to but not including `bound` (0 when there is no such number).
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.stream.fill(&mut bytes);
        // The tiny bias towards small numbers matters to nobody here.
        u64::from_le_bytes(bytes).checked_rem(bound).unwrap_or(0)
    }
}

/// A value that fits `schema`. Its texts say what they are: mock answers to node `path`.
///
/// # Errors
/// When it finds none; then the value needs a rule.
pub(super) fn generate(schema: &Value, digest: &[u8; 32], mark: &str, path: &str) -> Result<Value, String> {
    let mut reason = String::new();
    for salt in 0..TRIES {
        let mut maker = Maker { root: schema, random: Random::new(digest, salt), parts: 0, mark, path };
        let value = maker.value(schema, "answer", 0);
        match check_schema(schema, &value) {
            Ok(()) => return Ok(value),
            Err(why) => reason = why,
        }
    }
    Err(reason)
}

struct Maker<'a> {
    root: &'a Value,
    random: Random,
    parts: usize,
    mark: &'a str,
    path: &'a str,
}

impl<'a> Maker<'a> {
    fn value(&mut self, schema: &Value, name: &str, depth: usize) -> Value {
        self.parts += 1;
        if depth > DEPTH_MAX || self.parts > PARTS_MAX {
            return Value::Null;
        }
        let Value::Map(fields) = schema else { return self.text(&BTreeMap::new(), name) };
        if let Some(target) = fields.get("$ref") {
            let root: &'a Value = self.root;
            let target = target.as_str().and_then(|target| resolve(root, target));
            return target.map_or(Value::Null, |target| self.value(target, name, depth + 1));
        }
        if let Some(value) = fields.get("const") {
            return value.clone();
        }
        if let Some(choices) = fields.get("enum").and_then(Value::as_list).filter(|choices| !choices.is_empty()) {
            return choices[self.random.below(choices.len() as u64) as usize].clone();
        }
        if let Some(merged) = self.combined(fields, depth) {
            return self.value(&Value::Map(merged), name, depth + 1);
        }
        match self.kind(fields) {
            "object" => self.object(fields, depth),
            "array" => self.array(fields, name, depth),
            "integer" => self.number(fields, SCALE),
            "number" => self.number(fields, SCALE / 100),
            // A workflow that is tried out should rather go on than stop.
            "boolean" => Value::Bool(self.random.below(4) > 0),
            "null" => Value::Null,
            _ => self.text(fields, name),
        }
    }

    /// The schema with one of its alternatives, and all that must hold beside it, written into it.
    fn combined(&mut self, fields: &BTreeMap<String, Value>, depth: usize) -> Option<BTreeMap<String, Value>> {
        for key in ["anyOf", "oneOf"] {
            let Some(choices) = fields.get(key).and_then(Value::as_list).filter(|choices| !choices.is_empty()) else {
                continue;
            };
            // The first alternative of a recursive schema is as a rule the one that ends.
            let at = if depth > FULL_DEPTH { 0 } else { self.random.below(choices.len() as u64) as usize };
            return Some(self.merged(fields, key, &choices[at..=at]));
        }
        let all = fields.get("allOf").and_then(Value::as_list)?;
        Some(self.merged(fields, "allOf", all))
    }

    fn merged(&self, fields: &BTreeMap<String, Value>, without: &str, others: &[Value]) -> BTreeMap<String, Value> {
        let keep = |key: &str| key != without && key != "$defs" && key != "definitions";
        let mut merged: BTreeMap<_, _> =
            fields.iter().filter(|(key, _)| keep(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
        for other in others {
            let other = match other.get("$ref").as_str().and_then(|target| resolve(self.root, target)) {
                Some(target) => target,
                None => other,
            };
            for (key, value) in other.as_map().into_iter().flatten() {
                match (merged.get_mut(key), value) {
                    (Some(Value::Map(known)), Value::Map(more)) if key == "properties" => {
                        known.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
                    }
                    (Some(Value::List(known)), Value::List(more)) if key == "required" => {
                        known.extend(more.iter().cloned());
                    }
                    _ => {
                        merged.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        merged
    }

    fn kind(&mut self, fields: &BTreeMap<String, Value>) -> &'static str {
        const KINDS: [&str; 7] = ["object", "array", "integer", "number", "boolean", "null", "string"];
        const HINTS: [(&str, &str); 12] = [
            ("properties", "object"),
            ("required", "object"),
            ("additionalProperties", "object"),
            ("items", "array"),
            ("prefixItems", "array"),
            ("minItems", "array"),
            ("minimum", "number"),
            ("maximum", "number"),
            ("exclusiveMinimum", "number"),
            ("exclusiveMaximum", "number"),
            ("multipleOf", "number"),
            ("pattern", "string"),
        ];
        let named = match fields.get("type") {
            Some(Value::Str(kind)) => Some(kind.as_str()),
            Some(Value::List(kinds)) if !kinds.is_empty() => {
                kinds[self.random.below(kinds.len() as u64) as usize].as_str()
            }
            _ => None,
        };
        match named {
            Some(named) => KINDS.into_iter().find(|kind| *kind == named).unwrap_or("string"),
            None => HINTS.into_iter().find(|(key, _)| fields.contains_key(*key)).map_or("string", |(_, kind)| kind),
        }
    }

    fn object(&mut self, fields: &BTreeMap<String, Value>, depth: usize) -> Value {
        let required: Vec<&str> = strings(fields.get("required"));
        let mut entries = BTreeMap::new();
        for (name, schema) in fields.get("properties").and_then(Value::as_map).into_iter().flatten() {
            if (depth < FULL_DEPTH && schema.as_bool() != Some(false)) || required.contains(&name.as_str()) {
                entries.insert(name.clone(), self.value(schema, name, depth + 1));
            }
        }
        let others = fields.get("additionalProperties").unwrap_or(&ANYTHING);
        for name in required {
            if !entries.contains_key(name) {
                entries.insert(name.to_owned(), self.value(others, name, depth + 1));
            }
        }
        let least = count(fields, "minProperties").unwrap_or(0);
        for number in 1.. {
            if entries.len() >= least || self.parts > PARTS_MAX {
                break;
            }
            let name = format!("mock_{number}");
            let value = self.value(others, &name, depth + 1);
            entries.insert(name, value);
        }
        Value::Map(entries)
    }

    fn array(&mut self, fields: &BTreeMap<String, Value>, name: &str, depth: usize) -> Value {
        let least = count(fields, "minItems").unwrap_or(0);
        let most = count(fields, "maxItems").unwrap_or(usize::MAX);
        let wanted = if depth < FULL_DEPTH { 1 + self.random.below(2) as usize } else { 0 };
        let first: &[Value] = fields.get("prefixItems").and_then(Value::as_list).unwrap_or(&[]);
        let length = wanted.max(first.len()).max(least).min(most).min(PARTS_MAX);
        let is_unique = fields.get("uniqueItems").and_then(Value::as_bool) == Some(true);
        let rest = fields.get("items").unwrap_or(&ANYTHING);
        let mut items: Vec<Value> = Vec::new();
        // A few more rounds than items, for those that come twice.
        for _ in 0..length.saturating_mul(if is_unique { 8 } else { 1 }) {
            if items.len() == length {
                break;
            }
            let schema = first.get(items.len()).unwrap_or(rest);
            let item = self.value(schema, name, depth + 1);
            if !is_unique || !items.contains(&item) {
                items.push(item);
            }
        }
        Value::List(items)
    }

    /// A number in steps of `step` millionths.
    fn number(&mut self, fields: &BTreeMap<String, Value>, step: i128) -> Value {
        let given = |key: &str| fields.get(key).and_then(micros);
        let step = given("multipleOf").filter(|step| *step > 0).unwrap_or(step);
        let above = given("exclusiveMinimum").map(|bound| bound + 1);
        let below = given("exclusiveMaximum").map(|bound| bound - 1);
        let low = given("minimum").into_iter().chain(above).max();
        let high = given("maximum").into_iter().chain(below).min();
        let (low, high) = match (low, high) {
            (Some(low), Some(high)) => (low, high),
            (Some(low), None) => (low, low + 100 * SCALE.max(step)),
            (None, Some(high)) => (high - 100 * SCALE.max(step), high),
            (None, None) => (0, 100 * SCALE.max(step)),
        };
        let (first, last) = (div_ceil(low, step), high.div_euclid(step));
        let places = u64::try_from((last - first).max(0)).unwrap_or(u64::MAX).saturating_add(1);
        let number = (first + i128::from(self.random.below(places))) * step;
        if number % SCALE == 0 {
            return i64::try_from(number / SCALE).map_or(Value::Null, Value::Int);
        }
        let decimal = i64::try_from(number).ok().and_then(Decimal::from_micros);
        decimal.map_or(Value::Null, Value::Decimal)
    }

    fn text(&mut self, fields: &BTreeMap<String, Value>, name: &str) -> Value {
        if let Some(pattern) = fields.get("pattern").and_then(Value::as_str) {
            return Value::Str(text_like(pattern, &mut self.random).unwrap_or_default());
        }
        if let Some(text) = fields.get("format").and_then(Value::as_str).and_then(|format| self.formatted(format)) {
            return Value::Str(text);
        }
        let (mark, path, part) = (self.mark, self.path, self.random.below(1 << 24));
        let mut text = format!("mock {name} {mark}-{part:06x} to node {path}");
        let least = count(fields, "minLength").unwrap_or(0).min(TEXT_CHARS_MAX);
        let length = text.chars().count();
        if length < least {
            text.push_str(&".".repeat(least - length));
        }
        match count(fields, "maxLength") {
            Some(most) if most < length.max(least) => Value::Str(text.chars().take(most).collect()),
            _ => Value::Str(text),
        }
    }

    fn formatted(&mut self, format: &str) -> Option<String> {
        let mut below = |bound| self.random.below(bound);
        Some(match format {
            "date" => format!("2000-01-{:02}", 1 + below(28)),
            "time" => format!("{:02}:{:02}:00Z", below(24), below(60)),
            "date-time" => format!("2000-01-{:02}T{:02}:{:02}:00Z", 1 + below(28), below(24), below(60)),
            "email" => format!("mock-{}@example.com", below(10_000)),
            "uri" => format!("https://example.com/mock/{}", below(10_000)),
            "hostname" => "mock.example.com".to_owned(),
            "ipv4" => format!("192.0.2.{}", below(256)),
            "uuid" => format!("00000000-0000-4000-8000-{:012x}", below(1 << 48)),
            _ => return None,
        })
    }
}

/// What a reference within the schema points at.
fn resolve<'a>(root: &'a Value, target: &str) -> Option<&'a Value> {
    let pointer = target.strip_prefix('#')?;
    pointer.split('/').skip(1).try_fold(root, |at, step| {
        let step = step.replace("~1", "/").replace("~0", "~");
        match at {
            Value::Map(fields) => fields.get(&step),
            Value::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        }
    })
}

fn strings(list: Option<&Value>) -> Vec<&str> {
    list.and_then(Value::as_list).unwrap_or(&[]).iter().filter_map(Value::as_str).collect()
}

fn count(fields: &BTreeMap<String, Value>, key: &str) -> Option<usize> {
    fields.get(key).and_then(Value::as_int).and_then(|count| usize::try_from(count).ok())
}

fn micros(value: &Value) -> Option<i128> {
    match value {
        Value::Int(value) => Some(i128::from(*value) * SCALE),
        Value::Decimal(value) => Some(i128::from(value.micros())),
        _ => None,
    }
}

fn div_ceil(value: i128, step: i128) -> i128 {
    -(-value).div_euclid(step)
}
