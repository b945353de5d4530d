//! Plain files beside the database: blobs and traces. Directories have mode 0700, files 0600.

mod blobs;
mod traces;

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

pub(crate) use blobs::FileBlobs;
pub(crate) use traces::FileTraces;

use crate::{OpenError, SqliteOptions};

/// The mode of every directory that the store makes.
pub(crate) const DIR_MODE: u32 = 0o700;
/// The mode of every file that the store makes.
pub(crate) const FILE_MODE: u32 = 0o600;

/// Makes `dir`, and whatever is missing above it, durably.
pub(crate) fn make_root(dir: &Path) -> io::Result<()> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent.filter(|parent| !parent.exists()) {
        make_root(parent)?;
    }
    make_durable_dir(dir)
}

/// Makes the directories in `dir`, and says whether their names must still be made durable.
pub(crate) fn make_dirs(dir: &Path) -> io::Result<bool> {
    let mut made = false;
    for name in ["blobs", "blobs/tmp", "traces"] {
        made |= make_dir(&dir.join(name))?;
    }
    Ok(made)
}

/// Whether a store in `dir` has kept blobs.
pub(crate) fn has_blobs(dir: &Path) -> io::Result<bool> {
    match std::fs::read_dir(dir.join("blobs")) {
        Ok(mut entries) => entries
            .try_fold(false, |found, entry| Ok(found || entry?.file_name().to_str().is_none_or(|it| it != "tmp"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens blobs and traces in `dir`.
pub(crate) fn open(dir: &Path, options: &SqliteOptions) -> Result<(FileBlobs, Arc<FileTraces>), OpenError> {
    let unavailable = |error: io::Error| OpenError::Unavailable(error.into());
    if make_dirs(dir).map_err(unavailable)? {
        sync_dir(dir).map_err(unavailable)?;
    }
    let blobs = FileBlobs::open(&dir.join("blobs"), options.blob_bytes_max);
    let traces = FileTraces::open(&dir.join("traces"), options.trace_bytes_max).map_err(unavailable)?;
    Ok((blobs, Arc::new(traces)))
}

/// Makes `dir` if it is not there, and says whether it was made.
pub(crate) fn make_dir(dir: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(DIR_MODE).create(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes `dir` if it is not there, and its name in its parent durable.
pub(crate) fn make_durable_dir(dir: &Path) -> io::Result<()> {
    if make_dir(dir)? { sync_dir(dir.parent().unwrap_or(Path::new("/"))) } else { Ok(()) }
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    // The parent of a relative name of one part is written as the empty path.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}
