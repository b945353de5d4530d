//! Named limits of a definition. Each is printed by the error that hits it.

/// Longest source text of one file, in bytes.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of nodes (and of values in a draft).
pub const DEPTH_MAX: usize = 64;
/// Most nodes in one workflow.
pub const NODES_MAX: usize = 20_000;
/// Most leaves one run may start unless its budget raises it.
pub const RUN_LEAVES_MAX: u64 = 20_000;
/// Largest value kept inline in a record, in bytes of JSON; larger ones are blobs.
pub const INLINE_VALUE_BYTES_MAX: usize = 64 << 10;
/// Largest value an expression may read, in bytes of JSON.
pub const EXPR_VALUE_BYTES_MAX: usize = 1 << 20;
/// Longest expression, in bytes.
pub const EXPR_BYTES_MAX: usize = 1 << 10;
/// Most syntax nodes in one expression.
pub const EXPR_NODES_MAX: usize = 256;
/// Most elements of one `expand`, most iterations of one loop, widest `parallel`.
pub const FAN_OUT_MAX: u64 = 20_000;
/// A log of this many records is warned about.
pub const LOG_RECORDS_WARN: u64 = 200_000;
/// A log of this many records stops its run, resumably.
pub const LOG_RECORDS_MAX: u64 = 1_000_000;
