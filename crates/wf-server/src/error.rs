//! What a surface tells a person when something did not work: a code, a sentence, a hint, and a class.

use std::path::{Path, PathBuf};

use wf_effects::git::GitError;
use wf_effects::process::{SpawnError, lacks_descriptors};
use wf_ir::{Diagnostic, Severity, codes};
use wf_runtime::RunError;
use wf_store::{BlobError, CreateError, OpenError, PostError, ReadError, ResolveError, RunId};

use crate::apply::ApplyError;

/// What kind of thing did not work. It fixes the exit code of a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A run failed or was cancelled.
    Failed,
    /// The request itself is wrong.
    Usage,
    /// A workflow or a configuration is not valid.
    Invalid,
    /// A budget ran out.
    Budget,
    /// Somebody has to decide something.
    Waiting,
    /// The store cannot be reached.
    Store,
    /// A credential, a trust or a permission is missing.
    Denied,
    /// There is no sandbox.
    Sandbox,
    /// A log is damaged, or a replay differs.
    Damaged,
    /// It was refused: a checkout in the way, a gate already resolved.
    Refused,
    /// Our own defect.
    Bug,
    /// A person interrupted it.
    Interrupted,
}

impl Class {
    /// The exit code of a command line.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::Budget => 4,
            Self::Waiting => 5,
            Self::Store => 6,
            Self::Denied => 7,
            Self::Sandbox => 8,
            Self::Damaged => 9,
            Self::Refused => 10,
            Self::Bug => 70,
            Self::Interrupted => 130,
        }
    }
}

/// Why an operation did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong: ask differently.
    #[error("{message}")]
    Usage {
        /// What is wrong with it.
        message: String,
        /// What to ask instead.
        hint: Option<String>,
    },
    /// An input is missing, unknown or of the wrong type.
    #[error("{message}")]
    Input {
        /// Which, and why.
        message: String,
    },
    /// A file of configuration is malformed.
    #[error("{file}:{line}:{column}: {message}")]
    Config {
        /// The file.
        file: String,
        /// Counts from 1; 0 is unknown.
        line: u32,
        /// Counts from 1; 0 is unknown.
        column: u32,
        /// What is wrong.
        message: String,
    },
    /// A workflow, or the mock's rules, cannot be used.
    #[error("{}", count(.0))]
    Invalid(Vec<Diagnostic>),
    /// A valid workflow cannot run here and now.
    #[error("{}", count(.0))]
    Preflight(Vec<Diagnostic>),
    /// There is no such run.
    #[error("no run is named {name:?} here")]
    NoRun {
        /// What was asked for.
        name: String,
    },
    /// Several runs begin so.
    #[error("several runs begin with {prefix:?}: {}", names(candidates))]
    ManyRuns {
        /// What was asked for.
        prefix: String,
        /// The first of them.
        candidates: Vec<RunId>,
    },
    /// The store does not answer.
    #[error("the store is unavailable: {0}")]
    Store(String),
    /// What is stored breaks an invariant.
    #[error("{0}")]
    Damaged(String),
    /// A later version wrote it.
    #[error("{0}")]
    Newer(String),
    /// The repository is not trusted.
    #[error("the repository at {repository:?} is not trusted, and this would run commands of its workflows")]
    Untrusted {
        /// Its checkout.
        repository: PathBuf,
    },
    /// Another process owns the run.
    #[error("{owner} owns the run")]
    Held {
        /// Who.
        owner: String,
    },
    /// The run's owner refused a command.
    #[error("{message} ({reason})")]
    Refused {
        /// `already_resolved`, `not_waiting`, …
        reason: String,
        /// For people.
        message: String,
    },
    /// The owner of a run did not take a command in.
    #[error("the run's owner did not take the command in within {waited_s} s")]
    Unheard {
        /// How long it was waited for.
        waited_s: u64,
    },
    /// It was waited for, and did not come.
    #[error("the run has not ended within {waited_s} s")]
    TimedOut {
        /// How long it was waited for.
        waited_s: u64,
    },
    /// Git's part was not done.
    #[error(transparent)]
    Git(#[from] GitError),
    /// Nothing says which branch is meant.
    #[error("{message}")]
    Branch {
        /// Why not.
        message: String,
        /// What there is.
        hint: String,
    },
    /// A result did not get into the checkout, or not out of it again.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The checkout is in the way of an `apply`.
    #[error("{message}")]
    Checkout {
        /// How.
        message: String,
    },
    /// A file is no exported run, or a damaged one.
    #[error("{path:?} cannot be imported: {message}")]
    Transfer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A run that is to be imported is here already.
    #[error("run {run} is here already")]
    Exists {
        /// The run.
        run: String,
    },
    /// A fixture cannot become a repository.
    #[error("the fixture {dir:?} cannot be used: {message}")]
    Fixture {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        message: String,
    },
    /// The file system said no.
    #[error("cannot {action} {path:?}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log of a run is as long as logs may be.
    #[error("the log has {records} records, so the run has stopped")]
    LogFull {
        /// How many it has.
        records: u64,
    },
    /// A key that is needed is not there, or not to be used.
    #[error("{message}")]
    Key {
        /// Which, and why.
        message: String,
        /// What to do.
        hint: String,
    },
    /// What is to be recorded holds a key.
    #[error("{what} holds a key that is configured here")]
    HoldsKey {
        /// What.
        what: String,
    },
    /// Commands would run, and there is no sandbox for them.
    #[error("this workflow runs commands, and there is no sandbox for them here: {reason}")]
    NoSandbox {
        /// What stands in the way.
        reason: String,
    },
    /// No draft of a workflow compiles.
    #[error("no draft is a valid workflow: {message}")]
    Draft {
        /// Which run drafted, and how far it came.
        message: String,
        /// What is wrong with the last.
        found: Vec<Diagnostic>,
    },
    /// A run's budget is exhausted, and nothing raises it.
    #[error("the budget of run {run} is exhausted")]
    Exhausted {
        /// The run.
        run: String,
    },
    /// Our own defect.
    #[error("{0}")]
    Bug(String),
}

/// Every code of this crate with its title, in order.
pub const CODES: &[(&str, &str)] = &[
    ("WF0701", "a request is wrong"),
    ("WF0702", "an input is missing, unknown or of the wrong type"),
    ("WF0703", "a configuration is malformed"),
    ("WF0704", "a source cannot be read"),
    ("WF0705", "a file's name does not say how it is spelt"),
    ("WF0706", "no run has that name"),
    ("WF0707", "several runs begin with that prefix"),
    ("WF0708", "the store is unavailable"),
    ("WF0709", "a log or the store is damaged"),
    ("WF0710", "a later version wrote this"),
    ("WF0712", "the repository is not trusted"),
    ("WF0713", "another process owns the run"),
    ("WF0714", "a command was refused"),
    ("WF0715", "a command was not taken in"),
    ("WF0716", "a run has not ended in time"),
    ("WF0717", "git did not do its part"),
    ("WF0718", "it is not clear which branch is meant"),
    ("WF0719", "the checkout is in the way"),
    ("WF0720", "an exported run is damaged"),
    ("WF0721", "a run is here already"),
    ("WF0722", "a fixture cannot be used"),
    ("WF0723", "the file system refused"),
    ("WF0724", "a log is full"),
    ("WF0725", "a defect of whaleflow"),
    ("WF0726", "a budget is exhausted"),
    ("WF0727", "a key is missing or unsafe"),
    ("WF0728", "a key would be recorded"),
    ("WF0729", "no draft is a valid workflow"),
    ("WF0730", "there is no sandbox"),
    ("WF0740", "files that would change are not as they were"),
    ("WF0741", "there is nothing to apply"),
    ("WF0742", "what was applied has changed since"),
    ("WF0743", "there is nothing to undo"),
    ("WF0744", "a result and a branch changed the same places"),
    ("WF0745", "another process applies something here"),
    ("WF0746", "the index of the checkout is locked"),
    ("WF0747", "git is in the middle of something"),
    ("WF0748", "nobody knows whose commit it would be"),
    ("WF0749", "no branch is checked out"),
    ("WF0750", "files cannot hold submodules"),
    ("WF0752", "the checkout of a run is not here"),
    ("WF0753", "a run began at uncommitted changes"),
];

/// A source that cannot be read.
pub const SOURCE_UNREADABLE: &str = "WF0704";
/// There is no sandbox.
pub(crate) const NO_SANDBOX: &str = "WF0730";
/// A file whose name does not say how it is spelt.
pub const SPELLING_UNKNOWN: &str = "WF0705";

impl Error {
    /// A wrong request.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// A wrong request, with what to ask instead.
    pub fn usage_with(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// A child of ours that there is not.
    pub(crate) fn not_started(program: &Path, error: SpawnError) -> Self {
        let source = match error {
            SpawnError::Os { source, .. } => source,
            error => std::io::Error::other(error),
        };
        Self::io("start", program)(source)
    }

    /// `WF` and four digits.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "WF0701",
            Self::Input { .. } => "WF0702",
            Self::Config { .. } => "WF0703",
            Self::Invalid(found) | Self::Preflight(found) => first_error(found).map_or(SOURCE_UNREADABLE, |it| it.code),
            Self::NoRun { .. } => "WF0706",
            Self::ManyRuns { .. } => "WF0707",
            Self::Store(_) => "WF0708",
            Self::Damaged(_) => "WF0709",
            Self::Newer(_) => "WF0710",
            Self::Untrusted { .. } => "WF0712",
            Self::Held { .. } => "WF0713",
            Self::Refused { .. } => "WF0714",
            Self::Unheard { .. } => "WF0715",
            Self::TimedOut { .. } => "WF0716",
            Self::Git(_) => "WF0717",
            Self::Branch { .. } => "WF0718",
            Self::Apply(error) => error.code(),
            Self::Checkout { .. } => "WF0719",
            Self::Transfer { .. } => "WF0720",
            Self::Exists { .. } => "WF0721",
            Self::Fixture { .. } => "WF0722",
            Self::Io { .. } => "WF0723",
            Self::LogFull { .. } => "WF0724",
            Self::Bug(_) => "WF0725",
            Self::Exhausted { .. } => "WF0726",
            Self::Key { .. } => "WF0727",
            Self::HoldsKey { .. } => "WF0728",
            Self::Draft { .. } => "WF0729",
            Self::NoSandbox { .. } => NO_SANDBOX,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Usage { hint, .. } => return hint.clone(),
            Self::Invalid(found) | Self::Preflight(found) => return first_error(found).and_then(|it| it.hint.clone()),
            Self::Branch { hint, .. } | Self::Key { hint, .. } => hint.as_str(),
            Self::NoSandbox { .. } => hint_no_sandbox(),
            Self::Draft { .. } => "say the goal more exactly, or look at what was written with `whaleflow show`",
            Self::HoldsKey { .. } => {
                "take it out; a key belongs into the user's configuration, by `env`, `file` or `keyring`"
            }
            Self::Git(error) => return error.hint().map(str::to_owned),
            Self::Apply(error) => error.hint(),
            Self::NoRun { .. } => {
                "`whaleflow ps` lists the runs of this project; runs belong to the repository or directory they were started in"
            }
            Self::ManyRuns { .. } => "write more of the id",
            Self::Store(_) => "look at free space and at the permissions of the state directory (`whaleflow doctor`)",
            Self::Damaged(_) => "`whaleflow verify` names the first bad record; what is before it is intact",
            Self::Newer(_) => "use the version of whaleflow that wrote it, or a later one",
            Self::Untrusted { .. } => "look at the workflow, then say `whaleflow trust`, or give --trust",
            Self::Held { .. } => "`whaleflow attach` follows it",
            Self::Unheard { .. } => {
                "the command stays in the run's inbox; `whaleflow show` says whether it took effect"
            }
            Self::Checkout { .. } => {
                "commit or stash your changes first, or take the result with --as-branch or --patch"
            }
            Self::Exists { .. } => "`whaleflow show` shows it",
            Self::LogFull { .. } => "what is done is kept; `whaleflow resume RUN` lets it have a million more",
            Self::Exhausted { .. } => "raise it, for example with `whaleflow resume RUN --budget-usd +1`",
            Self::Bug(_) => "please report it; the log is intact",
            Self::Io { source, .. } if lacks_descriptors(source) => "let it open more files (`ulimit -n`)",
            Self::Io { .. } => "look at free space and permissions",
            Self::Input { .. }
            | Self::Config { .. }
            | Self::Refused { .. }
            | Self::TimedOut { .. }
            | Self::Transfer { .. }
            | Self::Fixture { .. } => return None,
        };
        Some(text.to_owned())
    }

    /// What kind of thing did not work.
    pub fn class(&self) -> Class {
        match self {
            Self::Usage { .. } | Self::Input { .. } | Self::NoRun { .. } | Self::ManyRuns { .. } => Class::Usage,
            Self::Branch { .. } => Class::Usage,
            Self::Config { .. }
            | Self::Invalid(_)
            | Self::Fixture { .. }
            | Self::HoldsKey { .. }
            | Self::Draft { .. } => Class::Invalid,
            Self::Preflight(found) => preflight_class(found),
            Self::NoSandbox { .. } => Class::Sandbox,
            Self::Store(_) | Self::Io { .. } | Self::Unheard { .. } => Class::Store,
            Self::Damaged(_) | Self::Newer(_) | Self::Transfer { .. } => Class::Damaged,
            Self::Untrusted { .. } | Self::Key { .. } => Class::Denied,
            Self::Held { .. } | Self::Refused { .. } | Self::Checkout { .. } | Self::Exists { .. } => Class::Refused,
            Self::TimedOut { .. } | Self::LogFull { .. } => Class::Failed,
            Self::Git(error) => git_class(error),
            Self::Apply(error) => error.class(),
            Self::Exhausted { .. } => Class::Budget,
            Self::Bug(_) => Class::Bug,
        }
    }

    /// The findings behind it, where it has any.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Invalid(found) | Self::Preflight(found) => found,
            Self::Draft { found, .. } => found,
            _ => &[],
        }
    }
}

/// What a person can do about a missing sandbox.
pub(crate) fn hint_no_sandbox() -> &'static str {
    "`whaleflow doctor` says what is missing; --sandbox=off runs commands as you"
}

fn first_error(found: &[Diagnostic]) -> Option<&Diagnostic> {
    found.iter().find(|it| it.severity == Severity::Error).or(found.first())
}

/// What is only missing a trust or a key is another matter than what cannot run at all.
fn preflight_class(found: &[Diagnostic]) -> Class {
    let mut errors = found.iter().filter(|it| it.severity == Severity::Error);
    if errors.all(|it| matches!(it.code, codes::UNTRUSTED | codes::KEY_MISSING)) {
        return Class::Denied;
    }
    Class::Invalid
}

fn git_class(error: &GitError) -> Class {
    match error {
        GitError::NoRepository { .. }
        | GitError::Several { .. }
        | GitError::Bare { .. }
        | GitError::Unborn { .. }
        | GitError::UnknownRevision { .. }
        | GitError::Invalid { .. } => Class::Usage,
        GitError::Absent { .. } | GitError::TooOld { .. } => Class::Invalid,
        GitError::Moved { .. }
        | GitError::BranchExists { .. }
        | GitError::Overlaps { .. }
        | GitError::IndexLocked { .. }
        | GitError::Submodules { .. }
        | GitError::Uncommittable { .. }
        | GitError::Tampered { .. }
        | GitError::TooLarge { .. } => Class::Refused,
        GitError::TimedOut { .. }
        | GitError::Busy { .. }
        | GitError::Io { .. }
        | GitError::Lost { .. }
        | GitError::PoolFull { .. }
        | GitError::Fenced
        | GitError::Leases { .. }
        | GitError::DiskFull { .. }
        | GitError::Failed { .. } => Class::Store,
    }
}

fn count(found: &[Diagnostic]) -> String {
    match found.iter().filter(|it| it.severity == Severity::Error).count() {
        1 => "1 problem was found".to_owned(),
        number => format!("{number} problems were found"),
    }
}

fn names(runs: &[RunId]) -> String {
    runs.iter().map(RunId::as_str).collect::<Vec<_>>().join(", ")
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Held { owner, .. } => Self::Held { owner },
            RunError::Fenced => Self::Held { owner: "another process".to_owned() },
            RunError::Missing { run } => Self::NoRun { name: run.to_string() },
            RunError::Unavailable(detail) => Self::Store(detail),
            RunError::Damaged(detail) => Self::Damaged(detail),
            RunError::Unknown { .. } => Self::Newer(error.to_string()),
            RunError::Parked(_) => Self::Bug(error.to_string()),
            RunError::LogFull { records } => Self::LogFull { records },
        }
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        RunError::from(error).into()
    }
}

impl From<BlobError> for Error {
    fn from(error: BlobError) -> Self {
        RunError::from(error).into()
    }
}

impl From<PostError> for Error {
    fn from(error: PostError) -> Self {
        RunError::from(error).into()
    }
}

impl From<CreateError> for Error {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Exists { run } => Self::Exists { run: run.to_string() },
            other => RunError::from(other).into(),
        }
    }
}

impl From<ResolveError> for Error {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Missing { prefix } => Self::NoRun { name: prefix },
            ResolveError::Ambiguous { prefix, candidates } => Self::ManyRuns { prefix, candidates },
            ResolveError::Read(error) => error.into(),
        }
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Newer { .. } => Self::Newer(error.to_string()),
            OpenError::Damaged { .. } => Self::Damaged(error.to_string()),
            OpenError::Unsafe { detail } => Self::Store(detail),
            OpenError::Unavailable(cause) => Self::Store(cause.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use wf_ir::Span;

    use super::*;

    fn check(error: Error, code: &str, exit_code: u8) {
        assert_eq!((error.code(), error.class().exit_code()), (code, exit_code), "{error}");
        assert!(CODES.iter().any(|(known, _)| *known == code) || !error.diagnostics().is_empty(), "{code}");
    }

    #[test]
    fn every_error_has_a_code_and_a_class() {
        let text = || "x".to_owned();
        let io = || std::io::Error::other("no");
        let finding = |code| vec![Diagnostic::error(code, &Span::default(), "x")];
        check(Error::usage("x"), "WF0701", 2);
        check(Error::Input { message: text() }, "WF0702", 2);
        check(Error::Config { file: text(), line: 1, column: 1, message: text() }, "WF0703", 3);
        check(Error::Invalid(finding(SOURCE_UNREADABLE)), "WF0704", 3);
        check(Error::Invalid(finding(SPELLING_UNKNOWN)), "WF0705", 3);
        check(Error::Preflight(finding(codes::UNTRUSTED)), "WF0903", 7);
        check(Error::Preflight(finding(codes::ROLE_UNSATISFIED)), "WF0901", 3);
        check(Error::Preflight(finding(codes::KEY_MISSING)), "WF0905", 7);
        check(Error::Preflight(finding(codes::PROGRAM_MISSING)), "WF0902", 3);
        check(Error::NoRun { name: text() }, "WF0706", 2);
        check(Error::ManyRuns { prefix: text(), candidates: Vec::new() }, "WF0707", 2);
        check(Error::Store(text()), "WF0708", 6);
        check(Error::Damaged(text()), "WF0709", 9);
        check(Error::Newer(text()), "WF0710", 9);
        check(Error::Untrusted { repository: "/x".into() }, "WF0712", 7);
        check(Error::Held { owner: text() }, "WF0713", 10);
        check(Error::Refused { reason: text(), message: text() }, "WF0714", 10);
        check(Error::Unheard { waited_s: 1 }, "WF0715", 6);
        check(Error::TimedOut { waited_s: 1 }, "WF0716", 1);
        check(Error::Git(GitError::NoRepository { start: "/x".into() }), "WF0717", 2);
        check(Error::Git(GitError::BranchExists { name: text() }), "WF0717", 10);
        check(Error::Git(GitError::Io { action: "read", path: "/x".into(), source: io() }), "WF0717", 6);
        check(Error::Branch { message: text(), hint: text() }, "WF0718", 2);
        check(Error::Checkout { message: text() }, "WF0719", 10);
        check(Error::Transfer { path: "/x".into(), message: text() }, "WF0720", 9);
        check(Error::Exists { run: text() }, "WF0721", 10);
        check(Error::Fixture { dir: "/x".into(), message: text() }, "WF0722", 3);
        check(Error::Io { action: "read", path: "/x".into(), source: io() }, "WF0723", 6);
        check(Error::LogFull { records: 1 }, "WF0724", 1);
        check(Error::Bug(text()), "WF0725", 70);
        check(Error::Exhausted { run: text() }, "WF0726", 4);
        check(Error::Key { message: text(), hint: text() }, "WF0727", 7);
        check(Error::HoldsKey { what: text() }, "WF0728", 3);
        check(Error::NoSandbox { reason: text() }, "WF0730", 8);
        check(Error::Draft { message: text(), found: Vec::new() }, "WF0729", 3);
    }
}
