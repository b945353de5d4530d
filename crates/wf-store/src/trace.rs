//! Traces: observations beside the log, a line at a time.
//!
//! A trace is never needed: deleting all of them changes no replay, and a fault in writing one fails nothing. So
//! [`Traces::append`] answers nothing at all; lines that cannot be kept are counted, and the count is a line.

use crate::{BoxFuture, ReadError, RunId};

/// The longest line; a longer one is replaced by a marker.
pub const TRACE_LINE_BYTES_MAX: usize = 256 << 10;
/// The largest trace of one instance, unless a store is opened with another limit. At the limit a marker ends it, and
/// what comes later is dropped.
pub const TRACE_BYTES_MAX: u64 = 16 << 20;
/// How much one call of [`Traces::read`] returns at most.
pub const TRACE_READ_BYTES_MAX: usize = 1 << 20;

/// The traces.
pub trait Traces: Send + Sync {
    /// Adds a line of JSON text to the trace of an instance, soon.
    fn append(&self, run: &RunId, instance: &str, line: String);

    /// Waits until the lines appended so far can be read.
    fn flush(&self) -> BoxFuture<'_, ()>;

    /// The whole lines from `offset`, which is 0 or what the last call gave; none means no more so far. A trace that
    /// does not exist is empty.
    fn read<'a>(
        &'a self,
        run: &'a RunId,
        instance: &'a str,
        offset: u64,
    ) -> BoxFuture<'a, Result<TraceChunk, ReadError>>;
}

/// Some lines of a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceChunk {
    /// The lines, without their ends.
    pub lines: Vec<String>,
    /// Where the next call begins.
    pub next_offset: u64,
}

/// The bytes of `line` as they are stored: one line, within the limit, with its end.
pub(crate) fn framed(line: String) -> Vec<u8> {
    if line.len() > TRACE_LINE_BYTES_MAX {
        return format!("{{\"trace\":\"line_dropped\",\"bytes\":{}}}\n", line.len()).into_bytes();
    }
    let mut bytes = line.into_bytes();
    // In JSON text a raw line end can only be white space, so a space says the same.
    for byte in &mut bytes {
        if *byte == b'\n' || *byte == b'\r' {
            *byte = b' ';
        }
    }
    bytes.push(b'\n');
    bytes
}

/// What is added to a trace that has `size` bytes when `line` arrives: the line, or the marker that ends a full trace,
/// or nothing.
pub(crate) fn addition(size: u64, line: Vec<u8>, bytes_max: u64) -> Vec<u8> {
    if size >= bytes_max {
        return Vec::new();
    }
    if size + line.len() as u64 <= bytes_max {
        return line;
    }
    // The marker is padded up to the limit, so that the size alone says that the trace has ended.
    let mut marker = format!("{{\"trace\":\"full\",\"bytes_max\":{bytes_max}}}").into_bytes();
    let room = usize::try_from(bytes_max - size).unwrap_or(0).saturating_sub(1);
    marker.resize(marker.len().max(room), b' ');
    marker.push(b'\n');
    marker
}

/// The whole lines in `bytes`, which begin at `offset`. A line without an end counts only when `bytes` can hold no
/// more.
pub(crate) fn whole_lines(bytes: &[u8], offset: u64) -> TraceChunk {
    let end = match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(last) => last + 1,
        None if bytes.len() >= TRACE_READ_BYTES_MAX => bytes.len(),
        None => 0,
    };
    let text = bytes[..end].strip_suffix(b"\n").unwrap_or(&bytes[..end]);
    let lines = if end == 0 {
        Vec::new()
    } else {
        text.split(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    };
    TraceChunk { lines, next_offset: offset + end as u64 }
}
