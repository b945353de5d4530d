//! What people do with trees: look, get one to work in, remove one. What runs do with them is in `trees`; the rows and the
//! rules are the same.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wf_kernel::record::FileChange;
use wf_store::{TreeListed, TreeRow, TreeStage, TreeUse};

use super::capture::{blocking, capture, read_index};
use super::clean::read_small;
use super::error::GitError;
use super::names::{is_id, ref_leaf};
use super::pool::{Swept, fence_ref};
use super::repository::Repository;
use super::runner::Call;
use super::slots::Marker;
use super::trees::{Inner, Trees, carry_through};

/// How many commits of the user's are compared with what a branch did.
const COMMITS_COMPARED_MAX: usize = 500;
/// How many files of a tree are counted.
const FILES_COUNTED_MAX: usize = 5_000_000;
/// The largest HEAD that is read.
const HEAD_BYTES_MAX: u64 = 8 << 10;

/// What a tree holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeLook {
    /// The run it was made for.
    pub run: String,
    /// The branch.
    pub branch: String,
    /// The commit at which it was made.
    pub base: String,
    /// The last commit of its branch, or of whoever committed in it.
    pub commit: String,
    /// What differs from that, and no commit has.
    pub changed: Vec<FileChange>,
    /// What no commit can hold.
    pub left_out: Vec<String>,
    /// The ref under which all that differs was saved already.
    pub saved: Option<String>,
}

impl TreeLook {
    /// Whether something is there that its branch does not have.
    pub fn is_dirty(&self) -> bool {
        !self.changed.is_empty() || !self.left_out.is_empty()
    }
}

/// Whether what a branch did is in another line of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// It is not.
    No,
    /// Its commits are.
    Merged,
    /// Not its commits, but all that they changed: it was squashed, picked, or applied and committed.
    Squashed,
}

impl Trees {
    /// Where the trees are.
    pub fn root(&self) -> &Path {
        self.inner.pool.slots.root()
    }

    /// What the rows of this pool are called.
    pub fn pool(&self) -> &str {
        &self.inner.pool.name
    }

    /// What a tree holds; nothing where none was handed out. Nothing in it or about it is changed, so whoever works in it
    /// is not disturbed, and what they write at that moment may be seen or not.
    ///
    /// # Errors
    /// When git cannot read what is there.
    pub async fn look_into(&self, slot: &str) -> Result<Option<TreeLook>, GitError> {
        let inner = &self.inner;
        let tree = inner.pool.slots.place(&inner.repository, slot);
        let Some(marker) = inner.pool.slots.marker(slot)?.filter(|_| tree.dir.is_dir()) else { return Ok(None) };
        let Marker { run, branch, base } = marker;
        let reference = format!("refs/whaleflow/{run}/b/{}", ref_leaf(&branch));
        let last = inner.repository.ref_at(&reference).await?.unwrap_or_else(|| base.clone());
        let commit = inner.own_head(&tree.admin, &last).await?.unwrap_or(last);
        let facts = inner.repository.facts_of(&commit).await?;
        let git = inner.repository.git();
        let clean = inner.repository.clean_dir(git.scratch_dir())?;
        read_index(git, &clean, &tree.dir, &commit).await?;
        let found = capture(git, &clean, &tree.dir).await?;
        let changed = inner.repository.changes(&facts.tree, &found.tree).await?;
        let saved = match changed.is_empty() || !found.is_whole() {
            true => None,
            false => inner.repository.saved_as(&run, &branch, &found.tree).await?,
        };
        Ok(Some(TreeLook { run, branch, base, commit, changed, left_out: found.left_out(), saved }))
    }

    /// How many bytes a slot takes on the disk.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub async fn disk_of(&self, slot: &str) -> Result<u64, GitError> {
        let dir = self.inner.pool.slots.root().join(slot);
        let at = dir.clone();
        blocking("list", &dir, move || Ok(disk_of(&at))).await
    }

    /// Makes a tree at `commit` that a person may work in. It stays until it is cleared.
    ///
    /// # Errors
    /// When there is no such commit, no room, or git fails.
    pub async fn make_for_person(&self, name: &str, commit: &str) -> Result<PathBuf, GitError> {
        self.acquire(name, commit).await?;
        let (inner, name) = (Arc::clone(&self.inner), name.to_owned());
        carry_through(async move {
            let row = inner.row_of(&name).await?.ok_or(GitError::Fenced)?;
            let used = inner.pool.used(&row, TreeStage::Kept, false);
            let row = inner.pool.change(&row, used).await?;
            inner.drop_ref(&fence_ref(&inner.run, &name)).await?;
            Ok(inner.pool.slots.root().join(&row.slot.name))
        })
        .await
    }

    /// Holds a kept tree, so that nobody clears it, and says so in its row; or lets it go again.
    ///
    /// # Errors
    /// [`GitError::Fenced`] when somebody else has changed the row.
    pub async fn hold_kept(&self, row: &TreeRow, is_held: bool) -> Result<TreeRow, GitError> {
        let used = self.inner.pool.used(row, row.used.stage, is_held);
        let to = TreeUse { until_ms: row.used.until_ms, at_ms: row.used.at_ms, ..used };
        self.inner.pool.change(row, to).await
    }

    /// Saves what is in a slot and removes it, if its row is still as it was listed. Whether it may be is the caller's
    /// to know.
    ///
    /// # Errors
    /// [`GitError::Fenced`] when somebody has changed the row.
    pub async fn clear_listed(&self, listed: &TreeListed) -> Result<Swept, GitError> {
        let (inner, listed) = (Arc::clone(&self.inner), listed.clone());
        carry_through(async move {
            let mut swept = Swept::default();
            let tenant = listed.row.used.tenant.as_ref();
            let rows = inner.pool.rows(wf_store::TreeFilter::default()).await?;
            let is_last = !rows.iter().any(|other| {
                other.row.slot != listed.row.slot && other.row.used.tenant.as_ref() == tenant && other.row.is_taken()
            });
            inner.clear(&listed.row, &mut swept).await?;
            if let Some(tenant) = tenant.filter(|_| listed.run.is_none() && is_last) {
                // Nobody's log names it.
                inner.drop_ref(&format!("refs/whaleflow/{}/b/{}", tenant.run, ref_leaf(&tenant.branch))).await?;
            }
            Ok(swept)
        })
        .await
    }
}

impl Inner {
    async fn drop_ref(&self, reference: &str) -> Result<(), GitError> {
        match self.repository.ref_at(reference).await? {
            Some(at) => self.repository.delete_ref(reference, &at).await,
            None => Ok(()),
        }
    }

    /// The commit that is checked out in a tree, where it has something that `known` has not. Read without git, because
    /// whoever works there can have written anything beside it.
    async fn own_head(&self, admin: &Path, known: &str) -> Result<Option<String>, GitError> {
        let bytes = read_small(&admin.join("HEAD"), HEAD_BYTES_MAX).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let head = match text.trim_end().strip_prefix("ref: ") {
            Some(name) if name.starts_with("refs/heads/") => self.repository.ref_at(name).await?,
            Some(_) => None,
            None => Some(text.trim_end().to_owned()).filter(|id| is_id(id)),
        };
        let Some(head) = head else { return Ok(None) };
        let is_known = self.repository.is_ancestor(&head, known).await.unwrap_or(true);
        Ok((!is_known).then_some(head))
    }
}

impl Repository {
    /// The ref under which a branch's files of tree id `tree` were saved.
    async fn saved_as(&self, run: &str, branch: &str, tree: &str) -> Result<Option<String>, GitError> {
        let plain = format!("refs/whaleflow/{run}/rescue/{}", ref_leaf(branch));
        let of_branch =
            |name: &str| name == plain || name.strip_prefix(&plain).is_some_and(|rest| rest.starts_with('-'));
        let prefix = format!("refs/whaleflow/{run}/rescue/");
        let call = Call::new(["for-each-ref", "--format=%(tree) %(refname)", &prefix]).at(self.place());
        let listed = self.git().run(call).await?.text();
        let mut pairs = listed.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.find(|(of, name)| *of == tree && of_branch(name)).map(|(_, name)| name.to_owned()))
    }

    /// Whether what was done from `base` to `commit` is in the line of work that ends at `head`.
    ///
    /// # Errors
    /// When a commit is not there, and when git fails.
    pub async fn landed(&self, base: &str, commit: &str, head: &str) -> Result<Landed, GitError> {
        if self.is_ancestor(commit, head).await? {
            return Ok(Landed::Merged);
        }
        // All of it is there if merging it would change nothing.
        let merged = self.merge(base, head, commit).await?;
        if matches!(&merged, super::merge::Merged::Tree(tree) if *tree == self.tree_of(head).await?) {
            return Ok(Landed::Squashed);
        }
        // What went on from there may have changed the same places since; one commit still has the very change.
        let patch = self.run_on_objects(Call::new(PATCH).arg(base).arg(commit)).await?.stdout;
        let Some((id, _)) = self.patch_ids(patch).await?.pop() else { return Ok(Landed::No) };
        let since = self.merge_base(base, head).await?;
        let range = since.map_or_else(|| head.to_owned(), |since| format!("{since}..{head}"));
        let count = format!("--max-count={COMMITS_COMPARED_MAX}");
        let log = ["log", "-p", "--no-merges", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", &count];
        let patches = self.run_on_objects(Call::new(log).arg(range)).await?.stdout;
        let is_there = self.patch_ids(patches).await?.iter().any(|(it, _)| *it == id);
        Ok(if is_there { Landed::Squashed } else { Landed::No })
    }

    /// The ids of patches, each with the commit it is of.
    async fn patch_ids(&self, patches: Vec<u8>) -> Result<Vec<(String, String)>, GitError> {
        let said = self.run_on_objects(Call::new(["patch-id", "--stable"]).stdin(patches)).await?.text();
        let pairs = said.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(id, commit)| (id.to_owned(), commit.to_owned())).collect())
    }
}

/// A patch as its id is made of it.
const PATCH: [&str; 7] = ["diff-tree", "-r", "-p", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color"];

/// The blocks of what is in a directory, each file once. What cannot be read counts nothing.
fn disk_of(dir: &Path) -> u64 {
    let (mut bytes, mut seen, mut count) = (0_u64, HashSet::new(), 0);
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            count += 1;
            if count > FILES_COUNTED_MAX {
                return bytes;
            }
            if metadata.nlink() < 2 || metadata.is_dir() || seen.insert((metadata.dev(), metadata.ino())) {
                bytes = bytes.saturating_add(metadata.blocks().saturating_mul(512));
            }
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    bytes
}
