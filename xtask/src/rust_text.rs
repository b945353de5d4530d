//! Rust source as text in which code, comments and literals can be told apart, without parsing it.
//!
//! Only as exact as tidy needs: what it cannot make sense of counts as code outside tests, so that a rule errs on the
//! side of a finding.

use std::ops::Range;

/// One source file, taken apart. All texts have the same length, so that an offset means the same place in each.
#[derive(Debug)]
pub struct RustText {
    /// The code alone: comments and the insides of literals are blanks.
    pub code: String,
    /// Code and literals: comments are blanks.
    pub uncommented: String,
    /// Where items stand that exist in tests only.
    pub tests: Vec<Range<usize>>,
    /// Modules in files of their own that exist in tests only.
    pub test_modules: Vec<String>,
}

/// A function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where it stands, from `fn` to its last brace.
    pub range: Range<usize>,
    /// The line it begins at, from 1.
    pub line: usize,
    /// How many lines it has.
    pub lines: usize,
}

impl RustText {
    /// Takes `source` apart.
    pub fn new(source: &str) -> Self {
        let (code, uncommented) = mask(source);
        let (mut tests, mut test_modules) = (Vec::new(), Vec::new());
        for (start, attribute) in attributes(&code) {
            if !is_test_only(&code[attribute.clone()]) {
                continue;
            }
            let item = item_after(&code, attribute.end);
            if let Some(name) = module_declared(&code[item.clone()]) {
                test_modules.push(name.to_owned());
            }
            tests.push(start..item.end);
        }
        Self { code, uncommented, tests, test_modules }
    }

    /// `text`, one of its texts, with blanks for what exists in tests only.
    pub fn without_tests(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        for range in &self.tests {
            blank_out(&mut bytes, range.clone());
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// `text`, one of its texts, with blanks for what exists outside tests.
    pub fn only_tests(&self, text: &str) -> String {
        self.tests.iter().filter_map(|range| text.get(range.clone())).collect::<Vec<_>>().join("\n")
    }

    /// Its functions outside tests, in order.
    pub fn functions(&self) -> Vec<Function> {
        let code = self.without_tests(&self.code);
        let mut found = Vec::new();
        for at in words(&code, "fn") {
            let Some(name) = ident_at(&code, skip_space(&code, at + 2)) else { continue };
            let Some(open) = body_after(&code, at) else { continue };
            let range = at..matching(&code, open);
            let lines = code[range.clone()].lines().count();
            found.push(Function { name: name.to_owned(), line: line_of(&code, at), lines, range });
        }
        found
    }
}

/// The line of an offset, from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Where `needle` stands in `text` as a whole word.
pub fn words<'t>(text: &'t str, needle: &'t str) -> impl Iterator<Item = usize> + 't {
    text.match_indices(needle).map(|(at, _)| at).filter(move |at| {
        let before = text[..*at].chars().next_back();
        let after = text[at + needle.len()..].chars().next();
        let open_start = !needle.starts_with(is_ident) || !before.is_some_and(is_ident);
        let open_end = !needle.ends_with(is_ident) || !after.is_some_and(is_ident);
        open_start && open_end
    })
}

/// Whether a character can be part of a name.
pub fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The name that begins at an offset, if one does.
pub fn ident_at(text: &str, at: usize) -> Option<&str> {
    let rest = text.get(at..)?;
    let end = rest.find(|c| !is_ident(c)).unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

/// The first place at or after `at` that is not blank.
pub fn skip_space(text: &str, at: usize) -> usize {
    text[at..].find(|c: char| !c.is_whitespace()).map_or(text.len(), |more| at + more)
}

/// Just after the bracket that closes the one at `open`; the end of the text when none does.
pub fn matching(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

fn mask(source: &str) -> (String, String) {
    let mut code = source.as_bytes().to_vec();
    let mut uncommented = code.clone();
    let mut at = 0;
    while at < source.len() {
        let (end, blank) = token(source, at);
        match blank {
            Blank::Nothing => {}
            Blank::Literal(inside) => blank_out(&mut code, inside),
            Blank::Comment => {
                blank_out(&mut code, at..end);
                blank_out(&mut uncommented, at..end);
            }
        }
        at = end;
    }
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(code), text(uncommented))
}

fn blank_out(bytes: &mut [u8], range: Range<usize>) {
    bytes[range].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

enum Blank {
    Nothing,
    Comment,
    Literal(Range<usize>),
}

/// Where the token at `at` ends, and what of it is not code.
fn token(source: &str, at: usize) -> (usize, Blank) {
    let rest = &source[at..];
    if rest.starts_with("//") {
        return (at + rest.find('\n').unwrap_or(rest.len()), Blank::Comment);
    }
    if rest.starts_with("/*") {
        return (block_comment_end(source, at), Blank::Comment);
    }
    if let Some(name) = ident_at(source, at) {
        let end = at + name.len();
        return match name {
            "r" | "br" | "cr" => raw_string(source, end).unwrap_or((end, Blank::Nothing)),
            _ => (end, Blank::Nothing),
        };
    }
    if rest.starts_with('"') {
        return quoted(source, at + 1, '"');
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        let mut chars = inside.chars();
        let (first, second) = (chars.next(), chars.next());
        if first == Some('\\') || (second == Some('\'') && first != Some('\'')) {
            return quoted(source, at + 1, '\'');
        }
    }
    (at + rest.chars().next().map_or(1, char::len_utf8), Blank::Nothing)
}

fn block_comment_end(source: &str, start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while at < source.len() {
        let rest = &source.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    source.len()
}

fn raw_string(source: &str, hashes_at: usize) -> Option<(usize, Blank)> {
    let rest = &source[hashes_at..];
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let inside = hashes_at + hashes + 1;
    rest[hashes..].starts_with('"').then(|| {
        let close = format!("\"{}", "#".repeat(hashes));
        let len = source[inside..].find(&close).unwrap_or(source.len() - inside);
        ((inside + len + close.len()).min(source.len()), Blank::Literal(inside..inside + len))
    })
}

fn quoted(source: &str, inside: usize, quote: char) -> (usize, Blank) {
    let mut escaped = false;
    for (at, c) in source[inside..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return (inside + at + 1, Blank::Literal(inside..inside + at)),
            _ => {}
        }
    }
    (source.len(), Blank::Literal(inside..source.len()))
}

/// Outer attributes: where each begins, and the range of its brackets.
fn attributes(code: &str) -> impl Iterator<Item = (usize, Range<usize>)> {
    code.match_indices("#[").map(|(at, _)| (at, at + 1..matching(code, at + 1)))
}

fn is_test_only(attribute: &str) -> bool {
    let compact: String = attribute.chars().filter(|c| !c.is_whitespace()).collect();
    compact.starts_with("[cfg(test)") || compact.starts_with("[cfg(all(test,")
}

/// The item that an attribute belongs to.
fn item_after(code: &str, attribute_end: usize) -> Range<usize> {
    let mut start = skip_space(code, attribute_end);
    while code[start..].starts_with("#[") {
        start = skip_space(code, matching(code, start + 1));
    }
    let declares = ["mod", "fn", "use", "impl", "struct", "enum", "trait", "const", "static", "type", "pub", "async"];
    let is_item = ident_at(code, start).is_some_and(|word| declares.contains(&word));
    let mut at = start;
    while at < code.len() {
        match code.as_bytes()[at] {
            b'(' | b'[' => at = matching(code, at),
            b'{' => return start..matching(code, at),
            b';' => return start..at + 1,
            b',' | b'}' if !is_item => return start..at,
            _ => at += 1,
        }
    }
    start..code.len()
}

/// The module that an item declares without giving its content.
fn module_declared(item: &str) -> Option<&str> {
    let at = words(item, "mod").next()?;
    let name = ident_at(item, skip_space(item, at + 3))?;
    item.ends_with(';').then_some(name)
}

/// Where the body of the function at `at` opens, if it has one.
fn body_after(code: &str, at: usize) -> Option<usize> {
    let mut at = at;
    while at < code.len() {
        match code.as_bytes()[at] {
            b'(' | b'[' => at = matching(code, at),
            b'{' => return Some(at),
            b';' | b'}' => return None,
            _ => at += 1,
        }
    }
    None
}
