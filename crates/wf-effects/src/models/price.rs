//! What tokens cost: micro-dollars per million of them, from the vendored table or from configuration.

use std::collections::BTreeMap;

use serde::Deserialize;
use wf_ir::{Decimal, Digest, Value};
use wf_kernel::Amount;

use super::request::ModelRequest;
use super::usage::ModelUsage;

/// The table that comes with the program.
const VENDORED: &str = include_str!("prices.toml");
const MILLION: u128 = 1_000_000;

/// Micro-dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// Of what is read.
    pub input: u64,
    /// Of what is written, reasoning included.
    pub output: u64,
    /// Of what is read from the provider's cache; none costs as much as anything else that is read.
    pub cached: Option<u64>,
    /// Of what goes into the provider's cache; none costs as much as anything else that is read.
    pub cache_write: Option<u64>,
}

impl Price {
    /// What `usage` cost in micro-dollars, rounded up; unknown where a count is. Cached tokens that are not reported
    /// cost as if nothing had been cached.
    pub fn cost(&self, usage: &ModelUsage) -> Option<u64> {
        let (input, output) = (usage.input_tokens?, usage.output_tokens?);
        let cached = usage.cached_tokens.unwrap_or(0).min(input);
        let written = usage.cache_write_tokens.unwrap_or(0).min(input - cached);
        let of = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let sum = of(input - cached - written, self.input)
            + of(cached, self.cached.unwrap_or(self.input))
            + of(written, self.cache_write.unwrap_or(self.input))
            + of(output, self.output);
        Some(u64::try_from(sum.div_ceil(MILLION)).unwrap_or(u64::MAX))
    }

    /// As configuration and records write it.
    pub fn to_value(&self) -> Value {
        let int = |micros: u64| i64::try_from(micros).map_or(Value::Null, Value::Int);
        let mut fields = vec![("input", int(self.input)), ("output", int(self.output))];
        fields.extend(self.cached.map(|price| ("cached", int(price))));
        fields.extend(self.cache_write.map(|price| ("cache_write", int(price))));
        Value::map(fields)
    }
}

/// The most that one call can use: its input at the dearest way to read it, its output at the cap.
pub fn estimate(request: &ModelRequest, price: Option<&Price>) -> Amount {
    let (input, output) = (request.input_tokens_max(), u64::from(request.output_tokens_max));
    let cost = price.and_then(|price| {
        let dearest = Price { input: price.input.max(price.cache_write.unwrap_or(0)), ..*price };
        dearest.cost(&ModelUsage {
            input_tokens: Some(input),
            output_tokens: Some(output),
            cached_tokens: Some(0),
            ..ModelUsage::default()
        })
    });
    Amount { tokens: input.saturating_add(output), cost_usd_micros: cost.unwrap_or(0) }
}

/// Prices by provider and model. What a person configures comes before what is vendored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceTable {
    rows: BTreeMap<(String, String), Price>,
    source: String,
    as_of: String,
}

/// A table that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the table of prices: {0}")]
pub struct PriceTableError(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableText {
    source: String,
    as_of: String,
    #[serde(default)]
    row: Vec<RowText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowText {
    host: String,
    model: String,
    input: Value,
    output: Value,
    cached: Option<Value>,
    cache_write: Option<Value>,
}

impl PriceTable {
    /// The one that comes with the program.
    ///
    /// # Errors
    /// When the program was built with a table that is not one; a test rules that out.
    pub fn vendored() -> Result<Self, PriceTableError> {
        Self::parse(VENDORED)
    }

    /// Reads a table.
    ///
    /// # Errors
    /// When it is no table, or a price is none.
    pub fn parse(text: &str) -> Result<Self, PriceTableError> {
        let table: TableText = toml::from_str(text).map_err(|error| PriceTableError(error.to_string()))?;
        let mut rows = BTreeMap::new();
        for row in table.row {
            let name = format!("{}: {}", row.host, row.model);
            let field = |value: &Value| {
                usd_micros(value).ok_or_else(|| PriceTableError(format!("{name}: a price is a number of at least 0")))
            };
            let price = Price {
                input: field(&row.input)?,
                output: field(&row.output)?,
                cached: row.cached.as_ref().map(field).transpose()?,
                cache_write: row.cache_write.as_ref().map(field).transpose()?,
            };
            if rows.insert((row.host, row.model), price).is_some() {
                return Err(PriceTableError(format!("{name}: there are two rows")));
            }
        }
        Ok(Self { rows, source: table.source, as_of: table.as_of })
    }

    /// The price of a model at the host of a base URL. Only the host counts: a proxy with another name may charge
    /// something else.
    pub fn get(&self, host: &str, model: &str) -> Option<&Price> {
        self.rows.get(&(host.to_owned(), model.to_owned()))
    }

    /// Where its figures are from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// As of when.
    pub fn as_of(&self) -> &str {
        &self.as_of
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What a run's costs depend on.
    pub fn digest(&self) -> Digest {
        let rows = self.rows.iter().map(|((host, model), price)| {
            Value::map([("host", host.as_str().into()), ("model", model.as_str().into()), ("price", price.to_value())])
        });
        let table = Value::map([
            ("source", self.source.as_str().into()),
            ("as_of", self.as_of.as_str().into()),
            ("rows", Value::List(rows.collect())),
        ]);
        Digest::of(table.to_json().as_bytes())
    }
}

/// Dollars as micro-dollars: what configuration writes per million tokens.
pub fn usd_micros(dollars: &Value) -> Option<u64> {
    let micros = match dollars {
        Value::Int(dollars) => Decimal::from_int(*dollars)?.micros(),
        Value::Decimal(dollars) => dollars.micros(),
        Value::Null | Value::Bool(_) | Value::Str(_) | Value::List(_) | Value::Map(_) => return None,
    };
    u64::try_from(micros).ok()
}
