//! The only place of the engine that runs git.
//!
//! Git in a tree that an agent can write is code execution: hooks, filters, a file-system monitor, an external diff,
//! a swapped `.git` pointer, a poisoned config. So nothing here lets git find its own way:
//!
//! - Every call has a rebuilt environment, pinned directories, no standard input that we did not write, a cap on its
//!   output and a time limit (`runner`).
//! - Whatever touches files or compares contents runs in a *clean git directory* of the engine's own, which borrows the
//!   repository's objects and nothing else of it, so no config of the repository is in force (`clean`). What must see
//!   the repository (refs, revisions, `worktree add`) runs without hooks and with every driver in its config disabled.
//! - The control files of a tree are compared with what the engine wrote before the tree is used again (`control`).
//!
//! The user's checkout, index, branches and config are only read, but by [`Repository::change_files`],
//! [`Repository::create_branch`], [`Repository::move_branch`] and [`Repository::drop_branch`]. What the engine keeps in the repository is objects, refs below `refs/whaleflow/`, and
//! one entry in `worktrees/` for each tree that is in use.
//!
//! Start reading at [`Trees`], the operations that the kernel orders, then `pool`, where trees come from.

mod apply;
mod build_cache;
mod capture;
mod checkout;
mod clean;
mod combine;
mod control;
mod create;
mod desk;
mod diff;
mod discover;
mod error;
mod lock;
mod merge;
mod names;
mod pool;
mod repository;
mod rescue;
mod rescues;
mod runner;
mod slots;
mod snapshot;
mod trees;

pub use apply::CheckoutState;
pub use build_cache::{
    BuildCache, BuildCacheError, BuildCacheMode, BuildCacheOptions, BuildSystem, Harvest, Origin, Prepared,
    SEED_BYTES_MAX, Start, UnknownMode,
};
pub use checkout::{FileOrder, Standing};
pub use combine::CombineOrder;
pub(crate) use control::remove_any;
pub use create::create_repository;
pub use desk::{Landed, TreeLook};
pub use diff::Patch;
pub use discover::{Checkout, find_checkout};
pub use error::GitError;
pub use merge::{CommitOrder, HeadRef, Identity, Merged};
pub use pool::{Keep, PoolOptions, Reclaim, Swept, pool_name};
pub use repository::{CommitFacts, Repository, WorktreeSnapshot};
pub use rescues::{Rescue, Rescues};
pub use runner::{Git, GitOptions};
pub use slots::kept_remainders;
pub use snapshot::SnapshotDir;
pub use trees::{BeginOutcome, CheckpointOrder, Trees, TreesOptions};
