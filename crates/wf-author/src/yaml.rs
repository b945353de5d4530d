//! YAML 1.2 (core schema) with the place of every key and value.
//!
//! The tree is built from parser events, without recursion. What an alias repeats counts each time against the bounds
//! of a draft, before it is copied, and merge keys are not part of YAML 1.2, so that a small source stays small.

use std::borrow::Cow;
use std::collections::BTreeMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Tag};
use wf_ir::{Diagnostic, Key, Span, Spanned, SpannedValue};

use crate::code;
use crate::compile::Weight;
use crate::json::number_value;
use crate::limits::{DIAGNOSTICS_MAX, DRAFT_DEPTH_MAX, MESSAGE_BYTES_MAX, YAML_ALIASES_MAX};
use crate::text::{Lines, number, sentence};

/// Reads a source.
pub(crate) fn read(source: &str, lines: &Lines) -> Result<Spanned, Vec<Diagnostic>> {
    let mut reader = Reader {
        lines,
        open: Vec::new(),
        root: None,
        documents: 0,
        anchors: BTreeMap::new(),
        aliases: 0,
        total: Weight::default(),
        found: Vec::new(),
    };
    let options = granit_parser::options! { emit_comments: false };
    for next in Parser::new_from_str_with_options(source, options) {
        let taken = match next {
            Ok((event, span)) => reader.take(event, span),
            Err(error) => Err(reader.syntax(&error)),
        };
        if let Err(found) = taken {
            reader.found.push(found);
            return Err(reader.found);
        }
    }
    match (reader.root, reader.found) {
        (Some(root), found) if found.is_empty() => Ok(root),
        (None, found) if found.is_empty() => {
            Err(vec![Diagnostic::error(code::YAML_SYNTAX, &lines.end(), "the source holds no document")])
        }
        (_, found) => Err(found),
    }
}

/// A list or map whose end has not come yet.
struct Open {
    value: Collected,
    span: Span,
    anchor: usize,
    weight: Weight,
    depth: usize,
    flow: bool,
}

enum Collected {
    List(Vec<Spanned>),
    /// The key whose value has not come yet, and the entries before it.
    Map(Option<Key>, Vec<(Key, Spanned)>),
}

/// A finished value with what it holds.
#[derive(Clone)]
struct Node {
    spanned: Spanned,
    weight: Weight,
    depth: usize,
}

struct Reader<'a> {
    lines: &'a Lines,
    open: Vec<Open>,
    root: Option<Spanned>,
    documents: usize,
    anchors: BTreeMap<usize, Node>,
    aliases: usize,
    total: Weight,
    found: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn take(&mut self, event: Event<'_>, place: granit_parser::Span) -> Result<(), Diagnostic> {
        let span = self.span(place);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Diagnostic::error(code::YAML_DOCUMENTS, &span, "a second document begins here")
                        .with_hint("one file holds one workflow"));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag, span),
            Event::Alias(id) => self.alias(id, span),
            Event::SequenceStart(style, anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", &span)?;
                self.begin(Collected::List(Vec::new()), style, anchor, span)
            }
            Event::MappingStart(style, anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", &span)?;
                self.begin(Collected::Map(None, Vec::new()), style, anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(&span),
            _ => Ok(()),
        }
    }

    fn begin(
        &mut self,
        value: Collected,
        style: granit_parser::StructureStyle,
        anchor: usize,
        span: Span,
    ) -> Result<(), Diagnostic> {
        self.check_value_expected(&span)?;
        if self.open.len() >= DRAFT_DEPTH_MAX {
            return Err(too_deep(&span));
        }
        let flow = style == granit_parser::StructureStyle::Flow;
        self.open.push(Open { value, span, anchor, weight: Weight { values: 1, text: 0 }, depth: 1, flow });
        self.count(Weight { values: 1, text: 0 })
    }

    fn end(&mut self, end: &Span) -> Result<(), Diagnostic> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let mut span = open.span;
        let value = match open.value {
            Collected::List(items) => {
                stretch(&mut span, if open.flow { Some(end) } else { items.last().map(|item| &item.span) });
                SpannedValue::List(items)
            }
            Collected::Map(_, entries) => {
                stretch(&mut span, if open.flow { Some(end) } else { entries.last().map(|(_, value)| &value.span) });
                SpannedValue::Map(entries)
            }
        };
        let node = Node { spanned: Spanned { value, span }, weight: open.weight, depth: open.depth };
        self.anchor(open.anchor, &node)?;
        self.place(node);
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
        span: Span,
    ) -> Result<(), Diagnostic> {
        let weight = Weight { values: 1, text: text.len() };
        self.count(weight)?;
        if let Some(Open { value: Collected::Map(key @ None, _), .. }) = self.open.last_mut() {
            *key = Some(Key { name: text.to_owned(), span: span.clone() });
            if text == "<<" && style == ScalarStyle::Plain {
                let found = Diagnostic::error(code::YAML_FEATURE, &span, "merge keys are not part of YAML 1.2")
                    .with_hint("repeat the entries, or share a whole value with an alias");
                return self.report(found);
            }
            return match anchor {
                0 => Ok(()),
                _ => self.report(feature(&span, "an anchor on a key")),
            };
        }
        let tagged = match tag {
            Some(tag) if tag.is_yaml_core_schema_tag("str") || tag.original() == "!" => true,
            tag => {
                self.check_tag(tag.as_deref(), "str", &span)?;
                false
            }
        };
        let value = if tagged || style != ScalarStyle::Plain {
            SpannedValue::Str(text.to_owned())
        } else {
            match plain(text) {
                Ok(value) => value,
                Err(message) => {
                    self.report(Diagnostic::error(code::NUMBER, &span, message))?;
                    SpannedValue::Null
                }
            }
        };
        let node = Node { spanned: Spanned { value, span }, weight, depth: 0 };
        self.anchor(anchor, &node)?;
        self.place(node);
        Ok(())
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Diagnostic> {
        self.check_value_expected(&span)?;
        self.aliases += 1;
        if self.aliases > YAML_ALIASES_MAX {
            let message = format!("the source has more than {YAML_ALIASES_MAX} aliases");
            return Err(Diagnostic::error(code::YAML_ALIAS, &span, message));
        }
        let Some(node) = self.anchors.get(&id) else {
            return Err(Diagnostic::error(code::YAML_ALIAS, &span, "the alias stands inside the value it repeats"));
        };
        if self.open.len() + node.depth > DRAFT_DEPTH_MAX {
            return Err(too_deep(&span));
        }
        self.total.add(node.weight);
        self.total.check(&span)?;
        let node = node.clone();
        self.place(node);
        Ok(())
    }

    /// Remembers a value for its aliases. The copy counts, so that nested anchors cannot multiply.
    fn anchor(&mut self, id: usize, node: &Node) -> Result<(), Diagnostic> {
        if id != 0 {
            self.total.add(node.weight);
            self.total.check(&node.spanned.span)?;
            self.anchors.insert(id, node.clone());
        }
        Ok(())
    }

    fn place(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node.spanned);
            return;
        };
        open.weight.add(node.weight);
        open.depth = open.depth.max(node.depth + 1);
        match &mut open.value {
            Collected::List(items) => items.push(node.spanned),
            Collected::Map(key, entries) => {
                if let Some(key) = key.take() {
                    entries.push((key, node.spanned));
                }
            }
        }
    }

    fn check_value_expected(&self, span: &Span) -> Result<(), Diagnostic> {
        match self.open.last() {
            Some(Open { value: Collected::Map(None, _), .. }) => Err(feature(span, "a key that is not plain text")),
            _ => Ok(()),
        }
    }

    fn check_tag(&mut self, tag: Option<&Tag>, allowed: &str, span: &Span) -> Result<(), Diagnostic> {
        match tag {
            Some(tag) if !tag.is_yaml_core_schema_tag(allowed) => {
                self.report(feature(span, &format!("the tag {}", sentence(&tag.original(), 100))))
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, weight: Weight) -> Result<(), Diagnostic> {
        self.total.add(weight);
        let span = self.open.last().map_or_else(|| self.lines.end(), |open| open.span.clone());
        self.total.check(&span)
    }

    fn report(&mut self, found: Diagnostic) -> Result<(), Diagnostic> {
        if self.found.len() >= DIAGNOSTICS_MAX {
            return Err(found);
        }
        self.found.push(found);
        Ok(())
    }

    fn span(&self, place: granit_parser::Span) -> Span {
        match (place.start.byte_offset(), place.end.byte_offset()) {
            (Some(start), Some(end)) => self.lines.span(start..end),
            _ => Span {
                file: self.lines.file().clone(),
                line: number(place.start.line()),
                column: number(place.start.col() + 1),
                end_line: number(place.end.line()),
                end_column: number(place.end.col() + 1),
            },
        }
    }

    fn syntax(&self, error: &ScanError) -> Diagnostic {
        let span = self.span(granit_parser::Span::empty(*error.marker()));
        let message = sentence(&error.kind().to_string(), MESSAGE_BYTES_MAX);
        match error.kind() {
            ErrorKind::UnknownAnchor => Diagnostic::error(code::YAML_ALIAS, &span, "the alias has no anchor before it"),
            ErrorKind::RecursionLimitExceeded => too_deep(&span),
            _ => Diagnostic::error(code::YAML_SYNTAX, &span, message),
        }
    }
}

/// A plain scalar by the rules of YAML's core schema.
fn plain(text: &str) -> Result<SpannedValue, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Ok(SpannedValue::Null),
        "true" | "True" | "TRUE" => Ok(SpannedValue::Bool(true)),
        "false" | "False" | "FALSE" => Ok(SpannedValue::Bool(false)),
        _ => match text.trim_start_matches(['-', '+']) {
            ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN" => Err(crate::json::number_message(text)),
            _ => match radix(text) {
                Some(value) => value,
                None if is_number(text) => number_value(text),
                None => Ok(SpannedValue::Str(text.to_owned())),
            },
        },
    }
}

/// `0o17` and `0x1F`.
fn radix(text: &str) -> Option<Result<SpannedValue, String>> {
    let (digits, radix) = match (text.strip_prefix("0o"), text.strip_prefix("0x")) {
        (Some(digits), _) => (digits, 8),
        (_, Some(digits)) => (digits, 16),
        _ => return None,
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix);
    Some(value.map(SpannedValue::Int).map_err(|_| crate::json::number_message(text)))
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_number(text: &str) -> bool {
    let unsigned = |text: &str| text.strip_prefix(['-', '+']).map_or(text.len(), str::len);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = &text[text.len() - unsigned(text)..];
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(&exponent[exponent.len() - unsigned(exponent)..])),
        None => (text, None),
    };
    let mantissa = match mantissa.split_once('.') {
        Some(("", part)) => digits(part),
        Some((whole, part)) => digits(whole) && (part.is_empty() || digits(part)),
        None => digits(mantissa),
    };
    mantissa && exponent.is_none_or(digits)
}

fn stretch(span: &mut Span, end: Option<&Span>) {
    // An alias inside repeats a value from further up; the place of the whole does not end there.
    if let Some(end) = end.filter(|end| (end.end_line, end.end_column) > (span.line, span.column)) {
        (span.end_line, span.end_column) = (end.end_line, end.end_column);
    }
}

fn too_deep(span: &Span) -> Diagnostic {
    Diagnostic::error(code::TOO_DEEP, span, format!("values are nested more than {DRAFT_DEPTH_MAX} deep"))
}

fn feature(span: &Span, what: &str) -> Diagnostic {
    Diagnostic::error(code::YAML_FEATURE, span, format!("{what} has no meaning here"))
        .with_hint("a workflow is maps with text keys, lists, text, numbers, true, false and null")
}

#[cfg(test)]
mod tests {
    use wf_ir::{Decimal, SpannedValue};

    use super::plain;

    fn check(text: &str, expected: SpannedValue) {
        assert_eq!(plain(text), Ok(expected), "{text}");
    }

    #[test]
    fn words_that_other_yaml_takes_for_truth_values_are_text() {
        for text in ["on", "off", "yes", "no", "y", "n", "On", "nUll", "tRue", "1_000", "0b1", "1:30", "2024-01-01"] {
            check(text, SpannedValue::Str(text.to_owned()));
        }
    }

    #[test]
    fn numbers() {
        check("12", SpannedValue::Int(12));
        check("-0", SpannedValue::Int(0));
        check("+7", SpannedValue::Int(7));
        check("007", SpannedValue::Int(7));
        check("0x1F", SpannedValue::Int(31));
        check("0o17", SpannedValue::Int(15));
        check("1e3", SpannedValue::Decimal(Decimal::from_int(1_000).unwrap()));
        check(".5", SpannedValue::Decimal(Decimal::from_micros(500_000).unwrap()));
        check("1.", SpannedValue::Decimal(Decimal::from_int(1).unwrap()));
        for text in ["0x", "0xg", "1e", "e1", ".", "-", "+", "1.2.3", "--1", "infinity", "nan", ".e1"] {
            check(text, SpannedValue::Str(text.to_owned()));
        }
    }

    #[test]
    fn numbers_out_of_range_have_no_value() {
        for text in ["9223372036854775808", "1e300", ".inf", "-.INF", ".nan", "0xffffffffffffffff", "1e999999999999"] {
            assert!(plain(text).is_err(), "{text}");
        }
    }
}
