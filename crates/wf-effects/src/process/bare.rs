//! A child that starts nothing by itself: one of our own. Its process group is killed however it ends.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::signal::unix::{SignalKind, signal};

use super::capture::{Captured, drain, feed};
use super::{Bounds, End, Finished, KILL_WAIT, LineSink, SpawnError, Spec, Stream, known};
use crate::contract::CancelToken;

/// Runs a child to its end. Cancelling or running out of time ends its whole group.
pub(super) async fn run(
    spec: &Spec,
    program: &Path,
    cancel: &CancelToken,
    lines: &LineSink<'_>,
) -> Result<Finished, SpawnError> {
    let os = |source| SpawnError::Os { program: spec.argv[0].clone(), source };
    // Before the child exists, so that its exit cannot be missed.
    let mut exits = signal(SignalKind::child()).map_err(os)?;
    let (mut child, _known) = known::started(|| spawn(spec, program), tokio::process::Child::id).map_err(os)?;
    let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
    let group = Group { pid: pid.ok_or_else(|| os(io::Error::other("it has no process id")))? };

    let mut stdout = Captured::new(&spec.bounds);
    let mut stderr = Captured::new(&spec.bounds);
    let cut = {
        let stdin = feed(child.stdin.take(), spec.stdin.as_deref());
        let out = drain(child.stdout.take(), &mut stdout, Stream::Stdout, lines);
        let err = drain(child.stderr.take(), &mut stderr, Stream::Stderr, lines);
        let pipes = async { tokio::join!(stdin, out, err) };
        supervise(&spec.bounds, cancel, &group, &mut exits, pipes).await
    };
    let end = collect(&mut child, cut).await.map_err(os)?;
    Ok(Finished { end, stdout, stderr, left: 0 })
}

/// Waits for the exit of the group's leader and the end of its pipes; ends both when they take too long. The group is
/// dead afterwards. Says whether it was us who ended it.
async fn supervise<F: Future>(
    bounds: &Bounds,
    cancel: &CancelToken,
    group: &Group,
    exits: &mut tokio::signal::unix::Signal,
    pipes: F,
) -> Option<End> {
    let mut pipes = std::pin::pin!(pipes);
    let mut drained = false;
    let cut = {
        let mut exit = std::pin::pin!(group.exit(exits));
        let mut timeout = std::pin::pin!(tokio::time::sleep(bounds.timeout));
        let mut cancelled = std::pin::pin!(cancel.cancelled());
        let cut = loop {
            tokio::select! {
                biased;
                () = &mut exit => break None,
                () = &mut cancelled => break Some(End::Cancelled),
                () = &mut timeout => break Some(End::TimedOut),
                _ = &mut pipes, if !drained => drained = true,
            }
        };
        if cut.is_some() {
            group.send(Signal::TERM);
            // A stopped process takes in nothing but this and KILL.
            group.send(Signal::CONT);
            let asked = wait_while(&mut exit, bounds.term_grace, &mut pipes, &mut drained).await;
            if !asked {
                group.send(Signal::KILL);
                wait_while(&mut exit, KILL_WAIT, &mut pipes, &mut drained).await;
            }
        }
        cut
    };
    // The leader is a zombie, so the group's number is still its own and a signal can hit nobody else.
    if cut.is_none() && !drained {
        drained = tokio::time::timeout(bounds.eof_grace, &mut pipes).await.is_ok();
    }
    group.send(Signal::KILL);
    if !drained {
        // Whoever still holds a pipe has left the group. What it writes is not ours.
        let _ = tokio::time::timeout(bounds.eof_grace, &mut pipes).await;
    }
    cut
}

/// Waits for `exit`, at most for `limit`, while the pipes go on being read. Says whether it came.
async fn wait_while<E, P>(exit: &mut E, limit: Duration, pipes: &mut P, drained: &mut bool) -> bool
where
    E: Future<Output = ()> + Unpin,
    P: Future + Unpin,
{
    let mut limit = std::pin::pin!(tokio::time::sleep(limit));
    loop {
        tokio::select! {
            biased;
            () = &mut *exit => return true,
            () = &mut limit => return false,
            _ = &mut *pipes, if !*drained => *drained = true,
        }
    }
}

/// Collects the exit of a child that has ended (or that even KILL does not end, which is then left alone).
async fn collect(child: &mut tokio::process::Child, cut: Option<End>) -> io::Result<End> {
    match (tokio::time::timeout(KILL_WAIT, child.wait()).await, cut) {
        (_, Some(cut)) => Ok(cut),
        (Ok(status), None) => {
            let status = status?;
            Ok(status.code().map_or_else(|| End::Signalled(status.signal().unwrap_or(0)), End::Exited))
        }
        (Err(_), None) => Err(io::Error::other("its exit could not be collected")),
    }
}

/// A process group. Dropping it kills it, so that a caller who loses interest leaves nothing behind.
struct Group {
    pid: Pid,
}

impl Group {
    fn send(&self, signal: Signal) {
        // The only answer that matters is that nobody is left, and that is what was wanted.
        let _ = kill_process_group(self.pid, signal);
    }

    /// Waits until the leader has exited, without collecting it.
    async fn exit(&self, exits: &mut tokio::signal::unix::Signal) {
        loop {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            match waitid(WaitId::Pid(self.pid), options) {
                Ok(Some(_)) | Err(Errno::CHILD) => return,
                Ok(None) | Err(_) => {}
            }
            if exits.recv().await.is_none() {
                return;
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Once the leader is collected, its number may be somebody else's.
        if waitid(WaitId::Pid(self.pid), options).is_ok() {
            self.send(Signal::KILL);
        }
    }
}

fn spawn(spec: &Spec, program: &Path) -> io::Result<tokio::process::Child> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes of our own")]
    let mut command = tokio::process::Command::new(program);
    command
        .arg0(&spec.argv[0])
        .args(&spec.argv[1..])
        .current_dir(&spec.cwd)
        .env_clear()
        .envs(&spec.env)
        .stdin(if spec.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command.spawn()
}
