//! Throw-away copies of a commit, for what works outside of branches.
//!
//! They are plain directories: no `.git`, no entry in `worktrees/`, so making them needs no lock. A program that asks
//! git inside of one finds no repository, unless the trees' root itself lies in one.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::capture::populate;
use super::control::remove_any;
use super::error::GitError;
use super::repository::Repository;

/// How many shared copies a run keeps for the next reader.
const SHARED_MAX: usize = 4;

/// A copy of a commit's files. It is removed when the last holder drops it.
#[derive(Debug)]
pub struct SnapshotDir {
    temp: Option<TempDir>,
    dir: PathBuf,
}

impl SnapshotDir {
    /// Where the files are.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    pub(crate) async fn make(repository: &Repository, parent: &Path, commit: &str) -> Result<Self, GitError> {
        repository.facts_of(commit).await?;
        std::fs::create_dir_all(parent).map_err(GitError::io("make", parent))?;
        let temp = tempfile::Builder::new().prefix(&commit[..12]).tempdir_in(parent);
        let temp = temp.map_err(GitError::io("write", parent))?;
        let snapshot = Self { dir: temp.path().to_owned(), temp: Some(temp) };
        let clean = repository.clean_dir(repository.git().scratch_dir())?;
        populate(repository.git(), &clean, snapshot.path(), commit).await?;
        Ok(snapshot)
    }
}

impl Drop for SnapshotDir {
    fn drop(&mut self) {
        let Some(temp) = self.temp.take() else { return };
        let path = temp.keep();
        // What cannot be removed now is removed with the process's directory.
        let remove = move || _ = remove_any(&path);
        match tokio::runtime::Handle::try_current() {
            Ok(handle) => _ = handle.spawn_blocking(remove),
            Err(_) => remove(),
        }
    }
}

type Cell = Arc<OnceCell<Arc<SnapshotDir>>>;

/// The shared copies of a run, the latest last.
#[derive(Debug, Default)]
pub(crate) struct SharedSnapshots {
    cells: Mutex<VecDeque<(String, Cell)>>,
}

impl SharedSnapshots {
    /// The copy of `commit`, made once for all who ask at the same time.
    pub(crate) async fn get(
        &self,
        repository: &Repository,
        parent: &Path,
        commit: &str,
    ) -> Result<Arc<SnapshotDir>, GitError> {
        let cell = self.cell(commit);
        let made = cell
            .get_or_try_init(|| async { SnapshotDir::make(repository, parent, commit).await.map(Arc::new) })
            .await?;
        Ok(Arc::clone(made))
    }

    pub(crate) fn clear(&self) {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn cell(&self, commit: &str) -> Cell {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = cells.iter().find(|(of, _)| of == commit) {
            return Arc::clone(cell);
        }
        let cell = Cell::default();
        cells.push_back((commit.to_owned(), Arc::clone(&cell)));
        if cells.len() > SHARED_MAX {
            cells.pop_front();
        }
        cell
    }
}
