//! ChaCha20-Poly1305 (RFC 8439) over batches of packets, in place; the backend is chosen at run time.
//!
//! An [`Aead`] belongs to one thread: it carries the backend's scratch memory.

mod backend;
#[cfg(target_arch = "x86_64")]
mod ifma;
#[cfg(ipsec_mb)]
mod ipsec_mb;
mod key;
mod portable;
#[cfg(test)]
mod tests;

pub use backend::{Backend, BackendChoice, Unsupported, available};
pub use key::Key;

use backend::Implementation;
#[cfg(ipsec_mb)]
use subtle::ConstantTimeEq;
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
    implementation: Implementation,
}

impl Aead {
    /// For the calling thread.
    ///
    /// # Errors
    /// If a backend is forced that does not run here.
    pub fn new(choice: BackendChoice) -> Result<Self, Unsupported> {
        let backend = match choice {
            BackendChoice::Auto => available()[0],
            BackendChoice::Force(backend) => backend,
        };
        Ok(Self { backend, implementation: Implementation::new(backend)? })
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
        match &mut self.implementation {
            #[cfg(target_arch = "x86_64")]
            Implementation::Ifma(ifma) => ifma.seal_batch(buffer, segments, key, first_counter),
            #[cfg(ipsec_mb)]
            Implementation::IpsecMb(library) => library.seal_batch(buffer, segments, key, first_counter),
            Implementation::Portable => portable::seal_batch(buffer, segments, key, first_counter),
        }
    }

    /// Decrypt the ciphertexts of `jobs` in place. `authentic` is cleared and receives one value a job: whether the tag
    /// was right, compared in constant time. What lies at a segment that was not authentic is unspecified and must not
    /// be used.
    ///
    /// # Panics
    /// If a segment lies outside `buffer`: a bug of the caller.
    pub fn open_batch(&mut self, buffer: &mut [u8], jobs: &[OpenJob<'_>], authentic: &mut Vec<bool>) {
        authentic.clear();
        match &mut self.implementation {
            #[cfg(target_arch = "x86_64")]
            Implementation::Ifma(ifma) => ifma.open_batch(buffer, jobs, authentic),
            #[cfg(ipsec_mb)]
            Implementation::IpsecMb(library) => library.open_batch(buffer, jobs, |buffer, job, tag| {
                authentic.push(tag[..].ct_eq(&buffer[job.segment.tag()]).into());
            }),
            Implementation::Portable => portable::open_batch(buffer, jobs, authentic),
        }
    }
}

impl std::fmt::Debug for Aead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aead").field("backend", &self.backend).finish_non_exhaustive()
    }
}

/// The nonce of a transport message: four zero bytes and the counter (WireGuard paper, section 5.4.6).
fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}
