//! The report on a run: how it ended, what that cost, what went wrong, what to do next.

mod markdown;
mod models;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use wf_ir::limits::{LOG_RECORDS_MAX, LOG_RECORDS_WARN};
use wf_ir::{Kind, Status, Value};
use wf_kernel::record::Reason;
use wf_kernel::{Ix, RunStatus, Usage, Verified};

use crate::VERSION;
use crate::branch::{DiffstatView, outputs_of, tests_of_branches, usage_of_branches};
use crate::budget::missing_budget;
use crate::contest::ContestView;
use crate::fold::RunFold;
use crate::gate::GateView;
use crate::plan::role_of;
use crate::run::{
    BudgetView, ReasonView, RescuedView, RunFacts, RunSummary, TestView, UsageView, attempts_of, checkpoint_of,
    reason_view, run_id,
};
use crate::schema;
use crate::text::{rfc3339, shell_word};
use crate::words::{undriven_text, verified_text};
use crate::work::{winning, work};
pub use models::ModelView;

/// The most failures that a report tells in full.
pub const FAILURES_MAX: usize = 50;
/// The most slow leaves that a report lists.
pub const SLOWEST_MAX: usize = 10;
/// The most nodes whose costs a report lists.
pub const NODES_MAX: usize = 50;
/// The most pairs of a role and a model that a report lists.
pub const MODELS_MAX: usize = 50;

/// The report on a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReportView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The run, as `run --json` prints it.
    pub run: RunSummary,
    /// What its workflow says of itself.
    pub description: String,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// What the engine's own tests say, apart from whether the run completed.
    pub verification: VerificationView,
    /// The run's ceilings, and what counts against them.
    pub budget: BudgetView,
    /// What each role cost, the dearest first.
    pub costs_by_role: Vec<CostView>,
    /// What each node cost with all its instances, the dearest first.
    pub costs_by_node: Vec<CostView>,
    /// Which models did the roles, and which were passed over. Empty where only the mock was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelView>,
    /// The leaves that took longest.
    pub slowest: Vec<SlowView>,
    /// What failed, where it began to fail.
    pub failures: Vec<FailureView>,
    /// How many failed so; `failures` tells the first of them.
    pub failures_total: u64,
    /// Instances that never began, by why.
    pub skipped: BTreeMap<String, u64>,
    /// What the branches left.
    pub branches: Vec<BranchView>,
    /// Tournaments that have been decided.
    pub contests: Vec<ContestView>,
    /// Gates that wait for a decision.
    pub gates: Vec<GateView>,
    /// Unsaved work that was kept.
    pub rescued: Vec<RescuedView>,
    /// What people wanted of it.
    pub commands: Vec<NoteView>,
    /// What to do next.
    pub next: Vec<NextView>,
}

/// What the engine's own tests say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VerificationView {
    /// `passed`, `failed` or `none`; none is never passed.
    #[schemars(schema_with = "schema::verified")]
    pub verified: &'static str,
    /// The same as a sentence.
    pub message: String,
    /// Every test that ran, in order.
    pub tests: Vec<TestView>,
}

/// What something cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CostView {
    /// The role, or the node's path.
    pub name: String,
    /// How many leaf instances began.
    pub leaves: u64,
    /// How many attempts counted.
    pub attempts: u64,
    /// What they used; null where nobody knows.
    pub usage: UsageView,
}

/// A leaf that took long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SlowView {
    /// The instance.
    pub path: String,
    /// From its beginning to its end, or until now.
    pub elapsed_ms: u64,
    /// How many attempts counted.
    pub attempts: u32,
}

/// Something that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FailureView {
    /// How it ended.
    #[schemars(schema_with = "schema::status")]
    pub status: &'static str,
    /// The instance and why.
    pub reason: ReasonView,
    /// How many attempts counted.
    pub attempts: u32,
    /// What it left to look at.
    #[schemars(schema_with = "schema::any")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Arc<Value>>,
}

/// What a branch left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BranchView {
    /// The branch.
    pub path: String,
    /// How it ended.
    #[schemars(schema_with = "schema::status")]
    pub status: &'static str,
    /// Whether a tournament chose it.
    pub winner: bool,
    /// Where it ended.
    pub commit: String,
    /// How many files it changed.
    pub files: u64,
    /// Lines added.
    pub insertions: u64,
    /// Lines removed.
    pub deletions: u64,
    /// The engine's own tests of it.
    pub checks: Vec<TestView>,
    /// What everything in it used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageView>,
    /// What its children gave, by id; what a combination gave. Null where that is too large.
    #[schemars(schema_with = "schema::any")]
    pub outputs: Option<Arc<Value>>,
}

/// Something that a person wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NoteView {
    /// When.
    pub at: String,
    /// `cancel`, `pause`, `resume`, `approve`, `reject`, `signal`, `retry`.
    pub verb: String,
    /// Who.
    pub by: String,
    /// The instance, or the signal's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Why it was refused, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Something to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NextView {
    /// What it is for.
    pub what: String,
    /// The command, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl ReportView {
    /// The report on a run.
    pub fn of(fold: &RunFold, facts: &RunFacts) -> Self {
        let state = fold.state();
        let end = state.end();
        let verified = end.map_or(Verified::None, |end| end.verified);
        let (by_role, by_node) = costs(fold);
        let (failures, failures_total) = failures(fold);
        let branches = branches(fold);
        let run = RunSummary::of(fold, facts);
        let gates = GateView::open(fold);
        let mut next: Vec<NextView> = adoption(fold, facts).into_iter().collect();
        next.extend(next_steps(fold, facts, &run, &gates, &failures, &branches));
        next.extend(log_warning(fold));
        let message = match end {
            Some(_) => verified_text(verified).to_owned(),
            None => "none: the run has not ended".to_owned(),
        };
        Self {
            version: VERSION,
            description: state.workflow().description().to_owned(),
            started_at: rfc3339(state.started_at()),
            ended_at: end.map(|end| rfc3339(end.at)),
            verification: VerificationView { verified: verified.as_str(), message, tests: tests(fold) },
            budget: state.ledger().into(),
            costs_by_role: by_role,
            costs_by_node: by_node,
            models: models::models(fold),
            slowest: slowest(fold, facts.now_ms),
            failures,
            failures_total,
            skipped: skipped(fold),
            branches,
            contests: ContestView::all(fold),
            gates,
            rescued: fold.rescued().iter().map(RescuedView::from).collect(),
            commands: notes(fold),
            next,
            run,
        }
    }

    /// The same as Markdown.
    pub fn to_markdown(&self) -> String {
        markdown::write(self)
    }
}

#[derive(Default)]
struct Sum {
    leaves: u64,
    attempts: u64,
    usage: Usage,
}

/// What roles and nodes cost.
fn costs(fold: &RunFold) -> (Vec<CostView>, Vec<CostView>) {
    let mut roles: BTreeMap<&str, Sum> = BTreeMap::new();
    let mut nodes: BTreeMap<&str, Sum> = BTreeMap::new();
    for (ix, instance) in leaves(fold) {
        if instance.started_at.is_none() {
            continue;
        }
        let node = fold.node(instance);
        let add = |sum: &mut Sum| {
            sum.leaves += 1;
            sum.attempts += u64::from(attempts_of(fold, ix));
            sum.usage = sum.usage.plus(instance.used);
        };
        if let Some(role) = role_of(node) {
            add(roles.entry(role).or_default());
        }
        if instance.used != Usage::default() {
            add(nodes.entry(&node.path).or_default());
        }
    }
    let sorted = |sums: BTreeMap<&str, Sum>| {
        let mut costs: Vec<CostView> = sums
            .into_iter()
            .map(|(name, sum)| CostView {
                name: name.to_owned(),
                leaves: sum.leaves,
                attempts: sum.attempts,
                usage: sum.usage.into(),
            })
            .collect();
        // The sort is stable: what cost the same stays in the order of names.
        costs.sort_by_key(|cost| {
            let tokens = cost.usage.input_tokens.unwrap_or(0).saturating_add(cost.usage.output_tokens.unwrap_or(0));
            std::cmp::Reverse((cost.usage.cost_usd_micros.unwrap_or(0), tokens))
        });
        costs.truncate(NODES_MAX);
        costs
    };
    (sorted(roles), sorted(nodes))
}

fn leaves(fold: &RunFold) -> impl Iterator<Item = (Ix, &wf_kernel::Instance)> {
    let all = fold.state().instances().iter().enumerate();
    all.map(|(at, instance)| (Ix(at as u32), instance)).filter(|(_, instance)| fold.node(instance).kind.is_leaf())
}

fn slowest(fold: &RunFold, now_ms: i64) -> Vec<SlowView> {
    let until = fold.state().end().map_or(now_ms.max(fold.state().now()), |end| end.at);
    let elapsed = |instance: &wf_kernel::Instance| {
        let began = instance.started_at?;
        u64::try_from(instance.ended_at.unwrap_or(until).saturating_sub(began)).ok()
    };
    let mut slow: Vec<SlowView> = leaves(fold)
        .filter_map(|(ix, instance)| {
            let elapsed_ms = elapsed(instance)?;
            Some(SlowView { path: instance.path.to_string(), elapsed_ms, attempts: attempts_of(fold, ix) })
        })
        .collect();
    slow.sort_by(|a, b| (b.elapsed_ms, &a.path).cmp(&(a.elapsed_ms, &b.path)));
    slow.truncate(SLOWEST_MAX);
    slow
}

/// What failed of itself: not because of something in it, and not because it was closed from outside.
fn failures(fold: &RunFold) -> (Vec<FailureView>, u64) {
    let mut failures = Vec::new();
    let mut total = 0;
    for (ix, _) in fold.tree_order() {
        let instance = fold.state().instance(ix);
        let failed = matches!(instance.status, Status::Failed | Status::TimedOut | Status::BudgetExceeded);
        let Some(reason) = instance.reason.as_ref().filter(|_| failed) else { continue };
        if matches!(reason, Reason::Child { .. } | Reason::Closed { .. }) {
            continue;
        }
        total += 1;
        if failures.len() < FAILURES_MAX {
            failures.push(FailureView {
                status: instance.status.as_str(),
                reason: reason_view(&instance.path, reason),
                attempts: attempts_of(fold, ix),
                evidence: fold.detail(ix).evidence.as_ref().and_then(|evidence| fold.value(evidence)),
            });
        }
    }
    (failures, total)
}

fn skipped(fold: &RunFold) -> BTreeMap<String, u64> {
    let mut reasons = BTreeMap::new();
    for instance in fold.state().instances().iter().filter(|instance| instance.status == Status::Skipped) {
        let why = instance.reason.as_ref().map_or("", crate::words::reason_code);
        *reasons.entry(why.to_owned()).or_insert(0) += 1;
    }
    reasons
}

fn tests(fold: &RunFold) -> Vec<TestView> {
    let order = fold.tree_order();
    let ran = order.iter().map(|(ix, _)| fold.state().instance(*ix));
    let ran = ran.filter(|instance| matches!(fold.node(instance).kind, Kind::Test(_)) && instance.started_at.is_some());
    ran.map(|instance| {
        let value = instance.value.as_ref().and_then(|value| fold.value(value));
        TestView { path: instance.path.to_string(), passed: value.and_then(|value| value.get("passed").as_bool()) }
    })
    .collect()
}

/// The paths that tournaments chose.
fn winners(fold: &RunFold) -> Vec<String> {
    let contests = fold.state().instances().iter().filter(|at| matches!(fold.node(at).kind, Kind::Tournament(_)));
    let values = contests.filter_map(|contest| fold.value(contest.value.as_ref()?));
    values.filter_map(|value| value.get("winner").as_str().map(str::to_owned)).collect()
}

fn branches(fold: &RunFold) -> Vec<BranchView> {
    let (checks, used) = (tests_of_branches(fold), usage_of_branches(fold));
    let winners = winners(fold);
    let won = |path: &str| {
        // An element of an `expand` is named without its last child, which is the branch.
        winners.iter().any(|winner| {
            let rest = path.strip_prefix(winner.as_str());
            rest.is_some_and(|rest| rest.is_empty() || (winner.ends_with(']') && rest.rfind('/') == Some(0)))
        })
    };
    let mut branches = Vec::new();
    for (ix, _) in fold.tree_order() {
        let instance = fold.state().instance(ix);
        if !fold.node(instance).kind.ends_in_a_tree() {
            continue;
        }
        let Some(checkpoint) = checkpoint_of(fold, ix) else { continue };
        let DiffstatView { files, insertions, deletions } = DiffstatView::of(checkpoint);
        branches.push(BranchView {
            path: instance.path.to_string(),
            status: instance.status.as_str(),
            winner: won(&instance.path),
            commit: checkpoint.commit.clone(),
            files,
            insertions,
            deletions,
            checks: checks.get(&ix).cloned().unwrap_or_default(),
            usage: used.get(&ix).map(|used| (*used).into()),
            outputs: outputs_of(fold, ix).or_else(|| fold.value(instance.value.as_ref()?)),
        });
    }
    branches
}

fn notes(fold: &RunFold) -> Vec<NoteView> {
    let note = |note: &crate::fold::CommandNote| NoteView {
        at: rfc3339(note.at),
        verb: note.verb.to_owned(),
        by: note.by.clone(),
        subject: note.subject.clone(),
        refused: note.refused.clone(),
    };
    fold.commands().iter().map(note).collect()
}

/// What a reader should do next, the most urgent first.
/// What to say of a log that grows long.
fn log_warning(fold: &RunFold) -> Option<NextView> {
    let records = fold.state().records();
    let stop = (records / LOG_RECORDS_MAX + 1) * LOG_RECORDS_MAX;
    let what = format!("see why its log has {records} records; at {stop} the run stops");
    (records >= LOG_RECORDS_WARN && fold.state().end().is_none()).then_some(NextView { what, command: None })
}

/// What to do with a run that waits for nobody, when nobody drives it.
fn adoption(fold: &RunFold, facts: &RunFacts) -> Option<NextView> {
    let state = fold.state();
    let due_at = state.next_timer().map(|(at, _)| at);
    let is_stuck = match state.status() {
        RunStatus::Running | RunStatus::Cancelling => true,
        RunStatus::Waiting => due_at.is_some_and(|at| at < facts.now_ms),
        _ => false,
    };
    (facts.is_alone && is_stuck).then(|| NextView {
        what: format!("let it go on: {}", undriven_text(due_at, facts.now_ms)),
        command: Some(format!("whaleflow resume {}", run_id(state))),
    })
}

fn next_steps(
    fold: &RunFold,
    facts: &RunFacts,
    run: &RunSummary,
    gates: &[GateView],
    failures: &[FailureView],
    branches: &[BranchView],
) -> Vec<NextView> {
    let id = &run.run_id;
    let mut next = Vec::new();
    let mut say = |what: String, command: Option<String>| next.push(NextView { what, command });
    for gate in gates {
        let data = if gate.form.is_some() { " --data '{…}'" } else { "" };
        let path = shell_word(&gate.path);
        say(format!("decide {}", gate.path), Some(format!("whaleflow approve {id} {path}{data}")));
    }
    for instance in fold.state().live().filter(|instance| instance.status == Status::InDoubt) {
        let path = shell_word(&instance.path);
        say(
            format!("{} may or may not have run; look, then try it again or reject it", instance.path),
            Some(format!("whaleflow retry {id} {path}")),
        );
    }
    match fold.state().status() {
        RunStatus::Poisoned => say(
            "see why its process went down, then let it go on or cancel it".to_owned(),
            Some(format!("whaleflow resume {id}")),
        ),
        RunStatus::Paused => say("let it go on".to_owned(), Some(format!("whaleflow resume {id}"))),
        RunStatus::BudgetExceeded => {
            let has_tokens = fold.state().ledger().ceiling.tokens.is_some();
            let flag = match missing_budget(fold.state()).map(|missing| missing.what) {
                Some("tokens") => "--budget-tokens +100000",
                Some("overrun") if has_tokens => "--budget-tokens +100000",
                Some("wall") => "--timeout +30m",
                Some("leaves") => "--budget-leaves +1000",
                _ => "--budget-usd +2",
            };
            say("raise its budget and let it go on".to_owned(), Some(format!("whaleflow resume {id} {flag}")));
        }
        RunStatus::Failed | RunStatus::Cancelled => {
            for failure in failures.iter().take(3) {
                let path = shell_word(&failure.reason.path);
                say(format!("see what {} did", failure.reason.path), Some(format!("whaleflow logs {id} {path}")));
            }
            say("try again what did not succeed".to_owned(), Some(format!("whaleflow retry {id}")));
        }
        RunStatus::Succeeded => {
            let wrote = branches.iter().filter(|branch| branch.files > 0 && branch.status == "succeeded");
            let chosen: Vec<&str> = match winning(fold, &work(fold)) {
                Some((instance, _)) => vec![&*instance.path],
                None => wrote.map(|branch| branch.path.as_str()).collect(),
            };
            for branch in chosen.iter().take(3) {
                say(format!("see what {branch} changed"), Some(format!("whaleflow diff {id} {}", shell_word(branch))));
            }
            if chosen.len() == 1 {
                say("take it into your checkout".to_owned(), Some(format!("whaleflow apply {id}")));
            }
            if run.verified == "none" && !chosen.is_empty() {
                say("no test speaks for the result: check it, or add a `test` to the workflow".to_owned(), None);
            }
            if run.verified == "failed" {
                say("a test did not pass: look at it before you use the result".to_owned(), None);
            }
        }
        RunStatus::Running | RunStatus::Cancelling if !facts.is_alone => {
            say("watch it".to_owned(), Some(format!("whaleflow attach {id}")));
        }
        RunStatus::Running | RunStatus::Cancelling | RunStatus::Waiting => {}
    }
    for rescued in fold.rescued() {
        let name = shell_word(&rescued.name);
        say(format!("look at unsaved work of {}", rescued.path), Some(format!("git show {name}")));
    }
    next
}
