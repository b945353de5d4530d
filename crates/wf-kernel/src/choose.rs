//! Reducers: folds, pareto sets, tournaments. Pure functions over candidates.

use std::collections::BTreeMap;
use std::sync::Arc;

use wf_ir::node::How;
use wf_ir::{Decimal, Status, Value};

use crate::scope::envelope;

/// One envelope that a reducer weighs.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Its path.
    pub(crate) path: Arc<str>,
    /// How it ended.
    pub(crate) status: Status,
    /// What it gave; null unless it succeeded.
    pub(crate) value: Arc<Value>,
    /// What its branch did, where it is a branch that worked in a tree.
    pub(crate) work: Option<Work>,
}

/// What a branch did to its tree.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) base: String,
    pub(crate) commit: String,
    /// Paths with the word for their change.
    pub(crate) files: Vec<(String, String)>,
}

impl Candidate {
    pub(crate) fn succeeded(&self) -> bool {
        self.status == Status::Succeeded
    }

    pub(crate) fn envelope(&self) -> Value {
        envelope(&self.path, self.status, &self.value)
    }

    /// The names that `by` and `require` read.
    pub(crate) fn names(&self) -> BTreeMap<String, Arc<Value>> {
        BTreeMap::from([
            ("path".to_owned(), Arc::new(Value::from(&*self.path))),
            ("status".to_owned(), Arc::new(Value::from(self.status.as_str()))),
            ("value".to_owned(), self.value.clone()),
        ])
    }
}

/// A score, comparable and exact: millionths.
pub(crate) fn score_of(value: &Value) -> Option<i128> {
    match value {
        Value::Int(value) => Some(i128::from(*value) * 1_000_000),
        Value::Decimal(value) => Some(i128::from(value.micros())),
        Value::Bool(value) => Some(i128::from(*value) * 1_000_000),
        _ => None,
    }
}

/// A score as a value again.
fn score_value(score: i128) -> Value {
    if score % 1_000_000 == 0 {
        return i64::try_from(score / 1_000_000).map_or(Value::Null, Value::Int);
    }
    i64::try_from(score).ok().and_then(Decimal::from_micros).map_or(Value::Null, Value::Decimal)
}

/// Folds what succeeded; `keys` are the values of `by`, one for each candidate that succeeded. `None` when nothing did.
pub(crate) fn fold(how: &How, succeeded: &[Candidate], keys: &[Value]) -> Option<Value> {
    if succeeded.is_empty() {
        return None;
    }
    Some(match how {
        How::Concat => {
            let mut items = Vec::new();
            for candidate in succeeded {
                match &*candidate.value {
                    Value::List(more) => items.extend(more.iter().cloned()),
                    one => items.push(one.clone()),
                }
            }
            Value::List(items)
        }
        How::Merge => {
            let mut entries = BTreeMap::new();
            for candidate in succeeded {
                entries.extend(candidate.value.as_map().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
            }
            Value::Map(entries)
        }
        How::Vote { .. } => vote(keys),
        How::Best { .. } => {
            let mut best = 0;
            for at in 1..succeeded.len() {
                if score_of(&keys[at]) > score_of(&keys[best]) {
                    best = at;
                }
            }
            (*succeeded[best].value).clone()
        }
        How::Model { .. } | How::Combine { .. } => return None,
    })
}

fn vote(keys: &[Value]) -> Value {
    let mut votes: BTreeMap<&Value, (usize, i64)> = BTreeMap::new();
    for (at, key) in keys.iter().enumerate() {
        votes.entry(key).or_insert((at, 0)).1 += 1;
    }
    let winner = votes.into_iter().max_by_key(|(_, (first, count))| (*count, std::cmp::Reverse(*first)));
    let (value, count) = winner.map_or((Value::Null, 0), |(value, (_, count))| (value.clone(), count));
    Value::map([("value", value), ("votes", Value::Int(count)), ("total", Value::Int(keys.len() as i64))])
}

/// The non-dominated candidates; `scores[i]` are larger where better. At most `items_max`, the most diverse first.
pub(crate) fn pareto(scores: &[Vec<i128>], items_max: usize) -> Vec<usize> {
    let dominates = |a: &[i128], b: &[i128]| a.iter().zip(b).all(|(a, b)| a >= b) && a != b;
    let front: Vec<usize> = (0..scores.len())
        .filter(|at| !(0..scores.len()).any(|other| dominates(&scores[other], &scores[*at])))
        .collect();
    if front.len() <= items_max {
        return front;
    }
    diverse(scores, &front, items_max)
}

/// Greedy farthest-point choice on objectives scaled to thousandths of their range, begun with the best of the first
/// objective. Ties go to the earlier candidate, so that the choice is total.
fn diverse(scores: &[Vec<i128>], front: &[usize], items_max: usize) -> Vec<usize> {
    let width = scores.first().map_or(0, Vec::len);
    let scaled = |at: usize, objective: usize| {
        let column = || front.iter().map(|at| scores[*at][objective]);
        let (low, high) = (column().min().unwrap_or(0), column().max().unwrap_or(0));
        if high == low { 0 } else { (scores[at][objective] - low) * 1_000 / (high - low) }
    };
    let distance = |a: usize, b: usize| -> i128 {
        (0..width).map(|objective| (scaled(a, objective) - scaled(b, objective)).pow(2)).sum()
    };
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < items_max {
        let rest = front.iter().copied().filter(|at| !chosen.contains(at));
        let next = rest.max_by_key(|at| {
            let apart = chosen.iter().map(|other| distance(*at, *other)).min();
            (apart.unwrap_or(0), scores[*at].first().copied(), std::cmp::Reverse(*at))
        });
        let Some(next) = next else { break };
        chosen.push(next);
    }
    chosen.sort_unstable();
    chosen
}

/// A candidate's standing in a tournament.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Whether it may win.
    pub(crate) eligible: bool,
    /// Why not.
    pub(crate) why: Option<String>,
    /// Its score, if it was scored.
    pub(crate) score: Option<i128>,
}

/// One comparison by judges.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    pub(crate) first: usize,
    pub(crate) second: usize,
    /// What the judge said of (first, second), and of (second, first).
    pub(crate) votes: (String, String),
}

impl Match {
    /// The second must win both ways; otherwise it is a tie, and the earlier stays.
    pub(crate) fn winner(&self) -> usize {
        if self.votes.0 == "second" && self.votes.1 == "first" { self.second } else { self.first }
    }
}

/// The best eligible score; a tie goes to the earliest.
pub(crate) fn best_by_score(standings: &[Standing]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (at, standing) in standings.iter().enumerate().filter(|(_, standing)| standing.eligible) {
        if best.is_none_or(|best| standing.score > standings[best].score) {
            best = Some(at);
        }
    }
    best
}

/// A tournament's value: `{winner, value, ranking, bracket, fruit}`.
pub(crate) fn tournament_value(
    candidates: &[Candidate],
    standings: &[Standing],
    bracket: &[Match],
    winner: usize,
    harvest: &[String],
) -> Value {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|at| (*at != winner, !standings[*at].eligible, std::cmp::Reverse(standings[*at].score), *at));
    let ranking = order.iter().map(|at| {
        let (candidate, standing) = (&candidates[*at], &standings[*at]);
        let mut entry = BTreeMap::from([
            ("path".to_owned(), Value::from(&*candidate.path)),
            ("status".to_owned(), Value::from(candidate.status.as_str())),
            ("eligible".to_owned(), Value::Bool(standing.eligible)),
        ]);
        entry.extend(standing.score.map(|score| ("score".to_owned(), score_value(score))));
        entry.extend(standing.why.clone().map(|why| ("why".to_owned(), Value::Str(why))));
        Value::Map(entry)
    });
    let bracket = bracket.iter().map(|game| {
        Value::map([
            ("first", Value::from(&*candidates[game.first].path)),
            ("second", Value::from(&*candidates[game.second].path)),
            ("votes", Value::List(vec![Value::from(game.votes.0.as_str()), Value::from(game.votes.1.as_str())])),
            ("winner", Value::from(&*candidates[game.winner()].path)),
        ])
    });
    let ranking: Vec<Value> = ranking.collect();
    let bracket: Vec<Value> = bracket.collect();
    Value::map([
        ("winner", Value::from(&*candidates[winner].path)),
        ("value", (*candidates[winner].value).clone()),
        ("ranking", Value::List(ranking)),
        ("bracket", Value::List(bracket)),
        ("fruit", Value::List(fruit(candidates, winner, harvest))),
    ])
}

/// What losers leave: typed results, tests they added, patches that touch nothing the winner touched.
fn fruit(candidates: &[Candidate], winner: usize, harvest: &[String]) -> Vec<Value> {
    let wants = |what: &str| harvest.iter().any(|it| it == what);
    let winner_files: Vec<&String> =
        candidates[winner].work.iter().flat_map(|work| work.files.iter().map(|(path, _)| path)).collect();
    let mut fruit = Vec::new();
    for candidate in candidates.iter().enumerate().filter(|(at, _)| *at != winner).map(|(_, it)| it) {
        let mut entry = BTreeMap::new();
        if wants("results") && candidate.succeeded() {
            entry.insert("results".to_owned(), (*candidate.value).clone());
        }
        if let Some(work) = &candidate.work {
            let paths = |files: Vec<&String>| Value::List(files.into_iter().map(|p| Value::from(p.as_str())).collect());
            let tests: Vec<_> =
                work.files.iter().filter(|(path, how)| how == "added" && is_test(path)).map(|(path, _)| path).collect();
            if wants("tests") && !tests.is_empty() {
                entry.insert("tests".to_owned(), paths(tests));
                entry.insert("commit".to_owned(), Value::from(work.commit.as_str()));
            }
            let files: Vec<_> = work.files.iter().map(|(path, _)| path).collect();
            let disjoint = !files.is_empty() && files.iter().all(|path| !winner_files.contains(path));
            if wants("patches") && disjoint {
                entry.insert("base".to_owned(), Value::from(work.base.as_str()));
                entry.insert("commit".to_owned(), Value::from(work.commit.as_str()));
                entry.insert("patch".to_owned(), paths(files));
            }
        }
        if !entry.is_empty() {
            entry.insert("path".to_owned(), Value::from(&*candidate.path));
            fruit.push(Value::Map(entry));
        }
    }
    fruit
}

/// Whether a path looks like a test: a segment that is or begins with `test`, or a name that ends with `test`.
fn is_test(path: &str) -> bool {
    path.split('/').any(|segment| {
        let stem = segment.split('.').next().unwrap_or(segment);
        stem.starts_with("test") || stem.ends_with("_test") || stem == "spec"
    })
}
