//! Edits of files in a tree, confined to it: every directory on the way is opened without following symlinks, and what
//! is written is a regular file with one name.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, fstat, mkdirat, open, openat, unlinkat};
use rustix::io::Errno;

/// Largest file that is edited, in bytes.
pub const FILE_BYTES_MAX: u64 = 8 << 20;
/// Longest path, in bytes.
const PATH_BYTES_MAX: usize = 1 << 10;

/// How much of a path or text a message shows, in characters.
const SHOWN_CHARS: usize = 60;

/// One change of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Which file, from the tree's root.
    pub path: String,
    /// What is done to it.
    pub change: Change,
}

/// What is done to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its whole text becomes this; it is made where it does not exist, with its directories.
    Write(String),
    /// This comes at its end; it is made where it does not exist.
    Append(String),
    /// This text, which it holds exactly once, becomes that.
    Replace {
        /// The text.
        from: String,
        /// What it becomes.
        to: String,
    },
    /// It is removed.
    Delete,
}

impl Change {
    /// The word that names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Write(_) => "write",
            Self::Append(_) => "append",
            Self::Replace { .. } => "replace",
            Self::Delete => "delete",
        }
    }
}

/// An edit that was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?}: {reason}")]
pub struct EditError {
    /// The file; of a long path, the beginning.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// Makes `edits` in `root`, in order; stops at the first that cannot be made.
///
/// # Errors
/// When an edit leaves the tree, touches `.git`, or does not apply.
pub fn apply(root: &Path, edits: &[Edit]) -> Result<(), EditError> {
    edits.iter().try_for_each(|edit| {
        let failed = |reason: String| EditError { path: edit.path.chars().take(SHOWN_CHARS).collect(), reason };
        let names = names(&edit.path).map_err(|reason| failed(reason.to_owned()))?;
        make(root, &names, &edit.change).map_err(failed)
    })
}

/// The names on the way to a file of a tree, itself included.
///
/// # Errors
/// When the path is not one within a tree.
pub(super) fn names(path: &str) -> Result<Vec<&str>, &'static str> {
    if path.is_empty() {
        return Err("the path is empty");
    }
    if path.len() > PATH_BYTES_MAX {
        return Err("the path is too long");
    }
    if path.starts_with('/') {
        return Err("the path must be relative to the tree");
    }
    if path.contains('\0') || path.contains('\\') {
        return Err("the path holds a character that is not allowed");
    }
    let names: Vec<&str> = path.split('/').collect();
    for name in &names {
        match *name {
            "" | "." => return Err("the path must be in its shortest form"),
            ".." => return Err("the path must stay within the tree"),
            name if name.eq_ignore_ascii_case(".git") => return Err("`.git` is not part of the tree"),
            _ => {}
        }
    }
    Ok(names)
}

fn make(root: &Path, names: &[&str], change: &Change) -> Result<(), String> {
    let Some((name, directories)) = names.split_last() else { return Err("the path is empty".to_owned()) };
    let may_make = matches!(change, Change::Write(_) | Change::Append(_));
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory =
        open(root, flags, Mode::empty()).map_err(|error| format!("the tree cannot be opened: {error}"))?;
    for next in directories {
        directory = enter(&directory, next, may_make)?;
    }
    match change {
        Change::Write(text) => {
            let (mut file, _) = regular(&directory, name, true)?;
            let written = file.set_len(0).and_then(|()| file.write_all(text.as_bytes()));
            written.map_err(|error| error.to_string())
        }
        Change::Append(text) => {
            let (mut file, size) = regular(&directory, name, true)?;
            bounded(size + text.len() as u64)?;
            let written = file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(text.as_bytes()));
            written.map_err(|error| error.to_string())
        }
        Change::Replace { from, to } => replace(&directory, name, from, to),
        Change::Delete => {
            regular(&directory, name, false)?;
            unlinkat(&directory, *name, AtFlags::empty()).map_err(|error| error.to_string())
        }
    }
}

fn replace(directory: &OwnedFd, name: &str, from: &str, to: &str) -> Result<(), String> {
    let (mut file, size) = regular(directory, name, false)?;
    bounded(size)?;
    let mut text = String::new();
    Read::by_ref(&mut file)
        .take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| format!("it cannot be read as text: {error}"))?;
    let mut found = text.match_indices(from).map(|(at, _)| at);
    let at = match (found.next(), found.next()) {
        (Some(at), None) => at,
        (None, _) => return Err(format!("the text to be replaced is not there: {}", shown(from))),
        (Some(_), Some(_)) => return Err(format!("the text to be replaced is there more than once: {}", shown(from))),
    };
    text.replace_range(at..at + from.len(), to);
    bounded(text.len() as u64)?;
    let written =
        file.seek(SeekFrom::Start(0)).and_then(|_| file.set_len(0)).and_then(|()| file.write_all(text.as_bytes()));
    written.map_err(|error| error.to_string())
}

fn enter(directory: &OwnedFd, name: &str, may_make: bool) -> Result<OwnedFd, String> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let enter = || openat(directory, name, flags, Mode::empty());
    let entered = match enter() {
        Err(Errno::NOENT) if may_make => {
            mkdirat(directory, name, Mode::from_raw_mode(0o755)).map_err(|error| format!("{name:?}: {error}"))?;
            enter()
        }
        other => other,
    };
    entered.map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => format!("{name:?} is not a directory of the tree"),
        Errno::NOENT => format!("there is no directory {name:?}"),
        other => format!("{name:?}: {other}"),
    })
}

/// Opens a regular file that has no other name, and says how long it is.
fn regular(directory: &OwnedFd, name: &str, may_make: bool) -> Result<(File, u64), String> {
    let mut flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    flags.set(OFlags::CREATE, may_make);
    let file = openat(directory, name, flags, Mode::from_raw_mode(0o644)).map_err(|error| match error {
        Errno::LOOP => "it is a symlink".to_owned(),
        Errno::NOENT => "there is no such file".to_owned(),
        Errno::ISDIR => "it is a directory".to_owned(),
        Errno::NXIO => "it is not a regular file".to_owned(),
        other => other.to_string(),
    })?;
    let stat = fstat(&file).map_err(|error| error.to_string())?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if stat.st_nlink > 1 {
        return Err("it has another name, which may be outside of the tree".to_owned());
    }
    Ok((File::from(file), u64::try_from(stat.st_size).unwrap_or(0)))
}

fn bounded(bytes: u64) -> Result<(), String> {
    if bytes > FILE_BYTES_MAX {
        return Err(format!("it has or would have {bytes} bytes, at most {FILE_BYTES_MAX} are allowed"));
    }
    Ok(())
}

/// The beginning of a text, for a message.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
