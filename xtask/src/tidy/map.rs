//! ARCHITECTURE.md as a map: what it names exists, and it stays short.

use std::collections::BTreeSet;

use super::architecture::{FILE, ticked};
use super::{Finding, Project};
use crate::rust_text::line_of;

/// The longest map that is still read, in lines.
const LINES_MAX: usize = 300;

/// Every crate that it names exists, and it names every crate.
pub(crate) fn names(project: &Project) -> Vec<Finding> {
    let Some(text) = project.text(FILE) else { return vec![Finding::new(FILE, "it is missing")] };
    let mut findings = Vec::new();
    let mut named = BTreeSet::new();
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | '.');
    for word in text.split(|c: char| !is_part(c)).map(|word| word.trim_end_matches(['.', '-'])) {
        if word == "xtask" || (word.starts_with("wf-") && !word.contains(['/', '.'])) {
            named.insert(word);
        }
    }
    for word in named.iter().filter(|word| !project.graph.contains_key(**word)) {
        let at = text.find(word).map_or(1, |at| line_of(text, at));
        findings.push(Finding::at(FILE, at, format!("{word} is no crate")));
    }
    let missing = project.graph.keys().filter(|name| !named.contains(name.as_str()));
    findings.extend(missing.map(|name| Finding::new(FILE, format!("it does not name {name}"))));
    findings
}

/// Every path that it or STYLE.md names in back ticks exists.
pub(crate) fn paths(project: &Project) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in project.files.iter().filter(|file| file.path == FILE || file.path == "STYLE.md") {
        for (number, line) in file.text.lines().enumerate() {
            let missing = ticked(line).into_iter().filter(|word| is_path(word) && !exists(project, word));
            findings.extend(missing.map(|word| Finding::at(&file.path, number + 1, format!("{word} does not exist"))));
        }
    }
    findings
}

fn is_path(word: &str) -> bool {
    let below = ["crates/", "docs/", "schema/", "workflows/", "xtask/"].iter().any(|top| word.starts_with(top));
    below && !word.contains(['*', '<', '…', ' ', '{'])
}

fn exists(project: &Project, path: &str) -> bool {
    let folder = format!("{}/", path.trim_end_matches('/'));
    project.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
}

/// It is short enough to be read.
pub(crate) fn length(project: &Project) -> Vec<Finding> {
    let lines = project.text(FILE).map_or(0, |text| text.lines().count());
    if lines <= LINES_MAX {
        return Vec::new();
    }
    vec![Finding::new(FILE, format!("it has {lines} lines, more than {LINES_MAX}"))]
}
