//! The fixture of a workflow: a directory beside it that becomes a small repository in the state directory.
//!
//! The repository's name holds the digest of what is in it, so that a changed fixture is another repository and runs of
//! the old one can still be resumed. Its one commit has a fixed author, message and date: its id is the same everywhere.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wf_effects::git::{Git, create_repository};
use wf_kernel::record::{Base, TreeAt};

use crate::error::Error;
use crate::project::{Project, make_private_dir, slug, sync_dir};

/// The date of a fixture's commit: 2020-01-01.
const FIXTURE_AT_MS: i64 = 1_577_836_800_000;
/// Most files and directories in a fixture.
const ENTRIES_MAX: usize = 10_000;
/// Most bytes in all its files.
const BYTES_MAX: u64 = 64 << 20;
/// Deepest nesting of its directories.
const DEPTH_MAX: usize = 32;

/// A fixture as a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FixtureRepository {
    /// The root of its checkout.
    pub(crate) top: PathBuf,
    /// Its one commit.
    pub(crate) base: Base,
}

/// Written beside the repository once it is whole.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    version: u32,
    commit: String,
    tree: String,
}

enum Content {
    Dir,
    File { bytes: Vec<u8>, is_executable: bool },
    Link(PathBuf),
}

/// The repository of a fixture; it is made when it is not there.
///
/// # Errors
/// When the directory holds something that a repository cannot, or too much of it, and when git fails.
pub(crate) async fn repository(project: &Project, git: &Git, dir: &Path) -> Result<FixtureRepository, Error> {
    let entries = read_tree(dir)?;
    let digest = digest_of(&entries);
    let name = slug(&dir.file_name().unwrap_or_default().to_string_lossy());
    let fixtures = project.fixtures_dir();
    let home = fixtures.join(format!("{name}-{}", &digest[..16]));
    if let Some(found) = made(&home) {
        return Ok(found);
    }
    project.make_dir()?;
    make_private_dir(&fixtures)?;
    let aside = tempfile_in(&fixtures)?;
    let top = aside.join("repo");
    write_tree(&top, &entries)?;
    let (_, at) = create_repository(git, &top, "fixture", FIXTURE_AT_MS).await?;
    let TreeAt { commit, tree } = at;
    let marker =
        serde_json::to_string(&Marker { version: 1, commit, tree }).map_err(|error| Error::Bug(error.to_string()))?;
    let path = aside.join("fixture.json");
    std::fs::write(&path, marker).map_err(Error::io("write", &path))?;
    // Runs will rest on it, so it appears whole, whatever becomes of the machine.
    make_durable(&aside)?;
    if let Err(error) = std::fs::rename(&aside, &home) {
        // Another process was faster, with the same content.
        let _ = std::fs::remove_dir_all(&aside);
        return made(&home).ok_or_else(|| Error::io("make", &home)(error));
    }
    sync_dir(&fixtures)?;
    made(&home).ok_or_else(|| Error::Fixture { dir: dir.to_owned(), message: "it was not made whole".to_owned() })
}

/// Whether a checkout is a fixture that the engine made.
pub(crate) fn is_fixture(project: &Project, top: &Path) -> bool {
    top.parent().and_then(Path::parent) == Some(project.fixtures_dir().as_path())
}

fn made(home: &Path) -> Option<FixtureRepository> {
    let marker: Marker = serde_json::from_str(&std::fs::read_to_string(home.join("fixture.json")).ok()?).ok()?;
    let top = home.join("repo");
    let base = Base { commit: marker.commit, tree: marker.tree, source: "fixture".to_owned(), at_ms: FIXTURE_AT_MS };
    top.join(".git").is_dir().then_some(FixtureRepository { top, base })
}

fn tempfile_in(dir: &Path) -> Result<PathBuf, Error> {
    let aside = dir.join(format!(".new-{}", crate::id::random_text(12)?));
    make_private_dir(&aside)?;
    Ok(aside)
}

/// Everything in a directory, in order, with its path from the root.
fn read_tree(root: &Path) -> Result<Vec<(PathBuf, Content)>, Error> {
    let refuse = |message: String| Error::Fixture { dir: root.to_owned(), message };
    let metadata = std::fs::symlink_metadata(root).map_err(|error| refuse(error.to_string()))?;
    if !metadata.is_dir() {
        return Err(refuse("it is not a directory".to_owned()));
    }
    let (mut found, mut bytes) = (Vec::new(), 0);
    let mut waiting = vec![(PathBuf::new(), 0)];
    while let Some((dir, depth)) = waiting.pop() {
        if depth > DEPTH_MAX {
            return Err(refuse(format!("its directories nest deeper than {DEPTH_MAX}")));
        }
        let at = root.join(&dir);
        for entry in std::fs::read_dir(&at).map_err(Error::io("list", &at))? {
            let entry = entry.map_err(Error::io("list", &at))?;
            let path = dir.join(entry.file_name());
            let kind = entry.file_type().map_err(Error::io("look at", &entry.path()))?;
            if entry.file_name() == ".git" {
                return Err(refuse("it is, or holds, a repository already".to_owned()));
            }
            if found.len() >= ENTRIES_MAX {
                return Err(refuse(format!("it has more than {ENTRIES_MAX} files and directories")));
            }
            let content = if kind.is_dir() {
                waiting.push((path.clone(), depth + 1));
                Content::Dir
            } else if kind.is_symlink() {
                Content::Link(std::fs::read_link(entry.path()).map_err(Error::io("read", &entry.path()))?)
            } else if kind.is_file() {
                let content = read_file(&entry.path(), BYTES_MAX - bytes)?
                    .ok_or_else(|| refuse(format!("it has more than {BYTES_MAX} bytes")))?;
                if let Content::File { bytes: file, .. } = &content {
                    bytes += file.len() as u64;
                }
                content
            } else {
                return Err(refuse(format!("{path:?} is no file, link or directory")));
            };
            found.push((path, content));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// None when it has more than `bytes_max`.
fn read_file(path: &Path, bytes_max: u64) -> Result<Option<Content>, Error> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(Error::io("open", path))?;
    let metadata = file.metadata().map_err(Error::io("look at", path))?;
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > bytes_max {
        return Ok(None);
    }
    Ok(Some(Content::File { bytes, is_executable: metadata.permissions().mode() & 0o100 != 0 }))
}

fn digest_of(entries: &[(PathBuf, Content)]) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(b"fixture 1");
    for (path, content) in entries {
        part(path.as_os_str().as_encoded_bytes());
        match content {
            Content::Dir => part(b"dir"),
            Content::File { bytes, is_executable } => {
                part(if *is_executable { b"program" } else { b"file" });
                part(bytes);
            }
            Content::Link(to) => {
                part(b"link");
                part(to.as_os_str().as_encoded_bytes());
            }
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Makes everything in a directory durable.
fn make_durable(top: &Path) -> Result<(), Error> {
    let mut waiting = vec![top.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).map_err(Error::io("list", &dir))? {
            let entry = entry.map_err(Error::io("list", &dir))?;
            let (kind, path) = (entry.file_type().map_err(Error::io("look at", &dir))?, entry.path());
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_file() {
                File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io("write", &path))?;
            }
        }
        sync_dir(&dir)?;
    }
    Ok(())
}

fn write_tree(top: &Path, entries: &[(PathBuf, Content)]) -> Result<(), Error> {
    make_private_dir(top)?;
    for (path, content) in entries {
        let at = top.join(path);
        match content {
            Content::Dir => std::fs::create_dir_all(&at).map_err(Error::io("make", &at))?,
            Content::Link(to) => std::os::unix::fs::symlink(to, &at).map_err(Error::io("make", &at))?,
            Content::File { bytes, is_executable } => {
                std::fs::write(&at, bytes).map_err(Error::io("write", &at))?;
                let mode = if *is_executable { 0o755 } else { 0o644 };
                let permissions = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(&at, permissions).map_err(Error::io("change", &at))?;
            }
        }
    }
    Ok(())
}
