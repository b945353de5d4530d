//! Trees made of other trees, without a worktree: what a commit changed is put on top of another, path by path.
//!
//! A path is taken where the tree at hand is as the change found it, or has it already. Where it is not, the change is in
//! the way of something, and what becomes of it is up to the caller: that is an answer and no error.

use std::collections::{BTreeMap, BTreeSet};

use wf_kernel::effect::Part;
use wf_kernel::record::{Combined, LeftOut, Taken};

use super::clean::CleanDir;
use super::error::GitError;
use super::names::check_id;
use super::repository::Repository;
use super::runner::Call;

/// The mode by which `update-index` knows that a path goes.
const GONE: &str = "0";

/// A commit of a winner's tree with fruit of losers, as it is ordered.
#[derive(Clone, Debug)]
pub struct CombineOrder {
    /// The full name of the ref that is to keep it.
    pub reference: String,
    /// What its message says.
    pub node: String,
    /// Where the winner's branch began.
    pub base: String,
    /// Where it ended.
    pub commit: String,
    /// What is to be taken, in order.
    pub parts: Vec<Part>,
    /// The commit's date.
    pub at_ms: i64,
}

/// A path in a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) mode: String,
    pub(crate) id: String,
}

/// The paths of a tree, as git spells them.
pub(crate) type Entries = BTreeMap<Vec<u8>, Entry>;

/// What becomes of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathChange {
    pub(crate) path: Vec<u8>,
    pub(crate) from: Option<Entry>,
    pub(crate) to: Option<Entry>,
}

impl Repository {
    /// Makes a commit of `order.commit` with the parts that fit, and keeps it by the order's ref. The same order makes
    /// the same commit.
    ///
    /// # Errors
    /// When a commit is not there, and when git fails.
    pub async fn combine(&self, order: &CombineOrder) -> Result<Combined, GitError> {
        let winner = self.facts_of(&order.commit).await?;
        let mut there = self.entries(&winner.tree).await?;
        let mut changes = BTreeMap::new();
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for part in &order.parts {
            let wanted = self.changes_of(part).await?;
            let in_the_way = misfits(&there, &wanted);
            if !in_the_way.is_empty() {
                let why = "it changes what the winner, or fruit taken before it, changed in another way".to_owned();
                left.push(LeftOut { path: part.path.clone(), files: in_the_way, why });
                continue;
            }
            taken.push(Taken { path: part.path.clone(), files: part.files.clone() });
            for change in wanted {
                put(&mut there, &change);
                changes.insert(change.path, change.to);
            }
        }
        let tree = self.tree_with(&winner.tree, &changes).await?;
        let commit = if tree == winner.tree {
            order.commit.clone()
        } else {
            let message = format!("{}\n\nwith fruit of: {}\n", order.node, paths_of(&taken));
            self.commit_tree(&tree, &[&order.commit], &message, Some(order.at_ms)).await?
        };
        self.point_ref(&order.reference, &commit).await?;
        Ok(Combined { checkpoint: self.harvest(&order.base, &commit).await?, taken, left })
    }

    /// Points a ref of the engine's at a commit, whatever it pointed at before.
    async fn point_ref(&self, reference: &str, commit: &str) -> Result<(), GitError> {
        match self.ref_at(reference).await? {
            Some(there) if there == commit => Ok(()),
            there => self.move_ref(reference, commit, there.as_deref()).await,
        }
    }

    /// What differs between where a part's branch began and where it ended, of the part's files.
    async fn changes_of(&self, part: &Part) -> Result<Vec<PathChange>, GitError> {
        let (from, to) = tokio::try_join!(self.facts_of(&part.base), self.facts_of(&part.commit))?;
        let all = self.path_changes(&from.tree, &to.tree).await?;
        let files: BTreeSet<&str> = part.files.iter().map(String::as_str).collect();
        let is_wanted = |change: &PathChange| files.contains(String::from_utf8_lossy(&change.path).as_ref());
        Ok(all.into_iter().filter(is_wanted).collect())
    }

    /// The paths that differ between two trees, with what they are in each.
    pub(crate) async fn path_changes(&self, from: &str, to: &str) -> Result<Vec<PathChange>, GitError> {
        check_id(from)?;
        check_id(to)?;
        if from == to {
            return Ok(Vec::new());
        }
        let args = ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", "--no-textconv", "--full-index"];
        let output = self.run_on_objects(Call::new(args).arg(from).arg(to)).await?;
        let mut fields = output.fields();
        let mut changes = Vec::new();
        while let (Some(raw), Some(path)) = (fields.next(), fields.next()) {
            let raw = String::from_utf8_lossy(raw);
            // `:<mode> <mode> <id> <id> <letter>`
            let parts: Vec<&str> = raw.trim_start_matches(':').split(' ').collect();
            let [old_mode, new_mode, old_id, new_id, _] = parts.as_slice() else { continue };
            changes.push(PathChange {
                path: path.to_owned(),
                from: entry(old_mode, old_id),
                to: entry(new_mode, new_id),
            });
        }
        Ok(changes)
    }

    /// Every path of a tree.
    pub(crate) async fn entries(&self, tree: &str) -> Result<Entries, GitError> {
        check_id(tree)?;
        let output = self.run_on_objects(Call::new(["ls-tree", "-r", "-z", "--full-tree", tree])).await?;
        let mut entries = Entries::new();
        for field in output.fields() {
            // `<mode> <type> <id>\t<path>`
            let Some(tab) = field.iter().position(|byte| *byte == b'\t') else { continue };
            let facts = String::from_utf8_lossy(&field[..tab]);
            let mut facts = facts.split(' ');
            if let (Some(mode), Some(id)) = (facts.next(), facts.nth(1)) {
                entries.insert(field[tab + 1..].to_owned(), Entry { mode: mode.to_owned(), id: id.to_owned() });
            }
        }
        Ok(entries)
    }

    /// A tree with other paths.
    pub(crate) async fn tree_with(
        &self,
        tree: &str,
        changes: &BTreeMap<Vec<u8>, Option<Entry>>,
    ) -> Result<String, GitError> {
        if changes.is_empty() {
            return Ok(tree.to_owned());
        }
        let clean = self.clean_dir(self.git().scratch_dir())?;
        self.git().run(Call::new(["read-tree", tree]).at(clean.over_nothing())).await?;
        self.set_entries(&clean, changes, tree.len()).await?;
        Ok(self.git().run(Call::new(["write-tree"]).at(clean.over_nothing())).await?.text())
    }

    /// Writes paths into the index of `clean`; files are not looked at.
    pub(crate) async fn set_entries(
        &self,
        clean: &CleanDir,
        changes: &BTreeMap<Vec<u8>, Option<Entry>>,
        id_len: usize,
    ) -> Result<(), GitError> {
        let zero = "0".repeat(id_len);
        let mut input = Vec::new();
        // What goes makes room first: a file may become a directory, and the other way round.
        let (gone, there): (Vec<_>, Vec<_>) = changes.iter().partition(|(_, to)| to.is_none());
        for (path, to) in gone.into_iter().chain(there) {
            let (mode, id) = to.as_ref().map_or((GONE, zero.as_str()), |to| (to.mode.as_str(), to.id.as_str()));
            input.extend_from_slice(format!("{mode} {id}\t").as_bytes());
            input.extend_from_slice(path);
            input.push(0);
        }
        let args = ["update-index", "-z", "--index-info"];
        self.git().run(Call::new(args).at(clean.over_nothing()).stdin(input)).await?;
        Ok(())
    }
}

/// The paths in which changes do not fit a tree: it is neither as they found it nor as they left it.
pub(crate) fn misfits(there: &Entries, changes: &[PathChange]) -> Vec<String> {
    let goes = |path: &[u8]| changes.iter().any(|change| change.to.is_none() && change.path == path);
    let does_not_fit = |change: &&PathChange| {
        let now = there.get(&change.path);
        if now != change.from.as_ref() && now != change.to.as_ref() {
            return true;
        }
        // A file where others need a directory, or the other way round.
        change.to.is_some()
            && (files_above(there, &change.path).chain(files_below(there, &change.path))).any(|path| !goes(path))
    };
    changes.iter().filter(does_not_fit).map(|change| String::from_utf8_lossy(&change.path).into_owned()).collect()
}

fn files_above<'a>(there: &'a Entries, path: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
    slashes.filter(|above| there.contains_key(*above))
}

fn files_below<'a>(there: &'a Entries, path: &[u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let dir: Vec<u8> = path.iter().copied().chain([b'/']).collect();
    let after = there.range(dir.clone()..).map(|(path, _)| path.as_slice());
    after.take_while(move |path| path.starts_with(&dir))
}

/// Makes a change in a tree that it fits.
pub(crate) fn put(there: &mut Entries, change: &PathChange) {
    match &change.to {
        Some(to) => _ = there.insert(change.path.clone(), to.clone()),
        None => _ = there.remove(&change.path),
    }
}

fn entry(mode: &str, id: &str) -> Option<Entry> {
    (!mode.bytes().all(|byte| byte == b'0')).then(|| Entry { mode: mode.to_owned(), id: id.to_owned() })
}

fn paths_of(taken: &[Taken]) -> String {
    taken.iter().map(|part| part.path.as_str()).collect::<Vec<_>>().join(", ")
}
