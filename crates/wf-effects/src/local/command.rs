//! Performing commands and tests: the engine runs an argv in a branch's tree or in a copy of a commit, never in the
//! user's checkout. What is left behind without a write scope is dropped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use grep_matcher::Matcher;
use wf_ir::node::{Command, Node, Test};
use wf_ir::{Digest, Glob, Value};
use wf_kernel::effect::{LeafRequest, TreeUse};
use wf_kernel::record::{Prepared, Success};
use wf_kernel::{Outcome, Usage};

use super::failed::{Failed, failure};
use super::prepare::map;
use super::room::Room;
use super::trace::Trace;
use super::{LocalEffects, keep, success};
use crate::contract::Ctx;
use crate::git::{Origin, SnapshotDir};
use crate::process::{Bounds, Captured, End, Finished, Spec, Stream, run};

/// How long a command or test may take when it does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// Variables that every command is given.
const ENV_ALWAYS: [&str; 2] = ["PATH", "LANG"];

/// Where tool chains are found in a home that is not the command's own.
const TOOLCHAIN_HOMES: [(&str, &str); 2] = [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")];

/// Where a command runs.
struct Place {
    dir: PathBuf,
    rescued: Option<String>,
    /// A copy of a commit, which is gone when this is.
    copy: Option<SnapshotDir>,
}

/// A command that has run, and what of it was kept.
struct Ran {
    end: End,
    stdout: String,
    stderr: String,
    artifacts: BTreeMap<String, Digest>,
    /// Whether the wanted pattern was there.
    shows: bool,
}

/// What a command and a test have in common.
struct Job<'a> {
    cwd: &'a str,
    env: &'a [String],
    expect: Option<&'a str>,
    artifacts: &'a [Glob],
    /// Whether what it leaves in its branch's tree stays.
    keeps: bool,
}

impl LocalEffects {
    pub(super) async fn command(
        &self,
        node: &Node,
        leaf: &LeafRequest,
        prepared: &Prepared,
        command: &Command,
        ctx: &Ctx,
    ) -> Result<Outcome, Failed> {
        let job = Job {
            cwd: &command.cwd,
            env: &command.env,
            expect: None,
            artifacts: &command.artifacts,
            keeps: !command.writes.is_empty(),
        };
        let (ran, rescued) = self.job(node, leaf, prepared, &job, ctx).await?;
        let exit_code = match ended(ran.end) {
            Ok(exit_code) => exit_code,
            Err(outcome) => return Ok(outcome),
        };
        let is_ok = exit_code == 0 || command.ok_exit.contains(&exit_code);
        let value = map([
            ("exit_code", Value::Int(i64::from(exit_code))),
            ("stdout", Value::Str(ran.stdout)),
            ("stderr", Value::Str(ran.stderr)),
        ]);
        let value = keep::value(Arc::new(value), ctx).await?;
        if is_ok {
            let success = Success { artifacts: ran.artifacts, rescued, ..success(value, Usage::default()) };
            return Ok(Outcome::Succeeded(Box::new(success)));
        }
        let argv0 = program(&*keep::load(&prepared.request, ctx).await?);
        Err(failure("exit", format!("{argv0:?} ended with exit code {exit_code}"))
            .retryable(true)
            .showing(value, ran.artifacts)
            .rescued(rescued))
    }

    pub(super) async fn test(
        &self,
        node: &Node,
        leaf: &LeafRequest,
        prepared: &Prepared,
        test: &Test,
        ctx: &Ctx,
    ) -> Result<Outcome, Failed> {
        let job = Job { cwd: &test.cwd, env: &test.env, expect: test.expect.as_deref(), artifacts: &[], keeps: false };
        let (ran, rescued) = self.job(node, leaf, prepared, &job, ctx).await?;
        let exit_code = match ended(ran.end) {
            Ok(exit_code) => exit_code,
            Err(outcome) => return Ok(outcome),
        };
        let value = map([
            ("passed", Value::Bool(exit_code == 0 && ran.shows)),
            ("exit_code", Value::Int(i64::from(exit_code))),
            ("stdout", Value::Str(ran.stdout)),
            ("stderr", Value::Str(ran.stderr)),
        ]);
        let value = keep::value(Arc::new(value), ctx).await?;
        let success = Success { artifacts: ran.artifacts, rescued, ..success(value, Usage::default()) };
        Ok(Outcome::Succeeded(Box::new(success)))
    }

    async fn job(
        &self,
        node: &Node,
        leaf: &LeafRequest,
        prepared: &Prepared,
        job: &Job<'_>,
        ctx: &Ctx,
    ) -> Result<(Ran, Option<String>), Failed> {
        let request = keep::load(&prepared.request, ctx).await?;
        let argv: Vec<String> =
            request.get("argv").as_list().unwrap_or(&[]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        self.check_allowed(node, &argv)?;
        let place = self.workplace(leaf, job.keeps, ctx).await?;
        let ran = self.run_in(&place.dir, argv, node, leaf, job, ctx).await;
        if let (TreeUse::Branch { branch, begin, .. }, false) = (&leaf.tree, job.keeps) {
            // Also after a failure: the next leaf begins where this one did.
            let dropped = self.trees()?.discard(branch, begin).await;
            dropped.map_err(|error| Failed::from(error).rescued(place.rescued.clone()))?;
        }
        if let (Some(copy), Ok(ran)) = (&place.copy, &ran)
            && ran.end.exit_code() == Some(0)
        {
            self.offer(copy.path()).await;
        }
        remove(place.copy).await;
        match ran {
            Ok(ran) => Ok((ran, place.rescued)),
            Err(failed) => Err(failed.rescued(place.rescued)),
        }
    }

    async fn workplace(&self, leaf: &LeafRequest, keeps: bool, ctx: &Ctx) -> Result<Place, Failed> {
        match &leaf.tree {
            TreeUse::None => Err(failure("no_repository", "there is no tree to run in")),
            TreeUse::Branch { branch, begin, .. } => {
                let tree = self.trees()?.begin(branch, begin).await?;
                self.warm(&tree.dir, leaf, ctx).await;
                Ok(Place { dir: tree.dir, rescued: tree.rescued, copy: None })
            }
            TreeUse::Snapshot { .. } if keeps => {
                Err(failure("read_only", "the node writes, but works in a copy of a commit: it needs a branch"))
            }
            TreeUse::Snapshot { commit, .. } => {
                let copy = self.trees()?.private_snapshot(commit).await?;
                self.warm(copy.path(), leaf, ctx).await;
                Ok(Place { dir: copy.path().to_owned(), rescued: None, copy: Some(copy) })
            }
        }
    }

    async fn run_in(
        &self,
        dir: &Path,
        argv: Vec<String>,
        node: &Node,
        leaf: &LeafRequest,
        job: &Job<'_>,
        ctx: &Ctx,
    ) -> Result<Ran, Failed> {
        let home = tempfile::Builder::new().prefix("home-").tempdir_in(self.scratch.path());
        let home = home.map_err(|error| {
            failure("spawn", format!("no directory for the command's temporary files: {error}")).retryable(true)
        })?;
        let scope = if job.keeps { Some(super::writes(node)) } else { None };
        let sandbox = self.policy(node, leaf, &Room { tree: dir, home: home.path(), scope })?;
        let spec = Spec {
            argv,
            cwd: directory(dir, job.cwd)?,
            env: self.environment(job.env, home.path(), dir),
            stdin: None,
            bounds: Bounds::with_timeout(node.timeout_ms.map_or(TIMEOUT_DEFAULT, Duration::from_millis)),
            supervisor: self.supervisor.clone(),
            sandbox,
        };
        let trace = Trace::new(ctx, &leaf.path);
        let lines = |stream: Stream, line: &str| trace.line(stream.as_str(), line);
        let finished = run(&spec, &ctx.cancel, &lines).await;
        remove(home).await;
        if let Ok(Finished { left: left @ 1.., .. }) = &finished {
            trace.line("engine", &format!("{left} processes could not be ended"));
        }
        let finished =
            finished.map_err(|error| failure(error.code(), error.to_string()).retryable(error.is_retryable()))?;
        let shows = match job.expect {
            Some(pattern) => shows(pattern, &finished)?,
            None => true,
        };
        let mut artifacts = keep::artifacts(dir, job.artifacts, ctx).await?;
        let Finished { end, stdout, stderr, .. } = finished;
        let tails = (stdout.tail(), stderr.tail());
        for (name, captured) in [("stdout", stdout), ("stderr", stderr)] {
            if captured.is_cut() {
                artifacts.insert(name.to_owned(), keep::blob(captured.into_blob(), ctx).await?);
            }
        }
        Ok(Ran { end, stdout: tails.0, stderr: tails.1, artifacts, shows })
    }

    /// Gives a tree or a copy of a commit a build directory to begin with, unless it has one.
    async fn warm(&self, dir: &Path, leaf: &LeafRequest, ctx: &Ctx) {
        let Some(cache) = self.build_cache.clone() else { return };
        let dir = dir.to_owned();
        // Without it the build is slower, and that is all; but a seed that somebody has changed is to be seen.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || cache.prepare(&dir)).await {
            Trace::new(ctx, &leaf.path).line("engine", &format!("builds begin with nothing: {error}"));
        }
    }

    /// Offers what was built in a copy of a commit as what other builds begin with.
    async fn offer(&self, dir: &Path) {
        let Some(cache) = self.build_cache.clone() else { return };
        let dir = dir.to_owned();
        // It goes with the copy if it is not wanted.
        let _ = tokio::task::spawn_blocking(move || cache.harvest(&dir, Origin::Tree)).await;
    }

    /// The environment of a command: what all get, what its node allows, a home of its own, and where it builds.
    pub(super) fn environment(&self, allowed: &[String], home: &Path, tree: &Path) -> BTreeMap<String, String> {
        let home = home.display().to_string();
        let mut env = BTreeMap::from([("HOME".to_owned(), home.clone()), ("TMPDIR".to_owned(), home)]);
        for name in ENV_ALWAYS.into_iter().chain(allowed.iter().map(String::as_str)) {
            if let Some(value) = self.env.get(name) {
                env.insert(name.to_owned(), value.clone());
            }
        }
        if let Some(cache) = &self.build_cache {
            env.extend(cache.env(tree));
        }
        if self.sandbox.is_some()
            && let Some(real) = self.env.get("HOME")
        {
            // A home of its own has no tool chains in it.
            for (name, dir) in TOOLCHAIN_HOMES {
                let dir = Path::new(real).join(dir);
                if !env.contains_key(name) && dir.is_dir() {
                    env.insert(name.to_owned(), dir.display().to_string());
                }
            }
        }
        env
    }
}

/// Removes a directory that goes with its owner, which may take a while.
pub(super) async fn remove<T: Send + 'static>(directory: T) {
    // Without it, it is gone all the same; only its thread could not be had.
    let _ = tokio::task::spawn_blocking(move || drop(directory)).await;
}

/// The exit code; an outcome where it was us who ended it.
fn ended(end: End) -> Result<i32, Outcome> {
    let usage = Usage::default();
    match (end, end.exit_code()) {
        (End::TimedOut, _) => Err(Outcome::TimedOut { usage }),
        (End::Cancelled, _) | (_, None) => Err(Outcome::Cancelled { usage }),
        (_, Some(code)) => Ok(code),
    }
}

fn program(request: &Value) -> String {
    let argv = request.get("argv").as_list().unwrap_or(&[]);
    argv.first().and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A directory of the tree.
fn directory(root: &Path, cwd: &str) -> Result<PathBuf, Failed> {
    let missing = |reason: &str| failure("cwd_missing", format!("{cwd:?}: {reason}"));
    if Path::new(cwd).is_absolute() {
        return Err(missing("it must be relative to the tree"));
    }
    let resolve = |path: &Path| std::fs::canonicalize(path).map_err(|error| missing(&error.to_string()));
    let (root, dir) = (resolve(root)?, resolve(&root.join(cwd))?);
    if !dir.starts_with(&root) {
        return Err(missing("it is outside of the tree"));
    }
    if !dir.is_dir() {
        return Err(missing("it is not a directory"));
    }
    Ok(dir)
}

/// Whether the output shows what is expected: in what is kept, or at the end.
fn shows(pattern: &str, finished: &Finished) -> Result<bool, Failed> {
    let matcher = crate::search::compile(pattern).map_err(|error| failure("pattern", error.to_string()))?;
    let is_shown = |captured: &Captured| {
        let is_match = |bytes: &[u8]| matcher.is_match(bytes).unwrap_or(false);
        is_match(captured.kept()) || (captured.dropped() > 0 && is_match(captured.tail().as_bytes()))
    };
    Ok(is_shown(&finished.stdout) || is_shown(&finished.stderr))
}
