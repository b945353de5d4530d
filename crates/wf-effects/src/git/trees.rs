//! The trees of one run: acquire, begin, checkpoint, release.
//!
//! A tree is a slot of the repository's pool with an entry of the same name in git's `worktrees/`. Beside it the engine
//! keeps a clean git directory with an index of its own; the agent's index and HEAD are written for the agent and never
//! read for a decision. Which slot a branch has is found from any process.
//!
//! An operation that was begun is carried through, also when its caller goes away. Each may be repeated.

use std::collections::HashMap;
use std::fs::Permissions;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Mutex as TaskMutex;
use wf_ir::Glob;
use wf_kernel::record::{Checkpoint, TreeAt};
use wf_store::{RunId, TreeFilter, TreeListed, TreeStage};

use super::build_cache::BuildCache;
use super::capture::{capture, populate, read_index, remove_untracked};
use super::clean::copy_index;
use super::control::{Pointer, remove_any};
use super::error::GitError;
use super::names::{check_run, ref_leaf};
use super::pool::{Held, Keep, Known, Pool, PoolOptions, Reclaim, Swept, now_ms};
use super::repository::{CommitFacts, Repository};
use super::rescue::{Left, Rescuer};
use super::snapshot::{SharedSnapshots, SnapshotDir};

/// Where trees are.
#[derive(Clone, Debug)]
pub struct TreesOptions {
    /// The directory of all trees of a repository; outside of it.
    pub root: PathBuf,
    /// The run.
    pub run: String,
    /// How trees are shared out.
    pub pool: PoolOptions,
}

/// The trees of one run.
#[derive(Clone, Debug)]
pub struct Trees {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) repository: Repository,
    pub(crate) run: String,
    pub(crate) pool: Pool,
    /// When what nobody needs was last seen to.
    pub(crate) swept_ms: AtomicI64,
    branches: Mutex<HashMap<String, Arc<TaskMutex<Known>>>>,
    shared: SharedSnapshots,
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
        make_private(&root)?;
        // Git writes real paths into its pointers, and they are compared.
        let root = std::fs::canonicalize(&root).map_err(GitError::io("find", &root))?;
        let inner = Inner {
            repository: repository.clone(),
            run: options.run.clone(),
            pool: Pool::new(repository, root, options.pool.clone()),
            swept_ms: AtomicI64::new(now_ms()),
            branches: Mutex::default(),
            shared: SharedSnapshots::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The repository that the trees are of.
    pub fn repository(&self) -> &Repository {
        &self.inner.repository
    }

    /// What builds in the trees begin with.
    pub fn build_cache(&self) -> Option<BuildCache> {
        self.inner.pool.options.build_cache.clone()
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
        carry_through(async move {
            let done = inner.acquire(&branch, &base).await;
            inner.rest_if_failed(&branch, done).await
        })
        .await
    }

    /// Brings a branch's tree to `begin`; unsaved work is rescued. A tree in which a process died is made anew, because
    /// something that it started may still write there. Until [`Trees::rest`], no other process takes it.
    ///
    /// # Errors
    /// When there is no such commit, and when git fails.
    pub async fn begin(&self, branch: &str, begin: &str) -> Result<BeginOutcome, GitError> {
        let (inner, branch, begin) = (Arc::clone(&self.inner), branch.to_owned(), begin.to_owned());
        carry_through(async move {
            let done = inner.begin(&branch, &begin).await;
            inner.rest_if_failed(&branch, done).await
        })
        .await
    }

    /// Brings a branch's tree back to `begin` and drops what is there: what a test or a command without a write scope
    /// left.
    ///
    /// # Errors
    /// When there is no such commit, and when git fails.
    pub async fn discard(&self, branch: &str, begin: &str) -> Result<PathBuf, GitError> {
        let (inner, branch, begin) = (Arc::clone(&self.inner), branch.to_owned(), begin.to_owned());
        carry_through(async move {
            let done = inner.discard(&branch, &begin).await;
            inner.rest_if_failed(&branch, done).await
        })
        .await
    }

    /// Says that no leaf of this process works in a branch's tree any more.
    ///
    /// # Errors
    /// When the store does not answer, and when another process has taken the tree.
    pub async fn rest(&self, branch: &str) -> Result<(), GitError> {
        let (inner, branch) = (Arc::clone(&self.inner), branch.to_owned());
        carry_through(async move { inner.rest(&branch).await }).await
    }

    /// Commits what a leaf wrote, if its scope covers all of it; else says what it does not cover, and commits nothing.
    ///
    /// # Errors
    /// [`GitError::Moved`] when the branch's ref is neither where the leaf began nor at this very checkpoint.
    pub async fn checkpoint(&self, order: CheckpointOrder) -> Result<Checkpoint, GitError> {
        let inner = Arc::clone(&self.inner);
        carry_through(async move { inner.checkpoint(&order).await }).await
    }

    /// Gives a branch's tree back; it may be kept to be looked at, more so if the branch has failed. Answers with the ref under which unsaved work was rescued, if there was any.
    ///
    /// # Errors
    /// When there is no such commit, and when git fails; then the tree is still there.
    pub async fn release(&self, branch: &str, commit: &str, failed: bool) -> Result<Option<String>, GitError> {
        let (inner, branch, commit) = (Arc::clone(&self.inner), branch.to_owned(), commit.to_owned());
        carry_through(async move {
            let done = inner.release(&branch, &commit, failed).await;
            inner.rest_if_failed(&branch, done).await
        })
        .await
    }

    /// A copy of a commit for those who only read, shared between them.
    ///
    /// # Errors
    /// When there is no such commit, and when git fails.
    pub async fn snapshot(&self, commit: &str) -> Result<Arc<SnapshotDir>, GitError> {
        let inner = &self.inner;
        inner.shared.get(&inner.repository, inner.repository.git().scratch_dir(), commit).await
    }

    /// A copy of a commit for one who may write in it.
    ///
    /// # Errors
    /// When there is no such commit, and when git fails.
    pub async fn private_snapshot(&self, commit: &str) -> Result<SnapshotDir, GitError> {
        let inner = &self.inner;
        SnapshotDir::make(&inner.repository, inner.repository.git().scratch_dir(), commit).await
    }

    /// Gives back all trees that the run still has, and removes what nobody needs. Answers with the refs under which work
    /// was rescued. Kept remainders stay.
    ///
    /// # Errors
    /// When git fails; what was not given back is still there.
    pub async fn cleanup(&self) -> Result<Vec<String>, GitError> {
        let inner = Arc::clone(&self.inner);
        carry_through(async move { inner.cleanup().await }).await
    }

    /// Removes what nobody needs: what dead processes left, what was kept for long enough, what is not used. Work is
    /// saved before.
    ///
    /// # Errors
    /// When git or the store fails; what was not done then is done the next time.
    pub async fn sweep(&self, reclaim: Reclaim) -> Result<Swept, GitError> {
        let inner = Arc::clone(&self.inner);
        carry_through(async move { inner.sweep(reclaim).await }).await
    }
}

impl Inner {
    fn known(&self, branch: &str) -> Arc<TaskMutex<Known>> {
        let mut branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(branches.entry(branch.to_owned()).or_default())
    }

    fn branch_ref(&self, branch: &str) -> String {
        format!("refs/whaleflow/{}/b/{}", self.run, ref_leaf(branch))
    }

    fn rescuer(&self, held: &Held) -> Rescuer {
        Rescuer { fence: held.fence.clone(), ..self.rescuer_of(&self.run) }
    }

    async fn take_or_claim(self: &Arc<Self>, branch: &str, commit: &str, known: &mut Known) -> Result<Held, GitError> {
        match self.take(branch, true, known).await? {
            Some(held) => Ok(held),
            None => self.claim(branch, commit, known).await,
        }
    }

    async fn acquire(self: &Arc<Self>, branch: &str, base: &str) -> Result<TreeAt, GitError> {
        let facts = self.repository.facts_of(base).await?;
        let known = self.known(branch);
        let mut known = known.lock().await;
        let mut held = self.take_or_claim(branch, base, &mut known).await?;
        let left = self.look(&mut held, base, &facts).await?;
        let is_reusable = match &left {
            Some(left) if left.has_work => {
                self.rescuer(&held).save(&held.tree, branch, base, left).await?;
                false
            }
            Some(left) => left.has_admin && held.is_quiet,
            None => false,
        };
        if is_reusable {
            self.settle(&held, base).await?;
        } else {
            self.fill(&mut held, branch, base).await?;
        }
        self.point_branch(&held, branch, base).await?;
        self.let_rest(held, &mut known).await?;
        Ok(TreeAt { commit: base.to_owned(), tree: facts.tree })
    }

    async fn begin(self: &Arc<Self>, branch: &str, begin: &str) -> Result<BeginOutcome, GitError> {
        let facts = self.repository.facts_of(begin).await?;
        let known = self.known(branch);
        let mut known = known.lock().await;
        let mut held = self.take_or_claim(branch, begin, &mut known).await?;
        let mut rescued = self.point_branch(&held, branch, begin).await?;
        let left = self.look(&mut held, begin, &facts).await?;
        let mut is_reusable = held.is_quiet && left.as_ref().is_some_and(|left| left.has_admin);
        if let Some(left) = left.filter(|left| left.has_work) {
            let saved = self.rescuer(&held).save(&held.tree, branch, begin, &left).await?;
            rescued = Some(saved.reference);
            is_reusable &= !saved.is_moved;
            if is_reusable {
                self.reset(&held, begin).await?;
            }
        }
        if is_reusable {
            self.settle(&held, begin).await?;
        } else {
            self.fill(&mut held, branch, begin).await?;
        }
        let dir = held.tree.dir.clone();
        Self::keep_held(held, &mut known);
        Ok(BeginOutcome { dir, rescued })
    }

    async fn discard(self: &Arc<Self>, branch: &str, begin: &str) -> Result<PathBuf, GitError> {
        let facts = self.repository.facts_of(begin).await?;
        let known = self.known(branch);
        let mut known = known.lock().await;
        let mut held = self.take_or_claim(branch, begin, &mut known).await?;
        match self.look(&mut held, begin, &facts).await? {
            Some(left) if held.is_quiet && !left.has_work && left.has_admin => {}
            Some(left) if held.is_quiet && left.has_admin && left.is_whole() => {
                remove_any_but_file(&held.tree.dir.join(".git"))?;
                self.reset(&held, begin).await?;
            }
            _ => self.fill(&mut held, branch, begin).await?,
        }
        self.settle(&held, begin).await?;
        let dir = held.tree.dir.clone();
        self.let_rest(held, &mut known).await?;
        Ok(dir)
    }

    /// Lets a tree rest in which this process is not at work any more.
    async fn rest(&self, branch: &str) -> Result<(), GitError> {
        let known = self.known(branch);
        let mut known = known.lock().await;
        let last = known.last.take();
        if last.as_ref().is_some_and(|(row, _)| row.used.holder.is_none()) {
            known.last = last;
            return Ok(());
        }
        let Some(row) = self.row_of(branch).await?.filter(|row| self.pool.is_mine(row)) else {
            // It was given back, or somebody else has it.
            return if last.is_some() { Err(GitError::Fenced) } else { Ok(()) };
        };
        let clean = last.filter(|(of, _)| *of == row).and_then(|(_, clean)| clean);
        let row = self.pool.change(&row, self.pool.used(&row, row.used.stage, false)).await?;
        known.last = Some((row, clean));
        Ok(())
    }

    /// After a failure nobody works in the tree any more.
    async fn rest_if_failed<T>(&self, branch: &str, done: Result<T, GitError>) -> Result<T, GitError> {
        if done.is_err() {
            // What failed before says more.
            let _ = self.rest(branch).await;
        }
        done
    }

    async fn checkpoint(&self, order: &CheckpointOrder) -> Result<Checkpoint, GitError> {
        let begin = &order.begin;
        let facts = self.repository.facts_of(begin).await?;
        let known = self.known(&order.branch);
        let mut known = known.lock().await;
        let lost = |path: &Path| GitError::Lost { path: path.to_owned() };
        let held = self.take(&order.branch, false, &mut known).await?;
        let mut held = held.ok_or_else(|| lost(self.pool.slots.root()))?;
        let left = match self.pool.is_of_this_start(&held.row) {
            true => self.look(&mut held, begin, &facts).await?,
            false => None,
        };
        let Some(left) = left else {
            let error = lost(&held.tree.dir);
            self.let_rest(held, &mut known).await?;
            return Err(error);
        };
        let checkpoint = self.commit(&held, order, &facts, left).await;
        let rested = self.let_rest(held, &mut known).await;
        let checkpoint = checkpoint?;
        rested?;
        Ok(checkpoint)
    }

    async fn commit(
        &self,
        held: &Held,
        order: &CheckpointOrder,
        facts: &CommitFacts,
        left: Left,
    ) -> Result<Checkpoint, GitError> {
        let begin = &order.begin;
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
            let (base, commit, tree) = (begin.clone(), begin.clone(), facts.tree.clone());
            return Ok(Checkpoint { base, commit, tree, files, out_of_scope });
        }
        let commit = if captured.tree == facts.tree {
            begin.clone()
        } else {
            // The run is not in it, so that equal work has equal commits in every run.
            let message = format!("{}\n\nbranch: {}\n", order.leaf, order.branch);
            self.repository.commit_tree(&captured.tree, &[begin], &message, Some(order.at_ms)).await?
        };
        self.advance_branch(held, order, &commit, &captured.tree).await?;
        if let Some(head) = &left.head {
            // The checkpoint has the files; the agent's own history is kept beside it.
            self.rescuer(held).save_commit(&order.branch, head).await?;
        }
        if left.has_admin {
            self.settle(held, &commit).await?;
        }
        Ok(Checkpoint { base: begin.clone(), commit, tree: captured.tree, files, out_of_scope })
    }

    async fn release(&self, branch: &str, commit: &str, failed: bool) -> Result<Option<String>, GitError> {
        let facts = self.repository.facts_of(commit).await?;
        let known = self.known(branch);
        let mut known = known.lock().await;
        let Some(mut held) = self.take(branch, true, &mut known).await? else { return Ok(None) };
        let left = self.look(&mut held, commit, &facts).await?;
        let mut is_whole = left.as_ref().is_some_and(|left| left.is_whole() && left.has_admin);
        let mut rescued = None;
        if let Some(left) = left.filter(|left| left.has_work) {
            let saved = self.rescuer(&held).save(&held.tree, branch, commit, &left).await?;
            is_whole &= !saved.is_moved && left.pointer != Pointer::Directory;
            rescued = Some(saved.reference);
        }
        let is_wanted = match self.pool.options.keep {
            Keep::Never => false,
            Keep::Failed => failed || rescued.is_some(),
            Keep::Always => true,
        };
        if let Some(fence) = &held.fence {
            self.remove_fence(fence).await?;
            known.fence = None;
        }
        self.give_back(held, is_whole, is_wanted, !failed).await?;
        Ok(rescued)
    }

    async fn cleanup(&self) -> Result<Vec<String>, GitError> {
        self.shared.clear();
        let run = RunId::parse(&self.run).map_err(|error| GitError::Leases { detail: error.to_string() })?;
        let mut swept = Swept::default();
        for TreeListed { row, .. } in self.pool.rows(TreeFilter { run: Some(run), ..TreeFilter::default() }).await? {
            match (row.used.stage, &row.used.tenant) {
                (TreeStage::Making | TreeStage::Held, Some(tenant)) => {
                    swept.rescued.extend(self.give_up(&tenant.branch, &row.slot.name).await?);
                }
                // Its removal was begun by this process and failed; while it lives nobody else goes on with it.
                (TreeStage::Going, _) if self.pool.is_mine(&row) => self.clear(&row, &mut swept).await?,
                _ => {}
            }
        }
        swept.rescued.extend(self.sweep(Reclaim::Never).await?.rescued);
        Ok(swept.rescued)
    }

    /// Gives back a tree that its branch has not given back.
    async fn give_up(&self, branch: &str, slot: &str) -> Result<Option<String>, GitError> {
        let at = self.repository.ref_at(&self.branch_ref(branch)).await?;
        let marker = self.pool.slots.marker(slot)?;
        if let Some(commit) = at.or(marker.map(|marker| marker.base)) {
            return self.release(branch, &commit, false).await;
        }
        let known = self.known(branch);
        if let Some(held) = self.take(branch, true, &mut *known.lock().await).await? {
            self.remove(held).await?;
        }
        Ok(None)
    }

    /// What the tree holds, beside `begin`; nothing when none was handed out there.
    pub(crate) async fn look(
        &self,
        held: &mut Held,
        begin: &str,
        facts: &CommitFacts,
    ) -> Result<Option<Left>, GitError> {
        let tree = held.tree.clone();
        if !held.is_handed_out() {
            return Ok(None);
        }
        match std::fs::symlink_metadata(&tree.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(GitError::io("look at", &tree.dir)(error)),
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                // Something else has taken the tree's place; whatever it is, it is not followed.
                self.rescuer_of(&self.run).keep(&tree.dir, &tree.name)?;
                return Ok(None);
            }
        }
        let (pointer, has_admin) = (tree.pointer(), tree.has_admin()?);
        if has_admin {
            tree.restore_admin()?;
        }
        let git = self.repository.git();
        if held.clean.is_none() {
            let clean = self.repository.clean_dir(git.scratch_dir())?;
            read_index(git, &clean, &tree.dir, begin).await?;
            held.clean = Some(clean);
        }
        let head = if has_admin { self.foreign_head(held, begin).await? } else { None };
        let capture = capture(git, held.clean()?, &tree.dir).await;
        let is_as_begun = capture.as_ref().is_ok_and(|found| found.is_whole() && found.tree == facts.tree);
        let has_work = !is_as_begun || head.is_some() || pointer == Pointer::Directory;
        Ok(Some(Left { capture, head, pointer, has_admin, has_work }))
    }

    /// The agent's HEAD, where it has commits that `begin` has not.
    async fn foreign_head(&self, held: &Held, begin: &str) -> Result<Option<String>, GitError> {
        if held.tree.is_detached(begin) {
            return Ok(None);
        }
        let Some(head) = self.repository.head_of(&held.tree.admin).await? else { return Ok(None) };
        Ok((!self.repository.is_ancestor(&head, begin).await?).then_some(head))
    }

    /// Makes the files those of `commit`; what git ignores stays.
    async fn reset(&self, held: &Held, commit: &str) -> Result<(), GitError> {
        let (git, clean) = (self.repository.git(), held.clean()?);
        populate(git, clean, &held.tree.dir, commit).await?;
        remove_untracked(git, clean, &held.tree.dir).await
    }

    /// Writes what the agent's git sees: pointers, HEAD, and an index that fits the files.
    pub(crate) async fn settle(&self, held: &Held, commit: &str) -> Result<(), GitError> {
        let tree = &held.tree;
        tree.restore_pointer()?;
        tree.restore_admin()?;
        tree.set_head(&self.repository, commit).await?;
        copy_index(&held.clean()?.index(), &tree.admin.join("index"))
    }

    /// Points a branch's ref at `commit`; checkpoints that this leaves behind are rescued.
    async fn point_branch(&self, held: &Held, branch: &str, commit: &str) -> Result<Option<String>, GitError> {
        let (reference, fence) = (self.branch_ref(branch), held.fence.as_ref());
        let Some(old) = self.repository.ref_at(&reference).await? else {
            self.repository.move_ref_fenced(&reference, commit, None, fence).await?;
            return Ok(None);
        };
        if old == commit {
            return Ok(None);
        }
        let mut saved = None;
        if !self.repository.is_ancestor(&old, commit).await? {
            saved = Some(self.rescuer(held).save_commit(branch, &old).await?);
        }
        self.repository.move_ref_fenced(&reference, commit, Some(&old), fence).await?;
        Ok(saved)
    }

    /// Moves a branch's ref from where a leaf began to its checkpoint.
    async fn advance_branch(
        &self,
        held: &Held,
        order: &CheckpointOrder,
        commit: &str,
        tree: &str,
    ) -> Result<(), GitError> {
        let (reference, begin, fence) = (self.branch_ref(&order.branch), &order.begin, held.fence.as_ref());
        let Some(there) = self.repository.ref_at(&reference).await? else {
            return self.repository.move_ref_fenced(&reference, commit, None, fence).await;
        };
        if there == commit {
            return Ok(());
        }
        if there != *begin {
            // The same checkpoint under another date: made before a crash, and not recorded.
            let facts = self.repository.facts_of(&there).await?;
            if facts.tree != tree || facts.parents != [begin.clone()] {
                return Err(GitError::Moved { reference, expected: begin.clone(), actual: there });
            }
        }
        self.repository.move_ref_fenced(&reference, commit, Some(&there), fence).await
    }
}

fn remove_any_but_file(path: &Path) -> Result<(), GitError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        _ => remove_any(path),
    }
}

/// Makes a directory that only its owner may enter: what builds in trees share relies on it.
fn make_private(dir: &Path) -> Result<(), GitError> {
    std::fs::create_dir_all(dir).map_err(GitError::io("make", dir))?;
    let mode = std::fs::metadata(dir).map_err(GitError::io("look at", dir))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(dir, Permissions::from_mode(mode & 0o700)).map_err(GitError::io("change", dir))
}

/// Runs an operation to its end, also when the caller stops waiting: half an operation is worse than a whole one.
pub(crate) async fn carry_through<T: Send + 'static>(
    work: impl Future<Output = Result<T, GitError>> + Send + 'static,
) -> Result<T, GitError> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => {
            Err(GitError::Io { action: "finish", path: PathBuf::from("git"), source: std::io::Error::other(error) })
        }
    }
}
