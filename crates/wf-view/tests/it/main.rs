//! Views of logs that the kernel made.

mod graphs;
mod plans;
mod reports;
mod runs;
mod support;
