//! A repository: what it holds, and the refs that the engine keeps in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use wf_kernel::record::TreeAt;

use super::capture::{capture, read_index};
use super::clean::{CleanDir, copy_index, read_small};
use super::control::remove_any;
use super::discover::{CONFIG_BYTES_MAX, Located, locate};
use super::error::GitError;
use super::names::{check_id, check_run, is_id};
use super::runner::{Call, Git, Output, Place};

/// Where the engine's own refs are; nobody else writes there.
const OWN_REFS: &str = "refs/whaleflow/";

/// The longest revision that is given to git.
const REVISION_LEN_MAX: usize = 1024;

/// The largest commit object that is read.
const COMMIT_BYTES_MAX: usize = 1 << 20;
/// The largest fence that is read: names of a slot and of a process.
const FENCE_BYTES_MAX: usize = 4 << 10;

/// A ref that must be as it is said to be when another is moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) reference: String,
    pub(crate) at: String,
}

/// A repository with a checkout.
#[derive(Clone, Debug)]
pub struct Repository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    git: Git,
    located: Located,
    /// For calls about objects alone.
    objects: CleanDir,
}

/// What a commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitFacts {
    /// The id of its tree.
    pub tree: String,
    /// The ids of its parents, in order.
    pub parents: Vec<String>,
    /// Its message.
    pub message: String,
    /// When it was committed, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// A commit of the user's checkout as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorktreeSnapshot {
    /// The commit and its tree; the checked out commit itself, when nothing is changed.
    pub at: TreeAt,
    /// What it does not hold: repositories inside of the checkout, pipes, sockets, devices.
    pub left_out: Vec<String>,
}

impl Repository {
    /// Finds the repository of `start`: upwards, else the only one directly below it.
    ///
    /// # Errors
    /// When there is none, several, a bare one, or one whose pointer files are odd.
    pub async fn discover(git: &Git, start: &Path) -> Result<Self, GitError> {
        let located = locate(git, start).await?;
        let objects = CleanDir::make(&located.seed, git.scratch_dir())?;
        Ok(Self { inner: Arc::new(Inner { git: git.clone(), located, objects }) })
    }

    /// The root of the checkout.
    pub fn top(&self) -> &Path {
        &self.inner.located.top
    }

    /// The git directory of this checkout.
    pub fn git_dir(&self) -> &Path {
        &self.inner.located.git_dir
    }

    /// The git directory that all checkouts of the repository share.
    pub fn common_dir(&self) -> &Path {
        &self.inner.located.common_dir
    }

    pub(crate) fn git(&self) -> &Git {
        &self.inner.git
    }

    /// A new clean git directory below `parent`.
    pub(crate) fn clean_dir(&self, parent: &Path) -> Result<CleanDir, GitError> {
        CleanDir::make(&self.inner.located.seed, parent)
    }

    /// Runs a call about objects alone.
    pub(crate) async fn run_on_objects(&self, call: Call) -> Result<Output, GitError> {
        self.git().run(call.at(self.inner.objects.over_nothing())).await
    }

    /// Where calls that must see refs and revisions work: the repository itself.
    pub(crate) fn place(&self) -> Place {
        self.place_of(self.git_dir())
    }

    /// The same for another checkout of the repository.
    pub(crate) fn place_of(&self, git_dir: &Path) -> Place {
        Place {
            git_dir: git_dir.to_owned(),
            common_dir: self.common_dir().to_owned(),
            work_tree: self.top().to_owned(),
            objects: None,
            cwd: self.git().scratch_dir().to_owned(),
        }
    }

    /// The commit that is checked out.
    ///
    /// # Errors
    /// When there is no commit yet, and when git fails.
    pub async fn head_commit(&self) -> Result<TreeAt, GitError> {
        let commit = self.parse(&self.place(), "HEAD^{commit}").await?;
        let commit = commit.ok_or_else(|| GitError::Unborn { top: self.top().to_owned() })?;
        Ok(TreeAt { tree: self.tree_of(&commit).await?, commit })
    }

    /// The commit that a revision (`main`, `v1^`, an id) names.
    ///
    /// # Errors
    /// When it names none, and when git fails.
    pub async fn resolve(&self, rev: &str) -> Result<TreeAt, GitError> {
        let unknown = || GitError::UnknownRevision { rev: rev.chars().take(REVISION_LEN_MAX).collect() };
        if rev.is_empty() || rev.starts_with('-') || rev.len() > REVISION_LEN_MAX || rev.contains('\0') {
            return Err(unknown());
        }
        let commit = self.parse(&self.place(), &format!("{rev}^{{commit}}")).await?.ok_or_else(unknown)?;
        Ok(TreeAt { tree: self.tree_of(&commit).await?, commit })
    }

    /// The id of a commit's tree.
    ///
    /// # Errors
    /// When there is no such commit.
    pub async fn tree_of(&self, commit: &str) -> Result<String, GitError> {
        Ok(self.facts_of(commit).await?.tree)
    }

    /// How many bytes the files of a commit have.
    pub(crate) async fn size_of(&self, commit: &str) -> Result<u64, GitError> {
        check_id(commit)?;
        // `<mode> <type> <id> <size>\t<path>`, where a submodule has no size.
        let output = self.run_on_objects(Call::new(["ls-tree", "-r", "-l", "-z"]).arg(commit)).await?;
        let size = |entry: &[u8]| {
            let text = String::from_utf8_lossy(entry);
            text.split_once('\t').and_then(|(facts, _)| facts.split_whitespace().last()?.parse::<u64>().ok())
        };
        Ok(output.fields().filter_map(size).sum())
    }

    /// What a commit says.
    ///
    /// # Errors
    /// When there is no such commit.
    pub async fn facts_of(&self, commit: &str) -> Result<CommitFacts, GitError> {
        check_id(commit)?;
        let unknown = || GitError::UnknownRevision { rev: commit.to_owned() };
        let call = Call::new(["cat-file", "commit", commit]).stdout_max(COMMIT_BYTES_MAX).codes(&[0, 128]);
        let output = self.run_on_objects(call).await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (header, message) = text.split_once("\n\n").unwrap_or((&text, ""));
        let values = |key: &'static str| header.lines().filter_map(move |line| line.strip_prefix(key));
        let tree = values("tree ").next().ok_or_else(unknown)?.to_owned();
        let parents = values("parent ").map(str::to_owned).collect();
        // `committer <name> <mail> <seconds> <zone>`
        let seconds = values("committer ").next().and_then(|line| line.rsplit(' ').nth(1)?.parse::<i64>().ok());
        let at_ms = seconds.unwrap_or(0).saturating_mul(1_000);
        Ok(CommitFacts { tree, parents, message: message.to_owned(), at_ms })
    }

    /// Whether `older` is `newer` or one of its ancestors.
    pub(crate) async fn is_ancestor(&self, older: &str, newer: &str) -> Result<bool, GitError> {
        if older == newer {
            return Ok(true);
        }
        let call = Call::new(["merge-base", "--is-ancestor", older, newer]).at(self.place()).codes(&[0, 1]);
        Ok(self.git().run(call).await?.code == 0)
    }

    /// The commit of the user's checkout with its uncommitted and untracked changes, kept by `refs/whaleflow/<run>/base`.
    /// Their index, HEAD and branches stay as they are.
    ///
    /// # Errors
    /// When there is no commit yet, when the run has another base already, and when git fails.
    pub async fn snapshot_worktree(&self, run: &str, at_ms: i64) -> Result<WorktreeSnapshot, GitError> {
        check_run(run)?;
        let head = self.head_commit().await?;
        let clean = self.clean_dir(self.git().scratch_dir())?;
        self.copy_user_index(&clean, &head.commit).await?;
        let capture = capture(self.git(), &clean, self.top()).await?;
        let at = if capture.tree == head.tree {
            head
        } else {
            let message = "whaleflow: the checkout as it was";
            let commit = self.commit_tree(&capture.tree, &[&head.commit], message, Some(at_ms)).await?;
            TreeAt { commit, tree: capture.tree.clone() }
        };
        self.pin_base(run, &at.commit).await?;
        Ok(WorktreeSnapshot { at, left_out: capture.left_out() })
    }

    /// Makes the index of `clean` that of the user's checkout.
    pub(crate) async fn copy_user_index(&self, clean: &CleanDir, head: &str) -> Result<(), GitError> {
        let index = self.git_dir().join("index");
        match std::fs::symlink_metadata(&index) {
            // Nothing is tracked yet, or a clone was made without a checkout.
            Err(_) => return Ok(()),
            Ok(metadata) if !metadata.is_file() => {
                return Err(GitError::tampered(&index, "it is no ordinary file"));
            }
            Ok(_) => {}
        }
        if self.has_shared_index()? {
            // A split index is in two files that find each other by place; the commit will do, at the price of hashing.
            return read_index(self.git(), clean, self.top(), head).await;
        }
        copy_index(&index, &clean.index())
    }

    fn has_shared_index(&self) -> Result<bool, GitError> {
        let entries = std::fs::read_dir(self.git_dir()).map_err(GitError::io("list", self.git_dir()))?;
        Ok(entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("sharedindex.")))
    }

    /// Keeps a run's base alive by `refs/whaleflow/<run>/base`.
    ///
    /// # Errors
    /// When the run has another base already.
    pub async fn pin_base(&self, run: &str, commit: &str) -> Result<(), GitError> {
        check_run(run)?;
        check_id(commit)?;
        let reference = format!("refs/whaleflow/{run}/base");
        if self.ref_at(&reference).await?.as_deref() == Some(commit) {
            return Ok(());
        }
        self.move_ref(&reference, commit, None).await
    }

    /// Makes a commit. Without a date it is now.
    pub(crate) async fn commit_tree(
        &self,
        tree: &str,
        parents: &[&str],
        message: &str,
        at_ms: Option<i64>,
    ) -> Result<String, GitError> {
        let mut call = Call::new(["commit-tree", tree]);
        for parent in parents {
            call = call.arg("-p").arg(parent);
        }
        if let Some(at_ms) = at_ms {
            // Git knows no time before 1970, nor one of more than nine digits of years.
            let date = format!("@{} +0000", at_ms.clamp(0, 1 << 52) / 1000);
            call = call.env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date);
        }
        let message = format!("{}\n", message.trim_end().replace('\0', "?"));
        Ok(self.run_on_objects(call.arg("-F").arg("-").stdin(message.into_bytes())).await?.text())
    }

    /// Where a full ref name points.
    pub(crate) async fn ref_at(&self, reference: &str) -> Result<Option<String>, GitError> {
        self.parse(&self.place(), reference).await
    }

    /// The commit of a checkout's HEAD, if it has a valid one.
    pub(crate) async fn head_of(&self, git_dir: &Path) -> Result<Option<String>, GitError> {
        self.parse(&self.place_of(git_dir), "HEAD^{commit}").await
    }

    async fn parse(&self, place: &Place, rev: &str) -> Result<Option<String>, GitError> {
        let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", rev];
        let output = self.git().run(Call::new(args).at(place.clone()).codes(&[0, 1, 128])).await?;
        let id = output.text();
        Ok((output.code == 0 && is_id(&id)).then_some(id))
    }

    /// Moves a ref from `old` (none: it must not exist) to `new`.
    pub(crate) async fn move_ref(&self, reference: &str, new: &str, old: Option<&str>) -> Result<(), GitError> {
        self.move_ref_fenced(reference, new, old, None).await
    }

    /// Writes what a fence says, and gives its object.
    pub(crate) async fn write_fence(&self, text: &str) -> Result<String, GitError> {
        let call = Call::new(["hash-object", "-w", "--stdin"]).stdin(text.as_bytes().to_vec());
        Ok(self.run_on_objects(call).await?.text())
    }

    /// What a fence says; nothing where a loss of power took it.
    pub(crate) async fn fence_text(&self, at: &str) -> Result<Option<String>, GitError> {
        let call = Call::new(["cat-file", "blob", at]).stdout_max(FENCE_BYTES_MAX).codes(&[0, 128]);
        let output = self.run_on_objects(call).await?;
        Ok((output.code == 0).then(|| output.text()))
    }

    /// Detaches the HEAD of a checkout at `commit`.
    pub(crate) async fn set_head(&self, git_dir: &Path, commit: &str) -> Result<(), GitError> {
        let call = || Call::new(["update-ref", "--no-deref", "HEAD", commit]);
        self.update_ref(&self.place_of(git_dir), call, &[git_dir.join("HEAD.lock")]).await
    }

    /// The same, if `fence` is as it is said to be at that very moment.
    pub(crate) async fn move_ref_fenced(
        &self,
        reference: &str,
        new: &str,
        old: Option<&str>,
        fence: Option<&Fence>,
    ) -> Result<(), GitError> {
        let zero = "0".repeat(new.len());
        let from = old.unwrap_or(&zero);
        let call = || match fence {
            None => Call::new(["update-ref", "--no-deref", reference, new, from]),
            Some(Fence { reference: fence, at }) => {
                let text = format!(
                    "start\noption no-deref\nverify {fence} {at}\noption no-deref\nupdate {reference} {new} {from}\n\
                     prepare\ncommit\n"
                );
                Call::new(["update-ref", "--stdin"]).stdin(text.into_bytes())
            }
        };
        let both: Vec<&str> = std::iter::once(reference).chain(fence.map(|fence| fence.reference.as_str())).collect();
        let locks = self.own_locks(&both);
        let Err(error) = self.update_ref(&self.place(), call, &locks).await else { return Ok(()) };
        if let Some(Fence { reference, at }) = fence
            && self.ref_at(reference).await?.as_ref() != Some(at)
        {
            return Err(GitError::Fenced);
        }
        let actual = self.ref_at(reference).await?;
        if actual.as_deref() == old {
            return Err(error);
        }
        let word = |id: Option<&str>| id.unwrap_or("no commit").to_owned();
        Err(GitError::Moved { reference: reference.to_owned(), expected: word(old), actual: word(actual.as_deref()) })
    }

    /// The locks of those refs that nobody but the engine changes, and that one at a time.
    pub(crate) fn own_locks(&self, references: &[&str]) -> Vec<PathBuf> {
        let own = references.iter().filter(|reference| reference.starts_with(OWN_REFS));
        own.map(|own| self.common_dir().join(format!("{own}.lock"))).collect()
    }

    /// Changes refs. Git waits for its locks; one that is then still the very one that was there before is removed when
    /// whoever held it is gone. That is so of `ours`, and of the lock of all packed refs, which the user's git takes too,
    /// when it is older than this start of the machine.
    pub(crate) async fn update_ref(
        &self,
        place: &Place,
        call: impl Fn() -> Call,
        ours: &[PathBuf],
    ) -> Result<(), GitError> {
        let drivers_off = self.drivers_off(place).await?;
        let call = || call().config(drivers_off.clone()).at(place.clone());
        let shared = self.common_dir().join("packed-refs.lock");
        let locks: Vec<&Path> = ours.iter().map(PathBuf::as_path).chain([shared.as_path()]).collect();
        let held_before: Vec<_> = locks.iter().map(|lock| identity(lock)).collect();
        let Err(error) = self.git().run(call()).await else { return Ok(()) };
        let mut is_stale = false;
        for (lock, before) in locks.into_iter().zip(held_before) {
            let is_the_same = before.is_some() && identity(lock) == before;
            if is_the_same && (lock != shared || is_of_an_earlier_start(lock)) {
                remove_any(lock)?;
                is_stale = true;
            }
        }
        if !is_stale {
            return Err(error);
        }
        self.git().run(call()).await.map(|_| ())
    }

    /// Entries that disable every driver and hook that the repository's config defines.
    pub(crate) async fn drivers_off(&self, place: &Place) -> Result<Vec<(String, String)>, GitError> {
        if !may_define_drivers(place) {
            return Ok(Vec::new());
        }
        let output = self.git().run(Call::new(["config", "--list", "-z", "--name-only"]).at(place.clone())).await?;
        let mut entries = std::collections::BTreeMap::new();
        for key in output.fields().map(String::from_utf8_lossy) {
            let Some((rest, _)) = key.rsplit_once('.') else { continue };
            let off: &[(&str, &str)] = match rest.split_once('.') {
                Some(("filter", _)) => &[("clean", ""), ("smudge", ""), ("process", ""), ("required", "false")],
                Some(("hook", _)) => &[("command", "true"), ("enabled", "false")],
                _ => &[],
            };
            entries.extend(off.iter().map(|(name, value)| (format!("{rest}.{name}"), (*value).to_owned())));
        }
        Ok(entries.into_iter().collect())
    }

    /// Whether `path` lies in the checkout or in its git directories.
    pub(crate) fn contains(&self, path: &Path) -> bool {
        [self.top(), self.git_dir(), self.common_dir()].into_iter().any(|dir: &Path| path.starts_with(dir))
    }

    /// Whether refs are kept in a way that only git knows.
    pub(crate) fn has_other_refs(&self) -> bool {
        std::fs::symlink_metadata(self.common_dir().join("reftable")).is_ok()
    }

    /// What files depend on beside their commit.
    pub(crate) fn settings(&self) -> String {
        wf_ir::Digest::of(self.inner.located.seed.config.as_bytes()).to_string()
    }

    pub(crate) fn admin_dir(&self, name: &str) -> PathBuf {
        self.common_dir().join("worktrees").join(name)
    }
}

/// Which file is at `path`: another one, or the same written again, is not that one.
fn identity(path: &Path) -> Option<(u64, std::time::SystemTime)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.ino(), metadata.modified().ok()?))
}

/// File systems that other machines may write to as well, by what statfs(2) calls them: NFS, SMB (three times), Ceph, 9P,
/// FUSE.
const SHARED_FILE_SYSTEMS: [u64; 7] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x0102_1997, 0x6573_5546];

/// Whether a file was last written before this machine was started, and by nobody else: then no process writes it now.
fn is_of_an_earlier_start(path: &Path) -> bool {
    let Ok(stat) = std::fs::read_to_string("/proc/stat") else { return false };
    let started = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    let Some(started) = started.map(|secs| UNIX_EPOCH + Duration::from_secs(secs)) else { return false };
    let is_local = rustix::fs::statfs(path).is_ok_and(|found| !SHARED_FILE_SYSTEMS.contains(&(found.f_type as u64)));
    let written = std::fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    is_local && written.is_ok_and(|written| written < started)
}

/// Whether a config could name a driver or a hook, or another file that does. Most name none, and need not be listed.
fn may_define_drivers(place: &Place) -> bool {
    let is_suspect = |text: &[u8]| {
        let text = text.to_ascii_lowercase();
        [b"filter".as_slice(), b"hook", b"include"].iter().any(|word| text.windows(word.len()).any(|at| at == *word))
    };
    let is_there = |path: &Path| std::fs::symlink_metadata(path).is_ok();
    let config = place.common_dir.join("config");
    let is_harmless = match read_small(&config, CONFIG_BYTES_MAX) {
        Some(text) => !is_suspect(&text),
        None => !is_there(&config),
    };
    let of_worktrees = [&place.git_dir, &place.common_dir].map(|dir| dir.join("config.worktree"));
    !is_harmless || of_worktrees.iter().any(|path| is_there(path))
}
