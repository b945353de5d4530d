//! The program from outside: what it prints, how it exits, what it leaves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

mod agents;
mod apply;
mod bad_input;
mod bad_models;
mod builds;
mod canaries;
mod commands;
mod decisions;
mod drafting;
mod fleet;
mod ground;
mod hostile_trees;
mod misfortune;
mod models;
mod native_agents;
mod place;
mod pool;
mod repositories;
mod runs;
mod supervised;
mod tournament;
mod trees;
mod workflows;
