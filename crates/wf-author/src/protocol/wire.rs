//! The flat forms of drafts and findings.
//!
//! JSON readers bound their recursion more tightly than drafts are bounded, so a draft travels as the list of its
//! parts in pre-order: a list or map says how many parts follow.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use wf_ir::{Decimal, Diagnostic, Draft, Key, Span, Spanned, SpannedValue};

use crate::code;
use crate::limits::{DIAGNOSTICS_MAX, DRAFT_DEPTH_MAX, DRAFT_VALUES_MAX, FILES_MAX, MESSAGE_BYTES_MAX};
use crate::text::cut;

/// Most parts of a draft: each value, and a key for each.
const PARTS_MAX: usize = 2 * DRAFT_VALUES_MAX;

/// A draft in pre-order.
#[derive(Serialize, Deserialize)]
pub(super) struct FlatDraft {
    /// The files that places are in.
    #[serde(deserialize_with = "at_most::<_, _, { FILES_MAX + 1 }>")]
    files: Vec<String>,
    #[serde(deserialize_with = "at_most::<_, _, PARTS_MAX>")]
    parts: Vec<FlatPart>,
}

/// File, line, column, end line, end column, and what stands there.
#[derive(Serialize, Deserialize)]
struct FlatPart(u32, u32, u32, u32, u32, Atom);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Atom {
    Null,
    Bool(bool),
    Int(i64),
    /// In millionths.
    Decimal(i64),
    Str(String),
    /// So many values follow.
    List(u32),
    /// So many keys follow, each with its value.
    Map(u32),
    Key(String),
}

impl FlatDraft {
    pub(super) fn new(draft: &Draft) -> Self {
        let mut flattening = Flattening { files: BTreeMap::new(), names: Vec::new(), parts: Vec::new() };
        flattening.value(&draft.root);
        Self { files: flattening.names, parts: flattening.parts }
    }

    /// The draft, if it is one.
    pub(super) fn into_draft(self) -> Result<Draft, &'static str> {
        let files: Vec<Arc<str>> = self.files.into_iter().map(Arc::from).collect();
        let mut open: Vec<Open> = Vec::new();
        let mut parts = self.parts.into_iter();
        loop {
            let Some(FlatPart(file, line, column, end_line, end_column, atom)) = parts.next() else {
                return Err("the draft ends too early");
            };
            let file = usize::try_from(file).ok().and_then(|at| files.get(at)).ok_or("a place has no file")?.clone();
            let span = Span { file, line, column, end_line, end_column };
            let mut done = match Open::begin(atom, span, &mut open)? {
                Some(done) => done,
                None => continue,
            };
            // A finished value may finish what it stands in.
            loop {
                let Some(outer) = open.last_mut() else {
                    return if parts.next().is_none() { Ok(Draft { root: done }) } else { Err("the draft goes on") };
                };
                outer.place(done)?;
                if outer.missing > 0 {
                    break;
                }
                let Some(outer) = open.pop() else { break };
                done = Spanned { value: outer.value, span: outer.span };
            }
        }
    }
}

/// A list or map that still misses parts.
struct Open {
    value: SpannedValue,
    span: Span,
    missing: u32,
    key: Option<Key>,
}

impl Open {
    /// Takes a part: a scalar or an empty collection is finished at once.
    fn begin(atom: Atom, span: Span, open: &mut Vec<Self>) -> Result<Option<Spanned>, &'static str> {
        let outer = open.last_mut();
        if let Atom::Key(name) = atom {
            return match outer {
                Some(Self { value: SpannedValue::Map(_), key: key @ None, .. }) => {
                    *key = Some(Key { name, span });
                    Ok(None)
                }
                _ => Err("a key stands outside a map"),
            };
        }
        if let Some(Self { value: SpannedValue::Map(_), key: None, .. }) = outer {
            return Err("a value of a map has no key");
        }
        let (value, missing) = match atom {
            Atom::Null => (SpannedValue::Null, 0),
            Atom::Bool(value) => (SpannedValue::Bool(value), 0),
            Atom::Int(value) => (SpannedValue::Int(value), 0),
            Atom::Decimal(micros) => {
                let value = Decimal::from_micros(micros).ok_or("a decimal is out of range")?;
                (SpannedValue::Decimal(value), 0)
            }
            Atom::Str(text) => (SpannedValue::Str(text), 0),
            Atom::List(count) => (SpannedValue::List(Vec::new()), count),
            Atom::Map(count) => (SpannedValue::Map(Vec::new()), count),
            Atom::Key(_) => return Err("a key stands outside a map"),
        };
        if missing == 0 {
            return Ok(Some(Spanned { value, span }));
        }
        if open.len() >= DRAFT_DEPTH_MAX {
            return Err("the draft is nested too deeply");
        }
        open.push(Self { value, span, missing, key: None });
        Ok(None)
    }

    fn place(&mut self, done: Spanned) -> Result<(), &'static str> {
        match &mut self.value {
            SpannedValue::List(items) => items.push(done),
            SpannedValue::Map(entries) => entries.push((self.key.take().ok_or("a value of a map has no key")?, done)),
            SpannedValue::Null
            | SpannedValue::Bool(_)
            | SpannedValue::Int(_)
            | SpannedValue::Decimal(_)
            | SpannedValue::Str(_) => return Err("a value stands in a scalar"),
        }
        self.missing -= 1;
        Ok(())
    }
}

struct Flattening {
    files: BTreeMap<Arc<str>, u32>,
    names: Vec<String>,
    parts: Vec<FlatPart>,
}

impl Flattening {
    fn value(&mut self, spanned: &Spanned) {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let atom = match &spanned.value {
            SpannedValue::Null => Atom::Null,
            SpannedValue::Bool(value) => Atom::Bool(*value),
            SpannedValue::Int(value) => Atom::Int(*value),
            SpannedValue::Decimal(value) => Atom::Decimal(value.micros()),
            SpannedValue::Str(text) => Atom::Str(text.clone()),
            SpannedValue::List(items) => Atom::List(count(items.len())),
            SpannedValue::Map(entries) => Atom::Map(count(entries.len())),
        };
        self.part(&spanned.span, atom);
        match &spanned.value {
            SpannedValue::List(items) => items.iter().for_each(|item| self.value(item)),
            SpannedValue::Map(entries) => entries.iter().for_each(|(key, value)| {
                self.part(&key.span, Atom::Key(key.name.clone()));
                self.value(value);
            }),
            SpannedValue::Null
            | SpannedValue::Bool(_)
            | SpannedValue::Int(_)
            | SpannedValue::Decimal(_)
            | SpannedValue::Str(_) => {}
        }
    }

    fn part(&mut self, span: &Span, atom: Atom) {
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let file = *self.files.entry(span.file.clone()).or_insert_with(|| {
            self.names.push(span.file.to_string());
            next
        });
        self.parts.push(FlatPart(file, span.line, span.column, span.end_line, span.end_column, atom));
    }
}

/// A finding. All that authoring finds are errors.
#[derive(Serialize, Deserialize)]
pub(super) struct Finding {
    code: String,
    message: String,
    hint: Option<String>,
    span: Span,
}

impl Finding {
    pub(super) fn new(found: &Diagnostic) -> Self {
        Self {
            code: found.code.to_owned(),
            message: found.message.clone(),
            hint: found.hint.clone(),
            span: found.span.clone(),
        }
    }

    /// The finding, if its code is one of authoring's.
    pub(super) fn into_diagnostic(self) -> Option<Diagnostic> {
        let code = *code::ALL.iter().find(|code| **code == self.code)?;
        let found = Diagnostic::error(code, &self.span, cut(self.message, 2 * MESSAGE_BYTES_MAX));
        Some(match self.hint {
            Some(hint) => found.with_hint(cut(hint, 2 * MESSAGE_BYTES_MAX)),
            None => found,
        })
    }
}

/// Findings, not more than are ever reported.
pub(super) fn findings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Finding>, D::Error> {
    at_most::<_, _, { DIAGNOSTICS_MAX + 1 }>(deserializer)
}

/// Paths, not more than are ever asked for.
pub(super) fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    at_most::<_, _, FILES_MAX>(deserializer)
}

/// A list of at most `MAX` elements: reading stops at the first one too many, not after the last.
fn at_most<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct AtMost<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = access.next_element()? {
                if items.len() == MAX {
                    return Err(de::Error::custom(format_args!("more than {MAX} elements")));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(AtMost::<T, MAX>(PhantomData))
}
