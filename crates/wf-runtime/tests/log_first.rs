//! Log first, act second: no effect begins before the record that orders it is in the log.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::json;
use wf_effects::local::{Catalog, LocalEffects, LocalOptions};
use wf_effects::mock::Rules;
use wf_effects::{BoxFuture, Ctx, Effects, RealClock, ScratchDir};
use wf_ir::node::Budget;
use wf_ir::{Digest, Span, Spanned, Value, Workflow};
use wf_kernel::record::{Origin, RunStarted, SEMANTICS};
use wf_kernel::{Decision, Effect, Outcome, Phase, Record, RunStatus};
use wf_runtime::{Drive, DriveOptions, NewRun, Runtime, load};
use wf_store::{
    AppendError, Appended, Batch, CreateError, Created, Epoch, Log, PageLimit, ReadError, RunId, Seq, Store,
    StoredRecord, Verified,
};

const RUN: &str = "run1";
/// How often a commit lets others go first: more often than it takes an effect to begin.
const TURNS: usize = 200;

/// A log whose commits take a while.
struct SlowLog(Arc<dyn Log>);

impl Log for SlowLog {
    fn create_run(&self, new: wf_store::NewRun) -> BoxFuture<'_, Result<Created, CreateError>> {
        Box::pin(async move {
            wait().await;
            self.0.create_run(new).await
        })
    }

    fn append<'a>(
        &'a self,
        run: &'a RunId,
        after: Seq,
        epoch: Epoch,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(async move {
            wait().await;
            self.0.append(run, after, epoch, batch).await
        })
    }

    fn read<'a>(
        &'a self,
        run: &'a RunId,
        after: Seq,
        limit: PageLimit,
    ) -> BoxFuture<'a, Result<Vec<StoredRecord>, ReadError>> {
        self.0.read(run, after, limit)
    }

    fn verify<'a>(&'a self, run: &'a RunId) -> BoxFuture<'a, Result<Verified, ReadError>> {
        self.0.verify(run)
    }
}

async fn wait() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

/// Performs effects as this machine does, and looks first whether the log orders them.
struct Watched {
    inner: LocalEffects,
    log: Arc<dyn Log>,
    too_early: Arc<Mutex<Vec<String>>>,
    begun: Arc<Mutex<usize>>,
}

impl Effects for Watched {
    fn perform(&self, effect: Effect, ctx: Ctx) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            *self.begun.lock().unwrap() += 1;
            let run = RunId::parse(RUN).unwrap();
            let records = self.log.read(&run, Seq(0), PageLimit::default()).await.unwrap_or_default();
            if !records.iter().any(|record| orders(record, &effect)) {
                self.too_early.lock().unwrap().push(format!("{:?}", effect.id));
            }
            self.inner.perform(effect, ctx).await
        })
    }
}

fn orders(stored: &StoredRecord, effect: &Effect) -> bool {
    match wf_runtime::journal::decode(stored).unwrap() {
        Record::Decision(Decision::Ordered { effect: ordered }) => ordered == effect.id,
        Record::Decision(Decision::Started { path, generation, .. }) => {
            (path, generation, Phase::Perform) == (effect.id.subject.clone(), effect.id.generation, effect.id.phase)
        }
        _ => false,
    }
}

fn workflow() -> Arc<Workflow> {
    let source = json!({ "workflow": "asks", "children": [
        { "ask": "first", "prompt": "a?" },
        { "expand": "each", "over": "range(4)", "width": 2, "max_children": 4, "children": [
            { "ask": "say", "prompt": "{{ each.item }}" }] },
        { "ask": "last", "prompt": "z?" },
    ] });
    let value = Value::from_json(&source.to_string()).unwrap();
    let (workflow, found) = wf_ir::validate(&wf_ir::Draft { root: Spanned::from_value(&value, &Span::default()) });
    Arc::new(workflow.unwrap_or_else(|| panic!("{found:#?}")))
}

fn started(workflow: &Workflow) -> RunStarted {
    RunStarted {
        semantics: SEMANTICS,
        run_id: RUN.to_owned(),
        workflow: workflow.hash(),
        workflow_name: workflow.name().to_owned(),
        inputs: BTreeMap::new(),
        seed: 7,
        budget: Budget::default(),
        base: None,
        origin: Origin::Test,
        parent: None,
        labels: BTreeMap::new(),
        catalog: Digest::of(b"test"),
        sandbox: "none".to_owned(),
        repo: None,
        rules: None,
    }
}

#[tokio::test]
async fn no_effect_begins_before_its_order_is_durable() {
    let mut store = Store::memory();
    let log = store.log.clone();
    store.log = Arc::new(SlowLog(log.clone()));
    let scratch = tempfile::tempdir().unwrap();
    let (too_early, begun) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let effects = Watched {
        inner: LocalEffects::new(LocalOptions {
            sessions: Default::default(),
            sandbox: None,
            catalog: Catalog { rules: Rules::default(), seed: 7, is_paced: false },
            trees: None,
            env: BTreeMap::new(),
            scratch: ScratchDir::open(scratch.path()).unwrap(),
            is_trusted: false,
            supervisor: None,
            redactor: wf_effects::secret::Redactor::default(),
            models: None,
            build_cache: None,
        }),
        log,
        too_early: too_early.clone(),
        begun: begun.clone(),
    };
    let runtime = Runtime {
        store: store.clone(),
        effects: Arc::new(effects),
        clock: Arc::new(RealClock),
        owner: "me".to_owned(),
        slots: 8,
        presence: None,
    };
    let workflow = workflow();
    let started = started(&workflow);
    let owned = runtime.create(NewRun { workflow, started }).await.unwrap();
    let finished = owned.drive(DriveOptions::default()).await.unwrap();
    assert_eq!(finished.end, Drive::Ended);
    let state = load(&store, &RunId::parse(RUN).unwrap()).await.unwrap().state;
    assert_eq!((state.status(), *begun.lock().unwrap()), (RunStatus::Succeeded, 12));
    assert_eq!(*too_early.lock().unwrap(), Vec::<String>::new());
}
