//! Configuration, projects, trust, and the operations that surfaces share.
//!
//! Whatever a command line, a daemon or a web page does with runs is done here once: find the project and its state,
//! find and compile a workflow, start a run, follow it, command it, take it to another machine, look at what it changed.
//!
//! It stands above `wf-runtime`, which advances runs, and below the surfaces, which show what this crate answers.
//!
//! It never prints, never holds the state of a run, and decides nothing about one. Only it reads the environment and
//! configuration.
//!
//! Start reading at [`Environment`], then [`Project`], then [`start`].

pub mod amounts;
pub mod apply;
pub mod changes;
pub mod config;
mod detach;
pub mod doctor;
pub mod draft;
mod engine;
mod environment;
pub mod error;
mod files;
mod fixture;
pub mod fleet;
pub mod follow;
mod id;
mod inputs;
mod keys;
mod models;
pub mod ops;
mod project;
pub mod proposal;
pub mod source;
pub mod start;
mod starter;
pub mod transfer;
pub mod trees;
pub mod trust;

pub use detach::{DRIVE_CHILD, detach};
pub use engine::{Engine, Keeper, Owner, SLOTS, Terms, affordable_slots};
pub use environment::Environment;
pub use error::{Class, Error};
pub use project::Project;
pub use source::{Checked, Source};
pub use starter::{Written, init};
