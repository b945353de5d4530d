//! A command that may start whatever it likes: it runs below a supervisor, and nothing of it is left afterwards.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Sender;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;

use super::capture::{Captured, drain, feed};
use super::known::{self, Known, adopt_orphans, end_orphans};
use super::protocol::{ASK, KILL, Order, Report, order_bytes, send_fds};
use super::{Bounds, End, Finished, LineSink, Pipes, SUPERVISE_CHILD, SpawnError, Spec, Stream};
use crate::contract::CancelToken;
use crate::sandbox::proxy::Proxy;
use crate::sandbox::{Policy, Stage};

/// How long a supervisor may take to take its order in.
const ORDER_WAIT: Duration = Duration::from_secs(30);
/// How long it may take to end everything, once it is told to: a little longer than it tries.
const OVER_WAIT: Duration = Duration::from_millis(1_500);
/// How long a command may take to end by itself once the conversation with it is over.
const FAREWELL_WAIT: Duration = Duration::from_millis(500);
/// How long the exit of a supervisor is waited for that has nothing more to do.
const EXIT_WAIT: Duration = Duration::from_secs(1);

/// Runs a command below a supervisor. Cancelling or running out of time ends it and everything that it started.
pub(super) async fn run(
    spec: &Spec,
    program: &Path,
    supervisor: &Path,
    cancel: &CancelToken,
    lines: &LineSink<'_>,
) -> Result<Finished, SpawnError> {
    let (mut link, mut child, stdin) = begin(spec, program, supervisor).await?;
    let _proxy = link.proxy.take();
    let mut stdout = Captured::new(&spec.bounds);
    let mut stderr = Captured::new(&spec.bounds);
    let over = {
        let stdin = feed(stdin, spec.stdin.as_deref());
        let out = drain(child.stdout.take(), &mut stdout, Stream::Stdout, lines);
        let err = drain(child.stderr.take(), &mut stderr, Stream::Stderr, lines);
        let pipes = async { tokio::join!(stdin, out, err) };
        let interrupted = async {
            tokio::select! {
                biased;
                () = cancel.cancelled() => End::Cancelled,
                () = tokio::time::sleep(spec.bounds.timeout) => End::TimedOut,
            }
        };
        Box::pin(tend(&spec.bounds, interrupted, &mut link, &mut child, pipes)).await
    };
    finish(spec, &link, over, stdout, stderr)
}

/// Runs a command and talks to it: `talk` has both ends, and its end is the command's. Who lets `talk` go on for ever is
/// stopped by the timeout.
pub(super) async fn converse<T, F>(
    spec: &Spec,
    program: &Path,
    supervisor: &Path,
    lines: &LineSink<'_>,
    talk: impl FnOnce(Pipes) -> F,
) -> Result<(Finished, Option<T>), SpawnError>
where
    F: Future<Output = T>,
{
    let (mut link, mut child, stdin) = begin(spec, program, supervisor).await?;
    let _proxy = link.proxy.take();
    let mut stderr = Captured::new(&spec.bounds);
    let mut said = None;
    let done = CancelToken::default();
    let over = {
        let (Some(stdin), Some(stdout)) = (stdin, child.stdout.take()) else {
            let source = io::Error::other("it has no streams");
            return Err(SpawnError::Os { program: program.display().to_string(), source });
        };
        let talking = async {
            said = Some(talk(Pipes { stdin, stdout }).await);
            done.cancel();
        };
        let err = drain(child.stderr.take(), &mut stderr, Stream::Stderr, lines);
        let pipes = async { tokio::join!(talking, err) };
        let interrupted = async {
            let farewell = async {
                done.cancelled().await;
                // Its input has ended, which is how most know that they are to end.
                tokio::time::sleep(FAREWELL_WAIT).await;
            };
            tokio::select! {
                biased;
                () = farewell => End::Cancelled,
                () = tokio::time::sleep(spec.bounds.timeout) => End::TimedOut,
            }
        };
        Box::pin(tend(&spec.bounds, interrupted, &mut link, &mut child, pipes)).await
    };
    Ok((finish(spec, &link, over, Captured::default(), stderr)?, said))
}

/// Starts a supervisor and gives it its order.
async fn begin(spec: &Spec, program: &Path, supervisor: &Path) -> Result<(Link, Child, Option<Sender>), SpawnError> {
    let os = |source| SpawnError::Os { program: spec.argv.first().cloned().unwrap_or_default(), source };
    adopt_orphans();
    let (mut link, child, stdin) = spawn(spec, supervisor).map_err(os)?;
    // One that does not take its order in is seen as one that is gone.
    let _ = tokio::time::timeout(ORDER_WAIT, link.order(spec, program)).await;
    Ok((link, child, stdin))
}

/// How a command has ended that was seen to its end.
fn finish(spec: &Spec, link: &Link, over: Tended, stdout: Captured, stderr: Captured) -> Result<Finished, SpawnError> {
    let os = |source| SpawnError::Os { program: spec.argv.first().cloned().unwrap_or_default(), source };
    match link.start {
        // A command that was cancelled before it was there has been cancelled.
        Start::Waiting if over.cut.is_none() => Err(os(io::Error::other("its supervisor has ended"))),
        Start::Refused(reason) => Err(os(io::Error::from_raw_os_error(reason))),
        Start::Unsafe(stage, reason) => {
            Err(SpawnError::Sandbox { stage, source: io::Error::from_raw_os_error(reason) })
        }
        Start::Waiting | Start::Done => {
            let end = over.cut.or(over.end).unwrap_or(End::Signalled(Signal::KILL.as_raw()));
            Ok(Finished { end, stdout, stderr, left: over.left })
        }
    }
}

/// How a command was seen to its end.
struct Tended {
    /// Whether it was us who ended it.
    cut: Option<End>,
    /// How it ended; nothing if its supervisor died before it could say so.
    end: Option<End>,
    /// How many processes are left that could not be ended.
    left: u32,
}

/// Waits for the end of the program and of its pipes, ends it when it takes too long, and has everything that it started
/// ended in any case.
async fn tend<F: Future>(
    bounds: &Bounds,
    interrupted: impl Future<Output = End>,
    link: &mut Link,
    child: &mut Child,
    pipes: F,
) -> Tended {
    let mut pipes = std::pin::pin!(pipes);
    let mut drained = false;
    let cut = link.hear(interrupted, &mut pipes, &mut drained, Link::has_ended).await;
    if cut.is_some() {
        link.tell(ASK).await;
        link.hear(tokio::time::sleep(bounds.term_grace), &mut pipes, &mut drained, Link::has_ended).await;
    } else if !drained {
        drained = tokio::time::timeout(bounds.eof_grace, &mut pipes).await.is_ok();
    }
    link.tell(KILL).await;
    link.hear(tokio::time::sleep(OVER_WAIT), &mut pipes, &mut drained, Link::is_over).await;
    let mut left = link.left;
    if left != Some(0) {
        // Something has killed or stopped the supervisor. What was below it is now below this process.
        let _ = child.start_kill();
        let _ = tokio::time::timeout(EXIT_WAIT, child.wait()).await;
        left = Some(end_orphans().await);
    }
    let _ = tokio::time::timeout(EXIT_WAIT, child.wait()).await;
    if !drained {
        let _ = tokio::time::timeout(bounds.eof_grace, &mut pipes).await;
    }
    Tended { cut, end: link.end, left: left.unwrap_or(0) }
}

/// The line to a supervisor. Its end is the supervisor's sign to end everything.
struct Link {
    asks: OwnedWriteHalf,
    reports: Lines<BufReader<OwnedReadHalf>>,
    pid: Option<Pid>,
    start: Start,
    end: Option<End>,
    left: Option<u32>,
    is_lost: bool,
    /// Lets the program reach whom it may.
    proxy: Option<Proxy>,
    _known: Known,
}

/// Whether the program was started.
#[derive(Clone, Copy)]
enum Start {
    /// Nothing was said of it.
    Waiting,
    Done,
    /// Not, for this reason of the operating system.
    Refused(i32),
    /// Not, because there is no sandbox for it.
    Unsafe(Stage, i32),
}

impl Link {
    /// Gives the order.
    async fn order(&mut self, spec: &Spec, program: &Path) -> io::Result<()> {
        let order = Order {
            program: program.to_owned(),
            argv: spec.argv.clone(),
            cwd: spec.cwd.clone(),
            env: spec.env.clone(),
            has_stdin: spec.stdin.is_some(),
            sandbox: spec.sandbox.clone(),
        };
        self.asks.write_all(&order_bytes(&order)?).await
    }

    /// What the supervisor says next; nothing once it is gone.
    async fn next(&mut self) -> Option<Report> {
        self.reports.next_line().await.ok().flatten().and_then(|line| Report::parse(&line))
    }

    async fn tell(&mut self, ask: u8) {
        // The program may have stopped it.
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, Signal::CONT);
        }
        // One that is gone is seen by what it says no more.
        let _ = self.asks.write_u8(ask).await;
    }

    /// Listens, while the pipes go on being read, until `enough`, or nobody is there any more, or `stop` has come, which
    /// it then gives.
    async fn hear<S: Future, P: Future + Unpin>(
        &mut self,
        stop: S,
        pipes: &mut P,
        drained: &mut bool,
        enough: fn(&Self) -> bool,
    ) -> Option<S::Output> {
        let mut stop = std::pin::pin!(stop);
        while !enough(self) && !self.is_lost {
            tokio::select! {
                biased;
                report = self.next() => match report {
                    Some(Report::Exited(code)) => self.end = Some(End::Exited(code)),
                    Some(Report::Signalled(signal)) => self.end = Some(End::Signalled(signal)),
                    Some(Report::Over(left)) => self.left = Some(left),
                    Some(Report::Started) => self.start = Start::Done,
                    Some(Report::NotStarted(reason)) => {
                        self.start = Start::Refused(reason);
                        self.left = Some(0);
                        self.is_lost = true;
                    }
                    Some(Report::NoSandbox(stage, reason)) => {
                        self.start = Start::Unsafe(stage, reason);
                        self.left = Some(0);
                        self.is_lost = true;
                    }
                    None => self.is_lost = true,
                },
                stopped = &mut stop => return Some(stopped),
                _ = &mut *pipes, if !*drained => *drained = true,
            }
        }
        None
    }

    fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    fn is_over(&self) -> bool {
        self.left.is_some()
    }
}

/// Starts a supervisor that waits for its order.
fn spawn(spec: &Spec, supervisor: &Path) -> io::Result<(Link, Child, Option<Sender>)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts supervisors")]
    let mut command = tokio::process::Command::new(supervisor);
    command
        .arg(SUPERVISE_CHILD)
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // It is not killed with this value: it ends by itself when its socket does, and everything below it first.
    let (child, known) = known::started(|| command.spawn(), Child::id)?;
    let mut fds = Vec::new();
    let mut stdin = None;
    if spec.stdin.is_some() {
        let (theirs, ours) = io::pipe()?;
        fds.push(OwnedFd::from(theirs));
        stdin = Some(Sender::from_owned_fd(ours.into())?);
    }
    let mut proxy = None;
    if let Some(rules) = spec.sandbox.as_ref().map(Policy::network).filter(|rules| !rules.is_empty()) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        fds.push(theirs.into());
        proxy = Some(Proxy::start(ours, rules.to_vec())?);
    }
    send_fds(&ours, &fds)?;
    drop(fds);
    ours.set_nonblocking(true)?;
    let (reports, asks) = UnixStream::from_std(ours)?.into_split();
    let reports = BufReader::new(reports).lines();
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let start = Start::Waiting;
    Ok((Link { asks, reports, pid, start, end: None, left: None, is_lost: false, proxy, _known: known }, child, stdin))
}
