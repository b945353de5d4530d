//! A run that is killed again and again, at random moments, comes to the same end as one that is left alone; no leaf runs
//! again that had ended, and nothing is left behind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cases::{Chance, Harness, Pool, form};
use crate::ledger;
use crate::scene::{Scene, patiently};
use crate::state::{Whole, runs, to_the_end};
use crate::work::{BRANCHES, MANY, Work};

const LEAVES: Harness = Harness("kills::killed_at_random_moments");
const TREES: Harness = Harness("kills::killed_while_trees_come_and_go");
/// How often one run is killed.
const KILLS_OF_ONE: u64 = 10;
/// How long a program takes before it does anything, at most, where nothing else is known.
const START_MS: u64 = 150;

#[test]
fn killed_at_random_moments() {
    kill(&LEAVES, &MANY, form(50, 1_000));
}

/// Little else happens here than that trees are made, committed, reset and removed.
#[test]
fn killed_while_trees_come_and_go() {
    kill(&TREES, &BRANCHES, form(20, 200));
}

fn kill(harness: &Harness, work: &'static Work, kills_wanted: u64) {
    let kills = AtomicU64::new(0);
    let scenes = Pool::new();
    harness.until(
        0..kills_wanted,
        || kills.load(Ordering::Relaxed) >= kills_wanted,
        |number| {
            let (scene, whole) = scenes.take(|| {
                let scene = Scene::new(work);
                let whole = Whole::of(&scene);
                (scene, whole)
            });
            scene.clear();
            kills.fetch_add(kill_one_run(&scene, &whole, harness.chance(number)), Ordering::Relaxed);
            scenes.give((scene, whole));
        },
    );
    let kills = kills.into_inner();
    println!("{kills} kills hit a run");
    assert!(crate::cases::is_one() || kills >= kills_wanted, "only {kills} kills hit a run");
}

/// Kills a run until it has ended, and says how often that hit.
fn kill_one_run(scene: &Scene, whole: &Whole, mut chance: Chance) -> u64 {
    // A process that lives so long on average is killed several times in one run.
    let span_us = (whole.summary["duration_ms"].as_u64().unwrap() * 2 / KILLS_OF_ONE + 2 * START_MS) * 1_000;
    let mut kills = 0;
    let mut args = scene.start_json();
    for _ in 0..KILLS_OF_ONE {
        let mut child = scene
            .program(&args)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(chance.below(span_us)));
        child.kill().unwrap();
        let status = patiently(child, "a program that was killed", |mut child| child.wait());
        kills += u64::from(status.code().is_none());
        let begun = runs(scene);
        let Some(run) = begun.first() else { continue };
        if run["status"] == "succeeded" {
            break;
        }
        args = ["resume", run["run_id"].as_str().unwrap(), "--json"].map(str::to_owned).to_vec();
    }
    let summary = to_the_end(scene);
    whole.check(scene, &summary);
    assert_eq!(ledger::told(scene).len(), scene.work().told);
    kills
}
