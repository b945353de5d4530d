//! A directory with state of its own, and the program run in it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use wf_effects::CancelToken;
use wf_effects::process::{self, Bounds, End, Finished, SpawnError, Spec};
use wf_effects::sandbox::Host;

/// One directory to work in, and one for state; both go away, and so does every process that works in them.
pub(crate) struct Place {
    temp: TempDir,
}

impl Drop for Place {
    fn drop(&mut self) {
        // A test that fails leaves workers, which would wait for work for ever.
        let root = self.temp.path().canonicalize().unwrap_or_default();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let dir = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            let id = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            if let Some(id) = id.filter(|_| dir.starts_with(&root)) {
                let _ = kill_process(id, Signal::KILL);
            }
        }
    }
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The one object that it printed.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.out.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// The same, of a program that ended well.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        self.json()
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { temp: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.dir()).unwrap();
        place
    }

    /// The directory to work in.
    pub(crate) fn dir(&self) -> PathBuf {
        self.temp.path().join("work")
    }

    /// Where state is.
    pub(crate) fn home(&self) -> PathBuf {
        self.temp.path().join("home")
    }

    /// A directory beside the one to work in.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        let dir = self.temp.path().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.dir().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir().join(name)).unwrap()
    }

    pub(crate) fn command(&self, dir: &Path, program: &str, args: &[&str]) -> Command {
        #[expect(clippy::disallowed_methods, reason = "the test runs the program from outside")]
        let mut command = Command::new(program);
        let path = std::env::vars_os().find(|(name, _)| name == "PATH").unwrap().1;
        command.args(args).current_dir(dir).env_clear().env("PATH", path).stdin(Stdio::null());
        command.env("WHALEFLOW_HOME", self.home()).env("USER", "ann").env("HOME", self.temp.path());
        command
    }

    /// Runs the program in the directory.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_in(&self.dir(), args)
    }

    pub(crate) fn run_in(&self, dir: &Path, args: &[&str]) -> Ran {
        Ran::of(self.command(dir, env!("CARGO_BIN_EXE_whaleflow"), args).output().unwrap())
    }

    /// Runs the program in the directory, with further variables in its environment.
    pub(crate) fn run_env(&self, env: &[(&str, &str)], args: &[&str]) -> Ran {
        let mut command = self.command(&self.dir(), env!("CARGO_BIN_EXE_whaleflow"), args);
        Ran::of(command.envs(env.iter().copied()).output().unwrap())
    }

    /// Runs the program where nobody can make a sandbox: in one.
    pub(crate) fn run_caged(&self, args: &[&str]) -> Ran {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_whaleflow"));
        let root = self.temp.path().canonicalize().unwrap();
        let command = self.command(&self.dir(), env!("CARGO_BIN_EXE_whaleflow"), args);
        let text = |text: &std::ffi::OsStr| text.to_str().unwrap().to_owned();
        let spec = Spec {
            argv: std::iter::once(command.get_program()).chain(command.get_args()).map(text).collect(),
            cwd: self.dir(),
            env: command.get_envs().filter_map(|(name, value)| Some((text(name), text(value?)))).collect(),
            stdin: None,
            bounds: Bounds::with_timeout(Duration::from_secs(120)),
            supervisor: Some(program.clone()),
            sandbox: Some(Host::default().policy().reading(program.parent().unwrap()).writing(&root)),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        match runtime.block_on(process::run(&spec, &CancelToken::default(), &|_, _| {})) {
            Ok(Finished { end: End::Exited(code), stdout, stderr, .. }) => {
                Ran { code, out: stdout.tail(), err: stderr.tail() }
            }
            // Nobody can here anyway.
            Err(SpawnError::Sandbox { .. }) => self.run(args),
            other => panic!("{other:?}"),
        }
    }

    /// Runs the program with less of something than usual: `limit` is the arguments of the shell's `ulimit`.
    pub(crate) fn run_limited(&self, limit: &str, args: &[&str]) -> Ran {
        let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
        let words = ["-c", &script, env!("CARGO_BIN_EXE_whaleflow")];
        let args: Vec<&str> = words.iter().chain(args).copied().collect();
        Ran::of(self.command(&self.dir(), "sh", &args).output().unwrap())
    }

    /// Runs the program with another directory before those in which programs are found.
    pub(crate) fn run_with(&self, programs: &Path, args: &[&str]) -> Ran {
        let mut command = self.command(&self.dir(), env!("CARGO_BIN_EXE_whaleflow"), args);
        let path = std::env::vars_os().find(|(name, _)| name == "PATH").unwrap().1;
        let dirs = std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path));
        Ran::of(command.env("PATH", std::env::join_paths(dirs).unwrap()).output().unwrap())
    }

    /// Runs the program with a terminal for its input and its messages, and gives an answer to each question that is in
    /// them. The user's shell is `shell` beside the directory.
    pub(crate) fn run_asked(&self, dir: &Path, args: &[&str], answers: &[(&str, &str)]) -> Ran {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let other = || File::options().read(true).write(true).open(&name).unwrap();
        let mut command = self.command(dir, env!("CARGO_BIN_EXE_whaleflow"), args);
        command
            .env("NO_COLOR", "1")
            .env("SHELL", self.temp.path().join("shell"))
            .stdin(other())
            .stderr(other())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Its end is seen when nobody has the terminal open any more.
        drop(command);
        let mut terminal = File::from(terminal);
        let (mut said, mut seen, mut answers) = (String::new(), 0, answers.iter());
        let mut next = answers.next();
        let mut bytes = [0; 4096];
        while let Ok(count) = terminal.read(&mut bytes)
            && count > 0
        {
            said.push_str(&String::from_utf8_lossy(&bytes[..count]));
            if let Some((question, answer)) = next
                && let Some(at) = said[seen..].find(question)
            {
                seen += at + question.len();
                terminal.write_all(format!("{answer}\n").as_bytes()).unwrap();
                next = answers.next();
            }
        }
        assert!(next.is_none(), "{next:?} was not asked: {said}");
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        Ran { code: child.wait().unwrap().code().unwrap_or(-1), out, err: said }
    }

    /// Says who the user is, where git looks for it.
    pub(crate) fn introduce(&self) {
        let text = "[user]\n\tname = Ann\n\temail = ann@example.org\n[init]\n\tdefaultBranch = main\n";
        std::fs::write(self.temp.path().join(".gitconfig"), text).unwrap();
    }

    /// Starts the program, to read its standard output line by line.
    pub(crate) fn start(&self, args: &[&str]) -> (Child, impl Iterator<Item = String> + use<>) {
        let mut command = self.command(&self.dir(), env!("CARGO_BIN_EXE_whaleflow"), args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
        (child, lines)
    }

    /// Starts the program, to read its messages line by line.
    pub(crate) fn start_talking(&self, args: &[&str]) -> (Child, impl Iterator<Item = String> + use<>) {
        let mut command = self.command(&self.dir(), env!("CARGO_BIN_EXE_whaleflow"), args);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(|line| line.unwrap());
        (child, lines)
    }

    /// Makes the directory a repository with one commit of what is in it.
    pub(crate) fn commit_all(&self) {
        let dir = self.dir();
        let identity = ["-c", "user.name=ann", "-c", "user.email=ann@localhost", "-c", "commit.gpgsign=false"];
        for args in [&["init", "-q", "-b", "main"][..], &["add", "-A"], &["commit", "-q", "-m", "all"]] {
            let args: Vec<&str> = identity.iter().chain(args).copied().collect();
            let ran = Ran::of(self.command(&dir, "git", &args).output().unwrap());
            assert_eq!(ran.code, 0, "{ran:?}");
        }
    }

    /// What git says.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        self.git_in(&self.dir(), args)
    }

    pub(crate) fn git_in(&self, dir: &Path, args: &[&str]) -> String {
        let ran = Ran::of(self.command(dir, "git", args).output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.out
    }

    /// Runs another program in the directory.
    pub(crate) fn run_program(&self, program: &str, args: &[&str]) -> Ran {
        Ran::of(self.command(&self.dir(), program, args).output().unwrap())
    }

    /// Sends a signal to a process.
    pub(crate) fn signal(&self, signal: &str, pid: &str) {
        let ran = Ran::of(self.command(&self.dir(), "kill", &[signal, pid]).output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}
