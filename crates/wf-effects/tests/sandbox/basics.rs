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
    check(
        "echo out; echo err >&2; exit 3",
        expect![[r#"
        Exited(3)
        stdout: "out\n"
        stderr: "err\n""#]],
    );
    check(
        "echo x > /dev/null && echo y >> /dev/null && echo written; echo x > /dev/full; nproc > src/n; test -s src/n; ls /sys /sys/devices/system | head -3",
        expect![[r#"
            Exited(0)
            stdout: "written\n/sys:\ndevices\n\n"
            stderr: "sh: 1: echo: echo: I/O error\n""#]],
    );
    check(
        "kill -9 $$",
        expect![[r#"
        Signalled(9)
        stdout: ""
        stderr: """#]],
    );
    check(
        "kill -TERM $$",
        expect![[r#"
        Signalled(15)
        stdout: ""
        stderr: """#]],
    );
    check(
        "ls /dev; cat /proc/self/status | grep -E 'Cap|NoNew|Seccomp:'; ls /proc > /tmp/list; grep -c '^[0-9]' /tmp/list",
        expect![[r#"
        Exited(0)
        stdout: "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\nurandom\nzero\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n3\n"
        stderr: """#]],
    );
    check(
        "echo x > src/b.rs; cat src/b.rs; echo y > /tmp/z; cat /tmp/z; echo x > .git; mv .git g; ls -a; cat /proc/sys/kernel/pid_max",
        expect![[r#"
        Exited(0)
        stdout: "x\ny\n.\n..\n.git\nsrc\n4096\n"
        stderr: "sh: 1: cannot create .git: Read-only file system\nmv: cannot move '.git' to 'g': Device or resource busy\n""#]],
    );
}
