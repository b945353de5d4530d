//! The first workflow of a repository: written once, commented, and ready to run.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::project::Project;

/// Where a repository's own workflows are.
const DIR: &str = ".whaleflow/workflows";

const CONFIG: &str = include_str!("starter/config.toml");
const WORKFLOW: &str = include_str!("starter/starter.star");
const WORKFLOW_ALONE: &str = include_str!("starter/alone.star");
const RULES: &str = include_str!("starter/starter.mock.toml");

/// How a repository is tested, as far as a file in it tells.
const TESTS: [(&str, &str); 6] = [
    ("Cargo.toml", r#"["cargo", "test", "--quiet"]"#),
    ("package.json", r#"["npm", "test", "--silent"]"#),
    ("go.mod", r#"["go", "test", "./..."]"#),
    ("pyproject.toml", r#"["python3", "-m", "pytest", "-q"]"#),
    ("build.gradle", r#"["./gradlew", "test"]"#),
    ("Makefile", r#"["make", "test"]"#),
];

/// Files that were written, and files that were there already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// New files.
    pub made: Vec<PathBuf>,
    /// Files that were left as they are.
    pub kept: Vec<PathBuf>,
}

/// Writes a starter workflow into a project. Nothing that exists is changed.
///
/// # Errors
/// When the file system says no.
pub fn init(project: &Project) -> Result<Written, Error> {
    let root = project.root();
    let tests = TESTS.iter().find(|(file, _)| root.join(file).exists()).map_or(r#"["make", "test"]"#, |(_, argv)| argv);
    // Without a commit there is no tree to search in.
    let has_commit = project.common_dir().is_some_and(has_commit);
    let workflow = if has_commit { WORKFLOW } else { WORKFLOW_ALONE };
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    let workflow = workflow.replace("@TESTS@", tests).replace("@NAME@", &quoted(&name));
    let mut written = Written::default();
    let mut put = |path: PathBuf, text: &str| {
        let made = write_new(&path, text)?;
        if made { &mut written.made } else { &mut written.kept }.push(path);
        Ok::<(), Error>(())
    };
    put(root.join(DIR).join("starter.star"), &workflow)?;
    put(root.join(DIR).join("starter.mock.toml"), RULES)?;
    put(root.join(".whaleflow").join("config.toml"), CONFIG)?;
    Ok(written)
}

/// A name inside of a Starlark string and a template.
fn quoted(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ')).collect()
}

fn has_commit(git_dir: &Path) -> bool {
    let head = std::fs::read_to_string(git_dir.join("HEAD")).unwrap_or_default();
    match head.trim().strip_prefix("ref: ") {
        None => !head.trim().is_empty(),
        Some(name) => {
            let packed = std::fs::read_to_string(git_dir.join("packed-refs")).unwrap_or_default();
            git_dir.join(name).exists() || packed.lines().any(|line| line.ends_with(&format!(" {name}")))
        }
    }
}

/// Writes a file that does not exist. Says whether it did.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<bool, Error> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
    }
    match std::fs::File::options().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map(|()| true).map_err(Error::io("write", path)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::io("write", path)(error)),
    }
}
