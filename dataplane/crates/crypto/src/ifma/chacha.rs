//! ChaCha20 (RFC 8439, section 2.3), 16 blocks at a time: each vector holds one word of the state of every block.

use super::{Group, LANES};
use crate::Key;
use std::arch::x86_64::*;

/// Poly1305 key of each packet: r and s, the first 32 bytes of its block 0 (RFC 8439, section 2.6).
pub(super) type OneTimeKeys = [[u64; 4]; LANES];

/// Where a block of key stream is to be XORed: first byte and number of bytes, at most 64.
type Place = (*mut u8, usize);

/// The last words of the state of 16 blocks: block counters, and the packets' counters in two halves.
struct Nonces {
    blocks: __m512i,
    low: __m512i,
    high: __m512i,
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(super) fn one_time_keys(group: &Group, key: &Key) -> OneTimeKeys {
    let (low, high) = counters(group);
    let mut rows = [[0u64; 8]; LANES];
    let places = rows.each_mut().map(|row| (row.as_mut_ptr().cast(), 64));
    // SAFETY: each place is a row of 64 bytes of its own.
    unsafe { apply_pass(&words(key), &Nonces { blocks: _mm512_setzero_si512(), low, high }, &places) };
    rows.map(|row| [row[0], row[1], row[2], row[3]])
}

/// Encrypt or decrypt every text of the group with its blocks from 1 on. The blocks of all texts are one stream, of
/// which each pass takes the next 16.
///
/// # Safety
/// The texts of the group are valid for reading and writing `len` bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(super) unsafe fn apply(group: &Group, key: &Key) {
    let per_text = group.blocks();
    if per_text == 0 {
        return;
    }
    let key = words(key);
    let (low, high) = counters(group);
    // Which text and which block of it each lane is at.
    let lanes: [usize; LANES] = std::array::from_fn(|lane| lane);
    let mut texts = vector(lanes.map(|lane| (lane / per_text) as u32));
    let mut blocks = vector(lanes.map(|lane| (lane % per_text) as u32));
    let (text_step, block_step) = ((LANES / per_text) as i32, (LANES % per_text) as i32);
    let (per_text_each, one) = (_mm512_set1_epi32(per_text as i32), _mm512_set1_epi32(1));
    let (mut text, mut at) = (0, 0);
    while text < group.count {
        let mut places = [(group.texts[0], 0); LANES];
        for place in &mut places {
            if text == group.count {
                break; // idle lanes: computed, never stored
            }
            *place = (group.texts[text].wrapping_add(at), (group.len - at).min(64));
            at += 64;
            if at >= group.len {
                (text, at) = (text + 1, 0);
            }
        }
        let nonces = Nonces {
            blocks: _mm512_add_epi32(blocks, one),
            low: _mm512_permutexvar_epi32(texts, low),
            high: _mm512_permutexvar_epi32(texts, high),
        };
        // SAFETY: every place lies inside a text: its start plus its length is at most `group.len`.
        unsafe { apply_pass(&key, &nonces, &places) };
        texts = _mm512_add_epi32(texts, _mm512_set1_epi32(text_step));
        blocks = _mm512_add_epi32(blocks, _mm512_set1_epi32(block_step));
        let past_the_end = _mm512_cmpge_epu32_mask(blocks, per_text_each);
        blocks = _mm512_mask_sub_epi32(blocks, past_the_end, blocks, per_text_each);
        texts = _mm512_mask_add_epi32(texts, past_the_end, texts, one);
    }
}

/// The packets' counters, lower and upper halves.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn counters(group: &Group) -> (__m512i, __m512i) {
    (vector(group.counters.map(|counter| counter as u32)), vector(group.counters.map(|counter| (counter >> 32) as u32)))
}

#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn vector(words: [u32; LANES]) -> __m512i {
    // SAFETY: the array has the 64 bytes that are read.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

fn words(key: &Key) -> [i32; 8] {
    let (words, _) = key.as_bytes().as_chunks::<4>();
    std::array::from_fn(|i| i32::from_le_bytes(words[i]))
}

/// One line of the quarter round (RFC 8439, section 2.1) in four columns at a time: a += b; d ^= a; d <<<= by. Column by
/// column instead, the processor would run out of room to look ahead before it finds work that does not wait.
macro_rules! line {
    ($s:ident, $by:literal, $([$a:literal $b:literal $d:literal]),*) => {
        $($s[$a] = _mm512_add_epi32($s[$a], $s[$b]);)*
        $($s[$d] = _mm512_xor_si512($s[$d], $s[$a]);)*
        $($s[$d] = _mm512_rol_epi32::<$by>($s[$d]);)*
    };
}

/// Compute 16 blocks of key stream and XOR each to its place.
///
/// # Safety
/// Every place is valid for reading and writing its number of bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
unsafe fn apply_pass(key: &[i32; 8], nonces: &Nonces, places: &[Place; LANES]) {
    let initial = initial_state(key, nonces);
    let mut s = initial;
    for _ in 0..10 {
        line!(s, 16, [0 4 12], [1 5 13], [2 6 14], [3 7 15]);
        line!(s, 12, [8 12 4], [9 13 5], [10 14 6], [11 15 7]);
        line!(s, 8, [0 4 12], [1 5 13], [2 6 14], [3 7 15]);
        line!(s, 7, [8 12 4], [9 13 5], [10 14 6], [11 15 7]);
        line!(s, 16, [0 5 15], [1 6 12], [2 7 13], [3 4 14]);
        line!(s, 12, [10 15 5], [11 12 6], [8 13 7], [9 14 4]);
        line!(s, 8, [0 5 15], [1 6 12], [2 7 13], [3 4 14]);
        line!(s, 7, [10 15 5], [11 12 6], [8 13 7], [9 14 4]);
    }
    for (word, initial) in s.iter_mut().zip(initial) {
        *word = _mm512_add_epi32(*word, initial);
    }
    let rows = transpose(s);
    // Written out: in a loop the rows would have to lie in memory.
    macro_rules! apply_rows {
        ($($i:literal)*) => { $(
            // SAFETY: the caller's promise.
            unsafe { apply_row(rows[$i], places[$i]) };
        )* };
    }
    apply_rows!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

/// # Safety
/// The place is valid for reading and writing its number of bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
unsafe fn apply_row(row: __m512i, (place, len): Place) {
    if len == 64 {
        // SAFETY: the place has 64 bytes.
        unsafe {
            let text = _mm512_loadu_si512(place.cast());
            _mm512_storeu_si512(place.cast(), _mm512_xor_si512(text, row));
        }
    } else {
        let mask = (1 << len) - 1;
        // SAFETY: the mask covers the bytes of the place; others are neither read nor written.
        unsafe {
            let text = _mm512_maskz_loadu_epi8(mask, place.cast());
            _mm512_mask_storeu_epi8(place.cast(), mask, _mm512_xor_si512(text, row));
        }
    }
}

/// Constants, key, block counter, and the nonce: a zero word and the packet's counter.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn initial_state(key: &[i32; 8], nonces: &Nonces) -> [__m512i; 16] {
    let one = |word: i32| _mm512_set1_epi32(word);
    [
        one(0x6170_7865),
        one(0x3320_646e),
        one(0x7962_2d32),
        one(0x6b20_6574),
        one(key[0]),
        one(key[1]),
        one(key[2]),
        one(key[3]),
        one(key[4]),
        one(key[5]),
        one(key[6]),
        one(key[7]),
        nonces.blocks,
        one(0),
        nonces.low,
        nonces.high,
    ]
}

/// From one word of 16 blocks a vector to 16 words of one block a vector.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
#[inline]
fn transpose(v: [__m512i; 16]) -> [__m512i; 16] {
    let mut rows = v;
    // Pairs, then fours, of words of one block come together within each 128-bit lane.
    let mut quads = v;
    for g in 0..4 {
        let (low_a, low_b) =
            (_mm512_unpacklo_epi32(v[4 * g], v[4 * g + 1]), _mm512_unpacklo_epi32(v[4 * g + 2], v[4 * g + 3]));
        let (high_a, high_b) =
            (_mm512_unpackhi_epi32(v[4 * g], v[4 * g + 1]), _mm512_unpackhi_epi32(v[4 * g + 2], v[4 * g + 3]));
        quads[4 * g] = _mm512_unpacklo_epi64(low_a, low_b);
        quads[4 * g + 1] = _mm512_unpackhi_epi64(low_a, low_b);
        quads[4 * g + 2] = _mm512_unpacklo_epi64(high_a, high_b);
        quads[4 * g + 3] = _mm512_unpackhi_epi64(high_a, high_b);
    }
    // quads[4 g + k], lane l: words 4 g .. 4 g + 4 of block 4 l + k. Now the lanes change places.
    for k in 0..4 {
        let a = _mm512_shuffle_i32x4::<0x88>(quads[k], quads[4 + k]);
        let b = _mm512_shuffle_i32x4::<0xdd>(quads[k], quads[4 + k]);
        let c = _mm512_shuffle_i32x4::<0x88>(quads[8 + k], quads[12 + k]);
        let d = _mm512_shuffle_i32x4::<0xdd>(quads[8 + k], quads[12 + k]);
        rows[k] = _mm512_shuffle_i32x4::<0x88>(a, c);
        rows[4 + k] = _mm512_shuffle_i32x4::<0x88>(b, d);
        rows[8 + k] = _mm512_shuffle_i32x4::<0xdd>(a, c);
        rows[12 + k] = _mm512_shuffle_i32x4::<0xdd>(b, d);
    }
    rows
}
