//! Presence: which owners are alive on this machine.
//!
//! A lease says until when an owner may advance a run. An owner that was killed leaves its lease behind; on one machine
//! nobody needs to wait for its end, because the dead hold no locks. An owner locks a file of its name for as long as it
//! lives; whoever can lock that file knows that the owner is gone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The place where owners of one store show that they are alive.
#[derive(Clone, Debug)]
pub struct Presence {
    dir: PathBuf,
}

/// An owner that is alive. The lock goes with the value, or with the process.
#[derive(Debug)]
pub struct Present {
    path: PathBuf,
    _lock: File,
}

impl Presence {
    /// Opens the place below a store's directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(store: &Path) -> io::Result<Self> {
        let dir = store.join("owners");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { dir })
    }

    /// Shows that `owner` is alive.
    ///
    /// # Errors
    /// When the file cannot be made, or someone else goes by that name.
    pub fn announce(&self, owner: &str) -> io::Result<Present> {
        let path = self.path(owner);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        lock.try_lock().map_err(io::Error::from)?;
        Ok(Present { path, _lock: lock })
    }

    /// Whether `owner` is certainly gone. One that cannot be asked is not; one that has no file any more is: it took its
    /// file away when it ended, whether or not it could give its leases back before. Any number may ask at once:
    /// they can share the lock with which they ask.
    pub fn is_gone(&self, owner: &str) -> bool {
        match OpenOptions::new().write(true).open(self.path(owner)) {
            Ok(file) => file.try_lock_shared().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    fn path(&self, owner: &str) -> PathBuf {
        let name: String = owner.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        self.dir.join(format!("{name}.lock"))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        // The file is removed while the lock is held, so that nobody takes a name that is being given back. A file
        // left behind costs nothing: its lock is free.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_gone_once_it_has_ended_however_it_did() {
        let dir = tempfile::tempdir().unwrap();
        let presence = Presence::open(dir.path()).unwrap();
        let alive = presence.announce("7-alive").unwrap();
        assert!(!presence.is_gone("7-alive"));
        drop(alive);
        assert!(presence.is_gone("7-alive"), "it took its file away");
        // One that was killed leaves a file that nobody locks.
        std::fs::write(presence.path("8-killed"), "").unwrap();
        assert!(presence.is_gone("8-killed"));
        // One that cannot be asked may be alive.
        std::fs::create_dir(presence.path("9-odd")).unwrap();
        assert!(!presence.is_gone("9-odd"));
    }

    #[test]
    fn those_who_ask_at_once_are_not_in_each_others_way() {
        let dir = tempfile::tempdir().unwrap();
        let presence = Presence::open(dir.path()).unwrap();
        std::fs::write(presence.path("8-killed"), "").unwrap();
        let ask = || (0..5_000).filter(|_| presence.is_gone("8-killed")).count();
        let gone = std::thread::scope(|scope| {
            let askers: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            askers.into_iter().map(|asker| asker.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(gone, [5_000; 4]);
    }
}
