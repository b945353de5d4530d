//! What a run changed: which branch is meant, how it differs, and how that gets into the user's checkout.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wf_effects::git::Repository;
use wf_kernel::record::{Base, Checkpoint};
use wf_view::RunFold;
use wf_view::work::{Work, winning, work};

use crate::engine::Engine;
use crate::error::Error;

/// The word for a base that is a snapshot of the checkout.
pub(crate) const WORKTREE: &str = "worktree";
/// Most paths that a message names.
const PATHS_SHOWN_MAX: usize = 10;

/// What a branch of a run did.
#[derive(Clone, Debug)]
pub struct Change {
    /// The branch's path.
    pub branch: String,
    /// What it did as a whole.
    pub checkpoint: Arc<Checkpoint>,
    repo: PathBuf,
    run: String,
    workflow: String,
    base: Option<Base>,
}

/// What a branch of a run did; without a name, the winner of the last tournament, else the only branch that wrote.
///
/// # Errors
/// [`Error::Branch`] when it is not clear which is meant.
pub fn change_of(fold: &RunFold, branch: Option<&str>) -> Result<Change, Error> {
    let state = fold.state();
    let started = state.started().ok_or_else(|| Error::Damaged("the run has no beginning".to_owned()))?;
    let wrote = work(fold);
    let chosen = match branch {
        Some(path) => named(fold, &wrote, path)?,
        None => match winning(fold, &wrote) {
            Some(found) => found,
            None => only(&wrote)?,
        },
    };
    let repo = started.repo.as_ref().map(PathBuf::from).ok_or_else(|| {
        Error::usage_with(
            "the repository of this run is not here",
            "an imported run shows its changes with `show` and `report`",
        )
    })?;
    Ok(Change {
        branch: chosen.0.path.to_string(),
        checkpoint: chosen.1,
        repo,
        run: started.run_id.clone(),
        workflow: started.workflow_name.clone(),
        base: started.base.clone(),
    })
}

fn named<'a>(fold: &RunFold, wrote: &[Work<'a>], path: &str) -> Result<Work<'a>, Error> {
    if let Some(found) = wrote.iter().find(|(instance, _)| &*instance.path == path) {
        return Ok(found.clone());
    }
    if let Some(kept) = fold.rescued().iter().rev().find(|kept| &*kept.path == path) {
        let message = format!("{path} committed nothing; what it left is kept as {}", kept.name);
        let hint = format!("`whaleflow trees rescue restore {} DIR` writes it into a directory", kept.name);
        return Err(Error::Branch { message, hint });
    }
    let message = match fold.state().at_path(path) {
        Some(_) => format!("{path} changed nothing"),
        None => format!("there is no {path} in this run"),
    };
    Err(Error::Branch { message, hint: listed(wrote) })
}

fn only<'a>(wrote: &[Work<'a>]) -> Result<Work<'a>, Error> {
    match wrote {
        [one] => Ok(one.clone()),
        [] => Err(Error::Branch {
            message: "no branch of this run changed anything".to_owned(),
            hint: "`whaleflow show` says what it did".to_owned(),
        }),
        several => Err(Error::Branch {
            message: format!("{} branches of this run changed something, and no tournament chose one", several.len()),
            hint: listed(several),
        }),
    }
}

fn listed(wrote: &[Work<'_>]) -> String {
    if wrote.is_empty() {
        return "no branch of this run changed anything".to_owned();
    }
    let paths: Vec<&str> = wrote.iter().take(PATHS_SHOWN_MAX).map(|(instance, _)| &*instance.path).collect();
    format!("name one of {}", paths.join(", "))
}

impl Change {
    /// The same, with the files that changed.
    ///
    /// # Errors
    /// When the repository or the commits are gone.
    pub async fn whole(&self, engine: &Engine) -> Result<Checkpoint, Error> {
        let repository = self.repository(engine).await?;
        Ok(repository.harvest(&self.checkpoint.base, &self.checkpoint.commit).await?)
    }

    /// The difference as text for people, and whether it was cut off at `bytes_max`.
    ///
    /// # Errors
    /// When the repository or the commits are gone.
    pub async fn text(&self, engine: &Engine, bytes_max: usize) -> Result<(String, bool), Error> {
        let repository = self.repository(engine).await?;
        let patch = repository.diff(&self.checkpoint.base, &self.checkpoint.commit, bytes_max).await?;
        Ok((String::from_utf8_lossy(&patch.bytes).into_owned(), patch.is_truncated))
    }

    /// A patch that `git apply` takes, from where the run began.
    ///
    /// # Errors
    /// When the repository or the commits are gone.
    pub async fn patch(&self, engine: &Engine) -> Result<Vec<u8>, Error> {
        let repository = self.repository(engine).await?;
        Ok(repository.patch(self.line_base(), &self.checkpoint.commit).await?)
    }

    /// Where the line of work that the branch stands on began: a branch may have gone on from another's end.
    pub(crate) fn line_base(&self) -> &str {
        self.base.as_ref().map_or(&self.checkpoint.base, |base| &base.commit)
    }

    /// The run.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// The name of its workflow.
    pub(crate) fn workflow(&self) -> &str {
        &self.workflow
    }

    /// The root of the checkout that the run was given.
    pub(crate) fn top(&self) -> &Path {
        &self.repo
    }

    /// What the run's trees began at: `commit`, `worktree` or `fixture`.
    pub(crate) fn base_source(&self) -> Option<&str> {
        self.base.as_ref().map(|base| base.source.as_str())
    }

    /// The commit and date of the checkout as it was, where the run began at that.
    pub(crate) fn snapshot(&self) -> Option<(&str, i64)> {
        let base = self.base.as_ref().filter(|base| base.source == WORKTREE)?;
        Some((&base.commit, base.at_ms))
    }

    async fn repository(&self, engine: &Engine) -> Result<Repository, Error> {
        crate::apply::site(engine, &self.run, &self.repo, None).await
    }
}
