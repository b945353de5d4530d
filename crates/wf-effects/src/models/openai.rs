//! OpenAI's chat completions, streamed, as OpenAI and all those speak it who are compatible with it. What only some of
//! them have is taken where it comes, and sent only where a model is said to want it.

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

/// The last event of a stream.
const DONE: &str = "[DONE]";
/// Where reasoning, text and the first tool call stand in an answer.
const REASONING_AT: u64 = 0;
const TEXT_AT: u64 = 1;
const CALLS_AT: u64 = 2;
/// The name that a schema goes by.
const SCHEMA_NAME: &str = "answer";

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
    let post = Post { path: "/chat/completions", auth: Auth::Bearer, headers: &[], body };
    let streamed = wire.stream(post, cancel, &mut |event| take(&mut answer, event, seen)).await;
    answer.end(streamed)
}

fn body(model: &str, features: &BTreeSet<Feature>, request: &ModelRequest) -> Value {
    let mut fields = request.params.clone();
    fields.remove(super::anthropic::PROMPT_CACHE);
    let mut set = |field: &str, value: Value| drop(fields.insert(field.to_owned(), value));
    set("model", model.into());
    set("stream", true.into());
    set("stream_options", Value::map([("include_usage", Value::from(true))]));
    let cap = if features.contains(&Feature::MaxCompletionTokens) { "max_completion_tokens" } else { "max_tokens" };
    set(cap, Value::Int(i64::from(request.output_tokens_max)));
    let mut messages = Vec::new();
    if !request.system.is_empty() {
        messages.push(Value::map([("role", "system".into()), ("content", request.system.as_str().into())]));
    }
    let reasoning_back = features.contains(&Feature::ReasoningBack);
    request.messages.iter().for_each(|message| write_message(message, reasoning_back, &mut messages));
    set("messages", Value::List(messages));
    if !request.tools.is_empty() {
        set("tools", Value::List(request.tools.iter().map(tool).collect()));
    }
    if let Some(schema) = &request.output {
        let schema = Value::map([
            ("name", SCHEMA_NAME.into()),
            ("strict", is_strict(schema).into()),
            ("schema", schema.clone()),
        ]);
        set("response_format", Value::map([("type", "json_schema".into()), ("json_schema", schema)]));
    }
    Value::Map(fields)
}

fn tool(tool: &ToolSpec) -> Value {
    let function = Value::map([
        ("name", tool.name.as_str().into()),
        ("description", tool.description.as_str().into()),
        ("parameters", tool.parameters.clone()),
    ]);
    Value::map([("type", "function".into()), ("function", function)])
}

fn write_message(message: &Message, reasoning_back: bool, messages: &mut Vec<Value>) {
    let mut text = String::new();
    let mut calls = Vec::new();
    let mut reasoning = BTreeMap::new();
    for part in &message.parts {
        match part {
            Part::Text(more) => text.push_str(more),
            Part::ToolCall { id, name, arguments } => {
                let arguments = arguments.as_str().map_or_else(|| arguments.to_json(), str::to_owned);
                let function = Value::map([("name", name.as_str().into()), ("arguments", arguments.into())]);
                let call = [("id", id.as_str().into()), ("type", "function".into()), ("function", function)];
                calls.push(Value::map(call));
            }
            Part::ToolResult { id, text, is_error: _ } => messages.push(Value::map([
                ("role", "tool".into()),
                ("tool_call_id", id.as_str().into()),
                ("content", text.as_str().into()),
            ])),
            Part::Reasoning(value) if reasoning_back => reasoning.extend(value.as_map().cloned().unwrap_or_default()),
            Part::Reasoning(_) => {}
        }
    }
    let role = match message.role {
        Speaker::User => "user",
        Speaker::Assistant => "assistant",
        Speaker::Tool => return,
    };
    let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { Value::Str(text) };
    let mut fields = reasoning;
    fields.insert("role".to_owned(), role.into());
    fields.insert("content".to_owned(), content);
    if !calls.is_empty() {
        fields.insert("tool_calls".to_owned(), Value::List(calls));
    }
    messages.push(Value::Map(fields));
}

/// Whether a schema is of the kind that `strict` wants: each object names all its properties as required and allows no
/// others.
fn is_strict(schema: &Value) -> bool {
    match schema {
        Value::Map(fields) => {
            let is_object = fields.get("type").and_then(Value::as_str) == Some("object");
            let required = fields.get("required").and_then(Value::as_list).unwrap_or(&[]);
            let is_required = |name: &String| required.iter().any(|it| it.as_str() == Some(name));
            let properties = fields.get("properties").and_then(Value::as_map);
            let is_closed = fields.get("additionalProperties").and_then(Value::as_bool) == Some(false)
                && properties.is_some_and(|properties| properties.keys().all(is_required));
            (!is_object || is_closed) && fields.values().all(is_strict)
        }
        Value::List(items) => items.iter().all(is_strict),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Decimal(_) | Value::Str(_) => true,
    }
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default, deserialize_with = "lenient_text")]
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<UsageText>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    delta: Option<Said>,
    /// Where a server does not stream.
    message: Option<Said>,
    #[serde(default, deserialize_with = "lenient_text")]
    finish_reason: Option<String>,
    usage: Option<UsageText>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<CallText>>,
}

#[derive(Deserialize)]
struct CallText {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionText>,
}

#[derive(Deserialize)]
struct FunctionText {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct UsageText {
    #[serde(default, deserialize_with = "tokens")]
    prompt_tokens: Option<u64>,
    #[serde(default, deserialize_with = "tokens")]
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    /// DeepSeek's word.
    #[serde(default, deserialize_with = "tokens")]
    prompt_cache_hit_tokens: Option<u64>,
    /// Moonshot's word.
    #[serde(default, deserialize_with = "tokens")]
    cached_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default, deserialize_with = "tokens")]
    cached_tokens: Option<u64>,
    #[serde(default, deserialize_with = "tokens")]
    cache_write_tokens: Option<u64>,
    #[serde(default, deserialize_with = "tokens")]
    reasoning_tokens: Option<u64>,
}

impl UsageText {
    fn usage(self) -> ModelUsage {
        let read = self.prompt_tokens_details.unwrap_or_default();
        let written = self.completion_tokens_details.unwrap_or_default();
        ModelUsage {
            input_tokens: self.prompt_tokens,
            output_tokens: self.completion_tokens,
            cached_tokens: read.cached_tokens.or(self.prompt_cache_hit_tokens).or(self.cached_tokens),
            cache_write_tokens: read.cache_write_tokens,
            reasoning_tokens: written.reasoning_tokens,
        }
    }
}

fn take(
    answer: &mut Assembly,
    event: SseEvent<'_>,
    seen: &mut (dyn FnMut(Delta<'_>) + Send),
) -> Result<Flow, ModelError> {
    if event.data.trim() == DONE {
        return Ok(Flow::Done);
    }
    let chunk: Chunk = serde_json::from_str(event.data)
        .map_err(|error| malformed(format!("an event of the answer is not of the protocol: {error}")))?;
    if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
        return Err(refusal(&error));
    }
    if let Some(model) = chunk.model.filter(|model| !model.is_empty()) {
        answer.model = name(model)?;
    }
    if let Some(usage) = chunk.usage {
        answer.usage = usage.usage();
    }
    // Only one was asked for.
    for choice in chunk.choices.unwrap_or_default().into_iter().filter(|choice| choice.index == 0) {
        if let Some(usage) = choice.usage {
            answer.usage = usage.usage();
        }
        if let Some(said) = choice.delta.or(choice.message) {
            take_said(answer, said, seen)?;
        }
        if let Some(reason) = choice.finish_reason {
            answer.stop = Some(stop(&reason)?);
        }
    }
    Ok(Flow::More)
}

fn take_said(answer: &mut Assembly, said: Said, seen: &mut (dyn FnMut(Delta<'_>) + Send)) -> Result<(), ModelError> {
    let reasoning = [("reasoning_content", said.reasoning_content), ("reasoning", said.reasoning)];
    for (field, text) in reasoning.into_iter().filter_map(|(field, text)| Some((field, text?))) {
        answer.count(text.len())?;
        seen(Delta::Reasoning(&text));
        if let Draft::Reasoning(fields) = answer.at(REASONING_AT, || Draft::Reasoning(BTreeMap::new()))?
            && let Value::Str(known) = fields.entry(field.to_owned()).or_insert_with(|| "".into())
        {
            known.push_str(&text);
        }
    }
    for text in [said.content, said.refusal].into_iter().flatten().filter(|text| !text.is_empty()) {
        answer.count(text.len())?;
        seen(Delta::Text(&text));
        if let Draft::Text(known) = answer.at(TEXT_AT, || Draft::Text(String::new()))? {
            known.push_str(&text);
        }
    }
    for call in said.tool_calls.unwrap_or_default() {
        take_call(answer, call, seen)?;
    }
    Ok(())
}

fn take_call(
    answer: &mut Assembly,
    call: CallText,
    seen: &mut (dyn FnMut(Delta<'_>) + Send),
) -> Result<(), ModelError> {
    let wanted = call.id.filter(|id| !id.is_empty()).map(name).transpose()?;
    let function = call.function.unwrap_or(FunctionText { name: None, arguments: None });
    let called = function.name.filter(|text| !text.is_empty()).map(name).transpose()?;
    let index = match call.index {
        Some(index) => CALLS_AT.saturating_add(index),
        // A server without indices begins a call by naming it, and goes on with the last one.
        None if called.is_some() => CALLS_AT + answer.len() as u64,
        None => (CALLS_AT + answer.len() as u64).saturating_sub(1),
    };
    answer.count(function.arguments.as_ref().map_or(0, String::len))?;
    let begin = || Draft::Call { id: String::new(), name: String::new(), arguments: String::new() };
    let Draft::Call { id, name, arguments } = answer.at(index, begin)? else {
        return Err(malformed("a piece of a tool call belongs to none"));
    };
    if let Some(wanted) = wanted {
        *id = wanted;
    }
    if let Some(called) = called {
        seen(Delta::ToolCall(&called));
        *name = called;
    }
    arguments.push_str(&function.arguments.unwrap_or_default());
    Ok(())
}

fn stop(reason: &str) -> Result<Stop, ModelError> {
    Ok(match reason {
        "stop" | "end_turn" | "eos" => Stop::End,
        "tool_calls" | "function_call" => Stop::ToolCalls,
        "length" | "max_tokens" => Stop::OutputFull,
        "model_context_window_exceeded" => Stop::ContextFull,
        "content_filter" | "sensitive" | "refusal" => Stop::Refused,
        "error" | "network_error" | "insufficient_system_resource" => {
            let message = format!("the provider could not finish the answer: {reason}");
            return Err(ModelError::new(ModelErrorKind::Overloaded { retry_after_ms: None }, message));
        }
        _ => Stop::Other,
    })
}

/// An error in the middle of a stream.
fn refusal(error: &serde_json::Value) -> ModelError {
    let said = error["message"].as_str().or(error.as_str()).unwrap_or("without a word");
    let code = ["code", "type", "status"].into_iter().find_map(|field| match &error[field] {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    let kind = match code.as_deref() {
        Some("429" | "rate_limit_exceeded" | "rate_limit_error") => {
            ModelErrorKind::Throttled { retry_after_ms: RETRY_AFTER_MS_DEFAULT }
        }
        Some("401" | "402" | "403" | "invalid_api_key" | "insufficient_quota") => ModelErrorKind::Refused,
        Some("400" | "404" | "422" | "invalid_request_error" | "context_length_exceeded") => ModelErrorKind::BadRequest,
        _ => ModelErrorKind::Overloaded { retry_after_ms: None },
    };
    ModelError::new(kind, format!("the provider broke off: {said}"))
}
