//! The supervisor of one command: this program again, between whoever wants the command and the command itself.
//!
//! It makes itself the parent of whatever loses its own below it, starts the program in a group of its own, says how it
//! ended, and then ends everything below itself: when it is told to, and when the other end of its socket is gone, which
//! is how it learns that whoever wanted the command has been killed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process_group, set_child_subreaper,
    set_dumpable_behavior, set_parent_process_death_signal, setsid, wait,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::protocol::{ASK, KILL, Order, Report, read_order};
use super::tree;
use crate::sandbox::jail::{self, Outside};
use crate::sandbox::{Policy, Stage};

/// The hidden subcommand of the supervisor.
pub const SUPERVISE_CHILD: &str = "supervise-child";
/// How long it tries to end everything. Who waits for it waits a little longer, see `supervised`.
const END_WAIT: Duration = Duration::from_millis(1_200);
/// How long it goes on when that was not enough. Whoever waits for it has heard that and sees to the rest itself; when
/// that one is gone, nobody else does.
const END_ALONE_WAIT: Duration = Duration::from_secs(600);
/// For how many rounds it ends what is below it without a pause: what forks quickly gives it no more time.
const QUICK_ROUNDS: u32 = 500;
/// Between two rounds after that.
const ROUND_PAUSE: Duration = Duration::from_millis(1);
/// The longest report of a first process.
const REPORT_BYTES_MAX: u64 = 256;
/// The last of the signals that a process can be sent by name.
const SIGNAL_MAX: i32 = 31;

/// Supervises one command, which is ordered through standard input. Returns once nothing is below it any more.
///
/// # Errors
/// When there is no order, or the operating system does not let it be a supervisor; then nothing was started.
pub fn supervise() -> io::Result<()> {
    // A session of its own: no process below it can then join a group that is not below it, and no terminal reaches it.
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    // The program could stop it. When its parent is gone, it goes on, and sees that.
    set_parent_process_death_signal(Some(Signal::CONT))?;
    // The program is not to look into it, nor to take its socket.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(supervise_in())
}

async fn supervise_in() -> io::Result<()> {
    // What a signal would do to it is done to everything below it, by its death. They are caught and not ignored,
    // because the program would inherit that.
    for number in 1..=SIGNAL_MAX {
        // Some cannot be caught.
        let _ = signal(SignalKind::from_raw(number));
    }
    let mut exits = signal(SignalKind::child())?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (order, fds) = read_order(&socket)?;
    socket.set_nonblocking(true)?;
    let (mut asks, mut reports) = tokio::net::UnixStream::from_std(socket)?.into_split();
    let started = start(&order, fds);
    // From here on the program alone holds its output.
    let nothing = std::fs::File::options().write(true).open("/dev/null")?;
    dup2_stdout(&nothing)?;
    dup2_stderr(&nothing)?;
    let mut below = match started {
        Ok(below) => below,
        Err(report) => return reports.write_all(report.line().as_bytes()).await,
    };
    let mut is_heard = say(&mut reports, Report::Started).await;
    let mut is_told = false;
    while is_heard {
        tokio::select! {
            ask = asks.read_u8() => match ask {
                Ok(ASK) => below.ask(),
                Ok(KILL) => break,
                Ok(_) | Err(_) => is_heard = false,
            },
            _ = exits.recv() => {
                let is_empty = below.reap();
                if let Some(end) = below.end.filter(|_| !is_told) {
                    is_told = true;
                    is_heard = say(&mut reports, end).await;
                }
                if is_empty {
                    break;
                }
            }
        }
    }
    let left = below.end_all(END_WAIT).await;
    if let Some(end) = below.end.filter(|_| !is_told) {
        say(&mut reports, end).await;
    }
    say(&mut reports, Report::Over(left)).await;
    if left > 0 {
        below.end_all(END_ALONE_WAIT).await;
    }
    Ok(())
}

/// Says whether anybody is there to hear it.
async fn say(reports: &mut tokio::net::unix::OwnedWriteHalf, report: Report) -> bool {
    reports.write_all(report.line().as_bytes()).await.is_ok()
}

fn start(order: &Order, fds: Vec<OwnedFd>) -> Result<Below, Report> {
    let mut fds = fds.into_iter();
    let stdin = if order.has_stdin { fds.next() } else { None };
    match &order.sandbox {
        Some(policy) => start_inside(order, policy, stdin, fds.next()),
        None => {
            let program = spawn(order, stdin, &[]).map_err(|error| Report::NotStarted(reason(&error)))?;
            Ok(Below { program, end: None, told: None })
        }
    }
}

fn spawn(order: &Order, stdin: Option<OwnedFd>, more: &[(String, String)]) -> io::Result<Pid> {
    let (name, args) = order.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    #[expect(clippy::disallowed_methods, reason = "a supervisor starts what it supervises")]
    let mut command = std::process::Command::new(&order.program);
    command
        .arg0(name)
        .args(args)
        .current_dir(&order.cwd)
        .env_clear()
        .envs(&order.env)
        .envs(more.iter().map(|(name, value)| (name, value)))
        .stdin(stdin.map_or_else(Stdio::null, Stdio::from));
    if order.sandbox.is_none() {
        command.process_group(0);
    }
    // Its exit is collected with all the others.
    Ok(Pid::from_child(&command.spawn()?))
}

/// Starts the first process of a sandbox, which starts the program.
fn start_inside(
    order: &Order,
    policy: &Policy,
    stdin: Option<OwnedFd>,
    listener: Option<OwnedFd>,
) -> Result<Below, Report> {
    let failed = |error: &io::Error| Report::NoSandbox(Stage::Namespaces, reason(error));
    let (told, teller) = io::pipe().map_err(|error| failed(&error))?;
    let outside = Outside::here();
    let inside = || run_inside(order, policy, outside, stdin, listener.map(UnixStream::from), &teller);
    let first = jail::enter(inside).map_err(|error| failed(&error))?;
    drop(teller);
    let mut told = io::BufReader::new(told);
    match next_report(&mut told) {
        Some(Report::Started) => Ok(Below { program: first, end: None, told: Some(told) }),
        Some(report @ (Report::NotStarted(_) | Report::NoSandbox(..))) => Err(report),
        Some(Report::Exited(_) | Report::Signalled(_) | Report::Over(_)) | None => {
            Err(Report::NoSandbox(Stage::Lost, Errno::CHILD.raw_os_error()))
        }
    }
}

/// What the first process of a sandbox does: it shuts itself in, starts the program and says how that ended.
fn run_inside(
    order: &Order,
    policy: &Policy,
    outside: Outside,
    stdin: Option<OwnedFd>,
    listener: Option<UnixStream>,
    mut teller: &io::PipeWriter,
) -> i32 {
    use std::io::Write;
    // Nobody listens any more if this fails, and then everything inside is about to end.
    let mut say = |report: Report| u8::from(teller.write_all(report.line().as_bytes()).is_err()).into();
    let more = match jail::shut_in(policy, outside, listener) {
        Ok(more) => more,
        Err((stage, error)) => return say(Report::NoSandbox(stage, reason(&error))),
    };
    if order.argv.is_empty() {
        // Only whether there is a sandbox was asked.
        return say(Report::Started) | say(Report::Exited(0));
    }
    let program = match spawn(order, stdin, &more) {
        Ok(program) => program,
        Err(error) => return say(Report::NotStarted(reason(&error))),
    };
    if let Ok(nothing) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        // The program alone holds its streams, and the supervisor alone its socket.
        let _ = (dup2_stdin(&nothing), dup2_stdout(&nothing), dup2_stderr(&nothing));
    }
    let started: i32 = say(Report::Started);
    match jail::tend(program).and_then(report) {
        Some(end) => started | say(end),
        None => 1,
    }
}

fn next_report(told: &mut io::BufReader<io::PipeReader>) -> Option<Report> {
    use std::io::{BufRead, Read};
    let mut line = String::new();
    // One that writes without an end is none of ours.
    told.take(REPORT_BYTES_MAX).read_line(&mut line).ok()?;
    Report::parse(line.trim_end())
}

fn reason(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error())
}

/// Everything below the supervisor.
struct Below {
    /// The program, or the first process of its sandbox.
    program: Pid,
    end: Option<Report>,
    /// Where the first process of a sandbox says how the program ended.
    told: Option<io::BufReader<io::PipeReader>>,
}

impl Below {
    /// Asks the program and its group to end.
    fn ask(&self) {
        // Once it is collected, its number may be somebody else's.
        if self.end.is_none() {
            // The only answer that matters is that nobody is left, and that is what is wanted.
            let _ = kill_process_group(self.program, Signal::TERM);
            // A stopped process takes in nothing but this and KILL.
            let _ = kill_process_group(self.program, Signal::CONT);
        }
    }

    /// Collects whoever has exited. Says whether nobody is left.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.program => {
                    let told = self.told.as_mut().and_then(next_report);
                    self.end = self.end.or(told).or_else(|| report(status));
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Ends all of them, or tries for `most`. Says how many are left.
    async fn end_all(&mut self, most: Duration) -> u32 {
        let ending = async {
            for round in 0u32.. {
                if self.reap() {
                    return;
                }
                tree::end(&tree::children(getpid()));
                if round < QUICK_ROUNDS {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(ROUND_PAUSE).await;
                }
            }
        };
        match tokio::time::timeout(most, ending).await {
            Ok(()) => 0,
            Err(_) => tree::children(getpid()).len() as u32,
        }
    }
}

fn report(status: WaitStatus) -> Option<Report> {
    let exited = status.exit_status().map(Report::Exited);
    exited.or_else(|| status.terminating_signal().map(Report::Signalled))
}
