//! What is taken from a process for good, after its root has been built: the rights to paths (Landlock), system calls
//! (seccomp), resources, and at last every capability.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    Scope,
};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

use super::jail::Stage;
use super::mounts::DEVICES;
use super::policy::Limits;
use super::syscalls;

/// The newest rules that are asked for. What an older kernel does not know is left to the mounts, which say the same.
const LANDLOCK: ABI = ABI::V7;

/// Restricts this process. `writable` are the places that may be written.
pub(super) fn restrict<'a>(
    limits: &Limits,
    writable: impl Iterator<Item = &'a Path>,
) -> Result<(), (Stage, io::Error)> {
    let at = |stage: Stage| move |error: io::Error| (stage, error);
    set_limits(limits).map_err(at(Stage::Limits))?;
    drop_bounds().map_err(at(Stage::Capabilities))?;
    set_no_new_privs(true).map_err(|error| (Stage::Capabilities, error.into()))?;
    landlock(writable).map_err(at(Stage::Landlock))?;
    // Nobody inside looks into this process.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| (Stage::Capabilities, error.into()))?;
    syscalls::restrict().map_err(at(Stage::Seccomp))?;
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, none).map_err(|error| (Stage::Capabilities, error.into()))
}

fn set_limits(limits: &Limits) -> io::Result<()> {
    let set = |resource, wanted: u64| -> io::Result<()> {
        // Nobody is given more than there was.
        let most = rustix::process::getrlimit(resource).maximum.map_or(wanted, |most| most.min(wanted));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
        Ok(())
    };
    set(Resource::Core, 0)?;
    set(Resource::Data, limits.memory_bytes)?;
    set(Resource::Fsize, limits.file_bytes)?;
    set(Resource::Nofile, limits.open_files)?;
    set(Resource::Nproc, limits.processes)
}

/// No program that is executed gets a capability, whoever owns it.
fn drop_bounds() -> io::Result<()> {
    use CapabilitiesSecureBits as Bits;
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel has no more of them.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    set_capabilities_secure_bits(
        Bits::NO_ROOT
            | Bits::NO_ROOT_LOCKED
            | Bits::NO_SETUID_FIXUP
            | Bits::NO_SETUID_FIXUP_LOCKED
            | Bits::KEEP_CAPS_LOCKED
            | Bits::NO_CAP_AMBIENT_RAISE
            | Bits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    Ok(())
}

fn landlock<'a>(writable: impl Iterator<Item = &'a Path>) -> io::Result<()> {
    let all = AccessFs::from_all(LANDLOCK);
    let ruleset = Ruleset::default().handle_access(all).map_err(io::Error::other)?;
    let ruleset = ruleset.scope(Scope::from_all(LANDLOCK)).map_err(io::Error::other)?;
    let mut ruleset = ruleset.create().map_err(io::Error::other)?;
    ruleset = allow(ruleset, Path::new("/"), AccessFs::from_read(LANDLOCK))?;
    for path in writable {
        let rights = if path.is_dir() { all } else { AccessFs::from_file(LANDLOCK) };
        ruleset = allow(ruleset, path, rights)?;
    }
    // Devices of its own, of which none keeps anything: who could not write `/dev/null` could do little.
    for path in DEVICES.iter().map(|name| Path::new("/dev").join(name)).chain([PathBuf::from("/dev/pts")]) {
        ruleset = allow(ruleset, &path, AccessFs::from_file(LANDLOCK))?;
    }
    // Without Landlock in the kernel the mounts alone hold; the tier says so.
    ruleset.restrict_self().map_err(io::Error::other)?;
    Ok(())
}

fn allow(ruleset: RulesetCreated, path: &Path, rights: BitFlags<AccessFs>) -> io::Result<RulesetCreated> {
    let fd = PathFd::new(path).map_err(io::Error::other)?;
    ruleset.add_rule(PathBeneath::new(fd, rights)).map_err(io::Error::other)
}
