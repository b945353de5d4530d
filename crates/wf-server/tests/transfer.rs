//! Exported runs: taken in whole where they are whole, and not at all where anything about them is not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use wf_effects::ScratchDir;
use wf_effects::local::{Catalog, LocalEffects, LocalOptions};
use wf_effects::mock::Rules;
use wf_ir::node::Budget;
use wf_ir::{Digest, Draft, Span, Spanned, SpannedValue, Value, Workflow, validate};
use wf_kernel::record::{InputValue, Origin, RunStarted, SEMANTICS};
use wf_kernel::{RunStatus, ValueRef};
use wf_runtime::{DriveOptions, NewRun, replay};
use wf_server::{Engine, Environment, Error, Project, transfer};
use wf_store::{RecordKind, RunId, Seq, chain_hash, chain_start};

const SOURCE: &str = r#"{"workflow": "w", "inputs": {"text": "string"}, "children": [
    {"ask": "a", "prompt": "{{ inputs.text }}"}, {"ask": "b", "prompt": "{{ a }}"}]}"#;
const RUN: &str = "01exported";

fn workflow() -> Arc<Workflow> {
    let mut root = Spanned::from_value(&Value::from_json(SOURCE).unwrap(), &Span::default());
    kinds_first(&mut root);
    let (workflow, found) = validate(&Draft { root });
    Arc::new(workflow.unwrap_or_else(|| panic!("{found:?}")))
}

/// A source says its kind first; a value is ordered by its keys.
fn kinds_first(spanned: &mut Spanned) {
    match &mut spanned.value {
        SpannedValue::Map(entries) => {
            entries.sort_by_key(|(key, _)| !matches!(key.name.as_str(), "workflow" | "ask"));
            entries.iter_mut().for_each(|(_, value)| kinds_first(value));
        }
        SpannedValue::List(items) => items.iter_mut().for_each(kinds_first),
        _ => {}
    }
}

/// A project of its own, without any run.
fn project(temp: &TempDir, name: &str) -> Engine {
    let dir = temp.path().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let vars = BTreeMap::from([("WHALEFLOW_HOME".to_owned(), temp.path().join("home").display().to_string())]);
    let environment = Environment::of(vars, dir.clone(), PathBuf::from("/nowhere"));
    let project = Project::of(&environment, &dir).unwrap();
    Engine::open(&environment, &project).unwrap()
}

/// Runs the workflow in a project and exports the run. One input is too large to be inline.
async fn exported(temp: &TempDir) -> String {
    let engine = project(temp, "first");
    let (text, blob) = ValueRef::of(Arc::new(Value::from("é".repeat(50_000))));
    engine.store.blobs.put(Arc::from(blob.unwrap().into_bytes())).await.unwrap();
    let workflow = workflow();
    let catalog = Catalog { rules: Rules::default(), seed: 0, is_paced: false };
    let started = RunStarted {
        semantics: SEMANTICS,
        run_id: RUN.to_owned(),
        workflow: workflow.hash(),
        workflow_name: "w".to_owned(),
        inputs: BTreeMap::from([("text".to_owned(), InputValue::Plain(text))]),
        seed: 0,
        budget: Budget::default(),
        base: None,
        origin: Origin::Test,
        parent: None,
        labels: BTreeMap::new(),
        catalog: catalog.digest(),
        sandbox: "none".to_owned(),
        repo: None,
        rules: None,
    };
    let scratch = ScratchDir::open(&temp.path().join("scratch")).unwrap();
    let options = LocalOptions {
        sessions: Default::default(),
        sandbox: None,
        catalog,
        trees: None,
        env: BTreeMap::new(),
        scratch,
        is_trusted: false,
        supervisor: None,
        redactor: wf_effects::secret::Redactor::default(),
        models: None,
        build_cache: None,
    };
    let owner = engine.announce().unwrap();
    let runtime = engine.runtime(&owner, LocalEffects::new(options), 8);
    let owned = runtime.create(NewRun { workflow, started }).await.unwrap();
    let finished = owned.drive(DriveOptions::default()).await.unwrap();
    assert_eq!(finished.state.status(), RunStatus::Succeeded);
    let mut bytes = Vec::new();
    let done = transfer::export(&engine, &RunId::parse(RUN).unwrap(), &mut bytes).await.unwrap();
    assert_eq!(done.records, finished.records);
    String::from_utf8(bytes).unwrap()
}

/// Tries to import a text into `engine`, which must stay without runs unless it succeeds.
async fn import(engine: &Engine, file: &Path, text: &[u8]) -> Result<(), String> {
    std::fs::write(file, text).unwrap();
    match transfer::import(engine, file).await {
        Ok(_) => Ok(()),
        Err(Error::Transfer { message, .. }) => {
            let filter = wf_store::RunFilter { limit: 10, prefix: None, ended: None };
            assert_eq!(engine.store.runs.runs(filter).await.unwrap(), [], "{message}");
            Err(message)
        }
        Err(other) => Err(other.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_comes_out_as_it_went_in() {
    let temp = tempfile::tempdir().unwrap();
    let text = exported(&temp).await;
    let engine = project(&temp, "second");
    let file = temp.path().join("run");
    assert_eq!(import(&engine, &file, text.as_bytes()).await, Ok(()));
    let run = RunId::parse(RUN).unwrap();
    let replayed = replay(&engine.store, &run).await.unwrap();
    assert_eq!((replayed.records, replayed.difference), (12, None));
    assert!(!engine.is_owned(&run).await.unwrap());
    let mut again = Vec::new();
    transfer::export(&engine, &run, &mut again).await.unwrap();
    assert_eq!(String::from_utf8(again).unwrap(), text);
    assert!(matches!(transfer::import(&engine, &file).await, Err(Error::Exists { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_whole_is_not_taken_in() {
    let temp = tempfile::tempdir().unwrap();
    let text = exported(&temp).await;
    let engine = project(&temp, "second");
    let file = temp.path().join("run");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.iter().filter(|line| line.starts_with(r#"{"blob""#)).count() >= 4, "the large input is in parts");
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    for at in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(at);
        assert!(import(&engine, &file, joined(&without).as_bytes()).await.is_err(), "without line {at}");
        let mut twice = lines.clone();
        twice.insert(at, lines[at]);
        assert!(import(&engine, &file, joined(&twice).as_bytes()).await.is_err(), "line {at} twice");
        let mut swapped = lines.clone();
        swapped.swap(at, (at + 1) % lines.len());
        assert!(import(&engine, &file, joined(&swapped).as_bytes()).await.is_err(), "line {at} swapped");
        let half = (0..=lines[at].len() / 2).rev().find(|half| lines[at].is_char_boundary(*half)).unwrap();
        let cut = joined(&lines[..at]) + &lines[at][..half];
        assert!(import(&engine, &file, cut.as_bytes()).await.is_err(), "cut in line {at}");
    }
    let bytes = text.as_bytes();
    for at in (0..bytes.len()).step_by(bytes.len() / 97) {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1;
        assert!(import(&engine, &file, &flipped).await.is_err(), "byte {at} flipped");
    }
    let longer = format!("{text}\n");
    assert_eq!(import(&engine, &file, longer.as_bytes()).await, Err("something comes after its end".to_owned()));
    assert_eq!(import(&engine, &file, b"").await, Err("it ends before its end".to_owned()));
    assert_eq!(import(&engine, &file, text.as_bytes()).await, Ok(()), "the undamaged one still is");
}

/// Someone who recomputes every hash still cannot change what the kernel decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_kernel_did_not_decide_is_not_taken_in() {
    let temp = tempfile::tempdir().unwrap();
    let text = exported(&temp).await;
    let engine = project(&temp, "second");
    let file = temp.path().join("run");
    let forge = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        rehash(&text.replacen(from, to, 1))
    };
    let cases = [
        (r#"\"status\":\"succeeded\""#, r#"\"status\":\"failed\""#),
        (r#"\"attempt\":1"#, r#"\"attempt\":2"#),
        (r#"\"verified\":\"none\""#, r#"\"verified\":\"passed\""#),
        (r#"\"path\":\"a\""#, r#"\"path\":\"b\""#),
    ];
    for (from, to) in cases {
        let forged = forge(from, to);
        let refused = import(&engine, &file, forged.as_bytes()).await.unwrap_err();
        assert!(refused.contains(" differs: expected "), "{refused}");
    }
    let newer = forge(r#"\"semantics\":2"#, r#"\"semantics\":9"#);
    let refused = import(&engine, &file, newer.as_bytes()).await.unwrap_err();
    assert_eq!(refused, "record 1 was decided under version 9; this binary replays versions 1 to 2");
    let other = forge(r#""run_id":"01exported""#, r#""run_id":"01another""#);
    assert!(import(&engine, &file, other.as_bytes()).await.is_err());
}

/// The same text with its hash chain and its end made to fit.
fn rehash(text: &str) -> String {
    let mut lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let run = RunId::parse(lines[0]["run"]["run_id"].as_str().unwrap()).unwrap();
    let mut hash = chain_start(&run);
    for line in lines.iter_mut().filter_map(|line| line.get_mut("record")) {
        let kind = if line["kind"] == "input" { RecordKind::Input } else { RecordKind::Decision };
        let (seq, at) = (Seq(line["seq"].as_u64().unwrap()), line["at_ms"].as_i64().unwrap());
        hash = chain_hash(&hash, seq, kind, at, line["payload"].as_str().unwrap());
        line["hash"] = hash.to_string().into();
    }
    lines[0]["run"]["log_digest"] = hash.to_string().into();
    let end = lines.len() - 1;
    let before: String = lines[..end].iter().map(|line| format!("{line}\n")).collect();
    lines[end]["end"]["digest"] = Digest::of(before.as_bytes()).to_string().into();
    format!("{before}{}\n", lines[end])
}
