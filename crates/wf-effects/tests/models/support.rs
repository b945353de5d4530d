//! Asking a model of the local server, and showing what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use wf_effects::models::http::{Key, Timeouts};
use wf_effects::models::limiter::Limits;
use wf_effects::models::{
    Call, Catalog, Delta, Feature, Message, Model, ModelError, ModelRef, ModelRequest, ModelSpec, ModelUsage, Part,
    Price, ProviderKind, ProviderSpec, Providers, Response, Speaker,
};
use wf_effects::{CancelToken, RealClock};
use zeroize::Zeroizing;

use crate::server::{Act, Server};

pub(crate) const KEY: &str = "sk-canary-0123456789";
pub(crate) const MODEL: &str = "org/tiny";

pub(crate) fn spec(kind: ProviderKind, base_url: &str) -> ProviderSpec {
    let model = ModelSpec {
        context: Some(32_000),
        output_max: None,
        features: [Feature::Tools, Feature::Json].into(),
        price: Some(Price { input: 1_000_000, output: 4_000_000, cached: Some(100_000), cache_write: None }),
    };
    ProviderSpec {
        kind,
        base_url: base_url.to_owned(),
        key: Key::new(|| Box::pin(async { Ok(Some(Zeroizing::new(KEY.to_owned()))) })),
        headers: BTreeMap::from([("x-team".to_owned(), "green".to_owned())]),
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        models: BTreeMap::from([(MODEL.to_owned(), model)]),
    }
}

pub(crate) fn providers(spec: ProviderSpec) -> Providers {
    let catalog = Catalog { providers: BTreeMap::from([("local".to_owned(), spec)]), ..Catalog::default() };
    Providers::new(catalog, Arc::new(RealClock))
}

pub(crate) fn model(providers: &Providers) -> Arc<dyn Model> {
    let chosen = ModelRef { provider: "local".to_owned(), model: MODEL.to_owned() };
    providers.model(&chosen).unwrap().unwrap()
}

pub(crate) fn request(text: &str) -> ModelRequest {
    ModelRequest {
        system: "be brief".to_owned(),
        messages: vec![Message::text(Speaker::User, text)],
        output_tokens_max: 100,
        ..ModelRequest::default()
    }
}

pub(crate) async fn ask(model: &dyn Model, request: &ModelRequest) -> Result<Response, ModelError> {
    let cancel = CancelToken::default();
    model.respond(request, Call { cancel: &cancel, seen: &mut |_| {} }).await
}

/// Asks once, of a server with one script, within these timeouts.
pub(crate) async fn once(kind: ProviderKind, script: Vec<Act>, timeouts: Timeouts) -> (String, Server) {
    let server = Server::start(vec![script]).await;
    let providers = providers(ProviderSpec { timeouts, ..spec(kind, &server.base_url) });
    let mut deltas = Vec::new();
    let cancel = CancelToken::default();
    let mut seen = |delta: Delta<'_>| deltas.push(format!("{delta:?}"));
    let answered = model(&providers).respond(&request("hello"), Call { cancel: &cancel, seen: &mut seen }).await;
    let mut shown = show(&answered);
    if !deltas.is_empty() && answered.is_ok() {
        shown.push_str(&format!("seen: {}\n", deltas.join(" ")));
    }
    (shown, server)
}

pub(crate) fn show(answered: &Result<Response, ModelError>) -> String {
    match answered {
        Ok(response) => {
            let parts: String = response.parts.iter().map(|part| format!("{}\n", show_part(part))).collect();
            format!("{parts}{:?} {} {}\n", response.stop, response.model, show_usage(&response.usage))
        }
        Err(error) => {
            assert!(error.message.len() < 3_000, "an unbounded message");
            assert!(!error.message.contains(KEY), "the key is in {:?}", error.message);
            format!("{:?}: {} {}\n", error.kind, error.message, show_usage(&error.usage))
        }
    }
}

fn show_part(part: &Part) -> String {
    match part {
        Part::Text(text) => format!("text {text:?}"),
        Part::ToolCall { id, name, arguments } => format!("call {id} {name} {}", arguments.to_json()),
        Part::ToolResult { .. } => "result".to_owned(),
        Part::Reasoning(value) => format!("reasoning {}", value.to_json()),
    }
}

pub(crate) fn show_usage(usage: &ModelUsage) -> String {
    let count = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
    let ModelUsage { input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens } = *usage;
    let [a, b, c, d, e] = [input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens].map(count);
    format!("[in {a} out {b} cached {c} written {d} reasoning {e}]")
}
