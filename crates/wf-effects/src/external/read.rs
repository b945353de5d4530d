//! Reading what an agent hands back: the last thing that it said, as a value that fits.

use wf_ir::Value;
use wf_ir::types::check_schema;

use super::{Fault, Order};
use crate::process::{End, Finished};

/// Most characters of a reason or a saying that is told on.
const SHOWN_CHARS_MAX: usize = 2_000;

/// How an agent is told to hand back its result.
pub(super) fn instruction(order: &Order<'_>) -> String {
    let Order { schema, tasks_max, .. } = order;
    let (schema, tasks_max) = (*schema, *tasks_max);
    let result = match schema {
        Some(schema) => format!("one JSON value that fits this JSON Schema:\n{}", schema.to_json()),
        None => "text".to_owned(),
    };
    if tasks_max > 0 {
        return format!(
            "When you are done, end with one last message: a JSON object in a code fence (```json), and nothing after it. \
             Its field `result` is the result, its field `tasks` is a list of at most {tasks_max} further tasks (it may be \
             left out). The result is {result}"
        );
    }
    match schema {
        Some(_) => format!(
            "When you are done, end with one last message that holds the result in a code fence (```json), and nothing \
             after it. The result is {result}"
        ),
        None => "When you are done, end with one last message: it is the result.".to_owned(),
    }
}

/// The result and the further tasks of what was said last.
pub(super) fn result(said: &str, order: &Order<'_>) -> Result<(Value, Vec<Value>), String> {
    if said.trim().is_empty() {
        return Err("the last message is empty".to_owned());
    }
    let (value, tasks) = match (order.tasks_max, order.schema) {
        (0, None) => return Ok((Value::from(said.trim()), Vec::new())),
        (0, Some(_)) => (json(said)?, Vec::new()),
        (most, _) => {
            let all = json(said)?;
            let Value::Map(fields) = &all else { return Err("it is not a JSON object".to_owned()) };
            let tasks = fields.get("tasks").and_then(Value::as_list).unwrap_or(&[]).to_vec();
            if tasks.len() > most as usize {
                return Err(format!("there are {} tasks, at most {most} may be added", tasks.len()));
            }
            (fields.get("result").cloned().ok_or("`result` is missing")?, tasks)
        }
    };
    match order.schema {
        Some(schema) => check_schema(schema, &value).map_err(|reason| format!("the result does not fit: {reason}"))?,
        None if value.as_str().is_none() => return Err("the result must be text".to_owned()),
        None => {}
    }
    Ok((value, tasks))
}

/// The JSON value that a text is, or that it holds in its last code fence.
fn json(said: &str) -> Result<Value, String> {
    let said = said.trim();
    let whole = match Value::from_json(said) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let Some((before, _)) = said.rsplit_once("```") else { return Err(format!("it is not JSON: {whole}")) };
    let Some((_, fenced)) = before.rsplit_once("```") else { return Err(format!("it is not JSON: {whole}")) };
    let body = fenced.split_once('\n').map_or(fenced, |(_, body)| body);
    Value::from_json(body.trim()).map_err(|error| format!("the last code fence is not JSON: {error}"))
}

/// What is told on, of a text that may be long.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A fault, with how the process ended where that is what happened.
pub(super) fn explained(fault: Fault, finished: &Finished) -> Fault {
    let Fault::Ended(what) = fault else { return fault };
    let how = match finished.end {
        End::Exited(code) => format!("exit code {code}"),
        End::Signalled(signal) => format!("signal {signal}"),
        End::TimedOut => return Fault::TimedOut,
        End::Cancelled => "it closed its output".to_owned(),
    };
    let mut text = if what.is_empty() { how } else { format!("{what}; {how}") };
    let words = finished.stderr.tail();
    if !words.trim().is_empty() {
        text.push_str(&format!("; it wrote: {}", cut(words.trim())));
    }
    Fault::Ended(text)
}
