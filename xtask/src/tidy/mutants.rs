//! The planted defects can still be planted, and their table says what they say.

use crate::mutants::{DIR, Mutant, TABLE, table};

use super::{Finding, Project};

/// Every patch says what it is and fits the sources; the table is that of the patches.
pub(crate) fn fit(project: &Project) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut mutants = Vec::new();
    for file in &project.files {
        let name = file.path.strip_prefix(DIR).and_then(|rest| rest.strip_prefix('/'));
        let Some(name) = name.and_then(|name| name.strip_suffix(".patch")) else { continue };
        match Mutant::parse(name, &file.text) {
            Ok(mutant) => mutants.push(mutant),
            Err(why) => findings.push(Finding::new(&file.path, why)),
        }
        findings.extend(misfits(project, &file.text).into_iter().map(|why| Finding::new(&file.path, why)));
    }
    if !mutants.is_empty() && project.text(TABLE) != Some(&table(&mutants)) {
        findings.push(Finding::new(TABLE, "it does not say what the patches say; `cargo xtask mutants --table` does"));
    }
    findings
}

/// Which parts of a patch do not fit, and where they were to go.
fn misfits(project: &Project, patch: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut hunks = 0;
    let mut lines = patch.lines().peekable();
    let mut path = "";
    while let Some(line) = lines.next() {
        if let Some(to) = line.strip_prefix("+++ b/") {
            path = to;
        }
        if !line.starts_with("@@ ") {
            continue;
        }
        hunks += 1;
        let mut old = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with([' ', '-', '+']) || line.is_empty()) {
            match line.strip_prefix('+') {
                Some(_) => {}
                None => old.push(line.get(1..).unwrap_or_default()),
            }
        }
        let text: Vec<&str> = project.text(path).unwrap_or_default().lines().collect();
        if !text.windows(old.len().max(1)).any(|window| window == old) {
            found.push(format!("it does not fit {path} any more: {}", old.first().unwrap_or(&"").trim()));
        }
    }
    if hunks == 0 {
        found.push("it changes nothing".to_owned());
    }
    found
}
