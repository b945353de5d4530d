//! Memo rows: the result of a leaf, found again by the exact context that produced it.

use wf_ir::Digest;

use crate::{BoxError, BoxFuture, ReadError};

/// The longest memo row; larger values belong in a blob that the row names.
pub const MEMO_BYTES_MAX: usize = 1 << 20;

/// The memo rows.
pub trait Memo: Send + Sync {
    /// Stores `row`, as JSON text, under `key`, in place of what was there.
    fn memo_put<'a>(&'a self, key: &'a Digest, row: String, at_ms: i64) -> BoxFuture<'a, Result<(), MemoError>>;

    /// The row under `key`, if there is one.
    fn memo_get<'a>(&'a self, key: &'a Digest) -> BoxFuture<'a, Result<Option<String>, ReadError>>;
}

/// Why a memo row was not stored.
#[derive(Debug, thiserror::Error)]
pub enum MemoError {
    /// The row breaks a limit; the same row never fits.
    #[error("the memo row cannot be stored: {detail}")]
    Refused {
        /// What is wrong with it.
        detail: String,
    },
    /// The database did not answer: it may be tried again.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// The database is damaged. Never retry.
    #[error("the store is damaged: {detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
}
