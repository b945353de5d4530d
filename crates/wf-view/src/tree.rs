//! Trees as surfaces show them: which there are, what is in them, what was removed, and what was saved.

use schemars::JsonSchema;
use serde::Serialize;

use crate::VERSION;
use crate::run::FileView;
use crate::schema;

/// What `trees list --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TreesView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The trees.
    pub trees: Vec<TreeView>,
    /// What they take on the disk together.
    pub disk_bytes: u64,
}

/// A tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TreeView {
    /// Its name.
    pub name: String,
    /// Where it is; null where nobody knows any more.
    pub path: Option<String>,
    /// `making`, `held`, `free`, `kept` or `going`.
    pub stage: &'static str,
    /// The run; null for trees of people, and for those that wait for the next branch.
    pub run_id: Option<String>,
    /// The branch, or what a person called it.
    pub branch: Option<String>,
    /// The process that works in it.
    pub holder: Option<String>,
    /// Since when it is as it is.
    pub since: String,
    /// For how long that is.
    pub age_ms: u64,
    /// Until when it stays, unless somebody wants it.
    pub until: Option<String>,
    /// The commit that it was made at.
    pub base: Option<String>,
    /// The last commit in it.
    pub commit: Option<String>,
    /// Whether what was committed is in the checkout's branch: `nothing` was, or it is `merged`, `squashed`, or it is `no`
    /// part of it. Null where nobody knows.
    pub merged: Option<&'static str>,
    /// Whether something is in it that its branch does not have; null where nobody knows.
    pub dirty: Option<bool>,
    /// What its branch does not have.
    pub changed: Vec<FileView>,
    /// The ref under which that was saved already.
    pub saved: Option<String>,
    /// What no commit can hold.
    pub left_out: Vec<String>,
    /// What it takes on the disk.
    pub disk_bytes: Option<u64>,
    /// Why `trees clean` leaves it; null where it does not.
    pub needed: Option<String>,
    /// Why it could not be looked into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What `trees status TREE --json` and `trees new --json` print.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TreeStatusView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The tree.
    pub tree: TreeView,
}

/// What `trees clean --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CleanView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// Whether nothing was done, and this is what would be.
    pub dry_run: bool,
    /// Trees that were removed.
    pub removed: Vec<TreeView>,
    /// Trees that stayed, each with the reason in `needed`.
    pub left: Vec<TreeView>,
    /// Refs under which work was saved.
    pub rescued: Vec<String>,
    /// What became free on the disk.
    pub disk_bytes: u64,
}

/// What `trees rescue list --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RescuesView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The work that was saved.
    pub rescues: Vec<RescueView>,
}

/// Work that was saved from a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RescueView {
    /// The ref.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The repository.
    pub repo: String,
    /// The run.
    pub run_id: String,
    /// The branch, where the commit says.
    pub branch: Option<String>,
    /// The commit.
    pub commit: String,
    /// The date of the commit that the work rests on.
    pub at: String,
    /// Where the rest is that no commit can hold.
    pub kept: Vec<String>,
}

impl TreesView {
    /// A list of trees.
    pub fn new(trees: Vec<TreeView>) -> Self {
        let disk_bytes = trees.iter().filter_map(|tree| tree.disk_bytes).sum();
        Self { version: VERSION, trees, disk_bytes }
    }
}
