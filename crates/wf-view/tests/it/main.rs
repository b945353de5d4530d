//! Views of logs that the kernel made.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

mod graphs;
mod plans;
mod reports;
mod runs;
mod support;
mod texts;
