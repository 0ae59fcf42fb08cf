//! Netlink messages and attributes as bytes, written and read with every length checked.

const HEADER_LEN: usize = 16;
const ATTRIBUTE_HEADER_LEN: usize = 4;

/// A request under construction: header, fixed part, attributes.
pub(super) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    pub(super) fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        let mut request = Self { bytes };
        request.pad();
        request
    }

    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.bytes.extend_from_slice(&((ATTRIBUTE_HEADER_LEN + value.len()) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    pub(super) fn attribute_u32(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The bytes to send, numbered `sequence`.
    pub(super) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&len.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// One message of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

/// The messages of one datagram; stops at the first that is cut short.
pub(super) fn answers(datagram: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let header: &[u8; HEADER_LEN] = rest.first_chunk()?;
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let body = rest.get(HEADER_LEN..len)?;
        let answer = Answer {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            body,
        };
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(answer)
    })
}

/// The attributes that follow a fixed part of `fixed_len` bytes.
pub(super) fn attributes(body: &[u8], fixed_len: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(fixed_len..).unwrap_or(&[]);
    std::iter::from_fn(move || {
        let header: &[u8; ATTRIBUTE_HEADER_LEN] = rest.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = rest.get(ATTRIBUTE_HEADER_LEN..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((u16::from_ne_bytes([header[2], header[3]]), value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let bytes = Request::new(16, 5, &[1; 16]).attribute(3, b"wl0\0").attribute_u32(4, 1420).finish(9);
        let answer = answers(&bytes).next().unwrap();
        assert_eq!((answer.kind, answer.sequence), (16, 9));
        let read: Vec<_> = attributes(answer.body, 16).collect();
        assert_eq!(read, [(3, &b"wl0\0"[..]), (4, &1420u32.to_ne_bytes()[..])]);
        assert_eq!(answers(&bytes).count(), 1);
    }

    #[test]
    fn cut_or_senseless_bytes_end_the_reading() {
        let bytes = Request::new(16, 5, &[1; 16]).attribute(3, b"wl0\0").finish(9);
        for cut in 0..bytes.len() {
            assert_eq!(answers(&bytes[..cut]).count(), 0);
        }
        assert_eq!(answers(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[0; 64], 0).count(), 0);
        assert_eq!(attributes(&[0xff; 64], 16).count(), 0);
    }
}
