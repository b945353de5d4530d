//! The store: one of each trait, opened together.

use std::path::Path;
use std::sync::Arc;

use crate::sqlite::{Sqlite, SqliteOptions};
use crate::{Blobs, BoxFuture, Inbox, Leases, Log, Memo, OpenError, Runs, Tasks, Traces, TreeRows, Watch, memory};

/// A store. A clone is another handle on the same one.
#[derive(Clone)]
pub struct Store {
    /// The logs.
    pub log: Arc<dyn Log>,
    /// The heads.
    pub runs: Arc<dyn Runs>,
    /// The inboxes.
    pub inbox: Arc<dyn Inbox>,
    /// The leases of runs.
    pub leases: Arc<dyn Leases>,
    /// The task rows.
    pub tasks: Arc<dyn Tasks>,
    /// The rows of trees.
    pub trees: Arc<dyn TreeRows>,
    /// The memo rows.
    pub memo: Arc<dyn Memo>,
    /// The blobs.
    pub blobs: Arc<dyn Blobs>,
    /// The traces.
    pub traces: Arc<dyn Traces>,
    /// Watching runs.
    pub watch: Arc<dyn Watch>,
    closing: Arc<dyn Closing>,
}

/// How a back end comes to rest.
pub(crate) trait Closing: Send + Sync {
    /// Ends its threads once what they were given is done.
    fn close(&self) -> BoxFuture<'_, ()>;
}

impl Store {
    /// Opens the store in `dir`, and makes it if there is none.
    ///
    /// Every acknowledged write is durable without any call at the end. It blocks for some milliseconds.
    pub fn open_sqlite(dir: &Path, options: SqliteOptions) -> Result<Self, OpenError> {
        crate::files::make_root(dir).map_err(|error| OpenError::Unavailable(error.into()))?;
        let db = Arc::new(Sqlite::open(dir, &options)?);
        let (blobs, traces) = crate::files::open(dir, &options)?;
        Ok(Self {
            log: db.clone(),
            runs: db.clone(),
            inbox: db.clone(),
            leases: db.clone(),
            tasks: db.clone(),
            trees: db.clone(),
            memo: db.clone(),
            watch: db.clone(),
            blobs: Arc::new(blobs),
            traces: traces.clone(),
            closing: Arc::new(crate::sqlite::Ending { db, traces }),
        })
    }

    /// A store in memory, for tests and simulation.
    pub fn memory() -> Self {
        let memory = Arc::new(memory::Memory::new());
        Self {
            log: memory.clone(),
            runs: memory.clone(),
            inbox: memory.clone(),
            leases: memory.clone(),
            tasks: memory.clone(),
            trees: memory.clone(),
            memo: memory.clone(),
            blobs: memory.clone(),
            traces: memory.clone(),
            watch: memory.clone(),
            closing: memory,
        }
    }

    /// Finishes what was asked for, flushes traces and lets the back end's threads end. Every later write answers
    /// `Unavailable`. It is a courtesy to the next opening, not a condition of durability.
    pub async fn close(&self) {
        self.closing.close().await;
    }
}
