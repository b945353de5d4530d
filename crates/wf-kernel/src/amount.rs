//! What work costs.

use serde::{Deserialize, Serialize};

/// What a leaf used, as the provider reported it. Unknown figures are absent, never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read, cached ones included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Of the tokens read, those from the provider's prompt cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Millionths of a US dollar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd_micros: Option<u64>,
}

impl Usage {
    /// The sum, where unknown and known is known.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let add = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (some, None) | (None, some) => some,
        };
        Self {
            input_tokens: add(self.input_tokens, other.input_tokens),
            output_tokens: add(self.output_tokens, other.output_tokens),
            cached_tokens: add(self.cached_tokens, other.cached_tokens),
            cost_usd_micros: add(self.cost_usd_micros, other.cost_usd_micros),
        }
    }

    /// As an amount of a budget; what is unknown counts as `fallback`.
    pub fn amount_or(self, fallback: Amount) -> Amount {
        let tokens = match (self.input_tokens, self.output_tokens) {
            (None, None) => fallback.tokens,
            (input, output) => input.unwrap_or(0).saturating_add(output.unwrap_or(0)),
        };
        Amount { tokens, cost_usd_micros: self.cost_usd_micros.unwrap_or(fallback.cost_usd_micros) }
    }
}

/// Part of a budget: reserved before a call, settled after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Input and output tokens.
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub cost_usd_micros: u64,
}

impl Amount {
    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            cost_usd_micros: self.cost_usd_micros.saturating_add(other.cost_usd_micros),
        }
    }

    /// The larger of each part.
    #[must_use]
    pub fn at_least(self, other: Self) -> Self {
        Self { tokens: self.tokens.max(other.tokens), cost_usd_micros: self.cost_usd_micros.max(other.cost_usd_micros) }
    }

    /// The difference, at least nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            cost_usd_micros: self.cost_usd_micros.saturating_sub(other.cost_usd_micros),
        }
    }
}
