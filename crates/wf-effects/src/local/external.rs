//! Performing agents that are programs of their own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wf_ir::Value;
use wf_ir::node::{Agent, Node};
use wf_kernel::effect::{LeafRequest, TreeUse};
use wf_kernel::record::{Prepared, Success};
use wf_kernel::{Outcome, Usage};

use super::agent::{Desk, Metered};
use super::failed::{Failed, failure};
use super::prepare::prompt_of;
use super::room::{Room, hosts};
use super::trace::{Trace, TracedText};
use super::{LocalEffects, keep, role_name, success, writes};
use crate::agent::files::Tree;
use crate::agent::prompt;
use crate::contract::Ctx;
use crate::external::session::Attempt;
use crate::external::{AGENTS, AgentSpec, Done, Fault, May, Order, Stopped, World, work};
use crate::models::{Delta, ModelUsage};
use crate::process::{Bounds, Spec};
use crate::sandbox::Policy;

/// The artifact that names an agent's session.
const SESSION: &str = "session";

/// One agent and what it works on.
struct Hired<'a> {
    node: &'a Node,
    leaf: &'a LeafRequest,
    prepared: &'a Prepared,
    agent: &'a Agent,
    name: &'a str,
    spec: &'a AgentSpec,
}

impl Hired<'_> {
    fn attempt(&self) -> Attempt<'_> {
        let begin = match &self.leaf.tree {
            TreeUse::None => "",
            TreeUse::Branch { begin: commit, .. } | TreeUse::Snapshot { commit, .. } => commit,
        };
        Attempt { path: &self.leaf.path, attempt: self.leaf.attempt, agent: self.name, begin }
    }
}

impl LocalEffects {
    /// Performs an agent with the program that its role was resolved to; nothing where that is no such agent.
    pub(super) async fn external(
        &self,
        node: &Node,
        leaf: &LeafRequest,
        prepared: &Prepared,
        agent: &Agent,
        ctx: &Ctx,
    ) -> Result<Option<Outcome>, Failed> {
        if prepared.role.get("provider").as_str() != Some(AGENTS) {
            return Ok(None);
        }
        let name = prepared.role.get("model").as_str().unwrap_or_default();
        let spec = self.models.as_ref().and_then(|models| models.catalog().agents.get(name));
        let spec =
            spec.ok_or_else(|| unused(failure("role", format!("the agent `{name}` is not configured any more"))))?;
        self.check_external(node).map_err(unused)?;
        let hired = Hired { node, leaf, prepared, agent, name, spec };
        let desk = self.desk(leaf, agent).await.map_err(unused)?;
        let outcome = self.hire(&hired, &desk, ctx).await;
        desk.leave(outcome).await.map(Some)
    }

    /// Whether an agent that can run anything may work for a node at all.
    fn check_external(&self, node: &Node) -> Result<(), Failed> {
        self.check_allowed(node, &["bash".to_owned()])?;
        let tools = node.permissions.tools.as_ref();
        if tools.is_some_and(|tools| !tools.iter().any(|tool| tool == "bash")) {
            let message = "an external agent can run anything in its sandbox, and `bash` is not among the tools here";
            return Err(failure("permission", message));
        }
        Ok(())
    }

    async fn hire(&self, hired: &Hired<'_>, desk: &Desk, ctx: &Ctx) -> Result<Outcome, Failed> {
        let Hired { node, leaf, prepared, agent, spec, .. } = *hired;
        let Some(dir) = desk.dir.as_deref() else {
            return Err(failure("no_repository", "there is no tree for the agent to work in"));
        };
        let dir = canonical(dir)?;
        let tree = Tree::open(dir.clone(), agent.reads.clone(), agent.writes.clone())
            .map_err(|error| failure("tree", format!("the tree cannot be opened: {error}")))?;
        let (process, is_online) = self.agent_process(hired, &dir, desk.home.path())?;
        let request = keep::load(&prepared.request, ctx).await?;
        let trusted = Some(dir.as_path()).filter(|_| self.is_trusted);
        let told: String =
            leaf.steers.iter().map(|text| format!("\n\nWhoever gave you the task adds: {text}")).collect();
        let order = Order {
            agent: spec,
            task: format!("{}\n\n{}{told}", prompt::outside(trusted, role_name(node)), prompt_of(&request)),
            schema: agent.output.as_ref(),
            tasks_max: agent.tasks_max,
            resume: self.sessions.kept(&hired.attempt()),
            held: prepared.estimate,
            timeout: node.timeout_ms.map_or(spec.timeouts.total, std::time::Duration::from_millis),
        };
        let trace = Trace::new(ctx, &leaf.path);
        let line = |stream: &str, text: &str| trace.line(stream, text);
        let budget = Metered::new(&ctx.meter, prepared.estimate);
        let mut text = TracedText::new(&trace, &ctx.redactor);
        let mut seen = |delta: Delta<'_>| text.take(delta);
        let session = |id: &str| {
            if let Err(error) = self.sessions.keep(&hired.attempt(), id) {
                trace.line("engine", &format!("its session is not kept: {error}"));
            }
        };
        let world = World {
            process,
            tree,
            may: May { tools: node.permissions.tools.clone(), fetch: is_online },
            cancel: &ctx.cancel,
            steering: &ctx.steering,
            budget: &budget,
            seen: &mut seen,
            trace: &line,
            session: &session,
        };
        let ended = Box::pin(work(order, world)).await;
        text.finish();
        if !matches!(&ended, Err(Stopped { fault: Fault::Cancelled, .. })) {
            self.sessions.forget(&hired.attempt());
        }
        match ended {
            Ok(done) => self.handed_back(hired, &dir, done, ctx).await,
            Err(stopped) => self.without_result(hired, stopped, ctx).await,
        }
    }

    /// How the agent's process is started, and whether it may reach anybody.
    fn agent_process(&self, hired: &Hired<'_>, dir: &Path, home: &Path) -> Result<(Spec, bool), Failed> {
        let Hired { node, leaf, spec, .. } = *hired;
        let scope = writes(node);
        let scope = if scope.is_empty() { None } else { Some(scope) };
        let home = canonical(home)?;
        let network: Vec<_> = hosts(node)?.into_iter().chain(spec.network.iter().cloned()).collect();
        let is_online = !network.is_empty();
        let policy = self.policy(node, leaf, &Room { tree: dir, home: &home, scope })?;
        let sandbox = policy.map(|policy| self.open_state(spec, policy).reaching(network));
        self.link_state(spec, &home)?;
        let process = Spec {
            argv: Vec::new(),
            cwd: dir.to_owned(),
            env: self.environment(&spec.env, &home, dir),
            stdin: None,
            bounds: Bounds::with_timeout(spec.timeouts.total),
            supervisor: self.supervisor.clone(),
            sandbox,
        };
        Ok((process, is_online))
    }

    /// Opens what the user has listed as the agent's own. What is not there cannot be opened.
    fn open_state(&self, spec: &AgentSpec, policy: Policy) -> Policy {
        let real = |paths: &[PathBuf]| -> Vec<PathBuf> {
            paths.iter().filter_map(|path| std::fs::canonicalize(path).ok()).collect()
        };
        let policy = real(&spec.reads).iter().fold(policy, |policy, path| policy.reading(path));
        real(&spec.state).iter().fold(policy, |policy, path| policy.writing(path))
    }

    /// Lets what is below the person's home be found below the agent's, which is another.
    fn link_state(&self, spec: &AgentSpec, home: &Path) -> Result<(), Failed> {
        let Some(real_home) = self.env.get("HOME").map(PathBuf::from) else { return Ok(()) };
        for path in spec.state.iter().chain(&spec.reads) {
            let Ok(inner) = path.strip_prefix(&real_home) else { continue };
            let (link, to) = (home.join(inner), std::fs::canonicalize(path));
            let Ok(to) = to else { continue };
            let made = link.parent().map_or(Ok(()), std::fs::create_dir_all);
            made.and_then(|()| std::os::unix::fs::symlink(&to, &link))
                .map_err(|error| failure("spawn", format!("{link:?} cannot be made: {error}")).retryable(true))?;
        }
        Ok(())
    }

    async fn handed_back(&self, hired: &Hired<'_>, dir: &Path, done: Done, ctx: &Ctx) -> Result<Outcome, Failed> {
        let Done { value, tasks, usage, session, .. } = done;
        let kept = async {
            let value = keep::value(Arc::new(value), ctx).await?;
            let mut artifacts = keep::artifacts(dir, &hired.agent.artifacts, ctx).await?;
            if let Some(session) = session {
                artifacts.insert(SESSION.to_owned(), keep_session(hired.name, &session, ctx).await?);
            }
            Ok(Success { artifacts, tasks: tasks.into_iter().map(Arc::new).collect(), ..success(value, usage) })
        };
        let kept: Result<Success, Failed> = kept.await;
        kept.map(|success| Outcome::Succeeded(Box::new(success))).map_err(|failed| failed.after(usage))
    }

    async fn without_result(&self, hired: &Hired<'_>, stopped: Stopped, ctx: &Ctx) -> Result<Outcome, Failed> {
        let Stopped { fault, usage, session } = stopped;
        match fault {
            // What a turn that was cut off has used is not known, so all that is held is charged.
            Fault::TimedOut => return Ok(Outcome::TimedOut { usage }),
            Fault::Cancelled => return Ok(Outcome::Cancelled { usage }),
            _ => {}
        }
        let mut artifacts = std::collections::BTreeMap::new();
        if let Some(session) = session {
            artifacts.insert(SESSION.to_owned(), keep_session(hired.name, &session, ctx).await?);
        }
        let message = format!("{AGENTS}/{}: {}", hired.name, fault.message());
        let failed = failure(fault.code(), message).retryable(fault.is_retryable()).after(usage);
        Err(failed.keeping(artifacts))
    }
}

/// A failure before the agent was there: nothing was used, and nothing is charged.
fn unused(failed: Failed) -> Failed {
    failed.after(Usage { cost_usd_micros: Some(0), ..ModelUsage::NOTHING.with_price(None) })
}

async fn keep_session(agent: &str, session: &str, ctx: &Ctx) -> Result<wf_ir::Digest, Failed> {
    let named = Value::map([("agent", Value::from(agent)), ("session", Value::from(session))]);
    keep::blob(named.to_json().into_bytes(), ctx).await
}

fn canonical(path: &Path) -> Result<PathBuf, Failed> {
    std::fs::canonicalize(path).map_err(|error| failure("spawn", format!("{path:?}: {error}")).retryable(true))
}
