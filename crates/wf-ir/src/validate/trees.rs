//! Who writes in which tree. At most one leaf writes in a tree at a time; leaves that could do so at the same time
//! must at least not write the same files.

use std::collections::BTreeSet;

use crate::codes;
use crate::diagnostic::{Diagnostic, Severity};
use crate::fields::KindTag;
use crate::glob::Glob;
use crate::node::{Candidates, How, Kind, NodeIx, Reduce, TreeRef};

use super::kinds::number;
use super::lower::{Lowered, kind_word};
use super::normal::RawWorkflow;
use super::order::Order;
use super::report::Report;

/// Most pairs of globs that are compared in one workflow.
const COMPARISONS_MAX: usize = 20_000;

/// Checks the writers of every tree and notes which nodes write.
pub(super) fn check(raw: &RawWorkflow, lowered: &mut Lowered, order: &Order, report: &mut Report) {
    let mut trees = Trees { raw, lowered, order, report, comparisons: 0, full: false };
    let mut writers = Vec::new();
    for ix in &raw.children {
        trees.writers(*ix, false, &mut writers);
    }
    for ix in 0..raw.nodes.len() {
        if let Some(TreeRef::Winner(tournament)) = trees.lowered.nodes[ix].tree {
            trees.winner_has_a_tree(ix, "tree", tournament);
        }
        if let Kind::Reduce(Reduce { how: How::Combine { .. }, inputs, .. }) = &trees.lowered.nodes[ix].kind
            && let [tournament] = *inputs.nodes()
        {
            trees.winner_has_a_tree(ix, "inputs", tournament);
        }
    }
}

struct Trees<'w, 'r> {
    raw: &'w RawWorkflow,
    lowered: &'r mut Lowered,
    order: &'w Order,
    report: &'r mut Report,
    comparisons: usize,
    full: bool,
}

/// How two scopes stand to each other.
enum Overlap {
    None,
    Some(String),
    Unknown,
}

impl Trees<'_, '_> {
    /// Adds to `writers` the leaves at or below `ix` that write into the tree around it.
    fn writers(&mut self, ix: usize, in_branch: bool, writers: &mut Vec<usize>) {
        let start = writers.len();
        let branch = self.raw.nodes[ix].is(KindTag::Branch);
        if !self.scope(ix).is_empty() {
            self.check_place(ix, in_branch);
            writers.push(ix);
        }
        let children: Vec<usize> = self.raw.nodes[ix].children().collect();
        let mut groups = Vec::new();
        for child in &children {
            let before = writers.len();
            self.writers(*child, in_branch || branch, writers);
            if writers.len() > before {
                groups.push((*child, before..writers.len()));
            }
        }
        if in_branch || branch {
            match self.raw.nodes[ix].tag {
                Some(KindTag::Parallel) => self.check_parallel(ix, writers, &groups),
                Some(KindTag::Expand) => self.check_expand(ix, &writers[start..]),
                _ => {}
            }
        }
        self.lowered.nodes[ix].writes_tree = writers.len() > start;
        if branch {
            writers.truncate(start);
        }
    }

    fn scope(&self, ix: usize) -> &[Glob] {
        match &self.lowered.nodes[ix].kind {
            Kind::Agent(agent) => &agent.writes,
            Kind::Command(command) => &command.writes,
            _ => &[],
        }
    }

    fn check_place(&mut self, ix: usize, in_branch: bool) {
        let node = &self.raw.nodes[ix];
        let own_tree = node.fields.contains_key("tree");
        if in_branch && !own_tree {
            return;
        }
        let (message, hint) = if own_tree {
            let message = format!("`{}` writes, but a node with `tree` reads a snapshot only", node.id);
            (message, "put it in a branch that has this `tree`")
        } else {
            (format!("`{}` writes outside a branch", node.id), "put it in a branch")
        };
        self.report.hinted(codes::NO_BRANCH, node.span_of("writes"), message, Some(hint.to_owned()));
    }

    fn check_expand(&mut self, ix: usize, writers: &[usize]) {
        let Some(first) = writers.first() else { return };
        let node = &self.raw.nodes[ix];
        if node.text("width") == Some("1") || number(node, "max_children") == Some(1) {
            return;
        }
        let message = format!(
            "elements of `{}` run at the same time, and each writes the same files of one tree by `{}`",
            node.id, self.raw.nodes[*first].id
        );
        let hint = "give each element a branch of its own, or set `width` to 1".to_owned();
        self.report.hinted(codes::ELEMENTS_OVERLAP, &node.span, message, Some(hint));
    }

    /// Compares the writers below different children of a parallel, unless one child waits for the other.
    fn check_parallel(&mut self, ix: usize, writers: &[usize], groups: &[(usize, std::ops::Range<usize>)]) {
        if groups.len() < 2 || number(&self.raw.nodes[ix], "width") == Some(1) {
            return;
        }
        if groups.len().saturating_mul(groups.len() - 1) / 2 > COMPARISONS_MAX {
            return self.report_full(ix);
        }
        let before: Vec<BTreeSet<usize>> = groups.iter().map(|(child, _)| self.order.before(*child)).collect();
        let mut turns: Option<(usize, usize)> = None;
        for (left, (left_child, left_writers)) in groups.iter().enumerate() {
            for (right, (right_child, right_writers)) in groups.iter().enumerate().skip(left + 1) {
                if before[left].contains(right_child) || before[right].contains(left_child) {
                    continue;
                }
                for one in &writers[left_writers.clone()] {
                    for other in &writers[right_writers.clone()] {
                        if self.full {
                            return;
                        }
                        match self.overlap(*one, *other) {
                            Overlap::None => {
                                turns.get_or_insert((*one, *other));
                            }
                            Overlap::Some(example) => self.report_overlap(*one, *other, &example),
                            Overlap::Unknown => self.report_full(ix),
                        }
                    }
                }
            }
        }
        if let Some((one, other)) = turns {
            let message = format!(
                "`{}` and `{}` write different files of one tree, so they take turns",
                self.raw.nodes[one].id, self.raw.nodes[other].id
            );
            let note = Diagnostic::error(codes::TAKE_TURNS, &self.raw.nodes[ix].span, message)
                .with_severity(Severity::Note)
                .with_hint("branches of their own would let them write at the same time");
            self.report.push(note);
        }
    }

    fn overlap(&mut self, one: usize, other: usize) -> Overlap {
        let pairs = self.scope(one).len().saturating_mul(self.scope(other).len());
        self.comparisons = self.comparisons.saturating_add(pairs);
        if self.comparisons > COMPARISONS_MAX {
            return Overlap::Unknown;
        }
        for left in self.scope(one) {
            for right in self.scope(other) {
                if let Some(example) = example(left, right) {
                    return Overlap::Some(example);
                }
            }
        }
        Overlap::None
    }

    fn report_overlap(&mut self, one: usize, other: usize, example: &str) {
        let (one, other) = (&self.raw.nodes[one], &self.raw.nodes[other]);
        let message = format!("`{}` and `{}` could write one file at the same time: {example}", one.id, other.id);
        let hint = "give each a branch of its own, narrow their `writes`, or order them by `after`".to_owned();
        self.report.hinted(codes::WRITE_OVERLAP, other.span_of("writes"), message, Some(hint));
    }

    fn report_full(&mut self, ix: usize) {
        self.full = true;
        let message = format!("more than {COMPARISONS_MAX} pairs of write scopes would have to be compared here");
        let hint = "give the writing nodes branches of their own, or wider globs and fewer of them".to_owned();
        self.report.hinted(codes::TOO_MANY_SCOPES, &self.raw.nodes[ix].span, message, Some(hint));
    }

    /// The winner of a tournament has a tree only when every candidate is a branch.
    fn winner_has_a_tree(&mut self, ix: usize, field: &str, tournament: NodeIx) {
        let Kind::Tournament(node) = &self.lowered.nodes[tournament.0 as usize].kind else { return };
        let candidates: Vec<usize> = match &node.candidates {
            Candidates::List(list) => list.iter().map(|ix| ix.0 as usize).collect(),
            Candidates::Set(set) => {
                let set = &self.raw.nodes[set.0 as usize];
                let skipped = if set.is(KindTag::Expand) { set.children().count().saturating_sub(1) } else { 0 };
                set.children().skip(skipped).collect()
            }
        };
        let is_treeless = |ix: &usize| !self.lowered.nodes[*ix].kind.ends_in_a_tree();
        let treeless = candidates.into_iter().find(is_treeless).map(|ix| &self.raw.nodes[ix]);
        if let Some(candidate) = treeless.filter(|candidate| candidate.tag.is_some()) {
            let message = format!(
                "the winner of `{}` may have no tree: `{}` is {}",
                self.lowered.nodes[tournament.0 as usize].id,
                candidate.id,
                kind_word(candidate)
            );
            let hint = "let every candidate be a branch".to_owned();
            self.report.hinted(codes::WRONG_KIND, self.raw.nodes[ix].span_of(field), message, Some(hint));
        }
    }
}

/// Words for what two globs have in common, when there is something.
fn example(left: &Glob, right: &Glob) -> Option<String> {
    let path = left.witness(right)?;
    Some(if left == right {
        format!("both write {:?}", left.as_str())
    } else {
        format!("{:?} and {:?} both match {path:?}", left.as_str(), right.as_str())
    })
}
