//! Commands that do what they can to outlive their run: none does, when the run is cancelled from another process, and
//! when its owner is killed.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use wf_effects::{Clock, RealClock};

use crate::place::Place;

/// How many trees of processes there are in all, in the short form and in the long one, and how many in one run.
const TREES: u64 = 20;
const TREES_LONG: u64 = 1_000;
const TREES_OF_RUN: u64 = 5;
/// How long what the dead left behind may take to end on a machine that does other things as well.
const GONE_WAIT: Duration = Duration::from_secs(150);
/// How long a cancel may take, on a machine that does nothing else.
const CANCEL_MAX: Duration = Duration::from_secs(5);

/// How a run comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Cancelled,
    OwnerKilled,
}

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % count
    }
}

/// What a tree does, one of many; `MARK` is in the arguments or the environment of each of its processes.
const TRICKS: [&str; 11] = [
    "setsid sleep 1000 &",
    "(setsid sh -c 'sleep 1000 & sleep 1000 & : MARK' &)",
    "(((sleep 1000 &) &) &)",
    "setsid sh -c 'trap \"\" HUP INT QUIT TERM USR1; while :; do sleep 1000; done' &",
    "setsid sh -c 'exec <&- >&- 2>&-; sleep 1000; : MARK' &",
    "sh -c 'setsid sleep 1000 & kill -STOP $! $$; sleep 1000' &",
    // Each lives only until it has started the next, in a session of its own or not. They come to an end some day: should
    // the test itself be killed, nobody else ends them.
    "next='[ $1 = 0 ] || setsid sh -c \"$0\" \"$0\" $(($1 - 1)) & exit; : MARK'; sh -c \"$next\" \"$next\" 100000 &",
    "f() { [ $1 = 0 ] || f $(($1 - 1)) & exit; }; (f 100000) &",
    // Each keeps two, which do the same a level further down; the last start again and again what ends at once.
    "b() { while [ $1 -gt 0 ]; do b $(($1 - 1)) & b $(($1 - 1)) & sleep 0.2 & wait; done; }; b 4 &",
    "i=0; while [ $i -lt 40 ]; do setsid sleep 1000 & i=$((i + 1)); done",
    "env -i PATH=\"$PATH\" setsid sh -c 'while :; do sleep 1; done; : MARK' &",
];

/// A script that plays some tricks, says that it has, and then waits.
fn script(random: &mut Random, ready: &Path, mark: &str, ending: Ending, first: bool) -> String {
    let mut script = String::from("exec > /dev/null 2>&1\n");
    if random.below(3) == 0 {
        script.push_str("trap '' TERM\n");
    }
    for _ in 0..2 + random.below(3) {
        script.push_str(TRICKS[random.below(TRICKS.len() as u64) as usize]);
        script.push('\n');
    }
    let last = random.below(5);
    // Whoever kills its supervisor while its owner dies, or stops it afterwards, is out of everybody's reach.
    if last == 0 {
        script.push_str("kill -STOP $PPID\n");
    }
    writeln!(script, ": > {}", ready.display()).unwrap();
    match last {
        1 if ending == Ending::Cancelled && !first => script.push_str("kill -9 $PPID\n"),
        2 => script.push_str("kill -STOP $$\n"),
        3 => script.push_str("exec sleep 1000\n"),
        _ => {}
    }
    script.push_str("sleep 1000; wait\n");
    script.replace("MARK", mark)
}

fn workflow(scripts: &[String]) -> String {
    let command = |(at, script): (usize, &String)| {
        let text = serde_json::to_string(script).unwrap();
        format!("command(\"tree{at}\", argv = [\"sh\", \"-c\", {text}], env = [\"WHALEFLOW_HOME\"]),\n")
    };
    let commands: String = scripts.iter().enumerate().map(command).collect();
    format!(
        "workflow(\"hostile\", fixture = \"fixture\", children = [parallel(\"all\", width = {}, children = [\n{commands}])])",
        scripts.len()
    )
}

/// The living processes that have `mark` in their environment or their arguments.
pub(crate) fn survivors(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let (environ, arguments) = (read("environ"), read("cmdline"));
        let has_mark = |bytes: &[u8]| bytes.windows(mark.len()).any(|window| window == mark.as_bytes());
        if has_mark(&environ) || has_mark(&arguments) {
            found.push(format!("{:?} {}", entry.file_name(), String::from_utf8_lossy(&arguments).replace('\0', " ")));
        }
    }
    found
}

fn since(begun_ms: i64) -> Duration {
    Duration::from_millis((RealClock.now_ms() - begun_ms).unsigned_abs())
}

/// Waits until `is_so`, for as long as the dead may take.
fn wait_until(mut is_so: impl FnMut() -> bool) -> bool {
    let begun_ms = RealClock.now_ms();
    while !is_so() {
        if since(begun_ms) > GONE_WAIT {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// One run with some trees. Says how long the cancel took.
fn play(seed: u64, ending: Ending) -> Duration {
    let place = Place::new();
    let (ready, mark) = (place.beside("ready"), place.home().display().to_string());
    let mut random = Random(seed);
    let ready_file = |at: u64| ready.join(at.to_string());
    let scripts: Vec<String> =
        (0..TREES_OF_RUN).map(|at| script(&mut random, &ready_file(at), &mark, ending, at == 0)).collect();
    place.write("hostile.star", &workflow(&scripts));
    place.write("fixture/a.txt", "a\n");
    let (mut owner, _) = place.start(&["run", "hostile.star", "--sandbox=off", "--json"]);
    let all_ready = || (0..TREES_OF_RUN).all(|at| ready_file(at).exists());
    assert!(wait_until(all_ready), "seed {seed}: {:?}\n{scripts:#?}", owner.try_wait());

    let begun_ms = RealClock.now_ms();
    match ending {
        Ending::Cancelled => {
            assert_eq!(place.run(&["cancel", "@last", "--json"]).ok()["accepted"], true, "seed {seed}");
            let code = owner.wait().unwrap().code();
            // Nobody needs to be waited for: a run that is over has left nothing.
            assert_eq!((code, survivors(&mark)), (Some(1), Vec::new()), "seed {seed}\n{scripts:#?}");
        }
        Ending::OwnerKilled => {
            owner.kill().unwrap();
            owner.wait().unwrap();
            let is_gone = wait_until(|| survivors(&mark).is_empty());
            assert!(is_gone, "seed {seed}: {:#?}\n{scripts:#?}", survivors(&mark));
        }
    }
    since(begun_ms)
}

#[test]
fn no_tree_outlives_its_run() {
    let is_long = std::env::vars_os().any(|(name, value)| name == "WHALEFLOW_LONG" && value == "1");
    let runs = if is_long { TREES_LONG } else { TREES } / TREES_OF_RUN;
    let mut cancels = Vec::new();
    for seed in 0..runs {
        let ending = if seed % 2 == 0 { Ending::Cancelled } else { Ending::OwnerKilled };
        let took = play(seed, ending);
        if ending == Ending::Cancelled {
            cancels.push(took);
        }
    }
    cancels.sort();
    println!("{} trees, {} cancels: {cancels:?}", runs * TREES_OF_RUN, cancels.len());
    assert_eq!(cancels.len() as u64, runs.div_ceil(2));
    // In the short form the machine is busy with other tests.
    assert!(!is_long || cancels[cancels.len() / 2] < CANCEL_MAX, "{cancels:?}");
}
