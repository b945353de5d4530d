//! One input in, decisions and effects out. `step` takes time proportional to what changed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wf_ir::node::{Keep, OnFailure, OnLimit, Wait};
use wf_ir::{EvalError, Kind, NodeIx, Status, Value};

use crate::amount::Amount;
use crate::apply::{Touched, is_bad};
use crate::effect::{Effect, EffectId, Phase};
use crate::plan::candidates;
use crate::record::{
    CloseCause, Command, Decision, Expansion, Input, InputBody, Reason, SuspendCause, TimerPurpose, ValueRef,
    WaitReason,
};
use crate::state::{FrameIx, Ix, RunState, Stage};

/// So often in a row may whoever performs an effect, or owns the run, go down before the run is parked.
pub const DEATHS_MAX: u32 = 5;

/// What came of one input.
#[derive(Debug, Default)]
pub struct Step {
    /// What was decided, in order; to be appended after the input, in the same commit.
    pub decisions: Vec<Decision>,
    /// What is to be performed once that commit is durable.
    pub effects: Vec<Effect>,
    /// Effects in flight that are to be ended.
    pub cancels: Vec<EffectId>,
    /// What agents in flight are to be told.
    pub steers: Vec<(EffectId, Arc<str>)>,
    /// What attempts in flight that asked for more budget are answered: the question's number, and whether they have it.
    pub topups: Vec<(EffectId, TopUp)>,
    /// JSON texts of values too large to be inline; to be stored before the commit.
    pub blobs: Vec<String>,
}

/// Takes an input in: changes the state, and says what was decided and what is to be done.
///
/// Total: an input that is not legal is answered with [`Decision::Refused`]. A broken invariant panics, which parks
/// the run and nothing else.
pub fn step(state: &mut RunState, input: &Input) -> Step {
    let touched = state.apply_input(input);
    let mut turn = Turn { state, step: Step::default(), agenda: VecDeque::new(), entering: BTreeMap::new() };
    match touched {
        Ok(touched) => turn.begin_with(touched, input),
        Err(refusal) => {
            turn.decide(Decision::Refused { code: refusal.code.to_owned(), message: refusal.message });
        }
    }
    turn.work_off();
    turn.answer_topups();
    turn.work_off();
    turn.end_run_if_over();
    turn.step
}

/// An answer to an attempt in flight that asked for more budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUp {
    /// Which question of the attempt's.
    pub asked: u32,
    /// Whether it is held for it.
    pub is_granted: bool,
}

/// Something to look at again.
#[derive(Clone, Copy, Debug)]
enum Job {
    /// A child that may begin.
    Begin(Ix),
    /// A leaf that begins.
    Enter(Ix),
    /// A leaf, or a branch with its tree, that may go on.
    Advance(Ix),
    /// A frame whose children moved.
    List(FrameIx),
    /// A control node whose frames moved.
    Control(Ix),
}

pub(crate) struct Turn<'a> {
    pub(crate) state: &'a mut RunState,
    pub(crate) step: Step,
    agenda: VecDeque<Job>,
    /// Leaves that are about to begin, by their frame: nothing is decided of them yet, but they have their slot.
    entering: BTreeMap<FrameIx, BTreeSet<Ix>>,
}

impl Turn<'_> {
    fn begin_with(&mut self, touched: Touched, input: &Input) {
        match touched {
            Touched::Run => self.agenda.push_back(Job::List(FrameIx(0))),
            Touched::Instance(ix) => self.agenda.push_back(Job::Advance(ix)),
            Touched::Timer(None, _) => self.suspend(SuspendCause::Budget),
            Touched::Timer(Some(ix), TimerPurpose::Wall) => self.close(Some(ix), CloseCause::Budget),
            Touched::Timer(Some(ix), TimerPurpose::Deadline) if !self.state.kind(ix).is_leaf() => {
                self.close(Some(ix), CloseCause::TimedOut);
            }
            Touched::Timer(Some(ix), _) => self.agenda.push_back(Job::Advance(ix)),
            Touched::Adopted(claimed) => {
                self.take_up(claimed);
                self.look_at_everything();
            }
            Touched::Lost(claimed) => {
                let lost: Vec<Ix> = claimed.iter().map(|(ix, _)| *ix).collect();
                self.take_up(claimed);
                for ix in lost {
                    let branch = self.state.tree_branch(ix);
                    self.look_again(ix);
                    self.wake(branch, true);
                }
            }
            Touched::Steered(ix) => self.tell(ix),
            Touched::Metered => {}
            Touched::Command => {
                if let InputBody::Command(command) = &input.body {
                    self.obey(command);
                }
            }
        }
    }

    fn work_off(&mut self) {
        while let Some(job) = self.agenda.pop_front() {
            self.work(job);
        }
    }

    fn obey(&mut self, command: &Command) {
        match command {
            Command::Cancel { path, .. } => {
                // What was left lying would never end.
                self.repeat_stranded();
                let ix = path.as_ref().and_then(|path| self.state.at_path(path));
                self.close(ix, CloseCause::Cancelled);
            }
            Command::Pause { path: None, now, .. } => self.suspend(pause_cause(*now)),
            Command::Pause { path: Some(path), now, .. } => {
                if let Some(ix) = self.state.at_path(path) {
                    self.pause(ix, *now);
                }
            }
            Command::Resume { path, raise, .. } => {
                let path = path.as_deref().map(Arc::from);
                self.decide(Decision::Resumed { path, raise: *raise });
                self.repeat_stranded();
                self.look_at_everything();
            }
            Command::Retry { .. } => {
                let paths = self.state.reopenable();
                self.decide(Decision::Reopened { paths });
                self.look_at_everything();
            }
            // These changed an instance when they were taken in.
            Command::Decide { .. } | Command::Signal { .. } | Command::Steer { .. } => {}
        }
    }

    /// Everything that could go on, from scratch: after a pause, an adoption, a reopening.
    fn look_at_everything(&mut self) {
        self.state.cache.waiters.clear();
        self.state.cache.eligible.clear();
        self.agenda.push_back(Job::List(FrameIx(0)));
        let live: Vec<Ix> = self.state.live.iter().copied().collect();
        for ix in live {
            self.revisit(ix);
        }
    }

    fn revisit(&mut self, ix: Ix) {
        self.agenda.push_back(Job::Advance(ix));
        if self.state.kind(ix).is_leaf() {
            return;
        }
        let frames: Vec<FrameIx> = self.state.instance(ix).frames.clone();
        let open = frames.into_iter().filter(|frame| !self.state.frame(*frame).is_done());
        self.agenda.extend(open.map(Job::List));
        self.agenda.push_back(Job::Control(ix));
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Begin(ix) => self.begin(ix),
            Job::Enter(ix) => {
                let frame = self.state.instance(ix).frame;
                self.entering.entry(frame).or_default().remove(&ix);
                self.advance(ix);
            }
            Job::Advance(ix) => self.advance(ix),
            Job::List(frame) => self.list(frame),
            Job::Control(ix) => self.control(ix),
        }
    }

    /// Records a decision, and looks at the frames that it opened.
    pub(crate) fn decide(&mut self, decision: Decision) {
        let frames = self.state.frames.len();
        self.state.apply_decision(&decision);
        self.step.decisions.push(decision);
        let opened = frames..self.state.frames.len();
        self.agenda.extend(opened.map(|frame| Job::List(FrameIx(frame as u32))));
    }

    pub(crate) fn look_again(&mut self, ix: Ix) {
        self.agenda.push_back(Job::Advance(ix));
    }

    pub(crate) fn path(&self, ix: Ix) -> Arc<str> {
        self.state.instance(ix).path.clone()
    }

    /// Orders an effect and hands it out.
    pub(crate) fn order(&mut self, ix: Ix, phase: Phase) {
        let generation = self.state.instance(ix).generation + 1;
        self.decide(Decision::Ordered { effect: EffectId { subject: self.path(ix), generation, phase } });
        self.hand_out(ix);
    }

    pub(crate) fn hand_out(&mut self, ix: Ix) {
        let effect = self.state.effect_for(ix);
        self.step.effects.extend(effect);
    }

    pub(crate) fn end(&mut self, ix: Ix, status: Status, reason: Option<Reason>) {
        self.end_with(ix, status, reason, None, Amount::default());
    }

    pub(crate) fn end_with(
        &mut self,
        ix: Ix,
        status: Status,
        reason: Option<Reason>,
        value: Option<Arc<Value>>,
        charged: Amount,
    ) {
        let value = value.map(|value| self.keep(value));
        self.end_kept(ix, status, reason, value, charged);
    }

    pub(crate) fn end_kept(
        &mut self,
        ix: Ix,
        status: Status,
        reason: Option<Reason>,
        value: Option<ValueRef>,
        charged: Amount,
    ) {
        let settles = !self.state.instance(ix).reserved.is_zero();
        let branch = self.state.tree_branch(ix);
        self.decide(Decision::Ended { path: self.path(ix), status, reason, value, charged });
        self.state.cache.contexts.remove(&ix);
        let frame = self.state.instance(ix).frame;
        self.agenda.push_back(Job::List(frame));
        for waiter in self.state.cache.waiters.remove(&ix).unwrap_or_default() {
            self.agenda.push_back(Job::Begin(waiter));
        }
        self.wake(branch, settles);
        if self.state.instance(ix).tree.as_ref().is_some_and(|tree| tree.held) {
            self.order(ix, Phase::Release);
        }
    }

    /// Looks again at what waits for a tree or for budget that an attempt handed back.
    pub(crate) fn wake(&mut self, branch: Option<Ix>, settled: bool) {
        if let Some(waiters) = branch.and_then(|branch| self.state.tree_waiters.get(&branch)) {
            self.agenda.extend(waiters.iter().copied().map(Job::Advance));
        }
        if settled {
            self.agenda.extend(self.state.budget_waiters.iter().copied().map(Job::Advance));
        }
    }

    /// A value for a record; large ones become blobs, which the state can read at once.
    pub(crate) fn keep(&mut self, value: Arc<Value>) -> ValueRef {
        let (kept, text) = ValueRef::of(value.clone());
        if let (ValueRef::Stored { digest, size }, Some(text)) = (&kept, text) {
            if *size <= wf_ir::limits::EXPR_VALUE_BYTES_MAX as u64 {
                self.state.hydrate(*digest, value);
            }
            self.step.blobs.push(text);
        }
        kept
    }

    // -- closing and suspending ----------------------------------------------------------------------------------

    /// Ends what runs below an instance (or in the whole run), and lets nothing new begin there.
    fn close(&mut self, ix: Option<Ix>, cause: CloseCause) {
        let path = ix.map_or_else(|| Arc::from(""), |ix| self.path(ix));
        self.decide(Decision::Closing { path, cause });
        if ix.is_none() {
            self.agenda.push_back(Job::List(FrameIx(0)));
        }
        let inside: Vec<Ix> = self.state.live.iter().copied().filter(|at| self.is_inside(*at, ix)).collect();
        for at in inside {
            self.revisit(at);
        }
        if let Some(ix) = ix.filter(|ix| self.state.instance(*ix).status == Status::Pending) {
            self.agenda.push_back(Job::Begin(ix));
        }
    }

    fn is_inside(&self, at: Ix, root: Option<Ix>) -> bool {
        root.is_none_or(|root| at == root || self.state.ancestors(at).any(|above| above == root))
    }

    /// Takes up again what somebody had claimed who is gone, unless it has brought down too many.
    fn take_up(&mut self, claimed: Vec<(Ix, Phase)>) {
        if matches!(self.state.suspended, Some((SuspendCause::Poisoned, _))) {
            return;
        }
        // What is being closed is not performed again, so that it brings nobody down any more.
        let goes_on = |closing: Option<CloseCause>| closing.is_none() || self.state.semantics() == 1;
        let deadly = claimed.iter().filter(|(ix, _)| goes_on(self.state.closing_at(*ix)));
        let deadly = deadly.map(|(ix, _)| self.state.instance(*ix)).find(|it| it.deaths >= DEATHS_MAX);
        let reason = match deadly {
            Some(it) => Some(format!("whoever performed {} went down {DEATHS_MAX} times in a row", it.path)),
            None => (self.state.deaths >= DEATHS_MAX && goes_on(self.state.closing))
                .then(|| format!("its process went down {DEATHS_MAX} times in a row before anything came of it")),
        };
        if let Some(reason) = reason {
            let cause = SuspendCause::Poisoned;
            return self.decide(Decision::Suspended { path: None, cause, reason: Some(reason) });
        }
        for (ix, phase) in claimed {
            self.repeat(ix, phase);
        }
    }

    fn repeat_stranded(&mut self) {
        let stranded: Vec<Ix> = self.state.stranded.iter().copied().collect();
        for ix in stranded {
            if let Some(phase) = self.state.instance(ix).flight {
                self.repeat(ix, phase);
            }
        }
    }

    /// Hands the last thing that an agent was told to the attempt in flight, if there is one.
    fn tell(&mut self, ix: Ix) {
        let instance = self.state.instance(ix);
        if instance.flight == Some(Phase::Perform)
            && let Some(text) = instance.steers.last().cloned()
        {
            let (subject, generation) = (instance.path.clone(), instance.generation);
            self.step.steers.push((EffectId { subject, generation, phase: Phase::Perform }, text));
        }
    }

    /// Orders nothing new below an instance.
    fn pause(&mut self, ix: Ix, now: bool) {
        self.decide(Decision::Suspended { path: Some(self.path(ix)), cause: pause_cause(now), reason: None });
        if !now {
            return;
        }
        let flying: Vec<Ix> = self.state.in_flight.iter().copied().filter(|at| self.is_inside(*at, Some(ix))).collect();
        for at in flying {
            self.cancel_flight(at);
        }
    }

    /// Orders nothing new; with `PausedNow` and `Budget`, also ends what is in flight.
    fn suspend(&mut self, cause: SuspendCause) {
        self.decide(Decision::Suspended { path: None, cause, reason: None });
        if cause == SuspendCause::Paused {
            return;
        }
        let flying: Vec<Ix> = self.state.in_flight.iter().copied().collect();
        for ix in flying {
            self.cancel_flight(ix);
        }
    }

    pub(crate) fn cancel_flight(&mut self, ix: Ix) {
        let instance = self.state.instance(ix);
        if instance.flight == Some(Phase::Perform) && !instance.cancel_ordered {
            let effect =
                EffectId { subject: instance.path.clone(), generation: instance.generation, phase: Phase::Perform };
            self.decide(Decision::CancelOrdered { effect: effect.clone() });
            self.step.cancels.push(effect);
        }
    }

    /// An effect was claimed by an owner that is gone.
    pub(crate) fn repeat(&mut self, ix: Ix, phase: Phase) {
        if phase != Phase::Perform {
            return self.order(ix, phase);
        }
        let charged = self.state.instance(ix).reserved;
        let path = self.path(ix);
        let doubtful = match self.state.kind(ix) {
            Kind::Command(command) => !command.repeatable,
            _ => false,
        };
        self.decide(match doubtful {
            true => Decision::InDoubt { path, charged },
            false => Decision::Rewound { path, charged },
        });
    }

    // -- lists ---------------------------------------------------------------------------------------------------

    /// Lets children of a frame begin, as far as its kind of list and its width allow.
    fn list(&mut self, frame_ix: FrameIx) {
        let frame = self.state.frame(frame_ix);
        let (owner, done) = (frame.owner, frame.is_done());
        if done {
            if let Some(owner) = owner {
                self.agenda.push_back(Job::Control(owner));
            }
            return;
        }
        let parallel = owner.filter(|owner| matches!(self.state.kind(*owner), Kind::Parallel { .. }));
        let Some(parallel) = parallel else {
            let next = Ix(frame.first.0 + frame.cursor);
            self.agenda.push_back(Job::Begin(next));
            return;
        };
        self.agenda.push_back(Job::Control(parallel));
        let begin_all = self.state.closing_at(parallel).is_some() || !self.state.cache.eligible.contains_key(&frame_ix);
        let next: Vec<Ix> = if begin_all {
            self.state.cache.eligible.entry(frame_ix).or_default();
            frame_children(self.state, frame_ix).filter(|ix| self.is_pending(*ix)).collect()
        } else {
            let eligible = self.state.cache.eligible.get(&frame_ix);
            eligible.and_then(BTreeSet::first).copied().into_iter().collect()
        };
        self.agenda.extend(next.into_iter().map(Job::Begin));
    }

    fn is_entering(&self, ix: Ix) -> bool {
        self.entering.get(&self.state.instance(ix).frame).is_some_and(|entering| entering.contains(&ix))
    }

    fn is_pending(&self, ix: Ix) -> bool {
        self.state.instance(ix).status == Status::Pending
    }

    /// Begins a child, if it is its turn and nothing speaks against it.
    fn begin(&mut self, ix: Ix) {
        if !self.is_pending(ix) {
            return;
        }
        if let Some(cause) = self.state.closing_at(ix) {
            return self.end(ix, Status::Skipped, Some(Reason::Closed { cause }));
        }
        if self.state.is_held(ix) || !self.is_its_turn(ix) || self.is_entering(ix) {
            return;
        }
        if let Some(path) = self.stopped_by(ix) {
            return self.end(ix, Status::Skipped, Some(Reason::Stopped { path }));
        }
        match self.needs(ix) {
            Needs::Met => {}
            Needs::Open => return,
            Needs::Unmet(reason) => return self.end(ix, Status::Skipped, Some(reason)),
        }
        let workflow = self.state.workflow.clone();
        if let Some(when) = &workflow.node(self.state.instance(ix).node).when {
            match self.state.eval_at(ix, when).map(|value| value.as_bool()) {
                Ok(Some(true)) => {}
                Ok(Some(false)) => return self.end(ix, Status::Skipped, Some(Reason::When)),
                Ok(None) => return self.expression_failed(ix, "when", "is not true or false".to_owned()),
                Err(EvalError(why)) => return self.expression_failed(ix, "when", why),
            }
        }
        if self.takes_a_slot(ix) {
            self.start(ix);
        }
    }

    pub(crate) fn expression_failed(&mut self, ix: Ix, field: &str, message: String) {
        self.end(ix, Status::Failed, Some(Reason::Expression { field: field.to_owned(), message }));
    }

    fn is_its_turn(&self, ix: Ix) -> bool {
        let frame = self.state.frame(self.state.instance(ix).frame);
        let parallel = frame.owner.is_some_and(|owner| matches!(self.state.kind(owner), Kind::Parallel { .. }));
        parallel || frame.first.0 + frame.cursor == ix.0
    }

    /// The sibling whose failure stops the list before this child, unless the child can live with it.
    fn stopped_by(&self, ix: Ix) -> Option<String> {
        let frame = self.state.frame(self.state.instance(ix).frame);
        let goes_on = frame.owner.is_some_and(|owner| match self.state.kind(owner) {
            Kind::Sequence { on_failure, .. } => *on_failure == OnFailure::Continue,
            Kind::Parallel { .. } => true,
            _ => false,
        });
        let failed = self.state.instance(frame.failed?);
        let node = self.state.node(ix);
        let accepted = node.needs.contains(&failed.node) && self.accepts(ix, failed.node, failed.status);
        (!goes_on && !accepted && !node.after.contains(&failed.node)).then(|| failed.path.to_string())
    }

    fn accepts(&self, ix: Ix, need: NodeIx, status: Status) -> bool {
        let node = self.state.node(ix);
        let as_candidate = candidates(&node.kind).is_some_and(|candidates| candidates.nodes().contains(&need));
        let reviewed = matches!(&node.kind, Kind::TeacherReview { of, .. } if of.contains(&need));
        status == Status::Succeeded || as_candidate || reviewed || node.accept.contains(&status)
    }

    fn needs(&mut self, ix: Ix) -> Needs {
        let workflow = self.state.workflow.clone();
        let node = workflow.node(self.state.instance(ix).node);
        let frame = self.state.instance(ix).frame;
        for need in node.needs.iter().chain(&node.after) {
            let Some(target) = self.state.resolve(frame, *need) else {
                if node.needs.contains(need) && !self.accepts(ix, *need, Status::Skipped) {
                    let path = workflow.node(*need).path.clone();
                    return Needs::Unmet(Reason::Need { path, status: Status::Skipped });
                }
                continue;
            };
            let status = self.state.instance(target).status;
            if !status.is_terminal() {
                self.state.cache.waiters.entry(target).or_default().insert(ix);
                return Needs::Open;
            }
            if node.needs.contains(need) && !self.accepts(ix, *need, status) {
                let path = self.state.instance(target).path.to_string();
                return Needs::Unmet(Reason::Need { path, status });
            }
        }
        Needs::Met
    }

    fn takes_a_slot(&mut self, ix: Ix) -> bool {
        let frame_ix = self.state.instance(ix).frame;
        let frame = self.state.frame(frame_ix);
        let Some(Kind::Parallel { width, .. }) = frame.owner.map(|owner| self.state.kind(owner)) else { return true };
        let entering = match self.state.semantics() {
            1 => 0,
            _ => self.entering.get(&frame_ix).map_or(0, BTreeSet::len) as u32,
        };
        let free = frame.active + entering < *width;
        let eligible = self.state.cache.eligible.entry(frame_ix).or_default();
        if free {
            eligible.remove(&ix);
        } else {
            eligible.insert(ix);
        }
        free
    }

    // -- control nodes -------------------------------------------------------------------------------------------

    fn start(&mut self, ix: Ix) {
        let workflow = self.state.workflow.clone();
        match &workflow.node(self.state.instance(ix).node).kind {
            Kind::Memory(_) | Kind::Call { .. } | Kind::Rlm { .. } => {
                let message = "this node cannot run yet".to_owned();
                self.end(ix, Status::Failed, Some(Reason::Failure { code: "unsupported".to_owned(), message }));
            }
            Kind::Wait(Wait::Duration { ms }) => {
                let until = self.state.now.saturating_add_unsigned(*ms);
                self.decide(Decision::Waiting { path: self.path(ix), reason: WaitReason::Sleep { until } });
            }
            Kind::Wait(Wait::Signal { name }) => {
                let reason = WaitReason::Signal { name: name.clone() };
                self.decide(Decision::Waiting { path: self.path(ix), reason });
                self.agenda.push_back(Job::Advance(ix));
            }
            Kind::Agent(_) | Kind::Ask(_) | Kind::Command(_) | Kind::Test(_) | Kind::Search(_) | Kind::Approve(_) => {
                self.entering.entry(self.state.instance(ix).frame).or_default().insert(ix);
                self.agenda.push_back(Job::Enter(ix));
            }
            Kind::Branch { .. } => self.start_branch(ix),
            Kind::Parallel { .. } | Kind::Sequence { .. } | Kind::LoopUntil { .. } => self.open(ix, None, None),
            Kind::Cond { condition, then, otherwise } => {
                match self.state.eval_at(ix, condition).map(|value| value.as_bool()) {
                    Ok(Some(side)) if if side { then.is_empty() } else { otherwise.is_empty() } => {
                        self.end(ix, Status::Skipped, Some(Reason::NothingRan));
                    }
                    Ok(Some(side)) => self.open(ix, None, Some(side)),
                    Ok(None) => self.expression_failed(ix, "condition", "is not true or false".to_owned()),
                    Err(EvalError(why)) => self.expression_failed(ix, "condition", why),
                }
            }
            Kind::Expand { .. } => self.start_expand(ix),
            Kind::Reduce(_) | Kind::Pareto { .. } | Kind::Tournament(_) => self.choose(ix),
            Kind::TeacherReview { .. } => self.open(ix, None, None),
        }
    }

    pub(crate) fn open(&mut self, ix: Ix, expansion: Option<Expansion>, side: Option<bool>) {
        self.decide(Decision::Opened { path: self.path(ix), expansion, side });
        self.revisit(ix);
    }

    fn start_branch(&mut self, ix: Ix) {
        if !self.state.plan.needs_tree(self.state.instance(ix).node) {
            return self.open(ix, None, None);
        }
        match self.state.branch_base(ix) {
            Ok(_) => self.order(ix, Phase::Acquire),
            Err(message) => {
                let code = "no_tree".to_owned();
                self.end(ix, Status::Failed, Some(Reason::Failure { code, message }));
            }
        }
    }

    fn start_expand(&mut self, ix: Ix) {
        let workflow = self.state.workflow.clone();
        let Kind::Expand { width, children_max, .. } = &workflow.node(self.state.instance(ix).node).kind else {
            return;
        };
        let list = match self.state.list_of(ix) {
            Ok(list) => list,
            Err(EvalError(why)) => return self.expression_failed(ix, "over", why),
        };
        let count = match &*list {
            Value::List(items) => items.len() as u64,
            Value::Int(count) if *count >= 0 => *count as u64,
            other => {
                let why = format!("is {}, not a list or a count", other.type_name());
                return self.expression_failed(ix, "over", why);
            }
        };
        if count > u64::from(*children_max) {
            let reason = Reason::TooMany { count, max: u64::from(*children_max) };
            return self.end(ix, Status::Failed, Some(reason));
        }
        let width = match self.state.eval_at(ix, width).map(|value| value.as_int()) {
            Ok(Some(width)) if width >= 1 => width.min(wf_ir::limits::FAN_OUT_MAX as i64) as u32,
            Ok(other) => {
                let why = format!("is {other:?}, not a count of at least 1");
                return self.expression_failed(ix, "width", why);
            }
            Err(EvalError(why)) => return self.expression_failed(ix, "width", why),
        };
        let expansion = Expansion { count: count as u32, width, digest: crate::scope::list_digest(&list) };
        self.open(ix, Some(expansion), None);
    }

    /// Looks at a control node whose frames moved.
    fn control(&mut self, ix: Ix) {
        if self.state.instance(ix).stage != Stage::Open {
            return;
        }
        match self.state.kind(ix) {
            Kind::Branch { .. } => self.control_branch(ix),
            Kind::Sequence { .. } | Kind::Cond { .. } if self.last_frame_done(ix) => {
                let (status, reason) = self.list_end(ix);
                self.end(ix, status, reason);
            }
            Kind::Parallel { .. } => self.control_parallel(ix),
            Kind::Expand { .. } => self.control_expand(ix),
            Kind::LoopUntil { .. } => self.control_loop(ix),
            Kind::Reduce(_) | Kind::TeacherReview { .. } => self.control_inner(ix),
            Kind::Tournament(_) => self.control_judges(ix),
            _ => {}
        }
    }

    pub(crate) fn last_frame_done(&self, ix: Ix) -> bool {
        self.state.instance(ix).frames.last().is_some_and(|frame| self.state.frame(*frame).is_done())
    }

    fn control_branch(&mut self, ix: Ix) {
        if !self.last_frame_done(ix) {
            return;
        }
        if self.state.instance(ix).tree.is_some() {
            return self.order(ix, Phase::Harvest);
        }
        let (status, reason) = self.list_end(ix);
        self.end(ix, status, reason);
    }

    /// How an ordered list ends.
    pub(crate) fn list_end(&self, ix: Ix) -> (Status, Option<Reason>) {
        let Some(frame) = self.state.instance(ix).frames.last().map(|frame| self.state.frame(*frame)) else {
            return (Status::Skipped, Some(Reason::NothingRan));
        };
        let goes_on = matches!(self.state.kind(ix), Kind::Sequence { on_failure: OnFailure::Continue, .. });
        let last_that_ran =
            || frame.children().filter(|child| self.state.instance(*child).status != Status::Skipped).last();
        let bad = if goes_on {
            last_that_ran().filter(|child| is_bad(self.state.instance(*child).status))
        } else {
            frame.failed
        };
        let end = match bad {
            Some(child) => (Status::Failed, Some(Reason::Child { path: self.path(child).to_string() })),
            None if frame.ok == 0 => (Status::Skipped, Some(Reason::NothingRan)),
            None => (Status::Succeeded, None),
        };
        self.unless_closed(ix, end)
    }

    /// What did not succeed below a closed node ended because of that.
    pub(crate) fn unless_closed(&self, ix: Ix, end: (Status, Option<Reason>)) -> (Status, Option<Reason>) {
        let Some(cause) = self.state.closing_at(ix).filter(|_| end.0 != Status::Succeeded) else { return end };
        let own = self.state.instance(ix).closing;
        let status = match own {
            Some(CloseCause::TimedOut) => Status::TimedOut,
            Some(CloseCause::Budget) => Status::BudgetExceeded,
            Some(CloseCause::Aborted | CloseCause::Enough) => return end,
            Some(CloseCause::Cancelled) | None => Status::Cancelled,
        };
        (status, Some(Reason::Closed { cause }))
    }

    fn control_parallel(&mut self, ix: Ix) {
        let Kind::Parallel { min_ok, keep, on_failure, .. } = *self.state.kind(ix) else { return };
        let Some(frame) = self.state.instance(ix).frames.first().map(|frame| self.state.frame(*frame)) else { return };
        let (ok, failed, done) = (frame.ok, frame.failed, frame.is_done());
        if !done {
            if self.state.closing_at(ix).is_none() {
                if keep == Keep::FirstSuccess && ok >= min_ok {
                    self.close(Some(ix), CloseCause::Enough);
                } else if on_failure == OnFailure::Abort && failed.is_some() {
                    self.close(Some(ix), CloseCause::Aborted);
                }
            }
            return;
        }
        let aborted = failed.filter(|_| on_failure == OnFailure::Abort);
        self.end_set(ix, ok, min_ok, aborted);
    }

    fn control_expand(&mut self, ix: Ix) {
        let Kind::Expand { min_ok, on_failure, .. } = *self.state.kind(ix) else { return };
        let instance = self.state.instance(ix);
        let count = instance.expansion.as_ref().map_or(0, |expansion| expansion.count);
        let aborted = on_failure == OnFailure::Abort && instance.bad_frames > 0;
        let (open, ok, begun) = (instance.open_frames, instance.ok_frames, instance.frames.len() as u32);
        let closed = self.state.closing_at(ix).is_some();
        if open > 0 || (begun < count && !aborted && !closed) {
            if aborted && !closed {
                self.close(Some(ix), CloseCause::Aborted);
            }
            return;
        }
        let failed = aborted.then(|| self.first_bad_child(ix)).flatten();
        self.end_set(ix, ok, min_ok, failed);
    }

    fn first_bad_child(&self, ix: Ix) -> Option<Ix> {
        self.state.instance(ix).frames.iter().find_map(|frame| self.state.frame(*frame).failed)
    }

    fn end_set(&mut self, ix: Ix, ok: u32, min: u32, aborted: Option<Ix>) {
        let end = match aborted {
            Some(child) => (Status::Failed, Some(Reason::Child { path: self.path(child).to_string() })),
            None if ok >= min => (Status::Succeeded, None),
            None => (Status::Failed, Some(Reason::MinOk { ok, min })),
        };
        let (status, reason) = self.unless_closed(ix, end);
        self.end(ix, status, reason);
    }

    fn control_loop(&mut self, ix: Ix) {
        if !self.last_frame_done(ix) {
            return;
        }
        let workflow = self.state.workflow.clone();
        let Kind::LoopUntil { until, iterations_max, on_limit, .. } = &workflow.node(self.state.instance(ix).node).kind
        else {
            return;
        };
        let (status, reason) = self.list_end(ix);
        if status != Status::Succeeded {
            return self.end(ix, status, reason);
        }
        let Some(frame) = self.state.instance(ix).frames.last().copied() else { return };
        let iteration = self.state.frame(frame).index;
        match self.state.eval_in(frame, &BTreeMap::new(), until).map(|value| value.as_bool()) {
            Ok(Some(true)) => self.end(ix, Status::Succeeded, None),
            Ok(Some(false)) if iteration >= *iterations_max => match on_limit {
                OnLimit::Accept => self.end(ix, Status::Succeeded, None),
                OnLimit::Fail => {
                    self.end(ix, Status::Failed, Some(Reason::Limit { iterations: *iterations_max }));
                }
            },
            Ok(Some(false)) => {
                let (status, reason) = self.unless_closed(ix, (Status::Failed, None));
                if status != Status::Failed {
                    return self.end(ix, status, reason);
                }
                if !self.state.is_held(ix) {
                    self.decide(Decision::FrameOpened { path: self.path(ix), index: iteration + 1 });
                }
            }
            Ok(None) => self.expression_failed(ix, "until", "is not true or false".to_owned()),
            Err(EvalError(why)) => self.expression_failed(ix, "until", why),
        }
    }

    /// A reducer or a teacher whose ask has ended.
    fn control_inner(&mut self, ix: Ix) {
        if !self.last_frame_done(ix) {
            return;
        }
        let inner = self.state.instance(ix).frames.last().map(|frame| self.state.frame(*frame).first);
        let Some(inner) = inner else { return };
        if self.state.instance(inner).status == Status::Succeeded {
            let value = self.state.instance(inner).value.clone();
            return self.end_kept(ix, Status::Succeeded, None, value, Amount::default());
        }
        let end = (Status::Failed, Some(Reason::Child { path: self.path(inner).to_string() }));
        let (status, reason) = self.unless_closed(ix, end);
        self.end(ix, status, reason);
    }
}

fn pause_cause(now: bool) -> SuspendCause {
    if now { SuspendCause::PausedNow } else { SuspendCause::Paused }
}

enum Needs {
    Met,
    Open,
    Unmet(Reason),
}

fn frame_children(state: &RunState, frame: FrameIx) -> impl Iterator<Item = Ix> + use<> {
    state.frame(frame).children()
}
