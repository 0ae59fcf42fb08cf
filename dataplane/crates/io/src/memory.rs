//! Large page-aligned buffers, placed on a NUMA node, in huge pages if asked for.

use crate::numa::{NumaPolicy, set_memory_policy};
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

const PAGE: usize = 4096;
const HUGE_PAGE: usize = 2 << 20;

/// Where a buffer's memory comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryPlacement {
    /// How strictly to keep to `node`.
    pub policy: NumaPolicy,
    /// The NUMA node; ignored for [`NumaPolicy::Local`].
    pub node: u32,
    /// Use 2 MiB pages: reserved ones if there are any, else transparent ones as the kernel pleases.
    pub huge_pages: bool,
}

/// Zeroed memory of its own mapping. Pages that are never touched take no room.
#[derive(Debug)]
pub struct Buffer {
    start: NonNull<u8>,
    /// Bytes that the caller asked for.
    len: usize,
    /// Bytes of the mapping.
    mapped: usize,
}

// SAFETY: the mapping belongs to this value alone, like a Box<[u8]>'s memory; nothing about it is tied to a thread.
unsafe impl Send for Buffer {}
// SAFETY: through a shared reference the bytes can only be read.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Map `len` bytes, at least one.
    ///
    /// # Errors
    /// `OutOfMemory`; `InvalidInput` for a length of 0 or a node that does not exist.
    pub fn new(len: usize, placement: MemoryPlacement) -> io::Result<Self> {
        let mut buffer = Self::map(len, placement.huge_pages)?;
        if placement.policy != NumaPolicy::Local {
            // SAFETY: the mapping is `mapped` bytes long, zeroed, and nobody else refers to it.
            let memory = unsafe { std::slice::from_raw_parts_mut(buffer.start.as_ptr(), buffer.mapped) };
            set_memory_policy(memory, placement.policy, placement.node)?;
        }
        buffer.len = len;
        Ok(buffer)
    }

    fn map(len: usize, huge_pages: bool) -> io::Result<Self> {
        if huge_pages {
            let mapped = len.next_multiple_of(HUGE_PAGE);
            if let Ok(buffer) = map_anonymous(mapped, libc::MAP_HUGETLB) {
                return Ok(buffer);
            }
            static SAID: std::sync::Once = std::sync::Once::new();
            SAID.call_once(|| {
                log::warn!("no reserved huge pages are free (vm.nr_hugepages): buffers use transparent ones, if any");
            });
            let buffer = map_anonymous(mapped, 0)?;
            // SAFETY: advice on a mapping of our own. A kernel without transparent huge pages refuses; the memory is
            // as good without.
            unsafe { libc::madvise(buffer.start.as_ptr().cast(), buffer.mapped, libc::MADV_HUGEPAGE) };
            return Ok(buffer);
        }
        map_anonymous(len.next_multiple_of(PAGE), 0)
    }
}

fn map_anonymous(mapped: usize, flags: libc::c_int) -> io::Result<Buffer> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory of ours.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), mapped, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapping at address 0"))?;
    Ok(Buffer { start, len: mapped, mapped })
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `map_anonymous` made; no reference to it outlives this value. It cannot fail
        // for a whole mapping, and there would be nothing to do about it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.mapped) };
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` is at most `mapped`; the mapping is readable, initialised (zeroed by the kernel) and lives as
        // long as `self`; writes need `&mut self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the reference the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zeroed_writable_and_page_aligned() {
        for huge_pages in [false, true] {
            let placement = MemoryPlacement { policy: NumaPolicy::Prefer, node: 0, huge_pages };
            let mut buffer = Buffer::new(100_000, placement).unwrap();
            assert_eq!((buffer.len(), buffer.as_ptr() as usize % PAGE), (100_000, 0));
            assert!(buffer.iter().all(|b| *b == 0));
            buffer.fill(7);
            assert!(buffer.iter().all(|b| *b == 7));
        }
    }

    #[test]
    fn impossible_buffers_are_errors() {
        assert!(Buffer::new(0, MemoryPlacement::default()).is_err());
        let nowhere = MemoryPlacement { policy: NumaPolicy::Bind, node: 1000, huge_pages: false };
        assert!(Buffer::new(4096, nowhere).is_err());
    }
}
