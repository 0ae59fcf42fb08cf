//! intel-ipsec-mb, through the shim in `ipsec_mb.c`.

use crate::backend::Backend;
use crate::{Key, OpenJob, nonce};
use std::ffi::c_int;
use std::ops::Range;
use std::ptr::NonNull;
use wirelane_packet::{Segment, TAG_LEN};

/// Packets handed to the library in one call.
const CHUNK: usize = 64;

static NO_DATA: [u8; 1] = [0];

/// `IMB_MGR`, whose layout only the shim knows.
#[repr(C)]
struct Manager {
    _opaque: [u8; 0],
}

/// The same as `struct packet_job` in the shim.
#[repr(C)]
#[derive(Clone, Copy)]
struct PacketJob {
    text: *mut u8,
    len: u64,
    key: *const u8,
    tag: *mut u8,
    aad: *const u8,
    aad_len: u64,
    nonce: [u8; 12],
}

impl PacketJob {
    /// WireGuard's transport messages have no additional data, but the library wants a pointer all the same.
    const EMPTY: Self = Self {
        text: std::ptr::null_mut(),
        len: 0,
        key: std::ptr::null(),
        tag: std::ptr::null_mut(),
        aad: NO_DATA.as_ptr(),
        aad_len: 0,
        nonce: [0; 12],
    };
}

unsafe extern "C" {
    fn wirelane_imb_new(architecture: c_int) -> *mut Manager;
    fn wirelane_imb_free(manager: *mut Manager);
    fn wirelane_imb_process(manager: *mut Manager, packets: *const PacketJob, count: u64, encrypt: c_int) -> c_int;
}

/// A manager of the library: scratch memory for one thread at a time.
pub(crate) struct IpsecMb {
    manager: NonNull<Manager>,
}

// SAFETY: the library keeps no thread-local state about a manager; it may move to another thread as long as one uses
// it at a time, which `&mut self` in every method ensures.
unsafe impl Send for IpsecMb {}

impl IpsecMb {
    /// `None`: not on this processor.
    pub(crate) fn new(backend: Backend) -> Option<Self> {
        let (architecture, runs_here) = match backend {
            Backend::Sse => (0, is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("pclmulqdq")),
            Backend::Avx2 => (1, is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2")),
            Backend::Avx512 => (2, has_avx512()),
            Backend::Ifma | Backend::Portable => return None,
        };
        if !runs_here {
            return None;
        }
        // SAFETY: allocates a manager or returns null; the processor has the instructions (checked above).
        let manager = NonNull::new(unsafe { wirelane_imb_new(architecture) })?;
        Some(Self { manager })
    }

    /// See [`crate::Aead::seal_batch`].
    pub(crate) fn seal_batch(&mut self, buffer: &mut [u8], segments: &[Segment], key: &Key, first_counter: u64) {
        let mut counter = first_counter;
        for chunk in segments.chunks(CHUNK) {
            let mut packets = [PacketJob::EMPTY; CHUNK];
            let memory = Memory::new(buffer);
            for (packet, segment) in packets.iter_mut().zip(chunk) {
                *packet = PacketJob {
                    text: memory.at(segment.plaintext()),
                    len: u64::from(segment.plaintext_len),
                    key: key.as_bytes().as_ptr(),
                    tag: memory.at(segment.tag()),
                    nonce: nonce(counter),
                    ..PacketJob::EMPTY
                };
                counter = counter.wrapping_add(1);
            }
            // SAFETY: every job points to a text of `len` bytes and 16 bytes for a tag inside `buffer`, which is
            // borrowed exclusively, and to the 32 bytes of `key`.
            unsafe { self.process(&packets[..chunk.len()], true) };
        }
    }

    /// Decrypt in place; each job's computed tag goes to `each`, in order, with the buffer to compare it against.
    pub(crate) fn open_batch(
        &mut self,
        buffer: &mut [u8],
        jobs: &[OpenJob<'_>],
        mut each: impl FnMut(&[u8], &OpenJob<'_>, &[u8; TAG_LEN]),
    ) {
        for chunk in jobs.chunks(CHUNK) {
            let mut tags = [[0; TAG_LEN]; CHUNK];
            let mut packets = [PacketJob::EMPTY; CHUNK];
            let memory = Memory::new(buffer);
            for ((packet, job), tag) in packets.iter_mut().zip(chunk).zip(&mut tags) {
                *packet = PacketJob {
                    text: memory.at(job.segment.plaintext()),
                    len: u64::from(job.segment.plaintext_len),
                    key: job.key.as_bytes().as_ptr(),
                    tag: tag.as_mut_ptr(),
                    nonce: nonce(job.counter),
                    ..PacketJob::EMPTY
                };
            }
            // SAFETY: every job points to a text of `len` bytes inside `buffer`, which is borrowed exclusively, to the
            // 32 bytes of its key, and to a tag of its own on this stack frame.
            unsafe { self.process(&packets[..chunk.len()], false) };
            for (job, tag) in chunk.iter().zip(&tags) {
                each(buffer, job, tag);
            }
        }
    }

    /// The general AEAD, for test vectors: one text in place, with any nonce and additional data.
    #[cfg(test)]
    pub(crate) fn process_one(
        &mut self,
        key: &Key,
        nonce: [u8; 12],
        aad: &[u8],
        text: &mut [u8],
        encrypt: bool,
    ) -> [u8; 16] {
        let mut tag = [0; TAG_LEN];
        let packet = PacketJob {
            text: text.as_mut_ptr(),
            len: text.len() as u64,
            key: key.as_bytes().as_ptr(),
            tag: tag.as_mut_ptr(),
            aad: aad.as_ptr(),
            aad_len: aad.len() as u64,
            nonce,
        };
        // SAFETY: all pointers come from references that live through the call, with their lengths.
        unsafe { self.process(&[packet], encrypt) };
        tag
    }

    /// # Safety
    /// Every job's pointers are valid for its lengths, for writing where it says so.
    unsafe fn process(&mut self, packets: &[PacketJob], encrypt: bool) {
        // SAFETY: the manager is alive and used by this thread only; the jobs are the caller's promise.
        let result = unsafe {
            let count = packets.len() as u64;
            wirelane_imb_process(self.manager.as_ptr(), packets.as_ptr(), count, c_int::from(encrypt))
        };
        // A packet that was not encrypted must not leave: stop rather than go on.
        assert_eq!(result, 0, "intel-ipsec-mb did not complete a job");
    }
}

impl Drop for IpsecMb {
    fn drop(&mut self) {
        // SAFETY: the manager came from wirelane_imb_new and is not used again.
        unsafe { wirelane_imb_free(self.manager.as_ptr()) };
    }
}

/// What the library's AVX-512 code uses without asking.
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("bmi2")
}

/// Pointers into a buffer, for several jobs at a time.
struct Memory {
    start: *mut u8,
    len: usize,
}

impl Memory {
    fn new(buffer: &mut [u8]) -> Self {
        Self { start: buffer.as_mut_ptr(), len: buffer.len() }
    }

    /// # Panics
    /// If the range is not inside the buffer.
    fn at(&self, range: Range<usize>) -> *mut u8 {
        assert!(range.start <= range.end && range.end <= self.len, "segment outside the buffer");
        // The offset is inside the buffer, or just past it for an empty range: no overflow.
        self.start.wrapping_add(range.start)
    }
}
