//! What a workflow would do, before anything is spent.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use wf_ir::node::{
    Budget, Candidates, Contest, How, InputDecl, Keep, OnFailure, OnLimit, OnTimeout, Permissions, Template, TreeRef,
    Wait,
};
use wf_ir::{Glob, Kind, Node, NodeIx, Value, Workflow};

use crate::VERSION;
use crate::run::{PassedOverView, WorkflowRef};
use crate::schema;
use crate::text::{duration, first_line};

/// The longest first line of a prompt that a plan shows, in characters.
const PROMPT_CHARS_MAX: usize = 160;

/// A workflow as `plan --json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlanView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The workflow.
    pub workflow: WorkflowRef,
    /// What it says of itself.
    pub description: String,
    /// What a run is given.
    pub inputs: Vec<InputView>,
    /// The ceiling on a whole run.
    pub budget: CeilingsView,
    /// The outermost permissions.
    pub permissions: PermissionsView,
    /// Every role that a leaf asks for, with how many nodes ask for it.
    pub roles: BTreeMap<String, u64>,
    /// Who would do each of them now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub who: Vec<RoleView>,
    /// Counts over the whole workflow.
    pub totals: TotalsView,
    /// The nodes at the root, in order.
    pub nodes: Vec<PlanNode>,
    /// What a run returns: expressions by name.
    pub outputs: BTreeMap<String, String>,
}

/// Who would do a role now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RoleView {
    /// The role.
    pub role: String,
    /// How many nodes ask for it.
    pub nodes: u64,
    /// `provider/model`; null where nobody can.
    pub model: Option<String>,
    /// What the model costs; null where nobody knows.
    pub price: Option<PriceView>,
    /// Models that come first in the role's list, and why it is not one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOverView>,
    /// Why nobody can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a model costs, in micro-dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PriceView {
    /// Of what it reads.
    pub input: u64,
    /// Of what it writes.
    pub output: u64,
    /// Of what it reads from its provider's cache; null costs as much as anything else that it reads.
    pub cached: Option<u64>,
    /// Of what goes into that cache; null costs as much as anything else that it reads.
    pub cache_write: Option<u64>,
}

/// Counts over a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TotalsView {
    /// Its nodes.
    pub nodes: u64,
    /// Its nodes by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// The most leaves a run may start; null when another workflow decides.
    pub leaves_max: Option<u64>,
    /// Whether how many it really starts depends on values that only a run knows.
    pub dynamic: bool,
    /// Whether it runs commands of the repository.
    pub runs_commands: bool,
    /// Whether it writes files.
    pub writes_files: bool,
    /// Gates at which it waits for people.
    pub gates: u64,
}

/// Ceilings; null does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CeilingsView {
    /// Tokens.
    pub tokens: Option<u64>,
    /// Millionths of a US dollar.
    pub cost_usd_micros: Option<u64>,
    /// Milliseconds.
    pub wall_ms: Option<u64>,
    /// Leaves.
    pub leaves: Option<u64>,
}

/// What may be done; null leaves what encloses it allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PermissionsView {
    /// Files that may be written.
    pub writes: Option<Vec<String>>,
    /// First words of commands.
    pub commands: Option<Vec<String>>,
    /// Hosts.
    pub network: Option<Vec<String>>,
    /// Tools.
    pub tools: Option<Vec<String>>,
    /// Secrets.
    pub secrets: Option<Vec<String>>,
}

/// A declared input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InputView {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Whether a run must be given it.
    pub required: bool,
    /// What it is when not given.
    #[schemars(schema_with = "schema::any")]
    pub default: Option<Value>,
    /// Whether it is kept out of the log.
    pub sensitive: bool,
    /// What it says of itself.
    pub description: String,
}

/// A node of a workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlanNode {
    /// Its id.
    pub id: String,
    /// Ids from the root.
    pub path: String,
    /// What kind it is.
    pub kind: &'static str,
    /// The most leaves that it and all below it start; null when another workflow decides.
    pub leaves_max: Option<u64>,
    /// Whether how many it really starts depends on values that only a run knows.
    pub dynamic: bool,
    /// What it does, in one line: the first line of its prompt, its argv, its pattern, its condition.
    pub what: String,
    /// The role that does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Its own ceiling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<CeilingsView>,
    /// What it may do, where that is less than what encloses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<PermissionsView>,
    /// Files it may write; absent when it writes none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<String>,
    /// Files it may read; absent means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
    /// Most children or elements at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<String>,
    /// Most iterations, elements, or items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// The most time one attempt may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Attempts in all, where there may be more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// When it is skipped otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Where its tree begins, when not at its branch's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// Nodes whose results it reads, by path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Nodes whose end it waits for, by path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Other settings that are not the usual ones, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The nodes inside it, in order; of a `cond`, those of the side that is taken when it holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<PlanNode>,
    /// Of a `cond`: the nodes of the other side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub otherwise: Vec<PlanNode>,
}

impl PlanView {
    /// What a workflow would do.
    pub fn of(workflow: &Workflow) -> Self {
        let planner = Planner { workflow, bounds: workflow.leaf_bounds(), dynamic: dynamic_nodes(workflow) };
        let mut roles = BTreeMap::new();
        let mut kinds = BTreeMap::new();
        for node in workflow.nodes() {
            *kinds.entry(node.kind.name()).or_insert(0) += 1;
            if let Some(role) = role_of(node) {
                *roles.entry(role.to_owned()).or_insert(0) += 1;
            }
        }
        let count = |kind: &str| kinds.get(kind).copied().unwrap_or(0);
        let totals = TotalsView {
            nodes: workflow.nodes().len() as u64,
            leaves_max: workflow.leaf_bound(),
            dynamic: workflow.children().iter().any(|ix| planner.dynamic[ix.0 as usize]),
            runs_commands: count("command") + count("test") > 0,
            writes_files: workflow.nodes().iter().any(|node| !writes_of(node).is_empty()),
            gates: count("approve"),
            kinds,
        };
        Self {
            version: VERSION,
            workflow: WorkflowRef { id: workflow.name().to_owned(), hash: workflow.hash().to_string() },
            description: workflow.description().to_owned(),
            inputs: workflow.inputs().iter().map(|(name, decl)| input_view(name, decl)).collect(),
            budget: workflow.budget().into(),
            permissions: workflow.permissions().into(),
            roles,
            who: Vec::new(),
            totals,
            nodes: planner.list(workflow.children(), workflow.permissions()),
            outputs: workflow.outputs().iter().map(|(name, expr)| (name.clone(), expr.as_str().to_owned())).collect(),
        }
    }
}

impl PlanView {
    /// The same, with who would do its roles.
    #[must_use]
    pub fn done_by(mut self, who: Vec<RoleView>) -> Self {
        self.who = who;
        self
    }
}

struct Planner<'w> {
    workflow: &'w Workflow,
    bounds: Vec<Option<u64>>,
    dynamic: Vec<bool>,
}

impl Planner<'_> {
    fn list(&self, list: &[NodeIx], around: &Permissions) -> Vec<PlanNode> {
        list.iter().map(|ix| self.node(*ix, around)).collect()
    }

    /// Nesting is bounded by the definition's own limit on depth.
    fn node(&self, ix: NodeIx, around: &Permissions) -> PlanNode {
        let node = self.workflow.node(ix);
        let paths = |nodes: &std::collections::BTreeSet<NodeIx>| {
            nodes.iter().map(|need| self.workflow.node(*need).path.clone()).collect()
        };
        let retry = &node.retry;
        let mut plan = PlanNode {
            id: node.id.clone(),
            path: node.path.clone(),
            kind: node.kind.name(),
            leaves_max: self.bounds[ix.0 as usize],
            dynamic: self.dynamic[ix.0 as usize],
            what: what(node, self.workflow),
            role: role_of(node).map(str::to_owned),
            budget: (node.budget != Budget::default()).then(|| (&node.budget).into()),
            permissions: narrowed(node, around),
            writes: writes_of(node).iter().map(|glob| glob.as_str().to_owned()).collect(),
            reads: reads_of(node).iter().map(|glob| glob.as_str().to_owned()).collect(),
            timeout_ms: node.timeout_ms,
            attempts_max: (node.kind.is_leaf() && retry.attempts_max > 1).then_some(retry.attempts_max),
            when: node.when.as_ref().map(|when| when.as_str().to_owned()),
            tree: node.tree.as_ref().map(|tree| self.tree_text(tree)),
            needs: paths(&node.needs),
            after: paths(&node.after),
            notes: notes(node),
            ..PlanNode::default()
        };
        (plan.width, plan.max) = bounds_of(&node.kind);
        match &node.kind {
            Kind::Cond { then, otherwise, .. } => {
                plan.children = self.list(then, &node.permissions);
                plan.otherwise = self.list(otherwise, &node.permissions);
            }
            kind => {
                let children: Vec<NodeIx> = kind.children().chain(kind.inner()).collect();
                plan.children = self.list(&children, &node.permissions);
            }
        }
        plan
    }

    fn tree_text(&self, tree: &TreeRef) -> String {
        match tree {
            TreeRef::Branch(branch) => self.workflow.node(*branch).path.clone(),
            TreeRef::Winner(contest) => format!("{}.winner", self.workflow.node(*contest).path),
        }
    }
}

/// What a node may do, where that is less than what encloses it. What a leaf may write is told apart.
fn narrowed(node: &Node, around: &Permissions) -> Option<PermissionsView> {
    let mut own = node.permissions.clone();
    if node.kind.is_leaf() {
        own.writes.clone_from(&around.writes);
    }
    (own != *around).then(|| (&own).into())
}

/// The nodes whose leaves only a run can count: something in them goes through a list, or is done as often as a
/// contest or a condition wants.
fn dynamic_nodes(workflow: &Workflow) -> Vec<bool> {
    let mut dynamic = vec![false; workflow.nodes().len()];
    for (at, node) in workflow.nodes().iter().enumerate().rev() {
        let own = match &node.kind {
            Kind::Expand { over, .. } => over.as_str().parse::<u64>().is_err(),
            Kind::LoopUntil { iterations_max, .. } => *iterations_max > 1,
            Kind::Tournament(tournament) => matches!(tournament.contest, Contest::Judge { .. }),
            Kind::Rlm { .. } | Kind::Call { .. } => true,
            _ => false,
        };
        dynamic[at] = own || node.kind.children().any(|child| dynamic[child.0 as usize]);
    }
    dynamic
}

/// The role that does a node, if one does.
pub(crate) fn role_of(node: &Node) -> Option<&str> {
    matches!(node.kind, Kind::Agent(_) | Kind::Ask(_)).then(|| node.role.as_deref().unwrap_or(wf_ir::DEFAULT_ROLE))
}

fn writes_of(node: &Node) -> &[Glob] {
    match &node.kind {
        Kind::Agent(agent) => &agent.writes,
        Kind::Command(command) => &command.writes,
        _ => &[],
    }
}

fn reads_of(node: &Node) -> &[Glob] {
    match &node.kind {
        Kind::Agent(agent) => &agent.reads,
        Kind::Search(search) => &search.reads,
        _ => &[],
    }
}

/// How many at the same time, and how many at most.
fn bounds_of(kind: &Kind) -> (Option<String>, Option<u64>) {
    match kind {
        Kind::Parallel { width, .. } => (Some(width.to_string()), None),
        Kind::Expand { width, children_max, .. } => (Some(width.as_str().to_owned()), Some(u64::from(*children_max))),
        Kind::LoopUntil { iterations_max, .. } => (None, Some(u64::from(*iterations_max))),
        Kind::Pareto { max_items, .. } => (None, Some(u64::from(*max_items))),
        Kind::Rlm { calls_max, .. } => (None, Some(u64::from(*calls_max))),
        Kind::Search(search) => (None, Some(u64::from(search.matches_max))),
        _ => (None, None),
    }
}

/// What a node does, in one line.
pub(crate) fn what(node: &Node, workflow: &Workflow) -> String {
    let line = |template: &Template| first_line(&template.source, PROMPT_CHARS_MAX);
    let argv = |argv: &[Template]| {
        let words: Vec<&str> = argv.iter().map(|word| word.source.as_str()).collect();
        first_line(&words.join(" "), PROMPT_CHARS_MAX)
    };
    let of = |candidates: &Candidates| {
        let names: Vec<&str> = candidates.nodes().iter().map(|ix| workflow.node(*ix).id.as_str()).collect();
        format!("of {}", names.join(", "))
    };
    match &node.kind {
        Kind::Agent(agent) => line(&agent.prompt),
        Kind::Ask(ask) => line(&ask.prompt),
        Kind::Command(command) => argv(&command.argv),
        Kind::Test(test) => argv(&test.argv),
        Kind::Search(search) => line(&search.pattern),
        Kind::Memory(memory) => format!("{} {}", memory.op, line(&memory.key)),
        Kind::Approve(gate) => line(&gate.prompt),
        Kind::Wait(Wait::Duration { ms }) => format!("for {}", duration(*ms)),
        Kind::Wait(Wait::Signal { name }) => format!("for the signal {name}"),
        Kind::Branch { .. } | Kind::Parallel { .. } | Kind::Sequence { .. } => String::new(),
        Kind::Reduce(reduce) => format!("{} {}", how_name(&reduce.how), of(&reduce.inputs)),
        Kind::Pareto { candidates, .. } => of(candidates),
        Kind::Tournament(tournament) => {
            let require = tournament.require.as_ref();
            let require = require.map_or_else(String::new, |require| format!(" that satisfy {}", require.as_str()));
            format!("{}{require}", of(&tournament.candidates))
        }
        Kind::LoopUntil { until, .. } => format!("until {}", until.as_str()),
        Kind::Cond { condition, .. } => format!("if {}", condition.as_str()),
        Kind::Expand { over, .. } => format!("over {}", over.as_str()),
        Kind::Call { workflow, .. } => workflow.clone(),
        Kind::Rlm { query, .. } => line(query),
        Kind::TeacherReview { of, .. } => {
            let names: Vec<&str> = of.iter().map(|ix| workflow.node(*ix).id.as_str()).collect();
            format!("of {}", names.join(", "))
        }
    }
}

fn how_name(how: &How) -> &'static str {
    match how {
        How::Concat => "concat",
        How::Merge => "merge",
        How::Vote { .. } => "vote",
        How::Best { .. } => "best",
        How::Model { .. } => "model",
        How::Combine { .. } => "combine",
    }
}

/// Settings that are not the usual ones.
fn notes(node: &Node) -> Vec<String> {
    let mut notes = Vec::new();
    match &node.kind {
        Kind::Parallel { min_ok, keep, on_failure, .. } => {
            if *min_ok != 1 {
                notes.push(format!("at least {min_ok} must succeed"));
            }
            if *keep == Keep::FirstSuccess {
                notes.push("the first successes end it".to_owned());
            }
            if *on_failure == OnFailure::Abort {
                notes.push("a failure ends it".to_owned());
            }
        }
        Kind::Expand { min_ok, on_failure, .. } => {
            if *min_ok != 1 {
                notes.push(format!("at least {min_ok} must succeed"));
            }
            if *on_failure == OnFailure::Abort {
                notes.push("a failure ends it".to_owned());
            }
        }
        Kind::Sequence { on_failure: OnFailure::Continue, .. } => notes.push("goes on after a failure".to_owned()),
        Kind::LoopUntil { on_limit: OnLimit::Accept, .. } => notes.push("its last iteration is good enough".to_owned()),
        Kind::Command(command) if !command.repeatable => {
            notes.push("not repeatable: after a crash a person decides".to_owned());
        }
        Kind::Approve(gate) => {
            if !gate.shows.is_empty() {
                notes.push(format!("shows {}", gate.shows.keys().cloned().collect::<Vec<_>>().join(", ")));
            }
            if !gate.by.is_empty() {
                notes.push(format!("decided by {}", gate.by.join(" or ")));
            }
            match gate.on_timeout {
                OnTimeout::Fail => {}
                OnTimeout::Reject => notes.push("rejected when nobody answers".to_owned()),
                OnTimeout::Approve => notes.push("approved when nobody answers".to_owned()),
            }
        }
        _ => {}
    }
    notes
}

fn input_view(name: &str, decl: &InputDecl) -> InputView {
    InputView {
        name: name.to_owned(),
        ty: decl.ty.to_string(),
        required: decl.default.is_none(),
        default: decl.default.clone(),
        sensitive: decl.sensitive,
        description: decl.description.clone(),
    }
}

impl From<&Budget> for CeilingsView {
    fn from(budget: &Budget) -> Self {
        let Budget { tokens, cost_usd_micros, wall_ms, leaves } = *budget;
        Self { tokens, cost_usd_micros, wall_ms, leaves }
    }
}

impl From<&Permissions> for PermissionsView {
    fn from(permissions: &Permissions) -> Self {
        let Permissions { writes, commands, network, tools, secrets } = permissions.clone();
        let writes = writes.map(|globs| globs.iter().map(|glob| glob.as_str().to_owned()).collect());
        Self { writes, commands, network, tools, secrets }
    }
}
