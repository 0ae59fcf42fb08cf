//! Giving up what is not needed, in two steps: the process before it starts threads, packet threads once they are placed.
//!
//! | | capabilities | files | system calls |
//! |---|---|---|---|
//! | process | CAP_NET_ADMIN (TUN, netlink, marks), CAP_NET_BIND_SERVICE (ports below 1024) | reads; writes in the folders of its sockets only | all but those that load code into the kernel, look into other processes, change mounts, namespaces, keys or clocks |
//! | packet thread | none | opens none | those of the packet path |
//!
//! A system call that is not allowed fails with EPERM: a list that is too short costs a counted drop, never a crash. A
//! kernel without Landlock or seccomp gives less protection, never a failure.

mod system_calls;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What configuring lanes takes.
const PROCESS_CAPABILITIES: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_BIND_SERVICE);

/// Confines this thread, and all threads and programs that it starts from now on. It goes on making and removing files
/// in `folders`, which have to exist; where one of them belongs to another user, that takes CAP_DAC_OVERRIDE.
///
/// # Errors
/// When privileges cannot be given up. That the kernel lacks Landlock or seccomp is logged, and no error.
pub fn confine_process(folders: &[&Path]) -> io::Result<()> {
    let mut wanted = PROCESS_CAPABILITIES;
    for folder in folders {
        if std::fs::metadata(folder)?.uid() != rustix::process::geteuid().as_raw() {
            wanted |= CapabilitySet::DAC_OVERRIDE;
        }
    }
    keep_capabilities(wanted)?;
    if let Err(error) = restrict_files(folders) {
        log::info!("without Landlock: {error}");
    }
    if let Err(error) = system_calls::deny_to_process() {
        log::info!("without a seccomp filter: {error}");
    }
    Ok(())
}

/// Confines this thread to the packet path: to the sockets, the TUN and the memory that it has.
///
/// # Errors
/// When capabilities cannot be given up. That the kernel lacks seccomp is logged, and no error.
pub fn confine_packet_thread() -> io::Result<()> {
    keep_capabilities(CapabilitySet::empty())?;
    if let Err(error) = system_calls::allow_to_packet_thread() {
        log::debug!("a packet thread without a seccomp filter: {error}");
    }
    Ok(())
}

fn keep_capabilities(wanted: CapabilitySet) -> io::Result<()> {
    set_no_new_privs(true)?;
    let permitted = capabilities(None)?.permitted;
    if permitted.contains(CapabilitySet::SETPCAP) {
        for bit in 0..u64::BITS {
            let capability = CapabilitySet::from_bits_retain(1 << bit);
            if !wanted.contains(capability) && capability_is_in_bounding_set(capability) == Ok(true) {
                remove_capability_from_bounding_set(capability)?;
            }
        }
    }
    clear_ambient_capability_set()?;
    let kept = permitted & wanted;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?;
    Ok(())
}

fn restrict_files(folders: &[&Path]) -> Result<(), RulesetError> {
    let writes = AccessFs::from_write(ABI::V5);
    let mut rules = Ruleset::default()
        // Older Landlock forbids moving a file from folder to folder wherever that may be.
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_write(ABI::V2))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(writes)?
        .handle_access(AccessNet::ConnectTcp)?
        .scope(Scope::from_all(ABI::V6))?
        .create()?;
    let in_folders = folders.iter().map(|folder| (*folder, writes & !BitFlags::from(AccessFs::IoctlDev)));
    let tun = (Path::new("/dev/net/tun"), AccessFs::WriteFile | AccessFs::IoctlDev);
    // Programs that are started get it as standard input or output.
    let null = (Path::new("/dev/null"), AccessFs::WriteFile.into());
    for (path, access) in in_folders.chain([tun, null]) {
        // What does not exist cannot be written to either.
        if let Ok(opened) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(opened, access))?;
        }
    }
    rules.restrict_self().map(drop)
}
