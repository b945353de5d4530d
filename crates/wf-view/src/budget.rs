//! Which ceiling stopped a run, and what was wanted of it.

use wf_kernel::record::WaitReason;
use wf_kernel::{RunState, Stage};

use crate::text::{amount, money};
use crate::words::ceiling_name;

/// What stopped a run that is out of budget.
pub(crate) struct Missing<'a> {
    /// `leaves`, `tokens`, `cost`, `wall`, or `overrun`.
    pub(crate) what: &'static str,
    /// The leaf that waits for it, the most that it may take, and how much is left: that may be too little from the
    /// beginning.
    wanted: Option<(&'a str, u64, u64)>,
}

impl Missing<'_> {
    /// In words.
    pub(crate) fn message(&self) -> String {
        if self.what == "overrun" {
            return "a provider charged more than was reserved; nothing begins before the run's budget is raised"
                .into();
        }
        let ran_out = format!("the run's budget of {} ran out", ceiling_name(self.what));
        let shown = |count| if self.what == "cost" { money(count) } else { format!("{} tokens", amount(count)) };
        match self.wanted {
            Some((path, most, left)) => format!("{ran_out}: {path} may take {}, {} left", shown(most), shown(left)),
            None => ran_out,
        }
    }
}

/// Which of the run's ceilings stopped it.
pub(crate) fn missing_budget(state: &RunState) -> Option<Missing<'_>> {
    let ledger = state.ledger();
    let only = |what| Missing { what, wanted: None };
    let waiters = || state.live().filter(|instance| instance.waiting == Some(WaitReason::Budget));
    if ledger.ceiling.leaves.is_some_and(|most| ledger.leaves >= most)
        && waiters().any(|instance| instance.stage == Stage::Idle)
    {
        return Some(only("leaves"));
    }
    let (ceiling, settled) = (ledger.ceiling, ledger.settled);
    for instance in waiters() {
        let Stage::Prepared(prepared) = &instance.stage else { continue };
        let estimate = prepared.estimate;
        for (what, most, used, wanted) in [
            ("tokens", ceiling.tokens, settled.tokens, estimate.tokens),
            ("cost", ceiling.cost_usd_micros, settled.cost_usd_micros, estimate.cost_usd_micros),
        ] {
            if let Some(most) = most.filter(|most| wanted > 0 && used.saturating_add(wanted) > *most) {
                return Some(Missing { what, wanted: Some((&instance.path, wanted, most.saturating_sub(used))) });
            }
        }
        if ledger.overrun {
            return Some(only("overrun"));
        }
    }
    ledger.ceiling.wall_ms.filter(|_| state.suspended_since().is_some()).map(|_| only("wall"))
}
