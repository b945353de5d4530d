//! The rows of trees in memory.

use super::{Memory, State};
use crate::tree::{TREES_MAX, check_tree_change, check_tree_claim};
use crate::{
    BoxFuture, Epoch, ReadError, Tenant, TenantRun, TreeChange, TreeChangeError, TreeClaim, TreeClaimError, TreeFilter,
    TreeListed, TreeRow, TreeRows, TreeSlot,
};

impl State {
    fn taken_by(&self, pool: &str, tenant: &Tenant) -> Option<&TreeRow> {
        let is_theirs = |row: &&TreeRow| row.slot.pool == pool && row.used.tenant.as_ref() == Some(tenant);
        self.trees.values().filter(is_theirs).find(|row| row.is_taken())
    }

    fn tree_at(&self, slot: &TreeSlot, held: Epoch) -> Result<Epoch, TreeChangeError> {
        let current = self.trees.get(slot).map_or(Epoch(0), |row| row.epoch);
        if current != held || current == Epoch(0) {
            return Err(TreeChangeError::Fenced { held, current });
        }
        Ok(current)
    }
}

impl Memory {
    fn claim_tree_now(&self, claim: &TreeClaim) -> Result<TreeRow, TreeClaimError> {
        check_tree_claim(claim).map_err(|detail| TreeClaimError::Refused { detail })?;
        let mut state = self.lock();
        state.open().map_err(TreeClaimError::Unavailable)?;
        if let Some(row) = state.taken_by(&claim.slot.pool, &claim.tenant) {
            return Err(TreeClaimError::Taken { row: Box::new(row.clone()) });
        }
        let free = state.trees.values().filter(|row| row.is_free_for(claim));
        let free = free.min_by_key(|row| (std::cmp::Reverse(row.used.at_ms), &row.slot.name)).cloned();
        if free.is_none() {
            let slots = state.trees.values().filter(|row| row.slot.pool == claim.slot.pool).count();
            if slots >= claim.slots_max {
                return Err(TreeClaimError::Full { slots });
            }
            if state.trees.contains_key(&claim.slot) {
                let detail = format!("there is a slot {} already", claim.slot.name);
                return Err(TreeClaimError::Refused { detail });
            }
        }
        let row = TreeRow::claimed(claim, free.as_ref());
        state.trees.insert(row.slot.clone(), row.clone());
        Ok(row)
    }

    fn change_tree_now(&self, change: TreeChange) -> Result<TreeRow, TreeChangeError> {
        check_tree_change(&change).map_err(|detail| TreeChangeError::Refused { detail })?;
        let TreeChange { slot, epoch, to } = change;
        let mut state = self.lock();
        state.open().map_err(TreeChangeError::Unavailable)?;
        let current = state.tree_at(&slot, epoch)?;
        let row = TreeRow { slot, epoch: Epoch(current.0 + 1), used: to };
        if row.is_taken()
            && let Some(tenant) = &row.used.tenant
            && state.taken_by(&row.slot.pool, tenant).is_some_and(|other| other.slot != row.slot)
        {
            return Err(TreeChangeError::Fenced { held: epoch, current });
        }
        state.trees.insert(row.slot.clone(), row.clone());
        Ok(row)
    }

    fn forget_tree_now(&self, slot: &TreeSlot, epoch: Epoch) -> Result<(), TreeChangeError> {
        let mut state = self.lock();
        state.open().map_err(TreeChangeError::Unavailable)?;
        if state.trees.contains_key(slot) {
            state.tree_at(slot, epoch)?;
            state.trees.remove(slot);
        }
        Ok(())
    }

    fn trees_now(&self, filter: &TreeFilter) -> Vec<TreeListed> {
        let state = self.lock();
        let is_wanted = |row: &&TreeRow| {
            let tenant = row.used.tenant.as_ref();
            filter.pool.as_ref().is_none_or(|pool| row.slot.pool == *pool)
                && filter.run.as_ref().is_none_or(|run| tenant.is_some_and(|it| it.run == *run))
                && filter.branch.as_ref().is_none_or(|branch| tenant.is_some_and(|it| it.branch == *branch))
        };
        let rows = state.trees.values().filter(is_wanted).take(TREES_MAX);
        let listed = rows.map(|row| {
            let run = row.used.tenant.as_ref().and_then(|tenant| state.runs.get(&tenant.run));
            let run = run.map(|it| TenantRun { ended: it.row.head.ended, owner: it.row.lease.owner.clone() });
            TreeListed { row: row.clone(), run }
        });
        listed.collect()
    }
}

impl TreeRows for Memory {
    fn claim_tree(&self, claim: TreeClaim) -> BoxFuture<'_, Result<TreeRow, TreeClaimError>> {
        Box::pin(async move { self.claim_tree_now(&claim) })
    }

    fn change_tree(&self, change: TreeChange) -> BoxFuture<'_, Result<TreeRow, TreeChangeError>> {
        Box::pin(async move { self.change_tree_now(change) })
    }

    fn forget_tree(&self, slot: TreeSlot, epoch: Epoch) -> BoxFuture<'_, Result<(), TreeChangeError>> {
        Box::pin(async move { self.forget_tree_now(&slot, epoch) })
    }

    fn trees(&self, filter: TreeFilter) -> BoxFuture<'_, Result<Vec<TreeListed>, ReadError>> {
        Box::pin(async move { Ok(self.trees_now(&filter)) })
    }
}
