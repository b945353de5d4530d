//! Why a result did not get into a checkout, or not out of it again. Nothing is lost by any of it.

use std::path::PathBuf;

use crate::error::Class;

/// Most paths that a message names.
const PATHS_SHOWN_MAX: usize = 10;

/// Why an `apply` or its undoing was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Files that would change are not as they were: commit or move them.
    #[error("the checkout differs in files that would change: {}", listed(.0))]
    Overlaps(Vec<String>),
    /// There is nothing to do.
    #[error("nothing to apply: the {place} has everything of {branch} already")]
    Already {
        /// The checkout, or a branch of the user's.
        place: String,
        /// The branch.
        branch: String,
    },
    /// What would be undone is no longer as it was applied: undo it by hand.
    #[error("what was applied is no longer as it was: {what}")]
    Changed {
        /// How it differs.
        what: String,
    },
    /// No apply of the run is in force here.
    #[error("nothing of run {run} was applied here, or it was undone already")]
    NothingToUndo {
        /// The run.
        run: String,
    },
    /// Both sides changed the same places: merge by hand.
    #[error("the branch that is checked out changed the same places: {}", listed(.0))]
    Conflicts(Vec<String>),
    /// Another process applies something to the checkout: wait for it.
    #[error("another process applies something to {top:?}")]
    Busy {
        /// The checkout.
        top: PathBuf,
    },
    /// Another git changes the index: wait for it.
    #[error("the index of the checkout is locked by {path:?}")]
    Locked {
        /// Git's lock.
        path: PathBuf,
    },
    /// Git is in the middle of something: finish that first.
    #[error("the checkout is in the middle of {what}")]
    UnderWay {
        /// Of what.
        what: &'static str,
    },
    /// Nobody knows whose commit it would be: say so.
    #[error("git does not know who you are, and a commit needs a name and an address")]
    Nobody,
    /// There is no branch to commit to: check one out.
    #[error("no branch is checked out at {top:?}")]
    NoBranch {
        /// The checkout.
        top: PathBuf,
    },
    /// Files alone cannot hold it: let the index change too.
    #[error("submodules would change, and files cannot hold that: {}", listed(.0))]
    Submodules(Vec<String>),
    /// The checkout is not there: name another.
    #[error("the checkout {top:?} of the run is gone")]
    Gone {
        /// Where it was.
        top: PathBuf,
    },
    /// The repository does not have the run's commits: name another.
    #[error("the repository at {top:?} is not the one of the run")]
    Foreign {
        /// The checkout.
        top: PathBuf,
    },
    /// The run began at changes that were never committed.
    #[error("the run began at changes of the checkout that are not in its commits")]
    Uncommitted,
}

impl ApplyError {
    /// `WF` and four digits.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Overlaps(_) => "WF0740",
            Self::Already { .. } => "WF0741",
            Self::Changed { .. } => "WF0742",
            Self::NothingToUndo { .. } => "WF0743",
            Self::Conflicts(_) => "WF0744",
            Self::Busy { .. } => "WF0745",
            Self::Locked { .. } => "WF0746",
            Self::UnderWay { .. } => "WF0747",
            Self::Nobody => "WF0748",
            Self::NoBranch { .. } => "WF0749",
            Self::Submodules(_) => "WF0750",
            Self::Gone { .. } | Self::Foreign { .. } => "WF0752",
            Self::Uncommitted => "WF0753",
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Overlaps(_) => "commit or stash them first, or take the result with --as-branch or --patch",
            Self::Already { .. } => "`whaleflow diff` shows what it was; `whaleflow apply --undo` takes it back",
            Self::Changed { .. } => "`whaleflow diff` shows what was applied; take it back by hand, or with git revert",
            Self::NothingToUndo { .. } => "`whaleflow apply` applies it",
            Self::Conflicts(_) => "take the result with --as-branch, then merge that branch with git",
            Self::Busy { .. } => "try again when it has ended",
            Self::Locked { .. } => {
                "wait for the other git; if none is at work, one was killed: remove the file that it left"
            }
            Self::UnderWay { .. } => "finish or abort it first, or take the result with --as-branch or --patch",
            Self::Nobody => "git config --global user.name NAME; git config --global user.email ADDRESS",
            Self::NoBranch { .. } => "check a branch out, or take the result with --as-branch",
            Self::Submodules(_) => "take the result with --squash, --merge or --as-branch",
            Self::Gone { .. } | Self::Foreign { .. } => "name a checkout of the run's repository with --repo",
            Self::Uncommitted => "commit these changes and use --squash, or change the files only",
        }
    }

    /// What kind of thing did not work.
    pub fn class(&self) -> Class {
        match self {
            Self::NothingToUndo { .. }
            | Self::Nobody
            | Self::NoBranch { .. }
            | Self::Gone { .. }
            | Self::Foreign { .. } => Class::Usage,
            Self::Overlaps(_)
            | Self::Already { .. }
            | Self::Changed { .. }
            | Self::Conflicts(_)
            | Self::Busy { .. }
            | Self::Locked { .. }
            | Self::UnderWay { .. }
            | Self::Submodules(_)
            | Self::Uncommitted => Class::Refused,
        }
    }
}

/// Paths as a message names them.
pub(crate) fn listed(paths: &[String]) -> String {
    let mut text = paths.iter().take(PATHS_SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if paths.len() > PATHS_SHOWN_MAX {
        text.push_str(&format!(" and {} more", paths.len() - PATHS_SHOWN_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::ApplyError;

    #[test]
    fn files_that_cannot_hold_a_submodule_are_named() {
        let error = ApplyError::Submodules(vec!["vendor/lib".to_owned()]);
        assert_eq!(error.code(), "WF0750");
        assert_eq!(error.to_string(), "submodules would change, and files cannot hold that: vendor/lib");
    }
}
