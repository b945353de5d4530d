//! How the user's checkout stands, and new branches of theirs.

use std::collections::BTreeSet;

use wf_kernel::record::TreeAt;

use super::capture::refresh;
use super::clean::CleanDir;
use super::error::GitError;
use super::names::check_id;
use super::repository::Repository;
use super::runner::Call;

/// How the user's checkout stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckoutState {
    /// What is checked out.
    pub head: TreeAt,
    /// Tracked paths that differ from it, in the index or in the files.
    pub changed: Vec<String>,
    /// Paths that are neither tracked nor ignored; repositories among them end with a slash.
    pub untracked: Vec<String>,
}

impl CheckoutState {
    /// Whether the checkout is exactly its commit.
    pub fn is_clean(&self) -> bool {
        self.changed.is_empty() && self.untracked.is_empty()
    }
}

impl Repository {
    /// How the user's checkout stands. Nothing is written.
    ///
    /// # Errors
    /// When there is no commit yet, and when git fails.
    pub async fn checkout_state(&self) -> Result<CheckoutState, GitError> {
        let head = self.head_commit().await?;
        let clean = self.clean_dir(self.git().scratch_dir())?;
        self.copy_user_index(&clean, &head.commit).await?;
        refresh(self.git(), &clean, self.top()).await?;
        let staged = ["diff-index", "--cached", "-z", "--name-only", "--no-renames", &head.tree];
        let files = ["diff-files", "-z", "--name-only", "--no-renames", "--ignore-submodules=dirty"];
        let untracked = ["ls-files", "-z", "-o", "--exclude-standard"];
        let (staged, files, untracked) =
            tokio::try_join!(self.paths(&clean, &staged), self.paths(&clean, &files), self.paths(&clean, &untracked))?;
        let changed = staged.union(&files).cloned().collect();
        Ok(CheckoutState { head, changed, untracked: untracked.into_iter().collect() })
    }

    async fn paths(&self, clean: &CleanDir, args: &[&str]) -> Result<BTreeSet<String>, GitError> {
        let output = self.git().run(Call::new(args).at(clean.over(self.top()))).await?;
        Ok(output.fields().map(|path| String::from_utf8_lossy(path).into_owned()).collect())
    }

    /// Makes a branch of the user's at `commit`.
    ///
    /// # Errors
    /// When the name is not one for a branch, when there is such a branch, and when there is no such commit.
    pub async fn create_branch(&self, name: &str, commit: &str) -> Result<(), GitError> {
        check_id(commit)?;
        self.check_branch_name(name).await?;
        self.facts_of(commit).await?;
        match self.move_ref(&format!("refs/heads/{name}"), commit, None).await {
            Err(GitError::Moved { .. }) => Err(GitError::BranchExists { name: name.to_owned() }),
            other => other,
        }
    }

    /// Refuses a name that git does not take for a branch.
    ///
    /// # Errors
    /// [`GitError::Invalid`]
    pub async fn check_branch_name(&self, name: &str) -> Result<(), GitError> {
        let reference = format!("refs/heads/{name}");
        let invalid =
            || GitError::Invalid { what: "branch name", value: name.to_owned(), reason: "git does not take it" };
        if name.is_empty() || name.starts_with('-') || name == "HEAD" || name.contains('\0') {
            return Err(invalid());
        }
        let call = Call::new(["check-ref-format", &reference]).codes(&[0, 1]);
        if self.run_on_objects(call).await?.code != 0 {
            return Err(invalid());
        }
        Ok(())
    }
}
