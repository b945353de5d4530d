//! Candidates that are statically equal: comparing them costs twice and decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::canonical::node_value;
use crate::codes;
use crate::digest::Digest;
use crate::fields::KindTag;
use crate::node::{Candidates, Kind};
use crate::value::Value;

use super::lower::Lowered;
use super::normal::RawWorkflow;
use super::report::Report;

/// Reports equal candidates of tournaments and pareto sets, and equal branches of a parallel.
pub(super) fn check(raw: &RawWorkflow, lowered: &Lowered, report: &mut Report) {
    let mut twins = Twins { raw, digests: BTreeMap::new(), reported: BTreeSet::new() };
    for (ix, node) in lowered.nodes.iter().enumerate() {
        let candidates = match &node.kind {
            Kind::Pareto { candidates, .. } => candidates,
            Kind::Tournament(tournament) => &tournament.candidates,
            Kind::Parallel { .. } => {
                let branches = raw.nodes[ix].children().filter(|child| raw.nodes[*child].is(KindTag::Branch));
                twins.compare(branches.collect(), report);
                continue;
            }
            _ => continue,
        };
        let list: Vec<usize> = match candidates {
            Candidates::List(list) => list.iter().map(|ix| ix.0 as usize).collect(),
            Candidates::Set(set) if raw.nodes[set.0 as usize].is(KindTag::Parallel) => {
                raw.nodes[set.0 as usize].children().collect()
            }
            Candidates::Set(_) => continue,
        };
        twins.compare(list, report);
    }
}

struct Twins<'w> {
    raw: &'w RawWorkflow,
    digests: BTreeMap<usize, Digest>,
    reported: BTreeSet<usize>,
}

impl Twins<'_> {
    fn compare(&mut self, list: Vec<usize>, report: &mut Report) {
        let mut first: BTreeMap<Digest, usize> = BTreeMap::new();
        for ix in list {
            let digest = *self.digests.entry(ix).or_insert_with(|| content(self.raw, ix));
            let twin = *first.entry(digest).or_insert(ix);
            if twin != ix && self.reported.insert(ix) {
                let node = &self.raw.nodes[ix];
                let message = format!("`{}` is equal to `{}` but for its id", node.id, self.raw.nodes[twin].id);
                let hint = "let them differ, or repeat one by an `expand` over a number".to_owned();
                report.hinted(codes::TWINS, &node.id_span, message, Some(hint));
            }
        }
    }
}

/// The digest of what a node is, apart from its id.
fn content(raw: &RawWorkflow, ix: usize) -> Digest {
    let mut value = node_value(raw, ix);
    if let (Value::Map(entries), Some(tag)) = (&mut value, raw.nodes[ix].tag) {
        entries.insert(tag.as_str().to_owned(), Value::Null);
    }
    Digest::of(value.to_json().as_bytes())
}
