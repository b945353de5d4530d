//! Children that are this program again: those that limit themselves, and those that go on alone.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::{Bounds, Finished, SpawnError, Spec, known, run};
use crate::contract::CancelToken;
use crate::secret::Secret;

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
    let spec = Spec {
        argv,
        cwd: PathBuf::from("/"),
        env: BTreeMap::new(),
        stdin: Some(spec.stdin),
        bounds,
        supervisor: None,
        sandbox: None,
    };
    run(&spec, cancel, &|_, _| {}).await
}

/// Starts this program again in a process group of its own, to go on when this process is gone. It reads `handed` and
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
    handed: Option<&Secret>,
) -> io::Result<u32> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes")]
    let mut command = std::process::Command::new(program);
    let stdin = if handed.is_some() { Stdio::piped() } else { Stdio::null() };
    command.args(args).current_dir(cwd).env_clear().envs(env).stdin(stdin).process_group(0);
    command.stdout(log.try_clone()?).stderr(log);
    let (mut child, known) = known::started(|| command.spawn(), |child| Some(child.id()))?;
    // It goes on after this process, so it stays known for as long as this process lives.
    std::mem::forget(known);
    if let (Some(handed), Some(mut stdin)) = (handed, child.stdin.take()) {
        stdin.write_all(handed.expose().as_bytes())?;
    }
    Ok(child.id())
}

/// Runs what a person asked for at their terminal, with its three streams, and waits for its end. Answers with the exit
/// code; -1 after a signal.
///
/// # Errors
/// When it could not be started.
pub fn run_at_terminal(program: &Path, cwd: &Path, env: &BTreeMap<String, String>) -> io::Result<i32> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts a person's own shell")]
    let mut command = std::process::Command::new(program);
    Ok(command.current_dir(cwd).env_clear().envs(env).status()?.code().unwrap_or(-1))
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
