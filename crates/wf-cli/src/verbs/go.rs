//! Letting a run go on: here, watched or not, or in a process of its own.

use std::time::Duration;

use wf_effects::CancelToken;
use wf_kernel::{Command, RunStatus};
use wf_runtime::{Drive, DriveOptions, Finished, Owned};
use wf_server::follow::Follower;
use wf_server::{Class, Engine, Error, Owner, Terms, detach, follow, ops};
use wf_store::{RunId, Seq};
use wf_view::{CommandView, GateView, GatesView, Keep, RunFacts, RunFold, RunSummary};

use crate::args::DriveChildArgs;
use crate::ask;
use crate::interrupt::Interrupts;
use crate::render::replies::gates_text;
use crate::render::summary::summary;
use crate::session::Session;
use crate::watch::Watcher;

/// Between two pictures: at most ten a second.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// A run that goes on in this process.
pub(crate) struct Going<'a> {
    pub(crate) session: &'a Session,
    pub(crate) engine: &'a Engine,
    pub(crate) owner: &'a Owner,
    pub(crate) terms: Terms,
}

/// A run that came to rest.
pub(crate) struct Rested {
    pub(crate) end: Drive,
    pub(crate) fold: RunFold,
    pub(crate) facts: RunFacts,
}

impl Rested {
    /// The exit code that says how the run stands.
    pub(crate) fn code(&self) -> u8 {
        code_of(self.end, self.fold.state().status())
    }
}

/// Hands a run that nobody owns to a process of its own, and says so.
pub(crate) fn leave(session: &Session, engine: &Engine, run: &RunId, terms: Terms, verb: &str) -> Result<u8, Error> {
    let (pid, log) = detach(engine, run, terms)?;
    let message = format!("run {run} goes on in process {pid}; `whaleflow attach {run}` follows it");
    let view = CommandView::accepted(verb, Some(run.as_str()), message.as_str()).with("log", log.display().to_string());
    say_left(session, run, &view.with("process", pid.to_string()));
    Ok(0)
}

/// Says to one who does not want to watch that another process drives a run: one JSON object, or a message and the run.
pub(crate) fn say_left(session: &Session, run: &RunId, view: &CommandView) {
    if session.out.is_json() {
        session.out.json(view);
    } else {
        session.out.message(&view.message);
        session.out.data(run.as_str());
    }
}

impl Going<'_> {
    /// Drives the run until it has ended, it is interrupted, or only people who are not here can move it; then says how
    /// it stands.
    pub(crate) async fn drive(&self, owned: Owned) -> Result<u8, Error> {
        let rested = self.until_rest(owned).await?;
        tell(self.session, &rested);
        Ok(rested.code())
    }

    /// The same, without a word at the end.
    pub(crate) async fn until_rest(&self, owned: Owned) -> Result<Rested, Error> {
        let run = owned.run_id().clone();
        let mut owned = Some(owned);
        loop {
            let Some(mine) = owned.take() else { return Err(Error::Bug("a run was driven twice".to_owned())) };
            let rested = Box::pin(self.once(&run, mine)).await?;
            if rested.end != Drive::People || !self.session.out.can_ask() {
                self.engine.store.close().await;
                return Ok(rested);
            }
            if !self.ask_about(&run, &rested.fold).await? {
                self.engine.store.close().await;
                return Ok(rested);
            }
            owned = Some(ops::adopt_soon(self.engine, self.owner, &run, self.terms).await?);
        }
    }

    /// Asks the person at the terminal for the decisions that the run waits for. Says whether it can go on.
    async fn ask_about(&self, run: &RunId, fold: &RunFold) -> Result<bool, Error> {
        let mut is_answered = false;
        for gate in GateView::open(fold) {
            let Some(command) = ask::decide(self.session, &gate).await? else { continue };
            match self.give(run, &command).await {
                Ok(()) => is_answered = true,
                Err(error @ Error::Refused { .. }) => self.session.out.error(&self.session.environment, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(is_answered)
    }

    async fn give(&self, run: &RunId, command: &Command) -> Result<(), Error> {
        ops::would_accept(self.engine, run, command).await?;
        ops::send(self.engine, run, command).await?;
        Ok(())
    }

    async fn once(&self, run: &RunId, owned: Owned) -> Result<Rested, Error> {
        let stop = CancelToken::default();
        let options = DriveOptions { stop: stop.clone(), park_on_people: true };
        let workflow = owned.state().workflow().clone();
        let known = owned.state().records();
        let mut drive = tokio::spawn(owned.drive(options));
        let mut interrupts = Interrupts::catch()?;
        let mut watcher = Watcher::new(&self.session.out, self.engine, run, workflow);
        let is_silent = self.session.out.is_json();
        let mut follower = Follower::new(&self.engine.store, run, Seq::START);
        let mut draw = tokio::time::interval(DRAW_EVERY);
        let mut is_stopping = false;
        let finished = loop {
            tokio::select! {
                finished = &mut drive => break finished,
                page = follower.next(), if !is_silent => watcher.take_after(known, &page?)?,
                _ = draw.tick(), if !is_silent => watcher.draw().await,
                () = interrupts.next() => {
                    if is_stopping {
                        std::process::exit(i32::from(Class::Interrupted.exit_code()));
                    }
                    is_stopping = true;
                    stop.cancel();
                    watcher.rest().await;
                    let hint = format!("ending; `whaleflow resume {run}` will go on (Ctrl-C again kills)");
                    self.session.out.message(&hint);
                }
            }
        };
        let finished = finished.map_err(|error| Error::Bug(format!("the run's task failed: {error}")))??;
        if is_silent {
            return self.rested_silently(run, finished).await;
        }
        loop {
            let page = follower.page().await?;
            if page.is_empty() {
                break;
            }
            watcher.take_after(known, &page)?;
        }
        watcher.rest().await;
        let mut fold = watcher.into_fold();
        follow::hydrate(&self.engine.store, &mut fold).await?;
        Ok(self.rested(finished.end, finished.log_digest, fold))
    }

    /// Nobody watched: a run that succeeded is summed up from its state, any other is read for what its log adds.
    async fn rested_silently(&self, run: &RunId, finished: Finished) -> Result<Rested, Error> {
        let (end, log_digest) = (finished.end, finished.log_digest);
        if finished.state.status() != RunStatus::Succeeded {
            let (fold, _) = follow::fold(&self.engine.store, run, Keep::Lean, self.engine.now_ms()).await?;
            return Ok(self.rested(end, log_digest, fold));
        }
        let mut fold = RunFold::of_state(finished.state);
        follow::hydrate(&self.engine.store, &mut fold).await?;
        Ok(self.rested(end, log_digest, fold))
    }

    fn rested(&self, end: Drive, log_digest: wf_ir::Digest, fold: RunFold) -> Rested {
        Rested {
            end,
            fold,
            facts: RunFacts { log_digest: Some(log_digest), now_ms: self.engine.now_ms(), is_alone: false },
        }
    }
}

/// Says how a run stands: one JSON object, or a summary.
pub(crate) fn tell(session: &Session, rested: &Rested) {
    if session.out.is_json() {
        session.out.json(&RunSummary::of(&rested.fold, &rested.facts));
    } else {
        session.out.data(&summary(&rested.fold, &rested.facts, session.out.data_style()));
        let gates = GatesView::of(&rested.fold);
        if !gates.gates.is_empty() {
            session.out.message(&gates_text(&gates, session.out.message_style()));
        }
    }
}

/// The exit code of a run.
pub(crate) fn code_of(end: Drive, status: RunStatus) -> u8 {
    match (end, status) {
        (_, RunStatus::Succeeded) => 0,
        (_, RunStatus::Failed | RunStatus::Cancelled) => Class::Failed.exit_code(),
        (_, RunStatus::BudgetExceeded) => Class::Budget.exit_code(),
        (Drive::Stopped, _) => Class::Interrupted.exit_code(),
        (Drive::People | Drive::Ended, _) => Class::Waiting.exit_code(),
    }
}

/// `drive-child RUN`: takes a run over and drives it to its end, with nobody watching.
pub(crate) async fn drive_child(session: &Session, args: &DriveChildArgs) -> Result<u8, Error> {
    // The end of the terminal that started it is not its end.
    let _hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    let mut interrupts = Interrupts::catch()?;
    let (engine, run) = session.run(&args.run).await?;
    let owner = engine.announce()?;
    let owned = ops::adopt_soon(&engine, &owner, &run, Terms { is_paced: args.pace, slots: args.slots }).await?;
    let stop = CancelToken::default();
    let mut drive = tokio::spawn(owned.drive(DriveOptions { stop: stop.clone(), park_on_people: false }));
    let finished = loop {
        tokio::select! {
            finished = &mut drive => break finished,
            () = interrupts.next() => stop.cancel(),
        }
    };
    let finished = finished.map_err(|error| Error::Bug(format!("the run's task failed: {error}")))??;
    engine.store.close().await;
    Ok(code_of(finished.end, finished.state.status()))
}
