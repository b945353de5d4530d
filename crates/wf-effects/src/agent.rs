//! The native agent: a model that works in a tree with tools until it hands back a result.
//!
//! [`work`] is the loop. It asks the model, does what tools it calls ([`tools::Tools`]), shows it what came of that, and
//! ends with a result that fits the leaf's schema, or with a typed reason why there is none. It is bounded in turns,
//! tokens and budget, sees when it turns in circles ([`circles`]), and keeps a long conversation within the model's
//! window by rule ([`compact`]).
//!
//! Files are reached through [`files::Tree`] only: every directory on the way to one is opened without following
//! links. Commands run below the process supervisor, in a sandbox, or not at all.

pub mod circles;
pub mod compact;
pub mod files;
pub mod find;
pub mod output;
pub mod prompt;
pub mod purse;
mod run;
pub mod scripted;
pub mod shell;
pub mod tools;

pub(crate) use run::NUDGES_MAX;
pub use run::{Done, Limits, Order, Stopped, Why, World, work};
