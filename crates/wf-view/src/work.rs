//! What branches of a run did, and which of it is the run's result.

use std::sync::Arc;

use wf_ir::node::TreeRef;
use wf_ir::{Kind, NodeIx, Status};
use wf_kernel::record::Checkpoint;
use wf_kernel::state::Instance;

use crate::fold::RunFold;

/// A branch that wrote, and what it did as a whole.
pub type Work<'a> = (&'a Instance, Arc<Checkpoint>);

/// What branches did that changed a file, in the order of instances.
pub fn work(fold: &RunFold) -> Vec<Work<'_>> {
    fold.state().instances().iter().filter_map(|instance| Some((instance, work_of(fold, instance)?))).collect()
}

/// What a branch did, if it changed a file. A branch that was harvested says so as a whole; one that still runs, or did
/// not succeed, by its last checkpoint.
fn work_of(fold: &RunFold, instance: &Instance) -> Option<Arc<Checkpoint>> {
    if !fold.node(instance).kind.ends_in_a_tree() {
        return None;
    }
    let tree = instance.tree.as_deref()?;
    let whole = tree.harvest.clone().unwrap_or_else(|| {
        Arc::new(Checkpoint {
            base: tree.base.clone(),
            commit: tree.head.clone(),
            tree: tree.head_tree.clone(),
            files: Vec::new(),
            out_of_scope: Vec::new(),
        })
    });
    (whole.base != whole.commit).then_some(whole)
}

/// What the winner of the last tournament came to: its branch, or the last work that went on from there and that no test
/// speaks against. What was put together of several branches counts only when a test speaks for it. It is what
/// `diff` and `apply` mean when no branch is named.
pub fn winning<'a>(fold: &RunFold, wrote: &[Work<'a>]) -> Option<Work<'a>> {
    let is_decided = |instance: &&Instance| {
        matches!(fold.node(instance).kind, Kind::Tournament(_)) && instance.status == Status::Succeeded
    };
    let last = fold.state().instances().iter().filter(is_decided).max_by_key(|instance| instance.ended_at)?;
    let value = fold.value(last.value.as_ref()?)?;
    let path = value.get("winner").as_str()?;
    // A candidate is a branch, or an element of an expand whose child is one. Work on the winner's tree comes later.
    let continued = wrote
        .iter()
        .filter(|(instance, _)| goes_on_from(fold, instance.node, last.node) && is_sound(fold, instance))
        .max_by_key(|(it, _)| it.ended_at);
    let of_winner = |(instance, _): &&Work<'a>| {
        instance.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    continued.or_else(|| wrote.iter().find(of_winner)).cloned()
}

/// Whether a node goes on from where the winner of a tournament ended, or from what did.
fn goes_on_from(fold: &RunFold, node: NodeIx, contest: NodeIx) -> bool {
    let node = fold.state().workflow().node(node);
    match (&node.kind, &node.tree) {
        (Kind::Reduce(reduce), _) => node.kind.ends_in_a_tree() && reduce.inputs.nodes() == [contest],
        (_, Some(TreeRef::Winner(it))) => *it == contest,
        (_, Some(TreeRef::Branch(it))) => goes_on_from(fold, *it, contest),
        (_, None) => false,
    }
}

/// Whether what a branch or a combination came to can be taken instead of the winner itself.
fn is_sound(fold: &RunFold, instance: &Instance) -> bool {
    let head = instance.tree.as_ref().map(|tree| tree.head_tree.as_str());
    let is_inside = |test: &Instance| test.path.strip_prefix(&*instance.path).is_some_and(|rest| rest.starts_with('/'));
    let is_of_it = |test: &Instance| {
        let of_its_tree = matches!(&fold.node(test).tree, Some(TreeRef::Branch(node)) if *node == instance.node);
        is_inside(test) || of_its_tree
    };
    let tests =
        fold.state().instances().iter().filter(|it| matches!(fold.node(it).kind, Kind::Test(_)) && is_of_it(it));
    // Only the last word on what it ended with counts.
    let verdicts: Vec<bool> = tests
        .filter(|test| test.saw_tree.as_deref() == head && test.status.is_terminal())
        .map(|test| {
            let value = test.value.as_ref().and_then(|value| fold.value(value));
            value.is_some_and(|value| value.get("passed").as_bool() == Some(true))
        })
        .collect();
    let is_combined = matches!(fold.node(instance).kind, Kind::Reduce(_));
    instance.status == Status::Succeeded
        && verdicts.iter().all(|passed| *passed)
        && !(is_combined && verdicts.is_empty())
}
