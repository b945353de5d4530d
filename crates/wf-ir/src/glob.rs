//! Globs over repository paths.
//!
//! A path is relative and is made of segments joined by `/`; a text with an empty segment, or with a segment `.` or
//! `..`, is no path and matches nothing. A glob matches a whole path, never a part of it:
//!
//! - `*` is any text within one segment, also none; `?` is one character of a segment; both take leading dots.
//! - `[abc]`, `[a-z]`, `[!abc]` and `[^abc]` are one character of a segment; `]` first and `-` first or last stand for
//!   themselves.
//! - `{a,b}` is either; alternatives may be empty, may hold slashes and may nest.
//! - `**` is only allowed as a whole segment. Followed by a slash it is any number of segments, also none: `**/x` is
//!   `x` at any depth, the root included. At the end it is at least one segment: `src/**` is everything below `src`
//!   and not `src` itself; `**` is every path.
//! - A trailing `/` means everything below: `docs/` is `docs/**`.
//! - A glob without a slash matches at the root only: `*.rs` does not match `src/main.rs`.
//! - `\` makes the next character stand for itself. Case matters.
//!
//! Whether two globs overlap and whether one contains another is decided on their automata, so it is exact: there is
//! no path that the answer forgets. Globs too large for that are refused when they are parsed.

mod automaton;
mod parse;

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use automaton::Automaton;

/// A parsed glob.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Glob {
    source: String,
    automaton: Arc<Automaton>,
}

/// A text that is no glob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} in glob {glob:?}")]
pub struct GlobError {
    /// The text.
    pub glob: String,
    /// What is wrong.
    pub reason: String,
}

impl Glob {
    /// Parses a glob.
    ///
    /// # Errors
    /// On unbalanced brackets or braces, absolute paths, `..` segments, and globs too large to compare.
    pub fn parse(source: &str) -> Result<Self, GlobError> {
        let automaton = parse::parse(source)
            .and_then(|patterns| Automaton::build(&patterns))
            .map_err(|reason| GlobError { glob: parse::shown(source), reason })?;
        Ok(Self { source: source.to_owned(), automaton: Arc::new(automaton) })
    }

    /// Its source.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether `path` (relative, with `/`) matches.
    pub fn matches(&self, path: &str) -> bool {
        self.automaton.matches(path)
    }

    /// Whether some path matches both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.witness(other).is_some()
    }

    /// A shortest path that matches both; `None` when there is none.
    pub fn witness(&self, other: &Self) -> Option<String> {
        self.automaton.common_path(&other.automaton)
    }
}

/// Whether every path that matches one of `inner` matches one of `outer`.
///
/// True is always exact. The search is bounded: false is also the answer when deciding would take more work than that,
/// which no glob written by hand comes near.
pub fn contains(outer: &[Glob], inner: &[Glob]) -> bool {
    let outer_automata: Vec<&Automaton> = outer.iter().map(|glob| glob.automaton.as_ref()).collect();
    inner.iter().all(|glob| outer.contains(glob) || glob.automaton.is_within(&outer_automata))
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Glob {}

impl PartialOrd for Glob {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Glob {
    fn cmp(&self, other: &Self) -> Ordering {
        self.source.cmp(&other.source)
    }
}

impl TryFrom<String> for Glob {
    type Error = GlobError;
    fn try_from(source: String) -> Result<Self, GlobError> {
        Self::parse(&source)
    }
}

impl From<Glob> for String {
    fn from(glob: Glob) -> Self {
        glob.source
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.source)
    }
}
