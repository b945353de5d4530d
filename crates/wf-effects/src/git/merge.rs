//! What is asked of the user's branch: what two lines of work come to, a commit of it, and the branch there.

use std::path::PathBuf;

use super::clean::read_small;
use super::combine::{misfits, put};
use super::discover::{CONFIG_BYTES_MAX, nowhere};
use super::error::GitError;
use super::names::{check_id, is_id};
use super::repository::Repository;
use super::runner::Call;

/// What an older git says to options that it does not know.
const USAGE: i32 = 129;
/// The longest name or address of a person.
const IDENTITY_LEN_MAX: usize = 500;

/// What two lines of work come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// A tree.
    Tree(String),
    /// They differ in these files, and nobody can say which is meant.
    Conflicts(Vec<String>),
}

/// What HEAD of a checkout is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadRef {
    /// A branch, by its full name.
    Branch(String),
    /// A commit.
    Detached,
}

/// Who makes a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Their name.
    pub name: String,
    /// Their address.
    pub email: String,
}

/// A commit that is wanted.
#[derive(Clone, Debug)]
pub struct CommitOrder {
    /// Its tree.
    pub tree: String,
    /// Its parents, in order.
    pub parents: Vec<String>,
    /// Its message.
    pub message: String,
    /// Who makes it.
    pub by: Identity,
}

impl Repository {
    /// The best common ancestor of two commits.
    ///
    /// # Errors
    /// When git fails.
    pub async fn merge_base(&self, one: &str, other: &str) -> Result<Option<String>, GitError> {
        check_id(one)?;
        check_id(other)?;
        let call = Call::new(["merge-base", one, other]).at(self.place()).codes(&[0, 1]);
        let id = self.git().run(call).await?.text();
        Ok(id.lines().next().filter(|id| is_id(id)).map(str::to_owned))
    }

    /// What the changes from `base` to `theirs` come to on top of `ours`. Drivers and renames are git's own; nothing of
    /// the repository's config is in force.
    ///
    /// # Errors
    /// When a commit is not there, and when git fails.
    pub async fn merge(&self, base: &str, ours: &str, theirs: &str) -> Result<Merged, GitError> {
        let (base, ours, theirs) = tokio::try_join!(self.tree_of(base), self.tree_of(ours), self.tree_of(theirs))?;
        if base == ours || ours == theirs {
            return Ok(Merged::Tree(theirs));
        }
        if base == theirs {
            return Ok(Merged::Tree(ours));
        }
        // Commits of the three trees alone, so that the base is what was said and not what history has.
        let root = self.commit_tree(&base, &[], "base", Some(0)).await?;
        let one = self.commit_tree(&ours, &[&root], "ours", Some(0)).await?;
        let other = self.commit_tree(&theirs, &[&root], "theirs", Some(0)).await?;
        let clean = self.clean_dir(self.git().scratch_dir())?;
        let args = ["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", &one, &other];
        let output = self.git().run(Call::new(args).at(clean.over(self.top())).codes(&[0, 1, USAGE])).await?;
        if output.code == USAGE {
            return self.merge_by_path(&base, &ours, &theirs).await;
        }
        let mut fields = output.fields().map(|field| String::from_utf8_lossy(field).into_owned());
        let tree = fields.next().unwrap_or_default();
        if output.code == 0 {
            check_id(&tree)?;
            return Ok(Merged::Tree(tree));
        }
        let mut paths: Vec<String> = fields.collect();
        paths.sort();
        paths.dedup();
        Ok(Merged::Conflicts(paths))
    }

    /// The same for a git that cannot merge without a checkout: a file that both changed is a conflict.
    async fn merge_by_path(&self, base: &str, ours: &str, theirs: &str) -> Result<Merged, GitError> {
        let (mut there, changes) = tokio::try_join!(self.entries(ours), self.path_changes(base, theirs))?;
        let conflicts = misfits(&there, &changes);
        if !conflicts.is_empty() {
            return Ok(Merged::Conflicts(conflicts));
        }
        changes.iter().for_each(|change| put(&mut there, change));
        let changes = changes.into_iter().map(|change| (change.path, change.to)).collect();
        Ok(Merged::Tree(self.tree_with(ours, &changes).await?))
    }

    /// What HEAD is.
    ///
    /// # Errors
    /// When git fails.
    pub async fn head_ref(&self) -> Result<HeadRef, GitError> {
        let call = Call::new(["symbolic-ref", "-q", "HEAD"]).at(self.place()).codes(&[0, 1]);
        let output = self.git().run(call).await?;
        Ok(if output.code == 0 { HeadRef::Branch(output.text()) } else { HeadRef::Detached })
    }

    /// What git is in the middle of in this checkout, if it is.
    pub fn under_way(&self) -> Option<&'static str> {
        let marks = [
            ("MERGE_HEAD", "a merge"),
            ("CHERRY_PICK_HEAD", "a cherry-pick"),
            ("REVERT_HEAD", "a revert"),
            ("rebase-merge", "a rebase"),
            ("rebase-apply", "a rebase"),
        ];
        let is_there = |name: &str| std::fs::symlink_metadata(self.git_dir().join(name)).is_ok();
        marks.iter().find(|(mark, _)| is_there(mark)).map(|(_, what)| *what)
    }

    /// Who the user is, as their configuration says: in the repository, else in the first of `files` that says so.
    /// Nothing that they include is read.
    ///
    /// # Errors
    /// When git fails.
    pub async fn identity(&self, files: &[PathBuf]) -> Result<Option<Identity>, GitError> {
        let (mut name, mut email) = (None, None);
        let own = self.common_dir().join("config");
        for file in std::iter::once(&own).chain(files) {
            if read_small(file, CONFIG_BYTES_MAX).is_none() {
                continue;
            }
            name = match name {
                None => self.config_text(file, "user.name").await?,
                name => name,
            };
            email = match email {
                None => self.config_text(file, "user.email").await?,
                email => email,
            };
        }
        Ok(name.zip(email).map(|(name, email)| Identity { name, email }))
    }

    async fn config_text(&self, file: &std::path::Path, key: &str) -> Result<Option<String>, GitError> {
        let args = ["config", "--no-includes", "--file"];
        let call = Call::new(args).arg(file).arg("--get").arg(key).codes(&[0, 1]);
        let place = nowhere(self.git());
        let text = self.git().run(call.at(place)).await?.text();
        let is_plain = |text: &String| {
            !text.is_empty() && text.len() <= IDENTITY_LEN_MAX && !text.contains(['<', '>', '\n', '\0'])
        };
        Ok(Some(text).filter(is_plain))
    }

    /// Makes a commit of the user's; nothing points to it yet.
    ///
    /// # Errors
    /// When a tree or a parent is not there, and when git fails.
    pub async fn make_commit(&self, order: &CommitOrder) -> Result<String, GitError> {
        check_id(&order.tree)?;
        let mut call = Call::new(["commit-tree", &order.tree]);
        for parent in &order.parents {
            check_id(parent)?;
            call = call.arg("-p").arg(parent);
        }
        let Identity { name, email } = &order.by;
        let call = call
            .arg("-F")
            .arg("-")
            .env("GIT_AUTHOR_NAME", name)
            .env("GIT_AUTHOR_EMAIL", email)
            .env("GIT_COMMITTER_NAME", name)
            .env("GIT_COMMITTER_EMAIL", email)
            .stdin(format!("{}\n", order.message.trim_end().replace('\0', "?")).into_bytes());
        Ok(self.run_on_objects(call).await?.text())
    }

    /// Keeps a commit of an `apply` alive by a ref of the engine's.
    ///
    /// # Errors
    /// When git fails.
    pub async fn pin(&self, reference: &str, commit: &str) -> Result<(), GitError> {
        check_id(commit)?;
        match self.ref_at(reference).await? {
            Some(there) if there == commit => Ok(()),
            there => self.move_ref(reference, commit, there.as_deref()).await,
        }
    }

    /// Drops such a ref, if it is there.
    ///
    /// # Errors
    /// When git fails.
    pub async fn unpin(&self, reference: &str) -> Result<(), GitError> {
        match self.ref_at(reference).await? {
            Some(there) => self.delete_ref(reference, &there).await,
            None => Ok(()),
        }
    }

    /// Where a full ref name points.
    ///
    /// # Errors
    /// When git fails.
    pub async fn commit_at(&self, reference: &str) -> Result<Option<String>, GitError> {
        self.ref_at(reference).await
    }

    /// Moves a branch of the user's from one commit to another, with a line in its log.
    ///
    /// # Errors
    /// [`GitError::Moved`] when it is not where it was.
    pub async fn move_branch(&self, reference: &str, from: &str, to: &str, why: &str) -> Result<(), GitError> {
        check_id(from)?;
        check_id(to)?;
        let args = ["update-ref", "--no-deref", "-m", why, reference, to, from];
        let call = Call::new(args).config(self.drivers_off(&self.place()).await?).at(self.place());
        let Err(error) = self.git().run(call).await else { return Ok(()) };
        let actual = self.ref_at(reference).await?;
        if actual.as_deref() == Some(from) {
            return Err(error);
        }
        let actual = actual.unwrap_or_else(|| "no commit".to_owned());
        Err(GitError::Moved { reference: reference.to_owned(), expected: from.to_owned(), actual })
    }

    /// Removes a branch of the user's that is still at `commit` and is checked out nowhere.
    ///
    /// # Errors
    /// [`GitError::Moved`] when it is not, [`GitError::Invalid`] when it is checked out.
    pub async fn drop_branch(&self, name: &str, commit: &str) -> Result<(), GitError> {
        let reference = format!("refs/heads/{name}");
        if self.ref_at(&reference).await?.is_none() {
            return Ok(());
        }
        if self.is_checked_out(name).await? {
            let reason = "it is checked out";
            return Err(GitError::Invalid { what: "branch", value: name.to_owned(), reason });
        }
        self.delete_ref(&reference, commit).await
    }

    /// Whether a branch of the user's is checked out somewhere.
    ///
    /// # Errors
    /// When git fails.
    pub async fn is_checked_out(&self, name: &str) -> Result<bool, GitError> {
        let listed = self.git().run(Call::new(["worktree", "list", "--porcelain", "-z"]).at(self.place())).await?;
        let line = format!("branch refs/heads/{name}");
        Ok(listed.fields().any(|field| field == line.as_bytes()))
    }

    pub(crate) async fn delete_ref(&self, reference: &str, commit: &str) -> Result<(), GitError> {
        check_id(commit)?;
        let call = || Call::new(["update-ref", "--no-deref", "-d", reference, commit]);
        let locks = self.own_locks(&[reference]);
        let Err(error) = self.update_ref(&self.place(), call, &locks).await else { return Ok(()) };
        match self.ref_at(reference).await? {
            Some(there) if there == commit => Err(error),
            Some(actual) => {
                Err(GitError::Moved { reference: reference.to_owned(), expected: commit.to_owned(), actual })
            }
            None => Ok(()),
        }
    }
}
