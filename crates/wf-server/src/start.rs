//! Starting a run: first a plan, which shows everything before anything is spent, then the run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wf_effects::git::{Git, GitError, Repository};
use wf_effects::local::{Catalog as RoleCatalog, Models, work_of};
use wf_effects::mock::Rules;
use wf_effects::models::catalog::Work;
use wf_effects::process::find_program;
use wf_effects::sandbox::{Tier, detect};
use wf_ir::node::Budget;
use wf_ir::{
    Catalog, DEFAULT_ROLE, Diagnostic, Digest, Kind, Node, RoleStatus, Span, Value, Workflow, codes, preflight,
};
use wf_kernel::ValueRef;
use wf_kernel::record::{Base, InputValue, Origin, RunStarted, SEMANTICS};
use wf_runtime::{NewRun, Owned};
use wf_store::RunId;
use wf_view::run::PassedOverView;
use wf_view::{PriceView, RoleView};

use crate::config::Config;
use crate::engine::{Engine, Owner, Terms, first_command, first_shell, open_git, works_in_trees};
use crate::environment::Environment;
use crate::error::{Error, NO_SANDBOX, SOURCE_UNREADABLE, hint_no_sandbox};
use crate::files::read_named;
use crate::fixture;
use crate::id::new_run_id;
use crate::inputs::{inputs_of, labels_of};
use crate::models::models_of;
use crate::project::{Project, make_private_dir, sync_dir};
use crate::source::{Source, child_program, is_error};
use crate::trust::trust_of;

/// Longest record of a command line, in bytes.
const ARGS_BYTES_MAX: usize = 16 << 10;
/// The word for a snapshot of the checkout as it is.
const WORKTREE: &str = "worktree";

/// As runs record it: nothing in them needs a sandbox.
const SANDBOX_NONE: &str = "none";

/// What a person asks to run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// A path or a name.
    pub workflow: String,
    /// `name=value` each.
    pub inputs: Vec<String>,
    /// A file of inputs.
    pub inputs_file: Option<PathBuf>,
    /// `name=value` each.
    pub labels: Vec<String>,
    /// Ceilings of this run.
    pub budget: Budget,
    /// Seed of everything that looks random.
    pub seed: u64,
    /// A revision, or `worktree`.
    pub base: Option<String>,
    /// The repository to work in.
    pub repo: Option<PathBuf>,
    /// Whether commands are to run without a sandbox.
    pub sandbox_off: bool,
    /// The mock's rules.
    pub mock: Option<PathBuf>,
    /// The command line, for the record.
    pub args: Vec<String>,
}

/// Where a run works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In no tree.
    Nowhere,
    /// In the repository of this fixture.
    Fixture(PathBuf),
    /// In the repository of this directory.
    Checkout {
        /// Where the search for it begins.
        start: PathBuf,
        /// Its project, whose trust counts.
        project: Project,
    },
}

/// A workflow that was found valid, and all that is known before it runs.
pub struct Plan {
    /// Where it was found.
    pub source: Source,
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// What is worth knowing about it.
    pub notes: Vec<Diagnostic>,
    /// What stands in its way on this machine.
    pub preflight: Vec<Diagnostic>,
    /// Where it works.
    pub place: Place,
    /// Where the mock's rules came from.
    pub rules_path: Option<PathBuf>,
    /// Who answers for its roles; nobody is the mock, for each.
    pub models: Option<Arc<Models>>,
    /// What holds its commands; nothing where there are none, or where none is wanted.
    tier: Option<Tier>,
    is_mock_wanted: bool,
    rules: Rules,
    rules_text: Option<String>,
    config: Config,
}

impl Plan {
    /// The repository whose trust is missing, if it is needed or `is_given`.
    pub fn wants_trust(&self, is_given: bool) -> Option<&Project> {
        let wants = is_given || runs_programs(&self.workflow, self.models.as_deref());
        match &self.place {
            Place::Checkout { project, .. } if wants && project.is_repository() && trust_of(project).is_none() => {
                Some(project)
            }
            Place::Checkout { .. } | Place::Nowhere | Place::Fixture(_) => None,
        }
    }

    /// Whether the mock does a role only because nobody is configured.
    pub fn is_mocked(&self) -> bool {
        let asks = self.workflow.nodes().iter().any(|node| matches!(node.kind, Kind::Agent(_) | Kind::Ask(_)));
        asks && self.models.is_none() && !self.is_mock_wanted
    }

    /// Who would do each of its roles now, at which price, and who would be passed over.
    pub fn who(&self) -> Vec<RoleView> {
        let mut who: Vec<RoleView> = Vec::new();
        for node in self.workflow.nodes() {
            if !matches!(node.kind, Kind::Agent(_) | Kind::Ask(_)) {
                continue;
            }
            // One role may be another's for agents than for questions.
            let view = role_view(&self.workflow, node, self.models.as_deref());
            match who.iter_mut().find(|known| RoleView { nodes: view.nodes, ..(*known).clone() } == view) {
                Some(known) => known.nodes += 1,
                None => who.push(view),
            }
        }
        who.sort_by(|one, other| one.role.cmp(&other.role));
        who
    }

    /// The repositories of which one has to be named.
    pub fn candidates(&self) -> Vec<PathBuf> {
        match &self.place {
            Place::Checkout { project, .. } => match project.require_repository() {
                Err(GitError::Several { candidates, .. }) => candidates,
                Ok(()) | Err(_) => Vec::new(),
            },
            Place::Nowhere | Place::Fixture(_) => Vec::new(),
        }
    }

    /// The ceilings that a run will have: those given now, else the workflow's, else the configured.
    pub fn budget(&self, given: &Budget) -> Budget {
        let (own, config) = (self.workflow.budget(), &self.config.run);
        Budget {
            tokens: given.tokens.or(own.tokens).or(config.budget_tokens),
            cost_usd_micros: given.cost_usd_micros.or(own.cost_usd_micros).or(config.budget_usd_micros),
            wall_ms: given.wall_ms.or(own.wall_ms).or(config.timeout_ms),
            leaves: given.leaves.or(own.leaves),
        }
    }
}

/// Finds, compiles and checks a workflow. Nothing is written.
///
/// # Errors
/// When it is not valid. What stands in its way on this machine is part of the plan.
pub async fn plan(environment: &Environment, project: &Project, options: &RunOptions) -> Result<Plan, Error> {
    let source = Source::find(environment, project, &options.workflow)?;
    plan_of_source(environment, project, options, source).await
}

/// As [`plan`], of a source that was found.
///
/// # Errors
/// As [`plan`].
pub(crate) async fn plan_of_source(
    environment: &Environment,
    project: &Project,
    options: &RunOptions,
    source: Source,
) -> Result<Plan, Error> {
    let (workflow, notes) = source.check(environment).await?.valid()?;
    let (rules_path, rules_text, rules) = find_rules(environment, &source, options.mock.as_deref())?;
    let place = place_of(environment, &source, &workflow, options.repo.as_deref())?;
    let project = match &place {
        Place::Checkout { project, .. } => project,
        Place::Nowhere | Place::Fixture(_) => project,
    };
    let config = Config::load(environment, project, trust_of(project).is_some())?;
    // Who names rules for the mock wants the mock.
    let models = if options.mock.is_some() { None } else { models_of(environment, &config.models).await? };
    let catalog = catalog(environment, &workflow, &place, models.as_deref());
    let mut preflight = preflight(&workflow, &catalog);
    say_why_no_repository(&mut preflight, project);
    let tier = match first_held(&workflow, models.as_deref(), rules.has_turns()) {
        Some(node) if !options.sandbox_off => {
            let tier = detect(&child_program(environment)).await;
            preflight.extend(no_sandbox(node, &tier));
            Some(tier)
        }
        _ => None,
    };
    source.label_all(&mut preflight);
    let is_mock_wanted = options.mock.is_some();
    Ok(Plan {
        source,
        workflow,
        notes,
        preflight,
        place,
        rules_path,
        models,
        tier,
        is_mock_wanted,
        rules,
        rules_text,
        config,
    })
}

/// Begins a planned run. When this answers, its first records are durable and this process owns it.
///
/// # Errors
/// When inputs are wrong, something stands in its way, or git or the store fail.
pub async fn begin(
    engine: &Engine,
    owner: &Owner,
    plan: &Plan,
    options: &RunOptions,
    terms: Terms,
) -> Result<Owned, Error> {
    let workflow = &plan.workflow;
    let label = options.inputs_file.as_ref().map(|path| path.display().to_string());
    let file = options.inputs_file.as_ref().map(|path| engine.environment.cwd().join(path));
    let inputs = inputs_of(workflow, &options.inputs, file.as_deref().zip(label.as_deref()))?;
    let mut labels = plan.config.run.labels.clone();
    labels.extend(labels_of(&options.labels)?);
    if plan.preflight.iter().any(|it| is_error(it) && it.code != NO_SANDBOX) {
        return Err(Error::Preflight(plan.preflight.clone()));
    }
    let sandbox = sandbox_of(plan, options.sandbox_off)?;
    let at_ms = engine.now_ms();
    let run = new_run_id(at_ms)?;
    let (repo, base) = ground(engine, plan, options, &run, at_ms).await?;
    let rules = match &plan.rules_text {
        Some(text) => Some(engine.store.blobs.put(Arc::from(text.as_bytes())).await?),
        None => None,
    };
    let catalog = RoleCatalog { rules: plan.rules.clone(), seed: options.seed, is_paced: terms.is_paced };
    let started = RunStarted {
        semantics: SEMANTICS,
        run_id: run.to_string(),
        workflow: workflow.hash(),
        workflow_name: workflow.name().to_owned(),
        inputs: recorded(engine, workflow, inputs).await?,
        seed: options.seed,
        budget: plan.budget(&options.budget),
        base,
        origin: Origin::CommandLine { args: shown_args(workflow, &options.args) },
        parent: None,
        labels,
        catalog: match &plan.models {
            None => catalog.digest(),
            // The mock may be among those who are configured.
            Some(models) => Digest::of_json(&(models.digest(), catalog.digest())),
        },
        sandbox,
        repo: repo.map(|top| top.display().to_string()),
        rules,
    };
    let started = guarded(engine, plan, started)?;
    let effects = engine.effects(workflow, &started, owner.name(), terms.is_paced).await?;
    let runtime = engine.runtime(owner, effects, terms.slots);
    Ok(runtime.create(NewRun { workflow: workflow.clone(), started }).await?)
}

/// What holds the commands of a run, as it records it.
fn sandbox_of(plan: &Plan, is_off: bool) -> Result<String, Error> {
    match &plan.tier {
        _ if is_off => Ok(Tier::Off.as_str().to_owned()),
        None => Ok(SANDBOX_NONE.to_owned()),
        Some(tier @ Tier::Missing { .. }) => Err(Error::NoSandbox { reason: tier.describe() }),
        Some(tier) => Ok(tier.as_str().to_owned()),
    }
}

/// The first node with processes that have to be held. Agents have some that are programs of their own, or that have a
/// shell and somebody to use it.
fn first_held<'a>(workflow: &'a Workflow, models: Option<&Models>, has_turns: bool) -> Option<&'a Node> {
    first_program(workflow, models).or_else(|| first_shell(workflow).filter(|_| models.is_some() || has_turns))
}

/// What is said where a node's processes cannot be held.
fn no_sandbox(node: &Node, tier: &Tier) -> Option<Diagnostic> {
    let Tier::Missing { .. } = tier else { return None };
    let what = if matches!(node.kind, Kind::Agent(_)) { "may run commands" } else { "runs a command" };
    let message = format!("`{}` {what}, and there is no sandbox here: {}", node.path, tier.describe());
    Some(Diagnostic::error(NO_SANDBOX, &node.span, message).with_hint(hint_no_sandbox()))
}

/// The first record without keys. What is kept under the digest of its text cannot be changed, so it must hold none.
fn guarded(engine: &Engine, plan: &Plan, started: RunStarted) -> Result<RunStarted, Error> {
    let redactor = engine.environment.redactor();
    let holds = |what: &str| Err(Error::HoldsKey { what: what.to_owned() });
    if !redactor.is_idle() && redactor.finds(plan.workflow.canonical()) {
        return holds("the workflow");
    }
    if plan.rules_text.as_deref().is_some_and(|rules| redactor.finds(rules)) {
        return holds("the file of the mock's rules");
    }
    redactor.record(started).map_or_else(|| holds("what the run is given"), Ok)
}

/// The checkout and the commit that a run's trees begin at.
async fn ground(
    engine: &Engine,
    plan: &Plan,
    options: &RunOptions,
    run: &RunId,
    at_ms: i64,
) -> Result<(Option<PathBuf>, Option<Base>), Error> {
    match &plan.place {
        Place::Nowhere => match &options.base {
            Some(_) => Err(Error::usage("--base is given, and nothing in this workflow works in a tree")),
            None => Ok((None, None)),
        },
        Place::Fixture(dir) => {
            if options.base.is_some() {
                return Err(Error::usage("--base is given, and this workflow works on its fixture"));
            }
            let git = open_git(&engine.environment, &engine.project).await?;
            let made = fixture::repository(&engine.project, &git, dir).await?;
            Ok((Some(made.top), Some(made.base)))
        }
        Place::Checkout { start, .. } => {
            let git = open_git(&engine.environment, &engine.project).await?;
            let repository = Repository::discover(&git, start).await?;
            let base = base_of(&git, &repository, options.base.as_deref(), run, at_ms).await?;
            Ok((Some(repository.top().to_owned()), Some(base)))
        }
    }
}

async fn base_of(
    _git: &Git,
    repository: &Repository,
    wanted: Option<&str>,
    run: &RunId,
    at_ms: i64,
) -> Result<Base, Error> {
    let (at, source) = match wanted {
        Some(WORKTREE) => (repository.snapshot_worktree(run.as_str(), at_ms).await?.at, WORKTREE),
        Some(rev) => (repository.resolve(rev).await?, "commit"),
        None => (repository.head_commit().await?, "commit"),
    };
    repository.pin_base(run.as_str(), &at.commit).await?;
    let at_ms = repository.facts_of(&at.commit).await?.at_ms;
    Ok(Base { commit: at.commit, tree: at.tree, source: source.to_owned(), at_ms })
}

/// Inputs as they are recorded: large ones as blobs, sensitive ones as keyed digests.
async fn recorded(
    engine: &Engine,
    workflow: &Workflow,
    inputs: BTreeMap<String, Value>,
) -> Result<BTreeMap<String, InputValue>, Error> {
    let mut recorded = BTreeMap::new();
    for (name, value) in inputs {
        let is_sensitive = workflow.inputs().get(&name).is_some_and(|input| input.sensitive);
        let input = if is_sensitive {
            let digest = blake3::keyed_hash(&key(&engine.project)?, value.to_json().as_bytes());
            InputValue::Sensitive(Digest(*digest.as_bytes()))
        } else {
            let value = engine.environment.redactor().value(&value).unwrap_or(value);
            let (reference, text) = ValueRef::of(Arc::new(value));
            if let Some(text) = text {
                engine.store.blobs.put(Arc::from(text.into_bytes())).await?;
            }
            InputValue::Plain(reference)
        };
        recorded.insert(name, input);
    }
    Ok(recorded)
}

/// The key under which sensitive inputs are digested; made when it is first needed.
fn key(project: &Project) -> Result<[u8; 32], Error> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let path = project.state_root().join("key");
    if !path.exists() {
        make_private_dir(project.state_root())?;
        let aside = path.with_extension(crate::id::random_text(8)?);
        let mut file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)
            .map_err(Error::io("make", &aside))?;
        let text = crate::id::random_text(64)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::io("write", &aside))?;
        // Whoever links first has made the key.
        let linked = std::fs::hard_link(&aside, &path);
        let _ = std::fs::remove_file(&aside);
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io("make", &path)(error));
            }
            Ok(()) | Err(_) => sync_dir(project.state_root())?,
        }
    }
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    Ok(*blake3::hash(&bytes).as_bytes())
}

/// The command line without values of sensitive inputs.
fn shown_args(workflow: &Workflow, args: &[String]) -> Vec<String> {
    let sensitive: Vec<_> =
        workflow.inputs().iter().filter(|(_, input)| input.sensitive).map(|(name, _)| name).collect();
    let shown = |arg: &String| {
        for name in &sensitive {
            for prefix in ["", "-i", "-i=", "--input="] {
                if arg
                    .strip_prefix(prefix)
                    .and_then(|rest| rest.strip_prefix(name.as_str()))
                    .is_some_and(|rest| rest.starts_with('='))
                {
                    return format!("{prefix}{name}=…");
                }
            }
        }
        arg.clone()
    };
    let mut bytes = 0;
    let within = |arg: &String| {
        bytes += arg.len();
        bytes <= ARGS_BYTES_MAX
    };
    args.iter().map(shown).take_while(within).collect()
}

type FoundRules = (Option<PathBuf>, Option<String>, Rules);

/// The mock's rules: those given, else those beside the workflow, else none.
fn find_rules(environment: &Environment, source: &Source, given: Option<&Path>) -> Result<FoundRules, Error> {
    let (path, label) = match given {
        Some(path) => (environment.cwd().join(path), path.display().to_string()),
        None => {
            let path = source.path.with_extension("mock.toml");
            if std::fs::symlink_metadata(&path).is_err() {
                return Ok((None, None, Rules::default()));
            }
            let label = Path::new(&source.label()).with_extension("mock.toml").display().to_string();
            (path, label)
        }
    };
    let text = read_named(&path).map_err(|error| {
        let span = Span { file: label.as_str().into(), line: 1, column: 1, ..Span::default() };
        let message = format!("the mock's rules {label:?} cannot be read: {error}");
        Error::Invalid(vec![Diagnostic::error(SOURCE_UNREADABLE, &span, message)])
    })?;
    let rules = Rules::parse(&text, &label).map_err(Error::Invalid)?;
    Ok((Some(path), Some(text), rules))
}

fn place_of(
    environment: &Environment,
    source: &Source,
    workflow: &Workflow,
    repo: Option<&Path>,
) -> Result<Place, Error> {
    let checkout = |start: PathBuf| Ok(Place::Checkout { project: Project::of(environment, &start)?, start });
    if !works_in_trees(workflow) {
        return Ok(Place::Nowhere);
    }
    match (repo, workflow.fixture()) {
        (Some(repo), _) => checkout(environment.cwd().join(repo)),
        (None, Some(fixture)) => Ok(Place::Fixture(source.root().join(fixture))),
        (None, None) => checkout(environment.cwd().to_owned()),
    }
}

/// A finding that there is no repository says what there is instead.
fn say_why_no_repository(found: &mut [Diagnostic], project: &Project) {
    let Err(error) = project.require_repository() else { return };
    for finding in found.iter_mut().filter(|finding| finding.code == codes::NO_REPOSITORY) {
        let (what, _) = finding.message.split_once(", and ").unwrap_or((&finding.message, ""));
        finding.message = format!("{what}, which takes a repository: {error}");
        finding.hint = error.hint().map(str::to_owned);
    }
}

fn catalog(environment: &Environment, workflow: &Workflow, place: &Place, models: Option<&Models>) -> Catalog {
    let named = workflow.nodes().iter().filter_map(|node| node.role.clone());
    let status = |role: &str| status_of(workflow, role, Work::Ask, models);
    let roles = named.chain([DEFAULT_ROLE.to_owned()]).map(|role| (role.clone(), status(&role))).collect();
    let agents = workflow.nodes().iter().filter(|node| matches!(node.kind, Kind::Agent(_)));
    let agents = agents.map(|node| (node.path.clone(), status_of(workflow, role_of(node), work_of(node), models)));
    let agents = agents.collect();
    let (trusted, has_repository) = match place {
        Place::Nowhere | Place::Fixture(_) => (true, true),
        Place::Checkout { project, .. } => (trust_of(project).is_some(), project.is_repository()),
    };
    Catalog { roles, agents, programs: programs_of(environment, workflow), trusted, has_repository }
}

fn role_of(node: &Node) -> &str {
    node.role.as_deref().unwrap_or(DEFAULT_ROLE)
}

/// Whether a workflow runs commands here: by itself, or by agents that are programs of their own.
pub(crate) fn runs_programs(workflow: &Workflow, models: Option<&Models>) -> bool {
    first_program(workflow, models).is_some()
}

/// The first node that does.
fn first_program<'a>(workflow: &'a Workflow, models: Option<&Models>) -> Option<&'a Node> {
    let is_program = |node: &&Node| match (&node.kind, models) {
        (Kind::Agent(_), Some(models)) => {
            let resolved = models.resolve(workflow, role_of(node), work_of(node));
            resolved.is_ok_and(|resolved| models.agent(&resolved.chosen).is_some())
        }
        _ => false,
    };
    first_command(workflow).or_else(|| workflow.nodes().iter().find(is_program))
}

/// Whether somebody does a role. The mock does every one, where nobody is configured.
fn status_of(workflow: &Workflow, role: &str, work: Work, models: Option<&Models>) -> RoleStatus {
    let Some(models) = models else { return RoleStatus::Satisfied };
    match models.resolve(workflow, role, work) {
        Ok(resolved) if models.agent(&resolved.chosen).is_some() => RoleStatus::Program,
        Err(unsatisfied) => RoleStatus::Unsatisfied { reason: unsatisfied.reasons.join("; ") },
        Ok(resolved) => match models.lacks_key(&resolved.chosen) {
            Some(why) => RoleStatus::Keyless { reason: format!("{}: {why}", resolved.chosen) },
            None => RoleStatus::Satisfied,
        },
    }
}

/// Who does a role, as a plan shows it.
fn role_view(workflow: &Workflow, node: &Node, models: Option<&Models>) -> RoleView {
    let work = if matches!(node.kind, Kind::Agent(_)) { work_of(node) } else { Work::Ask };
    let role = role_of(node);
    let view = RoleView {
        role: role.to_owned(),
        nodes: 1,
        model: Some("mock/mock".to_owned()),
        price: None,
        passed_over: Vec::new(),
        problem: None,
    };
    match models.map(|models| models.resolve(workflow, role, work)) {
        None => view,
        Some(Err(unsatisfied)) => RoleView { model: None, problem: Some(unsatisfied.reasons.join("; ")), ..view },
        Some(Ok(resolved)) => RoleView {
            model: Some(resolved.chosen.to_string()),
            price: resolved.price.map(|price| PriceView {
                input: price.input,
                output: price.output,
                cached: price.cached,
                cache_write: price.cache_write,
            }),
            passed_over: resolved
                .passed_over
                .into_iter()
                .map(|(model, why)| PassedOverView { model: model.to_string(), why })
                .collect(),
            ..view
        },
    }
}

/// The programs that the workflow's commands name and that are here.
fn programs_of(environment: &Environment, workflow: &Workflow) -> BTreeSet<String> {
    let argv = workflow.nodes().iter().filter_map(|node| match &node.kind {
        Kind::Command(command) => command.argv.first(),
        Kind::Test(test) => test.argv.first(),
        _ => None,
    });
    let path = environment.get("PATH").unwrap_or_default();
    let is_here = |name: &&String| find_program(path, name).is_some();
    argv.map(|template| &template.source).filter(is_here).cloned().collect()
}
