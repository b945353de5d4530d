//! What a call used, as the provider reports it. What it does not report stays unknown, and is never taken for zero.

use wf_kernel::Usage;

use super::price::Price;

/// Tokens that a call, or several, used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelUsage {
    /// Tokens read, with those that came from the provider's cache and those that went into it.
    pub input_tokens: Option<u64>,
    /// Tokens written, reasoning included.
    pub output_tokens: Option<u64>,
    /// Of the tokens read, those from the provider's prompt cache.
    pub cached_tokens: Option<u64>,
    /// Of the tokens read, those that went into the provider's prompt cache.
    pub cache_write_tokens: Option<u64>,
    /// Of the tokens written, those of reasoning.
    pub reasoning_tokens: Option<u64>,
}

impl ModelUsage {
    /// Where nothing was asked.
    pub const NOTHING: Self = Self {
        input_tokens: Some(0),
        output_tokens: Some(0),
        cached_tokens: Some(0),
        cache_write_tokens: Some(0),
        reasoning_tokens: Some(0),
    };

    /// The sum. A sum of which a part is unknown is unknown: it must not look smaller than it is.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let add = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        Self {
            input_tokens: add(self.input_tokens, other.input_tokens),
            output_tokens: add(self.output_tokens, other.output_tokens),
            cached_tokens: add(self.cached_tokens, other.cached_tokens),
            cache_write_tokens: add(self.cache_write_tokens, other.cache_write_tokens),
            reasoning_tokens: add(self.reasoning_tokens, other.reasoning_tokens),
        }
    }

    /// What a record keeps of it. Without a price, or without both counts, the cost is unknown.
    pub fn with_price(self, price: Option<&Price>) -> Usage {
        Usage {
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cached_tokens: self.cached_tokens,
            cost_usd_micros: price.and_then(|price| price.cost(&self)),
        }
    }
}
