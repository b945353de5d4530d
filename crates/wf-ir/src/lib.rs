//! The definition of a workflow.
//!
//! This crate holds what a workflow *is*: values, typed nodes, expressions, globs, budgets and permissions, the
//! validator that is the only maker of a [`Workflow`], its canonical form and its hash, and the diagnostics that
//! validation gives.
//!
//! It is the first crate of the flow: `wf-author` makes a [`Draft`], [`validate()`] turns it into a [`Workflow`],
//! `wf-kernel` decides over it.
//!
//! It never does IO, reads a clock or the environment, logs, or runs anything asynchronously.
//!
//! Start reading at [`Draft`], then [`node`], then [`validate()`].

mod canonical;
pub mod codes;
pub mod diagnostic;
pub mod digest;
pub mod draft;
pub mod expr;
pub mod fields;
pub mod glob;
pub mod limits;
pub mod node;
mod preflight;
mod schema;
pub mod template;
pub mod types;
mod validate;
pub mod value;

pub use canonical::CanonicalError;
pub use diagnostic::{Diagnostic, Severity};
pub use digest::Digest;
pub use draft::{Draft, Key, Span, Spanned, SpannedValue};
pub use expr::{EvalError, Expr};
pub use glob::Glob;
pub use node::{Kind, Node, NodeIx, Status, Workflow};
pub use preflight::{Catalog, DEFAULT_ROLE, RoleStatus, preflight, unsupported};
pub use schema::definition_schema;
pub use types::Type;
pub use validate::validate;
pub use value::{Decimal, Value};
