//! The program under strace, which sees every call of the system and can make any of them fail or kill.
//!
//! Calls are counted by thread and by name, because that is how strace counts. Only the program itself is followed and
//! not what it starts, unless a harness wants that too.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::scene::{Ran, Scene, to_end, to_end_unless};

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

impl Call {
    /// Whether it did not take place, and failed.
    pub(crate) fn is_injected(&self) -> bool {
        self.line.ends_with("(INJECTED)")
    }
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
    (ran, calls_in(&log))
}

/// The same with a fault, which is an option of strace. As soon as it has met a call that `is_stray`, the program is
/// killed.
pub(crate) fn run_with_fault(
    scene: &Scene,
    names: &str,
    fault: &str,
    args: &[String],
    is_stray: impl Fn(&Call) -> bool,
) -> (Ran, Vec<Call>) {
    let log = scene.beside("strace");
    // The one before may have met one.
    std::fs::write(&log, "").unwrap();
    let ran = to_end_unless(&mut command(scene, names, &log, &["-e", fault], args), || {
        calls_in(&log).iter().any(|call| call.is_injected() && is_stray(call))
    });
    (ran, calls_in(&log))
}

fn calls_in(log: &Path) -> Vec<Call> {
    lines(&String::from_utf8_lossy(&std::fs::read(log).unwrap())).into_iter().filter_map(call).collect()
}

/// What strace said of one call.
pub(crate) struct Line {
    pub(crate) thread: u32,
    /// How many lines were complete when the call began.
    pub(crate) begun: usize,
    /// `pwrite64(5</a/b>, "…", 4096, 0) = 4096`
    pub(crate) text: String,
}

/// The lines of calls that ended, in the order of their ends. One is written in two parts where another thread came in
/// between: `1234 write(5</a>, "…", 8 <unfinished ...>` and `1234 <... write resumed>) = 8`.
pub(crate) fn lines(text: &str) -> Vec<Line> {
    let mut open: BTreeMap<u32, (usize, &str)> = BTreeMap::new();
    let mut lines: Vec<Line> = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Ok(thread) = thread.parse::<u32>() else { continue };
        let rest = rest.trim();
        if let Some(begin) = rest.strip_suffix(" <unfinished ...>") {
            open.insert(thread, (lines.len(), begin));
            continue;
        }
        let (begun, text) = match rest.strip_prefix("<... ") {
            Some(end) => {
                let Some((begun, begin)) = open.remove(&thread) else { continue };
                let Some((_, end)) = end.split_once("resumed>") else { continue };
                (begun, format!("{begin}{end}"))
            }
            None => (lines.len(), rest.to_owned()),
        };
        lines.push(Line { thread, begun, text });
    }
    lines
}

fn call(Line { thread, text, .. }: Line) -> Option<Call> {
    let name = text.split_once('(')?.0.to_owned();
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(Call { thread, name, line: text })
}
