//! Getting what a branch of a run did into the user's checkout or repository, and out of it again.
//!
//! Each step is written down before it is taken (`journal`), so that a process that is killed at any moment leaves
//! something that the next `apply`, or `apply --undo`, finishes or takes back. Files are never written over that are not
//! as they were.

mod error;
mod journal;
mod recover;
mod undo;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wf_effects::git::{CommitOrder, FileOrder, GitError, HeadRef, Identity, Merged, Repository};

pub use error::ApplyError;
pub use journal::How;
pub use recover::Recovered;
pub use undo::{Undone, undo};

use crate::changes::{Change, WORKTREE};
use crate::engine::Engine;
use crate::error::Error;
use crate::project::Project;
use error::listed;
use journal::{Entry, Journal, Move, Stage, entry_id};

/// How a result is to be applied.
#[derive(Clone, Debug)]
pub struct ApplyOptions {
    /// In which way.
    pub how: How,
    /// The name of the branch that is to be made.
    pub name: Option<String>,
    /// The checkout; else the one that the command is given in, if it is of the run's repository, else the run's.
    pub repo: Option<PathBuf>,
}

/// What was done to a checkout or a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The checkout, or the name of the new branch.
    pub target: String,
    /// The commit that was made.
    pub made: Option<String>,
    /// Files that changed.
    pub files: Vec<String>,
    /// An earlier apply that was interrupted, and what became of it.
    pub recovered: Option<Recovered>,
}

/// Brings what a branch did to the user.
///
/// # Errors
/// When something is in the way; then nothing is changed.
pub async fn apply(engine: &Engine, change: &Change, options: &ApplyOptions) -> Result<Applied, Error> {
    let repository = site(engine, change.run(), change.top(), options.repo.as_deref()).await?;
    let commit = &change.checkpoint.commit;
    if matches!(repository.facts_of(commit).await, Err(GitError::UnknownRevision { .. })) {
        return Err(ApplyError::Foreign { top: repository.top().to_owned() }.into());
    }
    let journal = Journal::open(engine.project.state_root(), &repository)?;
    let ground = Ground { engine, change, repository: &repository, options };
    let recovered = recover::recover(&journal, &repository, |entry| ground.is_same(entry)).await?;
    if let Some(finished) = recovered.as_ref().filter(|it| it.is_wanted) {
        let entry = &finished.entry;
        return ground.told(entry, recovered.clone()).await;
    }
    let entry = ground.plan().await?;
    perform(&journal, &repository, &entry).await?;
    ground.told(&entry, recovered).await
}

/// A branch of a run, the checkout that it is to be applied to, and how.
struct Ground<'a> {
    engine: &'a Engine,
    change: &'a Change,
    repository: &'a Repository,
    options: &'a ApplyOptions,
}

impl Ground<'_> {
    /// Whether an earlier order is this one.
    fn is_same(&self, entry: &Entry) -> bool {
        entry.run == self.change.run()
            && entry.commit == self.change.checkpoint.commit
            && entry.how == self.options.how
            && (entry.how != How::Branch || entry.moves.as_ref().map(|it| &it.reference) == self.new_branch().as_ref())
    }

    fn new_branch(&self) -> Option<String> {
        self.options.name.as_ref().map(|name| format!("refs/heads/{name}"))
    }

    /// Looks at everything that could be in the way, and says what is to be done.
    async fn plan(&self) -> Result<Entry, Error> {
        match self.options.how {
            How::Files => self.plan_files().await,
            How::Squash | How::Merge => self.plan_commit().await,
            How::Branch => self.plan_branch().await,
        }
    }

    async fn plan_files(&self) -> Result<Entry, Error> {
        let (from, to) = (self.change.line_base(), &self.change.checkpoint.commit);
        let standing = self.repository.standing(from, to).await?;
        if standing.is_after() {
            return Err(self.already("checkout".to_owned()));
        }
        self.refuse_dirty(&[standing.before.as_slice(), &standing.other].concat()).await?;
        if !standing.other.is_empty() {
            return Err(ApplyError::Overlaps(standing.other).into());
        }
        self.entry(from, to, None)
    }

    async fn plan_branch(&self) -> Result<Entry, Error> {
        let commit = &self.change.checkpoint.commit;
        let Some(name) = &self.options.name else { return Err(Error::usage("the new branch needs a name")) };
        self.repository.check_branch_name(name).await?;
        let reference = format!("refs/heads/{name}");
        match self.repository.commit_at(&reference).await? {
            Some(there) if there == *commit => return Err(self.already(format!("branch {name}"))),
            Some(_) => return Err(GitError::BranchExists { name: name.clone() }.into()),
            None => {}
        }
        self.entry(commit, commit, Some(Move { reference, from: None, to: commit.clone() }))
    }

    async fn plan_commit(&self) -> Result<Entry, Error> {
        if let Some(what) = self.repository.under_way() {
            return Err(ApplyError::UnderWay { what }.into());
        }
        let top = self.repository.top().to_owned();
        let HeadRef::Branch(reference) = self.repository.head_ref().await? else {
            return Err(ApplyError::NoBranch { top }.into());
        };
        let state = self.repository.checkout_state().await?;
        let (head, theirs) = (state.head.commit, &self.change.checkpoint.commit);
        let base = self.common_base(&head).await?;
        let tree = match self.repository.merge(&base, &head, theirs).await? {
            Merged::Tree(tree) => tree,
            Merged::Conflicts(paths) => return Err(ApplyError::Conflicts(paths).into()),
        };
        if tree == state.head.tree {
            return Err(self.already("checkout".to_owned()));
        }
        if !state.changed.is_empty() {
            let whole = self.repository.harvest(self.change.line_base(), theirs).await?;
            let wanted: Vec<String> = whole.files.into_iter().map(|file| file.path).collect();
            return Err(dirty(&state.changed, &wanted));
        }
        let parents = match self.options.how {
            How::Merge => vec![head.clone(), theirs.clone()],
            _ => vec![head.clone()],
        };
        let by = self.identity().await?;
        let order = CommitOrder { tree, parents, message: self.message(), by };
        let made = self.repository.make_commit(&order).await?;
        let standing = self.repository.standing(&head, &made).await?;
        // Nothing tracked differs, so what is in the way is untracked or ignored.
        let in_the_way = [standing.other.as_slice(), &standing.after].concat();
        if !in_the_way.is_empty() {
            return Err(ApplyError::Overlaps(in_the_way).into());
        }
        self.entry(&head, &made, Some(Move { reference, from: Some(head.clone()), to: made.clone() }))
    }

    /// Where the user's branch and the run's went apart.
    async fn common_base(&self, head: &str) -> Result<String, Error> {
        let base = self.change.line_base();
        let common = self.repository.merge_base(head, &self.change.checkpoint.commit).await?;
        let is_snapshot = self.change.base_source() == Some(WORKTREE) && common.as_deref() != Some(base);
        match (self.options.how, common) {
            (How::Merge, _) if is_snapshot => Err(ApplyError::Uncommitted.into()),
            (How::Merge, Some(common)) => Ok(common),
            (How::Merge, None) => Err(ApplyError::Foreign { top: self.repository.top().to_owned() }.into()),
            // What the run did, on top of what is there: history does not matter.
            _ => Ok(base.to_owned()),
        }
    }

    /// Files may be applied only where nothing tracked has changed, or where everything is as it was when the run began.
    async fn refuse_dirty(&self, would_change: &[String]) -> Result<(), Error> {
        let state = self.repository.checkout_state().await?;
        if let Some((base, at_ms)) = self.change.snapshot() {
            // The snapshot of an unchanged checkout, with the same date, is the same commit.
            return match self.repository.snapshot_worktree(self.change.run(), at_ms).await {
                Ok(now) if now.at.commit == base => Ok(()),
                Ok(_) | Err(GitError::Moved { .. }) => {
                    let mut message = "the checkout is no longer as it was when the run began".to_owned();
                    message.push_str(&of_these(&state.changed, would_change));
                    Err(Error::Checkout { message })
                }
                Err(error) => Err(error.into()),
            };
        }
        if state.changed.is_empty() { Ok(()) } else { Err(dirty(&state.changed, would_change)) }
    }

    /// Who commits: as the environment says, else as git is configured. Nothing is run to find out.
    async fn identity(&self) -> Result<Identity, Error> {
        let environment = &self.engine.environment;
        let of = |name: &str| environment.get(name).map(str::to_owned);
        if let (Some(name), Some(email)) = (of("GIT_AUTHOR_NAME"), of("GIT_AUTHOR_EMAIL")) {
            return Ok(Identity { name, email });
        }
        let files: Vec<PathBuf> = match of("GIT_CONFIG_GLOBAL") {
            Some(file) => vec![file.into()],
            None => {
                let home = of("HOME").map(PathBuf::from);
                let config = of("XDG_CONFIG_HOME").map(PathBuf::from);
                let config = config.or_else(|| Some(home.as_ref()?.join(".config")));
                home.map(|home| home.join(".gitconfig"))
                    .into_iter()
                    .chain(config.map(|dir| dir.join("git/config")))
                    .collect()
            }
        };
        self.repository.identity(&files).await?.ok_or_else(|| ApplyError::Nobody.into())
    }

    fn message(&self) -> String {
        let (run, branch, workflow) = (self.change.run(), &self.change.branch, self.change.workflow());
        match self.options.how {
            How::Merge => format!("Merge {branch} of {workflow}\n\nwhaleflow run {run}"),
            _ => format!("{workflow}: {branch}\n\nwhaleflow run {run}"),
        }
    }

    fn entry(&self, from: &str, to: &str, moves: Option<Move>) -> Result<Entry, Error> {
        let at_ms = self.engine.now_ms();
        Ok(Entry {
            version: 1,
            id: entry_id(at_ms)?,
            run: self.change.run().to_owned(),
            branch: self.change.branch.clone(),
            commit: self.change.checkpoint.commit.clone(),
            how: self.options.how,
            top: self.repository.top().to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            moves,
            at_ms,
            by: self.engine.environment.user(),
            stage: Stage::Begun,
        })
    }

    fn already(&self, place: String) -> Error {
        ApplyError::Already { place, branch: self.change.branch.clone() }.into()
    }

    async fn told(&self, entry: &Entry, recovered: Option<Recovered>) -> Result<Applied, Error> {
        let from = if entry.how == How::Branch { self.change.line_base() } else { entry.from.as_str() };
        let files = self.repository.harvest(from, &entry.to).await?.files;
        let target = match self.options.name.as_ref().filter(|_| entry.how == How::Branch) {
            Some(name) => name.clone(),
            None => self.repository.top().display().to_string(),
        };
        let made = matches!(entry.how, How::Squash | How::Merge).then(|| entry.to.clone());
        Ok(Applied { target, made, files: files.into_iter().map(|file| file.path).collect(), recovered })
    }
}

/// Does what an entry says, written down before and after. What cannot be done is taken back.
async fn perform(journal: &Journal, repository: &Repository, entry: &Entry) -> Result<(), Error> {
    if entry.how != How::Branch {
        // Nothing is to be taken back of what cannot begin.
        repository.refuse_locked_index(&entry.id).map_err(of_git)?;
    }
    journal.write(entry)?;
    match forward(repository, entry).await {
        Ok(()) => journal.write(&Entry { stage: Stage::Done, ..entry.clone() }),
        Err(error) if entry.how == How::Branch => {
            // A branch that is there is somebody else's.
            repository.unpin(&entry.pin()).await?;
            journal.write(&Entry { stage: Stage::Undone, ..entry.clone() })?;
            Err(of_git(error))
        }
        Err(error) => {
            // Whatever cannot be taken back now is in the journal for the next one.
            recover::take_back(journal, repository, entry).await?;
            Err(of_git(error))
        }
    }
}

/// Does what is left of an entry.
async fn forward(repository: &Repository, entry: &Entry) -> Result<(), GitError> {
    repository.pin(&entry.pin(), &entry.to).await?;
    if entry.how != How::Branch {
        repository.change_files(&file_order(entry, false)).await?;
    }
    let why = format!("whaleflow: {} {} of run {}", entry.how.as_str(), entry.branch, entry.run);
    match (&entry.moves, entry.how) {
        (Some(Move { reference, to, .. }), How::Branch) => {
            repository.create_branch(reference.trim_start_matches("refs/heads/"), to).await
        }
        (Some(Move { reference, from: Some(from), to }), _) => repository.move_branch(reference, from, to, &why).await,
        _ => Ok(()),
    }
}

/// The change of files that an entry means, there or back.
fn file_order(entry: &Entry, is_back: bool) -> FileOrder {
    let (from, to) = if is_back { (&entry.to, &entry.from) } else { (&entry.from, &entry.to) };
    FileOrder {
        from: from.clone(),
        to: to.clone(),
        tag: entry.id.clone(),
        with_index: matches!(entry.how, How::Squash | How::Merge),
        leaves_others: false,
    }
}

/// The checkout that is meant.
pub(crate) async fn site(engine: &Engine, run: &str, top: &Path, given: Option<&Path>) -> Result<Repository, Error> {
    let git = engine.git().await?;
    if let Some(given) = given {
        return Ok(Repository::discover(&git, &engine.environment.cwd().join(given)).await?);
    }
    let here = &engine.project;
    let is_here =
        || Ok::<_, Error>(here.is_repository() && Project::of(&engine.environment, top)?.anchor() == here.anchor());
    if !top.is_dir() {
        // The checkout was moved, or removed; another one of the repository keeps the run's base.
        if here.is_repository() {
            let repository = Repository::discover(&git, here.root()).await?;
            if repository.commit_at(&format!("refs/whaleflow/{run}/base")).await?.is_some() {
                return Ok(repository);
            }
        }
        return Err(ApplyError::Gone { top: top.to_owned() }.into());
    }
    let chosen = if is_here()? { here.root() } else { top };
    Ok(Repository::discover(&git, chosen).await?)
}

fn dirty(changed: &[String], would_change: &[String]) -> Error {
    let mut message = format!("the checkout has uncommitted changes: {}", listed(changed));
    message.push_str(&of_these(changed, would_change));
    Error::Checkout { message }
}

/// Which of the changed paths are the ones that would change.
fn of_these(changed: &[String], would_change: &[String]) -> String {
    let wanted: BTreeSet<&String> = would_change.iter().collect();
    let both: Vec<String> = changed.iter().filter(|path| wanted.contains(path)).cloned().collect();
    if both.is_empty() { String::new() } else { format!("; of what would change: {}", listed(&both)) }
}

/// What git says, as far as it is about applying.
fn of_git(error: GitError) -> Error {
    match error {
        GitError::Overlaps { paths } => ApplyError::Overlaps(paths).into(),
        GitError::IndexLocked { path } => ApplyError::Locked { path }.into(),
        GitError::Submodules { paths } => ApplyError::Submodules(paths).into(),
        other => other.into(),
    }
}

/// A short form of an id for messages.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
