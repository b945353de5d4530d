//! Which crate may depend on what: cargo's metadata against the tables of ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

use super::architecture::{self, FILE, names_by_name};
use super::{Finding, Project};

/// Crates that bring an asynchronous runtime, which no pure crate may have anywhere below it.
const RUNTIMES: [&str; 3] = ["tokio", "async-std", "smol"];

/// Names that say nothing about what a crate may not hold.
const VAGUE: [&str; 7] = ["core", "common", "utils", "util", "types", "services", "helpers"];

type Table = BTreeMap<String, BTreeSet<String>>;

/// The table with these columns, or that it is missing.
fn table(project: &Project, key: &str, value: &str) -> Result<Table, Finding> {
    let text = project.text(FILE).unwrap_or_default();
    names_by_name(text, key, value)
        .ok_or_else(|| Finding::new(FILE, format!("there is no table with the columns '{key}' and '{value}'")))
}

/// The pure crates, each with the crates from elsewhere that it may use.
pub(crate) fn pure(project: &Project) -> Result<Table, Finding> {
    table(project, "pure crate", "from elsewhere")
}

fn joined(names: &BTreeSet<String>) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.iter().cloned().collect::<Vec<_>>().join(", ") }
}

/// The edges of the workspace are exactly those of the crate table.
pub(crate) fn edges(project: &Project) -> Vec<Finding> {
    let table = match table(project, "crate", "uses") {
        Ok(table) => table,
        Err(finding) => return vec![finding],
    };
    let mut findings = Vec::new();
    for (name, krate) in &project.graph {
        match table.get(name) {
            None => findings.push(Finding::new(FILE, format!("the crate table does not name {name}"))),
            Some(uses) if *uses != krate.internal => {
                let (said, is) = (joined(uses), joined(&krate.internal));
                findings.push(Finding::new(name, format!("it uses {is}, and {FILE} says {said}")));
            }
            Some(_) => {}
        }
    }
    let unknown = table.keys().filter(|name| !project.graph.contains_key(*name));
    findings.extend(unknown.map(|name| Finding::new(FILE, format!("the crate table names {name}, which is no crate"))));
    findings
}

/// A pure crate uses exactly the crates from elsewhere that are listed for it.
pub(crate) fn allowed(project: &Project) -> Vec<Finding> {
    let table = match pure(project) {
        Ok(table) => table,
        Err(finding) => return vec![finding],
    };
    let differing = table.iter().filter_map(|(name, allowed)| {
        let used = &project.graph.get(name)?.external;
        let message = format!("it uses {} from elsewhere, and {FILE} allows {}", joined(used), joined(allowed));
        (used != allowed).then(|| Finding::new(name, message))
    });
    differing.collect()
}

/// A dependency that is reserved for some crates is used by no other.
pub(crate) fn reserved(project: &Project) -> Vec<Finding> {
    let table = match table(project, "dependency", "only in") {
        Ok(table) => table,
        Err(finding) => return vec![finding],
    };
    let mut findings = Vec::new();
    for (dependency, owners) in &table {
        for (name, krate) in &project.graph {
            if krate.external.contains(dependency) && !owners.contains(name) {
                let message = format!("it uses {dependency}, which {FILE} reserves for {}", joined(owners));
                findings.push(Finding::new(name, message));
            }
        }
    }
    findings
}

/// No pure crate has an asynchronous runtime anywhere below it.
pub(crate) fn no_runtime(project: &Project) -> Vec<Finding> {
    let pure = pure(project).unwrap_or_default();
    let crates = project.graph.iter().filter(|(name, _)| pure.contains_key(*name));
    let found = crates.flat_map(|(name, krate)| {
        let runtimes = RUNTIMES.iter().filter(|runtime| krate.tree.contains(**runtime));
        runtimes.map(move |runtime| Finding::new(name, format!("a pure crate brings {runtime} with it")))
    });
    found.collect()
}

/// Folders are named as crates are, names say something, and every crate takes the workspace's lints.
pub(crate) fn manifests(project: &Project) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, krate) in &project.graph {
        let folder = if name == "xtask" { name.clone() } else { format!("crates/{name}") };
        if krate.folder != folder {
            findings.push(Finding::new(name, format!("its folder is {}, not {folder}", krate.folder)));
        }
        let word = name.strip_prefix("wf-").unwrap_or(name);
        if VAGUE.contains(&word) {
            findings.push(Finding::new(name, "its name says nothing about what it may not hold"));
        }
        let manifest = format!("{}/Cargo.toml", krate.folder);
        let text = project.text(&manifest).unwrap_or_default();
        if !text.contains("[lints]\nworkspace = true") {
            findings.push(Finding::new(manifest, "it does not take the workspace's lints"));
        }
    }
    // A crate's own clippy.toml would replace the one at the root instead of adding to it.
    let others = project.files.iter().filter(|file| file.path.ends_with("/clippy.toml"));
    findings.extend(others.map(|file| Finding::new(&file.path, "it replaces the bans of the root's clippy.toml")));
    findings
}

/// How many exemptions from `disallowed-methods` each crate may have, in sources and in tests.
pub(crate) fn exemptions(project: &Project) -> Result<BTreeMap<String, (usize, usize)>, Finding> {
    let text = project.text(FILE).unwrap_or_default();
    let rows = architecture::table(text, &["exempt crate", "in sources", "in tests and examples"])
        .ok_or_else(|| Finding::new(FILE, "there is no table with the column 'exempt crate'"))?;
    let count = |row: &BTreeMap<String, String>, column: &str| row.get(column).and_then(|cell| cell.parse().ok());
    let mut found = BTreeMap::new();
    for row in rows {
        let counts = count(&row, "in sources").zip(count(&row, "in tests and examples"));
        for name in architecture::ticked(&row["exempt crate"]) {
            let counts = counts.ok_or_else(|| Finding::new(FILE, format!("{name}'s exemptions are not numbers")))?;
            found.insert(name, counts);
        }
    }
    Ok(found)
}
