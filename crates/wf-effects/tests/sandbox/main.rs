//! What the sandbox lets through and what it does not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]
#![expect(clippy::print_stdout, reason = "what was skipped and how much counted is to be seen")]

mod basics;
mod builds;
mod escapes;
mod limits;
mod network;
mod paths;
mod setup;
mod tools;
