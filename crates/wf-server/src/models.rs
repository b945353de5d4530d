//! From configuration to models that can be asked: where their keys are looked up, and which of them lack one.

use std::collections::BTreeMap;
use std::sync::Arc;

use wf_effects::RealClock;
use wf_effects::external::{AgentSpec, Agents};
use wf_effects::local::Models;
use wf_effects::models::http::Key;
use wf_effects::models::{Catalog, PriceTable, ProviderSpec};
use wf_effects::secret::{KeyError, KeySource, Secret};
use zeroize::Zeroizing;

use crate::config::{HeaderConfig, ModelsConfig, ProviderConfig};
use crate::doctor::which;
use crate::environment::Environment;
use crate::error::Error;

/// The models that are configured; nobody where every role is the mock's.
///
/// # Errors
/// When the table of prices that comes with the program is none.
pub(crate) async fn models_of(environment: &Environment, config: &ModelsConfig) -> Result<Option<Arc<Models>>, Error> {
    if config.is_empty() {
        return Ok(None);
    }
    let keys = environment.keys();
    let mut keyless = BTreeMap::new();
    let mut providers = BTreeMap::new();
    for (name, provider) in &config.providers {
        // Only who is named by a role is ever asked, and only then somebody may have to unlock a keyring.
        let is_named = config.roles.values().flat_map(|role| &role.models).any(|model| model.provider == *name);
        if !is_named {
            continue;
        }
        let headers = match find(keys, provider).await {
            Ok(headers) => headers,
            Err(error) => {
                keyless.insert(name.clone(), error.to_string());
                BTreeMap::new()
            }
        };
        providers.insert(name.clone(), spec(keys, provider, headers));
    }
    let prices = PriceTable::vendored().map_err(|error| Error::Bug(error.to_string()))?;
    for name in config.agents.values().flat_map(|agent| &agent.env) {
        // What a child is given to log in with is not to be found in what it writes.
        if let Some(value) = environment.get(name).filter(|_| holds_key(name)) {
            environment.redactor().learn(&Secret::new(value.to_owned()));
        }
    }
    let (agents, absent) = (config.agents.clone(), absent(environment, &config.agents));
    let catalog = Catalog { providers, agents, absent, roles: config.roles.clone(), prices };
    Ok(Some(Arc::new(Models::new(catalog, keyless, Arc::new(RealClock)))))
}

/// The agents whose program is not here, and which program that is.
fn absent(environment: &Environment, agents: &Agents) -> BTreeMap<String, String> {
    let path = environment.get("PATH").unwrap_or_default();
    let missing = |program: &&String| which(path, program).is_none();
    let of = |(name, agent): (&String, &AgentSpec)| {
        let program = agent.command.first().filter(missing)?;
        Some((name.clone(), format!("its program `{program}` is not here")))
    };
    agents.iter().filter_map(of).collect()
}

/// Whether a variable is one of those that hold keys, by its name.
fn holds_key(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL"].iter().any(|part| name.contains(part))
}

/// Looks every key of a provider up once, so that what lacks one is known before a run begins, and so that none of them is
/// ever written.
pub(crate) async fn find(keys: &KeySource, provider: &ProviderConfig) -> Result<BTreeMap<String, String>, KeyError> {
    if let Some(place) = &provider.key {
        keys.key(place).await?;
    }
    let mut headers = BTreeMap::new();
    for (name, value) in &provider.headers {
        let value = match value {
            HeaderConfig::Plain(text) => text.clone(),
            HeaderConfig::Key(place) => keys.key(place).await?.expose().to_owned(),
        };
        headers.insert(name.clone(), value);
    }
    Ok(headers)
}

fn spec(keys: &KeySource, provider: &ProviderConfig, headers: BTreeMap<String, String>) -> ProviderSpec {
    let key = match provider.key.clone() {
        None => Key::none(),
        Some(place) => {
            let keys = keys.clone();
            Key::new(move || {
                let (keys, place) = (keys.clone(), place.clone());
                Box::pin(async move {
                    let key = keys.key(&place).await.map_err(|error| error.to_string())?;
                    Ok(Some(Zeroizing::new(key.expose().to_owned())))
                })
            })
        }
    };
    ProviderSpec {
        kind: provider.kind,
        base_url: provider.base_url.clone(),
        key,
        headers,
        limits: provider.limits,
        timeouts: provider.timeouts,
        models: provider.models.clone(),
    }
}
