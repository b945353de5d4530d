//! `cargo xtask schema`: rewrites the generated files.
//!
//! The crate that owns a generated file has a test that compares it; the same test rewrites it when it is told to.

use std::path::Path;

use anyhow::bail;

use crate::workspace::{cargo, output};

/// A generated file, and the test that holds it.
struct Generated {
    file: &'static str,
    package: &'static str,
    /// The test program: arguments of `cargo test`.
    program: &'static [&'static str],
    test: &'static str,
}

/// Every generated file.
const GENERATED: [Generated; 2] = [
    Generated {
        file: "schema/workflow.schema.json",
        package: "wf-ir",
        program: &["--test", "validate"],
        test: "schema::the_schema_in_the_repository_is_the_one_of_the_table",
    },
    Generated {
        file: "schema/view.schema.json",
        package: "wf-view",
        program: &["--lib"],
        test: "schema::tests::schema_is_the_golden_file",
    },
];

/// Rewrites them and says which changed.
///
/// # Errors
/// When a test that should write one cannot be run, or does not run.
pub fn run(root: &Path) -> anyhow::Result<bool> {
    for generated in &GENERATED {
        let path = root.join(generated.file);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let mut command = cargo(root);
        command.args(["test", "--quiet", "--locked", "--package", generated.package]).args(generated.program);
        let said = output(command.args(["--", "--exact", generated.test]).env("UPDATE_EXPECT", "1"))?;
        if !said.contains("1 passed") {
            bail!("the test {} of {}, which writes {}, did not run", generated.test, generated.package, generated.file);
        }
        let changed = std::fs::read_to_string(&path)? != before;
        println!("{}: {}", generated.file, if changed { "changed" } else { "as it was" });
    }
    Ok(true)
}
