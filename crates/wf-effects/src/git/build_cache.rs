//! Build directories that do not start cold: what a build system left in one tree is what another begins with.
//!
//! A *seed* is a copy of a build directory, kept outside of all trees and never built in. A tree's build directory is
//! made from it file by file: as a copy-on-write clone where the file system has them; else as a hard link, if the
//! build system never rewrites files of that kind in place; else as a copy. What is linked is read-only. Whoever runs as
//! the same user can change that all the same, and would change what other trees build with. So what is linked is read
//! and compared with what was harvested each time that a tree gets it, and a seed that was changed is used no more.
//! `docs/trees.md` says what that guards against and what it does not.
//!
//! Nothing here runs a program, and nothing fails a leaf: without a seed a build is slower and that is all.

mod system;

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::control::remove_any;
pub use system::BuildSystem;
use system::Transfer;

/// How many files a seed may have; a build directory with more is left alone.
const FILES_MAX: usize = 500_000;

/// How deep a build directory is read.
const DEPTH_MAX: usize = 32;

/// The list of a seed's files beyond this is none.
const LIST_BYTES_MAX: u64 = 256 << 20;

/// How many bytes of files a seed has at most, unless the configuration says otherwise.
pub const SEED_BYTES_MAX: u64 = 4 << 30;

/// How many of them are taken from the user's own build directory, which may have years of builds in it.
const CHECKOUT_BYTES_MAX: u64 = 2 << 30;

/// What a build directory that is not yet whole is called. It is never in a tree, where it would be somebody's work.
const PARTIAL: &str = ".whaleflow-build-";

/// A build directory replaces the seed of the same dependencies if it has so many times its files: the first build may
/// have been one of a part, or have failed on the way.
const GROWTH: (usize, usize) = (5, 4);

/// Whether trees share what was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BuildCacheMode {
    /// Each tree has a build directory of its own that starts from a seed.
    #[default]
    Seeded,
    /// All trees of a repository build in one directory, one after another.
    Shared,
    /// Each tree starts cold.
    Off,
}

/// A word for a [`BuildCacheMode`] that is none.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no way to cache builds: seeded, shared or off")]
pub struct UnknownMode(String);

impl std::str::FromStr for BuildCacheMode {
    type Err = UnknownMode;

    fn from_str(word: &str) -> Result<Self, UnknownMode> {
        match word {
            "seeded" => Ok(Self::Seeded),
            "shared" => Ok(Self::Shared),
            "off" => Ok(Self::Off),
            _ => Err(UnknownMode(word.to_owned())),
        }
    }
}

/// Where the cache is and how large it may be.
#[derive(Clone, Debug)]
pub struct BuildCacheOptions {
    /// The mode.
    pub mode: BuildCacheMode,
    /// The cache's directory of one repository: outside of all trees, best on the same file system.
    pub root: PathBuf,
    /// How many bytes of files a seed has at most.
    pub seed_bytes_max: u64,
    /// The user's own checkout, whose build directory is the first seed if no tree has given one.
    pub checkout: Option<PathBuf>,
}

/// The build directories of one repository's trees.
#[derive(Clone, Debug)]
pub struct BuildCache {
    options: BuildCacheOptions,
}

/// How a tree's build directory was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// What a command in the tree is told by its environment.
    pub env: BTreeMap<String, String>,
    /// Where the files of the build directory come from.
    pub start: Start,
}

/// What a build in a tree begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With nothing: no project that is understood, no seed, or the cache is off.
    #[default]
    Cold,
    /// With what the tree's last tenant built.
    Kept,
    /// With the directory that all trees share.
    Shared,
    /// With a seed.
    Seeded {
        /// Files that are copy-on-write clones.
        cloned: usize,
        /// Files that are links to the seed's.
        linked: usize,
        /// Files that were copied.
        copied: usize,
    },
}

/// What became of an offer to be the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harvest {
    /// It is the seed now.
    Taken {
        /// Its files.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// There is a seed of the same dependencies.
    Current,
    /// Something builds there at this moment.
    Busy,
    /// It is larger than a seed may be.
    TooLarge,
    /// There is nothing to take, or the mode has no seeds.
    Nothing,
}

/// Whose build directory is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A tree of the engine's: its files may be linked and made read-only.
    Tree,
    /// The user's own: it is only read.
    Checkout,
}

/// Why the cache could not do its part. The build is slower; nothing else is wrong.
#[derive(Debug, thiserror::Error)]
pub enum BuildCacheError {
    /// The file system said no.
    #[error("the build cache cannot {action} {path:?}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody has changed the seed; it is not used, and the next harvest replaces it.
    #[error("the build cache's seed was changed: {path:?}")]
    Damaged {
        /// The first file that is not as it was written.
        path: PathBuf,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BuildCacheError {
    let path = path.to_owned();
    move |source| BuildCacheError::Io { action, path, source }
}

/// One file of a seed.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    path: String,
    shared: bool,
    len: u64,
    modified: (i64, i64),
    digest: Option<String>,
}

/// What a seed consists of.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    /// The digest of what says which dependencies it was built from.
    of: String,
    entries: Vec<Entry>,
}

impl BuildCache {
    /// The cache of a repository.
    pub fn new(options: BuildCacheOptions) -> Self {
        Self { options }
    }

    /// What commands in a tree are told by their environment.
    pub fn env(&self, tree: &Path) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        if self.options.mode == BuildCacheMode::Shared
            && let Some(system) = BuildSystem::detect(tree)
        {
            env.insert(system.variable().to_owned(), self.options.root.join("shared").display().to_string());
        }
        env
    }

    /// Gives a tree a build directory to begin with. It blocks.
    ///
    /// # Errors
    /// When the file system says no and when the seed was changed. The tree is as it was, and builds cold.
    pub fn prepare(&self, tree: &Path) -> Result<Prepared, BuildCacheError> {
        let env = self.env(tree);
        let start = match (BuildSystem::detect(tree), self.options.mode) {
            (None, _) | (_, BuildCacheMode::Off) => Start::Cold,
            (Some(_), BuildCacheMode::Shared) => {
                let dir = self.options.root.join("shared");
                std::fs::create_dir_all(&dir).map_err(failed("make", &dir))?;
                Start::Shared
            }
            (Some(system), BuildCacheMode::Seeded) => self.plant(system, tree)?,
        };
        Ok(Prepared { env, start })
    }

    /// Offers the build directory of a tree, in which something was built, as the seed. It blocks.
    ///
    /// # Errors
    /// When the file system says no. The seed is as it was.
    pub fn harvest(&self, tree: &Path, origin: Origin) -> Result<Harvest, BuildCacheError> {
        let (Some(system), BuildCacheMode::Seeded) = (BuildSystem::detect(tree), self.options.mode) else {
            return Ok(Harvest::Nothing);
        };
        let build_dir = tree.join(system.build_dir());
        let of = fingerprint(system, tree)?;
        if !is_dir(&build_dir) {
            return Ok(Harvest::Nothing);
        }
        let Some(found) = self.survey(system, &build_dir)? else { return Ok(Harvest::TooLarge) };
        if found.files.is_empty() {
            return Ok(Harvest::Nothing);
        }
        if origin == Origin::Checkout && found.bytes > CHECKOUT_BYTES_MAX {
            return Ok(Harvest::TooLarge);
        }
        let is_as_good = |list: List| list.of == of && found.files.len() * GROWTH.1 <= list.entries.len() * GROWTH.0;
        if self.check(None).is_ok_and(|list| list.is_some_and(is_as_good)) {
            return Ok(Harvest::Current);
        }
        let Some(_locks) = hold_all(&found.build_locks)? else { return Ok(Harvest::Busy) };
        self.take(&build_dir, &found, of, origin)
    }

    /// Reads all of the seed and compares it with what was written.
    ///
    /// # Errors
    /// When a file was changed, and when the file system says no.
    pub fn verify(&self) -> Result<(), BuildCacheError> {
        let _lock = self.lock(FlockOperation::LockShared)?;
        let seed = self.seed();
        let Some(list) = self.check(Some(&seed))? else { return Ok(()) };
        for entry in list.entries.iter().filter(|entry| entry.digest.is_some()) {
            let path = seed.join("files").join(&entry.path);
            if entry.digest != Some(digest_of(&path)?) {
                return Err(BuildCacheError::Damaged { path });
            }
        }
        Ok(())
    }

    /// The seed, whichever it is at this moment.
    fn seed(&self) -> PathBuf {
        let link = self.options.root.join("seed");
        match std::fs::read_link(&link) {
            Ok(name) => self.options.root.join(name.file_name().unwrap_or_default()),
            Err(_) => link,
        }
    }

    fn lock(&self, operation: FlockOperation) -> Result<File, BuildCacheError> {
        let root = &self.options.root;
        std::fs::create_dir_all(root).map_err(failed("make", root))?;
        let path = root.join("lock");
        loop {
            if let Some(held) = hold(open_lock(&path)?, operation, &path)? {
                return Ok(held);
            }
        }
    }

    /// The seed's list, if each of its shared files looks as it was written.
    fn check(&self, seed: Option<&Path>) -> Result<Option<List>, BuildCacheError> {
        let seed = seed.map_or_else(|| self.seed(), Path::to_owned);
        let path = seed.join("list.json");
        let Ok(bytes) = read_plain(&path, LIST_BYTES_MAX) else { return Ok(None) };
        let damaged = |path: PathBuf| BuildCacheError::Damaged { path };
        let list: List = serde_json::from_slice(&bytes).map_err(|_| damaged(path.clone()))?;
        for entry in &list.entries {
            let path = seed.join("files").join(&entry.path);
            let is_inside =
                Path::new(&entry.path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
            let looks_right = |metadata: Metadata| {
                let mode = metadata.mode() & 0o777;
                metadata.is_file()
                    && (!entry.shared || mode == shared_mode(mode))
                    && metadata.len() == entry.len
                    && modified(&metadata) == entry.modified
            };
            if !is_inside || !std::fs::symlink_metadata(&path).is_ok_and(looks_right) {
                return Err(damaged(path));
            }
        }
        Ok(Some(list))
    }

    /// Makes a tree's build directory from the seed.
    fn plant(&self, system: BuildSystem, tree: &Path) -> Result<Start, BuildCacheError> {
        let to = tree.join(system.build_dir());
        if std::fs::symlink_metadata(&to).is_ok() {
            return Ok(Start::Kept);
        }
        self.begin_with_checkout();
        let lock = self.lock(FlockOperation::LockShared)?;
        let seed = self.seed();
        let planted = match self.check(Some(&seed)) {
            Ok(Some(list)) => self.plant_files(&seed, &list, tree, &to),
            Ok(None) => return Ok(Start::Cold),
            Err(error) => Err(error),
        };
        drop(lock);
        if matches!(planted, Err(BuildCacheError::Damaged { .. })) {
            self.drop_seed(&seed)?;
        }
        planted
    }

    fn plant_files(&self, seed: &Path, list: &List, tree: &Path, to: &Path) -> Result<Start, BuildCacheError> {
        let partial = self.partial_dir(tree)?;
        // Whatever the project ignores: this is nobody's work.
        let ignore = partial.path().join(".gitignore");
        std::fs::write(&ignore, "*\n").map_err(failed("write", &ignore))?;
        let mut copier = Copier::default();
        for entry in &list.entries {
            let (from, to) = (seed.join("files").join(&entry.path), partial.path().join(&entry.path));
            let is_clone = copier.transfer(&from, &to, entry.shared)? == Transferred::Cloned;
            // A clone is of the seed alone. What is linked may have been written through another link.
            if !is_clone && entry.digest.is_some() && entry.digest != Some(digest_of(&to)?) {
                return Err(BuildCacheError::Damaged { path: from });
            }
        }
        std::fs::set_permissions(partial.path(), std::fs::Permissions::from_mode(0o755))
            .map_err(failed("change", partial.path()))?;
        std::fs::rename(partial.path(), to).map_err(failed("name", to))?;
        // It has another name by now: there is nothing to remove.
        let _ = partial.keep();
        Ok(Start::Seeded { cloned: copier.cloned, linked: copier.linked, copied: copier.copied })
    }

    /// A place on the tree's file system, but not in the tree.
    fn partial_dir(&self, tree: &Path) -> Result<tempfile::TempDir, BuildCacheError> {
        let device = |dir: &Path| std::fs::metadata(dir).map(|metadata| metadata.dev()).map_err(failed("look at", dir));
        let root = &self.options.root;
        let beside = tree.parent().unwrap_or(tree);
        let dir = if device(root)? == device(tree)? { root.as_path() } else { beside };
        tempfile::Builder::new().prefix(PARTIAL).tempdir_in(dir).map_err(failed("write", dir))
    }

    /// Takes the user's own build directory as the seed if there is none. Others wait meanwhile, and then have one.
    fn begin_with_checkout(&self) {
        let root = &self.options.root;
        let has_seed = || std::fs::symlink_metadata(root.join("seed")).is_ok();
        let Some(checkout) = self.options.checkout.as_ref().filter(|_| !has_seed()) else { return };
        let is_built = BuildSystem::detect(checkout).is_some_and(|system| is_dir(&checkout.join(system.build_dir())));
        if !is_built || std::fs::create_dir_all(root).is_err() {
            return;
        }
        let Ok(lock) = open_lock(&root.join("checkout.lock")) else { return };
        let Ok(Some(_mine)) = hold(lock, FlockOperation::LockExclusive, root) else { return };
        if !has_seed() {
            // What it cannot give, the first tree builds.
            let _ = self.harvest(checkout, Origin::Checkout);
        }
    }

    /// Removes a seed that was changed, so that the next harvest is one again.
    fn drop_seed(&self, seed: &Path) -> Result<(), BuildCacheError> {
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        if self.seed() == seed {
            remove(&self.options.root.join("seed"))?;
            remove(seed)?;
        }
        Ok(())
    }

    /// What of a build directory makes a seed; nothing when that is too much.
    fn survey(&self, system: BuildSystem, build_dir: &Path) -> Result<Option<Found>, BuildCacheError> {
        let mut found = Found::default();
        let mut waiting = vec![(build_dir.to_owned(), Vec::<String>::new())];
        while let Some((dir, names)) = waiting.pop() {
            for entry in std::fs::read_dir(&dir).map_err(failed("list", &dir))? {
                let entry = entry.map_err(failed("list", &dir))?;
                // A name that is not text is none of the build system's.
                let Ok(name) = entry.file_name().into_string() else { continue };
                let Ok(metadata) = entry.metadata() else { continue };
                let mut path = names.clone();
                path.push(name);
                let parts: Vec<&str> = path.iter().map(String::as_str).collect();
                if metadata.is_dir() && path.len() < DEPTH_MAX {
                    waiting.push((entry.path(), path));
                } else if metadata.is_file() {
                    if system.is_build_lock(parts.last().copied().unwrap_or_default()) {
                        found.build_locks.push(entry.path());
                    }
                    let transfer = system.transfer(&parts);
                    if transfer != Transfer::Leave {
                        found.bytes = found.bytes.saturating_add(metadata.len());
                        found.files.push((parts.join("/"), transfer == Transfer::Share));
                    }
                }
            }
            if found.bytes > self.options.seed_bytes_max || found.files.len() > FILES_MAX {
                return Ok(None);
            }
        }
        found.files.sort();
        Ok(Some(found))
    }

    fn take(&self, build_dir: &Path, found: &Found, of: String, origin: Origin) -> Result<Harvest, BuildCacheError> {
        let root = &self.options.root;
        std::fs::create_dir_all(root).map_err(failed("make", root))?;
        // One at a time: what else is called a seed was left behind.
        let lock = open_lock(&root.join("harvest.lock"))?;
        let Some(_mine) = hold(lock, FlockOperation::NonBlockingLockExclusive, root)? else { return Ok(Harvest::Busy) };
        let seed = tempfile::Builder::new().prefix("seed-").tempdir_in(root).map_err(failed("write", root))?;
        let files = seed.path().join("files");
        let mut copier = Copier { never_links: origin == Origin::Checkout, ..Copier::default() };
        let mut entries = Vec::with_capacity(found.files.len());
        for (path, shared) in &found.files {
            let (from, to) = (build_dir.join(path), files.join(path));
            copier.transfer(&from, &to, *shared)?;
            let mut metadata = std::fs::symlink_metadata(&to).map_err(failed("look at", &to))?;
            if *shared {
                let mode = shared_mode(metadata.mode());
                std::fs::set_permissions(&to, std::fs::Permissions::from_mode(mode)).map_err(failed("change", &to))?;
                metadata = std::fs::symlink_metadata(&to).map_err(failed("look at", &to))?;
            }
            let digest = if *shared { Some(digest_of(&to)?) } else { None };
            let modified = modified(&metadata);
            entries.push(Entry { path: path.clone(), shared: *shared, len: metadata.len(), modified, digest });
        }
        let list = seed.path().join("list.json");
        let bytes =
            serde_json::to_vec(&List { of, entries }).map_err(io::Error::from).map_err(failed("write", &list))?;
        std::fs::write(&list, bytes).map_err(failed("write", &list))?;
        self.swap(seed)?;
        Ok(Harvest::Taken { files: found.files.len(), bytes: found.bytes })
    }

    /// Makes a directory the seed, and removes what was it. Whoever reads a seed holds the lock.
    fn swap(&self, seed: tempfile::TempDir) -> Result<(), BuildCacheError> {
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let root = &self.options.root;
        let seed = seed.keep();
        let name = seed.file_name().unwrap_or_default();
        let (link, new) = (root.join("seed"), root.join("seed.new"));
        remove(&new)?;
        std::os::unix::fs::symlink(name, &new).map_err(failed("write", &new))?;
        if is_dir(&link) {
            remove(&link)?;
        }
        std::fs::rename(&new, &link).map_err(failed("name", &link))?;
        for entry in std::fs::read_dir(root).map_err(failed("list", root))?.flatten() {
            let other = entry.file_name();
            let text = other.to_string_lossy();
            // Whoever makes a build directory holds the lock: what is not whole was left behind.
            if other != name && (text.starts_with("seed-") || text.starts_with(PARTIAL)) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// What a build directory holds.
#[derive(Debug, Default)]
struct Found {
    /// Paths, and whether they may be shared.
    files: Vec<(String, bool)>,
    bytes: u64,
    build_locks: Vec<PathBuf>,
}

/// Brings files from one build directory to another, with their times, by which build systems know what is stale.
#[derive(Debug, Default)]
struct Copier {
    never_links: bool,
    /// Whether the file system has said that it makes no clones.
    cannot_clone: bool,
    cloned: usize,
    linked: usize,
    copied: usize,
}

/// How a file got there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transferred {
    Cloned,
    Linked,
    Copied,
}

impl Copier {
    fn transfer(&mut self, from: &Path, to: &Path, is_shared: bool) -> Result<Transferred, BuildCacheError> {
        let dir = to.parent().unwrap_or(to);
        std::fs::create_dir_all(dir).map_err(failed("make", dir))?;
        if self.cannot_clone && is_shared && !self.never_links && std::fs::hard_link(from, to).is_ok() {
            // Another file system, or too many links: a copy will do.
            self.linked += 1;
            return Ok(Transferred::Linked);
        }
        let mut source = open_plain(from).map_err(failed("open", from))?;
        let metadata = source.metadata().map_err(failed("look at", from))?;
        let mode = metadata.mode() & 0o777;
        let mut target =
            File::options().write(true).create_new(true).mode(mode | 0o200).open(to).map_err(failed("write", to))?;
        let mut how = Transferred::Copied;
        if !self.cannot_clone && rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
            self.cloned += 1;
            how = Transferred::Cloned;
        } else if !self.cannot_clone {
            self.cannot_clone = true;
            std::fs::remove_file(to).map_err(failed("remove", to))?;
            return self.transfer(from, to, is_shared);
        } else {
            io::copy(&mut source, &mut target).map_err(failed("copy to", to))?;
            self.copied += 1;
        }
        let times = std::fs::FileTimes::new().set_modified(metadata.modified().map_err(failed("look at", from))?);
        target.set_times(times).map_err(failed("change", to))?;
        Ok(how)
    }
}

/// The mode of a file that trees share: its owner cannot write it, and everybody who works in a tree is its owner.
///
/// Its group may, though nobody else reaches it, since the trees' directory is its owner's alone. For rustc replaces what
/// it made before only if anybody may write it (`check_file_is_writeable` in `rustc_codegen_ssa`).
fn shared_mode(mode: u32) -> u32 {
    (mode & 0o555) | 0o020
}

fn is_dir(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn modified(metadata: &Metadata) -> (i64, i64) {
    (metadata.mtime(), metadata.mtime_nsec())
}

/// Opens an ordinary file; never through a link, never waiting for a pipe.
fn open_plain(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no ordinary file")),
    }
}

fn read_plain(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(open_plain(path)?, bytes_max + 1), &mut bytes)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(io::Error::other("it is too large")),
        false => Ok(bytes),
    }
}

fn digest_of(path: &Path) -> Result<String, BuildCacheError> {
    let mut hasher = blake3::Hasher::new();
    let file = open_plain(path).map_err(failed("open", path))?;
    hasher.update_reader(file).map_err(failed("read", path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The digest of what says which dependencies a tree is built from.
fn fingerprint(system: BuildSystem, tree: &Path) -> Result<String, BuildCacheError> {
    let mut hasher = blake3::Hasher::new();
    for name in [system.lock_file(), system.manifest()] {
        match read_plain(&tree.join(name), LIST_BYTES_MAX) {
            Ok(bytes) => _ = hasher.update(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", &tree.join(name))(error)),
        }
        hasher.update(b"\0");
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Takes the locks that a build would hold; nothing when one is held.
fn hold_all(paths: &[PathBuf]) -> Result<Option<Vec<File>>, BuildCacheError> {
    let mut held = Vec::new();
    for path in paths {
        let file = open_plain(path).map_err(failed("open", path))?;
        let Some(file) = hold(file, FlockOperation::NonBlockingLockShared, path)? else { return Ok(None) };
        held.push(file);
    }
    Ok(Some(held))
}

fn open_lock(path: &Path) -> Result<File, BuildCacheError> {
    File::options().create(true).append(true).open(path).map_err(failed("open", path))
}

/// The file, locked; nothing when somebody else holds it and the operation does not wait.
fn hold(file: File, operation: FlockOperation, path: &Path) -> Result<Option<File>, BuildCacheError> {
    loop {
        match flock(&file, operation) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed("lock", path)(error.into())),
        }
    }
}

fn remove(path: &Path) -> Result<(), BuildCacheError> {
    remove_any(path).map_err(|error| failed("remove", path)(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_words() {
        for (word, mode) in
            [("seeded", BuildCacheMode::Seeded), ("shared", BuildCacheMode::Shared), ("off", BuildCacheMode::Off)]
        {
            assert_eq!(word.parse::<BuildCacheMode>().unwrap(), mode);
        }
        let error = "on".parse::<BuildCacheMode>().unwrap_err();
        assert_eq!(error.to_string(), "\"on\" is no way to cache builds: seeded, shared or off");
    }
}
