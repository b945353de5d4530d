//! The fold: how inputs and decisions change the state. Everything here is mechanical; what could have been otherwise
//! is in the records.

use std::sync::Arc;

use wf_ir::node::{Budget, OnFailure, Wait};
use wf_ir::{Digest, Kind, NodeIx, Status, Value};

use crate::amount::{Amount, Usage};
use crate::budget::Ledger;
use crate::effect::{EffectId, Phase};
use crate::record::{
    Command, Decision, EffectOutcome, Expansion, Failure, Input, InputBody, Metered, Outcome, Reason, Record,
    RunStarted, RunStatus, SuspendCause, TimeMs, TimerId, TimerPurpose, ValueRef, WaitReason,
};
use crate::state::{Added, Answer, BranchTree, Frame, FrameIx, Instance, Ix, RunEnd, RunState, Stage};

/// The longest text that an agent is told at once.
pub(crate) const STEER_BYTES_MAX: usize = 16 << 10;
/// The most texts that one instance is told.
pub(crate) const STEERS_MAX: usize = 100;

/// What an input touched, for `step` to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// The run began.
    Run,
    /// An instance can go on.
    Instance(Ix),
    /// A timer of an instance, or of the run, is due.
    Timer(Option<Ix>, TimerPurpose),
    /// A command that a decision must carry out.
    Command,
    /// A new owner: these effects were claimed and have no outcome.
    Adopted(Vec<(Ix, Phase)>),
    /// A worker is gone: these effects were claimed by it and have no outcome.
    Lost(Vec<(Ix, Phase)>),
    /// An agent was told something.
    Steered(Ix),
    /// An attempt wants more budget held for it; all that wait for some are looked at after each input.
    Metered,
}

/// Why an input is not legal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, message: message.into() })
}

impl RunState {
    /// Folds one record.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Input(input) => {
                // A refused input changes nothing; the decision after it says so.
                let _ = self.apply_input(input);
            }
            Record::Decision(decision) => self.apply_decision(decision),
        }
    }

    pub(crate) fn apply_input(&mut self, input: &Input) -> Result<Touched, Refusal> {
        self.records += 1;
        self.now = input.at;
        if self.started.is_none() && !matches!(input.body, InputBody::RunStarted(_)) {
            return refuse("not_started", "the run has not begun");
        }
        match &input.body {
            InputBody::RunStarted(started) if self.started.is_none() => {
                self.begin_run(started);
                Ok(Touched::Run)
            }
            InputBody::RunStarted(_) => refuse("started", "the run has begun already"),
            InputBody::Outcome(EffectOutcome { effect, outcome }) => self.take_outcome(effect, outcome),
            InputBody::TimerFired(timer) => self.take_timer(timer),
            InputBody::Command(command) => self.take_command(command),
            InputBody::Adopted(adopted) => {
                self.deaths += u32::from(adopted.died);
                Ok(Touched::Adopted(self.strand(&adopted.claimed, adopted.died)))
            }
            InputBody::WorkerLost(lost) => match self.strand(&lost.claimed, true) {
                claimed if claimed.is_empty() => refuse("stale", format!("{} has nothing of this run", lost.worker)),
                claimed => Ok(Touched::Lost(claimed)),
            },
            InputBody::Metered(metered) => self.take_metered(metered),
        }
    }

    fn take_metered(&mut self, metered: &Metered) -> Result<Touched, Refusal> {
        let ix = self.named(&metered.effect.subject)?;
        let instance = self.instance(ix);
        if metered.effect.phase != Phase::Perform || !self.is_in_flight(ix, &metered.effect) {
            return refuse("stale", format!("{} is not in flight under this generation", instance.path));
        }
        self.topups.insert(ix, metered.clone());
        Ok(Touched::Metered)
    }

    /// Marks effects whose performer is gone, as far as they are in flight.
    fn strand(&mut self, claimed: &[EffectId], died: bool) -> Vec<(Ix, Phase)> {
        let found = claimed.iter().filter_map(|effect| {
            let ix = self.at_path(&effect.subject)?;
            self.is_in_flight(ix, effect).then_some((ix, effect.phase))
        });
        let found: Vec<_> = found.collect();
        for (ix, _) in &found {
            self.stranded.insert(*ix);
            self.topups.remove(ix);
            self.instance_mut(*ix).deaths += u32::from(died);
        }
        found
    }

    fn begin_run(&mut self, started: &RunStarted) {
        self.started = Some(Arc::new(started.clone()));
        self.started_at = self.now;
        let declared = *self.workflow.budget();
        let given = started.budget;
        self.ledger.ceiling = Budget {
            tokens: given.tokens.or(declared.tokens),
            cost_usd_micros: given.cost_usd_micros.or(declared.cost_usd_micros),
            wall_ms: given.wall_ms.or(declared.wall_ms),
            leaves: given.leaves.or(declared.leaves).or(Some(wf_ir::limits::RUN_LEAVES_MAX)),
        };
        if let Some(wall) = self.ledger.ceiling.wall_ms {
            self.set_timer(None, TimerPurpose::Wall, self.now.saturating_add_unsigned(wall));
        }
        let children = self.workflow.children().to_vec();
        self.open_frame(None, 0, &children);
    }

    fn is_in_flight(&self, ix: Ix, effect: &EffectId) -> bool {
        let instance = self.instance(ix);
        instance.flight == Some(effect.phase) && instance.generation == effect.generation
    }

    fn take_outcome(&mut self, effect: &EffectId, outcome: &Outcome) -> Result<Touched, Refusal> {
        let Some(ix) = self.at_path(&effect.subject) else {
            return refuse("unknown_instance", format!("there is no {}", effect.subject));
        };
        if !self.is_in_flight(ix, effect) {
            return refuse("stale", format!("{} is not waiting for this {:?}", effect.subject, effect.phase));
        }
        self.land(ix);
        self.deaths = 0;
        if effect.phase != Phase::Prepare {
            // What a leaf is prepared for may still be what kills.
            self.instance_mut(ix).deaths = 0;
        }
        match (effect.phase, outcome) {
            (Phase::Prepare, Outcome::Prepared(prepared)) => {
                let instance = self.instance_mut(ix);
                instance.saw_tree = prepared.tree.as_deref().map(Arc::from);
                instance.stage = Stage::Prepared(Arc::new((**prepared).clone()));
            }
            (
                Phase::Perform,
                Outcome::Succeeded(_)
                | Outcome::Failed(_)
                | Outcome::TimedOut { .. }
                | Outcome::Cancelled { .. }
                | Outcome::Throttled { .. }
                | Outcome::BudgetExceeded { .. },
            ) => {
                let usage = usage_of(outcome);
                self.used = self.used.plus(usage);
                let instance = self.instance_mut(ix);
                instance.used = instance.used.plus(usage);
                if let Outcome::BudgetExceeded { partial, .. } = outcome {
                    instance.feedback = partial.as_ref().and_then(handed_back).map(Arc::from);
                }
                if let Stage::Performing(prepared) = &instance.stage {
                    instance.stage = Stage::Performed(prepared.clone(), Arc::new(outcome.clone()));
                }
            }
            (Phase::Acquire, Outcome::Acquired(tree)) => {
                let checkpoints = self.instance(ix).tree.as_ref().map_or(0, |tree| tree.checkpoints);
                let before = self.instance_mut(ix).tree.take();
                let (base, base_tree) = match before {
                    Some(before) => (before.base, before.base_tree),
                    None => (tree.commit.clone(), tree.tree.clone()),
                };
                let instance = self.instance_mut(ix);
                instance.tree = Some(Box::new(BranchTree {
                    base,
                    base_tree,
                    head: tree.commit.clone(),
                    head_tree: tree.tree.clone(),
                    checkpoints,
                    held: true,
                    holder: None,
                    harvest: None,
                }));
                instance.stage = Stage::Idle;
            }
            (Phase::Checkpoint, Outcome::Checkpointed(checkpoint)) => self.take_checkpoint(ix, checkpoint),
            (Phase::Harvest, Outcome::Checkpointed(checkpoint)) => {
                if let Some(tree) = self.instance_mut(ix).tree.as_mut() {
                    tree.harvest = Some(Arc::new((**checkpoint).clone()));
                }
            }
            (Phase::Combine, Outcome::Combined(combined)) => {
                self.take_combined(ix, combined);
                self.instance_mut(ix).stage = Stage::Combined(Arc::new((**combined).clone()));
            }
            (Phase::Acquire, Outcome::Throttled { .. }) => {
                self.instance_mut(ix).stage = Stage::Broken(Arc::new(outcome.clone()));
            }
            (Phase::Release, _) => {
                if let Some(tree) = self.instance_mut(ix).tree.as_mut() {
                    tree.held = false;
                }
            }
            (_, Outcome::Failed(_)) => self.instance_mut(ix).stage = Stage::Broken(Arc::new(outcome.clone())),
            (phase, _) => {
                let failure = Failure {
                    code: "engine".to_owned(),
                    message: format!("{phase:?} was answered with something else"),
                    retryable: false,
                    usage: Usage::default(),
                    evidence: None,
                    artifacts: std::collections::BTreeMap::new(),
                    rescued: None,
                };
                self.instance_mut(ix).stage = Stage::Broken(Arc::new(Outcome::Failed(Box::new(failure))));
            }
        }
        Ok(Touched::Instance(ix))
    }

    fn take_checkpoint(&mut self, ix: Ix, checkpoint: &crate::record::Checkpoint) {
        let instance = self.instance_mut(ix);
        if let Stage::Checkpointing(success) = &instance.stage {
            instance.stage = Stage::Checkpointed(success.clone(), Arc::new(checkpoint.clone()));
        }
        if !checkpoint.out_of_scope.is_empty() {
            return;
        }
        instance.wrote = !checkpoint.files.is_empty();
        if let Some(branch) = self.branch_of(ix)
            && let Some(tree) = self.instance_mut(branch).tree.as_mut()
        {
            tree.checkpoints += u32::from(tree.head != checkpoint.commit);
            tree.head = checkpoint.commit.clone();
            tree.head_tree = checkpoint.tree.clone();
        }
    }

    fn take_timer(&mut self, timer: &TimerId) -> Result<Touched, Refusal> {
        let is_held = || self.at_path(&timer.subject).is_some_and(|ix| self.is_held(ix));
        if self.timers.get(timer).is_none_or(|due| *due > self.now) || self.suspended.is_some() || is_held() {
            return refuse("stale", "nothing waits for this time");
        }
        self.deaths = 0;
        self.clear_timer(timer);
        if timer.subject.is_empty() {
            return Ok(Touched::Timer(None, timer.purpose));
        }
        let Some(ix) = self.at_path(&timer.subject) else { return refuse("stale", "nothing waits for this time") };
        let instance = self.instance_mut(ix);
        match (timer.purpose, &instance.stage) {
            (TimerPurpose::Backoff, Stage::Backoff) => self.rewind(ix),
            (TimerPurpose::Sleep, Stage::Sleeping) => {
                instance.stage = Stage::Answered(Answer::Value(Arc::new(Value::Null)));
            }
            (TimerPurpose::Deadline, Stage::Gate(_) | Stage::Listening) => {
                instance.stage = Stage::Answered(Answer::TimedOut);
            }
            _ => {}
        }
        Ok(Touched::Timer(Some(ix), timer.purpose))
    }

    fn take_command(&mut self, command: &Command) -> Result<Touched, Refusal> {
        let ended = self.end.as_ref().map(|end| end.status);
        match command {
            Command::Resume { path: None, .. } if ended == Some(RunStatus::BudgetExceeded) => {
                return Ok(Touched::Command);
            }
            Command::Retry { .. } if ended.is_some_and(|status| status != RunStatus::Succeeded) => {
                return Ok(Touched::Command);
            }
            _ => {}
        }
        if let Some(status) = ended {
            let code = if matches!(command, Command::Decide { .. }) { "already_resolved" } else { "ended" };
            return refuse(code, format!("the run has ended: {}", status.as_str()));
        }
        match command {
            Command::Cancel { path: None, .. } => match self.closing {
                Some(_) => refuse("already_cancelled", "the run is being cancelled"),
                None => Ok(Touched::Command),
            },
            Command::Cancel { path: Some(path), .. } => {
                let ix = self.named(path)?;
                if self.instance(ix).status.is_terminal() {
                    return refuse("ended", format!("{path} has ended"));
                }
                Ok(Touched::Command)
            }
            Command::Pause { path: Some(path), .. } => {
                let ix = self.named(path)?;
                if self.instance(ix).status.is_terminal() {
                    return refuse("ended", format!("{path} has ended"));
                }
                match self.paused_around(ix) {
                    Some((at, ..)) => refuse("already_paused", format!("{} is paused", self.instance(at).path)),
                    None => Ok(Touched::Command),
                }
            }
            Command::Pause { path: None, .. } if self.suspended.is_some() => {
                refuse("already_paused", "the run is paused")
            }
            Command::Pause { path: None, .. } => Ok(Touched::Command),
            Command::Resume { path: Some(path), .. } => match self.paused.contains_key(&self.named(path)?) {
                true => Ok(Touched::Command),
                false => refuse("not_paused", format!("{path} is not paused")),
            },
            Command::Resume { path: None, .. } if self.suspended.is_none() => {
                refuse("not_paused", "the run is not paused")
            }
            Command::Resume { path: None, .. } => Ok(Touched::Command),
            Command::Steer { path, text, .. } => self.steer(path, text),
            Command::Decide { path, digest, approved, data, by } => self.decide(path, *digest, *approved, data, by),
            Command::Signal { name, payload, .. } => {
                self.signals.entry(name.clone()).or_default().push_back(Arc::new(payload.clone()));
                let listens = |ix: &Ix| {
                    self.instance(*ix).stage == Stage::Listening
                        && matches!(self.kind(*ix), Kind::Wait(Wait::Signal { name: it }) if it == name)
                };
                match self.live.iter().copied().find(listens) {
                    Some(ix) => {
                        self.deliver(ix, name);
                        Ok(Touched::Instance(ix))
                    }
                    None => Ok(Touched::Command),
                }
            }
            Command::Retry { path: Some(path), .. } => {
                let ix = self.named(path)?;
                match self.instance(ix).stage {
                    Stage::Doubt | Stage::Backoff => {
                        self.rewind(ix);
                        Ok(Touched::Instance(ix))
                    }
                    _ => refuse("not_waiting", format!("{path} is neither in doubt nor waiting to be tried again")),
                }
            }
            Command::Retry { path: None, .. } => refuse("running", "the run has not ended; name an instance"),
        }
    }

    fn steer(&mut self, path: &str, text: &str) -> Result<Touched, Refusal> {
        let ix = self.named(path)?;
        if !matches!(self.kind(ix), Kind::Agent(_)) {
            return refuse("not_an_agent", format!("{path} is not an agent"));
        }
        let instance = self.instance_mut(ix);
        if instance.status.is_terminal() {
            return refuse("ended", format!("{path} has ended"));
        }
        if text.trim().is_empty() || text.len() > STEER_BYTES_MAX {
            return refuse("too_long", format!("an agent is told 1 to {STEER_BYTES_MAX} bytes at once"));
        }
        if instance.steers.len() >= STEERS_MAX {
            return refuse("too_many", format!("{path} was told {STEERS_MAX} things already"));
        }
        instance.steers.push(Arc::from(text));
        Ok(Touched::Steered(ix))
    }

    fn named(&self, path: &str) -> Result<Ix, Refusal> {
        match self.at_path(path) {
            Some(ix) => Ok(ix),
            None => refuse("unknown_instance", format!("there is no {path} in this run, or not yet")),
        }
    }

    fn decide(
        &mut self,
        path: &str,
        digest: Option<Digest>,
        approved: bool,
        data: &Value,
        by: &str,
    ) -> Result<Touched, Refusal> {
        let ix = self.named(path)?;
        let open = match &self.instance(ix).stage {
            Stage::Gate(open) => *open,
            Stage::Answered(_) => return refuse("already_resolved", format!("{path} was decided already")),
            Stage::Doubt if !approved => {
                self.instance_mut(ix).stage = Stage::Answered(Answer::Rejected { by: by.to_owned() });
                return Ok(Touched::Instance(ix));
            }
            _ if matches!(self.kind(ix), Kind::Approve(_)) && self.instance(ix).status.is_terminal() => {
                return refuse("already_resolved", format!("{path} was decided already"));
            }
            _ => return refuse("not_waiting", format!("{path} is not waiting for a decision")),
        };
        if digest.is_some_and(|given| given != open) {
            return refuse("already_resolved", format!("{path} now waits for another decision than the one given"));
        }
        let Kind::Approve(gate) = self.kind(ix) else {
            return refuse("not_waiting", format!("{path} is not a gate"));
        };
        if !gate.by.is_empty() && !gate.by.iter().any(|who| who == by) {
            return refuse("not_allowed", format!("{path} is to be decided by {}", gate.by.join(" or ")));
        }
        if approved
            && let Some(form) = &gate.form
            && let Err(why) = wf_ir::types::check_schema(form, data)
        {
            return refuse("form", format!("the decision's data does not fit the form of {path}: {why}"));
        }
        self.instance_mut(ix).stage = Stage::Answered(if approved {
            Answer::Value(Arc::new(data.clone()))
        } else {
            Answer::Rejected { by: by.to_owned() }
        });
        Ok(Touched::Instance(ix))
    }

    pub(crate) fn apply_decision(&mut self, decision: &Decision) {
        self.records += 1;
        match decision {
            Decision::Opened { path, expansion, side } => {
                let ix = self.expect_at(path);
                self.open(ix, expansion, *side);
            }
            Decision::FrameOpened { path, index } => {
                let ix = self.expect_at(path);
                let children = self.children_of(ix);
                self.open_frame(Some(ix), *index, &children);
            }
            Decision::Grew { by, .. } => {
                let by = self.expect_at(by);
                self.grow(by);
            }
            Decision::Ordered { effect } => self.order(effect),
            Decision::Started { path, attempt, generation, reserved, memo_key } => {
                let ix = self.expect_at(path);
                self.take_off(ix, Phase::Perform, *generation);
                self.budget_waiters.remove(&ix);
                self.each_ledger(ix, |ledger| ledger.reserve(*reserved));
                let instance = self.instance_mut(ix);
                instance.attempt = *attempt;
                instance.attempt_started = *attempt;
                instance.reserved = *reserved;
                instance.memo_key = Some(*memo_key);
                if let Stage::Prepared(prepared) = &instance.stage {
                    instance.stage = Stage::Performing(prepared.clone());
                }
            }
            Decision::CancelOrdered { effect } => {
                let ix = self.expect_at(&effect.subject);
                self.instance_mut(ix).cancel_ordered = true;
            }
            Decision::Waiting { path, reason } => {
                let ix = self.expect_at(path);
                self.wait(ix, reason);
            }
            Decision::RetryScheduled { path, attempt, not_before, reason, charged } => {
                let ix = self.expect_at(path);
                self.settle(ix, *charged);
                self.instance_mut(ix).attempt = *attempt;
                self.instance_mut(ix).feedback = feedback_of(reason);
                self.instance_mut(ix).reason = Some(reason.clone());
                if *not_before > self.now {
                    self.back_off(ix, WaitReason::Retry { until: *not_before }, *not_before);
                } else {
                    self.rewind(ix);
                }
            }
            Decision::Rewound { path, charged } => {
                let ix = self.expect_at(path);
                self.land(ix);
                self.settle(ix, *charged);
                self.rewind(ix);
            }
            Decision::InDoubt { path, charged } => {
                let ix = self.expect_at(path);
                self.land(ix);
                self.settle(ix, *charged);
                self.instance_mut(ix).stage = Stage::Doubt;
                self.set_status(ix, Status::InDoubt);
            }
            Decision::GateOpened { path, digest } => {
                let ix = self.expect_at(path);
                self.instance_mut(ix).stage = Stage::Gate(*digest);
                self.set_waiting(ix, WaitReason::Decision);
                self.set_deadline(ix);
            }
            Decision::Closing { path, cause } => match path.is_empty() {
                true => self.closing = Some(*cause),
                false => {
                    let ix = self.expect_at(path);
                    self.instance_mut(ix).closing = Some(*cause);
                }
            },
            Decision::Ended { path, status, reason, value, charged } => {
                let ix = self.expect_at(path);
                self.end_instance(ix, *status, reason, value, *charged);
            }
            Decision::Overrun { path, excess } => {
                let ix = self.expect_at(path);
                self.each_ledger(ix, |ledger| ledger.overrun = true);
                if self.instance(ix).flight == Some(Phase::Perform) {
                    self.hold(ix, self.instance(ix).reserved.plus(*excess));
                }
            }
            Decision::ToppedUp { path, reserved, .. } => {
                let ix = self.expect_at(path);
                self.topups.remove(&ix);
                self.hold(ix, *reserved);
            }
            Decision::TopUpRefused { path, budget, what, .. } => {
                let ix = self.expect_at(path);
                self.topups.remove(&ix);
                self.instance_mut(ix).refused = Some((budget.clone(), what.clone()));
            }
            Decision::Suspended { path: None, cause, .. } => self.suspended = Some((*cause, self.now)),
            Decision::Suspended { path: Some(path), cause, .. } => {
                let ix = self.expect_at(path);
                self.paused.insert(ix, (*cause == SuspendCause::PausedNow, self.now));
            }
            Decision::Resumed { path: None, raise } => self.resume(raise),
            Decision::Resumed { path: Some(path), .. } => {
                let ix = self.expect_at(path);
                self.resume_at(ix);
            }
            Decision::Reopened { paths } => self.reopen(paths),
            Decision::RunEnded { status, verified, outputs, result_digest } => {
                self.end = Some(RunEnd {
                    status: *status,
                    verified: *verified,
                    outputs: outputs.clone(),
                    result_digest: *result_digest,
                    at: self.now,
                });
            }
            Decision::Refused { .. } => {}
        }
    }

    /// The instance that a decision names. A decision about an instance that does not exist is a damaged log or a
    /// defect, and parks the run.
    fn expect_at(&self, path: &str) -> Ix {
        let found = self.at_path(path);
        assert!(found.is_some(), "a decision names {path}, which does not exist");
        found.unwrap_or(Ix(0))
    }

    /// The nodes that a frame of this instance holds.
    pub(crate) fn children_of(&self, ix: Ix) -> Vec<NodeIx> {
        match self.kind(ix) {
            Kind::Cond { then, otherwise, .. } => {
                if self.instance(ix).side == Some(true) {
                    then.clone()
                } else {
                    otherwise.clone()
                }
            }
            kind => match kind.inner() {
                Some(inner) => vec![inner],
                None => kind.children().collect(),
            },
        }
    }

    fn open(&mut self, ix: Ix, expansion: &Option<Expansion>, side: Option<bool>) {
        self.begin_status(ix);
        self.set_deadline(ix);
        let instance = self.instance_mut(ix);
        instance.stage = Stage::Open;
        if let Some(expansion) = expansion {
            // What agents added is still there when the list is opened again after a retry.
            let count = expansion.count + instance.added.len() as u32;
            instance.expansion = Some(Expansion { count, ..expansion.clone() });
        }
        instance.side = side.or(instance.side);
        if !self.instance(ix).frames.is_empty() {
            return self.refill(ix);
        }
        match self.kind(ix) {
            Kind::Expand { .. } => self.refill(ix),
            Kind::LoopUntil { .. } => {
                let children = self.children_of(ix);
                self.open_frame(Some(ix), 1, &children);
            }
            // A tournament's judges are opened match by match.
            Kind::Tournament(_) => {}
            _ => {
                let children = self.children_of(ix);
                if !children.is_empty() {
                    self.open_frame(Some(ix), 0, &children);
                }
            }
        }
    }

    /// Opens elements of an `expand` up to its width; nothing else does. Elements need no record of their own: which
    /// are open follows from how many there are and which have ended.
    fn refill(&mut self, ix: Ix) {
        let Kind::Expand { children, on_failure, .. } = &self.workflow.node(self.instance(ix).node).kind else {
            return;
        };
        let (children, abort) = (children.clone(), *on_failure == OnFailure::Abort);
        let Some(expansion) = self.instance(ix).expansion.clone() else { return };
        if self.closing_at(ix).is_some() {
            return;
        }
        let failed = abort && self.instance(ix).bad_frames > 0;
        let mut next = self.instance(ix).frames.len() as u32;
        while !failed && next < expansion.count && self.instance(ix).open_frames < expansion.width {
            self.open_frame(Some(ix), next, &children);
            next += 1;
        }
    }

    fn open_frame(&mut self, owner: Option<Ix>, index: u32, children: &[NodeIx]) {
        let frame_ix = FrameIx(self.frames.len() as u32);
        let first = Ix(self.instances.len() as u32);
        for node in children {
            let path = self.child_path(owner, index, *node);
            let ix = Ix(self.instances.len() as u32);
            self.paths.insert(path.clone(), ix);
            self.leaves_known += u64::from(self.workflow.node(*node).kind.is_leaf());
            self.instances.push(Instance::new(*node, path, frame_ix));
        }
        let len = children.len() as u32;
        let name = self.added_name(owner, index);
        self.frames.push(Frame {
            owner,
            index,
            name,
            first,
            len,
            cursor: 0,
            open: len,
            active: 0,
            ok: 0,
            failed: None,
        });
        if let Some(owner) = owner {
            let owner = self.instance_mut(owner);
            owner.frames.push(frame_ix);
            owner.open_frames += 1;
        }
    }

    fn child_path(&self, owner: Option<Ix>, index: u32, node: NodeIx) -> Arc<str> {
        let id = &self.workflow.node(node).id;
        let Some(owner) = owner else { return Arc::from(id.as_str()) };
        let path = &self.instance(owner).path;
        match self.kind(owner) {
            Kind::Expand { .. } | Kind::LoopUntil { .. } => match self.added_name(Some(owner), index) {
                Some(name) => Arc::from(format!("{path}[{name}]/{id}")),
                None => Arc::from(format!("{path}[{index}]/{id}")),
            },
            Kind::Tournament(_) => Arc::from(format!("{path}/{id}[{index}]")),
            _ => Arc::from(format!("{path}/{id}")),
        }
    }

    /// The name of an element that was added.
    fn added_name(&self, owner: Option<Ix>, index: u32) -> Option<Arc<str>> {
        let expand = self.instance(owner?);
        if expand.added.is_empty() {
            return None;
        }
        let listed = expand.expansion.as_ref()?.count as usize - expand.added.len();
        expand.added.get((index as usize).checked_sub(listed)?).map(|added| added.name.clone())
    }

    /// The `expand` that an agent adds to, and the element in which it stands.
    pub(crate) fn list_around(&self, ix: Ix) -> Option<(Ix, FrameIx)> {
        let mut frame = self.instance(ix).frame;
        loop {
            let owner = self.frame(frame).owner?;
            if matches!(self.kind(owner), Kind::Expand { .. }) {
                return Some((owner, frame));
            }
            frame = self.instance(owner).frame;
        }
    }

    /// The list of an `expand` grows by what an agent's outcome holds.
    fn grow(&mut self, by: Ix) {
        let tasks = match &self.instance(by).stage {
            Stage::Performed(_, outcome) => match &**outcome {
                Outcome::Succeeded(success) => success.tasks.clone(),
                _ => return,
            },
            Stage::Checkpointed(success, _) => success.tasks.clone(),
            _ => return,
        };
        let Some((expand, frame)) = self.list_around(by) else { return };
        let frame = self.frame(frame);
        let parent = frame.name.clone().unwrap_or_else(|| Arc::from(frame.index.to_string()));
        let is_child = |name: &str| name.rsplit_once('.').is_some_and(|(before, _)| before == &*parent);
        let first = self.instance(expand).added.iter().filter(|added| is_child(&added.name)).count();
        let instance = self.instance_mut(expand);
        for (at, value) in tasks.into_iter().enumerate() {
            instance.added.push(Added { name: Arc::from(format!("{parent}.{}", first + at)), value });
            if let Some(expansion) = instance.expansion.as_mut() {
                expansion.count += 1;
            }
        }
        self.refill(expand);
    }

    fn order(&mut self, effect: &EffectId) {
        let ix = self.expect_at(&effect.subject);
        self.take_off(ix, effect.phase, effect.generation);
        match effect.phase {
            Phase::Prepare => {
                self.begin_status(ix);
                self.set_status(ix, Status::Running);
                self.instance_mut(ix).stage = Stage::Preparing;
                self.hold_tree(ix);
            }
            Phase::Acquire => {
                self.begin_status(ix);
                self.instance_mut(ix).stage = Stage::Acquiring;
            }
            Phase::Checkpoint => {
                let instance = self.instance_mut(ix);
                if let Stage::Performed(_, outcome) = &instance.stage
                    && let Outcome::Succeeded(success) = &**outcome
                {
                    instance.stage = Stage::Checkpointing(Arc::new((**success).clone()));
                }
            }
            Phase::Harvest => self.instance_mut(ix).stage = Stage::Harvesting,
            Phase::Combine => {
                self.begin_status(ix);
                self.instance_mut(ix).stage = Stage::Combining;
            }
            Phase::Release | Phase::Perform => {}
        }
    }

    /// Marks an instance as begun, with its budget and what it counts against others', once.
    fn begin_status(&mut self, ix: Ix) {
        self.set_status(ix, Status::Running);
        if self.instance(ix).started_at.is_some() {
            return;
        }
        self.instance_mut(ix).started_at = Some(self.now);
        if let Some(budget) = self.node_budget(ix) {
            self.ledgers.insert(ix, Ledger { ceiling: budget, ..Ledger::default() });
            if let Some(wall) = budget.wall_ms {
                self.set_timer(Some(ix), TimerPurpose::Wall, self.now.saturating_add_unsigned(wall));
            }
        }
        if self.kind(ix).is_leaf() {
            self.each_ledger(ix, |ledger| ledger.leaves += 1);
        }
    }

    fn each_ledger(&mut self, ix: Ix, change: impl Fn(&mut Ledger)) {
        change(&mut self.ledger);
        if self.ledgers.is_empty() {
            return;
        }
        for at in self.ledgers_of(ix) {
            if let Some(ledger) = self.ledgers.get_mut(&at) {
                change(ledger);
            }
        }
    }

    /// Holds so much for an attempt in flight, which is no less than before.
    fn hold(&mut self, ix: Ix, reserved: Amount) {
        let more = reserved.minus(self.instance(ix).reserved);
        self.each_ledger(ix, |ledger| ledger.reserve(more));
        self.instance_mut(ix).reserved = reserved;
    }

    fn settle(&mut self, ix: Ix, charged: Amount) {
        let reserved = std::mem::take(&mut self.instance_mut(ix).reserved);
        if !reserved.is_zero() || !charged.is_zero() {
            self.each_ledger(ix, |ledger| ledger.settle(reserved, charged));
        }
    }

    fn wait(&mut self, ix: Ix, reason: &WaitReason) {
        match reason {
            WaitReason::Budget => {
                self.budget_waiters.insert(ix);
            }
            WaitReason::Tree { .. } => {
                if let Some(branch) = self.branch_of(ix) {
                    self.tree_waiters.entry(branch).or_default().insert(ix);
                }
            }
            WaitReason::Sleep { until } => {
                self.begin_status(ix);
                self.instance_mut(ix).stage = Stage::Sleeping;
                self.set_timer(Some(ix), TimerPurpose::Sleep, *until);
            }
            WaitReason::Signal { name } => {
                self.begin_status(ix);
                self.instance_mut(ix).stage = Stage::Listening;
                self.set_deadline(ix);
                self.deliver(ix, name);
            }
            WaitReason::RateLimit { until, .. } => {
                let charged = match &self.instance(ix).stage {
                    Stage::Performed(_, outcome) => usage_of(outcome).amount_or(Amount::default()),
                    _ => Amount::default(),
                };
                self.settle(ix, charged);
                self.back_off(ix, reason.clone(), *until);
                return;
            }
            WaitReason::TreePool { until } => {
                self.back_off(ix, reason.clone(), *until);
                return;
            }
            WaitReason::Retry { .. } | WaitReason::Decision => {}
        }
        self.set_waiting(ix, reason.clone());
    }

    /// Hands a signal that came to the instance that listens for it.
    fn deliver(&mut self, ix: Ix, name: &str) {
        let Some(payload) = self.signals.get_mut(name).and_then(std::collections::VecDeque::pop_front) else { return };
        if self.signals.get(name).is_some_and(std::collections::VecDeque::is_empty) {
            self.signals.remove(name);
        }
        self.instance_mut(ix).stage = Stage::Answered(Answer::Value(payload));
    }

    fn back_off(&mut self, ix: Ix, reason: WaitReason, until: TimeMs) {
        self.free_tree(ix);
        self.instance_mut(ix).stage = Stage::Backoff;
        self.set_waiting(ix, reason);
        self.set_timer(Some(ix), TimerPurpose::Backoff, until);
    }

    /// Back to the beginning of an attempt.
    fn rewind(&mut self, ix: Ix) {
        self.free_tree(ix);
        self.clear_timers(ix);
        self.instance_mut(ix).stage = Stage::Idle;
        self.set_status(ix, Status::Running);
    }

    fn take_off(&mut self, ix: Ix, phase: Phase, generation: u32) {
        let instance = self.instance_mut(ix);
        instance.flight = Some(phase);
        instance.generation = generation;
        instance.cancel_ordered = false;
        instance.refused = None;
        self.in_flight.insert(ix);
        self.stranded.remove(&ix);
    }

    fn land(&mut self, ix: Ix) {
        self.instance_mut(ix).flight = None;
        self.instance_mut(ix).cancel_ordered = false;
        self.in_flight.remove(&ix);
        self.stranded.remove(&ix);
        self.topups.remove(&ix);
    }

    /// The branch in whose tree a leaf works, if it does.
    pub(crate) fn tree_branch(&self, ix: Ix) -> Option<Ix> {
        let node = self.node(ix);
        if !crate::plan::works_in_tree(&node.kind) || node.tree.is_some() {
            return None;
        }
        self.branch_of(ix).filter(|branch| self.instance(*branch).tree.is_some())
    }

    fn hold_tree(&mut self, ix: Ix) {
        if let Some(branch) = self.tree_branch(ix) {
            if let Some(waiters) = self.tree_waiters.get_mut(&branch) {
                waiters.remove(&ix);
            }
            if let Some(tree) = self.instance_mut(branch).tree.as_mut() {
                tree.holder = Some(ix);
            }
        }
    }

    fn free_tree(&mut self, ix: Ix) {
        if let Some(branch) = self.tree_branch(ix) {
            if let Some(waiters) = self.tree_waiters.get_mut(&branch) {
                waiters.remove(&ix);
                if waiters.is_empty() {
                    self.tree_waiters.remove(&branch);
                }
            }
            if let Some(tree) = self.instance_mut(branch).tree.as_mut()
                && tree.holder == Some(ix)
            {
                tree.holder = None;
            }
        }
    }

    /// Changes a status that is not an end, and what counts such instances.
    fn set_status(&mut self, ix: Ix, status: Status) {
        let instance = self.instance_mut(ix);
        let was = std::mem::replace(&mut instance.status, status);
        instance.waiting = None;
        let frame = instance.frame;
        if self.live.insert(ix) && was == Status::Pending {
            self.frame_mut(frame).active += 1;
        }
    }

    fn set_waiting(&mut self, ix: Ix, reason: WaitReason) {
        self.set_status(ix, Status::Waiting);
        self.instance_mut(ix).waiting = Some(reason);
    }

    fn set_deadline(&mut self, ix: Ix) {
        let node = self.node(ix);
        let bounded = !node.kind.is_leaf() || matches!(node.kind, Kind::Approve(_) | Kind::Wait(_));
        if let Some(timeout) = node.timeout_ms.filter(|_| bounded) {
            self.set_timer(Some(ix), TimerPurpose::Deadline, self.now.saturating_add_unsigned(timeout));
        }
    }

    fn set_timer(&mut self, ix: Option<Ix>, purpose: TimerPurpose, due: TimeMs) {
        let id = match ix {
            Some(ix) => {
                let instance = self.instance(ix);
                TimerId { subject: instance.path.clone(), generation: instance.generation, purpose }
            }
            None => TimerId { subject: Arc::from(""), generation: 0, purpose },
        };
        if let Some(before) = self.timers.insert(id.clone(), due) {
            self.due.remove(&(before, id.clone()));
        }
        self.due.insert((due, id));
    }

    fn clear_timer(&mut self, id: &TimerId) {
        if let Some(due) = self.timers.remove(id) {
            self.due.remove(&(due, id.clone()));
        }
    }

    fn clear_timers(&mut self, ix: Ix) {
        if self.timers.is_empty() {
            return;
        }
        let subject = self.instance(ix).path.clone();
        let from = TimerId { subject: subject.clone(), generation: 0, purpose: TimerPurpose::Backoff };
        let mine: Vec<_> =
            self.timers.range(from..).map(|(id, _)| id.clone()).take_while(|id| id.subject == subject).collect();
        // A node's ceiling on wall time outlives the attempts inside it.
        let over = self.instance(ix).status.is_terminal();
        for id in mine.iter().filter(|id| over || id.purpose != TimerPurpose::Wall) {
            self.clear_timer(id);
        }
    }

    fn end_instance(
        &mut self,
        ix: Ix,
        status: Status,
        reason: &Option<Reason>,
        value: &Option<ValueRef>,
        charged: Amount,
    ) {
        self.settle(ix, charged);
        self.free_tree(ix);
        self.budget_waiters.remove(&ix);
        self.paused.remove(&ix);
        let now = self.now;
        let was_live = self.live.remove(&ix);
        let is_leaf = self.kind(ix).is_leaf();
        let instance = self.instance_mut(ix);
        instance.value =
            value.clone().or_else(|| (status == Status::Succeeded).then(|| stage_value(&instance.stage))?);
        instance.stage = Stage::Done;
        instance.status = status;
        instance.waiting = None;
        instance.reason = reason.clone();
        instance.feedback = None;
        instance.ended_at = Some(now);
        self.clear_timers(ix);
        if is_leaf {
            *self.ended_leaves.entry(status).or_default() += 1;
        }
        self.count_end(ix, status, was_live);
    }

    fn count_end(&mut self, ix: Ix, status: Status, was_live: bool) {
        let frame_ix = self.instance(ix).frame;
        let frame = self.frame_mut(frame_ix);
        frame.open -= 1;
        frame.active -= u32::from(was_live);
        frame.ok += u32::from(status == Status::Succeeded);
        if is_bad(status) && frame.failed.is_none() {
            frame.failed = Some(ix);
        }
        let (first, len, mut cursor) = (frame.first, frame.len, frame.cursor);
        while cursor < len && self.instance(Ix(first.0 + cursor)).status.is_terminal() {
            cursor += 1;
        }
        let frame = self.frame_mut(frame_ix);
        frame.cursor = cursor;
        if frame.is_done()
            && let Some(owner) = frame.owner
        {
            let (ok, bad) = (u32::from(frame.is_ok()), u32::from(frame.failed.is_some()));
            let instance = self.instance_mut(owner);
            instance.open_frames -= 1;
            instance.ok_frames += ok;
            instance.bad_frames += bad;
            self.refill(owner);
        }
    }

    fn resume(&mut self, raise: &Budget) {
        if let Some((_, since)) = self.suspended.take() {
            // The clock of what is paused by itself stood still from then on anyway, and goes on with it.
            let now = self.now;
            self.shift_timers(|state, ix| {
                let until = ix.and_then(|ix| state.paused_around(ix)).map_or(now, |(_, _, paused)| paused);
                until.saturating_sub(since)
            });
        }
        self.deaths = 0;
        let live: Vec<Ix> = self.live.iter().copied().collect();
        for ix in live {
            self.instance_mut(ix).deaths = 0;
        }
        self.end = None;
        self.ledger.raise(raise);
        if let Some(wall) = raise.wall_ms {
            self.set_timer(None, TimerPurpose::Wall, self.now.saturating_add_unsigned(wall));
        }
    }

    /// What was paused by itself goes on, and its clocks with it, unless something around it is paused too.
    fn resume_at(&mut self, at: Ix) {
        let Some((_, since)) = self.paused.remove(&at) else { return };
        let around = self.paused_around(at).map(|(_, _, since)| since);
        let until = self.suspended.map(|(_, since)| since).into_iter().chain(around).fold(self.now, TimeMs::min);
        self.shift_timers(|state, ix| {
            let inside = ix.is_some_and(|ix| {
                let below = ix == at || state.ancestors(ix).any(|above| above == at);
                // An inner pause began earlier, and its clocks go on when it does.
                below && state.paused_around(ix).is_none_or(|(inner, ..)| state.ancestors(at).any(|it| it == inner))
            });
            if inside { until.saturating_sub(since) } else { 0 }
        });
    }

    /// Moves timers by as much as `by` says for whom each is; the run's own is for none.
    fn shift_timers(&mut self, by: impl Fn(&Self, Option<Ix>) -> TimeMs) {
        let shift = |(id, due): (&TimerId, &TimeMs)| (id.clone(), *due, by(self, self.at_path(&id.subject)).max(0));
        let timers: Vec<_> = self.timers.iter().map(shift).collect();
        for (id, due, shift) in timers.into_iter().filter(|(_, _, shift)| *shift > 0) {
            self.clear_timer(&id);
            self.due.insert((due + shift, id.clone()));
            self.timers.insert(id, due + shift);
        }
    }

    /// What failed, was skipped or was cancelled begins again, unless something around it succeeded.
    fn reopen(&mut self, paths: &[Arc<str>]) {
        self.end = None;
        self.closing = None;
        for path in paths {
            let ix = self.expect_at(path);
            let status = self.instance(ix).status;
            let is_leaf = self.kind(ix).is_leaf();
            if is_leaf && let Some(count) = self.ended_leaves.get_mut(&status) {
                *count = count.saturating_sub(1);
            }
            let frame = self.instance(ix).frame;
            let frame = self.frame_mut(frame);
            frame.open += 1;
            let instance = self.instance_mut(ix);
            instance.status = Status::Pending;
            instance.stage = Stage::Idle;
            instance.attempt = 1;
            instance.attempt_started = 0;
            instance.reason = None;
            instance.closing = None;
            instance.ended_at = None;
            if let Some(tree) = instance.tree.as_mut() {
                tree.harvest = None;
            }
        }
        self.recount();
        self.cache = crate::state::Cache::default();
    }

    /// Counts frames again from their children.
    fn recount(&mut self) {
        for instance in &mut self.instances {
            (instance.open_frames, instance.ok_frames, instance.bad_frames) = (0, 0, 0);
        }
        for frame in 0..self.frames.len() {
            let children: Vec<_> = self.frames[frame].children().collect();
            let ended = children.iter().take_while(|ix| self.instance(**ix).status.is_terminal()).count();
            let failed = children.iter().copied().find(|ix| is_bad(self.instance(*ix).status));
            let frame = &mut self.frames[frame];
            frame.cursor = ended as u32;
            frame.failed = failed;
            let (owner, done, ok, bad) = (frame.owner, frame.is_done(), frame.is_ok(), frame.failed.is_some());
            if let Some(owner) = owner {
                let owner = self.instance_mut(owner);
                owner.open_frames += u32::from(!done);
                owner.ok_frames += u32::from(ok);
                owner.bad_frames += u32::from(done && bad);
            }
        }
    }
}

impl Instance {
    fn new(node: NodeIx, path: Arc<str>, frame: FrameIx) -> Self {
        Self {
            node,
            path,
            frame,
            status: Status::Pending,
            waiting: None,
            stage: Stage::Idle,
            attempt: 1,
            attempt_started: 0,
            generation: 0,
            flight: None,
            cancel_ordered: false,
            reserved: Amount::default(),
            refused: None,
            used: Usage::default(),
            reason: None,
            value: None,
            frames: Vec::new(),
            open_frames: 0,
            ok_frames: 0,
            bad_frames: 0,
            expansion: None,
            added: Vec::new(),
            side: None,
            closing: None,
            tree: None,
            saw_tree: None,
            wrote: false,
            memo_key: None,
            feedback: None,
            steers: Vec::new(),
            deaths: 0,
            started_at: None,
            ended_at: None,
        }
    }
}

/// Ends that fail the list around them; being skipped does not.
pub(crate) fn is_bad(status: Status) -> bool {
    match status {
        Status::Failed | Status::Cancelled | Status::TimedOut | Status::BudgetExceeded => true,
        Status::Pending
        | Status::Ready
        | Status::Running
        | Status::Waiting
        | Status::InDoubt
        | Status::Succeeded
        | Status::Skipped => false,
    }
}

/// What an outcome says was used.
pub(crate) fn usage_of(outcome: &Outcome) -> Usage {
    match outcome {
        Outcome::Succeeded(success) => success.usage,
        Outcome::Failed(failure) => failure.usage,
        Outcome::TimedOut { usage }
        | Outcome::Cancelled { usage }
        | Outcome::Throttled { usage, .. }
        | Outcome::BudgetExceeded { usage, .. } => *usage,
        Outcome::Prepared(_)
        | Outcome::Acquired(_)
        | Outcome::Checkpointed(_)
        | Outcome::Combined(_)
        | Outcome::Released { .. } => Usage::default(),
    }
}

/// What the next attempt is told of what one without budget handed back.
fn handed_back(partial: &ValueRef) -> Option<String> {
    let ValueRef::Inline(value) = partial else { return None };
    Some(format!("the budget ran out before it was done; what it had by then: {}", value.to_json()))
}

/// The value that a leaf's stage holds.
fn stage_value(stage: &Stage) -> Option<ValueRef> {
    match stage {
        Stage::Performed(_, outcome) => match &**outcome {
            Outcome::Succeeded(success) => Some(success.value.clone()),
            _ => None,
        },
        Stage::Checkpointed(success, _) => Some(success.value.clone()),
        Stage::Answered(Answer::Value(value)) => Some(ValueRef::Inline(value.clone())),
        _ => None,
    }
}

/// What a model is told about the attempt before.
fn feedback_of(reason: &Reason) -> Option<Arc<str>> {
    match reason {
        Reason::Failure { message, .. } => Some(Arc::from(message.as_str())),
        _ => None,
    }
}
