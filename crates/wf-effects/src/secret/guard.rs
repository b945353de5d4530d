//! The places through which everything that is kept goes: records, blobs, traces.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wf_ir::{Digest, Value};
use wf_kernel::record::Failure;
use wf_kernel::{Outcome, Usage};
use wf_store::{BlobError, Blobs, ReadError, RunId, TraceChunk, Traces};

use super::Redactor;
use crate::contract::BoxFuture;

impl Redactor {
    /// The value without secrets, if there was one in it.
    pub fn value(&self, value: &Value) -> Option<Value> {
        self.finds(&value.to_json()).then(|| self.cleaned(value))
    }

    fn cleaned(&self, value: &Value) -> Value {
        match value {
            Value::Str(text) => Value::Str(self.text(text).into_owned()),
            Value::List(items) => Value::List(items.iter().map(|item| self.cleaned(item)).collect()),
            Value::Map(fields) => {
                let fields = fields.iter().map(|(name, value)| (self.text(name).into_owned(), self.cleaned(value)));
                Value::Map(fields.collect())
            }
            // A number can be a secret too, such as one of digits only.
            Value::Int(_) | Value::Decimal(_) if self.finds(&value.to_json()) => Value::from(super::redactor::MARK),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Decimal(_) => value.clone(),
        }
    }

    /// JSON text without secrets; it stays JSON.
    pub fn json(&self, text: &str) -> Option<String> {
        if !self.finds(text) {
            return None;
        }
        let parsed = Value::from_json(text).ok().map(|value| self.cleaned(&value).to_json());
        // What is escaped as no value of ours would be is still to be found as text.
        Some(self.text(&parsed.unwrap_or_else(|| text.to_owned())).into_owned())
    }

    /// What is to be recorded, without secrets; nothing when it does not hold together without them.
    pub fn record<T: Serialize + DeserializeOwned>(&self, record: T) -> Option<T> {
        if self.is_idle() {
            return Some(record);
        }
        let text = serde_json::to_string(&record).ok()?;
        match self.json(&text) {
            None => Some(record),
            Some(cleaned) => serde_json::from_str(&cleaned).ok(),
        }
    }

    /// An outcome without secrets.
    pub fn outcome(&self, outcome: Outcome) -> Outcome {
        self.record(outcome).unwrap_or_else(|| {
            Outcome::Failed(Box::new(Failure {
                code: "secret".to_owned(),
                message: "what came back held a configured secret where nothing can stand in its place".to_owned(),
                retryable: false,
                usage: Usage::default(),
                evidence: None,
                artifacts: BTreeMap::new(),
                rescued: None,
            }))
        })
    }

    /// Traces into which no secret is written.
    pub fn traces(&self, inner: Arc<dyn Traces>) -> Arc<dyn Traces> {
        Arc::new(GuardedTraces { inner, redactor: self.clone() })
    }

    /// Blobs into which no secret is written. The digest of bytes that held one is that of what was stored.
    pub fn blobs(&self, inner: Arc<dyn Blobs>) -> Arc<dyn Blobs> {
        Arc::new(GuardedBlobs { inner, redactor: self.clone() })
    }
}

struct GuardedTraces {
    inner: Arc<dyn Traces>,
    redactor: Redactor,
}

impl Traces for GuardedTraces {
    fn append(&self, run: &RunId, instance: &str, line: String) {
        let line = self.redactor.json(&line).unwrap_or(line);
        self.inner.append(run, instance, line);
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        self.inner.flush()
    }

    fn read<'a>(
        &'a self,
        run: &'a RunId,
        instance: &'a str,
        offset: u64,
    ) -> BoxFuture<'a, Result<TraceChunk, ReadError>> {
        self.inner.read(run, instance, offset)
    }
}

struct GuardedBlobs {
    inner: Arc<dyn Blobs>,
    redactor: Redactor,
}

impl Blobs for GuardedBlobs {
    fn put(&self, bytes: Arc<[u8]>) -> BoxFuture<'_, Result<Digest, BlobError>> {
        let cleaned = match self.redactor.bytes(&bytes) {
            std::borrow::Cow::Borrowed(_) => None,
            std::borrow::Cow::Owned(cleaned) => Some(cleaned),
        };
        self.inner.put(cleaned.map_or(bytes, Arc::from))
    }

    fn get<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Vec<u8>, BlobError>> {
        self.inner.get(digest)
    }

    fn exists<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<bool, BlobError>> {
        self.inner.exists(digest)
    }
}
