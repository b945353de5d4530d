//! Trust: whether the commands of a repository's workflows may run, as a record outside of the repository.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::project::{Project, sync_dir};

/// A record that a repository is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// The version of this form.
    pub version: u32,
    /// The git directory, or the directory of a project without a repository.
    pub anchor: String,
    /// Device and inode of it: another clone at the same place is another repository.
    pub identity: (u64, u64),
    /// When that came to be, where the file system knows, in nanoseconds since the Unix epoch: inodes are used again.
    #[serde(default)]
    pub born_ns: Option<u64>,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Who said so.
    pub by: String,
}

/// The record of a project's trust, if it has one that holds.
pub fn trust_of(project: &Project) -> Option<Trust> {
    let text = std::fs::read_to_string(project.trust_file()).ok()?;
    let trust: Trust = serde_json::from_str(&text).ok()?;
    let holds = trust.version == 1 && identity(project.anchor()) == Some((trust.identity, trust.born_ns));
    holds.then_some(trust)
}

/// Records that a project is trusted.
///
/// # Errors
/// When the file system says no.
pub fn grant(project: &Project, by: &str, at_ms: i64) -> Result<Trust, Error> {
    let anchor = project.anchor();
    let (identity, born_ns) = identity(anchor).ok_or_else(|| Error::usage(format!("{anchor:?} is gone")))?;
    let trust = Trust { version: 1, anchor: anchor.display().to_string(), identity, born_ns, at_ms, by: by.to_owned() };
    project.make_dir()?;
    let path = project.trust_file();
    let text = serde_json::to_string(&trust).map_err(|error| Error::Bug(error.to_string()))?;
    // Written aside and renamed, so that a reader never sees half of it.
    let aside = path.with_extension("json.new");
    let written =
        File::create(&aside).and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(Error::io("write", &aside))?;
    std::fs::rename(&aside, &path).map_err(Error::io("write", &path))?;
    sync_dir(project.dir())?;
    Ok(trust)
}

/// Takes the trust back. Says whether there was any.
///
/// # Errors
/// When the file system says no.
pub fn revoke(project: &Project) -> Result<bool, Error> {
    let path = project.trust_file();
    match std::fs::remove_file(&path) {
        // What was taken back must not come again with a loss of power.
        Ok(()) => sync_dir(project.dir()).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", &path)(error)),
    }
}

fn identity(anchor: &Path) -> Option<((u64, u64), Option<u64>)> {
    let metadata = std::fs::metadata(anchor).ok()?;
    let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    let born_ns = born.and_then(|born| u64::try_from(born.as_nanos()).ok());
    Some(((metadata.dev(), metadata.ino()), born_ns))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::environment::Environment;

    #[test]
    fn trust_is_of_one_repository_and_not_of_its_path() {
        let temp = tempfile::tempdir().unwrap();
        let vars = BTreeMap::from([("WHALEFLOW_HOME".to_owned(), temp.path().join("home").display().to_string())]);
        let repository = temp.path().join("repository");
        std::fs::create_dir_all(&repository).unwrap();
        let environment = Environment::of(vars, temp.path().to_owned(), "/bin/whaleflow".into());
        let project = Project::of(&environment, &repository).unwrap();

        assert_eq!(trust_of(&project), None);
        let trust = grant(&project, "ann", 7).unwrap();
        assert_eq!((trust.by.as_str(), trust.at_ms), ("ann", 7));
        assert_eq!(trust_of(&project), Some(trust));

        // Another directory takes the place of the first.
        std::fs::rename(&repository, temp.path().join("moved")).unwrap();
        std::fs::create_dir_all(&repository).unwrap();
        assert_eq!(trust_of(&project), None);

        grant(&project, "ann", 8).unwrap();
        assert!(revoke(&project).unwrap());
        assert!(!revoke(&project).unwrap());
        assert_eq!(trust_of(&project), None);
    }
}
