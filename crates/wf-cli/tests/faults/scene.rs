//! Where a case takes place: a directory to work in, state, a ledger outside of both, and the program run there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

use crate::work::Work;

/// How long a program may take before it counts as one that hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// One place; it goes away with the value, and so does every process that works in it.
pub(crate) struct Scene {
    root: PathBuf,
    _temp: Option<TempDir>,
    work: &'static Work,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A case that fails leaves workers, which would wait for work for ever.
        for process in processes(&self.root.to_string_lossy()) {
            let _ = kill_process(process.id, Signal::KILL);
        }
    }
}

/// A process of the machine.
pub(crate) struct Process {
    id: Pid,
    /// Its command line.
    pub(crate) command: String,
}

/// The processes that name a directory in their command line, or work in it.
pub(crate) fn processes(root: &str) -> Vec<Process> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let dir = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if command.contains(root) || dir.starts_with(root) {
            found.push(Process { id, command });
        }
    }
    found
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// None when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The last line that it printed, as JSON.
    pub(crate) fn json(&self) -> Value {
        let line = self.out.lines().last().unwrap_or_else(|| panic!("nothing was printed: {self:?}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same, of a program that ended well.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self.json()
    }
}

impl Scene {
    /// A place with the sources of `work` in it, and no state yet.
    pub(crate) fn new(work: &'static Work) -> Self {
        let temp = tempfile::Builder::new().prefix("wf-faults-").tempdir().unwrap();
        let root = std::fs::canonicalize(temp.path()).unwrap();
        let mut scene = Self::at(work, &root);
        scene._temp = Some(temp);
        scene
    }

    /// The same at `root`, where it stays.
    pub(crate) fn at(work: &'static Work, root: &Path) -> Self {
        let scene = Self { root: root.to_owned(), _temp: None, work };
        for (name, text) in work.files {
            let path = scene.dir().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        scene
    }

    /// All of it.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory to work in.
    pub(crate) fn dir(&self) -> PathBuf {
        self.root().join("work")
    }

    /// Where state is.
    pub(crate) fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// Where commands of the workflow write that they ran.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.root().join("ledger")
    }

    /// A file beside all that.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// What is run here.
    pub(crate) fn work(&self) -> &'static Work {
        self.work
    }

    /// Forgets state and ledger.
    pub(crate) fn clear(&self) {
        for path in [self.home(), self.ledger()] {
            let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            assert!(gone.is_ok() || !path.exists(), "{path:?}: {gone:?}");
        }
    }

    /// The arguments that run the workflow.
    pub(crate) fn start_args(&self) -> Vec<String> {
        let ledger = format!("ledger={}", self.ledger().display());
        // Leaves tell outside of their trees that they ran, which a sandbox would keep them from.
        ["run", self.work.source, "--sandbox=off", "-i", &ledger].map(str::to_owned).to_vec()
    }

    /// A program to be started here, in a process group of its own.
    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(&self, program: &str, args: &[S]) -> Command {
        use std::os::unix::process::CommandExt;
        #[expect(clippy::disallowed_methods, reason = "the harnesses run the program from outside")]
        let mut command = Command::new(program);
        let path = std::env::vars_os().find(|(name, _)| name == "PATH").unwrap().1;
        command.args(args).current_dir(self.dir()).env_clear().env("PATH", path).env("USER", "ann");
        command.env("WHALEFLOW_HOME", self.home()).env("HOME", self.root()).env("TMPDIR", self.root());
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// The built program, to be started here.
    pub(crate) fn program<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Command {
        self.command(env!("CARGO_BIN_EXE_whaleflow"), args)
    }

    /// Runs the program.
    pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Ran {
        to_end(&mut self.program(args))
    }

    /// Runs the workflow from its beginning.
    pub(crate) fn start(&self) -> Ran {
        self.run(&self.start_json())
    }

    /// The arguments that run the workflow and print one object.
    pub(crate) fn start_json(&self) -> Vec<String> {
        let mut args = self.start_args();
        args.push("--json".to_owned());
        args
    }
}

/// Runs a program to its end.
pub(crate) fn to_end(command: &mut Command) -> Ran {
    let shown = format!("{command:?}");
    of_output(patiently(spawn(command), &shown, Child::wait_with_output))
}

/// The same, and kills its process group when `is_enough`.
pub(crate) fn to_end_unless(command: &mut Command, is_enough: impl Fn() -> bool) -> Ran {
    let shown = format!("{command:?}");
    let child = spawn(command);
    let group = group_of(&child);
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| patiently(child, &shown, Child::wait_with_output));
        while !ended.is_finished() {
            if is_enough() {
                let _ = kill_process_group(group, Signal::KILL);
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        of_output(ended.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn spawn(command: &mut Command) -> Child {
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// A program of [`Scene::command`] leads a group.
fn group_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

fn of_output(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Waits for a process, and kills it when that takes too long.
pub(crate) fn patiently<T: Send + 'static>(
    child: Child,
    shown: &str,
    wait: impl FnOnce(Child) -> std::io::Result<T> + Send + 'static,
) -> T {
    let group = group_of(&child);
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = done.send(wait(child));
    });
    match ended.recv_timeout(PATIENCE) {
        Ok(ended) => ended.unwrap(),
        Err(_) => {
            let _ = kill_process_group(group, Signal::KILL);
            panic!("it hangs: {shown}");
        }
    }
}
