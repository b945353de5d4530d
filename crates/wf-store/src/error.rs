//! Errors that several families share. Each variant says what the caller does next.

use std::pin::Pin;

use crate::{RunId, Seq};

/// The cause of a fault, for a person to read.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What every method of the store's traits returns, so that the traits can stand behind `Arc<dyn …>`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A later version of this program wrote the store: use that version.
    #[error("the store has schema {found}, this program knows up to {known}")]
    Newer {
        /// The schema of the store.
        found: i64,
        /// The latest schema that this program knows.
        known: i64,
    },
    /// The store cannot keep its promise here (a setting was not honoured, a path is not what it must be): do not use
    /// it.
    #[error("the store is not safe to use: {detail}")]
    Unsafe {
        /// What was found.
        detail: String,
    },
    /// The database file is damaged or is not one of ours: restore it or move it away.
    #[error("the store is damaged: {detail}")]
    Damaged {
        /// What was found.
        detail: String,
    },
    /// The file system or the database did not answer: it may be tried again.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] BoxError),
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such run.
    #[error("there is no run {run}")]
    Missing {
        /// The run that was asked for.
        run: RunId,
    },
    /// The database did not answer: it may be tried again.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// The log breaks an invariant at `seq`: what is before it is intact, nothing after it counts. Never retry.
    #[error("the log of run {run} is damaged at record {seq}: {detail}")]
    Corrupt {
        /// The run whose log is damaged.
        run: RunId,
        /// The first bad record.
        seq: Seq,
        /// What is wrong with it.
        detail: String,
    },
    /// Something outside the logs, or the database itself, is damaged. Never retry.
    #[error("the store is damaged: {detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
}
