//! Going through all files of a tree, directory by directory and each by its descriptor, so that a name that changes
//! meanwhile leads nowhere else.

use std::ffi::OsStr;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{OFlags, ResolveFlags};

use super::{BeneathError, EntryKind, Names, beneath, names, open_plain, read_whole};

/// Most entries of a tree that are looked at.
const ENTRIES_MAX: usize = 500_000;
/// Deepest directory.
const DEPTH_MAX: usize = 128;
/// Largest `.gitignore` that counts.
const IGNORE_BYTES_MAX: u64 = 256 << 10;
/// What git leaves out.
const IGNORE: &str = ".gitignore";

/// A regular file that was found.
pub struct Found<'a> {
    dir: BorrowedFd<'a>,
    name: &'a OsStr,
    /// Its path in the tree.
    pub path: &'a Path,
}

/// What is done with each file that was found.
pub type Each<'a> = dyn FnMut(&Found<'_>) -> Result<ControlFlow<()>, BeneathError> + 'a;

impl Found<'_> {
    /// It, open for reading; nothing where nobody may read it, it is something else by now, or it has several names.
    ///
    /// # Errors
    /// [`BeneathError::is_failure`].
    pub fn open(&self) -> Result<Option<File>, BeneathError> {
        unless_failed(self.found().and_then(|found| open_plain(&found, Names::One)))
    }

    /// All of it, whatever other names it has; nothing where nobody may read it, or it is larger than that.
    ///
    /// # Errors
    /// [`BeneathError::is_failure`].
    pub fn read(&self, bytes_max: u64) -> Result<Option<Vec<u8>>, BeneathError> {
        let file = self.found().and_then(|found| open_plain(&found, Names::Any));
        unless_failed(file.and_then(|file| read_whole(file, bytes_max)))
    }

    fn found(&self) -> Result<OwnedFd, BeneathError> {
        Ok(beneath(self.dir, self.name, OFlags::PATH, ResolveFlags::NO_SYMLINKS)?)
    }
}

/// Nothing of what cannot be had, unless nobody knows whether it could.
pub(crate) fn unless_failed<T>(had: Result<T, BeneathError>) -> Result<Option<T>, BeneathError> {
    match had {
        Err(error) if error.is_failure() => Err(error),
        had => Ok(had.ok()),
    }
}

pub(super) struct Walk<'a, 'b> {
    pub(super) is_ignoring: bool,
    /// What `.gitignore` files say, those furthest above first.
    pub(super) ignores: Vec<Gitignore>,
    pub(super) entries: usize,
    pub(super) each: &'a mut Each<'b>,
}

impl Walk<'_, '_> {
    /// Goes through a directory. `at` is its path as if the tree were everything.
    pub(super) fn dir(
        &mut self,
        dir: BorrowedFd<'_>,
        at: &Path,
        depth: usize,
    ) -> Result<ControlFlow<()>, BeneathError> {
        let listed = unless_failed(names(dir, ENTRIES_MAX - self.entries))?;
        let Some((entries, _)) = listed else { return Ok(ControlFlow::Continue(())) };
        self.entries += entries.len();
        let has_ignore = self.is_ignoring && entries.iter().any(|(name, _)| name == IGNORE);
        let ignore = if has_ignore { ignore(dir, at)? } else { None };
        let above = self.ignores.len();
        self.ignores.extend(ignore);
        let mut done = ControlFlow::Continue(());
        for (name, kind) in entries {
            let path = at.join(&name);
            if self.is_left_out(&path, kind == EntryKind::Directory) {
                continue;
            }
            done = match kind {
                EntryKind::File => {
                    let path = path.strip_prefix("/").unwrap_or(&path);
                    (self.each)(&Found { dir, name: &name, path })?
                }
                EntryKind::Directory if depth < DEPTH_MAX => self.below(dir, &name, &path, depth)?,
                EntryKind::Directory | EntryKind::Link | EntryKind::Other => ControlFlow::Continue(()),
            };
            if done.is_break() {
                break;
            }
        }
        self.ignores.truncate(above);
        Ok(done)
    }

    fn below(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        depth: usize,
    ) -> Result<ControlFlow<()>, BeneathError> {
        let inner = beneath(dir, name, OFlags::RDONLY | OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS);
        match unless_failed(inner.map_err(BeneathError::from))? {
            Some(inner) => self.dir(inner.as_fd(), path, depth + 1),
            None => Ok(ControlFlow::Continue(())),
        }
    }

    /// The nearest `.gitignore` that says something of it counts.
    fn is_left_out(&self, path: &Path, is_dir: bool) -> bool {
        let mut said = self.ignores.iter().rev().map(|ignore| ignore.matched(path, is_dir));
        said.find(|said| !matches!(said, Match::None)).is_some_and(|said| said.is_ignore())
    }
}

/// What the `.gitignore` of a directory says. It is read as any other file: it may be a pipe, or a link to a device.
fn ignore(dir: BorrowedFd<'_>, at: &Path) -> Result<Option<Gitignore>, BeneathError> {
    let Some(file) = (Found { dir, name: OsStr::new(IGNORE), path: at }).open()? else { return Ok(None) };
    let Some(bytes) = unless_failed(read_whole(file, IGNORE_BYTES_MAX))? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let mut builder = GitignoreBuilder::new(at);
    for line in text.trim_start_matches('\u{feff}').lines() {
        // A line that is no pattern says nothing.
        let _ = builder.add_line(None, line);
    }
    Ok(builder.build().ok())
}
