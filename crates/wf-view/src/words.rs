//! Reasons and states in words: why an instance was skipped, failed or waits.

use wf_ir::Status;
use wf_kernel::record::{CloseCause, Reason, WaitReason};
use wf_kernel::{RunStatus, Verified};

use crate::text::{counted, rfc3339};

/// Why an instance ended as it did, or was not begun: a lower-case sentence without a final stop.
pub fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::When => "its condition `when` was false".to_owned(),
        Reason::Need { path, status } => format!("it needs {path}, which {}", status_phrase(*status)),
        Reason::Stopped { path } => format!("{path}, before it in the list, did not succeed"),
        Reason::Closed { cause } => close_text(*cause).to_owned(),
        Reason::NothingRan => "nothing in it ran".to_owned(),
        Reason::MinOk { ok, min } => format!("{ok} succeeded, and at least {min} must"),
        Reason::Child { path } => format!("{path} did not succeed"),
        Reason::Limit { iterations } => {
            let iterations = counted(u64::from(*iterations), "iteration", "iterations");
            format!("its condition did not hold after {iterations}")
        }
        Reason::Expression { field, message } => format!("`{field}` has no value: {message}"),
        Reason::Failure { code, message } if message.is_empty() => code.clone(),
        Reason::Failure { message, .. } => message.clone(),
        Reason::TooMany { count, max } => format!("there are {count} elements, and at most {max} may be"),
        Reason::Empty => "nothing that it could take succeeded or satisfied `require`".to_owned(),
        Reason::Budget { path, what } if path.is_empty() => {
            format!("the run's budget of {} ran out", ceiling_name(what))
        }
        Reason::Budget { path, what } => format!("the budget of {} of {path} ran out", ceiling_name(what)),
        Reason::Rejected { by } => format!("{by} rejected it"),
        Reason::TimedOut => "nobody answered in time".to_owned(),
    }
}

/// A short stable word for a reason: the failure's own code, or the name of the reason.
pub fn reason_code(reason: &Reason) -> &str {
    match reason {
        Reason::When => "when",
        Reason::Need { .. } => "need",
        Reason::Stopped { .. } => "stopped",
        Reason::Closed { cause } => close_code(*cause),
        Reason::NothingRan => "nothing_ran",
        Reason::MinOk { .. } => "min_ok",
        Reason::Child { .. } => "child",
        Reason::Limit { .. } => "limit",
        Reason::Expression { .. } => "expression",
        Reason::Failure { code, .. } => code,
        Reason::TooMany { .. } => "too_many",
        Reason::Empty => "empty",
        Reason::Budget { .. } => "budget",
        Reason::Rejected { .. } => "rejected",
        Reason::TimedOut => "unanswered",
    }
}

/// What holds an instance up.
pub fn wait_text(reason: &WaitReason) -> String {
    match reason {
        WaitReason::Retry { until } => format!("tries again at {}", rfc3339(*until)),
        WaitReason::RateLimit { until, why: None } => {
            format!("waits for the provider's rate limit until {}", rfc3339(*until))
        }
        WaitReason::RateLimit { until, why: Some(why) } => format!("waits until {}: {why}", rfc3339(*until)),
        WaitReason::TreePool { until } => {
            format!("waits for a tree: all that may exist are taken; looks again at {}", rfc3339(*until))
        }
        WaitReason::Tree { held_by } => format!("waits for the tree, in which {held_by} works"),
        WaitReason::Budget => "waits for budget that others have reserved, or that ran out".to_owned(),
        WaitReason::Decision => "waits for a decision".to_owned(),
        WaitReason::Signal { name } => format!("waits for the signal {name}"),
        WaitReason::Sleep { until } => format!("waits until {}", rfc3339(*until)),
    }
}

/// What there is to say of a run that no process drives: nobody sees to what was due.
pub fn undriven_text(due_at: Option<i64>, now_ms: i64) -> String {
    let overdue = due_at.filter(|at| *at < now_ms).map(rfc3339);
    let overdue = overdue.map_or_else(String::new, |at| format!(", and what was due at {at} has not happened"));
    format!("no process drives it{overdue}")
}

/// A short stable word for what holds an instance up.
pub fn wait_code(reason: &WaitReason) -> &'static str {
    match reason {
        WaitReason::Retry { .. } => "retry",
        WaitReason::RateLimit { .. } => "rate_limit",
        WaitReason::TreePool { .. } => "tree_pool",
        WaitReason::Tree { .. } => "tree",
        WaitReason::Budget => "budget",
        WaitReason::Decision => "decision",
        WaitReason::Signal { .. } => "signal",
        WaitReason::Sleep { .. } => "sleep",
    }
}

/// Why a subtree was closed.
pub fn close_text(cause: CloseCause) -> &'static str {
    match cause {
        CloseCause::Cancelled => "it was cancelled",
        CloseCause::Enough => "enough of its siblings succeeded",
        CloseCause::Aborted => "a sibling failed",
        CloseCause::TimedOut => "what encloses it took too long",
        CloseCause::Budget => "the budget of what encloses it ran out",
    }
}

fn close_code(cause: CloseCause) -> &'static str {
    match cause {
        CloseCause::Cancelled => "cancelled",
        CloseCause::Enough => "enough",
        CloseCause::Aborted => "aborted",
        CloseCause::TimedOut => "timed_out",
        CloseCause::Budget => "budget",
    }
}

/// `failed`, `was skipped`, …, after a name.
pub fn status_phrase(status: Status) -> &'static str {
    match status {
        Status::Pending => "has not begun",
        Status::Ready => "is ready",
        Status::Running => "is running",
        Status::Waiting => "is waiting",
        Status::Succeeded => "succeeded",
        Status::Failed => "failed",
        Status::Skipped => "was skipped",
        Status::Cancelled => "was cancelled",
        Status::TimedOut => "timed out",
        Status::BudgetExceeded => "could not be paid for",
        Status::InDoubt => "is in doubt",
    }
}

/// A run's status as people read it.
pub fn run_status_text(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "running",
        RunStatus::Waiting => "waiting",
        RunStatus::Paused => "paused",
        RunStatus::Poisoned => "poisoned",
        RunStatus::Cancelling => "being cancelled",
        RunStatus::Succeeded => "succeeded",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "cancelled",
        RunStatus::BudgetExceeded => "out of budget",
    }
}

/// What the engine's own tests say, as a sentence's end.
pub fn verified_text(verified: Verified) -> &'static str {
    match verified {
        Verified::Passed => "passed: every test on the chosen line passed, and nothing was written after",
        Verified::Failed => "failed: a test on the chosen line did not pass",
        Verified::None => "none: no test speaks for the result as it is",
    }
}

/// The name of a ceiling (`tokens`, `cost`, `wall`, `leaves`).
pub fn ceiling_name(what: &str) -> &str {
    match what {
        "cost" => "money",
        "wall" => "time",
        other => other,
    }
}
