//! ChaCha20-Poly1305 (RFC 8439) over batches of packets, in place; the backend is chosen at run time.
//!
//! An [`Aead`] belongs to one thread: it carries the backend's scratch memory.

mod backend;
mod key;

pub use backend::{Backend, BackendChoice, Unsupported, available};
pub use key::Key;

use wirelane_packet::Segment;

/// One packet to open: where it is, and under which key and counter it was sealed. The counter is the one in the
/// transport header; the caller has read it already, to find the keypair.
#[derive(Clone, Copy, Debug)]
pub struct OpenJob<'k> {
    /// The datagram in the buffer.
    pub segment: Segment,
    /// Its receiving key. Jobs of one batch may have different ones.
    pub key: &'k Key,
    /// The nonce: four zero bytes and this, little-endian (WireGuard paper, section 5.4.6).
    pub counter: u64,
}

/// Seals and opens packets with one backend.
pub struct Aead {
    backend: Backend,
}

impl Aead {
    /// For the calling thread.
    pub fn new(choice: BackendChoice) -> Result<Self, Unsupported> {
        let _ = choice;
        todo!()
    }

    /// The backend that runs.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Encrypt the plaintexts of `segments` in place and write each one's tag after it. The i-th is sealed with the
    /// counter `first_counter + i`. Transport headers are not touched.
    ///
    /// # Panics
    /// If a segment lies outside `buffer`: a bug of the caller.
    pub fn seal_batch(&mut self, buffer: &mut [u8], segments: &[Segment], key: &Key, first_counter: u64) {
        let _ = (buffer, segments, key, first_counter);
        todo!()
    }

    /// Decrypt the ciphertexts of `jobs` in place. `authentic` is cleared and receives one value a job: whether the tag
    /// was right, compared in constant time. What lies at a segment that was not authentic is unspecified and must not
    /// be used.
    ///
    /// # Panics
    /// If a segment lies outside `buffer`: a bug of the caller.
    pub fn open_batch(&mut self, buffer: &mut [u8], jobs: &[OpenJob<'_>], authentic: &mut Vec<bool>) {
        let _ = (buffer, jobs, authentic);
        todo!()
    }
}
