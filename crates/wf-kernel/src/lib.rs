//! The kernel: every decision of a run, as a pure function over recorded inputs.
//!
//! A run is a log of [`Record`]s, each an *input* (something the world told the run, with the time at which it was
//! taken in) or a *decision* that [`step()`] derived from exactly one input and the state before it. [`RunState`] is
//! the fold of that log; [`outstanding()`] says what a run waits for, as a function of its state; [`replay`] feeds the
//! inputs to `step` again and compares the decisions.
//!
//! It stands between `wf-ir`, whose workflows it interprets, and `wf-runtime`, which appends its records and performs
//! its [`Effect`]s.
//!
//! It never does IO, reads a clock, draws randomness, logs, or runs anything asynchronously; only it makes an
//! [`Event`](Record) or an [`Effect`].
//!
//! Start reading at [`record`], then [`step()`].

pub mod amount;
mod apply;
pub mod budget;
mod choose;
mod combine;
mod conclude;
mod contest;
pub mod effect;
pub mod head;
mod leaf;
pub mod outstanding;
mod plan;
pub mod record;
pub mod replay;
mod scope;
pub mod state;
pub mod step;
mod topup;

pub use amount::{Amount, Usage};
pub use budget::Ledger;
pub use effect::{Effect, EffectId, LeafRequest, Phase, Request, TreeUse};
pub use head::{Head, LeafCounts};
pub use outstanding::{Outstanding, in_flight, outstanding};
pub use plan::needed_capabilities;
pub use record::{Command, Decision, Input, InputBody, Outcome, Record, RunStatus, ValueRef, Verified};
pub use replay::{Replay, ReplayError};
pub use state::{Instance, Ix, RunState, Stage};
pub use step::{Step, TopUp, step};
