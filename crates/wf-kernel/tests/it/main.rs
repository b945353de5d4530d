//! Tests of the kernel: simulations, features, and histories that must replay.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

mod features;
mod histories;
mod simulate;
mod simulation;
mod world;
