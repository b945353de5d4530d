//! What works here and what does not; and whether what is stored is intact.

use std::os::unix::fs::PermissionsExt;

use wf_effects::git::list_trees;
use wf_ir::Digest;
use wf_kernel::replay::named_blobs;
use wf_runtime::journal::decode;
use wf_store::{PageLimit, ReadError, RunFilter, RunId, Seq, Store};
use wf_view::reply::{BadView, DoctorCheck, DoctorLevel};
use wf_view::{DoctorView, VerifyView};

use crate::config::Config;
use crate::engine::{Engine, open_git};
use crate::environment::Environment;
use crate::error::Error;
use crate::ops::LIST_MAX;
use crate::project::Project;
use crate::trust::trust_of;

/// Less free space than this is worth a warning.
const FREE_BYTES_WARN: u64 = 1 << 30;

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
    checks.push(match Config::load(environment, project, is_trusted) {
        Ok(_) => say("config", DoctorLevel::Ok, "is readable".to_owned()),
        Err(error) => say("config", DoctorLevel::Fail, error.to_string()),
    });
    checks.push(trust_check(project, is_trusted));
    checks.push(hinted(
        say("sandbox", DoctorLevel::Warn, "none: commands of trusted repositories run as you".to_owned()),
        "run only workflows that you would run by hand",
    ));
    checks.push(say(
        "models",
        DoctorLevel::Ok,
        "mock: every role is answered by rules in a file, or by chance".to_owned(),
    ));
    DoctorView::new(checks)
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
    let message = format!("none around {}", project.root().display());
    hinted(
        say("repository", DoctorLevel::Warn, message),
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
    vec![store, orphans_check(&engine).await, trees_check(&engine).await]
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
    let found = match list_trees(&engine.project.trees_dir()) {
        Ok(found) => found,
        Err(error) => return say("trees", DoctorLevel::Fail, error.to_string()),
    };
    let mut left = Vec::new();
    for tree in &found {
        let ended = match RunId::parse(&tree.run) {
            Ok(run) => engine.store.runs.head(&run).await.is_ok_and(|row| row.head.ended),
            Err(_) => true,
        };
        if ended {
            left.push(tree.dir.display().to_string());
        }
    }
    match left.first() {
        None => say("trees", DoctorLevel::Ok, format!("{} in use, none left over", found.len())),
        Some(first) => hinted(
            say(
                "trees",
                DoctorLevel::Warn,
                format!("{} left over by runs that have ended, such as {first}", left.len()),
            ),
            "what is in them was saved or kept; look, then remove them with `git worktree remove`",
        ),
    }
}

fn space_check(project: &Project) -> DoctorCheck {
    let dir = project.state_root().ancestors().find(|dir| dir.exists());
    let free = dir.and_then(|dir| rustix::fs::statvfs(dir).ok()).map(|it| it.f_bavail.saturating_mul(it.f_frsize));
    match free {
        None => say("space", DoctorLevel::Warn, "free space is not known".to_owned()),
        Some(free) if free < FREE_BYTES_WARN => {
            say("space", DoctorLevel::Warn, format!("only {} MiB are free for state", free >> 20))
        }
        Some(free) => say("space", DoctorLevel::Ok, format!("{} GiB are free for state", free >> 30)),
    }
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
        match verify_run(store, run).await {
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

async fn verify_run(store: &Store, run: &RunId) -> Result<u64, Damage> {
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
                if seen.insert(digest) {
                    store.blobs.get(&digest).await.map_err(|error| at(error.to_string()))?;
                }
            }
            after = stored.seq;
        }
    }
}
