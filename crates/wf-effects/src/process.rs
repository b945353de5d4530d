//! The one place that starts child processes.
//!
//! A child gets an argv (never a shell), a directory, exactly the environment that the caller gives, and a process
//! group of its own. Both output streams are read at once and kept within bounds. However it ends, its whole group is
//! killed and its exit is collected, so nothing it started in its group outlives the call; a descendant that holds a
//! pipe open cannot hold the caller up.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process_group, setrlimit, waitid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use crate::contract::CancelToken;

/// How much of a stream's end is shown in values and evidence.
pub const TAIL_BYTES_MAX: usize = 8 << 10;
/// How much of a stream is kept to become a blob; what comes after is counted and dropped.
pub const KEPT_BYTES_MAX: usize = 8 << 20;
/// Longest line handed to a [`LineSink`]; longer ones come in pieces.
pub const LINE_BYTES_MAX: usize = 8 << 10;
/// Between asking a group to end and ending it.
pub const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long the pipes of a process that has exited are waited for.
pub const EOF_GRACE: Duration = Duration::from_millis(250);
/// A killed process that has not exited by then is left to the operating system.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// Size of one read.
const READ_BYTES: usize = 16 << 10;

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Program and arguments. A program without `/` is looked up in `PATH` of `env`.
    pub argv: Vec<String>,
    /// Where it runs.
    pub cwd: PathBuf,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// What it reads; none is nothing.
    pub stdin: Option<Vec<u8>>,
    /// Its bounds.
    pub bounds: Bounds,
}

/// The bounds of a child.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most time it may take.
    pub timeout: Duration,
    /// Between asking its group to end and ending it.
    pub term_grace: Duration,
    /// How long its pipes are waited for after its exit.
    pub eof_grace: Duration,
    /// How much of each stream is kept.
    pub kept_bytes_max: usize,
    /// How much of the end of each stream is kept apart.
    pub tail_bytes_max: usize,
}

impl Bounds {
    /// The usual bounds with this timeout.
    pub fn with_timeout(timeout: Duration) -> Self {
        Self {
            timeout,
            term_grace: TERM_GRACE,
            eof_grace: EOF_GRACE,
            kept_bytes_max: KEPT_BYTES_MAX,
            tail_bytes_max: TAIL_BYTES_MAX,
        }
    }
}

/// Which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Its name in traces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Gets lines (without their ends) as they come.
pub type LineSink<'a> = dyn Fn(Stream, &str) + Send + Sync + 'a;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal, which was not ours.
    Signalled(i32),
    /// It took too long.
    TimedOut,
    /// That was asked for.
    Cancelled,
}

impl End {
    /// The exit code, with 128 added to a signal's number as shells do; none when we ended it.
    pub fn exit_code(self) -> Option<i32> {
        match self {
            Self::Exited(code) => Some(code),
            Self::Signalled(signal) => Some(128 + signal),
            Self::TimedOut | Self::Cancelled => None,
        }
    }
}

/// A child that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How.
    pub end: End,
    /// What it wrote.
    pub stdout: Captured,
    /// What it wrote to standard error.
    pub stderr: Captured,
}

/// Why there is no child.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is nothing to run.
    #[error("there is no program to run")]
    Empty,
    /// There is no such program.
    #[error("program {0:?} was not found")]
    NotFound(String),
    /// It is not an executable file.
    #[error("{0:?} is not an executable file")]
    NotExecutable(String),
    /// Its directory does not exist.
    #[error("{0:?} is not a directory")]
    NoDirectory(String),
    /// An argument or variable cannot be given to a process.
    #[error("an argument or a variable holds a NUL character")]
    Nul,
    /// The operating system did not do it.
    #[error("{program:?} could not be started: {source}")]
    Os {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
}

impl SpawnError {
    /// A short stable word for a failure's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "program_missing",
            Self::NotExecutable(_) => "not_executable",
            Self::NoDirectory(_) => "cwd_missing",
            Self::Empty | Self::Nul => "argv",
            Self::Os { .. } => "spawn",
        }
    }

    /// Whether another attempt could end differently.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Os { .. })
    }
}

/// Runs a child to its end. Cancelling or running out of time ends its whole group.
///
/// # Errors
/// When it could not be started. How it ended is never an error.
pub async fn run(spec: &Spec, cancel: &CancelToken, lines: &LineSink<'_>) -> Result<Finished, SpawnError> {
    let program = resolve(spec)?;
    let os = |source| SpawnError::Os { program: spec.argv[0].clone(), source };
    // Before the child exists, so that its exit cannot be missed.
    let mut exits = signal(SignalKind::child()).map_err(os)?;
    let mut child = spawn(spec, &program).map_err(os)?;
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
    Ok(Finished { end, stdout, stderr })
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
    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes")]
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

/// The file that `argv[0]` names.
fn resolve(spec: &Spec) -> Result<PathBuf, SpawnError> {
    let name = spec.argv.first().filter(|name| !name.is_empty()).ok_or(SpawnError::Empty)?;
    let nul = |text: &String| text.contains('\0');
    if spec.argv.iter().any(nul) || spec.env.iter().any(|(key, value)| nul(key) || nul(value)) {
        return Err(SpawnError::Nul);
    }
    if !spec.cwd.is_dir() {
        return Err(SpawnError::NoDirectory(spec.cwd.display().to_string()));
    }
    if name.contains('/') {
        // Absolute names replace the directory.
        let path = spec.cwd.join(name);
        return match path.metadata() {
            Ok(found) if is_program(&found) => Ok(path),
            Ok(_) => Err(SpawnError::NotExecutable(name.clone())),
            Err(_) => Err(SpawnError::NotFound(name.clone())),
        };
    }
    let mut found = None;
    // Relative entries would let a tree's content decide what runs.
    let path = spec.env.get("PATH").map_or("", String::as_str);
    for directory in path.split(':').filter(|directory| directory.starts_with('/')) {
        let path = Path::new(directory).join(name);
        if let Ok(metadata) = path.metadata() {
            if is_program(&metadata) {
                return Ok(path);
            }
            found = Some(path);
        }
    }
    match found {
        Some(path) => Err(SpawnError::NotExecutable(path.display().to_string())),
        None => Err(SpawnError::NotFound(name.clone())),
    }
}

fn is_program(metadata: &std::fs::Metadata) -> bool {
    metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
}

async fn feed(stdin: Option<tokio::process::ChildStdin>, bytes: Option<&[u8]>) {
    if let (Some(mut stdin), Some(bytes)) = (stdin, bytes) {
        // A child that reads no further is free not to.
        let _ = stdin.write_all(bytes).await;
    }
}

async fn drain<R: AsyncRead + Unpin>(pipe: Option<R>, captured: &mut Captured, stream: Stream, lines: &LineSink<'_>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; READ_BYTES];
    let mut line = Line::default();
    // An error on a pipe is its end.
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        captured.take(&buffer[..count]);
        line.take(&buffer[..count], &|text| lines(stream, text));
    }
    line.finish(&|text| lines(stream, text));
}

/// Cuts a stream into lines.
#[derive(Default)]
struct Line {
    pending: Vec<u8>,
}

impl Line {
    fn take(&mut self, bytes: &[u8], sink: &dyn Fn(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(LINE_BYTES_MAX) {
                if self.pending.len() + part.len() > LINE_BYTES_MAX {
                    self.finish(sink);
                }
                self.pending.extend_from_slice(part);
            }
            if piece.ends_with(b"\n") {
                self.pending.pop();
                let text = String::from_utf8_lossy(&self.pending);
                sink(text.strip_suffix('\r').unwrap_or(&text));
                self.pending.clear();
            }
        }
    }

    fn finish(&mut self, sink: &dyn Fn(&str)) {
        if !self.pending.is_empty() {
            sink(&String::from_utf8_lossy(&self.pending));
            self.pending.clear();
        }
    }
}

/// What a child wrote to one stream, within bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    kept: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
    kept_bytes_max: usize,
    tail_bytes_max: usize,
}

impl Captured {
    fn new(bounds: &Bounds) -> Self {
        Self { kept_bytes_max: bounds.kept_bytes_max, tail_bytes_max: bounds.tail_bytes_max, ..Self::default() }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = self.kept_bytes_max - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.tail.extend(&bytes[bytes.len().saturating_sub(self.tail_bytes_max)..]);
        let excess = self.tail.len().saturating_sub(self.tail_bytes_max);
        self.tail.drain(..excess);
    }

    /// How many bytes came.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many bytes came after what is kept.
    pub fn dropped(&self) -> u64 {
        self.total - self.kept.len() as u64
    }

    /// Whether [`Captured::tail`] is not all of it.
    pub fn is_cut(&self) -> bool {
        self.total > self.tail.len() as u64
    }

    /// The first bytes, exactly as they came.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// The end, for people: at most the tail's bound, from a line's beginning where there is one, after a line that
    /// says how much is missing. What is not UTF-8 is shown as a replacement character.
    pub fn tail(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        if !self.is_cut() {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        let line = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1).filter(|at| *at < bytes.len());
        // Without a line's beginning, at least a character's.
        let character = bytes.iter().position(|byte| byte & 0xC0 != 0x80).unwrap_or(0);
        let shown = &bytes[line.unwrap_or(character)..];
        let before = self.total - shown.len() as u64;
        format!("[{before} bytes before this]\n{}", String::from_utf8_lossy(shown))
    }

    /// What becomes a blob: exact up to the bound, then a marker that says how much was dropped.
    pub fn into_blob(self) -> Vec<u8> {
        let dropped = self.dropped();
        let mut bytes = self.kept;
        if dropped > 0 {
            bytes.extend_from_slice(format!("\n[{dropped} bytes dropped]\n").as_bytes());
        }
        bytes
    }
}

/// A child of our own: this program again, which limits itself before it reads anything.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// Its executable file.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// What it reads.
    pub stdin: Vec<u8>,
    /// The most time it may take.
    pub timeout: Duration,
    /// The most it may write to each stream.
    pub output_bytes_max: usize,
}

/// Runs a child of our own in `/`, with an empty environment.
///
/// # Errors
/// When it could not be started.
pub async fn run_child(spec: ChildSpec, cancel: &CancelToken) -> Result<Finished, SpawnError> {
    let mut argv = vec![spec.program.display().to_string()];
    argv.extend(spec.args);
    let bounds = Bounds {
        kept_bytes_max: spec.output_bytes_max,
        // Nothing is gained by asking a child of our own.
        term_grace: Duration::ZERO,
        ..Bounds::with_timeout(spec.timeout)
    };
    let spec = Spec { argv, cwd: PathBuf::from("/"), env: BTreeMap::new(), stdin: Some(spec.stdin), bounds };
    run(&spec, cancel, &|_, _| {}).await
}

/// Starts this program again in a process group of its own, to go on when this process is gone. It reads nothing and
/// writes into `log`. Answers with its process id.
///
/// # Errors
/// When it could not be started.
pub fn spawn_apart(
    program: &Path,
    args: &[String],
    cwd: &Path,
    env: &BTreeMap<String, String>,
    log: std::fs::File,
) -> io::Result<u32> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes")]
    let mut command = std::process::Command::new(program);
    command.args(args).current_dir(cwd).env_clear().envs(env).stdin(Stdio::null()).process_group(0);
    command.stdout(log.try_clone()?).stderr(log);
    Ok(command.spawn()?.id())
}

/// What a child of our own may use.
#[derive(Clone, Copy, Debug)]
pub struct ChildLimits {
    /// Bytes of address space.
    pub address_space_bytes: u64,
    /// Seconds of processor time.
    pub cpu_secs: u64,
    /// Largest file it may write, in bytes.
    pub file_bytes: u64,
    /// Open files, the three streams included.
    pub open_files: u64,
}

/// Limits the calling process, for good. A child of our own calls it first of all.
///
/// # Errors
/// When the operating system refuses; then the child must not go on.
pub fn limit_self(limits: &ChildLimits) -> io::Result<()> {
    let set = |resource, limit| setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) });
    set(Resource::Core, 0)?;
    // At the lower one the process gets a signal that says why it ends, at the higher one it ends for certain.
    setrlimit(Resource::Cpu, Rlimit { current: Some(limits.cpu_secs), maximum: Some(limits.cpu_secs + 1) })?;
    set(Resource::Fsize, limits.file_bytes)?;
    set(Resource::Nofile, limits.open_files)?;
    set(Resource::As, limits.address_space_bytes)?;
    Ok(())
}
