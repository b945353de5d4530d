//! The loop: ask, do, show, until there is a result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wf_ir::Value;
use wf_ir::types::check_schema;
use wf_kernel::Amount;

use super::circles::{Circles, Verdict};
use super::compact::{LeftOut, compact};
use super::purse::Purse;
use super::tools::{HAND_BACK, Tools};
use crate::contract::{CancelToken, Steering};
use crate::models::price::estimate;
use crate::models::request::messages_tokens_max;
use crate::models::typed::{self, Budget};
use crate::models::{
    Call, Delta, Message, Model, ModelError, ModelErrorKind, ModelRequest, ModelUsage, Part, Price, Response, Speaker,
    Stop, ToolSpec,
};
use crate::secret::Redactor;

/// How often an agent that hands nothing back is told to.
pub(crate) const NUDGES_MAX: u32 = 3;
/// Tokens of the answer with which an agent hands back what it has when nothing is left for more.
const LAST_WORDS_TOKENS: u32 = 2_048;
/// Of a model's window, how many hundredths a conversation may fill before it is compacted.
const WINDOW_PERCENT: u64 = 80;
/// To how many hundredths of that it is compacted: what is left out once stays out for a while, because each time costs
/// what the provider's cache has of the conversation.
const COMPACTED_PERCENT: u64 = 60;
/// How long an agent that has begun waits in all for a provider that wants to be left alone or is out, before its work so
/// far is given up.
const PATIENCE_MS: u64 = 600_000;
/// How long it waits the first time where the provider does not say; twice as long each time after.
const FIRST_WAIT_MS: u64 = 1_000;
/// Most characters of a reason that a model is told.
const REASON_CHARS_MAX: usize = 2_000;

/// How long an agent may work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most answers of its model.
    pub turns_max: u32,
    /// Most tokens of all its calls together.
    pub tokens_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { turns_max: 200, tokens_max: 20_000_000 }
    }
}

/// What is to be done, and by whom.
pub struct Order<'a> {
    /// Who works.
    pub model: &'a dyn Model,
    /// What it costs.
    pub price: Option<Price>,
    /// How many tokens it can read and write at once, if that is known.
    pub context: Option<u64>,
    /// What it is told first, see [`super::prompt::system`].
    pub system: String,
    /// The task.
    pub task: Vec<String>,
    /// JSON Schema of the result; none is text.
    pub schema: Option<&'a Value>,
    /// Further tasks that it may hand back.
    pub tasks_max: u32,
    /// Fields of the provider's request.
    pub params: BTreeMap<String, Value>,
    /// Most tokens of one answer.
    pub output_tokens_max: u32,
    /// How long it may work.
    pub limits: Limits,
    /// What was reserved for it.
    pub held: Amount,
}

/// What is around an agent.
pub struct World<'a> {
    /// What it works with.
    pub tools: &'a mut Tools,
    /// Ends it.
    pub cancel: &'a CancelToken,
    /// What it is told while it works.
    pub steering: &'a Steering,
    /// What it was told in earlier attempts.
    pub told: &'a [Arc<str>],
    /// What it draws on.
    pub budget: &'a dyn Budget,
    /// Keeps secrets out of what a model is shown.
    pub redactor: &'a Redactor,
    /// Gets lines for those who watch: the stream's name and the text.
    pub trace: &'a (dyn Fn(&str, &str) + Send + Sync),
}

/// A result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// It.
    pub value: Value,
    /// Further tasks.
    pub tasks: Vec<Value>,
    /// What all calls used.
    pub usage: ModelUsage,
    /// How many there were.
    pub turns: u32,
    /// Whether it was handed back because nothing was left for more.
    pub is_cut_short: bool,
}

/// An end without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Why.
    pub why: Why,
    /// What all calls used.
    pub usage: ModelUsage,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// A call of the model failed.
    Model(ModelError),
    /// It went round and round.
    Circles {
        /// How often.
        rounds: usize,
    },
    /// It had as many turns as it may have.
    Turns,
    /// It used as many tokens as it may.
    Tokens,
    /// There is no budget left, and nothing was handed back.
    OverBudget,
    /// The model does not want to do it.
    Refused(String),
    /// It handed nothing back that fits.
    NoResult(String),
    /// The conversation does not fit into the model's window.
    Window,
}

impl Why {
    /// A short stable word for a failure's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Model(error) => error.code(),
            Self::Circles { .. } => "agent_circles",
            Self::Turns => "agent_turns",
            Self::Tokens => "agent_tokens",
            Self::OverBudget => "agent_budget",
            Self::Refused(_) => "refused",
            Self::NoResult(_) => "output_invalid",
            Self::Window => "agent_window",
        }
    }

    /// For people.
    pub fn message(&self) -> String {
        match self {
            Self::Model(error) => error.to_string(),
            Self::Circles { rounds } => format!("the agent made the same calls with the same results {rounds} times"),
            Self::Turns => "the agent had as many turns as it may have".to_owned(),
            Self::Tokens => "the agent used as many tokens as it may".to_owned(),
            Self::OverBudget => "the budget was used up before the agent handed anything back".to_owned(),
            Self::Refused(said) => format!("the model does not want to do it: {said}"),
            Self::NoResult(reason) => format!("the agent handed nothing back that fits: {reason}"),
            Self::Window => "the conversation does not fit into what the model can read".to_owned(),
        }
    }
}

/// Works until there is a result.
///
/// # Errors
/// When there is none, with the reason.
pub async fn work(order: Order<'_>, world: World<'_>) -> Result<Done, Stopped> {
    let specs = world.tools.specs(order.schema, order.tasks_max);
    let purse = Purse::new(order.held, world.budget);
    let mut agent = Agent {
        messages: vec![Message {
            role: Speaker::User,
            parts: order.task.iter().map(|text| Part::Text(text.clone())).collect(),
        }],
        usage: ModelUsage::NOTHING,
        turns: 0,
        nudges: 0,
        known: 0,
        waits: 0,
        waited_ms: 0,
        counted: None,
        last: None,
        circles: Circles::default(),
        specs,
        purse,
        order,
        world,
    };
    agent.tell_earlier();
    match agent.run().await {
        Ok((value, tasks)) => {
            Ok(Done { value, tasks, usage: agent.usage, turns: agent.turns, is_cut_short: agent.last.is_some() })
        }
        Err(why) => Err(Stopped { why, usage: agent.usage }),
    }
}

struct Agent<'a> {
    order: Order<'a>,
    world: World<'a>,
    specs: Vec<ToolSpec>,
    messages: Vec<Message>,
    purse: Purse<'a>,
    circles: Circles,
    usage: ModelUsage,
    turns: u32,
    nudges: u32,
    /// How much of the steering was passed on.
    known: usize,
    /// How often it waited for its provider since the last answer.
    waits: u32,
    /// For how long, in all.
    waited_ms: u64,
    /// What the last request was estimated to have, and what the provider counted.
    counted: Option<(u64, u64)>,
    /// Why nothing is left but to hand back.
    last: Option<Why>,
}

type Ended = Result<(Value, Vec<Value>), Why>;

impl Agent<'_> {
    async fn run(&mut self) -> Ended {
        loop {
            self.steer();
            self.fit_window()?;
            let request = self.request().await?;
            let response = match self.ask(&request).await {
                Ok(response) => response,
                Err(error) => {
                    self.wait_after(error).await?;
                    continue;
                }
            };
            if let Some(done) = self.take(response).await? {
                return Ok(done);
            }
        }
    }

    /// Waits where a provider wants to be left alone or is out, so that the work so far is not lost. An agent that has
    /// not begun has nothing to lose: others may use its place, and another model may do the work.
    async fn wait_after(&mut self, error: ModelError) -> Result<(), Why> {
        let said_ms = match error.kind {
            ModelErrorKind::Throttled { retry_after_ms } => Some(retry_after_ms),
            ModelErrorKind::Overloaded { retry_after_ms } => retry_after_ms,
            ModelErrorKind::Unreachable | ModelErrorKind::TimedOut(_) => None,
            ModelErrorKind::Refused
            | ModelErrorKind::BadRequest
            | ModelErrorKind::Malformed
            | ModelErrorKind::TooLarge
            | ModelErrorKind::Cancelled => return Err(Why::Model(error)),
        };
        let has_begun = self.messages.iter().any(|message| message.role == Speaker::Assistant);
        let doubled_ms = FIRST_WAIT_MS.saturating_mul(1 << self.waits.min(20));
        let wait_ms = said_ms.unwrap_or(doubled_ms).max(1);
        if !has_begun || self.last.is_some() || self.waited_ms.saturating_add(wait_ms) > PATIENCE_MS {
            return Err(Why::Model(error));
        }
        self.waits += 1;
        self.waited_ms += wait_ms;
        (self.world.trace)("engine", &format!("{error}: the agent goes on in {wait_ms} ms"));
        tokio::select! {
            biased;
            () = self.world.cancel.cancelled() => {
                Err(Why::Model(ModelError::unsent(ModelErrorKind::Cancelled, "the agent was cancelled")))
            }
            () = tokio::time::sleep(Duration::from_millis(wait_ms)) => Ok(()),
        }
    }

    fn tell_earlier(&mut self) {
        let told: Vec<Arc<str>> = self.world.told.to_vec();
        told.iter().for_each(|text| self.tell(text));
    }

    /// Passes on what the agent was told since the last step.
    fn steer(&mut self) {
        let told = self.world.steering.told();
        told.iter().skip(self.known).for_each(|text| self.tell(text));
        self.known = told.len();
    }

    fn tell(&mut self, text: &str) {
        (self.world.trace)("told", text);
        self.say(format!("Whoever gave you the task adds: {text}"));
    }

    /// Says something to the model, in one message with what is said to it already.
    fn say(&mut self, text: String) {
        match self.messages.last_mut() {
            Some(last) if last.role == Speaker::User => last.parts.push(Part::Text(text)),
            _ => self.messages.push(Message::text(Speaker::User, text)),
        }
    }

    /// Leaves out what is old, where the conversation has grown beyond the window.
    fn fit_window(&mut self) -> Result<(), Why> {
        let Some(context) = self.order.context else { return Ok(()) };
        let room = (context * WINDOW_PERCENT / 100).saturating_sub(u64::from(self.order.output_tokens_max));
        let counted = self.counted;
        let base = self.plain_request(Vec::new()).input_tokens_max();
        let tokens = move |messages: &[Message]| {
            let most = base.saturating_add(messages_tokens_max(messages));
            // What the provider counted last time says how far above the estimate is; a tenth is kept for safety.
            counted.map_or(most, |(estimated, real)| {
                let scaled = u128::from(most) * u128::from(real) / u128::from(estimated.max(1));
                most.min(u64::try_from(scaled + scaled / 10).unwrap_or(u64::MAX))
            })
        };
        if tokens(&self.messages) <= room {
            return Ok(());
        }
        let left_out = compact(&mut self.messages, room * COMPACTED_PERCENT / 100, &tokens);
        if left_out != LeftOut::default() {
            let LeftOut { results, messages } = left_out;
            let line =
                format!("compacted: {results} results and {messages} messages were left out of the conversation");
            (self.world.trace)("engine", &line);
        }
        if tokens(&self.messages) > context.saturating_sub(u64::from(self.order.output_tokens_max)) {
            return Err(Why::Window);
        }
        Ok(())
    }

    fn plain_request(&self, messages: Vec<Message>) -> ModelRequest {
        ModelRequest {
            system: self.order.system.clone(),
            messages,
            tools: self.specs.clone(),
            output: None,
            output_tokens_max: self.order.output_tokens_max,
            params: self.order.params.clone(),
        }
    }

    /// The next request, for which there is budget: an ordinary one as long as the last words can be paid after it.
    async fn request(&mut self) -> Result<ModelRequest, Why> {
        let limits = self.order.limits;
        if self.turns >= limits.turns_max {
            return Err(Why::Turns);
        }
        if self.purse.spent().tokens >= limits.tokens_max {
            return Err(Why::Tokens);
        }
        let mut request = self.plain_request(self.messages.clone());
        let next = estimate(&request, self.order.price.as_ref());
        let output_tokens_max = request.output_tokens_max;
        request.output_tokens_max = LAST_WORDS_TOKENS.min(output_tokens_max);
        let aside = estimate(&request, self.order.price.as_ref());
        request.output_tokens_max = output_tokens_max;
        // What was reserved before the first call is meant for it.
        let aside = if self.turns == 0 { Amount::default() } else { aside };
        let is_near_end = self.turns + 1 == limits.turns_max;
        if let Some(why) = &self.last {
            return Err(why.clone());
        }
        if !is_near_end && self.purse.afford(next, aside).await {
            return Ok(request);
        }
        if !is_near_end && self.turns == 0 {
            return Err(Why::OverBudget);
        }
        self.last = Some(if is_near_end { Why::Turns } else { Why::OverBudget });
        (self.world.trace)("engine", "nothing is left for more: the agent is asked to hand back what it has");
        self.say(
            "Nothing is left for more work. Call `hand_back` now, with what you have; say in it what is missing."
                .to_owned(),
        );
        request.messages = self.messages.clone();
        request.output_tokens_max = LAST_WORDS_TOKENS.min(request.output_tokens_max);
        let words = estimate(&request, self.order.price.as_ref());
        if self.purse.has(words) || self.purse.afford(words, Amount::default()).await {
            Ok(request)
        } else {
            Err(Why::OverBudget)
        }
    }

    async fn ask(&mut self, request: &ModelRequest) -> Result<Response, ModelError> {
        let trace = self.world.trace;
        let mut text = String::new();
        let mut seen = |delta: Delta<'_>| match delta {
            Delta::Text(more) => lines(&mut text, more, trace),
            Delta::Reasoning(_) | Delta::ToolCall(_) => {}
        };
        let call = Call { cancel: self.world.cancel, seen: &mut seen };
        let answered = self.order.model.respond(request, call).await;
        if !text.is_empty() {
            trace("say", &text);
        }
        if answered.is_ok() {
            self.turns += 1;
            self.waits = 0;
        }
        let usage = match &answered {
            Ok(response) => response.usage,
            Err(error) => error.usage,
        };
        self.usage = self.usage.plus(usage);
        let most = estimate(request, self.order.price.as_ref());
        self.purse.spend(usage.with_price(self.order.price.as_ref()).amount_or(most));
        self.counted = usage.input_tokens.map(|real| (request.input_tokens_max(), real)).or(self.counted);
        answered
    }

    /// Takes an answer in: its calls are made, and its result is taken if it has one.
    async fn take(&mut self, response: Response) -> Result<Option<(Value, Vec<Value>)>, Why> {
        match response.stop {
            Stop::Refused => return Err(Why::Refused(cut(&response.text()))),
            Stop::ContextFull => return Err(Why::Window),
            Stop::End | Stop::ToolCalls | Stop::OutputFull | Stop::Other => {}
        }
        let said = response.text();
        let is_cut = response.stop == Stop::OutputFull;
        let calls: Vec<(String, String, Value)> = response.parts.iter().filter_map(call_of).collect();
        self.messages.push(Message { role: Speaker::Assistant, parts: response.parts });
        if calls.is_empty() {
            return self.take_words(&said, is_cut);
        }
        let mut results = Vec::new();
        let mut done = None;
        for (id, name, arguments) in calls {
            let (text, is_error) = if done.is_some() {
                ("error: the work was handed back before this".to_owned(), true)
            } else if self.world.cancel.is_cancelled() {
                let error = ModelError::unsent(ModelErrorKind::Cancelled, "the agent was cancelled");
                return Err(Why::Model(error));
            } else if name == HAND_BACK {
                match self.handed_back(&arguments) {
                    Ok(result) => {
                        done = Some(result);
                        ("taken".to_owned(), false)
                    }
                    Err(reason) => (format!("error: it cannot be taken: {reason}"), true),
                }
            } else {
                self.use_tool(&name, &arguments).await
            };
            let text = self.judge(&name, &arguments, text)?;
            results.push(Part::ToolResult { id, text, is_error });
        }
        self.messages.push(Message { role: Speaker::Tool, parts: results });
        match &self.last {
            Some(why) if done.is_none() => Err(why.clone()),
            _ => Ok(done),
        }
    }

    async fn use_tool(&mut self, name: &str, arguments: &Value) -> (String, bool) {
        if self.last.is_some() {
            return ("error: nothing is left for more work; only `hand_back` is possible".to_owned(), true);
        }
        let World { tools, cancel, trace, redactor, .. } = &mut self.world;
        trace("call", &format!("{name} {}", cut(&arguments.to_json())));
        let shown = tools.call(name, arguments, cancel, *trace).await;
        let text = redactor.text(&shown.text).into_owned();
        trace("result", &text);
        (text, shown.is_error)
    }

    /// Looks whether the agent turns in circles; a warning is added to what it is shown.
    fn judge(&mut self, name: &str, arguments: &Value, mut text: String) -> Result<String, Why> {
        match self.circles.take(name, &arguments.to_json(), &text) {
            Verdict::Fine => {}
            Verdict::Stop { rounds } => return Err(Why::Circles { rounds }),
            Verdict::Warn { rounds } => {
                (self.world.trace)("engine", &format!("the agent turns in circles: {rounds} rounds"));
                text.push_str(&format!(
                    "\n[You made the same calls {rounds} times, with the same results. Do something else, or hand back \
                     what you have.]"
                ));
            }
        }
        Ok(text)
    }

    /// An answer without calls: its text may be the result, or it is told how to give one.
    fn take_words(&mut self, said: &str, is_cut: bool) -> Result<Option<(Value, Vec<Value>)>, Why> {
        let reason = match self.order.schema {
            _ if is_cut => "the answer was cut off, because it is longer than it may be".to_owned(),
            Some(schema) => match typed::value(said).and_then(|value| check_schema(schema, &value).map(|()| value)) {
                Ok(value) => return Ok(Some((value, Vec::new()))),
                Err(reason) => reason,
            },
            None if !said.trim().is_empty() => return Ok(Some((Value::from(said), Vec::new()))),
            None => "the answer is empty".to_owned(),
        };
        self.nudges += 1;
        if self.nudges > NUDGES_MAX || self.last.is_some() {
            return Err(Why::NoResult(cut(&reason)));
        }
        self.say(format!("Go on with the task, or call `hand_back` with its result. ({})", cut(&reason)));
        Ok(None)
    }

    fn handed_back(&mut self, arguments: &Value) -> Result<(Value, Vec<Value>), String> {
        let Value::Map(fields) = arguments else { return Err("the arguments are not a JSON object".to_owned()) };
        let result = fields.get("result").ok_or("`result` is missing")?;
        match self.order.schema {
            Some(schema) => {
                check_schema(schema, result).map_err(|reason| format!("the result does not fit: {}", cut(&reason)))?
            }
            None if result.as_str().is_none() => return Err("the result must be text".to_owned()),
            None => {}
        }
        let tasks = fields.get("tasks").and_then(Value::as_list).unwrap_or(&[]);
        if tasks.len() > self.order.tasks_max as usize {
            return Err(format!("there are {} tasks, at most {} may be added", tasks.len(), self.order.tasks_max));
        }
        Ok((result.clone(), tasks.to_vec()))
    }
}

fn call_of(part: &Part) -> Option<(String, String, Value)> {
    match part {
        Part::ToolCall { id, name, arguments } => Some((id.clone(), name.clone(), arguments.clone())),
        Part::Text(_) | Part::ToolResult { .. } | Part::Reasoning(_) => None,
    }
}

/// Whole lines go to the trace as they come.
fn lines(text: &mut String, more: &str, trace: &(dyn Fn(&str, &str) + Send + Sync)) {
    text.push_str(more);
    while let Some(end) = text.find('\n') {
        trace("say", &text[..end]);
        text.drain(..=end);
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(REASON_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
