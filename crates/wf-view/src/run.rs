//! One run: its summary, its instances, one instance in full.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use wf_ir::node::Budget;
use wf_ir::{Digest, Kind, Status, Value};
use wf_kernel::record::{Checkpoint, InputValue, PassedOver, Prepared, Reason, WaitReason};
use wf_kernel::{Amount, Ix, LeafCounts, Ledger, RunState, RunStatus, Usage, ValueRef, Verified};

use crate::VERSION;
use crate::branch::{DiffstatView, outputs_of, tests_of_branches, usage_of_branches};
use crate::budget::missing_budget;
use crate::contest::ContestView;
use crate::fold::{Attempt, RunFold};
use crate::gate::GateView;
use crate::schema;
use crate::text::rfc3339;
use crate::words::{reason_code, reason_text, wait_code, wait_text};

/// What a view of a run needs beside its log.
#[derive(Clone, Debug, Default)]
pub struct RunFacts {
    /// The head of its hash chain.
    pub log_digest: Option<Digest>,
    /// The time at which a run that has not ended is looked at.
    pub now_ms: i64,
    /// Whether it has not ended and no process drives it.
    pub is_alone: bool,
}

/// A run as `run --json` prints it when it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunSummary {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The run.
    pub run_id: String,
    /// Its workflow.
    pub workflow: WorkflowRef,
    /// Where it stands.
    #[schemars(schema_with = "schema::run_status")]
    pub status: &'static str,
    /// What the engine's own tests say of the result; `none` as long as it has not ended.
    #[schemars(schema_with = "schema::verified")]
    pub verified: &'static str,
    /// Its leaves.
    pub leaves: LeavesView,
    /// What it used; null where nobody knows.
    pub usage: UsageView,
    /// What was remembered.
    pub memo: MemoView,
    /// How many records its log has.
    pub records: u64,
    /// The head of its hash chain.
    pub log_digest: Option<String>,
    /// Digest of what it did, without order, times and attempts; null as long as it has not ended.
    pub result_digest: Option<String>,
    /// From its first record to its end, or until now.
    pub duration_ms: u64,
    /// What it returns; null as long as it has not ended.
    #[schemars(schema_with = "schema::any")]
    pub outputs: Option<Arc<Value>>,
    /// The blob that holds `outputs`, where they are too large to be here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs_ref: Option<BlobRef>,
    /// Why it did not succeed, or does not go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonView>,
    /// The root of the checkout that it works on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
}

/// A run as `show RUN --json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunDetail {
    /// What `run --json` prints.
    #[serde(flatten)]
    pub summary: RunSummary,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// For people and filters.
    pub labels: BTreeMap<String, String>,
    /// Its inputs by name; sensitive ones are not here.
    #[schemars(schema_with = "schema::any_by_name")]
    pub inputs: BTreeMap<String, Arc<Value>>,
    /// Names of the inputs that are sensitive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sensitive: Vec<String>,
    /// Seed of everything that looks random.
    pub seed: u64,
    /// The commit that its trees begin at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseView>,
    /// Its ceilings, and what counts against them.
    pub budget: BudgetView,
    /// Whether commands ran in a sandbox.
    pub sandbox: String,
    /// Gates that wait for a decision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateView>,
    /// Unsaved work that was kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rescued: Vec<RescuedView>,
    /// Tournaments that have been decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contests: Vec<ContestView>,
    /// The instances that exist, each before what is inside it.
    pub instances: Vec<InstanceView>,
}

/// A workflow, named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WorkflowRef {
    /// Its name.
    pub id: String,
    /// Digest of its canonical form.
    pub hash: String,
}

/// Leaf instances by how they ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LeavesView {
    /// Those that exist, and those that are certain to come.
    pub total: u64,
    /// Ended well.
    pub done: u64,
    /// Ended badly: failed, cancelled, timed out, not paid for.
    pub failed: u64,
    /// Never begun, for a reason.
    pub skipped: u64,
}

/// What work used; null where nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UsageView {
    /// Tokens read, cached ones included.
    pub input_tokens: Option<u64>,
    /// Tokens written.
    pub output_tokens: Option<u64>,
    /// Of the tokens read, those from the provider's prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Millionths of a US dollar.
    pub cost_usd_micros: Option<u64>,
}

/// Look-ups of remembered answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MemoView {
    /// Answers that were found.
    pub hits: u64,
    /// Answers that were not.
    pub misses: u64,
}

/// Why something is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReasonView {
    /// The instance it is about; empty is the run.
    pub path: String,
    /// A short stable word.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// What an instance is held up by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WaitView {
    /// `retry`, `rate_limit`, `tree`, `budget`, `decision`, `signal`, `sleep`, `doubt`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Until when, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// The commit that trees begin at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BaseView {
    /// The commit.
    pub commit: String,
    /// `commit`, `worktree` or `fixture`.
    pub source: String,
}

/// Ceilings, and what counts against them. A ceiling that is null does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BudgetView {
    /// Tokens that may be used.
    pub tokens: Option<u64>,
    /// Money that may be spent, in millionths of a US dollar.
    pub cost_usd_micros: Option<u64>,
    /// Time that may pass, in milliseconds.
    pub wall_ms: Option<u64>,
    /// Leaves that may begin.
    pub leaves: Option<u64>,
    /// What ended attempts were charged.
    pub settled: AmountView,
    /// What running attempts hold back.
    pub reserved: AmountView,
    /// Leaves begun.
    pub leaves_begun: u64,
}

/// Part of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AmountView {
    /// Tokens.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub cost_usd_micros: u64,
}

/// A value kept as a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BlobRef {
    /// Which blob.
    pub digest: String,
    /// How many bytes, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// Unsaved work that was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RescuedView {
    /// The leaf or branch whose work it was.
    pub path: String,
    /// The git ref that keeps it.
    #[serde(rename = "ref")]
    pub name: String,
}

/// A node in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InstanceView {
    /// Its path.
    pub path: String,
    /// The kind of its node.
    pub kind: &'static str,
    /// Where it stands.
    #[schemars(schema_with = "schema::status")]
    pub status: &'static str,
    /// How many attempts counted; 0 before it began.
    pub attempts: u32,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub ended_at: Option<String>,
    /// What it gave: a leaf's value, what a reducer or a tournament computed, or what the children of a branch gave, by id.
    #[schemars(schema_with = "schema::any")]
    pub output: Option<Arc<Value>>,
    /// The blob that holds `output`, where it is too large to be here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_ref: Option<BlobRef>,
    /// What holds it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitView>,
    /// Why it did not succeed, or was tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonView>,
    /// Who does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleView>,
    /// What its attempts used; of a branch, those of everything in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageView>,
    /// Of an `expand`: how many elements it goes through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elements: Option<u32>,
    /// The commit it left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The files it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<FileView>>,
    /// How much it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diffstat: Option<DiffstatView>,
    /// Of a branch or a combination: the engine's own tests of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<TestView>,
}

/// Who does a leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RoleView {
    /// The role.
    pub name: String,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// With which model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileView {
    /// Path from the repository's root.
    pub path: String,
    /// `added`, `modified`, `deleted`, `mode`, `type`.
    pub change: String,
    /// Lines added; null for binary files.
    pub insertions: Option<u64>,
    /// Lines removed; null for binary files.
    pub deletions: Option<u64>,
}

/// A test that the engine ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TestView {
    /// The instance.
    pub path: String,
    /// Whether it passed; null as long as nobody knows.
    pub passed: Option<bool>,
}

/// One instance in full, as `show RUN NODE --json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InstanceDetail {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The run.
    pub run_id: String,
    /// What `show RUN --json` says of it.
    #[serde(flatten)]
    pub instance: InstanceView,
    /// Where its source stands, as `file:line:column`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its attempts, oldest first; those of long-throttled leaves are cut to the latest.
    pub history: Vec<AttemptView>,
    /// What it was prepared with: messages, argv, pattern, or what a gate shows.
    #[schemars(schema_with = "schema::any")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Arc<Value>>,
    /// The blob that holds `request`, where it is too large to be here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_ref: Option<BlobRef>,
    /// The role as resolved, with its parameters.
    #[schemars(schema_with = "schema::any")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_role: Option<Arc<Value>>,
    /// What its model costs, in micro-dollars per million tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub price: Option<Arc<Value>>,
    /// Models that come first in the role's list, and why it is not one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOverView>,
    /// JSON Schema of its output.
    #[schemars(schema_with = "schema::any")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// What makes its question the same as another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memo_key: Option<String>,
    /// Tree id that it saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// Of a tournament that has been decided: who won against whom, and what the losers leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contest: Option<ContestView>,
    /// Full outputs and other evidence, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub artifacts: BTreeMap<String, BlobRef>,
    /// What its last failure left to look at.
    #[schemars(schema_with = "schema::any")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Arc<Value>>,
    /// What its provider charged beyond what was reserved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overrun: Option<AmountView>,
    /// Its own ceilings, and what counts against them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetView>,
    /// Who decided it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// The last record about it.
    pub seq: u64,
}

/// One try of a leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AttemptView {
    /// Counts from 1; repeats that do not count have the same number.
    pub number: u32,
    /// When it began.
    pub started_at: String,
    /// When its outcome was taken in.
    pub ended_at: Option<String>,
    /// `succeeded`, `timed_out`, `cancelled`, `throttled`, `lost`, or a failure's code; null while it runs.
    pub outcome: Option<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What it used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageView>,
}

impl RunSummary {
    /// The summary of a run.
    pub fn of(fold: &RunFold, facts: &RunFacts) -> Self {
        let state = fold.state();
        let end = state.end();
        let (outputs, outputs_ref) = shown(fold, end.map(|end| &end.outputs));
        let until = end.map_or(facts.now_ms.max(state.now()), |end| end.at);
        Self {
            version: VERSION,
            run_id: run_id(state),
            workflow: WorkflowRef { id: state.workflow().name().to_owned(), hash: state.workflow().hash().to_string() },
            status: state.status().as_str(),
            verified: end.map_or(Verified::None, |end| end.verified).as_str(),
            leaves: state.leaf_counts().into(),
            usage: state.used().into(),
            memo: MemoView::default(),
            records: state.records(),
            log_digest: facts.log_digest.map(|digest| digest.to_string()),
            result_digest: end.map(|end| end.result_digest.to_string()),
            duration_ms: u64::try_from(until.saturating_sub(state.started_at())).unwrap_or(0),
            outputs,
            outputs_ref,
            reason: run_reason(fold),
            repo: state.started().and_then(|started| started.repo.clone()),
        }
    }
}

impl RunDetail {
    /// A run with all its instances.
    pub fn of(fold: &RunFold, facts: &RunFacts) -> Self {
        let state = fold.state();
        let started = state.started();
        let mut inputs = BTreeMap::new();
        let mut sensitive = Vec::new();
        for (name, value) in started.iter().flat_map(|started| &started.inputs) {
            match value {
                InputValue::Plain(value) => {
                    inputs.insert(name.clone(), fold.value(value).unwrap_or_default());
                }
                InputValue::Sensitive(_) => sensitive.push(name.clone()),
            }
        }
        let (checks, used) = (tests_of_branches(fold), usage_of_branches(fold));
        let instances = fold.tree_order().into_iter().map(|(ix, _)| {
            let mut view = InstanceView::of(fold, ix);
            view.checks = checks.get(&ix).cloned().unwrap_or_default();
            view.usage = view.usage.or_else(|| used.get(&ix).map(|used| (*used).into()));
            view
        });
        Self {
            summary: RunSummary::of(fold, facts),
            started_at: rfc3339(state.started_at()),
            ended_at: state.end().map(|end| rfc3339(end.at)),
            labels: started.map(|started| started.labels.clone()).unwrap_or_default(),
            inputs,
            sensitive,
            seed: started.map_or(0, |started| started.seed),
            base: started
                .and_then(|started| started.base.as_ref())
                .map(|base| BaseView { commit: base.commit.clone(), source: base.source.clone() }),
            budget: state.ledger().into(),
            sandbox: started.map(|started| started.sandbox.clone()).unwrap_or_default(),
            gates: GateView::open(fold),
            rescued: fold.rescued().iter().map(RescuedView::from).collect(),
            contests: ContestView::all(fold),
            instances: instances.collect(),
        }
    }
}

impl InstanceView {
    /// What a list says of an instance; `checks`, and what a branch used, are left out.
    pub fn of(fold: &RunFold, ix: Ix) -> Self {
        let instance = fold.state().instance(ix);
        let node = fold.node(instance);
        let detail = fold.detail(ix);
        let (output, output_ref) = shown(fold, instance.value.as_ref());
        let output = output.or_else(|| outputs_of(fold, ix));
        let checkpoint = checkpoint_of(fold, ix);
        let has_role = matches!(node.kind, Kind::Agent(_) | Kind::Ask(_));
        Self {
            path: instance.path.to_string(),
            kind: node.kind.name(),
            status: instance.status.as_str(),
            attempts: attempts_of(fold, ix),
            started_at: instance.started_at.map(rfc3339),
            ended_at: instance.ended_at.map(rfc3339),
            output,
            output_ref,
            waiting: waiting_of(fold.state(), ix),
            reason: instance.reason.as_ref().map(|reason| reason_view(&instance.path, reason)),
            role: has_role.then(|| {
                let resolved = detail.role.as_ref();
                let word = |field: &str| Some(resolved?.get(field).as_str()?.to_owned());
                let name = node.role.as_deref().unwrap_or(wf_ir::DEFAULT_ROLE).to_owned();
                RoleView { name, provider: word("provider"), model: word("model") }
            }),
            usage: (instance.used != Usage::default()).then(|| instance.used.into()),
            elements: instance.expansion.as_ref().map(|expansion| expansion.count),
            commit: checkpoint.map(|checkpoint| checkpoint.commit.clone()),
            files: checkpoint.map(files_of),
            diffstat: checkpoint.map(DiffstatView::of),
            checks: Vec::new(),
        }
    }
}

/// A model that was not asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PassedOverView {
    /// `provider/model`.
    pub model: String,
    /// Why not.
    pub why: String,
}

impl InstanceDetail {
    /// All that is known of the instance at a path.
    pub fn of(fold: &RunFold, path: &str) -> Option<Self> {
        let ix = fold.state().at_path(path)?;
        let instance = fold.state().instance(ix);
        let (node, detail) = (fold.node(instance), fold.detail(ix));
        let mut view = InstanceView::of(fold, ix);
        view.checks = tests_of_branches(fold).remove(&ix).unwrap_or_default();
        view.usage = view.usage.or_else(|| usage_of_branches(fold).get(&ix).map(|used| (*used).into()));
        let prepared = detail.request.as_ref().map(|(_, prepared)| prepared);
        let (request, request_ref) = shown(fold, prepared.map(|prepared| &prepared.request));
        let ledger = fold.state().ledgers().find(|(at, _)| at.path == instance.path).map(|(_, ledger)| ledger);
        let schema = match &node.kind {
            Kind::Agent(agent) => agent.output.clone(),
            Kind::Ask(ask) => ask.output.clone(),
            Kind::Approve(gate) => gate.form.clone(),
            _ => None,
        };
        let blob = |digest: &Digest| BlobRef { digest: digest.to_string(), size: None };
        Some(Self {
            version: VERSION,
            run_id: run_id(fold.state()),
            instance: view,
            source: source_of(node),
            history: detail.attempts.iter().map(AttemptView::from).collect(),
            request,
            request_ref,
            resolved_role: detail.role.clone().filter(|role| **role != Value::Null),
            price: prepared.and_then(|prepared| prepared.price.clone()),
            passed_over: prepared.map(passed_over).unwrap_or_default(),
            output_schema: schema,
            memo_key: instance.memo_key.map(|key| key.to_string()),
            tree: instance.saw_tree.as_deref().map(str::to_owned),
            contest: ContestView::of(fold, ix),
            artifacts: detail.artifacts.iter().map(|(name, digest)| (name.clone(), blob(digest))).collect(),
            evidence: detail.evidence.as_ref().and_then(|evidence| fold.value(evidence)),
            overrun: (!detail.overrun.is_zero()).then(|| detail.overrun.into()),
            budget: ledger.map(BudgetView::from),
            decided_by: detail.decided.as_ref().map(|(by, _)| by.clone()),
            seq: detail.seq,
        })
    }
}

pub(crate) fn passed_over(prepared: &Arc<Prepared>) -> Vec<PassedOverView> {
    let view = |it: &PassedOver| PassedOverView { model: it.model.clone(), why: it.why.clone() };
    prepared.passed_over.iter().map(view).collect()
}

/// The id of a run; empty before its first record.
pub(crate) fn run_id(state: &RunState) -> String {
    state.started().map(|started| started.run_id.clone()).unwrap_or_default()
}

/// A value for a view: itself, or the blob that holds it where it is not at hand.
pub(crate) fn shown(fold: &RunFold, value: Option<&ValueRef>) -> (Option<Arc<Value>>, Option<BlobRef>) {
    let Some(value) = value else { return (None, None) };
    match (fold.value(value), value) {
        (None, ValueRef::Stored { digest, size }) => {
            (None, Some(BlobRef { digest: digest.to_string(), size: Some(*size) }))
        }
        (found, _) => (found, None),
    }
}

/// How many attempts of an instance counted. What is never performed has one once it began.
pub(crate) fn attempts_of(fold: &RunFold, ix: Ix) -> u32 {
    let instance = fold.state().instance(ix);
    let performed = match &fold.node(instance).kind {
        Kind::Agent(_) | Kind::Ask(_) | Kind::Command(_) | Kind::Test(_) | Kind::Search(_) | Kind::Memory(_) => true,
        Kind::Approve(_) | Kind::Wait(_) => false,
        _ => false,
    };
    let counted = fold.detail(ix).attempts_counted;
    if performed { counted } else { counted.max(u32::from(instance.started_at.is_some())) }
}

/// What holds an instance up; being in doubt is a wait for a person too.
pub(crate) fn waiting_of(state: &RunState, ix: Ix) -> Option<WaitView> {
    let instance = state.instance(ix);
    if instance.status == Status::InDoubt {
        let message = "its owner died while it ran: retry it, or reject it".to_owned();
        return Some(WaitView { code: "doubt".to_owned(), message, until: None });
    }
    let is_paused = || {
        let is_still = instance.flight.is_none() && !instance.status.is_terminal();
        is_still && state.suspended_since().is_none() && state.is_held(ix)
    };
    if is_paused() {
        let message = "somebody paused it, or what encloses it".to_owned();
        return Some(WaitView { code: "paused".to_owned(), message, until: None });
    }
    let reason = instance.waiting.as_ref()?;
    let until = match reason {
        WaitReason::Retry { until }
        | WaitReason::RateLimit { until, .. }
        | WaitReason::TreePool { until }
        | WaitReason::Sleep { until } => Some(*until),
        WaitReason::Tree { .. } | WaitReason::Budget | WaitReason::Decision | WaitReason::Signal { .. } => None,
    };
    Some(WaitView { code: wait_code(reason).to_owned(), message: wait_text(reason), until: until.map(rfc3339) })
}

/// What an instance left in its tree.
pub(crate) fn checkpoint_of(fold: &RunFold, ix: Ix) -> Option<&Checkpoint> {
    let harvest = fold.state().instance(ix).tree.as_ref().and_then(|tree| tree.harvest.as_deref());
    harvest.or(fold.detail(ix).checkpoint.as_deref())
}

pub(crate) fn files_of(checkpoint: &Checkpoint) -> Vec<FileView> {
    let file = |file: &wf_kernel::record::FileChange| FileView {
        path: file.path.clone(),
        change: file.change.clone(),
        insertions: file.insertions,
        deletions: file.deletions,
    };
    checkpoint.files.iter().map(file).collect()
}

/// `file:line:column` of a node, if its source is known.
pub(crate) fn source_of(node: &wf_ir::Node) -> Option<String> {
    let span = &node.span;
    (span.line > 0).then(|| format!("{}:{}:{}", span.file, span.line, span.column))
}

/// A reason about the instance at `path`.
pub(crate) fn reason_view(path: &str, reason: &Reason) -> ReasonView {
    ReasonView { path: path.to_owned(), code: reason_code(reason).to_owned(), message: reason_text(reason) }
}

/// Why a run did not succeed, or does not go on.
pub(crate) fn run_reason(fold: &RunFold) -> Option<ReasonView> {
    let state = fold.state();
    let say = |path: &str, code: &str, message: String| {
        Some(ReasonView { path: path.to_owned(), code: code.to_owned(), message })
    };
    let last = |verb: &str| fold.commands().iter().rev().find(|note| note.verb == verb && note.refused.is_none());
    match state.status() {
        RunStatus::Running | RunStatus::Succeeded => None,
        RunStatus::Failed => match state.root_failure() {
            Some((path, Some(reason))) => Some(reason_view(path, reason)),
            Some((path, None)) => say(path, "failed", "it did not succeed".to_owned()),
            None if state.instances().iter().any(|instance| instance.status == Status::Succeeded) => {
                say("", "output", "a declared output has no value".to_owned())
            }
            None => say("", "nothing_ran", "nothing in it ran".to_owned()),
        },
        RunStatus::Cancelled | RunStatus::Cancelling => {
            let by = last("cancel").map_or_else(String::new, |note| format!(" by {}", note.by));
            say("", "cancelled", format!("it was cancelled{by}"))
        }
        RunStatus::Paused => {
            let by = last("pause").map_or_else(String::new, |note| format!(" by {}", note.by));
            say("", "paused", format!("it was paused{by}"))
        }
        RunStatus::Poisoned => {
            let why = fold.parked().unwrap_or("it brought its process down too often");
            say("", "poisoned", why.to_owned())
        }
        RunStatus::BudgetExceeded => {
            let missing = missing_budget(state);
            say("", "budget", missing.map_or_else(|| "the run's budget ran out".to_owned(), |it| it.message()))
        }
        RunStatus::Waiting => {
            let live = state.live().filter_map(|instance| Some((instance, state.at_path(&instance.path)?)));
            let mut waits = live.filter_map(|(instance, ix)| Some((instance, waiting_of(state, ix)?)));
            let waits = waits.next();
            waits.map(|(instance, wait)| ReasonView {
                path: instance.path.to_string(),
                code: wait.code,
                message: wait.message,
            })
        }
    }
}

impl From<LeafCounts> for LeavesView {
    fn from(counts: LeafCounts) -> Self {
        let LeafCounts { total, done, failed, skipped } = counts;
        Self { total, done, failed, skipped }
    }
}

impl From<Usage> for UsageView {
    fn from(usage: Usage) -> Self {
        let Usage { input_tokens, output_tokens, cached_tokens, cost_usd_micros } = usage;
        Self { input_tokens, output_tokens, cached_tokens, cost_usd_micros }
    }
}

impl From<Amount> for AmountView {
    fn from(amount: Amount) -> Self {
        Self { tokens: amount.tokens, cost_usd_micros: amount.cost_usd_micros }
    }
}

impl From<&Ledger> for BudgetView {
    fn from(ledger: &Ledger) -> Self {
        let Budget { tokens, cost_usd_micros, wall_ms, leaves } = ledger.ceiling;
        Self {
            tokens,
            cost_usd_micros,
            wall_ms,
            leaves,
            settled: ledger.settled.into(),
            reserved: ledger.reserved.into(),
            leaves_begun: ledger.leaves,
        }
    }
}

impl From<&crate::fold::Rescued> for RescuedView {
    fn from(rescued: &crate::fold::Rescued) -> Self {
        Self { path: rescued.path.to_string(), name: rescued.name.clone() }
    }
}

impl From<&Attempt> for AttemptView {
    fn from(attempt: &Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: rfc3339(attempt.started_at),
            ended_at: attempt.ended_at.map(rfc3339),
            outcome: attempt.outcome.as_deref().map(str::to_owned),
            message: attempt.message.as_deref().map(str::to_owned),
            usage: (attempt.usage != Usage::default()).then(|| attempt.usage.into()),
        }
    }
}
