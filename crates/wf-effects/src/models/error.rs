//! Why a model did not answer: data that says what to do next. No message holds a secret, and each is bounded.

use std::fmt;

use super::bounds::ERROR_CHARS_MAX;
use super::usage::ModelUsage;

/// A call without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelError {
    /// What to do about it.
    pub kind: ModelErrorKind,
    /// For people: bounded, in one line.
    pub message: String,
    /// What it used nevertheless; unknown, unless the provider said so or nothing was sent.
    pub usage: ModelUsage,
}

/// What a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelErrorKind {
    /// The provider wants to be left alone: wait, and ask again. Uses no attempt.
    Throttled {
        /// For so long.
        retry_after_ms: u64,
    },
    /// The provider has too much to do, or something of its own is broken: ask another, or wait.
    Overloaded {
        /// For so long, if it says so.
        retry_after_ms: Option<u64>,
    },
    /// There is no connection, or it broke: ask another, or wait.
    Unreachable,
    /// It took too long: ask another, or wait.
    TimedOut(Wait),
    /// It does not know the key, or does not let it do this: nothing helps but another key.
    Refused,
    /// It does not take the request: asking the same again does not help.
    BadRequest,
    /// What came is not of its protocol, or ended in the middle: asking again may help.
    Malformed,
    /// More came than is taken.
    TooLarge,
    /// It was ended because that was asked for.
    Cancelled,
}

/// What was waited for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A connection.
    Connect,
    /// The first byte of the answer.
    FirstByte,
    /// The next piece of the answer.
    Idle,
    /// The whole answer.
    Total,
}

impl ModelError {
    /// An error of a call that may have used something.
    pub fn new(kind: ModelErrorKind, message: impl AsRef<str>) -> Self {
        Self { kind, message: in_one_line(message.as_ref()), usage: ModelUsage::default() }
    }

    /// An error of a call that was never sent.
    pub fn unsent(kind: ModelErrorKind, message: impl AsRef<str>) -> Self {
        Self { usage: ModelUsage::NOTHING, ..Self::new(kind, message) }
    }

    /// The same, after this was used.
    #[must_use]
    pub fn after(self, usage: ModelUsage) -> Self {
        Self { usage, ..self }
    }

    /// A short stable word for a failure's code.
    pub fn code(&self) -> &'static str {
        match self.kind {
            ModelErrorKind::Throttled { .. } => "throttled",
            ModelErrorKind::Overloaded { .. } => "provider_overloaded",
            ModelErrorKind::Unreachable => "provider_unreachable",
            ModelErrorKind::TimedOut(_) => "provider_timeout",
            ModelErrorKind::Refused => "provider_refused",
            ModelErrorKind::BadRequest => "provider_request",
            ModelErrorKind::Malformed => "provider_malformed",
            ModelErrorKind::TooLarge => "provider_too_large",
            ModelErrorKind::Cancelled => "cancelled",
        }
    }

    /// Whether another model, or the same one later, may do better.
    pub fn is_outage(&self) -> bool {
        match self.kind {
            ModelErrorKind::Overloaded { .. } | ModelErrorKind::Unreachable | ModelErrorKind::TimedOut(_) => true,
            ModelErrorKind::Throttled { .. }
            | ModelErrorKind::Refused
            | ModelErrorKind::BadRequest
            | ModelErrorKind::Malformed
            | ModelErrorKind::TooLarge
            | ModelErrorKind::Cancelled => false,
        }
    }

    /// Whether another attempt could end differently.
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            ModelErrorKind::Throttled { .. }
            | ModelErrorKind::Overloaded { .. }
            | ModelErrorKind::Unreachable
            | ModelErrorKind::TimedOut(_)
            | ModelErrorKind::Malformed
            | ModelErrorKind::TooLarge => true,
            ModelErrorKind::Refused | ModelErrorKind::BadRequest | ModelErrorKind::Cancelled => false,
        }
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ModelError {}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "a connection",
            Self::FirstByte => "the first byte of the answer",
            Self::Idle => "the next piece of the answer",
            Self::Total => "the whole answer",
        })
    }
}

/// Words of somebody else as they may stand in a message: bounded, without control characters.
pub(super) fn in_one_line(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.chars().take(ERROR_CHARS_MAX).map(clean).collect();
    if text.chars().nth(ERROR_CHARS_MAX).is_some() {
        line.push('…');
    }
    line
}
