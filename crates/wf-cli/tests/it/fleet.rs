//! Workers and the board: tasks performed by other processes, lost ones, steering, and what is done to all runs at once.

use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};

use crate::place::Place;

/// How often it is looked for what another process brings about: a minute or more.
const LOOKS_MAX: u32 = 3_000;

/// Commands that say that they began, wait for a file, and say that they ended.
const GATED: &str = r#"
workflow(
    "gated",
    fixture = "fx",
    permissions = permissions(commands = ["sh"]),
    inputs = {"dir": input(type = "string")},
    children = [
        expand("each", over = "range(4)", width = 4, max_children = 4, children = [
            command(
                "go",
                argv = ["sh", "-c", "echo {{ each.index }} >> {{ inputs.dir }}/begun; until [ -e {{ inputs.dir }}/gate ]; do sleep 0.02; done; echo {{ each.index }} >> {{ inputs.dir }}/done"],
                repeatable = REPEATABLE,
            ),
        ]),
    ],
)
"#;

struct Fleet {
    place: Place,
    side: PathBuf,
}

impl Fleet {
    fn new(is_repeatable: bool) -> Self {
        let place = Place::new();
        place.write("fx/a.txt", "a\n");
        place.write("gated.star", &GATED.replace("REPEATABLE", if is_repeatable { "True" } else { "False" }));
        let side = place.beside("side");
        Self { place, side }
    }

    fn input(&self) -> String {
        format!("dir={}", self.side.display())
    }

    /// Begins the run, which leaves everything to workers.
    fn begin(&self, flags: &[&str]) -> Child {
        let input = self.input();
        let args =
            ["run", "gated.star", "--sandbox=off", "--json", "-i", &input].into_iter().chain(flags.iter().copied());
        self.place.start(&args.collect::<Vec<_>>()).0
    }

    fn worker(&self, flags: &[&str]) -> Child {
        self.place.start(&["worker", "--json"].into_iter().chain(flags.iter().copied()).collect::<Vec<_>>()).0
    }

    /// The lines of a file beside, sorted.
    fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.side.join(name)).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn open_gate(&self) {
        std::fs::write(self.side.join("gate"), "").unwrap();
    }

    fn tasks(&self) -> Vec<Value> {
        // There is no run before it has begun.
        let view = self.place.run(&["fleet", "tasks", "@last", "--all", "--json"]).json();
        view["tasks"].as_array().cloned().unwrap_or_default()
    }

    fn status(&self) -> String {
        let view = self.place.run(&["show", "@last", "--json"]).ok();
        view["status"].as_str().unwrap().to_owned()
    }
}

/// Waits until something holds that other processes bring about.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited in vain until {what}");
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn words(tasks: &[Value], field: &str) -> Vec<String> {
    tasks.iter().map(|task| task[field].as_str().unwrap_or("-").to_owned()).collect()
}

#[test]
fn workers_perform_what_the_owner_has_no_slot_for() {
    let fleet = Fleet::new(true);
    let mut run = fleet.begin(&["--slots", "1"]);
    until("one task is claimed and three wait", || {
        let mut statuses = words(&fleet.tasks(), "status");
        statuses.sort();
        statuses == ["claimed", "pending", "pending", "pending"]
    });
    let tasks = fleet.tasks();
    let pending = tasks.iter().find(|task| task["status"] == "pending").unwrap()["path"].as_str().unwrap();
    let why = fleet.place.run(&["fleet", "why", pending, "--json"]).ok();
    assert_eq!(why["task"]["waits_for"]["code"], "worker", "{why}");
    assert_eq!(why["task"]["needs"], json!(["command"]));
    assert_eq!(why["because"][0]["message"], format!("{pending} is ordered, and no worker has it"));

    let mut unable = fleet.worker(&["--can", "ask", "--idle", "200ms"]);
    assert!(unable.wait().unwrap().success());
    assert_eq!(words(&fleet.tasks(), "status").iter().filter(|it| *it == "pending").count(), 3, "it can only ask");

    let mut worker = fleet.worker(&["--slots", "2", "--idle", "10s"]);
    until("two more are claimed", || fleet.lines("begun").len() == 3);
    let workers = fleet.place.run(&["fleet", "workers", "--json"]).ok();
    until("the worker is seen at work", || {
        let workers = fleet.place.run(&["fleet", "workers", "--json"]).ok();
        let of = |worker: &Value| (worker["state"].clone(), worker["busy"].clone(), worker["slots"].clone());
        let found: Vec<_> = workers["workers"].as_array().unwrap().iter().map(of).collect();
        found == [(json!("alive"), json!(2), json!(2))]
    });
    assert_eq!(workers["version"], 1);
    fleet.open_gate();
    assert!(run.wait().unwrap().success());
    kill(&mut worker);
    assert_eq!(fleet.lines("done"), ["0", "1", "2", "3"]);
    assert_eq!(words(&fleet.tasks(), "status"), ["done"; 4]);
    assert_eq!(fleet.place.run(&["replay", "@last", "--json"]).ok()["equal"], true);
}

#[test]
fn the_tasks_of_a_dead_worker_go_to_another() {
    let fleet = Fleet::new(true);
    let mut run = fleet.begin(&["--slots", "0"]);
    let mut first = fleet.worker(&["--slots", "4"]);
    until("all are claimed", || fleet.lines("begun").len() == 4);
    kill(&mut first);
    let mut second = fleet.worker(&["--slots", "4", "--idle", "30s"]);
    until("all have begun again", || fleet.lines("begun").len() == 8);
    fleet.open_gate();
    assert!(run.wait().unwrap().success());
    kill(&mut second);
    let logs = fleet.place.run(&["logs", "@last"]).out;
    assert_eq!(logs.matches("is gone, with 4 tasks under way").count(), 1, "{logs}");
    assert!(words(&fleet.tasks(), "status").iter().all(|it| it == "done"));
}

#[test]
fn what_a_dead_worker_may_not_repeat_waits_for_a_person() {
    let fleet = Fleet::new(false);
    let mut run = fleet.begin(&["--slots", "0"]);
    let mut worker = fleet.worker(&["--slots", "4"]);
    until("all are claimed", || fleet.lines("begun").len() == 4);
    kill(&mut worker);
    assert_eq!(run.wait().unwrap().code(), Some(5));
    let tasks = fleet.tasks();
    assert_eq!(words(&tasks, "status"), ["blocked"; 4]);
    assert_eq!(tasks[0]["waits_for"]["code"], "decision");
    assert_eq!(fleet.lines("begun").len(), 4, "nothing was done twice");
}

#[test]
fn a_worker_outlives_the_owner() {
    let fleet = Fleet::new(false);
    let mut run = fleet.begin(&["--slots", "0"]);
    let mut worker = fleet.worker(&["--slots", "4", "--idle", "60s"]);
    until("all are claimed", || fleet.lines("begun").len() == 4);
    let next = || fleet.place.run(&["report", "@last", "--json"]).ok()["next"][0]["command"].clone();
    assert!(next().as_str().unwrap().starts_with("whaleflow attach "), "{}", next());
    kill(&mut run);
    assert!(next().as_str().unwrap().starts_with("whaleflow resume "), "{}", next());
    fleet.open_gate();
    until("all have ended", || fleet.lines("done").len() == 4);
    let resumed = fleet.place.run(&["resume", "@last", "--json"]);
    assert_eq!((resumed.code, resumed.json()["status"].as_str()), (0, Some("succeeded")), "{resumed:?}");
    kill(&mut worker);
    assert_eq!(fleet.lines("begun").len(), 4, "nothing was done twice");
}

#[test]
fn whoever_follows_a_run_to_resume_it_takes_over_when_its_owner_dies() {
    let fleet = Fleet::new(true);
    let mut run = fleet.begin(&["--slots", "4"]);
    until("all have begun", || fleet.lines("begun").len() == 4);
    let (mut resumed, _) = fleet.place.start(&["resume", "@last", "--json"]);
    // It follows once it has said so to the store; a moment early, it takes the run over by itself.
    until("its owner is dead", || run.kill().is_ok() && run.wait().is_ok());
    until("all have begun again", || fleet.lines("begun").len() == 8);
    fleet.open_gate();
    assert!(resumed.wait().unwrap().success());
    assert_eq!(fleet.status(), "succeeded");
}

#[test]
fn an_agent_is_steered_wherever_it_works() {
    let place = Place::new();
    place.write("fx/a.txt", "a\n");
    place.write(
        "told.star",
        r#"workflow("told", fixture = "fx", children = [agent("a", prompt = "work")], outputs = {"a": "a"})"#,
    );
    place.write("told.mock.toml", "[[rule]]\nuntil_told = true\ntext = \"told {{ told | join(' and ') }}\"\n");
    for slots in ["0", "1"] {
        let (mut run, _) = place.start(&["run", "told.star", "--json", "--slots", slots]);
        let (mut worker, _) = place.start(&["worker", "--json"]);
        until("the agent works", || {
            let ps = place.run(&["ps", "--live", "--json"]).ok();
            let has_run = !ps["runs"].as_array().unwrap().is_empty();
            has_run
                && words(place.run(&["fleet", "tasks", "--json"]).ok()["tasks"].as_array().unwrap(), "status")
                    == ["claimed"]
        });
        let refused = place.run(&["steer", "@last", "a", "", "--json"]);
        assert_eq!((refused.code, refused.json()["code"].as_str()), (10, Some("too_long")));
        assert_eq!(place.run(&["steer", "@last", "a", "mind the gap", "--json"]).ok()["accepted"], true);
        assert!(run.wait().unwrap().success());
        kill(&mut worker);
        assert_eq!(place.run(&["show", "@last", "--json"]).ok()["outputs"], json!({"a": "told mind the gap"}));
    }
}

#[test]
fn a_part_of_a_run_is_paused_and_goes_on() {
    let fleet = Fleet::new(true);
    let run = fleet.begin(&["--slots", "1"]);
    until("one has begun", || fleet.lines("begun").len() == 1);
    let paused = fleet.place.run(&["pause", "@last", "each", "--json"]).ok();
    assert_eq!((&paused["accepted"], &paused["instance"]), (&json!(true), &json!("each")));
    assert_eq!(fleet.place.run(&["pause", "@last", "each[1]/go"]).code, 10);
    fleet.open_gate();
    assert_eq!(fleet.place.run(&["resume", "@last", "each", "--json"]).ok()["accepted"], true);
    let mut run = run;
    assert!(run.wait().unwrap().success());
    assert_eq!(fleet.lines("done"), ["0", "1", "2", "3"]);
}

#[test]
fn all_runs_are_resumed_and_cancelled_at_once() {
    let fleet = Fleet::new(true);
    let mut runs = [fleet.begin(&["--slots", "4"]), fleet.begin(&["--slots", "4"])];
    until("both have begun", || fleet.lines("begun").len() == 8);
    runs.iter_mut().for_each(kill);
    let offered =
        fleet.place.run(&["run", "gated.star", "--sandbox=off", "-i", &fleet.input(), "--slots", "0", "--detach"]);
    assert!(offered.err.contains("2 runs have no process"), "{offered:?}");
    let resumed = fleet.place.run(&["resume", "--all", "--json"]).ok();
    assert_eq!(resumed["commands"].as_array().unwrap().len(), 2, "{resumed}");
    until("both go on", || fleet.lines("begun").len() == 16);
    let cancelled = fleet.place.run(&["cancel", "--all", "--json"]).ok();
    let commands = cancelled["commands"].as_array().unwrap();
    assert_eq!(commands.iter().filter(|it| it["accepted"] == true).count(), 3, "{cancelled}");
    let ps = fleet.place.run(&["ps", "--json"]).ok();
    assert_eq!(words(ps["runs"].as_array().unwrap(), "status"), ["cancelled"; 3]);
    assert_eq!(fleet.lines("done"), [""; 0]);
}

/// A gate that approves itself when nobody else has.
const PATIENT: &str = r#"
workflow("patient", fixture = "fx", children = [
    approve("fine", prompt = "Fine?", timeout = "3s", on_timeout = "approve"),
    ask("say", prompt = "Go on."),
])
"#;

#[test]
fn what_was_due_while_nobody_drove_a_run_happens_once_somebody_does() {
    let place = Place::new();
    place.write("fx/a.txt", "a\n");
    place.write("patient.star", PATIENT);
    let runs = [(), ()].map(|()| {
        let ran = place.run(&["run", "patient.star", "--json"]);
        assert_eq!(ran.code, 5, "{ran:?}");
        ran.json()["run_id"].as_str().unwrap().to_owned()
    });
    let overdue = "no process drives it, and what was due at ";
    let notes = || {
        let runs = place.run(&["ps", "--live", "--json"]).ok()["runs"].as_array().unwrap().clone();
        words(&runs, "note").iter().filter(|note| note.starts_with(overdue)).count()
    };
    until("both are overdue", || notes() == 2);
    let next = place.run(&["report", &runs[0], "--json"]).ok()["next"][0].clone();
    assert!(next["what"].as_str().unwrap().contains(overdue), "{next}");
    assert_eq!(place.run(&["resume", &runs[0], "--json"]).ok()["status"], "succeeded");
    let resumed = place.run(&["resume", "--all", "--json"]).ok();
    assert_eq!(resumed["commands"].as_array().unwrap().len(), 1, "{resumed}");
    assert_eq!(resumed["commands"][0]["accepted"], true, "{resumed}");
    until("nothing is overdue", || notes() == 0);
    assert_eq!(place.run(&["wait", &runs[1], "--json"]).ok()["status"], "succeeded");
}

/// A run that has brought five processes down, one after another.
fn brought_down() -> Fleet {
    let fleet = Fleet::new(true);
    let mut run = fleet.begin(&["--slots", "4"]);
    until("all have begun", || fleet.lines("begun").len() == 4);
    kill(&mut run);
    for death in 1..5 {
        let (mut resumed, _) = fleet.place.start(&["resume", "@last", "--json"]);
        until("all have begun again", || fleet.lines("begun").len() == 4 * (death + 1));
        kill(&mut resumed);
    }
    fleet
}

#[test]
fn a_run_that_brings_its_process_down_is_parked() {
    let fleet = brought_down();
    let parked = fleet.place.run(&["resume", "--all", "--json"]).ok();
    assert_eq!(parked["commands"][0]["accepted"], true, "{parked}");
    until("it is parked", || fleet.status() == "poisoned");
    assert_eq!(fleet.lines("begun").len(), 20, "nothing was begun again");
    let parked = fleet.place.run(&["resume", "--all", "--json"]).ok();
    assert_eq!(parked["commands"][0]["code"], "rests", "{parked}");
    let why = fleet.place.run(&["show", "@last", "--json"]).ok()["reason"].clone();
    assert_eq!(why["code"], "poisoned", "{why}");
    fleet.open_gate();
    let resumed = fleet.place.run(&["resume", "@last", "--json"]);
    assert_eq!((resumed.code, resumed.json()["status"].as_str()), (0, Some("succeeded")), "{resumed:?}");
}

#[test]
fn a_run_that_is_to_be_parked_goes_on_when_somebody_says_so() {
    let fleet = brought_down();
    // Nobody has parked it yet: whoever resumes it does, and lets it go on by the same command.
    let (mut resumed, mut said) = fleet.place.start(&["resume", "@last", "--json"]);
    until("all have begun again", || fleet.lines("begun").len() == 24);
    fleet.open_gate();
    assert!(resumed.wait().unwrap().success());
    let summary: Value = serde_json::from_str(&said.next().unwrap()).unwrap();
    assert_eq!(summary["status"], "succeeded", "{summary}");
    assert_eq!(fleet.lines("done"), ["0", "1", "2", "3"]);
    let log = fleet.place.run(&["logs", "@last", "--raw"]).out;
    let payloads = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["payload"].clone());
    let said: Vec<String> = payloads
        .filter_map(|it| match (&it["suspended"]["cause"], &it["resumed"]) {
            (Value::String(cause), _) => Some(cause.clone()),
            (_, Value::Object(_)) => Some("resumed".to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(said, ["poisoned", "resumed"]);
    assert_eq!(fleet.place.run(&["replay", "@last", "--json"]).ok()["equal"], true);
}

#[test]
fn a_swarm_ends_the_same_whoever_is_faster() {
    let place = Place::new();
    let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../workflows");
    for name in ["swarm.star", "swarm.mock.toml", "fixtures/slug/slug.c"] {
        place.write(name, &std::fs::read_to_string(sources.join(name)).unwrap());
    }
    let (mut worker, _) = place.start(&["worker", "--json"]);
    let digests: Vec<Value> = ["0", "1", "64"]
        .map(|slots| {
            let ran = place.run(&["run", "swarm.star", "--json", "--slots", slots]).ok();
            assert_eq!(ran["outputs"]["count"], 6, "{ran}");
            ran["result_digest"].clone()
        })
        .into();
    kill(&mut worker);
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}
