//! What is kept of a child's output: both streams are read at once, cut into lines for whoever watches, and kept within
//! bounds.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Bounds, LINE_BYTES_MAX, LineSink, Stream};

/// Size of one read.
const READ_BYTES: usize = 16 << 10;

pub(super) async fn feed(stdin: Option<impl AsyncWrite + Unpin>, bytes: Option<&[u8]>) {
    if let (Some(mut stdin), Some(bytes)) = (stdin, bytes) {
        // A child that reads no further is free not to.
        let _ = stdin.write_all(bytes).await;
    }
}

pub(super) async fn drain<R: AsyncRead + Unpin>(
    pipe: Option<R>,
    captured: &mut Captured,
    stream: Stream,
    lines: &LineSink<'_>,
) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; READ_BYTES];
    let mut line = Line::default();
    // An error on a pipe is its end.
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        captured.take(&buffer[..count]);
        line.take(&buffer[..count], &|text| lines(stream, text));
    }
    line.finish(&|text| lines(stream, text));
}

/// Cuts a stream into lines.
#[derive(Default)]
struct Line {
    pending: Vec<u8>,
}

impl Line {
    fn take(&mut self, bytes: &[u8], sink: &dyn Fn(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(LINE_BYTES_MAX) {
                if self.pending.len() + part.len() > LINE_BYTES_MAX {
                    self.finish(sink);
                }
                self.pending.extend_from_slice(part);
            }
            if piece.ends_with(b"\n") {
                self.pending.pop();
                let text = String::from_utf8_lossy(&self.pending);
                sink(text.strip_suffix('\r').unwrap_or(&text));
                self.pending.clear();
            }
        }
    }

    fn finish(&mut self, sink: &dyn Fn(&str)) {
        if !self.pending.is_empty() {
            sink(&String::from_utf8_lossy(&self.pending));
            self.pending.clear();
        }
    }
}

/// What a child wrote to one stream, within bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    kept: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
    kept_bytes_max: usize,
    tail_bytes_max: usize,
}

impl Captured {
    pub(super) fn new(bounds: &Bounds) -> Self {
        Self { kept_bytes_max: bounds.kept_bytes_max, tail_bytes_max: bounds.tail_bytes_max, ..Self::default() }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = self.kept_bytes_max - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.tail.extend(&bytes[bytes.len().saturating_sub(self.tail_bytes_max)..]);
        let excess = self.tail.len().saturating_sub(self.tail_bytes_max);
        self.tail.drain(..excess);
    }

    /// How many bytes came.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many bytes came after what is kept.
    pub fn dropped(&self) -> u64 {
        self.total - self.kept.len() as u64
    }

    /// Whether [`Captured::tail`] is not all of it.
    pub fn is_cut(&self) -> bool {
        self.total > self.tail.len() as u64
    }

    /// The first bytes, exactly as they came.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// The end, for people: at most the tail's bound, from a line's beginning where there is one, after a line that
    /// says how much is missing. What is not UTF-8 is shown as a replacement character.
    pub fn tail(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        if !self.is_cut() {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        let line = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1).filter(|at| *at < bytes.len());
        // Without a line's beginning, at least a character's.
        let character = bytes.iter().position(|byte| byte & 0xC0 != 0x80).unwrap_or(0);
        let shown = &bytes[line.unwrap_or(character)..];
        let before = self.total - shown.len() as u64;
        format!("[{before} bytes before this]\n{}", String::from_utf8_lossy(shown))
    }

    /// What becomes a blob: exact up to the bound, then a marker that says how much was dropped.
    pub fn into_blob(self) -> Vec<u8> {
        let dropped = self.dropped();
        let mut bytes = self.kept;
        if dropped > 0 {
            bytes.extend_from_slice(format!("\n[{dropped} bytes dropped]\n").as_bytes());
        }
        bytes
    }
}
