//! How much a sandboxed command may use. Each limit is small here, so that what goes beyond it costs nothing.

use std::time::Duration;

use expect_test::{Expect, expect};
use wf_effects::process::{End, Finished};
use wf_effects::sandbox::Limits;

use crate::setup::{World, has_sandbox};

const MIB: u64 = 1 << 20;

/// Runs a script within `limits`, and once without a sandbox, where it does what it wants; `None` where there is no sandbox.
fn held(script: &str, limits: Limits) -> Option<(World, Finished)> {
    if !has_sandbox() {
        return None;
    }
    let world = World::new();
    let finished = world.sh(script, Some(world.policy().limited(limits)));
    assert_eq!(finished.left, 0);
    Some((world, finished))
}

fn check(script: &str, limits: Limits, expected: Expect) {
    let Some((_world, finished)) = held(script, limits) else { return };
    expected.assert_eq(&format!("{:?}\n{}{}", finished.end, finished.stdout.tail(), finished.stderr.tail()));
}

#[test]
fn a_file_grows_no_larger_than_it_may() {
    check(
        "head -c 3000000 /dev/zero > src/large; echo code $?; stat -c %s src/large; head -c 1000000 /dev/zero > src/small; echo code $?",
        Limits { file_bytes: MIB, ..Limits::default() },
        expect![[r#"
            Exited(0)
            code 153
            1048576
            code 0
            File size limit exceeded
        "#]],
    );
}

#[test]
fn memory_ends_where_it_may() {
    // `tail` keeps a line until it has ended, and this one is longer than it may keep.
    check(
        "head -c 300000000 /dev/zero | tail -n 1 > /dev/null; echo code $?; head -c 1000000 /dev/zero | tail -n 1 > /dev/null; echo code $?",
        Limits { memory_bytes: 64 * MIB, ..Limits::default() },
        expect![[r#"
            Exited(0)
            code 1
            code 0
            tail: memory exhausted
        "#]],
    );
}

#[test]
fn temporary_files_take_no_more_memory_than_they_may() {
    check(
        "head -c 3000000 /dev/zero > /tmp/large; echo code $?; stat -c %s /tmp/large",
        Limits { temporary_bytes: MIB, ..Limits::default() },
        expect![[r#"
            Exited(0)
            code 1
            1048576
            head: error writing 'standard output': No space left on device
        "#]],
    );
}

#[test]
fn so_many_files_are_open_and_no_more() {
    check(
        "perl -e 'my @f; while (open my $f, \"<\", \"/dev/null\") { push @f, $f } print scalar(@f), \" $!\\n\"'",
        Limits { open_files: 32, ..Limits::default() },
        expect![[r#"
            Exited(0)
            29 Too many open files
        "#]],
    );
}

/// Fewer cannot be asked for where the user is root: there it is ids of processes that run out, and the kernel keeps 300.
const PROCESSES: u64 = 320;

#[test]
fn processes_are_counted_together() {
    let fork =
        "my $n = 0; while ($n < 1000) { my $p = fork; last unless defined $p; if (!$p) { sleep 60; exit } $n++ }";
    let script = format!("perl -e '{fork} print \"$n $!\\n\"'; true");
    let Some((_world, finished)) = held(&script, Limits { processes: PROCESSES, ..Limits::default() }) else { return };
    let told = finished.stdout.tail();
    let (count, why) = told.split_once(' ').unwrap();
    // Some are the sandbox's own.
    assert!((300..PROCESSES).contains(&count.parse().unwrap()), "{told}");
    assert_eq!(why, "Resource temporarily unavailable\n");
}

#[test]
fn a_fork_bomb_is_bounded_and_nothing_is_left_of_it() {
    if !has_sandbox() {
        return;
    }
    let world = World::new();
    // The first shell forks once, before the others: one that cannot would end, and the sandbox with it.
    let bomb = "bomb() { bomb | bomb & }; bomb & exec tail -f /dev/null";
    let policy = world.policy().limited(Limits { processes: PROCESSES, ..Limits::default() });
    let mut spec = world.spec(&["sh", "-c", bomb], Some(policy));
    // It goes on until it is ended, and with it all that it has made.
    spec.bounds.timeout = Duration::from_secs(3);
    let finished = world.run(&spec).unwrap();
    assert_eq!((finished.end, finished.left), (End::TimedOut, 0), "{}", finished.stderr.tail());
    assert!(finished.stderr.tail().contains("Cannot fork"), "the limit was met: {}", finished.stderr.tail());
}
