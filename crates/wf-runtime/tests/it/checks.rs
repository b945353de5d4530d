//! What must hold of a run once it has ended, whatever happened to it.

use std::collections::BTreeSet;

use wf_kernel::{Decision, EffectId, InputBody, Record, RunState};
use wf_runtime::journal::decode;
use wf_runtime::{load, replay};
use wf_store::{PageLimit, RunId, Seq, Store, StoredRecord, TaskFilter, TaskStatus};

/// Reads a whole log.
pub(crate) async fn records(store: &Store, run: &RunId) -> Vec<StoredRecord> {
    store.log.read(run, Seq::START, PageLimit { records_max: usize::MAX, bytes_max: usize::MAX }).await.unwrap()
}

/// Checks a run that has ended; gives its state.
pub(crate) async fn check(store: &Store, run: &RunId) -> RunState {
    let stored = records(store, run).await;
    assert_eq!(store.log.verify(run).await.unwrap().records, stored.len() as u64);
    let replayed = replay(store, run).await.unwrap();
    assert!(replayed.difference.is_none(), "{:?}", replayed.difference);
    let loaded = load(store, run).await.unwrap();
    one_result_each(&stored);
    for ledger in std::iter::once(loaded.state.ledger()).chain(loaded.state.ledgers().map(|(_, ledger)| ledger)) {
        assert!(ledger.reserved.is_zero(), "something is still reserved: {ledger:?}");
        if let Some(ceiling) = ledger.ceiling.tokens.filter(|_| !ledger.overrun) {
            assert!(ledger.settled.tokens <= ceiling, "{} tokens of {ceiling}", ledger.settled.tokens);
        }
    }
    let all = TaskFilter { status: None, after: None, limit: usize::MAX };
    for row in store.tasks.tasks(run, all).await.unwrap() {
        // A run whose budget ran out can go on: what waits for that is blocked.
        let is_over = !matches!(row.task.status, TaskStatus::Claimed | TaskStatus::Pending);
        let path = &row.task.instance;
        let attempt = loaded.state.instance(loaded.state.at_path(path).unwrap()).attempt;
        let about = || {
            let lines = stored.iter().filter(|it| it.payload.contains(path.as_str()));
            lines.map(|it| format!("{:>9} {}\n", it.at_ms, it.payload)).collect::<String>()
        };
        assert!(is_over || row.task.attempt != attempt, "{row:?} is on the board\n{}", about());
    }
    loaded.state
}

/// No effect has two results in the log, no attempt ends twice, and epochs only rise.
fn one_result_each(stored: &[StoredRecord]) {
    let mut answered: BTreeSet<EffectId> = BTreeSet::new();
    let mut started: BTreeSet<(String, u32)> = BTreeSet::new();
    let mut epoch = 0;
    let mut last: Option<EffectId> = None;
    for stored in stored {
        match decode(stored).unwrap() {
            Record::Input(input) => {
                // An outcome that was not refused is the only one of its effect.
                if let Some(effect) = last.take() {
                    assert!(answered.insert(effect.clone()), "{effect:?} has two results");
                }
                match input.body {
                    InputBody::Outcome(outcome) => last = Some(outcome.effect),
                    InputBody::Adopted(adopted) => {
                        assert!(adopted.epoch > epoch, "epoch {} after {epoch}", adopted.epoch);
                        epoch = adopted.epoch;
                    }
                    _ => {}
                }
            }
            Record::Decision(Decision::Refused { .. }) => last = None,
            Record::Decision(Decision::Started { path, generation, .. }) => {
                assert!(started.insert((path.to_string(), generation)), "{path} started twice as {generation}");
            }
            Record::Decision(_) => {}
        }
    }
}
