//! Taking back what was applied, as long as it is still as it was applied.

use std::collections::BTreeSet;
use std::path::Path;

use wf_effects::git::{GitError, HeadRef, Repository};
use wf_store::RunId;

use super::error::{ApplyError, listed};
use super::journal::{Entry, How, Journal, Move, Stage};
use super::{recover, short, site};
use crate::engine::Engine;
use crate::error::Error;
use crate::ops::started_of;

/// What was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// The branch of the run.
    pub branch: String,
    /// Its commit.
    pub commit: String,
    /// How it had been applied.
    pub how: How,
    /// The checkout, or the name of the branch that had been made.
    pub target: String,
    /// Files that changed back.
    pub files: Vec<String>,
    /// Files that were changed since an interrupted apply, and so were left as they are.
    pub left: Vec<String>,
}

/// Takes back what was last applied of a run; of an apply that was interrupted, whatever it did.
///
/// # Errors
/// [`ApplyError::Changed`] when it is no longer as it was applied; then nothing is changed.
pub async fn undo(engine: &Engine, run: &RunId, repo: Option<&Path>) -> Result<Undone, Error> {
    let started = started_of(engine, run).await?;
    let nothing = || ApplyError::NothingToUndo { run: run.to_string() };
    let Some(top) = &started.repo else { return Err(nothing().into()) };
    let repository = site(engine, run.as_str(), top.as_ref(), repo).await?;
    let journal = Journal::open(engine.project.state_root(), &repository)?;
    let recovered = recover::recover(&journal, &repository, |_| false).await?;
    if let Some(recovered) = recovered.filter(|it| it.run == run.as_str() && !it.is_finished) {
        return told(&repository, &recovered.entry, recovered.left).await;
    }
    let mut entries = journal.entries()?;
    entries.retain(|entry| entry.run == run.as_str() && entry.stage == Stage::Done);
    let Some(entry) = entries.pop() else { return Err(nothing().into()) };
    refuse_changed(&repository, &entry).await?;
    let entry = Entry { stage: Stage::Undoing, ..entry };
    let left = recover::take_back(&journal, &repository, &entry).await?.left;
    told(&repository, &entry, left).await
}

/// Whether everything is as it was applied.
async fn refuse_changed(repository: &Repository, entry: &Entry) -> Result<(), Error> {
    let changed = |what: String| Err(ApplyError::Changed { what }.into());
    if let Some(Move { reference, to, .. }) = &entry.moves {
        let name = reference.trim_start_matches("refs/heads/");
        match repository.commit_at(reference).await? {
            Some(at) if at == *to => {}
            Some(at) => return changed(format!("{name} has gone on to {}", short(&at))),
            None => return changed(format!("{name} is gone")),
        }
        if entry.how == How::Branch {
            return refuse_checked_out(repository, name).await;
        }
        if repository.head_ref().await? != HeadRef::Branch(reference.clone()) {
            return changed(format!("{name} is not checked out"));
        }
        if let Some(what) = repository.under_way() {
            return Err(ApplyError::UnderWay { what }.into());
        }
    }
    let standing = repository.standing(&entry.from, &entry.to).await?;
    if !standing.is_after() {
        return changed(listed(&[standing.before, standing.other].concat()));
    }
    if entry.moves.is_some() {
        let touched: BTreeSet<String> = standing.after.into_iter().collect();
        let dirty: Vec<String> = repository.checkout_state().await?.changed;
        let dirty: Vec<String> = dirty.into_iter().filter(|path| touched.contains(path)).collect();
        if !dirty.is_empty() {
            return changed(listed(&dirty));
        }
    }
    Ok(())
}

async fn refuse_checked_out(repository: &Repository, name: &str) -> Result<(), Error> {
    if repository.is_checked_out(name).await? {
        return Err(ApplyError::Changed { what: format!("{name} is checked out") }.into());
    }
    Ok(())
}

async fn told(repository: &Repository, entry: &Entry, left: Vec<String>) -> Result<Undone, Error> {
    let files = match repository.harvest(&entry.from, &entry.to).await {
        Ok(whole) => whole.files.into_iter().map(|file| file.path).filter(|path| !left.contains(path)).collect(),
        Err(GitError::UnknownRevision { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let target = match (&entry.moves, entry.how) {
        (Some(moves), How::Branch) => moves.reference.trim_start_matches("refs/heads/").to_owned(),
        _ => repository.top().display().to_string(),
    };
    let (branch, commit, how) = (entry.branch.clone(), entry.commit.clone(), entry.how);
    Ok(Undone { branch, commit, how, target, files, left })
}
