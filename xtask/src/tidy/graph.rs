//! The crates of the workspace and what they depend on, from cargo's metadata.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use serde::Deserialize;

/// The crates of the workspace, by name.
pub type Graph = BTreeMap<String, Crate>;

/// What one crate of the workspace depends on, tests and examples aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crate {
    /// Its folder, from the workspace's root.
    pub folder: String,
    /// Crates of the workspace.
    pub internal: BTreeSet<String>,
    /// Crates from elsewhere.
    pub external: BTreeSet<String>,
    /// Every crate that these bring with them, and they themselves.
    pub tree: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    workspace_root: String,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<NodeDep>,
}

#[derive(Deserialize)]
struct NodeDep {
    pkg: String,
    dep_kinds: Vec<DepKind>,
}

#[derive(Deserialize)]
struct DepKind {
    kind: Option<String>,
}

/// Reads what `cargo metadata --format-version 1` prints.
///
/// # Errors
/// When it is not that.
pub(super) fn parse(text: &str) -> anyhow::Result<Graph> {
    let metadata: Metadata = serde_json::from_str(text).context("cargo's metadata have another form")?;
    let is_member = |id: &String| metadata.workspace_members.contains(id);
    let members: Vec<&Package> = metadata.packages.iter().filter(|package| is_member(&package.id)).collect();
    let member_names: BTreeSet<&str> = members.iter().map(|package| package.name.as_str()).collect();
    let graph = members.iter().map(|package| {
        let counts = |it: &&Dependency| it.kind.as_deref() != Some("dev");
        let direct = package.dependencies.iter().filter(counts).map(|it| it.name.clone());
        let (internal, external) = direct.partition(|name| member_names.contains(name.as_str()));
        let folder = folder(&package.manifest_path, &metadata.workspace_root);
        (package.name.clone(), Crate { folder, internal, external, tree: tree(&metadata, &package.id) })
    });
    Ok(graph.collect())
}

fn folder(manifest: &str, root: &str) -> String {
    let inside = manifest.strip_prefix(root).unwrap_or(manifest);
    inside
        .trim_start_matches(['/', '\\'])
        .trim_end_matches("Cargo.toml")
        .trim_end_matches(['/', '\\'])
        .replace('\\', "/")
}

fn tree(metadata: &Metadata, root: &str) -> BTreeSet<String> {
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let names: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
    let (mut seen, mut todo) = (BTreeSet::new(), vec![root]);
    while let Some(id) = todo.pop() {
        let deps = nodes.get(id).map_or(&[][..], |node| &node.deps);
        let linked =
            deps.iter().filter(|dep| dep.dep_kinds.is_empty() || dep.dep_kinds.iter().any(|it| it.kind.is_none()));
        todo.extend(linked.map(|dep| dep.pkg.as_str()).filter(|pkg| seen.insert(*pkg)));
    }
    seen.into_iter().filter_map(|id| names.get(id).map(|name| (*name).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    const METADATA: &str = r#"{
        "workspace_root": "/there", "workspace_members": ["a#1", "b#1"],
        "packages": [
            {"id": "a#1", "name": "a", "manifest_path": "/there/crates/a/Cargo.toml", "dependencies": [
                {"name": "b", "kind": null}, {"name": "x", "kind": "build"}, {"name": "y", "kind": "dev"}]},
            {"id": "b#1", "name": "b", "manifest_path": "/there/crates/b/Cargo.toml", "dependencies": [
                {"name": "z", "kind": null}]},
            {"id": "x#1", "name": "x", "manifest_path": "/else/x/Cargo.toml", "dependencies": []},
            {"id": "y#1", "name": "y", "manifest_path": "/else/y/Cargo.toml", "dependencies": []},
            {"id": "z#1", "name": "z", "manifest_path": "/else/z/Cargo.toml", "dependencies": []}],
        "resolve": {"nodes": [
            {"id": "a#1", "deps": [
                {"pkg": "b#1", "dep_kinds": [{"kind": null}]}, {"pkg": "y#1", "dep_kinds": [{"kind": "dev"}]}]},
            {"id": "b#1", "deps": [{"pkg": "z#1", "dep_kinds": [{"kind": null}, {"kind": "dev"}]}]},
            {"id": "z#1", "deps": [{"pkg": "b#1", "dep_kinds": [{"kind": null}]}]}]}
    }"#;

    #[test]
    fn what_only_tests_need_is_no_dependency() {
        let graph = parse(METADATA).unwrap();
        assert_eq!(graph.keys().collect::<Vec<_>>(), ["a", "b"]);
        let a = &graph["a"];
        assert_eq!(a.folder, "crates/a");
        assert_eq!(format!("{:?} {:?} {:?}", a.internal, a.external, a.tree), r#"{"b"} {"x"} {"b", "z"}"#);
    }

    #[test]
    fn something_else_is_refused() {
        assert_eq!(parse("{}").unwrap_err().to_string(), "cargo's metadata have another form");
    }
}
