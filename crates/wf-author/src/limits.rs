//! Named limits of authoring, beside those of the definition. Each is printed by the error that hits it.

pub use wf_ir::limits::{DEPTH_MAX, SOURCE_BYTES_MAX};

/// Deepest nesting of maps and lists in a draft: two levels for each level of nodes, and room for values below them.
pub const DRAFT_DEPTH_MAX: usize = 3 * DEPTH_MAX;
/// Most values (scalars, lists and maps) in a draft.
pub const DRAFT_VALUES_MAX: usize = 250_000;
/// Most bytes of text in a draft, each use of a text counted.
pub const DRAFT_TEXT_BYTES_MAX: usize = 16 << 20;

/// Most files that one workflow may name by `load` and `file`.
pub const FILES_MAX: usize = 64;
/// Most bytes in all those files together.
pub const FILES_BYTES_MAX: usize = 4 << 20;
/// Longest path of a file.
pub const PATH_BYTES_MAX: usize = 512;
/// Longest chain of files that load each other.
pub const LOAD_DEPTH_MAX: usize = 16;

/// Deepest nesting of brackets in a Starlark source.
pub const BRACKETS_MAX: usize = 200;
/// Stack that compiling needs for sources within the limits, in builds without optimisation too. Whoever calls
/// [`crate::compile()`] or [`crate::protocol::serve`] provides it.
pub const STACK_BYTES: usize = 16 << 20;
/// Most function calls and loop turns of a Starlark program.
pub const STARLARK_TICKS_MAX: u64 = 500_000;
/// Most bytes on the heap of a Starlark program.
pub const STARLARK_HEAP_BYTES_MAX: usize = 256 << 20;
/// Deepest nesting of calls in a Starlark program.
pub const STARLARK_CALLS_MAX: usize = 100;
/// Most values that a Starlark program may hand to the functions that make nodes, whether they are used or not.
pub const STARLARK_VALUES_MAX: usize = 2 * DRAFT_VALUES_MAX;
/// Most bytes of text that a Starlark program may hand to them.
pub const STARLARK_TEXT_BYTES_MAX: usize = 2 * DRAFT_TEXT_BYTES_MAX;

/// Most aliases in a YAML source.
pub const YAML_ALIASES_MAX: usize = 10_000;

/// Most findings that are reported at once.
pub const DIAGNOSTICS_MAX: usize = 100;
/// Longest message or hint of a finding, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 2 << 10;

/// Longest request to a compiling process, in bytes.
pub const REQUEST_BYTES_MAX: usize = 6 * (SOURCE_BYTES_MAX + FILES_BYTES_MAX) + (64 << 10);
/// Longest answer of a compiling process, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 96 << 20;
