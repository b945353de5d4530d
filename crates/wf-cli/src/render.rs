//! What people read on a terminal: data in, text out.
//!
//! Nothing here prints, reads a clock or asks a terminal anything: width, colour and time are given. Whatever comes
//! from a model, a command, a path or a repository passes through [`wf_view::text::clean`] on its way into a line, so
//! that nothing foreign can steer the terminal.

pub(crate) mod diagnostics;
pub(crate) mod diff;
pub(crate) mod fleet;
pub(crate) mod list;
pub(crate) mod live;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod replies;
pub(crate) mod show;
pub(crate) mod style;
pub(crate) mod summary;
#[cfg(test)]
mod tests;
mod tree;
pub(crate) mod trees;
