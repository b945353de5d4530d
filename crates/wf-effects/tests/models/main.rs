//! Models on the wire: a local server speaks both protocols, well and badly.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

mod agent;
mod catalog;
mod hostile;
mod limits;
mod server;
mod shapes;
mod speak;
mod support;
mod typed;
