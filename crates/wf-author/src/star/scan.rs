//! A look at the brackets and quotes of a Starlark source before it is parsed.
//!
//! The parser follows brackets by recursion, so that a few hundred of them exhaust its stack; and braces in an
//! f-string would vanish from a template without a word. Both are found here, with their place.

use std::ops::Range;

use crate::limits::BRACKETS_MAX;

/// What stands in the way of parsing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The bracket that is one too deep.
    TooDeep(Range<usize>),
    /// The start of an f-string.
    FString(Range<usize>),
}

/// Finds the first obstacle. Sources that are not Starlark are left to the parser.
pub(crate) fn scan(source: &str) -> Option<Obstacle> {
    let bytes = source.as_bytes();
    let mut at = 0;
    let mut depth = 0_usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'#' => at += bytes[at..].iter().take_while(|byte| **byte != b'\n').count(),
            b'(' | b'[' | b'{' => {
                depth += 1;
                if depth > BRACKETS_MAX {
                    return Some(Obstacle::TooDeep(at..at + 1));
                }
                at += 1;
            }
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b'"' | b'\'' => {
                let prefix = prefix_start(bytes, at);
                if bytes[prefix..at].iter().any(|byte| matches!(byte, b'f' | b'F')) {
                    return Some(Obstacle::FString(prefix..at + 1));
                }
                at = text_end(bytes, at);
            }
            _ => at += 1,
        }
    }
    None
}

/// Where the letters before a quote begin, if they are a prefix of the text and not a name or a number.
fn prefix_start(bytes: &[u8], quote: usize) -> usize {
    let word = bytes[..quote].iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    if word <= 2 { quote - word } else { quote }
}

/// The position after the text that begins with the quote at `start`.
fn text_end(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let long = bytes[start..].starts_with(&[quote; 3]);
    let mut at = start + if long { 3 } else { 1 };
    while let Some(byte) = bytes.get(at) {
        match byte {
            // A backslash also keeps a quote from ending a raw text.
            b'\\' => at += 2,
            b'\n' if !long => return at,
            byte if *byte == quote && !long => return at + 1,
            _ if long && bytes[at..].starts_with(&[quote; 3]) => return at + 3,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: Option<Obstacle>) {
        assert_eq!(scan(source), expected, "{source}");
    }

    #[test]
    fn brackets_in_texts_and_comments_do_not_count() {
        let many = "(".repeat(BRACKETS_MAX + 1);
        for source in [
            format!("# {many}\nx = 1"),
            format!("x = \"{many}\""),
            format!("x = '\\'{many}'"),
            format!("x = r'\\{many}'"),
            format!("x = \"\"\"{many}\n\" {many}\"\"\""),
            "()".repeat(BRACKETS_MAX + 1),
            "[".repeat(BRACKETS_MAX),
        ] {
            check(&source, None);
        }
    }

    #[test]
    fn the_bracket_that_is_too_deep_is_found() {
        let source = format!("x = {}", "[".repeat(BRACKETS_MAX + 5));
        check(&source, Some(Obstacle::TooDeep(4 + BRACKETS_MAX..5 + BRACKETS_MAX)));
        check(&format!("''{}", "{(".repeat(BRACKETS_MAX)), Some(Obstacle::TooDeep(2 + BRACKETS_MAX..3 + BRACKETS_MAX)));
    }

    #[test]
    fn f_strings_are_found() {
        check("x = f\"{y}\"", Some(Obstacle::FString(4..6)));
        check("x = fr'''a'''", Some(Obstacle::FString(4..7)));
        check("x = 'f\"'", None);
        check("x = half'a'", None);
        check("x = r\"f\"", None);
    }
}
