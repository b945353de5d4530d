//! A tree with work in it is never destroyed: first the work is saved under a ref.

use std::path::{Path, PathBuf};

use super::capture::Capture;
use super::control::{Pointer, TreePlace, within};
use super::error::GitError;
use super::names::ref_leaf;
use super::repository::{Fence, Repository};

/// How many rescues of one branch are told apart by number.
const RESCUES_MAX: u32 = 10_000;

/// What a tree holds, beside the commit at which it should be.
#[derive(Debug)]
pub(crate) struct Left {
    /// The files, or why git could not read them.
    pub(crate) capture: Result<Capture, GitError>,
    /// The agent's own HEAD, where it has commits that the expected one has not.
    pub(crate) head: Option<String>,
    /// What `.git` is.
    pub(crate) pointer: Pointer,
    /// Whether git's entry is there.
    pub(crate) has_admin: bool,
    /// Whether anything is there that would be lost.
    pub(crate) has_work: bool,
}

impl Left {
    /// Whether a commit can hold all of it.
    pub(crate) fn is_whole(&self) -> bool {
        self.capture.as_ref().is_ok_and(Capture::is_whole)
    }
}

/// Where work was saved.
#[derive(Debug)]
pub(crate) struct Rescued {
    /// A full ref name.
    pub(crate) reference: String,
    /// Whether the whole tree was moved away, because a commit cannot hold all of it.
    pub(crate) is_moved: bool,
}

/// Saves under refs of one run, and moves what refs cannot hold to a directory beside its trees.
#[derive(Clone, Debug)]
pub(crate) struct Rescuer {
    pub(crate) repository: Repository,
    pub(crate) run: String,
    pub(crate) kept_dir: PathBuf,
    /// What must be so for a ref to be written.
    pub(crate) fence: Option<Fence>,
}

impl Rescuer {
    /// Saves what a tree holds.
    pub(crate) async fn save(
        &self,
        tree: &TreePlace,
        branch: &str,
        begin: &str,
        left: &Left,
    ) -> Result<Rescued, GitError> {
        let mut moves = Vec::new();
        if left.pointer == Pointer::Directory {
            moves.push((tree.dir.join(".git"), free_name(&self.kept_dir, &format!("{}-git", tree.name))));
        }
        let is_moved = !left.is_whole();
        if is_moved {
            moves.push((tree.dir.clone(), free_name(&self.kept_dir, &tree.name)));
        }
        let parent = left.head.as_deref().unwrap_or(begin);
        let parent_tree = self.repository.tree_of(parent).await?;
        let tree_id = left.capture.as_ref().map_or(&parent_tree, |capture| &capture.tree);
        let commit = if moves.is_empty() && *tree_id == parent_tree {
            parent.to_owned()
        } else {
            let mut message = message(&self.run, branch, &moves);
            if let Err(error) = &left.capture {
                message.push_str(&format!("not read by git: {error}\n"));
            }
            // Dated as its parent, so that the same work is the same commit and needs one ref only.
            let at_ms = self.repository.facts_of(parent).await?.at_ms;
            self.repository.commit_tree(tree_id, &[parent], &message, Some(at_ms)).await?
        };
        // Nothing is moved before the ref that says where it is.
        let reference = self.save_commit(branch, &commit).await?;
        for (from, to) in moves {
            within(&self.kept_dir, || std::fs::rename(&from, &to)).map_err(GitError::io("move", &from))?;
        }
        Ok(Rescued { reference, is_moved })
    }

    /// Keeps a commit alive under a rescue ref: the one that holds the same already, else a new one.
    pub(crate) async fn save_commit(&self, branch: &str, commit: &str) -> Result<String, GitError> {
        let facts = self.repository.facts_of(commit).await?;
        let plain = format!("refs/whaleflow/{}/rescue/{}", self.run, ref_leaf(branch));
        for number in 1..RESCUES_MAX {
            let reference = if number == 1 { plain.clone() } else { format!("{plain}-{number}") };
            match self.repository.ref_at(&reference).await? {
                Some(there) if there == commit || self.repository.facts_of(&there).await? == facts => {
                    return Ok(reference);
                }
                Some(_) => {}
                None => match self.repository.move_ref_fenced(&reference, commit, None, self.fence.as_ref()).await {
                    Ok(()) => return Ok(reference),
                    // Somebody took the number at this moment.
                    Err(GitError::Moved { .. }) => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Err(GitError::TooLarge { what: format!("the number of rescues of {branch:?}"), max: u64::from(RESCUES_MAX) })
    }

    /// Moves `path` to the kept directory.
    pub(crate) fn keep(&self, path: &Path, name: &str) -> Result<PathBuf, GitError> {
        move_aside(path, &self.kept_dir, name)
    }
}

/// Renames `path` to the first free `<dir>/<name>-<number>`.
pub(crate) fn move_aside(path: &Path, dir: &Path, name: &str) -> Result<PathBuf, GitError> {
    let moved = within(dir, || {
        let to = free_name(dir, name);
        std::fs::rename(path, &to).map(|()| to)
    });
    moved.map_err(GitError::io("move", path))
}

fn free_name(dir: &Path, name: &str) -> PathBuf {
    let is_free = |path: &PathBuf| std::fs::symlink_metadata(path).is_err();
    let free = (1_u32..).map(|number| dir.join(format!("{name}-{number}"))).find(is_free);
    free.unwrap_or_else(|| dir.join(name))
}

fn message(run: &str, branch: &str, moves: &[(PathBuf, PathBuf)]) -> String {
    let mut text = format!("whaleflow: work left in the tree of {branch}\n\nrun: {run}\nbranch: {branch}\n");
    for (_, path) in moves {
        text.push_str(&format!("kept: {}\n", path.display()));
    }
    text
}
