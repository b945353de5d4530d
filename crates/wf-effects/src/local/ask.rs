//! Performing what models do: asks and agents. Here the mock answers; [`super::model`] asks others.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wf_ir::Value;
use wf_ir::node::{Agent, Node};
use wf_ir::types::check_schema;
use wf_kernel::effect::{LeafRequest, TreeUse};
use wf_kernel::record::{Prepared, Success};
use wf_kernel::{Outcome, Usage};

use super::failed::{Failed, defect, failure, with_rescued};
use super::prepare::{prompt_of, question};
use super::trace::Trace;
use super::{LocalEffects, keep, success};
use crate::contract::Ctx;
use crate::mock::{Answered, Edit, Reply, apply};

/// How a wait ended.
pub(super) enum Waited {
    Over,
    Cancelled,
    TimedOut,
}

impl LocalEffects {
    pub(super) async fn ask(
        &self,
        node: &Node,
        leaf: &LeafRequest,
        prepared: &Prepared,
        schema: Option<&Value>,
        ctx: &Ctx,
    ) -> Result<Outcome, Failed> {
        if let Some(model) = self.model_of(prepared)? {
            return Box::pin(self.ask_model(node, leaf, prepared, model, schema, ctx)).await;
        }
        match self.reply(node, leaf, prepared, schema, ctx).await? {
            Ok(answered) if !answered.edits.is_empty() => Err(read_only().after(answered.usage)),
            Ok(answered) if !answered.tasks.is_empty() => {
                Err(failure("tasks", "only an agent adds tasks").after(answered.usage))
            }
            Ok(answered) => Ok(Outcome::Succeeded(Box::new(typed(answered, schema, ctx).await?))),
            Err(outcome) => Ok(outcome),
        }
    }

    pub(super) async fn agent(
        &self,
        node: &Node,
        leaf: &LeafRequest,
        prepared: &Prepared,
        agent: &Agent,
        ctx: &Ctx,
    ) -> Result<Outcome, Failed> {
        if let Some(outcome) = Box::pin(self.external(node, leaf, prepared, agent, ctx)).await? {
            return Ok(outcome);
        }
        if let Some(outcome) = Box::pin(self.native(node, leaf, prepared, agent, ctx)).await? {
            return Ok(outcome);
        }
        // Only an agent that may write works in a tree of its own; what others read is in their prompt.
        let (dir, rescued) = match &leaf.tree {
            TreeUse::Branch { branch, begin, .. } if !agent.writes.is_empty() => {
                let tree = self.trees()?.begin(branch, begin).await?;
                (Some(tree.dir), tree.rescued)
            }
            _ => (None, None),
        };
        let outcome = self.work(node, leaf, prepared, agent, dir, ctx).await;
        with_rescued(outcome, rescued)
    }

    async fn work(
        &self,
        node: &Node,
        leaf: &LeafRequest,
        prepared: &Prepared,
        agent: &Agent,
        dir: Option<PathBuf>,
        ctx: &Ctx,
    ) -> Result<Outcome, Failed> {
        let schema = agent.output.as_ref();
        let mut answered = match self.reply(node, leaf, prepared, schema, ctx).await? {
            Ok(answered) => answered,
            Err(outcome) => return Ok(outcome),
        };
        let usage = answered.usage;
        let edits = std::mem::take(&mut answered.edits);
        if !edits.is_empty() {
            let Some(dir) = dir.clone() else { return Err(read_only().after(usage)) };
            let trace = Trace::new(ctx, &leaf.path);
            edits.iter().for_each(|edit| trace.line("edit", &format!("{} {}", edit.change.name(), edit.path)));
            make(dir, edits).await.map_err(|failed| failed.after(usage))?;
        }
        let tasks = std::mem::take(&mut answered.tasks).into_iter().map(Arc::new).collect();
        let mut success = Success { tasks, ..typed(answered, schema, ctx).await? };
        if let Some(dir) = dir {
            let artifacts = keep::artifacts(&dir, &agent.artifacts, ctx).await;
            success.artifacts = artifacts.map_err(|failed| failed.after(usage))?;
        }
        Ok(Outcome::Succeeded(Box::new(success)))
    }

    /// What the provider answers, after the time that it takes; an outcome where there is no answer.
    pub(super) async fn reply(
        &self,
        node: &Node,
        leaf: &LeafRequest,
        prepared: &Prepared,
        schema: Option<&Value>,
        ctx: &Ctx,
    ) -> Result<Result<Answered, Outcome>, Failed> {
        let request = keep::load(&prepared.request, ctx).await?;
        let prompt = prompt_of(&request);
        let mut asked = question(ctx, node, leaf, schema, &prompt);
        if self.mock.listens(&asked) {
            match Box::pin(bounded(node, ctx, ctx.steering.more_than(0))).await {
                Waited::Over => {}
                Waited::Cancelled => return Ok(Err(Outcome::Cancelled { usage: Usage::default() })),
                Waited::TimedOut => return Ok(Err(Outcome::TimedOut { usage: Usage::default() })),
            }
        }
        let told: Vec<Arc<str>> = leaf.steers.iter().cloned().chain(ctx.steering.told()).collect();
        told.iter().for_each(|text| Trace::new(ctx, &leaf.path).line("told", text));
        asked.told = &told;
        let reply = self.mock.answer(&asked, &self.templates);
        let (latency, say, usage) = match &reply {
            Reply::Answer(answer) => (answer.latency, &answer.say, answer.usage),
            Reply::Failed { latency, say, usage, .. } => (*latency, say, *usage),
            Reply::Throttled { retry_after_ms } => {
                let (retry_after_ms, usage) = (*retry_after_ms, Usage::default());
                return Ok(Err(Outcome::Throttled { retry_after_ms, usage, why: None }));
            }
        };
        if self.is_paced || !say.is_empty() {
            match Box::pin(self.pace(node, leaf, latency, say, ctx)).await {
                Waited::Over => {}
                Waited::Cancelled => return Ok(Err(Outcome::Cancelled { usage })),
                Waited::TimedOut => return Ok(Err(Outcome::TimedOut { usage })),
            }
        }
        match reply {
            Reply::Answer(answer) => {
                if self.is_paced {
                    let text = answer.value.as_str().map_or_else(|| answer.value.to_json(), str::to_owned);
                    Trace::new(ctx, &leaf.path).line("answer", &text);
                }
                Ok(Ok(*answer))
            }
            Reply::Failed { code, message, retryable, usage, .. } => {
                Err(failure(&code, message).retryable(retryable).after(usage))
            }
            Reply::Throttled { .. } => Err(defect("a throttled question was answered")),
        }
    }

    /// Says what the provider says meanwhile. Where it paces itself, that takes as long as it takes.
    async fn pace(&self, node: &Node, leaf: &LeafRequest, latency: Duration, say: &[String], ctx: &Ctx) -> Waited {
        let trace = Trace::new(ctx, &leaf.path);
        if !self.is_paced {
            say.iter().for_each(|line| trace.line("say", line));
            return Waited::Over;
        }
        let step = latency / u32::try_from(say.len() + 1).unwrap_or(u32::MAX);
        let waiting = async {
            for line in say {
                tokio::time::sleep(step).await;
                trace.line("say", line);
            }
            tokio::time::sleep(step).await;
        };
        bounded(node, ctx, waiting).await
    }
}

/// Waits for something within what a node may take, unless it is ended.
pub(super) async fn bounded(node: &Node, ctx: &Ctx, waiting: impl Future<Output = ()>) -> Waited {
    let timeout = node.timeout_ms.map_or(Duration::MAX, Duration::from_millis);
    tokio::select! {
        biased;
        () = ctx.cancel.cancelled() => Waited::Cancelled,
        waited = tokio::time::timeout(timeout, waiting) => match waited {
            Ok(()) => Waited::Over,
            Err(_) => Waited::TimedOut,
        },
    }
}

/// An answer as a success, if it fits the schema.
async fn typed(answered: Answered, schema: Option<&Value>, ctx: &Ctx) -> Result<Success, Failed> {
    let Answered { value, usage, is_generated, .. } = answered;
    // Without a schema the answer is text. What the mock made by itself it has checked.
    let fits = match schema {
        _ if is_generated => Ok(()),
        Some(schema) => check_schema(schema, &value),
        None if value.as_str().is_some() => Ok(()),
        None => Err("the answer must be text, because the node has no output schema".to_owned()),
    };
    fits.map_err(|reasons| failure("output_invalid", reasons).retryable(true).after(usage))?;
    let value = keep::value(value.into(), ctx).await.map_err(|failed| failed.after(usage))?;
    Ok(success(value, usage))
}

async fn make(dir: PathBuf, edits: Vec<Edit>) -> Result<(), Failed> {
    let made = tokio::task::spawn_blocking(move || apply(&dir, &edits)).await;
    made.map_err(defect)?.map_err(|error| failure("edit", error.to_string()))
}

fn read_only() -> Failed {
    failure("read_only", "the answer edits files, but the node may not write: it needs `writes`, in a branch")
}
