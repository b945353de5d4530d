//! Which repository: upwards from a directory, else the only one directly below it.
//!
//! The pointer files (`.git`, `commondir`, `gitdir`) are read here and not by git, so that what git is later told to
//! use has been checked. A `.git` that leads out of its directory is the directory's own claim, and anyone can make one
//! that leads to a repository of yours: only the repository itself can say that the checkout is one of its own.

use std::path::{Path, PathBuf};

use super::clean::{Seed, config_text, read_if_small};
use super::error::GitError;
use super::runner::{Call, Git, Place};

/// A pointer file beyond this is none.
const POINTER_BYTES_MAX: u64 = 8 << 10;

/// A config beyond this is not read.
pub(crate) const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// How many entries of a directory are looked at when repositories below it are sought.
const SIBLINGS_MAX: usize = 10_000;

/// Where a repository is.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    /// The root of the checkout.
    pub(crate) top: PathBuf,
    /// The git directory of this checkout.
    pub(crate) git_dir: PathBuf,
    /// The git directory that all checkouts of the repository share.
    pub(crate) common_dir: PathBuf,
    pub(crate) seed: Seed,
}

/// A checkout, as far as its pointer files tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checkout {
    /// Its root.
    pub top: PathBuf,
    /// Its git directory.
    pub git_dir: PathBuf,
    /// The git directory that all checkouts of the repository share.
    pub common_dir: PathBuf,
    /// Whether the repository knows it as one of its own. One whose `.git` merely names a repository has no part in
    /// whatever was said of that repository.
    pub is_known: bool,
}

pub(crate) async fn locate(git: &Git, start: &Path) -> Result<Located, GitError> {
    let Checkout { top, git_dir, common_dir, .. } = find_checkout(start)?;
    let config = common_dir.join("config");
    // Read by name: nothing in it is in force for the git that reads it, and what it includes is not followed.
    let read = read_if_small(&config, CONFIG_BYTES_MAX).map_err(GitError::io("read", &config))?;
    if read.is_none() && std::fs::symlink_metadata(&config).is_ok() {
        return Err(GitError::tampered(&config, "it is no ordinary file of a sensible size"));
    }
    let listed = if config.exists() {
        let args = ["config", "--no-includes", "-z", "--list", "--file"];
        git.run(Call::new(args).arg(&config).at(nowhere(git))).await?.stdout
    } else {
        Vec::new()
    };
    // A linked worktree of a bare repository is a checkout all the same.
    if git_dir == common_dir && is_set(&listed, "core.bare") {
        return Err(GitError::Bare { path: common_dir });
    }
    let seed = Seed {
        config: config_text(&listed),
        objects: common_dir.join("objects"),
        exclude: common_dir.join("info").join("exclude"),
    };
    Ok(Located { top, git_dir, common_dir, seed })
}

/// A place with no repository, for calls that need none.
pub(crate) fn nowhere(git: &Git) -> Place {
    let none = PathBuf::from("/nonexistent");
    let cwd = git.scratch_dir().to_owned();
    Place { git_dir: none.clone(), common_dir: none, work_tree: cwd.clone(), objects: None, cwd }
}

fn is_set(listed: &[u8], key: &str) -> bool {
    let is_true = |value: &str| matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1");
    let mut found = false;
    for entry in listed.split(|byte| *byte == 0) {
        let entry = String::from_utf8_lossy(entry);
        let (name, value) = entry.split_once('\n').unwrap_or((&entry, "true"));
        if name == key {
            found = is_true(value);
        }
    }
    found
}

/// Finds the checkout around `start`, else the only one directly below it. Git is not asked, and nothing is written.
///
/// # Errors
/// When there is none, several, a bare one, or one whose pointer files are odd.
pub fn find_checkout(start: &Path) -> Result<Checkout, GitError> {
    let start = std::fs::canonicalize(start).map_err(GitError::io("find", start))?;
    for dir in start.ancestors() {
        if let Some(checkout) = checkout_at(dir)? {
            return Ok(checkout);
        }
        if is_git_dir(dir) {
            return Err(GitError::Bare { path: dir.to_owned() });
        }
    }
    let mut below = Vec::new();
    for entry in std::fs::read_dir(&start).map_err(GitError::io("list", &start))?.take(SIBLINGS_MAX) {
        let entry = entry.map_err(GitError::io("list", &start))?;
        // What is no checkout, or an odd one, is no candidate.
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(Some(checkout)) = checkout_at(&entry.path())
        {
            below.push(checkout);
        }
    }
    below.sort();
    match below.len() {
        0 => Err(GitError::NoRepository { start }),
        1 => Ok(below.remove(0)),
        _ => Err(GitError::Several { start, candidates: below.into_iter().map(|it| it.top).collect() }),
    }
}

/// The checkout whose root is `dir`, if it is one.
fn checkout_at(dir: &Path) -> Result<Option<Checkout>, GitError> {
    let dot_git = dir.join(".git");
    let Ok(metadata) = std::fs::metadata(&dot_git) else { return Ok(None) };
    let found = |git_dir: PathBuf, common_dir: PathBuf, is_known: bool| {
        Ok(Some(Checkout { top: dir.to_owned(), git_dir, common_dir, is_known }))
    };
    if metadata.is_dir() {
        let git_dir = std::fs::canonicalize(&dot_git).map_err(GitError::io("find", &dot_git))?;
        if !is_git_dir(&git_dir) {
            return Ok(None);
        }
        if git_dir.join("commondir").exists() {
            return Err(GitError::tampered(
                &git_dir.join("commondir"),
                "a checkout with its own .git has no commondir",
            ));
        }
        let is_known = git_dir == dot_git || names_work_tree(&git_dir, dir);
        return found(git_dir.clone(), git_dir, is_known);
    }
    let git_dir = follow(&dot_git, Some("gitdir: "))?;
    if !git_dir.join("commondir").exists() {
        // A submodule, or a separate git directory.
        if !is_git_dir(&git_dir) {
            return Err(GitError::tampered(&dot_git, "it points to what is no git directory"));
        }
        let is_known = names_work_tree(&git_dir, dir);
        return found(git_dir.clone(), git_dir, is_known);
    }
    let common_dir = follow(&git_dir.join("commondir"), None)?;
    if !is_git_dir(&common_dir) {
        return Err(GitError::tampered(&git_dir.join("commondir"), "it points to what is no git directory"));
    }
    if git_dir.parent() != Some(&common_dir.join("worktrees")) {
        return Err(GitError::tampered(&git_dir, "it is not among the worktrees of the repository it names"));
    }
    let back = follow(&git_dir.join("gitdir"), None)?;
    if back != std::fs::canonicalize(&dot_git).map_err(GitError::io("find", &dot_git))? {
        return Err(GitError::tampered(&git_dir.join("gitdir"), "it does not point back to the checkout"));
    }
    found(git_dir, common_dir, true)
}

/// Whether the config of a git directory names `dir` as its checkout, as git writes it for submodules. What is written
/// in another way counts as not named.
fn names_work_tree(git_dir: &Path, dir: &Path) -> bool {
    let config = read_if_small(&git_dir.join("config"), CONFIG_BYTES_MAX).ok().flatten().unwrap_or_default();
    let config = String::from_utf8_lossy(&config);
    let mut section = "";
    let mut named = None;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if let Some((name, value)) = line.split_once('=')
            && section == "[core]"
            && name.trim() == "worktree"
        {
            named = Some(value.trim());
        }
    }
    named.is_some_and(|named| std::fs::canonicalize(git_dir.join(named)).is_ok_and(|named| named == dir))
}

/// The path that a pointer file names, relative to where it lies.
fn follow(file: &Path, prefix: Option<&str>) -> Result<PathBuf, GitError> {
    let odd = |reason: &str| GitError::tampered(file, reason);
    let bytes = read_if_small(file, POINTER_BYTES_MAX).map_err(GitError::io("read", file))?;
    let bytes = bytes.ok_or_else(|| odd("it is no small ordinary file"))?;
    let text = String::from_utf8(bytes).map_err(|_| odd("it is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let target = match prefix {
        Some(prefix) => text.strip_prefix(prefix).ok_or_else(|| odd("it names no git directory"))?,
        None => text,
    };
    if target.is_empty() || target.contains(['\n', '\0']) {
        return Err(odd("it does not hold one path"));
    }
    let parent = file.parent().unwrap_or(file);
    std::fs::canonicalize(parent.join(target)).map_err(|error| odd(&format!("it points to {target:?}: {error}")))
}

/// Whether `dir` has what git asks of a git directory.
fn is_git_dir(dir: &Path) -> bool {
    dir.join("objects").is_dir() && dir.join("refs").is_dir() && std::fs::symlink_metadata(dir.join("HEAD")).is_ok()
}
