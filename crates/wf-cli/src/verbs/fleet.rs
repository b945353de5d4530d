//! `worker`, `fleet`, and what is done to all runs at once.

use std::sync::Arc;
use std::time::Duration;

use wf_effects::CancelToken;
use wf_kernel::Command;
use wf_server::amounts::parse_duration_ms;
use wf_server::fleet::{TasksOptions, WorkOptions};
use wf_server::{Engine, Error, fleet as board, ops};
use wf_store::TaskStatus;
use wf_view::{CommandView, CommandsView, TasksView, WorkersView};

use super::run::{slots, terms};
use crate::args::{FleetVerb, ResumeArgs, TaskArg, TaskStatusArg, TasksArgs, WorkerArgs};
use crate::interrupt::Interrupts;
use crate::render::fleet::{commands_text, report_text, tasks_table, why_text, workers_table};
use crate::session::Session;

/// `worker`
pub(crate) async fn worker(session: &Session, args: &WorkerArgs) -> Result<u8, Error> {
    let idle = args.idle.as_deref().map(parse_duration_ms).transpose().map_err(Error::usage)?;
    let engine = Arc::new(session.engine()?);
    let stop = CancelToken::default();
    let slots = u32::try_from(slots(session, args.slots as usize)).unwrap_or(u32::MAX);
    let options =
        WorkOptions { slots, can: args.can.clone(), idle_max: idle.map(Duration::from_millis), stop: stop.clone() };
    if !session.out.is_json() {
        session.out.message(&format!("performing up to {slots} tasks of this project at once; Ctrl-C ends it"));
    }
    let mut interrupts = Interrupts::catch()?;
    let mut work = tokio::spawn(board::work(engine.clone(), options));
    let report = loop {
        tokio::select! {
            report = &mut work => break report,
            () = interrupts.next() => stop.cancel(),
        }
    };
    let report = report.map_err(|error| Error::Bug(format!("the worker's task failed: {error}")))??;
    engine.store.close().await;
    session.out.show(&report, report_text);
    Ok(0)
}

/// `fleet …`
pub(crate) async fn fleet(session: &Session, what: &FleetVerb) -> Result<u8, Error> {
    match what {
        FleetVerb::Tasks(args) => tasks(session, args).await,
        FleetVerb::Workers => workers(session).await,
        FleetVerb::Why(args) => why(session, args).await,
    }
}

async fn tasks(session: &Session, args: &TasksArgs) -> Result<u8, Error> {
    let Some(engine) = Engine::open_if_any(&session.environment, &session.project)? else {
        session.out.show(&TasksView::new(Vec::new(), false), tasks_table);
        return Ok(0);
    };
    let run = match &args.run {
        Some(name) => Some(ops::resolve(&engine, name).await?),
        None => None,
    };
    let status = args.status.map(|status| match status {
        TaskStatusArg::Pending => TaskStatus::Pending,
        TaskStatusArg::Claimed => TaskStatus::Claimed,
        TaskStatusArg::Done => TaskStatus::Done,
        TaskStatusArg::Blocked => TaskStatus::Blocked,
        TaskStatusArg::Failed => TaskStatus::Failed,
    });
    let view = board::tasks(&engine, &TasksOptions { run, status, all: args.all, limit: args.limit }).await?;
    session.out.show(&view, tasks_table);
    Ok(0)
}

async fn workers(session: &Session) -> Result<u8, Error> {
    let view = match Engine::open_if_any(&session.environment, &session.project)? {
        Some(engine) => board::workers(&engine).await?,
        None => WorkersView::new(Vec::new()),
    };
    session.out.show(&view, workers_table);
    Ok(0)
}

async fn why(session: &Session, args: &TaskArg) -> Result<u8, Error> {
    let engine = Engine::open_if_any(&session.environment, &session.project)?;
    let engine = engine.ok_or_else(|| Error::NoRun { name: args.task.clone() })?;
    let view = board::why(&engine, &args.task).await?;
    session.out.show(&view, why_text);
    Ok(0)
}

/// `resume --all`: each run in a process of its own, so that one that brings its process down brings down no other.
pub(crate) async fn resume_all(session: &Session, args: &ResumeArgs) -> Result<u8, Error> {
    let mut results = Vec::new();
    if let Some(engine) = Engine::open_if_any(&session.environment, &session.project)? {
        let terms = terms(session, &args.go_on);
        for (run, rest) in ops::without_owner(&engine).await? {
            results.push(match rest {
                Some(why) => CommandView::refused("resume", Some(run.as_str()), "rests", why),
                None => {
                    let (pid, _) = wf_server::detach(&engine, &run, terms)?;
                    let message = format!("run {run} goes on in process {pid}");
                    CommandView::accepted("resume", Some(run.as_str()), message)
                }
            });
        }
    }
    session.out.show(&CommandsView::new(results), commands_text);
    Ok(0)
}

/// `cancel --all`
pub(crate) async fn cancel_all(session: &Session) -> Result<u8, Error> {
    let mut results = Vec::new();
    let mut is_done = true;
    if let Some(engine) = Engine::open_if_any(&session.environment, &session.project)? {
        let by = session.environment.user();
        let command = Command::Cancel { path: None, by };
        for run in ops::cancel_all(&engine, &command).await? {
            is_done &= run.is_over;
            let name = Some(run.run.as_str());
            results.push(match run.is_over {
                true => CommandView::accepted("cancel", name, format!("run {} is cancelled", run.run)),
                false => {
                    CommandView::refused("cancel", name, "still_ending", format!("run {} is still ending", run.run))
                }
            });
        }
    }
    session.out.show(&CommandsView::new(results), commands_text);
    Ok(if is_done { 0 } else { wf_server::Class::Failed.exit_code() })
}

/// Says which runs a crash has left without a process, to whoever starts another.
pub(crate) async fn offer(session: &Session, engine: &Engine) -> Result<(), Error> {
    if session.out.is_json() {
        return Ok(());
    }
    let left = ops::without_owner(engine).await?.into_iter().filter(|(_, rest)| rest.is_none()).count();
    if left > 0 {
        let what = if left == 1 { "one run has".to_owned() } else { format!("{left} runs have") };
        session.out.message(&format!("{what} no process; `whaleflow resume --all` lets them go on"));
    }
    Ok(())
}
