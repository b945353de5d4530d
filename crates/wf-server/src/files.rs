//! Reading files that others wrote: bounded, confined, and never waiting for one that is no ordinary file.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;
use wf_author::limits::SOURCE_BYTES_MAX;
use wf_author::{LoadError, Loader, check_path};

/// Files below one directory. No symbolic link is followed on the way to them.
#[derive(Debug)]
pub(crate) struct Files {
    root: OwnedFd,
}

impl Files {
    /// The files below `root`.
    ///
    /// # Errors
    /// When it is no directory.
    pub(crate) fn below(root: &Path) -> Result<Self, LoadError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(root, flags, Mode::empty()).map_err(refused)?;
        Ok(Self { root })
    }
}

impl Loader for Files {
    fn load(&self, path: &str) -> Result<String, LoadError> {
        check_path(path).map_err(|_| LoadError::Outside)?;
        let (dirs, name) = path.rsplit_once('/').map_or(("", path), |(dirs, name)| (dirs, name));
        let mut dir: Option<OwnedFd> = None;
        for part in dirs.split('/').filter(|part| !part.is_empty()) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let at = dir.as_ref().unwrap_or(&self.root);
            dir = Some(openat(at, part, flags, Mode::empty()).map_err(refused)?);
        }
        let at = dir.as_ref().unwrap_or(&self.root);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        read_text(File::from(openat(at, name, flags, Mode::empty()).map_err(refused)?))
    }
}

/// Reads a file that a person named: links are followed, but nothing is waited for.
///
/// # Errors
/// When it is no text of at most [`SOURCE_BYTES_MAX`] bytes.
pub(crate) fn read_named(path: &Path) -> Result<String, LoadError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    read_text(File::from(open(path, flags, Mode::empty()).map_err(refused)?))
}

/// The text of an open file, if it is an ordinary one.
fn read_text(file: File) -> Result<String, LoadError> {
    let unreadable = |error: std::io::Error| LoadError::Unreadable(error.to_string());
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(LoadError::NotAFile);
    }
    if metadata.len() > SOURCE_BYTES_MAX as u64 {
        return Err(LoadError::TooLarge);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // It may grow while it is read.
    file.take(SOURCE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > SOURCE_BYTES_MAX {
        return Err(LoadError::TooLarge);
    }
    String::from_utf8(bytes).map_err(|_| LoadError::NotText)
}

fn refused(error: Errno) -> LoadError {
    match error {
        Errno::NOENT => LoadError::Missing,
        // With NOFOLLOW, a symbolic link is one of these; what it names is not looked at.
        Errno::LOOP => LoadError::Outside,
        Errno::NOTDIR | Errno::ISDIR | Errno::NXIO => LoadError::NotAFile,
        other => LoadError::Unreadable(std::io::Error::from(other).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    fn check(files: &Files, path: &str, expected: Result<&str, LoadError>) {
        assert_eq!(files.load(path), expected.map(str::to_owned), "{path}");
    }

    #[test]
    fn only_ordinary_text_below_the_root_is_read() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        std::fs::create_dir_all(root.join("prompts/dir")).unwrap();
        std::fs::write(root.join("prompts/a.md"), "hello").unwrap();
        std::fs::write(root.join("binary"), [0xff, 0xfe]).unwrap();
        std::fs::write(root.join("huge"), vec![b'x'; SOURCE_BYTES_MAX + 1]).unwrap();
        std::fs::write(root.join("full"), vec![b'x'; SOURCE_BYTES_MAX]).unwrap();
        std::fs::write(temp.path().join("secret"), "secret").unwrap();
        symlink(temp.path().join("secret"), root.join("link")).unwrap();
        symlink("prompts/a.md", root.join("inner")).unwrap();
        symlink(temp.path(), root.join("up")).unwrap();
        mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();

        let files = Files::below(&root).unwrap();
        check(&files, "prompts/a.md", Ok("hello"));
        assert_eq!(files.load("full").map(|text| text.len()), Ok(SOURCE_BYTES_MAX));
        check(&files, "missing", Err(LoadError::Missing));
        check(&files, "prompts/dir", Err(LoadError::NotAFile));
        check(&files, "prompts/a.md/x", Err(LoadError::NotAFile));
        check(&files, "pipe", Err(LoadError::NotAFile));
        check(&files, "binary", Err(LoadError::NotText));
        check(&files, "huge", Err(LoadError::TooLarge));
        check(&files, "link", Err(LoadError::Outside));
        check(&files, "inner", Err(LoadError::Outside));
        check(&files, "up/secret", Err(LoadError::NotAFile));
        for path in ["../secret", "/etc/passwd", "a/../../secret", ""] {
            check(&files, path, Err(LoadError::Outside));
        }
        assert_eq!(read_named(&root.join("link")).as_deref(), Ok("secret"));
        assert_eq!(read_named(&root.join("pipe")), Err(LoadError::NotAFile));
        assert_eq!(read_named(&root), Err(LoadError::NotAFile));
        assert_eq!(read_named(Path::new("/dev/zero")), Err(LoadError::NotAFile));
    }
}
