//! Models over HTTP: what is asked of one, what comes back, who provides it, and what it costs.
//!
//! A [`Model`] answers one [`ModelRequest`]; whatever goes wrong is a [`ModelError`], which is data. Adapters speak one
//! protocol each: [`openai`] (chat completions, which most providers and local servers speak) and [`anthropic`]
//! (Messages). Both stream, and both keep within the bounds of [`bounds`], whatever a server sends.
//!
//! Nothing here reads configuration or the environment: a [`Catalog`] and the keys are handed in.
//!
//! Start reading at [`request`], then [`openai`].

pub mod anthropic;
mod assembly;
pub mod bounds;
pub mod catalog;
pub mod error;
pub mod http;
pub mod limiter;
pub mod openai;
pub mod outage;
pub mod price;
pub mod providers;
pub mod request;
pub mod sse;
pub mod typed;
pub mod usage;

pub use catalog::{Catalog, Feature, ModelRef, ModelSpec, ProviderKind, ProviderSpec, Resolved, RoleSpec, Unsatisfied};
pub use error::{ModelError, ModelErrorKind, Wait};
pub use price::{Price, PriceTable};
pub use providers::Providers;
pub use request::{Call, Delta, Message, Model, ModelRequest, Part, Response, Speaker, Stop, ToolSpec};
pub use usage::ModelUsage;
