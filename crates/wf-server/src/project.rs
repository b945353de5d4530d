//! Which project a command is about, and where its state is.
//!
//! A project is the repository around a directory, or the directory itself where there is none. Its state lies outside
//! of it, so that nothing in a repository votes on trust:
//!
//! ```text
//! <state>/key                         the key under which sensitive inputs are digested
//! <state>/scratch/, <state>/locks/    for git
//! <state>/projects/<name>-<hash>/
//!     project.json                    what it is of
//!     trust.json                      that its commands may run
//!     store/                          logs, inboxes, blobs, traces
//!     fixtures/<name>-<digest>/       fixtures as repositories
//!     logs/<run>.log                  what detached processes say
//! ```

use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use wf_ir::Digest;
use wf_store::{Presence, SqliteOptions, Store};

use crate::environment::Environment;
use crate::error::Error;

/// A pointer file of git beyond this is none.
const POINTER_BYTES_MAX: u64 = 8 << 10;
/// The longest readable part of a project's directory name.
const NAME_LEN_MAX: usize = 40;

/// A repository, or a directory without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    name: String,
    anchor: PathBuf,
    root: PathBuf,
    is_repository: bool,
    state_root: PathBuf,
    cache_root: PathBuf,
    dir: PathBuf,
}

impl Project {
    /// The project of a directory. Nothing is written, and git is not asked.
    ///
    /// # Errors
    /// When the directory does not exist, or nothing says where state belongs.
    pub fn of(environment: &Environment, start: &Path) -> Result<Self, Error> {
        let start = environment.cwd().join(start);
        let start = std::fs::canonicalize(&start).map_err(Error::io("find", &start))?;
        let found = start.ancestors().find_map(|dir| Some((dir.to_owned(), common_git_dir(dir)?)));
        let is_repository = found.is_some();
        let (root, anchor) = found.unwrap_or_else(|| (start.clone(), start));
        // All checkouts of a repository are one project, named after the main one.
        let named = if anchor.ends_with(".git") { anchor.parent().unwrap_or(&anchor) } else { &anchor };
        let name = slug(&named.file_name().unwrap_or_default().to_string_lossy());
        let hash = Digest::of(anchor.as_os_str().as_encoded_bytes()).short();
        let (state_root, cache_root) = (environment.state_root()?, environment.cache_root()?);
        let dir = state_root.join("projects").join(format!("{name}-{hash}"));
        Ok(Self { name, anchor, root, is_repository, state_root, cache_root, dir })
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The root of the checkout, or the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What identifies it: the git directory that all checkouts share, or the directory.
    pub fn anchor(&self) -> &Path {
        &self.anchor
    }

    /// Whether there is a repository.
    pub fn is_repository(&self) -> bool {
        self.is_repository
    }

    /// Where its state is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the state of all projects is.
    pub fn state_root(&self) -> &Path {
        &self.state_root
    }

    pub(crate) fn trust_file(&self) -> PathBuf {
        self.dir.join("trust.json")
    }

    pub(crate) fn fixtures_dir(&self) -> PathBuf {
        self.dir.join("fixtures")
    }

    /// Where the trees of its runs are, unless the configuration says otherwise: they can be made again, so they are
    /// among the caches. The name tells repositories apart, and the stores that say who has which tree.
    pub fn trees_dir(&self) -> PathBuf {
        let of = format!("{}\0{}", self.anchor.display(), self.store_dir().display());
        let name = format!("{}-{}", self.name, Digest::of(of.as_bytes()).short());
        self.cache_root.join("trees").join(name)
    }

    /// Where detached processes write what they say.
    pub(crate) fn logs_dir(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// Where its store is.
    pub fn store_dir(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Makes the state directory, readable for its owner only.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn make_dir(&self) -> Result<(), Error> {
        if self.dir.is_dir() {
            return Ok(());
        }
        make_private_dir(&self.dir)?;
        let about = serde_json::json!({ "version": 1, "anchor": self.anchor, "root": self.root });
        let path = self.dir.join("project.json");
        std::fs::write(&path, about.to_string()).map_err(Error::io("write", &path))
    }

    /// Opens the store, and makes it where there is none.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_store(&self) -> Result<Store, Error> {
        self.make_dir()?;
        Ok(Store::open_sqlite(&self.store_dir(), SqliteOptions::default())?)
    }

    /// Opens the store if there is one.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_store_if_any(&self) -> Result<Option<Store>, Error> {
        if !self.store_dir().join("store.db").exists() {
            return Ok(None);
        }
        self.open_store().map(Some)
    }

    /// Where owners of its runs show that they are alive.
    ///
    /// # Errors
    /// When the file system says no.
    pub fn presence(&self) -> Result<Presence, Error> {
        let dir = self.store_dir();
        Presence::open(&dir).map_err(Error::io("make", &dir))
    }
}

/// Makes a directory and those above it, readable for their owner only. Their names are durable, so that what is made
/// durable in them can be found again.
pub(crate) fn make_private_dir(dir: &Path) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_private_dir(parent)?;
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::io("make", dir))?;
    parent.map_or(Ok(()), sync_dir)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("write", dir))
}

/// A name of `[a-z0-9-]` for a directory.
pub(crate) fn slug(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let slug: String = name.chars().map(plain).take(NAME_LEN_MAX).collect();
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "root".to_owned() } else { slug.to_owned() }
}

/// The git directory that all checkouts of a repository share, if `dir` is the root of a checkout. It only names the
/// project; before git works with a repository, `wf_effects::git` checks its pointers again and better.
fn common_git_dir(dir: &Path) -> Option<PathBuf> {
    let dot_git = dir.join(".git");
    let metadata = std::fs::metadata(&dot_git).ok()?;
    let git_dir = if metadata.is_dir() { dot_git } else { dir.join(pointer(&dot_git)?.strip_prefix("gitdir: ")?) };
    if !git_dir.join("HEAD").exists() {
        return None;
    }
    let common = pointer(&git_dir.join("commondir")).map_or_else(|| git_dir.clone(), |to| git_dir.join(to));
    std::fs::canonicalize(common).ok()
}

fn pointer(file: &Path) -> Option<String> {
    if !std::fs::metadata(file).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    std::fs::File::open(file).ok()?.take(POINTER_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text.trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn environment(home: &Path, cwd: &Path) -> Environment {
        let vars = BTreeMap::from([("WHALEFLOW_HOME".to_owned(), home.display().to_string())]);
        Environment::of(vars, cwd.to_owned(), "/bin/whaleflow".into())
    }

    fn repository(dir: &Path) {
        std::fs::create_dir_all(dir.join(".git")).unwrap();
        std::fs::write(dir.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    }

    #[test]
    fn a_repository_is_one_project_from_every_directory_and_worktree() {
        let temp = tempfile::tempdir().unwrap();
        let top = std::fs::canonicalize(temp.path()).unwrap();
        let main = top.join("My Repo");
        repository(&main);
        std::fs::create_dir_all(main.join("a/b")).unwrap();
        let linked = top.join("linked");
        std::fs::create_dir_all(&linked).unwrap();
        std::fs::create_dir_all(main.join(".git/worktrees/linked")).unwrap();
        std::fs::write(main.join(".git/worktrees/linked/HEAD"), "x").unwrap();
        std::fs::write(main.join(".git/worktrees/linked/commondir"), "../..\n").unwrap();
        std::fs::write(linked.join(".git"), format!("gitdir: {}\n", main.join(".git/worktrees/linked").display()))
            .unwrap();

        let of = |start: &Path| Project::of(&environment(&top.join("home"), &top), start).unwrap();
        let project = of(&main);
        assert_eq!((project.name(), project.root(), project.is_repository()), ("my-repo", main.as_path(), true));
        assert_eq!(of(&main.join("a/b")), project);
        let other = of(&linked);
        assert_eq!((other.dir(), other.root()), (project.dir(), linked.as_path()));
        assert!(!top.join("home").exists(), "nothing is written");
    }

    #[test]
    fn a_directory_without_a_repository_is_a_project_of_its_own() {
        let temp = tempfile::tempdir().unwrap();
        let top = std::fs::canonicalize(temp.path()).unwrap();
        std::fs::create_dir_all(top.join("a")).unwrap();
        // A `.git` that is no repository does not make one.
        std::fs::create_dir_all(top.join("a/.git")).unwrap();
        let of = |start: &str| Project::of(&environment(&top.join("home"), &top), Path::new(start)).unwrap();
        let (here, below) = (of("."), of("a"));
        assert!(!here.is_repository() && !below.is_repository());
        assert_ne!(here.dir(), below.dir());
    }
}
