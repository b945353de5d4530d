//! What commands answer, in words.

use std::fmt::Write as _;

use wf_view::reply::DoctorLevel;
use wf_view::text::{clean, counted};
use wf_view::why::WhyStep;
use wf_view::{ApplyView, CommandView, DoctorView, ErrorView, GateView, GatesView, ReplayView, VerifyView, WhyView};

use super::style::{Line, Style, Tone};
use super::summary::{json_block, text_block};

/// The longest value that a gate shows, in characters.
const SHOWN_CHARS_MAX: usize = 8_000;

/// What `replay` prints.
pub(crate) fn replay_text(replay: &ReplayView, style: Style) -> String {
    let records = counted(replay.records, "record", "records");
    match &replay.difference {
        None => format!("{}: {records}, no effect was performed\n", style.paint(Tone::Good, "equal")),
        Some(difference) => format!(
            "{} at record {}\n  recorded  {}\n  decided   {}\n",
            style.paint(Tone::Bad, "differs"),
            difference.seq,
            clean(&difference.expected),
            clean(&difference.got)
        ),
    }
}

/// What `verify` prints.
pub(crate) fn verify_text(verify: &VerifyView, style: Style) -> String {
    let (runs, records) = (counted(verify.runs, "run", "runs"), counted(verify.records, "record", "records"));
    if verify.bad.is_empty() {
        return format!("{}: {runs}, {records}\n", style.paint(Tone::Good, "intact"));
    }
    let mut text = format!("{} among {runs}, {records}\n", style.paint(Tone::Bad, "damage"));
    for bad in &verify.bad {
        let place =
            if bad.run_id.is_empty() { "the store".to_owned() } else { format!("{} record {}", bad.run_id, bad.seq) };
        _ = writeln!(text, "  {}: {}", clean(&place), clean(&bad.detail));
    }
    text
}

/// What commands that change something print.
pub(crate) fn command_text(reply: &CommandView, style: Style) -> String {
    let mut text = if reply.accepted {
        format!("{}\n", clean(&reply.message))
    } else {
        let code = reply.code.as_deref().unwrap_or("refused");
        format!("{} ({}): {}\n", style.paint(Tone::Bad, "refused"), clean(code), clean(&reply.message))
    };
    for (what, name) in &reply.made {
        _ = writeln!(text, "  {} {}", clean(what), clean(name));
    }
    text
}

/// What `apply` prints.
pub(crate) fn apply_text(apply: &ApplyView, style: Style) -> String {
    let mut text = String::new();
    if let Some(earlier) = &apply.recovered {
        let what = if earlier.finished { "finished" } else { "took back" };
        let branch = clean(&earlier.branch);
        _ = writeln!(text, "{what} an apply of {branch} of run {} that was interrupted", clean(&earlier.run_id));
        for file in &earlier.left {
            _ = writeln!(text, "  {} was changed since, and was left as it is", clean(file));
        }
    }
    let target = style.paint(Tone::Bold, &clean(&apply.target));
    let how = match (apply.how.as_str(), apply.undone) {
        ("branch", false) => format!("made the branch {target}"),
        ("branch", true) => format!("removed the branch {target}"),
        ("patch", _) => format!("wrote a patch to {target}"),
        ("squash" | "merge", false) => {
            let made = apply.made.as_deref().and_then(|made| made.get(..12)).unwrap_or_default();
            format!("made the commit {made} at {target}")
        }
        ("squash" | "merge", true) => format!("took a commit back at {target}"),
        (_, false) => format!("changed the checkout {target}"),
        (_, true) => format!("changed the checkout {target} back"),
    };
    let files = match apply.files.len() {
        // A branch that was only removed changed no file.
        0 => String::new(),
        count => format!(" ({})", counted(count as u64, "file", "files")),
    };
    _ = writeln!(text, "{how}{files}");
    for file in &apply.files {
        _ = writeln!(text, "  {}", clean(file));
    }
    for file in &apply.left {
        _ = writeln!(text, "  {} was changed since, and was left as it is", clean(file));
    }
    text
}

/// What `doctor` prints.
pub(crate) fn doctor_text(doctor: &DoctorView, style: Style) -> String {
    let mut text = String::new();
    for check in &doctor.checks {
        let (tone, mark) = match check.level {
            DoctorLevel::Ok => (Tone::Good, "✓"),
            DoctorLevel::Warn => (Tone::Warn, "!"),
            DoctorLevel::Fail => (Tone::Bad, "✗"),
        };
        let line = Line::of(tone, mark).text(" ").text(&check.name).pad_to(20).text(&check.message);
        _ = writeln!(text, "{}", line.finish(style));
        if let Some(hint) = &check.hint {
            _ = writeln!(text, "{}", Line::of(Tone::Dim, "  hint: ").text(hint).finish(style));
        }
    }
    text
}

/// An error on stderr.
pub(crate) fn error_text(error: &ErrorView, style: Style) -> String {
    let error = &error.error;
    let title = format!("error[{}]", clean(&error.code));
    let mut text = format!("{}: {}\n", style.paint(Tone::Bad, &title), clean(&error.message));
    if let Some(hint) = &error.hint {
        _ = writeln!(text, "  hint: {}", clean(hint));
    }
    text
}

/// Why an instance is as it is, one cause per line.
pub(crate) fn why_text(why: &WhyView, style: Style) -> String {
    steps_text(&why.because, style)
}

/// A chain of causes, one per line.
pub(crate) fn steps_text(steps: &[WhyStep], style: Style) -> String {
    let mut text = String::new();
    for (at, step) in steps.iter().enumerate() {
        let because = if at == 0 { "" } else { "because " };
        let line = Line::default().text(&"  ".repeat(at.min(8))).add(Tone::Dim, because).text(&step.message);
        _ = writeln!(text, "{}", line.finish(style));
    }
    text
}

/// Open gates of a run, with what they show.
pub(crate) fn gates_text(gates: &GatesView, style: Style) -> String {
    gates.gates.iter().map(|gate| gate_text(gate, style)).collect::<Vec<_>>().join("\n")
}

/// One gate, as it is asked on a terminal.
pub(crate) fn gate_text(gate: &GateView, style: Style) -> String {
    let mut text = String::new();
    let title = Line::of(Tone::Warn, "decide ").add(Tone::Bold, &gate.path);
    _ = writeln!(text, "{}", title.finish(style));
    text.push_str(&text_block(&gate.prompt, SHOWN_CHARS_MAX, "  "));
    let shows = gate.shows.as_ref().and_then(|shows| shows.as_map());
    for (name, value) in shows.into_iter().flatten() {
        _ = writeln!(text, "{}", Line::of(Tone::Dim, "  ").add(Tone::Dim, name).finish(style));
        text.push_str(&json_block(value, SHOWN_CHARS_MAX, "    "));
    }
    if let Some(form) = &gate.form {
        _ = writeln!(text, "{}", style.paint(Tone::Dim, "  data must fit"));
        text.push_str(&json_block(form, SHOWN_CHARS_MAX, "    "));
    }
    if !gate.by.is_empty() {
        let by = format!("  only {} may decide", gate.by.join(" or "));
        _ = writeln!(text, "{}", Line::of(Tone::Dim, &by).finish(style));
    }
    text
}
