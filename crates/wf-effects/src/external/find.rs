//! Agents that are on this machine: which there are, and which versions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::AgentKind;
use crate::contract::CancelToken;
use crate::process::{Bounds, End, Spec, find_program, run};
use crate::sandbox::Policy;

/// How long an agent may take to say its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(3);
/// Most of what it says that is kept.
const VERSION_BYTES_MAX: usize = 4 << 10;
/// Longest version that is shown.
const VERSION_CHARS_MAX: usize = 80;

/// An agent that is known by its program's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name in configuration.
    pub name: &'static str,
    /// How it is spoken to.
    pub kind: AgentKind,
    /// Its program.
    pub program: &'static str,
    /// Arguments of the program that come first.
    pub args: &'static [&'static str],
    /// Where it keeps its login and its sessions, below a person's home.
    pub state: &'static [&'static str],
    /// Whom it has to reach.
    pub network: &'static [&'static str],
}

const fn known(name: &'static str, kind: AgentKind, args: &'static [&'static str]) -> Known {
    Known { name, kind, program: name, args, state: &[], network: &[] }
}

/// Those that are looked for.
pub const KNOWN: [Known; 5] = [
    Known {
        state: &[".claude", ".claude.json"],
        network: &["api.anthropic.com"],
        ..known("claude", AgentKind::Claude, &[])
    },
    Known {
        state: &[".codex"],
        network: &["api.openai.com", "chatgpt.com", "auth.openai.com"],
        ..known("codex", AgentKind::Codex, &[])
    },
    Known { state: &[".local/share/opencode", ".config/opencode"], ..known("opencode", AgentKind::OpenCode, &[]) },
    Known {
        state: &[".gemini"],
        network: &["*.googleapis.com"],
        ..known("gemini", AgentKind::Acp, &["--experimental-acp"])
    },
    Known { state: &[".config/goose", ".local/share/goose"], ..known("goose", AgentKind::Acp, &["acp"]) },
];

/// An agent that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub known: Known,
    /// Its program.
    pub path: PathBuf,
}

/// The known agents that are in directories of `PATH`, the first of each.
pub fn find(path: &str) -> Vec<Found> {
    let found = |known: Known| Some(Found { known, path: find_program(path, known.program)? });
    KNOWN.into_iter().filter_map(found).collect()
}

/// What a program says its version is: its first line. It is given `path` to find others, a home without anything in it,
/// and a moment; it reaches nobody where there is a sandbox.
///
/// # Errors
/// When it says none, with the reason.
pub async fn version(program: &Path, path: &str, supervisor: &Path, sandbox: Option<Policy>) -> Result<String, String> {
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    let dir = std::fs::canonicalize(home.path()).map_err(|error| error.to_string())?;
    let shown = dir.display().to_string();
    let env = [("PATH", path), ("HOME", &shown), ("TMPDIR", &shown), ("LANG", "C.UTF-8")];
    let spec = Spec {
        argv: vec![program.display().to_string(), "--version".to_owned()],
        cwd: dir.clone(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect::<BTreeMap<_, _>>(),
        stdin: None,
        bounds: Bounds {
            kept_bytes_max: VERSION_BYTES_MAX,
            term_grace: Duration::ZERO,
            ..Bounds::with_timeout(VERSION_TIMEOUT)
        },
        supervisor: Some(supervisor.to_owned()),
        sandbox: sandbox.map(|policy| policy.writing(&dir)),
    };
    let finished = run(&spec, &CancelToken::default(), &|_, _| {}).await.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(finished.stdout.kept()).into_owned();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    match (finished.end, line) {
        (End::Exited(0), Some(line)) => {
            Ok(line.chars().filter(|it| !it.is_control()).take(VERSION_CHARS_MAX).collect())
        }
        (End::TimedOut, _) => Err(format!("it does not say its version within {} s", VERSION_TIMEOUT.as_secs())),
        (End::Exited(code), _) => Err(format!("it says no version, and ends with exit code {code}")),
        (End::Signalled(signal), _) => Err(format!("it says no version, and is ended by signal {signal}")),
        (End::Cancelled, _) => Err("it says no version".to_owned()),
    }
}
