//! The inbox of a run: the one way in which any process tells a run something.

use crate::{BoxError, BoxFuture, ReadError, RunId};

/// The longest message; larger values belong in a blob.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// The most messages that may wait in one inbox. Full means that the run has no owner or a stuck one; the poster is
/// told, and nothing is dropped.
pub const INBOX_WAITING_MAX: u64 = 10_000;
/// The last id that a message can have.
pub const MESSAGE_ID_MAX: u64 = u32::MAX as u64;

/// The inboxes. Messages are marked as taken by the append that records them, see [`crate::Batch::inbox_taken`].
pub trait Inbox: Send + Sync {
    /// Puts a message into the inbox of `run` and gives its id; ids of a run count from 1 in the order of arrival.
    fn post<'a>(&'a self, run: &'a RunId, message: String, at_ms: i64) -> BoxFuture<'a, Result<u64, PostError>>;

    /// The messages after `after_id`, in order, at most `limit`.
    fn inbox<'a>(
        &'a self,
        run: &'a RunId,
        after_id: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Message>, ReadError>>;
}

/// A message in an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id within the inbox.
    pub id: u64,
    /// When it was posted.
    pub at_ms: i64,
    /// What it says, as JSON text.
    pub message: String,
}

/// Why a message was not posted.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// There is no such run.
    #[error("there is no run {run}")]
    Missing {
        /// The run that was named.
        run: RunId,
    },
    /// Nobody empties the inbox: see who owns the run, then post again.
    #[error("{INBOX_WAITING_MAX} messages wait already")]
    Full,
    /// The message breaks a limit; the same message never fits.
    #[error("the message cannot be stored: {detail}")]
    Refused {
        /// What is wrong with it.
        detail: String,
    },
    /// The database did not answer: it may be tried again, and the message may then be there twice.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// The database is damaged. Never retry.
    #[error("the store is damaged: {detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
}
