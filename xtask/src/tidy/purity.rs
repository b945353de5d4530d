//! What the sources of a pure crate may not say: nothing in them can block, fail or differ between two runs.

use super::dependencies::pure;
use super::{Finding, Project, SourceFile};
use crate::rust_text::{ident_at, line_of, matching, skip_space, words};

/// Modules of the standard library that reach the world.
const MODULES: [&str; 5] = ["fs", "env", "net", "process", "thread"];

/// Words that no pure crate says.
const WORDS: [&str; 10] =
    ["SystemTime", "Instant", "async", "await", "println!", "eprintln!", "print!", "eprint!", "tracing::", "log::"];

/// The sources of the pure crates say none of it outside tests.
pub(crate) fn pure_sources(project: &Project) -> Vec<Finding> {
    let pure = pure(project).unwrap_or_default();
    let sources = project.files.iter().filter(|file| file.is_source() && pure.contains_key(file.krate()));
    sources.flat_map(|file| impure(project, file)).collect()
}

fn impure(project: &Project, file: &SourceFile) -> Vec<Finding> {
    let Some(rust) = &file.rust else { return Vec::new() };
    let code = rust.without_tests(&rust.code);
    let mut found: Vec<(usize, String)> = Vec::new();
    for word in WORDS {
        let places = words(&code, word).filter(|at| word != "log::" || !is_own_module(project, file, &code, *at));
        found.extend(places.map(|at| (at, word.trim_end_matches(':').to_owned())));
    }
    let reached = std_modules(&code).into_iter().filter(|(_, name)| MODULES.contains(&name.as_str()));
    found.extend(reached.map(|(at, name)| (at, format!("std::{name}"))));
    found.sort();
    let finding = |(at, what)| Finding::at(&file.path, line_of(&code, at), format!("a pure crate uses {what}"));
    found.into_iter().map(finding).collect()
}

/// Whether `log::` at an offset is a module of the crate's own, and not the crate for logging.
fn is_own_module(project: &Project, file: &SourceFile, code: &str, at: usize) -> bool {
    let own = format!("crates/{}/src/log.rs", file.krate());
    code[..at].ends_with("::") || project.files.iter().any(|file| file.path == own)
}

/// The modules that are taken from `std`, alone or in braces, each with its place.
fn std_modules(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, "std").filter(|at| code[at + 3..].starts_with("::")) {
        let next = skip_space(code, at + 5);
        if let Some(name) = ident_at(code, next) {
            found.push((at, name.to_owned()));
        } else if code[next..].starts_with('{') {
            let inside = next + 1..matching(code, next).saturating_sub(1).max(next + 1);
            found.extend(first_names(&code[inside]).into_iter().map(|name| (at, name)));
        }
    }
    found
}

/// The first name of each part of a list, parts within braces aside.
fn first_names(list: &str) -> Vec<String> {
    let (mut names, mut at) = (Vec::new(), 0);
    while at < list.len() {
        at = skip_space(list, at);
        names.extend(ident_at(list, at).map(str::to_owned));
        while at < list.len() && !list[at..].starts_with(',') {
            let is_open = list[at..].starts_with('{');
            let step = list[at..].chars().next().map_or(1, char::len_utf8);
            at = if is_open { matching(list, at) } else { at + step };
        }
        at += 1;
    }
    names
}
