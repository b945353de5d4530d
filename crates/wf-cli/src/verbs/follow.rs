//! `attach` and `wait`: following a run that another process drives.

use std::time::Duration;

use wf_kernel::RunStatus;
use wf_runtime::Drive;
use wf_server::amounts::parse_duration_ms;
use wf_server::follow::Follower;
use wf_server::{Class, Engine, Error, Keeper, follow};
use wf_store::{RunId, Seq};
use wf_view::RunFacts;

use super::go::{Rested, code_of, tell};
use crate::args::{AttachArgs, WaitArgs};
use crate::interrupt::Interrupts;
use crate::session::Session;
use crate::watch::Watcher;

/// Between two pictures, and between two looks for the run's owner.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many looks in a row may find no owner, when one process may be handing the run to another.
const ORPHAN_LOOKS_MAX: u32 = 30;
/// How much more it counts to know that there is none.
const ORPHAN_CERTAIN: u32 = 15;

/// `attach RUN`
pub(crate) async fn attach(session: &Session, args: &AttachArgs) -> Result<u8, Error> {
    let (engine, run) = session.run(&args.run.run).await?;
    attach_to(session, &engine, &run).await
}

/// Follows a run to its end, shows it, and exits as it did.
pub(crate) async fn attach_to(session: &Session, engine: &Engine, run: &RunId) -> Result<u8, Error> {
    finish(session, follow_to_rest(session, engine, run, true).await?)
}

/// Follows a run that another process drives, unless that process dies before the run comes to rest: then says so.
pub(crate) async fn follow_owner(session: &Session, engine: &Engine, run: &RunId) -> Result<Option<u8>, Error> {
    let ended = follow_to_rest(session, engine, run, true).await?;
    if let Ended::Rested(rested) = &ended
        && matches!(rested.fold.state().status(), RunStatus::Running | RunStatus::Cancelling)
        && engine.keeper(run).await? == Keeper::Nobody
    {
        return Ok(None);
    }
    finish(session, ended).map(Some)
}

/// `wait RUN`
pub(crate) async fn wait(session: &Session, args: &WaitArgs) -> Result<u8, Error> {
    let limit = args.timeout.as_deref().map(parse_duration_ms).transpose().map_err(Error::usage)?;
    let (engine, run) = session.run(&args.run.run).await?;
    let waiting = follow_to_rest(session, &engine, &run, false);
    let ended = match limit {
        None => waiting.await?,
        Some(ms) => tokio::time::timeout(Duration::from_millis(ms), waiting)
            .await
            .map_err(|_| Error::TimedOut { waited_s: ms / 1_000 })??,
    };
    finish(session, ended)
}

/// How following came to its end.
enum Ended {
    /// The run came to rest.
    Rested(Box<Rested>),
    /// The person who watched has seen enough.
    Left,
}

fn finish(session: &Session, ended: Ended) -> Result<u8, Error> {
    match ended {
        Ended::Left => Ok(Class::Interrupted.exit_code()),
        Ended::Rested(rested) => {
            tell(session, &rested);
            let status = rested.fold.state().status();
            if !status.is_ended() && !session.out.is_json() {
                let run = rested.fold.state().started().map_or_else(String::new, |it| it.run_id.clone());
                session.out.message(&format!("no process drives run {run}; `whaleflow resume {run}` goes on with it"));
            }
            Ok(code_of(Drive::People, status))
        }
    }
}

/// Follows a run until it has ended, or until nobody drives it any more.
async fn follow_to_rest(session: &Session, engine: &Engine, run: &RunId, is_shown: bool) -> Result<Ended, Error> {
    let workflow = wf_runtime::workflow_of(&engine.store, run).await?;
    let mut watcher = Watcher::new(&session.out, engine, run, workflow);
    let mut follower = Follower::new(&engine.store, run, Seq::START);
    let mut interrupts = Interrupts::catch()?;
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut orphan_looks = 0;
    loop {
        let page = follower.page().await?;
        if page.is_empty() {
            break;
        }
        watcher.catch_up(&page)?;
    }
    while watcher.fold().state().end().is_none() && orphan_looks < ORPHAN_LOOKS_MAX {
        tokio::select! {
            page = follower.next() => {
                let page = page?;
                if !page.is_empty() {
                    orphan_looks = 0;
                }
                if is_shown { watcher.take(&page)? } else { watcher.catch_up(&page)? }
            }
            _ = look.tick() => {
                if is_shown {
                    watcher.draw().await;
                }
                orphan_looks = match engine.keeper(run).await? {
                    Keeper::Process => 0,
                    Keeper::Changing => orphan_looks + 1,
                    Keeper::Nobody => orphan_looks + ORPHAN_CERTAIN,
                };
            }
            () = interrupts.next() => {
                watcher.rest().await;
                session.out.message(&format!("the run goes on; `whaleflow attach {run}` follows it again"));
                return Ok(Ended::Left);
            }
        }
    }
    if is_shown {
        watcher.rest().await;
    }
    let mut fold = watcher.into_fold();
    follow::hydrate(&engine.store, &mut fold).await?;
    let row = engine.store.runs.head(run).await?;
    let log_digest = (row.seq.0 == fold.seq()).then_some(row.hash);
    let facts = RunFacts { log_digest, now_ms: engine.now_ms(), is_alone: false };
    Ok(Ended::Rested(Box::new(Rested { end: Drive::People, fold, facts })))
}
