//! The root that a sandboxed process sees: the machine's, read-only, with what is private hidden and what may be written
//! opened again.
//!
//! Everything is mounted by descriptor. What lies in a place that an agent may have written is looked up without
//! following a link, so that a link put there for the next process leads nowhere.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, statat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

use super::policy::{Place, Policy, View};
use super::raw::{Seal, seal_mount};

/// Where the new root is put until it is the root. It must be a directory on every machine.
const BASE: &str = "/proc";
/// Device files that are there.
pub(super) const DEVICES: [&str; 5] = ["full", "null", "random", "urandom", "zero"];
/// Links in `/dev`.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// What a directory that hides something may hold: the places within it that are opened again.
const HIDING_BYTES_MAX: u64 = 1 << 20;

const READ_ONLY: Seal = Seal { read_only: true, no_devices: true };
const WRITABLE: Seal = Seal { read_only: false, no_devices: true };

/// A place whose mount is ready.
struct Ready<'a> {
    path: &'a Path,
    mount: OwnedFd,
    is_dir: bool,
    /// Sealed once everything within it is mounted.
    seals_late: bool,
}

/// Builds the root of a policy and makes it this process's. The process has mounts and processes of its own.
pub(super) fn enter(policy: &Policy) -> io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let root = clone_of(open_path(CWD, Path::new("/"), ResolveFlags::empty())?.as_fd())?;
    seal_mount(&root, READ_ONLY, true)?;
    let mut places = Vec::with_capacity(policy.places.len());
    for place in &policy.places {
        places.extend(ready(place, policy.limits.temporary_bytes)?);
    }
    let devices = devices()?;
    let processes = processes(policy.limits.processes)?;

    attach(&root, open_path(CWD, Path::new(BASE), ResolveFlags::empty())?.as_fd())?;
    fchdir(&root)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;

    let root = open_path(CWD, Path::new("/"), ResolveFlags::empty())?;
    attach(&processes, target(root.as_fd(), Path::new("/proc"), true)?.as_fd())?;
    attach(&devices, target(root.as_fd(), Path::new("/dev"), true)?.as_fd())?;
    for place in &places {
        attach(&place.mount, target(root.as_fd(), place.path, place.is_dir)?.as_fd())?;
    }
    for place in places.iter().filter(|place| place.seals_late) {
        seal_mount(&place.mount, READ_ONLY, false)?;
    }
    seal_mount(&devices, Seal { read_only: true, no_devices: false }, false)?;
    Ok(())
}

/// The mount of a place; nothing where there is nothing to hide or to show.
fn ready(place: &Place, temporary_bytes: u64) -> io::Result<Option<Ready<'_>>> {
    let path = place.path.as_path();
    let open = |resolve| match open_path(CWD, path, resolve) {
        Ok(found) => Ok(Some(found)),
        Err(error) if [Errno::NOENT, Errno::NOTDIR].map(Some).contains(&Errno::from_io_error(&error)) => Ok(None),
        // What even the engine cannot look into is hidden anyway.
        Err(error) if place.view != View::Write && Errno::from_io_error(&error) == Some(Errno::ACCESS) => Ok(None),
        Err(error) => Err(error),
    };
    let found = match place.view {
        View::Write | View::Sealed => open(ResolveFlags::NO_SYMLINKS)?,
        View::Hidden | View::Read | View::Private => open(ResolveFlags::empty())?,
    };
    let Some(found) = found else {
        let missing = || io::Error::from(Errno::NOENT);
        return if place.view == View::Write { Err(missing()) } else { Ok(None) };
    };
    let is_dir = is_dir(found.as_fd())?;
    let (mount, seals_late) = match place.view {
        View::Hidden if is_dir => (temporary(HIDING_BYTES_MAX, "0755")?, true),
        // Opening a device file is refused on a mount that has none.
        View::Hidden => (sealed(open_path(CWD, Path::new("/dev/null"), ResolveFlags::empty())?, READ_ONLY)?, false),
        View::Private => (temporary(temporary_bytes, "1777")?, false),
        View::Read | View::Sealed => (sealed(found, READ_ONLY)?, false),
        View::Write => (sealed(found, WRITABLE)?, false),
    };
    Ok(Some(Ready { path, mount, is_dir: is_dir || place.view == View::Private, seals_late }))
}

/// A small `/dev` with nothing in it that belongs to the machine.
fn devices() -> io::Result<OwnedFd> {
    let dev = temporary(HIDING_BYTES_MAX, "0755")?;
    for name in ["pts", "shm"] {
        mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
    }
    for (name, to) in DEVICE_LINKS {
        symlinkat(to, &dev, name)?;
    }
    for name in DEVICES {
        let device = open_path(CWD, &Path::new("/dev").join(name), ResolveFlags::empty())?;
        let mount = clone_of(device.as_fd())?;
        seal_mount(&mount, Seal { read_only: false, no_devices: false }, false)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        attach(&mount, openat(&dev, name, flags, Mode::from_raw_mode(0o666))?.as_fd())?;
    }
    let terminals =
        file_system("devpts", &[("mode", "620"), ("ptmxmode", "666")], &["newinstance"], MountAttrFlags::empty());
    // Programs that want a terminal of their own do without where the kernel gives none.
    if let Ok(terminals) = terminals {
        attach(&terminals, open_path(dev.as_fd(), Path::new("pts"), ResolveFlags::empty())?.as_fd())?;
    }
    Ok(dev)
}

/// `/proc` of this process's own world, read-only: a process of root could change the machine by it.
fn processes(most: u64) -> io::Result<OwnedFd> {
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = file_system("proc", &[], &[], attributes)?;
    // Since Linux 6.14 a world of processes has a bound of its own, which holds for root, too.
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(bound) = openat(&proc, "sys/kernel/pid_max", flags, Mode::empty()) {
        // On an older kernel it is the machine's, and cannot be written from here.
        let _ = rustix::io::write(&bound, most.to_string().as_bytes());
    }
    seal_mount(&proc, READ_ONLY, false)?;
    Ok(proc)
}

fn temporary(bytes: u64, mode: &str) -> io::Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    file_system("tmpfs", &[("size", &bytes.to_string()), ("mode", mode)], &[], attributes)
}

fn file_system(kind: &str, values: &[(&str, &str)], flags: &[&str], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in values {
        fsconfig_set_string(&context, *key, *value)?;
    }
    for flag in flags {
        fsconfig_set_flag(&context, *flag)?;
    }
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// A mount of its own of what a descriptor holds, with all that is mounted below it.
fn clone_of(found: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if is_dir(found)? {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(found, "", flags)?)
}

fn sealed(found: OwnedFd, seal: Seal) -> io::Result<OwnedFd> {
    let mount = clone_of(found.as_fd())?;
    seal_mount(&mount, seal, true)?;
    Ok(mount)
}

fn attach(mount: &OwnedFd, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

/// Where a place is in the new root. What is not there is made, which only a directory that hides something lets happen.
fn target(root: BorrowedFd<'_>, path: &Path, is_dir: bool) -> io::Result<OwnedFd> {
    let mut at: Option<OwnedFd> = None;
    let parts: Vec<PathBuf> = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect();
    for (ix, part) in parts.iter().enumerate() {
        let from = at.as_ref().map_or(root, AsFd::as_fd);
        let found = open_path(from, part, ResolveFlags::NO_SYMLINKS);
        let is_missing = |error: &io::Error| Errno::from_io_error(error) == Some(Errno::NOENT);
        at = Some(match found {
            Err(error) if is_missing(&error) => {
                if is_dir || ix + 1 < parts.len() {
                    mkdirat(from, part, Mode::from_raw_mode(0o755))?;
                } else {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                    openat(from, part, flags, Mode::from_raw_mode(0o644))?;
                }
                open_path(from, part, ResolveFlags::NO_SYMLINKS)?
            }
            found => found?,
        });
    }
    at.ok_or_else(|| Errno::INVAL.into())
}

fn open_path(from: impl AsFd, path: &Path, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(openat2(from, path, flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS)?)
}

fn is_dir(found: BorrowedFd<'_>) -> io::Result<bool> {
    let stat = statat(found, "", rustix::fs::AtFlags::EMPTY_PATH)?;
    Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
}
