//! The fold of a log to what views need: the kernel's own state, and beside it what the state drops.

use std::collections::BTreeMap;
use std::sync::Arc;

use wf_ir::limits::FAN_OUT_MAX;
use wf_ir::{Digest, Kind, Node, Value, Workflow};
use wf_kernel::record::{
    Checkpoint, Command, Decision, EffectOutcome, InputBody, Outcome, Prepared, Record, TimeMs, ValueRef,
};
use wf_kernel::state::{FrameIx, Instance};
use wf_kernel::{Amount, Input, Ix, Phase, RunState, Usage};

/// The most commands of people that are kept for reports; later ones still count in the state.
pub const COMMANDS_KEPT_MAX: usize = 1_000;
/// The most attempts kept for one instance; a provider that throttles for days must not fill the memory.
pub const ATTEMPTS_KEPT_MAX: usize = 100;

/// How much of a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Also the requests that leaves were prepared with.
    Everything,
    /// Requests of gates only: for lists and live views of large runs.
    Lean,
}

/// A record that does not fit the ones before it: the log is damaged, or was not written by this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldError {
    /// The record.
    pub seq: u64,
    /// What does not fit.
    pub detail: String,
}

impl std::fmt::Display for FoldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "record {} does not fit the ones before it: {}", self.seq, self.detail)
    }
}

impl std::error::Error for FoldError {}

/// A log folded to what views need.
#[derive(Debug)]
pub struct RunFold {
    state: RunState,
    keep: Keep,
    seq: u64,
    details: Vec<Detail>,
    commands: Vec<CommandNote>,
    rescued: Vec<Rescued>,
    values: BTreeMap<Digest, Arc<Value>>,
    adoptions: u64,
    refused: u64,
    /// Why the run was parked, if it was.
    parked: Option<String>,
}

/// What is known of an instance beside its state.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// The last record about it.
    pub seq: u64,
    /// What it was prepared with last, and the record that says so.
    pub request: Option<(u64, Arc<Prepared>)>,
    /// The role as resolved; kept where the request is not.
    pub role: Option<Arc<Value>>,
    /// Its attempts, oldest first, at most [`ATTEMPTS_KEPT_MAX`] of them.
    pub attempts: Vec<Attempt>,
    /// How many attempts counted.
    pub attempts_counted: u32,
    /// Number of the last attempt that was counted.
    last_number: u32,
    /// Full outputs and other evidence, by blob.
    pub artifacts: BTreeMap<String, Digest>,
    /// What its last failure left to look at.
    pub evidence: Option<ValueRef>,
    /// Of a leaf that wrote: what its tree held after it. Of a branch: what it did as a whole.
    pub checkpoint: Option<Arc<Checkpoint>>,
    /// What its provider charged beyond what was reserved.
    pub overrun: Amount,
    /// The digest that a decision of this gate names, and when it opened.
    pub gate: Option<(Digest, TimeMs)>,
    /// Who decided it, and how.
    pub decided: Option<(String, bool)>,
}

/// One try of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counts from 1; repeats that do not count have the same number.
    pub number: u32,
    /// The record that began it.
    pub seq: u64,
    /// When it began.
    pub started_at: TimeMs,
    /// When its outcome was taken in.
    pub ended_at: Option<TimeMs>,
    /// How it ended: `succeeded`, `timed_out`, `cancelled`, `throttled`, `lost`, or a failure's code.
    pub outcome: Option<Arc<str>>,
    /// What went wrong.
    pub message: Option<Arc<str>>,
    /// What it used.
    pub usage: Usage,
}

/// Something that a person wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandNote {
    /// The record.
    pub seq: u64,
    /// When.
    pub at: TimeMs,
    /// `cancel`, `pause`, `resume`, `approve`, `reject`, `signal`, `retry`.
    pub verb: &'static str,
    /// Who.
    pub by: String,
    /// The instance, or the signal's name.
    pub subject: Option<String>,
    /// Why it was refused, if it was.
    pub refused: Option<String>,
}

/// Unsaved work that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rescued {
    /// The leaf or branch.
    pub path: Arc<str>,
    /// The ref.
    pub name: String,
}

impl RunFold {
    /// A fold of a run of `workflow` before its first record.
    pub fn new(workflow: Arc<Workflow>, keep: Keep) -> Self {
        Self {
            state: RunState::new(workflow),
            keep,
            seq: 0,
            details: Vec::new(),
            commands: Vec::new(),
            rescued: Vec::new(),
            values: BTreeMap::new(),
            adoptions: 0,
            parked: None,
            refused: 0,
        }
    }

    /// A fold that begins where `state` stands, without what views know beside it: enough for the summary of a run.
    pub fn of_state(state: RunState) -> Self {
        let mut fold = Self::new(state.workflow().clone(), Keep::Lean);
        fold.details.resize_with(state.instances().len(), Detail::default);
        fold.seq = state.records();
        fold.state = state;
        fold
    }

    /// Folds the next record.
    ///
    /// # Errors
    /// When it cannot follow the ones before it.
    pub fn push(&mut self, seq: u64, record: &Record) -> Result<(), FoldError> {
        if let Record::Decision(decision) = record {
            self.check(decision).map_err(|detail| FoldError { seq, detail })?;
        }
        self.seq = seq;
        // An outcome belongs to the attempt in flight only as long as the state has not taken it in.
        let taken = match record {
            Record::Input(Input { body: InputBody::Outcome(it), .. }) => self.in_flight(it),
            _ => None,
        };
        self.state.apply(record);
        self.details.resize_with(self.state.instances().len(), Detail::default);
        match record {
            Record::Input(input) => match &input.body {
                InputBody::Outcome(EffectOutcome { effect, outcome }) => {
                    if let Some(ix) = taken {
                        self.take_outcome(ix, effect.phase, outcome, input.at);
                    }
                }
                InputBody::Command(command) => self.take_command(command, input.at),
                InputBody::Adopted(_) => self.adoptions += 1,
                InputBody::RunStarted(_)
                | InputBody::TimerFired(_)
                | InputBody::WorkerLost(_)
                | InputBody::Metered(_) => {}
            },
            Record::Decision(decision) => self.take_decision(decision),
        }
        Ok(())
    }

    /// Gives the fold a value that records name by digest only, so that views show it.
    pub fn hydrate(&mut self, digest: Digest, value: Arc<Value>) {
        self.values.insert(digest, value);
    }

    /// The kernel's state.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// The workflow.
    pub fn workflow(&self) -> &Arc<Workflow> {
        self.state.workflow()
    }

    /// The last record.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// What is known of an instance beside its state.
    pub fn detail(&self, ix: Ix) -> &Detail {
        &self.details[ix.0 as usize]
    }

    /// The node of an instance.
    pub fn node(&self, instance: &Instance) -> &Node {
        self.workflow().node(instance.node)
    }

    /// What people wanted of the run, oldest first.
    pub fn commands(&self) -> &[CommandNote] {
        &self.commands
    }

    /// Unsaved work that was kept, oldest first.
    pub fn rescued(&self) -> &[Rescued] {
        &self.rescued
    }

    /// Why the run was parked, if it was.
    pub fn parked(&self) -> Option<&str> {
        self.parked.as_deref()
    }

    /// How often a new owner took the run over.
    pub fn adoptions(&self) -> u64 {
        self.adoptions
    }

    /// How many inputs were refused.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The value behind a reference, unless it is a blob that was not given.
    pub fn value(&self, value: &ValueRef) -> Option<Arc<Value>> {
        match value {
            ValueRef::Inline(value) => Some(value.clone()),
            ValueRef::Stored { digest, .. } => self.values.get(digest).cloned(),
        }
    }

    /// The blobs whose values views would show and that were not given yet: results, outputs, open gates.
    pub fn missing_values(&self) -> Vec<Digest> {
        let results = self.state.instances().iter().filter_map(|instance| instance.value.as_ref());
        let gates = self.details.iter().filter(|detail| detail.gate.is_some());
        let gates = gates.filter_map(|detail| detail.request.as_ref().map(|(_, prepared)| &prepared.request));
        let outputs = self.state.end().map(|end| &end.outputs);
        let stored = results.chain(gates).chain(outputs).filter_map(|value| match value {
            ValueRef::Stored { digest, .. } if !self.values.contains_key(digest) => Some(*digest),
            _ => None,
        });
        let mut missing: Vec<Digest> = stored.collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// All instances, each before what is inside it, in the order of the workflow, with how deep they lie.
    pub fn tree_order(&self) -> Vec<(Ix, usize)> {
        let mut order = Vec::with_capacity(self.state.instances().len());
        if self.state.frames().is_empty() {
            return order;
        }
        let mut stack: Vec<(Ix, usize)> = self.children_reversed(FrameIx(0), 0);
        while let Some((ix, depth)) = stack.pop() {
            order.push((ix, depth));
            for frame in self.state.instance(ix).frames.iter().rev() {
                stack.extend(self.children_reversed(*frame, depth + 1));
            }
        }
        order
    }

    fn children_reversed(&self, frame: FrameIx, depth: usize) -> Vec<(Ix, usize)> {
        let mut children: Vec<_> = self.state.frame(frame).children().map(|ix| (ix, depth)).collect();
        children.reverse();
        children
    }

    /// The control nodes around an instance, innermost first.
    pub fn ancestors(&self, ix: Ix) -> impl Iterator<Item = Ix> + '_ {
        let parent = |ix: Ix| self.state.frame(self.state.instance(ix).frame).owner;
        std::iter::successors(parent(ix), move |at| parent(*at))
    }

    // -- folding -------------------------------------------------------------------------------------------------

    /// What speaks against applying a decision: the state trusts its log, and this one may come from anywhere.
    fn check(&self, decision: &Decision) -> Result<(), String> {
        let exists = |path: &str| match self.state.at_path(path) {
            Some(ix) => Ok(ix),
            None => Err(format!("there is no instance {path}")),
        };
        match decision {
            Decision::Ended { path, .. } => {
                let ended = self.state.instance(exists(path)?).status.is_terminal();
                if ended { Err(format!("{path} has ended already")) } else { Ok(()) }
            }
            Decision::Opened { path, expansion, .. } => {
                let count = expansion.as_ref().map_or(0, |expansion| expansion.count);
                let fits = u64::from(count) <= FAN_OUT_MAX;
                if fits { exists(path).map(|_| ()) } else { Err(format!("{path} has {count} elements")) }
            }
            Decision::Closing { path, .. } if path.is_empty() => Ok(()),
            Decision::Grew { path, by, .. } => exists(path).and_then(|_| exists(by)).map(|_| ()),
            Decision::FrameOpened { path, .. }
            | Decision::Started { path, .. }
            | Decision::Waiting { path, .. }
            | Decision::RetryScheduled { path, .. }
            | Decision::Rewound { path, .. }
            | Decision::InDoubt { path, .. }
            | Decision::GateOpened { path, .. }
            | Decision::Overrun { path, .. }
            | Decision::ToppedUp { path, .. }
            | Decision::TopUpRefused { path, .. }
            | Decision::Closing { path, .. } => exists(path).map(|_| ()),
            Decision::Ordered { effect } | Decision::CancelOrdered { effect } => exists(&effect.subject).map(|_| ()),
            Decision::Reopened { paths } => paths.iter().try_for_each(|path| {
                let ended = self.state.instance(exists(path)?).status.is_terminal();
                if ended { Ok(()) } else { Err(format!("{path} has not ended")) }
            }),
            Decision::Suspended { path: Some(path), .. } | Decision::Resumed { path: Some(path), .. } => {
                exists(path).map(|_| ())
            }
            Decision::Suspended { path: None, .. }
            | Decision::Resumed { path: None, .. }
            | Decision::RunEnded { .. }
            | Decision::Refused { .. } => Ok(()),
        }
    }

    /// The instance whose effect in flight an outcome answers.
    fn in_flight(&self, it: &EffectOutcome) -> Option<Ix> {
        let ix = self.state.at_path(&it.effect.subject)?;
        let instance = self.state.instance(ix);
        let answers = instance.flight == Some(it.effect.phase) && instance.generation == it.effect.generation;
        answers.then_some(ix)
    }

    fn take_outcome(&mut self, ix: Ix, phase: Phase, outcome: &Outcome, at: TimeMs) {
        let (seq, keep) = (self.seq, self.keep);
        let instance = self.state.instance(ix);
        let (path, number) = (instance.path.clone(), instance.attempt);
        let is_gate = matches!(self.node(instance).kind, Kind::Approve(_));
        let detail = &mut self.details[ix.0 as usize];
        detail.seq = seq;
        if phase == Phase::Perform {
            detail.end_attempt(outcome, at);
        }
        let mut rescued = None;
        match outcome {
            Outcome::Prepared(prepared) => {
                detail.role = Some(prepared.role.clone());
                if keep == Keep::Everything || is_gate {
                    detail.request = Some((seq, Arc::new((**prepared).clone())));
                }
            }
            Outcome::Succeeded(success) => {
                detail.artifacts.clone_from(&success.artifacts);
                rescued.clone_from(&success.rescued);
            }
            Outcome::Failed(failure) => {
                if phase == Phase::Prepare {
                    detail.count(number);
                }
                detail.artifacts.clone_from(&failure.artifacts);
                detail.evidence.clone_from(&failure.evidence);
                rescued.clone_from(&failure.rescued);
            }
            Outcome::Checkpointed(checkpoint) => detail.checkpoint = Some(Arc::new((**checkpoint).clone())),
            Outcome::Combined(combined) => detail.checkpoint = Some(Arc::new(combined.checkpoint.clone())),
            Outcome::Released { rescued: found } => rescued.clone_from(found),
            Outcome::TimedOut { .. }
            | Outcome::Cancelled { .. }
            | Outcome::Throttled { .. }
            | Outcome::BudgetExceeded { .. }
            | Outcome::Acquired(_) => {}
        }
        self.rescued.extend(rescued.map(|name| Rescued { path, name }));
    }

    fn take_command(&mut self, command: &Command, at: TimeMs) {
        let (verb, by, subject) = match command {
            Command::Cancel { path, by } => ("cancel", by, path.clone()),
            Command::Pause { path, by, .. } => ("pause", by, path.clone()),
            Command::Resume { path, by, .. } => ("resume", by, path.clone()),
            Command::Steer { path, by, .. } => ("steer", by, Some(path.clone())),
            Command::Decide { path, approved, by, .. } => {
                (if *approved { "approve" } else { "reject" }, by, Some(path.clone()))
            }
            Command::Signal { name, by, .. } => ("signal", by, Some(name.clone())),
            Command::Retry { path, by } => ("retry", by, path.clone()),
        };
        if self.commands.len() < COMMANDS_KEPT_MAX {
            let by = by.clone();
            self.commands.push(CommandNote { seq: self.seq, at, verb, by, subject, refused: None });
        }
        if let Command::Decide { path, approved, by, .. } = command
            && let Some(ix) = self.state.at_path(path)
        {
            let detail = &mut self.details[ix.0 as usize];
            // The first decision wins; a refused one comes later.
            if detail.gate.is_some() && detail.decided.is_none() {
                detail.decided = Some((by.clone(), *approved));
            }
        }
    }

    fn take_decision(&mut self, decision: &Decision) {
        let at = self.state.now();
        match decision {
            Decision::Started { path, attempt, .. } => {
                let seq = self.seq;
                if let Some(detail) = self.detail_at(path) {
                    detail.count(*attempt);
                    detail.begin_attempt(*attempt, seq, at);
                }
            }
            Decision::GateOpened { path, digest } => {
                if let Some(detail) = self.detail_at(path) {
                    detail.gate = Some((*digest, at));
                    detail.decided = None;
                }
            }
            Decision::Rewound { path, .. } | Decision::InDoubt { path, .. } => {
                if let Some(detail) = self.detail_at(path) {
                    detail.lose_attempt(at);
                }
            }
            Decision::Overrun { path, excess } => {
                if let Some(detail) = self.detail_at(path) {
                    detail.overrun = detail.overrun.plus(*excess);
                }
            }
            Decision::Refused { code, .. } => {
                self.refused += 1;
                let seq = self.seq;
                if let Some(note) = self.commands.last_mut().filter(|note| note.seq + 1 == seq) {
                    note.refused = Some(code.clone());
                    let undone = note.subject.as_deref().and_then(|path| self.state.at_path(path));
                    self.forget_decision(undone);
                }
            }
            Decision::Reopened { paths } => {
                for path in paths {
                    if let Some(detail) = self.detail_at(path) {
                        detail.last_number = 0;
                        detail.gate = None;
                        detail.decided = None;
                    }
                }
            }
            Decision::Opened { path, .. }
            | Decision::Grew { path, .. }
            | Decision::FrameOpened { path, .. }
            | Decision::Waiting { path, .. }
            | Decision::RetryScheduled { path, .. }
            | Decision::Ended { path, .. }
            | Decision::ToppedUp { path, .. }
            | Decision::TopUpRefused { path, .. }
            | Decision::Closing { path, .. } => {
                self.detail_at(path);
            }
            Decision::Ordered { effect } | Decision::CancelOrdered { effect } => {
                self.detail_at(&effect.subject);
            }
            Decision::Suspended { reason: Some(reason), .. } => self.parked = Some(reason.clone()),
            Decision::Resumed { path: None, .. } => self.parked = None,
            Decision::Suspended { .. } | Decision::Resumed { .. } | Decision::RunEnded { .. } => {}
        }
    }

    /// A decision of a gate that still waits was refused.
    fn forget_decision(&mut self, ix: Option<Ix>) {
        if let Some(ix) = ix
            && matches!(self.state.instance(ix).stage, wf_kernel::Stage::Gate(_))
        {
            self.details[ix.0 as usize].decided = None;
        }
    }

    /// The detail of an instance that the current record is about.
    fn detail_at(&mut self, path: &str) -> Option<&mut Detail> {
        let ix = self.state.at_path(path)?;
        let detail = self.details.get_mut(ix.0 as usize)?;
        detail.seq = self.seq;
        Some(detail)
    }
}

impl Detail {
    fn count(&mut self, number: u32) {
        if number != self.last_number {
            self.attempts_counted += 1;
            self.last_number = number;
        }
    }

    fn begin_attempt(&mut self, number: u32, seq: u64, at: TimeMs) {
        if self.attempts.len() >= ATTEMPTS_KEPT_MAX {
            self.attempts.remove(0);
        }
        self.attempts.push(Attempt {
            number,
            seq,
            started_at: at,
            ended_at: None,
            outcome: None,
            message: None,
            usage: Usage::default(),
        });
    }

    fn end_attempt(&mut self, outcome: &Outcome, at: TimeMs) {
        let Some(attempt) = self.attempts.last_mut().filter(|attempt| attempt.ended_at.is_none()) else { return };
        attempt.ended_at = Some(at);
        let (word, message, usage): (Arc<str>, Option<&str>, Usage) = match outcome {
            Outcome::Succeeded(success) => ("succeeded".into(), None, success.usage),
            Outcome::Failed(failure) => (failure.code.as_str().into(), Some(&failure.message), failure.usage),
            Outcome::TimedOut { usage } => ("timed_out".into(), None, *usage),
            Outcome::Cancelled { usage } => ("cancelled".into(), None, *usage),
            Outcome::Throttled { usage, .. } => ("throttled".into(), None, *usage),
            Outcome::BudgetExceeded { usage, .. } => ("budget_exceeded".into(), None, *usage),
            Outcome::Prepared(_)
            | Outcome::Acquired(_)
            | Outcome::Checkpointed(_)
            | Outcome::Combined(_)
            | Outcome::Released { .. } => ("engine".into(), None, Usage::default()),
        };
        (attempt.outcome, attempt.message, attempt.usage) = (Some(word), message.map(Arc::from), usage);
    }

    /// The owner died, and nobody knows how the attempt ended.
    fn lose_attempt(&mut self, at: TimeMs) {
        if let Some(attempt) = self.attempts.last_mut().filter(|attempt| attempt.ended_at.is_none()) {
            attempt.ended_at = Some(at);
            attempt.outcome = Some("lost".into());
        }
    }
}
