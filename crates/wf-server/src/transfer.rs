//! A run as one file: everything that folding, showing and replaying it needs, on a machine with nothing else.
//!
//! The file is text, one JSON object a line: a head, the blobs that records name (large ones in parts), the records in
//! order, and an end with the digest of everything before it. An import believes nothing: it reads the file once to check
//! all of it (form, bounds, blobs, hash chain, and by a replay that every decision is what the kernel decides), and only
//! then again to take it in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wf_ir::limits::{EXPR_VALUE_BYTES_MAX, LOG_RECORDS_MAX};
use wf_ir::{Digest, Value, Workflow};
use wf_kernel::replay::{named_blobs, stored_values};
use wf_kernel::{InputBody, Record, Replay};
use wf_runtime::journal::decode;
use wf_store::blob::BLOB_BYTES_MAX;
use wf_store::log::PAYLOAD_BYTES_MAX;
use wf_store::{
    Batch, Chain, FirstOwner, Head, NewRecord, NewRun, PageLimit, RecordKind, RunId, Seq, Store, StoredRecord,
};

use crate::engine::Engine;
use crate::error::Error;

/// The version of the format that is written, and the latest that is read.
const FORMAT: u32 = 1;
/// How many bytes of a blob one line holds.
const PART_BYTES: usize = 256 << 10;
/// The longest line: a payload in which every byte is escaped.
const LINE_BYTES_MAX: u64 = 6 * PAYLOAD_BYTES_MAX as u64 + (64 << 10);
/// Most records that are taken in at once.
const BATCH_RECORDS: usize = 5_000;
/// Most bytes of values that a replay may need.
const KEPT_BYTES_MAX: usize = 512 << 20;
/// Most bytes of a workflow's canonical form.
const WORKFLOW_BYTES_MAX: usize = wf_author::limits::RESPONSE_BYTES_MAX;
/// Most bytes of payload that are taken in at once.
const BATCH_BYTES: usize = 32 << 20;

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Run(Title),
    Blob(Part),
    Record(Entry),
    End(Ending),
}

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Title {
    format: u32,
    run_id: String,
    created_ms: i64,
    records: u64,
    log_digest: Digest,
}

/// A part of a blob.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    digest: Digest,
    size: u64,
    /// Where it begins.
    at: u64,
    /// Its bytes, where they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Its bytes in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

/// A record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    seq: u64,
    kind: Kind,
    at_ms: i64,
    payload: String,
    hash: Digest,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Input,
    Decision,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ending {
    blobs: u64,
    /// BLAKE3 of every byte before this line.
    digest: Digest,
}

/// What was exported or imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// The run.
    pub run: RunId,
    /// How many records it has.
    pub records: u64,
    /// How many blobs they name.
    pub blobs: u64,
}

// -- export ---------------------------------------------------------------------------------------------------------

/// Writes a run, as far as its log goes now.
///
/// # Errors
/// When the log or a blob is damaged, and when the writer says no.
pub async fn export(engine: &Engine, run: &RunId, to: &mut (dyn Write + Send)) -> Result<Transferred, Error> {
    let store = &engine.store;
    let row = store.runs.head(run).await?;
    let mut file = Hashed { to, hasher: blake3::Hasher::new() };
    let (run_id, created_ms) = (run.to_string(), row.created_ms);
    let title = Title { format: FORMAT, run_id, created_ms, records: row.seq.0, log_digest: row.hash };
    file.line(&Line::Run(title))?;
    let blobs = blobs_of(store, run, row.seq).await?;
    for digest in &blobs {
        export_blob(store, digest, &mut file).await?;
    }
    let mut after = Seq::START;
    while after < row.seq {
        for stored in read_page(store, run, after, row.seq).await? {
            after = stored.seq;
            let kind = match stored.kind {
                RecordKind::Input => Kind::Input,
                RecordKind::Decision => Kind::Decision,
            };
            let (at_ms, payload, hash) = (stored.at_ms, stored.payload, stored.hash);
            file.line(&Line::Record(Entry { seq: stored.seq.0, kind, at_ms, payload, hash }))?;
        }
    }
    let digest = Digest(*file.hasher.finalize().as_bytes());
    file.line(&Line::End(Ending { blobs: blobs.len() as u64, digest }))?;
    file.to.flush().map_err(written)?;
    Ok(Transferred { run: run.clone(), records: row.seq.0, blobs: blobs.len() as u64 })
}

struct Hashed<'a> {
    to: &'a mut (dyn Write + Send),
    hasher: blake3::Hasher,
}

impl Hashed<'_> {
    fn line(&mut self, line: &Line) -> Result<(), Error> {
        let mut text = serde_json::to_vec(line).map_err(|error| Error::Bug(error.to_string()))?;
        text.push(b'\n');
        self.hasher.update(&text);
        self.to.write_all(&text).map_err(written)
    }
}

fn written(error: std::io::Error) -> Error {
    Error::io("write", Path::new("the exported run"))(error)
}

/// The records after `after` and up to `end`: the run may go on meanwhile.
async fn read_page(store: &Store, run: &RunId, after: Seq, end: Seq) -> Result<Vec<StoredRecord>, Error> {
    let mut page = store.log.read(run, after, PageLimit::default()).await?;
    page.retain(|stored| stored.seq <= end);
    if page.is_empty() {
        return Err(Error::Damaged(format!("the log of run {run} ends before record {end}")));
    }
    Ok(page)
}

async fn blobs_of(store: &Store, run: &RunId, end: Seq) -> Result<BTreeSet<Digest>, Error> {
    let mut found = BTreeSet::new();
    let mut after = Seq::START;
    while after < end {
        for stored in read_page(store, run, after, end).await? {
            after = stored.seq;
            found.extend(named_blobs(&decode(&stored)?));
        }
    }
    Ok(found)
}

async fn export_blob(store: &Store, digest: &Digest, file: &mut Hashed<'_>) -> Result<(), Error> {
    let bytes = store.blobs.get(digest).await?;
    let is_text = std::str::from_utf8(&bytes).is_ok();
    let (mut at, size) = (0, bytes.len() as u64);
    loop {
        let mut end = bytes.len().min(at + PART_BYTES);
        // A character is not cut in two.
        while is_text && end < bytes.len() && bytes[end] & 0xC0 == 0x80 {
            end -= 1;
        }
        let part = &bytes[at..end];
        let text = is_text.then(|| String::from_utf8_lossy(part).into_owned());
        let hex = (!is_text).then(|| part.iter().map(|byte| format!("{byte:02x}")).collect());
        file.line(&Line::Blob(Part { digest: *digest, size, at: at as u64, text, hex }))?;
        if end == bytes.len() {
            return Ok(());
        }
        at = end;
    }
}

// -- import ---------------------------------------------------------------------------------------------------------

/// Takes an exported run in, after checking all of it.
///
/// # Errors
/// [`Error::Transfer`] when something in the file is not as it must be; then nothing was taken in.
pub async fn import(engine: &Engine, path: &Path) -> Result<Transferred, Error> {
    let mut reader = Reader::open(path)?;
    let (title, checked) = check_all(&mut reader)?;
    let run = reader.run_id(&title)?;
    if let Ok(row) = engine.store.runs.head(&run).await {
        return Err(match row.hash == title.log_digest {
            true => Error::Exists { run: run.to_string() },
            false => reader.refuse(format!("another log of run {run} is here already")),
        });
    }
    reader.rewind()?;
    take_in(engine, &mut reader, &run, &title, checked).await?;
    Ok(Transferred { run, records: title.records, blobs: reader.blobs })
}

/// What checking found out.
struct Checked {
    workflow: Arc<Workflow>,
    labels: String,
    head: Head,
}

/// Reads the file once and believes none of it.
fn check_all(reader: &mut Reader) -> Result<(Title, Checked), Error> {
    let title = reader.title()?;
    let run = reader.run_id(&title)?;
    let mut chain = Chain::start(&run);
    let mut kept = Kept::default();
    let mut present = BTreeSet::new();
    let mut named = BTreeSet::new();
    let mut replay: Option<(Replay, Arc<Workflow>)> = None;
    let mut labels = String::new();
    loop {
        match reader.next()? {
            Item::Blob(digest, bytes) => {
                if !present.insert(digest) || chain.seq > Seq::START {
                    return Err(reader.refuse(format!("blob {digest} is out of place")));
                }
                kept.take(digest, bytes).map_err(|why| reader.refuse(why))?;
            }
            Item::Record(stored) => {
                chain.accept(&stored).map_err(|why| reader.refuse(format!("record {}: {why}", chain.seq.next())))?;
                let record = decode(&stored)?;
                named.extend(named_blobs(&record));
                if let Record::Input(input) = &record
                    && let InputBody::RunStarted(started) = &input.body
                    && replay.is_none()
                {
                    if started.run_id != title.run_id {
                        return Err(reader.refuse("its first record is of another run".to_owned()));
                    }
                    let workflow = kept.workflow(&started.workflow).map_err(|why| reader.refuse(why))?;
                    labels = serde_json::to_string(&started.labels).unwrap_or_default();
                    replay = Some((Replay::new(workflow.clone()), workflow));
                }
                let (replay, _) = replay
                    .as_mut()
                    .ok_or_else(|| reader.refuse("it does not begin with the start of a run".to_owned()))?;
                for (digest, _) in stored_values(&record) {
                    let value = kept
                        .values
                        .get(&digest)
                        .ok_or_else(|| reader.refuse(format!("the value {digest} is missing")))?;
                    replay.state_mut().hydrate(digest, Arc::clone(value));
                }
                replay.feed(&record).map_err(|error| reader.refuse(error.to_string()))?;
            }
            Item::End => break,
        }
    }
    chain
        .finish(Seq(title.records), &title.log_digest)
        .map_err(|(seq, why)| reader.refuse(format!("record {seq}: {why}")))?;
    if named != present {
        return Err(reader.refuse("its blobs are not those that its records name".to_owned()));
    }
    let (mut replay, workflow) = replay.ok_or_else(|| reader.refuse("it has no records".to_owned()))?;
    replay.finish().map_err(|error| reader.refuse(error.to_string()))?;
    let state = replay.state();
    let head = serde_json::to_string(&state.head()).map_err(|error| Error::Bug(error.to_string()))?;
    let head = Head {
        status: state.status().as_str().to_owned(),
        ended: state.end().is_some(),
        updated_ms: state.now(),
        json: head,
    };
    Ok((title, Checked { workflow, labels, head }))
}

/// Blobs that a replay needs.
#[derive(Default)]
struct Kept {
    values: BTreeMap<Digest, Arc<Value>>,
    workflows: BTreeMap<Digest, String>,
    bytes: usize,
}

impl Kept {
    /// Keeps a blob as a value where the kernel could read it, and as a workflow where it looks like one.
    fn take(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), String> {
        let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
        let is_value = text.len() <= EXPR_VALUE_BYTES_MAX;
        let is_workflow = text.len() <= WORKFLOW_BYTES_MAX && text.contains("\"schema_version\"");
        if !is_value && !is_workflow {
            return Ok(());
        }
        self.bytes += text.len();
        if self.bytes > KEPT_BYTES_MAX {
            return Err(format!("its values have more than {KEPT_BYTES_MAX} bytes"));
        }
        if is_value && let Ok(value) = Value::from_json(&text) {
            self.values.insert(digest, Arc::new(value));
        }
        if is_workflow {
            self.workflows.insert(digest, text);
        }
        Ok(())
    }

    fn workflow(&self, digest: &Digest) -> Result<Arc<Workflow>, String> {
        let text = self.workflows.get(digest).ok_or("its workflow is missing")?;
        Workflow::from_canonical(text).map(Arc::new).map_err(|error| error.to_string())
    }
}

/// Reads the file again and takes it in. The bytes are checked to be the same.
async fn take_in(
    engine: &Engine,
    reader: &mut Reader,
    run: &RunId,
    title: &Title,
    checked: Checked,
) -> Result<(), Error> {
    reader.title()?;
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut target = Target { engine, run, title, checked, end: None };
    loop {
        match reader.next()? {
            Item::Blob(_, bytes) => drop(engine.store.blobs.put(Arc::from(bytes)).await?),
            Item::Record(stored) => {
                bytes += stored.payload.len();
                batch.push(NewRecord { kind: stored.kind, at_ms: stored.at_ms, payload: stored.payload });
                if batch.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
                    target.append(std::mem::take(&mut batch)).await?;
                    bytes = 0;
                }
            }
            Item::End => break,
        }
    }
    target.append(batch).await?;
    target.finish(reader).await
}

/// The log that is being written.
struct Target<'a> {
    engine: &'a Engine,
    run: &'a RunId,
    title: &'a Title,
    checked: Checked,
    end: Option<(Seq, Digest, wf_store::Epoch)>,
}

impl Target<'_> {
    async fn append(&mut self, records: Vec<NewRecord>) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        let store = &self.engine.store;
        let batch = Batch { records, head: self.checked.head.clone(), tasks: Vec::new(), inbox_taken: None };
        if let Some((seq, _, epoch)) = self.end {
            let appended = store.log.append(self.run, seq, epoch, batch).await.map_err(wf_runtime::RunError::from)?;
            self.end = Some((appended.seq, appended.hash, epoch));
            return Ok(());
        }
        let new = NewRun {
            run: self.run.clone(),
            workflow_name: self.checked.workflow.name().to_owned(),
            workflow_hash: self.checked.workflow.hash(),
            labels: self.checked.labels.clone(),
            created_ms: self.title.created_ms,
            owner: Some(FirstOwner { owner: format!("import-{}", self.run), until_ms: self.engine.now_ms() + 60_000 }),
            batch,
        };
        let created = store.log.create_run(new).await?;
        self.end = Some((created.appended.seq, created.appended.hash, created.epoch));
        Ok(())
    }

    async fn finish(self, reader: &Reader) -> Result<(), Error> {
        let Some((seq, hash, epoch)) = self.end else { return Err(reader.refuse("it has no records".to_owned())) };
        self.engine
            .store
            .leases
            .release_lease(self.run, epoch)
            .await
            .map_err(|error| Error::Store(error.to_string()))?;
        if (seq.0, hash) == (self.title.records, self.title.log_digest) {
            return Ok(());
        }
        Err(reader.refuse("it changed while it was read".to_owned()))
    }
}

/// A line that was understood; parts of a blob are put together.
enum Item {
    Blob(Digest, Vec<u8>),
    Record(StoredRecord),
    End,
}

/// Reads the lines of a file, within bounds.
struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    hasher: blake3::Hasher,
    line: u64,
    blobs: u64,
    records: u64,
}

impl Reader {
    fn open(path: &Path) -> Result<Self, Error> {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = File::options().read(true).custom_flags(flags).open(path);
        let refuse = |message: String| Error::Transfer { path: path.to_owned(), message };
        let file = file.map_err(|error| refuse(error.to_string()))?;
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Err(refuse("it is not a regular file".to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            hasher: blake3::Hasher::new(),
            line: 0,
            blobs: 0,
            records: 0,
        })
    }

    fn refuse(&self, message: String) -> Error {
        Error::Transfer { path: self.path.clone(), message }
    }

    fn rewind(&mut self) -> Result<(), Error> {
        self.file.seek(SeekFrom::Start(0)).map_err(|error| self.refuse(error.to_string()))?;
        self.hasher = blake3::Hasher::new();
        (self.line, self.blobs, self.records) = (0, 0, 0);
        Ok(())
    }

    fn title(&mut self) -> Result<Title, Error> {
        match self.read_line()? {
            (Line::Run(title), _) if title.format > FORMAT => Err(Error::Newer(format!(
                "{:?} has format {}, this version knows up to {FORMAT}",
                self.path, title.format
            ))),
            (Line::Run(title), _) if title.records <= LOG_RECORDS_MAX.saturating_mul(2) => Ok(title),
            (Line::Run(_), _) => Err(self.refuse("it has more records than a log may have".to_owned())),
            _ => Err(self.refuse("its first line does not name a run".to_owned())),
        }
    }

    fn run_id(&self, title: &Title) -> Result<RunId, Error> {
        RunId::parse(&title.run_id).map_err(|error| self.refuse(error.to_string()))
    }

    fn next(&mut self) -> Result<Item, Error> {
        match self.read_line()? {
            (Line::Blob(part), _) => self.blob(part),
            (Line::Record(entry), _) => {
                self.records += 1;
                let kind = match entry.kind {
                    Kind::Input => RecordKind::Input,
                    Kind::Decision => RecordKind::Decision,
                };
                let (seq, at_ms, payload, hash) = (Seq(entry.seq), entry.at_ms, entry.payload, entry.hash);
                if payload.len() > PAYLOAD_BYTES_MAX {
                    return Err(self.refuse(format!("record {seq} is too long")));
                }
                Ok(Item::Record(StoredRecord { seq, kind, at_ms, payload, hash }))
            }
            (Line::End(ending), before) => {
                if ending.digest != before || ending.blobs != self.blobs {
                    return Err(self.refuse("its end does not match what is before it".to_owned()));
                }
                let mut rest = [0];
                match self.file.read(&mut rest) {
                    Ok(0) => Ok(Item::End),
                    _ => Err(self.refuse("something comes after its end".to_owned())),
                }
            }
            (Line::Run(_), _) => Err(self.refuse(format!("line {} names a run again", self.line))),
        }
    }

    /// Puts the parts of a blob together, which follow each other.
    fn blob(&mut self, first: Part) -> Result<Item, Error> {
        self.blobs += 1;
        let (digest, size) = (first.digest, first.size);
        if size > BLOB_BYTES_MAX {
            return Err(self.refuse(format!("blob {digest} is too large")));
        }
        let mut bytes = Vec::new();
        let mut part = first;
        loop {
            let is_next = part.digest == digest && part.size == size && part.at == bytes.len() as u64;
            let more = bytes_of(&part).filter(|more| is_next && (!more.is_empty() || size == 0));
            bytes.extend(more.ok_or_else(|| self.refuse(format!("the parts of blob {digest} do not fit together")))?);
            if bytes.len() as u64 >= size {
                break;
            }
            part = match self.read_line()? {
                (Line::Blob(part), _) => part,
                _ => return Err(self.refuse(format!("blob {digest} is not whole"))),
            };
        }
        if bytes.len() as u64 != size || Digest::of(&bytes) != digest {
            return Err(self.refuse(format!("blob {digest} is damaged")));
        }
        Ok(Item::Blob(digest, bytes))
    }

    /// The next line, and the digest of everything before it.
    fn read_line(&mut self) -> Result<(Line, Digest), Error> {
        let before = Digest(*self.hasher.finalize().as_bytes());
        let mut text = Vec::new();
        let read = (&mut self.file).take(LINE_BYTES_MAX).read_until(b'\n', &mut text);
        read.map_err(|error| self.refuse(error.to_string()))?;
        self.line += 1;
        if text.is_empty() {
            return Err(self.refuse("it ends before its end".to_owned()));
        }
        if text.pop() != Some(b'\n') {
            return Err(self.refuse(format!("line {} is cut off or too long", self.line)));
        }
        let line = serde_json::from_slice(&text)
            .map_err(|error| self.refuse(format!("line {} is not of the agreed form: {error}", self.line)))?;
        self.hasher.update(&text).update(b"\n");
        Ok((line, before))
    }
}

fn bytes_of(part: &Part) -> Option<Vec<u8>> {
    match (&part.text, &part.hex) {
        (Some(text), None) => Some(text.as_bytes().to_vec()),
        (None, Some(hex)) => {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let pairs = hex.as_bytes().chunks(2);
            pairs.map(|pair| u8::try_from(digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?).ok()).collect()
        }
        _ => None,
    }
}
