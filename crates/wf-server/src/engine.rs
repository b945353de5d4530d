//! What a process needs to read, own and perform the runs of one project.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::sync::OnceCell;
use wf_effects::external::Sessions;
use wf_effects::git::{BuildCache, BuildCacheOptions, Git, GitOptions, PoolOptions, Repository, Trees, TreesOptions};
use wf_effects::local::{Catalog, LocalEffects, LocalOptions, Models};
use wf_effects::mock::Rules;
use wf_effects::sandbox::Host as SandboxHost;
use wf_effects::{Clock, RealClock, ScratchDir, sweep_scratch};
use wf_ir::{Digest, Kind, Node, Workflow};
use wf_kernel::RunStatus;
use wf_kernel::record::RunStarted;
use wf_runtime::Runtime;
use wf_store::{Presence, Present, RunId, Store};

use crate::config::Config;
use crate::environment::Environment;
use crate::error::Error;
use crate::fixture;
use crate::id::random_text;
use crate::models::models_of;
use crate::project::{Project, make_private_dir};
use crate::source::child_program;
use crate::start::runs_programs;
use crate::trust::trust_of;

/// How long one call of git may take.
const GIT_TIMEOUT: Duration = Duration::from_secs(120);

/// The runs of one project.
pub struct Engine {
    /// The surroundings.
    pub environment: Environment,
    /// The project.
    pub project: Project,
    /// Its store.
    pub store: Store,
    models: OnceCell<Option<Arc<Models>>>,
}

/// This process as an owner of runs, known to be alive for as long as this value lives.
pub struct Owner {
    name: String,
    presence: Presence,
    _present: Present,
}

impl Owner {
    /// The name of this process among owners and workers.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// How many leaves a process performs at once unless it is told: as many as a workflow usually has side by side.
pub const SLOTS: usize = 64;

/// Open files that a process needs beside those of its leaves: the store, calls of git, what it reads.
const FILES_OF_ITS_OWN: u64 = 128;
/// Open files that a leaf may need: four pipes for a command, and as many for what an agent has to do with.
const FILES_PER_LEAF: u64 = 8;

/// How many leaves this process can perform at once, of so many that are wanted: each needs open files.
pub fn affordable_slots(wanted: usize) -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let affordable = files.saturating_sub(FILES_OF_ITS_OWN) / FILES_PER_LEAF;
    wanted.min(usize::try_from(affordable).unwrap_or(usize::MAX).max(1))
}

/// The terms on which a run goes on in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whether the mock takes its time.
    pub is_paced: bool,
    /// How many leaves this process performs at once; the others are left to workers.
    pub slots: usize,
}

/// Who sees to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// A process drives it.
    Process,
    /// It has no owner, which may be for a moment: one process may be handing it to another.
    Changing,
    /// Its owner is dead, or has put it to rest until somebody decides something.
    Nobody,
}

impl Engine {
    /// Opens the project's store, and makes it where there is none.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(environment: &Environment, project: &Project) -> Result<Self, Error> {
        let store = project.open_store()?;
        sweep_scratch(&project.scratch_root());
        Ok(Self::of(environment, project, store))
    }

    fn of(environment: &Environment, project: &Project, store: Store) -> Self {
        Self { environment: environment.clone(), project: project.clone(), store, models: OnceCell::new() }
    }

    /// Sees to it that every configured key is known, those of a keyring included, before something is shown that may hold
    /// one: files of a repository. Whoever asks models hears what is wrong with a configuration.
    pub async fn learn_keys(&self) {
        let _ = self.models().await;
    }

    /// Who answers for roles, as it is configured when it is first asked for: one limiter for each provider in a process.
    ///
    /// # Errors
    /// When the configuration is malformed.
    pub(crate) async fn models(&self) -> Result<Option<Arc<Models>>, Error> {
        let models = self.models.get_or_try_init(async || {
            let config = Config::load_models(&self.environment)?;
            models_of(&self.environment, &config).await
        });
        models.await.cloned()
    }

    /// Opens the project's store if there is one.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_if_any(environment: &Environment, project: &Project) -> Result<Option<Self>, Error> {
        let store = project.open_store_if_any()?;
        sweep_scratch(&project.scratch_root());
        Ok(store.map(|store| Self::of(environment, project, store)))
    }

    /// The time.
    pub fn now_ms(&self) -> i64 {
        RealClock.now_ms()
    }

    /// Announces this process as an owner.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn announce(&self) -> Result<Owner, Error> {
        let name = format!("{}-{}", std::process::id(), random_text(10)?);
        let presence = self.project.presence()?;
        let dir = self.project.store_dir();
        let present = presence.announce(&name).map_err(Error::io("lock an owner's file in", &dir))?;
        Ok(Owner { name, presence, _present: present })
    }

    /// What advances runs in the name of `owner`, with room for so many leaves at once.
    pub fn runtime(&self, owner: &Owner, effects: LocalEffects, slots: usize) -> Runtime {
        Runtime {
            store: self.store.clone(),
            effects: Arc::new(effects),
            clock: Arc::new(RealClock),
            owner: owner.name.clone(),
            slots,
            presence: Some(owner.presence.clone()),
        }
    }

    /// Whether somebody alive owns a run.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn is_owned(&self, run: &RunId) -> Result<bool, Error> {
        let lease = self.store.leases.lease(run).await?;
        let Some(owner) = lease.owner else { return Ok(false) };
        Ok(lease.until_ms > self.now_ms() && !self.project.presence()?.is_gone(&owner))
    }

    /// Who sees to a run.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn keeper(&self, run: &RunId) -> Result<Keeper, Error> {
        let row = self.store.runs.head(run).await?;
        let Some(owner) = row.lease.owner else {
            // One that was put to rest waits for people, and nobody has said anything since.
            let rests = [RunStatus::Waiting, RunStatus::Paused, RunStatus::Poisoned].map(RunStatus::as_str);
            let rests = rests.contains(&row.head.status.as_str());
            let is_silent = self.store.inbox.inbox(run, row.inbox_cursor, 1).await?.is_empty();
            return Ok(if rests && is_silent { Keeper::Nobody } else { Keeper::Changing });
        };
        if self.project.presence()?.is_gone(&owner) {
            return Ok(Keeper::Nobody);
        }
        Ok(if row.lease.until_ms > self.now_ms() { Keeper::Process } else { Keeper::Changing })
    }

    /// Finds git.
    ///
    /// # Errors
    /// When there is none that will do.
    pub async fn git(&self) -> Result<Git, Error> {
        open_git(&self.environment, &self.project).await
    }

    /// What performs the effects of a run, as it was begun, in the process that is known as `holder`.
    ///
    /// # Errors
    /// When its checkout is gone or no longer trusted, or its rules cannot be read.
    pub async fn effects(
        &self,
        workflow: &Workflow,
        started: &RunStarted,
        holder: &str,
        is_paced: bool,
    ) -> Result<LocalEffects, Error> {
        let rules = match &started.rules {
            Some(digest) => parse_rules(&self.store.blobs.get(digest).await?)?,
            None => Rules::default(),
        };
        let catalog = Catalog { rules, seed: started.seed, is_paced };
        // Keys are learned in any case: a command may print one. But a run that the mock has begun goes on with the mock,
        // whatever was configured since.
        let models = self.models().await;
        let models = if started.catalog == catalog.digest() { None } else { models? };
        let runs_programs = runs_programs(workflow, models.as_deref());
        let (trees, is_trusted) = match (&started.base, &started.repo) {
            (Some(_), Some(repo)) => self.trees(runs_programs, &started.run_id, Path::new(repo), holder).await?,
            (Some(_), None) => return Err(foreign(&started.run_id)),
            (None, _) => (None, false),
        };
        let build_cache = trees.as_ref().and_then(Trees::build_cache);
        Ok(LocalEffects::new(LocalOptions {
            catalog,
            models,
            trees,
            env: self.environment.vars().clone(),
            scratch: self.scratch_dir()?,
            is_trusted,
            supervisor: Some(child_program(&self.environment)),
            redactor: self.environment.redactor().clone(),
            sandbox: if started.sandbox == "off" { None } else { Some(sandbox_host(&self.environment)?) },
            build_cache,
            sessions: Sessions::at(self.project.dir().join("sessions").join(&started.run_id)),
        }))
    }

    async fn trees(
        &self,
        runs_programs: bool,
        run: &str,
        top: &Path,
        holder: &str,
    ) -> Result<(Option<Trees>, bool), Error> {
        if !top.is_dir() {
            return Err(Error::usage(format!("the checkout {top:?} of the run is not here")));
        }
        let is_fixture = fixture::is_fixture(&self.project, top);
        let is_trusted = is_fixture || trust_of(&Project::of(&self.environment, top)?).is_some();
        if !is_trusted && runs_programs {
            return Err(Error::Untrusted { repository: top.to_owned() });
        }
        let repository = Repository::discover(&self.git().await?, top).await?;
        Ok((Some(self.pool(&repository, run, holder)?), is_trusted))
    }

    /// The trees of a run, from the pool of the project's repository.
    ///
    /// # Errors
    /// When the configuration is malformed, and when the pool's directory cannot be made.
    pub fn pool(&self, repository: &Repository, run: &str, holder: &str) -> Result<Trees, Error> {
        let is_trusted = trust_of(&self.project).is_some();
        let config = Config::load(&self.environment, &self.project, is_trusted)?.trees;
        let usual = PoolOptions::new(self.store.trees.clone(), holder);
        let root = self.trees_dir_of(repository)?;
        let build_cache = BuildCache::new(BuildCacheOptions {
            mode: config.build_cache,
            // Beside the trees, because files are shared on one file system only; no tree has a name like this.
            root: root.join(".builds"),
            seed_bytes_max: config.build_cache_bytes_max,
            checkout: Some(repository.top().to_owned()),
        });
        let ms = |ttl: Option<u64>, usual: i64| ttl.map_or(usual, |ttl| i64::try_from(ttl).unwrap_or(i64::MAX));
        let pool = PoolOptions {
            presence: Some(self.project.presence()?),
            trees_max: config.max,
            warm_max: config.warm.unwrap_or(usual.warm_max),
            warm_ms: ms(config.warm_ttl_ms, usual.warm_ms),
            keep: config.keep,
            keep_ms: ms(config.keep_ttl_ms, usual.keep_ms),
            build_cache: Some(build_cache),
            ..usual
        };
        make_private_dir(&root)?;
        Ok(Trees::open(repository, &TreesOptions { root, run: run.to_owned(), pool })?)
    }

    /// Where the trees of the project are.
    ///
    /// # Errors
    /// When the configuration is malformed.
    pub fn trees_dir(&self) -> Result<PathBuf, Error> {
        let usual = self.project.trees_dir();
        let config = Config::load(&self.environment, &self.project, trust_of(&self.project).is_some())?.trees;
        let name = usual.file_name().unwrap_or_default();
        Ok(config.dir.map_or(usual.clone(), |dir| dir.join(name)))
    }

    /// Where the trees of one repository are: a pool is of one only. Runs may work on a fixture, or where `--repo` says.
    ///
    /// # Errors
    /// When the configuration is malformed.
    pub(crate) fn trees_dir_of(&self, repository: &Repository) -> Result<PathBuf, Error> {
        let own = self.trees_dir()?;
        let common_dir = repository.common_dir();
        if self.project.common_dir() == Some(common_dir) {
            return Ok(own);
        }
        let mut name = own.file_name().unwrap_or_default().to_owned();
        name.push(format!("-{}", Digest::of(common_dir.as_os_str().as_encoded_bytes()).short()));
        Ok(own.with_file_name(name))
    }

    fn scratch_dir(&self) -> Result<ScratchDir, Error> {
        let dir = self.project.scratch_root();
        make_private_dir(&dir)?;
        ScratchDir::open(&dir).map_err(Error::io("make a directory in", &dir))
    }
}

/// What sandboxes on this machine are made of.
pub(crate) fn sandbox_host(environment: &Environment) -> Result<SandboxHost, Error> {
    let config = environment.config_file()?;
    let mut hidden = vec![environment.state_root()?, environment.cache_root()?];
    hidden.extend(config.parent().map(Path::to_owned));
    let absolute = |path: &str| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let path = environment.get("PATH").unwrap_or_default();
    Ok(SandboxHost {
        homes: environment.get("HOME").and_then(absolute).into_iter().collect(),
        hidden,
        programs: path.split(':').filter_map(absolute).collect(),
        ..SandboxHost::default()
    })
}

fn foreign(run: &str) -> Error {
    Error::usage_with(
        format!("run {run} works in the trees of a repository that is not here"),
        "an imported run can be shown and replayed, and only goes on where it began",
    )
}

fn parse_rules(bytes: &[u8]) -> Result<Rules, Error> {
    let text = std::str::from_utf8(bytes).map_err(|error| Error::Damaged(format!("the mock's rules: {error}")))?;
    Rules::parse(text, "mock.toml").map_err(Error::Invalid)
}

/// Finds git, with the engine's own directories.
///
/// # Errors
/// When there is none that will do.
pub(crate) async fn open_git(environment: &Environment, project: &Project) -> Result<Git, Error> {
    let state = project.state_root();
    make_private_dir(state)?;
    let options = GitOptions {
        program: PathBuf::from("git"),
        path: environment.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin").into(),
        scratch_dir: project.scratch_root(),
        locks_dir: state.join("locks"),
        timeout: GIT_TIMEOUT,
    };
    Ok(Git::open(options).await?)
}

/// Whether something in a workflow works in a tree.
pub(crate) fn works_in_trees(workflow: &Workflow) -> bool {
    workflow.nodes().iter().any(|node| {
        matches!(node.kind, Kind::Agent(_) | Kind::Command(_) | Kind::Test(_) | Kind::Search(_) | Kind::Branch { .. })
    })
}

/// The first node whose agent may run commands where its model wants to.
pub(crate) fn first_shell(workflow: &Workflow) -> Option<&Node> {
    let allows = |list: &Option<Vec<String>>| list.as_ref().is_none_or(|list| list.iter().any(|it| it == "bash"));
    let may = |node: &Node| allows(&node.permissions.tools) && allows(&node.permissions.commands);
    workflow.nodes().iter().find(|node| matches!(node.kind, Kind::Agent(_)) && may(node))
}

/// The first node that runs a command.
pub(crate) fn first_command(workflow: &Workflow) -> Option<&Node> {
    workflow.nodes().iter().find(|node| matches!(node.kind, Kind::Command(_) | Kind::Test(_)))
}
