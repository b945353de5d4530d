//! A machine in small: a home with secrets, the engine's state with a tree in it, and processes that are run in both
//! ways, inside and outside.

use std::collections::BTreeMap;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
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

/// What lies around a tree: somebody who listens, and a process of somebody's.
pub(crate) struct Surroundings {
    env: BTreeMap<String, String>,
    peer: std::process::Child,
    _listeners: (UnixListener, UnixListener, UnixListener, UnixDatagram),
}

impl Surroundings {
    pub(crate) fn env(&self) -> BTreeMap<String, String> {
        self.env.clone()
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        // It may have been ended by what was tried.
        let _ = self.peer.kill();
        let _ = self.peer.wait();
    }
}

/// Answers every request on a port of this machine, for as long as the tests run.
pub(crate) fn port() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                std::thread::spawn(move || {
                    use std::io::{Read, Write};
                    let mut client = client.unwrap();
                    let mut head = [0; 4_096];
                    let _ = client.read(&mut head);
                    let _ =
                        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nHELLO\n");
                });
            }
        });
        port
    })
}

impl World {
    /// Somebody's process, sockets and files, outside of everything that is granted.
    pub(crate) fn surroundings(&self) -> Surroundings {
        use std::os::linux::net::SocketAddrExt;
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let at = self.dir.path().canonicalize().unwrap();
        let out = at.join("out");
        std::fs::create_dir_all(out.join("dir")).unwrap();
        std::fs::create_dir_all(at.join("git/objects")).unwrap();
        std::fs::write(at.join("git/objects/aa"), "x").unwrap();
        std::fs::write(out.join("file"), "o\n").unwrap();
        std::fs::write(self.dir.path().join("tmpfile"), "").unwrap();
        let name = format!("wf-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let listeners = (
            UnixListener::bind(out.join("sock")).unwrap(),
            UnixListener::bind(self.tree.join("src/sock")).unwrap(),
            UnixListener::bind_addr(&address).unwrap(),
            UnixDatagram::bind(out.join("dgram")).unwrap(),
        );
        #[expect(clippy::disallowed_methods, reason = "a test needs somebody else's process")]
        let peer = std::process::Command::new("/bin/sh")
            .args(["-c", "sleep 300; : PEERMARK"])
            .env("KEY", "PEERSECRET")
            .process_group(0)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let text = |path: &Path| path.display().to_string();
        let env = [
            ("HOME", text(&self.home)),
            ("OUT", text(&out)),
            ("STATE", text(&at.join("state"))),
            ("GITDIR", text(&at.join("git"))),
            ("SOCK", text(&out.join("sock"))),
            ("DGRAM", text(&out.join("dgram"))),
            ("ABSTRACT", name),
            ("PORT", port().to_string()),
            ("PEER", peer.id().to_string()),
            ("TMPFILE", text(&at.join("tmpfile"))),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).into();
        Surroundings { env, peer, _listeners: listeners }
    }

    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("wf-sandbox-").tempdir_in("/var/tmp").unwrap();
        let at = dir.path().canonicalize().unwrap();
        let (tree, home) = (at.join("state/tree"), at.join("person"));
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

    /// A place beside the tree.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
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

/// Whether the long forms of tests are wanted.
pub(crate) fn is_long() -> bool {
    std::env::vars_os().any(|(name, value)| name == "WHALEFLOW_LONG" && value == "1")
}
