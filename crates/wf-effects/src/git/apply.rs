//! The only changes of what is the user's: a branch of theirs, and files of their checkout.

use std::collections::BTreeSet;

use wf_kernel::record::{FileChange, TreeAt};

use super::capture::{capture, refresh};
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

    /// Makes the changes from `base` to `commit` in the files of the user's checkout; the index, HEAD and branches stay.
    /// Answers with the files that changed.
    ///
    /// # Errors
    /// [`GitError::Overlaps`] when a file that would change is not as it is in `base`: then nothing is changed.
    pub async fn apply_to_checkout(&self, base: &str, commit: &str) -> Result<Vec<FileChange>, GitError> {
        let (from, to) = tokio::try_join!(self.facts_of(base), self.facts_of(commit))?;
        let files = self.changes(&from.tree, &to.tree).await?;
        if files.is_empty() {
            return Ok(files);
        }
        let clean = self.clean_dir(self.git().scratch_dir())?;
        let head = self.head_commit().await?;
        self.copy_user_index(&clean, &head.commit).await?;
        let now = capture(self.git(), &clean, self.top()).await?;
        let mut differing: BTreeSet<String> =
            self.changes(&now.tree, &from.tree).await?.into_iter().map(|file| file.path).collect();
        differing.extend(now.left_out());
        let is_in_the_way = |file: &FileChange| {
            // An ignored file is in no tree, and yet somebody's.
            let is_hidden = file.change == "added" && self.top().join(&file.path).symlink_metadata().is_ok();
            is_hidden || differing.iter().any(|path| is_within(path, &file.path) || is_within(&file.path, path))
        };
        let paths: Vec<String> =
            files.iter().filter(|file| is_in_the_way(file)).map(|file| file.path.clone()).collect();
        if !paths.is_empty() {
            return Err(GitError::Overlaps { paths });
        }
        let patch = self.patch(base, commit).await?;
        for args in
            [["apply", "--whitespace=nowarn", "--check", "-"].as_slice(), &["apply", "--whitespace=nowarn", "-"]]
        {
            self.git().run(Call::new(args).at(clean.over(self.top())).stdin(patch.clone())).await?;
        }
        Ok(files)
    }

    /// Makes a branch of the user's at `commit`.
    ///
    /// # Errors
    /// When the name is not one for a branch, when there is such a branch, and when there is no such commit.
    pub async fn create_branch(&self, name: &str, commit: &str) -> Result<(), GitError> {
        check_id(commit)?;
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
        self.facts_of(commit).await?;
        match self.move_ref(&reference, commit, None).await {
            Err(GitError::Moved { .. }) => Err(GitError::BranchExists { name: name.to_owned() }),
            other => other,
        }
    }
}

/// Whether `path` is `dir` or lies below it.
fn is_within(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
