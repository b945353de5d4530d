//! What the tests share: files in memory, and drafts and findings as text.

use std::collections::BTreeMap;
use std::fmt::Write;

use wf_author::{LoadError, Loader, Spelling, compile};
use wf_ir::{Diagnostic, Draft, Span, Spanned, SpannedValue};

/// Files in memory.
#[derive(Default)]
pub(crate) struct Files(pub(crate) BTreeMap<String, String>);

impl Files {
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }
}

impl Loader for Files {
    fn load(&self, path: &str) -> Result<String, LoadError> {
        self.0.get(path).cloned().ok_or(LoadError::Missing)
    }
}

/// As [`compiled`], on a stack that is large enough for every source within the limits.
pub(crate) fn compiled_deep(spelling: Spelling, source: &str) -> Result<Draft, Vec<Diagnostic>> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(wf_author::limits::STACK_BYTES);
        thread.spawn_scoped(scope, || compiled(spelling, source, &[])).unwrap().join().unwrap()
    })
}

/// Compiles `source` as the file `main.star`, `main.yaml` or `main.json`.
pub(crate) fn compiled(spelling: Spelling, source: &str, files: &[(&str, &str)]) -> Result<Draft, Vec<Diagnostic>> {
    compile(spelling, name(spelling), source, &Files::of(files))
}

pub(crate) fn name(spelling: Spelling) -> &'static str {
    match spelling {
        Spelling::Starlark => "main.star",
        Spelling::Yaml => "main.yaml",
        Spelling::Json => "main.json",
    }
}

/// The draft without places, as JSON in source order.
pub(crate) fn plain(draft: &Draft) -> String {
    let mut text = String::new();
    write_plain(&mut text, &draft.root);
    text
}

fn write_plain(text: &mut String, spanned: &Spanned) {
    match &spanned.value {
        SpannedValue::List(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                write_plain(text, item);
            }
            text.push(']');
        }
        SpannedValue::Map(entries) => {
            text.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                write!(text, "{}: ", key.name).unwrap();
                write_plain(text, value);
            }
            text.push('}');
        }
        _ => text.push_str(&scalar(&spanned.value)),
    }
}

fn scalar(value: &SpannedValue) -> String {
    match value {
        SpannedValue::Null => "null".to_owned(),
        SpannedValue::Bool(value) => value.to_string(),
        SpannedValue::Int(value) => value.to_string(),
        SpannedValue::Decimal(value) => value.to_string(),
        SpannedValue::Str(text) => format!("{text:?}"),
        SpannedValue::List(_) | SpannedValue::Map(_) => unreachable!("not a scalar"),
    }
}

/// The draft with the place of every key and value, one to a line.
pub(crate) fn places(draft: &Draft) -> String {
    let mut text = String::new();
    write_places(&mut text, &draft.root, 0);
    text
}

fn write_places(text: &mut String, spanned: &Spanned, depth: usize) {
    let at = place(&spanned.span);
    let indent = "  ".repeat(depth + 1);
    match &spanned.value {
        SpannedValue::List(items) => {
            writeln!(text, "list {at}").unwrap();
            for item in items {
                text.push_str(&indent);
                write_places(text, item, depth + 1);
            }
        }
        SpannedValue::Map(entries) => {
            writeln!(text, "map {at}").unwrap();
            for (key, value) in entries {
                write!(text, "{indent}{} {}: ", key.name, place(&key.span)).unwrap();
                write_places(text, value, depth + 1);
            }
        }
        value => writeln!(text, "{} {at}", scalar(value)).unwrap(),
    }
}

fn place(span: &Span) -> String {
    let file = if &*span.file == "main.star" || &*span.file == "main.yaml" || &*span.file == "main.json" {
        String::new()
    } else {
        format!("{} ", span.file)
    };
    format!("<{file}{}:{}-{}:{}>", span.line, span.column, span.end_line, span.end_column)
}

/// The findings, one to a line, with their hints.
pub(crate) fn findings(found: &[Diagnostic]) -> String {
    let mut text = String::new();
    for found in found {
        let Diagnostic { code, message, hint, span, .. } = found;
        writeln!(text, "{}:{}:{}: {code} {message}", span.file, span.line, span.column).unwrap();
        if let Some(hint) = hint {
            writeln!(text, "  hint: {hint}").unwrap();
        }
    }
    text
}

/// What a source comes to: its draft without places, or its findings.
pub(crate) fn outcome(spelling: Spelling, source: &str, files: &[(&str, &str)]) -> String {
    match compiled(spelling, source, files) {
        Ok(draft) => plain(&draft) + "\n",
        Err(found) => findings(&found),
    }
}
