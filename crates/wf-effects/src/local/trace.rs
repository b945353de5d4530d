//! What happens while a leaf is performed, for those who watch. Nothing depends on it, and nothing can go wrong with
//! it.

use std::sync::Arc;

use wf_ir::Value;
use wf_store::{RunId, Traces};

use crate::contract::Ctx;

/// The trace of one instance.
pub(super) struct Trace {
    traces: Arc<dyn Traces>,
    run: Option<RunId>,
    path: Arc<str>,
}

impl Trace {
    pub(super) fn new(ctx: &Ctx, path: &Arc<str>) -> Self {
        Self { traces: Arc::clone(&ctx.traces), run: RunId::parse(&ctx.run_id).ok(), path: Arc::clone(path) }
    }

    /// Adds a line: `{"stream":…,"text":…}`.
    pub(super) fn line(&self, stream: &str, text: &str) {
        let Some(run) = &self.run else { return };
        let fields = [("stream", stream), ("text", text)].map(|(name, text)| (name.to_owned(), Value::from(text)));
        self.traces.append(run, &self.path, Value::Map(fields.into()).to_json());
    }
}
