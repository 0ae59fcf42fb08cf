//! How fast this machine encrypts, without anything around it: what a data plane's CPU time is measured against.

use std::time::{Duration, Instant};

use wirelane_crypto::{Aead, Backend, BackendChoice, Key, Unsupported};
use wirelane_packet::Segment;

const PACKETS: usize = 64;
const ROUNDS: usize = 300;
/// Shorter than the scheduler's time slice, so that some rounds pass undisturbed.
const ROUND: Duration = Duration::from_micros(500);

/// What one CPU seals in batches of 64 packets.
#[derive(Clone, Copy, Debug)]
pub struct AeadRate {
    /// The implementation that ran.
    pub backend: Backend,
    /// Plaintext, 1e9 bytes a second.
    pub gbytes_per_s: f64,
}

/// Seals for about 0.15 s and takes the fastest round, the one that a shared machine disturbed least.
pub fn aead_rate(choice: BackendChoice, packet_bytes: usize) -> Result<AeadRate, Unsupported> {
    let mut aead = Aead::new(choice)?;
    let key = Key::new([7; 32]);
    let stride = (packet_bytes + 32).next_multiple_of(16);
    let segments: Vec<_> =
        (0..PACKETS).map(|i| Segment { offset: (i * stride) as u32, plaintext_len: packet_bytes as u32 }).collect();
    let mut buffer = vec![1; PACKETS * stride];
    let mut round = || {
        let start = Instant::now();
        let mut bytes = 0;
        while start.elapsed() < ROUND {
            aead.seal_batch(&mut buffer, &segments, &key, 0);
            bytes += PACKETS * packet_bytes;
        }
        bytes as f64 / start.elapsed().as_secs_f64()
    };
    let fastest = (0..ROUNDS).map(|_| round()).fold(0.0, f64::max);
    Ok(AeadRate { backend: aead.backend(), gbytes_per_s: fastest / 1e9 })
}
