//! Git as the engine uses it, on real repositories that the tests make.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

mod apply;
mod build_cache;
mod canary;
mod checkpoint;
mod combine;
mod discover;
mod faults;
mod oracle;
mod poison;
mod pool;
mod rescue_cases;
mod runner;
mod support;
mod trees;
mod user;
