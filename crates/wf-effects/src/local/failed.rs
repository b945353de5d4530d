//! A failure on its way to the kernel.

use std::collections::BTreeMap;

use wf_ir::Digest;
use wf_ir::node::Kind;
use wf_kernel::record::{Failure, Success};
use wf_kernel::{Outcome, Usage, ValueRef};

use crate::git::GitError;

/// Why a leaf has no result. Boxed, because it is rare and large.
pub(super) struct Failed(Box<Failure>);

impl Failed {
    pub(super) fn retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    pub(super) fn after(mut self, usage: Usage) -> Self {
        self.0.usage = usage;
        self
    }

    pub(super) fn rescued(mut self, reference: Option<String>) -> Self {
        self.0.rescued = reference;
        self
    }

    pub(super) fn showing(mut self, evidence: ValueRef, artifacts: BTreeMap<String, Digest>) -> Self {
        self.0.evidence = Some(evidence);
        self.0.artifacts = artifacts;
        self
    }

    pub(super) fn keeping(mut self, artifacts: BTreeMap<String, Digest>) -> Self {
        self.0.artifacts = artifacts;
        self
    }

    pub(super) fn into_outcome(self) -> Outcome {
        Outcome::Failed(self.0)
    }
}

/// The same end, with the ref under which work was rescued before it.
pub(super) fn with_rescued(outcome: Result<Outcome, Failed>, rescued: Option<String>) -> Result<Outcome, Failed> {
    match outcome {
        Ok(Outcome::Succeeded(success)) => Ok(Outcome::Succeeded(Box::new(Success { rescued, ..*success }))),
        Ok(other) => Ok(other),
        Err(failed) => Err(failed.rescued(rescued)),
    }
}

impl From<GitError> for Failed {
    fn from(error: GitError) -> Self {
        Self(Box::new(error.into()))
    }
}

/// A failure that another attempt would meet again.
pub(super) fn failure(code: &str, message: impl Into<String>) -> Failed {
    Failed(Box::new(Failure {
        code: code.to_owned(),
        message: message.into(),
        retryable: false,
        usage: Usage::default(),
        evidence: None,
        artifacts: BTreeMap::new(),
        rescued: None,
    }))
}

/// What this version cannot do.
pub(super) fn unsupported(kind: &Kind) -> Failed {
    failure("unsupported", format!("`{}` cannot be performed by this version", kind.name()))
}

/// What only a defect of the engine leads to.
pub(super) fn defect(error: impl ToString) -> Failed {
    failure("engine", error.to_string())
}
