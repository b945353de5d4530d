//! Faults: what is left, and how it goes on, when the program is killed, its disk fails, or the power goes.
//!
//! Every harness does many cases, and each case is a number: what happens in it follows from that number alone. A case
//! that fails prints the one command that does it again. The short forms are part of every test run; with
//! `WHALEFLOW_LONG=1` (which `cargo xtask test --long` sets) each harness does all of its cases.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a case that fails says how to do it again")]

mod cases;
mod disk;
mod errors;
mod fleet;
mod kills;
mod ledger;
mod points;
mod power;
mod scene;
mod slots;
mod state;
mod strace;
mod trace;
mod work;
