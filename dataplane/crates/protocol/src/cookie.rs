//! Denial-of-service mitigation (paper, section 5.3): mac1, cookies and mac2, and a limit for each source address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use blake2::Blake2sMac;
use blake2::digest::{KeyInit, Mac, consts::U16};
use chacha20poly1305::{AeadInOut, XChaCha20Poly1305};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::handshake::field;
use crate::keys::PublicKey;
use crate::messages::{COOKIE_REPLY_LEN, MAC_LEN, TYPE_COOKIE_REPLY};
use crate::noise::{Key, hash};
use crate::time::Instant;

const LABEL_MAC1: &[u8] = b"mac1----";
const LABEL_COOKIE: &[u8] = b"cookie--";

/// A cookie is not used in the last seconds of its life, for it may not arrive in time (COOKIE_SECRET_LATENCY in Linux).
const LATENCY: Duration = Duration::from_secs(5);

type MacBytes = [u8; MAC_LEN];

/// MAC (section 5.4): keyed BLAKE2s with 16 bytes of output.
fn mac(key: &[u8], parts: &[&[u8]]) -> MacBytes {
    let mut mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(key).expect("keys of MAC have 16 or 32 bytes");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The two keys that belong to the receiver of a handshake message.
struct ReceiverKeys {
    mac1: [u8; 32],
    cookie: [u8; 32],
}

impl ReceiverKeys {
    fn new(receiver: &PublicKey) -> Self {
        Self { mac1: hash(&[LABEL_MAC1, receiver.as_bytes()]), cookie: hash(&[LABEL_COOKIE, receiver.as_bytes()]) }
    }
}

/// A handshake message without its MACs, its mac1, and its mac2.
fn split_macs(message: &[u8]) -> Option<(&[u8], &MacBytes, &MacBytes)> {
    let (rest, mac2) = message.split_last_chunk()?;
    let (body, mac1) = rest.split_last_chunk()?;
    Some((body, mac1, mac2))
}

/// Checks handshake messages that come in, and makes cookie replies.
pub(crate) struct CookieChecker {
    keys: ReceiverKeys,
    secret: Key,
    secret_born: Option<Instant>,
    secret_max_age: Duration,
}

impl CookieChecker {
    /// For messages to the device with this public key.
    pub fn new(own: &PublicKey, secret_max_age: Duration) -> Self {
        Self { keys: ReceiverKeys::new(own), secret: Zeroizing::default(), secret_born: None, secret_max_age }
    }

    /// Whether the sender knows our public key (section 5.4.4).
    pub fn mac1_is_valid(&self, message: &[u8]) -> bool {
        split_macs(message).is_some_and(|(body, mac1, _)| mac(&self.keys.mac1, &[body]).ct_eq(mac1).into())
    }

    /// Whether the sender has a cookie of ours that is still good, and so is where it says it is.
    pub fn mac2_is_valid(&self, message: &[u8], source: SocketAddr, now: Instant) -> bool {
        if self.secret_is_old(now) {
            return false;
        }
        split_macs(message)
            .is_some_and(|(body, mac1, mac2)| mac(&self.cookie(source), &[body, mac1]).ct_eq(mac2).into())
    }

    /// The answer to a handshake message without a good mac2 (section 5.4.7).
    pub fn reply(
        &mut self,
        message: &[u8],
        source: SocketAddr,
        now: Instant,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> [u8; COOKIE_REPLY_LEN] {
        if self.secret_is_old(now) {
            rng.fill_bytes(&mut *self.secret);
            self.secret_born = Some(now);
        }
        let mut reply = [0; COOKIE_REPLY_LEN];
        reply[0] = TYPE_COOKIE_REPLY;
        reply[4..8].copy_from_slice(&message[4..8]);
        rng.fill_bytes(&mut reply[8..32]);
        let nonce: [u8; 24] = field(&reply, 8);
        reply[32..48].copy_from_slice(&self.cookie(source));
        let mac1 = split_macs(message).map_or(&[][..], |(_, mac1, _)| mac1);
        let tag = XChaCha20Poly1305::new((&self.keys.cookie).into())
            .encrypt_inout_detached(&nonce.into(), mac1, (&mut reply[32..48]).into())
            .expect("a cookie is far shorter than the cipher's limit");
        reply[48..].copy_from_slice(&tag);
        reply
    }

    fn secret_is_old(&self, now: Instant) -> bool {
        self.secret_born.is_none_or(|born| now.since(born) >= self.secret_max_age)
    }

    fn cookie(&self, source: SocketAddr) -> MacBytes {
        let port = source.port().to_be_bytes();
        match source.ip() {
            IpAddr::V4(v4) => mac(&*self.secret, &[&v4.octets(), &port]),
            IpAddr::V6(v6) => mac(&*self.secret, &[&v6.octets(), &port]),
        }
    }
}

/// Puts the MACs on what goes to one peer, and keeps the cookie that it gave us.
pub(crate) struct CookieJar {
    keys: ReceiverKeys,
    /// mac1 of the last message, until a cookie reply to it has come.
    last_mac1: Option<MacBytes>,
    cookie: Option<(MacBytes, Instant)>,
    max_age: Duration,
}

impl CookieJar {
    /// For messages to `peer`.
    pub fn new(peer: &PublicKey, secret_max_age: Duration) -> Self {
        let max_age = secret_max_age.saturating_sub(LATENCY.min(secret_max_age / 4));
        Self { keys: ReceiverKeys::new(peer), last_mac1: None, cookie: None, max_age }
    }

    /// Fills in mac1 and, with a cookie, mac2 (section 5.4.4).
    pub fn stamp(&mut self, message: &mut [u8], now: Instant) {
        let (rest, mac2) = message.split_at_mut(message.len() - MAC_LEN);
        let (body, mac1) = rest.split_at_mut(rest.len() - MAC_LEN);
        let value = mac(&self.keys.mac1, &[body]);
        mac1.copy_from_slice(&value);
        self.last_mac1 = Some(value);
        if let Some((cookie, _)) = self.cookie.filter(|(_, born)| now.since(*born) < self.max_age) {
            mac2.copy_from_slice(&mac(&cookie, &[rest]));
        }
    }

    /// Takes the cookie out of a reply to our last message; false if it is none.
    pub fn accept_reply(&mut self, reply: &[u8; COOKIE_REPLY_LEN], now: Instant) -> bool {
        let Some(mac1) = self.last_mac1 else { return false };
        let nonce: [u8; 24] = field(reply, 8);
        let mut cookie: MacBytes = field(reply, 32);
        let tag: [u8; 16] = field(reply, 48);
        let opened = XChaCha20Poly1305::new((&self.keys.cookie).into()).decrypt_inout_detached(
            &nonce.into(),
            &mac1,
            (&mut cookie[..]).into(),
            &tag.into(),
        );
        if opened.is_err() {
            return false;
        }
        self.cookie = Some((cookie, now));
        self.last_mac1 = None;
        true
    }
}

/// A token bucket for each source: 20 handshake messages a second, 5 at once (as in Linux, ratelimiter.c).
pub(crate) struct RateLimiter {
    buckets: HashMap<IpAddr, Bucket>,
    last_swept: Instant,
}

struct Bucket {
    /// What is left to spend.
    credit: Duration,
    refilled: Instant,
}

impl RateLimiter {
    const COST: Duration = Duration::from_millis(1000 / 20);
    const BURST: Duration = Duration::from_millis(5 * 1000 / 20);
    /// A bucket that nobody has taken from for so long is full again, and forgotten.
    const FORGET_AFTER: Duration = Duration::from_secs(1);
    /// Sources have proved their address before they get a bucket, so this many at once are no accident.
    const MAX_BUCKETS: usize = 1 << 16;

    pub fn new(now: Instant) -> Self {
        Self { buckets: HashMap::new(), last_swept: now }
    }

    /// Whether this source may send one more now.
    pub fn allows(&mut self, source: IpAddr, now: Instant) -> bool {
        if now.since(self.last_swept) >= Self::FORGET_AFTER {
            self.buckets.retain(|_, bucket| now.since(bucket.refilled) < Self::FORGET_AFTER);
            self.last_swept = now;
        }
        let source = Self::network(source);
        if self.buckets.len() >= Self::MAX_BUCKETS && !self.buckets.contains_key(&source) {
            return false;
        }
        let bucket = self.buckets.entry(source).or_insert(Bucket { credit: Self::BURST, refilled: now });
        bucket.credit = (bucket.credit + now.since(bucket.refilled)).min(Self::BURST);
        bucket.refilled = now;
        match bucket.credit.checked_sub(Self::COST) {
            Some(rest) => {
                bucket.credit = rest;
                true
            }
            None => false,
        }
    }

    /// IPv6 sources count by their /64, which is what one host can have to itself.
    fn network(source: IpAddr) -> IpAddr {
        match source {
            IpAddr::V4(_) => source,
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{INITIATION_LEN, TYPE_INITIATION};
    use crate::testing::rng;

    const MAX_AGE: Duration = Duration::from_secs(120);
    const SOURCE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7);

    fn at(seconds: u64) -> Instant {
        Instant::from(Duration::from_secs(seconds))
    }

    fn message() -> [u8; INITIATION_LEN] {
        let mut message = [0x5a; INITIATION_LEN];
        message[0] = TYPE_INITIATION;
        message[INITIATION_LEN - MAC_LEN..].fill(0);
        message
    }

    /// A checker, and a jar that has its cookie, given out at 0.
    fn introduced() -> (CookieChecker, CookieJar) {
        let receiver = PublicKey::from([3; 32]);
        let (mut checker, mut jar) = (CookieChecker::new(&receiver, MAX_AGE), CookieJar::new(&receiver, MAX_AGE));
        let mut message = message();
        jar.stamp(&mut message, at(0));
        assert!(checker.mac1_is_valid(&message) && !checker.mac2_is_valid(&message, SOURCE, at(0)));
        let reply = checker.reply(&message, SOURCE, at(0), &mut rng(1));
        assert_eq!((reply[0], &reply[4..8]), (TYPE_COOKIE_REPLY, &message[4..8]));
        assert!(jar.accept_reply(&reply, at(0)));
        assert!(!jar.accept_reply(&reply, at(0)), "one reply a message");
        (checker, jar)
    }

    #[test]
    fn a_cookie_proves_the_address_for_two_minutes() {
        let (checker, mut jar) = introduced();
        let mut fresh = message();
        jar.stamp(&mut fresh, at(114));
        assert!(checker.mac1_is_valid(&fresh) && checker.mac2_is_valid(&fresh, SOURCE, at(119)));
        assert!(!checker.mac2_is_valid(&fresh, SocketAddr::new(SOURCE.ip(), 8), at(1)), "another port");
        assert!(!checker.mac2_is_valid(&fresh, "127.0.0.2:7".parse().unwrap(), at(1)), "another address");
        assert!(!checker.mac2_is_valid(&fresh, SOURCE, at(120)), "the secret is old");
        let mut late = message();
        jar.stamp(&mut late, at(115));
        assert!(late.ends_with(&[0; MAC_LEN]), "no mac2 with a cookie that may not last");
    }

    #[test]
    fn another_secret_follows() {
        let (mut checker, mut jar) = introduced();
        let mut old = message();
        jar.stamp(&mut old, at(100));
        let _reply = checker.reply(&old, SOURCE, at(130), &mut rng(2));
        assert!(!checker.mac2_is_valid(&old, SOURCE, at(130)));
    }

    #[test]
    fn forged_macs_and_replies_are_refused() {
        let (mut checker, mut jar) = introduced();
        let mut message = message();
        jar.stamp(&mut message, at(1));
        let mut reply = checker.reply(&message, SOURCE, at(1), &mut rng(3));
        for byte in 0..INITIATION_LEN {
            let mut forged = message;
            forged[byte] ^= 4;
            assert!(!checker.mac1_is_valid(&forged) || !checker.mac2_is_valid(&forged, SOURCE, at(1)), "{byte}");
            assert_eq!(checker.mac1_is_valid(&forged), byte >= INITIATION_LEN - MAC_LEN, "{byte}");
        }
        reply[40] ^= 1;
        assert!(!jar.accept_reply(&reply, at(1)));
        reply[40] ^= 1;
        assert!(jar.accept_reply(&reply, at(1)), "a forged reply does not use up the real one");
        assert!(!CookieJar::new(&PublicKey::from([3; 32]), MAX_AGE).accept_reply(&reply, at(1)), "nothing was sent");
    }

    #[test]
    fn a_source_may_send_five_at_once_and_twenty_a_second() {
        let mut limiter = RateLimiter::new(at(0));
        let source = "192.0.2.1".parse().unwrap();
        let millis = |ms| Instant::from(Duration::from_millis(ms));
        let burst = (0..10).filter(|_| limiter.allows(source, at(10))).count();
        assert_eq!(burst, 5);
        assert!(!limiter.allows(source, millis(10_049)));
        assert!(limiter.allows(source, millis(10_099)));
        let second = (0..1000).filter(|ms| limiter.allows(source, millis(10_100 + ms))).count();
        assert!((19..=20).contains(&second), "{second}");
        assert!(limiter.allows("192.0.2.2".parse().unwrap(), millis(11_100)), "another source has its own");
    }

    #[test]
    fn an_ipv6_host_counts_by_its_network_and_idle_sources_are_forgotten() {
        let mut limiter = RateLimiter::new(at(0));
        let burst = (0..10).filter(|host| limiter.allows(format!("2001:db8::{host}").parse().unwrap(), at(0))).count();
        assert_eq!(burst, 5);
        assert!(limiter.allows("2001:db8:0:1::".parse().unwrap(), at(0)));
        assert_eq!(limiter.buckets.len(), 2);
        assert!(limiter.allows("192.0.2.1".parse().unwrap(), at(5)));
        assert_eq!(limiter.buckets.len(), 1);
    }

    #[test]
    fn the_limiter_has_a_bounded_size() {
        let mut limiter = RateLimiter::new(at(0));
        let full = (0..RateLimiter::MAX_BUCKETS as u32 + 10)
            .filter(|host| limiter.allows(IpAddr::V4((*host).into()), at(0)))
            .count();
        assert_eq!((full, limiter.buckets.len()), (RateLimiter::MAX_BUCKETS, RateLimiter::MAX_BUCKETS));
    }
}
