//! Requests to the outside world. An effect is at-least-once: it is ordered by a durable decision, may be repeated
//! after a crash under a higher generation, and what comes back is an [`crate::Outcome`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wf_ir::{NodeIx, Value};

use crate::record::Prepared;

/// What an effect is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Find out everything that the kernel must know before a leaf starts.
    Prepare,
    /// Do a leaf's work.
    Perform,
    /// Make a branch's tree.
    Acquire,
    /// Commit what a leaf wrote, if its scope covers it.
    Checkpoint,
    /// Say what a branch did as a whole.
    Harvest,
    /// Give a branch's tree back.
    Release,
    /// Put fruit of losers into the tree of a winner.
    Combine,
}

/// An effect's identity within its run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectId {
    /// The leaf or branch instance.
    pub subject: Arc<str>,
    /// Counts every repeat, from 1.
    pub generation: u32,
    /// What for.
    pub phase: Phase,
}

/// A request to the outside world. Its JSON is what a worker of another process gets; it is in no log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Its identity.
    pub id: EffectId,
    /// What is wanted.
    pub request: Request,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Render and resolve a leaf; answered with `Prepared` or `Failed`.
    Prepare(LeafRequest),
    /// Do a leaf's work; answered with `Succeeded`, `Failed`, `TimedOut`, `Cancelled` or `Throttled`.
    Perform {
        /// The leaf.
        leaf: LeafRequest,
        /// What `prepare` found out.
        prepared: Arc<Prepared>,
    },
    /// Make a branch's tree at `base`; answered with `Acquired`. Repeating it finds the tree that is there, if it is at
    /// `base` with nothing unsaved; else unsaved work is rescued and the tree is made anew.
    Acquire {
        /// The branch instance.
        branch: Arc<str>,
        /// The commit.
        base: String,
    },
    /// Commit what a leaf wrote in its branch's tree; answered with `Checkpointed`.
    Checkpoint {
        /// The branch instance.
        branch: Arc<str>,
        /// The leaf that wrote.
        leaf: Arc<str>,
        /// The node of the leaf, whose `writes` is the scope.
        node: NodeIx,
        /// Where the leaf began.
        begin: String,
        /// The commit's date, so that the commit's id depends on recorded things only.
        at_ms: i64,
    },
    /// What a branch did from `base` to `commit`; answered with `Checkpointed` (its `base` is `base`).
    Harvest {
        /// The branch instance.
        branch: Arc<str>,
        /// Where it began.
        base: String,
        /// Its last checkpoint.
        commit: String,
    },
    /// Give a branch's tree back; unsaved work is rescued first. Answered with `Released`.
    Release {
        /// The branch instance.
        branch: Arc<str>,
        /// Its last checkpoint.
        commit: String,
        /// Whether it ended otherwise than well, so that somebody may want to look at it.
        failed: bool,
    },
    /// Make a commit of a winner's with chosen fruit of losers; answered with `Combined`. No tree is worked in, and
    /// repeating it makes the same commit.
    Combine {
        /// The node's instance, whose ref will name the commit.
        node: Arc<str>,
        /// Where the winner's branch began.
        base: String,
        /// Where it ended.
        commit: String,
        /// What is to be taken, in order.
        parts: Vec<Part>,
        /// The commit's date.
        at_ms: i64,
    },
}

/// Fruit of a loser that is to be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The candidate.
    pub path: String,
    /// Where its branch began.
    pub base: String,
    /// Where it ended.
    pub commit: String,
    /// The files that are to be taken of what differs.
    pub files: Vec<String>,
}

/// A leaf to be prepared or performed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafRequest {
    /// The instance.
    pub path: Arc<str>,
    /// The node.
    pub node: NodeIx,
    /// Counts from 1.
    pub attempt: u32,
    /// The innermost loop iteration around it, from 1; 0 outside of loops.
    pub iteration: u32,
    /// Which independent sample this is.
    pub sample: u32,
    /// Values of the names that its templates use.
    pub context: Arc<BTreeMap<String, Arc<Value>>>,
    /// What was wrong with the attempt before, to be told to a model.
    pub feedback: Option<String>,
    /// What it was told while it worked, in earlier attempts too.
    pub steers: Vec<Arc<str>>,
    /// Where it works.
    pub tree: TreeUse,
}

/// Where a leaf works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeUse {
    /// In no tree.
    None,
    /// In its branch's tree, which is brought to `begin` first (unsaved work of an earlier attempt is rescued).
    Branch {
        /// The branch instance.
        branch: Arc<str>,
        /// The commit where the leaf begins.
        begin: String,
        /// Where the branch began, for `tree.diff`.
        base: String,
    },
    /// In a throw-away copy of a commit.
    Snapshot {
        /// The commit.
        commit: String,
        /// What `tree.diff` compares it with.
        base: String,
    },
}
