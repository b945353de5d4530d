//! `cargo xtask tidy`: holds the sources against ARCHITECTURE.md and STYLE.md.
//!
//! Every rule is a function from a [`Project`], which is plain text and names, to findings; only [`Project::read`]
//! looks at the disk. What is too long is shown and not held against anyone.

mod architecture;
mod codes;
mod dependencies;
mod graph;
mod lengths;
mod map;
mod mutants;
mod project;
mod purity;
mod texts;
mod wording;

use std::fmt;
use std::path::Path;

pub use graph::{Crate, Graph};
pub use lengths::{FILE_LINES_MAX, FUNCTION_LINES_MAX};
pub use project::{Project, SourceFile};

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// A file or a crate.
    pub place: String,
    /// The line, from 1, where there is one.
    pub line: Option<usize>,
    /// What is wrong there.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), line: None, message: message.into() }
    }

    pub(crate) fn at(place: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self { line: Some(line), ..Self::new(place, message) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.place, self.message),
            None => write!(f, "{}: {}", self.place, self.message),
        }
    }
}

/// Every finding, in order of place.
pub fn check(project: &Project) -> Vec<Finding> {
    let rules = [
        dependencies::edges,
        dependencies::allowed,
        dependencies::reserved,
        dependencies::no_runtime,
        dependencies::manifests,
        map::names,
        map::paths,
        map::length,
        purity::pure_sources,
        codes::explained_and_tested,
        wording::forbidden,
        wording::names,
        wording::exemptions,
        mutants::fit,
        texts::machine_paths,
        texts::registries,
    ];
    let mut findings: Vec<Finding> = rules.iter().flat_map(|rule| rule(project)).collect();
    findings.sort();
    findings.dedup();
    findings
}

/// What is longer than it should be; shown, not failed.
pub fn long(project: &Project) -> Vec<Finding> {
    lengths::long(project)
}

/// Shows what is long and what is wrong; whether nothing is wrong.
///
/// # Errors
/// When the project cannot be read.
pub fn run(root: &Path) -> anyhow::Result<bool> {
    let project = Project::read(root)?;
    let (long, findings) = (long(&project), check(&project));
    for finding in &long {
        println!("note: {finding}");
    }
    for finding in &findings {
        println!("error: {finding}");
    }
    let sources = project.files.iter().filter(|file| file.is_rust()).count();
    println!("{} crates, {sources} sources: {} findings, {} notes", project.graph.len(), findings.len(), long.len());
    Ok(findings.is_empty())
}
