//! What a template may hold. Templates are for text; what computes belongs into expressions.
//!
//! The scan splits a template exactly as minijinja does where it is one that compiles; where it is none, what the scan
//! says does not matter.
//!
//! Nothing that a template names anew (by `set`, `with` or `for`) can be larger than what it was made of, and there
//! are few joints in one expression; so a template's work cannot grow exponentially with its length.

use super::TemplateError;
use super::filters::{FILTERS, FUNCTIONS, MORE_TESTS, TESTS};

/// Tags that a template may use.
const TAGS: [&str; 10] = ["if", "elif", "else", "endif", "for", "endfor", "set", "with", "endwith", "raw"];
/// Most `~` and `+` in one tag.
const JOINTS_MAX: usize = 64;
/// Longest tag, in bytes: what nests nests within one tag, and the parser recurses over it.
const TAG_BYTES_MAX: usize = 1_024;
/// Most `elif` in one template: the parser recurses over them too.
const ELIF_MAX: usize = 64;
/// Longest template, in bytes.
const TEMPLATE_BYTES_MAX: usize = wf_ir::limits::SOURCE_BYTES_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Text,
    Number,
    Sign(char),
}

/// Checks that `source` uses nothing beyond what templates may hold. Its syntax is checked where it is compiled.
///
/// # Errors
/// The first thing that is not allowed.
pub(super) fn check(source: &str) -> Result<(), TemplateError> {
    let fail = |at: usize, message: String| {
        let line = 1 + source.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
        Err(TemplateError { line, message })
    };
    if source.len() > TEMPLATE_BYTES_MAX {
        return fail(0, format!("the template has {} bytes, at most {TEMPLATE_BYTES_MAX} are allowed", source.len()));
    }
    let mut elifs = 0;
    let mut at = 0;
    while let Some((begin, kind)) = next_tag(source, at) {
        let inner = begin + 2;
        if kind == '#' {
            match source[inner..].find("#}") {
                Some(end) => at = inner + end + 2,
                None => return Ok(()),
            }
            continue;
        }
        let (tokens, end) = tokens(source, inner, kind);
        if end - begin > TAG_BYTES_MAX {
            return fail(begin, format!("a tag of {} bytes, at most {TAG_BYTES_MAX} are allowed", end - begin));
        }
        elifs += usize::from(matches!(without_marks(&tokens), [Token::Word("elif"), ..]));
        if elifs > ELIF_MAX {
            return fail(begin, format!("more than {ELIF_MAX} `elif`"));
        }
        if let Err(message) = if kind == '%' { check_tag(&tokens) } else { check_tokens(without_marks(&tokens)) } {
            return fail(begin, message);
        }
        at = end;
        if kind == '%' && matches!(without_marks(&tokens), [Token::Word("raw")]) {
            at = after_raw(source, end);
        }
    }
    Ok(())
}

/// Where the next tag begins at or after `from`, and which it is.
fn next_tag(source: &str, from: usize) -> Option<(usize, char)> {
    let bytes = source.as_bytes();
    (from..bytes.len().saturating_sub(1)).find_map(|at| match (bytes[at], bytes[at + 1]) {
        (b'{', kind @ (b'{' | b'%' | b'#')) => Some((at, char::from(kind))),
        _ => None,
    })
}

/// The tokens from `from` to the end of the tag, and where that is.
fn tokens(source: &str, from: usize, kind: char) -> (Vec<Token<'_>>, usize) {
    let bytes = source.as_bytes();
    let mut tokens = Vec::new();
    let mut at = from;
    let mut depth = 0_usize;
    while at < bytes.len() {
        let rest = &source[at..];
        if depth == 0 && rest.starts_with(if kind == '%' { "%}" } else { "}}" }) {
            return (tokens, at + 2);
        }
        let Some(first) = rest.chars().next() else { break };
        let length = match first {
            '\'' | '"' => {
                tokens.push(Token::Text);
                text_length(rest, first)
            }
            '0'..='9' => {
                tokens.push(Token::Number);
                length_while(rest, |c| c.is_alphanumeric() || c == '_')
            }
            c if c.is_alphabetic() || c == '_' => {
                let length = length_while(rest, |c| c.is_alphanumeric() || c == '_');
                tokens.push(Token::Word(&rest[..length]));
                length
            }
            c => {
                match c {
                    '{' | '[' | '(' => depth += 1,
                    '}' | ']' | ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if !c.is_whitespace() {
                    tokens.push(Token::Sign(c));
                }
                c.len_utf8()
            }
        };
        at += length;
    }
    (tokens, bytes.len())
}

fn length_while(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// The length of a quoted text that begins `rest`.
fn text_length(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// Where the text after a raw block goes on.
fn after_raw(source: &str, from: usize) -> usize {
    let mark = |text| str::strip_prefix(text, ['-', '+']).unwrap_or(text);
    let mut at = from;
    while let Some(found) = source[at..].find("{%") {
        let inner = at + found + 2;
        if let Some(tail) = mark(&source[inner..]).trim_ascii_start().strip_prefix("endraw") {
            let tail = mark(tail.trim_ascii_start());
            if tail.starts_with("%}") {
                return source.len() - tail.len() + 2;
            }
        }
        at = inner;
    }
    source.len()
}

/// Without the marks of white space control at either end.
fn without_marks<'a, 'b>(tokens: &'a [Token<'b>]) -> &'a [Token<'b>] {
    let tokens = match tokens {
        [Token::Sign('-' | '+'), rest @ ..] => rest,
        all => all,
    };
    match tokens {
        [rest @ .., Token::Sign('-' | '+')] => rest,
        all => all,
    }
}

fn check_tag(tokens: &[Token<'_>]) -> Result<(), String> {
    let (tag, rest) = match without_marks(tokens) {
        [Token::Word(tag), rest @ ..] => (*tag, rest),
        _ => return Ok(()),
    };
    if !TAGS.contains(&tag) {
        return Err(format!("the tag `{tag}` is not available in prompts"));
    }
    check_tokens(rest)?;
    if !matches!(tag, "for" | "set" | "with") {
        return Ok(());
    }
    if tag == "set" && !rest.contains(&Token::Sign('=')) {
        return Err("`set` needs a value: `{% set name = value %}`".to_owned());
    }
    check_naming(tag, rest)
}

/// What is given a new name must not be larger than what it is made of.
fn check_naming(tag: &str, tokens: &[Token<'_>]) -> Result<(), String> {
    let mut before = None;
    let mut literal_depth = 0_usize;
    for token in tokens {
        match token {
            Token::Sign('~' | '+' | '{') => {
                return Err(format!("`{tag}` cannot build larger values; insert them directly"));
            }
            Token::Sign('[') => {
                let is_index = matches!(before, Some(Token::Word(_) | Token::Text | Token::Sign(']' | ')')));
                let is_index = is_index && before != Some(Token::Word("in"));
                if !is_index || literal_depth > 0 {
                    literal_depth += 1;
                }
            }
            Token::Sign(']') => literal_depth = literal_depth.saturating_sub(1),
            Token::Word("recursive") => return Err("recursive loops are not available in prompts".to_owned()),
            Token::Word("true" | "false" | "none") => {}
            Token::Word(_) if literal_depth > 0 => {
                return Err(format!("a list in `{tag}` can hold constants only"));
            }
            _ => {}
        }
        before = Some(*token);
    }
    Ok(())
}

fn check_tokens(tokens: &[Token<'_>]) -> Result<(), String> {
    let mut joints = 0;
    for (at, token) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1);
        let after = tokens.get(at + 2);
        match (token, next, after) {
            (Token::Sign('*'), ..) => return Err("multiplication is not available in prompts".to_owned()),
            (Token::Sign('~' | '+'), ..) => joints += 1,
            (Token::Sign('|'), Some(Token::Word(name)), _) if !FILTERS.contains(name) => {
                return Err(format!("the filter `{name}` is not available in prompts"));
            }
            (Token::Word("is"), Some(Token::Word("not")), Some(Token::Word(name)))
            | (Token::Word("is"), Some(Token::Word(name)), _)
                if *name != "not" && !TESTS.contains(name) && !MORE_TESTS.contains(name) =>
            {
                return Err(format!("the test `{name}` is not available in prompts"));
            }
            (Token::Word(name), Some(Token::Sign('(')), _) if is_call(tokens, at) && !FUNCTIONS.contains(name) => {
                return Err(format!("the function `{name}` is not available in prompts"));
            }
            _ => {}
        }
    }
    if joints > JOINTS_MAX {
        return Err(format!("more than {JOINTS_MAX} texts are joined in one tag"));
    }
    Ok(())
}

/// Whether the word at `at`, which stands before a parenthesis, is called as a function.
fn is_call(tokens: &[Token<'_>], at: usize) -> bool {
    const OPERATORS: [&str; 7] = ["in", "not", "and", "or", "if", "else", "is"];
    let Token::Word(name) = tokens[at] else { return false };
    let before = at.checked_sub(1).map(|at| tokens[at]);
    let is_filter_or_test = matches!(before, Some(Token::Sign('|') | Token::Word("is" | "not")));
    // `loop.cycle(…)` and the like are harmless and fail by themselves when they mean nothing.
    let is_method = before == Some(Token::Sign('.'));
    !OPERATORS.contains(&name) && !is_filter_or_test && !is_method
}
