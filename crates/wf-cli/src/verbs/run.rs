//! `run`: from a workflow to its end.

use wf_ir::node::Budget;
use wf_server::amounts::{parse_duration_ms, parse_usd_micros};
use wf_server::start::{RunOptions, begin, plan as plan_of};
use wf_server::{Error, trust};

use super::check::options_of;
use super::go::{self, Going};
use crate::args::RunArgs;
use crate::session::Session;

/// `run WORKFLOW`
pub(crate) async fn run(session: &Session, args: &RunArgs) -> Result<u8, Error> {
    let options = run_options(args)?;
    let mut plan = plan_of(&session.environment, &session.project, &options).await?;
    let engine = session.engine()?;
    if let Some(project) = plan.wants_trust().cloned()
        && go::settle_trust(session, &project, args.trust).await?
    {
        trust::grant(&project, &session.environment.user(), engine.now_ms())?;
        plan = plan_of(&session.environment, &session.project, &options).await?;
    }
    let is_paced = !args.no_pace && !session.out.is_json() && session.out.is_watched();
    let owner = engine.announce()?;
    let owned = begin(&engine, &owner, &plan, &options, is_paced).await?;
    let going = Going { session, engine: &engine, owner: &owner, is_paced };
    if args.detach {
        return going.leave(owned).await;
    }
    going.drive(owned).await
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
        args: std::env::args().skip(1).collect(),
        ..options_of(&args.what)
    })
}
