//! What a command needs is there.

use expect_test::{Expect, expect};

use crate::setup::{World, has_sandbox};

fn check(script: &str, expect: Expect) {
    if !has_sandbox() {
        return;
    }
    let world = World::new();
    let finished = world.sh(script, Some(world.policy()));
    let (out, err) = (finished.stdout.tail(), finished.stderr.tail());
    expect.assert_eq(&format!("{:?}\nstdout: {out:?}\nstderr: {err:?}", finished.end));
    assert_eq!(finished.left, 0);
}

#[test]
fn output_and_ends_pass_through() {
    check("echo out; echo err >&2; exit 3", expect![[""]]);
    check("kill -9 $$", expect![[""]]);
    check("kill -TERM $$", expect![[""]]);
    check("id -u; ls /dev; cat /proc/self/status | grep -E 'Cap|NoNew|Seccomp:'; ls /proc | grep -c '^[0-9]'", expect![[""]]);
    check("echo x > src/b.rs; cat src/b.rs; echo y > /tmp/z; cat /tmp/z; echo x > .git; mv .git g; ls -a; cat /proc/sys/kernel/pid_max", expect![[""]]);
}
