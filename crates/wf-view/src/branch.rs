//! What came of a branch as a whole: its children's values, what they used, the engine's tests of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use wf_ir::limits::INLINE_VALUE_BYTES_MAX;
use wf_ir::node::TreeRef;
use wf_ir::{Kind, Status, Value};
use wf_kernel::record::Checkpoint;
use wf_kernel::{Ix, Usage};

use crate::fold::RunFold;
use crate::run::TestView;

/// How much differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DiffstatView {
    /// Files.
    pub files: u64,
    /// Lines added.
    pub insertions: u64,
    /// Lines removed.
    pub deletions: u64,
}

impl DiffstatView {
    /// Of what a checkpoint changed.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let sum =
            |part: fn(&wf_kernel::record::FileChange) -> Option<u64>| checkpoint.files.iter().filter_map(part).sum();
        Self {
            files: checkpoint.files.len() as u64,
            insertions: sum(|file| file.insertions),
            deletions: sum(|file| file.deletions),
        }
    }
}

/// What the children of a branch that has ended gave, by id; nothing where that is too large for a list, or not at hand.
pub(crate) fn outputs_of(fold: &RunFold, ix: Ix) -> Option<Arc<Value>> {
    let instance = fold.state().instance(ix);
    if !matches!(fold.node(instance).kind, Kind::Branch { .. }) || !instance.status.is_terminal() {
        return None;
    }
    let mut room = INLINE_VALUE_BYTES_MAX;
    children_of(fold, ix, &mut room).map(Arc::new)
}

fn value_of(fold: &RunFold, ix: Ix, room: &mut usize) -> Option<Value> {
    let instance = fold.state().instance(ix);
    if instance.status != Status::Succeeded {
        return Some(Value::Null);
    }
    if let Some(value) = &instance.value {
        let value = fold.value(value)?;
        *room = room.checked_sub(value.to_json().len())?;
        return Some((*value).clone());
    }
    if !matches!(fold.node(instance).kind, Kind::Expand { .. }) {
        return children_of(fold, ix, room);
    }
    let mut frames: Vec<_> = instance.frames.iter().map(|frame| fold.state().frame(*frame)).collect();
    frames.sort_by_key(|frame| frame.place());
    let last = frames.into_iter().filter_map(|frame| frame.children().last());
    last.map(|last| value_of(fold, last, room)).collect::<Option<Vec<_>>>().map(Value::List)
}

/// The values of the last pass over a list of children, by id.
fn children_of(fold: &RunFold, ix: Ix, room: &mut usize) -> Option<Value> {
    let mut entries = BTreeMap::new();
    let frame = fold.state().instance(ix).frames.last().map(|frame| fold.state().frame(*frame));
    for child in frame.into_iter().flat_map(|frame| frame.children()) {
        let id = fold.node(fold.state().instance(child)).id.clone();
        *room = room.checked_sub(id.len())?;
        entries.insert(id, value_of(fold, child, room)?);
    }
    Some(Value::Map(entries))
}

/// What everything in each branch used, by the branches around it.
pub(crate) fn usage_of_branches(fold: &RunFold) -> BTreeMap<Ix, Usage> {
    let mut used: BTreeMap<Ix, Usage> = BTreeMap::new();
    for (at, instance) in fold.state().instances().iter().enumerate() {
        if instance.used == Usage::default() {
            continue;
        }
        for around in fold.ancestors(Ix(at as u32)) {
            if matches!(fold.node(fold.state().instance(around)).kind, Kind::Branch { .. }) {
                let sum = used.entry(around).or_default();
                *sum = sum.plus(instance.used);
            }
        }
    }
    used
}

/// The tests in each branch, by the innermost branch around them; and those of what a branch or a combination came to, by
/// that.
pub(crate) fn tests_of_branches(fold: &RunFold) -> BTreeMap<Ix, Vec<TestView>> {
    let mut tests: BTreeMap<Ix, Vec<TestView>> = BTreeMap::new();
    for (at, instance) in fold.state().instances().iter().enumerate() {
        if !matches!(fold.node(instance).kind, Kind::Test(_)) {
            continue;
        }
        let is_branch = |ix: &Ix| matches!(fold.node(fold.state().instance(*ix)).kind, Kind::Branch { .. });
        let ix = Ix(at as u32);
        if let Some(branch) = tested(fold, ix).or_else(|| fold.ancestors(ix).find(is_branch)) {
            let value = instance.value.as_ref().and_then(|value| fold.value(value));
            let passed = value.and_then(|value| value.get("passed").as_bool());
            tests.entry(branch).or_default().push(TestView { path: instance.path.to_string(), passed });
        }
    }
    tests
}

/// The branch or combination whose end a test with a `tree` looked at.
fn tested(fold: &RunFold, ix: Ix) -> Option<Ix> {
    let test = fold.state().instance(ix);
    let Some(TreeRef::Branch(node)) = &fold.node(test).tree else { return None };
    let saw = test.saw_tree.as_deref()?;
    let mut ended = fold.state().instances().iter().enumerate().filter(|(_, it)| it.node == *node);
    let found = ended.find(|(_, it)| it.tree.as_ref().is_some_and(|tree| tree.head_tree == saw));
    found.map(|(at, _)| Ix(at as u32))
}
