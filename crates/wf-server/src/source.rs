//! From the name of a workflow to a validated one: find the file, compile it in a child, validate it here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wf_author::limits::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, STACK_BYTES};
use wf_author::protocol::{ChildResult, Request, drive, serve};
use wf_author::{LoadError, Loader, Spelling};
use wf_effects::CancelToken;
use wf_effects::process::{ChildLimits, ChildSpec, End, SpawnError, limit_self, run_child};
use wf_ir::{Diagnostic, Draft, Severity, Span, Workflow, validate};

use crate::environment::Environment;
use crate::error::{Error, SOURCE_UNREADABLE, SPELLING_UNKNOWN};
use crate::files::{Files, read_named};
use crate::project::Project;

/// The hidden subcommand in which a child compiles.
pub const COMPILE_CHILD: &str = "compile-child";
/// What a compiling child may use.
const CHILD_LIMITS: ChildLimits =
    ChildLimits { address_space_bytes: 512 << 20, cpu_secs: 2, file_bytes: 0, open_files: 16 };
/// What ends a process that used its processor time.
const SIGXCPU: i32 = rustix::process::Signal::XCPU.as_raw();
/// The most time that a compiling child may take. Its processor time is bounded more tightly.
const CHILD_TIMEOUT: Duration = Duration::from_secs(10);
/// Directories in which a workflow is looked for by name, in order.
const WORKFLOW_DIRS: [&str; 2] = [".whaleflow/workflows", "workflows"];
/// Extensions of workflows, in the order in which they are tried.
const EXTENSIONS: [&str; 4] = ["star", "yaml", "yml", "json"];

/// A source that was found and can be read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its file, with links resolved.
    pub path: PathBuf,
    spelling: Spelling,
    /// Its name below the root.
    file: String,
    /// What comes before a name below the root to make it one that a person can open from here.
    prefix: String,
    text: String,
    files: Arc<Files>,
}

/// What a source turned out to be.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The workflow, when no finding is an error.
    pub workflow: Option<Arc<Workflow>>,
    /// What was found.
    pub diagnostics: Vec<Diagnostic>,
}

impl Source {
    /// Finds the workflow that a person named: a path, or a name in one of the usual directories.
    ///
    /// # Errors
    /// [`Error::Invalid`] with one finding when there is none that can be read.
    pub fn find(environment: &Environment, project: &Project, name: &str) -> Result<Self, Error> {
        let shown = locate(environment, project, name).unwrap_or_else(|| PathBuf::from(name));
        let at = environment.cwd().join(&shown);
        let label = shown.display().to_string();
        let spelling = Spelling::of_path(&label).ok_or_else(|| unknown_spelling(&label, &at))?;
        let unreadable = |error: LoadError| unreadable(&label, &error);
        // What is read is what was resolved here, whatever a link becomes meanwhile.
        let path = std::fs::canonicalize(&at).map_err(|error| unreadable(io_refusal(&error)))?;
        let (Some(root), Some(file)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(unreadable(LoadError::NotAFile));
        };
        let files = Files::below(root).map_err(unreadable)?;
        let text = files.load(file).map_err(unreadable)?;
        let prefix = shown.parent().filter(|dir| !dir.as_os_str().is_empty());
        let prefix = prefix.map_or_else(String::new, |dir| format!("{}/", dir.display()));
        Ok(Self { file: file.to_owned(), prefix, spelling, text, files: Arc::new(files), path })
    }

    /// A Starlark source that is in no file; what it names lies below `dir`.
    ///
    /// # Errors
    /// When there is no such directory.
    pub(crate) fn of_text(dir: &Path, name: &str, text: String) -> Result<Self, Error> {
        let files = Files::below(dir).map_err(|error| unreadable(name, &error))?;
        let (file, prefix) = (name.to_owned(), String::new());
        Ok(Self { path: dir.join(name), spelling: Spelling::Starlark, file, prefix, text, files: Arc::new(files) })
    }

    /// The directory under which everything that the source names lies.
    pub fn root(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// The source's name, as a person can open it from here.
    pub fn label(&self) -> String {
        format!("{}{}", self.prefix, self.file)
    }

    /// Compiles in a child and validates here. It never stops at the first problem.
    ///
    /// # Errors
    /// Only when something of ours does not work; what is wrong with the source is among the findings.
    pub async fn check(&self, environment: &Environment) -> Result<Checked, Error> {
        let source = self.clone();
        let program = child_program(environment);
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            let mut not_started = None;
            let mut run = |request: &Request| {
                runtime.block_on(compile_in_child(&program, request)).unwrap_or_else(|error| {
                    let reason = error.to_string();
                    not_started = Some(Error::not_started(&program, error));
                    ChildResult::Crashed { reason }
                })
            };
            let draft = drive(source.spelling, &source.file, &source.text, &mut run, source.files.as_ref());
            not_started.map_or_else(|| Ok(source.judge(draft)), Err)
        };
        // Deep sources need a deep stack, which the workers of the runtime are not promised to have.
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("compile".to_owned()).stack_size(STACK_BYTES);
        thread
            .spawn(move || {
                let _ = sender.send(work());
            })
            .map_err(|error| Error::Bug(format!("no thread for compiling: {error}")))?;
        receiver.await.map_err(|_| Error::Bug("the compiling thread ended without an answer".to_owned()))?
    }

    fn judge(&self, draft: Result<Draft, Vec<Diagnostic>>) -> Checked {
        let (workflow, mut diagnostics) = match draft {
            Ok(draft) => validate(&draft),
            Err(found) => (None, found),
        };
        self.label_all(&mut diagnostics);
        Checked { workflow: workflow.map(Arc::new), diagnostics }
    }

    /// Makes the files that findings name ones that a person can open from here.
    pub fn label_all(&self, diagnostics: &mut [Diagnostic]) {
        for span in diagnostics.iter_mut().map(|it| &mut it.span) {
            let file = if span.file.is_empty() { &self.file } else { span.file.as_ref() };
            span.file = format!("{}{file}", self.prefix).into();
        }
    }
}

impl Checked {
    /// The workflow and what is worth knowing about it.
    ///
    /// # Errors
    /// When there is none.
    pub fn valid(self) -> Result<(Arc<Workflow>, Vec<Diagnostic>), Error> {
        match self.workflow {
            Some(workflow) => Ok((workflow, self.diagnostics)),
            None => Err(Error::Invalid(self.diagnostics)),
        }
    }
}

/// The whole work of a compiling child: limit itself, read the request, answer. What it answers is for its standard
/// output.
///
/// # Errors
/// When it cannot limit itself, or cannot read.
pub fn compile_child(input: &mut dyn std::io::Read) -> std::io::Result<String> {
    use std::io::Read;
    limit_self(&CHILD_LIMITS)?;
    let mut request = String::new();
    input.take(REQUEST_BYTES_MAX as u64).read_to_string(&mut request)?;
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let answer = thread.spawn(move || serve(&request))?.join();
    answer.map_err(|_| std::io::Error::other("compiling failed"))
}

async fn compile_in_child(program: &Path, request: &Request) -> Result<ChildResult, SpawnError> {
    let spec = ChildSpec {
        program: program.to_owned(),
        args: vec![COMPILE_CHILD.to_owned()],
        stdin: request.to_json().into_bytes(),
        timeout: CHILD_TIMEOUT,
        output_bytes_max: RESPONSE_BYTES_MAX,
    };
    let finished = run_child(spec, &CancelToken::default()).await?;
    Ok(match finished.end {
        End::Exited(0) if finished.stdout.dropped() > 0 => ChildResult::TooMuchOutput,
        End::Exited(0) => match String::from_utf8(finished.stdout.kept().to_vec()) {
            Ok(text) => ChildResult::Answered(text),
            Err(_) => ChildResult::Crashed { reason: "it did not answer in UTF-8".to_owned() },
        },
        End::Exited(code) => ChildResult::Crashed { reason: format!("exit code {code}") },
        End::Signalled(SIGXCPU) => ChildResult::TimedOut,
        End::Signalled(signal) => ChildResult::Crashed { reason: format!("killed by signal {signal}") },
        End::TimedOut => ChildResult::TimedOut,
        End::Cancelled => ChildResult::Crashed { reason: "it was ended".to_owned() },
    })
}

/// The program of our own children: this one, also when its file was replaced meanwhile.
pub(crate) fn child_program(environment: &Environment) -> PathBuf {
    let executable = environment.executable();
    if executable.exists() { executable.to_owned() } else { PathBuf::from("/proc/self/exe") }
}

/// The path that a name stands for, relative to the working directory where that is shorter.
fn locate(environment: &Environment, project: &Project, name: &str) -> Option<PathBuf> {
    if name.is_empty()
        || name.contains('/')
        || Spelling::of_path(name).is_some()
        || environment.cwd().join(name).exists()
    {
        return None;
    }
    let roots = [environment.cwd(), project.root()];
    for dir in roots.iter().flat_map(|root| WORKFLOW_DIRS.map(|dir| root.join(dir))) {
        for extension in EXTENSIONS {
            let path = dir.join(format!("{name}.{extension}"));
            if path.exists() {
                return Some(path.strip_prefix(environment.cwd()).map_or(path.clone(), Path::to_owned));
            }
        }
    }
    None
}

fn start_of(label: &str) -> Span {
    Span { file: label.into(), line: 1, column: 1, ..Span::default() }
}

fn unreadable(label: &str, error: &LoadError) -> Error {
    let why = match error {
        LoadError::Unreadable(why) => why.clone(),
        error => error.to_string(),
    };
    let mut found = Diagnostic::error(SOURCE_UNREADABLE, &start_of(label), format!("{label:?} cannot be read: {why}"));
    if *error == LoadError::Missing {
        found = found.with_hint(
            "give a path, or a name in .whaleflow/workflows or workflows; `whaleflow init` writes a first workflow",
        );
    }
    Error::Invalid(vec![found])
}

fn unknown_spelling(label: &str, path: &Path) -> Error {
    if !path.exists() {
        return unreadable(label, &LoadError::Missing);
    }
    if path.is_dir() {
        return unreadable(label, &LoadError::NotAFile);
    }
    let message = format!("the name of {label:?} does not say how it is spelt");
    let found = Diagnostic::error(SPELLING_UNKNOWN, &start_of(label), message);
    Error::Invalid(vec![found.with_hint("workflows end with .star, .yaml, .yml or .json")])
}

fn io_refusal(error: &std::io::Error) -> LoadError {
    match error.kind() {
        std::io::ErrorKind::NotFound => LoadError::Missing,
        std::io::ErrorKind::NotADirectory => LoadError::NotAFile,
        _ => LoadError::Unreadable(error.to_string()),
    }
}

/// The texts of the files that findings name, by the names that they use; what cannot be read is left out.
pub fn texts_of(environment: &Environment, findings: &[Diagnostic]) -> BTreeMap<String, String> {
    let labels: BTreeSet<&str> = findings.iter().map(|it| it.span.file.as_ref()).collect();
    let text = |label: &str| read_named(&environment.cwd().join(label)).ok();
    labels.into_iter().filter_map(|label| Some((label.to_owned(), text(label)?))).collect()
}

/// Whether a finding keeps a workflow from running.
pub fn is_error(finding: &Diagnostic) -> bool {
    finding.severity == Severity::Error
}
