//! Headless command lines: one process for each thing that is asked, the task on its standard input, and lines of JSON on
//! its output, which a table of [`super::dialects`] explains.

use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::course::{Course, Next, micros};
use super::dialects::{Counts, Dialect, Says};
use super::line::{LINE_BYTES_MAX, Lines};
use super::read::{cut, explained};
use super::{Done, Fault, Order, Stopped, World};
use crate::models::{Delta, ModelUsage};
use crate::process::{End, Finished, Pipes, converse};

/// Most lines that may be something else: programs print warnings.
const ODD_LINES_MAX: u32 = 100;
/// How often is shown that an agent is still at work.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long the output of a program that is done is still heard.
const LINGER_WAIT: Duration = Duration::from_secs(1);
/// Longest id of a session. It becomes an argument.
const SESSION_BYTES_MAX: usize = 512;

/// Works with an agent until there is a result.
pub(super) async fn work(dialect: &Dialect, order: Order<'_>, mut world: World<'_>) -> Result<Done, Stopped> {
    let mut course = Course::new(&order, world.steering, world.budget);
    let mut session = order.resume.clone();
    let mut left = order.timeout;
    let ended = ask_until_done(dialect, &mut course, &mut world, &mut session, &mut left).await;
    let usage = course.settled();
    match ended {
        Ok((value, tasks)) => Ok(Done { value, tasks, usage, session, prompts: course.prompts }),
        Err(fault) => Err(Stopped { fault, usage, session }),
    }
}

async fn ask_until_done(
    dialect: &Dialect,
    course: &mut Course<'_>,
    world: &mut World<'_>,
    session: &mut Option<String>,
    left: &mut Duration,
) -> Result<(wf_ir::Value, Vec<wf_ir::Value>), Fault> {
    let mut prompt = course.first(session.is_some());
    let mut is_resumed = session.is_some();
    loop {
        let answered = ask(dialect, course, world, session, left, &prompt).await;
        let said = match answered {
            // What was cut off may not be there any more; then it begins with nothing.
            Err(Fault::Said(_) | Fault::Ended(_)) if std::mem::take(&mut is_resumed) => {
                (world.trace)("engine", "the session that was cut off cannot be gone on with");
                *session = None;
                prompt = course.anew("");
                continue;
            }
            said => said?,
        };
        is_resumed = false;
        match course.after(&said).await? {
            Next::Done(value, tasks) => return Ok((value, tasks)),
            Next::Ask(next) if session.is_some() => prompt = next,
            Next::Ask(next) => {
                let said = cut(&said);
                prompt = course.anew(&format!("You did this before, and handed back:\n{said}\n\n{next}"));
            }
        }
    }
}

/// One process. Gives what it said last.
async fn ask(
    dialect: &Dialect,
    course: &mut Course<'_>,
    world: &mut World<'_>,
    session: &mut Option<String>,
    left: &mut Duration,
    prompt: &str,
) -> Result<String, Fault> {
    course.prompts += 1;
    course.spent.open();
    let mut process = world.process.clone();
    process.argv = argv(dialect, &course.order.agent.command, process.sandbox.is_some(), session.as_deref());
    process.bounds.timeout = *left;
    let begun = tokio::time::Instant::now();
    let trace = world.trace;
    let lines = |stream: crate::process::Stream, line: &str| trace(stream.as_str(), line);
    let mut heard = Heard::default();
    let talk = async |pipes: Pipes| listen(dialect, course, world, pipes, prompt, &mut heard).await;
    let conversed = Box::pin(converse(&process, &lines, talk)).await;
    *left = left.saturating_sub(begun.elapsed());
    if let Some(id) = heard.session.take() {
        *session = Some(id);
    }
    let (finished, talked) = conversed?;
    talked.ok_or(Fault::TimedOut)??;
    if heard.is_over {
        course.spent.close(heard.usage.unwrap_or_default());
    }
    verdict(heard, &finished)
}

/// What came of a process that has ended.
fn verdict(heard: Heard, finished: &Finished) -> Result<String, Fault> {
    if let Some(what) = heard.error {
        return Err(Fault::Said(cut(&what)));
    }
    let said = heard.result.or(heard.said).unwrap_or_default();
    match finished.end {
        End::TimedOut => Err(Fault::TimedOut),
        // One that is done and lingers on is ended, which is no fault of what it handed back.
        End::Exited(0) | End::Cancelled if heard.is_over => Ok(said),
        End::Exited(0) | End::Cancelled => {
            Err(explained(Fault::Ended("what it prints was cut off".to_owned()), finished))
        }
        End::Exited(_) | End::Signalled(_) => Err(explained(Fault::Ended(String::new()), finished)),
    }
}

/// The whole command line.
fn argv(dialect: &Dialect, command: &[String], is_inside: bool, session: Option<&str>) -> Vec<String> {
    let held = if is_inside { dialect.inside } else { dialect.outside };
    let words = dialect.args.iter().chain(held).map(|word| (*word).to_owned());
    let mut argv: Vec<String> = command.iter().cloned().chain(words).collect();
    if let Some(session) = session {
        argv.extend(dialect.resume.iter().map(|word| (*word).to_owned()));
        argv.push(session.to_owned());
    }
    argv.extend(dialect.last.iter().map(|word| (*word).to_owned()));
    argv
}

/// What was heard of one process.
#[derive(Default)]
struct Heard {
    session: Option<String>,
    said: Option<String>,
    result: Option<String>,
    usage: Option<ModelUsage>,
    error: Option<String>,
    is_over: bool,
    odd_lines: u32,
}

/// Hands the task over and hears what comes, until the output ends.
async fn listen(
    dialect: &Dialect,
    course: &mut Course<'_>,
    world: &mut World<'_>,
    pipes: Pipes,
    prompt: &str,
    heard: &mut Heard,
) -> Result<(), Fault> {
    let Pipes { mut stdin, stdout } = pipes;
    let mut from = Lines::new(stdout);
    let cancel = world.cancel;
    let idle = course.order.agent.timeouts.idle;
    let telling = async move {
        // One that reads no further is free not to.
        let _ = stdin.write_all(prompt.as_bytes()).await;
        drop(stdin);
    };
    let hearing = async {
        loop {
            let next = next_line(&mut from, idle, world.trace);
            let line = match heard.is_over {
                false => next.await?,
                // It has handed back what it has, and need not end by itself.
                true => tokio::time::timeout(LINGER_WAIT, next).await.unwrap_or(Ok(None))?,
            };
            let Some(line) = line else { return Ok(()) };
            hear(dialect, &line, heard, course, world)?;
            course.afford(false).await?;
        }
    };
    tokio::pin!(telling, hearing);
    let mut is_told = false;
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Fault::Cancelled),
            () = &mut telling, if !is_told => is_told = true,
            heard = &mut hearing => return heard,
        }
    }
}

async fn next_line<R: tokio::io::AsyncRead + Unpin>(
    from: &mut Lines<R>,
    idle: Duration,
    trace: &(dyn Fn(&str, &str) + Send + Sync),
) -> Result<Option<String>, Fault> {
    let silence = tokio::time::sleep(idle);
    tokio::pin!(silence);
    let mut beats = tokio::time::interval(HEARTBEAT);
    beats.tick().await;
    let mut beat = 0;
    loop {
        tokio::select! {
            biased;
            line = from.next() => return line,
            () = &mut silence => return Err(Fault::Idle(idle)),
            _ = beats.tick() => {
                beat += 1;
                trace("engine", &format!("nothing heard for {} s", (HEARTBEAT * beat).as_secs()));
            }
        }
    }
}

/// Takes a line in.
fn hear(
    dialect: &Dialect,
    line: &str,
    heard: &mut Heard,
    course: &mut Course<'_>,
    world: &mut World<'_>,
) -> Result<(), Fault> {
    let parsed: Option<Value> = serde_json::from_str(line).ok().filter(Value::is_object);
    let Some(value) = parsed else {
        heard.odd_lines += 1;
        if heard.odd_lines > ODD_LINES_MAX {
            return Err(Fault::Protocol(format!(
                "it printed more than {ODD_LINES_MAX} lines that are no JSON objects"
            )));
        }
        (world.trace)("stdout", &cut(line));
        return Ok(());
    };
    for rule in dialect.rules {
        if rule.when.iter().all(|(place, wanted)| holds(&value, place, wanted)) {
            take(&rule.says, &value, heard, course, world);
        }
    }
    Ok(())
}

fn take(says: &Says, line: &Value, heard: &mut Heard, course: &mut Course<'_>, world: &mut World<'_>) {
    let World { seen, trace, session, .. } = world;
    match says {
        Says::Session(place) => {
            let is_id = |id: &String| {
                let is_word = |it: char| it.is_ascii_alphanumeric() || "-_.:".contains(it);
                !id.is_empty() && !id.starts_with('-') && id.len() <= SESSION_BYTES_MAX && id.chars().all(is_word)
            };
            let id = text_at(line, place).filter(is_id);
            if let Some(id) = id.filter(|id| heard.session.as_ref() != Some(id)) {
                trace("session", &id);
                session(&id);
                heard.session = Some(id);
            }
        }
        Says::Text(place) => {
            for text in texts_at(line, place) {
                seen(Delta::Text(&text));
                seen(Delta::Text("\n"));
                heard.said = Some(text).filter(|text| text.len() <= LINE_BYTES_MAX);
            }
        }
        Says::Thought(place) => {
            for text in texts_at(line, place) {
                seen(Delta::Reasoning(&text));
                seen(Delta::Reasoning("\n"));
            }
        }
        Says::Tool(name, about) => {
            let what: Vec<String> = about.iter().flat_map(|place| texts_at(line, place)).collect();
            let name = text_at(line, name).unwrap_or_default();
            seen(Delta::ToolCall(&cut(format!("{name} {}", what.join(" ")).trim_end())));
        }
        Says::Seen(place) => texts_at(line, place).iter().for_each(|text| trace("result", &cut(text))),
        Says::Result(place) => heard.result = text_at(line, place),
        Says::Usage(counts) => {
            let used = usage_at(line, counts);
            heard.usage = Some(heard.usage.unwrap_or(ModelUsage::NOTHING).plus(used));
        }
        Says::Cost(place) => {
            if let Some(cost) = at(line, place).first().and_then(|it| it.as_f64()).and_then(micros) {
                course.spent.add_cost(cost);
            }
        }
        Says::Error(places) => {
            let what = places.iter().find_map(|place| text_at(line, place).filter(|text| !text.trim().is_empty()));
            heard.error = Some(what.unwrap_or_else(|| "it did not work".to_owned()));
        }
        Says::Recovered => heard.error = None,
        Says::End => heard.is_over = true,
    }
}

/// Whether a place holds a word; with `!`, whether it does not.
fn holds(line: &Value, place: &str, wanted: &str) -> bool {
    let is = |word: &str| {
        at(line, place).iter().any(|found| match found {
            Value::String(text) => text == word,
            Value::Bool(flag) => word == if *flag { "true" } else { "false" },
            _ => false,
        })
    };
    match wanted.strip_prefix('!') {
        Some(word) => !is(word),
        None => is(wanted),
    }
}

/// What is at a place.
fn at<'v>(line: &'v Value, place: &str) -> Vec<&'v Value> {
    let mut found = vec![line];
    for name in place.split('/') {
        found = match name {
            "*" => found.into_iter().filter_map(Value::as_array).flatten().collect(),
            name => found.into_iter().filter_map(|value| value.get(name)).collect(),
        };
    }
    found
}

fn texts_at(line: &Value, place: &str) -> Vec<String> {
    at(line, place).into_iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text_at(line: &Value, place: &str) -> Option<String> {
    texts_at(line, place).into_iter().next()
}

fn usage_at(line: &Value, counts: &Counts) -> ModelUsage {
    let count = |place: &str| at(line, place).first().and_then(|count| count.as_u64());
    let sum = |places: &[&str]| {
        let (first, more) = places.split_first()?;
        let more = more.iter().filter_map(|place| count(place));
        Some(more.fold(count(first)?, u64::saturating_add))
    };
    ModelUsage {
        input_tokens: sum(counts.input),
        output_tokens: sum(counts.output),
        cached_tokens: count(counts.cached),
        cache_write_tokens: count(counts.stored),
        reasoning_tokens: None,
    }
}

#[cfg(test)]
mod tests;
