//! A git directory of the engine's own, which borrows the objects of a repository and nothing else.
//!
//! Whatever compares or writes files runs here. Its config is written by the engine, so no filter, hook, driver,
//! alias or include of the repository exists for that git, and nothing that changes the repository's config while it
//! runs can bring one in. Attributes of the tree still work where git itself implements them (`text`, `eol`, `ident`);
//! `filter=lfs` finds no filter, so a pointer stays a pointer.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::error::GitError;
use super::runner::Place;

/// An `info/exclude` beyond this is not taken over.
const EXCLUDE_BYTES_MAX: u64 = 1 << 20;

/// Settings that say how files look on this machine, and that run nothing.
const CONFIG_TAKEN_OVER: [&str; 9] = [
    "core.repositoryformatversion",
    "core.filemode",
    "core.symlinks",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.autocrlf",
    "core.eol",
    "core.sharedrepository",
    "extensions.objectformat",
];

/// A clean git directory; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct CleanDir {
    temp: TempDir,
    objects: PathBuf,
}

/// What a clean git directory takes over from a repository, as data.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    pub(crate) config: String,
    pub(crate) objects: PathBuf,
    pub(crate) exclude: PathBuf,
}

impl CleanDir {
    /// Makes one below `parent`.
    pub(crate) fn make(seed: &Seed, parent: &Path) -> Result<Self, GitError> {
        std::fs::create_dir_all(parent).map_err(GitError::io("make", parent))?;
        let temp = tempfile::Builder::new().prefix("git-").tempdir_in(parent).map_err(GitError::io("write", parent))?;
        let dir = temp.path();
        for name in ["refs", "info", "empty"] {
            std::fs::create_dir(dir.join(name)).map_err(GitError::io("make", dir))?;
        }
        let exclude = read_small(&seed.exclude, EXCLUDE_BYTES_MAX).unwrap_or_default();
        for (name, bytes) in [
            ("HEAD", b"ref: refs/heads/none\n".as_slice()),
            ("config", seed.config.as_bytes()),
            ("info/exclude", &exclude),
        ] {
            std::fs::write(dir.join(name), bytes).map_err(GitError::io("write", dir))?;
        }
        Ok(Self { objects: seed.objects.clone(), temp })
    }

    /// Where calls about the files in `work_tree` work.
    pub(crate) fn over(&self, work_tree: &Path) -> Place {
        Place {
            git_dir: self.temp.path().to_owned(),
            common_dir: self.temp.path().to_owned(),
            work_tree: work_tree.to_owned(),
            objects: Some(self.objects.clone()),
            cwd: work_tree.to_owned(),
        }
    }

    /// Where calls about objects alone work: attributes come from nowhere, so that the answer depends on the objects.
    pub(crate) fn over_nothing(&self) -> Place {
        self.over(&self.temp.path().join("empty"))
    }

    /// Makes a directory that goes with this one.
    pub(crate) fn make_dir(&self, name: &str) -> Result<PathBuf, GitError> {
        let dir = self.temp.path().join(name);
        std::fs::create_dir(&dir).map_err(GitError::io("make", &dir))?;
        Ok(dir)
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.temp.path().join("index")
    }
}

/// The text of the config: entries of `git config --list -z` of the repository that are taken over.
pub(crate) fn config_text(listed: &[u8]) -> String {
    let mut sections = [("core", String::from("[core]\n\tbare = false\n")), ("extensions", String::new())];
    for entry in listed.split(|byte| *byte == 0) {
        let entry = String::from_utf8_lossy(entry);
        let (key, value) = entry.split_once('\n').unwrap_or((&entry, "true"));
        let is_plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let Some((section, name)) = key.split_once('.') else { continue };
        if !is_plain || !CONFIG_TAKEN_OVER.contains(&key) {
            continue;
        }
        for (_, text) in sections.iter_mut().filter(|(at, _)| *at == section) {
            if text.is_empty() {
                text.push_str(&format!("[{section}]\n"));
            }
            text.push_str(&format!("\t{name} = {value}\n"));
        }
    }
    sections.map(|(_, text)| text).concat()
}

/// The content of a small ordinary file; nothing of symbolic links, pipes, large files, and what cannot be read.
pub(crate) fn read_small(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    read_if_small(path, bytes_max).ok().flatten()
}

/// The same, where it matters that a file may be there and not be readable at this moment.
pub(crate) fn read_if_small(path: &Path, bytes_max: u64) -> std::io::Result<Option<Vec<u8>>> {
    let none_if_absent = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(None),
        _ => Err(error),
    };
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() <= bytes_max => {
            std::fs::read(path).map(Some).or_else(none_if_absent)
        }
        Ok(_) => Ok(None),
        Err(error) => none_if_absent(error),
    }
}

/// Copies an index file with its time, by which git knows which entries may be stale, replacing what is at `to`.
pub(crate) fn copy_index(from: &Path, to: &Path) -> Result<(), GitError> {
    copy_with_time(from, to).map_err(GitError::io("copy an index to", to))
}

/// Copies a file with its time, replacing what is at `to`.
pub(crate) fn copy_with_time(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut source = std::fs::File::open(from)?;
    let modified = source.metadata()?.modified()?;
    let mut copy = tempfile::Builder::new().prefix("index-").tempfile_in(to.parent().unwrap_or(to))?;
    std::io::copy(&mut source, copy.as_file_mut())?;
    copy.as_file().set_modified(modified)?;
    copy.persist(to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn only_harmless_settings_are_taken_over() {
        let listed = b"core.repositoryformatversion\n1\0core.filemode\0core.bare\ntrue\0core.fsmonitor\n/x\0core.autocrlf\n\
            input\0filter.a.clean\ntouch x\0extensions.objectformat\nsha256\0core.eol\nlf\n[filter]\0include.path\n/y\0";
        expect![[r#"
            [core]
            	bare = false
            	repositoryformatversion = 1
            	filemode = true
            	autocrlf = input
            [extensions]
            	objectformat = sha256
        "#]]
        .assert_eq(&config_text(listed));
    }
}
