//! Effects on this machine, from the order to the outcome.

mod ask;
mod place;
mod setup;
mod trees;
