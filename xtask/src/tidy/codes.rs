//! Every code that a person can see is explained and tested.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Project};
use crate::rust_text::{is_ident, line_of};

/// Where codes are explained.
const EXPLAINED: &str = "docs/errors.md";

/// Every code in the sources has an entry and occurs in a test; every entry is of such a code, and there is one.
pub(crate) fn explained_and_tested(project: &Project) -> Vec<Finding> {
    let used = used(project);
    let tested = tested(project);
    let (entries, mut findings) = entries(project);
    for (code, (path, line)) in &used {
        if !entries.contains(code) {
            findings.push(Finding::at(path, *line, format!("{code} has no entry in {EXPLAINED}")));
        }
        if !tested.contains(code) {
            findings.push(Finding::at(path, *line, format!("{code} occurs in no test")));
        }
    }
    let idle = entries.iter().filter(|code| !used.contains_key(*code));
    findings.extend(idle.map(|code| Finding::new(EXPLAINED, format!("{code} occurs in no source"))));
    findings
}

/// Codes outside tests, each with the first place where it occurs.
fn used(project: &Project) -> BTreeMap<String, (String, usize)> {
    let mut found = BTreeMap::new();
    for file in project.files.iter().filter(|file| file.is_source() && file.path.starts_with("crates/")) {
        let Some(rust) = &file.rust else { continue };
        let text = rust.without_tests(&rust.uncommented);
        for (at, code) in codes(&text) {
            found.entry(code.to_owned()).or_insert_with(|| (file.path.clone(), line_of(&text, at)));
        }
    }
    found
}

fn tested(project: &Project) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in project.files.iter().filter(|file| file.path.starts_with("crates/")) {
        let text = match &file.rust {
            Some(rust) if file.is_test => rust.uncommented.clone(),
            Some(rust) => rust.only_tests(&rust.uncommented),
            None if file.is_test => file.text.clone(),
            None => continue,
        };
        found.extend(codes(&text).map(|(_, code)| code.to_owned()));
    }
    found
}

fn entries(project: &Project) -> (BTreeSet<String>, Vec<Finding>) {
    let (mut found, mut findings) = (BTreeSet::new(), Vec::new());
    for (number, line) in project.text(EXPLAINED).unwrap_or_default().lines().enumerate() {
        let Some(heading) = line.strip_prefix("## WF") else { continue };
        let (digits, title) = heading.split_once(' ').unwrap_or((heading, ""));
        let code = format!("WF{digits}");
        if codes(&code).count() != 1 || title.trim().is_empty() {
            findings.push(Finding::at(EXPLAINED, number + 1, "an entry is headed by its code and a title"));
        }
        if !found.insert(code.clone()) {
            findings.push(Finding::at(EXPLAINED, number + 1, format!("{code} has two entries")));
        }
    }
    (found, findings)
}

/// What looks like a code: `WF` and four digits, standing alone.
fn codes(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let found = text.match_indices("WF").filter_map(|(at, _)| text.get(at..at + 6).map(|code| (at, code)));
    found.filter(|(at, code)| {
        let alone = !text[..*at].ends_with(is_ident) && !text[at + 6..].starts_with(is_ident);
        alone && code[2..].bytes().all(|byte| byte.is_ascii_digit())
    })
}
