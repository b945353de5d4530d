//! `ps`: runs as a table.

use wf_view::text::{duration, money};
use wf_view::{RunList, RunListItem};

use super::style::{Style, Tone, table};

/// The widest that a column gets.
const COLUMN_MAX: usize = 40;

/// What `ps` prints.
pub(crate) fn run_table(list: &RunList, style: Style) -> String {
    if list.runs.is_empty() {
        return "no runs yet; `whaleflow run FILE` begins one\n".to_owned();
    }
    let head = ["RUN", "STATUS", "LEAVES", "TIME", "COST", "WORKFLOW", "NOW"];
    let mut rows = vec![head.map(|name| (Tone::Dim, name.to_owned())).to_vec()];
    rows.extend(list.runs.iter().map(row));
    table(&rows, COLUMN_MAX, style)
}

fn row(run: &RunListItem) -> Vec<(Tone, String)> {
    let tone = match run.status {
        "succeeded" => Tone::Good,
        "failed" | "budget_exceeded" => Tone::Bad,
        "running" => Tone::Active,
        _ => Tone::Warn,
    };
    let failed = if run.failed > 0 { format!(" ({} failed)", run.failed) } else { String::new() };
    let verified = match run.verified {
        Some("passed") => " verified",
        Some("failed") => " not verified",
        _ => "",
    };
    let now = match (&run.note, &run.gate, &run.longest) {
        (Some(note), ..) => note.clone(),
        (None, Some(gate), _) => format!("waits for you: {gate}"),
        (None, None, Some(longest)) => format!("{} {}", longest.instance, duration(longest.elapsed_ms)),
        (None, None, None) => String::new(),
    };
    vec![
        (Tone::Plain, run.run_id.clone()),
        (tone, format!("{}{verified}", run.status.replace('_', " "))),
        (Tone::Plain, format!("{}/{}{failed}", run.done, run.total)),
        (Tone::Plain, duration(run.duration_ms)),
        (Tone::Plain, run.cost_usd_micros.map_or_else(|| "-".to_owned(), money)),
        (Tone::Plain, run.workflow.clone()),
        (Tone::Dim, now),
    ]
}
