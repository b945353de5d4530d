//! Files of a tree, by a descriptor of its directory: what is opened is below it, whatever names and links say.
//!
//! The kernel resolves every path (`openat2` with `RESOLVE_BENEATH`), so nothing is compared as text and nothing is
//! looked at twice. What was opened is looked at before it is read: only regular files with one name are. A kernel
//! without `openat2` is refused.

mod walk;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fchmod, fstat, mkdirat, openat, openat2, readlinkat,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;

use walk::Walk;
pub(crate) use walk::unless_failed;
pub use walk::{Each, Found};

/// The longest path.
const PATH_BYTES_MAX: usize = 4_095;
/// How many links one path may lead through; the kernel follows as many.
const LINKS_MAX: usize = 40;
/// How often a name for a file that is not yet whole is chosen.
const NAMES_MAX: u64 = 64;
/// What a file is called until it is whole.
const PARTIAL: &str = ".whaleflow-write-";
/// Git's own name: files of this name say what git runs.
const GIT: &str = ".git";

/// A directory, and the files below it.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
}

/// Something in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name. One that is no text is shown as well as it can be, and cannot be opened by that.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// What something in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A pipe, a socket, a device.
    Other,
}

/// Why a file is not touched.
#[derive(Debug, thiserror::Error)]
pub enum BeneathError {
    /// No path below a directory is written so.
    #[error("the path {0}")]
    Path(&'static str),
    /// It leads out of the tree, or through something that is not followed.
    #[error("it leads out of the tree, or through a link that is not followed")]
    Outside,
    /// There is nothing.
    #[error("there is no such file")]
    Missing,
    /// It is something else.
    #[error("it is {0}")]
    Kind(&'static str),
    /// Other names may lead to the same file, also outside.
    #[error("it has several names (hard links)")]
    HardLink,
    /// It is larger than may be read.
    #[error("it is larger than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: u64,
    },
    /// The kernel cannot resolve paths below a directory.
    #[error("this kernel has no openat2 (Linux 5.6)")]
    Unsupported,
    /// The file system says no.
    #[error("{0}")]
    Os(io::Error),
}

impl BeneathError {
    /// Whether it says nothing of the file: the disk failed, there are too many open files, there is no memory. Whoever
    /// passes over what cannot be opened does not pass over this.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Os(error) => !matches!(
                Errno::from_io_error(error),
                Some(Errno::ACCESS | Errno::PERM | Errno::NAMETOOLONG | Errno::NXIO | Errno::NODEV | Errno::STALE)
            ),
            Self::Unsupported => true,
            Self::Path(_) | Self::Outside | Self::Missing | Self::Kind(_) | Self::HardLink | Self::TooLarge { .. } => {
                false
            }
        }
    }

    /// A short stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Path(_) => "path",
            Self::Outside => "outside",
            Self::Missing => "missing",
            Self::Kind(_) => "kind",
            Self::HardLink => "hard_link",
            Self::TooLarge { .. } => "too_large",
            Self::Unsupported => "unsupported",
            Self::Os(_) => "os",
        }
    }
}

impl From<Errno> for BeneathError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::XDEV | Errno::LOOP => Self::Outside,
            Errno::NOENT => Self::Missing,
            Errno::NOTDIR => Self::Kind("no directory, or in none"),
            Errno::ISDIR => Self::Kind("a directory"),
            Errno::NOSYS => Self::Unsupported,
            errno => Self::Os(errno.into()),
        }
    }
}

impl From<io::Error> for BeneathError {
    fn from(error: io::Error) -> Self {
        Errno::from_io_error(&error).map_or_else(|| Self::Os(error), Self::from)
    }
}

/// A path as it is compared with globs: without `.` and doubled slashes.
///
/// # Errors
/// When it does not stay below where it begins, or names git's own files.
pub fn normal(path: &str) -> Result<String, BeneathError> {
    Ok(Inner::parse(path)?.joined())
}

/// A path that stays below where it begins, as far as its text says.
struct Inner<'a> {
    parts: Vec<&'a str>,
}

impl<'a> Inner<'a> {
    fn parse(path: &'a str) -> Result<Self, BeneathError> {
        if path.len() > PATH_BYTES_MAX {
            return Err(BeneathError::Path("is too long"));
        }
        if path.contains('\0') {
            return Err(BeneathError::Path("holds a NUL character"));
        }
        if path.starts_with('/') {
            return Err(BeneathError::Path("must be relative to the tree"));
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") {
            return Err(BeneathError::Path("must not go up (`..`)"));
        }
        parts.iter().try_for_each(|part| is_no_control(part))?;
        Ok(Self { parts })
    }

    fn joined(&self) -> String {
        joined(self.parts.iter().copied())
    }

    /// The directory and the last name.
    fn split(&self) -> Result<(Inner<'a>, &'a str), BeneathError> {
        let (name, parents) = self.parts.split_last().ok_or(BeneathError::Kind("a directory"))?;
        Ok((Inner { parts: parents.to_vec() }, name))
    }
}

impl Root {
    /// The directory at `path`.
    ///
    /// # Errors
    /// When it is none, or the kernel cannot resolve paths below it.
    pub fn open(path: &Path) -> Result<Self, BeneathError> {
        let dir = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let root = Self { dir };
        root.resolve(".", OFlags::PATH, ResolveFlags::empty())?;
        Ok(root)
    }

    /// Where a path leads when the links on its way are followed: the same file's path without links. What is not there
    /// is named as it would have to be called. Whoever judges by a path judges by this one.
    ///
    /// # Errors
    /// When it leads out of the directory, or to git's own files.
    pub fn real(&self, path: &str) -> Result<String, BeneathError> {
        let mut rest: VecDeque<String> = Inner::parse(path)?.parts.into_iter().map(str::to_owned).collect();
        let mut done: Vec<(String, OwnedFd)> = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            match part.as_str() {
                "" | "." => continue,
                // Only what links say goes up, and `done` holds no links: this is where the kernel would go.
                ".." => drop(done.pop().ok_or(BeneathError::Outside)?),
                name => {
                    is_no_control(name)?;
                    let dir = done.last().map_or(self.dir.as_fd(), |(_, dir)| dir.as_fd());
                    let found = match beneath(dir, name, OFlags::PATH | OFlags::NOFOLLOW, ResolveFlags::empty()) {
                        Err(Errno::NOENT) => return missing(&done, part, rest),
                        found => found?,
                    };
                    if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::Symlink {
                        done.push((part, found));
                        continue;
                    }
                    links += 1;
                    let target =
                        readlinkat(&found, "", Vec::new())?.into_string().map_err(|_| BeneathError::Outside)?;
                    if links > LINKS_MAX || target.starts_with('/') {
                        return Err(BeneathError::Outside);
                    }
                    target.rsplit('/').for_each(|part| rest.push_front(part.to_owned()));
                }
            }
        }
        Ok(joined(done.iter().map(|(name, _)| name.as_str())))
    }

    /// The content of a file of at most `bytes_max` bytes. Links within the tree are followed.
    ///
    /// # Errors
    /// When it is not a regular file with one name below the directory.
    pub fn read(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, BeneathError> {
        read_whole(self.open_file(path)?, bytes_max)
    }

    /// A file, open for reading.
    ///
    /// # Errors
    /// When it is not a regular file with one name below the directory.
    pub fn open_file(&self, path: &str) -> Result<File, BeneathError> {
        let found = self.resolve(&self.real(path)?, OFlags::PATH, ResolveFlags::NO_SYMLINKS)?;
        open_plain(&found, Names::One)
    }

    /// The content of a file of at most `bytes_max` bytes, to whose path no link leads.
    ///
    /// # Errors
    /// When it is not a regular file with one name below the directory.
    pub fn read_unlinked(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, BeneathError> {
        let found = self.resolve(&normal(path)?, OFlags::PATH, ResolveFlags::NO_SYMLINKS)?;
        read_whole(open_plain(&found, Names::One)?, bytes_max)
    }

    /// Writes a file as a whole: others see what was there or what is there now, and nothing between. Directories on the
    /// way are made; no link is followed.
    ///
    /// # Errors
    /// When something else is there, or the file system says no. Then what was there is as it was.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<(), BeneathError> {
        let (parents, name) = Inner::parse(path)?.split()?;
        let dir = self.make(&parents)?;
        let mode = match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                is_file(&stat)?;
                Mode::from_raw_mode(stat.st_mode & 0o777)
            }
            Err(Errno::NOENT) => Mode::from_raw_mode(0o644),
            Err(error) => return Err(error.into()),
        };
        let (partial, file) = partial(dir.as_fd())?;
        let mut file = File::from(file);
        let written = file.write_all(bytes).map_err(BeneathError::from).and_then(|()| Ok(fchmod(&file, mode)?));
        let written = written.and_then(|()| Ok(renameat(&dir, partial.as_str(), &dir, name)?));
        if written.is_err() {
            // It is nobody's, and would be taken for somebody's work.
            let _ = unlinkat(&dir, partial.as_str(), AtFlags::empty());
        }
        written
    }

    /// What is in a directory, sorted, at most `entries_max`, and whether that is all.
    ///
    /// # Errors
    /// When it is no directory below this one.
    pub fn list(&self, path: &str, entries_max: usize) -> Result<(Vec<Entry>, bool), BeneathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = self.resolve(&self.real(path)?, flags, ResolveFlags::NO_SYMLINKS)?;
        let (entries, is_all) = names(dir.as_fd(), entries_max)?;
        let entry = |(name, kind): (OsString, EntryKind)| Entry { name: name.to_string_lossy().into_owned(), kind };
        Ok((entries.into_iter().map(entry).collect(), is_all))
    }

    /// Looks at every regular file, in the order of their paths, until `each` has seen enough. Links are not followed,
    /// git's own files are left out, and so is what the tree's `.gitignore` files say if `is_ignoring`. What nobody may
    /// list is passed over.
    ///
    /// # Errors
    /// Those of `each`, and those for which [`BeneathError::is_failure`]: then it is not known what else there is.
    pub fn walk(&self, is_ignoring: bool, each: &mut Each<'_>) -> Result<(), BeneathError> {
        // The descriptor of the directory says where it is, and cannot be read from.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = self.resolve(".", flags, ResolveFlags::NO_SYMLINKS)?;
        let mut walk = Walk { is_ignoring, ignores: Vec::new(), entries: 0, each };
        walk.dir(dir.as_fd(), Path::new("/"), 0).map(|_| ())
    }

    /// Removes a file or a link; of a link, not what it leads to.
    ///
    /// # Errors
    /// When it is something else, or not below the directory.
    pub fn remove(&self, path: &str) -> Result<(), BeneathError> {
        let (parents, name) = Inner::parse(path)?.split()?;
        let dir = self.resolve(&parents.joined(), OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS)?;
        Ok(unlinkat(&dir, name, AtFlags::empty())?)
    }

    /// Makes a directory, and those on the way to it. No link is followed.
    ///
    /// # Errors
    /// When something else is in its place.
    pub fn make_dir(&self, path: &str) -> Result<(), BeneathError> {
        self.make(&Inner::parse(path)?).map(drop)
    }

    fn make(&self, inner: &Inner<'_>) -> Result<OwnedFd, BeneathError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut dir = self.resolve(".", flags, ResolveFlags::NO_SYMLINKS)?;
        for part in &inner.parts {
            let found = beneath(dir.as_fd(), part, flags, ResolveFlags::NO_SYMLINKS);
            dir = match found {
                Err(Errno::NOENT) => {
                    match mkdirat(&dir, *part, Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    beneath(dir.as_fd(), part, flags, ResolveFlags::NO_SYMLINKS)?
                }
                found => found?,
            };
        }
        Ok(dir)
    }

    fn resolve(&self, path: &str, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, BeneathError> {
        Ok(beneath(self.dir.as_fd(), path, flags, resolve)?)
    }
}

fn beneath(
    dir: BorrowedFd<'_>,
    path: impl AsRef<OsStr>,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let path: &OsStr = path.as_ref();
    let resolve = resolve | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // With `O_PATH` nothing is opened, and the kernel takes no flag that says how.
    let no_terminal = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NOCTTY };
    let flags = flags | OFlags::CLOEXEC | no_terminal;
    // While names elsewhere are changed, the kernel cannot be sure, and says so.
    for _ in 0..NAMES_MAX {
        match openat2(dir, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

/// A new file beside the one that it will become.
fn partial(dir: BorrowedFd<'_>) -> Result<(String, OwnedFd), BeneathError> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let process = rustix::process::getpid().as_raw_nonzero();
    for _ in 0..NAMES_MAX {
        let name = format!("{PARTIAL}{process}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        match openat(dir, name.as_str(), flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => return Ok((name, file)),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::EXIST.into())
}

/// Whether a file may have several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// The others may be outside.
    One,
    /// What builds make has several.
    Any,
}

/// What was found, open for reading. It is not opened before it is known to be a file: whoever opens a pipe or a device
/// has already done something.
fn open_plain(found: &OwnedFd, names: Names) -> Result<File, BeneathError> {
    let check = |stat: &Stat| match names {
        Names::One => is_plain_file(stat),
        Names::Any => is_file(stat),
    };
    check(&fstat(found)?)?;
    let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
    let file = openat(CWD, itself, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    check(&fstat(&file)?)?;
    Ok(file.into())
}

/// All of a file, if it is not too large.
fn read_whole(file: File, bytes_max: u64) -> Result<Vec<u8>, BeneathError> {
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max { Err(BeneathError::TooLarge { bytes_max }) } else { Ok(bytes) }
}

/// What is in a directory but git's own, sorted, at most `entries_max`, and whether that is all.
fn names(dir: BorrowedFd<'_>, entries_max: usize) -> Result<(Vec<(OsString, EntryKind)>, bool), BeneathError> {
    let mut entries = Vec::new();
    let mut is_all = true;
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") || name.eq_ignore_ascii_case(GIT.as_bytes()) {
            continue;
        }
        if entries.len() == entries_max {
            is_all = false;
            break;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
            kind => kind,
        };
        entries.push((OsStr::from_bytes(name).to_owned(), kind_of(kind)));
    }
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok((entries, is_all))
}

fn is_no_control(part: &str) -> Result<(), BeneathError> {
    if part.eq_ignore_ascii_case(GIT) { Err(BeneathError::Path("names git's own files")) } else { Ok(()) }
}

fn joined<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let parts: Vec<&str> = parts.collect();
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

/// Where a path leads of which `part` is not there.
fn missing(done: &[(String, OwnedFd)], part: String, rest: VecDeque<String>) -> Result<String, BeneathError> {
    let rest: Vec<String> = [part].into_iter().chain(rest).filter(|part| !matches!(part.as_str(), "" | ".")).collect();
    if rest.iter().any(|part| part == "..") {
        return Err(BeneathError::Missing);
    }
    rest.iter().try_for_each(|part| is_no_control(part))?;
    Ok(joined(done.iter().map(|(name, _)| name.as_str()).chain(rest.iter().map(String::as_str))))
}

fn is_plain_file(stat: &Stat) -> Result<(), BeneathError> {
    is_file(stat)?;
    if stat.st_nlink > 1 { Err(BeneathError::HardLink) } else { Ok(()) }
}

fn is_file(stat: &Stat) -> Result<(), BeneathError> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(BeneathError::Kind("a directory")),
        FileType::Symlink => Err(BeneathError::Kind("a symbolic link")),
        FileType::Fifo => Err(BeneathError::Kind("a pipe")),
        FileType::Socket => Err(BeneathError::Kind("a socket")),
        FileType::CharacterDevice | FileType::BlockDevice => Err(BeneathError::Kind("a device")),
        FileType::Unknown => Err(BeneathError::Kind("no file that is known")),
    }
}

fn kind_of(kind: FileType) -> EntryKind {
    match kind {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Link,
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
            EntryKind::Other
        }
    }
}
