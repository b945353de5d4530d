//! What the sandbox lets through and what it does not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

mod basics;
mod escapes;
mod paths;
mod setup;
