//! The slots of a pool, as they lie on the disk.
//!
//! ```text
//! <root>/<slot>/             a tree, or what the last tenant left of one
//! <root>/.meta/<slot>.json   for whom it was made
//! <root>/.meta/<slot>.index  the engine's index of a tree that nobody has
//! <root>/.kept/<run>/        what a commit cannot hold
//! <root>/.trash/             what is being removed
//! ```
//!
//! Who has which slot is in the store; what is here without a row there is left over.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::clean::{copy_with_time, read_if_small};
use super::control::{TreePlace, remove_any, within};
use super::error::GitError;
use super::names::{check_id, check_run};
use super::repository::Repository;
use super::rescue::move_aside;

/// A marker beyond this is none.
const MARKER_BYTES_MAX: u64 = 64 << 10;

/// Written beside a tree before it is handed out, so that what is in it can be told from its beginning even where the
/// store has forgotten it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    pub(crate) run: String,
    pub(crate) branch: String,
    /// The commit at which the tree was made.
    pub(crate) base: String,
}

/// The slots below one root.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    root: PathBuf,
}

impl Slots {
    /// `root` must be a real path, because git writes real paths into its pointers, and they are compared.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn place(&self, repository: &Repository, name: &str) -> TreePlace {
        TreePlace { dir: self.root.join(name), admin: repository.admin_dir(name), name: name.to_owned() }
    }

    pub(crate) fn kept_dir(&self, run: &str) -> PathBuf {
        self.root.join(".kept").join(run)
    }

    pub(crate) fn index_file(&self, name: &str) -> PathBuf {
        self.meta().join(format!("{name}.index"))
    }

    fn marker_file(&self, name: &str) -> PathBuf {
        self.meta().join(format!("{name}.json"))
    }

    fn meta(&self) -> PathBuf {
        self.root.join(".meta")
    }

    /// Keeps the engine's index of a slot that is given back, for its next tenant.
    pub(crate) fn keep_index(&self, index: &Path, name: &str) -> Result<(), GitError> {
        let to = self.index_file(name);
        within(&self.meta(), || copy_with_time(index, &to)).map_err(GitError::io("copy an index to", &to))
    }

    /// The marker of a slot, if there is a whole one.
    ///
    /// # Errors
    /// When it cannot be read: it may be there.
    pub(crate) fn marker(&self, name: &str) -> Result<Option<Marker>, GitError> {
        let path = self.marker_file(name);
        let read = read_if_small(&path, MARKER_BYTES_MAX).map_err(GitError::io("read", &path))?;
        let marker: Option<Marker> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(marker.filter(|marker| check_id(&marker.base).is_ok() && check_run(&marker.run).is_ok()))
    }

    pub(crate) fn write_marker(&self, name: &str, marker: &Marker) -> Result<(), GitError> {
        let (meta, path) = (self.meta(), self.marker_file(name));
        let written = within(&meta, || {
            let file = tempfile::Builder::new().tempfile_in(&meta)?;
            serde_json::to_writer(&file, marker)?;
            file.persist(&path)?;
            Ok(())
        });
        written.map_err(GitError::io("write", &path))
    }

    /// Forgets for whom a slot was made, and the engine's index of it.
    pub(crate) fn forget(&self, name: &str) -> Result<(), GitError> {
        remove_any(&self.marker_file(name))?;
        remove_any(&self.index_file(name))
    }

    /// Moves something out of the way, to be removed.
    pub(crate) fn move_to_trash(&self, path: &Path, name: &str) -> Result<Option<PathBuf>, GitError> {
        match std::fs::symlink_metadata(path) {
            Ok(_) => move_aside(path, &self.root.join(".trash"), name).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(GitError::io("look at", path)(error)),
        }
    }

    /// The directories of slots, whether or not somebody has them.
    pub(crate) fn names(&self) -> Result<Vec<String>, GitError> {
        let names = entries_in(&self.root)?.into_iter().map(|(name, _)| name);
        Ok(names.filter(|name| !name.starts_with('.')).collect())
    }

    /// Removes what is in the trash, whoever put it there, and what is known of slots that are not among `known`.
    pub(crate) fn sweep(&self, known: &dyn Fn(&str) -> bool) -> Result<(), GitError> {
        for (_, path) in entries_in(&self.root.join(".trash"))? {
            remove_any(&path)?;
        }
        for (name, path) in entries_in(&self.meta())? {
            let slot = name.strip_suffix(".json").or_else(|| name.strip_suffix(".index"));
            if slot.is_some_and(|slot| !known(slot) && !self.root.join(slot).exists()) {
                remove_any(&path)?;
            }
        }
        for (_, dir) in entries_in(&self.root.join(".kept"))? {
            // It stays while something is in it.
            let _ = std::fs::remove_dir(dir);
        }
        for name in [".trash", ".kept", ".meta"] {
            let _ = std::fs::remove_dir(self.root.join(name));
        }
        Ok(())
    }
}

/// What a commit could not hold and was moved away, below the directory of a pool: run and place, in order.
///
/// # Errors
/// When a directory cannot be listed.
pub fn kept_remainders(root: &Path) -> Result<Vec<(String, PathBuf)>, GitError> {
    let mut found = Vec::new();
    for (run, dir) in entries_in(&root.join(".kept"))? {
        found.extend(entries_in(&dir)?.into_iter().map(|(_, path)| (run.clone(), path)));
    }
    Ok(found)
}

/// What is in a directory, in order; nothing where there is none.
pub(crate) fn entries_in(dir: &Path) -> Result<Vec<(String, PathBuf)>, GitError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(GitError::io("list", dir)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(GitError::io("list", dir))?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of them removes the trash when it finds it empty, as others put something there.
    #[test]
    fn what_comes_and_goes_at_once_is_moved_all_the_same() {
        let temp = tempfile::tempdir().unwrap();
        let slots = Slots::new(temp.path().to_owned());
        let come_and_go = |name: &str| {
            let path = temp.path().join(name);
            for _ in 0..200 {
                std::fs::create_dir(&path).unwrap();
                let trash = slots.move_to_trash(&path, name).unwrap().unwrap();
                assert!(!path.exists());
                remove_any(&trash).unwrap();
                let _ = std::fs::remove_dir(trash.parent().unwrap());
            }
        };
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "d"] {
                scope.spawn(move || come_and_go(name));
            }
        });
        assert_eq!(entries_in(temp.path()).unwrap(), []);
    }
}
