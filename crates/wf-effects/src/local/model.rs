//! Asking a model that is not the mock: who is asked, what, and what came of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wf_ir::node::{Kind, Node};
use wf_ir::{Digest, Value, Workflow};
use wf_kernel::effect::LeafRequest;
use wf_kernel::record::{PassedOver, Prepared};
use wf_kernel::{Amount, Outcome, Usage};

use super::ask::{Waited, bounded};
use super::failed::{Failed, failure};
use super::trace::{Trace, TracedText};
use super::{LocalEffects, keep, success};
use crate::contract::{BoxFuture, Clock, Ctx, Meter};
use crate::external::{AGENTS, AgentSpec};
use crate::models::catalog::{Wanted, Work};
use crate::models::outage::Outages;
use crate::models::typed::{self, Answer, Budget, NoAnswer, REPAIRS_MAX, Wish};
use crate::models::{
    Call, Catalog, Feature, Message, Model, ModelError, ModelErrorKind, ModelRef, ModelRequest, Price, Providers,
    Resolved, Response, Speaker, Unsatisfied, price,
};

/// How often a leaf waits in a row for a provider that is out, before it fails.
const OUTAGES_MAX: u32 = 8;
/// Leaves whose outages are remembered; beyond it all are forgotten.
const OUTAGES_KNOWN_MAX: usize = 20_000;
/// How much of what a provider did goes into the log.
const WHY_CHARS_MAX: usize = 300;

/// Run and path of a leaf.
type LeafName = (Arc<str>, Arc<str>);
/// A model, and how it is called.
type Asked = (Arc<dyn Model>, ModelRef);

/// The models of a process, as they are configured: one limiter for each provider, whichever runs ask it.
pub struct Models {
    providers: Providers,
    keyless: BTreeMap<String, String>,
    clock: Arc<dyn Clock>,
    /// How often a leaf has found everybody out.
    outages: Mutex<BTreeMap<LeafName, u32>>,
}

impl Models {
    /// The models of `catalog`. Providers in `keyless` lack their key, for the reason that is given.
    pub fn new(catalog: Catalog, keyless: BTreeMap<String, String>, clock: Arc<dyn Clock>) -> Self {
        let providers = Providers::new(catalog, Arc::clone(&clock));
        Self { providers, keyless, clock, outages: Mutex::default() }
    }

    /// Who does `role` of a workflow now, for this work. Who is out, or has no key, is passed over.
    ///
    /// # Errors
    /// When nobody can do it.
    pub fn resolve(&self, workflow: &Workflow, role: &str, work: Work) -> Result<Resolved, Unsatisfied> {
        let asked = workflow.roles().get(role);
        let wanted = Wanted {
            needs: asked.map(|role| role.needs.clone()).unwrap_or_default(),
            params: asked.map(|role| role.params.clone()).unwrap_or_default(),
            work,
        };
        self.resolve_wanted(role, &wanted)
    }

    /// The same, for what is wanted of the role.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn resolve_wanted(&self, role: &str, wanted: &Wanted) -> Result<Resolved, Unsatisfied> {
        let mut health = self.providers.health();
        let now_ms = self.clock.now_ms();
        let missing = Outages::default();
        self.keyless.iter().for_each(|(name, why)| missing.note(name, now_ms, Some(u64::MAX), why));
        health.extend(missing.at(now_ms));
        self.providers.catalog().resolve(role, wanted, &health)
    }

    /// Why a model cannot be asked, where its provider lacks its key.
    pub fn lacks_key(&self, model: &ModelRef) -> Option<&str> {
        self.keyless.get(&model.provider).map(String::as_str)
    }

    /// The agent that a role was resolved to, if that is what does it.
    pub fn agent(&self, chosen: &ModelRef) -> Option<&AgentSpec> {
        self.catalog().agents.get(&chosen.model).filter(|_| chosen.provider == AGENTS)
    }

    /// What is configured.
    pub fn catalog(&self) -> &Catalog {
        self.providers.catalog()
    }

    /// What answers depend on.
    pub fn digest(&self) -> Digest {
        self.providers.catalog().digest()
    }

    /// Whether a leaf may wait once more for a provider that is out.
    fn may_wait(&self, run: &Arc<str>, path: &Arc<str>) -> bool {
        let mut outages = self.outages.lock().unwrap_or_else(PoisonError::into_inner);
        if outages.len() >= OUTAGES_KNOWN_MAX {
            outages.clear();
        }
        let count = outages.entry((Arc::clone(run), Arc::clone(path))).or_insert(0);
        *count += 1;
        *count <= OUTAGES_MAX
    }

    pub(super) fn forget(&self, run: &Arc<str>, path: &Arc<str>) {
        let mut outages = self.outages.lock().unwrap_or_else(PoisonError::into_inner);
        outages.remove(&(Arc::clone(run), Arc::clone(path)));
    }
}

/// Who does a leaf.
pub(super) struct Chosen {
    /// As it is recorded: all that can change the answer.
    pub(super) role: Arc<Value>,
    /// Who does it; none is the mock.
    pub(super) model: Option<Resolved>,
}

impl LocalEffects {
    /// Who does a role of a workflow now.
    pub(super) fn chosen(&self, workflow: &Workflow, node: &Node) -> Result<Chosen, Failed> {
        let role = super::role_name(node);
        let Some(models) = &self.models else { return Ok(Chosen { role: self.role(workflow, role), model: None }) };
        let resolved = models.resolve(workflow, role, work_of(node));
        let resolved = resolved.map_err(|unsatisfied| {
            let reasons = unsatisfied.reasons.join("; ");
            failure("role", format!("nothing here satisfies the role `{role}`: {reasons}"))
        })?;
        if let Some(agent) = models.agent(&resolved.chosen) {
            return Ok(Chosen { role: Arc::new(agent_value(&resolved, agent)), model: Some(resolved) });
        }
        let provider = models.catalog().providers.get(&resolved.chosen.provider);
        if provider.is_none_or(|provider| provider.kind == crate::models::ProviderKind::Mock) {
            return Ok(Chosen { role: self.role(workflow, role), model: None });
        }
        Ok(Chosen { role: Arc::new(role_value(&resolved)), model: Some(resolved) })
    }

    /// The model that a leaf was prepared for; none is the mock.
    pub(super) fn model_of(&self, prepared: &Prepared) -> Result<Option<Asked>, Failed> {
        let word = |name: &str| prepared.role.get(name).as_str().unwrap_or_default().to_owned();
        let chosen = ModelRef { provider: word("provider"), model: word("model") };
        let Some(models) = self.models.as_ref().filter(|_| chosen.provider != "mock") else { return Ok(None) };
        if chosen.provider == AGENTS {
            return Err(failure("role", format!("{chosen} is an agent, which does no `ask`")));
        }
        let model = models.providers.model(&chosen).map_err(|error| failure(error.code(), error.to_string()))?;
        Ok(model.map(|model| (model, chosen)))
    }

    /// One question to a model, asked again where its answer does not fit.
    pub(super) async fn ask_model(
        &self,
        node: &Node,
        leaf: &LeafRequest,
        prepared: &Prepared,
        model: (Arc<dyn Model>, ModelRef),
        schema: Option<&Value>,
        ctx: &Ctx,
    ) -> Result<Outcome, Failed> {
        let (model, chosen) = model;
        let price = price_of(prepared);
        let request = request_to(&*keep::load(&prepared.request, ctx).await?, &prepared.role);
        let ledger = Mutex::new(Ledger { spent: Amount::default(), held: prepared.estimate });
        let reserve = Reserve { model: &*model, price, meter: &ctx.meter, ledger };
        let spec = self.models.as_ref().and_then(|models| models.catalog().providers.get(&chosen.provider));
        let features = spec.and_then(|spec| spec.models.get(&chosen.model)).map(|model| &model.features);
        let wish = Wish {
            schema,
            is_native: features.is_some_and(|features| features.contains(&Feature::Json)),
            repairs_max: REPAIRS_MAX,
            price,
            budget: &reserve,
        };
        let trace = Trace::new(ctx, &leaf.path);
        let mut text = TracedText::new(&trace, &ctx.redactor);
        let mut answered = None;
        let waited = {
            let mut seen = |delta: crate::models::Delta<'_>| text.take(delta);
            let asking = async {
                answered = Some(typed::ask(&reserve, request, &wish, &ctx.cancel, &mut seen).await);
            };
            Box::pin(bounded(node, ctx, asking)).await
        };
        text.finish();
        match (answered, waited) {
            (Some(Ok(answer)), _) => self.answered(leaf, answer, price, ctx).await,
            (Some(Err(reason)), _) => self.unanswered(leaf, reason, &chosen, price, ctx),
            // What it used is not known, so the whole reservation is charged.
            (None, Waited::TimedOut) => Ok(Outcome::TimedOut { usage: Usage::default() }),
            (None, Waited::Cancelled | Waited::Over) => Ok(Outcome::Cancelled { usage: Usage::default() }),
        }
    }

    async fn answered(
        &self,
        leaf: &LeafRequest,
        answer: Answer,
        price: Option<Price>,
        ctx: &Ctx,
    ) -> Result<Outcome, Failed> {
        if let Some(models) = &self.models {
            models.forget(&ctx.run_id, &leaf.path);
        }
        let usage = answer.usage.with_price(price.as_ref());
        let value = keep::value(Arc::new(answer.value), ctx).await.map_err(|failed| failed.after(usage))?;
        Ok(Outcome::Succeeded(Box::new(success(value, usage))))
    }

    fn unanswered(
        &self,
        leaf: &LeafRequest,
        reason: NoAnswer,
        chosen: &ModelRef,
        price: Option<Price>,
        ctx: &Ctx,
    ) -> Result<Outcome, Failed> {
        let cost = |usage: crate::models::ModelUsage| usage.with_price(price.as_ref());
        match reason {
            NoAnswer::Model(error) => {
                let usage = cost(error.usage);
                match self.pause_after(&error, leaf, chosen, ctx) {
                    _ if error.kind == ModelErrorKind::Cancelled => Ok(Outcome::Cancelled { usage }),
                    Some(retry_after_ms) => {
                        Ok(throttled(retry_after_ms, usage, format!("{chosen}: {error}"), leaf, ctx))
                    }
                    None => {
                        let retryable = error.is_retryable();
                        Err(failure(error.code(), format!("{chosen}: {error}")).retryable(retryable).after(usage))
                    }
                }
            }
            NoAnswer::Unfit { reason, usage } => {
                Err(failure("output_invalid", format!("{chosen}: {reason}")).retryable(true).after(cost(usage)))
            }
            NoAnswer::OverBudget { reason, usage } => {
                let message = format!("{chosen}: {reason}; there is no budget for asking again");
                Err(failure("output_invalid", message).retryable(true).after(cost(usage)))
            }
            NoAnswer::Refused { said, usage } => {
                let said: String = said.chars().take(500).collect();
                Err(failure("refused", format!("{chosen} does not want to answer: {said}")).after(cost(usage)))
            }
        }
    }

    /// For how long a leaf waits before it is prepared again, and perhaps done by another model; none is that it fails.
    pub(super) fn pause_after(
        &self,
        error: &ModelError,
        leaf: &LeafRequest,
        chosen: &ModelRef,
        ctx: &Ctx,
    ) -> Option<u64> {
        if let ModelErrorKind::Throttled { retry_after_ms } = error.kind {
            return Some(retry_after_ms);
        }
        let models = self.models.as_ref().filter(|_| error.is_outage())?;
        if !models.may_wait(&ctx.run_id, &leaf.path) {
            return None;
        }
        let node = ctx.workflow.node(leaf.node);
        let other = models.resolve(&ctx.workflow, super::role_name(node), work_of(node)).ok()?;
        if other.chosen.provider != chosen.provider {
            return Some(1);
        }
        // Everybody is out: the first that is back is asked again.
        let until_ms = models.providers.health().get(&chosen.provider).map(|outage| outage.until_ms);
        Some(until_ms.map_or(1, |until_ms| u64::try_from(until_ms - models.clock.now_ms()).unwrap_or(1).max(1)))
    }
}

/// A leaf waits for a provider, and says why.
pub(super) fn throttled(retry_after_ms: u64, usage: Usage, why: String, leaf: &LeafRequest, ctx: &Ctx) -> Outcome {
    Trace::new(ctx, &leaf.path).line("engine", &why);
    Outcome::Throttled { retry_after_ms, usage, why: Some(why.chars().take(WHY_CHARS_MAX).collect()) }
}

/// What of a resolved role can change an answer.
fn role_value(resolved: &Resolved) -> Value {
    Value::map([
        ("provider", Value::from(resolved.chosen.provider.as_str())),
        ("model", Value::from(resolved.chosen.model.as_str())),
        ("params", Value::Map(resolved.params.clone())),
        ("output_tokens_max", Value::Int(i64::from(resolved.output_tokens_max))),
    ])
}

/// What a node wants of its role.
pub fn work_of(node: &Node) -> Work {
    match &node.kind {
        Kind::Agent(agent) => Work::Agent(agent.driver),
        _ => Work::Ask,
    }
}

/// What of a resolved agent can change an answer.
fn agent_value(resolved: &Resolved, agent: &AgentSpec) -> Value {
    Value::map([
        ("provider", Value::from(resolved.chosen.provider.as_str())),
        ("model", Value::from(resolved.chosen.model.as_str())),
        ("agent", agent.to_value()),
    ])
}

/// Why it is not those that come first.
pub(super) fn passed_over(resolved: &Resolved) -> Vec<PassedOver> {
    let said = resolved.passed_over.iter();
    said.map(|(model, why)| PassedOver { model: model.to_string(), why: why.clone() }).collect()
}

/// What the model of a prepared leaf costs.
pub(super) fn price_of(prepared: &Prepared) -> Option<Price> {
    let price = prepared.price.as_ref()?;
    let micros = |name: &str| price.get(name).as_int().and_then(|micros| u64::try_from(micros).ok());
    Some(Price {
        input: micros("input")?,
        output: micros("output")?,
        cached: micros("cached"),
        cache_write: micros("cache_write"),
    })
}

/// A leaf's request as a model gets it.
pub(super) fn request_to(request: &Value, role: &Value) -> ModelRequest {
    let messages = request.get("messages").as_list().unwrap_or(&[]);
    let texts = messages.iter().filter_map(|message| message.get("content").as_str());
    let params = role.get("params").as_map().cloned().unwrap_or_default();
    let most = role.get("output_tokens_max").as_int().and_then(|most| u32::try_from(most).ok());
    ModelRequest {
        messages: texts.map(|text| Message::text(Speaker::User, text)).collect(),
        output_tokens_max: most.unwrap_or(crate::models::catalog::OUTPUT_TOKENS_DEFAULT),
        params,
        ..ModelRequest::default()
    }
}

/// The most that a prepared leaf can use with its first call.
pub(super) fn estimate(request: &Value, chosen: &Chosen, resolved: &Resolved, models: Option<&Models>) -> Amount {
    if let Some(agent) = models.and_then(|models| models.agent(&resolved.chosen)) {
        // What it will use cannot be known, so all that it may use is held.
        return agent.reserve;
    }
    price::estimate(&request_to(request, &chosen.role), resolved.price.as_ref())
}

/// The budget of a leaf: what its preparation reserved, and what is asked for beyond.
struct Reserve<'a> {
    model: &'a dyn Model,
    price: Option<Price>,
    meter: &'a Meter,
    ledger: Mutex<Ledger>,
}

/// What is used, and what is held.
#[derive(Clone, Copy)]
struct Ledger {
    spent: Amount,
    held: Amount,
}

impl Reserve<'_> {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn counted<'a>(&'a self, request: &'a ModelRequest, call: Call<'a>) -> Result<Response, ModelError> {
        let answered = self.model.respond(request, call).await;
        let usage = match &answered {
            Ok(response) => response.usage,
            Err(error) => error.usage,
        };
        let most = price::estimate(request, self.price.as_ref());
        let used = usage.with_price(self.price.as_ref()).amount_or(most);
        let mut ledger = self.ledger();
        ledger.spent = ledger.spent.plus(used);
        answered
    }

    async fn hold(&self, amount: Amount) -> bool {
        let Ledger { spent, held } = *self.ledger();
        let total = spent.plus(amount);
        if total.tokens <= held.tokens && total.cost_usd_micros <= held.cost_usd_micros {
            return true;
        }
        let is_granted = self.meter.hold(spent, total).await.unwrap_or(false);
        if is_granted {
            self.ledger().held = total;
        }
        is_granted
    }
}

impl Model for Reserve<'_> {
    fn respond<'a>(&'a self, request: &'a ModelRequest, call: Call<'a>) -> BoxFuture<'a, Result<Response, ModelError>> {
        Box::pin(self.counted(request, call))
    }
}

impl Budget for Reserve<'_> {
    fn more(&self, amount: Amount) -> BoxFuture<'_, bool> {
        Box::pin(self.hold(amount))
    }
}
