//! The tree that an agent works in: files of it, and nothing else. All are reached by a descriptor of the tree's
//! directory ([`Root`]), and only regular files with one name are read or written.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wf_ir::{Digest, Glob};

use crate::beneath::{BeneathError, Root, normal};

/// Largest file that is read or written, in bytes.
pub const FILE_BYTES_MAX: u64 = 8 << 20;

/// Most lines that one read shows.
pub const LINES_MAX: usize = 2_000;
/// Longest line that is shown, in characters.
pub const LINE_CHARS_MAX: usize = 2_000;

/// A tree, and what of it an agent may do.
pub struct Tree {
    scope: Scope,
    /// What the agent has seen, so that it overwrites nothing that it does not know.
    seen: HashMap<String, Digest>,
}

/// Where a tree is, and what of it may be read and written.
#[derive(Clone, Debug)]
pub struct Scope {
    root: Arc<Root>,
    dir: PathBuf,
    reads: Vec<Glob>,
    writes: Vec<Glob>,
}

impl Scope {
    /// The tree's directory, for whoever is told where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The tree's files.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// What may be read of it; empty is all.
    pub fn reads(&self) -> &[Glob] {
        &self.reads
    }

    /// Whether a file may be read. Its path is the one without links.
    pub fn may_read(&self, path: &str) -> bool {
        let fits = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(path));
        self.reads.is_empty() || fits(&self.reads) || fits(&self.writes)
    }
}

impl Tree {
    /// The tree in `dir`. Without `reads` all of it may be read; without `writes` nothing may be written.
    ///
    /// # Errors
    /// When there is no such directory, or no safe way to its files.
    pub fn open(dir: PathBuf, reads: Vec<Glob>, writes: Vec<Glob>) -> Result<Self, BeneathError> {
        let root = Arc::new(Root::open(&dir)?);
        Ok(Self { scope: Scope { root, dir, reads, writes }, seen: HashMap::new() })
    }

    /// Where it is, and what of it may be read.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether anything may be written.
    pub fn is_writable(&self) -> bool {
        !self.scope.writes.is_empty()
    }

    /// The text of a file, which counts as seen from now on. A link is followed to a file that may be read.
    pub fn text(&mut self, path: &str) -> Result<String, String> {
        let plain = normal(path).map_err(|error| format!("{path}: {error}"))?;
        if !self.scope.may_read(&plain) {
            return Err(format!("{path}: it is outside of what may be read here"));
        }
        let real = self.scope.root.real(&plain).map_err(|error| format!("{path}: {error}"))?;
        if !self.scope.may_read(&real) {
            return Err(format!("{path}: it is a link to what is outside of what may be read here"));
        }
        let bytes = self.bytes(path, &real)?;
        self.seen.insert(real, Digest::of(&bytes));
        if bytes.contains(&0) {
            return Err(format!("{path}: it is no text, but {} bytes of something else", bytes.len()));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Lines of a file, with their numbers.
    pub fn lines(&mut self, path: &str, first: usize, count: usize) -> Result<String, String> {
        let text = self.text(path)?;
        let total = text.lines().count();
        if total == 0 {
            return Ok("[the file is empty]".to_owned());
        }
        let first = first.max(1);
        let count = count.clamp(1, LINES_MAX);
        let mut shown = String::new();
        for (number, line) in text.lines().enumerate().skip(first - 1).take(count) {
            let end = line.char_indices().nth(LINE_CHARS_MAX).map(|(end, _)| end);
            shown.push_str(&format!("{}\t{}", number + 1, &line[..end.unwrap_or(line.len())]));
            shown.push_str(if end.is_some() { "…\n" } else { "\n" });
        }
        let last = (first - 1).saturating_add(count).min(total);
        if first > total {
            return Err(format!("{path}: it has {total} lines"));
        }
        if first > 1 || last < total {
            shown.push_str(&format!("[lines {first} to {last} of {total}]\n"));
        }
        Ok(shown)
    }

    /// Makes a file, or writes one anew that was read before.
    pub fn write(&mut self, path: &str, text: &str) -> Result<String, String> {
        let plain = self.writable(path)?;
        let before = match self.scope.root.read_unlinked(&plain, FILE_BYTES_MAX) {
            Ok(bytes) => Some(bytes),
            Err(BeneathError::Missing) => None,
            // Whatever it is that is there, it is not to be replaced.
            Err(error) => return Err(format!("{path}: {error}")),
        };
        if let Some(bytes) = &before {
            self.check_seen(&plain, bytes)?;
        }
        self.put(&plain, text)?;
        let what = if before.is_some() { "written anew" } else { "made" };
        Ok(format!("{path}: {what}, {} bytes", text.len()))
    }

    /// Writes a file as a whole, for somebody who sees files by other means too and need not have read it here.
    pub fn replace(&mut self, path: &str, text: &str) -> Result<(), String> {
        if !self.is_writable() {
            return Err(format!("{path}: nothing may be written here"));
        }
        let plain = self.writable(path)?;
        self.put(&plain, text)
    }

    /// Whether something may be written.
    pub fn may_write(&self, path: &str) -> bool {
        normal(path).is_ok_and(|plain| self.scope.writes.iter().any(|glob| glob.matches(&plain)))
    }

    /// Replaces a text that a file holds once, or wherever it holds it.
    pub fn edit(&mut self, path: &str, old: &str, new: &str, all: bool) -> Result<String, String> {
        let plain = self.writable(path)?;
        let bytes = self.bytes(path, &plain)?;
        self.check_seen(&plain, &bytes)?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{path}: it is no text"))?;
        if old.is_empty() {
            return Err("`old` is empty: it must be a text that the file holds".to_owned());
        }
        let count = text.matches(old).count();
        let changed = match (count, all) {
            (0, _) => return Err(format!("{path}: it does not hold `old`; read it again, spaces count")),
            (1, _) | (_, true) => text.replace(old, new),
            (_, false) => {
                return Err(format!("{path}: it holds `old` {count} times; give more of it, or set `all`"));
            }
        };
        self.put(&plain, &changed)?;
        Ok(format!("{path}: {count} replaced"))
    }

    fn put(&mut self, path: &str, text: &str) -> Result<(), String> {
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("{path}: it would be longer than {FILE_BYTES_MAX} bytes"));
        }
        self.scope.root.write(path, text.as_bytes()).map_err(|error| format!("{path}: {error}"))?;
        self.seen.insert(path.to_owned(), Digest::of(text.as_bytes()));
        Ok(())
    }

    fn bytes(&self, path: &str, real: &str) -> Result<Vec<u8>, String> {
        self.scope.root.read_unlinked(real, FILE_BYTES_MAX).map_err(|error| format!("{path}: {error}"))
    }

    /// The path of what may be written, as it is compared with globs. Links are not written through: what they lead to
    /// has a path of its own.
    fn writable(&self, path: &str) -> Result<String, String> {
        let plain = normal(path).map_err(|error| format!("{path}: {error}"))?;
        if !self.may_write(&plain) {
            let scope: Vec<&str> = self.scope.writes.iter().map(Glob::as_str).collect();
            return Err(format!("{path}: it is outside of what may be written here: {}", scope.join(", ")));
        }
        match self.scope.root.real(&plain) {
            Ok(real) if real == plain => Ok(plain),
            Ok(real) if self.scope.may_read(&real) => {
                Err(format!("{path}: it is a link, which is not written through; what it leads to is {real}"))
            }
            Ok(_) => Err(format!("{path}: it is a link, which is not written through")),
            Err(error) => Err(format!("{path}: {error}")),
        }
    }

    fn check_seen(&self, path: &str, bytes: &[u8]) -> Result<(), String> {
        match self.seen.get(path) {
            None => Err(format!("{path}: it exists and was not read; read it first")),
            Some(seen) if *seen == Digest::of(bytes) => Ok(()),
            Some(_) => Err(format!("{path}: it has changed since it was read; read it again")),
        }
    }
}
