//! Why the runtime could not do its part. A node's failure is none of these: it is in the log.

use wf_store::{
    AppendError, BlobError, ClaimError, CompleteError, CreateError, LeaseError, PostError, ReadError, RenewError,
    RunId, TaskError,
};

/// What went wrong, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Someone else owns the run: follow it, or wait until then.
    #[error("{owner} owns the run")]
    Held {
        /// Who.
        owner: String,
        /// Until when its lease lasts.
        until_ms: i64,
    },
    /// A newer owner holds the run: let go.
    #[error("another process has taken the run over")]
    Fenced,
    /// There is no such run.
    #[error("there is no run {run}")]
    Missing {
        /// The run that was named.
        run: RunId,
    },
    /// The store did not answer: it may be tried again.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The log or a blob breaks an invariant: never retry.
    #[error("{0}")]
    Damaged(String),
    /// The log was written by a version that knows more: use that version.
    #[error("record {seq} is not one that this version knows: {detail}")]
    Unknown {
        /// The record.
        seq: u64,
        /// What the reader said.
        detail: String,
    },
    /// An invariant of the kernel broke; this run is parked, others go on. A defect of whaleflow.
    #[error("the run is parked, because an invariant broke: {0}")]
    Parked(String),
    /// The log is as long as logs may be; the run was stopped, resumably.
    #[error("the log has {records} records, so the run has stopped")]
    LogFull {
        /// How many it has.
        records: u64,
    },
}

impl From<ReadError> for RunError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Missing { run } => Self::Missing { run },
            ReadError::Unavailable(why) => Self::Unavailable(why.to_string()),
            damaged @ (ReadError::Corrupt { .. } | ReadError::Damaged { .. }) => Self::Damaged(damaged.to_string()),
        }
    }
}

impl From<AppendError> for RunError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict { .. } | AppendError::Fenced { .. } => Self::Fenced,
            AppendError::Missing { run } => Self::Missing { run },
            AppendError::Unavailable(why) => Self::Unavailable(why.to_string()),
            AppendError::Refused { detail } => Self::Parked(detail),
            damaged @ AppendError::Corrupt { .. } => Self::Damaged(damaged.to_string()),
        }
    }
}

impl From<CreateError> for RunError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Unavailable(why) => Self::Unavailable(why.to_string()),
            CreateError::Exists { .. } | CreateError::Refused { .. } => Self::Parked(error.to_string()),
            CreateError::Damaged { .. } => Self::Damaged(error.to_string()),
        }
    }
}

impl From<LeaseError> for RunError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Held { owner, until_ms } => Self::Held { owner, until_ms },
            LeaseError::Missing { run } => Self::Missing { run },
            LeaseError::Unavailable(why) => Self::Unavailable(why.to_string()),
            LeaseError::Refused { detail } => Self::Parked(detail),
            LeaseError::Damaged { .. } => Self::Damaged(error.to_string()),
        }
    }
}

impl From<RenewError> for RunError {
    fn from(error: RenewError) -> Self {
        match error {
            RenewError::Fenced { .. } => Self::Fenced,
            RenewError::Missing { run } => Self::Missing { run },
            RenewError::Unavailable(why) => Self::Unavailable(why.to_string()),
            RenewError::Damaged { .. } => Self::Damaged(error.to_string()),
        }
    }
}

impl From<PostError> for RunError {
    fn from(error: PostError) -> Self {
        match error {
            PostError::Missing { run } => Self::Missing { run },
            PostError::Full | PostError::Unavailable(_) => Self::Unavailable(error.to_string()),
            PostError::Refused { detail } => Self::Unavailable(detail),
            PostError::Damaged { .. } => Self::Damaged(error.to_string()),
        }
    }
}

impl From<BlobError> for RunError {
    fn from(error: BlobError) -> Self {
        match &error {
            BlobError::Unavailable(why) => Self::Unavailable(why.to_string()),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

impl From<ClaimError> for RunError {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Missing { run } => Self::Missing { run },
            ClaimError::Refused { detail } => Self::Parked(detail),
            ClaimError::Unavailable(why) => Self::Unavailable(why.to_string()),
            ClaimError::Damaged { detail } => Self::Damaged(detail),
        }
    }
}

impl From<TaskError> for RunError {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::Refused { detail } => Self::Parked(detail),
            TaskError::Unavailable(why) => Self::Unavailable(why.to_string()),
            TaskError::Damaged { detail } => Self::Damaged(detail),
        }
    }
}

impl From<CompleteError> for RunError {
    fn from(error: CompleteError) -> Self {
        match error {
            CompleteError::Missing { run } => Self::Missing { run },
            CompleteError::Fenced { .. } => Self::Fenced,
            full @ CompleteError::Full => Self::Unavailable(full.to_string()),
            CompleteError::Refused { detail } => Self::Parked(detail),
            CompleteError::Unavailable(why) => Self::Unavailable(why.to_string()),
            CompleteError::Damaged { detail } => Self::Damaged(detail),
        }
    }
}
