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
//! The user's checkout, index, branches and config are only read, but by [`Repository::apply_to_checkout`] and
//! [`Repository::create_branch`]. What the engine keeps in the repository is objects, refs below `refs/whaleflow/`, and
//! one entry in `worktrees/` for each tree that is in use.
//!
//! Start reading at [`Trees`], the operations that the kernel orders.

mod apply;
mod build_cache;
mod capture;
mod clean;
mod control;
mod create;
mod diff;
mod discover;
mod error;
mod lock;
mod names;
mod repository;
mod rescue;
mod rescues;
mod runner;
mod snapshot;
mod trees;

pub use apply::CheckoutState;
pub use build_cache::{
    BuildCache, BuildCacheError, BuildCacheMode, BuildCacheOptions, BuildSystem, Harvest, Origin, Prepared,
    SEED_BYTES_MAX, Start, UnknownMode,
};
pub use create::create_repository;
pub use diff::Patch;
pub use error::GitError;
pub use repository::{CommitFacts, Repository, WorktreeSnapshot};
pub use rescues::{Rescue, Rescues};
pub use runner::{Git, GitOptions};
pub use snapshot::SnapshotDir;
pub use trees::{BeginOutcome, CheckpointOrder, TreeEntry, Trees, TreesOptions, list_trees};
