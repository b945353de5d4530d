//! Many workers on one run: every task is performed once, every worker gets some, and one that stood still for longer
//! than its claims last has no say any more.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cases::{Harness, form, is_long};
use crate::ledger;
use crate::scene::{Scene, patiently, to_end};
use crate::state::list;
use crate::work::{STALE, WIDE};

/// Processes, and tasks that each performs at once.
const WORKERS: usize = 8;
const SLOTS: usize = 8;
/// The longest that a claim may take for 99 of 100.
const CLAIM_US_P99_MAX: u64 = 500_000;
/// How long a claim lasts without a sign of life, and how soon after that somebody else begins.
const LEASE_MS: i64 = 10_000;
const TAKEN_UP_MS: i64 = 1_000;
/// What a busy machine may add to that. How long it takes where nothing is busy is tested in virtual time.
const GRACE_MS: i64 = 10_000;
/// Between two looks at what other processes bring about, and how many there are at most.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS_MAX: u32 = 2_400;

const SHARED: Harness = Harness("fleet::tasks_are_shared_and_done_once");
const STOPPED: Harness = Harness("fleet::stopped_workers_are_refused");

#[test]
fn tasks_are_shared_and_done_once() {
    let (asks, commands) = form((900, 100), (9_500, 500));
    SHARED.each_alone(0..form(1, 20), |number| {
        let scene = Scene::new(&WIDE);
        let workers: Vec<Child> = (0..WORKERS).map(|_| worker(&scene, SLOTS)).collect();
        until("all workers are there", || living_workers(&scene) == WORKERS);
        let run = run_by_workers(&scene, &[("asks", asks), ("runs", commands)], number);
        let ended = patiently(run, "the run", Child::wait_with_output);
        let summary: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(
            (&summary["status"], &summary["outputs"]["count"]),
            (&"succeeded".into(), &(asks + commands).into()),
            "{summary:#}"
        );
        let reports: Vec<Value> = workers.into_iter().map(dismiss).collect();
        check_done_once(&scene, summary["run_id"].as_str().unwrap(), asks, commands);
        check_reports(&reports, asks + commands);
    });
}

/// Every worker and every slot of it had work, nothing was refused, and in the long form claims were quick.
fn check_reports(reports: &[Value], tasks: u64) {
    let sum = |field: &str| reports.iter().map(|report| report[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("claimed"), sum("reported"), sum("refused")), (tasks, tasks, 0), "{reports:#?}");
    for report in reports {
        let slots: Vec<u64> = report["by_slot"].as_array().unwrap().iter().map(|it| it.as_u64().unwrap()).collect();
        assert!(slots.len() == SLOTS && slots.iter().all(|count| *count > 0), "a slot had nothing to do: {report}");
        // How long they take says something on a machine that does nothing else, which is where the long form is for.
        let is_quick = report["claim_us_p99"].as_u64().unwrap() <= CLAIM_US_P99_MAX;
        assert!(is_quick || !is_long(), "claims took long: {report}");
    }
    let longest = reports.iter().map(|report| report["claim_us_p99"].as_u64().unwrap()).max();
    println!("99 of 100 claims took at most {} ms", longest.unwrap() / 1_000);
}

/// Commands wrote one line each to the ledger, asks one to their trace; and nobody was asked twice.
fn check_done_once(scene: &Scene, run: &str, asks: u64, commands: u64) {
    let told = ledger::told(scene);
    assert_eq!(told.len() as u64, commands);
    let twice: Vec<_> = told.iter().filter(|(_, times)| times.len() != 1).collect();
    assert!(twice.is_empty(), "performed more than once: {twice:?}");
    let mut performed = Vec::new();
    for project in list(&scene.home().join("projects")) {
        for trace in list(&project.join("store/traces").join(run)) {
            performed.push(std::fs::read_to_string(trace).unwrap().matches("performed").count());
        }
    }
    performed.retain(|count| *count > 0);
    assert_eq!((performed.len() as u64, performed.iter().max()), (asks, Some(&1)), "asks that were performed");
    let log = scene.run(&["logs", run, "--raw"]);
    ledger::check(&told, &ledger::Ran::of(&ledger::records(&log.out)));
    assert_eq!(scene.run(&["verify", "--json"]).code, Some(0));
    assert_eq!(scene.run(&["replay", run, "--json"]).ok()["equal"], true);
}

#[test]
fn stopped_workers_are_refused() {
    let (at_once, wanted) = (21, form(20, 1_000));
    let rounds = wanted / (at_once - 1);
    STOPPED.each(0..rounds, |number| {
        let scene = Scene::new(&STALE);
        let run = run_by_workers(&scene, &[("count", at_once)], number);
        let mut workers: Vec<Child> = (0..at_once).map(|_| worker(&scene, 1)).collect();
        until("every worker has begun a task", || begun(&scene) == at_once);
        // One dies, the others stand still; what they had started goes on.
        let stopped_at = now_ms(&scene);
        let mut dead = workers.pop().unwrap();
        dead.kill().unwrap();
        dead.wait().unwrap();
        workers.iter().for_each(stop);
        let fresh = worker(&scene, usize::try_from(at_once).unwrap());
        until("every task has begun again", || begun(&scene) == 2 * at_once);
        check_taken_up(&scene, stopped_at);
        // Half of the tasks are over by now and the others under way when those who lost them come back.
        std::fs::write(scene.beside("ledger.first"), "").unwrap();
        workers.iter().for_each(|worker| send(worker, Signal::CONT));
        until("the stopped have seen that they lost their tasks", || {
            workers_of(&scene).iter().filter(|worker| worker["state"] == "alive" && worker["busy"] == 0).count()
                == workers.len()
        });
        for report in workers.into_iter().map(dismiss) {
            let counts = ["claimed", "reported", "refused"].map(|field| report[field].as_u64().unwrap());
            assert_eq!(counts, [1, 0, 1], "{report}");
        }
        std::fs::write(scene.beside("ledger.second"), "").unwrap();
        let ended = patiently(run, "the run", Child::wait_with_output);
        let summary: Value = serde_json::from_slice(&ended.stdout).unwrap();
        // What the stopped had to say was a failure.
        assert_eq!((&summary["status"], &summary["outputs"]["count"]), (&"succeeded".into(), &at_once.into()));
        assert_eq!(dismiss(fresh)["reported"], at_once);
        let run = summary["run_id"].as_str().unwrap();
        assert_eq!(scene.run(&["verify", "--json"]).code, Some(0));
        assert_eq!(scene.run(&["replay", run, "--json"]).ok()["equal"], true);
    });
}

/// Nobody waited longer for the task of one that was gone than its claim lasted, and a second.
fn check_taken_up(scene: &Scene, since: i64) {
    let again: BTreeMap<String, i64> =
        ledger::told(scene).into_iter().map(|(path, times)| (path, *times.iter().max().unwrap() - since)).collect();
    let longest = again.values().max().unwrap();
    println!("tasks were taken up again within {longest} ms");
    assert!(*longest <= LEASE_MS + TAKEN_UP_MS + GRACE_MS, "{again:?}");
}

/// How often commands began.
fn begun(scene: &Scene) -> u64 {
    ledger::told(scene).values().map(|times| times.len() as u64).sum()
}

fn worker(scene: &Scene, slots: usize) -> Child {
    let mut command = scene.program(&["worker", "--json", "--slots", &slots.to_string()]);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// A run whose owner performs nothing itself.
fn run_by_workers(scene: &Scene, inputs: &[(&str, u64)], seed: u64) -> Child {
    let mut args = scene.start_json();
    args.extend(["--slots".to_owned(), "0".to_owned(), "--seed".to_owned(), seed.to_string()]);
    args.extend(inputs.iter().flat_map(|(name, value)| ["-i".to_owned(), format!("{name}={value}")]));
    scene.program(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Ends a worker in good order, and gives its report.
fn dismiss(worker: Child) -> Value {
    send(&worker, Signal::INT);
    let ended = patiently(worker, "a worker", Child::wait_with_output);
    assert!(ended.status.success(), "{ended:?}");
    serde_json::from_slice(&ended.stdout).unwrap()
}

fn send(process: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap(), signal).unwrap();
}

/// Stops a process, but not while it writes to the store: nobody else could write until it went on or was killed.
fn stop(process: &Child) {
    until("a process has stopped outside of a transaction", || {
        send(process, Signal::STOP);
        let status = format!("/proc/{}/status", process.id());
        until("a process has stopped", || {
            std::fs::read_to_string(&status).unwrap().lines().any(|line| line.starts_with("State:\tT"))
        });
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let is_writing = locks.lines().any(|lock| lock.contains(&format!(" POSIX  ADVISORY  WRITE {} ", process.id())));
        if is_writing {
            send(process, Signal::CONT);
        }
        !is_writing
    });
}

fn workers_of(scene: &Scene) -> Vec<Value> {
    scene.run(&["fleet", "workers", "--json"]).ok()["workers"].as_array().unwrap().clone()
}

fn living_workers(scene: &Scene) -> usize {
    workers_of(scene).iter().filter(|worker| worker["state"] == "alive").count()
}

/// The time, as commands tell it.
fn now_ms(scene: &Scene) -> i64 {
    to_end(&mut scene.command("date", &["+%s%3N"])).out.trim().parse().unwrap()
}

/// Waits until something holds that other processes bring about.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if holds() {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    panic!("waited in vain until {what}");
}
