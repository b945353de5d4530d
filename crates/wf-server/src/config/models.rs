//! `[providers.*]`, `[agents.*]` and `[roles.*]`: who can answer and work, and who is to. Only the user's own file may say
//! so.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use wf_effects::external::{AGENTS, AgentSpec};
use wf_effects::models::price::usd_micros;
use wf_effects::models::{Feature, ModelRef, ModelSpec, Price, ProviderKind, RoleSpec};
use wf_effects::models::{http::Timeouts, limiter::Limits};
use wf_effects::secret::KeyPlace;
use wf_ir::Value;

use super::agents::AgentSection;
use crate::amounts::parse_duration_ms;

/// Most providers, roles, models of a provider, and models of a role.
const ENTRIES_MAX: usize = 256;
/// Longest name of a variable.
const VARIABLE_BYTES_MAX: usize = 128;
/// Parts of names of headers that hold keys.
const SECRET_HEADERS: [&str; 6] = ["auth", "key", "token", "secret", "cookie", "password"];

/// What is wrong, and where.
pub(super) type Wrong = (Range<usize>, String);

/// Who can answer, and who is to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelsConfig {
    /// By name.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Agents that are programs of their own, by name.
    pub agents: BTreeMap<String, AgentSpec>,
    /// By name.
    pub roles: BTreeMap<String, RoleSpec>,
}

/// A provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// What it speaks.
    pub kind: ProviderKind,
    /// Where it is.
    pub base_url: String,
    /// Where its key is; none where it wants none.
    pub key: Option<KeyPlace>,
    /// Headers for each request.
    pub headers: BTreeMap<String, HeaderConfig>,
    /// What it allows.
    pub limits: Limits,
    /// How long calls may take.
    pub timeouts: Timeouts,
    /// What is known of its models.
    pub models: BTreeMap<String, ModelSpec>,
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderConfig {
    /// One that anybody may see.
    Plain(String),
    /// One that is a key.
    Key(KeyPlace),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderSection {
    kind: Spanned<String>,
    base_url: Option<Spanned<String>>,
    key: Option<Spanned<toml::Value>>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<toml::Value>>,
    #[serde(default)]
    limits: LimitsSection,
    #[serde(default)]
    timeouts: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    models: BTreeMap<String, ModelSection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsSection {
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    concurrency: Option<Spanned<usize>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelSection {
    context: Option<u64>,
    output_max: Option<u32>,
    #[serde(default)]
    features: Vec<Spanned<String>>,
    price: Option<PriceSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceSection {
    input: Spanned<toml::Value>,
    output: Spanned<toml::Value>,
    cached: Option<Spanned<toml::Value>>,
    cache_write: Option<Spanned<toml::Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleSection {
    #[serde(default)]
    needs: Vec<Spanned<String>>,
    context: Option<u64>,
    price_max: Option<Spanned<toml::Value>>,
    output_tokens_max: Option<u32>,
    models: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    params: BTreeMap<String, Spanned<toml::Value>>,
}

impl ModelsConfig {
    pub(super) fn of(
        providers: BTreeMap<Spanned<String>, ProviderSection>,
        agents: BTreeMap<Spanned<String>, AgentSection>,
        roles: BTreeMap<Spanned<String>, RoleSection>,
        home: Option<&Path>,
    ) -> Result<Self, Wrong> {
        let mut config = Self::default();
        for (name, section) in agents {
            if config.agents.len() == ENTRIES_MAX || name.get_ref().is_empty() {
                return Err((name.span(), format!("at most {ENTRIES_MAX} agents, each with a name")));
            }
            let span = name.span();
            config.agents.insert(name.into_inner(), section.read(span, home)?);
        }
        for (name, section) in providers {
            if name.get_ref() == AGENTS {
                let message = format!("no provider is called `{AGENTS}`: roles name agents by that word");
                return Err((name.span(), message));
            }
            if config.providers.len() == ENTRIES_MAX || name.get_ref().is_empty() || name.get_ref().contains('/') {
                let message = format!("at most {ENTRIES_MAX} providers, each with a name without `/`");
                return Err((name.span(), message));
            }
            let span = name.span();
            config.providers.insert(name.into_inner(), section.read(span)?);
        }
        for (name, section) in roles {
            if config.roles.len() == ENTRIES_MAX {
                return Err((name.span(), format!("at most {ENTRIES_MAX} roles")));
            }
            let role = section.read(&config)?;
            if role.models.iter().any(|it| it.provider == "mock") {
                config.providers.entry("mock".to_owned()).or_insert_with(mock);
            }
            config.roles.insert(name.into_inner(), role);
        }
        Ok(config)
    }

    /// Whether nobody is configured, so that the mock does every role.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty()
    }
}

fn mock() -> ProviderConfig {
    ProviderConfig {
        kind: ProviderKind::Mock,
        base_url: String::new(),
        key: None,
        headers: BTreeMap::new(),
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        models: BTreeMap::new(),
    }
}

impl ProviderSection {
    fn read(self, span: Range<usize>) -> Result<ProviderConfig, Wrong> {
        let kind = ProviderKind::parse(self.kind.get_ref());
        let kind =
            kind.ok_or_else(|| (self.kind.span(), "a provider is of kind openai, anthropic or mock".to_owned()))?;
        let base_url = match self.base_url {
            Some(url) => base_url(url)?,
            None if kind == ProviderKind::Mock => String::new(),
            None => return Err((span, "a provider needs its `base_url`".to_owned())),
        };
        let mut headers = BTreeMap::new();
        for (name, value) in self.headers {
            headers.insert(name.clone(), header(&name, value)?);
        }
        let mut models = BTreeMap::new();
        for (name, model) in self.models {
            models.insert(name, model.read()?);
        }
        if models.len() > ENTRIES_MAX {
            return Err((span, format!("at most {ENTRIES_MAX} models")));
        }
        Ok(ProviderConfig {
            kind,
            base_url,
            key: self.key.map(key_place).transpose()?,
            headers,
            limits: self.limits.read()?,
            timeouts: timeouts(self.timeouts)?,
            models,
        })
    }
}

/// A URL to which paths of a protocol are added. What is wrong with it is not shown: it may hold a key.
fn base_url(url: Spanned<String>) -> Result<String, Wrong> {
    let span = url.span();
    let text = url.into_inner();
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace)) else {
        return Err((span, "a base URL begins with http:// or https://".to_owned()));
    };
    if rest.contains(['@', '?', '#']) {
        let message = "a base URL has no user, query or fragment; a key is named by `key = { env = \"NAME\" }`";
        return Err((span, message.to_owned()));
    }
    Ok(text)
}

fn header(name: &str, value: Spanned<toml::Value>) -> Result<HeaderConfig, Wrong> {
    let lower = name.to_ascii_lowercase();
    match value.get_ref() {
        toml::Value::String(_) if SECRET_HEADERS.iter().any(|part| lower.contains(part)) => {
            Err((value.span(), format!("the header {name} holds a key, which does not belong here in clear: {PLACES}")))
        }
        toml::Value::String(text) => Ok(HeaderConfig::Plain(text.clone())),
        toml::Value::Table(_) => key_place(value).map(HeaderConfig::Key),
        _ => Err((value.span(), format!("the header {name} is a text, or names a key: {PLACES}"))),
    }
}

const PLACES: &str = "write { env = \"NAME\" }, { file = \"/path\" } or { keyring = \"name\" }";

/// Whether a text can be the name of a variable.
pub(super) fn is_variable(name: &str) -> bool {
    let is_first = name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_');
    is_first && name.len() <= VARIABLE_BYTES_MAX && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
}

fn key_place(value: Spanned<toml::Value>) -> Result<KeyPlace, Wrong> {
    let span = value.span();
    let wrong = |what: &str| (span.clone(), format!("{what}: {PLACES}"));
    let toml::Value::Table(table) = value.get_ref() else {
        return Err(wrong("a key does not belong here in clear"));
    };
    let mut fields = table.iter();
    let (Some((kind, toml::Value::String(name))), None) = (fields.next(), fields.next()) else {
        return Err(wrong("a key is named by one of its places"));
    };
    match kind.as_str() {
        "env" if is_variable(name) => Ok(KeyPlace::Env(name.clone())),
        "env" => Err(wrong("`env` is the name of a variable, not a key")),
        "file" if name.starts_with('/') => Ok(KeyPlace::File(PathBuf::from(name))),
        "file" => Err(wrong("`file` is an absolute path")),
        "keyring" if !name.is_empty() && !name.contains(char::is_control) => Ok(KeyPlace::Keyring(name.clone())),
        _ => Err(wrong("a key is named by one of its places")),
    }
}

impl LimitsSection {
    fn read(self) -> Result<Limits, Wrong> {
        if let Some(none) = self.concurrency.as_ref().filter(|it| *it.get_ref() == 0) {
            return Err((none.span(), "without a call at once there is none at all: at least 1".to_owned()));
        }
        Ok(Limits {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrency: self.concurrency.map(Spanned::into_inner),
        })
    }
}

fn timeouts(section: BTreeMap<Spanned<String>, Spanned<String>>) -> Result<Timeouts, Wrong> {
    let mut timeouts = Timeouts::default();
    for (name, time) in section {
        let ms = parse_duration_ms(time.get_ref()).map_err(|why| (time.span(), why))?;
        let field = match name.get_ref().as_str() {
            "connect" => &mut timeouts.connect_ms,
            "first_byte" => &mut timeouts.first_byte_ms,
            "idle" => &mut timeouts.idle_ms,
            "total" => &mut timeouts.total_ms,
            _ => return Err((name.span(), "a timeout is one of connect, first_byte, idle and total".to_owned())),
        };
        *field = ms;
    }
    Ok(timeouts)
}

impl ModelSection {
    fn read(self) -> Result<ModelSpec, Wrong> {
        Ok(ModelSpec {
            context: self.context,
            output_max: self.output_max,
            features: features(&self.features)?,
            price: self.price.as_ref().map(PriceSection::read).transpose()?,
        })
    }
}

fn features(names: &[Spanned<String>]) -> Result<BTreeSet<Feature>, Wrong> {
    let read = |name: &Spanned<String>| {
        let known = Feature::ALL.map(Feature::name).join(", ");
        let unknown = || (name.span(), format!("{:?} is no feature: {known}", name.get_ref()));
        Feature::parse(name.get_ref()).ok_or_else(unknown)
    };
    names.iter().map(read).collect()
}

impl PriceSection {
    pub(super) fn read(&self) -> Result<Price, Wrong> {
        Ok(Price {
            input: micros(&self.input)?,
            output: micros(&self.output)?,
            cached: self.cached.as_ref().map(micros).transpose()?,
            cache_write: self.cache_write.as_ref().map(micros).transpose()?,
        })
    }
}

/// Dollars per million tokens, in micro-dollars.
pub(super) fn micros(dollars: &Spanned<toml::Value>) -> Result<u64, Wrong> {
    let value = match dollars.get_ref() {
        toml::Value::Integer(number) => Some(Value::Int(*number)),
        toml::Value::Float(number) => Value::from_json(&number.to_string()).ok(),
        _ => None,
    };
    let wrong = || (dollars.span(), "a price is a number of US dollars per million tokens, at least 0".to_owned());
    value.as_ref().and_then(usd_micros).ok_or_else(wrong)
}

impl RoleSection {
    fn read(self, config: &ModelsConfig) -> Result<RoleSpec, Wrong> {
        let listed = self.models.get_ref();
        if listed.is_empty() || listed.len() > ENTRIES_MAX {
            return Err((self.models.span(), format!("a role has 1 to {ENTRIES_MAX} models")));
        }
        let mut models = Vec::new();
        for name in listed {
            let wrong = |message: String| (name.span(), message);
            let model = ModelRef::parse(name.get_ref());
            let model = model.ok_or_else(|| wrong("a model is written \"provider/model\"".to_owned()))?;
            if model.provider == AGENTS {
                if !config.agents.contains_key(&model.model) {
                    return Err(wrong(format!("there is no agent `{}` in this file", model.model)));
                }
            } else if model.provider != "mock" && !config.providers.contains_key(&model.provider) {
                return Err(wrong(format!("there is no provider `{}` in this file", model.provider)));
            }
            models.push(model);
        }
        let mut params = BTreeMap::new();
        for (name, value) in self.params {
            let wrong = || (value.span(), format!("`{name}` cannot be sent to a provider"));
            let read = serde_json::to_string(value.get_ref()).ok().and_then(|text| Value::from_json(&text).ok());
            params.insert(name.clone(), read.ok_or_else(wrong)?);
        }
        Ok(RoleSpec {
            needs: features(&self.needs)?,
            context: self.context,
            price_max: self.price_max.as_ref().map(micros).transpose()?,
            output_tokens_max: self.output_tokens_max,
            models,
            params,
        })
    }
}
