//! The board of tasks, as the owner of a run sees it: which attempts this process performs, and which it leaves to
//! whoever claims them.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use wf_ir::Status;
use wf_kernel::record::{WaitReason, WorkerLost};
use wf_kernel::{Decision, Effect, EffectId, Request, RunState, TopUp, needed_capabilities};
use wf_store::{NewTask, TaskChange, TaskRow, TaskSignal, TaskStatus};

use crate::error::RunError;

/// What of a run's work is where.
#[derive(Debug)]
pub(crate) struct Board {
    owner: String,
    /// Attempts that this process performs at most at once.
    slots: usize,
    /// How many it performs.
    here: usize,
    /// Attempts on the board, performed by whoever claims them.
    elsewhere: HashMap<EffectId, Elsewhere>,
    /// Whether some of them may be unclaimed.
    pub(crate) may_claim: bool,
    /// Attempts on the board that are to end; nobody may have claimed them yet.
    pub(crate) withdrawn: Vec<EffectId>,
}

/// An attempt on the board.
#[derive(Debug)]
struct Elsewhere {
    effect: Effect,
    attempt: u32,
}

impl Board {
    pub(crate) fn new(owner: String, slots: usize) -> Self {
        Self { owner, slots, here: 0, elsewhere: HashMap::new(), may_claim: false, withdrawn: Vec::new() }
    }

    /// How many attempts more this process could perform.
    pub(crate) fn free(&self) -> usize {
        self.slots.saturating_sub(self.here)
    }

    /// Whether everything that was ordered has come back.
    pub(crate) fn is_clear(&self) -> bool {
        self.elsewhere.is_empty()
    }

    /// Whether somebody else performs an effect, or may.
    pub(crate) fn is_elsewhere(&self, effect: &EffectId) -> bool {
        self.elsewhere.contains_key(effect)
    }

    /// The task of an attempt that begins: this process performs it while it has a slot, else anyone may.
    pub(crate) fn place(
        &mut self,
        effect: &Effect,
        state: &RunState,
        at_ms: i64,
    ) -> Result<Option<TaskChange>, RunError> {
        let Request::Perform { leaf, .. } = &effect.request else { return Ok(None) };
        let node = state.workflow().node(leaf.node);
        let is_here = self.free() > 0;
        let request = match is_here {
            true => None,
            false => Some(serde_json::to_string(effect).map_err(|error| RunError::Parked(error.to_string()))?),
        };
        if is_here {
            self.here += 1;
        } else {
            self.may_claim = true;
            self.put(effect.clone(), leaf.attempt);
        }
        let needs = needed_capabilities(node);
        let priority = state.at_path(&leaf.path).map_or(0, |ix| i64::from(state.priority(ix)));
        Ok(Some(TaskChange::Insert(NewTask {
            instance: leaf.path.to_string(),
            attempt: leaf.attempt,
            generation: effect.id.generation,
            kind: node.kind.name().to_owned(),
            status: if is_here { TaskStatus::Claimed } else { TaskStatus::Pending },
            worker: is_here.then(|| self.owner.clone()),
            priority,
            needs: serde_json::to_string(&needs).map_err(|error| RunError::Parked(error.to_string()))?,
            waits_for: None,
            request,
            at_ms,
        })))
    }

    /// Notes an attempt that is on the board.
    pub(crate) fn put(&mut self, effect: Effect, attempt: u32) {
        self.elsewhere.insert(effect.id.clone(), Elsewhere { effect, attempt });
    }

    /// What is said to attempts on the board: that they are to end, or what agents are told.
    pub(crate) fn signal(&mut self, effect: &EffectId, signal: TaskSignal) -> Option<TaskChange> {
        let attempt = self.elsewhere.get(effect)?.attempt;
        if signal == TaskSignal::Cancel {
            self.withdrawn.push(effect.clone());
        }
        Some(TaskChange::Signal { instance: effect.subject.to_string(), attempt, signal })
    }

    /// An answer to an attempt on the board that asked for more budget.
    pub(crate) fn answer(&mut self, effect: &EffectId, answer: TopUp) -> Option<TaskChange> {
        self.signal(effect, TaskSignal::Text(Told::TopUp(answer).to_text()))
    }

    /// What an agent on the board is told.
    pub(crate) fn tell(&mut self, effect: &EffectId, text: &str) -> Option<TaskChange> {
        self.signal(effect, TaskSignal::Text(Told::Steer(text.to_owned()).to_text()))
    }

    /// Names of attempts on the board as the store knows them.
    pub(crate) fn names_of(&self, effects: &[EffectId]) -> Vec<(String, u32)> {
        let name = |effect: &EffectId| Some((effect.subject.to_string(), self.elsewhere.get(effect)?.attempt));
        effects.iter().filter_map(name).collect()
    }

    /// Takes an attempt off the board, because this process claimed it, or its outcome has come.
    pub(crate) fn take(&mut self, effect: &EffectId) -> Option<Effect> {
        self.elsewhere.remove(effect).map(|it| it.effect)
    }

    /// Counts an attempt that this process claimed from the board.
    pub(crate) fn begin_here(&mut self) {
        self.here += 1;
    }

    /// Counts an attempt that this process has performed.
    pub(crate) fn end_here(&mut self) {
        self.here = self.here.saturating_sub(1);
    }

    /// Which of the claimed tasks nobody performs any more: what each worker that is gone had claimed.
    pub(crate) fn lost(&mut self, rows: &[TaskRow], is_gone: impl Fn(&TaskRow, &str) -> bool) -> Vec<WorkerLost> {
        let mut lost: BTreeMap<String, Vec<EffectId>> = BTreeMap::new();
        for row in rows.iter().filter(|row| !row.reported) {
            let Some(worker) = row.task.worker.as_deref().filter(|worker| *worker != self.owner) else { continue };
            let effect = effect_of(row);
            if self.elsewhere.contains_key(&effect) && is_gone(row, worker) {
                self.elsewhere.remove(&effect);
                lost.entry(worker.to_owned()).or_default().push(effect);
            }
        }
        lost.into_iter().map(|(worker, claimed)| WorkerLost { worker, claimed }).collect()
    }
}

/// The effect that a task performs.
pub(crate) fn effect_of(row: &TaskRow) -> EffectId {
    EffectId {
        subject: row.task.instance.as_str().into(),
        generation: row.task.generation,
        phase: wf_kernel::Phase::Perform,
    }
}

/// The change that a decision makes to the task rows, if it makes one. `state` is that after the step. Only an attempt
/// that was started is on the board.
pub(crate) fn change_of(decision: &Decision, state: &RunState, at_ms: i64) -> Option<TaskChange> {
    let moved = |path: &str, attempt: Option<u32>, status, waits_for: Option<&str>| {
        let instance = state.instance(state.at_path(path)?);
        let attempt = attempt.unwrap_or(instance.attempt);
        let waits_for = waits_for.map(str::to_owned);
        let change = TaskChange::Set { instance: path.to_owned(), attempt, status, waits_for, at_ms };
        (instance.attempt_started == attempt).then_some(change)
    };
    match decision {
        Decision::Ended { path, status: Status::Succeeded, .. } => moved(path, None, TaskStatus::Done, None),
        Decision::Ended { path, .. } => moved(path, None, TaskStatus::Failed, None),
        Decision::RetryScheduled { path, attempt, .. } => moved(path, Some(attempt - 1), TaskStatus::Failed, None),
        // Nobody performs it any more; a new task is put up when it starts again.
        Decision::Waiting { path, reason: WaitReason::RateLimit { .. } } => {
            moved(path, None, TaskStatus::Blocked, Some("\"rate_limit\""))
        }
        Decision::Rewound { path, .. } | Decision::InDoubt { path, .. } => moved(path, None, TaskStatus::Blocked, None),
        _ => None,
    }
}

/// What an attempt on the board is told, as the text of a signal.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// Something that a person says to an agent.
    Steer(String),
    /// The answer to a question for more budget.
    TopUp(TopUp),
}

impl Told {
    fn to_text(&self) -> String {
        let text = serde_json::to_string(self);
        assert!(text.is_ok(), "what is told is always writable as JSON");
        text.unwrap_or_default()
    }

    /// Reads it back; nothing for what another version says.
    pub(crate) fn of(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
