//! Where a thread runs, what it is called, how much it has used. Thread ids are the kernel's, of this process.

use crate::syscall::check;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

/// A set of CPU numbers, in the kernel's list format: `0-3,8`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CpuSet(Vec<u32>);

/// The kernel's own limit is NR_CPUS, at most 8,192.
const MAX_CPUS: u32 = 8192;
const WORD_BITS: usize = libc::c_ulong::BITS as usize;
const MASK_WORDS: usize = MAX_CPUS as usize / WORD_BITS;

impl CpuSet {
    /// The set of these CPUs, sorted and without duplicates.
    pub fn new(cpus: impl IntoIterator<Item = u32>) -> Self {
        let mut cpus: Vec<u32> = cpus.into_iter().filter(|cpu| *cpu < MAX_CPUS).collect();
        cpus.sort_unstable();
        cpus.dedup();
        Self(cpus)
    }

    /// Ascending CPU numbers.
    pub fn cpus(&self) -> &[u32] {
        &self.0
    }

    /// No CPU in it?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for CpuSet {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let mut cpus = Vec::new();
        for part in list.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |word: &str| match word.trim().parse::<u32>() {
                Ok(cpu) if cpu < MAX_CPUS => Ok(cpu),
                _ => Err(format!("{word:?} in CPU list {list:?} is no CPU number")),
            };
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("range {part:?} in CPU list {list:?} runs backwards"));
            }
            cpus.extend(first..=last);
        }
        Ok(Self::new(cpus))
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|a, b| a + 1 == *b);
        for (i, run) in runs.enumerate() {
            let separator = if i == 0 { "" } else { "," };
            match run {
                [only] => write!(f, "{separator}{only}")?,
                _ => write!(f, "{separator}{}-{}", run[0], run[run.len() - 1])?,
            }
        }
        Ok(())
    }
}

/// The kernel's id of the calling thread.
pub fn current_thread_id() -> i32 {
    // SAFETY: gettid touches no memory and cannot fail.
    unsafe { libc::gettid() }
}

/// Let the thread run on `cpus` only. Thread id 0: the calling thread.
///
/// # Errors
/// `InvalidInput` if none of them is online or allowed to this process.
pub fn set_thread_affinity(thread_id: i32, cpus: &CpuSet) -> io::Result<()> {
    let mut mask = [0 as libc::c_ulong; MASK_WORDS];
    for cpu in cpus.cpus() {
        mask[*cpu as usize / WORD_BITS] |= 1 << (*cpu as usize % WORD_BITS);
    }
    // SAFETY: the kernel reads as many bytes as it is told `mask` has. cpu_set_t is an array of c_ulong of any length.
    check(unsafe { libc::sched_setaffinity(thread_id, size_of_val(&mask), mask.as_ptr().cast()) })?;
    Ok(())
}

/// The CPUs that the kernel says the thread may run on. Thread id 0: the calling thread.
pub fn thread_affinity(thread_id: i32) -> io::Result<CpuSet> {
    let mut mask = [0 as libc::c_ulong; MASK_WORDS];
    // SAFETY: the kernel writes at most as many bytes as it is told `mask` has.
    check(unsafe { libc::sched_getaffinity(thread_id, size_of_val(&mask), mask.as_mut_ptr().cast()) })?;
    let is_set = |cpu: &u32| mask[*cpu as usize / WORD_BITS] >> (*cpu as usize % WORD_BITS) & 1 == 1;
    Ok(CpuSet::new((0..MAX_CPUS).filter(is_set)))
}

/// Name the calling thread, as `ps -L` and perf show it; cut to 15 bytes.
pub fn set_thread_name(name: &str) -> io::Result<()> {
    let mut bytes = [0u8; 16];
    for (to, from) in bytes[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: PR_SET_NAME reads a string of at most 16 bytes that ends in a zero byte, which `bytes` holds.
    check(unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) })?;
    Ok(())
}

/// CPU time that a thread of this process has used; 0: the calling thread.
pub fn thread_cpu_time(thread_id: i32) -> io::Result<Duration> {
    // The clock id of a thread's CPU time is made of its id (Linux's posix-timers.h: CPUCLOCK_PERTHREAD_MASK and
    // CPUCLOCK_SCHED).
    let clock = if thread_id == 0 { libc::CLOCK_THREAD_CPUTIME_ID } else { (!thread_id << 3) | 6 };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime writes one timespec, which `time` is.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
    Ok(Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_read_and_write() {
        for (list, canonical) in [("0", "0"), ("3,1,2", "1-3"), ("0-2,5,7-8", "0-2,5,7-8"), ("", ""), ("1,1", "1")] {
            assert_eq!(list.parse::<CpuSet>().unwrap().to_string(), canonical);
        }
        for bad in ["a", "1-", "3-1", "99999", "-1", "1..3"] {
            assert!(bad.parse::<CpuSet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_kernel_reports_the_affinity_that_was_set() {
        std::thread::spawn(|| {
            let all = thread_affinity(0).unwrap();
            let one = CpuSet::new([all.cpus()[0]]);
            set_thread_affinity(0, &one).unwrap();
            assert_eq!(thread_affinity(current_thread_id()).unwrap(), one);
            assert!(set_thread_affinity(0, &CpuSet::new([MAX_CPUS - 1])).is_err());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_has_a_name_and_a_cpu_time() {
        std::thread::spawn(|| {
            set_thread_name("a name that is far too long").unwrap();
            let id = current_thread_id();
            let name = std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).unwrap();
            assert_eq!(name, "a name that is \n");
            let before = thread_cpu_time(id).unwrap();
            while thread_cpu_time(0).unwrap() < before + Duration::from_millis(5) {}
            assert!(thread_cpu_time(id).unwrap() > before);
        })
        .join()
        .unwrap();
    }
}
