//! What was rescued: found again, and written to a directory of one's choice.

use std::path::{Path, PathBuf};

use super::capture::populate;
use super::error::GitError;
use super::repository::Repository;
use super::runner::Call;

/// All refs of the engine begin so.
const ROOT: &str = "refs/whaleflow/";

/// What a list of rescues may come to.
const LIST_BYTES_MAX: usize = 16 << 20;

/// Work that a tree held when it was reset or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rescue {
    /// The full name of the ref.
    pub reference: String,
    /// The run.
    pub run: String,
    /// The commit.
    pub commit: String,
    /// The branch instance; unknown where the rescued commit is the agent's own.
    pub branch: Option<String>,
    /// When it was committed, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Directories to which was moved what a commit cannot hold.
    pub kept: Vec<PathBuf>,
}

/// The rescues of a repository.
#[derive(Clone, Debug)]
pub struct Rescues {
    repository: Repository,
}

impl Rescues {
    /// Those of a repository.
    pub fn of(repository: &Repository) -> Self {
        Self { repository: repository.clone() }
    }

    /// All of them, or those of one run, in the order of their refs.
    ///
    /// # Errors
    /// When git fails.
    pub async fn list(&self, run: Option<&str>) -> Result<Vec<Rescue>, GitError> {
        // Of one run, nothing else is read: what stands in the way there is in nobody else's.
        let below = run.map_or_else(|| ROOT.to_owned(), |run| format!("{ROOT}{run}/rescue/"));
        let args = ["for-each-ref", "--format=%(objectname) %(refname)", &below];
        let call = Call::new(args).at(self.repository.place()).stdout_max(LIST_BYTES_MAX);
        let text = self.repository.git().run(call).await?.text();
        let mut found = Vec::new();
        for line in text.lines() {
            let Some((commit, reference)) = line.split_once(' ') else { continue };
            let Some(of) = run_of(reference) else { continue };
            if run.is_none_or(|run| run == of) {
                found.push(self.read(reference, of, commit).await?);
            }
        }
        Ok(found)
    }

    /// Writes what a rescue's commit holds to a directory, which is new or empty. What was moved away because a commit
    /// cannot hold it is where [`Rescue::kept`] says.
    ///
    /// # Errors
    /// When there is no such rescue, and when something is in the directory.
    pub async fn restore(&self, reference: &str, into: &Path) -> Result<Rescue, GitError> {
        let unknown = || GitError::UnknownRevision { rev: reference.to_owned() };
        let run = run_of(reference).ok_or_else(unknown)?;
        let commit = self.repository.ref_at(reference).await?.ok_or_else(unknown)?;
        let rescue = self.read(reference, run, &commit).await?;
        std::fs::create_dir_all(into).map_err(GitError::io("make", into))?;
        if std::fs::read_dir(into).map_err(GitError::io("list", into))?.next().is_some() {
            let value = into.display().to_string();
            return Err(GitError::Invalid { what: "directory", value, reason: "it is not empty" });
        }
        let into = std::fs::canonicalize(into).map_err(GitError::io("find", into))?;
        let clean = self.repository.clean_dir(self.repository.git().scratch_dir())?;
        populate(self.repository.git(), &clean, &into, &commit).await?;
        Ok(rescue)
    }

    async fn read(&self, reference: &str, run: &str, commit: &str) -> Result<Rescue, GitError> {
        let facts = self.repository.facts_of(commit).await?;
        let is_ours = facts.message.starts_with("whaleflow: ");
        let values = |key: &'static str| facts.message.lines().filter_map(move |line| line.strip_prefix(key));
        Ok(Rescue {
            reference: reference.to_owned(),
            run: run.to_owned(),
            commit: commit.to_owned(),
            branch: values("branch: ").next().filter(|_| is_ours).map(str::to_owned),
            at_ms: facts.at_ms,
            kept: values("kept: ").filter(|_| is_ours).map(PathBuf::from).collect(),
        })
    }
}

/// The run of `refs/whaleflow/<run>/rescue/<name>`.
fn run_of(reference: &str) -> Option<&str> {
    let (run, rest) = reference.strip_prefix(ROOT)?.split_once('/')?;
    let name = rest.strip_prefix("rescue/")?;
    (!run.is_empty() && !name.is_empty() && !name.contains('/')).then_some(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rescue_is_known_by_its_ref() {
        assert_eq!(run_of("refs/whaleflow/r1/rescue/1a-x"), Some("r1"));
        for other in ["refs/whaleflow/r1/b/1a-x", "refs/heads/rescue/x", "refs/whaleflow/r1/rescue/", "r1/rescue/x"] {
            assert_eq!(run_of(other), None, "{other}");
        }
    }
}
