//! Children: what they get, what is kept of them, and that nothing of them is left.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to end")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use expect_test::{Expect, expect};
use wf_effects::CancelToken;
use wf_effects::process::{
    Bounds, ChildLimits, ChildSpec, End, Finished, SpawnError, Spec, Stream, limit_self, run, run_child,
};

/// Long enough for a machine under load; no test that passes waits for it.
const LONG: Duration = Duration::from_secs(120);

fn spec(script: &str) -> Spec {
    Spec {
        argv: vec!["sh".into(), "-c".into(), script.into()],
        cwd: PathBuf::from("/"),
        env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        stdin: None,
        bounds: Bounds::with_timeout(LONG),
        supervisor: None,
        sandbox: None,
    }
}

fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn finish(spec: &Spec) -> Finished {
    block(run(spec, &CancelToken::default(), &|_, _| {})).unwrap()
}

fn check(script: &str, expect: Expect) {
    let finished = finish(&spec(script));
    expect.assert_eq(&format!(
        "{:?}\nstdout: {:?}\nstderr: {:?}",
        finished.end,
        finished.stdout.tail(),
        finished.stderr.tail()
    ));
}

fn check_refused(change: impl FnOnce(&mut Spec), expect: Expect) {
    let mut spec = spec("true");
    change(&mut spec);
    let error = block(run(&spec, &CancelToken::default(), &|_, _| {})).unwrap_err();
    expect.assert_eq(&format!("{}: {error}", error.code()));
}

/// Whether a process is there (a zombie is not).
fn is_alive(pid: &str) -> bool {
    std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or("").starts_with(['Z', 'X']))
}

/// Waits for the end of a process that was killed: it may need a moment to go. On a slow machine it may have been
/// killed before it could say its number; then there is nothing to look for.
fn assert_gone(pid: &str) {
    if pid.is_empty() {
        return;
    }
    for _ in 0..2_000 {
        if !is_alive(pid) {
            return;
        }
        // It is a child of nobody here, so its end cannot be waited for.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("process {pid} is still there");
}

#[test]
fn output_and_exit_code_are_kept_apart() {
    check(
        "echo out; echo err >&2; exit 3",
        expect![[r#"
            Exited(3)
            stdout: "out\n"
            stderr: "err\n""#]],
    );
}

#[test]
fn a_signal_is_named() {
    check(
        "kill -9 $$",
        expect![[r#"
            Signalled(9)
            stdout: ""
            stderr: """#]],
    );
    assert_eq!(End::Signalled(9).exit_code(), Some(137));
}

#[test]
fn stdin_is_empty_unless_given() {
    check(
        "cat; echo end",
        expect![[r#"
            Exited(0)
            stdout: "end\n"
            stderr: """#]],
    );
    let mut spec = spec("cat");
    // More than a pipe holds, so that writing and reading must overlap.
    let text = "0123456789".repeat(30_000);
    spec.stdin = Some(text.clone().into_bytes());
    assert_eq!(finish(&spec).stdout.kept(), text.as_bytes());
    // A child that does not read it is not an error.
    spec.argv = vec!["true".into()];
    assert_eq!(finish(&spec).end, End::Exited(0));
}

#[test]
fn the_environment_is_what_was_given() {
    let mut spec = spec("env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD= | sort");
    spec.env.insert("COLOUR".into(), "teal".into());
    expect![[r#"
        COLOUR=teal
        PATH=/usr/bin:/bin
    "#]]
    .assert_eq(&finish(&spec).stdout.tail());
}

#[test]
fn what_cannot_be_started_has_a_type() {
    check_refused(|spec| spec.argv = vec![], expect!["argv: there is no program to run"]);
    check_refused(|spec| spec.argv = vec![String::new()], expect!["argv: there is no program to run"]);
    check_refused(
        |spec| spec.argv = vec!["no-such-program".into()],
        expect![[r#"program_missing: program "no-such-program" was not found"#]],
    );
    check_refused(
        |spec| spec.argv = vec!["./no-such-program".into()],
        expect![[r#"program_missing: program "./no-such-program" was not found"#]],
    );
    check_refused(
        |spec| spec.argv = vec!["/etc/passwd".into()],
        expect![[r#"not_executable: "/etc/passwd" is not an executable file"#]],
    );
    check_refused(
        |spec| spec.cwd = "/no/such/directory".into(),
        expect![[r#"cwd_missing: "/no/such/directory" is not a directory"#]],
    );
    check_refused(
        |spec| spec.argv[2] = "a\0b".into(),
        expect!["argv: an argument or a variable holds a NUL character"],
    );
}

#[test]
fn a_relative_entry_of_path_is_never_searched() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("mine");
    std::fs::write(&program, "#!/bin/sh\necho ran\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut spec = spec("");
    spec.cwd = dir.path().into();
    spec.argv = vec!["mine".into()];
    spec.env = BTreeMap::from([("PATH".into(), ".::bin".into())]);
    let error = block(run(&spec, &CancelToken::default(), &|_, _| {})).unwrap_err();
    assert!(matches!(error, SpawnError::NotFound(_)), "{error}");
    spec.argv = vec!["./mine".into()];
    assert_eq!(finish(&spec).stdout.tail(), "ran\n");
}

#[test]
fn a_timeout_ends_the_group_with_its_background_children() {
    let mut spec = spec("sleep 1000 & echo $!; sleep 1000");
    spec.bounds.timeout = Duration::from_millis(200);
    let finished = finish(&spec);
    assert_eq!(finished.end, End::TimedOut);
    assert_gone(finished.stdout.tail().trim());
}

#[test]
fn what_ignores_term_is_killed() {
    let mut spec = spec("trap '' TERM; sleep 1000 & echo $!; while :; do wait; done");
    spec.bounds.timeout = Duration::from_millis(200);
    spec.bounds.term_grace = Duration::from_millis(20);
    let finished = finish(&spec);
    assert_eq!(finished.end, End::TimedOut);
    assert_gone(finished.stdout.tail().trim());
}

#[test]
fn what_is_stopped_is_ended_all_the_same() {
    let mut spec = spec("kill -STOP $$; echo never");
    spec.bounds.timeout = Duration::from_millis(100);
    let finished = finish(&spec);
    assert_eq!((finished.end, finished.stdout.total()), (End::TimedOut, 0));
}

#[test]
fn cancelling_ends_the_group() {
    let cancel = CancelToken::default();
    let lines = Mutex::new(Vec::new());
    let finished = block(run(&spec("sleep 1000 & echo $!; sleep 1000"), &cancel, &|_, line| {
        lines.lock().unwrap().push(line.to_owned());
        cancel.cancel();
    }))
    .unwrap();
    assert_eq!(finished.end, End::Cancelled);
    assert_gone(&lines.into_inner().unwrap()[0]);
}

#[test]
fn a_caller_who_loses_interest_leaves_nothing_behind() {
    let pid = block(async {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let sender = Mutex::new(Some(sender));
        let cancel = CancelToken::default();
        let spec = spec("sleep 1000 & echo $!; sleep 1000");
        let sink = |_: Stream, line: &str| {
            if let Some(sender) = sender.lock().unwrap().take() {
                sender.send(line.to_owned()).unwrap();
            }
        };
        tokio::select! {
            _ = run(&spec, &cancel, &sink) => panic!("it cannot end by itself"),
            pid = receiver => pid.unwrap(),
        }
    });
    assert_gone(&pid);
}

#[test]
fn background_children_end_with_the_command() {
    let finished = finish(&spec("sleep 1000 > /dev/null 2>&1 & echo $!"));
    assert_eq!(finished.end, End::Exited(0));
    assert_gone(finished.stdout.tail().trim());
}

#[test]
fn a_grandchild_that_holds_the_pipe_does_not_hold_us_up() {
    // In the group, and in a session of its own, which no group signal reaches.
    let finished = finish(&spec("sleep 1000 & echo $!"));
    assert_eq!(finished.end, End::Exited(0));
    assert_gone(finished.stdout.tail().trim());
    let finished = finish(&spec("setsid sleep 1000 & echo $!"));
    assert_eq!(finished.end, End::Exited(0));
    finish(&spec(&format!("kill {}", finished.stdout.tail().trim())));
}

#[test]
fn output_is_bounded_and_says_what_is_missing() {
    let mut spec = spec("i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done");
    spec.bounds.kept_bytes_max = 20;
    spec.bounds.tail_bytes_max = 30;
    let stdout = finish(&spec).stdout;
    assert_eq!((stdout.total(), stdout.dropped(), stdout.is_cut()), (790, 770, true));
    expect![[r#"
        [766 bytes before this]
        line 97
        line 98
        line 99
    "#]]
    .assert_eq(&stdout.tail());
    expect![[r#"
        line 0
        line 1
        line 2
        [770 bytes dropped]
    "#]]
    .assert_eq(&String::from_utf8(stdout.into_blob()).unwrap());
}

#[test]
fn an_endless_writer_is_bounded_too() {
    let mut spec = spec("yes");
    spec.bounds.timeout = Duration::from_millis(200);
    let finished = finish(&spec);
    assert_eq!(finished.end, End::TimedOut);
    assert!(finished.stdout.kept().len() <= 8 << 20);
    assert!(finished.stdout.tail().len() <= (8 << 10) + 64);
}

#[test]
fn what_is_not_utf8_is_shown_and_kept_exactly() {
    let finished = finish(&spec(r"printf 'a\377b\n'"));
    assert_eq!(finished.stdout.tail(), "a\u{fffd}b\n");
    assert_eq!(finished.stdout.into_blob(), b"a\xffb\n");
}

#[test]
fn a_cut_without_lines_begins_at_a_character() {
    let mut spec = spec("printf 'ääääääää'");
    spec.bounds.tail_bytes_max = 5;
    assert_eq!(finish(&spec).stdout.tail(), "[12 bytes before this]\nää");
}

#[test]
fn lines_come_as_they_are_written() {
    let lines = Mutex::new(Vec::new());
    let script = "echo one; printf 'two\\r\\n'; echo; printf 'no end'; echo three >&2";
    block(run(&spec(script), &CancelToken::default(), &|stream, line| {
        lines.lock().unwrap().push(format!("{}: {line:?}", stream.as_str()));
    }))
    .unwrap();
    let mut lines = lines.into_inner().unwrap();
    lines.sort();
    expect![[r#"
        stderr: "three"
        stdout: ""
        stdout: "no end"
        stdout: "one"
        stdout: "two""#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn a_line_without_end_comes_in_pieces() {
    let lines = Mutex::new(Vec::new());
    block(run(&spec("head -c 20000 /dev/zero | tr '\\0' x"), &CancelToken::default(), &|_, line| {
        lines.lock().unwrap().push(line.len());
    }))
    .unwrap();
    let lines = lines.into_inner().unwrap();
    assert_eq!(lines.iter().sum::<usize>(), 20_000);
    assert!(lines.iter().all(|len| *len <= 8 << 10), "{lines:?}");
}

#[test]
fn a_child_of_our_own_gets_its_input_and_nothing_else() {
    let child = ChildSpec {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), "/bin/pwd; /bin/cat; /usr/bin/env | /bin/grep -c SECRET".into()],
        stdin: b"source\n".to_vec(),
        timeout: LONG,
        output_bytes_max: 1 << 10,
    };
    let finished = block(run_child(child, &CancelToken::default())).unwrap();
    assert_eq!(finished.stdout.kept(), b"/\nsource\n0\n");
}

/// Not a test of its own: the child of the test below.
#[test]
fn limited_child() {
    #[expect(clippy::disallowed_methods, reason = "the child is told by its parent that it is one")]
    if std::env::var_os("WF_LIMITED_CHILD").is_none() {
        return;
    }
    let limits = ChildLimits { address_space_bytes: 512 << 20, cpu_secs: 7, file_bytes: 0, open_files: 20 };
    limit_self(&limits).unwrap();
    let table = std::fs::read_to_string("/proc/self/limits").unwrap();
    for name in ["Max cpu time", "Max file size", "Max core file size", "Max open files", "Max address space"] {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        println!("{}", line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
}

#[test]
fn a_child_limits_itself() {
    let mut spec = spec("");
    let program = std::env::current_exe().unwrap().display().to_string();
    spec.argv = [&program, "--exact", "limited_child", "--nocapture"].map(String::from).to_vec();
    spec.env = BTreeMap::from([("WF_LIMITED_CHILD".into(), "1".into())]);
    let stdout = finish(&spec).stdout.tail();
    let lines: Vec<_> = stdout.lines().filter(|line| line.starts_with("Max")).collect();
    expect![[r#"
        Max cpu time 7 8 seconds
        Max file size 0 0 bytes
        Max core file size 0 0 bytes
        Max open files 20 20 files
        Max address space 536870912 536870912 bytes"#]]
    .assert_eq(&lines.join("\n"));
}
