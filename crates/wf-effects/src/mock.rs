//! The mock provider: answers from rules in a file, and from nothing but a seed where no rule fits.
//!
//! It is what runs when nothing is configured, so it is how people try, test and demonstrate workflows; docs/mock.md is
//! written for them. Its answers depend on recorded things only (the seed, the instance, the prompt, attempt,
//! iteration and sample), never on the generation, the time or what ran before: a killed and resumed run gets the
//! answers of an undisturbed one. The one thing it remembers is how often it has throttled a question, which changes
//! no answer.

mod edit;
mod generate;
mod pattern;
mod pick;
mod rules;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wf_ir::template::has_tags;
use wf_ir::types::check_schema;
use wf_ir::{Digest, Value};
use wf_kernel::Usage;

use crate::agent::scripted::Turn;
use crate::template::{Scope, Templates};
use generate::{Random, generate};
use rules::{Answer, Rule};

pub use edit::{Change, Edit, EditError, FILE_BYTES_MAX, apply};
pub use rules::{RULES_BYTES_MAX, RULES_MAX, Rules};

/// What a token read costs, in millionths of a US dollar.
pub const INPUT_MICROS_PER_TOKEN: u64 = 1;
/// What a token written costs, in millionths of a US dollar.
pub const OUTPUT_MICROS_PER_TOKEN: u64 = 3;
/// Most tokens an answer is expected to have.
pub const OUTPUT_TOKENS_EXPECTED: u64 = 4_096;
/// Shortest wait of an answer whose rule does not say one, when it paces itself.
const LATENCY_MS_MIN: u64 = 300;
/// Longest wait of such an answer.
const LATENCY_MS_MAX: u64 = 1_500;
/// Questions whose throttling is remembered; beyond it all are forgotten.
const THROTTLED_MAX: usize = 100_000;

/// A question, by all that may decide its answer.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The run, which only throttling is counted by.
    pub run_id: &'a str,
    /// The instance.
    pub path: &'a str,
    /// `ask` or `agent`.
    pub kind: &'a str,
    /// The role's name.
    pub role: &'a str,
    /// Everything that is asked.
    pub prompt: &'a str,
    /// Counts from 1; 0 outside of loops.
    pub iteration: u32,
    /// Counts from 1.
    pub attempt: u32,
    /// Which independent sample this is.
    pub sample: u32,
    /// What an agent was told while it worked.
    pub told: &'a [Arc<str>],
    /// JSON Schema of the answer; none is text.
    pub schema: Option<&'a Value>,
    /// The values of the names that the node's prompt uses.
    pub context: &'a Arc<BTreeMap<String, Arc<Value>>>,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An answer.
    Answer(Box<Answered>),
    /// The provider wants to be left alone.
    Throttled {
        /// For so long.
        retry_after_ms: u64,
    },
    /// A failure.
    Failed {
        /// A short stable word.
        code: String,
        /// For people.
        message: String,
        /// Whether another attempt could end differently.
        retryable: bool,
        /// What it used.
        usage: Usage,
        /// How long it takes when it paces itself.
        latency: Duration,
        /// What is streamed before.
        say: Vec<String>,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its value; whether it fits the schema is for the caller to check, unless it was made to fit.
    pub value: Value,
    /// Whether the value was made to fit the schema.
    pub is_generated: bool,
    /// What is done to files first.
    pub edits: Vec<Edit>,
    /// What it adds to the list of tasks that it works on.
    pub tasks: Vec<Value>,
    /// What is streamed before.
    pub say: Vec<String>,
    /// What it used.
    pub usage: Usage,
    /// How long it takes when it paces itself.
    pub latency: Duration,
}

/// The provider.
pub struct Mock {
    rules: Rules,
    seed: u64,
    throttled: Mutex<HashMap<Digest, u32>>,
}

impl Mock {
    /// A provider with these rules.
    pub fn new(rules: Rules, seed: u64) -> Self {
        Self { rules, seed, throttled: Mutex::default() }
    }

    /// The digest of its rules; none without any.
    pub fn rules_digest(&self) -> Option<Digest> {
        self.rules.digest()
    }

    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The most that the answer to `question` is expected to use: tokens read and written, and their cost.
    pub fn estimate(&self, question: &Question<'_>) -> Usage {
        let said = self.rule(question).map(|rule| rule.usage).unwrap_or_default();
        let input = tokens(question.prompt).max(said.input_tokens.unwrap_or(0));
        let output = OUTPUT_TOKENS_EXPECTED.max(said.output_tokens.unwrap_or(0));
        let cost = cost(input, output).max(said.cost_usd_micros.unwrap_or(0));
        usage(input, output, cost)
    }

    /// Answers `question`.
    pub fn answer(&self, question: &Question<'_>, templates: &Templates) -> Reply {
        let rule = self.rule(question);
        if let Some(throttle) = rule.and_then(|rule| rule.throttle)
            && self.is_throttled(question, throttle.times)
        {
            return Reply::Throttled { retry_after_ms: throttle.retry_after_ms };
        }
        let digest = self.digest(question);
        let latency = Duration::from_millis(rule.and_then(|rule| rule.latency_ms).unwrap_or_else(|| {
            LATENCY_MS_MIN + Random::new(&digest.0, u32::MAX).below(LATENCY_MS_MAX - LATENCY_MS_MIN + 1)
        }));
        let say = rule.map(|rule| rule.say.clone()).unwrap_or_default();
        match answer(rule, question, &digest, templates) {
            Ok((value, edits, tasks)) => {
                let usage = used(rule, question, &value);
                let is_generated = rule.is_none_or(|rule| rule.answer == Answer::Generated);
                Reply::Answer(Box::new(Answered { value, is_generated, edits, tasks, say, usage, latency }))
            }
            Err(Refusal { code, message, retryable }) => {
                let usage = used(rule, question, &Value::Null);
                Reply::Failed { code, message, retryable, usage, latency, say }
            }
        }
    }

    /// Whether the answer waits until the agent was told something, and nothing was said yet.
    pub fn listens(&self, question: &Question<'_>) -> bool {
        question.told.is_empty() && self.rule(question).is_some_and(|rule| rule.until_told)
    }

    /// What an agent does with its tools before it answers; nothing where the answer's own edits are all that is done.
    ///
    /// # Errors
    /// When a text of a turn is a template that cannot be rendered.
    pub fn turns(&self, question: &Question<'_>, templates: &Templates) -> Result<Vec<Turn>, String> {
        let turns = self.rule(question).map(|rule| rule.turns.as_slice()).unwrap_or_default();
        let render = |source: &String| render(source, question, templates);
        let call = |(tool, args): &(String, Value)| Ok((tool.clone(), rendered(args, &render)?));
        let turn = |turn: &Turn| {
            Ok(Turn { text: render(&turn.text)?, calls: turn.calls.iter().map(call).collect::<Result<_, Refusal>>()? })
        };
        turns.iter().map(turn).collect::<Result<_, Refusal>>().map_err(|refusal| refusal.message)
    }

    fn rule(&self, question: &Question<'_>) -> Option<&Rule> {
        self.rules.rules.iter().find(|rule| rule.pick.fits(question))
    }

    /// What the answer depends on.
    fn digest(&self, question: &Question<'_>) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"mock answer 1");
        hasher.update(&self.seed.to_le_bytes());
        for number in [question.iteration, question.attempt, question.sample] {
            hasher.update(&number.to_le_bytes());
        }
        let told = question.told.iter().map(|text| &**text);
        for text in [question.path, question.prompt].into_iter().chain(told) {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// Counts the question, and says whether it was asked at most `times` times. A process that takes a run over
    /// counts anew; that uses no attempt and changes no answer.
    fn is_throttled(&self, question: &Question<'_>, times: u32) -> bool {
        let key = Digest::of_json(&(question.run_id, question.path, question.attempt));
        let mut throttled = self.throttled.lock().unwrap_or_else(PoisonError::into_inner);
        if throttled.len() >= THROTTLED_MAX {
            throttled.clear();
        }
        let count = throttled.entry(key).or_default();
        *count = count.saturating_add(1);
        *count <= times
    }
}

/// Why there is no answer.
struct Refusal {
    code: String,
    message: String,
    retryable: bool,
}

impl Refusal {
    /// A rule that cannot be used: another attempt ends the same.
    fn of_rule(message: String) -> Self {
        Self { code: "mock_rule".to_owned(), message, retryable: false }
    }
}

fn answer(
    rule: Option<&Rule>,
    question: &Question<'_>,
    digest: &Digest,
    templates: &Templates,
) -> Result<(Value, Vec<Edit>, Vec<Value>), Refusal> {
    let Some(rule) = rule else { return Ok((generated(question, digest)?, Vec::new(), Vec::new())) };
    let render = |source: &String| render(source, question, templates);
    let value = match &rule.answer {
        Answer::Generated => generated(question, digest)?,
        Answer::Text(text) => typed(render(text)?, question.schema),
        Answer::Value(value) => rendered(value, &render)?,
        Answer::Json(text) => {
            let text = render(text)?;
            Value::from_json(&text)
                .map_err(|error| Refusal::of_rule(format!("the rule's `json` is not JSON: {error}")))?
        }
        Answer::Error(error) => {
            let (code, message) = (error.code.clone(), error.message.clone());
            return Err(Refusal { code, message, retryable: error.retryable });
        }
    };
    let edits = rule.edits.iter().map(|edit| Ok(Edit { path: render(&edit.path)?, change: edit.change.clone() }));
    let tasks = rule.tasks.iter().map(|task| rendered(task, &render));
    Ok((value, edits.collect::<Result<_, Refusal>>()?, tasks.collect::<Result<_, Refusal>>()?))
}

fn generated(question: &Question<'_>, digest: &Digest) -> Result<Value, Refusal> {
    let [a, b, c, ..] = digest.0;
    let mark = &format!("{a:02x}{b:02x}{c:02x}");
    let Some(schema) = question.schema else {
        return Ok(Value::Str(format!("mock answer {mark} to node {}", question.path)));
    };
    generate(schema, &digest.0, mark, question.path).map_err(|reason| Refusal {
        code: "mock_schema".to_owned(),
        message: format!(
            "the mock found no value that fits the output schema ({reason}); give it a rule for this node"
        ),
        retryable: false,
    })
}

/// A text as an answer: JSON where the schema does not want text.
fn typed(text: String, schema: Option<&Value>) -> Value {
    let text = Value::Str(text);
    match (schema, &text) {
        (Some(schema), Value::Str(json)) if check_schema(schema, &text).is_err() => {
            Value::from_json(json).unwrap_or(text)
        }
        _ => text,
    }
}

/// `value` with its texts rendered.
fn rendered(value: &Value, render: &impl Fn(&String) -> Result<String, Refusal>) -> Result<Value, Refusal> {
    Ok(match value {
        Value::Str(text) => Value::Str(render(text)?),
        Value::List(items) => {
            Value::List(items.iter().map(|item| rendered(item, render)).collect::<Result<_, Refusal>>()?)
        }
        Value::Map(entries) => Value::Map(
            entries
                .iter()
                .map(|(name, value)| Ok((name.clone(), rendered(value, render)?)))
                .collect::<Result<_, Refusal>>()?,
        ),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Decimal(_) => value.clone(),
    })
}

fn render(source: &str, question: &Question<'_>, templates: &Templates) -> Result<String, Refusal> {
    if !has_tags(source) {
        return Ok(source.to_owned());
    }
    let number = |value: u32| Arc::new(Value::Int(i64::from(value)));
    let text = |value: &str| Arc::new(Value::from(value));
    let scope = Scope::new(Arc::clone(question.context))
        .with("path", text(question.path))
        .with("role", text(question.role))
        .with("prompt", text(question.prompt))
        .with("told", Arc::new(Value::List(question.told.iter().map(|text| Value::from(&**text)).collect())))
        .with("iteration", number(question.iteration))
        .with("attempt", number(question.attempt))
        .with("sample", number(question.sample));
    templates.render(source, scope).map_err(|error| Refusal::of_rule(format!("the rule's template: {error}")))
}

fn used(rule: Option<&Rule>, question: &Question<'_>, value: &Value) -> Usage {
    let said = rule.map(|rule| rule.usage).unwrap_or_default();
    let input = said.input_tokens.unwrap_or_else(|| tokens(question.prompt));
    let output = said.output_tokens.unwrap_or_else(|| match value {
        Value::Null => 0,
        Value::Str(text) => tokens(text),
        other => tokens(&other.to_json()),
    });
    usage(input, output, said.cost_usd_micros.unwrap_or_else(|| cost(input, output)))
}

/// About so many tokens has a text.
fn tokens(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(4)
}

pub(crate) fn cost(input: u64, output: u64) -> u64 {
    let output = output.saturating_mul(OUTPUT_MICROS_PER_TOKEN);
    input.saturating_mul(INPUT_MICROS_PER_TOKEN).saturating_add(output)
}

fn usage(input: u64, output: u64, cost: u64) -> Usage {
    Usage { input_tokens: Some(input), output_tokens: Some(output), cached_tokens: None, cost_usd_micros: Some(cost) }
}
