//! The native agent, driven by written turns: no server, no clock.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

mod hostile;
mod support;
mod work;
