//! The rows of trees. There are few of them, so that they are looked through.

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Fault;
use super::reads::{bad_text, unsigned};
use super::sums::{TREES, check_intact, damaged};
use super::writer::{Failed, WriteOp};
use crate::tree::TREES_MAX;
use crate::watch::Watchers;
use crate::{
    Epoch, ReadError, RunId, Tenant, TenantRun, TreeChange, TreeChangeError, TreeClaim, TreeClaimError, TreeFilter,
    TreeListed, TreeRow, TreeSlot, TreeStage, TreeUse,
};

/// The columns of [`tree_row`].
static COLUMNS: LazyLock<String> = LazyLock::new(|| {
    let columns: Vec<String> = TREES.columns.iter().map(|column| format!("trees.{column}")).collect();
    format!("{}, {}", columns.join(", "), TREES.intact("trees"))
});
/// How many there are.
const COLUMNS_LEN: usize = 11;

static INSERT: LazyLock<String> = LazyLock::new(|| TREES.insert(true));

fn tree_row(row: &Row<'_>) -> rusqlite::Result<TreeRow> {
    let slot = TreeSlot { pool: row.get(0)?, name: row.get(1)? };
    check_intact(row, COLUMNS_LEN - 1, || format!("the tree {}", slot.name))?;
    let stage: String = row.get(3)?;
    let stage = TreeStage::of(&stage).ok_or_else(|| damaged(format!("{stage:?} is no stage of a tree")))?;
    let run: Option<String> = row.get(4)?;
    let tenant = match (run, row.get::<_, Option<String>>(5)?) {
        (Some(run), Some(branch)) => {
            Some(Tenant { run: RunId::parse(&run).map_err(|error| bad_text(4, error))?, branch })
        }
        _ => None,
    };
    let used =
        TreeUse { stage, tenant, holder: row.get(6)?, boot: row.get(7)?, until_ms: row.get(8)?, at_ms: row.get(9)? };
    Ok(TreeRow { slot, epoch: Epoch(unsigned(row, 2)?), used })
}

fn one(conn: &Connection, slot: &TreeSlot) -> rusqlite::Result<Option<TreeRow>> {
    conn.prepare_cached(&format!("SELECT {} FROM trees WHERE pool = ?1 AND slot = ?2", *COLUMNS))?
        .query_row([&slot.pool, &slot.name], tree_row)
        .optional()
}

fn taken_by(conn: &Connection, pool: &str, tenant: &Tenant) -> rusqlite::Result<Option<TreeRow>> {
    conn.prepare_cached(&format!(
        "SELECT {} FROM trees INDEXED BY trees_held
         WHERE pool = ?1 AND run = ?2 AND branch = ?3 AND stage IN ('making', 'held')",
        *COLUMNS
    ))?
    .query_row(params![pool, tenant.run.as_str(), tenant.branch], tree_row)
    .optional()
}

fn write(conn: &Connection, row: &TreeRow) -> rusqlite::Result<()> {
    let used = &row.used;
    conn.prepare_cached(&INSERT)?
        .execute(params![
            row.slot.pool,
            row.slot.name,
            row.epoch.0 as i64,
            used.stage.word(),
            used.tenant.as_ref().map(|tenant| tenant.run.as_str()),
            used.tenant.as_ref().map(|tenant| tenant.branch.as_str()),
            used.holder,
            used.boot,
            used.until_ms,
            used.at_ms,
        ])
        .map(|_| ())
}

/// The rows that are wanted.
pub(crate) fn trees(conn: &Connection, filter: &TreeFilter) -> Result<Vec<TreeListed>, ReadError> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT {}, heads.ended, leases.owner, runs.run_no IS NOT NULL
         FROM trees LEFT JOIN runs ON runs.run = trees.run
             LEFT JOIN heads ON heads.run_no = runs.run_no LEFT JOIN leases ON leases.run_no = runs.run_no
         WHERE (?1 IS NULL OR trees.pool = ?1) AND (?2 IS NULL OR trees.run = ?2)
             AND (?3 IS NULL OR trees.branch = ?3)
         ORDER BY trees.pool, trees.slot LIMIT {TREES_MAX}",
        *COLUMNS
    ))?;
    let run = filter.run.as_ref().map(RunId::as_str);
    let listed = select.query_map(params![filter.pool, run, filter.branch], |row| {
        let ended: Option<bool> = row.get(COLUMNS_LEN)?;
        let is_there: bool = row.get(COLUMNS_LEN + 2)?;
        let run = match (is_there, ended) {
            (true, Some(ended)) => Some(TenantRun { ended, owner: row.get(COLUMNS_LEN + 1)? }),
            _ => None,
        };
        Ok(TreeListed { row: tree_row(row)?, run })
    })?;
    Ok(listed.collect::<Result<_, _>>()?)
}

/// Gives a slot to a tenant.
pub(crate) struct ClaimTree {
    pub(crate) claim: TreeClaim,
}

impl WriteOp for ClaimTree {
    type Out = TreeRow;
    type Err = TreeClaimError;

    fn write(&self, conn: &Connection) -> Result<TreeRow, Failed<TreeClaimError>> {
        let claim = &self.claim;
        let pool = &claim.slot.pool;
        if let Some(row) = taken_by(conn, pool, &claim.tenant)? {
            return Err(Failed::Refused(TreeClaimError::Taken { row: Box::new(row) }));
        }
        let free = conn
            .prepare_cached(&format!(
                "SELECT {} FROM trees WHERE pool = ?1 AND stage = 'free' AND boot = ?2
                 ORDER BY at_ms DESC, slot LIMIT 1",
                *COLUMNS
            ))?
            .query_row([pool, &claim.boot], tree_row)
            .optional()?;
        if free.is_none() {
            let slots: i64 = conn
                .prepare_cached("SELECT count(*) FROM trees WHERE pool = ?1")?
                .query_row([pool], |row| row.get(0))?;
            let slots = usize::try_from(slots).unwrap_or(usize::MAX);
            if slots >= claim.slots_max {
                return Err(Failed::Refused(TreeClaimError::Full { slots }));
            }
            if one(conn, &claim.slot)?.is_some() {
                let detail = format!("there is a slot {} already", claim.slot.name);
                return Err(Failed::Refused(TreeClaimError::Refused { detail }));
            }
        }
        let row = TreeRow::claimed(claim, free.as_ref());
        write(conn, &row)?;
        Ok(row)
    }

    fn fault(&self, fault: Fault) -> TreeClaimError {
        match fault {
            Fault::Unavailable(error) => TreeClaimError::Unavailable(error),
            Fault::Damaged(detail) => TreeClaimError::Damaged { detail },
        }
    }

    fn announce(&self, _out: &TreeRow, _watchers: &Watchers) {}
}

/// Changes a row.
pub(crate) struct ChangeTree {
    pub(crate) change: TreeChange,
}

impl WriteOp for ChangeTree {
    type Out = TreeRow;
    type Err = TreeChangeError;

    fn write(&self, conn: &Connection) -> Result<TreeRow, Failed<TreeChangeError>> {
        let TreeChange { slot, epoch, to } = &self.change;
        let current = at_epoch(conn, slot, *epoch)?;
        let row = TreeRow { slot: slot.clone(), epoch: Epoch(current.0 + 1), used: to.clone() };
        if row.is_taken()
            && let Some(tenant) = &to.tenant
            && taken_by(conn, &slot.pool, tenant)?.is_some_and(|other| other.slot != *slot)
        {
            return Err(Failed::Refused(TreeChangeError::Fenced { held: *epoch, current }));
        }
        write(conn, &row)?;
        Ok(row)
    }

    fn fault(&self, fault: Fault) -> TreeChangeError {
        change_fault(fault)
    }

    fn announce(&self, _out: &TreeRow, _watchers: &Watchers) {}
}

/// Strikes a row out.
pub(crate) struct ForgetTree {
    pub(crate) slot: TreeSlot,
    pub(crate) epoch: Epoch,
}

impl WriteOp for ForgetTree {
    type Out = ();
    type Err = TreeChangeError;

    fn write(&self, conn: &Connection) -> Result<(), Failed<TreeChangeError>> {
        if one(conn, &self.slot)?.is_none() {
            return Ok(());
        }
        at_epoch(conn, &self.slot, self.epoch)?;
        conn.prepare_cached("DELETE FROM trees WHERE pool = ?1 AND slot = ?2")?
            .execute([&self.slot.pool, &self.slot.name])?;
        Ok(())
    }

    fn fault(&self, fault: Fault) -> TreeChangeError {
        change_fault(fault)
    }

    fn announce(&self, _out: &(), _watchers: &Watchers) {}
}

/// The epoch of a row, if it is the one that is held.
fn at_epoch(conn: &Connection, slot: &TreeSlot, held: Epoch) -> Result<Epoch, Failed<TreeChangeError>> {
    let current = one(conn, slot)?.map_or(Epoch(0), |row| row.epoch);
    if current != held || current == Epoch(0) {
        return Err(Failed::Refused(TreeChangeError::Fenced { held, current }));
    }
    Ok(current)
}

fn change_fault(fault: Fault) -> TreeChangeError {
    match fault {
        Fault::Unavailable(error) => TreeChangeError::Unavailable(error),
        Fault::Damaged(detail) => TreeChangeError::Damaged { detail },
    }
}
