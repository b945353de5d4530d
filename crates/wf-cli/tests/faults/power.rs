//! The power goes: from a trace of everything that was written, the disk is rebuilt as it may have been at some moment,
//! without some of what was not made durable. What had been acknowledged by then is there, and the run goes on to the end
//! of an undisturbed one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::cases::{Chance, Harness, Pool, form, variable};
use crate::disk::{Disk, LOSSES};
use crate::ledger;
use crate::scene::{Scene, to_end};
use crate::slots;
use crate::state::{Whole, runs, to_the_end};
use crate::strace;
use crate::trace::{Done, Event, TRACED, events};
use crate::work::POWER;

const HARNESS: Harness = Harness("power::lost_under_strace");
/// How many states are rebuilt from one recording. No two recordings are alike.
const STATES_OF_ONE: usize = 100;
/// Names a recording that was kept because one of its states failed.
const KEPT: &str = "WHALEFLOW_FAULT_RECORDING";

/// A run that was recorded.
struct Recording {
    scene: Scene,
    whole: Whole,
    /// What strace wrote, one text for each program.
    texts: Vec<String>,
    events: Vec<Event>,
    /// The whole log of the run.
    records: Vec<Value>,
    run: String,
    acks: Vec<Ack>,
    states: AtomicUsize,
}

/// Something that somebody outside knew after so many events.
#[derive(Debug)]
struct Ack {
    after: usize,
    what: Known,
}

#[derive(Debug, PartialEq, Eq)]
enum Known {
    /// There is a run.
    Begun,
    /// An instance has ended.
    Ended(String),
    /// A leaf was ordered: it runs.
    Ordered(String),
    /// A gate waits.
    Opened(String),
    /// A gate was decided, and the decision taken down.
    Decided(String),
}

#[test]
fn lost_under_strace() {
    let recordings = Pool::new();
    HARNESS.each(0..form(50, 2_000), |number| {
        let kept = variable(KEPT).map(|dir| Recording::load(Path::new(&dir)));
        let recording = kept.unwrap_or_else(|| recordings.take(Recording::make));
        let shown = Shown(&recording);
        rebuild(&recording, &mut HARNESS.chance(number));
        std::mem::forget(shown);
        if recording.states.fetch_add(1, Ordering::Relaxed) < STATES_OF_ONE {
            recordings.give(recording);
        }
    });
}

/// Keeps a recording whose state failed, and says where it is.
struct Shown<'a>(&'a Recording);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        eprintln!("the recording is kept; add {KEPT}={} to the command below", self.0.keep().display());
    }
}

/// Rebuilds the disk as it may have been at some moment, and lets the run go on there.
fn rebuild(recording: &Recording, chance: &mut Chance) {
    let Recording { scene, whole, events, .. } = recording;
    let moment = match recording.acks.is_empty() || chance.percent(50) {
        true => usize::try_from(chance.below(events.len() as u64 + 1)).unwrap(),
        // Just after somebody was told something.
        false => recording.acks[usize::try_from(chance.below(recording.acks.len() as u64)).unwrap()].after,
    };
    let loss = chance.pick(&LOSSES);
    scene.clear();
    Disk::after(&scene.home(), umask(), &events[..moment]).write(loss, chance);
    write_ledger(scene, &events[..moment]);
    start_machine_again(scene);
    let known = || recording.acks.iter().filter(|ack| ack.after <= moment);
    println!("after event {moment} of {}, {loss:?} lost, {} things acknowledged", events.len(), known().count());
    let verified = scene.run(&["verify", "--json"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let is_there = runs(scene).iter().any(|run| run["run_id"] == *recording.run);
    assert!(is_there || known().next().is_none(), "the run is gone");
    if is_there {
        let log = scene.run(&["logs", &recording.run, "--raw"]);
        let records = ledger::records(&log.out);
        assert_eq!(records, recording.records[..records.len()], "another log than the one that was written");
        for ack in known() {
            assert!(ack.what.is_in(&records), "{ack:?} is lost; the log has {} records", records.len());
        }
    }
    if known().any(|ack| ack.what == Known::Decided("gate".to_owned())) {
        let resumed = scene.run(&["resume", &recording.run, "--json"]);
        assert!(matches!(resumed.code, Some(0 | 5)), "{resumed:?}");
        let shown = scene.run(&["show", &recording.run, "--json"]).ok();
        let mut instances = shown["instances"].as_array().unwrap().iter();
        let gate = instances.find(|instance| instance["path"] == "gate").unwrap();
        assert_eq!(gate["status"], "succeeded", "the decision is lost");
    }
    let summary = to_the_end(scene);
    whole.check(scene, &summary);
}

/// What commands had told by then. The ledger is part of the world and not of the disk.
fn write_ledger(scene: &Scene, events: &[Event]) {
    let mut told = Vec::new();
    for event in events {
        if let Done::Wrote { path, bytes, .. } = &event.done
            && *path == scene.ledger()
        {
            told.extend_from_slice(bytes);
        }
    }
    std::fs::write(scene.ledger(), told).unwrap();
}

/// Rows of trees say in which start of the machine they were filled. This machine goes on, so another one is written there.
fn start_machine_again(scene: &Scene) {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot = boot.trim();
    slots::change_all(scene, |used| used.boot = used.boot.replace(boot, "00000000-0000-0000-0000-000000000000"));
}

fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(mask.trim(), 8).unwrap()
}

impl Recording {
    /// Records a run and the decision that it waits for.
    fn make() -> Self {
        let scene = Scene::new(&POWER);
        let whole = Whole::of(&scene);
        let decide = ["approve", "@last", "gate"].map(str::to_owned).to_vec();
        let texts = [(scene.start_args(), 5), (decide, 0)].map(|(args, code)| {
            let log = scene.beside("strace");
            let ran = to_end(&mut strace::everything(&scene, TRACED, &log, &args));
            assert_eq!(ran.code, Some(code), "{ran:?}");
            std::fs::read_to_string(log).unwrap()
        });
        let run = runs(&scene)[0]["run_id"].as_str().unwrap().to_owned();
        let records = ledger::records(&scene.run(&["logs", &run, "--raw"]).out);
        Self::of(scene, whole, texts.to_vec(), records, run)
    }

    fn of(scene: Scene, whole: Whole, texts: Vec<String>, records: Vec<Value>, run: String) -> Self {
        let mut all: Vec<Event> = Vec::new();
        for text in &texts {
            let before = all.len();
            let more = events(text, &scene.dir());
            all.extend(more.into_iter().map(|event| Event { begun: event.begun + before, ..event }));
        }
        let acks = acks(&scene, &all);
        assert!(acks.len() > 15, "{acks:?}");
        Self { scene, whole, texts, events: all, records, run, acks, states: AtomicUsize::new(0) }
    }

    /// Writes all that is needed to load it again.
    fn keep(&self) -> PathBuf {
        let dir = tempfile::Builder::new().prefix("recording-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap().keep();
        for (at, text) in self.texts.iter().enumerate() {
            std::fs::write(dir.join(format!("strace.{at}")), text).unwrap();
        }
        let facts = serde_json::json!({
            "root": self.scene.root(), "whole": self.whole.summary, "records": self.records, "run": self.run,
        });
        std::fs::write(dir.join("facts.json"), facts.to_string()).unwrap();
        dir
    }

    fn load(dir: &Path) -> Self {
        let facts: Value = serde_json::from_str(&std::fs::read_to_string(dir.join("facts.json")).unwrap()).unwrap();
        let scene = Scene::at(&POWER, Path::new(facts["root"].as_str().unwrap()));
        let texts = (0..).map_while(|at| std::fs::read_to_string(dir.join(format!("strace.{at}"))).ok()).collect();
        let records = facts["records"].as_array().unwrap().clone();
        let whole = Whole::of_summary(facts["whole"].clone());
        Self::of(scene, whole, texts, records, facts["run"].as_str().unwrap().to_owned())
    }
}

/// What was told to somebody outside: lines of the program, and lines of commands that run.
fn acks(scene: &Scene, events: &[Event]) -> Vec<Ack> {
    let mut acks = Vec::new();
    for (at, event) in events.iter().enumerate() {
        let known: Vec<Known> = match &event.done {
            Done::Said { text } => text.lines().filter_map(said).collect(),
            Done::Wrote { path, bytes, .. } if *path == scene.ledger() => {
                let text = String::from_utf8_lossy(bytes);
                text.lines().map(|line| Known::Ordered(line.split_once(' ').unwrap().1.to_owned())).collect()
            }
            _ => Vec::new(),
        };
        acks.extend(known.into_iter().map(|what| Ack { after: at + 1, what }));
    }
    acks
}

/// What a line of the program's says: `run X of power`, `12ms  1/3  find succeeded (11ms)`, `gate of run X is approved`.
fn said(line: &str) -> Option<Known> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["run", _, "of", _] => Some(Known::Begun),
        [path, "of", "run", _, "is", "approved"] => Some(Known::Decided(path.to_owned())),
        [_, done, path, "waits", "for", "a", "decision"] if done.contains('/') => Some(Known::Opened(path.to_owned())),
        [_, done, path, "succeeded", ..] if done.contains('/') && path != "run" => Some(Known::Ended(path.to_owned())),
        _ => None,
    }
}

impl Known {
    fn is_in(&self, records: &[Value]) -> bool {
        let any = |is: &dyn Fn(&Value) -> bool| records.iter().any(|record| is(&record["payload"]));
        match self {
            Self::Begun => any(&|payload| payload["run_started"].is_object()),
            Self::Ended(path) => any(&|payload| payload["ended"]["path"] == **path),
            Self::Ordered(path) => any(&|payload| payload["started"]["path"] == **path),
            Self::Opened(path) => any(&|payload| payload["gate_opened"]["path"] == **path),
            // It may still be in the inbox; that is looked at below.
            Self::Decided(_) => true,
        }
    }
}
