//! The loop that advances a run: inputs in, records appended, effects out.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use wf_effects::{BoxFuture, CancelToken, Ctx, Grant, Meter, MeterAsk, Steering};
use wf_ir::Digest;
use wf_kernel::record::{EffectOutcome, Failure, Metered};
use wf_kernel::{
    Command, Effect, EffectId, Input, InputBody, Outcome, Phase, Record, RunState, RunStatus, Step, TopUp, Usage, step,
};
use wf_store::{
    Batch, Capabilities, Claim, Epoch, Head, Mark, NewRecord, RecordKind, RunId, Store, TaskFilter, TaskSignal,
    TaskStatus,
};

use crate::board::{Board, change_of};
use crate::error::RunError;
use crate::journal::values_of;
use crate::owned::{LEASE_TTL_MS, Owned};
use crate::worker::TASK_TTL_MS;

/// Most inputs that go into one commit. More wait for the next; nothing is dropped.
const BATCH_INPUTS_MAX: usize = 512;
/// Most inbox messages taken in at once.
const INBOX_PAGE: usize = 256;
/// How often the lease is prolonged.
const RENEW_EVERY: Duration = Duration::from_millis(LEASE_TTL_MS as u64 / 3);
/// How often the owner looks whether workers that claimed its tasks are still there.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Most claimed tasks of a run that are looked at; there are no more than workers have slots.
pub(crate) const CLAIMED_MAX: usize = 100_000;
/// How long a stop waits for effects to end before it leaves them to the next owner.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How a run is driven.
#[derive(Clone, Debug, Default)]
pub struct DriveOptions {
    /// Ends the drive: nothing new is ordered, what is in flight ends without using an attempt, the lease is given back.
    pub stop: CancelToken,
    /// Let go when only people can move the run.
    pub park_on_people: bool,
}

/// How a drive ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// The run is over.
    Ended,
    /// Only people can move it.
    People,
    /// It was asked to stop.
    Stopped,
}

/// A run after a drive.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub end: Drive,
    /// The run's state.
    pub state: RunState,
    /// The head of its hash chain.
    pub log_digest: Digest,
    /// How many records it has.
    pub records: u64,
}

/// Inputs that were stepped: what is to be appended, and what to do after that.
pub(crate) struct Taken {
    pub(crate) batch: Batch,
    pub(crate) step: Step,
}

/// Steps inputs one at a time and gathers what they lead to. Blobs are durable before this answers.
pub(crate) async fn take_in(
    store: &Store,
    state: &mut RunState,
    inputs: Vec<Input>,
    board: &mut Board,
) -> Result<Taken, RunError> {
    let mut all = Step::default();
    let mut records = Vec::with_capacity(inputs.len() * 3);
    let mut tasks = Vec::new();
    let mut updated_ms = 0;
    for input in inputs {
        let at_ms = input.at;
        updated_ms = at_ms;
        let record = Record::Input(input);
        for (digest, value) in values_of(store, &record).await? {
            state.hydrate(digest, value);
        }
        let Record::Input(input) = &record else { continue };
        let one = guarded(|| step(state, input))?;
        records.push(NewRecord { kind: RecordKind::Input, at_ms, payload: record.payload() });
        for decision in one.decisions {
            tasks.extend(change_of(&decision, state, at_ms));
            records.push(NewRecord { kind: RecordKind::Decision, at_ms, payload: decision.payload() });
        }
        for text in one.blobs {
            store.blobs.put(Arc::from(text.into_bytes())).await?;
        }
        for effect in &one.effects {
            tasks.extend(board.place(effect, state, at_ms)?);
        }
        for effect in &one.cancels {
            tasks.extend(board.signal(effect, TaskSignal::Cancel));
        }
        for (effect, text) in &one.steers {
            tasks.extend(board.tell(effect, text));
        }
        for (effect, answer) in &one.topups {
            tasks.extend(board.answer(effect, *answer));
        }
        all.effects.extend(one.effects);
        all.cancels.extend(one.cancels);
        all.steers.extend(one.steers);
        all.topups.extend(one.topups);
    }
    let head = head_of(state, updated_ms)?;
    Ok(Taken { batch: Batch { records, head, tasks, inbox_taken: None }, step: all })
}

/// Runs kernel code; a panic in it parks this run and no other.
fn guarded<T>(decide: impl FnOnce() -> T) -> Result<T, RunError> {
    catch_unwind(AssertUnwindSafe(decide)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        RunError::Parked(text.unwrap_or_else(|| "a panic without words".to_owned()))
    })
}

fn head_of(state: &RunState, updated_ms: i64) -> Result<Head, RunError> {
    let head = state.head();
    let json = serde_json::to_string(&head).map_err(|error| RunError::Parked(error.to_string()))?;
    Ok(Head { status: state.status().as_str().to_owned(), ended: state.end().is_some(), updated_ms, json })
}

/// What is in flight in this process.
struct Flights {
    set: JoinSet<Outcome>,
    ids: HashMap<Id, EffectId>,
    flying: HashMap<EffectId, Flight>,
    /// Where attempts ask for more budget.
    asks: mpsc::UnboundedSender<Metered>,
    asked: mpsc::UnboundedReceiver<Metered>,
}

/// One effect in flight in this process, and what it can be told.
struct Flight {
    cancel: CancelToken,
    steering: Steering,
    meter: Meter,
}

impl Default for Flights {
    fn default() -> Self {
        let (asks, asked) = mpsc::unbounded_channel();
        Self { set: JoinSet::new(), ids: HashMap::new(), flying: HashMap::new(), asks, asked }
    }
}

impl Flights {
    fn launch(&mut self, owned: &Owned, effect: Effect, seed: u64) {
        let flight = Flight {
            cancel: CancelToken::default(),
            steering: Steering::default(),
            meter: self.meter(effect.id.clone()),
        };
        let ctx = Ctx {
            run_id: Arc::from(owned.run.as_str()),
            workflow: owned.workflow.clone(),
            seed,
            blobs: owned.runtime.store.blobs.clone(),
            traces: owned.runtime.store.traces.clone(),
            cancel: flight.cancel.clone(),
            steering: flight.steering.clone(),
            meter: flight.meter.clone(),
            grant: owners_grant(&owned.runtime.store, &owned.run, owned.epoch),
            redactor: wf_effects::secret::Redactor::default(),
        };
        let id = effect.id.clone();
        let effects = owned.runtime.effects.clone();
        let handle = self.set.spawn(async move { effects.perform(effect, ctx).await });
        self.ids.insert(handle.id(), id.clone());
        self.flying.insert(id, flight);
    }

    /// The meter of an effect in this process: its questions are inputs like others.
    fn meter(&self, effect: EffectId) -> Meter {
        let asks = self.asks.clone();
        Meter::new(move |it| {
            let sent = asks.send(metered(effect.clone(), it));
            Box::pin(async move { sent.map_err(Into::into) })
        })
    }

    fn cancel(&self, effect: &EffectId) {
        if let Some(flight) = self.flying.get(effect) {
            flight.cancel.cancel();
        }
    }

    fn steer(&self, effect: &EffectId, text: Arc<str>) {
        if let Some(flight) = self.flying.get(effect) {
            flight.steering.tell(text);
        }
    }

    fn answer(&self, effect: &EffectId, answer: TopUp) {
        if let Some(flight) = self.flying.get(effect) {
            flight.meter.answer(answer.asked, answer.is_granted);
        }
    }

    fn landed(&mut self, joined: Result<(Id, Outcome), JoinError>) -> Option<EffectOutcome> {
        let (id, outcome) = match joined {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), failed_engine(&error)),
        };
        let effect = self.ids.remove(&id)?;
        self.flying.remove(&effect);
        Some(EffectOutcome { effect, outcome })
    }
}

/// A question for more budget, as an input.
pub(crate) fn metered(effect: EffectId, ask: MeterAsk) -> Metered {
    let MeterAsk { asked, spent, total } = ask;
    Metered { effect, asked, spent, total }
}

/// The right of a run's owner: it is held while nobody else has taken the run over.
fn owners_grant(store: &Store, run: &RunId, epoch: Epoch) -> Grant {
    let (leases, run) = (store.leases.clone(), run.clone());
    Grant::new(move || -> BoxFuture<'static, bool> {
        let (leases, run) = (leases.clone(), run.clone());
        Box::pin(async move { leases.lease(&run).await.is_ok_and(|lease| lease.epoch == epoch) })
    })
}

/// A panic in an effect is our defect; for the run it is a failure like another.
pub(crate) fn failed_engine(error: &JoinError) -> Outcome {
    Outcome::Failed(Box::new(Failure {
        code: "engine".to_owned(),
        message: format!("the engine failed while it performed this: {error}"),
        retryable: false,
        usage: Usage::default(),
        evidence: None,
        artifacts: std::collections::BTreeMap::new(),
        rescued: None,
    }))
}

/// What woke the loop.
enum Woken {
    Landed(Result<(Id, Outcome), JoinError>),
    Asked(Metered),
    Timer,
    Inbox,
    Look,
    Renew,
    Stop,
}

impl Owned {
    /// Advances the run until it has ended, only people can move it, or it is asked to stop.
    ///
    /// # Errors
    /// When another owner took over, the store fails, or an invariant broke. The log is intact in each case.
    pub async fn drive(mut self, options: DriveOptions) -> Result<Finished, RunError> {
        let mut flights = Flights::default();
        let result = self.advance(&options, &mut flights).await;
        for flight in flights.flying.values() {
            flight.cancel.cancel();
        }
        while flights.set.join_next().await.is_some() {}
        // The next owner may come at once; if this fails, it waits for the lease's end.
        let _ = self.runtime.store.leases.release_lease(&self.run, self.epoch).await;
        let end = result?;
        Ok(Finished { end, state: self.state, log_digest: self.log_digest, records: self.seq.0 })
    }

    async fn advance(&mut self, options: &DriveOptions, flights: &mut Flights) -> Result<Drive, RunError> {
        let mut inbox = self.runtime.store.watch.run(&self.run);
        let mut renew = tokio::time::interval(RENEW_EVERY);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stopping = false;
        // Whoever takes a run over lets it have as many records again.
        let full_at = (self.seq.0 / self.records_max + 1).saturating_mul(self.records_max);
        self.dispatch(flights);
        let pending = std::mem::take(&mut self.pending);
        self.commit(pending, None, flights).await?;
        self.take_messages(flights).await?;
        loop {
            self.tend_board(flights).await?;
            if flights.set.is_empty() && self.board.is_clear() {
                if self.state.end().is_some() {
                    self.runtime.effects.conclude().await;
                    return Ok(Drive::Ended);
                }
                if self.seq.0 >= full_at {
                    return Err(RunError::LogFull { records: self.seq.0 });
                }
                if stopping {
                    return Ok(Drive::Stopped);
                }
                // A parked run is left by whoever drives it: what brought that down may be in the log itself.
                let is_parked = self.state.status() == RunStatus::Poisoned;
                if is_parked || options.park_on_people && self.state.only_people_can_move(self.runtime.clock.now_ms()) {
                    return Ok(Drive::People);
                }
            }
            if self.seq.0 >= full_at && !stopping {
                stopping = true;
                self.interrupt(flights, "full log").await?;
                continue;
            }
            let ticks = Ticks { renew: &mut renew, look: &mut look };
            match self.wait(flights, &mut inbox, ticks, options, stopping).await {
                Woken::Landed(joined) => self.take_outcomes(flights, joined).await?,
                Woken::Asked(first) => self.take_questions(flights, first).await?,
                Woken::Timer => self.take_timers(flights).await?,
                Woken::Inbox => self.take_messages(flights).await?,
                Woken::Look => self.look_for_lost(flights).await?,
                Woken::Renew => {
                    let now = self.runtime.clock.now_ms();
                    self.runtime.store.leases.renew_lease(&self.run, self.epoch, now, LEASE_TTL_MS).await?;
                }
                Woken::Stop if stopping => return Ok(Drive::Stopped),
                Woken::Stop => {
                    stopping = true;
                    self.interrupt(flights, "interrupt").await?;
                }
            }
        }
    }

    async fn wait(
        &self,
        flights: &mut Flights,
        inbox: &mut tokio::sync::watch::Receiver<Mark>,
        ticks: Ticks<'_>,
        options: &DriveOptions,
        stopping: bool,
    ) -> Woken {
        let next = self.state.next_timer().map(|(due, _)| due);
        let timer = async {
            match next {
                Some(due) => {
                    let wait = u64::try_from(due - self.runtime.clock.now_ms()).unwrap_or(0);
                    self.runtime.clock.sleep(Duration::from_millis(wait)).await;
                }
                None => std::future::pending().await,
            }
        };
        let stop = async {
            match stopping {
                false => options.stop.cancelled().await,
                true => self.runtime.clock.sleep(STOP_GRACE).await,
            }
        };
        let has_tasks_elsewhere = !self.board.is_clear();
        tokio::select! {
            biased;
            _ = ticks.renew.tick() => Woken::Renew,
            () = stop => Woken::Stop,
            Ok(()) = inbox.changed() => Woken::Inbox,
            Some(joined) = flights.set.join_next_with_id() => Woken::Landed(joined),
            // The other end is in `flights`, so there is always one.
            Some(asked) = flights.asked.recv() => Woken::Asked(asked),
            () = timer => Woken::Timer,
            _ = ticks.look.tick(), if has_tasks_elsewhere => Woken::Look,
        }
    }

    async fn take_outcomes(
        &mut self,
        flights: &mut Flights,
        first: Result<(Id, Outcome), JoinError>,
    ) -> Result<(), RunError> {
        let mut outcomes: Vec<EffectOutcome> = flights.landed(first).into_iter().collect();
        // What else can come back will do so in this turn of the scheduler: it goes into the same commit.
        tokio::task::yield_now().await;
        while outcomes.len() < BATCH_INPUTS_MAX {
            let Some(joined) = flights.set.try_join_next_with_id() else { break };
            outcomes.extend(flights.landed(joined));
        }
        outcomes.iter().filter(|it| it.effect.phase == Phase::Perform).for_each(|_| self.board.end_here());
        self.commit_outcomes(outcomes, flights).await
    }

    async fn take_questions(&mut self, flights: &mut Flights, first: Metered) -> Result<(), RunError> {
        let mut questions = vec![first];
        while questions.len() < BATCH_INPUTS_MAX
            && let Ok(more) = flights.asked.try_recv()
        {
            questions.push(more);
        }
        let at = self.runtime.clock.now_ms();
        let inputs = questions.into_iter().map(|it| Input { at, body: InputBody::Metered(it) }).collect();
        self.commit(inputs, None, flights).await
    }

    async fn commit_outcomes(&mut self, outcomes: Vec<EffectOutcome>, flights: &mut Flights) -> Result<(), RunError> {
        let at = self.runtime.clock.now_ms();
        let inputs = outcomes.into_iter().map(|outcome| Input { at, body: InputBody::Outcome(outcome) }).collect();
        self.commit(inputs, None, flights).await
    }

    /// Claims what is on the board and not claimed: what is to end, which then ended before anybody began it, and what
    /// this process has room for.
    async fn tend_board(&mut self, flights: &mut Flights) -> Result<(), RunError> {
        let withdrawn = std::mem::take(&mut self.board.withdrawn);
        if !withdrawn.is_empty() {
            let only = self.board.names_of(&withdrawn);
            let claimed = self.claim(Some(only), withdrawn.len()).await?;
            let usage = Usage::default();
            let ended = claimed
                .into_iter()
                .map(|effect| EffectOutcome { effect: effect.id, outcome: Outcome::Cancelled { usage } });
            self.commit_outcomes(ended.collect(), flights).await?;
        }
        while self.board.may_claim && self.board.free() > 0 && !self.board.is_clear() {
            let free = self.board.free();
            let claimed = self.claim(None, free).await?;
            // Others have claimed the rest; more comes with the next attempt that begins or is lost.
            self.board.may_claim = claimed.len() == free;
            let seed = self.state.started().map_or(0, |started| started.seed);
            for effect in claimed {
                self.board.begin_here();
                flights.launch(self, effect, seed);
            }
        }
        Ok(())
    }

    /// Claims tasks of this run for this process.
    async fn claim(&mut self, only: Option<Vec<(String, u32)>>, limit: usize) -> Result<Vec<Effect>, RunError> {
        let claim = Claim {
            worker: self.runtime.owner.clone(),
            can: Capabilities::All,
            run: Some(self.run.clone()),
            only,
            limit,
            now_ms: self.runtime.clock.now_ms(),
            ttl_ms: TASK_TTL_MS,
        };
        let claimed = self.runtime.store.tasks.claim(claim).await?;
        let effects = claimed.into_iter().filter_map(|it| {
            let subject = it.task.instance.as_str().into();
            self.board.take(&EffectId { subject, generation: it.generation, phase: Phase::Perform })
        });
        Ok(effects.collect())
    }

    /// Looks whether workers that claimed tasks of this run are gone; what they had is taken up again.
    async fn look_for_lost(&mut self, flights: &mut Flights) -> Result<(), RunError> {
        let filter = TaskFilter { status: Some(TaskStatus::Claimed), after: None, limit: CLAIMED_MAX };
        let rows = self.runtime.store.tasks.tasks(&self.run, filter).await?;
        let now = self.runtime.clock.now_ms();
        let presence = self.runtime.presence.clone();
        let lost = self.board.lost(&rows, |row, worker| {
            row.lease_until_ms.is_some_and(|until| until < now)
                || presence.as_ref().is_some_and(|presence| presence.is_gone(worker))
        });
        let inputs = lost.into_iter().map(|lost| Input { at: now, body: InputBody::WorkerLost(lost) }).collect();
        self.commit(inputs, None, flights).await
    }

    async fn take_timers(&mut self, flights: &mut Flights) -> Result<(), RunError> {
        let at = self.runtime.clock.now_ms();
        while let Some((due, timer)) = self.state.next_timer()
            && due <= at
        {
            let input = Input { at, body: InputBody::TimerFired(timer.clone()) };
            self.commit(vec![input], None, flights).await?;
        }
        Ok(())
    }

    async fn take_messages(&mut self, flights: &mut Flights) -> Result<(), RunError> {
        loop {
            let messages = self.runtime.store.inbox.inbox(&self.run, self.inbox_cursor, INBOX_PAGE).await?;
            let Some(last) = messages.last().map(|message| message.id) else { return Ok(()) };
            let at = self.runtime.clock.now_ms();
            // Anything else is taken and ignored: whoever wrote it did not go through `post`.
            let bodies = messages.iter().filter_map(|it| serde_json::from_str::<InputBody>(&it.message).ok());
            let is_message = |body: &InputBody| {
                matches!(body, InputBody::Command(_) | InputBody::Outcome(_) | InputBody::Metered(_))
            };
            let inputs: Vec<Input> = bodies.filter(is_message).map(|body| Input { at, body }).collect();
            for input in &inputs {
                if let InputBody::Outcome(it) = &input.body {
                    self.board.take(&it.effect);
                }
            }
            self.commit(inputs, Some(last), flights).await?;
            self.inbox_cursor = last;
        }
    }

    /// The process is asked to stop: the run is paused, and goes on with the next `resume`.
    async fn interrupt(&mut self, flights: &mut Flights, by: &str) -> Result<(), RunError> {
        let command = Command::Pause { path: None, now: true, by: by.to_owned() };
        let input = Input { at: self.runtime.clock.now_ms(), body: InputBody::Command(command) };
        self.commit(vec![input], None, flights).await
    }

    /// Steps the inputs, appends what they led to, and only then acts.
    async fn commit(
        &mut self,
        inputs: Vec<Input>,
        inbox_taken: Option<u64>,
        flights: &mut Flights,
    ) -> Result<(), RunError> {
        if inputs.is_empty() && inbox_taken.is_none() {
            return Ok(());
        }
        let store = self.runtime.store.clone();
        let mut taken = take_in(&store, &mut self.state, inputs, &mut self.board).await?;
        taken.batch.inbox_taken = inbox_taken;
        let appended = store.log.append(&self.run, self.seq, self.epoch, taken.batch).await?;
        self.seq = appended.seq;
        self.log_digest = appended.hash;
        self.step = taken.step;
        self.dispatch(flights);
        Ok(())
    }

    fn dispatch(&mut self, flights: &mut Flights) {
        let step = std::mem::take(&mut self.step);
        let seed = self.state.started().map_or(0, |started| started.seed);
        for effect in step.effects {
            if !self.board.is_elsewhere(&effect.id) {
                flights.launch(self, effect, seed);
            }
        }
        for effect in &step.cancels {
            flights.cancel(effect);
        }
        for (effect, text) in step.steers {
            flights.steer(&effect, text);
        }
        for (effect, answer) in step.topups {
            flights.answer(&effect, answer);
        }
    }
}

/// What the loop does every so often.
struct Ticks<'a> {
    renew: &'a mut tokio::time::Interval,
    look: &'a mut tokio::time::Interval,
}
