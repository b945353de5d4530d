//! `ps`, `show`, `replay`.

use wf_server::ops::{ListOptions, list};
use wf_server::{Class, Engine, Error, follow};
use wf_view::{InstanceDetail, Keep, ReplayView, RunDetail, RunList};

use crate::args::{PsArgs, RunArg, ShowArgs};
use crate::session::Session;

/// `ps`
pub(crate) async fn ps(session: &Session, args: &PsArgs) -> Result<u8, Error> {
    let labels = args.labels.iter().map(|text| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Error::usage(format!("the label {text:?} is not of the form name=value")))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let options =
        ListOptions { live: args.live, labels: labels.collect::<Result<_, Error>>()?, limit: args.limit };
    let runs = match Engine::open_if_any(&session.environment, &session.project)? {
        Some(engine) => list(&engine, &options).await?,
        None => RunList::new(Vec::new()),
    };
    session.out.show(&runs, |view| format!("{view:#?}"));
    Ok(0)
}

/// `show RUN [NODE]`
pub(crate) async fn show(session: &Session, args: &ShowArgs) -> Result<u8, Error> {
    let (engine, run) = session.run(&args.run.run).await?;
    let (fold, facts) = follow::fold(&engine.store, &run, Keep::Everything, engine.now_ms()).await?;
    match &args.node {
        Some(path) => {
            let detail = InstanceDetail::of(&fold, path)
                .ok_or_else(|| Error::usage_with(format!("run {run} has no instance {path:?}"), "`whaleflow show` lists them"))?;
            session.out.show(&detail, |view| format!("{view:#?}"));
        }
        None => session.out.show(&RunDetail::of(&fold, &facts), |view| format!("{view:#?}")),
    }
    Ok(0)
}

/// `replay RUN`
pub(crate) async fn replay(session: &Session, args: &RunArg) -> Result<u8, Error> {
    let (engine, run) = session.run(&args.run).await?;
    let replayed = wf_runtime::replay(&engine.store, &run).await?;
    let outcome = replayed.difference.map_or(Ok(()), Err);
    let view = ReplayView::of(run.as_str(), replayed.records, &outcome);
    session.out.show(&view, |view| format!("{view:#?}"));
    Ok(if view.equal { 0 } else { Class::Damaged.exit_code() })
}
