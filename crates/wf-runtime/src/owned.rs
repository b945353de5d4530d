//! Owning a run: making one, or adopting one whose owner is gone.

use std::collections::HashMap;
use std::sync::Arc;

use wf_effects::{Clock, Effects};
use wf_ir::limits::LOG_RECORDS_MAX;
use wf_ir::{Digest, Workflow};
use wf_kernel::record::{Adopted, RunStarted};
use wf_kernel::{Effect, EffectId, Input, InputBody, RunState, Step, in_flight, outstanding};
use wf_store::{Epoch, FirstOwner, Lease, Presence, RenewError, RunId, Seq, Store, TaskFilter, TaskStatus};

use crate::board::{Board, effect_of};
use crate::drive::{CLAIMED_MAX, take_in};
use crate::error::RunError;
use crate::journal::load;

/// How long a lease lasts. A dead owner on this machine is noticed at once ([`Presence`]); only one that cannot be asked
/// is waited for.
pub(crate) const LEASE_TTL_MS: i64 = 15_000;

/// What it takes to advance runs.
#[derive(Clone)]
pub struct Runtime {
    /// Where logs are.
    pub store: Store,
    /// What performs effects.
    pub effects: Arc<dyn Effects>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The name of this process as an owner; no other process has it.
    pub owner: String,
    /// How many attempts of leaves this process performs at once; the others are left to workers.
    pub slots: usize,
    /// How owners on this machine are known to be alive; without it, only leases are looked at.
    pub presence: Option<Presence>,
}

/// A run that is to be made.
pub struct NewRun {
    /// Its workflow.
    pub workflow: Arc<Workflow>,
    /// Its first record; `workflow` in it is the workflow's hash.
    pub started: RunStarted,
}

/// A run that this process owns.
pub struct Owned {
    pub(crate) runtime: Runtime,
    pub(crate) run: RunId,
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) state: RunState,
    pub(crate) epoch: Epoch,
    pub(crate) seq: Seq,
    pub(crate) log_digest: Digest,
    pub(crate) inbox_cursor: u64,
    /// What is performed here, and what elsewhere.
    pub(crate) board: Board,
    /// What the records so far order and nobody performs yet.
    pub(crate) step: Step,
    /// The next inputs, before any from outside.
    pub(crate) pending: Vec<Input>,
    /// At every so many records of the log the run stops.
    pub(crate) records_max: u64,
}

impl Runtime {
    /// Makes a run: when this answers, its first records are durable and this process owns it.
    ///
    /// # Errors
    /// When the store cannot take it.
    pub async fn create(&self, new: NewRun) -> Result<Owned, RunError> {
        let run = RunId::parse(&new.started.run_id).map_err(|error| RunError::Parked(error.to_string()))?;
        self.store.blobs.put(Arc::from(new.workflow.canonical().as_bytes())).await?;
        let at = self.clock.now_ms();
        let labels = serde_json::to_string(&new.started.labels).map_err(|error| RunError::Parked(error.to_string()))?;
        let mut state = RunState::new(new.workflow.clone());
        let input = Input { at, body: InputBody::RunStarted(Box::new(new.started)) };
        let mut board = Board::new(self.owner.clone(), self.slots);
        let taken = take_in(&self.store, &mut state, vec![input], &mut board).await?;
        let created = self
            .store
            .log
            .create_run(wf_store::NewRun {
                run: run.clone(),
                workflow_name: new.workflow.name().to_owned(),
                workflow_hash: new.workflow.hash(),
                labels,
                created_ms: at,
                owner: Some(FirstOwner { owner: self.owner.clone(), until_ms: at + LEASE_TTL_MS }),
                batch: taken.batch,
            })
            .await?;
        Ok(Owned {
            runtime: self.clone(),
            run,
            workflow: new.workflow,
            state,
            epoch: created.epoch,
            seq: created.appended.seq,
            log_digest: created.appended.hash,
            inbox_cursor: 0,
            board,
            step: taken.step,
            pending: Vec::new(),
            records_max: LOG_RECORDS_MAX,
        })
    }

    /// Takes a run over whose owner is gone.
    ///
    /// # Errors
    /// [`RunError::Held`] while another owner lives; or when the log cannot be read.
    pub async fn adopt(&self, run: &RunId) -> Result<Owned, RunError> {
        let (epoch, died) = self.take_lease(run).await?;
        let mut loaded = match load(&self.store, run).await {
            Ok(loaded) => loaded,
            Err(error) => {
                // Whoever comes next finds the same; the lease must not keep them waiting.
                let _ = self.store.leases.release_lease(run, epoch).await;
                return Err(error);
            }
        };
        let row = self.store.runs.head(run).await?;
        let board = self.board_of(run, &mut loaded.state).await?;
        let claimed = in_flight(&loaded.state).into_iter().filter(|effect| !board.is_elsewhere(effect)).collect();
        let adopted = Adopted { owner: self.owner.clone(), epoch: epoch.0, claimed, died };
        let input = Input { at: self.clock.now_ms(), body: InputBody::Adopted(adopted) };
        Ok(Owned {
            runtime: self.clone(),
            run: run.clone(),
            workflow: loaded.workflow,
            state: loaded.state,
            epoch,
            seq: Seq(loaded.records),
            log_digest: loaded.log_digest,
            inbox_cursor: row.inbox_cursor,
            board,
            step: Step::default(),
            pending: vec![input],
            records_max: LOG_RECORDS_MAX,
        })
    }

    /// What of a run's work is on the board: what nobody has claimed, what living workers perform, and what was
    /// reported and waits in the inbox. Everything else in flight went with the old owner or with a worker.
    async fn board_of(&self, run: &RunId, state: &mut RunState) -> Result<Board, RunError> {
        let mut board = Board::new(self.owner.clone(), self.slots);
        let waiting = outstanding(state).effects;
        let mut performed: HashMap<EffectId, Effect> = waiting.into_iter().map(|it| (it.id.clone(), it)).collect();
        let now = self.clock.now_ms();
        for status in [TaskStatus::Pending, TaskStatus::Claimed] {
            let filter = TaskFilter { status: Some(status), after: None, limit: CLAIMED_MAX };
            for row in self.store.tasks.tasks(run, filter).await? {
                // What this process itself had claimed went when it let go of the run, or lost it.
                let is_alive = |worker: &String| {
                    *worker != self.owner
                        && row.lease_until_ms.is_some_and(|until| until >= now)
                        && !self.presence.as_ref().is_some_and(|presence| presence.is_gone(worker))
                };
                let is_elsewhere =
                    status == TaskStatus::Pending || row.reported || row.task.worker.as_ref().is_some_and(is_alive);
                if is_elsewhere && let Some(effect) = performed.remove(&effect_of(&row)) {
                    board.may_claim |= status == TaskStatus::Pending;
                    board.put(effect, row.task.attempt);
                }
            }
        }
        Ok(board)
    }

    /// Takes the lease, and says whether somebody had it who did not let go.
    async fn take_lease(&self, run: &RunId) -> Result<(Epoch, bool), RunError> {
        let leases = &self.store.leases;
        let lease = leases.lease(run).await?;
        let died = lease.owner.is_some();
        // What this process may still have under way from before is shut out too: it gets a new epoch like any other.
        let is_free = |owner: &String| {
            *owner == self.owner || self.presence.as_ref().is_some_and(|presence| presence.is_gone(owner))
        };
        if let Lease { owner: Some(owner), epoch, .. } = &lease
            && is_free(owner)
        {
            match leases.release_lease(run, *epoch).await {
                // Someone else may have noticed too; then the epoch has moved.
                Ok(()) | Err(RenewError::Fenced { .. }) => {}
                // What is still this owner's would be given to it again as it is.
                Err(error) => return Err(error.into()),
            }
        }
        let epoch = leases.acquire_lease(run, &self.owner, self.clock.now_ms(), LEASE_TTL_MS).await?;
        Ok((epoch, died))
    }
}

impl Owned {
    /// The run's id.
    pub fn run_id(&self) -> &RunId {
        &self.run
    }

    /// Its state.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// Lets the run stop at every so many records, in place of [`LOG_RECORDS_MAX`].
    pub fn with_records_max(mut self, records_max: u64) -> Self {
        self.records_max = records_max;
        self
    }

    /// Puts an input before everything that comes from outside: a command of the process that owns the run.
    pub fn push(&mut self, body: InputBody) {
        self.pending.push(Input { at: self.runtime.clock.now_ms(), body });
    }
}
