//! A run that is over, or waits, in a few lines: how it ended, what it gave, what to do next.

use std::fmt::Write as _;

use wf_ir::Value;
use wf_view::text::{clean_lines, duration};
use wf_view::words::{run_status_text, verified_text};
use wf_view::{ReportView, RunFacts, RunFold};

use super::live::{leaves_text, spent_texts, status_tone};
use super::style::{Line, Style, Tone};

/// The longest JSON text of outputs that a summary shows, in characters.
const OUTPUT_CHARS_MAX: usize = 2_000;

/// The summary of a run.
pub(crate) fn summary(fold: &RunFold, facts: &RunFacts, style: Style) -> String {
    let report = ReportView::of(fold, facts);
    let (run, state) = (&report.run, fold.state());
    let mut text = String::new();
    let mut put = |line: Line| _ = writeln!(text, "{}", line.finish(style));
    let (tokens, cost) = spent_texts(fold);
    let (leaves, elapsed) = (leaves_text(fold), duration(run.duration_ms));
    let title = Line::of(Tone::Bold, &run.workflow.id).text(" ").add(Tone::Dim, &run.run_id);
    put(title.dotted([
        (status_tone(state.status()), run_status_text(state.status())),
        (Tone::Plain, leaves.as_str()),
        (Tone::Plain, elapsed.as_str()),
        (Tone::Plain, tokens.as_str()),
        (Tone::Plain, cost.as_str()),
    ]));
    if let Some(reason) = &run.reason {
        let at = if reason.path.is_empty() { String::new() } else { format!("{}: ", reason.path) };
        put(Line::of(Tone::Dim, "why       ").text(&at).text(&reason.message));
    }
    if let Some(end) = state.end() {
        let tone = match end.verified {
            wf_kernel::Verified::Passed => Tone::Good,
            wf_kernel::Verified::Failed => Tone::Bad,
            wf_kernel::Verified::None => Tone::Plain,
        };
        put(Line::of(Tone::Dim, "verified  ").add(tone, verified_text(end.verified)));
    }
    if let Some(outputs) = run.outputs.as_deref().filter(|outputs| **outputs != Value::Null) {
        put(Line::of(Tone::Dim, "outputs"));
        text.push_str(&json_block(outputs, OUTPUT_CHARS_MAX, "  "));
    }
    if !report.next.is_empty() {
        _ = writeln!(text, "{}", Line::of(Tone::Dim, "next").finish(style));
    }
    for next in &report.next {
        let line = Line::default().text("  ").text(&next.what);
        _ = writeln!(text, "{}", line.finish(style));
        if let Some(command) = &next.command {
            // A command is never cut: it is there to be copied.
            _ = writeln!(text, "    {}", style.paint(Tone::Active, &wf_view::text::clean(command)));
        }
    }
    text
}

/// A value as indented JSON, safe for a terminal, cut where it is too long.
pub(super) fn json_block(value: &Value, chars_max: usize, indent: &str) -> String {
    let json = match value {
        Value::Str(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    text_block(&json, chars_max, indent)
}

/// Foreign text, indented, safe for a terminal, cut where it is too long.
pub(super) fn text_block(text: &str, chars_max: usize, indent: &str) -> String {
    let text = clean_lines(text);
    let cut = text.char_indices().nth(chars_max).map(|(at, _)| at);
    let mut block = String::new();
    for line in text[..cut.unwrap_or(text.len())].lines() {
        _ = writeln!(block, "{indent}{line}");
    }
    if cut.is_some() {
        _ = writeln!(block, "{indent}… (longer; --json shows all of it)");
    }
    block
}
