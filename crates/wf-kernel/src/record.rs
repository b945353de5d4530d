//! The records of a log. The format is additive only: a variant or field once released keeps its meaning for ever,
//! and a golden file exists for each. Enums are tagged from outside and nothing is flattened, because numbers inside
//! buffered content would depend on serde_json's features.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wf_ir::node::Budget;
use wf_ir::{Digest, Status, Value};

use crate::amount::{Amount, Usage};
use crate::effect::{EffectId, Phase};

/// The kernel's decision version: replay is strict under it. A run keeps the one that it began under.
///
/// 2: a leaf counts against the width of its `parallel` as soon as it begins, and not only once it is prepared; a run that
/// is being cancelled is not parked.
pub const SEMANTICS: u32 = 2;
/// The oldest decision version that is still carried.
pub const SEMANTICS_MIN: u32 = 1;

/// Milliseconds since the Unix epoch, as the owner's clock gave them when an input was taken in.
pub type TimeMs = i64;

/// One immutable entry of a run's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Something the world told the run.
    Input(Input),
    /// Something `step` derived from the input before it.
    Decision(Decision),
}

impl Record {
    /// The JSON text of what it says; its time and whether it is an input stand beside it in the log.
    pub fn payload(&self) -> String {
        match self {
            Self::Input(input) => input.body.payload(),
            Self::Decision(decision) => decision.payload(),
        }
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// When the text is not that of a record this version knows.
    pub fn parse(is_input: bool, at: TimeMs, payload: &str) -> Result<Self, serde_json::Error> {
        Ok(match is_input {
            true => Self::Input(Input { at, body: serde_json::from_str(payload)? }),
            false => Self::Decision(serde_json::from_str(payload)?),
        })
    }
}

impl InputBody {
    /// Its JSON text.
    pub fn payload(&self) -> String {
        written(self)
    }
}

impl Decision {
    /// Its JSON text.
    pub fn payload(&self) -> String {
        written(self)
    }
}

fn written<T: Serialize>(record: &T) -> String {
    let text = serde_json::to_string(record);
    assert!(text.is_ok(), "a record is always writable as JSON");
    text.unwrap_or_default()
}

/// Something the world told the run, and when it was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// When it was taken in.
    pub at: TimeMs,
    /// What it says.
    pub body: InputBody,
}

/// What an input says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputBody {
    /// The first record of every log.
    RunStarted(Box<RunStarted>),
    /// What came back from an effect.
    Outcome(EffectOutcome),
    /// A time that the run waited for has come.
    TimerFired(TimerId),
    /// Somebody wants something.
    Command(Command),
    /// A new owner has taken the run over.
    Adopted(Adopted),
    /// A worker that had claimed tasks of the run is gone.
    WorkerLost(WorkerLost),
    /// An attempt in flight wants more budget held for it.
    Metered(Metered),
}

/// What an attempt in flight says of its budget, before it goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metered {
    /// The attempt's effect.
    pub effect: EffectId,
    /// Counts the attempt's questions, from 1, so that an answer finds its question.
    pub asked: u32,
    /// What it has used so far.
    pub spent: Amount,
    /// What it wants held for it from now on, what it has used included.
    pub total: Amount,
}

/// How a run began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStarted {
    /// [`SEMANTICS`] of the kernel that began it.
    pub semantics: u32,
    /// Its id, as text.
    pub run_id: String,
    /// Digest of the workflow's canonical form, which is kept as a blob.
    pub workflow: Digest,
    /// The workflow's name.
    pub workflow_name: String,
    /// Inputs by name, defaults filled in.
    pub inputs: BTreeMap<String, InputValue>,
    /// Seed of everything that looks random.
    pub seed: u64,
    /// Ceilings given for this run; they replace the workflow's own.
    pub budget: Budget,
    /// Where its trees begin.
    pub base: Option<Base>,
    /// What began it.
    pub origin: Origin,
    /// The run it is part of.
    pub parent: Option<String>,
    /// For people and filters.
    pub labels: BTreeMap<String, String>,
    /// The catalog of roles under which leaves are prepared (for the mock: its rules and seed).
    pub catalog: Digest,
    /// Whether commands run in a sandbox: `none` until there is one.
    pub sandbox: String,
    /// The root of the checkout whose trees it works in, for whoever resumes it on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// The blob of the mock's rules as they were written, so that a resumed run is answered as it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Digest>,
}

/// An input of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputValue {
    /// Its value.
    Plain(ValueRef),
    /// A keyed digest of it; the value is nowhere in the log.
    Sensitive(Digest),
}

/// The commit that trees begin at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The commit's id.
    pub commit: String,
    /// Its tree's id.
    pub tree: String,
    /// `commit`, `worktree` (a snapshot of the user's checkout) or `fixture`.
    pub source: String,
    /// The commit's own date. Checkpoints are dated from it and not from the clock, so that equal work has equal ids
    /// in every run, and prompts that show a commit stay the same question.
    pub at_ms: TimeMs,
}

/// What began a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A command line.
    CommandLine {
        /// The arguments, without values of sensitive inputs.
        args: Vec<String>,
    },
    /// A test or the bench.
    Test,
}

/// A value in a record: inline up to [`wf_ir::limits::INLINE_VALUE_BYTES_MAX`], else the blob of its JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueRef {
    /// The value itself.
    Inline(Arc<Value>),
    /// A blob of its canonical JSON.
    Stored {
        /// Which blob.
        digest: Digest,
        /// How many bytes.
        size: u64,
    },
}

impl ValueRef {
    /// Null.
    pub fn null() -> Self {
        Self::Inline(Arc::new(Value::Null))
    }

    /// The reference for `value`, and the text of the blob where it is too large to be inline.
    pub fn of(value: Arc<Value>) -> (Self, Option<String>) {
        let text = value.to_json();
        if text.len() <= wf_ir::limits::INLINE_VALUE_BYTES_MAX {
            return (Self::Inline(value), None);
        }
        (Self::Stored { digest: Digest::of(text.as_bytes()), size: text.len() as u64 }, Some(text))
    }

    /// The digest of the canonical JSON.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Inline(value) => Digest::of(value.to_json().as_bytes()),
            Self::Stored { digest, .. } => *digest,
        }
    }
}

/// What came back from an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectOutcome {
    /// Which effect.
    pub effect: EffectId,
    /// What came back.
    pub outcome: Outcome,
}

/// What came back, always as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Of `prepare`: everything the kernel needs before it starts a leaf.
    Prepared(Box<Prepared>),
    /// Of `perform`.
    Succeeded(Box<Success>),
    /// Of any phase: it did not work.
    Failed(Box<Failure>),
    /// Of `perform`: it took too long and was ended.
    TimedOut {
        /// What it used.
        usage: Usage,
    },
    /// Of `perform`: it was ended because that was asked for.
    Cancelled {
        /// What it used.
        usage: Usage,
    },
    /// Of `perform`: the provider wants to be left alone; uses no attempt.
    Throttled {
        /// For so long.
        retry_after_ms: u64,
        /// What it used.
        usage: Usage,
        /// What the provider did, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Of `perform`: it was not given the budget to go on.
    BudgetExceeded {
        /// What it used.
        usage: Usage,
        /// What it could hand back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partial: Option<ValueRef>,
    },
    /// Of `acquire`.
    Acquired(TreeAt),
    /// Of `checkpoint` and `harvest`.
    Checkpointed(Box<Checkpoint>),
    /// Of `combine`.
    Combined(Box<Combined>),
    /// Of `release`: the ref under which unsaved work was rescued, if there was any.
    Released {
        /// A full ref name.
        rescued: Option<String>,
    },
}

/// A commit and its tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeAt {
    /// The commit's id.
    pub commit: String,
    /// Its tree's id.
    pub tree: String,
}

/// What `prepare` found out. All that can change the answer is here, by digest or in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The role as resolved: `{provider, model, params…}`; null for leaves without a model.
    pub role: Arc<Value>,
    /// The rendered request: `{messages}`, `{argv, cwd, env}`, `{pattern}`, `{prompt, shows}`; a blob when large.
    pub request: ValueRef,
    /// The tree id of what it will see, where it works in a tree.
    pub tree: Option<String>,
    /// The most it can use before it asks for more; reserved before it starts.
    pub estimate: Amount,
    /// What its model costs, in micro-dollars per million tokens: `{input, output, cached…}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Arc<Value>>,
    /// Models that the role names before the one that it was resolved to, and why each was passed over. It changes no
    /// answer, and is no part of the memo key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
}

/// A model that was not asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// `provider/model`.
    pub model: String,
    /// For people.
    pub why: String,
}

/// A leaf that worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Success {
    /// Its value, which fits the output schema.
    pub value: ValueRef,
    /// What it used.
    pub usage: Usage,
    /// Full output or other evidence, by blob.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub artifacts: BTreeMap<String, Digest>,
    /// The ref under which unsaved work of an earlier attempt was rescued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescued: Option<String>,
    /// What an agent adds to the list of tasks that it works on. It counts once the attempt has succeeded, so that an
    /// attempt that is made again adds nothing twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Arc<Value>>,
}

/// The code of a checkpoint's failure when what the leaf had written went with the machine: the leaf begins again.
pub const TREE_LOST: &str = "tree_lost";

/// Something that did not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A short stable word: `exit`, `output_invalid`, `provider`, `template`, `git`, `out_of_scope`, …
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether another attempt could end differently.
    pub retryable: bool,
    /// What it used.
    pub usage: Usage,
    /// What it left to look at: exit code, tails of output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<ValueRef>,
    /// Full output, by blob.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub artifacts: BTreeMap<String, Digest>,
    /// The ref under which unsaved work of an earlier attempt was rescued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescued: Option<String>,
}

/// What a tree holds at a checkpoint, against where it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The commit it was compared with.
    pub base: String,
    /// The checkpoint's commit (the base itself when nothing changed).
    pub commit: String,
    /// Its tree's id.
    pub tree: String,
    /// Files that differ, in order.
    pub files: Vec<FileChange>,
    /// Of these, what no write scope covers; then nothing was committed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub out_of_scope: Vec<String>,
}

/// What a winner and chosen fruit of losers came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Combined {
    /// The whole line of work, from where the winner's branch began.
    pub checkpoint: Checkpoint,
    /// What was taken, in the order in which it was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<Taken>,
    /// What did not fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftOut>,
}

/// Fruit that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The candidate.
    pub path: String,
    /// Its files.
    pub files: Vec<String>,
}

/// Fruit that did not fit: none of it was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The candidate.
    pub path: String,
    /// The files in which it is in the way of what was there before it.
    pub files: Vec<String>,
    /// For people.
    pub why: String,
}

/// One file that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Path from the repository's root.
    pub path: String,
    /// `added`, `modified`, `deleted`, `mode`, `type`.
    pub change: String,
    /// Lines added; absent for binary files.
    pub insertions: Option<u64>,
    /// Lines removed; absent for binary files.
    pub deletions: Option<u64>,
}

/// A time that a run waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TimerId {
    /// The instance that waits; empty for the run itself.
    pub subject: Arc<str>,
    /// Its generation, which makes old timers recognisable.
    pub generation: u32,
    /// What for.
    pub purpose: TimerPurpose,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerPurpose {
    /// The pause before another attempt, or before a throttled provider is asked again.
    Backoff,
    /// A `wait` for a duration.
    Sleep,
    /// The timeout of a gate, a signal or a control node.
    Deadline,
    /// The run's or a node's ceiling on wall time.
    Wall,
}

/// Somebody wants something of a run. The shell puts them into the inbox; only the owner makes them records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// End the run, or one instance.
    Cancel {
        /// An instance; none is the run.
        path: Option<String>,
        /// Who asked.
        by: String,
    },
    /// Order nothing new.
    Pause {
        /// An instance; none is the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Also cancel what is in flight, without using an attempt.
        now: bool,
        /// Who asked.
        by: String,
    },
    /// Go on after a pause, an exhausted budget, or too many deaths of the process.
    Resume {
        /// An instance that was paused; none is the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Added to the run's ceilings.
        raise: Budget,
        /// Who asked.
        by: String,
    },
    /// Decide a gate.
    Decide {
        /// The gate.
        path: String,
        /// What the decision rested on ([`Decision::GateOpened`]); none means whatever is open.
        digest: Option<Digest>,
        /// Approved or rejected.
        approved: bool,
        /// The form's data.
        data: Value,
        /// Who decided.
        by: String,
    },
    /// A named signal.
    Signal {
        /// Its name.
        name: String,
        /// What it carries.
        payload: Value,
        /// Who sent it.
        by: String,
    },
    /// Tell an agent something while it works.
    Steer {
        /// The agent's instance.
        path: String,
        /// What it is told, at its next step.
        text: String,
        /// Who says it.
        by: String,
    },
    /// Try an instance again: one in doubt, one in its pause before another attempt; none is everything that failed in
    /// a run that has ended.
    Retry {
        /// The instance.
        path: Option<String>,
        /// Who asked.
        by: String,
    },
}

/// A new owner has taken the run over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Who.
    pub owner: String,
    /// Its epoch.
    pub epoch: u64,
    /// Effects that the old owner had claimed and that have no outcome.
    pub claimed: Vec<EffectId>,
    /// Whether the old owner went without letting go: its process died, or lost its lease.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub died: bool,
}

/// A worker that had claimed tasks of the run is gone: its lease ran out, or its process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerLost {
    /// Who.
    pub worker: String,
    /// What it had claimed and not reported.
    pub claimed: Vec<EffectId>,
}

/// Why an instance ended as it did, or was not begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// `when` was false.
    When,
    /// A need ended with a status that is not accepted.
    Need {
        /// The need.
        path: String,
        /// How it ended.
        status: Status,
    },
    /// An earlier sibling failed and the list stops there.
    Stopped {
        /// The sibling.
        path: String,
    },
    /// An enclosing node was closed.
    Closed {
        /// Why that was.
        cause: CloseCause,
    },
    /// No side of a `cond`, or no child, ran.
    NothingRan,
    /// Too few children succeeded.
    MinOk {
        /// How many did.
        ok: u32,
        /// How many must.
        min: u32,
    },
    /// A child failed.
    Child {
        /// The child.
        path: String,
    },
    /// The loop's bound was reached.
    Limit {
        /// The bound.
        iterations: u32,
    },
    /// An expression has no value.
    Expression {
        /// Which field.
        field: String,
        /// Why.
        message: String,
    },
    /// A leaf's failure.
    Failure {
        /// A short stable word.
        code: String,
        /// For people.
        message: String,
    },
    /// More elements than `max_children`.
    TooMany {
        /// How many there are.
        count: u64,
        /// How many may be.
        max: u64,
    },
    /// Nothing to fold, or nothing satisfied `require`.
    Empty,
    /// A ceiling was reached.
    Budget {
        /// Whose; empty is the run's.
        path: String,
        /// `tokens`, `cost`, `wall`, `leaves`.
        what: String,
    },
    /// A gate was rejected.
    Rejected {
        /// By whom.
        by: String,
    },
    /// Nobody answered in time.
    TimedOut,
}

/// Why a subtree was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseCause {
    /// Somebody cancelled it.
    Cancelled,
    /// Enough siblings succeeded.
    Enough,
    /// A sibling failed.
    Aborted,
    /// It took too long.
    TimedOut,
    /// Its budget ran out.
    Budget,
}

/// What an instance is held up by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// The pause before another attempt.
    Retry {
        /// Until when.
        until: TimeMs,
    },
    /// A provider that wants to be left alone, or does not answer.
    RateLimit {
        /// Until when.
        until: TimeMs,
        /// What it did, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// All trees that may exist at once are taken.
    TreePool {
        /// When to look again.
        until: TimeMs,
    },
    /// Another leaf works in the tree.
    Tree {
        /// That leaf.
        held_by: String,
    },
    /// Budget that others have reserved.
    Budget,
    /// A decision.
    Decision,
    /// A signal.
    Signal {
        /// Its name.
        name: String,
    },
    /// A time.
    Sleep {
        /// Until when.
        until: TimeMs,
    },
}

/// What `step` derived. Decisions carry what cannot be derived from the inputs and decisions before them by a fold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// A control node begins; an `expand` says how many elements it has, of which list, how many at once.
    Opened {
        /// The instance.
        path: Arc<str>,
        /// For `expand`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expansion: Option<Expansion>,
        /// For `cond`: the side that was chosen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        side: Option<bool>,
    },
    /// A frame of a control node begins: an iteration, an element, a match of judges.
    FrameOpened {
        /// The control node.
        path: Arc<str>,
        /// Counts from 1 for iterations and judges, from 0 for elements.
        index: u32,
    },
    /// The list of an `expand` grows by what an agent in it adds, which is in the agent's outcome.
    Grew {
        /// The `expand`.
        path: Arc<str>,
        /// The agent.
        by: Arc<str>,
        /// How many elements the list has now.
        count: u32,
        /// Digest of what was added.
        digest: Digest,
    },
    /// An effect other than `perform` is ordered.
    Ordered {
        /// Which.
        effect: EffectId,
    },
    /// A leaf attempt begins: its `perform` is ordered.
    Started {
        /// The leaf.
        path: Arc<str>,
        /// Counts from 1; only failures that count raise it.
        attempt: u32,
        /// Counts every repeat.
        generation: u32,
        /// Held back from every enclosing budget until it ends.
        reserved: Amount,
        /// What makes this question the same as another.
        memo_key: Digest,
    },
    /// The effect in flight is to be ended.
    CancelOrdered {
        /// Which.
        effect: EffectId,
    },
    /// An instance is held up.
    Waiting {
        /// The instance.
        path: Arc<str>,
        /// By what.
        reason: WaitReason,
    },
    /// A failed attempt is tried again.
    RetryScheduled {
        /// The leaf.
        path: Arc<str>,
        /// The next attempt.
        attempt: u32,
        /// When, at the earliest.
        not_before: TimeMs,
        /// Why.
        reason: Reason,
        /// What the failed attempt is charged.
        charged: Amount,
    },
    /// An attempt that ended without counting (throttled, interrupted) goes back to its beginning.
    Rewound {
        /// The leaf.
        path: Arc<str>,
        /// What it is charged.
        charged: Amount,
    },
    /// An effect that was claimed has no outcome: a person must decide.
    InDoubt {
        /// The instance.
        path: Arc<str>,
        /// What it is charged.
        charged: Amount,
    },
    /// A gate waits.
    GateOpened {
        /// The gate.
        path: Arc<str>,
        /// Digest of what the decision rests on.
        digest: Digest,
    },
    /// A subtree orders nothing more and ends.
    Closing {
        /// Its root; empty is the run.
        path: Arc<str>,
        /// Why.
        cause: CloseCause,
    },
    /// An instance ended. Leaves' values are in their outcomes, those of lists in their children; what a reducer
    /// computed is here.
    Ended {
        /// The instance.
        path: Arc<str>,
        /// How.
        status: Status,
        /// Why, when not well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
        /// What it computed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<ValueRef>,
        /// What the last attempt is charged.
        #[serde(default, skip_serializing_if = "Amount::is_zero")]
        charged: Amount,
    },
    /// A provider charged more than was reserved. While the attempt goes on, the excess is held for it as well.
    Overrun {
        /// The leaf.
        path: Arc<str>,
        /// So much more.
        excess: Amount,
    },
    /// More is held for an attempt in flight.
    ToppedUp {
        /// The leaf.
        path: Arc<str>,
        /// The question that this answers.
        asked: u32,
        /// What is held for it from now on.
        reserved: Amount,
    },
    /// No more is held for an attempt in flight: it is to hand back what it has.
    TopUpRefused {
        /// The leaf.
        path: Arc<str>,
        /// The question that this answers.
        asked: u32,
        /// Whose ceiling is in the way; empty is the run's.
        budget: Arc<str>,
        /// `tokens` or `cost`.
        what: String,
    },
    /// Nothing new is ordered until the run is resumed.
    Suspended {
        /// The instance below which nothing is ordered; none is the whole run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<Arc<str>>,
        /// Why.
        cause: SuspendCause,
        /// More about it, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The run goes on.
    Resumed {
        /// The instance that goes on; none is the whole run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<Arc<str>>,
        /// Added to its ceilings.
        raise: Budget,
    },
    /// A run that had ended goes on: what failed is tried again.
    Reopened {
        /// The instances that begin again.
        paths: Vec<Arc<str>>,
    },
    /// The run is over (resumably, when its budget ran out).
    RunEnded {
        /// How.
        status: RunStatus,
        /// What the engine's own tests say of the chosen line.
        verified: Verified,
        /// What the run returns.
        outputs: ValueRef,
        /// Digest of what it did, without order, times and attempts.
        result_digest: Digest,
    },
    /// The input is not legal in this state and changed nothing.
    Refused {
        /// Why, as a short stable word: `stale`, `already_resolved`, `unknown_instance`, `not_waiting`, `ended`, …
        code: String,
        /// For people.
        message: String,
    },
}

/// What an `expand` was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expansion {
    /// How many elements.
    pub count: u32,
    /// How many at once.
    pub width: u32,
    /// Digest of the list.
    pub digest: Digest,
}

/// Why nothing new is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuspendCause {
    /// Somebody paused the run.
    Paused,
    /// Somebody paused the run and wanted what is in flight to end.
    PausedNow,
    /// A ceiling of the run was reached.
    Budget,
    /// The run brought its process down too often.
    Poisoned,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Something can go on.
    Running,
    /// Only people or times are waited for.
    Waiting,
    /// Somebody paused it.
    Paused,
    /// It brought its process down too often, and waits for somebody to look.
    Poisoned,
    /// It is being ended.
    Cancelling,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Ended by a person.
    Cancelled,
    /// Stopped at a ceiling; can be resumed.
    BudgetExceeded,
}

impl RunStatus {
    /// Whether the run has ended (perhaps resumably).
    pub fn is_ended(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::BudgetExceeded => true,
            Self::Running | Self::Waiting | Self::Paused | Self::Poisoned | Self::Cancelling => false,
        }
    }

    /// The word used in records and views.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Poisoned => "poisoned",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::BudgetExceeded => "budget_exceeded",
        }
    }
}

/// What the engine's own tests say, from the last instance of every `test` on the chosen line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// All passed, and nothing was written after.
    Passed,
    /// One did not pass.
    Failed,
    /// No test says anything of the result.
    None,
}

impl Verified {
    /// The word used in records and views.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::None => "none",
        }
    }
}

/// A phase's name in effect ids, re-stated here for readers of logs.
pub const PHASES: [Phase; 7] =
    [Phase::Prepare, Phase::Perform, Phase::Acquire, Phase::Checkpoint, Phase::Harvest, Phase::Release, Phase::Combine];
