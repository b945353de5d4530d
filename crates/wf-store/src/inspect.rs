//! Looking at a store from outside, before it is opened: what schema it has, what was kept aside, what was left behind.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::OpenError;
use crate::sqlite;

/// The most files of one kind that are named.
const NAMED_MAX: usize = 1_000;

/// What lies in the directory of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The schema of the database; none if there is no database.
    pub schema: Option<i64>,
    /// How large the database is, with its write-ahead log.
    pub database_bytes: u64,
    /// Databases of older schemas, and write-ahead logs that were damaged, which were kept.
    pub kept: Vec<FileFound>,
    /// Files that were being written and that nobody has given a name. One may be written at this moment.
    pub unfinished: Vec<FileFound>,
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFound {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was last written.
    pub modified_ms: i64,
}

/// Looks at the store in `dir`, and changes nothing.
///
/// # Errors
/// When it cannot be read, or is no store.
pub fn inspect(dir: &Path) -> Result<Inspection, OpenError> {
    let unavailable = |error: io::Error| OpenError::Unavailable(error.into());
    let mut found = Inspection { schema: sqlite::schema_of(dir)?, ..Inspection::default() };
    for (name, file) in files(dir).map_err(unavailable)? {
        if name == "store.db" || name == "store.db-wal" {
            found.database_bytes += file.bytes;
        } else if name.starts_with("store.db.") {
            found.kept.push(file);
        } else if name.starts_with(sqlite::NEW_PREFIX) || name.starts_with(sqlite::BACKUP_PREFIX) {
            found.unfinished.push(file);
        }
    }
    let blobs = files(&dir.join("blobs/tmp")).map_err(unavailable)?;
    found.unfinished.extend(blobs.into_iter().map(|(_, file)| file));
    found.kept.sort_by(|a, b| a.path.cmp(&b.path));
    found.unfinished.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The files in a directory, by name; none where there is no directory.
fn files(dir: &Path) -> io::Result<Vec<(String, FileFound)>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => continue,
            // It was given a name meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let file = FileFound { path: entry.path(), bytes: metadata.len(), modified_ms: modified_ms(&metadata) };
        found.push((entry.file_name().to_string_lossy().into_owned(), file));
        if found.len() >= NAMED_MAX {
            break;
        }
    }
    Ok(found)
}

fn modified_ms(metadata: &Metadata) -> i64 {
    let since = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
