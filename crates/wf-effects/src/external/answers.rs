//! What an agent that asks is answered: whether it may use a tool, and files of its tree. The answers are those that the
//! leaf's permissions give the native agent; the sandbox and the checkpoint hold whoever does not ask.

use std::path::Path;

use serde_json::{Value, json};

use super::May;
use crate::agent::files::Tree;

/// An answer that says no, as the protocol wants it.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: i64,
    pub(super) message: String,
}

/// A parameter is missing, or not as it should be.
const INVALID_PARAMS: i64 = -32_602;
/// It was understood, and is not done.
const INTERNAL: i64 = -32_603;
/// There is no such method.
pub(super) const NO_METHOD: i64 = -32_601;

pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal { code: INVALID_PARAMS, message: message.into() }
}

fn refused(message: impl Into<String>) -> Refusal {
    Refusal { code: INTERNAL, message: message.into() }
}

/// What a tool call does, and where.
pub(super) struct Deed<'a> {
    /// The protocol's word.
    pub(super) kind: &'a str,
    /// Files that it touches.
    pub(super) locations: Vec<&'a str>,
}

/// Whether a tool call is permitted; if not, why.
pub(super) fn permits(deed: &Deed<'_>, may: &May, tree: &Tree) -> Result<(), String> {
    let named = |names: &[&str]| match may.uses(names) {
        true => Ok(()),
        false => Err(format!("`{}` is not among the tools that may be used here", names[0])),
    };
    let inside = || deed.locations.iter().map(|path| (*path, relative(tree, path)));
    match deed.kind {
        "read" => {
            named(&["read"])?;
            match inside().find(|(_, inner)| inner.as_deref().is_some_and(|inner| !tree.scope().may_read(inner))) {
                Some((path, _)) => Err(format!("{path} is outside of what may be read here")),
                None => Ok(()),
            }
        }
        "search" => named(&["grep", "glob"]),
        "edit" | "delete" | "move" => {
            named(&["edit", "write"])?;
            if !tree.is_writable() {
                return Err("nothing may be written here".to_owned());
            }
            match inside().find(|(_, inner)| inner.as_deref().is_none_or(|inner| !tree.may_write(inner))) {
                Some((path, _)) => Err(format!("{path} is outside of what may be written here")),
                None => Ok(()),
            }
        }
        "fetch" if !may.fetch => Err("nobody may be reached from here".to_owned()),
        "fetch" | "think" => Ok(()),
        "switch_mode" => Err("how it works was chosen for it".to_owned()),
        // What is not known may be anything, as a command may.
        _ => named(&["bash"]),
    }
}

/// The option that a permission is answered with, and whether that allows it. What would be remembered is never chosen.
pub(super) fn choose(options: &Value, is_permitted: bool) -> (Value, bool) {
    let of_kind = |kind: &str| {
        let all = options.as_array().into_iter().flatten();
        let found = all.filter(|option| option["kind"] == kind).find_map(|option| option["optionId"].as_str());
        found.map(|id| json!({"outcome": {"outcome": "selected", "optionId": id}}))
    };
    match of_kind("allow_once").filter(|_| is_permitted) {
        Some(allowed) => (allowed, true),
        None => (of_kind("reject_once").unwrap_or_else(cancelled), false),
    }
}

/// The answer to who asks while it is being ended.
pub(super) fn cancelled() -> Value {
    json!({"outcome": {"outcome": "cancelled"}})
}

/// The text of a file, or some lines of it.
pub(super) fn read_file(params: &Value, tree: &mut Tree, may: &May) -> Result<Value, Refusal> {
    let path = path_of(params, tree)?;
    if !may.uses(&["read"]) {
        return Err(refused("`read` is not among the tools that may be used here"));
    }
    let number = |name: &str| match &params[name] {
        Value::Null => Ok(None),
        number => number.as_u64().map(Some).ok_or_else(|| invalid(format!("`{name}` is no number"))),
    };
    let (line, limit) = (number("line")?, number("limit")?);
    let text = tree.text(&path).map_err(refused)?;
    let content = match (line, limit) {
        (None, None) => text,
        (line, limit) => {
            let skipped = usize::try_from(line.unwrap_or(1).max(1) - 1).unwrap_or(usize::MAX);
            let count = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
            text.split_inclusive('\n').skip(skipped).take(count).collect()
        }
    };
    Ok(json!({"content": content}))
}

/// Writes a file.
pub(super) fn write_file(params: &Value, tree: &mut Tree, may: &May) -> Result<String, Refusal> {
    let path = path_of(params, tree)?;
    if !may.uses(&["write", "edit"]) {
        return Err(refused("`write` is not among the tools that may be used here"));
    }
    let content = params["content"].as_str().ok_or_else(|| invalid("`content` is no text"))?;
    tree.replace(&path, content).map_err(refused)?;
    Ok(path)
}

fn path_of(params: &Value, tree: &Tree) -> Result<String, Refusal> {
    let path = params["path"].as_str().ok_or_else(|| invalid("`path` is no text"))?;
    relative(tree, path).ok_or_else(|| refused(format!("{path}: it is outside of the tree")))
}

/// A path as the tree names it. That it leads nowhere else is seen to when it is opened.
fn relative(tree: &Tree, path: &str) -> Option<String> {
    let path = Path::new(path);
    let inner = if path.is_absolute() { path.strip_prefix(tree.scope().dir()).ok()? } else { path };
    let goes_up = inner.components().any(|part| part == std::path::Component::ParentDir);
    inner.to_str().filter(|_| !goes_up).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use wf_ir::Glob;

    use super::*;

    fn tree(dir: &Path, writes: &[&str]) -> Tree {
        let globs = |globs: &[&str]| globs.iter().map(|glob| Glob::parse(glob).unwrap()).collect();
        Tree::open(dir.to_owned(), Vec::new(), globs(writes)).unwrap()
    }

    #[test]
    fn a_tool_is_permitted_as_the_leaf_may() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let (inside, outside, above) = (at("src/a.rs"), at("docs/a"), at("src/../../x"));
        let all = May::default();
        let some = May { tools: Some(vec!["read".to_owned(), "bash".to_owned()]), fetch: true };
        let cases: [(&str, &[&str], &May, bool); 18] = [
            ("read", &[&outside], &all, true),
            ("search", &[], &all, true),
            ("search", &[], &some, false),
            ("edit", &[&inside], &all, true),
            ("edit", &[], &all, true),
            ("edit", &["src/a.rs"], &all, true),
            ("edit", &[&inside, &outside], &all, false),
            ("edit", &["/etc/passwd"], &all, false),
            ("edit", &[&above], &all, false),
            ("edit", &[&inside], &some, false),
            ("delete", &[&inside], &all, true),
            ("move", &[&outside], &all, false),
            ("execute", &[], &all, true),
            ("execute", &[], &some, true),
            ("fetch", &[], &all, false),
            ("fetch", &[], &some, true),
            ("switch_mode", &[], &all, false),
            ("other", &[], &May { tools: Some(vec!["read".to_owned()]), fetch: false }, false),
        ];
        let tree = tree(dir.path(), &["src/**"]);
        for (kind, locations, may, expected) in cases {
            let deed = Deed { kind, locations: locations.to_vec() };
            let answer = permits(&deed, may, &tree);
            assert_eq!(answer.is_ok(), expected, "{kind} {locations:?}: {answer:?}");
        }
        let read_only = self::tree(dir.path(), &[]);
        let deed = Deed { kind: "edit", locations: vec![] };
        assert_eq!(permits(&deed, &all, &read_only), Err("nothing may be written here".to_owned()));
    }

    #[test]
    fn nothing_is_chosen_that_would_be_remembered() {
        let all = json!([
            {"optionId": "a", "kind": "allow_always"}, {"optionId": "b", "kind": "allow_once"},
            {"optionId": "c", "kind": "reject_always"}, {"optionId": "d", "kind": "reject_once"},
        ]);
        let picked = |options: &Value, is_permitted| {
            let (answer, is_allowed) = choose(options, is_permitted);
            (answer["outcome"]["optionId"].as_str().unwrap_or("-").to_owned(), is_allowed)
        };
        assert_eq!(picked(&all, true), ("b".to_owned(), true));
        assert_eq!(picked(&all, false), ("d".to_owned(), false));
        let always = json!([{"optionId": "a", "kind": "allow_always"}]);
        assert_eq!(picked(&always, true), ("-".to_owned(), false));
        assert_eq!(picked(&json!("odd"), true), ("-".to_owned(), false));
    }

    #[test]
    fn files_are_those_of_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(at("a"), "one\ntwo\nthree\n").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", at("link")).unwrap();
        let mut tree = tree(dir.path(), &["src/**"]);
        let may = May::default();
        let mut read = |params: Value| match read_file(&params, &mut tree, &may) {
            Ok(read) => read["content"].as_str().unwrap().to_owned(),
            Err(refusal) => format!("{}", refusal.code),
        };
        assert_eq!(read(json!({"path": at("a")})), "one\ntwo\nthree\n");
        assert_eq!(read(json!({"path": at("a"), "line": 2, "limit": 1})), "two\n");
        assert_eq!(read(json!({"path": at("a"), "line": 0, "limit": 0})), "");
        for path in ["/etc/hostname", &at("link"), &at("../x"), &at(".git/config"), &at("missing")] {
            assert_eq!(read(json!({"path": path})), "-32603", "{path}");
        }
        assert_eq!(read(json!({"path": 7})), "-32602");
        assert_eq!(read(json!({"path": at("a"), "line": "x"})), "-32602");
        let mut write = |path: &str, may: &May| {
            write_file(&json!({"path": path, "content": "x"}), &mut tree, may).map_err(|refusal| refusal.code)
        };
        assert_eq!(write(&at("src/b"), &may), Ok("src/b".to_owned()));
        assert_eq!(write(&at("a"), &may), Err(-32_603));
        assert_eq!(write(&at("src/../a"), &may), Err(-32_603));
        assert_eq!(write(&at("src/b"), &May { tools: Some(vec!["bash".to_owned()]), fetch: false }), Err(-32_603));
        assert_eq!(std::fs::read_to_string(at("src/b")).unwrap(), "x");
    }
}
