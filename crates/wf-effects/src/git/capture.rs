//! What the files of a tree are, as a git tree: `git add -A` without its side effects.
//!
//! `git add` and `git status` start a git inside of every nested repository, under that repository's config. So the
//! list of what changed is made from `diff-files` and `ls-files`, which do not, and given to `update-index`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::clean::CleanDir;
use super::error::GitError;
use super::runner::{Call, Git, Output, Place};

/// The mode of a submodule pointer.
const GITLINK: &[u8] = b"160000";

/// What a tree of files holds.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    /// The id of the git tree of all that a commit can hold.
    pub(crate) tree: String,
    /// Directories that are repositories of their own, and so are not part of `tree`.
    pub(crate) nested: Vec<String>,
    /// Submodules that are checked out: `tree` has which commit, and not what they hold.
    pub(crate) submodules: Vec<String>,
    /// Directories that cannot be read.
    pub(crate) unread: Vec<String>,
    /// Tracked paths that have become pipes, sockets or devices; `tree` has what was there before.
    pub(crate) special: Vec<String>,
}

impl Capture {
    /// What `tree` does not hold and never will.
    pub(crate) fn left_out(&self) -> Vec<String> {
        self.nested.iter().chain(&self.special).chain(&self.unread).cloned().collect()
    }

    /// Whether removing the files could lose what `tree` does not hold.
    pub(crate) fn is_whole(&self) -> bool {
        [&self.nested, &self.submodules, &self.special, &self.unread].into_iter().all(Vec::is_empty)
    }
}

/// Paths by what is to be done with them.
#[derive(Debug, Default)]
struct Found {
    update: Vec<Vec<u8>>,
    remove: Vec<Vec<u8>>,
    nested: BTreeSet<String>,
    submodules: Vec<String>,
    special: Vec<String>,
}

/// Takes what is in `work_tree` into the index of `clean`, whatever that index holds, and writes it as a tree.
pub(crate) async fn capture(git: &Git, clean: &CleanDir, work_tree: &Path) -> Result<Capture, GitError> {
    let place = clean.over(work_tree);
    let (mut changed, mut listed) = list(git, &place).await?;
    let mut unread = Vec::new();
    if changed.has_warned || listed.has_warned {
        // It passes over directories that it cannot open, and what is in them would be lost with the tree.
        let root = work_tree.to_owned();
        unread = blocking("open", work_tree, move || Ok(open_all(&root))).await?;
        (changed, listed) = list(git, &place).await?;
    }
    let root = work_tree.to_owned();
    let found = blocking("list", work_tree, move || Ok(sort_out(&root, &changed.stdout, &listed.stdout))).await?;
    if !found.remove.is_empty() {
        let args = ["update-index", "-z", "--force-remove", "--stdin"];
        git.run(Call::new(args).at(place.clone()).stdin(joined(&found.remove))).await?;
    }
    if !found.update.is_empty() {
        let args = ["update-index", "-z", "--add", "--remove", "--replace", "--stdin"];
        git.run(Call::new(args).at(place.clone()).stdin(joined(&found.update))).await?;
    }
    let tree = git.run(Call::new(["write-tree"]).at(place)).await?.text();
    let Found { nested, submodules, special, .. } = found;
    Ok(Capture { tree, nested: nested.into_iter().collect(), submodules, unread, special })
}

/// What differs from the index, and what there is.
async fn list(git: &Git, place: &Place) -> Result<(Output, Output), GitError> {
    let changed = ["diff-files", "--raw", "-z", "--no-renames", "--ignore-submodules=dirty"];
    let listed = ["ls-files", "-z", "-t", "-s", "-c", "-o", "--exclude-standard"];
    let root = place.work_tree.clone();
    check_rules(&root, b"")?;
    let listed = async {
        let listed = git.run(Call::new(listed).at(place.clone())).await?;
        // If this says no, the other is ended, which may wait for a pipe.
        blocking("look at", &place.work_tree, move || check_all_rules(&root, &listed.stdout).map(|()| listed)).await
    };
    tokio::try_join!(git.run(Call::new(changed).at(place.clone())), listed)
}

fn check_all_rules(root: &Path, listed: &[u8]) -> Result<(), GitError> {
    let mut last = b"".as_slice();
    for entry in listed.split(|byte| *byte == 0).filter(|entry| entry.len() > 2) {
        let path = if entry[0] == b'?' { Some(&entry[2..]) } else { path_of(&entry[2..]) };
        let dir = path.map_or(b"".as_slice(), parent);
        if dir != last {
            check_rules(root, dir)?;
            last = dir;
        }
    }
    Ok(())
}

/// Whether what git reads in a directory to know which files to take, and how, can be read to an end.
fn check_rules(root: &Path, dir: &[u8]) -> Result<(), GitError> {
    for name in [".gitignore", ".gitattributes"] {
        let path = at(root, dir).join(name);
        let is_odd = |found: std::fs::Metadata| !found.is_file() && !found.is_dir() && !found.is_symlink();
        if std::fs::symlink_metadata(&path).is_ok_and(is_odd) {
            return Err(GitError::tampered(&path, "it is neither a file nor a directory"));
        }
    }
    Ok(())
}

/// Lets the owner read every directory. Answers with those that cannot be read all the same.
fn open_all(root: &Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let mut unread = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        let mode = std::fs::symlink_metadata(&dir).map(|found| found.permissions().mode() & 0o777);
        if let Ok(mode) = mode.as_ref().copied()
            && mode & 0o500 != 0o500
        {
            // If that is not allowed, reading it says so.
            let _ = std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(mode | 0o700));
        }
        match std::fs::read_dir(&dir) {
            Ok(entries) => {
                let dirs = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
                waiting.extend(dirs.map(|entry| entry.path()));
            }
            Err(_) => unread.push(dir.strip_prefix(root).unwrap_or(&dir).display().to_string()),
        }
    }
    unread
}

/// Makes the files of `work_tree` those of `commit`, whatever they are now; what git does not track stays.
pub(crate) async fn populate(git: &Git, clean: &CleanDir, work_tree: &Path, commit: &str) -> Result<(), GitError> {
    let _turn = git.checkout_turn().await;
    git.run(Call::new(["read-tree", "--reset", "-u", commit]).at(clean.over(work_tree))).await?;
    Ok(())
}

/// Removes what git neither tracks nor ignores, nested repositories too.
pub(crate) async fn remove_untracked(git: &Git, clean: &CleanDir, work_tree: &Path) -> Result<(), GitError> {
    git.run(Call::new(["clean", "-ffdq"]).at(clean.over(work_tree))).await?;
    Ok(())
}

/// Removes what git does not track, ignored or not.
pub(crate) async fn remove_all_untracked(git: &Git, clean: &CleanDir, work_tree: &Path) -> Result<(), GitError> {
    git.run(Call::new(["clean", "-ffdxq"]).at(clean.over(work_tree))).await?;
    Ok(())
}

/// Makes the index that of `commit`, and finds out which files are as it says.
pub(crate) async fn read_index(git: &Git, clean: &CleanDir, work_tree: &Path, commit: &str) -> Result<(), GitError> {
    git.run(Call::new(["read-tree", commit]).at(clean.over(work_tree))).await?;
    refresh(git, clean, work_tree).await
}

/// Finds out which files are as the index says.
pub(crate) async fn refresh(git: &Git, clean: &CleanDir, work_tree: &Path) -> Result<(), GitError> {
    // Exit code 1 says that some file differs, which is no failure.
    git.run(Call::new(["update-index", "-q", "--refresh"]).at(clean.over(work_tree)).codes(&[0, 1])).await?;
    Ok(())
}

/// Runs what blocks on a thread for that.
pub(crate) async fn blocking<T: Send + 'static>(
    action: &'static str,
    path: &Path,
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(GitError::Io { action, path: path.to_owned(), source: std::io::Error::other(error) }),
    }
}

fn sort_out(root: &Path, changed: &[u8], listed: &[u8]) -> Found {
    let mut found = Found::default();
    let mut dirs = BTreeSet::new();
    for entry in listed.split(|byte| *byte == 0).filter(|entry| entry.len() > 2) {
        let (tag, rest) = (entry[0], &entry[2..]);
        if tag == b'?' {
            match rest.strip_suffix(b"/") {
                Some(nested) => _ = found.nested.insert(lossy(nested)),
                None => found.update.push(rest.to_owned()),
            }
            dirs.insert(parent(rest).to_owned());
            continue;
        }
        let Some(path) = path_of(rest) else { continue };
        dirs.insert(parent(path).to_owned());
        if rest.starts_with(GITLINK) && has_entries(&at(root, path)) {
            found.submodules.push(lossy(path));
        }
    }
    // A `.git` among tracked files hides nothing from git, but would be lost with the tree.
    for dir in dirs.iter().filter(|dir| !dir.is_empty()) {
        if std::fs::symlink_metadata(at(root, dir).join(".git")).is_ok() && !is_through_link(root, dir) {
            found.nested.insert(lossy(dir));
        }
    }
    let mut fields = changed.split(|byte| *byte == 0).filter(|field| !field.is_empty());
    let mut seen = BTreeSet::new();
    while let (Some(status), Some(path)) = (fields.next(), fields.next()) {
        if seen.insert(path) {
            found.place(root, status, path);
        }
    }
    found
}

/// The path in `100644 <id> <stage>\t<path>`.
fn path_of(entry: &[u8]) -> Option<&[u8]> {
    entry.iter().position(|byte| *byte == b'\t').map(|tab| &entry[tab + 1..])
}

impl Found {
    fn place(&mut self, root: &Path, status: &[u8], path: &[u8]) {
        let kind = std::fs::symlink_metadata(at(root, path)).map(|metadata| metadata.file_type());
        match kind {
            _ if status.ends_with(b" D") => self.remove.push(path.to_owned()),
            Ok(kind) if kind.is_file() || kind.is_symlink() || kind.is_dir() => self.update.push(path.to_owned()),
            Ok(_) => self.special.push(lossy(path)),
            Err(_) => self.remove.push(path.to_owned()),
        }
    }
}

fn at(root: &Path, path: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(path))
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn parent(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    path.iter().rposition(|byte| *byte == b'/').map_or(b"", |slash| &path[..slash])
}

fn has_entries(dir: &Path) -> bool {
    std::fs::symlink_metadata(dir).is_ok_and(|metadata| metadata.is_dir())
        && std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

/// Whether some directory on the way to `dir` is a symbolic link, so that what is there is not in the tree.
fn is_through_link(root: &Path, dir: &[u8]) -> bool {
    let dir = at(Path::new(""), dir);
    dir.ancestors()
        .filter(|ancestor| !ancestor.as_os_str().is_empty())
        .any(|ancestor| std::fs::symlink_metadata(root.join(ancestor)).is_ok_and(|metadata| metadata.is_symlink()))
}

fn joined(paths: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(paths.iter().map(|path| path.len() + 1).sum());
    for path in paths {
        bytes.extend_from_slice(path);
        bytes.push(0);
    }
    bytes
}
