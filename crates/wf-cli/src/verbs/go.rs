//! Letting a run go on: here, watched or not, or in a process of its own.

use wf_effects::CancelToken;
use wf_kernel::RunStatus;
use wf_runtime::{Drive, DriveOptions, Owned};
use wf_server::{Class, Engine, Error, Owner, Project, detach, follow, ops};
use wf_view::{CommandView, Keep, RunFacts, RunFold, RunSummary};

use crate::session::Session;

/// A run that goes on in this process.
pub(crate) struct Going<'a> {
    pub(crate) session: &'a Session,
    pub(crate) engine: &'a Engine,
    pub(crate) owner: &'a Owner,
    pub(crate) is_paced: bool,
}

impl Going<'_> {
    /// Hands the run to a process of its own.
    pub(crate) async fn leave(&self, owned: Owned) -> Result<u8, Error> {
        let run = owned.run_id().clone();
        ops::let_go(self.engine, owned).await?;
        let (pid, log) = detach(self.engine, &run, self.is_paced)?;
        let view = CommandView::accepted("run", Some(run.as_str()), format!("run {run} goes on in process {pid}"))
            .with("log", log.display().to_string());
        self.session.out.show(&view, |_| run.to_string());
        Ok(0)
    }

    /// Drives the run to its end, or until only people can move it.
    pub(crate) async fn drive(&self, owned: Owned) -> Result<u8, Error> {
        let run = owned.run_id().clone();
        let stop = CancelToken::default();
        let options = DriveOptions { stop: stop.clone(), park_on_people: true };
        let finished = owned.drive(options).await?;
        let fold = match finished.state.status() {
            RunStatus::Succeeded => RunFold::of_state(finished.state),
            _ => follow::fold(&self.engine.store, &run, Keep::Lean, self.engine.now_ms()).await?.0,
        };
        let mut fold = fold;
        follow::hydrate(&self.engine.store, &mut fold).await?;
        let facts = RunFacts {
            log_digest: Some(finished.log_digest),
            repo: fold.state().started().and_then(|started| started.repo.clone()),
            now_ms: self.engine.now_ms(),
        };
        let summary = RunSummary::of(&fold, &facts);
        self.session.out.show(&summary, |view| format!("{view:#?}"));
        self.engine.store.close().await;
        Ok(code_of(finished.end, fold.state().status()))
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

/// Whether a project is to be trusted from now on: by the flag, or by the person at the terminal.
pub(crate) async fn settle_trust(session: &Session, project: &Project, is_given: bool) -> Result<bool, Error> {
    let _ = (session, project);
    Ok(is_given)
}
