//! The sandbox: what a leaf's processes may see, write, reach and use, and the kernel's means that hold them to it.
//!
//! A [`Policy`] is plain. It is made from what this machine is ([`Host`]) and what a leaf may do, and goes with a
//! command to its supervisor, which makes namespaces of users, mounts, processes, network and IPC, builds a read-only
//! root in which only what the policy names can be written, and takes rights to paths (Landlock), system calls
//! (seccomp), resources and every capability away before the program starts. Any step that fails is a refusal: there is
//! no sandbox with holes. `docs/sandbox.md` says what is protected and what is not.

mod hosts;
pub(crate) mod jail;
mod mounts;
mod policy;
pub(crate) mod proxy;
mod raw;
mod restrict;
mod syscalls;

use std::path::Path;

pub use hosts::{HostRule, NoHost};
pub use jail::Stage;
pub use policy::{Host, Limits, Policy};

use crate::process::{SpawnError, probe};

/// What this machine can do to hold processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Namespaces of the engine's own making, with seccomp and, where the kernel has it, Landlock.
    Own {
        /// The version of Landlock that the kernel has; 0 is none.
        landlock: u32,
    },
    /// Nothing: what would need it is refused.
    Missing {
        /// What stands in the way.
        stage: Stage,
        /// What the operating system says.
        reason: String,
    },
    /// Somebody has switched it off: processes run as whoever runs the engine.
    Off,
}

impl Tier {
    /// As a run's log names it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Own { .. } => "namespaces",
            Self::Missing { .. } => "missing",
            Self::Off => "off",
        }
    }

    /// One line for people: what holds, and what is missing.
    pub fn describe(&self) -> String {
        match self {
            Self::Own { landlock: 0 } => "namespaces and seccomp; this kernel has no Landlock".to_owned(),
            Self::Own { landlock } => format!("namespaces, seccomp and Landlock (version {landlock})"),
            Self::Missing { stage, reason } => format!("none: {stage} cannot be had ({reason}); {}", hint(*stage)),
            Self::Off => "off: processes run as you".to_owned(),
        }
    }
}

/// What a person can do about a missing sandbox.
pub fn hint(stage: Stage) -> &'static str {
    match stage {
        Stage::Namespaces | Stage::Users => {
            "let users make namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, \
             kernel.apparmor_restrict_unprivileged_userns; in a container: its seccomp profile), or choose `--sandbox=off`"
        }
        Stage::Mounts => "mounts in namespaces need Linux 5.12 and an unmasked /proc, or choose `--sandbox=off`",
        Stage::Seccomp | Stage::Landlock => "the kernel must have seccomp filters, or choose `--sandbox=off`",
        Stage::Network | Stage::Limits | Stage::Capabilities | Stage::Lost => "`--sandbox=off` goes without",
    }
}

/// Finds out what this machine can do, by doing it once. `supervisor` is the program of supervisors.
pub async fn detect(supervisor: &Path) -> Tier {
    match probe(supervisor, Host::default().policy()).await {
        Ok(()) => Tier::Own { landlock: raw::landlock_version() },
        Err(SpawnError::Sandbox { stage, source }) => Tier::Missing { stage, reason: source.to_string() },
        Err(error) => Tier::Missing { stage: Stage::Lost, reason: error.to_string() },
    }
}
