//! What a run changed: which branch is meant, how it differs, and how that gets into the user's checkout.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wf_effects::git::{GitError, Repository};
use wf_ir::{Kind, Status};
use wf_kernel::record::{Base, Checkpoint};
use wf_kernel::state::Instance;
use wf_view::RunFold;

use crate::engine::Engine;
use crate::error::Error;

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
    base: Option<Base>,
}

/// What was done to a checkout or a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The checkout, or the name of the new branch.
    pub target: String,
    /// Files that changed.
    pub files: Vec<String>,
}

/// What a branch of a run did; without a name, the winner of the last tournament, else the only branch that wrote.
///
/// # Errors
/// [`Error::Branch`] when it is not clear which is meant.
pub fn change_of(fold: &RunFold, branch: Option<&str>) -> Result<Change, Error> {
    let state = fold.state();
    let started = state.started().ok_or_else(|| Error::Damaged("the run has no beginning".to_owned()))?;
    let wrote: Vec<(&Instance, Arc<Checkpoint>)> =
        state.instances().iter().filter_map(|instance| Some((instance, work_of(fold, instance)?))).collect();
    let chosen = match branch {
        Some(path) => named(fold, &wrote, path)?,
        None => match winner(fold, &wrote) {
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
        base: started.base.clone(),
    })
}

type Work<'a> = (&'a Instance, Arc<Checkpoint>);

/// What a branch did, if it changed a file. A branch that was harvested says so as a whole; one that still runs, or did
/// not succeed, by its last checkpoint.
fn work_of(fold: &RunFold, instance: &Instance) -> Option<Arc<Checkpoint>> {
    if !matches!(fold.node(instance).kind, Kind::Branch { .. }) {
        return None;
    }
    let tree = instance.tree.as_deref()?;
    let whole = tree.harvest.clone().unwrap_or_else(|| {
        Arc::new(Checkpoint {
            base: tree.base.clone(),
            commit: tree.head.clone(),
            tree: tree.head_tree.clone(),
            files: Vec::new(),
            out_of_scope: Vec::new(),
        })
    });
    (whole.base != whole.commit).then_some(whole)
}

fn named<'a>(fold: &RunFold, wrote: &[Work<'a>], path: &str) -> Result<Work<'a>, Error> {
    if let Some(found) = wrote.iter().find(|(instance, _)| &*instance.path == path) {
        return Ok(found.clone());
    }
    let message = match fold.state().at_path(path) {
        Some(_) => format!("{path} changed nothing"),
        None => format!("there is no {path} in this run"),
    };
    Err(Error::Branch { message, hint: listed(wrote) })
}

/// The branch in which the winner of the last tournament that had one worked.
fn winner<'a>(fold: &RunFold, wrote: &[Work<'a>]) -> Option<Work<'a>> {
    let is_decided = |instance: &&Instance| {
        matches!(fold.node(instance).kind, Kind::Tournament(_)) && instance.status == Status::Succeeded
    };
    let last = fold.state().instances().iter().filter(is_decided).max_by_key(|instance| instance.ended_at)?;
    let value = fold.value(last.value.as_ref()?)?;
    let path = value.get("winner").as_str()?;
    // A candidate is a branch, or an element of an expand whose child is one. Work on the winner's tree comes later.
    let continued =
        wrote.iter().filter(|(instance, _)| continues(fold, instance, last)).max_by_key(|(it, _)| it.ended_at);
    let of_winner = |(instance, _): &&Work<'a>| {
        instance.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    continued.or_else(|| wrote.iter().find(of_winner)).cloned()
}

/// Whether a branch went on from where the winner of a tournament ended.
fn continues(fold: &RunFold, instance: &Instance, contest: &Instance) -> bool {
    matches!(&fold.node(instance).tree, Some(wf_ir::node::TreeRef::Winner(node)) if *node == contest.node)
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
    /// The same, with the files that changed and the patch, cut off at `bytes_max`.
    ///
    /// # Errors
    /// When the repository or the commits are gone.
    pub async fn read(&self, engine: &Engine, bytes_max: usize) -> Result<(Checkpoint, String), Error> {
        let repository = self.repository(engine).await?;
        let (base, commit) = (&self.checkpoint.base, &self.checkpoint.commit);
        let whole = repository.harvest(base, commit).await?;
        let patch = repository.diff(base, commit, bytes_max).await?;
        let mut text = String::from_utf8_lossy(&patch.bytes).into_owned();
        if patch.is_truncated {
            text.push_str("\n(the rest is left out; `apply --patch` prints all of it)\n");
        }
        Ok((whole, text))
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
    fn line_base(&self) -> &str {
        self.base.as_ref().map_or(&self.checkpoint.base, |base| &base.commit)
    }

    /// Makes a branch of the user's where the branch of the run ended.
    ///
    /// # Errors
    /// When there is such a branch.
    pub async fn make_branch(&self, engine: &Engine, name: &str) -> Result<Applied, Error> {
        let repository = self.repository(engine).await?;
        let whole = repository.harvest(self.line_base(), &self.checkpoint.commit).await?;
        repository.create_branch(name, &self.checkpoint.commit).await?;
        let files = whole.files.into_iter().map(|file| file.path).collect();
        Ok(Applied { target: name.to_owned(), files })
    }

    /// Changes the files of the user's checkout.
    ///
    /// # Errors
    /// When the checkout has changes of its own, or differs in a file that would change; then nothing is changed.
    pub async fn apply(&self, engine: &Engine) -> Result<Applied, Error> {
        let repository = self.repository(engine).await?;
        self.refuse_dirty(&repository).await?;
        let changed = repository.apply_to_checkout(self.line_base(), &self.checkpoint.commit).await?;
        let files = changed.into_iter().map(|file| file.path).collect();
        Ok(Applied { target: self.repo.display().to_string(), files })
    }

    async fn refuse_dirty(&self, repository: &Repository) -> Result<(), Error> {
        if let Some(base) = self.base.as_ref().filter(|base| base.source == "worktree") {
            // The snapshot of an unchanged checkout, with the same date, is the same commit.
            return match repository.snapshot_worktree(&self.run, base.at_ms).await {
                Ok(now) if now.at.commit == base.commit => Ok(()),
                Ok(_) | Err(GitError::Moved { .. }) => Err(Error::Checkout {
                    message: "the checkout is no longer as it was when the run began".to_owned(),
                }),
                Err(error) => Err(error.into()),
            };
        }
        let state = repository.checkout_state().await?;
        if state.changed.is_empty() {
            return Ok(());
        }
        let shown: Vec<&str> = state.changed.iter().take(PATHS_SHOWN_MAX).map(String::as_str).collect();
        Err(Error::Checkout { message: format!("the checkout has uncommitted changes: {}", shown.join(", ")) })
    }

    async fn repository(&self, engine: &Engine) -> Result<Repository, Error> {
        if !Path::new(&self.repo).is_dir() {
            return Err(Error::usage(format!("the checkout {:?} of the run is gone", self.repo)));
        }
        Ok(Repository::discover(&engine.git().await?, &self.repo).await?)
    }
}
