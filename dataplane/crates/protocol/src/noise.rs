//! The Noise steps that the handshake is made of (paper, section 5.4; Noise specification, section 5.2).

use blake2::digest::{KeyInit, Mac};
use blake2::{Blake2s256, Digest};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305};
use hmac::SimpleHmac;
use zeroize::{Zeroize, Zeroizing};

use crate::keys::{KEY_LEN, PublicKey};
use crate::messages::TAG_LEN;
use crate::session::TransportKeys;

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// The handshake nonce: every key of a handshake seals once (paper, section 5.4).
const NONCE: [u8; 12] = [0; 12];

/// A 32-byte key that is wiped when dropped.
pub(crate) type Key = Zeroizing<[u8; KEY_LEN]>;

/// A message that does not authenticate, or a public key of low order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoiseError;

/// The chaining key and the transcript's hash.
#[derive(Clone)]
pub(crate) struct SymmetricState {
    chaining_key: Key,
    hash: [u8; 32],
}

impl Drop for SymmetricState {
    fn drop(&mut self) {
        self.hash.zeroize();
    }
}

impl SymmetricState {
    /// The start of a handshake towards `responder` (section 5.4.2, first three lines).
    pub fn new(responder: &PublicKey) -> Self {
        Self::with_prologue(IDENTIFIER, responder)
    }

    /// With a prologue other than WireGuard's.
    fn with_prologue(prologue: &[u8], responder: &PublicKey) -> Self {
        let chaining_key = hash(&[CONSTRUCTION]);
        let transcript = hash(&[&chaining_key, prologue]);
        Self { chaining_key: Zeroizing::new(chaining_key), hash: hash(&[&transcript, responder.as_bytes()]) }
    }

    /// Takes an ephemeral public key into transcript and chaining key.
    pub fn mix_ephemeral(&mut self, public: &PublicKey) {
        self.mix_hash(public.as_bytes());
        self.mix(public.as_bytes());
    }

    /// Takes a secret into the chaining key.
    pub fn mix(&mut self, secret: &[u8; 32]) {
        [self.chaining_key] = kdf(&self.chaining_key, secret);
    }

    /// Takes a secret into the chaining key and derives a key from it.
    pub fn mix_key(&mut self, secret: &[u8; 32]) -> Key {
        let [chaining_key, key] = kdf(&self.chaining_key, secret);
        self.chaining_key = chaining_key;
        key
    }

    /// Takes the preshared key into chaining key and transcript, and derives a key (section 5.4.3).
    pub fn mix_preshared_key(&mut self, preshared: &[u8; 32]) -> Key {
        let [chaining_key, transcript, key] = kdf(&self.chaining_key, preshared);
        self.chaining_key = chaining_key;
        self.mix_hash(&*transcript);
        key
    }

    /// Encrypts `plaintext` into `sealed`, which is a tag longer, and takes that into the transcript.
    pub fn seal(&mut self, key: &Key, plaintext: &[u8], sealed: &mut [u8]) {
        let (text, tag) = sealed.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let computed = ChaCha20Poly1305::new((&**key).into())
            .encrypt_inout_detached(&NONCE.into(), &self.hash, text.into())
            .expect("fields of handshake messages are far shorter than the cipher's limit");
        tag.copy_from_slice(&computed);
        self.mix_hash(sealed);
    }

    /// Decrypts `sealed` into `plaintext`, which is a tag shorter, and takes `sealed` into the transcript.
    pub fn open(&mut self, key: &Key, sealed: &[u8], plaintext: &mut [u8]) -> Result<(), NoiseError> {
        let (text, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(NoiseError)?;
        plaintext.copy_from_slice(text);
        ChaCha20Poly1305::new((&**key).into())
            .decrypt_inout_detached(&NONCE.into(), &self.hash, plaintext.into(), tag.into())
            .map_err(|_| NoiseError)?;
        self.mix_hash(sealed);
        Ok(())
    }

    /// The initiator's two keys (section 5.4.5); the responder's are the same, exchanged.
    pub fn split(&self) -> TransportKeys {
        let [send, receive] = kdf(&self.chaining_key, &[]);
        TransportKeys { send, receive }
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = hash(&[&self.hash, data]);
    }
}

/// HASH of the parts, one after the other (section 5.4).
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Blake2s256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// KDF_N (section 5.4): HKDF with HMAC-BLAKE2s.
fn kdf<const N: usize>(key: &[u8; 32], input: &[u8]) -> [Key; N] {
    let extracted = hmac(key, &[input]);
    let mut output: [Key; N] = std::array::from_fn(|_| Zeroizing::default());
    for position in 0..N {
        let previous: &[u8] = if position == 0 { &[] } else { &*output[position - 1] };
        output[position] = hmac(&extracted, &[previous, &[position as u8 + 1]]);
    }
    output
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Key {
    let mut mac = <SimpleHmac<Blake2s256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 5.4: the constants that other implementations print in their sources.
    #[test]
    fn initial_chaining_key() {
        assert_eq!(hash(&[CONSTRUCTION])[..8], [0x60, 0xe2, 0x6d, 0xae, 0xf3, 0x27, 0xef, 0xc0]);
        let chaining_key = hash(&[CONSTRUCTION]);
        assert_eq!(hash(&[&chaining_key, IDENTIFIER])[..8], [0x22, 0x11, 0xb3, 0x61, 0x08, 0x1a, 0xc5, 0x66]);
    }
}
