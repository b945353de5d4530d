//! Performing a search: the engine itself looks, in its branch's tree or in a copy of a commit.

use std::path::PathBuf;
use std::sync::Arc;

use wf_kernel::effect::{LeafRequest, TreeUse};
use wf_kernel::record::{Prepared, Success};
use wf_kernel::{Outcome, Usage};

use super::failed::{Failed, defect, failure};
use super::{LocalEffects, keep, success};
use crate::beneath::{BeneathError, Root};
use crate::contract::Ctx;
use crate::git::SnapshotDir;
use crate::search::{Search, SearchError, search};

/// Where a leaf that only reads finds its tree.
struct Place {
    dir: PathBuf,
    rescued: Option<String>,
    /// It is there as long as this is.
    _shared: Option<Arc<SnapshotDir>>,
}

impl LocalEffects {
    pub(super) async fn search(
        &self,
        leaf: &LeafRequest,
        prepared: &Prepared,
        node: &wf_ir::node::Search,
        ctx: &Ctx,
    ) -> Result<Outcome, Failed> {
        let request = keep::load(&prepared.request, ctx).await?;
        let pattern = request.get("pattern").as_str().unwrap_or_default().to_owned();
        let place = self.place(leaf).await?;
        let root = Root::open(&place.dir);
        let unopened = |error: BeneathError| {
            failure("tree", format!("the tree cannot be opened: {error}")).retryable(error.is_failure())
        };
        let root = root.map_err(unopened)?;
        let (reads, matches_max, cancel) = (node.reads.clone(), node.matches_max, ctx.cancel.clone());
        let found = tokio::task::spawn_blocking(move || {
            search(&Search { root: &root, pattern: &pattern, reads: &reads, matches_max }, &cancel)
        });
        match found.await.map_err(defect)? {
            Ok(value) => {
                let value = keep::value(Arc::new(value), ctx).await?;
                let success = Success { rescued: place.rescued, ..success(value, Usage::default()) };
                Ok(Outcome::Succeeded(Box::new(success)))
            }
            Err(SearchError::Cancelled) => Ok(Outcome::Cancelled { usage: Usage::default() }),
            Err(SearchError::Pattern(reason)) => Err(failure("pattern", reason)),
            Err(error @ SearchError::Io(_)) => Err(failure("tree", error.to_string()).retryable(true)),
        }
    }

    async fn place(&self, leaf: &LeafRequest) -> Result<Place, Failed> {
        match &leaf.tree {
            TreeUse::None => Err(failure("no_repository", "there is no tree to search")),
            TreeUse::Branch { branch, begin, .. } => {
                let tree = self.trees()?.begin(branch, begin).await?;
                Ok(Place { dir: tree.dir, rescued: tree.rescued, _shared: None })
            }
            TreeUse::Snapshot { commit, .. } => {
                let shared = self.trees()?.snapshot(commit).await?;
                Ok(Place { dir: shared.path().to_owned(), rescued: None, _shared: Some(shared) })
            }
        }
    }
}
