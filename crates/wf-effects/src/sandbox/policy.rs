//! What a process may do, as plain data: which places it sees, which it may write, whom it may reach, how much it may use.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hosts::HostRule;

/// The longest path that is taken; the kernel has no longer ones.
pub(super) const PATH_BYTES_MAX: usize = 4_095;

/// What a sandboxed process may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What the read-only root differs in, in the order in which it is mounted: what contains comes first.
    pub(super) places: Vec<Place>,
    /// Whom it may reach.
    pub(super) network: Vec<HostRule>,
    /// How much it may use.
    pub(super) limits: Limits,
}

/// One place of the root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place {
    /// Where.
    pub(super) path: PathBuf,
    /// What is there.
    pub(super) view: View,
}

/// What a process sees at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum View {
    /// Nothing: an empty directory, or a file that cannot be opened.
    Hidden,
    /// A directory of its own, gone with the process.
    Private,
    /// What is there, read-only; nothing if it is not there.
    Read,
    /// What is there. No part of the path may be a symbolic link.
    Write,
    /// Like `Read`, within what may be written. No part of the path may be a symbolic link.
    Sealed,
}

/// How much processes of one sandbox may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory that one process may have for itself.
    pub memory_bytes: u64,
    /// Processes and threads at once.
    pub processes: u64,
    /// The largest file that may be written.
    pub file_bytes: u64,
    /// Files that one process has open.
    pub open_files: u64,
    /// What `/tmp` holds; it is memory.
    pub temporary_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 8 << 30,
            processes: 4_096,
            file_bytes: 8 << 30,
            open_files: 4_096,
            temporary_bytes: 1 << 30,
        }
    }
}

/// Directories in which people and programs keep what is theirs: homes, sockets, what is plugged in.
const HIDDEN: [&str; 27] = [
    "/home",
    "/root",
    "/run",
    "/media",
    "/mnt",
    "/boot",
    "/etc/docker",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/krb5.keytab",
    "/etc/kubernetes",
    "/etc/letsencrypt",
    "/etc/NetworkManager",
    "/etc/rancher",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/var/backups",
    "/var/lib/containerd",
    "/var/lib/docker",
    "/var/lib/kubelet",
    "/var/log",
    "/var/mail",
    "/var/spool",
];

/// What `/sys` says of the machine: its devices, interfaces, disks, and what root could look into the kernel by.
const HIDDEN_SYS: &str = "/sys";
/// Of that, processors and memory: programs decide by it how many threads they start.
const SHOWN_SYS: &str = "/sys/devices/system";

/// Directories that each sandbox has for itself.
const PRIVATE: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// Where tool chains are in a home. Nothing of what they keep beside them (tokens, histories, settings) is seen.
const TOOLCHAINS: [&str; 25] = [
    ".asdf",
    ".bun/bin",
    ".cabal/bin",
    ".cargo/bin",
    ".cargo/config.toml",
    ".cargo/git",
    ".cargo/registry",
    ".deno/bin",
    ".ghcup",
    ".juliaup",
    ".local/bin",
    ".local/lib",
    ".local/pipx",
    ".local/share/fnm",
    ".local/share/mise",
    ".local/share/pnpm",
    ".local/share/uv",
    ".m2/repository",
    ".nvm",
    ".opam",
    ".pyenv",
    ".rbenv",
    ".rustup",
    ".sdkman",
    "go",
];

/// What of this machine a policy is made from.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Homes whose content is hidden, but for tool chains.
    pub homes: Vec<PathBuf>,
    /// What is hidden besides: the engine's own state and configuration.
    pub hidden: Vec<PathBuf>,
    /// What may be read wherever it is, as the user has configured.
    pub readable: Vec<PathBuf>,
    /// Directories of programs: those of `PATH`.
    pub programs: Vec<PathBuf>,
    /// How much may be used.
    pub limits: Limits,
}

impl Host {
    /// A policy that allows nothing but to read what is not hidden.
    pub fn policy(&self) -> Policy {
        let mut policy = Policy { places: Vec::new(), network: Vec::new(), limits: self.limits };
        let system = HIDDEN.iter().chain([&HIDDEN_SYS]).map(PathBuf::from);
        for path in system.chain(self.homes.iter().cloned()).chain(self.hidden.iter().cloned()) {
            policy.add(&path, View::Hidden);
        }
        policy.add(Path::new(SHOWN_SYS), View::Read);
        for path in PRIVATE {
            policy.add(Path::new(path), View::Private);
        }
        let toolchains = self.homes.iter().flat_map(|home| TOOLCHAINS.iter().map(move |it| home.join(it)));
        let programs = self.programs.iter().filter(|it| !self.homes.contains(it)).cloned();
        for path in toolchains.chain(programs).chain(self.readable.iter().cloned()) {
            if policy.is_veiled(&path) && path.exists() {
                policy.add(&path, View::Read);
            }
        }
        policy
    }
}

impl Policy {
    /// Also lets it read a place.
    #[must_use]
    pub fn reading(mut self, path: &Path) -> Self {
        self.add(path, View::Read);
        self
    }

    /// Also lets it write below a directory. The directory's path holds no symbolic link.
    #[must_use]
    pub fn writing(mut self, path: &Path) -> Self {
        self.add(path, View::Write);
        self
    }

    /// Takes the right to write a place within what may be written.
    #[must_use]
    pub fn sealing(mut self, path: &Path) -> Self {
        self.add(path, View::Sealed);
        self
    }

    /// Hides a place.
    #[must_use]
    pub fn hiding(mut self, path: &Path) -> Self {
        self.add(path, View::Hidden);
        self
    }

    /// Lets it reach these hosts.
    #[must_use]
    pub fn reaching(mut self, hosts: Vec<HostRule>) -> Self {
        self.network = hosts;
        self
    }

    /// With these limits.
    #[must_use]
    pub fn limited(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Whom it may reach.
    pub fn network(&self) -> &[HostRule] {
        &self.network
    }

    /// The places that may be written.
    pub(super) fn writable(&self) -> impl Iterator<Item = &Path> {
        let is_writable = |place: &&Place| matches!(place.view, View::Write | View::Private);
        self.places.iter().filter(is_writable).map(|place| place.path.as_path())
    }

    /// Whether a place is within one that is hidden or private.
    fn is_veiled(&self, path: &Path) -> bool {
        let veils = |place: &Place| matches!(place.view, View::Hidden | View::Private) && path.starts_with(&place.path);
        self.places.iter().any(veils)
    }

    /// Takes a place in, in its order. What is said last of the same place counts.
    fn add(&mut self, path: &Path, view: View) {
        if !is_plain(path) {
            return;
        }
        self.places.retain(|place| place.path != path);
        self.places.push(Place { path: path.to_owned(), view });
        let places: BTreeSet<Place> = self.places.drain(..).collect();
        self.places = places.into_iter().collect();
    }
}

/// Whether a path is absolute, names something below the root, and has no part that leads elsewhere.
fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir)
        && path.as_os_str().len() <= PATH_BYTES_MAX
        && path.components().count() > 1
        && parts.all(|part| matches!(part, Component::Normal(_)))
}
