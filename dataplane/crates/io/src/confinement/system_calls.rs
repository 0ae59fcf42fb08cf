//! The seccomp filters.

use std::io;
use std::sync::OnceLock;

use libc::c_long;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::syscall::check_len;

/// What no part of the program ever needs, and whoever breaks into it would.
const DENIED_TO_PROCESS: &[c_long] = &[
    // Code into the kernel, or another kernel.
    libc::SYS_bpf,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    // Other processes.
    libc::SYS_kcmp,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    // Mounts and namespaces.
    libc::SYS_chroot,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_umount2,
    libc::SYS_unshare,
    // Kernel keys.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // The machine.
    libc::SYS_acct,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_personality,
    libc::SYS_quotactl,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    // Large kernel interfaces with a history.
    libc::SYS_fanotify_init,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
];

/// The packet path, the C library's memory and locks under it, and the way out.
const ALLOWED_TO_PACKET_THREAD: &[c_long] = &[
    // Packets.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_write,
    libc::SYS_writev,
    // Waiting and waking.
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_futex,
    libc::SYS_membarrier,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    // Descriptors that are open.
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_fcntl,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // Memory and its place.
    libc::SYS_brk,
    libc::SYS_get_mempolicy,
    libc::SYS_getcpu,
    libc::SYS_madvise,
    libc::SYS_mbind,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_mempolicy,
    // Clocks and randomness.
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    // Signals, and the end of the thread or the process.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

const REFUSAL: SeccompAction = SeccompAction::Errno(libc::EPERM as u32);

/// For this thread and what it starts from now on.
pub fn deny_to_process() -> io::Result<()> {
    install(&compile(DENIED_TO_PROCESS, SeccompAction::Allow, REFUSAL)?)
}

/// For this thread.
pub fn allow_to_packet_thread() -> io::Result<()> {
    // Compiled once: a gateway may have a hundred of these threads.
    static PROGRAM: OnceLock<BpfProgram> = OnceLock::new();
    let program = match PROGRAM.get() {
        Some(program) => program,
        None => {
            let compiled = compile(ALLOWED_TO_PACKET_THREAD, REFUSAL, SeccompAction::Allow)?;
            PROGRAM.get_or_init(|| compiled)
        }
    };
    install(program)
}

fn compile(listed: &[c_long], others: SeccompAction, action: SeccompAction) -> io::Result<BpfProgram> {
    let rules = listed.iter().map(|call| (*call, Vec::new())).collect();
    let architecture: TargetArch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, others, action, architecture).map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

fn install(program: &BpfProgram) -> io::Result<()> {
    let described = libc::sock_fprog {
        len: program.len().try_into().map_err(io::Error::other)?,
        // seccompiler's instruction is the kernel's struct sock_filter, with the same layout (repr(C)); the kernel only
        // reads it.
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SPEC_ALLOW: kernels before 5.16 would turn speculation off for the thread, which slows the packet path down and
    // guards against code that runs inside the process, of which there is none.
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: `described` points to `len` instructions in `program`, which both live through the call; the kernel copies
    // them and writes nothing.
    let installed =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const described) };
    check_len(installed as isize).map(drop)
}
