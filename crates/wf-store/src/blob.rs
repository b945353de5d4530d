//! Blobs: bytes under the digest of their content.

use std::sync::Arc;

use wf_ir::Digest;

use crate::{BoxError, BoxFuture};

/// The largest blob, unless a store is opened with another limit.
pub const BLOB_BYTES_MAX: u64 = 256 << 20;

/// The blobs. A blob never changes.
pub trait Blobs: Send + Sync {
    /// Stores `bytes`. When it answers, they are durable, so that a record may name them.
    fn put(&self, bytes: Arc<[u8]>) -> BoxFuture<'_, Result<Digest, BlobError>>;

    /// The bytes under `digest`, compared with it.
    fn get<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Vec<u8>, BlobError>>;

    /// Whether there are bytes under `digest`; they are not compared with it.
    fn exists<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<bool, BlobError>>;
}

/// Why a blob was not stored or not read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob.
    #[error("there is no blob {digest}")]
    Missing {
        /// The digest that was asked for.
        digest: Digest,
    },
    /// It is larger than this store allows; the same bytes never fit.
    #[error("a blob of {bytes} bytes, at most {bytes_max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The largest size.
        bytes_max: u64,
    },
    /// What is stored is not what the digest names. Never retry; putting the right bytes mends it.
    #[error("blob {digest} is damaged: {detail}")]
    Damaged {
        /// The digest that was asked for.
        digest: Digest,
        /// What is wrong.
        detail: String,
    },
    /// The file system did not answer: it may be tried again.
    #[error("the blobs are unavailable: {0}")]
    Unavailable(#[source] BoxError),
}
