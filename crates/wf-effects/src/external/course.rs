//! The course of an agent's work, however it is spoken to: what it is asked next, what it may still spend, when it is done.

use wf_ir::Value;
use wf_kernel::{Amount, Usage};

use super::read::{cut, instruction, result};
use super::{Fault, Order};
use crate::agent::NUDGES_MAX;
use crate::contract::Steering;
use crate::models::typed::Budget;
use crate::models::{ModelUsage, Price};

/// What an agent whose session was cut off is told first.
const AGAIN: &str = "Your work on the following task was cut off before you handed anything back. The files are again as \
                     they were at its beginning: whatever you changed is gone. Do the task again.";

/// What has been asked, and what it has cost.
pub(super) struct Course<'a> {
    pub(super) order: &'a Order<'a>,
    steering: &'a Steering,
    budget: &'a dyn Budget,
    /// How often something was handed back that does not fit.
    nudges: u32,
    /// How much of the steering was passed on.
    known: usize,
    pub(super) prompts: u32,
    pub(super) spent: Spent,
    held: Amount,
}

/// What comes next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Nothing: this is the result.
    Done(Value, Vec<Value>),
    /// The agent is told this.
    Ask(String),
}

impl<'a> Course<'a> {
    pub(super) fn new(order: &'a Order<'a>, steering: &'a Steering, budget: &'a dyn Budget) -> Self {
        let spent = Spent::new(order.agent.price);
        Self { order, steering, budget, nudges: 0, known: 0, prompts: 0, spent, held: order.held }
    }

    /// What the agent is told first. One that goes on with a session hears that its work is gone.
    pub(super) fn first(&mut self, is_resumed: bool) -> String {
        let again = if is_resumed { format!("{AGAIN}\n\n") } else { String::new() };
        let told = self.told().map(|told| format!("\n\n{told}")).unwrap_or_default();
        format!("{again}{}{told}\n\n{}", self.order.task, instruction(self.order))
    }

    /// All that it was told and what is wrong now, for one that remembers nothing.
    pub(super) fn anew(&mut self, next: &str) -> String {
        self.known = 0;
        format!("{}\n\n{next}", self.first(false))
    }

    /// What it was told since it was asked last.
    fn told(&mut self) -> Option<String> {
        let told = self.steering.told();
        let news: Vec<String> =
            told.iter().skip(self.known).map(|text| format!("Whoever gave you the task adds: {text}")).collect();
        self.known = told.len();
        (!news.is_empty()).then(|| news.join("\n\n"))
    }

    /// What comes after what it said last.
    pub(super) async fn after(&mut self, said: &str) -> Result<Next, Fault> {
        self.afford(false).await?;
        let next = match (self.told(), result(said, self.order)) {
            (Some(told), _) => format!("{told}\n\nTake this into account. {}", instruction(self.order)),
            (None, Ok((value, tasks))) => return Ok(Next::Done(value, tasks)),
            (None, Err(reason)) => {
                let reason = cut(&reason);
                self.nudges += 1;
                if self.nudges > NUDGES_MAX {
                    return Err(Fault::NoResult(reason));
                }
                format!("What you handed back cannot be taken: {reason}\n\n{}", instruction(self.order))
            }
        };
        self.afford(true).await?;
        Ok(Next::Ask(next))
    }

    /// What a record keeps of what was spent. Of a turn that was cut off nothing is known, but that it cost at least as
    /// much as the agent had said.
    pub(super) fn settled(&self) -> Usage {
        let settled = self.spent.settled();
        let beyond = self.spent.cost.filter(|cost| *cost > self.held.cost_usd_micros);
        Usage { cost_usd_micros: settled.cost_usd_micros.or(beyond), ..settled }
    }

    /// Sees to it that what was spent is held, and, for `more` work, that something is left.
    pub(super) async fn afford(&mut self, more: bool) -> Result<(), Fault> {
        let spent = self.spent.usage().amount_or(Amount::default());
        self.budget.spent(spent);
        let short = |spent: u64, held: u64, reserve: u64| match spent.cmp(&held) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal if !more || reserve == 0 => 0,
            _ => spent - held + reserve,
        };
        let reserve = self.order.agent.reserve;
        let wanted = Amount {
            tokens: short(spent.tokens, self.held.tokens, reserve.tokens),
            cost_usd_micros: short(spent.cost_usd_micros, self.held.cost_usd_micros, reserve.cost_usd_micros),
        };
        if wanted == Amount::default() {
            return Ok(());
        }
        if !self.budget.more(wanted).await {
            return Err(Fault::OverBudget);
        }
        self.held = self.held.plus(wanted);
        Ok(())
    }
}

/// What an agent says that it has used.
#[derive(Clone, Debug)]
pub(super) struct Spent {
    price: Option<Price>,
    tokens: ModelUsage,
    /// Micro-dollars, where it says so itself.
    cost: Option<u64>,
    /// Whether it has begun to work at all.
    is_begun: bool,
    /// Whether it is at work: what it uses now is not known yet.
    is_open: bool,
}

impl Spent {
    fn new(price: Option<Price>) -> Self {
        Self { price, tokens: ModelUsage::NOTHING, cost: None, is_begun: false, is_open: false }
    }

    /// A turn begins.
    pub(super) fn open(&mut self) {
        (self.is_begun, self.is_open) = (true, true);
    }

    /// A turn is over, and used this.
    pub(super) fn close(&mut self, used: ModelUsage) {
        self.tokens = self.tokens.plus(used);
        self.is_open = false;
    }

    /// What everything up to now has cost.
    pub(super) fn cost(&mut self, micros: u64) {
        self.cost = Some(self.cost.unwrap_or(0).max(micros));
    }

    /// What one more turn has cost.
    pub(super) fn add_cost(&mut self, micros: u64) {
        self.cost = Some(self.cost.unwrap_or(0).saturating_add(micros));
    }

    /// What is known of it. In the middle of a turn, that is the cost so far at most.
    pub(super) fn usage(&self) -> Usage {
        let tokens = if self.is_open { ModelUsage::default() } else { self.tokens };
        let priced = tokens.with_price(self.price.as_ref());
        Usage { cost_usd_micros: self.cost.or(priced.cost_usd_micros), ..priced }
    }

    /// What is known when it has ended: of a turn that was cut off nothing.
    fn settled(&self) -> Usage {
        match (self.is_begun, self.is_open) {
            (false, _) => Usage { cost_usd_micros: Some(0), ..ModelUsage::NOTHING.with_price(None) },
            (true, false) => self.usage(),
            (true, true) => Usage::default(),
        }
    }
}

/// Dollars as micro-dollars, rounded up.
pub(super) fn micros(dollars: f64) -> Option<u64> {
    let micros = (dollars * 1e6).ceil();
    // What is larger than any budget, negative or no number at all is no cost.
    (0.0..1e15).contains(&micros).then_some(micros as u64)
}
