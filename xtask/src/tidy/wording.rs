//! Words that do not belong into sources, and exemptions that must be counted.

use std::collections::BTreeMap;

use super::architecture::FILE;
use super::{Finding, Project, dependencies};
use crate::rust_text::{ident_at, is_ident, line_of, skip_space, words};

/// Code that is not finished, or a test that does not test.
const CODE: [&str; 7] = ["todo!", "unimplemented!", "dbg!", "#[ignore", "should_panic", "#[allow(", "#![allow("];

/// Put together here, so that this file does not contain it.
const UNFINISHED: &str = concat!("FIX", "ME");

/// Parts of a type's name that say nothing about it.
const VAGUE: [&str; 6] = ["Manager", "Service", "Helper", "Handler", "Util", "Utils"];

/// The lint whose exemptions are counted.
const COUNTED: &str = "clippy::disallowed_methods";

/// Nothing is left unfinished, and no lint is switched off without a reason.
pub(crate) fn forbidden(project: &Project) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &project.files {
        let Some(rust) = &file.rust else { continue };
        let finding = |at, message: String| Finding::at(&file.path, line_of(&file.text, at), message);
        for word in CODE {
            let found = words(&rust.code, word);
            findings.extend(found.map(|at| finding(at, format!("{word} does not belong into sources"))));
        }
        let unfinished = words(&file.text, UNFINISHED);
        findings.extend(unfinished.map(|at| finding(at, "something is left to be put right".to_owned())));
    }
    findings
}

/// Names of types and functions say what they are.
pub(crate) fn names(project: &Project) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &project.files {
        let Some(rust) = &file.rust else { continue };
        for keyword in ["struct", "enum", "trait", "type", "fn"] {
            for at in words(&rust.code, keyword) {
                let Some(name) = ident_at(&rust.code, skip_space(&rust.code, at + keyword.len())) else { continue };
                if is_vague(name) {
                    let line = line_of(&rust.code, at);
                    findings.push(Finding::at(&file.path, line, format!("the name {name} says nothing")));
                }
            }
        }
    }
    findings
}

fn is_vague(name: &str) -> bool {
    let starts: Vec<usize> = name.match_indices(char::is_uppercase).map(|(at, _)| at).chain([name.len()]).collect();
    let mut parts = starts.windows(2).map(|ends| &name[ends[0]..ends[1]]);
    let ends_vaguely = ["Data", "Info"].iter().any(|end| name.ends_with(end) && name != *end);
    name.starts_with("do_") || ends_vaguely || parts.any(|part| VAGUE.contains(&part))
}

/// Each crate has exactly the exemptions that ARCHITECTURE.md gives it.
pub(crate) fn exemptions(project: &Project) -> Vec<Finding> {
    let listed = match dependencies::exemptions(project) {
        Ok(listed) => listed,
        Err(finding) => return vec![finding],
    };
    let mut counted: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for file in &project.files {
        let Some(rust) = &file.rust else { continue };
        let all = count(&rust.code);
        let in_source = if file.is_source() { count(&rust.without_tests(&rust.code)) } else { 0 };
        let counts = counted.entry(file.krate().to_owned()).or_default();
        counts.0 += in_source;
        counts.1 += all - in_source;
    }
    let crates = listed.keys().chain(counted.keys());
    let mut findings = Vec::new();
    for name in crates {
        let of = |counts: &BTreeMap<String, (usize, usize)>| counts.get(name).copied().unwrap_or_default();
        let ((sources, tests), (sources_said, tests_said)) = (of(&counted), of(&listed));
        if (sources, tests) != (sources_said, tests_said) {
            let is = format!("{sources} exemptions from {COUNTED} in sources and {tests} in tests");
            findings.push(Finding::new(name, format!("it has {is}, and {FILE} says {sources_said} and {tests_said}")));
        }
    }
    findings
}

/// How many attributes name the lint.
fn count(code: &str) -> usize {
    let after = |at: usize| code[at + COUNTED.len()..].starts_with(|c: char| !is_ident(c));
    code.match_indices(COUNTED).filter(|(at, _)| after(*at)).count()
}
