//! What the rules look at: the workspace's crates and its text files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context;

use super::graph::{self, Graph};
use crate::rust_text::RustText;
use crate::workspace;

/// Larger files are not text that anyone wrote.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A workspace, as the rules see it.
#[derive(Debug, Default)]
pub struct Project {
    /// Its crates.
    pub graph: Graph,
    /// Its text files, in order of path.
    pub files: Vec<SourceFile>,
}

/// One text file.
#[derive(Debug)]
pub struct SourceFile {
    /// Its path from the workspace's root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its text taken apart, if it is Rust of one of the crates.
    pub rust: Option<RustText>,
    /// Whether it is a test as a whole.
    pub is_test: bool,
}

impl SourceFile {
    /// The crate whose folder it is in.
    pub fn krate(&self) -> &str {
        let mut parts = self.path.split('/');
        match parts.next() {
            Some("crates") => parts.next().unwrap_or_default(),
            Some("xtask") => "xtask",
            _ => "",
        }
    }

    /// Whether it is Rust of one of the crates.
    pub fn is_rust(&self) -> bool {
        self.rust.is_some()
    }

    /// Whether it is in the `src` folder of a crate, and no test.
    pub fn is_source(&self) -> bool {
        self.is_rust() && !self.is_test && self.path.split('/').any(|part| part == "src")
    }
}

impl Project {
    /// A project of these files, given as path and text, and these crates.
    pub fn new(graph: Graph, files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut files: Vec<SourceFile> = files.into_iter().map(|(path, text)| source_file(path, text)).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        mark_test_modules(&mut files);
        Self { graph, files }
    }

    /// Reads the workspace at `root`.
    ///
    /// # Errors
    /// When cargo cannot describe it, or a file cannot be read.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for path in paths(root)? {
            let full = root.join(&path);
            let is_file = fs::symlink_metadata(&full).is_ok_and(|it| it.is_file() && it.len() <= FILE_BYTES_MAX);
            if !is_file {
                continue;
            }
            let bytes = fs::read(&full).with_context(|| format!("cannot read {path}"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.push((path, text));
            }
        }
        Ok(Self::new(read_graph(root)?, files))
    }

    /// The text of a file, if it is there.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }
}

fn source_file(path: String, text: String) -> SourceFile {
    // A workflow's fixtures may be Rust too, and are no part of the program.
    let is_ours = path.starts_with("crates/") || path.starts_with("xtask/");
    let rust = (is_ours && path.ends_with(".rs")).then(|| RustText::new(&text));
    let mut folders = path.split('/').rev().skip(1);
    let is_test = folders.any(|part| matches!(part, "tests" | "benches"));
    SourceFile { path, text, rust, is_test }
}

/// A module that its parent declares for tests only is a test as a whole, with all below it.
fn mark_test_modules(files: &mut [SourceFile]) {
    let mut prefixes = Vec::new();
    for file in files.iter() {
        let Some((folder, name)) = file.path.rsplit_once('/') else { continue };
        let stem = name.trim_end_matches(".rs");
        let below = match stem {
            "lib" | "main" | "mod" => folder.to_owned(),
            _ => format!("{folder}/{stem}"),
        };
        for module in file.rust.iter().flat_map(|rust| &rust.test_modules) {
            prefixes.push(format!("{below}/{module}.rs"));
            prefixes.push(format!("{below}/{module}/"));
        }
    }
    for file in files {
        file.is_test |= prefixes.iter().any(|prefix| file.path.starts_with(prefix));
    }
}

fn read_graph(root: &Path) -> anyhow::Result<Graph> {
    // Without a platform, cargo would want the crates of all others, which are not there.
    let rustc = workspace::variable("RUSTC").unwrap_or_else(|| "rustc".to_owned());
    let version = workspace::output(workspace::command(root, &rustc).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let args = ["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", host];
    graph::parse(&workspace::output(workspace::cargo(root).args(args))?)
}

/// The files that git tracks or would; where there is no git, all but build output.
fn paths(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    if let Ok(listed) = workspace::output(workspace::command(root, "git").args(args))
        && listed.contains("Cargo.toml\0")
    {
        return Ok(listed.split_terminator('\0').map(str::to_owned).collect());
    }
    let mut found = BTreeSet::new();
    walk(root, "", &mut found)?;
    Ok(found)
}

fn walk(root: &Path, below: &str, found: &mut BTreeSet<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(root.join(below)).with_context(|| format!("cannot list {below:?}"))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() && !matches!(path.as_str(), "target" | ".git") {
            walk(root, &path, found)?;
        } else if kind.is_file() {
            found.insert(path);
        }
    }
    Ok(())
}
