//! Lines from an agent, each and all together within bounds: it may write whatever it likes.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::Fault;

/// Longest line.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// Most bytes that one process of an agent may write.
pub const ALL_BYTES_MAX: u64 = 512 << 20;
/// Size of one read.
const READ_BYTES: usize = 64 << 10;

/// Reads lines.
pub(super) struct Lines<R> {
    from: R,
    pending: Vec<u8>,
    /// Where in `pending` the next line begins.
    begin: usize,
    /// How far it was looked through for the end of a line.
    seen: usize,
    total: u64,
    total_max: u64,
    is_over: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, pending: Vec::new(), begin: 0, seen: 0, total: 0, total_max: ALL_BYTES_MAX, is_over: false }
    }

    /// The next line without its end; nothing when there are no more. Whoever stops waiting for it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Fault> {
        loop {
            if let Some(line) = self.take()? {
                return Ok(Some(line));
            }
            if self.is_over {
                return Ok(None);
            }
            self.pending.drain(..self.begin);
            (self.begin, self.seen) = (0, self.seen - self.begin);
            self.pending.reserve(READ_BYTES);
            // An error on a pipe is its end.
            match self.from.read_buf(&mut self.pending).await.unwrap_or(0) {
                0 => self.is_over = true,
                count => self.total += count as u64,
            }
            if self.total > self.total_max {
                return Err(Fault::TooMuch(format!("it wrote more than {} bytes", self.total_max)));
            }
        }
    }

    /// A line of what was read already. The last one may lack its end.
    fn take(&mut self) -> Result<Option<String>, Fault> {
        loop {
            let end = self.pending[self.seen..].iter().position(|byte| *byte == b'\n').map(|at| self.seen + at);
            if end.unwrap_or(self.pending.len()) - self.begin > LINE_BYTES_MAX {
                return Err(Fault::TooMuch(format!("it wrote a line of more than {LINE_BYTES_MAX} bytes")));
            }
            self.seen = end.map_or(self.pending.len(), |end| end + 1);
            if end.is_none() && (!self.is_over || self.begin == self.seen) {
                return Ok(None);
            }
            let line = &self.pending[self.begin..end.unwrap_or(self.seen)];
            let text =
                std::str::from_utf8(line).map_err(|_| Fault::Protocol("it wrote what is not UTF-8".to_owned()))?;
            self.begin = self.seen;
            let text = text.trim();
            if !text.is_empty() {
                return Ok(Some(text.to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;

    fn block<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    /// Everything that is read of some bytes, however they are cut.
    fn read(bytes: &[u8], piece: usize) -> String {
        block(async {
            let (mut to, from) = tokio::io::duplex(piece);
            let mut lines = Lines::new(from);
            let writing = async {
                // Whoever does not read any further has said why.
                let _ = tokio::io::AsyncWriteExt::write_all(&mut to, bytes).await;
                drop(to);
            };
            let reading = async {
                let mut all = String::new();
                loop {
                    match lines.next().await {
                        Ok(Some(line)) => all += &format!("{line}|"),
                        Ok(None) => return all,
                        Err(fault) => return format!("{all}{fault:?}"),
                    }
                }
            };
            tokio::pin!(reading);
            tokio::select! {
                all = &mut reading => all,
                () = writing => reading.await,
            }
        })
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        for piece in [1, 2, 7, 1_000] {
            assert_eq!(read("a\r\n\n {\"é\": 1}\nlast".as_bytes(), piece), "a|{\"é\": 1}|last|");
        }
        assert_eq!(read(b"ok\n\xff\xfe\n", 3), "ok|Protocol(\"it wrote what is not UTF-8\")");
        assert_eq!(read(b"", 3), "");
    }

    #[test]
    fn a_line_that_does_not_end_is_given_up() {
        let too_long = "TooMuch(\"it wrote a line of more than 4194304 bytes\")";
        assert_eq!(read(&vec![b'x'; LINE_BYTES_MAX], 1 << 16), format!("{}|", "x".repeat(LINE_BYTES_MAX)));
        assert_eq!(read(&vec![b'x'; LINE_BYTES_MAX + 1], 1 << 16), too_long);
        let mut ended = vec![b'x'; LINE_BYTES_MAX + 1];
        ended.push(b'\n');
        assert_eq!(read(&ended, 1 << 16), too_long);
    }

    /// Writes for ever.
    struct Endless;

    impl AsyncRead for Endless {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            let room = buffer.initialize_unfilled();
            room.fill(b'\n');
            let count = room.len();
            buffer.advance(count);
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let fault = block(async { Lines { total_max: 1 << 20, ..Lines::new(Endless) }.next().await });
        assert_eq!(fault, Err(Fault::TooMuch("it wrote more than 1048576 bytes".to_owned())));
    }
}
