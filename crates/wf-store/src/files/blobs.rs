//! Blobs as files, `blobs/ab/cdef…`: written to a temporary file, made durable, then renamed to the digest of their
//! content, and the name made durable too.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use wf_ir::Digest;

use super::{make_dir, sync_dir};
use crate::{BlobError, Blobs, BoxFuture};

/// The blobs in a directory.
pub(crate) struct FileBlobs {
    dir: Arc<Dir>,
}

struct Dir {
    root: PathBuf,
    bytes_max: u64,
    fans: Mutex<HashMap<PathBuf, Fan>>,
}

/// What is known of a directory of blobs; nothing at first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fan {
    /// Its own name is durable.
    Durable,
    /// Making it or its names durable has failed once. A second time may claim a success that is none, so what is in it
    /// is written anew.
    Suspect,
}

impl FileBlobs {
    pub(crate) fn open(root: &Path, bytes_max: u64) -> Self {
        Self { dir: Arc::new(Dir { root: root.to_owned(), bytes_max, fans: Mutex::default() }) }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Dir) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let dir = self.dir.clone();
        match tokio::task::spawn_blocking(move || work(&dir)).await {
            Ok(done) => done,
            Err(error) => Err(BlobError::Unavailable(error.into())),
        }
    }
}

impl Blobs for FileBlobs {
    fn put(&self, bytes: Arc<[u8]>) -> BoxFuture<'_, Result<Digest, BlobError>> {
        Box::pin(self.blocking(move |dir| dir.put(&bytes)))
    }

    fn get<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Vec<u8>, BlobError>> {
        let digest = *digest;
        Box::pin(self.blocking(move |dir| dir.get(&digest)))
    }

    fn exists<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<bool, BlobError>> {
        let digest = *digest;
        Box::pin(self.blocking(move |dir| {
            let (_, path) = dir.place(&digest);
            match path.symlink_metadata() {
                Ok(found) => Ok(found.is_file()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(BlobError::Unavailable(error.into())),
            }
        }))
    }
}

impl Dir {
    fn place(&self, digest: &Digest) -> (PathBuf, PathBuf) {
        let hex = digest.to_string();
        let (fan, rest) = hex.split_at(2);
        let dir = self.root.join(fan);
        let path = dir.join(rest);
        (dir, path)
    }

    fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        if bytes.len() as u64 > self.bytes_max {
            return Err(BlobError::TooLarge { bytes: bytes.len() as u64, bytes_max: self.bytes_max });
        }
        let digest = Digest::of(bytes);
        let (dir, path) = self.place(&digest);
        let is_suspect = self.fan(&dir) == Some(Fan::Suspect);
        // One that is damaged is replaced.
        let is_there = match self.get(&digest) {
            Ok(_) => !is_suspect,
            Err(BlobError::Missing { .. } | BlobError::Damaged { .. } | BlobError::TooLarge { .. }) => false,
            Err(error @ BlobError::Unavailable(_)) => return Err(error),
        };
        self.keep(&dir, &path, bytes, is_there).map_err(|error| BlobError::Unavailable(error.into()))?;
        Ok(digest)
    }

    fn fan(&self, dir: &Path) -> Option<Fan> {
        // Nothing that holds this lock can leave the map half-changed.
        self.fans.lock().unwrap_or_else(PoisonError::into_inner).get(dir).copied()
    }

    fn keep(&self, dir: &Path, path: &Path, bytes: &[u8], is_there: bool) -> io::Result<()> {
        let fan = self.fan(dir);
        make_dir(dir)?;
        if !is_there {
            self.write(path, bytes)?;
        }
        // Directory and file may be there because another process made them a moment ago, so their names are made
        // durable in any case.
        let synced = sync_dir(dir).and_then(|()| if fan == Some(Fan::Durable) { Ok(()) } else { sync_dir(&self.root) });
        let mut fans = self.fans.lock().unwrap_or_else(PoisonError::into_inner);
        match (synced, fan) {
            (Ok(()), Some(Fan::Durable | Fan::Suspect)) => Ok(()),
            (Ok(()), None) => {
                fans.insert(dir.to_owned(), Fan::Durable);
                Ok(())
            }
            (Err(error), _) => {
                fans.insert(dir.to_owned(), Fan::Suspect);
                Err(error)
            }
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // A temporary file has mode 0600 and vanishes if anything below fails.
        let mut file = tempfile::NamedTempFile::new_in(self.root.join("tmp"))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        let unavailable = |error: io::Error| BlobError::Unavailable(error.into());
        let damaged = |detail: &str| BlobError::Damaged { digest: *digest, detail: detail.to_owned() };
        let (_, path) = self.place(digest);
        let found = match path.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BlobError::Missing { digest: *digest });
            }
            Err(error) => return Err(unavailable(error)),
        };
        // Anything but a file (a pipe, say) could block or never end.
        if !found.is_file() {
            return Err(damaged("it is not a file"));
        }
        if found.len() > self.bytes_max {
            return Err(BlobError::TooLarge { bytes: found.len(), bytes_max: self.bytes_max });
        }
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(self.bytes_max + 1).read_to_end(&mut bytes))
            .map_err(unavailable)?;
        if Digest::of(&bytes) != *digest {
            return Err(damaged("its content has another digest"));
        }
        Ok(bytes)
    }
}
