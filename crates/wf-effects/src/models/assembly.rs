//! An answer that comes in pieces, put together within bounds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use wf_ir::Value;

use super::bounds::{ANSWER_BYTES_MAX, NAME_BYTES_MAX, PARTS_MAX, TOKENS_MAX, TOOL_CALLS_MAX};
use super::error::{ModelError, ModelErrorKind};
use super::request::{Part, Response, Stop};
use super::usage::ModelUsage;

/// A part that may still grow.
#[derive(Debug)]
pub(super) enum Draft {
    Text(String),
    Call {
        id: String,
        name: String,
        arguments: String,
    },
    /// Reasoning: its fields, of which texts grow.
    Reasoning(BTreeMap<String, Value>),
}

/// An answer so far.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    drafts: BTreeMap<u64, Draft>,
    bytes: usize,
    pub(super) stop: Option<Stop>,
    pub(super) usage: ModelUsage,
    pub(super) model: String,
}

impl Assembly {
    /// Nothing yet, of the model that is asked.
    pub(super) fn of(model: &str) -> Self {
        Self { model: model.to_owned(), ..Self::default() }
    }

    /// The answer after its stream has ended, or the error with what was used until then.
    pub(super) fn end(self, streamed: Result<(), ModelError>) -> Result<Response, ModelError> {
        match streamed {
            Ok(()) => self.finish(),
            Err(error) if self.usage == ModelUsage::default() => Err(error),
            Err(error) => Err(error.after(self.usage)),
        }
    }

    /// The draft at `index`, made by `begin` where there is none.
    pub(super) fn at(&mut self, index: u64, begin: impl FnOnce() -> Draft) -> Result<&mut Draft, ModelError> {
        if !self.drafts.contains_key(&index) {
            if self.drafts.len() >= PARTS_MAX {
                return Err(too_large(format!("the answer has more than {PARTS_MAX} parts")));
            }
            let draft = begin();
            let calls = self.drafts.values().filter(|draft| matches!(draft, Draft::Call { .. })).count();
            if matches!(draft, Draft::Call { .. }) && calls >= TOOL_CALLS_MAX {
                return Err(too_large(format!("the answer has more than {TOOL_CALLS_MAX} tool calls")));
            }
            self.drafts.insert(index, draft);
        }
        self.drafts.get_mut(&index).ok_or_else(|| malformed("a part of the answer is missing"))
    }

    /// The draft at `index`, if there is one.
    pub(super) fn known(&mut self, index: u64) -> Option<&mut Draft> {
        self.drafts.get_mut(&index)
    }

    /// Counts what is about to be kept.
    pub(super) fn count(&mut self, bytes: usize) -> Result<(), ModelError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > ANSWER_BYTES_MAX {
            return Err(too_large(format!("the answer says more than {ANSWER_BYTES_MAX} bytes")));
        }
        Ok(())
    }

    /// How many parts there are.
    pub(super) fn len(&self) -> usize {
        self.drafts.len()
    }

    /// The answer, if it is complete.
    fn finish(self) -> Result<Response, ModelError> {
        let Some(mut stop) = self.stop else {
            return Err(malformed("the answer ended in the middle").after(self.usage));
        };
        let mut ids = BTreeSet::new();
        let mut parts = Vec::new();
        for (number, draft) in self.drafts.into_values().enumerate() {
            match draft {
                Draft::Text(text) if text.is_empty() => {}
                Draft::Text(text) => parts.push(Part::Text(text)),
                Draft::Reasoning(fields) => parts.push(Part::Reasoning(Value::Map(fields))),
                Draft::Call { id, name, arguments } => {
                    // Some servers give no ids, and a result must find its call.
                    let id = if id.is_empty() || ids.contains(&id) { format!("call_{number}") } else { id };
                    ids.insert(id.clone());
                    parts.push(Part::ToolCall { id, name, arguments: object(arguments) });
                }
            }
        }
        if stop == Stop::End && !ids.is_empty() {
            stop = Stop::ToolCalls;
        }
        Ok(Response { parts, stop, usage: self.usage, model: self.model })
    }
}

/// Arguments of a call: an object, or the text that is none.
fn object(arguments: String) -> Value {
    if arguments.trim().is_empty() {
        return Value::Map(BTreeMap::new());
    }
    match Value::from_json(&arguments) {
        Ok(value @ Value::Map(_)) => value,
        _ => Value::Str(arguments),
    }
}

pub(super) fn malformed(message: impl AsRef<str>) -> ModelError {
    ModelError::new(ModelErrorKind::Malformed, message)
}

fn too_large(message: impl AsRef<str>) -> ModelError {
    ModelError::new(ModelErrorKind::TooLarge, message)
}

/// A name or id as a server wrote it.
pub(super) fn name(text: String) -> Result<String, ModelError> {
    if text.len() > NAME_BYTES_MAX {
        return Err(too_large(format!("a name in the answer is longer than {NAME_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// A count of tokens. What is no count is unknown.
pub(super) fn tokens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_u64().map(|count| count.min(TOKENS_MAX)))
}

/// Whatever text stands there; anything else is none.
pub(super) fn lenient_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}
