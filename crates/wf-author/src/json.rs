//! Strict JSON with the place of every key and value.

use std::ops::Range;

use wf_ir::{Diagnostic, Key, Spanned, SpannedValue, Value};

use crate::code;
use crate::compile::Weight;
use crate::limits::{DIAGNOSTICS_MAX, DRAFT_DEPTH_MAX};
use crate::text::{Lines, cut};

/// Reads a source.
pub(crate) fn read(source: &str, lines: &Lines) -> Result<Spanned, Vec<Diagnostic>> {
    let mut reader = Reader {
        source,
        bytes: source.as_bytes(),
        lines,
        at: 0,
        depth: 0,
        weight: Weight::default(),
        found: Vec::new(),
    };
    let root = reader.document();
    match root {
        Ok(root) if reader.found.is_empty() => Ok(root),
        Ok(_) => Err(reader.found),
        Err(found) => {
            reader.found.push(found);
            Err(reader.found)
        }
    }
}

struct Reader<'a> {
    source: &'a str,
    bytes: &'a [u8],
    lines: &'a Lines,
    at: usize,
    depth: usize,
    weight: Weight,
    found: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Spanned, Diagnostic> {
        let root = self.value()?;
        self.blank();
        match self.peek() {
            None => Ok(root),
            Some(_) => Err(self.wrong("something follows the end of the value")),
        }
    }

    fn value(&mut self) -> Result<Spanned, Diagnostic> {
        self.blank();
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::map)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => SpannedValue::Str(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", SpannedValue::Bool(true))?,
            Some(b'f') => self.word("false", SpannedValue::Bool(false))?,
            Some(b'n') => self.word("null", SpannedValue::Null)?,
            _ => return Err(self.wrong("expected a value")),
        };
        let span = self.lines.span(start..self.at);
        self.weight.add(Weight { values: 1, text: 0 });
        self.weight.check(&span)?;
        Ok(Spanned { value, span })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<SpannedValue, Diagnostic>) -> Result<SpannedValue, Diagnostic> {
        if self.depth >= DRAFT_DEPTH_MAX {
            let message = format!("values are nested more than {DRAFT_DEPTH_MAX} deep");
            return Err(Diagnostic::error(code::TOO_DEEP, &self.lines.span(self.at..self.at + 1), message));
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn map(&mut self) -> Result<SpannedValue, Diagnostic> {
        let mut entries = Vec::new();
        self.blank();
        if self.take(b'}') {
            return Ok(SpannedValue::Map(entries));
        }
        loop {
            self.blank();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.wrong("expected a key in double quotes"));
            }
            let name = self.string()?;
            let key = Key { name, span: self.lines.span(start..self.at) };
            self.blank();
            if !self.take(b':') {
                return Err(self.wrong("expected `:` after the key"));
            }
            entries.push((key, self.value()?));
            self.blank();
            if self.take(b'}') {
                return Ok(SpannedValue::Map(entries));
            }
            if !self.take(b',') {
                return Err(self.wrong("expected `,` or `}`"));
            }
        }
    }

    fn list(&mut self) -> Result<SpannedValue, Diagnostic> {
        let mut items = Vec::new();
        self.blank();
        if self.take(b']') {
            return Ok(SpannedValue::List(items));
        }
        loop {
            items.push(self.value()?);
            self.blank();
            if self.take(b']') {
                return Ok(SpannedValue::List(items));
            }
            if !self.take(b',') {
                return Err(self.wrong("expected `,` or `]`"));
            }
        }
    }

    fn word(&mut self, word: &str, value: SpannedValue) -> Result<SpannedValue, Diagnostic> {
        if !self.source[self.at..].starts_with(word) {
            return Err(self.wrong("expected a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<SpannedValue, Diagnostic> {
        let start = self.at;
        self.take(b'-');
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        match number_value(&self.source[start..self.at]) {
            Ok(value) => Ok(value),
            Err(message) => {
                let found = Diagnostic::error(code::NUMBER, &self.lines.span(start..self.at), message);
                if self.found.len() >= DIAGNOSTICS_MAX {
                    return Err(found);
                }
                self.found.push(found);
                Ok(SpannedValue::Null)
            }
        }
    }

    fn digits(&mut self) -> Result<(), Diagnostic> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.wrong("expected a digit")) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<String, Diagnostic> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let plain =
                self.bytes[self.at..].iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)).count();
            text.push_str(&self.source[self.at..self.at + plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    self.weight.add(Weight { values: 0, text: text.len() });
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err(self.wrong("a control character must be written as an escape")),
                None => return Err(self.wrong_in(start..start + 1, "the text is not closed")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Diagnostic> {
        let start = self.at;
        self.at += 1;
        let byte = self.peek();
        self.at += usize::from(byte.is_some_and(|byte| byte.is_ascii()));
        Ok(match byte {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(start),
            _ => return Err(self.wrong_in(start..self.at, "an escape that JSON does not have")),
        })
    }

    /// The character of `\uXXXX`, or of two of them that are a surrogate pair.
    fn unicode(&mut self, start: usize) -> Result<char, Diagnostic> {
        let mut units = vec![self.unit(start)?];
        if (0xD800..0xDC00).contains(&units[0]) && self.bytes[self.at..].starts_with(b"\\u") {
            self.at += 2;
            units.push(self.unit(start)?);
        }
        let mut chars = char::decode_utf16(units);
        match (chars.next(), chars.next()) {
            (Some(Ok(char)), None) => Ok(char),
            _ => Err(self.wrong_in(start..self.at, "half of a surrogate pair")),
        }
    }

    fn unit(&mut self, start: usize) -> Result<u16, Diagnostic> {
        let digits = self.bytes.get(self.at..self.at + 4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let unit = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|text| u16::from_str_radix(text, 16).ok());
        match unit {
            Some(unit) => {
                self.at += 4;
                Ok(unit)
            }
            None => Err(self.wrong_in(start..self.at, "`\\u` needs four hexadecimal digits")),
        }
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    /// What is wrong with the character at hand, or with the end of the text.
    fn wrong(&self, message: &str) -> Diagnostic {
        match self.source[self.at..].chars().next() {
            Some(char) => {
                let message = format!("{message}, found {char:?}");
                Diagnostic::error(code::JSON_SYNTAX, &self.lines.span(self.at..self.at + char.len_utf8()), message)
            }
            None => {
                let message = format!("{message}, but the text ends");
                Diagnostic::error(code::JSON_SYNTAX, &self.lines.end(), message)
            }
        }
    }

    fn wrong_in(&self, range: Range<usize>, message: &str) -> Diagnostic {
        Diagnostic::error(code::JSON_SYNTAX, &self.lines.span(range), message)
    }
}

/// The value of a number as JSON and YAML write it, or what to say of it.
pub(crate) fn number_value(text: &str) -> Result<SpannedValue, String> {
    // An integer is one with any sign, also without a magnitude, as it is in Starlark.
    if let Ok(value) = text.parse() {
        return Ok(SpannedValue::Int(value));
    }
    match Value::from_number_text(text) {
        Ok(Value::Decimal(value)) => Ok(SpannedValue::Decimal(value)),
        _ => Err(number_message(text)),
    }
}

/// What is said of a number that has no value.
pub(crate) fn number_message(text: &str) -> String {
    let text = cut(text.to_owned(), 40);
    format!("the number {text} is outside the range of 64-bit integers and of decimals with six places")
}
