//! The sandbox of a leaf's processes: what its effective permissions make of this machine.

use std::path::{Path, PathBuf};

use wf_ir::Glob;
use wf_ir::node::Node;
use wf_kernel::effect::{LeafRequest, TreeUse};

use super::LocalEffects;
use super::failed::{Failed, failure};
use crate::beneath::Root;
use crate::git::BuildSystem;
use crate::sandbox::{HostRule, Policy};

/// Where a leaf's processes work.
pub(super) struct Room<'a> {
    /// The tree, or the copy of a commit.
    pub(super) tree: &'a Path,
    /// A directory of its own, for its home and its temporary files.
    pub(super) home: &'a Path,
    /// What may be written of the tree; nothing is all of it, because what is written is dropped.
    pub(super) scope: Option<&'a [Glob]>,
}

impl LocalEffects {
    /// The policy of a leaf's processes; nothing where somebody has switched the sandbox off.
    pub(super) fn policy(&self, node: &Node, leaf: &LeafRequest, room: &Room<'_>) -> Result<Option<Policy>, Failed> {
        let Some(host) = &self.sandbox else { return Ok(None) };
        let canonical = |path: &Path| {
            std::fs::canonicalize(path).map_err(|error| failure("spawn", format!("{path:?}: {error}")).retryable(true))
        };
        let tree = canonical(room.tree)?;
        let mut policy = host.policy().reading(&tree).writing(&canonical(room.home)?);
        if let Some(trees) = &self.trees {
            policy = policy.reading(&canonical(trees.repository().common_dir())?);
        }
        for dir in writable(&tree, room.scope)? {
            policy = policy.writing(&dir);
        }
        if matches!(leaf.tree, TreeUse::Branch { .. }) {
            policy = policy.sealing(&tree.join(".git"));
        }
        if let Some(shared) = self.build_cache.as_ref().and_then(|cache| cache.env(&tree).into_values().next()) {
            policy = policy.writing(&canonical(Path::new(&shared))?);
        }
        Ok(Some(policy.reaching(hosts(node)?)))
    }
}

/// The directories of a tree that a scope reaches into, and that of the build system: what is built is no work.
fn writable(tree: &Path, scope: Option<&[Glob]>) -> Result<Vec<PathBuf>, Failed> {
    let Some(scope) = scope else { return Ok(vec![tree.to_owned()]) };
    let mut dirs: Vec<String> = scope.iter().map(|glob| directory_of(glob.as_str())).collect();
    dirs.extend(BuildSystem::detect(tree).map(|system| system.build_dir().to_owned()));
    if dirs.iter().any(String::is_empty) {
        return Ok(vec![tree.to_owned()]);
    }
    let fail = |dir: &str, why: String| failure("write_scope", format!("{dir:?} cannot be written in: {why}"));
    let root = Root::open(tree).map_err(|error| fail(".", error.to_string()))?;
    dirs.sort();
    dirs.dedup();
    let mut made = Vec::with_capacity(dirs.len());
    for dir in dirs {
        root.make_dir(&dir).map_err(|error| fail(&dir, error.to_string()))?;
        made.push(tree.join(dir));
    }
    Ok(made)
}

/// The directory in which everything that a glob matches is.
fn directory_of(glob: &str) -> String {
    let parts: Vec<&str> = glob.split('/').collect();
    let is_plain = |part: &&&str| !part.contains(['*', '?', '[', ']', '{', '}', '\\', '!']);
    let plain = parts[..parts.len() - 1].iter().take_while(is_plain).count();
    parts[..plain].join("/")
}

/// Whom a leaf may reach.
pub(super) fn hosts(node: &Node) -> Result<Vec<HostRule>, Failed> {
    let named = node.permissions.network.as_deref().unwrap_or_default();
    let rules: Result<Vec<_>, _> = named.iter().map(|host| HostRule::parse(host)).collect();
    rules.map_err(|error| failure("permission", format!("`permissions.network`: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_lies_in_a_directory() {
        let cases = [
            ("src/**", "src"),
            ("src/a.rs", "src"),
            ("Cargo.toml", ""),
            ("**", ""),
            ("*/a/b", ""),
            ("a/b/*.rs", "a/b"),
            ("a/{b,c}/d", "a"),
        ];
        for (glob, dir) in cases {
            assert_eq!(directory_of(glob), dir, "{glob}");
        }
    }
}
