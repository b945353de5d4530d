//! The one place that starts child processes.
//!
//! A child gets an argv (never a shell), a directory, and exactly the environment that the caller gives. Both output
//! streams are read at once and kept within bounds; a descendant that holds a pipe open cannot hold the caller up.
//! However it ends, nothing of it is left: a command runs below a supervisor, which is this program again, and which
//! ends every process below itself, also when this process is killed. A child of our own starts nothing, so the end of
//! its process group is enough.

mod bare;
mod capture;
pub(crate) mod known;
mod own;
mod protocol;
mod supervised;
mod supervisor;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use crate::contract::CancelToken;
use crate::sandbox::{Policy, Stage};
pub use capture::Captured;
pub use known::leave_no_orphans;
pub use own::{ChildLimits, ChildSpec, limit_self, run_at_terminal, run_child, spawn_apart};
pub use supervisor::{SUPERVISE_CHILD, supervise};

/// How much of a stream's end is shown in values and evidence.
pub const TAIL_BYTES_MAX: usize = 8 << 10;
/// How much of a stream is kept to become a blob; what comes after is counted and dropped.
pub const KEPT_BYTES_MAX: usize = 8 << 20;
/// Longest line handed to a [`LineSink`]; longer ones come in pieces.
pub const LINE_BYTES_MAX: usize = 8 << 10;
/// Between asking a child to end and ending it.
pub const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long the pipes of a process that has exited are waited for.
pub const EOF_GRACE: Duration = Duration::from_millis(250);
/// How long a machine may take to show that it has a sandbox.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// A killed process that has not exited by then is left to the operating system.
const KILL_WAIT: Duration = Duration::from_secs(10);

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
    /// The program of its supervisor: this one, which then calls [`supervise`] for the subcommand [`SUPERVISE_CHILD`].
    /// None is for children of our own, which start nothing.
    pub supervisor: Option<PathBuf>,
    /// The sandbox that it runs in. It needs a supervisor; none is for children of our own, and where somebody has
    /// switched it off.
    pub sandbox: Option<Policy>,
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
    /// How many processes are left that even KILL did not end, or that belong to somebody else.
    pub left: u32,
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
    /// There is no sandbox for it.
    #[error("there is no sandbox for it ({stage}: {source})")]
    Sandbox {
        /// What stood in the way.
        stage: Stage,
        /// What the operating system said.
        source: io::Error,
    },
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
            Self::Sandbox { .. } => "sandbox",
            Self::Os { .. } => "spawn",
        }
    }

    /// Whether another attempt could end differently.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Os { .. } => true,
            Self::Sandbox { source, .. } => lacks_descriptors(source),
            _ => false,
        }
    }
}

/// Whether an error says that this process, or the machine, has as many files open as it may.
pub fn lacks_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Runs a child to its end. Cancelling or running out of time ends it, with everything that it started.
///
/// # Errors
/// When it could not be started. How it ended is never an error.
pub async fn run(spec: &Spec, cancel: &CancelToken, lines: &LineSink<'_>) -> Result<Finished, SpawnError> {
    let program = resolve(spec)?;
    match &spec.supervisor {
        Some(supervisor) => supervised::run(spec, &program, supervisor, cancel, lines).await,
        None if spec.sandbox.is_some() => {
            Err(SpawnError::Sandbox { stage: Stage::Lost, source: io::Error::other("it needs a supervisor") })
        }
        None => bare::run(spec, &program, cancel, lines).await,
    }
}

/// Both ends of a conversation with a command.
#[derive(Debug)]
pub struct Pipes {
    /// What it reads.
    pub stdin: tokio::net::unix::pipe::Sender,
    /// What it writes.
    pub stdout: tokio::process::ChildStdout,
}

/// Runs a command below a supervisor and talks to it. When `talk` has ended, so has the command, after a moment; when the
/// command ends first, `talk` sees that its streams do. Nothing comes of `talk` where time ran out.
///
/// Of its standard output nothing is kept; `talk` alone has it, and sees to its own bounds.
///
/// # Errors
/// When the command could not be started, or there is no supervisor for it.
pub async fn converse<T, F>(
    spec: &Spec,
    lines: &LineSink<'_>,
    talk: impl FnOnce(Pipes) -> F,
) -> Result<(Finished, Option<T>), SpawnError>
where
    F: Future<Output = T>,
{
    let program = resolve(spec)?;
    let Some(supervisor) = &spec.supervisor else {
        return Err(SpawnError::Os {
            program: spec.argv[0].clone(),
            source: io::Error::other("it needs a supervisor"),
        });
    };
    let spec = Spec { stdin: Some(Vec::new()), ..spec.clone() };
    supervised::converse(&spec, &program, supervisor, lines, talk).await
}

/// Tries whether a sandbox can be made on this machine.
///
/// # Errors
/// When it cannot, with what stands in the way.
pub async fn probe(supervisor: &Path, policy: Policy) -> Result<(), SpawnError> {
    let spec = Spec {
        argv: Vec::new(),
        cwd: PathBuf::from("/"),
        env: BTreeMap::new(),
        stdin: None,
        bounds: Bounds::with_timeout(PROBE_TIMEOUT),
        supervisor: None,
        sandbox: Some(policy),
    };
    let finished = supervised::run(&spec, Path::new("/"), supervisor, &CancelToken::default(), &|_, _| {}).await?;
    match finished.end {
        End::Exited(0) => Ok(()),
        End::Exited(_) | End::Signalled(_) | End::TimedOut | End::Cancelled => {
            Err(SpawnError::Sandbox { stage: Stage::Lost, source: io::Error::other("it did not answer") })
        }
    }
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
        return match path.exists() {
            true if is_program(&path) => Ok(path),
            true => Err(SpawnError::NotExecutable(name.clone())),
            false => Err(SpawnError::NotFound(name.clone())),
        };
    }
    let path = spec.env.get("PATH").map_or("", String::as_str);
    find_program(path, name).ok_or_else(|| match places_of(path, name).filter(|place| place.exists()).last() {
        Some(place) => SpawnError::NotExecutable(place.display().to_string()),
        None => SpawnError::NotFound(name.clone()),
    })
}

/// The first program of this name in the directories of `path`, as in `PATH`.
pub fn find_program(path: &str, name: &str) -> Option<PathBuf> {
    places_of(path, name).find(|place| is_program(place))
}

/// Where a program may be. Relative directories are passed over: they would let a tree's content decide what runs.
fn places_of<'a>(path: &'a str, name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    path.split(':').filter(|dir| dir.starts_with('/')).map(move |dir| Path::new(dir).join(name))
}

/// Whether there is a file that can be run.
pub fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
