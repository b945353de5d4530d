//! What can go wrong with git, by what the caller does next.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wf_kernel::Usage;
use wf_kernel::record::{Failure, TREE_LOST};

use crate::process::lacks_descriptors;

/// Why git's part was not done.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no git: install it.
    #[error("cannot run git ({program:?}): {source}")]
    Absent {
        /// What was to be run.
        program: PathBuf,
        /// Why it could not be.
        source: io::Error,
    },
    /// Git is too old: update it.
    #[error("git {found} is too old, at least {needed} is needed")]
    TooOld {
        /// What it says of itself.
        found: String,
        /// The oldest that will do.
        needed: &'static str,
    },
    /// There is no repository: go to one, or name one.
    #[error("no git repository at {start:?}, above it, or directly below it")]
    NoRepository {
        /// Where the search began.
        start: PathBuf,
    },
    /// There are several: name one.
    #[error("several git repositories directly below {start:?}: {}", list_paths(candidates))]
    Several {
        /// Where the search began.
        start: PathBuf,
        /// What was found, in order.
        candidates: Vec<PathBuf>,
    },
    /// The repository has no checkout: name a worktree of it.
    #[error("{path:?} is a bare repository")]
    Bare {
        /// Its git directory.
        path: PathBuf,
    },
    /// There is no commit yet: make one.
    #[error("the repository at {top:?} has no commit yet")]
    Unborn {
        /// The checkout.
        top: PathBuf,
    },
    /// A revision or id names no commit: name another.
    #[error("{rev:?} names no commit of the repository")]
    UnknownRevision {
        /// What was given.
        rev: String,
    },
    /// An argument is not of the right form: give another.
    #[error("{what} {value:?} is not valid: {reason}")]
    Invalid {
        /// Which argument.
        what: &'static str,
        /// What was given.
        value: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// Git's control files are not what they must be: look at them before going on.
    #[error("git's control file {path:?} is odd: {reason}")]
    Tampered {
        /// Which.
        path: PathBuf,
        /// What is odd about it.
        reason: String,
    },
    /// A ref is not where the caller thought: reload, and decide again.
    #[error("{reference} is at {actual}, not at {expected}")]
    Moved {
        /// Which ref.
        reference: String,
        /// Where it was thought to be.
        expected: String,
        /// Where it is.
        actual: String,
    },
    /// A branch of that name is there already: choose another name.
    #[error("the branch {name:?} exists already")]
    BranchExists {
        /// Its name.
        name: String,
    },
    /// The checkout holds changes in the same files: commit or move them first.
    #[error("the checkout differs in files that would change: {}", list(paths))]
    Overlaps {
        /// The files.
        paths: Vec<String>,
    },
    /// Somebody else is changing the index of the checkout: let them finish.
    #[error("the index of the checkout is locked by {path:?}")]
    IndexLocked {
        /// Git's lock.
        path: PathBuf,
    },
    /// Submodule pointers are in the index alone: apply in a way that changes it.
    #[error("files cannot hold a change of submodules: {}", list(paths))]
    Submodules {
        /// Where they are.
        paths: Vec<String>,
    },
    /// A commit cannot hold what is there: remove it.
    #[error("git cannot commit {}: {reason}", list(paths))]
    Uncommittable {
        /// The paths.
        paths: Vec<String>,
        /// What they are.
        reason: &'static str,
    },
    /// An answer or a change is larger than the engine takes in: narrow the work.
    #[error("{what} exceeds {max}")]
    TooLarge {
        /// What.
        what: String,
        /// The bound.
        max: u64,
    },
    /// Git did not end in time and was ended: try again.
    #[error("git {command} did not end within {} s", limit.as_secs())]
    TimedOut {
        /// The subcommand.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// Another process of the engine holds the repository for too long: try again.
    #[error("the lock {path:?} was not free within {} s", limit.as_secs())]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// The limit.
        limit: Duration,
    },
    /// As many trees as there may be are in use: wait until one is given back.
    #[error("all {trees} trees of the pool are in use")]
    PoolFull {
        /// How many there are.
        trees: usize,
    },
    /// Somebody else has taken the tree: leave everything as it is.
    #[error("another process has taken over what this was done for")]
    Fenced,
    /// The store did not say who has which tree: try again.
    #[error("the rows of trees cannot be read or written: {detail}")]
    Leases {
        /// What it said.
        detail: String,
    },
    /// The file system said no: look at it, then try again.
    #[error("cannot {action} {path:?}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What a leaf had written there went with the machine: perform the leaf again.
    #[error("what was written in the tree {path:?} went when the machine stopped")]
    Lost {
        /// The tree.
        path: PathBuf,
    },
    /// There is no room left: make some, then try again.
    #[error("git {command} failed: the disk of {path:?} is full")]
    DiskFull {
        /// The subcommand.
        command: String,
        /// A directory on that disk.
        path: PathBuf,
    },
    /// Git itself said no.
    #[error("git {command} failed ({code}): {stderr}")]
    Failed {
        /// The subcommand.
        command: String,
        /// Exit code, or how it ended.
        code: String,
        /// The end of what it said.
        stderr: String,
    },
}

impl GitError {
    /// Whether another attempt could end differently with nothing else changed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::TimedOut { .. }
            | Self::Busy { .. }
            | Self::PoolFull { .. }
            | Self::Fenced
            | Self::Leases { .. }
            | Self::Io { .. }
            | Self::Lost { .. }
            | Self::DiskFull { .. }
            | Self::Failed { .. } => true,
            Self::Absent { .. }
            | Self::TooOld { .. }
            | Self::NoRepository { .. }
            | Self::Several { .. }
            | Self::Bare { .. }
            | Self::Unborn { .. }
            | Self::UnknownRevision { .. }
            | Self::Invalid { .. }
            | Self::Tampered { .. }
            | Self::Moved { .. }
            | Self::BranchExists { .. }
            | Self::Overlaps { .. }
            | Self::IndexLocked { .. }
            | Self::Submodules { .. }
            | Self::Uncommittable { .. }
            | Self::TooLarge { .. } => false,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Absent { .. } | Self::TooOld { .. } => Some("install a newer git and see that it is on PATH"),
            Self::NoRepository { .. } => Some("run inside a repository, or name one with --repo"),
            Self::Several { .. } => Some("name one of them with --repo"),
            Self::Bare { .. } => Some("name a checkout of it (a clone or a worktree) with --repo"),
            Self::Unborn { .. } => Some("make a first commit; an empty one will do: git commit --allow-empty"),
            Self::UnknownRevision { .. } => Some("git log shows what there is"),
            Self::Tampered { .. } => Some("compare it with another checkout; git worktree repair may mend it"),
            Self::Moved { .. } => Some("something else moved the ref; nothing was lost, run it again"),
            Self::BranchExists { .. } => Some("choose another name"),
            Self::Overlaps { .. } => Some("commit or stash these files first"),
            Self::IndexLocked { .. } => {
                Some("wait for the other git; if none is at work, one was killed: remove the file it left")
            }
            Self::Submodules { .. } => Some("take the result with --squash, --merge or --as-branch"),
            Self::Uncommittable { .. } => Some("a tree may hold files, symbolic links and directories"),
            Self::PoolFull { .. } => Some("one is free when a branch ends; trees.max in the configuration allows more"),
            Self::Leases { .. } => Some("whaleflow doctor looks at the store"),
            Self::Busy { .. } => Some("another whaleflow process works on this repository"),
            Self::DiskFull { .. } => Some("make room on it; whaleflow trees clean removes trees that nobody needs"),
            Self::Io { source, .. } if lacks_descriptors(source) => Some("let it open more files (ulimit -n)"),
            Self::Io { .. } => Some("look at free space and permissions"),
            Self::Lost { .. } => {
                Some("the next attempt begins in a new one; whaleflow trees rescue list shows what was saved")
            }
            Self::Invalid { .. }
            | Self::Fenced
            | Self::TooLarge { .. }
            | Self::TimedOut { .. }
            | Self::Failed { .. } => None,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn tampered(path: &Path, reason: impl Into<String>) -> Self {
        Self::Tampered { path: path.to_owned(), reason: reason.into() }
    }
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        let retryable = error.is_retryable();
        let code = if matches!(error, GitError::Lost { .. }) { TREE_LOST } else { "git" };
        let message = match error.hint() {
            Some(hint) => format!("{error} (hint: {hint})"),
            None => error.to_string(),
        };
        Self {
            code: code.to_owned(),
            message,
            retryable,
            usage: Usage::default(),
            evidence: None,
            artifacts: std::collections::BTreeMap::new(),
            rescued: None,
        }
    }
}

/// How many paths a message names before it only counts them.
const PATHS_SHOWN_MAX: usize = 10;

fn list(paths: &[String]) -> String {
    let mut text = paths.iter().take(PATHS_SHOWN_MAX).map(|path| format!("{path:?}")).collect::<Vec<_>>().join(", ");
    if paths.len() > PATHS_SHOWN_MAX {
        text.push_str(&format!(" and {} more", paths.len() - PATHS_SHOWN_MAX));
    }
    text
}

fn list_paths(paths: &[PathBuf]) -> String {
    list(&paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_failure_has_the_hint_and_says_whether_to_try_again() {
        let failure = Failure::from(GitError::Overlaps { paths: (0..12).map(|n| format!("f{n}")).collect() });
        assert_eq!((failure.code.as_str(), failure.retryable), ("git", false));
        expect![[r#"the checkout differs in files that would change: "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9" and 2 more (hint: commit or stash these files first)"#]].assert_eq(&failure.message);
        let failure = Failure::from(GitError::TimedOut { command: "add".into(), limit: Duration::from_secs(9) });
        assert!(failure.retryable);
        expect!["git add did not end within 9 s"].assert_eq(&failure.message);
    }
}
