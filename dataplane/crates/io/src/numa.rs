//! NUMA nodes and memory policy (numa(7)). A machine or a kernel without NUMA counts as one node, 0.

use crate::syscall::check;
use crate::thread::CpuSet;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::str::FromStr;

// linux/mempolicy.h
const MPOL_DEFAULT: libc::c_int = 0;
const MPOL_PREFERRED: libc::c_int = 1;
const MPOL_BIND: libc::c_int = 2;
/// MPOL_F_STATIC_NODES, MPOL_F_RELATIVE_NODES and MPOL_F_NUMA_BALANCING.
const MPOL_MODE_FLAGS: libc::c_int = 0b111 << 13;
/// MAX_NUMNODES is at most 1,024.
const POLICY_MASK_WORDS: usize = 1024 / MASK_BITS as usize;
const MPOL_MF_MOVE: libc::c_uint = 2;
const MASK_BITS: u32 = libc::c_ulong::BITS;

/// Where memory comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NumaPolicy {
    /// The node of the CPU that touches a page first: the kernel's default.
    #[default]
    Local,
    /// The given node only; allocations fail when it is full.
    Bind,
    /// The given node as long as it has room.
    Prefer,
}

impl fmt::Display for NumaPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Bind => "bind",
            Self::Prefer => "prefer",
        })
    }
}

impl FromStr for NumaPolicy {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "local" => Ok(Self::Local),
            "bind" => Ok(Self::Bind),
            "prefer" => Ok(Self::Prefer),
            _ => Err(format!("unknown NUMA policy {word:?}: local, bind or prefer")),
        }
    }
}

/// The nodes that are online, ascending.
pub fn nodes() -> Vec<u32> {
    match read_list("/sys/devices/system/node/online") {
        Some(nodes) if !nodes.is_empty() => nodes.cpus().to_vec(),
        _ => vec![0],
    }
}

/// The CPUs of a node; all online CPUs on a machine without NUMA.
pub fn cpus_of_node(node: u32) -> CpuSet {
    read_list(&format!("/sys/devices/system/node/node{node}/cpulist"))
        .or_else(|| read_list("/sys/devices/system/cpu/online"))
        .unwrap_or_default()
}

/// The node that a CPU belongs to.
pub fn node_of_cpu(cpu: u32) -> u32 {
    nodes().into_iter().find(|node| cpus_of_node(*node).cpus().contains(&cpu)).unwrap_or(0)
}

/// A node list has the format of a CPU list.
fn read_list(path: &str) -> Option<CpuSet> {
    fs::read_to_string(path).ok()?.parse().ok()
}

/// The policy of the calling thread for memory it touches first from now on. Without effect on a machine of one node.
///
/// # Errors
/// `InvalidInput` for a node that does not exist.
pub fn set_thread_policy(policy: NumaPolicy, node: u32) -> io::Result<()> {
    if is_single_node(node)? {
        return Ok(());
    }
    let mask = node_mask(policy, node)?;
    // SAFETY: set_mempolicy reads a mask of MASK_BITS bits, which `mask` has; it ignores the mask for MPOL_DEFAULT.
    let result = unsafe {
        libc::syscall(libc::SYS_set_mempolicy, mode(policy), &raw const mask, libc::c_ulong::from(MASK_BITS + 1))
    };
    check(result as libc::c_int)?;
    Ok(())
}

/// The policy of the calling thread as the kernel reports it: `default`, `bind:0`, `prefer:1` and the like.
pub fn thread_policy() -> io::Result<String> {
    let mut mode: libc::c_int = 0;
    let mut mask = [0 as libc::c_ulong; POLICY_MASK_WORDS];
    // SAFETY: get_mempolicy writes one int to `mode` and at most as many bits to `mask` as it is told, which it has; the
    // address is null and the flags are 0, which asks for the thread's policy.
    let result = unsafe {
        let bits = (size_of_val(&mask) * 8) as libc::c_ulong;
        libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, mask.as_mut_ptr(), bits, 0usize, 0usize)
    };
    check(result as libc::c_int)?;
    let name = match mode & !MPOL_MODE_FLAGS {
        MPOL_DEFAULT => return Ok("default".to_owned()),
        MPOL_PREFERRED => "prefer",
        MPOL_BIND => "bind",
        other => return Ok(format!("mode {other}")),
    };
    let width = MASK_BITS as usize;
    let nodes = (0..mask.len() * width).filter(|node| mask[node / width] >> (node % width) & 1 == 1);
    Ok(format!("{name}:{}", CpuSet::new(nodes.map(|node| node as u32))))
}

/// Memory of this process by NUMA node, in bytes, and how much of it is in huge pages, as the kernel reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Bytes by node.
    pub by_node: BTreeMap<u32, u64>,
    /// Bytes in pages of 2 MiB that were reserved for such use.
    pub reserved_huge: u64,
    /// Bytes in transparent huge pages.
    pub transparent_huge: u64,
}

impl ProcessMemory {
    /// Of this process.
    ///
    /// # Errors
    /// `NotFound` on a kernel without NUMA.
    pub fn read() -> io::Result<Self> {
        let mut memory = Self::parse(&fs::read_to_string("/proc/self/numa_maps")?);
        let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
        memory.transparent_huge = rollup
            .lines()
            .find_map(|line| line.strip_prefix("AnonHugePages:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024;
        Ok(memory)
    }

    fn parse(numa_maps: &str) -> Self {
        let mut memory = Self::default();
        for line in numa_maps.lines() {
            let words = || line.split_ascii_whitespace().filter_map(|word| word.split_once('='));
            let page_kb =
                words().find_map(|(name, value)| (name == "kernelpagesize_kB").then(|| value.parse().ok())?);
            let page = page_kb.unwrap_or(4u64) * 1024;
            for (name, value) in words() {
                let node = name.strip_prefix('N').and_then(|node| node.parse::<u32>().ok());
                if let (Some(node), Ok(pages)) = (node, value.parse::<u64>()) {
                    *memory.by_node.entry(node).or_default() += pages * page;
                    memory.reserved_huge += if page > 4096 { pages * page } else { 0 };
                }
            }
        }
        memory
    }
}

/// The policy of a mapping's pages, moving those that are there already.
pub(crate) fn set_memory_policy(memory: &mut [u8], policy: NumaPolicy, node: u32) -> io::Result<()> {
    if is_single_node(node)? {
        return Ok(());
    }
    let mask = node_mask(policy, node)?;
    // SAFETY: `memory` is a mapping of whole pages that we borrow exclusively (its only caller maps it itself); mbind
    // changes where its pages lie, not what they hold. The mask has MASK_BITS bits.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            memory.as_mut_ptr(),
            memory.len(),
            mode(policy),
            &raw const mask,
            libc::c_ulong::from(MASK_BITS + 1), // the kernel takes one off
            MPOL_MF_MOVE,
        )
    };
    check(result as libc::c_int)?;
    Ok(())
}

/// Kernels without NUMA have no such call, and one node leaves nothing to choose.
fn is_single_node(node: u32) -> io::Result<bool> {
    let nodes = nodes();
    if !nodes.contains(&node) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("NUMA node {node} does not exist")));
    }
    Ok(nodes.len() == 1)
}

fn mode(policy: NumaPolicy) -> libc::c_int {
    match policy {
        NumaPolicy::Local => MPOL_DEFAULT,
        NumaPolicy::Bind => MPOL_BIND,
        NumaPolicy::Prefer => MPOL_PREFERRED,
    }
}

/// MPOL_DEFAULT wants an empty mask.
fn node_mask(policy: NumaPolicy, node: u32) -> io::Result<libc::c_ulong> {
    if policy == NumaPolicy::Local {
        return Ok(0);
    }
    1u64.checked_shl(node)
        .map(|mask| mask as libc::c_ulong)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("NUMA node {node} is beyond {MASK_BITS}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cpu_has_a_node_and_every_policy_works_here() {
        let all = nodes();
        for node in &all {
            for cpu in cpus_of_node(*node).cpus() {
                assert_eq!(node_of_cpu(*cpu), *node);
            }
        }
        for policy in [NumaPolicy::Bind, NumaPolicy::Prefer, NumaPolicy::Local] {
            set_thread_policy(policy, all[0]).unwrap();
            let expected = match policy {
                NumaPolicy::Local => "default".to_owned(),
                _ if all.len() == 1 => "default".to_owned(),
                policy => format!("{policy}:{}", all[0]),
            };
            assert_eq!(thread_policy().unwrap(), expected);
        }
        assert_eq!(set_thread_policy(NumaPolicy::Bind, 1023).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn memory_is_summed_by_node() {
        // Lines of `numa_maps` as the kernel writes them (numa(7)).
        let memory = ProcessMemory::parse(
            "7f00 bind:1 anon=3 dirty=3 active=0 N0=1 N1=2 kernelpagesize_kB=4\n\
             7f10 default file=/anon_hugepage\\040(deleted) huge anon=1 dirty=1 N1=1 kernelpagesize_kB=2048\n\
             7f20 default stack N0=5\n",
        );
        assert_eq!(memory.by_node, BTreeMap::from([(0, 6 * 4096), (1, 2 * 4096 + (2 << 20))]));
        assert_eq!(memory.reserved_huge, 2 << 20);
        let own = ProcessMemory::read().unwrap();
        assert!(own.by_node.values().sum::<u64>() > 100 << 10, "{own:?}");
    }
}
