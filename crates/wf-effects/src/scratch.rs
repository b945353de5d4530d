//! Throw-away directories of one process. A process locks a file of its name for as long as it lives; whoever can lock
//! that file knows that the process is gone, and removes what it left.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

const LOCK: &str = "lock";

/// A directory that goes with the value, or is removed by the next process.
#[derive(Debug)]
pub struct ScratchDir {
    dir: PathBuf,
    _lock: File,
}

impl ScratchDir {
    /// Makes one below `parent`, and removes those whose processes are gone.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn open(parent: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let parent = std::fs::canonicalize(parent)?;
        sweep_scratch(&parent);
        loop {
            let file = tempfile::Builder::new().prefix("p").suffix(".lock").rand_bytes(10).tempfile_in(&parent)?;
            let (lock, path) = file.keep().map_err(|error| error.error)?;
            flock(&lock, FlockOperation::LockExclusive)?;
            // Another process may have swept the file away before it was locked.
            if std::fs::metadata(&path).is_ok_and(|there| lock.metadata().is_ok_and(|mine| mine.ino() == there.ino())) {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let dir = parent.join(&name);
                DirBuilder::new().mode(0o700).create(&dir)?;
                return Ok(Self { dir, _lock: lock });
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // What stays is removed by the next process.
        if crate::git::remove_any(&self.dir).is_ok() {
            let _ = std::fs::remove_file(self.dir.with_extension(LOCK));
        }
    }
}

fn libc_nofollow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits() as i32
}

/// Removes the directories of processes that are gone, below `parent`. What cannot be removed is left to the next.
pub fn sweep_scratch(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        // A directory comes after its lock and goes before it.
        let is_lost = entry.file_type().is_ok_and(|it| it.is_dir()) && !path.with_extension(LOCK).exists();
        if is_lost {
            let _ = crate::git::remove_any(&path);
        }
        if path.extension().is_none_or(|extension| extension != LOCK) || !entry.file_type().is_ok_and(|it| it.is_file())
        {
            continue;
        }
        let Ok(file) = OpenOptions::new().write(true).custom_flags(libc_nofollow()).open(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let dir = path.with_extension("");
            if crate::git::remove_any(&dir).is_ok() {
                let _ = std::fs::remove_file(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn what_a_process_left_goes_with_the_next() {
        let temp = tempfile::tempdir().unwrap();
        let first = ScratchDir::open(temp.path()).unwrap();
        std::fs::write(first.path().join("x"), "x").unwrap();
        let second = ScratchDir::open(temp.path()).unwrap();
        assert!(first.path().join("x").exists());
        assert_eq!(names(temp.path()), 4);
        // As a killed process leaves them: the lock is free.
        std::fs::create_dir_all(temp.path().join("pkilled/deep")).unwrap();
        std::fs::write(temp.path().join("pkilled.lock"), "").unwrap();
        let third = ScratchDir::open(temp.path()).unwrap();
        assert_eq!(names(temp.path()), 6);
        drop((first, second, third));
        assert_eq!(names(temp.path()), 0);
    }
}
