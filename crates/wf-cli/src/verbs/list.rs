//! `ps`, `show`, `report`, `replay`, `verify`: reading runs.

use wf_server::doctor::verify as verify_of;
use wf_server::ops::{ListOptions, list};
use wf_server::{Class, Engine, Error, follow, ops};
use wf_store::RunId;
use wf_view::{InstanceDetail, Keep, ReplayView, ReportView, RunDetail, RunFacts, RunFold, RunList, VerifyView};

use crate::args::{PsArgs, RunArg, ShowArgs, VerifyArgs};
use crate::render::list::run_table;
use crate::render::replies::{replay_text, verify_text};
use crate::render::show::{instance_text, run_text};
use crate::session::Session;

/// `ps`
pub(crate) async fn ps(session: &Session, args: &PsArgs) -> Result<u8, Error> {
    let labels = args.labels.iter().map(|text| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Error::usage(format!("the label {text:?} is not of the form name=value")))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let options = ListOptions { live: args.live, labels: labels.collect::<Result<_, Error>>()?, limit: args.limit };
    let runs = match Engine::open_if_any(&session.environment, &session.project)? {
        Some(engine) => list(&engine, &options).await?,
        None => RunList::new(Vec::new()),
    };
    session.out.show(&runs, run_table);
    Ok(0)
}

/// `show RUN [NODE]`
pub(crate) async fn show(session: &Session, args: &ShowArgs) -> Result<u8, Error> {
    let (engine, run) = session.run(&args.run.run).await?;
    let (fold, facts) = looked_at(&engine, &run).await?;
    let Some(path) = &args.node else {
        if session.out.is_json() {
            session.out.json(&RunDetail::of(&fold, &facts));
        } else {
            session.out.data(&run_text(&fold, &facts, session.out.data_style()));
        }
        return Ok(0);
    };
    let detail = InstanceDetail::of(&fold, path).ok_or_else(|| {
        Error::usage_with(format!("run {run} has no instance {path:?}"), "`whaleflow show RUN` lists them")
    })?;
    session.out.show(&detail, instance_text);
    Ok(0)
}

/// A run as it stands, and whether somebody sees to it.
async fn looked_at(engine: &Engine, run: &RunId) -> Result<(RunFold, RunFacts), Error> {
    let (fold, mut facts) = follow::fold(&engine.store, run, Keep::Everything, engine.now_ms()).await?;
    facts.is_alone = fold.state().end().is_none() && !engine.is_owned(run).await?;
    Ok((fold, facts))
}

/// `report RUN`
pub(crate) async fn report(session: &Session, args: &RunArg) -> Result<u8, Error> {
    let (engine, run) = session.run(&args.run).await?;
    let (fold, facts) = looked_at(&engine, &run).await?;
    session.out.show(&ReportView::of(&fold, &facts), |report, _| report.to_markdown());
    Ok(0)
}

/// `replay RUN`
pub(crate) async fn replay(session: &Session, args: &RunArg) -> Result<u8, Error> {
    let (engine, run) = session.run(&args.run).await?;
    let replayed = wf_runtime::replay(&engine.store, &run).await?;
    let outcome = replayed.difference.map_or(Ok(()), Err);
    let view = ReplayView::of(run.as_str(), replayed.records, &outcome);
    session.out.show(&view, replay_text);
    Ok(if view.equal { 0 } else { Class::Damaged.exit_code() })
}

/// `verify [RUN]`
pub(crate) async fn verify(session: &Session, args: &VerifyArgs) -> Result<u8, Error> {
    let view = match (&args.run, Engine::open_if_any(&session.environment, &session.project)?) {
        (Some(name), None) => return Err(Error::NoRun { name: name.clone() }),
        (None, None) => VerifyView::new(0, 0, Vec::new()),
        (Some(name), Some(engine)) => {
            let run = ops::resolve(&engine, name).await?;
            verify_of(&engine, Some(&run)).await?
        }
        (None, Some(engine)) => verify_of(&engine, None).await?,
    };
    session.out.show(&view, verify_text);
    Ok(if view.bad.is_empty() { 0 } else { Class::Damaged.exit_code() })
}
