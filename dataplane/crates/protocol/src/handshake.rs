//! The two messages of a handshake (paper, sections 5.4.2 and 5.4.3), for both roles.
//!
//! ```text
//! initiator                                   responder
//! Initiator::initiate  ── initiation, 148 B ──▶  Initiation::open        who is it?
//!                                                Initiation::authenticate   really, and when?
//! Initiator::finish    ◀── response, 92 B ─────  Authenticated::respond
//! ```
//! Each step consumes its state or leaves it untouched, so a forged message cannot spoil a handshake under way.

use std::time::Duration;

use rand_core::CryptoRng;

use crate::keys::{PresharedKey, PrivateKey, PublicKey};
use crate::messages::{INITIATION_LEN, RESPONSE_LEN, TAG_LEN, TYPE_INITIATION, TYPE_RESPONSE};
use crate::noise::{Key, NoiseError, SymmetricState};
use crate::session::TransportKeys;

/// A TAI64N timestamp: orders the initiations of one peer (paper, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tai64N([u8; 12]);

impl Tai64N {
    /// TAI64's label of the Unix epoch: 2^62 seconds, and the 10 by which TAI was ahead of UTC in 1970.
    const UNIX_EPOCH: u64 = (1 << 62) + 10;
    /// Timestamps are rounded down to this, so that they tell little about our clock. Linux does the same; it is the
    /// power of two below the 20 ms that are the least distance between two initiations.
    pub const RESOLUTION: Duration = Duration::from_nanos(1 << 24);

    pub fn from_unix(unix: Duration) -> Self {
        let nanos = unix.subsec_nanos() & !((1 << 24) - 1);
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&Self::UNIX_EPOCH.saturating_add(unix.as_secs()).to_be_bytes());
        bytes[8..].copy_from_slice(&nanos.to_be_bytes());
        Self(bytes)
    }
}

/// Our own keys.
pub(crate) struct Identity {
    pub private: PrivateKey,
    pub public: PublicKey,
}

impl Identity {
    pub fn new(private: PrivateKey) -> Self {
        Self { public: private.public_key(), private }
    }
}

/// The peer's keys, as a handshake needs them.
pub(crate) struct PeerKeys<'a> {
    pub public: &'a PublicKey,
    pub preshared: &'a PresharedKey,
    /// DH of our static key and the peer's: the same in every handshake.
    pub static_shared: &'a Key,
}

/// An initiation was sent; its response is awaited.
pub(crate) struct Initiator {
    pub local_index: u32,
    noise: SymmetricState,
    ephemeral: PrivateKey,
}

impl Initiator {
    /// Makes an initiation; its two MACs are still zero.
    pub fn initiate(
        identity: &Identity,
        peer: &PeerKeys<'_>,
        local_index: u32,
        timestamp: Tai64N,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(Self, [u8; INITIATION_LEN]), NoiseError> {
        let ephemeral = PrivateKey::generate(rng);
        let ephemeral_public = ephemeral.public_key();
        let mut message = [0; INITIATION_LEN];
        message[0] = TYPE_INITIATION;
        message[4..8].copy_from_slice(&local_index.to_le_bytes());
        message[8..40].copy_from_slice(ephemeral_public.as_bytes());

        let mut noise = SymmetricState::new(peer.public);
        noise.mix_ephemeral(&ephemeral_public);
        let key = noise.mix_key(&*ephemeral.diffie_hellman(peer.public).ok_or(NoiseError)?);
        noise.seal(&key, identity.public.as_bytes(), &mut message[40..88]);
        let key = noise.mix_key(peer.static_shared);
        noise.seal(&key, &timestamp.0, &mut message[88..116]);
        Ok((Self { local_index, noise, ephemeral }, message))
    }

    /// Takes the response, and gives the sender's index and our keys. The state stays as it was, for a response that
    /// is forged.
    pub fn finish(
        &self,
        identity: &Identity,
        preshared: &PresharedKey,
        message: &[u8; RESPONSE_LEN],
    ) -> Result<(u32, TransportKeys), NoiseError> {
        let ephemeral = PublicKey::from(field(message, 12));
        let mut noise = self.noise.clone();
        noise.mix_ephemeral(&ephemeral);
        noise.mix(&*self.ephemeral.diffie_hellman(&ephemeral).ok_or(NoiseError)?);
        noise.mix(&*identity.private.diffie_hellman(&ephemeral).ok_or(NoiseError)?);
        let key = noise.mix_preshared_key(preshared.as_bytes());
        noise.open(&key, &message[44..60], &mut [])?;
        Ok((u32::from_le_bytes(field(message, 4)), noise.split()))
    }
}

/// An initiation whose sender is named but not yet authenticated.
pub(crate) struct Initiation<'a> {
    message: &'a [u8; INITIATION_LEN],
    noise: SymmetricState,
    /// Who claims to have sent it.
    pub public: PublicKey,
}

impl<'a> Initiation<'a> {
    pub fn open(identity: &Identity, message: &'a [u8; INITIATION_LEN]) -> Result<Self, NoiseError> {
        let ephemeral = PublicKey::from(field(message, 8));
        let mut noise = SymmetricState::new(&identity.public);
        noise.mix_ephemeral(&ephemeral);
        let key = noise.mix_key(&*identity.private.diffie_hellman(&ephemeral).ok_or(NoiseError)?);
        let mut public = [0; 32];
        noise.open(&key, &message[40..88], &mut public)?;
        Ok(Self { message, noise, public: PublicKey::from(public) })
    }

    /// Proves that the sender holds the peer's private key.
    pub fn authenticate(mut self, static_shared: &Key) -> Result<Authenticated, NoiseError> {
        let key = self.noise.mix_key(static_shared);
        let mut timestamp = [0; 12];
        self.noise.open(&key, &self.message[88..116], &mut timestamp)?;
        Ok(Authenticated {
            noise: self.noise,
            ephemeral: PublicKey::from(field(self.message, 8)),
            remote_index: u32::from_le_bytes(field(self.message, 4)),
            timestamp: Tai64N(timestamp),
        })
    }
}

/// An authentic initiation; whether it is new is for the caller to see from its timestamp.
pub(crate) struct Authenticated {
    noise: SymmetricState,
    ephemeral: PublicKey,
    pub remote_index: u32,
    pub timestamp: Tai64N,
}

impl Authenticated {
    /// Makes the response, its two MACs still zero, and our keys.
    pub fn respond(
        mut self,
        peer: &PeerKeys<'_>,
        local_index: u32,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<([u8; RESPONSE_LEN], TransportKeys), NoiseError> {
        let ephemeral = PrivateKey::generate(rng);
        let ephemeral_public = ephemeral.public_key();
        let mut message = [0; RESPONSE_LEN];
        message[0] = TYPE_RESPONSE;
        message[4..8].copy_from_slice(&local_index.to_le_bytes());
        message[8..12].copy_from_slice(&self.remote_index.to_le_bytes());
        message[12..44].copy_from_slice(ephemeral_public.as_bytes());

        let noise = &mut self.noise;
        noise.mix_ephemeral(&ephemeral_public);
        noise.mix(&*ephemeral.diffie_hellman(&self.ephemeral).ok_or(NoiseError)?);
        noise.mix(&*ephemeral.diffie_hellman(peer.public).ok_or(NoiseError)?);
        let key = noise.mix_preshared_key(peer.preshared.as_bytes());
        noise.seal(&key, &[], &mut message[44..44 + TAG_LEN]);
        let TransportKeys { send, receive } = noise.split();
        Ok((message, TransportKeys { send: receive, receive: send }))
    }
}

/// The `N` bytes at `offset`, which lie within the message.
pub(crate) fn field<const N: usize>(message: &[u8], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&message[offset..offset + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::rng;

    /// Two peers that have never met.
    struct Pair {
        initiator: Identity,
        responder: Identity,
        preshared: PresharedKey,
    }

    impl Pair {
        fn new(seed: u64) -> Self {
            let mut rng = rng(seed);
            let mut preshared = [0; 32];
            rand_core::Rng::fill_bytes(&mut rng, &mut preshared);
            Self {
                initiator: Identity::new(PrivateKey::generate(&mut rng)),
                responder: Identity::new(PrivateKey::generate(&mut rng)),
                preshared: PresharedKey::from(preshared),
            }
        }

        fn static_shared(&self) -> Key {
            self.initiator.private.diffie_hellman(&self.responder.public).unwrap()
        }

        fn initiate(&self, unix: Duration) -> (Initiator, [u8; INITIATION_LEN]) {
            let static_shared = self.static_shared();
            let keys =
                PeerKeys { public: &self.responder.public, preshared: &self.preshared, static_shared: &static_shared };
            Initiator::initiate(&self.initiator, &keys, 7, Tai64N::from_unix(unix), &mut rng(99)).unwrap()
        }

        fn respond(
            &self,
            initiation: &[u8; INITIATION_LEN],
        ) -> Result<([u8; RESPONSE_LEN], TransportKeys), NoiseError> {
            let static_shared = self.static_shared();
            let keys =
                PeerKeys { public: &self.initiator.public, preshared: &self.preshared, static_shared: &static_shared };
            let opened = Initiation::open(&self.responder, initiation)?;
            assert_eq!(opened.public, self.initiator.public);
            opened.authenticate(&static_shared)?.respond(&keys, 9, &mut rng(100))
        }

        /// The same peer, played by another implementation of Noise.
        fn snow(&self, identity: &Identity) -> snow::Builder<'_> {
            let (private, preshared) = (identity.private.as_bytes().to_vec(), self.preshared.as_bytes());
            snow::Builder::new("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s".parse().unwrap())
                .prologue(b"WireGuard v1 zx2c4 Jason@zx2c4.com")
                .unwrap()
                .local_private_key(Box::leak(private.into_boxed_slice()))
                .unwrap()
                .psk(2, preshared)
                .unwrap()
        }
    }

    #[test]
    fn both_sides_agree() {
        let pair = Pair::new(1);
        let (initiator, initiation) = pair.initiate(Duration::from_secs(5));
        let (response, responder_keys) = pair.respond(&initiation).unwrap();
        let (remote_index, keys) = initiator.finish(&pair.initiator, &pair.preshared, &response).unwrap();
        assert_eq!(remote_index, 9);
        assert_eq!((keys.send, keys.receive), (responder_keys.receive, responder_keys.send));
    }

    #[test]
    fn our_initiator_agrees_with_snow() {
        let pair = Pair::new(2);
        let mut snow = pair.snow(&pair.responder).build_responder().unwrap();
        let (initiator, initiation) = pair.initiate(Duration::from_secs(1 << 20));
        let mut timestamp = [0; 64];
        let len = snow.read_message(&initiation[8..116], &mut timestamp).unwrap();
        assert_eq!(timestamp[..len], [0x40, 0, 0, 0, 0, 0x10, 0, 10, 0, 0, 0, 0]);
        assert_eq!(snow.get_remote_static(), Some(&pair.initiator.public.as_bytes()[..]));
        let mut response = [0; RESPONSE_LEN];
        assert_eq!(snow.write_message(&[], &mut response[12..60]).unwrap(), 48);
        let (_, keys) = initiator.finish(&pair.initiator, &pair.preshared, &response).unwrap();
        assert_eq!((*keys.send, *keys.receive), snow.dangerously_get_raw_split());
    }

    #[test]
    fn our_responder_agrees_with_snow() {
        let pair = Pair::new(3);
        let builder = pair.snow(&pair.initiator).remote_public_key(pair.responder.public.as_bytes()).unwrap();
        let mut snow = builder.build_initiator().unwrap();
        let mut initiation = [0; INITIATION_LEN];
        assert_eq!(snow.write_message(&[3; 12], &mut initiation[8..116]).unwrap(), 108);
        let (response, keys) = pair.respond(&initiation).unwrap();
        snow.read_message(&response[12..60], &mut []).unwrap();
        assert_eq!((*keys.receive, *keys.send), snow.dangerously_get_raw_split());
    }

    #[test]
    fn one_wrong_bit_is_noticed_and_spoils_nothing() {
        let pair = Pair::new(4);
        let (initiator, initiation) = pair.initiate(Duration::from_secs(5));
        for byte in 8..116 {
            let mut forged = initiation;
            forged[byte] ^= 1;
            // A public key's most significant bit does not count (RFC 7748, section 5), but it is in the transcript.
            assert!(pair.respond(&forged).is_err(), "{byte}");
        }
        let (response, _) = pair.respond(&initiation).unwrap();
        for byte in 12..60 {
            let mut forged = response;
            forged[byte] ^= 0x80;
            assert!(initiator.finish(&pair.initiator, &pair.preshared, &forged).is_err(), "{byte}");
        }
        assert!(initiator.finish(&pair.initiator, &PresharedKey::default(), &response).is_err());
        assert!(initiator.finish(&pair.initiator, &pair.preshared, &response).is_ok());
    }

    #[test]
    fn low_order_ephemerals_are_refused() {
        let pair = Pair::new(5);
        let (initiator, mut initiation) = pair.initiate(Duration::from_secs(5));
        let (mut response, _) = pair.respond(&initiation).unwrap();
        initiation[8..40].fill(0);
        response[12..44].fill(0);
        assert!(Initiation::open(&pair.responder, &initiation).is_err());
        assert!(initiator.finish(&pair.initiator, &pair.preshared, &response).is_err());
    }

    #[test]
    fn timestamps_are_ordered_and_coarse() {
        let at = |secs, nanos| Tai64N::from_unix(Duration::new(secs, nanos));
        assert_eq!(at(5, 0), at(5, (1 << 24) - 1));
        assert!(at(5, 1 << 24) > at(5, 0));
        assert!(at(6, 0) > at(5, 999_999_999));
        assert!(at(1 << 40, 0) > at(1 << 39, 0));
    }
}
