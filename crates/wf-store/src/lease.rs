//! Leases: who may advance a run, until when, and under which epoch.
//!
//! Every change of owner raises the epoch, and letting go is such a change. An append names the epoch it holds, so an
//! owner that lost its lease without noticing can write nothing.

use crate::{BoxError, BoxFuture, Epoch, ReadError, RunId};

/// The longest name of an owner.
pub const OWNER_BYTES_MAX: usize = 256;

/// The leases of runs. `owner` must name one process alone: whoever gives the same name shares the lease.
pub trait Leases: Send + Sync {
    /// Takes the lease of `run` for `ttl_ms` from `now_ms`, if nobody else holds it. Its holder may take it again,
    /// which only prolongs it; after its end, everybody gets a new epoch.
    fn acquire_lease<'a>(
        &'a self,
        run: &'a RunId,
        owner: &'a str,
        now_ms: i64,
        ttl_ms: i64,
    ) -> BoxFuture<'a, Result<Epoch, LeaseError>>;

    /// Prolongs the lease to `now_ms + ttl_ms`. A lease that ran out and that nobody else has taken lives on.
    fn renew_lease<'a>(
        &'a self,
        run: &'a RunId,
        epoch: Epoch,
        now_ms: i64,
        ttl_ms: i64,
    ) -> BoxFuture<'a, Result<(), RenewError>>;

    /// Lets go of the lease.
    fn release_lease<'a>(&'a self, run: &'a RunId, epoch: Epoch) -> BoxFuture<'a, Result<(), RenewError>>;

    /// The lease of `run`.
    fn lease<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Lease, ReadError>>;
}

/// The lease of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lease {
    /// The epoch; it belongs to the owner, if there is one.
    pub epoch: Epoch,
    /// Who holds it; nobody, if it was never taken or let go.
    pub owner: Option<String>,
    /// Until when it lasts; a time in the past means that the owner is gone.
    pub until_ms: i64,
}

/// Why a lease was not given.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Someone else holds it: wait until then, or leave the run to them.
    #[error("{owner} holds the run")]
    Held {
        /// Who holds it.
        owner: String,
        /// Until when.
        until_ms: i64,
    },
    /// There is no such run.
    #[error("there is no run {run}")]
    Missing {
        /// The run that was named.
        run: RunId,
    },
    /// The request breaks a limit; the same request never fits.
    #[error("the lease cannot be given: {detail}")]
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

/// Why a lease was not prolonged or released.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The epoch is stale: cancel what is in flight and let go.
    #[error("the run is at epoch {current}, not at {held}")]
    Fenced {
        /// The epoch that the caller holds.
        held: Epoch,
        /// The epoch of the run.
        current: Epoch,
    },
    /// There is no such run.
    #[error("there is no run {run}")]
    Missing {
        /// The run that was named.
        run: RunId,
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

/// The lease after `owner` took it, or who holds it.
pub(crate) fn acquired(current: &Lease, owner: &str, now_ms: i64, ttl_ms: i64) -> Result<Lease, LeaseError> {
    if owner.is_empty() || owner.len() > OWNER_BYTES_MAX {
        return Err(LeaseError::Refused { detail: format!("an owner has 1 to {OWNER_BYTES_MAX} bytes") });
    }
    if ttl_ms <= 0 {
        return Err(LeaseError::Refused { detail: "a lease lasts at least a millisecond".to_owned() });
    }
    let until_ms = now_ms.saturating_add(ttl_ms);
    let lasting = current.owner.as_deref().filter(|_| current.until_ms > now_ms);
    match lasting {
        Some(holder) if holder == owner => {
            Ok(Lease { epoch: current.epoch, owner: Some(owner.to_owned()), until_ms: until_ms.max(current.until_ms) })
        }
        Some(holder) => Err(LeaseError::Held { owner: holder.to_owned(), until_ms: current.until_ms }),
        None => Ok(Lease { epoch: Epoch(current.epoch.0 + 1), owner: Some(owner.to_owned()), until_ms }),
    }
}

/// The lease after its holder prolonged it.
pub(crate) fn renewed(current: &Lease, held: Epoch, now_ms: i64, ttl_ms: i64) -> Result<Lease, RenewError> {
    if current.owner.is_none() || current.epoch != held {
        return Err(RenewError::Fenced { held, current: current.epoch });
    }
    let until_ms = now_ms.saturating_add(ttl_ms.max(0)).max(current.until_ms);
    Ok(Lease { until_ms, ..current.clone() })
}

/// The lease after its holder let go.
pub(crate) fn released(current: &Lease, held: Epoch) -> Result<Lease, RenewError> {
    if current.owner.is_none() || current.epoch != held {
        return Err(RenewError::Fenced { held, current: current.epoch });
    }
    Ok(Lease { epoch: Epoch(held.0 + 1), owner: None, until_ms: 0 })
}
