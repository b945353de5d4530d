//! Finding files by name and by content.

use std::ops::ControlFlow;

use wf_ir::{Glob, Value};

use super::files::Scope;
use crate::contract::CancelToken;
use crate::search::{Search, search};

/// Most files that one glob shows.
pub const FILES_MAX: usize = 1_000;
/// Most matches that one grep shows.
pub const MATCHES_MAX: u32 = 500;

/// The files whose paths match, in their order.
pub fn glob(tree: &Scope, pattern: &str, cancel: &CancelToken) -> Result<String, String> {
    let glob = Glob::parse(pattern).map_err(|error| format!("{pattern:?} is no glob: {error}"))?;
    let mut shown = String::new();
    let mut count = 0;
    let walked = tree.root().walk(true, &mut |found| {
        let Some(path) = found.path.to_str().filter(|path| glob.matches(path) && tree.may_read(path)) else {
            return Ok(if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
        };
        if count == FILES_MAX {
            shown.push_str(&format!("[more than {FILES_MAX} files match; the rest is not shown]\n"));
            return Ok(ControlFlow::Break(()));
        }
        count += 1;
        shown.push_str(path);
        shown.push('\n');
        Ok(ControlFlow::Continue(()))
    });
    if cancel.is_cancelled() {
        return Err("it was cancelled".to_owned());
    }
    walked.map_err(|error| format!("the tree cannot be listed: {error}"))?;
    Ok(if count == 0 { "[no file matches]".to_owned() } else { shown })
}

/// The lines that match, as `path:line: text`.
pub fn grep(tree: &Scope, pattern: &str, within: Option<&str>, cancel: &CancelToken) -> Result<String, String> {
    let within = within.map(|glob| Glob::parse(glob).map_err(|error| format!("{glob:?} is no glob: {error}")));
    let within: Vec<Glob> = within.transpose()?.into_iter().collect();
    let reads = if within.is_empty() { tree.reads() } else { &within };
    let request = Search { root: tree.root(), pattern, reads, matches_max: MATCHES_MAX };
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
