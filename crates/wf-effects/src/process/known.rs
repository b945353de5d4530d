//! The children that this process has started itself.
//!
//! A process that performs commands adopts whatever their supervisors leave behind when something kills them. What is
//! not known here is such an orphan. So every start of a process goes through [`started`].

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};

use super::tree;

/// For how many rounds orphans are ended without a pause: what forks quickly gives no more time.
const QUICK_ROUNDS: u32 = 300;
/// After how many rounds they are given up, which is after some time more than a second.
const ROUNDS_MAX: u32 = 1_300;
/// Between two rounds that are not quick.
const ROUND_PAUSE: Duration = Duration::from_millis(1);

/// Whether this process takes orphans.
static ADOPTS: AtomicBool = AtomicBool::new(false);

static KNOWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// A child is known as long as this lives.
#[derive(Debug)]
pub(crate) struct Known {
    id: Option<u32>,
}

impl Drop for Known {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            lock().remove(&id);
        }
    }
}

fn lock() -> MutexGuard<'static, BTreeSet<u32>> {
    // Nothing that holds this lock can leave the set half-changed.
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a child in such a way that nobody ever takes it for an orphan.
pub(crate) fn started<C>(
    start: impl FnOnce() -> io::Result<C>,
    id: impl FnOnce(&C) -> Option<u32>,
) -> io::Result<(C, Known)> {
    // The lock is held while it starts: it is there before it is known.
    let mut known = lock();
    let child = start()?;
    let id = id(&child);
    known.extend(id);
    Ok((child, Known { id }))
}

/// From now on this process is the parent of whatever loses its own below it.
pub(super) fn adopt_orphans() {
    // Without it, only what a killed supervisor leaves behind is out of reach.
    ADOPTS.store(set_child_subreaper(Some(getpid())).is_ok(), Ordering::Relaxed);
}

/// Ends every child that this process has not started itself, with all below it. Says how many were still found at last.
pub(super) async fn end_orphans() -> u32 {
    for round in 0..ROUNDS_MAX {
        if end_orphans_once() == 0 {
            return 0;
        }
        if round < QUICK_ROUNDS {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }
    end_orphans_once()
}

/// The same for a process that is about to exit, if it has performed commands: what was going on when it was told to end
/// may have left something behind at this very moment.
pub fn leave_no_orphans() {
    if !ADOPTS.load(Ordering::Relaxed) {
        return;
    }
    for round in 0..ROUNDS_MAX {
        if end_orphans_once() == 0 {
            return;
        }
        if round >= QUICK_ROUNDS {
            std::thread::sleep(ROUND_PAUSE);
        }
    }
}

fn end_orphans_once() -> u32 {
    let known = lock();
    let is_orphan = |pid: &Pid| !known.contains(&pid.as_raw_nonzero().get().unsigned_abs());
    let found = || tree::children(getpid()).into_iter().filter(is_orphan).collect::<Vec<Pid>>();
    let mut orphans = found();
    if orphans.is_empty() {
        // While others of the list go, the kernel may leave one out.
        orphans = found();
    }
    tree::end(&orphans);
    for orphan in &orphans {
        // One that is dead may have left an orphan of its own by now, so nobody is gone before nobody is found.
        let _ = waitpid(Some(*orphan), WaitOptions::NOHANG);
    }
    orphans.len() as u32
}
