//! Commands to a run: `retry`, `pause`, `cancel`, `approve`, `reject`, `signal`.
//!
//! The owner of a run takes commands in; where there is none, this process owns it for as long as that takes.

use wf_ir::{Digest, Kind, Value};
use wf_kernel::Command;
use wf_server::{Engine, Error, ops};
use wf_store::RunId;
use wf_view::CommandView;

use super::go::{self, Going, tell};
use super::run::{go_on, terms};
use crate::args::{CancelArgs, DecideArgs, GoOnArgs, PauseArgs, RetryArgs, SignalArgs, SteerArgs};
use crate::session::Session;

/// A command, with what is said of it.
struct Act<'a> {
    verb: &'static str,
    command: Command,
    instance: Option<&'a str>,
    done: String,
}

/// `retry RUN [NODE]`
pub(crate) async fn retry(session: &Session, args: &RetryArgs) -> Result<u8, Error> {
    let (engine, run) = session.run(&args.run.run).await?;
    let command = Command::Retry { path: args.node.clone(), by: session.environment.user() };
    if engine.is_owned(&run).await? {
        let what = args.node.as_deref().unwrap_or("what failed");
        let act =
            Act { verb: "retry", command, instance: args.node.as_deref(), done: format!("{what} is tried again") };
        return give(session, &engine, &run, &act, &args.go_on).await;
    }
    ops::would_accept(&engine, &run, &command).await?;
    ops::send(&engine, &run, &command).await?;
    go_on(session, &engine, &run, &args.go_on, "retry").await
}

/// `pause RUN`
pub(crate) async fn pause(session: &Session, args: &PauseArgs) -> Result<u8, Error> {
    let (engine, run) = session.run(&args.run).await?;
    let command = Command::Pause { path: args.node.clone(), now: args.now, by: session.environment.user() };
    let (what, again) = match &args.node {
        Some(path) => (format!("{path} of run {run}"), format!("{run} {path}")),
        None => (format!("run {run}"), run.to_string()),
    };
    let done = format!("{what} orders nothing new; `whaleflow resume {again}` goes on");
    let act = Act { verb: "pause", command, instance: args.node.as_deref(), done };
    give(session, &engine, &run, &act, &HERE).await
}

/// `resume RUN NODE`
pub(crate) async fn resume_part(session: &Session, run: &str, path: &str, args: &GoOnArgs) -> Result<u8, Error> {
    let (engine, run) = session.run(run).await?;
    let by = session.environment.user();
    let command = Command::Resume { path: Some(path.to_owned()), raise: wf_ir::node::Budget::default(), by };
    let done = format!("{path} of run {run} goes on");
    give(session, &engine, &run, &Act { verb: "resume", command, instance: Some(path), done }, args).await
}

/// `steer RUN NODE TEXT`
pub(crate) async fn steer(session: &Session, args: &SteerArgs) -> Result<u8, Error> {
    let (engine, run) = session.run(&args.run).await?;
    let (path, text) = (args.node.clone(), args.text.clone());
    let command = Command::Steer { path, text, by: session.environment.user() };
    let done = format!("{} of run {run} is told", args.node);
    give(session, &engine, &run, &Act { verb: "steer", command, instance: Some(&args.node), done }, &args.go_on).await
}

/// `cancel RUN [NODE]`
pub(crate) async fn cancel(session: &Session, args: &CancelArgs) -> Result<u8, Error> {
    let (engine, run) = session.run(args.run.as_deref().unwrap_or_default()).await?;
    let command = Command::Cancel { path: args.node.clone(), by: session.environment.user() };
    let done = match &args.node {
        Some(path) => format!("{path} of run {run} is cancelled"),
        None => format!("run {run} is cancelled"),
    };
    let act = Act { verb: "cancel", command, instance: args.node.as_deref(), done };
    give(session, &engine, &run, &act, &HERE).await
}

/// `approve RUN NODE` and `reject RUN NODE`
pub(crate) async fn decide(session: &Session, args: &DecideArgs, approved: bool) -> Result<u8, Error> {
    let (engine, run) = session.run(&args.run).await?;
    let digest = args.digest.as_deref().map(|text| {
        text.parse::<Digest>()
            .map_err(|_| Error::usage(format!("--digest {text:?} is not a digest, which `show` names")))
    });
    let data = match &args.data {
        Some(text) => json("--data", text)?,
        None => default_data(&engine, &run, &args.node, approved).await?,
    };
    let by = args.by.clone().unwrap_or_else(|| session.environment.user());
    let path = args.node.clone();
    let command = Command::Decide { path, digest: digest.transpose()?, approved, data, by };
    let (verb, word) = if approved { ("approve", "approved") } else { ("reject", "rejected") };
    let done = format!("{} of run {run} is {word}", args.node);
    give(session, &engine, &run, &Act { verb, command, instance: Some(&args.node), done }, &args.go_on).await
}

/// `signal RUN NAME`
pub(crate) async fn signal(session: &Session, args: &SignalArgs) -> Result<u8, Error> {
    let (engine, run) = session.run(&args.run).await?;
    let payload = args.data.as_deref().map_or(Ok(Value::Null), |text| json("--data", text))?;
    let command = Command::Signal { name: args.name.clone(), payload, by: session.environment.user() };
    let done = format!("run {run} has the signal {}", args.name);
    give(session, &engine, &run, &Act { verb: "signal", command, instance: None, done }, &args.go_on).await
}

/// Here, and at the pace of whoever watches.
const HERE: GoOnArgs = GoOnArgs { detach: false, no_pace: false, slots: wf_server::SLOTS };

fn json(flag: &str, text: &str) -> Result<Value, Error> {
    Value::from_json(text).map_err(|error| Error::usage(format!("{flag} is not JSON: {error}")))
}

/// What a decision carries when nothing is given: an empty object where a form wants one.
async fn default_data(engine: &Engine, run: &RunId, path: &str, approved: bool) -> Result<Value, Error> {
    let workflow = wf_runtime::workflow_of(&engine.store, run).await?;
    let mut is_inside = false;
    let plain: String = path
        .chars()
        .filter(|c| {
            is_inside = (is_inside || *c == '[') && *c != ']';
            !is_inside && *c != ']'
        })
        .collect();
    let node = workflow.nodes().iter().find(|node| node.path == plain);
    let has_form = node.is_some_and(|node| matches!(&node.kind, Kind::Approve(gate) if gate.form.is_some()));
    Ok(if approved && has_form { Value::map::<String>([]) } else { Value::Null })
}

/// Gives a command to the run's owner; where there is none, takes the run over with it. With `--json`, a refusal is an
/// answer like another.
async fn give(session: &Session, engine: &Engine, run: &RunId, act: &Act<'_>, args: &GoOnArgs) -> Result<u8, Error> {
    match Box::pin(try_give(session, engine, run, act, args)).await {
        Err(error @ Error::Refused { .. }) if session.out.is_json() => {
            let Error::Refused { reason, message } = &error else { return Err(error) };
            let refused = CommandView::refused(act.verb, Some(run.as_str()), reason, message.as_str());
            session.out.json(&act.instance.map_or(refused.clone(), |path| refused.at(path)));
            Ok(error.class().exit_code())
        }
        other => other,
    }
}

async fn try_give(
    session: &Session,
    engine: &Engine,
    run: &RunId,
    act: &Act<'_>,
    args: &GoOnArgs,
) -> Result<u8, Error> {
    let accepted = CommandView::accepted(act.verb, Some(run.as_str()), act.done.as_str());
    let accepted = act.instance.map_or(accepted.clone(), |path| accepted.at(path));
    if engine.is_owned(run).await? {
        ops::command(engine, run, &act.command).await?;
        say(session, &accepted);
        return Ok(0);
    }
    ops::would_accept(engine, run, &act.command).await?;
    let ticket = ops::send(engine, run, &act.command).await?;
    let terms = terms(session, args);
    if args.detach {
        go::leave(session, engine, run, terms, act.verb)?;
        ops::acknowledged(engine, run, &ticket).await?;
        return Ok(0);
    }
    let owner = engine.announce()?;
    match ops::adopt(engine, &owner, run, terms).await {
        Ok(owned) => {
            if !session.out.is_json() {
                session.out.message(&act.done);
            }
            let rested = Going { session, engine, owner: &owner, terms }.until_rest(owned).await?;
            if session.out.is_json() {
                session.out.json(&accepted);
            } else {
                tell(session, &rested);
            }
        }
        // Somebody else took it over meanwhile, and takes the command in.
        Err(Error::Held { .. }) => {
            ops::acknowledged(engine, run, &ticket).await?;
            say(session, &accepted);
        }
        Err(error) => return Err(error),
    }
    Ok(0)
}

fn say(session: &Session, view: &CommandView) {
    session.out.show(view, |view, _| view.message.clone());
}
