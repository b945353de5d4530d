//! One change of `worktrees/` at a time: git reads entries that another git is still writing, and fails.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::sync::MutexGuard;
use wf_ir::Digest;

use super::error::GitError;
use super::runner::Git;

/// Held while an entry of `worktrees/` is made or removed.
#[derive(Debug)]
pub(crate) struct WorktreesLock<'a> {
    /// Closing the last handle of the file gives the lock back, whatever ends this process.
    file: File,
    path: PathBuf,
    _tasks: MutexGuard<'a, ()>,
}

impl<'a> WorktreesLock<'a> {
    /// Waits for the tasks of this process, then for other processes.
    pub(crate) async fn take(git: &'a Git, common_dir: &Path) -> Result<Self, GitError> {
        let tasks = git.worktrees().lock().await;
        let name = Digest::of(common_dir.as_os_str().as_encoded_bytes()).short();
        let path = git.locks_dir().join(format!("{name}.lock"));
        let opened = path.clone();
        let waiting = tokio::task::spawn_blocking(move || {
            let file = File::options().create(true).append(true).open(opened)?;
            loop {
                match flock(&file, FlockOperation::LockExclusive) {
                    Ok(()) => return Ok(file),
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        });
        let limit = git.timeout();
        let ended =
            tokio::time::timeout(limit, waiting).await.map_err(|_| GitError::Busy { path: path.clone(), limit })?;
        let file = ended.map_err(std::io::Error::other).and_then(|file| file).map_err(GitError::io("lock", &path))?;
        Ok(Self { file, path, _tasks: tasks })
    }

    /// A handle for git itself: when this process is killed, the git that it started may still be at work.
    pub(crate) fn handle(&self) -> Result<File, GitError> {
        self.file.try_clone().map_err(GitError::io("lock", &self.path))
    }
}
