//! Effects on this machine: leaves are prepared and performed here, trees are git's.
//!
//! An effect is answered with what preparing or performing found out; whatever goes wrong on the way is a
//! [`Failure`](wf_kernel::record::Failure), which the kernel judges. One [`LocalEffects`] serves one run.

mod agent;
mod ask;
mod command;
mod external;
mod failed;
mod keep;
mod model;
mod patience;
mod prepare;
mod room;
mod search;
mod trace;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use wf_ir::node::{Kind, Node};
use wf_ir::{Digest, Glob, Value, Workflow};
use wf_kernel::effect::{LeafRequest, Request, TreeUse};
use wf_kernel::record::{Prepared, Success};
use wf_kernel::{Effect, Outcome, Usage, ValueRef};

use crate::contract::{BoxFuture, Ctx, Effects};
use crate::external::Sessions;
use crate::git::{BuildCache, CheckpointOrder, CombineOrder, GitError, Trees};
use crate::mock::{Mock, Rules};
use crate::sandbox::Host;
use crate::scratch::ScratchDir;
use crate::secret::Redactor;
use crate::template::Templates;
use failed::{Failed, failure, unsupported};
pub use model::{Models, work_of};
use patience::Patience;

/// The role of leaves for which none is named.
pub const ROLE_DEFAULT: &str = "default";
/// Commits whose tree ids are remembered.
const TREE_IDS_MAX: usize = 10_000;

/// What leaves find on this machine.
pub struct LocalOptions {
    /// Who answers for roles.
    pub catalog: Catalog,
    /// Who else answers; nobody where every role is the mock's.
    pub models: Option<Arc<Models>>,
    /// The run's trees; none where there is no repository.
    pub trees: Option<Trees>,
    /// Variables that commands may be given. `PATH` and `LANG` are given to each; the rest is handed out by a node's
    /// allow-list.
    pub env: BTreeMap<String, String>,
    /// Where throw-away homes of commands are made. Outside of every repository.
    pub scratch: ScratchDir,
    /// Whether commands of this repository may run.
    pub is_trusted: bool,
    /// What builds begin with; nothing where each starts cold.
    pub build_cache: Option<BuildCache>,
    /// The program of the supervisors of commands, see [`Spec::supervisor`](crate::process::Spec::supervisor).
    pub supervisor: Option<PathBuf>,
    /// Keeps secrets out of whatever leaves.
    pub redactor: Redactor,
    /// The machine that sandboxes are made of; nothing where somebody has switched them off.
    pub sandbox: Option<Host>,
    /// Where sessions of agents at work are kept.
    pub sessions: Sessions,
}

/// The mock, which answers for roles that nobody else does.
pub struct Catalog {
    /// Its rules.
    pub rules: Rules,
    /// Its seed.
    pub seed: u64,
    /// Whether it takes as long as its rules say, so that there is something to watch.
    pub is_paced: bool,
}

impl Catalog {
    /// What its answers depend on.
    pub fn digest(&self) -> Digest {
        Digest::of(provider(self.rules.digest(), self.seed).to_json().as_bytes())
    }
}

/// The mock, as resolved roles and catalogs name it.
fn provider(rules: Option<Digest>, seed: u64) -> Value {
    let text = |text: &str| Value::Str(text.to_owned());
    Value::Map(
        [
            ("provider".to_owned(), text("mock")),
            ("model".to_owned(), text("mock")),
            ("rules".to_owned(), rules.map_or(Value::Null, |rules| Value::Str(rules.to_string()))),
            // Not every seed is an integer that JSON readers agree on.
            ("seed".to_owned(), Value::Str(seed.to_string())),
        ]
        .into(),
    )
}

/// Performs effects on this machine.
pub struct LocalEffects {
    mock: Mock,
    models: Option<Arc<Models>>,
    is_paced: bool,
    trees: Option<Trees>,
    env: BTreeMap<String, String>,
    scratch: ScratchDir,
    is_trusted: bool,
    build_cache: Option<BuildCache>,
    supervisor: Option<PathBuf>,
    redactor: Redactor,
    sandbox: Option<Host>,
    sessions: Sessions,
    templates: Templates,
    roles: RwLock<HashMap<Digest, HashMap<String, Arc<Value>>>>,
    tree_ids: RwLock<HashMap<String, String>>,
    patience: Patience,
}

impl LocalEffects {
    /// Effects with these means.
    pub fn new(options: LocalOptions) -> Self {
        Self {
            mock: Mock::new(options.catalog.rules, options.catalog.seed),
            models: options.models,
            is_paced: options.catalog.is_paced,
            trees: options.trees,
            env: options.env,
            scratch: options.scratch,
            is_trusted: options.is_trusted,
            build_cache: options.build_cache,
            supervisor: options.supervisor,
            redactor: options.redactor,
            sandbox: options.sandbox,
            sessions: options.sessions,
            templates: Templates::default(),
            roles: RwLock::default(),
            tree_ids: RwLock::default(),
            patience: Patience::default(),
        }
    }

    /// What an effect gets, with nothing behind it into which a secret could be written.
    fn guarded(&self, ctx: Ctx) -> Ctx {
        let redactor = self.redactor.clone();
        let (blobs, traces) = (redactor.blobs(ctx.blobs), redactor.traces(ctx.traces));
        Ctx { blobs, traces, redactor, ..ctx }
    }

    async fn answer(&self, effect: Effect, ctx: &Ctx) -> Result<Outcome, Failed> {
        match effect.request {
            Request::Prepare(leaf) => {
                let prepared = self.prepare(ctx.workflow.node(leaf.node), &leaf, ctx).await?;
                Ok(Outcome::Prepared(Box::new(prepared)))
            }
            Request::Perform { leaf, prepared } => {
                let works_in_branch = matches!(leaf.tree, wf_kernel::TreeUse::Branch { .. });
                if ctx.cancel.is_cancelled() || works_in_branch && !ctx.grant.is_held().await {
                    return Ok(Outcome::Cancelled { usage: Usage::default() });
                }
                let outcome = self.perform(ctx.workflow.node(leaf.node), &leaf, &prepared, ctx).await;
                if let wf_kernel::TreeUse::Branch { branch, .. } = &leaf.tree {
                    // Whatever came of it, nobody works there any more; unless somebody else does, and then it is theirs.
                    self.trees()?.rest(branch).await?;
                }
                outcome
            }
            // Whoever has lost the run or the task moves no tree and no ref of it any more.
            _ if !ctx.grant.is_held().await => Ok(Outcome::Cancelled { usage: Usage::default() }),
            order => Box::pin(self.tend(order, ctx)).await,
        }
    }

    /// What is done to the tree of a branch.
    async fn tend(&self, order: Request, ctx: &Ctx) -> Result<Outcome, Failed> {
        let trees = self.trees()?;
        match order {
            Request::Acquire { branch, base } => match trees.acquire(&branch, &base).await {
                Err(GitError::PoolFull { .. }) => {
                    let retry_after_ms = self.patience.again_ms(&branch);
                    Ok(Outcome::Throttled { retry_after_ms, usage: Usage::default(), why: None })
                }
                acquired => {
                    self.patience.forget(&branch);
                    Ok(Outcome::Acquired(acquired?))
                }
            },
            Request::Checkpoint { branch, leaf, node, begin, at_ms } => {
                let order = CheckpointOrder {
                    branch: branch.to_string(),
                    leaf: leaf.to_string(),
                    begin,
                    writes: writes(ctx.workflow.node(node)).to_vec(),
                    at_ms,
                };
                Ok(Outcome::Checkpointed(Box::new(trees.checkpoint(order).await?)))
            }
            Request::Harvest { branch: _, base, commit } => {
                Ok(Outcome::Checkpointed(Box::new(trees.repository().harvest(&base, &commit).await?)))
            }
            Request::Combine { node, base, commit, parts, at_ms } => {
                let reference = trees.branch_ref(&node);
                let order = CombineOrder { reference, node: node.to_string(), base, commit, parts, at_ms };
                Ok(Outcome::Combined(Box::new(trees.repository().combine(&order).await?)))
            }
            Request::Release { branch, commit, failed } => {
                Ok(Outcome::Released { rescued: trees.release(&branch, &commit, failed).await? })
            }
            Request::Prepare(_) | Request::Perform { .. } => {
                Err(failure("engine", "a leaf was ordered as an operation on a tree"))
            }
        }
    }

    async fn perform(
        &self,
        node: &Node,
        leaf: &LeafRequest,
        prepared: &Prepared,
        ctx: &Ctx,
    ) -> Result<Outcome, Failed> {
        // Asks come by the thousand: the state of what is rarer must not make theirs large.
        match &node.kind {
            Kind::Ask(ask) => self.ask(node, leaf, prepared, ask.output.as_ref(), ctx).await,
            Kind::Agent(agent) => Box::pin(self.agent(node, leaf, prepared, agent, ctx)).await,
            Kind::Command(command) => Box::pin(self.command(node, leaf, prepared, command, ctx)).await,
            Kind::Test(test) => Box::pin(self.test(node, leaf, prepared, test, ctx)).await,
            Kind::Search(search) => Box::pin(self.search(leaf, prepared, search, ctx)).await,
            kind => Err(unsupported(kind)),
        }
    }

    fn trees(&self) -> Result<&Trees, Failed> {
        self.trees.as_ref().ok_or_else(|| failure("no_repository", "there is no repository to work in"))
    }

    /// The id of the tree that a leaf sees.
    async fn tree_id(&self, tree: &TreeUse) -> Result<Option<String>, Failed> {
        let commit = match tree {
            TreeUse::None => return Ok(None),
            TreeUse::Branch { begin, .. } => begin,
            TreeUse::Snapshot { commit, .. } => commit,
        };
        let known = self.tree_ids.read().unwrap_or_else(PoisonError::into_inner).get(commit).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let tree = Box::pin(self.trees()?.repository().tree_of(commit)).await?;
        let mut known = self.tree_ids.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TREE_IDS_MAX {
            known.clear();
        }
        known.insert(commit.clone(), tree.clone());
        Ok(Some(tree))
    }

    /// A role as resolved for a workflow.
    fn role(&self, workflow: &Workflow, role: &str) -> Arc<Value> {
        let hash = workflow.hash();
        {
            let roles = self.roles.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(value) = roles.get(&hash).and_then(|roles| roles.get(role)) {
                return Arc::clone(value);
            }
        }
        let mut value = provider(self.mock.rules_digest(), self.mock.seed());
        if let Value::Map(fields) = &mut value {
            fields.insert("role".to_owned(), Value::from(role));
            if let Some(wanted) = workflow.roles().get(role) {
                let needs = wanted.needs.iter().map(|need| Value::from(need.as_str())).collect();
                fields.insert("needs".to_owned(), Value::List(needs));
                fields.insert("params".to_owned(), Value::Map(wanted.params.clone()));
            }
        }
        let value = Arc::new(value);
        let mut roles = self.roles.write().unwrap_or_else(PoisonError::into_inner);
        roles.entry(hash).or_default().insert(role.to_owned(), Arc::clone(&value));
        value
    }
}

impl Effects for LocalEffects {
    fn perform(&self, effect: Effect, ctx: Ctx) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let ctx = self.guarded(ctx);
            let outcome = self.answer(effect, &ctx).await.unwrap_or_else(Failed::into_outcome);
            // Secrets may have become known meanwhile: a keyring is asked when it is needed.
            ctx.redactor.outcome(outcome)
        })
    }

    fn conclude(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.sessions.clear();
            if let Some(trees) = &self.trees {
                // The run has its result; what is left is seen to by whoever opens the pool next.
                let _ = trees.cleanup().await;
            }
        })
    }
}

/// What a leaf may write.
fn writes(node: &Node) -> &[Glob] {
    match &node.kind {
        Kind::Agent(agent) => &agent.writes,
        Kind::Command(command) => &command.writes,
        _ => &[],
    }
}

/// The name of the role that does a leaf.
fn role_name(node: &Node) -> &str {
    node.role.as_deref().unwrap_or(ROLE_DEFAULT)
}

/// A success without artifacts.
fn success(value: ValueRef, usage: Usage) -> Success {
    Success { value, usage, artifacts: BTreeMap::new(), rescued: None, tasks: Vec::new() }
}
