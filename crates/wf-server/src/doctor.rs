//! What works here and what does not; and whether what is stored is intact.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use wf_effects::external::{AGENTS, find, version};
use wf_effects::local::Models;
use wf_effects::models::catalog::{Wanted, Work};
use wf_effects::models::{Resolved, Unsatisfied};
use wf_effects::process::{find_program, is_program};
use wf_effects::sandbox::{Policy, Tier, detect};
use wf_effects::{Clock, RealClock};
use wf_ir::Digest;
use wf_ir::limits::{LOG_RECORDS_MAX, LOG_RECORDS_WARN};
use wf_ir::node::Driver;
use wf_kernel::replay::named_blobs;
use wf_runtime::journal::decode;
use wf_store::{
    Inspection, PageLimit, ReadError, RunFilter, RunId, SCHEMA, Seq, Store, TreeFilter, TreeListed, TreeStage, inspect,
};
use wf_view::reply::{BadView, DoctorCheck, DoctorLevel};
use wf_view::{DoctorView, VerifyView};

use crate::config::{Config, ModelsConfig};
use crate::engine::{Engine, open_git, sandbox_host};
use crate::environment::Environment;
use crate::error::Error;
use crate::models::{find as find_keys, models_of};
use crate::ops::LIST_MAX;
use crate::project::Project;
use crate::source::child_program;
use crate::trust::trust_of;

/// Less free space than this is worth a warning.
const FREE_BYTES_WARN: u64 = 1 << 30;
/// An unfinished file that was not written for as long belongs to nobody any more.
const UNFINISHED_MS: i64 = 60 * 60 * 1_000;
/// After how many records no further run is looked through for blobs that are missing.
const BLOB_RECORDS_MAX: u64 = 200_000;

/// Looks at everything that runs need. What does not work is part of the answer.
pub async fn doctor(environment: &Environment, project: &Project) -> DoctorView {
    let is_trusted = trust_of(project).is_some();
    let mut checks = vec![
        say("version", DoctorLevel::Ok, format!("whaleflow {}", env!("CARGO_PKG_VERSION"))),
        project_check(project),
        git_check(environment, project).await,
        state_check(project),
    ];
    checks.extend(store_checks(environment, project).await);
    checks.push(space_check(project));
    let config = Config::load(environment, project, is_trusted);
    checks.push(match &config {
        Ok(_) => say("config", DoctorLevel::Ok, "is readable".to_owned()),
        Err(error) => say("config", DoctorLevel::Fail, error.to_string()),
    });
    checks.push(trust_check(project, is_trusted));
    let tier = detect(&child_program(environment)).await;
    let is_held = matches!(tier, Tier::Own { .. });
    checks.push(sandbox_check(tier));
    let models = config.unwrap_or_default().models;
    checks.extend(agents_checks(environment, &models, is_held).await);
    checks.extend(models_checks(environment, &models).await);
    DoctorView::new(checks)
}

fn sandbox_check(tier: Tier) -> DoctorCheck {
    let level = if matches!(tier, Tier::Own { .. }) { DoctorLevel::Ok } else { DoctorLevel::Warn };
    say("sandbox", level, tier.describe())
}

/// Agents that are programs of their own: which are here, in which versions, and which are configured.
async fn agents_checks(environment: &Environment, config: &ModelsConfig, is_held: bool) -> Vec<DoctorCheck> {
    let path = environment.get("PATH").unwrap_or_default();
    let sandbox = sandbox_host(environment).ok().filter(|_| is_held).map(|host| host.policy());
    let mut checks = Vec::new();
    let mut seen = BTreeSet::new();
    let found = find(path).into_iter().map(|found| (found.known.name.to_owned(), found.path));
    let found: Vec<_> = found.collect();
    let configured =
        config.agents.iter().map(|(name, agent)| (name, agent.command.first().cloned().unwrap_or_default()));
    let configured: Vec<_> = configured.map(|(name, program)| (name, which(path, &program), program)).collect();
    for (name, at, program) in &configured {
        let Some(at) = at else {
            let message = format!("{AGENTS}/{name}: the program {program:?} is not found");
            checks.push(hinted(say("agent", DoctorLevel::Warn, message), "install it, or put its directory on PATH"));
            continue;
        };
        seen.insert(at.clone());
        let said = agent_version(at, environment, path, sandbox.clone()).await;
        checks.push(agent_check(&format!("{AGENTS}/{name}"), at, said, true));
    }
    for (name, at) in found.iter().filter(|(_, at)| !seen.contains(at)) {
        let said = agent_version(at, environment, path, sandbox.clone()).await;
        checks.push(agent_check(name, at, said, false));
    }
    if checks.is_empty() {
        checks.push(say("agent", DoctorLevel::Ok, "no agent of its own is here; the native one is always".to_owned()));
    }
    checks
}

async fn agent_version(
    at: &Path,
    environment: &Environment,
    path: &str,
    sandbox: Option<Policy>,
) -> Result<String, String> {
    // A program that lies where homes are hidden is to be seen.
    let sandbox = sandbox.map(|policy| policy.reading(at));
    version(at, path, &child_program(environment), sandbox).await
}

fn agent_check(name: &str, at: &Path, version: Result<String, String>, is_configured: bool) -> DoctorCheck {
    let whose = if is_configured { "configured" } else { "not configured" };
    let check = match version {
        Ok(version) => say("agent", DoctorLevel::Ok, format!("{name}, version {version}, {whose}: {}", at.display())),
        Err(why) => say("agent", DoctorLevel::Warn, format!("{name}, {whose}: {}; {why}", at.display())),
    };
    if is_configured { check } else { hinted(check, "`whaleflow init` proposes how to configure it") }
}

/// The file of a program, as it is found when it is started.
pub(crate) fn which(path: &str, program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|place| is_program(place));
    }
    find_program(path, program)
}

/// Who is configured: whether keys are found, never what they are, and who does which role.
async fn models_checks(environment: &Environment, config: &ModelsConfig) -> Vec<DoctorCheck> {
    if config.is_empty() {
        let message = "mock: every role is answered by rules in a file, or by chance".to_owned();
        return vec![say("models", DoctorLevel::Ok, message)];
    }
    let mut checks = Vec::new();
    for (name, provider) in &config.providers {
        let key = provider.key.as_ref();
        let key = key.map_or_else(|| "it wants no key".to_owned(), |place| format!("its key is in {place}"));
        let at = if provider.base_url.is_empty() { String::new() } else { format!(" at {}", provider.base_url) };
        let message = format!("{name} speaks {}{at}", provider.kind.name());
        checks.push(match find_keys(environment.keys(), provider).await {
            Ok(_) => say("provider", DoctorLevel::Ok, format!("{message}; {key}")),
            Err(error) => hinted(say("provider", DoctorLevel::Warn, format!("{message}; {error}")), &error.hint()),
        });
    }
    let models = match models_of(environment, config).await {
        Ok(Some(models)) => models,
        Ok(None) => return checks,
        Err(error) => return vec![say("models", DoctorLevel::Fail, error.to_string())],
    };
    checks.extend(config.roles.keys().map(|role| role_check(&models, role)));
    checks
}

fn role_check(models: &Models, role: &str) -> DoctorCheck {
    let resolve = |work| models.resolve_wanted(role, &Wanted { work, ..Wanted::default() });
    let (asked, worked) = (resolve(Work::Ask), resolve(Work::Agent(Driver::Native)));
    match (asked, worked) {
        (Ok(asked), Ok(worked)) if asked.chosen == worked.chosen => {
            let over = asked.passed_over.iter().map(|(model, why)| format!("; {model} is passed over: {why}"));
            let message = format!("{role} is done by {}{}", asked.chosen, over.collect::<String>());
            let is_keyless = models.lacks_key(&asked.chosen).is_some();
            say("role", if is_keyless { DoctorLevel::Warn } else { DoctorLevel::Ok }, message)
        }
        (Err(unsatisfied), Err(_)) => {
            say("role", DoctorLevel::Warn, format!("{role} is done by nobody: {}", unsatisfied.reasons.join("; ")))
        }
        (asked, worked) => {
            let who = |done: Result<Resolved, Unsatisfied>| match done {
                Ok(resolved) => resolved.chosen.to_string(),
                Err(unsatisfied) => format!("nobody ({})", unsatisfied.reasons.join("; ")),
            };
            let message = format!("{role}: {} works in trees, {} answers an `ask`", who(worked), who(asked));
            say("role", DoctorLevel::Ok, message)
        }
    }
}

fn say(name: &str, level: DoctorLevel, message: String) -> DoctorCheck {
    DoctorCheck { name: name.to_owned(), level, message, hint: None }
}

fn hinted(mut check: DoctorCheck, hint: &str) -> DoctorCheck {
    check.hint = Some(hint.to_owned());
    check
}

fn project_check(project: &Project) -> DoctorCheck {
    if project.is_repository() {
        return say("repository", DoctorLevel::Ok, format!("{}", project.root().display()));
    }
    let why = project.require_repository().map_or_else(|error| error.to_string(), |()| String::new());
    hinted(
        say("repository", DoctorLevel::Warn, why),
        "workflows that work in trees need a repository, or a fixture of their own",
    )
}

async fn git_check(environment: &Environment, project: &Project) -> DoctorCheck {
    match open_git(environment, project).await {
        Ok(_) => say("git", DoctorLevel::Ok, "is here and new enough".to_owned()),
        Err(error) => {
            let check = say("git", DoctorLevel::Fail, error.to_string());
            error.hint().map_or(check.clone(), |hint| hinted(check, &hint))
        }
    }
}

fn state_check(project: &Project) -> DoctorCheck {
    let dir = project.dir();
    let shown = dir.display();
    match std::fs::metadata(dir) {
        Err(_) => say("state", DoctorLevel::Ok, format!("nothing yet in {shown}")),
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => hinted(
            say("state", DoctorLevel::Warn, format!("others can read {shown}")),
            "logs hold prompts and answers: chmod -R go= the directory",
        ),
        Ok(_) => say("state", DoctorLevel::Ok, format!("{shown}")),
    }
}

async fn store_checks(environment: &Environment, project: &Project) -> Vec<DoctorCheck> {
    let found = match inspect(&project.store_dir()) {
        Ok(found) => found,
        Err(error) => return vec![say("store", DoctorLevel::Fail, error.to_string())],
    };
    if let Some(check) = no_room_to_migrate(project, &found) {
        return vec![check];
    }
    let mut checks = opened_checks(environment, project).await;
    checks.extend(files_checks(&found));
    checks
}

async fn opened_checks(environment: &Environment, project: &Project) -> Vec<DoctorCheck> {
    let engine = match Engine::open_if_any(environment, project) {
        Ok(Some(engine)) => engine,
        Ok(None) => return vec![say("store", DoctorLevel::Ok, "no run yet".to_owned())],
        Err(error) => return vec![say("store", DoctorLevel::Fail, error.to_string())],
    };
    let store = match engine.store.runs.check().await {
        Ok(wrong) if wrong.is_empty() => {
            say("store", DoctorLevel::Ok, "SQLite with WAL and synchronous=FULL, as read back; intact".to_owned())
        }
        Ok(wrong) => say("store", DoctorLevel::Fail, wrong.join("; ")),
        Err(error) => say("store", DoctorLevel::Fail, error.to_string()),
    };
    vec![
        store,
        blobs_check(&engine).await,
        logs_check(&engine).await,
        orphans_check(&engine).await,
        trees_check(&engine).await,
    ]
}

/// An older schema is saved beside the store before it is brought up to date, which takes as much room again.
fn no_room_to_migrate(project: &Project, found: &Inspection) -> Option<DoctorCheck> {
    let schema = found.schema.filter(|schema| *schema < SCHEMA)?;
    let free = free_bytes(project).filter(|free| *free < found.database_bytes)?;
    let (needed, free) = (found.database_bytes >> 20, free >> 20);
    let message = format!(
        "has schema {schema}; before it is brought to {SCHEMA}, its {needed} MiB are saved beside it, and only {free} \
         MiB are free"
    );
    Some(hinted(say("store", DoctorLevel::Fail, message), "make room, then run `whaleflow doctor` again"))
}

/// What was kept aside, and what was left behind by processes that were killed while they wrote.
fn files_checks(found: &Inspection) -> Vec<DoctorCheck> {
    let mut checks = Vec::new();
    let (logs, saved): (Vec<_>, Vec<_>) =
        found.kept.iter().partition(|file| file.path.to_string_lossy().contains(".wal-damaged"));
    if let Some(first) = logs.first() {
        let message = format!(
            "a write-ahead log was damaged, and what was written after the damage is lost; it is kept as {}",
            first.path.display()
        );
        checks.push(hinted(
            say("kept", DoctorLevel::Warn, message),
            "see which runs were going on then; remove the file when nobody needs it",
        ));
    }
    if let Some(first) = saved.first() {
        let bytes: u64 = saved.iter().map(|file| file.bytes).sum();
        let message = format!(
            "{} with older schemas, {} MiB, such as {}",
            stores(saved.len()),
            bytes >> 20,
            first.path.display()
        );
        checks.push(say("kept", DoctorLevel::Ok, message));
    }
    let now_ms = RealClock.now_ms();
    let old: Vec<_> =
        found.unfinished.iter().filter(|file| now_ms.saturating_sub(file.modified_ms) > UNFINISHED_MS).collect();
    if let Some(first) = old.first() {
        let message =
            format!("{} that nobody has finished, such as {}", count(old.len(), "file"), first.path.display());
        checks.push(hinted(say("leftovers", DoctorLevel::Warn, message), "nothing names them; remove them"));
    }
    checks
}

fn stores(number: usize) -> String {
    count(number, "store")
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Whether what the newest runs name is there. What is in it, `verify` compares.
async fn blobs_check(engine: &Engine) -> DoctorCheck {
    let filter = RunFilter { limit: LIST_MAX, prefix: None, ended: None };
    let rows = match engine.store.runs.runs(filter).await {
        Ok(rows) => rows,
        Err(error) => return say("blobs", DoctorLevel::Fail, error.to_string()),
    };
    let (mut looked_at, mut records) = (0, 0);
    for row in &rows {
        if records > BLOB_RECORDS_MAX {
            break;
        }
        if let Err(Damage { seq, detail, .. }) = walk_run(&engine.store, &row.run, Look::IsThere).await {
            let message = format!("run {}, record {seq}: {detail}", row.run);
            return hinted(say("blobs", DoctorLevel::Fail, message), "`whaleflow verify` lists all that is damaged");
        }
        looked_at += 1;
        records += row.seq.0;
    }
    say("blobs", DoctorLevel::Ok, format!("all that {} of {} name are there", count(looked_at, "run"), rows.len()))
}

/// Runs that go on and whose log has grown long.
async fn logs_check(engine: &Engine) -> DoctorCheck {
    let filter = RunFilter { limit: LIST_MAX, prefix: None, ended: Some(false) };
    let rows = engine.store.runs.runs(filter).await.unwrap_or_default();
    let longest = rows.iter().max_by_key(|row| row.seq).filter(|row| row.seq.0 >= LOG_RECORDS_WARN);
    match longest {
        None => say("logs", DoctorLevel::Ok, "none that goes on is long".to_owned()),
        Some(row) => {
            let stop = (row.seq.0 / LOG_RECORDS_MAX + 1) * LOG_RECORDS_MAX;
            let message = format!("that of run {} has {} records; at {stop} it stops", row.run, row.seq);
            hinted(say("logs", DoctorLevel::Warn, message), "see what the run does so often; it may go in circles")
        }
    }
}

/// Runs that have not ended and that nobody drives.
async fn orphans_check(engine: &Engine) -> DoctorCheck {
    let filter = RunFilter { limit: LIST_MAX, prefix: None, ended: Some(false) };
    let mut orphans = Vec::new();
    for row in engine.store.runs.runs(filter).await.unwrap_or_default() {
        if matches!(engine.is_owned(&row.run).await, Ok(false)) {
            orphans.push(row.run.to_string());
        }
    }
    if orphans.is_empty() {
        return say("runs", DoctorLevel::Ok, "every run has ended or is driven by a process".to_owned());
    }
    let message = format!("{} wait for somebody to go on with them, the newest is {}", orphans.len(), orphans[0]);
    hinted(say("runs", DoctorLevel::Warn, message), "`whaleflow resume RUN` goes on, `whaleflow cancel RUN` ends it")
}

/// Trees whose run has ended, or is not known.
async fn trees_check(engine: &Engine) -> DoctorCheck {
    let found = match engine.store.trees.trees(TreeFilter::default()).await {
        Ok(found) => found,
        Err(error) => return say("trees", DoctorLevel::Fail, error.to_string()),
    };
    let is_at = |stages: &[TreeStage], stage: TreeStage| stages.contains(&stage);
    let of = |stages: &[TreeStage]| found.iter().filter(|it| is_at(stages, it.row.used.stage)).count();
    let is_left = |it: &&TreeListed| {
        it.run.as_ref().is_some_and(|run| run.ended) && is_at(&[TreeStage::Making, TreeStage::Held], it.row.used.stage)
    };
    let left: Vec<&str> = found.iter().filter(is_left).map(|it| it.row.slot.name.as_str()).collect();
    let (used, free) = (of(&[TreeStage::Making, TreeStage::Held]), of(&[TreeStage::Free]));
    let kept = of(&[TreeStage::Kept]);
    match left.first() {
        None => {
            let message = format!("{used} in use, {free} waiting for the next branch, {kept} kept, none left over");
            say("trees", DoctorLevel::Ok, message)
        }
        Some(first) => hinted(
            say(
                "trees",
                DoctorLevel::Warn,
                format!("{} left over by runs that have ended, such as {first}", left.len()),
            ),
            "`whaleflow trees list` says what is in them; `whaleflow trees clean` saves that and removes them",
        ),
    }
}

fn space_check(project: &Project) -> DoctorCheck {
    match free_bytes(project) {
        None => say("space", DoctorLevel::Warn, "free space is not known".to_owned()),
        Some(free) if free < FREE_BYTES_WARN => {
            say("space", DoctorLevel::Warn, format!("only {} MiB are free for state", free >> 20))
        }
        Some(free) => say("space", DoctorLevel::Ok, format!("{} GiB are free for state", free >> 30)),
    }
}

fn free_bytes(project: &Project) -> Option<u64> {
    let dir = project.state_root().ancestors().find(|dir| dir.exists())?;
    rustix::fs::statvfs(dir).ok().map(|it| it.f_bavail.saturating_mul(it.f_frsize))
}

fn trust_check(project: &Project, is_trusted: bool) -> DoctorCheck {
    match (project.is_repository(), is_trusted) {
        (_, true) => say("trust", DoctorLevel::Ok, "commands of this repository's workflows may run".to_owned()),
        (false, false) => say("trust", DoctorLevel::Ok, "there is no repository to trust".to_owned()),
        (true, false) => hinted(
            say("trust", DoctorLevel::Warn, "commands of this repository's workflows may not run".to_owned()),
            "`whaleflow trust` lets them",
        ),
    }
}

/// Checks the hash chains of all runs, or of one, with the blobs that their records name.
///
/// # Errors
/// When the store cannot be read at all; what is damaged is part of the answer.
pub async fn verify(engine: &Engine, only: Option<&RunId>) -> Result<VerifyView, Error> {
    let store = &engine.store;
    let mut bad = Vec::new();
    let runs = match only {
        Some(run) => vec![run.clone()],
        None => {
            let damage = store.runs.check().await?;
            bad.extend(damage.into_iter().map(|detail| BadView { run_id: String::new(), seq: 0, detail }));
            let filter = RunFilter { limit: usize::MAX, prefix: None, ended: None };
            store.runs.runs(filter).await?.into_iter().map(|row| row.run).collect()
        }
    };
    let mut records = 0;
    for run in &runs {
        match walk_run(store, run, Look::IsWhole).await {
            Ok(count) => records += count,
            Err(Damage { seq, detail, intact }) => {
                records += intact;
                bad.push(BadView { run_id: run.to_string(), seq, detail });
            }
        }
    }
    Ok(VerifyView::new(runs.len() as u64, records, bad))
}

struct Damage {
    seq: u64,
    detail: String,
    intact: u64,
}

/// What is looked at of a blob.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Whether there is one.
    IsThere,
    /// All of it.
    IsWhole,
}

async fn walk_run(store: &Store, run: &RunId, look: Look) -> Result<u64, Damage> {
    let damaged = |error: ReadError, intact: u64| match error {
        ReadError::Corrupt { seq, detail, .. } => Damage { seq: seq.0, detail, intact: seq.0.saturating_sub(1) },
        other => Damage { seq: intact + 1, detail: other.to_string(), intact },
    };
    let verified = store.log.verify(run).await.map_err(|error| damaged(error, 0))?;
    let mut after = Seq::START;
    let mut seen = std::collections::HashSet::<Digest>::new();
    loop {
        let page = store.log.read(run, after, PageLimit::default()).await.map_err(|error| damaged(error, after.0))?;
        if page.is_empty() {
            return Ok(verified.records);
        }
        for stored in page {
            let at = |detail: String| Damage { seq: stored.seq.0, detail, intact: stored.seq.0 - 1 };
            let record = decode(&stored).map_err(|error| at(error.to_string()))?;
            for digest in named_blobs(&record) {
                if !seen.insert(digest) {
                    continue;
                }
                match look {
                    Look::IsWhole => drop(store.blobs.get(&digest).await.map_err(|error| at(error.to_string()))?),
                    Look::IsThere => {
                        if !store.blobs.exists(&digest).await.map_err(|error| at(error.to_string()))? {
                            return Err(at(format!("there is no blob {digest}")));
                        }
                    }
                }
            }
            after = stored.seq;
        }
    }
}
