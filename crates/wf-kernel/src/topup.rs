//! More budget for attempts in flight.
//!
//! An attempt asks before each call that what is held for it does not cover. While others hold what it wants, it waits;
//! and what has begun comes before what has not. Were all to wait for each other, the last that began is refused: it hands
//! back what it has, and the others go on.

use std::sync::Arc;

use crate::budget::Fit;
use crate::effect::{EffectId, Phase};
use crate::record::{Decision, Metered};
use crate::state::Ix;
use crate::step::{TopUp, Turn};

/// So often may an attempt ask. Whoever performs it asks for more at once the longer it goes on.
const ASKED_MAX: u32 = 500;

/// Whose ceiling is in the way, and which. The run's is empty.
type InTheWay = (Arc<str>, &'static str);

enum May {
    Have,
    Wait(InTheWay),
    Never(InTheWay),
}

impl Turn<'_> {
    /// Answers whoever can be answered now.
    pub(crate) fn answer_topups(&mut self) {
        if self.state.topups.is_empty() {
            return;
        }
        let mut last = None;
        for (ix, asks) in self.state.topups.clone() {
            self.note_overrun(ix, &asks);
            match self.may_have(ix, &asks) {
                May::Have => self.top_up(ix, &asks),
                May::Never(way) => self.refuse_topup(ix, asks.asked, way),
                May::Wait(way) => last = Some((ix, asks.asked, way)),
            }
        }
        if let Some((ix, asked, way)) = last
            && !self.somebody_will_settle()
        {
            self.refuse_topup(ix, asked, way);
        }
        if self.state.topups.is_empty() {
            self.wake(None, true);
        }
    }

    /// What was used beyond what is held is on the books at once, so that nothing else begins on it.
    fn note_overrun(&mut self, ix: Ix, asks: &Metered) {
        let reserved = self.state.instance(ix).reserved;
        let excess = asks.spent.minus(reserved);
        if !excess.is_zero() && !reserved.is_zero() {
            self.decide(Decision::Overrun { path: self.path(ix), excess });
        }
    }

    fn may_have(&self, ix: Ix, asks: &Metered) -> May {
        if asks.asked > ASKED_MAX {
            return May::Never((self.path(ix), "questions"));
        }
        let own = self.state.instance(ix).reserved;
        let mut wait = None;
        let nodes = self.state.ledgers_of(ix).into_iter().filter_map(|at| {
            let ledger = self.state.ledgers.get(&at)?;
            Some((self.path(at), ledger.fits_total(own, asks.total)))
        });
        let run = (Arc::from(""), self.state.ledger.fits_total(own, asks.total));
        for (path, fit) in nodes.chain([run]) {
            match fit {
                Fit::Yes => {}
                Fit::Never(what) => return May::Never((path, what)),
                Fit::Later(what) => wait = wait.or(Some((path, what))),
            }
        }
        wait.map_or(May::Have, May::Wait)
    }

    fn top_up(&mut self, ix: Ix, asks: &Metered) {
        let reserved = self.state.instance(ix).reserved.at_least(asks.total);
        self.decide(Decision::ToppedUp { path: self.path(ix), asked: asks.asked, reserved });
        self.answer(ix, asks.asked, true);
    }

    fn refuse_topup(&mut self, ix: Ix, asked: u32, (budget, what): InTheWay) {
        self.decide(Decision::TopUpRefused { path: self.path(ix), asked, budget, what: what.to_owned() });
        self.answer(ix, asked, false);
    }

    fn answer(&mut self, ix: Ix, asked: u32, is_granted: bool) {
        let generation = self.state.instance(ix).generation;
        let effect = EffectId { subject: self.path(ix), generation, phase: Phase::Perform };
        self.step.topups.push((effect, TopUp { asked, is_granted }));
    }

    /// Whether an attempt that holds budget is in flight and waits for none.
    fn somebody_will_settle(&self) -> bool {
        self.state.in_flight.iter().any(|ix| {
            let instance = self.state.instance(*ix);
            let holds = instance.flight == Some(Phase::Perform) && !instance.reserved.is_zero();
            holds && !self.state.topups.contains_key(ix) && !self.state.stranded.contains(ix)
        })
    }
}
