//! Trees of processes: who is below whom, and ending them.
//!
//! A process's children cannot escape it for good: whoever loses its parent is given to the nearest subreaper above. So
//! a subreaper that ends its children again and again until it has none has ended everything below it, whatever
//! sessions, groups or parents they chose.
//!
//! A number of a process may be somebody else's by the time a signal is sent. The children of this process keep theirs
//! until they are waited for. Everything further below is held by a descriptor, which never becomes another process, and
//! its parent is looked up after the descriptor was opened and while that parent is alive.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

/// How many processes are held at once; each costs a descriptor. More than that are ended in the next round.
const HELD_MAX: usize = 256;

struct Held {
    pid: Pid,
    fd: OwnedFd,
}

/// Ends children of this process and everything below them that is there at this moment.
pub(super) fn end(children: &[Pid]) {
    let me = getpid();
    for some in children.chunks(HELD_MAX) {
        let mut held: VecDeque<Held> = some.iter().filter_map(|pid| hold(me, *pid)).collect();
        while let Some(next) = held.pop_front() {
            let room = HELD_MAX.saturating_sub(held.len());
            let below: Vec<Held> =
                self::children(next.pid).into_iter().take(room).filter_map(|pid| hold(next.pid, pid)).collect();
            // Only as long as it has not exited is its number its own, and what has it for a parent is below it.
            if !has_exited(&next.fd) {
                held.extend(below);
            }
            // One that is gone already, or that belongs to somebody else, is not to be ended by us.
            let _ = pidfd_send_signal(&next.fd, Signal::KILL);
        }
    }
}

fn hold(parent: Pid, pid: Pid) -> Option<Held> {
    let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    (parent_of(pid)? == parent).then_some(Held { pid, fd })
}

fn has_exited(fd: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&now)) != Ok(0)
}

/// The children of a process, dead ones included.
pub(super) fn children(parent: Pid) -> Vec<Pid> {
    listed_children(parent).unwrap_or_else(|| searched_children(parent))
}

/// The children by the lists that the kernel keeps, one for each thread; nothing if it keeps none.
fn listed_children(parent: Pid) -> Option<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero())).ok()?.flatten() {
        match std::fs::read_to_string(thread.path().join("children")) {
            Ok(list) => children.extend(list.split_whitespace().filter_map(as_pid)),
            // A thread that has ended is no reason to search.
            Err(_) if !thread.path().exists() => {}
            Err(_) => return None,
        }
    }
    Some(children)
}

/// The children by looking at every process.
fn searched_children(parent: Pid) -> Vec<Pid> {
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.flatten().filter_map(|entry| as_pid(entry.file_name().to_str()?));
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// The parent of a process. A program may have given itself any name, so what comes after the last parenthesis counts.
fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let after = &stat[stat.iter().rposition(|byte| *byte == b')')? + 1..];
    as_pid(str::from_utf8(after).ok()?.split_whitespace().nth(1)?)
}

fn as_pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_the_same_children() {
        let me = getpid();
        #[expect(clippy::disallowed_methods, reason = "a test needs children")]
        let mut child = std::process::Command::new("/bin/sh").args(["-c", "sleep 1000 & wait"]).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let below = loop {
            if let [below] = searched_children(pid)[..] {
                break below;
            }
            std::thread::yield_now();
        };
        assert_eq!(listed_children(pid), Some(vec![below]));
        assert!(listed_children(me).unwrap().contains(&pid) && searched_children(me).contains(&pid));
        assert_eq!((parent_of(below), parent_of(pid)), (Some(pid), Some(me)));
        end(&[pid]);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
        while parent_of(below).is_some_and(|_| !has_exited(&pidfd_open(below, PidfdFlags::empty()).unwrap())) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_not_below_is_not_ended() {
        #[expect(clippy::disallowed_methods, reason = "a test needs children")]
        let mut child = std::process::Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        // Neither a process that is no child of this one, nor this one.
        end(&[Pid::from_raw(1).unwrap(), getpid()]);
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
