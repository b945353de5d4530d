//! Project tasks: `test`, `mutants`, `tidy`, `schema`, `bench`.
//!
//! What the project needs to be built, checked and measured, beyond what cargo does by itself. `cargo xtask test` is
//! what a person and the continuous integration run; [`tidy`] is also an ordinary test of this crate.
//!
//! It stands beside the product, which knows nothing of it: it depends on no crate of the workspace and looks at the
//! others from outside, as text, as cargo's metadata, and as a program that is run.
//!
//! It never changes a source file, except the generated ones that [`schema`] lists.
//!
//! Start reading at [`tidy`], then `test`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "tasks talk to the person or script that runs them")]

pub mod bench;
pub mod mutants;
pub mod rust_text;
pub mod schema;
pub mod test;
pub mod tidy;
pub mod workspace;
