//! `logs`: what happened, and what leaves said.

use std::collections::BTreeMap;
use std::time::Duration;

use wf_server::follow::{Follower, push};
use wf_server::{Engine, Error};
use wf_store::{RunId, Seq};
use wf_view::{Keep, LogLine, RunFold};

use crate::args::LogsArgs;
use crate::render::show::log_line;
use crate::session::Session;

/// Between two looks for new lines of a trace.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Most instances whose traces are printed at once.
const INSTANCES_MAX: usize = 1_000;

/// `logs RUN [NODE]`
pub(crate) async fn logs(session: &Session, args: &LogsArgs) -> Result<u8, Error> {
    let (engine, run) = session.run(&args.run.run).await?;
    match &args.node {
        Some(path) => traces(session, &engine, &run, path, args.follow).await?,
        None => records(session, &engine, &run, args.raw, args.follow).await?,
    }
    Ok(0)
}

/// Prints records, in words or as they are stored.
async fn records(session: &Session, engine: &Engine, run: &RunId, is_raw: bool, follow: bool) -> Result<(), Error> {
    let workflow = wf_runtime::workflow_of(&engine.store, run).await?;
    let mut fold = RunFold::new(workflow, Keep::Lean);
    let mut follower = Follower::new(&engine.store, run, Seq::START);
    while !session.out.is_closed() {
        let has_ended = fold.state().end().is_some();
        let page = if follow && !has_ended { follower.next().await? } else { follower.page().await? };
        if page.is_empty() && (!follow || has_ended) {
            break;
        }
        for followed in &page {
            if is_raw {
                let kind = if matches!(followed.record, wf_kernel::Record::Input(_)) { "input" } else { "decision" };
                let (seq, at, payload) = (followed.seq, followed.at_ms, &followed.payload);
                // The payload is JSON as it was hashed; it must not be written anew.
                session.out.data(&format!(r#"{{"seq":{seq},"kind":"{kind}","at_ms":{at},"payload":{payload}}}"#));
            } else {
                let line = LogLine::of_record(followed.seq.0, followed.at_ms, &followed.record);
                session.out.show(&line, log_line);
            }
            if follow {
                push(&mut fold, followed)?;
            }
        }
    }
    Ok(())
}

/// Prints what an instance said, or everything below it.
async fn traces(session: &Session, engine: &Engine, run: &RunId, path: &str, follow: bool) -> Result<(), Error> {
    let workflow = wf_runtime::workflow_of(&engine.store, run).await?;
    let mut fold = RunFold::new(workflow, Keep::Lean);
    let mut follower = Follower::new(&engine.store, run, Seq::START);
    let mut offsets: BTreeMap<String, u64> = BTreeMap::new();
    let mut is_quiet = true;
    loop {
        loop {
            let page = follower.page().await?;
            if page.is_empty() {
                break;
            }
            page.iter().try_for_each(|followed| push(&mut fold, followed))?;
        }
        // Looked at before the traces are read, so that the last words are not missed.
        let has_ended = !follow || is_over(&fold, path);
        let named = named(&fold, path);
        if named.is_empty() && has_ended {
            let message = format!("run {run} has no instance {path:?}");
            return Err(Error::usage_with(message, "`whaleflow show RUN` lists them"));
        }
        for instance in named {
            is_quiet &= !print_new(session, engine, run, &instance, &mut offsets).await?;
        }
        if has_ended || session.out.is_closed() {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if is_quiet && !session.out.is_json() {
        session.out.message(&format!("{path} said nothing; `whaleflow show {run} '{path}'` shows what it gave"));
    }
    Ok(())
}

/// Whether nothing more can be said below a path.
fn is_over(fold: &RunFold, path: &str) -> bool {
    let instance = fold.state().at_path(path).map(|ix| fold.state().instance(ix));
    fold.state().end().is_some() || instance.is_some_and(|instance| instance.status.is_terminal())
}

/// The instance at a path, or the leaves below it.
fn named(fold: &RunFold, path: &str) -> Vec<String> {
    let is_below = |it: &str| it.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '[']));
    let found = fold.state().instances().iter().filter(|it| is_below(&it.path));
    found.map(|it| it.path.to_string()).take(INSTANCES_MAX).collect()
}

/// Prints the lines that are new. Says whether there were any.
async fn print_new(
    session: &Session,
    engine: &Engine,
    run: &RunId,
    instance: &str,
    offsets: &mut BTreeMap<String, u64>,
) -> Result<bool, Error> {
    let mut is_new = false;
    loop {
        let offset = offsets.get(instance).copied().unwrap_or(0);
        let chunk = engine.store.traces.read(run, instance, offset).await?;
        if chunk.lines.is_empty() || session.out.is_closed() {
            return Ok(is_new);
        }
        for line in &chunk.lines {
            session.out.show(&LogLine::of_trace(instance, line), log_line);
        }
        is_new = true;
        offsets.insert(instance.to_owned(), chunk.next_offset);
    }
}
