//! System calls that are refused in the sandbox: those that reach beyond what the namespaces hold, and those of which
//! the kernel's past is full of holes. Everything else is allowed.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// The bit that says that a system call is of the x32 kind, whose numbers would otherwise pass.
#[cfg(target_arch = "x86_64")]
const X32_BIT: i64 = 0x4000_0000;

/// Namespaces that nobody inside makes.
const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// Always refused, with EPERM.
const DENIED: [i64; 44] = [
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // The keys of whoever runs the engine.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Looking into other processes, and at the kernel.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    libc::SYS_vhangup,
];

/// Refused as if the kernel did not have them, so that programs take the way that can be judged: the arguments of
/// `clone3` and `openat2` are in memory, and what `io_uring` is asked to do passes no filter at all.
const ABSENT: [i64; 5] = [
    libc::SYS_clone3,
    libc::SYS_openat2,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// Where a file's new mode is given, and where the flags are that say whether it counts. A program that runs as its
/// owner whoever starts it would outlive the sandbox.
const MODES: [(i64, u8, Option<u8>); 5] = [
    (libc::SYS_fchmod, 1, None),
    (libc::SYS_fchmodat, 2, None),
    (libc::SYS_fchmodat2, 2, None),
    (libc::SYS_mknodat, 2, None),
    (libc::SYS_openat, 3, Some(2)),
];
#[cfg(target_arch = "x86_64")]
const MODES_OLD: [(i64, u8, Option<u8>); 4] =
    [(libc::SYS_chmod, 1, None), (libc::SYS_mknod, 1, None), (libc::SYS_open, 2, Some(1)), (libc::SYS_creat, 1, None)];
#[cfg(not(target_arch = "x86_64"))]
const MODES_OLD: [(i64, u8, Option<u8>); 0] = [];

/// Flags with which a file is made: `O_CREAT`, and what `O_TMPFILE` adds to `O_DIRECTORY`.
const CREATING: [u64; 2] =
    [libc::O_CREAT.unsigned_abs() as u64, (libc::O_TMPFILE & !libc::O_DIRECTORY).unsigned_abs() as u64];

/// Terminal requests that put words into a person's mouth: TIOCSTI and TIOCLINUX.
const TERMINAL_REQUESTS: [u64; 2] = [0x5412, 0x541c];

/// Families of sockets that are there. With a network namespace of its own they reach nothing but the inside; Unix
/// sockets would reach whatever listens on a path.
const SOCKETS: [i32; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Refuses them to this process and whatever it starts, for good.
pub(super) fn restrict() -> io::Result<()> {
    for filter in filters()? {
        apply_filter(&filter).map_err(io::Error::other)?;
    }
    Ok(())
}

fn filters() -> io::Result<Vec<BpfProgram>> {
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let mut add = |call: i64, rules: Vec<SeccompRule>| denied.entry(call).or_default().extend(rules);
    for call in [libc::SYS_unshare, libc::SYS_clone] {
        for bit in bits(NAMESPACES) {
            add(call, vec![rule(vec![condition(0, SeccompCmpOp::MaskedEq(bit), bit)?])?]);
        }
    }
    for (call, mode, flags) in MODES.into_iter().chain(MODES_OLD) {
        for bit in [libc::S_ISUID, libc::S_ISGID].map(u64::from) {
            let set = condition(mode, SeccompCmpOp::MaskedEq(bit), bit)?;
            let Some(flags) = flags else {
                add(call, vec![rule(vec![set])?]);
                continue;
            };
            for creating in CREATING {
                let creates = condition(flags, SeccompCmpOp::MaskedEq(creating), creating)?;
                add(call, vec![rule(vec![set.clone(), creates])?]);
            }
        }
    }
    for request in TERMINAL_REQUESTS {
        add(libc::SYS_ioctl, vec![rule(vec![condition(1, SeccompCmpOp::Eq, request)?])?]);
    }
    let other: io::Result<Vec<_>> =
        SOCKETS.iter().map(|family| condition(0, SeccompCmpOp::Ne, u64::from(family.unsigned_abs()))).collect();
    add(libc::SYS_socket, vec![rule(other?)?]);
    let absent = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
    Ok(vec![compiled(absent, libc::ENOSYS)?, compiled(denied, libc::EPERM)?])
}

fn bits(mask: u64) -> impl Iterator<Item = u64> {
    (0..u64::BITS).map(|shift| 1 << shift).filter(move |bit| mask & bit != 0)
}

fn condition(argument: u8, op: SeccompCmpOp, value: u64) -> io::Result<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value).map_err(io::Error::other)
}

fn rule(conditions: Vec<SeccompCondition>) -> io::Result<SeccompRule> {
    SeccompRule::new(conditions).map_err(io::Error::other)
}

fn compiled(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> io::Result<BpfProgram> {
    #[cfg(target_arch = "x86_64")]
    let rules = {
        let x32: Vec<_> = rules.iter().map(|(call, rules)| (call | X32_BIT, rules.clone())).collect();
        rules.into_iter().chain(x32).collect()
    };
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let answer = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, arch).map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_can_be_loaded() {
        let sizes: Vec<usize> = filters().unwrap().iter().map(Vec::len).collect();
        // The kernel takes 4096 instructions.
        assert!(sizes.len() == 2 && sizes.iter().all(|size| (10..4_096).contains(size)), "{sizes:?}");
    }
}
