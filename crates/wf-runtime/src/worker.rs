//! A worker: a process that performs tasks of runs that others own.
//!
//! It claims what is on the board and fits it, performs it as the owner would, and reports the outcome into the run's
//! inbox. Every claim has an epoch; whoever lost a claim (it stopped for longer than its lease, or the owner gave the
//! task to another) finds its report refused.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use wf_effects::{BoxFuture, CancelToken, Clock, Ctx, Effects, Grant, Meter, Steering};
use wf_ir::Workflow;
use wf_kernel::record::EffectOutcome;
use wf_kernel::{Effect, EffectId, InputBody, Outcome};
use wf_store::{
    Beat, Capabilities, Claim, Claimed, CompleteError, Completion, Heartbeat, RunFilter, RunId, Store, TaskFilter,
    TaskRef, TaskSignal, TaskStatus, Tasks, WorkerRow,
};

use crate::board::Told;
use crate::drive::{failed_engine, metered};
use crate::error::RunError;

/// How long a claim lasts without a sign of life. A dead worker on this machine is noticed at once; only one that cannot
/// be asked is waited for.
pub const TASK_TTL_MS: i64 = 10_000;
/// How often a worker shows that it lives.
const BEAT_EVERY: Duration = Duration::from_millis(TASK_TTL_MS as u64 / 4);
/// At least so long between two looks at what tasks were told, however much happens in the store: it waits at most so
/// long. They only read, because each write is something that happens to all other workers.
const HEAR_PAUSE: Duration = Duration::from_millis(80);
/// How often an idle worker looks at the board though nothing was announced.
const LOOK_EVERY: Duration = Duration::from_millis(1_000);
/// How long the effects of a worker that stops may take to end.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Runs whose workflow and means are kept at hand.
const RUNS_KEPT_MAX: usize = 64;
/// Most runs that are looked at one by one while some are left alone.
const RUNS_LOOKED_AT_MAX: usize = 1_000;
/// How long a run that this worker could not serve is left alone.
const UNFIT_PAUSE: Duration = Duration::from_secs(5);

/// What a worker needs to perform tasks of a run.
#[derive(Clone)]
pub struct RunParts {
    /// The run's workflow.
    pub workflow: Arc<Workflow>,
    /// Its seed.
    pub seed: u64,
    /// What performs its effects.
    pub effects: Arc<dyn Effects>,
}

/// Finds what is needed for a run, or says why it cannot be served here.
pub type OpenRun = Arc<dyn Fn(RunId) -> BoxFuture<'static, Result<RunParts, String>> + Send + Sync>;

/// A worker.
pub struct Worker {
    /// Where tasks are.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Its name; no other process has it.
    pub name: String,
    /// What it needs for a run.
    pub open: OpenRun,
}

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// How many tasks it performs at once.
    pub slots: u32,
    /// What it can do.
    pub can: Capabilities,
    /// Where it is, for people.
    pub host: String,
    /// It stops once it had nothing to do for so long; none is never.
    pub idle_max: Option<Duration>,
    /// Ends it: it claims nothing more, and ends what it performs.
    pub stop: CancelToken,
}

/// What a worker did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerReport {
    /// Tasks that it claimed.
    pub claimed: u64,
    /// Outcomes that it reported and that were taken.
    pub reported: u64,
    /// Outcomes that were refused, because the claim had been lost.
    pub refused: u64,
    /// Tasks that each slot performed.
    pub by_slot: Vec<u64>,
    /// How long claims took that gave something, in microseconds, in order of size.
    pub claim_us: Vec<u64>,
}

/// A task that is performed.
struct Flight {
    task: TaskRef,
    slot: usize,
    cancel: CancelToken,
    steering: Steering,
    meter: Meter,
    /// How many signals were passed on.
    told: usize,
    is_lost: bool,
}

struct Working<'a> {
    worker: &'a Worker,
    options: &'a WorkerOptions,
    report: WorkerReport,
    set: JoinSet<Outcome>,
    flights: HashMap<Id, Flight>,
    effects: HashMap<Id, wf_kernel::EffectId>,
    free: Vec<usize>,
    runs: HashMap<RunId, RunParts>,
    unfit: HashMap<RunId, i64>,
    started_ms: i64,
}

/// Whether a worker still has the claim to a task, as far as the store can be asked.
async fn is_held(tasks: &dyn Tasks, worker: &str, task: &TaskRef) -> bool {
    let after = Some((task.instance.clone(), task.attempt.saturating_sub(1)));
    let filter = TaskFilter { status: Some(TaskStatus::Claimed), after, limit: 1 };
    let rows = tasks.tasks(&task.run, filter).await.unwrap_or_default();
    let row = rows.first().filter(|row| row.task.instance == task.instance && row.task.attempt == task.attempt);
    row.is_some_and(|row| row.epoch == task.epoch && row.task.worker.as_deref() == Some(worker) && !row.reported)
}

/// Waits until then; for ever where there is no such time.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What woke the worker.
enum Woken {
    Landed(Result<(Id, Outcome), JoinError>),
    Beat,
    Change,
    Hear,
    Look,
    Stop,
}

impl Worker {
    /// Performs tasks until it is stopped, or idle for long enough.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn work(&self, options: &WorkerOptions) -> Result<WorkerReport, RunError> {
        let slots = options.slots.max(1) as usize;
        let mut working = Working {
            worker: self,
            options,
            report: WorkerReport { by_slot: vec![0; slots], ..WorkerReport::default() },
            set: JoinSet::new(),
            flights: HashMap::new(),
            effects: HashMap::new(),
            free: (0..slots).rev().collect(),
            runs: HashMap::new(),
            unfit: HashMap::new(),
            started_ms: self.clock.now_ms(),
        };
        let result = working.work().await;
        for flight in working.flights.values() {
            flight.cancel.cancel();
        }
        let ended = async { while working.set.join_next().await.is_some() {} };
        // What does not end by then ends with this process.
        let _ = tokio::time::timeout(STOP_GRACE, ended).await;
        let _ = self.store.tasks.forget_worker(&self.name).await;
        result?;
        working.report.claim_us.sort_unstable();
        Ok(working.report)
    }
}

impl Working<'_> {
    async fn work(&mut self) -> Result<(), RunError> {
        let mut changes = self.worker.store.watch.changes();
        let mut beats = tokio::time::interval(BEAT_EVERY);
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut idle_since = self.worker.clock.now_ms();
        let (mut heard, mut hear_at) = (None, None);
        loop {
            if self.options.stop.is_cancelled() {
                return Ok(());
            }
            self.claim().await?;
            let now = self.worker.clock.now_ms();
            if !self.flights.is_empty() {
                idle_since = now;
            }
            if self.options.idle_max.is_some_and(|most| now - idle_since >= most.as_millis() as i64) {
                return Ok(());
            }
            let woken = tokio::select! {
                biased;
                () = self.options.stop.cancelled() => Woken::Stop,
                _ = beats.tick() => Woken::Beat,
                Some(joined) = self.set.join_next_with_id() => Woken::Landed(joined),
                () = due(hear_at) => Woken::Hear,
                Ok(()) = changes.changed() => Woken::Change,
                _ = looks.tick() => Woken::Look,
            };
            match woken {
                Woken::Stop => return Ok(()),
                Woken::Landed(joined) => {
                    let mut landed = vec![joined];
                    landed.extend(std::iter::from_fn(|| self.set.try_join_next_with_id()));
                    self.land(landed).await?;
                }
                Woken::Beat => self.beat().await?,
                Woken::Hear => {
                    self.hear().await?;
                    (heard, hear_at) = (Some(Instant::now()), None);
                }
                // Something may be for a task of this worker.
                Woken::Change if !self.flights.is_empty() && hear_at.is_none() => {
                    let now = Instant::now();
                    hear_at = Some(heard.map_or(now, |heard: Instant| now.max(heard + HEAR_PAUSE)));
                }
                Woken::Change | Woken::Look => {}
            }
        }
    }

    /// Claims as much as there are free slots for, and begins it.
    async fn claim(&mut self) -> Result<(), RunError> {
        let now_ms = self.worker.clock.now_ms();
        self.unfit.retain(|_, until| *until > now_ms);
        if self.unfit.is_empty() {
            return self.claim_from(None).await;
        }
        let filter = RunFilter { limit: RUNS_LOOKED_AT_MAX, prefix: None, ended: Some(false) };
        let runs = self.worker.store.runs.runs(filter).await?;
        for run in runs.into_iter().map(|row| row.run).filter(|run| !self.unfit.contains_key(run)).collect::<Vec<_>>() {
            self.claim_from(Some(run)).await?;
        }
        Ok(())
    }

    /// Claims tasks of one run or of any, while there are some and a slot is free.
    async fn claim_from(&mut self, run: Option<RunId>) -> Result<(), RunError> {
        while !self.free.is_empty() {
            let begun = Instant::now();
            let claim = Claim {
                worker: self.worker.name.clone(),
                can: self.options.can.clone(),
                run: run.clone(),
                only: None,
                limit: self.free.len(),
                now_ms: self.worker.clock.now_ms(),
                ttl_ms: TASK_TTL_MS,
            };
            let wanted = claim.limit;
            let claimed = self.worker.store.tasks.claim(claim).await?;
            let count = claimed.len();
            if count > 0 {
                self.report.claim_us.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            for task in claimed {
                self.begin(task).await?;
            }
            if count < wanted || !self.unfit.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn begin(&mut self, claimed: Claimed) -> Result<(), RunError> {
        let run = claimed.task.run.clone();
        let parts = match self.parts(&run).await {
            Ok(parts) => parts,
            Err(_) => {
                // Somebody else may be able to; this worker leaves the run alone for a while.
                let until = self.worker.clock.now_ms() + UNFIT_PAUSE.as_millis() as i64;
                self.unfit.insert(run, until);
                self.worker.store.tasks.abandon(&self.worker.name, vec![claimed.task]).await?;
                return Ok(());
            }
        };
        let effect = claimed.request.as_deref().map(serde_json::from_str::<Effect>);
        let Some(Ok(effect)) = effect else {
            // Another version of whaleflow wrote it; its owner can perform it.
            let until = self.worker.clock.now_ms() + UNFIT_PAUSE.as_millis() as i64;
            self.unfit.insert(run, until);
            self.worker.store.tasks.abandon(&self.worker.name, vec![claimed.task]).await?;
            return Ok(());
        };
        self.report.claimed += 1;
        self.launch(claimed.task, effect, &parts);
        Ok(())
    }

    fn launch(&mut self, task: TaskRef, effect: Effect, parts: &RunParts) {
        let Some(slot) = self.free.pop() else { return };
        self.report.by_slot[slot] += 1;
        let (cancel, steering) = (CancelToken::default(), Steering::default());
        let meter = self.meter(&task, effect.id.clone());
        let ctx = Ctx {
            run_id: Arc::from(task.run.as_str()),
            workflow: parts.workflow.clone(),
            seed: parts.seed,
            blobs: self.worker.store.blobs.clone(),
            traces: self.worker.store.traces.clone(),
            cancel: cancel.clone(),
            steering: steering.clone(),
            meter: meter.clone(),
            grant: self.grant(&task),
            redactor: wf_effects::secret::Redactor::default(),
        };
        let (id, effects) = (effect.id.clone(), parts.effects.clone());
        let handle = self.set.spawn(async move { effects.perform(effect, ctx).await });
        self.effects.insert(handle.id(), id);
        self.flights.insert(handle.id(), Flight { task, slot, cancel, steering, meter, told: 0, is_lost: false });
    }

    /// The meter of a task: its questions go into the run's inbox, and the answers come with the signals. Those of a
    /// worker that has lost the task are about a generation that is over, and change nothing.
    fn meter(&self, task: &TaskRef, effect: EffectId) -> Meter {
        let (inbox, clock, run) = (self.worker.store.inbox.clone(), self.worker.clock.clone(), task.run.clone());
        Meter::new(move |it| {
            let (inbox, run, at_ms) = (inbox.clone(), run.clone(), clock.now_ms());
            let body = InputBody::Metered(metered(effect.clone(), it));
            Box::pin(async move {
                let message = serde_json::to_string(&body)?;
                inbox.post(&run, message, at_ms).await?;
                Ok(())
            })
        })
    }

    /// The right to a task: it is held while the claim is.
    fn grant(&self, task: &TaskRef) -> Grant {
        let (tasks, worker, task) = (self.worker.store.tasks.clone(), self.worker.name.clone(), task.clone());
        Grant::new(move || -> BoxFuture<'static, bool> {
            let (tasks, worker, task) = (tasks.clone(), worker.clone(), task.clone());
            Box::pin(async move { is_held(&*tasks, &worker, &task).await })
        })
    }

    async fn parts(&mut self, run: &RunId) -> Result<RunParts, String> {
        if let Some(parts) = self.runs.get(run) {
            return Ok(parts.clone());
        }
        let parts = (self.worker.open)(run.clone()).await?;
        if self.runs.len() >= RUNS_KEPT_MAX {
            self.runs.clear();
        }
        self.runs.insert(run.clone(), parts.clone());
        Ok(parts)
    }

    /// Reports outcomes, all at once: the store commits them together.
    async fn land(&mut self, joined: Vec<Result<(Id, Outcome), JoinError>>) -> Result<(), RunError> {
        let mut completions = Vec::with_capacity(joined.len());
        for joined in joined {
            completions.extend(self.completion(joined)?);
        }
        let tasks = &self.worker.store.tasks;
        for completed in join_all(completions.into_iter().map(|completion| tasks.complete(completion))).await {
            match completed {
                Ok(_) => self.report.reported += 1,
                Err(CompleteError::Fenced { .. }) => self.report.refused += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What is to be reported of an attempt that has ended; nothing where the claim was lost.
    fn completion(&mut self, joined: Result<(Id, Outcome), JoinError>) -> Result<Option<Completion>, RunError> {
        let (id, outcome) = match joined {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), failed_engine(&error)),
        };
        let landed = (self.flights.remove(&id), self.effects.remove(&id));
        let (Some(flight), Some(effect)) = landed else { return Ok(None) };
        self.free.push(flight.slot);
        if flight.is_lost {
            self.report.refused += 1;
            return Ok(None);
        }
        let body = InputBody::Outcome(EffectOutcome { effect, outcome });
        let message = serde_json::to_string(&body).map_err(|error| RunError::Parked(error.to_string()))?;
        let at_ms = self.worker.clock.now_ms();
        Ok(Some(Completion { task: flight.task, worker: self.worker.name.clone(), message, at_ms }))
    }

    /// What it holds, as far as it knows, in the order of slots, so that a simulation sees the same twice.
    fn held(&self) -> (Vec<Id>, Vec<TaskRef>) {
        let live = self.flights.iter().filter(|(_, flight)| !flight.is_lost);
        let by_slot: BTreeMap<usize, Id> = live.map(|(id, flight)| (flight.slot, *id)).collect();
        by_slot.into_values().map(|id| (id, self.flights[&id].task.clone())).unzip()
    }

    /// Shows that the worker lives, and hears what its tasks are told.
    async fn beat(&mut self) -> Result<(), RunError> {
        let now_ms = self.worker.clock.now_ms();
        let (ids, held) = self.held();
        let row = WorkerRow {
            worker: self.worker.name.clone(),
            slots: self.options.slots.max(1),
            busy: self.flights.len() as u32,
            can: self.options.can.clone(),
            host: self.options.host.clone(),
            started_ms: self.started_ms,
            heartbeat_ms: now_ms,
        };
        let beats =
            self.worker.store.tasks.heartbeat(Heartbeat { worker: row, held, now_ms, ttl_ms: TASK_TTL_MS }).await?;
        self.heed(ids, beats);
        Ok(())
    }

    /// Hears what its tasks are told.
    async fn hear(&mut self) -> Result<(), RunError> {
        let (ids, held) = self.held();
        let beats = self.worker.store.tasks.hear(&self.worker.name, held).await?;
        self.heed(ids, beats);
        Ok(())
    }

    fn heed(&mut self, ids: Vec<Id>, beats: Vec<Beat>) {
        for (id, beat) in ids.into_iter().zip(beats) {
            let Some(flight) = self.flights.get_mut(&id) else { continue };
            match beat {
                Beat::Lost => {
                    flight.is_lost = true;
                    flight.cancel.cancel();
                }
                Beat::Held { signals } => {
                    for signal in signals.iter().skip(flight.told) {
                        match signal {
                            TaskSignal::Cancel => flight.cancel.cancel(),
                            TaskSignal::Text(text) => match Told::of(text) {
                                Some(Told::TopUp(answer)) => flight.meter.answer(answer.asked, answer.is_granted),
                                Some(Told::Steer(text)) => flight.steering.tell(Arc::from(text)),
                                None => {}
                            },
                        }
                    }
                    flight.told = signals.len();
                }
            }
        }
    }
}
