//! The trees of one run: acquire, begin, checkpoint, release.
//!
//! A tree is a directory `<root>/<run>/<hash>-<slug>` with an entry of the same name in git's `worktrees/`. Beside it the
//! engine keeps a clean git directory with an index of its own, in memory of which branch it belongs to; the agent's
//! index and HEAD are written for the agent and never read for a decision.
//!
//! An operation that was begun is carried through, also when its caller goes away. Each may be repeated.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as TaskMutex;
use wf_ir::Glob;
use wf_kernel::record::{Checkpoint, TreeAt};

use super::capture::{blocking, capture, populate, read_index, remove_untracked};
use super::clean::{CleanDir, copy_index, read_if_small};
use super::control::{Pointer, TreePlace, remove_any};
use super::error::GitError;
use super::lock::WorktreesLock;
use super::names::{check_id, check_run, ref_leaf, tree_name};
use super::repository::{CommitFacts, Repository};
use super::rescue::{Left, Rescuer, move_aside};
use super::runner::Call;
use super::snapshot::{SharedSnapshots, SnapshotDir};

/// A marker beyond this is none.
const MARKER_BYTES_MAX: u64 = 64 << 10;

/// Where trees are.
#[derive(Clone, Debug)]
pub struct TreesOptions {
    /// The directory of all trees of a repository; outside of it.
    pub root: PathBuf,
    /// The run.
    pub run: String,
}

/// The trees of one run.
#[derive(Clone, Debug)]
pub struct Trees {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    repository: Repository,
    run: String,
    run_dir: PathBuf,
    rescuer: Rescuer,
    /// Since when the machine runs.
    boot: String,
    slots: Mutex<HashMap<String, Arc<TaskMutex<Slot>>>>,
    shared: SharedSnapshots,
}

/// What this process knows of a tree. Whoever holds the lock works on it alone.
#[derive(Debug, Default)]
struct Slot {
    /// There once this process has made, adopted or looked at the tree.
    clean: Option<CleanDir>,
}

/// A tree that is ready for a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeginOutcome {
    /// Where the leaf works.
    pub dir: PathBuf,
    /// The ref under which unsaved work was rescued, if there was any.
    pub rescued: Option<String>,
}

/// A checkpoint that is wanted.
#[derive(Clone, Debug)]
pub struct CheckpointOrder {
    /// The branch instance.
    pub branch: String,
    /// The leaf that wrote.
    pub leaf: String,
    /// Where the leaf began.
    pub begin: String,
    /// Its write scope.
    pub writes: Vec<Glob>,
    /// The commit's date.
    pub at_ms: i64,
}

/// A tree that is there, or a kept remainder of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// The run.
    pub run: String,
    /// The branch instance, where that is known.
    pub branch: Option<String>,
    /// Where it is.
    pub dir: PathBuf,
    /// Whether it was moved away because a commit could not hold all of it.
    pub is_kept: bool,
}

/// Written beside a tree once it is whole; a directory without one was never handed out.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    branch: String,
    base: String,
    /// Since when the machine ran that made the tree. Trees are not made durable, so another machine, or this one
    /// started again, may find any part of one.
    #[serde(default)]
    boot: String,
}

impl Trees {
    /// The trees of a run.
    ///
    /// # Errors
    /// When the root lies inside of the repository, or cannot be made.
    pub fn open(repository: &Repository, options: &TreesOptions) -> Result<Self, GitError> {
        check_run(&options.run)?;
        let root = std::path::absolute(&options.root).map_err(GitError::io("find", &options.root))?;
        // Nothing is made before it is known where: the way there may lead through links.
        let existing = root.ancestors().find(|dir| dir.exists()).unwrap_or(&root);
        if repository.contains(&std::fs::canonicalize(existing).map_err(GitError::io("find", existing))?) {
            let value = root.display().to_string();
            let reason = "it lies inside of the repository";
            return Err(GitError::Invalid { what: "directory of trees", value, reason });
        }
        let run_dir = root.join(&options.run);
        std::fs::create_dir_all(&run_dir).map_err(GitError::io("make", &run_dir))?;
        // Git writes real paths into its pointers, and they are compared.
        let run_dir = std::fs::canonicalize(&run_dir).map_err(GitError::io("find", &run_dir))?;
        let rescuer =
            Rescuer { repository: repository.clone(), run: options.run.clone(), kept_dir: run_dir.join(".kept") };
        let inner = Inner {
            repository: repository.clone(),
            run: options.run.clone(),
            run_dir,
            rescuer,
            boot: boot_id(),
            slots: Mutex::default(),
            shared: SharedSnapshots::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The repository that the trees are of.
    pub fn repository(&self) -> &Repository {
        &self.inner.repository
    }

    /// The full name of a branch's ref.
    pub fn branch_ref(&self, branch: &str) -> String {
        format!("refs/whaleflow/{}/b/{}", self.inner.run, ref_leaf(branch))
    }

    /// Makes a branch's tree at `base`, or finds it there with nothing unsaved; unsaved work is rescued.
    ///
    /// # Errors
    /// When there is no such commit, and when git fails.
    pub async fn acquire(&self, branch: &str, base: &str) -> Result<TreeAt, GitError> {
        let (inner, branch, base) = (Arc::clone(&self.inner), branch.to_owned(), base.to_owned());
        carry_through(async move { inner.acquire(&branch, &base).await }).await
    }

    /// Brings a branch's tree to `begin`; unsaved work is rescued. A tree that another process used is made anew,
    /// because something that it started may still write there.
    ///
    /// # Errors
    /// When there is no such commit, and when git fails.
    pub async fn begin(&self, branch: &str, begin: &str) -> Result<BeginOutcome, GitError> {
        let (inner, branch, begin) = (Arc::clone(&self.inner), branch.to_owned(), begin.to_owned());
        carry_through(async move { inner.begin(&branch, &begin).await }).await
    }

    /// Brings a branch's tree back to `begin` and drops what is there: what a test or a command without a write scope
    /// left.
    ///
    /// # Errors
    /// When there is no such commit, and when git fails.
    pub async fn discard(&self, branch: &str, begin: &str) -> Result<PathBuf, GitError> {
        let (inner, branch, begin) = (Arc::clone(&self.inner), branch.to_owned(), begin.to_owned());
        carry_through(async move { inner.discard(&branch, &begin).await }).await
    }

    /// Commits what a leaf wrote, if its scope covers all of it; else says what it does not cover, and commits nothing.
    ///
    /// # Errors
    /// [`GitError::Moved`] when the branch's ref is neither where the leaf began nor at this very checkpoint.
    pub async fn checkpoint(&self, order: CheckpointOrder) -> Result<Checkpoint, GitError> {
        let inner = Arc::clone(&self.inner);
        carry_through(async move { inner.checkpoint(&order).await }).await
    }

    /// Gives a branch's tree back. Answers with the ref under which unsaved work was rescued, if there was any.
    ///
    /// # Errors
    /// When there is no such commit, and when git fails; then the tree is still there.
    pub async fn release(&self, branch: &str, commit: &str) -> Result<Option<String>, GitError> {
        let (inner, branch, commit) = (Arc::clone(&self.inner), branch.to_owned(), commit.to_owned());
        carry_through(async move { inner.release(&branch, &commit).await }).await
    }

    /// A copy of a commit for those who only read, shared between them.
    ///
    /// # Errors
    /// When there is no such commit, and when git fails.
    pub async fn snapshot(&self, commit: &str) -> Result<Arc<SnapshotDir>, GitError> {
        let inner = &self.inner;
        inner.shared.get(&inner.repository, &inner.run_dir.join(".snapshots"), commit).await
    }

    /// A copy of a commit for one who may write in it.
    ///
    /// # Errors
    /// When there is no such commit, and when git fails.
    pub async fn private_snapshot(&self, commit: &str) -> Result<SnapshotDir, GitError> {
        let inner = &self.inner;
        SnapshotDir::make(&inner.repository, &inner.run_dir.join(".snapshots"), commit).await
    }

    /// Gives back all trees that the run still has. Answers with the refs under which work was rescued. Kept remainders
    /// stay.
    ///
    /// # Errors
    /// When git fails; what was not given back is still there.
    pub async fn cleanup(&self) -> Result<Vec<String>, GitError> {
        let inner = Arc::clone(&self.inner);
        carry_through(async move { inner.cleanup().await }).await
    }
}

impl Inner {
    fn slot(&self, branch: &str) -> Arc<TaskMutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(branch.to_owned()).or_default())
    }

    fn place(&self, branch: &str) -> TreePlace {
        let name = tree_name(&self.run, branch);
        TreePlace { dir: self.run_dir.join(&name), admin: self.repository.admin_dir(&name), name }
    }

    fn marker_file(&self, tree: &TreePlace) -> PathBuf {
        self.run_dir.join(".meta").join(format!("{}.json", tree.name))
    }

    fn branch_ref(&self, branch: &str) -> String {
        format!("refs/whaleflow/{}/b/{}", self.run, ref_leaf(branch))
    }

    async fn acquire(&self, branch: &str, base: &str) -> Result<TreeAt, GitError> {
        let facts = self.repository.facts_of(base).await?;
        let slot = self.slot(branch);
        let mut slot = slot.lock().await;
        let tree = self.place(branch);
        let left = self.look(&tree, &mut slot, base, &facts).await?;
        let is_reusable = match &left {
            Some(left) if left.has_work => {
                self.rescuer.save(&tree, branch, base, left).await?;
                false
            }
            Some(left) => left.has_admin,
            None => false,
        };
        if is_reusable {
            self.settle(&tree, &slot, base).await?;
        } else {
            self.remake(&tree, &mut slot, branch, base).await?;
        }
        self.point_branch(branch, base).await?;
        Ok(TreeAt { commit: base.to_owned(), tree: facts.tree })
    }

    async fn begin(&self, branch: &str, begin: &str) -> Result<BeginOutcome, GitError> {
        let facts = self.repository.facts_of(begin).await?;
        let slot = self.slot(branch);
        let mut slot = slot.lock().await;
        let tree = self.place(branch);
        let was_ours = slot.clean.is_some();
        let mut rescued = self.point_branch(branch, begin).await?;
        let left = self.look(&tree, &mut slot, begin, &facts).await?;
        let mut is_reusable = was_ours && left.as_ref().is_some_and(|left| left.has_admin);
        if let Some(left) = left.filter(|left| left.has_work) {
            let saved = self.rescuer.save(&tree, branch, begin, &left).await?;
            rescued = Some(saved.reference);
            is_reusable &= !saved.is_moved;
            if is_reusable {
                self.reset(&tree, &slot, begin).await?;
            }
        }
        if is_reusable {
            self.settle(&tree, &slot, begin).await?;
        } else {
            self.remake(&tree, &mut slot, branch, begin).await?;
        }
        Ok(BeginOutcome { dir: tree.dir, rescued })
    }

    async fn discard(&self, branch: &str, begin: &str) -> Result<PathBuf, GitError> {
        let facts = self.repository.facts_of(begin).await?;
        let slot = self.slot(branch);
        let mut slot = slot.lock().await;
        let tree = self.place(branch);
        match self.look(&tree, &mut slot, begin, &facts).await? {
            Some(left) if !left.has_work && left.has_admin => {}
            Some(left) if left.has_admin && left.is_whole() => {
                remove_any_but_file(&tree.dir.join(".git"))?;
                self.reset(&tree, &slot, begin).await?;
            }
            _ => self.remake(&tree, &mut slot, branch, begin).await?,
        }
        self.settle(&tree, &slot, begin).await?;
        Ok(tree.dir)
    }

    async fn checkpoint(&self, order: &CheckpointOrder) -> Result<Checkpoint, GitError> {
        let begin = &order.begin;
        let facts = self.repository.facts_of(begin).await?;
        let slot = self.slot(&order.branch);
        let mut slot = slot.lock().await;
        let tree = self.place(&order.branch);
        let is_ours = slot.clean.is_some() || self.marker(&tree)?.is_some_and(|marker| marker.boot == self.boot);
        let left = self.look(&tree, &mut slot, begin, &facts).await?;
        let left = left.filter(|_| is_ours).ok_or_else(|| GitError::Lost { path: tree.dir.clone() })?;
        let captured = left.capture?;
        let files = self.repository.changes(&facts.tree, &captured.tree).await?;
        let is_covered = |path: &str| order.writes.iter().any(|glob| glob.matches(path));
        let mut out_of_scope: Vec<String> =
            files.iter().map(|file| file.path.clone()).filter(|path| !is_covered(path)).collect();
        out_of_scope.extend(captured.left_out());
        if left.pointer == Pointer::Directory {
            out_of_scope.push(".git".to_owned());
        }
        if !out_of_scope.is_empty() {
            return Ok(Checkpoint {
                base: begin.clone(),
                commit: begin.clone(),
                tree: facts.tree,
                files,
                out_of_scope,
            });
        }
        let commit = if captured.tree == facts.tree {
            begin.clone()
        } else {
            // The run is not in it, so that equal work has equal commits in every run.
            let message = format!("{}\n\nbranch: {}\n", order.leaf, order.branch);
            self.repository.commit_tree(&captured.tree, &[begin], &message, Some(order.at_ms)).await?
        };
        self.advance_branch(&order.branch, begin, &commit, &captured.tree).await?;
        if let Some(head) = &left.head {
            // The checkpoint has the files; the agent's own history is kept beside it.
            self.rescuer.save_commit(&order.branch, head).await?;
        }
        if left.has_admin {
            self.settle(&tree, &slot, &commit).await?;
        }
        Ok(Checkpoint { base: begin.clone(), commit, tree: captured.tree, files, out_of_scope })
    }

    async fn release(&self, branch: &str, commit: &str) -> Result<Option<String>, GitError> {
        let facts = self.repository.facts_of(commit).await?;
        let slot = self.slot(branch);
        let mut slot = slot.lock().await;
        let tree = self.place(branch);
        let left = self.look(&tree, &mut slot, commit, &facts).await?;
        let mut rescued = None;
        if let Some(left) = left.filter(|left| left.has_work) {
            rescued = Some(self.rescuer.save(&tree, branch, commit, &left).await?.reference);
        }
        self.remove(&tree, &mut slot).await?;
        Ok(rescued)
    }

    async fn cleanup(&self) -> Result<Vec<String>, GitError> {
        self.shared.clear();
        let mut rescued = Vec::new();
        for entry in list_run(&self.run_dir, &self.run)? {
            if entry.is_kept {
                continue;
            }
            let Some(branch) = entry.branch else {
                // Never handed out.
                let name = entry.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let tree = TreePlace { admin: self.repository.admin_dir(&name), dir: entry.dir, name };
                self.remove(&tree, &mut Slot::default()).await?;
                continue;
            };
            let marker = self.marker(&self.place(&branch))?;
            let at = self.repository.ref_at(&self.branch_ref(&branch)).await?.or(marker.map(|marker| marker.base));
            if let Some(commit) = at {
                rescued.extend(self.release(&branch, &commit).await?);
            }
        }
        for name in [".trash", ".snapshots", ".git-dirs", ".meta"] {
            let dir = self.run_dir.join(name);
            blocking("remove", &dir.clone(), move || remove_any(&dir)).await?;
        }
        // They stay while something is kept in them.
        let _ = std::fs::remove_dir(self.run_dir.join(".kept"));
        let _ = std::fs::remove_dir(&self.run_dir);
        Ok(rescued)
    }

    /// What the tree holds, beside `begin`; nothing when there is no tree.
    async fn look(
        &self,
        tree: &TreePlace,
        slot: &mut Slot,
        begin: &str,
        facts: &CommitFacts,
    ) -> Result<Option<Left>, GitError> {
        match std::fs::symlink_metadata(&tree.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(GitError::io("look at", &tree.dir)(error)),
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                // Something else has taken the tree's place; whatever it is, it is not followed.
                self.rescuer.keep(&tree.dir, &tree.name)?;
                return Ok(None);
            }
        }
        if self.marker(tree)?.is_none() {
            return Ok(None);
        }
        let (pointer, has_admin) = (tree.pointer(), tree.has_admin()?);
        if has_admin {
            tree.restore_admin()?;
        }
        let git = self.repository.git();
        if slot.clean.is_none() {
            let clean = self.repository.clean_dir(&self.run_dir.join(".git-dirs"))?;
            read_index(git, &clean, &tree.dir, begin).await?;
            slot.clean = Some(clean);
        }
        let head = if has_admin { self.foreign_head(tree, begin).await? } else { None };
        let capture = capture(git, slot.clean(tree)?, &tree.dir).await;
        let is_as_begun = capture.as_ref().is_ok_and(|found| found.is_whole() && found.tree == facts.tree);
        let has_work = !is_as_begun || head.is_some() || pointer == Pointer::Directory;
        Ok(Some(Left { capture, head, pointer, has_admin, has_work }))
    }

    /// The agent's HEAD, where it has commits that `begin` has not.
    async fn foreign_head(&self, tree: &TreePlace, begin: &str) -> Result<Option<String>, GitError> {
        if tree.is_detached(begin) {
            return Ok(None);
        }
        let Some(head) = self.repository.head_of(&tree.admin).await? else { return Ok(None) };
        Ok((!self.repository.is_ancestor(&head, begin).await?).then_some(head))
    }

    /// Makes the files those of `commit`; what git ignores stays.
    async fn reset(&self, tree: &TreePlace, slot: &Slot, commit: &str) -> Result<(), GitError> {
        let (git, clean) = (self.repository.git(), slot.clean(tree)?);
        populate(git, clean, &tree.dir, commit).await?;
        remove_untracked(git, clean, &tree.dir).await
    }

    /// Writes what the agent's git sees: pointers, HEAD, and an index that fits the files.
    async fn settle(&self, tree: &TreePlace, slot: &Slot, commit: &str) -> Result<(), GitError> {
        tree.restore_pointer()?;
        tree.restore_admin()?;
        tree.set_head(&self.repository, commit).await?;
        copy_index(&slot.clean(tree)?.index(), &tree.admin.join("index"))
    }

    /// Makes the tree at `commit`, in place of what is there.
    async fn remake(&self, tree: &TreePlace, slot: &mut Slot, branch: &str, commit: &str) -> Result<(), GitError> {
        self.remove(tree, slot).await?;
        let git = self.repository.git();
        let lock = WorktreesLock::take(git, self.repository.common_dir()).await?;
        let place = self.repository.place();
        let call = Call::new(["worktree", "add", "-q", "--detach", "--no-checkout"]).arg(&tree.dir).arg(commit);
        let call = call.config(self.repository.drivers_off(&place).await?).at(place);
        git.run(call.holding(lock.handle()?)).await?;
        drop(lock);
        if !tree.has_admin()? || tree.pointer() != Pointer::AsWritten {
            return Err(GitError::tampered(&tree.dir.join(".git"), "git did not make the entry that it was to make"));
        }
        let clean = self.repository.clean_dir(&self.run_dir.join(".git-dirs"))?;
        populate(git, &clean, &tree.dir, commit).await?;
        slot.clean = Some(clean);
        self.settle(tree, slot, commit).await?;
        self.write_marker(tree, &Marker { branch: branch.to_owned(), base: commit.to_owned(), boot: self.boot.clone() })
    }

    /// Removes a tree and git's entry of it. What is in it has been saved.
    async fn remove(&self, tree: &TreePlace, slot: &mut Slot) -> Result<(), GitError> {
        slot.clean = None;
        let lock = WorktreesLock::take(self.repository.git(), self.repository.common_dir()).await?;
        let mut trash = None;
        if std::fs::symlink_metadata(&tree.dir).is_ok() {
            trash = Some(move_aside(&tree.dir, &self.run_dir.join(".trash"), &tree.name)?);
        }
        if tree.has_admin()? {
            remove_any(&tree.admin)?;
            // As git does: the directory goes with its last entry.
            let _ = tree.admin.parent().map(std::fs::remove_dir);
        }
        drop(lock);
        if let Some(trash) = trash {
            blocking("remove", &tree.dir, move || remove_any(&trash)).await?;
        }
        remove_any(&self.marker_file(tree))
    }

    /// Points a branch's ref at `commit`; checkpoints that this leaves behind are rescued.
    async fn point_branch(&self, branch: &str, commit: &str) -> Result<Option<String>, GitError> {
        let reference = self.branch_ref(branch);
        let Some(old) = self.repository.ref_at(&reference).await? else {
            self.repository.move_ref(&reference, commit, None).await?;
            return Ok(None);
        };
        if old == commit {
            return Ok(None);
        }
        let mut saved = None;
        if !self.repository.is_ancestor(&old, commit).await? {
            saved = Some(self.rescuer.save_commit(branch, &old).await?);
        }
        self.repository.move_ref(&reference, commit, Some(&old)).await?;
        Ok(saved)
    }

    /// Moves a branch's ref from where a leaf began to its checkpoint.
    async fn advance_branch(&self, branch: &str, begin: &str, commit: &str, tree: &str) -> Result<(), GitError> {
        let reference = self.branch_ref(branch);
        let Some(there) = self.repository.ref_at(&reference).await? else {
            return self.repository.move_ref(&reference, commit, None).await;
        };
        if there == commit {
            return Ok(());
        }
        if there != begin {
            // The same checkpoint under another date: made before a crash, and not recorded.
            let facts = self.repository.facts_of(&there).await?;
            if facts.tree != tree || facts.parents != [begin] {
                return Err(GitError::Moved { reference, expected: begin.to_owned(), actual: there });
            }
        }
        self.repository.move_ref(&reference, commit, Some(&there)).await
    }

    fn marker(&self, tree: &TreePlace) -> Result<Option<Marker>, GitError> {
        read_marker(&self.marker_file(tree))
    }

    fn write_marker(&self, tree: &TreePlace, marker: &Marker) -> Result<(), GitError> {
        let path = self.marker_file(tree);
        let fail = || GitError::io("write", &path);
        let dir = self.run_dir.join(".meta");
        std::fs::create_dir_all(&dir).map_err(fail())?;
        let file = tempfile::Builder::new().tempfile_in(&dir).map_err(fail())?;
        serde_json::to_writer(&file, marker).map_err(std::io::Error::from).map_err(fail())?;
        file.persist(&path).map_err(|error| error.error).map_err(fail())?;
        Ok(())
    }
}

impl Slot {
    fn clean(&self, tree: &TreePlace) -> Result<&CleanDir, GitError> {
        self.clean.as_ref().ok_or_else(|| GitError::tampered(&tree.dir, "the engine's index of it is gone"))
    }
}

/// The trees below a root, of all runs, in order.
///
/// # Errors
/// When a directory cannot be listed.
pub fn list_trees(root: &Path) -> Result<Vec<TreeEntry>, GitError> {
    let mut found = Vec::new();
    for (run, dir) in dirs_in(root)? {
        found.extend(list_run(&dir, &run)?);
    }
    Ok(found)
}

fn list_run(run_dir: &Path, run: &str) -> Result<Vec<TreeEntry>, GitError> {
    let mut found = Vec::new();
    for (name, dir) in dirs_in(run_dir)?.into_iter().filter(|(name, _)| !name.starts_with('.')) {
        let marker = read_marker(&run_dir.join(".meta").join(format!("{name}.json")))?;
        let branch = marker.map(|marker| marker.branch);
        found.push(TreeEntry { run: run.to_owned(), branch, dir, is_kept: false });
    }
    for (_, dir) in dirs_in(&run_dir.join(".kept"))? {
        found.push(TreeEntry { run: run.to_owned(), branch: None, dir, is_kept: true });
    }
    Ok(found)
}

fn dirs_in(dir: &Path) -> Result<Vec<(String, PathBuf)>, GitError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(GitError::io("list", dir)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(GitError::io("list", dir))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// What tells this start of the machine from others; nothing where the system does not say.
fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// The marker of a tree, if there is a whole one. One that cannot be read is an error: a tree without a marker has never
/// been handed out, and is not looked at for work.
fn read_marker(path: &Path) -> Result<Option<Marker>, GitError> {
    let read = read_if_small(path, MARKER_BYTES_MAX).map_err(GitError::io("read", path))?;
    let marker: Option<Marker> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(marker.filter(|marker| check_id(&marker.base).is_ok()))
}

fn remove_any_but_file(path: &Path) -> Result<(), GitError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        _ => remove_any(path),
    }
}

/// Runs an operation to its end, also when the caller stops waiting: half an operation is worse than a whole one.
async fn carry_through<T: Send + 'static>(
    work: impl Future<Output = Result<T, GitError>> + Send + 'static,
) -> Result<T, GitError> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => {
            Err(GitError::Io { action: "finish", path: PathBuf::from("git"), source: std::io::Error::other(error) })
        }
    }
}
