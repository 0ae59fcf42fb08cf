//! ChaCha20-Poly1305 over several packets at a time, with AVX-512 IFMA.
//!
//! A packet alone cannot fill the vectors: 1,420 bytes are 23 ChaCha20 blocks, one and a half times the 16 that a pass
//! computes, and Poly1305 is a chain in which each block waits for the one before. A batch of packets of one length can:
//! the blocks of up to 16 packets go through the passes as one stream, and each lane of Poly1305 is a packet.
//!
//! Both halves are constant-time: no branch and no address depends on a key or a text.

mod chacha;
mod poly;

use crate::backend::Implementation;
use crate::{Aead, Backend, Key, OpenJob};
use std::ops::Range;
use subtle::ConstantTimeEq;
use wirelane_packet::{Segment, TAG_LEN};

/// Packets that are worked on together.
const LANES: usize = 16;
/// Fewer packets of one length than this are faster one by one.
const MIN_RUN: usize = 4;

/// Sealing and opening of runs; what is too short for a run goes to another backend.
pub(crate) struct Ifma {
    one_by_one: Box<Aead>,
}

/// Up to 16 texts of one length under one key.
struct Group {
    /// Where they are; entries from `count` on repeat the first, so that every lane has something valid to read.
    texts: [*mut u8; LANES],
    counters: [u64; LANES],
    count: usize,
    /// Length of each in bytes.
    len: usize,
}

type Tags = [[u8; TAG_LEN]; LANES];

impl Ifma {
    /// `None`: not on this processor.
    pub(crate) fn new() -> Option<Self> {
        let runs_here = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512ifma");
        if !runs_here {
            return None;
        }
        let (backend, implementation) = [Backend::Avx512, Backend::Portable]
            .into_iter()
            .find_map(|backend| Some((backend, Implementation::new(backend).ok()?)))?;
        Some(Self { one_by_one: Box::new(Aead { backend, implementation }) })
    }

    /// See [`Aead::seal_batch`].
    pub(crate) fn seal_batch(&mut self, buffer: &mut [u8], segments: &[Segment], key: &Key, first_counter: u64) {
        let mut counter = first_counter;
        for run in segments.chunk_by(|a, b| a.plaintext_len == b.plaintext_len) {
            for part in run.chunks(LANES) {
                if part.len() < MIN_RUN {
                    self.one_by_one.seal_batch(buffer, part, key, counter);
                } else {
                    let group =
                        Group::new(buffer, part.iter().enumerate().map(|(i, s)| (*s, counter.wrapping_add(i as u64))));
                    // SAFETY: `new` has found the instructions; the group's texts lie in `buffer`, borrowed exclusively.
                    let tags = unsafe { seal(&group, key) };
                    for (segment, tag) in part.iter().zip(tags) {
                        buffer[segment.tag()].copy_from_slice(&tag);
                    }
                }
                counter = counter.wrapping_add(part.len() as u64);
            }
        }
    }

    /// See [`Aead::open_batch`].
    pub(crate) fn open_batch(&mut self, buffer: &mut [u8], jobs: &[OpenJob<'_>], authentic: &mut Vec<bool>) {
        let mut few = Vec::new();
        let alike = |a: &OpenJob<'_>, b: &OpenJob<'_>| {
            a.segment.plaintext_len == b.segment.plaintext_len && std::ptr::eq(a.key, b.key)
        };
        for run in jobs.chunk_by(alike) {
            for part in run.chunks(LANES) {
                if part.len() < MIN_RUN {
                    self.one_by_one.open_batch(buffer, part, &mut few);
                    authentic.extend_from_slice(&few);
                    continue;
                }
                let group = Group::new(buffer, part.iter().map(|job| (job.segment, job.counter)));
                // SAFETY: as in `seal_batch`.
                let tags = unsafe { open(&group, part[0].key) };
                authentic.extend(part.iter().zip(tags).map(|(job, tag)| is_same(tag, &buffer[job.segment.tag()])));
            }
        }
    }
}

/// In constant time, as one number: subtle compares slices byte by byte, with a barrier each.
fn is_same(tag: [u8; TAG_LEN], received: &[u8]) -> bool {
    let received: [u8; TAG_LEN] = received.try_into().expect("a tag's range is that long");
    u128::from_ne_bytes(tag).ct_eq(&u128::from_ne_bytes(received)).into()
}

impl Group {
    /// # Panics
    /// If a segment lies outside the buffer.
    fn new(buffer: &mut [u8], packets: impl ExactSizeIterator<Item = (Segment, u64)>) -> Self {
        let mut group =
            Self { texts: [buffer.as_mut_ptr(); LANES], counters: [0; LANES], count: packets.len(), len: 0 };
        for (i, (segment, counter)) in packets.enumerate() {
            let Range { start, end } = segment.plaintext();
            assert!(segment.tag().end <= buffer.len(), "segment outside the buffer");
            group.len = end - start;
            group.texts[i] = buffer[start..].as_mut_ptr();
            group.counters[i] = counter;
        }
        let first = group.texts[0];
        group.texts[group.count..].fill(first);
        group
    }

    /// 64-byte blocks of each text, the last of which may be shorter.
    fn blocks(&self) -> usize {
        self.len.div_ceil(64)
    }
}

/// # Safety
/// The processor has the instructions; the group's texts are valid for reading and writing `len` bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
unsafe fn seal(group: &Group, key: &Key) -> Tags {
    let one_time_keys = chacha::one_time_keys(group, key);
    // SAFETY: the caller's promise.
    unsafe {
        chacha::apply(group, key);
        poly::authenticate(group, &one_time_keys)
    }
}

/// # Safety
/// As for [`seal`].
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
unsafe fn open(group: &Group, key: &Key) -> Tags {
    let one_time_keys = chacha::one_time_keys(group, key);
    // SAFETY: the caller's promise.
    unsafe {
        let tags = poly::authenticate(group, &one_time_keys);
        chacha::apply(group, key);
        tags
    }
}
