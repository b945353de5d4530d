//! Changing the files, the index and the branch of the user's checkout.
//!
//! Every path goes from how it is in one commit to how it is in another by one rename or one removal, so that a process
//! that is killed leaves each path as it was or as it is to be, and the same order given again does the rest. What is
//! neither is somebody else's work, and is never written over.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use wf_kernel::record::FileChange;

use super::capture::{blocking, refresh};
use super::clean::{CleanDir, copy_index};
use super::combine::{Entry, PathChange};
use super::control::remove_any;
use super::error::GitError;
use super::repository::Repository;
use super::runner::Call;

/// The mode of a submodule pointer.
const GITLINK: &str = "160000";
/// How many files are looked at below a directory that stands where a file is to be.
const BELOW_MAX: usize = 10_000;

/// That the files of the checkout go from one commit to another.
#[derive(Clone, Debug)]
pub struct FileOrder {
    /// How files are; what is not so is in the way.
    pub from: String,
    /// How they are to be.
    pub to: String,
    /// Marks what is written beside files before it takes their place: letters and digits.
    pub tag: String,
    /// Whether the index goes along. Otherwise submodule pointers, which are in it alone, cannot change.
    pub with_index: bool,
    /// Whether files that are neither are left alone instead of being in the way.
    pub leaves_others: bool,
}

/// How the paths that two commits differ in are in the checkout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// As in the first.
    pub before: Vec<String>,
    /// As in the second.
    pub after: Vec<String>,
    /// Neither, or hidden below something else.
    pub other: Vec<String>,
}

impl Standing {
    /// Whether every path is as in the second.
    pub fn is_after(&self) -> bool {
        self.before.is_empty() && self.other.is_empty()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Before,
    After,
    Other,
}

impl Repository {
    /// How the paths that two commits differ in are in the checkout, submodules apart. Nothing of it is changed.
    ///
    /// # Errors
    /// When a commit is not there, and when git fails.
    pub async fn standing(&self, from: &str, to: &str) -> Result<Standing, GitError> {
        let (from, to) = tokio::try_join!(self.facts_of(from), self.facts_of(to))?;
        let changes = self.path_changes(&from.tree, &to.tree).await?;
        let mut standing = Standing::default();
        let stands = self.stands(&changes).await?;
        for (change, stand) in changes.iter().zip(stands).filter(|(change, _)| !is_pointer(change)) {
            let list = match stand {
                Stand::Before => &mut standing.before,
                Stand::After => &mut standing.after,
                Stand::Other => &mut standing.other,
            };
            list.push(lossy(&change.path));
        }
        Ok(standing)
    }

    /// Changes the files of the checkout, and its index where that is ordered; HEAD and branches stay. Given again, it
    /// does what is left to do. Answers with the files that differ between the two commits.
    ///
    /// # Errors
    /// [`GitError::Overlaps`] when a file is neither as it was nor as it is to be: then nothing is changed, unless others
    /// are to be left alone. [`GitError::IndexLocked`] when somebody else changes the index.
    pub async fn change_files(&self, order: &FileOrder) -> Result<Vec<FileChange>, GitError> {
        let (from, to) = tokio::try_join!(self.facts_of(&order.from), self.facts_of(&order.to))?;
        let files = self.changes(&from.tree, &to.tree).await?;
        let changes = self.path_changes(&from.tree, &to.tree).await?;
        let pointers: Vec<String> = changes.iter().filter(|it| is_pointer(it)).map(|it| lossy(&it.path)).collect();
        if !pointers.is_empty() && !order.with_index {
            return Err(GitError::Submodules { paths: pointers });
        }
        self.refuse_locked_index(&order.tag)?;
        let top = self.top().to_owned();
        let (tagged, tag) = (changes.clone(), order.tag.clone());
        blocking("clear", &top.clone(), move || clear_tagged(&top, &tagged, &tag)).await?;
        let stands = self.stands(&changes).await?;
        let others: Vec<String> = changes
            .iter()
            .zip(&stands)
            .filter(|(_, stand)| **stand == Stand::Other)
            .map(|(it, _)| lossy(&it.path))
            .collect();
        if !others.is_empty() && !order.leaves_others {
            return Err(GitError::Overlaps { paths: others });
        }
        let wanted: Vec<(usize, PathChange)> = changes
            .iter()
            .cloned()
            .enumerate()
            .zip(&stands)
            .filter(|((_, change), stand)| **stand == Stand::Before && !is_pointer(change))
            .map(|(change, _)| change)
            .collect();
        self.place_files(wanted, &to.tree, &order.tag).await?;
        if order.with_index {
            let touched: Vec<&PathChange> =
                changes.iter().zip(&stands).filter(|(_, stand)| **stand != Stand::Other).map(|(it, _)| it).collect();
            self.move_index(&touched, &order.tag).await?;
        }
        Ok(files)
    }

    /// Writes the paths that are to be written, and removes those that are to go.
    async fn place_files(&self, wanted: Vec<(usize, PathChange)>, tree: &str, tag: &str) -> Result<(), GitError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let clean = self.clean_dir(self.git().scratch_dir())?;
        let staged = clean.make_dir("files")?;
        self.git().run(Call::new(["read-tree", tree]).at(clean.over(&staged))).await?;
        let mut paths = Vec::new();
        for (_, change) in wanted.iter().filter(|(_, change)| change.to.is_some()) {
            paths.extend_from_slice(&change.path);
            paths.push(0);
        }
        if !paths.is_empty() {
            let args = ["checkout-index", "-q", "-f", "-z", "--stdin"];
            self.git().run(Call::new(args).at(clean.over(&staged)).stdin(paths)).await?;
        }
        let (top, tag) = (self.top().to_owned(), tag.to_owned());
        blocking("write", &top.clone(), move || {
            let placed = place_all(&top, &staged, &wanted, &tag);
            // The staged files are gone with this.
            drop(clean);
            placed
        })
        .await
    }

    async fn stands(&self, changes: &[PathChange]) -> Result<Vec<Stand>, GitError> {
        let top = self.top().to_owned();
        let listed = changes.to_vec();
        let kinds = blocking("look at", &top.clone(), move || Ok(kinds_of(&top, &listed))).await?;
        let now = self.entries_now(changes, &kinds).await?;
        let stand = |(change, kind): (&PathChange, &Seen)| match kind {
            // Where its checkout is, is up to whoever checks it out.
            _ if is_pointer(change) => Stand::Before,
            Seen::InTheWay => Stand::Other,
            Seen::Absent | Seen::Directory if change.from.is_none() => Stand::Before,
            Seen::Absent | Seen::Directory if change.to.is_none() => Stand::After,
            Seen::Absent | Seen::Directory => Stand::Other,
            Seen::File => match now.get(&change.path) {
                found if found == change.from.as_ref() => Stand::Before,
                found if found == change.to.as_ref() => Stand::After,
                _ => Stand::Other,
            },
        };
        Ok(changes.iter().zip(&kinds).map(stand).collect())
    }

    /// What git would commit of the files at these paths.
    async fn entries_now(&self, changes: &[PathChange], kinds: &[Seen]) -> Result<BTreeMap<Vec<u8>, Entry>, GitError> {
        let files = changes.iter().zip(kinds).filter(|(_, kind)| **kind == Seen::File).map(|(change, _)| change);
        let mut paths = Vec::new();
        let mut known = BTreeMap::new();
        for change in files {
            paths.extend_from_slice(&change.path);
            paths.push(0);
            // Its mode is kept where the file system has none, and what is known is not ignored.
            known.insert(change.path.clone(), change.to.clone().or_else(|| change.from.clone()));
        }
        if paths.is_empty() {
            return Ok(BTreeMap::new());
        }
        let clean = self.clean_dir(self.git().scratch_dir())?;
        let id_len =
            changes.iter().flat_map(|it| it.from.iter().chain(&it.to)).map(|it| it.id.len()).max().unwrap_or(40);
        self.set_entries(&clean, &known, id_len).await?;
        let args = ["update-index", "-z", "--add", "--remove", "--replace", "--stdin"];
        self.git().run(Call::new(args).at(clean.over(self.top())).stdin(paths)).await?;
        self.index_entries(&clean).await
    }

    async fn index_entries(&self, clean: &CleanDir) -> Result<BTreeMap<Vec<u8>, Entry>, GitError> {
        let output = self.git().run(Call::new(["ls-files", "-z", "-s"]).at(clean.over_nothing())).await?;
        let mut entries = BTreeMap::new();
        for field in output.fields() {
            // `<mode> <id> <stage>\t<path>`
            let Some(tab) = field.iter().position(|byte| *byte == b'\t') else { continue };
            let facts = String::from_utf8_lossy(&field[..tab]);
            let mut facts = facts.split(' ').map(str::to_owned);
            if let (Some(mode), Some(id)) = (facts.next(), facts.next()) {
                entries.insert(field[tab + 1..].to_owned(), Entry { mode, id });
            }
        }
        Ok(entries)
    }

    /// Makes the paths of the user's index what they are to be, as git itself replaces an index.
    async fn move_index(&self, changes: &[&PathChange], tag: &str) -> Result<(), GitError> {
        let head = self.head_commit().await?;
        let clean = self.clean_dir(self.git().scratch_dir())?;
        self.copy_user_index(&clean, &head.commit).await?;
        let entries = changes.iter().map(|change| (change.path.clone(), change.to.clone())).collect();
        self.set_entries(&clean, &entries, head.commit.len()).await?;
        refresh(self.git(), &clean, self.top()).await?;
        let index = self.git_dir().join("index");
        let (lock, own) = self.index_locks(tag);
        copy_index(&clean.index(), &own)?;
        match std::fs::hard_link(&own, &lock) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                remove_any(&own)?;
                return Err(GitError::IndexLocked { path: lock });
            }
            Err(error) => return Err(GitError::io("lock", &lock)(error)),
        }
        std::fs::rename(&lock, &index).map_err(GitError::io("replace", &index))?;
        remove_any(&own)
    }

    /// Refuses an index that somebody else is changing; a lock of the same order, left by a process that was killed, is
    /// taken away.
    ///
    /// # Errors
    /// [`GitError::IndexLocked`].
    pub fn refuse_locked_index(&self, tag: &str) -> Result<(), GitError> {
        use std::os::unix::fs::MetadataExt;
        let (lock, own) = self.index_locks(tag);
        let Ok(locked) = std::fs::symlink_metadata(&lock) else { return remove_any(&own) };
        match std::fs::symlink_metadata(&own) {
            Ok(ours) if (ours.dev(), ours.ino()) == (locked.dev(), locked.ino()) => {
                remove_any(&lock)?;
                remove_any(&own)
            }
            _ => Err(GitError::IndexLocked { path: lock }),
        }
    }

    /// Git's lock of the index, and the file of ours that becomes it: whose lock it is shows in what it is linked to.
    fn index_locks(&self, tag: &str) -> (PathBuf, PathBuf) {
        (self.git_dir().join("index.lock"), self.git_dir().join(format!("index.whaleflow-{tag}")))
    }
}

/// What is at a path of the checkout, as far as it can be written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Absent,
    File,
    /// A directory whose files all go.
    Directory,
    /// Something that must not be lost, or a way that leads elsewhere.
    InTheWay,
}

fn kinds_of(top: &Path, changes: &[PathChange]) -> Vec<Seen> {
    let gone: std::collections::BTreeSet<&[u8]> =
        changes.iter().filter(|change| change.to.is_none()).map(|change| change.path.as_slice()).collect();
    let see = |change: &PathChange| {
        if !is_way_open(top, &change.path, &gone) {
            // Nothing of this repository is beyond a file or a link; there only is no way to write there.
            return if change.to.is_none() { Seen::Absent } else { Seen::InTheWay };
        }
        match std::fs::symlink_metadata(at(top, &change.path)) {
            Err(_) => Seen::Absent,
            Ok(metadata) if metadata.is_file() || metadata.is_symlink() => Seen::File,
            Ok(metadata) if metadata.is_dir() && (change.to.is_none() || all_go(top, &change.path, &gone)) => {
                Seen::Directory
            }
            Ok(_) => Seen::InTheWay,
        }
    };
    changes.iter().map(see).collect()
}

/// Whether every directory on the way to a path is one, is not there yet, or is a file that goes.
fn is_way_open(top: &Path, path: &[u8], gone: &std::collections::BTreeSet<&[u8]>) -> bool {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    for above in slashes.map(|(slash, _)| &path[..slash]) {
        match std::fs::symlink_metadata(at(top, above)) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return gone.contains(above),
            Err(_) => return true,
        }
    }
    true
}

/// Whether all files below a directory are among those that go.
fn all_go(top: &Path, dir: &[u8], gone: &std::collections::BTreeSet<&[u8]>) -> bool {
    let mut waiting = vec![dir.to_owned()];
    let mut seen = 0;
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(at(top, &dir)) else { return false };
        for entry in entries {
            let Ok(entry) = entry else { return false };
            let path = [&dir, b"/".as_slice(), entry.file_name().as_bytes()].concat();
            seen += 1;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && seen <= BELOW_MAX => waiting.push(path),
                Ok(kind) if !kind.is_dir() && gone.contains(path.as_slice()) && seen <= BELOW_MAX => {}
                _ => return false,
            }
        }
    }
    true
}

/// Removes first, so that directories and files can take each other's places.
fn place_all(top: &Path, staged: &Path, wanted: &[(usize, PathChange)], tag: &str) -> Result<(), GitError> {
    for (_, change) in wanted.iter().rev().filter(|(_, change)| change.to.is_none()) {
        let path = at(top, &change.path);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(GitError::io("remove", &path)(error)),
        }
        remove_empty(top, path.parent());
    }
    for (number, change) in wanted.iter().filter(|(_, change)| change.to.is_some()) {
        let (from, to) = (at(staged, &change.path), at(top, &change.path));
        let parent = to.parent().unwrap_or(top);
        std::fs::create_dir_all(parent).map_err(GitError::io("make", parent))?;
        remove_empty_below(&to);
        place(&from, &to, &aside(top, &change.path, *number, tag))?;
    }
    // The journal that comes after this must not be on the disk before it.
    let opened = File::open(top).map_err(GitError::io("open", top))?;
    rustix::fs::syncfs(&opened).map_err(|error| GitError::io("write", top)(error.into()))
}

/// Puts a staged file in its place by one rename.
fn place(from: &Path, to: &Path, aside: &Path) -> Result<(), GitError> {
    match std::fs::rename(from, to) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {}
        Err(error) => return Err(GitError::io("write", to)(error)),
    }
    let metadata = std::fs::symlink_metadata(from).map_err(GitError::io("read", from))?;
    let copied = if metadata.is_symlink() {
        std::fs::read_link(from).and_then(|target| std::os::unix::fs::symlink(target, aside))
    } else {
        std::fs::copy(from, aside).map(drop)
    };
    copied.and_then(|()| std::fs::rename(aside, to)).map_err(GitError::io("write", to))
}

/// Where a file is written before it takes its place.
fn aside(top: &Path, path: &[u8], number: usize, tag: &str) -> PathBuf {
    let to = at(top, path);
    to.parent().unwrap_or(top).join(format!(".whaleflow-{tag}-{number}"))
}

/// Removes what an earlier process of the same order left beside files.
fn clear_tagged(top: &Path, changes: &[PathChange], tag: &str) -> Result<(), GitError> {
    for (number, change) in changes.iter().enumerate().filter(|(_, change)| change.to.is_some()) {
        let aside = aside(top, &change.path, number, tag);
        match std::fs::remove_file(&aside) {
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(GitError::io("remove", &aside)(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Removes directories that have become empty, up to the top.
fn remove_empty(top: &Path, mut dir: Option<&Path>) {
    while let Some(at) = dir.filter(|dir| *dir != top && dir.starts_with(top)) {
        if std::fs::remove_dir(at).is_err() {
            return;
        }
        dir = at.parent();
    }
}

/// Removes a directory in which nothing but empty directories is left.
fn remove_empty_below(dir: &Path) {
    if !std::fs::symlink_metadata(dir).is_ok_and(|metadata| metadata.is_dir()) {
        return;
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        remove_empty_below(&entry.path());
    }
    let _ = std::fs::remove_dir(dir);
}

fn is_pointer(change: &PathChange) -> bool {
    change.from.iter().chain(&change.to).any(|entry| entry.mode == GITLINK)
}

fn at(top: &Path, path: &[u8]) -> PathBuf {
    top.join(OsStr::from_bytes(path))
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
