//! The state of a run: the fold of its log. Instances and frames live in arenas; nothing here decides.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use wf_ir::node::Budget;
use wf_ir::{Digest, Kind, Node, NodeIx, Status, Value, Workflow};

use crate::amount::{Amount, Usage};
use crate::budget::Ledger;
use crate::effect::Phase;
use crate::plan::Plan;
use crate::record::{
    Checkpoint, CloseCause, Combined, Expansion, Metered, Outcome, Prepared, Reason, RunStarted, RunStatus, SEMANTICS,
    Success, SuspendCause, TimeMs, TimerId, ValueRef, Verified, WaitReason,
};

/// Position of an instance in the state's arena; instances are numbered in the order in which they came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ix(pub u32);

/// Position of a frame in the state's arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameIx(pub u32);

/// How far an instance has come; finer than its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not begun, or rewound to its beginning.
    Idle,
    /// `prepare` is in flight.
    Preparing,
    /// Prepared, not started.
    Prepared(Arc<Prepared>),
    /// `perform` is in flight.
    Performing(Arc<Prepared>),
    /// `perform` came back.
    Performed(Arc<Prepared>, Arc<Outcome>),
    /// `prepare`, `acquire`, `checkpoint` or `harvest` came back with a failure.
    Broken(Arc<Outcome>),
    /// `checkpoint` is in flight.
    Checkpointing(Arc<Success>),
    /// `checkpoint` came back.
    Checkpointed(Arc<Success>, Arc<Checkpoint>),
    /// Waits for a time before it is prepared again.
    Backoff,
    /// A gate that waits for a decision on this.
    Gate(Digest),
    /// A gate or wait that was answered.
    Answered(Answer),
    /// A `wait` for a duration.
    Sleeping,
    /// A `wait` for a signal.
    Listening,
    /// In doubt: waits for a person.
    Doubt,
    /// `acquire` is in flight.
    Acquiring,
    /// A control node whose children run.
    Open,
    /// `harvest` is in flight, or has come back.
    Harvesting,
    /// `combine` is in flight.
    Combining,
    /// `combine` came back.
    Combined(Arc<Combined>),
    /// Over.
    Done,
}

/// How a gate or wait was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Approved with this data, or signalled with this payload, or slept.
    Value(Arc<Value>),
    /// Rejected.
    Rejected {
        /// By whom.
        by: String,
    },
    /// Nobody answered in time.
    TimedOut,
}

/// The tree of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchTree {
    /// Where it began.
    pub base: String,
    /// Tree id of its beginning.
    pub base_tree: String,
    /// Its last checkpoint.
    pub head: String,
    /// Tree id of the last checkpoint.
    pub head_tree: String,
    /// How many checkpoints it has.
    pub checkpoints: u32,
    /// Whether the tree exists.
    pub held: bool,
    /// The leaf that works in it.
    pub holder: Option<Ix>,
    /// What the branch did as a whole.
    pub harvest: Option<Arc<Checkpoint>>,
}

/// A node in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its node.
    pub node: NodeIx,
    /// Its path.
    pub path: Arc<str>,
    /// The frame it stands in.
    pub frame: FrameIx,
    /// Where it stands.
    pub status: Status,
    /// What holds it up.
    pub waiting: Option<WaitReason>,
    /// How far it has come.
    pub stage: Stage,
    /// The attempt that runs, or the next one, from 1.
    pub attempt: u32,
    /// The last attempt that was started, and so is a task; 0 before the first.
    pub attempt_started: u32,
    /// Repeats of effects.
    pub generation: u32,
    /// The effect in flight.
    pub flight: Option<Phase>,
    /// Whether that effect was asked to end.
    pub cancel_ordered: bool,
    /// What it holds back of every enclosing budget.
    pub reserved: Amount,
    /// Whose ceiling, and which, was in the way of more budget for the attempt in flight.
    pub(crate) refused: Option<(Arc<str>, String)>,
    /// What its attempts reported.
    pub used: Usage,
    /// Why it ended as it did.
    pub reason: Option<Reason>,
    /// A leaf's value, or what a reducer computed.
    pub value: Option<ValueRef>,
    /// Frames of a control node, in the order in which they opened.
    pub frames: Vec<FrameIx>,
    /// How many of its frames have children that have not ended.
    pub open_frames: u32,
    /// How many of its frames ended with a success and no failure.
    pub ok_frames: u32,
    /// How many of its frames have a child that ended badly.
    pub bad_frames: u32,
    /// Of an `expand`.
    pub expansion: Option<Expansion>,
    /// Of an `expand`: the elements that agents in it added, after those of its list.
    pub added: Vec<Added>,
    /// Of a `cond`.
    pub side: Option<bool>,
    /// Why its subtree was closed.
    pub closing: Option<CloseCause>,
    /// Of a branch that works in a tree.
    pub tree: Option<Box<BranchTree>>,
    /// Tree id that a leaf saw.
    pub saw_tree: Option<Arc<str>>,
    /// Of a leaf that wrote.
    pub wrote: bool,
    /// What makes its question the same as another.
    pub memo_key: Option<Digest>,
    /// What was wrong with the attempt before.
    pub feedback: Option<Arc<str>>,
    /// What it was told while it worked.
    pub steers: Vec<Arc<str>>,
    /// How often in a row whoever performed its effect died of it, or at least with it.
    pub deaths: u32,
    /// When it began.
    pub started_at: Option<TimeMs>,
    /// When it ended.
    pub ended_at: Option<TimeMs>,
}

/// An element that an agent added to the list it works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its name in paths: that of the element whose agent added it, a dot, and a number from 0.
    pub name: Arc<str>,
    /// What it is.
    pub value: Arc<Value>,
}

/// One pass over a list of children: the root's, an iteration, an element, the two sides of one match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The control node; none for the root.
    pub owner: Option<Ix>,
    /// Its number.
    pub index: u32,
    /// Its name in paths, where that is not its number: of elements that were added.
    pub name: Option<Arc<str>>,
    /// Its first child; the others follow.
    pub first: Ix,
    /// How many children.
    pub len: u32,
    /// In an ordered list: the first child that has not ended.
    pub cursor: u32,
    /// Children that have not ended.
    pub open: u32,
    /// Children that have begun and not ended.
    pub active: u32,
    /// Children that succeeded.
    pub ok: u32,
    /// The first child that ended badly.
    pub failed: Option<Ix>,
}

impl Frame {
    /// Whether all its children have ended.
    pub fn is_done(&self) -> bool {
        self.open == 0
    }

    /// Whether it ended with a success and no failure.
    pub fn is_ok(&self) -> bool {
        self.is_done() && self.failed.is_none() && self.ok > 0
    }

    /// Its place among its siblings, whoever was faster: added elements come after the one that led to them.
    pub fn place(&self) -> Vec<u32> {
        match &self.name {
            Some(name) => name.split('.').filter_map(|part| part.parse().ok()).collect(),
            None => vec![self.index],
        }
    }

    /// Its children.
    pub fn children(&self) -> impl Iterator<Item = Ix> + use<> {
        (self.first.0..self.first.0 + self.len).map(Ix)
    }
}

/// Look-ups that can be made again from the state; not part of it.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// Values of nodes that have ended, with their size in bytes.
    pub(crate) values: HashMap<Ix, (Arc<Value>, usize)>,
    /// Lists that `expand` nodes go through.
    pub(crate) lists: HashMap<Ix, Arc<Value>>,
    /// Instances that wait for another's end, by that other.
    pub(crate) waiters: HashMap<Ix, BTreeSet<Ix>>,
    /// Children of parallels that could begin but for the width.
    pub(crate) eligible: HashMap<FrameIx, BTreeSet<Ix>>,
    /// What the templates of leaves that have begun read.
    pub(crate) contexts: HashMap<Ix, Arc<BTreeMap<String, Arc<Value>>>>,
    /// Permission digests by node.
    pub(crate) permissions: HashMap<NodeIx, Digest>,
    /// The `inputs` map as expressions and as templates see it.
    pub(crate) inputs: Option<(Arc<Value>, Arc<Value>)>,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// How.
    pub status: RunStatus,
    /// What its tests say.
    pub verified: Verified,
    /// What it returns.
    pub outputs: ValueRef,
    /// Digest of what it did.
    pub result_digest: Digest,
    /// When.
    pub at: TimeMs,
}

/// A run, folded from its log.
#[derive(Debug)]
pub struct RunState {
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) started: Option<Arc<RunStarted>>,
    pub(crate) started_at: TimeMs,
    pub(crate) instances: Vec<Instance>,
    pub(crate) paths: HashMap<Arc<str>, Ix>,
    pub(crate) frames: Vec<Frame>,
    /// Instances that have begun and not ended.
    pub(crate) live: BTreeSet<Ix>,
    /// Instances with an effect in flight.
    pub(crate) in_flight: BTreeSet<Ix>,
    /// Leaves held up by a budget that others have reserved, or that ran out.
    pub(crate) budget_waiters: BTreeSet<Ix>,
    /// Attempts in flight that wait for more budget, and what they want.
    pub(crate) topups: BTreeMap<Ix, Metered>,
    /// Leaves held up by another leaf in their branch's tree.
    pub(crate) tree_waiters: BTreeMap<Ix, BTreeSet<Ix>>,
    pub(crate) ledger: Ledger,
    pub(crate) ledgers: BTreeMap<Ix, Ledger>,
    pub(crate) timers: BTreeMap<TimerId, TimeMs>,
    pub(crate) due: BTreeSet<(TimeMs, TimerId)>,
    pub(crate) signals: BTreeMap<String, VecDeque<Arc<Value>>>,
    pub(crate) suspended: Option<(SuspendCause, TimeMs)>,
    /// Instances that somebody paused: whether what was in flight was to end, and since when.
    pub(crate) paused: BTreeMap<Ix, (bool, TimeMs)>,
    /// Effects that were claimed by somebody who is gone, and that nobody has taken up again.
    pub(crate) stranded: BTreeSet<Ix>,
    /// How often in a row its owner died before it had taken anything in.
    pub(crate) deaths: u32,
    pub(crate) closing: Option<CloseCause>,
    pub(crate) end: Option<RunEnd>,
    pub(crate) used: Usage,
    pub(crate) ended_leaves: BTreeMap<Status, u64>,
    /// Leaf instances that exist.
    pub(crate) leaves_known: u64,
    pub(crate) hydrated: HashMap<Digest, Arc<Value>>,
    pub(crate) records: u64,
    /// When the last input was taken in.
    pub(crate) now: TimeMs,
    pub(crate) cache: Cache,
}

impl RunState {
    /// A run before its first record.
    pub fn new(workflow: Arc<Workflow>) -> Self {
        let plan = Arc::new(Plan::new(&workflow));
        Self {
            workflow,
            plan,
            started: None,
            started_at: 0,
            instances: Vec::new(),
            paths: HashMap::new(),
            frames: Vec::new(),
            live: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            budget_waiters: BTreeSet::new(),
            topups: BTreeMap::new(),
            tree_waiters: BTreeMap::new(),
            ledger: Ledger::default(),
            ledgers: BTreeMap::new(),
            timers: BTreeMap::new(),
            due: BTreeSet::new(),
            signals: BTreeMap::new(),
            suspended: None,
            paused: BTreeMap::new(),
            stranded: BTreeSet::new(),
            deaths: 0,
            closing: None,
            end: None,
            used: Usage::default(),
            ended_leaves: BTreeMap::new(),
            leaves_known: 0,
            hydrated: HashMap::new(),
            records: 0,
            now: 0,
            cache: Cache::default(),
        }
    }

    /// How soon a leaf should have its turn among others that are ready: higher goes first.
    pub fn priority(&self, ix: Ix) -> u32 {
        self.plan.height(self.instance(ix).node)
    }

    /// The workflow.
    pub fn workflow(&self) -> &Arc<Workflow> {
        &self.workflow
    }

    /// The first record, once there is one.
    pub fn started(&self) -> Option<&Arc<RunStarted>> {
        self.started.as_ref()
    }

    /// When the run began.
    pub fn started_at(&self) -> TimeMs {
        self.started_at
    }

    /// All instances, in the order in which they came to be.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// All frames, in the order in which they opened.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The decision version of the kernel that began the run; this one's before it began.
    pub(crate) fn semantics(&self) -> u32 {
        self.started.as_ref().map_or(SEMANTICS, |started| started.semantics)
    }

    /// Instances that have begun and not ended.
    pub fn live(&self) -> impl Iterator<Item = &Instance> {
        self.live.iter().map(|ix| self.instance(*ix))
    }

    /// One instance.
    pub fn instance(&self, ix: Ix) -> &Instance {
        &self.instances[ix.0 as usize]
    }

    /// One frame.
    pub fn frame(&self, ix: FrameIx) -> &Frame {
        &self.frames[ix.0 as usize]
    }

    /// The instance at a path.
    pub fn at_path(&self, path: &str) -> Option<Ix> {
        self.paths.get(path).copied()
    }

    /// How the run ended, if it has.
    pub fn end(&self) -> Option<&RunEnd> {
        self.end.as_ref()
    }

    /// The run's own budget.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Budgets of nodes that have one.
    pub fn ledgers(&self) -> impl Iterator<Item = (&Instance, &Ledger)> {
        self.ledgers.iter().map(|(ix, ledger)| (self.instance(*ix), ledger))
    }

    /// What all attempts reported.
    pub fn used(&self) -> Usage {
        self.used
    }

    /// Leaf instances that have ended, by status.
    pub fn ended_leaves(&self) -> &BTreeMap<Status, u64> {
        &self.ended_leaves
    }

    /// Records folded so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Where the run stands.
    pub fn status(&self) -> RunStatus {
        if let Some(end) = &self.end {
            return end.status;
        }
        match (self.closing, &self.suspended) {
            (Some(_), _) => RunStatus::Cancelling,
            (None, Some((SuspendCause::Paused | SuspendCause::PausedNow, _))) => RunStatus::Paused,
            (None, Some((SuspendCause::Poisoned, _))) => RunStatus::Poisoned,
            (None, Some((SuspendCause::Budget, _)) | None) => {
                let for_people = self.waits_for_people() || !self.paused.is_empty();
                let waits = self.in_flight.is_empty() && !self.live.is_empty() && for_people;
                if waits { RunStatus::Waiting } else { RunStatus::Running }
            }
        }
    }

    /// Whether something waits for a decision, a signal, or a person's word on an attempt in doubt.
    pub fn waits_for_people(&self) -> bool {
        self.live.iter().any(|ix| matches!(self.instance(*ix).stage, Stage::Gate(_) | Stage::Listening | Stage::Doubt))
    }

    /// The next time that the run waits for, unless its clocks are stopped.
    pub fn next_timer(&self) -> Option<(TimeMs, &TimerId)> {
        if self.suspended.is_some() || self.end.is_some() {
            return None;
        }
        let mut due = self.due.iter();
        let next = match self.paused.is_empty() {
            true => due.next(),
            false => due.find(|(_, id)| !self.at_path(&id.subject).is_some_and(|ix| self.is_held(ix))),
        };
        next.map(|(at, id)| (*at, id))
    }

    /// Whether only people can move the run: everything in it waits for them and no time limit of theirs has passed at
    /// `now`, or somebody paused it. What is in flight is not looked at.
    pub fn only_people_can_move(&self, now: TimeMs) -> bool {
        if self.next_timer().is_some_and(|(at, _)| at <= now) {
            return false;
        }
        if matches!(self.status(), RunStatus::Paused | RunStatus::Poisoned) {
            return true;
        }
        let waits = |ix: &Ix| matches!(self.instance(*ix).stage, Stage::Gate(_) | Stage::Listening | Stage::Doubt);
        let mut leaves = self.live.iter().filter(|ix| self.kind(**ix).is_leaf()).peekable();
        let are_leaves_still = leaves.peek().is_some() || !self.paused.is_empty();
        are_leaves_still && leaves.all(|ix| waits(ix) || self.is_held(*ix))
    }

    /// The instances that somebody paused.
    pub fn paused(&self) -> impl Iterator<Item = &Instance> {
        self.paused.keys().map(|ix| self.instance(*ix))
    }

    /// Whether nothing new may be ordered for an instance until somebody resumes it or the run.
    pub fn is_held(&self, ix: Ix) -> bool {
        self.suspended.is_some() || self.paused_around(ix).is_some()
    }

    /// The innermost pause around an instance: what was paused, whether what was in flight was to end, since when.
    pub(crate) fn paused_around(&self, ix: Ix) -> Option<(Ix, bool, TimeMs)> {
        if self.paused.is_empty() {
            return None;
        }
        let paused = |at: Ix| self.paused.get(&at).map(|(now, since)| (at, *now, *since));
        paused(ix).or_else(|| self.ancestors(ix).find_map(paused))
    }

    /// Gives the state a value that records name by digest only. The shell does so before every step and fold whose
    /// record names one, in the same way on step, resume and replay.
    pub fn hydrate(&mut self, digest: Digest, value: Arc<Value>) {
        self.hydrated.insert(digest, value);
    }

    /// Whether two states are the same, look-ups apart.
    pub fn same_as(&self, other: &Self) -> bool {
        self.difference(other).is_none()
    }

    /// The first part in which two states differ.
    pub fn difference(&self, other: &Self) -> Option<String> {
        for (a, b) in self.instances.iter().zip(&other.instances) {
            if a != b {
                return Some(format!("instance {a:#?}\n{b:#?}"));
            }
        }
        for (a, b) in self.frames.iter().zip(&other.frames) {
            if a != b {
                return Some(format!("frame {a:#?}\n{b:#?}"));
            }
        }
        let checks = [
            ("started", self.started == other.started && self.started_at == other.started_at),
            ("instances", self.instances.len() == other.instances.len()),
            ("frames", self.frames.len() == other.frames.len()),
            ("live", self.live == other.live),
            ("in_flight", self.in_flight == other.in_flight),
            ("waiters", self.budget_waiters == other.budget_waiters && self.tree_waiters == other.tree_waiters),
            ("topups", self.topups == other.topups),
            ("ledgers", self.ledger == other.ledger && self.ledgers == other.ledgers),
            ("timers", self.timers == other.timers && self.due == other.due),
            ("signals", self.signals == other.signals),
            ("suspended", self.suspended == other.suspended && self.closing == other.closing),
            ("paused", self.paused == other.paused),
            ("deaths", self.stranded == other.stranded && self.deaths == other.deaths),
            ("end", self.end == other.end),
            (
                "used",
                self.used == other.used
                    && self.ended_leaves == other.ended_leaves
                    && self.leaves_known == other.leaves_known,
            ),
            ("records", self.records == other.records),
        ];
        checks.iter().find(|(_, same)| !same).map(|(name, _)| (*name).to_owned())
    }

    pub(crate) fn node(&self, ix: Ix) -> &Node {
        self.workflow.node(self.instance(ix).node)
    }

    pub(crate) fn kind(&self, ix: Ix) -> &Kind {
        &self.node(ix).kind
    }

    pub(crate) fn instance_mut(&mut self, ix: Ix) -> &mut Instance {
        &mut self.instances[ix.0 as usize]
    }

    pub(crate) fn frame_mut(&mut self, ix: FrameIx) -> &mut Frame {
        &mut self.frames[ix.0 as usize]
    }

    /// The control node around an instance.
    pub(crate) fn parent(&self, ix: Ix) -> Option<Ix> {
        self.frame(self.instance(ix).frame).owner
    }

    /// The control nodes around an instance, innermost first.
    pub(crate) fn ancestors(&self, ix: Ix) -> impl Iterator<Item = Ix> + '_ {
        std::iter::successors(self.parent(ix), |at| self.parent(*at))
    }

    /// The innermost branch around an instance whose tree it works in.
    pub(crate) fn branch_of(&self, ix: Ix) -> Option<Ix> {
        self.ancestors(ix).find(|at| matches!(self.kind(*at), Kind::Branch { .. }))
    }

    /// Why nothing new may begin at an instance, if so: it or a node around it was closed.
    pub(crate) fn closing_at(&self, ix: Ix) -> Option<CloseCause> {
        self.instance(ix)
            .closing
            .or_else(|| self.ancestors(ix).find_map(|at| self.instance(at).closing))
            .or(self.closing)
    }

    /// The budgets that an instance counts against, innermost first; the run's own is not among them.
    pub(crate) fn ledgers_of(&self, ix: Ix) -> Vec<Ix> {
        std::iter::once(ix).chain(self.ancestors(ix)).filter(|at| self.ledgers.contains_key(at)).collect()
    }

    /// The innermost loop iteration around an instance, from 1; 0 outside of loops.
    pub(crate) fn iteration_of(&self, ix: Ix) -> u32 {
        let mut frame = self.instance(ix).frame;
        loop {
            let Some(owner) = self.frame(frame).owner else { return 0 };
            if matches!(self.kind(owner), Kind::LoopUntil { .. }) {
                return self.frame(frame).index;
            }
            frame = self.instance(owner).frame;
        }
    }

    /// All loop iterations around an instance, innermost first.
    pub(crate) fn iterations_of(&self, ix: Ix) -> Vec<u32> {
        let mut all = Vec::new();
        let mut frame = self.instance(ix).frame;
        while let Some(owner) = self.frame(frame).owner {
            if matches!(self.kind(owner), Kind::LoopUntil { .. }) {
                all.push(self.frame(frame).index);
            }
            frame = self.instance(owner).frame;
        }
        all
    }

    /// The ceilings of a node, if it has any.
    pub(crate) fn node_budget(&self, ix: Ix) -> Option<Budget> {
        let budget = self.node(ix).budget;
        (budget != Budget::default()).then_some(budget)
    }

    /// The instance of a node that is in scope at `from`: a child of a frame around it.
    pub(crate) fn resolve(&self, from: FrameIx, node: NodeIx) -> Option<Ix> {
        let parent = self.workflow.node(node).parent;
        let mut at = from;
        loop {
            let frame = self.frame(at);
            let owner_node = frame.owner.map(|owner| self.instance(owner).node);
            if owner_node == parent {
                let ix = Ix(frame.first.0 + self.plan.position(node));
                let inside = self.plan.position(node) < frame.len && self.instance(ix).node == node;
                return inside.then_some(ix);
            }
            at = self.instance(frame.owner?).frame;
        }
    }
}
