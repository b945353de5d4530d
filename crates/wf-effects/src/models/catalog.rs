//! Who provides models, which roles there are, and which model does a role. Plain: made from configuration elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use wf_ir::node::Driver;
use wf_ir::{Digest, Value};

use super::http::{Key, Timeouts};
use super::limiter::Limits;
use super::outage::Health;
use super::price::{Price, PriceTable};
use crate::external::{AGENTS, Agents};

/// The provider and model that answer where nothing is configured.
pub const MOCK: &str = "mock";
/// The role of leaves for which none is named, and of roles that are not configured.
const ROLE_DEFAULT: &str = "default";
/// Tokens of an answer where neither the model nor the role says how many.
pub const OUTPUT_TOKENS_DEFAULT: u32 = 8_192;

/// Everything that is configured.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// By name, which holds no slash.
    pub providers: BTreeMap<String, ProviderSpec>,
    /// Agents that are programs of their own, by name. Roles name them `agents/NAME`.
    pub agents: Agents,
    /// Those of them whose program is not here, and why. Roles pass them over.
    pub absent: BTreeMap<String, String>,
    /// By name.
    pub roles: BTreeMap<String, RoleSpec>,
    /// Prices for models whose provider's configuration names none.
    pub prices: PriceTable,
}

/// A provider.
#[derive(Clone, Debug)]
pub struct ProviderSpec {
    /// What it speaks.
    pub kind: ProviderKind,
    /// Where it is.
    pub base_url: String,
    /// Where its key is to be had.
    pub key: Key,
    /// Headers for each request.
    pub headers: BTreeMap<String, String>,
    /// What it allows.
    pub limits: Limits,
    /// How long calls may take.
    pub timeouts: Timeouts,
    /// What is known of its models.
    pub models: BTreeMap<String, ModelSpec>,
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// OpenAI's chat completions, which many speak.
    OpenAi,
    /// Anthropic's Messages.
    Anthropic,
    /// The mock.
    Mock,
}

/// What is known of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelSpec {
    /// Tokens that it can read and write at once.
    pub context: Option<u64>,
    /// Most tokens that it can write.
    pub output_max: Option<u32>,
    /// What it can do.
    pub features: BTreeSet<Feature>,
    /// What it costs.
    pub price: Option<Price>,
}

/// What a model can do, or wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// It calls tools.
    Tools,
    /// It keeps its answer to a JSON Schema.
    Json,
    /// It wants its reasoning back with the next request.
    ReasoningBack,
    /// It takes the cap of its output as `max_completion_tokens`.
    MaxCompletionTokens,
}

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleSpec {
    /// Features that its model must have.
    pub needs: BTreeSet<Feature>,
    /// Tokens that its model must be able to read and write at once.
    pub context: Option<u64>,
    /// The most that a million tokens may cost, of any kind, in micro-dollars.
    pub price_max: Option<u64>,
    /// Most tokens of an answer.
    pub output_tokens_max: Option<u32>,
    /// Who may do it, the first that can.
    pub models: Vec<ModelRef>,
    /// Fields of the provider's request.
    pub params: BTreeMap<String, Value>,
}

/// `provider/model`; the model's name may hold slashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelRef {
    /// The provider's name.
    pub provider: String,
    /// The model's name there.
    pub model: String,
}

/// What a workflow asks of a role beyond what is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Capabilities by name: `tools`, `json`, `context:32000`.
    pub needs: Vec<String>,
    /// Fields of the provider's request, which win over the role's.
    pub params: BTreeMap<String, Value>,
    /// What it is wanted for.
    pub work: Work,
}

/// What a role is wanted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Work {
    /// To answer.
    #[default]
    Ask,
    /// To work in a tree, driven so.
    Agent(Driver),
}

/// A role as resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Who does it.
    pub chosen: ModelRef,
    /// What is known of the model.
    pub spec: ModelSpec,
    /// What it costs; unknown where nobody says.
    pub price: Option<Price>,
    /// Most tokens of an answer.
    pub output_tokens_max: u32,
    /// Fields of the provider's request.
    pub params: BTreeMap<String, Value>,
    /// Who comes before in the list, and why it is not them.
    pub passed_over: Vec<(ModelRef, String)>,
}

/// A role that nobody here can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsatisfied {
    /// For each that was considered, or for the role, why not.
    pub reasons: Vec<String>,
}

impl Catalog {
    /// Whether every role is the mock's, because nothing is configured.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty()
    }

    /// Who does `role` now. Whoever is out is passed over, unless all who could do it are: then it is the first that
    /// is back, and its call waits.
    ///
    /// # Errors
    /// When nobody can do it at any time.
    pub fn resolve(&self, role: &str, wanted: &Wanted, health: &Health) -> Result<Resolved, Unsatisfied> {
        if self.is_empty() {
            return Ok(mock(wanted));
        }
        let Some(spec) = self.roles.get(role).or_else(|| self.roles.get(ROLE_DEFAULT)) else {
            return Err(unsatisfied(format!("neither the role `{role}` nor the role `{ROLE_DEFAULT}` is configured")));
        };
        let needs = Needs::of(spec, wanted)?;
        let work = wanted.work;
        let mut passed_over = Vec::new();
        let mut out: Vec<(i64, &ModelRef)> = Vec::new();
        for model in &spec.models {
            match self.fits(model, &needs, work) {
                Err(reason) => passed_over.push((model.clone(), reason)),
                Ok(()) => match health.get(&model.provider) {
                    Some(outage) => {
                        out.push((outage.until_ms, model));
                        passed_over.push((model.clone(), format!("out: {}", outage.reason)));
                    }
                    None => return Ok(self.resolved(model, spec, wanted, passed_over)),
                },
            }
        }
        match out.into_iter().min_by_key(|(until_ms, _)| *until_ms) {
            Some((_, model)) => {
                passed_over.retain(|(other, _)| other != model);
                Ok(self.resolved(model, spec, wanted, passed_over))
            }
            None if spec.models.is_empty() => Err(unsatisfied(format!("the role `{role}` names no model"))),
            None => {
                Err(Unsatisfied { reasons: passed_over.iter().map(|(model, why)| format!("{model}: {why}")).collect() })
            }
        }
    }

    fn fits(&self, model: &ModelRef, needs: &Needs, work: Work) -> Result<(), String> {
        if model.provider == AGENTS {
            return self.agent_fits(model, needs, work);
        }
        let provider = self.providers.get(&model.provider);
        let provider = provider.ok_or_else(|| format!("there is no provider `{}`", model.provider))?;
        if provider.kind == ProviderKind::Mock {
            return Ok(());
        }
        if let Work::Agent(driver @ (Driver::Acp | Driver::Cli)) = work {
            return Err(format!("it is a model, and an agent with the driver `{}` is wanted", driver.name()));
        }
        let spec = provider.models.get(&model.model).cloned().unwrap_or_default();
        if let Some(missing) = needs.features.iter().find(|feature| !spec.features.contains(feature)) {
            return Err(format!("it is not known to have `{missing}`"));
        }
        if let Some(wanted) = needs.context {
            let context =
                spec.context.ok_or_else(|| format!("its context is not known, {wanted} tokens are needed"))?;
            if context < wanted {
                return Err(format!("its context is {context} tokens, {wanted} are needed"));
            }
        }
        if let Some(most) = needs.price_max {
            let price = self.price(model, provider, &spec).ok_or("its price is not known, and the role has a limit")?;
            let kinds = [Some(price.input), Some(price.output), price.cached, price.cache_write];
            let dearest = kinds.into_iter().flatten().max().unwrap_or(0);
            if dearest > most {
                return Err(format!("it costs {dearest} micro-dollars a million tokens, at most {most} are allowed"));
            }
        }
        Ok(())
    }

    /// Whether an agent of its own can do it. It has tools, is asked again until its result fits, and sees to its own
    /// context.
    fn agent_fits(&self, model: &ModelRef, needs: &Needs, work: Work) -> Result<(), String> {
        let agent = self.agents.get(&model.model).ok_or_else(|| format!("there is no agent `{}`", model.model))?;
        if let Some(why) = self.absent.get(&model.model) {
            return Err(why.clone());
        }
        match work {
            Work::Ask => return Err("it is an agent, which does no `ask`".to_owned()),
            Work::Agent(driver) if !agent.kind.serves(driver) => {
                let (kind, driver) = (agent.kind.name(), driver.name());
                return Err(format!("it is spoken to as `{kind}`, and the driver `{driver}` is wanted"));
            }
            Work::Agent(_) => {}
        }
        let alien = |feature: &&Feature| !matches!(feature, Feature::Tools | Feature::Json);
        if let Some(missing) = needs.features.iter().find(alien) {
            return Err(format!("it is not known to have `{missing}`"));
        }
        match needs.price_max {
            None => Ok(()),
            Some(_) => Err("what its tokens cost is up to it, and the role has a limit".to_owned()),
        }
    }

    fn price(&self, model: &ModelRef, provider: &ProviderSpec, spec: &ModelSpec) -> Option<Price> {
        spec.price.or_else(|| {
            let url = reqwest::Url::parse(&provider.base_url).ok()?;
            self.prices.get(url.host_str()?, &model.model).copied()
        })
    }

    fn resolved(
        &self,
        model: &ModelRef,
        role: &RoleSpec,
        wanted: &Wanted,
        passed_over: Vec<(ModelRef, String)>,
    ) -> Resolved {
        let provider = self.providers.get(&model.provider);
        let spec = provider.and_then(|it| it.models.get(&model.model)).cloned().unwrap_or_default();
        let agent = self.agents.get(&model.model).filter(|_| model.provider == AGENTS);
        let price = match agent {
            Some(agent) => agent.price,
            None => provider.and_then(|provider| self.price(model, provider, &spec)),
        };
        let most = spec.output_max.unwrap_or(u32::MAX);
        let output_tokens_max = role.output_tokens_max.unwrap_or(OUTPUT_TOKENS_DEFAULT).min(most);
        let mut params = role.params.clone();
        params.extend(wanted.params.clone());
        Resolved { chosen: model.clone(), spec, price, output_tokens_max, params, passed_over }
    }

    /// What of the configuration decides answers and costs. Keys, limits and timeouts do not.
    pub fn digest(&self) -> Digest {
        let providers = self.providers.iter().map(|(name, provider)| {
            let models = provider.models.iter().map(|(name, spec)| (name.clone(), spec.to_value()));
            let value = Value::map([
                ("kind", Value::from(provider.kind.name())),
                ("base_url", Value::from(provider.base_url.as_str())),
                ("models", Value::map(models)),
            ]);
            (name.clone(), value)
        });
        let roles = self.roles.iter().map(|(name, role)| (name.clone(), role.to_value()));
        let mut catalog = vec![
            ("providers", Value::map(providers)),
            ("roles", Value::map(roles)),
            ("prices", Value::from(self.prices.digest().to_string())),
        ];
        if !self.agents.is_empty() {
            let agents = self.agents.iter().map(|(name, agent)| (name.clone(), agent.to_value()));
            catalog.push(("agents", Value::map(agents)));
        }
        let catalog = Value::map(catalog);
        Digest::of(catalog.to_json().as_bytes())
    }
}

/// What a model must have and be.
struct Needs {
    features: BTreeSet<Feature>,
    context: Option<u64>,
    price_max: Option<u64>,
}

impl Needs {
    fn of(role: &RoleSpec, wanted: &Wanted) -> Result<Self, Unsatisfied> {
        let mut needs = Self { features: role.needs.clone(), context: role.context, price_max: role.price_max };
        for name in &wanted.needs {
            let tokens = name.strip_prefix("context:").map(str::trim).and_then(|tokens| tokens.parse().ok());
            match (Feature::parse(name), tokens) {
                (Some(feature), _) => drop(needs.features.insert(feature)),
                (None, Some(tokens)) => needs.context = Some(needs.context.map_or(tokens, |known| known.max(tokens))),
                (None, None) => return Err(unsatisfied(format!("`{name}` is no capability of a model"))),
            }
        }
        Ok(needs)
    }
}

fn unsatisfied(reason: String) -> Unsatisfied {
    Unsatisfied { reasons: vec![reason] }
}

fn mock(wanted: &Wanted) -> Resolved {
    Resolved {
        chosen: ModelRef { provider: MOCK.to_owned(), model: MOCK.to_owned() },
        spec: ModelSpec::default(),
        price: None,
        output_tokens_max: OUTPUT_TOKENS_DEFAULT,
        params: wanted.params.clone(),
        passed_over: Vec::new(),
    }
}

impl ModelRef {
    /// Reads `provider/model`; the first slash ends the provider's name.
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, model) = text.split_once('/')?;
        let is_there = !provider.is_empty() && !model.is_empty();
        is_there.then(|| Self { provider: provider.to_owned(), model: model.to_owned() })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Json, Self::ReasoningBack, Self::MaxCompletionTokens];

    /// Its name in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Json => "json",
            Self::ReasoningBack => "reasoning_back",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }

    /// The feature of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.name() == name)
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ProviderKind {
    /// Its name in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Mock => MOCK,
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::OpenAi, Self::Anthropic, Self::Mock].into_iter().find(|kind| kind.name() == name)
    }
}

fn names(features: &BTreeSet<Feature>) -> Value {
    Value::List(features.iter().map(|feature| Value::from(feature.name())).collect())
}

fn count(number: Option<impl Into<u64>>) -> Value {
    number.and_then(|number| i64::try_from(number.into()).ok()).map_or(Value::Null, Value::Int)
}

impl ModelSpec {
    fn to_value(&self) -> Value {
        Value::map([
            ("context", count(self.context)),
            ("output_max", count(self.output_max)),
            ("features", names(&self.features)),
            ("price", self.price.map_or(Value::Null, |price| price.to_value())),
        ])
    }
}

impl RoleSpec {
    fn to_value(&self) -> Value {
        Value::map([
            ("needs", names(&self.needs)),
            ("context", count(self.context)),
            ("price_max", count(self.price_max)),
            ("output_tokens_max", count(self.output_tokens_max)),
            ("models", Value::List(self.models.iter().map(|model| Value::from(model.to_string())).collect())),
            ("params", Value::Map(self.params.clone())),
        ])
    }
}

impl Resolved {
    /// As a record keeps it: `{provider, model, params, price, output_tokens_max, passed_over}`.
    pub fn to_value(&self) -> Value {
        let passed_over = self.passed_over.iter().map(|(model, why)| {
            Value::map([("model", Value::from(model.to_string())), ("why", Value::from(why.as_str()))])
        });
        Value::map([
            ("provider", Value::from(self.chosen.provider.as_str())),
            ("model", Value::from(self.chosen.model.as_str())),
            ("params", Value::Map(self.params.clone())),
            ("price", self.price.map_or(Value::Null, |price| price.to_value())),
            ("output_tokens_max", Value::Int(i64::from(self.output_tokens_max))),
            ("passed_over", Value::List(passed_over.collect())),
        ])
    }
}
