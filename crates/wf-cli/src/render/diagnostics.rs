//! Findings of `check` with the source lines that they are about.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use wf_ir::draft::Span;
use wf_ir::{Diagnostic, Severity};
use wf_view::text::{clean, counted, visible};

use super::style::{Style, Tone};

/// The longest source line that is shown, in bytes; a longer one is left out.
const LINE_BYTES_MAX: usize = 400;
/// The most lines of one finding that are shown.
const LINES_MAX: u32 = 8;
/// Columns where nobody said how wide to write.
const PLAIN_COLUMNS: usize = 140;

/// Findings with their source lines. `sources` are the texts by the file names that spans use.
pub(crate) fn diagnostics_text(list: &[Diagnostic], sources: &BTreeMap<String, String>, style: Style) -> String {
    let columns = style.width.clamp(40, PLAIN_COLUMNS);
    let renderer = if style.colour { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(columns);
    let mut text = String::new();
    for diagnostic in list {
        _ = writeln!(text, "{}\n", one(diagnostic, sources, &renderer));
    }
    text.push_str(&tally(list, style));
    text
}

fn one(diagnostic: &Diagnostic, sources: &BTreeMap<String, String>, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let span = &diagnostic.span;
    let file = clean(&span.file);
    let title = level.primary_title(clean(&diagnostic.message)).id(diagnostic.code);
    let excerpt = sources.get(&*span.file).and_then(|source| excerpt(source, span));
    let mut group = match &excerpt {
        Some(excerpt) => title.element(
            Snippet::source(excerpt.text.as_str())
                .line_start(excerpt.line)
                .path(file.as_ref())
                .annotation(AnnotationKind::Primary.span(excerpt.range.clone())),
        ),
        None => Group::with_title(title),
    };
    if excerpt.is_none() && span.line > 0 {
        let place = format!("at {file}:{}:{}", span.line, span.column);
        group = group.element(Level::NOTE.no_name().message(place));
    }
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Level::HELP.message(clean(hint)));
    }
    renderer.render(&[group])
}

/// The lines that a span covers, made safe, and where in them it lies, in bytes.
struct Excerpt {
    text: String,
    line: usize,
    range: std::ops::Range<usize>,
}

fn excerpt(source: &str, span: &Span) -> Option<Excerpt> {
    let first = usize::try_from(span.line.checked_sub(1)?).ok()?;
    let end_line = if span.end_line == 0 { span.line } else { span.end_line };
    let end_line = end_line.clamp(span.line, span.line.saturating_add(LINES_MAX - 1));
    let count = usize::try_from(end_line - span.line).ok()? + 1;
    let mut text = String::new();
    let (mut start, mut end) = (None, None);
    for (at, line) in source.split('\n').skip(first).take(count).enumerate() {
        let line = visible(line.strip_suffix('\r').unwrap_or(line));
        if line.len() > LINE_BYTES_MAX {
            return None;
        }
        let number = span.line + at as u32;
        // Columns count characters.
        let offset = |column: u32| {
            let place = line.char_indices().nth(column.saturating_sub(1) as usize);
            text.len() + place.map_or(line.len(), |(at, _)| at)
        };
        if number == span.line {
            start = Some(offset(span.column));
        }
        if number == end_line {
            let whole = span.end_line == 0 || span.end_line > end_line;
            end = Some(if whole { None } else { Some(offset(span.end_column)) });
        }
        text.push_str(&line);
        text.push('\n');
    }
    let start = start?.min(text.len());
    // Without an end, the first word or symbol is meant.
    let end = end.flatten().unwrap_or_else(|| word_end(&text, start)).clamp(start, text.len());
    Some(Excerpt { text, line: span.line as usize, range: start..end.max(start) })
}

fn word_end(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let length = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
    let first = rest.chars().next().filter(|first| *first != '\n').map_or(0, char::len_utf8);
    start + length.max(first)
}

/// `2 errors, 1 warning`
fn tally(list: &[Diagnostic], style: Style) -> String {
    let count = |severity| list.iter().filter(|it| it.severity == severity).count() as u64;
    let parts = [
        (count(Severity::Error), "error", "errors"),
        (count(Severity::Warning), "warning", "warnings"),
        (count(Severity::Note), "note", "notes"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| counted(count, one, many))
        .collect();
    if parts.is_empty() {
        return String::new();
    }
    let tone = if count(Severity::Error) > 0 { Tone::Bad } else { Tone::Warn };
    format!("{}\n", style.paint(tone, &parts.join(", ")))
}
