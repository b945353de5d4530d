//! Watching: how a process learns that a run has moved, whoever moved it.
//!
//! What this process commits is announced at once; what others commit is seen by the back end's poll. A mark only says
//! how far to read; the reading is up to the watcher. Subscribe first, read second, then wait: so nothing is missed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::{RunId, Seq};

/// Watching runs.
pub trait Watch: Send + Sync {
    /// How far `run` has come. The first mark may be zero, and is set right within the poll's interval. To see other
    /// processes it must be called within a tokio runtime that has its time driver.
    fn run(&self, run: &RunId) -> watch::Receiver<Mark>;

    /// A number that rises whenever anything in the store may have changed.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// The last record of its log.
    pub seq: Seq,
    /// The last message of its inbox.
    pub message: u64,
}

/// Who watches what in this process.
pub(crate) struct Watchers {
    runs: Mutex<HashMap<RunId, watch::Sender<Mark>>>,
    changes: watch::Sender<u64>,
}

impl Watchers {
    pub(crate) fn new() -> Self {
        Self { runs: Mutex::new(HashMap::new()), changes: watch::Sender::new(0) }
    }

    pub(crate) fn subscribe(&self, run: &RunId) -> watch::Receiver<Mark> {
        let mut runs = self.lock();
        runs.retain(|_, sender| sender.receiver_count() > 0);
        runs.entry(run.clone()).or_default().subscribe()
    }

    pub(crate) fn subscribe_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Announces that `run` has come as far as `mark`. Marks only rise, so late news does no harm.
    pub(crate) fn announce(&self, run: &RunId, mark: Mark) {
        if let Some(sender) = self.lock().get(run) {
            sender.send_if_modified(|last| {
                let risen = Mark { seq: last.seq.max(mark.seq), message: last.message.max(mark.message) };
                std::mem::replace(last, risen) != risen
            });
        }
    }

    /// Announces that something changed.
    pub(crate) fn announce_change(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Wakes every watcher: the poll failed, and whoever reads now will see why.
    pub(crate) fn announce_fault(&self) {
        for sender in self.lock().values() {
            sender.send_modify(|_| ());
        }
        self.announce_change();
    }

    /// The runs that someone watches, and whether anybody watches anything.
    pub(crate) fn watched(&self) -> (Vec<RunId>, bool) {
        let runs: Vec<RunId> =
            self.lock().iter().filter(|(_, sender)| sender.receiver_count() > 0).map(|(run, _)| run.clone()).collect();
        let any = !runs.is_empty() || self.changes.receiver_count() > 0;
        (runs, any)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, watch::Sender<Mark>>> {
        // Nothing that holds this lock can leave the map half-changed.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
