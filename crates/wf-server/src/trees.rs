//! Trees as people see them: which there are, what is in them, one for themselves, and what is removed.
//!
//! Who may touch which tree is in the store's rows. Whatever is removed is saved first, and a tree in which a living
//! process works, or whose run goes on, is left alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use wf_effects::git::{GitError, Landed, Repository, Rescues, TreeLook, Trees, pool_name};
use wf_effects::process::run_at_terminal;
use wf_store::{Presence, RunFilter, TreeFilter, TreeListed, TreeStage};
use wf_view::run::FileView;
use wf_view::text::rfc3339;
use wf_view::{CleanView, RescueView, RescuesView, TreeStatusView, TreeView, TreesView, VERSION};

use crate::engine::Engine;
use crate::error::Error;
use crate::id::new_run_id;
use crate::ops;

/// How many runs are looked at for the repositories that they work in.
const RUNS_MAX: usize = 500;
/// The longest name that a person gives a tree.
const NAME_LEN_MAX: usize = 100;
/// What a person's tree is called unless they say.
const NAME: &str = "mine";
/// What is started in a tree where nothing says which shell.
const SHELL: &str = "/bin/sh";

/// A pool of the project, and the trees in it by way of the repository that they are of.
struct Pool {
    root: PathBuf,
    trees: Trees,
}

/// The trees of a project.
struct Yard<'a> {
    engine: &'a Engine,
    presence: Presence,
    pools: BTreeMap<String, Pool>,
    rows: Vec<TreeListed>,
}

/// What to remove.
#[derive(Clone, Debug, Default)]
pub struct CleanOptions {
    /// These; else all that nobody needs.
    pub names: Vec<String>,
    /// Also those that are kept to be looked at, and those of people.
    pub with_kept: bool,
    /// Only say what would be done.
    pub is_dry: bool,
}

/// The directories of the project's pools, by the name that their rows have.
pub(crate) fn roots(engine: &Engine) -> Result<BTreeMap<String, PathBuf>, Error> {
    let own = engine.trees_dir()?;
    let name = own.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let entries = own.parent().and_then(|dir| std::fs::read_dir(dir).ok());
    let dirs = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let is_ours = |dir: &PathBuf| {
        let rest = dir.file_name().and_then(|it| it.to_str()).and_then(|it| it.strip_prefix(name.as_str()));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let real = dirs.filter(is_ours).filter_map(|dir| std::fs::canonicalize(dir).ok());
    Ok(real.map(|dir| (pool_name(&dir), dir)).collect())
}

/// The repositories of the project: its own, and those that its runs work in.
async fn repositories(engine: &Engine) -> Result<Vec<Repository>, Error> {
    let git = engine.git().await?;
    let mut tops: Vec<PathBuf> = Vec::new();
    if engine.project.is_repository() {
        tops.push(engine.project.root().to_owned());
    }
    let filter = RunFilter { limit: RUNS_MAX, prefix: None, ended: None };
    for row in engine.store.runs.runs(filter).await? {
        // A run whose beginning cannot be read has no say here; `verify` names it.
        let repo = ops::started_of(engine, &row.run).await.ok().and_then(|started| started.repo);
        if let Some(top) = repo.map(PathBuf::from).filter(|top| !tops.contains(top)) {
            tops.push(top);
        }
    }
    let mut found: Vec<Repository> = Vec::new();
    for top in tops {
        // One that is gone has no trees either.
        let Ok(repository) = Repository::discover(&git, &top).await else { continue };
        if found.iter().all(|other| other.common_dir() != repository.common_dir()) {
            found.push(repository);
        }
    }
    Ok(found)
}

impl<'a> Yard<'a> {
    async fn open(engine: &'a Engine, holder: &str) -> Result<Self, Error> {
        let mut pools = BTreeMap::new();
        let roots = roots(engine)?;
        for repository in repositories(engine).await? {
            let root = engine.trees_dir_of(&repository)?;
            let root = std::fs::canonicalize(&root).unwrap_or(root);
            let name = pool_name(&root);
            if roots.contains_key(&name) {
                let trees = engine.pool(&repository, new_run_id(engine.now_ms())?.as_str(), holder)?;
                pools.insert(name, Pool { root, trees });
            }
        }
        let rows = engine.store.trees.trees(TreeFilter::default()).await?;
        Ok(Self { engine, presence: engine.project.presence()?, pools, rows })
    }

    fn is_alive(&self, process: &str) -> bool {
        !self.presence.is_gone(process)
    }

    /// Why a tree is not removed when nobody names it; nothing where it is.
    fn needed(&self, listed: &TreeListed) -> Option<String> {
        let used = &listed.row.used;
        if let Some(why) = self.in_use(listed) {
            return Some(why);
        }
        match used.stage {
            TreeStage::Making | TreeStage::Held => {
                let run = used.tenant.as_ref().filter(|_| listed.run.as_ref().is_some_and(|run| !run.ended))?;
                Some(format!("run {} may go on in it: `whaleflow resume`", run.run))
            }
            TreeStage::Kept => match used.until_ms {
                None => Some("it is yours until you clean it by name".to_owned()),
                Some(until) if until > self.engine.now_ms() => Some(format!("it is kept until {}", rfc3339(until))),
                Some(_) => None,
            },
            TreeStage::Free | TreeStage::Going => None,
        }
    }

    /// Why nobody may remove a tree.
    fn in_use(&self, listed: &TreeListed) -> Option<String> {
        let used = &listed.row.used;
        if let Some(holder) = used.holder.as_ref().filter(|holder| self.is_alive(holder)) {
            return Some(format!("process {holder} works in it"));
        }
        let owner = listed.run.as_ref().filter(|run| !run.ended).and_then(|run| run.owner.as_ref());
        let is_taken = matches!(used.stage, TreeStage::Making | TreeStage::Held);
        let (tenant, owner) = (used.tenant.as_ref()?, owner?);
        (is_taken && self.is_alive(owner)).then(|| format!("run {} goes on", tenant.run))
    }

    /// What a list says of a tree.
    async fn view(&self, listed: &TreeListed) -> TreeView {
        let (row, pool) = (&listed.row, self.pools.get(&listed.row.slot.pool));
        let used = &row.used;
        let mut view = TreeView {
            name: row.slot.name.clone(),
            path: pool.map(|pool| pool.root.join(&row.slot.name).display().to_string()),
            stage: used.stage.word(),
            run_id: used.tenant.as_ref().filter(|_| listed.run.is_some()).map(|tenant| tenant.run.to_string()),
            branch: used.tenant.as_ref().map(|tenant| tenant.branch.clone()),
            holder: used.holder.clone().filter(|holder| self.is_alive(holder)),
            since: rfc3339(used.at_ms),
            age_ms: u64::try_from(self.engine.now_ms().saturating_sub(used.at_ms)).unwrap_or(0),
            until: used.until_ms.map(rfc3339),
            base: None,
            commit: None,
            merged: None,
            dirty: None,
            changed: Vec::new(),
            saved: None,
            left_out: Vec::new(),
            disk_bytes: None,
            needed: self.needed(listed),
            error: None,
        };
        let Some(pool) = pool else { return view };
        view.disk_bytes = pool.trees.disk_of(&row.slot.name).await.ok();
        if used.stage == TreeStage::Free {
            // What is in it was saved, and is nobody's any more.
            return view;
        }
        match pool.trees.look_into(&row.slot.name).await {
            Ok(Some(look)) => self.add_look(&mut view, &pool.trees, &look).await,
            Ok(None) => {}
            Err(error) => view.error = Some(error.to_string()),
        }
        view
    }

    async fn add_look(&self, view: &mut TreeView, trees: &Trees, look: &TreeLook) {
        let file = |file: &wf_kernel::record::FileChange| FileView {
            path: file.path.clone(),
            change: file.change.clone(),
            insertions: file.insertions,
            deletions: file.deletions,
        };
        view.dirty = Some(look.is_dirty());
        view.changed = look.changed.iter().map(file).collect();
        view.left_out.clone_from(&look.left_out);
        view.saved.clone_from(&look.saved);
        view.merged = merged(trees.repository(), look).await;
        (view.base, view.commit) = (Some(look.base.clone()), Some(look.commit.clone()));
    }

    /// The one tree that a person means: by its name or the beginning of it, by its branch, or by RUN:BRANCH.
    fn named(&self, name: &str) -> Result<&TreeListed, Error> {
        let (run, branch) = name.split_once(':').unwrap_or(("", name));
        let is_branch = |listed: &TreeListed| {
            let tenant = listed.row.used.tenant.as_ref();
            tenant.is_some_and(|tenant| tenant.branch == branch && tenant.run.as_str().starts_with(run))
        };
        let is_meant = |it: &&TreeListed| (!name.is_empty() && it.row.slot.name.starts_with(name)) || is_branch(it);
        let exact = self.rows.iter().find(|listed| listed.row.slot.name == name);
        let found: Vec<&TreeListed> = self.rows.iter().filter(is_meant).collect();
        match (exact, found.as_slice()) {
            (Some(one), _) => Ok(one),
            (None, [one]) => Ok(*one),
            (None, []) => {
                Err(Error::usage_with(format!("there is no tree {name:?}"), "`whaleflow trees list` names them"))
            }
            (None, several) => {
                let names: Vec<&str> = several.iter().take(10).map(|it| it.row.slot.name.as_str()).collect();
                let message = format!("{name:?} is {} trees", several.len());
                Err(Error::usage_with(message, format!("name one of {}", names.join(", "))))
            }
        }
    }
}

/// Whether what was committed in a tree is in the branch that is checked out.
async fn merged(repository: &Repository, look: &TreeLook) -> Option<&'static str> {
    if look.base == look.commit {
        return Some("nothing");
    }
    let head = repository.head_commit().await.ok()?;
    match repository.landed(&look.base, &look.commit, &head.commit).await.ok()? {
        Landed::Merged => Some("merged"),
        Landed::Squashed => Some("squashed"),
        Landed::No => Some("no"),
    }
}

/// All trees of the project.
///
/// # Errors
/// When the store or git cannot be asked.
pub async fn list(engine: &Engine) -> Result<TreesView, Error> {
    let yard = Yard::open(engine, "").await?;
    let mut views = Vec::new();
    for listed in &yard.rows {
        views.push(yard.view(listed).await);
    }
    Ok(TreesView::new(views))
}

/// One tree.
///
/// # Errors
/// When there is no such tree, and when the store or git cannot be asked.
pub async fn status(engine: &Engine, name: &str) -> Result<TreeStatusView, Error> {
    let yard = Yard::open(engine, "").await?;
    Ok(TreeStatusView { version: VERSION, tree: yard.view(yard.named(name)?).await })
}

/// Makes a tree for a person, at a revision of the project's repository or at what is checked out.
///
/// # Errors
/// When there is no repository or no such revision, and when git fails.
pub async fn make(engine: &Engine, rev: Option<&str>, name: Option<&str>) -> Result<TreeStatusView, Error> {
    let name = name.unwrap_or(NAME);
    if name.is_empty() || name.len() > NAME_LEN_MAX || name.chars().any(char::is_control) {
        return Err(Error::usage(format!("the name of a tree has 1 to {NAME_LEN_MAX} characters that can be printed")));
    }
    engine.project.require_repository()?;
    let owner = engine.announce()?;
    let repository = Repository::discover(&engine.git().await?, engine.project.root()).await?;
    let at = match rev {
        Some(rev) => repository.resolve(rev).await?,
        None => repository.head_commit().await?,
    };
    // A run that nobody knows: its tree is nobody's but the person's.
    let id = new_run_id(engine.now_ms())?;
    let trees = engine.pool(&repository, id.as_str(), owner.name())?;
    let dir = trees.make_for_person(name, &at.commit).await?;
    let yard = Yard::open(engine, owner.name()).await?;
    let is_it = |listed: &&TreeListed| dir.ends_with(&listed.row.slot.name);
    let listed = yard.rows.iter().find(is_it).ok_or(Error::Git(GitError::Fenced))?;
    Ok(TreeStatusView { version: VERSION, tree: yard.view(listed).await })
}

/// Where a tree is.
///
/// # Errors
/// When there is no such tree, or nobody knows where it is.
pub async fn path(engine: &Engine, name: &str) -> Result<PathBuf, Error> {
    let yard = Yard::open(engine, "").await?;
    place(&yard, yard.named(name)?)
}

fn place(yard: &Yard<'_>, listed: &TreeListed) -> Result<PathBuf, Error> {
    let slot = &listed.row.slot;
    let pool = yard.pools.get(&slot.pool);
    let dir = pool.map(|pool| pool.root.join(&slot.name)).filter(|dir| dir.is_dir());
    dir.ok_or_else(|| Error::usage(format!("the directory of {} is not here", slot.name)))
}

/// Runs the person's shell in a tree, and answers with its exit code. A tree that is kept stays for as long.
///
/// # Errors
/// When there is no such tree, and when the shell cannot be started.
pub async fn shell(engine: &Engine, name: &str) -> Result<i32, Error> {
    let owner = engine.announce()?;
    let yard = Yard::open(engine, owner.name()).await?;
    let listed = yard.named(name)?;
    let dir = place(&yard, listed)?;
    let trees = yard.pools.get(&listed.row.slot.pool).map(|pool| &pool.trees);
    let is_kept = listed.row.used.stage == TreeStage::Kept && listed.row.used.holder.is_none();
    let held = match trees.filter(|_| is_kept) {
        Some(trees) => Some((trees, trees.hold_kept(&listed.row, true).await?)),
        None => None,
    };
    let program = PathBuf::from(engine.environment.get("SHELL").unwrap_or(SHELL));
    let (at, env, shell) = (dir.clone(), engine.environment.vars().clone(), program.clone());
    let ran = tokio::task::spawn_blocking(move || run_at_terminal(&shell, &at, &env)).await;
    if let Some((trees, row)) = held {
        trees.hold_kept(&row, false).await?;
    }
    let ran = ran.map_err(|error| Error::Bug(format!("the shell's task failed: {error}")))?;
    ran.map_err(Error::io("start", &program))
}

/// Removes trees; unsaved work is saved first.
///
/// # Errors
/// When a tree that is named is in use, or is not there, and when git or the store fail.
pub async fn clean(engine: &Engine, options: &CleanOptions) -> Result<CleanView, Error> {
    let owner = engine.announce()?;
    let yard = Yard::open(engine, owner.name()).await?;
    let mut view = CleanView {
        version: VERSION,
        dry_run: options.is_dry,
        removed: Vec::new(),
        left: Vec::new(),
        rescued: Vec::new(),
        disk_bytes: 0,
    };
    let mut chosen: Vec<&TreeListed> = Vec::new();
    for name in &options.names {
        let listed = yard.named(name)?;
        if let Some(why) = yard.in_use(listed) {
            let message = format!("{} cannot be removed: {why}", listed.row.slot.name);
            return Err(Error::Refused { reason: "in_use".to_owned(), message });
        }
        if !chosen.contains(&listed) {
            chosen.push(listed);
        }
    }
    if options.names.is_empty() {
        for listed in &yard.rows {
            let is_kept =
                options.with_kept && listed.row.used.stage == TreeStage::Kept && yard.in_use(listed).is_none();
            if is_kept || yard.needed(listed).is_none() {
                chosen.push(listed);
            } else {
                view.left.push(yard.view(listed).await);
            }
        }
    }
    for listed in chosen {
        remove(&yard, listed, &mut view).await?;
    }
    if options.names.is_empty() && !options.is_dry {
        view.rescued.extend(sweep(&yard).await?);
    }
    Ok(view)
}

async fn remove(yard: &Yard<'_>, listed: &TreeListed, view: &mut CleanView) -> Result<(), Error> {
    let mut tree = yard.view(listed).await;
    let Some(pool) = yard.pools.get(&listed.row.slot.pool) else {
        tree.needed = Some("its repository is not here".to_owned());
        view.left.push(tree);
        return Ok(());
    };
    if !view.dry_run {
        match pool.trees.clear_listed(listed).await {
            Ok(swept) => view.rescued.extend(swept.rescued),
            Err(GitError::Fenced) => {
                tree.needed = Some("somebody took it at this moment".to_owned());
                view.left.push(tree);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
    tree.needed = None;
    view.disk_bytes += tree.disk_bytes.unwrap_or(0);
    view.removed.push(tree);
    Ok(())
}

/// Takes back what runs that have ended left behind, because their process was killed while it cleared up after them.
///
/// # Errors
/// When git or the store fail.
pub async fn tidy(engine: &Engine) -> Result<(), Error> {
    if roots(engine)?.is_empty() {
        return Ok(());
    }
    let owner = engine.announce()?;
    let yard = Yard::open(engine, owner.name()).await?;
    sweep(&yard).await.map(drop)
}

/// Removes what nobody needs, and gives the refs under which work was saved.
async fn sweep(yard: &Yard<'_>) -> Result<Vec<String>, Error> {
    let mut rescued = Vec::new();
    for pool in yard.pools.values() {
        rescued.extend(pool.trees.sweep(wf_effects::git::Reclaim::Never).await?.rescued);
    }
    Ok(rescued)
}

/// The work that was saved from trees.
///
/// # Errors
/// When the store or git cannot be asked.
pub async fn rescues(engine: &Engine) -> Result<RescuesView, Error> {
    let mut rescues = Vec::new();
    for repository in repositories(engine).await? {
        for rescue in Rescues::of(&repository).list(None).await? {
            rescues.push(RescueView {
                reference: rescue.reference,
                repo: repository.top().display().to_string(),
                run_id: rescue.run,
                branch: rescue.branch,
                commit: rescue.commit,
                at: rfc3339(rescue.at_ms),
                kept: rescue.kept.iter().map(|path| path.display().to_string()).collect(),
            });
        }
    }
    Ok(RescuesView { version: VERSION, rescues })
}

/// Writes saved work into a directory that is new or empty. `name` is the ref, or a part of it that no other has.
///
/// # Errors
/// When it is not clear which is meant, something is in the directory, or git fails.
pub async fn restore(engine: &Engine, name: &str, dir: &Path) -> Result<RescueView, Error> {
    let found = rescues(engine).await?.rescues;
    let exact = found.iter().find(|rescue| rescue.reference == name);
    let parts: Vec<&RescueView> = found.iter().filter(|rescue| rescue.reference.contains(name)).collect();
    let rescue = match (exact, parts.as_slice()) {
        (Some(one), _) => one.clone(),
        (None, [one]) => (*one).clone(),
        (None, several) => {
            let message = match several.len() {
                0 => format!("no saved work is called {name:?}"),
                number => format!("{name:?} is in the names of {number}"),
            };
            return Err(Error::usage_with(message, "`whaleflow trees rescue list` names them"));
        }
    };
    let repository = Repository::discover(&engine.git().await?, Path::new(&rescue.repo)).await?;
    Rescues::of(&repository).restore(&rescue.reference, &engine.environment.cwd().join(dir)).await?;
    Ok(rescue)
}
