//! A run while it goes on, as plain lines for files, pipes and logs: one when an instance ends, is tried again or waits.

use wf_kernel::record::{Decision, Record, WaitReason};
use wf_view::RunFold;
use wf_view::text::duration;
use wf_view::words::{reason_text, run_status_text, status_phrase, wait_text};

use super::live::status_tone;
use super::style::{Line, Style, Tone};
use super::tree;

/// The line for a record that was just folded, if it deserves one.
pub(crate) fn progress_line(fold: &RunFold, record: &Record, style: Style) -> Option<String> {
    let Record::Decision(decision) = record else { return None };
    let (path, tone, text) = match decision {
        Decision::Ended { path, status, .. } => {
            let ix = fold.state().at_path(path)?;
            let instance = fold.state().instance(ix);
            let is_leaf = fold.node(instance).kind.is_leaf();
            if !is_leaf && fold.ancestors(ix).next().is_some() {
                return None;
            }
            let took = tree::elapsed_ms(instance, fold.state().now()).map(duration);
            let facts: Vec<String> =
                took.into_iter().chain([tree::spent(instance)]).filter(|it| !it.is_empty()).collect();
            let why = tree::why(instance);
            let why = if why.is_empty() { why } else { format!(": {why}") };
            let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
            (&**path, tree::mark(*status).0, format!("{}{facts}{why}", status_phrase(*status)))
        }
        Decision::RetryScheduled { path, attempt, reason, .. } => {
            (&**path, Tone::Warn, format!("attempt {attempt} follows: {}", reason_text(reason)))
        }
        Decision::Waiting { reason: WaitReason::Tree { .. } | WaitReason::Retry { .. }, .. } => return None,
        Decision::Waiting { path, reason } => (&**path, Tone::Warn, wait_text(reason)),
        Decision::GateOpened { path, .. } => (&**path, Tone::Warn, "waits for a decision".to_owned()),
        Decision::InDoubt { path, .. } => (&**path, Tone::Warn, "may or may not have run".to_owned()),
        Decision::Suspended { .. } => ("", Tone::Warn, "orders nothing new".to_owned()),
        Decision::Resumed { .. } | Decision::Reopened { .. } => ("", Tone::Active, "goes on".to_owned()),
        Decision::RunEnded { status, .. } => ("", status_tone(*status), run_status_text(*status).to_owned()),
        _ => return None,
    };
    Some(line(fold, path, tone, &text).finish(style))
}

/// When, how far, what.
fn line(fold: &RunFold, path: &str, tone: Tone, text: &str) -> Line {
    let state = fold.state();
    let since = u64::try_from(state.now().saturating_sub(state.started_at())).unwrap_or(0);
    let leaves = state.leaf_counts();
    let path = if path.is_empty() { "run" } else { path };
    let done = format!("{}/{}", leaves.done, leaves.total);
    let line = Line::of(Tone::Dim, &format!("{:>7}  {done:>7}  ", duration(since)));
    line.text(path).text(" ").add(tone, text)
}
