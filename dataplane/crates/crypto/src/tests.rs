//! Every backend that runs here, against vectors and against the portable one.

use super::*;
use proptest::prelude::*;
use wirelane_packet::TRANSPORT_HEADER_LEN;

/// A batch with these plaintext lengths, back to back, filled from `seed`.
fn batch(lens: &[usize], seed: u8) -> (Vec<u8>, Vec<Segment>) {
    let mut segments = Vec::new();
    let mut offset = 0;
    for len in lens {
        let segment = Segment { offset: offset as u32, plaintext_len: *len as u32 };
        offset = segment.datagram().end;
        segments.push(segment);
    }
    let buffer = (0..offset).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect();
    (buffer, segments)
}

fn aead(backend: Backend) -> Aead {
    Aead::new(BackendChoice::Force(backend)).unwrap()
}

fn open_all(aead: &mut Aead, buffer: &mut [u8], segments: &[Segment], key: &Key, first: u64) -> Vec<bool> {
    let job =
        |(i, segment): (usize, &Segment)| OpenJob { segment: *segment, key, counter: first.wrapping_add(i as u64) };
    let jobs: Vec<_> = segments.iter().enumerate().map(job).collect();
    let mut authentic = vec![true; 3];
    aead.open_batch(buffer, &jobs, &mut authentic);
    authentic
}

#[test]
fn the_portable_backend_is_always_there_and_auto_takes_the_first() {
    let all = available();
    assert!(all.contains(&Backend::Portable));
    assert_eq!(Aead::new(BackendChoice::Auto).unwrap().backend(), all[0]);
    eprintln!("backends here: {all:?}");
}

#[test]
fn choices_parse() {
    for backend in [Backend::Ifma, Backend::Avx512, Backend::Avx2, Backend::Sse, Backend::Portable] {
        assert_eq!(backend.to_string().parse(), Ok(BackendChoice::Force(backend)));
    }
    assert_eq!("auto".parse(), Ok(BackendChoice::Auto));
    assert!("fast".parse::<BackendChoice>().is_err());
}

#[test]
fn a_key_is_never_printed() {
    assert_eq!(format!("{:?}", Key::new([0x42; 32])), "Key(…)");
}

/// Lengths around every boundary of the SIMD code: blocks of 16 and 64 bytes, groups of 4, 8 and 16 blocks.
#[test]
fn every_length_agrees_with_the_portable_backend() {
    let key = Key::new(std::array::from_fn(|i| i as u8 * 7));
    let lens: Vec<usize> = (0..1600).collect();
    let (plain, segments) = batch(&lens, 3);
    let mut expected = plain.clone();
    aead(Backend::Portable).seal_batch(&mut expected, &segments, &key, 5);
    for backend in available() {
        let mut aead = aead(backend);
        let mut buffer = plain.clone();
        aead.seal_batch(&mut buffer, &segments, &key, 5);
        assert!(buffer == expected, "{backend} seals differently");
        let authentic = open_all(&mut aead, &mut buffer, &segments, &key, 5);
        assert!(authentic.iter().all(|ok| *ok) && authentic.len() == lens.len(), "{backend} does not open");
        for segment in &segments {
            assert!(
                buffer[segment.plaintext()] == plain[segment.plaintext()],
                "{backend} opens {segment:?} differently"
            );
            assert!(buffer[segment.header()] == plain[segment.header()], "{backend} touches headers");
        }
    }
}

/// The same in runs of one length, with every number of packets that fills the lanes differently.
#[test]
fn every_length_and_run_agrees_with_the_portable_backend() {
    let key = Key::new(std::array::from_fn(|i| (i * 11) as u8));
    for (i, len) in (0..200).chain((200..1600).step_by(7)).chain([1408, 1420, 8192]).enumerate() {
        let (plain, segments) = batch(&vec![len; 1 + i % 37], i as u8);
        let mut expected = plain.clone();
        aead(Backend::Portable).seal_batch(&mut expected, &segments, &key, u64::MAX - 9);
        for backend in available() {
            let mut aead = aead(backend);
            let mut buffer = plain.clone();
            aead.seal_batch(&mut buffer, &segments, &key, u64::MAX - 9);
            assert!(buffer == expected, "{backend} seals {} x {len} differently", segments.len());
            assert!(open_all(&mut aead, &mut buffer, &segments, &key, u64::MAX - 9).iter().all(|ok| *ok));
            assert!(segments.iter().all(|s| buffer[s.plaintext()] == plain[s.plaintext()]), "{backend} opens {len}");
        }
    }
}

#[test]
fn any_flipped_bit_is_noticed() {
    let key = Key::new([9; 32]);
    let (plain, segments) = batch(&[100; 20], 1);
    for backend in available() {
        let mut aead = aead(backend);
        let mut sealed = plain.clone();
        aead.seal_batch(&mut sealed, &segments, &key, 0);
        for at in TRANSPORT_HEADER_LEN..segments[0].datagram_len() {
            let mut buffer = sealed.clone();
            buffer[segments[7].offset as usize + at] ^= 1 << (at % 8);
            let authentic = open_all(&mut aead, &mut buffer, &segments, &key, 0);
            let bad: Vec<_> = (0..20).filter(|i| !authentic[*i]).collect();
            assert_eq!(bad, [7], "{backend}, byte {at}");
        }
        let mut buffer = sealed.clone();
        assert!(open_all(&mut aead, &mut buffer, &segments, &key, 1).iter().all(|ok| !ok), "another counter");
        let mut buffer = sealed.clone();
        let other = Key::new([8; 32]);
        assert!(open_all(&mut aead, &mut buffer, &segments, &other, 0).iter().all(|ok| !ok), "another key");
    }
}

#[test]
#[should_panic(expected = "out")]
fn a_segment_outside_the_buffer_panics() {
    let segment = Segment { offset: 0, plaintext_len: 100 };
    Aead::new(BackendChoice::Auto).unwrap().seal_batch(&mut [0; 131], &[segment], &Key::new([0; 32]), 0);
}

proptest! {
    #[test]
    fn backends_agree_on_any_batch(
        runs in proptest::collection::vec((0usize..3000, 1usize..40), 0..5),
        secret in any::<[u8; 32]>(),
        first in any::<u64>(),
        seed in any::<u8>(),
    ) {
        let key = Key::new(secret);
        let lens: Vec<_> = runs.iter().flat_map(|(len, count)| vec![*len; *count]).collect();
        let (plain, segments) = batch(&lens, seed);
        let mut expected = plain.clone();
        aead(Backend::Portable).seal_batch(&mut expected, &segments, &key, first);
        for backend in available() {
            let mut buffer = plain.clone();
            aead(backend).seal_batch(&mut buffer, &segments, &key, first);
            prop_assert!(buffer == expected, "{backend}");
        }
    }

    #[test]
    fn one_batch_may_mix_keys_and_lengths(
        runs in proptest::collection::vec((0usize..2000, 0usize..3, any::<u64>(), 1usize..30, any::<u64>()), 1..5),
    ) {
        let keys = [Key::new([1; 32]), Key::new([2; 32]), Key::new([3; 32])];
        let packets: Vec<_> = runs.iter()
            .flat_map(|(len, key, counter, count, tampered)| (0..*count)
                .map(move |i| (*len, *key, counter.wrapping_mul(i as u64 + 1), tampered >> i & 3 == 3)))
            .collect();
        let lens: Vec<_> = packets.iter().map(|(len, ..)| *len).collect();
        let (plain, segments) = batch(&lens, 0);
        let mut sealed = plain.clone();
        for ((_, key, counter, tampered), segment) in packets.iter().zip(&segments) {
            aead(Backend::Portable).seal_batch(&mut sealed, &[*segment], &keys[*key], *counter);
            if *tampered {
                sealed[segment.tag().start] ^= 1;
            }
        }
        let jobs: Vec<_> = packets.iter().zip(&segments)
            .map(|((_, key, counter, _), segment)| OpenJob { segment: *segment, key: &keys[*key], counter: *counter })
            .collect();
        for backend in available() {
            let mut buffer = sealed.clone();
            let mut authentic = Vec::new();
            aead(backend).open_batch(&mut buffer, &jobs, &mut authentic);
            for (((.., tampered), segment), ok) in packets.iter().zip(&segments).zip(authentic) {
                prop_assert_eq!(ok, !tampered);
                prop_assert!(*tampered || buffer[segment.plaintext()] == plain[segment.plaintext()]);
            }
        }
    }
}

/// RFC 8439, section 2.8.2, and all of Wycheproof's vectors with a 96-bit nonce and a 128-bit tag.
#[cfg(ipsec_mb)]
mod vectors {
    use super::*;
    use crate::ipsec_mb::IpsecMb;

    fn libraries() -> Vec<(Backend, IpsecMb)> {
        available().into_iter().filter_map(|backend| Some((backend, IpsecMb::new(backend)?))).collect()
    }

    #[test]
    fn rfc_8439() {
        let key = Key::new(std::array::from_fn(|i| 0x80 + i as u8));
        let nonce = [0x07, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47];
        let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
            sunscreen would be it.";
        let tag = [0x1a, 0xe1, 0x0b, 0x59, 0x4f, 0x09, 0xe2, 0x6a, 0x7e, 0x90, 0x2e, 0xcb, 0xd0, 0x60, 0x06, 0x91];
        for (backend, mut library) in libraries() {
            let mut text = plain.to_vec();
            assert_eq!(library.process_one(&key, nonce, &aad, &mut text, true), tag, "{backend}");
            assert_eq!(text[..8], [0xd3, 0x1a, 0x8d, 0x34, 0x64, 0x8e, 0x60, 0xdb]);
            assert_eq!(library.process_one(&key, nonce, &aad, &mut text, false), tag, "{backend}");
            assert_eq!(text, plain);
        }
    }

    #[test]
    fn wycheproof() {
        use wycheproof::{TestResult, aead};
        let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap();
        let mut tried = 0;
        for (backend, mut library) in libraries() {
            for test in set.test_groups.iter().flat_map(|group| &group.tests) {
                let (Ok(secret), Ok(nonce)) = (test.key[..].try_into(), test.nonce[..].try_into()) else { continue };
                let mut text = test.ct.to_vec();
                let tag = library.process_one(&Key::new(secret), nonce, &test.aad, &mut text, false);
                let authentic = tag[..] == test.tag[..];
                assert_eq!(authentic, test.result != TestResult::Invalid, "{backend}, test {}", test.tc_id);
                assert!(!authentic || text == test.pt[..], "{backend}, test {}", test.tc_id);
                tried += 1;
            }
        }
        assert!(tried > 300 * libraries().len(), "only {tried} vectors");
    }
}
