//! An agent that speaks the Agent Client Protocol as a script says: `{"hello": {…}, "turns": [[step, …], …]}`.
//!
//! A step is an object with one field: what to do. Turn after turn is taken, whatever is asked; after the last, the last.

use std::io::{self, Lines, StdinLock, StdoutLock, Write};

use serde_json::{Value, json};

use super::{edit, flood, hang};

const SESSION: &str = "session-1";

struct Agent<'a> {
    script: &'a Value,
    from: Lines<StdinLock<'static>>,
    to: StdoutLock<'static>,
    session: String,
    asked: u64,
    turns: usize,
    is_cancelled: bool,
    /// Whether one with this script was here before, and the script says what a second one does.
    is_second: bool,
}

/// How a step ends its turn, if it does.
enum Step {
    Next,
    End(Value),
    Exit(u8),
}

/// Speaks until the input ends. Gives the exit code.
pub(super) fn speak(script: &Value, path: &str) -> io::Result<u8> {
    let mut agent = Agent {
        script,
        from: io::stdin().lines(),
        to: io::stdout().lock(),
        session: SESSION.to_owned(),
        asked: 0,
        turns: 0,
        is_cancelled: false,
        is_second: !script["turns_later"].is_null() && was_here(path)?,
    };
    while let Some(line) = agent.from.next() {
        let message: Value = serde_json::from_str(&line?)?;
        if let Some(code) = agent.answer(&message)? {
            return Ok(code);
        }
    }
    Ok(0)
}

/// Says whether one was here before, and that now one was.
fn was_here(path: &str) -> io::Result<bool> {
    let mark = format!("{path}.mark");
    let was_here = std::fs::exists(&mark)?;
    std::fs::write(&mark, "")?;
    Ok(was_here)
}

impl Agent<'_> {
    fn answer(&mut self, message: &Value) -> io::Result<Option<u8>> {
        let (id, params) = (&message["id"], &message["params"]);
        let result = match message["method"].as_str().unwrap_or_default() {
            "initialize" => match &self.script["hello"] {
                Value::String(raw) => return self.raw(raw).map(|()| None),
                Value::Null => json!({"protocolVersion": 1, "agentCapabilities": {}}),
                hello => hello.clone(),
            },
            "session/new" => match &self.script["session"] {
                Value::Null => json!({"sessionId": SESSION}),
                Value::String(word) if word == "hang" => hang(),
                answer => answer.clone(),
            },
            "session/load" | "session/resume" => {
                self.session = params["sessionId"].as_str().unwrap_or_default().to_owned();
                self.update(&json!({"sessionUpdate": "agent_message_chunk",
                    "content": {"type": "text", "text": "what was said before"}}))?;
                self.script["load"].clone()
            }
            "session/prompt" => {
                let text = params["prompt"][0]["text"].as_str().unwrap_or_default().to_owned();
                match self.turn(&text)? {
                    Step::Exit(code) => return Ok(Some(code)),
                    Step::End(result) => result,
                    Step::Next => json!({"stopReason": "end_turn"}),
                }
            }
            // Whoever is cancelled when nothing goes on has nothing to say.
            _ => return Ok(None),
        };
        match result.get("error") {
            Some(error) => self.send(&json!({"jsonrpc": "2.0", "id": id, "error": error}))?,
            None => self.send(&json!({"jsonrpc": "2.0", "id": id, "result": result}))?,
        }
        Ok(None)
    }

    fn turn(&mut self, prompt: &str) -> io::Result<Step> {
        let name = if self.is_second { "turns_later" } else { "turns" };
        let turns = self.script[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let steps = turns.get(self.turns).or(turns.last()).cloned().unwrap_or_default();
        self.turns += 1;
        for step in steps.as_array().into_iter().flatten() {
            match self.step(step, prompt)? {
                Step::Next => {}
                end => return Ok(end),
            }
        }
        Ok(Step::Next)
    }

    fn step(&mut self, step: &Value, prompt: &str) -> io::Result<Step> {
        let Some((name, what)) = step.as_object().and_then(|step| step.iter().next()) else { return Ok(Step::Next) };
        let text = what.as_str().unwrap_or_default();
        let chunk = |kind: &str, text: &str| json!({"sessionUpdate": kind, "content": {"type": "text", "text": text}});
        match name.as_str() {
            "say" => self.update(&chunk("agent_message_chunk", text))?,
            "think" => self.update(&chunk("agent_thought_chunk", text))?,
            "repeat" => self.update(&chunk("agent_thought_chunk", prompt))?,
            "update" => self.update(what)?,
            "edit" => edit(what)?,
            "fill" => {
                let bytes = usize::try_from(what[1].as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
                edit(&json!([what[0], "x".repeat(bytes)]))?;
            }
            "raw" => self.raw(text)?,
            "bytes" => {
                let bytes: Vec<u8> =
                    what.as_array().into_iter().flatten().filter_map(Value::as_u64).map(|byte| byte as u8).collect();
                self.to.write_all(&bytes)?;
                self.to.flush()?;
            }
            "until" => {
                while !std::fs::exists(text)? {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
            "stderr" => io::stderr().write_all(text.as_bytes())?,
            "flood" => flood(&mut self.to, what)?,
            "hang" => hang(),
            "wait" => {
                // Until it is cancelled, which it then says.
                while !self.is_cancelled {
                    self.hear(u64::MAX)?;
                }
                return Ok(Step::End(json!({"stopReason": "cancelled", "usage": what})));
            }
            "ask" => {
                let mut params = what["params"].clone();
                if params["sessionId"].is_null() {
                    params["sessionId"] = json!(self.session);
                }
                let answer = self.ask(what["method"].as_str().unwrap_or_default(), &params)?;
                self.update(&chunk("agent_thought_chunk", &answer.to_string()))?;
                let is_allowed = answer["outcome"]["optionId"] == "yes";
                let then = if is_allowed { &what["then"] } else { &what["else"] };
                for step in then.as_array().into_iter().flatten() {
                    match self.step(step, prompt)? {
                        Step::Next => {}
                        end => return Ok(end),
                    }
                }
            }
            "asks" => {
                // More than anybody reads at once, and nothing of the answers.
                for number in 0..what[1].as_u64().unwrap_or(0) {
                    let params = json!({"sessionId": self.session, "path": what[0]});
                    self.send(
                        &json!({"jsonrpc": "2.0", "id": number, "method": "fs/read_text_file", "params": params}),
                    )?;
                }
                hang();
            }
            "stop" => return Ok(Step::End(what.clone())),
            "exit" => return Ok(Step::Exit(what.as_u64().unwrap_or(0) as u8)),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(Step::Next)
    }

    fn ask(&mut self, method: &str, params: &Value) -> io::Result<Value> {
        self.asked += 1;
        let id = format!("ask-{}", self.asked);
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        self.hear(self.asked)
    }

    /// Hears until the answer to a question comes, or it is cancelled.
    fn hear(&mut self, asked: u64) -> io::Result<Value> {
        loop {
            let line = self.from.next().ok_or(io::ErrorKind::UnexpectedEof)??;
            let message: Value = serde_json::from_str(&line)?;
            if message["method"] == "session/cancel" {
                self.is_cancelled = true;
                return Ok(Value::Null);
            }
            if message["id"] == format!("ask-{asked}") {
                return Ok(if message["error"].is_null() { &message["result"] } else { &message["error"] }.clone());
            }
        }
    }

    fn update(&mut self, update: &Value) -> io::Result<()> {
        let params = json!({"sessionId": self.session, "update": update});
        self.send(&json!({"jsonrpc": "2.0", "method": "session/update", "params": params}))
    }

    fn send(&mut self, message: &Value) -> io::Result<()> {
        self.raw(&message.to_string())
    }

    fn raw(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.to, "{line}")?;
        self.to.flush()
    }
}
