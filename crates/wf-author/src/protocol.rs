//! Compiling in a process of its own: what the two processes say to each other.
//!
//! The child gets one [`Request`] and gives one answer, both JSON. It has no way to read a file: when it needs one
//! that the request does not hold, that is its answer, and the parent starts another child with the file added. What
//! a compilation finds depends on nothing but its request, so this comes to the same end. The parent believes nothing
//! that a child says beyond its form: depth, size, codes and paths are checked again.

mod wire;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wf_ir::{Diagnostic, Draft};

use self::wire::{Finding, FlatDraft};
use crate::code;
use crate::compile::{LoadError, Loader, Spelling, check_path, check_size, compile};
use crate::limits::{FILES_BYTES_MAX, FILES_MAX, MESSAGE_BYTES_MAX, RESPONSE_BYTES_MAX, SOURCE_BYTES_MAX};
use crate::text::{sentence, start_of};

/// What a child is to compile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// How the source is spelt.
    pub spelling: Spelling,
    /// The source's name in findings.
    pub file: String,
    /// The source.
    pub source: String,
    /// The files that earlier children asked for, by path.
    pub files: BTreeMap<String, FileAnswer>,
}

/// What became of a file that a child asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileAnswer {
    /// Its text.
    Text(String),
    /// Why it has none.
    Refused(LoadError),
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildResult {
    /// It ended well and wrote this.
    Answered(String),
    /// It ended without an answer, for a reason that a person can read (`killed by signal 9`).
    Crashed {
        /// The reason.
        reason: String,
    },
    /// It was ended because it took too long.
    TimedOut,
    /// It was ended because it wrote more than [`RESPONSE_BYTES_MAX`].
    TooMuchOutput,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Response {
    Draft(FlatDraft),
    Findings(#[serde(deserialize_with = "wire::findings")] Vec<Finding>),
    NeedsFiles(#[serde(deserialize_with = "wire::paths")] Vec<String>),
}

impl Request {
    /// The text that is written to the child.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The child's whole work: from a request to an answer. It runs on the caller's thread and stack.
pub fn serve(request_json: &str) -> String {
    let (file, response) = match serde_json::from_str::<Request>(request_json) {
        Ok(request) => (request.file.clone(), answer(&request)),
        Err(error) => {
            let message = format!("the request to compile cannot be read: {error}");
            (String::new(), findings(&[Diagnostic::error(code::CHILD_ANSWER, &start_of(""), message)]))
        }
    };
    let text = serde_json::to_string(&response).unwrap_or_default();
    if text.len() <= RESPONSE_BYTES_MAX {
        return text;
    }
    let message = format!("the workflow has more than {RESPONSE_BYTES_MAX} bytes when it is handed over");
    let response = findings(&[Diagnostic::error(code::TOO_LARGE, &start_of(&file), message)]);
    serde_json::to_string(&response).unwrap_or_default()
}

fn answer(request: &Request) -> Response {
    let given = Given { files: &request.files, wanted: RefCell::new(BTreeSet::new()), stuck: Cell::new(false) };
    let result = compile(request.spelling, &request.file, &request.source, &given);
    if given.stuck.get() {
        return Response::NeedsFiles(given.wanted.into_inner().into_iter().take(FILES_MAX).collect());
    }
    match result {
        Ok(draft) => Response::Draft(FlatDraft::new(&draft)),
        Err(found) => findings(&found),
    }
}

fn findings(found: &[Diagnostic]) -> Response {
    Response::Findings(found.iter().map(Finding::new).collect())
}

/// The files of a request.
struct Given<'a> {
    files: &'a BTreeMap<String, FileAnswer>,
    wanted: RefCell<BTreeSet<String>>,
    /// Whether the compilation cannot end without one of the wanted.
    stuck: Cell<bool>,
}

impl Loader for Given<'_> {
    fn load(&self, path: &str) -> Result<String, LoadError> {
        match self.files.get(path) {
            Some(FileAnswer::Text(text)) => Ok(text.clone()),
            Some(FileAnswer::Refused(error)) => Err(error.clone()),
            None => {
                self.wanted.borrow_mut().insert(path.to_owned());
                self.stuck.set(true);
                Err(LoadError::Missing)
            }
        }
    }

    fn expect(&self, path: &str) {
        if !self.files.contains_key(path) {
            self.wanted.borrow_mut().insert(path.to_owned());
        }
    }
}

/// The parent's whole work: runs children until one of them needs nothing more.
///
/// # Errors
/// What the child found, or how it failed; never empty.
pub fn drive(
    spelling: Spelling,
    file: &str,
    source: &str,
    run_child: &mut dyn FnMut(&Request) -> ChildResult,
    loader: &dyn Loader,
) -> Result<Draft, Vec<Diagnostic>> {
    check_size(file, source).map_err(|found| vec![found])?;
    let mut request = Request { spelling, file: file.to_owned(), source: source.to_owned(), files: BTreeMap::new() };
    // Each round but the last adds a file, and what is asked for beyond the limit is refused.
    for _ in 0..FILES_MAX + 2 {
        let paths = match read_answer(file, run_child(&request))? {
            Response::Draft(draft) => {
                return draft.into_draft().map_err(|reason| vec![unintelligible(file, reason)]);
            }
            Response::Findings(found) => return Err(read_findings(file, found)),
            Response::NeedsFiles(paths) => paths,
        };
        add_files(&mut request, &paths, loader).map_err(|reason| vec![unintelligible(file, reason)])?;
    }
    let message = format!("the source names more than {FILES_MAX} files");
    Err(vec![Diagnostic::error(code::TOO_MANY_FILES, &start_of(file), message)])
}

fn add_files(request: &mut Request, paths: &[String], loader: &dyn Loader) -> Result<(), &'static str> {
    if paths.is_empty() {
        return Err("it needs no file and says so");
    }
    for path in paths.iter().take(FILES_MAX) {
        check_path(path).map_err(|_| "it asks for a file outside the workflow's directory")?;
        if request.files.contains_key(path) {
            return Err("it asks for a file again");
        }
        let bytes: usize = request.files.values().map(FileAnswer::bytes).sum();
        let answer = if request.files.len() >= 2 * FILES_MAX {
            FileAnswer::Refused(LoadError::TooMany)
        } else {
            match loader.load(path) {
                Ok(text) if text.len() > SOURCE_BYTES_MAX => FileAnswer::Refused(LoadError::TooLarge),
                Ok(text) if bytes + text.len() > FILES_BYTES_MAX => FileAnswer::Refused(LoadError::TooMany),
                Ok(text) => FileAnswer::Text(text),
                Err(error) => FileAnswer::Refused(error),
            }
        };
        request.files.insert(path.clone(), answer);
    }
    Ok(())
}

impl FileAnswer {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Refused(_) => 0,
        }
    }
}

fn read_answer(file: &str, result: ChildResult) -> Result<Response, Vec<Diagnostic>> {
    let hint = "a source that nests or repeats without bounds ends like this; build the workflow in smaller steps";
    let (code, message) = match result {
        ChildResult::Answered(text) if text.len() <= RESPONSE_BYTES_MAX => {
            return serde_json::from_str(&text).map_err(|_| vec![unintelligible(file, "it is not of the agreed form")]);
        }
        ChildResult::Answered(_) | ChildResult::TooMuchOutput => {
            (code::CHILD_OUTPUT, format!("the compiling process wrote more than {RESPONSE_BYTES_MAX} bytes"))
        }
        ChildResult::Crashed { reason } => {
            let reason = sentence(&reason, MESSAGE_BYTES_MAX);
            (code::CHILD_CRASHED, format!("the compiling process ended without an answer: {reason}"))
        }
        ChildResult::TimedOut => (code::CHILD_TIMED_OUT, "the source took too long to compile".to_owned()),
    };
    Err(vec![Diagnostic::error(code, &start_of(file), message).with_hint(hint)])
}

fn read_findings(file: &str, found: Vec<Finding>) -> Vec<Diagnostic> {
    let found: Option<Vec<_>> = found.into_iter().map(Finding::into_diagnostic).collect();
    match found {
        Some(found) if !found.is_empty() => found,
        _ => vec![unintelligible(file, "its findings are not of the agreed form")],
    }
}

fn unintelligible(file: &str, reason: &str) -> Diagnostic {
    let message = format!("the compiling process gave an answer that cannot be used: {reason}");
    Diagnostic::error(code::CHILD_ANSWER, &start_of(file), message)
        .with_hint("this is a fault of the program, not of the workflow")
}
