//! Bounds that can be seen before a run: leaves, successes asked for, defaults that fit.

use crate::codes;
use crate::diagnostic::{Diagnostic, Severity};
use crate::draft::{Span, SpannedValue};
use crate::limits::RUN_LEAVES_MAX;
use crate::node::{Candidates, Kind, Node, NodeIx, Workflow};

use super::lower::{Lowered, entry};
use super::normal::RawWorkflow;
use super::report::Report;

/// Checks the bounds of a workflow.
pub(super) fn check(raw: &RawWorkflow, lowered: &Lowered, report: &mut Report) {
    for (ix, node) in lowered.nodes.iter().enumerate() {
        let (min_ok, most) = match &node.kind {
            Kind::Parallel { children, min_ok, .. } => (*min_ok, u32::try_from(children.len()).unwrap_or(u32::MAX)),
            Kind::Expand { children_max, min_ok, .. } => (*min_ok, *children_max),
            _ => continue,
        };
        // A parallel without children has been said to need some.
        if min_ok > most && most > 0 {
            let message = format!("`min_ok` is {min_ok}, and at most {most} can succeed");
            report.error(codes::MIN_OK, raw.nodes[ix].span_of("min_ok"), message);
        }
    }
    check_growth(raw, lowered, report);
    check_leaves(raw, lowered, report);
    check_inputs(raw, lowered, report);
}

/// An agent that adds tasks stands in a list of them, and takes turns with its neighbours in one element: else the names
/// of the new elements would depend on who was faster.
fn check_growth(raw: &RawWorkflow, lowered: &Lowered, report: &mut Report) {
    for (ix, node) in lowered.nodes.iter().enumerate() {
        if !matches!(&node.kind, Kind::Agent(agent) if agent.tasks_max > 0) {
            continue;
        }
        let around = std::iter::successors(node.parent, |at| lowered.nodes[at.0 as usize].parent);
        let wide =
            |at: &NodeIx| matches!(lowered.nodes[at.0 as usize].kind, Kind::Expand { .. } | Kind::Parallel { .. });
        let nearest = around.map(|at| &lowered.nodes[at.0 as usize]).find(|node| wide(&node.ix));
        let span = raw.nodes[ix].span_of("tasks");
        match nearest.map(|node| (&node.kind, node)) {
            Some((Kind::Expand { .. }, _)) => {}
            Some((_, parallel)) => {
                let message =
                    format!("`tasks` adds to a list, and here the agents of `{}` would add side by side", parallel.id);
                let hint = Some("put the agent directly into the `expand`, or into a sequence in it".to_owned());
                report.hinted(codes::NO_LIST, span, message, hint);
            }
            None => {
                let message = "`tasks` adds to the list of the `expand` around the agent, and there is none".to_owned();
                let hint = Some("put the agent into an `expand` over the first tasks".to_owned());
                report.hinted(codes::NO_LIST, span, message, hint);
            }
        }
    }
}

fn check_leaves(raw: &RawWorkflow, lowered: &Lowered, report: &mut Report) {
    if lowered.budget.leaves.is_some() {
        return;
    }
    let roots: Vec<NodeIx> = raw.children.iter().map(|ix| super::lower::index(*ix)).collect();
    let bounds = leaf_bounds(&lowered.nodes);
    let total = roots.iter().fold(0_u64, |sum, ix| sum.saturating_add(bounds[ix.0 as usize].unwrap_or(0)));
    if total > RUN_LEAVES_MAX {
        let widest = roots.iter().max_by_key(|ix| bounds[ix.0 as usize]);
        let span: &Span = widest.map_or(&raw.span, |ix| &lowered.nodes[ix.0 as usize].span);
        let message = format!("a run could start {total} leaves; at most {RUN_LEAVES_MAX} are allowed");
        let hint = "lower the bounds, or set `budget.leaves` of the workflow to what a run may really start".to_owned();
        report.hinted(codes::TOO_MANY_LEAVES, span, message, Some(hint));
    }
}

fn check_inputs(raw: &RawWorkflow, lowered: &Lowered, report: &mut Report) {
    let Some(SpannedValue::Map(entries)) = raw.fields.get("inputs").map(|inputs| &inputs.value) else { return };
    for (key, input) in entries {
        let Some(decl) = lowered.inputs.get(&key.name) else { continue };
        let (Some(default), Some(place)) = (&decl.default, entry(input, "default")) else { continue };
        if let Err(reason) = decl.ty.check_value(default) {
            let message = format!("the default of `{}` does not fit: {reason}", key.name);
            report.error(codes::DEFAULT_MISFIT, &place.span, message);
        }
        if decl.sensitive {
            let message = format!("`{}` is sensitive, and its default is part of the definition", key.name);
            let finding = Diagnostic::error(codes::SENSITIVE_DEFAULT, &place.span, message);
            report.push(finding.with_severity(Severity::Warning).with_hint("leave the default out"));
        }
    }
}

/// The most leaves that each node and all below it may start; none where another workflow decides.
pub(crate) fn leaf_bounds(nodes: &[Node]) -> Vec<Option<u64>> {
    let mut bounds: Vec<Option<u64>> = vec![None; nodes.len()];
    // Parents come before their children, so from the end every child is known.
    for (ix, node) in nodes.iter().enumerate().rev() {
        bounds[ix] = leaf_bound(node, nodes, &bounds);
    }
    bounds
}

fn leaf_bound(node: &Node, nodes: &[Node], bounds: &[Option<u64>]) -> Option<u64> {
    let sum = |list: &[NodeIx]| {
        list.iter().try_fold(0_u64, |sum, ix| Some(sum.saturating_add(bounds.get(ix.0 as usize).copied()??)))
    };
    let times = |list: &[NodeIx], factor: u32| Some(sum(list)?.saturating_mul(u64::from(factor)));
    match &node.kind {
        kind if kind.is_leaf() => Some(1),
        Kind::Branch { children } | Kind::Parallel { children, .. } | Kind::Sequence { children, .. } => sum(children),
        Kind::LoopUntil { children, iterations_max, .. } => times(children, *iterations_max),
        Kind::Expand { children, children_max, .. } => times(children, *children_max),
        Kind::Cond { then, otherwise, .. } => Some(sum(then)?.max(sum(otherwise)?)),
        Kind::Tournament(tournament) if node.kind.inner().is_some() => {
            // The champion meets each other candidate, twice with the order swapped.
            let candidates = match &tournament.candidates {
                Candidates::List(list) => list.len() as u64,
                Candidates::Set(set) => match &nodes.get(set.0 as usize)?.kind {
                    Kind::Parallel { children, .. } => children.len() as u64,
                    Kind::Expand { children_max, .. } => u64::from(*children_max),
                    _ => 1,
                },
            };
            Some(candidates.saturating_sub(1).saturating_mul(2))
        }
        Kind::Reduce(_) | Kind::Pareto { .. } | Kind::Tournament(_) | Kind::TeacherReview { .. } => {
            Some(u64::from(node.kind.inner().is_some()))
        }
        Kind::Rlm { calls_max, .. } => Some(u64::from(*calls_max)),
        _ => None,
    }
}

impl Workflow {
    /// The most leaf instances a run may start; `None` when another workflow that it calls decides.
    pub fn leaf_bound(&self) -> Option<u64> {
        let bounds = leaf_bounds(&self.nodes);
        self.children.iter().try_fold(0_u64, |sum, ix| Some(sum.saturating_add(bounds.get(ix.0 as usize).copied()??)))
    }

    /// The same of every node and all below it, by [`NodeIx`].
    pub fn leaf_bounds(&self) -> Vec<Option<u64>> {
        leaf_bounds(&self.nodes)
    }
}
