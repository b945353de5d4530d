//! What is longer than a reader likes. Shown, not failed: some things are long.

use super::{Finding, Project};

/// Lines of a function.
pub const FUNCTION_LINES_MAX: usize = 70;
/// Lines of a file, tests aside.
pub const FILE_LINES_MAX: usize = 800;

/// Functions and files outside tests that are longer.
pub(crate) fn long(project: &Project) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in project.files.iter().filter(|file| file.is_source()) {
        let Some(rust) = &file.rust else { continue };
        for function in rust.functions() {
            if function.lines > FUNCTION_LINES_MAX {
                let message = format!("{} has {} lines", function.name, function.lines);
                found.push(Finding::at(&file.path, function.line, message));
            }
        }
        let tests: usize = rust.tests.iter().map(|range| file.text[range.clone()].lines().count()).sum();
        let lines = file.text.lines().count().saturating_sub(tests);
        if lines > FILE_LINES_MAX {
            found.push(Finding::new(&file.path, format!("it has {lines} lines outside tests")));
        }
    }
    found
}
