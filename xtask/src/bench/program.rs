//! The program under measurement: builds it, runs it, and understands what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde::Deserialize;

use super::PEAK_MEMORY;
use super::measure::timed;
use crate::workspace::{cargo, command, output};

/// Where the workflow is that the figures are about.
const FANOUT: &str = "workflows/fanout.star";

/// A fan-out after which a person decides.
const ORPHAN: &str = r#"
workflow("orphan", children = [
    expand("fan", over = "COUNT", width = 64, max_children = COUNT, children = [ask("leaf", prompt = "{{ fan.index }}")]),
    approve("go", prompt = "go on?"),
])
"#;

/// The built program.
pub(crate) struct Program {
    root: PathBuf,
    binary: PathBuf,
    scratch: PathBuf,
    next_dir: AtomicU32,
}

/// A directory of one measurement, removed after it.
pub(crate) struct Dir(PathBuf);

/// What `run --json` says, as far as it is needed.
#[derive(Debug, Deserialize)]
pub(crate) struct RunShown {
    pub(crate) run_id: String,
    pub(crate) status: String,
    pub(crate) records: u64,
    pub(crate) duration_ms: u64,
    pub(crate) leaves: LeavesShown,
}

#[derive(Debug, Deserialize)]
pub(crate) struct LeavesShown {
    pub(crate) done: u64,
    pub(crate) failed: u64,
}

/// What `worker --json` says, as far as it is needed.
#[derive(Debug, Deserialize)]
pub(crate) struct WorkerShown {
    pub(crate) reported: u64,
    pub(crate) claim_us_p99: u64,
}

/// What a run that rests says, as far as it is needed.
#[derive(Debug, Deserialize)]
struct RestShown {
    status: String,
    records: u64,
}

#[derive(Debug, Deserialize)]
struct ReplayShown {
    records: u64,
    equal: bool,
    effects_performed: u64,
}

#[derive(Deserialize)]
struct Target {
    target_directory: PathBuf,
}

impl Program {
    /// Builds it, optimised.
    pub(crate) fn build(root: &Path) -> anyhow::Result<Self> {
        eprintln!("building");
        let mut build = cargo(root);
        build.args(["build", "--release", "--locked", "--package", "wf-cli", "--bin", "whaleflow"]);
        // Standard output is for the figures.
        ensure!(build.stdout(Stdio::null()).status()?.success(), "the release build failed");
        let args = ["metadata", "--format-version", "1", "--offline", "--locked", "--no-deps"];
        let target: Target = serde_json::from_str(&output(cargo(root).args(args))?)?;
        let target = target.target_directory;
        let scratch = target.join("bench").join(std::process::id().to_string());
        let binary = target.join("release").join(format!("whaleflow{}", std::env::consts::EXE_SUFFIX));
        Ok(Self { root: root.to_owned(), binary, scratch, next_dir: AtomicU32::new(0) })
    }

    /// Builds an example of `wf-effects`, optimised. What is given runs it and reads the object that it prints.
    pub(crate) fn example(&self, name: &str) -> anyhow::Result<impl Fn() -> anyhow::Result<serde_json::Value>> {
        let mut build = cargo(&self.root);
        build.args(["build", "--release", "--locked", "--package", "wf-effects", "--example", name]);
        ensure!(build.stdout(Stdio::null()).status()?.success(), "the release build of {name} failed");
        let program = self.binary.with_file_name("examples").join(name);
        let program = program.to_str().context("the program's path is not text")?.to_owned();
        let root = self.root.clone();
        Ok(move || Ok(serde_json::from_str(&output(&mut command(&root, &program))?)?))
    }

    /// A new directory, on the disk that the build is on.
    pub(crate) fn dir(&self) -> anyhow::Result<Dir> {
        let path = self.scratch.join(self.next_dir.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Dir(path))
    }

    fn command(&self, home: &Dir, program: &Path) -> anyhow::Result<Command> {
        let mut command = command(&self.root, program.to_str().context("the program's path is not text")?);
        command.env("WHALEFLOW_HOME", &home.0).env("XDG_CONFIG_HOME", home.0.join("config"));
        Ok(command)
    }

    /// Runs the fan-out with `n` leaves.
    pub(crate) fn fanout(&self, home: &Dir, n: u64, width: u64) -> anyhow::Result<RunShown> {
        let mut command = self.command(home, &self.binary)?;
        understood(&output(command.args(fanout_args(n, width)))?, n)
    }

    /// The same, and the most memory that it held at once, in KiB.
    pub(crate) fn fanout_with_memory(&self, home: &Dir, n: u64, width: u64) -> anyhow::Result<(RunShown, u64)> {
        let peak = home.0.join("peak");
        let own = std::env::current_exe().context("this program does not know where it is")?;
        let mut command = self.command(home, &own)?;
        command.arg(PEAK_MEMORY).arg(&peak).arg(&self.binary).args(fanout_args(n, width));
        let run = understood(&output(&mut command)?, n)?;
        let kib = fs::read_to_string(&peak)?.trim().parse().context("the peak is no number")?;
        Ok((run, kib))
    }

    /// Runs the fan-out with workers of other processes only.
    pub(crate) fn fanout_by_workers(
        &self,
        home: &Dir,
        n: u64,
        width: u64,
        workers: usize,
    ) -> anyhow::Result<(RunShown, Vec<WorkerShown>)> {
        let start = |_| {
            let mut command = self.command(home, &self.binary)?;
            command.args(["worker", "--json", "--slots", "64", "--idle", "2s"]);
            Ok(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?)
        };
        let workers = (0..workers).map(start).collect::<anyhow::Result<Vec<_>>>()?;
        let mut command = self.command(home, &self.binary)?;
        let run = understood(&output(command.args(fanout_args(n, width)).args(["--slots", "0"]))?, n)?;
        let mut shown = Vec::with_capacity(workers.len());
        for worker in workers {
            let ended = worker.wait_with_output()?;
            ensure!(ended.status.success(), "a worker failed");
            shown.push(serde_json::from_slice(&ended.stdout).context("`worker --json` says something else")?);
        }
        Ok((run, shown))
    }

    /// Makes a run of `n` leaves that then waits for somebody, and kills its owner.
    pub(crate) fn orphan(&self, home: &Dir, n: u64) -> anyhow::Result<()> {
        let source = home.0.join("orphan.star");
        fs::write(&source, ORPHAN.replace("COUNT", &n.to_string()))?;
        let mut owner = self.command(home, &self.binary)?;
        owner.args(["run", source.to_str().context("the path is not text")?, "--json", "--detach"]);
        output(&mut owner)?;
        let mut ps = self.command(home, &self.binary)?;
        ps.args(["ps", "--json"]);
        let list = loop {
            let list: serde_json::Value = serde_json::from_str(&output(&mut ps)?)?;
            if list["runs"][0]["status"] == "waiting" {
                break list;
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        let run = list["runs"][0]["run_id"].as_str().context("the run has no id")?;
        let mut find = command(&self.root, "pgrep");
        let pids = output(find.args(["-f", &format!("drive-child {run}")]))?;
        let pid = pids.lines().next().context("nothing drives the run")?;
        output(command(&self.root, "kill").args(["-9", pid]))?;
        Ok(())
    }

    /// How long it takes until that run waits again, and the most memory that this took, in KiB.
    pub(crate) fn resume_with_memory(&self, home: &Dir) -> anyhow::Result<(Duration, u64)> {
        let peak = home.0.join("peak");
        let own = std::env::current_exe().context("this program does not know where it is")?;
        let mut command = self.command(home, &own)?;
        command.arg(PEAK_MEMORY).arg(&peak).arg(&self.binary).args(["resume", "@last", "--json"]);
        // A run that waits ends with an exit code of its own.
        let (took, ended) = timed(|| command.stdout(Stdio::piped()).spawn().and_then(|child| child.wait_with_output()));
        let shown: RestShown = serde_json::from_slice(&ended?.stdout).context("`resume --json` says something else")?;
        ensure!(shown.status == "waiting" && shown.records > 50_000, "{} with {} records", shown.status, shown.records);
        let kib = fs::read_to_string(&peak)?.trim().parse().context("the peak is no number")?;
        Ok((took, kib))
    }

    /// How long it takes to replay a run.
    pub(crate) fn replay(&self, home: &Dir, run: &RunShown) -> anyhow::Result<Duration> {
        let mut command = self.command(home, &self.binary)?;
        let (took, text) = timed(|| output(command.args(["replay", &run.run_id, "--json"])));
        let shown: ReplayShown = serde_json::from_str(&text?).context("`replay --json` says something else")?;
        ensure!(shown.equal && shown.effects_performed == 0, "the replay differs");
        ensure!(shown.records == run.records, "{} of {} records were replayed", shown.records, run.records);
        Ok(took)
    }

    /// How long the long form of the harness takes that kills runs at random moments.
    pub(crate) fn long_kills(&self) -> anyhow::Result<Duration> {
        let args = ["test", "--locked", "--quiet", "--package", "wf-cli", "--test", "faults"];
        output(cargo(&self.root).args(args).arg("--no-run"))?;
        let name = "kills::killed_at_random_moments";
        let (took, said) =
            timed(|| output(cargo(&self.root).args(args).args(["--", "--exact", name]).env("WHALEFLOW_LONG", "1")));
        ensure!(said?.contains("1 passed"), "{name} did not run");
        Ok(took)
    }

    /// How long it takes to say the version.
    pub(crate) fn version(&self) -> anyhow::Result<Duration> {
        let mut command = command(&self.root, self.binary.to_str().context("the program's path is not text")?);
        let (took, text) = timed(|| output(command.arg("--version")));
        ensure!(text?.starts_with("whaleflow "), "`--version` says something else");
        Ok(took)
    }

    /// How long a task of cargo's takes.
    pub(crate) fn cargo(&self, args: &[&str]) -> anyhow::Result<Duration> {
        let (took, text) = timed(|| output(cargo(&self.root).args(args)));
        text?;
        Ok(took)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // What is left behind is in the build directory, and the next `cargo clean` takes it.
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

impl Dir {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The one store below it.
    pub(crate) fn store(&self) -> anyhow::Result<PathBuf> {
        let mut found = Vec::new();
        find(&self.0, "store.db", &mut found)?;
        match found.pop() {
            Some(store) if found.is_empty() => Ok(store),
            _ => bail!("there is not exactly one store below {}", self.0.display()),
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // As above.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn find(dir: &Path, name: &str, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find(&entry.path(), name, found)?;
        } else if entry.file_name() == name {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn fanout_args(n: u64, width: u64) -> [String; 7] {
    let word = str::to_owned;
    [word("run"), word(FANOUT), word("-i"), format!("n={n}"), word("-i"), format!("width={width}"), word("--json")]
}

fn understood(text: &str, n: u64) -> anyhow::Result<RunShown> {
    let run: RunShown = serde_json::from_str(text).context("`run --json` says something else")?;
    let (done, failed) = (run.leaves.done, run.leaves.failed);
    ensure!(run.status == "succeeded" && done == n && failed == 0, "{}: {done} of {n} leaves done", run.status);
    Ok(run)
}

/// Runs a program as this one's only child and writes the most memory that it held, in KiB, to a file.
///
/// # Errors
/// When it cannot be run, or fails.
pub fn peak_memory(file: &str, program: &str, args: &[&str]) -> anyhow::Result<bool> {
    // The program is to find the state directory that the measurement has set for it.
    let status = command(Path::new("."), program).args(args).envs(std::env::vars_os()).status()?;
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    fs::write(file, format!("{peak}\n"))?;
    Ok(status.success())
}
