//! Every system call of the data plane: TUN offloads, UDP GSO/GRO, affinity, NUMA memory policy, rtnetlink.
//!
//! Everything here is detected once, when it is opened, and can be turned off by an option: a kernel or a device that
//! lacks an offload gets a slower path, never a failure.

mod capabilities;
mod clock;
mod confinement;
mod memory;
mod netlink;
mod numa;
mod poll;
mod syscall;
mod thread;
mod tun;
mod udp;

pub use capabilities::{Capabilities, KernelVersion};
pub use clock::BootClock;
pub use confinement::{confine_packet_thread, confine_process};
pub use memory::{Buffer, MemoryPlacement};
pub use netlink::{Existing, Link, LinkEvent, LinkMonitor, Netlink, Prefix};
pub use numa::{NumaPolicy, ProcessMemory, cpus_of_node, node_of_cpu, nodes, set_thread_policy, thread_policy};
pub use poll::{Interest, Waker, poll};
pub use thread::{CpuSet, current_thread_id, set_thread_affinity, set_thread_name, thread_affinity, thread_cpu_time};
pub use tun::{Tun, TunOptions};
pub use udp::{Datagrams, Received, SendError, SocketMemory, UdpOptions, UdpPair, UdpSocket};
