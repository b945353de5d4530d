//! The poll: how this process sees what others commit. It runs only while someone watches.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::open::Place;
use super::reads::{last_message, open_fault, unsigned};
use crate::watch::Watchers;
use crate::{Mark, ReadError, RunId, Seq};

/// How often it looks; owners must see a message within 200 ms.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

type Slot = Arc<Mutex<Option<JoinHandle<()>>>>;

/// The poll of a store.
pub(crate) struct Poll {
    place: Place,
    watchers: Weak<Watchers>,
    slot: Slot,
}

impl Poll {
    pub(crate) fn new(place: Place, watchers: &Arc<Watchers>) -> Self {
        Self { place, watchers: Arc::downgrade(watchers), slot: Slot::default() }
    }

    /// Sees to it that the poll runs. The watcher must have subscribed before.
    pub(crate) fn ensure(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have ended with the runtime in which it was started.
        if slot.as_ref().is_none_or(JoinHandle::is_finished) {
            let look = Look { place: self.place.clone(), conn: None, version: None, known: BTreeSet::new() };
            *slot = Some(runtime.spawn(poll(look, self.watchers.clone(), self.slot.clone())));
        }
    }
}

async fn poll(mut look: Look, watchers: Weak<Watchers>, slot: Slot) {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(watchers) = watchers.upgrade() else { return };
        let (runs, any) = watchers.watched();
        if !any && nobody_watches(&watchers, &slot) {
            return;
        }
        let looked = tokio::task::spawn_blocking(move || {
            let seen = look.look(runs);
            (look, seen)
        });
        let Ok((back, seen)) = looked.await else { return };
        look = back;
        match seen {
            Ok(None) => {}
            Ok(Some(marks)) => {
                for (run, mark) in marks {
                    watchers.announce(&run, mark);
                }
                watchers.announce_change();
            }
            Err(_) => {
                look.conn = None;
                watchers.announce_fault();
            }
        }
    }
}

/// Takes the poll out of its slot, unless someone has subscribed in the meantime.
fn nobody_watches(watchers: &Watchers, slot: &Slot) -> bool {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if watchers.watched().1 {
        return false;
    }
    *slot = None;
    true
}

/// One look at the database, and what the last one saw.
struct Look {
    place: Place,
    conn: Option<Connection>,
    version: Option<i64>,
    known: BTreeSet<RunId>,
}

impl Look {
    /// The marks of `runs` if anything has changed since the last look, or if there is a new run among them.
    fn look(&mut self, runs: Vec<RunId>) -> Result<Option<Vec<(RunId, Mark)>>, ReadError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.place.reader().map_err(open_fault)?,
        };
        let version = Some(conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?);
        let runs: BTreeSet<RunId> = runs.into_iter().collect();
        let mut marks = None;
        if version != self.version || !runs.is_subset(&self.known) {
            marks =
                Some(runs.iter().map(|run| Ok((run.clone(), mark(&conn, run)?))).collect::<Result<_, ReadError>>()?);
        }
        (self.version, self.known, self.conn) = (version, runs, Some(conn));
        Ok(marks)
    }
}

fn mark(conn: &Connection, run: &RunId) -> Result<Mark, ReadError> {
    let mut select =
        conn.prepare_cached("SELECT r.run_no, h.seq FROM runs r JOIN heads h ON h.run_no = r.run_no WHERE r.run = ?1")?;
    let found: Option<(i64, u64)> =
        select.query_row([run.as_str()], |row| Ok((row.get(0)?, unsigned(row, 1)?))).optional()?;
    let Some((run_no, seq)) = found else { return Ok(Mark::default()) };
    Ok(Mark { seq: Seq(seq), message: last_message(conn, run_no)? })
}
