//! Searching a tree for a regular expression: the same tree and pattern give the same matches in the same order.
//!
//! Files are visited in the order of their paths. What git ignores by the tree's own `.gitignore` files is left out;
//! nothing outside of the tree is asked. Hidden files are searched, `.git` is not. Symlinks are not followed, and only
//! regular files with one name are opened.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;

use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkMatch};
use wf_ir::{Glob, Value};

use crate::beneath::Root;
use crate::contract::CancelToken;

/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 4 << 10;
/// Largest compiled pattern, in bytes; larger ones are refused.
pub const PATTERN_COMPILED_BYTES_MAX: usize = 4 << 20;
/// Largest file that is searched, in bytes; larger ones are passed over.
pub const FILE_BYTES_MAX: u64 = 8 << 20;
/// How much of a line is shown, in characters.
pub const LINE_CHARS_MAX: usize = 400;
/// Most text of all matches together, in bytes; beyond it the result is truncated.
pub const MATCHES_BYTES_MAX: usize = 768 << 10;

/// What to search for, and where.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// The tree.
    pub root: &'a Root,
    /// A regular expression; it matches within a line.
    pub pattern: &'a str,
    /// Files searched; empty is all.
    pub reads: &'a [Glob],
    /// Most matches returned.
    pub matches_max: u32,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The pattern is no regular expression, or too large a one.
    #[error("{0}")]
    Pattern(String),
    /// The disk failed, or there were too many open files: what was found is not all there is.
    #[error("the tree cannot be searched: {0}")]
    Io(String),
    /// The search was to end.
    #[error("the search was cancelled")]
    Cancelled,
}

/// A pattern as users write it in `search` and `expect`: `^` and `$` stand for the ends of a line.
///
/// # Errors
/// When it is no regular expression, or too large a one.
pub(crate) fn compile(pattern: &str) -> Result<RegexMatcher, SearchError> {
    if pattern.len() > PATTERN_BYTES_MAX {
        let bytes = pattern.len();
        return Err(SearchError::Pattern(format!(
            "the pattern has {bytes} bytes, at most {PATTERN_BYTES_MAX} are allowed"
        )));
    }
    RegexMatcherBuilder::new()
        .multi_line(true)
        .line_terminator(Some(b'\n'))
        .size_limit(PATTERN_COMPILED_BYTES_MAX)
        .dfa_size_limit(PATTERN_COMPILED_BYTES_MAX)
        .build(pattern)
        .map_err(|error| {
            // Its other lines show the pattern as it was wrapped, not as it was written.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default();
            SearchError::Pattern(format!("no regular expression: {}", reason.trim_start_matches("error: ")))
        })
}

/// Searches. The value is `{matches: [{path, line, text}], count, truncated}`.
///
/// # Errors
/// When the pattern cannot be used, the tree cannot be read, or the search was to end.
pub fn search(request: &Search<'_>, cancel: &CancelToken) -> Result<Value, SearchError> {
    let matcher = compile(request.pattern)?;
    let mut searcher =
        SearcherBuilder::new().line_number(true).binary_detection(BinaryDetection::quit(0)).bom_sniffing(false).build();
    let mut found = Found { matches: Vec::new(), bytes: 0, matches_max: request.matches_max, truncated: false };
    let walked = request.root.walk(true, &mut |file| {
        if cancel.is_cancelled() || found.truncated {
            return Ok(ControlFlow::Break(()));
        }
        let path = file.path.to_string_lossy();
        let is_asked = request.reads.is_empty() || request.reads.iter().any(|glob| glob.matches(&path));
        // What nobody may open is passed over, as is what nobody may list.
        if is_asked
            && let Some(file) = file.open()?
            && file.metadata()?.len() <= FILE_BYTES_MAX
        {
            search_file(&mut searcher, &matcher, &file, &path, &mut found)?;
        }
        Ok(ControlFlow::Continue(()))
    });
    if cancel.is_cancelled() {
        return Err(SearchError::Cancelled);
    }
    walked.map_err(|error| SearchError::Io(error.to_string()))?;
    Ok(found.into_value())
}

fn search_file(
    searcher: &mut Searcher,
    matcher: &RegexMatcher,
    file: &File,
    path: &str,
    found: &mut Found,
) -> io::Result<()> {
    let begin = (found.matches.len(), found.bytes);
    let mut sink = FileSink { path, found, is_binary: false };
    let ended = searcher.search_file(matcher, file, &mut sink);
    // A file that turns out to be binary counts as a whole or not at all.
    if sink.is_binary {
        found.matches.truncate(begin.0);
        found.bytes = begin.1;
        found.truncated = false;
    }
    ended
}

struct Found {
    matches: Vec<Value>,
    bytes: usize,
    matches_max: u32,
    truncated: bool,
}

impl Found {
    /// Takes a match in, if there is room.
    fn take(&mut self, path: &str, line: u64, text: &str) {
        let bytes = path.len() + text.len();
        if self.matches.len() as u64 >= u64::from(self.matches_max) || self.bytes + bytes > MATCHES_BYTES_MAX {
            self.truncated = true;
            return;
        }
        self.bytes += bytes;
        self.matches.push(Value::Map(
            [
                ("path".to_owned(), Value::from(path)),
                ("line".to_owned(), Value::Int(i64::try_from(line).unwrap_or(i64::MAX))),
                ("text".to_owned(), Value::from(text)),
            ]
            .into(),
        ));
    }

    fn into_value(self) -> Value {
        Value::Map(
            [
                ("count".to_owned(), Value::Int(self.matches.len() as i64)),
                ("matches".to_owned(), Value::List(self.matches)),
                ("truncated".to_owned(), Value::Bool(self.truncated)),
            ]
            .into(),
        )
    }
}

struct FileSink<'a> {
    path: &'a str,
    found: &'a mut Found,
    is_binary: bool,
}

impl Sink for FileSink<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        let text = String::from_utf8_lossy(found.bytes());
        self.found.take(self.path, found.line_number().unwrap_or(0), &shown(&text));
        // Even when there is no more room, the rest of the file says whether it is binary.
        Ok(true)
    }

    fn binary_data(&mut self, _: &Searcher, _: u64) -> Result<bool, io::Error> {
        self.is_binary = true;
        Ok(false)
    }
}

/// A line without its end, cut at [`LINE_CHARS_MAX`].
fn shown(line: &str) -> String {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line.char_indices().nth(LINE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
