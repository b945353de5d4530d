//! A disk as it may be found after the power went: what was made durable is there; of what was not, some is, some is
//! not, and some is there in part.
//!
//! Names are held as strictly as POSIX allows: a name is durable once its directory is. Only git relies on more, as its
//! documentation says, namely on a file system that writes names in order and all of them with any file that is made
//! durable; inside of `.git` that is taken for granted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::cases::Chance;
use crate::trace::{Done, Event};

/// What a disk writes as a whole.
const SECTOR: u64 = 512;
/// Shared memory that lies in a file: nothing of it outlives the machine.
const MEMORY: &str = "-shm";

type Inode = usize;

/// What became of what was not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All of it is lost.
    All,
    /// None of it is lost: the machine stopped, and the disk went on for a moment.
    None,
    /// What was done up to some moment is there, and the last write in part.
    Tail,
    /// Any of it may be there: writes out of order and in part, names in the order of their directory.
    Some,
}

pub(crate) const LOSSES: [Loss; 4] = [Loss::All, Loss::None, Loss::Tail, Loss::Some];

/// A change of the bytes of a file.
#[derive(Debug)]
struct Change {
    at: usize,
    what: Bytes,
    is_pushed: bool,
    is_durable: bool,
}

#[derive(Debug)]
enum Bytes {
    Cut(u64),
    Write(u64, Vec<u8>),
}

/// A change of names.
#[derive(Debug)]
struct Naming {
    at: usize,
    /// What the name under which it was, and is no longer.
    gone: Option<(Inode, String)>,
    /// The name under which it is now.
    new: Option<(Inode, String, Inode)>,
    /// Whether git alone knows of it.
    is_git: bool,
    is_durable: bool,
}

#[derive(Debug, Default)]
struct Node {
    is_dir: bool,
    target: Option<String>,
    mode: u32,
    changes: Vec<Change>,
    /// What it holds now, durable or not.
    bytes: Vec<u8>,
}

/// The files below a directory, with everything that was done to them.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
    names: BTreeMap<(Inode, String), Inode>,
    namings: Vec<Naming>,
    umask: u32,
}

impl Disk {
    /// The disk on which `root` is an empty directory, after `events`.
    pub(crate) fn after(root: &Path, umask: u32, events: &[Event]) -> Self {
        let top = Node { is_dir: true, mode: 0o700, ..Node::default() };
        let mut disk =
            Self { root: root.to_owned(), nodes: vec![top], names: BTreeMap::new(), namings: Vec::new(), umask };
        for (at, event) in events.iter().enumerate() {
            disk.take(at, event);
        }
        disk
    }

    fn take(&mut self, at: usize, event: &Event) {
        match &event.done {
            Done::Made { path, mode } => {
                if self.find(path).is_none() {
                    self.make(at, path, Node { mode: *mode & !self.umask, ..Node::default() });
                }
            }
            Done::MadeDir { path, mode } => {
                // The one directory that was not there at first may be the root itself.
                if *path != self.root {
                    self.make(at, path, Node { is_dir: true, mode: *mode & !self.umask, ..Node::default() });
                }
            }
            Done::LinkedTo { target, path } => {
                self.make(at, path, Node { target: Some(target.clone()), ..Node::default() });
            }
            Done::Cut { path, len } => self.change(at, path, Some(0), Bytes::Cut(*len)),
            Done::Wrote { path, at: place, bytes } => {
                self.change(at, path, *place, Bytes::Write(0, bytes.clone()));
            }
            Done::Copied { from, start, len, path, at: place } => {
                let bytes = self.bytes_of(from, *start, *len);
                self.change(at, path, *place, Bytes::Write(0, bytes));
            }
            Done::Pushed { path } => {
                if let Some(inode) = self.find(path) {
                    let changes = self.nodes[inode].changes.iter_mut();
                    changes.filter(|change| change.at < event.begun).for_each(|change| change.is_pushed = true);
                }
            }
            Done::Synced { path } => self.sync(path, event.begun),
            Done::Renamed { from, to } => self.rename(at, from, to),
            Done::Linked { from, to } => {
                if let (Some(inode), Some((dir, name))) = (self.find(from), self.place(to)) {
                    self.name(at, to, None, Some((dir, name, inode)));
                }
            }
            Done::Removed { path } => {
                if let Some(place) = self.place(path) {
                    self.name(at, path, Some(place), None);
                }
            }
            Done::Moded { path, mode } => {
                if let Some(inode) = self.find(path) {
                    self.nodes[inode].mode = *mode & 0o777;
                }
            }
            Done::Said { .. } => {}
        }
    }

    /// The directory and the name of a path below the root.
    fn place(&self, path: &Path) -> Option<(Inode, String)> {
        let below = path.strip_prefix(&self.root).ok()?;
        let name = below.file_name()?.to_str()?.to_owned();
        let mut dir = 0;
        for part in below.parent()?.iter() {
            dir = *self.names.get(&(dir, part.to_str()?.to_owned()))?;
        }
        Some((dir, name))
    }

    fn find(&self, path: &Path) -> Option<Inode> {
        if path == self.root {
            return Some(0);
        }
        self.names.get(&self.place(path)?).copied()
    }

    fn make(&mut self, at: usize, path: &Path, node: Node) {
        let Some((dir, name)) = self.place(path) else { return };
        self.nodes.push(node);
        self.name(at, path, None, Some((dir, name, self.nodes.len() - 1)));
    }

    fn name(&mut self, at: usize, path: &Path, gone: Option<(Inode, String)>, new: Option<(Inode, String, Inode)>) {
        if let Some(gone) = &gone {
            self.names.remove(gone);
        }
        if let Some((dir, name, inode)) = &new {
            self.names.insert((*dir, name.clone()), *inode);
        }
        let is_git = path.iter().any(|part| part == ".git");
        self.namings.push(Naming { at, gone, new, is_git, is_durable: false });
    }

    fn rename(&mut self, at: usize, from: &Path, to: &Path) {
        let inode = self.find(from);
        match (self.place(from), self.place(to), inode) {
            (Some(from), Some((dir, name)), Some(inode)) => self.name(at, to, Some(from), Some((dir, name, inode))),
            // Out of the root, or into it, which nobody does.
            (from, to, _) => assert!(from.is_none() && to.is_none(), "{from:?} {to:?}"),
        }
    }

    fn change(&mut self, at: usize, path: &Path, place: Option<u64>, what: Bytes) {
        let Some(inode) = self.find(path) else { return };
        let node = &mut self.nodes[inode];
        let what = match what {
            Bytes::Write(_, bytes) => Bytes::Write(place.unwrap_or(node.bytes.len() as u64), bytes),
            cut @ Bytes::Cut(_) => cut,
        };
        apply(&mut node.bytes, &what);
        node.changes.push(Change { at, what, is_pushed: false, is_durable: false });
    }

    fn bytes_of(&self, path: &Path, start: u64, len: u64) -> Vec<u8> {
        let all = match self.find(path) {
            Some(inode) => self.nodes[inode].bytes.clone(),
            // Sources lie outside, and nobody changes them.
            None => std::fs::read(path).unwrap_or_else(|error| panic!("{path:?}: {error}")),
        };
        all[usize::try_from(start).unwrap()..usize::try_from(start + len).unwrap()].to_vec()
    }

    /// Makes durable what was done before `begun`: the bytes of a file, or the names in a directory.
    fn sync(&mut self, path: &Path, begun: usize) {
        if let Some(inode) = self.find(path) {
            let node = &mut self.nodes[inode];
            node.changes.iter_mut().filter(|change| change.at < begun).for_each(|change| change.is_durable = true);
            let is_in = |place: Option<Inode>| place == Some(inode);
            for naming in self.namings.iter_mut().filter(|naming| naming.at < begun) {
                let new = naming.new.as_ref().map(|(dir, ..)| *dir);
                let gone = naming.gone.as_ref().map(|(dir, _)| *dir);
                naming.is_durable |= is_in(new) || (new.is_none() && is_in(gone));
            }
        }
        for naming in self.namings.iter_mut().filter(|naming| naming.is_git && naming.at < begun) {
            naming.is_durable = true;
        }
        for change in self.nodes.iter_mut().flat_map(|node| &mut node.changes) {
            change.is_durable |= change.is_pushed && change.at < begun;
        }
    }

    /// Writes what is found after the power went, to the root.
    pub(crate) fn write(&self, loss: Loss, chance: &mut Chance) {
        let _ = std::fs::remove_dir_all(&self.root);
        std::fs::create_dir(&self.root).unwrap();
        let last = self
            .namings
            .iter()
            .map(|naming| naming.at)
            .chain(self.nodes.iter().flat_map(|node| &node.changes).map(|change| change.at));
        let last = last.max().unwrap_or(0) as u64;
        // The tail that is lost is short as often as it is long.
        let lost = chance.below(1 + chance.clone().below(last + 1));
        let names = self.names_left(loss, last.saturating_sub(lost), chance);
        self.write_dir(
            &names,
            0,
            &self.root.clone(),
            &mut |node, chance| node.left(loss, last.saturating_sub(lost), chance),
            chance,
        );
    }

    fn names_left(&self, loss: Loss, until: u64, chance: &mut Chance) -> BTreeMap<(Inode, String), Inode> {
        let mut until_of: BTreeMap<Inode, u64> = BTreeMap::new();
        let mut names = BTreeMap::new();
        let mut is_git_over = false;
        for naming in &self.namings {
            let dir = naming.new.as_ref().map(|(dir, ..)| *dir).or(naming.gone.as_ref().map(|(dir, _)| *dir)).unwrap();
            let is_kept = naming.is_durable
                || match loss {
                    Loss::All => false,
                    Loss::None => true,
                    Loss::Tail => naming.at as u64 <= until,
                    Loss::Some if naming.is_git => {
                        is_git_over |= chance.percent(10);
                        !is_git_over
                    }
                    Loss::Some => {
                        let all = self.namings.len() as u64 * 2;
                        naming.at as u64 <= *until_of.entry(dir).or_insert_with(|| chance.below(all * 2))
                    }
                };
            if !is_kept {
                continue;
            }
            if let Some(gone) = &naming.gone {
                names.remove(gone);
            }
            if let Some((dir, name, inode)) = &naming.new {
                names.insert((*dir, name.clone()), *inode);
            }
        }
        names
    }

    fn write_dir(
        &self,
        names: &BTreeMap<(Inode, String), Inode>,
        dir: Inode,
        path: &Path,
        left: &mut dyn FnMut(&Node, &mut Chance) -> Vec<u8>,
        chance: &mut Chance,
    ) {
        let mut written: BTreeSet<Inode> = BTreeSet::new();
        for ((_, name), inode) in names.range((dir, String::new())..(dir + 1, String::new())) {
            let (path, node) = (path.join(name), &self.nodes[*inode]);
            if let Some(target) = &node.target {
                std::os::unix::fs::symlink(target, &path).unwrap();
            } else if node.is_dir {
                std::fs::create_dir(&path).unwrap();
                self.write_dir(names, *inode, &path, left, chance);
                mode(&path, node.mode);
            } else if !name.ends_with(MEMORY) {
                written.insert(*inode);
                std::fs::write(&path, left(node, chance)).unwrap();
                mode(&path, node.mode);
                if name.ends_with(".lock") {
                    // Written before the machine was started again, as everything is that is here; by that it is known that
                    // nobody holds it.
                    File::open(&path).unwrap().set_modified(UNIX_EPOCH).unwrap();
                }
            }
        }
    }
}

impl Node {
    /// What is left of a file.
    fn left(&self, loss: Loss, until: u64, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = Vec::new();
        let last = self.changes.iter().rposition(|change| change.at as u64 <= until);
        for (at, change) in self.changes.iter().enumerate() {
            let is_whole = change.is_durable
                || match loss {
                    Loss::All => false,
                    Loss::None => true,
                    Loss::Tail => change.at as u64 <= until && last != Some(at),
                    Loss::Some => chance.percent(50),
                };
            if is_whole {
                apply(&mut bytes, &change.what);
            } else if (loss == Loss::Tail && last == Some(at)) || (loss == Loss::Some && chance.percent(50)) {
                apply_in_part(&mut bytes, &change.what, chance);
            }
        }
        bytes
    }
}

fn apply(bytes: &mut Vec<u8>, what: &Bytes) {
    match what {
        Bytes::Cut(len) => bytes.resize(usize::try_from(*len).unwrap(), 0),
        Bytes::Write(at, new) => {
            let at = usize::try_from(*at).unwrap();
            if bytes.len() < at + new.len() {
                bytes.resize(at + new.len(), 0);
            }
            bytes[at..at + new.len()].copy_from_slice(new);
        }
    }
}

/// Some sectors of a write and not others.
fn apply_in_part(bytes: &mut Vec<u8>, what: &Bytes, chance: &mut Chance) {
    let Bytes::Write(at, new) = what else { return };
    let mut from = 0;
    while from < new.len() {
        let place = at + from as u64;
        let until_sector_ends = usize::try_from(SECTOR - place % SECTOR).unwrap();
        let to = new.len().min(from + until_sector_ends);
        if chance.percent(50) {
            apply(bytes, &Bytes::Write(place, new[from..to].to_vec()));
        }
        from = to;
    }
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Harness;
    use crate::trace::events;

    /// What is left of what a program did below `/top`, for each way to lose the power.
    fn check(trace: &str, expected: [&str; 2]) {
        for (loss, expected) in [Loss::All, Loss::None].into_iter().zip(expected) {
            let temp = tempfile::tempdir().unwrap();
            let root = temp.path().join("top");
            let trace = trace.replace("/top", root.to_str().unwrap());
            let events = events(&trace, temp.path());
            Disk::after(&root, 0o022, &events).write(loss, &mut Harness("disk").chance(7));
            assert_eq!(listed(&root), expected, "{loss:?}");
        }
    }

    fn listed(dir: &Path) -> String {
        let mut lines = Vec::new();
        for path in crate::state::list(dir) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true => lines.push(format!("{name}({})", listed(&path))),
                false => lines.push(format!("{name}={}", std::fs::read_to_string(&path).unwrap())),
            }
        }
        lines.sort();
        lines.join(" ")
    }

    #[test]
    fn bytes_stay_with_their_file_and_names_with_their_directory() {
        let written = r#"1 openat(AT_FDCWD</x>, "/top/a", O_WRONLY|O_CREAT, 0644) = 3</top/a>
1 write(3</top/a>, "one", 3) = 3
"#;
        check(written, ["", "a=one"]);
        check(&format!("{written}1 fsync(3</top/a>) = 0\n"), ["", "a=one"]);
        check(&format!("{written}1 fsync(4</top>) = 0\n"), ["a=", "a=one"]);
        let both = format!("{written}1 fsync(3</top/a>) = 0\n1 fsync(4</top>) = 0\n");
        check(&both, ["a=one", "a=one"]);
        check(&format!("{both}1 write(3</top/a>, \"two\", 3) = 3\n"), ["a=one", "a=onetwo"]);
        check(&format!("{both}1 unlink(\"/top/a\") = 0\n"), ["a=one", ""]);
    }

    #[test]
    fn what_began_before_the_write_ended_makes_nothing_of_it_durable() {
        let trace = r#"1 openat(AT_FDCWD</x>, "/top/a", O_WRONLY|O_CREAT, 0644) = 3</top/a>
1 fsync(4</top>) = 0
2 fsync(3</top/a> <unfinished ...>
1 write(3</top/a>, "one", 3) = 3
2 <... fsync resumed>) = 0
"#;
        check(trace, ["a=", "a=one"]);
    }

    #[test]
    fn a_rename_is_there_or_not_and_takes_the_place_of_what_was_there() {
        let trace = r#"1 mkdir("/top/tmp", 0700) = 0
1 openat(AT_FDCWD</x>, "/top/a", O_WRONLY|O_CREAT, 0644) = 3</top/a>
1 openat(AT_FDCWD</x>, "/top/tmp/b", O_WRONLY|O_CREAT, 0644) = 4</top/tmp/b>
1 write(4</top/tmp/b>, "new", 3) = 3
1 fsync(4</top/tmp/b>) = 0
1 fsync(5</top>) = 0
1 rename("/top/tmp/b", "/top/a") = 0
"#;
        check(trace, ["a= tmp()", "a=new tmp()"]);
        check(&format!("{trace}1 fsync(5</top>) = 0\n"), ["a=new tmp()", "a=new tmp()"]);
    }

    #[test]
    fn git_may_rely_on_names_that_come_in_order() {
        let trace = r#"1 mkdir("/top/.git", 0700) = 0
1 openat(AT_FDCWD</x>, "/top/.git/a.lock", O_WRONLY|O_CREAT, 0644) = 3</top/.git/a.lock>
1 write(3</top/.git/a.lock>, "one", 3) = 3
1 fsync(3</top/.git/a.lock>) = 0
1 rename("/top/.git/a.lock", "/top/.git/a") = 0
"#;
        check(trace, [".git(a.lock=one)", ".git(a=one)"]);
        check(&format!("{trace}1 fsync(9</elsewhere>) = 0\n"), [".git(a=one)", ".git(a=one)"]);
    }
}
