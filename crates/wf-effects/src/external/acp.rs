//! The Agent Client Protocol, version 1, as far as an agent without a person needs it: newline-delimited JSON-RPC 2.0
//! over the agent's standard streams. This is the only module that knows it.
//!
//! A client of our own and not the protocol's crate: `docs/decisions/0014-a-client-of-our-own-for-agents.md` says why.
//! It asks one thing at a time and answers whatever the agent asks meanwhile. Reading and writing go on together, so
//! that an agent that does not read cannot hold up what it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::answers::{Deed, NO_METHOD, Refusal, cancelled, choose, invalid, permits, read_file, write_file};
use super::course::{Course, Next, micros};
use super::line::{LINE_BYTES_MAX, Lines};
use super::read::{cut, explained};
use super::{Done, Fault, Order, Stopped, World};
use crate::models::{Delta, ModelUsage};
use crate::process::{Pipes, converse};

/// The version of the protocol that is spoken here.
const PROTOCOL: u64 = 1;
/// Most bytes that wait until an agent reads them: more than the largest file, however it is written as JSON.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// How long an agent that is cancelled has to end its turn.
const CANCEL_WAIT: Duration = Duration::from_secs(2);
/// How often is shown that an agent is still at work.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Most tool calls of which is remembered what they are.
const CALLS_MAX: usize = 1_000;
/// Longest id of a session.
const SESSION_BYTES_MAX: usize = 512;
/// The protocol's word for an agent that wants to be logged in.
const AUTH_REQUIRED: i64 = -32_000;

/// Works with an agent until there is a result.
pub(super) async fn work(order: Order<'_>, mut world: World<'_>) -> Result<Done, Stopped> {
    let mut course = Course::new(&order, world.steering, world.budget);
    let mut process = world.process.clone();
    process.argv.clone_from(&order.agent.command);
    process.bounds.timeout = order.timeout;
    let trace = world.trace;
    let lines = |stream: crate::process::Stream, line: &str| trace(stream.as_str(), line);
    let mut session = None;
    let talk = async |pipes: Pipes| {
        let mut client = Client::new(pipes.stdout, pipes.stdin, &mut world, &mut course);
        let ended = client.talk().await;
        session.clone_from(&client.session);
        ended
    };
    let conversed = Box::pin(converse(&process, &lines, talk)).await;
    let ended = match conversed {
        Err(error) => Err(Fault::from(error)),
        Ok((_, None)) => Err(Fault::TimedOut),
        Ok((finished, Some(ended))) => ended.map_err(|fault| explained(fault, &finished)),
    };
    let usage = course.settled();
    match ended {
        Ok((value, tasks)) => Ok(Done { value, tasks, usage, session, prompts: course.prompts }),
        Err(fault) => Err(Stopped { fault, usage, session }),
    }
}

/// What an agent has written.
enum Message {
    Request { id: Value, method: String, params: Value },
    Notice { method: String, params: Value },
    Answer { id: Value, answer: Result<Value, Refusal> },
}

fn parse(line: &str) -> Result<Message, Fault> {
    let wrong = |what: &str| Fault::Protocol(format!("{what}: {}", cut(&line.chars().take(200).collect::<String>())));
    let mut value: Value = serde_json::from_str(line).map_err(|_| wrong("it wrote what is not JSON"))?;
    let Value::Object(fields) = &mut value else { return Err(wrong("it wrote what is no message")) };
    let id = fields.remove("id");
    if id.as_ref().is_some_and(|id| !(id.is_string() || id.is_number() || id.is_null())) {
        return Err(wrong("the id of its message is none"));
    }
    match (fields.remove("method"), id) {
        (Some(Value::String(method)), id) => {
            let params = fields.remove("params").unwrap_or(Value::Null);
            Ok(match id {
                Some(id) => Message::Request { id, method, params },
                None => Message::Notice { method, params },
            })
        }
        (None, Some(id)) => {
            let answer = match (fields.remove("result"), fields.remove("error")) {
                (Some(result), None) => Ok(result),
                (None | Some(Value::Null), Some(error)) => Err(Refusal {
                    code: error["code"].as_i64().unwrap_or(0),
                    message: error["message"].as_str().unwrap_or("it does not say why").to_owned(),
                }),
                _ => return Err(wrong("its answer is neither a result nor an error")),
            };
            Ok(Message::Answer { id, answer })
        }
        _ => Err(wrong("it wrote what is no message")),
    }
}

/// One side of a conversation.
struct Client<'c, 'w, 'o, R, W> {
    from: Lines<R>,
    to: W,
    /// What was not written yet, and how much of it was.
    waiting: Vec<u8>,
    written: usize,
    /// The number of the last question.
    asked: u64,
    session: Option<String>,
    /// What the agent said since its last tool call, and before that.
    words: String,
    words_before: String,
    /// What tool calls are, by their ids.
    calls: BTreeMap<String, String>,
    is_ending: bool,
    world: &'c mut World<'w>,
    course: &'c mut Course<'o>,
}

impl<'c, 'w, 'o, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Client<'c, 'w, 'o, R, W> {
    fn new(from: R, to: W, world: &'c mut World<'w>, course: &'c mut Course<'o>) -> Self {
        Self {
            from: Lines::new(from),
            to,
            waiting: Vec::new(),
            written: 0,
            asked: 0,
            session: None,
            words: String::new(),
            words_before: String::new(),
            calls: BTreeMap::new(),
            is_ending: false,
            world,
            course,
        }
    }

    /// The whole conversation.
    async fn talk(&mut self) -> Result<(wf_ir::Value, Vec<wf_ir::Value>), Fault> {
        let start = self.course.order.agent.timeouts.start;
        let is_resumed = match tokio::time::timeout(start, self.begin()).await {
            Ok(begun) => begun?,
            Err(_) => return Err(Fault::Start(format!("it has no session after {} s", start.as_secs_f32()))),
        };
        let mut prompt = self.course.first(is_resumed);
        loop {
            let said = match self.prompt(&prompt).await {
                Ok(said) => said,
                Err(fault @ (Fault::Cancelled | Fault::OverBudget)) => {
                    self.take_leave().await;
                    return Err(fault);
                }
                Err(fault) => return Err(fault),
            };
            match self.course.after(&said).await? {
                Next::Done(value, tasks) => return Ok((value, tasks)),
                Next::Ask(next) => prompt = next,
            }
        }
    }

    /// Agrees on the protocol and opens a session, or one that was cut off. Says whether it is one of those.
    async fn begin(&mut self) -> Result<bool, Fault> {
        let files = json!({"readTextFile": true, "writeTextFile": self.world.tree.is_writable()});
        let params = json!({
            "protocolVersion": PROTOCOL,
            "clientCapabilities": {"fs": files, "terminal": false},
            "clientInfo": {"name": "whaleflow", "version": env!("CARGO_PKG_VERSION")},
        });
        let can = self.ask("initialize", params).await?.map_err(not_begun)?;
        if can["protocolVersion"].as_u64() != Some(PROTOCOL) {
            let spoken = &can["protocolVersion"];
            return Err(Fault::Start(format!("it speaks version {spoken} of the protocol, not {PROTOCOL}")));
        }
        let place = json!({"cwd": self.world.tree.scope().dir().display().to_string(), "mcpServers": []});
        if let Some(id) = self.course.order.resume.clone() {
            let can = &can["agentCapabilities"];
            let method = match (can["sessionCapabilities"]["resume"].is_object(), can["loadSession"] == true) {
                (true, _) => Some("session/resume"),
                (false, true) => Some("session/load"),
                (false, false) => None,
            };
            if let Some(method) = method {
                let mut params = place.clone();
                params["sessionId"] = json!(id);
                self.session = Some(id.clone());
                if self.ask(method, params).await?.is_ok() {
                    (self.world.trace)("session", &id);
                    return Ok(true);
                }
                (self.world.trace)("engine", "the session that was cut off is not there any more");
            }
        }
        let opened = self.ask("session/new", place).await?.map_err(not_begun)?;
        let is_id = |id: &&str| !id.is_empty() && id.len() <= SESSION_BYTES_MAX && !id.contains(char::is_control);
        let id = opened["sessionId"].as_str().filter(is_id);
        let id = id.ok_or_else(|| Fault::Protocol("its new session has no id".to_owned()))?.to_owned();
        (self.world.trace)("session", &id);
        (self.world.session)(&id);
        self.session = Some(id);
        Ok(false)
    }

    /// One turn of the agent. Gives what it said last.
    async fn prompt(&mut self, text: &str) -> Result<String, Fault> {
        self.words.clear();
        self.words_before.clear();
        self.course.prompts += 1;
        self.course.spent.open();
        let params = json!({"sessionId": self.session, "prompt": [{"type": "text", "text": text}]});
        let ended = self.ask("session/prompt", params).await?;
        if !self.words.is_empty() && !self.words.ends_with('\n') {
            // What it says in its next turn is another line.
            (self.world.seen)(Delta::Text("\n"));
        }
        let ended = ended.map_err(|refusal| match refusal.code {
            AUTH_REQUIRED => Fault::Login(cut(&refusal.message)),
            _ => Fault::Said(cut(&refusal.message)),
        })?;
        self.course.spent.close(used(&ended["usage"]));
        let said = if self.words.trim().is_empty() { &self.words_before } else { &self.words };
        let said = said.clone();
        match ended["stopReason"].as_str() {
            Some("end_turn") => Ok(said),
            Some("refusal") => Err(Fault::Refused(cut(&said))),
            Some("max_tokens") => Err(Fault::Limit("tokens")),
            Some("max_turn_requests") => Err(Fault::Limit("requests of a turn")),
            Some("cancelled") => Err(Fault::Said("its turn was cancelled".to_owned())),
            _ => Err(Fault::Protocol(format!("its turn ended with {}", cut(&ended["stopReason"].to_string())))),
        }
    }

    /// Tells an agent at work that it is to end, and gives it a moment for that.
    async fn take_leave(&mut self) {
        self.is_ending = true;
        self.send(&json!({"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": self.session}}));
        let ending = async {
            // Whatever it says now, it is only to end.
            while let Ok(message) = self.message().await {
                match message {
                    Message::Answer { id, answer } if id.as_u64() == Some(self.asked) => {
                        if let Ok(ended) = answer {
                            self.course.spent.close(used(&ended["usage"]));
                        }
                        return;
                    }
                    Message::Answer { .. } => return,
                    other => self.take(other),
                }
            }
        };
        let _ = tokio::time::timeout(CANCEL_WAIT, ending).await;
    }

    /// Asks, and answers what the agent asks meanwhile.
    async fn ask(&mut self, method: &str, params: Value) -> Result<Result<Value, Refusal>, Fault> {
        self.asked += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params}));
        loop {
            match self.message().await? {
                Message::Answer { id, answer } if id.as_u64() == Some(self.asked) => return Ok(answer),
                Message::Answer { id, .. } => {
                    return Err(Fault::Protocol(format!("it answered {id}, which nobody had asked")));
                }
                other => self.take(other),
            }
            if self.waiting.len() - self.written > WAITING_BYTES_MAX {
                return Err(Fault::TooMuch("it asks more than it reads answers".to_owned()));
            }
            if method == "session/prompt" {
                self.course.afford(false).await?;
            }
        }
    }

    /// The next message, while what waits is written.
    async fn message(&mut self) -> Result<Message, Fault> {
        let idle = self.course.order.agent.timeouts.idle;
        let silence = tokio::time::sleep(idle);
        tokio::pin!(silence);
        let mut beats = tokio::time::interval(HEARTBEAT);
        beats.tick().await;
        let mut beat = 0;
        loop {
            tokio::select! {
                biased;
                () = self.world.cancel.cancelled(), if !self.is_ending => return Err(Fault::Cancelled),
                wrote = self.to.write(&self.waiting[self.written..]), if self.written < self.waiting.len() => {
                    match wrote {
                        Ok(count @ 1..) => self.written += count,
                        // It reads no more. What it still says is heard, and then its end.
                        Ok(0) | Err(_) => self.written = self.waiting.len(),
                    }
                    if self.written == self.waiting.len() {
                        self.waiting.clear();
                        self.written = 0;
                    }
                }
                line = self.from.next() => match line? {
                    Some(line) => return parse(&line),
                    None => return Err(Fault::Ended(String::new())),
                },
                () = &mut silence => return Err(Fault::Idle(idle)),
                _ = beats.tick() => {
                    beat += 1;
                    (self.world.trace)("engine", &format!("nothing heard for {} s", (HEARTBEAT * beat).as_secs()));
                }
            }
        }
    }

    fn send(&mut self, message: &Value) {
        self.waiting.drain(..self.written);
        self.written = 0;
        self.waiting.extend_from_slice(message.to_string().as_bytes());
        self.waiting.push(b'\n');
    }

    /// Takes in what the agent tells, and answers what it asks.
    fn take(&mut self, message: Message) {
        match message {
            Message::Request { id, method, params } => {
                let answer = match self.answer(&method, &params) {
                    Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
                    Err(Refusal { code, message }) => {
                        json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
                    }
                };
                self.send(&answer);
            }
            Message::Notice { method, params } if method == "session/update" && self.is_ours(&params) => {
                self.update(&params["update"]);
            }
            // What is not known is not needed.
            Message::Notice { .. } | Message::Answer { .. } => {}
        }
    }

    fn is_ours(&self, params: &Value) -> bool {
        params["sessionId"].as_str().is_some_and(|id| self.session.as_deref() == Some(id))
    }

    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, Refusal> {
        let known = ["session/request_permission", "fs/read_text_file", "fs/write_text_file"];
        if !known.contains(&method) {
            return Err(Refusal { code: NO_METHOD, message: format!("there is no method {:?} here", cut(method)) });
        }
        if !self.is_ours(params) {
            return Err(invalid("there is no such session"));
        }
        let World { tree, may, trace, .. } = &mut *self.world;
        match method {
            "session/request_permission" => Ok(self.permission(params)),
            "fs/read_text_file" => {
                trace("call", &format!("read {}", cut(params["path"].as_str().unwrap_or_default())));
                read_file(params, tree, may).inspect_err(|refusal| trace("refused", &refusal.message))
            }
            _ => {
                trace("call", &format!("write {}", cut(params["path"].as_str().unwrap_or_default())));
                let written = write_file(params, tree, may);
                written.map(|_| Value::Null).inspect_err(|refusal| trace("refused", &refusal.message))
            }
        }
    }

    fn permission(&mut self, params: &Value) -> Value {
        if self.is_ending {
            return cancelled();
        }
        let call = &params["toolCall"];
        let known = call["toolCallId"].as_str().and_then(|id| self.calls.get(id)).map(String::as_str);
        let kind = call["kind"].as_str().or(known).unwrap_or("other");
        let all = call["locations"].as_array().into_iter().flatten();
        let deed = Deed { kind, locations: all.filter_map(|place| place["path"].as_str()).collect() };
        let permitted = permits(&deed, &self.world.may, &self.world.tree);
        let (answer, is_allowed) = choose(&params["options"], permitted.is_ok());
        let what = format!("{kind} {}", cut(call["title"].as_str().unwrap_or_default()));
        match permitted {
            Ok(()) if is_allowed => (self.world.trace)("permitted", &what),
            Ok(()) => (self.world.trace)("refused", &format!("{what}: it could be permitted for good only")),
            Err(why) => (self.world.trace)("refused", &format!("{what}: {why}")),
        }
        answer
    }

    fn update(&mut self, update: &Value) {
        let text = |content: &Value| content["text"].as_str().filter(|_| content["type"] == "text").map(str::to_owned);
        match update["sessionUpdate"].as_str().unwrap_or_default() {
            "agent_message_chunk" => {
                if let Some(text) = text(&update["content"]) {
                    (self.world.seen)(Delta::Text(&text));
                    // Nothing that long is a result.
                    if self.words.len() + text.len() <= LINE_BYTES_MAX {
                        self.words.push_str(&text);
                    }
                }
            }
            "agent_thought_chunk" => {
                if let Some(text) = text(&update["content"]) {
                    (self.world.seen)(Delta::Reasoning(&text));
                }
            }
            "tool_call" => self.tool_call(update),
            "tool_call_update" => self.tool_call_update(update),
            "plan" => {
                let entries = update["entries"].as_array().into_iter().flatten();
                let entries = entries.filter_map(|entry| entry["content"].as_str()).collect::<Vec<_>>().join("; ");
                (self.world.trace)("plan", &cut(&entries));
            }
            "usage_update" => {
                let dollars = update["cost"]["amount"].as_f64().filter(|_| update["cost"]["currency"] == "USD");
                if let Some(cost) = dollars.and_then(micros) {
                    self.course.spent.cost(cost);
                }
            }
            _ => {}
        }
    }

    fn tool_call(&mut self, call: &Value) {
        let kind = call["kind"].as_str().unwrap_or("other");
        if let Some(id) = call["toolCallId"].as_str().filter(|_| self.calls.len() < CALLS_MAX) {
            self.calls.insert(cut(id), cut(kind));
        }
        if !self.words.trim().is_empty() {
            self.words_before = std::mem::take(&mut self.words);
        }
        self.words.clear();
        let title = call["title"].as_str().unwrap_or_default();
        (self.world.seen)(Delta::ToolCall(&cut(&format!("{kind} {title}"))));
    }

    fn tool_call_update(&mut self, call: &Value) {
        let Some(status) = call["status"].as_str().filter(|status| ["completed", "failed"].contains(status)) else {
            return;
        };
        let blocks = call["content"].as_array().into_iter().flatten();
        let texts = blocks.filter_map(|block| block["content"]["text"].as_str()).collect::<Vec<_>>().join("\n");
        (self.world.trace)("result", &cut(format!("{status} {texts}").trim_end()));
    }
}

fn not_begun(refusal: Refusal) -> Fault {
    match refusal.code {
        AUTH_REQUIRED => Fault::Login(cut(&refusal.message)),
        _ => Fault::Start(cut(&refusal.message)),
    }
}

/// What a turn used. Agents differ in whether tokens of a cache are among those read; the sum says which it is.
fn used(usage: &Value) -> ModelUsage {
    let count = |name: &str| usage[name].as_u64();
    let (Some(input), Some(output)) = (count("inputTokens"), count("outputTokens")) else {
        return ModelUsage::default();
    };
    let (cached, stored) = (count("cachedReadTokens"), count("cachedWriteTokens"));
    let aside = cached.unwrap_or(0).saturating_add(stored.unwrap_or(0));
    let thought = count("thoughtTokens").unwrap_or(0);
    let rest = count("totalTokens").unwrap_or(0).saturating_sub(input.saturating_add(output));
    let (mut all_input, mut all_output) = (input, output);
    if aside > 0 && rest >= aside {
        all_input = input.saturating_add(aside);
    }
    if thought > 0 && rest.saturating_sub(all_input - input) >= thought {
        all_output = output.saturating_add(thought);
    }
    ModelUsage {
        input_tokens: Some(all_input),
        output_tokens: Some(all_output),
        cached_tokens: cached,
        cache_write_tokens: stored,
        reasoning_tokens: count("thoughtTokens"),
    }
}

#[cfg(test)]
mod tests;
