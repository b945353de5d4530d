//! The typed nodes of a validated workflow.
//!
//! A [`Workflow`] is an arena: nodes refer to each other by [`NodeIx`], parents come before their children, and every
//! name that an expression, a template or a `needs` uses has been resolved to a node that is in scope.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::draft::Span;
use crate::expr::Expr;
use crate::glob::Glob;
use crate::types::Type;
use crate::value::Value;

/// The newest version of the definition that this binary knows; older ones load for ever. A canonical form says the
/// lowest version that has everything it uses, so that a new field changes no hash of a definition without it.
pub const SCHEMA_VERSION: u32 = 2;

/// Names that no node may take: they mean something in every expression and template.
pub const RESERVED_NAMES: [&str; 5] = ["inputs", "iteration", "prev", "tree", "node"];

/// Position of a node in [`Workflow::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct NodeIx(pub u32);

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not yet possible.
    Pending,
    /// Possible, not begun.
    Ready,
    /// Begun.
    Running,
    /// Held up by something that has a name.
    Waiting,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Never begun, for a reason.
    Skipped,
    /// Ended by a person or by a sibling's success.
    Cancelled,
    /// Took too long.
    TimedOut,
    /// Could not be paid for.
    BudgetExceeded,
    /// Was under way when its owner died; a person must say what to do.
    InDoubt,
}

impl Status {
    /// Whether nothing more happens to an instance with this status.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Succeeded
            | Self::Failed
            | Self::Skipped
            | Self::Cancelled
            | Self::TimedOut
            | Self::BudgetExceeded => true,
            Self::Pending | Self::Ready | Self::Running | Self::Waiting | Self::InDoubt => false,
        }
    }

    /// The word used in sources, records and views.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::BudgetExceeded => "budget_exceeded",
            Self::InDoubt => "in_doubt",
        }
    }
}

/// A validated, immutable definition. Only [`crate::validate()`] makes one.
#[derive(Clone, Debug)]
pub struct Workflow {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) inputs: BTreeMap<String, InputDecl>,
    pub(crate) budget: Budget,
    pub(crate) permissions: Permissions,
    pub(crate) roles: BTreeMap<String, RoleOverride>,
    pub(crate) fixture: Option<String>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) children: Vec<NodeIx>,
    pub(crate) outputs: BTreeMap<String, Expr>,
    pub(crate) canonical: String,
    pub(crate) hash: Digest,
}

impl Workflow {
    /// Its name: `[a-z][a-z0-9_]*`.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// One sentence for people; may be empty.
    pub fn description(&self) -> &str {
        &self.description
    }
    /// What a run is given.
    pub fn inputs(&self) -> &BTreeMap<String, InputDecl> {
        &self.inputs
    }
    /// The ceiling on a whole run.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
    /// The outermost permissions.
    pub fn permissions(&self) -> &Permissions {
        &self.permissions
    }
    /// What this workflow asks of roles beyond their configuration.
    pub fn roles(&self) -> &BTreeMap<String, RoleOverride> {
        &self.roles
    }
    /// A directory beside the source that becomes a small repository, for examples and tests.
    pub fn fixture(&self) -> Option<&str> {
        self.fixture.as_deref()
    }
    /// All nodes; parents before children.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
    /// One node.
    pub fn node(&self, ix: NodeIx) -> &Node {
        &self.nodes[ix.0 as usize]
    }
    /// The nodes at the root, in order.
    pub fn children(&self) -> &[NodeIx] {
        &self.children
    }
    /// What a run returns; without any, a run returns its last child's value.
    pub fn outputs(&self) -> &BTreeMap<String, Expr> {
        &self.outputs
    }
    /// The canonical form: a JSON spelling of the workflow with explicit defaults and sorted keys. It holds everything
    /// (files that were named are in it as text), and validating it gives this workflow again.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }
    /// The digest of the canonical form.
    pub fn hash(&self) -> Digest {
        self.hash
    }
}

/// A declared input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputDecl {
    /// Its type.
    pub ty: Type,
    /// What it is when not given; `None` makes it required.
    pub default: Option<Value>,
    /// The log holds a keyed digest of it only, and expressions cannot read it.
    pub sensitive: bool,
    /// For people.
    pub description: String,
}

/// Ceilings; `None` is unlimited (the enclosing ceiling still holds).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Input and output tokens together.
    pub tokens: Option<u64>,
    /// Millionths of a US dollar.
    pub cost_usd_micros: Option<u64>,
    /// Milliseconds while the run is not paused.
    pub wall_ms: Option<u64>,
    /// Leaf instances begun.
    pub leaves: Option<u64>,
}

/// What a subtree may do; `None` leaves what the enclosing node allows. In a [`Node`] they are effective: already
/// narrowed by every enclosing node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Files that may be written.
    pub writes: Option<Vec<Glob>>,
    /// First words of the commands that may be run.
    pub commands: Option<Vec<String>>,
    /// Hosts that may be reached; none by default.
    pub network: Option<Vec<String>>,
    /// Tools an agent may use.
    pub tools: Option<Vec<String>>,
    /// Secrets that may be handed to a tool.
    pub secrets: Option<Vec<String>>,
}

/// What a workflow asks of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleOverride {
    /// Capabilities, e.g. `tools`, `json`.
    pub needs: Vec<String>,
    /// Parameters, e.g. `temperature`.
    pub params: BTreeMap<String, Value>,
}

/// A template (minijinja, strict) whose names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its source.
    pub source: String,
    /// The free names it uses, each of which is a reserved name, a variable of the node, or a node in scope.
    pub names: BTreeSet<String>,
    /// The nodes whose envelopes it uses as `node.x`.
    pub envelopes: BTreeSet<String>,
}

/// How failures are tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts_max: u32,
    /// Pause before the second attempt.
    pub backoff_ms: u64,
    /// Each pause is this many percent of the one before (200 doubles).
    pub backoff_percent: u32,
    /// Longest pause.
    pub backoff_max_ms: u64,
    /// Failure codes that count as worth another try; empty means all that are not final by nature.
    pub on: Vec<String>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts_max: 1, backoff_ms: 1_000, backoff_percent: 200, backoff_max_ms: 60_000, on: Vec::new() }
    }
}

/// Whether a leaf's answer may be remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoPolicy {
    /// By the nature of the leaf.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// One element of a workflow.
#[derive(Clone, Debug)]
pub struct Node {
    /// Unique among its siblings: `[a-z][a-z0-9_]*`.
    pub id: String,
    /// Its own position.
    pub ix: NodeIx,
    /// The enclosing node.
    pub parent: Option<NodeIx>,
    /// Ids from the root, joined by `/`, without indices.
    pub path: String,
    /// Where the source says it.
    pub span: Span,
    /// What it does.
    pub kind: Kind,
    /// Nodes whose end it waits for and whose values it may read: declared, and named by expressions and templates.
    pub needs: BTreeSet<NodeIx>,
    /// Nodes whose end it waits for, whatever it is: declared, and siblings in a `parallel` that something below it
    /// needs, so that it never holds a place that they wait for.
    pub after: BTreeSet<NodeIx>,
    /// Statuses of its needs that it can live with, beside succeeded.
    pub accept: BTreeSet<Status>,
    /// False skips it.
    pub when: Option<Expr>,
    /// Its own ceiling.
    pub budget: Budget,
    /// Effective permissions; what a leaf may write is what it says that it writes.
    pub permissions: Permissions,
    /// The role that does it (leaves; inherited from enclosing nodes).
    pub role: Option<String>,
    /// The most time one attempt may take.
    pub timeout_ms: Option<u64>,
    /// How failures are tried again (leaves).
    pub retry: Retry,
    /// The type of its value.
    pub ty: Type,
    /// Whether it, or something below it, writes into the tree of its enclosing branch; for a branch, whether
    /// something below it writes into its own tree.
    pub writes_tree: bool,
    /// For a leaf or branch that does not work in the tree of its enclosing branch: where its tree begins.
    pub tree: Option<TreeRef>,
}

/// `tree = "fix_a"` or `tree = "pick.winner"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeRef {
    /// Where this branch ended.
    Branch(NodeIx),
    /// Where the winner of this tournament ended.
    Winner(NodeIx),
}

/// What a node does. Children of control nodes are in list order.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are those of the node table in docs/authoring.md")]
pub enum Kind {
    Agent(Agent),
    Ask(Ask),
    Command(Command),
    Test(Test),
    Search(Search),
    Memory(Memory),
    Approve(Approve),
    Wait(Wait),
    Branch { children: Vec<NodeIx> },
    Parallel { children: Vec<NodeIx>, width: u32, min_ok: u32, keep: Keep, on_failure: OnFailure },
    Sequence { children: Vec<NodeIx>, on_failure: OnFailure },
    Reduce(Reduce),
    Pareto { candidates: Candidates, objectives: Vec<Objective>, max_items: u32 },
    Tournament(Tournament),
    LoopUntil { children: Vec<NodeIx>, until: Expr, iterations_max: u32, on_limit: OnLimit, samples: bool },
    Cond { condition: Expr, then: Vec<NodeIx>, otherwise: Vec<NodeIx> },
    Expand { children: Vec<NodeIx>, over: Expr, width: Expr, children_max: u32, min_ok: u32, on_failure: OnFailure },
    Call { workflow: String, inputs: BTreeMap<String, Expr> },
    Rlm { context: Expr, query: Template, depth_max: u32, calls_max: u32 },
    TeacherReview { of: BTreeSet<NodeIx>, policy: String, review: NodeIx },
}

/// An agent with tools works in a tree until it hands back a typed result.
#[derive(Clone, Debug)]
pub struct Agent {
    /// What it is told.
    pub prompt: Template,
    /// Values for the prompt, by name.
    pub vars: BTreeMap<String, Expr>,
    /// Files it may read (empty: all).
    pub reads: Vec<Glob>,
    /// Files it may write; empty is read-only.
    pub writes: Vec<Glob>,
    /// JSON Schema of its result; none is text.
    pub output: Option<Value>,
    /// Who drives it.
    pub driver: Driver,
    /// An earlier agent whose session it continues.
    pub resumes: Option<NodeIx>,
    /// How many elements one instance may add to the `expand` around it.
    pub tasks_max: u32,
    /// Files kept with the run though they are not part of the tree.
    pub artifacts: Vec<Glob>,
    /// Must hold of `output`; else it is asked again with the reason.
    pub ensure: Option<Expr>,
    /// Whether the answer may be remembered.
    pub memo: MemoPolicy,
}

/// Who drives an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// whaleflow's own tool loop (or the mock).
    #[default]
    Native,
    /// An agent that speaks the Agent Client Protocol.
    Acp,
    /// A headless command line.
    Cli,
}

impl Driver {
    /// Its name in sources.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Acp => "acp",
            Self::Cli => "cli",
        }
    }
}

/// One model call without tools.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What is asked.
    pub prompt: Template,
    /// Values for the prompt, by name.
    pub vars: BTreeMap<String, Expr>,
    /// JSON Schema of the answer; none is text.
    pub output: Option<Value>,
    /// Must hold of `output`; else it is asked again with the reason.
    pub ensure: Option<Expr>,
    /// Whether the answer may be remembered.
    pub memo: MemoPolicy,
    /// Declared sample number: distinct samples are distinct questions.
    pub sample: u32,
}

/// The engine itself runs an argv. Value: `{exit_code, stdout, stderr}` (tails).
#[derive(Clone, Debug)]
pub struct Command {
    /// Program and arguments; each is a template.
    pub argv: Vec<Template>,
    /// Values for the arguments, by name.
    pub vars: BTreeMap<String, Expr>,
    /// Directory inside the tree.
    pub cwd: String,
    /// Names of environment variables that it gets.
    pub env: Vec<String>,
    /// Files it may write; empty: what it leaves is dropped.
    pub writes: Vec<Glob>,
    /// Exit codes that count as success (beside 0).
    pub ok_exit: Vec<i32>,
    /// Whether it may run again after a crash without asking.
    pub repeatable: bool,
    /// Files kept with the run though they are not part of the tree.
    pub artifacts: Vec<Glob>,
}

/// A command whose end is success with `passed` as data. Value: `{passed, exit_code, stdout, stderr}`.
#[derive(Clone, Debug)]
pub struct Test {
    /// Program and arguments; each is a template.
    pub argv: Vec<Template>,
    /// Values for the arguments, by name.
    pub vars: BTreeMap<String, Expr>,
    /// Directory inside the tree.
    pub cwd: String,
    /// Names of environment variables that it gets.
    pub env: Vec<String>,
    /// A regular expression that its output must show to pass.
    pub expect: Option<String>,
}

/// The engine searches the tree. Value: `{matches: [{path, line, text}], count, truncated}`.
#[derive(Clone, Debug)]
pub struct Search {
    /// A regular expression (a template).
    pub pattern: Template,
    /// Values for the pattern, by name.
    pub vars: BTreeMap<String, Expr>,
    /// Files searched (empty: all that git does not ignore).
    pub reads: Vec<Glob>,
    /// Most matches returned.
    pub matches_max: u32,
}

/// Explicit read or write of external memory.
#[derive(Clone, Debug)]
pub struct Memory {
    /// `read` or `write`.
    pub op: String,
    /// Which store.
    pub store: String,
    /// Which entry.
    pub key: Template,
    /// What to write.
    pub content: Option<Expr>,
}

/// Waits for a typed decision. Value: the form's data.
#[derive(Clone, Debug)]
pub struct Approve {
    /// What is asked.
    pub prompt: Template,
    /// Values for the prompt, by name.
    pub vars: BTreeMap<String, Expr>,
    /// Values shown beside it.
    pub shows: BTreeMap<String, Expr>,
    /// JSON Schema of the decision's data.
    pub form: Option<Value>,
    /// Who may decide; empty is anyone.
    pub by: Vec<String>,
    /// What happens after `timeout`.
    pub on_timeout: OnTimeout,
}

/// What a gate does when nobody decides in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// It ends as timed_out.
    #[default]
    Fail,
    /// It ends as if rejected.
    Reject,
    /// It ends as if approved without data.
    Approve,
}

/// A timer or a named signal. Value: null, or the signal's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For so long.
    Duration {
        /// Milliseconds.
        ms: u64,
    },
    /// Until somebody sends it (`timeout` bounds it).
    Signal {
        /// Its name.
        name: String,
    },
}

/// When a parallel has enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Every child ends.
    #[default]
    All,
    /// The first `min_ok` successes end it and cancel the others.
    FirstSuccess,
}

/// What a failed child does to its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// They go on.
    Continue,
    /// What has not begun is skipped, what runs is cancelled.
    Abort,
}

/// What a loop does at its bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// It fails.
    #[default]
    Fail,
    /// It succeeds with what the last iteration gave.
    Accept,
}

/// Where candidates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// The children of a parallel, or the elements of an expand.
    Set(NodeIx),
    /// These nodes.
    List(Vec<NodeIx>),
}

impl Candidates {
    /// The nodes named.
    pub fn nodes(&self) -> &[NodeIx] {
        match self {
            Self::Set(node) => std::slice::from_ref(node),
            Self::List(nodes) => nodes,
        }
    }
}

/// One thing a pareto set weighs. `by` reads `value`, `status` and `path` of a candidate.
#[derive(Clone, Debug)]
pub struct Objective {
    /// The number.
    pub by: Expr,
    /// Whether more of it is better.
    pub maximize: bool,
}

/// Folds envelopes `{path, status, value}`.
#[derive(Clone, Debug)]
pub struct Reduce {
    /// What is folded.
    pub inputs: Candidates,
    /// How.
    pub how: How,
    /// What it gives when nothing succeeded; none fails the node.
    pub on_empty: Option<Value>,
}

/// How a reduce folds.
#[derive(Clone, Debug)]
pub enum How {
    /// A list; values that are lists are joined.
    Concat,
    /// One map; later entries win.
    Merge,
    /// The value most of them gave; `by` picks what is compared. A tie goes to the earliest.
    Vote {
        /// Reads `value`, `status`, `path`.
        by: Option<Expr>,
    },
    /// The value with the highest score. A tie goes to the earliest.
    Best {
        /// Reads `value`, `status`, `path`.
        by: Expr,
    },
    /// An ask of its own, an inner node named `model`, whose prompt sees `items`.
    Model {
        /// The inner ask.
        ask: NodeIx,
    },
    /// One tree: that of a tournament's winner, with chosen fruit of the losers. `inputs` is the tournament.
    Combine {
        /// What is taken of a loser: `tests`, `patches`.
        take: Vec<String>,
        /// Whose fruit is taken: reads `value`, `status`, `path`; none is those that succeeded.
        by: Option<Expr>,
    },
}

/// Of the candidates that satisfy `require`, one wins. Value: `{winner, value, ranking, fruit}`.
#[derive(Clone, Debug)]
pub struct Tournament {
    /// Who takes part.
    pub candidates: Candidates,
    /// Reads `value`, `status`, `path`; a candidate that does not satisfy it cannot win.
    pub require: Option<Expr>,
    /// How they are compared.
    pub contest: Contest,
    /// What is kept of losers: `results`, `tests`, `patches`.
    pub harvest: Vec<String>,
}

/// How candidates are compared.
#[derive(Clone, Debug)]
pub enum Contest {
    /// The highest score wins; a tie goes to the earliest. Reads `value`, `status`, `path`.
    Score {
        /// The score.
        by: Expr,
    },
    /// An inner ask named `judge` compares two at a time, twice with the order swapped; its prompt sees `first` and
    /// `second` (envelopes). Disagreement is a tie, and a tie goes to the earlier candidate.
    Judge {
        /// The inner ask.
        ask: NodeIx,
    },
}

impl Kind {
    /// The word that names it in sources, records and views.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Ask(_) => "ask",
            Self::Command(_) => "command",
            Self::Test(_) => "test",
            Self::Search(_) => "search",
            Self::Memory(_) => "memory",
            Self::Approve(_) => "approve",
            Self::Wait(_) => "wait",
            Self::Branch { .. } => "branch",
            Self::Parallel { .. } => "parallel",
            Self::Sequence { .. } => "sequence",
            Self::Reduce(_) => "reduce",
            Self::Pareto { .. } => "pareto",
            Self::Tournament(_) => "tournament",
            Self::LoopUntil { .. } => "loop_until",
            Self::Cond { .. } => "cond",
            Self::Expand { .. } => "expand",
            Self::Call { .. } => "call",
            Self::Rlm { .. } => "rlm",
            Self::TeacherReview { .. } => "teacher_review",
        }
    }

    /// Whether it does work outside the engine.
    pub fn is_leaf(&self) -> bool {
        match self {
            Self::Agent(_)
            | Self::Ask(_)
            | Self::Command(_)
            | Self::Test(_)
            | Self::Search(_)
            | Self::Memory(_)
            | Self::Approve(_)
            | Self::Wait(_) => true,
            Self::Branch { .. }
            | Self::Parallel { .. }
            | Self::Sequence { .. }
            | Self::Reduce(_)
            | Self::Pareto { .. }
            | Self::Tournament(_)
            | Self::LoopUntil { .. }
            | Self::Cond { .. }
            | Self::Expand { .. }
            | Self::Call { .. }
            | Self::Rlm { .. }
            | Self::TeacherReview { .. } => false,
        }
    }

    /// Whether its instances end at a commit of their own, from which others can go on with `tree`.
    pub fn ends_in_a_tree(&self) -> bool {
        matches!(self, Self::Branch { .. } | Self::Reduce(Reduce { how: How::Combine { .. }, .. }))
    }

    /// The nodes directly below, in order; inner asks are not among them.
    pub fn children(&self) -> impl Iterator<Item = NodeIx> + '_ {
        let (first, second): (&[NodeIx], &[NodeIx]) = match self {
            Self::Branch { children }
            | Self::Parallel { children, .. }
            | Self::Sequence { children, .. }
            | Self::LoopUntil { children, .. }
            | Self::Expand { children, .. } => (children, &[]),
            Self::Cond { then, otherwise, .. } => (then, otherwise),
            Self::Agent(_)
            | Self::Ask(_)
            | Self::Command(_)
            | Self::Test(_)
            | Self::Search(_)
            | Self::Memory(_)
            | Self::Approve(_)
            | Self::Wait(_)
            | Self::Reduce(_)
            | Self::Pareto { .. }
            | Self::Tournament(_)
            | Self::Call { .. }
            | Self::Rlm { .. }
            | Self::TeacherReview { .. } => (&[], &[]),
        };
        first.iter().chain(second).copied()
    }

    /// The ask that this control node makes for itself, if it makes one.
    pub fn inner(&self) -> Option<NodeIx> {
        match self {
            Self::Reduce(Reduce { how: How::Model { ask }, .. })
            | Self::Tournament(Tournament { contest: Contest::Judge { ask }, .. })
            | Self::TeacherReview { review: ask, .. } => Some(*ask),
            _ => None,
        }
    }
}
