//! The text of a glob as patterns: one list of tokens for each way of choosing among alternatives that hold slashes.

use std::iter::Peekable;
use std::str::Chars;

/// Longest glob, in bytes.
const GLOB_BYTES_MAX: usize = 1024;
/// Deepest nesting of braces.
const BRACES_DEPTH_MAX: usize = 8;
/// Most patterns that alternatives with slashes may give.
const PATTERNS_MAX: usize = 64;
/// Most tokens of all patterns.
const TOKENS_MAX: usize = 8 * GLOB_BYTES_MAX;
/// How much of a glob its error shows, in characters.
const SHOWN_MAX: usize = 80;

/// One part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// `/`
    Slash,
    /// `**` as a whole segment; `deep` and the slash that follows it are any number of segments.
    Deep,
    /// `*`
    Star,
    /// One character of this set; never `/`.
    One(CharSet),
    /// Either of these. In a finished pattern they hold no slash and no [`Token::Deep`].
    Either(Vec<Vec<Token>>),
}

/// A set of characters as sorted, disjoint, inclusive ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CharSet(Vec<(u32, u32)>);

impl CharSet {
    /// Every character.
    pub(super) fn all() -> Self {
        Self(vec![(0, char::MAX as u32)])
    }

    /// Every character of a segment.
    pub(super) fn segment() -> Self {
        Self::of(vec![('/' as u32, '/' as u32)]).complement()
    }

    /// This character.
    pub(super) fn single(character: char) -> Self {
        Self(vec![(character as u32, character as u32)])
    }

    /// These ranges, in any order, overlapping or not.
    fn of(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        Self(merged)
    }

    fn complement(&self) -> Self {
        let mut ranges = Vec::with_capacity(self.0.len() + 1);
        let mut low = 0;
        for &(first, last) in &self.0 {
            if low < first {
                ranges.push((low, first - 1));
            }
            low = last + 1;
        }
        if low <= char::MAX as u32 {
            ranges.push((low, char::MAX as u32));
        }
        Self(ranges)
    }

    /// What is in both.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(&&(a, b)), Some(&&(c, d))) = (left.peek(), right.peek()) {
            if a.max(c) <= b.min(d) {
                ranges.push((a.max(c), b.min(d)));
            }
            if b < d {
                left.next();
            } else {
                right.next();
            }
        }
        Self(ranges)
    }

    /// Whether `character` is in it.
    pub(super) fn has(&self, character: char) -> bool {
        let code = character as u32;
        self.0.iter().any(|&(low, high)| (low..=high).contains(&code))
    }

    /// Its ranges.
    pub(super) fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The part of a glob that an error shows.
pub(super) fn shown(source: &str) -> String {
    match source.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &source[..end]),
        None => source.to_owned(),
    }
}

/// The patterns of a glob; a path matches it when it matches one of them.
pub(super) fn parse(source: &str) -> Result<Vec<Vec<Token>>, String> {
    if source.is_empty() {
        return Err("no text".to_owned());
    }
    if source.len() > GLOB_BYTES_MAX {
        return Err(format!("more than {GLOB_BYTES_MAX} bytes"));
    }
    let mut chars = source.chars().peekable();
    let tokens = sequence(&mut chars, 0)?;
    if chars.peek().is_some() {
        return Err("a `}` without its `{`".to_owned());
    }
    let mut patterns = expand(&tokens)?;
    for pattern in &mut patterns {
        finish(pattern)?;
    }
    Ok(patterns)
}

/// Tokens up to the end, or up to what ends an alternative when `depth` is not 0.
fn sequence(chars: &mut Peekable<Chars<'_>>, depth: usize) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    while let Some(&next) = chars.peek() {
        if next == '}' || (next == ',' && depth > 0) {
            break;
        }
        chars.next();
        tokens.push(match next {
            '/' => Token::Slash,
            '*' if chars.next_if_eq(&'*').is_some() => Token::Deep,
            '*' => Token::Star,
            '?' => Token::One(CharSet::segment()),
            '[' => Token::One(class(chars)?),
            '{' => either(chars, depth + 1)?,
            '\\' => Token::One(escaped(chars)?),
            '\0' => return Err("a NUL character".to_owned()),
            other => Token::One(CharSet::single(other)),
        });
    }
    Ok(tokens)
}

fn escaped(chars: &mut Peekable<Chars<'_>>) -> Result<CharSet, String> {
    match chars.next() {
        None => Err("a `\\` with nothing after it".to_owned()),
        Some('/' | '\0') => Err("a `\\` before a character that it cannot escape".to_owned()),
        Some(character) => Ok(CharSet::single(character)),
    }
}

/// What follows a `{`.
fn either(chars: &mut Peekable<Chars<'_>>, depth: usize) -> Result<Token, String> {
    if depth > BRACES_DEPTH_MAX {
        return Err(format!("more than {BRACES_DEPTH_MAX} levels of braces"));
    }
    let mut alternatives = vec![sequence(chars, depth)?];
    loop {
        match chars.next() {
            Some(',') => alternatives.push(sequence(chars, depth)?),
            Some(_) => return Ok(Token::Either(alternatives)),
            None => return Err("a `{` without its `}`".to_owned()),
        }
    }
}

/// What follows a `[`.
fn class(chars: &mut Peekable<Chars<'_>>) -> Result<CharSet, String> {
    let unclosed = || "a `[` without its `]`".to_owned();
    let negated = chars.next_if(|&next| next == '!' || next == '^').is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match chars.next().ok_or_else(unclosed)? {
            ']' if !ranges.is_empty() => break,
            '\\' => chars.next().ok_or_else(unclosed)?,
            other => other,
        };
        let mut ahead = chars.clone();
        if ahead.next() != Some('-') || ahead.next().is_none_or(|high| high == ']') {
            ranges.push((low as u32, low as u32));
            continue;
        }
        chars.next();
        let high = match chars.next().ok_or_else(unclosed)? {
            '\\' => chars.next().ok_or_else(unclosed)?,
            other => other,
        };
        if high < low {
            return Err(format!("a range `{low}-{high}` that runs backwards"));
        }
        ranges.push((low as u32, high as u32));
    }
    let set = CharSet::of(ranges);
    let set = if negated { set.complement() } else { set }.intersection(&CharSet::segment());
    if set.is_empty() { Err("a class that no character of a path fits".to_owned()) } else { Ok(set) }
}

/// Whether a token may span segments, so that its alternatives must be told apart before segments are.
fn spans_segments(token: &Token) -> bool {
    match token {
        Token::Slash | Token::Deep => true,
        Token::Star | Token::One(_) => false,
        Token::Either(alternatives) => alternatives.iter().flatten().any(spans_segments),
    }
}

/// The token lists that `tokens` stands for, without alternatives that hold slashes.
fn expand(tokens: &[Token]) -> Result<Vec<Vec<Token>>, String> {
    let mut patterns: Vec<Vec<Token>> = vec![Vec::new()];
    for token in tokens {
        match token {
            Token::Either(alternatives) if spans_segments(token) => {
                let mut endings = Vec::new();
                for alternative in alternatives {
                    endings.extend(expand(alternative)?);
                }
                patterns = join(&patterns, &endings)?;
            }
            Token::Slash | Token::Deep | Token::Star | Token::One(_) | Token::Either(_) => {
                patterns.iter_mut().for_each(|pattern| pattern.push(token.clone()));
            }
        }
    }
    Ok(patterns)
}

fn join(beginnings: &[Vec<Token>], endings: &[Vec<Token>]) -> Result<Vec<Vec<Token>>, String> {
    let count = beginnings.len().saturating_mul(endings.len());
    let tokens: usize = beginnings.iter().map(|begin| begin.len() * endings.len()).sum::<usize>()
        + endings.iter().map(|end| end.len() * beginnings.len()).sum::<usize>();
    if count > PATTERNS_MAX || tokens > TOKENS_MAX {
        return Err(format!("more than {PATTERNS_MAX} combinations of alternatives"));
    }
    Ok(beginnings.iter().flat_map(|begin| endings.iter().map(|end| [begin.as_slice(), end].concat())).collect())
}

/// Checks the segments of a pattern and gives a trailing slash its meaning.
fn finish(pattern: &mut Vec<Token>) -> Result<(), String> {
    match pattern.first() {
        None => return Err("an empty alternative".to_owned()),
        Some(Token::Slash) => return Err("an absolute path".to_owned()),
        Some(_) => {}
    }
    if pattern.last() == Some(&Token::Slash) {
        pattern.push(Token::Deep);
    }
    for segment in pattern.split(|token| *token == Token::Slash) {
        if segment.is_empty() {
            return Err("an empty segment".to_owned());
        }
        if segment.len() > 1 && segment.contains(&Token::Deep) {
            return Err("a `**` that is not a whole segment".to_owned());
        }
        let dot = Token::One(CharSet::single('.'));
        if segment.len() <= 2 && segment.iter().all(|token| *token == dot) {
            return Err(format!("a segment `{}`", ".".repeat(segment.len())));
        }
    }
    Ok(())
}
