//! `cargo xtask mutants`: plants defects, one at a time, and sees each caught.
//!
//! A mutant is a patch in `xtask/mutants` whose first lines say what it breaks and which test must catch it. It is planted
//! in a copy of the sources with build output of its own. The test must pass there without the defect, and fail with it.
//! A test that lets a defect pass is a defect itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::workspace::{cargo, command, output};

/// Where the patches are.
pub(crate) const DIR: &str = "xtask/mutants";
/// The table of all, which is written from them.
pub(crate) const TABLE: &str = "docs/mutants.md";
/// The argument that writes it.
const WRITE_TABLE: &str = "--table";
/// Where they are planted.
const PLOT: &str = "target/mutants";

/// A planted defect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// Its name: that of the file.
    pub name: String,
    /// What it breaks.
    pub breaks: String,
    /// The arguments of `cargo test` that catch it, and variables before them.
    pub caught_by: String,
    /// What the test said when it did.
    pub said: String,
}

impl Mutant {
    /// Reads the first lines of a patch: `Breaks:`, `Caught by:`, `Said:`.
    ///
    /// # Errors
    /// Which line is missing.
    pub fn parse(name: &str, patch: &str) -> Result<Self, String> {
        let field = |key: &str| {
            let header = patch.lines().take_while(|line| !line.starts_with("diff "));
            let value = header.filter_map(|line| line.strip_prefix(key)).map(str::trim).next();
            value.filter(|value| !value.is_empty()).map(str::to_owned).ok_or_else(|| format!("it has no line {key:?}"))
        };
        let caught_by = field("Caught by:")?;
        if !caught_by.split_whitespace().any(|word| word == "-p") {
            return Err("what catches it names no package".to_owned());
        }
        Ok(Self { name: name.to_owned(), breaks: field("Breaks:")?, caught_by, said: field("Said:")? })
    }

    /// `test -p …` as cargo is to be called, and the variables before it.
    fn call(&self) -> (Vec<(&str, &str)>, Vec<&str>) {
        let mut words = self.caught_by.split_whitespace().peekable();
        let mut variables = Vec::new();
        while let Some((name, value)) = words.peek().and_then(|word| word.split_once('=')) {
            variables.push((name, value));
            words.next();
        }
        (variables, words.collect())
    }
}

/// Writes the table, or plants the mutants with these names, or all; whether all were caught.
///
/// # Errors
/// As `plant`.
pub fn run(root: &Path, names: &[&str]) -> anyhow::Result<bool> {
    if names == [WRITE_TABLE] {
        fs::write(root.join(TABLE), table(&read(root)?))?;
        return Ok(true);
    }
    let (caught, missed) = plant(root, names)?;
    println!("{caught} of {} mutants were caught", caught + missed.len());
    missed.iter().for_each(|name| println!("missed: {name}"));
    Ok(missed.is_empty())
}

/// Plants the mutants with these names, or all, and says of each whether it was caught. Gives how many were, and the
/// names of the others.
///
/// # Errors
/// When a patch cannot be read, the sources cannot be copied, or cargo cannot be run.
pub(crate) fn plant(root: &Path, names: &[&str]) -> anyhow::Result<(usize, Vec<String>)> {
    let all = read(root)?;
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|mutant| mutant.name != **name)) {
        bail!("there is no mutant {unknown:?} in {DIR}");
    }
    let wanted: Vec<&Mutant> =
        all.iter().filter(|mutant| names.is_empty() || names.contains(&mutant.name.as_str())).collect();
    let plot = Plot { root, dir: root.join(PLOT).join("tree") };
    plot.copy()?;
    let mut sound: BTreeMap<&str, bool> = BTreeMap::new();
    let mut missed = Vec::new();
    for mutant in &wanted {
        if !sound.contains_key(mutant.caught_by.as_str()) {
            println!("== without a defect: {}", mutant.caught_by);
            let is_sound = matches!(plot.test(mutant)?, Tested::Passed);
            sound.insert(&mutant.caught_by, is_sound);
        }
        println!("== {}: {}", mutant.name, mutant.breaks);
        let tested = plot.planted(mutant, || plot.test(mutant))?;
        let verdict = match (sound[mutant.caught_by.as_str()], tested) {
            (true, Tested::Failed) => "caught",
            (true, Tested::Passed) => "NOT CAUGHT",
            (true, Tested::DoesNotBuild) => "not known: it does not build",
            (false, _) => "not known: the test fails without it",
        };
        println!("{}: {verdict} by {}", mutant.name, mutant.caught_by);
        if verdict != "caught" {
            missed.push(mutant.name.clone());
        }
    }
    Ok((wanted.len() - missed.len(), missed))
}

/// The table of all mutants, as it stands in the documentation.
pub(crate) fn table(mutants: &[Mutant]) -> String {
    let mut text = "\
# Planted defects

`cargo xtask mutants` plants these defects, all or those that are named, in a copy of the sources, and sees that the test
beside each fails; `cargo xtask test --long` does so too. A test that lets a defect pass is a defect itself. Where the
last column has a `?`, nobody has yet written down what the test said.

The patches are in `xtask/mutants`, and this table is written from their first lines by `cargo xtask mutants --table`.
`cargo xtask tidy` holds both against the sources: a patch that no longer fits is to be made anew, not removed.

| defect | what it breaks | caught by `cargo …` | what that said |
|---|---|---|---|
"
    .to_owned();
    for Mutant { name, breaks, caught_by, said } in mutants {
        text.push_str(&format!("| `{name}` | {breaks} | `{caught_by}` | {said} |\n"));
    }
    text
}

/// All mutants, in order of name.
fn read(root: &Path) -> anyhow::Result<Vec<Mutant>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(DIR)).with_context(|| format!("cannot list {DIR}"))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.extension().is_some_and(|it| it == "patch") {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            found.push(Mutant::parse(&name, &text).map_err(|why| anyhow::anyhow!("{name}: {why}"))?);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// What came of a test in the copy of the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tested {
    Passed,
    Failed,
    /// A defect that does not compile is none.
    DoesNotBuild,
}

/// Lines of a test's output that say why it failed.
const WHY_LINES_MAX: usize = 12;

/// The copy of the sources in which defects are planted.
struct Plot<'a> {
    root: &'a Path,
    dir: PathBuf,
}

impl Plot<'_> {
    /// Makes the copy what the sources are now. A file that is the same is left alone, so that little is built again.
    fn copy(&self) -> anyhow::Result<()> {
        let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let listed = output(command(self.root, "git").args(args))?;
        let wanted: Vec<&str> = listed.split_terminator('\0').collect();
        for path in &wanted {
            let (from, to) = (self.root.join(path), self.dir.join(path));
            let Ok(bytes) = fs::read(&from) else { continue };
            if fs::read(&to).ok().as_ref() != Some(&bytes) {
                fs::create_dir_all(to.parent().unwrap_or(&to))?;
                fs::copy(&from, &to).with_context(|| format!("cannot copy {path}"))?;
            }
        }
        // What is no longer there must not be built.
        for path in files_below(&self.dir, Path::new(""))? {
            let name = path.to_string_lossy();
            if !wanted.contains(&&*name) || !self.root.join(&path).exists() {
                fs::remove_file(self.dir.join(&path))?;
            }
        }
        Ok(())
    }

    /// Does something while a defect is planted.
    fn planted<T>(&self, mutant: &Mutant, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let patch = self.root.join(DIR).join(format!("{}.patch", mutant.name));
        output(self.git().arg("apply").arg(&patch))?;
        let done = work();
        output(self.git().args(["apply", "--reverse"]).arg(&patch))?;
        done
    }

    /// Git in the copy, which it must not take for a part of the repository around it.
    fn git(&self) -> Command {
        let mut git = command(&self.dir, "git");
        git.env("GIT_CEILING_DIRECTORIES", self.dir.parent().unwrap_or(&self.dir));
        git
    }

    /// Runs the test that catches a mutant, and shows why it failed.
    fn test(&self, mutant: &Mutant) -> anyhow::Result<Tested> {
        let (variables, args) = mutant.call();
        let target = self.root.join(PLOT).join("build");
        let call = |args: &[&str]| {
            let mut cargo = cargo(&self.dir);
            cargo.env("CARGO_TARGET_DIR", &target).env_remove("CARGO_MANIFEST_DIR");
            // What is shown of a failure is what the test says, and not where it stood.
            cargo.env("RUST_BACKTRACE", "0").envs(variables.iter().copied());
            cargo.args(args);
            cargo
        };
        let mut build: Vec<&str> = args.iter().copied().take_while(|arg| *arg != "--").collect();
        build.push("--no-run");
        if let Err(error) = output(&mut call(&build)) {
            println!("    {error:#}");
            return Ok(Tested::DoesNotBuild);
        }
        let ran = call(&args).output().context("cannot run cargo")?;
        let text = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
        if ran.status.success() {
            if !text.lines().any(|line| line.contains(" passed") && !line.contains(" 0 passed")) {
                bail!("no test ran: {}", mutant.caught_by);
            }
            return Ok(Tested::Passed);
        }
        for line in why(&text) {
            println!("    {line}");
        }
        Ok(Tested::Failed)
    }
}

/// The lines that say which tests failed, and the first ones that say why.
fn why(text: &str) -> Vec<&str> {
    let failed = text.lines().filter(|line| line.starts_with("test ") && line.ends_with("FAILED"));
    let said = text.lines().skip_while(|line| !line.contains("panicked at")).take(WHY_LINES_MAX);
    failed.chain(said).collect()
}

/// The files below a directory, as paths from it.
fn files_below(root: &Path, below: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => found.extend(files_below(root, &path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_what_it_breaks_and_what_catches_it() {
        let text =
            "Breaks: the law\nCaught by: A=1 B=x=y test -p a --lib -- --exact b\nSaid: no\n\ndiff --git a/x b/x\n";
        let mutant = Mutant::parse("it", text).unwrap();
        assert_eq!((mutant.breaks.as_str(), mutant.said.as_str()), ("the law", "no"));
        let (variables, args) = mutant.call();
        assert_eq!(variables, [("A", "1"), ("B", "x=y")]);
        assert_eq!(args, ["test", "-p", "a", "--lib", "--", "--exact", "b"]);
    }

    #[test]
    fn why_a_test_failed_is_what_it_said_first() {
        let text = "test a ... ok\ntest b ... FAILED\n\nthread 'b' panicked at b.rs:1:1:\nit broke\n";
        assert_eq!(why(text), ["test b ... FAILED", "thread 'b' panicked at b.rs:1:1:", "it broke"]);
        assert_eq!(why("test a ... ok\n"), [""; 0]);
    }

    #[test]
    fn what_a_patch_does_not_say_is_named() {
        let parse = |text: &str| Mutant::parse("it", text).unwrap_err();
        assert_eq!(parse("Breaks: a\nSaid: b\n"), "it has no line \"Caught by:\"");
        assert_eq!(parse("Caught by: test\nSaid: b\nBreaks: a\n"), "what catches it names no package");
        assert_eq!(parse("Caught by: test -p a\nSaid: b\ndiff \nBreaks: a\n"), "it has no line \"Breaks:\"");
    }
}
