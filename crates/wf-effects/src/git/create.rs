//! A repository made from a directory: the fixture of a workflow.

use std::path::Path;

use wf_kernel::record::TreeAt;

use super::capture::capture;
use super::clean::copy_index;
use super::error::GitError;
use super::repository::Repository;
use super::runner::{Call, Git};

/// Makes `dir` a repository with one commit of all that is in it and not ignored. The commit's id depends on the files,
/// `message` and `at_ms` only.
///
/// # Errors
/// When `dir` has a `.git`, or something in it that a commit cannot hold, and when git fails.
pub async fn create_repository(
    git: &Git,
    dir: &Path,
    message: &str,
    at_ms: i64,
) -> Result<(Repository, TreeAt), GitError> {
    let dir = std::fs::canonicalize(dir).map_err(GitError::io("find", dir))?;
    if std::fs::symlink_metadata(dir.join(".git")).is_ok() {
        let value = dir.display().to_string();
        return Err(GitError::Invalid { what: "directory", value, reason: "it is a repository already" });
    }
    let args = ["init", "-q", "--template=", "--initial-branch=main", "--object-format=sha1"];
    git.run(Call::new(args).arg(&dir)).await?;
    let repository = Repository::discover(git, &dir).await?;
    let clean = repository.clean_dir(git.scratch_dir())?;
    let capture = capture(git, &clean, &dir).await?;
    let paths = capture.left_out();
    if !paths.is_empty() {
        return Err(GitError::Uncommittable { paths, reason: "a fixture holds files and links only" });
    }
    let commit = repository.commit_tree(&capture.tree, &[], message, Some(at_ms)).await?;
    repository.move_ref("refs/heads/main", &commit, None).await?;
    if clean.index().exists() {
        copy_index(&clean.index(), &repository.git_dir().join("index"))?;
    }
    Ok((repository, TreeAt { commit, tree: capture.tree }))
}
