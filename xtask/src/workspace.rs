//! Where the workspace is, and the one place that starts other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The workspace's root: the directory above this crate's.
pub fn root() -> PathBuf {
    let own = variable("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&own).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// A variable of the environment, if it is there and is text.
#[expect(clippy::disallowed_methods, reason = "cargo tells its tasks by the environment which cargo runs them")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A program to be started in `dir`, with nothing to read and without the settings of whoever runs the task.
#[expect(clippy::disallowed_methods, reason = "tasks run cargo, git and the built program")]
pub fn command(dir: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("WHALEFLOW_") && !name.starts_with("WHALEFLOW_SIM_")) {
            command.env_remove(&name);
        }
    }
    command
}

/// The cargo that runs this task.
pub fn cargo(dir: &Path) -> Command {
    command(dir, &variable("CARGO").unwrap_or_else(|| "cargo".to_owned()))
}

/// Whether `cargo <tool>` is there.
pub fn has_cargo_tool(dir: &Path, tool: &str) -> bool {
    let probe = cargo(dir).args([tool, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

/// What a program prints, when it ends well.
///
/// # Errors
/// When it cannot be started, fails, or prints something that is not text.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot start {shown}"))?;
    if !output.status.success() {
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim_end().to_owned());
        bail!("{shown} failed: {}\n{}", output.status, said.join("\n"));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{shown} printed something that is not text"))
}
