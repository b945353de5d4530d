//! Instances of a run as rows of a tree, and which of them are shown when there is no room for all.

use wf_ir::{Kind, Status};
use wf_kernel::Ix;
use wf_kernel::state::Instance;
use wf_view::RunFold;
use wf_view::text::{amount, duration, money};
use wf_view::words::{reason_text, wait_text};

use super::style::{Line, Tone};

/// An `expand` or loop with more elements than this is one row with counts, and shows only what goes on in it.
const ELEMENTS_SHOWN_MAX: usize = 12;
/// Columns of a progress bar.
const BAR_COLUMNS: u64 = 20;

/// A row of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) ix: Ix,
    pub(super) depth: usize,
}

/// The rows to show where there is room for `room` of them, in order, and how many instances are not shown. What waits
/// for people comes first, then what runs, then the outline, then what failed, then the rest.
pub(super) fn rows(fold: &RunFold, room: usize) -> (Vec<Row>, usize) {
    let order = fold.tree_order();
    let mut rank = vec![u8::MAX; order.len()];
    for (ix, depth) in &order {
        let own = rank_of(fold, *ix, *depth);
        let at = ix.0 as usize;
        rank[at] = rank[at].min(own);
        // Whatever is shown, so is what encloses it.
        for above in fold.ancestors(*ix) {
            let above = above.0 as usize;
            if rank[above] <= own {
                break;
            }
            rank[above] = own;
        }
    }
    let candidates = order.iter().enumerate().filter(|(_, (ix, _))| rank[ix.0 as usize] < u8::MAX);
    let mut chosen: Vec<(u8, usize)> = candidates.map(|(at, (ix, _))| (rank[ix.0 as usize], at)).collect();
    chosen.sort_unstable();
    chosen.truncate(room);
    let mut places: Vec<usize> = chosen.into_iter().map(|(_, at)| at).collect();
    places.sort_unstable();
    let hidden = order.len() - places.len();
    (places.into_iter().map(|at| Row { ix: order[at].0, depth: order[at].1 }).collect(), hidden)
}

/// How much an instance matters; [`u8::MAX`] is never shown for its own sake.
fn rank_of(fold: &RunFold, ix: Ix, depth: usize) -> u8 {
    let instance = fold.state().instance(ix);
    let is_leaf = fold.node(instance).kind.is_leaf();
    match instance.status {
        Status::InDoubt => 0,
        Status::Waiting if waits_for_people(instance) => 0,
        Status::Running | Status::Waiting | Status::Ready if is_leaf => 1,
        _ if depth == 0 => 2,
        Status::Failed | Status::TimedOut | Status::BudgetExceeded if is_leaf => 3,
        _ if in_crowd(fold, ix) => u8::MAX,
        _ => 3_u8.saturating_add(u8::try_from(depth).unwrap_or(200)).min(200),
    }
}

fn waits_for_people(instance: &Instance) -> bool {
    use wf_kernel::record::WaitReason;
    matches!(instance.waiting, Some(WaitReason::Decision | WaitReason::Signal { .. }))
}

/// Whether an instance is one of very many elements.
fn in_crowd(fold: &RunFold, ix: Ix) -> bool {
    fold.ancestors(ix).any(|above| is_crowd(fold.state().instance(above)))
}

fn is_crowd(instance: &Instance) -> bool {
    let elements = instance.expansion.as_ref().map_or(0, |expansion| expansion.count as usize);
    instance.frames.len().max(elements) > ELEMENTS_SHOWN_MAX
}

/// The mark of a status.
pub(super) fn mark(status: Status) -> (Tone, &'static str) {
    match status {
        Status::Pending | Status::Ready => (Tone::Dim, "·"),
        Status::Running => (Tone::Active, "▸"),
        Status::Waiting => (Tone::Warn, "◦"),
        Status::InDoubt => (Tone::Warn, "?"),
        Status::Succeeded => (Tone::Good, "✓"),
        Status::Failed => (Tone::Bad, "✗"),
        Status::TimedOut => (Tone::Bad, "✗"),
        Status::BudgetExceeded => (Tone::Bad, "$"),
        Status::Skipped => (Tone::Dim, "–"),
        Status::Cancelled => (Tone::Warn, "⊘"),
    }
}

/// A row as a line: mark, name, what it is, how long, why.
pub(super) fn line(fold: &RunFold, row: Row, now_ms: i64, trace: Option<&str>) -> Line {
    let instance = fold.state().instance(row.ix);
    let node = fold.node(instance);
    let (tone, mark) = mark(instance.status);
    let name_tone = if instance.status == Status::Pending { Tone::Dim } else { Tone::Plain };
    let line = Line::default().text(&"  ".repeat(row.depth)).add(tone, mark).text(" ");
    let line = line.add(name_tone, name(fold, row.ix)).text(" ").add(Tone::Dim, node.kind.name());
    let elapsed = elapsed_ms(instance, now_ms).map(duration).unwrap_or_default();
    let progress = progress(instance, &node.kind);
    let spent = if node.kind.is_leaf() { spent(instance) } else { String::new() };
    let attempt = match instance.status {
        Status::Running | Status::Waiting if instance.attempt > 1 => format!("attempt {}", instance.attempt),
        _ => String::new(),
    };
    let why = why(instance);
    let trace = trace.filter(|_| instance.status == Status::Running).unwrap_or_default();
    line.dotted([
        (Tone::Plain, progress.as_str()),
        (Tone::Dim, elapsed.as_str()),
        (Tone::Dim, spent.as_str()),
        (Tone::Warn, attempt.as_str()),
        (tone, why.as_str()),
        (Tone::Dim, trace),
    ])
}

/// The last part of a path, with the number of its element where it has one.
pub(super) fn name(fold: &RunFold, ix: Ix) -> &str {
    let path: &str = &fold.state().instance(ix).path;
    let around = fold.ancestors(ix).next().map_or("", |above| &*fold.state().instance(above).path);
    let rest = path.strip_prefix(around).unwrap_or(path);
    rest.strip_prefix('/').unwrap_or(rest)
}

/// From the beginning of an instance to its end, or until now.
pub(super) fn elapsed_ms(instance: &Instance, now_ms: i64) -> Option<u64> {
    let began = instance.started_at?;
    u64::try_from(instance.ended_at.unwrap_or(now_ms).saturating_sub(began)).ok()
}

/// Tokens and money of an instance, as far as they are known.
pub(super) fn spent(instance: &Instance) -> String {
    let used = instance.used;
    let tokens = match (used.input_tokens, used.output_tokens) {
        (None, None) => None,
        (input, output) => Some(input.unwrap_or(0).saturating_add(output.unwrap_or(0))),
    };
    let parts = [tokens.map(|tokens| format!("{} tokens", amount(tokens))), used.cost_usd_micros.map(money)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// What holds an instance up, or why it did not succeed.
pub(super) fn why(instance: &Instance) -> String {
    match (instance.status, &instance.waiting, &instance.reason) {
        (Status::InDoubt, ..) => "may or may not have run: retry it, or reject it".to_owned(),
        (Status::Waiting, Some(waiting), _) => wait_text(waiting),
        (status, _, Some(reason)) if status.is_terminal() && status != Status::Succeeded => reason_text(reason),
        _ => String::new(),
    }
}

/// How far a node with many elements has come.
fn progress(instance: &Instance, kind: &Kind) -> String {
    let Some(expansion) = &instance.expansion else {
        return match kind {
            Kind::LoopUntil { iterations_max, .. } if !instance.frames.is_empty() => {
                format!("iteration {} of {iterations_max}", instance.frames.len())
            }
            _ => String::new(),
        };
    };
    let count = u64::from(expansion.count);
    let ended = (instance.frames.len() as u64).saturating_sub(u64::from(instance.open_frames));
    let filled = (ended.min(count) * BAR_COLUMNS).checked_div(count).unwrap_or(BAR_COLUMNS);
    let bar: String = (0..BAR_COLUMNS).map(|at| if at < filled { '█' } else { '░' }).collect();
    let mut text = format!("{bar} {ended}/{count}");
    if instance.bad_frames > 0 {
        text.push_str(&format!(", {} failed", instance.bad_frames));
    }
    if instance.open_frames > 0 {
        text.push_str(&format!(", {} open", instance.open_frames));
    }
    text
}
