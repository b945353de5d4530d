//! Values of nodes, and what names mean in expressions and templates.

use std::collections::BTreeMap;
use std::sync::Arc;

use wf_ir::expr::Scope;
use wf_ir::limits::EXPR_VALUE_BYTES_MAX;
use wf_ir::node::Template;
use wf_ir::{Digest, EvalError, Expr, Kind, Status, Value};

use crate::record::{Checkpoint, InputValue, ValueRef};
use crate::state::{FrameIx, Ix, RunState};

/// What stands in a rendered message where a sensitive input is used.
fn placeholder(name: &str) -> Value {
    Value::Str(format!("\u{ab}sensitive:{name}\u{bb}"))
}

impl RunState {
    /// The value behind a reference.
    ///
    /// # Errors
    /// When it is too large for the kernel to read.
    pub(crate) fn read(&self, value: &ValueRef) -> Result<Arc<Value>, EvalError> {
        match value {
            ValueRef::Inline(value) => Ok(value.clone()),
            ValueRef::Stored { digest, size } => self.hydrated.get(digest).cloned().ok_or_else(|| {
                EvalError(format!("a value of {size} bytes is too large to read (at most {EXPR_VALUE_BYTES_MAX})"))
            }),
        }
    }

    /// The value of an instance: null unless it succeeded. Lists of children are put together here and kept once the
    /// instance has ended.
    pub(crate) fn value_of(&mut self, ix: Ix) -> Result<Arc<Value>, EvalError> {
        self.sized_value(ix).map(|(value, _)| value)
    }

    fn sized_value(&mut self, ix: Ix) -> Result<(Arc<Value>, usize), EvalError> {
        if let Some((value, size)) = self.cache.values.get(&ix) {
            return Ok((value.clone(), *size));
        }
        if self.instance(ix).status != Status::Succeeded {
            return Ok((Arc::new(Value::Null), 4));
        }
        let made = match &self.instance(ix).value {
            Some(value) => {
                let value = self.read(&value.clone())?;
                let size = size_of(&value);
                (value, size)
            }
            None => self.composed(ix)?,
        };
        if made.1 > EXPR_VALUE_BYTES_MAX {
            let path = self.instance(ix).path.clone();
            return Err(EvalError(format!(
                "the value of {path} has {} bytes; expressions read at most {EXPR_VALUE_BYTES_MAX}",
                made.1
            )));
        }
        self.cache.values.insert(ix, made.clone());
        Ok(made)
    }

    /// What a list of children gives.
    fn composed(&mut self, ix: Ix) -> Result<(Arc<Value>, usize), EvalError> {
        let frames = self.elements(ix);
        let kind = self.kind(ix).name();
        let (value, size) = match kind {
            "expand" => {
                let mut items = Vec::with_capacity(frames.len());
                let mut size = 2;
                for frame in frames {
                    let (value, bytes) = self.element_value(frame)?;
                    size += bytes + 1;
                    items.push(Arc::unwrap_or_clone(value));
                }
                (Value::List(items), size)
            }
            "branch" => {
                let (results, size) = self.record_of(frames.last().copied())?;
                let tree = self.instance(ix).tree.as_ref().and_then(|tree| tree.harvest.clone());
                let value = branch_value(results, tree.as_deref());
                let size = size + size_of(&value);
                (value, size)
            }
            _ => self.record_of(frames.last().copied())?,
        };
        Ok((Arc::new(value), size))
    }

    /// An element's value is that of its last child.
    pub(crate) fn element_value(&mut self, frame: FrameIx) -> Result<(Arc<Value>, usize), EvalError> {
        let Some(last) = self.frame(frame).children().last() else { return Ok((Arc::new(Value::Null), 4)) };
        self.sized_value(last)
    }

    /// The values of a frame's children, by id.
    fn record_of(&mut self, frame: Option<FrameIx>) -> Result<(Value, usize), EvalError> {
        let mut entries = BTreeMap::new();
        let mut size = 2;
        let Some(frame) = frame else { return Ok((Value::Map(entries), size)) };
        for child in self.frame(frame).children() {
            let (value, bytes) = self.sized_value(child)?;
            let id = self.node(child).id.clone();
            size += bytes + id.len() + 4;
            entries.insert(id, Arc::unwrap_or_clone(value));
        }
        Ok((Value::Map(entries), size))
    }

    /// The record of a frame's children: what `prev` is.
    pub(crate) fn frame_value(&mut self, frame: FrameIx) -> Result<Arc<Value>, EvalError> {
        self.record_of(Some(frame)).map(|(value, _)| Arc::new(value))
    }

    /// `{path, status, value}`
    pub(crate) fn envelope_of(&mut self, ix: Ix) -> Result<Arc<Value>, EvalError> {
        let value = self.value_of(ix)?;
        let instance = self.instance(ix);
        Ok(Arc::new(envelope(&instance.path, instance.status, &value)))
    }

    /// `inputs` as expressions see it (without sensitive ones), and as templates see it (with placeholders).
    fn inputs(&mut self) -> Result<(Arc<Value>, Arc<Value>), EvalError> {
        if let Some(inputs) = &self.cache.inputs {
            return Ok(inputs.clone());
        }
        let Some(started) = self.started.clone() else {
            return Err(EvalError("the run has not begun".to_owned()));
        };
        let (mut plain, mut shown) = (BTreeMap::new(), BTreeMap::new());
        for (name, input) in &started.inputs {
            match input {
                InputValue::Plain(value) => {
                    let value = self.read(value)?;
                    plain.insert(name.clone(), (*value).clone());
                    shown.insert(name.clone(), Arc::unwrap_or_clone(value));
                }
                InputValue::Sensitive(_) => {
                    shown.insert(name.clone(), placeholder(name));
                }
            }
        }
        let inputs = (Arc::new(Value::Map(plain)), Arc::new(Value::Map(shown)));
        self.cache.inputs = Some(inputs.clone());
        Ok(inputs)
    }

    /// What a name means in `frame`, apart from names that belong to one field only.
    fn name_in(&mut self, frame: FrameIx, name: &str, in_template: bool) -> Result<Arc<Value>, EvalError> {
        match name {
            "inputs" => {
                let (plain, shown) = self.inputs()?;
                return Ok(if in_template { shown } else { plain });
            }
            "iteration" | "prev" => return self.loop_name(frame, name),
            _ => {}
        }
        let mut at = frame;
        loop {
            let owner = self.frame(at).owner;
            if let Some(node) = self.plan.child(owner.map(|ix| self.instance(ix).node), name)
                && let Some(ix) = self.resolve(at, node)
            {
                return self.value_of(ix);
            }
            let Some(owner) = owner else { return Err(EvalError(format!("{name} means nothing here"))) };
            if self.node(owner).id == name {
                return self.element(owner, at);
            }
            at = self.instance(owner).frame;
        }
    }

    /// `{item, index}` of the element that a frame is.
    fn element(&mut self, owner: Ix, frame: FrameIx) -> Result<Arc<Value>, EvalError> {
        // An added element has the number of the one that led to it: its own depends on who was faster.
        let index = self.frame(frame).place().first().copied().unwrap_or(0);
        let at = self.frame(frame).index as usize;
        let instance = self.instance(owner);
        let listed = instance.expansion.as_ref().map_or(0, |it| it.count as usize) - instance.added.len();
        let added = at.checked_sub(listed).and_then(|at| instance.added.get(at)).map(|added| added.value.clone());
        let item = match (added, &*self.list_of(owner)?) {
            (Some(added), _) => Arc::unwrap_or_clone(added),
            (None, Value::List(items)) => items.get(at).cloned().unwrap_or(Value::Null),
            (None, _) => Value::Int(i64::from(index)),
        };
        Ok(Arc::new(Value::map([("item", item), ("index", Value::Int(i64::from(index)))])))
    }

    /// The frames of a control node; the elements of a list that grew in an order that no timing decides.
    pub(crate) fn elements(&self, ix: Ix) -> Vec<FrameIx> {
        let instance = self.instance(ix);
        let mut frames = instance.frames.clone();
        if !instance.added.is_empty() {
            frames.sort_by_cached_key(|frame| self.frame(*frame).place());
        }
        frames
    }

    /// What an `expand` goes through: a list, or an integer.
    pub(crate) fn list_of(&mut self, owner: Ix) -> Result<Arc<Value>, EvalError> {
        if let Some(list) = self.cache.lists.get(&owner) {
            return Ok(list.clone());
        }
        let workflow = self.workflow.clone();
        let Kind::Expand { over, .. } = &workflow.node(self.instance(owner).node).kind else {
            return Err(EvalError(format!("{} has no elements", self.instance(owner).path)));
        };
        let list = Arc::new(self.eval_at(owner, over)?);
        self.cache.lists.insert(owner, list.clone());
        Ok(list)
    }

    fn loop_name(&mut self, frame: FrameIx, name: &str) -> Result<Arc<Value>, EvalError> {
        let mut at = frame;
        loop {
            let Some(owner) = self.frame(at).owner else {
                return Err(EvalError(format!("{name} means something inside a loop only")));
            };
            if matches!(self.kind(owner), Kind::LoopUntil { .. }) {
                let index = self.frame(at).index;
                if name == "iteration" {
                    return Ok(Arc::new(Value::Int(i64::from(index))));
                }
                let before = (index as usize).checked_sub(2).and_then(|at| self.instance(owner).frames.get(at));
                return match before.copied() {
                    Some(frame) => self.frame_value(frame),
                    None => Ok(Arc::new(Value::Null)),
                };
            }
            at = self.instance(owner).frame;
        }
    }

    /// Evaluates an expression where an instance stands.
    pub(crate) fn eval_at(&mut self, ix: Ix, expr: &Expr) -> Result<Value, EvalError> {
        self.eval_in(self.instance(ix).frame, &BTreeMap::new(), expr)
    }

    /// Evaluates an expression in a frame, with names of its own.
    pub(crate) fn eval_in(
        &mut self,
        frame: FrameIx,
        own: &BTreeMap<String, Arc<Value>>,
        expr: &Expr,
    ) -> Result<Value, EvalError> {
        let mut names = BTreeMap::new();
        let mut envelopes = BTreeMap::new();
        for reference in expr.references() {
            match reference {
                wf_ir::expr::Reference::Name(name) => {
                    let value = match own.get(&name) {
                        Some(value) => Ok(value.clone()),
                        None => self.name_in(frame, &name, false),
                    };
                    names.insert(name, value);
                }
                wf_ir::expr::Reference::Envelope(id) => {
                    let value = self.envelope_in(frame, &id);
                    envelopes.insert(id, value);
                }
            }
        }
        expr.eval(&Names { names, envelopes })
    }

    fn envelope_in(&mut self, frame: FrameIx, id: &str) -> Result<Arc<Value>, EvalError> {
        let mut at = frame;
        loop {
            let owner = self.frame(at).owner;
            if let Some(node) = self.plan.child(owner.map(|ix| self.instance(ix).node), id)
                && let Some(ix) = self.resolve(at, node)
            {
                return self.envelope_of(ix);
            }
            let Some(owner) = owner else { return Err(EvalError(format!("there is no node {id} here"))) };
            at = self.instance(owner).frame;
        }
    }

    /// The values of the names that a leaf's templates use.
    ///
    /// # Errors
    /// The first variable or name that has no value.
    pub(crate) fn context_of(
        &mut self,
        ix: Ix,
        templates: &[&Template],
        vars: &BTreeMap<String, Expr>,
        own: &BTreeMap<String, Arc<Value>>,
    ) -> Result<BTreeMap<String, Arc<Value>>, EvalError> {
        let frame = self.instance(ix).frame;
        let mut context = BTreeMap::new();
        for (name, expr) in vars {
            let value = self.eval_in(frame, own, expr).map_err(|EvalError(why)| EvalError(format!("{name}: {why}")))?;
            context.insert(name.clone(), Arc::new(value));
        }
        let mut envelopes = BTreeMap::new();
        for template in templates {
            for name in &template.names {
                if context.contains_key(name) || name == "tree" || name == "node" {
                    continue;
                }
                let value = match own.get(name) {
                    Some(value) => value.clone(),
                    None => self.name_in(frame, name, true)?,
                };
                context.insert(name.clone(), value);
            }
            for id in &template.envelopes {
                envelopes.insert(id.clone(), (*self.envelope_in(frame, id)?).clone());
            }
        }
        if !envelopes.is_empty() {
            context.insert("node".to_owned(), Arc::new(Value::Map(envelopes)));
        }
        Ok(context)
    }
}

struct Names {
    names: BTreeMap<String, Result<Arc<Value>, EvalError>>,
    envelopes: BTreeMap<String, Result<Arc<Value>, EvalError>>,
}

impl Scope for Names {
    fn name(&self, name: &str) -> Result<Arc<Value>, EvalError> {
        self.names.get(name).cloned().unwrap_or_else(|| Err(EvalError(format!("{name} means nothing here"))))
    }

    fn envelope(&self, id: &str) -> Result<Arc<Value>, EvalError> {
        self.envelopes.get(id).cloned().unwrap_or_else(|| Err(EvalError(format!("there is no node {id} here"))))
    }
}

/// `{path, status, value}`
pub(crate) fn envelope(path: &str, status: Status, value: &Value) -> Value {
    Value::map([("path", Value::from(path)), ("status", Value::from(status.as_str())), ("value", value.clone())])
}

/// A branch's value: what its children gave, and what it did to its tree.
fn branch_value(results: Value, harvest: Option<&Checkpoint>) -> Value {
    let text = |text: Option<&String>| text.map_or(Value::Null, |text| Value::Str(text.clone()));
    let files = harvest.map(|it| it.files.as_slice()).unwrap_or_default();
    let sum = |part: fn(&crate::record::FileChange) -> Option<u64>| {
        Value::Int(files.iter().filter_map(part).sum::<u64>().min(i64::MAX as u64) as i64)
    };
    Value::map([
        ("results", results),
        ("base", text(harvest.map(|it| &it.base))),
        ("commit", text(harvest.map(|it| &it.commit))),
        ("tree", text(harvest.map(|it| &it.tree))),
        ("files", Value::List(files.iter().map(|file| Value::from(file.path.as_str())).collect())),
        ("insertions", sum(|file| file.insertions)),
        ("deletions", sum(|file| file.deletions)),
    ])
}

/// About how many bytes the JSON text of a value has.
fn size_of(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Int(_) | Value::Decimal(_) => 8,
        Value::Str(text) => text.len() + 2,
        Value::List(items) => items.iter().map(|item| size_of(item) + 1).sum::<usize>() + 2,
        Value::Map(entries) => entries.iter().map(|(key, value)| key.len() + 4 + size_of(value)).sum::<usize>() + 2,
    }
}

/// The digest of a list, for the record of an `expand`.
pub(crate) fn list_digest(list: &Value) -> Digest {
    Digest::of(list.to_json().as_bytes())
}
