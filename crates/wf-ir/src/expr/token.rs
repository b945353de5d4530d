//! The text of an expression as tokens.

use super::ParseError;
use crate::value::{Decimal, Value};

/// A token and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) offset: usize,
    pub(super) kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A name or a word of the language.
    Name(String),
    /// A number, as written.
    Number(String),
    /// The text that a string literal stands for.
    Text(String),
    /// An operator or a bracket.
    Mark(&'static str),
    /// The end of the source.
    End,
}

impl TokenKind {
    /// How an error calls it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Name(text) | Self::Number(text) => format!("`{text}`"),
            Self::Text(_) => "a string".to_owned(),
            Self::Mark(mark) => format!("`{mark}`"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// All operators and brackets; a longer one stands before its own beginning.
const MARKS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}",
];

/// All tokens of `source`; the last is [`TokenKind::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, ParseError> {
    let mut tokens = Vec::new();
    let mut offset = 0;
    while let Some(first) = source[offset..].chars().next() {
        if first.is_ascii_whitespace() {
            offset += 1;
            continue;
        }
        let rest = &source[offset..];
        let (kind, len) = match first {
            'a'..='z' | 'A'..='Z' | '_' => name(rest),
            '0'..='9' => number(rest, offset)?,
            '\'' | '"' => text(rest, offset)?,
            _ => mark(rest, first, offset)?,
        };
        tokens.push(Token { offset, kind });
        offset += len;
    }
    tokens.push(Token { offset, kind: TokenKind::End });
    Ok(tokens)
}

fn name(rest: &str) -> (TokenKind, usize) {
    let len = rest.find(|it: char| !it.is_ascii_alphanumeric() && it != '_').unwrap_or(rest.len());
    (TokenKind::Name(rest[..len].to_owned()), len)
}

fn number(rest: &str, offset: usize) -> Result<(TokenKind, usize), ParseError> {
    let digits = |text: &str| text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let mut len = digits(rest);
    if let Some(part) = rest[len..].strip_prefix('.').filter(|part| part.starts_with(|it: char| it.is_ascii_digit())) {
        len += 1 + digits(part);
    }
    match rest[len..].chars().next() {
        Some(next) if next.is_ascii_alphabetic() || next == '_' => Err(ParseError::at(
            offset,
            format!("`{}` is followed by `{next}`; write numbers as 12 or 1.5", &rest[..len]),
        )),
        _ => Ok((TokenKind::Number(rest[..len].to_owned()), len)),
    }
}

fn mark(rest: &str, first: char, offset: usize) -> Result<(TokenKind, usize), ParseError> {
    if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) {
        return Ok((TokenKind::Mark(mark), mark.len()));
    }
    let message = match first {
        '=' => "`=` is no operator; write `==`".to_owned(),
        '&' => "`&` is no operator; write `&&`".to_owned(),
        '|' => "`|` is no operator; write `||`".to_owned(),
        other => format!("unexpected character {other:?}"),
    };
    Err(ParseError::at(offset, message))
}

/// A string literal: its text and how long it is.
fn text(rest: &str, offset: usize) -> Result<(TokenKind, usize), ParseError> {
    let mut chars = rest.char_indices();
    let quote = chars.next().map(|(_, quote)| quote);
    let mut text = String::new();
    while let Some((at, character)) = chars.next() {
        match character {
            _ if Some(character) == quote => return Ok((TokenKind::Text(text), at + 1)),
            '\n' | '\r' => return Err(ParseError::at(offset, "a string ends on the line where it begins")),
            '\\' => text.push(escape(&mut chars, offset + at)?),
            other => text.push(other),
        }
    }
    Err(ParseError::at(offset, "a string is not closed"))
}

fn escape(chars: &mut std::str::CharIndices<'_>, offset: usize) -> Result<char, ParseError> {
    match chars.next() {
        Some((_, same @ ('\\' | '\'' | '"'))) => Ok(same),
        Some((_, 'n')) => Ok('\n'),
        Some((_, 'r')) => Ok('\r'),
        Some((_, 't')) => Ok('\t'),
        Some((_, 'u')) => {
            let digits: String = chars.by_ref().take(4).map(|(_, digit)| digit).collect();
            let hex = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let code = if hex { u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32) } else { None };
            code.ok_or_else(|| ParseError::at(offset, "`\\u` needs four hexadecimal digits that name a character"))
        }
        _ => Err(ParseError::at(offset, "unknown escape; known are \\\\ \\' \\\" \\n \\r \\t \\uXXXX")),
    }
}

/// The value of a number as written, with or without a minus sign.
pub(super) fn number_value(text: &str, offset: usize) -> Result<Value, ParseError> {
    match text.split_once('.') {
        None => text
            .parse()
            .map(Value::Int)
            .map_err(|_| ParseError::at(offset, format!("{text} is outside the range of 64-bit integers"))),
        Some((_, part)) if part.len() > 6 => {
            Err(ParseError::at(offset, format!("{text} has more than six decimal places")))
        }
        Some((whole, part)) => {
            let micros = format!("{whole}{part:0<6}").parse().ok().and_then(Decimal::from_micros);
            let message = || ParseError::at(offset, format!("{text} is outside the range of decimals"));
            micros.map(Value::Decimal).ok_or_else(message)
        }
    }
}
