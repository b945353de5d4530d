//! Which project a command is about, and where its state is.
//!
//! A project is the repository around a directory, else the only one directly below it, or the directory itself where
//! there is none, or are several. Its state lies outside of it, so that nothing in a repository votes on trust:
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
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use wf_effects::git::{Checkout, GitError, find_checkout};
use wf_ir::Digest;
use wf_store::{Presence, SqliteOptions, Store};

use crate::environment::Environment;
use crate::error::Error;

/// The longest readable part of a project's directory name.
const NAME_LEN_MAX: usize = 40;

/// A repository, or a directory without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    name: String,
    anchor: PathBuf,
    root: PathBuf,
    common_dir: Option<PathBuf>,
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
        let (root, anchor, common_dir) = match find_checkout(&start) {
            Ok(Checkout { top, common_dir, is_known: true, .. }) => (top, common_dir.clone(), Some(common_dir)),
            // It claims a repository that knows nothing of it: it stands for itself alone.
            Ok(Checkout { top, common_dir, is_known: false, .. }) => (top.clone(), top, Some(common_dir)),
            Err(_) => (start.clone(), start, None),
        };
        // All checkouts of a repository are one project, named after the main one.
        let named = if anchor.ends_with(".git") { anchor.parent().unwrap_or(&anchor) } else { &anchor };
        let name = slug(&named.file_name().unwrap_or_default().to_string_lossy());
        let hash = Digest::of(anchor.as_os_str().as_encoded_bytes()).short();
        let (state_root, cache_root) = (environment.state_root()?, environment.cache_root()?);
        let dir = state_root.join("projects").join(format!("{name}-{hash}"));
        Ok(Self { name, anchor, root, common_dir, state_root, cache_root, dir })
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The root of the checkout, or the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What identifies it: the git directory that all checkouts share, or the directory, where there is no repository or
    /// one that does not know of this checkout.
    pub fn anchor(&self) -> &Path {
        &self.anchor
    }

    /// Whether there is a repository.
    pub fn is_repository(&self) -> bool {
        self.common_dir.is_some()
    }

    /// The git directory that all checkouts of the repository share.
    pub(crate) fn common_dir(&self) -> Option<&Path> {
        self.common_dir.as_deref()
    }

    /// Whether there is a repository, and if there is none, why.
    ///
    /// # Errors
    /// When there is none, several, a bare one, or one whose pointer files are odd.
    pub fn require_repository(&self) -> Result<(), GitError> {
        if self.is_repository() { Ok(()) } else { find_checkout(&self.root).map(drop) }
    }

    /// Where its state is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the state of all projects is.
    pub fn state_root(&self) -> &Path {
        &self.state_root
    }

    /// Where processes make their throw-away directories.
    pub(crate) fn scratch_root(&self) -> PathBuf {
        self.state_root.join("scratch")
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn environment(home: &Path, cwd: &Path) -> Environment {
        let vars = BTreeMap::from([("WHALEFLOW_HOME".to_owned(), home.display().to_string())]);
        Environment::of(vars, cwd.to_owned(), "/bin/whaleflow".into())
    }

    fn repository(dir: &Path) -> PathBuf {
        let git_dir = dir.join(".git");
        make_git_dir(&git_dir);
        git_dir
    }

    fn make_git_dir(dir: &Path) {
        for name in ["objects", "refs"] {
            std::fs::create_dir_all(dir.join(name)).unwrap();
        }
        std::fs::write(dir.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    }

    fn link(dir: &Path, git_dir: &Path) {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join(".git"), format!("gitdir: {}\n", git_dir.display())).unwrap();
    }

    struct Desk {
        _temp: tempfile::TempDir,
        top: PathBuf,
    }

    impl Desk {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let top = std::fs::canonicalize(temp.path()).unwrap();
            std::fs::create_dir_all(top.join("desk")).unwrap();
            Self { _temp: temp, top }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.top.join("desk").join(name)
        }

        fn of(&self, start: &str) -> Project {
            Project::of(&environment(&self.top.join("home"), &self.path("")), Path::new(start)).unwrap()
        }
    }

    #[test]
    fn a_repository_is_one_project_from_every_directory_and_worktree() {
        let desk = Desk::new();
        let main = desk.path("My Repo");
        let git_dir = repository(&main);
        std::fs::create_dir_all(main.join("a/b")).unwrap();
        let project = desk.of("My Repo");
        assert_eq!((project.name(), project.root(), project.is_repository()), ("my-repo", main.as_path(), true));
        assert_eq!(desk.of("My Repo/a/b"), project);
        // It is the only one directly below.
        assert_eq!(desk.of("."), project);

        let admin = git_dir.join("worktrees/linked");
        std::fs::create_dir_all(&admin).unwrap();
        std::fs::write(admin.join("HEAD"), "x").unwrap();
        std::fs::write(admin.join("commondir"), "../..\n").unwrap();
        let linked = desk.path("linked");
        std::fs::write(admin.join("gitdir"), format!("{}\n", linked.join(".git").display())).unwrap();
        link(&linked, &admin);
        let other = desk.of("linked");
        assert_eq!((other.dir(), other.root()), (project.dir(), linked.as_path()));
        assert!(!desk.top.join("home").exists(), "nothing is written");
    }

    #[test]
    fn a_directory_without_a_repository_is_a_project_of_its_own() {
        let desk = Desk::new();
        // A `.git` that is no repository does not make one.
        std::fs::create_dir_all(desk.path("a/.git")).unwrap();
        let (here, below) = (desk.of("."), desk.of("a"));
        assert!(!here.is_repository() && !below.is_repository());
        assert_ne!(here.dir(), below.dir());
        assert!(matches!(here.require_repository(), Err(GitError::NoRepository { .. })));
        repository(&desk.path("b"));
        repository(&desk.path("c"));
        let several = desk.of(".");
        assert_eq!((several.root(), several.is_repository()), (desk.top.join("desk").as_path(), false));
        assert!(matches!(several.require_repository(), Err(GitError::Several { .. })));
        make_git_dir(&desk.path("bare.git"));
        let bare = desk.of("bare.git/refs");
        assert!(matches!(bare.require_repository(), Err(GitError::Bare { .. })));
    }

    /// A directory that says it is a checkout of somebody else's repository is another project than that repository.
    #[test]
    fn what_is_said_of_a_repository_is_not_said_of_what_points_to_it() {
        let desk = Desk::new();
        let git_dir = repository(&desk.path("mine"));
        let mine = desk.of("mine");
        link(&desk.path("evil"), &git_dir);
        std::fs::create_dir_all(desk.path("evil/sub")).unwrap();
        std::fs::create_dir_all(desk.path("linked")).unwrap();
        std::os::unix::fs::symlink(&git_dir, desk.path("linked/.git")).unwrap();
        for name in ["evil", "evil/sub", "linked"] {
            let other = desk.of(name);
            assert!(other.is_repository(), "{name}");
            assert_ne!((other.dir(), other.anchor()), (mine.dir(), mine.anchor()), "{name}");
        }
        // A repository that was made elsewhere and names the other as its own `commondir`.
        std::fs::write(repository(&desk.path("odd")).join("commondir"), "../../mine/.git\n").unwrap();
        assert_ne!(desk.of("odd").anchor(), mine.anchor());
        assert!(matches!(desk.of("odd").require_repository(), Err(GitError::Tampered { .. })));
        // When the repository names the directory, as it does for submodules, they are one.
        std::fs::write(git_dir.join("config"), "[core]\n\tworktree = ../../evil\n").unwrap();
        assert_eq!(desk.of("evil").anchor(), mine.anchor());
        std::fs::write(git_dir.join("config"), "[other]\n\tworktree = ../../evil\n").unwrap();
        assert_ne!(desk.of("evil").anchor(), mine.anchor());
    }
}
