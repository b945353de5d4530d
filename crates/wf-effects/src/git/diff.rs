//! What differs between two commits: a function of their objects only, because nothing of the machine, of the
//! repository's config or of a checkout is in force.

use wf_kernel::record::{Checkpoint, FileChange};

use super::error::GitError;
use super::names::check_id;
use super::repository::Repository;
use super::runner::Call;

/// How many changed files a record may name.
const FILES_MAX: usize = 50_000;

/// The largest patch that is made for `apply`.
const PATCH_BYTES_MAX: usize = 256 << 20;

/// A patch as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The text.
    pub bytes: Vec<u8>,
    /// Whether it was cut off at the bound that was asked for.
    pub is_truncated: bool,
}

impl Repository {
    /// What a branch did from `base` to `commit`.
    ///
    /// # Errors
    /// When one of them does not exist, and when more files changed than a record may name.
    pub async fn harvest(&self, base: &str, commit: &str) -> Result<Checkpoint, GitError> {
        let (from, to) = tokio::try_join!(self.facts_of(base), self.facts_of(commit))?;
        let files = self.changes(&from.tree, &to.tree).await?;
        Ok(Checkpoint {
            base: base.to_owned(),
            commit: commit.to_owned(),
            tree: to.tree,
            files,
            out_of_scope: Vec::new(),
        })
    }

    /// The unified diff from `base` to `commit`, cut off at `bytes_max`.
    ///
    /// # Errors
    /// When one of them does not exist.
    pub async fn diff(&self, base: &str, commit: &str, bytes_max: usize) -> Result<Patch, GitError> {
        let (from, to) = tokio::try_join!(self.facts_of(base), self.facts_of(commit))?;
        let args = ["diff-tree", "-r", "-p", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color"];
        let call = Call::new(args).arg(from.tree).arg(to.tree).truncate_at(bytes_max);
        let output = self.run_on_objects(call).await?;
        Ok(Patch { bytes: output.stdout, is_truncated: output.is_truncated })
    }

    /// The patch from `base` to `commit` that `git apply` takes, binary files included.
    ///
    /// # Errors
    /// When one of them does not exist, and when the patch is too large.
    pub async fn patch(&self, base: &str, commit: &str) -> Result<Vec<u8>, GitError> {
        let (from, to) = tokio::try_join!(self.facts_of(base), self.facts_of(commit))?;
        let args = ["diff-tree", "-r", "-p", "--binary", "--full-index", "--no-renames", "--no-ext-diff"];
        let call = Call::new(args).arg("--no-textconv").arg("--no-color").arg(from.tree).arg(to.tree);
        Ok(self.run_on_objects(call.stdout_max(PATCH_BYTES_MAX)).await?.stdout)
    }

    /// The files that differ between two trees, in order of their paths.
    pub(crate) async fn changes(&self, from: &str, to: &str) -> Result<Vec<FileChange>, GitError> {
        check_id(from)?;
        check_id(to)?;
        if from == to {
            return Ok(Vec::new());
        }
        let args = ["diff-tree", "-r", "-z", "--raw", "--numstat", "--no-renames", "--no-ext-diff", "--no-textconv"];
        let output = self.run_on_objects(Call::new(args).arg(from).arg(to)).await?;
        let files = parse_changes(&output.stdout);
        if files.len() > FILES_MAX {
            return Err(GitError::TooLarge { what: format!("{} changed files", files.len()), max: FILES_MAX as u64 });
        }
        Ok(files)
    }
}

/// Reads `--raw --numstat -z`: first `:<modes> <ids> <status>\0<path>\0` of every file, then
/// `<insertions>\t<deletions>\t<path>\0` of every file.
fn parse_changes(bytes: &[u8]) -> Vec<FileChange> {
    let mut files = std::collections::BTreeMap::new();
    let mut fields = bytes.split(|byte| *byte == 0).filter(|field| !field.is_empty());
    while let Some(field) = fields.next() {
        if let Some(raw) = field.strip_prefix(b":") {
            let Some(path) = fields.next() else { break };
            let change = word_of(&String::from_utf8_lossy(raw)).to_owned();
            let path = String::from_utf8_lossy(path).into_owned();
            files.insert(path.clone(), FileChange { path, change, insertions: None, deletions: None });
            continue;
        }
        let mut parts = field.splitn(3, |byte| *byte == b'\t').map(String::from_utf8_lossy);
        let (Some(insertions), Some(deletions), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if let Some(file) = files.get_mut(path.as_ref()) {
            // A binary file has `-` for both.
            file.insertions = insertions.parse().ok();
            file.deletions = deletions.parse().ok();
        }
    }
    files.into_values().collect()
}

/// The word for `<old mode> <new mode> <old id> <new id> <status>`.
fn word_of(raw: &str) -> &'static str {
    let parts: Vec<&str> = raw.split(' ').collect();
    match parts.as_slice() {
        [_, _, _, _, "A"] => "added",
        [_, _, _, _, "D"] => "deleted",
        [_, _, _, _, "T"] => "type",
        [old_mode, new_mode, old_id, new_id, _] if old_id == new_id && old_mode != new_mode => "mode",
        _ => "modified",
    }
}
