//! The AEAD of the `ring` crate, one packet at a time: on any processor that Rust compiles for.

use crate::{Key, OpenJob, nonce};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use wirelane_packet::Segment;

/// See [`crate::Aead::seal_batch`].
pub(crate) fn seal_batch(buffer: &mut [u8], segments: &[Segment], key: &Key, first_counter: u64) {
    let key = ring_key(key);
    for (i, segment) in segments.iter().enumerate() {
        let nonce = Nonce::assume_unique_for_key(nonce(first_counter.wrapping_add(i as u64)));
        let (text, tag_place) =
            buffer[segment.plaintext().start..segment.tag().end].split_at_mut(segment.plaintext_len as usize);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::empty(), text)
            .expect("only a text of 256 GiB is too long for ChaCha20");
        tag_place.copy_from_slice(tag.as_ref());
    }
}

/// See [`crate::Aead::open_batch`].
pub(crate) fn open_batch(buffer: &mut [u8], jobs: &[OpenJob<'_>], authentic: &mut Vec<bool>) {
    for job in jobs {
        let nonce = Nonce::assume_unique_for_key(nonce(job.counter));
        let sealed = &mut buffer[job.segment.plaintext().start..job.segment.tag().end];
        authentic.push(ring_key(job.key).open_in_place(nonce, Aad::empty(), sealed).is_ok());
    }
}

/// Copies the key; ChaCha20 has no key schedule to compute.
fn ring_key(key: &Key) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key.as_bytes()).expect("the key has 32 bytes"))
}
