//! Stores: log and inbox, leases and tasks, memo, blobs and traces, and whose trees are.
//!
//! This crate keeps what a run must not lose. There is one small trait per table family, and two back ends that
//! implement all of them: SQLite with plain files beside it, and memory. A [`Store`] is one of each trait, opened
//! together.
//!
//! It stands between the kernel, which decides what to record, and the views, which show what was recorded. The
//! runtime appends to it, every other process may read from it and post to an inbox.
//!
//! It never interprets an event: payloads, heads, messages and memo rows are text to it. It never reads a clock; every
//! time arrives as an argument. It never answers before what it answers for is durable, and it never goes on in
//! silence over something damaged.
//!
//! Start reading at [`Store`], then [`log`], then `sqlite::writer`.

pub mod blob;
mod error;
mod files;
pub mod fleet;
mod id;
pub mod inbox;
mod inspect;
pub mod lease;
pub mod log;
pub mod memo;
mod memory;
pub mod presence;
mod record;
mod sqlite;
mod store;
pub mod task;
pub mod trace;
pub mod tree;
pub mod watch;

pub use blob::{BlobError, Blobs};
pub use error::{BoxError, BoxFuture, OpenError, ReadError};
pub use fleet::{
    Beat, Capabilities, Claim, ClaimError, Claimed, CompleteError, Completion, Heartbeat, TaskError, WorkerRow,
};
pub use id::{Epoch, RunId, RunIdError, Seq};
pub use inbox::{Inbox, Message, PostError};
pub use inspect::{FileFound, Inspection, inspect};
pub use lease::{Lease, LeaseError, Leases, RenewError};
pub use log::{
    AppendError, Appended, Batch, CreateError, Created, FirstOwner, Head, Log, NewRun, PageLimit, ResolveError,
    RunFilter, RunRow, Runs, Verified,
};
pub use memo::{Memo, MemoError};
pub use presence::{Presence, Present};
pub use record::{Chain, NewRecord, RecordKind, StoredRecord, chain_hash, chain_start};
pub use sqlite::{SCHEMA, SQLITE_VERSION_MIN, SqliteOptions};
pub use store::Store;
pub use task::{
    BoardCursor, BoardFilter, NewTask, TaskChange, TaskFilter, TaskRef, TaskRow, TaskSignal, TaskStatus, Tasks,
};
pub use trace::{TraceChunk, Traces};
pub use tree::{
    Tenant, TenantRun, TreeChange, TreeChangeError, TreeClaim, TreeClaimError, TreeFilter, TreeListed, TreeRow,
    TreeRows, TreeSlot, TreeStage, TreeUse,
};
pub use watch::{Mark, Watch};
