//! What commands answer: acknowledgements, verdicts, differences, errors.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use wf_kernel::ReplayError;
use wf_kernel::record::{Checkpoint, SEMANTICS, SEMANTICS_MIN};

use crate::VERSION;
use crate::run::{FileView, files_of};
use crate::schema;

/// What `replay RUN --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReplayView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The run.
    pub run_id: String,
    /// How many records were compared.
    pub records: u64,
    /// Whether every decision came out as recorded.
    pub equal: bool,
    /// Always 0: a replay performs nothing.
    pub effects_performed: u64,
    /// The first difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<DifferenceView>,
}

/// Where a replay differs from its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DifferenceView {
    /// The record.
    pub seq: u64,
    /// What the log says.
    pub expected: String,
    /// What is decided now.
    pub got: String,
}

impl ReplayView {
    /// The outcome of a replay.
    pub fn of(run_id: &str, records: u64, outcome: &Result<(), ReplayError>) -> Self {
        let difference = match outcome {
            Ok(()) => None,
            Err(ReplayError::Differs { seq, expected, got }) => {
                Some(DifferenceView { seq: *seq, expected: expected.clone(), got: got.clone() })
            }
            Err(ReplayError::Semantics { found }) => Some(DifferenceView {
                seq: 1,
                expected: format!("decision version {found}"),
                got: format!("decision versions {SEMANTICS_MIN} to {SEMANTICS}"),
            }),
        };
        let equal = difference.is_none();
        Self { version: VERSION, run_id: run_id.to_owned(), records, equal, effects_performed: 0, difference }
    }
}

/// What `verify --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VerifyView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// How many runs were read.
    pub runs: u64,
    /// How many of their records are intact.
    pub records: u64,
    /// What is damaged.
    pub bad: Vec<BadView>,
}

/// A damaged log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BadView {
    /// The run; empty where the damage lies beneath all logs.
    pub run_id: String,
    /// The first bad record.
    pub seq: u64,
    /// What is wrong with it.
    pub detail: String,
}

impl VerifyView {
    /// What was found.
    pub fn new(runs: u64, records: u64, bad: Vec<BadView>) -> Self {
        Self { version: VERSION, runs, records, bad }
    }
}

/// The acknowledgement of a command that changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CommandView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The command: `cancel`, `approve`, `trust`, …
    pub command: String,
    /// The run it was for.
    pub run_id: Option<String>,
    /// The instance it was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Whether it was carried out.
    pub accepted: bool,
    /// Why not, as a short stable word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What happened, for people.
    pub message: String,
    /// Files, directories and refs that it made or changed, by what they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub made: BTreeMap<String, String>,
}

/// What a command answers that is for many runs at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CommandsView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The answer for each run.
    pub commands: Vec<CommandView>,
}

impl CommandsView {
    /// The view of these answers.
    pub fn new(commands: Vec<CommandView>) -> Self {
        Self { version: VERSION, commands }
    }
}

impl CommandView {
    /// A command that was carried out.
    pub fn accepted(command: &str, run_id: Option<&str>, message: impl Into<String>) -> Self {
        Self {
            version: VERSION,
            command: command.to_owned(),
            run_id: run_id.map(str::to_owned),
            instance: None,
            accepted: true,
            code: None,
            message: message.into(),
            made: BTreeMap::new(),
        }
    }

    /// A command that was refused.
    pub fn refused(command: &str, run_id: Option<&str>, code: &str, message: impl Into<String>) -> Self {
        Self { accepted: false, code: Some(code.to_owned()), ..Self::accepted(command, run_id, message) }
    }

    /// The same, for one instance.
    #[must_use]
    pub fn at(mut self, instance: &str) -> Self {
        self.instance = Some(instance.to_owned());
        self
    }

    /// The same, with something that it made.
    #[must_use]
    pub fn with(mut self, what: &str, name: impl Into<String>) -> Self {
        self.made.insert(what.to_owned(), name.into());
        self
    }
}

/// What `diff RUN [BRANCH] --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DiffView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The run.
    pub run_id: String,
    /// The branch.
    pub branch: String,
    /// Where it began.
    pub base: String,
    /// Where it ended.
    pub commit: String,
    /// Files that differ, in order.
    pub files: Vec<FileView>,
    /// Lines added.
    pub insertions: u64,
    /// Lines removed.
    pub deletions: u64,
    /// The difference as a unified patch; empty where only the files are wanted.
    pub patch: String,
    /// Whether the patch was too long, and what is here is only its beginning.
    pub truncated: bool,
}

impl DiffView {
    /// What a branch did.
    pub fn of(run_id: &str, branch: &str, checkpoint: &Checkpoint, patch: Option<(String, bool)>) -> Self {
        let sum = |part: fn(&FileView) -> Option<u64>, files: &[FileView]| files.iter().filter_map(part).sum();
        let files = files_of(checkpoint);
        Self {
            version: VERSION,
            run_id: run_id.to_owned(),
            branch: branch.to_owned(),
            base: checkpoint.base.clone(),
            commit: checkpoint.commit.clone(),
            insertions: sum(|file| file.insertions, &files),
            deletions: sum(|file| file.deletions, &files),
            files,
            truncated: patch.as_ref().is_some_and(|(_, truncated)| *truncated),
            patch: patch.map_or_else(String::new, |(text, _)| text),
        }
    }
}

/// What `apply RUN --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ApplyView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The run.
    pub run_id: String,
    /// The branch whose work was applied.
    pub branch: String,
    /// Its commit.
    pub commit: String,
    /// `files` (of the checkout), `squash`, `merge`, `branch` or `patch`.
    pub how: String,
    /// The checkout, the name of the new branch, or the file of the patch.
    pub target: String,
    /// Files that changed.
    pub files: Vec<String>,
    /// The commit that was made on the branch that is checked out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<String>,
    /// Whether this took back what had been applied.
    pub undone: bool,
    /// Of an apply that had been interrupted: files that were changed since, and so were left as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// An earlier apply that had been interrupted, and was brought to an end first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<RecoveredView>,
}

/// An apply that had been interrupted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RecoveredView {
    /// The run.
    pub run_id: String,
    /// The branch.
    pub branch: String,
    /// Whether it was finished; otherwise it was taken back.
    pub finished: bool,
    /// Files that were changed since, and so were left as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

/// What `doctor --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DoctorView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// Whether nothing failed.
    pub ok: bool,
    /// What was looked at.
    pub checks: Vec<DoctorCheck>,
}

/// One thing that `doctor` looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DoctorCheck {
    /// What it is.
    pub name: String,
    /// How it is.
    pub level: DoctorLevel,
    /// What was found.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How something that `doctor` looked at is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DoctorLevel {
    /// As it should be.
    Ok,
    /// Something works less well.
    Warn,
    /// Something does not work.
    Fail,
}

impl DoctorView {
    /// What was found.
    pub fn new(checks: Vec<DoctorCheck>) -> Self {
        Self { version: VERSION, ok: checks.iter().all(|check| check.level != DoctorLevel::Fail), checks }
    }
}

/// What `explain CODE --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExplainView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The code.
    pub code: String,
    /// What it means, in one line.
    pub title: String,
    /// The whole entry, as Markdown.
    pub text: String,
}

/// What `graph --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GraphView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// `mermaid` or `dot`.
    pub format: String,
    /// The graph.
    pub text: String,
}

/// An error of a command, printed with `--json` on stdout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ErrorView {
    /// The version of the wire JSON.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// The error.
    pub error: ErrorBody,
}

/// An error of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ErrorBody {
    /// `WF` and four digits, or a short stable word.
    pub code: String,
    /// A lower-case sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The class, which fixes the exit code: `usage`, `invalid`, `budget`, `waiting`, `store`, `trust`, …
    pub class: String,
}

impl ErrorView {
    /// An error.
    pub fn new(code: &str, message: impl Into<String>, hint: Option<String>, class: &str) -> Self {
        let error = ErrorBody { code: code.to_owned(), message: message.into(), hint, class: class.to_owned() };
        Self { version: VERSION, error }
    }
}
