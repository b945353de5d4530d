//! From byte offsets to lines and columns.

use std::ops::Range;
use std::sync::Arc;

use wf_ir::Span;

/// Bytes between two marks of [`Lines`].
const MARK_BYTES: usize = 256;

/// The lines of one source, for turning byte offsets into spans.
pub(crate) struct Lines {
    file: Arc<str>,
    source: Arc<str>,
    starts: Vec<usize>,
    /// How many characters stand before each multiple of [`MARK_BYTES`], so that a column deep in a line of a
    /// megabyte is found without counting from its start. Empty when bytes are characters.
    marks: Vec<usize>,
}

impl Lines {
    pub(crate) fn new(file: &str, source: &str) -> Self {
        let starts = std::iter::once(0).chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut marks = Vec::new();
        if !source.is_ascii() {
            let mut before = 0;
            for chunk in source.as_bytes().chunks(MARK_BYTES) {
                marks.push(before);
                before += chars_in(chunk);
            }
            marks.push(before);
        }
        Self { file: file.into(), source: source.into(), starts, marks }
    }

    pub(crate) fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// The span of a byte range.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        let (line, column) = self.position(range.start);
        let (end_line, end_column) = self.position(range.end.max(range.start));
        Span { file: self.file.clone(), line, column, end_line, end_column }
    }

    /// The place of an error that a parser found at the end of the source: the end of the last line with text on it.
    pub(crate) fn end(&self) -> Span {
        let end = self.source.trim_end().len();
        let start = self.source[..end].char_indices().next_back().map_or(0, |(at, _)| at);
        self.span(start..end)
    }

    /// Whether anything that can be seen stands at or after an offset.
    pub(crate) fn has_text_after(&self, offset: usize) -> bool {
        self.source.get(offset..).is_some_and(|rest| !rest.trim().is_empty())
    }

    fn position(&self, offset: usize) -> (u32, u32) {
        let offset = offset.min(self.source.len());
        let line = self.starts.partition_point(|start| *start <= offset) - 1;
        let column = self.chars_before(offset) - self.chars_before(self.starts[line]);
        (number(line + 1), number(column + 1))
    }

    fn chars_before(&self, offset: usize) -> usize {
        match self.marks.get(offset / MARK_BYTES) {
            None => offset,
            Some(before) => before + chars_in(&self.source.as_bytes()[offset - offset % MARK_BYTES..offset]),
        }
    }
}

/// How many characters begin in these bytes of UTF-8.
fn chars_in(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

/// The span of the start of a file, for findings that have no better place.
pub(crate) fn start_of(file: &str) -> Span {
    Span { file: file.into(), line: 1, column: 1, end_line: 0, end_column: 0 }
}

/// Sources are bounded far below 4 GiB, so this never cuts anything off.
pub(crate) fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// What another parser said, as messages are written here: one line, a small first letter, no final stop, bounded.
pub(crate) fn sentence(text: &str, bytes_max: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.trim_end_matches('.');
    let mut chars = text.chars();
    let first = chars.next();
    let rest = chars.as_str();
    let text = match first {
        // A word in capitals, such as a keyword or an abbreviation, stays as it is.
        Some(first) if !rest.starts_with(char::is_uppercase) => first.to_lowercase().chain(rest.chars()).collect(),
        _ => text.to_owned(),
    };
    cut(text, bytes_max)
}

/// Bounds a text that may hold what a hostile source put there.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let mut end = bytes_max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, range: Range<usize>, expected: (u32, u32, u32, u32)) {
        let span = Lines::new("a.star", source).span(range);
        assert_eq!((span.line, span.column, span.end_line, span.end_column), expected);
    }

    #[test]
    fn columns_count_characters() {
        check("ab\ncd", 3..5, (2, 1, 2, 3));
        check("é = 1\né = 2", 7..9, (2, 1, 2, 2));
        check("é = 1", 5..6, (1, 5, 1, 6));
    }

    #[test]
    fn columns_deep_in_a_long_line() {
        let source = format!("x\n{}!", "é".repeat(1_000));
        check(&source, 2_002..2_003, (2, 1_001, 2, 1_002));
    }

    #[test]
    fn offsets_past_the_end_stay_inside() {
        check("ab\n", 99..200, (2, 1, 2, 1));
        check("", 0..1, (1, 1, 1, 1));
    }

    #[test]
    fn sentences_are_short_and_plain() {
        assert_eq!(sentence("Variable `x`\n not found.", 100), "variable `x` not found");
        assert_eq!(sentence("EOF seen", 100), "EOF seen");
        assert_eq!(sentence("ééé", 3), "é…");
    }

    #[test]
    fn the_end_is_the_last_character() {
        let span = Lines::new("a.star", "x = (\n  1\n\n").end();
        assert_eq!((span.line, span.column, span.end_line, span.end_column), (2, 3, 2, 4));
    }
}
