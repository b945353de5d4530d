//! `run` and `resume`: from a workflow, or from where a run stopped, to its end.

use wf_ir::node::Budget;
use wf_kernel::{Command, RunStatus};
use wf_server::amounts::{parse_duration_ms, parse_raise, parse_usd_micros};
use wf_server::start::{RunOptions, begin, plan as plan_of};
use wf_server::{Engine, Error, Project, Terms, ops, trees, trust};
use wf_store::RunId;
use wf_view::CommandView;

use super::check::options_of;
use super::follow::{attach_to, follow_owner};
use super::go::{self, Going};
use crate::args::{GoOnArgs, ResumeArgs, RunArgs, SandboxArg};
use crate::ask;
use crate::session::Session;

/// `run WORKFLOW`
pub(crate) async fn run(session: &Session, args: &RunArgs) -> Result<u8, Error> {
    let mut options = run_options(args)?;
    let mut plan = plan_of(&session.environment, &session.project, &options).await?;
    if let Some(chosen) = ask::choose_repository(session, &plan.candidates()).await? {
        options.repo = Some(chosen);
        plan = plan_of(&session.environment, &session.project, &options).await?;
    }
    let engine = session.engine()?;
    if let Some(project) = plan.wants_trust(args.trust).cloned()
        && ask::settle_trust(session, &project, args.trust).await?
    {
        trust::grant(&project, &session.environment.user(), engine.now_ms())?;
        plan = plan_of(&session.environment, &session.project, &options).await?;
    }
    super::fleet::offer(session, &engine).await?;
    if plan.is_mocked() {
        session.out.message("no role is configured, so the mock answers for each: see docs/providers.md");
    }
    let terms = terms(session, &args.go_on);
    let owner = engine.announce()?;
    let owned = begin(&engine, &owner, &plan, &options, terms).await?;
    let run = owned.run_id().clone();
    if args.go_on.detach {
        ops::let_go(&engine, owned).await?;
        return go::leave(session, &engine, &run, terms, "run");
    }
    if !session.out.is_json() && !session.out.can_redraw() {
        session.out.message(&format!("run {run} of {}", plan.workflow.name()));
    }
    Box::pin(Going { session, engine: &engine, owner: &owner, terms }.drive(owned)).await
}

/// The terms on which a run goes on. The mock takes its time only where somebody watches.
pub(crate) fn terms(session: &Session, args: &GoOnArgs) -> Terms {
    let is_watched = session.out.is_watched() && (!args.detach || session.out.can_ask());
    let slots = slots(session, args.slots);
    Terms { is_paced: !args.no_pace && !session.out.is_json() && is_watched, slots }
}

/// As many leaves at once as are wanted, or as the limits of this process allow; says so where that is fewer.
pub(crate) fn slots(session: &Session, wanted: usize) -> usize {
    let slots = wf_server::affordable_slots(wanted);
    if slots < wanted {
        session.out.message(&format!(
            "performing up to {slots} leaves at once and not {wanted}: more would need more open files (`ulimit -n`)"
        ));
    }
    slots
}

fn run_options(args: &RunArgs) -> Result<RunOptions, Error> {
    let usd = args.budget_usd.as_deref().map(parse_usd_micros).transpose().map_err(Error::usage)?;
    let wall = args.timeout.as_deref().map(parse_duration_ms).transpose().map_err(Error::usage)?;
    Ok(RunOptions {
        inputs: args.inputs.clone(),
        inputs_file: args.inputs_file.clone(),
        labels: args.labels.clone(),
        budget: Budget { tokens: args.budget_tokens, cost_usd_micros: usd, wall_ms: wall, leaves: None },
        seed: args.seed,
        base: args.base.clone(),
        sandbox_off: args.sandbox == SandboxArg::Off,
        args: std::env::args().skip(1).collect(),
        ..options_of(&args.what)
    })
}

/// `resume RUN`
pub(crate) async fn resume(session: &Session, args: &ResumeArgs) -> Result<u8, Error> {
    if let Some(path) = &args.node {
        return super::act::resume_part(session, &args.run.run, path, &args.go_on).await;
    }
    let raise = parse_raise(args.budget_usd.as_deref(), args.budget_tokens.as_deref(), args.timeout.as_deref());
    let raise = raise.map_err(Error::usage)?;
    let (engine, run) = session.run(&args.run.run).await?;
    if args.trust {
        let started = ops::started_of(&engine, &run).await?;
        if let Some(repo) = &started.repo {
            let project = Project::of(&session.environment, repo.as_ref())?;
            trust::grant(&project, &session.environment.user(), engine.now_ms())?;
        }
    }
    let row = engine.store.runs.head(&run).await?;
    if row.head.ended
        && let Err(error) = trees::tidy(&engine).await
    {
        session.out.message(&format!("trees that are left of it cannot be cleared up: {error}"));
    }
    match row.head.status.as_str() {
        status if status == RunStatus::Succeeded.as_str() => {
            session.out.message(&format!("run {run} has succeeded already; there is nothing to go on with"));
            return attach_to(session, &engine, &run).await;
        }
        status if status == RunStatus::BudgetExceeded.as_str() && raise == Budget::default() => {
            return Err(Error::Exhausted { run: run.to_string() });
        }
        status if row.head.ended && status != RunStatus::BudgetExceeded.as_str() => {
            return Err(Error::Refused {
                reason: "ended".to_owned(),
                message: format!("run {run} has ended: {status}; `whaleflow retry {run}` tries again what failed"),
            });
        }
        _ => {}
    }
    let by = session.environment.user();
    let commands = resuming(&engine, &run, raise, &by).await?;
    if engine.is_owned(&run).await? {
        for command in &commands {
            ops::command(&engine, &run, command).await?;
        }
        if args.go_on.detach {
            let message =
                format!("run {run} goes on in the process that drives it; `whaleflow attach {run}` follows it");
            go::say_left(session, &run, &CommandView::accepted("resume", Some(run.as_str()), message.as_str()));
            return Ok(0);
        }
        if let Some(code) = Box::pin(follow_owner(session, &engine, &run)).await? {
            return Ok(code);
        }
        return go_on(session, &engine, &run, &args.go_on, "resume").await;
    }
    for command in &commands {
        ops::send(&engine, &run, command).await?;
    }
    go_on(session, &engine, &run, &args.go_on, "resume").await
}

/// What has to be said to a run so that it goes on, with higher ceilings where that is wanted.
async fn resuming(engine: &Engine, run: &RunId, raise: Budget, by: &str) -> Result<Vec<Command>, Error> {
    let resume = Command::Resume { path: None, raise, by: by.to_owned() };
    match ops::would_accept(engine, run, &resume).await {
        Ok(()) => Ok(vec![resume]),
        Err(Error::Refused { reason, .. }) if reason == "not_paused" => {
            if raise == Budget::default() {
                // It only lacks a process.
                return Ok(Vec::new());
            }
            // Ceilings are raised while nothing is ordered.
            Ok(vec![Command::Pause { path: None, now: false, by: by.to_owned() }, resume])
        }
        Err(error) => Err(error),
    }
}

/// Drives a run that nobody owns, here or in a process of its own.
pub(crate) async fn go_on(
    session: &Session,
    engine: &Engine,
    run: &RunId,
    args: &GoOnArgs,
    verb: &str,
) -> Result<u8, Error> {
    let terms = terms(session, args);
    if args.detach {
        return go::leave(session, engine, run, terms, verb);
    }
    let owner = engine.announce()?;
    loop {
        match Box::pin(ops::adopt(engine, &owner, run, terms)).await {
            Ok(owned) => return Box::pin(Going { session, engine, owner: &owner, terms }.drive(owned)).await,
            // Somebody else was faster; should they die, it is this process's turn again.
            Err(Error::Held { .. }) => {
                if let Some(code) = Box::pin(follow_owner(session, engine, run)).await? {
                    return Ok(code);
                }
            }
            Err(error) => return Err(error),
        }
    }
}
