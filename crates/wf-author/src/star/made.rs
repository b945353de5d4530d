//! What the functions of the Starlark spelling return, and how Starlark values become part of it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use starlark::values::dict::DictRef;
use starlark::values::float::StarlarkFloat;
use starlark::values::list::ListRef;
use starlark::values::tuple::TupleRef;
use starlark::values::{Heap, StarlarkValue, UnpackValue, Value, ValueLike, starlark_value};
use wf_ir::{Decimal, Diagnostic, Key, Span, Spanned, SpannedValue};

use super::sites::{Parts, Shape};
use super::types::{Function, Made};
use crate::code;
use crate::compile::Weight;
use crate::json::number_message;
use crate::limits::{DRAFT_DEPTH_MAX, STARLARK_TEXT_BYTES_MAX, STARLARK_VALUES_MAX};
use crate::text::{Lines, cut};

/// What a [`Made`] shares.
#[derive(Debug)]
pub(crate) struct Part {
    /// The function that made it.
    pub(crate) name: &'static str,
    /// The id, if it is a node.
    pub(crate) id: Option<String>,
    pub(crate) entries: Vec<(Key, Item)>,
    pub(crate) span: Span,
    pub(crate) weight: Weight,
    pub(crate) depth: usize,
}

/// A value that is not a Starlark value any more.
#[derive(Debug)]
pub(crate) enum Item {
    Leaf(Spanned),
    List(Vec<Item>, Span),
    Map(Vec<(Key, Item)>, Span),
    Part(Arc<Part>),
}

impl fmt::Display for Made {
    /// A node in a text is its id, so that expressions can be put together: `tests.id + ".passed"`, `"%s" % tests`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.id {
            Some(id) => f.write_str(id),
            None => write!(f, "{}(…)", self.0.name),
        }
    }
}

#[starlark_value(type = "node")]
impl<'v> StarlarkValue<'v> for Made {
    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        match (attribute, &self.0.id) {
            ("id", Some(id)) => Some(heap.alloc(id.as_str())),
            ("kind", Some(_)) => Some(heap.alloc(self.0.name)),
            _ => None,
        }
    }

    fn dir_attr(&self) -> Vec<String> {
        let attributes: &[&str] = if self.0.id.is_some() { &["id", "kind"] } else { &[] };
        attributes.iter().map(|attribute| (*attribute).to_owned()).collect()
    }
}

impl Part {
    /// A part of these entries.
    pub(crate) fn new(name: &'static str, id: Option<String>, entries: Vec<(Key, Item)>, span: &Span) -> Self {
        let (weight, depth) = measure_entries(&entries);
        Self { name, id, entries, span: span.clone(), weight, depth }
    }

    /// The map itself. Its size has been checked.
    pub(crate) fn to_spanned(&self) -> Spanned {
        Spanned { value: entries_to_spanned(&self.entries), span: self.span.clone() }
    }
}

fn entries_to_spanned(entries: &[(Key, Item)]) -> SpannedValue {
    SpannedValue::Map(entries.iter().map(|(key, item)| (key.clone(), item.to_spanned())).collect())
}

/// What a map holds, and how many levels it has.
fn measure_entries(entries: &[(Key, Item)]) -> (Weight, usize) {
    let keys = entries.iter().map(|(key, _)| key.name.len()).sum();
    measure_all(Weight { values: 1, text: keys }, entries.iter().map(|(_, item)| item))
}

fn measure_all<'a>(mut weight: Weight, items: impl Iterator<Item = &'a Item>) -> (Weight, usize) {
    let mut depth = 0;
    for item in items {
        let (below, levels) = item.measure();
        weight.add(below);
        depth = depth.max(levels);
    }
    (weight, depth + 1)
}

impl Item {
    fn to_spanned(&self) -> Spanned {
        match self {
            Self::Leaf(spanned) => spanned.clone(),
            Self::List(items, span) => {
                Spanned { value: SpannedValue::List(items.iter().map(Self::to_spanned).collect()), span: span.clone() }
            }
            Self::Map(entries, span) => Spanned { value: entries_to_spanned(entries), span: span.clone() },
            Self::Part(part) => part.to_spanned(),
        }
    }

    /// A shared part counts in full, each time, without being looked into.
    fn measure(&self) -> (Weight, usize) {
        match self {
            Self::Leaf(Spanned { value: SpannedValue::Str(text), .. }) => (Weight { values: 1, text: text.len() }, 0),
            Self::Leaf(_) => (Weight { values: 1, text: 0 }, 0),
            Self::List(items, _) => measure_all(Weight { values: 1, text: 0 }, items.iter()),
            Self::Map(entries, _) => measure_entries(entries),
            Self::Part(part) => (part.weight, part.depth),
        }
    }
}

/// Where a value is written, as far as it is known.
pub(crate) struct Place<'a> {
    pub(crate) span: Span,
    /// The expression, if it is written out, and the lines of its file.
    pub(crate) shape: Option<(&'a Shape, &'a Lines)>,
}

impl<'a> Place<'a> {
    /// A place of which only the span is known.
    pub(crate) fn at(span: &Span) -> Self {
        Self { span: span.clone(), shape: None }
    }

    /// The place of an expression.
    pub(crate) fn of(shape: &'a Shape, lines: &'a Lines) -> Self {
        Self { span: lines.span(shape.range.clone()), shape: Some((shape, lines)) }
    }

    fn item(&self, index: usize, count: usize) -> Self {
        match self.shape {
            Some((Shape { parts: Parts::Items(items), .. }, lines)) if items.len() == count => {
                Self::of(&items[index], lines)
            }
            _ => Self::at(&self.span),
        }
    }

    /// The places of an entry's key and of its value.
    fn entry(&self, index: usize, count: usize) -> (Span, Self) {
        match self.shape {
            Some((Shape { parts: Parts::Entries(entries), .. }, lines)) if entries.len() == count => {
                let (key, value): &(Range<usize>, Shape) = &entries[index];
                (lines.span(key.clone()), Self::of(value, lines))
            }
            _ => (self.span.clone(), Self::at(&self.span)),
        }
    }
}

/// Turns Starlark values into items, counting what it makes.
pub(crate) struct Conversion<'a, 'v> {
    pub(crate) heap: Heap<'v>,
    pub(crate) made: &'a mut Weight,
}

impl<'v> Conversion<'_, 'v> {
    /// An item. With `keep_nodes`, a node stays what it is; else it becomes its id.
    pub(crate) fn item(
        &mut self,
        value: Value<'v>,
        place: &Place<'_>,
        keep_nodes: bool,
        depth: usize,
    ) -> Result<Item, Diagnostic> {
        let span = &place.span;
        if depth > DRAFT_DEPTH_MAX {
            let message = format!("values are nested more than {DRAFT_DEPTH_MAX} deep");
            return Err(Diagnostic::error(code::TOO_DEEP, span, message));
        }
        if let Some(made) = value.downcast_ref::<Made>() {
            return match &made.0.id {
                Some(id) if !keep_nodes => self.leaf(SpannedValue::Str(id.clone()), span),
                _ => Ok(Item::Part(made.0.clone())),
            };
        }
        if let Some(items) = ListRef::from_value(value) {
            return self.list(items.content(), place, keep_nodes, depth);
        }
        if let Some(items) = TupleRef::from_value(value) {
            return self.list(items.content(), place, keep_nodes, depth);
        }
        if let Some(entries) = DictRef::from_value(value) {
            return self.map(&entries, place, depth);
        }
        if value.get_type() == "range" {
            let items = value.iterate(self.heap).map_err(|_| no_value(value, span))?;
            let mut made = Vec::new();
            for item in items {
                made.push(self.item(item, &Place::at(span), keep_nodes, depth + 1)?);
            }
            self.count(Weight { values: 1, text: 0 }, span)?;
            return Ok(Item::List(made, span.clone()));
        }
        self.leaf(scalar(value, span)?, span)
    }

    fn list(
        &mut self,
        items: &[Value<'v>],
        place: &Place<'_>,
        keep_nodes: bool,
        depth: usize,
    ) -> Result<Item, Diagnostic> {
        self.count(Weight { values: 1, text: 0 }, &place.span)?;
        let item = |(index, item): (usize, &Value<'v>)| {
            self.item(*item, &place.item(index, items.len()), keep_nodes, depth + 1)
        };
        let made = items.iter().enumerate().map(item).collect::<Result<_, _>>()?;
        Ok(Item::List(made, place.span.clone()))
    }

    fn map(&mut self, entries: &DictRef<'v>, place: &Place<'_>, depth: usize) -> Result<Item, Diagnostic> {
        self.count(Weight { values: 1, text: 0 }, &place.span)?;
        let mut made = Vec::new();
        for (index, (key, value)) in entries.iter().enumerate() {
            let (key_span, value_place) = place.entry(index, entries.len());
            let Some(name) = key.unpack_str() else {
                let message = format!("the key {} is not text", shown(key));
                return Err(Diagnostic::error(code::NO_VALUE, &key_span, message)
                    .with_hint("the keys of every map in a workflow are text"));
            };
            self.count(Weight { values: 0, text: name.len() }, &key_span)?;
            let key = Key { name: name.to_owned(), span: key_span };
            made.push((key, self.item(value, &value_place, false, depth + 1)?));
        }
        Ok(Item::Map(made, place.span.clone()))
    }

    fn leaf(&mut self, value: SpannedValue, span: &Span) -> Result<Item, Diagnostic> {
        let text = if let SpannedValue::Str(text) = &value { text.len() } else { 0 };
        self.count(Weight { values: 1, text }, span)?;
        Ok(Item::Leaf(Spanned { value, span: span.clone() }))
    }

    fn count(&mut self, weight: Weight, span: &Span) -> Result<(), Diagnostic> {
        self.made.add(weight);
        let (what, bound) = if self.made.values > STARLARK_VALUES_MAX {
            ("values", STARLARK_VALUES_MAX)
        } else if self.made.text > STARLARK_TEXT_BYTES_MAX {
            ("bytes of text", STARLARK_TEXT_BYTES_MAX)
        } else {
            return Ok(());
        };
        Err(Diagnostic::error(code::TOO_LARGE, span, format!("the program made more than {bound} {what}"))
            .with_hint("repeat a shape with `expand` over a list instead of making every copy of it"))
    }
}

fn scalar(value: Value<'_>, span: &Span) -> Result<SpannedValue, Diagnostic> {
    if value.is_none() {
        return Ok(SpannedValue::Null);
    }
    if let Some(value) = value.unpack_bool() {
        return Ok(SpannedValue::Bool(value));
    }
    if let Some(text) = value.unpack_str() {
        return Ok(SpannedValue::Str(text.to_owned()));
    }
    if let Some(value) = value.downcast_ref::<StarlarkFloat>() {
        return Decimal::from_f64(value.0)
            .map(SpannedValue::Decimal)
            .ok_or_else(|| Diagnostic::error(code::NUMBER, span, number_message(&value.0.to_string())));
    }
    if value.get_type() == "int" {
        return match i64::unpack_value(value) {
            Ok(Some(value)) => Ok(SpannedValue::Int(value)),
            // The digits of a huge integer are not spelt out: that alone could take longer than the program.
            _ => Err(Diagnostic::error(code::NUMBER, span, "an integer is outside the range of 64 bits")),
        };
    }
    Err(no_value(value, span))
}

fn no_value(value: Value<'_>, span: &Span) -> Diagnostic {
    let found = Diagnostic::error(
        code::NO_VALUE,
        span,
        format!("a value of type {} cannot be part of a workflow", value.get_type()),
    );
    match value.downcast_ref::<Function>() {
        Some(function) => found.with_hint(format!("{function} is a function: call it")),
        None if value.get_type() == "function" => found.with_hint("call the function instead of naming it"),
        None => found,
    }
}

/// A value for a message.
fn shown(value: Value<'_>) -> String {
    match value.unpack_i32() {
        Some(value) => value.to_string(),
        None => cut(format!("of type {}", value.get_type()), 100),
    }
}
