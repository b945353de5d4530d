//! Lines of `logs`: records and traces in words.

use schemars::JsonSchema;
use serde::Serialize;
use wf_ir::Value;
use wf_kernel::record::{CloseCause, Command, Decision, InputBody, Outcome, Record, SuspendCause};
use wf_kernel::{Phase, Usage};

use crate::VERSION;
use crate::schema;
use crate::text::{amount, counted, duration, first_line, money, rfc3339};
use crate::words::{close_text, reason_text, run_status_text, status_phrase, wait_text};

/// How much of what somebody wrote stands on a line.
const LINE_CHARS_MAX: usize = 200;

/// A line of `logs --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogLine {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The instance it is about; none is the run.
    pub instance: Option<String>,
    /// The record it comes from; none is a trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When the input behind it was taken in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// `input`, `decision`, or what a trace names its stream: `stdout`, `stderr`, `say`, …
    pub stream: String,
    /// What it says.
    pub text: String,
}

impl LogLine {
    /// A record in words. `at` is the time of the input that it came with.
    pub fn of_record(seq: u64, at: i64, record: &Record) -> Self {
        let (stream, (instance, text)) = match record {
            Record::Input(input) => ("input", input_text(&input.body)),
            Record::Decision(decision) => ("decision", decision_text(decision)),
        };
        Self {
            version: VERSION,
            instance: instance.filter(|path| !path.is_empty()),
            seq: Some(seq),
            at: Some(rfc3339(at)),
            stream: stream.to_owned(),
            text,
        }
    }

    /// A line of a trace. One that is not as traces are written is shown as it is.
    pub fn of_trace(instance: &str, line: &str) -> Self {
        let value = Value::from_json(line).unwrap_or_default();
        let (stream, text) = match (value.get("stream").as_str(), value.get("text").as_str()) {
            (Some(stream), Some(text)) => (stream.to_owned(), text.to_owned()),
            _ => match value.get("trace").as_str() {
                Some("full") => ("note".to_owned(), "the trace is full; what came later is not here".to_owned()),
                Some("line_dropped") => ("note".to_owned(), "a line was too long to be kept".to_owned()),
                _ => ("trace".to_owned(), line.to_owned()),
            },
        };
        Self { version: VERSION, instance: Some(instance.to_owned()), seq: None, at: None, stream, text }
    }
}

fn input_text(body: &InputBody) -> (Option<String>, String) {
    match body {
        InputBody::RunStarted(started) => (None, format!("the run of {} began", started.workflow_name)),
        InputBody::Outcome(it) => (Some(it.effect.subject.to_string()), outcome_text(it.effect.phase, &it.outcome)),
        InputBody::TimerFired(timer) => (Some(timer.subject.to_string()), "its time came".to_owned()),
        InputBody::Command(command) => command_text(command),
        InputBody::Adopted(adopted) => {
            let open = counted(adopted.claimed.len() as u64, "effect", "effects");
            let why = if adopted.died { "the owner was gone: a new one" } else { "a new owner" };
            (None, format!("{why} took over, with {open} under way"))
        }
        InputBody::WorkerLost(lost) => {
            let open = counted(lost.claimed.len() as u64, "task", "tasks");
            (None, format!("worker {} is gone, with {open} under way", lost.worker))
        }
        InputBody::Metered(it) => {
            let (spent, total) = (budget_text(it.spent), budget_text(it.total));
            (Some(it.effect.subject.to_string()), format!("has used {spent}, and wants {total} held for it"))
        }
    }
}

fn budget_text(held: wf_kernel::Amount) -> String {
    format!("{} tokens and {}", amount(held.tokens), money(held.cost_usd_micros))
}

fn outcome_text(phase: Phase, outcome: &Outcome) -> String {
    let phase = phase_name(phase);
    match outcome {
        Outcome::Prepared(_) => "prepared".to_owned(),
        Outcome::Succeeded(success) => format!("{phase} succeeded{}", usage_text(&success.usage)),
        Outcome::Failed(failure) => {
            format!("{phase} failed: {} ({}){}", failure.message, failure.code, usage_text(&failure.usage))
        }
        Outcome::TimedOut { usage } => format!("{phase} took too long{}", usage_text(usage)),
        Outcome::Cancelled { usage } => format!("{phase} was ended{}", usage_text(usage)),
        Outcome::Throttled { retry_after_ms, .. } => {
            format!("{phase} was throttled for {}", duration(*retry_after_ms))
        }
        Outcome::BudgetExceeded { usage, .. } => format!("{phase} had no budget to go on{}", usage_text(usage)),
        Outcome::Acquired(tree) => format!("has a tree at {}", short(&tree.commit)),
        Outcome::Checkpointed(checkpoint) => {
            let files = counted(checkpoint.files.len() as u64, "file", "files");
            format!("{phase}: {files} changed, commit {}", short(&checkpoint.commit))
        }
        Outcome::Combined(combined) => {
            let taken = counted(combined.taken.len() as u64, "candidate", "candidates");
            let left = combined.left.len();
            let commit = short(&combined.checkpoint.commit);
            format!("{phase}: took fruit of {taken}, left out that of {left}, commit {commit}")
        }
        Outcome::Released { rescued: None } => "gave its tree back".to_owned(),
        Outcome::Released { rescued: Some(name) } => format!("gave its tree back; unsaved work is at {name}"),
    }
}

fn command_text(command: &Command) -> (Option<String>, String) {
    match command {
        Command::Cancel { path, by } => (path.clone(), format!("{by} cancelled it")),
        Command::Pause { path, now: false, by } => (path.clone(), format!("{by} paused it")),
        Command::Pause { path, now: true, by } => {
            (path.clone(), format!("{by} paused it, and ended what was under way"))
        }
        Command::Resume { path, by, .. } => (path.clone(), format!("{by} resumed it")),
        Command::Steer { path, text, by } => {
            (Some(path.clone()), format!("{by} told it: {}", first_line(text, LINE_CHARS_MAX)))
        }
        Command::Decide { path, approved: true, by, .. } => (Some(path.clone()), format!("{by} approved it")),
        Command::Decide { path, approved: false, by, .. } => (Some(path.clone()), format!("{by} rejected it")),
        Command::Signal { name, by, .. } => (None, format!("{by} sent the signal {name}")),
        Command::Retry { path, by } => (path.clone(), format!("{by} wants it tried again")),
    }
}

fn decision_text(decision: &Decision) -> (Option<String>, String) {
    let about = |path: &str, text: String| (Some(path.to_owned()), text);
    match decision {
        Decision::Opened { path, expansion: Some(expansion), .. } => {
            let elements = counted(u64::from(expansion.count), "element", "elements");
            about(path, format!("opened with {elements}, {} at a time", expansion.width))
        }
        Decision::Opened { path, side: Some(side), .. } => about(path, format!("opened: its condition is {side}")),
        Decision::Opened { path, .. } => about(path, "opened".to_owned()),
        Decision::Grew { path, by, count, .. } => about(
            by,
            format!("added to the list of {path}: {} in all", counted(u64::from(*count), "element", "elements")),
        ),
        Decision::FrameOpened { path, index } => about(path, format!("number {index} begins")),
        Decision::Ordered { effect } => about(&effect.subject, format!("{} is ordered", phase_name(effect.phase))),
        Decision::Started { path, attempt, .. } => about(path, format!("attempt {attempt} began")),
        Decision::CancelOrdered { effect } => about(&effect.subject, "is to end".to_owned()),
        Decision::Waiting { path, reason } => about(path, wait_text(reason)),
        Decision::RetryScheduled { path, attempt, not_before, reason, .. } => {
            about(path, format!("attempt {attempt} follows at {}: {}", rfc3339(*not_before), reason_text(reason)))
        }
        Decision::Rewound { path, .. } => about(path, "goes back to its beginning; no attempt is counted".to_owned()),
        Decision::InDoubt { path, .. } => {
            about(path, "is in doubt: its owner died while it ran, and it may not run twice".to_owned())
        }
        Decision::GateOpened { path, .. } => about(path, "waits for a decision".to_owned()),
        Decision::Closing { path, cause } if path.is_empty() => (None, closing_text(*cause)),
        Decision::Closing { path, cause } => about(path, closing_text(*cause)),
        Decision::Ended { path, status, reason, .. } => {
            let why = reason.as_ref().map_or_else(String::new, |reason| format!(": {}", reason_text(reason)));
            about(path, format!("{}{why}", status_phrase(*status)))
        }
        Decision::ToppedUp { path, reserved, .. } => about(path, format!("{} are held for it", budget_text(*reserved))),
        Decision::TopUpRefused { path, budget, what, .. } => {
            let whose = if budget.is_empty() { "the run" } else { budget };
            about(path, format!("gets no more: the budget of {whose} has no more {what}"))
        }
        Decision::Overrun { path, excess } => about(
            path,
            format!(
                "its provider charged {} tokens and {} more than was reserved",
                amount(excess.tokens),
                money(excess.cost_usd_micros)
            ),
        ),
        Decision::Suspended { path, cause, reason } => {
            let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            (path.as_deref().map(str::to_owned), format!("{}{reason}", suspended_text(*cause)))
        }
        Decision::Resumed { path, .. } => (path.as_deref().map(str::to_owned), "goes on".to_owned()),
        Decision::Reopened { paths } => {
            let instances = counted(paths.len() as u64, "instance", "instances");
            (None, format!("goes on: {instances} begin again"))
        }
        Decision::RunEnded { status, verified, .. } => {
            (None, format!("the run ended: {}; verified: {}", run_status_text(*status), verified.as_str()))
        }
        Decision::Refused { code, message } => (None, format!("refused ({code}): {message}")),
    }
}

fn closing_text(cause: CloseCause) -> String {
    format!("begins nothing more: {}", close_text(cause))
}

fn suspended_text(cause: SuspendCause) -> &'static str {
    match cause {
        SuspendCause::Paused => "orders nothing new: it is paused",
        SuspendCause::PausedNow => "orders nothing new and ends what is under way: it is paused",
        SuspendCause::Budget => "orders nothing new: a ceiling of the run was reached",
        SuspendCause::Poisoned => "orders nothing new before somebody has looked",
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "preparation",
        Phase::Perform => "work",
        Phase::Acquire => "tree",
        Phase::Checkpoint => "checkpoint",
        Phase::Harvest => "harvest",
        Phase::Release => "release",
        Phase::Combine => "combination",
    }
}

/// ` (12.3k tokens, $0.0123)`, as far as it is known.
fn usage_text(usage: &Usage) -> String {
    let tokens = match (usage.input_tokens, usage.output_tokens) {
        (None, None) => None,
        (input, output) => Some(input.unwrap_or(0).saturating_add(output.unwrap_or(0))),
    };
    let parts = [tokens.map(|tokens| format!("{} tokens", amount(tokens))), usage.cost_usd_micros.map(money)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// The first characters of a commit's id.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
