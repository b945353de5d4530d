//! The loop that advances a run: inputs in, records appended, effects out.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use wf_effects::{CancelToken, Ctx};
use wf_ir::Digest;
use wf_ir::limits::LOG_RECORDS_MAX;
use wf_kernel::record::{EffectOutcome, Failure};
use wf_kernel::{
    Command, Effect, EffectId, Input, InputBody, Outcome, Record, RunState, RunStatus, Stage, Step, Usage, step,
};
use wf_store::{Batch, Head, Mark, NewRecord, RecordKind, Store};

use crate::error::RunError;
use crate::journal::values_of;
use crate::owned::{LEASE_TTL_MS, Owned};
use crate::tasks::change_of;

/// Most inputs that go into one commit. More wait for the next; nothing is dropped.
const BATCH_INPUTS_MAX: usize = 512;
/// Most inbox messages taken in at once.
const INBOX_PAGE: usize = 256;
/// How often the lease is prolonged.
const RENEW_EVERY: Duration = Duration::from_millis(LEASE_TTL_MS as u64 / 3);
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
    owner: &str,
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
            tasks.extend(change_of(&decision, state, owner, at_ms));
            records.push(NewRecord { kind: RecordKind::Decision, at_ms, payload: decision.payload() });
        }
        for text in one.blobs {
            store.blobs.put(Arc::from(text.into_bytes())).await?;
        }
        all.effects.extend(one.effects);
        all.cancels.extend(one.cancels);
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
#[derive(Default)]
struct Flights {
    set: JoinSet<Outcome>,
    ids: HashMap<Id, EffectId>,
    cancels: HashMap<EffectId, CancelToken>,
}

impl Flights {
    fn launch(&mut self, owned: &Owned, effect: Effect, seed: u64) {
        let cancel = CancelToken::default();
        let ctx = Ctx {
            run_id: Arc::from(owned.run.as_str()),
            workflow: owned.workflow.clone(),
            seed,
            blobs: owned.runtime.store.blobs.clone(),
            traces: owned.runtime.store.traces.clone(),
            cancel: cancel.clone(),
        };
        let id = effect.id.clone();
        let effects = owned.runtime.effects.clone();
        let handle = self.set.spawn(async move { effects.perform(effect, ctx).await });
        self.ids.insert(handle.id(), id.clone());
        self.cancels.insert(id, cancel);
    }

    fn cancel(&self, effect: &EffectId) {
        if let Some(cancel) = self.cancels.get(effect) {
            cancel.cancel();
        }
    }

    fn landed(&mut self, joined: Result<(Id, Outcome), JoinError>) -> Option<EffectOutcome> {
        let (id, outcome) = match joined {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), failed_engine(&error)),
        };
        let effect = self.ids.remove(&id)?;
        self.cancels.remove(&effect);
        Some(EffectOutcome { effect, outcome })
    }
}

/// A panic in an effect is our defect; for the run it is a failure like another.
fn failed_engine(error: &JoinError) -> Outcome {
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
    Timer,
    Inbox,
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
        for cancel in flights.cancels.values() {
            cancel.cancel();
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
        let mut stopping = false;
        self.dispatch(flights);
        let pending = std::mem::take(&mut self.pending);
        self.commit(pending, None, flights).await?;
        self.take_messages(flights).await?;
        loop {
            if flights.set.is_empty() {
                if self.state.end().is_some() {
                    return Ok(Drive::Ended);
                }
                if stopping {
                    return Ok(Drive::Stopped);
                }
                if options.park_on_people && self.only_people_can_move() {
                    return Ok(Drive::People);
                }
            }
            if self.seq.0 >= LOG_RECORDS_MAX {
                return Err(RunError::LogFull { records: self.seq.0 });
            }
            match self.wait(flights, &mut inbox, &mut renew, options, stopping).await {
                Woken::Landed(joined) => self.take_outcomes(flights, joined).await?,
                Woken::Timer => self.take_timers(flights).await?,
                Woken::Inbox => self.take_messages(flights).await?,
                Woken::Renew => {
                    let now = self.runtime.clock.now_ms();
                    self.runtime.store.leases.renew_lease(&self.run, self.epoch, now, LEASE_TTL_MS).await?;
                }
                Woken::Stop if stopping => return Ok(Drive::Stopped),
                Woken::Stop => {
                    stopping = true;
                    self.interrupt(flights).await?;
                }
            }
        }
    }

    async fn wait(
        &self,
        flights: &mut Flights,
        inbox: &mut tokio::sync::watch::Receiver<Mark>,
        renew: &mut tokio::time::Interval,
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
        tokio::select! {
            Some(joined) = flights.set.join_next_with_id() => Woken::Landed(joined),
            () = timer => Woken::Timer,
            Ok(()) = inbox.changed() => Woken::Inbox,
            _ = renew.tick() => Woken::Renew,
            () = stop => Woken::Stop,
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
        let at = self.runtime.clock.now_ms();
        let inputs = outcomes.into_iter().map(|outcome| Input { at, body: InputBody::Outcome(outcome) }).collect();
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
            // A message that is no command is taken and ignored: whoever wrote it did not go through `post`.
            let commands = messages.iter().filter_map(|it| serde_json::from_str::<Command>(&it.message).ok());
            let inputs = commands.map(|command| Input { at, body: InputBody::Command(command) }).collect();
            self.commit(inputs, Some(last), flights).await?;
            self.inbox_cursor = last;
        }
    }

    /// The process is asked to stop: the run is paused, and goes on with the next `resume`.
    async fn interrupt(&mut self, flights: &mut Flights) -> Result<(), RunError> {
        let command = Command::Pause { now: true, by: "interrupt".to_owned() };
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
        let mut taken = take_in(&store, &mut self.state, inputs, &self.runtime.owner).await?;
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
            flights.launch(self, effect, seed);
        }
        for effect in &step.cancels {
            flights.cancel(effect);
        }
    }

    fn only_people_can_move(&self) -> bool {
        let waits = |stage: &Stage| matches!(stage, Stage::Gate(_) | Stage::Listening | Stage::Doubt);
        let mut leaves =
            self.state.live().filter(|instance| self.workflow.node(instance.node).kind.is_leaf()).peekable();
        let paused = self.state.status() == RunStatus::Paused;
        paused || (leaves.peek().is_some() && leaves.all(|instance| waits(&instance.stage)))
    }
}
