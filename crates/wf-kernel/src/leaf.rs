//! The life of a leaf: prepare, reserve, perform, checkpoint, try again, end. And of a branch's tree.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use wf_ir::limits::INLINE_VALUE_BYTES_MAX;
use wf_ir::node::{OnTimeout, Permissions, Template, TreeRef};
use wf_ir::{Digest, EvalError, Expr, Kind, NodeIx, Status, Value};

use crate::amount::Amount;
use crate::apply::usage_of;
use crate::budget::Fit;
use crate::effect::{Effect, EffectId, LeafRequest, Phase, Request, TreeUse};
use crate::record::{
    Decision, Failure, Outcome, Prepared, Reason, SuspendCause, TREE_LOST, TimeMs, ValueRef, WaitReason,
};
use crate::state::{Answer, FrameIx, Ix, RunState, Stage};
use crate::step::Turn;

/// The longest that anybody is left alone who asked for it.
const PAUSE_MS_MAX: u64 = 3_600_000;
/// Version of the memo key's own form.
const MEMO_KEY_VERSION: u32 = 1;

impl Turn<'_> {
    /// Takes a leaf, or a branch with its tree, as far as it can go now.
    pub(crate) fn advance(&mut self, ix: Ix) {
        if self.state.instance(ix).status.is_terminal() {
            return;
        }
        let closing = self.state.closing_at(ix);
        let stage = self.state.instance(ix).stage.clone();
        if !self.state.kind(ix).is_leaf() {
            return self.advance_branch(ix, &stage);
        }
        match (stage, closing) {
            (Stage::Performing(_), Some(_)) => self.cancel_flight(ix),
            (
                Stage::Idle
                | Stage::Prepared(_)
                | Stage::Backoff
                | Stage::Gate(_)
                | Stage::Sleeping
                | Stage::Listening
                | Stage::Doubt
                | Stage::Broken(_),
                Some(cause),
            ) => self.end(ix, Status::Cancelled, Some(Reason::Closed { cause })),
            (Stage::Idle, None) => self.prepare(ix),
            (Stage::Prepared(prepared), None) => self.start_prepared(ix, &prepared),
            (Stage::Performed(_, outcome), _) => self.performed(ix, &outcome),
            (Stage::Checkpointed(success, checkpoint), _) => {
                if checkpoint.out_of_scope.is_empty() {
                    self.end_leaf(ix, Status::Succeeded, None);
                } else {
                    let message = format!("wrote outside its scope: {}", checkpoint.out_of_scope.join(", "));
                    self.fail(ix, Trouble { code: "out_of_scope".to_owned(), message, retryable: true });
                }
                drop(success);
            }
            (Stage::Broken(outcome), None) => self.broken(ix, &outcome),
            (Stage::Answered(answer), _) => self.answered(ix, &answer),
            // In flight, or waiting for a time or a person: nothing to do before that comes.
            (
                Stage::Preparing
                | Stage::Performing(_)
                | Stage::Checkpointing(_)
                | Stage::Backoff
                | Stage::Gate(_)
                | Stage::Sleeping
                | Stage::Listening
                | Stage::Doubt
                | Stage::Acquiring
                | Stage::Open
                | Stage::Harvesting
                | Stage::Combining
                | Stage::Combined(_)
                | Stage::Done,
                _,
            ) => {}
        }
    }

    fn advance_branch(&mut self, ix: Ix, stage: &Stage) {
        let instance = self.state.instance(ix);
        let tree = instance.tree.as_ref();
        match stage {
            Stage::Combined(combined) => self.combined(ix, combined),
            Stage::Idle if tree.is_some_and(|tree| tree.held) => self.open(ix, None, None),
            Stage::Idle | Stage::Backoff if self.state.closing_at(ix).is_some() => {
                let reason = self.state.closing_at(ix).map(|cause| Reason::Closed { cause });
                self.end(ix, Status::Cancelled, reason);
            }
            // It waited for a tree of the pool; now it asks again.
            Stage::Idle if !self.state.is_held(ix) => self.order(ix, Phase::Acquire),
            Stage::Harvesting if instance.flight.is_none() && tree.is_some_and(|tree| tree.harvest.is_some()) => {
                let (status, reason) = self.list_end(ix);
                self.end(ix, status, reason);
            }
            Stage::Broken(outcome) => {
                if let Outcome::Throttled { retry_after_ms, .. } = &**outcome
                    && self.state.closing_at(ix).is_none()
                {
                    let until = self.state.now.saturating_add_unsigned((*retry_after_ms).clamp(1, PAUSE_MS_MAX));
                    let reason = WaitReason::TreePool { until };
                    return self.decide(Decision::Waiting { path: self.path(ix), reason });
                }
                let trouble = Trouble::of(outcome);
                self.end(ix, Status::Failed, Some(trouble.reason()));
            }
            _ => {}
        }
    }

    fn prepare(&mut self, ix: Ix) {
        if self.state.is_held(ix) {
            return;
        }
        if let Some(branch) = self.state.tree_branch(ix)
            && let Some(holder) = self.state.instance(branch).tree.as_ref().and_then(|tree| tree.holder)
            && holder != ix
        {
            let waits = self.state.tree_waiters.get(&branch).is_some_and(|waiters| waiters.contains(&ix));
            if !waits {
                let reason = WaitReason::Tree { held_by: self.path(holder).to_string() };
                self.decide(Decision::Waiting { path: self.path(ix), reason });
            }
            return;
        }
        if self.state.instance(ix).started_at.is_none() && !self.leaf_is_allowed(ix) {
            return;
        }
        if let Err(EvalError(message)) = self.state.load_context(ix) {
            return self.expression_failed(ix, "vars", message);
        }
        if let Err(message) = self.state.tree_use(ix) {
            let code = "no_tree".to_owned();
            return self.end(ix, Status::Failed, Some(Reason::Failure { code, message }));
        }
        self.order(ix, Phase::Prepare);
    }

    /// Whether the ceilings on leaves allow another one.
    fn leaf_is_allowed(&mut self, ix: Ix) -> bool {
        let full = self
            .state
            .ledgers_of(ix)
            .into_iter()
            .find(|at| self.state.ledgers.get(at).is_some_and(|ledger| !ledger.leaf_fits()));
        if let Some(at) = full {
            let reason = Reason::Budget { path: self.path(at).to_string(), what: "leaves".to_owned() };
            self.end(ix, Status::BudgetExceeded, Some(reason));
            return false;
        }
        if !self.state.ledger.leaf_fits() {
            self.wait_for_budget(ix);
            return false;
        }
        true
    }

    fn wait_for_budget(&mut self, ix: Ix) {
        if !self.state.budget_waiters.contains(&ix) {
            self.decide(Decision::Waiting { path: self.path(ix), reason: WaitReason::Budget });
        }
    }

    fn start_prepared(&mut self, ix: Ix, prepared: &Arc<Prepared>) {
        if self.state.is_held(ix) {
            return;
        }
        if matches!(self.state.kind(ix), Kind::Approve(_)) {
            let digest = prepared.request.digest();
            return self.decide(Decision::GateOpened { path: self.path(ix), digest });
        }
        let amount = prepared.estimate;
        if !amount.is_zero() && !self.state.topups.is_empty() {
            // What has begun and needs more comes first.
            return self.wait_for_budget(ix);
        }
        for at in self.state.ledgers_of(ix) {
            match self.state.ledgers.get(&at).map_or(Fit::Yes, |ledger| ledger.fits(amount)) {
                Fit::Yes => {}
                Fit::Later(_) => return self.wait_for_budget(ix),
                Fit::Never(what) => {
                    let reason = Reason::Budget { path: self.path(at).to_string(), what: what.to_owned() };
                    return self.end(ix, Status::BudgetExceeded, Some(reason));
                }
            }
        }
        // The run's own ceiling suspends the run, resumably; it fails no node.
        if self.state.ledger.fits(amount) != Fit::Yes {
            return self.wait_for_budget(ix);
        }
        let memo_key = self.state.memo_key(ix, prepared);
        let instance = self.state.instance(ix);
        self.decide(Decision::Started {
            path: instance.path.clone(),
            attempt: instance.attempt,
            generation: instance.generation + 1,
            reserved: amount,
            memo_key,
        });
        self.hand_out(ix);
    }

    fn performed(&mut self, ix: Ix, outcome: &Arc<Outcome>) {
        let reserved = self.state.instance(ix).reserved;
        let charged = usage_of(outcome).amount_or(reserved);
        let excess = charged.minus(reserved);
        if !excess.is_zero() && !reserved.is_zero() {
            self.decide(Decision::Overrun { path: self.path(ix), excess });
        }
        let closing = self.state.closing_at(ix);
        let writes = self.writes_in_tree(ix);
        match (&**outcome, closing) {
            (Outcome::Succeeded(_), Some(cause)) if writes => {
                self.end_leaf(ix, Status::Cancelled, Some(Reason::Closed { cause }));
            }
            (Outcome::Succeeded(success), _) => match self.broken_promise(ix, &success.value) {
                Some(message) if closing.is_none() => {
                    self.fail(ix, Trouble { code: "ensure".to_owned(), message, retryable: true });
                }
                None if closing.is_none() && self.too_many_tasks(ix, &success.tasks).is_some() => {
                    let message = self.too_many_tasks(ix, &success.tasks).unwrap_or_default();
                    self.fail(ix, Trouble { code: "tasks".to_owned(), message, retryable: true });
                }
                Some(message) => {
                    let reason = Reason::Failure { code: "ensure".to_owned(), message };
                    self.end_leaf(ix, Status::Failed, Some(reason));
                }
                None if writes => self.order(ix, Phase::Checkpoint),
                None => self.end_leaf(ix, Status::Succeeded, None),
            },
            (_, Some(cause)) => self.end_leaf(ix, Status::Cancelled, Some(Reason::Closed { cause })),
            (Outcome::Throttled { retry_after_ms, why, .. }, None) => {
                let until = self.state.now.saturating_add_unsigned((*retry_after_ms).clamp(1, PAUSE_MS_MAX));
                let branch = self.state.tree_branch(ix);
                let reason = WaitReason::RateLimit { until, why: why.clone() };
                self.decide(Decision::Waiting { path: self.path(ix), reason });
                self.wake(branch, true);
            }
            (Outcome::BudgetExceeded { partial, .. }, None) => self.ran_out(ix, partial.as_ref()),
            (Outcome::Cancelled { .. }, None) => {
                let suspended =
                    matches!(self.state.suspended, Some((SuspendCause::PausedNow | SuspendCause::Budget, _)));
                let paused = self.state.paused_around(ix).is_some_and(|(_, now, _)| now);
                if suspended || paused {
                    let charged = self.charge(ix);
                    self.decide(Decision::Rewound { path: self.path(ix), charged });
                } else {
                    self.end_leaf(ix, Status::Cancelled, None);
                }
            }
            (_, None) => self.fail(ix, Trouble::of(outcome)),
        }
    }

    /// An attempt was not given the budget to go on. Under a ceiling of the run's, it begins again once there is budget;
    /// a node's own ends it.
    fn ran_out(&mut self, ix: Ix, partial: Option<&ValueRef>) {
        let charged = self.charge(ix);
        match self.state.instance(ix).refused.clone() {
            Some((budget, what)) if !budget.is_empty() => {
                let reason = Reason::Budget { path: budget.to_string(), what };
                self.end_kept(ix, Status::BudgetExceeded, Some(reason), partial.cloned(), charged);
            }
            Some(_) => {
                let branch = self.state.tree_branch(ix);
                self.decide(Decision::Rewound { path: self.path(ix), charged });
                self.look_again(ix);
                self.wake(branch, true);
            }
            None => {
                let message = "it says that its budget ran out, and never asked for more".to_owned();
                self.fail(ix, Trouble { code: "engine".to_owned(), message, retryable: false });
            }
        }
    }

    /// What the attempt that came back is charged.
    fn charge(&self, ix: Ix) -> Amount {
        let instance = self.state.instance(ix);
        match &instance.stage {
            Stage::Performed(_, outcome) => usage_of(outcome).amount_or(instance.reserved),
            Stage::Checkpointed(success, _) | Stage::Checkpointing(success) => {
                success.usage.amount_or(instance.reserved)
            }
            _ => instance.reserved,
        }
    }

    /// Why an agent may not add what it adds to the list that it works on, if so.
    fn too_many_tasks(&self, ix: Ix, tasks: &[Arc<Value>]) -> Option<String> {
        if tasks.is_empty() {
            return None;
        }
        let granted = match self.state.kind(ix) {
            Kind::Agent(agent) => agent.tasks_max as usize,
            _ => 0,
        };
        if tasks.len() > granted {
            return Some(format!("it adds {} tasks, and may add {granted}", tasks.len()));
        }
        let large = tasks.iter().map(|task| task.to_json().len()).find(|size| *size > INLINE_VALUE_BYTES_MAX);
        if let Some(size) = large {
            return Some(format!("it adds a task of {size} bytes; at most {INLINE_VALUE_BYTES_MAX} are allowed"));
        }
        let (expand, _) = self.state.list_around(ix)?;
        let Kind::Expand { children_max, .. } = self.state.kind(expand) else { return None };
        let count = self.state.instance(expand).expansion.as_ref().map_or(0, |it| it.count as usize) + tasks.len();
        (count > *children_max as usize)
            .then(|| format!("with its {} tasks the list has {count}, and may have {children_max}", tasks.len()))
    }

    /// Adds what an agent that succeeded adds to the list that it works on.
    fn grow(&mut self, ix: Ix) {
        let tasks = match &self.state.instance(ix).stage {
            Stage::Performed(_, outcome) => match &**outcome {
                Outcome::Succeeded(success) => success.tasks.clone(),
                _ => return,
            },
            Stage::Checkpointed(success, _) => success.tasks.clone(),
            _ => return,
        };
        if tasks.is_empty() || self.state.closing_at(ix).is_some() {
            return;
        }
        let Some((expand, _)) = self.state.list_around(ix) else { return };
        let before = self.state.instance(expand).expansion.as_ref().map_or(0, |it| it.count);
        let digest = Digest::of_json(&tasks);
        let count = before + tasks.len() as u32;
        self.decide(Decision::Grew { path: self.path(expand), by: self.path(ix), count, digest });
    }

    fn end_leaf(&mut self, ix: Ix, status: Status, reason: Option<Reason>) {
        if status == Status::Succeeded {
            self.grow(ix);
        }
        let charged = self.charge(ix);
        self.end_with(ix, status, reason, None, charged);
    }

    /// Why `ensure` does not hold, if so.
    fn broken_promise(&mut self, ix: Ix, value: &ValueRef) -> Option<String> {
        let workflow = self.state.workflow.clone();
        let ensure = match &workflow.node(self.state.instance(ix).node).kind {
            Kind::Agent(agent) => agent.ensure.as_ref(),
            Kind::Ask(ask) => ask.ensure.as_ref(),
            _ => None,
        }?;
        let output = match self.state.read(value) {
            Ok(output) => output,
            Err(EvalError(why)) => return Some(why),
        };
        let own = BTreeMap::from([("output".to_owned(), output)]);
        match self.state.eval_in(self.state.instance(ix).frame, &own, ensure) {
            Ok(Value::Bool(true)) => None,
            Ok(_) => Some(format!("the answer does not satisfy: {}", ensure.as_str())),
            Err(EvalError(why)) => Some(format!("the answer does not satisfy {}: {why}", ensure.as_str())),
        }
    }

    fn writes_in_tree(&self, ix: Ix) -> bool {
        let writes = match self.state.kind(ix) {
            Kind::Agent(agent) => !agent.writes.is_empty(),
            Kind::Command(command) => !command.writes.is_empty(),
            _ => false,
        };
        writes && self.state.tree_branch(ix).is_some()
    }

    fn broken(&mut self, ix: Ix, outcome: &Arc<Outcome>) {
        // It came back, but its work is gone before it was kept: as if it had not come back.
        if matches!(&**outcome, Outcome::Failed(failure) if failure.code == TREE_LOST) {
            let branch = self.state.tree_branch(ix);
            self.repeat(ix, Phase::Perform);
            self.wake(branch, true);
            return self.look_again(ix);
        }
        self.fail(ix, Trouble::of(outcome));
    }

    /// Tries again, or ends the leaf.
    fn fail(&mut self, ix: Ix, trouble: Trouble) {
        let charged = self.charge(ix);
        let workflow = self.state.workflow.clone();
        let retry = &workflow.node(self.state.instance(ix).node).retry;
        let attempt = self.state.instance(ix).attempt;
        let worth = if retry.on.is_empty() { trouble.retryable } else { retry.on.contains(&trouble.code) };
        if !worth || attempt >= retry.attempts_max || self.state.closing_at(ix).is_some() {
            let status = if trouble.code == "timeout" { Status::TimedOut } else { Status::Failed };
            return self.end_with(ix, status, Some(trouble.reason()), None, charged);
        }
        let at_once = matches!(trouble.code.as_str(), "ensure" | "output_invalid");
        let pause = if at_once { 0 } else { self.state.backoff_ms(ix, attempt) };
        let branch = self.state.tree_branch(ix);
        self.decide(Decision::RetryScheduled {
            path: self.path(ix),
            attempt: attempt + 1,
            not_before: self.state.now.saturating_add_unsigned(pause),
            reason: trouble.reason(),
            charged,
        });
        self.wake(branch, true);
        self.look_again(ix);
    }

    fn answered(&mut self, ix: Ix, answer: &Answer) {
        let on_timeout = match self.state.kind(ix) {
            Kind::Approve(gate) => gate.on_timeout,
            _ => OnTimeout::Fail,
        };
        match (answer, on_timeout) {
            (Answer::Value(_), _) => self.end(ix, Status::Succeeded, None),
            (Answer::Rejected { by }, _) => {
                self.end(ix, Status::Failed, Some(Reason::Rejected { by: by.clone() }));
            }
            (Answer::TimedOut, OnTimeout::Fail) => self.end(ix, Status::TimedOut, Some(Reason::TimedOut)),
            (Answer::TimedOut, OnTimeout::Reject) => {
                self.end(ix, Status::Failed, Some(Reason::Rejected { by: "timeout".to_owned() }));
            }
            (Answer::TimedOut, OnTimeout::Approve) => {
                self.end_with(ix, Status::Succeeded, None, Some(Arc::new(Value::Null)), Amount::default());
            }
        }
    }
}

/// A failure, as far as retrying is concerned.
struct Trouble {
    code: String,
    message: String,
    retryable: bool,
}

impl Trouble {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Failed(failure) => {
                let Failure { code, message, retryable, .. } = &**failure;
                Self { code: code.clone(), message: message.clone(), retryable: *retryable }
            }
            Outcome::TimedOut { .. } => {
                Self { code: "timeout".to_owned(), message: "took too long".to_owned(), retryable: true }
            }
            Outcome::Prepared(_)
            | Outcome::Succeeded(_)
            | Outcome::Cancelled { .. }
            | Outcome::Throttled { .. }
            | Outcome::BudgetExceeded { .. }
            | Outcome::Acquired(_)
            | Outcome::Checkpointed(_)
            | Outcome::Combined(_)
            | Outcome::Released { .. } => {
                Self { code: "engine".to_owned(), message: "an unexpected outcome".to_owned(), retryable: false }
            }
        }
    }

    fn reason(&self) -> Reason {
        Reason::Failure { code: self.code.clone(), message: self.message.clone() }
    }
}

/// The templates and variables of a leaf.
fn texts(kind: &Kind) -> (Vec<&Template>, Option<&BTreeMap<String, Expr>>) {
    match kind {
        Kind::Agent(agent) => (vec![&agent.prompt], Some(&agent.vars)),
        Kind::Ask(ask) => (vec![&ask.prompt], Some(&ask.vars)),
        Kind::Command(command) => (command.argv.iter().collect(), Some(&command.vars)),
        Kind::Test(test) => (test.argv.iter().collect(), Some(&test.vars)),
        Kind::Search(search) => (vec![&search.pattern], Some(&search.vars)),
        Kind::Approve(approve) => (vec![&approve.prompt], Some(&approve.vars)),
        _ => (Vec::new(), None),
    }
}

impl RunState {
    /// Makes sure that the values of a leaf's templates are at hand.
    pub(crate) fn load_context(&mut self, ix: Ix) -> Result<Arc<BTreeMap<String, Arc<Value>>>, EvalError> {
        if let Some(context) = self.cache.contexts.get(&ix) {
            return Ok(context.clone());
        }
        let workflow = self.workflow.clone();
        let kind = &workflow.node(self.instance(ix).node).kind;
        let (templates, vars) = texts(kind);
        let own = self.inner_names(ix)?;
        let none = BTreeMap::new();
        let mut context = self.context_of(ix, &templates, vars.unwrap_or(&none), &own)?;
        if let Kind::Approve(gate) = kind {
            let mut shows = BTreeMap::new();
            for (name, expr) in &gate.shows {
                shows.insert(name.clone(), self.eval_at(ix, expr)?);
            }
            context.insert("shows".to_owned(), Arc::new(Value::Map(shows)));
        }
        let context = Arc::new(context);
        self.cache.contexts.insert(ix, context.clone());
        Ok(context)
    }

    /// The effect that an instance has in flight.
    pub(crate) fn effect_for(&mut self, ix: Ix) -> Option<Effect> {
        let instance = self.instance(ix);
        let phase = instance.flight?;
        let id = EffectId { subject: instance.path.clone(), generation: instance.generation, phase };
        let request = match phase {
            Phase::Prepare => Request::Prepare(self.leaf_request(ix)?),
            Phase::Perform => {
                let Stage::Performing(prepared) = &self.instance(ix).stage else { return None };
                let prepared = prepared.clone();
                Request::Perform { leaf: self.leaf_request(ix)?, prepared }
            }
            Phase::Acquire => Request::Acquire { branch: id.subject.clone(), base: self.branch_base(ix).ok()? },
            Phase::Checkpoint => {
                let branch = self.tree_branch(ix)?;
                let tree = self.instance(branch).tree.as_ref()?;
                Request::Checkpoint {
                    branch: self.instance(branch).path.clone(),
                    leaf: id.subject.clone(),
                    node: self.instance(ix).node,
                    begin: tree.head.clone(),
                    at_ms: self.checkpoint_date(tree.checkpoints + 1),
                }
            }
            Phase::Combine => self.combination(ix).ok()??,
            Phase::Harvest | Phase::Release => {
                let tree = self.instance(ix).tree.as_ref()?;
                let (branch, base, commit) = (id.subject.clone(), tree.base.clone(), tree.head.clone());
                match phase {
                    Phase::Harvest => Request::Harvest { branch, base, commit },
                    _ => Request::Release { branch, commit, failed: self.instance(ix).status != Status::Succeeded },
                }
            }
        };
        Some(Effect { id, request })
    }

    /// The base commit's date and one second for each checkpoint: equal work has equal commits.
    pub(crate) fn checkpoint_date(&self, number: u32) -> TimeMs {
        let base = self.started.as_ref().and_then(|started| started.base.as_ref()).map_or(0, |base| base.at_ms);
        base.saturating_add(i64::from(number) * 1_000)
    }

    fn leaf_request(&mut self, ix: Ix) -> Option<LeafRequest> {
        let context = self.load_context(ix).ok()?;
        let tree = self.tree_use(ix).ok()?;
        let instance = self.instance(ix);
        let sample = match self.kind(ix) {
            Kind::Ask(ask) => ask.sample,
            _ => 0,
        };
        Some(LeafRequest {
            path: instance.path.clone(),
            node: instance.node,
            attempt: instance.attempt,
            iteration: self.iteration_of(ix),
            sample,
            context,
            feedback: instance.feedback.as_deref().map(str::to_owned),
            steers: instance.steers.clone(),
            tree,
        })
    }

    /// Where a leaf works.
    ///
    /// # Errors
    /// When the tree that it names does not exist in this run.
    pub(crate) fn tree_use(&self, ix: Ix) -> Result<TreeUse, String> {
        let node = self.node(ix);
        let in_tree = crate::plan::works_in_tree(&node.kind);
        let names_tree = texts(&node.kind).0.iter().any(|template| template.names.contains("tree"));
        if !in_tree && !names_tree {
            return Ok(TreeUse::None);
        }
        if let Some(tree) = &node.tree {
            let (commit, base) = self.named_tree(ix, tree)?;
            return Ok(TreeUse::Snapshot { commit, base });
        }
        if let Some(branch) = self.branch_of(ix)
            && let Some(tree) = &self.instance(branch).tree
        {
            let (head, base) = (tree.head.clone(), tree.base.clone());
            return Ok(match in_tree {
                true => TreeUse::Branch { branch: self.instance(branch).path.clone(), begin: head, base },
                false => TreeUse::Snapshot { commit: head, base },
            });
        }
        let base = self.started.as_ref().and_then(|started| started.base.as_ref()).map(|base| base.commit.clone());
        match base {
            Some(commit) => Ok(TreeUse::Snapshot { commit: commit.clone(), base: commit }),
            None if matches!(node.kind, Kind::Agent(_)) => Ok(TreeUse::None),
            None => Err("this run has no repository to work in".to_owned()),
        }
    }

    /// The commit that a `tree` field names, and where that branch began.
    fn named_tree(&self, ix: Ix, tree: &TreeRef) -> Result<(String, String), String> {
        let branch = match tree {
            TreeRef::Branch(node) => self.resolve(self.instance(ix).frame, *node),
            TreeRef::Winner(node) => self.resolve(self.instance(ix).frame, *node).and_then(|contest| {
                let winner = self.instance(contest).value.as_ref()?;
                let winner = self.read(winner).ok()?;
                self.branch_at(winner.get("winner").as_str()?)
            }),
        };
        let tree = branch.and_then(|branch| self.instance(branch).tree.as_ref());
        tree.map(|tree| (tree.head.clone(), tree.base.clone()))
            .ok_or_else(|| "the branch that its tree is to come from has no tree".to_owned())
    }

    /// The branch that a candidate's path means: the node itself, or the last child of an element.
    pub(crate) fn branch_at(&self, path: &str) -> Option<Ix> {
        let is_branch = |ix: &Ix| self.kind(*ix).ends_in_a_tree();
        if let Some(ix) = self.at_path(path) {
            return Some(ix).filter(is_branch);
        }
        let (owner, index) = path.strip_suffix(']')?.rsplit_once('[')?;
        let owner = self.at_path(owner)?;
        let is_it = |frame: &&FrameIx| {
            let frame = self.frame(**frame);
            frame.name.as_deref().map_or_else(|| frame.index.to_string() == index, |name| name == index)
        };
        let frame = self.instance(owner).frames.iter().find(is_it)?;
        self.frame(*frame).children().last().filter(is_branch)
    }

    /// The commit where a branch begins (or begins again).
    pub(crate) fn branch_base(&self, ix: Ix) -> Result<String, String> {
        if let Some(tree) = &self.instance(ix).tree {
            return Ok(tree.head.clone());
        }
        if let Some(tree) = &self.node(ix).tree {
            return self.named_tree(ix, tree).map(|(commit, _)| commit);
        }
        if let Some(tree) = self.branch_of(ix).and_then(|outer| self.instance(outer).tree.as_ref()) {
            return Ok(tree.head.clone());
        }
        let base = self.started.as_ref().and_then(|started| started.base.as_ref());
        base.map(|base| base.commit.clone()).ok_or_else(|| "this run has no repository to work in".to_owned())
    }

    /// Exponential, with jitter between half and all of it, from the run's seed.
    fn backoff_ms(&self, ix: Ix, attempt: u32) -> u64 {
        let retry = &self.node(ix).retry;
        let mut pause = retry.backoff_ms;
        for _ in 1..attempt {
            pause = pause.saturating_mul(u64::from(retry.backoff_percent)) / 100;
        }
        let pause = pause.min(retry.backoff_max_ms);
        let seed = self.started.as_ref().map_or(0, |started| started.seed);
        let drawn = Digest::of_json(&(seed, &*self.instance(ix).path, attempt)).0[0];
        pause / 2 + pause * u64::from(drawn) / 510
    }

    /// What makes a leaf's question the same as another.
    fn memo_key(&mut self, ix: Ix, prepared: &Prepared) -> Digest {
        #[derive(Serialize)]
        struct MemoKey<'a> {
            version: u32,
            kind: &'a str,
            role: &'a Value,
            request: Digest,
            tree: Option<&'a str>,
            permissions: Digest,
            overlay: Option<Digest>,
            sample: (u32, Vec<u32>),
        }
        let node = self.instance(ix).node;
        let permissions = self.permission_digest(node);
        let declared = match self.kind(ix) {
            Kind::Ask(ask) => ask.sample,
            _ => 0,
        };
        Digest::of_json(&MemoKey {
            version: MEMO_KEY_VERSION,
            kind: self.kind(ix).name(),
            role: &prepared.role,
            request: prepared.request.digest(),
            tree: prepared.tree.as_deref(),
            permissions,
            overlay: None,
            sample: (declared, self.iterations_of(ix)),
        })
    }

    fn permission_digest(&mut self, node: NodeIx) -> Digest {
        if let Some(digest) = self.cache.permissions.get(&node) {
            return *digest;
        }
        let Permissions { writes, commands, network, tools, secrets } = &self.workflow.node(node).permissions;
        let digest = Digest::of_json(&(writes, commands, network, tools, secrets));
        self.cache.permissions.insert(node, digest);
        digest
    }
}
