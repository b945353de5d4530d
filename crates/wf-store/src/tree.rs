//! Trees: which directory of a pool is whose.
//!
//! A slot is a directory in which one tree can be at a time. Its row says who may touch it. Every change names the epoch
//! that it was decided under and raises it, so of all who want the same slot one gets it, and whoever stopped for a while
//! and missed a change can change nothing. What the slots hold is not this crate's business.
//!
//! The rules are here, once, for every back end.

use crate::lease::OWNER_BYTES_MAX;
use crate::log::at_most;
use crate::task::INSTANCE_BYTES_MAX;
use crate::{BoxError, BoxFuture, Epoch, ReadError, RunId};

/// The longest name of a pool or a slot, and of the start of a machine.
pub const TREE_NAME_BYTES_MAX: usize = 256;
/// The most rows that are listed.
pub const TREES_MAX: usize = 100_000;

/// The rows of trees.
pub trait TreeRows: Send + Sync {
    /// Gives a slot to a tenant: the free one that was used last, else a new one if there is room. A tenant whose tree is
    /// [`TreeStage::Making`] or [`TreeStage::Held`] gets no second one.
    fn claim_tree(&self, claim: TreeClaim) -> BoxFuture<'_, Result<TreeRow, TreeClaimError>>;

    /// Changes a row that is still at `epoch`, and raises its epoch.
    fn change_tree(&self, change: TreeChange) -> BoxFuture<'_, Result<TreeRow, TreeChangeError>>;

    /// Strikes out a row that is still at `epoch`; its directory is gone. A row that is not there is no error.
    fn forget_tree(&self, slot: TreeSlot, epoch: Epoch) -> BoxFuture<'_, Result<(), TreeChangeError>>;

    /// The rows, in the order of pool and slot.
    fn trees(&self, filter: TreeFilter) -> BoxFuture<'_, Result<Vec<TreeListed>, ReadError>>;
}

/// The name of a slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeSlot {
    /// The pool, which is that of one repository.
    pub pool: String,
    /// The directory in it. A name is never used for a second directory.
    pub name: String,
}

/// Where a slot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TreeStage {
    /// Its holder makes a tree in it, which nobody has been given yet.
    Making,
    /// A tenant works in it, or will again.
    Held,
    /// It waits for a tenant.
    Free,
    /// Its tenant is done, and it stays to be looked at.
    Kept,
    /// Its holder saves what is in it and makes it free or removes it.
    Going,
}

impl TreeStage {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Making, Self::Held, Self::Free, Self::Kept, Self::Going];

    /// The word that stands for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Making => "making",
            Self::Held => "held",
            Self::Free => "free",
            Self::Kept => "kept",
            Self::Going => "going",
        }
    }

    /// The stage that a word stands for.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.word() == word)
    }
}

/// For whom a tree is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant {
    /// The run.
    pub run: RunId,
    /// The path of the branch in it.
    pub branch: String,
}

/// What can change about a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeUse {
    /// Where it stands.
    pub stage: TreeStage,
    /// For whom it is.
    pub tenant: Option<Tenant>,
    /// The process that may be writing in it at this moment; nobody while it rests.
    pub holder: Option<String>,
    /// Since when the machine ran that filled it. What another start of the machine left may be any part of it.
    pub boot: String,
    /// When it is removed unless somebody wants it before.
    pub until_ms: Option<i64>,
    /// When this came to be.
    pub at_ms: i64,
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeRow {
    /// Its name.
    pub slot: TreeSlot,
    /// How often it has changed.
    pub epoch: Epoch,
    /// What it is used for.
    pub used: TreeUse,
}

/// A slot, and what the store knows of its tenant's run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeListed {
    /// The row.
    pub row: TreeRow,
    /// The run; nothing where there is no tenant, or no such run.
    pub run: Option<TenantRun>,
}

/// How a tenant's run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRun {
    /// Whether it is over.
    pub ended: bool,
    /// Who has its lease, for however long.
    pub owner: Option<String>,
}

/// A wish for a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeClaim {
    /// The name of a new slot, should one be needed, and the pool.
    pub slot: TreeSlot,
    /// For whom.
    pub tenant: Tenant,
    /// The process that makes the tree.
    pub holder: String,
    /// The start of the machine; free slots of another one are not given.
    pub boot: String,
    /// How many slots the pool may have; beyond, none is made.
    pub slots_max: usize,
    /// The time of asking.
    pub now_ms: i64,
}

/// A change of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeChange {
    /// Which.
    pub slot: TreeSlot,
    /// The epoch under which it was decided.
    pub epoch: Epoch,
    /// What it becomes.
    pub to: TreeUse,
}

/// Which rows to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TreeFilter {
    /// Only those of this pool.
    pub pool: Option<String>,
    /// Only those for this run.
    pub run: Option<RunId>,
    /// Only those for this branch.
    pub branch: Option<String>,
}

/// Why no slot was given.
#[derive(Debug, thiserror::Error)]
pub enum TreeClaimError {
    /// The tenant has one already.
    #[error("the tenant has the slot {}", row.slot.name)]
    Taken {
        /// That one.
        row: Box<TreeRow>,
    },
    /// None is free, and no more may be made: wait.
    #[error("all {slots} slots of the pool are in use")]
    Full {
        /// How many there are.
        slots: usize,
    },
    /// The claim breaks a limit; the same claim never fits.
    #[error("the claim cannot be stored: {detail}")]
    Refused {
        /// What is wrong with it.
        detail: String,
    },
    /// The database did not answer: it may be tried again.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// The database is damaged. Never retry.
    #[error("the store is damaged: {detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
}

/// Why a row was not changed.
#[derive(Debug, thiserror::Error)]
pub enum TreeChangeError {
    /// Somebody else changed it first, or its tenant has got another slot: look again.
    #[error("the slot is at epoch {current}, not at {held}")]
    Fenced {
        /// The epoch of the change.
        held: Epoch,
        /// That of the row; 0 if there is none.
        current: Epoch,
    },
    /// The change breaks a limit; the same change never fits.
    #[error("the change cannot be stored: {detail}")]
    Refused {
        /// What is wrong with it.
        detail: String,
    },
    /// The database did not answer: it may be tried again.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] BoxError),
    /// The database is damaged. Never retry.
    #[error("the store is damaged: {detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
}

impl TreeRow {
    /// The row as a claim takes it or makes it.
    pub(crate) fn claimed(claim: &TreeClaim, free: Option<&Self>) -> Self {
        let used = TreeUse {
            stage: TreeStage::Making,
            tenant: Some(claim.tenant.clone()),
            holder: Some(claim.holder.clone()),
            boot: claim.boot.clone(),
            until_ms: None,
            at_ms: claim.now_ms,
        };
        match free {
            Some(free) => Self { slot: free.slot.clone(), epoch: Epoch(free.epoch.0 + 1), used },
            None => Self { slot: claim.slot.clone(), epoch: Epoch(1), used },
        }
    }

    /// Whether its tenant gets no other one.
    pub fn is_taken(&self) -> bool {
        self.used.tenant.is_some() && matches!(self.used.stage, TreeStage::Making | TreeStage::Held)
    }

    /// Whether a claim may be given it.
    pub(crate) fn is_free_for(&self, claim: &TreeClaim) -> bool {
        self.slot.pool == claim.slot.pool && self.used.stage == TreeStage::Free && self.used.boot == claim.boot
    }
}

/// Checks a claim before a back end sees it.
pub(crate) fn check_tree_claim(claim: &TreeClaim) -> Result<(), String> {
    check_slot(&claim.slot)?;
    at_most("bytes of a holder's name", claim.holder.len(), OWNER_BYTES_MAX)?;
    at_most("bytes of a branch's path", claim.tenant.branch.len(), INSTANCE_BYTES_MAX)?;
    at_most("bytes of the name of a start of the machine", claim.boot.len(), TREE_NAME_BYTES_MAX)
}

/// Checks a change before a back end sees it.
pub(crate) fn check_tree_change(change: &TreeChange) -> Result<(), String> {
    let TreeUse { stage, tenant, holder, boot, .. } = &change.to;
    check_slot(&change.slot)?;
    at_most("bytes of a holder's name", holder.as_ref().map_or(0, String::len), OWNER_BYTES_MAX)?;
    at_most("bytes of a branch's path", tenant.as_ref().map_or(0, |it| it.branch.len()), INSTANCE_BYTES_MAX)?;
    at_most("bytes of the name of a start of the machine", boot.len(), TREE_NAME_BYTES_MAX)?;
    match (stage, tenant) {
        (TreeStage::Free, Some(_)) => Err("a free slot has no tenant".to_owned()),
        (TreeStage::Making | TreeStage::Held, None) => Err("a slot in use has a tenant".to_owned()),
        (TreeStage::Free, None)
        | (TreeStage::Making | TreeStage::Held, Some(_))
        | (TreeStage::Kept | TreeStage::Going, _) => Ok(()),
    }
}

fn check_slot(slot: &TreeSlot) -> Result<(), String> {
    if slot.pool.is_empty() || slot.name.is_empty() {
        return Err("a pool and a slot have names".to_owned());
    }
    at_most("bytes of a pool's name", slot.pool.len(), TREE_NAME_BYTES_MAX)?;
    at_most("bytes of a slot's name", slot.name.len(), TREE_NAME_BYTES_MAX)
}
