//! The project holds to its own rules, and each rule can fail.

mod rules;

use std::path::Path;

use xtask::tidy::{Project, check};

#[test]
fn the_project_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let project = Project::read(root).unwrap();
    assert!(project.graph.len() >= 10, "only {} crates were seen", project.graph.len());
    let sources = project.files.iter().filter(|file| file.is_source()).count();
    assert!(sources >= 100, "only {sources} sources were seen");
    let findings: Vec<String> = check(&project).iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}
