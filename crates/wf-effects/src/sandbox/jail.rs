//! The first process of a sandbox. It is made by the supervisor of a command, in namespaces of its own; it builds its
//! root, gives up everything that it does not need, starts the program, and collects whoever loses its parent. With it
//! the kernel ends everything inside.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitStatus, getegid, geteuid, set_dumpable_behavior,
    set_parent_process_death_signal, setpgid, wait,
};
use serde::{Deserialize, Serialize};

use super::policy::Policy;
use super::proxy::hand_out;
use super::{mounts, raw, restrict};

/// What stood in the way of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Namespaces could not be made.
    Namespaces,
    /// The user could not be mapped into its namespace.
    Users,
    /// The network inside could not be set up.
    Network,
    /// The root could not be built.
    Mounts,
    /// Resources could not be limited.
    Limits,
    /// Capabilities could not be given up.
    Capabilities,
    /// Landlock did not take the rules.
    Landlock,
    /// System calls could not be filtered.
    Seccomp,
    /// The sandbox ended before it could say how it went.
    Lost,
}

impl Stage {
    const ALL: [Self; 9] = [
        Self::Namespaces,
        Self::Users,
        Self::Network,
        Self::Mounts,
        Self::Limits,
        Self::Capabilities,
        Self::Landlock,
        Self::Seccomp,
        Self::Lost,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Users => "users",
            Self::Network => "network",
            Self::Mounts => "mounts",
            Self::Limits => "limits",
            Self::Capabilities => "capabilities",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Lost => "lost",
        }
    }

    /// The stage of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == name)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who runs the engine. In a new namespace of users nobody has a name at first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outside {
    user: u32,
    group: u32,
}

impl Outside {
    /// Whoever runs this process.
    pub(crate) fn here() -> Self {
        Self { user: geteuid().as_raw(), group: getegid().as_raw() }
    }
}

/// Makes the first process of a sandbox. Answers with its id; in that process it runs `inside` and does not return.
pub(crate) fn enter(inside: impl FnOnce() -> i32) -> io::Result<Pid> {
    if let Some(pid) = raw::clone_apart()? {
        return Ok(pid);
    }
    // Whatever happens in here, it must not go on as if it were the supervisor.
    let code = catch_unwind(AssertUnwindSafe(inside)).unwrap_or(1);
    raw::exit_now(code)
}

/// Shuts this process in. Answers with what a program inside is told by its environment.
pub(crate) fn shut_in(
    policy: &Policy,
    outside: Outside,
    listener: Option<UnixStream>,
) -> Result<Vec<(String, String)>, (Stage, io::Error)> {
    let at = |stage: Stage| move |error: io::Error| (stage, error);
    raw::default_signals();
    raw::close_on_exec(3).map_err(at(Stage::Namespaces))?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|it| (Stage::Namespaces, it.into()))?;
    setpgid(None, None).map_err(|it| (Stage::Namespaces, it.into()))?;
    map_users(outside).map_err(at(Stage::Users))?;
    raw::raise_loopback().map_err(at(Stage::Network))?;
    let env = match listener {
        Some(socket) => hand_out(&socket, policy.network()).map_err(at(Stage::Network))?,
        None => Vec::new(),
    };
    mounts::enter(policy).map_err(at(Stage::Mounts))?;
    restrict::restrict(&policy.limits, policy.writable())?;
    Ok(env)
}

/// Collects everyone until the program has ended.
pub(crate) fn tend(program: Pid) -> Option<WaitStatus> {
    loop {
        match wait(rustix::process::WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => return Some(status),
            Ok(Some(_) | None) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Whoever runs the engine is the same user inside, and the only one.
fn map_users(outside: Outside) -> io::Result<()> {
    // Else its own files in /proc would not be its own.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{0} {0} 1", outside.user))?;
    std::fs::write("/proc/self/gid_map", format!("{0} {0} 1", outside.group))
}
