//! The store's tests: one suite that every back end must pass, a comparison of the back ends on random operations, what
//! damage must be found, and what several handles on one directory must agree on.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[macro_use]
mod fixture;

mod conformance;
mod damage;
mod differential;
mod fleet;
mod migration;
mod random_damage;
mod sharing;
mod trees;
