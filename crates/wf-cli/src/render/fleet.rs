//! The board of tasks, workers, and what was done to many runs, in words.

use std::fmt::Write as _;

use wf_view::text::{clean, counted};
use wf_view::{CommandsView, TaskView, TaskWhyView, TasksView, WorkerReportView, WorkersView};

use super::replies::{command_text, steps_text};
use super::style::{Style, Tone, table};

/// The widest that a column gets.
const COLUMN_MAX: usize = 48;

fn tone_of(status: &str) -> Tone {
    match status {
        "done" => Tone::Good,
        "failed" => Tone::Bad,
        "claimed" => Tone::Active,
        "blocked" => Tone::Warn,
        _ => Tone::Plain,
    }
}

/// What `fleet tasks` prints.
pub(crate) fn tasks_table(view: &TasksView, style: Style) -> String {
    if view.tasks.is_empty() {
        return "no tasks\n".to_owned();
    }
    let head = ["TASK", "STATUS", "ATTEMPT", "KIND", "WORKER", "WAITS FOR"];
    let mut rows = vec![head.map(|name| (Tone::Dim, name.to_owned())).to_vec()];
    rows.extend(view.tasks.iter().map(|task| {
        vec![
            (Tone::Plain, name_of(task)),
            (tone_of(task.status), task.status.to_owned()),
            (Tone::Plain, task.attempt.to_string()),
            (Tone::Plain, task.kind.clone()),
            (Tone::Plain, task.worker.clone().unwrap_or_else(|| "-".to_owned())),
            (Tone::Dim, task.waits_for.as_ref().map_or_else(String::new, |wait| wait.message.clone())),
        ]
    }));
    let mut text = table(&rows, COLUMN_MAX, style);
    if view.more {
        text.push_str("there are more; --limit shows them\n");
    }
    text
}

fn name_of(task: &TaskView) -> String {
    // As much of the run's id as tells runs of one day apart; any beginning names it.
    let run: String = task.run_id.chars().take(12).collect();
    format!("{run}:{}", task.path)
}

/// What `fleet workers` prints.
pub(crate) fn workers_table(view: &WorkersView, style: Style) -> String {
    if view.workers.is_empty() {
        return "no workers; `whaleflow worker` starts one\n".to_owned();
    }
    let head = ["WORKER", "STATE", "BUSY", "CAN", "SINCE", "HEARD OF"];
    let mut rows = vec![head.map(|name| (Tone::Dim, name.to_owned())).to_vec()];
    rows.extend(view.workers.iter().map(|worker| {
        let tone = if worker.state == "alive" { Tone::Good } else { Tone::Bad };
        vec![
            (Tone::Plain, worker.worker.clone()),
            (tone, worker.state.to_owned()),
            (Tone::Plain, format!("{}/{}", worker.busy, worker.slots)),
            (Tone::Plain, worker.can.as_ref().map_or_else(|| "everything".to_owned(), |can| can.join(", "))),
            (Tone::Dim, worker.started_at.clone()),
            (Tone::Dim, worker.heartbeat.clone()),
        ]
    }));
    table(&rows, COLUMN_MAX, style)
}

/// What `fleet why` prints.
pub(crate) fn why_text(view: &TaskWhyView, style: Style) -> String {
    let task = &view.task;
    let status = style.paint(tone_of(task.status), task.status);
    let mut text = format!("{} is {status}, attempt {}\n", clean(&name_of(task)), task.attempt);
    if let Some(wait) = &task.waits_for {
        _ = writeln!(text, "  {}", clean(&wait.message));
    }
    if let Some(worker) = &task.worker {
        let reported = if task.reported { ", who has reported" } else { "" };
        _ = writeln!(text, "  performed by {}{reported}", clean(worker));
    }
    if let Some(until) = &task.lease_until {
        _ = writeln!(text, "  until {until} unless it shows itself");
    }
    _ = writeln!(text, "  needs {}", clean(&task.needs.join(", ")));
    text + &steps_text(&view.because, style)
}

/// What `worker` prints at its end.
pub(crate) fn report_text(report: &WorkerReportView, _: Style) -> String {
    let tasks = counted(report.claimed, "task", "tasks");
    let refused = match report.refused {
        0 => String::new(),
        refused => format!(", {refused} refused because the claim had been lost"),
    };
    format!("{tasks} claimed, {} reported{refused}\n", report.reported)
}

/// What was done to many runs.
pub(crate) fn commands_text(view: &CommandsView, style: Style) -> String {
    if view.commands.is_empty() {
        return "there is no such run\n".to_owned();
    }
    view.commands.iter().map(|command| command_text(command, style)).collect()
}
