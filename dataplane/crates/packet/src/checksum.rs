//! The Internet checksum (RFC 1071), alone or while copying.
//!
//! A partial sum is a `u64` of native-endian words, not yet folded: partial sums add up. Every piece but the last must
//! have an even length. The inner loops keep the wrapping sum of 64-bit words and the sum of their upper
//! halves; the sum of the lower halves follows from both. That is three vector operations a load, with no
//! dependence on carries, and the compiler turns it into SIMD on every target: they are compiled for several instruction
//! sets, of which the processor's best is taken at run time.

use multiversion::multiversion;

const WORD: usize = 8;
/// The longest header has 60 bytes (RFC 791, RFC 9293).
const MAX_HEADER_WORDS: usize = 7;

/// Add `bytes` to a partial sum. An odd last byte counts as if a zero byte followed.
#[must_use]
pub fn add(sum: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    fold_32(sum) + sum_words(words) + add_short(rest)
}

/// Copy `source` to `target`, which must be as long, and add it to a partial sum.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn copy_and_add(sum: u64, target: &mut [u8], source: &[u8]) -> u64 {
    assert_eq!(target.len(), source.len(), "copying between slices of different lengths");
    let (target_words, target_rest) = target.as_chunks_mut();
    let (source_words, source_rest) = source.as_chunks();
    target_rest.copy_from_slice(source_rest);
    fold_32(sum) + copy_and_sum_words(target_words, source_words) + add_short(source_rest)
}

/// Fold a partial sum to 16 bits, in the byte order of the packet: the pseudo-header sum that CHECKSUM_PARTIAL wants.
#[must_use]
pub fn fold(sum: u64) -> u16 {
    let sum = fold_32(sum);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum as u16).to_be()
}

/// The checksum: the complement of the folded sum, to be stored with `to_be_bytes`. A region that includes a valid
/// checksum gives 0.
#[must_use]
pub fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// A 16-bit value that stands big-endian in the packet, as a partial sum.
#[must_use]
pub fn of_u16(value: u16) -> u64 {
    u64::from(value.to_be())
}

/// A partial sum that takes `value` away again (ones'-complement subtraction).
#[must_use]
pub fn minus_u16(value: u16) -> u64 {
    u64::from(!value.to_be())
}

/// The sum of source, destination, protocol and transport length (RFC 9293, section 3.1; RFC 8200, section 8.1).
/// `addresses` are the two addresses as they stand in the IP header.
#[must_use]
pub fn pseudo_header(addresses: &[u8], protocol: u8, transport_len: usize) -> u64 {
    add(0, addresses) + of_u16(u16::from(protocol)) + of_u16(transport_len as u16)
}

/// Sum of fewer bytes than a word.
#[inline]
fn add_short(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_ne_bytes(last));
    }
    sum
}

/// Reduce to at most 33 bits: 2^32 is congruent to 1 modulo 2^16 - 1.
#[inline]
fn fold_32(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

/// Sum of words, below 2^34. A header is summed at once: to choose the code for it would take longer.
#[inline]
fn sum_words(words: &[[u8; WORD]]) -> u64 {
    if words.len() <= MAX_HEADER_WORDS { WordSum::of(words).total() } else { sum_many_words(words) }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn sum_many_words(words: &[[u8; WORD]]) -> u64 {
    WordSum::of(words).total()
}

/// The same while copying; both have the same length.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn copy_and_sum_words(target: &mut [[u8; WORD]], source: &[[u8; WORD]]) -> u64 {
    let mut sum = WordSum::default();
    for (to, from) in target.iter_mut().zip(source) {
        *to = *from;
        sum.add(*from);
    }
    sum.total()
}

#[derive(Default)]
struct WordSum {
    /// Wrapping.
    words: u64,
    /// Fits because a slice has far fewer than 2^32 words.
    upper_halves: u64,
}

// Inlined into the code for each instruction set.
impl WordSum {
    #[inline(always)]
    fn of(words: &[[u8; WORD]]) -> Self {
        let mut sum = Self::default();
        for word in words {
            sum.add(*word);
        }
        sum
    }

    #[inline(always)]
    fn add(&mut self, word: [u8; WORD]) {
        let word = u64::from_ne_bytes(word);
        self.words = self.words.wrapping_add(word);
        self.upper_halves += word >> 32;
    }

    #[inline(always)]
    fn total(&self) -> u64 {
        let lower_halves = self.words.wrapping_sub(self.upper_halves << 32);
        fold_32(lower_halves) + fold_32(self.upper_halves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071, section 4.1, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    /// 0x0000 and 0xffff are the same number in ones' complement; which of the two comes out does not matter to a
    /// receiver.
    fn same(a: u16, b: u16) -> bool {
        a == b || (a ^ b == 0xffff && (a == 0 || b == 0))
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(finish(add(0, &bytes)), !0xddf2);
    }

    #[test]
    fn all_ones_do_not_overflow() {
        let bytes = vec![0xff; 1 << 20];
        assert_eq!(finish(add(0, &bytes)), 0);
    }

    proptest! {
        #[test]
        fn equals_the_naive_sum(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let sum = finish(add(0, &bytes));
            prop_assert!(same(sum, naive(&bytes)), "{sum:x} {:x}", naive(&bytes));
        }

        #[test]
        fn copying_sums_and_copies(bytes in proptest::collection::vec(any::<u8>(), 0..3000), seed in any::<u64>()) {
            let mut copy = vec![0xaa; bytes.len()];
            prop_assert_eq!(fold(copy_and_add(seed, &mut copy, &bytes)), fold(add(seed, &bytes)));
            prop_assert_eq!(copy, bytes);
        }

        #[test]
        fn pieces_add_up(bytes in proptest::collection::vec(any::<u8>(), 0..600), at in 0usize..300) {
            let at = (at * 2).min(bytes.len() & !1);
            let pieces = add(add(0, &bytes[..at]), &bytes[at..]);
            prop_assert!(same(finish(pieces), naive(&bytes)));
        }

        #[test]
        fn subtraction_undoes_addition(bytes in proptest::collection::vec(any::<u8>(), 2..64), value in any::<u16>()) {
            let sum = add(0, &bytes);
            prop_assert!(same(fold(sum + of_u16(value) + minus_u16(value)), fold(sum)));
        }
    }
}
