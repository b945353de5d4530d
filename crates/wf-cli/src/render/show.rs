//! A run, or one of its instances, in full.

use std::fmt::Write as _;

use wf_ir::Value;
use wf_view::run::{AttemptView, FileView, TestView, UsageView};
use wf_view::text::{amount, money};
use wf_view::{ContestView, InstanceDetail, LogLine, RunFacts, RunFold};

use super::style::{Line, Style, Tone};
use super::summary::{json_block, summary, text_block};
use super::tree;

/// The most rows that `show` prints of a run.
const ROWS_MAX: usize = 500;
/// The longest text of one part of an instance, in characters.
const PART_CHARS_MAX: usize = 20_000;

/// What `show RUN` prints.
pub(crate) fn run_text(fold: &RunFold, facts: &RunFacts, style: Style) -> String {
    let mut text = summary(fold, facts, style);
    text.push('\n');
    let now_ms = fold.state().end().map_or(facts.now_ms, |end| end.at);
    let (rows, hidden) = tree::rows(fold, ROWS_MAX);
    for row in rows {
        _ = writeln!(text, "{}", tree::line(fold, row, now_ms, None).finish(style));
    }
    if hidden > 0 {
        let more = format!("  and {hidden} more (--json shows all of them)");
        _ = writeln!(text, "{}", style.paint(Tone::Dim, &more));
    }
    for contest in ContestView::all(fold) {
        text.push('\n');
        text.push_str(&contest_text(&contest, style));
    }
    text
}

/// Who won a tournament against whom, and what the losers leave.
fn contest_text(contest: &ContestView, style: Style) -> String {
    let mut text = String::new();
    let title = Line::of(Tone::Dim, &contest.path).text(" won by ").add(Tone::Good, &contest.winner);
    _ = writeln!(text, "{}", title.finish(style));
    for (place, standing) in contest.ranking.iter().enumerate() {
        let score = standing.score.as_ref().map(Value::to_json).unwrap_or_default();
        let tone = if standing.eligible { Tone::Plain } else { Tone::Dim };
        let line = Line::of(Tone::Dim, &format!("  {} ", place + 1)).add(tone, &standing.path);
        let line =
            line.dotted([(Tone::Plain, score.as_str()), (Tone::Bad, standing.why.as_deref().unwrap_or_default())]);
        _ = writeln!(text, "{}", line.finish(style));
    }
    for game in &contest.bracket {
        let line = Line::of(Tone::Plain, &format!("  {} : {}", game.first, game.second));
        let votes = game.votes.join(", then ");
        let line = line.dotted([(Tone::Dim, votes.as_str()), (Tone::Good, game.winner.as_str())]);
        _ = writeln!(text, "{}", line.finish(style));
    }
    for fruit in &contest.fruit {
        let kept = [
            (fruit.results, "results".to_owned()),
            (!fruit.tests.is_empty(), format!("tests {}", fruit.tests.join(" "))),
            (!fruit.patch.is_empty(), format!("patch {}", fruit.patch.join(" "))),
            (!fruit.taken_by.is_empty(), format!("taken by {}", fruit.taken_by.join(" "))),
        ];
        let kept: Vec<String> = kept.into_iter().filter(|(is_there, _)| *is_there).map(|(_, what)| what).collect();
        let line = Line::of(Tone::Dim, "  leaves ").text(&fruit.path);
        let line = line.dotted(kept.iter().map(|what| (Tone::Dim, what.as_str())));
        _ = writeln!(text, "{}", line.finish(style));
    }
    text
}

/// What `show RUN NODE` prints.
pub(crate) fn instance_text(detail: &InstanceDetail, style: Style) -> String {
    let view = &detail.instance;
    let mut text = String::new();
    let title = Line::of(Tone::Bold, &view.path).text(" ").add(Tone::Dim, view.kind);
    _ = writeln!(text, "{}", title.dotted([(status_tone(view.status), view.status)]).finish(style));
    let mut fact = |name: &str, what: &str| {
        if !what.is_empty() {
            let line = Line::of(Tone::Dim, name).pad_to(12).text(what);
            _ = writeln!(text, "{}", line.finish(style));
        }
    };
    fact("waiting", view.waiting.as_ref().map_or("", |waiting| waiting.message.as_str()));
    let reason = view.reason.as_ref().map(|reason| format!("{} ({})", reason.message, reason.code));
    fact("why", reason.as_deref().unwrap_or_default());
    fact("source", detail.source.as_deref().unwrap_or_default());
    let role = view.role.as_ref().map(|role| {
        let names = [Some(&role.name), role.provider.as_ref(), role.model.as_ref()];
        names.into_iter().flatten().cloned().collect::<Vec<_>>().join(" · ")
    });
    fact("role", role.as_deref().unwrap_or_default());
    for over in &detail.passed_over {
        fact("passed over", &format!("{} · {}", over.model, over.why));
    }
    fact("began", view.started_at.as_deref().unwrap_or_default());
    fact("ended", view.ended_at.as_deref().unwrap_or_default());
    fact("used", &view.usage.as_ref().map(usage_text).unwrap_or_default());
    fact("decided by", detail.decided_by.as_deref().unwrap_or_default());
    fact("commit", view.commit.as_deref().unwrap_or_default());
    fact("tree", detail.tree.as_deref().unwrap_or_default());
    fact("memo key", detail.memo_key.as_deref().unwrap_or_default());
    for (name, blob) in &detail.artifacts {
        fact("artifact", &format!("{name} {}", blob.digest));
    }
    history(&mut text, &detail.history, style);
    files(&mut text, view.files.as_deref().unwrap_or_default(), style);
    checks(&mut text, &view.checks, style);
    if let Some(contest) = &detail.contest {
        heading(&mut text, "tournament", style);
        text.push_str(&contest_text(contest, style));
    }
    request(&mut text, detail, style);
    part(&mut text, "output", view.output.as_deref(), style);
    part(&mut text, "evidence", detail.evidence.as_deref(), style);
    text
}

fn status_tone(status: &str) -> Tone {
    match status {
        "succeeded" => Tone::Good,
        "failed" | "timed_out" | "budget_exceeded" => Tone::Bad,
        "waiting" | "in_doubt" | "cancelled" => Tone::Warn,
        "running" => Tone::Active,
        _ => Tone::Dim,
    }
}

fn history(text: &mut String, history: &[AttemptView], style: Style) {
    if history.is_empty() {
        return;
    }
    heading(text, "attempts", style);
    for attempt in history {
        let outcome = attempt.outcome.as_deref().unwrap_or("running");
        let usage = attempt.usage.as_ref().map(usage_text).unwrap_or_default();
        let tone = match outcome {
            "succeeded" => Tone::Good,
            "running" => Tone::Active,
            "throttled" | "cancelled" | "lost" => Tone::Warn,
            _ => Tone::Bad,
        };
        let line = Line::of(Tone::Plain, &format!("  {} ", attempt.number)).add(tone, outcome);
        let line = line.dotted([
            (Tone::Dim, attempt.started_at.as_str()),
            (Tone::Dim, usage.as_str()),
            (Tone::Plain, attempt.message.as_deref().unwrap_or_default()),
        ]);
        _ = writeln!(text, "{}", line.finish(style));
    }
}

fn files(text: &mut String, files: &[FileView], style: Style) {
    if files.is_empty() {
        return;
    }
    heading(text, "files", style);
    text.push_str(&super::diff::stat(files, style));
}

fn checks(text: &mut String, checks: &[TestView], style: Style) {
    if checks.is_empty() {
        return;
    }
    heading(text, "checks", style);
    for check in checks {
        let (tone, word) = match check.passed {
            Some(true) => (Tone::Good, "passed"),
            Some(false) => (Tone::Bad, "did not pass"),
            None => (Tone::Dim, "did not run"),
        };
        let line = Line::of(Tone::Plain, &format!("  {}", check.path)).dotted([(tone, word)]);
        _ = writeln!(text, "{}", line.finish(style));
    }
}

/// What it was asked: messages one by one, the rest as it is.
fn request(text: &mut String, detail: &InstanceDetail, style: Style) {
    let Some(request) = &detail.request else { return };
    let Some(messages) = request.get("messages").as_list() else {
        return part(text, "request", Some(request), style);
    };
    for message in messages {
        let role = message.get("role").as_str().unwrap_or("message");
        heading(text, role, style);
        match message.get("content") {
            Value::Str(content) => text.push_str(&text_block(content, PART_CHARS_MAX, "  ")),
            other => text.push_str(&json_block(other, PART_CHARS_MAX, "  ")),
        }
    }
}

fn part(text: &mut String, name: &str, value: Option<&Value>, style: Style) {
    let Some(value) = value else { return };
    heading(text, name, style);
    text.push_str(&json_block(value, PART_CHARS_MAX, "  "));
}

fn heading(text: &mut String, name: &str, style: Style) {
    _ = writeln!(text, "{}", Line::of(Tone::Dim, name).finish(style));
}

fn usage_text(usage: &UsageView) -> String {
    let parts = [
        usage.input_tokens.map(|tokens| format!("{} tokens in", amount(tokens))),
        usage.output_tokens.map(|tokens| format!("{} out", amount(tokens))),
        usage.cost_usd_micros.map(money),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A line of `logs`.
pub(crate) fn log_line(line: &LogLine, style: Style) -> String {
    let tone = match line.stream.as_str() {
        "stderr" => Tone::Warn,
        "input" | "decision" | "note" => Tone::Dim,
        _ => Tone::Plain,
    };
    // Only the time of day: the day stands in `show`.
    let at = line.at.as_deref().and_then(|at| at.get(11..23)).unwrap_or_default();
    let instance = line.instance.as_deref().unwrap_or_default();
    let text = Line::default().dotted([(Tone::Dim, at), (Tone::Plain, instance), (Tone::Dim, line.stream.as_str())]);
    // What was logged is never cut: off a terminal nobody could get it back, and on one it wraps.
    text.text("  ").add(tone, &line.text).finish(Style { width: usize::MAX, ..style })
}
