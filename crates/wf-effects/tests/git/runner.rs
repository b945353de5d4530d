//! What surrounds a call of git, seen from a program that stands in for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use expect_test::expect;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use tempfile::TempDir;
use wf_effects::git::{Git, GitError, GitOptions};

use super::support::{make_executable, read, search_path};

/// A directory with a program that is run in git's place.
fn stand_in(script: &str) -> (TempDir, PathBuf) {
    let temp = TempDir::new().unwrap();
    let program = temp.path().join("git");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    make_executable(&program);
    (temp, program)
}

async fn open_with(dir: &Path, program: &Path, timeout: Duration) -> Result<Git, GitError> {
    let (scratch_dir, locks_dir) = (dir.join("scratch"), dir.join("locks"));
    Git::open(GitOptions { program: program.to_owned(), path: search_path(), scratch_dir, locks_dir, timeout }).await
}

const LONG: Duration = Duration::from_secs(120);

#[tokio::test]
async fn no_git_and_an_old_git() {
    let (temp, program) = stand_in("echo git version 2.20.1");
    let error = open_with(temp.path(), &program, LONG).await.unwrap_err();
    expect!["git 2.20.1 is too old, at least 2.32 is needed"].assert_eq(&error.to_string());
    let error = open_with(temp.path(), Path::new("no-such-git"), LONG).await.unwrap_err();
    expect![[r#"cannot run git ("no-such-git"): not on PATH"#]].assert_eq(&error.to_string());
    assert!(matches!(error, GitError::Absent { .. }));
    let (temp, program) = stand_in("echo whatever; printf 'a\\033[31mb' >&2; exit 3");
    let error = open_with(temp.path(), &program, LONG).await.unwrap_err();
    expect!["git --version failed (exit 3): a?[31mb"].assert_eq(&error.to_string());
    assert!(error.is_retryable());
}

#[tokio::test]
async fn git_gets_an_environment_of_its_own() {
    let (temp, program) =
        stand_in("env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^PATH= | sort > \"$0.env\"\necho git version 2.47.3");
    open_with(temp.path(), &program, LONG).await.unwrap();
    let seen = read(&temp.path().join("git.env"));
    let (config, rest): (Vec<&str>, Vec<&str>) = seen.lines().partition(|line| line.starts_with("GIT_CONFIG_"));
    assert_eq!(config.iter().filter(|line| line.contains("core.hooksPath")).count(), 1);
    expect![[r#"
        GIT_ASKPASS=false
        GIT_ATTR_NOSYSTEM=1
        GIT_AUTHOR_EMAIL=whaleflow@localhost
        GIT_AUTHOR_NAME=whaleflow
        GIT_COMMITTER_EMAIL=whaleflow@localhost
        GIT_COMMITTER_NAME=whaleflow
        GIT_EDITOR=false
        GIT_GRAFT_FILE=/dev/null
        GIT_LITERAL_PATHSPECS=1
        GIT_NO_LAZY_FETCH=1
        GIT_NO_REPLACE_OBJECTS=1
        GIT_OPTIONAL_LOCKS=0
        GIT_PAGER=cat
        GIT_TERMINAL_PROMPT=0
        HOME=/nonexistent
        LC_ALL=C
        TZ=UTC
        XDG_CONFIG_HOME=/nonexistent"#]]
    .assert_eq(&rest.join("\n"));
}

#[tokio::test]
async fn what_does_not_end_is_ended_with_all_that_it_started() {
    let (temp, program) = stand_in("trap '' TERM; cat \"$0.pipe\" & cat \"$0.pipe\"; cat \"$0.pipe\"");
    let pipe = temp.path().join("git.pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let error = open_with(temp.path(), &program, Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(&error, GitError::TimedOut { command, .. } if command == "--version"), "{error:?}");
    assert!(error.is_retryable());
    // Soon nobody has the pipe open for reading any more.
    let is_read = || open(&pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).is_ok();
    let gone = async {
        while is_read() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gone).await.unwrap();
}

#[tokio::test]
async fn endless_output_is_cut_off() {
    let (temp, program) = stand_in(
        "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done | tr '\\n' '\\0'",
    );
    let error = open_with(temp.path(), &program, LONG).await.unwrap_err();
    expect!["the output of git --version in bytes exceeds 67108864"].assert_eq(&error.to_string());
}
