//! How soon the owner of a run takes commands from other processes in, by the times in the store: of one that has much to
//! do, and of one that only waits.

use std::time::Duration;

use serde_json::Value;
use wf_store::{Message, PageLimit, RunId, Seq, SqliteOptions, Store, StoredRecord};

use crate::place::Place;

/// Half of all commands are taken in within this, after they were posted.
const TAKEN_MS: i64 = 200;
/// A cancelled run has ended within this.
const CANCELLED_MS: i64 = 5_000;
/// How many commands are given at a time, and how often that is tried: the machine may stand still now and then.
const COMMANDS: usize = 15;
const ROUNDS: usize = 3;

/// A run that does not end by itself, and has many other things to do.
const BUSY: &str = r#"
workflow(
    "busy",
    fixture = "fx",
    permissions = permissions(commands = ["sh"]),
    children = [
        parallel("work", width = 2, children = [
            command("hold", argv = ["sh", "-c", "sleep 1000 & setsid sleep 1000 & wait"]),
            expand("each", over = "range(6000)", width = 64, max_children = 6000, children = [
                ask("say", prompt = "{{ each.item }}"),
            ]),
        ]),
    ],
)
"#;

/// The inbox and the log of a run.
async fn stored(place: &Place, run: &RunId) -> (Vec<Message>, Vec<StoredRecord>) {
    let project = std::fs::read_dir(place.home().join("projects")).unwrap().next().unwrap().unwrap().path();
    let store = Store::open_sqlite(&project.join("store"), SqliteOptions::default()).unwrap();
    let messages = store.inbox.inbox(run, 0, 1_000).await.unwrap();
    let all = PageLimit { records_max: usize::MAX, bytes_max: usize::MAX };
    let log = store.log.read(run, Seq::START, all).await.unwrap();
    store.close().await;
    (messages, log)
}

/// A run that does not end by itself, and has nothing else to do.
const IDLE: &str = r#"
workflow(
    "idle",
    fixture = "fx",
    permissions = permissions(commands = ["sh"]),
    children = [command("hold", argv = ["sh", "-c", "sleep 1000 & setsid sleep 1000 & wait"])],
)
"#;

/// What a message or a record commands.
fn commanded(text: &str) -> Option<Value> {
    serde_json::from_str::<Value>(text).unwrap().get("command").cloned()
}

/// For each of the last `count` commands, how long it took from its posting until it was taken in.
async fn delays(place: &Place, run: &RunId, count: usize) -> Vec<i64> {
    let (messages, log) = stored(place, run).await;
    let posted: Vec<(Value, i64)> =
        messages.iter().filter_map(|it| Some((commanded(&it.message)?, it.at_ms))).collect();
    let taken: Vec<(Value, i64)> = log.iter().filter_map(|it| Some((commanded(&it.payload)?, it.at_ms))).collect();
    assert_eq!(posted.len(), taken.len());
    let both = posted.iter().zip(&taken).rev().take(count);
    let mut delays: Vec<i64> = both
        .map(|((posted, posted_ms), (taken, taken_ms))| {
            assert_eq!(posted, taken);
            taken_ms - posted_ms
        })
        .collect();
    delays.sort_unstable();
    delays
}

#[tokio::test]
async fn commands_are_taken_in_while_a_run_is_busy() {
    check_commands(BUSY).await;
}

#[tokio::test]
async fn commands_are_taken_in_while_a_run_only_waits() {
    check_commands(IDLE).await;
}

#[expect(clippy::print_stdout, reason = "a test says what it measured")]
async fn check_commands(workflow: &str) {
    let place = Place::new();
    place.write("fx/a.txt", "a\n");
    place.write("it.star", workflow);
    let (mut owner, _) = place.start(&["run", "it.star", "--json"]);
    let run = loop {
        let runs = place.run(&["ps", "--live", "--json"]).ok();
        if let Some(run) = runs["runs"][0]["run_id"].as_str() {
            break RunId::parse(run).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut medians = Vec::new();
    while medians.len() < ROUNDS && medians.last().is_none_or(|median| *median > TAKEN_MS) {
        for number in 0..COMMANDS {
            let name = format!("{}-{number}", medians.len());
            assert_eq!(place.run(&["signal", run.as_str(), &name, "--json"]).ok()["accepted"], true);
        }
        medians.push(delays(&place, &run, COMMANDS).await[COMMANDS / 2]);
    }
    assert_eq!(place.run(&["cancel", run.as_str(), "--json"]).ok()["accepted"], true);
    assert_eq!(owner.wait().unwrap().code(), Some(1));
    let (messages, log) = stored(&place, &run).await;
    let ended_ms = log.last().unwrap().at_ms - messages.last().unwrap().at_ms;
    println!("{} records; taken in after {medians:?} ms, cancelled after {ended_ms} ms", log.len());
    assert!(*medians.last().unwrap() <= TAKEN_MS, "taken in after {medians:?} ms");
    assert!(ended_ms <= CANCELLED_MS, "cancelled after {ended_ms} ms");
}
