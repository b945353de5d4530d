//! Ids: runs, positions in a log, and epochs of ownership.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest text of a run id.
pub(crate) const RUN_ID_LEN_MAX: usize = 40;

/// The name of a run: 1 to 40 characters of `0-9a-z`, so that it is safe in file names, refs and URLs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Arc<str>);

/// A text that is not a run id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a run id is 1 to 40 characters of 0-9 and a-z")]
pub struct RunIdError;

impl RunId {
    /// The run id that `text` spells.
    pub fn parse(text: &str) -> Result<Self, RunIdError> {
        if text.is_empty() || !is_run_id_prefix(text) {
            return Err(RunIdError);
        }
        Ok(Self(text.into()))
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether some run id could begin with `text`.
pub(crate) fn is_run_id_prefix(text: &str) -> bool {
    text.len() <= RUN_ID_LEN_MAX && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        Self::parse(text)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunId({})", self.0)
    }
}

/// A position in a run's log. The first record is 1; 0 stands before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first record.
    pub const START: Self = Self(0);
    /// The last position that a log can have.
    pub const MAX: Self = Self(u32::MAX as u64);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number that fences a stale owner: it rises with every change of a run's owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of a run that nobody has owned yet.
    pub const NEVER_OWNED: Self = Self(0);
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_is_short_and_plain() {
        let at_most = "z".repeat(RUN_ID_LEN_MAX);
        for text in ["0", "a", "r7k2", at_most.as_str()] {
            assert_eq!(RunId::parse(text).map(|id| id.to_string()), Ok(text.to_owned()));
        }
        let too_long = "z".repeat(RUN_ID_LEN_MAX + 1);
        for text in ["", "A", "a-b", "a/b", "..", "é", "a b", "a\n", "a\0", too_long.as_str()] {
            assert_eq!(RunId::parse(text), Err(RunIdError), "{text:?}");
        }
    }
}
