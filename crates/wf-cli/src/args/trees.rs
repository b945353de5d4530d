//! The command line of trees.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do with trees.
#[derive(Debug, Subcommand)]
pub(crate) enum TreesVerb {
    /// List them: path, branch, run, age, whether their work is merged, disk, unsaved work
    List,
    /// Show one in full
    Status(TreeArg),
    /// Remove those that nobody needs; unsaved work is saved first
    Clean(CleanArgs),
    /// Print where one is
    Open(OpenArgs),
    /// Make one to work in yourself; it stays until you clean it by name
    New(NewTreeArgs),
    /// Work that was saved from trees
    Rescue {
        /// What to do
        #[command(subcommand)]
        what: RescueVerb,
    },
}

/// What to do with saved work.
#[derive(Debug, Subcommand)]
pub(crate) enum RescueVerb {
    /// List it
    List,
    /// Write its files into a directory that is new or empty
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TreeArg {
    /// The tree
    #[arg(value_name = "TREE")]
    pub(crate) tree: String,
}

#[derive(Debug, Args)]
pub(crate) struct CleanArgs {
    /// These; else all that nobody needs
    #[arg(value_name = "TREE")]
    pub(crate) trees: Vec<String>,
    /// Also those that are kept to be looked at, and those of people
    #[arg(long, conflicts_with = "trees")]
    pub(crate) kept: bool,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    #[command(flatten)]
    pub(crate) tree: TreeArg,
    /// Start your shell there, on a terminal
    #[arg(long)]
    pub(crate) shell: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NewTreeArgs {
    /// The revision that it begins at; else what is checked out
    #[arg(value_name = "REV")]
    pub(crate) rev: Option<String>,
    /// What to call it
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The ref, or a part of it that no other has
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
    /// The directory
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}
