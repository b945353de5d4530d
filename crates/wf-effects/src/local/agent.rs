//! Performing agents with the tool loop of our own: for models that are configured, and for a mock whose rule says what
//! it does with its tools.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wf_ir::node::{Agent, Node};
use wf_kernel::effect::{LeafRequest, TreeUse};
use wf_kernel::record::{Prepared, Success};
use wf_kernel::{Amount, Outcome, Usage};

use super::ask::{Waited, bounded};
use super::command::remove;
use super::failed::{Failed, failure, with_rescued};
use super::model::{price_of, request_to, throttled};
use super::prepare::{prompt_of, question};
use super::room::Room;
use super::trace::Trace;
use super::{LocalEffects, keep, role_name, success, writes};
use crate::agent::files::Tree;
use crate::agent::output::Outputs;
use crate::agent::scripted::{Last, Scripted};
use crate::agent::shell::{HEARTBEAT, Shell, TIMEOUT_DEFAULT};
use crate::agent::tools::Tools;
use crate::agent::{Done, Limits, Order, Stopped, Why, World, prompt, work};
use crate::contract::{BoxFuture, Ctx, Meter};
use crate::git::SnapshotDir;
use crate::models::typed::Budget;
use crate::models::{Model, ModelErrorKind, ModelRef, Price};
use crate::process::{Bounds, Spec};

/// Where an agent works.
pub(super) struct Desk {
    pub(super) dir: Option<PathBuf>,
    pub(super) rescued: Option<String>,
    /// A copy of a commit, which is gone when this is.
    pub(super) copy: Option<SnapshotDir>,
    pub(super) home: tempfile::TempDir,
}

impl Desk {
    /// Clears it, once the work there has ended so.
    pub(super) async fn leave(self, outcome: Result<Outcome, Failed>) -> Result<Outcome, Failed> {
        let Self { rescued, copy, home, .. } = self;
        remove((copy, home)).await;
        with_rescued(outcome, rescued)
    }
}

/// Who works.
struct Worker {
    model: Arc<dyn Model>,
    /// Who was chosen; none is the mock.
    chosen: Option<ModelRef>,
    context: Option<u64>,
    price: Option<Price>,
}

impl LocalEffects {
    /// Performs an agent with the tool loop; nothing where that is not how it is performed.
    pub(super) async fn native(
        &self,
        node: &Node,
        leaf: &LeafRequest,
        prepared: &Prepared,
        agent: &Agent,
        ctx: &Ctx,
    ) -> Result<Option<Outcome>, Failed> {
        let worker = match self.model_of(prepared)? {
            Some((model, chosen)) => {
                let spec = self.models.as_ref().and_then(|models| models.catalog().providers.get(&chosen.provider));
                let context = spec.and_then(|spec| spec.models.get(&chosen.model)).and_then(|model| model.context);
                Worker { model, chosen: Some(chosen), context, price: price_of(prepared) }
            }
            None => match self.script(node, leaf, prepared, agent, ctx).await? {
                Ok(Some(scripted)) => Worker { model: Arc::new(scripted), chosen: None, context: None, price: None },
                Ok(None) => return Ok(None),
                Err(outcome) => return Ok(Some(outcome)),
            },
        };
        let desk = self.desk(leaf, agent).await?;
        let outcome = self.at_desk(node, leaf, prepared, agent, &worker, &desk, ctx).await;
        desk.leave(outcome).await.map(Some)
    }

    /// The mock as a model, if its rule has turns.
    async fn script(
        &self,
        node: &Node,
        leaf: &LeafRequest,
        prepared: &Prepared,
        agent: &Agent,
        ctx: &Ctx,
    ) -> Result<Result<Option<Scripted>, Outcome>, Failed> {
        let schema = agent.output.as_ref();
        let request = keep::load(&prepared.request, ctx).await?;
        let prompt = prompt_of(&request);
        let turns = self.mock.turns(&question(ctx, node, leaf, schema, &prompt), &self.templates);
        let turns = turns.map_err(|reason| failure("mock_rule", reason))?;
        if turns.is_empty() {
            return Ok(Ok(None));
        }
        Ok(match self.reply(node, leaf, prepared, schema, ctx).await? {
            Ok(answered) => {
                let last = Last::Result(answered.value, answered.tasks);
                Ok(Some(Scripted { turns, last, latency: Duration::ZERO }))
            }
            Err(outcome) => Err(outcome),
        })
    }

    /// A tree of the branch for whoever writes, a copy of the commit for whoever reads.
    pub(super) async fn desk(&self, leaf: &LeafRequest, agent: &Agent) -> Result<Desk, Failed> {
        let home = tempfile::Builder::new().prefix("home-").tempdir_in(self.scratch.path());
        let home = home.map_err(|error| {
            failure("spawn", format!("no directory for the agent's temporary files: {error}")).retryable(true)
        })?;
        let desk = Desk { dir: None, rescued: None, copy: None, home };
        match &leaf.tree {
            TreeUse::None => Ok(desk),
            TreeUse::Branch { branch, begin, .. } if !agent.writes.is_empty() => {
                let tree = self.trees()?.begin(branch, begin).await?;
                Ok(Desk { dir: Some(tree.dir), rescued: tree.rescued, ..desk })
            }
            TreeUse::Branch { begin: commit, .. } | TreeUse::Snapshot { commit, .. } => {
                let copy = self.trees()?.private_snapshot(commit).await?;
                Ok(Desk { dir: Some(copy.path().to_owned()), copy: Some(copy), ..desk })
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what an agent is, where it works, and who does it")]
    async fn at_desk(
        &self,
        node: &Node,
        leaf: &LeafRequest,
        prepared: &Prepared,
        agent: &Agent,
        worker: &Worker,
        desk: &Desk,
        ctx: &Ctx,
    ) -> Result<Outcome, Failed> {
        let request = request_to(&*keep::load(&prepared.request, ctx).await?, &prepared.role);
        let task = request.messages.iter().flat_map(|message| &message.parts);
        let task = task.filter_map(|part| match part {
            crate::models::Part::Text(text) => Some(text.clone()),
            _ => None,
        });
        let trace = Trace::new(ctx, &leaf.path);
        let line = |stream: &str, text: &str| trace.line(stream, text);
        let mut tools = self.tools(node, leaf, agent, desk, ctx)?;
        let budget = Metered::new(&ctx.meter, prepared.estimate);
        let trusted = desk.dir.as_deref().filter(|_| self.is_trusted);
        let order = Order {
            model: &*worker.model,
            price: worker.price,
            context: worker.context,
            system: prompt::system(trusted, role_name(node)),
            task: task.collect(),
            schema: agent.output.as_ref(),
            tasks_max: agent.tasks_max,
            params: request.params.clone(),
            output_tokens_max: request.output_tokens_max,
            limits: Limits::default(),
            held: prepared.estimate,
        };
        let world = World {
            tools: &mut tools,
            cancel: &ctx.cancel,
            steering: &ctx.steering,
            told: &leaf.steers,
            budget: &budget,
            redactor: &ctx.redactor,
            trace: &line,
        };
        let mut ended = None;
        let working = async { ended = Some(Box::pin(work(order, world)).await) };
        let waited = Box::pin(bounded(node, ctx, working)).await;
        match (ended, waited) {
            (Some(Ok(done)), _) => self.done(leaf, agent, worker, desk, done, ctx).await,
            (Some(Err(stopped)), _) => self.stopped(leaf, worker, stopped, ctx),
            // What it used is not known, so all that is held is charged.
            (None, Waited::TimedOut) => Ok(Outcome::TimedOut { usage: Usage::default() }),
            (None, Waited::Cancelled | Waited::Over) => Ok(Outcome::Cancelled { usage: Usage::default() }),
        }
    }

    fn tools(&self, node: &Node, leaf: &LeafRequest, agent: &Agent, desk: &Desk, ctx: &Ctx) -> Result<Tools, Failed> {
        let tree = match &desk.dir {
            None => None,
            Some(dir) => {
                let tree = Tree::open(dir.clone(), agent.reads.clone(), agent.writes.clone());
                Some(tree.map_err(|error| failure("tree", format!("the tree cannot be opened: {error}")))?)
            }
        };
        Ok(Tools {
            shell: match &desk.dir {
                None => Err("there is no tree to run in".to_owned()),
                Some(dir) => self.shell(node, leaf, dir, desk.home.path())?,
            },
            tree,
            allowed: node.permissions.tools.clone(),
            outputs: Outputs::new(Arc::clone(&ctx.blobs)),
        })
    }

    /// How the agent runs commands, or why it cannot.
    fn shell(&self, node: &Node, leaf: &LeafRequest, dir: &Path, home: &Path) -> Result<Result<Shell, String>, Failed> {
        if !self.is_trusted {
            return Ok(Err("this repository is not trusted".to_owned()));
        }
        let named = node.permissions.commands.as_ref();
        if named.is_some_and(|named| !named.iter().any(|name| name == "bash")) {
            return Ok(Err("`bash` is not among the commands that are permitted here".to_owned()));
        }
        let scope = writes(node);
        // Of a copy nothing is kept, so all of it may be written.
        let scope = if scope.is_empty() { None } else { Some(scope) };
        let sandbox = self.policy(node, leaf, &Room { tree: dir, home, scope })?;
        let spec = Spec {
            argv: Vec::new(),
            cwd: dir.to_owned(),
            env: self.environment(&[], home, dir),
            stdin: None,
            bounds: Bounds::with_timeout(TIMEOUT_DEFAULT),
            supervisor: self.supervisor.clone(),
            sandbox,
        };
        Ok(Ok(Shell { spec, heartbeat: HEARTBEAT }))
    }

    async fn done(
        &self,
        leaf: &LeafRequest,
        agent: &Agent,
        worker: &Worker,
        desk: &Desk,
        done: Done,
        ctx: &Ctx,
    ) -> Result<Outcome, Failed> {
        if let Some(models) = &self.models {
            models.forget(&ctx.run_id, &leaf.path);
        }
        let usage = self.usage(worker, done.usage);
        let kept = async {
            let value = keep::value(Arc::new(done.value), ctx).await?;
            let artifacts = match &desk.dir {
                Some(dir) => keep::artifacts(dir, &agent.artifacts, ctx).await?,
                None => std::collections::BTreeMap::new(),
            };
            Ok(Success { artifacts, tasks: done.tasks.into_iter().map(Arc::new).collect(), ..success(value, usage) })
        };
        let kept: Result<Success, Failed> = kept.await;
        kept.map(|success| Outcome::Succeeded(Box::new(success))).map_err(|failed| failed.after(usage))
    }

    fn stopped(&self, leaf: &LeafRequest, worker: &Worker, stopped: Stopped, ctx: &Ctx) -> Result<Outcome, Failed> {
        let usage = self.usage(worker, stopped.usage);
        let name = worker.chosen.as_ref().map_or_else(|| "mock".to_owned(), ModelRef::to_string);
        let Why::Model(error) = &stopped.why else {
            let is_retryable = matches!(stopped.why, Why::Circles { .. } | Why::Turns | Why::NoResult(_));
            let message = format!("{name}: {}", stopped.why.message());
            return Err(failure(stopped.why.code(), message).retryable(is_retryable).after(usage));
        };
        if error.kind == ModelErrorKind::Cancelled {
            return Ok(Outcome::Cancelled { usage });
        }
        let pause = worker.chosen.as_ref().and_then(|chosen| self.pause_after(error, leaf, chosen, ctx));
        match pause {
            Some(retry_after_ms) => Ok(throttled(retry_after_ms, usage, format!("{name}: {error}"), leaf, ctx)),
            None => {
                let message = format!("{name}: {error}");
                Err(failure(error.code(), message).retryable(error.is_retryable()).after(usage))
            }
        }
    }

    fn usage(&self, worker: &Worker, usage: crate::models::ModelUsage) -> Usage {
        let mut usage = usage.with_price(worker.price.as_ref());
        if worker.chosen.is_none() {
            // The mock costs what it always costs.
            let (input, output) = (usage.input_tokens.unwrap_or(0), usage.output_tokens.unwrap_or(0));
            usage.cost_usd_micros = Some(crate::mock::cost(input, output));
        }
        usage
    }
}

/// The budget of a leaf, which more is asked of.
pub(super) struct Metered<'a> {
    meter: &'a Meter,
    /// What is held, and what of it is spent.
    state: Mutex<(Amount, Amount)>,
}

impl<'a> Metered<'a> {
    pub(super) fn new(meter: &'a Meter, held: Amount) -> Self {
        Self { meter, state: Mutex::new((held, Amount::default())) }
    }
}

impl Budget for Metered<'_> {
    fn more(&self, amount: Amount) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let (held, spent) = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let total = Amount {
                tokens: held.tokens.saturating_add(amount.tokens),
                cost_usd_micros: held.cost_usd_micros.saturating_add(amount.cost_usd_micros),
            };
            // Who cannot be asked has granted nothing.
            let is_granted = self.meter.hold(spent, total).await.unwrap_or(false);
            if is_granted {
                self.state.lock().unwrap_or_else(PoisonError::into_inner).0 = total;
            }
            is_granted
        })
    }

    fn spent(&self, amount: Amount) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = amount;
    }
}
