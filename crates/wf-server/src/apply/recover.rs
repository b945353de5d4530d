//! What a process left that was killed while it applied something: finished, or taken back.

use wf_effects::git::{FileOrder, Repository};

use super::journal::{Entry, How, Journal, Stage};
use super::{file_order, forward, of_git};
use crate::error::Error;

/// What became of an apply that was interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The run.
    pub run: String,
    /// The branch.
    pub branch: String,
    /// Whether it was finished, and not taken back.
    pub is_finished: bool,
    /// Files that were changed since, and so were left as they are.
    pub left: Vec<String>,
    pub(super) entry: Entry,
    /// Whether it is what was asked for now.
    pub(super) is_wanted: bool,
}

/// Brings whatever was interrupted to an end: what is wanted again is finished, everything else taken back.
pub(super) async fn recover(
    journal: &Journal,
    repository: &Repository,
    is_wanted: impl Fn(&Entry) -> bool,
) -> Result<Option<Recovered>, Error> {
    let mut last = None;
    for entry in journal.entries()?.into_iter().filter(Entry::is_open) {
        let is_wanted = entry.stage == Stage::Begun && is_wanted(&entry);
        let done = if is_wanted && !is_moved(repository, &entry).await? {
            match forward(repository, &entry).await {
                Ok(()) => {
                    let entry = Entry { stage: Stage::Done, ..entry };
                    journal.write(&entry)?;
                    Recovered { is_finished: true, ..recovered(entry, Vec::new()) }
                }
                Err(error) => {
                    take_back(journal, repository, &entry).await?;
                    return Err(of_git(error));
                }
            }
        } else {
            take_back(journal, repository, &entry).await?
        };
        last = Some(Recovered { is_wanted: is_wanted && done.is_finished, ..done });
    }
    journal.prune()?;
    Ok(last)
}

/// Takes an entry back as far as it was done. What is neither as it was nor as it was to be is left alone. One whose
/// last step was done has ended well after all.
pub(super) async fn take_back(journal: &Journal, repository: &Repository, entry: &Entry) -> Result<Recovered, Error> {
    if entry.stage == Stage::Begun && is_moved(repository, entry).await? {
        let entry = Entry { stage: Stage::Done, ..entry.clone() };
        journal.write(&entry)?;
        return Ok(Recovered { is_finished: true, ..recovered(entry, Vec::new()) });
    }
    journal.write(&Entry { stage: Stage::Undoing, ..entry.clone() })?;
    let left = back(repository, entry).await?;
    repository.unpin(&entry.pin()).await?;
    let entry = Entry { stage: Stage::Undone, ..entry.clone() };
    journal.write(&entry)?;
    Ok(recovered(entry, left))
}

/// Whether the last step of an entry was done: the branch is where it was to be.
async fn is_moved(repository: &Repository, entry: &Entry) -> Result<bool, Error> {
    match &entry.moves {
        Some(moves) => Ok(repository.commit_at(&moves.reference).await?.as_ref() == Some(&moves.to)),
        None => Ok(false),
    }
}

/// Puts files, index and branch back. Answers with the files that were left alone.
pub(super) async fn back(repository: &Repository, entry: &Entry) -> Result<Vec<String>, Error> {
    if let Some(moves) = entry.moves.as_ref().filter(|_| entry.how != How::Branch) {
        let at = repository.commit_at(&moves.reference).await?;
        if at != moves.from && at.as_ref() != Some(&moves.to) {
            // Somebody has gone on from somewhere else: the files are theirs.
            return Ok(repository.standing(&entry.from, &entry.to).await?.after);
        }
    }
    let mut left = Vec::new();
    if entry.how != How::Branch {
        left = repository.standing(&entry.from, &entry.to).await?.other;
        let order = FileOrder { leaves_others: true, ..file_order(entry, true) };
        repository.change_files(&order).await.map_err(of_git)?;
    }
    let Some(moves) = &entry.moves else { return Ok(left) };
    let why = format!("whaleflow: undo {} {} of run {}", entry.how.as_str(), entry.branch, entry.run);
    match &moves.from {
        Some(from) if repository.commit_at(&moves.reference).await?.as_ref() == Some(&moves.to) => {
            repository.move_branch(&moves.reference, &moves.to, from, &why).await?;
        }
        Some(_) => {}
        None => repository.drop_branch(moves.reference.trim_start_matches("refs/heads/"), &moves.to).await?,
    }
    Ok(left)
}

fn recovered(entry: Entry, left: Vec<String>) -> Recovered {
    Recovered {
        run: entry.run.clone(),
        branch: entry.branch.clone(),
        is_finished: false,
        left,
        entry,
        is_wanted: false,
    }
}
