//! A reduce that combines: the tree of a tournament's winner, with chosen fruit of the losers.
//!
//! Which fruit is taken is decided here, from what the tournament recorded; that it fits, and what it comes to, is found
//! out by a tree effect, whose answer is data as any other: what did not fit is left out and named.

use std::collections::BTreeSet;
use std::sync::Arc;

use wf_ir::node::{How, Reduce};
use wf_ir::{EvalError, Expr, Kind, Status, Value};

use crate::effect::{Part, Phase, Request};
use crate::record::{Combined, Reason};
use crate::state::{BranchTree, Ix, RunState};
use crate::step::Turn;

impl Turn<'_> {
    /// Orders the tree, or says why there can be none.
    pub(crate) fn combine(&mut self, ix: Ix) {
        let has_winner = match self.state.winner_of_inputs(ix) {
            Ok(winner) => winner.is_some(),
            Err(EvalError(why)) => return self.expression_failed(ix, "inputs", why),
        };
        match self.state.combination(ix) {
            Ok(Some(_)) => self.order(ix, Phase::Combine),
            Ok(None) if has_winner => {
                let message = "the winner worked in no tree".to_owned();
                self.end(ix, Status::Failed, Some(Reason::Failure { code: "no_tree".to_owned(), message }));
            }
            Ok(None) => self.end(ix, Status::Failed, Some(Reason::Empty)),
            Err(EvalError(why)) => self.expression_failed(ix, "by", why),
        }
    }

    /// Ends with what the tree effect answered.
    pub(crate) fn combined(&mut self, ix: Ix, combined: &Combined) {
        let winner = self.state.winner_of_inputs(ix).ok().flatten().map(|winner| self.path(winner));
        self.end_value(ix, value_of(winner.as_deref().unwrap_or_default(), combined));
    }
}

impl RunState {
    /// The branch that won the tournament of a combination.
    fn winner_of_inputs(&mut self, ix: Ix) -> Result<Option<Ix>, EvalError> {
        let Some(contest) = self.contest_of(ix) else { return Ok(None) };
        let value = self.value_of(contest)?;
        Ok(value.get("winner").as_str().and_then(|path| self.branch_at(path)))
    }

    /// The tournament of a combination.
    fn contest_of(&self, ix: Ix) -> Option<Ix> {
        let Kind::Reduce(reduce) = self.kind(ix) else { return None };
        self.resolve(self.instance(ix).frame, *reduce.inputs.nodes().first()?)
    }

    /// What a combination asks for, from what is recorded.
    pub(crate) fn combination(&mut self, ix: Ix) -> Result<Option<Request>, EvalError> {
        let workflow = self.workflow.clone();
        let Kind::Reduce(Reduce { how: How::Combine { take, by }, .. }) = &workflow.node(self.instance(ix).node).kind
        else {
            return Ok(None);
        };
        let (Some(contest), Some(winner)) = (self.contest_of(ix), self.winner_of_inputs(ix)?) else { return Ok(None) };
        let Some(tree) = self.instance(winner).tree.clone() else { return Ok(None) };
        let parts = self.chosen_fruit(ix, contest, take, by.as_ref())?;
        Ok(Some(Request::Combine {
            node: self.instance(ix).path.clone(),
            base: tree.base,
            commit: tree.head,
            parts,
            at_ms: self.checkpoint_date(tree.checkpoints + 1),
        }))
    }

    /// The fruit of the losers that is to be taken, best first.
    fn chosen_fruit(
        &mut self,
        ix: Ix,
        contest: Ix,
        take: &[String],
        by: Option<&Expr>,
    ) -> Result<Vec<Part>, EvalError> {
        let workflow = self.workflow.clone();
        let Kind::Tournament(tournament) = &workflow.node(self.instance(contest).node).kind else {
            return Ok(Vec::new());
        };
        let candidates = self.candidates(contest, &tournament.candidates)?;
        let value = self.value_of(contest)?;
        let fruit = value.get("fruit").as_list().unwrap_or_default().to_vec();
        let ranking = value.get("ranking").as_list().unwrap_or_default().to_vec();
        let mut parts = Vec::new();
        for path in ranking.iter().filter_map(|entry| entry.get("path").as_str()) {
            let Some(offered) = fruit.iter().find(|entry| entry.get("path").as_str() == Some(path)) else { continue };
            let Some(candidate) = candidates.iter().find(|candidate| &*candidate.path == path) else { continue };
            let is_wanted = match by {
                None => candidate.succeeded(),
                Some(by) => match self.weigh(ix, candidate, by)? {
                    Value::Bool(wanted) => wanted,
                    other => return Err(EvalError(format!("is {} for {path}, not true or false", other.type_name()))),
                },
            };
            let files = offered_files(offered, take);
            let tree = self.branch_at(path).and_then(|branch| self.instance(branch).tree.as_deref());
            if let Some(tree) = tree.filter(|_| is_wanted && !files.is_empty()) {
                parts.push(Part { path: path.to_owned(), base: tree.base.clone(), commit: tree.head.clone(), files });
            }
        }
        Ok(parts)
    }

    /// Takes in what the tree effect answered: from now on others can begin where the combination ended.
    pub(crate) fn take_combined(&mut self, ix: Ix, combined: &Combined) {
        let winner = self.winner_of_inputs(ix).ok().flatten();
        let Some(tree) = winner.and_then(|winner| self.instance(winner).tree.clone()) else { return };
        let Combined { checkpoint, .. } = combined;
        self.instance_mut(ix).tree = Some(Box::new(BranchTree {
            base: checkpoint.base.clone(),
            base_tree: tree.base_tree,
            head: checkpoint.commit.clone(),
            head_tree: checkpoint.tree.clone(),
            checkpoints: tree.checkpoints + u32::from(checkpoint.commit != tree.head),
            held: false,
            holder: None,
            harvest: Some(Arc::new(checkpoint.clone())),
        }));
    }
}

/// The files that a loser offers, of the sorts that are taken.
fn offered_files(offered: &Value, take: &[String]) -> Vec<String> {
    let of = |what: &str| match what {
        "tests" => offered.get("tests").as_list().unwrap_or_default().to_vec(),
        _ => offered.get("patch").as_list().unwrap_or_default().to_vec(),
    };
    let all: BTreeSet<String> =
        take.iter().flat_map(|what| of(what)).filter_map(|file| Some(file.as_str()?.to_owned())).collect();
    all.into_iter().collect()
}

/// `{winner, base, commit, tree, files, insertions, deletions, taken, left}`.
fn value_of(winner: &str, combined: &Combined) -> Value {
    let Combined { checkpoint, taken, left } = combined;
    let texts = |texts: &[String]| Value::List(texts.iter().map(|text| Value::from(text.as_str())).collect());
    let paths: Vec<String> = checkpoint.files.iter().map(|file| file.path.clone()).collect();
    let sum = |part: fn(&crate::record::FileChange) -> Option<u64>| {
        Value::Int(checkpoint.files.iter().filter_map(part).sum::<u64>().min(i64::MAX as u64) as i64)
    };
    let taken =
        taken.iter().map(|part| Value::map([("path", Value::from(part.path.as_str())), ("files", texts(&part.files))]));
    let left = left.iter().map(|part| {
        let why = Value::from(part.why.as_str());
        Value::map([("path", Value::from(part.path.as_str())), ("files", texts(&part.files)), ("why", why)])
    });
    Value::map([
        ("winner", Value::from(winner)),
        ("base", Value::from(checkpoint.base.as_str())),
        ("commit", Value::from(checkpoint.commit.as_str())),
        ("tree", Value::from(checkpoint.tree.as_str())),
        ("files", texts(&paths)),
        ("insertions", sum(|file| file.insertions)),
        ("deletions", sum(|file| file.deletions)),
        ("taken", Value::List(taken.collect())),
        ("left", Value::List(left.collect())),
    ])
}
