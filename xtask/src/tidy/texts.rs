//! What no tracked text may hold: the paths of somebody's machine, or a registry other than the public one.

use super::{Finding, Project};
use crate::rust_text::line_of;

/// Where machines keep what people build. Put together here, so that this file does not contain them.
const MACHINE_PATHS: [&str; 6] = [
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/tmp", "/wf"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("C:\\Us", "ers"),
];

/// How a cargo, npm or pip is told to ask another host.
const REGISTRIES: [&str; 7] = [
    concat!("replace-", "with"),
    concat!("[sou", "rce."),
    concat!("[regis", "tries"),
    concat!("sparse", "+http"),
    concat!("index-", "url"),
    concat!("_REGIST", "RIES_"),
    concat!("npm_config_", "registry"),
];

/// Where a locked crate comes from.
const PUBLIC_REGISTRY: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

/// No text holds a path of somebody's machine.
pub(crate) fn machine_paths(project: &Project) -> Vec<Finding> {
    contained(project, &MACHINE_PATHS, "it holds a path of somebody's machine")
}

/// No text names a registry; every locked crate comes from the public one.
pub(crate) fn registries(project: &Project) -> Vec<Finding> {
    let mut findings = contained(project, &REGISTRIES, "it names a registry");
    for file in project.files.iter().filter(|file| file.path == "Cargo.lock") {
        for (number, line) in file.text.lines().enumerate() {
            if line.starts_with("source = ") && line != PUBLIC_REGISTRY {
                let message = "a crate comes from elsewhere than the public registry";
                findings.push(Finding::at(&file.path, number + 1, message));
            }
        }
    }
    findings
}

fn contained(project: &Project, needles: &[&str], message: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &project.files {
        for needle in needles {
            let found = file.text.match_indices(needle);
            findings.extend(found.map(|(at, _)| Finding::at(&file.path, line_of(&file.text, at), message)));
        }
    }
    findings
}
