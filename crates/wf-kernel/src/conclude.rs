//! The end of a run: status, `verified`, outputs, and the digest of what it did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use wf_ir::{Digest, Kind, Status, Value};

use crate::record::{Decision, InputValue, Reason, RunStatus, SuspendCause, Verified};
use crate::state::{FrameIx, Ix, RunState, Stage};
use crate::step::Turn;

impl Turn<'_> {
    /// Ends the run when nothing more can happen.
    pub(crate) fn end_run_if_over(&mut self) {
        if self.state.started.is_none() || self.state.end.is_some() || !self.state.in_flight.is_empty() {
            return;
        }
        let root = self.state.frame(FrameIx(0));
        if root.is_done() {
            let status = match (self.state.closing, root.failed) {
                (Some(_), _) => RunStatus::Cancelled,
                (None, Some(_)) => RunStatus::Failed,
                (None, None) if root.ok == 0 => RunStatus::Failed,
                (None, None) => RunStatus::Succeeded,
            };
            return self.end_run(status);
        }
        if matches!(self.state.suspended, Some((SuspendCause::Budget, _))) || self.state.only_budget_is_missing() {
            self.end_run(RunStatus::BudgetExceeded);
        }
    }

    fn end_run(&mut self, status: RunStatus) {
        let (outputs, complete) = self.state.outputs();
        let status = if status == RunStatus::Succeeded && !complete { RunStatus::Failed } else { status };
        let outputs = self.keep(Arc::new(outputs));
        let verified = self.state.verified();
        let result_digest = self.state.result_digest();
        self.decide(Decision::RunEnded { status, verified, outputs, result_digest });
    }
}

impl RunState {
    /// Whether every live leaf waits for budget that nobody will hand back.
    fn only_budget_is_missing(&self) -> bool {
        let waits = |ix: &Ix| {
            self.budget_waiters.contains(ix)
                || matches!(self.instance(*ix).waiting, Some(crate::record::WaitReason::Tree { .. }))
        };
        self.suspended.is_none()
            && !self.budget_waiters.is_empty()
            && self.live.iter().filter(|ix| self.kind(**ix).is_leaf()).all(waits)
    }

    /// What the run returns, and whether every declared output has a value.
    fn outputs(&mut self) -> (Value, bool) {
        let workflow = self.workflow.clone();
        if workflow.outputs().is_empty() {
            let last =
                self.frame(FrameIx(0)).children().filter(|ix| self.instance(*ix).status != Status::Skipped).last();
            let value = last.and_then(|last| self.value_of(last).ok());
            return (value.map_or(Value::Null, Arc::unwrap_or_clone), true);
        }
        let mut complete = true;
        let mut outputs = BTreeMap::new();
        for (name, expr) in workflow.outputs() {
            let value = self.eval_in(FrameIx(0), &BTreeMap::new(), expr);
            complete &= value.is_ok();
            outputs.insert(name.clone(), value.unwrap_or(Value::Null));
        }
        (Value::Map(outputs), complete)
    }

    /// What the engine's own tests say of the chosen line: the last instance of every `test` on it, and none of it when
    /// what one checked was written to afterwards.
    pub(crate) fn verified(&self) -> Verified {
        let off_line = self.losers();
        let mut last: BTreeMap<String, Ix> = BTreeMap::new();
        for (at, instance) in self.instances.iter().enumerate() {
            let ix = Ix(at as u32);
            let counts = matches!(self.kind(ix), Kind::Test(_)) && instance.status.is_terminal();
            if counts && instance.status != Status::Skipped && !self.is_off_line(ix, &off_line) {
                last.insert(self.line_of(ix), ix);
            }
        }
        let chosen: Vec<Ix> = last.into_values().collect();
        let passed = |ix: &Ix| {
            let value = self.instance(*ix).value.as_ref().and_then(|value| self.read(value).ok());
            value.is_some_and(|value| value.get("passed") == &Value::Bool(true))
        };
        if chosen.iter().any(|ix| !self.is_outdated(*ix, &off_line) && !passed(ix)) {
            return Verified::Failed;
        }
        if chosen.is_empty() || chosen.iter().any(|ix| self.is_outdated(*ix, &off_line)) {
            return Verified::None;
        }
        Verified::Passed
    }

    /// Instances that a tournament weighed and did not choose.
    fn losers(&self) -> BTreeSet<Ix> {
        let mut losers = BTreeSet::new();
        for instance in &self.instances {
            let Kind::Tournament(_) = &self.workflow.node(instance.node).kind else { continue };
            let Some(value) = instance.value.as_ref().and_then(|value| self.read(value).ok()) else { continue };
            let winner = value.get("winner").as_str().unwrap_or_default().to_owned();
            let ranking = value.get("ranking").as_list().unwrap_or_default().to_vec();
            for entry in ranking {
                let path = entry.get("path").as_str().unwrap_or_default();
                if path != winner {
                    losers.extend(self.at_path(path).or_else(|| self.branch_at(path)));
                }
            }
        }
        losers
    }

    fn is_off_line(&self, ix: Ix, losers: &BTreeSet<Ix>) -> bool {
        std::iter::once(ix).chain(self.ancestors(ix)).any(|at| losers.contains(&at))
    }

    /// A test's place without its iterations: later iterations replace earlier ones, elements stand side by side.
    fn line_of(&self, ix: Ix) -> String {
        let mut parts = vec![self.node(ix).id.clone()];
        let mut frame = self.instance(ix).frame;
        while let Some(owner) = self.frame(frame).owner {
            let node = self.node(owner);
            parts.push(match node.kind {
                Kind::Expand { .. } => format!("{}[{}]", node.id, self.frame(frame).index),
                _ => node.id.clone(),
            });
            frame = self.instance(owner).frame;
        }
        parts.reverse();
        parts.join("/")
    }

    /// Whether what a test saw is not what the line ended with.
    fn is_outdated(&self, ix: Ix, losers: &BTreeSet<Ix>) -> bool {
        let saw = self.instance(ix).saw_tree.as_deref();
        if let Some(branch) = self.tree_branch(ix) {
            let ended_with = self.instance(branch).tree.as_ref().map(|tree| tree.head_tree.as_str());
            return saw != ended_with;
        }
        // Outside of branches a test speaks for the line when it saw what some chosen branch ended with, or when the
        // line wrote nothing at all.
        let mut written = self.instances.iter().enumerate().filter_map(|(at, instance)| {
            let tree = instance.tree.as_ref()?;
            let wrote = tree.head_tree != tree.base_tree;
            (wrote && !self.is_off_line(Ix(at as u32), losers)).then_some(tree.head_tree.as_str())
        });
        let mut any = false;
        let seen = written.any(|tree| {
            any = true;
            Some(tree) == saw
        });
        any && !seen
    }

    /// The digest of what a run did: the workflow, its inputs and, for every instance in path order, how it ended, what
    /// it gave and the tree it left. Raw output, order, attempts, times and usage are not in it.
    pub(crate) fn result_digest(&mut self) -> Digest {
        #[derive(Serialize)]
        struct Line<'a> {
            path: &'a str,
            status: Status,
            output: Option<Digest>,
            tree: Option<&'a str>,
        }
        let mut order: Vec<Ix> = (0..self.instances.len() as u32).map(Ix).collect();
        order.sort_by(|a, b| self.instance(*a).path.cmp(&self.instance(*b).path));
        let mut hash = Vec::with_capacity(order.len() * 96);
        let (workflow, inputs) = match &self.started {
            Some(started) => {
                let inputs: BTreeMap<&String, Digest> =
                    started.inputs.iter().map(|(name, value)| (name, input_digest(value))).collect();
                (Some(started.workflow), inputs)
            }
            None => (None, BTreeMap::new()),
        };
        hash.extend(Digest::of_json(&(workflow, inputs)).0);
        for ix in order {
            let output = self.stable_output(ix);
            let instance = self.instance(ix);
            let tree = instance.tree.as_ref().map(|tree| tree.head_tree.as_str());
            let line = Line { path: &instance.path, status: instance.status, output, tree };
            hash.extend(Digest::of_json(&line).0);
        }
        Digest::of(&hash)
    }

    /// The digest of an instance's typed output, without what two equal runs may differ in.
    fn stable_output(&self, ix: Ix) -> Option<Digest> {
        let value = self.instance(ix).value.as_ref()?;
        if !matches!(self.kind(ix), Kind::Command(_) | Kind::Test(_)) {
            return Some(value.digest());
        }
        let value = self.read(value).ok()?;
        Some(Digest::of_json(&(value.get("exit_code"), value.get("passed"))))
    }

    /// What begins again when a run is reopened: everything that did not succeed, below nothing that did.
    pub(crate) fn reopenable(&self) -> Vec<Arc<str>> {
        let again = |ix: Ix| self.instance(ix).status.is_terminal() && self.instance(ix).status != Status::Succeeded;
        (0..self.instances.len() as u32)
            .map(Ix)
            .filter(|ix| {
                again(*ix) && self.ancestors(*ix).all(|above| self.instance(above).status != Status::Succeeded)
            })
            .map(|ix| self.instance(ix).path.clone())
            .collect()
    }

    /// Why the run's root list failed, for people.
    pub fn root_failure(&self) -> Option<(&str, Option<&Reason>)> {
        let failed = self.frames.first()?.failed?;
        let mut at = failed;
        while let Some(Reason::Child { path }) = &self.instance(at).reason
            && let Some(below) = self.at_path(path)
        {
            at = below;
        }
        let instance = self.instance(at);
        Some((&instance.path, instance.reason.as_ref()))
    }

    /// The digest that an open gate's decision is to name.
    pub fn gate_digest(&self, path: &str) -> Option<Digest> {
        match self.instance(self.at_path(path)?).stage {
            Stage::Gate(digest) => Some(digest),
            _ => None,
        }
    }
}

fn input_digest(value: &InputValue) -> Digest {
    match value {
        InputValue::Plain(value) => value.digest(),
        InputValue::Sensitive(digest) => *digest,
    }
}
