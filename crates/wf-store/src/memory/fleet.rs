//! Tasks and workers in memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Memory, Run, State};
use crate::fleet::{
    CLAIM_BYTES_MAX, CLAIM_TASKS_MAX, Hold, WORKER_KEPT_MS, WORKERS_MAX, check_abandoned, check_claim,
    check_completion, check_heartbeat, run_is_over,
};
use crate::task::{SIGNALS_MAX, no_such_task, too_many_signals};
use crate::{
    Batch, Beat, BoardFilter, BoxFuture, Claim, ClaimError, Claimed, CompleteError, Completion, Epoch, Heartbeat, Mark,
    NewTask, ReadError, RunId, Seq, TaskChange, TaskError, TaskFilter, TaskRef, TaskRow, TaskSignal, TaskStatus, Tasks,
    WorkerRow,
};

/// A task, with its request, and what it was told.
#[derive(Debug, Clone)]
pub(super) struct Task {
    row: TaskRow,
    signals: Vec<TaskSignal>,
}

/// Tasks by instance and attempt.
pub(super) type TaskRows = BTreeMap<(String, u32), Task>;

impl Task {
    fn new(run: &RunId, task: &NewTask, before: Option<&Self>) -> Self {
        let mut task = task.clone();
        if task.status.is_over() {
            task.request = None;
        }
        let row = TaskRow {
            run: run.clone(),
            epoch: Epoch(before.map_or(0, |before| before.row.epoch.0) + 1),
            lease_until_ms: None,
            heartbeat_ms: None,
            reported: false,
            updated_ms: task.at_ms,
            task,
        };
        Self { row, signals: Vec::new() }
    }

    fn set(&mut self, status: TaskStatus, waits_for: Option<&String>, at_ms: i64) {
        let row = &mut self.row;
        row.task.status = status;
        row.task.waits_for = waits_for.cloned();
        row.updated_ms = at_ms;
        match status {
            TaskStatus::Pending | TaskStatus::Blocked => {
                (row.task.worker, row.lease_until_ms, row.heartbeat_ms, row.reported) = (None, None, None, false);
            }
            TaskStatus::Claimed => {}
            TaskStatus::Done | TaskStatus::Failed => {
                (row.task.request, row.lease_until_ms) = (None, None);
                self.signals.clear();
            }
        }
    }

    fn listed(&self) -> TaskRow {
        let mut row = self.row.clone();
        row.task.request = None;
        row
    }

    fn is_held(&self, worker: &str, epoch: Epoch) -> bool {
        let row = &self.row;
        let hold = Hold {
            status: row.task.status,
            worker: row.task.worker.as_deref(),
            epoch: row.epoch,
            reported: row.reported,
        };
        hold.is(worker, epoch)
    }

    fn give_to(&mut self, claim: &Claim) -> Claimed {
        let row = &mut self.row;
        row.epoch = Epoch(row.epoch.0 + 1);
        row.task.status = TaskStatus::Claimed;
        row.task.worker = Some(claim.worker.clone());
        row.task.waits_for = None;
        row.lease_until_ms = Some(claim.now_ms.saturating_add(claim.ttl_ms));
        row.heartbeat_ms = Some(claim.now_ms);
        row.reported = false;
        row.updated_ms = claim.now_ms;
        Claimed {
            task: row.task_ref(),
            generation: row.task.generation,
            kind: row.task.kind.clone(),
            request: row.task.request.clone(),
        }
    }
}

impl Run {
    /// The task rows as `batch` leaves those that it touches.
    pub(super) fn changed_tasks(&self, batch: &Batch) -> Result<TaskRows, String> {
        let mut changed = TaskRows::new();
        for change in &batch.tasks {
            let (instance, attempt) = match change {
                TaskChange::Insert(task) => (&task.instance, task.attempt),
                TaskChange::Set { instance, attempt, .. } | TaskChange::Signal { instance, attempt, .. } => {
                    (instance, *attempt)
                }
            };
            let key = (instance.clone(), attempt);
            let before = changed.get(&key).or_else(|| self.tasks.get(&key));
            let absent = || no_such_task(instance, attempt);
            let after = match change {
                TaskChange::Insert(task) => Task::new(&self.row.run, task, before),
                TaskChange::Set { status, waits_for, at_ms, .. } => {
                    let mut after = before.cloned().ok_or_else(absent)?;
                    after.set(*status, waits_for.as_ref(), *at_ms);
                    after
                }
                TaskChange::Signal { signal, .. } => {
                    let mut after = before.cloned().ok_or_else(absent)?;
                    if !after.row.task.status.is_over() {
                        if after.signals.len() as u64 >= SIGNALS_MAX {
                            return Err(too_many_signals(instance, attempt));
                        }
                        after.signals.push(signal.clone());
                    }
                    after
                }
            };
            changed.insert(key, after);
        }
        Ok(changed)
    }

    fn listed(&self, after: Option<(&str, u32)>, statuses: &[TaskStatus], limit: usize) -> Vec<TaskRow> {
        let rows = self
            .tasks
            .iter()
            .filter(|((instance, attempt), _)| after.is_none_or(|after| (instance.as_str(), *attempt) > after));
        let rows = rows.filter(|(_, task)| statuses.is_empty() || statuses.contains(&task.row.task.status));
        rows.take(limit).map(|(_, task)| task.listed()).collect()
    }
}

impl State {
    fn task(&mut self, task: &TaskRef) -> Option<&mut Task> {
        self.runs.get_mut(&task.run)?.tasks.get_mut(&(task.instance.clone(), task.attempt))
    }

    fn held(&mut self, worker: &str, task: &TaskRef) -> Option<&mut Task> {
        self.task(task).filter(|found| found.is_held(worker, task.epoch))
    }

    fn board(&self, filter: &BoardFilter) -> Result<Vec<TaskRow>, ReadError> {
        let known = |run: &RunId| self.runs.get(run).ok_or_else(|| ReadError::Missing { run: run.clone() });
        if let Some(run) = &filter.run {
            known(run)?;
        }
        let begin = match &filter.after {
            Some(cursor) => Some((known(&cursor.run)?.row.created_ms, &cursor.run)),
            None => None,
        };
        let mut runs: Vec<&Run> = self.runs.values().collect();
        runs.retain(|run| filter.run.as_ref().is_none_or(|only| *only == run.row.run));
        runs.retain(|run| begin.is_none_or(|begin| (run.row.created_ms, &run.row.run) <= begin));
        runs.sort_by_key(|run| Reverse((run.row.created_ms, &run.row.run)));
        let mut rows = Vec::new();
        for run in runs {
            let here = filter.after.as_ref().filter(|cursor| cursor.run == run.row.run);
            let after = here.map(|cursor| (cursor.instance.as_str(), cursor.attempt));
            rows.extend(run.listed(after, &filter.statuses, filter.limit.saturating_sub(rows.len())));
        }
        Ok(rows)
    }

    fn claim(&mut self, claim: &Claim) -> Result<Vec<Claimed>, ClaimError> {
        if let Some(run) = claim.run.as_ref().filter(|run| !self.runs.contains_key(run)) {
            return Err(ClaimError::Missing { run: run.clone() });
        }
        let runs = self.runs.values().filter(|run| claim.run.as_ref().is_none_or(|only| *only == run.row.run));
        let mut open: Vec<(u64, &Task)> = match &claim.only {
            Some(only) => {
                let names: BTreeSet<&(String, u32)> = only.iter().collect();
                runs.flat_map(|run| names.iter().filter_map(|name| Some((run.number, run.tasks.get(*name)?)))).collect()
            }
            None => runs
                .flat_map(|run| run.tasks.values().map(move |task| (run.number, task)))
                .filter(|(_, task)| task.row.task.request.is_some())
                .collect(),
        };
        open.retain(|(_, task)| task.row.task.status == TaskStatus::Pending && claim.can.are_fit(&task.row.task.needs));
        open.sort_by_key(|(number, task)| {
            let ordered = &task.row.task;
            (Reverse(ordered.priority), ordered.at_ms, *number, ordered.instance.as_str(), ordered.attempt)
        });
        open.truncate(claim.limit.min(CLAIM_TASKS_MAX));
        let mut bytes = 0u64;
        open.retain(|(_, task)| {
            let fits = bytes < CLAIM_BYTES_MAX;
            bytes += task.row.task.request.as_ref().map_or(0, |request| request.len() as u64);
            fits
        });
        let open: Vec<TaskRef> = open.into_iter().map(|(_, task)| task.row.task_ref()).collect();
        Ok(open.iter().filter_map(|task| Some(self.task(task)?.give_to(claim))).collect())
    }

    fn heartbeat(&mut self, heartbeat: Heartbeat) -> Vec<Beat> {
        let Heartbeat { worker, held, now_ms, ttl_ms } = heartbeat;
        let until_ms = now_ms.saturating_add(ttl_ms);
        self.workers.retain(|_, known| known.heartbeat_ms >= now_ms.saturating_sub(WORKER_KEPT_MS));
        let beats = held.iter().map(|task| match self.held(&worker.worker, task) {
            Some(found) => {
                found.row.lease_until_ms = Some(found.row.lease_until_ms.unwrap_or(until_ms).max(until_ms));
                found.row.heartbeat_ms = Some(now_ms);
                Beat::Held { signals: found.signals.clone() }
            }
            None => Beat::Lost,
        });
        let beats = beats.collect();
        self.workers.insert(worker.worker.clone(), WorkerRow { heartbeat_ms: now_ms, ..worker });
        beats
    }

    fn complete(&mut self, completion: Completion) -> Result<u64, CompleteError> {
        let Completion { task, worker, message, at_ms } = completion;
        let run = self.runs.get_mut(&task.run).ok_or_else(|| CompleteError::Missing { run: task.run.clone() })?;
        let key = (task.instance.clone(), task.attempt);
        if !run.tasks.get(&key).is_some_and(|found| found.is_held(&worker, task.epoch)) {
            let current = run.tasks.get(&key).map_or(Epoch(0), |found| found.row.epoch);
            return Err(CompleteError::Fenced { held: task.epoch, current });
        }
        if run.row.head.ended {
            return Err(CompleteError::Refused { detail: run_is_over(&task.run) });
        }
        let id = run.post(message, at_ms).ok_or(CompleteError::Full)?;
        if let Some(found) = run.tasks.get_mut(&key) {
            found.row.reported = true;
            found.row.updated_ms = at_ms;
        }
        Ok(id)
    }
}

impl Memory {
    fn open_state<T, E>(
        &self,
        unavailable: impl FnOnce(crate::BoxError) -> E,
        change: impl FnOnce(&mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut state = self.lock();
        state.open().map_err(unavailable)?;
        let changed = change(&mut state);
        drop(state);
        self.watchers.announce_change();
        changed
    }
}

impl Tasks for Memory {
    fn tasks<'a>(&'a self, run: &'a RunId, filter: TaskFilter) -> BoxFuture<'a, Result<Vec<TaskRow>, ReadError>> {
        Box::pin(async move {
            let after = filter.after.as_ref().map(|(instance, attempt)| (instance.as_str(), *attempt));
            self.with_run(run, |found| found.listed(after, filter.status.as_slice(), filter.limit))
        })
    }

    fn board(&self, filter: BoardFilter) -> BoxFuture<'_, Result<Vec<TaskRow>, ReadError>> {
        Box::pin(async move { self.lock().board(&filter) })
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Vec<Claimed>, ClaimError>> {
        Box::pin(async move {
            check_claim(&claim).map_err(|detail| ClaimError::Refused { detail })?;
            self.open_state(ClaimError::Unavailable, |state| state.claim(&claim))
        })
    }

    fn heartbeat(&self, heartbeat: Heartbeat) -> BoxFuture<'_, Result<Vec<Beat>, TaskError>> {
        Box::pin(async move {
            check_heartbeat(&heartbeat).map_err(|detail| TaskError::Refused { detail })?;
            self.open_state(TaskError::Unavailable, |state| Ok(state.heartbeat(heartbeat)))
        })
    }

    fn hear<'a>(&'a self, worker: &'a str, held: Vec<TaskRef>) -> BoxFuture<'a, Result<Vec<Beat>, ReadError>> {
        Box::pin(async move {
            let mut state = self.lock();
            let heard = held.iter().map(|task| match state.held(worker, task) {
                Some(found) => Beat::Held { signals: found.signals.clone() },
                None => Beat::Lost,
            });
            Ok(heard.collect())
        })
    }

    fn complete(&self, completion: Completion) -> BoxFuture<'_, Result<u64, CompleteError>> {
        Box::pin(async move {
            check_completion(&completion).map_err(|detail| CompleteError::Refused { detail })?;
            let run = completion.task.run.clone();
            let id = self.open_state(CompleteError::Unavailable, |state| state.complete(completion))?;
            self.announce(&run, Mark { seq: Seq::START, message: id });
            Ok(id)
        })
    }

    fn abandon<'a>(&'a self, worker: &'a str, tasks: Vec<TaskRef>) -> BoxFuture<'a, Result<usize, TaskError>> {
        Box::pin(async move {
            check_abandoned(worker, &tasks).map_err(|detail| TaskError::Refused { detail })?;
            self.open_state(TaskError::Unavailable, |state| {
                let mut given_back = 0;
                for task in &tasks {
                    if let Some(found) = state.held(worker, task) {
                        let row = &mut found.row;
                        row.epoch = Epoch(row.epoch.0 + 1);
                        row.task.status = TaskStatus::Pending;
                        (row.task.worker, row.lease_until_ms, row.heartbeat_ms) = (None, None, None);
                        given_back += 1;
                    }
                }
                Ok(given_back)
            })
        })
    }

    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>, ReadError>> {
        Box::pin(async move { Ok(self.lock().workers.values().take(WORKERS_MAX).cloned().collect()) })
    }

    fn forget_worker<'a>(&'a self, worker: &'a str) -> BoxFuture<'a, Result<(), TaskError>> {
        Box::pin(async move {
            self.open_state(TaskError::Unavailable, |state| {
                state.workers.remove(worker);
                Ok(())
            })
        })
    }
}
