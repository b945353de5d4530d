//! Evaluation: total, bounded in work and in what it builds, and by reference, so that walking into a large value
//! copies nothing.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{Ast, AstKind, Each, EachKind, Function, Operator};
use super::number;
use super::{EvalError, Parsed, Reference, Scope, path_text};
use crate::limits::{DEPTH_MAX, FAN_OUT_MAX};
use crate::value::Value;

/// Most work of one evaluation. One unit is about one scalar looked at, or sixteen bytes of text.
const WORK_MAX: usize = 3_200_000;
/// The work of one syntax node.
const NODE_WORK: usize = 16;
/// Most that one evaluation may build, in bytes, roughly as JSON.
const BUILT_BYTES_MAX: usize = 8 << 20;
/// What every value built counts for, beside its text.
const VALUE_BYTES: usize = 8;

type Res<'v> = Result<Cow<'v, Value>, EvalError>;

pub(super) fn eval(parsed: &Parsed, scope: &dyn Scope) -> Result<Value, EvalError> {
    let evaluator = Evaluator {
        references: &parsed.references,
        scope,
        read: parsed.references.iter().map(|_| OnceCell::new()).collect(),
        work: Cell::new(0),
        built: Cell::new(0),
    };
    let value = evaluator.of(&parsed.root, None)?;
    let value = evaluator.owned(value)?;
    // A loop whose expression wraps what the last iteration gave would else nest without end.
    if value.depth() > DEPTH_MAX {
        return error(format!("the result is nested more than {DEPTH_MAX} levels deep"));
    }
    Ok(value)
}

struct Evaluator<'a> {
    references: &'a [Reference],
    scope: &'a dyn Scope,
    /// What was read from the scope, by the place of its reference.
    read: Vec<OnceCell<Arc<Value>>>,
    work: Cell<usize>,
    built: Cell<usize>,
}

fn error<T>(message: impl Into<String>) -> Result<T, EvalError> {
    Err(EvalError(message.into()))
}

impl Evaluator<'_> {
    fn spend(&self, work: usize) -> Result<(), EvalError> {
        self.work.set(self.work.get().saturating_add(work));
        if self.work.get() > WORK_MAX { error("the expression takes too much work") } else { Ok(()) }
    }

    fn build(&self, bytes: usize) -> Result<(), EvalError> {
        self.built.set(self.built.get().saturating_add(bytes));
        if self.built.get() > BUILT_BYTES_MAX {
            return error(format!("the expression builds more than {BUILT_BYTES_MAX} bytes"));
        }
        self.spend(bytes / NODE_WORK + 1)
    }

    /// The value itself; what is borrowed is copied, and counts as built.
    fn owned(&self, value: Cow<'_, Value>) -> Result<Value, EvalError> {
        match value {
            Cow::Owned(value) => Ok(value),
            Cow::Borrowed(value) => {
                self.weigh(value)?;
                Ok(value.clone())
            }
        }
    }

    fn weigh(&self, value: &Value) -> Result<(), EvalError> {
        match value {
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Decimal(_) => self.build(VALUE_BYTES),
            Value::Str(text) => self.build(VALUE_BYTES + text.len()),
            Value::List(items) => {
                self.build(VALUE_BYTES)?;
                items.iter().try_for_each(|item| self.weigh(item))
            }
            Value::Map(entries) => {
                self.build(VALUE_BYTES)?;
                entries.iter().try_for_each(|(key, item)| {
                    self.build(VALUE_BYTES + key.len())?;
                    self.weigh(item)
                })
            }
        }
    }

    /// The value of `ast`, where the variable of the enclosing macro stands for `variable`.
    fn of<'v>(&'v self, ast: &'v Ast, variable: Option<&'v Value>) -> Res<'v> {
        self.spend(NODE_WORK)?;
        match &ast.kind {
            AstKind::Literal(value) => Ok(Cow::Borrowed(value)),
            AstKind::Free(at) => self.free(*at),
            AstKind::Variable => variable.map_or_else(|| error("a macro has no variable"), |it| Ok(Cow::Borrowed(it))),
            AstKind::List(items) => self.list(items, variable),
            AstKind::Map(entries) => self.map(entries, variable),
            AstKind::Field(base, field) => {
                let value = self.of(base, variable)?;
                self.field(base, value, field)
            }
            AstKind::Index(base, index) => self.index(base, index, variable),
            AstKind::Has(path) => self.lookup(path, variable).map(|found| Cow::Owned(found.is_some().into())),
            AstKind::Not(operand) => self.bool(operand, "!", variable).map(|truth| Cow::Owned((!truth).into())),
            AstKind::Negate(operand) => {
                let operand = self.of(operand, variable)?;
                number::negate(&operand).map(Cow::Owned)
            }
            AstKind::And(left, right) => {
                let truth = self.bool(left, "&&", variable)? && self.bool(right, "&&", variable)?;
                Ok(Cow::Owned(truth.into()))
            }
            AstKind::Or(left, right) => {
                let truth = self.bool(left, "||", variable)? || self.bool(right, "||", variable)?;
                Ok(Cow::Owned(truth.into()))
            }
            AstKind::Binary(operator, left, right) => {
                let (left, right) = (self.of(left, variable)?, self.of(right, variable)?);
                self.binary(*operator, left, right)
            }
            AstKind::Choose(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                self.of(if self.bool(condition, "?", variable)? { then } else { otherwise }, variable)
            }
            AstKind::Call(function, arguments) => self.call(*function, arguments, variable),
            AstKind::Each(each) => self.each(each, variable),
        }
    }

    fn free(&self, at: usize) -> Res<'_> {
        let slot = &self.read[at];
        if let Some(value) = slot.get() {
            return Ok(Cow::Borrowed(value));
        }
        let value = match &self.references[at] {
            Reference::Name(name) => self.scope.name(name)?,
            Reference::Envelope(id) => self.scope.envelope(id)?,
        };
        Ok(Cow::Borrowed(slot.get_or_init(|| value)))
    }

    fn list<'v>(&'v self, items: &'v [Ast], variable: Option<&'v Value>) -> Res<'v> {
        self.build(VALUE_BYTES)?;
        let values = items.iter().map(|item| self.owned(self.of(item, variable)?));
        Ok(Cow::Owned(Value::List(values.collect::<Result<_, _>>()?)))
    }

    fn map<'v>(&'v self, entries: &'v [(String, Ast)], variable: Option<&'v Value>) -> Res<'v> {
        self.build(VALUE_BYTES)?;
        let mut map = BTreeMap::new();
        for (key, item) in entries {
            self.build(VALUE_BYTES + key.len())?;
            map.insert(key.clone(), self.owned(self.of(item, variable)?)?);
        }
        Ok(Cow::Owned(Value::Map(map)))
    }

    fn bool(&self, ast: &Ast, operator: &str, variable: Option<&Value>) -> Result<bool, EvalError> {
        let value = self.of(ast, variable)?;
        match value.as_bool() {
            Some(truth) => Ok(truth),
            None => error(format!("`{operator}` needs true or false, not {}", value.type_name())),
        }
    }

    /// How errors call what `ast` gave.
    fn shown(&self, ast: &Ast) -> String {
        path_text(ast, self.references).map_or_else(|| "the value".to_owned(), |path| format!("`{path}`"))
    }

    fn field<'v>(&self, base: &Ast, value: Cow<'v, Value>, field: &str) -> Res<'v> {
        if value.as_map().is_none() {
            return error(format!("{} is {}, which has no field `{field}`", self.shown(base), value.type_name()));
        }
        match entry(value, field) {
            Some(found) => Ok(found),
            None => error(format!("{} has no field `{field}`", self.shown(base))),
        }
    }

    fn index<'v>(&'v self, base: &'v Ast, index: &'v Ast, variable: Option<&'v Value>) -> Res<'v> {
        let value = self.of(base, variable)?;
        let index = self.of(index, variable)?;
        match (value.as_ref(), index.as_ref()) {
            (Value::Map(_), Value::Str(key)) => self.field(base, value, key),
            (Value::Map(_), other) => error(format!("a map is indexed by a string, not {}", other.type_name())),
            (Value::List(items), index) => {
                let (len, at) = (items.len(), number::whole(index));
                let Some(at) = at else {
                    return error(format!("a list is indexed by an int, not {}", index.type_name()));
                };
                element(value, at).map_or_else(
                    || error(format!("index {at} is outside {}, which has {len} items", self.shown(base))),
                    Ok,
                )
            }
            (other, _) => error(format!("{} is {}, which cannot be indexed", self.shown(base), other.type_name())),
        }
    }

    /// What a path of fields and indices leads to; `None` when some part of it is not there.
    fn lookup<'v>(&'v self, path: &'v Ast, variable: Option<&'v Value>) -> Result<Option<Cow<'v, Value>>, EvalError> {
        self.spend(NODE_WORK)?;
        match &path.kind {
            AstKind::Field(base, field) => Ok(self.lookup(base, variable)?.and_then(|value| entry(value, field))),
            AstKind::Index(base, index) => {
                let Some(value) = self.lookup(base, variable)? else { return Ok(None) };
                let index = self.of(index, variable)?;
                Ok(match (value.as_ref(), index.as_ref()) {
                    (Value::Map(_), Value::Str(key)) => entry(value, key),
                    (Value::List(_), index) => number::whole(index).and_then(|at| element(value, at)),
                    _ => None,
                })
            }
            _ => self.of(path, variable).map(Some),
        }
    }

    fn binary<'v>(&self, operator: Operator, left: Cow<'v, Value>, right: Cow<'v, Value>) -> Res<'v> {
        let truth = |truth: bool| Ok(Cow::Owned(truth.into()));
        match operator {
            Operator::Equal => truth(self.same(&left, &right)?),
            Operator::Unequal => truth(!self.same(&left, &right)?),
            Operator::Less => truth(self.order(operator, &left, &right)?.is_lt()),
            Operator::LessEqual => truth(self.order(operator, &left, &right)?.is_le()),
            Operator::Greater => truth(self.order(operator, &left, &right)?.is_gt()),
            Operator::GreaterEqual => truth(self.order(operator, &left, &right)?.is_ge()),
            Operator::In => truth(self.contained(&left, &right)?),
            Operator::Add => self.add(left, right),
            Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
                number::arithmetic(operator, &left, &right).map(Cow::Owned)
            }
        }
    }

    /// Whether two values are equal, where numbers are equal by what they stand for.
    fn same(&self, left: &Value, right: &Value) -> Result<bool, EvalError> {
        self.spend(1)?;
        match (left, right) {
            (Value::Int(_) | Value::Decimal(_), Value::Int(_) | Value::Decimal(_)) => {
                Ok(number::compare(left, right).is_some_and(Ordering::is_eq))
            }
            (Value::Str(left), Value::Str(right)) => {
                self.spend(left.len().min(right.len()) / NODE_WORK)?;
                Ok(left == right)
            }
            (Value::List(left), Value::List(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                self.all_same(left.iter().zip(right))
            }
            (Value::Map(left), Value::Map(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (left, right) in left.keys().zip(right.keys()) {
                    self.spend(1 + left.len().min(right.len()) / NODE_WORK)?;
                    if left != right {
                        return Ok(false);
                    }
                }
                self.all_same(left.values().zip(right.values()))
            }
            (Value::Null | Value::Bool(_), Value::Null | Value::Bool(_)) => Ok(left == right),
            _ => Ok(false),
        }
    }

    fn all_same<'v>(&self, pairs: impl Iterator<Item = (&'v Value, &'v Value)>) -> Result<bool, EvalError> {
        for (left, right) in pairs {
            if !self.same(left, right)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn order(&self, operator: Operator, left: &Value, right: &Value) -> Result<Ordering, EvalError> {
        if let (Value::Str(left), Value::Str(right)) = (left, right) {
            self.spend(left.len().min(right.len()) / NODE_WORK)?;
            return Ok(left.cmp(right));
        }
        number::compare(left, right).map_or_else(|| unfit(operator, "two numbers or two strings", left, right), Ok)
    }

    fn contained(&self, item: &Value, whole: &Value) -> Result<bool, EvalError> {
        match (item, whole) {
            (item, Value::List(items)) => {
                for candidate in items {
                    if self.same(candidate, item)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (Value::Str(key), Value::Map(entries)) => Ok(entries.contains_key(key)),
            (item, Value::Map(_)) => error(format!("the keys of a map are strings, not {}", item.type_name())),
            (_, other) => error(format!("`in` looks into lists and maps, not into {}", other.type_name())),
        }
    }

    fn add<'v>(&self, left: Cow<'v, Value>, right: Cow<'v, Value>) -> Res<'v> {
        match (left.as_ref(), right.as_ref()) {
            (Value::Str(first), Value::Str(second)) => {
                self.build(VALUE_BYTES + first.len() + second.len())?;
                Ok(Cow::Owned([first.as_str(), second].concat().into()))
            }
            (Value::List(_), Value::List(_)) => {
                let mut items = Vec::new();
                for part in [left, right] {
                    if let Value::List(more) = self.owned(part)? {
                        items.extend(more);
                    }
                }
                Ok(Cow::Owned(items.into()))
            }
            (left, right) => number::arithmetic(Operator::Add, left, right).map(Cow::Owned),
        }
    }

    fn call<'v>(&'v self, function: Function, arguments: &'v [Ast], variable: Option<&'v Value>) -> Res<'v> {
        let first = self.of(&arguments[0], variable)?;
        let second = arguments.get(1).map(|argument| self.of(argument, variable)).transpose()?;
        match (function, second) {
            (Function::Size, _) => self.size(&first).map(|size| Cow::Owned(Value::Int(size))),
            (Function::Range, None) => self.range(&Value::Int(0), &first),
            (Function::Range, Some(second)) => self.range(&first, &second),
            (Function::Int, _) => {
                self.spend(first.as_str().map_or(0, str::len) / NODE_WORK)?;
                number::int(&first).map(Cow::Owned)
            }
            (Function::Text, _) => self.text(first),
            (Function::Min | Function::Max, Some(second)) => match number::compare(&first, &second) {
                None => error(format!(
                    "`{function}` needs two numbers, not {} and {}",
                    first.type_name(),
                    second.type_name()
                )),
                Some(order) if order.is_le() == (function == Function::Min) => Ok(first),
                Some(_) => Ok(second),
            },
            (Function::Contains | Function::StartsWith | Function::EndsWith, Some(second)) => {
                self.search(function, &first, &second)
            }
            (_, None) => error(format!("`{function}` takes two arguments")),
        }
    }

    fn size(&self, value: &Value) -> Result<i64, EvalError> {
        let size = match value {
            Value::Str(text) => {
                self.spend(text.len() / NODE_WORK)?;
                text.chars().count()
            }
            Value::List(items) => items.len(),
            Value::Map(entries) => entries.len(),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Decimal(_) => {
                return error(format!("`size` needs a string, a list or a map, not {}", value.type_name()));
            }
        };
        Ok(size as i64)
    }

    fn search<'v>(&self, function: Function, text: &Value, part: &Value) -> Res<'v> {
        let (Value::Str(text), Value::Str(part)) = (text, part) else {
            return error(format!("`{function}` needs two strings, not {} and {}", text.type_name(), part.type_name()));
        };
        self.spend((text.len() + part.len()) / NODE_WORK)?;
        Ok(Cow::Owned(Value::Bool(match function {
            Function::StartsWith => text.starts_with(part.as_str()),
            Function::EndsWith => text.ends_with(part.as_str()),
            _ => text.contains(part.as_str()),
        })))
    }

    fn range<'v>(&self, from: &Value, to: &Value) -> Res<'v> {
        let (Some(from), Some(to)) = (number::whole(from), number::whole(to)) else {
            return error("`range` needs ints");
        };
        if to < from {
            return error(format!("range from {from} to {to} runs backwards"));
        }
        let count = to.abs_diff(from);
        if count > FAN_OUT_MAX {
            return error(format!("range of {count} items is longer than {FAN_OUT_MAX}"));
        }
        self.build(VALUE_BYTES * (count as usize + 1))?;
        Ok(Cow::Owned(Value::List((from..to).map(Value::Int).collect())))
    }

    fn text<'v>(&self, value: Cow<'v, Value>) -> Res<'v> {
        let text = match value.as_ref() {
            Value::Str(_) => return Ok(value),
            Value::Int(value) => value.to_string(),
            Value::Decimal(value) => value.to_string(),
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => {
                self.weigh(&value)?;
                value.to_json()
            }
        };
        self.build(VALUE_BYTES + text.len())?;
        Ok(Cow::Owned(text.into()))
    }

    fn each<'v>(&'v self, each: &'v Each, variable: Option<&'v Value>) -> Res<'v> {
        let kind = each.kind;
        let list = self.of(&each.list, variable)?;
        let Value::List(items) = list.as_ref() else {
            return error(format!("`{kind}` needs a list, not {}", list.type_name()));
        };
        let mut kept = Vec::new();
        self.build(VALUE_BYTES)?;
        for item in items {
            match kind {
                EachKind::Map => kept.push(self.owned(self.of(&each.body, Some(item))?)?),
                EachKind::Filter if self.bool(&each.body, "filter", Some(item))? => {
                    kept.push(self.owned(Cow::Borrowed(item))?);
                }
                EachKind::Filter => {}
                EachKind::Exists | EachKind::All => {
                    let decisive = kind == EachKind::Exists;
                    if self.bool(&each.body, if decisive { "exists" } else { "all" }, Some(item))? == decisive {
                        return Ok(Cow::Owned(decisive.into()));
                    }
                }
            }
        }
        Ok(Cow::Owned(match kind {
            EachKind::Map | EachKind::Filter => kept.into(),
            EachKind::Exists => false.into(),
            EachKind::All => true.into(),
        }))
    }
}

/// The error of an operator whose operands do not fit it.
pub(super) fn unfit<T>(operator: Operator, needs: &str, left: &Value, right: &Value) -> Result<T, EvalError> {
    error(format!("`{operator}` needs {needs}, not {} and {}", left.type_name(), right.type_name()))
}

fn entry<'v>(value: Cow<'v, Value>, key: &str) -> Option<Cow<'v, Value>> {
    match value {
        Cow::Borrowed(value) => value.as_map()?.get(key).map(Cow::Borrowed),
        Cow::Owned(Value::Map(mut entries)) => entries.remove(key).map(Cow::Owned),
        Cow::Owned(_) => None,
    }
}

fn element(value: Cow<'_, Value>, at: i64) -> Option<Cow<'_, Value>> {
    let at = usize::try_from(at).ok()?;
    match value {
        Cow::Borrowed(value) => value.as_list()?.get(at).map(Cow::Borrowed),
        Cow::Owned(Value::List(items)) => items.into_iter().nth(at).map(Cow::Owned),
        Cow::Owned(_) => None,
    }
}
