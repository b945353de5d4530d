//! The providers of a process: for each one connection pool, one limiter, and what is known of its outages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::catalog::{Catalog, ModelRef, ModelSpec, ProviderKind, Resolved, Unsatisfied, Wanted};
use super::error::{ModelError, ModelErrorKind};
use super::http::{Wire, WireOptions};
use super::limiter::Limiter;
use super::outage::{Health, Outages};
use super::request::{Call, Model, ModelRequest, Response};
use super::{anthropic, openai};
use crate::contract::{BoxFuture, Clock};

/// All that can be asked.
pub struct Providers {
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    outages: Arc<Outages>,
    open: Mutex<BTreeMap<String, Arc<Provider>>>,
}

struct Provider {
    name: String,
    kind: ProviderKind,
    wire: Wire,
    limiter: Limiter,
    outages: Arc<Outages>,
    clock: Arc<dyn Clock>,
}

/// A model of a provider.
struct ProvidedModel {
    provider: Arc<Provider>,
    model: String,
    spec: ModelSpec,
}

impl Providers {
    /// The providers of `catalog`. Nothing is connected yet.
    pub fn new(catalog: Catalog, clock: Arc<dyn Clock>) -> Self {
        Self { catalog, clock, outages: Arc::default(), open: Mutex::default() }
    }

    /// What is configured.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Who is out now.
    pub fn health(&self) -> Health {
        self.outages.at(self.clock.now_ms())
    }

    /// Who does `role` now.
    ///
    /// # Errors
    /// When nobody can do it.
    pub fn resolve(&self, role: &str, wanted: &Wanted) -> Result<Resolved, Unsatisfied> {
        self.catalog.resolve(role, wanted, &self.health())
    }

    /// The model that was chosen; none where that is the mock.
    ///
    /// # Errors
    /// When its provider is gone from the configuration, or cannot be reached as it is configured.
    pub fn model(&self, chosen: &ModelRef) -> Result<Option<Arc<dyn Model>>, ModelError> {
        let Some(spec) = self.catalog.providers.get(&chosen.provider) else {
            if chosen.provider == super::catalog::MOCK {
                return Ok(None);
            }
            let message = format!("there is no provider `{}`", chosen.provider);
            return Err(ModelError::unsent(ModelErrorKind::BadRequest, message));
        };
        if spec.kind == ProviderKind::Mock {
            return Ok(None);
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let provider = match open.get(&chosen.provider) {
            Some(provider) => Arc::clone(provider),
            None => {
                let provider = Arc::new(self.connect(&chosen.provider)?);
                open.insert(chosen.provider.clone(), Arc::clone(&provider));
                provider
            }
        };
        let spec = spec.models.get(&chosen.model).cloned().unwrap_or_default();
        Ok(Some(Arc::new(ProvidedModel { provider, model: chosen.model.clone(), spec })))
    }

    fn connect(&self, name: &str) -> Result<Provider, ModelError> {
        let missing = || ModelError::unsent(ModelErrorKind::BadRequest, format!("there is no provider `{name}`"));
        let spec = self.catalog.providers.get(name).ok_or_else(missing)?;
        let wire = Wire::open(WireOptions {
            base_url: spec.base_url.clone(),
            headers: spec.headers.clone(),
            key: spec.key.clone(),
            timeouts: spec.timeouts,
            clock: Arc::clone(&self.clock),
        })?;
        Ok(Provider {
            name: name.to_owned(),
            kind: spec.kind,
            wire,
            limiter: Limiter::new(spec.limits, Arc::clone(&self.clock)),
            outages: Arc::clone(&self.outages),
            clock: Arc::clone(&self.clock),
        })
    }
}

impl ProvidedModel {
    async fn ask(&self, request: &ModelRequest, call: Call<'_>) -> Result<Response, ModelError> {
        let provider = &*self.provider;
        let most = request.input_tokens_max().saturating_add(u64::from(request.output_tokens_max));
        let permit = provider.limiter.admit(most, call.cancel).await?;
        let features = &self.spec.features;
        let answered = match provider.kind {
            ProviderKind::OpenAi => openai::respond(&provider.wire, &self.model, features, request, call).await,
            ProviderKind::Anthropic => anthropic::respond(&provider.wire, &self.model, features, request, call).await,
            ProviderKind::Mock => Err(ModelError::unsent(ModelErrorKind::BadRequest, "the mock is not on the wire")),
        };
        let usage = match &answered {
            Ok(response) => response.usage,
            Err(error) => error.usage,
        };
        permit.settle(usage.input_tokens.zip(usage.output_tokens).map(|(read, written)| read.saturating_add(written)));
        match &answered {
            Ok(_) => provider.outages.clear(&provider.name),
            Err(error) => provider.learn(error),
        }
        answered
    }
}

impl Provider {
    /// What an error means for the provider's other calls.
    fn learn(&self, error: &ModelError) {
        match error.kind {
            ModelErrorKind::Throttled { retry_after_ms } => self.limiter.leave_alone(retry_after_ms),
            ModelErrorKind::Overloaded { retry_after_ms } => {
                retry_after_ms.into_iter().for_each(|wait_ms| self.limiter.leave_alone(wait_ms));
                self.outages.note(&self.name, self.clock.now_ms(), retry_after_ms, &error.message);
            }
            ModelErrorKind::Unreachable | ModelErrorKind::TimedOut(_) => {
                self.outages.note(&self.name, self.clock.now_ms(), None, &error.message);
            }
            ModelErrorKind::Refused
            | ModelErrorKind::BadRequest
            | ModelErrorKind::Malformed
            | ModelErrorKind::TooLarge
            | ModelErrorKind::Cancelled => {}
        }
    }
}

impl Model for ProvidedModel {
    fn respond<'a>(&'a self, request: &'a ModelRequest, call: Call<'a>) -> BoxFuture<'a, Result<Response, ModelError>> {
        Box::pin(self.ask(request, call))
    }
}
