//! A spanned reader of JSON whose keys and plain words may stand without quotes, so that sources in tests are short.

use std::sync::Arc;

use wf_ir::{Draft, Key, Span, Spanned, SpannedValue, Value};

struct Reader<'s> {
    text: &'s str,
    at: usize,
    file: Arc<str>,
}

/// The draft of a source; panics when it is malformed.
pub(crate) fn read(text: &str) -> Draft {
    let mut reader = Reader { text, at: 0, file: Arc::from("w.json") };
    let root = reader.value();
    reader.skip();
    assert_eq!(reader.at, text.len(), "text after the end: {}", &text[reader.at..]);
    Draft { root }
}

impl Reader<'_> {
    fn skip(&mut self) {
        self.at += self.text[self.at..].len() - self.text[self.at..].trim_start().len();
    }

    fn peek(&mut self) -> char {
        self.skip();
        self.text[self.at..].chars().next().unwrap_or('\0')
    }

    fn take(&mut self, wanted: char) {
        assert_eq!(self.peek(), wanted, "at {}", &self.text[self.at..]);
        self.at += wanted.len_utf8();
    }

    fn taken(&mut self, wanted: char) -> bool {
        let found = self.peek() == wanted;
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn span(&self, start: usize) -> Span {
        let place = |at: usize| {
            let before = &self.text[..at];
            let line = before.rsplit('\n').next().unwrap_or_default();
            (1 + before.matches('\n').count() as u32, 1 + line.chars().count() as u32)
        };
        let ((line, column), (end_line, end_column)) = (place(start), place(self.at));
        Span { file: self.file.clone(), line, column, end_line, end_column }
    }

    fn word(&mut self) -> Value {
        let rest = &self.text[self.at..];
        if rest.starts_with('"') {
            let mut end = 1;
            while !rest[end..].starts_with('"') {
                end += if rest[end..].starts_with('\\') { 2 } else { 1 };
            }
            self.at += end + 1;
            // Texts may stand over several lines.
            return Value::from_json(&rest[..=end].replace('\n', "\\n")).unwrap();
        }
        let end = rest.find([',', ':', '}', ']', ' ', '\n']).unwrap_or(rest.len());
        self.at += end;
        let word = &rest[..end];
        assert!(!word.is_empty(), "at {rest}");
        Value::from_json(word).unwrap_or_else(|_| Value::from(word))
    }

    fn value(&mut self) -> Spanned {
        let first = self.peek();
        let start = self.at;
        let value = match first {
            '[' => SpannedValue::List(self.list()),
            '{' => SpannedValue::Map(self.map()),
            _ => Spanned::from_value(&self.word(), &Span::default()).value,
        };
        Spanned { value, span: self.span(start) }
    }

    fn list(&mut self) -> Vec<Spanned> {
        self.take('[');
        let mut items = Vec::new();
        while !self.taken(']') {
            items.push(self.value());
            self.taken(',');
        }
        items
    }

    fn map(&mut self) -> Vec<(Key, Spanned)> {
        self.take('{');
        let mut entries = Vec::new();
        while !self.taken('}') {
            self.skip();
            let start = self.at;
            let name = self.word().as_str().unwrap().to_owned();
            let key = Key { name, span: self.span(start) };
            self.take(':');
            entries.push((key, self.value()));
            self.taken(',');
        }
        entries
    }
}
