//! Datagrams back to back in one buffer, ready to be sealed in place and sent with UDP_SEGMENT.

use crate::{MAX_GSO_BYTES, MAX_GSO_SEGMENTS, PADDING, Segment, TAG_LEN, TRANSPORT_HEADER_LEN};
use std::ops::Range;

/// A batch on its way to the network. `B` is the memory: `Vec<u8>`, or a NUMA-placed buffer of the io crate.
#[derive(Debug)]
pub struct SendBatch<B> {
    buffer: B,
    segments: Vec<Segment>,
    end: usize,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> SendBatch<B> {
    /// Enough for a super-packet of 64 KiB with the tunnel's overhead, for all MTUs from 1,280 bytes on.
    pub const RECOMMENDED_BYTES: usize = 80 << 10;

    /// An empty batch over `buffer`.
    pub fn new(buffer: B) -> Self {
        Self { buffer, segments: Vec::with_capacity(2 * MAX_GSO_SEGMENTS), end: 0 }
    }

    /// Forget all datagrams; the memory stays.
    pub fn clear(&mut self) {
        self.segments.clear();
        self.end = 0;
    }

    /// No datagram in it?
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The datagrams, in order and without gaps between them.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The bytes that hold the datagrams.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.as_ref()[..self.end]
    }

    /// Buffer and datagrams, to seal in place.
    pub fn parts_mut(&mut self) -> (&mut [u8], &[Segment]) {
        (&mut self.buffer.as_mut()[..self.end], &self.segments)
    }

    /// The plaintext of one datagram, padding included.
    pub fn plaintext(&self, segment: Segment) -> &[u8] {
        &self.buffer.as_ref()[segment.plaintext()]
    }

    /// Does a packet of `packet_len` bytes still fit into one send with the rest?
    pub fn has_room_for(&self, packet_len: usize, mtu: usize) -> bool {
        let end = self.end + TRANSPORT_HEADER_LEN + padded_len(packet_len, mtu) + TAG_LEN;
        end <= self.buffer.as_ref().len() && (end <= MAX_GSO_BYTES || self.is_empty())
    }

    /// Append a datagram whose plaintext is `packet_len` bytes and zero padding; the packet's bytes are the caller's to
    /// write into the slice that is returned. `None` if it does not fit. A super-packet may be more than one send can
    /// carry: see [`gso_runs`](Self::gso_runs).
    pub fn append(&mut self, packet_len: usize, mtu: usize) -> Option<&mut [u8]> {
        let plaintext_len = padded_len(packet_len, mtu);
        let segment = Segment { offset: self.end as u32, plaintext_len: plaintext_len as u32 };
        let plaintext = segment.plaintext();
        let end = segment.datagram().end;
        if end > self.buffer.as_ref().len() {
            return None;
        }
        self.segments.push(segment);
        self.end = segment.datagram().end;
        let (packet, padding) = self.buffer.as_mut()[plaintext].split_at_mut(packet_len);
        padding.fill(0);
        Some(packet)
    }

    /// Append a copy of `packet`; false if it does not fit. An empty packet makes a keepalive.
    #[must_use]
    pub fn append_packet(&mut self, packet: &[u8], mtu: usize) -> bool {
        match self.append(packet.len(), mtu) {
            Some(target) => {
                target.copy_from_slice(packet);
                true
            }
            None => false,
        }
    }

    /// Cut `which` of the datagrams into runs that one UDP_SEGMENT send can carry: all of one length, except that the
    /// last may be shorter. `max_segments` 1 turns GSO off.
    pub fn gso_runs(&self, which: Range<usize>, max_segments: usize) -> GsoRuns<'_> {
        GsoRuns { segments: &self.segments[which.clone()], first: which.start, max_segments: max_segments.max(1) }
    }
}

/// Length of a packet after zero padding to a multiple of 16, which must not carry it past the MTU (as in Linux's
/// `calculate_skb_padding`). `mtu` 0: no such limit.
pub(crate) fn padded_len(packet_len: usize, mtu: usize) -> usize {
    let padded = packet_len.next_multiple_of(PADDING);
    if mtu >= packet_len && mtu != 0 { padded.min(mtu) } else { padded }
}

/// Datagrams that one UDP_SEGMENT send carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GsoRun {
    /// Indices into [`SendBatch::segments`].
    pub segments: Range<usize>,
    /// Their bytes in the batch's buffer.
    pub bytes: Range<usize>,
    /// Length of every datagram but the last, which may be shorter.
    pub segment_len: usize,
}

/// Iterator over [`GsoRun`]s.
#[derive(Debug)]
pub struct GsoRuns<'a> {
    segments: &'a [Segment],
    first: usize,
    max_segments: usize,
}

impl Iterator for GsoRuns<'_> {
    type Item = GsoRun;

    fn next(&mut self) -> Option<GsoRun> {
        let head = *self.segments.first()?;
        let segment_len = head.datagram_len();
        let (mut count, mut bytes) = (1, segment_len);
        for segment in &self.segments[1..] {
            let len = segment.datagram_len();
            if count == self.max_segments || len > segment_len || bytes + len > MAX_GSO_BYTES {
                break;
            }
            count += 1;
            bytes += len;
            if len < segment_len {
                break;
            }
        }
        let start = head.offset as usize;
        let run = GsoRun { segments: self.first..self.first + count, bytes: start..start + bytes, segment_len };
        self.segments = &self.segments[count..];
        self.first += count;
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn padding_stops_at_the_mtu() {
        assert_eq!(padded_len(1, 1420), 16);
        assert_eq!(padded_len(1408, 1420), 1408);
        assert_eq!(padded_len(1409, 1420), 1420);
        assert_eq!(padded_len(1420, 1420), 1420);
        assert_eq!(padded_len(1425, 1420), 1440);
        assert_eq!(padded_len(0, 1420), 0);
        assert_eq!(padded_len(5, 0), 16);
    }

    #[test]
    fn padding_is_zero_even_in_used_memory() {
        let mut batch = SendBatch::new(vec![0xff; 256]);
        assert!(batch.append_packet(&[1, 2, 3], 1420));
        assert_eq!(batch.plaintext(batch.segments()[0]), [1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_full_batch_refuses() {
        let mut batch = SendBatch::new(vec![0; 100]);
        assert!(batch.has_room_for(60, 1420));
        assert!(batch.append_packet(&[0; 60], 60));
        assert!(!batch.append_packet(&[], 60));
        assert_eq!(batch.segments().len(), 1);
    }

    proptest! {
        #[test]
        fn runs_cover_all_and_keep_the_limits(lens in proptest::collection::vec(0usize..1500, 0..90), max in 1usize..70) {
            let mut batch = SendBatch::new(vec![0; 200_000]);
            let count = lens.iter().take_while(|len| batch.append_packet(&vec![7; **len], 1500)).count();
            prop_assert_eq!(count, lens.len(), "full too early");
            let mut next = 0;
            let mut end = 0;
            for run in batch.gso_runs(0..count, max) {
                prop_assert_eq!(run.segments.start, next);
                prop_assert_eq!(run.bytes.start, end);
                prop_assert!(run.segments.len() <= max && run.bytes.len() <= MAX_GSO_BYTES);
                let (last, others) = batch.segments()[run.segments.clone()].split_last().expect("no run is empty");
                prop_assert!(others.iter().all(|s| s.datagram_len() == run.segment_len));
                prop_assert!(last.datagram_len() <= run.segment_len);
                next = run.segments.end;
                end = run.bytes.end;
            }
            prop_assert_eq!(next, count);
        }
    }
}
