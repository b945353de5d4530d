//! What happens while a leaf is performed, for those who watch. Nothing depends on it, and nothing can go wrong with
//! it.

use std::sync::Arc;

use wf_ir::Value;
use wf_store::{RunId, Traces};

use crate::contract::Ctx;
use crate::models::Delta;
use crate::secret::{Redactor, RedactorStream};

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

/// Lines of text that comes in pieces are traced when they are this long, whether they have ended or not.
const PIECE_BYTES: usize = 160;

/// What a model says, piece by piece, a secret across several of them included.
pub(super) struct TracedText<'a> {
    trace: &'a Trace,
    streams: [(&'static str, RedactorStream, String); 2],
}

impl<'a> TracedText<'a> {
    pub(super) fn new(trace: &'a Trace, redactor: &Redactor) -> Self {
        Self { trace, streams: ["say", "think"].map(|name| (name, redactor.stream(), String::new())) }
    }

    /// Takes what came.
    pub(super) fn take(&mut self, delta: Delta<'_>) {
        let (at, piece) = match delta {
            Delta::Text(piece) => (0, piece),
            Delta::Reasoning(piece) => (1, piece),
            Delta::ToolCall(name) => {
                // What was said before comes before.
                self.flush();
                return self.trace.line("call", name);
            }
        };
        let (name, stream, line) = &mut self.streams[at];
        line.push_str(&stream.push(piece));
        if line.len() >= PIECE_BYTES || line.ends_with('\n') {
            self.trace.line(name, line.trim_end_matches('\n'));
            line.clear();
        }
    }

    /// Traces what is left.
    pub(super) fn finish(mut self) {
        self.flush();
    }

    fn flush(&mut self) {
        for (name, stream, line) in &mut self.streams {
            line.push_str(&stream.finish());
            if !line.is_empty() {
                self.trace.line(name, line);
                line.clear();
            }
        }
    }
}
