//! A machine in small: a home with secrets, the engine's state with a tree in it, and processes that are run in both
//! ways, inside and outside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use wf_effects::CancelToken;
use wf_effects::process::{Bounds, Finished, SpawnError, Spec, run};
use wf_effects::sandbox::{Host, Policy, Tier, detect};

/// Long enough for a machine under load; no test that passes waits for it.
pub(crate) const LONG: Duration = Duration::from_secs(120);
pub(crate) const SUPERVISOR: &str = env!("CARGO_BIN_EXE_wf-scripted");

pub(crate) fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Whether this machine has a sandbox. Where it has none, says so: a test that does nothing is to be seen.
pub(crate) fn has_sandbox() -> bool {
    static TIER: OnceLock<Tier> = OnceLock::new();
    let tier = TIER.get_or_init(|| block(detect(Path::new(SUPERVISOR))));
    if !matches!(tier, Tier::Own { .. }) {
        println!("SKIPPED 1 test of the sandbox: {}", tier.describe());
        return false;
    }
    true
}

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    /// Where processes may write.
    pub(crate) tree: PathBuf,
    /// What nobody may see.
    pub(crate) home: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("wf-sandbox-").tempdir_in("/var/tmp").unwrap();
        let at = dir.path().canonicalize().unwrap();
        let (tree, home) = (at.join("state/tree"), at.join("home"));
        for made in [&tree.join("src"), &home.join(".ssh"), &home.join(".cargo/bin"), &at.join("git/hooks")] {
            std::fs::create_dir_all(made).unwrap();
        }
        std::fs::write(home.join(".ssh/id"), "SECRET\n").unwrap();
        std::fs::write(home.join(".cargo/credentials.toml"), "SECRET\n").unwrap();
        std::fs::write(home.join(".cargo/bin/tool"), "tool\n").unwrap();
        std::fs::write(at.join("git/config"), "[core]\n").unwrap();
        std::fs::write(tree.join(".git"), format!("gitdir: {}\n", at.join("git").display())).unwrap();
        std::fs::write(tree.join("src/a.rs"), "fn a() {}\n").unwrap();
        std::fs::write(at.join("state/log"), "SECRET\n").unwrap();
        Self { dir, tree, home }
    }

    pub(crate) fn host(&self) -> Host {
        Host { homes: vec![self.home.clone()], hidden: vec![self.tree.parent().unwrap().into()], ..Host::default() }
    }

    /// Everything in the tree may be written but git's pointer.
    pub(crate) fn policy(&self) -> Policy {
        self.host().policy().writing(&self.tree).sealing(&self.tree.join(".git"))
    }

    pub(crate) fn spec(&self, argv: &[&str], policy: Option<Policy>) -> Spec {
        Spec {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            cwd: self.tree.clone(),
            env: BTreeMap::from([("PATH".into(), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into())]),
            stdin: None,
            bounds: Bounds::with_timeout(LONG),
            supervisor: Some(SUPERVISOR.into()),
            sandbox: policy,
        }
    }

    pub(crate) fn sh(&self, script: &str, policy: Option<Policy>) -> Finished {
        self.run(&self.spec(&["sh", "-c", script], policy)).unwrap()
    }

    pub(crate) fn run(&self, spec: &Spec) -> Result<Finished, SpawnError> {
        block(run(spec, &CancelToken::default(), &|_, _| {}))
    }
}
