//! Positions in a batch's buffer: offsets instead of references, so that a batch can cross threads.

use crate::{TAG_LEN, TRANSPORT_HEADER_LEN};
use std::ops::Range;

/// A run of bytes in a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// The span of `len` bytes from `offset`. Buffers are far smaller than 4 GiB; larger values are a caller's bug.
    pub fn new(offset: usize, len: usize) -> Self {
        debug_assert!(offset <= u32::MAX as usize && len <= u32::MAX as usize);
        Self { offset: offset as u32, len: len as u32 }
    }

    /// As a range, to index the buffer with.
    pub fn range(self) -> Range<usize> {
        self.offset as usize..self.offset as usize + self.len as usize
    }

    /// Offset just past the last byte.
    pub fn end(self) -> usize {
        self.offset as usize + self.len as usize
    }
}

/// One transport-data datagram in a buffer: `[header 16][plaintext or ciphertext][tag 16]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Offset of the datagram's first byte, which is its transport header's.
    pub offset: u32,
    /// Length of the plaintext including its padding, without header and tag.
    pub plaintext_len: u32,
}

impl Segment {
    /// The datagram of `datagram_len` bytes at `offset`, or `None` if it is too short for header and tag.
    pub fn of_datagram(offset: usize, datagram_len: usize) -> Option<Self> {
        let plaintext_len = datagram_len.checked_sub(TRANSPORT_HEADER_LEN + TAG_LEN)?;
        Some(Self { offset: offset as u32, plaintext_len: plaintext_len as u32 })
    }

    /// Length of the datagram: header, ciphertext and tag.
    pub fn datagram_len(self) -> usize {
        TRANSPORT_HEADER_LEN + self.plaintext_len as usize + TAG_LEN
    }

    /// The whole datagram.
    pub fn datagram(self) -> Range<usize> {
        self.offset as usize..self.offset as usize + self.datagram_len()
    }

    /// The transport header.
    pub fn header(self) -> Range<usize> {
        self.offset as usize..self.offset as usize + TRANSPORT_HEADER_LEN
    }

    /// The plaintext before sealing or after opening, the ciphertext in between.
    pub fn plaintext(self) -> Range<usize> {
        let start = self.offset as usize + TRANSPORT_HEADER_LEN;
        start..start + self.plaintext_len as usize
    }

    /// The authentication tag.
    pub fn tag(self) -> Range<usize> {
        let start = self.plaintext().end;
        start..start + TAG_LEN
    }
}
