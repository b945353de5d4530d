//! Authoring: Starlark, YAML and JSON to a draft.
//!
//! A workflow is written in one of three spellings that mean the same. [`compile()`] reads a source and gives a
//! [`Draft`](wf_ir::Draft): a tree of values, each with its place. What names and fields mean is not known here; that
//! is [`wf_ir::validate()`]'s part, which comes next in the flow.
//!
//! It never reads a file (a [`Loader`] is passed in), starts a process, or reads a clock or the environment. Only this
//! crate knows that there is an interpreter for Starlark. A hostile source can exhaust the process that interprets it,
//! so that a program compiles in a child that limits itself: [`protocol`] is what the two say to each other.
//!
//! Start reading at [`compile()`], then `star`, then [`protocol`].

pub mod code;
mod compile;
mod json;
pub mod limits;
pub mod protocol;
mod star;
mod text;
mod yaml;

pub use compile::{LoadError, Loader, NoFiles, Spelling, check_path, compile};
pub use star::RESERVED_WORDS;
