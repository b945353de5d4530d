//! A call of the system fails, once or from some moment on: the program ends with an error of its own and never with a
//! success that lost something; without the fault, the run then goes on to the end of an undisturbed one.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cases::{Chance, Harness, Pool, form, is_one};
use crate::scene::Scene;
use crate::state::{Whole, no_process_is_left, to_the_end_with_retries};
use crate::strace::{self, Call, Calls, Point};
use crate::work::TEN;

const HARNESS: Harness = Harness("errors::calls_that_fail_under_strace");

/// The calls that are made to fail.
const CALLS: Calls = Calls(&["write", "pwrite64", "fsync", "fdatasync", "openat", "rename", "renameat", "mkdir"]);
/// The classes of errors that a failing disk may lead to, with their exit codes. Neither damage nor a defect is among them.
const CLASSES: [(&str, i32); 3] = [("usage", 2), ("invalid", 3), ("store", 6)];
/// Counts of calls differ a little from run to run; they are rounded up, so that a case stays the same.
const COUNT_STEP: u64 = 16;

/// A fault that is brought about.
#[derive(Clone, Copy, Debug)]
struct Fault {
    point: Point,
    error: &'static str,
    /// Whether everything after it fails too.
    lasts: bool,
}

impl Fault {
    /// One at a point where the undisturbed run touched a file of the scene. What threads do among themselves, and the
    /// way to standard output, are no part of the disk.
    fn of(chance: &mut Chance, names: &[&'static str], points: &[Point]) -> Self {
        let name = chance.pick(names);
        let errors: &[&'static str] = match name {
            "openat" => &["EMFILE", "EMFILE", "EIO", "ENOSPC"],
            _ => &["EIO", "ENOSPC"],
        };
        let most = points.iter().filter(|point| point.name == name).map(|point| point.count).max().unwrap_or(1);
        let bound = if most < COUNT_STEP { most } else { most.next_multiple_of(COUNT_STEP) };
        let point = loop {
            let point = Point { name, count: 1 + chance.below(bound) };
            if points.contains(&point) {
                break point;
            }
        };
        // Pipes and the like are written to as well, and their end is another matter.
        let lasts = name != "write" && chance.percent(40);
        Self { point, error: chance.pick(errors), lasts }
    }

    fn option(&self) -> String {
        let Self { point: Point { name, count }, error, lasts } = self;
        format!("inject={name}:error={error}:when={count}{}", if *lasts { "+" } else { "" })
    }
}

#[test]
fn calls_that_fail_under_strace() {
    let scenes = Pool::new();
    let ready = || {
        let scene = Scene::new(&TEN);
        let whole = Whole::of(&scene);
        (scene, whole)
    };
    let (scene, whole) = ready();
    let (ran, calls) = strace::run(&scene, &CALLS.0.join(","), &[], &scene.start_json());
    whole.check(&scene, &ran.ok());
    let of_scene = |(point, call): (Point, &Call)| is_of(&scene, call).then_some(point);
    let points: Vec<Point> = CALLS.first_at_each(&calls).into_iter().filter_map(of_scene).collect();
    let names: Vec<&'static str> =
        CALLS.0.iter().copied().filter(|name| points.iter().any(|point| point.name == *name)).collect();
    scenes.give((scene, whole));
    let wanted = form(50, 2_000);
    let hits = AtomicU64::new(0);
    HARNESS.until(
        0..wanted * 8,
        || hits.load(Ordering::Relaxed) >= wanted,
        |number| {
            let (scene, whole) = scenes.take(ready);
            scene.clear();
            let fault = Fault::of(&mut HARNESS.chance(number), &names, &points);
            println!("case {number}: {}", fault.option());
            hits.fetch_add(u64::from(fail_at(&scene, &whole, fault)), Ordering::Relaxed);
            scenes.give((scene, whole));
        },
    );
    let hits = hits.into_inner();
    println!("{hits} faults hit a file");
    assert!(is_one() || hits >= wanted, "only {hits} faults hit a file");
}

/// Brings a fault about, and then lets the run go on without it. Says whether it hit one of the scene's files.
fn fail_at(scene: &Scene, whole: &Whole, fault: Fault) -> bool {
    // What is said among threads, or to whoever started the program, is no part of the disk; where it fails, anything may
    // follow. Each thread counts its own calls.
    let is_stray = |call: &Call| call.name == "write" && !is_of(scene, call);
    let args = scene.start_json();
    let (ran, calls) = strace::run_with_fault(scene, &CALLS.0.join(","), &fault.option(), &args, is_stray);
    let mut injected = calls.iter().filter(|call| call.is_injected());
    let was_killed = injected.clone().any(is_stray);
    if was_killed {
        no_process_is_left(scene);
    }
    // Threads do not always do the same.
    if !injected.next().is_some_and(|call| is_of(scene, call)) {
        return false;
    }
    let told = || format!("{}\n{ran:?}\n{:?}", fault.option(), injected.clone().next());
    if was_killed {
        // That came after the fault on the disk.
        let summary = to_the_end_with_retries(scene);
        whole.check(scene, &summary);
        return true;
    }
    let said = ran.json();
    match ran.code {
        Some(0) => whole.check_same(&said),
        Some(1) => assert_eq!(said["status"], "failed", "{}", told()),
        Some(code) => {
            let class = said["error"]["class"].as_str();
            let right = CLASSES.iter().find(|(_, right)| *right == code).map(|(class, _)| *class);
            assert!(class.is_some() && class == right, "{}", told());
        }
        None => panic!("{}", told()),
    }
    let summary = to_the_end_with_retries(scene);
    // A tree that could not be taken away, since the calls for it failed, is the next process's to take away.
    scene.run(&["trees", "clean", "--json"]).ok();
    whole.check(scene, &summary);
    true
}

/// Whether a call was about a file of the scene.
fn is_of(scene: &Scene, call: &Call) -> bool {
    let root = scene.root().to_string_lossy();
    let (_, args) = call.line.split_once('(').unwrap();
    match args.strip_prefix("AT_FDCWD<") {
        Some(at) => {
            let path = at.split('"').nth(1).unwrap_or_default();
            !path.starts_with('/') || path.starts_with(&*root)
        }
        None => args.contains(&*root),
    }
}
