//! An agent in a tree of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wf_effects::agent::files::Tree;
use wf_effects::agent::output::Outputs;
use wf_effects::agent::scripted::{Last, Scripted, Turn};
use wf_effects::agent::shell::Shell;
use wf_effects::agent::tools::Tools;
use wf_effects::agent::{Limits, Order, World, prompt, work};
use wf_effects::models::typed::Budget;
use wf_effects::models::{Call, Model, ModelError, ModelErrorKind, ModelRequest, Part, Response};
use wf_effects::process::{Bounds, Spec};
use wf_effects::{BoxFuture, CancelToken, Steering};
use wf_ir::{Glob, Value};
use wf_kernel::Amount;
use wf_store::Blobs;

/// What an agent starts with.
pub(crate) struct Case {
    pub(crate) turns: Vec<Turn>,
    pub(crate) result: Value,
    pub(crate) schema: Option<Value>,
    pub(crate) writes: &'static [&'static str],
    pub(crate) reads: &'static [&'static str],
    pub(crate) files: &'static [(&'static str, &'static str)],
    pub(crate) limits: Limits,
    pub(crate) context: Option<u64>,
    /// Tokens in the budget beyond what is held at first.
    pub(crate) budget: u64,
    pub(crate) held: u64,
    pub(crate) shell: bool,
    pub(crate) told: Vec<Arc<str>>,
    /// What the provider says instead of an answer, and before which request, counted from zero.
    pub(crate) errors: Vec<(usize, ModelErrorKind)>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            turns: Vec::new(),
            result: Value::from("done"),
            schema: None,
            writes: &["**"],
            reads: &[],
            files: &[],
            limits: Limits::default(),
            context: None,
            budget: u64::MAX / 4,
            held: 0,
            shell: false,
            told: Vec::new(),
            errors: Vec::new(),
        }
    }
}

/// What came of it.
pub(crate) struct Seen {
    /// How it ended, in one line, and each result that the model was shown.
    pub(crate) shown: String,
    /// What was traced, a line each.
    pub(crate) trace: String,
    /// What the model was asked, each time.
    pub(crate) requests: Vec<ModelRequest>,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn call(name: &str, arguments: &str) -> Turn {
    calls(&[(name, arguments)])
}

pub(crate) fn calls(calls: &[(&str, &str)]) -> Turn {
    let value = |text: &str| Value::from_json(text).unwrap_or_else(|_| Value::from(text));
    Turn { text: String::new(), calls: calls.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect() }
}

pub(crate) fn say(text: &str) -> Turn {
    Turn { text: text.to_owned(), calls: Vec::new() }
}

/// Remembers what it was asked, and may tell the agent something meanwhile.
struct Watched {
    inner: Scripted,
    errors: Vec<(usize, ModelErrorKind)>,
    requests: Mutex<Vec<ModelRequest>>,
}

impl Model for Watched {
    fn respond<'a>(&'a self, request: &'a ModelRequest, call: Call<'a>) -> BoxFuture<'a, Result<Response, ModelError>> {
        let mut requests = self.requests.lock().unwrap();
        let number = requests.len();
        requests.push(request.clone());
        match self.errors.iter().find(|(at, _)| *at == number) {
            Some((_, kind)) => Box::pin(std::future::ready(Err(ModelError::unsent(*kind, format!("error {number}"))))),
            None => self.inner.respond(request, call),
        }
    }
}

struct Left(Mutex<u64>);

impl Budget for Left {
    fn more(&self, amount: Amount) -> BoxFuture<'_, bool> {
        let mut left = self.0.lock().unwrap();
        let fits = amount.tokens <= *left;
        if fits {
            *left -= amount.tokens;
        }
        Box::pin(std::future::ready(fits))
    }
}

/// Blobs in memory.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

impl Blobs for Memory {
    fn put(&self, bytes: Arc<[u8]>) -> wf_store::BoxFuture<'_, Result<wf_ir::Digest, wf_store::BlobError>> {
        let digest = wf_ir::Digest::of(&bytes);
        self.0.lock().unwrap().insert(digest.to_string(), bytes.to_vec());
        Box::pin(std::future::ready(Ok(digest)))
    }

    fn get<'a>(&'a self, digest: &'a wf_ir::Digest) -> wf_store::BoxFuture<'a, Result<Vec<u8>, wf_store::BlobError>> {
        let found = self.0.lock().unwrap().get(&digest.to_string()).cloned();
        let missing = wf_store::BlobError::Missing { digest: *digest };
        Box::pin(std::future::ready(found.ok_or(missing)))
    }

    fn exists<'a>(&'a self, digest: &'a wf_ir::Digest) -> wf_store::BoxFuture<'a, Result<bool, wf_store::BlobError>> {
        let found = self.0.lock().unwrap().contains_key(&digest.to_string());
        Box::pin(std::future::ready(Ok(found)))
    }
}

fn globs(globs: &[&str]) -> Vec<Glob> {
    globs.iter().map(|glob| Glob::parse(glob).unwrap()).collect()
}

/// A shell without a sandbox, for tests of what the agent makes of it.
fn shell(dir: &Path) -> Shell {
    let spec = Spec {
        argv: Vec::new(),
        cwd: dir.to_owned(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        stdin: None,
        bounds: Bounds::with_timeout(Duration::from_secs(1)),
        supervisor: None,
        sandbox: None,
    };
    Shell { spec, heartbeat: Duration::from_millis(20) }
}

pub(crate) async fn run(case: Case) -> Seen {
    run_with(case, |_| {}).await
}

/// Runs an agent; `during` gets each line of the trace and may steer or cancel.
pub(crate) async fn run_with(case: Case, during: impl Fn(&Watch<'_>) + Send + Sync) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in case.files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let scripted = Scripted { turns: case.turns, last: Last::Result(case.result, Vec::new()), latency: Duration::ZERO };
    let model = Watched { inner: scripted, errors: case.errors, requests: Mutex::default() };
    let mut tools = Tools {
        tree: Some(Tree::open(dir.path().to_owned(), globs(case.reads), globs(case.writes)).unwrap()),
        shell: if case.shell { Ok(shell(dir.path())) } else { Err("there is no sandbox".to_owned()) },
        allowed: None,
        outputs: Outputs::new(Arc::new(Memory::default())),
    };
    let (cancel, steering) = (CancelToken::default(), Steering::default());
    let budget = Left(Mutex::new(case.budget));
    let lines = Mutex::new(String::new());
    let trace = |stream: &str, text: &str| {
        lines.lock().unwrap().push_str(&format!("{stream}: {text}\n"));
        during(&Watch { stream, text, cancel: &cancel, steering: &steering });
    };
    let order = Order {
        model: &model,
        price: None,
        context: case.context,
        system: prompt::system(Some(dir.path()), "writer"),
        task: vec!["the task".to_owned()],
        schema: case.schema.as_ref(),
        tasks_max: 0,
        params: BTreeMap::new(),
        output_tokens_max: 1_000,
        limits: case.limits,
        held: Amount { tokens: case.held, cost_usd_micros: 0 },
    };
    let world = World {
        tools: &mut tools,
        cancel: &cancel,
        steering: &steering,
        told: &case.told,
        budget: &budget,
        redactor: &wf_effects::secret::Redactor::default(),
        trace: &trace,
    };
    let ended = match work(order, world).await {
        Ok(done) => {
            let short = if done.is_cut_short { ", cut short" } else { "" };
            format!("done in {} turns{short}: {}\n", done.turns, done.value.to_json())
        }
        Err(stopped) => format!("{}: {}\n", stopped.why.code(), stopped.why.message()),
    };
    let requests = model.requests.into_inner().unwrap();
    let results = requests.last().map(results).unwrap_or_default();
    Seen { shown: format!("{results}{ended}"), trace: lines.into_inner().unwrap(), requests, dir }
}

/// Who sees a line of the trace.
pub(crate) struct Watch<'a> {
    pub(crate) stream: &'a str,
    pub(crate) text: &'a str,
    pub(crate) cancel: &'a CancelToken,
    pub(crate) steering: &'a Steering,
}

fn results(request: &ModelRequest) -> String {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    parts
        .filter_map(|part| match part {
            Part::ToolResult { text, .. } => Some(format!("{}\n", text.trim_end())),
            _ => None,
        })
        .collect()
}
