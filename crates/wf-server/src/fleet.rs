//! The fleet: the board of tasks, workers, and working as one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wf_effects::{BoxFuture, CancelToken, RealClock};
use wf_kernel::{Ix, RunState};
use wf_runtime::{RunParts, Worker, WorkerOptions};
use wf_store::{Capabilities, RunFilter, RunId, TaskFilter, TaskRow, TaskStatus};
use wf_view::text::rfc3339;
use wf_view::{Keep, RunFold, TaskView, TaskWait, TaskWhyView, TasksView, WorkerReportView, WorkerView, WorkersView};

use crate::engine::Engine;
use crate::error::Error;
use crate::follow;
use crate::ops;

/// Most runs whose tasks are listed together.
const RUNS_MAX: usize = 1_000;
/// Most tasks of one run that are looked at.
const TASKS_MAX: usize = 100_000;

/// Which tasks to list.
#[derive(Clone, Debug)]
pub struct TasksOptions {
    /// Only those of this run; else those of all runs that have not ended.
    pub run: Option<RunId>,
    /// Only those that stand there.
    pub status: Option<TaskStatus>,
    /// Those that are over, too.
    pub all: bool,
    /// At most this many.
    pub limit: usize,
}

/// How to work.
#[derive(Clone, Debug)]
pub struct WorkOptions {
    /// How many tasks at once.
    pub slots: u32,
    /// What this worker can do; none is everything.
    pub can: Vec<String>,
    /// It ends when it had nothing to do for so long.
    pub idle_max: Option<Duration>,
    /// Ends it.
    pub stop: CancelToken,
}

/// The tasks of runs: those on the board, and those that are not ordered yet.
///
/// # Errors
/// When the store cannot be read.
pub async fn tasks(engine: &Engine, options: &TasksOptions) -> Result<TasksView, Error> {
    let runs = match &options.run {
        Some(run) => vec![run.clone()],
        None => {
            let filter = RunFilter { limit: RUNS_MAX, prefix: None, ended: Some(false) };
            engine.store.runs.runs(filter).await?.into_iter().map(|row| row.run).collect()
        }
    };
    let mut views = Vec::new();
    for run in runs {
        let (fold, _) = follow::fold(&engine.store, &run, Keep::Lean, engine.now_ms()).await?;
        let rows = rows_of(engine, &run).await?;
        let leaves = leaves(fold.state()).map(|ix| task_of(&fold, ix, &rows));
        let wanted = leaves.filter(|task| match options.status {
            Some(status) => task.status == status.word(),
            None => options.all || !["done", "failed"].contains(&task.status),
        });
        // One more than is wanted says that there are more.
        views.extend(wanted.take(options.limit + 1 - views.len().min(options.limit + 1)));
        if views.len() > options.limit {
            break;
        }
    }
    let more = views.len() > options.limit;
    views.truncate(options.limit);
    Ok(TasksView::new(views, more))
}

/// Why a task is where it is. `name` is `RUN:PATH`, or a path in the run that was started last.
///
/// # Errors
/// When there is no such task, or the store cannot be read.
pub async fn why(engine: &Engine, name: &str) -> Result<TaskWhyView, Error> {
    let (run, path) = name.split_once(':').unwrap_or((ops::LAST, name));
    let run = ops::resolve(engine, run).await?;
    let (fold, _) = follow::fold(&engine.store, &run, Keep::Lean, engine.now_ms()).await?;
    let missing = || {
        let hint = "`whaleflow fleet tasks` lists them; a task is named RUN:PATH";
        Error::usage_with(format!("run {run} has no task {path:?}"), hint)
    };
    let ix = fold.state().at_path(path).filter(|ix| is_leaf(fold.state(), *ix)).ok_or_else(missing)?;
    let rows = rows_of(engine, &run).await?;
    let task = with_worker(engine, task_of(&fold, ix, &rows)).await?;
    TaskWhyView::of(&fold, task).ok_or_else(missing)
}

/// The workers that were heard of lately.
///
/// # Errors
/// When the store cannot be read.
pub async fn workers(engine: &Engine) -> Result<WorkersView, Error> {
    let presence = engine.project.presence()?;
    let now = engine.now_ms();
    let rows = engine.store.tasks.workers().await?;
    let workers = rows.into_iter().map(|row| {
        let is_gone = presence.is_gone(&row.worker) || row.heartbeat_ms + wf_runtime::TASK_TTL_MS < now;
        WorkerView {
            worker: row.worker,
            state: if is_gone { "gone" } else { "alive" },
            slots: row.slots,
            busy: row.busy,
            can: match row.can {
                Capabilities::All => None,
                Capabilities::Only(can) => Some(can),
            },
            started_at: rfc3339(row.started_ms),
            heartbeat: rfc3339(row.heartbeat_ms),
        }
    });
    Ok(WorkersView::new(workers.collect()))
}

/// Works until it is stopped or idle for long enough, and says what it did.
///
/// # Errors
/// When the store fails.
pub async fn work(engine: Arc<Engine>, options: WorkOptions) -> Result<WorkerReportView, Error> {
    let owner = engine.announce()?;
    let (opener, name) = (engine.clone(), owner.name().to_owned());
    let worker = Worker {
        store: engine.store.clone(),
        clock: Arc::new(RealClock),
        name: owner.name().to_owned(),
        open: Arc::new(move |run| -> BoxFuture<'static, Result<RunParts, String>> {
            let (engine, name) = (opener.clone(), name.clone());
            Box::pin(async move { parts_of(&engine, &run, &name).await.map_err(|error| error.to_string()) })
        }),
    };
    let can = if options.can.is_empty() { Capabilities::All } else { Capabilities::Only(options.can) };
    let (slots, idle_max, stop) = (options.slots, options.idle_max, options.stop);
    let host = engine.environment.get("HOSTNAME").unwrap_or("this machine").to_owned();
    let report = worker.work(&WorkerOptions { slots, can, host, idle_max, stop }).await?;
    let at = |percent: usize| {
        let count = report.claim_us.len();
        report.claim_us.get((count * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0)
    };
    Ok(WorkerReportView {
        version: wf_view::VERSION,
        worker: worker.name.clone(),
        claimed: report.claimed,
        reported: report.reported,
        refused: report.refused,
        claim_us_p50: at(50),
        claim_us_p99: at(99),
        claim_us_max: at(100),
        by_slot: report.by_slot,
    })
}

/// What a worker needs to perform tasks of a run, as the run was begun.
async fn parts_of(engine: &Engine, run: &RunId, holder: &str) -> Result<RunParts, Error> {
    let workflow = wf_runtime::workflow_of(&engine.store, run).await?;
    let started = ops::started_of(engine, run).await?;
    let effects = engine.effects(&workflow, &started, holder, false).await?;
    Ok(RunParts { workflow, seed: started.seed, effects: Arc::new(effects) })
}

type Rows = BTreeMap<(String, u32), TaskRow>;

async fn rows_of(engine: &Engine, run: &RunId) -> Result<Rows, Error> {
    let filter = TaskFilter { status: None, after: None, limit: TASKS_MAX };
    let rows = engine.store.tasks.tasks(run, filter).await?;
    Ok(rows.into_iter().map(|row| ((row.task.instance.clone(), row.task.attempt), row)).collect())
}

fn is_leaf(state: &RunState, ix: Ix) -> bool {
    state.workflow().node(state.instance(ix).node).kind.is_leaf()
}

fn leaves(state: &RunState) -> impl Iterator<Item = Ix> {
    (0..state.instances().len() as u32).map(Ix).filter(|ix| is_leaf(state, *ix))
}

/// A leaf as a task: what the log says of it, and what the board does.
fn task_of(fold: &RunFold, ix: Ix, rows: &Rows) -> TaskView {
    let mut view = TaskView::of(fold, ix);
    let Some(row) = rows.get(&(view.path.clone(), view.attempt)) else { return view };
    view.ordered = true;
    view.epoch = Some(row.epoch.0);
    view.ordered_at = Some(rfc3339(row.task.at_ms));
    if view.status == "claimed" {
        // The log says that it began; the board knows whether anybody has it.
        view.status = row.task.status.word();
        view.worker.clone_from(&row.task.worker);
        view.lease_until = row.lease_until_ms.map(rfc3339);
        view.heartbeat = row.heartbeat_ms.map(rfc3339);
        view.reported = row.reported;
    }
    view
}

/// Says of a task that nobody claims whether anybody could.
async fn with_worker(engine: &Engine, mut task: TaskView) -> Result<TaskView, Error> {
    if task.status != "pending" || !task.ordered {
        return Ok(task);
    }
    let view = workers(engine).await?;
    let fits = |worker: &&WorkerView| {
        worker.state == "alive"
            && worker.can.as_ref().is_none_or(|can| task.needs.iter().all(|need| can.contains(need)))
    };
    let able: Vec<&WorkerView> = view.workers.iter().filter(fits).collect();
    let busy = able.iter().filter(|worker| worker.busy >= worker.slots).count();
    let message = match (able.len(), busy) {
        (0, _) => format!("waits for a slot of the run's owner: no other worker can do {}", task.needs.join(", ")),
        (able, busy) => format!("waits to be claimed: of {able} workers that can do it, {busy} have no free slot"),
    };
    task.waits_for = Some(TaskWait { code: "worker", on: None, message });
    Ok(task)
}
