//! Poly1305 (RFC 8439, section 2.5) of 8 packets at a time, one a lane, in limbs of 44, 44 and 42 bits.

use super::chacha::OneTimeKeys;
use super::{Group, LANES, Tags};
use std::arch::x86_64::*;

const MASK_44: u64 = (1 << 44) - 1;
const MASK_42: u64 = (1 << 42) - 1;

/// One limb of 8 packets.
type Limbs = [__m512i; 3];

/// A text has to have so many bytes for the powers of r to pay.
const MIN_LEN_FOR_POWERS: usize = 256;

/// Accumulator and key of 8 packets.
struct Lanes {
    h: Limbs,
    r: Factor,
}

/// A power of r.
#[derive(Clone, Copy)]
struct Factor {
    limbs: Limbs,
    /// 20 times the second and the third limb: a product past 2^132 comes back times 20, since 2^130 = 5.
    wrapped: [__m512i; 2],
}

/// The tag of every text: over its bytes, zero-padded to 16, and the lengths (RFC 8439, section 2.8).
///
/// # Safety
/// The texts of the group are valid for reading `len` bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(super) unsafe fn authenticate(group: &Group, keys: &OneTimeKeys) -> Tags {
    let [mut first, mut second] = [Lanes::new(&keys[..8]), Lanes::new(&keys[8..])];
    let [texts, more_texts] = [&group.texts[..8], &group.texts[8..]];
    let whole = group.len / 64 * 64;
    // Two chains at a time: one computes while the other waits for its own result.
    match (group.count > 8, group.len >= MIN_LEN_FOR_POWERS) {
        (true, true) => {
            let (powers, more_powers) = (first.powers(), second.powers());
            for at in (0..whole).step_by(64) {
                // SAFETY: `at + 64` is at most the length of each text.
                let (blocks, more_blocks) = unsafe { (load_whole(texts, at), load_whole(more_texts, at)) };
                first.absorb_four(blocks, &powers);
                second.absorb_four(more_blocks, &more_powers);
            }
        }
        (false, true) => {
            let powers = first.powers();
            for at in (0..whole).step_by(64) {
                // SAFETY: as above.
                first.absorb_four(unsafe { load_whole(texts, at) }, &powers);
            }
        }
        (_, false) => {
            for at in (0..whole).step_by(64) {
                // SAFETY: as above.
                let (blocks, more_blocks) = unsafe { (load_whole(texts, at), load_whole(more_texts, at)) };
                for i in 0..4 {
                    first.absorb(blocks[i]);
                    second.absorb(more_blocks[i]);
                }
            }
        }
    }
    let rest = group.len - whole;
    // SAFETY: `whole + rest` is the length of each text.
    let (blocks, more_blocks) = unsafe { (load(texts, whole, rest), load(more_texts, whole, rest)) };
    for i in 0..rest.div_ceil(16) {
        first.absorb(blocks[i]);
        second.absorb(more_blocks[i]);
    }
    let lengths = (_mm512_setzero_si512(), _mm512_set1_epi64(group.len as i64)); // no additional data
    first.absorb(lengths);
    second.absorb(lengths);
    let mut tags = [[0; 16]; LANES];
    first.finish(&keys[..8], &mut tags[..8]);
    second.finish(&keys[8..], &mut tags[8..]);
    tags
}

/// The lower and the upper half of a 16-byte block of every text.
type Block = (__m512i, __m512i);

/// The four blocks of the 64 bytes at `at`.
///
/// # Safety
/// `at + 64` is at most the length of each of the 8 texts.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
unsafe fn load_whole(texts: &[*mut u8], at: usize) -> [Block; 4] {
    // SAFETY: the caller's promise.
    transpose(std::array::from_fn(|i| unsafe { _mm512_loadu_si512(texts[i].wrapping_add(at).cast()) }))
}

/// The blocks of the `len` bytes at `at`, fewer than 64, zero-padded.
///
/// # Safety
/// `at + len` is at most the length of each of the 8 texts.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
unsafe fn load(texts: &[*mut u8], at: usize, len: usize) -> [Block; 4] {
    let mask = (1 << len) - 1;
    // SAFETY: the mask covers the `len` bytes that the caller promises; others are not read.
    transpose(std::array::from_fn(|i| unsafe { _mm512_maskz_loadu_epi8(mask, texts[i].wrapping_add(at).cast()) }))
}

/// From 64 bytes of each text to four blocks of all texts.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn transpose(rows: [__m512i; 8]) -> [Block; 4] {
    let pair = |i: usize| (_mm512_unpacklo_epi64(rows[i], rows[i + 1]), _mm512_unpackhi_epi64(rows[i], rows[i + 1]));
    let ((l0, h0), (l1, h1), (l2, h2), (l3, h3)) = (pair(0), pair(2), pair(4), pair(6));
    let (low, high) = (transpose_lanes(l0, l1, l2, l3), transpose_lanes(h0, h1, h2, h3));
    [(low[0], high[0]), (low[1], high[1]), (low[2], high[2]), (low[3], high[3])]
}

/// A 4 x 4 matrix of 128-bit lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn transpose_lanes(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    let (ab_even, ab_odd) = (_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0xdd>(a, b));
    let (cd_even, cd_odd) = (_mm512_shuffle_i64x2::<0x88>(c, d), _mm512_shuffle_i64x2::<0xdd>(c, d));
    [
        _mm512_shuffle_i64x2::<0x88>(ab_even, cd_even),
        _mm512_shuffle_i64x2::<0x88>(ab_odd, cd_odd),
        _mm512_shuffle_i64x2::<0xdd>(ab_even, cd_even),
        _mm512_shuffle_i64x2::<0xdd>(ab_odd, cd_odd),
    ]
}

impl Lanes {
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    fn new(keys: &[[u64; 4]]) -> Self {
        let word = |at: usize, clamp: u64| {
            let words: [u64; 8] = std::array::from_fn(|i| keys[i][at] & clamp);
            // SAFETY: the array has the 64 bytes that are read.
            unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
        };
        let r = split(word(0, 0x0fff_fffc_0fff_ffff), word(1, 0x0fff_fffc_0fff_fffc));
        Self { h: [_mm512_setzero_si512(); 3], r: Factor::new(r) }
    }

    /// r^4, r^3, r^2 and r.
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    fn powers(&self) -> [Factor; 4] {
        let square = self.r.times(&self.r);
        [square.times(&square), square.times(&self.r), square, self.r]
    }

    /// h = (h + block + 2^128) r, with one 16-byte block of each packet.
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    #[inline]
    fn absorb(&mut self, (low, high): Block) {
        let mut products = Products::zero();
        products.add(sum(self.h, message(low, high)), &self.r);
        self.h = products.carry();
    }

    /// Four blocks of each packet with one carry: h = (h + first) r^4 + second r^3 + third r^2 + fourth r.
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    #[inline]
    fn absorb_four(&mut self, blocks: [Block; 4], powers: &[Factor; 4]) {
        let [first, second, third, fourth] = blocks;
        let mut products = Products::zero();
        // What does not wait for the blocks before comes first.
        products.add(message(second.0, second.1), &powers[1]);
        products.add(message(third.0, third.1), &powers[2]);
        products.add(message(fourth.0, fourth.1), &powers[3]);
        products.add(sum(self.h, message(first.0, first.1)), &powers[0]);
        self.h = products.carry();
    }

    /// The tags: h mod 2^130 - 5, plus s, mod 2^128.
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    fn finish(&self, keys: &[[u64; 4]], tags: &mut [[u8; 16]]) {
        let mut limbs = [[0u64; 8]; 3];
        for (limb, vector) in limbs.iter_mut().zip(self.h) {
            // SAFETY: the array has the 64 bytes that are written.
            unsafe { _mm512_storeu_si512(limb.as_mut_ptr().cast(), vector) };
        }
        for (i, (tag, key)) in tags.iter_mut().zip(keys).enumerate() {
            let sum = reduce([limbs[0][i], limbs[1][i], limbs[2][i]]);
            let s = u128::from(key[2]) | u128::from(key[3]) << 64;
            *tag = sum.wrapping_add(s).to_le_bytes();
        }
    }
}

/// 128 bits as limbs of 44, 44 and 40 bits.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn split(low: __m512i, high: __m512i) -> Limbs {
    let mask = _mm512_set1_epi64(MASK_44.cast_signed());
    let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
    [_mm512_and_si512(low, mask), _mm512_and_si512(middle, mask), _mm512_srli_epi64::<24>(high)]
}

/// A block of the text: its bits and 2^128.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn message(low: __m512i, high: __m512i) -> Limbs {
    let [bottom, middle, top] = split(low, high);
    [bottom, middle, _mm512_or_si512(top, _mm512_set1_epi64(1 << 40))]
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn sum(a: Limbs, b: Limbs) -> Limbs {
    [_mm512_add_epi64(a[0], b[0]), _mm512_add_epi64(a[1], b[1]), _mm512_add_epi64(a[2], b[2])]
}

impl Factor {
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    #[inline]
    fn new(limbs: Limbs) -> Self {
        let times_20 = |limb| _mm512_add_epi64(_mm512_slli_epi64::<4>(limb), _mm512_slli_epi64::<2>(limb));
        Self { limbs, wrapped: [times_20(limbs[1]), times_20(limbs[2])] }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    #[inline]
    fn times(&self, other: &Self) -> Self {
        let mut products = Products::zero();
        products.add(self.limbs, other);
        Self::new(products.carry())
    }
}

/// A sum of up to four products that has not been carried: for each limb the lower 52 bits of its terms, and what is
/// above.
struct Products {
    low: Limbs,
    high: Limbs,
}

impl Products {
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    #[inline]
    fn zero() -> Self {
        let zero = _mm512_setzero_si512();
        Self { low: [zero; 3], high: [zero; 3] }
    }

    /// Add `value` times `factor`.
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    #[inline]
    fn add(&mut self, value: Limbs, factor: &Factor) {
        let ([r0, r1, r2], [s1, s2]) = (factor.limbs, factor.wrapped);
        let rows = [[r0, s2, s1], [r1, r0, s2], [r2, r1, r0]];
        for i in 0..3 {
            for (limb, row) in rows.iter().enumerate() {
                self.low[limb] = _mm512_madd52lo_epu64(self.low[limb], value[i], row[i]);
                self.high[limb] = _mm512_madd52hi_epu64(self.high[limb], value[i], row[i]);
            }
        }
    }

    /// Bring the limbs back to 44 (the second: a little more) and 42 bits. What is above 52 bits of a product counts 2^8
    /// times in the next limb of 44 bits; above 2^130, 5 times at the bottom. Values of 46 bits and factors of 50 give,
    /// in twelve terms, lower sums below 2^56 and upper ones below 2^48: with shifts and times 5 nothing reaches 2^62.
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    #[inline]
    fn carry(self) -> Limbs {
        let Self { low, high } = self;
        let mask_44 = _mm512_set1_epi64(MASK_44.cast_signed());
        let mask_42 = _mm512_set1_epi64(MASK_42.cast_signed());
        let t1 = _mm512_add_epi64(low[1], _mm512_slli_epi64::<8>(high[0]));
        let t2 = _mm512_add_epi64(low[2], _mm512_slli_epi64::<8>(high[1]));
        let t1 = _mm512_add_epi64(t1, _mm512_srli_epi64::<44>(low[0]));
        let t2 = _mm512_add_epi64(t2, _mm512_srli_epi64::<44>(t1));
        let over = _mm512_add_epi64(_mm512_srli_epi64::<42>(t2), _mm512_slli_epi64::<10>(high[2]));
        let times_5 = _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over));
        let t0 = _mm512_add_epi64(_mm512_and_si512(low[0], mask_44), times_5);
        [
            _mm512_and_si512(t0, mask_44),
            _mm512_add_epi64(_mm512_and_si512(t1, mask_44), _mm512_srli_epi64::<44>(t0)),
            _mm512_and_si512(t2, mask_42),
        ]
    }
}

/// The value of the limbs modulo 2^130 - 5, its lower 128 bits. Constant-time.
fn reduce([mut h0, mut h1, mut h2]: [u64; 3]) -> u128 {
    for _ in 0..2 {
        h2 += h1 >> 44;
        h1 &= MASK_44;
        h0 += 5 * (h2 >> 42);
        h2 &= MASK_42;
        h1 += h0 >> 44;
        h0 &= MASK_44;
    }
    // h is below 2^130 now; if h + 5 reaches 2^130, h is at least the modulus.
    let g0 = h0 + 5;
    let g1 = h1 + (g0 >> 44);
    let g2 = h2 + (g1 >> 44);
    let take_g = (g2 >> 42).wrapping_neg();
    let choose = |h: u64, g: u64, mask: u64| (h & !take_g) | (g & mask & take_g);
    let (h0, h1, h2) = (choose(h0, g0, MASK_44), choose(h1, g1, MASK_44), choose(h2, g2, MASK_42));
    u128::from(h0) | u128::from(h1) << 44 | u128::from(h2) << 88
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 8439, section 2.5.1, with numbers as bits: slow and obvious.
    fn naive(r: u128, s: u128, text: &[u8]) -> [u8; 16] {
        let r = r & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
        let mut h = (0u128, 0u128); // the lower 128 bits and what is above
        for block in text.chunks(16) {
            let mut bytes = [0; 16];
            bytes[..block.len()].copy_from_slice(block);
            h = modulo(sum(h, (u128::from_le_bytes(bytes), 1)));
            let mut product = (0, 0);
            for bit in (0..128).rev() {
                product = modulo(sum(product, product));
                if r >> bit & 1 == 1 {
                    product = modulo(sum(product, h));
                }
            }
            h = product;
        }
        h.0.wrapping_add(s).to_le_bytes()
    }

    fn sum(a: (u128, u128), b: (u128, u128)) -> (u128, u128) {
        let (low, carry) = a.0.overflowing_add(b.0);
        (low, a.1 + b.1 + u128::from(carry))
    }

    /// Below 2^130 - 5, for numbers below twice that.
    fn modulo(a: (u128, u128)) -> (u128, u128) {
        let five_more = sum(a, (5, 0));
        if five_more.1 >= 4 { (five_more.0, five_more.1 - 4) } else { a }
    }

    /// Bytes that make carries: mostly all ones or zero.
    fn extreme(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![6 => Just(0xff_u8), 2 => Just(0), 1 => any::<u8>(), 1 => Just(0xfb)];
        proptest::collection::vec(byte, len)
    }

    #[test]
    fn the_naive_twin_computes_the_example_of_rfc_8439() {
        let r = u128::from_le_bytes([
            0x85, 0xd6, 0xbe, 0x78, 0x57, 0x55, 0x6d, 0x33, 0x7f, 0x44, 0x52, 0xfe, 0x42, 0xd5, 0x06, 0xa8,
        ]);
        let s = u128::from_le_bytes([
            0x01, 0x03, 0x80, 0x8a, 0xfb, 0x0d, 0xb2, 0xfd, 0x4a, 0xbf, 0xf6, 0xaf, 0x41, 0x49, 0xf5, 0x1b,
        ]);
        let tag = [0xa8, 0x06, 0x1d, 0xc1, 0x30, 0x51, 0x36, 0xc6, 0xc2, 0x2b, 0x8b, 0xaf, 0x0c, 0x01, 0x27, 0xa9];
        let text = b"Cryptographic Forum Research Group";
        let mut padded = text.to_vec();
        padded.resize(48, 0);
        // The RFC's example is not padded: its last block is "up" and a one bit.
        let last = u128::from_le_bytes(padded[32..].try_into().unwrap()) | 1 << 16;
        let whole = naive(r, 0, &padded[..32]);
        assert_ne!(whole, tag);
        assert_eq!(naive_unpadded(r, s, &padded[..32], last), tag);
    }

    /// For the RFC's example: a last block without the 2^128 bit.
    fn naive_unpadded(r: u128, s: u128, text: &[u8], last: u128) -> [u8; 16] {
        let r_clamped = r & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
        let mut h = (0u128, 0u128);
        for block in text.chunks(16).map(|b| (u128::from_le_bytes(b.try_into().unwrap()), 1)).chain([(last, 0)]) {
            h = modulo(sum(h, block));
            let mut product = (0, 0);
            for bit in (0..128).rev() {
                product = modulo(sum(product, product));
                if r_clamped >> bit & 1 == 1 {
                    product = modulo(sum(product, h));
                }
            }
            h = product;
        }
        h.0.wrapping_add(s).to_le_bytes()
    }

    proptest! {
        #[test]
        fn carries_are_right_at_the_extremes(
            texts in proptest::collection::vec(extreme(0..600), 16),
            keys in proptest::collection::vec(extreme(32..33), 16),
            count in 1usize..17,
        ) {
            if super::super::Ifma::new().is_none() {
                eprintln!("skipped: no AVX-512 IFMA here");
                return Ok(());
            }
            let len = texts[0].len();
            let mut texts: Vec<Vec<u8>> = texts.into_iter().map(|mut t| { t.resize(len, 0xff); t }).collect();
            let word = |key: &[u8], at: usize| u64::from_le_bytes(key[at * 8..at * 8 + 8].try_into().unwrap());
            let one_time: OneTimeKeys = std::array::from_fn(|i| std::array::from_fn(|at| word(&keys[i], at)));
            let mut each = texts.iter_mut().map(|t| t.as_mut_ptr());
            let group = Group { texts: std::array::from_fn(|_| each.next().unwrap()), counters: [0; 16], count, len };
            // SAFETY: the instructions are there; every text has `len` bytes.
            let tags = unsafe { authenticate(&group, &one_time) };
            for i in 0..count {
                let mut padded = texts[i].clone();
                padded.resize(len.next_multiple_of(16), 0);
                padded.extend_from_slice(&0u64.to_le_bytes());
                padded.extend_from_slice(&(len as u64).to_le_bytes());
                let long = |at: usize| u128::from(word(&keys[i], at)) | u128::from(word(&keys[i], at + 1)) << 64;
                prop_assert_eq!(tags[i], naive(long(0), long(2), &padded));
            }
        }
    }
}
