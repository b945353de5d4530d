//! What an agent may spend: what was reserved for its leaf, and what it is granted on the way.

use wf_kernel::Amount;

use crate::models::typed::Budget;

/// What is held for an agent, and what of it is spent.
pub(super) struct Purse<'a> {
    held: Amount,
    spent: Amount,
    budget: &'a dyn Budget,
}

impl<'a> Purse<'a> {
    pub(super) fn new(held: Amount, budget: &'a dyn Budget) -> Self {
        Self { held, spent: Amount::default(), budget }
    }

    /// Whether `next` can be spent, after more was asked for if need be. With `aside`, so much is kept beyond it.
    pub(super) async fn afford(&mut self, next: Amount, aside: Amount) -> bool {
        if self.has(plus(next, aside)) {
            return true;
        }
        let wanted = plus(plus(self.spent, next), aside);
        let more = Amount {
            tokens: wanted.tokens.saturating_sub(self.held.tokens),
            cost_usd_micros: wanted.cost_usd_micros.saturating_sub(self.held.cost_usd_micros),
        };
        let is_granted = self.budget.more(more).await;
        if is_granted {
            self.held = plus(self.held, more);
        }
        is_granted
    }

    /// Whether `next` fits into what is held.
    pub(super) fn has(&self, next: Amount) -> bool {
        let after = plus(self.spent, next);
        after.tokens <= self.held.tokens && after.cost_usd_micros <= self.held.cost_usd_micros
    }

    /// What is spent. A call whose usage is unknown counts with the most that it can have used.
    pub(super) fn spent(&self) -> Amount {
        self.spent
    }

    pub(super) fn spend(&mut self, amount: Amount) {
        self.spent = plus(self.spent, amount);
        self.budget.spent(self.spent);
    }
}

fn plus(a: Amount, b: Amount) -> Amount {
    Amount {
        tokens: a.tokens.saturating_add(b.tokens),
        cost_usd_micros: a.cost_usd_micros.saturating_add(b.cost_usd_micros),
    }
}
