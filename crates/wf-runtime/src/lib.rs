//! The async shell around a run: own it, load it, step it, append, perform, wait.
//!
//! Everything that decides is in `wf-kernel`; everything that acts is in `wf-effects`. This crate moves records and
//! requests between the two: it takes inputs in, appends them together with the decisions they led to, and only then
//! performs the effects that those decisions order.
//!
//! It stands between the store, which it appends to, and the surfaces, which start, adopt and follow runs.
//!
//! What this process has no slot for is put on a board of tasks, from which the workers of other processes claim it.
//!
//! It never parses a source, renders anything, reads configuration, or decides about a run's state.
//!
//! Start reading at [`Runtime`], then [`drive`].

mod board;
pub mod drive;
mod error;
pub mod journal;
mod owned;
mod worker;

pub use drive::{Drive, DriveOptions, Finished};
pub use error::RunError;
pub use journal::{Loaded, Replayed, load, post, read_records, replay, workflow_of};
pub use owned::{NewRun, Owned, Runtime};
pub use worker::{OpenRun, RunParts, TASK_TTL_MS, Worker, WorkerOptions, WorkerReport};
