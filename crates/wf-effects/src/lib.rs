//! What performs effects: models (here the mock), commands, searches, git trees.
//!
//! The kernel orders an [`Effect`](wf_kernel::Effect); this crate does it and answers with an
//! [`Outcome`](wf_kernel::Outcome). A failure is an outcome too: nothing here decides a retry, and nothing here is an
//! error of the engine.
//!
//! It stands between `wf-runtime`, which calls it after the ordering decision is durable, and the outside world. Only
//! it spawns processes, calls models and runs git.
//!
//! It never decides a retry, never reads configuration or the environment, and knows nothing of the store but blobs
//! and traces.
//!
//! Start reading at [`contract`], then [`local`].

pub mod agent;
pub mod beneath;
pub mod contract;
pub mod external;
pub mod git;
pub mod local;
pub mod mock;
pub mod models;
pub mod process;
pub mod sandbox;
mod scratch;
pub mod search;
pub mod secret;
pub mod template;

pub use contract::{BoxFuture, CancelToken, Clock, Ctx, Effects, Grant, Meter, MeterAsk, RealClock, Steering};
pub use scratch::{ScratchDir, sweep_scratch};
