//! A log that is full: the run stops with everything kept, and goes on when somebody lets it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use wf_effects::local::{Catalog, LocalEffects, LocalOptions};
use wf_effects::mock::Rules;
use wf_effects::{RealClock, ScratchDir};
use wf_ir::node::Budget;
use wf_ir::{Digest, Span, Spanned, Value, Workflow};
use wf_kernel::record::{Origin, RunStarted, SEMANTICS};
use wf_kernel::{Command, InputBody, RunStatus};
use wf_runtime::{DriveOptions, NewRun, RunError, Runtime, load};
use wf_store::{RunId, Store};

/// The most records of a log of these tests.
const RECORDS_MAX: u64 = 30;

fn workflow() -> Arc<Workflow> {
    let source = json!({ "workflow": "asks", "children": [
        { "expand": "each", "over": "range(20)", "width": 3, "max_children": 20, "children": [
            { "ask": "say", "prompt": "{{ each.item }}" }] },
    ] });
    let value = Value::from_json(&source.to_string()).unwrap();
    let (workflow, found) = wf_ir::validate(&wf_ir::Draft { root: Spanned::from_value(&value, &Span::default()) });
    Arc::new(workflow.unwrap_or_else(|| panic!("{found:#?}")))
}

fn new_run(run: &str) -> NewRun {
    let workflow = workflow();
    let started = RunStarted {
        semantics: SEMANTICS,
        run_id: run.to_owned(),
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
    };
    NewRun { workflow, started }
}

fn runtime(store: &Store, scratch: &Path) -> Runtime {
    let effects = LocalEffects::new(LocalOptions {
        sessions: Default::default(),
        catalog: Catalog { rules: Rules::default(), seed: 7, is_paced: false },
        trees: None,
        env: BTreeMap::new(),
        scratch: ScratchDir::open(scratch).unwrap(),
        is_trusted: false,
        supervisor: None,
        redactor: wf_effects::secret::Redactor::default(),
        models: None,
        sandbox: None,
        build_cache: None,
    });
    Runtime {
        store: store.clone(),
        effects: Arc::new(effects),
        clock: Arc::new(RealClock),
        owner: "me".to_owned(),
        slots: 8,
        presence: None,
    }
}

#[tokio::test]
async fn a_run_whose_log_is_full_stops_and_goes_on_when_it_is_let() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::memory();
    let runtime = runtime(&store, scratch.path());
    let undisturbed = runtime.create(new_run("whole")).await.unwrap().drive(DriveOptions::default()).await.unwrap();

    let run = RunId::parse("full").unwrap();
    let owned = runtime.create(new_run("full")).await.unwrap().with_records_max(RECORDS_MAX);
    let mut stopped = owned.drive(DriveOptions::default()).await.err();
    let mut stops = Vec::new();
    while let Some(error) = stopped {
        let RunError::LogFull { records } = error else { panic!("{error}") };
        let loaded = load(&store, &run).await.unwrap();
        assert_eq!((loaded.state.status(), loaded.records), (RunStatus::Paused, records));
        stops.push(records);
        // Nobody holds it, so whoever is told to go on with it can. It may have as many records again.
        let mut owned = runtime.adopt(&run).await.unwrap().with_records_max(RECORDS_MAX);
        owned.push(InputBody::Command(Command::Resume { path: None, raise: Budget::default(), by: "ann".to_owned() }));
        stopped = owned.drive(DriveOptions::default()).await.err();
    }
    assert!(stops.len() >= 2, "{stops:?}");
    for (stop, at) in stops.iter().zip(1..) {
        assert!((at * RECORDS_MAX..(at + 1) * RECORDS_MAX).contains(stop), "{stops:?}");
    }
    let ended = load(&store, &run).await.unwrap().state;
    assert_eq!(ended.status(), RunStatus::Succeeded);
    let digest = |state: &wf_kernel::RunState| state.end().map(|end| end.result_digest);
    assert_eq!(digest(&ended), digest(&undisturbed.state));
}
