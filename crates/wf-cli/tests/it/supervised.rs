//! Commands below their supervisor: what they get, how they end, and that nothing of them is left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use expect_test::{Expect, expect};
use wf_effects::CancelToken;
use wf_effects::process::{Bounds, End, Finished, SpawnError, Spec, run};

/// Long enough for a machine under load; no test that passes waits for it.
const LONG: Duration = Duration::from_secs(120);
/// The variable by which what a command has started is found again.
const MARK: &str = "WF_TEST_MARK";

static MARKS: AtomicU32 = AtomicU32::new(0);

fn spec(script: &str) -> Spec {
    let mark = format!("{}-{}", std::process::id(), MARKS.fetch_add(1, Ordering::Relaxed));
    Spec {
        argv: vec!["sh".into(), "-c".into(), script.into()],
        cwd: PathBuf::from("/"),
        env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into()), (MARK.into(), mark)]),
        stdin: None,
        bounds: Bounds::with_timeout(LONG),
        supervisor: Some(env!("CARGO_BIN_EXE_whaleflow").into()),
        sandbox: None,
    }
}

fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Runs it, and cancels it once it has written a line if `cancels`. Nothing is left when that answers.
fn finish(spec: &Spec, cancels: bool) -> Finished {
    let cancel = CancelToken::default();
    let line = |_, _: &str| {
        if cancels {
            cancel.cancel();
        }
    };
    let finished = block(run(spec, &cancel, &line)).unwrap();
    assert_eq!(survivors(&spec.env[MARK]), Vec::<String>::new());
    assert_eq!(finished.left, 0);
    finished
}

fn check(script: &str, expect: Expect) {
    let finished = finish(&spec(script), false);
    let (out, err) = (finished.stdout.tail(), finished.stderr.tail());
    expect.assert_eq(&format!("{:?}\nstdout: {out:?}\nstderr: {err:?}", finished.end));
}

/// A tree of processes is gone when its command ends by itself, and when it is cancelled.
fn check_gone(tree: &str) {
    let ended = finish(&spec(&format!("{tree}\necho ready")), false);
    assert_eq!((ended.end, ended.stdout.tail().as_str()), (End::Exited(0), "ready\n"), "{}", ended.stderr.tail());
    let cancelled = finish(&spec(&format!("{tree}\necho ready; sleep 1000; wait")), true);
    assert_eq!(cancelled.end, End::Cancelled);
}

/// The processes whose environment has the mark (zombies have none).
fn survivors(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}\0");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
            found.push(std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default());
        }
    }
    found
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
    for code in [0, 1, 127, 255] {
        assert_eq!(finish(&spec(&format!("exit {code}")), false).end, End::Exited(code));
    }
    for signal in [1, 2, 9, 11, 15] {
        assert_eq!(finish(&spec(&format!("kill -{signal} $$")), false).end, End::Signalled(signal));
    }
}

#[test]
fn input_passes_through() {
    check(
        "cat; readlink /proc/self/fd/0",
        expect![[r#"
            Exited(0)
            stdout: "/dev/null\n"
            stderr: """#]],
    );
    let mut spec = spec("cat");
    // More than a pipe holds, so that writing and reading must overlap.
    let text = "0123456789".repeat(30_000);
    spec.stdin = Some(text.clone().into_bytes());
    assert_eq!(finish(&spec, false).stdout.kept(), text.as_bytes());
    spec.argv = vec!["true".into()];
    assert_eq!(finish(&spec, false).end, End::Exited(0));
}

#[test]
fn a_command_gets_what_it_was_given_and_nothing_of_its_supervisor() {
    let mut spec = spec(
        "env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD= -e ^WF_TEST_MARK= | sort; pwd; echo $0
         grep -E '^Sig(Blk|Ign|Cgt)|^Groups|^NoNewPrivs' /proc/self/status
         ulimit -a; umask; nice; ls /proc/self/fd | tr '\\n' ' '",
    );
    spec.env.insert("COLOUR".into(), "teal".into());
    spec.cwd = "/usr".into();
    spec.argv.push("name".into());
    let below = finish(&spec, false).stdout.tail();
    assert!(below.starts_with("COLOUR=teal\nPATH=/usr/bin:/bin\n/usr\nname\nGroups:"), "{below}");
    spec.supervisor = None;
    assert_eq!(below, finish(&spec, false).stdout.tail());
}

#[test]
fn what_cannot_be_started_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("mine");
    std::fs::write(&program, "\x7fELF is not enough").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut broken = spec("");
    broken.argv = vec![program.display().to_string()];
    let error = block(run(&broken, &CancelToken::default(), &|_, _| {})).unwrap_err();
    assert!(matches!(&error, SpawnError::Os { source, .. } if source.raw_os_error() == Some(8)), "{error}");
    let mut alone = spec("true");
    alone.supervisor = Some("/no/such/program".into());
    let error = block(run(&alone, &CancelToken::default(), &|_, _| {})).unwrap_err();
    assert!(matches!(&error, SpawnError::Os { source, .. } if source.raw_os_error() == Some(2)), "{error}");
    alone.supervisor = Some("/bin/true".into());
    let error = block(run(&alone, &CancelToken::default(), &|_, _| {})).unwrap_err();
    assert!(matches!(&error, SpawnError::Os { .. }), "{error}");
}

#[test]
fn a_time_out_ends_it() {
    let mut spec = spec("setsid sleep 1000 & sleep 1000");
    spec.bounds.timeout = Duration::from_millis(300);
    assert_eq!(finish(&spec, false).end, End::TimedOut);
}

#[test]
fn it_is_asked_before_it_is_ended() {
    let ended = finish(&spec("trap 'echo asked; exit 4' TERM; echo ready; while :; do sleep 0.01; done"), true);
    assert_eq!((ended.end, ended.stdout.tail().as_str()), (End::Cancelled, "ready\nasked\n"));
}

#[test]
fn sessions_of_their_own_are_ended() {
    check_gone("setsid sleep 1000 &");
    check_gone("setsid setsid sleep 1000 & sleep 1000 &");
}

#[test]
fn those_without_a_parent_are_ended() {
    check_gone("(setsid sh -c 'sleep 1000 & sleep 1000 &' &)");
    check_gone("(((sleep 1000 > /dev/null &) &) &)");
}

#[test]
fn those_that_ignore_signals_and_have_closed_everything_are_ended() {
    let deaf = "trap '' HUP INT QUIT TERM USR1; exec <&- >&- 2>&-; while :; do sleep 1000; done";
    check_gone(&format!("setsid sh -c \"{deaf}\" &"));
    let mut spec = spec(&format!("echo ready; {}", deaf.replace("; exec", "; setsid sleep 1000 & exec")));
    spec.bounds.term_grace = Duration::from_millis(50);
    assert_eq!(finish(&spec, true).end, End::Cancelled);
}

#[test]
fn those_that_are_stopped_are_ended() {
    check_gone("sleep 1000 & kill -STOP $!; setsid sh -c 'sleep 1000 & kill -STOP $! $$' &");
    let mut spec = spec("echo ready; kill -STOP $$; echo never");
    spec.bounds.term_grace = Duration::from_millis(50);
    let stopped = finish(&spec, true);
    assert_eq!((stopped.end, stopped.stdout.tail().as_str()), (End::Cancelled, "ready\n"));
}

#[test]
fn those_that_fork_quickly_are_ended() {
    // Each lives only until it has started the next. They come to an end some day: should the test itself be killed,
    // nobody else ends them.
    check_gone("f() { [ $1 = 0 ] || f $(($1 - 1)) & exit; }; (f 100000) > /dev/null 2>&1 &");
    check_gone(
        "next='[ $1 = 0 ] || setsid sh -c \"$0\" \"$0\" $(($1 - 1)) & exit'
         sh -c \"$next\" \"$next\" 100000 > /dev/null 2>&1 &",
    );
    // Each keeps some, which do the same two levels further down.
    check_gone(
        "b() { while :; do [ $1 -gt 0 ] && b $(($1 - 1)) & b $(($1 - 1)) & sleep 0.1 & wait; done; }
         b 3 > /dev/null 2>&1 &",
    );
}

#[test]
fn a_wide_tree_is_ended() {
    check_gone("i=0; while [ $i -lt 400 ]; do sleep 1000 & i=$((i + 1)); done");
}

#[test]
fn whoever_kills_or_stops_its_supervisor_is_ended_too() {
    let killer =
        "setsid sleep 1000 & (setsid sh -c 'sleep 1000 & wait' &); echo ready; kill -9 $PPID; sleep 1000; wait";
    let killed = finish(&spec(killer), false);
    assert_eq!((killed.end, killed.stdout.tail().as_str()), (End::Signalled(9), "ready\n"));
    let stopper = killer.replace("-9 ", "-STOP ");
    assert_eq!(finish(&spec(&stopper), true).end, End::Cancelled);
    // Signals that can be caught do nothing to it.
    let gentle = "for s in HUP INT QUIT TERM USR1 USR2 ALRM PIPE; do kill -$s $PPID; done; echo alive; exit 5";
    assert_eq!(finish(&spec(gentle), false).end, End::Exited(5));
}

#[test]
fn a_caller_who_loses_interest_leaves_nothing_behind() {
    let spec = spec("setsid sleep 1000 & echo ready; sleep 1000");
    block(async {
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let sender = std::sync::Mutex::new(Some(sender));
        let cancel = CancelToken::default();
        let sink = |_, _: &str| drop(sender.lock().unwrap().take());
        tokio::select! {
            _ = run(&spec, &cancel, &sink) => panic!("it cannot end by itself"),
            _ = receiver => {}
        }
    });
    while !survivors(&spec.env[MARK]).is_empty() {
        std::thread::yield_now();
    }
}

#[test]
fn a_background_child_that_holds_the_output_does_not_hold_the_command_up() {
    check_gone("sleep 1000 &");
    let writing = finish(&spec("(sleep 0.05; echo late) & echo ready"), false);
    assert_eq!((writing.end, writing.stdout.tail().as_str()), (End::Exited(0), "ready\nlate\n"));
}
