//! What is too large for a record becomes a blob, durable before anything names it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use wf_ir::{Digest, Glob, Value};
use wf_kernel::ValueRef;
use wf_store::BlobError;

use super::failed::{Failed, defect, failure};
use crate::beneath::{BeneathError, Root, unless_failed};
use crate::contract::Ctx;

/// Most files kept of one leaf.
pub(super) const ARTIFACTS_MAX: usize = 64;
/// Largest file kept, in bytes.
pub(super) const ARTIFACT_BYTES_MAX: u64 = 8 << 20;

/// A reference to `value`; its text is stored first where it is too large to be inline.
pub(super) async fn value(value: Arc<Value>, ctx: &Ctx) -> Result<ValueRef, Failed> {
    let (reference, text) = ValueRef::of(ctx.redactor.value(&value).map_or(value, Arc::new));
    if let Some(text) = text {
        blob(text.into_bytes(), ctx).await?;
    }
    Ok(reference)
}

/// Stores bytes.
pub(super) async fn blob(bytes: Vec<u8>, ctx: &Ctx) -> Result<Digest, Failed> {
    ctx.blobs.put(bytes.into()).await.map_err(not_stored)
}

/// The value behind a reference.
pub(super) async fn load(reference: &ValueRef, ctx: &Ctx) -> Result<Arc<Value>, Failed> {
    match reference {
        ValueRef::Inline(value) => Ok(Arc::clone(value)),
        ValueRef::Stored { digest, .. } => {
            let bytes = ctx.blobs.get(digest).await.map_err(not_stored)?;
            let text = String::from_utf8(bytes).map_err(|_| failure("store", format!("blob {digest} is not text")))?;
            let value = Value::from_json(&text);
            value.map(Arc::new).map_err(|error| failure("store", format!("blob {digest} is not a value: {error}")))
        }
    }
}

fn not_stored(error: BlobError) -> Failed {
    let retryable = matches!(error, BlobError::Unavailable(_));
    failure("store", error.to_string()).retryable(retryable)
}

/// Stores the files of a tree that match `globs`, each under `files/` and its path. What is no regular file, or too
/// large, or too much, is left out.
pub(super) async fn artifacts(dir: &Path, globs: &[Glob], ctx: &Ctx) -> Result<BTreeMap<String, Digest>, Failed> {
    let mut kept = BTreeMap::new();
    if globs.is_empty() {
        return Ok(kept);
    }
    let (dir, globs) = (dir.to_owned(), globs.to_vec());
    let found = tokio::task::spawn_blocking(move || matching(&dir, &globs)).await.map_err(defect)?;
    let failed = |error: BeneathError| failure("artifacts", format!("the files to keep cannot be read: {error}"));
    for (path, bytes) in found.map_err(|error| failed(error).retryable(true))? {
        kept.insert(format!("files/{path}"), blob(bytes, ctx).await?);
    }
    Ok(kept)
}

fn matching(dir: &Path, globs: &[Glob]) -> Result<Vec<(String, Vec<u8>)>, BeneathError> {
    let mut found = Vec::new();
    // A command may have removed where it ran.
    let Some(root) = unless_failed(Root::open(dir))? else { return Ok(found) };
    root.walk(false, &mut |file| {
        if let Some(path) = file.path.to_str().filter(|path| globs.iter().any(|glob| glob.matches(path)))
            && let Some(bytes) = file.read(ARTIFACT_BYTES_MAX)?
        {
            found.push((path.to_owned(), bytes));
        }
        Ok(if found.len() == ARTIFACTS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(found)
}
