//! Git's control files of a tree: its `.git` pointer and its entry in `worktrees/`. An agent can write both, so they are
//! brought back to what the engine wrote before they are used. The engine's own calls do not rest on them.

use std::path::{Path, PathBuf};

use super::clean::{read_if_small, read_small};
use super::error::GitError;
use super::lock::WorktreesLock;
use super::names::check_id;
use super::repository::Repository;
use super::runner::Call;

const POINTER_BYTES_MAX: u64 = 8 << 10;
/// How often something is begun again because a directory was removed meanwhile.
const TRIES: usize = 100;

/// Where one tree and its control files are.
#[derive(Clone, Debug)]
pub(crate) struct TreePlace {
    /// That of the slot, also the name of git's entry.
    pub(crate) name: String,
    /// The files.
    pub(crate) dir: PathBuf,
    /// Git's entry: HEAD, the agent's index, pointers.
    pub(crate) admin: PathBuf,
}

/// What `.git` in a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pointer {
    /// What the engine wrote.
    AsWritten,
    /// A file or link that says something else, or nothing: nothing of value.
    Odd,
    /// A directory: a repository of the agent's own, perhaps with work in it.
    Directory,
}

impl TreePlace {
    pub(crate) fn pointer(&self) -> Pointer {
        let dot_git = self.dir.join(".git");
        match std::fs::symlink_metadata(&dot_git) {
            Ok(metadata) if metadata.is_dir() => Pointer::Directory,
            _ if read_small(&dot_git, POINTER_BYTES_MAX).as_deref() == Some(self.pointer_text().as_bytes()) => {
                Pointer::AsWritten
            }
            _ => Pointer::Odd,
        }
    }

    fn pointer_text(&self) -> String {
        format!("gitdir: {}\n", self.admin.display())
    }

    /// Whether git's entry is there, as directories.
    ///
    /// # Errors
    /// When something else is in its place: it could lead anywhere.
    pub(crate) fn has_admin(&self) -> Result<bool, GitError> {
        for dir in [self.admin.parent().unwrap_or(&self.admin), &self.admin] {
            match std::fs::symlink_metadata(dir) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => return Err(GitError::tampered(dir, "it is no directory")),
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Writes git's entry again, but for HEAD and the agent's index. Must come before git is told to use it.
    pub(crate) fn restore_admin(&self) -> Result<(), GitError> {
        write_if_other(&self.admin.join("commondir"), "../..\n")?;
        write_if_other(&self.admin.join("gitdir"), &format!("{}\n", self.dir.join(".git").display()))?;
        remove_any(&self.admin.join("config.worktree"))?;
        for name in ["HEAD", "index", "logs", "logs/HEAD", "refs"] {
            let path = self.admin.join(name);
            if std::fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
                remove_any(&path)?;
            }
        }
        Ok(())
    }

    /// Makes git's entry, as `git worktree add --detach --no-checkout` would. What is there of it is replaced.
    pub(crate) async fn make_admin(&self, repository: &Repository, commit: &str) -> Result<(), GitError> {
        self.remove_admin()?;
        if repository.has_other_refs() {
            return self.add_worktree(repository, commit).await;
        }
        let fail = || GitError::io("make", &self.admin);
        // `worktrees/` goes with its last entry.
        let entries = self.admin.parent().unwrap_or(&self.admin);
        within(entries, || std::fs::create_dir(&self.admin)).map_err(fail())?;
        // Another git looks at an entry once it has `gitdir`, which therefore comes last; until then it would prune an
        // entry that is not locked. Git itself does the same, but for the order.
        write_if_other(&self.admin.join("locked"), "initializing\n")?;
        std::fs::create_dir_all(self.admin.join("refs")).map_err(fail())?;
        write_if_other(&self.admin.join("HEAD"), &format!("{commit}\n"))?;
        self.restore_admin()?;
        remove_any(&self.admin.join("locked"))
    }

    /// Lets git make the entry, where refs are kept in a way that only git knows: for a directory elsewhere, because
    /// the tree may have files already.
    async fn add_worktree(&self, repository: &Repository, commit: &str) -> Result<(), GitError> {
        let git = repository.git();
        let temp = tempfile::Builder::new().prefix("entry-").tempdir_in(git.scratch_dir());
        let temp = temp.map_err(GitError::io("write", git.scratch_dir()))?;
        let lock = WorktreesLock::take(git, repository.common_dir()).await?;
        let place = repository.place();
        let call = Call::new(["worktree", "add", "-q", "--detach", "--no-checkout"]);
        let call = call.arg(temp.path().join(&self.name)).arg(commit);
        let call = call.config(repository.drivers_off(&place).await?).at(place);
        git.run(call.holding(lock.handle()?)).await?;
        if !self.has_admin()? {
            return Err(GitError::tampered(&self.admin, "git did not make the entry that it was to make"));
        }
        self.restore_admin()
    }

    /// Whether git's entry is of this directory.
    pub(crate) fn is_entry_of_dir(&self) -> bool {
        let written = format!("{}\n", self.dir.join(".git").display());
        read_small(&self.admin.join("gitdir"), POINTER_BYTES_MAX).as_deref() == Some(written.as_bytes())
    }

    /// Removes git's entry. Whoever lists entries at this moment does not see a part of it.
    pub(crate) fn remove_admin(&self) -> Result<(), GitError> {
        if self.has_admin()? {
            remove_any(&self.admin.join("gitdir"))?;
            remove_any(&self.admin)?;
            // As git does: the directory goes with its last entry.
            let _ = self.admin.parent().map(std::fs::remove_dir);
        }
        Ok(())
    }

    /// Writes the tree's `.git` again, unless it is a directory, which must be saved or dropped first.
    pub(crate) fn restore_pointer(&self) -> Result<(), GitError> {
        let dot_git = self.dir.join(".git");
        if self.pointer() == Pointer::Directory {
            return Err(GitError::tampered(&dot_git, "it is a directory"));
        }
        write_if_other(&dot_git, &self.pointer_text())
    }

    /// Detaches HEAD at `commit`.
    pub(crate) async fn set_head(&self, repository: &Repository, commit: &str) -> Result<(), GitError> {
        if self.is_detached(commit) {
            return Ok(());
        }
        let head = self.admin.join("HEAD");
        let refs = self.admin.join("refs");
        // Without these two git does not take the entry for a checkout at all.
        let text = read_if_small(&head, POINTER_BYTES_MAX).map_err(GitError::io("read", &head))?;
        if !text.is_some_and(|text| is_head(&text)) {
            remove_any(&head)?;
            write_if_other(&head, &format!("{commit}\n"))?;
        }
        std::fs::create_dir_all(&refs).map_err(GitError::io("make", &refs))?;
        repository.set_head(&self.admin, commit).await
    }

    /// Whether HEAD is plainly this commit, so that git need not be asked.
    pub(crate) fn is_detached(&self, commit: &str) -> bool {
        read_small(&self.admin.join("HEAD"), POINTER_BYTES_MAX)
            .is_some_and(|bytes| bytes.trim_ascii_end() == commit.as_bytes())
    }
}

/// Whether git takes the text for a HEAD.
fn is_head(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    match text.trim_end().strip_prefix("ref: ") {
        Some(name) => name.starts_with("refs/") && !name.contains(".."),
        None => check_id(text.trim_end()).is_ok(),
    }
}

/// Writes a file unless it is an ordinary one with that text; never through a link.
fn write_if_other(path: &Path, text: &str) -> Result<(), GitError> {
    if read_small(path, POINTER_BYTES_MAX).as_deref() == Some(text.as_bytes()) {
        return Ok(());
    }
    remove_any(path)?;
    let parent = path.parent().unwrap_or(path);
    let fail = || GitError::io("write", path);
    let file = tempfile::Builder::new().prefix(".whaleflow-").tempfile_in(parent).map_err(fail())?;
    std::fs::write(file.path(), text).map_err(fail())?;
    file.persist(path).map_err(|error| error.error).map_err(fail())?;
    Ok(())
}

/// Does something in a directory that others remove whenever they find it empty.
pub(crate) fn within<T>(dir: &Path, mut act: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    // A directory that goes while it is made is said to exist.
    let may_be_gone = |kind| matches!(kind, std::io::ErrorKind::NotFound | std::io::ErrorKind::AlreadyExists);
    let mut tries = 1;
    loop {
        match std::fs::create_dir_all(dir).and_then(|()| act()) {
            Err(error) if may_be_gone(error.kind()) && tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

/// Removes whatever is at `path`; links are not followed.
pub(crate) fn remove_any(path: &Path) -> Result<(), GitError> {
    let removed = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_dir() => remove_dir(path),
        Ok(_) => std::fs::remove_file(path),
    };
    match removed {
        // Somebody else removed it at this moment.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(GitError::io("remove", path)),
    }
}

/// Removes a directory, also one that holds directories without write permission.
fn remove_dir(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            make_writable(path)?;
            std::fs::remove_dir_all(path)
        }
        other => other,
    }
}

fn make_writable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut waiting = vec![path.to_owned()];
    while let Some(dir) = waiting.pop() {
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700))?;
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(())
}
