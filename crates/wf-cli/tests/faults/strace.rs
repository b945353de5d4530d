//! The program under strace, which sees every call of the system and can make any of them fail or kill.
//!
//! Calls are counted by thread and by name, because that is how strace counts. Only the program itself is followed and
//! not what it starts, unless a harness wants that too.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::scene::{Ran, Scene, to_end};

/// Most calls of one name that a number of a case can tell apart.
const COUNT_MAX: u64 = 10_000;

/// The calls that a harness meddles with, by name.
pub(crate) struct Calls(pub(crate) &'static [&'static str]);

/// One of them: the call of this name that is a thread's `count`-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) name: &'static str,
    pub(crate) count: u64,
}

impl Calls {
    /// The number that stands for a point.
    pub(crate) fn number(&self, point: Point) -> u64 {
        let at = self.0.iter().position(|name| *name == point.name).unwrap();
        at as u64 * COUNT_MAX + point.count
    }

    /// The point for which a number stands.
    pub(crate) fn point(&self, number: u64) -> Point {
        let at = usize::try_from(number / COUNT_MAX).unwrap();
        Point { name: self.0[at], count: number % COUNT_MAX }
    }

    /// Every point that `traced` passed.
    pub(crate) fn points(&self, traced: &[Call]) -> Vec<Point> {
        self.first_at_each(traced).into_iter().map(|(point, _)| point).collect()
    }

    /// Every point that `traced` passed, each with the call by which a thread was the first to come to it: the one that
    /// an injection there meets.
    pub(crate) fn first_at_each<'a>(&self, traced: &'a [Call]) -> Vec<(Point, &'a Call)> {
        let mut counts: BTreeMap<(&str, u32), u64> = BTreeMap::new();
        let mut firsts: BTreeMap<(usize, u64), &Call> = BTreeMap::new();
        for call in traced {
            let Some(at) = self.0.iter().position(|name| *name == call.name) else { continue };
            let count = counts.entry((&call.name, call.thread)).or_default();
            *count += 1;
            firsts.entry((at, *count)).or_insert(call);
        }
        firsts.into_iter().map(|((at, count), call)| (Point { name: self.0[at], count }, call)).collect()
    }
}

/// A call that was seen.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) thread: u32,
    pub(crate) name: String,
    /// The whole line.
    pub(crate) line: String,
}

/// The program under strace: `names` are written to `log`, `more` are further options of strace.
pub(crate) fn command(scene: &Scene, names: &str, log: &Path, more: &[&str], args: &[String]) -> Command {
    // What the program starts is let go as soon as it is another program.
    let mut all: Vec<String> = ["-f", "-qq", "-y", "-b", "execve", "-e", "signal=none"].map(str::to_owned).to_vec();
    all.extend(["-o".to_owned(), log.display().to_string(), "-e".to_owned(), format!("trace={names}")]);
    all.extend(more.iter().map(|option| (*option).to_owned()));
    all.push(env!("CARGO_BIN_EXE_whaleflow").to_owned());
    all.extend(args.iter().cloned());
    scene.command("strace", &all)
}

/// The program under strace, with everything that it starts and every byte that it writes.
pub(crate) fn everything(scene: &Scene, names: &str, log: &Path, args: &[String]) -> Command {
    let mut all: Vec<String> = ["-f", "-qq", "-y", "-s", "16777216", "-e", "signal=none"].map(str::to_owned).to_vec();
    all.extend(["-o".to_owned(), log.display().to_string(), "-e".to_owned(), format!("trace={names}")]);
    all.push(env!("CARGO_BIN_EXE_whaleflow").to_owned());
    all.extend(args.iter().cloned());
    scene.command("strace", &all)
}

/// Runs the program under strace, and gives the calls that it made.
pub(crate) fn run(scene: &Scene, names: &str, more: &[&str], args: &[String]) -> (Ran, Vec<Call>) {
    let log = scene.beside("strace");
    let ran = to_end(&mut command(scene, names, &log, more, args));
    let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    (ran, text.lines().filter_map(call).collect())
}

/// `1234  pwrite64(5</a/b>, "…", 4096, 0) = 4096`
fn call(line: &str) -> Option<Call> {
    let (thread, rest) = line.split_once(' ')?;
    let (name, _) = rest.trim_start().split_once('(')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then(|| Call { thread: thread.parse().unwrap(), name: name.to_owned(), line: rest.trim().to_owned() })
}
