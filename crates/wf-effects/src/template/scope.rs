//! The values that a template's names stand for, read in place: a large value costs what is used of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr};
use wf_ir::Value;

use super::charge;

/// What the names of a template stand for.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    values: Arc<BTreeMap<String, Arc<Value>>>,
    /// Names that come first.
    own: Vec<(&'static str, Arc<Value>)>,
}

impl Scope {
    /// The names of `values`.
    pub fn new(values: Arc<BTreeMap<String, Arc<Value>>>) -> Self {
        Self { values, own: Vec::new() }
    }

    /// The same with one more name.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Arc<Value>) -> Self {
        self.own.push((name, value));
        self
    }

    pub(super) fn into_value(self) -> minijinja::Value {
        minijinja::Value::from_object(self)
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<minijinja::Value> {
        let own = self.own.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        own.or_else(|| self.values.get(name)).map(|value| convert(value, || Part::whole(value)))
    }
}

/// A list or map somewhere inside of a value.
#[derive(Clone)]
pub(super) struct Part {
    whole: Arc<Value>,
    steps: Vec<Step>,
}

#[derive(Clone)]
enum Step {
    Field(Arc<str>),
    Item(usize),
}

impl Part {
    fn whole(value: &Arc<Value>) -> Self {
        Self { whole: Arc::clone(value), steps: Vec::new() }
    }

    fn below(&self, step: Step) -> Self {
        let mut part = self.clone();
        part.steps.push(step);
        part
    }

    /// The value itself.
    pub(super) fn value(&self) -> &Value {
        self.steps.iter().fold(&self.whole, |value, step| match (step, value) {
            (Step::Field(name), value) => value.get(name),
            (Step::Item(at), Value::List(items)) => items.get(*at).unwrap_or(&Value::Null),
            (Step::Item(_), _) => &Value::Null,
        })
    }

    fn field(&self, name: &str) -> Option<minijinja::Value> {
        let value = self.value().as_map()?.get(name)?;
        Some(convert(value, || self.below(Step::Field(name.into()))))
    }

    fn item(&self, at: usize) -> Option<minijinja::Value> {
        let value = self.value().as_list()?.get(at)?;
        Some(convert(value, || self.below(Step::Item(at))))
    }
}

/// A value as templates see it. Lists and maps stay where they are; `part` says where that is.
fn convert(value: &Value, part: impl FnOnce() -> Part) -> minijinja::Value {
    match value {
        Value::Null => minijinja::Value::from(()),
        Value::Bool(value) => minijinja::Value::from(*value),
        Value::Int(value) => minijinja::Value::from(*value),
        Value::Decimal(value) => minijinja::Value::from(value.to_f64()),
        Value::Str(text) => match charge(text.len()) {
            Ok(()) => minijinja::Value::from(text.as_str()),
            Err(error) => minijinja::Value::from(error),
        },
        Value::List(_) | Value::Map(_) => minijinja::Value::from_object(part()),
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.value().to_json())
    }
}

impl Object for Part {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.value() {
            Value::List(_) => ObjectRepr::Seq,
            _ => ObjectRepr::Map,
        }
    }

    fn get_value(self: &Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        match key.as_usize() {
            Some(at) => self.item(at),
            None => self.field(key.as_str()?),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.value() {
            Value::List(items) => Enumerator::Seq(items.len()),
            Value::Map(entries) => {
                Enumerator::Values(entries.keys().map(|key| minijinja::Value::from(key.as_str())).collect())
            }
            _ => Enumerator::Empty,
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.value().to_json())
    }
}
