//! Ceilings and what counts against them. Settled plus reserved never exceeds a ceiling when a call starts.

use wf_ir::node::Budget;

use crate::amount::Amount;

/// One budget of a run: the run's own, or that of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The ceilings.
    pub ceiling: Budget,
    /// What ended attempts were charged.
    pub settled: Amount,
    /// What running attempts hold back.
    pub reserved: Amount,
    /// Leaf instances begun.
    pub leaves: u64,
    /// A provider charged more than was reserved; nothing new starts under a ceiling until it is raised.
    pub overrun: bool,
}

/// Whether an amount fits under a ceiling now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It does.
    Yes,
    /// It will, if others hand back what they reserved of `tokens` or `cost`.
    Later(&'static str),
    /// It does not and will not: `tokens`, `cost` or `leaves` ran out.
    Never(&'static str),
}

impl Ledger {
    pub(crate) fn fits(&self, amount: Amount) -> Fit {
        let parts = [
            ("tokens", self.ceiling.tokens, self.settled.tokens, self.reserved.tokens, amount.tokens),
            (
                "cost",
                self.ceiling.cost_usd_micros,
                self.settled.cost_usd_micros,
                self.reserved.cost_usd_micros,
                amount.cost_usd_micros,
            ),
        ];
        let mut fit = Fit::Yes;
        for (what, ceiling, settled, reserved, wanted) in parts {
            let Some(ceiling) = ceiling else { continue };
            if wanted == 0 {
                continue;
            }
            let without_others = settled.saturating_add(wanted);
            if self.overrun || without_others > ceiling {
                return Fit::Never(what);
            }
            if without_others.saturating_add(reserved) > ceiling {
                fit = Fit::Later(what);
            }
        }
        fit
    }

    /// Whether an attempt that holds `own` of what is reserved may hold `total`.
    pub(crate) fn fits_total(&self, own: Amount, total: Amount) -> Fit {
        let others = Self { reserved: self.reserved.minus(own), ..*self };
        others.fits(total)
    }

    pub(crate) fn leaf_fits(&self) -> bool {
        self.ceiling.leaves.is_none_or(|ceiling| self.leaves < ceiling)
    }

    pub(crate) fn reserve(&mut self, amount: Amount) {
        self.reserved = self.reserved.plus(amount);
    }

    pub(crate) fn settle(&mut self, reserved: Amount, charged: Amount) {
        self.reserved = self.reserved.minus(reserved);
        self.settled = self.settled.plus(charged);
    }

    pub(crate) fn raise(&mut self, by: &Budget) {
        let add = |ceiling: &mut Option<u64>, more: Option<u64>| {
            if let (Some(ceiling), Some(more)) = (ceiling.as_mut(), more) {
                *ceiling = ceiling.saturating_add(more);
            }
        };
        add(&mut self.ceiling.tokens, by.tokens);
        add(&mut self.ceiling.cost_usd_micros, by.cost_usd_micros);
        add(&mut self.ceiling.wall_ms, by.wall_ms);
        add(&mut self.ceiling.leaves, by.leaves);
        if by.tokens.is_some() || by.cost_usd_micros.is_some() {
            self.overrun = false;
        }
    }
}
