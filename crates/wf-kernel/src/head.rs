//! What lists and schedulers read of a run, without its log.

use serde::{Deserialize, Serialize};
use wf_ir::{Kind, Status};

use crate::amount::Usage;
use crate::record::{RunStatus, TimeMs, Verified};
use crate::state::{RunState, Stage};

/// A run in one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Where it stands.
    pub status: RunStatus,
    /// When it began.
    pub started_at: TimeMs,
    /// When it ended.
    pub ended_at: Option<TimeMs>,
    /// Its leaves.
    pub leaves: LeafCounts,
    /// The leaf that has been running longest, and since when.
    pub longest: Option<(String, TimeMs)>,
    /// What its attempts reported.
    pub used: Usage,
    /// What its tests say, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// The first gate that waits for a decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// When the next wait or time limit ends, unless its clocks are stopped. Later than that, whoever drives it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<TimeMs>,
}

/// How many leaves a run has, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafCounts {
    /// All that are known: those that exist, and those of elements that an `expand` has yet to open.
    pub total: u64,
    /// Succeeded.
    pub done: u64,
    /// Failed, timed out, cancelled, or not to be paid for.
    pub failed: u64,
    /// Skipped.
    pub skipped: u64,
}

impl RunState {
    /// The leaves of the run, counted.
    pub fn leaf_counts(&self) -> LeafCounts {
        let ended = |status| self.ended_leaves.get(&status).copied().unwrap_or(0);
        let expected: u64 = self.live.iter().map(|ix| self.unopened_leaves(*ix)).sum();
        LeafCounts {
            total: self.leaves_known + expected,
            done: ended(Status::Succeeded),
            failed: ended(Status::Failed)
                + ended(Status::TimedOut)
                + ended(Status::Cancelled)
                + ended(Status::BudgetExceeded),
            skipped: ended(Status::Skipped),
        }
    }

    /// The leaves directly in elements that an `expand` has yet to open.
    fn unopened_leaves(&self, ix: crate::state::Ix) -> u64 {
        let (Kind::Expand { children, .. }, Some(expansion)) = (self.kind(ix), &self.instance(ix).expansion) else {
            return 0;
        };
        let unopened = u64::from(expansion.count).saturating_sub(self.instance(ix).frames.len() as u64);
        unopened * children.iter().filter(|child| self.workflow.node(**child).kind.is_leaf()).count() as u64
    }

    /// The run in one row. Takes time proportional to what is live.
    pub fn head(&self) -> Head {
        let leaves = self.live.iter().filter(|ix| self.kind(**ix).is_leaf());
        let mut gates = self.live().filter(|instance| matches!(instance.stage, Stage::Gate(_)));
        let longest = leaves.filter_map(|ix| Some((self.instance(*ix).started_at?, *ix))).min();
        Head {
            status: self.status(),
            started_at: self.started_at,
            ended_at: self.end.as_ref().map(|end| end.at),
            leaves: self.leaf_counts(),
            longest: longest.map(|(since, ix)| (self.instance(ix).path.to_string(), since)),
            used: self.used,
            verified: self.end.as_ref().map(|end| end.verified),
            gate: gates.next().map(|instance| instance.path.to_string()),
            due_at: self.next_timer().map(|(at, _)| at),
        }
    }

    /// When the last input was taken in.
    pub fn now(&self) -> TimeMs {
        self.now
    }

    /// Since when nothing new is ordered, if so.
    pub fn suspended_since(&self) -> Option<TimeMs> {
        self.suspended.map(|(_, since)| since)
    }
}
