//! From a source in any spelling to a draft.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wf_ir::{Diagnostic, Draft, Span, Spanned, SpannedValue};

use crate::limits::{
    DIAGNOSTICS_MAX, DRAFT_TEXT_BYTES_MAX, DRAFT_VALUES_MAX, FILES_BYTES_MAX, FILES_MAX, PATH_BYTES_MAX,
    SOURCE_BYTES_MAX,
};
use crate::text::{Lines, start_of};
use crate::{code, json, star, yaml};

/// How a source is spelt. All three mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spelling {
    /// `.star`
    Starlark,
    /// `.yaml`, `.yml`
    Yaml,
    /// `.json`
    Json,
}

impl Spelling {
    /// The spelling that a file's name tells, or none.
    pub fn of_path(path: &str) -> Option<Self> {
        match path.rsplit_once('.')?.1 {
            "star" => Some(Self::Starlark),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Gives the text of files under the workflow's root.
pub trait Loader {
    /// The text of a file. `path` is relative to the workflow's root, with `/`, and has no `..`; that links do not lead
    /// out of the root, and that nothing larger than [`SOURCE_BYTES_MAX`] is read, is the loader's part.
    ///
    /// # Errors
    /// When there is no such text.
    fn load(&self, path: &str) -> Result<String, LoadError>;

    /// Says beforehand that a file will probably be asked for.
    fn expect(&self, path: &str) {
        let _ = path;
    }
}

/// A loader for a source that stands alone.
#[derive(Clone, Copy, Debug)]
pub struct NoFiles;

impl Loader for NoFiles {
    fn load(&self, _: &str) -> Result<String, LoadError> {
        Err(LoadError::Missing)
    }
}

/// Why a file has no text for a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum LoadError {
    /// There is none.
    #[error("it does not exist")]
    Missing,
    /// It is not under the workflow's root.
    #[error("it is outside the workflow's directory")]
    Outside,
    /// It is a directory, a pipe, a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// It is not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
    /// It is larger than [`SOURCE_BYTES_MAX`].
    #[error("it is larger than {SOURCE_BYTES_MAX} bytes")]
    TooLarge,
    /// All files together are more than [`FILES_MAX`] or [`FILES_BYTES_MAX`].
    #[error("one workflow may name {FILES_MAX} files with {FILES_BYTES_MAX} bytes in all")]
    TooMany,
    /// The system refused.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

/// Compiles a source. `file` is its name in findings, and by it a file that loads its loader is found.
///
/// It runs where it is called: a hostile Starlark source can exhaust the memory or the stack of its process, so a
/// caller with anything to lose goes through [`crate::protocol`].
///
/// # Errors
/// Everything that was found, in source order as far as the spelling allows; never empty.
pub fn compile(spelling: Spelling, file: &str, source: &str, loader: &dyn Loader) -> Result<Draft, Vec<Diagnostic>> {
    // A byte order mark is not part of the text.
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    check_size(file, source).map_err(|found| vec![found])?;
    let lines = Lines::new(file, source);
    let files = Files::new(loader);
    let mut root = match spelling {
        Spelling::Starlark => star::read(source, &lines, &files)?,
        Spelling::Yaml => yaml::read(source, &lines)?,
        Spelling::Json => json::read(source, &lines)?,
    };
    let mut inclusion = Inclusion { files: &files, text: 0, found: Vec::new() };
    inclusion.visit(&mut root, "");
    match inclusion.found {
        found if found.is_empty() => Ok(Draft { root }),
        found => Err(found),
    }
}

pub(crate) fn check_size(file: &str, source: &str) -> Result<(), Diagnostic> {
    if source.len() <= SOURCE_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the source has {} bytes; {SOURCE_BYTES_MAX} are allowed", source.len());
    Err(Diagnostic::error(code::SOURCE_TOO_LARGE, &start_of(file), message)
        .with_hint("put long texts into files of their own and name them with `file`"))
}

/// How much a draft, or a part of one, holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) values: usize,
    pub(crate) text: usize,
}

impl Weight {
    pub(crate) fn add(&mut self, other: Self) {
        self.values = self.values.saturating_add(other.values);
        self.text = self.text.saturating_add(other.text);
    }

    /// Whether a whole draft may hold so much.
    pub(crate) fn check(self, span: &Span) -> Result<(), Diagnostic> {
        if self.values > DRAFT_VALUES_MAX {
            let message = format!("the workflow has more than {DRAFT_VALUES_MAX} values");
            return Err(Diagnostic::error(code::TOO_LARGE, span, message)
                .with_hint("repeat a shape with `expand` over a list instead of writing it out"));
        }
        if self.text > DRAFT_TEXT_BYTES_MAX {
            let message = format!("the workflow has more than {DRAFT_TEXT_BYTES_MAX} bytes of text");
            return Err(Diagnostic::error(code::TOO_LARGE, span, message)
                .with_hint("a text counts once for each node that holds it"));
        }
        Ok(())
    }
}

/// The files of one compilation, within its limits.
pub(crate) struct Files<'a> {
    loader: &'a dyn Loader,
    known: RefCell<BTreeMap<String, Result<Arc<str>, LoadError>>>,
}

impl<'a> Files<'a> {
    fn new(loader: &'a dyn Loader) -> Self {
        Self { loader, known: RefCell::new(BTreeMap::new()) }
    }

    /// The text of a file, asked for once.
    pub(crate) fn text(&self, path: &str, span: &Span) -> Result<Arc<str>, Diagnostic> {
        check_path(path).map_err(|reason| refuse_path(path, reason, span))?;
        let known = self.known.borrow().get(path).cloned();
        let text = known.unwrap_or_else(|| {
            let text = self.fetch(path);
            self.known.borrow_mut().insert(path.to_owned(), text.clone());
            text
        });
        text.map_err(|error| {
            let message = format!("the file {path:?} cannot be used: {error}");
            match error {
                LoadError::TooMany => Diagnostic::error(code::TOO_MANY_FILES, span, message),
                LoadError::Missing | LoadError::Outside => Diagnostic::error(code::UNREADABLE, span, message)
                    .with_hint("paths are relative to the directory of the workflow's source"),
                LoadError::NotAFile | LoadError::NotText | LoadError::TooLarge | LoadError::Unreadable(_) => {
                    Diagnostic::error(code::UNREADABLE, span, message)
                }
            }
        })
    }

    /// Lets the loader know of a file that the source names.
    pub(crate) fn expect(&self, path: &str) {
        if check_path(path).is_ok() {
            self.loader.expect(path);
        }
    }

    fn fetch(&self, path: &str) -> Result<Arc<str>, LoadError> {
        let (count, bytes) = {
            let known = self.known.borrow();
            (known.len(), known.values().flatten().map(|text| text.len()).sum::<usize>())
        };
        if count >= FILES_MAX {
            return Err(LoadError::TooMany);
        }
        let text = self.loader.load(path)?;
        if text.len() > SOURCE_BYTES_MAX {
            return Err(LoadError::TooLarge);
        }
        if bytes + text.len() > FILES_BYTES_MAX {
            return Err(LoadError::TooMany);
        }
        Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).into())
    }
}

fn refuse_path(path: &str, reason: &str, span: &Span) -> Diagnostic {
    let path = crate::text::cut(path.to_owned(), PATH_BYTES_MAX);
    Diagnostic::error(code::PATH, span, format!("the path {path:?} {reason}"))
        .with_hint("name a file under the directory of the workflow's source, such as \"prompts/patch.md\"")
}

/// Whether a workflow may name this path.
///
/// # Errors
/// What is wrong with it.
pub fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("is empty");
    }
    if path.len() > PATH_BYTES_MAX {
        return Err("is too long");
    }
    if path.starts_with('/') || path.get(1..2) == Some(":") {
        return Err("is not relative");
    }
    if path.contains('\\') || path.contains(char::is_control) {
        return Err("has a backslash or a control character in it");
    }
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err("has an empty, `.` or `..` part");
    }
    Ok(())
}

/// Fields whose text may stand in a file.
const TEXT_FIELDS: [&str; 5] = ["prompt", "query", "policy", "pattern", "content"];
/// Fields below which `{file: …}` is a value like any other.
const PLAIN_FIELDS: [&str; 9] = ["output", "form", "on_empty", "inputs", "outputs", "params", "vars", "shows", "env"];

/// Puts the text of files where a draft says `{file: path}`.
struct Inclusion<'a> {
    files: &'a Files<'a>,
    text: usize,
    found: Vec<Diagnostic>,
}

impl Inclusion<'_> {
    /// `field` is the name under which `spanned` stands; `argv` for its elements. Drafts are bounded in depth.
    fn visit(&mut self, spanned: &mut Spanned, field: &str) {
        if (TEXT_FIELDS.contains(&field) || field == "argv")
            && let Some(path) = file_reference(&spanned.value)
        {
            let span = path.span.clone();
            if let SpannedValue::Str(path) = &path.value
                && let Some(text) = self.read(path, &span)
            {
                spanned.value = SpannedValue::Str(text.as_ref().to_owned());
            }
            return;
        }
        match &mut spanned.value {
            SpannedValue::Map(entries) => {
                for (key, value) in entries.iter_mut().filter(|(key, _)| !PLAIN_FIELDS.contains(&key.name.as_str())) {
                    self.visit(value, &key.name);
                }
            }
            SpannedValue::List(items) => {
                let field = if field == "argv" { field } else { "" };
                items.iter_mut().for_each(|item| self.visit(item, field));
            }
            SpannedValue::Null
            | SpannedValue::Bool(_)
            | SpannedValue::Int(_)
            | SpannedValue::Decimal(_)
            | SpannedValue::Str(_) => {}
        }
    }

    fn read(&mut self, path: &str, span: &Span) -> Option<Arc<str>> {
        if self.found.len() >= DIAGNOSTICS_MAX {
            return None;
        }
        let text = self.files.text(path, span).and_then(|text| {
            self.text += text.len();
            Weight { values: 0, text: self.text }.check(span).map(|()| text)
        });
        text.map_err(|found| self.found.push(found)).ok()
    }
}

/// The path of `{file: path}`.
fn file_reference(value: &SpannedValue) -> Option<&Spanned> {
    match value {
        SpannedValue::Map(entries) => match entries.as_slice() {
            [(key, path)] if key.name == "file" && matches!(path.value, SpannedValue::Str(_)) => Some(path),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_told_by_the_extension() {
        let all = ["a.star", "a.yaml", "b/a.yml", "a.json", "a.toml", "star", "a.STAR"];
        let spellings = all.map(Spelling::of_path);
        assert_eq!(
            spellings,
            [
                Some(Spelling::Starlark),
                Some(Spelling::Yaml),
                Some(Spelling::Yaml),
                Some(Spelling::Json),
                None,
                None,
                None
            ]
        );
    }

    #[test]
    fn paths_stay_under_the_root() {
        for path in ["a", "a/b.md", "prompts/…/x.md", "..a", "a..b"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        for path in ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "c:/x", "a\\b", "a\0b", "a\nb"] {
            assert!(check_path(path).is_err(), "{path}");
        }
        assert_eq!(check_path(&"a".repeat(PATH_BYTES_MAX + 1)), Err("is too long"));
    }
}
