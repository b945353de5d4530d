//! Which node waits for which: cycles, and the order in which the children of a node can be looked at.

use std::collections::{BTreeMap, BTreeSet};

use crate::codes;
use crate::draft::Span;
use crate::fields::KindTag;

use super::lower::{Edge, Lowered, index};
use super::normal::RawWorkflow;
use super::report::Report;

/// Most cycles that are reported among the children of one node.
const CYCLES_MAX: usize = 16;

/// Who waits for whom among siblings of parallels: from, to, and where the source says so.
#[derive(Debug, Default)]
pub(super) struct Order {
    waits: BTreeMap<usize, BTreeMap<usize, Span>>,
}

impl Order {
    /// The siblings that `ix` waits for, itself or by something below it.
    pub(super) fn waits(&self, ix: usize) -> impl Iterator<Item = usize> + '_ {
        self.waits.get(&ix).into_iter().flat_map(|to| to.keys().copied())
    }

    /// All siblings that have ended when `ix` begins.
    pub(super) fn before(&self, ix: usize) -> BTreeSet<usize> {
        let mut before = BTreeSet::new();
        let mut open: Vec<usize> = self.waits(ix).collect();
        while let Some(ix) = open.pop() {
            if before.insert(ix) {
                open.extend(self.waits(ix));
            }
        }
        before
    }

    /// The nodes of `list` such that each comes after those it waits for; the rest is in a cycle or behind one.
    fn sorted(&self, list: &[usize]) -> (Vec<usize>, BTreeSet<usize>) {
        let members: BTreeSet<usize> = list.iter().copied().collect();
        let mut missing: BTreeMap<usize, usize> = BTreeMap::new();
        let mut waiting: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for ix in list {
            let waits: Vec<usize> = self.waits(*ix).filter(|to| members.contains(to)).collect();
            missing.insert(*ix, waits.len());
            waits.iter().for_each(|to| waiting.entry(*to).or_default().push(*ix));
        }
        let mut free: BTreeSet<usize> = missing.iter().filter(|(_, count)| **count == 0).map(|(ix, _)| *ix).collect();
        let mut sorted = Vec::new();
        while let Some(ix) = free.pop_first() {
            sorted.push(ix);
            for from in waiting.get(&ix).into_iter().flatten() {
                if let Some(count) = missing.get_mut(from) {
                    *count -= 1;
                    if *count == 0 {
                        free.insert(*from);
                    }
                }
            }
        }
        let rest = members.into_iter().filter(|ix| missing.get(ix).is_some_and(|count| *count > 0)).collect();
        (sorted, rest)
    }

    /// The children of a node in an order in which each comes after those it waits for.
    pub(super) fn children(&self, raw: &RawWorkflow, parent: usize) -> Vec<usize> {
        let children: Vec<usize> = raw.nodes[parent].children().collect();
        if !raw.nodes[parent].is(KindTag::Parallel) {
            return children;
        }
        let (mut sorted, rest) = self.sorted(&children);
        sorted.extend(rest);
        sorted
    }
}

/// Finds the order among the children of parallels and reports cycles. When something below a child waits for a
/// sibling of that child, the child itself waits, so that it never holds a place that the sibling needs.
pub(super) fn order(raw: &RawWorkflow, lowered: &mut Lowered, report: &mut Report) -> Order {
    let mut order = Order::default();
    for Edge { from, to, span } in &lowered.edges {
        let parent = raw.nodes[*to].parent;
        let Some(parent_ix) = parent.filter(|parent| raw.nodes[*parent].is(KindTag::Parallel)) else { continue };
        let mut lifted = *from;
        while let Some(above) = raw.nodes[lifted].parent.filter(|above| *above != parent_ix) {
            lifted = above;
        }
        if raw.nodes[lifted].parent != parent || lifted == *to {
            continue;
        }
        if lifted != *from {
            lowered.nodes[lifted].after.insert(index(*to));
        }
        order.waits.entry(lifted).or_default().entry(*to).or_insert_with(|| span.clone());
    }
    for ix in 0..raw.nodes.len() {
        if raw.nodes[ix].is(KindTag::Parallel) {
            let children: Vec<usize> = raw.nodes[ix].children().collect();
            report_cycles(raw, &mut order, &children, report);
        }
    }
    order
}

/// Reports each cycle at the edge that closes it, and forgets that edge.
fn report_cycles(raw: &RawWorkflow, order: &mut Order, children: &[usize], report: &mut Report) {
    for _ in 0..CYCLES_MAX {
        let (_, rest) = order.sorted(children);
        let Some(cycle) = find_cycle(order, &rest) else { return };
        let (Some(first), Some(last)) = (cycle.first(), cycle.last()) else { return };
        let mut path: Vec<&str> = cycle.iter().map(|ix| raw.nodes[*ix].id.as_str()).collect();
        path.push(&raw.nodes[*first].id);
        let closing = order.waits.get_mut(last).and_then(|to| to.remove(first));
        let span = closing.unwrap_or_else(|| raw.nodes[*last].span.clone());
        let hint = "one of them must not wait for the next".to_owned();
        report.hinted(codes::CYCLE, &span, format!("cycle: {}", shortened(&path)), Some(hint));
    }
}

/// A cycle among `rest`, from its first member in the source.
fn find_cycle(order: &Order, rest: &BTreeSet<usize>) -> Option<Vec<usize>> {
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    let mut walk = Vec::new();
    let mut here = *rest.first()?;
    loop {
        if let Some(start) = seen.get(&here) {
            let mut cycle = walk.split_off(*start);
            let first = cycle.iter().enumerate().min_by_key(|(_, ix)| **ix).map(|(position, _)| position)?;
            cycle.rotate_left(first);
            return Some(cycle);
        }
        seen.insert(here, walk.len());
        walk.push(here);
        // What is left of a topological order always has something left to wait for.
        here = order.waits(here).find(|to| rest.contains(to))?;
    }
}

/// A path that fits a sentence.
fn shortened(path: &[&str]) -> String {
    const SHOWN: usize = 12;
    if path.len() <= SHOWN {
        return path.join(" -> ");
    }
    let (head, tail) = (&path[..SHOWN / 2], &path[path.len() - SHOWN / 2..]);
    format!("{} -> … {} more … -> {}", head.join(" -> "), path.len() - SHOWN, tail.join(" -> "))
}
