//! A place with repositories, and a git that is not the engine's to make and look at them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use tempfile::TempDir;
use wf_effects::git::{CheckpointOrder, Git, GitOptions, PoolOptions, Repository, Trees, TreesOptions};
use wf_ir::Glob;
use wf_kernel::record::Checkpoint;
use wf_store::{Presence, Present, Store, TreeChange, TreeFilter, TreeRow, TreeUse};

pub(crate) const RUN: &str = "run1";

/// A directory for one test, and the engine's git.
pub(crate) struct Lab {
    pub(crate) temp: TempDir,
    pub(crate) git: Git,
    pub(crate) store: Store,
}

/// A repository at `repo`, with the trees of [`RUN`] at `trees`.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) repo: PathBuf,
    pub(crate) base: String,
    pub(crate) trees: Trees,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let temp = TempDir::new().unwrap();
        let git = open_git(temp.path()).await;
        Self { temp, git, store: Store::memory() }
    }

    fn presence(&self) -> Presence {
        Presence::open(self.temp.path()).unwrap()
    }

    /// Shows that a process lives. Of all others the trees think that they are gone.
    pub(crate) fn announce(&self, holder: &str) -> Present {
        self.presence().announce(holder).unwrap()
    }

    /// How trees are shared out in these tests, for a process of this name: none waits for the next branch.
    pub(crate) fn pool(&self, holder: &str) -> PoolOptions {
        let usual = PoolOptions::new(self.store.trees.clone(), holder);
        PoolOptions { presence: Some(self.presence()), warm_max: 0, ..usual }
    }

    /// The trees of [`RUN`] at `root`, as a process of this name has them.
    pub(crate) async fn trees(&self, repo: &Path, root: &str, pool: PoolOptions) -> Trees {
        self.trees_by(&self.git, repo, root, pool).await
    }

    /// The same, made by another git.
    pub(crate) async fn trees_by(&self, git: &Git, repo: &Path, root: &str, pool: PoolOptions) -> Trees {
        let repository = Repository::discover(git, repo).await.unwrap();
        Trees::open(&repository, &TreesOptions { root: self.path(root), run: RUN.to_owned(), pool }).unwrap()
    }

    /// The real path of a name in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        std::fs::canonicalize(self.temp.path()).unwrap().join(name)
    }

    /// A repository with one commit, made the same each time.
    pub(crate) fn repository(&self, name: &str) -> (PathBuf, String) {
        let dir = self.path(name);
        write_all(
            &dir,
            &[("README", "one\ntwo\n"), ("src/a.txt", "a\n"), ("src/b.txt", "b\n"), (".gitignore", "*.log\n")],
        );
        raw(&dir, &["init", "-q", "-b", "main"]);
        let base = commit_all(&dir, "begin");
        (dir, base)
    }
}

pub(crate) async fn open_git(dir: &Path) -> Git {
    open_program(dir, "git".into()).await
}

pub(crate) async fn open_program(dir: &Path, program: PathBuf) -> Git {
    Git::open(options(dir, program)).await.unwrap()
}

pub(crate) fn options(dir: &Path, program: PathBuf) -> GitOptions {
    GitOptions {
        program,
        path: search_path(),
        scratch_dir: dir.join("scratch"),
        locks_dir: dir.join("locks"),
        timeout: Duration::from_secs(120),
    }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let lab = Lab::new().await;
        let (repo, base) = lab.repository("repo");
        Self::over(lab, repo, base).await
    }

    pub(crate) async fn over(lab: Lab, repo: PathBuf, base: String) -> Self {
        let trees = lab.trees(&repo, "trees", lab.pool("first")).await;
        Self { lab, repo, base, trees }
    }

    /// The same trees as another process sees them, after the first is gone.
    pub(crate) async fn successor(&self) -> Trees {
        self.lab.trees(&self.repo, "trees", self.lab.pool("second")).await
    }

    /// The rows of trees, with what they say.
    pub(crate) async fn rows(&self) -> Vec<TreeRow> {
        let listed = self.lab.store.trees.trees(TreeFilter::default()).await.unwrap();
        listed.into_iter().map(|listed| listed.row).collect()
    }

    /// Changes the row of a branch's tree behind the engine's back.
    pub(crate) async fn change_row(&self, branch: &str, change: impl FnOnce(&mut TreeUse)) {
        let is_of = |row: &TreeRow| row.used.tenant.as_ref().is_some_and(|tenant| tenant.branch == branch);
        let row = self.rows().await.into_iter().find(is_of).unwrap();
        let mut to = row.used.clone();
        change(&mut to);
        self.lab.store.trees.change_tree(TreeChange { slot: row.slot, epoch: row.epoch, to }).await.unwrap();
    }

    /// A tree at the base, where a leaf is about to begin.
    pub(crate) async fn ready(&self, branch: &str) -> PathBuf {
        self.trees.acquire(branch, &self.base).await.unwrap();
        self.trees.begin(branch, &self.base).await.unwrap().dir
    }

    pub(crate) async fn checkpoint(&self, branch: &str, writes: &[&str]) -> Checkpoint {
        self.trees.checkpoint(order(branch, &self.base, writes)).await.unwrap()
    }

    /// What a ref names, as `git rev-parse` says.
    pub(crate) fn at(&self, rev: &str) -> String {
        raw(&self.repo, &["rev-parse", "--verify", rev])
    }

    /// The content of a file of a commit.
    pub(crate) fn show(&self, rev: &str, path: &str) -> String {
        raw(&self.repo, &["show", &format!("{rev}:{path}")])
    }

    pub(crate) fn files_of(&self, rev: &str) -> String {
        raw(&self.repo, &["ls-tree", "-r", "--name-only", rev]).replace('\n', " ")
    }
}

pub(crate) fn order(branch: &str, begin: &str, writes: &[&str]) -> CheckpointOrder {
    CheckpointOrder {
        branch: branch.to_owned(),
        leaf: format!("{branch}/write"),
        begin: begin.to_owned(),
        writes: writes.iter().map(|glob| Glob::parse(glob).unwrap()).collect(),
        at_ms: 1_700_000_000_123,
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests look for git where their caller does")]
pub(crate) fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap()
}

/// Runs the tests' own git, which knows no config but the repository's, and answers with what it says.
pub(crate) fn raw(dir: &Path, args: &[&str]) -> String {
    let output = raw_output(dir, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?} in {dir:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The same, whatever comes of it.
pub(crate) fn raw_output(dir: &Path, args: &[&str]) -> Output {
    plain(dir, "git", args)
}

/// What a shell says to a script, in which `git` is the tests' own.
pub(crate) fn shell(dir: &Path, script: &str) -> Output {
    plain(dir, "sh", &["-c", script])
}

fn plain(dir: &Path, program: &str, args: &[&str]) -> Output {
    #[expect(clippy::disallowed_methods, reason = "the tests make repositories with a git that is not the engine's")]
    let mut command = std::process::Command::new(program);
    command
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", search_path())
        .envs([("HOME", "/nonexistent"), ("GIT_CONFIG_NOSYSTEM", "1"), ("LC_ALL", "C")])
        .envs([("GIT_AUTHOR_NAME", "t"), ("GIT_AUTHOR_EMAIL", "t@t"), ("GIT_AUTHOR_DATE", "@1600000000 +0000")])
        .envs([
            ("GIT_COMMITTER_NAME", "t"),
            ("GIT_COMMITTER_EMAIL", "t@t"),
            ("GIT_COMMITTER_DATE", "@1600000000 +0000"),
        ]);
    command.output().unwrap()
}

pub(crate) fn commit_all(dir: &Path, message: &str) -> String {
    raw(dir, &["add", "-A"]);
    raw(dir, &["commit", "-q", "--allow-empty", "-m", message]);
    raw(dir, &["rev-parse", "HEAD"])
}

pub(crate) fn write_all(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

pub(crate) fn make_executable(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Everything that is the user's: files of the checkout and of `.git`, but objects, `refs/whaleflow` and trees.
pub(crate) fn users_own(repo: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(relative) = waiting.pop() {
        for entry in std::fs::read_dir(repo.join(&relative)).unwrap() {
            let name = relative.join(entry.unwrap().file_name());
            let path = repo.join(&name);
            let text = name.to_string_lossy().into_owned();
            let is_ours = [".git/objects", ".git/refs/whaleflow", ".git/worktrees"].contains(&text.as_str());
            let kind = path.symlink_metadata().unwrap().file_type();
            if is_ours {
                continue;
            }
            if kind.is_dir() {
                waiting.push(name);
            } else if kind.is_symlink() {
                found.insert(text, std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
            } else if kind.is_file() {
                found.insert(text, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// The names in a directory that the engine still has there, hidden ones included.
pub(crate) fn names_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
