//! Following a run, from the process that owns it or from any other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use wf_ir::Value;
use wf_ir::limits::EXPR_VALUE_BYTES_MAX;
use wf_kernel::Record;
use wf_runtime::journal::{NamedValue, decode, values_of};
use wf_store::{Mark, PageLimit, RunId, Seq, Store};
use wf_view::{Keep, RunFacts, RunFold};

use crate::error::Error;

/// The longest pause between two looks at a log, whatever its watch says.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many bytes of values a view is given at most; what is beyond is named by digest.
const VALUES_BYTES_MAX: usize = 64 << 20;

/// Reads the records of a run as they come.
pub struct Follower {
    store: Store,
    run: RunId,
    after: Seq,
    marks: watch::Receiver<Mark>,
}

/// A record as it came.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Its position.
    pub seq: Seq,
    /// When the input behind it was taken in.
    pub at_ms: i64,
    /// The record.
    pub record: Record,
    /// As it is stored.
    pub payload: String,
    /// The values that it names.
    pub values: Vec<NamedValue>,
}

impl Follower {
    /// Follows `run` from the record after `after`.
    pub fn new(store: &Store, run: &RunId, after: Seq) -> Self {
        Self { store: store.clone(), run: run.clone(), after, marks: store.watch.run(run) }
    }

    /// The next records; none when there are none yet, after a short wait.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn next(&mut self) -> Result<Vec<Followed>, Error> {
        let page = self.page().await?;
        if !page.is_empty() {
            return Ok(page);
        }
        // Whether it changed or the time is up, the next look says what there is.
        let _ = tokio::time::timeout(LOOK_EVERY, self.marks.changed()).await;
        self.page().await
    }

    /// The records that are there already; none at the end of the log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn page(&mut self) -> Result<Vec<Followed>, Error> {
        let stored = self.store.log.read(&self.run, self.after, PageLimit::default()).await?;
        let mut page = Vec::with_capacity(stored.len());
        for stored in stored {
            let record = decode(&stored)?;
            let values = values_of(&self.store, &record).await?;
            page.push(Followed { seq: stored.seq, at_ms: stored.at_ms, record, payload: stored.payload, values });
        }
        // Only now: whoever stops waiting in between loses nothing.
        self.after = page.last().map_or(self.after, |last: &Followed| last.seq);
        Ok(page)
    }
}

/// A run folded for views, as far as its log goes now.
///
/// # Errors
/// When the log cannot be read, or does not fit together.
pub async fn fold(store: &Store, run: &RunId, keep: Keep, now_ms: i64) -> Result<(RunFold, RunFacts), Error> {
    let workflow = wf_runtime::workflow_of(store, run).await?;
    let mut fold = RunFold::new(workflow, keep);
    let mut follower = Follower::new(store, run, Seq::START);
    loop {
        let page = follower.page().await?;
        if page.is_empty() {
            break;
        }
        for it in &page {
            push(&mut fold, it)?;
        }
    }
    hydrate(store, &mut fold).await?;
    let row = store.runs.head(run).await?;
    // The run may have gone on meanwhile; then the head is of another state than this one.
    let log_digest = (row.seq.0 == fold.seq()).then_some(row.hash);
    Ok((fold, RunFacts { log_digest, now_ms, is_alone: false }))
}

/// Folds a record that was followed.
///
/// # Errors
/// When it does not fit the ones before it.
pub fn push(fold: &mut RunFold, followed: &Followed) -> Result<(), Error> {
    for (digest, value) in &followed.values {
        fold.hydrate(*digest, value.clone());
    }
    fold.push(followed.seq.0, &followed.record).map_err(|error| Error::Damaged(error.to_string()))
}

/// Gives a fold the large values that its views show.
///
/// # Errors
/// When a blob is missing or damaged.
pub async fn hydrate(store: &Store, fold: &mut RunFold) -> Result<(), Error> {
    let mut bytes_left = VALUES_BYTES_MAX;
    for digest in fold.missing_values() {
        let bytes = store.blobs.get(&digest).await?;
        if bytes.len() > EXPR_VALUE_BYTES_MAX || bytes.len() > bytes_left {
            continue;
        }
        bytes_left -= bytes.len();
        let text = String::from_utf8(bytes).map_err(|error| Error::Damaged(format!("blob {digest}: {error}")))?;
        let value = Value::from_json(&text).map_err(|error| Error::Damaged(format!("blob {digest}: {error}")))?;
        fold.hydrate(digest, Arc::new(value));
    }
    Ok(())
}
