//! The system calls that no library of ours wraps. This is the only place of the workspace with `unsafe`.
#![expect(unsafe_code, reason = "system calls without a safe wrapper; each block says why it is sound")]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

/// The last of the signals that can be set to their default.
const SIGNAL_MAX: c_int = 64;
/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// What a mount may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    /// Nothing can be written through it.
    pub(super) read_only: bool,
    /// Device files in it are none.
    pub(super) no_devices: bool,
}

/// Makes a process in namespaces of its own: users, mounts, process ids, network, IPC, host name. Answers with its id,
/// and with nothing in the new process. The caller has one thread.
pub(super) fn clone_apart() -> io::Result<Option<Pid>> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other("a process with several threads cannot be cloned"));
    }
    let spaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS;
    // SAFETY: without a stack and without CLONE_VM this is fork. The process has one thread, as was just seen, so that
    // no lock is held by a thread that the new process does not have.
    let pid = unsafe { libc::syscall(libc::SYS_clone, spaces | libc::SIGCHLD, 0, 0, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?)),
    }
}

/// Ends this process at once, without anything that its parent would still want to happen to what they share.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: it does not return, and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Seals a mount, which is held by a descriptor, and with `below` all mounts below it.
pub(super) fn seal_mount(mount: impl AsFd, seal: Seal, below: bool) -> io::Result<()> {
    let mut attr = MountAttr { set: libc::MOUNT_ATTR_NOSUID, ..MountAttr::default() };
    if seal.read_only {
        attr.set |= libc::MOUNT_ATTR_RDONLY;
    }
    if seal.no_devices {
        attr.set |= libc::MOUNT_ATTR_NODEV;
    }
    let flags = libc::AT_EMPTY_PATH | if below { libc::AT_RECURSIVE } else { 0 };
    let fd = mount.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open, the path is an empty C string, and the kernel reads as many bytes of `attr` as it
    // is told that it has.
    let done = unsafe {
        libc::syscall(libc::SYS_mount_setattr, fd, c"".as_ptr(), flags, &raw const attr, size_of::<MountAttr>())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Switches the loopback interface of this network namespace on.
pub(super) fn raise_loopback() -> io::Result<()> {
    // SAFETY: no pointers; the descriptor is taken over at once.
    let socket = unsafe {
        match libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) {
            -1 => return Err(io::Error::last_os_error()),
            fd => OwnedFd::from_raw_fd(fd),
        }
    };
    // SAFETY: all-zero bytes are a value of this structure of numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed() as libc::c_char;
    request.ifr_name[1] = b'o'.cast_signed() as libc::c_char;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request is a whole `ifreq`, of which the kernel reads the name and the flags.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets what every signal does to what it does in a new program, and lets all of them through.
pub(super) fn default_signals() {
    for number in 1..=SIGNAL_MAX {
        // SAFETY: the default is always sound. Some signals cannot be set, and they have their default.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    // SAFETY: all-zero bytes are a value of the type, and the set is made before it is used.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Has every descriptor from `first` on closed when a program is executed.
pub(super) fn close_on_exec(first: u32) -> io::Result<()> {
    // SAFETY: no pointers, and descriptors stay open for whoever owns them here.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The version of Landlock that the kernel has; 0 is none.
pub(super) fn landlock_version() -> u32 {
    const CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: asked for its version, the call reads no memory.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, CREATE_RULESET_VERSION)
    };
    u32::try_from(version).unwrap_or(0)
}
