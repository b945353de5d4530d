//! Tournaments: who won, against whom, and what the losers leave.

use schemars::JsonSchema;
use serde::Serialize;
use wf_ir::{Kind, Value};
use wf_kernel::{Ix, RunState};

use crate::fold::RunFold;
use crate::schema;

/// What a judge says who prefers neither.
pub(crate) const TIE: &str = "tie";

/// A tournament that has been decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ContestView {
    /// The tournament.
    pub path: String,
    /// Who won.
    pub winner: String,
    /// All candidates, best first.
    pub ranking: Vec<StandingView>,
    /// The matches that judges decided, in order; none where a score did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bracket: Vec<MatchView>,
    /// What losers leave.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fruit: Vec<FruitView>,
}

/// How a candidate stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StandingView {
    /// The candidate.
    pub path: String,
    /// How it ended.
    pub status: String,
    /// Whether it could win.
    pub eligible: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Its score.
    #[schemars(schema_with = "schema::any")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<Value>,
}

/// One comparison by judges, made twice with the order swapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MatchView {
    /// Who had won so far.
    pub first: String,
    /// Who came against it.
    pub second: String,
    /// Whom the judge preferred in this order, and whom in the other; `tie` where neither.
    pub votes: Vec<String>,
    /// Who won; a tie or a disagreement leaves the first.
    pub winner: String,
}

/// What a loser leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FruitView {
    /// The candidate.
    pub path: String,
    /// Whether its typed results are kept; they are in the tournament's value.
    pub results: bool,
    /// Tests that it added.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<String>,
    /// Files that it changed, where the winner changed none of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patch: Vec<String>,
    /// Where it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The combinations that took it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taken_by: Vec<String>,
}

impl ContestView {
    /// The tournaments of a run that have been decided, in order.
    pub fn all(fold: &RunFold) -> Vec<Self> {
        fold.tree_order().into_iter().filter_map(|(ix, _)| Self::of(fold, ix)).collect()
    }

    /// The tournament that an instance is, if it has been decided and its value is at hand.
    pub fn of(fold: &RunFold, ix: Ix) -> Option<Self> {
        let instance = fold.state().instance(ix);
        if !matches!(fold.node(instance).kind, Kind::Tournament(_)) {
            return None;
        }
        let value = fold.value(instance.value.as_ref()?)?;
        let list = |name: &str| value.get(name).as_list().unwrap_or_default().to_vec();
        Some(Self {
            path: instance.path.to_string(),
            winner: text(value.get("winner")),
            ranking: list("ranking").iter().map(StandingView::of).collect(),
            bracket: list("bracket").iter().map(MatchView::of).collect(),
            fruit: list("fruit").iter().map(|fruit| FruitView::of(fruit, fold, ix)).collect(),
        })
    }
}

impl StandingView {
    fn of(value: &Value) -> Self {
        let score = value.get("score");
        Self {
            path: text(value.get("path")),
            status: text(value.get("status")),
            eligible: value.get("eligible").as_bool() == Some(true),
            why: value.get("why").as_str().map(str::to_owned),
            score: (*score != Value::Null).then(|| score.clone()),
        }
    }
}

impl MatchView {
    fn of(value: &Value) -> Self {
        let (first, second) = (text(value.get("first")), text(value.get("second")));
        // The second time the two changed places.
        let shown = [(&first, &second), (&second, &first)];
        let votes =
            texts(value.get("votes")).into_iter().zip(shown).map(|(vote, (first, second))| match vote.as_str() {
                "first" => first.clone(),
                "second" => second.clone(),
                _ => vote,
            });
        Self { votes: votes.collect(), first, second, winner: text(value.get("winner")) }
    }
}

impl FruitView {
    fn of(value: &Value, fold: &RunFold, contest: Ix) -> Self {
        let path = text(value.get("path"));
        Self {
            results: *value.get("results") != Value::Null,
            tests: texts(value.get("tests")),
            patch: texts(value.get("patch")),
            commit: value.get("commit").as_str().map(str::to_owned),
            taken_by: takers(fold, contest, &path),
            path,
        }
    }
}

/// The combinations of a tournament that took the fruit of a candidate.
fn takers(fold: &RunFold, contest: Ix, path: &str) -> Vec<String> {
    let state: &RunState = fold.state();
    let contest = state.instance(contest).node;
    let combines = |node: &wf_ir::Node| match &node.kind {
        Kind::Reduce(reduce) => node.kind.ends_in_a_tree() && reduce.inputs.nodes() == [contest],
        _ => false,
    };
    let mut takers = Vec::new();
    for instance in state.instances().iter().filter(|it| combines(fold.node(it))) {
        let value = instance.value.as_ref().and_then(|value| fold.value(value));
        let taken = value.iter().flat_map(|value| value.get("taken").as_list().unwrap_or_default());
        if taken.into_iter().any(|part| part.get("path").as_str() == Some(path)) {
            takers.push(instance.path.to_string());
        }
    }
    takers
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_list().unwrap_or_default().iter().filter_map(|item| Some(item.as_str()?.to_owned())).collect()
}
