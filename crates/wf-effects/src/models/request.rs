//! What is asked of a model, and what it answers.

use std::collections::BTreeMap;

use wf_ir::Value;

use super::error::ModelError;
use super::usage::ModelUsage;
use crate::contract::{BoxFuture, CancelToken};

/// Something that answers.
pub trait Model: Send + Sync {
    /// Answers once. Whatever a server does, this ends within the provider's timeouts and bounds.
    fn respond<'a>(&'a self, request: &'a ModelRequest, call: Call<'a>) -> BoxFuture<'a, Result<Response, ModelError>>;
}

/// All that is asked, in the order in which a provider's cache sees it: tools, system, messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelRequest {
    /// What it is told first.
    pub system: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// What it may call.
    pub tools: Vec<ToolSpec>,
    /// JSON Schema that the answer's text must fit; only for models with the feature `json`.
    pub output: Option<Value>,
    /// Most tokens that it may write.
    pub output_tokens_max: u32,
    /// Further fields of the provider's request, e.g. `temperature`. Those that adapters write themselves win.
    pub params: BTreeMap<String, Value>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Speaker,
    /// What is said.
    pub parts: Vec<Part>,
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
    /// The tools that it called.
    Tool,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// The model wants a tool called.
    ToolCall {
        /// The call, unique within a conversation.
        id: String,
        /// The tool, as the model names it; it may not exist.
        name: String,
        /// Its arguments. Text where the model wrote something that is no JSON object.
        arguments: Value,
    },
    /// What came of a call.
    ToolResult {
        /// The call.
        id: String,
        /// What the model is shown.
        text: String,
        /// Whether it did not work.
        is_error: bool,
    },
    /// Reasoning, in the provider's own form: nobody reads it, but some providers want it back.
    Reasoning(Value),
}

/// A tool that a model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolSpec {
    /// Its name: letters, digits, `_` and `-`.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its arguments, an object.
    pub parameters: Value,
}

/// What goes with one call.
pub struct Call<'a> {
    /// Ends it.
    pub cancel: &'a CancelToken,
    /// Gets what comes while it comes, for the trace only.
    pub seen: &'a mut (dyn FnMut(Delta<'_>) + Send),
}

/// Something that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delta<'a> {
    /// Text.
    Text(&'a str),
    /// Reasoning.
    Reasoning(&'a str),
    /// A tool call begins.
    ToolCall(&'a str),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// What it says, in order.
    pub parts: Vec<Part>,
    /// Why it ended.
    pub stop: Stop,
    /// What it used.
    pub usage: ModelUsage,
    /// The model that answered, as the server names it.
    pub model: String,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is complete.
    End,
    /// It wants tools called.
    ToolCalls,
    /// It has as many tokens as it may have.
    OutputFull,
    /// The conversation is longer than the model can read.
    ContextFull,
    /// The model or its provider does not want to say it.
    Refused,
    /// Something that this version does not know.
    Other,
}

impl Message {
    /// A message of one text.
    pub fn text(role: Speaker, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::Text(text.into())] }
    }
}

impl Response {
    /// All its text.
    pub fn text(&self) -> String {
        self.parts
            .iter()
            .filter_map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::ToolCall { .. } | Part::ToolResult { .. } | Part::Reasoning(_) => None,
            })
            .collect()
    }
}

/// Tokens that a message costs beside its text.
const MESSAGE_TOKENS: u64 = 16;
/// Tokens that having tools at all costs.
const TOOLS_TOKENS: u64 = 1_024;

impl ModelRequest {
    /// At least as many tokens as it has. Tokenizers differ: two bytes a token is more than any needs for prose, code,
    /// or scripts of three bytes a character.
    pub fn input_tokens_max(&self) -> u64 {
        let mut bytes = self.system.len();
        for tool in &self.tools {
            bytes += tool.name.len() + tool.description.len() + tool.parameters.to_json().len();
        }
        bytes += self.output.as_ref().map_or(0, |schema| schema.to_json().len());
        let tools = if self.tools.is_empty() { 0 } else { TOOLS_TOKENS };
        (bytes as u64).div_ceil(2) + MESSAGE_TOKENS + tools + messages_tokens_max(&self.messages)
    }
}

/// At least as many tokens as these messages have.
pub fn messages_tokens_max(messages: &[Message]) -> u64 {
    let bytes: usize = messages
        .iter()
        .flat_map(|message| &message.parts)
        .map(|part| match part {
            Part::Text(text) => text.len(),
            Part::ToolCall { id, name, arguments } => id.len() + name.len() + arguments.to_json().len(),
            Part::ToolResult { id, text, .. } => id.len() + text.len(),
            Part::Reasoning(value) => value.to_json().len(),
        })
        .sum();
    (bytes as u64).div_ceil(2) + MESSAGE_TOKENS * messages.len() as u64
}
