//! What is too large for a record becomes a blob, durable before anything names it.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use ignore::WalkBuilder;
use rustix::fs::OFlags;
use wf_ir::{Digest, Glob, Value};
use wf_kernel::ValueRef;
use wf_store::BlobError;

use super::failed::{Failed, defect, failure};
use crate::contract::Ctx;

/// Most files kept of one leaf.
pub(super) const ARTIFACTS_MAX: usize = 64;
/// Largest file kept, in bytes.
pub(super) const ARTIFACT_BYTES_MAX: u64 = 8 << 20;
/// Most entries of a tree that are looked at for them.
const ENTRIES_MAX: usize = 500_000;

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
    let found = tokio::task::spawn_blocking(move || matching(&dir, &globs)).await;
    for (path, bytes) in found.map_err(defect)? {
        kept.insert(format!("files/{path}"), blob(bytes, ctx).await?);
    }
    Ok(kept)
}

fn matching(dir: &Path, globs: &[Glob]) -> Vec<(String, Vec<u8>)> {
    let walk = WalkBuilder::new(dir)
        .standard_filters(false)
        .follow_links(false)
        .sort_by_file_name(std::ffi::OsStr::cmp)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    let mut found = Vec::new();
    for entry in walk.take(ENTRIES_MAX).flatten() {
        if found.len() == ARTIFACTS_MAX {
            break;
        }
        let Some(path) = entry.path().strip_prefix(dir).ok().and_then(Path::to_str) else { continue };
        if entry.file_type().is_some_and(|kind| kind.is_file())
            && globs.iter().any(|glob| glob.matches(path))
            && let Some(bytes) = read(entry.path())
        {
            found.push((path.to_owned(), bytes));
        }
    }
    found
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags as i32).open(path).ok()?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= ARTIFACT_BYTES_MAX) {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(ARTIFACT_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= ARTIFACT_BYTES_MAX).then_some(bytes)
}
