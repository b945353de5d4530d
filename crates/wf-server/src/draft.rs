//! Drafting: a planner writes a workflow, the compiler says what is wrong with it, and the planner writes it again, a
//! bounded number of times.
//!
//! It is a run like any other, of the workflow beside this file: its calls are paid for, logged and replayed. What the
//! compiler says comes into it as decisions on its gate. Drafts are compiled like every source, in a child that limits
//! itself, so one that explodes is one that does not compile.

use std::path::Path;

use wf_effects::CancelToken;
use wf_ir::{Diagnostic, Value, codes};
use wf_kernel::{Command, RunStatus};
use wf_runtime::{Drive, DriveOptions};
use wf_store::RunId;
use wf_view::{GateView, Keep, RunFacts, RunSummary};

use crate::engine::{Engine, Owner, Terms};
use crate::error::Error;
use crate::follow;
use crate::ops;
use crate::project::make_private_dir;
use crate::source::{Source, is_error};
use crate::start::{Plan, RunOptions, begin, plan, plan_of_source};
use crate::starter::write_new;

const WORKFLOW: &str = include_str!("draft/draft.star");
const GUIDE: &str = include_str!("../../../docs/authoring.md");
/// Most of what the compiler says that a planner is told, in bytes.
const FOUND_BYTES_MAX: usize = 8 << 10;
/// Longest goal, in bytes.
const GOAL_BYTES_MAX: usize = 16 << 10;
/// Most names of files that a planner is shown.
const NAMES_MAX: usize = 200;
/// The name under which diagnostics show a draft.
const NAME: &str = "draft.star";

/// A draft that compiles.
pub struct Drafted {
    /// The run that made it.
    pub run: RunId,
    /// Its text.
    pub source: String,
    /// What it would do.
    pub plan: Plan,
    /// How often it was written.
    pub rounds: usize,
}

/// Has a workflow written for `goal`. `options` says what bounds the planner's own run.
///
/// # Errors
/// When no draft compiles, the planner does not answer, or its budget is exhausted.
pub async fn draft(
    engine: &Engine,
    owner: &Owner,
    goal: &str,
    options: RunOptions,
    terms: Terms,
    stop: &CancelToken,
) -> Result<Drafted, Error> {
    if goal.trim().is_empty() || goal.len() > GOAL_BYTES_MAX {
        return Err(Error::usage(format!("a goal is some words, at most {GOAL_BYTES_MAX} bytes")));
    }
    let dir = engine.project.dir().join("draft");
    make_private_dir(&dir)?;
    let path = dir.join(NAME);
    std::fs::write(&path, WORKFLOW).map_err(Error::io("write", &path))?;
    let inputs = [("goal", goal.trim()), ("guide", GUIDE), ("repository", &names(engine.project.root()))];
    let options = RunOptions {
        workflow: path.display().to_string(),
        inputs: inputs.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        ..options
    };
    let planned = plan(&engine.environment, &engine.project, &options).await?;
    let mut owned = begin(engine, owner, &planned, &options, terms).await?;
    let run = owned.run_id().clone();
    let mut checked = Vec::new();
    loop {
        let drive = DriveOptions { stop: stop.clone(), park_on_people: true };
        let finished = Box::pin(owned.drive(drive)).await?;
        match (finished.end, finished.state.status()) {
            (_, RunStatus::Succeeded) => {}
            (Drive::People, _) => {
                checked.push(Box::pin(judge(engine, &run, &dir, &options)).await?);
                owned = ops::adopt_soon(engine, owner, &run, terms).await?;
                continue;
            }
            (_, RunStatus::BudgetExceeded) => return Err(Error::Exhausted { run: run.to_string() }),
            (Drive::Stopped | Drive::Ended, _) => {}
        }
        let rounds = checked.len();
        return match checked.pop() {
            Some(Ok((source, plan))) => Ok(Drafted { run, source, plan, rounds }),
            Some(Err(found)) => {
                Err(Error::Draft { message: format!("the last of {rounds} is that of run {run}"), found })
            }
            None => {
                let (fold, _) = follow::fold(&engine.store, &run, Keep::Lean, engine.now_ms()).await?;
                let facts = RunFacts { now_ms: engine.now_ms(), ..RunFacts::default() };
                let why = RunSummary::of(&fold, &facts).reason.map_or_else(|| "it ended".to_owned(), |why| why.message);
                Err(Error::Draft { message: format!("the planner wrote none in run {run}: {why}"), found: Vec::new() })
            }
        };
    }
}

/// What became of a draft.
type Judged = Result<(String, Plan), Vec<Diagnostic>>;

/// Compiles the draft that a gate shows, and decides the gate with what was found.
async fn judge(engine: &Engine, run: &RunId, dir: &Path, options: &RunOptions) -> Result<Judged, Error> {
    let (fold, _) = follow::fold(&engine.store, run, Keep::Lean, engine.now_ms()).await?;
    let gate = GateView::open(&fold).pop().ok_or_else(|| Error::Bug("the draft's run has no gate".to_owned()))?;
    let text = gate.shows.as_ref().and_then(|shows| shows.get("source").as_str()).unwrap_or_default().to_owned();
    let judged = compile(engine, dir, &text, options).await?;
    let found = judged.as_ref().err().map_or_else(String::new, |found| words(found));
    let data = Value::map([("ok", Value::Bool(judged.is_ok())), ("found", Value::Str(found))]);
    let (digest, by) = (gate.digest.parse().ok(), "compiler".to_owned());
    let decide = Command::Decide { path: gate.path, digest, approved: true, data, by };
    ops::send(engine, run, &decide).await?;
    Ok(judged.map(|plan| (text, plan)))
}

/// A draft as a plan, or what is wrong with it. What a person can put right is not wrong with the draft.
async fn compile(
    engine: &Engine,
    dir: &Path,
    text: &str,
    options: &RunOptions,
) -> Result<Result<Plan, Vec<Diagnostic>>, Error> {
    let source = Source::of_text(dir, NAME, text.to_owned())?;
    let options = RunOptions { workflow: NAME.to_owned(), inputs: Vec::new(), ..options.clone() };
    let plan = match plan_of_source(&engine.environment, &engine.project, &options, source).await {
        Ok(plan) => plan,
        Err(Error::Invalid(found)) => return Ok(Err(found)),
        Err(error) => return Err(error),
    };
    let is_ours = |it: &&Diagnostic| {
        is_error(it) && !matches!(it.code, codes::UNTRUSTED | codes::KEY_MISSING | codes::NO_REPOSITORY)
    };
    let found: Vec<Diagnostic> = plan.preflight.iter().filter(is_ours).cloned().collect();
    Ok(if found.is_empty() { Ok(plan) } else { Err(found) })
}

/// What was found, as a planner is told it.
fn words(found: &[Diagnostic]) -> String {
    let mut text = String::new();
    for it in found {
        let hint = it.hint.as_ref().map_or_else(String::new, |hint| format!(" (hint: {hint})"));
        let line = format!("{}:{}: {} {}{hint}\n", it.span.line, it.span.column, it.code, it.message);
        if text.len() + line.len() > FOUND_BYTES_MAX {
            text.push_str("and more\n");
            break;
        }
        text.push_str(&line);
    }
    text
}

/// The names of what is at the top of a repository, and of what is directly below.
fn names(root: &Path) -> String {
    let mut names = Vec::new();
    for entry in ignore_hidden(root) {
        let path = root.join(&entry);
        match path.is_dir() {
            true => names.extend(ignore_hidden(&path).into_iter().map(|name| format!("{entry}/{name}"))),
            false => names.push(entry),
        }
        if names.len() > NAMES_MAX {
            break;
        }
    }
    names.truncate(NAMES_MAX);
    names.join("\n")
}

fn ignore_hidden(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(NAMES_MAX * 10);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| {
        !name.starts_with('.') && !name.contains(char::is_control) && name != "target" && name != "node_modules"
    });
    names.sort();
    names.truncate(NAMES_MAX);
    names
}

/// Keeps a draft below the project, under a name that is free.
///
/// # Errors
/// When the file system says no.
pub fn keep(root: &Path, drafted: &Drafted) -> Result<std::path::PathBuf, Error> {
    let name = drafted.plan.workflow.name();
    let dir = root.join(".whaleflow/workflows");
    let numbered = |number: u32| match number {
        1 => dir.join(format!("{name}.star")),
        number => dir.join(format!("{name}_{number}.star")),
    };
    for path in (1..=1_000).map(numbered) {
        if write_new(&path, &drafted.source)? {
            return Ok(path);
        }
    }
    Err(Error::usage(format!("there are a thousand workflows named {name} in {dir:?}")))
}

/// Writes a draft to a file that does not exist.
///
/// # Errors
/// When it exists, or the file system says no.
pub fn write_to(path: &Path, drafted: &Drafted) -> Result<(), Error> {
    match write_new(path, &drafted.source)? {
        true => Ok(()),
        false => Err(Error::usage_with(format!("{path:?} exists"), "name another file, or remove it")),
    }
}
