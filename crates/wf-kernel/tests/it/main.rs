//! Tests of the kernel: simulations, features, and histories that must replay.

mod features;
mod histories;
mod simulate;
mod simulation;
mod world;
