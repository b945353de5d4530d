//! What is being done to a checkout, written down before it is done.
//!
//! The journal of a checkout is a directory in the state directory with a file for each `apply`. A file is written aside,
//! synced and renamed, so that it is there whole or not at all; one lock per checkout keeps two of them apart, and goes
//! with the process that holds it.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wf_effects::git::Repository;
use wf_ir::Digest;

use super::error::ApplyError;
use crate::error::Error;
use crate::project::{make_private_dir, slug};

/// The largest entry that is read.
const ENTRY_BYTES_MAX: u64 = 256 << 10;
/// How many entries that were undone are kept for people to look at.
const UNDONE_KEPT: usize = 20;

/// How a branch of a run gets to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The files of the checkout change, and nothing else.
    Files,
    /// One commit on the branch that is checked out.
    Squash,
    /// A merge commit on the branch that is checked out.
    Merge,
    /// A branch of its own.
    Branch,
}

impl How {
    /// The word used in views.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Squash => "squash",
            Self::Merge => "merge",
            Self::Branch => "branch",
        }
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// It was begun: what it says may be done, or some of it.
    Begun,
    /// All of it is done.
    Done,
    /// Taking it back was begun.
    Undoing,
    /// It is as if it had never been.
    Undone,
}

/// The branch that is checked out, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Move {
    /// Its full name; for a branch that is made, its own.
    pub(crate) reference: String,
    /// Where it was; none did not exist.
    pub(crate) from: Option<String>,
    /// Where it is to be.
    pub(crate) to: String,
}

/// One `apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) version: u32,
    /// Orders entries and marks files: letters and digits.
    pub(crate) id: String,
    pub(crate) run: String,
    pub(crate) branch: String,
    /// The commit of the run's branch.
    pub(crate) commit: String,
    pub(crate) how: How,
    /// The root of the checkout.
    pub(crate) top: PathBuf,
    /// The commit whose files the checkout has.
    pub(crate) from: String,
    /// The commit whose files it is to have; the same where no file changes.
    pub(crate) to: String,
    pub(crate) moves: Option<Move>,
    pub(crate) at_ms: i64,
    pub(crate) by: String,
    pub(crate) stage: Stage,
}

impl Entry {
    /// The ref that keeps its commits alive for as long as it can be undone.
    pub(crate) fn pin(&self) -> String {
        format!("refs/whaleflow/{}/apply/{}", self.run, self.id)
    }

    /// Whether some of it may be done and some not.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Begun | Stage::Undoing)
    }
}

/// The journal of one checkout, for as long as this process has it for itself.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    /// The lock goes with the file.
    _lock: File,
}

impl Journal {
    /// The journal of a checkout.
    ///
    /// # Errors
    /// [`ApplyError::Busy`] while another process has it.
    pub(crate) fn open(state_root: &Path, repository: &Repository) -> Result<Self, Error> {
        let git_dir = repository.git_dir();
        let name = slug(&repository.top().file_name().unwrap_or_default().to_string_lossy());
        let hash = Digest::of(git_dir.as_os_str().as_encoded_bytes()).short();
        let dir = state_root.join("applies").join(format!("{name}-{hash}"));
        make_private_dir(&dir)?;
        let path = dir.join("lock");
        let file = File::options().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { dir, _lock: file }),
            Err(TryLockError::WouldBlock) => Err(ApplyError::Busy { top: repository.top().to_owned() }.into()),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
        }
    }

    /// Writes an entry down; when this answers, it is on the disk.
    pub(crate) fn write(&self, entry: &Entry) -> Result<(), Error> {
        let path = self.path(&entry.id);
        let aside = path.with_extension("new");
        let text = serde_json::to_vec(entry).map_err(|error| Error::Bug(error.to_string()))?;
        let written = File::create(&aside).and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
        written.map_err(Error::io("write", &aside))?;
        std::fs::rename(&aside, &path).map_err(Error::io("write", &path))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(Error::io("write", &self.dir))
    }

    /// All entries, oldest first. One that cannot be read is an error: what it says might be half done.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for found in std::fs::read_dir(&self.dir).map_err(Error::io("list", &self.dir))? {
            let path = found.map_err(Error::io("list", &self.dir))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let damaged = |what: String| Error::Damaged(format!("the journal {path:?} cannot be read: {what}"));
            let size = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
            if size > ENTRY_BYTES_MAX {
                return Err(damaged(format!("it has {size} bytes")));
            }
            let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
            let entry: Entry = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
            if entry.version != 1 {
                return Err(Error::Newer(format!("the journal {path:?} was written by a later version")));
            }
            entries.push(entry);
        }
        entries.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(entries)
    }

    /// Forgets the oldest of what was undone.
    pub(crate) fn prune(&self) -> Result<(), Error> {
        let mut undone = self.entries()?;
        undone.retain(|entry| entry.stage == Stage::Undone);
        let excess = undone.len().saturating_sub(UNDONE_KEPT);
        for entry in undone.iter().take(excess) {
            let path = self.path(&entry.id);
            std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }

    fn path(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }
}

/// An id that comes after those before it.
pub(crate) fn entry_id(at_ms: i64) -> Result<String, Error> {
    Ok(format!("{at_ms:015}{}", crate::id::random_text(6)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_time() {
        let ids = [entry_id(5).unwrap(), entry_id(1_700_000_000_000).unwrap(), entry_id(1_700_000_000_001).unwrap()];
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric())), "{ids:?}");
    }
}
