//! An answer that fits a schema: by the provider where the model keeps to one, and by asking again where not, a bounded
//! number of times, each time with what was wrong.

use wf_ir::Value;
use wf_kernel::Amount;

use super::error::ModelError;
use super::price::{Price, estimate};
use super::request::{Call, Delta, Message, Model, ModelRequest, Response, Speaker, Stop};
use super::usage::ModelUsage;
use crate::contract::{BoxFuture, CancelToken};

/// How often is asked again at most, where nothing else is said.
pub const REPAIRS_MAX: u32 = 2;
/// Most characters of a reason that a model is told.
const REASON_CHARS_MAX: usize = 2_000;

/// Whoever holds the budget that a leaf draws on. What its first call can use was reserved before the leaf started.
pub trait Budget: Send + Sync {
    /// Reserves more; says whether there is so much.
    fn more(&self, amount: Amount) -> BoxFuture<'_, bool>;

    /// Takes in what was spent so far, for questions to come.
    fn spent(&self, amount: Amount) {
        let _ = amount;
    }
}

/// What an answer must be.
pub struct Wish<'a> {
    /// JSON Schema; none is text.
    pub schema: Option<&'a Value>,
    /// Whether the model keeps to a schema by itself.
    pub is_native: bool,
    /// How often is asked again.
    pub repairs_max: u32,
    /// What the model costs.
    pub price: Option<Price>,
    /// What further calls draw on.
    pub budget: &'a dyn Budget,
}

/// An answer that is as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its value: text where there is no schema.
    pub value: Value,
    /// What all calls used.
    pub usage: ModelUsage,
    /// The model that answered, as the server names it.
    pub model: String,
    /// How many calls there were.
    pub calls: u32,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// A call failed; its usage is that of all calls.
    Model(ModelError),
    /// The last answer did not fit either.
    Unfit {
        /// Why.
        reason: String,
        /// What all calls used.
        usage: ModelUsage,
    },
    /// The model, or its provider, does not want to answer.
    Refused {
        /// What it said.
        said: String,
        /// What all calls used.
        usage: ModelUsage,
    },
    /// There is no budget for asking again.
    OverBudget {
        /// What was wrong with the last answer.
        reason: String,
        /// What all calls used.
        usage: ModelUsage,
    },
}

/// Asks until the answer is as `wish` says.
///
/// # Errors
/// When it never is.
pub async fn ask(
    model: &dyn Model,
    mut request: ModelRequest,
    wish: &Wish<'_>,
    cancel: &CancelToken,
    seen: &mut (dyn FnMut(Delta<'_>) + Send),
) -> Result<Answer, NoAnswer> {
    state_schema(&mut request, wish);
    let mut usage = ModelUsage::NOTHING;
    let mut calls = 0;
    loop {
        let asked = model.respond(&request, Call { cancel, seen: &mut *seen }).await;
        calls += 1;
        let response = asked.map_err(|error| {
            let usage = usage.plus(error.usage);
            NoAnswer::Model(error.after(usage))
        })?;
        usage = usage.plus(response.usage);
        let said = response.text();
        if response.stop == Stop::Refused {
            return Err(NoAnswer::Refused { said, usage });
        }
        let reason = match read(&response, &said, wish.schema) {
            Ok(value) => return Ok(Answer { value, usage, model: response.model, calls }),
            Err(reason) => reason,
        };
        if calls > wish.repairs_max {
            return Err(NoAnswer::Unfit { reason, usage });
        }
        request.messages.push(Message::text(Speaker::Assistant, said));
        request.messages.push(Message::text(Speaker::User, complaint(&reason)));
        if !wish.budget.more(estimate(&request, wish.price.as_ref())).await {
            return Err(NoAnswer::OverBudget { reason, usage });
        }
    }
}

/// Says what is wanted, where the provider does not see to it.
fn state_schema(request: &mut ModelRequest, wish: &Wish<'_>) {
    let Some(schema) = wish.schema else { return };
    if wish.is_native {
        request.output = Some(schema.clone());
        return;
    }
    if !request.system.is_empty() {
        request.system.push_str("\n\n");
    }
    request.system.push_str(&format!(
        "Answer with one JSON value and nothing else: no prose, no code fence. It must fit this JSON Schema:\n{}",
        schema.to_json()
    ));
}

fn complaint(reason: &str) -> String {
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    format!("Your answer cannot be used: {reason}\nAnswer again, complete, and see to it that this is put right.")
}

fn read(response: &Response, said: &str, schema: Option<&Value>) -> Result<Value, String> {
    match response.stop {
        Stop::OutputFull => return Err("it was cut off, because it is longer than it may be".to_owned()),
        Stop::ContextFull => return Err("it was cut off, because the conversation is too long".to_owned()),
        Stop::End | Stop::ToolCalls | Stop::Refused | Stop::Other => {}
    }
    if said.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    match schema {
        None => Ok(Value::from(said)),
        Some(schema) => {
            let value = value(said)?;
            wf_ir::types::check_schema(schema, &value)?;
            Ok(value)
        }
    }
}

/// The JSON value that a text is, or holds in a code fence.
pub(crate) fn value(text: &str) -> Result<Value, String> {
    let text = text.trim();
    let first = match Value::from_json(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let fenced = text.split_once("```").and_then(|(_, rest)| {
        let (_, body) = rest.split_once('\n')?;
        body.rsplit_once("```").map(|(body, _)| body)
    });
    fenced.and_then(|body| Value::from_json(body.trim()).ok()).ok_or_else(|| format!("it is not JSON: {first}"))
}
