//! `cargo xtask schema`: rewrites the generated files.
//!
//! The crate that owns a generated file has a test that compares it with what it should be. It is rewritten by that same
//! test when that is told to, or by a hidden verb of the binary that prints it.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::workspace::{cargo, output};

/// A generated file.
struct Generated {
    file: &'static str,
    by: By,
}

/// What writes it.
enum By {
    /// A test, when it is told to.
    Test { package: &'static str, program: &'static [&'static str], name: &'static str },
    /// The binary prints it.
    Verb(&'static str),
}

/// Every generated file.
const GENERATED: [Generated; 3] = [
    Generated {
        file: "schema/workflow.schema.json",
        by: By::Test {
            package: "wf-ir",
            program: &["--test", "validate"],
            name: "schema::the_schema_in_the_repository_is_the_one_of_the_table",
        },
    },
    Generated {
        file: "schema/view.schema.json",
        by: By::Test { package: "wf-view", program: &["--lib"], name: "schema::tests::schema_is_the_golden_file" },
    },
    Generated { file: "docs/cli.md", by: By::Verb("reference") },
];

/// Rewrites them and says which changed.
///
/// # Errors
/// When what should write one cannot be run, or writes nothing.
pub fn run(root: &Path) -> anyhow::Result<bool> {
    for generated in &GENERATED {
        let path = root.join(generated.file);
        let before = fs::read_to_string(&path).unwrap_or_default();
        generated.by.write(root, &path).with_context(|| format!("{} was not written", generated.file))?;
        let changed = fs::read_to_string(&path)? != before;
        println!("{}: {}", generated.file, if changed { "changed" } else { "as it was" });
    }
    Ok(true)
}

impl By {
    fn write(&self, root: &Path, path: &Path) -> anyhow::Result<()> {
        let mut command = cargo(root);
        match self {
            Self::Test { package, program, name } => {
                command.args(["test", "--quiet", "--locked", "--package", package]).args(*program);
                let said = output(command.args(["--", "--exact", name]).env("UPDATE_EXPECT", "1"))?;
                ensure!(said.contains("1 passed"), "the test {name} of {package} did not run");
            }
            Self::Verb(verb) => {
                command.args(["run", "--quiet", "--locked", "--package", "wf-cli", "--bin", "whaleflow", "--", verb]);
                let text = output(&mut command)?;
                ensure!(!text.trim().is_empty(), "`whaleflow {verb}` printed nothing");
                fs::write(path, text)?;
            }
        }
        Ok(())
    }
}
