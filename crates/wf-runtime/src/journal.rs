//! Logs as this crate reads and writes them: records decoded, values that they name by digest at hand.

use std::sync::Arc;

use wf_ir::{Digest, Workflow};
use wf_kernel::replay::{parse_value, stored_values};
use wf_kernel::{Command, InputBody, Record, Replay, ReplayError, RunState};
use wf_store::{PageLimit, RecordKind, RunId, Seq, Store, StoredRecord};

use crate::error::RunError;

/// A run, folded from its log.
#[derive(Debug)]
pub struct Loaded {
    /// Its state.
    pub state: RunState,
    /// Its workflow.
    pub workflow: Arc<Workflow>,
    /// How many records its log has.
    pub records: u64,
    /// The head of its hash chain.
    pub log_digest: Digest,
}

/// What a replay found.
#[derive(Debug)]
pub struct Replayed {
    /// How many records were compared.
    pub records: u64,
    /// The head of the hash chain.
    pub log_digest: Digest,
    /// The first difference, if there is one.
    pub difference: Option<ReplayError>,
}

/// A value that a record names by digest.
pub type NamedValue = (Digest, Arc<wf_ir::Value>);

/// Decodes a record.
///
/// # Errors
/// [`RunError::Unknown`] when this version does not know it.
pub fn decode(stored: &StoredRecord) -> Result<Record, RunError> {
    Record::parse(stored.kind == RecordKind::Input, stored.at_ms, &stored.payload)
        .map_err(|error| RunError::Unknown { seq: stored.seq.0, detail: error.to_string() })
}

/// The values that a record names and that the kernel may read.
///
/// # Errors
/// When a blob is missing or damaged.
pub async fn values_of(store: &Store, record: &Record) -> Result<Vec<NamedValue>, RunError> {
    let mut values = Vec::new();
    for (digest, _) in stored_values(record) {
        let bytes = store.blobs.get(&digest).await?;
        let text = std::str::from_utf8(&bytes).map_err(|error| RunError::Damaged(error.to_string()))?;
        values.push((digest, parse_value(text).map_err(|error| RunError::Damaged(error.to_string()))?));
    }
    Ok(values)
}

/// Reads the records after `after` and hands each to `each`, with the values that it names by digest. Gives the end.
///
/// # Errors
/// When the log is damaged, a record unknown, or the store unavailable; the records before it have been handed over.
pub async fn read_records(
    store: &Store,
    run: &RunId,
    after: Seq,
    each: &mut (dyn FnMut(&StoredRecord, &Record, &[NamedValue]) + Send),
) -> Result<(Seq, Option<Digest>), RunError> {
    let mut end = after;
    let mut hash = None;
    loop {
        let page = store.log.read(run, end, PageLimit::default()).await?;
        let Some(last) = page.last() else { return Ok((end, hash)) };
        (end, hash) = (last.seq, Some(last.hash));
        for stored in &page {
            let record = decode(stored)?;
            let values = values_of(store, &record).await?;
            each(stored, &record, &values);
        }
    }
}

/// The workflow of a run, from the blob that its first record names.
///
/// # Errors
/// When the run, the record or the blob is missing or damaged.
pub async fn workflow_of(store: &Store, run: &RunId) -> Result<Arc<Workflow>, RunError> {
    let first = store.log.read(run, Seq(0), PageLimit { records_max: 1, bytes_max: usize::MAX }).await?;
    let first = first.first().map(decode).transpose()?;
    let Some(Record::Input(input)) = first else {
        return Err(RunError::Damaged(format!("the log of run {run} has no beginning")));
    };
    let InputBody::RunStarted(started) = input.body else {
        return Err(RunError::Damaged(format!("the log of run {run} does not begin with its start")));
    };
    let bytes = store.blobs.get(&started.workflow).await?;
    let text = String::from_utf8(bytes).map_err(|error| RunError::Damaged(error.to_string()))?;
    Workflow::from_canonical(&text)
        .map(Arc::new)
        .map_err(|error| RunError::Damaged(format!("the workflow of run {run} does not load: {error}")))
}

/// Folds the log of a run.
///
/// # Errors
/// As [`read_records`].
pub async fn load(store: &Store, run: &RunId) -> Result<Loaded, RunError> {
    let workflow = workflow_of(store, run).await?;
    let mut state = RunState::new(workflow.clone());
    let mut fold = |_: &StoredRecord, record: &Record, values: &[NamedValue]| {
        for (digest, value) in values {
            state.hydrate(*digest, value.clone());
        }
        state.apply(record);
    };
    let (end, hash) = read_records(store, run, Seq(0), &mut fold).await?;
    let log_digest = hash.unwrap_or_else(|| wf_store::chain_start(run));
    Ok(Loaded { state, workflow, records: end.0, log_digest })
}

/// Replays a run: no effect is performed, nothing is written.
///
/// # Errors
/// As [`read_records`]; a difference is not an error but part of the answer.
pub async fn replay(store: &Store, run: &RunId) -> Result<Replayed, RunError> {
    let workflow = workflow_of(store, run).await?;
    let mut replay = Replay::new(workflow);
    let mut difference = None;
    let mut feed = |_: &StoredRecord, record: &Record, values: &[NamedValue]| {
        for (digest, value) in values {
            replay.state_mut().hydrate(*digest, value.clone());
        }
        if difference.is_none() {
            difference = replay.feed(record).err();
        }
    };
    let (end, hash) = read_records(store, run, Seq(0), &mut feed).await?;
    let difference = difference.or_else(|| replay.finish().err());
    let log_digest = hash.unwrap_or_else(|| wf_store::chain_start(run));
    Ok(Replayed { records: end.0, log_digest, difference })
}

/// Puts a command into a run's inbox; whoever owns the run takes it in. Gives the message's id.
///
/// # Errors
/// When the run does not exist, its inbox is full, or the store is unavailable.
pub async fn post(store: &Store, run: &RunId, command: &Command, at_ms: i64) -> Result<u64, RunError> {
    let message = serde_json::to_string(&InputBody::Command(command.clone()))
        .map_err(|error| RunError::Parked(error.to_string()))?;
    Ok(store.inbox.post(run, message, at_ms).await?)
}
