//! The fleet under simulation: real owners and workers over a store in memory, in one thread, in virtual time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

mod checks;
mod process;
mod simulation;
mod store;
#[path = "../../../wf-kernel/tests/it/world.rs"]
mod world;
