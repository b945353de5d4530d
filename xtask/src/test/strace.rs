//! Strace, which the fault harnesses use to make calls of the system fail and to record them.

use std::path::Path;

use crate::workspace::command;

/// Whether strace is here and may trace; where it is not and can be had, it is fetched.
pub(crate) fn is_ready(root: &Path) -> bool {
    works(root) || (is_root(root) && runs(root, "apt-get", &["install", "-y", "-qq", "strace"]) && works(root))
}

fn works(root: &Path) -> bool {
    runs(root, "strace", &["-f", "-o", "/dev/null", "true"])
}

fn runs(root: &Path, program: &str, args: &[&str]) -> bool {
    command(root, program).args(args).output().is_ok_and(|output| output.status.success())
}

fn is_root(root: &Path) -> bool {
    command(root, "id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
