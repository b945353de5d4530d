//! Replay: the inputs of a log are fed to `step` again, and what it decides is compared with what is recorded. No effect
//! is performed.

use std::collections::VecDeque;
use std::sync::Arc;

use wf_ir::{Value, Workflow};

use crate::record::{Decision, InputBody, Outcome, Record, SEMANTICS, SEMANTICS_MIN, ValueRef};
use crate::state::RunState;
use crate::step::step;

/// The first difference between a log and its replay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The log was written under a decision version that this binary does not carry.
    #[error("record 1 was decided under version {found}; this binary replays versions {SEMANTICS_MIN} to {SEMANTICS}")]
    Semantics {
        /// The version found.
        found: u32,
    },
    /// A recorded decision is not the one that is decided now.
    #[error("record {seq} differs: expected {expected}, got {got}")]
    Differs {
        /// Position in the log, from 1.
        seq: u64,
        /// What the log says.
        expected: String,
        /// What is decided now.
        got: String,
    },
}

/// A replay under way: records are fed one at a time.
#[derive(Debug)]
pub struct Replay {
    state: RunState,
    expected: VecDeque<Decision>,
    seq: u64,
}

impl Replay {
    /// A replay of a run of `workflow`.
    pub fn new(workflow: Arc<Workflow>) -> Self {
        Self { state: RunState::new(workflow), expected: VecDeque::new(), seq: 0 }
    }

    /// Feeds the next record. Values that it names by digest must have been given with [`RunState::hydrate`].
    ///
    /// # Errors
    /// At the first difference.
    pub fn feed(&mut self, record: &Record) -> Result<(), ReplayError> {
        self.seq += 1;
        match record {
            Record::Input(input) => {
                self.finish()?;
                if let InputBody::RunStarted(started) = &input.body
                    && !(SEMANTICS_MIN..=SEMANTICS).contains(&started.semantics)
                {
                    return Err(ReplayError::Semantics { found: started.semantics });
                }
                self.expected = step(&mut self.state, input).decisions.into();
                Ok(())
            }
            Record::Decision(decision) => match self.expected.pop_front() {
                Some(expected) if expected == *decision => Ok(()),
                got => Err(self.differs(Some(decision), got.as_ref())),
            },
        }
    }

    /// Checks that nothing more is decided than was recorded.
    ///
    /// # Errors
    /// When something is.
    pub fn finish(&mut self) -> Result<(), ReplayError> {
        match self.expected.pop_front() {
            Some(got) => Err(self.differs(None, Some(&got))),
            None => Ok(()),
        }
    }

    /// The state so far.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// The state so far, to give it values.
    pub fn state_mut(&mut self) -> &mut RunState {
        &mut self.state
    }

    fn differs(&self, recorded: Option<&Decision>, decided: Option<&Decision>) -> ReplayError {
        let show = |decision: Option<&Decision>| {
            decision.map_or_else(|| "nothing".to_owned(), |it| serde_json::to_string(it).unwrap_or_default())
        };
        ReplayError::Differs { seq: self.seq, expected: show(recorded), got: show(decided) }
    }
}

/// The values that a record names by digest and that the kernel may read, with their sizes.
pub fn stored_values(record: &Record) -> Vec<(wf_ir::Digest, u64)> {
    let mut found = Vec::new();
    let mut add = |value: &ValueRef| {
        if let ValueRef::Stored { digest, size } = value
            && *size <= wf_ir::limits::EXPR_VALUE_BYTES_MAX as u64
        {
            found.push((*digest, *size));
        }
    };
    match record {
        Record::Input(input) => match &input.body {
            InputBody::Outcome(it) => match &it.outcome {
                Outcome::Succeeded(success) => add(&success.value),
                Outcome::BudgetExceeded { partial: Some(partial), .. } => add(partial),
                _ => {}
            },
            InputBody::RunStarted(started) => {
                for value in started.inputs.values() {
                    if let crate::record::InputValue::Plain(value) = value {
                        add(value);
                    }
                }
            }
            InputBody::TimerFired(_)
            | InputBody::Command(_)
            | InputBody::Adopted(_)
            | InputBody::WorkerLost(_)
            | InputBody::Metered(_) => {}
        },
        Record::Decision(Decision::Ended { value: Some(value), .. }) => add(value),
        Record::Decision(_) => {}
    }
    found
}

/// All blobs that a record names, for export: values of any size, requests, artifacts.
pub fn named_blobs(record: &Record) -> Vec<wf_ir::Digest> {
    let mut found = Vec::new();
    let mut add = |value: &ValueRef| {
        if let ValueRef::Stored { digest, .. } = value {
            found.push(*digest);
        }
    };
    match record {
        Record::Input(input) => match &input.body {
            InputBody::RunStarted(started) => {
                for value in started.inputs.values() {
                    if let crate::record::InputValue::Plain(value) = value {
                        add(value);
                    }
                }
                found.push(started.workflow);
                found.extend(started.rules);
            }
            InputBody::Outcome(it) => match &it.outcome {
                Outcome::Prepared(prepared) => add(&prepared.request),
                Outcome::Succeeded(success) => {
                    add(&success.value);
                    found.extend(success.artifacts.values());
                }
                Outcome::Failed(failure) => {
                    if let Some(evidence) = &failure.evidence {
                        add(evidence);
                    }
                    found.extend(failure.artifacts.values());
                }
                Outcome::BudgetExceeded { partial, .. } => partial.iter().for_each(&mut add),
                Outcome::TimedOut { .. }
                | Outcome::Cancelled { .. }
                | Outcome::Throttled { .. }
                | Outcome::Acquired(_)
                | Outcome::Checkpointed(_)
                | Outcome::Combined(_)
                | Outcome::Released { .. } => {}
            },
            InputBody::TimerFired(_)
            | InputBody::Command(_)
            | InputBody::Adopted(_)
            | InputBody::WorkerLost(_)
            | InputBody::Metered(_) => {}
        },
        Record::Decision(Decision::Ended { value: Some(value), .. }) => add(value),
        Record::Decision(Decision::RunEnded { outputs, .. }) => add(outputs),
        Record::Decision(_) => {}
    }
    found
}

/// Reads the value behind a blob.
///
/// # Errors
/// When the text is no value.
pub fn parse_value(text: &str) -> Result<Arc<Value>, serde_json::Error> {
    Value::from_json(text).map(Arc::new)
}
