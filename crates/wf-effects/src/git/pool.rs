//! Where trees come from: the slots of one repository, which all its runs share.
//!
//! A slot that a branch gives back keeps its files, and the next branch of any run gets them by reset. Who may touch
//! which slot is a row in the store, which every process sees:
//!
//! - A process that works in a tree is the row's *holder*. A tree that rests has none, and any process of its run may
//!   take it. One whose holder is gone is taken over, and made anew before a leaf begins in it.
//! - A tree whose holder is alive, but has lost the right to it, is left to that one: the branch gets another slot, and
//!   whoever comes after the holder's end saves what is in the old one.
//! - Every change of a row raises its epoch. Whoever takes a tree puts a new object behind the branch's fence ref and
//!   then looks whether the row is still its own; a ref of the branch moves only together with a look at the fence, in
//!   one transaction of git. So whoever was stopped for a while can move nothing once another has taken the tree.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::OnceCell;
use wf_store::{
    Presence, RunId, Tenant, TenantRun, TreeChange, TreeChangeError, TreeClaim, TreeClaimError, TreeFilter, TreeListed,
    TreeRow, TreeRows, TreeSlot, TreeStage, TreeUse,
};

use super::build_cache::{BuildCache, Origin};
use super::capture::{blocking, populate, remove_all_untracked};
use super::clean::{CleanDir, copy_index};
use super::control::{TreePlace, remove_any};
use super::error::GitError;
use super::names::ref_leaf;
use super::repository::{Fence, Repository};
use super::rescue::Rescuer;
use super::slots::{Marker, Slots, entries_in};
use super::trees::Inner;
use crate::contract::{Clock, RealClock};

/// How many trees there are for each core, unless somebody says so.
const TREES_PER_CORE: usize = 32;
/// How many there are at least, whatever the disk says.
const TREES_MIN: usize = 4;
/// Of the free space, this part may go to trees.
const DISK_PART: u64 = 2;
/// How many unused trees wait for the next branch.
const WARM_MAX: usize = 8;
/// How long they wait.
const WARM_MS: i64 = 60 * 60 * 1_000;
/// How long a tree stays that is kept to be looked at.
const KEEP_MS: i64 = 24 * 60 * 60 * 1_000;
/// How often a busy process sees to what nobody needs.
const SWEEP_EVERY_MS: i64 = 60_000;
/// How often a slot is looked for that changes hands at that moment.
const TRIES: usize = 8;

/// Which trees stay to be looked at when their branch has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// None.
    #[default]
    Never,
    /// Those of branches that failed, and those with work that no checkpoint has.
    Failed,
    /// All.
    Always,
}

/// How the slots of a repository are shared out.
#[derive(Clone)]
pub struct PoolOptions {
    /// The rows of trees.
    pub rows: Arc<dyn TreeRows>,
    /// This process, among those that hold trees.
    pub holder: String,
    /// Which of them are alive; without it, all are.
    pub presence: Option<Presence>,
    /// How many trees there may be at once; nothing to derive it from cores and free space. Branches inside of a branch
    /// with a tree may exceed it, because the outer one waits for them.
    pub trees_max: Option<usize>,
    /// How many unused ones wait for the next branch.
    pub warm_max: usize,
    /// How long they wait, in milliseconds.
    pub warm_ms: i64,
    /// Which stay to be looked at.
    pub keep: Keep,
    /// How long these stay, in milliseconds.
    pub keep_ms: i64,
    /// What builds in trees begin with; it is offered what was built in those that are given back.
    pub build_cache: Option<BuildCache>,
}

impl PoolOptions {
    /// The usual ones, for a process that is called `holder`.
    pub fn new(rows: Arc<dyn TreeRows>, holder: impl Into<String>) -> Self {
        Self {
            rows,
            holder: holder.into(),
            presence: None,
            trees_max: None,
            warm_max: WARM_MAX,
            warm_ms: WARM_MS,
            keep: Keep::Never,
            keep_ms: KEEP_MS,
            build_cache: None,
        }
    }
}

impl fmt::Debug for PoolOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolOptions").field("holder", &self.holder).finish_non_exhaustive()
    }
}

/// The slots of one repository.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) options: PoolOptions,
    pub(crate) slots: Slots,
    /// What its rows are called.
    pub(crate) name: String,
    /// Since when the machine runs, and what files depend on beside their commit.
    pub(crate) start: String,
    /// How many slots this value has named.
    named: AtomicU64,
    /// How many trees there may be, once that was found out.
    trees_max: OnceCell<usize>,
}

/// A slot that this task may work in.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) row: TreeRow,
    pub(crate) tree: TreePlace,
    /// The engine's index of the files, once it was made or read.
    pub(crate) clean: Option<CleanDir>,
    pub(crate) fence: Option<Fence>,
    /// Whether it is whole, and nobody is known who could still write there.
    pub(crate) is_quiet: bool,
}

impl Held {
    pub(crate) fn clean(&self) -> Result<&CleanDir, GitError> {
        self.clean.as_ref().ok_or_else(|| GitError::tampered(&self.tree.dir, "the engine's index of it is gone"))
    }

    /// Whether a tree was handed out there.
    pub(crate) fn is_handed_out(&self) -> bool {
        self.row.used.stage != TreeStage::Making
    }
}

/// Which trees may be taken from runs that have not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reclaim {
    /// None: the run may go on, and finds them.
    Never,
    /// Those that nobody drives.
    Undriven,
}

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The slots that were removed.
    pub removed: Vec<String>,
    /// The refs under which work was saved.
    pub rescued: Vec<String>,
}

pub(crate) fn now_ms() -> i64 {
    RealClock.now_ms()
}

/// What tells this start of the machine from others; nothing where the system does not say.
pub(crate) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// The name of a pool whose directory is `root`, a real path.
pub fn pool_name(root: &Path) -> String {
    wf_ir::Digest::of(root.as_os_str().as_encoded_bytes()).short()
}

impl Pool {
    pub(crate) fn new(repository: &Repository, root: std::path::PathBuf, options: PoolOptions) -> Self {
        let name = pool_name(&root);
        let start = format!("{} {}", boot_id(), repository.settings());
        let (named, trees_max) = (AtomicU64::new(0), OnceCell::new());
        Self { options, slots: Slots::new(root), name, start, named, trees_max }
    }

    pub(crate) fn is_gone(&self, holder: &str) -> bool {
        self.options.presence.as_ref().is_some_and(|presence| presence.is_gone(holder))
    }

    fn is_me(&self, holder: &str) -> bool {
        holder == self.options.holder
    }

    /// Whether this process holds a slot.
    pub(crate) fn is_mine(&self, row: &TreeRow) -> bool {
        row.used.holder.as_deref().is_some_and(|holder| self.is_me(holder))
    }

    /// Whether what is in a slot was written since the machine was started.
    pub(crate) fn is_of_this_start(&self, row: &TreeRow) -> bool {
        let boot = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
        boot(&row.used.boot) == boot(&self.start)
    }

    pub(crate) async fn rows(&self, filter: TreeFilter) -> Result<Vec<TreeListed>, GitError> {
        let filter = TreeFilter { pool: Some(self.name.clone()), ..filter };
        self.options.rows.trees(filter).await.map_err(|error| GitError::Leases { detail: error.to_string() })
    }

    /// Changes a row; nothing if somebody else has changed it.
    async fn try_change(&self, row: &TreeRow, to: TreeUse) -> Result<Option<TreeRow>, GitError> {
        let change = TreeChange { slot: row.slot.clone(), epoch: row.epoch, to };
        match self.options.rows.change_tree(change).await {
            Ok(row) => Ok(Some(row)),
            Err(TreeChangeError::Fenced { .. }) => Ok(None),
            Err(error) => Err(GitError::Leases { detail: error.to_string() }),
        }
    }

    pub(crate) async fn change(&self, row: &TreeRow, to: TreeUse) -> Result<TreeRow, GitError> {
        self.try_change(row, to).await?.ok_or(GitError::Fenced)
    }

    /// The use of a slot by its tenant.
    pub(crate) fn used(&self, row: &TreeRow, stage: TreeStage, is_held: bool) -> TreeUse {
        TreeUse {
            stage,
            tenant: row.used.tenant.clone(),
            holder: is_held.then(|| self.options.holder.clone()),
            boot: row.used.boot.clone(),
            until_ms: None,
            at_ms: now_ms(),
        }
    }

    async fn forget(&self, row: &TreeRow) -> Result<(), GitError> {
        match self.options.rows.forget_tree(row.slot.clone(), row.epoch).await {
            Ok(()) => Ok(()),
            Err(TreeChangeError::Fenced { .. }) => Err(GitError::Fenced),
            Err(error) => Err(GitError::Leases { detail: error.to_string() }),
        }
    }

    /// A name that no slot has had, in any pool of the repository: git's entry has it too.
    fn new_slot(&self) -> TreeSlot {
        let number = self.named.fetch_add(1, Ordering::Relaxed);
        let told_apart = format!("{}\0{}\0{number}\0{}", self.name, self.options.holder, now_ms());
        let name = format!("tree-{}", wf_ir::Digest::of(told_apart.as_bytes()).short());
        TreeSlot { pool: self.name.clone(), name }
    }

    async fn trees_max(&self, repository: &Repository, commit: &str) -> Result<usize, GitError> {
        let derived = || async {
            let size = repository.size_of(commit).await?;
            Ok(self.derive_trees_max(size))
        };
        match self.options.trees_max {
            Some(max) => Ok(max),
            None => self.trees_max.get_or_try_init(derived).await.copied(),
        }
    }

    /// How many trees of `size` bytes there may be: as many as leaves have use for, as long as they leave half of the
    /// free space alone.
    fn derive_trees_max(&self, size: u64) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let by_cores = cores * TREES_PER_CORE;
        let Ok(disk) = rustix::fs::statvfs(self.slots.root()) else { return by_cores };
        let by_disk = disk.f_bavail.saturating_mul(disk.f_frsize) / DISK_PART / size.max(1);
        by_cores.min(usize::try_from(by_disk).unwrap_or(usize::MAX)).max(TREES_MIN)
    }
}

/// What this process knows of a branch's tree. Whoever holds the lock works on it alone.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The row as this process left it, and the index that it has of the files.
    pub(crate) last: Option<(TreeRow, Option<CleanDir>)>,
    /// Where this process last set the branch's fence.
    pub(crate) fence: Option<String>,
}

impl Known {
    /// The index of the files, if nobody has changed the row since.
    fn take(&mut self, row: &TreeRow) -> Option<CleanDir> {
        let (last, clean) = self.last.take()?;
        (last == *row).then_some(clean).flatten()
    }
}

impl Inner {
    fn tenant(&self, branch: &str) -> Result<Tenant, GitError> {
        let run = RunId::parse(&self.run).map_err(|error| GitError::Leases { detail: error.to_string() })?;
        Ok(Tenant { run, branch: branch.to_owned() })
    }

    /// The row of a branch's tree, if it has one.
    pub(crate) async fn row_of(&self, branch: &str) -> Result<Option<TreeRow>, GitError> {
        let Tenant { run, branch } = self.tenant(branch)?;
        let filter = TreeFilter { run: Some(run), branch: Some(branch), ..TreeFilter::default() };
        Ok(self.pool.rows(filter).await?.into_iter().map(|listed| listed.row).find(TreeRow::is_taken))
    }

    /// Takes a branch's tree, if it has one that can be taken. One that a living process holds is left to it: `anew` says
    /// that the branch then has none, which is otherwise [`GitError::Fenced`].
    pub(crate) async fn take(&self, branch: &str, anew: bool, known: &mut Known) -> Result<Option<Held>, GitError> {
        for _ in 0..TRIES {
            let Some(row) = self.row_of(branch).await? else { return Ok(None) };
            let holder = row.used.holder.as_deref();
            let is_rest = holder.is_none() || self.pool.is_mine(&row);
            if !is_rest && !holder.is_some_and(|holder| self.pool.is_gone(holder)) {
                if !anew {
                    return Err(GitError::Fenced);
                }
                // Whoever has it is alive and should not have it any more. It is left alone, and so is its tree.
                let to = TreeUse { holder: row.used.holder.clone(), ..self.pool.used(&row, TreeStage::Going, true) };
                self.pool.try_change(&row, to).await?;
                continue;
            }
            let mut clean = known.take(&row);
            if !is_rest {
                clean = None;
            }
            let to = self.pool.used(&row, row.used.stage, true);
            let Some(row) = self.pool.try_change(&row, to).await? else { continue };
            // What another start of the machine left may be any part of a tree.
            let is_quiet = is_rest && self.pool.is_of_this_start(&row);
            return self.held(row, clean, is_quiet, branch, known).await.map(Some);
        }
        Err(GitError::Fenced)
    }

    async fn held(
        &self,
        row: TreeRow,
        clean: Option<CleanDir>,
        is_quiet: bool,
        branch: &str,
        known: &mut Known,
    ) -> Result<Held, GitError> {
        let tree = self.pool.slots.place(&self.repository, &row.slot.name);
        let fence = self.set_fence(&row, branch, known.fence.take()).await?;
        known.fence = Some(fence.at.clone());
        self.check_row(&row).await?;
        Ok(Held { row, tree, clean, fence: Some(fence), is_quiet })
    }

    /// Makes a branch's fence that of this row. It is moved from what it was seen to be, so that what a process had begun
    /// that was killed or stopped does not move it afterwards. `seen` need not be right.
    async fn set_fence(&self, row: &TreeRow, branch: &str, mut seen: Option<String>) -> Result<Fence, GitError> {
        let reference = fence_ref(&self.run, branch);
        let at = self.repository.write_fence(&fence_text(row, &self.pool.options.holder)).await?;
        for _ in 0..TRIES {
            match self.repository.move_ref(&reference, &at, seen.as_deref()).await {
                Err(GitError::Moved { .. }) => {}
                moved => return moved.map(|()| Fence { reference, at }),
            }
            seen = self.repository.ref_at(&reference).await?;
            self.check_row(row).await?;
        }
        Err(GitError::Fenced)
    }

    /// Whether a row is still as this task left it.
    async fn check_row(&self, row: &TreeRow) -> Result<(), GitError> {
        let filter = TreeFilter {
            run: row.used.tenant.as_ref().map(|tenant| tenant.run.clone()),
            branch: row.used.tenant.as_ref().map(|tenant| tenant.branch.clone()),
            ..TreeFilter::default()
        };
        let rows = self.pool.rows(filter).await?;
        if rows.iter().any(|listed| listed.row == *row) { Ok(()) } else { Err(GitError::Fenced) }
    }

    /// Gets a slot for a branch that has none: an unused one, or a new one.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        branch: &str,
        commit: &str,
        known: &mut Known,
    ) -> Result<Held, GitError> {
        self.sweep_soon();
        // How many there may be need not be found out for a few, nor for those that others wait for.
        let mut slots_max = match self.is_inside_of_a_tree(branch).await? {
            true => usize::MAX,
            false => self.pool.options.trees_max.unwrap_or(TREES_MIN),
        };
        let mut has_swept = false;
        loop {
            let claim = TreeClaim {
                slot: self.pool.new_slot(),
                tenant: self.tenant(branch)?,
                holder: self.pool.options.holder.clone(),
                boot: self.pool.start.clone(),
                slots_max,
                now_ms: now_ms(),
            };
            match self.pool.options.rows.claim_tree(claim).await {
                Ok(row) => return self.held(row, None, true, branch, known).await,
                Err(TreeClaimError::Full { slots }) => {
                    let max = self.pool.trees_max(&self.repository, commit).await?;
                    if slots_max >= max && has_swept {
                        return Err(GitError::PoolFull { trees: slots });
                    }
                    if slots_max >= max {
                        has_swept = true;
                        self.sweep(Reclaim::Undriven).await?;
                    }
                    slots_max = max;
                }
                Err(error) => return Err(GitError::Leases { detail: error.to_string() }),
            }
        }
    }

    /// Whether a branch around this one has a tree, and waits for it.
    async fn is_inside_of_a_tree(&self, branch: &str) -> Result<bool, GitError> {
        let filter = TreeFilter { run: Some(self.tenant(branch)?.run), ..TreeFilter::default() };
        let is_around = |row: &TreeRow| {
            let outer = row.used.tenant.as_ref().map(|tenant| tenant.branch.as_str());
            let rest = outer.and_then(|outer| branch.strip_prefix(outer));
            row.used.stage == TreeStage::Held && rest.is_some_and(|rest| rest.starts_with('/'))
        };
        Ok(self.pool.rows(filter).await?.iter().any(|listed| is_around(&listed.row)))
    }

    /// Makes a slot a tree at `commit`: by reset where its files are the last tenant's, else from nothing. What is there
    /// has been saved.
    pub(crate) async fn fill(&self, held: &mut Held, branch: &str, commit: &str) -> Result<(), GitError> {
        let is_warm = !held.is_handed_out() && self.pool.slots.index_file(&held.tree.name).is_file();
        if is_warm && self.reuse(held, commit).await.is_ok() {
            return self.hand_out(held, branch, commit).await;
        }
        self.remake(held, branch, commit).await
    }

    async fn reuse(&self, held: &mut Held, commit: &str) -> Result<(), GitError> {
        let git = self.repository.git();
        let clean = self.repository.clean_dir(git.scratch_dir())?;
        copy_index(&self.pool.slots.index_file(&held.tree.name), &clean.index())?;
        populate(git, &clean, &held.tree.dir, commit).await?;
        remove_all_untracked(git, &clean, &held.tree.dir).await?;
        held.clean = Some(clean);
        held.tree.make_admin(&self.repository, commit).await?;
        self.settle(held, commit).await
    }

    async fn remake(&self, held: &mut Held, branch: &str, commit: &str) -> Result<(), GitError> {
        if held.is_handed_out() {
            // From here on, nothing in it is anybody's.
            held.row = self.pool.change(&held.row, self.pool.used(&held.row, TreeStage::Making, true)).await?;
        }
        held.clean = None;
        let trash = self.pool.slots.move_to_trash(&held.tree.dir, &held.tree.name)?;
        std::fs::create_dir_all(&held.tree.dir).map_err(GitError::io("make", &held.tree.dir))?;
        held.tree.make_admin(&self.repository, commit).await?;
        let clean = self.repository.clean_dir(self.repository.git().scratch_dir())?;
        populate(self.repository.git(), &clean, &held.tree.dir, commit).await?;
        held.clean = Some(clean);
        self.settle(held, commit).await?;
        self.hand_out(held, branch, commit).await?;
        drop_later(trash);
        Ok(())
    }

    async fn hand_out(&self, held: &mut Held, branch: &str, commit: &str) -> Result<(), GitError> {
        remove_any(&self.pool.slots.index_file(&held.tree.name))?;
        let marker = Marker { run: self.run.clone(), branch: branch.to_owned(), base: commit.to_owned() };
        self.pool.slots.write_marker(&held.tree.name, &marker)?;
        let to = TreeUse { boot: self.pool.start.clone(), ..self.pool.used(&held.row, TreeStage::Held, true) };
        held.row = self.pool.change(&held.row, to).await?;
        held.is_quiet = true;
        Ok(())
    }

    /// Lets a tree rest: any process of the run may take it.
    pub(crate) async fn let_rest(&self, held: Held, known: &mut Known) -> Result<(), GitError> {
        let row = self.pool.change(&held.row, self.pool.used(&held.row, TreeStage::Held, false)).await?;
        known.last = Some((row, held.clean));
        Ok(())
    }

    /// Stays the holder of a tree, in which a leaf works now.
    pub(crate) fn keep_held(held: Held, known: &mut Known) {
        known.last = Some((held.row, held.clean));
    }

    /// Gives a slot back; what was in it has been saved. `is_whole` says that its files are those of the engine's index,
    /// `is_well` that its branch has succeeded.
    pub(crate) async fn give_back(
        &self,
        mut held: Held,
        is_whole: bool,
        is_wanted: bool,
        is_well: bool,
    ) -> Result<(), GitError> {
        let options = &self.pool.options;
        let now = now_ms();
        if is_whole && is_wanted {
            let until_ms = Some(now.saturating_add(options.keep_ms));
            let to = TreeUse { until_ms, ..self.pool.used(&held.row, TreeStage::Kept, false) };
            self.pool.change(&held.row, to).await?;
            return Ok(());
        }
        let is_usable = is_whole && held.is_quiet && held.clean.is_some() && held.row.used.boot == self.pool.start;
        if is_well && held.is_quiet {
            self.offer_build(&held).await;
        }
        let rows = self.pool.rows(TreeFilter::default()).await?;
        if !is_usable || rows.iter().filter(|listed| is_free(&listed.row)).count() >= options.warm_max {
            return self.remove(held).await;
        }
        held.row = self.pool.change(&held.row, self.pool.used(&held.row, TreeStage::Going, true)).await?;
        self.pool.slots.keep_index(&held.clean()?.index(), &held.tree.name)?;
        held.tree.remove_admin()?;
        let to = TreeUse {
            tenant: None,
            until_ms: Some(now.saturating_add(options.warm_ms)),
            ..self.pool.used(&held.row, TreeStage::Free, false)
        };
        self.pool.change(&held.row, to).await?;
        Ok(())
    }

    /// Offers what was built in a tree as what other builds begin with.
    async fn offer_build(&self, held: &Held) {
        let Some(cache) = self.pool.options.build_cache.clone() else { return };
        let dir = held.tree.dir.clone();
        // Without it other builds are slower, and that is all.
        let _ = tokio::task::spawn_blocking(move || cache.harvest(&dir, Origin::Tree)).await;
    }

    /// Removes a slot. What was in it has been saved.
    pub(crate) async fn remove(&self, mut held: Held) -> Result<(), GitError> {
        if held.row.used.stage != TreeStage::Going {
            held.row = self.pool.change(&held.row, self.pool.used(&held.row, TreeStage::Going, true)).await?;
        }
        let trash = self.pool.slots.move_to_trash(&held.tree.dir, &held.tree.name)?;
        held.tree.remove_admin()?;
        self.pool.slots.forget(&held.tree.name)?;
        self.pool.forget(&held.row).await?;
        drop_later(trash);
        Ok(())
    }

    /// Removes a branch's fence: whoever still thinks that it has the tree can move nothing any more.
    pub(crate) async fn remove_fence(&self, fence: &Fence) -> Result<(), GitError> {
        match self.repository.delete_ref(&fence.reference, &fence.at).await {
            Err(GitError::Moved { .. }) => Err(GitError::Fenced),
            other => other,
        }
    }

    /// Removes the fence of a slot that is cleared, unless its tenant has got another slot since.
    async fn remove_fence_of(&self, slot: &TreeSlot, tenant: &Tenant) -> Result<(), GitError> {
        let reference = fence_ref(tenant.run.as_str(), &tenant.branch);
        let Some(at) = self.repository.ref_at(&reference).await? else { return Ok(()) };
        let said = self.repository.fence_text(&at).await?;
        if said.is_some_and(|said| fenced_slot(&said) != Some(&slot.name)) {
            return Ok(());
        }
        match self.repository.delete_ref(&reference, &at).await {
            // The tenant gets another slot at this moment.
            Err(GitError::Moved { .. }) => Ok(()),
            deleted => deleted,
        }
    }

    /// Sees to what nobody needs, in the background and not too often.
    fn sweep_soon(self: &Arc<Self>) {
        let (now, last) = (now_ms(), self.swept_ms.load(Ordering::Relaxed));
        let is_due = now - last >= SWEEP_EVERY_MS;
        if is_due && self.swept_ms.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let inner = Arc::clone(self);
            // What cannot be done now is done at the run's end, or by the next process.
            tokio::spawn(async move { inner.sweep(Reclaim::Never).await });
        }
    }

    /// Brings the pool in order: takes back what is nobody's any more, and removes what nobody needs.
    pub(crate) async fn sweep(&self, reclaim: Reclaim) -> Result<Swept, GitError> {
        let mut swept = Swept::default();
        let dirs = self.pool.slots.names()?;
        let rows = self.pool.rows(TreeFilter::default()).await?;
        let mut free: Vec<&TreeRow> = rows.iter().map(|listed| &listed.row).filter(|row| is_free(row)).collect();
        free.sort_by_key(|row| std::cmp::Reverse(row.used.at_ms));
        let surplus = free.get(self.pool.options.warm_max..).unwrap_or_default();
        for TreeListed { row, run } in &rows {
            if self.is_due(row, run.as_ref(), reclaim) || surplus.contains(&row) {
                match self.clear(row, &mut swept).await {
                    // Somebody else sees to it.
                    Err(GitError::Fenced) => {}
                    cleared => cleared?,
                }
            }
        }
        for name in dirs.iter().filter(|name| !rows.iter().any(|listed| listed.row.slot.name == **name)) {
            self.clear_unknown(name, &mut swept).await?;
        }
        self.clear_entries().await?;
        let rows = self.pool.rows(TreeFilter::default()).await?;
        let slots = self.pool.slots.clone();
        let root = slots.root().to_owned();
        blocking("tidy", &root, move || slots.sweep(&|name| rows.iter().any(|it| it.row.slot.name == name))).await?;
        Ok(swept)
    }

    /// Whether a slot is to be cleared.
    fn is_due(&self, row: &TreeRow, run: Option<&TenantRun>, reclaim: Reclaim) -> bool {
        let used = &row.used;
        // This process may be at work on what it holds; what it could not finish is for its run's end, or the next one.
        let is_held = used.holder.as_deref().is_some_and(|holder| !self.pool.is_gone(holder));
        let is_over = used.until_ms.is_some_and(|until| until <= now_ms());
        let is_ended = run.is_some_and(|run| run.ended);
        let is_undriven = reclaim == Reclaim::Undriven
            && run.is_some_and(|run| run.owner.as_deref().is_none_or(|owner| self.pool.is_gone(owner)))
            && used.tenant.as_ref().is_none_or(|tenant| tenant.run.as_str() != self.run);
        match used.stage {
            _ if is_held => false,
            TreeStage::Going => true,
            TreeStage::Free => is_over || used.boot != self.pool.start,
            TreeStage::Kept => is_over,
            TreeStage::Making | TreeStage::Held => is_ended || is_undriven,
        }
    }

    /// Saves what is in a slot, and removes it.
    pub(crate) async fn clear(&self, row: &TreeRow, swept: &mut Swept) -> Result<(), GitError> {
        let has_work = !matches!(row.used.stage, TreeStage::Free | TreeStage::Making);
        let to = self.pool.used(row, TreeStage::Going, true);
        let row = self.pool.change(row, to).await?;
        let tree = self.pool.slots.place(&self.repository, &row.slot.name);
        let marker = self.pool.slots.marker(&tree.name)?.filter(|_| has_work);
        let mut held = Held { row, tree, clean: None, fence: None, is_quiet: false };
        if let Some(marker) = marker {
            swept.rescued.extend(self.save_all(&mut held, &marker).await?);
        }
        if let Some(tenant) = &held.row.used.tenant {
            self.remove_fence_of(&held.row.slot, tenant).await?;
        }
        swept.removed.push(held.tree.name.clone());
        self.remove(held).await
    }

    /// Saves whatever is in a tree that was handed out for `marker`.
    async fn save_all(&self, held: &mut Held, marker: &Marker) -> Result<Option<String>, GitError> {
        let of_branch = format!("refs/whaleflow/{}/b/{}", marker.run, ref_leaf(&marker.branch));
        let commit = self.repository.ref_at(&of_branch).await?.unwrap_or_else(|| marker.base.clone());
        let facts = self.repository.facts_of(&commit).await?;
        let Some(left) = self.look(held, &commit, &facts).await?.filter(|left| left.has_work) else { return Ok(None) };
        let rescuer = self.rescuer_of(&marker.run);
        Ok(Some(rescuer.save(&held.tree, &marker.branch, &commit, &left).await?.reference))
    }

    pub(crate) fn rescuer_of(&self, run: &str) -> Rescuer {
        let kept_dir = self.pool.slots.kept_dir(run);
        Rescuer { repository: self.repository.clone(), run: run.to_owned(), kept_dir, fence: None }
    }

    /// Clears a directory of which the store knows nothing: it was removed, and came back after a loss of power, or the
    /// store was.
    async fn clear_unknown(&self, name: &str, swept: &mut Swept) -> Result<(), GitError> {
        let tree = self.pool.slots.place(&self.repository, name);
        if let Some(marker) = self.pool.slots.marker(name)? {
            let slot = TreeSlot { pool: self.pool.name.clone(), name: name.to_owned() };
            let used = TreeUse {
                stage: TreeStage::Going,
                tenant: None,
                holder: None,
                boot: String::new(),
                until_ms: None,
                at_ms: now_ms(),
            };
            let row = TreeRow { slot, epoch: wf_store::Epoch(0), used };
            let mut held = Held { row, tree: tree.clone(), clean: None, fence: None, is_quiet: false };
            swept.rescued.extend(self.save_all(&mut held, &marker).await?);
        }
        let trash = self.pool.slots.move_to_trash(&tree.dir, name)?;
        tree.remove_admin()?;
        self.pool.slots.forget(name)?;
        swept.removed.push(name.to_owned());
        drop_later(trash);
        Ok(())
    }

    /// Removes git's entries of slots that are gone.
    async fn clear_entries(&self) -> Result<(), GitError> {
        let entries = entries_in(&self.repository.admin_dir("").join("."))?;
        let ours: Vec<TreePlace> = entries
            .into_iter()
            .map(|(name, _)| self.pool.slots.place(&self.repository, &name))
            .filter(|tree| tree.is_entry_of_dir() && !tree.dir.exists())
            .collect();
        if ours.is_empty() {
            return Ok(());
        }
        let rows = self.pool.rows(TreeFilter::default()).await?;
        for tree in ours.iter().filter(|tree| !rows.iter().any(|listed| listed.row.slot.name == tree.name)) {
            tree.remove_admin()?;
        }
        Ok(())
    }
}

fn is_free(row: &TreeRow) -> bool {
    row.used.stage == TreeStage::Free
}

/// The ref that says which process has a branch's tree.
pub(crate) fn fence_ref(run: &str, branch: &str) -> String {
    format!("refs/whaleflow/{run}/held/{}", ref_leaf(branch))
}

/// What a fence says: which slot its branch has, since when, and who holds it.
fn fence_text(row: &TreeRow, holder: &str) -> String {
    format!("{} {} {holder}\n", row.slot.name, row.epoch)
}

/// The slot that a fence names.
fn fenced_slot(text: &str) -> Option<&str> {
    text.split(' ').next()
}

/// Removes what was moved to the trash, while others go on. What stays is removed by the next sweep.
fn drop_later(trash: Option<std::path::PathBuf>) {
    if let Some(path) = trash {
        tokio::task::spawn_blocking(move || {
            let removed = remove_any(&path);
            // A sweep that found it here could not remove the trash itself.
            if let Some(trash) = path.parent() {
                let _ = std::fs::remove_dir(trash);
            }
            removed
        });
    }
}
