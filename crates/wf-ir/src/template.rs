//! Templates before they are rendered: what they may hold, and what they read.
//!
//! Templates are for text; what computes belongs into expressions. What a template may hold is a closed list, chosen
//! so that none can make a text that is much larger than what it was given, and so that its parser stays within its
//! stack. Whoever renders templates provides exactly the filters, tests and functions that are listed here.
//!
//! The scan splits a template exactly as minijinja does where it is one that compiles; where it is none, what the scan
//! says does not matter.
//!
//! Nothing that a template names anew (by `set`, `with` or `for`) can be larger than what it was made of, and there
//! are few joints in one expression; so a template's work cannot grow exponentially with its length.

use std::collections::BTreeSet;

use minijinja::Environment;

/// Tags that a template may use.
pub const TAGS: [&str; 10] = ["if", "elif", "else", "endif", "for", "endfor", "set", "with", "endwith", "raw"];

/// Filters that a template may name.
pub const FILTERS: [&str; 37] = [
    "abs",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];

/// Tests that a template may name after `is`.
pub const TESTS: [&str; 22] = [
    "boolean",
    "defined",
    "endingwith",
    "eq",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
];

/// Tests that are known beside [`TESTS`].
pub const MORE_TESTS: [&str; 2] = ["true", "undefined"];

/// Functions that a template may call.
pub const FUNCTIONS: [&str; 1] = ["range"];

/// Words after which a value begins.
const OPERATORS: [&str; 7] = ["in", "not", "and", "or", "if", "else", "is"];

/// Most `~` and `+` in one tag.
const JOINTS_MAX: usize = 64;
/// Longest tag, in bytes: what nests nests within one tag, and the parser recurses over it.
const TAG_BYTES_MAX: usize = 1_024;
/// Most `elif` in one template: the parser recurses over them too.
const ELIF_MAX: usize = 64;

/// What kind of fault a template has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It is no template.
    Syntax,
    /// It is too large for its parser.
    Limit,
    /// It uses something that templates do not have.
    Denied,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TemplateFault {
    /// Which kind of fault.
    pub kind: FaultKind,
    /// Line in the template, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Whether anything in `source` is not plain text.
pub fn has_tags(source: &str) -> bool {
    source.contains("{{") || source.contains("{%") || source.contains("{#")
}

/// What a template reads: its free names, each with the fields it is read by as far as they are fixed, such as
/// `inputs.goal` or `node.plan.status`.
///
/// # Errors
/// When it is no template, or one that cannot be rendered.
pub fn reads(source: &str) -> Result<BTreeSet<String>, TemplateFault> {
    if !has_tags(source) {
        return Ok(BTreeSet::new());
    }
    check(source)?;
    let env = Environment::empty();
    let template = env.template_from_str(source).map_err(|error| TemplateFault {
        kind: FaultKind::Syntax,
        line: error.line().unwrap_or(1),
        message: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
    })?;
    let reads = template.undeclared_variables(true);
    Ok(reads.into_iter().filter(|path| !FUNCTIONS.contains(&first_name(path))).collect())
}

/// The name a path begins with.
pub fn first_name(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Text,
    Number,
    Sign(char),
}

/// Checks that `source` uses nothing beyond what templates may hold. Its syntax is checked by [`reads`].
///
/// # Errors
/// The first thing that is not allowed.
pub fn check(source: &str) -> Result<(), TemplateFault> {
    let fail = |kind: FaultKind, at: usize, message: String| {
        let line = 1 + source.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
        Err(TemplateFault { kind, line, message })
    };
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
            return fail(
                FaultKind::Limit,
                begin,
                format!("a tag of {} bytes, at most {TAG_BYTES_MAX} are allowed", end - begin),
            );
        }
        elifs += usize::from(matches!(without_marks(&tokens), [Token::Word("elif"), ..]));
        if elifs > ELIF_MAX {
            return fail(FaultKind::Limit, begin, format!("more than {ELIF_MAX} `elif`"));
        }
        if let Err(message) = if kind == '%' { check_tag(&tokens) } else { check_tokens(without_marks(&tokens)) } {
            return fail(FaultKind::Denied, begin, message);
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
                let is_index = match before {
                    Some(Token::Word(word)) => !OPERATORS.contains(&word),
                    Some(Token::Text | Token::Sign(']' | ')')) => true,
                    _ => false,
                };
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
    let Token::Word(name) = tokens[at] else { return false };
    let before = at.checked_sub(1).map(|at| tokens[at]);
    let is_filter_or_test = matches!(before, Some(Token::Sign('|') | Token::Word("is" | "not")));
    // `loop.cycle(…)` and the like are harmless and fail by themselves when they mean nothing.
    let is_method = before == Some(Token::Sign('.'));
    !OPERATORS.contains(&name) && !is_filter_or_test && !is_method
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        let found = match reads(source) {
            Ok(reads) => reads.into_iter().collect::<Vec<_>>().join(" "),
            Err(fault) => format!("{:?} {fault}", fault.kind),
        };
        assert_eq!(found, expected, "{}", &source[..source.len().min(80)]);
    }

    #[test]
    fn free_names_are_found() {
        check("plain", "");
        check("{# {{ comment }} #}{{ a }}", "a");
        check("{{ node.x.status }} {{ a.b[0].c }} {{ range(3) }}", "a.b node.x.status");
        check("{% for item in items %}{{ item.z }} {{ loop.index }}{% endfor %}", "items");
        check("{% set q = p %}{{ q }}", "p");
        check("{% raw %}{{ not_read }}{% include 'x' %}{% endraw %}{{ read }}", "read");
        check("{{ '}}' ~ a }}", "a");
        check("{{ a|default(b)|upper }}", "a b");
    }

    #[test]
    fn faults_have_lines() {
        check("\n\n{{ a b }}", "Syntax line 3: unexpected identifier, expected end of variable block");
        check("a\n{% if x %}", "Syntax line 2: unexpected end of input, expected end of block");
    }

    #[test]
    fn what_templates_do_not_have_is_refused() {
        check("{% include 'x' %}", "Denied line 1: the tag `include` is not available in prompts");
        check("\n{%- extends 'x' -%}", "Denied line 2: the tag `extends` is not available in prompts");
        check("{{ a|nofilter }}", "Denied line 1: the filter `nofilter` is not available in prompts");
        check("{{ a is notest }}", "Denied line 1: the test `notest` is not available in prompts");
        check("{{ debug() }}", "Denied line 1: the function `debug` is not available in prompts");
        check("{{ 'a' * 1000 }}", "Denied line 1: multiplication is not available in prompts");
        check("{% set a = a ~ a %}", "Denied line 1: `set` cannot build larger values; insert them directly");
    }

    #[test]
    fn what_would_overflow_the_parser_is_refused() {
        let limited = |source: &str| {
            let fault = reads(source).map_err(|fault| (fault.kind, fault.line));
            assert_eq!(fault, Err((FaultKind::Limit, 1)), "{}", &source[..20]);
        };
        limited(&format!("{{{{ 1{} }}}}", "-1".repeat(50_000)));
        limited(&format!("{{{{ {}1 }}}}", "-".repeat(50_000)));
        limited(&format!("{{{{ a{} }}}}", "|d".repeat(50_000)));
        limited(&format!("{{{{ '{}", "x".repeat(50_000)));
        limited(&format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(5_000)));
        let nested = format!("{}{}", "{% if a %}".repeat(5_000), "{% endif %}".repeat(5_000));
        check(&nested, "Syntax line 1: template exceeds maximum recursion limits");
    }

    /// Everything that nests, at its limit, at once.
    #[test]
    fn the_limits_fit_the_stack() {
        let opened = "{% if a %}".repeat(70) + &"{% elif a %}".repeat(64);
        let deep = format!("{opened}{{{{ {}a }}}}{}", "-".repeat(1_010), "{% endif %}".repeat(70));
        check(&deep, "a");
    }
}
