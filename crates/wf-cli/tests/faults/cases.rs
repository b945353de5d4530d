//! Cases by number: how many there are, which one was asked for, and what is printed when one fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Names the one case to do.
const ONE_CASE: &str = "WHALEFLOW_FAULT_SEED";
/// Asks for the long forms.
const LONG: &str = "WHALEFLOW_LONG";
/// How many cases may fail before the others are left.
const FAILURES_MAX: usize = 3;
/// After so many cases it is said how many there were.
const SHOWN_EVERY: u64 = 50;

/// A variable of the environment, if it is there and is text.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::vars_os().find(|(key, _)| key == name).and_then(|(_, value)| value.into_string().ok())
}

/// Whether the long forms were asked for.
pub(crate) fn is_long() -> bool {
    variable(LONG).is_some_and(|value| !value.is_empty() && value != "0")
}

/// The short or the long form of a figure.
pub(crate) fn form<T>(short: T, long: T) -> T {
    if is_long() { long } else { short }
}

/// A harness: the path of its test, as the test runner names it.
#[derive(Clone, Copy)]
pub(crate) struct Harness(pub(crate) &'static str);

impl Harness {
    /// Does the cases from `numbers`, or the one that was asked for, until `is_enough`.
    ///
    /// In the long form two cases are under way at a time; in the short one other tests keep the machine busy.
    pub(crate) fn until(
        self,
        numbers: impl Iterator<Item = u64> + Send,
        is_enough: impl Fn() -> bool + Sync,
        case: impl Fn(u64) + Sync,
    ) {
        self.side_by_side(form(1, 2), numbers, is_enough, case);
    }

    fn side_by_side(
        self,
        at_a_time: usize,
        numbers: impl Iterator<Item = u64> + Send,
        is_enough: impl Fn() -> bool + Sync,
        case: impl Fn(u64) + Sync,
    ) {
        let one = variable(ONE_CASE).map(|number| number.parse::<u64>().unwrap());
        let numbers: Box<dyn Iterator<Item = u64> + Send> = match one {
            Some(number) => Box::new(std::iter::once(number)),
            None => Box::new(numbers),
        };
        let (numbers, failures) = (Mutex::new(numbers), Mutex::new(Vec::new()));
        let (is_over, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let work = || {
            while !is_over.load(Ordering::Relaxed) && !is_enough() {
                let next = numbers.lock().unwrap().next();
                let Some(number) = next else { break };
                if catch_unwind(AssertUnwindSafe(|| case(number))).is_err() {
                    let mut failures = failures.lock().unwrap();
                    failures.push(self.command(number));
                    eprintln!("this case failed; to do it again: {}", self.command(number));
                    is_over.store(failures.len() >= FAILURES_MAX, Ordering::Relaxed);
                }
                let done = 1 + done.fetch_add(1, Ordering::Relaxed);
                if done.is_multiple_of(SHOWN_EVERY) {
                    println!("{}: {done} cases so far", self.0);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..at_a_time {
                scope.spawn(work);
            }
            work();
        });
        let failures = failures.into_inner().unwrap();
        assert!(failures.is_empty(), "{} cases failed; to do them again:\n{}", failures.len(), failures.join("\n"));
        println!("{}: {} cases", self.0, done.into_inner());
    }

    /// Does the cases from `numbers`, or the one that was asked for.
    pub(crate) fn each(self, numbers: impl Iterator<Item = u64> + Send, case: impl Fn(u64) + Sync) {
        self.until(numbers, || false, case);
    }

    /// The same one after another, for cases that measure how long something takes.
    pub(crate) fn each_alone(self, numbers: impl Iterator<Item = u64> + Send, case: impl Fn(u64) + Sync) {
        self.side_by_side(1, numbers, || false, case);
    }

    fn command(self, number: u64) -> String {
        let long = if is_long() { "WHALEFLOW_LONG=1 " } else { "" };
        format!("{long}{ONE_CASE}={number} cargo test -p wf-cli --test faults -- --exact {} --nocapture", self.0)
    }

    /// Chance, as this case of this harness has it.
    pub(crate) fn chance(self, number: u64) -> Chance {
        let name = self.0.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Chance(name ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// Numbers that look random and are the same every time (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Yes, so many times of a hundred.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// Whether one case was asked for, and not all.
pub(crate) fn is_one() -> bool {
    variable(ONE_CASE).is_some()
}

/// Things that cases use one after another, because they take long to make.
pub(crate) struct Pool<T>(Mutex<Vec<T>>);

impl<T> Pool<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// One that is there, or a new one.
    pub(crate) fn take(&self, make: impl FnOnce() -> T) -> T {
        let found = self.0.lock().unwrap().pop();
        found.unwrap_or_else(make)
    }

    /// Gives one back that is as good as new.
    pub(crate) fn give(&self, thing: T) {
        self.0.lock().unwrap().push(thing);
    }
}
