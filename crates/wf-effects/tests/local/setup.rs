//! A workflow of hand-made nodes, a small repository, and orders as the kernel gives them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wf_effects::external::{AgentSpec, Sessions};
use wf_effects::git::{Git, GitOptions, PoolOptions, Repository, Trees, TreesOptions, create_repository};
use wf_effects::local::{Catalog, LocalEffects, LocalOptions, Models};
use wf_effects::mock::Rules;
use wf_effects::models::{ModelRef, RoleSpec};
use wf_effects::sandbox::Host;
use wf_effects::{CancelToken, Ctx, Effects, Grant, RealClock, ScratchDir, Steering};
use wf_ir::{Draft, Key, Node, Span, Spanned, SpannedValue, Value, Workflow, validate};
use wf_kernel::effect::{LeafRequest, Request, TreeUse};
use wf_kernel::record::{Failure, Prepared, Success};
use wf_kernel::{Effect, EffectId, Outcome, Phase, Usage, ValueRef};
use wf_store::{RunId, Store};

pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Runs a test.
pub(crate) fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// A node: its kind and id first, then its fields, then its children.
pub(crate) fn node(kind: &str, id: &str, fields: &str, children: Vec<Spanned>) -> Spanned {
    let span = Span::default();
    let key = |name: &str| Key { name: name.to_owned(), span: span.clone() };
    let mut entries = vec![(key(kind), Spanned::from_value(&Value::from(id), &span))];
    let Value::Map(fields) = Value::from_json(fields).unwrap() else { panic!("{fields}") };
    entries.extend(fields.iter().map(|(name, value)| (key(name), Spanned::from_value(value, &span))));
    if !children.is_empty() {
        entries.push((key("children"), Spanned { value: SpannedValue::List(children), span: span.clone() }));
    }
    Spanned { value: SpannedValue::Map(entries), span }
}

/// What effects are performed with, and for what.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) effects: Arc<LocalEffects>,
    pub(crate) store: Store,
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) cancel: CancelToken,
    pub(crate) steering: Steering,
    pub(crate) meter: wf_effects::Meter,
    pub(crate) repository: Option<Repository>,
    /// The first commit of the repository.
    pub(crate) base: String,
}

/// What a test changes.
pub(crate) struct Means<'a> {
    pub(crate) rules: &'a str,
    pub(crate) files: &'a [(&'a str, &'a str)],
    /// Symlinks and what they say.
    pub(crate) links: &'a [(&'a str, &'a str)],
    pub(crate) is_paced: bool,
    pub(crate) is_trusted: bool,
    /// An agent that does the role `default`, called `agents/bot`.
    pub(crate) agent: Option<AgentSpec>,
    /// Whether processes run in a sandbox.
    pub(crate) is_held: bool,
}

impl Default for Means<'_> {
    fn default() -> Self {
        Self { rules: "", files: &[], links: &[], is_paced: false, is_trusted: true, agent: None, is_held: false }
    }
}

fn workflow(fields: &str, children: Vec<Spanned>) -> Workflow {
    let root = node("workflow", "w", fields, children);
    let (workflow, found) = validate(&Draft { root });
    workflow.unwrap_or_else(|| panic!("{found:#?}"))
}

impl World {
    /// A world without a repository.
    pub(crate) fn new(means: Means<'_>, children: Vec<Spanned>) -> Self {
        Self::with_fields(means, "{}", children)
    }

    pub(crate) fn with_fields(means: Means<'_>, fields: &str, children: Vec<Spanned>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::build(means, workflow(fields, children), dir, None)
    }

    /// A world with a repository of `means.files`.
    pub(crate) async fn with_repository(means: Means<'_>, children: Vec<Spanned>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("repo");
        for (path, text) in means.files.iter().chain(&[("README", "a repository\n")]) {
            let path = top.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        for (path, target) in means.links {
            std::os::unix::fs::symlink(target, top.join(path)).unwrap();
        }
        let git = Git::open(GitOptions {
            program: "git".into(),
            path: PATH.into(),
            scratch_dir: dir.path().join("git"),
            locks_dir: dir.path().join("locks"),
            timeout: Duration::from_secs(120),
        });
        let (repository, at) = create_repository(&git.await.unwrap(), &top, "first", 0).await.unwrap();
        let pool = PoolOptions::new(Store::memory().trees, "me");
        let options = TreesOptions { root: dir.path().join("trees"), run: "r1".to_owned(), pool };
        let trees = Trees::open(&repository, &options).unwrap();
        Self::build(means, workflow("{}", children), dir, Some((repository, trees, at.commit)))
    }

    fn build(
        means: Means<'_>,
        workflow: Workflow,
        dir: tempfile::TempDir,
        repository: Option<(Repository, Trees, String)>,
    ) -> Self {
        let (repository, trees, base) = match repository {
            Some((repository, trees, base)) => (Some(repository), Some(trees), base),
            None => (None, None, String::new()),
        };
        let env = [("PATH", PATH), ("LANG", "C"), ("COLOUR", "teal"), ("SECRET", "hidden")];
        let rules = if means.rules.is_empty() { Rules::default() } else { Rules::parse(means.rules, "t").unwrap() };
        let models = means.agent.map(|agent| {
            let models = vec![ModelRef { provider: "agents".to_owned(), model: "bot".to_owned() }];
            let roles = [("default".to_owned(), RoleSpec { models, ..RoleSpec::default() })].into();
            let agents = [("bot".to_owned(), agent)].into();
            let catalog = wf_effects::models::Catalog { agents, roles, ..Default::default() };
            Arc::new(Models::new(catalog, BTreeMap::new(), Arc::new(RealClock)))
        });
        let effects = LocalEffects::new(LocalOptions {
            catalog: Catalog { rules, seed: 7, is_paced: means.is_paced },
            trees,
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            scratch: ScratchDir::open(&dir.path().join("scratch")).unwrap(),
            is_trusted: means.is_trusted,
            build_cache: None,
            supervisor: models.is_some().then(|| env!("CARGO_BIN_EXE_wf-scripted").into()),
            redactor: wf_effects::secret::Redactor::default(),
            models,
            sandbox: means.is_held.then(Host::default),
            sessions: Sessions::at(dir.path().join("sessions")),
        });
        Self {
            dir,
            effects: Arc::new(effects),
            store: Store::memory(),
            workflow: Arc::new(workflow),
            cancel: CancelToken::default(),
            steering: Steering::default(),
            meter: wf_effects::Meter::unlimited(),
            repository,
            base,
        }
    }

    pub(crate) fn ctx(&self) -> Ctx {
        Ctx {
            run_id: "r1".into(),
            workflow: Arc::clone(&self.workflow),
            seed: 7,
            blobs: Arc::clone(&self.store.blobs),
            traces: Arc::clone(&self.store.traces),
            cancel: self.cancel.clone(),
            steering: self.steering.clone(),
            meter: self.meter.clone(),
            grant: Grant::unshared(),
            redactor: wf_effects::secret::Redactor::default(),
        }
    }

    pub(crate) fn node(&self, path: &str) -> &Node {
        self.workflow.nodes().iter().find(|node| node.path == path).unwrap()
    }

    /// A leaf as the kernel orders it.
    pub(crate) fn leaf(&self, path: &str, context: &str) -> LeafRequest {
        let Value::Map(context) = Value::from_json(context).unwrap() else { panic!("{context}") };
        let context: BTreeMap<_, _> = context.into_iter().map(|(name, value)| (name, Arc::new(value))).collect();
        LeafRequest {
            path: path.into(),
            node: self.node(path).ix,
            attempt: 1,
            iteration: 0,
            sample: 0,
            context: Arc::new(context),
            feedback: None,
            steers: Vec::new(),
            tree: TreeUse::None,
        }
    }

    /// The same leaf in the tree of branch `b`, from the first commit.
    pub(crate) fn in_branch(&self, path: &str) -> LeafRequest {
        let tree = TreeUse::Branch { branch: "b".into(), begin: self.base.clone(), base: self.base.clone() };
        LeafRequest { tree, ..self.leaf(path, "{}") }
    }

    /// The same leaf in a copy of the first commit.
    pub(crate) fn in_snapshot(&self, path: &str) -> LeafRequest {
        let tree = TreeUse::Snapshot { commit: self.base.clone(), base: self.base.clone() };
        LeafRequest { tree, ..self.leaf(path, "{}") }
    }

    pub(crate) async fn order(&self, phase: Phase, request: Request) -> Outcome {
        let id = EffectId { subject: "x".into(), generation: 1, phase };
        self.effects.perform(Effect { id, request }, self.ctx()).await
    }

    pub(crate) async fn prepare(&self, leaf: &LeafRequest) -> Result<Prepared, Failure> {
        match self.order(Phase::Prepare, Request::Prepare(leaf.clone())).await {
            Outcome::Prepared(prepared) => Ok(*prepared),
            Outcome::Failed(failure) => Err(*failure),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn perform(&self, leaf: &LeafRequest) -> Outcome {
        match self.prepare(leaf).await {
            Ok(prepared) => {
                let request = Request::Perform { leaf: leaf.clone(), prepared: Arc::new(prepared) };
                self.order(Phase::Perform, request).await
            }
            Err(failure) => Outcome::Failed(Box::new(failure)),
        }
    }

    /// Makes the tree of branch `b`.
    pub(crate) async fn acquire(&self) {
        let request = Request::Acquire { branch: "b".into(), base: self.base.clone() };
        let outcome = self.order(Phase::Acquire, request).await;
        assert!(matches!(outcome, Outcome::Acquired(_)), "{outcome:?}");
    }

    /// Commits what `leaf` wrote in branch `b`.
    pub(crate) async fn checkpoint(&self, leaf: &str) -> Outcome {
        let request = Request::Checkpoint {
            branch: "b".into(),
            leaf: leaf.into(),
            node: self.node(leaf).ix,
            begin: self.base.clone(),
            at_ms: 1_000,
        };
        self.order(Phase::Checkpoint, request).await
    }

    /// The value behind a reference.
    pub(crate) async fn value(&self, reference: &ValueRef) -> Value {
        match reference {
            ValueRef::Inline(value) => (**value).clone(),
            ValueRef::Stored { digest, .. } => {
                let bytes = self.store.blobs.get(digest).await.unwrap();
                Value::from_json(&String::from_utf8(bytes).unwrap()).unwrap()
            }
        }
    }

    /// The trace of an instance.
    pub(crate) async fn trace(&self, path: &str) -> String {
        self.store.traces.flush().await;
        let chunk = self.store.traces.read(&RunId::parse("r1").unwrap(), path, 0).await.unwrap();
        chunk.lines.join("\n")
    }

    /// The user's checkout.
    pub(crate) fn top(&self) -> PathBuf {
        self.repository.as_ref().unwrap().top().to_owned()
    }
}

/// A success, or a panic that says what came instead.
pub(crate) fn succeeded(outcome: Outcome) -> Success {
    match outcome {
        Outcome::Succeeded(success) => *success,
        other => panic!("{other:?}"),
    }
}

/// A failure, or a panic that says what came instead.
pub(crate) fn failed(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => *failure,
        other => panic!("{other:?}"),
    }
}

/// An outcome in a line or two, for tests that expect it.
pub(crate) async fn show(world: &World, outcome: &Outcome) -> String {
    let cost = |usage: &Usage| match usage.cost_usd_micros {
        Some(cost) => format!(" for {cost} µ$"),
        None => String::new(),
    };
    match outcome {
        Outcome::Succeeded(success) => {
            let mut text = world.value(&success.value).await.to_json();
            text += &cost(&success.usage);
            for name in success.artifacts.keys() {
                text += &format!("\nkept {name}");
            }
            text
        }
        Outcome::Failed(failure) => {
            let again = if failure.retryable { " (retryable)" } else { "" };
            let mut text = format!("{}{again}: {}{}", failure.code, failure.message, cost(&failure.usage));
            if let Some(evidence) = &failure.evidence {
                text += &format!("\n{}", world.value(evidence).await.to_json());
            }
            text
        }
        Outcome::TimedOut { usage } => format!("timed out{}", cost(usage)),
        Outcome::Cancelled { usage } => format!("cancelled{}", cost(usage)),
        Outcome::BudgetExceeded { .. } => "no budget".to_owned(),
        Outcome::Throttled { retry_after_ms, .. } => format!("throttled for {retry_after_ms} ms"),
        other => format!("{other:?}"),
    }
}

/// The names in a directory, in order.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whether this machine has a sandbox. Where it has none, says so: a test that does nothing is to be seen.
pub(crate) fn has_sandbox() -> bool {
    let tier = block(wf_effects::sandbox::detect(Path::new(env!("CARGO_BIN_EXE_wf-scripted"))));
    let has = matches!(tier, wf_effects::sandbox::Tier::Own { .. });
    if !has {
        println!("SKIPPED 1 test of the sandbox: {}", tier.describe());
    }
    has
}

/// A meter that grants nothing.
pub(crate) fn empty_meter() -> wf_effects::Meter {
    let known: Arc<std::sync::OnceLock<wf_effects::Meter>> = Arc::default();
    let asked = Arc::clone(&known);
    let meter = wf_effects::Meter::new(move |it| {
        asked.get().unwrap().answer(it.asked, false);
        Box::pin(async { Ok(()) })
    });
    let _ = known.set(meter.clone());
    meter
}
