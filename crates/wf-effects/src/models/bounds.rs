//! What a server can make us keep, at most. What hits a bound ends as [`TooLarge`](super::ModelErrorKind::TooLarge).

/// Most bytes of one answer on the wire. Each token comes in an event of a few hundred bytes.
pub const WIRE_BYTES_MAX: u64 = 128 << 20;
/// Most bytes of what an answer says: text, reasoning and arguments of tool calls together.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Most bytes of one event of a stream.
pub const EVENT_BYTES_MAX: usize = 1 << 20;
/// Most bytes that are read of an answer which is an error.
pub const ERROR_BYTES_MAX: usize = 64 << 10;
/// Most characters of a provider's own words in an error.
pub const ERROR_CHARS_MAX: usize = 500;
/// Most tool calls in one answer.
pub const TOOL_CALLS_MAX: usize = 64;
/// Most parts (texts, reasoning, tool calls) in one answer.
pub const PARTS_MAX: usize = 256;
/// Longest name of a tool and longest id of a call that is taken from a server, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Largest count of tokens that is believed; a larger one counts as this.
pub const TOKENS_MAX: u64 = 1_000_000_000_000;
/// Longest that a provider can ask to be left alone. What it asks beyond is asked again then.
pub const RETRY_AFTER_MS_MAX: u64 = 60 * 60 * 1_000;
