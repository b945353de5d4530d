//! A model whose turns are written down: how the mock drives the agent, without a server.

use std::collections::BTreeMap;
use std::time::Duration;

use wf_ir::Value;

use super::tools::HAND_BACK;
use crate::contract::BoxFuture;
use crate::models::{
    Call, Delta, Model, ModelError, ModelErrorKind, ModelRequest, ModelUsage, Part, Response, Speaker, Stop,
};

/// One turn: what is said, and which tools are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// What is said.
    pub text: String,
    /// Name and arguments of each call.
    pub calls: Vec<(String, Value)>,
}

/// How a script ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    /// With this result, and these further tasks.
    Result(Value, Vec<Value>),
    /// With an error.
    Error(ModelError),
}

/// A model that does as it is written.
pub struct Scripted {
    /// What it does, in order.
    pub turns: Vec<Turn>,
    /// What comes after all turns.
    pub last: Last,
    /// How long it takes for each.
    pub latency: Duration,
}

impl Scripted {
    fn turn(&self, request: &ModelRequest) -> Result<Turn, ModelError> {
        let done = request.messages.iter().filter(|message| message.role == Speaker::Assistant).count();
        if let Some(turn) = self.turns.get(done) {
            return Ok(turn.clone());
        }
        match &self.last {
            Last::Error(error) => Err(error.clone()),
            Last::Result(result, tasks) => {
                let mut arguments = BTreeMap::from([("result".to_owned(), result.clone())]);
                if !tasks.is_empty() {
                    arguments.insert("tasks".to_owned(), Value::List(tasks.clone()));
                }
                Ok(Turn { text: String::new(), calls: vec![(HAND_BACK.to_owned(), Value::Map(arguments))] })
            }
        }
    }

    async fn answer(&self, request: &ModelRequest, call: Call<'_>) -> Result<Response, ModelError> {
        if call.cancel.is_cancelled() {
            return Err(ModelError::unsent(ModelErrorKind::Cancelled, "the call was cancelled"));
        }
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let turn = self.turn(request)?;
        let number = request.messages.len();
        let mut parts = Vec::new();
        let mut bytes = turn.text.len();
        if !turn.text.is_empty() {
            (call.seen)(Delta::Text(&turn.text));
            parts.push(Part::Text(turn.text));
        }
        let stop = if turn.calls.is_empty() { Stop::End } else { Stop::ToolCalls };
        for (at, (name, arguments)) in turn.calls.into_iter().enumerate() {
            (call.seen)(Delta::ToolCall(&name));
            bytes += arguments.to_json().len();
            parts.push(Part::ToolCall { id: format!("call_{number}_{at}"), name, arguments });
        }
        // About as a real one would count.
        let usage = ModelUsage {
            input_tokens: Some(request.input_tokens_max() / 2),
            output_tokens: Some((bytes as u64).div_ceil(4)),
            ..ModelUsage::NOTHING
        };
        Ok(Response { parts, stop, usage, model: "mock".to_owned() })
    }
}

impl Model for Scripted {
    fn respond<'a>(&'a self, request: &'a ModelRequest, call: Call<'a>) -> BoxFuture<'a, Result<Response, ModelError>> {
        Box::pin(self.answer(request, call))
    }
}
