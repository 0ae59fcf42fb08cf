//! Keys. Secret ones are wiped when dropped and never shown by `Debug`; there is no `Display` for them.
//!
//! The bytes of a secret key lie on the heap from the beginning to the end: moving the key moves a pointer, and leaves no
//! copy behind on a stack or in a vector that has grown.

use std::fmt;

use base64ct::{Base64, Encoding};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, Zeroizing};

/// Length of every key in bytes.
pub const KEY_LEN: usize = 32;

/// Why text is not a key. It holds none of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyParseError;

impl fmt::Display for KeyParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key is 32 bytes: 44 characters of base64, or 64 hexadecimal digits")
    }
}

impl std::error::Error for KeyParseError {}

/// 32 secret bytes.
#[derive(Clone, Default)]
struct Secret(Box<[u8; KEY_LEN]>);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl From<[u8; KEY_LEN]> for Secret {
    fn from(mut bytes: [u8; KEY_LEN]) -> Self {
        let mut secret = Self::default();
        secret.0.copy_from_slice(&bytes);
        bytes.zeroize();
        secret
    }
}

/// A Curve25519 private key, clamped (RFC 7748, section 5).
#[derive(Clone)]
pub struct PrivateKey(Secret);

/// A Curve25519 public key: the identity of a device.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_LEN]);

/// A preshared key; all zero means none (paper, section 5.2).
#[derive(Clone, Default)]
pub struct PresharedKey(Secret);

impl AsMut<[u8; KEY_LEN]> for PublicKey {
    fn as_mut(&mut self) -> &mut [u8; KEY_LEN] {
        &mut self.0
    }
}

impl AsMut<[u8; KEY_LEN]> for Secret {
    fn as_mut(&mut self) -> &mut [u8; KEY_LEN] {
        &mut self.0
    }
}

/// Decodes text to where the key will stay.
fn decoded<K: Default + AsMut<[u8; KEY_LEN]>>(
    decode: impl FnOnce(&mut [u8; KEY_LEN]) -> bool,
) -> Result<K, KeyParseError> {
    let mut key = K::default();
    if decode(key.as_mut()) { Ok(key) } else { Err(KeyParseError) }
}

macro_rules! text_forms {
    ($key:ident, $finish:expr) => {
        impl $key {
            /// From 44 characters of base64, as `wg` prints keys.
            pub fn from_base64(text: &str) -> Result<Self, KeyParseError> {
                decoded(|bytes| Base64::decode(text, bytes).is_ok_and(|decoded| decoded.len() == KEY_LEN)).map($finish)
            }

            /// From 64 hexadecimal digits, as the UAPI writes keys.
            pub fn from_hex(text: &str) -> Result<Self, KeyParseError> {
                decoded(|bytes| decode_hex(text, bytes)).map($finish)
            }

            /// As 44 characters of base64; wiped when dropped.
            pub fn to_base64(&self) -> Zeroizing<String> {
                Zeroizing::new(Base64::encode_string(self.as_bytes()))
            }

            /// As 64 hexadecimal digits; wiped when dropped.
            pub fn to_hex(&self) -> Zeroizing<String> {
                encode_hex(self.as_bytes())
            }
        }
    };
}

text_forms!(PrivateKey, PrivateKey::clamped);
text_forms!(PublicKey, std::convert::identity);
text_forms!(PresharedKey, PresharedKey);

impl PublicKey {
    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl PresharedKey {
    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0.0
    }
}

impl PrivateKey {
    /// A new key.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut secret = Secret::default();
        rng.fill_bytes(&mut *secret.0);
        Self::clamped(secret)
    }

    fn clamped(mut secret: Secret) -> Self {
        secret.0[0] &= 0b1111_1000;
        secret.0[31] = secret.0[31] & 0b0111_1111 | 0b0100_0000;
        Self(secret)
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0.0
    }

    /// The public key that belongs to it.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&self.secret()).to_bytes())
    }

    /// `DH(private, public)` (paper, section 5.4); `None` if the result is zero, because the public key is of low
    /// order (RFC 7748, section 6.1).
    pub(crate) fn diffie_hellman(&self, public: &PublicKey) -> Option<Zeroizing<[u8; KEY_LEN]>> {
        let shared = self.secret().diffie_hellman(&x25519_dalek::PublicKey::from(public.0));
        shared.was_contributory().then(|| Zeroizing::new(shared.to_bytes()))
    }

    fn secret(&self) -> StaticSecret {
        StaticSecret::from(*self.as_bytes())
    }
}

impl From<[u8; KEY_LEN]> for PrivateKey {
    fn from(bytes: [u8; KEY_LEN]) -> Self {
        Self::clamped(Secret::from(bytes))
    }
}

impl From<[u8; KEY_LEN]> for PublicKey {
    fn from(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }
}

impl From<[u8; KEY_LEN]> for PresharedKey {
    fn from(bytes: [u8; KEY_LEN]) -> Self {
        Self(Secret::from(bytes))
    }
}

/// Constant time.
impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for PrivateKey {}

/// Constant time.
impl PartialEq for PresharedKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for PresharedKey {}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(hidden)")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// Base64.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

/// Without branches or table look-ups that depend on the digits: they may be those of a private key.
fn decode_hex(text: &str, key: &mut [u8; KEY_LEN]) -> bool {
    let digits = text.as_bytes();
    if digits.len() != 2 * KEY_LEN {
        return false;
    }
    let mut invalid = 0u8;
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (hex_digit(pair[0]), hex_digit(pair[1]));
        invalid |= (high | low) & 0xf0;
        *byte = high << 4 | low & 0x0f;
    }
    invalid == 0
}

/// The value of a digit, or 0xff.
fn hex_digit(digit: u8) -> u8 {
    let within = |low: u8, high: u8| -> u8 {
        let inside =
            (u16::from(low) - 1).wrapping_sub(u16::from(digit)) & u16::from(digit).wrapping_sub(u16::from(high) + 1);
        // All ones if low <= digit <= high, else zero.
        (inside >> 8) as u8
    };
    let (number, upper, lower) = (within(b'0', b'9'), within(b'A', b'F'), within(b'a', b'f'));
    number & digit.wrapping_sub(b'0')
        | upper & digit.wrapping_sub(b'A' - 10)
        | lower & digit.wrapping_sub(b'a' - 10)
        | !(number | upper | lower)
}

fn encode_hex(key: &[u8; KEY_LEN]) -> Zeroizing<String> {
    // Reserved in full: a reallocation would leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * KEY_LEN));
    for byte in key {
        for nibble in [byte >> 4, byte & 15] {
            // '0'..='9' for 0..=9; 39 more is 'a'..='f' for 10..=15.
            let letter = (9u8.wrapping_sub(nibble) >> 7) * 39;
            text.push(char::from(b'0' + nibble + letter));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read_as_the_standard_library_reads_hex_digits() {
        for byte in 0..=u8::MAX {
            let expected = char::from(byte).to_digit(16).map_or(0xff, |value| value as u8);
            assert_eq!(hex_digit(byte), expected, "{byte}");
        }
    }

    #[test]
    fn text_forms_round_trip() {
        let key = PublicKey::from(std::array::from_fn(|i| (i * 9) as u8));
        assert_eq!(PublicKey::from_hex(&key.to_hex()), Ok(key));
        assert_eq!(PublicKey::from_hex(&key.to_hex().to_uppercase()), Ok(key));
        assert_eq!(PublicKey::from_base64(&key.to_base64()), Ok(key));
        assert_eq!(key.to_base64().len(), 44);
        for wrong in ["", "00", &"0".repeat(63), &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(PublicKey::from_hex(wrong), Err(KeyParseError));
            assert_eq!(PublicKey::from_base64(wrong), Err(KeyParseError));
        }
        assert_eq!(PublicKey::from_base64(&key.to_base64()[..43]), Err(KeyParseError));
    }

    /// RFC 7748, section 6.1.
    #[test]
    fn diffie_hellman_of_the_rfc() {
        let key = |hex: &str| PrivateKey::from_hex(hex).unwrap();
        let alice = key("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = key("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        assert_eq!(*bob.public_key().to_hex(), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!(*alice.public_key().to_hex(), "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let shared = alice.diffie_hellman(&bob.public_key()).unwrap();
        assert_eq!(*encode_hex(&shared), "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(bob.diffie_hellman(&alice.public_key()), Some(shared));
    }

    #[test]
    fn low_order_points_are_refused() {
        let key = PrivateKey::generate(&mut crate::testing::rng(2));
        let mut one = [0; 32];
        one[0] = 1;
        assert!(key.diffie_hellman(&PublicKey::from([0; 32])).is_none());
        assert!(key.diffie_hellman(&PublicKey::from(one)).is_none());
    }

    #[test]
    fn secrets_are_not_shown() {
        let key = PrivateKey::from([0xab; 32]);
        assert!(!format!("{key:?}").to_lowercase().contains("ab") && !format!("{key:?}").contains("171"));
        assert!(!format!("{:?}", PresharedKey::from([0xab; 32])).contains("ab"));
    }
}
