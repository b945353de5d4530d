//! Traces as files, `traces/<run>/<digest of the instance>.ndjson`, written by one thread.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use wf_ir::Digest;

use super::{FILE_MODE, make_dir};
use crate::trace::{TRACE_READ_BYTES_MAX, addition, framed, whole_lines};
use crate::{BoxFuture, ReadError, RunId, TraceChunk, Traces};

/// How many lines may wait to be written. Full means that the disk is slower than the leaves; lines are then dropped
/// and counted.
const QUEUE_LEN_MAX: usize = 4_096;
/// How many trace files are kept open.
const OPEN_FILES_MAX: usize = 64;

/// The traces in a directory.
pub(crate) struct FileTraces {
    root: PathBuf,
    /// Lines that did not fit into the queue and are not yet counted in a trace.
    dropped: Arc<AtomicU64>,
    queue: Mutex<Option<SyncSender<Work>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Work {
    Line { run: RunId, instance: Digest, line: String },
    Flush(oneshot::Sender<()>),
}

impl FileTraces {
    pub(crate) fn open(root: &Path, bytes_max: u64) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE_LEN_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut scribe = Scribe {
            root: root.to_owned(),
            bytes_max,
            dropped: dropped.clone(),
            dirs: HashSet::new(),
            files: HashMap::new(),
        };
        let thread = std::thread::Builder::new().name("wf-traces".to_owned()).spawn(move || scribe.work(&receiver))?;
        Ok(Self { root: root.to_owned(), dropped, queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread once what it was given is written.
    pub(crate) async fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A fault of the thread is a fault of traces: it fails nothing.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    fn sender(&self) -> Option<SyncSender<Work>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Traces for FileTraces {
    fn append(&self, run: &RunId, instance: &str, line: String) {
        let work = Work::Line { run: run.clone(), instance: Digest::of(instance.as_bytes()), line };
        if self.sender().is_none_or(|queue| queue.try_send(work).is_err()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let Some(queue) = self.sender() else { return };
            let (done, written) = oneshot::channel();
            // The queue may be full, so the waiting is done where it may block.
            let _ = tokio::task::spawn_blocking(move || queue.send(Work::Flush(done))).await;
            let _ = written.await;
        })
    }

    fn read<'a>(
        &'a self,
        run: &'a RunId,
        instance: &'a str,
        offset: u64,
    ) -> BoxFuture<'a, Result<TraceChunk, ReadError>> {
        let path = trace_path(&self.root, run, &Digest::of(instance.as_bytes()));
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || read_chunk(&path, offset)).await {
                Ok(Ok(chunk)) => Ok(chunk),
                Ok(Err(error)) => Err(ReadError::Unavailable(error.into())),
                Err(error) => Err(ReadError::Unavailable(error.into())),
            }
        })
    }
}

fn trace_path(root: &Path, run: &RunId, instance: &Digest) -> PathBuf {
    root.join(run.as_str()).join(format!("{instance}.ndjson"))
}

fn read_chunk(path: &Path, offset: u64) -> io::Result<TraceChunk> {
    match path.symlink_metadata() {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(io::Error::other("the trace is not a file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(TraceChunk { lines: Vec::new(), next_offset: offset });
        }
        Err(error) => return Err(error),
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(TRACE_READ_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(whole_lines(&bytes, offset))
}

/// The thread that writes.
struct Scribe {
    root: PathBuf,
    bytes_max: u64,
    dropped: Arc<AtomicU64>,
    dirs: HashSet<RunId>,
    files: HashMap<(RunId, Digest), Open>,
}

struct Open {
    file: File,
    size: u64,
}

impl Scribe {
    fn work(&mut self, queue: &Receiver<Work>) {
        while let Ok(work) = queue.recv() {
            match work {
                Work::Line { run, instance, line } => {
                    // Invariant: a fault in recording a trace fails nothing. The line is lost, and counted.
                    if self.write(&run, &instance, line).is_err() {
                        self.dirs.remove(&run);
                        self.files.remove(&(run, instance));
                        self.dropped.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Work::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
    }

    fn write(&mut self, run: &RunId, instance: &Digest, line: String) -> io::Result<()> {
        let (bytes_max, counter) = (self.bytes_max, self.dropped.clone());
        let open = self.opened(run, instance)?;
        let dropped = counter.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            // The count says that lines are missing around here; which traces they belong to is not known any more.
            open.add(format!("{{\"trace\":\"lines_dropped\",\"lines\":{dropped}}}\n").into_bytes(), bytes_max)?;
        }
        open.add(framed(line), bytes_max)
    }

    fn opened(&mut self, run: &RunId, instance: &Digest) -> io::Result<&mut Open> {
        let key = (run.clone(), *instance);
        if !self.files.contains_key(&key) {
            if self.files.len() >= OPEN_FILES_MAX {
                self.files.clear();
            }
            if !self.dirs.contains(run) {
                make_dir(&self.root.join(run.as_str()))?;
                self.dirs.insert(run.clone());
            }
            let open = Open::at(&trace_path(&self.root, run, instance))?;
            self.files.insert(key.clone(), open);
        }
        self.files.get_mut(&key).ok_or_else(|| io::Error::other("the trace was just opened"))
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::other("the trace is not a file"));
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(FILE_MODE).open(path)?;
        let size = file.seek(SeekFrom::End(0))?;
        let mut open = Self { file, size };
        if size > 0 {
            let mut last = [0u8];
            open.file.seek(SeekFrom::Start(size - 1))?;
            open.file.read_exact(&mut last)?;
            if last != *b"\n" {
                // A crash cut the last line: what follows begins on a line of its own.
                open.add(b"\n".to_vec(), u64::MAX)?;
            }
        }
        Ok(open)
    }

    fn add(&mut self, line: Vec<u8>, bytes_max: u64) -> io::Result<()> {
        let added = addition(self.size, line, bytes_max);
        self.file.write_all(&added)?;
        self.size += added.len() as u64;
        Ok(())
    }
}
