//! Effects on this machine, from the order to the outcome.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

mod agent;
mod ask;
mod external;
mod headless;
mod place;
mod setup;
mod trees;
