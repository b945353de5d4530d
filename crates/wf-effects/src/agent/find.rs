//! Finding files by name and by content.

use wf_ir::{Glob, Value};

use super::files::Scope;
use crate::contract::CancelToken;
use crate::search::{Search, search, walk};

/// Most files that one glob shows.
pub const FILES_MAX: usize = 1_000;
/// Most matches that one grep shows.
pub const MATCHES_MAX: u32 = 500;
/// Most entries of a tree that are looked at.
const ENTRIES_MAX: usize = 500_000;

/// The files whose paths match, in their order.
pub fn glob(tree: &Scope, pattern: &str, cancel: &CancelToken) -> Result<String, String> {
    let glob = Glob::parse(pattern).map_err(|error| format!("{pattern:?} is no glob: {error}"))?;
    let mut shown = String::new();
    let mut count = 0;
    for entry in walk(tree.dir()).take(ENTRIES_MAX).flatten() {
        if cancel.is_cancelled() {
            return Err("it was cancelled".to_owned());
        }
        let Some(path) = entry.path().strip_prefix(tree.dir()).ok().and_then(|path| path.to_str()) else { continue };
        if !entry.file_type().is_some_and(|kind| kind.is_file()) || !glob.matches(path) || !tree.may_read(path) {
            continue;
        }
        if count == FILES_MAX {
            shown.push_str(&format!("[more than {FILES_MAX} files match; the rest is not shown]\n"));
            break;
        }
        count += 1;
        shown.push_str(path);
        shown.push('\n');
    }
    Ok(if count == 0 { "[no file matches]".to_owned() } else { shown })
}

/// The lines that match, as `path:line: text`.
pub fn grep(tree: &Scope, pattern: &str, within: Option<&str>, cancel: &CancelToken) -> Result<String, String> {
    let within = within.map(|glob| Glob::parse(glob).map_err(|error| format!("{glob:?} is no glob: {error}")));
    let within: Vec<Glob> = within.transpose()?.into_iter().collect();
    let reads = if within.is_empty() { tree.reads() } else { &within };
    let request = Search { root: tree.dir(), pattern, reads, matches_max: MATCHES_MAX };
    let found = search(&request, cancel).map_err(|error| error.to_string())?;
    let mut shown = String::new();
    for found in found.get("matches").as_list().unwrap_or(&[]) {
        let (path, line) = (found.get("path").as_str().unwrap_or_default(), found.get("line"));
        if tree.may_read(path) {
            let text = found.get("text").as_str().unwrap_or_default();
            shown.push_str(&format!("{path}:{}: {text}\n", line.as_int().unwrap_or(0)));
        }
    }
    if found.get("truncated") == &Value::Bool(true) {
        shown.push_str("[there are more matches, which are not shown]\n");
    }
    Ok(if shown.is_empty() { "[no line matches]".to_owned() } else { shown })
}
