//! A run while it goes on, as the lines of a screen.

use std::collections::BTreeMap;

use wf_ir::Status;
use wf_kernel::{RunStatus, Stage};
use wf_view::RunFold;
use wf_view::text::{amount, duration, money, shell_word};
use wf_view::words::run_status_text;

use super::style::{Line, Style, Tone};
use super::tree;

/// What a screen shows of a run.
pub(crate) struct LiveTree<'a> {
    /// The run.
    pub(crate) fold: &'a RunFold,
    /// The time.
    pub(crate) now_ms: i64,
    /// The last line of the trace of each instance that has one, by path.
    pub(crate) traces: &'a BTreeMap<String, String>,
}

impl LiveTree<'_> {
    /// The lines of a screen of this height: at most that many, none wider than the style says.
    pub(crate) fn lines(&self, style: Style, height: usize) -> Vec<String> {
        let mut lines = self.header();
        lines.truncate(height);
        let room = height - lines.len();
        let (mut rows, mut hidden) = tree::rows(self.fold, room);
        if hidden > 0 && rows.len() == room {
            // The last row says that there are more.
            hidden += usize::from(rows.pop().is_some());
        }
        for row in rows {
            let path: &str = &self.fold.state().instance(row.ix).path;
            let trace = self.traces.get(path).map(String::as_str);
            lines.push(tree::line(self.fold, row, self.now_ms, trace));
        }
        if hidden > 0 && lines.len() < height {
            lines.push(Line::of(Tone::Dim, &format!("  and {hidden} more")));
        }
        lines.iter().map(|line| line.finish(style)).collect()
    }

    fn header(&self) -> Vec<Line> {
        let state = self.fold.state();
        let run_id = state.started().map_or("", |started| started.run_id.as_str());
        let status = state.status();
        let title = Line::of(Tone::Bold, state.workflow().name()).text(" ").add(Tone::Dim, run_id);
        let leaves = leaves_text(self.fold);
        let until = state.end().map_or(self.now_ms, |end| end.at);
        let elapsed = duration(u64::try_from(until.saturating_sub(state.started_at())).unwrap_or(0));
        let title = title.dotted([
            (status_tone(status), run_status_text(status)),
            (Tone::Plain, leaves.as_str()),
            (Tone::Plain, elapsed.as_str()),
        ]);
        let (tokens, cost) = spent_texts(self.fold);
        let longest = state.head().longest.filter(|_| !status.is_ended()).map_or_else(String::new, |(path, since)| {
            let elapsed = u64::try_from(self.now_ms.saturating_sub(since)).unwrap_or(0);
            format!("longest {path} {}", duration(elapsed))
        });
        let second = Line::default().dotted([
            (Tone::Dim, tokens.as_str()),
            (Tone::Dim, cost.as_str()),
            (Tone::Dim, "memo 0 hits"),
            (Tone::Dim, longest.as_str()),
        ]);
        let mut lines = vec![title, second];
        lines.extend(self.calls(run_id));
        lines
    }

    /// What waits for a person, with the command that answers it.
    fn calls(&self, run_id: &str) -> Vec<Line> {
        let mut calls = Vec::new();
        for instance in self.fold.state().live() {
            let command = match (&instance.stage, instance.status) {
                (Stage::Gate(_), _) => "approve",
                (_, Status::InDoubt) => "retry",
                _ => continue,
            };
            let line = Line::of(Tone::Warn, "waits for you: ").text(&instance.path);
            let path = shell_word(&instance.path);
            calls.push(line.add(Tone::Dim, &format!("  (whaleflow {command} {run_id} {path})")));
        }
        calls.truncate(3);
        calls
    }
}

/// The tone of a run's status.
pub(super) fn status_tone(status: RunStatus) -> Tone {
    match status {
        RunStatus::Running => Tone::Active,
        RunStatus::Waiting | RunStatus::Paused | RunStatus::Poisoned | RunStatus::Cancelling | RunStatus::Cancelled => {
            Tone::Warn
        }
        RunStatus::Succeeded => Tone::Good,
        RunStatus::Failed | RunStatus::BudgetExceeded => Tone::Bad,
    }
}

/// `3/6 leaves, 1 failed, 2 skipped`
pub(super) fn leaves_text(fold: &RunFold) -> String {
    let leaves = fold.state().leaf_counts();
    let mut text = format!("{}/{} leaves", leaves.done, leaves.total);
    for (count, word) in [(leaves.failed, "failed"), (leaves.skipped, "skipped")] {
        if count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    text
}

/// Tokens and money used, against their ceilings.
pub(super) fn spent_texts(fold: &RunFold) -> (String, String) {
    let (used, ledger) = (fold.state().used(), fold.state().ledger());
    let tokens = match (used.input_tokens, used.output_tokens) {
        (None, None) => None,
        (input, output) => Some(input.unwrap_or(0).saturating_add(output.unwrap_or(0))),
    };
    let against = |used: Option<String>, most: Option<String>| match (used, most) {
        (used, Some(most)) => format!("{} of {most}", used.unwrap_or_else(|| "0".to_owned())),
        (Some(used), None) => used,
        (None, None) => String::new(),
    };
    let mut tokens = against(tokens.map(amount), ledger.ceiling.tokens.map(amount));
    if !tokens.is_empty() {
        tokens.push_str(" tokens");
    }
    let cost = against(used.cost_usd_micros.map(money), ledger.ceiling.cost_usd_micros.map(money));
    (tokens, cost)
}
