//! Sessions of agents that are at work, so that an attempt that was cut off can go on with its own. They are kept in a
//! directory of the run's project, a small file for each attempt, until the attempt has ended.

use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wf_ir::Digest;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 10;

/// The sessions of one run. Without a directory nothing is kept.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    dir: Option<PathBuf>,
}

/// Whose session it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    agent: String,
    /// Where its work had begun.
    begin: String,
    session: String,
}

/// An attempt of a leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    /// The instance.
    pub(crate) path: &'a str,
    /// Counts from 1.
    pub(crate) attempt: u32,
    /// Which agent does it.
    pub(crate) agent: &'a str,
    /// The commit at which it begins.
    pub(crate) begin: &'a str,
}

impl Sessions {
    /// Those that are kept in `dir`, which is made when it is needed. No other run has the same.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir: Some(dir) }
    }

    fn file(&self, attempt: &Attempt<'_>) -> Option<PathBuf> {
        let name = Digest::of(format!("{}\0{}", attempt.path, attempt.attempt).as_bytes());
        self.dir.as_ref().map(|dir| dir.join(name.to_string()))
    }

    /// Keeps a session.
    ///
    /// # Errors
    /// When the file system says no.
    pub(crate) fn keep(&self, attempt: &Attempt<'_>, session: &str) -> io::Result<()> {
        let Some(file) = self.file(attempt) else { return Ok(()) };
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let kept =
            Kept { agent: attempt.agent.to_owned(), begin: attempt.begin.to_owned(), session: session.to_owned() };
        let aside = file.with_extension("new");
        let mut to = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        to.write_all(&serde_json::to_vec(&kept)?)?;
        std::fs::rename(&aside, &file)
    }

    /// The session of an attempt that was cut off, if it is the same agent's and begins at the same commit.
    pub(crate) fn kept(&self, attempt: &Attempt<'_>) -> Option<String> {
        let bytes = read(&self.file(attempt)?).ok()?;
        let kept: Kept = serde_json::from_slice(&bytes).ok()?;
        (kept.agent == attempt.agent && kept.begin == attempt.begin).then_some(kept.session)
    }

    /// Forgets the session of an attempt that has ended.
    pub(crate) fn forget(&self, attempt: &Attempt<'_>) {
        if let Some(file) = self.file(attempt) {
            // One that stays is of an attempt that is not made again.
            let _ = std::fs::remove_file(file);
        }
    }

    /// Forgets them all.
    pub(crate) fn clear(&self) {
        if let Some(dir) = &self.dir {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_that_of_one_attempt_of_one_agent() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = Sessions::at(dir.path().join("run"));
        let attempt = Attempt { path: "b/fix", attempt: 1, agent: "claude", begin: "c0" };
        assert_eq!(sessions.kept(&attempt), None);
        sessions.keep(&attempt, "s1").unwrap();
        sessions.keep(&attempt, "s2").unwrap();
        assert_eq!(sessions.kept(&attempt).as_deref(), Some("s2"));
        assert_eq!(sessions.kept(&Attempt { attempt: 2, ..attempt }), None);
        assert_eq!(sessions.kept(&Attempt { path: "b/other", ..attempt }), None);
        assert_eq!(sessions.kept(&Attempt { agent: "codex", ..attempt }), None);
        assert_eq!(sessions.kept(&Attempt { begin: "c1", ..attempt }), None);
        sessions.forget(&attempt);
        assert_eq!(sessions.kept(&attempt), None);
        sessions.keep(&attempt, "s3").unwrap();
        std::fs::write(sessions.file(&attempt).unwrap(), "{").unwrap();
        assert_eq!(sessions.kept(&attempt), None);
        sessions.clear();
        assert!(!dir.path().join("run").exists());
        Sessions::default().keep(&attempt, "s").unwrap();
        assert_eq!(Sessions::default().kept(&attempt), None);
    }
}
