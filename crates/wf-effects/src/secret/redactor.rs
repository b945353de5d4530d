//! Finds secrets in what is about to be written, and writes something else instead.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};

use super::Secret;
use super::forms::forms;

/// A shorter secret is not looked for: it would be found in words that have nothing to do with it.
pub const SECRET_BYTES_MIN: usize = 8;
/// What stands in a secret's place.
pub(super) const MARK: &str = "[redacted]";

/// Replaces the secrets that it was told of, in every form in which they may turn up. A clone is another handle on the
/// same one. Without secrets it does nothing and costs nothing.
#[derive(Clone, Default)]
pub struct Redactor {
    state: Arc<RwLock<State>>,
}

/// What it was told, and what that came to when it was last needed.
#[derive(Default)]
struct State {
    forms: BTreeSet<String>,
    known: Option<Arc<Known>>,
}

/// The forms of all secrets. They have to be in memory to be found; nothing shows them.
struct Known {
    forms: BTreeSet<String>,
    longest: usize,
    search: AhoCorasick,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// Tells it of a secret. What was written before is not looked at again.
    pub fn learn(&self, secret: &Secret) {
        let text = secret.expose().trim();
        if text.len() < SECRET_BYTES_MIN {
            return;
        }
        let forms = forms(text);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if !forms.is_subset(&state.forms) {
            state.forms.extend(forms);
            state.known = None;
        }
    }

    /// Whether it knows of any secret.
    pub fn is_idle(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).forms.is_empty()
    }

    /// Whether there is a secret in `text`.
    pub fn finds(&self, text: &str) -> bool {
        self.known().is_some_and(|known| known.search.is_match(text))
    }

    /// The text without secrets.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.known() {
            Some(known) if known.search.is_match(text) => Cow::Owned(without(text, &known.found(text.as_bytes()))),
            Some(_) | None => Cow::Borrowed(text),
        }
    }

    /// The bytes without secrets.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(known) = self.known().filter(|known| known.search.is_match(bytes)) else {
            return Cow::Borrowed(bytes);
        };
        let (mut kept, mut from) = (Vec::with_capacity(bytes.len()), 0);
        for found in known.found(bytes) {
            kept.extend_from_slice(&bytes[from..found.start]);
            kept.extend_from_slice(MARK.as_bytes());
            from = found.end;
        }
        kept.extend_from_slice(&bytes[from..]);
        Cow::Owned(kept)
    }

    /// For text that comes in pieces, a secret across several of them.
    pub fn stream(&self) -> RedactorStream {
        RedactorStream { redactor: self.clone(), held: String::new() }
    }

    /// What it looks for; nothing without secrets. Many are told one after the other, so it is made when it is needed.
    fn known(&self) -> Option<Arc<Known>> {
        {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if state.known.is_some() || state.forms.is_empty() {
                return state.known.clone();
            }
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.known.is_none() {
            state.known = Known::of(&state.forms).map(Arc::new);
        }
        state.known.clone()
    }
}

impl Known {
    fn of(forms: &BTreeSet<String>) -> Option<Self> {
        let builder = AhoCorasick::builder().ascii_case_insensitive(true).match_kind(MatchKind::Standard).build(forms);
        let longest = forms.iter().map(String::len).max()?;
        // It fails only for more states than fit into 31 bits, which bounded keys do not have.
        Some(Self { forms: forms.clone(), longest, search: builder.ok()? })
    }

    /// Where secrets are: what overlaps is one place.
    fn found(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut all: Vec<Range<usize>> = self.search.find_overlapping_iter(bytes).map(|it| it.range()).collect();
        all.sort_by_key(|it| it.start);
        let mut merged: Vec<Range<usize>> = Vec::new();
        for range in all {
            match merged.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                Some(_) | None => merged.push(range),
            }
        }
        merged
    }

    /// Where the end of a text begins that may be the beginning of a secret.
    fn unfinished(&self, text: &str) -> usize {
        let lower = text.to_ascii_lowercase();
        let earliest = lower.len().saturating_sub(self.longest.saturating_sub(1));
        let begins = |at: &usize| {
            let end = &lower[*at..];
            self.forms
                .range(end.to_owned()..)
                .next()
                .is_some_and(|form| form.len() > end.len() && form.starts_with(end))
        };
        (earliest..lower.len()).filter(|at| lower.is_char_boundary(*at)).find(begins).unwrap_or(lower.len())
    }
}

fn without(text: &str, found: &[Range<usize>]) -> String {
    let (mut kept, mut from) = (String::with_capacity(text.len()), 0);
    for range in found {
        kept.push_str(&text[from..range.start]);
        kept.push_str(MARK);
        from = range.end;
    }
    kept.push_str(&text[from..]);
    kept
}

/// Redacts text that comes in pieces. What may be the beginning of a secret is held back until more has come.
pub struct RedactorStream {
    redactor: Redactor,
    held: String,
}

impl RedactorStream {
    /// Takes a piece, and answers with what can be shown.
    pub fn push(&mut self, piece: &str) -> String {
        let Some(known) = self.redactor.known() else {
            let mut all = std::mem::take(&mut self.held);
            all.push_str(piece);
            return all;
        };
        self.held.push_str(piece);
        let found = known.found(self.held.as_bytes());
        let mut cut = known.unfinished(&self.held);
        // A place is shown as a whole, or not yet.
        for range in found.iter().rev() {
            if range.end > cut {
                cut = cut.min(range.start);
            }
        }
        let tail = self.held.split_off(cut);
        let shown = std::mem::replace(&mut self.held, tail);
        let within: Vec<_> = found.into_iter().filter(|it| it.end <= cut).collect();
        without(&shown, &within)
    }

    /// What was held back, at the end.
    pub fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        self.redactor.text(&held).into_owned()
    }
}
