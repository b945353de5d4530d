//! One request over HTTP whose answer is a stream of events, within bounds of time and size.
//!
//! Redirects are not followed, so that a key goes to no other host; proxies are not taken from the environment; nothing
//! is decompressed. No message of an error holds the key.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::Deref;
use std::sync::{Arc, Once};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, redirect};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::bounds::{ANSWER_BYTES_MAX, ERROR_BYTES_MAX, RETRY_AFTER_MS_MAX, WIRE_BYTES_MAX};
use super::error::{ModelError, ModelErrorKind, Wait};
use super::sse::{Flow, SseError, SseEvent, SseReader};
use crate::contract::{BoxFuture, CancelToken, Clock};

/// How long a provider is left alone that does not say for how long.
pub const RETRY_AFTER_MS_DEFAULT: u64 = 10_000;
/// Idle connections that are kept for a host.
const IDLE_CONNECTIONS_MAX: usize = 16;
/// How long an idle connection is kept.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);

/// How long a call may take, in each of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until there is a connection.
    pub connect_ms: u64,
    /// From the request to the first byte of its answer, the connection included. Models think before they speak.
    pub first_byte_ms: u64,
    /// Between two pieces of the answer.
    pub idle_ms: u64,
    /// Everything.
    pub total_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect_ms: 10_000, first_byte_ms: 300_000, idle_ms: 120_000, total_ms: 1_200_000 }
    }
}

/// What a look-up of a key gives: none where the provider needs none, or in words why there is none.
pub type KeyFound = Result<Option<Zeroizing<String>>, String>;

/// Where a provider's key is to be had. It is looked up for each call, and forgotten after it.
#[derive(Clone)]
pub struct Key {
    find: Arc<dyn Fn() -> BoxFuture<'static, KeyFound> + Send + Sync>,
}

impl Key {
    /// A key that `find` finds.
    pub fn new(find: impl Fn() -> BoxFuture<'static, KeyFound> + Send + Sync + 'static) -> Self {
        Self { find: Arc::new(find) }
    }

    /// For servers that want none.
    pub fn none() -> Self {
        Self::new(|| Box::pin(async { Ok(None) }))
    }

    async fn find(&self) -> KeyFound {
        (self.find)().await
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// How a key is shown to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Auth {
    /// `authorization: Bearer …`
    Bearer,
    /// `x-api-key: …`
    ApiKey,
}

/// A request.
pub(super) struct Post<'a> {
    pub(super) path: &'a str,
    pub(super) auth: Auth,
    pub(super) headers: &'a [(&'static str, &'static str)],
    pub(super) body: String,
}

/// Gets events as they come.
pub(super) type EventSink<'a> = dyn FnMut(SseEvent<'_>) -> Result<Flow, ModelError> + Send + 'a;

/// What is needed to reach a server.
pub struct Wire {
    client: Client,
    base_url: String,
    headers: HeaderMap,
    key: Key,
    timeouts: Timeouts,
    clock: Arc<dyn Clock>,
}

/// What a [`Wire`] is made of.
pub struct WireOptions {
    /// Where the server is; paths of the protocol come behind it.
    pub base_url: String,
    /// Headers for each request, beside those of the protocol.
    pub headers: BTreeMap<String, String>,
    /// Where its key is to be had.
    pub key: Key,
    /// How long calls may take.
    pub timeouts: Timeouts,
    /// The time of day, for answers that name one.
    pub clock: Arc<dyn Clock>,
}

impl Wire {
    /// A way to a server. No connection is made yet.
    ///
    /// # Errors
    /// When the base URL or a header is none, or there is no TLS.
    pub fn open(options: WireOptions) -> Result<Self, ModelError> {
        let wrong = |message: String| ModelError::unsent(ModelErrorKind::BadRequest, message);
        let url = reqwest::Url::parse(&options.base_url)
            .map_err(|error| wrong(format!("the provider's base URL is none: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("the provider's base URL must be http or https, without a user in it".to_owned()));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            let parsed = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::try_from(value.as_str()).ok());
            let (name, mut value) = parsed.ok_or_else(|| wrong(format!("the header {name:?} cannot be sent")))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(Self {
            client: client(url.scheme() == "https", &options.timeouts)?,
            base_url: options.base_url.trim_end_matches('/').to_owned(),
            headers,
            key: options.key,
            timeouts: options.timeouts,
            clock: options.clock,
        })
    }

    /// Sends `post` and hands over the events of its answer, until `sink` has enough or there are no more.
    pub(super) async fn stream(
        &self,
        post: Post<'_>,
        cancel: &CancelToken,
        sink: &mut EventSink<'_>,
    ) -> Result<(), ModelError> {
        let total = Duration::from_millis(self.timeouts.total_ms);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ModelError::new(ModelErrorKind::Cancelled, "the call was cancelled")),
            sent = tokio::time::timeout(total, Box::pin(self.send(post, sink))) => {
                sent.unwrap_or_else(|_| Err(self.timed_out(Wait::Total)))
            }
        }
    }

    async fn send(&self, post: Post<'_>, sink: &mut EventSink<'_>) -> Result<(), ModelError> {
        let key = self.key.find().await;
        let key = key.map_err(|reason| ModelError::unsent(ModelErrorKind::Refused, reason))?;
        let sent = self.exchange(post, key.as_ref(), sink).await;
        // A server may send back what it was sent.
        sent.map_err(|mut error| {
            if let Some(key) = key.as_ref().filter(|key| !key.is_empty()) {
                error.message = error.message.replace(key.as_str(), "[key]");
            }
            error
        })
    }

    async fn exchange(
        &self,
        post: Post<'_>,
        key: Option<&Zeroizing<String>>,
        sink: &mut EventSink<'_>,
    ) -> Result<(), ModelError> {
        let mut request = self.client.post(format!("{}{}", self.base_url, post.path)).headers(self.headers.clone());
        if let Some(key) = key {
            let (name, value) = match post.auth {
                Auth::Bearer => ("authorization", Zeroizing::new(format!("Bearer {}", key.as_str()))),
                Auth::ApiKey => ("x-api-key", key.clone()),
            };
            let value = HeaderValue::try_from(value.as_str());
            let unusable = |_| ModelError::unsent(ModelErrorKind::Refused, "the provider's key cannot be sent");
            let mut value = value.map_err(unusable)?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        for (name, value) in post.headers {
            request = request.header(*name, *value);
        }
        let request = request.header(CONTENT_TYPE, "application/json").body(post.body);
        let mut response = self.within(Wait::FirstByte, request.send()).await?.map_err(|error| self.broken(&error))?;
        if !response.status().is_success() {
            return Err(self.failed(response).await);
        }
        if is_json(response.headers()) {
            let body = self.body(&mut response, ANSWER_BYTES_MAX).await?;
            let text = str::from_utf8(&body).map_err(|_| sse(SseError::NotUtf8))?;
            sink(SseEvent { name: "", data: text })?;
            return Ok(());
        }
        let mut reader = SseReader::default();
        let mut wire_bytes = 0;
        let mut wait = Wait::FirstByte;
        while let Some(chunk) = self.chunk(wait, &mut response).await? {
            wait = Wait::Idle;
            wire_bytes += chunk.len() as u64;
            if wire_bytes > WIRE_BYTES_MAX {
                let message = format!("the answer is longer than {WIRE_BYTES_MAX} bytes");
                return Err(ModelError::new(ModelErrorKind::TooLarge, message));
            }
            let flow = reader.push(&chunk, &mut |event| sink(event).map_err(Stopped::By));
            match flow {
                Ok(Flow::More) => {}
                Ok(Flow::Done) => return Ok(()),
                Err(Stopped::By(error)) => return Err(error),
                Err(Stopped::Sse(error)) => return Err(sse(error)),
            }
        }
        Ok(())
    }

    async fn chunk(
        &self,
        wait: Wait,
        response: &mut reqwest::Response,
    ) -> Result<Option<impl Deref<Target = [u8]>>, ModelError> {
        self.within(wait, response.chunk()).await?.map_err(|error| self.broken(&error))
    }

    /// At most `bytes_max` of a body; more is an error.
    async fn body(&self, response: &mut reqwest::Response, bytes_max: usize) -> Result<Vec<u8>, ModelError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(Wait::Idle, response).await? {
            if body.len() + chunk.len() > bytes_max {
                let message = format!("the answer is longer than {bytes_max} bytes");
                return Err(ModelError::new(ModelErrorKind::TooLarge, message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What an answer with the status of an error means.
    async fn failed(&self, mut response: reqwest::Response) -> ModelError {
        let status = response.status();
        let retry_after_ms = retry_after_ms(response.headers(), self.clock.now_ms());
        let mut body = Vec::new();
        // Whatever can be had of it, it is only for the message.
        while let Ok(Some(chunk)) = self.chunk(Wait::Idle, &mut response).await {
            let room = ERROR_BYTES_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == ERROR_BYTES_MAX {
                break;
            }
        }
        let said = words(&String::from_utf8_lossy(&body));
        let kind = kind_of(status, retry_after_ms);
        let answered = match status.canonical_reason() {
            Some(reason) => format!("the provider answered {} {reason}", status.as_u16()),
            None => format!("the provider answered {}", status.as_u16()),
        };
        let message = match (status.is_redirection(), said) {
            (true, _) => format!("{answered}, and redirects are not followed"),
            (false, Some(said)) => format!("{answered}: {said}"),
            (false, None) => answered,
        };
        // Nothing is generated for a request that is refused.
        ModelError::unsent(kind, message)
    }

    async fn within<T>(&self, wait: Wait, work: impl Future<Output = T>) -> Result<T, ModelError> {
        let limit = Duration::from_millis(self.limit_ms(wait));
        tokio::time::timeout(limit, work).await.map_err(|_| self.timed_out(wait))
    }

    fn limit_ms(&self, wait: Wait) -> u64 {
        match wait {
            Wait::Connect => self.timeouts.connect_ms,
            Wait::FirstByte => self.timeouts.first_byte_ms,
            Wait::Idle => self.timeouts.idle_ms,
            Wait::Total => self.timeouts.total_ms,
        }
    }

    fn timed_out(&self, wait: Wait) -> ModelError {
        let message = format!("the provider took more than {} ms for {wait}", self.limit_ms(wait));
        ModelError::new(ModelErrorKind::TimedOut(wait), message)
    }

    fn broken(&self, error: &reqwest::Error) -> ModelError {
        if error.is_connect() && error.is_timeout() {
            return ModelError { usage: super::ModelUsage::NOTHING, ..self.timed_out(Wait::Connect) };
        }
        let message = format!("the provider cannot be reached: {}", causes(error));
        if error.is_connect() {
            return ModelError::unsent(ModelErrorKind::Unreachable, message);
        }
        let message = format!("the connection to the provider broke: {}", causes(error));
        ModelError::new(ModelErrorKind::Unreachable, message)
    }
}

/// Why the reader of events stopped.
enum Stopped {
    By(ModelError),
    Sse(SseError),
}

impl From<SseError> for Stopped {
    fn from(error: SseError) -> Self {
        Self::Sse(error)
    }
}

fn sse(error: SseError) -> ModelError {
    let kind = match error {
        SseError::TooLong => ModelErrorKind::TooLarge,
        SseError::NotUtf8 => ModelErrorKind::Malformed,
    };
    ModelError::new(kind, error.to_string())
}

/// The only place that makes a client.
fn client(needs_tls: bool, timeouts: &Timeouts) -> Result<Client, ModelError> {
    static CRYPTO: Once = Once::new();
    // Somebody else's choice in this process serves as well.
    CRYPTO.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(Duration::from_millis(timeouts.connect_ms))
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .pool_idle_timeout(IDLE_CONNECTION)
        .user_agent("whaleflow");
    if !needs_tls {
        // A server without TLS needs none of the machine's certificates, which may not even exist.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| {
        ModelError::unsent(ModelErrorKind::Unreachable, format!("there is no TLS to be had: {}", causes(&error)))
    })
}

/// The causes of an error, without URLs.
fn causes(error: &reqwest::Error) -> String {
    let mut said = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        said.push(error.to_string());
        cause = error.source();
    }
    if said.is_empty() { "the protocol was not kept".to_owned() } else { said.join(": ") }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("application/json")
}

/// What a status says of what to do next.
fn kind_of(status: StatusCode, retry_after_ms: Option<u64>) -> ModelErrorKind {
    match status.as_u16() {
        429 => ModelErrorKind::Throttled { retry_after_ms: retry_after_ms.unwrap_or(RETRY_AFTER_MS_DEFAULT) },
        401..=403 | 407 => ModelErrorKind::Refused,
        408 | 409 | 425 | 500..=599 => ModelErrorKind::Overloaded { retry_after_ms },
        _ => ModelErrorKind::BadRequest,
    }
}

/// `retry-after-ms`, or `retry-after` as seconds or a date.
fn retry_after_ms(headers: &HeaderMap, now_ms: i64) -> Option<u64> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let exact = text(&HeaderName::from_static("retry-after-ms")).and_then(|text| text.parse::<f64>().ok());
    let wanted = exact.or_else(|| {
        let text = text(&RETRY_AFTER)?;
        text.parse::<f64>().ok().map(|seconds| seconds * 1_000.0).or_else(|| {
            let until = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
            Some((until.as_millis() as f64 - now_ms as f64).max(0.0))
        })
    })?;
    // Casting saturates: what is negative or no number is 0.
    Some((wanted.ceil() as u64).min(RETRY_AFTER_MS_MAX))
}

/// A provider's own words about an error.
pub(super) fn words(body: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        error: serde_json::Value,
        #[serde(default)]
        message: serde_json::Value,
        #[serde(default)]
        detail: serde_json::Value,
    }
    let Ok(body) = serde_json::from_str::<Body>(body) else {
        let text = body.trim();
        return (!text.is_empty()).then(|| super::error::in_one_line(text));
    };
    let candidates = [&body.error["message"], &body.error, &body.message, &body.detail];
    let said = candidates.into_iter().find_map(|value| value.as_str());
    said.map(super::error::in_one_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&'static str, &str)], expected: Option<u64>) {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(*value).unwrap()))
            .collect();
        // Sun, 06 Nov 1994 08:49:37 GMT, less 1,500 ms.
        assert_eq!(retry_after_ms(&headers, 784_111_777_000 - 1_500), expected);
    }

    #[test]
    fn how_long_to_leave_a_provider_alone() {
        check(&[], None);
        check(&[("retry-after", "7")], Some(7_000));
        check(&[("retry-after", "0.25")], Some(250));
        check(&[("retry-after-ms", "15"), ("retry-after", "7")], Some(15));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(1_500));
        check(&[("retry-after", "Sun, 06 Nov 1994 08:49:30 GMT")], Some(0));
        check(&[("retry-after", "-3")], Some(0));
        check(&[("retry-after", "NaN")], Some(0));
        check(&[("retry-after", "1e300")], Some(RETRY_AFTER_MS_MAX));
        check(&[("retry-after", "soon")], None);
    }

    #[test]
    fn the_words_of_an_error_are_found_and_bounded() {
        assert_eq!(words(r#"{"error":{"message":"no","type":"x"}}"#).as_deref(), Some("no"));
        assert_eq!(words(r#"{"error":"no"}"#).as_deref(), Some("no"));
        assert_eq!(words(r#"{"message":"a\nb"}"#).as_deref(), Some("a b"));
        assert_eq!(words("<html>").as_deref(), Some("<html>"));
        assert_eq!(words(" "), None);
        assert_eq!(words(r#"{"x":1}"#), None);
        assert_eq!(words(&"x".repeat(10_000)).unwrap().chars().count(), 501);
    }
}
