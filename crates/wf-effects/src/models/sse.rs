//! Server-sent events, as far as model providers use them: `event:` and `data:` lines, whatever their ends, in chunks
//! cut anywhere. No event can make the reader keep more than [`EVENT_BYTES_MAX`].

use super::bounds::EVENT_BYTES_MAX;

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// Its name; empty where it has none.
    pub name: &'a str,
    /// Its content.
    pub data: &'a str,
}

/// Bytes that are no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// An event, or a line, is too long.
    #[error("an event of the answer is longer than {EVENT_BYTES_MAX} bytes")]
    TooLong,
    /// Not text.
    #[error("the answer is not UTF-8")]
    NotUtf8,
}

/// Whether to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// There may be more.
    More,
    /// The answer is complete.
    Done,
}

/// A reader of events.
#[derive(Debug, Default)]
pub struct SseReader {
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    is_begun: bool,
}

impl SseReader {
    /// Takes bytes in and hands over the events that are complete with them.
    ///
    /// # Errors
    /// What `sink` answers, and what is no event.
    pub fn push<E: From<SseError>>(
        &mut self,
        mut bytes: &[u8],
        sink: &mut dyn FnMut(SseEvent<'_>) -> Result<Flow, E>,
    ) -> Result<Flow, E> {
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.keep(bytes)?;
                break;
            };
            self.keep(&bytes[..end])?;
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if self.end_line(sink)? == Flow::Done {
                return Ok(Flow::Done);
            }
        }
        Ok(Flow::More)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), SseError> {
        if self.line.len() + self.data.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(SseError::TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line<E: From<SseError>>(
        &mut self,
        sink: &mut dyn FnMut(SseEvent<'_>) -> Result<Flow, E>,
    ) -> Result<Flow, E> {
        if !std::mem::replace(&mut self.is_begun, true)
            && let Some(rest) = self.line.strip_prefix(b"\xEF\xBB\xBF")
        {
            self.line = rest.to_vec();
        }
        if self.line.is_empty() {
            return self.end_event(sink);
        }
        let colon = self.line.iter().position(|byte| *byte == b':');
        let (field, value) = match colon {
            Some(at) => (&self.line[..at], &self.line[at + 1..]),
            None => (&self.line[..], &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.name = value.to_vec(),
            // Comments, ids and retry times say nothing about an answer.
            _ => {}
        }
        self.line.clear();
        Ok(Flow::More)
    }

    fn end_event<E: From<SseError>>(
        &mut self,
        sink: &mut dyn FnMut(SseEvent<'_>) -> Result<Flow, E>,
    ) -> Result<Flow, E> {
        let name = std::mem::take(&mut self.name);
        if !std::mem::take(&mut self.has_data) {
            return Ok(Flow::More);
        }
        let (Ok(name), Ok(data)) = (str::from_utf8(&name), str::from_utf8(&self.data)) else {
            return Err(SseError::NotUtf8.into());
        };
        let flow = sink(SseEvent { name, data });
        self.data.clear();
        flow
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(chunks: &[&[u8]]) -> Result<Vec<(String, String)>, SseError> {
        let mut reader = SseReader::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            reader.push(chunk, &mut |event| -> Result<Flow, SseError> {
                seen.push((event.name.to_owned(), event.data.to_owned()));
                Ok(Flow::More)
            })?;
        }
        Ok(seen)
    }

    fn check(stream: &[u8], expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(name, data)| ((*name).to_owned(), (*data).to_owned())).collect();
        assert_eq!(events(&[stream]).unwrap(), expected);
        for cut in 0..=stream.len() {
            assert_eq!(events(&[&stream[..cut], &stream[cut..]]).unwrap(), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(events(&bytes).unwrap(), expected, "byte by byte");
    }

    #[test]
    fn events_come_whole_wherever_the_chunks_are_cut() {
        check(b"data: a\n\ndata: b\n\n", &[("", "a"), ("", "b")]);
        check(b"event: x\r\ndata: a\r\n\r\n", &[("x", "a")]);
        check(b"data: a\r\rdata: b\r\r", &[("", "a"), ("", "b")]);
        check("data: gr\u{fc}\u{df}e \u{1f33f}\n\n".as_bytes(), &[("", "gr\u{fc}\u{df}e \u{1f33f}")]);
        check(b"\xEF\xBB\xBFdata: a\n\n", &[("", "a")]);
    }

    #[test]
    fn only_data_and_names_count() {
        check(b": ping\n\nid: 7\nretry: 1\ndata:a\ndata: b\ndata\n\n", &[("", "a\nb\n")]);
        check(b"event: x\n\ndata: a\n\n", &[("", "a")]);
        check(b"data: never ended", &[]);
        check(b"data: \n\n", &[("", "")]);
    }

    #[test]
    fn an_event_without_end_is_not_kept() {
        let mut reader = SseReader::default();
        let chunk = vec![b'x'; 64 << 10];
        let mut sink = |_: SseEvent<'_>| -> Result<Flow, SseError> { Ok(Flow::More) };
        let pushed = (0..1_000).map(|_| reader.push(&chunk, &mut sink)).find_map(Result::err);
        assert_eq!(pushed, Some(SseError::TooLong));
        assert!(reader.line.capacity() <= 2 * EVENT_BYTES_MAX);
        let lines = b"data: 0123456789abcdef\n".repeat(EVENT_BYTES_MAX / 8);
        assert_eq!(events(&[&lines]), Err(SseError::TooLong));
    }

    #[test]
    fn what_is_not_text_is_refused() {
        assert_eq!(events(&[b"data: \xff\n\n"]), Err(SseError::NotUtf8));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            texts in prop::collection::vec("[^\r\n]{0,12}", 1..6),
            cuts in prop::collection::vec(0usize..200, 0..8),
        ) {
            let stream: String = texts.iter().map(|text| format!("data: {text}\r\n\r\n")).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream.as_bytes()[pair[0]..pair[1]]).collect();
            let seen: Vec<String> = events(&chunks).unwrap().into_iter().map(|(_, data)| data).collect();
            prop_assert_eq!(seen, texts);
        }
    }
}
