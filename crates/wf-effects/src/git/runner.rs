//! One call of git: rebuilt environment, pinned directories, bounded output and time, and ended as a
//! process group.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;

use super::error::GitError;
use crate::process::known::{self, Known};
use crate::scratch::ScratchDir;

/// The oldest git that knows every variable and option used here (`GIT_CONFIG_GLOBAL` came last).
const VERSION_MIN: (u32, u32) = (2, 32);
const VERSION_MIN_TEXT: &str = "2.32";

/// What is read of git's standard output unless a call says otherwise.
const STDOUT_BYTES_MAX: usize = 64 << 20;

/// How many calls run at once for each core: some wait for the disk, and each has a process and six descriptors.
const CALLS_PER_CORE: usize = 8;

/// How long git has to remove its lock files once it was told to end.
const GRACE: Duration = Duration::from_secs(2);

/// What is kept of git's standard error: its end.
const STDERR_BYTES_MAX: usize = 4 << 10;

/// With less than this, a disk counts as full.
const FREE_BYTES_MIN: u64 = 256 << 10;

/// In force in every call, above any file. Environment entries instead of `-c`, because a key may contain `=`.
const CONFIG: [(&str, &str); 30] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    ("core.splitIndex", "false"),
    ("core.sparseCheckout", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.sshCommand", "false"),
    ("core.gitProxy", ""),
    ("core.askPass", "false"),
    ("core.editor", "false"),
    ("core.pager", "cat"),
    ("core.quotePath", "false"),
    // A ref that a record names must not lead to an object that a power loss took.
    ("core.fsync", "committed"),
    ("core.fsyncMethod", "batch"),
    // The user's own git may hold these locks for a moment.
    ("core.filesRefLockTimeout", "5000"),
    ("core.packedRefsTimeout", "5000"),
    ("safe.bareRepository", "explicit"),
    ("protocol.allow", "never"),
    ("credential.helper", ""),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("submodule.recurse", "false"),
    ("index.sparse", "false"),
    ("worktree.guessRemote", "false"),
    ("worktree.useRelativePaths", "false"),
    ("advice.detachedHead", "false"),
    // Each call has a file of grafts: an empty one.
    ("advice.graftFileDeprecated", "false"),
];

/// What git reads of a repository. One that is a pipe would keep it for ever, and a device fill its memory.
const READ_IN_COMMON_DIR: [&str; 8] =
    ["HEAD", "config", "config.worktree", "info/attributes", "info/exclude", "info/grafts", "packed-refs", "shallow"];
const READ_IN_GIT_DIR: [&str; 5] = ["HEAD", "commondir", "config.worktree", "gitdir", "index"];
const READ_IN_OBJECTS: [&str; 3] = ["info/alternates", "info/commit-graph", "pack/multi-pack-index"];

const ENVIRONMENT: [(&str, &str); 21] = [
    ("LC_ALL", "C"),
    ("TZ", "UTC"),
    ("HOME", "/nonexistent"),
    ("XDG_CONFIG_HOME", "/nonexistent"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_LITERAL_PATHSPECS", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_GRAFT_FILE", "/dev/null"),
    ("GIT_ASKPASS", "false"),
    ("GIT_EDITOR", "false"),
    ("GIT_PAGER", "cat"),
    ("GIT_AUTHOR_NAME", "whaleflow"),
    ("GIT_AUTHOR_EMAIL", "whaleflow@localhost"),
    ("GIT_COMMITTER_NAME", "whaleflow"),
    ("GIT_COMMITTER_EMAIL", "whaleflow@localhost"),
];

/// How git is run.
#[derive(Clone, Debug)]
pub struct GitOptions {
    /// The program: a path, or a name that is looked up in `path`.
    pub program: PathBuf,
    /// `PATH`, for the look-up and for git itself.
    pub path: OsString,
    /// Where each process has a directory for throw-away files. Outside of every repository.
    pub scratch_dir: PathBuf,
    /// Where the locks lie that serialise what git cannot do at once. The same for all processes of one user.
    pub locks_dir: PathBuf,
    /// How long one call of git may take.
    pub timeout: Duration,
}

/// Runs git.
#[derive(Clone)]
pub struct Git {
    inner: Arc<Inner>,
}

struct Inner {
    program: PathBuf,
    options: GitOptions,
    /// Goes with the last handle.
    scratch: ScratchDir,
    /// Held around what git cannot do at once; the lock file serialises processes, this the tasks of this one.
    worktrees: tokio::sync::Mutex<()>,
    /// Held while the files of a whole tree are written: more at once than there are cores only get in each other's way.
    checkouts: tokio::sync::Semaphore,
    /// Held by each call of git while it runs. A thousand leaves that begin at once do not start a thousand processes.
    calls: tokio::sync::Semaphore,
}

impl fmt::Debug for Git {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Git").field("program", &self.inner.program).finish_non_exhaustive()
    }
}

impl Git {
    /// Finds git and asks for its version.
    ///
    /// # Errors
    /// When there is none, when it is too old, and when the directories of `options` cannot be made.
    pub async fn open(options: GitOptions) -> Result<Self, GitError> {
        let locks = &options.locks_dir;
        std::fs::create_dir_all(locks).map_err(GitError::io("make", locks))?;
        let scratch = ScratchDir::open(&options.scratch_dir).map_err(GitError::io("make", &options.scratch_dir))?;
        let program = find_program(&options)?;
        let worktrees = tokio::sync::Mutex::new(());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let checkouts = tokio::sync::Semaphore::new(cores);
        let calls = tokio::sync::Semaphore::new(cores * CALLS_PER_CORE);
        let git = Self { inner: Arc::new(Inner { program, options, scratch, worktrees, checkouts, calls }) };
        let said = git.run(Call::new(["--version"])).await?.text();
        if version_of(&said).is_none_or(|version| version < VERSION_MIN) {
            let found = said.strip_prefix("git version ").unwrap_or(&said).to_owned();
            return Err(GitError::TooOld { found, needed: VERSION_MIN_TEXT });
        }
        Ok(git)
    }

    /// Where throw-away files of this process are made; removed with the last handle, or by the next process.
    pub fn scratch_dir(&self) -> &Path {
        self.inner.scratch.path()
    }

    pub(crate) fn locks_dir(&self) -> &Path {
        &self.inner.options.locks_dir
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.inner.options.timeout
    }

    pub(crate) fn worktrees(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.worktrees
    }

    /// Waits for the turn to write the files of a whole tree.
    pub(crate) async fn checkout_turn(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        // Nobody closes it; if somebody did, everybody's turn would be now.
        self.inner.checkouts.acquire().await.ok()
    }

    /// Runs one call to its end. Dropping the future ends git's process group.
    pub(crate) async fn run(&self, mut call: Call) -> Result<Output, GitError> {
        let limit = self.timeout();
        // A call makes no other, so whoever has its turn does not wait for another one's. Nobody closes it.
        let _turn = self.inner.calls.acquire().await.ok();
        call.check_place()?;
        let (mut child, _known) = self.spawn(&mut call)?;
        let mut group = Group { leader: child.id() };
        // Boxed, because every future above is as large as the largest below it.
        match tokio::time::timeout(limit, Box::pin(converse(&mut child, &group, &call))).await {
            Ok(Ok(spoken)) => {
                group.leader = None;
                spoken.judge(&call).map_err(|error| call.explain(error))
            }
            Ok(Err(source)) => Err(GitError::Io { action: "talk to", path: self.inner.program.clone(), source }),
            Err(_) => {
                group.signal(Signal::TERM);
                _ = tokio::time::timeout(GRACE, child.wait()).await;
                // Whatever has not listened; and what cannot be killed is not waited for.
                group.signal(Signal::KILL);
                _ = tokio::time::timeout(GRACE, child.wait()).await;
                group.leader = None;
                Err(GitError::TimedOut { command: call.name(), limit })
            }
        }
    }

    fn spawn(&self, call: &mut Call) -> Result<(Child, Known), GitError> {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that runs git")]
        let mut command = tokio::process::Command::new(&self.inner.program);
        command
            .args(&call.args)
            .env_clear()
            .env("PATH", &self.inner.options.path)
            .envs(ENVIRONMENT)
            .envs(call.env.iter().map(|(name, value)| (name, value)))
            .current_dir(call.place.as_ref().map_or(self.scratch_dir(), |place| &place.cwd))
            .stdin(call.stdin_file.take().map_or_else(Stdio::piped, Stdio::from))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut count = 0_usize;
        let mut entry = |key: &str, value: &str| {
            command.env(format!("GIT_CONFIG_KEY_{count}"), key).env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        };
        CONFIG.iter().for_each(|(key, value)| entry(key, value));
        call.config.iter().for_each(|(key, value)| entry(key, value));
        command.env("GIT_CONFIG_COUNT", count.to_string());
        if let Some(place) = &call.place {
            command
                .env("GIT_DIR", &place.git_dir)
                .env("GIT_COMMON_DIR", &place.common_dir)
                .env("GIT_WORK_TREE", &place.work_tree);
            if let Some(objects) = &place.objects {
                command.env("GIT_OBJECT_DIRECTORY", objects);
            }
        }
        known::started(|| command.spawn(), Child::id).map_err(|source| {
            let program = self.inner.program.clone();
            match source.kind() {
                ErrorKind::NotFound | ErrorKind::PermissionDenied => GitError::Absent { program, source },
                _ => GitError::Io { action: "run", path: program, source },
            }
        })
    }
}

/// Where a call works. Nothing of it is left to git's own search.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) git_dir: PathBuf,
    pub(crate) common_dir: PathBuf,
    pub(crate) work_tree: PathBuf,
    pub(crate) objects: Option<PathBuf>,
    pub(crate) cwd: PathBuf,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    args: Vec<OsString>,
    place: Option<Place>,
    env: Vec<(&'static str, OsString)>,
    config: Vec<(String, String)>,
    stdin: Vec<u8>,
    stdin_file: Option<std::fs::File>,
    stdout_max: usize,
    truncates: bool,
    codes: &'static [i32],
}

impl Call {
    pub(crate) fn new<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Self {
        Self {
            args: args.into_iter().map(|arg| arg.as_ref().to_owned()).collect(),
            place: None,
            env: Vec::new(),
            config: Vec::new(),
            stdin: Vec::new(),
            stdin_file: None,
            stdout_max: STDOUT_BYTES_MAX,
            truncates: false,
            codes: &[0],
        }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    pub(crate) fn config(mut self, entries: Vec<(String, String)>) -> Self {
        self.config.extend(entries);
        self
    }

    pub(crate) fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = bytes;
        self
    }

    /// A lock that git is to hold as well, so that it outlives this process as long as that git does.
    pub(crate) fn holding(mut self, lock: std::fs::File) -> Self {
        self.stdin_file = Some(lock);
        self
    }

    /// Output beyond `max` is cut off instead of being an error.
    pub(crate) fn truncate_at(mut self, max: usize) -> Self {
        self.stdout_max = max;
        self.truncates = true;
        self
    }

    pub(crate) fn stdout_max(mut self, max: usize) -> Self {
        self.stdout_max = max;
        self
    }

    /// Exit codes that are answers; any other is an error.
    pub(crate) fn codes(mut self, codes: &'static [i32]) -> Self {
        self.codes = codes;
        self
    }

    /// Whether what git is going to read can be read to an end.
    fn check_place(&self) -> Result<(), GitError> {
        let Some(place) = &self.place else { return Ok(()) };
        let (common, objects) = (&place.common_dir, place.objects.clone());
        let objects = objects.unwrap_or_else(|| common.join("objects"));
        let refs = self.args.iter().filter(|arg| arg.as_encoded_bytes().starts_with(b"refs/"));
        let read = READ_IN_COMMON_DIR.iter().map(|name| common.join(name));
        let read = read.chain(READ_IN_GIT_DIR.iter().map(|name| place.git_dir.join(name)));
        let read = read.chain(READ_IN_OBJECTS.iter().map(|name| objects.join(name)));
        for path in read.chain(refs.map(|name| common.join(name))) {
            // What git may not read, or is not there, it sees for itself.
            if std::fs::metadata(&path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
                return Err(GitError::tampered(&path, "it is neither a file nor a directory"));
            }
        }
        Ok(())
    }

    /// Why git failed, where that is a full disk: git itself says "unable to write" as often as not.
    fn explain(&self, error: GitError) -> GitError {
        let (GitError::Failed { command, .. }, Some(place)) = (&error, &self.place) else { return error };
        let dirs = [&place.work_tree, &place.common_dir, &place.git_dir];
        match dirs.into_iter().find(|dir| is_full(dir)) {
            Some(path) => GitError::DiskFull { command: command.clone(), path: path.clone() },
            None => error,
        }
    }

    fn name(&self) -> String {
        self.args.first().map_or_else(String::new, |arg| arg.to_string_lossy().into_owned())
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) is_truncated: bool,
    /// Whether it complained, and yet succeeded.
    pub(crate) has_warned: bool,
}

impl Output {
    /// Standard output as one trimmed text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// The fields of a `-z` output.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &[u8]> {
        self.stdout.split(|byte| *byte == 0).filter(|field| !field.is_empty())
    }
}

/// A process group that is told to end unless its leader has been waited for. Not killed at once: git removes its lock
/// files when it is told to end, and a lock file that stays is in everybody's way.
struct Group {
    leader: Option<u32>,
}

impl Group {
    fn signal(&self, signal: Signal) {
        let pid = self.leader.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may be gone already; there is nothing else to do then.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
    }
}

struct Spoken {
    stdout: Vec<u8>,
    is_truncated: bool,
    stderr: Vec<u8>,
    status: std::process::ExitStatus,
}

impl Spoken {
    fn judge(self, call: &Call) -> Result<Output, GitError> {
        if self.is_truncated {
            if !call.truncates {
                let what = format!("the output of git {} in bytes", call.name());
                return Err(GitError::TooLarge { what, max: call.stdout_max as u64 });
            }
            return Ok(Output { code: 0, stdout: self.stdout, is_truncated: true, has_warned: false });
        }
        let has_warned = !self.stderr.is_empty();
        match self.status.code() {
            Some(code) if call.codes.contains(&code) => {
                Ok(Output { code, stdout: self.stdout, is_truncated: false, has_warned })
            }
            code => Err(GitError::Failed {
                command: call.name(),
                code: code.map_or_else(|| "ended by a signal".to_owned(), |code| format!("exit {code}")),
                stderr: readable(&self.stderr),
            }),
        }
    }
}

async fn converse(child: &mut Child, group: &Group, call: &Call) -> std::io::Result<Spoken> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut pipe) = stdin {
            // A git that stops reading says why on its own; a broken pipe is not the news.
            let _ = pipe.write_all(&call.stdin).await;
        }
    };
    let (_, read, stderr) = tokio::join!(feed, read_up_to(stdout, call.stdout_max, group), read_tail(stderr));
    let (stdout, is_truncated) = read?;
    let status = child.wait().await?;
    Ok(Spoken { stdout, is_truncated, stderr: stderr?, status })
}

/// Reads to the end or to `max` bytes; what says more is told to end.
async fn read_up_to(
    pipe: Option<impl AsyncRead + Unpin>,
    max: usize,
    group: &Group,
) -> std::io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let Some(pipe) = pipe else { return Ok((bytes, false)) };
    pipe.take(max as u64 + 1).read_to_end(&mut bytes).await?;
    let is_truncated = bytes.len() > max;
    if is_truncated {
        bytes.truncate(max);
        group.signal(Signal::TERM);
    }
    Ok((bytes, is_truncated))
}

async fn read_tail(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut tail = Vec::new();
    let Some(mut pipe) = pipe else { return Ok(tail) };
    let mut chunk = vec![0_u8; STDERR_BYTES_MAX];
    loop {
        let count = pipe.read(&mut chunk).await?;
        if count == 0 {
            return Ok(tail);
        }
        tail.extend_from_slice(&chunk[..count]);
        let excess = tail.len().saturating_sub(STDERR_BYTES_MAX);
        tail.drain(..excess);
    }
}

/// Whether the disk that a directory is on has next to no room.
fn is_full(dir: &Path) -> bool {
    rustix::fs::statvfs(dir).is_ok_and(|disk| {
        let has_no_file = disk.f_files > 0 && disk.f_favail == 0;
        has_no_file || disk.f_bavail.saturating_mul(disk.f_frsize) < FREE_BYTES_MIN
    })
}

/// Text for a message: what a file name or a config could smuggle to a terminal is replaced.
fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let clean = |c: char| if c.is_control() && c != '\n' { '?' } else { c };
    text.trim().chars().map(clean).collect::<String>().replace('\n', "; ")
}

/// The absolute path of the program, so that the child is not searched for again.
fn find_program(options: &GitOptions) -> Result<PathBuf, GitError> {
    let program = &options.program;
    if program.components().count() > 1 {
        return Ok(program.clone());
    }
    let candidates = std::env::split_paths(&options.path).filter(|dir| dir.is_absolute());
    candidates.map(|dir| dir.join(program)).find(|path| path.is_file()).ok_or_else(|| GitError::Absent {
        program: program.clone(),
        source: std::io::Error::new(std::io::ErrorKind::NotFound, "not on PATH"),
    })
}

fn version_of(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("git version ")?.split(['.', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_git_says() {
        assert_eq!(version_of("git version 2.47.3"), Some((2, 47)));
        assert_eq!(version_of("git version 2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(version_of("git version 2.52.0.windows.1"), Some((2, 52)));
        assert_eq!(version_of("gut 2.1"), None);
    }

    #[test]
    fn control_characters_do_not_reach_a_message() {
        assert_eq!(readable(b"fatal: \x1b[31mno\nhint: b\n"), "fatal: ?[31mno; hint: b");
    }
}
