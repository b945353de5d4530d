//! A run that is killed just before a call that changes the disk, at every such call, comes to the same end as one that
//! is left alone.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cases::{Harness, Pool, form};
use crate::scene::Scene;
use crate::state::{Whole, runs, to_the_end};
use crate::strace::{self, Calls};
use crate::work::TEN;

const HARNESS: Harness = Harness("points::killed_before_each_change_under_strace");

/// What changes the disk.
const CHANGES: Calls = Calls(&[
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "ftruncate",
    "mkdir",
    "linkat",
]);

#[test]
fn killed_before_each_change_under_strace() {
    let scenes = Pool::new();
    let ready = || {
        let scene = Scene::new(&TEN);
        let whole = Whole::of(&scene);
        (scene, whole)
    };
    let (scene, whole) = ready();
    let (ran, calls) = strace::run(&scene, &CHANGES.0.join(","), &[], &scene.start_json());
    whole.check(&scene, &ran.ok());
    scenes.give((scene, whole));
    let points = CHANGES.points(&calls);
    assert!(points.len() > 100, "{points:?}");
    println!("{} points", points.len());
    let numbers = points.iter().map(|point| CHANGES.number(*point)).step_by(form(20, 1));
    let (cases, kills) = (AtomicU64::new(0), AtomicU64::new(0));
    HARNESS.each(numbers, |number| {
        let (scene, whole) = scenes.take(ready);
        scene.clear();
        cases.fetch_add(1, Ordering::Relaxed);
        kills.fetch_add(u64::from(kill_at(&scene, &whole, number)), Ordering::Relaxed);
        scenes.give((scene, whole));
    });
    // Threads do not always do the same, so that a point may be missed; but not many.
    let (cases, kills) = (cases.into_inner(), kills.into_inner());
    println!("{kills} of {cases} points were passed again and killed there");
    assert!(kills * 10 >= cases * 8, "only {kills} of {cases}");
}

/// Kills a run at a point, then its resume at the same one, and lets it go on to its end. Says whether the first hit.
fn kill_at(scene: &Scene, whole: &Whole, number: u64) -> bool {
    let point = CHANGES.point(number);
    let inject = format!("inject={}:signal=KILL:when={}", point.name, point.count);
    let names = CHANGES.0.join(",");
    let (ran, _) = strace::run(scene, &names, &["-e", &inject], &scene.start_json());
    assert!(matches!(ran.code, None | Some(0)), "{point:?}: {ran:?}");
    let is_killed = ran.code.is_none();
    if let Some(run) = runs(scene).first().filter(|run| run["status"] != "succeeded") {
        let args = ["resume", run["run_id"].as_str().unwrap(), "--json"].map(str::to_owned);
        let (ran, _) = strace::run(scene, &names, &["-e", &inject], &args);
        assert!(matches!(ran.code, None | Some(0 | 5)), "{point:?}: {ran:?}");
    }
    let summary = to_the_end(scene);
    whole.check(scene, &summary);
    is_killed
}
