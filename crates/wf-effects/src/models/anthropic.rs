//! Anthropic's Messages, streamed. Prefixes are marked for the provider's cache where a conversation will go on.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use wf_ir::Value;

use super::assembly::{Assembly, Draft, lenient_text, malformed, name, tokens};
use super::catalog::Feature;
use super::error::{ModelError, ModelErrorKind};
use super::http::{Auth, Post, RETRY_AFTER_MS_DEFAULT, Wire};
use super::request::{Call, Delta, Message, ModelRequest, Part, Response, Speaker, Stop, ToolSpec};
use super::sse::{Flow, SseEvent};
use super::usage::ModelUsage;

const VERSION: &[(&str, &str)] = &[("anthropic-version", "2023-06-01")];
/// A parameter of our own: whether prefixes are marked for the cache. Without it, those of agents are.
pub const PROMPT_CACHE: &str = "prompt_cache";
/// What is said where nothing was, because a message must not be empty.
const NOTHING: &str = "(nothing)";

/// Asks `model` of the server behind `wire`.
pub(super) async fn respond(
    wire: &Wire,
    model: &str,
    features: &BTreeSet<Feature>,
    request: &ModelRequest,
    call: Call<'_>,
) -> Result<Response, ModelError> {
    let body = body(model, features, request).to_json();
    let mut answer = Assembly::of(model);
    let Call { cancel, seen } = call;
    let post = Post { path: "/messages", auth: Auth::ApiKey, headers: VERSION, body };
    let streamed = wire.stream(post, cancel, &mut |event| take(&mut answer, event, seen)).await;
    answer.end(streamed)
}

fn body(model: &str, features: &BTreeSet<Feature>, request: &ModelRequest) -> Value {
    let mut fields = request.params.clone();
    let wanted = fields.remove(PROMPT_CACHE).as_ref().and_then(Value::as_bool);
    // A prefix that nobody reads again costs more than it saves.
    let is_cached = wanted.unwrap_or(!request.tools.is_empty());
    let mut set = |field: &str, value: Value| drop(fields.insert(field.to_owned(), value));
    set("model", model.into());
    set("stream", true.into());
    set("max_tokens", Value::Int(i64::from(request.output_tokens_max)));
    let mut messages: Vec<Value> = request.messages.iter().map(message).collect();
    if is_cached
        && let Some(Value::Map(last)) = messages.last_mut()
        && let Some(Value::List(blocks)) = last.get_mut("content")
    {
        mark(blocks);
    }
    set("messages", Value::List(messages));
    if !request.system.is_empty() {
        let mut blocks = vec![text_block(&request.system)];
        if is_cached {
            mark(&mut blocks);
        }
        set("system", Value::List(blocks));
    }
    if !request.tools.is_empty() {
        set("tools", Value::List(request.tools.iter().map(tool).collect()));
    }
    if let Some(schema) = request.output.as_ref().filter(|_| features.contains(&Feature::Json)) {
        let format = Value::map([("type", "json_schema".into()), ("schema", schema.clone())]);
        let known = fields.remove("output_config").and_then(|config| config.as_map().cloned());
        let mut config = known.unwrap_or_default();
        config.insert("format".to_owned(), format);
        fields.insert("output_config".to_owned(), Value::Map(config));
    }
    Value::Map(fields)
}

/// Marks the end of a prefix.
fn mark(blocks: &mut [Value]) {
    if let Some(Value::Map(block)) = blocks.last_mut() {
        block.insert("cache_control".to_owned(), Value::map([("type", "ephemeral".into())]));
    }
}

fn tool(tool: &ToolSpec) -> Value {
    Value::map([
        ("name", tool.name.as_str().into()),
        ("description", tool.description.as_str().into()),
        ("input_schema", tool.parameters.clone()),
    ])
}

fn text_block(text: &str) -> Value {
    Value::map([("type", "text".into()), ("text", text.into())])
}

fn message(message: &Message) -> Value {
    let mut blocks: Vec<Value> = message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Text(text) if text.trim().is_empty() => None,
            Part::Text(text) => Some(text_block(text)),
            Part::ToolCall { id, name, arguments } => {
                let input = match arguments {
                    Value::Map(_) => arguments.clone(),
                    other => Value::map([("arguments", other.clone())]),
                };
                Some(Value::map([
                    ("type", "tool_use".into()),
                    ("id", id.as_str().into()),
                    ("name", name.as_str().into()),
                    ("input", input),
                ]))
            }
            Part::ToolResult { id, text, is_error } => Some(Value::map([
                ("type", "tool_result".into()),
                ("tool_use_id", id.as_str().into()),
                ("content", if text.is_empty() { NOTHING } else { text }.into()),
                ("is_error", (*is_error).into()),
            ])),
            Part::Reasoning(value) => Some(value.clone()),
        })
        .collect();
    if blocks.is_empty() {
        blocks.push(text_block(NOTHING));
    }
    let role = if message.role == Speaker::Assistant { "assistant" } else { "user" };
    Value::map([("role", role.into()), ("content", Value::List(blocks))])
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    message: Option<Begun>,
    index: Option<u64>,
    content_block: Option<Block>,
    delta: Option<Piece>,
    usage: Option<UsageText>,
    error: Option<ErrorText>,
}

#[derive(Deserialize)]
struct Begun {
    #[serde(default, deserialize_with = "lenient_text")]
    model: Option<String>,
    usage: Option<UsageText>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    id: Option<String>,
    name: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    data: Option<String>,
}

#[derive(Deserialize)]
struct Piece {
    text: Option<String>,
    partial_json: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct UsageText {
    #[serde(default, deserialize_with = "tokens")]
    input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "tokens")]
    output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "tokens")]
    cache_read_input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "tokens")]
    cache_creation_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct ErrorText {
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<String>,
}

impl UsageText {
    /// Adds what is said here to what is known. Counts are totals of the answer, and what is read from the cache or
    /// goes into it is told apart from the rest that is read.
    fn add_to(self, known: &mut ModelUsage) {
        if let Some(fresh) = self.input_tokens {
            let cached = self.cache_read_input_tokens.or(known.cached_tokens);
            let written = self.cache_creation_input_tokens.or(known.cache_write_tokens);
            let sum = fresh.saturating_add(cached.unwrap_or(0)).saturating_add(written.unwrap_or(0));
            *known =
                ModelUsage { input_tokens: Some(sum), cached_tokens: cached, cache_write_tokens: written, ..*known };
        }
        known.output_tokens = self.output_tokens.or(known.output_tokens);
    }
}

fn take(
    answer: &mut Assembly,
    event: SseEvent<'_>,
    seen: &mut (dyn FnMut(Delta<'_>) + Send),
) -> Result<Flow, ModelError> {
    let event: Event = serde_json::from_str(event.data)
        .map_err(|error| malformed(format!("an event of the answer is not of the protocol: {error}")))?;
    match event.kind.as_str() {
        "message_start" => {
            let Some(begun) = event.message else { return Err(malformed("an answer begins without its message")) };
            if let Some(model) = begun.model {
                answer.model = name(model)?;
            }
            // What is written so far is no total: an answer that breaks off has written more.
            let usage = begun.usage.map(|usage| UsageText { output_tokens: None, ..usage });
            usage.into_iter().for_each(|usage| usage.add_to(&mut answer.usage));
        }
        "content_block_start" => {
            let (Some(index), Some(block)) = (event.index, event.content_block) else {
                return Err(malformed("a block begins without its content"));
            };
            begin(answer, index, block, seen)?;
        }
        "content_block_delta" => {
            let (Some(index), Some(piece)) = (event.index, event.delta) else {
                return Err(malformed("a piece of a block has no content"));
            };
            grow(answer, index, piece, seen)?;
        }
        "message_delta" => {
            event.usage.into_iter().for_each(|usage| usage.add_to(&mut answer.usage));
            if let Some(reason) = event.delta.and_then(|delta| delta.stop_reason) {
                answer.stop = Some(stop(&reason));
            }
        }
        "message_stop" => return Ok(Flow::Done),
        "error" => return Err(refusal(event.error)),
        // Pings, ends of blocks, and what later versions add.
        _ => {}
    }
    Ok(Flow::More)
}

fn begin(
    answer: &mut Assembly,
    index: u64,
    block: Block,
    seen: &mut (dyn FnMut(Delta<'_>) + Send),
) -> Result<(), ModelError> {
    if answer.known(index).is_some() {
        return Err(malformed("a block begins twice"));
    }
    let draft = match block.kind.as_str() {
        "text" => Draft::Text(block.text.unwrap_or_default()),
        "tool_use" => {
            let (id, name) = (name(block.id.unwrap_or_default())?, name(block.name.unwrap_or_default())?);
            seen(Delta::ToolCall(&name));
            Draft::Call { id, name, arguments: String::new() }
        }
        "thinking" | "redacted_thinking" => {
            let texts = [("thinking", block.thinking), ("signature", block.signature), ("data", block.data)];
            let mut fields = BTreeMap::from([("type".to_owned(), Value::from(block.kind))]);
            fields.extend(texts.into_iter().filter_map(|(field, text)| Some((field.to_owned(), text?.into()))));
            Draft::Reasoning(fields)
        }
        other => {
            let message = format!("the answer holds a block of the kind {other:?}, which was not asked for");
            return Err(malformed(message));
        }
    };
    let bytes = match &draft {
        Draft::Text(text) => text.len(),
        Draft::Reasoning(fields) => fields.values().filter_map(Value::as_str).map(str::len).sum(),
        Draft::Call { .. } => 0,
    };
    answer.count(bytes)?;
    answer.at(index, || draft).map(drop)
}

fn grow(
    answer: &mut Assembly,
    index: u64,
    piece: Piece,
    seen: &mut (dyn FnMut(Delta<'_>) + Send),
) -> Result<(), ModelError> {
    let texts = [&piece.text, &piece.partial_json, &piece.thinking, &piece.signature];
    answer.count(texts.into_iter().flatten().map(String::len).sum())?;
    let draft = answer.known(index).ok_or_else(|| malformed("a piece of a block comes before its beginning"))?;
    match draft {
        Draft::Text(text) => {
            let more = piece.text.unwrap_or_default();
            seen(Delta::Text(&more));
            text.push_str(&more);
        }
        Draft::Call { arguments, .. } => arguments.push_str(&piece.partial_json.unwrap_or_default()),
        Draft::Reasoning(fields) => {
            for (field, more) in [("thinking", piece.thinking), ("signature", piece.signature)] {
                let Some(more) = more else { continue };
                if field == "thinking" {
                    seen(Delta::Reasoning(&more));
                }
                if let Value::Str(known) = fields.entry(field.to_owned()).or_insert_with(|| "".into()) {
                    known.push_str(&more);
                }
            }
        }
    }
    Ok(())
}

fn stop(reason: &str) -> Stop {
    match reason {
        "end_turn" | "stop_sequence" => Stop::End,
        "tool_use" => Stop::ToolCalls,
        "max_tokens" => Stop::OutputFull,
        "model_context_window_exceeded" => Stop::ContextFull,
        "refusal" => Stop::Refused,
        _ => Stop::Other,
    }
}

/// An error in the middle of a stream.
fn refusal(error: Option<ErrorText>) -> ModelError {
    let (kind, message) = error.map_or((None, None), |error| (error.kind, error.message));
    let kind = match kind.as_deref() {
        Some("rate_limit_error") => ModelErrorKind::Throttled { retry_after_ms: RETRY_AFTER_MS_DEFAULT },
        Some("authentication_error" | "permission_error" | "billing_error") => ModelErrorKind::Refused,
        Some("invalid_request_error" | "not_found_error" | "request_too_large") => ModelErrorKind::BadRequest,
        _ => ModelErrorKind::Overloaded { retry_after_ms: None },
    };
    ModelError::new(kind, format!("the provider broke off: {}", message.as_deref().unwrap_or("without a word")))
}
